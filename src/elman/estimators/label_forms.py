"""Forms in which labels come: arrays of many libraries, and the marks of a missing label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.data.ragged import NOT_LABELLED
from elman.estimators.conversions import to_array


def as_plain(y: Any) -> Any:
    """Return an array of numpy, pandas, pyarrow, polars or torch as one of numpy; a list as it is.

    What is masked is missing.
    """
    if isinstance(y, np.ma.MaskedArray):
        missing: Any = np.nan if y.dtype.kind == "f" else None
        values = y.data if y.dtype.kind == "f" else y.data.astype(object)
        mask = np.ma.getmaskarray(y)  # type: ignore[no-untyped-call]
        return np.where(mask, missing, values)
    if isinstance(y, torch.Tensor):
        return to_array(y, "y")
    return np.asarray(y) if hasattr(y, "__array__") else y


def is_gap(value: Any) -> bool:
    """Whether a value means that there is none: None, NaN, NaT or pandas.NA."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas.NA is neither equal nor unequal to itself
        return True


def find_gaps(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which labels are missing, (m,): None, NaN, NaT or pandas.NA."""
    if values.dtype.kind in "fmM":
        return np.asarray(values != values)
    if values.dtype != object:
        return np.zeros(len(values), dtype=bool)
    return np.fromiter(map(is_gap, values.tolist()), bool, len(values))


def find_unlabelled(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which steps are not labelled, (N,): a gap, empty text, or torch's -100.

    Among labels of which another is below -1, the number -100 is a class.
    """
    gaps = find_gaps(values)
    if values.dtype.kind in "iuf":
        return gaps | _is_mark(values, gaps)
    if values.dtype.kind == "U":
        return np.asarray(np.char.strip(values) == "")
    if values.dtype != object:
        return gaps
    found = values.tolist()
    gaps |= np.array([isinstance(v, str) and not v.strip() for v in found], dtype=bool)
    places = [i for i, v in enumerate(found) if is_number(v) and not gaps[i]]
    numbers = np.array([float(found[i]) for i in places])
    gaps[places] = _is_mark(numbers, np.zeros(len(places), dtype=bool))
    return gaps


def is_number(value: Any) -> bool:
    """Whether a value is a number, and not a truth value."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_mark(numbers: NDArray[Any], gaps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    marks = np.asarray(numbers == NOT_LABELLED)
    others = numbers[~marks & ~gaps]
    if len(others) and others.min() < -1:
        return np.zeros(len(marks), dtype=bool)
    return marks


def list_gaps(gaps: NDArray[np.bool_], names: Sequence[str] = ()) -> str:
    """Return the places of the first gaps: `0, 7, 9 and 3 more`."""
    places = np.flatnonzero(gaps).tolist()
    shown = ", ".join(str(names[i] if names else i) for i in places[:3])
    return f"{shown} and {len(places) - 3:,} more" if len(places) > 3 else shown
