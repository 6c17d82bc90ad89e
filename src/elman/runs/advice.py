"""The last lines of a run: whether the network beats its best baseline, and else what to try."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from elman.data.ragged import flatten, is_target
from elman.estimators import Prepared
from elman.evaluate import Report
from elman.evaluate.comparison import LEAST_UNITS, Comparison
from elman.evaluate.text import format_share, plural
from elman.explain import Diagnosis
from elman.runs.config import RunSettings
from elman.tasks import TASKS
from elman.train import History
from elman.train.losses import Loss

WIDTH = 80
MOST = 3  # suggestions besides the baseline itself; more would not be tried
STILL_FALLING = 0.1  # share by which the training loss falls over the last quarter of the epochs
GAP = 0.1  # between the training and the test split, as a share
RATIO = 1.5  # between the errors on the test and the training split
FITTED = 0.97  # share on the training split that counts as fitted
LEARNT = 0.02  # share above the constant prediction that counts as learnt
PERFECT = 0.99  # share at which network and baseline leave nothing to compare
FEW = 1000  # training sequences
FEW_STEPS = 1000  # of the optimizer; with fewer, a network has often not begun to learn
LEAST_REST = 20  # test sequences that are not in the training split too
HARDER = (
    "harder or more test data: network and baseline make almost no errors on these, so nothing "
    "tells them apart"
)
DIVERGED = 1.5  # times the loss of an untrained network
MOST_TIMES = 50  # a difference that takes more than so many times the test split is not promised
OTHER_TARGET = (
    "another target (--target): this one has the same value in every sequence, so a constant "
    "prediction is exact and there is nothing to learn"
)


@dataclass(frozen=True)
class Situation:
    """All that a suggestion depends on.

    Args:
        report: report on the test split.
        training: report on the training split.
        history: history of the training.
        settings: settings of the run, with all defaults filled in.
    """

    report: Report
    training: Report
    history: History
    settings: RunSettings

    @property
    def comparison(self) -> Comparison:
        """The network and its best baseline, without duplicates if there are some."""
        found = self.judged.comparison
        assert found is not None  # every estimator has baselines
        return found

    @property
    def judged(self) -> Report:
        """The report without duplicates, unless it has too few sequences to say anything."""
        rest = self.report.without_duplicates
        return rest if rest is not None and rest.count >= LEAST_REST else self.report

    @property
    def fit(self) -> tuple[float, float]:
        """The headline metric on the training and on the test split."""
        name = self.report.headline_metric
        return self.training.metrics[name] or 0.0, self.judged.metrics[name] or 0.0

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share, of which more is better; else it is an error."""
        return self.comparison.text is format_share

    @property
    def both_perfect(self) -> bool:
        """Whether network and baseline make almost no errors on the test split."""
        lowest = min(self.comparison.network, self.comparison.reference)
        return self.is_share and lowest >= PERFECT

    @property
    def perfect(self) -> bool:
        """Whether the network makes almost no errors on the test split."""
        return self.is_share and self.comparison.network >= PERFECT

    @property
    def constant_target(self) -> bool:
        """Whether all values to predict are the same."""
        return not self.is_share and all(np.ptp(r.true) == 0 for r in (self.training, self.report))

    @property
    def overfits(self) -> bool:
        """Whether the network does much better on the training split than on the test split."""
        train, test = self.fit
        return train - test > GAP if self.is_share else test > RATIO * train

    @property
    def fits(self) -> bool:
        """Whether the network answers almost all of the training split correctly."""
        train, _ = self.fit
        return train >= FITTED if self.is_share else train < self.comparison.reference / RATIO


def suggest(situation: Situation) -> tuple[str, ...]:
    """Return what to try if the network does not beat its best baseline; empty if it does."""
    if situation.comparison.verdict == "better":
        return ()
    if situation.comparison.verdict == "undecided" and situation.both_perfect:
        return (_decide(situation) or HARDER, _use_the_baseline(situation))
    if situation.comparison.verdict == "undecided" and situation.perfect:
        return (_decide(situation) or _larger_test(situation),)
    if situation.constant_target:
        return (OTHER_TARGET, _use_the_baseline(situation))
    rules: Sequence[Callable[[Situation], str]] = (
        _weighted_classes,
        _decide,
        _train_longer,
        _learn_anything,
        _overfit_less,
        _fit_more,
        _other_cell,
        _both_directions,
        _more_effort,
        _more_data,
    )
    found = [text for rule in rules if (text := rule(situation))]
    return (*found[:MOST], _use_the_baseline(situation))


def advise(
    prepared: Prepared, history: History, reports: Mapping[str, Report], settings: RunSettings
) -> tuple[str, tuple[str, ...]]:
    """Return how a training diverged, or else what to try; both are empty for a good network.

    Args:
        prepared: what was trained on.
        reports: reports by split, `test` and `train` among them.
    """
    if diverged := describe_divergence(prepared, history):
        return diverged, ()
    return "", suggest(Situation(reports["test"], reports["train"], history, settings))


def heed_cause(
    suggestions: Sequence[str], diagnosis: Diagnosis | str
) -> tuple[str, tuple[str, ...]]:
    """Return the cause that the doctor has found, as a sentence, and what to try.

    The remedy of a cause takes the place of the suggestions, which are made without knowing it.
    """
    cause = diagnosis.cause if isinstance(diagnosis, Diagnosis) else None
    if cause is None:
        return "", tuple(suggestions)
    return f"{cause.message[0].upper()}{cause.message[1:]}.", (cause.remedy,)


def last_lines(report: Report, suggestions: Sequence[str], diagnosis: Diagnosis | str = "") -> str:
    """Return the verdict, and the suggestions as a list, wrapped for a terminal.

    A cause that the doctor has found takes the place of the suggestions, as in `heed_cause`.
    """
    comparison = report.comparison
    lines = [] if comparison is None else textwrap.wrap(comparison.sentence, WIDTH)
    first = len(lines)
    if (rest := report.without_duplicates) is not None and rest.comparison is not None:
        text = f"{report.duplicates_in_words}: {rest.comparison.sentence}"
        lines += textwrap.wrap(text, WIDTH)
    if isinstance(diagnosis, Diagnosis):
        # The summary says it too.
        if comparison is not None and comparison.phrase in diagnosis.summary:
            lines = lines[first:]
        lines = [*textwrap.wrap(diagnosis.summary, WIDTH), *lines]
        fault, suggestions = heed_cause(suggestions, diagnosis)
        lines += textwrap.wrap(fault, WIDTH)
    if suggestions and comparison is not None:
        lines.append("What to try:")
        for text in suggestions:
            lines += textwrap.wrap(text, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


def _weighted_classes(s: Situation) -> str:
    balanced = s.judged.comparisons.get("balanced_accuracy")
    if s.settings.training.class_weight is None or balanced is None:
        return ""
    return (
        f"a comparison by balanced accuracy, which --class-weight aims at: there the network is "
        f"{balanced.phrase} ({balanced.write(balanced.network)} against "
        f"{balanced.write(balanced.reference)})"
    )


def _decide(s: Situation) -> str:
    c = s.comparison
    if c.units < LEAST_UNITS:
        return (
            f"a larger test split: {c.units} {plural(c.unit, c.units)} cannot decide. Add data, or "
            "hold out more with --test 0.4"
        )
    if c.difference <= 0 or c.verdict != "undecided" or not c.differing:
        return ""
    if c.differing < LEAST_UNITS:
        expected = _rounded_up(c.units * LEAST_UNITS / c.differing)
        return (
            f"a larger test split (--test 0.4, or more data): network and baseline differ in "
            f"{c.differing} of {c.units:,} {c.unit}s only, and at least {LEAST_UNITS} must differ "
            f"to decide. At this rate it takes about {expected:,} {c.unit}s"
        )
    if c.low is None or c.high is None:
        return ""
    # The width of the interval falls with the square root of the number of units.
    needed = c.units * (((c.high - c.low) / 2) / c.difference) ** 2
    if needed > MOST_TIMES * c.units:
        return ""
    return (
        f"a larger test split (--test 0.4, or more data): the network is ahead by "
        f"{c.write_difference(c.difference)}, which about {_rounded_up(needed):,} {c.unit}s would "
        f"decide, and there are {c.units:,}"
    )


def _larger_test(s: Situation) -> str:
    c = s.comparison
    return (
        f"a larger test split (--test 0.4, or more data): {c.units:,} "
        f"{plural(c.unit, c.units)} do not decide"
    )


def _train_longer(s: Situation) -> str:
    epochs, batch = s.history.epochs, s.settings.training.batch_size
    if s.fits or s.overfits or s.history.stopped != "all epochs done":
        return ""
    each = 1 if not isinstance(batch, int) else -(-s.training.count // batch)
    chunks = s.settings.training.tbptt  # of which a sequence has many: batches are not counted
    if not chunks and (steps := each * len(epochs)) < FEW_STEPS:
        more = max(2 * len(epochs), -(-2 * FEW_STEPS // each))
        return (
            f"--epochs {more}: the training had {steps:,} optimizer steps only, in {len(epochs)} "
            f"{plural('epoch', len(epochs))}"
        )
    if len(epochs) == 1:  # of which nobody knows whether its loss was still falling
        return ""
    before, last = epochs[-1 - max(1, len(epochs) // 4)], epochs[-1]
    if last.loss > (1 - STILL_FALLING) * before.loss:
        return ""
    return (
        f"--epochs {2 * len(epochs)}: the training loss was still falling when the training ended, "
        f"from {before.loss:.3g} in epoch {before.epoch} to {last.loss:.3g} in epoch {last.epoch}"
    )


def _learn_anything(s: Situation) -> str:
    # The accuracy would call a network that finds rare classes worse than the majority class.
    name = "balanced_accuracy" if "balanced_accuracy" in s.training.compared else None
    name = name or s.comparison.metric
    constant = s.training.baselines.get(s.report.constant_baseline, {}).get(name)
    train = s.training.metrics[name]
    if constant is None or train is None:
        return ""
    if train > constant + LEARNT if s.is_share else train < (1 - LEARNT) * constant:
        return ""
    rate = s.settings.training.learning_rate or 0.0
    title = s.training.metric(name).title
    return (
        f"--learning-rate {rate * 3:.1g} or {rate / 3:.1g} instead of {rate:.1g}: the network has "
        f"hardly learnt the training split ({title} {s.comparison.text(train)}). Check too that "
        "each label belongs to its sequence"
    )


def _overfit_less(s: Situation) -> str:
    if not s.overfits:
        return ""
    train, test = map(s.comparison.write, s.fit)
    model = s.settings.model
    dropout, units = model.dropout or 0.0, model.hidden_size or 0
    flags = [f"--dropout {dropout + 0.2:.1g}"] if dropout < 0.5 else []
    flags += [f"--hidden-size {units // 2} instead of {units}"] if units >= 16 else []
    return (
        f"{' or '.join(flags) or 'more training data'}: the network overfits, with "
        f"{s.comparison.title} {train} on the training split and {test} on the test split"
    )


def _fit_more(s: Situation) -> str:
    if s.overfits or s.fits or _train_longer(s) or _learn_anything(s):
        return ""
    units = s.settings.model.hidden_size or 0
    value = s.comparison.write(s.fit[0])
    return (
        f"--hidden-size {2 * units} instead of {units}, or --num-layers "
        f"{(s.settings.model.num_layers or 1) + 1}: the network does not fit the training split "
        f"well either ({s.comparison.title} {value})"
    )


def _other_cell(s: Situation) -> str:
    if s.settings.model.cell != "rnn":
        return ""
    return "--cell gru: a plain RNN forgets what lies more than a few tens of steps back"


def _both_directions(s: Situation) -> str:
    # Predicted numbers at every step are mostly forecasts, which must not see later steps.
    model = s.settings.model
    # With `ahead` the answer is among the later steps; `tbptt` carries states forwards only.
    if s.settings.data.ahead or s.settings.training.tbptt:
        return ""
    if model.bidirectional or model.streaming or not TASKS[s.report.output].has_classes:
        return ""
    return "--bidirectional: the network reads the sequence in one direction only"


def _more_effort(s: Situation) -> str:
    effort = s.settings.training.effort
    if effort == "high":
        return ""
    return f"--effort high instead of {effort}: a larger network and a longer training"


def _more_data(s: Situation) -> str:
    if (count := s.training.count) >= FEW:
        return ""
    return f"more training sequences: {count:,} are few for a recurrent network"


def _use_the_baseline(s: Situation) -> str:
    c = s.comparison
    how = "does better" if c.verdict == "worse" else "does as well, as far as these data can tell"
    text = f"or use the baseline: {c.baseline} {how}, and is simpler and faster"
    if "position" in c.baseline:
        text += ". It sees which step is which; a network sees this if a channel numbers the steps"
    return text


def _rounded_up(number: float) -> int:
    """Round up to two digits, which is all that an estimate supports."""
    unit: int = 10 ** max(0, len(str(int(number))) - 2)
    return math.ceil(number / unit) * unit


def describe_divergence(prepared: Prepared, history: History) -> str:
    """Return that the training loss ended far above that of a network that has learnt nothing.

    Returns: what happened and what to try, in words; empty if the training did not diverge.
    """
    # A network that answers 0 everywhere: equal probabilities, or the mean of the values.
    examples = prepared.examples.sample()
    codes, weight = flatten(examples.target), examples.weight
    known = is_target(codes)
    target = torch.from_numpy(codes[known])
    by_class = None if prepared.class_weight is None else torch.as_tensor(prepared.class_weight)
    loss = Loss.of(prepared.config.task, prepared.plan, by_class)
    untrained, _ = loss.mean(
        torch.zeros(len(target), prepared.config.num_outputs),
        target,
        None if weight is None else torch.from_numpy(flatten(weight)[known]),
    )
    last, plan = history.epochs[-1], prepared.plan
    # The loss of a constant target is 0 for a network that has learnt nothing.
    if last.loss <= DIVERGED * float(untrained) or float(untrained) == 0:
        return ""
    remedies = [
        f"a learning rate of {plan.learning_rate / 10:.2g} instead of {plan.learning_rate:g}"
    ]
    if not plan.clip_norm:
        remedies.append("gradient clipping (--clip-norm 1)")
    if prepared.model.nonlinearity == "relu":
        remedies.append("--nonlinearity tanh")
    kept = history.epochs[(history.kept_epoch or len(history.epochs)) - 1]
    return (
        f"The training has diverged: its loss is {last.loss:.3g} in epoch {last.epoch}, and that "
        f"of an untrained network {float(untrained):.3g}. Try {', or '.join(remedies)}. The run "
        f"folder is complete; its network is that of epoch {kept.epoch}, with a loss of "
        f"{kept.loss:.3g}"
    )
