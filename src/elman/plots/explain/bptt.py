"""Where a gradient came from, step by step, and how it shrinks or grows with the time lag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elman.plots.explain.panels import (
    MOST_LINES,
    STYLES,
    Panel,
    draw_input,
    draw_lines,
    heat,
    name_ends,
    name_tokens,
    number_decades,
    stacked,
    tokens_of,
    unit_axis,
)
from elman.plots.style import COLOURS, GREY, INK, Floats, drawing, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Where = tuple[int, str]
DECADES = 6  # shown at most: what is smaller than the largest by more powers of ten is white
LOWEST = 1e-12  # of a logarithmic axis, against the largest


class BpttLike(Protocol):
    """What the pictures ask for; `elman.explain.bptt.Bptt` has all of it."""

    @property
    def losses(self) -> Floats:
        """(T,)."""

    @property
    def inputs(self) -> NDArray[Any]:
        """(T, C) numbers or (T,) tokens."""

    @property
    def input_names(self) -> Sequence[str]:
        """Of the C channels."""

    @property
    def dh(self) -> Mapping[Any, Floats]:
        """dL/dh_t by layer and direction, (T, H)."""

    @property
    def dh_norms(self) -> Mapping[Any, Floats]:
        """Their norms, (T,)."""

    @property
    def contribution_norms(self) -> Mapping[str, Floats]:
        """By parameter, (T,)."""

    @property
    def letters(self) -> Mapping[str, str]:
        """By parameter."""

    @property
    def gradient_by_lag(self) -> Mapping[Any, Floats]:
        """Mean norm by time lag, (T,)."""

    @property
    def verdicts(self) -> Mapping[Any, str]:
        """By layer and direction."""

    @property
    def unit(self) -> str:
        """Of the loss."""

    def rate(self, where: Any) -> float:
        """By what a step multiplies the norm."""


def draw_bptt(found: BpttLike, jacobian_norms: Mapping[Any, Floats] | None) -> Figure:
    """Draw the input, losses, dL/dh, Jacobians, and each step's part in every gradient.

    Args:
        jacobian_norms: largest singular values by layer and direction, (T,); None leaves them out.
    """
    tokens = tokens_of(found.inputs)
    every = bool((found.losses[:-1] != 0).any())
    rows = len(found.contribution_norms)
    heights = [
        *([] if tokens else [1.2]), *([1.1] if every else []), 1.6, 1.5,
        *([] if jacobian_norms is None else [1.3]), float(np.clip(0.17 * rows, 0.8, 4.5)),
    ]  # fmt: skip
    per_h = f"{found.unit} per unit of h"
    with stacked(heights, len(found.losses)) as (figure, panels):
        remaining = iter(panels)
        if tokens is None:
            panel = next(remaining)
            draw_input(panel, found.inputs, found.input_names)
            panel[0].set_title("Input, as the network reads it")
        if every:
            panel = next(remaining)
            draw_lines(panel, found.losses[:, None], ["L_t"], bounds=(0, _top(found.losses)))
            panel[0].set_title("Loss of each step")
            panel[0].set_ylabel(found.unit)
        panel = next(remaining)
        whole = _top_layer(found.dh)
        _sizes(panel, whole, f"|dL/dh|, {per_h}")
        unit_axis(panel[0], whole.shape[1])
        panel[0].set_title(f"Gradient of each state of the top layer{_halves(found.dh)}")
        if _halves(found.dh):
            panel[0].axhline(whole.shape[1] / 2 + 0.5, color="white", linewidth=1.6)
        panel = next(remaining)
        _lines(panel, found.dh_norms, log=True)
        panel[0].set_title("Norm of dL/dh at each step")
        panel[0].set_ylabel(per_h, fontsize=7.5)
        if jacobian_norms is not None:
            panel = next(remaining)
            _lines(panel, jacobian_norms, log=False)
            panel[0].axhline(1, color=GREY, linewidth=0.9, linestyle=(0, (2, 3)), zorder=0.9)
            panel[0].set_title("Jacobian of each step: below 1 (dotted) every gradient shrinks")
            panel[0].set_ylabel("largest\nsingular value")
        panel = panels[-1]
        parts = found.contribution_norms
        _sizes(panel, np.stack(list(parts.values()), 1), f"norm, {found.unit}\nper unit of weight")
        names = [f"{found.letters[name]}  {name}" for name in parts]
        panel[0].set_yticks(range(1, rows + 1), names)
        panel[0].tick_params(axis="y", labelsize=7)
        panel[0].set_title("What each step contributes to the gradient of each weight")
        if tokens is not None:
            name_tokens(panels[0][0], tokens)
    return figure


def draw_by_lag(found: BpttLike) -> Figure:
    """Draw the mean norm of a gradient against how many steps it went back."""
    from matplotlib.ticker import MaxNLocator

    with drawing(7.2, 3.9) as figure:
        axes, beside = figure.subplots(1, 2, width_ratios=[1, 0.02])
        quiet(axes, grid="y")
        beside.set_axis_off()
        chosen = _chosen(found.gradient_by_lag)
        largest = max(
            (float(v[np.isfinite(v)].max(initial=0.0)) for v in chosen.values()), default=0.0
        )
        named = []
        for k, (where, norms) in enumerate(chosen.items()):
            shown = _above(norms, largest)
            axes.plot(
                np.arange(len(norms)), shown, color=COLOURS[k], linestyle=STYLES[k], linewidth=1.7,
                marker="o" if len(norms) <= 40 else "", markersize=3.0,
            )  # fmt: skip
            if np.isfinite(shown).any():
                word = found.verdicts[where]
                rate = f", × {found.rate(where):.3g} a step" if len(norms) > 1 else ""
                text = f"{_name(where)}\n{word}{rate}"
                end = float(shown[np.isfinite(shown)][-1])
                named.append((text, COLOURS[k], end))
        if named:
            axes.set_yscale("log")
            _room(axes, largest)
        else:
            axes.text(0.5, 0.5, "no gradient arrives", transform=axes.transAxes, ha="center")
        axes.set_xlim(-0.02 * len(found.losses) - 0.1, len(found.losses) - 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("time lag back from the step where the gradient enters the layer, steps")
        axes.set_ylabel(f"mean norm of the gradient,\n{found.unit} per unit of state")
        more = len(found.gradient_by_lag) - len(chosen)
        axes.set_title("How far a gradient gets" + (f" ({more} more are not shown)" * (more > 0)))
        figure.draw_without_rendering()
        name_ends((axes, beside), named, lines=2)
    return figure


def _name(where: Where) -> str:
    return f"layer {where[0]}, {where[1]}"


def _chosen(values: Mapping[Where, Floats]) -> dict[Where, Floats]:
    """At most six layers and directions, the topmost."""
    return dict(list(values.items())[-MOST_LINES:])


def _top_layer(dh: Mapping[Where, Floats]) -> Floats:
    top = max(layer for layer, _ in dh)
    return np.concatenate([v for (layer, _), v in dh.items() if layer == top], 1)


def _halves(dh: Mapping[Where, Floats]) -> str:
    both = len({direction for _, direction in dh}) > 1
    return ": forward above, backward below" if both else ""


def _top(values: Floats) -> float:
    return 1.05 * float(values[np.isfinite(values)].max(initial=0.0)) or 1.0


def _sizes(panel: Panel, values: Floats, what: str) -> None:
    """A heat map of sizes, from the decade of the smallest up, at most six; 0 is white."""
    from matplotlib.colors import LogNorm

    sizes = np.abs(values)
    largest = float(sizes[np.isfinite(sizes)].max(initial=0.0)) or 1.0
    least = float(sizes[sizes > 0].min(initial=largest))
    low = max(min(10.0 ** (np.floor(np.log10(least))), largest / 10), largest * 10.0**-DECADES)
    norm = LogNorm(low, largest, clip=True)
    heat(panel, np.maximum(sizes, low), what, signed=False, norm=norm)


def _lines(panel: Panel, values: Mapping[Where, Floats], *, log: bool) -> None:
    chosen = _chosen(values)
    table = np.stack(list(chosen.values()), 1)
    names = [_name(where) for where in chosen]
    if not log:
        draw_lines(panel, table, names, bounds=(0, max(1.1, _top(table))))
        return
    largest = float(table[np.isfinite(table)].max(initial=0.0)) or 1.0
    shown = _above(table, largest)
    draw_lines(panel, shown, names, scale="log", bounds=_bounds(shown, largest))


def _above(values: Floats, largest: float) -> Floats:
    """Values, with a gap where they are too small for the axis, or beyond all bounds."""
    return np.where(np.isfinite(values) & (values > largest * LOWEST), values, np.nan)


def _bounds(shown: Floats, largest: float) -> tuple[float, float]:
    low = float(np.nanmin(shown)) if np.isfinite(shown).any() else largest
    return min(low, largest / 10) / 1.6, largest * 1.6


def _room(axes: Axes, largest: float) -> None:
    """Show a power of ten at least, so that a level line looks level."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, largest / 10), high)
    number_decades(axes)
    axes.tick_params(axis="y", labelcolor=INK)
