"""Sections of a page about the network: diagnosis, memory, and notable sequences with traces."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from markupsafe import Markup

from elman.evaluate.notable import CLOSEST, FARTHEST
from elman.explain import Diagnosis, Finding
from elman.runs.diagnostics import Diagnostics, ExampleRow, TracedExample
from elman.runs.report import html
from elman.runs.report.html import PageFigure, PageFigures

LONGEST_CELL = 60  # letters
DIAGNOSIS, MEMORY, NOTABLE = "Diagnosis", "Memory", "Notable sequences"
HEALTHY = "Nothing was found that keeps this network from learning."
SWITCHED_OFF = (
    "The diagnostics were switched off (diagnostics = false, --no-diagnostics), so the network was "
    "not examined. To have the diagnosis, the memory and the trace of a sequence, run: elman "
    "explain FOLDER DATA, where FOLDER is the folder of this report and DATA a file like the one "
    "it was trained on. To have them in the report, train without --no-diagnostics."
)
TRACE_CAPTION = (
    "From the top: the input, the states of the top layer, its gates if it has any, and {}."
)
PREDICTION_CAPTIONS = {
    True: "the prediction at each step, made from the whole sequence",
    False: "the prediction as it would be if the sequence ended at that step",
}
MEMORY_CAPTION = (
    "How much the prediction changes when one input is replaced by that of another sequence, "
    "against its distance from the end. Where the curve is flat at the bottom, inputs are "
    "forgotten."
)
DIAGNOSIS_CAPTION = (
    "The share of a gradient that is left on its way back, saturated activations, how far the "
    "state of each unit moves, and the training. Values beyond the dotted lines are reported."
)


def diagnostics_sections(
    diagnostics: Diagnostics | None, figures: PageFigures, per_step: bool
) -> dict[str, Markup]:
    """Return the sections of a report by heading; one that says so if there are no diagnostics.

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
    """Return the findings with evidence and remedy; a sentence where nothing is wrong.

    Args:
        sequences: of each finding, the names of the sequences it is about.
    """
    words = [HEALTHY] if diagnosis.healthy else []
    if diagnosis.healthy and diagnosis.findings:
        words.append("Worth knowing, and harmless as things are:")
    items = [_finding(*pair) for pair in zip(diagnosis.findings, sequences, strict=True)]
    examined = f"Examined: {'; '.join(diagnosis.examined)}."
    skipped = "; ".join(f"{what} ({why})" for what, why in diagnosis.skipped.items())
    note = examined + (f" Not examined: {skipped}." if skipped else "")
    return html.paragraphs("\n".join(words)) + html.findings(items) + html.note(note)


def _finding(finding: Finding, sequences: str) -> tuple[str, str, dict[str, str]]:
    """Title, message and facts of a finding, with the names of its sequences in the file."""
    setting = finding.setting
    facts = {
        # Without the sequences' positions, which mean little to those who have the file.
        "Where": dataclasses.replace(finding, sequences=()).where,
        "Held-out sequences" if finding.held_out else "Sequences": sequences,
        "Evidence": f"{finding.value:.3g}, with a threshold of {finding.threshold:.3g}",
        "What to do": finding.remedy,
        "Setting": setting and f"{setting}, as a flag --{setting.replace('_', '-')}",
    }
    title = f"{finding.severity.capitalize()}: {finding.name.replace('_', ' ')}"
    return title, f"{finding.message[:1].upper()}{finding.message[1:].rstrip('.')}.", facts


def _notable_section(
    kind: str,
    rows: Sequence[ExampleRow],
    traced: TracedExample | str,
    figures: PageFigures,
    per_step: bool,
) -> Markup:
    """Sequences of one kind: a table, and what the network did with one of them."""
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
    """The name of a sequence in a sentence: a bare number needs a noun."""
    return f"sequence {name}" if name.isdigit() else name


def format_probability(p: float) -> str:
    """Three decimals; what is less than certain is never rounded to 1."""
    return f"{p:.3f}" if p >= 1 or p < 0.9995 else "> 0.999"


def _shorten(cell: str) -> str:
    return cell if len(cell) <= LONGEST_CELL else cell[: LONGEST_CELL - 1] + "…"
