"""Counts and sums from which metrics are computed, for a data set and for its bootstrap resamples.

A metric with an interval depends only on these, so a thousand resamples cost a thousand sums
instead of a thousand passes over the predictions.

Dimensions: n sequences, m predictions (one per sequence, or one per step), K classes, labels or
values, r resamples.

The bootstrap draws whole sequences with replacement: the steps of one sequence are not independent,
and drawing steps would make the interval of a tagger too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import DataError, ShapeError
from elman.evaluate.text import TextTable, format_share, one_line

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PIECE = 50  # resamples per chunk, which keeps their weights, (PIECE, n), small

OUTSIDE = "O"
Entity = tuple[int, int, str]  # first step, step after the last, name


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
    def by_sequence(cls, true: Floats, predicted: Floats, owners: Ints, n: int) -> ErrorSums:
        """Sum over each sequence, (n, K); `owners` is the sequence of each prediction, (m,)."""
        # The mean is subtracted first: squaring large values would lose their significant digits.
        error, centred = predicted - true, true - true.mean(0)

        def sums(values: Floats) -> Floats:
            return np.stack([np.bincount(owners, column, n) for column in values.T], 1)

        return cls(
            np.bincount(owners, minlength=n).astype(np.float64)[:, None],
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


def resample_weights(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Resample n sequences with replacement; yield how often each is drawn, (r, n) per chunk."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, PIECE):
        times = min(PIECE, resamples - start)
        # The counts of n draws with replacement follow a multinomial distribution.
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
    """Resample sequences with replacement and count their classes.

    Args:
        true, predicted: codes, (m,).
        owners: sequence of each step, (m,); None if each sequence has one label.
        count: number of sequences.
        resamples: number of resamples.
    """
    rng = np.random.default_rng(seed)
    # Only nonzero cells of the confusion matrix are drawn: most of 100 x 100 cells are empty.
    used, place = np.unique(true * num_classes + predicted, return_inverse=True)
    if owners is None:
        # Sequences in the same cell are interchangeable, so resampling n sequences means drawing
        # cell counts from a multinomial distribution, at a cost that does not depend on n.
        shares = np.bincount(place) / len(place)
        drawn = rng.multinomial(len(place), shares, size=resamples).astype(np.float64)
    else:
        # One entry per sequence and nonzero cell: the number of the sequence's steps in that cell.
        pairs, steps = np.unique(owners * len(used) + place, return_counts=True)
        sequence, cell = np.divmod(pairs, len(used))
        drawn = np.empty((resamples, len(used)))
        for row in drawn:
            weights = np.bincount(rng.integers(count, size=count), minlength=count)
            row[:] = np.bincount(cell, weights=weights[sequence] * steps, minlength=len(used))
    of_true, of_predicted = np.divmod(used, num_classes)
    rows, columns = np.eye(num_classes)[of_true], np.eye(num_classes)[of_predicted]
    return ClassCounts(drawn @ rows, drawn @ columns, drawn @ (rows * columns))


@dataclass(frozen=True)
class NameMetrics:
    """Metrics of the entities of one name, or of all; `support` is the number of true ones."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class EntityMetrics(NameMetrics):
    """Metrics of all entities of tags such as B-city, I-city, O; only whole matches count.

        precision = both / predicted    recall = both / true    F1 = 2 both / (true + predicted)

    Source: conlleval of the CoNLL-2000 shared task (Tjong Kim Sang & Buchholz 2000).

    Args:
        by_name: the metrics of each name, in order.
        interval: 95 % bootstrap interval of F1 over sequences; None without resamples.
    """

    by_name: tuple[NameMetrics, ...]
    interval: tuple[float, float] | None

    def table(self) -> TextTable:
        """Return the metrics of all entities, and of each name."""
        rows = [
            (name, *map(format_share, (row.precision, row.recall, row.f1)), f"{row.support:,}")
            for name, row in (("all", self), *((one_line(r.label), r) for r in self.by_name))
        ]
        note = "An entity is found if its first step, its last step and its name are right."
        if self.interval is not None:
            note += " F1 of all: 95 % interval {:.3f} to {:.3f}.".format(*self.interval)
        head = ("entity", "precision", "recall", "F1", "entities")
        return TextTable("Entities", head, tuple(rows), note)


def is_entity_tags(tags: Iterable[object]) -> bool:
    """Whether all tags are `O`, `B-name` or `I-name`, and at least one is `B-name`."""
    distinct = set(tags)
    return any(str(tag).startswith("B-") for tag in distinct) and all(
        tag == OUTSIDE or (isinstance(tag, str) and tag[:2] in ("B-", "I-") and len(tag) > 2)
        for tag in distinct
    )


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of one sequence.

    An entity begins at `B-`, and at `I-` after `O` or after a step of another name. It ends before
    the next entity, before `O`, or at the end of the sequence.
    """
    chunks: list[Entity] = []
    start, name = 0, ""
    for i, tag in enumerate([*tags, OUTSIDE]):
        current = "" if tag == OUTSIDE else tag[2:]
        # As in conlleval, an `I-` of another name ends the entity and begins the next one.
        if name and (tag[0] != "I" or current != name):
            chunks.append((start, i, name))
            name = ""
        if current and not name:
            start, name = i, current
    return chunks


def entity_metrics(
    true: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    *,
    resamples: int = 0,
    seed: int = 0,
) -> EntityMetrics:
    """Compare predicted with true tags: n sequences each, of the same lengths.

    Args:
        resamples: number of bootstrap resamples for the interval; 0 for no interval.
    """
    # Compared as sets: an entity counts as found only if its steps and its name are all equal.
    pairs = [(set(entities(a)), set(entities(b))) for a, b in zip(true, predicted, strict=True)]
    names = sorted({name for pair in pairs for chunks in pair for _, _, name in chunks})
    place = {name: i for i, name in enumerate(names)}
    counts = np.zeros((3, len(pairs), len(names)), dtype=np.int64)  # both, predicted, true
    for i, (in_truth, in_prediction) in enumerate(pairs):
        both = in_truth & in_prediction
        for row, chunks in zip(counts, (both, in_prediction, in_truth), strict=True):
            for _, _, name in chunks:
                row[i, place[name]] += 1
    totals = counts.sum(1)  # (3, names)
    whole = _entity_metrics("", totals.sum(1))
    interval = None
    if resamples:
        rng = np.random.default_rng(seed)
        each = counts.sum(2)  # (3, n); whole sequences are drawn, as for all other intervals
        scores = [
            _entity_metrics("", each[:, rng.integers(len(pairs), size=len(pairs))].sum(1)).f1
            for _ in range(resamples)
        ]
        low, high = np.percentile(scores, [2.5, 97.5])
        interval = float(low), float(high)
    return EntityMetrics(
        **vars(whole),
        by_name=tuple(_entity_metrics(name, totals[:, i]) for i, name in enumerate(names)),
        interval=interval,
    )


def _entity_metrics(label: str, counts: NDArray[np.int64]) -> NameMetrics:
    """Compute metrics from counts of both, predicted and true; 0 where a denominator is 0."""
    both, predicted, true = (int(n) for n in counts)
    return NameMetrics(
        label,
        precision=both / predicted if predicted else 0.0,
        recall=both / true if true else 0.0,
        f1=2 * both / (predicted + true) if predicted + true else 0.0,
        support=true,
    )
