"""Figures of predicted numbers, each with its caption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.plots.style import (
    BLUE,
    COLOURS,
    DASHED,
    GREY,
    PALE,
    Floats,
    bin_by_length,
    label,
    new_figure,
    owners_of,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.evaluate import RegressionReport

Panel = tuple[int, "Axes", Floats, Floats]  # value, its axes, true and predicted numbers

MOST_POINTS = 4000
MOST_VALUES = 4  # limit of values drawn side by side
# Translucent, so that the density shows where points overlap.
POINTS: Any = {"color": BLUE, "markersize": 3, "alpha": 0.4, "markeredgewidth": 0}


def predicted_over_true(report: RegressionReport) -> Figure:
    """Draw predicted against true values; exact predictions lie on the diagonal."""
    with _panels(report, 4.2) as (figure, panels):
        for k, axes, true, predicted in panels:
            low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
            axes.plot([low, high], [low, high], color=PALE, linewidth=1, linestyle=DASHED)
            axes.plot(true, predicted, "o", **POINTS)
            axes.set_xlabel("true")
            axes.set_ylabel("predicted")
            axes.set_title(f"{label(report.names[k])}: R2 {report.per_value[k].r2:.3f}")
    return figure


def describe_predicted_over_true(report: RegressionReport) -> str:
    """Describe predicted against true values, and how much of the variance is explained."""
    return (
        "Each point is a prediction, drawn against its true value; on the diagonal it is exact. "
        f"The predictions explain {max(0.0, report.r2):.0%} of the variance (R2 {report.r2:.2f})."
    )


def residuals(report: RegressionReport) -> Figure:
    """Draw the error, predicted minus true, against the prediction; there should be no trend."""
    with _panels(report, 3.6) as (figure, panels):
        for k, axes, true, predicted in panels:
            axes.axhline(0, color=GREY, linewidth=1, linestyle=DASHED)
            axes.plot(predicted, predicted - true, "o", **POINTS)
            axes.set_xlabel("predicted")
            axes.set_ylabel("predicted minus true")
            axes.set_title(f"{label(report.names[k])}: RMSE {report.per_value[k].rmse:.4g}")
    return figure


def describe_residuals(report: RegressionReport) -> str:
    """Describe the errors, and name the value with the largest bias."""
    error = report.predicted - report.true
    bias, spread = error.mean(0), np.maximum(error.std(0), 1e-300)
    k = int(np.abs(bias / spread).argmax())
    return (
        "The error, predicted minus true, against the prediction. A trend, or a spread that "
        "changes from left to right, is structure that the network has not learned. The mean error "
        f"of {report.names[k]} is {bias[k]:.3g}, {abs(bias[k] / spread[k]):.2f} of its standard "
        "deviation."
    )


def error_by_length(report: RegressionReport) -> Figure:
    """Draw the RMSE of each value by length of the sequence, relative to that of all sequences.

    Bins hold about equal numbers of sequences."""
    bins = bin_by_length(report)
    owners = owners_of(report)
    with new_figure(max(4.6, 1.6 + 0.75 * len(bins)), 3.4) as figure:
        axes = figure.subplots()
        style_axes(axes, grid="y")
        axes.axhline(1, color=GREY, linewidth=1, linestyle=DASHED, zorder=1)
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


def describe_error_by_length(report: RegressionReport) -> str:
    """Describe the error of the shortest and of the longest sequences."""
    squares = ((report.predicted - report.true) ** 2).mean(1)
    owners = owners_of(report)
    bins = bin_by_length(report)
    whole = float(np.sqrt(squares.mean())) or 1.0
    first, last = (float(np.sqrt(squares[b.members[owners]].mean())) for b in (bins[0], bins[-1]))
    return (
        "The error from the shortest to the longest sequences, relative to that of all: "
        f"{first / whole:.2f} for {bins[0].span} steps, {last / whole:.2f} for {bins[-1].span}. A "
        "rise to the right means that long sequences are harder."
    )


@contextmanager
def _panels(report: RegressionReport, height: float) -> Iterator[tuple[Figure, list[Panel]]]:
    """Yield a figure with one axes for each value, and what to draw in them."""
    count = min(len(report.names), MOST_VALUES)
    # Evenly spaced points if there are too many: more would only make the file larger.
    every = max(1, len(report.true) // MOST_POINTS)
    with new_figure(max(4.6, 3.6 * count), height) as figure:
        panels: list[Panel] = []
        for k, axes in enumerate(np.atleast_1d(figure.subplots(1, count))):
            style_axes(axes)
            panels.append((k, axes, report.true[::every, k], report.predicted[::every, k]))
        yield figure, panels
