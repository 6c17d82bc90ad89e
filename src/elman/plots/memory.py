"""Figures of the memory of a network: effects by time lag, and the influence of inputs on outputs.

Dimensions: T steps, n sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elman.plots.states import heat, stacked, step_bars
from elman.plots.style import BLUE, DOTTED, GREY, INK, VERMILION, label, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.explain.influence import Influence
    from elman.explain.lags import MemoryCurve
    from elman.explain.memory import Memory

LINEAR_LAGS = 64  # largest time lag for which the axis is linear
_CURVE_STYLES: dict[str, dict[str, Any]] = {
    "past": {"color": BLUE, "linestyle": "-", "marker": "o"},
    "future": {"color": VERMILION, "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
}


def draw_memory(memory: Memory) -> Figure:
    """Draw the mean effect by time lag with 95 % intervals, and the share of sequences by reach."""
    curves = memory.curves
    longest = max(max(int(c.lags[-1]), c.reach or 0) for c in curves.values())
    shift = int(longest > LINEAR_LAGS)
    with new_figure(7.0, 6.0) as figure:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        style_axes(axes, grid="y")
        style_axes(below, grid="y")
        for name, curve in curves.items():
            style = _CURVE_STYLES[name]
            x = curve.lags + shift
            axes.fill_between(
                x, curve.low, curve.high, color=style["color"], alpha=0.2, linewidth=0
            )
            legend = f"{name}: {_describe_reach(curve)}"
            axes.plot(x, curve.effect, linewidth=1.6, markersize=4, label=legend, **style)
            _draw_reach(below, curve, longest, shift, style)
        _lag_axis(below, longest)
        below.set_xlabel(_lag_label(memory))
        axes.set_ylabel(label(memory.measure, 52), fontsize=8.5)
        axes.set_ylim(bottom=0)
        below.set_ylim(0, 103)
        below.set_ylabel("% of sequences")
        below.set_title("Sequences in which an input counts from this far or farther")
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, labelcolor=INK, borderpad=0
        )
        axes.set_title("Memory: how much the output changes when one input is replaced", pad=26)
        figure.supxlabel(
            f"above: mean of {memory.used:,} sequences and its 95 % interval; replaced by "
            f"{memory.replacement}\n"
            f"an input counts if an output changes by {memory.share:.0%} of the largest change or "
            "more; dotted: the reach",
            fontsize=8, color=GREY,
        )  # fmt: skip
    return figure


def _draw_reach(
    axes: Axes, curve: MemoryCurve, longest: int, shift: int, style: dict[str, Any]
) -> None:
    """Draw the share of sequences that reach each lag or farther, and the interval of the reach."""
    lags = np.arange(longest + 1)
    share = 100 * (curve.reaches[:, None] >= lags).mean(0)
    line = {"color": style["color"], "linestyle": style["linestyle"]}
    axes.plot(lags + shift, share, drawstyle="steps-mid", linewidth=1.6, **line)
    if curve.reach is not None and curve.reach_low is not None:
        axes.axvspan(
            curve.reach_low + shift - 0.01, curve.reach + shift, color=style["color"], alpha=0.12,
            linewidth=0,
        )  # fmt: skip
        axes.axvline(curve.reach + shift, color=style["color"], linewidth=1, linestyle=DOTTED)


def _lag_label(memory: Memory) -> str:
    if len(memory.curves) == 1:
        return f"steps before the {'output' if memory.per_step else 'last step'}"
    if memory.per_step:
        return "steps before (past) or after (future) the output"
    return "steps before the last step (past) or after the first (future)"


def _describe_reach(curve: MemoryCurve) -> str:
    if curve.reach is None:
        return "no effect"
    least = "at least " if curve.reach == curve.lags[-1] else ""
    return f"reaches {least}{curve.reach:,} step{'' if curve.reach == 1 else 's'}"


def _lag_axis(axes: Axes, longest: int) -> None:
    from matplotlib.ticker import MaxNLocator

    if longest <= LINEAR_LAGS:
        room = 0.3 + 0.02 * longest
        axes.set_xlim(-room, longest + room)
        places = [0.0] if not longest else MaxNLocator(10, integer=True).tick_values(0, longest)
        axes.set_xticks([k for k in places if k <= longest])
        return
    # Logarithmic in lag + 1, so that lag 0 can be drawn.
    axes.set_xscale("log")
    ticks = [0, 1, 2, *(m * 10**e for e in range(7) for m in (5, 10, 20))]
    ticks = [k for k in ticks if k <= longest]
    axes.set_xticks([k + 1 for k in ticks], [f"{k:,}" for k in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.9, (longest + 1) * 1.1)


def draw_influence(influence: Influence) -> Figure:
    """Draw the influence of every input on every output, or on the one output of the sequence."""
    T = influence.steps
    height = float(np.clip(1.2 + 0.12 * T, 2.6, 7.0)) if influence.per_step else 1.8
    with stacked(
        [height], influence.inputs, influence.channel_names, 1.3, influence.categories
    ) as (
        figure,
        panels,
    ):
        axes, _ = panels[0]
        if influence.per_step:
            heat(panels[0], influence.values, label(influence.measure, 52))
            ends = (0.5, T + 0.5)
            axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle=DOTTED)
            axes.set_ylabel("output at step")
            axes.set_title("Influence of each input (across) on each output (down)")
            s, t = influence.longest or (0, 0)
            axes.plot(
                s + 1, t + 1, "s", markersize=9, markerfacecolor="none", markeredgecolor=VERMILION,
                markeredgewidth=1.6,
            )  # fmt: skip
        else:
            style_axes(axes, grid="y")
            step_bars(axes, influence.values[:, 0])
            axes.set_ylabel(label(influence.measure, 52), fontsize=7.5)
            axes.set_title("Influence of each input on the prediction")
        note = f"replaced by {influence.replacement}"
        if influence.per_step:
            note += (
                "; square: the longest dependency that counts; dotted: input and output of a step"
            )
        figure.supxlabel(note, fontsize=8, color=GREY)
    return figure
