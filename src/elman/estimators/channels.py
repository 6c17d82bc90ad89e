"""Sequences as aeon and sktime lay them out, channels first, as elman has them, time first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ShapeError


def from_channels_first(X: Any) -> NDArray[Any] | list[NDArray[Any]]:
    """Turn sequences of channels into sequences of steps.

    Args:
        X: (n, C, T) or (n, T) array, or a list of (C, T_i) or (T_i,) arrays.
    Returns: (n, T, C) array, or a list of (T_i, C) arrays; views of what was given.
    Raises: ShapeError for other shapes.
    """
    if isinstance(X, list | tuple):
        return [_turned(i, np.asarray(x)) for i, x in enumerate(X)]
    array = np.asarray(X)
    if array.ndim == 2:
        return array[:, :, None]
    if array.ndim != 3:
        raise ShapeError(f"X: got shape {array.shape}, expected (n, C, T) or (n, T)")
    return array.swapaxes(1, 2)


def _turned(index: int, sequence: NDArray[Any]) -> NDArray[Any]:
    if sequence.ndim not in (1, 2):
        raise ShapeError(f"sequence {index}: got shape {sequence.shape}, expected (C, T) or (T,)")
    return sequence[:, None] if sequence.ndim == 1 else sequence.T
