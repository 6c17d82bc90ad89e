"""Reports on predicted numbers, of each sequence or of each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from elman.errors import DataError, ShapeError
from elman.evaluate.baselines import MEAN
from elman.evaluate.counts import ErrorSums, Floats, resample_weights
from elman.evaluate.metrics import METRICS, Scores, compute, compute_baselines, compute_intervals
from elman.evaluate.report import OutputMetrics, Report, check_resamples, metrics_of_outputs
from elman.evaluate.text import one_line
from elman.tasks import OutputName


@dataclass(frozen=True, eq=False)
class RegressionReport(Report):
    """Metrics of predicted numbers; see `Report` and `elman.evaluate.metrics.METRICS`.

    Of several values each metric is the mean over them.
    """

    output: ClassVar[OutputName] = "regression"
    headline_metric: ClassVar[str] = "rmse"
    constant_baseline: ClassVar[str] = MEAN
    keys: ClassVar[tuple[str, str, str]] = ("names", "per_value", "name")

    @property
    def per_value(self) -> tuple[OutputMetrics, ...]:
        """Metrics of each value, in the order of `names`, in its own unit but for `r2`."""
        return self.per_output

    def _outputs_in_words(self) -> str:
        return super()._outputs_in_words() if len(self.names) > 1 else one_line(self.names[0])

    def _metrics_note(self) -> str:
        if len(self.names) == 1:
            return ""
        return "Each metric is the mean over the values, each in its own unit."


def evaluate_values(
    true: ArrayLike,
    predicted: ArrayLike,
    names: Sequence[str],
    *,
    lengths: ArrayLike,
    owners: ArrayLike | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> RegressionReport:
    """Compare predicted numbers with the truth.

    Args:
        true, predicted: (m, K), in the target's unit.
        names: of the K values.
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,); None where each sequence has its own values.
        baselines: name -> predicted numbers, (m, K).
        resamples: bootstrap resamples for the intervals; 0 for none.
        seed: of the resamples.
    Raises: ShapeError where sizes disagree; DataError where there is nothing, or no number.
    """
    check_resamples(resamples)
    y = np.asarray(true, dtype=np.float64)
    if y.ndim != 2 or y.shape[1] != len(names):
        raise ShapeError(f"true has shape {y.shape}; expected (m, {len(names)})")
    if len(y) == 0:
        raise DataError("nothing to evaluate: there are no predictions")
    z = _check_numbers("predicted", predicted, y)
    _check_numbers("true", y, y)
    steps_of = np.asarray(lengths, dtype=np.int64)
    owner_of = None if owners is None else np.asarray(owners, dtype=np.int64)
    n = len(steps_of)
    if len(y) != (n if owner_of is None else len(owner_of)):
        raise ShapeError(
            f"lengths has {n} sequences but there are {len(y)} predictions; give owners (m,) if a "
            "prediction is a step's"
        )
    sequences = np.arange(len(y)) if owner_of is None else owner_of
    sums = ErrorSums.by_sequence(y, z, sequences, n)
    rows, once = METRICS["regression"], np.ones((1, n))
    evidence = {"counts": sums.resample(once), "scores": Scores(y, z)}

    def count_of(name: str, values: ArrayLike) -> ErrorSums:
        numbers = _check_numbers(name, values, y)
        return ErrorSums.by_sequence(y, numbers, sequences, n).resample(once)

    return RegressionReport(
        names=tuple(names),
        count=n,
        steps=None if owner_of is None else len(y),
        metrics=compute(rows, evidence),
        per_output=metrics_of_outputs("regression", names, evidence),
        intervals=compute_intervals(
            rows, (sums.resample(weights) for weights in resample_weights(n, resamples, seed))
        ),
        baselines=compute_baselines(rows, baselines, count_of),
        true=y,
        predicted=z,
        lengths=steps_of,
        owners=owner_of,
    )


def _check_numbers(name: str, values: ArrayLike, like: Floats) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != like.shape:
        raise ShapeError(f"{name} has shape {numbers.shape}; expected {like.shape}")
    if not np.isfinite(numbers).all():
        raise DataError(
            f"{name} holds numbers that are not finite",
            remedy="If training diverged, lower the learning rate or clip gradients.",
        )
    return numbers
