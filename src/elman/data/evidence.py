"""What the names and the cells of columns say about their roles.

Names are compared word by word, without units, and in English and German. Contents are examined
only for columns that a choice depends on, and in whole-array operations, because a file may have a
million rows or 100,000 columns.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import count_first
from elman.data.columns import NumberColumn, TextColumn
from elman.data.faults import is_missing
from elman.data.moments import DateOrder, Moments, read_number_times
from elman.data.table import Table
from elman.data.units import LONGEST_NAME
from elman.errors import DataError

Tier = Literal[0, 1, 2]  # 2: the name alone suffices; 1: the content has to agree; 0: another name


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(re.findall(r"\S+", text))


_ID_ENDS = words_of("id ids uuid guid uid kennung")
_ID_NOUNS = words_of(
    "series sequence seq sample case subject patient trial group recording record rec session run"
    " machine device episode track trajectory trip utterance sentence document doc user customer"
    " client person participant proband animal engine unit vehicle car battery file filename"
    " experiment stay admission segment clip account ticker stock asset station site house"
    " household plant worker player sensor node pump turbine motor bearing item object wafer batch"
    " lot conversation dialog dialogue thread gene protein read walk flight ride match game"
    " reihe folge messung messreihe aufnahme versuch sitzung maschine geraet gerät patientin fall"
    " lauf anlage pumpe datei nutzer kunde fahrt"
)
_ID_FILLERS = words_of("number num no nr nummer name code idx index key #")
_TIME_WORDS = words_of("time timestamp timestamps datetime date zeit datum zeitstempel")
_TIME_NAMES = frozenset(("t", "ts", "ds", "step", "uhrzeit", "dt", "time step", "zeitschritt"))
_TIME_UNITS = words_of(
    "s ms us µs ns sec secs second seconds min mins minute minutes h hr hrs hour hours d day days"
    " utc local idx index step steps stamp unix epoch iso gmt 0 sekunde sekunden minuten stunden"
    " tage"
)
_WEAK_TIMES = words_of(
    "second seconds sec minute minutes hour hours day days week weeks month year frame frames cycle"
    " cycles tick ticks position pos elapsed turn sekunde sekunden minuten stunde stunden tag tage"
    " woche monat jahr schritt zyklus bild sample"
)
_COUNTERS = words_of("index idx row line position pos nr no number unnamed zeile nummer")
_HOURS = (("hour",), ("hours",), ("hr",), ("hrs",), ("h",), ("stunde",), ("uhrzeit",))
_LIKE_A_TIME = re.compile(r"\d[-/.:,\sT年]\s?\w|\d{8}T|\dW\d|\dQ\d|[-/\s]\d{2}|PT?\d")
_DIGITS = re.compile(r"\s*\d{8}(?:\d{6})?\s*")
_SHORT_UNITS = frozenset(("s", "ms", "us", "µs", "ns", "sec", "min", "h"))
_UNIT = re.compile(r"\s*(?:\[[^\]]*\]|\([^)]*\)|,[^,]*$)")
_CAMEL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W\d_]+|\d+|#")


@functools.cache
def split_words(name: str) -> tuple[str, ...]:
    """Return the words of a column's name in lower case, without a unit in brackets."""
    name = name[:LONGEST_NAME]
    bare = _UNIT.sub("", name) or name
    return tuple(_WORD.findall(_CAMEL.sub(" ", bare).lower()))


@functools.cache
def id_tier(name: str) -> Tier:
    """Return how strongly a name says that its column identifies sequences."""
    words = split_words(name)
    if not words:
        return 0
    if words[-1] in _ID_ENDS or words[0] == "id":
        return 2
    # subjectid, patientid
    if len(words) == 1 and words[0].endswith("id") and words[0][:-2] in _ID_NOUNS:
        return 2
    return 1 if words[0] in _ID_NOUNS and all(w in _ID_FILLERS for w in words[1:]) else 0


@functools.cache
def time_tier(name: str) -> Tier:
    """Return how strongly a name says that its column holds times."""
    words = split_words(name)
    if not words:
        return 0
    whole = " ".join(words)
    if whole in _TIME_NAMES or whole in _TIME_WORDS:
        return 2
    if words[0] in _TIME_WORDS and all(word in _TIME_UNITS for word in words[1:]):
        return 2
    if words[0] in _TIME_WORDS or words[-1] in _TIME_WORDS:
        return 1
    if len(words) == 1 and words[0] in _WEAK_TIMES | (_SHORT_UNITS - {"min"}):
        return 1
    # seconds_elapsed, visit_hour, clock_ms; speed_m_s ends so too, therefore the content decides
    if len(words) > 1 and (words[-1] in _WEAK_TIMES or words[-1] in _SHORT_UNITS):
        return 1
    return 1 if words[0] in _WEAK_TIMES and words[-1] in _TIME_UNITS | {"number"} else 0


@functools.cache
def is_counter_name(name: str) -> bool:
    """Whether a name says that its column counts the rows."""
    words = split_words(name)
    return bool(words) and words[0] in _COUNTERS and len(words) <= 2 and words != ("no",)


class Evidence:
    """Contents of the columns of a table, examined when they are asked for."""

    def __init__(self, table: Table, dates: DateOrder | None = None) -> None:
        self.table, self.dates = table, dates
        self._moments: dict[str, Moments | None] = {}
        self._forms: dict[str, str] = {}

    def _text(self, name: str) -> TextColumn:
        column = self.table.cells(name)
        assert isinstance(column, TextColumn)  # a table with one value per cell has no others
        return column

    def codes(self, name: str) -> NDArray[np.int64]:
        """Return a whole number for every cell, (n,), equal for equal cells."""
        return self._text(name).codes()

    def different(self, name: str) -> list[str]:
        """Return the distinct cells, as `codes` numbers them."""
        return self._text(name).different()

    def distinct_numbers(self, name: str) -> NDArray[np.float64] | None:
        """Return the number in each of the distinct cells, or None if they are words."""
        column = self._text(name)
        if not column.is_numeric:
            return None
        numbers = np.full(len(column.different()), np.nan)
        numbers[column.codes()] = column.parsed()
        return numbers

    def head(self, name: str) -> list[str]:
        """Return the first cells as text: 1,000, or fewer of a wide table."""
        return self._text(name).head(count_first(len(self.table.columns)))

    def distinct(self, name: str) -> int:
        """Return the number of different cells."""
        return self._text(name).count_different()

    def gaps(self, name: str) -> int:
        """Return the number of missing cells."""
        return int(self._text(name).missing().sum())

    def is_void(self, name: str) -> bool:
        """Whether every cell is empty or a mark of a missing value."""
        return self._text(name).is_void()

    def starts(self, name: str | None) -> NDArray[np.bool_]:
        """Return the rows at which the cell differs from the one above, (n,), the first too."""
        starts = np.zeros(len(self.table), dtype=bool)
        starts[:1] = True
        if name is not None:
            codes = self._text(name).small_codes()
            starts[1:] = codes[1:] != codes[:-1]
        return starts

    def is_contiguous(self, name: str) -> bool:
        """Whether all rows with the same cell follow each other."""
        return int(self.starts(name).sum()) == self.distinct(name)

    def changes_within(self, name: str, starts: NDArray[np.bool_]) -> bool:
        """Whether the cell changes within a sequence."""
        # Most columns change within the first rows, which saves looking at a million others.
        cells = np.array(self.head(name), dtype=object)
        if ((cells[1:] != cells[:-1]) & ~starts[1 : len(cells)]).any():
            return True
        codes = self._text(name).small_codes()
        return bool(((codes[1:] != codes[:-1]) & ~starts[1:]).any())

    def first_known(self, name: str, starts: NDArray[np.bool_]) -> NDArray[np.int64] | None:
        """Return the row of each sequence's first value, (n,), if no sequence has another value.

        In a sequence of gaps it is the first row.
        """
        rows = np.flatnonzero(starts)
        missing, codes = self._text(name).missing(), self.codes(name)
        lowest = np.minimum.reduceat(np.where(missing, len(codes), codes), rows)
        highest = np.maximum.reduceat(np.where(missing, -1, codes), rows)
        if ((lowest != highest) & (highest >= 0)).any():
            return None
        places = np.where(missing, len(codes), np.arange(len(codes)))
        first = np.minimum.reduceat(places, rows)
        return np.where(first < len(codes), first, rows)

    def moments(self, name: str) -> Moments | None:
        """Return the times that a column holds, (n,), or None if most of its cells are none."""
        if name not in self._moments:
            self._moments[name] = moments_of(self._text(name), name, self.dates)
        return self._moments[name]

    def times(self, name: str) -> NDArray[np.float64] | None:
        """Return numbers, or dates in seconds, (n,), NaN for others; None if most are others."""
        found = self.moments(name)
        return found and found.values

    def is_dated(self, name: str) -> bool:
        """Whether the cells are dates, whatever the name of the column says."""
        return self._written(name) == "date"

    def time_tier(self, name: str) -> Tier:
        """Return how strongly name and cells say that a column holds times."""
        return time_tier(name) or (1 if self._written(name) else 0)

    def is_clock(self, name: str) -> bool:
        """Whether the cells are clock times without a date."""
        return self._written(name) == "clock"

    def _written(self, name: str) -> str:
        """Return `date` or `clock` if the cells are written so, else nothing."""
        if name not in self._forms:
            self._forms[name] = self._find_form(name)
        return self._forms[name]

    def _find_form(self, name: str) -> str:
        numeric = self.table.cells(name).is_numeric
        if numeric and not _DIGITS.fullmatch(next(iter(self.head(name)), "")):
            return ""
        # Most columns of text hold no times, which their first cells show.
        if not numeric and (
            not any(map(_LIKE_A_TIME.search, self.head(name)[:20]))
            or not _holds_times(self.head(name))
        ):
            return ""
        found = self.moments(name)
        if found is None or not found.form.in_seconds:
            return ""
        return "date" if found.form.is_dated else "" if numeric else "clock"

    def _within(self, name: str, starts: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """Return the times, with clocks continued after midnight within a sequence."""
        found = self.moments(name)
        return found and found.across_midnight(starts)

    def rises(self, name: str, starts: NDArray[np.bool_]) -> float:
        """Return the share of steps within sequences at which the number or date increases."""
        times = self._within(name, starts)
        inner = ~starts[1:]
        if times is None or not inner.any():
            return 0.0
        return float((times[1:] > times[:-1])[inner].mean())

    def falls(self, name: str, starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the rows within sequences at which the number or date decreases, (n,)."""
        falls = np.zeros(len(starts), dtype=bool)
        times = self._within(name, starts)
        if times is not None:
            falls[1:] = (times[1:] < times[:-1]) & ~starts[1:]
        return falls

    def restarts(self, name: str, starts: NDArray[np.bool_]) -> float:
        """Return the share of the starts of sequences at which the time does not increase."""
        times = self.times(name)
        first = starts[1:]
        if times is None or not first.any():
            return 0.0
        return float((times[1:] <= times[:-1])[first].mean())

    def counts(self, name: str, starts: NDArray[np.bool_]) -> bool:
        """Whether the cells are whole numbers that increase by 1 at every step of a sequence."""
        if not self.table.cells(name).is_numeric or not (~starts[1:]).any():
            return False
        head = self._text(name).parsed()[:50]
        if (np.diff(head)[~starts[1:50]] != 1).any():
            return False
        times = self.times(name)
        return times is not None and bool((np.diff(times)[~starts[1:]] == 1).all())

    def is_free_text(self, name: str) -> bool:
        """Whether the cells are texts of several words, most of which occur once."""
        cells = [cell for cell in self.head(name) if not is_missing(cell)]
        words = sum(len(cell.split()) for cell in cells)
        return bool(cells) and words >= 2.5 * len(cells) and 2 * len(set(cells)) > len(cells)

    def holds_letters(self, name: str, named: bool) -> bool:
        """Whether the cells are sequences of letters, such as a protein's, and not names of rows.

        Args:
            named: whether the column has the usual name of a text, so that cells may be short.
        """
        if self.table.cells(name).is_numeric:
            return False
        cells = [cell for cell in self.head(name) if not is_missing(cell)]
        numbered = sum(any(c.isdigit() for c in cell) for cell in cells)
        long = sorted(map(len, cells))[len(cells) // 2] >= 20 if cells else False
        return bool(cells) and 2 * numbered < len(cells) and (named or long)

    def has_fractions(self, name: str) -> bool:
        """Whether some of the first cells are numbers with fractions."""
        head = self._text(name).parsed()[:1000]
        return bool((head[np.isfinite(head)] % 1 != 0).any())


def _holds_times(cells: Sequence[str]) -> bool:
    from elman.data.dates import holds_times  # imports pyarrow

    return holds_times(cells)


def moments_of(column: TextColumn, name: str, dates: DateOrder | None) -> Moments | None:
    """Return the times that a column holds, (n,), or None if most of its cells are none.

    Args:
        name: of the column; numbers are dates or seconds since 1970 only if it is one of a time.
        dates: order of day and month, where the cells do not show it.
    """
    from elman.data.dates import read_moments  # imports pyarrow

    named = time_tier(name) > 0
    numbers = column.values if isinstance(column, NumberColumn) else None
    if numbers is None and column.is_numeric:
        numbers = column.parsed()
        # Without a copy. A float rounds nanoseconds since 1970.
        if max(np.fmax.reduce(numbers, initial=0), -np.fmin.reduce(numbers, initial=0)) > 2**53:
            numbers = None
    if numbers is not None:
        few = numbers.dtype.kind == "f" and 2 * int(np.isnan(numbers).sum()) > len(numbers)
        found = None if few else read_number_times(numbers, named)
    else:
        found = read_moments(
            column.different(), column.codes(), dates, numeric=column.is_numeric, named=named
        )
    if found is None or found.form.in_seconds or split_words(name)[:1] not in _HOURS:
        return found
    known = found.values[~np.isnan(found.values)]
    if ((known % 1 == 0) & (known >= 0) & (known <= 24)).all():
        return found._replace(form=dataclasses.replace(found.form, period=24.0))
    return found


def find_pair(evidence: Evidence, name: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that name a sequence together, such as the subject and its trial.

    Args:
        name: the column that looks like the id.
        names: all columns that may complete it; two of them at most.
    Returns: the columns, the coarsest first; empty if there are none.
    """
    others = [other for other in names if other != name and id_tier(other)][:8]
    for several in (*combinations(others, 1), *combinations(others, 2)):
        codes = [evidence.codes(other) for other in (name, *several)]
        together = np.unique(np.column_stack(codes), axis=0, return_inverse=True)[1].reshape(-1)
        blocks = 1 + int((together[1:] != together[:-1]).sum())
        whole = blocks == int(together.max()) + 1 and blocks > evidence.distinct(name)
        if whole and 2 * blocks <= len(together):  # a recording has two rows or more
            return tuple(sorted((name, *several), key=lambda n: int(evidence.starts(n).sum())))
    return ()


def find_restart(evidence: Evidence, name: str, clocks: Sequence[str]) -> str | None:
    """Return the time that starts again within most sequences of a guessed id.

    Such a column names what several recordings are of, such as a user.

    Args:
        name: the column that looks like the id.
        clocks: the columns that may be the time.
    """
    starts = evidence.starts(name)
    falls = {clock: evidence.falls(clock, starts) for clock in clocks}
    if not falls:
        return None
    clock = min(falls, key=lambda clock: int(falls[clock].sum()))
    falling = len(np.unique((np.cumsum(starts) - 1)[falls[clock]]))
    # A few faults in the order of rows are reported as faults.
    few = 2 * falling <= int(starts.sum()) or evidence.rises(clock, starts) < 0.5
    return None if few else clock


def refuse_restart(evidence: Evidence, name: str, clock: str) -> DataError:
    """Return the error for a guessed id within whose sequences a time starts again."""
    count = int(evidence.falls(clock, evidence.starts(name)).sum())
    return evidence.table.faults.error(
        "choice",
        f"column {name!r} looks like the id of a sequence, but the time {clock!r} starts again"
        f" {count:,} times within its sequences",
        "If each start is a new recording, number the recordings in a new column and name it"
        f" with --id NAME; --group {name} then keeps each {name} in one split. If the rows"
        f" are only out of order, sort them and say --id {name} --time {clock}.",
    )
