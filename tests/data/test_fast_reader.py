"""The fast reader of tables gives what the careful one gives, or leaves the file to it."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import read
from elman.data.cells import NumberCells, move_numbers
from elman.data.columns import TextColumn
from elman.data.faults import Faults
from elman.data.readers import TextFile, csv, fast
from elman.data.readers.dialect import HEAD, LARGEST_CELL, find_dialect
from elman.errors import DataError

NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.integers(0, 3).map(str),
    st.floats(allow_infinity=False).map(repr),
    st.floats(-100, 100).map("{:.3f}".format),
    st.sampled_from(
        ["007", "+5", "-0", "1.", ".5", "1e5", "1_000", "inf", "1e999", " 2 ", "٣", "NA"]
    ),
)
WORDS = st.sampled_from(
    ["", "a", "b", " a ", "x y", "ü", 'say "hi"', "a,b", "two\nlines", "?", "\ta"]
)
ODD = st.sampled_from(['"', 'a"b', '"a"b', '"open', "\r", "\n", "\r\n", "1,2,3", "  "])
LARGE = "x" * 300


def quoted(cell: str, always: bool) -> str:
    needed = always or any(mark in cell for mark in ',"\n\r')
    return '"' + cell.replace('"', '""') + '"' if needed else cell


@st.composite
def tables(draw: st.DrawFn) -> str:
    """A CSV text without a header: mostly right, sometimes with something odd in a cell."""
    width = draw(st.integers(1, 4))
    kinds = [draw(st.sampled_from([NUMBERS, NUMBERS, WORDS])) for _ in range(width)]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        cells = [quoted(draw(kind), draw(st.integers(0, 5)) == 0) for kind in kinds]
        if draw(st.integers(0, 40)) == 0:
            cells[0] = draw(st.one_of(ODD, st.just(LARGE)))
        rows.append(",".join(cells) + (end if draw(st.integers(0, 20)) else end + end))
    text = "".join(rows)
    return text if draw(st.booleans()) else text.rstrip("\r\n")


@settings(max_examples=400, deadline=None)
@given(text=tables(), block=st.sampled_from([7, 64, 1 << 20]), most=st.sampled_from([200, 1 << 20]))
def test_the_fast_reader_agrees_with_the_careful_one(text: str, block: int, most: int) -> None:
    if not text.strip():
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "_BLOCK", block)
        patch.setattr(fast, "_PIECE", block)
        patch.setattr(fast, "_PIECE_CELL", 1)
        patch.setattr(fast, "count_first", lambda columns: 3)
        file = TextFile(text.encode(), "a.csv")
        faults = Faults("a.csv")
        dialect = find_dialect(file.head(HEAD), faults, delimiter=",", header=False)
        above = "".join(islice(io.StringIO(text, newline=""), dialect.body))
        found = fast.read_cells(file, dialect, len(above.encode()), most)
        if found is None:
            return
        assert max(map(len, text.split("\n"))) <= LARGEST_CELL
        cells, lines = csv._read_carefully(file, dialect, faults, 0, True)
        assert faults.total == int(found.broken is not None)
        if found.broken:
            again = Faults("a.csv")
            at, line = found.broken
            csv._report_uncut(text.encode()[at:].decode(), line, dialect, again)
            assert told(again) == told(faults)
        assert found.lines.tolist() == lines.tolist()
        for a, b in zip(found.cells, cells, strict=True):
            check(a, b)


def told(faults: Faults) -> str:
    with pytest.raises(DataError) as caught:
        faults.stop()
    return str(caught.value)


def check(a: fast.Cells, b: fast.Cells) -> None:
    """The answers of two columns are the same, whatever they are kept as."""
    texts = b.texts()
    assert a.texts() == texts and len(a) == len(b)
    assert a.head(2) == texts[:2] and a.cell(len(a) - 1) == texts[-1]
    assert list(a.strings() if isinstance(a.strings(), list) else a.strings().to_pylist()) == texts
    codes, different = a.factorize()
    expected, words = b.factorize()
    assert codes.tolist() == expected.tolist() and different == words
    assert a.blank().tolist() == [not text.strip() for text in texts]
    assert set(a.sample()) <= set(texts) and a.sample()
    if a.values is not None:
        words = fast._GAPS
        numbers = [float("nan") if t.strip() in words else float(t) for t in texts]
        np.testing.assert_array_equal(a.values, numbers)


def parts(text: str, path: Path) -> list[fast.Cells]:
    path.write_text(text)
    file = TextFile(path, "a.csv")
    dialect = find_dialect(file.head(HEAD), Faults("a.csv"))
    found = fast.read_cells(file, dialect, len(text.split("\n")[0]) + 1, LARGEST_CELL)
    assert found is not None and found.broken is None
    return found.cells


def test_plain_files_are_read_fast_and_columns_are_of_the_smallest_kind(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 3},{i / 7:.4f},{'ab'[i % 2]},word {i},{i}\n" for i in range(5000))
    late = rows + "007,1,,b,x,1.5\n"
    cells = parts("a,b,c,d,e,f\n" + rows, tmp_path / "a.csv")
    assert [type(own).__name__ for own in cells] == (
        ["WholeCells", "ArrowCells", "NumberCells", "ArrowCells", "ArrowCells", "WholeCells"]
    )
    cells = parts("a,b,c,d,e,f\n" + late, tmp_path / "a.csv")
    kinds = ["NumberCells", "ArrowCells", "NumberCells", "ArrowCells", "ArrowCells", "NumberCells"]
    assert [type(own).__name__ for own in cells] == kinds
    assert cells[0].cell(5000) == "007" and cells[5].cell(5000) == "1.5"
    assert cells[2].blank().sum() == 1


@pytest.mark.parametrize(
    "odd", ['1,a"b\n', '"1"2,x\n', '"1,x\n', "1\n", "1,2,3\n", "1,2\r3,4\n", "  \n"]
)
def test_files_that_are_not_plainly_right_are_left_to_the_careful_reader(
    odd: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError):
        parts("a,b\n1,2\n" + odd + "3,4\n", tmp_path / "a.csv")


def test_channels_keep_one_copy_of_the_numbers_and_their_exact_cells(tmp_path: Path) -> None:
    rows = "".join(f"{i // 10},{i % 10},{i / 7:.4f},{-i / 3:.2f}\n" for i in range(60_000))
    cells = parts("id,t,a,b\n" + rows + "6000,0,,007.5\n", tmp_path / "a.csv")[2:]
    assert all(isinstance(own, NumberCells) for own in cells)
    assert len(cells[0].data.chunks) > 1
    expected = [own.values.copy() for own in cells]
    values = np.empty((60_001, 2))
    move_numbers(cells, values)
    for c, own in enumerate(cells):
        np.testing.assert_array_equal(values[:, c], expected[c])
        assert np.shares_memory(own.values, values) and len(own) == 60_001
    assert cells[1].cell(60_000) == "007.5" and cells[0].blank().sum() == 1


def test_labels_of_steps_make_no_object_for_each_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: TextColumn, *_: object) -> None:
        raise AssertionError("a Python object for every row")

    for name in ("labels", "label_cells", "texts"):
        monkeypatch.setattr(TextColumn, name, refuse)
    rows = [f"{i // 10},{i % 10},{i % 7},{'ab'[i // 10 % 2]},{i // 20}\n" for i in range(1000)]
    path = tmp_path / "a.csv"
    path.write_text("id,t,x,label,subject\n" + "".join(rows))
    data = read(path, group="subject")
    assert isinstance(data.target, np.ndarray) and data.target[:3].tolist() == ["a", "b", "a"]
    assert len(data.target) == 100 and data.groups[:3] == ("0", "0", "1")
