"""Metrics with intervals, baselines, and checks that padding never changes a result."""

from elman.evaluate.baselines import Baselines
from elman.evaluate.classification import ClassificationReport, evaluate
from elman.evaluate.invariance import Check, check_invariance
from elman.evaluate.metrics import METRICS, Metric
from elman.evaluate.multilabel import MultilabelReport, evaluate_labels
from elman.evaluate.regression import RegressionReport, evaluate_values
from elman.evaluate.report import OutputMetrics, Report

__all__ = [
    "METRICS",
    "Baselines",
    "Check",
    "ClassificationReport",
    "Metric",
    "MultilabelReport",
    "OutputMetrics",
    "RegressionReport",
    "Report",
    "check_invariance",
    "evaluate",
    "evaluate_labels",
    "evaluate_values",
]
