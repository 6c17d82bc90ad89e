"""Labels as users have them, and as codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import column_or_1d

from elman.data.ragged import Ragged
from elman.errors import DataError, ShapeError


def as_labels(y: Any, name: str) -> NDArray[Any]:
    """Return y as one array of strings, whole numbers or truth values.

    Args:
        y: (n,) labels.
        name: what to call it in a message.
    Raises: ShapeError if it is not one label an entry; DataError if labels are missing, of mixed
        kinds, or real numbers.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        y = labels = column_or_1d(labels, warn=True)
    if labels.ndim != 1:
        raise ShapeError(f"{name}: got shape {labels.shape}, expected (n,), one label a sequence")
    if labels.dtype.kind in "OU":
        values = np.asarray(y, dtype=object).tolist()
        kinds = {bool if isinstance(v, bool | np.bool_) else type(v) for v in values}
        text = all(issubclass(kind, str) for kind in kinds)
        whole = all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds)
        real = all(issubclass(kind, float | np.floating) for kind in kinds)
        if not (text or whole or real or kinds == {bool}):
            found = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise DataError(
                f"{name} holds labels of the types {found}",
                remedy="Expected all strings, all whole numbers or all truth values, none missing.",
            )
        labels = np.array(values, dtype=str if text else None)
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
            raise DataError(
                f"{name} holds real numbers or gaps",
                remedy="Expected classes, not a continuous target: strings, whole numbers or "
                "truth values.",
            )
    elif labels.dtype.kind not in "iubU":
        raise DataError(
            f"{name} holds {labels.dtype}",
            remedy="Expected classes: strings, whole numbers or truth values.",
        )
    return labels


def as_step_labels(y: Any, name: str) -> Ragged:
    """Return y, a list with a label for each step of each sequence, as a Ragged; as `as_labels`."""
    if isinstance(y, Ragged):
        return y.with_values(as_labels(y.values, name))
    for i, row in enumerate(y):
        if isinstance(row, str) or np.ndim(row) != 1:
            raise ShapeError(
                f"{name}, sequence {i}: got {row!r:.40}, expected a list with a label for each step"
            )
    flat = Ragged.from_list(y, object)
    return flat.with_values(as_labels(flat.values, name))


def to_codes(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return each label's place in `classes`, which are sorted.

    Raises: DataError naming labels that are not among them.
    """
    if (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise DataError(
            f"y holds {labels.tolist()[0]!r}, expected labels like {classes.tolist()[0]!r}",
            remedy="Give labels of the same type as in training.",
        )
    codes = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    new = classes[codes] != labels
    if new.any():
        unseen = sorted(set(labels[new].tolist()))
        shown = ", ".join(repr(label) for label in unseen[:5])
        raise DataError(
            f"y holds classes that training has not seen: {shown}"
            + (f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""),
            remedy="Leave those sequences out, or train on data that has them.",
        )
    return codes.astype(np.int64)
