"""What the first lines of a table say: comments, properties, names, units, separators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elman.data import read
from elman.data.dataset import Dataset
from elman.data.ragged import Ragged
from elman.errors import DataError

HEADER = "id,t,x,y,label"
ROWS = [
    f"r{s},{t},{s + 0.25 * t},{0.5 - t},{('low', 'high')[s % 2]}"
    for s in range(6)
    for t in range(5)
]


def load(lines: list[str], folder: Path, name: str = "a.csv", **options: object) -> Dataset:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read(folder / name, **options)  # type: ignore[arg-type]


def refused(lines: list[str], folder: Path, **options: object) -> DataError:
    with pytest.raises(DataError) as info:
        load(lines, folder, **options)
    return info.value


def guesses(data: Dataset) -> dict[str, str]:
    return {guess.role: guess.line for guess in data.layout.guesses}


def tabbed(mark: str, lines: list[str]) -> list[str]:
    return [line.replace(",", mark) for line in lines]


def same_rows(data: Dataset, folder: Path) -> None:
    """The sequences are those of the plain file."""
    plain = load([HEADER, *ROWS], folder, "plain.csv")
    assert isinstance(data.inputs, Ragged) and isinstance(plain.inputs, Ragged)
    np.testing.assert_array_equal(data.inputs.values, plain.inputs.values)
    np.testing.assert_array_equal(data.inputs.offsets, plain.inputs.offsets)
    assert data.target is not None and plain.target is not None
    assert list(data.target) == list(plain.target) and data.ids == plain.ids
    assert data.layout.values == plain.layout.values and data.layout.time == "t"


ABOVE = {
    "comments": ["# logger 2", "# rate: 50 Hz, device A"],
    "percent": ["% exported", "%"],
    "slashes": ["// exported", ""],
    "properties": ["Device: ABC", "Serial: 12", "Start: 2024-01-31 12:00", ""],
    "pairs": ["Device,ABC", "Serial,12", "Rate,50"],
    "title": ["Sensor export"],
    "word": ["Export"],
    "spreadsheet title": ["Sensor export,,,,", ",,,,"],
    "spreadsheet properties": ["Device,ABC,,,", "Rate,50,,,", ",,,,"],
    "sections": ["[Header]", "version=2", "rate=50", "[Data]"],
    "quoted comment": ['"# made by a spreadsheet, version 2"'],
}


@pytest.mark.parametrize("above", ABOVE.values(), ids=ABOVE)
def test_lines_above_the_table_are_left_out_and_named(above: list[str], tmp_path: Path) -> None:
    data = load([*above, HEADER, *ROWS], tmp_path)
    same_rows(data, tmp_path)
    count = len([*above])
    assert f"--skip-lines {count}: " in guesses(data)["skip_lines"]
    assert data.lines is not None and data.lines[0] == count + 2
    assert len(load([*above, HEADER, *ROWS], tmp_path, skip_lines=count)) == 6


SAME = {
    "separator": ["sep=;", *tabbed(";", [HEADER, *ROWS])],
    "bar": tabbed("|", [HEADER, *ROWS]),
    "blanks": tabbed("   ", [HEADER, *ROWS]),
    "blanks and tabs": [" " + line for line in tabbed(" \t", [HEADER, *ROWS])],
    "separators at the end": [line + "," for line in [HEADER, *ROWS]],
    "separators after rows": [HEADER, *(line + "," for line in ROWS)],
    "separator after the header": [HEADER + ",", *ROWS],
    "blank lines": ["", "", HEADER, *ROWS],
    "byte order mark": ["\ufeff" + HEADER, *ROWS],
    "index of pandas": ["," + HEADER, *(f"{i},{line}" for i, line in enumerate(ROWS))],
    "names of rows": [
        '"id" "t" "x" "y" "label"',
        *(f'"{i + 1}" ' + line.replace(",", " ") for i, line in enumerate(ROWS)),
    ],
    "names as a comment": [f"# {HEADER}", *ROWS],
    "names with a mark": ["#" + HEADER, *ROWS],
    "single quotes": ["'id','t','x','y','label'", *(f"'{line[:2]}'{line[2:]}" for line in ROWS)],
    "comments below": [HEADER, *ROWS[:7], "# a pause", *ROWS[7:], "# the end"],
    "comments with separators": ["# a, b", HEADER, *ROWS[:7], "# a pause, b", *ROWS[7:]],
    "header again": [HEADER, *ROWS[:10], HEADER, *ROWS[10:20], HEADER, *ROWS[20:]],
    "totals": [HEADER, *ROWS, "Total,,12.5,3.5,"],
    "mean": [HEADER, *ROWS, "mean,2.0,12.5,3.5,"],
}


@pytest.mark.parametrize("lines", SAME.values(), ids=SAME)
def test_the_same_table_written_otherwise(lines: list[str], tmp_path: Path) -> None:
    same_rows(load(lines, tmp_path), tmp_path)


UNITS = {
    "plain": ",s,mV,m/s²,",
    "brackets": "[-],[s],[mV],[m/s²],[-]",
    "parentheses": "-,(s),(mV),(m/s²),-",
}


@pytest.mark.parametrize("line", UNITS.values(), ids=UNITS)
def test_a_line_of_units_below_the_header(line: str, tmp_path: Path) -> None:
    data = load([HEADER, line, *ROWS], tmp_path)
    same_rows(data, tmp_path)
    assert "left out line 2: units: t in s, x in mV, y in m/s²" in guesses(data)["unused"]


def test_a_second_line_of_names(tmp_path: Path) -> None:
    data = load([HEADER, "name,time,position,height,class", *ROWS], tmp_path)
    same_rows(data, tmp_path)
    assert "left out line 2" in guesses(data)["unused"]
    levels = load(["id,t,acc,acc,label", ",,x,y,", *ROWS], tmp_path)
    assert levels.layout.values == ("acc x", "acc y")


def test_properties_of_loggers(tmp_path: Path) -> None:
    """LabVIEW has two blocks of properties and a name Comment without cells."""
    above = ["LabVIEW Measurement\t", "Writer_Version\t2", "Separator\tTab", "Date\t2024/01/31"]
    above += ["***End_of_Header***\t", "\t", "Channels\t2\t\t", "Date\t2024/01/31\t2024/01/31\t"]
    above += ["X_Dimension\tTime\tTime\t", "Delta_X\t0.1\t0.1\t", "***End_of_Header***\t\t\t"]
    rows = [f"{t / 10:.6f}\t{t * 0.5:.6f}\t{1 - t:.6f}" for t in range(30)]
    data = load([*above, "X_Value\tA\tB\tComment", *rows], tmp_path, format="steps")
    assert data.layout.values == ("X_Value", "A", "B") and len(data.inputs.values) == 30  # type: ignore[union-attr]
    assert "--skip-lines 11" in guesses(data)["skip_lines"]


def test_start_and_rate_of_empatica(tmp_path: Path) -> None:
    rows = [f"{i % 7 - 3},{i % 5},{-i % 11}" for i in range(40)]
    above = ["1544027337.0,1544027337.0,1544027337.0", "32.0,32.0,32.0"]
    data = load([*above, *rows], tmp_path, format="steps")
    assert data.lengths.tolist() == [40] and "32 a second" in guesses(data)["header"]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("id,t,x,y", "the header has 4 names, and the lines below it have 5 cells"),
        (HEADER + ",z", "the header has 6 names, and the lines below it have 5 cells"),
        ("id,t,x", "the header has 3 names, and the lines below it have 5 cells"),
    ],
)
def test_a_wrong_header_is_one_fault(header: str, problem: str, tmp_path: Path) -> None:
    error = refused([header, *ROWS], tmp_path)
    assert len(error.faults) == 1 and problem in str(error) and error.line == 1


def test_decimal_commas_without_quotes_are_no_names_of_rows(tmp_path: Path) -> None:
    error = refused(["t,temp", *(f"{t},20,{t + 10}" for t in range(20))], tmp_path)
    assert "separate the cells with semicolons" in str(error) and len(error.faults) == 1


def test_commas_in_names(tmp_path: Path) -> None:
    lines = ['id,t,"Temp, °C","Wind, m/s","state, day"', *ROWS]
    data = load(lines, tmp_path, values="Temp, °C", target="state, day")
    assert data.layout.values == ("Temp, °C",) and data.layout.target == "state, day"
    both = load(lines, tmp_path, values="Wind, m/s,Temp, °C", target="state, day")
    assert both.layout.values == ("Wind, m/s", "Temp, °C")
    assert load(lines, tmp_path, values="Temp,°C", categories="Wind, m/s").layout.categories
    again = read(tmp_path / "a.csv", layout=both.layout)
    assert again.layout.values == both.layout.values and again.target is not None


def test_sequences_named_in_their_first_row_only(tmp_path: Path) -> None:
    words = ["Rain,NN,O", "in,IN,O", "Oslo,NNP,B"]
    lines = ["Sentence #,Word,POS,Tag"]
    for i in range(7):
        lines += [f"Sentence: {i},{words[0]}", *(f",{word}" for word in words[1:])]
    data = load(lines, tmp_path)
    assert data.ids == tuple(f"Sentence: {i}" for i in range(7))
    assert data.lengths.tolist() == [3] * 7 and "filled" in guesses(data)
    assert len(read(tmp_path / "a.csv", layout=data.layout)) == 7


def test_a_bad_first_time_is_one_fault(tmp_path: Path) -> None:
    error = refused([HEADER, "r0,start,0.1,0.2,low", *ROWS[1:]], tmp_path)
    assert [fault.line for fault in error.faults] == [2] and "'start'" in str(error)


def test_lines_that_end_in_a_semicolon(tmp_path: Path) -> None:
    """As the raw files of WISDM: the mark ends every line and divides none."""
    path = tmp_path / "raw.txt"
    rows = [
        f"{i},{'walk' if i % 2 else 'run'},{t},0.{t},{i + t}.25;"
        for i in range(6)
        for t in range(4)
    ]
    path.write_text("\n".join(rows) + "\n")
    data = read(path, id="1", time="3", target="2")
    assert data.layout.values == ("4", "5")
    assert data.inputs[3].tolist() == [[0, 3.25], [0.1, 4.25], [0.2, 5.25], [0.3, 6.25]]
    assert data.labels()[:2] == ["run", "walk"]
    assert any("'0.25;'" in guess.reason for guess in data.layout.guesses)
    (tmp_path / "commas.csv").write_text("1,5;\n2,5;\n3,5;\n")
    assert read(tmp_path / "commas.csv", text="1").inputs == ["1,5", "2,5", "3,5"]
