"""Times in the text of cells: numbers, dates in national forms, clock times and durations.

The form of a column is found from its cells: most of them must have it. A cell is divided by one
regular expression and computed in whole-array operations, once for every different cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elman.data.moments import (
    DAY,
    WITHOUT_DATE,
    DateOrder,
    Moments,
    TimeForm,
    days_of,
    read_number_times,
)

_SAMPLE = 1000  # cells by which the form of a column is found
_NANOS = 1_000_000_000
_ZONE = (
    r"(?: ?(?:UTC|GMT)?(?P<z>Z|z|[+-]\d{1,2}(?::?\d{2})?|[A-Z]{3,4})?"
    r"(?:\[[^\]]*\]| ?\([^)]*\))?)?"
)
_CLOCK = (
    r"(?P<H>\d{1,2})(?:[:.h](?P<M>\d{2})(?:[:.](?P<S>\d{2})(?:[.,:](?P<f>\d{1,9}))?)?)?"
    r"(?: ?(?P<p>[AaPp])\.?[Mm]\.?)?(?: Uhr)?"
)
_TIME = rf"(?:(?:[T ,;:_-]+|(?: at ))(?:{_CLOCK}){_ZONE})?"
_WEEKDAY = r"(?:\p{L}{2,10}\.?,? +)?"
_MONTH = r"(?P<n>\p{L}{3,10})\.?"
_BASIC = r"[T _-]?(?P<H>\d{2})(?P<M>\d{2})(?:(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?"
_YEAR = r"'?(?P<y>\d{4}|\d{2})"
# Forms of text, in the order in which they are tried; the first that fits most cells is taken.
_FORMS: dict[str, str] = {
    "date": rf"{_WEEKDAY}(?P<y>\d{{4}})(?:[./-] ?|年|년 ?)(?P<m>\d{{1,2}})(?:[./-] ?|月|월 ?)"
    rf"(?P<d>\d{{1,2}})[.日일]?{_TIME}",
    "a/b/y": rf"{_WEEKDAY}(?P<a>\d{{1,2}})[./-] ?(?P<b>\d{{1,2}})[./-] ?(?P<c>\d{{4}}|\d{{2}})"
    rf"{_TIME}",
    "d month y": rf"{_WEEKDAY}(?P<d>\d{{1,2}})(?:st|nd|rd|th|\.|er)?[ ./-]*(?:de |of )?{_MONTH}"
    rf"[ .,/-]*(?:de )?{_YEAR}{_TIME}",
    "month d, y": rf"{_WEEKDAY}{_MONTH}[ -]+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?[ -]+(?P<y>\d{{4}})"
    rf"{_TIME}",
    "y month d": rf"(?P<y>\d{{4}})[ /-]{_MONTH}[ /-](?P<d>\d{{1,2}}){_TIME}",
    "month d time y": rf"{_WEEKDAY}{_MONTH} +(?P<d>\d{{1,2}}) +{_CLOCK}{_ZONE} +(?P<y>\d{{4}})",
    "week": r"(?P<y>\d{4})[ /-]?(?:W|w|KW|week)[ -]?(?P<w>\d{1,2})(?:-?(?P<e>[1-7]))?",
    "quarter": r"(?P<y>\d{4})[ /-]?[Qq](?P<q>[1-4])|[Qq](?P<q2>[1-4])[ /-]?(?P<y2>\d{4})",
    "year-month": r"(?P<y>\d{4})[/M-](?P<m>\d{1,2})|(?P<m2>\d{1,2})[/-](?P<y2>\d{4})",
    "month y": rf"{_MONTH}[ /-]+{_YEAR}",
    "day of the year": rf"(?P<y>\d{{4}})-(?P<j>\d{{3}}){_TIME}",
    "basic date": rf"(?P<y>\d{{4}})(?P<m>\d{{2}})(?P<d>\d{{2}}){_TIME}",
    "basic date and time": rf"(?P<y>\d{{4}})(?P<m>\d{{2}})(?P<d>\d{{2}}){_BASIC}{_ZONE}",
    "clock": r"T?(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,:](?P<f>\d{1,9}))?)?"
    r"(?: ?(?P<p>[AaPp])\.?[Mm]\.?)?",
    "minutes:seconds": r"(?P<M>\d{1,9}):(?P<S>\d{2})[.,](?P<f>\d{1,9})",
    "duration": r"(?P<s>-)?(?:(?P<D>\d{1,9}) ?d(?:ays?)?,? *)?"
    r"(?:(?P<H>\d{1,9}):(?P<M>\d{2}):(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?",
    "ISO duration": r"P(?:(?P<D>\d{1,9})D)?T?(?:(?P<H>\d{1,9})H)?(?:(?P<M>\d{1,9})M)?"
    r"(?:(?P<S>\d{1,9})(?:[.,](?P<f>\d{1,9}))?S)?",
}
_MONTHS = {
    "juin": 6, "juil": 7,
    **{word: number for number, words in enumerate((
        "jan ene gen", "feb fév fev", "mar mär mae mrz mrt", "apr avr abr", "may mai mag mei maj",
        "jun giu", "jul lug", "aug aoû aou ago", "sep set", "oct okt ott out", "nov",
        "dec dez dic déc",
    ), 1) for word in words.split()},
}  # fmt: skip
# Hours ahead of UTC of the zones whose names are in use and mean one zone only.
_ZONES = {
    **{"Z": 0, "UTC": 0, "GMT": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "MEZ": 1, "CEST": 2},
    **{"MESZ": 2, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9, "KST": 9, "EST": -5, "EDT": -4},
    **{"CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7},
}


def read_moments(
    different: Sequence[str],
    codes: NDArray[np.int64],
    order: DateOrder | None = None,
    *,
    numeric: bool,
    named: bool,
) -> Moments | None:
    """Return the times of a column, or None if most cells are no times.

    Args:
        different: the distinct cells.
        codes: index of each cell in them, (n,).
        order: order of day and month, where the cells do not show it.
        numeric: whether the cells are numbers.
        named: whether the name says that they are times; other numbers are none.
    """
    cells = pa.array(different, pa.string())
    found = _read_numbers(cells, named) if numeric else _read_text(cells, order, codes)
    if found is None:
        return None
    values, origin, form = found
    values = values[codes]
    # A minority of other cells are faults of the column; a majority says that it holds no times.
    if 2 * int(np.isnan(values).sum()) > len(values):
        return None
    return Moments(values, origin, form)


def holds_times(cells: Sequence[str]) -> bool:
    """Whether most of these cells of text are dates, clock times or durations."""
    different = list(dict.fromkeys(cell.strip() for cell in cells))
    return _find_form(pa.array(different, pa.string())) is not None


def _read_numbers(
    distinct: pa.Array, named: bool
) -> tuple[NDArray[np.float64], float, TimeForm] | None:
    whole = pc.match_substring_regex(distinct, r"^[+-]?(?:\d{1,18}|[1-8]\d{18})$")
    numbers: NDArray[Any]
    if pc.all(whole).as_py():  # floats would round nanoseconds since 1970
        numbers = distinct.cast(pa.int64()).to_numpy(zero_copy_only=False)
    else:
        number = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
        written = pc.if_else(pc.match_substring_regex(distinct, number), distinct, None)
        numbers = written.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return read_number_times(numbers, named)


@cache
def _pattern(name: str) -> str:
    return f"^(?:{_FORMS[name]})$"


def _find_form(distinct: pa.Array) -> tuple[str, str] | None:
    """Return the form that most cells have, and one of them; None if there is none."""
    full = distinct.filter(pc.match_substring_regex(distinct, r"\d"))
    sample = full.take(np.arange(0, len(full), max(1, len(full) // _SAMPLE)))
    counts = {
        name: pc.sum(pc.match_substring_regex(sample, _pattern(name))).as_py() or 0
        for name in _FORMS
    }
    name = max(counts, key=lambda name: counts[name])  # the first of equals
    if 2 * counts[name] < len(sample) or not counts[name]:
        return None
    return name, sample.filter(pc.match_substring_regex(sample, _pattern(name)))[0].as_py()


def _read_text(
    distinct: pa.Array, order: DateOrder | None, places: NDArray[Any]
) -> tuple[NDArray[np.float64], float, TimeForm] | None:
    """Return the times of different cells in the form that most of them have."""
    found = _find_form(distinct)
    if found is None:
        return None
    name, example = found
    parts = pc.extract_regex(distinct, pattern=_pattern(name))
    fields = _Fields(parts)
    period = float(DAY if name == "clock" else 0)
    form = TimeForm(name, "s", period=period, example=example)
    if name in WITHOUT_DATE:
        seconds, nanos = fields.clock()
        valid = fields.matched.copy()
        if name == "clock" and int(fields.get("H").max(initial=0)) > 24:
            form = TimeForm("duration", "s", example=example)
            if not fields.has("S"):  # 45:30 are minutes and seconds
                seconds = fields.get("H") * 60 + fields.get("M")
        elif name == "clock":
            valid &= (fields.get("M") < 60) & (fields.get("S") <= 60)
        return np.where(valid, seconds + nanos / _NANOS, np.nan), 0.0, form
    if name == "a/b/y":
        order, unclear = _find_order(fields, order, distinct, places)
        form = TimeForm(name, "s", order, unclear, example=example)
        fields.set_order(order)
    days, valid = fields.days()
    seconds, nanos = fields.clock()
    valid &= fields.matched & (fields.get("H") <= 24) & (fields.get("M") < 60)
    valid &= fields.get("S") <= 60
    if not valid.any():
        return None
    seconds = seconds + days * DAY - fields.ahead_of_utc()
    origin = int(seconds[valid].min())
    return np.where(valid, (seconds - origin) + nanos / _NANOS, np.nan), float(origin), form


class _Fields:
    """The parts into which a regular expression divided the different cells."""

    def __init__(self, parts: pa.StructArray) -> None:
        self.matched = pc.is_valid(parts).to_numpy(zero_copy_only=False)
        self.size = len(parts)
        self.text: Mapping[str, pa.Array] = {
            field.name: pc.struct_field(parts, field.name) for field in parts.type
        }
        self.known: dict[str, NDArray[np.int64]] = {}

    def get(self, name: str, default: int = 0) -> NDArray[np.int64]:
        """Return a part as whole numbers, (n,), `default` where the cell does not have it."""
        if name not in self.known:
            cells = self.text.get(name)
            second = self.text.get(f"{name}2")  # of an alternative in the expression
            if cells is None:
                return np.full(self.size, default, np.int64)
            if second is not None:
                cells = pc.if_else(pc.not_equal(cells, ""), cells, second)
            cells = pc.if_else(pc.match_substring_regex(cells, r"^\d+$"), cells, None)
            numbers = pc.fill_null(cells.cast(pa.int64()), default)
            self.known[name] = numbers.to_numpy(zero_copy_only=False).astype(np.int64)
        return self.known[name]

    def has(self, name: str) -> bool:
        """Whether some cells have this part."""
        return name in self.text and bool(pc.any(pc.not_equal(self.text[name], "")).as_py())

    def texts(self, name: str) -> NDArray[np.object_]:
        """Return a part as text, (n,), empty where the cell does not have it."""
        cells = self.text.get(name)
        if cells is None:
            return np.full(self.size, "", object)
        return np.array(pc.fill_null(cells, "").to_pylist(), dtype=object)

    def set_order(self, order: DateOrder) -> None:
        """Read a/b/c as day, month and year in this order."""
        for field, part in zip(order, "abc", strict=True):
            self.known[field] = self.get(part)

    def days(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return days since 1970-01-01, (n,), and whether each is a day of the calendar, (n,)."""
        short = self.get("y")
        # As Python and C: 69 is 1969, 68 is 2068.
        years = np.where(short < 69, short + 2000, np.where(short < 100, short + 1900, short))
        if "w" in self.text:
            # Week 1 is the one with 4 January; its Monday, then whole weeks.
            fourth, valid = days_of(years, np.ones_like(years), np.full_like(years, 4))
            monday = fourth - (fourth + 3) % 7
            weeks = self.get("w", 1)
            days = monday + 7 * (weeks - 1) + self.get("e", 1) - 1
            return days, valid & (weeks >= 1) & (weeks <= 53)
        if "j" in self.text:
            first, valid = days_of(years, np.ones_like(years), np.ones_like(years))
            ordinal = self.get("j", 1)
            return first + ordinal - 1, valid & (ordinal >= 1) & (ordinal <= 366)
        months = self.get("m", 1)
        if "q" in self.text:
            months = 3 * self.get("q", 1) - 2
        if "n" in self.text:
            names = self.texts("n")
            numbers = {name: month_number(name) for name in set(names.tolist())}
            months = np.array([numbers[name] for name in names.tolist()], np.int64)
        return days_of(years, months, self.get("d", 1))

    def clock(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the seconds of the day or of a duration, (n,), and nanoseconds, (n,)."""
        hours = self.get("H")
        if "p" in self.text:
            half = self.texts("p")
            twelve = hours == 12
            hours = np.where((half == "a") | (half == "A"), np.where(twelve, 0, hours), hours)
            hours = np.where(((half == "p") | (half == "P")) & ~twelve, hours + 12, hours)
        seconds = self.get("D") * DAY + hours * 3600 + self.get("M") * 60 + self.get("S")
        nanos: NDArray[np.int64] = np.zeros(self.size, np.int64)
        if "f" in self.text:
            padded = pc.utf8_rpad(pc.fill_null(self.text["f"], ""), 9, "0")
            nanos = padded.cast(pa.int64()).to_numpy(zero_copy_only=False)
        if "H" in self.text:
            # A leap second, 23:59:60, is put before midnight, so that the order stays.
            leap = self.get("S") == 60
            seconds, nanos = seconds - leap, np.where(leap, (nanos + _NANOS) // 2, nanos)
        if "s" in self.text:
            sign = np.where(self.texts("s") == "-", -1, 1)
            seconds, nanos = sign * seconds, sign * nanos
        return seconds, nanos

    def ahead_of_utc(self) -> NDArray[np.int64]:
        """Return the seconds by which the zone of each cell is ahead of UTC; 0 without a zone."""
        if "z" not in self.text:
            return np.zeros(self.size, np.int64)
        zones = pc.dictionary_encode(pc.fill_null(self.text["z"], ""))
        known = np.array([_offset(zone) for zone in zones.dictionary.to_pylist()], np.int64)
        indices: NDArray[np.int64] = zones.indices.to_numpy(zero_copy_only=False)
        return np.asarray(known[indices], np.int64)


def _offset(zone: str) -> int:
    if zone[:1] in ("+", "-"):
        digits = zone[1:].replace(":", "")
        hours, minutes = (digits[:2], digits[2:]) if len(digits) > 2 else (digits, "0")
        return (1 if zone[0] == "+" else -1) * (int(hours) * 3600 + int(minutes or 0) * 60)
    return _ZONES.get(zone.upper(), 0) * 3600


def month_number(name: str) -> int:
    """Return the number of a month's name or abbreviation, or 0."""
    name = name.lower()
    return _MONTHS.get(name[:4]) or _MONTHS.get(name[:3], 0)


def _find_order(
    fields: _Fields, order: DateOrder | None, full: pa.Array, places: NDArray[Any]
) -> tuple[DateOrder, bool]:
    """Return the order of day, month and year, and whether it is not known.

    A day after the twelfth shows the order. Otherwise the point between the parts does, which is
    only used with the day first, or the order in which the dates rise.
    """
    if order is not None:
        return order, False
    a, b, c = (fields.get(part)[fields.matched] for part in "abc")
    most = 0.95 * len(a)  # a few wrong dates are faults and do not decide
    fits: dict[DateOrder, bool] = {
        "dmy": float(((a <= 31) & (b <= 12)).sum()) >= most,
        "mdy": float(((b <= 31) & (a <= 12)).sum()) >= most,
    }
    possible = [order for order, fit in fits.items() if fit]
    if not possible:
        short = float(((b <= 12) & (c <= 31)).sum()) >= most
        return ("ymd" if short else "dmy"), False
    if len(possible) == 1:
        return possible[0], False
    if pc.all(pc.match_substring_regex(full, r"^\D*\d{1,2}\.|^\D*$")).as_py():
        return "dmy", False
    falls = {order: _count_falls(fields, order, places) for order in possible}
    best = min(possible, key=lambda order: falls[order])
    others = min(count for order, count in falls.items() if order != best)
    # In either order the dates fall where a sequence starts.
    return best, others < max(2, 2 * falls[best] + 1)


def _count_falls(fields: _Fields, order: DateOrder, places: NDArray[Any]) -> int:
    """Return the number of rows with a date before that of the row above."""
    d, m, y = (fields.get("abc"[order.index(part)]) for part in "dmy")
    key = ((y * 100 + m) * 100 + d)[places]
    return int((key[1:] < key[:-1]).sum())
