"""Loss and metrics over the epochs of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.plots.style import BLUE, GREY, INK, VERMILION, Floats, new_figure, spread, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"loss": "Loss", "accuracy": "Accuracy", "rmse": "RMSE"}  # the last two by task


def history(records: Sequence[Mapping[str, Any]], kept_epoch: int | None = None) -> Figure:
    """Draw loss and accuracy, or error, over the epochs, on training and validation data.

    Args:
        records: one an epoch, with the keys epoch, loss, accuracy or rmse, and maybe the two with
            validation_ before them. A value that is missing, None or not finite leaves a gap.
        kept_epoch: the epoch whose weights were kept, to be marked.
    """
    epochs = np.array([r["epoch"] for r in records], dtype=np.float64)
    with new_figure(8.0, 3.2) as figure:
        second = "rmse" if any("rmse" in record for record in records) else "accuracy"
        for axes, name in zip(figure.subplots(1, 2), ("loss", second), strict=True):
            axes.set_title(PANELS[name], pad=10 if kept_epoch is None else 18)
            axes.set_xlabel("epoch")
            columns = [_column(records, part + name) for part in ("", "validation_")]
            _panel(axes, epochs, columns, kept_epoch)
            axes.yaxis.set_major_locator(_ticks(5, whole=False))
            axes.xaxis.set_major_locator(_ticks(6, whole=True))
    return figure


def _panel(axes: Axes, epochs: Floats, values: list[Floats], kept_epoch: int | None) -> None:
    style_axes(axes, grid="y")
    ends: list[tuple[str, str, float]] = []
    for name, colour, column in zip(
        ("training", "validation"), (BLUE, VERMILION), values, strict=True
    ):
        recorded = np.flatnonzero(np.isfinite(column))
        if len(recorded) == 0:
            continue
        # A single epoch, or one between two gaps, has no line to show.
        marker = "o" if len(recorded) < 3 or np.isnan(column).any() else ""
        axes.plot(
            epochs, column, color=colour, linewidth=1.8, marker=marker, markersize=3.5, label=name
        )
        ends.append((name, colour, float(column[recorded[-1]])))
    if not ends:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])
        return
    if kept_epoch is not None and kept_epoch in epochs:
        at = int(np.flatnonzero(epochs == kept_epoch)[0])
        axes.axvline(kept_epoch, color=GREY, linewidth=0.9, linestyle=(0, (2, 3)), zorder=0.9)
        marked = values[1] if np.isfinite(values[1][at]) else values[0]
        colour = VERMILION if marked is values[1] else BLUE
        axes.plot(
            [kept_epoch], [marked[at]], "o", color="white", markeredgecolor=colour,
            markeredgewidth=1.6, markersize=6, label="kept epoch",
        )  # fmt: skip
        axes.annotate(
            f"kept: {kept_epoch}", (kept_epoch, 1), xycoords=("data", "axes fraction"),
            xytext=(0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=7.5,
            color=INK,
        )  # fmt: skip
    axes.margins(x=0.03, y=0.08)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    heights = spread([(end - low) / (high - low) for *_, end in ends], 0.07)
    for (name, colour, _), height in zip(ends, heights, strict=True):
        axes.annotate(
            name, (1, height), xycoords="axes fraction", xytext=(4, 0),
            textcoords="offset points", va="center", color=colour, fontsize=8.5,
        )  # fmt: skip


def _column(records: Sequence[Mapping[str, Any]], name: str) -> Floats:
    raw = [record.get(name) for record in records]
    column = np.array([np.nan if value is None else value for value in raw], dtype=np.float64)
    return np.where(np.isfinite(column), column, np.nan)


def _ticks(most: int, *, whole: bool) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, integer=whole, min_n_ticks=1 if whole else 3, steps=[1, 2, 5, 10])
