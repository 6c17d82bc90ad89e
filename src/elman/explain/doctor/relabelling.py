"""Whether the labels of the held-out split are exchanged, moved by rows, or in another unit.

Dimensions: m predictions, n sequences, K classes.
"""

from __future__ import annotations

import math

import numpy as np

from elman.data.ragged import flatten, is_target
from elman.explain.doctor.findings import Finding
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.learning import Predictions, predict_sample
from elman.explain.doctor.score import LEVEL, RULES, p_above_zero
from elman.tasks import TASKS

MOST_MOVED = 500  # held-out sequences whose labels are compared with their neighbours'
REGAINED = 0.5  # share of the lost score that a repair has to bring back
MOSTLY = 0.5  # least share of a class's labels that get the answer it was exchanged with
MORE_RIGHT = 0.3  # least share of the answers that become right


def exchange_labels(
    inputs: DiagnosisInput, predictions: Predictions, goal: float
) -> Finding | None:
    """Match predicted classes to labels one to one, as if the labels had been exchanged.

    An exchange takes two classes at least, each answered mostly as the one it was exchanged with,
    and answers that go with the labels by more than chance would after trying every order of them.

    Args:
        goal: mean loss that the exchange has to reach.
    """
    from scipy.optimize import linear_sum_assignment

    if not TASKS[inputs.model.config.task].single_label:
        return None
    width, answers = len(inputs.classes), predictions.outputs.argmax(1)
    table = np.zeros((width, width))
    np.add.at(table, (predictions.target, answers), 1)
    renamed = linear_sum_assignment(-table)[1]
    own, counts, total = np.trace(table), table.sum(1), table.sum()
    right = table[np.arange(width), renamed].sum()
    if right / total < 1 - goal or (right - own) / total < MORE_RIGHT:
        return None
    changed = [k for k in range(width) if renamed[k] != k and counts[k]]
    if len(changed) < 2 or any(table[k, renamed[k]] < MOSTLY * counts[k] for k in changed):
        return None
    # How much more often an answer is the exchanged label than if answers ignored the labels.
    chance = (table.sum(0) / total)[renamed[predictions.target]]
    gain = (answers == renamed[predictions.target]) - chance
    sizes = np.bincount(predictions.owners)
    by_sequence = np.bincount(predictions.owners, gain)[sizes > 0] / sizes[sizes > 0]
    orders = math.factorial(min(int((counts > 0).sum()), 8))
    if p_above_zero(by_sequence) * orders > LEVEL:
        return None
    names = ", ".join(
        f"{inputs.classes[k]!r} for {inputs.classes[int(renamed[k])]!r}" for k in changed[:4]
    )
    return Finding(
        "exchanged_labels",
        "warning",
        f"the labels of the held-out split seem to have been exchanged: it says {names}; with the "
        f"names exchanged, {right / total:.0%} of the answers would be right, and now "
        f"{own / total:.0%} are",
        float(right / total),
        float(own / total),
        "Check how the labels of both splits are coded.",
        "target",
    )


def move_labels(
    inputs: DiagnosisInput, held_out: DiagnosisInput, goal_loss: float
) -> Finding | None:
    """Compare the answers with the labels of neighbouring rows, or neighbouring steps."""
    examples, rule = held_out.examples, RULES[inputs.model.config.task]
    if not is_target(flatten(examples.target)).all():
        return None  # the rows before and after are not those of the labelled steps
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
                f"the labels of the held-out split fit the answers if each is taken from {count} "
                f"{'later' if shift > 0 else 'earlier'}: {rule.metric} {now:.3g} instead of "
                f"{then:.3g}",
                now,
                then,
                f"Move the labels by {count}; look for a header or a join that moved them.",
                "target",
            )
    return None


def scale_targets(inputs: DiagnosisInput, predictions: Predictions) -> Finding | None:
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
            "the targets of the held-out split rise with the answers (correlation "
            f"{correlation:.2f}), but their mean is {own[1]:.3g} where that of the answers is "
            f"{own[0]:.3g}, and their deviation is {factor:.3g} times as large",
            factor,
            1.0,
            "Bring the targets of both splits to one unit and one zero.",
            "target",
        )
    return None
