"""What the first lines of a CSV or TSV text say: the delimiter, the names, and where rows begin.

Every reader of tables asks `find_dialect`, so that the fast and the careful one agree. Lines above
the table, such as comments and the properties that loggers write, are found by their other number
of cells; `header` judges whether a row holds names, units or values.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from elman.data.dataset import Guess, Layout, Sure
from elman.data.faults import Faults, is_missing
from elman.data.readers.header import (
    LEAST,
    FirstRows,
    Record,
    comment_mark,
    ends_only,
    hold_numbers,
    is_property,
    is_quoted,
    is_usual,
    is_value,
    join_names,
    judge_records,
    may_be_header,
    name_columns,
    read_units,
    repair_names,
    steady_from,
)

# The comma is tried late, because it also occurs as a decimal sign and in sentences; blanks occur
# in every text, so that they count only between numbers.
DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma", "|": "vertical bar", " ": "blank"}
HEAD = 200  # lines that show the dialect; cells may contain newlines, so records are fewer
LARGEST_CELL = 1 << 20  # characters; a longer cell indicates an unclosed quote
_TOP = 60  # rows among which a known header is looked for


@dataclass(frozen=True)
class Dialect:
    """How a text is divided into cells, and what its first lines are.

    Lines are counted as `io.StringIO(text, newline="")` yields them.

    Args:
        delimiter: separator of the cells; a blank means one or more blanks or tabs.
        skip: lines before the header, or before the first row if there is none.
        body: lines before the first row.
        header: whether a line names the columns.
        names: names of the columns; their numbers from 1 where the file has none.
        unnamed: columns without a name, such as the index of pandas and R, and the empty column
            after a separator at the end of every line; they are never inputs.
        units: unit of each column, from a line below the header; empty if there is none.
        comment: start of the lines that are comments; empty if there are none.
        quote: quotation mark round cells.
    """

    delimiter: str
    skip: int
    body: int
    header: bool
    names: tuple[str, ...]
    unnamed: frozenset[str] = frozenset()
    units: tuple[str, ...] = ()
    comment: str = ""
    quote: str = '"'

    @property
    def simple(self) -> bool:
        """Whether every line from `body` on is a row of `names`, as any CSV reader splits it."""
        return self.delimiter != " " and self.quote == '"'


def find_dialect(
    head: str,
    faults: Faults,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    skip_lines: int | None = None,
    layout: Layout | None = None,
) -> Dialect:
    """Return the dialect of a text; what is not obvious is added to the guesses of `faults`.

    Args:
        head: the first `HEAD` lines, or the whole text.
        faults: gets what is wrong with the header; reading cannot continue then.
        delimiter: used when the first lines do not show one.
        header: whether a line names the columns; None decides by the rows.
        skip_lines: lines before the table; None looks for its start.
        layout: of an earlier file, whose names the header must have.
    """
    lines = list(islice(io.StringIO(head, newline=""), HEAD))
    with large_cells():
        finder = _Finder(lines, faults, header, skip_lines, layout, skip_lines or 0)
        return finder.find(delimiter)


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


def read_records(
    lines: Iterable[str], delimiter: str, strict: bool = False, quote: str = '"'
) -> Any:
    """Return the reader of the csv module for these lines."""
    blank = delimiter == " "
    if blank:
        lines = map(_join_blanks, lines)
    return csv.reader(
        lines, delimiter=delimiter, strict=strict, quotechar=quote, skipinitialspace=blank
    )


def _join_blanks(line: str) -> str:
    text = line.rstrip("\r\n")
    return text.replace("\t", " ").strip(" ") + line[len(text) :]


@dataclass
class _Finder:
    """Finds the dialect of the first lines of one text; arguments as for `find_dialect`."""

    lines: list[str]
    faults: Faults
    header: bool | None
    skip_lines: int | None
    layout: Layout | None
    start: int = 0
    delimiter: str = ","
    quote: str = '"'
    comment: str = ""

    def find(self, known: str | None) -> Dialect:
        """Return the dialect; `known` is the delimiter if the lines do not show one."""
        declared = self._read_separator()
        comments = self._skip_comments()
        records, top = self._choose_delimiter(declared, known)
        if not records:
            return Dialect(self.delimiter, self.start, self.start, bool(self.header), ("1",))
        if is_quoted(records[top].cells):  # as PhysioNet writes it
            self.quote = "'"
            records = self._split(self.delimiter)
        above, rows = records[:top], records[top:]
        wrong: list[str] = []
        expected = self._find_expected(records)
        if expected is not None:
            above, rows = records[:expected], records[expected:]
        elif above:
            first = judge_records(rows)
            named = first.header is not None and first.sure != "unsure"
            if not named and may_be_header(above[-1].cells, len(rows[0].cells)):
                wrong = repair_names(above[-1], rows, self.lines, self.delimiter, self.faults)
                above, rows = above[:-1], [above[-1]._replace(cells=wrong), *rows]
            elif not named and not all(map(self._is_property, above)):
                above, rows = [], records  # rows of several widths are reported one by one
        comment = self._read_comment(comments, above, rows)
        return self._name(above, rows, comment, bool(wrong), expected is not None)

    # The delimiter.

    def _read_separator(self) -> str | None:
        """Return the separator that the first line declares for Excel, as in `sep=;`."""
        line = self.lines[0].strip("\r\n").strip('"') if self.lines else ""
        if self.start or not line.lower().startswith("sep=") or line[4:] not in DELIMITERS:
            return None
        self.start = 1
        return line[4:]

    def _split(self, mark: str) -> list[Record]:
        """Return the rows that are not blank."""
        records, start = [], self.start
        reader = read_records(self.lines[self.start :], mark, quote=self.quote)
        with suppress(csv.Error):  # an oversized cell is reported when the whole file is split
            for cells in reader:
                end = self.start + reader.line_num
                if cells and (len(cells) > 1 or cells[0].strip()):
                    records.append(Record(start, end, cells))
                start = end
        return records

    def _choose_delimiter(
        self, declared: str | None, known: str | None
    ) -> tuple[list[Record], int]:
        """Set the delimiter; return the rows, and the first one of those of equal width.

        The delimiter that gives the most lines up to the end equally many cells wins.
        """
        best: tuple[int, str, list[Record], int] | None = None
        widest: tuple[int, str, list[Record]] | None = None
        for mark in [declared] if declared else DELIMITERS:
            records = self._split(mark)
            if records and not declared and all(ends_only(r.cells) for r in records):
                continue  # the mark ends every line, as in WISDM, and divides none
            if mark != " " and records and len(records[0].cells) > (widest[0] if widest else 1):
                widest = len(records[0].cells), mark, records
            top = steady_from([len(record.cells) for record in records])
            if top is None or (mark == " " and not hold_numbers(records[top:])):
                continue
            # Blanks also stand between the words of the lines above a table.
            earlier = best is None or records[top].start < best[0]
            if earlier and (mark != " " or best is None or not top):
                best = records[top].start, mark, records, top
        if best:
            self.delimiter = best[1]
            return best[2], best[3]
        # If no delimiter gives most rows the same width, some have a fault. The first line, usually
        # a header, decides, and rows with another width are reported.
        if widest:
            self.delimiter = widest[1]
            return widest[2], 0
        self.delimiter = declared or known or ","
        records = self._split(self.delimiter)
        titles = 0
        # In a file of one column, only lines such as `rate: 32` are properties.
        while (
            titles < len(records)
            and is_property(records[titles].cells)
            and (len(records) > titles + LEAST and is_value(records[-1].cells[0]))
        ):
            titles += 1
        return records, titles

    # Lines above the table.

    def _skip_comments(self) -> list[int]:
        """Move the start behind comments; return their lines."""
        full = [i for i in range(self.start, len(self.lines)) if self.lines[i].strip()]
        marked = [i for i in full if comment_mark(self.lines[i])]
        comments = []
        for i, j in zip(full, marked, strict=False):
            if i != j:
                break
            comments.append(i)
        # Where most lines start with a mark, they are rows, such as texts with hashtags.
        if not comments or 2 * len(marked) > len(full):
            return []
        self.start = comments[-1] + 1
        self.comment = comment_mark(self.lines[comments[0]])
        return comments

    def _read_comment(
        self, comments: list[int], above: list[Record], rows: list[Record]
    ) -> Record | None:
        """Return the last comment if it names the columns, as numpy.savetxt writes them."""
        if not comments or above or self.header is False:
            return None
        line = comments[-1]
        text = self.lines[line].lstrip(' "').removeprefix(self.comment)
        cells: list[str] = next(read_records([text.lstrip("#%!/ ")], self.delimiter), [])
        if len(cells) != len(rows[0].cells) or any(map(is_value, cells)) or not all(cells):
            return None
        first = judge_records(rows)
        if first.header is not None and not (first.sure == "unsure" and any(map(is_usual, cells))):
            return None
        return Record(line, line + 1, cells)

    def _is_property(self, record: Record) -> bool:
        return self.skip_lines is None and is_property(record.cells)

    def _find_expected(self, records: list[Record]) -> int | None:
        """Return the row with the names of an earlier layout, or None."""
        layout = self.layout
        if layout is None or not layout.header or self.header is False:
            return None
        # The ids of a folder are the names of its files.
        roles = (layout.text, None if layout.format == "folder" else layout.id, layout.time)
        needed = {*layout.values, *layout.categories, *(name for name in roles if name)}
        for i, record in enumerate(records[:_TOP]):
            if needed and needed <= {cell.strip() for cell in record.cells}:
                return i
        return None

    # The names.

    def _name(
        self,
        above: list[Record],
        rows: list[Record],
        comment: Record | None,
        repaired: bool,
        expected: bool,
    ) -> Dialect:
        """Return the dialect; `expected`: the first row has the names of an earlier layout."""
        first = FirstRows(0, None, 1) if repaired else judge_records(rows)
        if comment:
            first = FirstRows(None, None, 0)
        elif self.header or expected:
            first = first if first.header is not None else FirstRows(0, None, 1)
        elif self.header is False and first.header is not None:
            first = FirstRows(None, None, 0)
        head = comment if comment or first.header is None else rows[first.header]
        first = self._follow_layout(first, rows)
        cells = head.cells if head else [""] * len(rows[0].cells)
        body = rows[first.body].start if first.body < len(rows) else rows[-1].end
        skip = head.start if head else body
        units = read_units(rows, first)
        if first.units is not None and not any(units):
            cells = join_names(cells, rows[first.units].cells)
        cells = [cell.strip() for cell in cells]
        if self.layout is not None and not self.layout.header:
            # The file of the layout had no names, so the columns are matched by position.
            if head is not None and any(cells):
                why = f"the training file had none: its names, such as {cells[0]!r}, are not read"
                flag = f"left out line {skip + 1}"
                self._guess("unused", why, flag, "columns are matched by position")
            head, skip, cells = None, body, [""] * len(cells)
        names = name_columns(cells, self.faults, skip + 1)
        unnamed = {n for n, cell in zip(names, cells, strict=True) if head and not cell}
        self._tell(above, rows, first, names, units)
        return Dialect(
            delimiter=self.delimiter,
            skip=skip,
            body=body,
            header=head is not None,
            names=names,
            unnamed=frozenset(unnamed),
            units=units,
            comment=self.comment,
            quote=self.quote,
        )

    def _follow_layout(self, first: FirstRows, rows: list[Record]) -> FirstRows:
        """Refuse a file without the names that an earlier layout needs."""
        layout = self.layout
        if layout is None or self.header is not None:
            return first
        if layout.header and first.header is None:
            self.faults.add(
                "header",
                "the first line holds only numbers, expected the names of the columns"
                if all(is_value(cell) or is_missing(cell) for cell in rows[0].cells)
                else f"the first line is like those below it ({first.reason}), expected the names"
                " of the columns",
                "Put the names that the training file has on the first line.",
                line=rows[0].start + 1,
            )
        if not layout.header and first.header is not None and first.sure == "unsure":
            return FirstRows(None, None, 0)
        return first

    # What is said about it.

    def _tell(
        self,
        above: list[Record],
        rows: list[Record],
        first: FirstRows,
        names: tuple[str, ...],
        units: tuple[str, ...],
    ) -> None:
        """Record what was not obvious as guesses."""
        if self.layout is not None:
            return
        top = first.header or 0 if first.header is not None else first.body
        before = [*above, *rows[:top]]
        start = rows[top].start if top < len(rows) else rows[-1].end
        if self.skip_lines is None and (before or self.comment):
            what = (
                "comments"
                if not before
                else f"no rows of the table, such as {self._show(before[0])}"
            )
            lines = "line 1 holds" if start == 1 else f"lines 1 to {start} hold"
            self._guess("skip_lines", f"{lines} {what}", f"--skip-lines {start}", "--skip-lines 0")
        if self.header is None and first.reason:
            flags = ["--no-header", "--header"]
            flag, change = flags if first.header is None else flags[::-1]
            self._guess("header", first.reason, flag, change, first.sure)
        if first.units is not None:
            line = rows[first.units].start + 1
            known = [f"{name} in {unit}" for name, unit in zip(names, units, strict=False) if unit]
            reason = f"units: {', '.join(known[:3])}" if known else "a second line of names"
            flag, change = f"left out line {line}", "numbers in it make it a row"
            self.faults.guesses.append(Guess("unused", (), reason, flag, change))

    def _show(self, record: Record) -> str:
        return repr(self.lines[record.start].strip()[:30])

    def _guess(self, role: str, reason: str, flag: str, change: str, sure: Sure = "sure") -> None:
        self.faults.guesses.append(Guess(role, (), reason, flag, change, sure))
