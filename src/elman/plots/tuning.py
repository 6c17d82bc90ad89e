"""Figures of a search: losses by trial, what mattered, and losses by value of each setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.plots.style import BLUE, GREY, PALE, VERMILION, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_BEST = "the best so far"


@dataclass(frozen=True)
class TrialPoint:
    """A finished trial.

    Args:
        number: from 1.
        loss: mean validation loss; of a trial that was stopped early, where it stopped.
        complete: whether it was trained on every fold.
        values: of the settings that varied.
    """

    number: int
    loss: float
    complete: bool
    values: Mapping[str, Any]


def losses_and_importances(
    points: Sequence[TrialPoint], importances: Mapping[str, float]
) -> Figure:
    """Draw the loss of each trial with the best so far, and the importance of each setting."""
    rows = max(3, len(importances))
    with new_figure(8.0, 1.6 + 0.3 * rows) as figure:
        left, right = figure.subplots(1, 2)
        _draw_losses(left, points)
        right.set_title("What mattered")
        if not importances:
            right.text(0.5, 0.5, "too few complete trials", ha="center", va="center", color=GREY)
            right.set_axis_off()
            return figure
        style_axes(right, grid="x")
        names = list(importances)[::-1]
        shares = [100 * importances[name] for name in names]
        right.barh(names, shares, color=BLUE, height=0.6)
        for place, share in enumerate(shares):
            right.text(share + 1, place, f"{share:.0f} %", va="center", fontsize=8, color=GREY)
        right.set_xlim(0, max(shares) * 1.18)
        right.set_xlabel("share of the differences between trials, %")
    return figure


def _draw_losses(axes: Axes, points: Sequence[TrialPoint]) -> None:
    style_axes(axes, grid="y")
    axes.set_title("Loss by trial")
    axes.set_xlabel("trial")
    axes.set_ylabel("mean validation loss")
    done = [point for point in points if point.complete]
    stopped = [point for point in points if not point.complete]
    if stopped:
        numbers, losses = _pairs(stopped)
        axes.plot(numbers, losses, "o", mfc="none", mec=GREY, ms=4, label="stopped early")
    numbers, losses = _pairs(done)
    axes.plot(numbers, losses, "o", color=BLUE, ms=4, label="complete")
    best = np.minimum.accumulate(losses) if len(losses) else losses
    axes.step(numbers, best, where="post", color=VERMILION, lw=1.3, label=_BEST)
    _limit(axes, np.array([point.loss for point in points]))
    axes.legend(frameon=False, fontsize=8)


def losses_by_value(points: Sequence[TrialPoint], names: Sequence[str], logs: set[str]) -> Figure:
    """Draw the loss of each trial against its value of each setting.

    Args:
        names: of the settings, one panel each.
        logs: settings whose ranges are logarithmic.
    """
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    with new_figure(8.0, 0.6 + 2.1 * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            style_axes(axes, grid="y")
            axes.set_title(name)
            for complete in (False, True):
                chosen = [p for p in points if p.complete == complete and name in p.values]
                values = [_plain(point.values[name]) for point in chosen]
                style = {"color": BLUE} if complete else {"mfc": "none", "mec": PALE}
                axes.plot(values, [point.loss for point in chosen], "o", ms=4, **style)
            tried = [_plain(point.values[name]) for point in points if name in point.values]
            _style_values(axes, tried, log=name in logs)
            _limit(axes, np.array([point.loss for point in points]))
        for axes in grid[len(names) :]:
            axes.set_axis_off()
        for axes in grid[::columns]:
            axes.set_ylabel("loss")
    return figure


def _style_values(axes: Axes, values: Sequence[Any], *, log: bool) -> None:
    """Set the scale and the ticks of the values of one setting."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    if log and values:
        axes.set_xscale("log")
        ticks = np.geomspace(min(values), max(values), 3)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(ticks, labels=[f"{float(f'{tick:.2g}'):g}" for tick in ticks])
    elif any(isinstance(value, str) for value in values):
        axes.margins(x=0.3)
    else:
        whole = all(isinstance(value, int) for value in values)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=whole))


def _plain(value: Any) -> Any:
    """Return words for what is no number, which matplotlib then places as categories."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number else str(value).lower()


def _pairs(points: Sequence[TrialPoint]) -> tuple[Any, Any]:
    return np.array([p.number for p in points]), np.array([p.loss for p in points])


def _limit(axes: Axes, losses: Any) -> None:
    """Cut off losses that are far above the others, which would flatten them."""
    if len(losses) < 4:
        return
    low, middle, high = float(losses.min()), float(np.median(losses)), float(losses.max())
    top = middle + 3 * (middle - low)
    if high > top > low:
        axes.set_ylim(low - 0.05 * (top - low), top)


def describe_losses(points: Sequence[TrialPoint]) -> str:
    """Return the caption of the losses by trial."""
    done = [point for point in points if point.complete]
    if not done:
        return "No trial is complete."
    best = min(done, key=lambda point: (point.loss, point.number))
    first = done[0]
    text = f"The lowest mean validation loss is {best.loss:.4g}, of trial {best.number}."
    if first.number == 1 and first is not best:
        text += (
            f" Trial 1, with the values that elman train chooses, has {first.loss:.4g}, "
            f"{first.loss / best.loss:.3g} times as much."
            if best.loss > 0
            else ""
        )
    elif first is best:
        text += " These are the values that elman train chooses: the search found none better."
    last = max((p.number for p in done), default=0)
    if best.number > 0.8 * last and last >= 10:
        text += " The best trial is one of the last, so more trials may find a lower loss."
    return text
