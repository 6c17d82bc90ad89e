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
from elman.train.losses import Loss
from elman.train.optimizer import make_optimizer

STEPS = 15  # of the optimizer, for each learning rate
FACTORS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
HIGHEST = 1.0  # rate that is tried, unless the training's own is higher
ROWS = 32
WORK = 3e8  # multiplications that one step of the probe may take


def highest_rate(inputs: DiagnosisInput) -> float:
    """The highest learning rate that the training reached; without one, the default."""
    if inputs.record is None:
        return TrainingPlan.learning_rate
    return max(epoch.learning_rate for epoch in inputs.record.epochs)


def probe_rates(inputs: DiagnosisInput, rate: float, seed: int) -> dict[float, float]:
    """Share of a batch's loss that a few steps from new weights remove, by learning rate.

    A network of the same settings and new weights is trained on one batch, with the optimizer,
    clipping and loss of the training; negative where the loss rose, -inf where it overflowed.
    """
    config, device = inputs.model.config, inputs.model.output.weight.device
    blocks = len(config.cell_definition.blocks)
    work = 3 * blocks * config.hidden_size * (config.hidden_size + config.width)  # forward and back
    work *= config.num_layers * (1 + config.bidirectional)
    rows = max(4, min(ROWS, int(WORK / (work * np.median(inputs.lengths)))))
    parameters = inputs.record.options if inputs.record else {}
    # None where the data chose: then the plan's default is tried.
    options: dict[str, Any] = {
        name: parameters[name]
        for name in ("optimizer", "clip_norm")
        if parameters.get(name) is not None
    }
    index = inputs.sample(rows, seed)
    shares = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Every rate starts from the same weights, without dropout, so that they can be compared.
        new = SequenceModel(dataclasses.replace(config, dropout=0.0))
        new = new.to(inputs.model.output.weight)
        batch = to_device(make_batch(inputs.examples, index), device)
        for factor in FACTORS:
            if factor > 1 and rate * factor > HIGHEST:
                break
            plan = TrainingPlan(learning_rate=rate * factor, **options)
            shares[rate * factor] = _share_removed(copy.deepcopy(new), batch, plan, inputs.loss)
    return shares


def _share_removed(model: SequenceModel, batch: Batch, plan: TrainingPlan, loss: Loss) -> float:
    losses = []
    source = gradient_source(model, plan, loss)
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
        (epoch.loss, math.nan if epoch.validation_loss is None else epoch.validation_loss)
        for epoch in inputs.record.epochs
    )


def diagnose_training(
    inputs: DiagnosisInput, rate_probe: dict[float, float], rate: float, skill: float | None
) -> Iterator[Finding]:
    """Diagnose the learning rate by probe and history, and the end of the training by history."""
    yield from _diagnose_rate(inputs.record, rate_probe, rate, skill)
    if inputs.record is not None:
        yield from _diagnose_end(inputs.record)


def _diagnose_rate(
    record: TrainingRecord | None,
    rate_probe: dict[float, float],
    rate: float,
    skill: float | None,
) -> Iterator[Finding]:
    losses = [epoch.loss for epoch in record.epochs] if record else []
    swings = _share_of_swings(losses)
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
    # One batch may be hard for a rate that works in the end: where the network has learnt, the
    # probe says nothing.
    if not rate_probe or (skill is not None and skill > limits.LEARNT):
        return
    removed = rate_probe[rate]
    if removed >= limits.LITTLE:
        return
    better = [r for r, share in rate_probe.items() if share > limits.MORE]
    lower = max((r for r in better if r < rate), default=None)
    higher = min((r for r in better if r > rate), default=None)
    other = lower if lower is not None else higher
    if other is not None:
        yield Finding(
            "learning_rate_too_high" if lower is not None else "learning_rate_too_low",
            "warning",
            f"{STEPS} steps with a learning rate of {rate:.2g} remove {removed:.1%} of a batch's "
            f"loss, with {other:.2g} {rate_probe[other]:.0%}",
            removed,
            limits.LITTLE,
            f"Try {other:.1g}.",
            "learning_rate",
        )


def _share_of_swings(losses: Sequence[float]) -> float:
    """Share of the epochs in which the loss rose by more than a tenth of its first value."""
    if len(losses) < 5:
        return 0.0
    return float((np.diff(losses) > limits.SWING * losses[0]).mean())


def _diagnose_end(record: TrainingRecord) -> Iterator[Finding]:
    validation = [e.validation_loss for e in record.epochs if e.validation_loss is not None]
    losses = [epoch.loss for epoch in record.epochs]
    validated = len(validation) == len(losses)
    if validated and len(losses) >= 3:
        best, kept = int(np.argmin(validation)), validation[record.kept_epoch - 1]
        rise = kept / validation[best] if validation[best] > 0 else 1.0
        if rise > limits.OVERFIT:
            yield Finding(
                "overfitting",
                "warning",
                f"the validation loss was lowest in epoch {best + 1}, at {validation[best]:.3g}, "
                f"and had risen to {kept:.3g} in epoch {record.kept_epoch}, whose weights were "
                "kept",
                rise,
                limits.OVERFIT,
                "Keep the best weights (keep 'best'), stop earlier (patience), or train with more "
                "dropout, noise or weight_decay.",
                "keep",
            )
    fall = _recent_fall(validation if validated else losses)
    if fall > limits.FALLING and record.stopped.startswith(("all epochs", "interrupted")):
        yield Finding(
            "stopped_too_early",
            "warning",
            "the loss was still falling at the end: the last fifth of the "
            f"{len(losses)} epochs removed {fall:.0%} of the first loss",
            fall,
            limits.FALLING,
            f"Train longer, for example {2 * len(losses)} epochs.",
            "epochs",
        )


def _recent_fall(losses: Sequence[float]) -> float:
    """Mean loss of the last fifth of the epochs below that of the fifth before, by the first."""
    last = max(1, len(losses) // 5)
    if len(losses) < 2:
        return 0.0
    before, after = np.mean(losses[-2 * last : -last]), np.mean(losses[-last:])
    return float((before - after) / max(losses[0], 1e-12))
