"""Panels over the steps of a sequence, of which the figures of a network are made.

The panels of a figure are stacked and share their steps. Each has a narrow axes in the right margin
for its colour bar or the names of its lines, so that the steps of all panels line up.

Dimensions: T steps, C channels, H units.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.plots.style import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    PALE,
    VERMILION,
    Floats,
    label,
    new_figure,
    spread,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.explain.forward import Direction

MAX_LINES = 6
MOST_ROWS = 12  # most rows of a strip
LETTER = 0.072  # width of a letter in a strip, in inches
MAX_NAMED = 60  # up to this many tokens, each one is labelled
STYLES: tuple[Any, ...] = (
    "-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)),
)  # fmt: skip
# From light to dark, so that the order survives printing without colour.
SHADES = ["#FFFFFF", "#9CCBE6", "#0072B2", "#00304D"]
# From against to for, white at 0; the same colours as bars below and above 0.
DIVERGING = ["#7A3000", VERMILION, "#FFFFFF", BLUE, "#00304D"]
MAX_BARS = 500  # bars per panel; with more steps, one bar covers several

Panel = tuple["Axes", "Axes"]  # axes of the data, and of the right margin


@contextmanager
def stacked(
    heights: Sequence[float],
    inputs: NDArray[Any],
    channel_names: Sequence[str] = (),
    input_height: float = 0.0,
    categories: Sequence[Sequence[str]] = (),
) -> Iterator[tuple[Figure, list[Panel]]]:
    """Make a figure of stacked panels over the steps of one sequence, with the input on top.

    Args:
        heights: heights of the panels, in inches.
        inputs: tokens, (T,), written above the first panel; or numbers, (T, C).
        channel_names: names of the C channels.
        input_height: height of an additional first panel with the numbers; 0 for no panel.
        categories: texts of the last channels, each (T,); they get a panel of their own.
    """
    steps = len(inputs)
    numbers = inputs.shape[1] - len(categories) if inputs.ndim == 2 else 0
    with_input = [input_height] if input_height and numbers else []
    strip = dict(zip(channel_names[numbers:], categories, strict=False)) if input_height else {}
    strip = dict(list(strip.items())[:MOST_ROWS])
    every = [*with_input, *([strip_height(strip)] if strip else []), *heights]
    width = _width(steps)
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
            _draw_input(panels[0], inputs[:, :numbers], channel_names[:numbers])
            panels[0][0].set_title("Input, as the network reads it")
        if strip:
            panel = panels[len(with_input)]
            draw_strip(panel, strip)
            some = f", the first {len(strip)} of {len(categories)}" * (len(strip) < len(categories))
            panel[0].set_title(f"Categories of the input{some}")
        yield figure, panels[len(with_input) + bool(strip) :]
        if inputs.ndim == 1:
            _name_tokens(panels[0][0], [str(token) for token in inputs])
        step_axis(panels[-1][0], steps)


def _width(steps: int) -> float:
    """Width of the panels, in inches."""
    return float(np.clip(2.0 + 0.16 * steps, 6.4, 11.0))


def _runs(texts: Sequence[Any]) -> list[tuple[int, int, str]]:
    """Runs of equal texts: the first step, the end (exclusive), and the text."""
    runs, start = [], 0
    for text, group in itertools.groupby(texts):
        end = start + len(list(group))
        runs.append((start, end, label(text, 12)))
        start = end
    return runs


def strip_height(rows: Mapping[str, Sequence[Any]]) -> float:
    """Height of a strip in inches: texts that are wider than their runs are turned."""
    steps = len(next(iter(rows.values())))
    inch = _width(steps) / steps
    turned = [
        len(text) * LETTER
        for texts in rows.values()
        for start, end, text in _runs(texts)
        if len(text) * LETTER > (end - start) * inch > 0.12
    ]
    return len(rows) * max([0.24, *turned])


def draw_strip(panel: Panel, rows: Mapping[str, Sequence[Any]]) -> None:
    """Draw rows of texts, (T,) each, as runs of equal ones, with the text where it fits."""
    axes, margin = panel
    margin.set_axis_off()
    for place, texts in enumerate(rows.values()):
        inch = _width(len(texts)) / len(texts)
        for start, end, text in _runs(texts):
            axes.barh(
                place, end - start, 0.9, left=start + 0.5, color="#EEF3F7", edgecolor=PALE,
                linewidth=0.6,
            )  # fmt: skip
            fits = len(text) * LETTER <= (end - start) * inch
            if fits or (end - start) * inch > 0.12:
                axes.text(
                    (start + end + 1) / 2, place, text, ha="center", va="center", fontsize=7.5,
                    color=INK, rotation=0 if fits else 90,
                )  # fmt: skip
    axes.set_yticks(range(len(rows)), [label(name, 44) for name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)


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
        axes.set_yticks(range(1, count + 1, every), [label(n, 30) for n in names[::every]])
        axes.tick_params(axis="y", labelsize=min(8.0, 80 / len(names[::every])))


def heat(
    panel: Panel,
    values: Floats,
    what: str,
    *,
    signed: bool = False,
    diverging: bool = False,
    limit: float | None = None,
    norm: Any = None,
    ends: tuple[str, str] | None = None,
) -> None:
    """Draw units, (T, H), as a heat map over the steps, with its colour bar.

    Args:
        what: label of the colour bar, with its unit.
        signed: whether colours run from -limit (dark) to limit (light); otherwise they run from
            0 (white) to limit (dark).
        diverging: whether they run from -limit (orange) over 0 (white) to limit (blue).
        limit: upper end of the colours; None for the largest absolute value.
        norm: matplotlib norm that replaces the limits.
        ends: what the values 0 and `limit` mean, written beside the ends of the colour bar.
    """
    from matplotlib.colors import LinearSegmentedColormap

    axes, margin = panel
    top = limit or float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
    colours = DIVERGING if diverging else SHADES
    shades: Any = "cividis" if signed else LinearSegmentedColormap.from_list("shade", colours)
    signed = signed or diverging
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
        texts = [f"{v:.3g}" for v in bar.get_ticks()]
        if ends is not None:
            texts = [f"0 {ends[0]}", "", f"{top:g} {ends[1]}"]
        bar.ax.set_yticklabels(texts)


def unit_axis(axes: Axes, numbers: Sequence[int]) -> None:
    """Write the numbers of the units, from 1, in the order of the rows; of many, only some."""
    every = -(-len(numbers) // max(2, int(8 * axes.bbox.height / axes.figure.dpi)))
    places = range(0, len(numbers), every)
    axes.set_yticks([place + 1 for place in places], [str(numbers[place]) for place in places])
    axes.tick_params(axis="y", labelsize=6.5 if len(numbers) > 4 else 8)
    axes.set_ylabel("unit", labelpad=2)


def step_bars(axes: Axes, values: Floats) -> None:
    """Draw one bar per step, above 0 in blue and below in orange, (T,).

    With many steps, a bar covers several, with their highest and their lowest value.
    """
    T = len(values)
    every = -(-T // MAX_BARS)
    at = np.arange(0, T, every)
    up = np.maximum.reduceat(np.maximum(values, 0), at)
    down = np.minimum.reduceat(np.minimum(values, 0), at)
    where = (at + 1 + np.minimum(at + every, T)) / 2
    width = every * (0.8 if T <= MAX_BARS // 2 else 1.0)
    axes.bar(where, up, width, color=BLUE, linewidth=0)
    axes.bar(where, down, width, color=VERMILION, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.6)


def draw_lines(
    panel: Panel,
    values: Floats,
    names: Sequence[Any],
    *,
    behind: Floats | None = None,
    bounds: tuple[float, float] | None = None,
    strong: Sequence[int] = (),
    scale: Literal["linear", "log"] = "linear",
) -> None:
    """Draw lines, (T, n), labelled at their ends, and others behind them in grey, (T, m).

    Args:
        strong: the lines to draw with a wider stroke.
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
            steps, values[:, k], color=line_colour(k), linestyle=STYLES[(k + k // 6) % 6],
            linewidth=2.4 if k in strong else 1.6, marker=marker, markersize=3.0, label=str(name),
        )  # fmt: skip
    if bounds is not None:
        axes.set_ylim(*bounds)
    if scale == "log":
        number_decades(axes)
    named: list[tuple[str, str, float]] = [
        (label(name, 30), line_colour(k), float(values[-1, k])) for k, name in enumerate(names)
    ]
    if behind is not None and behind.shape[1]:
        named.append((f"{behind.shape[1]} others", GREY, float(np.nanmedian(behind[-1]))))
    name_ends(panel, named)
    margin.set_axis_off()


def line_colour(k: int) -> str:
    """Colour of the k-th line; beyond six, lines differ by their strokes too."""
    return COLOURS[k % len(COLOURS)]


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


def title_directions(panel: Panel, title: str, values: Floats, directions: set[Direction]) -> None:
    """Title a panel of the top layer's units, and draw a line between its two directions."""
    if len(directions) > 1:
        title += ": forward above, backward below"
        panel[0].axhline(values.shape[1] / 2 + 0.5, color="black", linewidth=1.0)
    panel[0].set_title(title)


def note_figure(text: str) -> Figure:
    """A small figure that holds a sentence, where there is nothing to draw."""
    with new_figure(6.4, 0.9) as figure:
        figure.text(0.02, 0.5, text, va="center", wrap=True, color=INK)
    return figure
