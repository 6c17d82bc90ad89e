"""Which classes are found, and which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from elman.plots.by_length import independent
from elman.plots.style import BLUE, GREY, drawing, label, quiet
from elman.plots.view import ReportLike, wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 30


def accuracy_by_class(report: ReportLike) -> Figure:
    """Draw, for each true class, the share of right answers (recall) with a 95 % interval.

    The hardest come first; of many classes only these. Intervals are Wilson's; for a tagger the
    number of steps is first lowered, as in `accuracy_by_length`.
    """
    right = (report.predicted == report.true).astype(np.float64)
    owners = np.arange(report.count) if report.owners is None else report.owners
    count = np.bincount(report.true, minlength=len(report.classes))
    hits = np.bincount(report.true, weights=right, minlength=len(report.classes))
    share = hits / np.maximum(count, 1)
    order = np.lexsort((-count, share))
    occurring = order[count[order] > 0]
    shown = occurring[:MOST]
    worth = np.zeros(len(shown))
    for i, code in enumerate(shown.tolist()):
        own = report.true == code
        asked = np.bincount(owners[own], minlength=report.count).astype(np.float64)
        found = np.bincount(owners[own], right[own], minlength=report.count).astype(np.float64)
        worth[i] = independent(found[asked > 0], asked[asked > 0])
    low, high = wilson(share[shown] * worth, worth)
    hidden = len(occurring) - len(shown)
    with drawing(6.4, 1.75 + 0.24 * len(shown)) as figure:
        axes = figure.subplots()
        quiet(axes, grid="x")
        at = np.arange(len(shown))
        axes.axvline(report.accuracy, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.hlines(at, low, high, color=BLUE, linewidth=6, alpha=0.25)
        axes.plot(share[shown], at, "o", color=BLUE, markersize=5)
        axes.set_yticks(at, [f"{label(report.classes[k], 28)}  ({count[k]:,})" for k in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(-0.02, 1.02)
        what = "sequences" if report.steps is None else "steps"
        more = f"; {hidden} more classes are not shown" if hidden else ""
        axes.set_xlabel(f"share of the class's {what} that is right{more}")
        axes.set_title(f"Accuracy by class, hardest first (dashed: all, {report.accuracy:.3f})")
    return figure
