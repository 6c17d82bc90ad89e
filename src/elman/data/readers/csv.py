"""Read CSV and TSV files: with pyarrow where a file is plainly right, carefully where it is not.

The careful reader uses Python's csv module, because its line counter is correct after quoted
newlines, so that every fault is reported with its line. The fast one is in `fast`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import ArrowCells, Cells
from elman.data.columns import TextColumn
from elman.data.faults import Faults, format_count
from elman.data.readers import TextFile
from elman.data.readers.dialect import (
    DELIMITERS,
    HEAD,
    LARGEST_CELL,
    Dialect,
    find_dialect,
    large_cells,
    read_records,
)
from elman.data.readers.fast import read_cells
from elman.data.table import Rows, Table

_BATCH = 200_000  # cells that are held as Python's strings at once


def read_csv(
    file: TextFile,
    faults: Faults,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
) -> Table:
    """Split a CSV or TSV text into cells; rows of another width are faults and left out.

    Args:
        delimiter, header: as for `find_dialect`.
    Raises: DataError for a bad header.
    """
    before = faults.total
    head = file.head(HEAD)
    dialect = find_dialect(head, faults, delimiter=delimiter, header=header)
    plain = None
    if dialect.simple and faults.total == before:
        body = "".join(islice(io.StringIO(head, newline=""), dialect.body))
        start = file.start + len(body.encode())
        plain = read_cells(file, dialect, start, LARGEST_CELL)
    cells, lines = plain or _read_carefully(file.text(), dialect, faults, before)
    rows = Rows(faults, lines)
    found = zip(dialect.names, cells, strict=True)
    columns = {name: TextColumn(name, rows, own) for name, own in found}
    mark, unnamed = dialect.delimiter, dialect.unnamed
    return Table("table", columns, rows, len(lines), mark, dialect.header, unnamed)


def _read_carefully(
    text: str, dialect: Dialect, faults: Faults, before: int
) -> tuple[list[Cells], NDArray[np.int64]]:
    """Return the cells of every column and the line on which each row starts, (n,).

    Rows of another width are faults, and left out of the columns, so that each is reported once and
    not once per column.

    Args:
        before: number of faults before the header was read.
    Raises: DataError if the header is wrong or there are no rows.
    """
    unusable = faults.total > before
    width = len(dialect.names)
    batches: list[list[Any]] = [[] for _ in range(width)]
    rows: list[list[str]] = []
    lines: list[int] = []
    with large_cells():
        for line, cells in _records(text, dialect, faults):
            # In a file of one column a blank line is a sequence without steps.
            if unusable or not (width == 1 or len(cells) > 1 or "".join(cells).strip()):
                continue
            if len(cells) == width:
                rows.append(cells)
                lines.append(line)
            elif cells:
                _refuse_width(cells, width, dialect.delimiter, line, faults)
            else:
                problem = "an empty sequence: the line is blank"
                faults.add("empty", problem, "Remove the line.", line=line)
            if len(rows) * width >= _BATCH:
                _pack(rows, batches)
    if unusable:  # rows cannot be judged by a header that is wrong
        faults.stop()
    if not lines:
        faults.stop()
        raise faults.error(
            "empty",
            "the file has a header and no rows",
            "Check that it was written to the end.",
            line=1,
        )
    return _unpack(rows, batches), np.array(lines, np.int64)


def _pack(rows: list[list[str]], batches: list[list[Any]]) -> None:
    """Move rows into arrays of pyarrow: as Python's strings a large file needs gigabytes."""
    import pyarrow as pa

    for cells, batch in zip(zip(*rows, strict=True), batches, strict=True):
        batch.append(pa.array(cells, pa.string()))
    rows.clear()


def _unpack(rows: list[list[str]], batches: list[list[Any]]) -> list[Cells]:
    """Return the cells of each column; those of a small file are lists."""
    import pyarrow as pa

    if not batches[0]:
        return [Cells(list(cells)) for cells in zip(*rows, strict=True)]
    if rows:
        _pack(rows, batches)
    return [ArrowCells(pa.chunked_array(batch)) for batch in batches]


def _refuse_width(cells: list[str], width: int, delimiter: str, line: int, faults: Faults) -> None:
    more = len(cells) > width
    faults.add(
        "width",
        f"{format_count(len(cells), 'cell')}, expected {width} as on the first line",
        f"Put quotes round a cell that holds a {DELIMITERS[delimiter]};"
        " a sequence that ends early needs empty cells after it."
        if more
        else "Fill the row up; a sequence that ends early needs empty cells after it.",
        line=line,
    )


def _records(text: str, dialect: Dialect, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows before the first invalid one, after the line on which each starts."""
    lines = io.StringIO(text, newline="")
    for _ in islice(lines, dialect.skip):
        pass
    reader = read_records(lines, dialect.delimiter, strict=True)
    start = dialect.skip + 1
    blank: list[tuple[int, list[str]]] = []
    some = False
    try:
        for record in reader:
            row, start = (start, record), dialect.skip + reader.line_num + 1
            # Editors and spreadsheets leave blank lines after the last row; they are not sequences,
            # even in a file with one column.
            if len(record) < 2 and not "".join(record).strip():
                blank.append(row)
                continue
            some = True
            yield from (own for own in (*blank, row) if own[0] > dialect.body)
            blank.clear()
    except csv.Error:
        # The reader names the end of the record; the user needs the quote that opened it.
        _report_uncut(text, start, dialect, faults)
    if not some:
        faults.stop()


def _report_uncut(text: str, start: int, dialect: Dialect, faults: Faults) -> None:
    """Report the unclosed quote, or oversized cell, in the record at line `start`."""
    lines = io.StringIO(text, newline="")
    text = text[sum(map(len, islice(lines, start - 1))) :]
    mark = re.escape(dialect.delimiter)
    # A quoted cell, closed before a delimiter or line end, or a cell without quotes. Nothing is
    # tried twice, which would need gigabytes where the quote is not closed at all.
    cell = re.compile(rf'"[^"]*+(?:""[^"]*+)*+"(?={mark}|[\r\n]|\Z)|(?!")[^{mark}\r\n]*+')
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
            "Is a quote or a line end missing? Cut longer sequences, or write a row a time step.",
            line=line,
        )
        return
    opened = text[at:].split("\n", 1)[0].rstrip("\r")
    faults.add(
        "quote",
        f"the quote that opens here is not closed where its cell ends: {opened[:40]}",
        'Close it with ", and write a quote inside a quoted cell twice ("").',
        line=line,
    )
