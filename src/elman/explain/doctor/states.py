"""Gates, units and recurrent matrices: what the network does with the sequences.

Dimensions: B sequences, T steps, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import pad
from elman.explain.doctor import limits
from elman.explain.doctor.findings import Finding, Floats, Measurements
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.sequences import truncate
from elman.models.unrolled import steps_of_layer, unroll, weights_of

STEPS = 1000  # of a sequence that are gone through
NUMBERS = 20_000_000  # gates and states that are held at once, which bounds the sequences
GRADIENT_ROWS = 32


def measure_states(
    inputs: DiagnosisInput, index: NDArray[np.int64], seed: int
) -> tuple[Measurements, int]:
    """Run the sampled sequences once forward, fewer once back; see `Measurements`.

    Args:
        index: of the sequences, (B,).
        seed: of the directions in which gradients are sent back.
    Returns: the measures, and how many sequences they are of.
    """
    model = inputs.model
    config = model.config
    rows = truncate(inputs.examples.inputs.take(index), STEPS)
    cell = config.cell_definition
    kept = len(cell.traced) + 2
    size = config.hidden_size * config.num_layers * (1 + config.bidirectional) * kept
    most = max(2, NUMBERS // (size * int(rows.lengths.max())))
    rows = rows.take(np.arange(min(len(rows), most)))
    device = model.output.weight.device
    x, lengths = pad(rows).to(device), torch.from_numpy(rows.lengths)
    with torch.no_grad():
        done = unroll(model, x, lengths)
    measured = Measurements()
    for layer in done.layers:
        place = (layer.layer, "backward" if layer.reverse else "forward")
        for name in cell.traced:
            values = layer.over_time(name)[done.mask]  # (N, H)
            if name == "h":
                measured.unit_deviation[place] = values.std(0, correction=0).cpu().double().numpy()
            activation = cell.activations.get(name, "")
            if activation not in ("sigmoid", "tanh"):
                continue
            ends = (
                (values < limits.END) | (values > 1 - limits.END)
                if activation == "sigmoid"
                else (values.abs() > 1 - 2 * limits.END)
            )
            measured.saturation[(*place, name)] = float(ends.double().mean())
        _, U, _, _ = weights_of(model, layer.layer, layer.reverse)
        for name, block in zip(cell.blocks, U.chunk(len(cell.blocks)), strict=True):
            measured.spectral_radius[(*place, name)] = float(
                torch.linalg.eigvals(block.detach().double().cpu()).abs().max()
            )
        layer_inputs = layer.inputs[:GRADIENT_ROWS]
        measured.gradient_by_lag[place] = _gradient_by_lag(
            inputs, layer.layer, layer.reverse, layer_inputs, done.mask[:GRADIENT_ROWS], seed
        )
    return measured, len(rows)


def _gradient_by_lag(
    inputs: DiagnosisInput,
    layer: int,
    reverse: bool,
    layer_inputs: Tensor,
    inside: Tensor,
    seed: int,
) -> Floats:
    """Share of a gradient left after k steps back through one layer and direction, (T,), from k=0.

    A random gradient is sent into the last state of each row; the median over the rows that are
    longer than k. Of an lstm the norm is that of hidden and cell state together.
    """
    names = inputs.model.config.cell_definition.states
    with torch.enable_grad():
        start = layer_inputs.detach().requires_grad_()
        steps = list(steps_of_layer(inputs.model, layer, reverse, start, inside))
        end = steps[-1].states["h"]
        generator = torch.Generator().manual_seed(seed)
        sent = torch.randn(end.shape, generator=generator, dtype=torch.float64).to(end)
        states = [step.states[name] for step in steps for name in names]
        found = torch.autograd.grad((end * sent).sum(), states, allow_unused=True)
    zero = torch.zeros_like(end)
    squares = [(zero if g is None else g).double().square().sum(-1) for g in found]  # (B,) each
    norms = torch.stack(
        [
            torch.stack(squares[i : i + len(names)]).sum(0)
            for i in range(0, len(squares), len(names))
        ]
    ).sqrt()  # (T, B), in the direction of travel
    lengths = inside.sum(1)
    by_distance = np.full((int(lengths.max()), len(lengths)), np.nan)
    for row, length in enumerate(lengths.tolist()):
        travelled = norms[len(norms) - length :, row] if reverse else norms[:length, row]
        back = travelled.flip(0).cpu().numpy()
        by_distance[:length, row] = back / max(float(back[0]), 1e-300)
    gradient_by_lag: Floats = np.nanmedian(by_distance, 1)
    return gradient_by_lag


def diagnose_states(
    inputs: DiagnosisInput, measured: Measurements, skill: float | None
) -> Iterator[Finding]:
    """From the measures to findings.

    Args:
        skill: share of the baseline's loss that the network takes away; None without labels.
    """
    yield from _gates(measured)
    yield from _units(inputs, measured)
    yield from _matrices(inputs, measured)
    yield from _gradients(inputs, measured, skill)


def _gates(measured: Measurements) -> Iterator[Finding]:
    for (layer, direction, gate), share in measured.saturation.items():
        if share > limits.SATURATED:
            what = (
                "states stand beyond -0.98 or 0.98"
                if gate == "h"
                else "activations stand at an end"
            )
            yield Finding(
                "saturated_gates",
                "warning",
                f"{share:.0%} of its {what}, where the slope is next to nothing: it hardly learns",
                share,
                limits.SATURATED,
                "Lower the learning rate, standardise the layer_inputs (scale), or begin anew with "
                "initialization 'orthogonal'.",
                "learning_rate",
                layer,
                direction,
                gate,
            )


def _units(inputs: DiagnosisInput, measured: Measurements) -> Iterator[Finding]:
    config = inputs.model.config
    relu = config.cell == "rnn" and config.nonlinearity == "relu"
    for (layer, direction), spread in measured.unit_deviation.items():
        still = np.flatnonzero(spread == 0 if relu else spread < limits.STILL)
        if not len(still):
            continue
        share = len(still) / len(spread)
        line = limits.DEAD if relu else limits.STILL_SHARE
        name = "dead_units" if relu else "constant_units"
        what = "are 0 at every step of every sequence" if relu else "never change"
        yield Finding(
            name,
            "warning" if share > line else "note",
            f"{len(still)} of {len(spread)} units {what}: they carry nothing"
            + (" and no gradient reaches them" if relu else ""),
            share,
            line,
            "Lower the learning rate, or use nonlinearity 'tanh'."
            if relu
            else "Lower weight_decay, or ask for fewer units (hidden_size).",
            "learning_rate" if relu else "weight_decay",
            layer,
            direction,
            units=tuple(still.tolist()),
        )


def _matrices(inputs: DiagnosisInput, measured: Measurements) -> Iterator[Finding]:
    config = inputs.model.config
    if config.cell != "rnn":
        return  # a gate's matrix acts through the gate: its radius says nothing by itself
    line = limits.RADIUS[config.nonlinearity]
    for (layer, direction, _), radius in measured.spectral_radius.items():
        if radius > line:
            yield Finding(
                "spectral_radius",
                "warning",
                f"the largest eigenvalue of U is {radius:.3g} in size: what is small grows that "
                "much a step, until "
                + (
                    "it leaves every bound" if config.nonlinearity == "relu" else "tanh cuts it off"
                ),
                radius,
                line,
                "Begin anew with initialization 'orthogonal' (radius 1) or a lower learning rate, "
                "or use cell 'gru'.",
                "initialization",
                layer,
                direction,
            )


def _gradients(
    inputs: DiagnosisInput, measured: Measurements, skill: float | None
) -> Iterator[Finding]:
    config = inputs.model.config
    steps = int(np.median(np.minimum(inputs.lengths, STEPS)))
    for (layer, direction), gradient_by_lag in measured.gradient_by_lag.items():
        if steps < 3 or len(gradient_by_lag) < steps:
            continue
        back = steps - 1
        left = float(gradient_by_lag[back])
        highest = float(np.nanmax(gradient_by_lag[:steps]))
        if highest > limits.EXPLODED:
            yield Finding(
                "exploding_gradients",
                "warning",
                f"a gradient grows {highest:.1e}-fold on its way back over {back} steps",
                highest,
                limits.EXPLODED,
                "Keep clip_norm above 0, lower the learning rate, or begin anew with "
                "initialization 'orthogonal'.",
                "clip_norm",
                layer,
                direction,
            )
        elif left < limits.VANISHED:
            factor = max(left, 1e-300) ** (1 / back)
            reach = int(np.argmax(gradient_by_lag < limits.REACH))
            learnt = skill is not None and skill > limits.LEARNT
            tried = inputs.record is not None and skill is not None
            bad = not learnt and (tried or factor < limits.FACTOR)
            message = (
                f"of a gradient {left:.1e} is left after {back} steps back, less than a thousandth "
                f"after {reach}: what stands further back hardly teaches"
            )
            if not bad:
                message += (
                    "; the network has learnt all the same, so its answers may not need it"
                    if learnt
                    else "; gates may yet learn to carry it further"
                )
            remedies = {
                "rnn": "Use cell 'gru' or 'lstm', whose gates carry gradients further.",
                "gru": "Use readout 'mean' or 'max', which gives every step a short way.",
                "lstm": "Use readout 'mean' or 'max', which gives every step a short way.",
            }
            setting = "cell" if config.cell == "rnn" else "readout"
            yield Finding(
                "vanishing_gradients",
                "warning" if bad else "note",
                message,
                left,
                limits.VANISHED,
                remedies[config.cell],
                setting,
                layer,
                direction,
            )


def summarise_reach(measured: Measurements) -> str:
    """Which layers reach how far, in one sentence."""
    parts = []
    for (layer, direction), gradient_by_lag in measured.gradient_by_lag.items():
        below = np.flatnonzero(gradient_by_lag < limits.REACH)
        reach = f"{below[0]}" if len(below) else f"all {len(gradient_by_lag)}"
        parts.append(f"layer {layer} {direction} {reach}")
    return f"steps until a thousandth of a gradient is left: {listed_words(parts)}"


def listed_words(words: list[str]) -> str:
    """A few of them, and how many more."""
    return ", ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")
