"""The answer to a sequence of which one step was replaced.

Dimensions: T steps, S of them replaced, C channels, D directions, K outputs.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.models import SequenceModel
from elman.models.model import UNKNOWN

Floats = NDArray[np.float64]
Replacement = Literal["others", "baseline"]

_AT_ONCE = 2**22  # steps times units that go through the network together
_ROUNDING = 1e-12  # of probabilities, and of values as the network gives them: no effect


def other_step(
    rows: list[Tensor],
    own: int,
    step: int,
    replace: Replacement,
    network: SequenceModel,
    rng: np.random.Generator,
) -> Tensor:
    """Return what stands in the place of a step, (C,) or ().

    Args:
        rows: all sequences, each (T, C) or (T,), of which `own` is the one that is changed.
        step: which, from 0.
    """
    if replace == "baseline":
        blank = torch.zeros_like(rows[own][step])
        if network.config.vocabulary_size:
            return blank + UNKNOWN
        blank[network.config.input_size :] = UNKNOWN  # the codes of categories
        return blank
    partner = int(rng.integers(len(rows) - 1))
    other = rows[partner + (partner >= own)]
    return other[step if step < len(other) else int(rng.integers(len(other)))]


def changed(
    network: SequenceModel, row: Tensor, steps: list[int], other: Tensor, scale: Tensor | None
) -> list[Floats]:
    """How far the answer moves when each of `steps` is replaced, by way of each direction.

    Args:
        other: what stands in the place of each, (S, C) or (S,).
    Returns: (S,) for each direction; with an output at every step (S, T), twice the same.
    """
    sides = 2 if network.config.bidirectional else 1
    size = max(1, _AT_ONCE // (len(row) * max(network.config.width, network.config.columns)))
    found: list[list[Tensor]] = [[] for _ in range(sides)]
    parts = zip(torch.split(torch.tensor(steps), size), torch.split(other, size), strict=True)
    for places, values in parts:
        x = row.repeat(len(places) + 1, *[1] * row.ndim)  # the first stays as it is
        x[torch.arange(1, len(x), device=row.device), places.to(row.device)] = values
        for side, outputs in enumerate(_outputs(network, x, len(row))):
            found[side].append(_apart(network, outputs.double().cpu(), scale))
    return [torch.cat(moved).numpy() for moved in found]


def _outputs(network: SequenceModel, x: Tensor, length: int) -> list[Tensor]:
    """Outputs of rows of which the first is as it was, (B, K) or (B, T, K), for each direction.

    With an output a sequence, what is read of the other direction is that of the first row.
    """
    read: list[Tensor] = []
    hook = network.output.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    try:
        with torch.no_grad():
            outputs = network(x, torch.full((len(x),), length))
    finally:
        hook.remove()
    if not network.config.bidirectional:
        return [outputs]
    if network.config.per_step:
        return [outputs, outputs]
    H, (whole,) = network.config.hidden_size, read  # (B, 2*H)
    held = whole[:1].expand_as(whole)
    halves = (
        torch.cat([whole[:, :H], held[:, H:]], 1),
        torch.cat([held[:, :H], whole[:, H:]], 1),
    )
    with torch.no_grad():
        return [network.output(half) for half in halves]


def _apart(network: SequenceModel, outputs: Tensor, scale: Tensor | None) -> Tensor:
    """How far each answer but the first is from the first: (B - 1,) or (B - 1, T)."""
    if scale is not None:
        answers = outputs
    elif network.config.task == "multilabel":
        answers = torch.sigmoid(outputs)
    else:
        answers = torch.softmax(outputs, -1)
    apart = (answers[1:] - answers[:1]).abs()
    apart = torch.where(apart > _ROUNDING, apart, 0.0)
    if scale is not None:
        apart = apart * scale
    return apart.sum(-1) / 2 if network.config.task == "classification" else apart.mean(-1)
