"""Split CSV and TSV files into cells, with the line of every row.

Python's csv reader is used because its line counter is correct after quoted newlines, where the row
number of pyarrow is not the line. It reads 300,000 rows in half a second.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from elman.data.dataset import Guess, Sure
from elman.data.faults import Faults, format_count, is_missing, is_number, list_names
from elman.data.table import MOST_COLUMNS, Rows, Table, TextColumn

DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma"}
_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")
# 1,234 may mean 1234; 0,234 and 12,5 may not.
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")
_SAMPLE = 1000  # cells of a column that are looked at for decimal commas
LARGEST_CELL = 1 << 20  # characters; a longer cell indicates an unclosed quote


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
        delimiter: used when the first line does not show one.
        header: whether the first line names the columns; None means unless it is all numbers.
        decimal: decimal mark of the numbers; None decides by the cells.
    Raises: DataError for a bad header.
    """
    lines = list(io.StringIO(text, newline=""))
    # The limit is global to the process, so it is restored for other users of csv.
    # Python's own limit, 128 KiB, would refuse a cell with a long text.
    limit = csv.field_size_limit(LARGEST_CELL)
    try:
        # The first lines take precedence over an earlier layout: the same table may be saved with
        # another delimiter.
        found = _find_delimiter(lines) or delimiter or ","
        records, starts = _records(lines, found, faults)
    finally:
        csv.field_size_limit(limit)
    width = len(records[0])
    if width > MOST_COLUMNS:
        raise faults.error(
            "columns",
            f"{width:,} columns, expected at most {MOST_COLUMNS:,}",
            "Write long sequences with a row a time step.",
            line=starts[0],
        )
    # In a file of one column a blank line is a sequence without steps, so it is not skipped.
    kept = [width == 1 or len(cells) > 1 or bool("".join(cells).strip()) for cells in records]
    # A first line of only numbers is data, because a header has at least one name. A first line of
    # only empty cells is a header without names.
    bare = any(map(is_number, records[0])) and all(
        is_number(cell) or is_missing(cell) for cell in records[0]
    )
    if header and bare:
        raise faults.error(
            "header",
            "the first line holds only numbers, expected the names of the columns",
            "Put the names that the training file has on the first line.",
            line=starts[0],
        )
    header = not bare if header is None else header
    names, unnamed = _names(records[0] if header else [""] * width, header, faults, starts[0])
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
    if header:
        kept[0] = False
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
    return Table("table", columns, rows, sum(kept), found, header, unnamed)


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


def _find_delimiter(lines: list[str]) -> str | None:
    """Return the delimiter that gives the first lines equally many cells, or None."""
    # The comma is tried last, because it also occurs as a decimal sign and in sentences.
    widths = {}
    for mark in DELIMITERS:
        records = []
        with suppress(csv.Error):  # an oversized cell is reported when the whole file is split
            # 20 records show whether the width is constant; they may span 200 lines, because cells
            # may contain newlines.
            for record in islice(_reader(lines[:200], mark), 20):
                records += [record] if record else []
        if records and len(records[0]) > 1:
            widths[mark] = [len(record) for record in records]
    steady = [mark for mark, counts in widths.items() if len(set(counts)) == 1]
    if steady:
        return steady[0]
    # If no delimiter gives all records the same width, some row has a fault. The first line,
    # usually a header, decides, and rows with another width are reported.
    return max(widths, key=lambda mark: widths[mark][0], default=None)


def _reader(lines: Iterable[str], delimiter: str, strict: bool = False) -> Any:
    return csv.reader(lines, delimiter=delimiter, strict=strict)


def _records(lines: list[str], delimiter: str, faults: Faults) -> tuple[list[list[str]], list[int]]:
    """Return the records before the first invalid one, and the line on which each starts."""
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
        # The reader names the end of the record; the user needs the quote that opened it.
        _report_uncut(lines, start, delimiter, faults)
    # Editors and spreadsheets leave blank lines before the header and after the last row; they are
    # not sequences, even in a file with one column.
    while records and not records[0]:
        del records[0], starts[0]
    if not records:
        faults.stop()
    while not "".join(records[-1]).strip() and len(records[-1]) < 2:
        del records[-1], starts[-1]
    return records, starts


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


def _names(
    cells: list[str], header: bool, faults: Faults, line: int
) -> tuple[tuple[str, ...], frozenset[str]]:
    names = [cell.strip() or str(i) for i, cell in enumerate(cells, 1)]
    first: dict[str, int] = {}
    for i, name in enumerate(names, 1):
        if first.setdefault(name, i) != i:
            raise faults.error(
                "name twice",
                (
                    f"two columns are called {name!r} ({first[name]} and {i});"
                    f" the columns are {list_names(names)}"
                ),
                "Give every column its own name; if the line is data, put names above it.",
                line=line,
                column=i,
            )
    # pandas writes the index as a first column without a name; such columns are never inputs.
    unnamed = {str(i) for i, cell in enumerate(cells, 1) if header and not cell.strip()}
    return tuple(names), frozenset(unnamed)


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
