"""Predicted numbers beside the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elman.plots.by_length import length_edges
from elman.plots.style import BLUE, COLOURS, GREY, PALE, drawing, label, quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 4000
MOST_VALUES = 4  # that are drawn side by side


def predicted(report: Any) -> Figure:
    """Draw each value as predicted over the truth; on the diagonal the answer is right.

    Args:
        report: an `elman.evaluate.RegressionReport`.
    """
    shown = min(len(report.names), MOST_VALUES)
    with drawing(max(4.6, 3.6 * shown), 4.2) as figure:
        for k, axes in enumerate(np.atleast_1d(figure.subplots(1, shown))):
            quiet(axes)
            true, found = _drawn(report, k)
            low, high = min(true.min(), found.min()), max(true.max(), found.max())
            axes.plot([low, high], [low, high], color=PALE, linewidth=1, linestyle=(0, (4, 3)))
            axes.plot(true, found, "o", color=BLUE, markersize=3, alpha=0.4, markeredgewidth=0)
            axes.set_xlabel("true")
            axes.set_ylabel("predicted")
            axes.set_title(f"{label(report.names[k])}: R2 {report.per_value[k].r2:.3f}")
    return figure


def residuals(report: Any) -> Figure:
    """Draw the error, predicted less true, over the prediction; no trend should be left.

    Args:
        report: an `elman.evaluate.RegressionReport`.
    """
    shown = min(len(report.names), MOST_VALUES)
    with drawing(max(4.6, 3.6 * shown), 3.6) as figure:
        for k, axes in enumerate(np.atleast_1d(figure.subplots(1, shown))):
            quiet(axes)
            true, found = _drawn(report, k)
            axes.axhline(0, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
            axes.plot(
                found, found - true, "o", color=BLUE, markersize=3, alpha=0.4, markeredgewidth=0
            )
            axes.set_xlabel("predicted")
            axes.set_ylabel("predicted less true")
            axes.set_title(f"{label(report.names[k])}: RMSE {report.per_value[k].rmse:.4g}")
    return figure


def error_by_length(report: Any) -> Figure:
    """Draw the RMSE of each value over the length of the sequence, over that of all sequences.

    Bins hold about as many sequences each.

    Args:
        report: an `elman.evaluate.RegressionReport`.
    """
    edges = length_edges(report.lengths)
    place = np.searchsorted(edges, report.lengths, side="right") - 1
    owners = np.arange(report.count) if report.owners is None else report.owners
    bins = [b for b in range(len(edges)) if (place[owners] == b).any()]
    with drawing(max(4.6, 1.6 + 0.75 * len(bins)), 3.4) as figure:
        axes = figure.subplots()
        quiet(axes, grid="y")
        axes.axhline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        for k, name in enumerate(report.names[:MOST_VALUES]):
            squares = (report.predicted[:, k] - report.true[:, k]) ** 2
            whole = np.sqrt(squares.mean()) or 1.0
            own = [np.sqrt(squares[place[owners] == b].mean()) / whole for b in bins]
            axes.plot(range(len(bins)), own, "o-", color=COLOURS[k], label=label(name))
        names = []
        for b in bins:
            held = report.lengths[place == b]
            first, last = int(held.min()), int(held.max())
            span = f"{first:,}" if first == last else f"{first:,} to {last:,}"
            names.append(f"{span}\nn = {len(held):,}")
        axes.set_xticks(range(len(bins)), names)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("steps of the sequence, and number of sequences")
        axes.set_ylabel("RMSE over that of all")
        axes.set_title("Error by length")
        if len(report.names) > 1:
            axes.legend()
    return figure


def _drawn(report: Any, k: int) -> tuple[Any, Any]:
    """True and predicted numbers of value k, at even distances where there are too many."""
    every = max(1, len(report.true) // MOST_POINTS)
    return report.true[::every, k], report.predicted[::every, k]
