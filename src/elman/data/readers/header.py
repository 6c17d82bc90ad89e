"""Whether the first rows of a table are names, units or values, judged by the rows below them.

A name differs from what its column holds: a word above numbers, a number in a sequence 0, 1, 2, ...
above measurements. A first row that looks like the rows below it is a record, and is kept.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from elman.data.dataset import Guess, Sure
from elman.data.evidence import id_tier, split_words, time_tier
from elman.data.faults import Faults, format_count, is_missing, is_number, list_names
from elman.data.moments import are_even
from elman.data.names import USUAL_NAMES
from elman.data.table import MOST_COLUMNS
from elman.data.units import USUAL_UNIT

Row = list[str]
# Cells that hold a number, a date or a number with a unit start with a digit, after signs.
_VALUE = re.compile(r"[\s$€£<>~≈+\-−.,'\"(]*\d")
COMMENTS = ("#", "%", "//", "!")
LEAST = 3  # rows that show what a line above them is
_STEADY = 0.9  # share of the rows of a table that have the same number of cells
_MOST_BAD = 0.1  # share of the cells of a column of values that may be something else
_TOP = 0.4  # share of the rows in which names, units and titles may be
_FEW = 8  # rows, of which two with the same class are enough
_SHOWN = 20  # rows that are compared with the first one
_UNIT_CELL = re.compile(
    rf"[\[(]?\s*(?:{USUAL_UNIT}(?:[/·*^ ]?(?:{USUAL_UNIT}|[-]?\d|[²³⁻¹])){{0,6}}"
    r"|[a-zµ]?[TGΩ]|[µu]?g|counts?|dps|none|unitless|-|[a-z]+/[a-z]+"
    r"|[hH]{1,2}:mm(?::ss)?[.m]*|[yYmMdD]{2,4}(?:[-/.][yYmMdD]{2,4})+.*)\s*[\])]?"
)


class Record(NamedTuple):
    """Cells of one row, and the lines before it and up to its end."""

    start: int
    end: int
    cells: list[str]


class FirstRows(NamedTuple):
    """What the first rows of a table are.

    Args:
        header: index of the row of names, or None.
        units: index of the row of units below it, or None.
        body: index of the first row of values.
        reason: why, as a phrase; empty if the header is obvious.
    """

    header: int | None
    units: int | None
    body: int
    reason: str = ""
    sure: Sure = "sure"


def judge(rows: Sequence[Row]) -> FirstRows:
    """Return what the first rows are; all have the same number of cells."""
    device = _judge_device(rows)
    if device:
        return device
    typed = [c for c in range(len(rows[0])) if _holds_values(rows, c)]
    if not typed:
        return _judge_words(rows)
    # The first rows, up to the first record: a row with values and without words in these columns.
    top = 0
    while top < len(rows) and not _is_record([rows[top][c] for c in typed]):
        top += 1
    plain = [i for i in range(top) if _is_plain([rows[i][c] for c in typed])]
    return _find_header(rows, typed, plain) if plain else _judge_values(rows, typed)


def is_value(cell: str) -> bool:
    """Whether a cell starts as numbers and dates do."""
    return _VALUE.match(cell) is not None


def is_unit(cell: str) -> bool:
    """Whether a cell is a unit, such as `mV`, `[m/s²]` or `hh:mm:ss`."""
    return _UNIT_CELL.fullmatch(cell.strip()) is not None


def is_usual(cell: str) -> bool:
    """Whether a cell is a usual name of a column; single letters are not, they may be classes."""
    words = split_words(cell)
    name = "_".join(words)
    return len(cell) > 1 and bool(name in USUAL_NAMES or id_tier(cell) == 2 or time_tier(cell) == 2)


def _is_word(cell: str) -> bool:
    return not is_value(cell) and not is_missing(cell)


def _is_record(cells: Row) -> bool:
    return not any(map(_is_word, cells)) and 2 * sum(map(is_value, cells)) >= len(cells)


def _is_plain(cells: Row) -> bool:
    return any(map(_is_word, cells)) and not any(map(is_value, cells))


def _holds_values(rows: Sequence[Row], c: int) -> bool:
    """Whether column c holds values, apart from a few cells and from the first rows."""
    cells = [row[c] for row in rows[max(1, int(_TOP * len(rows))) :]]
    words = sum(map(_is_word, cells))
    return sum(map(is_value, cells)) > words <= max(int(len(cells) > 2), _MOST_BAD * len(cells))


def _find_header(rows: Sequence[Row], typed: Sequence[int], plain: Sequence[int]) -> FirstRows:
    """Return the row of names where there are words above every column of values.

    Args:
        plain: first rows that have words, or nothing, in all these columns.
    """
    header = plain[-1]
    if header == 0:
        return FirstRows(0, None, 1)
    if header - 1 in plain and _are_units([rows[header][c] for c in typed]):
        return FirstRows(header - 1, header, header + 1)
    usual = [sum(map(is_usual, row)) for row in (rows[0], rows[header])]
    # Below usual names, words in a column of values are cells, such as marks of missing values.
    if header > 1 and len(plain) == header + 1 and usual[0] > usual[1]:
        return FirstRows(0, None, 1)
    full = [sum(bool(cell.strip()) for cell in row) for row in rows[: header + 1]]
    # Titles and properties stand above a header: they fill fewer cells, or have a value.
    if any(i not in plain for i in range(header)) or 2 * full[0] < full[header] or header > 1:
        return FirstRows(header, None, header + 1)
    # Two rows of words: the second describes the first, unless it is one bad cell.
    return FirstRows(0, 1, 2, "", "likely") if len(typed) > 1 else FirstRows(0, None, 1)


def _are_units(cells: Row) -> bool:
    """Whether most cells that are not empty are units."""
    units = [cell for cell in cells if cell.strip()]
    return bool(units) and 2 * sum(map(is_unit, units)) >= len(units)


def _judge_values(rows: Sequence[Row], typed: Sequence[int]) -> FirstRows:
    """Judge a first row with numbers or dates in columns of such."""
    first, body = rows[0], rows[1 : 1 + _SHOWN]
    record = FirstRows(None, None, 0, "the first line is like those below it", "likely")
    words = [c for c in range(len(first)) if first[c].strip() and not is_value(first[c])]
    above = [c for c in typed if is_value(first[c])]
    numbers = [float(first[c]) for c in above if is_number(first[c])]
    if not body:
        only = "the first line holds only numbers"
        return record._replace(reason=only) if not words else FirstRows(0, None, 1)
    # 2024-01 or 1h above plain numbers are names.
    plain = [c for c in above if 2 * sum(is_number(row[c]) for row in body) > len(body)]
    if plain and not any(is_number(first[c]) for c in plain):
        return FirstRows(0, None, 1, "dates or words above numbers", "sure")
    named = any(is_usual(first[c]) for c in words)
    repeats = any(any(row[c] == first[c] for row in body) for c in words)
    counts = _counts(numbers, bool(words) or not first[0].strip())
    alike = sum(_counts([float(row[c]) for c in above if is_number(row[c])], True) for row in body)
    pattern = counts and 2 * alike < len(body) and first not in body
    pointed = [row for row in body if any("." in row[c] for c in above)]
    rising = all(a < b for a, b in itertools.pairwise(numbers)) and all(n % 1 == 0 for n in numbers)
    # Numbers of sensors or bins, above measurements.
    bins = len(numbers) > 1 and rising and len(pointed) > 0.8 * len(body)
    if words:
        # A word above numbers is a name, unless measurements stand beside it: it is a bad cell.
        above_values = any(c in typed for c in words) and all(n % 1 == 0 for n in numbers)
        if named or ((pattern or bins) and not repeats) or above_values:
            sure: Sure = "sure" if named else "likely"
            return FirstRows(0, None, 1, "names and numbers in order", sure)
        return record
    if not pattern:
        return record._replace(sure="sure" if not counts else "likely")
    finer = any("." in row[c] and "." not in first[c] for row in body for c in above)
    steady = len(numbers) > 3 or finer
    listed = ", ".join(first[c].strip() for c in above[:3])
    return FirstRows(
        0, None, 1, f"the first line counts: {listed}, ...", "sure" if steady else "likely"
    )


def _judge_words(rows: Sequence[Row]) -> FirstRows:
    """Judge the first row of a table without any column of values."""
    first, body = [cell.strip() for cell in rows[0]], rows[1:]
    # A time would be a column of values, so that pos is more likely a class than a position here.
    usual = {cell for cell in first if is_usual(cell) and time_tier(cell) < 2}
    whole = sum([cell.strip() for cell in row] == first for row in body)
    for c, cell in enumerate(first):
        cells = [row[c].strip() for row in body]
        # Files that were put together repeat the whole header; a class occurs with other texts.
        repeats = (
            len(set(cells)) < len(cells) if len(cells) < _FEW else 2 * len(set(cells)) <= len(cells)
        )
        if cell and cells.count(cell) > whole + (cell in usual) and repeats:
            why = f"{cell!r} in the first line occurs below as well"
            return FirstRows(None, None, 0, why, "likely")
    if usual or not all(first) or len(set(first)) < len(first) > 2:
        return FirstRows(0, None, 1)
    why = "the words on the first line do not occur below it" if len(body) > 1 else ""
    return FirstRows(0, None, 1, why, "unsure")


def _judge_device(rows: Sequence[Row]) -> FirstRows | None:
    """Recognise the two lines above the values of Empatica devices: start time and rate."""
    if len(rows) < 5:
        return None
    start, rate = ({cell.strip() for cell in row} for row in rows[:2])
    if len(start) != 1 or len(rate) != 1 or not all(map(is_number, (*start, *rate))):
        return None
    times = [float(*start), float(*rate)]
    below = [float(cell) for cell in rows[2] if is_number(cell)]
    if 1e9 <= times[0] < 3e9 and 0 < times[1] <= 1e4 and below and max(map(abs, below)) < 1e9:
        why = f"lines 1 and 2 are the start time and the rate, {times[1]:g} a second"
        return FirstRows(None, None, 2, why, "sure")
    return None


def _counts(numbers: Sequence[float], short: bool) -> bool:
    """Whether numbers follow each other as those of a header do: 0, 1, 2 or 0.0, 0.1, 0.2.

    Args:
        short: whether two numbers, or one 0, are enough, because there is more evidence.
    """
    least = 2 if short else 3
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    if numbers and numbers[0] in (0, 1) and all(step == 1 for step in steps):
        return len(numbers) >= (1 if short else least)
    return len(numbers) >= max(3, least + 1) and steps[0] > 0 and are_even(numbers)


def steady_from(widths: list[int]) -> int | None:
    """Return the first row from which on nearly all have the same width above 1, or None."""
    if not widths:
        return None
    below = widths[len(widths) // 2 :]
    width = max(Counter(below).items(), key=lambda item: item[1])[0]
    if width < 2:
        return None
    same = [int(w == width) for w in widths]
    for i, first in enumerate(same):
        rows = len(same) - i
        if i and rows < max(LEAST, len(same) / 5):
            return None
        if first and sum(same[i:]) >= _STEADY * rows:
            return i
    return None


def ends_only(cells: list[str]) -> bool:
    """Whether only the first of two cells holds anything, in which commas divide it further."""
    return len(cells) == 2 and not cells[1].strip() and cells[0].count(",") > 1


def hold_numbers(records: list[Record]) -> bool:
    """Whether most cells separated by blanks are numbers, as those of sentences are not."""
    cells = [cell for record in records[1:] or records for cell in record.cells]
    return 2 * sum(is_number(cell.replace(",", ".")) for cell in cells) > len(cells)


def judge_records(rows: list[Record]) -> FirstRows:
    """Return what the first rows are, by the rows as wide as the first one."""
    width = len(rows[0].cells)
    kept = [row for row in rows if len(row.cells) == width]
    first = judge([row.cells for row in kept])
    if len(kept) == len(rows):
        return first
    # Indices among all rows.
    place = {i: rows.index(kept[i]) for i in (first.header, first.units) if i is not None}
    body = rows.index(kept[first.body]) if first.body < len(kept) else len(rows)
    header = None if first.header is None else place[first.header]
    units = None if first.units is None else place[first.units]
    last = max((i for i in (header, units) if i is not None), default=-1)
    return first._replace(header=header, units=units, body=min(body, last + 1))


def comment_mark(line: str) -> str:
    """Return the mark with which a line starts as a comment does; `#,name` is a header."""
    text = line.lstrip().lstrip('"')
    mark = next((mark for mark in COMMENTS if text.startswith(mark)), "")
    return "" if text[len(mark) :][:1] in tuple(",;\t|") else mark


def is_property(cells: list[str]) -> bool:
    """Whether a line above a table is a title or a property, such as `Rate: 32` or `Device,A1`."""
    full = [cell.strip() for cell in cells if cell.strip()]
    text = " ".join(full)
    return (
        not full
        or any(mark in text for mark in (":", "=", "***"))
        or (len(full) == 1 and " " in text)
        or (len(full) <= 3 and not is_value(full[0]) and any(map(is_value, full[1:])))
        or text.startswith(COMMENTS)
    )


def may_be_header(cells: list[str], width: int) -> bool:
    """Whether a line above rows of another width has words only, as a header has."""
    words = all(cell.strip() and not is_value(cell) for cell in cells[:-1] or cells)
    near = abs(len(cells) - width) == 1 or (len(cells) > 1 and 2 * len(cells) > width)
    return words and near and not (is_property(cells) and len(cells) == 1)


def is_quoted(cells: list[str]) -> bool:
    """Whether all cells have single quotes round them."""
    return len(cells) > 1 and all(
        len(cell.strip()) > 1 and cell.strip()[0] == cell.strip()[-1] == "'" for cell in cells
    )


def join_names(above: list[str], below: list[str]) -> list[str]:
    """Return names from two lines, where the first has some twice, as those of pandas levels."""
    full = [cell.strip() for cell in above if cell.strip()]
    if len(set(full)) == len(full):
        return above
    return [f"{a.strip()} {b.strip()}".strip() for a, b in zip(above, below, strict=True)]


def read_units(rows: list[Record], first: FirstRows) -> tuple[str, ...]:
    """Return the units of the columns; empty if the second line holds none."""
    if first.units is None:
        return ()
    cells = [cell.strip() for cell in rows[first.units].cells]
    units = [cell.strip("[]()- ") if is_unit(cell) else "" for cell in cells]
    return tuple(units) if any(units) else ()


def name_columns(cells: list[str], faults: Faults, line: int) -> tuple[str, ...]:
    """Return the names of the columns; too many, and names that occur twice, are faults."""
    taken = {*cells}
    numbers = (str(i) if str(i) not in taken else f"column {i}" for i in itertools.count(1))
    names = [cell or number for cell, number in zip(cells, numbers, strict=False)]
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


def repair_names(
    record: Record, rows: list[Record], lines: list[str], delimiter: str, faults: Faults
) -> list[str]:
    """Return as many names as there are cells in the rows, from a header with one too few.

    A header is refused unless it is known which column has no name.
    """
    names, width = record.cells, len(rows[0].cells)
    body = [row.cells for row in rows if len(row.cells) == width]
    index = [row[0].strip() for row in body]
    if len(names) == width - 1:
        if not any(row[-1].strip() for row in body):
            return [*names, ""]
        quoted = all(lines[row.start].lstrip().startswith('"') for row in rows)
        # Decimal commas without quotes would give cells of whole numbers only.
        pointed = any("." in cell and is_number(cell) for row in body for cell in row[1:])
        if len(set(index)) == len(index) and all(index) and (quoted or pointed):
            why = "it has no name, as R writes the names of rows"
            flag, change = "left out the first column", "a name makes it a column"
            faults.guesses.append(Guess("unused", (), why, flag, change))
            return ["", *names]
    if len(names) == width + 1 and names[-1].strip().lower() in ("", "comment"):
        return names[:-1]  # LabVIEW writes the name Comment above rows without comments
    remedy = "Give every column one name"
    if delimiter == "," and len(names) < width:
        remedy += "; if numbers have decimal commas, separate the cells with semicolons"
    faults.add(
        "header",
        f"the header has {format_count(len(names), 'name')}, and the lines below it have"
        f" {format_count(width, 'cell')}; the names are {list_names(names)}",
        f"{remedy}.",
        line=record.start + 1,
    )
    return (names + [f"column {i + 1}" for i in range(len(names), width)])[:width]
