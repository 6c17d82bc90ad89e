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
from elman.data.dataset import Guess, Sure
from elman.data.faults import Faults, format_count, is_number, list_names
from elman.data.readers.dialect import (
    DELIMITERS,
    LARGEST_CELL,
    Dialect,
    find_dialect,
    large_cells,
    read_records,
)
from elman.data.table import Rows, Table

_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")
# 1,234 may mean 1234; 0,234 and 12,5 may not.
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")
_SAMPLE = 1000  # cells of a column that are looked at for decimal commas


def read_csv(
    text: str,
    faults: Faults,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    decimal: str | None = None,
) -> Table:
    """Split a CSV or TSV text into cells; rows of another width are faults and left out.

    Args:
        delimiter, header: as for `find_dialect`.
        decimal: decimal mark of the numbers; None decides by the cells.
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
    texts = _read_decimals(dict(zip(names, map(list, cut), strict=True)), faults, decimal)
    columns = {name: TextColumn(name, rows, column) for name, column in texts.items()}
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


def _read_decimals(
    columns: dict[str, list[str]], faults: Faults, decimal: str | None
) -> dict[str, list[str]]:
    """Return the cells with decimal points, where the columns of numbers have decimal commas.

    Args:
        columns: the cells of each column.
        faults: gets the guess if the caller did not say which mark it is.
        decimal: `.` or `,`, or None to decide by the cells.
    Raises: DataError if a comma may separate thousands as well as decimals.
    """
    if decimal == ".":
        return columns
    pointed = decimal is None and any(map(_has_points, columns.values()))
    # Where other columns have points, a few commas are mistakes, which are reported as faults; a
    # column of commas was written by another program.
    least = 2 / 3 if pointed else 0
    found = {
        name: commas for name, cells in columns.items() if (commas := _find_commas(cells, least))
    }
    if not found:
        return columns
    if decimal is None:
        names = list(found)
        if all(_THOUSANDS.fullmatch(cell) for cells in found.values() for cell in cells):
            example = next(iter(found.values()))[0].strip()
            raise faults.error(
                "choice",
                f"{example!r} in column {names[0]!r} may be a decimal number or thousands",
                f"If {example} means {example.replace(',', '.')}: --decimal ,  If it means"
                f" {example.replace(',', '')}: remove the commas from the file.".replace("  ", " "),
            )
        reason = (
            f"numbers such as {next(iter(found.values()))[0].strip()} in {list_names(names, 3)}"
        )
        sure: Sure = "likely" if pointed else "sure"
        guess = Guess("decimal", tuple(names), reason, "--decimal ,", "--decimal .", sure)
        faults.guesses.append(guess)
    return {
        name: [
            cell.replace(",", ".") if "," in cell and _COMMA.fullmatch(cell) else cell
            for cell in cells
        ]
        if name in found
        else cells
        for name, cells in columns.items()
    }


def _find_commas(cells: list[str], least: float) -> list[str]:
    """Return sampled cells with a decimal comma, if most cells are numbers then.

    Args:
        least: share of the cells that must have a comma.
    """
    sample = [cell for cell in cells[:: max(1, len(cells) // _SAMPLE)] if cell.strip()]
    commas = [cell for cell in sample if "," in cell and _COMMA.fullmatch(cell)]
    numbers = sum(map(is_number, sample))
    most = 2 * (len(commas) + numbers) >= len(sample) and len(commas) >= least * len(sample)
    return commas if most else []


def _has_points(cells: list[str]) -> bool:
    """Whether sampled cells are numbers with a decimal point."""
    sample = cells[:: max(1, len(cells) // _SAMPLE)]
    return any("." in cell and is_number(cell) for cell in sample)
