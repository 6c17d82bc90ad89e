"""Tables and arrays for the fuzzer: valid ones, and ones of every type and of hostile values."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
from fuzz import Files
from mutators import WORDS, mutate

NAMES = (
    *("id", "time", "label", "text", "x", "y", "value", "a", "b", "", " ", "None", "nan", "1", "0"),
    *("x[1]", "x[2]", "t0", "t1", "x_1", "x_2", "x_10", "id", "a,b", 'a"b', "a\nb", "ü", "\u2028"),
    *("level_0", "index", "row", "file", "class", "channel 1", "variable", "2024-01-01", "1e400"),
    *("x (m/s)", "1" * 5000, "n" * 300, "\x1b[31m", "date", "group", "static", "target", "tokens"),
)
BIG = (0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 10**30)
FLOATS = (0.0, -0.0, 1.5, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, 2.0**53, -999.0)
WORDS_OF_TEXT = (*(w.decode(errors="replace") for w in WORDS), "a", "b", "a b", "1", "2")


def valid_tables() -> list[Any]:
    """Return tables that are read as they are."""
    steps = pa.table(
        {
            "id": ["x", "x", "y", "y"],
            "time": [0, 1, 0, 1],
            "a": [0.5, None, 1.5, 2.5],
            "c": pa.array(["u", "v", "u", None]).dictionary_encode(),
            "label": ["up", "up", "down", "down"],
        }
    )
    lists = pa.table({"sequence": [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], "label": ["a", "b"]})
    texts = pa.table({"text": ["a b", "c", "a c"], "label": pa.array([0, 1, 0], pa.int8())})
    start = datetime.datetime(2024, 1, 1)
    dates = pa.table(
        {
            "id": [1, 1, 2],
            "date": [start, start + datetime.timedelta(1), start],
            "x": pa.array([1.5, 2.5, 3.5], pa.float32()),
            "flag": [True, None, False],
            "y": pa.array([1, 1, 2], pa.uint64()),
        }
    )
    return [steps, lists, texts, dates]


def flat(table: Any) -> Any:
    """Return a table of the types that the first version of Feather knows."""
    names = [f.name for f in table.schema if not pa.types.is_nested(f.type)]
    return table.select(names)


def valid_arrays() -> list[dict[str, Any]]:
    """Return arrays that are read as they are."""
    numbers = np.arange(24.0).reshape(4, 3, 2)
    numbers[1, 2:] = np.nan
    return [
        {"X": numbers, "y": np.array([0, 1, 0, 1])},
        {"X": np.arange(12).reshape(4, 3), "y": np.array(["a", "b", "a", "b"])},
        {"X": numbers[:, :, 0], "y": np.array([0.5, 1, 2, 3]), "lengths": np.array([3, 2, 3, 1])},
        {
            "X": np.arange(12.0).reshape(6, 2),
            "y": np.array([0, 1, 1]),
            "offsets": np.array([0, 2, 3]),
        },
    ]


def _name(random: Random) -> str:
    return random.choice(NAMES)


def _cell(random: Random) -> str:
    return random.choice((random.choice(WORDS_OF_TEXT), str(random.choice(FLOATS)),
                          str(random.choice(BIG)), "a", "1", "2.5", ""))  # fmt: skip


def csv(random: Random) -> Files:
    """Return a table of hostile names and cells; a column often holds cells of one kind."""
    mark = random.choice((",", ",", ",", ";", "\t", "|", " "))
    columns = random.randint(1, 6)
    rows = random.choice((0, 1, 2, 3, 8))
    pools = []
    for _ in range(columns):
        kind = random.randrange(4)
        pool = [_cell(random) for _ in range(3)]
        pools.append([("1", "2.5", "-3"), ("a", "b"), pool, [*pool, "1", "2"]][kind])
    lines = [mark.join(_name(random) for _ in range(columns))]
    for _ in range(rows):
        cells = (random.choice(pool) for pool in pools)
        quoted = (f'"{c}"' if random.random() < 0.1 or mark in c else c for c in cells)
        lines.append(mark.join(quoted))
    end = random.choice(("\n", "\n", "\r\n"))
    return {"a.csv": end.join(lines).encode(errors="replace")}


def _value(random: Random, depth: int) -> Any:
    kind = random.randrange(10 if depth < 3 else 6)
    if kind == 0:
        return random.choice(FLOATS)
    if kind == 1:
        return random.choice(BIG)
    if kind == 2:
        return random.choice(WORDS_OF_TEXT)
    if kind == 3:
        return random.choice((None, True, False, "", "\ud800", 1, 2, "a"))
    if kind in (4, 5):
        return random.choice((1, 2.5, "a", "b", 0))
    if kind < 9:
        like = _value(random, depth + 1)
        same = random.random() < 0.6
        return [like if same else _value(random, depth + 1) for _ in range(random.randrange(4))]
    return {_name(random): _value(random, depth + 1) for _ in range(random.randrange(4))}


def json_lines(random: Random) -> Files:
    """Return objects or lists of hostile keys and values, often with the same keys."""
    keys = [_name(random) for _ in range(random.randint(1, 4))]
    shapes = {key: _value(random, 0) for key in keys}
    records: list[Any] = []
    for _ in range(random.choice((1, 2, 3, 6))):
        record = {
            key: value if random.random() < 0.7 else _value(random, 1)
            for key, value in shapes.items()
        }
        records.append(record if random.random() < 0.95 else _value(random, 0))
    whole = random.random() < 0.4
    if random.random() < 0.1:
        records = [_value(random, 0)]
    text = json.dumps(records) if whole else "\n".join(map(json.dumps, records))
    return {"a.jsonl": text.encode(errors="surrogatepass")}


DTYPES = (
    *("f8", "f4", "f2", "i8", "i1", "u8", "?", "U3", "S3", "U0", "c16", "M8[s]", "M8[D]", "m8[ns]"),
    *(">f8", "g", "V4", "M8", ">U2", "S0"),
)
KEYS = (
    *("X", "y", "x", "lengths", "offsets", "ids", "names", "static", "static_names", "groups"),
    *("arr_0", "arr_1", "labels", "", "a/b", "channels", "indptr", "text", "sequence", "id"),
)


def _array(random: Random) -> Any:
    shape = tuple(
        random.choice((0, 1, 1, 2, 2, 3, 4)) for _ in range(random.choice((0, 1, 1, 2, 3, 4)))
    )
    dtype = np.dtype(random.choice(DTYPES))
    if random.random() < 0.4:
        return np.zeros(shape, dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    content = bytes(random.choice((0, 1, 2, 255)) for _ in range(size))
    content = content if random.random() < 0.5 else random.randbytes(size)
    if not dtype.itemsize or not size:
        return np.zeros(shape, dtype)
    return np.frombuffer(content, dtype).reshape(shape)


def npz(random: Random) -> Files:
    """Return arrays of every type and of shapes that rarely agree, or damaged ones, in one zip."""
    if random.random() < 0.5:
        return _damaged_npz(random)
    arrays = {random.choice(KEYS): _array(random) for _ in range(random.randint(1, 4))}
    if random.random() < 0.5:
        n = random.randint(1, 4)
        arrays["X"] = np.resize(_array(random) if random.random() < 0.3 else np.arange(9.0), (n, 3))
        arrays["y"] = np.resize(_array(random), (n,))
    sink = io.BytesIO()
    np.savez(sink, allow_pickle=False, **{k or "file0": v for k, v in arrays.items()})
    return {"a.npz": sink.getvalue()}


def _damaged_npz(random: Random) -> Files:
    """Return arrays that were damaged before they were packed, so that the sums are right."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", random.choice((0, 8, 12, 14))) as archive:
        for name, array in random.choice(valid_arrays()).items():
            content = io.BytesIO()
            np.save(content, array)
            data = content.getvalue()
            data = mutate(random, data) if random.random() < 0.5 else data
            name = f"{random.choice(KEYS)}.npy" if random.random() < 0.1 else f"{name}.npy"
            archive.writestr(zipfile.ZipInfo(name), data)
    return {"a.npz": sink.getvalue()}


def npy(random: Random) -> Files:
    """Return one array, and often another beside it."""
    files = {}
    for name in random.choice((("X.npy",), ("X.npy", "y.npy"), ("data.npy", "labels.npy"))):
        sink = io.BytesIO()
        np.save(sink, _array(random), allow_pickle=False)
        files[name] = sink.getvalue()
    return files


def _type(random: Random, depth: int = 0) -> Any:
    simple: tuple[Any, ...] = (
        *(pa.null(), pa.bool_(), pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32()),
        *(
            pa.float64(),
            pa.string(),
            pa.large_string(),
            pa.binary(),
            pa.binary(3),
            pa.large_binary(),
        ),
        *(pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"), pa.duration("us")),
        *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
        *(
            pa.timestamp("us", "Europe/Berlin"),
            pa.timestamp("ns", "Nowhere/None"),
            pa.duration("s"),
        ),
        *(pa.decimal128(10, 2), pa.decimal256(60, 5), pa.string_view(), pa.binary_view()),
        *(
            pa.month_day_nano_interval(),
            pa.string(),
            pa.int64(),
            pa.float64(),
            pa.decimal128(38, -5),
        ),
    )
    if depth > 2 or random.random() < 0.75:
        return random.choice(simple)
    inner = _type(random, depth + 1)
    return random.choice(
        (
            *(pa.list_(inner), pa.large_list(inner), pa.list_(inner, 2), pa.list_view(inner)),
            *(pa.struct([("x", inner), ("y", pa.int64())]), pa.map_(pa.string(), inner)),
            *(pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.float64())),
            *(pa.run_end_encoded(pa.int32(), pa.string()), pa.struct([])),
        )
    )


def _fill(random: Random, kind: Any, size: int) -> Any:
    """Return an array of a type, of bits that are random where any bits are valid."""
    gaps = random.random() < 0.3
    if pa.types.is_dictionary(kind):
        values = _fill(random, kind.value_type, 3)
        indices = pa.array([random.choice((0, 1, 2, None)) for _ in range(size)], kind.index_type)
        return pa.DictionaryArray.from_arrays(indices, values)
    if pa.types.is_decimal(kind):
        digits = [decimal.Decimal(random.choice((0, 1, -5, 99))).scaleb(-1) for _ in range(size)]
        return pa.array([v if kind.scale >= 0 else v.scaleb(9) for v in digits]).cast(kind)
    if pa.types.is_primitive(kind) and not pa.types.is_boolean(kind):
        width = kind.bit_width // 8
        content = b"".join(
            random.choice((random.randbytes(width), bytes(width), b"\1" + bytes(width - 1)))
            for _ in range(size)
        )
        return pa.Array.from_buffers(kind, size, [None, pa.py_buffer(content)])
    if pa.types.is_run_end_encoded(kind):
        return pa.RunEndEncodedArray.from_arrays(pa.array([size], pa.int32()), pa.array(["a"]))
    return pa.array([_python(random, kind, gaps) for _ in range(size)], kind)


def _python(random: Random, kind: Any, gaps: bool) -> Any:
    if (gaps and random.random() < 0.4) or pa.types.is_null(kind):
        return None
    if pa.types.is_boolean(kind):
        return random.random() < 0.5
    if pa.types.is_fixed_size_binary(kind):
        return b"abc"
    if "binary" in str(kind):
        return random.choice(WORDS)
    if "string" in str(kind):
        return random.choice(WORDS_OF_TEXT)
    if pa.types.is_map(kind):
        return [("k", _python(random, kind.item_type, gaps))]
    if pa.types.is_struct(kind):
        return {field.name: _python(random, field.type, gaps) for field in kind}
    if "list" in str(kind):
        count = 2 if pa.types.is_fixed_size_list(kind) else random.randrange(3)
        return [_python(random, kind.value_type, gaps) for _ in range(count)]
    return None


def table(random: Random) -> Any:
    """Return a table of columns of any types; half of them are usual columns."""
    size = random.choice((0, 1, 2, 3, 5))
    names, columns = [], []
    for _ in range(random.randint(0, 4)):
        name = _name(random)
        if random.random() < 0.3 and name in ("id", "label", "time", "x"):
            columns.append(pa.array([1 + i // 2 for i in range(size)]))
        else:
            columns.append(_try(lambda: _fill(random, _type(random), size), size))
        names.append(name)
    return pa.Table.from_arrays(columns, names=names)


def _try(make: Callable[[], Any], size: int) -> Any:
    try:
        return make()
    except (pa.ArrowException, OverflowError):  # a type that pyarrow cannot fill
        return pa.nulls(size)


def parquet(random: Random) -> Files:
    """Return a table as a Parquet file; of plain types if it cannot hold others."""
    sink = io.BytesIO()
    own = table(random)
    try:
        pa.parquet.write_table(own, sink)
    except (pa.ArrowException, ValueError, OSError):
        sink = io.BytesIO()
        pa.parquet.write_table(pa.table({"x": [1.5, 2.5]}), sink)
    return {"a.parquet": sink.getvalue()}


def arrow_file(random: Random) -> Files:
    """Return a table as an Arrow file or stream."""
    sink = io.BytesIO()
    own = table(random)
    own = own if own.num_columns else pa.table({"x": [1.5, 2.5]})
    kind = random.choice((pa.ipc.new_file, pa.ipc.new_stream))
    with kind(sink, own.schema) as writer:
        writer.write_table(own)
    return {"a.arrow": sink.getvalue()}
