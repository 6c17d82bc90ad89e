"""Figures of predicted classes, each with its caption."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from elman.plots.style import (
    BLUE,
    DASHED,
    GREY,
    GRID,
    INK,
    PALE,
    Floats,
    Ints,
    LengthBin,
    add_share_bar,
    bin_by_length,
    label,
    new_figure,
    owners_of,
    share_colours,
    share_with_interval,
    style_axes,
    wilson,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.evaluate import ClassificationReport
    from elman.evaluate.metrics import CalibrationBins

FEW = 6  # with up to this many classes there is room for long labels
MOST_CLASSES = 50  # of the confusion matrix: with more, neither cells nor names can be read
MOST = 30  # limit of classes drawn on separate lines


def confusion_matrix(report: ClassificationReport) -> Figure:
    """Draw the confusion matrix: colour is the share of the true class, numbers are counts.

    Rows are true classes, columns are predicted classes, so the diagonal shows the recall. The
    colour scale makes shares of a few per cent visible. Counts are written only if all of them
    fit; a class that is never true has an empty row. Of many classes, those with the most errors
    are drawn.
    """
    codes = _most_confused(report)
    counts = report.confusion_matrix[np.ix_(codes, codes)]
    k = len(counts)
    totals = report.confusion_matrix[codes].sum(1, keepdims=True)
    share = np.full(counts.shape, np.nan)
    np.divide(counts, totals, out=share, where=totals > 0)
    cell = float(np.clip(5.5 / k, 0.125, 1.0))  # inches: 5.5 for the matrix, at most 1 per cell
    size = float(np.clip(cell * 72 * 0.72, 4.5, 8.5))  # points
    letter = size * 0.6 / 72  # inches, about
    most = 36 if k <= FEW else 18 if k <= 30 else 12
    names = [label(report.classes[code], most) for code in codes]
    if k <= FEW:  # room for a second line
        names = [textwrap.fill(n, max(8, int(cell / letter))) for n in names]
    longest = max(len(line) for n in names for line in n.split("\n"))
    margin = 0.9 + longest * letter
    with new_figure(k * cell + margin + 0.8, k * cell + margin + 0.3) as figure:
        axes = figure.subplots()
        colours, norm = share_colours()
        image = axes.imshow(share, cmap=colours, norm=norm, interpolation="nearest")
        style_axes(axes, grid="")
        # Without a frame, white cells of a class that is never predicted would not look like cells.
        axes.spines[:].set(visible=True, color=GRID)
        turned = longest * letter > cell
        axes.set_xticks(range(k), names, rotation=90 if turned else 0)
        axes.set_yticks(range(k), names)
        axes.tick_params(labelsize=size, pad=3)
        # White lines between cells: a grid at half-integer positions.
        axes.set_xticks(np.arange(k - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(k - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="#F0F0F0", linewidth=min(1.0, cell * 3))
        axes.tick_params(which="minor", length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        part = "" if k == len(report.classes) else f", {k} of {len(report.classes):,} classes"
        total = int(report.confusion_matrix.sum())
        axes.set_title(f"Confusion matrix of {total:,} {report.unit}{part}")
        _write_counts(axes, counts, share, cell)
        add_share_bar(figure, axes, image, "share of the true class")
    return figure


def _most_confused(report: ClassificationReport) -> list[int]:
    """Codes of the classes to draw: all, or of many those with the most errors."""
    counts = report.confusion_matrix
    if len(counts) <= MOST_CLASSES:
        return list(range(len(counts)))
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    errors = wrong.sum(0) + wrong.sum(1)
    # Of classes with equally many errors, the more frequent one.
    order = np.lexsort((-counts.sum(1), -errors))[:MOST_CLASSES]
    return sorted(order.tolist())


def _write_counts(axes: Axes, counts: Ints, share: Floats, cell: float) -> None:
    """Write counts into cells if the longest one fits in readable letters; zeros stay blank."""
    longest = max(len(f"{n:,}") for n in counts.ravel())
    size = min(cell * 72 * 0.85 / (longest * 0.62), cell * 72 * 0.4, 10.0)  # points
    if size < 5:
        return
    for row, column in np.argwhere(counts > 0):
        axes.text(
            column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=size,
            color="white" if share[row, column] > 0.3 else INK,
        )  # fmt: skip


def describe_confusion_matrix(report: ClassificationReport) -> str:
    """Describe the confusion matrix and its most frequent confusion."""
    text = (
        "A row is a true class, a column a predicted one; the diagonal is correct. Colour is the "
        "share of the row."
    )
    if (classes := len(report.classes)) > MOST_CLASSES:
        text += f" Of {classes:,} classes, the {MOST_CLASSES} with the most errors are drawn."
    counts = report.confusion_matrix * ~np.eye(classes, dtype=bool)
    if not counts.any():
        return f"{text} Nothing is off the diagonal."
    true, predicted = np.unravel_index(int(counts.argmax()), counts.shape)
    share = counts[true, predicted] / report.confusion_matrix[true].sum()
    number = int(counts[true, predicted])
    times = "once" if number == 1 else f"{number:,} times"
    return (
        f"{text} The most frequent confusion is {report.classes[int(true)]} predicted as "
        f"{report.classes[int(predicted)]}: {times}, {share:.0%} of the "
        "true class."
    )


def calibration(report: ClassificationReport) -> Figure:
    """Draw accuracy against predicted probability in equal bins, and the count of each bin.

    On the diagonal, a share p of the predictions made with probability p is correct. Whiskers are
    95 % Wilson intervals; they are left out for taggers, whose steps are not independent.
    """
    return draw_calibration(
        report.calibration_bins,
        "share of correct predictions",
        "probability of the predicted class",
        report.unit,
        independent=report.steps is None,
    )


def draw_calibration(
    bins: CalibrationBins, share: str, probability: str, unit: str, *, independent: bool
) -> Figure:
    """Draw the share of events against their probability, and the count of each bin.

    Args:
        share, probability, unit: names of the two axes and of what is counted.
        independent: whether the events are independent, so that their intervals hold.
    """
    used = bins.count > 0
    count: Floats = bins.count[used].astype(np.float64)
    confidence, accuracy = bins.confidence[used], bins.accuracy[used]
    with new_figure(5.2, 5.4) as figure:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        style_axes(axes)
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=1, linestyle=DASHED, zorder=1)
        if independent:
            low, high = wilson(accuracy * count, count)
            axes.vlines(confidence, low, high, color=BLUE, linewidth=1.2, alpha=0.45)
        axes.plot(confidence, accuracy, color=BLUE, linewidth=1, alpha=0.4)
        axes.plot(confidence, accuracy, "o", color=BLUE, markersize=5, label="model")
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_ylabel(share)
        axes.set_title(f"Calibration: expected error {bins.error:.3f}")
        axes.text(0.03, 0.95, "underconfident", color=GREY, fontsize=8, va="top")
        axes.text(0.97, 0.03, "overconfident", color=GREY, fontsize=8, ha="right")
        style_axes(below, grid="")
        edges = np.linspace(0, 1, len(used) + 1)
        below.bar(edges[:-1], bins.count, width=1 / len(used), align="edge", color=BLUE, alpha=0.55,
                  edgecolor="white", linewidth=0.8)  # fmt: skip
        below.set_xlabel(probability)
        below.set_ylabel(unit)
        below.set_yticks([0, int(bins.count.max())], labels=["0", f"{int(bins.count.max()):,}"])
    return figure


def describe_calibration(report: ClassificationReport) -> str:
    """Describe the calibration, and whether the network is over- or underconfident."""
    text = (
        "Accuracy against the predicted probability; on the diagonal, predictions made with "
        "probability p are correct with frequency p. The bars count predictions."
    )
    bins = report.calibration_bins
    gap = float((bins.count * (bins.confidence - bins.accuracy)).sum() / bins.count.sum())
    if abs(gap) < 0.01:
        return f"{text} On average the network is neither overconfident nor underconfident."
    which = "overconfident" if gap > 0 else "underconfident"
    side = "above" if gap > 0 else "below"
    return (
        f"{text} The network is {which}: its mean probability is {abs(gap):.2f} {side} its "
        "accuracy."
    )


def accuracy_by_class(report: ClassificationReport) -> Figure:
    """Draw the recall of each class with a 95 % interval.

    Classes are sorted by rising recall; only the first are drawn if there are many. Intervals are
    Wilson's; for a tagger they use a reduced number of steps, as in `accuracy_by_length`.
    """
    shares = _recall_by_class(report)
    # With equal recall, the more frequent class comes first: it accounts for more errors.
    listed = sorted(shares, key=lambda code: (shares[code][0], -shares[code][3]))
    drawn_codes = listed[:MOST]
    share, low, high, _ = np.array([shares[code] for code in drawn_codes]).T
    hidden = len(listed) - len(drawn_codes)
    with new_figure(6.4, 1.75 + 0.24 * len(drawn_codes)) as figure:
        axes = figure.subplots()
        style_axes(axes, grid="x")
        at = np.arange(len(drawn_codes))
        axes.axvline(report.accuracy, color=GREY, linewidth=1, linestyle=DASHED, zorder=1)
        axes.hlines(at, low, high, color=BLUE, linewidth=6, alpha=0.25)
        axes.plot(share, at, "o", color=BLUE, markersize=5)
        axes.set_yticks(
            at, [f"{label(report.classes[k], 28)}  ({shares[k][3]:,})" for k in drawn_codes]
        )
        axes.set_ylim(len(drawn_codes) - 0.4, -0.6)
        axes.set_xlim(-0.02, 1.02)
        more = f"; {hidden} more classes are not shown" if hidden else ""
        axes.set_xlabel(f"share of the class's {report.unit} that is found{more}")
        axes.set_title(f"Accuracy by class, hardest first (dashed: all, {report.accuracy:.3f})")
    return figure


def _recall_by_class(report: ClassificationReport) -> dict[int, tuple[float, float, float, int]]:
    """Recall, ends of its interval, and count of each class that occurs."""
    right = (report.predicted == report.true).astype(np.float64)
    owners = owners_of(report)
    shares = {}
    for code in np.unique(report.true).tolist():
        mask = report.true == code
        count = np.bincount(owners[mask], minlength=report.count).astype(np.float64)
        hits = np.bincount(owners[mask], right[mask], minlength=report.count).astype(np.float64)
        occurs = count > 0
        ends = share_with_interval(hits[occurs], count[occurs])
        shares[code] = (*ends, int(mask.sum()))
    return shares


def describe_accuracy_by_class(report: ClassificationReport) -> str:
    """Describe the accuracy by class, and name the hardest class."""
    occurring = [row for row in report.per_class if row.support]
    hardest = min(occurring, key=lambda row: row.recall)
    return (
        "The share of each true class that is predicted correctly (recall), with 95 % intervals; "
        "the hardest class comes first. The number in brackets is how often the class occurs. The "
        f"hardest class is {hardest.label}, with a recall of {hardest.recall:.0%}."
    )


def accuracy_by_length(report: ClassificationReport) -> Figure:
    """Draw the share of correct predictions by length of the sequence, with 95 % intervals.

    Bins hold about equal numbers of sequences. Intervals are Wilson's. For a tagger the steps of
    a sequence are not independent, so the interval uses their effective number; see
    `independent_count`.
    """
    what = "accuracy" if report.steps is None else "accuracy over steps"
    bins = bin_by_length(report)
    return draw_by_length(bins, _accuracy_by_length(report), report.accuracy, what)


def draw_by_length(
    bins: list[LengthBin], shares: list[tuple[float, float, float]], overall: float, what: str
) -> Figure:
    """Draw a share, with its 95 % interval, for each bin of lengths, and the share of all.

    Args:
        shares: for each bin, the share and the ends of its interval.
        what: name of the share on its axis, such as "accuracy over steps".
    """
    name = what.split(" over ")[0].split(",")[0]
    share, low, high = np.array(shares).T
    with new_figure(max(4.6, 1.6 + 0.75 * len(bins)), 3.4) as figure:
        axes = figure.subplots()
        style_axes(axes, grid="y")
        at = np.arange(len(bins))
        axes.axhline(overall, color=GREY, linewidth=1, linestyle=DASHED, zorder=1)
        axes.annotate(
            f"all: {overall:.3f}", (1, overall),
            xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8, color=GREY,
        )  # fmt: skip
        axes.vlines(at, low, high, color=BLUE, linewidth=6, alpha=0.25)
        axes.plot(at, share, "o", color=BLUE, markersize=6, label=name)
        axes.set_xticks(at, [b.label for b in bins])
        axes.set_xlim(-0.6, len(bins) - 0.4)
        bottom = max(0.0, float(min(low.min(), overall)) - 0.05)
        axes.set_ylim(bottom, min(1.02, float(high.max()) + 0.05))
        axes.set_xlabel("steps of the sequence, and number of sequences")
        axes.set_ylabel(what)
        axes.set_title(f"{name.capitalize()} by length")
    return figure


def _accuracy_by_length(report: ClassificationReport) -> list[tuple[float, float, float]]:
    """Accuracy in each bin of lengths, and the ends of its interval."""
    owners = owners_of(report)
    right = (report.predicted == report.true).astype(np.float64)
    hits = np.bincount(owners, weights=right, minlength=report.count).astype(np.float64)
    count = np.bincount(owners, minlength=report.count).astype(np.float64)
    # Sequences without labelled steps have no accuracy and are skipped.
    members = (b.members & (count > 0) for b in bin_by_length(report))
    return [share_with_interval(hits[m], count[m]) for m in members]


def describe_accuracy_by_length(report: ClassificationReport) -> str:
    """Describe the accuracy of the shortest and of the longest sequences."""
    right = (report.predicted == report.true).astype(np.float64)
    owners = owners_of(report)
    bins = bin_by_length(report)
    first, last = (float(right[b.members[owners]].mean()) for b in (bins[0], bins[-1]))
    return (
        "Accuracy from the shortest to the longest sequences, with 95 % intervals: "
        f"{first:.2f} for {bins[0].span} steps, {last:.2f} for {bins[-1].span}. A fall beyond the "
        "intervals means that long sequences are harder."
    )
