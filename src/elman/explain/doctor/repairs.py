"""Changes of the held-out split that bring a lost score back: what was wrong with it.

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
from elman.explain.doctor.heldout import (
    LARGE_DIFFERENCE,
    Difference,
    compare_parts,
    diagnose_differences,
)
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.learning import Predictions, predict_sample
from elman.explain.doctor.relabelling import REGAINED, exchange_labels, move_labels, scale_targets
from elman.explain.doctor.score import LEVEL, RULES, p_above_zero
from elman.explain.forms import Floats

MOST_REPAIRED = 150  # held-out sequences that are answered again
PAIRS = 5  # channels of which all orders are tried; of more, exchanges of two
MOST_CHANNELS = 12  # of which all exchanges of two are tried
DISORDER = 0.15  # correlation of neighbouring steps below which they may have been shuffled
ORDER = 0.3  # and above which they have not


@dataclass(frozen=True)
class Repair:
    """Answers to held-out sequences after a change, to find out whether it is what was wrong.

    Args:
        inputs, held_out: both splits.
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
    """Find the change of the held-out split that brings the lost score back.

    Args:
        predictions: of held-out sequences.
        loss: mean loss on the training split, as the metric counts it.
    """
    repair = Repair.of(inputs, held_out, loss)
    exchanged, same = _exchange_channels(repair)
    if exchanged and same:  # an exchange explains more than a new mean and deviation do
        yield exchanged
        return
    if finding := _move_channels(repair) or _turn_round(repair) or exchanged:
        yield finding
        return
    finding = (
        exchange_labels(inputs, predictions, repair.goal)
        or move_labels(inputs, held_out, loss)
        or scale_targets(inputs, predictions)
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
        "Order the steps of both splits by time.",
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
        f"{what}: {how}, the {rule.metric} on the held-out split goes from {before:.3g} to "
        f"{now:.3g}",
        now,
        before,
        remedy,
        setting,
        units=channels,
    )


def _move_channels(repair: Repair) -> Finding | None:
    """Give each channel the mean and deviation of the training split."""
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
        f"{inputs.channels[first]} is {described[0]} (mean and deviation) in the training "
        f"split and {described[1]} in the held-out split",
        f"with the mean and deviation of the training split in {names}",
        "Find out where the offset or the factor comes from (another unit, device or calibration), "
        "and remove it from the held-out data.",
        "values",
        tuple(differing.tolist()),
    )


def _exchange_channels(repair: Repair) -> tuple[Finding | None, bool]:
    """Try other orders of the channels: all, or all exchanges of two, or the likeliest.

    Returns: the finding, and whether every channel is then as in the training split, which it was
        not before.
    """
    inputs, held_out = repair.inputs, repair.held_out
    if inputs.raw is None or held_out.raw is None or (count := held_out.raw.values.shape[1]) < 2:
        return None, False
    own = tuple(range(count))
    orders = [tuple(reversed(own)), *(own[k:] + own[:k] for k in range(1, min(count, 12)))]
    if count <= PAIRS:
        orders = list(itertools.permutations(own))
    elif count <= MOST_CHANNELS:
        for a, b in itertools.combinations(own, 2):
            orders.append(tuple(b if c == a else a if c == b else c for c in own))
    orders.append(likeliest_order(inputs.raw, held_out.raw))
    orders = [order for order in dict.fromkeys(orders) if order != own]
    best, lowest = own, repair.before
    for order in orders:
        if (after := repair.losses(_reorder(inputs, held_out, order))).mean() < lowest.mean():
            best, lowest = order, after
    alike = match_channels(inputs, held_out, compare_parts(inputs, held_out))
    if not orders or not repair.works(lowest, len(orders)):
        return (tell_exchange(inputs, alike), True) if alike else (None, False)
    found = _repaired(
        repair,
        lowest,
        "exchanged_channels",
        f"the channels of the held-out split are in another order: {_tell_order(inputs, best)}",
        "in the order of the training split",
        "Pass the columns in the order of the training data; data frames are matched by name.",
        "values",
        tuple(c for c in own if best[c] != c),
    )
    return found, best == alike


def _reorder(
    inputs: DiagnosisInput, held_out: DiagnosisInput, order: tuple[int, ...]
) -> NDArray[Any]:
    """The network's input, (N, C), if the channels had been exchanged before they were scaled.

    A channel's mean and deviation belong to its place: what stands at another place has to be
    scaled as that one is.
    """
    assert inputs.raw is not None
    values = held_out.examples.inputs.values.astype(np.float64)
    scale, offset = np.ones(len(order)), np.zeros(len(order))
    for c in range(len(order)):
        raw, read = inputs.raw.values[:, c], inputs.examples.inputs.values[:, c]
        there = np.isfinite(raw) & np.isfinite(read)
        deviation = float(raw[there].std()) if there.any() else 0.0
        if deviation > 0:
            scale[c] = float(read[there].std()) / deviation or 1.0
            offset[c] = float(read[there].mean()) - scale[c] * float(raw[there].mean())
    moved = list(order)
    changed = values.copy()
    changed[:, : len(order)] = (values[:, moved] - offset[moved]) / scale[moved] * scale + offset
    return changed


def _tell_order(inputs: DiagnosisInput, order: tuple[int, ...]) -> str:
    moved = [c for c in range(len(order)) if order[c] != c]
    return ", ".join(
        f"{inputs.channels[order[c]]} of the held-out split looks like {inputs.channels[c]} of the "
        "training split"
        for c in moved[:4]
    ) + (" and so on" if len(moved) > 4 else "")


def match_channels(
    inputs: DiagnosisInput, held_out: DiagnosisInput, differences: list[Difference]
) -> tuple[int, ...] | None:
    """The order in which no channel differs from the training split; None without one.

    Two channels at least have to differ as they are.
    """
    if (
        inputs.raw is None
        or held_out.raw is None
        or len({d.channel for d in differences} - {-1}) < 2
    ):
        return None
    order = likeliest_order(inputs.raw, held_out.raw)
    raw = held_out.raw.with_values(held_out.raw.values[:, list(order)])
    left = compare_parts(inputs, dataclasses.replace(held_out, raw=raw))
    return None if any(d.channel >= 0 for d in left) else order


def tell_exchange(inputs: DiagnosisInput, order: tuple[int, ...]) -> Finding:
    """Say that the channels are in another order, by their values alone."""
    moved = tuple(c for c in range(len(order)) if order[c] != c)
    return Finding(
        "exchanged_channels",
        "warning",
        f"the channels of the held-out split are in another order: {_tell_order(inputs, order)}. "
        "In the order of the training split, no channel differs",
        float(len(moved)),
        0.0,
        "Pass the columns in the order of the training data; data frames are matched by name.",
        "values",
        units=moved,
    )


def diagnose_unlabelled(inputs: DiagnosisInput, held_out: DiagnosisInput) -> Iterator[Finding]:
    """Compare a held-out split without labels: an order of channels or steps, then what differs."""
    differences = compare_parts(inputs, held_out)
    if order := match_channels(inputs, held_out, differences):
        yield tell_exchange(inputs, order)
    else:
        yield from diagnose_order(inputs, differences)
    yield from diagnose_differences(inputs, differences, lost=False, judged=False)


def diagnose_order(inputs: DiagnosisInput, differences: list[Difference]) -> Iterator[Finding]:
    """Find a part whose steps are in no order: channels as in the other part, but for the order.

    Neighbouring steps of shuffled sequences have a correlation near 0 (exactly -1 / (T - 1) on
    average), whatever the channel is.
    """
    changed = {d.channel for d in differences if d.what in ("mean", "spread", "share of gaps")}
    found = []
    for d in differences:
        if d.what != "roughness" or d.channel in changed or d.size < LARGE_DIFFERENCE:
            continue
        before, after = (1 - v**2 / 2 for v in (d.before, d.after))
        if min(abs(before), abs(after)) < DISORDER and max(abs(before), abs(after)) > ORDER:
            found.append((abs(before - after), before, after, d.channel))
    if not found:
        return
    gap, before, after, channel = max(found)
    part = "held-out" if abs(after) < abs(before) else "training"
    yield Finding(
        "unordered_steps",
        "warning",
        f"the steps of the {part} sequences look shuffled: neighbouring steps of "
        f"{inputs.channels[channel]} have a correlation of about {before:.2f} in the training "
        f"split and {after:.2f} in the held-out split, while its mean and spread are alike",
        gap,
        ORDER,
        "Order the steps of both splits by time, and sort the rows of a file before they are put "
        "into sequences.",
        "time",
        units=tuple(c for *_, c in sorted(found, reverse=True)),
    )


def likeliest_order(known: Ragged, own: Ragged) -> tuple[int, ...]:
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
