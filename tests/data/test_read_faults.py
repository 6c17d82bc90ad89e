"""Every faulty file is refused with its place, what was found, and what to do."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from elman.data import check_classes, read
from elman.errors import DataError, SettingsError


class Fault(NamedTuple):
    """A file, how it is read, and what the message must hold."""

    name: str
    content: str | bytes
    line: int | None
    column: str | int | None
    parts: tuple[str, ...]
    settings: dict[str, Any] = {}  # noqa: RUF012


NAMES = "name,language\nIvanov,Russian\nSmith,English\n"
STEPS = "id,time,a,b,label\nx,1,0.1,0.2,up\nx,2,0.3,0.4,up\ny,1,0.5,0.6,down\ny,2,0.7,0.8,down\n"
LONG = "v1,v2,v3,label\n" + "1,2,3,a\n" * 2499 + "1,oops,3,a\n" + "1,2,3,b\n" * 20
TS = "@problemName p\n@univariate false\n@equalLength true\n@classLabel true a b\n@data\n"
TOKENS = '{"tokens": ["a", "b"], "label": "x"}\n'


def steps(*rows: str) -> str:
    return "\n".join(("id,time,a,label", *rows)) + "\n"


FAULTS = [
    # The file as such.
    Fault("a.csv", "", None, None, ("empty", "written to the end")),
    Fault("a.csv", "\n \n", None, None, ("empty",)),
    Fault("a.csv", "name,language\n", 1, None, ("header and no rows",)),
    Fault("a.csv", NAMES.encode("utf-16"), None, None, ("UTF-16", "expected UTF-8", "iconv")),
    Fault("a.csv", NAMES.encode("utf-16-le"), None, None, ("UTF-16", "expected UTF-8")),
    Fault("a.csv", "name,label\nJan,x\nJosé,y\n".encode("latin-1"), 3, None, ("0xe9", "'é'")),
    Fault("a.csv", "\ufeffname,label\né,x\n".encode() + b"\xff\n", 3, None, ("0xff",)),
    Fault("a.csv", gzip.compress(NAMES.encode())[:-4], None, None, ("gzip", "gunzip")),
    Fault("a.csv", b"PK\x03\x04...", None, None, ("zip archive or spreadsheet", "CSV")),
    Fault("a.txt", b"PAR1....", None, None, ("Parquet", "end in .parquet")),
    Fault("a.csv", b"name,label\nab\x00c,x\n", 2, None, ("zero byte", "binary")),
    Fault("a.parquet", "x", None, None, ("cannot be read as Parquet",)),
    Fault("a.xyz", NAMES, None, None, ("'.xyz' are not read", "--format")),
    # The shape of a table.
    Fault("a.csv", "name,label\nx,1\ny\n", 3, None, ("1 cell, expected 2", "Fill the row")),
    Fault("a.csv", "name,label\nx,1\na,b,c\n", 3, None, ("3 cells, expected 2", "quotes")),
    Fault("a.csv", "name,name,label\na,b,c\n", 1, 2, ("two columns are called 'name'",)),
    Fault("a.csv", 'name,label\nx,1\n"y,2\nz,3\n', 3, None, ("not closed", '"y,2')),
    Fault("a.csv", 'name,label\n"a\nb",1\n"c" d,2\n', 4, None, ("not closed", "twice")),
    Fault("a.csv", 'name,label\nx,1\n"a\nb","c\nd,2\n', 4, None, ("not closed", '"c')),
    Fault("a.csv", "text\na\n\nb\n", 3, None, ("empty sequence", "blank")),
    # The target.
    Fault(
        "a.csv", "a,b,c\nx,y,z\nu,v,w\n", None, None, ("target", "'a', 'b', 'c'", "--target NAME")
    ),
    Fault(
        "a.csv",
        NAMES,
        None,
        None,
        ("'langage'", "Did you mean 'language'?", "'name'"),
        {"target": "langage"},
    ),
    Fault(
        "a.csv",
        "text,label,class\na,1,2\n",
        None,
        None,
        ("2 columns", "--target label", "--target class"),
    ),
    Fault(
        "a.jsonl",
        '{"tokens": ["a"], "tags": ["O"], "intent": "x"}\n',
        None,
        None,
        ("`--target intent` one class per sequence", "`--target tags` a class at every step"),
    ),
    Fault("a.csv", "name,label\na,x\nb,\n", 3, "label", ("label is empty",)),
    Fault("a.csv", "text\na\nb\n", None, None, ("no column is known to be the target", "'text'")),
    Fault(
        "a.ts", TS.replace("true a b", "false") + "1,2:3,4\n", None, None, ("@classLabel false",)
    ),
    # Rows.
    Fault("a.csv", "text,label\na,x\n  ,y\n", 3, "text", ("empty sequence",)),
    Fault("a.csv", "v1,v2,label\n1,2,a\n,,b\n", 3, None, ("empty sequence", "'v1'")),
    Fault("a.csv", LONG, 2501, "v2", ("'oops' is not a number",)),
    Fault("a.csv", "v1,v2,v3,label\n1,2,3,a\nnan,nan,NA,b\n", 3, "v1", ("every value", "Drop")),
    Fault("a.csv", "v1,v2,v3,label\n1,2,3,a\n1,-inf,3,b\n", 3, "v2", ("'-inf' is not finite",)),
    Fault("a.csv", "v1,v2,v3,label\n1,2,3,a\n1,1e999,3,b\n", 3, "v2", ("'1e999' is not finite",)),
    Fault("a.csv", "v1,v2,v3,label\n1,2,3,a\n1,1_0,3,b\n", 3, "v2", ("'1_0' is not a number",)),
    Fault("a.csv", "v1;v2;v3;label\n1;2;3.5;a\n1;2,5;3;b\n", 3, "v2", ("'2,5'", "with a point")),
    Fault("a.csv", 'v1,v2,v3,label\n1,2,3,"a\nb"\n1,x,3,c\n', 4, "v2", ("'x' is not a number",)),
    Fault("a.csv", "label\na\nb\n", None, None, ("no column is left", "--text NAME")),
    Fault(
        "a.csv", "a,b,label\nx,y,1\nu,v,2\n", None, None, ("several columns", "'a', 'b'", "--text")
    ),
    # Names of columns.
    Fault("a.csv", NAMES, None, None, ("'nam'", "Did you mean 'name'?", "--text"), {"text": "nam"}),
    Fault("a.csv", STEPS, None, None, ("'bb'", "--values"), {"values": ["a", "bb"]}),
    Fault("a.csv", STEPS, None, None, ("'times'", "Did you mean 'time'?"), {"time": "times"}),
    Fault("a.csv", STEPS, None, None, ("'ids'", "--id"), {"id": "ids"}),
    Fault("a.csv", STEPS, None, None, ("'a' is used twice",), {"values": "a", "target": "a"}),
    Fault("a.csv", NAMES, None, None, ("which sequence a row belongs to",), {"format": "steps"}),
    Fault(
        "a.csv",
        "id,date,time,a,label\nx,1,1,1,u\nx,2,2,2,u\n",
        None,
        None,
        ("2 columns could be the time", "--time NAME"),
    ),
    # Steps.
    Fault(
        "a.csv",
        steps("x,1,5,u", "x,1,6,u", "y,1,7,d", "y,2,8,d"),
        3,
        "time",
        ("time '1' of sequence 'x' is there twice", "--time"),
    ),
    Fault(
        "a.csv",
        steps("x,1,5,u", "x,2,6,u", "y,2,7,d", "y,1,8,d"),
        5,
        "time",
        ("time '1' of sequence 'y' comes after '2'", "Sort"),
    ),
    Fault(
        "a.csv",
        steps("x,2024-01-02,5,u", "x,2024-01-01,6,u", "y,2024-01-01,7,d"),
        3,
        "time",
        ("comes after '2024-01-02'",),
    ),
    Fault(
        "a.csv",
        steps("x,1,5,u", "x,soon,6,u", "y,1,7,d", "y,2,7,d"),
        3,
        "time",
        ("time: 'soon' is not a number",),
    ),
    Fault(
        "a.csv",
        steps("x,1,5,u", "y,1,6,d", "y,2,6,d", "x,2,7,u"),
        5,
        "id",
        ("sequence 'x' continues here", "ended on line 2", "Sort"),
    ),
    Fault("a.csv", steps("x,1,5,u", "x,2,6,u", ",3,7,u"), 4, "id", ("id is empty",)),
    Fault(
        "a.csv",
        steps("x,1,5,u", "x,2,5,u", "y,1,nan,d", "y,2,nan,d"),
        4,
        "a",
        ("every value of this sequence",),
    ),
    Fault("a.csv", steps("x,1,5,u", "x,2,five,u", "y,1,7,d", "y,2,8,d"), 3, "a", ("'five'",)),
    Fault("a.csv", "id,token,tag\nx,the,D\nx,,N\ny,a,D\ny,b,N\n", 3, "token", ("token is empty",)),
    Fault(
        "a.csv",
        steps("x,2024-01-01,5,u", "x,soon,6,u", "y,2024-01-01,7,d"),
        3,
        "time",
        ("time 'soon', expected a time such as 2024-01-01",),
    ),
    Fault(
        "a.csv",
        steps("x,1,5,u", "x,,6,u", "y,1,7,d", "y,2,7,d"),
        3,
        "time",
        ("time: missing value",),
    ),
    Fault(
        "a.csv",
        "date,open,close,label\n1,2,3,up\n2,3,4,down\n",
        None,
        None,
        ("'date' looks like the time", "--id NAME", "--format rows"),
    ),
    Fault("a.csv", TOKENS, None, None, ("holds JSON objects", "--format jsonl")),
    # JSON lines.
    Fault("a.jsonl", TOKENS + '{"tokens": ["a"] "label": "x"}\n', 2, 18, ("not valid JSON",)),
    Fault("a.jsonl", TOKENS + "[1, 2]\n", 2, None, ("a list, expected an object",)),
    Fault("a.json", '[{"tokens": ["a"], "label": "x"}, 5]\n', 1, None, ("expected an object",)),
    Fault("a.jsonl", TOKENS + '{"label": "x"}\n', 2, None, ("'tokens' is missing", "'label'")),
    Fault("a.jsonl", TOKENS + '{"tokens": ["a"]}\n', 2, None, ("'label' is missing",)),
    Fault(
        "a.jsonl",
        TOKENS + '{"tokens": "a b", "label": "x"}\n',
        2,
        None,
        ("text ('a b'), expected a list of tokens",),
    ),
    Fault("a.jsonl", TOKENS + '{"tokens": [], "label": "x"}\n', 2, None, ("empty sequence",)),
    Fault(
        "a.jsonl", TOKENS + '{"tokens": ["a", ""], "label": "x"}\n', 2, None, ("token 2", "empty")
    ),
    Fault(
        "a.jsonl",
        TOKENS + '{"tokens": ["a", 7], "label": "x"}\n',
        2,
        None,
        ("token 2", "a whole number (7)", "--values tokens"),
    ),
    Fault(
        "a.jsonl",
        TOKENS + '{"tokens": ["a"], "label": 3}\n',
        2,
        None,
        ("a whole number (3)", "first line text ('x')"),
    ),
    Fault("a.jsonl", TOKENS + '{"tokens": ["a"], "label": ""}\n', 2, None, ("label", "empty")),
    Fault("a.jsonl", TOKENS + '{"tokens": ["a"], "label": null}\n', 2, None, ("empty",)),
    Fault("a.jsonl", TOKENS + '{"tokens": ["a"], "label": ["x"]}\n', 2, None, ("is a list",)),
    Fault(
        "a.jsonl",
        '{"tokens": ["a"], "label": "a"}\n{"tokens": ["a"], "label": 0.5}\n',
        2,
        None,
        ("a number (0.5)", "classes"),
    ),
    Fault(
        "a.jsonl",
        '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": ["a", "b"], "tags": ["O"]}\n',
        2,
        None,
        ("'tags' has 1 label, expected 2",),
    ),
    Fault(
        "a.jsonl",
        '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": ["a"], "tags": "O"}\n',
        2,
        None,
        ("text ('O'), expected a list",),
    ),
    Fault("a.jsonl", '{"text": "ab", "tags": ["O", "O"]}\n', None, None, ("no steps", '"tokens"')),
    Fault("a.jsonl", '{"sequence": [null, NaN], "label": 1}\n', 1, None, ("every value",)),
    Fault("a.jsonl", '{"sequence": [1, "2"], "label": 1}\n', 1, None, ("step 2", "text ('2')")),
    Fault("a.jsonl", '{"sequence": [1, true], "label": 1}\n', 1, None, ("true or false",)),
    Fault("a.jsonl", '{"sequence": [1, 1e999], "label": 1}\n', 1, None, ("too large",)),
    Fault(
        "a.jsonl", '{"sequence": [1, 1' + "0" * 400 + '], "label": 1}\n', 1, None, ("too large",)
    ),
    Fault("a.jsonl", '{"sequence": [1, -Infinity], "label": 1}\n', 1, None, ("Infinity is no",)),
    Fault(
        "a.jsonl",
        '{"sequence": [1, 2], "label": NaN}\n',
        1,
        None,
        ("'label': the label is a number",),
    ),
    Fault("a.jsonl", '{"tokens": ["a", NaN], "label": 1}\n', 1, None, ("token 2",)),
    Fault(
        "a.jsonl",
        '{"sequence": [[1, 2]], "label": 1}\n{"sequence": [[1, 2], [1]], "label": 1}\n',
        2,
        None,
        ("step 2", "1 channel, expected 2"),
    ),
    Fault("a.jsonl", '{"sequence": [[1, 2], 3], "label": 1}\n', 1, None, ("list of 2 channels",)),
    Fault(
        "a.jsonl",
        '{"words": ["a"], "lemmas": ["a"], "label": 1}\n',
        *(None, None, ("looked for 'tokens'", "'words'")),
    ),
    Fault("a.jsonl", '{"text": "a", "sequence": [1], "label": 1}\n', None, None, ("several keys",)),
    Fault("a.jsonl", '{"tokens": ["\\ud800"], "label": 1}\n', 1, None, ("surrogate",)),
    Fault("a.jsonl", '{"text": " ", "label": 1}\n', 1, None, ("empty sequence",)),
    Fault("a.jsonl", '{"text": 5, "label": 1}\n', 1, None, ("expected",)),
    Fault("a.jsonl", "[" * 100_000 + "\n", 1, None, ("JSON",)),
    Fault("a.jsonl", TOKENS, None, None, ("'lable'", "Did you mean 'label'?"), {"target": "lable"}),
    Fault("a.jsonl", TOKENS, None, None, ("'token'", "Did you mean 'tokens'?"), {"text": "token"}),
    Fault("a.jsonl", TOKENS, None, None, ("'label' is used twice",), {"text": "label"}),
    # .ts
    Fault("a.ts", "@problemName p\n@classLabel true a\n", None, None, ("no line says @data",)),
    Fault("a.ts", "@univariate true\n1,2:a\n", 2, None, ("before @data",)),
    Fault("a.ts", TS, 5, None, ("no case follows",)),
    Fault("a.ts", "@timestamps true\n" + TS + "1,2:a\n", 1, None, ("time stamps",)),
    Fault(
        "a.ts",
        "@targetLabel true\n@data\n1,2:up\n",
        3,
        None,
        ("@targetLabel true: 'up' is not a number",),
    ),
    Fault("a.ts", "@classLabel maybe\n@data\n1,2:0.5\n", 1, None, ("'maybe'", "true or false")),
    Fault("a.ts", "@classLabel true\n@data\n1,2:0.5\n", 1, None, ("names no classes",)),
    Fault("a.ts", "@dimensions two\n@data\n1,2:0.5\n", 1, None, ("'two'",)),
    Fault("a.ts", TS + "1,2:3,4:a\n1,2:3,4:A\n", 7, None, ("class 'A'", "'a', 'b'")),
    Fault("a.ts", TS + "1,2:3,4:a\n1,2:3,4:\n", 7, None, ("label is empty",)),
    Fault("a.ts", TS + "1,2:3,4:a\n1,2:a\n", 7, None, ("1 channel, expected 2",)),
    Fault("a.ts", TS + "1,2:3,4:a\n1,2:3:a\n", 7, None, ("channel 2 has 1 step, expected 2",)),
    Fault("a.ts", TS + "1,2:3,4:a\n1:3:a\n", 7, None, ("1 step, expected 2", "equal lengths")),
    Fault("a.ts", TS + "1,2:3,4:a\n1,2:3,inf:b\n", 7, None, ("channel 2, step 2: 'inf' is not",)),
    Fault("a.ts", TS + "1,2:3,4:a\n1,x:3,4:b\n", 7, None, ("channel 1, step 2: 'x'",)),
    Fault("a.ts", TS + "1,2:3,4:a\n?,?:NaN,?:b\n", 7, None, ("every value",)),
    Fault("a.ts", TS + "1,2:3,4:a\n:3:b\n", 7, None, ("channel 1 has no values",)),
    Fault(
        "a.ts",
        "@univariate true\n@classLabel true a\n@data\n1:2:a\n",
        4,
        None,
        ("2 channels, expected 1",),
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.name}-{f.parts[0]}"[:60])
def test_fault(fault: Fault, tmp_path: Path) -> None:
    path = tmp_path / fault.name
    content = fault.content
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        read(path, labelled=True, **fault.settings)
    error = caught.value
    message = str(error)
    assert message.startswith(str(path))
    assert (error.line, error.column) == (fault.line, fault.column), message
    for part in fault.parts:
        assert part in message
    assert error.rule, message
    assert error.remedy and message.endswith((".", "`", "?")), message
    assert ".." not in message.replace("...", "") and "  " not in message
    assert "?." not in message.replace("'?.", "")


def test_corpus_is_large() -> None:
    assert len(FAULTS) >= 100


def test_missing_file_names_near_ones(tmp_path: Path) -> None:
    (tmp_path / "names_train.csv").write_text(NAMES)
    with pytest.raises(DataError, match=r"no such file. Did you mean 'names_train.csv'"):
        read(tmp_path / "name_train.csv")
    with pytest.raises(DataError, match=r"no such file. The folder holds 'names_train.csv'"):
        read(tmp_path / "zzz")
    with pytest.raises(DataError, match="there is no folder"):
        read(tmp_path / "no" / "a.csv")


def test_a_folder_of_files_and_no_classes_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(NAMES)
    with pytest.raises(DataError, match=r"lie in the folder itself.* or give one of them: 'a.csv'"):
        read(tmp_path, labelled=True)


@pytest.mark.parametrize(
    ("name", "content", "settings", "part"),
    [
        ("a.ts", TS + "1,2:3,4:a\n", {"id": "x"}, "--id means nothing for the format ts"),
        ("a.ts", TS + "1,2:3,4:a\n", {"target": "x"}, "--target means nothing"),
        ("a.jsonl", TOKENS, {"time": "x"}, "--time means nothing for the format jsonl"),
        (
            "a.conll",
            "a X\nb Y\n\nc X\n",
            {"header": False},
            "--header means nothing for the format",
        ),
        ("a.arff", "@data\n", {"skip_lines": 1}, "--skip-lines means nothing for an .arff file"),
        ("a.csv", "id,t,v,y\n1,0,3,a\n1,1,3,a\n2,0,1,b\n", {"dates": "dmy"}, "times are numbers"),
        ("a.csv", NAMES, {"format": "rows", "time": "name"}, "--format steps"),
        ("a.csv", NAMES, {"format": "row"}, "Did you mean 'rows'?"),
        ("a.csv", NAMES, {"text": "a", "values": "b"}, "exclude each other"),
    ],
)
def test_settings_that_make_no_sense(
    name: str, content: str, settings: dict[str, Any], part: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(SettingsError) as caught:
        read(path, **settings)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "line", "parts"),
    [
        (
            "text,label\na,x\nb,x\n",
            None,
            ("every sequence has the label 'x'", "at least 2 classes"),
        ),
        ("text,label\na,x\nb,x\nc,y\n", 4, ("at least 2 sequences", "'y' has 1")),
    ],
)
def test_check_classes_refuses(
    content: str, line: int | None, parts: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        check_classes(read(path))
    assert caught.value.line == line and caught.value.column == "label"
    for part in parts:
        assert part in str(caught.value)


def test_check_classes_without_labels_and_with_tags(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": ["a", "b"], "tags": ["O", "O"]}\n')
    with pytest.raises(DataError, match="no labels"):
        check_classes(read(path, labelled=False))
    with pytest.raises(DataError, match="every step has the label 'O'"):
        check_classes(read(path))
    path.write_text('{"tokens": ["a", "b"], "tags": ["O", "B"]}\n')
    check_classes(read(path))


def test_check_classes_minimum_is_the_callers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,x\nb,x\nc,y\n")
    check_classes(read(path), minimum=1)
    with pytest.raises(DataError, match="at least 3 sequences; 'x' has 2, 'y' has 1"):
        check_classes(read(path), minimum=3)
