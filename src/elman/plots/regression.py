"""Figures of predicted numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from elman.plots.data import bin_by_length, owners_of
from elman.plots.style import BLUE, COLOURS, GREY, PALE, Floats, label, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from elman.evaluate import RegressionReport

MOST_POINTS = 4000
MOST_VALUES = 4  # that are drawn side by side


def predicted_over_true(report: RegressionReport) -> Figure:
    """Draw predicted against true values; on the diagonal a prediction is right."""
    panels = min(len(report.names), MOST_VALUES)
    with new_figure(max(4.6, 3.6 * panels), 4.2) as figure:
        for k, axes in enumerate(np.atleast_1d(figure.subplots(1, panels))):
            style_axes(axes)
            true, predicted = _thin_out(report, k)
            low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
            axes.plot([low, high], [low, high], color=PALE, linewidth=1, linestyle=(0, (4, 3)))
            axes.plot(true, predicted, "o", color=BLUE, markersize=3, alpha=0.4, markeredgewidth=0)
            axes.set_xlabel("true")
            axes.set_ylabel("predicted")
            axes.set_title(f"{label(report.names[k])}: R2 {report.per_value[k].r2:.3f}")
    return figure


def residuals(report: RegressionReport) -> Figure:
    """Draw the error, predicted minus true, against the prediction; no trend should be left."""
    panels = min(len(report.names), MOST_VALUES)
    with new_figure(max(4.6, 3.6 * panels), 3.6) as figure:
        for k, axes in enumerate(np.atleast_1d(figure.subplots(1, panels))):
            style_axes(axes)
            true, predicted = _thin_out(report, k)
            axes.axhline(0, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
            axes.plot(
                predicted,
                predicted - true,
                "o",
                color=BLUE,
                markersize=3,
                alpha=0.4,
                markeredgewidth=0,
            )
            axes.set_xlabel("predicted")
            axes.set_ylabel("predicted minus true")
            axes.set_title(f"{label(report.names[k])}: RMSE {report.per_value[k].rmse:.4g}")
    return figure


def error_by_length(report: RegressionReport) -> Figure:
    """Draw the RMSE of each value by length of the sequence, relative to that of all sequences.

    Bins hold about as many sequences each."""
    bins = bin_by_length(report)
    owners = owners_of(report)
    with new_figure(max(4.6, 1.6 + 0.75 * len(bins)), 3.4) as figure:
        axes = figure.subplots()
        style_axes(axes, grid="y")
        axes.axhline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        for k, name in enumerate(report.names[:MOST_VALUES]):
            squares = (report.predicted[:, k] - report.true[:, k]) ** 2
            whole = np.sqrt(squares.mean()) or 1.0
            relative = [np.sqrt(squares[b.members[owners]].mean()) / whole for b in bins]
            axes.plot(range(len(bins)), relative, "o-", color=COLOURS[k], label=label(name))
        axes.set_xticks(range(len(bins)), [b.label for b in bins])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("steps of the sequence, and number of sequences")
        axes.set_ylabel("RMSE relative to that of all")
        axes.set_title("Error by length")
        if len(report.names) > 1:
            axes.legend()
    return figure


def _thin_out(report: RegressionReport, k: int) -> tuple[Floats, Floats]:
    """True and predicted numbers of value k, at even distances where there are too many."""
    every = max(1, len(report.true) // MOST_POINTS)
    return report.true[::every, k], report.predicted[::every, k]
