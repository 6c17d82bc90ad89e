"""Gradients summed up along the straight way from a baseline to an input.

    values_i = (e_i - e0_i) * integral over a from 0 to 1 of dF/de_i at e0 + a (e - e0)

The way is cut into panels, each with a Gauss-Legendre rule. Over every panel the sum of `values`
must be the change in F between its ends, which is known: a panel where it is not is halved. The
fault of a panel can so not be hidden by that of another.

Source: Sundararajan, Taly & Yan 2017, arXiv:1703.01365.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_NODES = 16  # of a panel at most
_FEWEST = 4  # of a panel that was halved
_AT_ONCE = 72  # points in a pass, the ends of panels included

Ask = Callable[[Tensor], tuple[Tensor, Tensor]]
Merge = Callable[[Tensor], Tensor]
_Part = tuple[float, float, int]  # start, end, nodes


@dataclass(frozen=True)
class Integral:
    """What came of it.

    Args:
        values: as the equation has them, merged, (T, C).
        points: gradients that were taken.
        error: the sum, over the panels, of how far each is from the change in F.
    """

    values: Tensor
    points: int
    error: float


@dataclass(frozen=True, eq=False)
class _Panel:
    start: float
    end: float
    nodes: int
    values: Tensor
    error: float


def integrate(
    ask: Ask, merge: Merge, e: Tensor, baseline: Tensor, *, steps: int, tolerance: float, most: int
) -> Integral:
    """Integrate with `steps` points, and more where they do not do.

    Args:
        ask: from points, (P, T, E), to F, (P,), and its gradients, (P, T, E).
        merge: from values, (T, E), to those that are told, (T, C), by adding some up.
        e, baseline: the ends of the way, (T, E).
        steps: points to begin with, shared among panels of at most 16; rounded up where they do not
            divide.
        tolerance: the largest `error`, as a share of the sum of the absolute values that are told.
        most: points beyond which no panel is halved.
    """
    count = -(-steps // _NODES)
    nodes = -(-steps // count)
    edges = np.linspace(0.0, 1.0, count + 1).tolist()
    panels: list[_Panel] = []
    todo = [(start, end, nodes) for start, end in itertools.pairwise(edges)]
    points = 0
    while True:
        panels += _panels(ask, merge, e, baseline, todo)
        points += sum(nodes for _, _, nodes in todo)
        values = torch.stack([p.values for p in panels]).sum(0)
        error = sum(p.error for p in panels)
        allowed = tolerance * float(values.abs().sum())
        if error <= allowed:
            return Integral(values, points, error)
        # The worst first: when the limit comes, the work has gone where it was needed most.
        todo, kept = [], []
        left = most - points
        for panel in sorted(panels, key=_by_error):
            each = max(_FEWEST, panel.nodes // 2)
            if panel.error > allowed / len(panels) and left >= 2 * each:
                middle = (panel.start + panel.end) / 2
                todo += [(panel.start, middle, each), (middle, panel.end, each)]
                left -= 2 * each
            else:
                kept.append(panel)
        if not todo:
            return Integral(values, points, error)
        panels = kept


def _by_error(panel: _Panel) -> float:
    return -panel.error


def _panels(ask: Ask, merge: Merge, e: Tensor, baseline: Tensor, todo: list[_Part]) -> list[_Panel]:
    """Integrate over parts of the way, many in a pass."""
    rules = [np.polynomial.legendre.leggauss(nodes) for _, _, nodes in todo]  # over -1 to 1
    at = [
        torch.tensor([a, *((a + b) / 2 + (b - a) / 2 * places), b], dtype=e.dtype)
        for (a, b, _), (places, _) in zip(todo, rules, strict=True)
    ]
    panels = []
    per_pass = max(1, _AT_ONCE // len(at[0]))
    for i in range(0, len(todo), per_pass):
        some = slice(i, i + per_pass)
        share = torch.cat(at[some]).to(e.device)[:, None, None]
        found, gradients = ask(baseline + share * (e - baseline))
        sizes = [len(a) for a in at[some]]
        parts = (torch.split(tensor, sizes) for tensor in (found, gradients))
        for (a, b, nodes), (_, weights), f, slope in zip(
            todo[some], rules[some], *parts, strict=True
        ):
            mean = torch.tensordot(torch.from_numpy(weights / 2).to(slope), slope[1:-1], 1)
            values = merge((b - a) * (e - baseline) * mean)
            error = abs(float(values.sum() - (f[-1] - f[0])))
            panels.append(_Panel(a, b, nodes, values, error))
    return panels
