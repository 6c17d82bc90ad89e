"""Build reports from predictions and true targets, with intervals, baselines and input checks.

Dimensions: n sequences, m predictions (one per sequence or step), K classes, labels or values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import DataError, SettingsError, ShapeError
from elman.evaluate.counts import (
    ClassCounts,
    EntityMetrics,
    ErrorSums,
    Floats,
    Ints,
    LabelCounts,
    check_codes,
    confusion_matrix,
    entity_metrics,
    is_entity_tags,
    resample_classes,
    resample_weights,
)
from elman.evaluate.metrics import (
    METRICS,
    OUTPUT_METRICS,
    CalibrationBins,
    OutputMetrics,
    Scores,
    compute,
    compute_baselines,
    compute_intervals,
)
from elman.evaluate.task_reports import ClassificationReport, MultilabelReport, RegressionReport
from elman.tasks import OutputName

THRESHOLD = 0.5  # a label is predicted if its probability exceeds this: odds better than even
DIVERGED = "If training diverged, lower the learning rate or clip gradients."


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
    """Compare predicted class probabilities with the true classes.

    Args:
        true: codes of the true classes, (m,), from 0 to K - 1; m counts sequences, or for a
            tagger steps.
        probabilities: (m, K); the class with the largest one is predicted, the first of ties.
        classes: K labels, K at least 2.
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,), from 0 to n - 1; None where each sequence has one
            label.
        baselines: name -> predicted codes, (m,).
        resamples: bootstrap resamples for the intervals; 0 for none.
        seed: of the resamples.
    Raises: ShapeError where sizes disagree; DataError for invalid codes or probabilities.
    """
    _check_resamples(resamples)
    p = _check_probabilities(probabilities, len(classes))
    m, num_classes = p.shape
    codes = check_codes("true", true, m, num_classes)
    steps_of = np.asarray(lengths, dtype=np.int64)
    count = len(steps_of)
    owner_of = None if owners is None else check_codes("owners", owners, m, count)
    if owner_of is None and count != m:
        raise ShapeError(
            f"lengths has {count} sequences but probabilities {m} rows; give owners (m,) if a row "
            "is a step"
        )
    wide = p.astype(np.float64)  # float32 would lose digits in sums over many predictions
    predicted = wide.argmax(1)
    matrix = confusion_matrix(codes, predicted, num_classes)
    counts = ClassCounts.of(matrix)
    bins = CalibrationBins.of(codes, wide)
    # Not `wide`: the log loss clips probabilities at the spacing of their own type.
    evidence = {"counts": counts, "scores": Scores(codes, p), "bins": bins}
    rows = METRICS["classification"]
    sizes: dict[str, Any] = {"owners": owner_of, "count": count}
    resampled = (
        resample_classes(codes, predicted, num_classes, **sizes, resamples=resamples, seed=seed)
        for _ in range(resamples > 0)
    )

    def count_of(name: str, values: ArrayLike) -> ClassCounts:
        theirs = check_codes(name, values, m, num_classes)
        return ClassCounts.of(confusion_matrix(codes, theirs, num_classes))

    return ClassificationReport(
        names=tuple(classes),
        count=count,
        steps=None if owner_of is None else m,
        metrics=compute(rows, evidence),
        per_output=_metrics_of_outputs("classification", classes, evidence, counts.true.tolist()),
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
    """Compare predicted label probabilities with the true labels.

    Args:
        true: 0 or 1, (n, K).
        probabilities: (n, K); a label is predicted if its probability exceeds 1/2.
        classes: K labels.
        lengths: steps of each sequence, (n,).
        owners: must be None; labels per step are not supported.
        baselines: name -> 0 or 1, (n, K).
        resamples: bootstrap resamples for the intervals; 0 for none.
        seed: of the resamples.
    Raises: ShapeError where sizes disagree; DataError for empty input or an invalid probability.
    """
    _check_resamples(resamples)
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != len(classes):
        raise ShapeError(f"probabilities have shape {p.shape}; expected (n, {len(classes)})")
    if len(p) == 0:
        raise DataError("nothing to evaluate: there are no predictions")
    if not (np.isfinite(p) & (p >= 0) & (p <= 1)).all():
        raise DataError(
            "probabilities hold NaN or values outside 0 to 1",
            remedy=DIVERGED,
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
        per_output=_metrics_of_outputs("multilabel", classes, of_each, labels.true.tolist()),
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
    """Compare predicted with true numbers.

    Args:
        true, predicted: (m, K), in the target's unit.
        names: names of the K values.
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,); None if each sequence has one target.
        baselines: name -> predicted numbers, (m, K).
        resamples: bootstrap resamples for the intervals; 0 for none.
        seed: of the resamples.
    Raises: ShapeError where sizes disagree; DataError for empty input or non-finite values.
    """
    _check_resamples(resamples)
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
        per_output=_metrics_of_outputs("regression", names, evidence),
        intervals=compute_intervals(
            rows, (sums.resample(weights) for weights in resample_weights(n, resamples, seed))
        ),
        baselines=compute_baselines(rows, baselines, count_of),
        true=y,
        predicted=z,
        lengths=steps_of,
        owners=owner_of,
    )


def _metrics_of_outputs(
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


def _entities(
    classes: Sequence[Any],
    true: Ints,
    predicted: Ints,
    lengths: Ints,
    owners: Ints | None,
    resamples: int,
    seed: int,
) -> EntityMetrics | None:
    """Compare entities if the classes of the steps are entity tags; else return None."""
    if owners is None or not is_entity_tags(classes):
        return None
    ends = np.cumsum(lengths)[:-1]  # entities do not span sequences
    tags = np.array(classes, dtype=object)
    of = [[row.tolist() for row in np.split(tags[c], ends)] for c in (true, predicted)]
    return entity_metrics(*of, resamples=resamples, seed=seed)


def _check_resamples(resamples: int) -> None:
    """Raise if the number of resamples is negative."""
    if resamples < 0:
        raise SettingsError(f"resamples is {resamples}; expected 0 for no intervals, or more")


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
    # A float32 softmax can exceed 1 by rounding.
    invalid = ~(np.isfinite(p) & (p >= 0) & (p <= 1 + 1e-6)).all(1)
    if invalid.any():
        row = int(np.flatnonzero(invalid)[0])
        raise DataError(
            f"{int(invalid.sum())} of {len(p)} rows of probabilities hold NaN or values outside 0 "
            f"to 1, first row {row}: {p[row].tolist()[:5]}",
            remedy=DIVERGED,
        )
    return p


def _check_indicator(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Ints:
    indicator = np.asarray(values)
    if indicator.shape != shape:
        raise ShapeError(f"{name} has shape {indicator.shape}; expected {shape}")
    if not np.isin(indicator, (0, 1)).all():
        raise DataError(f"{name} holds other numbers than 0 and 1")
    return indicator.astype(np.int64)


def _check_numbers(name: str, values: ArrayLike, like: Floats) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != like.shape:
        raise ShapeError(f"{name} has shape {numbers.shape}; expected {like.shape}")
    if not np.isfinite(numbers).all():
        raise DataError(
            f"{name} holds numbers that are not finite",
            remedy=DIVERGED,
        )
    return numbers
