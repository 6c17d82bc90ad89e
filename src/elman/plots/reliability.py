"""Whether a probability means what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from elman.plots.style import BLUE, GREY, PALE, Floats, drawing, quiet
from elman.plots.view import ReportLike, unit, wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 15  # as many as the calibration error has


def calibration(report: ReportLike) -> Figure:
    """Draw accuracy over the probability of the answer in 15 equal bins, and how full each bin is.

    On the diagonal, of the answers given with probability p a share p is right. Whiskers are 95 %
    Wilson intervals; they are left out for taggers, whose steps are not independent.
    """
    top = report.probabilities.max(1)
    right = report.predicted == report.true
    place = np.clip(np.ceil(top * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS).astype(np.float64)
    used = counts > 0
    n: Floats = counts[used]
    hits: Floats = np.bincount(place[right], minlength=BINS)[used].astype(np.float64)
    confidence = np.bincount(place, weights=top, minlength=BINS)[used] / n
    accuracy = hits / n
    with drawing(5.2, 5.4) as figure:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        quiet(axes)
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        if report.steps is None:
            low, high = wilson(hits, n)
            axes.vlines(confidence, low, high, color=BLUE, linewidth=1.2, alpha=0.45)
        axes.plot(confidence, accuracy, color=BLUE, linewidth=1, alpha=0.4)
        axes.plot(confidence, accuracy, "o", color=BLUE, markersize=5, label="model")
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_ylabel("share of right answers")
        axes.set_title(f"Calibration: mean error {report.calibration_error:.3f}")
        axes.text(0.03, 0.95, "too cautious", color=GREY, fontsize=8, va="top")
        axes.text(0.97, 0.03, "too sure", color=GREY, fontsize=8, ha="right")
        quiet(below, grid="")
        edges = np.linspace(0, 1, BINS + 1)
        below.bar(edges[:-1], counts, width=1 / BINS, align="edge", color=BLUE, alpha=0.55,
                  edgecolor="white", linewidth=0.8)  # fmt: skip
        below.set_xlabel("probability of the answer")
        below.set_ylabel(unit(report))
        below.set_yticks([0, int(counts.max())], labels=["0", f"{int(counts.max()):,}"])
    return figure
