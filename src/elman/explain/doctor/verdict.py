"""The verdict over a network: has it learnt, and does that hold on new sequences?"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.evaluate.comparison import Comparison
from elman.explain.doctor.findings import Finding, Score, Severity, Verdict
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.learning import Predictions, predict_sample
from elman.explain.doctor.score import (
    PartScore,
    constant_answer,
    describe,
    fit_baselines,
    is_above_zero,
    is_worse,
    name_constant,
    score_part,
)
from elman.tasks import TASKS

ENOUGH = 20  # sequences of a held-out split that shows whether anything was learnt
FITTED = (
    0.2  # share of the constant prediction's errors that an overfitting network avoids at least
)
MOST_FITTED = 2000  # sequences that baselines are fitted on
LOST = 0.5  # share of the training split's skill that an overfitting network lacks on new sequences
LOST_BY_SHIFT = 0.25  # the same, where the held-out split is different
GOOD = 0.7  # skill of a network whose faults do no harm, unless a baseline is better
NEEDED = 50  # training sequences (or labelled steps) without which labels are not blamed
NEEDED_PER_CLASS = 15  # the same of each class
EXCELLENT = 0.95  # skill above which a network that only equals its baseline is no concern


@dataclass(frozen=True)
class Scored:
    """The predictions and scores that a verdict rests on.

    Args:
        index: the training sequences that were predicted, (n,).
        training, held_out: scores of both splits; None without a held-out split with labels.
        predictions, held_out_predictions: what they were made from.
        constant: the constant prediction, () or (K,).
    """

    index: NDArray[np.int64]
    training: PartScore
    held_out: PartScore | None
    predictions: Predictions
    held_out_predictions: Predictions | None
    constant: NDArray[Any]

    @property
    def lost(self) -> bool:
        """Whether much of the training split's score is lost on the held-out split."""
        return (
            self.training.learnt
            and self.held_out is not None
            and is_worse(self.held_out.loss, self.training.loss)
            and self.share_lost > LOST_BY_SHIFT
        )

    @property
    def share_lost(self) -> float:
        """Share of the training split's skill that the held-out split lacks."""
        assert self.held_out is not None
        return 1 - self.held_out.removed / max(self.training.removed, 1e-9)

    @property
    def good(self) -> bool:
        """Whether the network answers well, even if a baseline does as well."""
        part = self.held_out if self.held_out is not None else self.training
        worse = part.comparison is not None and part.comparison.verdict == "worse"
        return part.learnt and part.removed > (EXCELLENT if worse else GOOD)

    @property
    def signal(self) -> bool:
        """Whether the network or a baseline tells anything about sequences new to it."""
        part = self.held_out
        if part is None:
            return True
        better = [part.constant - losses for losses in part.baselines.values()]
        return part.learnt or any(is_above_zero(gain) for gain in better)


def score_network(
    inputs: DiagnosisInput,
    predictions: Predictions,
    index: NDArray[np.int64],
    held_out: DiagnosisInput | None,
    sequences: int,
    seed: int,
    comparison: Comparison | None = None,
) -> Scored:
    """Score a network on the training split and, if it has labels, on the held-out split.

    Args:
        comparison: with the best baseline on the whole held-out split, if a report has made it.
    """
    baselines = inputs.baselines
    if baselines is None:
        baselines = fit_baselines(inputs, inputs.sample(MOST_FITTED, seed))
    constant = constant_answer(inputs, predictions)
    training = score_part(inputs, predictions, index, baselines, constant)
    if held_out is None or not held_out.labelled:
        return Scored(index, training, None, predictions, None, constant)
    rows = held_out.sample(sequences, seed)
    predicted = predict_sample(held_out, rows)
    other = score_part(held_out, predicted, rows, baselines, constant)
    if comparison is not None:
        other = dataclasses.replace(other, comparison=comparison)
    return Scored(index, training, other, predictions, predicted, constant)


def judge(inputs: DiagnosisInput, scored: Scored, *, differs: bool) -> tuple[Score, list[Finding]]:
    """The score with its verdict, and the finding that says it where it is not `fine`."""
    verdict = _judge(scored.training, scored.held_out, differs=differs)
    constant = name_constant(inputs, scored.constant)
    score = describe(inputs, scored.training, scored.held_out, verdict, constant)
    if verdict == "fine":
        return score, []
    name, remedy, setting = VERDICT_FINDINGS[verdict]
    message, value, threshold = "", 0.0, 0.0
    if verdict == "learnt nothing":
        value, threshold = scored.training.removed, 0.0
        message = "the answers are no better than the same answer to every sequence"
        if (best := scored.training.best) and is_above_zero(
            scored.training.constant - scored.training.baselines[best]
        ):
            message += (
                f". The {best} is better, so the sequences do tell something about the labels"
            )
    elif verdict == "does not beat the baseline":
        value, threshold = score.held_out or score.training, score.reference
        compared = (scored.held_out or scored.training).comparison
        assert compared is not None
        message = f"the network is {compared.phrase} ({compared.margin})"
    else:
        value, threshold = scored.share_lost, LOST
        message = (
            f"{min(1.0, scored.share_lost):.0%} of what the network has learnt on its training "
            "split does not hold on the held-out split"
        )
    # A bare network may be new: that it has learnt nothing yet is no fault.
    severity: Severity = "warning"
    if inputs.record is None or (verdict == "does not beat the baseline" and scored.good):
        severity = "note"
    return score, [Finding(name, severity, message, value, threshold, remedy, setting)]


def diagnose_signal(inputs: DiagnosisInput, scored: Scored) -> list[Finding]:
    """Say that nothing predicts the labels of new sequences; asked if there is no other cause."""
    if scored.signal or scored.held_out is None or len(scored.held_out.loss) < 20:
        return []
    part, count = scored.held_out, len(inputs.examples)
    if count < _sequences_needed(inputs):
        return [_report_few(inputs, count)]
    return [
        Finding(
            "no_signal",
            "warning",
            "nothing that the network or a baseline reads in the sequences predicts the labels of "
            "new ones better than a constant prediction does",
            part.removed,
            0,
            "Check first that each label belongs to its sequence: shuffled rows, labels off by a "
            "row, or a join by the wrong key look like this. If they do belong, the sequences may "
            "not hold the answer, or it takes more data.",
            "target",
        )
    ]


def _sequences_needed(inputs: DiagnosisInput) -> int:
    """Training sequences below which it is no evidence against labels that nothing is learnt."""
    config = inputs.model.config
    if config.per_step:  # each step has a label
        return math.ceil(NEEDED / max(1.0, float(inputs.lengths.mean())))
    classes = len(inputs.classes) if TASKS[config.task].single_label else 1
    return max(NEEDED, NEEDED_PER_CLASS * classes)


def _report_few(inputs: DiagnosisInput, count: int) -> Finding:
    weights, needed = sum(p.numel() for p in inputs.model.parameters()), _sequences_needed(inputs)
    return Finding(
        "too_few_sequences",
        "warning",
        f"the training split has {count} sequences, and the network {weights:,} weights: it can "
        "learn so few by heart, and so few do not show whether new sequences can be answered; "
        "neither a baseline nor the network answers them better than a constant prediction does",
        count,
        needed,
        f"Collect more sequences first, {needed} at the least. To judge whether more will help, "
        "train on half of them and on all, and compare the scores on the same held-out split: "
        "while the score rises, more data help. Fewer units (hidden_size) and more dropout or "
        "weight_decay help a little.",
        "hidden_size",
    )


# Name, remedy and setting of the finding for each verdict but `fine`.
VERDICT_FINDINGS: dict[Verdict, tuple[str, str, str]] = {
    "learnt nothing": (
        "learnt_nothing",
        "Check the labels, then give the training more time (effort 'high', epochs).",
        "epochs",
    ),
    "overfits": (
        "overfitting",
        "Collect more sequences, or hold the network back: fewer units (hidden_size), more "
        "dropout, noise or weight_decay, and early stopping on a validation split (validation).",
        "dropout",
    ),
    "held-out data differ": (
        "held_out_differs",
        "Draw both splits from the same source.",
        "split",
    ),
    "does not beat the baseline": (
        "worse_than_baseline",
        "Use the baseline, which is simpler, or train longer (effort 'high') and with other units.",
        "effort",
    ),
}


def _judge(training: PartScore, held_out: PartScore | None, *, differs: bool) -> Verdict:
    """The verdict over two parts.

    Args:
        differs: whether the held-out split is known to be different, and the score lost for it.
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
    if held_out is not None and len(held_out.loss) >= ENOUGH and not held_out.learnt:
        return "overfits" if training.removed > FITTED else "learnt nothing"
    if part.comparison is not None:
        # Without a held-out split the network answers sequences it was trained on, as the baselines
        # do; there only a baseline that is better tells something.
        beaten = part.comparison.verdict == "worse"
        undecided = held_out is not None and part.comparison.verdict == "undecided"
        if beaten or (undecided and part.removed < EXCELLENT):
            return "does not beat the baseline"
    return "fine"
