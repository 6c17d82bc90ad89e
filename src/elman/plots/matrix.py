"""Which class is taken for which."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from elman.plots.style import BLUE, GREY, INK, Floats, Ints, drawing, label, quiet
from elman.plots.view import ReportLike, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 6  # classes, up to which there is room for long labels


def confusion(report: ReportLike) -> Figure:
    """Draw the confusion matrix: colour is the share of the true class, numbers are counts.

    A row is what one true class was taken for, so the diagonal is its recall. Colours are spaced so
    that shares of a few per cent can be seen. Counts are written only where all of them fit; a
    class that is never true has an empty row.
    """
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    counts = report.confusion_matrix
    k = len(counts)
    totals = counts.sum(1, keepdims=True)
    share = np.full(counts.shape, np.nan)
    np.divide(counts, totals, out=share, where=totals > 0)
    cell = float(np.clip(5.5 / k, 0.125, 1.0))  # inches
    size = float(np.clip(cell * 72 * 0.72, 4.5, 8.5))  # points
    letter = size * 0.6 / 72  # inches, about
    names = [label(c, 36 if k <= FEW else 18 if k <= 30 else 12) for c in report.classes]
    if k <= FEW:  # room for a second line
        names = [textwrap.fill(n, max(8, int(cell / letter))) for n in names]
    longest = max(len(line) for n in names for line in n.split("\n"))
    margin = 0.9 + longest * letter
    with drawing(k * cell + margin + 0.8, k * cell + margin + 0.3) as figure:
        axes = figure.subplots()
        shades = ["#FFFFFF", "#9CCBE6", BLUE, "#00304D"]
        colours = LinearSegmentedColormap.from_list("share", shades).with_extremes(bad="#F2F2F2")
        image = axes.imshow(share, cmap=colours, norm=PowerNorm(0.6, 0, 1), interpolation="nearest")
        quiet(axes, grid="")
        axes.spines[:].set_visible(False)
        turned = longest * letter > cell
        axes.set_xticks(range(k), names, rotation=90 if turned else 0)
        axes.set_yticks(range(k), names)
        axes.tick_params(labelsize=size, pad=3)
        # White lines between cells, as a grid on the half steps.
        axes.set_xticks(np.arange(k - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(k - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="#F0F0F0", linewidth=min(1.0, cell * 3))
        axes.tick_params(which="minor", length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(f"Confusion matrix of {int(counts.sum()):,} {unit(report)}")
        _numbers(axes, counts, share, cell)
        bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=22, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_ticks([0, 0.1, 0.5, 1], labels=["0 %", "10 %", "50 %", "100 %"])
        bar.ax.tick_params(length=0, labelsize=8, colors=GREY)
        bar.set_label("share of the true class", fontsize=8, color=GREY)
    return figure


def _numbers(axes: Axes, counts: Ints, share: Floats, cell: float) -> None:
    """Write counts into cells if the longest one fits in readable letters; noughts stay blank."""
    longest = max(len(f"{n:,}") for n in counts.ravel())
    size = min(cell * 72 * 0.85 / (longest * 0.62), cell * 72 * 0.4, 10.0)  # points
    if size < 5:
        return
    for row, column in np.argwhere(counts > 0):
        axes.text(
            column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=size,
            color="white" if share[row, column] > 0.3 else INK,
        )  # fmt: skip
