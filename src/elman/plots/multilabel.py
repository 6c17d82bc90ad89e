"""Figures of predicted labels, of which a sequence can have several, each with its caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from elman.plots.classification import draw_by_length, draw_calibration
from elman.plots.style import (
    BLUE,
    GREY,
    GRID,
    INK,
    VERMILION,
    Floats,
    add_share_bar,
    bin_by_length,
    label,
    new_figure,
    share_colours,
    share_with_interval,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from elman.evaluate import MultilabelReport

MOST_LINES = 30  # limit of labels drawn on separate lines
MOST_CELLS = 20  # limit of labels of the matrix, the most frequent ones


def metrics_by_label(report: MultilabelReport) -> Figure:
    """Draw precision, recall and F1 of each label, the most frequent first."""
    each = sorted(report.per_label, key=lambda output: -(output.support or 0))[:MOST_LINES]
    at = np.arange(len(each))
    with new_figure(6.4, 1.6 + 0.28 * len(each)) as figure:
        axes = figure.subplots()
        style_axes(axes, grid="x")
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


def describe_metrics_by_label(report: MultilabelReport) -> str:
    """Describe the metrics by label, and name the label with the lowest F1."""
    frequent = [row for row in report.per_label if row.support]
    text = (
        "Bars show the F1 of each label, the most frequent label first. A label whose recall is "
        "below its precision is missed too often; one whose recall is above it is predicted too "
        "often."
    )
    if not frequent:
        return text
    hardest = min(frequent, key=lambda row: row.f1)
    return f"{text} The lowest F1 is that of {hardest.label}, {hardest.f1:.2f}."


def label_matrix(report: MultilabelReport) -> Figure:
    """Draw which labels are predicted for the sequences that have a label.

    Row i, column j: the share of the sequences with label i for which j is predicted: on the
    diagonal the recall; elsewhere only sequences without label j count, so a dark cell is a label
    predicted in error.
    """
    codes = _most_frequent(report)
    share, count = _label_shares(report, codes)
    names = [label(report.classes[k], 18) for k in codes]
    k, cell = len(codes), float(np.clip(5.0 / len(codes), 0.22, 0.9))
    margin = 0.9 + max(map(len, names)) * 0.075
    with new_figure(k * cell + margin + 1.3, k * cell + margin + 0.4) as figure:
        axes = figure.subplots()
        colours, norm = share_colours()
        image = axes.imshow(share, cmap=colours, norm=norm, interpolation="nearest")
        style_axes(axes, grid="")
        axes.spines[:].set(visible=True, color=GRID)
        axes.set_xticks(range(k), names, rotation=90 if max(map(len, names)) * 0.075 > cell else 0)
        axes.set_yticks(range(k), [f"{n}  ({c:,})" for n, c in zip(names, count, strict=True)])
        axes.set_xlabel("predicted label")
        axes.set_ylabel("true label (sequences)")
        axes.set_title("Labels predicted for each true label, in %")
        if cell >= 0.4:
            for row, column in np.argwhere(np.isfinite(share)):
                value = share[row, column]
                axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8,
                          color="white" if value > 0.3 else INK)  # fmt: skip
        add_share_bar(figure, axes, image, "share of the sequences with the true label")
    return figure


def describe_label_matrix(report: MultilabelReport) -> str:
    """Describe the matrix of labels, and name the most frequent label predicted in error."""
    codes = _most_frequent(report)
    share, _ = _label_shares(report, codes)
    text = (
        "A row is a true label, a column a predicted one. The diagonal is the share of the "
        "sequences with the label for which it is predicted (recall). Elsewhere a cell is the "
        "share, of the sequences with the row's label and without the column's, for which the "
        "column's label is predicted in error."
    )
    if hidden := len(report.classes) - len(codes):
        text += f" The {hidden} rarest labels are not drawn."
    wrong = np.where(np.eye(len(codes), dtype=bool), np.nan, share)
    if not (np.nan_to_num(wrong) > 0).any():
        return f"{text} No label is predicted in error beside another."
    row, column = np.unravel_index(int(np.nanargmax(wrong)), wrong.shape)
    return (
        f"{text} The largest such share is {wrong[row, column]:.0%}: "
        f"{report.classes[codes[column]]}, for sequences with {report.classes[codes[row]]}."
    )


def _most_frequent(report: MultilabelReport) -> list[int]:
    """Codes of the labels in the matrix, in the order of the report."""
    count = report.true.sum(0)
    order: list[int] = np.argsort(-count, kind="stable")[:MOST_CELLS].tolist()
    return sorted(order)


def _label_shares(report: MultilabelReport, codes: list[int]) -> tuple[Floats, list[int]]:
    """Shares of the matrix, (k, k), NaN without a sequence; and the count of each true label."""
    true = report.true[:, codes].astype(bool)
    predicted = report.predicted[:, codes].astype(bool)
    # Of the sequences with i, those without j; on the diagonal, those with i.
    free = ~true[:, None, :] | np.eye(len(codes), dtype=bool)
    counted = true[:, :, None] & free  # (n, k, k)
    total, hits = counted.sum(0), (counted & predicted[:, None, :]).sum(0)
    share = np.full(total.shape, np.nan)
    np.divide(hits, total, out=share, where=total > 0)
    return share, true.sum(0).tolist()


def calibration_of_labels(report: MultilabelReport) -> Figure:
    """Draw how often a label applies against its predicted probability, over all decisions."""
    bins = report.calibration_bins
    return draw_calibration(
        bins,
        "share of decisions where the label applies",
        "predicted probability of the label",
        "decisions",
        independent=False,  # the labels of one sequence depend on each other
    )


def describe_calibration_of_labels(report: MultilabelReport) -> str:
    """Describe the calibration of the labels' probabilities."""
    bins = report.calibration_bins
    gap = float((bins.count * (bins.confidence - bins.accuracy)).sum() / bins.count.sum())
    text = (
        "Every pair of a sequence and a label is one decision. On the diagonal, labels predicted "
        "with probability p apply with frequency p. The bars count decisions."
    )
    if abs(gap) < 0.01:
        return f"{text} On average the probabilities are neither too high nor too low."
    side = "high" if gap > 0 else "low"
    return f"{text} On average the probabilities are too {side}, by {abs(gap):.2f}."


def exact_by_length(report: MultilabelReport) -> Figure:
    """Draw the share of sequences whose labels are all right, by length, with 95 % intervals."""
    exact, shares = _exact_by_length(report)
    what = "exact matches, share of sequences"
    return draw_by_length(bin_by_length(report), shares, float(exact.mean()), what)


def describe_exact_by_length(report: MultilabelReport) -> str:
    """Describe the share of exact matches of the shortest and of the longest sequences."""
    bins, (_, shares) = bin_by_length(report), _exact_by_length(report)
    return (
        "The share of sequences whose labels are all right, from the shortest to the longest "
        f"sequences, with 95 % intervals: {shares[0][0]:.2f} for {bins[0].span} steps, "
        f"{shares[-1][0]:.2f} for {bins[-1].span}."
    )


def _exact_by_length(report: MultilabelReport) -> tuple[Floats, list[tuple[float, float, float]]]:
    """Whether each sequence is all right, (n,); and share and interval of each bin of lengths."""
    exact = (report.true == report.predicted).all(1).astype(np.float64)
    shares = [
        share_with_interval(exact[b.members], np.ones(int(b.members.sum())))
        for b in bin_by_length(report)
    ]
    return exact, shares
