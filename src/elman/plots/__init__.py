"""Figures of a training and its evaluation; matplotlib is imported when the first one is drawn."""

from elman.plots.classification import (
    accuracy_by_class,
    accuracy_by_length,
    calibration,
    confusion_matrix,
    metrics_by_label,
)
from elman.plots.curves import precision_recall, roc
from elman.plots.figures import FIGURES, FigureRow, caption, left_out, save_all
from elman.plots.regression import error_by_length, predicted_over_true, residuals
from elman.plots.training import history

__all__ = [
    "FIGURES",
    "FigureRow",
    "accuracy_by_class",
    "accuracy_by_length",
    "calibration",
    "caption",
    "confusion_matrix",
    "error_by_length",
    "history",
    "left_out",
    "metrics_by_label",
    "precision_recall",
    "predicted_over_true",
    "residuals",
    "roc",
    "save_all",
]
