"""Read CSV and TSV files: with pyarrow where a file is plainly right, carefully where it is not.

The careful reader uses Python's csv module, because its line counter is correct after quoted
newlines, so that every fault is reported with its line. The fast one is in `fast`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import ArrowCells, Cells
from elman.data.columns import TextColumn
from elman.data.dataset import Guess
from elman.data.evidence import id_tier
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
from elman.data.readers.header import COMMENTS
from elman.data.roles import ReadOptions
from elman.data.table import Rows, Table

_TOTALS = frozenset(
    (
        *("total", "totals", "grand total", "sum", "mean", "average", "avg", "summe", "gesamt"),
        *("mittelwert", "durchschnitt", "insgesamt", "total general", "somme", "moyenne", "σ"),
    )
)
_END = 1 << 20  # bytes that are looked at at once
_BATCH = 200_000  # cells that are held as Python's strings at once


def read_csv(
    file: TextFile, faults: Faults, options: ReadOptions, first: Table | None = None
) -> Table:
    """Split a CSV or TSV text into cells; rows of another width are faults and left out.

    Args:
        first: of the same folder; has a header and a delimiter as the other files.
    Raises: DataError for a bad header.
    """
    before = faults.total
    piece = file if isinstance(file, TextPiece) else None
    if piece is not None and piece.dialect is not None:
        dialect, start, named = piece.dialect, 0, piece.header
    else:
        dialect, start, named = _find_table(file, faults, options, first)
    if piece is not None and piece.dialect is None:
        piece.dialect, piece.header = dialect, named
    whole = piece is None or piece.last
    simple = dialect.simple and faults.total == before
    plain = None
    if simple and not _has_more(file, dialect, named, start):
        plain = read_cells(file, dialect, start, LARGEST_CELL)
    # A row that sums the others up is left out, as in a whole file.
    if plain and plain.broken and _is_total([plain.cells[0].cell(len(plain.lines) - 1), ""]):
        plain = None
    if plain is None:
        cells, lines = _read_carefully(file, dialect, faults, before, whole)
    else:
        cells, lines = plain.cells, plain.lines
        if plain.broken:
            at, line = plain.broken
            _report_uncut(file.read(at, file.size).decode(errors="replace"), line, dialect, faults)
    rows = Rows(faults, lines)
    found = zip(dialect.names, cells, strict=True)
    columns = {name: TextColumn(name, rows, own) for name, own in found}
    for name, unit in zip(dialect.names, dialect.units, strict=False):
        columns[name].unit = columns[name].header_unit = unit
    mark, unnamed = dialect.delimiter, dialect.unnamed
    table = Table("table", columns, rows, len(lines), mark, dialect.header, unnamed)
    return _fill_down(table, options)


class TextPiece(TextFile):
    """A piece of a table of text, which begins and ends with whole rows.

    Args:
        data: the bytes.
        source: name of the file in messages.
        before: lines before them in the file.
        last: whether the file ends with this piece.
        first: the first piece, once it was read; it knows the header.
    """

    def __init__(
        self, data: bytes, source: str, before: int, last: bool, first: TextPiece | None = None
    ) -> None:
        super().__init__(data, source, before)
        self.last = last
        self.dialect: Dialect | None = None
        self.header: str = first.header if first else ""
        if first is not None and first.dialect is not None:
            self.dialect = dataclasses.replace(first.dialect, skip=0, body=0)


def _find_table(
    file: TextFile, faults: Faults, options: ReadOptions, first: Table | None
) -> tuple[Dialect, int, str]:
    """Return the dialect of a file, the byte at which its rows start, and the line of names."""
    layout = options.layout
    head = file.head(HEAD)
    delimiter = first.delimiter if first else layout.delimiter if layout else None
    header, skip_lines = options.header, options.skip_lines
    if header is None and layout and layout.header_named:
        header = layout.header
    if skip_lines is None and layout:
        skip_lines = layout.skip_lines
    dialect = find_dialect(
        head,
        faults,
        # A single column does not reveal it; the delimiter of a frame is empty.
        delimiter=delimiter or None,
        header=first.header if first else header,
        skip_lines=skip_lines,
        layout=layout,
    )
    above = list(islice(io.StringIO(head, newline=""), dialect.body))
    named = above[dialect.skip] if dialect.header and dialect.skip < len(above) else ""
    return dialect, file.start + len("".join(above).encode()), named.rstrip("\r\n")


def _read_carefully(
    file: TextFile, dialect: Dialect, faults: Faults, before: int, whole: bool
) -> tuple[list[Cells], NDArray[np.int64]]:
    """Return the cells of every column and the line on which each row starts, (n,).

    Rows of another width are faults, and left out of the columns, so that each is reported once and
    not once per column.

    Args:
        before: number of faults before the header was read.
        whole: whether the file ends with this text, so that its last row may sum the others up.
    Raises: DataError if the header is wrong or there are no rows.
    """
    unusable = faults.total > before
    width = len(dialect.names)
    batches: list[list[Any]] = [[] for _ in range(width)]
    rows: list[list[str]] = []
    lines: list[int] = []
    left = _Left(dialect)
    with large_cells():
        for line, cells in _records(file, dialect, faults):
            if len(rows) * width >= _BATCH:
                _pack(rows, batches)
            if left.take(line, cells):
                continue
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
    if unusable:  # rows cannot be judged by a header that is wrong
        faults.stop()
    if whole and lines and left.take_total(lines[-1], rows[-1]):
        del rows[-1], lines[-1]
    left.tell(faults)
    if not lines:
        faults.stop()
        raise faults.error(
            "empty",
            "the file has a header and no rows",
            "Check that it was written to the end.",
            line=1,
        )
    return _unpack(rows, batches), np.array(lines, np.int64)


class _Left:
    """Lines below the header that are no rows: comments, the header again, a row of totals."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect, self.width = dialect, len(dialect.names)
        self.header = ["" if n in dialect.unnamed else n for n in dialect.names]
        self.lines: dict[str, list[int]] = {}
        self.totals = 0  # rows that start with such a word; of several, none sums the others up

    def take(self, line: int, cells: list[str]) -> bool:
        """Return whether a line is a comment or the header, and keep its number."""
        what = ""
        first = cells[0].lstrip() if cells else ""
        # One cell is a comment as well if there were none above the table.
        marks = COMMENTS if len(cells) == 1 else (self.dialect.comment or "\n",)
        if cells and len(cells) != self.width and first.startswith(marks):
            what = "a comment"
        elif self.dialect.header and self.width > 1 and first.strip() == self.header[0]:
            same = [cell.strip() for cell in cells] == self.header
            what = "the header, repeated" if same else ""
        if what:
            self.lines.setdefault(what, []).append(line)
        self.totals += _is_total(cells)
        return bool(what)

    def take_total(self, line: int, cells: list[str]) -> bool:
        """Return whether the last row sums the others up, as spreadsheets write it."""
        if self.totals != 1 or not _is_total(cells):
            return False
        self.lines[f"{cells[0].strip()!r}, a summary of the rows"] = [line]
        return True

    def tell(self, faults: Faults) -> None:
        """Record the lines that were left out as guesses."""
        for what, lines in self.lines.items():
            where = ", ".join(map(str, lines[:3])) + ", ..." * (len(lines) > 3)
            flag = f"left out line{'s' * (len(lines) > 1)} {where}"
            change = "other words in its first cell make it a row"
            faults.guesses.append(Guess("unused", (), what, flag, change, "likely"))


def _is_total(cells: list[str]) -> bool:
    return len(cells) > 1 and cells[0].strip().rstrip(":").lower() in _TOTALS


def _has_more(file: TextFile, dialect: Dialect, named: str, start: int) -> bool:
    """Whether rows are followed by the header again, or by a row of totals.

    Args:
        named: the line of names, without its end; empty for none.
        start: byte at which the first row starts.
    """
    end = file.read(max(start, file.size - _END), file.size)
    end = end.rstrip()
    last = end[max(end.rfind(b"\n"), end.rfind(b"\r")) + 1 :].decode(errors="replace")
    with suppress(csv.Error):  # reported when the whole file is split
        if _is_total(next(read_records([last], dialect.delimiter), [])):
            return True
    if not named:
        return False
    header = named.encode()
    again = re.compile(rb"\n" + re.escape(header) + rb"[\r\n]")
    rest = b"" if start else b"\n"  # the first row of a later piece may be the header again
    with file.open() as stream:
        stream.seek(max(0, start - 1))
        while block := stream.read(_END):
            block = rest + block
            if again.search(block):
                return True
            rest = block[-len(header) - 1 :]
    return False


def _fill_down(table: Table, options: ReadOptions) -> Table:
    """Return a table in which a sequence that is named once has its name in every row.

    The column is that of the ids, if the caller or a layout names it; otherwise its name shows it.
    """
    columns = dict(table.columns)
    named = options.id or (options.layout.id if options.layout else None)
    continued = options.continued
    settled = continued.filled if continued is not None and not continued.first else None
    for name, column in table.columns.items():
        if not isinstance(column, TextColumn) or not (name == named or id_tier(name)):
            continue
        if settled is not None and name not in settled:
            continue
        gaps = column.empty_cells()
        # A few empty cells are faults; here most rows continue the sequence above them.
        if gaps[0] or (settled is None and 3 * gaps.sum() < len(gaps)):
            continue
        first = np.flatnonzero(~gaps)
        cells = np.array(column.texts(), dtype=object)
        if settled is None and len(set(cells[first])) < len(first):
            continue
        above = np.maximum.accumulate(np.where(gaps, 0, np.arange(len(gaps))))
        columns[name] = TextColumn(name, table.rows, cells[above].tolist())
        why = "each sequence is named in its first row only"
        flag = f"filled down {name!r}"
        table.faults.guesses.append(Guess("filled", (), why, flag, "full cells", "sure"))
        if continued is not None:
            continued.filled.add(name)
    return dataclasses.replace(table, columns=columns)


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


def _records(file: TextFile, dialect: Dialect, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows before the first invalid one, after the line on which each starts."""
    text, before = file.text(), file.before
    lines = io.StringIO(text, newline="")
    for _ in islice(lines, dialect.skip):
        pass
    reader = read_records(lines, dialect.delimiter, True, dialect.quote)
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
            yield from ((n + before, own) for n, own in (*blank, row) if n > dialect.body)
            blank.clear()
    except csv.Error:
        # The reader names the end of the record; the user needs the quote that opened it.
        lines = io.StringIO(text, newline="")
        rest = text[sum(map(len, islice(lines, start - 1))) :]
        _report_uncut(rest, before + start, dialect, faults)
    if not some:
        faults.stop()


def _report_uncut(text: str, start: int, dialect: Dialect, faults: Faults) -> None:
    """Report the unclosed quote, or oversized cell, in the record at the start of a text.

    Args:
        start: its line.
    """
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
