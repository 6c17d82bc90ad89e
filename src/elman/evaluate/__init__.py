"""Metrics with intervals, baselines, and checks that padding never changes a result."""

from elman.evaluate.baselines import Baselines
from elman.evaluate.evaluation import evaluate, evaluate_labels, evaluate_values
from elman.evaluate.invariance import Check, check_invariance
from elman.evaluate.metrics import METRICS, Metric, OutputMetrics
from elman.evaluate.report import NotableExample, Report
from elman.evaluate.task_reports import ClassificationReport, MultilabelReport, RegressionReport

__all__ = [
    "METRICS",
    "Baselines",
    "Check",
    "ClassificationReport",
    "Metric",
    "MultilabelReport",
    "NotableExample",
    "OutputMetrics",
    "RegressionReport",
    "Report",
    "check_invariance",
    "evaluate",
    "evaluate_labels",
    "evaluate_values",
]
