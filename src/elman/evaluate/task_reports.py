"""Reports on classes, labels and numbers, each an extension of `elman.evaluate.report.Report`.

Dimensions: n sequences, m predictions (one per sequence or step), K classes, labels or values.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from elman.evaluate.counts import Floats, Ints
from elman.evaluate.entities import EntityMetrics
from elman.evaluate.metrics import CalibrationBins, Metric, OutputMetrics
from elman.evaluate.report import (
    MOST_OUTPUTS,
    NotableExample,
    NotableExamples,
    Report,
)
from elman.evaluate.rules import FREQUENT, MAJORITY, MEAN
from elman.evaluate.text import TextTable, one_line, plural
from elman.tasks import OutputName

MOST_CONFUSIONS = 5  # limit of listed pairs of classes
RIGHT, WRONG = "Most confident and right", "Most confident and wrong"
UNDECIDED = "Most undecided"
FARTHEST, CLOSEST = "Largest errors", "Smallest errors"


@dataclass(frozen=True, eq=False)
class _ProbabilityReport(Report):
    """A report on classes or labels, predicted as probabilities, (m, K) float64."""

    probabilities: Floats = field(repr=False)

    @property
    def classes(self) -> tuple[Any, ...]:
        """Labels, in the order of the columns of `probabilities`."""
        return self.names

    @property
    def predictions(self) -> Floats:
        """Probabilities, (m, K)."""
        return self.probabilities


@dataclass(frozen=True, eq=False)
class ClassificationReport(_ProbabilityReport):
    """Metrics of predicted classes; see `Report` and `elman.evaluate.metrics.METRICS`.

    `precision`, `recall` and `f1` are those of the second class if there are two, else macro
    averages.

    Args:
        confusion_matrix: (K, K) int64, rows true, columns predicted.
        calibration_bins: predictions grouped by their top probability.
        entities: metrics of whole entities if classes are tags such as B-city, O; else None.
        probabilities: (m, K) float64.
    """

    output: ClassVar[OutputName] = "classification"
    headline_metric: ClassVar[str] = "accuracy"
    compared: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy")
    constant_baseline: ClassVar[str] = MAJORITY
    one_class_each: ClassVar[bool] = True
    keys: ClassVar[tuple[str, str, str]] = ("classes", "per_class", "label")

    confusion_matrix: Ints = field(repr=False)
    calibration_bins: CalibrationBins = field(repr=False)
    entities: EntityMetrics | None

    @property
    def per_class(self) -> tuple[OutputMetrics, ...]:
        """Metrics of each class, in the order of `classes`."""
        return self.per_output

    @property
    def average(self) -> str:
        """`binary` if precision, recall and F1 are those of the second of two classes."""
        return "binary" if len(self.names) == 2 else "macro"

    def title_of(self, row: Metric) -> str:
        """Return the title of a metric, including its class or `macro`."""
        of = one_line(self.names[1], 16) if self.average == "binary" else "macro"
        return row.title.replace("{average}", of)

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics in JSON-compatible types, without the arrays of predictions."""
        return super().to_dict() | {
            "average": self.average,
            "confusion_matrix": self.confusion_matrix.tolist(),
            "entities": None if self.entities is None else asdict(self.entities),
        }

    def interval_of(self, name: str) -> tuple[float, float] | None:
        """Return the interval to display; None if there is none.

        Without any error every resample is free of errors too, and the bootstrap interval has
        zero width. The rule of three bounds the accuracy instead (Hanley and Lippman-Hand 1983).
        """
        if not self.intervals or self.accuracy < 1:
            return super().interval_of(name)
        return (max(0.0, 1 - 3 / (self.groups or self.count)), 1.0) if name == "accuracy" else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats about the metrics."""
        if self.accuracy < 1:
            return ()
        sequences = f"No error in {self.count:,} {plural('sequence', self.count)}"
        if self.groups is not None:
            return (
                f"{sequences} of {self.groups:,} {plural('group', self.groups)}: up to "
                f"{min(100.0, 300 / self.groups):.3g}% of groups like these may still have errors "
                "(rule of three).",
            )
        return (
            f"{sequences}: up to {min(100.0, 300 / self.count):.3g}% of sequences like these may "
            "still be misclassified (rule of three).",
        )

    def tables(self, most: int = MOST_OUTPUTS) -> tuple[TextTable, ...]:
        """Return the tables of entities, of each class, and of the most frequent confusions."""
        confusions = self._confusions_table()
        return (
            *([] if self.entities is None else [self.entities.table()]),
            self.outputs_table(most),
            # With two classes, the confusion matrix adds nothing to the table of classes.
            *([confusions] if confusions.rows and len(self.names) > 2 else []),
        )

    def _confusions_table(self) -> TextTable:
        """The most frequent confusions: the largest counts off the diagonal."""
        k = len(self.names)
        wrong = self.confusion_matrix * ~np.eye(k, dtype=bool)
        rows = []
        for place in np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]:
            true, predicted = divmod(int(place), k)
            if count := int(wrong[true, predicted]):
                pair = f"{one_line(self.names[true])} → {one_line(self.names[predicted])}"
                share = count / (self.per_output[true].support or 1)
                rows.append((pair, f"{count:,}", f"{share:.1%}"))
        head = ("true → predicted", "count", "of the true class")
        return TextTable("Most frequent confusions", head, tuple(rows))

    def _metrics_note(self) -> str:
        notes = []
        if self.steps is not None:
            of = "; intervals come from resampling sequences" if self.groups is None else ""
            notes.append(f"All metrics are over steps{of}.")
        if self.roc_auc is None:
            notes.append("The ROC AUC is undefined: only one class occurs.")
        return " ".join(notes)

    def _interval_note(self) -> str:
        return f"no error in {self.count:,} sequences, " if self.accuracy == 1 else ""

    def _second_opinion(self) -> str:
        """Report the F1 of entities, or the balanced accuracy if its verdict differs.

        It can differ with rare classes.
        """
        if (of_entities := self.comparisons.get("entity_f1")) is not None:
            return of_entities.sentence.replace("The network is", "By whole entities, it is", 1)
        main, balanced = self.comparison, self.comparisons.get("balanced_accuracy")
        if main is None or balanced is None or main.verdict == balanced.verdict:
            return ""
        network, reference = balanced.write(balanced.network), balanced.write(balanced.reference)
        return (
            f"By balanced accuracy, which counts every class the same, it is {balanced.phrase} "
            f"({network} against {reference}; {balanced.margin})."
        )

    def notable_examples(self, most: int = 5) -> NotableExamples:
        """Choose the most confident correct and wrong predictions, and the least certain ones.

        A prediction is least certain if its two most likely classes are close. With a class per
        step, a correct sequence has no wrong step and is ranked by its least confident step; each
        sequence occurs at most once among the wrong and among the least certain steps.

        Args:
            most: maximum number of sequences per reason; a reason may have none.
        """
        p = self.probabilities
        tagger = self.owners is not None
        owners = np.arange(self.count) if self.owners is None else self.owners
        confidence = p[np.arange(len(p)), self.predicted]  # (m,)
        second, best = np.partition(p, -2, axis=1)[:, -2:].T
        wrong = self.true != self.predicted

        def example(i: int) -> NotableExample:
            true, predicted = (str(self.classes[c[i]]) for c in (self.true, self.predicted))
            return NotableExample(*self.place(i), true, predicted, float(confidence[i]))

        def whole_sequence(i: int) -> NotableExample:
            if not tagger:
                return example(i)
            least = example(i)
            return NotableExample(least.sequence, None, "each step", "the same", least.score)

        surest = np.argsort(-confidence, kind="stable")
        errors = np.bincount(owners, weights=wrong, minlength=self.count)
        # Ascending first, so that a sequence is represented by its least certain step.
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
                for i in _first_of_each_sequence(
                    np.argsort(best - second, kind="stable"), owners, most
                )
            ),
        }


@dataclass(frozen=True, eq=False)
class MultilabelReport(_ProbabilityReport):
    """Metrics of predicted labels; see `Report` and `elman.evaluate.metrics.METRICS`.

    Args:
        probabilities: (n, K) float64.
    """

    output: ClassVar[OutputName] = "multilabel"
    headline_metric: ClassVar[str] = "micro_f1"
    compared: ClassVar[tuple[str, ...]] = ("micro_f1",)
    constant_baseline: ClassVar[str] = FREQUENT
    keys: ClassVar[tuple[str, str, str]] = ("classes", "per_label", "label")

    @property
    def per_label(self) -> tuple[OutputMetrics, ...]:
        """Metrics of each label, in the order of `classes`."""
        return self.per_output

    @property
    def calibration_bins(self) -> CalibrationBins:
        """Decisions, one for each sequence and label, grouped by the label's probability."""
        return CalibrationBins.of_events(self.true.ravel() > 0, self.probabilities.ravel())

    def _metrics_note(self) -> str:
        return (
            "Micro is over all decisions together, macro the mean over the labels, samples the "
            "mean over the sequences."
        )

    def notable_examples(self, most: int = 5) -> NotableExamples:
        """Choose examples by single decisions: whether one label applies to one sequence.

        The least certain decision is the one whose probability is nearest to 1/2.

        Args:
            most: maximum number of sequences per reason; a reason may have none.
        """
        p = self.probabilities  # (n, K)
        labels = p.shape[1]
        owners = np.repeat(np.arange(self.count), labels)  # of the decisions, row by row
        margin = np.abs(p - 0.5)
        wrong = self.true != self.predicted

        def example(decision: int) -> NotableExample:
            sequence, k = divmod(decision, labels)
            true, predicted = (
                f"{self.classes[k]}: {'yes' if c[sequence, k] else 'no'}"
                for c in (self.true, self.predicted)
            )
            return NotableExample(sequence, None, true, predicted, 0.5 + float(margin[sequence, k]))

        def whole_sequence(sequence: int) -> NotableExample:
            labels_of = np.flatnonzero(self.true[sequence]).tolist()
            names = "|".join(str(self.classes[k]) for k in labels_of) or "none"
            return NotableExample(sequence, None, names, names, 0.5 + float(margin[sequence].min()))

        surest = np.argsort(-margin.ravel(), kind="stable")
        by_least = np.argsort(-margin.min(1), kind="stable")
        flawless = by_least[~wrong.any(1)[by_least]]
        return {
            RIGHT: tuple(whole_sequence(sequence) for sequence in flawless[:most].tolist()),
            WRONG: tuple(
                example(d)
                for d in _first_of_each_sequence(surest[wrong.ravel()[surest]], owners, most)
            ),
            UNDECIDED: tuple(
                example(d) for d in _first_of_each_sequence(surest[::-1], owners, most)
            ),
        }


@dataclass(frozen=True, eq=False)
class RegressionReport(Report):
    """Metrics of predicted numbers; see `Report` and `elman.evaluate.metrics.METRICS`.

    With several values, each metric is the mean over them.
    """

    output: ClassVar[OutputName] = "regression"
    headline_metric: ClassVar[str] = "rmse"
    compared: ClassVar[tuple[str, ...]] = ("rmse",)
    constant_baseline: ClassVar[str] = MEAN
    keys: ClassVar[tuple[str, str, str]] = ("names", "per_value", "name")

    @property
    def per_value(self) -> tuple[OutputMetrics, ...]:
        """Metrics of each value, in the order of `names`, in its own unit except `r2`."""
        return self.per_output

    def _outputs_in_words(self) -> str:
        return super()._outputs_in_words() if len(self.names) > 1 else one_line(self.names[0])

    def _metrics_note(self) -> str:
        if len(self.names) == 1:
            return ""
        return "Each metric is the mean over the values, each in its own unit."

    def notable_examples(self, most: int = 5) -> NotableExamples:
        """Choose the sequences with the largest and the smallest errors.

        Args:
            most: maximum number of sequences per reason.
        """
        spread = self.true.std(0)
        scaled = np.abs(self.predicted - self.true) / np.where(spread > 0, spread, 1.0)  # (m, K)
        owners = np.arange(self.count) if self.owners is None else self.owners
        first = np.searchsorted(owners, np.arange(self.count))
        count_of = np.bincount(owners, minlength=self.count)
        error = np.bincount(owners, weights=np.square(scaled).mean(1), minlength=self.count)
        error = np.sqrt(error / np.maximum(count_of, 1))  # (n,)

        def example(sequence: int) -> NotableExample:
            places = np.arange(count_of[sequence]) + first[sequence]
            worst = int(places[scaled[places].max(1).argmax()])
            true, predicted = (
                ", ".join(f"{value:.4g}" for value in values[worst][:3])
                + ", …" * (scaled.shape[1] > 3)
                for values in (self.true, self.predicted)
            )
            return NotableExample(*self.place(worst), true, predicted, float(error[sequence]))

        order = np.argsort(-error, kind="stable")
        order = order[count_of[order] > 0]
        return {
            FARTHEST: tuple(example(sequence) for sequence in order[:most].tolist()),
            CLOSEST: tuple(example(sequence) for sequence in order[::-1][:most].tolist()),
        }


def _first_of_each_sequence(places: Ints, owners: Ints, most: int) -> list[int]:
    """Return the first prediction of each sequence, for at most `most` sequences."""
    first: dict[int, int] = {}
    for place in places.tolist():
        first.setdefault(int(owners[place]), place)
        if len(first) == most:
            break
    return list(first.values())
