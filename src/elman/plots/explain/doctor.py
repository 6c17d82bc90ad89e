"""What a diagnosis measured of a network, in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.plots.explain.panels import STYLES
from elman.plots.style import BLUE, COLOURS, GREY, INK, VERMILION, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
MOST_LINES = 6  # layers and directions that get a line each
MOST_BARS = 24
LEAST = 1e-12  # smallest value on a logarithmic axis


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
    """Draw gradients by time lag, saturated gates, how far units move, and the training.

    Args:
        title: what was found, in a line.
        gradient_by_lag, saturation, unit_deviation, losses, rate_probe, learning_rate: as in
            `elman.explain.doctor.findings.Measurements`.
        thresholds: of vanished gradients, saturated gates and units that do not move, drawn as
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
    """A line through fewer than three points is easily missed without markers."""
    return "o" if points < 3 else ""


def _draw_lines(
    axes: Axes, values: Mapping[tuple[int, str], Floats], first: int, limit: float, name: str
) -> None:
    """Draw one line for each layer and direction that has room, and the threshold.

    Args:
        values: by (layer, direction), positive numbers.
        first: where the horizontal axis begins.
        name: of what is below the threshold.
    """
    style_axes(axes)
    axes.set_yscale("log")
    lowest, highest = limit, 1.0
    for i, (place, line) in enumerate(list(values.items())[:MOST_LINES]):
        axes.plot(
            first + np.arange(len(line)), line, label=_place_name(place), color=COLOURS[i],
            linestyle=STYLES[i], linewidth=1.7, marker=_marker(len(line)), markersize=4,
        )  # fmt: skip
        lowest, highest = min(lowest, line.min()), max(highest, line.max())
    axes.set_ylim(lowest / 3, highest * 30)  # leaves room for the legend
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.axhline(limit, color=GREY, linewidth=0.9, linestyle=(0, (2, 3)))
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
    axes.axvline(limit, color=GREY, linewidth=0.9, linestyle=(0, (2, 3)))
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
    """Say in an empty panel why it is empty."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(8, integer=True, min_n_ticks=1)
