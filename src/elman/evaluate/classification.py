"""Reports on classes: one for each sequence, or one at each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import DataError, ShapeError
from elman.evaluate.baselines import MAJORITY
from elman.evaluate.counts import ClassCounts, Floats, Ints, confusion_matrix, resample_classes
from elman.evaluate.entities import EntityMetrics, entity_metrics, is_entity_tags
from elman.evaluate.headline import Comparison
from elman.evaluate.metrics import (
    METRICS,
    CalibrationBins,
    Metric,
    Scores,
    compute,
    compute_baselines,
    compute_intervals,
)
from elman.evaluate.report import (
    MOST_OUTPUTS,
    OutputMetrics,
    Report,
    check_resamples,
    metrics_of_outputs,
)
from elman.evaluate.text import TextTable, one_line, plural
from elman.tasks import OutputName

MOST_CONFUSIONS = 5  # pairs of classes that are listed


@dataclass(frozen=True, eq=False)
class ClassificationReport(Report):
    """Metrics of predicted classes; see `Report` and `elman.evaluate.metrics.METRICS`.

    `precision`, `recall` and `f1` are those of the second of two classes, else macro averages.

    Args:
        confusion_matrix: (K, K) int64, rows true, columns predicted.
        calibration_bins: predictions by their top probability.
        entities: of tags such as B-city, I-city, O, how many entities were found whole; else None.
        probabilities: (m, K) float64.
    """

    output: ClassVar[OutputName] = "classification"
    headline_metric: ClassVar[str] = "accuracy"
    constant_baseline: ClassVar[str] = MAJORITY
    one_class_each: ClassVar[bool] = True
    keys: ClassVar[tuple[str, str, str]] = ("classes", "per_class", "label")

    confusion_matrix: Ints = field(repr=False)
    calibration_bins: CalibrationBins = field(repr=False)
    entities: EntityMetrics | None
    probabilities: Floats = field(repr=False)

    @property
    def classes(self) -> tuple[Any, ...]:
        """Labels, in the order of the columns of `probabilities`."""
        return self.names

    @property
    def predictions(self) -> Floats:
        """Probabilities, (m, K)."""
        return self.probabilities

    @property
    def per_class(self) -> tuple[OutputMetrics, ...]:
        """Metrics of each class, in the order of `classes`."""
        return self.per_output

    @property
    def average(self) -> str:
        """`binary` where precision, recall and F1 are those of the second of two classes."""
        return "binary" if len(self.names) == 2 else "macro"

    def title_of(self, row: Metric) -> str:
        """Return the title of a metric, with the class that it is of, or `macro`."""
        of = one_line(self.names[1], 16) if self.average == "binary" else "macro"
        return row.title.replace("{average}", of)

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as what JSON can hold, without the arrays of predictions."""
        return super().to_dict() | {
            "average": self.average,
            "confusion_matrix": self.confusion_matrix.tolist(),
            "entities": None if self.entities is None else asdict(self.entities),
        }

    def interval_of(self, name: str) -> tuple[float, float] | None:
        """Return the interval for reading; None where there is none.

        Without any error every resample is free of errors too, and the bootstrap interval has no
        width. The rule of three bounds the accuracy instead (Hanley and Lippman-Hand 1983).
        """
        if not self.intervals or self.accuracy < 1:
            return self.intervals.get(name)
        return (max(0.0, 1 - 3 / self.count), 1.0) if name == "accuracy" else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before believing the metrics."""
        if self.accuracy < 1:
            return ()
        return (
            f"No error in {self.count:,} {plural('sequence', self.count)}: up to "
            f"{min(1.0, 3 / self.count):.1%} of sequences like these may still be misclassified "
            "(rule of three).",
        )

    def tables(self, most: int = MOST_OUTPUTS) -> tuple[TextTable, ...]:
        """Return the tables of entities, of each class, and of the most frequent confusions."""
        confusions = self._confusions_table()
        return (
            *([] if self.entities is None else [self.entities.table()]),
            self.outputs_table(most),
            # The matrix of two classes has no more to say than their table.
            *([confusions] if confusions.rows and len(self.names) > 2 else []),
        )

    def _confusions_table(self) -> TextTable:
        """The largest counts off the diagonal."""
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
            notes.append("All metrics are over steps; intervals come from resampling sequences.")
        if self.roc_auc is None:
            notes.append("The ROC AUC is undefined: only one class occurs.")
        return " ".join(notes)

    def _interval_note(self) -> str:
        return f"no error in {self.count:,} sequences, " if self.accuracy == 1 else ""

    def _second_opinion(self, main: Comparison) -> str:
        """Balanced accuracy, where it judges the baselines in another way: classes are rare."""
        balanced = self.compare("balanced_accuracy")
        if main.interval is None or not main.baselines or self.accuracy == 1:
            return ""
        if (main.standing == 1) == (balanced.standing == 1):
            return ""
        return (
            f"By balanced accuracy ({balanced.write(balanced.value)}), which counts every class "
            f"the same, it is {'' if balanced.standing == 1 else 'not '}clearly ahead."
        )


def evaluate(
    true: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[Any],
    *,
    lengths: ArrayLike,
    owners: ArrayLike | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> ClassificationReport:
    """Compare predicted probabilities of classes with the truth.

    Args:
        true: codes of the true classes, (m,), from 0 to K - 1; m is the sequences, or for a tagger
            the steps.
        probabilities: (m, K); predicted is the class with the largest, the first of equals.
        classes: K labels, K at least 2.
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,), from 0 to n - 1; None where each sequence has one
            label.
        baselines: name -> predicted codes, (m,).
        resamples: bootstrap resamples for the intervals; 0 for none.
        seed: of the resamples.
    Raises: ShapeError where sizes disagree; DataError where codes or probabilities are impossible.
    """
    check_resamples(resamples)
    p = _check_probabilities(probabilities, len(classes))
    m, num_classes = p.shape
    codes = _check_codes("true", true, m, num_classes)
    steps_of = np.asarray(lengths, dtype=np.int64)
    count = len(steps_of)
    owner_of = None if owners is None else _check_codes("owners", owners, m, count)
    if owner_of is None and count != m:
        raise ShapeError(
            f"lengths has {count} sequences but probabilities {m} rows; give owners (m,) if a row "
            "is a step"
        )
    wide = p.astype(np.float64)
    predicted = wide.argmax(1)
    matrix = confusion_matrix(codes, predicted, num_classes)
    counts = ClassCounts.of(matrix)
    bins = CalibrationBins.of(codes, wide)
    # The log loss is of the probabilities as they came: float32 cannot tell 1e-8 from 0.
    evidence = {"counts": counts, "scores": Scores(codes, p), "bins": bins}
    rows = METRICS["classification"]
    sizes: dict[str, Any] = {"owners": owner_of, "count": count}
    resampled = (
        resample_classes(codes, predicted, num_classes, **sizes, resamples=resamples, seed=seed)
        for _ in range(resamples > 0)
    )

    def count_of(name: str, values: ArrayLike) -> ClassCounts:
        theirs = _check_codes(name, values, m, num_classes)
        return ClassCounts.of(confusion_matrix(codes, theirs, num_classes))

    return ClassificationReport(
        names=tuple(classes),
        count=count,
        steps=None if owner_of is None else m,
        metrics=compute(rows, evidence),
        per_output=metrics_of_outputs("classification", classes, evidence, counts.true.tolist()),
        intervals=compute_intervals(rows, resampled),
        baselines=compute_baselines(rows, baselines, count_of),
        true=codes,
        predicted=predicted,
        lengths=steps_of,
        owners=owner_of,
        confusion_matrix=matrix,
        calibration_bins=bins,
        entities=_entities(classes, codes, predicted, steps_of, owner_of, resamples, seed),
        probabilities=wide,
    )


def _entities(
    classes: Sequence[Any],
    true: Ints,
    predicted: Ints,
    lengths: Ints,
    owners: Ints | None,
    resamples: int,
    seed: int,
) -> EntityMetrics | None:
    """Compare entities where the classes of steps are tags of entities."""
    if owners is None or not is_entity_tags(classes):
        return None
    ends = np.cumsum(lengths)[:-1]
    tags = np.array(classes, dtype=object)
    of = [[row.tolist() for row in np.split(tags[c], ends)] for c in (true, predicted)]
    return entity_metrics(*of, resamples=resamples, seed=seed)


def _check_probabilities(values: ArrayLike, num_classes: int) -> NDArray[np.floating[Any]]:
    p: NDArray[Any] = np.asarray(values)
    p = p if p.dtype in (np.float32, np.float64) else p.astype(np.float64)
    if p.ndim != 2 or num_classes < 2 or p.shape[1] != num_classes:
        raise ShapeError(
            f"probabilities have shape {p.shape} for {num_classes} classes; "
            "expected (m, K) with K = len(classes), at least 2"
        )
    if len(p) == 0:
        raise DataError("nothing to evaluate: there are no predictions")
    invalid = ~(np.isfinite(p) & (p >= 0) & (p <= 1 + 1e-6)).all(1)
    if invalid.any():
        row = int(np.flatnonzero(invalid)[0])
        raise DataError(
            f"{int(invalid.sum())} of {len(p)} rows of probabilities hold NaN or values outside 0 "
            f"to 1, first row {row}: {p[row].tolist()[:5]}",
            remedy="If training diverged, lower the learning rate or clip gradients.",
        )
    return p


def _check_codes(name: str, values: ArrayLike, m: int, below: int) -> Ints:
    """Check whole numbers from 0 to `below` - 1, one for each of m rows."""
    codes: NDArray[Any] = np.asarray(values)
    if codes.shape != (m,):
        raise ShapeError(f"{name} has shape {codes.shape}; expected ({m},), one a row")
    if codes.dtype.kind not in "iub" or codes.min() < 0 or codes.max() >= below:
        raise DataError(
            f"{name} holds {codes.dtype} from {codes.min()} to {codes.max()}; "
            f"expected whole numbers from 0 to {below - 1}"
        )
    return codes.astype(np.int64)
