"""One-hot targets of estimators: exactly one 1 in every row, read as one class each."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.onehot import ONE_HOT, find_ones, to_bits
from elman.data.ragged import to_objects
from elman.errors import DataError, ShapeError
from elman.estimators.columns import has_names
from elman.estimators.containers import frame_of
from elman.estimators.labels import as_plain
from elman.estimators.targets import ClassTarget, Target


def open_one_hot(
    y: Any, targets: Sequence[type[Target]], fitted: Target | None, *, per_step: bool
) -> Any:
    """Return a one-hot y as one class for each sequence or step, any other y unchanged.

    Args:
        y: (n, K) numbers 0 and 1, K at least 2, an array, lists or a frame, whose columns name the
            classes; with `per_step`, (n, T, K) or n arrays (T_i, K), in which a step of zeros or
            NaN has no class.
        targets: target types of the estimator.
        fitted: its target after training; None before, when a one-hot y is said in a warning.
    Raises: DataError if the columns have no names, and the classes of `fitted` are not 0 to K - 1;
        ShapeError for a step with several ones.
    """
    kinds = targets if fitted is None else (type(fitted),)
    if ClassTarget not in kinds or isinstance(y, str) or not hasattr(y, "__len__") or not len(y):
        return y
    if per_step:
        labels, width, without = _open_steps(y)
        names: Sequence[Any] = range(width)
    else:
        labels, names = _open_rows(y)
        without = 0
    if labels is None:
        return y
    unnamed = list(names) == list(range(len(names)))
    if isinstance(fitted, ClassTarget):
        known = fitted.classes.tolist()
        if unnamed and not {*known} <= {*names}:
            raise DataError(
                f"y is one-hot, whose columns have no names, and the classes are {known!r:.80}",
                remedy="Give a data frame with the classes as its columns, or the classes.",
            )
    elif fitted is None:
        _warn(names, per_step, without)
    return labels


def _open_rows(y: Any) -> tuple[Any, Sequence[Any]]:
    """Return the class of each row of y, (n,), or None, and the classes of its columns."""
    frame = None if isinstance(y, list | tuple) else frame_of(y)
    names: list[Any] = []
    if frame is not None:
        names = list(frame.columns)
        values = frame.to_numpy()
    else:
        values = as_plain(y)
        if isinstance(values, list | tuple):
            values = _stack(values)
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.shape[1] < 2:
        return None, names
    bits = to_bits(values)
    codes = None if bits is None or (bits < 0).any() else find_ones(bits, zeros=False)
    if codes is None:
        return None, names
    if not names:
        return codes, range(values.shape[1])
    named = has_names(names) or not all(isinstance(name, int | np.integer) for name in names)
    classes = np.array(list(map(str, names)) if named else names)
    return classes[codes], classes.tolist()


def _stack(rows: Sequence[Any]) -> NDArray[Any] | None:
    """Return rows of numbers of equal length as an array, (n, K); None for anything else."""
    plain = [as_plain(row) for row in rows]
    if not all(isinstance(row, list | tuple | np.ndarray) for row in plain):
        return None
    flat = [_flat(row) for row in plain]
    return np.array(flat) if len({*map(np.shape, flat)}) == 1 else None


def _flat(row: Any) -> NDArray[Any]:
    return np.asarray(row, dtype=object)


def _open_steps(y: Any) -> tuple[Any, int, int]:
    """Return the class of each step, K, and the number of steps without a class; or None."""
    plain = as_plain(y)
    rows = [as_plain(row) for row in plain]
    arrays = [_flat(row) if isinstance(row, list | tuple) else row for row in rows]
    fits = all(isinstance(row, np.ndarray) and row.ndim == 2 for row in arrays)
    if not fits or len({row.shape[1] for row in arrays}) != 1 or arrays[0].shape[1] < 2:
        return None, 0, 0
    bits = to_bits(np.concatenate(arrays))
    if bits is None:
        return None, 0, 0
    ends = np.cumsum([len(row) for row in arrays])
    codes = find_ones(bits, zeros=True)
    several = (bits == 1).sum(1)
    if codes is None:
        if (several > 1).any():
            step = int((several > 1).argmax())
            i = int(np.searchsorted(ends, step, side="right"))
            place = step - int(ends[i]) + len(arrays[i]) + 1
            raise ShapeError(
                f"y, sequence {i}: step {place} has {several[step]} ones, expected a label for each"
                " step, or one-hot rows with one 1 each; several labels at a step are not supported"
            )
        return None, 0, 0
    labels: list[Any] = codes.tolist()
    without = int((codes < 0).sum())
    values = to_objects([None if code < 0 else code for code in labels]) if without else codes
    return np.split(values, ends[:-1]), bits.shape[1], without


def _warn(names: Sequence[Any], per_step: bool, without: int) -> None:
    """Say that y is read as classes, and how any number of labels is written."""
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    if per_step:
        gaps = f"; {without:,} steps have no 1 and are not labelled" if without else ""
        text = (
            f"y has exactly one 1 in every step, as one-hot classes have, and is read as classes:"
            f" {shown}{gaps}"
        )
    else:
        text = (
            f"y: {ONE_HOT}, and is read as one class for each sequence: {shown}. If any number of"
            " labels may apply, give a list of sets: y = [set(np.flatnonzero(row)) for row in y]"
        )
    warnings.warn(text, stacklevel=6)
