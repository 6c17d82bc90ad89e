"""How well probabilities rank members of a class above the others: ROC, precision and recall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from elman.plots.style import BLUE, COLOURS, GREY, INK, PALE, Floats, label, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.evaluate import ClassificationReport

MOST_COLOURED = 5
MOST_POINTS = 1000
GRID = np.linspace(0, 1, 501)  # where the curves of several classes are averaged


@dataclass(frozen=True, eq=False)
class _Curve:
    name: str
    x: Floats
    y: Floats
    area: float
    steps: bool  # whether a value holds from the point before

    def at(self, x: Floats) -> Floats:
        """Value at each of `x`, from 0 to 1."""
        if self.steps:
            return self.y[np.searchsorted(self.x, x)]
        return np.interp(x, self.x, self.y)


def roc(report: ClassificationReport) -> Figure:
    """Draw the ROC curve of the second of two classes, else one-vs-rest curves and their mean.

    With more than five classes the three with the smallest area stand out and the others are grey.
    """
    with new_figure(5.2, 4.9) as figure:
        axes = figure.subplots()
        curves = _curves(report, _roc_points, _positives(report))
        _draw(axes, report, curves, "area", "ROC")
        if curves:
            axes.plot([0, 1], [0, 1], color=PALE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            axes.text(0.68, 0.64, "chance", color=GREY, fontsize=8, rotation=45, ha="center",
                      va="top", rotation_mode="anchor")  # fmt: skip
            axes.legend(loc="lower right")
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
    return figure


def precision_recall(report: ClassificationReport) -> Figure:
    """Draw precision against recall: of the rarer of two classes, else one-vs-rest and their mean.

    The area is the average precision. With more than five classes the three with the smallest area
    stand out and the others are grey.
    """
    with new_figure(5.2, 4.9) as figure:
        axes = figure.subplots()
        positives = _positives(report)
        if len(report.classes) == 2:
            positives = [int(np.argmin(np.bincount(report.true, minlength=2)))]
        curves = _curves(report, _precision_recall_points, positives)
        _draw(axes, report, curves, "average precision", "Precision and recall")
        if curves and len(report.classes) == 2:
            share = float((report.true == positives[0]).mean())
            axes.axhline(
                share, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1,
                label=f"chance {share:.3f}",
            )  # fmt: skip
        if curves:
            axes.legend(
                loc="lower left", bbox_to_anchor=(0.0, 0.06), frameon=True, edgecolor="none"
            )
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
    return figure


def rarest_share(report: ClassificationReport) -> float:
    """Share of the rarest class among those that occur."""
    counts = np.bincount(report.true)
    return float(counts[counts > 0].min() / len(report.true))


def _positives(report: ClassificationReport) -> list[int]:
    """Classes to draw: the second of two; else those that occur."""
    if len(report.classes) == 2:
        return [1]
    occurring: list[int] = np.unique(report.true).tolist()
    return occurring


Points = Callable[[NDArray[np.bool_], Floats], tuple[Floats, Floats, float, bool]]


def _curves(report: ClassificationReport, points: Points, positives: list[int]) -> list[_Curve]:
    curves = []
    for k in positives:
        positive = report.true == k
        if positive.any() and not positive.all():
            name = label(report.classes[k])
            curves.append(_Curve(name, *points(positive, report.probabilities[:, k])))
    return curves


def _roc_points(positive: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats, float, bool]:
    from sklearn.metrics import auc, roc_curve

    # With the points on straight lines: without them ties would look like a smooth curve.
    x, y, _ = roc_curve(positive, scores, drop_intermediate=False)
    return x, y, float(auc(x, y)), False


def _precision_recall_points(
    positive: NDArray[np.bool_], scores: Floats
) -> tuple[Floats, Floats, float, bool]:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(positive, scores)
    # From recall 0 up; the point that scikit-learn adds at recall 0 and precision 1 is nobody's
    # threshold, so the first measured precision takes its place.
    precision, recall = precision[::-1].copy(), recall[::-1]
    precision[0] = precision[1]
    # The area is a sum of steps, not of trapezia, which would be too optimistic (Davis and
    # Goadrich 2006).
    return recall, precision, float((np.diff(recall) * precision[1:]).sum()), True


def _draw(
    axes: Axes, report: ClassificationReport, curves: list[_Curve], area: str, title: str
) -> None:
    style_axes(axes)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    if not curves:
        axes.set_title(title)
        axes.text(0.5, 0.5, "undefined: only one class occurs", ha="center", color=GREY)
        return
    if len(report.classes) == 2:
        only = curves[0]
        axes.set_title(f"{title} of class {only.name}")
        _line(axes, only, BLUE, 2.2, f"{area} {only.area:.3f}")
        return
    axes.set_title(f"{title}, each class against the rest")
    ranked = sorted(curves, key=lambda curve: curve.area)
    bright = ranked if len(ranked) <= MOST_COLOURED else ranked[:3]
    rest = ranked[len(bright) :]
    for i, curve in enumerate(rest):
        name = f"{len(rest)} other classes" if i == 0 else "_"
        _line(axes, curve, PALE, 0.7, name)
    for colour, curve in zip(COLOURS[1:], bright, strict=False):
        _line(axes, curve, colour, 1.1, f"{curve.name}  {curve.area:.3f}")
    mean = np.mean([c.at(GRID) for c in curves], axis=0)
    overall = float(np.mean([c.area for c in curves]))
    _line(axes, _Curve("mean", GRID, mean, overall, False), INK, 2.2, f"mean {area} {overall:.3f}")


def _line(axes: Axes, curve: _Curve, colour: str, width: float, name: str) -> None:
    every = max(1, len(curve.x) // MOST_POINTS)
    keep = np.union1d(np.arange(0, len(curve.x), every), [len(curve.x) - 1])
    axes.plot(
        curve.x[keep], curve.y[keep], color=colour, linewidth=width, label=name,
        drawstyle="steps-pre" if curve.steps else "default",
    )  # fmt: skip
