"""What the page gets of a network: the weights, inputs, names and targets of elman.explain."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
from cases import CHANNELS, CLASSES, make_model, make_sequences, unregister_cell

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.errors import DataError, ElmanError, SettingsError, ShapeError
from elman.explain import read_sequence, trace
from elman.lab.payload import describe_run, encode_array
from elman.models import ModelConfig, SequenceModel
from elman.models.static import bind
from elman.ops.cells import RNN, Cell, register_cell

CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
READOUTS = ["last", "mean", "max", "every"]


def decode(array: dict[str, Any]) -> np.ndarray:
    """Read an array of the payload as the page does."""
    values = np.frombuffer(base64.b64decode(array["data"]), f"<{np.dtype(array['dtype']).str[1:]}")
    return values.reshape(array["shape"])


def through_json(run: dict[str, Any]) -> dict[str, Any]:
    """What the page reads: JSON without NaN."""
    result: dict[str, Any] = json.loads(json.dumps(run, allow_nan=False))
    return result


def run_again(run: dict[str, Any], example: dict[str, Any]) -> np.ndarray:
    """Outputs of a network made of nothing but the payload."""
    derived = ("category_widths",)
    config = {k: v for k, v in run["config"].items() if k not in derived}
    config["category_sizes"] = tuple(config["category_sizes"])
    model = SequenceModel(ModelConfig(**config))
    model.load_state_dict({k: torch.tensor(decode(v)) for k, v in run["weights"].items()})
    assert list(model.config.category_widths) == run["config"]["category_widths"]
    x = torch.tensor(decode(example["x"]))[None]
    static = () if example["static"] is None else (torch.tensor(decode(example["static"]))[None],)
    x = x.long() if run["config"]["vocabulary_size"] else x
    with torch.no_grad():
        return model.eval()(x, torch.tensor([x.shape[1]]), *static)[0].numpy()


@pytest.mark.parametrize("kind", ["numbers", "tokens", "mixed"])
@pytest.mark.parametrize(("cell", "both"), list(itertools.product(CELLS, (False, True))))
def test_the_payload_alone_is_the_network(cell: Any, both: bool, kind: str) -> None:
    for readout, layers in itertools.product(READOUTS, (1, 2)):
        model = make_model(
            cell[0],
            readout,
            nonlinearity=cell[1],
            num_layers=layers,
            bidirectional=both,
            tokens=kind == "tokens",
            mixed=kind == "mixed",
        )
        X = make_sequences([5, 1, 8], tokens=kind == "tokens", mixed=kind == "mixed")
        run = through_json(describe_run(model, X))
        for x, example in zip(X, run["examples"], strict=True):
            expected = trace(model, x).outputs[slice(None) if readout == "every" else -1]
            np.testing.assert_allclose(run_again(run, example), expected, atol=2e-6)


@pytest.mark.parametrize("to", ["readout", "state", "both"])
def test_static_features_of_a_bare_network(to: Any) -> None:
    sizes = {"hidden_size": 4, "num_outputs": 2}
    config = ModelConfig(**sizes, readout="last", input_size=2, static_size=3, static_to=to)
    model = bind(SequenceModel(config).eval(), torch.tensor([1.0, -2.0, 0.5]))
    X = make_sequences([4])
    run = through_json(describe_run(model, X))
    outputs = trace(model, X[0]).outputs[-1]
    np.testing.assert_allclose(run_again(run, run["examples"][0]), outputs, atol=2e-6)
    assert [f["columns"] for f in run["static"]] == [[0], [1], [2]]


def fit(kind: type[Any], X: Any, y: Any, **options: Any) -> Any:
    return kind(epochs=1, validation=0, hidden_size=4, random_state=0, **options).fit(X, y)


def test_numbers_with_gaps_units_and_categories() -> None:
    rng = np.random.default_rng(0)
    X = [np.empty((5, 3), dtype=object) for _ in range(6)]
    for x in X:
        x[:, 0], x[:, 1] = rng.normal(20, 5, 5), rng.choice(["low", "high"], 5)
        x[:, 2] = rng.normal(size=5)
    X[0][2, 2] = np.nan
    y = ["a", "b"] * 3
    model = fit(SequenceClassifier, X, y)
    named = model.fit(X, y, column_names=("temp [°C]", "wind", "x"))
    run = through_json(describe_run(named, X, y, sequence_names=[f"day {i}" for i in range(6)]))
    temperature, x, flag, wind = run["channels"]
    assert (temperature["name"], temperature["unit"], wind["name"]) == ("temp [°C]", "°C", "wind")
    assert flag["name"] == "whether x is missing" and flag["values"] == ["missing", "observed"]
    assert x["values"] is None and wind["values"][:2] == ["padding", "unknown"]
    example = run["examples"][0]
    values = decode(example["x"])
    raw = values[:, 0] * temperature["scale"] + temperature["mean"]
    np.testing.assert_allclose(raw, X[0][:, 0].astype(float), rtol=1e-5)
    assert [wind["values"][int(code)] for code in values[:, 3]] == X[0][:, 1].tolist()
    assert values[:, 2].tolist() == [1, 1, 0, 1, 1]
    assert example["name"] == "day 0" and example["target"] == 0
    assert run["settings"]["hidden_size"] == 4 and "num_layers" not in run["settings"]
    assert run["history"]["epoch"] == [1] and run["history"]["validation_loss"] == [None]
    np.testing.assert_allclose(values, read_sequence(named, X[0]).inputs, atol=1e-6)


def test_texts_of_tokens_also_of_unknown_ones() -> None:
    model = fit(SequenceClassifier, ["abc", "cba"] * 3, ["x", "y"] * 3)
    run = through_json(describe_run(model, ["az"]))
    assert run["vocabulary"] == ["<pad>", "<unknown>", "a", "b", "c"]
    (example,) = run["examples"]
    assert example["tokens"] == ["a", "z"] and decode(example["x"]).tolist() == [2, 1]
    assert example["target"] is None and decode(example["x"]).dtype == np.int32


def test_targets_as_the_network_learns_them() -> None:
    X = [np.arange(4.0)[:, None] + i for i in range(6)]
    several = fit(SequenceClassifier, X, [{"p"}, {"p", "q"}, set()] * 2)
    assert describe_run(several, X[1:2], [{"q"}])["examples"][0]["target"] == [0, 1]
    y = [10.0 * i for i in range(6)]
    values = fit(SequenceRegressor, X, y)
    run = describe_run(values, X, y)
    (scale,), (mean,) = run["outputs"]["scale"], run["outputs"]["mean"]
    assert [e["target"][0] * scale + mean for e in run["examples"]] == pytest.approx(y, abs=1e-5)
    steps = [["lo", None, "hi", "hi"]] * 6
    tagger = fit(SequenceTagger, X, steps)
    example = describe_run(tagger, X[:1], steps[:1], most_steps=3)["examples"][0]
    assert decode(example["target"]).tolist() == [1, -100, 0] and len(decode(example["x"])) == 3


def test_static_features_of_an_estimator_have_their_scaling_and_texts() -> None:
    rng = np.random.default_rng(1)
    X = [rng.normal(size=(4, 1)) for _ in range(8)]
    y = ["a", "b"] * 4
    static = {"age [a]": [20.0, 30.0] * 4, "ward": ["east", "west", "west", "west"] * 2}
    model = SequenceClassifier(epochs=1, validation=0, hidden_size=4, random_state=0)
    model.fit(X, y, static=static)
    run = through_json(describe_run(model, model.encode(X, static=static), y))
    age, ward = run["static"]
    inputs = decode(run["examples"][0]["static"])
    assert inputs[age["columns"][0]] * age["scale"] + age["mean"] == pytest.approx(20)
    assert age["unit"] == "a" and ward["values"] == ["west", "east"]
    assert inputs[ward["columns"]].tolist() == [0, 1]


def test_arrays_keep_every_bit_and_integers() -> None:
    values = np.array([[1.5, np.nan], [-np.inf, 1e-45]], dtype=np.float32)
    array = encode_array(values)
    assert array["dtype"] == "float32" and array["shape"] == [2, 2]
    np.testing.assert_array_equal(decode(array), values)
    assert decode(encode_array(values, "float16")).dtype == np.float16
    assert decode(encode_array(np.array([-100, 3]))).dtype == np.int32
    assert decode(encode_array(np.arange(6).reshape(2, 3).T)).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_kept_epochs_are_in_order() -> None:
    model = make_model()
    kept = {3: model.state_dict(), 0: model.state_dict()}
    run = describe_run(model, make_sequences([3]), epochs=kept, precision="float16")
    assert [entry["epoch"] for entry in run["epochs"]] == [0, 3]
    assert run["epochs"][0]["weights"]["output.bias"]["dtype"] == "float16"
    assert run["weights"]["output.bias"]["dtype"] == "float32"


def test_a_cell_of_the_users_own_is_refused() -> None:
    own = Cell("own_test", ("h",), RNN.step)
    register_cell(own)
    try:
        with pytest.raises(SettingsError, match=r"cannot compute 'own_test'.*rnn, gru, lstm"):
            describe_run(make_model("own_test"), make_sequences([3]))
    finally:
        unregister_cell(own)


def test_a_network_that_does_something_else_is_refused() -> None:
    model = make_model()
    model.output.register_forward_hook(lambda module, inputs, output: output + 1)
    with pytest.raises(ElmanError, match="equations of its config"):
        describe_run(model, make_sequences([3]))


def test_faults_in_what_was_passed() -> None:
    model, X = make_model(), make_sequences([3, 4])
    with pytest.raises(ShapeError, match="split: got 1 entries, expected 2"):
        describe_run(model, X, splits=["test"])
    with pytest.raises(ShapeError, match=rf"expected numbers \(T, {CHANNELS}\)"):
        describe_run(model, [torch.zeros(3, CHANNELS + 1)])
    with pytest.raises(DataError, match=f"expected 0 to {CLASSES - 1}"):
        describe_run(model, X, [0, CLASSES])
    with pytest.raises(SettingsError, match="expected a SequenceModel or a fitted"):
        describe_run(SequenceClassifier(), X)
