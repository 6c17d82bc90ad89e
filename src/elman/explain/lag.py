"""How a gradient shrinks or grows on its way back: its norm by time lag, the Jacobian of each step.

A gradient enters a layer from above at the steps that the output, or the next layer, reads: these
are its sources. Each is followed back through the recurrence of its own layer and direction alone.
It is the gradient of all states of a step together: h, and of an lstm c as well.

    g_{t-1} = J_t^T g_t        J_t = d(states_t) / d(states_{t-1})

Dimensions: T steps, H hidden, S sources, N numbers of all states (H, or 2*H of an lstm).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elman.explain.backward import LayerBackward
from elman.train import TorchThreads

MAX_SOURCES = 64
_JACOBIAN_VALUES = 2**22  # numbers of the Jacobians that are in memory together


@dataclass(frozen=True)
class GradientByLag:
    """What remains of a gradient after a number of steps back.

    Args:
        norms: mean norm by time lag, 0 to T-1, over the sources that reach it, (T,); NaN at lags
            that none reaches.
        remaining: the norm relative to that at lag 0, (T,): the product over the steps so far of
            sum of norms after the step / sum of norms before it, of the sources that take it.
        sources: steps at which a gradient enters and was followed, S.
    """

    norms: Tensor
    remaining: Tensor
    sources: int


def gradient_by_lag(layer: LayerBackward) -> GradientByLag:
    """Follow the gradients that enter one layer and direction, all together.

    Where more than 64 steps are sources, 64 of them are followed, evenly spaced, the first and the
    last among them: time and memory stay O(T*H).
    """
    order = list(layer.forward.backwards)
    is_source = (layer.direct != 0).any(1).tolist()
    entries = [place for place, t in enumerate(order) if is_source[t]]
    if len(entries) > MAX_SOURCES:
        chosen = torch.linspace(0, len(entries) - 1, MAX_SOURCES).round().long().tolist()
        entries = [entries[i] for i in chosen]
    norms = layer.dh.new_full((len(entries), len(order)), torch.nan)  # (S, lag)
    gradients = dict.fromkeys(layer.forward.cell.states, layer.dh.new_zeros(0, layer.dh.shape[1]))
    started = 0
    for place, t in enumerate(order):
        if place in entries[started : started + 1]:
            # It enters at h; nothing has reached the other states yet.
            gradients = {
                name: torch.cat([g, torch.zeros_like(layer.direct[t])[None]])
                for name, g in gradients.items()
            }
            gradients["h"][-1] = layer.direct[t]
            started += 1
        if started:
            squares = sum(g.square().sum(1) for g in gradients.values())
            sizes = torch.as_tensor(squares).sqrt().nan_to_num(nan=torch.inf, posinf=torch.inf)
            lags = place - torch.tensor(entries[:started])
            norms[torch.arange(started), lags] = sizes
            _, _, gradients = layer.step_back(t, gradients)
    reached = ~norms.isnan()
    known = torch.where(reached, norms, 0.0)
    mean = known.sum(0) / reached.sum(0)  # 0 / 0 is NaN
    # A ratio of sums over the same sources, not of the means: those at lag k and k + 1 are over
    # different sources, and a strong one that ends would look like a vanishing gradient.
    after = known[:, 1:].sum(0)
    before = torch.where(reached[:, 1:], norms[:, :-1], 0.0).sum(0)  # of the same sources
    ratio = after / before
    ratio[before == 0] = 0.0  # what is gone stays gone, and what left all bounds stays beyond them
    ratio[before.isinf()] = torch.inf
    ratio[~reached[:, 1:].any(0)] = torch.nan
    remaining = torch.cat([torch.ones_like(mean[:1]), ratio]).cumprod(0)
    return GradientByLag(mean, remaining, len(entries))


def jacobians(layer: LayerBackward, steps: list[int]) -> Tensor:
    """J_t of some steps, (n, N, N): rows the states at t, columns the ones before.

    Each row of J_t is what goes back from one number of the states.
    """
    names = layer.forward.cell.initial_states
    unit_rows = torch.eye(layer.forward.state_size).to(layer.dh).chunk(len(names), 1)
    gradients = dict(zip(names, unit_rows, strict=True))
    rows = []
    for t in steps:
        _, _, before = layer.step_back(t, gradients)
        rows.append(torch.cat([before[name] for name in names], 1))
    return torch.stack(rows)


@TorchThreads(1)  # many small matrices: two threads wait for each other longer than they work
def jacobian_norms(layer: LayerBackward) -> Tensor:
    """Largest singular value of J_t at each step, (T,): by how much at most a step can stretch."""
    batch = max(1, _JACOBIAN_VALUES // layer.forward.state_size**2)
    steps = list(range(len(layer.dh)))
    parts = [jacobians(layer, steps[i : i + batch]) for i in range(0, len(steps), batch)]
    # The root of J J^T's largest eigenvalue: half the time of the singular values.
    return torch.cat([torch.linalg.eigvalsh(J @ J.mT)[:, -1].clamp_min(0).sqrt() for J in parts])
