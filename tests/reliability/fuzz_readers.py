"""Targets of the fuzzer: data files of every format, read as the command and estimators do."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import tables
from fuzz import Files, Target, write

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.data import Dataset, Ragged, describe, read, summarize, summary_text
from elman.errors import DataError

ESTIMATORS: dict[str, Any] = {
    "classification": SequenceClassifier,
    "multilabel": SequenceClassifier,
    "regression": SequenceRegressor,
    "tagging": SequenceTagger,
}
STEPS = b"id,time,a,b,label\nx,1,0.1,0.2,up\nx,2,0.3,0.4,up\ny,1,0.5,0.6,down\ny,2,.5,,down\n"
WIDE = b"label,v1,v2,v3\na,1,2,\nb,3,4,5\na,0.25,-1e-9,7\n"
TEXTS = b"text,label\n" + b"\n".join(b"word%d again,%c" % (i, b"ab"[i % 2]) for i in range(8))
DATES = b"date;subject;value;unit\n01/02/2024 10:00;s1;1,5;kg\n02/02/2024 11:00;s2;2,5;kg\n"
WORD = bytes(97 + i * i % 23 for i in range(400))
QUOTED = b'text,label\n"' + WORD + b"\n" + WORD[::-1] + b'",a\n'  # half of it is no table
LONG = b"id,variable,time,value\nx,hr,1,60\nx,bp,1,120\nx,hr,2,61\ny,hr,1,70\ny,bp,1,110\n"
SERIES = b"sequence,label\n1 2 3,a\n4 5,b\n6;7;8,a\n" + b'"[1, 2]",b\n'
TITLES = b"# made by hand\n\nname,x,y\n,mm,s\np,1,2\np,2,3\nq,3,4\n"
CSV = [STEPS, WIDE, TEXTS, DATES, LONG, SERIES, TITLES, b"3\n1\n2\n", b"a b c\n1 2 3\n4 5 6\n"]
CSV += [b"label;t0;t1;t2\r\nup;1,5;2,5;3,5\r\ndown;1,0;;2,0\r\n", b'"x","y ""q"""\n"1\n2",a\n']
JSON = [
    b'{"tokens": ["a", "b"], "label": "x"}\n{"tokens": ["b"], "label": "y"}\n',
    b'{"sequence": [[1, 2], [3, 4]], "tags": ["a", "b"]}\n{"sequence": [[5, 6]], "tags": ["c"]}\n',
    b'[{"id": 1, "steps": [{"t": 0, "x": 1.5}, {"t": 1, "x": 2}], "label": "a"},'
    b' {"id": 2, "steps": [{"t": 0, "x": null}], "label": "b"}]',
    b'[{"text": "a b", "label": ["x", "y"]}, {"text": "c", "label": []}]',
    b'{"columns": ["id", "x", "y"], "index": [0, 1], "data": [[1, 2.5, "a"], [1, 3.5, "a"]]}',
    b'{"x": {"0": 1.5, "1": 2.5}, "label": {"0": "a", "1": "b"}}',
    b"[[1, 2, 3], [4, 5]]",
    b'{"x": [1, 2, 3], "time": ["2024-01-01", "2024-01-02", "2024-01-03"], "y": [0, 1, 0]}',
    b'{"a": {"x": [1, 2]}, "label": 0.5}\n{"a": {"x": [3]}, "label": 1.5}\n',
]
TS = [
    b"@problemName p\n@timeStamps false\n@univariate false\n@equalLength true\n@seriesLength 2\n"
    b"@classLabel true a b\n@data\n1,2:3,4:a\n1,?:3,4:b\n",
    b"@univariate true\n@targetLabel true\n@data\n1,2,3:0.5\n3,2,1:1.5\n",
    b"#x\n@timeStamps true\n@classLabel true a b\n@data\n(0,1),(1,2):a\n(0,2),(2,3):b\n",
]
ARFF = [
    b"@relation r\n@attribute v1 numeric\n@attribute 'v 2' real\n@attribute c {a,'b c'}\n@data\n"
    b"1,2,a\n2,?,'b c'\n{0 3, 2 a}\n",
    b"@RELATION x\n@attribute bag relational\n @attribute t0 numeric\n @attribute t1 numeric\n"
    b"@end bag\n@attribute label {up,down}\n@DATA\n'1,2\\n3,4',up\n\"5,6\\n7,?\",down\n",
    b"@relation d\n@attribute id string\n@attribute t date 'yyyy-MM-dd'\n@attribute x numeric\n"
    b"@data\np,'2024-01-01',1\np,'2024-01-02',2\n",
]
CONLL = [b"a O\nb B-X\n\nc O\nd I-X\n", b"# id 1\n1\ta\tN\n2\tb\tV\n\n# id 2\n1\tc\tN\n"]
TSV = [data.replace(b",", b"\t") for data in CSV]


def summary_of(dataset: Dataset) -> str:
    """Return what `elman data` prints."""
    text = f"{describe(dataset)}\n{summary_text(dataset, summarize(dataset))}"
    text.encode()
    json.dumps(summarize(dataset)).encode()
    return text


def digest(dataset: Dataset) -> str:
    """Return a hash of sequences and target."""
    whole = hashlib.sha256(repr(dataset.ids).encode())
    for own in (dataset.inputs, dataset.target):
        if isinstance(own, Ragged):
            whole.update(repr((own.values.tolist(), own.offsets.tolist())).encode())
        else:
            whole.update(repr(own if own is None else list(own)).encode())
    return whole.hexdigest()


def runner(first: Callable[[], Files]) -> Callable[[Path], str]:
    """Return what reads a file, in one of the ways that a user has, chosen by its content.

    Args:
        first: the valid input that was read before, of which the layout is known.
    """

    @cache
    def known() -> tuple[Any, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = write(first(), Path(folder))
            dataset = read(path)
            model = ESTIMATORS[dataset.task](epochs=1, hidden_size=2, random_state=0)
            return dataset.layout, model.fit(dataset)

    def run(path: Path) -> str:
        size = path.stat().st_size if path.is_file() else len(list(path.rglob("*")))
        start = path.read_bytes()[:4096] if path.is_file() else b""
        way = zlib.crc32(start + size.to_bytes(8, "little")) % 8
        if way <= 3:
            dataset = read(path)
            summary_of(dataset)
            return digest(dataset)
        layout, model = known()
        if way == 4:
            return digest(read(path, labelled=False))
        if way == 5:
            return digest(read(path, labelled=True, layout=layout))
        if way == 6:
            return summary_of(read(path, task=("regression", "tagging", "multilabel")[size % 3]))
        return str(len(model.predict(path)))

    return run


def _files(name: str, contents: list[bytes]) -> list[Files]:
    return [{name: content} for content in contents]


def _arrow(write: Callable[[Any, Any], None]) -> list[bytes]:
    contents = []
    for table in tables.valid_tables():
        sink = io.BytesIO()
        write(table, sink)
        contents.append(sink.getvalue())
    return contents


def _parquet(**settings: Any) -> Callable[[], list[bytes]]:
    return lambda: _arrow(lambda table, sink: pa.parquet.write_table(table, sink, **settings))


def _stream(kind: Any, **settings: Any) -> Callable[[Any, Any], None]:
    def write(table: Any, sink: Any) -> None:
        options = pa.ipc.IpcWriteOptions(**settings)
        with kind(sink, table.schema, options=options) as writer:
            writer.write_table(table)

    return write


def _npz() -> list[Files]:
    found = []
    for arrays in tables.valid_arrays():
        for save in (np.savez, np.savez_compressed):
            sink = io.BytesIO()
            save(sink, **arrays)
            found.append({"a.npz": sink.getvalue()})
    return found


def _npy() -> list[Files]:
    found = []
    for arrays in tables.valid_arrays():
        files = {}
        for name, key in (("X.npy", "X"), ("y.npy", "y")):
            sink = io.BytesIO()
            np.save(sink, arrays[key])
            files[name] = sink.getvalue()
        found.append(files)
    return found


def _folders() -> list[Files]:
    rows = [b"x,y\n1,2\n3,4\n", b"x,y\n5,6\n7,8\n9,0\n"]
    classes = {f"d/{c}/{i}.csv": row for c in "ab" for i, row in enumerate(rows)}
    texts = {f"d/{c}/{i}.txt": b"a word\n" for c in ("pos", "neg") for i in range(2)}
    manifest = {"d/1.csv": rows[0], "d/2.csv": rows[1], "d/labels.csv": b"file,label\n1,a\n2,b\n"}
    sink = io.BytesIO()
    np.save(sink, np.arange(6.0).reshape(3, 2))
    arrays = {f"d/{c}/0.npy": sink.getvalue() for c in "ab"}
    packed = {f"d/{c}/0.csv.gz": gzip.compress(rows[0], mtime=0) for c in "ab"}
    lines = {f"d/{c}/{i}.txt": b"1 2 3 4\n" for c in "ab" for i in range(2)}
    return [classes, texts, manifest, arrays, packed, lines]


def _zip(data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a.csv"), data)
    return sink.getvalue()


def _twice(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Pack the two halves of a text one after the other."""
    return lambda data: pack(data[: len(data) // 2]) + pack(data[len(data) // 2 :])


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("a.csv.gz", _gzip),
    "gzip of two": ("a.csv.gz", _twice(_gzip)),
    "bzip2": ("a.csv.bz2", bz2.compress),
    "bzip2 of two": ("a.csv.bz2", _twice(bz2.compress)),
    "xz": ("a.csv.xz", lzma.compress),
    "xz of two": ("a.csv.xz", _twice(lzma.compress)),
    "zip": ("a.csv.zip", _zip),
}


MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\3\4", b"\x28\xb5\x2f\xfd")


def plain(path: Path) -> str:
    """Read a file in the one way in which results can be compared."""
    if not path.read_bytes().startswith(MAGIC):  # plain text may have any name
        raise DataError("the file is text", source=str(path))
    return digest(read(path))


def _target(name: str, corpus: Callable[[], list[Files]], **more: Any) -> Target:
    return Target(name, corpus, runner(lambda: corpus()[0]), **more)


def _text(name: str, file: str, contents: list[bytes], **more: Any) -> Target:
    return _target(name, lambda: _files(file, contents), **more)


def _frame(name: str, file: str, make: Callable[[], list[bytes]], **more: Any) -> Target:
    return _target(name, lambda: _files(file, make()), **more)


TARGETS = [
    _text("csv", "a.csv", CSV, generate=tables.csv),
    _text("tsv", "a.tsv", TSV),
    _text("text of any ending", "a.txt", [*CSV[:3], *JSON[:2], *TS[:2], *CONLL]),
    _text("json", "a.jsonl", JSON, generate=tables.json_lines, weight=3),
    _text("ts", "a.ts", TS, weight=3),
    _text("arff", "a.arff", ARFF, weight=3),
    _text("conll", "a.conll", CONLL, weight=3),
    _target("npz", _npz, generate=tables.npz, weight=3),
    _target("npy", _npy, generate=tables.npy, weight=3),
    _target("folder", _folders),
    _frame("parquet", "a.parquet", _parquet(), generate=tables.parquet),
    _frame("parquet of zstd", "a.parquet", _parquet(compression="zstd")),
    _frame("feather 1", "a.feather", lambda: _arrow(
        lambda t, s: pa.feather.write_feather(tables.flat(t), s, version=1))),
    _frame("feather 2", "a.feather", lambda: _arrow(
        lambda t, s: pa.feather.write_feather(t, s, compression="lz4"))),
    _frame("arrow file", "a.arrow", lambda: _arrow(_stream(pa.ipc.new_file)),
           generate=tables.arrow_file),
    _frame("arrow stream", "a.arrow", lambda: _arrow(_stream(pa.ipc.new_stream))),
    _frame("arrow of zstd", "a.arrow", lambda: _arrow(
        _stream(pa.ipc.new_file, compression="zstd"))),
    *(
        Target(name, lambda f=file, p=pack, n=name: _files(
            f, [p(data) for data in ([QUOTED] if "two" in n else [STEPS, TEXTS, WIDE])]
        ), plain, checked=True, weight=3)
        for name, (file, pack) in PACKED.items()
    ),
    Target("zstd", lambda: _files("a.csv.zst", [_zstd(STEPS), _zstd(TEXTS)]), plain, weight=3),
]  # fmt: skip
