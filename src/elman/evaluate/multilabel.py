"""Reports on any number of labels for each sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from elman.errors import DataError, ShapeError
from elman.evaluate.baselines import FREQUENT
from elman.evaluate.counts import ClassCounts, Floats, Ints, LabelCounts, resample_weights
from elman.evaluate.metrics import METRICS, Scores, compute, compute_baselines, compute_intervals
from elman.evaluate.report import OutputMetrics, Report, check_resamples, metrics_of_outputs
from elman.tasks import OutputName

THRESHOLD = 0.5  # a label is predicted where its own probability is above: odds better than even


@dataclass(frozen=True, eq=False)
class MultilabelReport(Report):
    """Metrics of predicted labels; see `Report` and `elman.evaluate.metrics.METRICS`.

    Args:
        probabilities: (n, K) float64.
    """

    output: ClassVar[OutputName] = "multilabel"
    headline_metric: ClassVar[str] = "micro_f1"
    constant_baseline: ClassVar[str] = FREQUENT
    keys: ClassVar[tuple[str, str, str]] = ("classes", "per_label", "label")

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
    def per_label(self) -> tuple[OutputMetrics, ...]:
        """Metrics of each label, in the order of `classes`."""
        return self.per_output

    def _metrics_note(self) -> str:
        return (
            "Micro is over all decisions together, macro the mean over the labels, samples the "
            "mean over the sequences."
        )


def evaluate_labels(
    true: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[Any],
    *,
    lengths: ArrayLike,
    owners: None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> MultilabelReport:
    """Compare predicted probabilities of each label with the truth.

    Args:
        true: 0 or 1, (n, K).
        probabilities: (n, K); a label is predicted where its own is above 1/2.
        classes: K labels.
        lengths: steps of each sequence, (n,).
        owners: None; there are no labels of steps.
        baselines: name -> 0 or 1, (n, K).
        resamples: bootstrap resamples for the intervals; 0 for none.
        seed: of the resamples.
    Raises: ShapeError where sizes disagree; DataError where there is nothing, or no probability.
    """
    check_resamples(resamples)
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != len(classes):
        raise ShapeError(f"probabilities have shape {p.shape}; expected (n, {len(classes)})")
    if len(p) == 0:
        raise DataError("nothing to evaluate: there are no predictions")
    if not (np.isfinite(p) & (p >= 0) & (p <= 1)).all():
        raise DataError(
            "probabilities hold NaN or values outside 0 to 1",
            remedy="If training diverged, lower the learning rate or clip gradients.",
        )
    steps_of = np.asarray(lengths, dtype=np.int64)
    y = _check_indicator("true", true, p.shape)
    n = len(p)
    if len(steps_of) != n:
        raise ShapeError(f"lengths has {len(steps_of)} sequences but probabilities {n} rows")
    predicted = (p > THRESHOLD).astype(np.int64)
    rows, once = METRICS["multilabel"], np.ones((1, n))

    def count_of(name: str, values: ArrayLike) -> LabelCounts:
        return LabelCounts.of(y, _check_indicator(name, values, p.shape), once)

    labels = ClassCounts(*(a.sum(0).astype(np.float64) for a in (y, predicted, y * predicted)))
    of_each = {"counts": labels, "scores": Scores(y, p)}
    return MultilabelReport(
        names=tuple(classes),
        count=n,
        steps=None,
        metrics=compute(rows, {"counts": LabelCounts.of(y, predicted, once)}),
        per_output=metrics_of_outputs("multilabel", classes, of_each, labels.true.tolist()),
        intervals=compute_intervals(
            rows,
            (LabelCounts.of(y, predicted, w) for w in resample_weights(n, resamples, seed)),
        ),
        baselines=compute_baselines(rows, baselines, count_of),
        true=y,
        predicted=predicted,
        lengths=steps_of,
        owners=None,
        probabilities=p,
    )


def _check_indicator(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Ints:
    indicator = np.asarray(values)
    if indicator.shape != shape:
        raise ShapeError(f"{name} has shape {indicator.shape}; expected {shape}")
    if not np.isin(indicator, (0, 1)).all():
        raise DataError(f"{name} holds other numbers than 0 and 1")
    return indicator.astype(np.int64)
