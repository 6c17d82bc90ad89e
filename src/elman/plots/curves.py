"""Curves, each with its caption: loss and metric by epoch, ROC, precision and recall."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.plots.style import (
    BLUE,
    COLOURS,
    DASHED,
    DOTTED,
    GREEN,
    GREY,
    INK,
    PALE,
    VERMILION,
    Floats,
    label,
    new_figure,
    spread,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.evaluate import ClassificationReport

Records = Sequence[Mapping[str, Any]]  # one per epoch

PANELS = {"loss": "Loss", "accuracy": "Accuracy", "rmse": "RMSE"}  # the last two by task
MOST_COLOURED = 5
HARDLY = 0.02  # a fall of the accuracy that is within the noise of a test split of usual size
MOST_POINTS = 1000
BALANCED = 0.8  # classes are called equal in size if the rarest has this share of the mean size
TEST = "test (not used\nfor any choice)"
_LINES = {"training": BLUE, "validation": VERMILION, TEST: GREEN}  # of the history
MEAN_AT = np.linspace(0, 1, 501)  # where the curves of several classes are averaged


def history(records: Records, kept_epoch: int | None = None) -> Figure:
    """Draw loss and accuracy (or RMSE) by epoch, for training and held-out data.

    Args:
        records: one per epoch, with the keys epoch, loss, accuracy or rmse, and optionally the
            loss and metric prefixed with validation_ or test_. A missing value, None, NaN or inf is
            a gap; the test split's line connects the epochs at which it was evaluated.
        kept_epoch: the epoch whose weights were kept, which is marked.
    """
    epochs = np.array([r["epoch"] for r in records], dtype=np.float64)
    with new_figure(8.0, 3.2) as figure:
        for axes, name in zip(figure.subplots(1, 2), ("loss", _metric(records)), strict=True):
            axes.set_title(PANELS[name], pad=10 if kept_epoch is None else 18)
            axes.set_xlabel("epoch")
            columns = [_column(records, part + name) for part in ("", "validation_", "test_")]
            _draw_epochs(axes, epochs, columns, kept_epoch)
            axes.yaxis.set_major_locator(_ticks(5, whole=False))
            axes.xaxis.set_major_locator(_ticks(6, whole=True))
    return figure


def describe_history(records: Records) -> tuple[str, str]:
    """Return title and caption of loss and metric by epoch."""
    metric = _metric(records)
    title = "Loss and error by epoch" if metric == "rmse" else "Loss and accuracy by epoch"
    text = (
        "Training values are averages over an epoch, while the weights change, and include the "
        "training's dropout, noise and label smoothing if it has any, so they can look worse than "
        "they are."
    )
    for split in ("validation", "test"):
        losses = _column(records, f"{split}_loss")
        recorded = np.flatnonzero(np.isfinite(losses))
        if len(recorded):
            epochs = [int(records[i]["epoch"]) for i in recorded]
            values = _column(records, f"{split}_{metric}")[recorded]
            seen = _describe_held_out(split, epochs, losses[recorded], values, metric)
            evaluated = f" It was evaluated at {len(recorded)} of the {len(records)} epochs."
            return title, f"{text} {seen}{evaluated if len(recorded) < len(records) else ''}"
    return title, (
        f"{text} Neither a validation split nor the test split was evaluated during this training, "
        "so overfitting cannot be seen here."
    )


def _describe_held_out(
    split: str, epochs: list[int], losses: Floats, values: Floats, metric: str
) -> str:
    """Describe a held-out curve, given its epochs, losses and values of the metric."""
    name = {"test": "test loss (not used for any choice)"}.get(split, f"{split} loss")
    if len(epochs) < 2:
        return f"The {name} is {losses[0]:.3g} after epoch {epochs[0]}."
    low = int(np.argmin(losses))
    text = f"The {name} is lowest at epoch {epochs[low]} ({losses[low]:.3g})"
    # Smaller rises are within the noise between epochs.
    if losses[-1] <= losses[low] + max(0.02 * losses[low], 0.01 * (losses[0] - losses[low])):
        return f"{text} and does not rise after that: no overfitting is seen."
    text += f" and rises to {losses[-1]:.3g}"
    if metric == "accuracy" and values[low] - values[-1] <= HARDLY:
        falls = "hardly falls" if values[-1] < values[low] else "does not fall"
        return (
            f"{text}, but the accuracy {falls} ({values[low]:.3f} there, {values[-1]:.3f} at the "
            "end): later epochs make the errors more confident, not more frequent."
        )
    advice = " To stop there, hold out a validation split (--validation 0.1)."
    return f"{text}: from then on the network overfits.{advice if split == 'test' else ''}"


def _metric(records: Records) -> str:
    return "rmse" if any("rmse" in record for record in records) else "accuracy"


def _draw_epochs(axes: Axes, epochs: Floats, values: list[Floats], kept_epoch: int | None) -> None:
    style_axes(axes, grid="y")
    ends: list[tuple[str, str, float]] = []
    for (name, colour), column in zip(_LINES.items(), values, strict=True):
        recorded = np.flatnonzero(np.isfinite(column))
        if len(recorded) == 0:
            continue
        # A single epoch, or one between two gaps, has no line, so it needs a marker.
        marker = "o" if len(recorded) < 3 or np.isnan(column).any() else ""
        shown = recorded if name == TEST else np.arange(len(column))
        axes.plot(
            epochs[shown], column[shown], color=colour, linewidth=1.8, marker=marker,
            markersize=3.5, label=name,
        )  # fmt: skip
        ends.append((name, colour, float(column[recorded[-1]])))
    if not ends:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])
        return
    if kept_epoch is not None and kept_epoch in epochs:
        at = int(np.flatnonzero(epochs == kept_epoch)[0])
        axes.axvline(kept_epoch, color=GREY, linewidth=0.9, linestyle=DOTTED, zorder=0.9)
        marked = values[1] if np.isfinite(values[1][at]) else values[0]
        colour = VERMILION if marked is values[1] else BLUE
        axes.plot(
            [kept_epoch], [marked[at]], "o", color="white", markeredgecolor=colour,
            markeredgewidth=1.6, markersize=6, label="kept epoch",
        )  # fmt: skip
        # Near the right end, where the curves are named, the text ends at its line.
        late = kept_epoch > epochs[0] + 0.9 * (epochs[-1] - epochs[0])
        axes.annotate(
            f"kept: {kept_epoch}", (kept_epoch, 1), xycoords=("data", "axes fraction"),
            xytext=(0, 2), textcoords="offset points", ha="right" if late else "center",
            va="bottom", fontsize=7.5, color=INK,
        )  # fmt: skip
    axes.margins(x=0.03, y=0.08)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # fixed, because label positions are shares of this range
    gap = 0.13 if any("\n" in name for name, *_ in ends) else 0.07
    heights = spread([(end - low) / (high - low) for *_, end in ends], gap)
    for (name, colour, _), height in zip(ends, heights, strict=True):
        axes.annotate(
            name, (1, height), xycoords="axes fraction", xytext=(4, 0),
            textcoords="offset points", va="center", color=colour, fontsize=8.5,
        )  # fmt: skip


def _column(records: Records, name: str) -> Floats:
    raw = [record.get(name) for record in records]
    column = np.array([np.nan if value is None else value for value in raw], dtype=np.float64)
    return np.where(np.isfinite(column), column, np.nan)


def _ticks(most: int, *, whole: bool) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, integer=whole, min_n_ticks=1 if whole else 3, steps=[1, 2, 5, 10])


@dataclass(frozen=True, eq=False)
class _Curve:
    name: str
    x: Floats
    y: Floats
    area: float
    steps: bool  # whether the curve is a step function, not linear between points

    def at(self, x: Floats) -> Floats:
        """Value at each of `x`, from 0 to 1."""
        if self.steps:
            return self.y[np.searchsorted(self.x, x)]
        return np.interp(x, self.x, self.y)


def roc(report: ClassificationReport) -> Figure:
    """Draw the ROC curve of the second of two classes, or one-vs-rest curves and their mean.

    With more than five classes, the three with the smallest area are coloured, the others grey.
    """
    with new_figure(5.2, 5.6) as figure:
        axes = figure.subplots()
        curves = _curves(report, _roc_points, _positives(report))
        _draw_curves(axes, report, curves, "area", "ROC")
        if curves:
            axes.plot([0, 1], [0, 1], color=PALE, linewidth=1, linestyle=DASHED, zorder=1)
            axes.text(0.68, 0.64, "chance", color=GREY, fontsize=8, rotation=45, ha="center",
                      va="top", rotation_mode="anchor")  # fmt: skip
            _legend(figure, axes)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
    return figure


def describe_roc(report: ClassificationReport) -> str:
    """Describe the ROC curve and its area."""
    return (
        "The share of a class that is found (true positive rate) against the share of the other "
        "classes that is mistaken for it (false positive rate), for every threshold. The area is "
        f"{report.roc_auc:.3f}; 1 is perfect, 0.5 is chance."
    )


def precision_recall(report: ClassificationReport) -> Figure:
    """Draw precision against recall for the rarer of two classes, or one-vs-rest and the mean.

    The area is the average precision. With more than five classes, the three with the smallest area
    are coloured and the others are grey.
    """
    with new_figure(5.2, 5.6) as figure:
        axes = figure.subplots()
        positives = _positives(report)
        if len(report.classes) == 2:
            positives = [int(np.argmin(np.bincount(report.true, minlength=2)))]
        curves = _curves(report, _precision_recall_points, positives)
        _draw_curves(axes, report, curves, "average precision", "Precision and recall")
        if curves and len(report.classes) == 2:
            share = float((report.true == positives[0]).mean())
            axes.axhline(
                share, color=GREY, linewidth=1, linestyle=DASHED, zorder=1,
                label=f"chance {share:.3f}",
            )  # fmt: skip
        if curves:
            _legend(figure, axes)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
    return figure


def describe_precision_recall(report: ClassificationReport) -> str:
    """Describe precision and recall, and say why they replace the ROC curve."""
    return (
        "The share of the predictions of a class that is correct (precision) against the share of "
        "the class that is found (recall), for every threshold. It replaces the ROC curve, which "
        "hardly shows false positives where a class is much smaller than the rest: "
        f"{describe_rarity(report)}."
    )


def rarest_share(report: ClassificationReport) -> float:
    """Share of the rarest class among those that occur."""
    counts = np.bincount(report.true)
    return float(counts[counts > 0].min() / len(report.true))


def describe_rarity(report: ClassificationReport) -> str:
    """Say how small the classes are; with many classes of equal size, none of them is rare."""
    classes, share = len(np.unique(report.true)), rarest_share(report)
    if share * classes >= BALANCED:
        mean = _percent(1 / classes)
        return f"each of the {classes} classes makes up about {mean} of the {report.unit}"
    return f"the rarest class makes up {_percent(share)} of the {report.unit}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _positives(report: ClassificationReport) -> list[int]:
    """Classes to draw: the second of two, or all classes that occur."""
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

    # Collinear points are kept: without them, ties would look like a smooth curve.
    x, y, _ = roc_curve(positive, scores, drop_intermediate=False)
    return x, y, float(auc(x, y)), False


def _precision_recall_points(
    positive: NDArray[np.bool_], scores: Floats
) -> tuple[Floats, Floats, float, bool]:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(positive, scores)
    # In order of rising recall. The point that scikit-learn adds at recall 0 and precision 1 has no
    # threshold, so it is replaced by the first measured precision.
    precision, recall = precision[::-1].copy(), recall[::-1]
    precision[0] = precision[1]
    # The area is a sum of steps; the trapezoidal rule would be too optimistic (Davis and Goadrich
    # 2006).
    return recall, precision, float((np.diff(recall) * precision[1:]).sum()), True


def _draw_curves(
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
    mean = np.mean([c.at(MEAN_AT) for c in curves], axis=0)
    overall = float(np.mean([c.area for c in curves]))
    _line(
        axes, _Curve("mean", MEAN_AT, mean, overall, False), INK, 2.2, f"mean {area} {overall:.3f}"
    )


def _legend(figure: Figure, axes: Axes) -> None:
    """Name the curves below the axes, where the legend cannot cover a curve."""
    figure.legend(handles=axes.get_legend_handles_labels()[0], loc="outside lower center", ncols=2)


def _line(axes: Axes, curve: _Curve, colour: str, width: float, name: str) -> None:
    every = max(1, len(curve.x) // MOST_POINTS)
    keep = np.union1d(np.arange(0, len(curve.x), every), [len(curve.x) - 1])
    axes.plot(
        curve.x[keep], curve.y[keep], color=colour, linewidth=width, label=name,
        drawstyle="steps-pre" if curve.steps else "default",
    )  # fmt: skip
