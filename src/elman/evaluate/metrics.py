"""Every metric as one row of a table; adding a row adds a metric.

A metric of `METRICS` becomes an attribute of the report, an entry of `to_dict` and metrics.json,
and a row of the tables in the terminal, the notebook, the model card and report.html.

`needs` names the input of a metric's function: `counts`, `scores` or `bins`. Only `counts` (see
`elman.evaluate.counts`) can be resampled, so only its metrics have intervals.

The values are those of scikit-learn, and the tests compare with it; the NumPy versions are here
for speed. Measured at 100,000 x 10 and 2,000 x 100 predictions and classes, scikit-learn takes
1.6 and 7 times as long for the area under ROC, 1.4 and 6 times for the average precision, 29 and
120 times for the log loss. Its calibration curve is for two classes only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.evaluate.counts import (
    ClassCounts,
    ErrorSums,
    Floats,
    Ints,
    LabelCounts,
    ratio,
)
from elman.evaluate.resampling import interval_levels
from elman.evaluate.text import format_amount, format_share
from elman.tasks import OutputName

CALIBRATION_BINS = 15  # as in Guo et al. 2017


@dataclass(frozen=True)
class Metric:
    """One row of `METRICS` or `OUTPUT_METRICS`.

    Args:
        name: attribute of the report, and key of metrics.json.
        title: title for display; `{average}` is replaced by what the report averages over.
        meaning: definition in one sentence.
        needs: input of `function`: `counts`, `scores` or `bins`.
        function: returns an array whose first axis is resamples, or a number. A second axis holds
            outputs, over which the metric is averaged. None where the metric is undefined.
        better: whether a higher or a lower value is better.
        interval: whether a bootstrap interval is computed; needs `counts`.
        listed: whether tables show it; otherwise only `to_dict` contains it.
        text: formats a value.
    """

    name: str
    title: str
    meaning: str
    needs: Literal["counts", "scores", "bins"]
    function: Callable[[Any], Any]
    better: Literal["higher", "lower"] = "higher"
    interval: bool = False
    listed: bool = True
    text: Callable[[float | None], str] = format_share


class Scores(NamedTuple):
    """True targets and predictions of a model.

    Args:
        true: class codes, (m,); or labels (0 or 1) or values, (m, K).
        predicted: probabilities or values, (m, K).
    """

    true: NDArray[Any]
    predicted: NDArray[Any]


@dataclass(frozen=True, eq=False)
class CalibrationBins:
    """Predictions grouped by their top probability into bins (low, high] of equal width.

    Args:
        count: number of predictions in each bin.
        accuracy: share of correct predictions in each bin; 0 in an empty bin.
        confidence: mean top probability in each bin; 0 in an empty bin.
    """

    count: Ints
    accuracy: Floats
    confidence: Floats

    @classmethod
    def of(cls, true: Ints, probabilities: Floats) -> CalibrationBins:
        """Bin predictions, given true codes, (m,), and probabilities, (m, K)."""
        return cls.of_events(probabilities.argmax(1) == true, probabilities.max(1))

    @classmethod
    def of_events(cls, right: NDArray[np.bool_], top: Floats) -> CalibrationBins:
        """Bin events, (m,), by the probabilities they were given, (m,)."""
        # Closed above, so that a probability of 1.0 falls into the last bin.
        place = np.ceil(top * CALIBRATION_BINS).astype(np.int64) - 1
        place = np.clip(place, 0, CALIBRATION_BINS - 1)
        count = np.bincount(place, minlength=CALIBRATION_BINS)
        return cls(
            count,
            ratio(np.bincount(place, weights=right, minlength=CALIBRATION_BINS), count),
            ratio(np.bincount(place, weights=top, minlength=CALIBRATION_BINS), count),
        )

    @property
    def error(self) -> float:
        """Expected calibration error: |accuracy - confidence| of the bins, weighted by count.

        Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
        """
        gaps = self.count * np.abs(self.accuracy - self.confidence)
        return float(gaps.sum() / self.count.sum())


class HasMetrics:
    """Metrics as attributes: `report.accuracy` is `report.metrics["accuracy"]`."""

    metrics: Mapping[str, float | None]

    def __getattr__(self, name: str) -> Any:
        # By `__dict__`: a report that is being copied or unpickled has no `metrics` yet, and
        # `self.metrics` would recurse without end.
        values: Mapping[str, float | None] = self.__dict__.get("metrics", {})
        if name not in values:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self
            )
        return values[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.metrics]


@dataclass(frozen=True)
class OutputMetrics(HasMetrics):
    """Metrics of one class, label or value: attributes by the names in `OUTPUT_METRICS`.

    Args:
        label: the class or label, or the name of the value.
        metrics: metrics by name; None where undefined.
        support: how often the class or label is true; None for values.
    """

    label: Any
    metrics: Mapping[str, float | None]
    support: int | None = None


def compute(rows: Iterable[Metric], evidence: Mapping[str, Any]) -> dict[str, float | None]:
    """Compute each metric from the input in `evidence` that its `needs` names; None without it."""
    values: dict[str, float | None] = {}
    for row in rows:
        value = row.function(evidence[row.needs]) if row.needs in evidence else None
        values[row.name] = None if value is None else float(np.mean(value))
    return values


def compute_intervals(
    rows: Sequence[Metric], resamples: Iterator[Any], units: int
) -> dict[str, tuple[float, float]]:
    """Return the 95 % percentile interval of each metric that has one.

    Args:
        resamples: counts of the resamples, in chunks.
        units: number of sequences or groups that each resample draws.
    """
    rows = [row for row in rows if row.interval]
    values: dict[str, list[Floats]] = {row.name: [] for row in rows}
    for counts in resamples:
        for row in rows:
            value = np.asarray(row.function(counts))
            values[row.name].append(value.reshape(len(value), -1).mean(1))
    # Percentiles, not a normal approximation: the distribution is skewed near 0 and 1.
    ends = {
        name: np.percentile(np.concatenate(pieces), interval_levels(units))
        for name, pieces in values.items()
        if pieces
    }
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _average(
    name: Literal["precision", "recall", "f1"], how: str
) -> Callable[[ClassCounts], Floats]:
    """Precision, recall or F1 averaged as scikit-learn does.

    `macro` is the mean over the classes that are true or predicted at least once; other classes
    have no value. `weighted` weights each class by its support. `headline` is the value of the
    second class if there are two, else `macro`.
    """

    def function(counts: ClassCounts) -> Floats:
        values: Floats = getattr(counts, name)
        # With two classes, the second is the positive one, as in scikit-learn's `binary` average.
        if how == "headline" and values.shape[-1] == 2:
            return values[..., 1]
        if how == "weighted":
            return ratio((values * counts.true).sum(-1), counts.true.sum(-1))
        met = (counts.true > 0) | (counts.predicted > 0)
        return ratio((values * met).sum(-1), met.sum(-1))

    return function


def _balanced_accuracy(counts: ClassCounts) -> Floats:
    occurs = counts.true > 0
    return ratio((counts.recall * occurs).sum(-1), occurs.sum(-1))


_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


def area_under_roc(positive: NDArray[np.bool_], scores: Floats) -> float | None:
    """Probability that a positive scores above a negative, ties counting 1/2.

    None unless there are both positives and negatives.
    """
    # The Mann-Whitney U statistic, summed over the positives; a tie counts 1/2. Sorting takes a
    # fifth of the time of ranking, and of many classes each has few positives to look up.
    ups, every = np.sort(scores[positive]), np.sort(scores)
    pairs = len(ups) * (len(every) - len(ups))
    if not pairs:
        return None
    below, upto = (np.searchsorted(every, ups, s) - np.searchsorted(ups, ups, s) for s in _SIDES)
    return float((below + (upto - below) / 2).sum() / pairs)


def _roc_auc(scores: Scores) -> float | None:
    true, probabilities = scores
    num_classes = probabilities.shape[1]
    # With two classes both areas are equal, because the probabilities add up to 1.
    columns = [1] if num_classes == 2 else range(num_classes)
    areas = [area_under_roc(true == k, probabilities[:, k].astype(np.float64)) for k in columns]
    defined = [area for area in areas if area is not None]
    return float(np.mean(defined)) if defined else None


def _log_loss(scores: Scores) -> float:
    chosen = scores.predicted[np.arange(len(scores.true)), scores.true]
    # Probabilities are clipped at the epsilon of their dtype, as in scikit-learn, so that the loss
    # stays finite.
    smallest = np.finfo(scores.predicted.dtype).eps
    return float(-np.log(np.clip(chosen.astype(np.float64), smallest, 1.0)).mean()) + 0.0  # not -0


def average_precision(positive: NDArray[Any], scores: Floats) -> float | None:
    """Area under the stepwise precision-recall curve; None if the label never occurs."""
    if not positive.any():
        return None
    # Thresholds lie between distinct scores, so equal scores are accepted together.
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(positive[order])[last].astype(np.float64)
    return float((np.diff(hits, prepend=0.0) / hits[-1] * hits / (last + 1)).sum())


def _average_precisions(scores: Scores) -> list[float | None]:
    columns = zip(scores.true.T, scores.predicted.T, strict=True)
    return [average_precision(true, p) for true, p in columns]


def _r2(sums: ErrorSums) -> Floats:
    total = sums.values_squared - sums.values**2 / sums.count
    # As in scikit-learn: if the true value is constant, 1 for exact predictions, else 0.
    flat = total <= 1e-12 * np.maximum(sums.values_squared, 1e-300)
    share = np.divide(sums.squares, total, out=(sums.squares > 0).astype(float), where=~flat)
    r2: Floats = 1 - share
    return r2


def _micro_f1(counts: LabelCounts) -> Floats:
    labels = counts.labels
    return ratio(2 * labels.both.sum(1), (labels.true + labels.predicted).sum(1))


_CLASSES = (
    Metric("accuracy", "accuracy", "Share of correct predictions.", "counts",
        lambda c: ratio(c.both.sum(-1), c.true.sum(-1)), interval=True),
    Metric("balanced_accuracy", "balanced accuracy", "Mean recall of the classes that occur.",
        "counts", _balanced_accuracy, interval=True),
    Metric("precision", "precision ({average})", "Share of the predictions of a class that is "
        "correct.", "counts", _average("precision", "headline"), interval=True),
    Metric("recall", "recall ({average})", "Share of a class that is found.", "counts",
        _average("recall", "headline"), interval=True),
    Metric("f1", "F1 ({average})", "Harmonic mean of precision and recall.", "counts",
        _average("f1", "headline"), interval=True),
    Metric("macro_precision", "precision (macro)", "Mean precision of the classes that are true or "
        "predicted somewhere.", "counts", _average("precision", "macro"), listed=False),
    Metric("macro_recall", "recall (macro)", "Mean recall of the same classes.", "counts",
        _average("recall", "macro"), listed=False),
    Metric("macro_f1", "F1 (macro)", "Mean F1 of the same classes.", "counts",
        _average("f1", "macro"), listed=False),
    Metric("weighted_precision", "precision (weighted)", "Mean precision, weighted by how often "
        "each class is true.", "counts", _average("precision", "weighted"), listed=False),
    Metric("weighted_recall", "recall (weighted)", "Mean recall, weighted in the same way.",
        "counts", _average("recall", "weighted"), listed=False),
    Metric("weighted_f1", "F1 (weighted)", "Mean F1, weighted in the same way.", "counts",
        _average("f1", "weighted"), listed=False),
    Metric("roc_auc", "ROC AUC ({average})", "Chance that a member of the class gets a higher "
        "probability than a non-member; undefined where only one class occurs.", "scores",
        _roc_auc),
    Metric("log_loss", "log loss", "Mean of -log p(true class), in nats.", "scores", _log_loss,
        better="lower"),
    Metric("calibration_error", "calibration error", "Expected calibration error of the top "
        f"probability in {CALIBRATION_BINS} equal bins.", "bins", lambda bins: bins.error,
        better="lower"),
)  # fmt: skip

_LABELS = (
    Metric("accuracy", "all labels right", "Share of sequences with every label right (subset "
        "accuracy).", "counts", lambda c: c.exact / c.count, interval=True),
    Metric("micro_f1", "F1 (micro)", "F1 of all decisions together.", "counts", _micro_f1,
        interval=True),
    Metric("macro_f1", "F1 (macro)", "Mean F1 of the labels.", "counts",
        lambda c: c.labels.f1.mean(1), interval=True),
    Metric("samples_f1", "F1 (samples)", "Mean F1 of the sequences.", "counts",
        lambda c: c.f1 / c.count, interval=True),
    Metric("hamming_loss", "Hamming loss", "Share of wrong decisions.", "counts",
        lambda c: c.wrong / c.count, better="lower", interval=True),
)  # fmt: skip

_VALUES = (
    Metric("rmse", "RMSE", "Root of the mean squared error, in the target's own unit.", "counts",
        lambda s: np.sqrt(s.squares / s.count), better="lower", interval=True,
        text=format_amount),
    Metric("mae", "MAE", "Mean absolute error, in the target's own unit.", "counts",
        lambda s: s.distances / s.count, better="lower", interval=True,
        text=format_amount),
    Metric("r2", "R2", "Share of the variance that is explained; 0 for the constant prediction of "
        "the true mean.", "counts", _r2, interval=True),
    Metric("median_absolute_error", "median abs. error", "Half of the absolute errors are smaller, "
        "in the target's own unit.", "scores",
        lambda s: np.median(np.abs(s.predicted - s.true), axis=0)[None], better="lower",
        text=format_amount),
)  # fmt: skip

METRICS: dict[OutputName, tuple[Metric, ...]] = {
    "classification": _CLASSES,
    "multilabel": _LABELS,
    "regression": _VALUES,
}

_EACH_CLASS = (
    Metric("precision", "precision", "Share of the predictions that is correct.", "counts",
        lambda c: c.precision),
    Metric("recall", "recall", "Share that is found.", "counts", lambda c: c.recall),
    Metric("f1", "F1", "Harmonic mean of precision and recall.", "counts", lambda c: c.f1),
)  # fmt: skip

# Metrics of each class, label or value: the functions return K numbers, None where undefined.
OUTPUT_METRICS: dict[OutputName, tuple[Metric, ...]] = {
    "classification": _EACH_CLASS,
    "multilabel": (
        *_EACH_CLASS,
        Metric("average_precision", "average precision", "Area under precision over recall.",
            "scores", _average_precisions),
    ),
    "regression": _VALUES,
}  # fmt: skip


def metrics_of_outputs(
    output: OutputName,
    names: Sequence[Any],
    evidence: Mapping[str, Any],
    supports: Sequence[float] | None = None,
) -> tuple[OutputMetrics, ...]:
    """Compute `OUTPUT_METRICS` of each class, label or value.

    Args:
        evidence: the inputs of the metrics, by the names in `Metric.needs`.
        supports: how often each class or label is true; None for values.
    """
    columns: dict[str, list[float | None]] = {
        # For values, the first axis holds resamples; there is one here.
        row.name: np.asarray(row.function(evidence[row.needs]), dtype=object).ravel().tolist()
        for row in OUTPUT_METRICS[output]
    }
    return tuple(
        OutputMetrics(
            name,
            {metric: values[k] for metric, values in columns.items()},
            None if supports is None else int(supports[k]),
        )
        for k, name in enumerate(names)
    )
