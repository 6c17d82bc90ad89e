"""Changes of the held-out part that bring a lost score back: what was wrong with it.

The sequences are turned round, their channels exchanged or moved, or their labels exchanged or
moved, and the network answers again.

Dimensions: n sequences, N steps in all, C channels, K classes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.explain.doctor.evidence import shape_features
from elman.explain.doctor.findings import Finding, list_some
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.learning import Predictions, predict_sample
from elman.explain.doctor.score import LEVEL, RULES, p_above_zero
from elman.explain.forms import Floats
from elman.tasks import TASKS

MOST_MOVED = 500  # held-out sequences whose labels are compared with their neighbours'
MOST_REPAIRED = 150  # held-out sequences that are answered again
PAIRS = 5  # channels of which all orders are tried; of more, exchanges of two
MOST_CHANNELS = 12  # of which all exchanges of two are tried
REGAINED = 0.5  # share of the lost score that a repair has to bring back


@dataclass(frozen=True)
class Repair:
    """Answers to held-out sequences after a change, to find out whether it is what was wrong.

    Args:
        inputs, held_out: both parts.
        index: the held-out sequences that are answered again, (r,).
        before: their losses, (r,).
        goal: mean loss that a repair has to reach.
    """

    inputs: DiagnosisInput
    held_out: DiagnosisInput
    index: NDArray[np.int64]
    before: Floats
    goal: float

    @classmethod
    def of(cls, inputs: DiagnosisInput, held_out: DiagnosisInput, training_loss: float) -> Repair:
        """Answer some held-out sequences as they are."""
        index = held_out.sample(MOST_REPAIRED, 1)
        before = _losses(held_out, predict_sample(held_out, index), len(index))
        lost = float(before.mean()) - training_loss
        return cls(inputs, held_out, index, before, float(before.mean()) - REGAINED * lost)

    def losses(self, values: NDArray[Any]) -> Floats:
        """Losses with other step values of all held-out sequences, (N, C) or (N,)."""
        steps = self.held_out.examples.inputs.with_values(values.astype(self.dtype))
        examples = dataclasses.replace(self.held_out.examples, inputs=steps)
        changed = dataclasses.replace(self.held_out, examples=examples)
        return _losses(changed, predict_sample(changed, self.index), len(self.index))

    @property
    def dtype(self) -> Any:
        """The type of the network's input."""
        return self.held_out.examples.inputs.values.dtype

    def works(self, after: Floats, tries: int) -> bool:
        """Whether the losses are lower by more than chance, after so many tries."""
        return after.mean() <= self.goal and p_above_zero(self.before - after) * tries < LEVEL


def _losses(inputs: DiagnosisInput, predictions: Predictions, count: int) -> Floats:
    rule = RULES[inputs.model.config.task]
    losses = rule.losses(rule.decide(predictions.outputs), predictions.target)
    sizes = np.maximum(np.bincount(predictions.owners, minlength=count), 1)
    mean: Floats = np.bincount(predictions.owners, losses, count) / sizes
    return mean


def diagnose_repairs(
    inputs: DiagnosisInput, held_out: DiagnosisInput, predictions: Predictions, loss: float
) -> Iterator[Finding]:
    """Find the change of the held-out part that brings the lost score back.

    Args:
        predictions: of held-out sequences.
        loss: mean loss on the training part, as the metric counts it.
    """
    repair = Repair.of(inputs, held_out, loss)
    for attempt in (_move_channels, _turn_round, _exchange_channels):
        if finding := attempt(repair):
            yield finding
            return
    finding = (
        _exchange_labels(inputs, predictions, repair)
        or _move_labels(inputs, held_out, loss)
        or _scale_targets(inputs, predictions)
    )
    if finding:
        yield finding


def _turn_round(repair: Repair) -> Finding | None:
    steps = repair.held_out.examples.inputs
    starts, ends = steps.offsets[:-1][steps.owners], steps.offsets[1:][steps.owners]
    after = repair.losses(steps.values[starts + ends - 1 - np.arange(len(steps.values))])
    if not repair.works(after, 3):
        return None
    return _repaired(
        repair,
        after,
        "reversed_steps",
        "the steps of the held-out sequences run backwards",
        "if they are turned round",
        "Order the steps of both parts by time.",
        "time",
    )


def _repaired(
    repair: Repair,
    after: Floats,
    name: str,
    what: str,
    how: str,
    remedy: str,
    setting: str,
    channels: tuple[int, ...] = (),
) -> Finding:
    rule = RULES[repair.inputs.model.config.task]
    unit = float(repair.inputs.unit.mean()) if rule.better == "lower" else 1.0
    before, now = (unit * rule.value(float(v.mean())) for v in (repair.before, after))
    return Finding(
        name,
        "warning",
        f"{what}: {how}, the {rule.metric} on the held-out part goes from {before:.3g} to "
        f"{now:.3g}",
        now,
        before,
        remedy,
        setting,
        units=channels,
    )


def _move_channels(repair: Repair) -> Finding | None:
    """Give each channel the mean and deviation of the training part."""
    inputs, held_out = repair.inputs, repair.held_out
    if inputs.raw is None or held_out.raw is None:
        return None
    count = inputs.raw.values.shape[1]
    values = held_out.examples.inputs.values.astype(np.float64)
    known = inputs.examples.inputs.values[:, :count].astype(np.float64)
    own = values[:, :count]
    deviation = np.where(own.std(0) > 0, own.std(0), 1.0)
    moved = values.copy()
    moved[:, :count] = (own - own.mean(0)) / deviation * known.std(0) + known.mean(0)
    after = repair.losses(moved)
    if not repair.works(after, 3):
        return None
    scale = np.where(known.std(0) > 0, known.std(0), 1.0)
    offset, factor = (own.mean(0) - known.mean(0)) / scale, own.std(0) / scale
    differing = np.flatnonzero((np.abs(offset) > 0.3) | (np.abs(np.log(factor + 1e-9)) > 0.3))
    if not len(differing):
        return None
    first = int(differing[np.argmax((np.abs(offset) + np.abs(np.log(factor + 1e-9)))[differing])])
    raw = [np.nan_to_num(part.raw.values[:, first]) for part in (inputs, held_out) if part.raw]
    names = list_some([inputs.channels[c] for c in differing])
    described = [f"{v.mean():.3g} +- {v.std():.2g}" for v in raw]
    return _repaired(
        repair,
        after,
        "shifted_channels",
        f"{inputs.channels[first]} is {described[0]} (mean and deviation) in the training part and "
        f"{described[1]} in the held-out part",
        f"with the mean and deviation of the training part in {names}",
        "Find out where the offset or the factor comes from (another unit, device or calibration), "
        "and remove it from the held-out data.",
        "values",
        tuple(differing.tolist()),
    )


def _exchange_channels(repair: Repair) -> Finding | None:
    """Try other orders of the channels: all, or all exchanges of two, or the likeliest."""
    inputs, held_out = repair.inputs, repair.held_out
    if inputs.raw is None or held_out.raw is None:
        return None
    count = inputs.raw.values.shape[1]
    own = tuple(range(count))
    orders = [tuple(reversed(own)), *(own[k:] + own[:k] for k in range(1, min(count, 12)))]
    if count <= PAIRS:
        orders = list(itertools.permutations(own))
    elif count <= MOST_CHANNELS:
        for a, b in itertools.combinations(own, 2):
            orders.append(tuple(b if c == a else a if c == b else c for c in own))
    orders.append(_likeliest_order(inputs.raw, held_out.raw))
    orders = [order for order in dict.fromkeys(orders) if order != own]
    if not orders or count < 2:
        return None
    values = held_out.examples.inputs.values
    best, lowest = own, repair.before
    for order in orders:
        changed = values.copy()
        changed[:, :count] = values[:, list(order)]
        if (after := repair.losses(changed)).mean() < lowest.mean():
            best, lowest = order, after
    if not repair.works(lowest, len(orders)):
        return None
    moved = tuple(c for c in own if best[c] != c)
    names = [f"{inputs.channels[best[c]]} holds {inputs.channels[c]}" for c in moved[:4]]
    return _repaired(
        repair,
        lowest,
        "exchanged_channels",
        f"the channels of the held-out part are in another order: {', '.join(names)}"
        + (" and so on" if len(moved) > 4 else ""),
        "in the order of the training part",
        "Pass the columns in the order of the training data; data frames are matched by name.",
        "values",
        moved,
    )


def _likeliest_order(known: Ragged, own: Ragged) -> tuple[int, ...]:
    """The order of channels that makes their statistics most like those of training."""
    from scipy.optimize import linear_sum_assignment

    def profile(steps: Ragged) -> Floats:
        features = shape_features(steps.take(np.arange(min(len(steps), 200))))
        count = steps.values.shape[1]
        blocks = [features[:, k : k + count] for k in range(0, 7 * count, count)]
        rows: Floats = np.stack([s(b, axis=0) for b in blocks for s in (np.mean, np.std)], 1)
        return rows

    a, b = profile(known), profile(own)
    scale = np.maximum(np.vstack([a, b]).std(0), 1e-12)
    cost = np.abs(a[:, None] / scale - b[None] / scale).sum(2)
    return tuple(int(c) for c in linear_sum_assignment(cost)[1])


def _exchange_labels(
    inputs: DiagnosisInput, predictions: Predictions, repair: Repair
) -> Finding | None:
    """Match predicted classes to labels one to one, as if the labels had been exchanged."""
    from scipy.optimize import linear_sum_assignment

    if not TASKS[inputs.model.config.task].single_label:
        return None
    width, answers = len(inputs.classes), predictions.outputs.argmax(1)
    table = np.zeros((width, width))
    np.add.at(table, (predictions.target, answers), 1)
    labels, renamed = linear_sum_assignment(-table)
    own = np.trace(table)
    right, total = table[labels, renamed].sum(), table.sum()
    if right / total < 1 - repair.goal or (right - own) / total < 0.3:
        return None
    changed = [k for k in range(width) if renamed[k] != k and table[k].sum()]
    names = ", ".join(
        f"{inputs.classes[k]!r} for {inputs.classes[int(renamed[k])]!r}" for k in changed[:4]
    )
    return Finding(
        "exchanged_labels",
        "warning",
        f"the labels of the held-out part seem to have been exchanged: it says {names}; with the "
        f"names exchanged, {right / total:.0%} of the answers would be right, and now "
        f"{own / total:.0%} are",
        float(right / total),
        float(own / total),
        "Check how the labels of both parts are coded.",
        "target",
    )


def _move_labels(
    inputs: DiagnosisInput, held_out: DiagnosisInput, goal_loss: float
) -> Finding | None:
    """Compare the answers with the labels of neighbouring rows, or neighbouring steps."""
    examples, rule = held_out.examples, RULES[inputs.model.config.task]
    index = np.arange(min(len(examples), MOST_MOVED))
    predictions = predict_sample(held_out, index)
    order = np.lexsort((predictions.steps, predictions.owners))
    answers, target = rule.decide(predictions.outputs)[order], predictions.target[order]
    owners = predictions.owners[order]
    before = rule.losses(answers, target)
    lost = float(before.mean()) - goal_loss
    shifts = [s for s in (1, -1, 2, -2, 3, -3) if abs(s) < len(target) - 20]
    for shift in shifts:
        rows = np.arange(max(0, -shift), len(target) - max(0, shift))
        if inputs.model.config.per_step:
            rows = rows[owners[rows] == owners[rows + shift]]
        if len(rows) < 20:
            continue
        after = rule.losses(answers[rows], target[rows + shift])
        gain = before[rows] - after
        if gain.mean() > REGAINED * lost and p_above_zero(gain) * len(shifts) < LEVEL:
            unit = "step" if inputs.model.config.per_step else "row"
            count = f"{abs(shift)} {unit}{'s' * (abs(shift) > 1)}"
            now, then = (rule.value(float(v.mean())) for v in (after, before[rows]))
            return Finding(
                "held_out_labels_shifted",
                "warning",
                f"the labels of the held-out part fit the answers if each is taken from {count} "
                f"{'later' if shift > 0 else 'earlier'}: {rule.metric} {now:.3g} instead of "
                f"{then:.3g}",
                now,
                then,
                f"Move the labels by {count}; look for a header or a join that moved them.",
                "target",
            )
    return None


def _scale_targets(inputs: DiagnosisInput, predictions: Predictions) -> Finding | None:
    """Find targets that rise with the answers, but in another unit or from another zero."""
    if TASKS[inputs.model.config.task].has_classes or len(predictions.target) < 20:
        return None
    for k in range(predictions.target.shape[1]):
        answers, target = predictions.outputs[:, k], predictions.target[:, k]
        if answers.std() == 0 or target.std() == 0:
            continue
        correlation = float(np.corrcoef(answers, target)[0, 1])
        factor = float(target.std() / answers.std())
        offset = abs(float(target.mean() - answers.mean())) / float(answers.std())
        if correlation < 0.9 or (offset < 0.5 and abs(float(np.log(factor))) < 0.3):
            continue
        unit, centre = float(inputs.unit[k]), float(inputs.centre[k])
        own = [float(unit * v.mean() + centre) for v in (answers, target)]
        return Finding(
            "other_targets",
            "warning",
            "the targets of the held-out part rise with the answers (correlation "
            f"{correlation:.2f}), but their mean is {own[1]:.3g} where that of the answers is "
            f"{own[0]:.3g}, and their deviation is {factor:.3g} times as large",
            factor,
            1.0,
            "Bring the targets of both parts to one unit and one zero.",
            "target",
        )
    return None
