"""Read the cells of a CSV or TSV file with pyarrow, as numbers where they are plain numbers.

pyarrow reads ten times as many cells in a second as Python's csv module, but is less strict and
cannot say where a fault is. So the bytes are looked at first, in whole-array operations, and every
file that is not plainly right is left to the careful reader in `csv`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import ArrowCells, Cells, NumberCells, WholeCells, count_first, from_arrow
from elman.data.readers import TextFile
from elman.data.readers.dialect import Dialect

_BLOCK = 1 << 20  # bytes that are looked at at once
_PIECE = 1 << 20  # bytes that pyarrow parses at once; more need more memory, not less time
_PIECE_CELL = 2048  # more for each column, because each column of a piece is an array of its own
_MOST_ENCODED = 1000  # columns; in wider tables it is not asked which cells repeat
_LF, _CR, _QUOTE = b'\n\r"'
# What pyarrow and Python both read as the same number, and how a whole number is written.
_NUMBER = r"^[ \t]*-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?[ \t]*$"
_WHOLE = r"^(0|-?[1-9]\d{0,17})$"
_POWERS = 10 ** np.arange(1, 19, dtype=np.int64)
# The words of `faults.MISSING` in the spellings that occur.
_GAPS = ["", "?", *("NA", "na", "Na", "N/A", "n/a", "NaN", "nan", "NAN", "Nan", "null", "NULL")]
_GAPS += ["Null", "None", "none", "NONE", "-nan", "-NaN", "+nan", "+NaN"]
_GAP = f"^({'|'.join(map(re.escape, _GAPS))})$"


class Scan(NamedTuple):
    """Where the rows of a file are.

    Args:
        bounds: where its pieces start, at starts of rows, and the end.
        sample: end of the first rows.
        lines: line on which each row starts, (n,), counted from the first row; None if every line
            is a row.
        multiline: whether quoted cells hold line ends.
        broken: byte and line, counted from the first row, of the row that csv cannot split: one of
            its quotes is not closed where its cell ends. None if there is none. The pieces end
            before it.
    """

    bounds: list[int]
    sample: int
    lines: NDArray[np.int64] | None
    multiline: bool
    broken: tuple[int, int] | None = None


class Found(NamedTuple):
    """The rows of a file.

    Args:
        cells: of every column.
        lines: line on which each row starts, (n,).
        broken: as in `Scan`, with the line in the file; no row after it is read.
    """

    cells: list[Cells]
    lines: NDArray[np.int64]
    broken: tuple[int, int] | None


def read_cells(file: TextFile, dialect: Dialect, start: int, largest: int) -> Found | None:
    """Return the rows of a file, up to the first that cannot be split.

    Args:
        start: byte at which the first row starts.
        largest: characters that a cell may have.
    Returns: None if the file has to be read carefully.
    """
    scan = _scan(file, dialect, start, largest)
    if scan is None:
        return None
    try:
        cells = _Parser(file, dialect, scan).read()
    except ValueError:  # pyarrow's own is one: rows of unequal length
        return None
    count = len(cells[0])
    lines = np.arange(count) if scan.lines is None else scan.lines
    # In a file of one column a blank last line is no row.
    blank = len(cells) == 1 and not cells[0].cell(count - 1).strip()
    if blank or len(lines) != count:
        return None
    first = file.before + dialect.body + 1
    broken = scan.broken and (scan.broken[0], scan.broken[1] + first)
    return Found(cells, lines + first, broken)


def _scan(file: TextFile, dialect: Dialect, start: int, largest: int) -> Scan | None:
    """Return where the rows from byte `start` on are, or None if they are not plainly right.

    Right is: each quote opens a cell, closes one or is doubled inside of one, as csv demands in its
    strict mode, up to a row that csv refuses; lines end in \\n or \\r\\n; and in a file of one
    column no line is blank.
    """
    width = len(dialect.names)
    piece = max(_PIECE, _PIECE_CELL * width)
    sample_rows = count_first(width)
    bounds, sample = [start], 0
    found: list[NDArray[np.int64]] | None = None
    parity = count = lines = 0  # quotes modulo 2, rows and line ends so far
    row, row_line, before, at = start, 0, _LF, start
    multiline = broken = False
    for block, after in _blocks(file, start):
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == _LF)
        outside = np.full(len(ends), not parity)
        if b'"' in block:
            quotes = np.flatnonzero(data == _QUOTE)
            odd = _find_odd_quote(data, quotes, parity, before, after, dialect)
            if width == 1 or (odd is not None and (odd + parity) % 2 == 0):
                return None
            if odd is not None:  # csv refuses a quote that closes a cell before its end
                broken, block = True, block[: quotes[odd]]
                data, ends = data[: len(block)], ends[ends < len(block)]
                outside, quotes = outside[: len(ends)], quotes[:odd]
            outside = (np.searchsorted(quotes, ends) + parity) % 2 == 0
            parity = (parity + len(quotes)) % 2
        pairs = block.count(b"\r\n") + (block.endswith(b"\r") and after == _LF)
        if block.count(b"\r") != pairs:
            return None
        stops = ends[outside] + at  # where rows end
        starts = np.concatenate([[row], stops[:-1] + 1])[: len(stops)]
        own = np.flatnonzero(outside) + lines + 1  # lines before the rows that follow
        blank = _find_blanks(data, starts - at, stops - at, before)
        if width == 1 and blank.any():
            return None
        if (stops - starts).max(initial=0) > largest:
            long = np.flatnonzero(stops - starts > largest)
            if not all(_has_small_cells(file, starts[k], stops[k], dialect, largest) for k in long):
                return None
        multiline = multiline or not outside.all()
        if found is None and (multiline or blank.any()):
            found = [np.arange(count)]
        if found is not None:
            found.append(np.concatenate([[row_line], own[:-1]])[: len(stops)][~blank])
        full = stops[~blank]
        if not sample and count + len(full) >= sample_rows:
            sample = int(full[sample_rows - count - 1]) + 1
        cut = int(np.searchsorted(stops, bounds[-1] + piece))
        bounds += [int(stops[cut]) + 1] if cut < len(stops) else []
        count += len(full)
        if len(stops):
            row, row_line = int(stops[-1]) + 1, int(own[-1])
        lines, at, before = lines + len(ends), at + len(block), (block or b"\n")[-1]
        if broken:
            break
    if broken or parity:
        at, broken = row, True
    elif row < at:  # a last row without a line end
        if at - row > largest and not _has_small_cells(file, row, at, dialect, largest):
            return None
        count += 1
        found = None if found is None else [*found, np.array([row_line])]
    if not count:
        return None
    bounds += [at] if bounds[-1] < at else []
    starts = np.concatenate(found) if found else None
    return Scan(bounds, sample or at, starts, multiline, (row, row_line) if broken else None)


def _blocks(file: TextFile, start: int) -> Iterator[tuple[bytes, int]]:
    """Yield the bytes from `start` on in pieces, and the byte after each, 0 at the end."""
    last = b""
    with file.open() as stream:
        stream.seek(start)
        while block := stream.read(_BLOCK):
            if last:
                yield last, block[0]
            last = block
    if last:
        yield last, 0


def _find_odd_quote(
    data: NDArray[np.uint8],
    quotes: NDArray[np.int64],
    parity: int,
    before: int,
    after: int,
    dialect: Dialect,
) -> int | None:
    """Return the first of the quotes that is not where csv demands it in its strict mode, or None.

    An opening quote follows a delimiter, a line end, or a closing quote which it doubles; a closing
    one precedes them.
    """
    # The end of the file is a zero, which no text holds.
    around = np.frombuffer(f'{dialect.delimiter}\n\r"\0'.encode(), np.uint8)
    opens = (np.arange(len(quotes)) + parity) % 2 == 0
    wide = np.concatenate([[before], data, [after]]).astype(np.uint8)
    right = np.isin(np.where(opens, wide[quotes], wide[quotes + 2]), around)
    return None if right.all() else int(np.argmin(right))


def _find_blanks(
    data: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64], before: int
) -> NDArray[np.bool_]:
    """Return which rows of a block are blank lines, (n,)."""
    blank: NDArray[np.bool_] = stops == starts
    for k in np.flatnonzero(stops - starts == 1).tolist():
        blank[k] = (data[starts[k]] if starts[k] >= 0 else before) == _CR
    return blank


def _has_small_cells(file: TextFile, start: int, stop: int, dialect: Dialect, largest: int) -> bool:
    """Whether no cell of a long row is too large; a row with quotes is left to the csv module."""
    row = file.read(start, stop)
    if b'"' in row:
        return False
    marks = np.flatnonzero(np.frombuffer(row, np.uint8) == ord(dialect.delimiter))
    return bool(np.diff(marks, prepend=-1, append=len(row)).max() <= largest + 1)


class _Parser:
    """Parses a file whose rows are known, as often as a column has to be read again.

    Args:
        scan: where the rows are.
    """

    def __init__(self, file: TextFile, dialect: Dialect, scan: Scan) -> None:
        self.file, self.dialect, self.scan = file, dialect, scan
        self.sample = self._parse(scan.bounds[0], scan.sample, dict.fromkeys(dialect.names, "text"))
        self.kinds = _choose_kinds(self.sample)
        self.count = 0  # rows
        self._failed: set[str] = set()
        self._texts: dict[str, Cells] = {}

    def read(self) -> list[Cells]:
        """Return the cells of every column.

        Raises: ValueError if the rows are not equally long.
        """
        names = self.dialect.names
        columns: dict[str, Any] = {}
        left = list(names)
        while left:
            columns |= self._read_columns(left)
            left = [name for name in names if name in self._failed]
            for name in left:
                self.kinds[name] = "number" if self.kinds[name] == "whole" else "text"
            self._failed = set()
        self.count = len(columns[names[0]])
        return [self._to_cells(name, columns.pop(name)) for name in names]

    def _to_cells(self, name: str, data: Any) -> Cells:
        if self.kinds[name] == "whole":
            return WholeCells(data)
        if self.kinds[name] == "number":
            return NumberCells(data, functools.partial(self._exact, name))
        return ArrowCells(data)

    def _exact(self, name: str, first: bool) -> Cells:
        """Return the cells of a column of numbers as they are written, all or the first ones."""
        if first or len(self.sample) == self.count:
            return ArrowCells(self.sample[name])
        if name not in self._texts:
            self.kinds[name] = "text"
            self._texts[name] = ArrowCells(self._read_columns([name])[name])
        return self._texts[name]

    def _read_columns(self, names: Sequence[str]) -> dict[str, Any]:
        """Return columns as chunked arrays, without those that turn out to be of another kind."""
        import pyarrow as pa

        pieces = list(pairwise(self.scan.bounds))
        workers = min(len(pieces), pa.cpu_count())
        read = functools.partial(self._read_piece, names)
        if workers > 1:
            with ThreadPoolExecutor(workers) as pool:
                tables = list(pool.map(read, pieces))
        else:
            tables = [read(piece) for piece in pieces]
        pa.default_memory_pool().release_unused()
        return {
            name: pa.chunked_array([table.pop(name) for table in tables])
            for name in names
            if name not in self._failed
        }

    def _read_piece(self, names: Sequence[str], piece: tuple[int, int]) -> dict[str, Any]:
        """Return the cells of columns in a piece; those of another kind are recorded."""
        while True:
            kinds = {name: self.kinds[name] for name in names if name not in self._failed}
            if not kinds:
                return {}
            try:
                table = self._parse(*piece, kinds)
                break
            except ValueError as error:
                column = re.search(r"In CSV column #(\d+)", str(error))
                if column is None:
                    raise
                self._failed.add(self.dialect.names[int(column[1])])
        columns: dict[str, Any] = {}
        for name, kind in kinds.items():
            data = table[name].combine_chunks()
            if kind == "whole":
                data = _to_whole(data)
            elif kind == "number" and np.isinf(from_arrow(data)).any():
                data = None
            if data is None:
                self._failed.add(name)
            columns[name] = data
        return columns

    def _parse(self, start: int, end: int, kinds: dict[str, str]) -> Any:
        """Return columns of the rows between two bytes as a table of pyarrow."""
        import pyarrow as pa
        import pyarrow.csv

        types = {
            "number": pa.float64(),
            "codes": pa.dictionary(pa.int32(), pa.string()),
            "whole": pa.string(),
            "text": pa.string(),
        }
        data = self.file.read(start, end)
        every = len(kinds) == len(self.dialect.names)
        return pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=list(self.dialect.names)
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=self.dialect.delimiter, newlines_in_values=self.scan.multiline
            ),
            convert_options=pa.csv.ConvertOptions(
                check_utf8=False,
                column_types={name: types[kind] for name, kind in kinds.items()},
                null_values=_GAPS,
                include_columns=None if every else list(kinds),
            ),
        )


def _to_whole(texts: Any) -> Any:
    """Return texts as whole numbers, or None if Python would write some of them differently."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        values = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return None
    numbers = from_arrow(values)
    digits = np.searchsorted(_POWERS, np.abs(numbers), side="right") + 1
    length = int(digits.sum()) + int((numbers < 0).sum())
    # A cell cannot be shorter than its number, so all are as long if the sums agree.
    return values if length == (pc.sum(pc.binary_length(texts)).as_py() or 0) else None


def _choose_kinds(sample: Any) -> dict[str, str]:
    """Return how the cells of each column are read.

    Args:
        sample: table of strings, the first rows.
    Returns: `number`; `whole` for numbers that are kept as they are written; `codes` for cells that
        repeat; or `text`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    size = len(sample)
    # One array of all columns: a call for each of 100,000 would take seconds.
    cells = pa.concat_arrays([chunk for column in sample.columns for chunk in column.chunks])

    def holds(found: Any) -> NDArray[np.bool_]:
        return from_arrow(found).reshape(-1, size)

    gaps = holds(pc.match_substring_regex(cells, _GAP))
    numbers = holds(pc.match_substring_regex(cells, _NUMBER))
    whole = holds(pc.match_substring_regex(cells, _WHOLE)).all(axis=1)
    numeric = (numbers | gaps).all(axis=1) & numbers.any(axis=1)
    kinds = np.where(whole, "whole", np.where(numeric, "number", "text")).tolist()
    encoded = len(kinds) <= _MOST_ENCODED
    for i, column in enumerate(sample.columns if encoded else ()):
        if kinds[i] != "number" and 2 * pc.count_distinct(column).as_py() <= size:
            kinds[i] = "codes"
    return dict(zip(sample.column_names, kinds, strict=True))
