"""Figures of attributions: bars under the signal of each channel, or over the tokens.

Dimensions: T steps, C channels.
"""

from __future__ import annotations

import textwrap
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from elman.plots.states import step_axis, step_bars
from elman.plots.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    VERMILION,
    Floats,
    label,
    new_figure,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.explain.attribution import Attribution

MAX_CHANNELS = 6
MAX_CATEGORIES = 6  # categories named on an axis
MAX_LINES = 30  # lines of text
_COLUMNS = 92  # letters in a line of text
_BAR = 4.0  # maximum width of a bar, in letters


def draw_attribution(attribution: Attribution) -> Figure:
    """Draw the contribution of each step: bars above 0 raised the output, others lowered it."""
    return _over_tokens(attribution) if attribution.values.ndim == 1 else _under_signal(attribution)


def _title(axes: Axes, attribution: Attribution, more: str = "") -> None:
    unit = f" {attribution.unit}" if attribution.unit else ""
    what = attribution.method.replace("_", " ").replace(" x ", " × ")
    subtitle = (
        f"{what}: {attribution.difference:+.3g}{unit} from the baseline ({attribution.baseline}), "
        f"for which the network predicts {label(attribution.baseline_answer, 48)}"
        f"{' already' * attribution.baseline_is_target}\n"
        f"bars up raised it, bars down lowered it{more}"
    )
    axes.set_title(f"What decided: {label(attribution.output, 60)}", loc="left", pad=34)
    axes.annotate(
        subtitle, (0, 1), xycoords="axes fraction", xytext=(0, 7), textcoords="offset points",
        fontsize=8, color=GREY, va="bottom", annotation_clip=False,
    )  # fmt: skip


def _ends(values: Floats) -> tuple[float, float]:
    """Ends of the lowest and highest bar, including 0."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return (low, high) if high > low else (0.0, 1.0)


def _under_signal(attribution: Attribution) -> Figure:
    T, C = attribution.values.shape
    order = np.argsort(-np.abs(attribution.values).sum(0), kind="stable")
    drawn, rest = np.sort(order[:MAX_CHANNELS]), np.sort(order[MAX_CHANNELS:])
    panels = len(drawn) + (C > 1)
    with new_figure(8.0, 1.5 + 1.2 * panels + (0.3 if len(rest) else 0)) as figure:
        rows = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
        _title(rows[0], attribution)
        if C > 1:
            style_axes(rows[0], grid="")
            _bars(rows[0], attribution.by_step, _ends(attribution.by_step), attribution.unit)
            _name(rows[0], "all channels")
        ends = _ends(attribution.values[:, drawn])
        for axes, c in zip(rows[C > 1 :], drawn, strict=True):
            _channel(axes, attribution, int(c), ends)
        rows[-1].set_xlim(0.4, T + 0.6)
        step_axis(rows[-1], T)
        rows[-1].set_xlabel("step t of x_t; signals as the network reads them")
        if len(rest):
            share = np.abs(attribution.values[:, rest]).sum() / (
                np.abs(attribution.values).sum() or 1.0
            )
            names = ", ".join(label(attribution.channel_names[c], 44) for c in rest[:6])
            more = f" and {len(rest) - 6} more" if len(rest) > 6 else ""
            note = f"not drawn, with {share:.0%} of the total length of all bars: {names}{more}"
            note = "\n".join(textwrap.wrap(note, 110))
            figure.supxlabel(note, fontsize=8, color=GREY)
    return figure


def _name(axes: Axes, name: str) -> None:
    """Write a channel's name over the right end of its panel."""
    axes.annotate(
        name, (1, 1), xycoords="axes fraction", xytext=(0, 2), textcoords="offset points",
        ha="right", va="bottom", fontsize=8.5, color=INK,
    )  # fmt: skip


def _bars(axes: Axes, values: Floats, ends: tuple[float, float], unit: str) -> None:
    """Draw one bar per step, on an axis from the lowest to the highest bar of the figure."""
    step_bars(axes, values)
    low, high = ends
    room = 0.06 * (high - low)
    axes.set_ylim(low - room, high + room)
    ticks = [v for v in (low, 0.0, high) if v == 0 or abs(v) > 0.3 * (high - low)]
    axes.set_yticks(ticks, [f"{v:+.2g}" if v else "0" for v in ticks])
    axes.set_ylabel(unit or "value", fontsize=8)


def _channel(axes: Axes, attribution: Attribution, c: int, ends: tuple[float, float]) -> None:
    """Draw one channel and, below it, its bars on a scale that all channels share."""
    T, C = attribution.values.shape
    column = c - (C - len(attribution.categories))  # index of the category; negative for numbers
    texts = attribution.categories[column] if column >= 0 else ()
    # Categories are drawn by their place in the alphabet, because a code means nothing to a reader.
    levels = {text: place for place, text in enumerate(sorted(set(texts)))}
    signal = attribution.inputs[:, c].astype(np.float64)
    if texts:
        signal = np.array([float(levels[text]) for text in texts])
    low, high = float(signal.min()), float(signal.max())
    whole = (high - low or 1.0) / 0.48
    bars = axes.twinx()
    style_axes(axes, grid="")
    style_axes(bars, grid="")
    axes.plot(
        np.arange(1, T + 1), signal, color=INK, linewidth=1.0 if T <= 500 else 0.6,
        drawstyle="steps-mid" if column >= 0 else "default",
        marker="o" if T <= 60 else "", markersize=2.2,
    )  # fmt: skip
    axes.set_ylim(low - 0.47 * whole, low + 0.53 * whole)
    if column >= 0:
        every = -(-len(levels) // MAX_CATEGORIES)
        named = [text for text, place in levels.items() if place % every == 0]
        axes.set_yticks([levels[text] for text in named], [label(text, 18) for text in named])
        axes.tick_params(axis="y", labelsize=8 if len(named) <= 3 else 6)
    else:
        axes.set_yticks(sorted({low, high}), [f"{v:.3g}" for v in sorted({low, high})])
    _name(axes, label(attribution.channel_names[c], 90))
    _bars(bars, attribution.values[:, c], ends, attribution.unit)
    below, above = bars.get_ylim()
    bars.set_ylim(below, below + (above - below) / 0.42)
    bars.spines["right"].set_visible(False)
    axes.set_zorder(bars.get_zorder() + 1)  # the signal over the bars
    axes.patch.set_visible(False)


def _over_tokens(attribution: Attribution) -> Figure:
    words = [label(str(token).replace(" ", "␣"), 40) for token in attribution.inputs]
    widths = [_width(word) for word in words]
    gap = 0.5 if max(widths) <= 2 else 1.0
    lines = _wrap_lines(widths, gap)
    tall = 0.6
    if len(lines) == 1:  # a single line leaves room to spread the tokens
        gap, tall = max(gap, min(4.0, (_COLUMNS - sum(widths)) / len(widths))), 1.3
    drawn = _lines_to_draw(lines, attribution.values)
    low, high = _ends(attribution.values)
    strongest = int(np.abs(attribution.values).argmax())
    unit = f" {attribution.unit}" if attribution.unit else ""
    more = f"; the longest: {attribution.values[strongest]:+.3g}{unit}, x_{strongest + 1}"
    if len(drawn) < len(lines):
        more += f"; drawn: the {len(drawn)} of {len(lines)} lines with the longest bars"
    with new_figure(8.0, tall * len(drawn) + 0.9) as figure:
        axes = figure.subplots()
        _title(axes, attribution, more)
        axes.axis("off")
        heights = 0.5 * attribution.values / (high - low)
        for row, line in enumerate(drawn):
            # Distance from the lower edge of the bars' area to 0.
            _line(axes, row, 0.5 * -low / (high - low), lines[line], words, widths, gap, heights)
        axes.set_xlim(-6, _COLUMNS + 1)
        axes.set_ylim(len(drawn), 0)
    return figure


def _line(
    axes: Axes,
    row: int,
    below: float,
    steps: range,
    words: list[str],
    widths: list[float],
    gap: float,
    heights: Floats,
) -> None:
    """Draw one line of tokens between `row` and `row + 1`: bars, and the text below them."""
    import matplotlib as mpl

    fonts = ["DejaVu Sans Mono", *mpl.rcParams["font.family"]]
    zero, middle = row + 0.56 - below, row + 0.76
    axes.text(-1, middle, f"x_{steps[0] + 1}", ha="right", va="center", fontsize=7, color=GREY)
    x = 0.0
    for t in steps:
        colour = BLUE if heights[t] > 0 else VERMILION
        centre = x + widths[t] / 2
        axes.plot([x, x + widths[t]], [zero, zero], color=PALE, linewidth=0.7, zorder=1)
        # Bars do not grow with long words, because readers should compare heights, not areas.
        wide = min(widths[t] + gap / 2, _BAR)
        axes.bar(centre, -heights[t], wide, zero, color=colour, linewidth=0)
        axes.text(
            centre, middle, words[t], ha="center", va="center", fontsize=8, family=fonts, color=INK
        )
        x += widths[t] + gap


def _width(word: str) -> float:
    """Width of a word in columns; wide letters take two."""
    plain = word.replace(r"\$", "$")
    return float(sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain) or 1)


def _wrap_lines(widths: list[float], gap: float) -> list[range]:
    """Break tokens into lines; return the range of tokens of each line."""
    lines, start, x = [], 0, 0.0
    for t, width in enumerate(widths):
        if x + width > _COLUMNS and t > start:
            lines.append(range(start, t))
            start, x = t, 0.0
        x += width + gap
    return [*lines, range(start, len(widths))]


def _lines_to_draw(lines: list[range], values: Floats) -> list[int]:
    """Choose the lines to draw: all, or those with the longest bars, in text order."""
    if len(lines) <= MAX_LINES:
        return list(range(len(lines)))
    most = np.array([np.abs(values[line.start : line.stop]).max() for line in lines])
    numbers: list[int] = sorted(np.argsort(-most, kind="stable")[:MAX_LINES].tolist())
    return numbers
