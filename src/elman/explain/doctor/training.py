"""Findings about a training: settings, learning rate, overfitting, and an end too early."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from elman.explain.doctor.findings import Finding, Limits
from elman.explain.doctor.inputs import DiagnosisInput, TrainingRecord
from elman.explain.doctor.states import PROBE_STEPS
from elman.settings import TrainingPlan

FEW_UNITS = 6
DEFAULT_RATE = TrainingPlan.learning_rate
# Settings above which a network can hardly fit its training split, and why.
STRONG = (
    ("dropout", 0.8, "almost every unit is left out at each step of the training"),
    ("weight_decay", 8.0, "weights shrink faster than they grow"),
    ("label_smoothing", 0.8, "the labels are spread almost evenly over all classes"),
    ("noise", 4.0, "the noise is larger than the standardised values"),
    ("token_dropout", 100.0, "most tokens are read as unknown in training"),
)


def loss_history(inputs: DiagnosisInput) -> tuple[tuple[float, float], ...]:
    """Training and validation loss of each epoch; NaN without validation."""
    if inputs.record is None:
        return ()
    return tuple(
        (epoch.loss, math.nan if epoch.validation_loss is None else epoch.validation_loss)
        for epoch in inputs.record.epochs
    )


def diagnose_training(
    inputs: DiagnosisInput, rate_probe: dict[float, float], rate: float, skill: float | None
) -> Iterator[Finding]:
    """Diagnose settings, the learning rate, overfitting and a training that ended too early."""
    too_strong = list(_diagnose_settings(inputs, rate, skill))
    yield from too_strong
    if not any(finding.name == "learning_rate_too_low" for finding in too_strong):
        yield from _diagnose_rate(inputs, rate_probe, rate, skill)
    if inputs.record is not None:
        yield from _diagnose_end(inputs.record, skill)


def _diagnose_settings(
    inputs: DiagnosisInput, rate: float, skill: float | None
) -> Iterator[Finding]:
    """Find parameters that cannot learn, and settings that keep them from it."""
    still = [name for name, p in inputs.model.named_parameters() if not p.requires_grad]
    if still:
        yield Finding(
            "frozen_weights",
            "warning",
            f"{len(still)} of {len(list(inputs.model.parameters()))} parameters are frozen "
            f"(requires_grad is False), {still[0]} for example: training does not change them",
            len(still),
            0,
            "Set requires_grad to True for all parameters that should learn.",
        )
    zero = [n for n, p in inputs.model.named_parameters() if p.dim() > 1 and not p.any()]
    if zero:
        yield Finding(
            "zero_weights",
            "warning",
            f"all weights of {', '.join(zero[:3])} are 0, so nothing passes through them",
            len(zero),
            0,
            "Start from new weights; fit draws them.",
            "initialization",
        )
    if inputs.record is None or (skill is not None and skill > Limits.LEARNT):
        return
    for name, limit, effect in STRONG:
        value = inputs.option(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > limit:
            yield Finding(
                "strong_regularisation",
                "warning",
                f"{name} is {value:g}: {effect}, and the network can hardly fit even its training "
                "split",
                float(value),
                limit,
                f"Lower {name}, or leave it out: it is then chosen from the data.",
                name,
            )
    if not inputs.record.stopped:
        return  # the training goes on
    epochs, size = inputs.record.epochs, inputs.option("batch_size")
    count = len(inputs.examples)
    batches = max(1, math.ceil(count / (size if isinstance(size, int) else 32)))
    steps = 1 if size == "full" else batches
    moved = steps * sum(epoch.learning_rate for epoch in epochs)
    if inputs.option("optimizer") != "sgd" and moved < Limits.MOVED:
        # A step of Adam changes a weight by about the learning rate, whatever the gradient.
        low = rate < Limits.LOW_RATE
        enough = steps * len(epochs) * DEFAULT_RATE / 2 > Limits.MOVED
        yield Finding(
            "learning_rate_too_low" if low and enough else "too_few_updates",
            "warning",
            f"{steps * len(epochs)} updates with a learning rate of up to {rate:.2g} can change a "
            f"weight by about {moved:.1g}, while new weights are of about "
            f"{_size_of_weights(inputs):.1g}: the network is almost as it began",
            moved,
            Limits.MOVED,
            f"Try a learning rate of {DEFAULT_RATE:g}"
            + ("." if enough else " and more epochs (epochs).")
            if low
            else "Train for more epochs (epochs), or with smaller batches (batch_size).",
            "learning_rate" if low else "epochs",
        )


def _size_of_weights(inputs: DiagnosisInput) -> float:
    return float(1 / math.sqrt(inputs.model.config.hidden_size))


def _diagnose_rate(
    inputs: DiagnosisInput,
    rate_probe: dict[float, float],
    rate: float,
    skill: float | None,
) -> Iterator[Finding]:
    record = inputs.record
    losses = [epoch.loss for epoch in record.epochs] if record else []
    swings = _share_of_swings(losses)
    learnt = skill is not None and skill > Limits.LEARNT
    high = rate >= Limits.HIGH_RATE and not learnt and inputs.option("optimizer") != "sgd"
    if record is not None and (swings > Limits.SWINGS or high):
        swung = (
            f": the loss rose by more than a tenth of its first value in {swings:.0%} of the epochs"
            if swings > 0
            else f", and after {len(losses)} epochs the training loss is {losses[-1]:.3g}, from "
            f"{losses[0]:.3g} in the first"
        )
        yield Finding(
            "learning_rate_too_high",
            "warning",
            f"a learning rate of {rate:.2g} makes steps that overshoot{swung}",
            swings if swings > Limits.SWINGS else rate,
            Limits.SWINGS if swings > Limits.SWINGS else Limits.HIGH_RATE,
            f"Try {min(rate / 10, DEFAULT_RATE if high else rate / 10):.1g}.",
            "learning_rate",
        )
        return
    # A learning rate that works over a whole training may fail on the probe's single batch, so the
    # probe is no evidence against it if the network has learnt.
    if not rate_probe or learnt:
        return
    removed = rate_probe[rate]
    if removed >= Limits.LITTLE:
        return
    better = [r for r, share in rate_probe.items() if share > Limits.MORE]
    lower = max((r for r in better if r < rate), default=None)
    higher = min((r for r in better if r > rate), default=None)
    other = lower if lower is not None else higher
    # A usual rate is not too low: labels that nothing predicts are learnt slowly at any rate.
    if other is not None and (lower is not None or rate < Limits.LOW_RATE):
        yield Finding(
            "learning_rate_too_high" if lower is not None else "learning_rate_too_low",
            "warning",
            f"{PROBE_STEPS} steps with a learning rate of {rate:.2g} remove {removed:.1%} of a "
            f"batch's loss; with {other:.2g} they remove {rate_probe[other]:.0%}",
            removed,
            Limits.LITTLE,
            f"Try {other:.1g}.",
            "learning_rate",
        )


def diagnose_size(inputs: DiagnosisInput, removed: float) -> Iterator[Finding]:
    """Find a network that is too small to fit even its training split.

    Args:
        removed: share of a constant prediction's errors that it avoids there.
    """
    config = inputs.model.config
    units = config.hidden_size * (1 + config.bidirectional)
    if inputs.record is not None and units < FEW_UNITS and removed < 0.5:
        yield Finding(
            "too_few_units",
            "warning",
            f"the network has {units} unit{'s' * (units > 1)} in a layer, which is all that it can "
            f"remember, and it cannot fit its training split",
            units,
            FEW_UNITS,
            "Use more units: hidden_size 32, for example.",
            "hidden_size",
        )


def _share_of_swings(losses: Sequence[float]) -> float:
    """Share of epochs in which the loss rose by more than a tenth of its first value."""
    if len(losses) < 5:
        return 0.0
    return float((np.diff(losses) > Limits.SWING * losses[0]).mean())


def _diagnose_end(record: TrainingRecord, skill: float | None) -> Iterator[Finding]:
    validation = [e.validation_loss for e in record.epochs if e.validation_loss is not None]
    losses = [epoch.loss for epoch in record.epochs]
    validated = len(validation) == len(losses)
    if validated and len(losses) >= 3:
        best, kept = int(np.argmin(validation)), validation[record.kept_epoch - 1]
        rise = kept / validation[best] if validation[best] > 0 else 1.0
        if rise > Limits.OVERFIT:
            yield Finding(
                "overfitting",
                "warning",
                f"the validation loss was lowest in epoch {best + 1}, at {validation[best]:.3g}, "
                f"and had risen to {kept:.3g} in epoch {record.kept_epoch}, whose weights were "
                "kept",
                rise,
                Limits.OVERFIT,
                "Keep the best weights (keep 'best') and stop earlier (patience)."
                if record.options.get("keep") == "last" or record.options.get("patience") == 0
                else "Train with more dropout, noise or weight_decay.",
                "keep",
            )
    fall = _recent_fall(validation if validated else losses)
    if fall > Limits.FALLING and record.stopped.startswith(("all epochs", "interrupted")):
        yield Finding(
            "stopped_too_early",
            "warning",
            "the loss was still falling at the end: the last fifth of the "
            f"{len(losses)} epochs removed {fall:.0%} of the first loss",
            fall,
            Limits.FALLING,
            f"Train longer, for example {2 * len(losses)} epochs.",
            "epochs",
        )


def _recent_fall(losses: Sequence[float]) -> float:
    """Fall of the mean loss between the last two fifths of the epochs, as a share of the first."""
    last = max(1, len(losses) // 5)
    if len(losses) < 2:
        return 0.0
    before, after = np.mean(losses[-2 * last : -last]), np.mean(losses[-last:])
    return float((before - after) / max(losses[0], 1e-12))
