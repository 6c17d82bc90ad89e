"""Mean, deviation and gaps of columns of numbers, of all values at once or added up part by part.

    moments = Moments.of(values)             or: for part in parts: moments.add(part)
    mean, scale, fill = moments.scaling(scale, labels)

The figures of parts are those of all values to the last few bits: sums are grouped differently.
Source: Chan, Golub & LeVeque 1979, who add the means and squares of two parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elman.errors import DataError

Floats = NDArray[np.float64]
Scaling = tuple[Floats, Floats, Floats]


class Moments:
    """Figures of C columns.

    Attributes:
        count: observed values of each column, (C,).
        mean: their mean, (C,).
        squares: sum of the squares of their distances from the mean, (C,).
        highest: their largest magnitude, (C,).
        gaps: whether values of each column are missing, (C,).
    """

    def __init__(self, columns: int) -> None:
        self.count = np.zeros(columns, dtype=np.int64)
        self.mean, self.squares, self.highest = (np.zeros(columns) for _ in range(3))
        self.gaps = np.zeros(columns, dtype=bool)

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """Return the figures of (N, C) numbers, NaN where a value is missing."""
        moments = cls(values.shape[1])
        moments.add(values)
        return moments

    def add(self, values: Floats) -> None:
        """Add rows, (N, C), NaN where a value is missing."""
        missing = np.isnan(values)
        gaps = np.asarray(missing.any(0))
        with np.errstate(over="ignore", invalid="ignore"):
            known = np.where(missing, 0.0, values) if gaps.any() else values
            count = len(values) - missing.sum(0)
            divisor = np.maximum(count, 1)
            mean = known.sum(0) / divisor
            distance = known - mean
            if gaps.any():
                distance[missing] = 0.0
            squares = np.square(distance, out=distance).sum(0)
            if self.count.any():
                # Weighted by the counts, so that a column without values in a part stays as it is.
                total = np.maximum(self.count + count, 1)
                between = mean - self.mean
                mean = self.mean + between * (count / total)
                squares = self.squares + squares + between**2 * (self.count * (count / total))
            self.mean, self.squares = mean, squares
            self.highest = np.maximum(self.highest, np.abs(known).max(0, initial=0.0))
        self.count = self.count + count
        self.gaps = self.gaps | gaps

    @property
    def deviation(self) -> Floats:
        """Standard deviation of each column, (C,)."""
        return np.asarray(np.sqrt(self.squares / np.maximum(self.count, 1)))

    def scaling(self, scale: bool, labels: Sequence[str]) -> Scaling:
        """Return `mean`, `scale` and `fill` of an Encoder for these columns.

        Args:
            scale: whether the numbers are standardised.
            labels: name of each column for messages.
        Raises: DataError for a column without values, or with values too large to standardise.
        """
        if not self.count.all():
            raise DataError(
                f"channel {labels[int((self.count == 0).argmax())]} has no value in the training "
                "split",
                remedy="Leave the channel out, or train on sequences that have it.",
            )
        spread = self.deviation
        if scale and not np.isfinite(spread).all():
            channel = int((~np.isfinite(spread)).argmax())
            raise DataError(
                f"channel {labels[channel]} holds values up to {self.highest[channel]:.1e}, too "
                "large to standardise",
                remedy="Write it in another unit.",
            )
        fill = np.where(self.gaps, self.mean, np.nan)
        columns = len(self.mean)
        return (
            (self.mean, self._without_zeros(spread), fill)
            if scale
            else (np.zeros(columns), np.ones(columns), fill)
        )

    def target_scaling(self) -> tuple[Floats, Floats]:
        """Return mean and scale of the numbers to predict. Raises DataError for too large ones."""
        spread = self.deviation
        if not (np.isfinite(self.mean).all() and np.isfinite(spread).all()):
            raise DataError(
                "y holds numbers too large to standardise", remedy="Write them in another unit."
            )
        return self.mean, self._without_zeros(spread)

    def _without_zeros(self, spread: Floats) -> Floats:
        """Return deviations, with 1 for a constant column: dividing by 0 is no scaling."""
        return np.where(spread > 1e-12 * self.highest, spread, 1.0)


def fit_numbers(values: Floats, scale: bool, labels: Sequence[str]) -> Scaling:
    """Return `mean`, `scale` and `fill` of an Encoder for values (N, C) with C labels."""
    return Moments.of(values).scaling(scale, labels)
