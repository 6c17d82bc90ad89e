"""Sensitivity of a prediction: steps are replaced, or gradients summed along a line of inputs.

`change_by_step` replaces one step at a time, for the memory of a network. `occlude` replaces spans
by a baseline (Zeiler & Fergus 2014, arXiv:1311.2901), and `integrate` sums gradients along the
straight line from a baseline e0 to the input e, both for an attribution:

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

Dimensions: P points, T steps, S of them replaced, C columns of the input, E numbers of a step in e,
D directions, K outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from elman.errors import SettingsError
from elman.explain.forms import Floats
from elman.explain.network import ExplainedNetwork
from elman.models import SequenceModel
from elman.models.model import UNKNOWN

Replacement = Literal["others", "baseline"]
Differentiate = Callable[[Tensor], tuple[Tensor, Tensor]]
_Interval = tuple[float, float, int]  # start, end, nodes

_UNIT_STEPS = 2**22  # steps times units that go through the network together
# In float64 a prediction that does not depend on a step still differs in the last bits, because a
# batch of another size is summed in another order: a difference below this is no effect.
_ROUNDING = 1e-12
_OCCLUDED_VALUES = 2**22  # numbers in the rows that are built together: 32 MB
_MAX_OCCLUDED_STEPS = 10**8  # that the network may be run over: minutes on a CPU
MAX_POINTS = 1024  # of the line from the baseline to the input
_MAX_NODES = 16  # of a panel
_MIN_NODES = 4  # of a panel that was halved
_BATCH_POINTS = 72  # in a pass, the ends of panels included: 4 panels of 16


def replacement_for(
    rows: list[Tensor],
    number: int,
    step: int,
    replace: Replacement,
    network: SequenceModel,
    rng: np.random.Generator,
) -> Tensor:
    """Return the replacement of a step, (C,) or ().

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
    """How much the prediction changes when each of `steps` is replaced, through each direction.

    Args:
        row: a sequence, (T, C) or (T,).
        replacements: of each step, (S, C) or (S,).
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
    """Outputs of rows, the first of them unchanged, (B, K) or (B, T, K), for each direction.

    With one output a sequence, the other direction keeps the states of the unchanged first row.
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


@dataclass(frozen=True)
class Shares:
    """A change divided among the inputs; fields as in an Attribution, values (T, C)."""

    values: Floats
    by_step: Floats
    points: int
    error: float | None = None
    complete: bool | None = None


def spans(steps: int, span: int, stride: int) -> list[tuple[int, int]]:
    """The start of each span and its end, which is not included.

    Spans start at 0, stride, 2 * stride ..., with a stride of at most the span; the last one ends
    at the last step. Where the steps do not divide evenly, the last span is shorter if spans lie
    end to end, else one more whole span is added. A span longer than the sequence is cut.
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
) -> Shares:
    """Replace one span after another, in each column of the input alone and in all together.

    Args:
        score: from rows, (P, T, E), to F, (P,).
        e, baseline: (T, E).
        columns: for each of the E numbers, the column of the input that it belongs to, (E,).
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
            f"{len(jobs) * steps:,} steps in all, expected at most {_MAX_OCCLUDED_STEPS:,}. Use a "
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
    return Shares(by_step[:, :count], by_step[:, -1], len(jobs) + 1)


def _share(windows: list[tuple[int, int]], effects: Floats, steps: int) -> Floats:
    """From an effect of each span to one of each step: the mean of its equal shares, (T,)."""
    total, times = np.zeros(steps), np.zeros(steps)
    for (start, end), effect in zip(windows, effects, strict=True):
        total[start:end] += effect / (end - start)
        times[start:end] += 1
    shares: Floats = total / times  # every step is in one span at least
    return shares


@dataclass(frozen=True, eq=False)
class _Panel:
    start: float
    end: float
    nodes: int
    values: Tensor
    error: float


def integrate(
    differentiate: Differentiate,
    e: Tensor,
    baseline: Tensor,
    columns: Tensor,
    *,
    steps: int,
    tolerance: float,
) -> Shares:
    """Integrate with `steps` points, and more where they are not enough.

    Args:
        differentiate: from points, (P, T, E), to F, (P,), and its gradients, (P, T, E).
        e, baseline: the ends of the line, (T, E).
        columns: for each of the E numbers, the column of the input that it belongs to, (E,).
        steps: points to begin with, shared among panels of at most 16; rounded up where they do not
            divide. No panel is halved beyond 1024 points.
        tolerance: the largest `error`, as a share of the sum of the absolute values reported.
    """
    count = -(-steps // _MAX_NODES)
    nodes = -(-steps // count)
    edges = np.linspace(0.0, 1.0, count + 1).tolist()
    panels: list[_Panel] = []
    todo = [(start, end, nodes) for start, end in itertools.pairwise(edges)]
    points = 0
    while True:
        panels += _integrate_panels(differentiate, e, baseline, columns, todo)
        points += sum(nodes for _, _, nodes in todo)
        values = torch.stack([p.values for p in panels]).sum(0)
        error = sum(p.error for p in panels)
        allowed = tolerance * float(values.abs().sum())
        if error <= allowed:
            break
        # The worst first, so that the points that are left go where they are needed most.
        todo, good = [], []
        left = MAX_POINTS - points
        for panel in sorted(panels, key=lambda panel: -panel.error):
            # Two shorter panels and not more nodes: at a kink a rule of high order gains little.
            half = max(_MIN_NODES, panel.nodes // 2)
            if panel.error > allowed / len(panels) and left >= 2 * half:
                middle = (panel.start + panel.end) / 2
                todo += [(panel.start, middle, half), (middle, panel.end, half)]
                left -= 2 * half
            else:
                good.append(panel)
        if not todo:
            break
        panels = good
    reported = values.cpu().numpy()
    return Shares(reported, reported.sum(1), points, error, complete=error <= allowed)


def _integrate_panels(
    differentiate: Differentiate,
    e: Tensor,
    baseline: Tensor,
    columns: Tensor,
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
            values = sum_columns((b - a) * (e - baseline) * mean, columns)
            error = abs(float(values.sum() - (f[-1] - f[0])))
            panels.append(_Panel(a, b, nodes, values, error))
    return panels


def sum_columns(values: Tensor, columns: Tensor) -> Tensor:
    """Sum the numbers of each column of the input: from (T, E) to (T, C)."""
    return values.new_zeros(len(values), int(columns[-1]) + 1).index_add_(1, columns, values)
