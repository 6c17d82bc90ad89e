"""Numbers to be predicted, as users have them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.errors import DataError, ShapeError


def as_values(y: Any, name: str) -> NDArray[np.float64]:
    """Return y as float64, (n,) or (n, K).

    Raises: ShapeError for other shapes; DataError for what is no finite number.
    """
    try:
        numbers = np.asarray(y)
        if numbers.dtype.kind not in "fiu":
            numbers = _numbers_alone(numbers)
        numbers = numbers.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} holds something that is no number",
            remedy="Expected a number a sequence, or K of them; classes go to SequenceClassifier.",
        ) from None
    if numbers.ndim not in (1, 2) or (numbers.ndim == 2 and numbers.shape[1] == 0):
        raise ShapeError(f"{name}: got shape {numbers.shape}, expected (n,) or (n, K)")
    bad = ~np.isfinite(numbers).reshape(len(numbers), -1).all(1)
    if bad.any():
        i = int(bad.argmax())
        raise DataError(
            f"{name} holds {numbers[i].tolist()!r} at place {i}",
            remedy="Expected finite numbers: fill the gap, or leave the sequence out.",
        )
    return numbers


def as_step_values(y: Any, name: str) -> Ragged:
    """Return y, a list with an array (T_i,) or (T_i, K) for each sequence, as a Ragged."""
    if isinstance(y, Ragged):
        return y.with_values(as_values(y.values, name))
    rows = []
    for i, row in enumerate(y):
        if isinstance(row, str) or np.ndim(row) not in (1, 2):
            raise ShapeError(
                f"{name}, sequence {i}: got {row!r:.40}, expected a list with a value for each step"
            )
        rows.append(as_values(row, f"{name}, sequence {i}"))
        if rows[i].shape[1:] != rows[0].shape[1:]:
            raise ShapeError(
                f"{name}, sequence {i}: got steps of shape {rows[i].shape[1:]}, expected "
                f"{rows[0].shape[1:]} as sequence 0"
            )
    return Ragged.from_list(rows, np.float64)


def _numbers_alone(values: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers in an object array; text and truth values are none, even where NumPy reads them."""
    wrong = [v for v in values.ravel().tolist() if isinstance(v, str | bool) or v is None]
    if wrong or values.dtype.kind != "O":
        raise TypeError
    return values.astype(np.float64)
