"""Counts and sums from which metrics are computed, for a data set and for its bootstrap resamples.

A metric with an interval depends only on these, so a thousand resamples cost a thousand sums
instead of a thousand passes over the predictions.

The bootstrap draws whole sequences with replacement, or whole groups of them: the steps of one
sequence, and the sequences of one subject, are not independent, and drawing them singly would make
the intervals too narrow.

Dimensions: n sequences, m predictions (one per sequence, or one per step), K classes, labels or
values, u drawn units (sequences or groups), r resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.data.ragged import is_target
from elman.errors import DataError, ShapeError

DIVERGED = "If training diverged, lower the learning rate or clip gradients."

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """How often each class is true, predicted, and both; (..., K) each, leading axes resamples."""

    true: Floats
    predicted: Floats
    both: Floats

    @classmethod
    def of(cls, confusion: NDArray[np.number]) -> ClassCounts:
        """Compute counts from confusion matrices, (..., K, K): true rows, predicted columns."""
        counts = np.asarray(confusion, dtype=np.float64)
        both = np.diagonal(counts, axis1=-2, axis2=-1)
        return cls(counts.sum(-1), counts.sum(-2), both)

    @property
    def precision(self) -> Floats:
        """Precision of each class, (..., K); 0 if it is never predicted, as in scikit-learn."""
        return ratio(self.both, self.predicted)

    @property
    def recall(self) -> Floats:
        """Recall of each class, (..., K); 0 if it is never true."""
        return ratio(self.both, self.true)

    @property
    def f1(self) -> Floats:
        """F1 of each class, (..., K); 0 if it is neither true nor predicted."""
        return ratio(2 * self.both, self.true + self.predicted)


@dataclass(frozen=True, eq=False)
class LabelCounts:
    """Sums over the sequences of r resamples, for multilabel targets.

    Args:
        labels: counts of each label, (r, K).
        count: number of sequences, (r,).
        exact: number of sequences with all labels right, (r,).
        f1: sum over sequences of the F1 of their labels, (r,).
        wrong: sum over sequences of the share of wrong labels, (r,).
    """

    labels: ClassCounts
    count: Floats
    exact: Floats
    f1: Floats
    wrong: Floats

    @classmethod
    def of(cls, true: Ints, predicted: Ints, weights: Floats) -> LabelCounts:
        """Count labels, 0 or 1, (n, K), over sequences drawn `weights` times, (r, n)."""
        both = true * predicted
        f1 = ratio(2.0 * both.sum(1), (true + predicted).sum(1))
        return cls(
            ClassCounts(weights @ true, weights @ predicted, weights @ both),
            weights.sum(1),
            weights @ (true == predicted).all(1),
            weights @ f1,
            weights @ (true != predicted).mean(1),
        )


@dataclass(frozen=True, eq=False)
class ErrorSums:
    """Sums over the predictions of r resamples, each (r, K) except `count`, (r, 1)."""

    count: Floats
    squares: Floats
    distances: Floats
    values: Floats
    values_squared: Floats

    @classmethod
    def by_unit(cls, true: Floats, predicted: Floats, units: Ints, u: int) -> ErrorSums:
        """Sum over each unit, (u, K); `units` is the unit of each prediction, (m,)."""
        # The mean is subtracted first: squaring large values would lose their significant digits.
        error, centred = predicted - true, true - true.mean(0)

        def sums(values: Floats) -> Floats:
            return np.stack([np.bincount(units, column, u) for column in values.T], 1)

        return cls(
            np.bincount(units, minlength=u).astype(np.float64)[:, None],
            *map(sums, (error**2, np.abs(error), centred, centred**2)),
        )

    def resample(self, weights: Floats) -> ErrorSums:
        """Sum over the sequences of resamples that draw each one `weights` times, (r, n)."""
        return ErrorSums(
            (weights @ self.count[:, 0])[:, None],
            weights @ self.squares,
            weights @ self.distances,
            weights @ self.values,
            weights @ self.values_squared,
        )


class Case(NamedTuple):
    """Arguments of an evaluation besides the targets and the predictions; see `evaluate`.

    `unlabelled` is the number of steps that were left out, and `places` the sequence and step of
    each row that was not.
    """

    lengths: ArrayLike
    owners: ArrayLike | None
    baselines: Mapping[str, ArrayLike] | None
    groups: Sequence[Hashable] | NDArray[Any] | None
    duplicates: ArrayLike | None
    resamples: int
    seed: int
    unlabelled: int = 0
    places: tuple[Ints, Ints] | None = None

    def of_labelled(
        self, true: ArrayLike, predictions: ArrayLike
    ) -> tuple[Case, ArrayLike, ArrayLike]:
        """Return the case, targets and predictions of the labelled steps and their sequences."""
        known = is_target(np.asarray(true))
        if self.owners is None or known.all() or not known.any():
            return self, true, predictions
        every = np.asarray(self.owners)
        kept, owners = np.unique(every[known], return_inverse=True)
        steps = np.flatnonzero(known) - np.searchsorted(every, every[known])
        groups, duplicates = self.groups, self.duplicates
        case = self._replace(
            lengths=np.asarray(self.lengths)[kept],
            owners=owners,
            baselines={name: np.asarray(a)[known] for name, a in (self.baselines or {}).items()},
            groups=None if groups is None else [groups[i] for i in kept.tolist()],
            duplicates=None if duplicates is None else np.asarray(duplicates)[kept],
            unlabelled=len(known) - int(known.sum()),
            places=(every[known], steps),
        )
        return case, np.asarray(true)[known], np.asarray(predictions)[known]


def check_codes(name: str, values: ArrayLike, m: int, below: int) -> Ints:
    """Check that values are m whole numbers from 0 to `below` - 1.

    Raises: ShapeError for another shape; DataError for other numbers or types.
    """
    codes: NDArray[Any] = np.asarray(values)
    if codes.shape != (m,):
        raise ShapeError(f"{name} has shape {codes.shape}; expected ({m},), one a row")
    if codes.dtype.kind not in "iub" or codes.min() < 0 or codes.max() >= below:
        raise DataError(
            f"{name} holds {codes.dtype} from {codes.min()} to {codes.max()}; "
            f"expected whole numbers from 0 to {below - 1}"
        )
    return codes.astype(np.int64)


def confusion_matrix(true: Ints, predicted: Ints, num_classes: int) -> Ints:
    """Count each pair of true and predicted code: (K, K) int64, rows true."""
    # One pass over the pairs, each numbered by its cell; a loop over the classes would take K.
    cells = np.bincount(true * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def ratio(top: NDArray[np.number], bottom: NDArray[np.number]) -> Floats:
    """Divide; 0 where the denominator is 0."""
    top = np.asarray(top, dtype=np.float64)
    bottom = np.asarray(bottom, dtype=np.float64)
    result: Floats = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    return result


def check_answers(name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Check a baseline's codes, (m,), or probabilities, (m, K)."""
    m, num_classes = shape
    answers = np.asarray(values)
    if answers.ndim == 1:
        return check_codes(name, answers, m, num_classes)
    p = check_probabilities(name, answers, num_classes)
    if len(p) != m:
        raise ShapeError(f"{name} has {len(p)} rows; expected {m}")
    return p


def check_shares(name: str, values: ArrayLike, shape: tuple[int, ...], remedy: str = "") -> Floats:
    """Check one probability for each label, which need not add up to 1."""
    p = np.asarray(values, dtype=np.float64)
    if p.shape != shape:
        raise ShapeError(f"{name} has shape {p.shape}; expected {shape}")
    if not (np.isfinite(p) & (p >= 0) & (p <= 1)).all():
        raise DataError(f"{name} hold NaN or values outside 0 to 1", remedy=remedy)
    return p


def check_probabilities(
    name: str, values: ArrayLike, num_classes: int
) -> NDArray[np.floating[Any]]:
    """Check probabilities of K classes, (m, K)."""
    p: NDArray[Any] = np.asarray(values)
    p = p if p.dtype in (np.float32, np.float64) else p.astype(np.float64)
    if p.ndim != 2 or num_classes < 2 or p.shape[1] != num_classes:
        raise ShapeError(
            f"{name}: got shape {p.shape} for {num_classes} classes; "
            "expected (m, K) with K = len(classes), at least 2"
        )
    if len(p) == 0:
        raise DataError("nothing to evaluate: there are no predictions")
    # A float32 softmax can exceed 1 by rounding.
    invalid = ~(np.isfinite(p) & (p >= 0) & (p <= 1 + 1e-6)).all(1)
    if invalid.any():
        row = int(np.flatnonzero(invalid)[0])
        raise DataError(
            f"{int(invalid.sum())} of {len(p)} rows of {name} hold NaN or values outside 0 "
            f"to 1, first row {row}: {p[row].tolist()[:5]}",
            remedy=DIVERGED,
        )
    return p


def check_indicator(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Ints:
    """Check labels, 0 or 1, (n, K)."""
    indicator = np.asarray(values)
    if indicator.shape != shape:
        raise ShapeError(f"{name} has shape {indicator.shape}; expected {shape}")
    if not np.isin(indicator, (0, 1)).all():
        raise DataError(f"{name} holds other numbers than 0 and 1")
    return indicator.astype(np.int64)


def check_numbers(name: str, values: ArrayLike, like: Floats) -> Floats:
    """Check finite numbers of the shape of `like`."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != like.shape:
        raise ShapeError(f"{name} has shape {numbers.shape}; expected {like.shape}")
    if not np.isfinite(numbers).all():
        raise DataError(
            f"{name} holds numbers that are not finite",
            remedy=DIVERGED,
        )
    return numbers
