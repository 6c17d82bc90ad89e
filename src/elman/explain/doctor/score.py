"""The score of a network: whether it has learnt, before anything asks why not.

Four numbers of one metric: the constant answer, the best baseline, the network on the training
part and on the held-out part. Every comparison is decided by a test over sequences.

Dimensions: n sequences, m predictions (one for each sequence, or for each step), K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged, flatten
from elman.evaluate.baselines import Baselines
from elman.evaluate.features import one_hot_categories
from elman.explain.doctor.findings import Score, Verdict
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.learning import Predictions, predict_sample
from elman.explain.forms import Floats
from elman.tasks import TASKS, OutputName

LEVEL = 0.01  # of every test here; a family of tests is corrected by Holm's method
SKILL = 0.05  # share of the constant answer's loss that a network which has learnt removes at least
LOST = 0.5  # share of the training part's skill that an overfitting network lacks on new sequences
EXCELLENT = 0.95  # skill above which a network that only equals its baseline is no concern
MOST_FITTED = 2000  # sequences that baselines are fitted on
FEWEST = 8  # sequences below which no test is made


@dataclass(frozen=True)
class Rule:
    """How one type of output is scored; a row of `RULES`.

    Args:
        metric, better: as in `Score`.
        losses: each prediction's loss, (m,), from decided answers and targets, both (m,) or (m, K).
        decide: turns outputs, (m, K), into answers.
        agreement: how far each prediction goes with its target, (m,): its mean is 0 if predictions
            and targets are independent.
        value: turns a mean loss into the metric.
    """

    metric: str
    better: Literal["higher", "lower"]
    losses: Callable[[NDArray[Any], NDArray[Any]], Floats]
    decide: Callable[[Floats], NDArray[Any]]
    agreement: Callable[[Floats, NDArray[Any]], Floats]
    value: Callable[[float], float]


def softmax(outputs: Floats) -> Floats:
    """Probabilities of the classes, (m, K)."""
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    probabilities: Floats = powers / powers.sum(1, keepdims=True)
    return probabilities


def _class_agreement(outputs: Floats, target: NDArray[Any]) -> Floats:
    p = softmax(outputs)
    shares = np.bincount(target, minlength=p.shape[1]) / len(target)
    agreement: Floats = p[np.arange(len(p)), target] - p @ shares
    return agreement


def _label_agreement(outputs: Floats, target: NDArray[Any]) -> Floats:
    p = 1 / (1 + np.exp(-np.clip(outputs, -60, 60)))
    agreement: Floats = ((p - p.mean(0)) * (target - target.mean(0))).mean(1)
    return agreement


def _value_agreement(outputs: Floats, target: NDArray[Any]) -> Floats:
    from scipy.stats import rankdata

    # Ranks, because a single extreme value would decide a product of deviations.
    ranks = [rankdata(values, axis=0) / len(values) - 0.5 for values in (outputs, target)]
    agreement: Floats = (ranks[0] * ranks[1]).mean(1)
    return agreement


RULES: dict[OutputName, Rule] = {
    "classification": Rule(
        "accuracy",
        "higher",
        lambda answers, target: (answers != target).astype(np.float64),
        lambda outputs: outputs.argmax(1),
        _class_agreement,
        lambda loss: 1 - loss,
    ),
    "multilabel": Rule(
        "accuracy per label",
        "higher",
        lambda answers, target: (answers != target).mean(1),
        lambda outputs: (outputs > 0).astype(np.int64),
        _label_agreement,
        lambda loss: 1 - loss,
    ),
    "regression": Rule(
        "RMSE",
        "lower",
        lambda answers, target: ((answers - target) ** 2).mean(1),
        lambda outputs: outputs,
        _value_agreement,
        math.sqrt,
    ),
}


@dataclass(frozen=True)
class PartScore:
    """The answers on one part of the data, by sequence.

    Args:
        loss, constant: mean loss of the network, and of the constant answer, by sequence, (n,).
        baselines: the same of each baseline, by name.
        agreement: mean agreement of predictions and targets by sequence, (n,).
        skill: share of the constant answer's training loss function that the network removes.
    """

    loss: Floats
    constant: Floats
    baselines: dict[str, Floats]
    agreement: Floats
    skill: float

    @property
    def learnt(self) -> bool:
        """Whether the answers go with the targets, and are better than a constant answer."""
        if not is_above_zero(self.agreement):
            return False
        return is_above_zero(self.constant - self.loss) or self.skill > SKILL

    @property
    def removed(self) -> float:
        """Share of the constant answer's errors that the network does not make."""
        constant = float(self.constant.mean())
        return 1 - float(self.loss.mean()) / constant if constant > 0 else 0.0

    @property
    def best(self) -> str:
        """Name of the best baseline; empty if there is none."""
        return min(self.baselines, key=lambda name: float(self.baselines[name].mean()), default="")


def is_above_zero(values: Floats, level: float = LEVEL) -> bool:
    """Whether the mean of independent values is above 0, by a one-sided t-test."""
    return p_above_zero(values) < level


def p_above_zero(values: Floats) -> float:
    """The p-value of a one-sided t-test that the mean of (n,) values is above 0."""
    from scipy.stats import t

    if len(values) < FEWEST:
        return 1.0
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    if deviation < 1e-12:
        return 0.0 if mean > 1e-9 else 1.0
    return float(t.sf(mean / deviation * math.sqrt(len(values)), len(values) - 1))


def is_worse(held_out: Floats, training: Floats, level: float = LEVEL) -> bool:
    """Whether the held-out losses are higher than those of training, by Welch's t-test."""
    from scipy.stats import t

    if min(len(held_out), len(training)) < FEWEST:
        return False
    variances = [v.var(ddof=1) / len(v) for v in (held_out, training)]
    more = float(held_out.mean() - training.mean())
    if sum(variances) < 1e-18:
        return more > 1e-9
    freedom = sum(variances) ** 2 / sum(
        v**2 / (len(part) - 1) for v, part in zip(variances, (held_out, training), strict=True)
    )
    return bool(t.sf(more / math.sqrt(sum(variances)), freedom) < level)


def fit_baselines(inputs: DiagnosisInput, index: NDArray[np.int64]) -> Baselines:
    """Baselines fitted on the sequences at `index`."""
    config, target = inputs.model.config, inputs.examples.target
    selected = target.take(index) if isinstance(target, Ragged) else target[index]
    return Baselines.from_training(
        _features(inputs, index),
        flatten(selected),
        config.num_outputs,
        vocabulary_size=config.vocabulary_size or None,
        per_step=config.per_step,
        task=config.task,
    )


def _features(inputs: DiagnosisInput, index: NDArray[np.int64]) -> Ragged:
    steps = inputs.examples.inputs.take(index)
    return one_hot_categories(steps, len(inputs.model.config.category_sizes))


def score_part(
    inputs: DiagnosisInput,
    predictions: Predictions,
    index: NDArray[np.int64],
    baselines: Baselines | None,
    constant: NDArray[Any],
) -> PartScore:
    """Score the predictions of the sequences at `index`, beside those of constant and baselines.

    Args:
        constant: the constant answer, () or (K,).
    """
    rule = RULES[inputs.model.config.task]
    target, owners = predictions.target, predictions.owners
    count = np.bincount(owners, minlength=len(index))
    present = count > 0

    def by_sequence(values: Floats) -> Floats:
        mean: Floats = np.bincount(owners, values, len(index))[present] / count[present]
        return mean

    answers = {} if baselines is None else _baseline_answers(inputs, predictions, index, baselines)
    return PartScore(
        by_sequence(rule.losses(rule.decide(predictions.outputs), target)),
        by_sequence(rule.losses(np.broadcast_to(constant, target.shape), target)),
        {name: by_sequence(rule.losses(each, target)) for name, each in answers.items()},
        by_sequence(rule.agreement(predictions.outputs, target)),
        predictions.skill or 0.0,
    )


def _baseline_answers(
    inputs: DiagnosisInput,
    predictions: Predictions,
    index: NDArray[np.int64],
    baselines: Baselines,
) -> dict[str, NDArray[Any]]:
    """Answers of the baselines by name, in the order of the predictions, (m,) or (m, K)."""
    steps = _features(inputs, index)
    place = predictions.owners
    if inputs.model.config.per_step:
        place = steps.offsets[:-1][predictions.owners] + predictions.steps - 1
    # The first is the constant answer, which is scored for itself.
    named = list(baselines.decide(steps).items())[1:]
    return {name: answers[place] for name, answers in named}


def constant_answer(inputs: DiagnosisInput, predictions: Predictions) -> NDArray[Any]:
    """The constant answer with the lowest loss on the training part: () or (K,)."""
    target = predictions.target
    if TASKS[inputs.model.config.task].single_label:
        return np.asarray(np.bincount(target).argmax())
    mean: NDArray[Any] = target.mean(0)
    return (mean > 0.5).astype(np.int64) if TASKS[inputs.model.config.task].has_classes else mean


def judge_network(
    inputs: DiagnosisInput,
    predictions: Predictions,
    index: NDArray[np.int64],
    held_out: DiagnosisInput | None,
    sequences: int,
    seed: int,
) -> Score:
    """Score a network on the training part and, if it has labels, on the held-out part."""
    baselines = fit_baselines(inputs, inputs.sample(MOST_FITTED, seed))
    constant = constant_answer(inputs, predictions)
    training = score_part(inputs, predictions, index, baselines, constant)
    other = None
    if held_out is not None and held_out.labelled:
        rows = held_out.sample(sequences, seed)
        predicted = predict_sample(held_out, rows)
        other = score_part(held_out, predicted, rows, baselines, constant)
    verdict = judge(training, other, differs=False)
    return describe(inputs, training, other, verdict, name_constant(inputs, constant))


def name_constant(inputs: DiagnosisInput, constant: NDArray[Any]) -> str:
    """The constant answer in words."""
    if TASKS[inputs.model.config.task].single_label:
        return repr(inputs.classes[int(constant)])
    if TASKS[inputs.model.config.task].has_classes:
        return f"({int(constant.sum())} of {len(constant)} labels)"
    return "(the mean)"


def judge(training: PartScore, held_out: PartScore | None, *, differs: bool) -> Verdict:
    """The verdict over two parts.

    Args:
        differs: whether the sequences or labels of the held-out part are known to be different.
    """
    part = held_out if held_out is not None else training
    if not training.learnt:
        return "learnt nothing"
    if held_out is not None and is_worse(held_out.loss, training.loss):
        lost = 1 - max(0.0, held_out.removed) / max(training.removed, 1e-9)
        if differs:
            return "held-out data differ"
        if lost > LOST or not held_out.learnt:
            return "overfits"
    if (best := part.best) and part.removed < EXCELLENT:
        # Without a held-out part the network answers sequences it was trained on, as the baselines
        # do; there only a baseline that is better tells something.
        if is_above_zero(part.loss - part.baselines[best]):
            return "does not beat the baseline"
        if held_out is not None and not is_above_zero(part.baselines[best] - part.loss, 0.025):
            return "does not beat the baseline"
    return "fine"


def describe(
    inputs: DiagnosisInput,
    training: PartScore,
    held_out: PartScore | None,
    verdict: Verdict,
    constant: str,
) -> Score:
    """The score with its sentence.

    Args:
        constant: the constant answer in words.
    """
    rule = RULES[inputs.model.config.task]
    part = held_out if held_out is not None else training
    unit = float(inputs.unit[0]) if rule.better == "lower" and len(inputs.unit) == 1 else 1.0

    def value(losses: Floats) -> float:
        return unit * rule.value(float(losses.mean()))

    numbers = Score(
        rule.metric,
        rule.better,
        value(part.constant),
        part.best,
        value(part.baselines[part.best]) if part.best else math.nan,
        value(training.loss),
        None if held_out is None else value(held_out.loss),
        verdict,
        "",
    )
    return Score(**{**vars(numbers), "sentence": _sentence(numbers, constant)})


def _sentence(score: Score, constant: str) -> str:
    metric, reference = score.metric, _text(score, score.reference)
    known = f"an {metric} of {_text(score, score.training)} on the training part"
    new = ""
    if score.held_out is not None:
        new = f"{_text(score, score.held_out)} on the held-out part"
    both = f"{known} and {new}" if new else known
    simple = f"The constant answer {constant} has {_text(score, score.constant)}"
    if score.baseline:
        simple += f", the best baseline ({score.baseline}) {reference}"
    where = " there." if new else "."
    if score.verdict == "learnt nothing":
        return f"The network has learnt nothing: it has {both}. {simple}{where}"
    if score.verdict == "overfits":
        return f"The network overfits: it has {known}, but {new}. {simple}{where}"
    if score.verdict == "held-out data differ":
        return (
            f"The held-out data differ from the training data: the network has {known}, but {new}. "
            f"{simple}{where}"
        )
    if score.verdict == "does not beat the baseline":
        return f"The network does not beat the baseline: it has {both}. {simple}{where}"
    more = "" if new else " No held-out part was given, so new sequences may be answered worse."
    return f"The network has learnt: it has {both}. {simple}{where}{more}"


def _text(score: Score, value: float) -> str:
    if score.better == "lower":
        return f"{value:.3g}"
    # Not rounded up to 1: that would say that there are no errors.
    return f"{min(value, 0.999):.3f}" if 0.9995 <= value < 1 else f"{value:.3g}"
