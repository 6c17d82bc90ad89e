"""How well the probabilities put members of a class before the others: ROC, precision-recall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from elman.plots.style import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    PALE,
    Floats,
    drawing,
    label,
    quiet,
)
from elman.plots.view import ReportLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLOURED = 5
MOST_POINTS = 1000
GRID = np.linspace(0, 1, 501)  # where the curves of several classes are averaged


@dataclass(frozen=True, eq=False)
class _Curve:
    name: str
    x: Floats
    y: Floats
    area: float
    steps: bool  # whether a value holds back to the point before

    def at(self, x: Floats) -> Floats:
        """Value at each of `x`, from 0 to 1."""
        if self.steps:
            return self.y[np.searchsorted(self.x, x)]
        return np.interp(x, self.x, self.y)


def roc(report: ReportLike) -> Figure:
    """Draw the ROC curve of the second of two classes, else one-vs-rest curves and their mean.

    With more than five classes the three with the smallest area stand out and the others are grey.
    """
    with drawing(5.2, 4.9) as figure:
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


def precision_recall(report: ReportLike) -> Figure:
    """Draw precision over recall: of the rarer of two classes, else one-vs-rest and their mean.

    The area is the average precision. With more than five classes the three with the smallest area
    stand out and the others are grey.
    """
    with drawing(5.2, 4.9) as figure:
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


def rarest_share(report: ReportLike) -> float:
    """Share of the rarest class among those that occur."""
    counts = np.bincount(report.true)
    return float(counts[counts > 0].min() / len(report.true))


def _positives(report: ReportLike) -> list[int]:
    """Classes to draw: the second of two; else those that occur."""
    if len(report.classes) == 2:
        return [1]
    found: list[int] = np.unique(report.true).tolist()
    return found


Points = Callable[[Floats, Floats], tuple[Floats, Floats, float, bool]]


def _curves(report: ReportLike, points: Points, positives: list[int]) -> list[_Curve]:
    curves = []
    for k in positives:
        positive = report.true == k
        if not positive.any() or positive.all():
            continue
        scores = report.probabilities[:, k]
        order = np.argsort(-scores, kind="stable")
        # A curve has a corner wherever the score changes: count hits and misses up to there.
        last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
        hits = np.cumsum(positive[order])[last].astype(np.float64)
        x, y, area, steps = points(hits, last + 1.0 - hits)
        curves.append(_Curve(label(report.classes[k]), x, y, area, steps))
    return curves


def _roc_points(hits: Floats, misses: Floats) -> tuple[Floats, Floats, float, bool]:
    x = np.concatenate([[0.0], misses / misses[-1]])
    y = np.concatenate([[0.0], hits / hits[-1]])
    return x, y, float(np.trapezoid(y, x)), False


def _precision_recall_points(hits: Floats, misses: Floats) -> tuple[Floats, Floats, float, bool]:
    recall = np.concatenate([[0.0], hits / hits[-1]])
    precision = hits / (hits + misses)
    area = float((np.diff(recall) * precision).sum())
    return recall, np.concatenate([precision[:1], precision]), area, True


def _draw(axes: Axes, report: ReportLike, curves: list[_Curve], area: str, title: str) -> None:
    quiet(axes)
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
