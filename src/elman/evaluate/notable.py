"""Which sequences say most about a network: its surest predictions and its least certain ones.

n sequences, m predictions (the sequences, or the steps inside them), K classes, labels or values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from elman.evaluate.counts import Ints
from elman.evaluate.report import Report
from elman.tasks import OutputName


@dataclass(frozen=True)
class NotableExample:
    """One sequence, and the prediction for which it was chosen.

    Args:
        sequence: its place in the split that was evaluated, from 0.
        step: of the prediction, from 0; None where it is about the whole sequence.
        true, predicted: in words.
        score: probability of what was predicted, the lowest of all steps where all are meant; of
            values the error, in standard deviations of the true values.
    """

    sequence: int
    step: int | None
    true: str
    predicted: str
    score: float


RIGHT, WRONG = "Most confident and right", "Most confident and wrong"
UNDECIDED = "Most undecided"
FARTHEST, CLOSEST = "Largest errors", "Smallest errors"

NotableExamples = dict[str, tuple[NotableExample, ...]]


def notable_examples(report: Report, most: int = 5) -> NotableExamples:
    """Choose the sequences worth looking at, by reason, the most notable first.

    Of classes: the surest right predictions, the surest wrong ones, and those where the two
    likeliest classes are closest. With a class at every step: the sequences without an error whose
    least certain step is surest; the surest wrong step, and the least certain one, each sequence
    once. Of several labels the same by decision, whether a label is there or not: the least certain
    is nearest to 1/2. Of values, which come without a probability: the largest and the smallest
    errors.

    Args:
        most: sequences for each reason; a reason without any is empty.
    """
    return _CHOOSERS[report.output](report, most)


def _of_classes(report: Any, most: int) -> NotableExamples:
    p = report.probabilities
    tagger = report.owners is not None
    owners = np.arange(report.count) if report.owners is None else report.owners
    first = np.searchsorted(owners, np.arange(report.count))
    confidence = p[np.arange(len(p)), report.predicted]  # (m,)
    second, best = np.partition(p, -2, axis=1)[:, -2:].T
    wrong = report.true != report.predicted

    def example(i: int) -> NotableExample:
        sequence = int(owners[i])
        true, predicted = (str(report.classes[c[i]]) for c in (report.true, report.predicted))
        step = int(i - first[sequence]) if tagger else None
        return NotableExample(sequence, step, true, predicted, float(confidence[i]))

    def whole_sequence(i: int) -> NotableExample:
        if not tagger:
            return example(i)
        least = example(i)
        return NotableExample(least.sequence, None, "each step", "the same", least.score)

    surest = np.argsort(-confidence, kind="stable")
    errors = np.bincount(owners, weights=wrong, minlength=report.count)
    # From the least certain step up, so that a sequence stands at that one; then back from the top.
    least = surest[::-1]
    least = least[np.sort(np.unique(owners[least], return_index=True)[1])]
    flawless = least[errors[owners[least]] == 0][::-1]
    return {
        RIGHT: tuple(whole_sequence(i) for i in flawless[:most].tolist()),
        WRONG: tuple(
            example(i) for i in _first_of_each_sequence(surest[wrong[surest]], owners, most)
        ),
        UNDECIDED: tuple(
            example(i)
            for i in _first_of_each_sequence(np.argsort(best - second, kind="stable"), owners, most)
        ),
    }


def _of_labels(report: Any, most: int) -> NotableExamples:
    p = report.probabilities  # (n, K)
    labels = p.shape[1]
    owners = np.repeat(np.arange(report.count), labels)  # of the decisions, row by row
    margin = np.abs(p - 0.5)
    wrong = report.true != report.predicted

    def example(decision: int) -> NotableExample:
        sequence, k = divmod(decision, labels)
        true, predicted = (
            f"{report.classes[k]}: {'yes' if c[sequence, k] else 'no'}"
            for c in (report.true, report.predicted)
        )
        return NotableExample(sequence, None, true, predicted, 0.5 + float(margin[sequence, k]))

    def whole_sequence(sequence: int) -> NotableExample:
        labels_of = np.flatnonzero(report.true[sequence]).tolist()
        names = "|".join(str(report.classes[k]) for k in labels_of) or "none"
        return NotableExample(sequence, None, names, names, 0.5 + float(margin[sequence].min()))

    surest = np.argsort(-margin.ravel(), kind="stable")
    by_least = np.argsort(-margin.min(1), kind="stable")
    flawless = by_least[~wrong.any(1)[by_least]]
    return {
        RIGHT: tuple(whole_sequence(sequence) for sequence in flawless[:most].tolist()),
        WRONG: tuple(
            example(d) for d in _first_of_each_sequence(surest[wrong.ravel()[surest]], owners, most)
        ),
        UNDECIDED: tuple(example(d) for d in _first_of_each_sequence(surest[::-1], owners, most)),
    }


def _of_values(report: Any, most: int) -> NotableExamples:
    spread = report.true.std(0)
    scaled = np.abs(report.predicted - report.true) / np.where(spread > 0, spread, 1.0)  # (m, K)
    tagger = report.owners is not None
    owners = np.arange(report.count) if report.owners is None else report.owners
    first = np.searchsorted(owners, np.arange(report.count))
    count_of = np.bincount(owners, minlength=report.count)
    error = np.bincount(owners, weights=np.square(scaled).mean(1), minlength=report.count)
    error = np.sqrt(error / np.maximum(count_of, 1))  # (n,)

    def example(sequence: int) -> NotableExample:
        places = np.arange(count_of[sequence]) + first[sequence]
        worst = int(places[scaled[places].max(1).argmax()])
        true, predicted = (
            ", ".join(f"{value:.4g}" for value in values[worst][:3]) + ", …" * (scaled.shape[1] > 3)
            for values in (report.true, report.predicted)
        )
        step = worst - int(first[sequence]) if tagger else None
        return NotableExample(sequence, step, true, predicted, float(error[sequence]))

    order = np.argsort(-error, kind="stable")
    order = order[count_of[order] > 0]
    return {
        FARTHEST: tuple(example(sequence) for sequence in order[:most].tolist()),
        CLOSEST: tuple(example(sequence) for sequence in order[::-1][:most].tolist()),
    }


def _first_of_each_sequence(places: Ints, owners: Ints, most: int) -> list[int]:
    """Return the first predictions that are of different sequences."""
    first: dict[int, int] = {}
    for place in places.tolist():
        first.setdefault(int(owners[place]), place)
        if len(first) == most:
            break
    return list(first.values())


_CHOOSERS: dict[OutputName, Callable[[Any, int], NotableExamples]] = {
    "classification": _of_classes,
    "multilabel": _of_labels,
    "regression": _of_values,
}
