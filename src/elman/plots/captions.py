"""Captions: what is drawn, and what to look for, in numbers of the report at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.plots.data import bin_by_length, owners_of

if TYPE_CHECKING:
    from elman.evaluate import ClassificationReport, MultilabelReport, RegressionReport


def history(records: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return title and caption of loss and metric by epoch."""
    title = "Loss and accuracy by epoch"
    if any("rmse" in record for record in records):
        title = "Loss and error by epoch"
    text = (
        "Training values are averages over an epoch, while weights change and dropout is on, so "
        "they can look worse than they are."
    )
    losses = [record.get("validation_loss") for record in records]
    recorded = [
        (loss, r["epoch"]) for loss, r in zip(losses, records, strict=True) if loss is not None
    ]
    if not recorded:
        return title, f"{text} Without validation data, overfitting cannot be seen here."
    lowest, epoch = min(recorded)
    last = recorded[-1][0]
    text += f" The validation loss is lowest at epoch {epoch} ({lowest:.3g})"
    if last > 1.02 * lowest:
        return title, f"{text} and rises to {last:.3g}: from then on the network overfits."
    return title, f"{text} and does not rise after that: no overfitting is seen."


def confusion_matrix(report: ClassificationReport) -> str:
    """Say which confusion is the most frequent."""
    text = (
        "A row is a true class, a column a predicted one; the diagonal is correct. Colour is the "
        "share of the row."
    )
    counts = report.confusion_matrix * ~np.eye(len(report.classes), dtype=bool)
    if not counts.any():
        return f"{text} Nothing is off the diagonal."
    true, predicted = np.unravel_index(int(counts.argmax()), counts.shape)
    share = counts[true, predicted] / report.confusion_matrix[true].sum()
    return (
        f"{text} The most frequent confusion is {report.classes[int(true)]} predicted as "
        f"{report.classes[int(predicted)]}: {counts[true, predicted]:,} times, {share:.0%} of that "
        "class."
    )


def roc(report: ClassificationReport) -> str:
    """Say what the area is."""
    return (
        "The share of a class that is found, against the share of false alarms among the others, "
        f"as the threshold moves. The area is {report.roc_auc:.3f}; 1 is perfect, 0.5 is chance."
    )


def precision_recall(report: ClassificationReport) -> str:
    """Say why this stands in the place of ROC."""
    counts = np.bincount(report.true)
    share = counts[counts > 0].min() / len(report.true)
    return (
        "The share of alarms that is correct, against the share of a class that is found, as the "
        f"threshold moves. It replaces the ROC curve, which looks too good where a class is rare: "
        f"the rarest makes up {share:.1%}."
    )


def calibration(report: ClassificationReport) -> str:
    """Say on which side of the diagonal the network lies."""
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


def accuracy_by_class(report: ClassificationReport) -> str:
    """Name the hardest class."""
    occurring = [row for row in report.per_class if row.support]
    hardest = min(occurring, key=lambda row: row.recall)
    return (
        "The share of each true class that is found (recall), with 95 % intervals, the hardest "
        "class first; in brackets how often it occurs. The hardest is "
        f"{hardest.label}, of which {hardest.recall:.0%} are found."
    )


def accuracy_by_length(report: ClassificationReport) -> str:
    """Say whether long sequences are harder."""
    right = (report.predicted == report.true).astype(np.float64)
    owners = owners_of(report)
    bins = bin_by_length(report)
    first, last = (float(right[b.members[owners]].mean()) for b in (bins[0], bins[-1]))
    return (
        "Accuracy from the shortest to the longest sequences, with 95 % intervals: "
        f"{first:.2f} for {bins[0].span} steps, {last:.2f} for {bins[-1].span}. A fall beyond the "
        "intervals means that long sequences are harder."
    )


def labels(report: MultilabelReport) -> str:
    """Say how to read precision beside recall."""
    frequent = [row for row in report.per_label if row.support]
    text = (
        "F1 of each label as bars, the most frequent label first. Where recall is left of "
        "precision the label is missed; where it is right of it, it is predicted too often."
    )
    if not frequent:
        return text
    hardest = min(frequent, key=lambda row: row.f1)
    return f"{text} The lowest F1 is that of {hardest.label}, {hardest.f1:.2f}."


def predicted(report: RegressionReport) -> str:
    """Say how much is explained."""
    return (
        "Each point is a prediction, drawn against its true value; on the diagonal it is exact. "
        f"The predictions explain {max(0.0, report.r2):.0%} of the variance (R2 {report.r2:.2f})."
    )


def residuals(report: RegressionReport) -> str:
    """Say whether errors are biased."""
    error = report.predicted - report.true
    bias, spread = error.mean(0), np.maximum(error.std(0), 1e-300)
    k = int(np.abs(bias / spread).argmax())
    return (
        "The error, predicted minus true, against the prediction. A trend, or a spread that "
        "changes from left to right, is structure that the network has not learned. The mean error "
        f"of {report.names[k]} is {bias[k]:.3g}, {abs(bias[k] / spread[k]):.2f} of its standard "
        "deviation."
    )


def error_by_length(report: RegressionReport) -> str:
    """Say whether long sequences are harder."""
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
