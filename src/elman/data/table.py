"""CSV and TSV into a checked table of cells that knows the line of every row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import is_missing, is_number
from elman.data.options import listing, several, unknown
from elman.errors import DataError

DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma"}
_SAMPLE = 1000


@dataclass(frozen=True, eq=False)
class Table:
    """A rectangle of cells as they were written.

    Args:
        names: a name for each column, unique.
        rows: n rows of as many cells as there are names.
        lines: line of the file on which each row starts, (n,).
        delimiter: what stands between two cells.
        header: whether the first line named the columns.
        unnamed: columns the header left without a name; they are called by their number.
    """

    source: str
    names: tuple[str, ...]
    rows: list[list[str]]
    lines: NDArray[np.int64]
    delimiter: str
    header: bool
    unnamed: frozenset[str]

    def index(self, name: str, flag: str) -> int:
        """Return the number of a column from 0; `flag` is the option that named it."""
        if name not in self.names:
            raise unknown(name, self.names, flag, "column", self.source)
        return self.names.index(name)

    def column(self, name: str) -> list[str]:
        """Return the cells of one column, top to bottom."""
        at = self.names.index(name)
        return [row[at] for row in self.rows]

    def resolve(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns meant by names and by ranges `first:last`, both ends included."""
        names: list[str] = []
        for item in wanted:
            first, colon, last = item.partition(":")
            if item not in self.names and colon:
                i, j = self.index(first, "--values NAMES"), self.index(last, "--values NAMES")
                names += self.names[i : j + 1]
            else:
                self.index(item, "--values NAMES")
                names.append(item)
        return tuple(names)

    def numeric(self, name: str) -> bool:
        """Whether at least half the cells of the column that hold something hold a number.

        Half, not all: one bad number must be reported, not turn its column into text. A column of
        nothing but empty cells counts as numbers: the sequences that reach it are just not there.
        """
        at = self.names.index(name)
        stride = max(1, len(self.rows) // _SAMPLE)
        full = [row[at] for row in self.rows[::stride] if not is_missing(row[at])]
        return 2 * sum(map(is_number, full)) >= len(full)


def parse_table(
    text: str, source: str, *, delimiter: str | None = None, header: bool | None = None
) -> Table:
    """Cut the text of a CSV or TSV file into cells.

    Python's csv reader does it: its line counter is right within quoted newlines too, where
    pyarrow's row number is not the line, and 300,000 rows take it half a second.

    Args:
        delimiter: used when the first line does not show one.
        header: whether the first line names the columns; None looks whether it is all numbers.
    Raises: DataError with the line for an open quote, a short or long row or a bad header.
    """
    lines = list(io.StringIO(text, newline=""))
    # The limit is one for the whole process and 128 KiB; a long text is not an error here.
    limit = csv.field_size_limit(len(text) + 1)
    try:
        found = _find_delimiter(lines) or delimiter or ","
        records, starts = _records(lines, found, source)
    finally:
        csv.field_size_limit(limit)
    width = len(records[0])
    if width == 1:
        _refuse_blank_between(records, starts, source)
    else:
        kept = [i for i, cells in enumerate(records) if len(cells) > 1 or "".join(cells).strip()]
        records, starts = [records[i] for i in kept], [starts[i] for i in kept]
    bare = any(map(is_number, records[0])) and all(
        is_number(cell) or is_missing(cell) for cell in records[0]
    )
    if header and bare:
        raise DataError(
            "the first line holds only numbers, expected the names of the columns",
            remedy="Put the names that the training file has on the first line.",
            source=source,
            line=starts[0],
        )
    header = not bare if header is None else header
    names, unnamed = _names(records[0] if header else [""] * width, header, source, starts[0])
    for cells, line in zip(records, starts, strict=True):
        if len(cells) != width:
            raise DataError(
                f"{several(len(cells), 'cell')}, expected {width} as on the first line",
                remedy=f"Put quotes round a cell that holds a {DELIMITERS[found]};"
                " a sequence that ends early needs empty cells after it."
                if len(cells) > width
                else "Fill the row up; a sequence that ends early needs empty cells after it.",
                source=source,
                line=line,
            )
    if header:
        records, starts = records[1:], starts[1:]
    if not records:
        raise DataError(
            "the file has a header and no rows",
            remedy="Check that it was written to the end.",
            source=source,
            line=1,
        )
    return Table(source, names, records, np.array(starts, np.int64), found, header, unnamed)


def _find_delimiter(lines: list[str]) -> str | None:
    """Return what cuts the first lines into the same number of cells, or None for one column."""
    widths = {}
    for mark in DELIMITERS:
        records = [r for r in islice(_reader(lines[:200], mark), 20) if r]
        if records and len(records[0]) > 1:
            widths[mark] = [len(record) for record in records]
    steady = [mark for mark, counts in widths.items() if len(set(counts)) == 1]
    if steady:
        return steady[0]
    return max(widths, key=lambda mark: widths[mark][0], default=None)


def _reader(lines: Iterable[str], delimiter: str, strict: bool = False) -> Any:
    return csv.reader(lines, delimiter=delimiter, strict=strict)


def _records(lines: list[str], delimiter: str, source: str) -> tuple[list[list[str]], list[int]]:
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
        raise _bad_quote(lines, start, delimiter, source) from None
    while not records[0]:
        del records[0], starts[0]
    while not "".join(records[-1]).strip() and len(records[-1]) < 2:
        del records[-1], starts[-1]
    return records, starts


def _bad_quote(lines: list[str], start: int, delimiter: str, source: str) -> DataError:
    """Find the quote that opened a cell of the record at line `start` and never closed it well."""
    text = "".join(lines[start - 1 :])
    mark = re.escape(delimiter)
    cell = re.compile(rf'"(?:[^"]|"")*"(?={mark}|[\r\n]|\Z)|(?!")[^{mark}\r\n]*')
    at = 0
    while match := cell.match(text, at):
        at = match.end() + 1
        if at > len(text):
            break
    line = start + len(list(io.StringIO(text[:at] + "x", newline=""))) - 1
    opened = text[at:].split("\n", 1)[0].rstrip("\r")
    return DataError(
        f"the quote that opens here is not closed where its cell ends: {opened[:40]}",
        remedy='Close it with ", and write a quote inside a quoted cell twice ("").',
        source=source,
        line=line,
    )


def _refuse_blank_between(records: list[list[str]], starts: list[int], source: str) -> None:
    """In a file of one column a blank line is a sequence without steps, so it is not skipped."""
    for cells, line in zip(records, starts, strict=True):
        if not cells:
            raise DataError(
                "an empty sequence: the line is blank",
                remedy="Remove the line.",
                source=source,
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
                f" the columns are {listing(names)}",
                remedy="Give every column its own name; if the line is data, put names above it.",
                source=source,
                line=line,
                column=i + 1,
            )
    unnamed = {str(i) for i, cell in enumerate(cells, 1) if header and not cell.strip()}
    return tuple(names), frozenset(unnamed)
