"""A checked table of cells that knows the line of every row, and how CSV and TSV become one."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import Place, is_missing, is_number, to_numbers
from elman.data.faults import Faults, format_count, list_names, unknown_name
from elman.errors import DataError

DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma"}
LARGEST_CELL = 1 << 20  # characters
MOST_COLUMNS = 100_000
_SAMPLE = 1000


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length.

    Args:
        names: a name for each column, unique.
        columns: the cells of each column, as text, or (n,) numbers with NaN where one is empty.
        lines: line of the file on which each row starts, (n,), or None where there are no lines.
        faults: told of what is wrong in a cell.
        delimiter: what stands between two cells.
        header: whether the first line named the columns.
        unnamed: columns the header left without a name; they are called by their number.
        files: the file of each row, where that is not `faults.source`.
    """

    names: tuple[str, ...]
    columns: tuple[list[str] | NDArray[Any], ...]
    lines: NDArray[np.int64] | None
    faults: Faults
    delimiter: str = ","
    header: bool = True
    unnamed: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def source(self) -> str:
        """The file, as messages name it."""
        return self.faults.source

    def index(self, name: str, flag: str) -> int:
        """Return the number of a column from 0; `flag` is the option that named it."""
        if name not in self.names:
            raise unknown_name(name, self.names, flag, "column", self.source)
        return self.names.index(name)

    def column(self, name: str) -> list[str]:
        """Return the cells of one column as text, top to bottom."""
        cells = self.columns[self.names.index(name)]
        return cells if isinstance(cells, list) else list(map(_written, cells.tolist()))

    def numbers(self, name: str, detail: str = "") -> NDArray[np.float64]:
        """Return one column as numbers, (n,), NaN where a value is missing; faults are told."""
        cells = self.columns[self.names.index(name)]
        if not isinstance(cells, list):
            return cells.astype(np.float64)
        return to_numbers(cells, lambda i: self.place(i, name, detail), self.faults)

    def empty(self, name: str) -> NDArray[np.bool_]:
        """Return which cells of a column hold nothing at all, (n,)."""
        cells = self.columns[self.names.index(name)]
        if not isinstance(cells, list):
            return np.asarray(cells != cells)
        return np.fromiter((not cell.strip() for cell in cells), dtype=bool, count=len(cells))

    def place(self, row: int, name: str | None = None, detail: str = "") -> Place:
        """Return where a cell stands; a table without lines is told by its row, from 1."""
        if self.lines is None:
            return Place(None, name, f"row {row + 1}: {detail}")
        return Place(int(self.lines[row]), name, detail, self.files[row] if self.files else None)

    def fault(self, rule: str, problem: str, remedy: str, row: int, name: str | None) -> None:
        """Note a fault of a row, or of its cell in column `name`."""
        self.place(row, name).fault(self.faults, rule, problem, remedy)

    def resolve(self, wanted: tuple[str, ...], flag: str = "--values NAMES") -> tuple[str, ...]:
        """Return the columns meant by names and by ranges `first:last`, both ends included."""
        names: list[str] = []
        for item in wanted:
            first, colon, last = item.partition(":")
            if item not in self.names and colon:
                i, j = self.index(first, flag), self.index(last, flag)
                names += self.names[i : j + 1]
            else:
                self.index(item, flag)
                names.append(item)
        return tuple(names)

    def numeric(self, name: str) -> bool:
        """Whether at least half the cells of the column that hold something hold a number.

        Half, not all: one bad number must be reported, not turn its column into text. A column of
        nothing but empty cells counts as numbers: the sequences that reach it are just not there.
        """
        cells = self.columns[self.names.index(name)]
        if not isinstance(cells, list):
            return True
        full = [c for c in cells[:: max(1, len(cells) // _SAMPLE)] if not is_missing(c)]
        return 2 * sum(map(is_number, full)) >= len(full)


def parse_table(
    text: str, faults: Faults, *, delimiter: str | None = None, header: bool | None = None
) -> Table:
    """Cut the text of a CSV or TSV file into cells; rows of another width are told and left out.

    Python's csv reader does it: its line counter is right within quoted newlines too, where
    pyarrow's row number is not the line, and 300,000 rows take it half a second.

    Args:
        delimiter: used when the first line does not show one.
        header: whether the first line names the columns; None looks whether it is all numbers.
    Raises: DataError for a bad header.
    """
    source = faults.source
    lines = list(io.StringIO(text, newline=""))
    # The limit is one for the whole process.
    limit = csv.field_size_limit(LARGEST_CELL)
    try:
        found = _find_delimiter(lines) or delimiter or ","
        records, starts = _records(lines, found, faults)
    finally:
        csv.field_size_limit(limit)
    width = len(records[0])
    if width > MOST_COLUMNS:
        raise DataError(
            f"{width:,} columns, expected at most {MOST_COLUMNS:,}",
            remedy="Write long sequences with a row a time step.",
            source=source,
            line=starts[0],
            rule="columns",
        )
    # In a file of one column a blank line is a sequence without steps, so it is not skipped.
    kept = [width == 1 or len(cells) > 1 or bool("".join(cells).strip()) for cells in records]
    bare = any(map(is_number, records[0])) and all(
        is_number(cell) or is_missing(cell) for cell in records[0]
    )
    if header and bare:
        raise DataError(
            "the first line holds only numbers, expected the names of the columns",
            remedy="Put the names that the training file has on the first line.",
            source=source,
            line=starts[0],
            rule="header",
        )
    header = not bare if header is None else header
    names, unnamed = _names(records[0] if header else [""] * width, header, source, starts[0])
    for i, cells in enumerate(records):
        if kept[i] and len(cells) != width:
            kept[i] = False
            if cells:
                _refuse_width(cells, width, found, starts[i], faults)
            else:
                faults.add(
                    "empty",
                    "an empty sequence: the line is blank",
                    remedy="Remove the line.",
                    line=starts[i],
                )
    if header:
        kept[0] = False
    if not any(kept):
        faults.stop()
        raise DataError(
            "the file has a header and no rows",
            remedy="Check that it was written to the end.",
            source=source,
            line=1,
            rule="empty",
        )
    rows = [cells for cells, keep in zip(records, kept, strict=True) if keep]
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    return Table(names, columns, np.array(starts, np.int64)[kept], faults, found, header, unnamed)


def _written(number: float) -> str:
    """Return a number as a CSV file would hold it: whole ones without a point, NaN empty."""
    if number != number:
        return ""
    if isinstance(number, int):
        return str(number)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def _refuse_width(cells: list[str], width: int, delimiter: str, line: int, faults: Faults) -> None:
    more = len(cells) > width
    faults.add(
        "width",
        f"{format_count(len(cells), 'cell')}, expected {width} as on the first line",
        remedy=f"Put quotes round a cell that holds a {DELIMITERS[delimiter]};"
        " a sequence that ends early needs empty cells after it."
        if more
        else "Fill the row up; a sequence that ends early needs empty cells after it.",
        line=line,
    )


def _find_delimiter(lines: list[str]) -> str | None:
    """Return what cuts the first lines into the same number of cells, or None for one column."""
    widths = {}
    for mark in DELIMITERS:
        records = []
        with suppress(csv.Error):  # a cell too large is told when the whole file is cut
            for record in islice(_reader(lines[:200], mark), 20):
                records += [record] if record else []
        if records and len(records[0]) > 1:
            widths[mark] = [len(record) for record in records]
    steady = [mark for mark, counts in widths.items() if len(set(counts)) == 1]
    if steady:
        return steady[0]
    return max(widths, key=lambda mark: widths[mark][0], default=None)


def _reader(lines: Iterable[str], delimiter: str, strict: bool = False) -> Any:
    return csv.reader(lines, delimiter=delimiter, strict=strict)


def _records(lines: list[str], delimiter: str, faults: Faults) -> tuple[list[list[str]], list[int]]:
    """Return the records up to the first that cannot be cut, and the line each starts on."""
    records: list[list[str]] = []
    starts: list[int] = []
    reader = _reader(lines, delimiter, strict=True)
    start = 1
    try:
        for record in reader:
            records.append(record)
            starts.append(start)
            start = reader.line_num + 1
    except csv.Error:
        _tell_uncut(lines, start, delimiter, faults)
    while records and not records[0]:
        del records[0], starts[0]
    if not records:
        faults.stop()
    while not "".join(records[-1]).strip() and len(records[-1]) < 2:
        del records[-1], starts[-1]
    return records, starts


def _tell_uncut(lines: list[str], start: int, delimiter: str, faults: Faults) -> None:
    """Find the quote that opened a cell of the record at line `start` and never closed it well."""
    text = "".join(lines[start - 1 :])
    mark = re.escape(delimiter)
    cell = re.compile(rf'"(?:[^"]|"")*"(?={mark}|[\r\n]|\Z)|(?!")[^{mark}\r\n]*')
    at = 0
    while match := cell.match(text, at):
        large = match.end() - at > LARGEST_CELL
        if large or match.end() >= len(text):
            break
        at = match.end() + 1
    line = start + len(list(io.StringIO(text[:at] + "x", newline=""))) - 1
    if match:
        faults.add(
            "cell size",
            f"a cell of more than {LARGEST_CELL:,} characters, starting {text[at : at + 20]!r}",
            remedy="Is a quote or a line end missing? Cut longer sequences, or write a row a"
            " time step.",
            line=line,
        )
        return
    opened = text[at:].split("\n", 1)[0].rstrip("\r")
    faults.add(
        "quote",
        f"the quote that opens here is not closed where its cell ends: {opened[:40]}",
        remedy='Close it with ", and write a quote inside a quoted cell twice ("").',
        line=line,
    )


def _names(
    cells: list[str], header: bool, source: str, line: int
) -> tuple[tuple[str, ...], frozenset[str]]:
    names = [cell.strip() or str(i) for i, cell in enumerate(cells, 1)]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataError(
                f"two columns are called {name!r} ({names.index(name) + 1} and {i + 1});"
                f" the columns are {list_names(names)}",
                remedy="Give every column its own name; if the line is data, put names above it.",
                source=source,
                line=line,
                column=i + 1,
                rule="name twice",
            )
    unnamed = {str(i) for i, cell in enumerate(cells, 1) if header and not cell.strip()}
    return tuple(names), frozenset(unnamed)
