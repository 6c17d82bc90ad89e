"""What the doctor measured of a network, in one picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.plots.explain.panels import STYLES
from elman.plots.style import BLUE, COLOURS, GREY, INK, VERMILION, Floats, drawing, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 6  # layers and directions that get a line each
MOST_BARS = 24
LEAST = 1e-12  # of what is drawn on a logarithmic axis


def overview(
    title: str,
    carried: Mapping[tuple[int, str], Floats],
    saturated: Mapping[tuple[int, str, str], float],
    spread: Mapping[tuple[int, str], Floats],
    losses: Sequence[tuple[float, float]],
    rates: Mapping[float, float],
    rate: float,
    lines: Mapping[str, float],
) -> Figure:
    """Draw gradients by distance, gates at their ends, how far units move, and the training.

    Args:
        title: what was found, in a line.
        carried: by (layer, direction), the share of a gradient left after k steps, (T,) from k = 0.
        saturated: by (layer, direction, gate), the share of activations at their ends.
        spread: by (layer, direction), each unit's deviation, (H,).
        losses: of training and validation, one pair an epoch; empty where there was none.
        rates: learning rate -> share of the loss that a few steps took away; empty for none.
        rate: the training's own of them.
        lines: where `vanished`, `saturated` and `still` begin.
    """
    with drawing(9.6, 6.6) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
        grid = figure.subplots(2, 2)
        _gradients(grid[0, 0], carried, lines["vanished"])
        _gates(grid[0, 1], saturated, lines["saturated"])
        _units(grid[1, 0], spread, lines["still"])
        if rates:
            _rates(grid[1, 1], rates, rate)
        else:
            _losses(grid[1, 1], losses)
    return figure


def _lines(values: Mapping[tuple[int, str], Floats]) -> Iterator[tuple[str, Floats, Any]]:
    """Name, values and look of each layer and direction that has room."""
    for i, (place, value) in enumerate(list(values.items())[:MOST]):
        yield _named(place), value, {"color": COLOURS[i], "linestyle": STYLES[i], "linewidth": 1.7}


def _named(place: tuple[Any, ...]) -> str:
    return f"layer {place[0]} {place[1]}" + (f", {place[2]}" if len(place) > 2 else "")


def _gradients(axes: Axes, carried: Mapping[tuple[int, str], Floats], line: float) -> None:
    axes.set_title("Gradient left on its way back")
    axes.set_xlabel("steps back")
    axes.set_ylabel("share of its norm")
    quiet(axes)
    axes.set_yscale("log")
    lowest, highest, longest = line, 1.0, 1
    for name, values, look in _lines(carried):
        shown = np.clip(np.nan_to_num(values, nan=LEAST), LEAST, 1 / LEAST)
        marker = "o" if len(shown) < 3 else ""
        axes.plot(np.arange(len(shown)), shown, label=name, marker=marker, markersize=4, **look)
        lowest, highest = min(lowest, shown.min()), max(highest, shown.max())
        longest = max(longest, len(shown) - 1)
    axes.set_xlim(0, longest)
    axes.xaxis.set_major_locator(_whole())
    axes.set_ylim(lowest / 3, highest * 30)
    _mark(axes, line, "vanished")
    axes.legend(loc="upper right", ncols=2 if len(carried) > 3 else 1, handlelength=3)


def _gates(axes: Axes, saturated: Mapping[tuple[int, str, str], float], line: float) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_title("Activations at their ends")
    quiet(axes, grid="x")
    if not saturated:
        _nothing(axes, "relu has no ends")
        return
    items = list(saturated.items())[:MOST_BARS]
    heights = np.arange(len(items))
    shares = [share for _, share in items]
    colours = [VERMILION if share > line else BLUE for share in shares]
    axes.barh(heights, shares, color=colours, height=0.7)
    for height, share in zip(heights, shares, strict=True):
        axes.annotate(
            f"{share:.0%}", (share, height), xytext=(3, 0), textcoords="offset points",
            va="center", fontsize=min(7.0, 110 / len(items)), color=INK,
        )  # fmt: skip
    axes.set_yticks(heights, [_named(place) for place, _ in items])
    axes.tick_params(axis="y", labelsize=min(8.0, 110 / len(items)))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.axvline(line, color=GREY, linewidth=0.9, linestyle=(0, (2, 3)))
    axes.set_xlabel("share of steps and units")


def _units(axes: Axes, spread: Mapping[tuple[int, str], Floats], line: float) -> None:
    axes.set_title("How far each unit's state moves")
    axes.set_xlabel("units, from the stillest")
    axes.set_ylabel("deviation of h")
    quiet(axes)
    axes.set_yscale("log")
    lowest, highest = line, 1.0
    for name, values, look in _lines(spread):
        shown = np.clip(np.sort(values), 1e-8, 1e8)
        marker = "o" if len(shown) < 3 else ""
        axes.plot(
            np.arange(1, len(shown) + 1), shown, label=name, marker=marker, markersize=4, **look
        )
        lowest, highest = min(lowest, shown.min()), max(highest, shown.max())
    axes.set_ylim(lowest / 3, highest * 30)
    axes.xaxis.set_major_locator(_whole())
    _mark(axes, line, "still")
    axes.legend(loc="upper right", ncols=2 if len(spread) > 3 else 1, handlelength=3)


def _rates(axes: Axes, rates: Mapping[float, float], own: float) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_title("A few steps with other learning rates")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss taken away")
    quiet(axes)
    axes.set_xscale("log")
    known = sorted(rates)
    shares = np.clip([rates[rate] for rate in known], -1, 1)
    axes.plot(known, shares, color=BLUE, marker="o", markersize=4, linewidth=1.7)
    axes.plot(
        [own], [float(np.clip(rates[own], -1, 1))], "o", color="white", markeredgecolor=VERMILION,
        markeredgewidth=1.8, markersize=8,
    )  # fmt: skip
    axes.annotate(
        "its own", (own, float(np.clip(rates[own], -1, 1))), xytext=(0, 9), fontsize=8,
        textcoords="offset points", ha="center", color=VERMILION,
    )  # fmt: skip
    axes.set_ylim(-1.1, 1.25)
    axes.axhline(0, color=GREY, linewidth=0.9)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _losses(axes: Axes, losses: Sequence[tuple[float, float]]) -> None:
    axes.set_title("Loss")
    quiet(axes)
    if not losses:
        _nothing(axes, "no history, and no labels to try rates by")
        return
    epochs = np.arange(1, len(losses) + 1)
    for name, column, colour, style in zip(
        ("training", "validation"), np.array(losses).T, (BLUE, VERMILION), STYLES[:2], strict=True
    ):
        if np.isfinite(column).any():
            marker = "o" if len(column) < 3 else ""
            axes.plot(
                epochs, column, color=colour, linestyle=style, label=name, marker=marker,
                linewidth=1.7,
            )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(_whole())
    axes.legend(loc="upper right", handlelength=3)


def _mark(axes: Axes, line: float, name: str) -> None:
    axes.axhline(line, color=GREY, linewidth=0.9, linestyle=(0, (2, 3)))
    axes.annotate(
        name, (0, line), xycoords=("axes fraction", "data"), xytext=(3, 3), color=GREY,
        textcoords="offset points", fontsize=7.5,
    )  # fmt: skip


def _nothing(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])


def _whole() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(8, integer=True, min_n_ticks=1)
