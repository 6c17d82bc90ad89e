"""What all results share: arrays of their own, tables for pandas, JSON, and the same words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import ElmanError

Floats = NDArray[np.float64]


def to_array(values: Tensor) -> Floats:
    """A tensor as a float64 NumPy array of its own."""
    return values.detach().cpu().double().numpy().copy()


def to_frame(columns: Mapping[str, Any]) -> Any:
    """Return a pandas DataFrame of columns of equal length, in their order.

    Raises: ElmanError if pandas is missing.
    """
    try:
        import pandas
    except ImportError:
        raise ElmanError(
            "to_frame: pandas is not installed. Install it: pip install pandas; or take the arrays "
            "from the result's attributes"
        ) from None
    return pandas.DataFrame(dict(columns))


def to_json(value: Any) -> Any:
    """A value of a result as JSON has it: lists for arrays and tuples, None where not finite."""
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None  # JSON has no NaN and no infinity
    return value


def attributes_to_dict(result: Any, *names: str) -> dict[str, Any]:
    """Attributes of a result, by name, JSON-ready."""
    return {name: to_json(getattr(result, name)) for name in names}


def count_of(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
