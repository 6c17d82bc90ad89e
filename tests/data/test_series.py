"""Sequences of numbers in the cells of a table, with the label beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from elman import SequenceClassifier
from elman.data import read, summarize, summary_text
from elman.data.columns import TextColumn
from elman.data.faults import Faults
from elman.data.series import SeriesCells, find_series
from elman.data.table import Rows
from elman.errors import DataError

NAN = float("nan")

CELLS: list[tuple[str, list[str], list[Any]]] = [
    ("spaces", ["1.2 3.4 5", "7 8", "9"], [[1.2, 3.4, 5], [7, 8], [9]]),
    ("a list", ["[1.2, 3.4]", "[1, 2, 3]"], [[1.2, 3.4], [1, 2, 3]]),
    ("bars", ["1.2|3.4|5", "1|2"], [[1.2, 3.4, 5], [1, 2]]),
    ("semicolons", ["1.2;3.4;6", "1;2"], [[1.2, 3.4, 6], [1, 2]]),
    ("commas", ["1,2,3", "4,5"], [[1, 2, 3], [4, 5]]),
    ("decimal commas", ["1,5;2,5;3", "1,0;2"], [[1.5, 2.5, 3], [1, 2]]),
    ("decimal commas, spaces", ["1,5 2,5 3", "-1,0 2"], [[1.5, 2.5, 3], [-1, 2]]),
    ("NumPy", ["[1. 2.\n 3.]", "[ 1.  2. ]"], [[1, 2, 3], [1, 2]]),
    ("repr", ["array([1., 2., 3.], dtype=float32)", "array([1, 2])"], [[1, 2, 3], [1, 2]]),
    ("NumPy 2", ["[np.float64(1.5), np.float64(2.0), np.float64(3.0)]"], [[1.5, 2, 3]]),
    ("gaps", ["1 nan 3", "1,,3", "None, 2, 5"], [[1, NAN, 3], [1, NAN, 3], [NAN, 2, 5]]),
    ("signs", ["1e-3 \u22122 +3"], [[0.001, -2, 3]]),
    ("channels", ["[[1,2],[3,4]]", "[[5, 6]]"], [[[1, 2], [3, 4]], [[5, 6]]]),
    ("channels of NumPy", ["[[1. 2.]\n [3. 4.]]", "[[5. 6.]]"], [[[1, 2], [3, 4]], [[5, 6]]]),
    ("channels of torch", ["tensor([[1., 2.], [3., 4.]])"], [[[1, 2], [3, 4]]]),
    ("points", ["(1, 2), (3, 4), (5, 6)"], [[[1, 2], [3, 4], [5, 6]]]),
    ("a matrix", ["1 2;3 4", "5 6"], [[[1, 2], [3, 4]], [[5, 6]]]),
]  # fmt: skip


def column_of(cells: list[str]) -> tuple[SeriesCells, Faults]:
    faults = Faults("a.csv")
    form = find_series(cells)
    assert form is not None
    return SeriesCells(TextColumn("x", Rows(faults), cells), form), faults


@pytest.mark.parametrize(("cells", "numbers"), [x[1:] for x in CELLS], ids=[x[0] for x in CELLS])
def test_cells(cells, numbers):
    column, faults = column_of(cells)
    found, _ = column.series()
    for sequence, expected in zip(found, numbers, strict=True):
        steps = np.array(expected, dtype=float)
        np.testing.assert_array_equal(sequence, steps.reshape(len(steps), -1))
    assert not faults.total


@pytest.mark.parametrize(
    "cells", [["48.1, 11.5", "47.0, 8.5"], ["the cat", "a 1 2"], ["12:30:45"], ["31/01/2024"], [""]]
)
def test_other_cells(cells):
    assert find_series(cells) is None


def test_long_columns_are_read_in_parts(monkeypatch):
    monkeypatch.setattr("elman.data.series._PART", 50)
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(length, 2)).round(3) for length in rng.integers(1, 9, 40)]
    column, _ = column_of([str(each.tolist()) for each in given])
    for sequence, expected in zip(column.series()[0], given, strict=True):
        np.testing.assert_array_equal(sequence, expected)


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        ("1.5 x 3", "number 2, 'x', is not a number"),
        ("[1.5 2.5 ... 9.5]", "numpy.set_printoptions"),
        ("1e999 2 3", "is not finite"),
        ("nan nan", "every value of this sequence is missing"),
        ("", "an empty sequence: the cell holds no number"),
    ],
)
def test_faults_have_their_line(odd, problem, tmp_path):
    lines = ["signal,label", *[f"{i}.5 2 3,{'ab'[i % 2]}" for i in range(20)]]
    lines[7] = f"{odd},b"
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 8, column signal") as caught:
        read(path)
    assert problem in str(caught.value)


def save(tmp_path: Any, text: str, name: str = "a.csv") -> Any:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_of_series(tmp_path):
    rows = [f'{i},"{i}.5 {i + 1} {i + 2}",{"ab"[i % 2]}' for i in range(12)]
    path = save(tmp_path, "id,signal,label\n" + "\n".join(rows))
    data = read(path)
    assert (data.layout.format, data.layout.values, data.layout.wide) == (
        "rows",
        ("signal",),
        ("signal",),
    )
    assert data.inputs[3][:, 0].tolist() == [3.5, 4, 5] and data.labels()[:2] == ["a", "b"]
    text = summary_text(data, summarize(data))
    assert "numbers, 1 channel, each sequence in one cell: signal" in text
    assert "--values signal: each cell holds a sequence of numbers (sure)" in text
    model = SequenceClassifier(hidden_size=2, epochs=1, validation=0).fit(data)
    assert model.columns_.names == ("signal",)
    # A later file with sequences of one step, and a frame.
    later = save(tmp_path, "id,signal,label\n1,5,a\n2,6.5,b\n", "b.csv")
    assert read(later, layout=data.layout).lengths.tolist() == [1, 1]
    frame = pa.table({"id": [1, 2], "signal": ["1 2 3", "4 5"], "label": ["a", "b"]})
    assert len(model.predict(frame)) == 2 and len(model.predict(later)) == 2
    pa.parquet.write_table(frame, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").lengths.tolist() == [3, 2]


def test_several_columns_are_channels(tmp_path):
    rows = [f'"[{i}, 2, 3]","[0.5, {i}, 1]",{30 + i},{"ab"[i % 2]}' for i in range(12)]
    data = read(save(tmp_path, "accX,accY,age,label\n" + "\n".join(rows)))
    assert data.layout.channel_names == ("accX", "accY")
    assert data.inputs[4].tolist() == [[4, 0.5], [2, 4], [3, 1]]
    assert any(guess.columns == ("age",) for guess in data.layout.guesses)
    rows[3] = '"[1, 2]","[1, 2, 3]",30,b'
    with pytest.raises(
        DataError, match=r"line 5, column accY: 'accY' has 3 steps, expected 2 as 'accX'"
    ):
        read(save(tmp_path, "accX,accY,age,label\n" + "\n".join(rows)))


def test_pixels_of_several_subjects(tmp_path):
    rows = [f's{i // 4},"{i} 80 {i + 3}",{i % 2}' for i in range(12)]
    data = read(save(tmp_path, "subject,pixels,emotion\n" + "\n".join(rows)), target="emotion")
    assert data.layout.format == "rows" and data.layout.values == ("pixels",)


def test_texts_and_labels_of_whole_numbers_stay(tmp_path):
    rows = [f'"{i} 80 {i + 3}",{"ab"[i % 2]}' for i in range(12)]
    assert read(save(tmp_path, "text,label\n" + "\n".join(rows))).layout.kind == "text"
    assert (
        read(save(tmp_path, "pixels,label\n" + "\n".join(rows)), text="pixels").layout.kind
        == "text"
    )
    rows = [f"{i / 4},{i / 3},1|{2 + i % 2}|5" for i in range(12)]
    data = read(save(tmp_path, "t1,t2,labels\n" + "\n".join(rows)), task="multilabel")
    assert data.target[0] == frozenset({"1", "2", "5"})


def test_vectors_at_every_step(tmp_path):
    rows = [f'r{i // 3},{i % 3},"0.5 {i} 1",{"ab"[i // 3 % 2]}' for i in range(12)]
    path = save(tmp_path, "id,t,embedding,label\n" + "\n".join(rows))
    data = read(path, id="id")
    assert data.layout.values == ("embedding[1]", "embedding[2]", "embedding[3]")
    assert data.inputs[1].tolist() == [[0.5, 3, 1], [0.5, 4, 1], [0.5, 5, 1]]
    again = read(path, layout=data.layout)
    assert again.inputs[1].tolist() == data.inputs[1].tolist()
