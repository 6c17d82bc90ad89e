"""Data frames, and the Parquet and Arrow files that hold one, as a table or as records.

Frames of pandas, polars and pyarrow are read through narwhals. Only pyarrow is imported here, and
only to read files.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import ArrowCells, Cells
from elman.data.columns import NumberColumn, TextColumn
from elman.data.faults import REPORTED, Faults, format_count, list_names, reason_of, refuse_damaged
from elman.data.names import UNNAMED
from elman.data.readers.footer import read_chunks
from elman.data.readers.ipc import measure_ipc
from elman.data.readers.jsonl import table_of_records
from elman.data.readers.npy import MOST_EXPANSION, is_bomb
from elman.data.roles import ReadOptions
from elman.data.table import MOST_COLUMNS, Column, Rows, Table
from elman.errors import DataError

LEVELS = ("instance", "time")  # names of the two levels of an index without names


def load_frame(path: Path, source: str) -> Any:
    """Return the table of a Parquet, Feather or Arrow file."""
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.ipc
    import pyarrow.parquet

    with path.open("rb") as file:
        magic = file.read(6)
    if not magic:
        raise DataError(
            "the file is empty",
            remedy="Check that it was written to the end.",
            source=source,
            rule="empty",
        )
    with refuse_damaged(
        "the file cannot be read as Parquet, Feather or Arrow",
        "Check that it was written to the end, and that its name ends as it should.",
        source,
    ):
        if magic.startswith(b"PAR1"):
            _refuse_parquet(path, source)
            table = pa.parquet.read_table(
                path,
                partitioning=None,  # else pyarrow adds columns for folders that are named key=value
                page_checksum_verification=True,
            )
        else:
            size = measure_ipc(path, magic == b"ARROW1")
            _refuse_size(size.rows, size.columns, size.memory, path, source)
            if magic == b"ARROW1":
                table = pa.feather.read_table(path)
            else:
                with pa.memory_map(str(path)) as stream:
                    table = pa.ipc.open_stream(stream).read_all()
        check_arrow(table)
        return table


def check_arrow(table: Any) -> None:
    """Raise one of pyarrow's errors, or a ValueError, if a table of pyarrow is damaged.

    pyarrow trusts the offsets, codes and texts of the tables that it is given and, for speed, of
    those that it reads from Arrow files: one that points outside of its buffer ends the process.
    """
    table.validate(full=True)
    for name in table.schema.names:  # decoded here, where a name that is no text is an error
        name.encode()


def _refuse_parquet(path: Path, source: str) -> None:
    """Refuse a Parquet file of a few bytes that says it had gigabytes of values.

    A column of zeros, and a list of them in one row, takes no room in a file, whatever its length;
    a pointer for each value is the least. Text repeats as well: where a file could hold a bomb of
    it, the columns are read with each distinct text once, and their lengths are added up.
    """
    import pyarrow.parquet

    about = pyarrow.parquet.read_metadata(path)
    rows, columns = about.num_rows, about.num_columns
    chunks = read_chunks(path)
    size = 8 * max(rows * columns, sum(chunk.values for chunk in chunks))
    _refuse_size(rows, columns, size, path, source)
    texts = [own for own in chunks if own.is_text]
    most = sum(own.values * own.size for own in texts)
    if not is_bomb(most, path.stat().st_size):
        return
    names = list(dict.fromkeys(own.name for own in texts))
    table = pyarrow.parquet.read_table(
        path, columns=names, read_dictionary=names, partitioning=None
    )
    size += sum(measure_texts(column) for column in table.columns)
    _refuse_size(rows, columns, size, path, source)


def measure_texts(column: Any) -> int:
    """Return the bytes of all texts of a column of pyarrow, in which each may be kept once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else pa.null()
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)
    total = 0
    for chunk in column.chunks if is_text else ():
        lengths = pc.binary_length(chunk.dictionary)
        total += pc.sum(lengths.cast(pa.int64()).take(chunk.indices)).as_py() or 0
    return total


def _refuse_size(rows: int, columns: int, size: int, path: Path, source: str) -> None:
    """Refuse a file of a few bytes that needs gigabytes, `size` bytes, of memory."""
    packed = path.stat().st_size
    if is_bomb(size, packed):
        raise DataError(
            f"{packed:,} bytes hold {rows:,} rows of"
            f" {format_count(columns, 'column')}, {size >> 20:,} MiB, expected at most"
            f" {MOST_EXPANSION} times as much as the file",
            remedy="If it is what you want, leave constant columns out, or save it as CSV.",
            source=source,
            rule="memory",
        )


def levels_of(frame: Any) -> tuple[Any, tuple[str | None, str | None]]:
    """Return the frame with its two-level index, instance and time, as the first columns.

    A frame with a single-level index, or none, is returned unchanged; its index is not read.

    Raises: DataError if it is no frame of pandas, polars or pyarrow. All of these have `columns`;
        testing that imports none of them.
    """
    if not hasattr(frame, "columns"):
        raise _refuse_type(frame)
    if type(frame).__module__ == "pyarrow.lib":
        with refuse_damaged("the frame is damaged", "Check how it was made.", "the frame"):
            check_arrow(frame)
    index: Any = getattr(frame, "index", None)
    if getattr(index, "nlevels", 1) < 2:
        return frame, (None, None)
    if index.nlevels != 2:
        raise DataError(
            f"the rows have {index.nlevels} levels of labels, expected two: instance and time",
            remedy="Bring the others into columns with reset_index.",
            source="the frame",
            rule="levels",
        )
    first, second = (str(n or level) for n, level in zip(index.names, LEVELS, strict=True))
    return frame.rename_axis([first, second]).reset_index(), (first, second)


def read_frame(frame: Any, faults: Faults, options: ReadOptions, records: bool) -> Table:
    """Return a frame as a table, or as records if `records` is set or a column holds lists.

    Raises: DataError for a frame without rows or columns, with duplicate names, or with cells that
        are not numbers, text, dates or lists.
    """
    import narwhals.stable.v2 as nw

    levels = getattr(getattr(frame, "columns", None), "nlevels", 1)
    if levels > 1:
        raise faults.error(
            "levels",
            f"the columns have {levels} levels, such as {frame.columns[0]}, expected one name each",
            "Join them: frame.columns = ['_'.join(map(str, name)) for name in frame.columns].",
        )
    names = [str(name) for name in getattr(frame, "columns", [])]
    names = getattr(frame, "column_names", names)  # pyarrow's
    if names.count("") < 2:
        names = [name or _unnamed(i, names) for i, name in enumerate(names, 1)]
    problem, remedy, rule = "", "", "empty"
    if not names:
        problem, remedy = "there are no columns", "Check how it was made."
    elif len(set(names)) < len(names):
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        problem, rule = f"two columns are called {twice[0]!r}", "name twice"
        remedy = "Give every column its own name."
    elif len(names) > MOST_COLUMNS:
        problem, rule = f"{len(names):,} columns, expected at most {MOST_COLUMNS:,}", "columns"
        remedy = "Write long sequences with a row a time step."
    elif len(frame) == 0:
        problem, remedy = "there are columns and no rows", "Check how it was made."
    if problem:
        raise faults.error(rule, problem, remedy)
    whole = nw.from_native(frame, eager_only=True)
    series = [whole[name] for name in whole.columns]
    _refuse_types(series, names, faults)
    lists = [_is_list(column) for column in series]
    rows = Rows(faults, before=options.continued.rows if options.continued else 0)
    if not any(lists) and not records:
        columns = {n: _to_column(column, n, rows) for n, column in zip(names, series, strict=True)}
        return Table("table", columns, rows, len(frame), "")
    values = [
        list(map(_plain, _to_list(column, name, rows))) if listed else _scalars(column, name, rows)
        for name, column, listed in zip(names, series, lists, strict=True)
    ]
    found = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    return table_of_records(found, None, faults, options)


def _unnamed(number: int, names: Sequence[str]) -> str:
    """Return the name of a column without one: its number, as in a file of text."""
    return str(number) if str(number) not in names else UNNAMED


def _refuse_types(series: Sequence[Any], names: Sequence[str], faults: Faults) -> None:
    """Raise DataError for a column whose type narwhals does not know, or cannot be read here."""
    import narwhals.stable.v2 as nw

    for column, name in zip(series, names, strict=True):
        arrow = column.implementation.is_pyarrow()
        try:
            dtype = column.dtype
            if arrow and isinstance(dtype, nw.Datetime) and dtype.time_zone:
                _zone_of(dtype.time_zone)
        except Exception as error:
            kind = column.to_native().type if arrow else "unknown"
            raise faults.error(
                "type",
                f"its type is {kind}, which cannot be read: {reason_of(error)}",
                "Convert the column, or leave it out.",
                column=name,
            ) from None


def _zone_of(name: str) -> datetime.tzinfo:
    """Return the time zone of this name, or a ValueError."""
    import pyarrow as pa

    try:
        zone: datetime.tzinfo = pa.lib.string_to_tzinfo(name)
    except Exception:
        raise ValueError(f"there is no time zone {name!r}") from None
    return zone


def _is_list(column: Any) -> bool:
    """Whether a column holds lists; in pandas, which has no list type, its values decide."""
    if str(column.dtype).startswith(("List", "Array")):
        return True
    if str(column.dtype) != "Object":
        return False
    first = next((value for value in column.to_list() if value is not None), None)
    return isinstance(first, list | tuple | np.ndarray) or hasattr(first, "to_numpy")


def _plain(value: Any) -> Any:
    """Return nested arrays as nested lists."""
    if hasattr(value, "to_numpy"):  # a series of pandas, as sktime's nested frames hold
        value = value.to_numpy()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _scalars(column: Any, name: str, rows: Rows) -> list[Any]:
    """Return one value per row, of a JSON type: numbers, text, true and false."""
    if column.dtype.is_numeric() or str(column.dtype) == "Boolean":
        return [None if gap else value for value, gap in _values(column, name, rows)]
    cells = _to_column(column, name, rows).texts()
    return [None if cell == "" else cell for cell in cells]


def _values(column: Any, name: str, rows: Rows) -> Iterator[tuple[Any, bool]]:
    """Yield each value of a column and whether it is missing."""
    return zip(_to_list(column, name, rows), column.is_null().to_list(), strict=True)


def _to_list(column: Any, name: str, rows: Rows) -> list[Any]:
    """Return the values of a column as Python's.

    Raises: DataError with the rows of values that Python has none for, such as dates after 9999.
    """
    try:
        values: list[Any] = column.to_list()
        return values
    except Exception:
        for i in range(len(column)):
            try:
                column[i : i + 1].to_list()
            except Exception as error:
                problem = f"a value of the type {column.dtype} that cannot be read"
                remedy = "Correct or drop it; dates reach from the year 1 to 9999."
                rows.fault(i, name, "value", f"{problem}: {reason_of(error)}", remedy)
                if rows.faults.total >= REPORTED:
                    break
        rows.faults.stop()
        raise


def _to_column(column: Any, name: str, rows: Rows) -> Column:
    """Return a table column: numbers unchanged, everything else as text."""
    dtype = column.dtype
    # Integers stay integers: ids above 2**53 would merge as floats.
    if dtype.is_float() or (dtype.is_integer() and not column.null_count()):
        numbers: NDArray[Any] = column.to_numpy()
        numbers = numbers.astype(np.float64) if dtype.is_float() else numbers
        return NumberColumn(name, rows, numbers)
    kind = str(dtype).split("(")[0]
    if kind == "Duration":
        return TextColumn(name, rows, list(map(_write_duration, _to_list(column, name, rows))))
    # A column that holds only gaps may have the type null, which is unknown here.
    bare = kind == "Unknown" and column.null_count() == len(column)
    if kind in ("Binary", "Struct", "List", "Array", "Unknown") and not bare:
        raise rows.faults.error(
            "type",
            f"its type is {dtype}, expected numbers, text or dates",
            "Convert the column, or leave it out.",
            column=name,
        )
    if dtype.is_integer() or kind in ("String", "Categorical", "Enum"):
        texts = _to_arrow(column)
        if texts is not None:
            return TextColumn(name, rows, texts)
    cells = []
    for i, (value, gap) in enumerate(_values(column, name, rows)):
        if gap:
            cells.append("")
        elif hasattr(value, "isoformat"):
            cells.append(value.isoformat())
        elif isinstance(value, list | dict | tuple | set | bytes | np.ndarray):
            problem = f"{type(value).__name__}, expected a number or text"
            rows.fault(i, name, "type", problem, "Convert the cell.")
            cells.append("")
        else:
            cells.append(str(value))
    return TextColumn(name, rows, cells)


def _to_arrow(column: Any) -> Cells | None:
    """Return texts, or whole numbers with gaps, as cells; None for text that is not Unicode."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        data = column.to_arrow()
    except (pa.ArrowException, UnicodeError):
        return None
    data = data if isinstance(data, pa.ChunkedArray) else pa.chunked_array([data])
    if is_bomb(size := measure_texts(data), data.nbytes):
        raise DataError(
            f"column {column.name!r}: {data.nbytes:,} bytes of a few texts stand for {size:,}",
            remedy=f"Leave it out: expected at most {MOST_EXPANSION} times as many.",
            rule="memory",
        )
    data = pc.fill_null(data.cast(pa.large_string()), "")
    if 2 * pc.count_distinct(data).as_py() <= len(data):
        data = data.dictionary_encode()
    return ArrowCells(data)


def _write_duration(value: Any) -> str:
    """Return a duration as `0 days 00:00:01.500`; empty for a gap."""
    nanos = getattr(value, "value", None)  # of pandas, which counts nanoseconds
    if nanos is None and hasattr(value, "total_seconds"):
        nanos = (value // datetime.timedelta(microseconds=1)) * 1000
    if nanos is None or value != value:
        return ""
    seconds, nanos = divmod(abs(int(nanos)), 10**9)
    days, seconds = divmod(seconds, 86_400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{nanos:09}"
    return f"{'-' * (value.total_seconds() < 0)}{days} days {clock}"


def _refuse_type(what: object) -> DataError:
    """Return the error for something that is neither a path nor a frame."""
    return DataError(
        f"{type(what).__name__} is not read, expected the path of a file, or a pandas, polars or"
        f" pyarrow table with columns like {list_names(['id', 'time', 'x', 'label'])}",
        remedy="Lists and arrays are given to the estimators as they are.",
        rule="type",
    )
