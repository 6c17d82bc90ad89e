"""A model step by step gives the answers of the whole sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cases import READOUTS
from tolerances import assert_close
from torch import Tensor

from elman import _core
from elman.errors import DataError, SettingsError, ShapeError
from elman.estimators.encoder import Encoder
from elman.estimators.targets import ClassTarget, MultilabelTarget, NumericTarget
from elman.models import ModelConfig, SequenceModel
from elman.models.stepping import NativeStream, Stepper
from elman.ops.native import probabilities

B, T, H, K, S = 4, 6, 9, 3, 2
INPUTS: dict[str, dict[str, Any]] = {
    "numbers": {"input_size": 3},
    "tokens": {"vocabulary_size": 7, "embedding_size": 4},
    "mixed": {"input_size": 2, "category_sizes": (5, 3)},
}


def make(inputs: str, dtype: torch.dtype = torch.float32, **options: Any) -> SequenceModel:
    options = {"cell": "gru", "readout": "last", "bidirectional": False, **options}
    if options.get("static_to"):
        options["static_size"] = S
    config = ModelConfig(hidden_size=H, num_outputs=K, **INPUTS[inputs], **options)
    return SequenceModel(config, torch.Generator().manual_seed(3)).to(dtype).eval()


def draw(inputs: str, dtype: torch.dtype = torch.float32) -> Tensor:
    draws = torch.Generator().manual_seed(5)
    if inputs == "tokens":
        return torch.randint(0, 7, (B, T), generator=draws)
    numbers = torch.randn(B, T, 3 if inputs == "numbers" else 2, dtype=dtype, generator=draws)
    if inputs == "numbers":
        return numbers
    return torch.cat([numbers, torch.randint(0, 3, (B, T, 2), generator=draws).to(dtype)], -1)


def whole(model: SequenceModel, x: Tensor, static: Tensor | None) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(x, None, static)
    return logits[:, -1] if model.config.per_step else logits


@pytest.mark.parametrize("cell", ["rnn", "relu", "gru", "lstm"])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("static_to", [None, "readout", "state", "both"])
def test_every_step_answers_as_the_sequence_so_far(
    cell: str, readout: str, inputs: str, static_to: str | None
) -> None:
    for dtype, layers in ((torch.float32, 1), (torch.float64, 2)):
        kind = {"cell": "rnn", "nonlinearity": "relu"} if cell == "relu" else {"cell": cell}
        model = make(inputs, dtype, readout=readout, static_to=static_to, num_layers=layers, **kind)
        x, static = draw(inputs, dtype), torch.ones(B, S, dtype=dtype) if static_to else None
        stepper = Stepper(model)
        state = stepper.begin(B, static)
        for t in range(T):
            answer = stepper.step(x[:, t], state)
            assert_close(answer, whole(model, x[:, : t + 1], static), "exact")
        assert state["steps"].tolist() == [T] * B


def test_rows_step_alone() -> None:
    model, x = make("numbers", cell="lstm", readout="mean", num_layers=2), draw("numbers")
    stepper = Stepper(model)
    state = stepper.begin(B)
    rows = torch.tensor([3, 1])
    for t in range(T):
        answer = stepper.step(x[rows, t], state, rows)
        assert_close(answer, whole(model, x[rows, : t + 1], None), "exact")
    assert state["steps"].tolist() == [0, T, 0, T]
    answer = stepper.step(x[:, 0], state)
    assert_close(answer[[0, 2]], whole(model, x[[0, 2], :1], None), "exact")


def test_later_weights_do_not_reach_a_stepper() -> None:
    model, x = make("numbers"), draw("numbers")
    stepper = Stepper(model)
    before = stepper.step(x[:, 0], stepper.begin(B))
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert torch.equal(stepper.step(x[:, 0], stepper.begin(B)), before)


def test_a_batch_on_many_threads_and_every_instruction_set() -> None:
    model = make("numbers", cell="lstm", readout="max", num_layers=2)
    x = torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(1))
    before, threads = _core.isa(), torch.get_num_threads()
    try:
        for isa in _core.isas():
            _core.use_isa(isa)
            answers = []
            for count in (1, 3):
                torch.set_num_threads(count)
                stepper = Stepper(model)
                state = stepper.begin(len(x))
                answers = [stepper.step(x[:, t], state) for t in range(3)]
                for t, answer in enumerate(answers):
                    assert_close(answer, whole(model, x[:, : t + 1], None), "exact")
            _core.use_isa(before)  # the weights stay packed for the former set
            assert_close(stepper.step(x[:, 0], stepper.begin(len(x))), answers[0], "exact")
    finally:
        _core.use_isa(before)
        torch.set_num_threads(threads)


def test_a_model_that_is_not_native_steps_through_its_modules() -> None:
    hooked = make("numbers", cell="lstm", readout="mean", num_layers=2)
    hooked.recurrent.register_forward_hook(lambda module, args, out: (out[0] * 2, out[1]))
    replaced = make("mixed", readout="max", static_to="both")
    replaced.output = type("Output", (torch.nn.Linear,), {})(H, K)
    half = make("tokens", readout="last").to(torch.bfloat16)
    for model, x, static in (
        (hooked, draw("numbers"), None),
        (replaced, draw("mixed"), torch.ones(B, S)),
        (half, draw("tokens"), None),
    ):
        stepper = Stepper(model)
        assert not stepper.is_native
        state, rows = stepper.begin(B, static), torch.tensor([2, 0])
        for t in range(T):
            answer = stepper.step(x[rows, t], state, rows)
            so_far = whole(model, x[rows, : t + 1], static if static is None else static[:2])
            tolerance = 1e-5 if model is not half else 0.02
            torch.testing.assert_close(answer, so_far, rtol=1e-5, atol=tolerance)


def test_nan_passes_through_the_maximum() -> None:
    model, x = make("numbers", readout="max"), draw("numbers")
    x[1, 2] = torch.nan
    stepper = Stepper(model)
    state = stepper.begin(B)
    for t in range(T):
        answer = stepper.step(x[:, t], state)
        want = whole(model, x[:, : t + 1], None)
        torch.testing.assert_close(answer, want, rtol=0, atol=0, equal_nan=True)
    assert answer[1].isnan().all() and not answer[0].isnan().any()


def test_refused_steps_change_nothing() -> None:
    stepper = Stepper(make("tokens", readout="mean"))
    state = stepper.begin(3)
    stepper.step(torch.tensor([1, 2, 3]), state)
    before = {name: tensor.clone() for name, tensor in state.items()}
    two, twice, far = torch.tensor([1, 2]), torch.tensor([2, 2]), torch.tensor([0, 3])
    with pytest.raises(DataError, match="x: got token 7, expected 0 to 6"):
        stepper.step(torch.tensor([1, 2, 7]), state)
    with pytest.raises(ShapeError, match="x: got 2 rows, expected 3"):
        stepper.step(two, state)
    with pytest.raises(ShapeError, match="rows: got 2 twice"):
        stepper.step(two, state, twice)
    with pytest.raises(ShapeError, match="rows: got 3, expected 0 to 2"):
        stepper.step(two, state, far)
    for name, tensor in state.items():
        assert torch.equal(tensor, before[name])


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(SettingsError, match="--no-bidirectional"):
        Stepper(make("numbers", bidirectional=True))
    stepper = Stepper(make("numbers"))
    with pytest.raises(ShapeError, match="x: got 3 rows, expected 4"):
        stepper.step(draw("numbers")[:3, 0], stepper.begin(4))
    with pytest.raises(ShapeError, match="state: got h"):
        stepper.step(draw("numbers")[:3, 0], stepper.begin(4) | {"h": torch.zeros(4, 1, H + 1)})
    with pytest.raises(ShapeError, match="static: got None"):
        Stepper(make("numbers", static_to="both")).begin(2)


@pytest.mark.parametrize("outputs", ["softmax", "sigmoid", "scaled"])
def test_raw_numbers_in_one_call(outputs: str) -> None:
    """Gaps, masks and outputs as the encoder and the target have them."""
    nan, draws = np.nan, np.random.default_rng(0)
    mean, scale, fill = np.array([1.7e9, -3.0]), np.array([50.0, 0.1]), np.array([nan, 2.5])
    encoder = Encoder("numbers", mean=mean, scale=scale, fill=fill)
    targets = {
        "softmax": ClassTarget(np.arange(K)),
        "sigmoid": MultilabelTarget(np.arange(K)),
        "scaled": NumericTarget(("a", "b", "c"), False, draws.normal(size=K), np.array([3, 1, 7])),
    }
    target: Any = targets[outputs]
    model = make("numbers", readout="mean", num_layers=2)  # 2 channels and a mask
    raw = draws.normal(mean, scale, size=(B, T, 2))
    raw[:, ::2, 1] = nan
    stepper = Stepper(model)
    state = stepper.begin(B)
    state["last"] = torch.from_numpy(np.tile(fill, (B, 1)))
    options: dict[str, Any] = {"outputs": outputs}
    if outputs == "scaled":
        options |= {"output_mean": target.mean, "output_scale": target.scale}
    arrays = {"mean": mean.tolist(), "scale": scale.tolist(), "fill": fill.tolist()}
    stream = NativeStream(stepper, state, **arrays, **options)
    for t in range(T):
        x = np.ascontiguousarray(raw[:, t])
        answer = stream.step(x)
        inputs = torch.from_numpy(encoder.encode(list(raw[:, : t + 1])).values)
        logits = whole(model, inputs.view(B, t + 1, 3), None)
        expected = target.to_output_units(target.transform_outputs(logits).numpy())
        assert answer is not None and np.array_equal(answer, expected)
    before = {name: tensor.clone() for name, tensor in state.items()}
    for bad in ([nan, 1.0], [np.inf, 1.0], [1e300, 1.0]):
        assert stream.step(np.array([[1.7e9, 1.0], bad, bad, bad])) is None
    with pytest.raises(ShapeError, match="x: got 3 rows, expected 4"):
        stream.step(np.zeros((3, 2)))
    with pytest.raises(ShapeError, match="float32, expected"):
        stream.step(np.zeros((B, 2), np.float32))
    for name, tensor in state.items():
        assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num())
    row = np.array([2])
    alone = {name: tensor[row].clone() for name, tensor in before.items()}
    expected = NativeStream(stepper, alone, **arrays, **options).step(x[row])
    assert expected is not None and np.array_equal(stream.step(x[row], row), expected)  # type: ignore[arg-type]
    assert state["steps"].tolist() == [T, T, T + 1, T]


@pytest.mark.parametrize("inputs", ["tokens", "mixed"])
def test_raw_tokens_and_codes_in_one_call(inputs: str) -> None:
    model, x = make(inputs, readout="every"), draw(inputs)
    stepper = Stepper(model)
    channels = 0 if inputs == "tokens" else 2
    state = stepper.begin(B) | {"last": torch.full((B, channels), torch.nan).double()}
    numbers = {"mean": [0.0] * channels, "scale": [1.0] * channels, "fill": [np.nan] * channels}
    stream = NativeStream(stepper, state, **numbers, outputs="softmax")
    for t in range(T):
        raw = x[:, t].numpy() if inputs == "tokens" else x[:, t].double().numpy()
        expected = probabilities(whole(model, x[:, : t + 1], None), "softmax")
        assert np.array_equal(stream.step(np.ascontiguousarray(raw)), expected.numpy())  # type: ignore[arg-type]


def test_probabilities_are_those_of_torch() -> None:
    logits = torch.tensor([[0.0, 1, -2], [800, -800, 0], [torch.nan, 0, 1], [-torch.inf, 0, 0]])
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        given = logits.to(dtype)
        pairs = {"softmax": given.double().softmax(-1), "sigmoid": given.double().sigmoid()}
        for name, expected in pairs.items():
            found = probabilities(given.T.contiguous().T, name)  # type: ignore[arg-type]
            torch.testing.assert_close(found, expected, rtol=1e-15, atol=0, equal_nan=True)
    assert probabilities(torch.zeros(0, 3), "softmax").shape == (0, 3)
