"""A report as plain text for a terminal and as HTML for a notebook."""

from __future__ import annotations

import html
import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from elman.evaluate.report import ClassFigures, Report

MOST_CLASSES = 20
Rows = list[list[str]]


def as_text(report: Report) -> str:
    """Return the report in lines of at most 80 columns, for two baselines or fewer."""
    head, rows = _headline(report)
    class_head, class_rows = _classes(report)
    parts = [
        _size(report),
        _align([textwrap.wrap(cell, 14) or [""] for cell in head], rows),
        _align([[cell] for cell in class_head], class_rows),
        "\n".join(textwrap.fill(line, 80) for line in (*_notes(report), _others(report))),
    ]
    return "\n\n".join(parts)


def as_html(report: Report) -> str:
    """Return the report as tables that take colours from the page, light or dark."""
    paragraph = '<p style="margin:0.4em 0;max-width:50em">{}</p>'
    parts = [
        paragraph.format(html.escape(_size(report))),
        _html_table(*_headline(report)),
        _html_table(*_classes(report)),
        *(paragraph.format(html.escape(line)) for line in (*_notes(report), _others(report))),
    ]
    return '<div style="font-variant-numeric:tabular-nums">' + "".join(parts) + "</div>"


def one_line(label: object, most: int = 24) -> str:
    """Return a label on one line of at most `most` characters."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(label))
    return text if len(text) <= most else text[: most - 1] + "…"


def _size(report: Report) -> str:
    what = f"{report.count:,} {_plural('sequence', report.count)}"
    if report.steps is not None:
        what += f", {report.steps:,} labelled {_plural('step', report.steps)}"
    return f"{what}, {len(report.classes)} classes"


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
        row = [title, _three(getattr(report, name))]
        if report.intervals:
            low, high = report.intervals[name]
            row.append(f"{_three(low)} to {_three(high)}")
        simpler = report.baselines.values()
        rows.append(row + [_three(b[name]) if name in b else "" for b in simpler])
    return head, rows


def _classes(report: Report) -> tuple[list[str], Rows]:
    unit = "steps" if report.steps is not None else "sequences"
    rows = [
        [one_line(c.label), _three(c.precision), _three(c.recall), _three(c.f1), f"{c.support:,}"]
        for c in _shown(report)
    ]
    return ["class", "precision", "recall", "F1", unit], rows


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
        unit = _plural("step" if report.steps is not None else "sequence", rest)
        notes.append(
            f"{hidden} rarer {_plural('class', hidden)} with {rest:,} {unit} in all not shown; "
            "`per_class` has them."
        )
    if report.accuracy == 1.0:
        notes.append(
            f"No error in {report.count:,} {_plural('sequence', report.count)}: the interval "
            "cannot show it, but up to "
            f"{min(1.0, 3 / report.count):.1%} of sequences like these may still go wrong."
        )
    return notes


def _others(report: Report) -> str:
    area = "undefined (one class)" if report.roc_auc is None else _three(report.roc_auc)
    kind = "ROC AUC" if report.average == "binary" else "ROC AUC (macro)"
    return (
        f"log loss {_three(report.log_loss)}   {kind} {area}   "
        f"calibration error {_three(report.calibration_error)}"
    )


def _align(head: list[list[str]], rows: Rows) -> str:
    """Lay out a table: first column to the left, the others to the right."""
    depth = max(len(lines) for lines in head)
    above = [[""] * (depth - len(lines)) + lines for lines in head]
    body = [[column[i] for column in above] for i in range(depth)] + rows
    widths = [max(len(row[i]) for row in body) for i in range(len(head))]
    lines = []
    for row in body:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _html_table(head: list[str], rows: Rows) -> str:
    cell = "padding:0.2em 0.8em;border-bottom:1px solid rgba(128,128,128,0.3);text-align:"

    def line(cells: list[str], tag: str) -> str:
        sides = ["left"] + ["right"] * (len(cells) - 1)
        inner = "".join(
            f'<{tag} style="{cell}{side}">{html.escape(text)}</{tag}>'
            for text, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{inner}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        '<table style="border-collapse:collapse;color:inherit;background:transparent;'
        f'margin:0.6em 0"><thead>{line(head, "th")}</thead><tbody>{body}</tbody></table>'
    )


def _plural(word: str, count: int) -> str:
    if count == 1:
        return word
    return word + ("es" if word.endswith("s") else "s")


def _three(value: float) -> str:
    return f"{value:.3f}"
