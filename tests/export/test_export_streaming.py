"""ONNX files that read sequences in pieces, with the state as inputs and outputs."""

import itertools

import numpy as np
import onnxruntime
import pytest
from onnx_cases import (
    AXES,
    PER_STEP,
    READOUTS,
    cover_pairs,
    make_case,
    make_sequences,
    make_static,
    name_case,
)

from elman.errors import ExportError
from elman.export import to_onnx
from elman.export.onnx import streaming

FORWARD = (*AXES[:2], (False,), *AXES[3:])
EVERY = [c for c in itertools.product(*FORWARD) if c[-2] not in PER_STEP or c[-1] == READOUTS[0]]


def export(case, tmp_path):
    report = to_onnx(make_case(*case), tmp_path / "m.onnx", streaming=True)
    assert report.parity.difference <= 1e-5
    assert report.parity.longest == 1000


@pytest.mark.parametrize("case", cover_pairs(FORWARD, seed=1)[:25], ids=name_case)
def test_many_combinations(case, tmp_path):
    export(case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=name_case)
def test_every_combination(case, tmp_path):
    export(case, tmp_path)


class Reader:
    """A file that reads in pieces, with the state of its rows."""

    def __init__(self, case, path, rows):
        to_onnx(case, path, streaming=True)
        self.session = onnxruntime.InferenceSession(path)
        self.outputs = [output.name for output in self.session.get_outputs()]
        kinds = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(int64)": "i8"}
        self.state = {
            i.name: np.full((rows, *i.shape[1:]), 7, dtype=kinds[i.type])
            for i in self.session.get_inputs()
            if f"next_{i.name}" in self.outputs
        }
        self.state["steps"][:] = 0  # which starts anew, whatever the other values are

    def __call__(self, x, lengths, **more):
        feeds = {"x": x, "lengths": np.array(lengths), **self.state, **more}
        answer, *after = self.session.run(None, feeds)
        names = (name.removeprefix("next_") for name in self.outputs[1:])
        self.state = dict(zip(names, after, strict=True))
        return answer


@pytest.mark.parametrize("readout", READOUTS)
def test_rows_stop_start_and_wait_by_themselves(readout, tmp_path):
    case = make_case(("lstm", "tanh"), 2, False, "gaps", "both", "classes", readout)
    a, b, c = make_sequences("gaps")[1:4]
    static = {k: np.asarray(v, dtype=object)[[1, 2, 3]] for k, v in make_static().items()}
    expected = case.predict_proba([a, b, c], static=static)
    encoded = case.encode([a, b, c], static=static)
    fixed = {"static": encoded.static.numbers}
    known = case.encoder_.static.categories
    pairs = zip(encoded.static.categories.T, known, strict=True)
    codes = [[names.index(v) + 2 for v in column] for column, names in pairs]
    fixed["static_codes"] = np.array(codes).T
    read = Reader(case, tmp_path / "m.onnx", 3)
    size = max(map(len, (a, b, c)))
    done = [0, 0, 0]
    answers = np.zeros_like(expected)
    for _ in range(3 * size):
        turn = [int(RANDOM.integers(0, 3)) for _ in range(3)]
        take = [min(t, len(s) - d) for t, s, d in zip(turn, (a, b, c), done, strict=True)]
        x = np.full((3, max(1, *take), 3), np.nan)
        for row, (s, d, n) in enumerate(zip((a, b, c), done, take, strict=True)):
            x[row, :n] = s[d : d + n]
        before = {k: v.copy() for k, v in read.state.items()}
        found = read(x, take, **fixed)
        for row, n in enumerate(take):
            if n:
                answers[row] = found[row]
            elif not done[row]:
                assert np.isnan(found[row]).all()  # a row that has read nothing
            else:
                assert np.array_equal(answers[row], found[row])  # a row that waits
                assert all(np.array_equal(before[k][row], v[row]) for k, v in read.state.items())
        done = [d + n for d, n in zip(done, take, strict=True)]
    assert done == [len(a), len(b), len(c)] == read.state["steps"].tolist()
    assert np.abs(answers - expected).max() < 1e-6
    # Row 1 starts anew, with the sequence of row 0 and its features.
    read.state["steps"][1] = 0
    fixed = {k: v[[0, 0, 2]] for k, v in fixed.items()}
    found = read(np.stack([a, a, a]), [0, len(a), 0], **fixed)
    assert np.abs(found[1] - expected[0]).max() < 1e-6
    assert np.abs(found[[0, 2]] - expected[[0, 2]]).max() < 1e-6


RANDOM = np.random.default_rng(8)


def test_a_refused_row_stays_refused_until_it_starts_anew(tmp_path):
    case = make_case(("gru", "tanh"), 1, False, "numbers", None, "value", "last")
    read = Reader(case, tmp_path / "m.onnx", 2)
    x = np.tile([1.7e9, 6.0, 1.0], (2, 2, 1))
    wrong = x.copy()
    wrong[1, 1, 0] = np.nan
    assert np.isnan(read(wrong, [2, 2])).tolist() == [[False], [True]]
    assert read.state["steps"].tolist() == [2, -1]
    assert np.isnan(read(x, [2, 2])).tolist() == [[False], [True]]
    read.state["steps"][:] = 0
    answers = read(x, [2, 2])
    assert np.abs(answers[:, 0] - case.predict(list(x))).max() < 1e-3
    assert np.isnan(read(x, [-1, 3])).all()


@pytest.mark.parametrize("name", ["h", "c", "sum", "carried"])
def test_a_state_that_is_lost_is_found(name, monkeypatch, tmp_path):
    ask = streaming.ask_in_pieces

    class Forgets:
        def __init__(self, session):
            self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
            self.session = session

        def run(self, _, feeds):
            return self.session.run(None, {**feeds, name: 0 * feeds[name]})

    monkeypatch.setattr(
        "elman.export.onnx.ask_in_pieces", lambda session, *rest: ask(Forgets(session), *rest)
    )
    case = make_case(("lstm", "tanh"), 1, False, "gaps", None, "value", "mean")
    with pytest.raises(ExportError, match="does not answer as elman does"):
        to_onnx(case, tmp_path / "m.onnx", streaming=True)
    assert not list(tmp_path.iterdir())


def test_both_directions_are_refused_with_what_to_do(tmp_path):
    case = make_case(("gru", "tanh"), 1, True, "numbers", None, "classes", "last")
    with pytest.raises(ExportError, match=r"both directions.*elman train DATA --streaming"):
        to_onnx(case, tmp_path / "m.onnx", streaming=True)
    assert not list(tmp_path.iterdir())
