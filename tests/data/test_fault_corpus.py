"""Faulty files of the formats that are not text tables, and files that are too large."""

from __future__ import annotations

import bz2
import io
import lzma
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from elman.data import read, readers
from elman.data.readers import csv, dialect, header
from elman.errors import DataError, SettingsError


class Fault(NamedTuple):
    """How a file, folder or frame is made, how it is read, and what the message must hold."""

    name: str
    make: Callable[[Path], Any]
    rule: str
    line: int | None
    column: str | int | None
    parts: tuple[str, ...]
    settings: dict[str, Any] = {}  # noqa: RUF012


def text(content: str | bytes) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data) and None  # type: ignore[return-value]


def parquet(columns: dict[str, Any]) -> Callable[[Path], None]:
    return lambda path: pa.parquet.write_table(pa.table(columns), path)


def npz(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def npy(array: Any, **other: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, array, **other)


def cut(make: Callable[[Path], None], keep: float) -> Callable[[Path], None]:
    def made(path: Path) -> None:
        make(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return made


def folder(**files: Any) -> Callable[[Path], None]:
    """A folder; `up__1_csv` is the file up/1.csv."""

    def made(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            file = path / name.replace("__", "/").replace("_", ".")
            file.parent.mkdir(exist_ok=True, parents=True)
            if isinstance(content, np.ndarray):
                np.save(file, content)
            else:
                file.write_text(content)

    return made


def header_that_lies(path: Path) -> None:
    """An array of 8 bytes that says it had 2**40 numbers."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 3)}
    )
    path.write_bytes(file.getvalue() + b"\0" * 8)


def empty_zip(path: Path) -> None:
    zipfile.ZipFile(path, "w").close()


STEPS = {"id": ["s", "s", "t"], "time": [0, 1, 0], "a": [0.1, 0.2, 0.3], "label": ["x", "x", "y"]}
LISTS = {"sequence": [[[1.0, 2.0]], [[3.0, 4.0]]], "label": ["x", "y"]}
X = np.arange(12.0).reshape(2, 3, 2)
Y = np.array(["u", "v"])
HEAD = "@relation r\n@attribute a numeric\n@attribute b numeric\n@attribute c numeric\n"
ARFF = HEAD + "@attribute label {x,y}\n@data\n"
BAG = (
    "@relation r\n@attribute bag relational\n@attribute t1 numeric\n@attribute t2 numeric\n"
    "@end bag\n@attribute label {x,y}\n@data\n"
)

FAULTS = [
    # Parquet, Feather, Arrow.
    Fault("a.parquet", text(""), "empty", None, None, ("empty",)),
    Fault("a.parquet", text("id,a\n1,2\n"), "damaged", None, None, ("Parquet, Feather or Arrow",)),
    Fault("a.parquet", cut(parquet(STEPS), 0.6), "damaged", None, None, ("written to the end",)),
    Fault("a.arrow", text(b"ARROW1\0\0junk"), "damaged", None, None, ("written to the end",)),
    Fault("a.csv", parquet(STEPS), "compressed", None, None, ("Parquet", ".parquet")),
    Fault("a.parquet", parquet({"a": pa.array([], pa.int64())}), "empty", None, None, ("no rows",)),
    Fault("a.parquet", parquet({}), "empty", None, None, ("no columns",)),
    Fault(
        "a.parquet",
        parquet(STEPS | {"a": [0.1, float("inf"), 0.3]}),
        "finite",
        None,
        "a",
        ("row 2: inf is not finite",),
    ),
    Fault(
        "a.parquet",
        parquet(STEPS | {"a": [0.1, 0.2, None]}),
        "no value",
        None,
        "a",
        ("row 3", "every value"),
    ),
    Fault(
        "a.parquet",
        parquet(STEPS | {"a": ["0.1", "oops", "0.3"]}),
        "number",
        None,
        "a",
        ("row 2: 'oops' is not a number",),
    ),
    Fault(
        "a.parquet",
        parquet(STEPS | {"label": ["x", "x", None]}),
        "no label",
        None,
        "label",
        ("row 3: the label is empty",),
    ),
    Fault(
        "a.parquet",
        parquet(STEPS | {"id": ["s", "t", "s"]}),
        "order of rows",
        None,
        "id",
        ("row 3", "ended on row 1"),
    ),
    Fault(
        "a.parquet",
        parquet(STEPS | {"time": [1, 1, 0]}),
        "time twice",
        None,
        "time",
        ("row 2", "time '1' of sequence 's'"),
    ),
    Fault(
        "a.parquet",
        parquet(STEPS | {"time": [1, 0, 0]}),
        "time order",
        None,
        "time",
        ("row 2", "comes after '1'"),
    ),
    Fault(
        "a.parquet",
        parquet(STEPS | {"a": [b"1", b"2", b"3"]}),
        "type",
        None,
        "a",
        ("its type is Binary",),
    ),
    Fault(
        "a.parquet",
        parquet(STEPS | {"a": [{"x": 1}, {"x": 2}, {"x": 3}]}),
        "type",
        None,
        "a",
        ("its type is Struct",),
    ),
    Fault(
        "a.parquet",
        parquet(LISTS | {"sequence": [[[1.0, 2.0]], [[3.0]]]}),
        "channels",
        None,
        None,
        ("row 2", "1 channel, expected 2"),
    ),
    Fault(
        "a.parquet",
        parquet(LISTS | {"sequence": [[[1.0, 2.0]], []]}),
        "empty",
        None,
        None,
        ("row 2", "empty sequence"),
    ),
    Fault("a.parquet", parquet(STEPS), "format", None, None, ("--format ts",), {"format": "ts"}),
    # NumPy.
    Fault("a.npz", text(""), "damaged", None, None, ("NumPy array",)),
    Fault("a.npz", empty_zip, "empty", None, None, ("no arrays",)),
    Fault("a.npz", cut(npz(X=X, y=Y), 0.5), "damaged", None, None, ("written to the end",)),
    Fault("a.npy", text("1,2\n"), "damaged", None, None, ("magic string",)),
    Fault("a.npy", cut(npy(X), 0.9), "damaged", None, None, ("bytes of content",)),
    Fault("a.npy", header_that_lies, "damaged", None, None, ("8 bytes of content",)),
    Fault(
        "a.npy",
        npy(np.array([[1], [1, 2]], dtype=object)),
        "pickle",
        None,
        None,
        ("pickle", "lengths"),
    ),
    Fault(
        "a.npz",
        npz(X=np.array([[1.0], None], dtype=object), y=Y),
        "pickle",
        None,
        None,
        ("array 'X'", "pickle"),
    ),
    Fault("a.npz", npz(X=X), "choice", None, None, ("no array is known to be the target", "'X'")),
    Fault("a.npy", npy(X), "choice", None, None, ("no array is known", "--target")),
    Fault(
        "a.npz",
        npz(y=Y),
        "choice",
        None,
        None,
        ("no array is known to be the sequence", "'y' (2,)"),
    ),
    Fault("a.npz", npz(p=X, q=X, y=Y), "choice", None, None, ("'p' (2, 3, 2)", "--values NAME")),
    Fault("a.npz", npz(X=X[0, 0], y=Y), "shape", None, None, ("(2,)", "(n, T, C)")),
    Fault("a.npz", npz(X=X[:, :0], y=Y), "shape", None, None, ("(2, 0, 2)",)),
    Fault("a.npz", npz(X=X.astype(str), y=Y), "shape", None, None, ("expected numbers",)),
    Fault("a.npz", npz(X=X + 1j, y=Y), "shape", None, None, ("complex", "expected numbers")),
    Fault("a.npz", npz(X=X, y=Y[:1]), "length", None, None, ("(1,)", "expected (2,)")),
    Fault("a.npz", npz(X=X, y=np.full((2, 4), 3)), "length", None, None, ("(2, 4)", "(2, 3)")),
    Fault("a.npz", npz(X=X, y=Y, lengths=[3]), "length", None, None, ("lengths", "(2,)")),
    Fault("a.npz", npz(X=X, y=Y, lengths=[3.0, 2]), "length", None, None, ("float64",)),
    Fault("a.npz", npz(X=X, y=Y, lengths=[3, 4]), "length", None, None, ("sequence 2: length 4",)),
    Fault("a.npz", npz(X=X, y=Y, lengths=[0, 3]), "length", None, None, ("sequence 1: length 0",)),
    Fault(
        "a.npz",
        npz(X=np.where(X == 7, np.inf, X), y=Y),
        "finite",
        None,
        None,
        ("sequence 2, step 1, channel 2: inf",),
    ),
    Fault(
        "a.npz",
        npz(X=np.where(X > 5, np.nan, X), y=Y),
        "no value",
        None,
        None,
        ("sequence 2, step 1", "every value"),
    ),
    Fault(
        "a.npz", npz(X=X, y=["u", " "]), "no label", None, None, ("sequence 2: the label is empty",)
    ),
    Fault("a.npz", npz(X=X, y=np.ones(2, "M8[D]")), "label", None, None, ("datetime64",)),
    Fault("a.npz", npz(X=X, Y=Y), "name", None, None, ("'kind'", "'Y'"), {"target": "kind"}),
    Fault("a.npz", npz(X=X, y=Y), "shape", None, None, ("names 2 arrays",), {"values": ["X", "y"]}),
    Fault("a.npy", npy(X), "label", None, None, ("no file 'l.npy'",), {"target": "l.npy"}),
    # ARFF.
    Fault("a.arff", text(""), "empty", None, None, ("empty",)),
    Fault("a.arff", text(HEAD), "header", None, None, ("no line says @data",)),
    Fault("a.arff", text(ARFF), "empty", 6, None, ("no row follows",)),
    Fault("a.arff", text("@relation r\n@data\n1,x\n"), "header", 2, None, ("no @attribute",)),
    Fault("a.arff", text("@relation r\n1,2\n"), "header", 2, None, ("is before @data",)),
    Fault("a.arff", text("@atribute a real\n"), "header", 1, None, ("Did you mean '@attribute'?",)),
    Fault("a.arff", text("@attribute a date\n@data\n"), "header", 1, None, ("reads no dates",)),
    Fault("a.arff", text(HEAD + "@attribute a real\n"), "name twice", 5, None, ("two attributes",)),
    Fault("a.arff", text(ARFF + "1,2,3,x\n1,2,y\n"), "width", 8, None, ("3 cells, expected 4",)),
    Fault("a.arff", text(ARFF + "1,2,3,x\n{0 1, 3 y}\n"), "sparse", 8, None, ("sparse row",)),
    Fault("a.arff", text(ARFF + "1,2,3,x\n1,2,3,'y\n"), "quote", 8, None, ("not closed",)),
    Fault("a.arff", text(ARFF + "1,two,3,x\n"), "number", 7, "b", ("'two' is not a number",)),
    Fault("a.arff", text(ARFF + "1,2,3,x\n1,2,1e999,y\n"), "finite", 8, "c", ("not finite",)),
    Fault("a.arff", text(ARFF + "1,2,3,x\n1,2,3,X\n"), "label", 8, "label", ("class 'X'",)),
    Fault("a.arff", text(ARFF + "1,2,3,x\n1,2,3,?\n"), "no label", 8, "label", ("is empty",)),
    Fault("a.arff", text(ARFF + "1,2,3,x\n?,?,?,y\n"), "empty", 8, None, ("empty sequence",)),
    Fault("a.arff", text(BAG.replace("@end bag\n", "")), "header", 6, None, ("@end bag",)),
    Fault("a.arff", text(BAG + "'1,2\\n3,4',x\n'1,2',y\n"), "channels", 9, None, ("expected 2",)),
    Fault("a.arff", text(BAG + "'1,2\\n3,4',x\n'1,2\\n3',y\n"), "length", 9, None, ("1 step",)),
    Fault("a.arff", text(BAG + "'1,x\\n3,4',x\n"), "number", 8, None, ("channel 1, step 2: 'x'",)),
    Fault("a.arff", text(BAG + "'?,?\\n?,?',x\n"), "no value", 8, None, ("every value",)),
    Fault("a.arff", text(BAG + "'1,2\\n3,4',z\n"), "label", 8, None, ("class 'z'",)),
    Fault("a.arff", text(BAG + "'1,2\\n3,4',?\n"), "no label", 8, None, ("is empty",)),
    Fault(
        "a.arff",
        text(BAG.replace("{x,y}", "string") + "'1,2\\n3,4',x\n"),
        "label",
        None,
        None,
        ("no attribute is nominal",),
    ),
    Fault(
        "a.arff",
        text(BAG + "'1,2',x\n"),
        "type",
        None,
        None,
        ("--format steps",),
        {"format": "steps"},
    ),
    # Folders.
    Fault("d", folder(), "empty", None, None, ("there is no file in this folder",)),
    Fault("d", folder(**{"1_csv": "a\n1\n"}), "label", None, None, ("folder itself", "1.csv")),
    Fault("d", folder(x__1_png="", x__2_csv="a\n1\n"), "ending", None, None, ("x/1.png",)),
    Fault("d", folder(x__1_csv="a\n1\n", y__2_txt="b"), "kind", None, None, ("one kind of file",)),
    Fault("d", folder(train__x__1_csv="a\n1\n"), "folder", None, None, ("folders within 'train'",)),
    Fault(
        "d",
        folder(x__1_csv="a\n1\n", y__2_csv="b\n1\n"),
        "columns",
        None,
        None,
        ("y/2.csv", "the columns are 'b', in the first file 'a'"),
    ),
    Fault(
        "d",
        folder(x__1_csv="a,b\n1,2\n", y__2_csv="a,b\n1,2\n3,oops\n"),
        "number",
        3,
        "b",
        ("y/2.csv, line 3", "'oops'"),
    ),
    Fault("d", folder(x__1_csv="a\n1\n", y__2_csv=""), "empty", None, None, ("y/2.csv",)),
    Fault("d", folder(x__1_csv="a\n1\n", y__2_csv="a\n"), "empty", 1, None, ("y/2.csv", "no rows")),
    Fault("d", folder(x__1_csv="t,a\n1,1\n1,2\n"), "time twice", 3, "t", ("x/1.csv",)),
    Fault("d", folder(x__1_txt="ab", y__2_txt=" \n"), "empty", None, None, ("y/2.txt", "empty")),
    Fault("d", folder(x__1_npy=np.ones((2, 2, 2))), "shape", None, None, ("(2, 2, 2)", "(T, C)")),
    Fault(
        "d",
        folder(x__1_npy=np.ones((2, 2)), y__1_npy=np.ones((2, 3))),
        "columns",
        None,
        None,
        ("y/1.npy", "in the first file"),
    ),
    # Compression, and files of other programs.
    Fault("a.csv", text(bz2.compress(b"a,b\n1,2\n")[:-4]), "damaged", None, None, ("bunzip2",)),
    Fault("a.csv", text(lzma.compress(b"a,b\n1,2\n")[:-4]), "damaged", None, None, ("unxz",)),
    Fault("a.jsonl", text(b"\x28\xb5\x2f\xfd.."), "damaged", None, None, ("unzstd",)),
    Fault("a.csv", text(b"\x93NUMPY\x01\x00"), "compressed", None, None, (".npy",)),
    Fault("a.dat", text(b"\x89HDF\r\n\x1a\n"), "compressed", None, None, ("HDF5", "numpy.savez")),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.name}-{f.parts[0]}"[:60])
def test_fault(fault: Fault, tmp_path: Path) -> None:
    path = tmp_path / fault.name
    fault.make(path)
    with pytest.raises(DataError) as caught:
        read(path, **{"labelled": True, **fault.settings})
    error = caught.value
    message = str(error)
    assert message.startswith(str(path))
    assert error.total == 1, message
    assert (error.rule, error.line, error.column) == (fault.rule, fault.line, fault.column), message
    for part in fault.parts:
        assert part in message
    assert error.remedy and message.endswith((".", "?")), message


FRAME = pd.DataFrame(STEPS)


@pytest.mark.parametrize(
    ("frame", "parts"),
    [
        (FRAME.iloc[:0], ("no rows",)),
        (FRAME[[]], ("no columns",)),
        (FRAME.set_axis(["id", "a", "a", "label"], axis=1), ("two columns are called 'a'",)),
        (FRAME.assign(a=[1, float("inf"), 2]), ("column a: row 2: inf is not finite",)),
        (FRAME.assign(a=["1", "x", "2"]), ("column a: row 2: 'x' is not a number",)),
        (FRAME.assign(label=["x", "x", None]), ("column label: row 3: the label is empty",)),
        (FRAME.assign(a=[1, {2}, 3]), ("column a: row 2: set",)),
        (FRAME.set_index(["id", "time", "label"]), ("3 levels",)),
        ([1, 2], ("list is not read", "estimators")),
        (np.ones((2, 3)), ("ndarray is not read",)),
        (None, ("NoneType is not read",)),
    ],
)
def test_frames(frame: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        read(frame, labelled=True)
    for part in parts:
        assert part in str(caught.value)


def test_a_fault_in_each_file_of_a_folder_is_told(tmp_path: Path) -> None:
    make = folder(
        x__1_csv="a,b\n1,2\n", x__2_csv="a,b\n1\n2\n", y__3_csv="a,b\nq,2\n1,2\n3,4\n", y__4_csv=""
    )
    make(tmp_path / "d")
    with pytest.raises(DataError) as caught:
        read(tmp_path / "d", labelled=True)
    assert str(caught.value).splitlines()[0] == f"{tmp_path / 'd'}: 4 faults"
    files = [Path(fault.source).name for fault in caught.value.faults]
    assert files == ["2.csv", "2.csv", "3.csv", "4.csv"]


@pytest.mark.parametrize(
    ("name", "settings", "part"),
    [
        ("a.npz", {"id": "x"}, "--id means nothing for the format arrays"),
        ("b.parquet", {"time": "x"}, "--time means nothing for the format jsonl"),
        ("c.arff", {"target": "label"}, "--target means nothing for a relational attribute"),
        ("c.arff", {"values": "t1"}, "--values means nothing for a relational attribute"),
    ],
)
def test_settings_that_make_no_sense(
    name: str, settings: dict[str, Any], part: str, tmp_path: Path
) -> None:
    npz(X=X, y=Y)(tmp_path / "a.npz")
    parquet(LISTS)(tmp_path / "b.parquet")
    text(BAG + "'1,2\\n3,4',x\n")(tmp_path / "c.arff")
    with pytest.raises(SettingsError, match=part):
        read(tmp_path / name, **settings)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.ts", "a.arff"])
def test_a_line_of_two_gigabytes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b"text,label\nab,x\n")
        file.truncate(2 << 30)  # sparse: it takes no room
    with pytest.raises(DataError, match=r"line 3: a line of more than 64 MiB") as caught:
        read(path)
    assert (caught.value.line, caught.value.rule) == (3, "line length")


def test_caps_on_lines_cells_and_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONGEST_LINE", 1000)
    monkeypatch.setattr(readers, "_CHUNK", 64)
    monkeypatch.setattr(csv, "LARGEST_CELL", 100)
    monkeypatch.setattr(dialect, "LARGEST_CELL", 100)
    monkeypatch.setattr(header, "MOST_COLUMNS", 20)
    path = tmp_path / "a.csv"

    def refused(content: str) -> tuple[str, int | None]:
        path.write_text(content)
        with pytest.raises(DataError) as caught:
            read(path)
        return caught.value.rule, caught.value.line

    head = "text,label\r\n"
    assert refused(head + "ab,x\r\n" + "a" * 1100) == ("line length", 3)
    assert refused(head.replace("\r\n", "\r") + "a" * 1100) == ("line length", 2)
    assert refused(head + "ab,x\n" + "a" * 101 + ",y\n") == ("cell size", 3)
    assert refused(head + "ab,x\n" + '"' + "a\n" * 60 + '",y\n') == ("cell size", 3)
    assert refused(head + "ab,x\n" + '"' + "a,b\n" * 60) == ("quote", 3)
    assert refused(",".join(f"v{i}" for i in range(21)) + "\n") == ("columns", 1)
    path.write_text(head + "a" * 100 + ",x\n" + "ab,y\n" * 500)
    assert len(read(path)) == 501


def test_corpus_is_large() -> None:
    assert len(FAULTS) >= 80


def test_an_unclosed_quote_in_a_long_file_costs_little_memory(tmp_path: Path) -> None:
    rows = "".join(f"{i},0.1,b\n" for i in range(60_000))
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n" + rows + '1,2,"open\n' + rows)
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (caught.value.rule, caught.value.line) == ("quote", 60_002)
    assert peak < 30 * path.stat().st_size
