"""How far back, and ahead, inputs change the output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elman.plots.style import BLUE, GREY, INK, VERMILION, drawing, label, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

LINEAR = 64  # lags up to which their axis is linear
_LOOKS: dict[str, dict[str, Any]] = {
    "past": {"color": BLUE, "linestyle": "-", "marker": "o"},
    "future": {"color": VERMILION, "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
}


class SideLike(Protocol):
    """The curve of one side; `elman.explain.memory.MemoryCurve` has it."""

    @property
    def lags(self) -> NDArray[np.int64]:
        """From 0, (D,)."""

    @property
    def effect(self) -> Floats:
        """Mean, (D,)."""

    @property
    def low(self) -> Floats:
        """Of the interval, (D,)."""

    @property
    def high(self) -> Floats:
        """Of the interval, (D,)."""

    @property
    def reach(self) -> int | None:
        """The largest distance that counts."""


class MemoryLike(Protocol):
    """What replacing inputs did; `elman.explain.Memory` has it."""

    @property
    def curves(self) -> Mapping[str, SideLike]:
        """`past`, and `future` if there is one."""

    @property
    def per_step(self) -> bool:
        """Whether there is an output at every step."""

    @property
    def measure(self) -> str:
        """What an effect is."""

    @property
    def replacement(self) -> str:
        """What stood in an input's place."""

    @property
    def share(self) -> float:
        """Of the largest effect, that counts."""

    @property
    def used(self) -> int:
        """Sequences."""


def memory(found: MemoryLike) -> Figure:
    """Draw effect over distance with 95 % intervals, and how far each side reaches."""
    curves = found.curves
    longest = max(int(side.lags[-1]) for side in curves.values())
    shift = int(longest > LINEAR)
    with drawing(7.0, 3.9) as figure:
        axes = figure.subplots()
        quiet(axes, grid="y")
        for name, side in curves.items():
            look = _LOOKS[name]
            x = side.lags + shift
            axes.fill_between(x, side.low, side.high, color=look["color"], alpha=0.2, linewidth=0)
            told = f"{name}: {_reaches(side)}"
            axes.plot(x, side.effect, linewidth=1.6, markersize=4, label=told, **look)
            if side.reach is not None:
                axes.axvline(side.reach + shift, color=look["color"], linewidth=1, linestyle=":")
        _distances(axes, longest)
        axes.set_xlabel(_words(found))
        axes.set_ylabel(label(found.measure, 52), fontsize=8.5)
        axes.set_ylim(bottom=0)
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, labelcolor=INK, borderpad=0
        )
        axes.set_title("Memory: how much the output changes when one input is replaced", pad=26)
        figure.supxlabel(
            f"mean of {found.used:,} sequences and its 95 % interval; replaced by "
            f"{found.replacement}\n"
            f"dotted: the last distance with {found.share:.0%} of the largest effect or more",
            fontsize=8, color=GREY,
        )  # fmt: skip
    return figure


def _words(found: MemoryLike) -> str:
    if len(found.curves) == 1:
        return f"steps before the {'output' if found.per_step else 'last step'}"
    if found.per_step:
        return "steps before (past) or after (future) the output"
    return "steps before the last step (past) or after the first (future)"


def _reaches(side: SideLike) -> str:
    if side.reach is None:
        return "no effect"
    least = "at least " if side.reach == side.lags[-1] else ""
    return f"reaches {least}{side.reach:,} step{'' if side.reach == 1 else 's'}"


def _distances(axes: Axes, longest: int) -> None:
    from matplotlib.ticker import MaxNLocator

    if longest <= LINEAR:
        room = 0.3 + 0.02 * longest
        axes.set_xlim(-room, longest + room)
        places = [0.0] if not longest else MaxNLocator(10, integer=True).tick_values(0, longest)
        axes.set_xticks([k for k in places if k <= longest])
        return
    # Logarithmic over distance + 1, so that distance 0 has its place.
    axes.set_xscale("log")
    ticks = [0, 1, 2, *(m * 10**e for e in range(7) for m in (5, 10, 20))]
    ticks = [k for k in ticks if k <= longest]
    axes.set_xticks([k + 1 for k in ticks], [f"{k:,}" for k in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.9, (longest + 1) * 1.1)
