"""Gradients summed up along the straight line from a baseline to an input.

    values_i = (e_i - e0_i) * integral over a from 0 to 1 of dF/de_i at e0 + a (e - e0)

Equation 1 of Sundararajan, Taly & Yan 2017, arXiv:1703.01365. Their completeness (proposition 1)
says that over any part of the line the sum of `values` is the change in F between its ends, which
two more evaluations give. So the line is cut into panels, each with a Gauss-Legendre rule, and a
panel whose sum is not the known change is halved: the error of one panel cannot be cancelled by
that of another, as it can where only the whole line is compared.

What that costs, measured on small networks and 40 steps at a tolerance of 1e-3: with tanh and
readout `last` or `mean` the first 64 points suffice; relu or readout `max` have kinks on the line
and take 64 to 400 points, where one rule over the whole line meets the weaker check, of the total
alone, with 32 to 256.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_MAX_NODES = 16  # of a panel
_MIN_NODES = 4  # of a panel that was halved
_BATCH_POINTS = 72  # in a pass, the ends of panels included: 4 panels of 16

Differentiate = Callable[[Tensor], tuple[Tensor, Tensor]]
SumColumns = Callable[[Tensor], Tensor]
_Interval = tuple[float, float, int]  # start, end, nodes


@dataclass(frozen=True)
class Integral:
    """The integral of the equation, and how exact it is.

    Args:
        values: as the equation has them, columns summed, (T, C).
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
    differentiate: Differentiate,
    sum_columns: SumColumns,
    e: Tensor,
    baseline: Tensor,
    *,
    steps: int,
    tolerance: float,
    max_points: int,
) -> Integral:
    """Integrate with `steps` points, and more where they are not enough.

    Args:
        differentiate: from points, (P, T, E), to F, (P,), and its gradients, (P, T, E).
        sum_columns: from values, (T, E), to those that are reported, (T, C), by adding some up.
        e, baseline: the ends of the line, (T, E).
        steps: points to begin with, shared among panels of at most 16; rounded up where they do not
            divide.
        tolerance: the largest `error`, as a share of the sum of the absolute values reported.
        max_points: beyond which no panel is halved.
    """
    count = -(-steps // _MAX_NODES)
    nodes = -(-steps // count)
    edges = np.linspace(0.0, 1.0, count + 1).tolist()
    panels: list[_Panel] = []
    todo = [(start, end, nodes) for start, end in itertools.pairwise(edges)]
    points = 0
    while True:
        panels += _integrate_panels(differentiate, sum_columns, e, baseline, todo)
        points += sum(nodes for _, _, nodes in todo)
        values = torch.stack([p.values for p in panels]).sum(0)
        error = sum(p.error for p in panels)
        allowed = tolerance * float(values.abs().sum())
        if error <= allowed:
            return Integral(values, points, error)
        # The worst first: when the limit comes, the work has gone where it was needed most.
        todo, good = [], []
        left = max_points - points
        for panel in sorted(panels, key=lambda panel: -panel.error):
            half = max(_MIN_NODES, panel.nodes // 2)
            if panel.error > allowed / len(panels) and left >= 2 * half:
                middle = (panel.start + panel.end) / 2
                todo += [(panel.start, middle, half), (middle, panel.end, half)]
                left -= 2 * half
            else:
                good.append(panel)
        if not todo:
            return Integral(values, points, error)
        panels = good


def _integrate_panels(
    differentiate: Differentiate,
    sum_columns: SumColumns,
    e: Tensor,
    baseline: Tensor,
    intervals: list[_Interval],
) -> list[_Panel]:
    """Integrate over intervals of the line, many in a pass."""
    rules = [np.polynomial.legendre.leggauss(nodes) for _, _, nodes in intervals]  # over -1 to 1
    points = [
        torch.tensor([a, *((a + b) / 2 + (b - a) / 2 * places), b], dtype=e.dtype)
        for (a, b, _), (places, _) in zip(intervals, rules, strict=True)
    ]
    panels = []
    per_pass = max(1, _BATCH_POINTS // len(points[0]))
    for i in range(0, len(intervals), per_pass):
        batch = slice(i, i + per_pass)
        share = torch.cat(points[batch]).to(e.device)[:, None, None]
        F, gradients = differentiate(baseline + share * (e - baseline))
        sizes = [len(p) for p in points[batch]]
        parts = (torch.split(tensor, sizes) for tensor in (F, gradients))
        for (a, b, nodes), (_, weights), f, gradient in zip(
            intervals[batch], rules[batch], *parts, strict=True
        ):
            mean = torch.tensordot(torch.from_numpy(weights / 2).to(gradient), gradient[1:-1], 1)
            values = sum_columns((b - a) * (e - baseline) * mean)
            error = abs(float(values.sum() - (f[-1] - f[0])))
            panels.append(_Panel(a, b, nodes, values, error))
    return panels
