"""Build reports from predictions and true targets, with intervals, baselines and input checks.

Dimensions: n sequences, m predictions (one per sequence or step), K classes, labels or values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import DataError, ShapeError
from elman.evaluate.comparison import SUMS, compare
from elman.evaluate.counts import (
    DIVERGED,
    Case,
    ClassCounts,
    ErrorSums,
    Floats,
    Ints,
    LabelCounts,
    check_answers,
    check_codes,
    check_indicator,
    check_numbers,
    check_probabilities,
    check_shares,
    confusion_matrix,
)
from elman.evaluate.entities import compare_entities, entities_of_steps
from elman.evaluate.metrics import (
    METRICS,
    CalibrationBins,
    Scores,
    compute,
    compute_intervals,
    metrics_of_outputs,
)
from elman.evaluate.report import Report
from elman.evaluate.resampling import Resampling, resample_classes, resample_weights
from elman.evaluate.task_reports import ClassificationReport, MultilabelReport, RegressionReport
from elman.tasks import OutputName

THRESHOLD = 0.5  # a label is predicted if its probability exceeds this: odds better than even

Groups = Sequence[Hashable] | NDArray[Any]
R = TypeVar("R", bound=Report)


def evaluate(
    true: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[Any],
    *,
    lengths: ArrayLike,
    owners: ArrayLike | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    groups: Groups | None = None,
    duplicates: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> ClassificationReport:
    """Compare predicted class probabilities with the true classes.

    Args:
        true: codes of the true classes, (m,), from 0 to K - 1; m counts sequences, or for a
            tagger steps, of which those with a code below 0 are not labelled and not counted.
        probabilities: (m, K); the class with the largest one is predicted, the first of ties.
        classes: K labels, K at least 2.
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,), from 0 to n - 1; None where each sequence has one
            label.
        baselines: name -> probabilities, (m, K); or predicted codes, (m,), for which the metrics
            of probabilities are undefined.
        groups: group of each sequence, (n,), such as its subject: the resamples then draw whole
            groups, because the sequences of one group are not independent.
        duplicates: whether each sequence is also in the training data, (n,); the report is then
            made without these sequences too.
        resamples: bootstrap resamples for the intervals; 0 for none.
        seed: of the resamples.
    Raises: ShapeError where sizes disagree; DataError for invalid codes or probabilities.
    """
    case = Case(lengths, owners, baselines, groups, duplicates, resamples, seed)
    return _evaluate(*case.of_labelled(true, probabilities), classes)


def _evaluate(
    case: Case, true: ArrayLike, probabilities: ArrayLike, classes: Sequence[Any]
) -> ClassificationReport:
    lengths, owners, baselines, groups, duplicates, resamples, seed, unlabelled, places = case
    p = check_probabilities("probabilities", probabilities, len(classes))
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
    resampling = Resampling.of(count, owner_of, groups, resamples, seed)
    answers = {
        name: check_answers(f"baseline {name!r}", values, p.shape)
        for name, values in (baselines or {}).items()
    }
    evidence, predicted = _class_evidence(codes, p), p.argmax(1)
    counted = codes, predicted, num_classes, resampling
    drawn = (resample_classes(*counted) for _ in range(resamples > 0))
    report = ClassificationReport(
        names=tuple(classes),
        count=count,
        steps=None if owner_of is None else m,
        metrics=compute(METRICS["classification"], evidence),
        per_output=metrics_of_outputs(
            "classification", classes, evidence, evidence["counts"].true.tolist()
        ),
        intervals=compute_intervals(METRICS["classification"], drawn, resampling.count),
        baselines=_of_baselines("classification", answers, lambda a: _class_evidence(codes, a)),
        true=codes,
        predicted=predicted,
        lengths=steps_of,
        owners=owner_of,
        groups=resampling.groups,
        unlabelled=unlabelled,
        places=places,
        confusion_matrix=confusion_matrix(codes, predicted, num_classes),
        calibration_bins=evidence["bins"],
        entities=entities_of_steps(classes, codes, predicted, resampling),
        probabilities=p.astype(np.float64),
    )
    decided = {name: a if a.ndim == 1 else a.argmax(1) for name, a in answers.items()}
    if report.entities is not None and resampling.owners is not None:
        labelled = np.bincount(resampling.owners, minlength=count)
        arrays = codes, predicted, decided, labelled
        found = compare_entities(report.names, *arrays, resampling)
        report = dataclasses.replace(report, comparisons={found.metric: found} if found else {})
    return _finish(report, decided, answers, groups, duplicates, resampling, evaluate)


def evaluate_labels(
    true: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[Any],
    *,
    lengths: ArrayLike,
    owners: None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    groups: Groups | None = None,
    duplicates: ArrayLike | None = None,
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
        baselines: name -> probabilities, (n, K).
        groups, duplicates, resamples, seed: as for `evaluate`.
    Raises: ShapeError where sizes disagree; DataError for empty input or an invalid probability.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != len(classes):
        raise ShapeError(f"probabilities have shape {p.shape}; expected (n, {len(classes)})")
    if len(p) == 0:
        raise DataError("nothing to evaluate: there are no predictions")
    p = check_shares("probabilities", p, p.shape, DIVERGED)
    steps_of = np.asarray(lengths, dtype=np.int64)
    y = check_indicator("true", true, p.shape)
    n = len(p)
    if len(steps_of) != n:
        raise ShapeError(f"lengths has {len(steps_of)} sequences but probabilities {n} rows")
    resampling = Resampling.of(n, None, groups, resamples, seed)
    answers = {
        name: check_shares(f"baseline {name!r}", values, p.shape)
        for name, values in (baselines or {}).items()
    }
    predicted = (p > THRESHOLD).astype(np.int64)
    once = np.ones((1, n))

    def evidence(shares: Floats) -> dict[str, Any]:
        return {"counts": LabelCounts.of(y, (shares > THRESHOLD).astype(np.int64), once)}

    labels = ClassCounts(*(a.sum(0).astype(np.float64) for a in (y, predicted, y * predicted)))
    of_each = {"counts": labels, "scores": Scores(y, p)}
    drawn = (
        LabelCounts.of(
            y, predicted, w if resampling.group_of is None else w[:, resampling.group_of]
        )
        for w in resample_weights(resampling)
    )
    report = MultilabelReport(
        names=tuple(classes),
        count=n,
        steps=None,
        metrics=compute(METRICS["multilabel"], evidence(p)),
        per_output=metrics_of_outputs("multilabel", classes, of_each, labels.true.tolist()),
        intervals=compute_intervals(METRICS["multilabel"], drawn, resampling.count),
        baselines=_of_baselines("multilabel", answers, evidence),
        true=y,
        predicted=predicted,
        lengths=steps_of,
        owners=None,
        groups=resampling.groups,
        probabilities=p,
    )
    decided = {name: (a > THRESHOLD).astype(np.int64) for name, a in answers.items()}
    return _finish(report, decided, answers, groups, duplicates, resampling, evaluate_labels)


def evaluate_values(
    true: ArrayLike,
    predicted: ArrayLike,
    names: Sequence[str],
    *,
    lengths: ArrayLike,
    owners: ArrayLike | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    groups: Groups | None = None,
    duplicates: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> RegressionReport:
    """Compare predicted with true numbers.

    Args:
        true, predicted: (m, K), in the target's unit; steps with NaN in `true` are not counted.
        names: names of the K values.
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,); None if each sequence has one target.
        baselines: name -> predicted numbers, (m, K).
        groups, duplicates, resamples, seed: as for `evaluate`.
    Raises: ShapeError where sizes disagree; DataError for empty input or non-finite values.
    """
    case = Case(lengths, owners, baselines, groups, duplicates, resamples, seed)
    return _evaluate_values(*case.of_labelled(true, predicted), names)


def _evaluate_values(
    case: Case, true: ArrayLike, predicted: ArrayLike, names: Sequence[Any]
) -> RegressionReport:
    lengths, owners, baselines, groups, duplicates, resamples, seed, unlabelled, places = case
    y = np.asarray(true, dtype=np.float64)
    if y.ndim != 2 or y.shape[1] != len(names):
        raise ShapeError(f"true has shape {y.shape}; expected (m, {len(names)})")
    if len(y) == 0:
        raise DataError("nothing to evaluate: there are no predictions")
    z = check_numbers("predicted", predicted, y)
    check_numbers("true", y, y)
    steps_of = np.asarray(lengths, dtype=np.int64)
    owner_of = None if owners is None else np.asarray(owners, dtype=np.int64)
    n = len(steps_of)
    if len(y) != (n if owner_of is None else len(owner_of)):
        raise ShapeError(
            f"lengths has {n} sequences but there are {len(y)} predictions; give owners (m,) if a "
            "prediction is a step's"
        )
    resampling = Resampling.of(n, owner_of, groups, resamples, seed)
    answers = {
        name: check_numbers(f"baseline {name!r}", values, y)
        for name, values in (baselines or {}).items()
    }
    units = np.arange(len(y)) if resampling.units is None else resampling.units

    def evidence(numbers: Floats) -> dict[str, Any]:
        sums = ErrorSums.by_unit(y, numbers, np.zeros(len(y), dtype=np.int64), 1)
        return {"counts": sums, "scores": Scores(y, numbers)}

    sums = ErrorSums.by_unit(y, z, units, resampling.count)
    drawn = (sums.resample(weights) for weights in resample_weights(resampling))
    report = RegressionReport(
        names=tuple(names),
        count=n,
        steps=None if owner_of is None else len(y),
        metrics=compute(METRICS["regression"], evidence(z)),
        per_output=metrics_of_outputs("regression", names, evidence(z)),
        intervals=compute_intervals(METRICS["regression"], drawn, resampling.count),
        baselines=_of_baselines("regression", answers, evidence),
        true=y,
        predicted=z,
        lengths=steps_of,
        owners=owner_of,
        groups=resampling.groups,
        unlabelled=unlabelled,
        places=places,
    )
    return _finish(report, answers, answers, groups, duplicates, resampling, evaluate_values)


def _finish(
    report: R,
    decided: Mapping[str, NDArray[Any]],
    answers: Mapping[str, NDArray[Any]],
    groups: Groups | None,
    duplicates: ArrayLike | None,
    resampling: Resampling,
    again: Callable[..., R],
) -> R:
    """Add the comparisons with the best baseline, and the report without repeated sequences.

    Args:
        decided: name -> predictions of a baseline, in the form of `report.predicted`.
        answers: name -> probabilities or values of a baseline, as the caller gave them.
        groups, duplicates: as for `evaluate`.
        again: the function that makes a report of this kind.
    """
    comparisons = dict(report.comparisons)
    for row in METRICS[report.output]:
        if row.name in SUMS and row.name in report.compared:
            title = report.title_of(row)
            arrays = report.true, report.predicted, decided
            if (found := compare(row, title, *arrays, resampling)) is not None:
                interval = report.interval_of(row.name)
                comparisons[row.name] = dataclasses.replace(found, interval=interval)
    report = dataclasses.replace(report, comparisons=comparisons)
    if duplicates is None:
        return report
    keep = ~np.asarray(duplicates, dtype=bool)
    if keep.shape != (report.count,):
        raise ShapeError(f"duplicates has shape {keep.shape}; expected ({report.count},)")
    number = report.count - int(keep.sum())
    rest = None
    if 0 < number < report.count:
        owners = report.owners
        rows = keep if owners is None else keep[owners]
        rest = again(
            report.true[rows],
            report.predictions[rows],
            report.names,
            lengths=report.lengths[keep],
            owners=None if owners is None else (np.cumsum(keep) - 1)[owners[rows]],
            baselines={name: answer[rows] for name, answer in answers.items()},
            groups=None if groups is None else [g for g, k in zip(groups, keep, strict=True) if k],
            resamples=resampling.resamples,
            seed=resampling.seed,
        )
    return dataclasses.replace(report, duplicates=number, without_duplicates=rest)


def _of_baselines(
    output: OutputName,
    answers: Mapping[str, NDArray[Any]],
    evidence: Callable[[NDArray[Any]], Mapping[str, Any]],
) -> dict[str, dict[str, float | None]]:
    """Compute every metric of each baseline, None where its answers do not suffice."""
    return {name: compute(METRICS[output], evidence(a)) for name, a in answers.items()}


def _class_evidence(codes: Ints, answers: NDArray[Any]) -> dict[str, Any]:
    """Inputs of the metrics of classes, given probabilities, (m, K), or counts alone, for codes."""
    if answers.ndim == 1:
        size = int(max(codes.max(), answers.max())) + 1
        return {"counts": ClassCounts.of(confusion_matrix(codes, answers, size))}
    matrix = confusion_matrix(codes, answers.argmax(1), answers.shape[1])
    # The scores keep their type: the log loss clips probabilities at its spacing. The bins are sums
    # over many predictions, in which float32 would lose digits.
    return {
        "counts": ClassCounts.of(matrix),
        "scores": Scores(codes, answers),
        "bins": CalibrationBins.of(codes, answers.astype(np.float64)),
    }
