"""Figures over the steps of a sequence: states, gates and prediction of a network.

The panels of a figure are stacked and share their steps. Each has a narrow axes in the right margin
for its colour bar or the names of its lines, so that the steps of all panels line up.

Dimensions: T steps, C channels, H units, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.plots.style import (
    COLOURS,
    GREY,
    INK,
    PALE,
    Floats,
    label,
    new_figure,
    spread,
    style_axes,
)
from elman.tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.explain.trace import Direction, LayerTrace, Trace

MAX_LINES = 6
MAX_NAMED = 60  # up to this many tokens, each one is labelled
STYLES: tuple[Any, ...] = (
    "-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)),
)  # fmt: skip
# From light to dark, so that the order survives printing without colour.
SHADES = ["#FFFFFF", "#9CCBE6", "#0072B2", "#00304D"]

# Titles of gates and states; those of a user's cell keep their names.
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

Panel = tuple["Axes", "Axes"]  # axes of the data, and of the right margin


@contextmanager
def stacked(
    heights: Sequence[float],
    inputs: NDArray[Any],
    channel_names: Sequence[str] = (),
    input_height: float = 0.0,
) -> Iterator[tuple[Figure, list[Panel]]]:
    """Make a figure of stacked panels over the steps of one sequence, with the input on top.

    Args:
        heights: heights of the panels, in inches.
        inputs: tokens, (T,), written above the first panel; or numbers, (T, C).
        channel_names: names of the C channels.
        input_height: height of an additional first panel with the numbers; 0 for no panel.
    """
    steps = len(inputs)
    with_input = bool(input_height) and inputs.ndim == 2
    every = [*([input_height] if with_input else []), *heights]
    width = float(np.clip(2.0 + 0.16 * steps, 6.4, 11.0))
    with new_figure(width + 1.2, sum(every) + 0.45 * len(every) + 0.3) as figure:
        grid = figure.subplots(
            len(every), 2, squeeze=False, width_ratios=[width, 0.12], height_ratios=every
        )
        panels = [(row[0], row[1]) for row in grid]
        for axes, margin in panels:
            style_axes(axes, grid="")
            axes.set_xlim(0.5, steps + 0.5)
            margin.set_axis_off()
            if axes is not panels[-1][0]:
                axes.tick_params(labelbottom=False)
        if with_input:
            _draw_input(panels[0], inputs, channel_names)
            panels[0][0].set_title("Input, as the network reads it")
        yield figure, panels[with_input:]
        if inputs.ndim == 1:
            _name_tokens(panels[0][0], [str(token) for token in inputs])
        step_axis(panels[-1][0], steps)


def step_axis(axes: Axes, steps: int) -> None:
    """Number the steps from 1."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    ticks = [t for t in MaxNLocator(10, integer=True).tick_values(1, steps) if 1 < t <= steps]
    axes.xaxis.set_major_locator(FixedLocator([1, *ticks]))
    axes.set_xlabel("step")


def _name_tokens(axes: Axes, tokens: Sequence[object]) -> None:
    """Write the tokens above a panel, over every step, or every few steps if there are many."""
    every = -(-len(tokens) // MAX_NAMED)
    at = np.arange(0, len(tokens), every)
    texts = [label(token, 18) for token in tokens[::every]]
    turned = max(map(len, texts)) > (2 if len(at) > 25 else 4 if len(at) > 12 else 6)
    upper = axes.secondary_xaxis("top")
    upper.set_xticks(at + 1, texts, rotation=90 if turned else 0)
    upper.tick_params(length=0, pad=3, labelsize=8 if len(at) <= 40 else 6.5, labelcolor=INK)
    upper.spines[:].set_visible(False)
    if every > 1:
        upper.set_xlabel(f"one token in {every} is named", color=GREY, fontsize=8)


def _draw_input(panel: Panel, inputs: Floats, names: Sequence[str]) -> None:
    """Draw channels, (T, C): one line per channel, or a heat map if there are many."""
    axes, _ = panel
    if inputs.shape[1] <= MAX_LINES:
        draw_lines(panel, inputs, names)
    else:
        heat(panel, inputs, "value", signed=bool((inputs < 0).any()))
        count = inputs.shape[1]
        every = -(-count // 12)
        axes.set_yticks(range(1, count + 1, every), [label(n, 14) for n in names[::every]])
        axes.tick_params(axis="y", labelsize=min(8.0, 80 / len(names[::every])))


def heat(
    panel: Panel,
    values: Floats,
    what: str,
    *,
    signed: bool,
    limit: float | None = None,
    norm: Any = None,
) -> None:
    """Draw units, (T, H), as a heat map over the steps, with its colour bar.

    Args:
        what: label of the colour bar, with its unit.
        signed: whether colours run from -limit (dark) to limit (light); otherwise they run from
            0 (white) to limit (dark).
        limit: upper end of the colours; None for the largest absolute value.
        norm: matplotlib norm that replaces the limits.
    """
    from matplotlib.colors import LinearSegmentedColormap

    axes, margin = panel
    top = limit or float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
    shades: Any = "cividis" if signed else LinearSegmentedColormap.from_list("shade", SHADES)
    bounds = {"vmin": -top if signed else 0.0, "vmax": top} if norm is None else {"norm": norm}
    steps, units = values.shape
    image = axes.imshow(
        values.T,
        cmap=shades,
        aspect="auto",
        extent=(0.5, steps + 0.5, units + 0.5, 0.5),
        # Interpolated colours between two decades would show magnitudes that no step has.
        interpolation="auto" if norm is None else "nearest",
        **bounds,
    )
    axes.spines[:].set_visible(True)
    margin.set_axis_on()
    bar = axes.figure.colorbar(image, cax=margin)
    bar.outline.set_edgecolor(PALE)
    bar.outline.set_linewidth(0.6)
    bar.ax.tick_params(length=0, labelsize=8, colors=GREY)
    bar.set_label(what, fontsize=8, color=GREY)
    if norm is None:
        bar.set_ticks([-top, 0, top] if signed else [0, top / 2, top])
        bar.ax.set_yticklabels([f"{v:.3g}" for v in bar.get_ticks()])


def unit_axis(axes: Axes, units: int) -> None:
    """Number the units from 1."""
    axes.set_yticks(sorted({1, units}))
    axes.set_ylabel("unit", labelpad=2)


def draw_lines(
    panel: Panel,
    values: Floats,
    names: Sequence[Any],
    *,
    behind: Floats | None = None,
    bounds: tuple[float, float] | None = None,
    scale: Literal["linear", "log"] = "linear",
) -> None:
    """Draw up to six lines, (T, n), labelled at their ends, and others behind them in grey, (T, m).

    Args:
        bounds: limits of the axis; None to fit the values.
    """
    axes, margin = panel
    style_axes(axes, grid="y")
    steps = np.arange(1, len(values) + 1)
    marker = "o" if len(values) <= 40 else ""
    axes.set_yscale(scale)
    if behind is not None and behind.shape[1]:
        axes.plot(steps, behind, color=PALE, linewidth=0.7)
    for k, name in enumerate(names):
        axes.plot(
            steps, values[:, k], color=COLOURS[k], linestyle=STYLES[k], linewidth=1.6,
            marker=marker, markersize=3.0, label=str(name),
        )  # fmt: skip
    if bounds is not None:
        axes.set_ylim(*bounds)
    if scale == "log":
        number_decades(axes)
    named: list[tuple[str, str, float]] = [
        (label(name, 18), COLOURS[k], float(values[-1, k])) for k, name in enumerate(names)
    ]
    if behind is not None and behind.shape[1]:
        named.append((f"{behind.shape[1]} others", GREY, float(np.nanmedian(behind[-1]))))
    name_ends(panel, named)
    margin.set_axis_off()


def number_decades(axes: Axes) -> None:
    """Label the powers of ten of a logarithmic axis; below two decades also 2 and 5 times them.

    matplotlib's own minor labels ignore the size and colour of the major ones.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axes.get_ylim()
    if high < 100 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def name_ends(panel: Panel, named: Sequence[tuple[str, str, float]], lines: int = 1) -> None:
    """Label lines in the margin, in their colours, at the heights where they end.

    Args:
        named: text, colour and last value of each line; the value may be non-finite.
        lines: number of text lines in each label.
    """
    if not named:
        return
    axes, margin = panel
    low, high = axes.transData.transform([(1, y) for y in axes.get_ylim()])[:, 1]
    at = [y if np.isfinite(y) else axes.get_ylim()[0] for *_, y in named]
    ends = axes.transData.transform([(1, y) for y in at])[:, 1]
    heights = np.clip((ends - low) / (high - low), 0, 1)
    inches = axes.bbox.height / axes.figure.dpi
    gap = min(0.17 * lines / inches, 1 / len(named))
    placed = np.array(spread(heights.tolist(), gap))
    # Move labels back into the panel, but only those that do not fit.
    order = np.argsort(placed, kind="stable")
    rising, places = placed[order], gap * np.arange(len(named))
    rising = np.maximum.accumulate(np.maximum(rising, 0) - places) + places
    falling = np.minimum.accumulate((np.minimum(rising, 1) + places[::-1])[::-1])[::-1]
    placed[order] = falling - places[::-1]
    for (text, colour, _), height in zip(named, placed, strict=True):
        margin.text(
            0.0, height, text, transform=margin.transAxes, color=colour, fontsize=8, va="center"
        )


def draw_trace(trace: Trace) -> Figure:
    """Draw input, hidden states of the top layer, its gates, and the prediction as it forms."""
    top = trace.layers[-1].layer
    gated = [e for e in trace.layers if e.layer == top and e.sigmoid_gates]
    heights = [2.0, *[1.3] * len(gated), 2.0]
    with stacked(heights, trace.inputs, trace.channel_names, 1.3) as (figure, panels):
        directions = {layer.direction for layer in trace.layers}
        _states(panels[0], trace.hidden)
        title_directions(panels[0], "Hidden states of the top layer", trace.hidden, directions)
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
                # In a GRU, an open update gate keeps the old state; other gates let a signal in.
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
    """Draw states, which are dimensionless; states of a tanh lie between -1 and 1."""
    bounded = float(np.abs(values).max()) <= 1
    heat(panel, values, what, signed=bool((values < 0).any()), limit=1.0 if bounded else None)
    unit_axis(panel[0], values.shape[1])


def title_directions(panel: Panel, title: str, values: Floats, directions: set[Direction]) -> None:
    """Title a panel of the top layer's units, and draw a line between its two directions."""
    if len(directions) > 1:
        title += ": forward above, backward below"
        panel[0].axhline(values.shape[1] / 2 + 0.5, color="white", linewidth=1.6)
    panel[0].set_title(title)


def _prediction(panel: Panel, trace: Trace) -> None:
    """Draw one line for each of the most prominent outputs, and the others in grey."""
    values, has_classes = trace.distribution, TASKS[trace.task].has_classes
    finite = np.where(np.isfinite(values), values, -np.inf)
    # The final class and classes whose probability was high at some step; for values, those that
    # are highest at the last step.
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
