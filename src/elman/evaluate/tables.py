"""What is shown of a report on classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from elman.evaluate.text import Rows, Table, one_line, plural, size, three

if TYPE_CHECKING:
    from elman.evaluate.entities import EntityMetrics
    from elman.evaluate.report import ClassFigures, Report

MOST_CLASSES = 20


def parts(report: Report) -> list[str | Table]:
    """Return the report as paragraphs and tables."""
    size_of = f"{size(report.count, report.steps)}, {len(report.classes)} classes"
    notes = "\n".join([*_notes(report), _others(report)])
    by_name = [] if report.entities is None else [_entities(report.entities)]
    return [size_of, _headline(report), _classes(report), *by_name, notes]


def _headline(report: Report) -> tuple[list[str], Rows]:
    of = one_line(report.classes[1], 16) if report.average == "binary" else "macro"
    names = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "precision": f"precision ({of})",
        "recall": f"recall ({of})",
        "f1": f"F1 ({of})",
    }
    head = ["", "model"] + ["95 % interval"] * bool(report.intervals) + list(report.baselines)
    rows = []
    for name, title in names.items():
        row = [title, three(getattr(report, name))]
        if report.intervals:
            low, high = report.intervals[name]
            row.append(f"{three(low)} to {three(high)}")
        simpler = report.baselines.values()
        rows.append(row + [three(b[name]) if name in b else "" for b in simpler])
    return head, rows


def _classes(report: Report) -> tuple[list[str], Rows]:
    unit = "steps" if report.steps is not None else "sequences"
    rows = [
        [one_line(c.label), three(c.precision), three(c.recall), three(c.f1), f"{c.support:,}"]
        for c in _shown(report)
    ]
    return ["class", "precision", "recall", "F1", unit], rows


def _entities(figures: EntityMetrics) -> Table:
    """The table of entities by name, all of them first."""
    whole = "all"
    if figures.interval is not None:
        whole += f" (F1 {three(figures.interval[0])} to {three(figures.interval[1])})"
    rows = [
        [label, three(c.precision), three(c.recall), three(c.f1), f"{c.support:,}"]
        for label, c in ((whole, figures), *((one_line(c.label), c) for c in figures.by_name))
    ]
    return ["entity", "precision", "recall", "F1", "entities"], rows


def _shown(report: Report) -> list[ClassFigures]:
    """Every class in order; the most frequent ones first where there are too many."""
    if len(report.classes) <= MOST_CLASSES:
        return list(report.per_class)
    order = np.argsort([-c.support for c in report.per_class], kind="stable")
    return [report.per_class[i] for i in order[:MOST_CLASSES]]


def _notes(report: Report) -> list[str]:
    notes = []
    hidden = len(report.classes) - MOST_CLASSES
    if hidden > 0:
        rest = sum(c.support for c in report.per_class) - sum(c.support for c in _shown(report))
        unit = plural("step" if report.steps is not None else "sequence", rest)
        notes.append(
            f"{hidden} rarer {plural('class', hidden)} with {rest:,} {unit} in all not shown; "
            "`per_class` has them."
        )
    if report.accuracy == 1.0:
        notes.append(
            f"No error in {report.count:,} {plural('sequence', report.count)}: the interval "
            "cannot show it, but up to "
            f"{min(1.0, 3 / report.count):.1%} of sequences like these may still go wrong."
        )
    return notes


def _others(report: Report) -> str:
    area = "undefined (one class)" if report.roc_auc is None else three(report.roc_auc)
    kind = "ROC AUC" if report.average == "binary" else "ROC AUC (macro)"
    return (
        f"log loss {three(report.log_loss)}   {kind} {area}   "
        f"calibration error {three(report.calibration_error)}"
    )
