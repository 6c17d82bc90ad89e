"""The report page of a run: one self-contained HTML file to share with colleagues.

The explanation page uses its sections about the network too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from elman.evaluate import METRICS, Report
from elman.evaluate.task_reports import CLOSEST, FARTHEST
from elman.evaluate.text import TextTable
from elman.explain import Diagnosis, Finding
from elman.plots import caption
from elman.runs import html
from elman.runs.advice import heed_cause
from elman.runs.diagnostics import Diagnostics, ExampleRow, TracedExample
from elman.runs.html import PageFigure, PageFigures

if TYPE_CHECKING:
    from elman.train import History

MOST_OPEN = 20  # rows; longer tables are collapsed
MOST_LISTED = 500  # classes; of more, only the most frequent are listed
LONGEST_CELL = 60  # letters
DIAGNOSIS, MEMORY, NOTABLE = "Diagnosis", "Memory", "Notable sequences"
SWITCHED_OFF = (
    "The diagnostics were switched off (diagnostics = false, --no-diagnostics), so the network was "
    "not examined. To have the diagnosis, the memory and the trace of a sequence, run: elman "
    "explain FOLDER DATA, where FOLDER is the folder of this report and DATA a file like the one "
    "it was trained on. To have them in the report, train without --no-diagnostics."
)
TRACE_CAPTION = (
    "From the top: the input, the states of the top layer, the votes V h of its units for the "
    "predicted class and for the true one if it is another (blue for it, orange against it), its "
    "gates if it has any, and {}."
)
PREDICTION_CAPTIONS = {
    True: "the prediction at each step, made from the whole sequence",
    False: "the prediction as it would be if the sequence ended at that step",
}
MEMORY_CAPTION = (
    "The change of the prediction when one input is replaced by one of another sequence, against "
    "the distance of that input from the end. Where the curve is flat near zero, the network has "
    "forgotten the input in most sequences; below it, the share of sequences in which an input "
    "counts from this far or farther, which also shows dependencies that only few of them have."
)
DIAGNOSIS_CAPTION = (
    "How much of the gradient remains as it flows back in time, how many activations are "
    "saturated, how far the state of each unit moves, and how the training went. Values beyond the "
    "dotted lines are reported."
)


@dataclass(frozen=True)
class Page:
    """The content of report.html.

    Args:
        title: title of the page.
        created: ISO date and time.
        command: command that reproduces the run, one line.
        version: version of elman.
        seconds: duration of the training.
        data: result of `elman.data.describe`.
        model: description of the network, one paragraph.
        history: history of the training.
        reports: reports by split, at least one; the page is about the first, test.
        figures: PNG files with the names of `elman.plots.save_all`.
        config: text of config.toml; empty if there is none.
        notes: caveats about the metrics.
        diagnostics: diagnostics of the network; None if they were switched off.
        suggestions: what to try, one sentence each, if the network does not beat its best baseline.
    """

    title: str
    created: str
    command: str
    version: str
    seconds: float | None
    data: str
    model: str
    history: History
    reports: Mapping[str, Report]
    figures: Sequence[Path]
    config: str
    notes: Sequence[str] = ()
    diagnostics: Diagnostics | None = None
    suggestions: Sequence[str] = ()


def render(page: Page) -> str:
    """Return the page as HTML, to be written as UTF-8."""
    (split, report), *others = page.reports.items()
    diagnostics = page.diagnostics
    figures = PageFigures([*page.figures, *(diagnostics.paths if diagnostics else ())])
    metrics = report.metrics_table(split, dict(others))
    diagnosis = diagnostics.diagnosis if diagnostics else ""
    fault, suggestions = heed_cause(page.suggestions, diagnosis)
    sections = {
        "Metrics": _table(_with_sizes(metrics, page.reports)) + _meanings(report),
        "Figures": figures.show(*(_figure(path, page, split) for path in page.figures)),
        **{f"{table.title}, {split}": _table(table) for table in report.tables(MOST_LISTED)},
        **diagnostics_sections(diagnostics, figures, report.steps is not None),
        "Data as read": html.verbatim(page.data, "data"),
        "Training": html.facts(_training(page)),
        "Reproduce": html.verbatim(page.command, "command")
        + (
            html.folded("config.toml", html.verbatim(page.config, "config.toml"))
            if page.config
            else ""
        ),
    }
    return html.render(
        "report.html.jinja",
        kind="elman report",
        created=page.created,
        title=page.title,
        lead=report.headline(split),
        bars=report.ranked(report.headline_metric).bars(),
        notes=[
            *page.notes,
            *([fault] if fault else []),
            *report.notes,
            *(f"To try: {text.rstrip('.')}." for text in suggestions),
        ],
        sections=sections,
        version=page.version,
    )


def _with_sizes(table: TextTable, reports: Mapping[str, Report]) -> TextTable:
    """Add rows with the size of each split, in the column with its name."""
    rows = []
    for name in ("count", "steps"):
        sizes = {split: getattr(report, name) for split, report in reports.items()}
        if None not in sizes.values():
            cells = (f"{sizes[cell]:,}" if cell in sizes else "" for cell in table.head[1:])
            rows.append(({"count": "sequences"}.get(name, name), *cells))
    return TextTable(table.title, table.head, (*rows, *table.rows), table.note)


def _table(table: TextTable) -> Markup:
    """Return a table, collapsed if it is long, and its note."""
    shown = html.table(table.head, table.rows, table.title.lower())
    if len(table.rows) > MOST_OPEN:
        shown = html.folded(f"All {len(table.rows):,} rows", shown)
    return shown + html.note(table.note)


def _meanings(report: Report) -> Markup:
    """Return a collapsed list of the metrics and their meanings."""
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
    facts = {
        "Model": page.model,
        "Epochs done": len(epochs),
        "Epoch kept": which,
        "Stopped": page.history.stopped,
        "Gradients": page.history.gradients.removeprefix("gradients "),
        "Same bits again": page.history.determinism,
        "Monitored": page.history.monitored,
    }
    return facts if page.seconds is None else facts | {"Time": _duration(page.seconds)}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{seconds:.1f} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def diagnostics_sections(
    diagnostics: Diagnostics | None, figures: PageFigures, per_step: bool
) -> dict[str, Markup]:
    """Return the sections of a report by heading; without diagnostics, one that says so.

    Args:
        per_step: whether there is a prediction at every step.
    """
    if diagnostics is None:
        return {DIAGNOSIS: html.paragraphs(SWITCHED_OFF)}
    diagnosis, memory = diagnostics.diagnosis, diagnostics.memory
    drawn = diagnostics.figures
    sections = {
        DIAGNOSIS: html.paragraphs(diagnosis)
        if isinstance(diagnosis, str)
        else diagnosis_section(diagnosis, diagnostics.sequences),
        MEMORY: html.paragraphs(str(memory)),
        NOTABLE: Markup("").join(
            _notable_section(kind, rows, diagnostics.traces.get(kind, ""), figures, per_step)
            for kind, rows in diagnostics.examples.items()
        ),
    }
    if "doctor" in drawn:
        sections[DIAGNOSIS] += figures.show(
            PageFigure(drawn["doctor"], "What was measured", DIAGNOSIS_CAPTION)
        )
    if "memory" in drawn:
        alt = f"Memory. {str(memory).splitlines()[0]}"
        sections[MEMORY] += figures.show(PageFigure(drawn["memory"], MEMORY, MEMORY_CAPTION, alt))
    return sections


def diagnosis_section(diagnosis: Diagnosis, sequences: Sequence[str]) -> Markup:
    """Return the findings with evidence and remedy, or a sentence if there are none.

    Args:
        sequences: for each finding, the names of its sequences.
    """
    words = [diagnosis.summary]
    items = [
        _finding(finding, names, diagnosis.effects_of(finding))
        for finding, names in zip(diagnosis.findings, sequences, strict=True)
        if not finding.explained_by
    ]
    examined = f"Examined: {'; '.join(diagnosis.examined)}."
    skipped = "; ".join(f"{what} ({why})" for what, why in diagnosis.skipped.items())
    note = examined + (f" Not examined: {skipped}." if skipped else "")
    return html.paragraphs("\n".join(words)) + html.findings(items) + html.note(note)


def _finding(
    finding: Finding, sequences: str, effects: Sequence[Finding]
) -> tuple[str, str, dict[str, str]]:
    """Return title, message and facts of a finding, with its sequences' names in the file.

    Args:
        effects: findings that follow from it.
    """
    setting = finding.setting
    facts = {
        # Omits the sequences' positions: in the file, sequences are found by name.
        "Where": dataclasses.replace(finding, sequences=()).where,
        "Held-out sequences" if finding.held_out else "Sequences": sequences,
        "Evidence": f"{finding.value:.3g}, with a threshold of {finding.threshold:.3g}",
        "What to do": finding.remedy,
        "Explains": "; ".join(f"{e.title}: {e.message}" for e in effects),
        "Setting": setting and f"{setting}, as a flag --{setting.replace('_', '-')}",
    }
    title = f"{finding.severity.capitalize()}: {finding.title}"
    return title, f"{finding.message[:1].upper()}{finding.message[1:].rstrip('.')}.", facts


def _notable_section(
    kind: str,
    rows: Sequence[ExampleRow],
    traced: TracedExample | str,
    figures: PageFigures,
    per_step: bool,
) -> Markup:
    """Return a table of one kind of notable examples, and the trace of one of them."""
    heading = html.subheading(kind)
    if not rows:
        return heading + html.paragraphs("There are none.")
    numeric = kind in (CLOSEST, FARTHEST)
    stepwise, texts = any(row.step for row in rows), any(row.text for row in rows)
    head = ["sequence", *["at step"] * stepwise, "true", "predicted"]
    head += ["error" if numeric else "probability", "steps", *["text"] * texts]
    cells = []
    for row in rows:
        notable = row.notable
        score = f"{notable.score:.3g}" if numeric else format_probability(notable.score)
        line = [row.name, *[row.step] * stepwise, notable.true, notable.predicted, score]
        cells.append([_shorten(cell) for cell in [*line, f"{row.steps:,}", *[row.text] * texts]])
    section = heading + html.table(head, cells, kind.lower(), ends_in_text=texts)
    if numeric:
        section += html.note(
            "The error is in standard deviations of the true values, over all predictions for a "
            "sequence; true and predicted are those of the largest."
        )
    if isinstance(traced, str):
        return section + html.paragraphs(traced)
    title = f"What the network did with {name_in_text(traced.example.name)}"
    alt = f"{title}. {traced.summary}".replace("\n", ". ")
    caption = TRACE_CAPTION.format(PREDICTION_CAPTIONS[per_step])
    return section + figures.show(PageFigure(traced.path, title, caption, alt))


def name_in_text(name: str) -> str:
    """Return a sequence's name for use in a sentence; a bare number is preceded by a noun."""
    return f"sequence {name}" if name.isdigit() else name


def format_probability(p: float) -> str:
    """Return three decimals; a probability below 1 is never rounded to 1."""
    return f"{p:.3f}" if p >= 1 or p < 0.9995 else "> 0.999"


def _shorten(cell: str) -> str:
    return cell if len(cell) <= LONGEST_CELL else cell[: LONGEST_CELL - 1] + "…"
