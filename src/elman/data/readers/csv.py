"""Split CSV and TSV files into cells, with the line of every row.

Python's csv reader is used because its line counter is correct after quoted newlines, where the row
number of pyarrow is not the line. It reads 300,000 rows in half a second.
"""

from __future__ import annotations

import csv
import io
import re

import numpy as np

from elman.data.columns import TextColumn
from elman.data.faults import Faults, format_count
from elman.data.readers.dialect import (
    DELIMITERS,
    LARGEST_CELL,
    Dialect,
    find_dialect,
    large_cells,
    read_records,
)
from elman.data.table import Rows, Table


def read_csv(
    text: str,
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
    lines = list(io.StringIO(text, newline=""))
    with large_cells():
        before = faults.total
        dialect = find_dialect(text, faults, delimiter=delimiter, header=header)
        unusable = faults.total > before
        records, starts = _records(lines, dialect, faults)
    if unusable:  # rows cannot be judged by a header that is wrong
        faults.stop()
    names, found, width = dialect.names, dialect.delimiter, len(dialect.names)
    # In a file of one column a blank line is a sequence without steps, so it is not skipped.
    kept = [width == 1 or len(cells) > 1 or bool("".join(cells).strip()) for cells in records]
    for i, cells in enumerate(records):
        if kept[i] and len(cells) != width:
            kept[i] = False
            if cells:
                _refuse_width(cells, width, found, starts[i], faults)
            else:
                faults.add(
                    "empty",
                    "an empty sequence: the line is blank",
                    "Remove the line.",
                    line=starts[i],
                )
    if not any(kept):
        faults.stop()
        raise faults.error(
            "empty",
            "the file has a header and no rows",
            "Check that it was written to the end.",
            line=1,
        )
    # Faulty rows are left out of the columns, so that each is reported once, not once per column.
    rows = Rows(faults, np.array(starts, np.int64)[kept])
    cut = zip(*(cells for cells, keep in zip(records, kept, strict=True) if keep), strict=True)
    columns = {name: TextColumn(name, rows, list(c)) for name, c in zip(names, cut, strict=True)}
    unnamed = dialect.unnamed
    return Table("table", columns, rows, sum(kept), found, dialect.header, unnamed)


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


def _records(
    lines: list[str], dialect: Dialect, faults: Faults
) -> tuple[list[list[str]], list[int]]:
    """Return the rows before the first invalid one, and the line on which each starts."""
    records: list[list[str]] = []
    starts: list[int] = []
    reader = read_records(lines[dialect.skip :], dialect.delimiter, strict=True)
    start = dialect.skip + 1
    try:
        for record in reader:
            records.append(record)
            starts.append(start)
            start = dialect.skip + reader.line_num + 1
    except csv.Error:
        # The reader names the end of the record; the user needs the quote that opened it.
        _report_uncut(lines, start, dialect.delimiter, faults)
    # Editors and spreadsheets leave blank lines after the last row; they are not sequences, even in
    # a file with one column.
    while records and not "".join(records[-1]).strip() and len(records[-1]) < 2:
        del records[-1], starts[-1]
    if not records:
        faults.stop()
    rows = sum(start > dialect.body for start in starts)
    first = len(starts) - rows
    return records[first:], starts[first:]


def _report_uncut(lines: list[str], start: int, delimiter: str, faults: Faults) -> None:
    """Report the unclosed quote, or oversized cell, in the record at line `start`."""
    text = "".join(lines[start - 1 :])
    mark = re.escape(delimiter)
    # A quoted cell, closed before a delimiter or line end, or a cell without quotes.
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
