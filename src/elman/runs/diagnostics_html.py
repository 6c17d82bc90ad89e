"""What pages say of the inside of a network, as HTML."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from markupsafe import Markup

from elman.evaluate.notable import CLOSEST, FARTHEST
from elman.explain import Diagnosis, Finding, Memory
from elman.runs.diagnostics import Diagnostics, Example, Traced
from elman.runs.report import html
from elman.runs.report.html import PageFigure, PageFigures

MOST = 60  # letters of a cell
HEALTHY = "Nothing was found that keeps this network from learning."
TRACE = (
    "From above: what was read, the states of the top layer, its gates where it has some, and the "
    "answer as it would be if the sequence ended at that step."
)
TRACE_OF_STEPS = (
    "From above: what was read, the states of the top layer, its gates where it has some, and the "
    "answer at each step, given the whole sequence."
)
MEMORY = (
    "How much the answer changes when one input is replaced by another sequence's, over how far "
    "from the end it stands. Where the curve is flat at the bottom, inputs are forgotten."
)
DOCTOR = (
    "Gradients on their way back, activations at their ends, units that stand still, and the "
    "training. Dotted lines are those that a figure has to cross to be reported."
)


def sections(diagnostics: Diagnostics, pictures: PageFigures, per_step: bool) -> dict[str, Markup]:
    """Return the sections of a report by heading."""
    found = {"What the doctor says": _words(diagnostics.diagnosis)}
    if isinstance(diagnostics.diagnosis, Diagnosis):
        found["What the doctor says"] = doctor(diagnostics.diagnosis, diagnostics.places)
        if "doctor" in diagnostics.pictures:
            shown = PageFigure(diagnostics.pictures["doctor"], "What was measured", DOCTOR)
            found["What the doctor says"] += pictures.show(shown)
    found["How far back it remembers"] = _words(diagnostics.memory)
    if isinstance(diagnostics.memory, Memory):
        found["How far back it remembers"] = remembered(
            diagnostics.memory,
            PageFigure(diagnostics.pictures["memory"], "Memory", MEMORY),
            pictures,
        )
    found["Sequences worth a look"] = Markup("").join(
        _kind(kind, examples, diagnostics.traces.get(kind), pictures, per_step)
        for kind, examples in diagnostics.examples.items()
    )
    return found


def doctor(diagnosis: Diagnosis, places: Sequence[str]) -> Markup:
    """The findings, with evidence and what mends them; a sentence where there is none."""
    told = html.paragraphs(HEALTHY if diagnosis.healthy else "")
    if diagnosis.healthy and diagnosis.findings:
        told += html.paragraphs("Worth knowing, and harmless as things stand:")
    items = [
        _finding(finding, where) for finding, where in zip(diagnosis.findings, places, strict=True)
    ]
    looked = "; ".join(diagnosis.examined)
    skipped = "; ".join(f"{what} ({why})" for what, why in diagnosis.skipped.items())
    note = f"Looked at: {looked}." + (f" Not looked at: {skipped}." if skipped else "")
    return told + html.findings(items) + html.note(note)


def _finding(finding: Finding, sequences: str) -> tuple[str, str, dict[str, str]]:
    name = finding.name.replace("_", " ")
    # Without the sequences' numbers, which mean little to who has the file.
    where = dataclasses.replace(finding, sequences=()).where
    told = finding.message[:1].upper() + finding.message[1:].rstrip(".")
    evidence = f"{finding.value:.3g}, where the line is at {finding.threshold:.3g}"
    facts = {"Where": where, "Sequences": sequences, "Evidence": evidence}
    facts["What mends it"] = finding.remedy
    if finding.setting:
        flag = f"--{finding.setting.replace('_', '-')}"
        facts["Setting"] = f"{finding.setting}, with the command {flag}"
    return f"{finding.severity.capitalize()}: {name}", f"{told}.", facts


def remembered(found: Memory, picture: PageFigure, pictures: PageFigures) -> Markup:
    """The gist of a memory and its curve."""
    gist, *more = str(found).splitlines()
    shown = PageFigure(picture.path, picture.title, picture.caption, alt=f"{picture.title}. {gist}")
    return html.paragraphs("\n".join([gist, *more])) + pictures.show(shown)


def _kind(
    kind: str,
    examples: Sequence[Example],
    traced: Traced | str | None,
    pictures: PageFigures,
    per_step: bool,
) -> Markup:
    """One kind of sequences: a table, and what the network did with one of them."""
    if not examples:
        return html.subheading(kind) + html.paragraphs("There are none.")
    values = kind in (CLOSEST, FARTHEST)
    stepwise, texts = any(e.at for e in examples), any(e.begins for e in examples)
    head = ["sequence", *["at step"] * stepwise, "true", "predicted"]
    head += ["error" if values else "probability", "steps", *["text"] * texts]
    rows = []
    for each in examples:
        told = each.notable
        row = [each.name, *[each.at] * stepwise, told.true, told.predicted]
        score = f"{told.score:.3g}" if values else _probability(told.score)
        rows.append([*row, score, f"{each.steps:,}", *[each.begins] * texts])
    shown = [[*map(_short, row)] for row in rows]
    table = html.table(head, shown, kind.lower(), ends_in_text=texts)
    note = html.note("")
    if values:
        note = html.note(
            "The error is in standard deviations of the true values, over all of a sequence's "
            "answers; true and predicted are where it is largest."
        )
    if isinstance(traced, Traced):
        about = traced.example
        title = f"What the network did with {called(about.name)}"
        words = TRACE_OF_STEPS if per_step else TRACE
        alt = f"{title}. {traced.gist}".replace("\n", ". ")
        note += pictures.show(PageFigure(traced.path, title, words, alt))
    else:
        note += _words(traced or "")
    return html.subheading(kind) + table + note


def called(name: str) -> str:
    """A sequence by its name; a bare number is said to be one's."""
    return f"sequence {name}" if name.isdigit() else name


def _short(cell: str) -> str:
    return cell if len(cell) <= MOST else cell[: MOST - 1] + "…"


def _probability(p: float) -> str:
    """Three decimals; what is less than certain is never rounded to 1."""
    return f"{p:.3f}" if p >= 1 or p < 0.9995 else "> 0.999"


def _words(result: object) -> Markup:
    """Why there is no result, as a paragraph."""
    return html.paragraphs(result if isinstance(result, str) else "")
