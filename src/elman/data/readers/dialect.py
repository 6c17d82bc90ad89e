"""What the first lines of a CSV or TSV text say: the delimiter, the names, and where rows begin.

Every reader of tables asks `find_dialect`, so that the fast and the careful one agree.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from elman.data.faults import Faults, is_missing, is_number, list_names
from elman.data.table import MOST_COLUMNS

DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma"}
HEAD = 200  # lines that show the dialect; cells may contain newlines, so records are fewer
LARGEST_CELL = 1 << 20  # characters; a longer cell indicates an unclosed quote
_RECORDS = 20  # records that show whether the width is constant


@dataclass(frozen=True)
class Dialect:
    """How a text is divided into cells, and what its first lines are.

    Lines are counted as `io.StringIO(text, newline="")` yields them.

    Args:
        delimiter: separator of the cells.
        skip: lines before the header, or before the first row if there is none.
        body: lines before the first row.
        header: whether a line names the columns.
        names: names of the columns; their numbers from 1 where the file has none.
        unnamed: columns whose cell in the header is empty, such as the index of pandas.
        units: unit of each column, from a line below the header; empty if there is none.
    """

    delimiter: str
    skip: int
    body: int
    header: bool
    names: tuple[str, ...]
    unnamed: frozenset[str] = frozenset()
    units: tuple[str, ...] = ()

    @property
    def simple(self) -> bool:
        """Whether every line from `body` on is a row of `names`, as any CSV reader splits it."""
        return True


def find_dialect(
    head: str, faults: Faults, *, delimiter: str | None = None, header: bool | None = None
) -> Dialect:
    """Return the dialect of a text.

    Args:
        head: the first `HEAD` lines, or the whole text.
        faults: gets what is wrong with the header; reading cannot continue then.
        delimiter: used when the first lines do not show one.
        header: whether the first line names the columns; None means unless it is all numbers.
    """
    lines = list(islice(io.StringIO(head, newline=""), HEAD))
    with large_cells():
        return _find(lines, faults, delimiter, header)


@contextmanager
def large_cells() -> Iterator[None]:
    """Raise the limit of the csv module to `LARGEST_CELL`.

    Python's own limit, 128 KiB, would refuse a cell with a long text. The limit is global to the
    process, so it is restored for other users of csv.
    """
    limit = csv.field_size_limit(LARGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _find(lines: list[str], faults: Faults, delimiter: str | None, header: bool | None) -> Dialect:
    # The first lines take precedence over an earlier layout: the same table may be saved with
    # another delimiter.
    found = _find_delimiter(lines) or delimiter or ","
    start, end, cells = _first_record(lines, found)
    # A first line of only numbers is data, because a header has at least one name. A first line of
    # only empty cells is a header without names.
    bare = any(map(is_number, cells)) and all(is_number(c) or is_missing(c) for c in cells)
    if header and bare:
        faults.add(
            "header",
            "the first line holds only numbers, expected the names of the columns",
            "Put the names that the training file has on the first line.",
            line=start + 1,
        )
    header = not bare if header is None else header
    names = _names(cells if header else [""] * len(cells), faults, start + 1)
    # pandas writes the index as a first column without a name; such columns are never inputs.
    unnamed = {str(i) for i, cell in enumerate(cells, 1) if header and not cell.strip()}
    return Dialect(found, start, end if header else start, header, names, frozenset(unnamed))


def read_records(lines: Iterable[str], delimiter: str, strict: bool = False) -> Any:
    """Return the reader of the csv module for these lines."""
    return csv.reader(lines, delimiter=delimiter, strict=strict)


def _first_record(lines: list[str], delimiter: str) -> tuple[int, int, list[str]]:
    """Return the lines before and up to the end of the first record, and its cells."""
    reader = read_records(lines, delimiter)
    start = 0
    with suppress(csv.Error):  # an oversized cell is reported when the whole file is split
        for record in reader:
            if record:
                return start, reader.line_num, record
            # Editors and spreadsheets leave blank lines before the header.
            start = reader.line_num
    return 0, 0, [""]


def _find_delimiter(lines: list[str]) -> str | None:
    """Return the delimiter that gives the first lines equally many cells, or None."""
    # The comma is tried last, because it also occurs as a decimal sign and in sentences.
    widths = {}
    for mark in DELIMITERS:
        records = []
        with suppress(csv.Error):  # an oversized cell is reported when the whole file is split
            for record in islice(read_records(lines, mark), _RECORDS):
                records += [record] if record else []
        if records and len(records[0]) > 1:
            widths[mark] = [len(record) for record in records]
    steady = [mark for mark, counts in widths.items() if len(set(counts)) == 1]
    if steady:
        return steady[0]
    # If no delimiter gives all records the same width, some row has a fault. The first line,
    # usually a header, decides, and rows with another width are reported.
    return max(widths, key=lambda mark: widths[mark][0], default=None)


def _names(cells: list[str], faults: Faults, line: int) -> tuple[str, ...]:
    """Return the names of the columns; too many, and names that occur twice, are faults."""
    names = [cell.strip() or str(i) for i, cell in enumerate(cells, 1)]
    if len(names) > MOST_COLUMNS:
        faults.add(
            "columns",
            f"{len(names):,} columns, expected at most {MOST_COLUMNS:,}",
            "Write long sequences with a row a time step.",
            line=line,
        )
        return tuple(names)
    first: dict[str, int] = {}
    for i, name in enumerate(names, 1):
        if first.setdefault(name, i) != i:
            faults.add(
                "name twice",
                (
                    f"two columns are called {name!r} ({first[name]} and {i});"
                    f" the columns are {list_names(names)}"
                ),
                "Give every column its own name; if the line is data, put names above it.",
                line=line,
                column=i,
            )
            break
    return tuple(names)
