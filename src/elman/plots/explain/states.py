"""What a network does over the steps of a sequence: states, gates, the prediction, gradients.

Dimensions: T steps, H units, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from elman.plots.explain.panels import (
    MAX_LINES,
    STYLES,
    Panel,
    draw_lines,
    heat,
    name_ends,
    number_decades,
    stacked,
    unit_axis,
)
from elman.plots.style import COLOURS, GREY, INK, Floats, new_figure, style_axes
from elman.tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from elman.explain.bptt import Bptt, Place
    from elman.explain.forward import Direction
    from elman.explain.trace import LayerTrace, Trace

# What each is called beside its letter; a cell of the user's own has its names alone.
NAMES = {
    "r": "reset gate r",
    "z": "update gate z",
    "n": "candidate n",
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate g",
    "o": "output gate o",
    "c": "cell state c",
    "h": "hidden state h",
}
DECADES = 6  # drawn at most: what is smaller than the largest by more powers of ten is white
LOWEST = 1e-12  # of a logarithmic axis, relative to the largest


def draw_trace(trace: Trace) -> Figure:
    """Draw input, hidden states of the top layer, its gates, and the prediction as it forms."""
    top = trace.layers[-1].layer
    gated = [e for e in trace.layers if e.layer == top and e.sigmoid_gates]
    heights = [2.0, *[1.3] * len(gated), 2.0]
    with stacked(heights, trace.inputs, trace.input_names, 1.3) as (figure, panels):
        directions = {layer.direction for layer in trace.layers}
        _states(panels[0], trace.hidden)
        _title_directions(panels[0], "Hidden states of the top layer", trace.hidden, directions)
        for layer, panel in zip(gated, panels[1:-1], strict=True):
            names = layer.sigmoid_gates
            means = np.stack([layer.gates[name].mean(1) for name in names], 1)
            titles = [NAMES.get(name, name) for name in names]
            draw_lines(panel, means, titles, bounds=(-0.03, 1.03))
            which = f", {layer.direction}" if len(directions) > 1 else ""
            panel[0].set_title(f"Gates of the top layer{which}, mean over the units")
            panel[0].set_ylabel("open")
        _prediction(panels[-1], trace)
    return figure


def draw_gates(trace: Trace, layer: LayerTrace) -> Figure:
    """Draw every gate and state of one layer and direction, unit by unit."""
    with stacked([1.3] * len(layer.gates), trace.inputs) as (figure, panels):
        for panel, (name, values) in zip(panels, layer.gates.items(), strict=True):
            if name in layer.sigmoid_gates:
                # An open update gate keeps the old state, where others let something in.
                what = "keeps the old" if name == "z" else "open"
                heat(panel, values, what, signed=False, limit=1.0)
                unit_axis(panel[0], values.shape[1])
            else:
                _states(panel, values, "cell" if name == "c" else "state")
            title = NAMES.get(name, name)
            panel[0].set_title(title[0].upper() + title[1:])
        text = f"layer {layer.layer}, {layer.direction}"
        panels[0][0].set_title(text, loc="right", color=GREY, fontsize=8.5)
    return figure


def _states(panel: Panel, values: Floats, what: str = "state") -> None:
    """States have no unit; those of tanh lie between -1 and 1."""
    bounded = float(np.abs(values).max()) <= 1
    heat(panel, values, what, signed=bool((values < 0).any()), limit=1.0 if bounded else None)
    unit_axis(panel[0], values.shape[1])


def _title_directions(panel: Panel, title: str, values: Floats, directions: set[Direction]) -> None:
    """Title a panel of the top layer's units, and part those of its two directions."""
    if len(directions) > 1:
        title += ": forward above, backward below"
        panel[0].axhline(values.shape[1] / 2 + 0.5, color="white", linewidth=1.6)
    panel[0].set_title(title)


def _prediction(panel: Panel, trace: Trace) -> None:
    """The most prominent outputs, a line each; the others grey."""
    values, has_classes = trace.distribution, TASKS[trace.task].has_classes
    finite = np.where(np.isfinite(values), values, -np.inf)
    # Classes that stood high at some step, the final one among them; of values the last highest.
    height = finite.max(0) if has_classes else finite[-1]
    if not trace.per_step:
        height[finite[-1].argmax()] = np.inf
    prominent = np.argsort(-height, kind="stable")
    chosen = np.arange(values.shape[1]) if values.shape[1] <= MAX_LINES else prominent[:5]
    rest = np.setdiff1d(np.arange(values.shape[1]), chosen)
    names = [trace.classes[k] for k in chosen.tolist()]
    bounds = None
    if has_classes:
        top = 1.0 if values.max() > 0.5 else 1.3 * float(values.max())
        bounds = (-0.03 * top, 1.03 * top)
    draw_lines(panel, values[:, chosen], names, behind=values[:, rest], bounds=bounds)
    what, axis = (
        ("Probabilities", "probability") if has_classes else ("Values", "value, target's unit")
    )
    panel[0].set_ylabel(axis)
    when = "given the whole sequence" if trace.per_step else "as if the sequence ended there"
    panel[0].set_title(f"{what} at each step, {when}")


def draw_bptt(bptt: Bptt, jacobian_norms: Mapping[Place, Floats] | None) -> Figure:
    """Draw input, losses, dL/dh, Jacobians, and what each step contributes to every gradient.

    Args:
        jacobian_norms: largest singular values by layer and direction, (T,); None leaves them out.
    """
    loss_at_every_step = bool((bptt.losses[:-1] != 0).any())
    contributions = bptt.contribution_norms
    heights = [
        *([1.1] if loss_at_every_step else []), 1.6, 1.5,
        *([] if jacobian_norms is None else [1.3]),
        float(np.clip(0.17 * len(contributions), 0.8, 4.5)),
    ]  # fmt: skip
    per_h = f"{bptt.unit} per unit of h"
    with stacked(heights, bptt.inputs, bptt.input_names, 1.2) as (figure, panels):
        remaining = iter(panels)
        if loss_at_every_step:
            panel = next(remaining)
            draw_lines(panel, bptt.losses[:, None], ["L_t"], bounds=(0, _top(bptt.losses)))
            panel[0].set_title("Loss of each step")
            panel[0].set_ylabel(bptt.unit)
        panel = next(remaining)
        top = max(layer for layer, _ in bptt.dh)
        dh = np.concatenate([values for (layer, _), values in bptt.dh.items() if layer == top], 1)
        _size_map(panel, dh, f"|dL/dh|, {per_h}")
        unit_axis(panel[0], dh.shape[1])
        directions = {direction for _, direction in bptt.dh}
        _title_directions(panel, "Gradient of each state of the top layer", dh, directions)
        panel = next(remaining)
        _place_lines(panel, bptt.dh_norms, log=True)
        panel[0].set_title("Norm of dL/dh at each step")
        panel[0].set_ylabel(per_h, fontsize=7.5)
        if jacobian_norms is not None:
            panel = next(remaining)
            _place_lines(panel, jacobian_norms, log=False)
            panel[0].axhline(1, color=GREY, linewidth=0.9, linestyle=(0, (2, 3)), zorder=0.9)
            panel[0].set_title("Jacobian of each step: below 1 (dotted) every gradient shrinks")
            panel[0].set_ylabel("largest\nsingular value")
        panel = panels[-1]
        norms = np.stack(list(contributions.values()), 1)
        _size_map(panel, norms, f"norm, {bptt.unit}\nper unit of weight")
        names = [f"{bptt.letters[name]}  {name}" for name in contributions]
        panel[0].set_yticks(range(1, len(names) + 1), names)
        panel[0].tick_params(axis="y", labelsize=7)
        panel[0].set_title("What each step contributes to the gradient of each weight")
    return figure


def draw_by_lag(bptt: Bptt) -> Figure:
    """Draw the mean norm of a gradient against how many steps it went back."""
    from matplotlib.ticker import MaxNLocator

    with new_figure(7.2, 3.9) as figure:
        axes, beside = figure.subplots(1, 2, width_ratios=[1, 0.02])
        style_axes(axes, grid="y")
        beside.set_axis_off()
        chosen = _topmost(bptt.gradient_by_lag)
        largest = max((_largest(norms) for norms in chosen.values()), default=0.0)
        line_names = []
        for k, (place, norms) in enumerate(chosen.items()):
            drawn = _above_lowest(norms, largest)
            axes.plot(
                np.arange(len(norms)), drawn, color=COLOURS[k], linestyle=STYLES[k], linewidth=1.7,
                marker="o" if len(norms) <= 40 else "", markersize=3.0,
            )  # fmt: skip
            if np.isfinite(drawn).any():
                rate = f", × {bptt.rate(place):.3g} a step" if len(norms) > 1 else ""
                text = f"{_name(place)}\n{bptt.verdicts[place]}{rate}"
                line_names.append((text, COLOURS[k], float(drawn[np.isfinite(drawn)][-1])))
        if line_names:
            axes.set_yscale("log")
            # A power of ten at least, so that a level line looks level.
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, largest / 10), high)
            number_decades(axes)
            axes.tick_params(axis="y", labelcolor=INK)
        else:
            axes.text(0.5, 0.5, "no gradient arrives", transform=axes.transAxes, ha="center")
        axes.set_xlim(-0.02 * len(bptt.losses) - 0.1, len(bptt.losses) - 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("time lag: steps back from where the gradient enters the layer")
        axes.set_ylabel(f"mean norm of the gradient,\n{bptt.unit} per unit of state")
        more = len(bptt.gradient_by_lag) - len(chosen)
        axes.set_title("Gradient norm by time lag" + (f" ({more} more not drawn)" * (more > 0)))
        figure.draw_without_rendering()
        name_ends((axes, beside), line_names, lines=2)
    return figure


def _name(place: Place) -> str:
    return f"layer {place[0]}, {place[1]}"


def _topmost(values: Mapping[Place, Floats]) -> dict[Place, Floats]:
    """At most six layers and directions, the topmost."""
    return dict(list(values.items())[-MAX_LINES:])


def _largest(values: Floats) -> float:
    return float(values[np.isfinite(values)].max(initial=0.0))


def _top(values: Floats) -> float:
    """Upper end of an axis from 0."""
    return 1.05 * _largest(values) or 1.0


def _size_map(panel: Panel, values: Floats, what: str) -> None:
    """A heat map of sizes, from the decade of the smallest up, at most six; 0 is white."""
    from matplotlib.colors import LogNorm

    sizes = np.abs(values)
    largest = _largest(sizes) or 1.0
    least = float(sizes[sizes > 0].min(initial=largest))
    low = max(min(10.0 ** (np.floor(np.log10(least))), largest / 10), largest * 10.0**-DECADES)
    norm = LogNorm(low, largest, clip=True)
    heat(panel, np.maximum(sizes, low), what, signed=False, norm=norm)


def _place_lines(panel: Panel, values: Mapping[Place, Floats], *, log: bool) -> None:
    """A line for each layer and direction, on an axis from 0 or a logarithmic one."""
    chosen = _topmost(values)
    table = np.stack(list(chosen.values()), 1)
    names = [_name(place) for place in chosen]
    if not log:
        draw_lines(panel, table, names, bounds=(0, max(1.1, _top(table))))
        return
    largest = _largest(table) or 1.0
    # One infinite or tiny value would leave no room for the others.
    drawn = _above_lowest(table, largest)
    low = float(np.nanmin(drawn)) if np.isfinite(drawn).any() else largest
    bounds = (min(low, largest / 10) / 1.6, largest * 1.6)
    draw_lines(panel, drawn, names, scale="log", bounds=bounds)


def _above_lowest(values: Floats, largest: float) -> Floats:
    """Values, with a gap where they are too small for the axis or not finite."""
    return np.where(np.isfinite(values) & (values > largest * LOWEST), values, np.nan)
