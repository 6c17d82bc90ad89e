"""Steps that hold numbers and categories side by side: (N, C) of objects."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.errors import DataError

MISSING = ""  # a category that is missing is one of its own


def is_number(value: Any) -> bool:
    """Whether a value may stand in a column of numbers: a number, or a gap."""
    return value is None or isinstance(value, float | int | np.number | np.bool_)


def category_columns(values: NDArray[Any]) -> tuple[int, ...]:
    """Return the columns of (N, C) in which a value is neither a number nor missing."""
    columns = values.T.tolist()
    return tuple(c for c, column in enumerate(columns) if not all(map(is_number, column)))


def number_columns(values: NDArray[Any], categories: tuple[int, ...]) -> list[int]:
    """Return the other columns of (N, C)."""
    return [c for c in range(values.shape[1]) if c not in categories]


def numbers_of(mixed: Ragged, categories: tuple[int, ...]) -> Ragged:
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
