"""Numbers: from cells of text, and checked, with the exact place and reason where one is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from elman.data.faults import Faults, Place, quote
from elman.data.ragged import Ragged

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none", "-nan", "+nan"})
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def is_missing(cell: str) -> bool:
    """Whether the cell is empty or says that there is no value."""
    return cell.strip().lower() in MISSING


def is_number(cell: str) -> bool:
    """Whether the cell is a finite number; Python's 1_000 is not one."""
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def to_numbers(
    cells: Sequence[str], place: Callable[[int], Place], faults: Faults
) -> NDArray[np.float64]:
    """Return the cells as numbers, (N,) float64, NaN where a value is missing.

    Args:
        place: returns the place of cell i, called only for a faulty one.
        faults: collects every cell that is neither missing nor a finite number.
    """
    # One pass in C for clean columns; the slow pass below only runs where it finds something.
    try:
        numbers = np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
        if not np.isinf(numbers).any() and "_" not in "".join(cells):
            return numbers
    except ValueError:
        pass
    numbers = np.zeros(len(cells))
    for i, cell in enumerate(cells):
        if is_number(cell):
            numbers[i] = float(cell)
        elif is_missing(cell):
            numbers[i] = np.nan
        elif _is_infinite(cell):
            _refuse_infinite(quote(cell), place(i), faults)
        else:
            comma = _DECIMAL_COMMA.fullmatch(cell.strip())
            remedy = "Write decimals with a point." if comma else "Correct the cell."
            place(i).fault(faults, "number", f"{quote(cell)} is not a number", remedy)
    return numbers


def check_numbers(
    values: Ragged, place: Callable[[int, int], Place], faults: Faults, *, whole: bool = True
) -> Ragged:
    """Return `values`, (N, C), after noting infinite values and sequences without any value.

    Args:
        place: returns the place of a step, from 0 to N, and channel.
        whole: whether these are all values of a step; categories beside them are values too.
    """
    numbers = values.values
    if np.isfinite(numbers).all():
        return values
    for step, channel in np.argwhere(np.isinf(numbers)).tolist():
        _refuse_infinite(repr(float(numbers[step, channel])), place(step, channel), faults)
    gaps = np.isnan(numbers) if whole else np.zeros(numbers.shape, dtype=bool)
    bare = np.concatenate([[0], np.cumsum(gaps.all(axis=1))])
    void = (np.diff(bare[values.offsets]) == values.lengths) & (values.lengths > 0)
    for i in np.flatnonzero(void).tolist():
        problem = "every value of this sequence is missing"
        place(int(values.offsets[i]), 0).fault(faults, "no value", problem, "Drop the sequence.")
    return values


def _refuse_infinite(value: str, where: Place, faults: Faults) -> None:
    remedy = "Replace it with a number or drop the sequence."
    where.fault(faults, "finite", f"{value} is not finite, expected a number", remedy)


def _is_infinite(cell: str) -> bool:
    try:
        return math.isinf(float(cell))
    except ValueError:
        return False
