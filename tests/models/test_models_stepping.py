"""A model step by step gives the answers of the whole sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import READOUTS
from tolerances import assert_close
from torch import Tensor

from elman.errors import SettingsError, ShapeError
from elman.models import ModelConfig, SequenceModel
from elman.models.stepping import Stepper

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
            assert_close(answer, whole(model, x[:, : t + 1], static), "float32")
        assert state["steps"].tolist() == [T] * B


def test_rows_step_alone() -> None:
    model, x = make("numbers", cell="lstm", readout="mean", num_layers=2), draw("numbers")
    stepper = Stepper(model)
    state = stepper.begin(B)
    rows = torch.tensor([3, 1])
    for t in range(T):
        answer = stepper.step(x[rows, t], state, rows)
        assert_close(answer, whole(model, x[rows, : t + 1], None), "float32")
    assert state["steps"].tolist() == [0, T, 0, T]
    answer = stepper.step(x[:, 0], state)
    assert_close(answer[[0, 2]], whole(model, x[[0, 2], :1], None), "float32")


def test_later_weights_do_not_reach_a_stepper() -> None:
    model, x = make("numbers"), draw("numbers")
    stepper = Stepper(model)
    before = stepper.step(x[:, 0], stepper.begin(B))
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert torch.equal(stepper.step(x[:, 0], stepper.begin(B)), before)


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(SettingsError, match="--no-bidirectional"):
        Stepper(make("numbers", bidirectional=True))
    stepper = Stepper(make("numbers"))
    with pytest.raises(ShapeError, match="x: got 3 rows, expected 4"):
        stepper.step(draw("numbers")[:3, 0], stepper.begin(4))
    with pytest.raises(ShapeError, match="static: got None"):
        Stepper(make("numbers", static_to="both")).begin(2)
