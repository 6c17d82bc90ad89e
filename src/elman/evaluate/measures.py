"""The arithmetic of the figures: from codes and probabilities to numbers, in NumPy alone.

What a class may be asked about is held in three tallies, one number a class: how often it is true,
how often it is predicted, how often both. They are enough for every figure but three, and a
thousand resamples of them fit in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 15  # of the calibration error and of its picture


@dataclass(frozen=True, eq=False)
class Tallies:
    """Counts by class, each (..., K): leading axes are resamples."""

    true: Floats
    predicted: Floats
    both: Floats

    @classmethod
    def of(cls, confusion: NDArray[np.number]) -> Tallies:
        """Tally confusion matrices, (..., K, K), rows true and columns predicted."""
        counts = np.asarray(confusion, dtype=np.float64)
        both = np.diagonal(counts, axis1=-2, axis2=-1)
        return cls(counts.sum(-1), counts.sum(-2), both)


def by_class(tallies: Tallies) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 of each class, each (..., K); 0 where there is nothing to divide."""
    precision = ratio(tallies.both, tallies.predicted)
    recall = ratio(tallies.both, tallies.true)
    f1 = ratio(2 * tallies.both, tallies.true + tallies.predicted)
    return precision, recall, f1


def figures(tallies: Tallies) -> dict[str, Floats]:
    """Accuracy and averages, each of the tallies' leading shape.

    As in scikit-learn, balanced accuracy averages over the classes that are true somewhere, the
    macro figures over those that are true or predicted somewhere. `precision`, `recall` and `f1`
    without a prefix are those of the second class where K is 2, and macro averages otherwise.
    """
    seen = tallies.true > 0
    met = seen | (tallies.predicted > 0)
    parts = dict(zip(("precision", "recall", "f1"), by_class(tallies), strict=True))
    result = {
        "accuracy": ratio(tallies.both.sum(-1), tallies.true.sum(-1)),
        "balanced_accuracy": ratio((parts["recall"] * seen).sum(-1), seen.sum(-1)),
    }
    binary = tallies.true.shape[-1] == 2
    for name, values in parts.items():
        macro = ratio((values * met).sum(-1), met.sum(-1))
        result[name] = values[..., 1] if binary else macro
        result[f"macro_{name}"] = macro
        weighted = (values * tallies.true).sum(-1)
        result[f"weighted_{name}"] = ratio(weighted, tallies.true.sum(-1))
    return result


def confusion(true: Ints, predicted: Ints, num_classes: int) -> Ints:
    """Count each pair of true and predicted code: (K, K) int64, rows true."""
    cells = np.bincount(true * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def area_under_roc(positive: NDArray[np.bool_], scores: Floats) -> float | None:
    """Chance that a positive scores above a negative, ties counting half; None without both."""
    values, place = np.unique(scores, return_inverse=True)
    ups = np.bincount(place, weights=positive, minlength=len(values))
    downs = np.bincount(place, minlength=len(values)) - ups
    pairs = float(ups.sum() * downs.sum())
    below = np.cumsum(downs) - downs
    return float((ups * (below + downs / 2)).sum() / pairs) if pairs else None


def roc_auc(true: Ints, probabilities: Floats) -> float | None:
    """Area of the second class if K is 2, else the mean one-vs-rest area of the classes in `true`.

    None where no class has both members and others, which is when `true` holds one class.
    """
    num_classes = probabilities.shape[1]
    asked = [1] if num_classes == 2 else range(num_classes)
    areas = [area_under_roc(true == k, probabilities[:, k]) for k in asked]
    known = [a for a in areas if a is not None]
    return float(np.mean(known)) if known else None


def log_loss(true: Ints, probabilities: NDArray[np.floating]) -> float:
    """Mean of -log p(true class) in nats; p is at least the spacing of its type, so never inf."""
    chosen = probabilities[np.arange(len(true)), true]
    smallest = np.finfo(probabilities.dtype).eps
    return float(-np.log(np.clip(chosen.astype(np.float64), smallest, 1.0)).mean()) + 0.0  # not -0


def confidence_bins(
    true: Ints, probabilities: Floats, bins: int = BINS
) -> tuple[Ints, Floats, Floats]:
    """Group answers by their top probability, in equal widths (low, high].

    Returns: how many answers fall in each bin, their accuracy and their mean top probability, each
    (bins,); the last two are 0 where the bin is empty.
    """
    top = probabilities.max(1)
    right = probabilities.argmax(1) == true
    place = np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    accuracy = ratio(np.bincount(place, weights=right, minlength=bins), counts)
    confidence = ratio(np.bincount(place, weights=top, minlength=bins), counts)
    return counts, accuracy, confidence


def calibration_error(true: Ints, probabilities: Floats) -> float:
    """Mean distance of a bin's accuracy from its confidence, weighted by its answers.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    counts, accuracy, confidence = confidence_bins(true, probabilities)
    return float((counts * np.abs(accuracy - confidence)).sum() / len(true))


def ratio(top: NDArray[np.number], bottom: NDArray[np.number]) -> Floats:
    """Divide; 0 where there is nothing to divide by."""
    top = np.asarray(top, dtype=np.float64)
    bottom = np.asarray(bottom, dtype=np.float64)
    result: Floats = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    return result
