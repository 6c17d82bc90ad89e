"""The channels of a step: numbers with gaps, categories beside them, and the time between steps.

Steps that mix numbers and categories are (N, C) arrays of objects.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.errors import DataError

Floats = NDArray[np.float64]


class Gap(NamedTuple):
    """A missing value: the sequence, its step and its channel, each counted from 0."""

    sequence: int
    step: int
    channel: int


def first_gap(numbers: Ragged, allowed: NDArray[np.bool_]) -> Gap | None:
    """Return the first missing value of a channel that must have none, or None.

    Args:
        numbers: (N, C), NaN where a value is missing.
        allowed: whether a channel may have gaps, (C,).
    """
    wrong = np.isnan(numbers.values) & ~allowed
    if not wrong.any():
        return None
    row, channel = (int(i) for i in np.argwhere(wrong)[0])
    sequence = int(numbers.owners[row])
    return Gap(sequence, row - int(numbers.offsets[sequence]), channel)


def sequences_with_gaps(numbers: Ragged) -> NDArray[np.bool_]:
    """Whether a sequence misses values in a channel, (n, C); each has one step or more."""
    if not len(numbers):
        return np.zeros((0, numbers.values.shape[1]), dtype=bool)
    return np.logical_or.reduceat(np.isnan(numbers.values), numbers.offsets[:-1])


def sequences_without_values(numbers: Ragged) -> NDArray[np.bool_]:
    """Whether every value of a sequence is missing, (n,); a sequence has one step or more."""
    if not len(numbers):
        return np.zeros(0, dtype=bool)
    observed = (~np.isnan(numbers.values)).any(1)
    return ~np.logical_or.reduceat(observed, numbers.offsets[:-1])


def carry_forward(numbers: Ragged, fill: Floats) -> Floats:
    """Return (N, C) with each gap replaced by the last value of its channel and sequence.

    Args:
        numbers: (N, C), NaN where a value is missing.
        fill: value of each channel before its first one in a sequence, (C,).
    """
    values: Floats = numbers.values
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    starts = np.repeat(numbers.offsets[:-1], numbers.lengths)[:, None]  # (N, 1)
    rows = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(gaps, -1, rows), axis=0)  # row of the last value so far
    carried = np.take_along_axis(values, last.clip(0), axis=0)
    return np.where(last < starts, fill, carried)


MISSING = ""  # a category that is missing is one of its own


def is_number(value: Any) -> bool:
    """Whether a value may stand in a column of numbers: a number, or a gap."""
    return value is None or isinstance(value, float | int | np.number | np.bool_)


def category_columns(values: NDArray[Any]) -> tuple[int, ...]:
    """Return the columns of (N, C) in which a value is neither a number nor missing."""
    # As Python values: indexing an object array element by element is slow.
    columns = values.T.tolist()
    return tuple(c for c, column in enumerate(columns) if not all(map(is_number, column)))


def number_columns(values: NDArray[Any], categories: tuple[int, ...]) -> list[int]:
    """Return the other columns of (N, C)."""
    return [c for c in range(values.shape[1]) if c not in categories]


def extract_numbers(mixed: Ragged, categories: tuple[int, ...]) -> Ragged:
    """Return the columns that are no categories, (N, C), float64, NaN where a value is missing.

    Raises: DataError naming a value that is no number.
    """
    columns = number_columns(mixed.values, categories)
    part = mixed.values[:, columns]
    out = np.empty(part.shape)
    for at, own in enumerate(part.T.tolist()):
        for row, value in enumerate(own):
            if not is_number(value):
                sequence = int(mixed.owners[row])
                raise DataError(
                    f"sequence {sequence}: step {row - mixed.offsets[sequence]}, channel "
                    f"{columns[at]} is {value!r:.40}, expected a number as in training",
                    remedy="Correct the value, or give NaN where it is missing.",
                )
            out[row, at] = math.nan if value is None else value
    return mixed.with_values(out)


def category_names(column: NDArray[Any]) -> list[str]:
    """Return the categories in a column, (N,), as text; a missing one is the empty text."""
    return [MISSING if v is None or v != v else str(v) for v in column.tolist()]


TIME_DELTA = "time since the last step"
UNEVEN = 0.01  # of the median: less is taken for the jitter of a clock


def time_deltas(times: Ragged) -> NDArray[np.float64]:
    """Return the time since the previous step of the sequence, 0 at the first, (N,)."""
    passed = np.diff(times.values, prepend=times.values[:1])
    passed[times.offsets[:-1]] = 0.0
    return passed


def describe_unevenness(times: Ragged) -> str:
    """Say how unevenly the steps of sequences come; empty if none is off by more than 1 %."""
    has_previous = np.ones(len(times.values), dtype=bool)
    has_previous[times.offsets[:-1]] = False
    deltas = time_deltas(times)[has_previous]
    # A missing time is a fault already, and has no difference.
    if len(deltas) == 0 or np.isnan(deltas).any():
        return ""
    median = float(np.median(deltas))
    if (np.abs(deltas - median) <= UNEVEN * median).all():
        return ""
    return f"{deltas.min():.6g} to {deltas.max():.6g} apart, median {median:.6g}"
