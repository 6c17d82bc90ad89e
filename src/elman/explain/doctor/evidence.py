"""Evidence about labels from models that have not seen them: cross-validated linear models.

A label is called wrong, or its row misplaced, only on such evidence.

Dimensions: n sequences, m predictions, C channels, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged, flatten, is_target
from elman.evaluate.features import count_tokens, one_hot_categories, summarise_numbers
from elman.explain.doctor.findings import Finding
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.score import LEVEL, p_above_zero
from elman.explain.forms import Floats
from elman.tasks import TASKS

MOST_FITTED = 400  # sequences of a cross-validation
MOST_STEPS = 4000  # steps of a cross-validation with a label at every step
FOLDS = 5
SHIFTS = (1, -1, 2, -2, 3, -3)  # rows, or steps, by which labels may be off
MOST_TOKENS = 300  # the most frequent, in place of all
GAIN = 0.1  # least accuracy that labels gain if they are moved to where they belong


@dataclass(frozen=True)
class Evidence:
    """The features and targets that simple models are cross-validated on.

    Args:
        features: (m, F), one row for each sequence or, with a label at every step, for each step.
        target: (m,) codes, or (m, K).
        owners: the sequence of each row, (m,), an index into `index`.
        index: the sequences, (n,).
    """

    features: Any
    target: NDArray[Any]
    owners: NDArray[np.int64]
    index: NDArray[np.int64]


def shape_features(steps: Ragged) -> Floats:
    """Features of numeric sequences: baselines' statistics, roughness and its relation to spread.

    Args:
        steps: (N, C) numbers.
    Returns: (n, 9 C + 1).
    """
    values = np.nan_to_num(steps.values.astype(np.float64))
    summary = summarise_numbers(steps.with_values(values), np.zeros(values.shape[1]))
    moves = np.zeros_like(values)
    moves[1:] = values[1:] - values[:-1]
    moves[steps.offsets[:-1]] = 0
    count = np.maximum(steps.lengths - 1, 1)[:, None]
    squares = np.add.reduceat(moves**2, steps.offsets[:-1]) / count
    rough = np.sqrt(squares)
    channels = values.shape[1]
    spread = summary[:, channels : 2 * channels]
    return np.hstack([summary, rough, rough / np.maximum(spread, 1e-9)])


def gather(inputs: DiagnosisInput, seed: int) -> Evidence:
    """Features and targets of a run of neighbouring sequences: labels may be off by rows."""
    count = min(len(inputs.examples), MOST_FITTED)
    config, examples = inputs.model.config, inputs.examples
    if config.per_step:
        count = max(FOLDS, min(count, int(MOST_STEPS / max(1.0, float(inputs.lengths.mean())))))
    index = np.arange(min(count, len(examples)))
    steps = examples.inputs.take(index)
    target = examples.target
    chosen = flatten(target.take(index)) if isinstance(target, Ragged) else target[index]
    if config.per_step:
        known = np.flatnonzero(is_target(chosen))
        features = _step_features(inputs, steps)[known]
        return Evidence(features, chosen[known], steps.owners[known], index)
    if config.vocabulary_size:
        features = count_tokens(steps, config.vocabulary_size)
    else:
        features = shape_features(one_hot_categories(steps, len(config.category_sizes)))
    return Evidence(features, chosen, index, index)


def _step_features(inputs: DiagnosisInput, steps: Ragged) -> Any:
    """Features of each step: its own values, and the mean up to it; or its token."""
    config = inputs.model.config
    if config.vocabulary_size:
        from scipy.sparse import csr_matrix

        count = len(steps.values)
        ones, rows = np.ones(count), np.arange(count)
        return csr_matrix((ones, (rows, steps.values)), shape=(count, config.vocabulary_size))
    values = one_hot_categories(steps, len(config.category_sizes)).values.astype(np.float64)
    sums = np.cumsum(values, 0)
    starts = steps.offsets[:-1][steps.owners]
    before = np.where(starts[:, None] > 0, sums[starts - 1], 0.0)
    position = np.arange(len(values)) - starts + 1
    return np.hstack([values, (sums - before) / position[:, None]])


def cross_validate(features: Any, target: Floats, owners: NDArray[np.int64]) -> Floats:
    """Predictions for rows by ridge regressions that were fitted without their sequences.

    Args:
        target: (m, K) numbers; for classes 0 and 1.
    Returns: (m, K).
    """
    x = dense(features)
    target = np.asarray(target, dtype=np.float64)
    predicted = np.zeros_like(target)
    for out in folds(owners):
        predicted[out] = ridge(x[~out], target[~out], x[out])
    return predicted


def folds(owners: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    """Yield the rows, (m,), that each fold leaves out: all rows of its sequences."""
    fold = np.random.default_rng(0).permutation(int(owners.max()) + 1)[owners] % FOLDS
    for number in range(FOLDS):
        out = fold == number
        if out.any() and not out.all():
            yield out


def ridge(known: Floats, target: Floats, new: Floats) -> Floats:
    """Fit a ridge regression to standardised features, and predict new rows."""
    centre, scale = known.mean(0), known.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    x, mean = (known - centre) / scale, target.mean(0)
    # The strength grows with the rows and shrinks with the features that they have to determine.
    strength = 1.0 + 0.1 * x.shape[1]
    if x.shape[1] > len(x):
        weights = x.T @ np.linalg.solve(x @ x.T + strength * np.eye(len(x)), target - mean)
    else:
        weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (target - mean))
    predicted: Floats = np.clip((new - centre) / scale, -1e3, 1e3) @ weights + mean
    return predicted


def dense(features: Any) -> Floats:
    """The features as an array; of sparse counts, the columns of the most frequent tokens."""
    if isinstance(features, np.ndarray):
        array: Floats = features
        return array
    order = np.argsort(-np.asarray(features.sum(0)).ravel(), kind="stable")[:MOST_TOKENS]
    columns: Floats = np.asarray(features[:, order].todense())
    return columns


def one_hot(codes: NDArray[Any]) -> Floats:
    """Class codes, (m,), as columns of 0 and 1."""
    columns: Floats = np.eye(int(codes.max()) + 1)[codes]
    return columns


def _quality(predicted: Floats, target: NDArray[Any]) -> Floats:
    """How good each answer is, against a constant one: (m,), higher is better."""
    from scipy.stats import rankdata

    if target.ndim == 1:
        right: Floats = (predicted.argmax(1) == target).astype(float)
        constant: Floats = (target == np.bincount(target).argmax()).astype(float)
        return right - constant
    ranks = [rankdata(values[:, 0]) / len(values) - 0.5 for values in (predicted, target)]
    product: Floats = 12 * ranks[0] * ranks[1]  # the mean is Spearman's correlation
    return product


def diagnose_match(inputs: DiagnosisInput, evidence: Evidence) -> Iterator[Finding]:
    """Find labels that belong to the rows, or steps, before or after theirs."""
    classes = TASKS[inputs.model.config.task].single_label
    per_step, count = inputs.model.config.per_step, len(evidence.target)
    if count < 40 or (not classes and evidence.target.shape[1] > 1):
        return
    if not is_target(flatten(inputs.examples.target)).all():
        return  # the rows before and after are not those of the labelled steps
    rows, x = np.arange(count), dense(evidence.features)
    numbers = one_hot(evidence.target) if classes else evidence.target
    here = _quality(cross_validate(x, numbers, evidence.owners), evidence.target)
    found = []
    for shift in SHIFTS:
        kept = rows[max(0, -shift) : count - max(0, shift)]
        if per_step:
            kept = kept[evidence.owners[kept] == evidence.owners[kept + shift]]
        if len(kept) < 40:
            continue
        moved = cross_validate(x[kept], numbers[kept + shift], evidence.owners[kept])
        there = _quality(moved, evidence.target[kept + shift])
        gain = there - here[kept]
        if per_step:
            sizes = np.maximum(np.bincount(evidence.owners[kept]), 1)
            gain = np.bincount(evidence.owners[kept], gain) / sizes
        found.append((p_above_zero(gain), float(there.mean() - here[kept].mean()), shift))
    if not found:
        return
    p, gain, shift = min(found, key=lambda each: (each[0], -each[1]))
    if p * len(found) > LEVEL or gain < GAIN:
        return
    unit, noun = ("step", "sequence") if per_step else ("row", "sequence")
    count_of = f"{abs(shift)} {unit}{'s' * (abs(shift) > 1)}"
    side = "later" if shift > 0 else "earlier"
    yield Finding(
        "shifted_tags" if per_step else "labels_shifted",
        "warning",
        f"the labels fit their {noun}s far better if each is taken from {count_of} {side}: "
        f"{'accuracy' if classes else 'rank correlation'} above the constant prediction rises by "
        f"{gain:.2f} in a cross-validated linear model",
        gain,
        GAIN,
        f"Move the labels by {count_of}, so that each stands beside its own {unit}; look for a "
        "header or a join that moved them."
        if not per_step
        else f"If the label of a step should be that of {count_of} {side}, nothing is wrong, and "
        f"the network has to look {'back' if shift < 0 else 'ahead'}; if not, move the labels.",
        "target",
    )
