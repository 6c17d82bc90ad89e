"""How the training went: from its history, and from a few steps with other learning rates."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from elman.data.batches import Batch, make_batch
from elman.explain.doctor import limits
from elman.explain.doctor.findings import Finding
from elman.explain.doctor.inputs import DiagnosisInput, TrainingRecord
from elman.models import SequenceModel
from elman.settings import TrainingPlan
from elman.train.gradients import gradient_source
from elman.train.loop import to_device
from elman.train.optimizer import make_optimizer

STEPS = 15  # of the optimizer, for each learning rate
FACTORS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
HIGHEST = 1.0  # rate that is tried, where the training's own is not higher
ROWS = 32
WORK = 3e8  # multiplications that one step of the probe may take


def highest_rate(inputs: DiagnosisInput) -> float:
    """The highest learning rate that the training came to; that of the settings without one."""
    if inputs.record is None:
        return TrainingPlan.learning_rate
    return max(record.learning_rate for record in inputs.record.epochs)


def probe_rates(inputs: DiagnosisInput, rate: float, seed: int) -> dict[float, float]:
    """Share of a batch's loss that a few steps from the start take away, by learning rate.

    A network of the same settings and new weights is trained on one batch, with the optimizer,
    clipping and loss of the training; negative where the loss rose, -inf where it was lost.
    """
    config = inputs.model.config
    gates = len(config.cell_definition.blocks)
    lengths = inputs.lengths
    one = 3 * gates * config.hidden_size * (config.hidden_size + config.width) * config.num_layers
    rows = max(4, min(ROWS, int(WORK / (one * (1 + config.bidirectional) * np.median(lengths)))))
    options = inputs.record.options if inputs.record else {}
    given = {name: options.get(name) for name in ("optimizer", "clip_norm")}
    known: dict[str, Any] = {name: v for name, v in given.items() if v is not None}
    index = inputs.sample(rows, seed)
    found = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = SequenceModel(dataclasses.replace(config, dropout=0.0)).to(
            inputs.model.output.weight
        )
        batch = to_device(make_batch(inputs.examples, index), inputs.model.output.weight.device)
        for factor in FACTORS:
            if factor > 1 and rate * factor > HIGHEST:
                break
            plan = TrainingPlan(learning_rate=rate * factor, **known)
            found[rate * factor] = _learnt(copy.deepcopy(fresh), batch, plan, inputs)
    return found


def _learnt(
    model: SequenceModel, batch: Batch, plan: TrainingPlan, inputs: DiagnosisInput
) -> float:
    losses = []
    source = gradient_source(model, plan, inputs.loss)
    model.train()
    try:
        optimizer = make_optimizer(source.groups, plan)
        for _ in range(STEPS + 1):
            with source.around:
                losses.append(source(batch)[0])
                norm = source.clip(plan.clip_norm or math.inf)
                if not (math.isfinite(losses[-1]) and math.isfinite(norm)):
                    return -math.inf
                optimizer.step()
    finally:
        source.release()
    return 1 - losses[-1] / losses[0] if losses[0] > 0 else 0.0


def loss_history(inputs: DiagnosisInput) -> tuple[tuple[float, float], ...]:
    """Of training and validation, one pair an epoch; NaN where there was none."""
    if inputs.record is None:
        return ()
    return tuple(
        (record.loss, math.nan if record.validation_loss is None else record.validation_loss)
        for record in inputs.record.epochs
    )


def diagnose_training(
    inputs: DiagnosisInput, rates: dict[float, float], rate: float, skill: float | None
) -> Iterator[Finding]:
    """Judge the learning rate by probe and history; and the end of the training by its history."""
    yield from _rate(inputs.record, rates, rate, skill)
    if inputs.record is not None:
        yield from _end(inputs.record)


def _rate(
    record: TrainingRecord | None, rates: dict[float, float], rate: float, skill: float | None
) -> Iterator[Finding]:
    losses = [record.loss for record in record.epochs] if record else []
    swings = swinging(losses)
    if swings > limits.SWINGS:
        yield Finding(
            "learning_rate_too_high",
            "warning",
            f"with a learning rate of {rate:.2g} the loss rose by more than a tenth of its first "
            f"value in {swings:.0%} of the epochs",
            swings,
            limits.SWINGS,
            f"Try {rate / 10:.1g}.",
            "learning_rate",
        )
        return
    if not rates or (skill is not None and skill > limits.LEARNT):
        return
    own = rates[rate]
    if own >= limits.LITTLE:
        return
    better = [r for r, share in rates.items() if share > limits.MORE]
    lower = max((r for r in better if r < rate), default=None)
    higher = min((r for r in better if r > rate), default=None)
    if lower is not None:
        yield Finding(
            "learning_rate_too_high",
            "warning",
            f"{STEPS} steps with a learning rate of {rate:.2g} take {own:.0%} off a batch's loss, "
            f"with {lower:.2g} {rates[lower]:.0%}",
            own,
            limits.LITTLE,
            f"Try {lower:.1g}.",
            "learning_rate",
        )
    elif higher is not None:
        yield Finding(
            "learning_rate_too_low",
            "warning",
            f"{STEPS} steps with a learning rate of {rate:.2g} take {own:.1%} off a batch's loss, "
            f"with {higher:.2g} {rates[higher]:.0%}",
            own,
            limits.LITTLE,
            f"Try {higher:.1g}.",
            "learning_rate",
        )


def swinging(losses: Sequence[float]) -> float:
    """Share of the epochs in which the loss rose by more than a tenth of its first value."""
    if len(losses) < 5:
        return 0.0
    return float((np.diff(losses) > limits.SWING * losses[0]).mean())


def _end(record: TrainingRecord) -> Iterator[Finding]:
    watched = [r.validation_loss for r in record.epochs if r.validation_loss is not None]
    losses = [record.loss for record in record.epochs]
    if len(watched) == len(losses) and len(losses) >= 3:
        best = int(np.argmin(watched))
        rise = watched[record.kept_epoch - 1] / watched[best] if watched[best] > 0 else 1.0
        if rise > limits.OVERFIT:
            yield Finding(
                "overfitting",
                "warning",
                f"the validation loss was lowest in epoch {best + 1}, {watched[best]:.3g}, and "
                f"stood at {watched[record.kept_epoch - 1]:.3g} in epoch {record.kept_epoch}, "
                "whose weights were kept",
                rise,
                limits.OVERFIT,
                "Keep the best weights (keep 'best'), stop earlier (patience), or train with more "
                "dropout, noise or weight_decay.",
                "keep",
            )
    falling = watched if len(watched) == len(losses) else losses
    fell = still_falling(falling)
    if fell > limits.FALLING and record.stopped.startswith(("all epochs", "interrupted")):
        yield Finding(
            "stopped_too_early",
            "warning",
            f"the loss was still falling at the end: the last fifth of {len(losses)} epochs took "
            f"{fell:.0%} of the first loss off it",
            fell,
            limits.FALLING,
            f"Train longer, say {2 * len(losses)} epochs.",
            "epochs",
        )


def still_falling(losses: Sequence[float]) -> float:
    """Mean loss of the last fifth of the epochs below that of the fifth before, by the first."""
    last = max(1, len(losses) // 5)
    if len(losses) < 2:
        return 0.0
    before, after = np.mean(losses[-2 * last : -last]), np.mean(losses[-last:])
    return float((before - after) / max(losses[0], 1e-12))
