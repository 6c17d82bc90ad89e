"""Gaps in numbers: where they are, and what stands in for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged

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


def with_gaps(numbers: Ragged) -> NDArray[np.bool_]:
    """Whether a sequence misses values in a channel, (n, C); each has one step or more."""
    if not len(numbers):
        return np.zeros((0, numbers.values.shape[1]), dtype=bool)
    return np.logical_or.reduceat(np.isnan(numbers.values), numbers.offsets[:-1])


def without_values(numbers: Ragged) -> NDArray[np.bool_]:
    """Whether every value of a sequence is missing, (n,); a sequence has one step or more."""
    if not len(numbers):
        return np.zeros(0, dtype=bool)
    observed = (~np.isnan(numbers.values)).any(1)
    return ~np.logical_or.reduceat(observed, numbers.offsets[:-1])


def carried_forward(numbers: Ragged, fill: Floats) -> Floats:
    """Return (N, C) with each gap replaced by the last value of its channel and sequence.

    Args:
        numbers: (N, C), NaN where a value is missing.
        fill: what stands before a channel's first value in a sequence, (C,).
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
