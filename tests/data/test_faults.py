"""All faults of a file are told in one error, in the order of the file, alike ones a few times."""

from __future__ import annotations

from pathlib import Path

import pytest

from elman.data import read
from elman.data.faults import ALIKE, REPORTED
from elman.errors import DataError


def refused(content: str, name: str, tmp_path: Path, **settings: str) -> DataError:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read(path, labelled=True, **settings)
    return caught.value


def told(error: DataError) -> list[tuple[str, int | None, str | int | None]]:
    return [(fault.rule, fault.line, fault.column) for fault in error.faults]


def test_table_of_rows(tmp_path: Path) -> None:
    content = "v1,v2,v3,label\n1,2,3,a\n1,x,inf,a\n1,2\n1,,3,b\n,,,b\n1,2,3,\nNA,NaN,?,a\n"
    error = refused(content, "a.csv", tmp_path)
    assert told(error) == [
        ("number", 3, "v2"),
        ("finite", 3, "v3"),
        ("width", 4, None),
        ("empty", 6, None),
        ("no label", 7, "label"),
        ("no value", 8, "v1"),
    ]
    assert (error.line, error.column, error.total) == (3, "v2", 6)
    lines = str(error).splitlines()
    assert lines[0] == f"{tmp_path / 'a.csv'}: 6 faults"
    remedy = "Correct the cell; if it marks a missing value, say --missing x."
    assert lines[1] == f"  line 3, column v2: 'x' is not a number. {remedy}"
    assert len(lines) == 7


def test_table_of_steps(tmp_path: Path) -> None:
    rows = "x,1,5,u x,1,oops,u x,soon,6,u y,2,7,d y,1,8, ,3,9,d x,4,1,u z,1,,d"
    content = "\n".join(["id,time,a,label", *rows.split()])
    error = refused(content, "a.csv", tmp_path)
    assert set(told(error)) == {
        ("number", 3, "a"),
        ("time twice", 3, "time"),
        ("number", 4, "time"),
        ("time order", 6, "time"),
        ("no id", 7, "id"),
        ("order of rows", 8, "id"),
        ("no value", 9, "a"),
    }
    assert [f.line for f in error.faults] == [3, 3, 4, 6, 7, 8, 9]


def test_an_open_quote_ends_the_reading_and_not_the_telling(tmp_path: Path) -> None:
    content = 'v1,v2,v3,label\n1,2,3,a\n1,x,3,a\n1,2,3,"b\n1,2,3,a\n'
    assert told(refused(content, "a.csv", tmp_path)) == [("number", 3, "v2"), ("quote", 4, None)]


def test_json_lines(tmp_path: Path) -> None:
    content = (
        '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": [1, ""], "tags": ["O"]}\n{"tokens"\n'
        '{"tags": ["O"]}\n{"tokens": ["a"], "tags": ["O", "O"]}\n{"tokens": "a", "tags": [2]}\n'
    )
    assert told(refused(content, "a.jsonl", tmp_path)) == [
        ("type", 2, None),
        ("empty token", 2, None),
        ("JSON", 3, 10),
        ("key", 4, None),
        ("length", 5, None),
        ("type", 6, None),
        ("label type", 6, None),
    ]


def test_numbers_in_json_lines(tmp_path: Path) -> None:
    content = "\n".join(
        f'{{"sequence": {value}, "label": 1}}'
        for value in ("[[1, 2]]", "[[1]]", "[3]", '[[1, "x"]]', "[]", "[[1, null], [1e999, 1]]")
    )
    assert told(refused(content, "a.jsonl", tmp_path)) == [
        ("channels", 2, None),
        ("channels", 3, None),
        ("number", 4, None),
        ("empty", 5, None),
        ("finite", 6, None),
    ]


def test_ts(tmp_path: Path) -> None:
    head = "@problemName p\n@classLabel true a b\n@data\n"
    content = head + "1,2:3,4:a\n1,2:a\n1:2,3:b\n1,x:3,4:c\n1,?:2,inf:b\n:1:a\n"
    assert told(refused(content, "a.ts", tmp_path)) == [
        ("channels", 5, None),
        ("length", 6, None),
        ("label", 7, None),
        ("number", 7, None),
        ("finite", 8, None),
        ("empty", 9, None),
    ]


def test_alike_faults_are_shown_a_few_times_and_counted(tmp_path: Path) -> None:
    rows = [f"1,{'x' if i % 2 else 2},3,{'' if i == 4000 else 'a'}" for i in range(5000)]
    error = refused("\n".join(["v1,v2,v3,label", *rows]), "a.csv", tmp_path)
    assert error.total == 2501
    assert [f.line for f in error.faults] == [3, 5, 7, 9, 11, 4002]
    assert str(error).endswith("\n  ... and 2,495 more")
    assert len(error.faults) == ALIKE + 1


def test_the_first_of_one_rule_are_told_whatever_column_they_are_in(tmp_path: Path) -> None:
    rows = [
        "x,2,3,a" if i > 100 and i % 4 == 1 else "1,2,y,a" if i == 1 else "1,2,3,a"
        for i in range(3000)
    ]
    error = refused("\n".join(["v1,v2,v3,label", *rows]), "a.csv", tmp_path)
    assert told(error)[:2] == [("number", 3, "v3"), ("number", 103, "v1")]


def test_no_more_than_the_limit_is_told(tmp_path: Path) -> None:
    bad = ["x,2,3,a", "inf,2,3,a", "1,,3,a", "1,2,3,", "1,2", ",,,a"] * 10
    error = refused("\n".join(["v1,v2,v3,label", "1,2,3,a", *bad]), "a.csv", tmp_path)
    assert len(error.faults) == REPORTED and error.total == 50
    assert str(error).endswith("... and 30 more")


def test_what_may_follow_from_faults_is_not_told(tmp_path: Path) -> None:
    # No row is left, and without rows there is no telling what the target is.
    assert told(refused("v1,v2,label\n1\n2\n", "a.csv", tmp_path)) == [
        ("width", 2, None),
        ("width", 3, None),
    ]
    assert told(refused("a,b,c\nx,y,z\nx,y\n", "a.csv", tmp_path)) == [("width", 3, None)]
