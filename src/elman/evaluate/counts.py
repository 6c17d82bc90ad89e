"""Counts and sums from which metrics are computed, for a data set and for its bootstrap resamples.

A metric with an interval is a function of these alone, so a thousand resamples cost a thousand sums
and not a thousand passes over the predictions. n sequences, m predictions (the sequences, or the
steps inside them), K classes, labels or values, r resamples.

The bootstrap draws whole sequences with replacement: the steps of one sequence are not independent,
and drawing steps would make the interval of a tagger too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PIECE = 50  # resamples at once: their weights, (PIECE, n), stay small for any number of sequences


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """How often each class is true, predicted, and both; each (..., K), leading axes resamples."""

    true: Floats
    predicted: Floats
    both: Floats

    @classmethod
    def of(cls, confusion: NDArray[np.number]) -> ClassCounts:
        """Count confusion matrices, (..., K, K), rows true and columns predicted."""
        counts = np.asarray(confusion, dtype=np.float64)
        both = np.diagonal(counts, axis1=-2, axis2=-1)
        return cls(counts.sum(-1), counts.sum(-2), both)

    @property
    def precision(self) -> Floats:
        """Of each class, (..., K); 0 where it is never predicted, as in scikit-learn."""
        return ratio(self.both, self.predicted)

    @property
    def recall(self) -> Floats:
        """Of each class, (..., K); 0 where it is never true."""
        return ratio(self.both, self.true)

    @property
    def f1(self) -> Floats:
        """Of each class, (..., K); 0 where it is neither true nor predicted."""
        return ratio(2 * self.both, self.true + self.predicted)


@dataclass(frozen=True, eq=False)
class LabelCounts:
    """Sums over the sequences of r resamples, for targets with any number of K labels.

    Args:
        labels: of each label, (r, K).
        count: sequences, (r,).
        exact: of them with all labels right, (r,).
        f1: sum of the F1 of each sequence's own labels, (r,).
        wrong: sum of the share of wrong decisions in each sequence, (r,).
    """

    labels: ClassCounts
    count: Floats
    exact: Floats
    f1: Floats
    wrong: Floats

    @classmethod
    def of(cls, true: Ints, predicted: Ints, weights: Floats) -> LabelCounts:
        """Count 0 or 1, (n, K), of sequences drawn `weights` times, (r, n)."""
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
    """Sums over the predictions of r resamples, each (r, K) but for `count`, (r, 1)."""

    count: Floats
    squares: Floats
    distances: Floats
    values: Floats
    values_squared: Floats

    @classmethod
    def by_sequence(cls, true: Floats, predicted: Floats, owners: Ints, n: int) -> ErrorSums:
        """Sum over each sequence, n in the place of r; `owners` are their predictions', (m,)."""
        # Less the mean of all, so that no digits are lost where the values are large.
        error, centred = predicted - true, true - true.mean(0)

        def sums(values: Floats) -> Floats:
            return np.stack([np.bincount(owners, column, n) for column in values.T], 1)

        return cls(
            np.bincount(owners, minlength=n).astype(np.float64)[:, None],
            *map(sums, (error**2, np.abs(error), centred, centred**2)),
        )

    def resample(self, weights: Floats) -> ErrorSums:
        """Sum over sequences, each drawn `weights` times, (r, n)."""
        return ErrorSums(
            (weights @ self.count[:, 0])[:, None],
            weights @ self.squares,
            weights @ self.distances,
            weights @ self.values,
            weights @ self.values_squared,
        )


def confusion_matrix(true: Ints, predicted: Ints, num_classes: int) -> Ints:
    """Count each pair of true and predicted code: (K, K) int64, rows true."""
    cells = np.bincount(true * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def ratio(top: NDArray[np.number], bottom: NDArray[np.number]) -> Floats:
    """Divide; 0 where there is nothing to divide by."""
    top = np.asarray(top, dtype=np.float64)
    bottom = np.asarray(bottom, dtype=np.float64)
    result: Floats = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    return result


def resample_weights(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Draw n of n sequences, `resamples` times: how often each was drawn, in pieces of (r, n)."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, PIECE):
        times = min(PIECE, resamples - start)
        yield rng.multinomial(n, np.full(n, 1 / n), size=times).astype(np.float64)


def resample_classes(
    true: Ints,
    predicted: Ints,
    num_classes: int,
    *,
    owners: Ints | None,
    count: int,
    resamples: int,
    seed: int,
) -> ClassCounts:
    """Draw sequences and count their classes.

    Args:
        true, predicted: codes, (m,).
        owners: sequence of each step, (m,); None where each sequence has one label.
        count: sequences.
        resamples: how often to draw.
    """
    rng = np.random.default_rng(seed)
    # Only cells of the confusion matrix that are in use are drawn: of 100 x 100 there are few.
    used, place = np.unique(true * num_classes + predicted, return_inverse=True)
    if owners is None:
        # Sequences in the same cell are alike, so drawing n of n sequences is drawing cells from a
        # multinomial: the cost does not depend on n.
        shares = np.bincount(place) / len(place)
        drawn = rng.multinomial(len(place), shares, size=resamples).astype(np.float64)
    else:
        # One entry for each sequence and each cell it touches, with the steps it has there.
        pairs, steps = np.unique(owners * len(used) + place, return_counts=True)
        sequence, cell = np.divmod(pairs, len(used))
        drawn = np.empty((resamples, len(used)))
        for row in drawn:
            weights = np.bincount(rng.integers(count, size=count), minlength=count)
            row[:] = np.bincount(cell, weights=weights[sequence] * steps, minlength=len(used))
    of_true, of_predicted = np.divmod(used, num_classes)
    rows, columns = np.eye(num_classes)[of_true], np.eye(num_classes)[of_predicted]
    return ClassCounts(drawn @ rows, drawn @ columns, drawn @ (rows * columns))
