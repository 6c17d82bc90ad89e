"""The report page of a run: one HTML file that needs nothing else, for showing to a colleague."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from markupsafe import Markup

from elman.evaluate.baselines import LOGISTIC, MAJORITY, TAG_OF_TOKEN
from elman.evaluate.report import Report
from elman.evaluate.text import one_line
from elman.runs.diagnostics import Diagnostics
from elman.runs.report import html, outcomes
from elman.runs.report.html import PageFigure, PageFigures
from elman.runs.report.sections import diagnostics_sections

if TYPE_CHECKING:
    from elman.train import History

FIGURES = ("accuracy", "balanced accuracy", "precision", "recall", "F1", "ROC AUC", "log loss",
           "calibration error")  # fmt: skip
MOST_OPEN = 20  # classes, past which their table is folded
MOST_LISTED = 500  # classes, past which only the most frequent are listed
CAVEATS = {
    "validation": " These sequences may have chosen the epoch kept, so the figure may flatter.",
    "train": " The network has learnt these very sequences: it says nothing about new ones.",
}

CAPTIONS = {  # file name -> what is seen, and how to read it
    "history": ("Loss and accuracy by epoch", "Training is measured while the weights move and "
        "with dropout, so it may look worse than it is. Validation getting worse while training "
        "improves is learning by heart; without validation that cannot be seen."),
    "confusion_matrix": ("Confusion matrix", "A row holds one true class, a column one answer; the "
        "diagonal is right. Colour is the share of the row."),
    "roc": ("ROC", "What share of a class is found, upwards, for what share of false alarms, to "
        "the right, as the threshold moves. An area of 1 is perfect, 0.5 is chance."),
    "precision_recall": ("Precision and recall", "What share of alarms is right, upwards, as more "
        "of a class is found, to the right. ROC would flatter: a class is rare."),
    "calibration": ("Calibration", "On the diagonal a probability means what it says. Below it "
        "the network is too sure, above it too cautious. The bars say how many answers that is."),
    "accuracy_by_length": ("Accuracy by length", "From short sequences to long ones, with 95 % "
        "intervals. A fall to the right says that long sequences are harder."),
    "accuracy_by_class": ("Accuracy by class", "The share of each true class that is found "
        "(recall), with 95 % intervals, the hardest first; in brackets how often it occurs. Bars "
        "left of the dashed line are harder than the rest."),
    "labels": ("Labels", "Bars are F1. Recall left of precision: the label is missed; right of it: "
        "it is given too often."),
    "predicted": ("Predicted over true", "On the diagonal the answer is right."),
    "residuals": ("Errors", "Predicted less true, over the prediction. A trend, or a spread that "
        "changes from left to right, is something the network has not learnt."),
    "error_by_length": ("Error by length", "From short sequences to long ones, over the error of "
        "all. A rise to the right says that long sequences are harder."),
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """What report.html shows."""

    title: str
    created: str  # ISO date and time
    command: str  # that reproduces the run, one line
    version: str  # of elman
    seconds: float  # training took
    data: str  # what `elman.data.describe` says
    model: str  # one paragraph
    history: History
    reports: Mapping[
        str, Report | outcomes.Outcome
    ]  # one part at least; the first, test, is what the page is about
    pictures: Sequence[Path]  # PNG files; those that `elman.plots.save_all` names get captions
    config: str  # text of config.toml
    notes: Sequence[str] = ()  # what to know before believing the figures
    diagnostics: Diagnostics | None = None  # None if they were switched off


def render(page: Page) -> str:
    """Return the page as HTML, to be written as UTF-8: no script, nothing fetched from outside."""
    part, report = next(iter(page.reports.items()))
    diagnostics = page.diagnostics
    pictures = PageFigures([*page.pictures, *(diagnostics.paths if diagnostics else ())])
    if isinstance(report, Report):
        own = cast("Mapping[str, Report]", page.reports)
        lead, bars, figures = headline(part, report), _bars(report), _figures(own)
        details = {
            f"Entities, {part}": _entities(report),
            f"Classes, {part}": _classes(report),
            f"Most frequent confusions, {part}": _confusions(report),
        }
    else:
        others = cast("Mapping[str, outcomes.Outcome]", page.reports)
        lead, bars = outcomes.headline(part, report), []
        head, rows, note = outcomes.figures(others)
        figures = html.table(head, rows, "figures") + html.note(note)
        title, head, rows = outcomes.details(report)
        details = {f"{title}, {part}": html.table(head, rows, title.lower())}
    sections = {
        "Figures": figures,
        "Pictures": _pictures(page, part, pictures),
        **details,
        **diagnostics_sections(diagnostics, pictures, report.owners is not None),
        "Data as understood": html.verbatim(page.data, "data"),
        "Training": _training(page),
        "Reproduce": html.verbatim(page.command, "command")
        + html.folded("config.toml", html.verbatim(page.config, "config.toml")),
    }
    return html.render(
        "report.html.jinja",
        kind="elman report",
        created=page.created,
        title=page.title,
        lead=lead,
        bars=bars,
        notes=page.notes,
        sections=sections,
        version=page.version,
    )


def headline(part: str, report: Report) -> str:
    """Say in words how good the network is, and whether something simpler is as good."""
    steps = " over steps" if report.steps is not None else ""
    text = f"{part.capitalize()} accuracy{steps} {_percent(report.accuracy)}"
    if report.intervals:
        low, high = _intervals(report)["accuracy"]
        flawless = f"no error in {report.count:,} sequences, " * (report.accuracy == 1)
        text += f" ({flawless}95 % interval {_percent(low)[:-2]} – {_percent(high)})"
    if report.baselines:
        known = {MAJORITY: f"the {MAJORITY}", TAG_OF_TOKEN: f"the {TAG_OF_TOKEN}"}
        known[LOGISTIC] = f"{LOGISTIC} on {'each step alone' if steps else 'summaries'}"
        simpler = [f"{_percent(p)} for {known.get(name, name)}" for name, p in _ranked(report)]
        text += f", against {' and '.join(simpler)}: {_verdict(report)}"
    else:
        text += ". No baseline was run, so nothing says whether the recurrence is needed."
    return (text + CAVEATS.get(part, "")).replace(" %", "\N{NO-BREAK SPACE}%")


def _verdict(report: Report) -> str:
    if not report.intervals:
        more = report.accuracy > _ranked(report)[0][1]
        return f"it is {'' if more else 'not '}ahead, but no interval says how much is chance."
    ahead = _standing(report, "accuracy")
    text = {
        1: "the recurrence earns its keep",
        0: "the recurrence is not shown to beat the simpler answer, which lies within the interval",
        -1: "the recurrence does worse than the simpler answer, which lies above the interval",
    }[ahead]
    if ahead == 1 and set(report.baselines) == {MAJORITY}:
        text = "it has learnt something; whether that takes a recurrence was not tried"
    by_balance = _standing(report, "balanced_accuracy")
    if (ahead == 1) == (by_balance == 1) or report.accuracy == 1:
        return text + "."
    return (
        f"{text}. By balanced accuracy ({_percent(report.balanced_accuracy)}), where every class "
        f"counts the same, it is {'' if by_balance == 1 else 'not '}clearly ahead."
    )


def _standing(report: Report, figure: str) -> int:
    """1, 0 or -1: the interval lies above the best baseline, holds it, or lies below it."""
    value: float = getattr(report, figure)
    low, high = _intervals(report).get(figure, (value, value))
    best = max(baseline[figure] for baseline in report.baselines.values())
    return int(low > best) - int(high < best)


def _intervals(report: Report) -> dict[str, tuple[float, float]]:
    if not report.intervals or report.accuracy < 1:
        return report.intervals
    # Drawing anew cannot show errors that never occurred; the rule of three bounds them.
    return {"accuracy": (max(0.0, 1 - 3 / report.count), 1.0)}


def _ranked(report: Report) -> list[tuple[str, float]]:
    found = [(name, baseline["accuracy"]) for name, baseline in report.baselines.items()]
    return sorted(found, key=lambda pair: -pair[1])


def _bars(report: Report) -> list[dict[str, object]]:
    low, high = _intervals(report).get("accuracy", (0.0, 0.0))
    band = (f"{100 * low:.2f}", f"{100 * (high - low):.2f}") if high > low else ()
    named = [("this network", report.accuracy), *_ranked(report)]
    return [
        {
            "name": name,
            "text": _percent(p),
            "width": f"{100 * p:.2f}",
            "interval": () if i else band,
        }
        for i, (name, p) in enumerate(named)
    ]


def _figures(reports: Mapping[str, Report]) -> Markup:
    first, *others = reports.values()
    baselines = {name: first.baselines[name] for name, _ in _ranked(first)}
    part = next(iter(reports))
    head = ["", part, *["95 % interval"] * bool(first.intervals), *baselines]
    head += list(reports)[1:]
    blank = [""] * (len(baselines) + bool(first.intervals))
    rows = [["Sequences", f"{first.count:,}", *blank, *(f"{r.count:,}" for r in others)]]
    if first.steps is not None:
        rows.append(
            ["Steps", f"{first.steps:,}", *blank, *(f"{r.steps or r.count:,}" for r in others)]
        )
    for title in FIGURES:
        name = title.lower().replace(" ", "_")
        row = [title[0].upper() + title[1:], _three(getattr(first, name))]
        if first.intervals:
            row.append(" – ".join(_three(end) for end in _intervals(first).get(name, [None])))
        row += [_three(baseline.get(name)) for baseline in baselines.values()]
        rows.append(row + [_three(getattr(report, name)) for report in others])
    of = "means over the classes that occur, each counting the same however rare (macro)"
    if first.average == "binary":
        of = f"those of the class “{one_line(first.classes[1], 60)}”"
    note = f"Precision, recall, F1 and ROC AUC are {of}. "
    if first.steps is not None:
        note += "All figures are over steps, but intervals come from drawing whole sequences. "
    note += "Log loss, in nats, and calibration error: the lower, the better."
    return html.table(head, rows, "figures") + html.note(note)


def _pictures(page: Page, part: str, pictures: PageFigures) -> Markup:
    shown = []
    for path in page.pictures:
        of = "" if path.stem == "history" else f", {part}"
        title, words = CAPTIONS.get(path.stem, (path.stem.replace("_", " "), ""))
        if path.stem == "history" and page.history.epochs[0].accuracy is None:
            title = "Loss and error by epoch"
        shown.append(PageFigure(path, title + of, words))
    return pictures.show(*shown)


def _entities(report: Report) -> Markup:
    """What was found whole, of tags such as B-city, I-city, O; empty for others."""
    found = report.entities
    if found is None:
        return html.note("")
    rows = [
        (name, *map(_three, (f.precision, f.recall, f.f1)), f"{f.support:,}")
        for name, f in (("all", found), *((one_line(f.label, 60), f) for f in found.by_name))
    ]
    note = "An entity counts as found if its first step, its last one and its name are right."
    if found.interval is not None:
        low, high = found.interval
        note += f" F1 of all: 95 % interval {low:.3f} – {high:.3f}."
    head = ["entity", "precision", "recall", "F1", "entities"]
    several = html.table(head, rows[: MOST_OPEN + 1], "entities")
    if len(rows) > MOST_OPEN + 1:
        every = html.table(head, rows[1:], "all entities")
        several = html.table(head, rows[:1], "entities")
        several += html.folded(f"All {len(rows) - 1} names", every)
    return several + html.note(note)


def _classes(report: Report) -> Markup:
    unit = "sequences" if report.steps is None else "steps"
    order = sorted(report.per_class, key=lambda c: -c.support)[:MOST_LISTED]
    listed = report.per_class if len(report.per_class) <= MOST_LISTED else order
    rows = [
        (one_line(c.label, 60), *map(_three, (c.precision, c.recall, c.f1)), f"{c.support:,}")
        for c in listed
    ]
    table = html.table(["class", "precision", "recall", "F1", unit], rows, "classes")
    if len(rows) <= MOST_OPEN:
        return table
    every = len(rows) == len(report.per_class)
    return html.folded(f"{'All' if every else 'The most frequent'} {len(rows)} classes", table)


def _confusions(report: Report) -> Markup:
    """The largest counts off the diagonal; nothing for two classes, where the matrix says it."""
    k = len(report.classes)
    wrong = report.confusion_matrix * ~np.eye(k, dtype=bool)
    rows = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:5]:
        true, answer = divmod(int(place), k)
        if n := int(wrong[true, answer]):
            pair = f"{one_line(report.classes[true], 60)} → {one_line(report.classes[answer], 60)}"
            rows.append((pair, f"{n:,}", _percent(n / report.per_class[true].support)))
    table = html.table(["true → predicted", "count", "of the true class"], rows, "confusions")
    return (
        html.note("")
        if k == 2
        else table
        if rows
        else html.paragraphs("None: every answer is right.")
    )


def _training(page: Page) -> Markup:
    epochs, kept = page.history.epochs, page.history.kept_epoch or len(page.history.epochs)
    losses = {e.epoch: e.validation_loss for e in epochs if e.validation_loss is not None}
    which = f"{kept}, validation loss {losses[kept]:.3f}" if kept in losses else f"{kept}"
    if losses and kept == len(epochs) and losses[kept] == min(losses.values()):
        which += ", the lowest and the last: more epochs may do better"
    facts = {
        "Model": page.model,
        "Epochs done": len(epochs),
        "Epoch kept": which,
        "Stopped": page.history.stopped,
        "Gradients": page.history.gradients.removeprefix("gradients "),
        "Time": _duration(page.seconds),
    }
    return html.facts(facts)


def _percent(share: float) -> str:
    """One decimal; what is less than all is never rounded to 100.0 %."""
    return f"{100 * share if share >= 1 else min(100 * share, 99.9):.1f} %"


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{seconds:.1f} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
