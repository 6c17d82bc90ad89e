"""What is wrong with labels as they are: conflicts, rare classes, numbers read as classes, skew.

Dimensions: n sequences, m predictions, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from elman.data.ragged import Ragged, flatten, is_target
from elman.explain.doctor.evidence import FOLDS, MOST_FITTED, cross_validate, gather
from elman.explain.doctor.findings import Finding
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.learning import Predictions
from elman.explain.doctor.score import LEVEL, softmax
from elman.explain.forms import Floats
from elman.tasks import TASKS

FEW = 10  # examples of a class below which it is rare
RECALL = 0.5
FREQUENT = 2.0  # how often a class occurs, relative to one that it outweighs
RARE = 0.15  # share of a class that is outweighed by the others
CONFLICTS = 0.02  # share of sequences whose label contradicts that of an equal sequence
NUMERIC = 6  # least classes that may be numbers
NEAR = 0.5  # rank correlation of numeric classes and predictions
SKEWED = 2.0  # skewness of a target that is better predicted by its logarithm
TELLS = 0.95  # accuracy from the length alone
OUTLIER = 20.0  # distance of a target from the median, in robust deviations


def diagnose_targets(inputs: DiagnosisInput, predictions: Predictions) -> Iterator[Finding]:
    """Look for conflicts, rare classes, numbers read as classes, and skewed values.

    Args:
        predictions: of the held-out split if there is one with labels, else of the training split.
    """
    task = TASKS[inputs.model.config.task]
    if not task.has_classes:
        yield from _diagnose_skew(inputs)
    elif task.single_label:
        yield from _diagnose_rare(inputs, predictions)
        yield from _diagnose_numeric(inputs, predictions)
    yield from _diagnose_conflicts(inputs)
    yield from _diagnose_length(inputs)
    yield from _diagnose_telling_channel(inputs)


def _diagnose_conflicts(inputs: DiagnosisInput) -> Iterator[Finding]:
    target = inputs.examples.target
    if not is_target(flatten(target)).all():
        return  # copies of a sequence may be labelled at other steps
    pair: tuple[int, int] | None = None
    conflicting: list[int] = []
    members: dict[bytes, list[int]] = {}
    for i, content in enumerate(inputs.examples.inputs.contents()):
        members.setdefault(content, []).append(i)
    for group in members.values():
        labels = [np.asarray(target[i]).tobytes() for i in group]
        if len(set(labels)) > 1:
            conflicting += group
            other = next(i for i, label in enumerate(labels) if label != labels[0])
            pair = pair or (group[0], group[other])
    share = len(conflicting) / len(inputs.examples)
    # With few different sequences, such as of three bits, labels that depend on chance conflict.
    usual = len(members) < 0.5 * len(inputs.examples)
    if pair is None or share < CONFLICTS or len(conflicting) < 4 or usual:
        return
    a, b = (inputs.name_sequence(int(inputs.places[i])) for i in pair)
    yield Finding(
        "conflicting_labels",
        "warning",
        f"{len(conflicting)} of {len(inputs.examples)} sequences occur more than once, with "
        f"different labels: sequences {a} and {b}, for example, are equal. No network can be right "
        "on all of them",
        share,
        CONFLICTS,
        "Decide which label is right, or leave these sequences out. If both may be, the input "
        "lacks "
        "what makes the difference.",
        "target",
        sequences=tuple(inputs.places[np.sort(conflicting)].tolist()),
    )


def _diagnose_rare(inputs: DiagnosisInput, predictions: Predictions) -> Iterator[Finding]:
    """Find classes with few examples, or outweighed by others, that are hardly ever recognised."""
    from scipy.stats import binom

    known = flatten(inputs.examples.target)
    counts = np.bincount(known[known >= 0], minlength=len(inputs.classes))
    answers, target = predictions.outputs.argmax(1), predictions.target
    present = np.flatnonzero(counts)
    rare, outweighed = [], []
    for k in present if len(present) > 1 else ():
        asked, right = int((target == k).sum()), int(((target == k) & (answers == k)).sum())
        share = counts[k] / counts.sum()
        if counts[k] < FEW and share < 0.5 / len(present):
            if right <= RECALL * asked:
                rare.append((k, asked, right))
        elif share < min(RARE, 0.75 / len(present)) and asked >= 3:
            others = float((answers == target)[target != k].mean())
            # Recognised less often than the others, by more than chance, and taken for one of
            # the frequent classes: what is taken for equally rare ones is not outweighed.
            misses = answers[(target == k) & (answers != k)]
            frequent = (counts[misses] > FREQUENT * counts[k]).sum() >= 0.5 * (asked - right)
            if right < RECALL * asked and frequent and binom.cdf(right, asked, others) < LEVEL:
                outweighed.append((k, asked, right))
    weighted = inputs.option("class_weight") is not None
    if outweighed:
        k, asked, right = min(outweighed, key=lambda each: each[2] / each[1])
        share, most = counts[k] / counts.sum(), int(counts.argmax())
        yield Finding(
            "unbalanced_classes",
            "warning",
            f"class {inputs.classes[k]!r} has {counts[k]:,} of {counts.sum():,} labels "
            f"({share:.1%}), {inputs.classes[most]!r} has {counts[most] / counts.sum():.1%}; of "
            f"{asked} with the rare label {right} are recognised",
            float(share),
            RARE,
            "Collect more of the rare class: it has its weight already (class_weight)."
            if weighted
            else "Give rare classes more weight: class_weight 'balanced'. Judge the network by "
            "balanced accuracy and not by accuracy.",
            "class_weight",
        )
    if rare:
        names = ", ".join(f"{inputs.classes[k]!r} ({counts[k]})" for k, *_ in rare[:5])
        yield Finding(
            "rare_classes",
            "warning",
            f"{len(rare)} of {len(present)} classes have fewer than {FEW} examples and are hardly "
            f"ever recognised: {names}",
            float(min(counts[k] for k, *_ in rare)),
            FEW,
            "Collect more examples of them, merge them with others, or leave them out"
            + ("." if weighted else "; class_weight 'balanced' helps a little."),
            "class_weight",
        )


def _diagnose_numeric(inputs: DiagnosisInput, predictions: Predictions) -> Iterator[Finding]:
    """Find classes that are numbers, where errors are near misses."""
    from scipy.stats import spearmanr

    names = inputs.classes
    if len(names) < NUMERIC or not all(_is_number(name) for name in names):
        return
    values = np.array([float(name) for name in names])
    target, p = predictions.target, softmax(predictions.outputs)
    accuracy = float((p.argmax(1) == target).mean())
    if accuracy > 0.6 or len(target) < 20:
        return
    expected = p @ values
    correlation, chance = spearmanr(expected, values[target])
    if not correlation > NEAR:
        # A network that has learnt nothing has no near misses; a linear model may.
        evidence = gather(inputs, 0)
        if evidence.features.shape[0] < 20:
            return
        numbers = values[evidence.target][:, None]
        guess = cross_validate(evidence.features, numbers, evidence.owners)
        correlation, chance = spearmanr(guess[:, 0], numbers[:, 0])
    if correlation > NEAR and chance < LEVEL / 10:
        yield Finding(
            "numeric_classes",
            "warning",
            f"the {len(names)} classes are numbers, from {values.min():g} to {values.max():g}, and "
            f"what is predicted rises with them (rank correlation {correlation:.2f}), yet each is "
            "learnt as a class that has nothing to do with its neighbours",
            float(correlation),
            NEAR,
            "Predict them as numbers: task 'regression', in Python SequenceRegressor.",
            "task",
        )


def _is_number(name: Any) -> bool:
    try:
        return bool(np.isfinite(float(name))) and not isinstance(name, bool | np.bool_)
    except (TypeError, ValueError):
        return False


def _diagnose_skew(inputs: DiagnosisInput) -> Iterator[Finding]:
    """Find positive targets over several orders of magnitude, and single extreme targets."""
    from scipy.stats import skew

    target = flatten(inputs.examples.target).astype(np.float64) * inputs.unit + inputs.centre
    known = np.flatnonzero(is_target(target))
    target = target[known]
    for k in range(target.shape[1]):
        values = target[:, k]
        if len(values) < 20 or values.std() == 0:
            continue
        lopsided = float(skew(values))
        if values.min() > 0 and lopsided > SKEWED and abs(skew(np.log(values))) < lopsided / 2:
            yield Finding(
                "skewed_target",
                "warning",
                f"the target values lie between {values.min():.3g} and {values.max():.3g}, half of "
                f"them below {np.median(values):.3g}: the squared error is decided by the few "
                "largest",
                lopsided,
                SKEWED,
                "Take logarithms: train on numpy.log(y), and predict with numpy.exp.",
                "target",
            )
            continue
        middle = np.median(values)
        spread = 1.4826 * float(np.median(np.abs(values - middle)))
        far = np.abs(values - middle) > OUTLIER * spread
        if spread > 0 and 0 < far.mean() < 0.05:
            robust = inputs.loss.name in ("huber", "absolute")
            owners = inputs.examples.target
            rows = owners.owners[known[far]] if isinstance(owners, Ragged) else known[far]
            yield Finding(
                "target_outliers",
                "warning",
                f"{int(far.sum())} of {len(values)} target values lie more than {OUTLIER:g} "
                "typical "
                f"deviations from the median {middle:.3g}, up to "
                f"{values[np.abs(values - middle).argmax()]:.3g}: they decide the squared error",
                float(np.abs(values - middle).max() / spread),
                OUTLIER,
                "Check these values, and leave them out if they are wrong"
                + ("." if robust else "; loss 'huber' or 'absolute' gives them less weight."),
                "target" if robust else "loss",
                sequences=tuple(dict.fromkeys(inputs.places[rows].tolist())),
            )


def _diagnose_length(inputs: DiagnosisInput) -> Iterator[Finding]:
    """Find labels that the length of a sequence tells."""
    lengths = inputs.lengths[:MOST_FITTED]
    if inputs.model.config.per_step or len(np.unique(lengths)) < 2 or len(lengths) < 20:
        return
    share = _share_told(lengths[:, None].astype(float), inputs)
    if share > TELLS:
        yield Finding(
            "label_is_length",
            "warning",
            "the number of steps alone tells the label: a tree that sees nothing else is right "
            f"on {share:.1%} of the sequences that it was not fitted on"
            if TASKS[inputs.model.config.task].has_classes
            else "the number of steps alone tells the target: a tree that sees nothing else "
            f"explains {share:.1%} of its variance",
            share,
            TELLS,
            "If the length follows from how the data were cut, cut all sequences alike (window). "
            "If "
            "it is known when predicting, a table of lengths does what this network does.",
            "window",
        )


def _share_told(feature: Floats, inputs: DiagnosisInput) -> float:
    """Share of labels that a small tree tells from one feature, cross-validated; 0 by chance."""
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    task, target = TASKS[inputs.model.config.task], inputs.examples.target
    assert not isinstance(target, Ragged)
    y = target[: len(feature)]
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    if task.single_label:
        tree = DecisionTreeClassifier(min_samples_leaf=3, random_state=0)
        right = cross_val_predict(tree, feature, y, cv=folds) == y
        constant = float(np.bincount(y).max() / len(y))
        # Only where a constant prediction is much worse.
        return float(right.mean()) if right.mean() - constant > 0.5 * (1 - constant) else 0.0
    if task.has_classes or y.shape[1] > 1:
        return 0.0
    tree = DecisionTreeRegressor(min_samples_leaf=3, random_state=0)
    guess = cross_val_predict(tree, feature, y[:, 0], cv=folds)
    return 1 - float(((guess - y[:, 0]) ** 2).mean() / max(y[:, 0].var(), 1e-12))


def _diagnose_telling_channel(inputs: DiagnosisInput) -> Iterator[Finding]:
    """Find a channel that is constant within each sequence and holds the label."""
    raw, config = inputs.raw, inputs.model.config
    if raw is None or config.per_step or len(raw) < 20 or raw.values.shape[1] < 2:
        return
    values, starts = np.nan_to_num(raw.values), raw.offsets[:-1]
    still = np.maximum.reduceat(values, starts) == np.minimum.reduceat(values, starts)
    for c in np.flatnonzero(still.all(0) & (raw.lengths > 1).any() & (np.ptp(values, axis=0) > 0)):
        share = _share_told(values[starts][:MOST_FITTED, c : c + 1], inputs)
        if share > 0.99:
            yield Finding(
                "label_in_input",
                "warning",
                f"{inputs.channels[c]} is the same at all steps of a sequence, and alone "
                "it "
                f"tells the label ({share:.0%}): it looks like the label itself",
                share,
                0.99,
                "Leave it out of the values, unless it is known when predicting.",
                "values",
                units=(int(c),),
            )
