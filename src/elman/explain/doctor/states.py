"""Measurements of the network: gates, units, gradients, and a probe of learning rates.

Dimensions: B sequences, T steps, H hidden.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Batch, make_batch, pad
from elman.data.ragged import Ragged
from elman.explain.doctor.findings import Finding, Limits, Measurements
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.forms import Floats
from elman.layers.random_numbers import draw_from
from elman.models import SequenceModel
from elman.models.unrolled import LayerSteps, steps_of_layer, unroll, weights_of
from elman.settings import TrainingPlan
from elman.train.gradients import gradient_source
from elman.train.loop import to_device
from elman.train.losses import Loss
from elman.train.optimizer import make_optimizer

STEPS = 1000  # most steps of a sequence that are examined
NUMBERS = 20_000_000  # most gate and state values in memory, 80 MB of float32; limits the sequences
GRADIENT_ROWS = 32  # most sequences for gradients, because autograd keeps the graph of every step
PROBE_STEPS = 15  # optimizer steps for each learning rate
RATE_FACTORS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
HIGHEST_RATE = 1.0  # highest learning rate to try, unless that of the training is higher
PROBE_ROWS = 32  # most sequences in the probe's batch
PROBE_WORK = 3e8  # most multiplications in one step of the probe


def measure_states(
    inputs: DiagnosisInput, index: NDArray[np.int64], seed: int
) -> tuple[Measurements, int]:
    """Measure gates, states and gradients on the sampled sequences; see `Measurements`.

    Args:
        index: indices of the sequences, (B,).
        seed: seed of the random gradients that are propagated back.
    Returns: the measurements, and the number of sequences that they were made on.
    """
    model = inputs.model
    config, cell = model.config, model.config.cell_definition
    rows = _truncate(inputs.examples.inputs.take(index), STEPS)
    directions = 1 + config.bidirectional
    numbers = config.hidden_size * config.num_layers * directions * (len(cell.traced) + 2)
    most = max(2, NUMBERS // (numbers * int(rows.lengths.max())))
    rows = rows.take(np.arange(min(len(rows), most)))
    x, lengths = pad(rows).to(model.output.weight.device), torch.from_numpy(rows.lengths)
    static = None if rows.static is None else torch.from_numpy(rows.static).to(x.device)
    with torch.no_grad():
        unrolled = unroll(model, x, lengths, static)
    mask = unrolled.mask
    measurements = Measurements()
    for layer in unrolled.layers:
        place = (layer.layer, "backward" if layer.reverse else "forward")
        deviation = layer.over_time("h")[mask].std(0, correction=0)
        measurements.unit_deviation[place] = deviation.cpu().double().numpy()
        for name in cell.traced:
            values = layer.over_time(name)[mask]
            saturated = _saturated(values, cell.activations.get(name, ""))
            if saturated is not None:
                high = saturated & (values > 0.5)
                measurements.saturation[(*place, name)] = float(saturated.double().mean())
                measurements.saturated_high[(*place, name)] = float(high.double().mean())
        _, U, _, _ = weights_of(model, layer.layer, layer.reverse)
        for name, block in cell.split(U.T).items():
            # In float64, because eigenvalues of a nonsymmetric matrix are sensitive to rounding.
            eigenvalues = torch.linalg.eigvals(block.T.detach().double().cpu())
            measurements.spectral_radius[(*place, name)] = float(eigenvalues.abs().max())
        measurements.gradient_by_lag[place] = _gradient_by_lag(model, layer, mask, seed, static)
    return measurements, len(rows)


def _truncate(steps: Ragged, most: int) -> Ragged:
    """Keep the first `most` steps of each sequence."""
    mask = np.arange(len(steps.values)) - np.repeat(steps.offsets[:-1], steps.lengths) < most
    offsets = np.concatenate([[0], np.cumsum(np.minimum(steps.lengths, most))]).astype(np.int64)
    return Ragged(steps.values[mask], offsets, steps.static)


def _saturated(values: Tensor, activation: str) -> Tensor | None:
    """Find saturated activations; None for a nonlinearity that does not saturate."""
    if activation == "sigmoid":
        return (values < Limits.END) | (values > 1 - Limits.END)
    # tanh(x) = 2 sigmoid(2 x) - 1, so the limits are at the same shares of its range.
    return values.abs() > 1 - 2 * Limits.END if activation == "tanh" else None


def _gradient_by_lag(
    model: SequenceModel, layer: LayerSteps, mask: Tensor, seed: int, static: Tensor | None
) -> Floats:
    """Share of a gradient's norm left after k steps back in one layer and direction, (T,), k >= 0.

    A random gradient enters at the last state of each row; the result is the median over the rows
    that are longer than k. The norm is of all states together (h and c for an LSTM).

    Args:
        mask: True at valid steps, (B, T).
        static: static features, (B, S), or None.
    """
    static = None if static is None else static[:GRADIENT_ROWS]
    names, mask = model.config.cell_definition.states, mask[:GRADIENT_ROWS]
    with torch.enable_grad():
        start = layer.inputs[:GRADIENT_ROWS].detach().requires_grad_()
        steps = list(steps_of_layer(model, layer.layer, layer.reverse, start, mask, static))
        end = steps[-1].states["h"]
        generator = torch.Generator().manual_seed(seed)
        sent = torch.randn(end.shape, generator=generator, dtype=torch.float64).to(end)
        states = [step.states[name] for step in steps for name in names]
        gradients = torch.autograd.grad((end * sent).sum(), states, allow_unused=True)
    zero = torch.zeros_like(end)
    squares = [(zero if g is None else g).double().square().sum(-1) for g in gradients]  # (B,) each
    norms = torch.stack(squares).view(len(steps), len(names), -1).sum(1).sqrt()  # (T, B)
    lengths = mask.sum(1)
    by_lag = np.full((int(lengths.max()), len(lengths)), np.nan)
    for row, length in enumerate(lengths.tolist()):
        # Steps are in the order in which the layer computes them, so padding comes last in the
        # forward direction and first in the backward direction.
        valid = norms[len(norms) - length :, row] if layer.reverse else norms[:length, row]
        back = valid.flip(0).cpu().numpy()
        by_lag[:length, row] = back / max(float(back[0]), 1e-300)
    # The median, because a single row with an exploding gradient would dominate the mean.
    median: Floats = np.nanmedian(by_lag, 1)
    return median


def diagnose_states(
    inputs: DiagnosisInput, measurements: Measurements, skill: float | None
) -> Iterator[Finding]:
    """Derive findings from the measurements.

    Args:
        skill: share of the baseline's loss that the network removes; None without labels.
    """
    learnt = inputs.record is not None and skill is not None and skill > Limits.LEARNT
    yield from _diagnose_saturation(inputs, measurements, learnt)
    yield from _diagnose_units(inputs, measurements)
    yield from _diagnose_matrices(inputs, measurements)
    yield from _diagnose_gradients(inputs, measurements, skill)


def _diagnose_saturation(
    inputs: DiagnosisInput, measurements: Measurements, learnt: bool
) -> Iterator[Finding]:
    """Find gates at an end of their range; in a network that has learnt they may be meant so."""
    for place, share in measurements.saturation.items():
        if share <= Limits.SATURATED:
            continue
        upper = measurements.saturated_high.get(place, 0.0)
        tanh = inputs.model.config.cell_definition.activations.get(place[2]) == "tanh"
        ends = ("at -1", "at 1") if tanh else ("closed", "open")
        name = f"{'state' if place[2] in ('h', 'c') else 'gate'} {place[2]}"
        if upper > 0.8 * share:
            what = f"{name} stays {ends[1]} at {upper:.0%} of its steps and units"
        elif upper < 0.2 * share:
            what = f"{name} stays {ends[0]} at {share - upper:.0%} of its steps and units"
        else:
            what = f"{name} is {ends[0]} at {share - upper:.0%} of its steps and units, and "
            what += f"{ends[1]} at {upper:.0%}"
        yield Finding(
            "saturated_gates",
            "note" if learnt else "warning",
            f"{what}, where inputs and weights hardly change it",
            share,
            Limits.SATURATED,
            ""
            if learnt
            else inputs.advise_scale(
                "Train again with a lower learning rate"
                + ("." if _is_orthogonal(inputs) else " or with initialization 'orthogonal'."),
            ),
            "learning_rate",
            *place,
        )


def _is_orthogonal(inputs: DiagnosisInput) -> bool:
    return bool(inputs.option("initialization") == "orthogonal")


def _diagnose_units(inputs: DiagnosisInput, measurements: Measurements) -> Iterator[Finding]:
    relu = _activation(inputs) == "relu"
    for place, deviation in measurements.unit_deviation.items():
        # A relu unit that is 0 everywhere has no gradient and never recovers. An almost constant
        # tanh unit still has a gradient, so a larger share of such units is tolerated.
        still = np.flatnonzero(deviation == 0 if relu else deviation < Limits.STILL)
        if not len(still):
            continue
        share = len(still) / len(deviation)
        threshold = Limits.DEAD if relu else Limits.STILL_SHARE
        what = (
            "are 0 at every step of every sequence: they carry no information and no gradient"
            if relu
            else "never change: they carry no information"
        )
        yield Finding(
            "dead_units" if relu else "constant_units",
            "warning" if share > threshold else "note",
            f"{len(still)} of {len(deviation)} units {what}",
            share,
            threshold,
            "Lower the learning rate, or use nonlinearity 'tanh'."
            if relu
            else "Use fewer units (hidden_size)."
            if inputs.option("weight_decay") == 0
            else "Lower weight_decay, or use fewer units (hidden_size).",
            "learning_rate" if relu else "weight_decay",
            *place,
            units=tuple(still.tolist()),
        )


def _activation(inputs: DiagnosisInput) -> str:
    """The nonlinearity that computes the state; empty for a cell with gates."""
    return inputs.model.config.cell_definition.activations.get("h", "")


def _diagnose_matrices(inputs: DiagnosisInput, measurements: Measurements) -> Iterator[Finding]:
    activation = _activation(inputs)
    if activation not in Limits.RADIUS:
        return  # in a gated cell, the radius of one gate's matrix does not decide how states grow
    for place, radius in measurements.spectral_radius.items():
        if radius > Limits.RADIUS[activation]:
            end = "tanh saturates" if activation == "tanh" else "it exceeds every bound"
            yield Finding(
                "spectral_radius",
                "warning",
                f"the largest eigenvalue of U has the absolute value {radius:.3g}: small "
                f"differences grow by that factor at every step, until {end}",
                radius,
                Limits.RADIUS[activation],
                "Train again with "
                + ("" if _is_orthogonal(inputs) else "initialization 'orthogonal' (radius 1) or ")
                + "a lower learning rate, or use cell 'gru'.",
                "initialization",
                *place[:2],
            )


def _diagnose_gradients(
    inputs: DiagnosisInput, measurements: Measurements, skill: float | None
) -> Iterator[Finding]:
    gated = bool(inputs.model.config.cell_definition.gates)
    steps = int(np.median(np.minimum(inputs.lengths, STEPS)))
    learnt = skill is not None and skill > Limits.LEARNT
    trained = inputs.record is not None and skill is not None
    remedy, setting = _lengthen_reach(inputs, gated)
    clipped = bool(inputs.option("clip_norm"))
    for place, share in measurements.gradient_by_lag.items():
        if steps < 3 or len(share) < steps:
            continue
        back = steps - 1
        left, highest = float(share[back]), float(np.nanmax(share[:steps]))
        if highest > Limits.EXPLODED:
            yield Finding(
                "exploding_gradients",
                "warning",
                f"a gradient grows by a factor of {highest:.1e} on its way back over {back} steps",
                highest,
                Limits.EXPLODED,
                ("Lower" if clipped else "Keep clip_norm above 0, or lower")
                + " the learning rate"
                + ("." if _is_orthogonal(inputs) else ", or use initialization 'orthogonal'."),
                "learning_rate" if clipped else "clip_norm",
                *place,
            )
        elif left < Limits.VANISHED:
            reach = int(np.argmax(share < Limits.REACH))
            rest = "is 0" if left == 0 else f"is down to {left:.1e} of its size"
            message = (
                f"the gradient {rest} after {back} steps back, and below a thousandth after {reach}"
            )
            # Before training, only a decay faster than in new gated networks is a warning, because
            # gates may still learn to carry gradients further. After training, the skill decides.
            by_step = max(left, 1e-300) ** (1 / back)
            harmful = not learnt and (trained or by_step < Limits.FACTOR)
            if harmful:
                message += ": the network cannot learn from steps further back"
            elif learnt:
                message += ". The network has learnt nevertheless"
            else:
                message += "; its gates may still learn to carry it further"
            yield Finding(
                "vanishing_gradients",
                "warning" if harmful else "note",
                message,
                left,
                Limits.VANISHED,
                remedy if harmful else "",
                setting,
                *place,
            )


def _lengthen_reach(inputs: DiagnosisInput, gated: bool) -> tuple[str, str]:
    """What carries gradients further than the network's settings do, and its setting."""
    if not gated:
        return "Use cell 'gru' or 'lstm', whose gates carry gradients further.", "cell"
    if inputs.model.config.readout == "last":
        words = "Use readout 'mean' or 'max', which gives every step a short path to the output."
        return words, "readout"
    return "Cut the sequences into shorter windows (window), or keep every second step.", "window"


def describe_reach(measurements: Measurements) -> str:
    """Describe, for each layer, how many steps back a thousandth of a gradient is left."""
    words = []
    for (layer, direction), share in measurements.gradient_by_lag.items():
        below = np.flatnonzero(share < Limits.REACH)
        reach = f"{below[0]}" if len(below) else f"more than {len(share) - 1}"
        words.append(f"{reach} in layer {layer} {direction}")
    more = f" and {len(words) - 6} more" if len(words) > 6 else ""
    return f"steps back until a thousandth of a gradient is left: {', '.join(words[:6])}{more}"


def highest_rate(inputs: DiagnosisInput) -> float:
    """The highest learning rate of the training, or the default if there is no record."""
    if inputs.record is None:
        return TrainingPlan.learning_rate
    return max(epoch.learning_rate for epoch in inputs.record.epochs)


def probe_rates(inputs: DiagnosisInput, rate: float, seed: int) -> dict[float, float]:
    """Share of a batch's loss that a few steps from new weights remove, by learning rate.

    A network with the same settings and new weights is trained on one batch, with the optimizer,
    clipping and loss of the training. A share is negative if the loss rose, -inf if it overflowed.
    """
    config, device = inputs.model.config, inputs.model.output.weight.device
    blocks = len(config.cell_definition.blocks)
    work = 3 * blocks * config.hidden_size * (config.hidden_size + config.width)  # forward and back
    work *= config.num_layers * (1 + config.bidirectional)
    # Fewer rows for wide networks and long sequences, as up to seven rates take 16 steps each.
    rows = max(4, min(PROBE_ROWS, int(PROBE_WORK / (work * np.median(inputs.lengths)))))
    parameters = inputs.record.options if inputs.record else {}
    # A setting that was chosen from the data is None; the default of the plan is then used.
    options: dict[str, Any] = {
        name: parameters[name]
        for name in ("optimizer", "clip_norm")
        if parameters.get(name) is not None
    }
    index = inputs.sample(rows, seed)
    shares = {}
    generator = torch.Generator().manual_seed(seed)
    # Each rate starts from the same weights, without dropout, so that losses are comparable.
    new = SequenceModel(dataclasses.replace(config, dropout=0.0), generator)
    new = new.to(inputs.model.output.weight)
    batch = to_device(make_batch(inputs.examples, index), device)
    with draw_from(generator, everything=not new.is_exact()):
        for factor in RATE_FACTORS:
            if factor > 1 and rate * factor > HIGHEST_RATE:
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
        for _ in range(PROBE_STEPS + 1):
            with source.around:
                losses.append(source(batch)[0])
                norm = source.clip(plan.clip_norm or math.inf)
                if not (math.isfinite(losses[-1]) and math.isfinite(norm)):
                    return -math.inf
                optimizer.step()
    finally:
        source.release()
    return 1 - losses[-1] / losses[0] if losses[0] > 0 else 0.0
