"""The report page of a run: one HTML file that needs nothing else, for showing to a colleague."""

from __future__ import annotations

import base64
import html
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elman.evaluate.baselines import LOGISTIC, MAJORITY, TAG_OF_TOKEN
from elman.evaluate.tables import one_line
from elman.plots.style import DPI

if TYPE_CHECKING:
    from elman.evaluate.report import Report
    from elman.train.loop import History

FIGURES = ("accuracy", "balanced accuracy", "precision", "recall", "F1", "ROC AUC", "log loss",
           "calibration error")  # fmt: skip
MOST_CONFUSIONS = 5
MOST_OPEN = 20  # classes, past which their table is folded
HALF_WIDTH = 520  # CSS pixels, up to which two pictures stand side by side
CAVEATS = {
    "validation": " The epoch was chosen on these same sequences, so the figure flatters.",
    "train": " The network has learnt these very sequences: it says nothing about new ones.",
}


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
    reports: Mapping[str, Report]  # one part at least; the first, test, is what the page is about
    pictures: Sequence[Path]  # PNG files; those that `elman.plots.save_all` names get captions
    config: str  # text of config.toml
    notes: Sequence[str] = ()  # what to know before believing the figures


def render(page: Page) -> str:
    """Return the page as HTML, to be written as UTF-8: no script, nothing fetched from outside."""
    part, report = next(iter(page.reports.items()))
    sections = {
        "Figures": _figures(page.reports),
        "Pictures": _pictures(page, part, report),
        f"Classes, {part}": _classes(report),
        f"Most frequent confusions, {part}": _confusions(report),
        "Data as understood": _scroll(f"<pre>{_text(page.data)}</pre>", "data"),
        "Training": _training(page),
        "Reproduce": _reproduce(page),
    }
    notes = "".join(f"<li>{_text(note)}</li>" for note in page.notes)
    when = f'<time datetime="{_text(page.created)}">{_text(page.created.replace("T", " "))}</time>'
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(page.title)}: elman report</title>
<style>
{resources.files("elman.runs").joinpath("page.css").read_text("utf-8")}</style>
</head>
<body>
<header>
<p class="kicker">elman report, {when}</p>
<h1>{_text(page.title)}</h1>
<p class="lead">{_text(headline(part, report))}</p>
{_bars(report)}
{f'<ul class="notes" aria-label="Notes">{notes}</ul>' if notes else ""}
</header>
<main>
{"".join(f"<section><h2>{_text(t)}</h2>{body}</section>" for t, body in sections.items() if body)}
</main>
<footer><p>Made by elman {_text(page.version)}. This file needs no network and no other file.</p>
</footer>
</body>
</html>
"""


def headline(part: str, report: Report) -> str:
    """Say in words how good the network is, and whether something simpler is as good."""
    steps = " over steps" if report.steps is not None else ""
    text = f"{part.capitalize()} accuracy{steps} {_percent(report.accuracy)}"
    low, high = _interval(report, "accuracy")
    if report.intervals and report.accuracy == 1:
        risk = _percent(1 - low)
        text += f" (no error in {report.count:,} sequences; up to {risk} may still go wrong)"
    elif report.intervals:
        text += f" (95 % interval {_percent(low).removesuffix(' %')} – {_percent(high)})"
    if report.baselines:
        known = {
            LOGISTIC: f"{LOGISTIC} on {'each step alone' if steps else 'summaries'}",
            MAJORITY: f"the {MAJORITY}",
            TAG_OF_TOKEN: f"the {TAG_OF_TOKEN}",
        }
        simpler = [f"{_percent(p)} for {known.get(name, name)}" for name, p in _ranked(report)]
        text += f", against {' and '.join(simpler)}: {_verdict(report)}"
    else:
        text += ". No baseline was run, so nothing says whether the recurrence is needed."
    return (text + CAVEATS.get(part, "")).replace(" %", "\N{NO-BREAK SPACE}%")


def _verdict(report: Report) -> str:
    ahead = _standing(report, "accuracy")
    if ahead > 0 and set(report.baselines) == {MAJORITY}:
        text = "it has learnt something; whether that takes a recurrence was not tried"
    elif ahead > 0:
        text = "the recurrence earns its keep"
    elif ahead < 0:
        text = "the recurrence does worse than the simpler answer"
        text += ", which lies above the interval" * bool(report.intervals)
    else:
        text = "the recurrence is not shown to beat the simpler answer"
        text += ", which lies within the interval" * bool(report.intervals)
    if not report.intervals:
        return text + ", as far as figures without an interval can tell."
    by_balance = _standing(report, "balanced_accuracy")
    if (ahead > 0) == (by_balance > 0):
        return text + "."
    best = max(b["balanced_accuracy"] for b in report.baselines.values())
    return (
        f"{text}. By balanced accuracy, where every class counts the same, it is "
        f"{'' if by_balance > 0 else 'not '}clearly ahead: {_percent(report.balanced_accuracy)} "
        f"against {_percent(best)}."
    )


def _standing(report: Report, figure: str) -> int:
    """1, 0 or -1: the interval lies above the best baseline, holds it, or lies below it."""
    low, high = _interval(report, figure)
    best = max(baseline[figure] for baseline in report.baselines.values())
    return int(low > best) - int(high < best)


def _interval(report: Report, figure: str) -> tuple[float, float]:
    """Interval of a figure; from the figure to itself if none was asked for."""
    value: float = getattr(report, figure)
    low, high = report.intervals.get(figure, (value, value))
    if report.intervals and report.accuracy == 1:
        # Drawing anew cannot show errors that never occurred; the rule of three bounds them.
        low = max(0.0, 1 - 3 / report.count)
    return low, high


def _ranked(report: Report) -> list[tuple[str, float]]:
    found = [(name, baseline["accuracy"]) for name, baseline in report.baselines.items()]
    return sorted(found, key=lambda pair: -pair[1])


def _bars(report: Report) -> str:
    """The headline as bars; hidden from screen readers, to whom it has just been read."""
    low, high = _interval(report, "accuracy")
    band = f'<b style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></b>'
    rows = "".join(
        f'<li><span>{_text(name)}</span><span class="track"><i style="width:{100 * p:.2f}%"></i>'
        f"{band if i == 0 and high > low else ''}</span><span>{_percent(p)}</span></li>"
        for i, (name, p) in enumerate([("this network", report.accuracy), *_ranked(report)])
    )
    return f'<ul class="bars" aria-hidden="true">{rows}</ul>'


def _figures(reports: Mapping[str, Report]) -> str:
    (part, first), *others = reports.items()
    beside = ["this network", *["95 % interval"] * bool(first.intervals), *first.baselines]
    head = f'<td></td><th scope="colgroup" colspan="{len(beside)}">{_size(part, first)}</th>'
    head += "".join(f'<th scope="col" rowspan="2">{_size(*other)}</th>' for other in others)
    rows = []
    for title in FIGURES:
        name = title.lower().replace(" ", "_")
        row = [title[0].upper() + title[1:], _three(getattr(first, name))]
        if first.intervals:
            row.append(" – ".join(_three(end) for end in first.intervals.get(name, [None])))
        row += [_three(baseline.get(name)) for baseline in first.baselines.values()]
        rows.append(row + [_three(getattr(report, name)) for _, report in others])
    of = "means over the classes that occur, each counting the same however rare (macro)"
    if first.average == "binary":
        of = f"those of the class “{one_line(first.classes[1], 60)}”"
    note = f"Precision, recall, F1 and ROC AUC are {of}. "
    if first.steps is not None:
        note += "All figures are over steps. Intervals come from drawing whole sequences anew, "
        note += "for the steps of one sequence are not independent. "
    note += "Log loss, in nats, and calibration error: the lower, the better."
    head = f"<tr>{head}</tr>{_head(['', *beside])}"
    return _table(head, rows, "figures") + f'<p class="note">{_text(note)}</p>'


def _pictures(page: Page, part: str, report: Report) -> str:
    captions = _captions(page, report)
    figures = ""
    for path in page.pictures:
        png = path.read_bytes()
        width, height = (n * 96 // DPI for n in struct.unpack(">II", png[16:24]))  # PNG's header
        of = "" if path.stem == "history" else f", {part}"
        title, caption = captions.get(path.stem, (path.stem.replace("_", " "), ""))
        figures += (
            f'<figure{" class=wide" if width > HALF_WIDTH else ""}><div class="card">'
            f'<img alt="{_text(title + of)}" width="{width}" height="{height}" '
            f'src="data:image/png;base64,{base64.b64encode(png).decode()}"></div><figcaption>'
            f"<strong>{_text(title + of)}.</strong> {_text(caption)}</figcaption></figure>"
        )
    return figures and f'<div class="pictures">{figures}</div>'


def _captions(page: Page, report: Report) -> dict[str, tuple[str, str]]:
    """File name -> what is seen, and how to read it."""
    watched = any(e.validation_loss is not None for e in page.history.epochs)
    turn = (
        "Validation getting worse while training improves: it learns its sequences by heart. "
        if watched
        else "Without a validation part, learning by heart cannot be seen here. "
    )
    unit = "sequences" if report.steps is None else "steps"
    return {
        "history": ("Loss and accuracy by epoch", turn + "Training is measured while the weights "
            "move and with dropout, so it may look worse than it is."),
        "confusion_matrix": ("Confusion matrix", f"Numbers count {unit}. A row holds one true "
            "class, a column one answer; the diagonal is right. Colour is the share of the row."),
        "roc": ("ROC", "What share of a class is found, upwards, for what share of false alarms, "
            "to the right, as the threshold moves. An area of 1 is perfect, 0.5 is chance."),
        "precision_recall": ("Precision and recall", "What share of alarms is right, upwards, as "
            "more of a class is found, to the right. Shown in place of ROC, which flatters where "
            "a class is rarer than 10 %."),
        "calibration": ("Calibration", "On the diagonal a probability means what it says. Below "
            f"it the network is too sure, above it too cautious. The bars count {unit}."),
        "accuracy_by_length": ("Accuracy by length", "From short sequences to long ones, with "
            "95 % intervals. A fall to the right says that long sequences are harder."),
    }  # fmt: skip


def _classes(report: Report) -> str:
    unit = "sequences" if report.steps is None else "steps"
    rows = [
        (one_line(c.label, 60), _three(c.precision), _three(c.recall), _three(c.f1), str(c.support))
        for c in report.per_class
    ]
    table = _table(_head(["class", "precision", "recall", "F1", unit]), rows, "classes")
    folded = f"<details><summary>All {len(rows)} classes</summary>{table}</details>"
    return table if len(rows) <= MOST_OPEN else folded


def _confusions(report: Report) -> str:
    """The largest counts off the diagonal; nothing for two classes, where the matrix says it."""
    k = len(report.classes)
    wrong = report.confusion_matrix * ~np.eye(k, dtype=bool)
    rows = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]:
        true, answer = divmod(int(place), k)
        if n := int(wrong[true, answer]):
            pair = f"{one_line(report.classes[true], 60)} → {one_line(report.classes[answer], 60)}"
            rows.append((pair, str(n), _percent(n / report.per_class[true].support)))
    table = _table(_head(["true → predicted", "count", "of the true class"]), rows, "confusions")
    return "" if k == 2 else table if rows else "<p>None: every answer is right.</p>"


def _training(page: Page) -> str:
    epochs, kept = page.history.epochs, page.history.kept_epoch or len(page.history.epochs)
    loss = next((e.validation_loss for e in epochs if e.epoch == kept), None)
    late = ", the last one: more epochs may do better" if 0 < kept == len(epochs) else ""
    facts = {
        "Model": page.model,
        "Epochs done": len(epochs),
        "Epoch kept": kept if loss is None else f"{kept}, validation loss {loss:.3f}{late}",
        "Stopped": page.history.stopped,
        "Time": _duration(page.seconds),
    }
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{_text(v)}</dd>' for name, v in facts.items())}</dl>"


def _reproduce(page: Page) -> str:
    command = _scroll(f"<pre>{_text(page.command)}</pre>", "command")
    config = _scroll(f"<pre>{_text(page.config)}</pre>", "config.toml")
    return f"{command}<details><summary>config.toml</summary>{config}</details>"


def _head(cells: Iterable[str]) -> str:
    found = (f'<th scope="col">{_text(cell)}</th>' if cell else "<td></td>" for cell in cells)
    return f"<tr>{''.join(found)}</tr>"


def _table(head: str, rows: Iterable[Sequence[str]], name: str) -> str:
    body = ""
    for first, *cells in rows:
        body += f'<tr><th scope="row">{_text(first)}</th>'
        body += "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"
    return _scroll(f"<table><thead>{head}</thead><tbody>{body}</tbody></table>", name)


def _scroll(inner: str, name: str) -> str:
    """What is too wide for a narrow screen scrolls by itself, by keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">{inner}</div>'


def _size(part: str, report: Report) -> str:
    steps = "" if report.steps is None else f", {report.steps:,} steps"
    return f"{_text(part)} <small>{report.count:,} sequences{steps}</small>"


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
