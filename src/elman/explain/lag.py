"""How a gradient fares on its way back: its norm by distance, and the Jacobian of each step.

A gradient enters a layer from above at the steps that the output, or the next layer, reads: these
are its sources. Each is followed back through the recurrence of its own layer and direction alone.
Of an lstm it is the gradient of the state (h, c), which goes back as one.

    g_{t-1} = J_t^T g_t        J_t = d(state_t) / d(state_{t-1})

Dimensions: T steps, H hidden, S sources; N = H numbers of the state, 2*H of an lstm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elman.explain.backward import LayerBackward
from elman.train import TorchThreads

MOST_SOURCES = 64
_AT_ONCE = 2**22  # numbers of the Jacobians that are in memory together


@dataclass(frozen=True)
class GradientByLag:
    """What is left of a gradient after so many steps back.

    Args:
        norms: mean norm by distance, 0 to T-1, over the sources that went so far, (T,); NaN at
            distances that none went.
        remaining: the norm against that at distance 0, (T,): the product over the steps so far of
            sum of norms after the step / sum of norms before it, of the sources that made it.
        sources: steps at which a gradient enters and was followed, S.
    """

    norms: Tensor
    remaining: Tensor
    sources: int


def gradient_by_lag(back: LayerBackward) -> GradientByLag:
    """Follow the gradients that enter one layer and direction, all together.

    Where more than 64 steps are sources, 64 of them are followed, evenly spaced, the first and the
    last with them: time and memory stay O(T*H).
    """
    order = list(back.order)
    source = (back.direct != 0).any(1).tolist()
    entered = [place for place, t in enumerate(order) if source[t]]
    if len(entered) > MOST_SOURCES:
        chosen = torch.linspace(0, len(entered) - 1, MOST_SOURCES).round().long().tolist()
        entered = [entered[i] for i in chosen]
    norms = back.dh.new_full((len(entered), len(order)), torch.nan)  # (S, distance)
    dh = dc = back.dh.new_zeros(0, back.dh.shape[1])
    for place, t in enumerate(order):
        if place in entered[len(dh) : len(dh) + 1]:
            dh = torch.cat([dh, back.direct[t][None]])
            dc = torch.cat([dc, torch.zeros_like(dh[:1])])
        if len(dh):
            sizes = (
                (dh.square().sum(1) + dc.square().sum(1))
                .sqrt()
                .nan_to_num(nan=torch.inf, posinf=torch.inf)
            )
            since = place - torch.tensor(entered[: len(dh)])
            norms[torch.arange(len(dh)), since] = sizes
            _, _, dh, dc = back.step(t, dh, dc)
    went = ~norms.isnan()
    mean = torch.where(went, norms, 0.0).sum(0) / went.sum(0)  # 0 / 0 is NaN
    after = torch.where(went, norms, 0.0)[:, 1:].sum(0)
    was = torch.where(went[:, 1:], norms[:, :-1], 0.0).sum(0)  # of the same sources
    ratio = after / was
    ratio[was == 0] = 0.0  # what is gone stays gone, and what left all bounds stays beyond them
    ratio[was.isinf()] = torch.inf
    ratio[~went[:, 1:].any(0)] = torch.nan
    remaining = torch.cat([torch.ones_like(mean[:1]), ratio]).cumprod(0)
    return GradientByLag(mean, remaining, len(entered))


def jacobians(back: LayerBackward, steps: list[int]) -> Tensor:
    """J_t of some steps, (n, N, N): rows the state at t, columns the one before.

    Each row of J_t is what goes back from one number of the state.
    """
    H = back.dh.shape[1]
    lstm = "c" in back.forward.gates
    one = torch.eye(2 * H if lstm else H).to(back.dh)
    dh, dc = one[:, :H], one[:, H:] if lstm else torch.zeros_like(one)
    found = []
    for t in steps:
        _, _, to_h, to_c = back.step(t, dh, dc)
        found.append(torch.cat([to_h, to_c], 1) if lstm else to_h)
    return torch.stack(found)


@TorchThreads(1)  # of many small steps more threads make long ones
def jacobian_norms(back: LayerBackward) -> Tensor:
    """Largest singular value of J_t at each step, (T,): by how much at most a step can stretch."""
    size = (2 if "c" in back.forward.gates else 1) * back.dh.shape[1]
    every = max(1, _AT_ONCE // size**2)
    steps = list(range(len(back.dh)))
    parts = [jacobians(back, steps[i : i + every]) for i in range(0, len(steps), every)]
    # The root of J J^T's largest eigenvalue: half the time of the singular values.
    return torch.cat([torch.linalg.eigvalsh(J @ J.mT)[:, -1].clamp_min(0).sqrt() for J in parts])
