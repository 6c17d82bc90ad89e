"""The score of a network: whether it has learnt, before anything asks why not.

Four numbers of one metric: the constant prediction, the best baseline, the network on the training
part and on the held-out split. Every comparison is decided by a test over sequences.

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
from elman.evaluate.comparison import Comparison, compare
from elman.evaluate.features import one_hot_categories
from elman.evaluate.metrics import METRICS
from elman.evaluate.resampling import Resampling
from elman.explain.doctor.findings import Score, Verdict
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.learning import Predictions
from elman.explain.forms import Floats
from elman.tasks import TASKS, OutputName

RESAMPLES = 1000  # of the paired bootstrap against the best baseline
LEVEL = 0.01  # of every test here; a family of tests is corrected by Holm's method
FEW = 20  # sequences of a training split too small to show that nothing was learnt
SKILL = (
    0.05  # share of the constant prediction's loss that a network which has learnt removes at least
)
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
        compared: the metric of `elman.evaluate` by which network and baseline are compared.
    """

    metric: str
    better: Literal["higher", "lower"]
    losses: Callable[[NDArray[Any], NDArray[Any]], Floats]
    decide: Callable[[Floats], NDArray[Any]]
    agreement: Callable[[Floats, NDArray[Any]], Floats]
    value: Callable[[float], float]
    compared: str


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
        "accuracy",
    ),
    "multilabel": Rule(
        "accuracy per label",
        "higher",
        lambda answers, target: (answers != target).mean(1),
        lambda outputs: (outputs > 0).astype(np.int64),
        _label_agreement,
        lambda loss: 1 - loss,
        "micro_f1",
    ),
    "regression": Rule(
        "RMSE",
        "lower",
        lambda answers, target: ((answers - target) ** 2).mean(1),
        lambda outputs: outputs,
        _value_agreement,
        math.sqrt,
        "rmse",
    ),
}


@dataclass(frozen=True)
class PartScore:
    """The answers on one part of the data, by sequence.

    Args:
        loss, constant: mean loss of the network, and of the constant prediction, by sequence, (n,).
        baselines: the same of each baseline, by name.
        agreement: mean agreement of predictions and targets by sequence, (n,).
        sizes: number of predictions of each sequence, (n,).
        comparison: the network beside the best baseline; None without baselines.
        skill: share of the constant prediction's training loss function that the network removes.
    """

    loss: Floats
    constant: Floats
    baselines: dict[str, Floats]
    agreement: Floats
    skill: float
    sizes: Floats
    comparison: Comparison | None = None

    @property
    def learnt(self) -> bool:
        """Whether the answers go with the targets, and are better than a constant prediction."""
        if not is_above_zero(self.agreement):
            return False
        return is_above_zero(self.constant - self.loss) or self.skill > SKILL

    @property
    def removed(self) -> float:
        """Share of the constant prediction's errors that the network does not make."""
        constant = float(self.constant.mean())
        return 1 - float(self.loss.mean()) / constant if constant > 0 else 0.0

    @property
    def best(self) -> str:
        """Name of the best baseline; empty if there is none."""
        return "" if self.comparison is None else self.comparison.baseline


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
        constant: the constant prediction, () or (K,).
    """
    rule = RULES[inputs.model.config.task]
    target, owners = predictions.target, predictions.owners
    count = np.bincount(owners, minlength=len(index))
    present = count > 0

    def by_sequence(values: Floats) -> Floats:
        mean: Floats = np.bincount(owners, values, len(index))[present] / count[present]
        return mean

    answers = {} if baselines is None else _baseline_answers(inputs, predictions, index, baselines)
    answered = rule.decide(predictions.outputs)
    row = next(r for r in METRICS[inputs.model.config.task] if r.name == rule.compared)
    shown = owners if inputs.model.config.per_step else None
    drawn = Resampling.of(len(index), shown, None, RESAMPLES, 0)
    comparison = compare(row, row.title, target, answered, answers, drawn)
    return PartScore(
        by_sequence(rule.losses(answered, target)),
        by_sequence(rule.losses(np.broadcast_to(constant, target.shape), target)),
        {name: by_sequence(rule.losses(each, target)) for name, each in answers.items()},
        by_sequence(rule.agreement(predictions.outputs, target)),
        predictions.skill or 0.0,
        count[present].astype(np.float64),
        comparison,
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
    # The first is the constant prediction, which is scored for itself.
    named = list(baselines.decide(steps).items())[1:]
    if not TASKS[inputs.model.config.task].has_classes and inputs.baselines is not None:
        # Those of an estimator were fitted on targets in their own unit.
        named = [(name, (answers - inputs.centre) / inputs.unit) for name, answers in named]
    return {name: answers[place] for name, answers in named}


def constant_answer(inputs: DiagnosisInput, predictions: Predictions) -> NDArray[Any]:
    """The constant prediction with the lowest loss on the training split: () or (K,)."""
    target = predictions.target
    if TASKS[inputs.model.config.task].single_label:
        return np.asarray(np.bincount(target).argmax())
    mean: NDArray[Any] = target.mean(0)
    return (mean > 0.5).astype(np.int64) if TASKS[inputs.model.config.task].has_classes else mean


def name_constant(inputs: DiagnosisInput, constant: NDArray[Any]) -> str:
    """The constant prediction in words."""
    if TASKS[inputs.model.config.task].single_label:
        return repr(inputs.classes[int(constant)])
    if TASKS[inputs.model.config.task].has_classes:
        return f"({int(constant.sum())} of {len(constant)} labels)"
    return "(the mean)"


def describe(
    inputs: DiagnosisInput,
    training: PartScore,
    held_out: PartScore | None,
    verdict: Verdict,
    constant: str,
) -> Score:
    """The score with its sentence.

    Args:
        constant: the constant prediction in words.
    """
    rule = RULES[inputs.model.config.task]
    part = held_out if held_out is not None else training
    unit = float(inputs.unit[0]) if rule.better == "lower" and len(inputs.unit) == 1 else 1.0

    def value(losses: Floats, of: PartScore = part) -> float:
        return unit * rule.value(float(np.average(losses, weights=of.sizes)))

    numbers = Score(
        rule.metric,
        rule.better,
        value(part.constant),
        part.best,
        _reference(part, value),
        value(training.loss, training),
        None if held_out is None else value(held_out.loss),
        verdict,
        "",
    )
    # A handful of right answers proves nothing, but is not evidence of the contrary either.
    gain = float((training.constant - training.loss).mean())
    begin, joined = VERDICT_SENTENCES[verdict]
    if verdict == "learnt nothing" and len(training.loss) < FEW and gain > 0:
        begin = "There are too few sequences to tell whether the network has learnt: it has"
    sentence = _sentence(numbers, constant, part.comparison, begin, joined)
    return Score(**{**vars(numbers), "sentence": sentence})


def _reference(part: PartScore, value: Callable[[Floats], float]) -> float:
    """The metric of the best baseline; NaN without baselines."""
    if part.comparison is None:
        return math.nan
    # A report may have compared with a baseline that was not fitted here.
    own = part.baselines.get(part.best)
    return part.comparison.reference if own is None else value(own)


def _sentence(
    score: Score, constant: str, comparison: Comparison | None, begin: str, joined: str
) -> str:
    # A comparison by another metric, in another unit or on more sequences has other numbers.
    same = (
        comparison is not None
        and score.held_out is not None
        and np.allclose(
            (comparison.network, comparison.reference), (score.held_out, score.reference)
        )
    )

    def write(value: float) -> str:
        return comparison.write(value) if same and comparison else _text(score, value)

    known = f"an {score.metric} of {write(score.training)} on the training split"
    held_out, reference = score.held_out, score.reference
    if same and comparison:  # the same numbers, rounded alike
        held_out, reference = comparison.network, comparison.reference
    new = "" if held_out is None else f"{write(held_out)} on the held-out split"
    simple = f"the constant prediction {constant} has {write(score.constant)}"
    if score.baseline and comparison is not None:
        margin = f"; {comparison.margin}" if same and comparison.verdict != "better" else ""
        compared = f"{comparison.phrase} ({write(reference)}{margin})"
        simple = f"{'There it' if new else 'It'} is {compared}; {simple}"
    else:
        simple = simple[0].upper() + simple[1:]
    more = ""
    if not new and score.verdict == "fine":
        more = " No held-out split was given, so new sequences may be predicted worse."
    return f"{begin} {known}{f'{joined} {new}' if new else ''}. {simple}.{more}"


# Beginning of the sentence, and what joins the training and the held-out split, by verdict.
VERDICT_SENTENCES: dict[Verdict, tuple[str, str]] = {
    "fine": ("The network has learnt: it has", " and"),
    "learnt nothing": ("The network has learnt nothing: it has", " and"),
    "does not beat the baseline": ("The network does not beat the baseline: it has", " and"),
    "overfits": ("The network overfits: it has", ", but"),
    "held-out data differ": (
        "The held-out data differ from the training data: the network has",
        ", but",
    ),
}


def _text(score: Score, value: float) -> str:
    if score.better == "lower":
        return f"{value:.3g}"
    # Not rounded up to 1: that would say that there are no errors.
    return f"{min(value, 0.999) if value < 1 else value:.3f}"
