"""All pictures of a training and its evaluation, as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.plots.by_class import accuracy_by_class
from elman.plots.by_length import accuracy_by_length
from elman.plots.curves import precision_recall, rarest_share, roc
from elman.plots.labels import labels
from elman.plots.matrix import confusion
from elman.plots.regression import error_by_length, predicted, residuals
from elman.plots.reliability import calibration
from elman.plots.style import save
from elman.plots.training import history
from elman.plots.view import ReportLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RARE = 0.1


def save_all(
    records: Sequence[Mapping[str, Any]],
    report: Any,
    folder: str | Path,
    kept_epoch: int | None = None,
) -> list[Path]:
    """Write the pictures that `left_out` does not name as PNG into `folder`.

    Args:
        report: of classes, several labels or values, as `elman.evaluate` makes them.
    Returns: the files, in the order in which they should be read: history.png, and of classes
        confusion_matrix.png, roc.png or precision_recall.png, calibration.png,
        accuracy_by_class.png, accuracy_by_length.png; of labels labels.png; of values
        predicted.png, residuals.png, error_by_length.png.
    """
    drawers: dict[str, Callable[[], Figure]] = {
        "history.png": lambda: history(records, kept_epoch=kept_epoch),
    }
    if kind_of(report) == "values":
        drawers |= {
            "predicted.png": lambda: predicted(report),
            "residuals.png": lambda: residuals(report),
            "error_by_length.png": lambda: error_by_length(report),
        }
    elif kind_of(report) == "labels":
        drawers |= {"labels.png": lambda: labels(report)}
    else:
        drawers |= _of_classes(report)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    skipped = left_out(records, report)
    paths = []
    for name, draw in drawers.items():
        if name not in skipped:
            paths.append(folder / name)
            save(draw(), paths[-1])
    return paths


def kind_of(report: Any) -> str:
    """Say what a report is about: `classes`, `labels` or `values`."""
    if hasattr(report, "rmse"):
        return "values"
    return "labels" if hasattr(report, "hamming_loss") else "classes"


def _of_classes(report: ReportLike) -> dict[str, Callable[[], Figure]]:
    return {
        "confusion_matrix.png": lambda: confusion(report),
        "roc.png": lambda: roc(report),
        "precision_recall.png": lambda: precision_recall(report),
        "calibration.png": lambda: calibration(report),
        "accuracy_by_class.png": lambda: accuracy_by_class(report),
        "accuracy_by_length.png": lambda: accuracy_by_length(report),
    }


def left_out(records: Sequence[Mapping[str, Any]], report: Any) -> dict[str, str]:
    """Return the pictures that `save_all` does not draw, each with the reason.

    One of roc.png and precision_recall.png is always among them. Where the rarest class makes up
    less than 10 %, a small false positive rate still means many false alarms for each hit; ROC does
    not show that and precision does.
    """
    reasons = {}
    if not records:
        reasons["history.png"] = "no epoch was recorded"
    if len(np.unique(report.lengths)) < 2:
        reasons["accuracy_by_length.png"] = "all sequences have the same length"
        reasons["error_by_length.png"] = reasons["accuracy_by_length.png"]
    if kind_of(report) != "classes":
        return {n: why for n, why in reasons.items() if not n.startswith("accuracy")}
    reasons.pop("error_by_length.png", None)
    if len(np.unique(report.true)) < 2:
        reasons["roc.png"] = reasons["precision_recall.png"] = "only one class occurs"
        reasons["accuracy_by_class.png"] = "only one class occurs"
    elif (share := rarest_share(report)) < RARE:
        reasons["roc.png"] = (
            f"the rarest class makes up {share:.1%}, under 10 %: precision and recall say more"
        )
    else:
        reasons["precision_recall.png"] = (
            f"the rarest class makes up {share:.1%}, 10 % or more: ROC says as much"
        )
    return reasons
