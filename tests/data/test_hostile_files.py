"""Damaged and hostile files: refused by an error of elman that names the file, never a crash."""

from __future__ import annotations

import bz2
import datetime
import io
import json
import lzma
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

from elman import SequenceClassifier
from elman.data import describe, read, summarize, summary_text
from elman.errors import DataError, ElmanError

TEXT = 'text,label\n"' + "a word\n" * 40 + '",a\nb,b\n'


def arrow(path: Path, **columns: Any) -> Path:
    table = pa.table(columns)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    return path


def bad_offsets() -> Any:
    """Text whose second cell starts far outside of its buffer."""
    offsets = pa.py_buffer(struct.pack("<4i", 0, 1 << 30, 2, 3))
    return pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"abc")])


def bad_codes() -> Any:
    codes = pa.array([0, 1, 1 << 30], pa.int32())
    return pa.DictionaryArray.from_arrays(codes, pa.array(["a", "b"]), safe=False)


def bad_lists() -> Any:
    offsets = pa.array([0, 2, 1 << 28, 3], pa.int32()).buffers()[1]
    values = pa.array([1.0, 2.0, 3.0])
    return pa.Array.from_buffers(pa.list_(pa.float64()), 3, [None, offsets], children=[values])


BROKEN: dict[str, Callable[[], Any]] = {
    "offsets": bad_offsets,
    "codes": bad_codes,
    "lists": bad_lists,
    "text": lambda: pa.Array.from_buffers(
        pa.string(),
        3,
        [None, pa.py_buffer(struct.pack("<4i", 0, 1, 2, 3)), pa.py_buffer(b"\xff" * 3)],
    ),
}


def use_broken(what: str, door: str, folder: Path) -> str:
    """Return the message of the error that a door raises for a broken column."""
    column = BROKEN[what]()
    labels = ["a", "b", "a"]
    table = pa.table({"x": column, "label": labels})
    model = SequenceClassifier(epochs=1)
    doors: dict[str, Callable[[], Any]] = {
        "file": lambda: describe(read(arrow(folder / "a.arrow", x=column, label=labels))),
        "frame": lambda: describe(read(table)),
        "estimator": lambda: model.fit(table, labels),
        "list of frames": lambda: model.fit([table, table], labels[:2]),
    }
    try:
        doors[door]()
    except ElmanError as error:
        return str(error)
    return "read"


DOORS = ("file", "frame", "estimator", "list of frames")


def use_all(folder: Path) -> None:
    """Print what each door says to each column; such a column used to end the process."""
    for what in BROKEN:
        for door in DOORS:
            child = os.fork()
            if not child:
                print(f"{what}|{door}|{use_broken(what, door, folder)}", flush=True)
                os._exit(0)
            os.waitpid(child, 0)


def test_broken_arrow_tables_are_refused(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_hostile_files as t;"
        "from pathlib import Path; t.use_all(Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    said = {tuple(line.split("|")[:2]): line for line in done.stdout.splitlines()}
    for what in BROKEN:
        for door in DOORS:
            line = said.get((what, door), "the process ended")
            assert "damaged" in line or "cannot be read" in line, (what, door, line, done.stderr)


DAY = 86_400 * 10**6
FAR: dict[str, Any] = {
    "after the year 9999": pa.array([0, 4_000_000 * DAY], pa.timestamp("us")),
    "before the year 1": pa.array([0, -800_000 * DAY], pa.timestamp("us")),
    "a date after 9999": pa.array([0, 2**31 - 1], pa.int32()).view(pa.date32()),
    "a long duration": pa.array([0, 2**62], pa.duration("s")),
}


@pytest.mark.parametrize("what", FAR)
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_dates_that_python_has_not(what: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    columns = {"id": ["p", "p"], "when": FAR[what], "x": [1.0, 2.0]}
    if ending == "arrow":
        arrow(path, **columns)
    else:
        pa.parquet.write_table(pa.table(columns), path)
    if what == "a long duration" and ending == "parquet":
        return  # as Parquet knows none, pyarrow keeps the type beside it; the same code reads it
    with pytest.raises(DataError, match=r"row 2.*cannot be read") as info:
        read(path)
    assert info.value.column == "when" and "9999" in str(info.value)


def test_types_that_no_library_reads(tmp_path: Path) -> None:
    for kind, problem in (
        (pa.timestamp("us", "Nowhere/Land"), "there is no time zone 'Nowhere/Land'"),
        (pa.decimal128(10, -5), "type is decimal128"),
    ):
        path = arrow(tmp_path / "a.arrow", x=pa.nulls(2, kind), label=["a", "b"])
        with pytest.raises(DataError, match=problem) as info:
            read(path)
        assert info.value.column == "x"


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = arrow(tmp_path / "a.arrow", name=["a b"], label=["x"])
    path.write_bytes(path.read_bytes().replace(b"name", b"\xff\xfeme"))
    with pytest.raises(DataError, match="cannot be read as Parquet, Feather or Arrow"):
        read(path)


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_a_damaged_second_stream_is_no_end(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Python's modules read the first stream and take what follows for nothing."""
    path = tmp_path / ("a.csv.bz2" if pack is bz2.compress else "a.csv.xz")
    first, second = pack(TEXT[:100].encode()), pack(TEXT[100:].encode())
    path.write_bytes(first + second)
    whole = read(path)
    assert len(whole) == 2
    path.write_bytes(first + second + b"\0" * 8)  # padding, as on a tape
    assert read(path).inputs == whole.inputs
    rows = pack(b"text,label\na,a\nb,b\n")
    for rest in (b"x" + second, second[:-4], b"\xff" * 30, second[:1]):
        path.write_bytes(rows + rest)
        with pytest.raises(DataError, match="damaged or was cut off"):
            read(path)


def test_damaged_pages_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    numbers = np.arange(1000.0)
    table = pa.table({"id": np.repeat(np.arange(100), 10), "x": numbers})
    settings: dict[str, Any] = {"use_dictionary": False, "compression": "none"}
    pa.parquet.write_table(table, path, write_page_checksum=True, **settings)
    data = bytearray(path.read_bytes())
    at = data.find(struct.pack("<2d", 500.0, 501.0))
    data[at + 6] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(path)


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode() + b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + content


HEADERS = {
    "a shape of 5,000 digits": npy(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (%s,)}" % ("9" * 5000)
    ),
    "no end of a text": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,)", b"x" * 24),
    "an open quote": npy("{'descr': '<f8, 'shape': '''", b""),
    "deep brackets": npy("(" * 5000),
    "no type": npy("{'descr': 'q9x', 'fortran_order': False, 'shape': (3,)}", b"x" * 24),
    "a shape below zero": npy(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -3)}", b"x" * 24
    ),
    "characters beyond Unicode": npy(
        "{'descr': '<U2', 'fortran_order': False, 'shape': (2,)}", b"\xff" * 16
    ),
}


@pytest.mark.parametrize("what", HEADERS)
def test_headers_of_arrays(what: str, tmp_path: Path) -> None:
    for name, content in (("a.npy", HEADERS[what]), ("a.npz", None)):
        path = tmp_path / name
        if content is None:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("X.npy", HEADERS[what])
        else:
            path.write_bytes(content)
        with pytest.raises(DataError, match="not readable as a NumPy array") as info:
            read(path)
        assert info.value.source == str(path)


def test_names_in_a_damaged_zip(tmp_path: Path) -> None:
    sink = io.BytesIO()
    np.savez(sink, X=np.zeros((3, 2)), y=np.arange(3))
    data = sink.getvalue()
    damaged = [data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :] for at in range(0, len(data))]
    path = tmp_path / "a.npz"
    for content in damaged[:60] + damaged[-250:]:
        path.write_bytes(content)
        try:
            read(path)
        except DataError as error:
            assert error.rule != "unexpected", error


def test_bytes_of_another_encoding(tmp_path: Path) -> None:
    words = np.array([b"\xfc", b"b"])
    np.savez(tmp_path / "a.npz", X=np.zeros((2, 3)), y=words)
    with pytest.raises(DataError, match=r"array 'y' holds bytes that are not UTF-8"):
        read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", X=np.zeros((2, 3)), y=np.arange(2), remarks=words)
    assert len(read(tmp_path / "b.npz")) == 2  # what is not read need not be readable


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\n" + "\n".join(f"a,{'7' * 400}" for _ in range(3))),
        ("a.csv", "x,y,label\n" + "\n".join(f"{'7' * 5000},2,a" for _ in range(3))),
        ("a.csv", ",,label\n1,2,a\n"),
        ("a.jsonl", json.dumps({"": "b", "t0": 0})),
        ("a.jsonl", '{"x": ' + "9" * 6000 + ', "label": "a"}'),
        ("a.jsonl", '{"tokens": ["a"], "label": {"b": 1}}\n' * 2),
        (
            "a.jsonl",
            '{"tokens": ["a"], "label": "a", "v": "b"}\n{"tokens": ["a"], "label": "a", "v": "1"}',
        ),
        ("a.jsonl", "[" * 100_000),
        ("a.jsonl", '{"a":' * 100_000),
        ("a.jsonl", '{"tokens": ["\\ud800"], "label": "a"}'),
        ("a.jsonl", "\ufeff"),
        ("a.jsonl", "\x1e\ufeff \x1e"),
        ("a.conll", "\ufeff"),
        ("a.jsonl", '[{"text": "a", "label": [["b", 1]]}, {"text": "c", "label": []}]'),
        ("a.jsonl", '{"x": [1.5], "target": []}\n{"x": [2, 3], "target": ["a", {}]}'),
        ("a.conll", "a,O\rb,B\n\nc,O\n"),
        ("a.conll", f"a {'b' * 200_000}\nc d\n"),
        ("a.csv", "id,time,x\np,99999-01-01,1\np,99999-01-02,2\n"),
        ("a.csv", "id,time,x\np,9999-12-31T23:59:59.9999999,1\np,0000-00-00,2\n"),
    ],
)
def test_values_at_the_edges(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    try:
        data = read(path)
        assert describe(data) and summary_text(data, summarize(data))
    except DataError as error:
        assert error.rule != "unexpected" and str(path) in str(error), error
        assert len(str(error)) < 10_000


def test_a_column_without_a_name_has_one(tmp_path: Path) -> None:
    pa.parquet.write_table(
        pa.table([["a b", "c"], ["x", "y"]], names=["", "label"]), tmp_path / "a.parquet"
    )
    data = read(tmp_path / "a.parquet", text="1")
    assert data.inputs == ["a b", "c"]
    (tmp_path / "a.jsonl").write_text('{"": "a b", "label": "x"}\n{"": "c", "label": "y"}\n')
    assert read(tmp_path / "a.jsonl", text="unnamed").inputs == data.inputs
    assert read(tmp_path / "a.jsonl", layout=read(tmp_path / "a.jsonl", text="unnamed").layout)


def test_a_message_cannot_act_on_a_terminal(tmp_path: Path) -> None:
    hostile = "\x1b[2J\u202e\x07" + "n" * 9000
    pa.parquet.write_table(pa.table({hostile: [1.5, 2.5]}), tmp_path / "a.parquet")
    with pytest.raises(DataError) as info:
        read(tmp_path / "a.parquet")
    text = str(info.value)
    assert text.isprintable() or "\n" in text
    assert not {"\x1b", "\u202e", "\x07"} & set(text) and "\\x1b[2J" in text and len(text) < 3000


def test_what_nobody_foresaw_is_an_error_of_elman(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,b\n")

    def fail(*_: object) -> None:
        raise KeyError("inner")

    monkeypatch.setattr(sys.modules["elman.data.read"], "build_dataset", fail)
    with pytest.raises(DataError, match=r"no check has foreseen \(KeyError 'inner'\)") as info:
        read(tmp_path / "a.csv")
    assert info.value.rule == "unexpected" and isinstance(info.value.__cause__, KeyError)
    assert info.value.source == str(tmp_path / "a.csv")
    with pytest.raises(TypeError):  # an error of the call is the caller's
        read(tmp_path / "a.csv", colour="red")  # type: ignore[call-arg]


def test_a_date_of_the_last_year_is_still_read(tmp_path: Path) -> None:
    when = [datetime.datetime(9999, 12, 30), datetime.datetime(9999, 12, 31)]
    arrow(tmp_path / "a.arrow", id=["p", "p"], when=when, x=[1.0, 2.0])
    assert len(read(tmp_path / "a.arrow")) == 1


def bombs(folder: Path) -> list[Path]:
    """Files of a few kilobytes that say they held hundreds of megabytes."""
    paths = [folder / f"{name}.{end}" for name, end in (("a", "npz"), ("b", "parquet"),
             ("c", "parquet"), ("d", "parquet"), ("e", "arrow"), ("f", "arrow"))]  # fmt: skip
    np.savez_compressed(paths[0], X=np.zeros((100, 200_000)), y=np.zeros(100))
    zeros, labels = np.zeros(10_000_000), ["a", "b"]
    pa.parquet.write_table(pa.table({"x": zeros}), paths[1], compression="zstd")
    halves = pa.ListArray.from_arrays([0, 5_000_000, 10_000_000], zeros)
    table = pa.table({"sequence": halves, "label": labels})
    pa.parquet.write_table(table, paths[2], compression="zstd")
    codes = pa.array(np.zeros(100_000, np.int32))
    texts = pa.DictionaryArray.from_arrays(codes, ["word " * 20_000])
    table = pa.table({"text": texts, "label": codes})
    pa.parquet.write_table(table, paths[3])
    with pa.ipc.new_file(paths[4], table.schema) as writer:
        writer.write_table(table)
    table = pa.table({"x": zeros})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(paths[5], table.schema, options=options) as writer:
        writer.write_table(table)
    return paths


def test_bombs_are_refused_before_they_unfold(tmp_path: Path) -> None:
    for path in bombs(tmp_path):
        before = pa.total_allocated_bytes()
        with pytest.raises(DataError, match="expected at most 200 times") as info:
            read(path)
        assert info.value.rule == "memory", (path, info.value)
        assert pa.total_allocated_bytes() - before < 64 << 20


@pytest.mark.parametrize(
    "arrays",
    [
        {"static_names": np.zeros((6, 2)), "offsets": np.array([0, 2, 3]), "y": np.arange(3)},
        {"X": np.zeros((3, 2)), "labels": np.zeros((3, 2), "V4")},
        {"X": np.zeros((3, 3)), "y": np.full(3, np.finfo(np.longdouble).max)},
        {"X": np.zeros((2, 3)), "groups": np.arange(2), "y": np.array(1)},
    ],
)
@pytest.mark.parametrize("task", [None, "multilabel"])
def test_arrays_that_do_not_agree(arrays: dict[str, Any], task: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    try:
        read(tmp_path / "a.npz", task=task)
    except DataError as error:
        assert error.rule != "unexpected", error


def test_two_columns_without_a_name(tmp_path: Path) -> None:
    table = pa.table([["a"], ["b"]], names=["", ""])
    with pytest.raises(DataError, match="two columns are called ''"):
        read(table)


def test_labels_of_another_number_of_sequences_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros((2, 3)), y=np.array([[False, False]]))
    with pytest.raises(DataError, match="there are 1 rows of labels for 2 sequences"):
        read(tmp_path / "a.npz", task="multilabel")


def test_a_number_has_one_sign(tmp_path: Path) -> None:
    """-12- is no number, though 12- is one in some programs, and -12 in all."""
    path = tmp_path / "a.csv"
    path.write_text("id,x,label\n" + "".join(f"{i},{i}-,a\n{i},-{i},a\n" for i in range(3, 9)))
    values = read(path, id="id", values="x").inputs.values[:, 0]
    assert set(values) == set(range(-8, -2))
    path.write_text(path.read_text().replace("7-", "-7-"))
    with pytest.raises(DataError, match="-7-"):
        read(path, id="id", values="x")


def test_a_time_of_many_digits(tmp_path: Path) -> None:
    rows = "".join(f"a,{hour}:00:00,{hour},x\n" for hour in range(25, 45))
    (tmp_path / "a.csv").write_text(f"id,t,v,label\n{rows}a,{'9' * 300}:00:00,5,x\n")
    with pytest.raises(ElmanError) as info:
        read(tmp_path / "a.csv", id="id", time="t")
    assert getattr(info.value, "rule", "") == "time", info.value


def test_labels_that_are_objects_for_a_model_of_numbers(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text("".join(f'{{"text": "a b", "label": {i % 2}}}\n' for i in range(8)))
    second.write_text('{"text": "a b", "label": {}}\n')
    with pytest.raises(DataError) as info:
        read(second, layout=read(first).layout)
    assert info.value.rule != "unexpected"


def test_a_header_of_many_digits(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_text(f"@problemName x\n@dimensions {'9' * 5000}\n@data\n1,2:a\n")
    with pytest.raises(DataError, match="expected a number") as info:
        read(tmp_path / "a.ts")
    assert info.value.rule == "header"
