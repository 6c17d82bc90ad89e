"""Sensitivity of a prediction to its inputs: replaced steps, occlusion, integrated gradients.

`change_by_step` replaces one step at a time, to measure the memory of a network. For attributions,
`occlude` replaces spans by a baseline (Zeiler & Fergus 2014, arXiv:1311.2901), and `integrate`
integrates gradients along the straight line from a baseline e0 to the input e:

    values_i = (e_i - e0_i) * integral over a from 0 to 1 of dF/de_i at e0 + a (e - e0)

This is equation 1 of Sundararajan, Taly & Yan 2017, arXiv:1703.01365. By completeness (proposition
1 there), the sum of `values` over any part of the line is the change in F between the ends of that
part, which two more evaluations give. The line is therefore cut into panels, each with a
Gauss-Legendre rule, and a panel whose sum differs from the change is halved. Errors of two panels
cannot cancel each other, as they can if only the whole line is checked.

Cost, measured on small networks with 40 steps at a tolerance of 1e-3: with tanh and readout `last`
or `mean` the first 64 points suffice; relu or readout `max` have kinks on the line and take 64 to
400 points. One rule over the whole line takes 32 to 256 points there to meet the weaker check of
the total alone.

Dimensions: P points, T steps, S replaced steps, C columns of the input, E size of e_t, D
directions, K outputs.
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
from elman.explain.network import ExplainedEstimator, ExplainedNetwork
from elman.models import ModelConfig, SequenceModel
from elman.models.model import UNKNOWN
from elman.models.static import check_static, join
from elman.models.unrolled import read_out

Replacement = Literal["others", "baseline"]
Differentiate = Callable[[Tensor], tuple[Tensor, Tensor]]
_Interval = tuple[float, float, int]  # start, end, nodes

_UNIT_STEPS = 2**22  # most steps times units in one batch
# Even in float64, a prediction that does not depend on a step changes in the last bits, because the
# order of summation depends on the batch size: a difference below this counts as no effect.
_ROUNDING = 1e-12
NO_EFFECT = 1e-3  # a smaller change of a probability is not visible in any figure or table
_DRAWS = 8  # other sequences that are tried for a step that differs
_OCCLUDED_VALUES = 2**22  # most elements of the rows that are built at once: 32 MB
_MAX_OCCLUDED_STEPS = 10**8  # most steps that occlusion runs the network over: minutes on a CPU
MAX_POINTS = 1024  # most points on the line from the baseline to the input
_MAX_NODES = 16  # most nodes of a panel
_MIN_NODES = 4  # fewest nodes of a halved panel
_BATCH_POINTS = 72  # points in a pass, including the ends of panels: 4 panels of 16


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
        number: index of the sequence that is changed.
        step: the step to replace, from 0.
    """
    if replace == "baseline":
        blank = torch.zeros_like(rows[number][step])
        if network.config.vocabulary_size:
            return blank + UNKNOWN
        blank[network.config.input_size :] = UNKNOWN  # the codes of categories
        return blank
    own = rows[number][step]
    for _ in range(_DRAWS):
        partner = int(rng.integers(len(rows) - 1))
        other = rows[partner + (partner >= number)]
        value = other[step if step < len(other) else int(rng.integers(len(other)))]
        # A token is often the same in another sequence; replacing it by itself would show nothing.
        if not torch.equal(value, own):
            break
    return value


def describe_replacement(replace: Replacement, config: ModelConfig) -> str:
    """The replacement of an input, in words."""
    if replace == "others":
        return "the same step of another sequence"
    if config.vocabulary_size:
        return "the unknown token"
    return "zero and unknown categories" if config.category_sizes else "zero"


def describe_distance(network: ExplainedNetwork) -> str:
    """The unit of an effect, in words."""
    if network.has_classes:
        return network.meaning.distance_name
    if network.model.config.num_outputs == 1:
        return f"absolute change of {network.output_names[0]}, in its unit"
    return network.meaning.distance_name + (
        ", in standard deviations" if isinstance(network, ExplainedEstimator) else ""
    )


def smallest_effect(network: ExplainedNetwork, answers: Tensor) -> float:
    """The change of a prediction below which it is no change to speak of.

    A thousandth of a probability, or of the standard deviation of an estimator's target. A bare
    network's target is not known: a millionth of its largest answer.

    Args:
        answers: predictions on the scale of the network's outputs, (..., K).
    """
    if network.has_classes:
        return NO_EFFECT
    if not isinstance(network, ExplainedEstimator):
        return NO_EFFECT**2 * float(answers.abs().max())
    single = network.model.config.num_outputs == 1
    return NO_EFFECT * (float(network.scale[0]) if single else 1.0)


def change_by_step(
    network: ExplainedNetwork,
    row: Tensor,
    steps: list[int],
    replacements: Tensor,
    *,
    by_direction: bool = True,
) -> list[Floats]:
    """Measure the change of the prediction when each of `steps` is replaced, by direction.

    Args:
        row: a sequence, (T, C) or (T,).
        steps: the S steps to replace, from 0.
        replacements: the replacement of each step, (S, C) or (S,).
        by_direction: False for the change through both directions together, as the only entry.
    Returns: (S,) for each direction; with an output at every step (S, T), the same for both.
    """
    config = network.model.config
    directions = 2 if config.bidirectional and by_direction else 1
    size = max(1, _UNIT_STEPS // (len(row) * max(config.width, config.columns)))
    changes: list[list[Tensor]] = [[] for _ in range(directions)]
    batches = zip(
        torch.split(torch.tensor(steps), size), torch.split(replacements, size), strict=True
    )
    for places, values in batches:
        x = row.repeat(len(places) + 1, *[1] * row.ndim)  # the first row stays unchanged
        x[torch.arange(1, len(x), device=row.device), places.to(row.device)] = values
        outputs_of = _outputs_by_direction if by_direction else _outputs
        for direction, outputs in enumerate(outputs_of(network.model, x, len(row))):
            changes[direction].append(distance_to_first(network, outputs.double().cpu()))
    return [torch.cat(batch).numpy() for batch in changes]


def _outputs(network: SequenceModel, x: Tensor, length: int) -> list[Tensor]:
    """Outputs of rows, (B, K) or (B, T, K), as the only entry."""
    with torch.no_grad():
        return [network(x, torch.full((len(x),), length))]


def _outputs_by_direction(network: SequenceModel, x: Tensor, length: int) -> list[Tensor]:
    """Outputs of rows through each direction, (B, K) or (B, T, K); the first row is unchanged.

    With one output a sequence, the other direction has the states of the unchanged first row.
    """
    states: list[Tensor] = []
    hook = network.recurrent.register_forward_hook(lambda _, inputs, y: states.append(y[0]))
    try:
        with torch.no_grad():
            outputs = network(x, torch.full((len(x),), length))
    finally:
        hook.remove()
    if not network.config.bidirectional:
        return [outputs]
    if network.config.per_step:
        return [outputs, outputs]
    H, (y,) = network.config.hidden_size, states
    both = read_out(network, y, torch.ones(y.shape[:2], dtype=torch.bool, device=y.device))
    unchanged = both[:1].expand_as(both)
    halves = (
        torch.cat([both[:, :H], unchanged[:, H:]], 1),
        torch.cat([unchanged[:, :H], both[:, H:]], 1),
    )
    with torch.no_grad():
        static = check_static(network, both, None)
        return [network.output(join(network, half, static)) for half in halves]


def distance_to_first(network: ExplainedNetwork, outputs: Tensor) -> Tensor:
    """Distance of each prediction after the first to the first: (B - 1,) or (B - 1, T).

    A single value is compared in its unit. Several values are compared on the scale of the
    network's outputs, where their differences are comparable.
    """
    predictions = network.meaning.to_distribution(outputs)
    differences = (predictions[1:] - predictions[:1]).abs()
    differences = torch.where(differences > _ROUNDING, differences, 0.0)
    if network.model.config.num_outputs == 1:
        differences = differences * network.scale.to(differences)
    return network.meaning.distance(differences)


@dataclass(frozen=True)
class Shares:
    """A change divided among the inputs; the fields are those of an Attribution, values (T, C)."""

    values: Floats
    by_step: Floats
    points: int
    error: float | None = None
    complete: bool | None = None


def spans(steps: int, span: int, stride: int) -> list[tuple[int, int]]:
    """Return the start and the end (exclusive) of each span.

    Spans start at 0, stride, 2 * stride ..., with a stride of at most the span; the last one ends
    at the last step. If the steps do not divide evenly, the last span is shorter if the stride is
    the span; otherwise one more full span is added. A span longer than the sequence is truncated.
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
    """Replace each span by the baseline, in each input column alone and in all columns together.

    Args:
        score: maps rows, (P, T, E), to F, (P,).
        e, baseline: the embedded input and its replacement, (T, E).
        columns: input column of each of the E numbers, (E,).
    Raises: SettingsError if the network would run over more than 10^8 steps.
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
    """Divide each span's effect equally among its steps; average over spans for each step, (T,)."""
    total, times = np.zeros(steps), np.zeros(steps)
    for (start, end), effect in zip(windows, effects, strict=True):
        total[start:end] += effect / (end - start)
        times[start:end] += 1
    shares: Floats = total / times  # every step is in at least one span
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
    """Integrate with `steps` points, and with more where the error is too large.

    Args:
        differentiate: maps points, (P, T, E), to F, (P,), and its gradients, (P, T, E).
        e, baseline: the ends of the line, (T, E).
        columns: input column of each of the E numbers, (E,).
        steps: initial number of points, divided among panels of at most 16 points and rounded up if
            they do not divide evenly. No panel is halved beyond 1024 points in all.
        tolerance: the largest `error`, as a share of the sum of the absolute values.
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
        # The panels with the largest errors come first, so that they get the remaining points.
        todo, good = [], []
        left = MAX_POINTS - points
        for panel in sorted(panels, key=lambda panel: -panel.error):
            # Panels are halved rather than given more nodes: at a kink a high order gains little.
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
    """Integrate over intervals of the line, several in one pass."""
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
    """Sum the values that belong to the same input column: (T, E) to (T, C)."""
    return values.new_zeros(len(values), int(columns[-1]) + 1).index_add_(1, columns, values)
