"""What the report page says of predicted numbers and of several labels, in words and tables."""

from __future__ import annotations

from collections.abc import Mapping

from elman.evaluate import multilabel, regression
from elman.evaluate.multilabel import MultilabelReport
from elman.evaluate.regression import RegressionReport
from elman.evaluate.text import one_line, three

Outcome = MultilabelReport | RegressionReport
Rows = list[list[str]]

_CAVEATS = {
    "validation": " These sequences may have chosen the epoch kept, so the figure may flatter.",
    "train": " The network has learnt these very sequences: it says nothing about new ones.",
}


def headline(part: str, report: Outcome) -> str:
    """Say in words how good the network is, and whether something simpler is as good."""
    values = isinstance(report, RegressionReport)
    name, word = ("rmse", "RMSE") if values else ("micro_f1", "F1 (micro)")
    steps = " over steps" if report.steps is not None else ""
    text = f"{part.capitalize()} {word}{steps} {_shown(report, name, getattr(report, name))}"
    if report.intervals:
        low, high = (_shown(report, name, end) for end in report.intervals[name])
        text += f" (95 % interval {low} – {high})"
    caveat = _CAVEATS.get(part, "")
    if not report.baselines:
        return f"{text}. No baseline was run beside it.{caveat}"
    # The lower an error the better, the higher a share.
    order = sorted(report.baselines, key=lambda b: report.baselines[b][name], reverse=not values)
    simpler = [f"{_shown(report, name, report.baselines[b][name])} for {b}" for b in order]
    text += f", against {' and '.join(simpler)}: "
    best = report.baselines[order[0]][name]
    low_end, high_end = report.intervals.get(name, (getattr(report, name),) * 2)
    if values:
        ahead, behind = high_end < best, low_end > best
    else:
        ahead, behind = low_end > best, high_end < best
    if ahead:
        return f"{text}the recurrence earns its keep.{caveat}"
    if behind:
        return f"{text}the recurrence does worse than the simpler answer.{caveat}"
    return f"{text}the recurrence is not shown to beat the simpler answer.{caveat}"


def figures(reports: Mapping[str, Outcome]) -> tuple[list[str], Rows, str]:
    """Return head and rows of the table of figures, and the note under it."""
    part, first = next(iter(reports.items()))
    titles = regression.TITLES if isinstance(first, RegressionReport) else multilabel.TITLES
    others = {name: report for name, report in reports.items() if report is not first}
    head = ["", part, *["95 % interval"] * bool(first.intervals), *first.baselines, *others]
    rows = []
    for name, title in titles.items():
        row = [title, _shown(first, name, getattr(first, name))]
        if first.intervals:
            ends = first.intervals.get(name, ())
            row.append(" – ".join(_shown(first, name, end) for end in ends) or "–")
        simpler = first.baselines.values()
        row += [_shown(first, name, b[name]) if name in b else "–" for b in simpler]
        rows.append(row + [_shown(r, name, getattr(r, name)) for r in others.values()])
    if isinstance(first, RegressionReport):
        note = (
            "RMSE, MAE and the median are errors in the target's own unit: the lower, the better."
        )
        if len(first.names) > 1:
            note += " Of several values they are means, each in its own unit."
    else:
        note = (
            "Micro is over all decisions together, macro the mean over the labels, samples the "
            "mean over the sequences. Hamming loss is the share of wrong decisions."
        )
    return head, rows, f"{note} Intervals come from drawing whole sequences."


def details(report: Outcome) -> tuple[str, list[str], Rows]:
    """Return the title, head and rows of the table of each value, or each label."""
    if isinstance(report, RegressionReport):
        names = list(regression.TITLES)
        rows = [
            [one_line(v.name, 60), *(regression.shown(n, getattr(v, n)) for n in names)]
            for v in report.per_value
        ]
        return "Values", ["value", *regression.TITLES.values()], rows
    rows = [
        [
            one_line(f.label, 60),
            *map(three, (f.precision, f.recall, f.f1)),
            "–" if f.average_precision is None else three(f.average_precision),
            f"{f.support:,}",
        ]
        for f in report.per_label
    ]
    head = ["label", "precision", "recall", "F1", "average precision", "sequences"]
    return "Labels", head, rows


def _shown(report: Outcome, name: str, value: float) -> str:
    return regression.shown(name, value) if isinstance(report, RegressionReport) else three(value)
