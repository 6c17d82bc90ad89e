"""How well each of several labels is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elman.plots.style import BLUE, GREY, VERMILION, drawing, label, quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 30


def labels(report: Any) -> Figure:
    """Draw precision, recall and F1 of each label, the most frequent first.

    Args:
        report: an `elman.evaluate.MultilabelReport`.
    """
    each = sorted(report.per_label, key=lambda found: -found.support)[:MOST]
    at = np.arange(len(each))
    with drawing(6.4, 1.6 + 0.28 * len(each)) as figure:
        axes = figure.subplots()
        quiet(axes, grid="x")
        axes.barh(at, [f.f1 for f in each], color=BLUE, alpha=0.35, height=0.7, label="F1")
        axes.plot([f.precision for f in each], at, "|", color=VERMILION, markersize=11,
                  markeredgewidth=2, label="precision")  # fmt: skip
        axes.plot([f.recall for f in each], at, "o", color=BLUE, markersize=5, label="recall")
        axes.set_yticks(at, [f"{label(f.label)}  ({f.support:,})" for f in each])
        axes.invert_yaxis()
        axes.set_xlim(-0.02, 1.02)
        more = len(report.per_label) - len(each)
        axes.set_xlabel("share" + (f"; {more} rarer labels are not shown" if more else ""))
        axes.set_title(f"Labels: macro F1 {report.macro_f1:.3f}")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=GREY)
    return figure
