"""The sequence itself some steps ahead as the target: values, gaps, ends, classes and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from elman import SequenceRegressor, SequenceTagger
from elman.data import Layout, Ragged, next_steps, read
from elman.data.ahead import forget_unknown, look_ahead, shift
from elman.data.dataset import Dataset
from elman.errors import DataError, SettingsError


def _later(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    out = np.full_like(values, np.nan)
    for t in range(len(values) - steps):
        out[t] = values[t + steps]
    return out


@pytest.mark.parametrize("steps", [1, 2, 5, 100])
def test_shift_agrees_with_the_definition_in_every_sequence(steps: int) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 2)) for n in (1, 2, 7, 101, 5)]
    later = shift(Ragged.from_list(sequences), steps)
    for own, values in zip(later, sequences, strict=True):
        np.testing.assert_array_equal(own, _later(values, steps))
    tokens = Ragged.from_list([np.array(list("abcdef"), dtype=object)])
    expected = [*"abcdef"[steps:], *[None] * min(steps, 6)]
    assert shift(tokens, steps).values.tolist() == expected


def _write(path: Path, rows: int = 60, label: bool = True) -> Path:
    rng = np.random.default_rng(1)
    head = "id,time,temp,hum,state,label"
    lines = [head if label else head.removesuffix(",label")]
    for name in ("a", "b"):
        for t in range(rows // 2):
            temp, hum = rng.normal(size=2)
            hum_cell = "" if t == 3 else f"{hum:.4f}"
            cells = [name, str(t), f"{temp:.4f}", hum_cell, "on" if temp > 0 else "off"]
            lines.append(",".join([*cells, "good"] if label else cells))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_all_numbers_are_predicted_and_a_label_is_left_out(tmp_path: Path) -> None:
    data = read(_write(tmp_path / "a.csv"), ahead=2)
    assert data.task == "regression" and data.target_names == ("temp", "hum")
    assert data.layout.values == ("temp", "hum") and data.layout.categories == ("state",)
    assert isinstance(data.inputs, Ragged) and isinstance(data.target, Ragged)
    for inputs, target in zip(data.inputs, data.target, strict=True):
        np.testing.assert_array_equal(target, _later(inputs[:, :2].astype(float), 2))


def test_a_named_target_stays_an_input(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv")
    data = read(path, ahead=1, target="temp")
    assert data.target_names == ("temp",) and "temp" in data.layout.values
    assert isinstance(data.target, Ragged) and data.target.values.ndim == 1
    state = read(path, ahead=1, target="state")
    assert state.task == "tagging" and state.layout.class_names == ("off", "on")
    assert isinstance(state.target, Ragged) and isinstance(state.inputs, Ragged)
    assert state.target[0].tolist() == [*state.inputs[0][1:, 2], None]


def test_the_layout_reads_other_files_alike(tmp_path: Path) -> None:
    layout = read(_write(tmp_path / "a.csv"), ahead=3, target="hum").layout
    other = _write(tmp_path / "b.csv", rows=80, label=False)
    again = read(other, layout=layout, labelled=True)
    assert again.layout.ahead == 3 and again.target_names == ("hum",)
    assert read(other, layout=layout, labelled=False).target is None
    short = _write(tmp_path / "c.csv", rows=6, label=False)
    assert read(short, layout=layout).target is None  # to predict, no target is needed
    with pytest.raises(DataError, match="longest sequence has 3"):
        read(short, layout=layout, labelled=True)


def test_text_is_split_into_the_unit_that_the_training_uses(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"the cat sat on mat {i % 3}"}) for i in range(40)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    data = read(tmp_path / "t.jsonl", ahead=1)
    assert data.layout.unit == "words" and data.task == "tagging"
    assert isinstance(data.target, Ragged)
    assert data.target[0].tolist() == ["cat", "sat", "on", "mat", "0", None]
    letters = read(tmp_path / "t.jsonl", ahead=2, tokens="characters")
    assert isinstance(letters.target, Ragged)
    assert letters.target[0].tolist()[:4] == list("e ca")
    model = SequenceTagger(epochs=1, hidden_size=4, random_state=0).fit(letters)
    assert model.encoder_.unit == "characters" and not model.model_.config.bidirectional
    with pytest.raises(SettingsError, match="tokens: got 'words'"):
        SequenceTagger(epochs=1, tokens="words").fit(letters)


def test_a_network_that_sees_the_answer_is_refused(tmp_path: Path) -> None:
    data = read(_write(tmp_path / "a.csv", label=False), ahead=1, values="temp,hum")
    with pytest.raises(SettingsError, match=r"1 step ahead.*--no-bidirectional"):
        SequenceRegressor(readout="every", bidirectional=True, epochs=1).fit(data)
    model = SequenceRegressor(readout="every", epochs=1, hidden_size=4).fit(data)
    assert not model.model_.config.bidirectional


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ahead": 0}, "from 1"),
        ({"ahead": True}, "from 1"),
        ({"ahead": 30}, "longest sequence has 30"),
        ({"ahead": 1, "target": "wind"}, "'wind' is not among the channels"),
        ({"ahead": 1, "target": "temp,state"}, "numbers and categories"),
        ({"ahead": 1, "task": "tagging"}, "--categories"),
    ],
)
def test_what_cannot_be_predicted_is_refused(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises((DataError, SettingsError), match=message):
        read(_write(tmp_path / "a.csv"), **options)


def test_held_out_tokens_that_training_lacks_have_no_label() -> None:
    words = Ragged.from_list([np.array(["a", "b", "c", "b"], dtype=object)])
    plain = Dataset(words, None, "memory", Layout("jsonl", "tokens", text="tokens"))
    data = look_ahead(plain, 1)
    kept, note = forget_unknown(data, {"a", "b"}, "test")
    assert isinstance(kept.target, Ragged)
    assert kept.target.values.tolist() == ["b", None, "b", None]
    assert note.startswith("1 of 3 targets of the test split")
    assert forget_unknown(data, {"a", "b", "c"}) == (data, "")


def test_next_steps_of_arrays_and_tokens() -> None:
    X = np.arange(24, dtype=np.float32).reshape(2, 6, 2)
    y = next_steps(X, 2)
    np.testing.assert_array_equal(y[1][:4], X[1, 2:])
    assert np.isnan(y[0][4:]).all()
    assert next_steps([["a", "b"], ["c"]])[0].tolist() == ["b", None]
    with pytest.raises(DataError, match="holds text"):
        next_steps(["some text"])
    with pytest.raises(DataError, match="longest sequence has 6"):
        next_steps(X, 6)
    model = SequenceRegressor(readout="every", bidirectional=False, epochs=1, hidden_size=4)
    assert model.fit(list(X), y).predict(list(X))[0].shape == (6, 2)
