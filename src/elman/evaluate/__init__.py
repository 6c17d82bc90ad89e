"""Figures with intervals, answers that need no recurrence, and proofs that padding is ignored."""

from elman.evaluate.baselines import Baselines
from elman.evaluate.invariance import Check, check_invariance
from elman.evaluate.regression import RegressionReport, ValueFigures, evaluate_values
from elman.evaluate.report import ClassFigures, Report, evaluate

__all__ = [
    "Baselines",
    "Check",
    "ClassFigures",
    "RegressionReport",
    "Report",
    "ValueFigures",
    "check_invariance",
    "evaluate",
    "evaluate_values",
]
