"""Figures of a training and its evaluation; matplotlib is imported when the first one is drawn."""

from elman.plots.by_class import accuracy_by_class
from elman.plots.by_length import accuracy_by_length
from elman.plots.curves import precision_recall, roc
from elman.plots.folder import left_out, save_all
from elman.plots.labels import labels
from elman.plots.matrix import confusion
from elman.plots.regression import error_by_length, predicted, residuals
from elman.plots.reliability import calibration
from elman.plots.training import history
from elman.plots.view import ReportLike

__all__ = [
    "ReportLike",
    "accuracy_by_class",
    "accuracy_by_length",
    "calibration",
    "confusion",
    "error_by_length",
    "history",
    "labels",
    "left_out",
    "precision_recall",
    "predicted",
    "residuals",
    "roc",
    "save_all",
]
