"""Cells of text to numbers, and the exact place and reason where a cell is none."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.options import shorten
from elman.errors import DataError

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none", "-nan", "+nan"})
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
FILL = "Fill it in or drop the sequence; elman does not read missing values."


class Place(NamedTuple):
    """Where cell i of a flat list stands, the cells of its whole sequence, and what to add."""

    line: int
    column: str | None
    sequence: slice
    detail: str = ""
    hint: str = ""


def is_missing(cell: str) -> bool:
    """Whether the cell is empty or says that there is no value."""
    return cell.strip().lower() in MISSING


def is_number(cell: str) -> bool:
    """Whether the cell is a finite number."""
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def to_numbers(
    cells: Sequence[str], place: Callable[[int], Place], source: str
) -> NDArray[np.float64]:
    """Return the cells as numbers, (N,) float64.

    Args:
        place: gives the place of cell i, asked only for a faulty one.
    Raises: DataError for the first cell that is not a finite number.
    """
    try:
        numbers = np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
        good = bool(np.isfinite(numbers).all()) and "_" not in "".join(cells)
    except ValueError:
        good = False
    if not good:
        for fault in faults(cells, place, source):
            raise fault
    return numbers


def faults(cells: Sequence[str], place: Callable[[int], Place], source: str) -> Iterator[DataError]:
    """Yield an error for each cell that is not a finite number, in order."""
    for i, cell in enumerate(cells):
        if is_number(cell):
            continue
        where = place(i)
        if all(is_missing(c) for c in cells[where.sequence]):
            problem, remedy = "every value of this sequence is missing", "Drop the sequence."
        elif is_missing(cell):
            found = f"missing value {cell.strip()!r}" if cell.strip() else "missing value"
            problem, remedy = f"{found}, expected a number", f"{FILL} {where.hint}".strip()
        elif _infinite(cell):
            problem = f"{shorten(cell)} is not finite, expected a number"
            remedy = "Replace it with a number or drop the sequence."
        else:
            problem, remedy = f"{shorten(cell)} is not a number", "Correct the cell."
            if _DECIMAL_COMMA.fullmatch(cell.strip()):
                remedy = "Write decimals with a point."
        yield DataError(
            where.detail + problem,
            remedy=remedy,
            source=source,
            line=where.line,
            column=where.column,
        )


def _infinite(cell: str) -> bool:
    try:
        return math.isinf(float(cell))
    except ValueError:
        return False
