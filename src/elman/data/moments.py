"""Times of a column: what they are, how they are written, and numbers that are dates.

`elman.data.dates` reads the text of cells; it imports pyarrow, so it is imported late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

DateOrder = Literal["ymd", "dmy", "mdy"]
ORDER_NAMES = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}
WITHOUT_DATE = ("clock", "minutes:seconds", "duration", "ISO duration")  # forms of text
DAY = 86_400  # seconds
# Numbers that are dates: their digits, by the number of digits.
_DIGITS = {8: "ymd", 10: "ymdH", 12: "ymdHM", 14: "ymdHMS", 6: "ym"}
# Seconds since 1970 between 1980 and 2100, in each unit.
_EPOCHS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class TimeForm:
    """How the times of a column are written.

    Args:
        name: `number`, `epoch`, `digits`, or a form of text such as `date`, `a/b/y` or `clock`.
        unit: of the number, for an epoch; `s` for every form that gives seconds.
        order: order of day, month and year, where a date may be read in two ways.
        unclear: whether both orders fit all cells, so that the order is not known.
        period: after which a clock starts again, such as a day; 0 for times that do not.
        example: a cell of the column.
    """

    name: str
    unit: str = ""
    order: DateOrder | None = None
    unclear: bool = False
    period: float = 0.0
    example: str = ""

    @property
    def in_seconds(self) -> bool:
        """Whether the times are seconds; plain numbers are in a unit of their own."""
        return self.name != "number"

    @property
    def is_dated(self) -> bool:
        """Whether the cells are dates, which no other content looks like."""
        return self.name not in ("number", "epoch", *WITHOUT_DATE)

    @property
    def words(self) -> str:
        """How the times are read, for the reason of a guess; empty for plain numbers."""
        if self.name == "number":
            return ""
        if self.name == "epoch":
            units = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
            return f"{units.get(self.unit, 'nanoseconds')} since 1970"
        kind = "durations" if self.name in WITHOUT_DATE else "dates"
        kind = "clock times" if self.name == "clock" else kind
        order = f", {ORDER_NAMES[self.order]}" if self.order and self.name == "a/b/y" else ""
        return f"{kind} such as {self.example}{order}"


class Moments(NamedTuple):
    """The times of a column.

    Args:
        values: times, (n,) float64, in seconds after `origin` or as the numbers are; NaN for a cell
            that is missing or not written as the others.
        origin: seconds from 1970, or from midnight, to 0; 0 for numbers.
        form: how the cells are written.
    """

    values: NDArray[np.float64]
    origin: float
    form: TimeForm

    def across_midnight(self, starts: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the times, with a day added wherever a clock passes midnight in a sequence.

        Args:
            starts: rows at which sequences start, (n,).
        """
        if not self.form.period:
            return self.values
        return unwrap(self.values, starts, self.form.period)


def unwrap(
    values: NDArray[np.float64], starts: NDArray[np.bool_], period: float
) -> NDArray[np.float64]:
    """Add `period` wherever the values fall by more than half of it within a sequence.

    Args:
        values: (n,), from 0 to `period`.
        starts: rows at which sequences start, (n,).
    """
    passed: NDArray[np.int64] = np.zeros(len(values), np.int64)
    passed[1:] = (values[:-1] - values[1:] > period / 2) & ~starts[1:]
    if not passed.any():
        return values
    count = np.cumsum(passed)
    first = np.flatnonzero(starts)
    before = np.repeat(count[first], np.diff([*first, len(values)]))
    return np.asarray(values + period * (count - before), np.float64)


def read_number_times(numbers: NDArray[Any], named: bool) -> Moments:
    """Return numbers as times: dates written in digits, seconds since 1970, or as they are.

    Args:
        numbers: (n,) integers or floats, NaN where a value is missing.
        named: whether the name of the column says that it holds times.
    """
    known = numbers[~np.isnan(numbers)] if numbers.dtype.kind == "f" else numbers
    plain = Moments(numbers.astype(np.float64, copy=False), 0.0, TimeForm("number"))
    if len(known) == 0 or bool(not named and (known % 1 != 0).any()):
        return plain
    low, high = float(known.min()), float(known.max())
    digits = len(str(int(low))) if low > 0 and high < 1e15 else 0
    fields = _DIGITS.get(digits, "")
    if fields and (named or digits in (8, 14)) and (known % 1 == 0).all():
        found = _read_digits(numbers, digits, fields)
        if found is not None:
            return found
    for unit, scale in _EPOCHS.items():
        if named and 3.2e8 * scale <= low and high <= 4.2e9 * scale:
            origin = known.min()
            seconds = (numbers - origin).astype(np.float64) / scale
            return Moments(seconds, float(origin) / scale, TimeForm("epoch", unit))
    return plain


def _read_digits(numbers: NDArray[Any], digits: int, fields: str) -> Moments | None:
    """Return numbers such as 20240131 as dates, or None unless all are between 1900 and 2100."""
    gaps = np.isnan(numbers) if numbers.dtype.kind == "f" else np.zeros(len(numbers), dtype=bool)
    rest = np.where(gaps, 0, numbers).astype(np.int64)
    parts: dict[str, NDArray[np.int64]] = {}
    for field in reversed(fields[1:]):
        parts[field] = rest % 100
        rest = rest // 100
    parts["y"] = rest
    days, valid = days_of(parts["y"], parts["m"], parts.get("d", np.ones_like(rest)))
    valid &= (rest >= 1900) & (rest <= 2100)
    seconds = days * DAY
    for field, limit, scale in (("H", 24, 3600), ("M", 60, 60), ("S", 60, 1)):
        if field in parts:
            valid &= parts[field] < limit
            seconds = seconds + parts[field] * scale
    if not valid[~gaps].all():
        return None
    origin = int(seconds[~gaps].min())
    values = np.where(gaps, np.nan, seconds - origin)
    example = str(int(numbers[~gaps][0]))
    return Moments(values, float(origin), TimeForm("digits", "s", example=example))


def are_even(numbers: Sequence[float]) -> bool:
    """Whether numbers follow each other at equal distances, as the times of a header do."""
    steps = [b - a for a, b in pairwise(numbers)]
    return all(abs(step - steps[0]) < 1e-6 * max(abs(numbers[-1]), 1) for step in steps)


def days_of(
    years: NDArray[np.int64], months: NDArray[np.int64], days: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return days since 1970-01-01, (n,), and whether each is a day of the calendar, (n,)."""
    valid = (months >= 1) & (months <= 12) & (days >= 1) & (years >= 1) & (years <= 9999)
    count = np.where(valid, (years - 1970) * 12 + months - 1, 0)
    first = count.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    following = (count + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    valid &= days <= following - first
    return np.where(valid, first + days - 1, 0), valid
