"""The report page of a run: one HTML file that needs nothing else, for showing to a colleague."""

from __future__ import annotations

import base64
import html
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from elman.evaluate.baselines import LOGISTIC, MAJORITY, TAG_OF_TOKEN
from elman.evaluate.layout import one_line
from elman.evaluate.report import Report
from elman.plots.style import DPI
from elman.runs import outcomes

if TYPE_CHECKING:
    from elman.train.loop import History

FIGURES = ("accuracy", "balanced accuracy", "precision", "recall", "F1", "ROC AUC", "log loss",
           "calibration error")  # fmt: skip
MOST_OPEN = 20  # classes, past which their table is folded
HALF_WIDTH = 520  # CSS pixels, up to which two pictures stand side by side
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


def render(page: Page) -> str:
    """Return the page as HTML, to be written as UTF-8: no script, nothing fetched from outside."""
    part, report = next(iter(page.reports.items()))
    config = _scroll(f"<pre>{_text(page.config)}</pre>", "config.toml")
    if isinstance(report, Report):
        own = cast("Mapping[str, Report]", page.reports)
        lead, bars, figures = headline(part, report), _bars(report), _figures(own)
        details = {
            f"Classes, {part}": _classes(report),
            f"Most frequent confusions, {part}": _confusions(report),
        }
    else:
        others = cast("Mapping[str, outcomes.Outcome]", page.reports)
        lead, bars = outcomes.headline(part, report), ""
        head, rows, note = outcomes.figures(others)
        figures = f'{_table(head, rows, "figures")}<p class="note">{_text(note)}</p>'
        title, head, rows = outcomes.details(report)
        details = {f"{title}, {part}": _table(head, rows, title.lower())}
    sections = {
        "Figures": figures,
        "Pictures": _pictures(page, part),
        **details,
        "Data as understood": _scroll(f"<pre>{_text(page.data)}</pre>", "data"),
        "Training": _training(page),
        "Reproduce": _scroll(f"<pre>{_text(page.command)}</pre>", "command")
        + f"<details><summary>config.toml</summary>{config}</details>",
    }
    notes = "".join(f"<li>{_text(note)}</li>" for note in page.notes)
    when = f'<time datetime="{_text(page.created)}">{_text(page.created.replace("T", " "))}</time>'
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(page.title)}: elman report</title>
<style>{resources.files("elman.runs").joinpath("page.css").read_text("utf-8")}</style>
</head>
<body><header>
<p class="kicker">elman report, {when}</p>
<h1>{_text(page.title)}</h1>
<p class="lead">{_text(lead)}</p>
{bars}
{f'<ul class="notes" aria-label="Notes">{notes}</ul>' if notes else ""}
</header><main>
{"".join(f"<section><h2>{_text(t)}</h2>{body}</section>" for t, body in sections.items() if body)}
</main>
<footer><p>Made by elman {_text(page.version)}. Nothing here is fetched from elsewhere.</p></footer>
</body></html>
"""


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


def _bars(report: Report) -> str:
    """The headline as bars; hidden from screen readers, to whom it has just been read."""
    low, high = _intervals(report).get("accuracy", (0.0, 0.0))
    band = f'<b style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></b>'
    rows = "".join(
        f'<li><span>{_text(name)}</span><span class="track"><i style="width:{100 * p:.2f}%"></i>'
        f"{band if i == 0 and high > low else ''}</span><span>{_percent(p)}</span></li>"
        for i, (name, p) in enumerate([("this network", report.accuracy), *_ranked(report)])
    )
    return f'<ul class="bars" aria-hidden="true">{rows}</ul>'


def _figures(reports: Mapping[str, Report]) -> str:
    first, *others = reports.values()
    baselines = {name: first.baselines[name] for name, _ in _ranked(first)}
    beside = ["this network", *["95 % interval"] * bool(first.intervals), *baselines]
    above = "<td></td>"
    for part, report in reports.items():
        span = f'colspan="{len(beside)}"' if report is first else 'rowspan="2"'
        steps = "" if report.steps is None else f"<br>{report.steps:,} steps"
        size = f"<small>{report.count:,} sequences{steps}</small>"
        above += f'<th scope="col" {span}>{_text(part)} {size}</th>'
    rows = []
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
    table = _table(["", *beside], rows, "figures", f"<tr>{above}</tr>")
    return f'{table}<p class="note">{_text(note)}</p>'


def _pictures(page: Page, part: str) -> str:
    figures = ""
    for path in page.pictures:
        png = path.read_bytes()
        width, height = (n * 96 // DPI for n in struct.unpack(">II", png[16:24]))  # PNG's header
        of = "" if path.stem == "history" else f", {part}"
        title, words = CAPTIONS.get(path.stem, (path.stem.replace("_", " "), ""))
        figures += (
            f'<figure{" class=wide" if width > HALF_WIDTH else ""}><div class="card">'
            f'<img alt="{_text(title + of)}" width="{width}" height="{height}" '
            f'src="data:image/png;base64,{base64.b64encode(png).decode()}"></div><figcaption>'
            f"<strong>{_text(title + of)}.</strong> {_text(words)}</figcaption></figure>"
        )
    return figures and f'<div class="pictures">{figures}</div>'


def _classes(report: Report) -> str:
    unit = "sequences" if report.steps is None else "steps"
    rows = [
        (one_line(c.label, 60), *map(_three, (c.precision, c.recall, c.f1)), f"{c.support:,}")
        for c in report.per_class
    ]
    table = _table(["class", "precision", "recall", "F1", unit], rows, "classes")
    head = f"<summary>All {len(rows)} classes</summary>"
    return table if len(rows) <= MOST_OPEN else f"<details>{head}{table}</details>"


def _confusions(report: Report) -> str:
    """The largest counts off the diagonal; nothing for two classes, where the matrix says it."""
    k = len(report.classes)
    wrong = report.confusion_matrix * ~np.eye(k, dtype=bool)
    rows = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:5]:
        true, answer = divmod(int(place), k)
        if n := int(wrong[true, answer]):
            pair = f"{one_line(report.classes[true], 60)} → {one_line(report.classes[answer], 60)}"
            rows.append((pair, f"{n:,}", _percent(n / report.per_class[true].support)))
    table = _table(["true → predicted", "count", "of the true class"], rows, "confusions")
    return "" if k == 2 else table if rows else "<p>None: every answer is right.</p>"


def _training(page: Page) -> str:
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
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{_text(v)}</dd>' for name, v in facts.items())}</dl>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], name: str, above: str = "") -> str:
    cells = (f'<th scope="col">{_text(cell)}</th>' if cell else "<td></td>" for cell in head)
    body = ""
    for first, *others in rows:
        body += f'<tr><th scope="row">{_text(first)}</th>'
        body += "".join(f"<td>{_text(cell)}</td>" for cell in others) + "</tr>"
    lines = f"<thead>{above}<tr>{''.join(cells)}</tr></thead><tbody>{body}</tbody>"
    return _scroll(f"<table>{lines}</table>", name)


def _scroll(inner: str, name: str) -> str:
    """What is too wide for a narrow screen scrolls by itself, by keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">{inner}</div>'


def _text(text: object) -> str:
    """Escape for HTML; letters that cannot be printed, or written as UTF-8, become a mark."""
    kept = "\n\t\N{NO-BREAK SPACE}"
    plain = (c if c.isprintable() or c in kept else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return html.escape("".join(plain))


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
