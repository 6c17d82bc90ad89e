"""How a prediction changes when steps of a sequence are replaced.

`change_by_step` replaces one step at a time, for the memory of a network; `occlude` replaces spans
by a baseline, for an attribution (Zeiler & Fergus 2014, arXiv:1311.2901).

Dimensions: T steps, S of them replaced, C channels, E numbers of a step in e, D directions, K
outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from elman.errors import SettingsError
from elman.explain.network import ExplainedNetwork
from elman.explain.results import Floats
from elman.models import SequenceModel
from elman.models.model import UNKNOWN

Replacement = Literal["others", "baseline"]

_UNIT_STEPS = 2**22  # steps times units that go through the network together
# In float64 a prediction that does not depend on a step still differs in the last bits, for a batch
# of another size is summed in another order: below this, a difference is no effect.
_ROUNDING = 1e-12
_OCCLUDED_VALUES = 2**22  # numbers in the rows that are built together: 32 MB
_MAX_OCCLUDED_STEPS = 10**8  # that the network may be run over: minutes on a CPU


def replacement_for(
    rows: list[Tensor],
    number: int,
    step: int,
    replace: Replacement,
    network: SequenceModel,
    rng: np.random.Generator,
) -> Tensor:
    """Return what takes the place of a step, (C,) or ().

    Args:
        rows: all sequences, each (T, C) or (T,).
        number: of the sequence that is changed.
        step: which, from 0.
    """
    if replace == "baseline":
        blank = torch.zeros_like(rows[number][step])
        if network.config.vocabulary_size:
            return blank + UNKNOWN
        blank[network.config.input_size :] = UNKNOWN  # the codes of categories
        return blank
    partner = int(rng.integers(len(rows) - 1))
    other = rows[partner + (partner >= number)]
    return other[step if step < len(other) else int(rng.integers(len(other)))]


def change_by_step(
    network: ExplainedNetwork, row: Tensor, steps: list[int], replacements: Tensor
) -> list[Floats]:
    """How far the prediction moves when each of `steps` is replaced, by way of each direction.

    Args:
        row: a sequence, (T, C) or (T,).
        replacements: what takes the place of each step, (S, C) or (S,).
    Returns: (S,) for each direction; with an output at every step (S, T), twice the same.
    """
    config = network.model.config
    directions = 2 if config.bidirectional else 1
    size = max(1, _UNIT_STEPS // (len(row) * max(config.width, config.columns)))
    changes: list[list[Tensor]] = [[] for _ in range(directions)]
    batches = zip(
        torch.split(torch.tensor(steps), size), torch.split(replacements, size), strict=True
    )
    for places, values in batches:
        x = row.repeat(len(places) + 1, *[1] * row.ndim)  # the first stays as it is
        x[torch.arange(1, len(x), device=row.device), places.to(row.device)] = values
        for direction, outputs in enumerate(_outputs_by_direction(network.model, x, len(row))):
            changes[direction].append(_distance_to_first(network, outputs.double().cpu()))
    return [torch.cat(batch).numpy() for batch in changes]


def _outputs_by_direction(network: SequenceModel, x: Tensor, length: int) -> list[Tensor]:
    """Outputs of rows of which the first is unchanged, (B, K) or (B, T, K), for each direction.

    With an output a sequence, what is read of the other direction is that of the first row.
    """
    read: list[Tensor] = []
    hook = network.output.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    try:
        with torch.no_grad():
            outputs = network(x, torch.full((len(x),), length))
    finally:
        hook.remove()
    if not network.config.bidirectional:
        return [outputs]
    if network.config.per_step:
        return [outputs, outputs]
    H, (both,) = network.config.hidden_size, read  # (B, 2*H)
    unchanged = both[:1].expand_as(both)
    halves = (
        torch.cat([both[:, :H], unchanged[:, H:]], 1),
        torch.cat([unchanged[:, :H], both[:, H:]], 1),
    )
    with torch.no_grad():
        return [network.output(half) for half in halves]


def _distance_to_first(network: ExplainedNetwork, outputs: Tensor) -> Tensor:
    """Distance of each prediction but the first to the first: (B - 1,) or (B - 1, T).

    One value is compared in its unit, several on the scale of the network's outputs, which makes
    them comparable.
    """
    predictions = network.meaning.to_distribution(outputs)
    differences = (predictions[1:] - predictions[:1]).abs()
    differences = torch.where(differences > _ROUNDING, differences, 0.0)
    if network.model.config.num_outputs == 1:
        differences = differences * network.scale.to(differences)
    return network.meaning.distance(differences)


def spans(steps: int, span: int, stride: int) -> list[tuple[int, int]]:
    """Where each span starts and ends, the end not included.

    They start at 0, stride, 2 * stride ..., stride at most span; the last one ends at the last
    step. Where that does not come out even, it is a shorter one if spans lie end to end, else one
    more that is whole. A span longer than the sequence is cut.
    """
    span = min(span, steps)
    starts = list(range(0, steps - span + 1, stride))
    if starts[-1] + span < steps:
        starts.append(starts[-1] + span if stride == span else steps - span)
    return [(start, min(start + span, steps)) for start in starts]


def occlude(
    score: Callable[[Tensor], Tensor],
    e: Tensor,
    baseline: Tensor,
    columns: Tensor,
    *,
    span: int,
    stride: int,
) -> tuple[Floats, Floats, int]:
    """Replace span after span, in each column of the input alone and in all together.

    Args:
        score: from rows, (P, T, E), to F, (P,).
        e, baseline: (T, E).
        columns: for each of the E numbers, the column of the input that it belongs to, (E,).
    Returns: values of each column, (T, C); of all columns together, (T,); rows that were scored.
    Raises: SettingsError where that would take too long.
    """
    steps, count = len(e), int(columns[-1]) + 1
    windows = spans(steps, span, stride)
    masks = [columns == c for c in range(count)]
    if count > 1:
        masks.append(torch.ones_like(masks[0]))
    jobs = [(window, mask) for mask in masks for window in windows]
    if len(jobs) * steps > _MAX_OCCLUDED_STEPS:
        raise SettingsError(
            f"span: got {span}, moved by {stride}, for which the network would run over "
            f"{len(jobs) * steps:,} steps in all, expected at most {_MAX_OCCLUDED_STEPS:,}. Take a "
            "longer span and stride"
        )
    size = max(1, _OCCLUDED_VALUES // e.numel())
    at_input = score(e[None])
    losses = []
    for i in range(0, len(jobs), size):
        batch = jobs[i : i + size]
        rows = e.repeat(len(batch), 1, 1)
        for row, ((start, end), mask) in zip(rows, batch, strict=True):
            row[start:end] = torch.where(mask, baseline[start:end], e[start:end])
        losses.append(at_input - score(rows))
    effects = torch.cat(losses).cpu().double().numpy().reshape(len(masks), len(windows))
    by_step = np.stack([_share(windows, effect, steps) for effect in effects], 1)  # (T, C [+ 1])
    return by_step[:, :count], by_step[:, -1], len(jobs) + 1


def _share(windows: list[tuple[int, int]], effects: Floats, steps: int) -> Floats:
    """From an effect of each span to one of each step: the mean of its equal shares, (T,)."""
    total, times = np.zeros(steps), np.zeros(steps)
    for (start, end), effect in zip(windows, effects, strict=True):
        total[start:end] += effect / (end - start)
        times[start:end] += 1
    shares: Floats = total / times  # every step is in one span at least
    return shares
