"""Figures with intervals, answers that need no recurrence, and proofs that padding is ignored."""

from elman.evaluate.baselines import Baselines
from elman.evaluate.invariance import Check, check_invariance
from elman.evaluate.multilabel import LabelFigures, MultilabelReport, evaluate_labels
from elman.evaluate.regression import RegressionReport, ValueFigures, evaluate_values
from elman.evaluate.report import ClassFigures, Report, evaluate

__all__ = [
    "Baselines",
    "Check",
    "ClassFigures",
    "LabelFigures",
    "MultilabelReport",
    "RegressionReport",
    "Report",
    "ValueFigures",
    "check_invariance",
    "evaluate",
    "evaluate_labels",
    "evaluate_values",
]
