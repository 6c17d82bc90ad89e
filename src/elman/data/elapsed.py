"""Time between steps, as a channel of its own where steps do not come evenly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged

CHANNEL = "time since the last step"
UNEVEN = 0.01  # of the median


def time_since_last(times: Ragged) -> NDArray[np.float64]:
    """Return the time that has passed since the step before, 0 at the first, (N,)."""
    passed = np.diff(times.values, prepend=times.values[:1])
    passed[times.offsets[:-1]] = 0.0
    return passed


def unevenness(times: Ragged) -> str:
    """Say how unevenly the steps of sequences come; empty if none is off by more than 1 %."""
    inside = np.ones(len(times.values), dtype=bool)
    inside[times.offsets[:-1]] = False
    passed = time_since_last(times)[inside]
    if len(passed) == 0 or np.isnan(passed).any():
        return ""
    median = float(np.median(passed))
    if (np.abs(passed - median) <= UNEVEN * median).all():
        return ""
    return f"{passed.min():.6g} to {passed.max():.6g} apart, median {median:.6g}"
