"""Whether a table has a header: numbers, times and words on the first line, and later files."""

from __future__ import annotations

from pathlib import Path

import pytest

from elman.data import read
from elman.data.dataset import Dataset
from elman.errors import DataError

WIDE = [[round(0.37 * i + 0.11 * t * (i % 3 - 1), 2) for t in range(6)] for i in range(1, 21)]
KINDS = [("up", "down")[i % 2] for i in range(20)]
ROWS = [",".join(map(str, row)) for row in WIDE]
LABELLED = [f"{kind},{row}" for kind, row in zip(KINDS, ROWS, strict=True)]
INDEXED = [f"{i},{row}" for i, row in enumerate(ROWS)]
DAYS = ",".join(f"2024-01-0{day}" for day in range(1, 7))


def load(lines: list[str], folder: Path, name: str = "a.csv", **options: object) -> Dataset:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read(folder / name, **options)  # type: ignore[arg-type]


def said(data: Dataset) -> str:
    return " ".join(guess.line for guess in data.layout.guesses if guess.role == "header")


HEADERS = {
    "counts": ("0,1,2,3,4,5", ROWS),
    "counts from 1": ("1,2,3,4,5,6", ROWS),
    "index": (",0,1,2,3,4,5", INDEXED),
    "labels": ("label,0,1,2,3,4,5", LABELLED),
    "times": ("0.0,0.1,0.2,0.3,0.4,0.5", ROWS),
    "labels and times": ("label,0.0,0.02,0.04,0.06,0.08,0.1", LABELLED),
    "labels and days": (f"label,{DAYS}", LABELLED),
    "days": (DAYS, ROWS),
    "numbers of sensors": ("label,7,13,22,31,44,59", LABELLED),
    "years": ("2001,2002,2003,2004,2005,2006", ROWS),
}


@pytest.mark.parametrize(("header", "rows"), HEADERS.values(), ids=HEADERS)
def test_numbers_and_times_are_a_header(header: str, rows: list[str], tmp_path: Path) -> None:
    data = load([header, *rows], tmp_path, format="rows")
    assert len(data) == 20 and data.layout.header and len(data.layout.values) == 6
    assert data.inputs[0][:, 0].tolist() == WIDE[0]
    assert "--header: " in said(data) and data.lines is not None and data.lines[0] == 2
    assert load([header, *rows], tmp_path, format="rows", header=True).inputs[0].shape == (6, 1)


RECORDS = {
    "flowers": [f"{5 + i / 10},{3 - i / 9:.2f},{i},{'ab'[i % 2]}" for i in range(12)],
    "archive": [
        f"{1 + i % 2},{i * 0.3 + 0.04:.2f},{i * 0.7:.2f},{1 - i * 0.2:.2f}" for i in range(12)
    ],
    "words": [f"film number {i},{'ab'[i % 2]}" for i in range(12)],
    "label first": [f"{('ham', 'spam')[i % 2]}\tmessage number {i} of many" for i in range(12)],
    "counting rows": [f"{i},{i + 1},{i + 2},{i + 3}" for i in range(12)],
    "names of rows": [
        f"r{i},{i * 0.3 + 0.04:.2f},{i * 0.7:.2f},{1 - i * 0.2:.2f}" for i in range(12)
    ],
}


@pytest.mark.parametrize("lines", RECORDS.values(), ids=RECORDS)
def test_the_first_record_is_not_lost(lines: list[str], tmp_path: Path) -> None:
    data = load(lines, tmp_path, format="rows")
    assert len(data) == 12 and not data.layout.header
    assert "--no-header: " in said(data)
    assert len(load(lines, tmp_path, format="rows", header=True)) == 11


def test_a_header_that_nothing_shows_is_said(tmp_path: Path) -> None:
    data = load(["aaba", "abba", "abab", "baba"], tmp_path)
    assert len(data) == 3 and "--header: " in said(data) and "(unsure)" in said(data)
    assert len(load(["aaba", "abba", "abab", "baba"], tmp_path, header=False)) == 4


def test_flags_override_the_guess_and_are_kept(tmp_path: Path) -> None:
    lines = ["0,1,2,3,4,5", *ROWS]
    data = load(lines, tmp_path, format="rows", header=False)
    assert len(data) == 21 and not data.layout.header and not said(data)
    assert len(read(tmp_path / "a.csv", layout=data.layout)) == 21
    skipped = load(["x,y", *lines], tmp_path, format="rows", skip_lines=1)
    assert skipped.layout.skip_lines == 1 and len(skipped) == 20
    assert len(read(tmp_path / "a.csv", layout=skipped.layout)) == 20


def test_a_later_file_needs_the_names(tmp_path: Path) -> None:
    model = load(["label,a,b,c,d,e,f", *LABELLED], tmp_path, format="rows").layout
    with pytest.raises(DataError, match="only numbers, expected the names"):
        load(ROWS, tmp_path, "b.csv", layout=model)
    with pytest.raises(DataError, match="expected the names of the columns"):
        load([f"up,{ROWS[0]}", *LABELLED], tmp_path, "b.csv", layout=model)
    above = ["# logger", "rate: 50", "f,e,d,c,b,a", *ROWS]
    later = load(above, tmp_path, "b.csv", layout=model)
    assert later.inputs[0][:, 0].tolist() == WIDE[0][::-1]
    with pytest.raises(DataError, match="there is no column 'a'"):
        load(["u,v,w,x,y,z", *ROWS], tmp_path, "b.csv", layout=model)


def test_a_header_of_numbers_is_compared_by_content(tmp_path: Path) -> None:
    model = load(["label,0,1,2,3,4,5", *LABELLED], tmp_path).layout
    assert len(load(["0,1,2,3,4,5", *ROWS], tmp_path, "b.csv", layout=model)) == 20
    with pytest.raises(DataError, match="expected the names"):
        load(ROWS, tmp_path, "b.csv", layout=model)


def test_a_header_in_a_later_file_is_no_record(tmp_path: Path) -> None:
    lines = RECORDS["archive"]
    model = load(lines, tmp_path).layout
    assert not model.header and model.target == "1"
    later = load(["class,t0,t1,t2", *lines], tmp_path, "b.csv", layout=model)
    assert (
        len(later) == 12 and later.inputs[0].tolist() == read(tmp_path / "a.csv").inputs[0].tolist()
    )
    (line,) = [guess.line for guess in later.layout.guesses if guess.role == "unused"]
    assert "the training file had none" in line and "matched by position" in line


@pytest.mark.parametrize("header", ["x,y,z", "0,1,2", None])
def test_every_file_of_a_folder_has_the_header_or_none(header: str | None, tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for i in range(3):
            rows = [f"{i * 0.5 + t * 0.1:.2f},{t * 0.3 - i:.2f},{t % 3 + 0.5}" for t in range(5)]
            lines = [header, *rows] if header else rows
            (tmp_path / kind / f"{i}.csv").write_text("\n".join(lines) + "\n")
    data = read(tmp_path)
    assert data.lengths.tolist() == [5] * 6 and data.layout.header == (header is not None)
    assert read(tmp_path, layout=data.layout).lengths.tolist() == [5] * 6


@pytest.mark.parametrize("cell", ["0:", "0"])
def test_words_below_usual_names_are_no_titles(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'"text","label"\n":","a"\n":","a"\n"{cell}","a"\n"{cell}","a"\n')
    data = read(path)
    assert data.layout.header
    assert data.lines is not None
    assert data.lines.tolist() == [2, 3, 4, 5]
