"""Figures of a training and its evaluation; matplotlib is imported when the first one is drawn.

`FIGURES` has one row per figure: its name, the functions that draw and describe it, and the
function that decides whether to omit it. To add a figure, write these functions and add a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.files import make_folder
from elman.plots import classification, curves, multilabel, regression
from elman.plots.classification import (
    accuracy_by_class,
    accuracy_by_length,
    calibration,
    confusion_matrix,
)
from elman.plots.curves import Records, history, precision_recall, roc
from elman.plots.multilabel import (
    calibration_of_labels,
    exact_by_length,
    label_matrix,
    metrics_by_label,
)
from elman.plots.regression import error_by_length, predicted_over_true, residuals
from elman.plots.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from elman.evaluate import Report
    from elman.tasks import OutputName

__all__ = [
    "FIGURES",
    "FigureRow",
    "accuracy_by_class",
    "accuracy_by_length",
    "calibration",
    "calibration_of_labels",
    "caption",
    "confusion_matrix",
    "error_by_length",
    "exact_by_length",
    "history",
    "label_matrix",
    "left_out",
    "metrics_by_label",
    "precision_recall",
    "predicted_over_true",
    "residuals",
    "roc",
    "save_all",
]

RARE = 0.1  # below this share of the rarest class, precision is more informative than ROC


@dataclass(frozen=True)
class FigureRow:
    """One row of `FIGURES`.

    Args:
        name: file name, without `.png`.
        title: title of the caption.
        draw: draws the figure of a report.
        caption: describes the figure of a report and its most notable value.
        reason: returns why the figure of a report is omitted; empty if it is drawn.
    """

    name: str
    title: str
    draw: Callable[[Any], Figure]
    caption: Callable[[Any], str]
    reason: Callable[[Any], str] = lambda report: ""


def _one_length(report: Report) -> str:
    one = len(np.unique(report.lengths)) < 2
    return "all sequences have the same length" if one else ""


def _one_class(report: Any) -> str:
    return "only one class occurs" if len(np.unique(report.true)) < 2 else ""


def _no_label(report: Any) -> str:
    return "" if report.true.any() else "no sequence has a label"


def _roc_reason(report: Any) -> str:
    """If the rarest class makes up less than 10 %, a small false positive rate still means many
    false alarms per hit, which precision shows and ROC does not."""
    if reason := _one_class(report):
        return reason
    if curves.rarest_share(report) >= RARE:
        return ""
    return f"{curves.describe_rarity(report)}: precision and recall say more"


def _precision_recall_reason(report: Any) -> str:
    if (reason := _one_class(report)) or _roc_reason(report):
        return reason
    return f"{curves.describe_rarity(report)}, 10 % or more: ROC says as much"


HISTORY = "history"
FIGURES: dict[OutputName, tuple[FigureRow, ...]] = {
    "classification": (
        FigureRow("confusion_matrix", "Confusion matrix", confusion_matrix,
            classification.describe_confusion_matrix),
        FigureRow("roc", "ROC", roc, curves.describe_roc, _roc_reason),
        FigureRow("precision_recall", "Precision and recall", precision_recall,
            curves.describe_precision_recall, _precision_recall_reason),
        FigureRow("calibration", "Calibration", calibration, classification.describe_calibration),
        FigureRow("accuracy_by_class", "Accuracy by class", accuracy_by_class,
            classification.describe_accuracy_by_class, _one_class),
        FigureRow("accuracy_by_length", "Accuracy by length", accuracy_by_length,
            classification.describe_accuracy_by_length, _one_length),
    ),
    "multilabel": (
        FigureRow("labels", "Labels", metrics_by_label, multilabel.describe_metrics_by_label),
        FigureRow("label_matrix", "Labels predicted in error", label_matrix,
            multilabel.describe_label_matrix, _no_label),
        FigureRow("calibration", "Calibration", calibration_of_labels,
            multilabel.describe_calibration_of_labels),
        FigureRow("exact_by_length", "Exact matches by length", exact_by_length,
            multilabel.describe_exact_by_length, _one_length),
    ),
    "regression": (
        FigureRow("predicted", "Predicted over true", predicted_over_true,
            regression.describe_predicted_over_true),
        FigureRow("residuals", "Errors", residuals, regression.describe_residuals),
        FigureRow("error_by_length", "Error by length", error_by_length,
            regression.describe_error_by_length, _one_length),
    ),
}  # fmt: skip


def save_all(
    records: Records, report: Report, folder: str | Path, kept_epoch: int | None = None
) -> list[Path]:
    """Write all figures except those in `left_out` to `folder` as PNG files.

    Args:
        records: one per epoch, as for `history`.
        report: a report of `elman.evaluate`.
        kept_epoch: the epoch whose weights were kept.
    Returns: the files in reading order: history.png, then those of `FIGURES` for the report's
        task.
    Raises: WriteError.
    """
    folder = Path(folder)
    make_folder(folder)
    reasons = left_out(records, report)
    paths = []
    for name in (HISTORY, *(row.name for row in FIGURES[report.output])):
        path = folder / f"{name}.png"
        if path.name not in reasons:
            save(_draw(name, records, report, kept_epoch), path)
            paths.append(path)
    return paths


def left_out(records: Records, report: Report) -> dict[str, str]:
    """Return the files that `save_all` omits, each with the reason.

    They always include roc.png or precision_recall.png.
    """
    reasons = {} if records else {f"{HISTORY}.png": "no epoch was recorded"}
    rows = {f"{row.name}.png": row.reason(report) for row in FIGURES[report.output]}
    return reasons | {name: reason for name, reason in rows.items() if reason}


def caption(name: str, records: Records, report: Report) -> tuple[str, str]:
    """Return the title and the caption of a figure that `save_all` writes.

    Args:
        name: file name, without `.png`; an unknown name is returned as the title.
    """
    if name == HISTORY:
        return curves.describe_history(records)
    for row in FIGURES[report.output]:
        if row.name == name:
            return row.title, row.caption(report)
    return name.replace("_", " ").capitalize(), ""


def _draw(name: str, records: Records, report: Report, kept_epoch: int | None) -> Figure:
    if name == HISTORY:
        return history(records, kept_epoch=kept_epoch)
    return next(row.draw(report) for row in FIGURES[report.output] if row.name == name)
