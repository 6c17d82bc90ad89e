"""Figures of the gradients of one sequence, and of the measurements of a diagnosis.

Dimensions: T steps, H units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.plots.states import (
    MAX_LINES,
    STYLES,
    Panel,
    draw_lines,
    heat,
    name_ends,
    number_decades,
    stacked,
    step_bars,
    title_directions,
    unit_axis,
)
from elman.plots.style import (
    BLUE,
    COLOURS,
    DOTTED,
    GREY,
    INK,
    VERMILION,
    Floats,
    new_figure,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.explain.bptt import Bptt, Place

DECADES = 6  # range of a heat map: values below 1e-6 of the largest are white
LOWEST = 1e-12  # lower end of a logarithmic axis, relative to the largest value
MOST_BARS = 24
LEAST = 1e-12  # smallest value on a logarithmic axis


def draw_bptt(bptt: Bptt, jacobian_norms: Mapping[Place, Floats] | None) -> Figure:
    """Draw input, losses, dL/dh, Jacobians, and what each step contributes to every gradient.

    Args:
        jacobian_norms: largest singular values by layer and direction, (T,); None omits the panel.
    """
    loss_at_every_step = bool((bptt.losses[:-1] != 0).any())
    contributions = bptt.contribution_norms
    heights = [
        *([1.1] if loss_at_every_step else []), 1.6, 1.5,
        *([] if jacobian_norms is None else [1.3]),
        float(np.clip(0.17 * len(contributions), 0.8, 4.5)),
        float(np.clip(0.17 * len(contributions), 0.8, 4.5)), 1.1,
    ]  # fmt: skip
    per_h = f"{bptt.unit} per unit of h"
    with stacked(heights, bptt.inputs, bptt.channel_names, 1.2, bptt.categories) as (
        figure,
        panels,
    ):
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
        directions = {direction for _, direction in bptt.dh}
        unit_axis(panel[0], [*range(1, dh.shape[1] // len(directions) + 1)] * len(directions))
        title_directions(panel, "Gradient of each state of the top layer", dh, directions)
        panel = next(remaining)
        _place_lines(panel, bptt.dh_norms, log=True)
        panel[0].set_title("Norm of dL/dh at each step")
        panel[0].set_ylabel(per_h, fontsize=7.5)
        if jacobian_norms is not None:
            panel = next(remaining)
            _place_lines(panel, jacobian_norms, log=False)
            panel[0].axhline(1, color=GREY, linewidth=0.9, linestyle=DOTTED, zorder=0.9)
            panel[0].set_title("Jacobian of each step: below 1 (dotted) every gradient shrinks")
            panel[0].set_ylabel("largest\nsingular value")
        _contributions(panels[-3:], bptt)
    return figure


def _contributions(panels: Sequence[Panel], bptt: Bptt) -> None:
    """Draw what each step contributes: its norm, its signed share, and that of all weights."""
    names = [f"{bptt.letters[name]}  {name}" for name in bptt.contribution_norms]
    norms = np.stack(list(bptt.contribution_norms.values()), 1)
    _size_map(panels[0], norms, f"norm, {bptt.unit}\nper unit of weight")
    panels[0][0].set_title("What each step contributes to the gradient of each weight: its size")
    signed = np.stack(list(bptt.signed_shares.values()), 1)
    sizes = np.abs(signed.sum(0))  # |G| of each parameter
    shares = np.divide(signed, sizes, out=np.zeros_like(signed), where=sizes > 0)
    heat(panels[1], np.nan_to_num(shares), "share of the\nweight's gradient", diverging=True)
    panels[1][0].set_title("The same with its sign: orange steps work against the sum of the rest")
    for axes, _ in panels[:2]:
        axes.set_yticks(range(1, len(names) + 1), names)
        axes.tick_params(axis="y", labelsize=7)
    axes, _ = panels[2]
    style_axes(axes, grid="y")
    step_bars(axes, np.nan_to_num(100 * bptt.step_shares))
    axes.set_ylabel("%")
    axes.set_title("Share of each step in the gradient of all weights together")


def draw_by_lag(bptt: Bptt) -> Figure:
    """Draw the mean gradient norm against the time lag."""
    from matplotlib.ticker import MaxNLocator

    with new_figure(7.2, 3.9) as figure:
        axes, margin = figure.subplots(1, 2, width_ratios=[1, 0.02])
        style_axes(axes, grid="y")
        margin.set_axis_off()
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
            # The axis spans at least a power of ten, or a constant norm would look like noise.
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, largest / 10), high)
            number_decades(axes)
            axes.tick_params(axis="y", labelcolor=INK)
        else:
            axes.text(0.5, 0.5, "no gradient enters a layer", transform=axes.transAxes, ha="center")
        axes.set_xlim(-0.02 * len(bptt.losses) - 0.1, len(bptt.losses) - 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("time lag: steps back from where the gradient enters the layer")
        axes.set_ylabel(f"mean norm of the gradient,\n{bptt.unit} per unit of state")
        more = len(bptt.gradient_by_lag) - len(chosen)
        axes.set_title("Gradient norm by time lag" + (f" ({more} more not drawn)" * (more > 0)))
        figure.draw_without_rendering()  # fixes the layout before labels are placed
        name_ends((axes, margin), line_names, lines=2)
    return figure


def _name(place: Place) -> str:
    return f"layer {place[0]}, {place[1]}"


def _topmost(values: Mapping[Place, Floats]) -> dict[Place, Floats]:
    """At most six layers and directions, the topmost."""
    return dict(list(values.items())[-MAX_LINES:])


def _largest(values: Floats) -> float:
    return float(values[np.isfinite(values)].max(initial=0.0))


def _top(values: Floats) -> float:
    """Upper end of an axis that starts at 0."""
    return 1.05 * _largest(values) or 1.0


def _size_map(panel: Panel, values: Floats, what: str) -> None:
    """Draw a heat map of magnitudes over at most six decades below the largest; 0 is white."""
    from matplotlib.colors import LogNorm

    sizes = np.abs(values)
    largest = _largest(sizes) or 1.0
    least = float(sizes[sizes > 0].min(initial=largest))
    low = max(min(10.0 ** (np.floor(np.log10(least))), largest / 10), largest * 10.0**-DECADES)
    norm = LogNorm(low, largest, clip=True)
    heat(panel, np.maximum(sizes, low), what, signed=False, norm=norm)


def _place_lines(panel: Panel, values: Mapping[Place, Floats], *, log: bool) -> None:
    """Draw a line for each layer and direction, on a linear axis from 0 or a logarithmic one."""
    chosen = _topmost(values)
    table = np.stack(list(chosen.values()), 1)
    names = [_name(place) for place in chosen]
    if not log:
        draw_lines(panel, table, names, bounds=(0, max(1.1, _top(table))))
        return
    largest = _largest(table) or 1.0
    # One infinite or tiny value would flatten all other lines.
    drawn = _above_lowest(table, largest)
    low = float(np.nanmin(drawn)) if np.isfinite(drawn).any() else largest
    bounds = (min(low, largest / 10) / 1.6, largest * 1.6)
    draw_lines(panel, drawn, names, scale="log", bounds=bounds)


def _above_lowest(values: Floats, largest: float) -> Floats:
    """Replace values that are not finite or too small for the axis by NaN, drawn as a gap."""
    return np.where(np.isfinite(values) & (values > largest * LOWEST), values, np.nan)


def plot_measurements(
    title: str,
    *,
    gradient_by_lag: Mapping[tuple[int, str], Floats],
    saturation: Mapping[tuple[int, str, str], float],
    unit_deviation: Mapping[tuple[int, str], Floats],
    losses: Sequence[tuple[float, float]],
    rate_probe: Mapping[float, float],
    learning_rate: float,
    thresholds: tuple[float, float, float],
) -> Figure:
    """Draw gradients by time lag, saturated gates, the variation of units, and the training.

    Args:
        title: one-line summary of the findings.
        gradient_by_lag, saturation, unit_deviation, losses, rate_probe, learning_rate: as in
            `elman.explain.doctor.findings.Measurements`.
        thresholds: of vanished gradients, saturated gates and constant units, drawn as
            dotted lines.
    """
    vanished, saturated, still = thresholds
    with new_figure(9.6, 6.6) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
        grid = figure.subplots(2, 2)
        left = {
            place: np.clip(np.nan_to_num(share, nan=LEAST), LEAST, 1 / LEAST)
            for place, share in gradient_by_lag.items()
        }
        _draw_lines(grid[0, 0], left, 0, vanished, "vanished")
        _label(grid[0, 0], "Gradient left on its way back", "steps back", "share of its norm")
        grid[0, 0].set_xlim(0, max([1, *(len(share) - 1 for share in left.values())]))
        _draw_gates(grid[0, 1], saturation, saturated)
        ascending = {
            place: np.clip(np.sort(units), 1e-8, 1e8) for place, units in unit_deviation.items()
        }
        _draw_lines(grid[1, 0], ascending, 1, still, "still")
        _label(
            grid[1, 0],
            "How far each unit's state moves",
            "units, in ascending order",
            "standard deviation of h",
        )
        if rate_probe:
            _draw_rates(grid[1, 1], rate_probe, learning_rate)
        else:
            _draw_losses(grid[1, 1], losses)
    return figure


def _label(axes: Axes, title: str, across: str, upwards: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(upwards)


def _place_name(place: tuple[Any, ...]) -> str:
    return f"layer {place[0]} {place[1]}" + (f", {place[2]}" if len(place) > 2 else "")


def _marker(points: int) -> str:
    """Marker of a line; without one, a line of fewer than three points is easily missed."""
    return "o" if points < 3 else ""


def _draw_lines(
    axes: Axes, values: Mapping[tuple[int, str], Floats], first: int, limit: float, name: str
) -> None:
    """Draw the threshold and one line per layer and direction, as many as fit.

    Args:
        values: by (layer, direction), positive numbers.
        first: start of the horizontal axis.
        name: name of the values below the threshold.
    """
    style_axes(axes)
    axes.set_yscale("log")
    lowest, highest = limit, 1.0
    for i, (place, line) in enumerate(list(values.items())[:MAX_LINES]):
        axes.plot(
            first + np.arange(len(line)), line, label=_place_name(place), color=COLOURS[i],
            linestyle=STYLES[i], linewidth=1.7, marker=_marker(len(line)), markersize=4,
        )  # fmt: skip
        lowest, highest = min(lowest, line.min()), max(highest, line.max())
    axes.set_ylim(lowest / 3, highest * 30)  # leaves room for the legend
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.axhline(limit, color=GREY, linewidth=0.9, linestyle=DOTTED)
    axes.annotate(
        name, (0, limit), xycoords=("axes fraction", "data"), xytext=(3, 3), color=GREY,
        textcoords="offset points", fontsize=7.5,
    )  # fmt: skip
    axes.legend(loc="upper right", ncols=2 if len(values) > 3 else 1, handlelength=3)


def _draw_gates(axes: Axes, shares: Mapping[tuple[int, str, str], float], limit: float) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_title("Saturated activations")
    style_axes(axes, grid="x")
    if not shares:
        _write_note(axes, "this nonlinearity does not saturate")
        return
    items = list(shares.items())[:MOST_BARS]
    size, heights = min(8.0, 110 / len(items)), np.arange(len(items))
    colours = [VERMILION if share > limit else BLUE for _, share in items]
    axes.barh(heights, [share for _, share in items], color=colours, height=0.7)
    for height, (_, share) in zip(heights, items, strict=True):
        axes.annotate(
            f"{share:.0%}", (share, height), xytext=(3, 0), textcoords="offset points",
            va="center", fontsize=min(7.0, size), color=INK,
        )  # fmt: skip
    axes.set_yticks(heights, [_place_name(place) for place, _ in items])
    axes.tick_params(axis="y", labelsize=size)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.axvline(limit, color=GREY, linewidth=0.9, linestyle=DOTTED)
    axes.set_xlabel("share of steps and units")


def _draw_rates(axes: Axes, probe: Mapping[float, float], trained_with: float) -> None:
    from matplotlib.ticker import PercentFormatter

    _label(
        axes, "A few steps with other learning rates", "learning rate", "share of the loss removed"
    )
    style_axes(axes)
    axes.set_xscale("log")
    rates = sorted(probe)
    shares = np.clip([probe[rate] for rate in rates], -1, 1)
    axes.plot(rates, shares, color=BLUE, marker="o", markersize=4, linewidth=1.7)
    mark = trained_with, float(np.clip(probe[trained_with], -1, 1))
    axes.plot(
        [mark[0]], [mark[1]], "o", color="white", markeredgecolor=VERMILION, markeredgewidth=1.8,
        markersize=8,
    )  # fmt: skip
    axes.annotate(
        "of the training", mark, xytext=(0, 9), fontsize=8, textcoords="offset points",
        ha="center", color=VERMILION,
    )  # fmt: skip
    axes.set_ylim(-1.1, 1.25)
    axes.axhline(0, color=GREY, linewidth=0.9)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _draw_losses(axes: Axes, losses: Sequence[tuple[float, float]]) -> None:
    axes.set_title("Loss")
    style_axes(axes)
    if not losses:
        _write_note(axes, "no training history, and no labels to try learning rates with")
        return
    columns = np.array(losses).T
    epochs = np.arange(1, columns.shape[1] + 1)
    for name, column, colour, style in zip(
        ("training", "validation"), columns, (BLUE, VERMILION), STYLES[:2], strict=True
    ):
        if np.isfinite(column).any():
            axes.plot(
                epochs, column, color=colour, linestyle=style, label=name,
                marker=_marker(len(column)), linewidth=1.7,
            )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.legend(loc="upper right", handlelength=3)


def _write_note(axes: Axes, why: str) -> None:
    """Write the reason why a panel is empty into it."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(8, integer=True, min_n_ticks=1)
