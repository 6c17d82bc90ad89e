"""What decided: beneath the signal of each channel, or above each token."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elman.plots.explain.panels import step_axis
from elman.plots.style import BLUE, GREY, INK, PALE, VERMILION, drawing, label, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

MOST_CHANNELS = 6
MOST_BARS = 500  # across a panel; beyond, one bar stands for several steps
MOST_LINES = 30  # of text
_COLUMNS = 92  # letters in a line of text
_BAR = 4.0  # letters that a bar is wide at most


class AttributionLike(Protocol):
    """How much each step, and channel, of a sequence did; `elman.explain.Attribution` has it."""

    @property
    def method(self) -> str:
        """How it was found out."""

    @property
    def output(self) -> str:
        """The number that was explained, in words."""

    @property
    def unit(self) -> str:
        """Of all values; may be empty."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Of the channels, (C,)."""

    @property
    def inputs(self) -> NDArray[Any]:
        """What was read, (T, C) numbers or (T,) tokens."""

    @property
    def categories(self) -> tuple[tuple[str, ...], ...]:
        """Names at each step, (T,), of the last columns."""

    @property
    def values(self) -> Floats:
        """What each did, (T, C) or (T,)."""

    @property
    def by_step(self) -> Floats:
        """What each step did, (T,)."""

    @property
    def difference(self) -> float:
        """What is shared out."""

    @property
    def baseline(self) -> str:
        """Against what."""


def attribution(found: AttributionLike) -> Figure:
    """Draw what each step did: bars up raised the output, bars down lowered it."""
    return _over_tokens(found) if found.values.ndim == 1 else _under_signal(found)


def _title(axes: Axes, found: AttributionLike, more: str = "") -> None:
    unit = f" {found.unit}" if found.unit else ""
    what = found.method.replace("_", " ").replace(" x ", " × ")
    told = (
        f"{what}: {found.difference:+.3g}{unit} from the baseline ({found.baseline})\n"
        f"bars up raised it, bars down lowered it{more}"
    )
    axes.set_title(f"What decided: {label(found.output, 60)}", loc="left", pad=34)
    axes.annotate(
        told, (0, 1), xycoords="axes fraction", xytext=(0, 7), textcoords="offset points",
        fontsize=8, color=GREY, va="bottom", annotation_clip=False,
    )  # fmt: skip


def _ends(values: Floats) -> tuple[float, float]:
    """Lowest and highest bar, nought included."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return (low, high) if high > low else (0.0, 1.0)


def _under_signal(found: AttributionLike) -> Figure:
    T, C = found.values.shape
    order = np.argsort(-np.abs(found.values).sum(0), kind="stable")
    shown, rest = np.sort(order[:MOST_CHANNELS]), np.sort(order[MOST_CHANNELS:])
    panels = len(shown) + (C > 1)
    with drawing(8.0, 1.5 + 1.2 * panels + (0.3 if len(rest) else 0)) as figure:
        every = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
        _title(every[0], found)
        if C > 1:
            quiet(every[0], grid="")
            _bars(every[0], found.by_step, _ends(found.by_step), found.unit)
            _name(every[0], "all channels")
        ends = _ends(found.values[:, shown])
        for axes, c in zip(every[C > 1 :], shown, strict=True):
            _channel(axes, found, int(c), ends)
        every[-1].set_xlim(0.4, T + 0.6)
        step_axis(every[-1], T)
        every[-1].set_xlabel("step t of x_t; signals as the network reads them")
        if len(rest):
            share = np.abs(found.values[:, rest]).sum() / (np.abs(found.values).sum() or 1.0)
            names = ", ".join(label(found.input_names[c], 14) for c in rest[:6])
            more = f" and {len(rest) - 6} more" if len(rest) > 6 else ""
            told = f"not drawn, with {share:.0%} of the bars' whole length: {names}{more}"
            figure.supxlabel(told, fontsize=8, color=GREY)
    return figure


def _name(axes: Axes, name: str) -> None:
    """Write a channel's name over the right end of its panel."""
    axes.annotate(
        name, (1, 1), xycoords="axes fraction", xytext=(0, 2), textcoords="offset points",
        ha="right", va="bottom", fontsize=8.5, color=INK,
    )  # fmt: skip


def _bars(axes: Axes, values: Floats, ends: tuple[float, float], unit: str) -> None:
    """Draw a bar a step, or one for the furthest up and down of every few steps."""
    T = len(values)
    every = -(-T // MOST_BARS)
    at = np.arange(0, T, every)
    up = np.maximum.reduceat(np.maximum(values, 0), at)
    down = np.minimum.reduceat(np.minimum(values, 0), at)
    where = (at + 1 + np.minimum(at + every, T)) / 2
    width = every * (0.8 if T <= MOST_BARS // 2 else 1.0)
    axes.bar(where, up, width, color=BLUE, linewidth=0)
    axes.bar(where, down, width, color=VERMILION, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.6)
    low, high = ends
    room = 0.06 * (high - low)
    axes.set_ylim(low - room, high + room)
    ticks = [v for v in (low, 0.0, high) if v == 0 or abs(v) > 0.3 * (high - low)]
    axes.set_yticks(ticks, [f"{v:+.2g}" if v else "0" for v in ticks])
    axes.set_ylabel(unit or "value", fontsize=8)


def _channel(axes: Axes, found: AttributionLike, c: int, ends: tuple[float, float]) -> None:
    """Draw one channel above, its bars below, on a scale that all channels share."""
    T, C = found.values.shape
    signal = found.inputs[:, c].astype(np.float64)
    column = c - (C - len(found.categories))  # of categories, if not below 0
    low, high = float(signal.min()), float(signal.max())
    whole = (high - low or 1.0) / 0.48
    bars = axes.twinx()
    quiet(axes, grid="")
    quiet(bars, grid="")
    axes.plot(
        np.arange(1, T + 1), signal, color=INK, linewidth=1.0 if T <= 500 else 0.6,
        drawstyle="steps-mid" if column >= 0 else "default",
        marker="o" if T <= 60 else "", markersize=2.2,
    )  # fmt: skip
    axes.set_ylim(low - 0.47 * whole, low + 0.53 * whole)
    if column >= 0:
        names = dict(zip(signal.tolist(), found.categories[column], strict=True))
        codes = sorted(names) if len(names) <= 3 else []
        axes.set_yticks(codes, [label(names[code], 12) for code in codes])
    else:
        axes.set_yticks(sorted({low, high}), [f"{v:.3g}" for v in sorted({low, high})])
    _name(axes, label(found.input_names[c], 40))
    _bars(bars, found.values[:, c], ends, found.unit)
    below, above = bars.get_ylim()
    bars.set_ylim(below, below + (above - below) / 0.42)
    bars.spines["right"].set_visible(False)
    axes.set_zorder(bars.get_zorder() + 1)  # the signal over the bars
    axes.patch.set_visible(False)


def _over_tokens(found: AttributionLike) -> Figure:
    words = [label(str(token).replace(" ", "␣"), 40) for token in found.inputs]
    widths = [_width(word) for word in words]
    gap = 0.5 if max(widths) <= 2 else 1.0
    lines = _wrapped(widths, gap)
    tall = 0.6
    if len(lines) == 1:  # then there is room
        gap, tall = max(gap, min(4.0, (_COLUMNS - sum(widths)) / len(widths))), 1.3
    kept = _strongest(lines, found.values)
    low, high = _ends(found.values)
    strongest = int(np.abs(found.values).argmax())
    unit = f" {found.unit}" if found.unit else ""
    more = f"; the longest: {found.values[strongest]:+.3g}{unit}, x_{strongest + 1}"
    if len(kept) < len(lines):
        more += f"; drawn: the {len(kept)} of {len(lines)} lines with the longest bars"
    with drawing(8.0, tall * len(kept) + 0.9) as figure:
        axes = figure.subplots()
        _title(axes, found, more)
        axes.axis("off")
        heights = 0.5 * found.values / (high - low)
        for row, line in enumerate(kept):
            # From the bottom of the room for bars up to where nought lies in it.
            _line(axes, row, 0.5 * -low / (high - low), lines[line], words, widths, gap, heights)
        axes.set_xlim(-6, _COLUMNS + 1)
        axes.set_ylim(len(kept), 0)
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
    """Draw one line of tokens in the room from `row` down to `row + 1`: bars, text under them."""
    import matplotlib as mpl

    fonts = ["DejaVu Sans Mono", *mpl.rcParams["font.family"]]
    nought, middle = row + 0.56 - below, row + 0.76
    axes.text(-1, middle, f"x_{steps[0] + 1}", ha="right", va="center", fontsize=7, color=GREY)
    x = 0.0
    for t in steps:
        colour = BLUE if heights[t] > 0 else VERMILION
        centre = x + widths[t] / 2
        axes.plot([x, x + widths[t]], [nought, nought], color=PALE, linewidth=0.7, zorder=1)
        # Not as wide as a long word: what is to be compared is the height.
        wide = min(widths[t] + gap / 2, _BAR)
        axes.bar(centre, -heights[t], wide, nought, color=colour, linewidth=0)
        axes.text(
            centre, middle, words[t], ha="center", va="center", fontsize=8, family=fonts, color=INK
        )
        x += widths[t] + gap


def _width(word: str) -> float:
    """Columns that a word takes, wide letters two."""
    plain = word.replace(r"\$", "$")
    return float(sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain) or 1)


def _wrapped(widths: list[float], gap: float) -> list[range]:
    """Which tokens stand in which line."""
    lines, start, x = [], 0, 0.0
    for t, width in enumerate(widths):
        if x + width > _COLUMNS and t > start:
            lines.append(range(start, t))
            start, x = t, 0.0
        x += width + gap
    return [*lines, range(start, len(widths))]


def _strongest(lines: list[range], values: Floats) -> list[int]:
    """Lines to draw: all, or those with the longest bars, in their order."""
    if len(lines) <= MOST_LINES:
        return list(range(len(lines)))
    most = np.array([np.abs(values[line.start : line.stop]).max() for line in lines])
    found: list[int] = sorted(np.argsort(-most, kind="stable")[:MOST_LINES].tolist())
    return found
