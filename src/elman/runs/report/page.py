"""The report page of a run: one HTML file that needs nothing else, for showing to a colleague."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from elman.evaluate import METRICS, Report
from elman.evaluate.text import TextTable
from elman.plots import caption
from elman.runs.diagnostics import Diagnostics
from elman.runs.report import html
from elman.runs.report.html import PageFigure, PageFigures
from elman.runs.report.sections import diagnostics_sections

if TYPE_CHECKING:
    from elman.train import History

MOST_OPEN = 20  # rows, past which a table is folded
MOST_LISTED = 500  # classes, past which only the most frequent are listed


@dataclass(frozen=True)
class Page:
    """What report.html shows.

    Args:
        title: of the page.
        created: ISO date and time.
        command: that reproduces the run, one line.
        version: of elman.
        seconds: that the training took.
        data: what `elman.data.describe` says.
        model: one paragraph.
        history: of the training.
        reports: one split at least; the page is about the first, test.
        figures: PNG files named as `elman.plots.save_all` names them.
        config: text of config.toml.
        notes: what to know before believing the metrics.
        diagnostics: of the network; None where they were switched off.
    """

    title: str
    created: str
    command: str
    version: str
    seconds: float
    data: str
    model: str
    history: History
    reports: Mapping[str, Report]
    figures: Sequence[Path]
    config: str
    notes: Sequence[str] = ()
    diagnostics: Diagnostics | None = None


def render(page: Page) -> str:
    """Return the page as HTML, to be written as UTF-8."""
    (split, report), *others = page.reports.items()
    diagnostics = page.diagnostics
    figures = PageFigures([*page.figures, *(diagnostics.paths if diagnostics else ())])
    metrics = report.metrics_table(split, dict(others))
    sections = {
        "Metrics": _table(_with_sizes(metrics, page.reports)) + _meanings(report),
        "Figures": figures.show(*(_figure(path, page, split) for path in page.figures)),
        **{f"{table.title}, {split}": _table(table) for table in report.tables(MOST_LISTED)},
        **diagnostics_sections(diagnostics, figures, report.steps is not None),
        "Data as understood": html.verbatim(page.data, "data"),
        "Training": html.facts(_training(page)),
        "Reproduce": html.verbatim(page.command, "command")
        + html.folded("config.toml", html.verbatim(page.config, "config.toml")),
    }
    return html.render(
        "report.html.jinja",
        kind="elman report",
        created=page.created,
        title=page.title,
        lead=report.headline(split),
        bars=report.compare(report.headline_metric).bars(),
        notes=[*page.notes, *report.notes],
        sections=sections,
        version=page.version,
    )


def _with_sizes(table: TextTable, reports: Mapping[str, Report]) -> TextTable:
    """Add rows that say how much each split holds, under the columns that bear its name."""
    rows = []
    for name in ("count", "steps"):
        sizes = {split: getattr(report, name) for split, report in reports.items()}
        if None not in sizes.values():
            cells = (f"{sizes[cell]:,}" if cell in sizes else "" for cell in table.head[1:])
            rows.append(({"count": "sequences"}.get(name, name), *cells))
    return TextTable(table.title, table.head, (*rows, *table.rows), table.note)


def _table(table: TextTable) -> Markup:
    """A table, folded if it is long, and its note."""
    shown = html.table(table.head, table.rows, table.title.lower())
    if len(table.rows) > MOST_OPEN:
        shown = html.folded(f"All {len(table.rows):,} rows", shown)
    return shown + html.note(table.note)


def _meanings(report: Report) -> Markup:
    """What each metric means."""
    rows = [row for row in METRICS[report.output] if row.listed]
    better = {"higher": "", "lower": " Lower is better."}
    facts = {report.title_of(row): row.meaning + better[row.better] for row in rows}
    return html.folded("What the metrics mean", html.facts(facts))


def _figure(path: Path, page: Page, split: str) -> PageFigure:
    records = [record.to_dict() for record in page.history.epochs]
    title, text = caption(path.stem, records, page.reports[split])
    return PageFigure(path, title if path.stem == "history" else f"{title}, {split}", text)


def _training(page: Page) -> dict[str, object]:
    epochs, kept = page.history.epochs, page.history.kept_epoch or len(page.history.epochs)
    losses = {e.epoch: e.validation_loss for e in epochs if e.validation_loss is not None}
    which = f"{kept}, validation loss {losses[kept]:.3f}" if kept in losses else f"{kept}"
    if losses and kept == len(epochs) and losses[kept] == min(losses.values()):
        which += ", the lowest and the last: more epochs may do better"
    return {
        "Model": page.model,
        "Epochs done": len(epochs),
        "Epoch kept": which,
        "Stopped": page.history.stopped,
        "Gradients": page.history.gradients.removeprefix("gradients "),
        "Time": _duration(page.seconds),
    }


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{seconds:.1f} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
