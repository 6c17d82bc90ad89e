"""ONNX files of every form of network, asked in onnxruntime."""

import dataclasses
import itertools
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx_cases import (
    AXES,
    CELLS,
    KINDS,
    PER_STEP,
    READOUTS,
    cover_pairs,
    fitted,
    make_case,
    make_sequences,
    make_static,
    name_case,
)

from elman import SequenceClassifier
from elman.data.text import split_texts
from elman.errors import ExportError, SettingsError
from elman.export import to_onnx
from elman.export.onnx import build, make_feeds, network, read_weights
from elman.export.parity import compare, sample_sequences
from elman.layers import Cell
from elman.ops import cells
from elman.settings import CELL_NAMES

EVERY = [c for c in itertools.product(*AXES) if c[-2] not in PER_STEP or c[-1] == READOUTS[0]]
LSTM = (("lstm", "tanh"), 2, True)
GRU = (("gru", "tanh"), 2, True)


def export(case, tmp_path):
    path = tmp_path / "model.onnx"
    report = to_onnx(make_case(*case), path)
    assert report.parity.difference <= 1e-5
    assert report.parity.longest == 1000
    assert path.stat().st_size == report.files[0][1]


@pytest.mark.parametrize("case", cover_pairs(), ids=name_case)
def test_every_pair_of_options(case, tmp_path):
    export(case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=name_case)
def test_every_combination(case, tmp_path):
    export(case, tmp_path)


def ask(path):
    """An ONNX file as somebody without elman reads it: a function, and its metadata."""
    session = onnxruntime.InferenceSession(path)
    facts = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}

    def call(**feeds):
        (outputs,) = session.run(None, feeds)
        return outputs

    return call, facts


def code(names, facts):
    """Codes of names, by an entry of the metadata."""
    known = {name: i for i, name in enumerate(facts["names"], facts["first"])}
    return [known.get("" if name is None else name, facts["unknown"]) for name in names]


def feed(kind, facts, sequence):
    """One sequence of `make_sequences` as inputs of a batch of one, by the metadata alone."""
    inputs = facts["inputs"]
    if kind in ("numbers", "gaps"):
        return {"x": sequence[None]}
    if kind in ("tokens", "text"):
        (tokens,) = [sequence] if kind == "tokens" else split_texts([sequence], "words")
        return {"tokens": np.array([code(tokens, inputs["tokens"])])}
    columns = list(zip(*sequence, strict=True))
    texts = [c for c in columns if any(isinstance(v, str) for v in c)]
    numbers = [[np.nan if v is None else v for v in c] for c in columns if c not in texts]
    codes = np.array([code(c, f) for c, f in zip(texts, inputs["codes"], strict=True)]).T[None]
    return {"codes": codes} | ({"x": np.array(numbers).T[None]} if numbers else {})


@pytest.mark.parametrize("kind", KINDS)
def test_the_metadata_suffice_to_ask_as_with_elman(kind, tmp_path):
    case = make_case(*GRU, kind, "both", "classes", "mean")
    to_onnx(case, tmp_path / "m.onnx")
    call, facts = ask(tmp_path / "m.onnx")
    X, static = make_sequences(kind), make_static()
    expected = case.predict_proba(X, static=static)
    assert facts["outputs"] == case.classes_.tolist()
    assert [f["name"] for f in facts["inputs"]["static"]] == ["age", "weight"]
    for i, sequence in enumerate(X):
        numbers = [[static[f["name"]][i] for f in facts["inputs"]["static"]]]
        codes = [code([static[f["name"]][i]], f)[0] for f in facts["inputs"]["static_codes"]]
        own = feed(kind, facts, sequence)
        answer = call(
            **own,
            lengths=np.array([next(iter(own.values())).shape[1]]),
            static=np.array(numbers),
            static_codes=np.array([codes]),
        )
        assert np.abs(answer - expected[i]).max() < 1e-6
    assert np.ptp(expected, axis=0).max() > 0.01  # the sequences have different answers


def test_the_graph_is_as_documented(tmp_path):
    to_onnx(make_case(*LSTM, "gaps", "state", "step values", "last"), tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert {node.domain for node in model.graph.node} == {""}
    sizes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert sizes == {
        "x": ["batch", "time", 3],
        "lengths": ["batch"],
        "static": ["batch", 2],
        "static_codes": ["batch", 2],
        "values": ["batch", "time", 2],
    }
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in model.graph.initializer)
    assert {"elman", "task", "outputs", "inputs", "reading", "model", "settings"} == {
        entry.key for entry in model.metadata_props
    }


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell[1] != "relu"], ids=str)
@pytest.mark.parametrize("task", ["classes", "step values"])
def test_the_reference_of_onnx_answers_alike(cell, task):
    """A second judge, written by other people; it knows neither lengths nor ReLU in an RNN."""
    case = make_case(cell, 2, True, "gaps", "both", task, "mean")
    encoded = sample_sequences(case, (6, 6, 6))
    model = build(case)
    (answers,) = ReferenceEvaluator(model).run(None, make_feeds(encoded))
    unit = 1.0 if case.target_.unit is None else case.target_.unit
    expected = case.predict_encoded(encoded).reshape(answers.shape)
    assert np.abs((answers - expected) / unit).max() < 1e-6


def test_no_optimization_is_needed():
    case = make_case(*LSTM, "mixed", "readout", "labels", "max")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(build(case).SerializeToString(), options)
    encoded = sample_sequences(case, (1, 9, 30))
    (answers,) = session.run(None, make_feeds(encoded))
    assert np.abs(answers - case.predict_encoded(encoded)).max() < 1e-6


# -- what elman refuses ------------------------------------------------------------------------


def nan_rows(answers):
    found = np.isnan(answers).reshape(len(answers), -1)
    assert (found.all(1) == found.any(1)).all()
    return found.all(1).tolist()


@pytest.mark.parametrize("task", ["classes", "tags"])
def test_rows_that_elman_refuses_are_nan_and_the_others_are_answered(task, tmp_path):
    to_onnx(make_case(*GRU, "gaps", None, task, "max"), tmp_path / "m.onnx")
    call, _ = ask(tmp_path / "m.onnx")
    x = np.tile(np.array([1.7e9, 6.0, 1.0]), (7, 4, 1))
    x[1, 2, 0] = np.nan  # a channel without gaps in training
    x[2, 2, 1] = np.nan  # one with gaps
    x[3, 1, 1] = np.inf
    x[4, 1, 1] = 1e300  # beyond float32
    lengths = np.array([4, 4, 4, 4, 4, 0, 5])
    answers = call(x=x, lengths=lengths)
    if task == "tags":  # a row without steps has no answer that could be NaN
        lengths, answers = lengths[:5], answers[:5]
        assert nan_rows(answers) == [False, True, False, True, True]
    else:
        assert nan_rows(answers) == [False, True, False, True, True, True, True]
    assert np.array_equal(answers[0], call(x=x[:1, :, :], lengths=lengths[:1])[0])
    # The same in the padding is never read.
    padded = np.concatenate([x[:5], np.full((5, 3, 3), np.inf)], 1)
    again = call(x=padded, lengths=lengths[:5])[:, : answers.shape[1]]
    assert np.allclose(again, answers[:5], rtol=0, atol=1e-7, equal_nan=True)


def test_ids_out_of_range_are_nan(tmp_path):
    case = make_case(*GRU, "tokens", "readout", "labels", "last")
    to_onnx(case, tmp_path / "m.onnx")
    call, facts = ask(tmp_path / "m.onnx")
    size = len(facts["inputs"]["tokens"]["names"]) + 2
    tokens = np.array([[2, size - 1], [2, size], [-1, 2], [2, -1], [2, 2]])
    answers = call(
        tokens=tokens,
        lengths=np.array([2, 2, 2, 1, 2]),
        static=np.tile([50.0, 1.7e9], (5, 1)),
        static_codes=np.array([[2, 2], [2, 2], [2, 2], [1, 1], [2, 99]]),
    )
    assert nan_rows(answers) == [False, True, True, False, True]


# -- faults that the comparison must find --------------------------------------------------------


def replace_operator(monkeypatch, kernel, **changes):
    operator = network.OPERATORS[kernel]
    values = {"name": operator.name, "blocks": operator.blocks, "attributes": operator.attributes}
    monkeypatch.setitem(network.OPERATORS, kernel, network.Operator(**values | changes))


@pytest.mark.parametrize(
    ("kernel", "changes"),
    [
        ("gru", {"blocks": ("r", "z", "n")}),
        ("gru", {"attributes": {}}),  # the reset gate before the product with U
        ("lstm", {"blocks": ("i", "f", "g", "o")}),
        ("rnn_relu", {"attributes": {}}),
    ],
)
def test_a_wrong_cell_is_found(kernel, changes, monkeypatch, tmp_path):
    replace_operator(monkeypatch, kernel, **changes)
    cell = ("rnn", "relu") if kernel == "rnn_relu" else (kernel, "tanh")
    case = make_case(cell, 1, False, "numbers", None, "classes", "mean")
    with pytest.raises(ExportError, match="does not answer as elman does, so nothing was written"):
        to_onnx(case, tmp_path / "new" / "m.onnx")
    assert not list(tmp_path.iterdir())


def without_bias(model):
    return {k: v * (not k.endswith("bias_hh_l1_reverse")) for k, v in read_weights(model).items()}


def test_a_bias_left_out_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr("elman.export.onnx.read_weights", without_bias)
    with pytest.raises(ExportError, match="does not answer as elman does"):
        to_onnx(make_case(*LSTM, "text", None, "tags", "last"), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("readout", READOUTS)
def test_a_readout_over_the_padding_is_found(readout, monkeypatch, tmp_path):
    def wrong(graph, stack, values):
        y = network._every(graph, stack, values)
        return graph.add("ReduceMax", y, axes=[1], keepdims=0)

    monkeypatch.setitem(network.READOUTS, readout, wrong)
    with pytest.raises(ExportError, match="does not answer as elman does"):
        to_onnx(make_case(*LSTM, "mixed", None, "value", readout), tmp_path / "m.onnx")


def test_a_fault_on_the_own_sequences_alone_is_found(tmp_path, monkeypatch):
    case = make_case(*GRU, "numbers", None, "classes", "last")
    rows = iter([0.0, 0.0, 1.0])
    monkeypatch.setattr(
        "elman.export.onnx.compare",
        lambda *given: dataclasses.replace(compare(*given), difference=next(rows)),
    )
    with pytest.raises(ExportError):
        to_onnx(case, tmp_path / "m.onnx", sequences=make_sequences("numbers"))
    assert not list(tmp_path.iterdir())


# -- networks without a file -----------------------------------------------------------------------


def test_a_network_that_amplifies_rounding_is_refused_with_the_length(tmp_path):
    case = make_case(("rnn", "tanh"), 1, False, "numbers", None, "classes", "last", hidden=40)
    with torch.no_grad():
        case.model_.recurrent.weight_hh_l0.mul_(5)
    path = tmp_path / "m.onnx"
    with pytest.raises(ExportError, match="amplifies the rounding") as caught:
        to_onnx(case, path)
    assert not path.exists()
    longest = int(str(caught.value).rpartition(" ")[2])
    report = to_onnx(case, path, longest=longest)
    assert report.parity.longest == longest < 1000
    assert f"up to {longest} steps" in str(report)


def test_a_network_that_overflows_is_refused(tmp_path):
    case = make_case(("rnn", "relu"), 1, False, "numbers", None, "classes", "last")
    with torch.no_grad():
        case.model_.recurrent.weight_hh_l0.fill_(3)
        case.model_.recurrent.weight_ih_l0.fill_(3)
    with pytest.raises(ExportError, match="own answer overflows there"):
        to_onnx(case, tmp_path / "m.onnx")


def own_step(a, u, states):
    return {"h": a["h"] + u["h"]}, {}, {"h": torch.tanh(a["h"] + u["h"])}


def test_a_cell_of_the_users_own_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(cells.CELLS, "mine", Cell("mine", ("h",), own_step))
    CELL_NAMES.append("mine")
    try:
        X = [np.ones((3, 2)), np.zeros((4, 2))] * 5
        own = SequenceClassifier(cell="mine", hidden_size=2, epochs=1, verbose=0).fit(X, [0, 1] * 5)
        with pytest.raises(
            ExportError, match=r"'mine' is a cell of your own.* rnn, gru, lstm only"
        ):
            to_onnx(own, tmp_path / "m.onnx")
    finally:
        CELL_NAMES.remove("mine")


def changed_by_hook(model):
    model.recurrent.register_forward_hook(lambda *_: None)


def changed_by_type(model):
    model.bfloat16()


def changed_by_module(model):
    model.output = torch.nn.Sequential(model.output)


@pytest.mark.parametrize("change", [changed_by_hook, changed_by_type, changed_by_module])
def test_a_changed_network_is_refused(change, tmp_path):
    case = make_case(*GRU, "numbers", None, "classes", "last")
    change(case.model_)
    with pytest.raises(ExportError, match="cannot describe this network"):
        to_onnx(case, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_of_more_than_two_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("elman.export.onnx.MOST_BYTES", 1000)
    with pytest.raises(ExportError, match="one ONNX file holds 1,000"):
        to_onnx(make_case(*GRU, "numbers", None, "classes", "last"), tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", ["gaps", "tokens", "mixed"])
def test_a_network_in_float64_is_written_in_float32(kind, tmp_path):
    case = make_case(*LSTM, kind, "both", "value", "mean")
    case.model_.double()
    assert to_onnx(case, tmp_path / "m.onnx").parity.difference < 1e-5


def test_an_estimator_that_is_not_fitted_is_refused(tmp_path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        to_onnx(SequenceClassifier(), tmp_path / "m.onnx")


def test_files_are_replaced_only_when_asked(tmp_path):
    case, path = fitted("numbers", False, "classes"), tmp_path / "m.onnx"
    path.write_text("mine")
    with pytest.raises(SettingsError, match=r"m\.onnx: exists already"):
        to_onnx(case, path)
    assert path.read_text() == "mine"
    to_onnx(case, path, overwrite=True)
    assert path.stat().st_size > 1000
    with pytest.raises(SettingsError, match="is a folder"):
        to_onnx(case, tmp_path, overwrite=True)
    with pytest.raises(SettingsError, match="longest: got 0"):
        to_onnx(case, tmp_path / "other.onnx", longest=0)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package, tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("elman.export.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=rf"the package {package}, .* 'elman\[onnx\]'"):
        to_onnx(fitted("numbers", False, "classes"), tmp_path / "m.onnx")
