"""What was found out about one sequence: in a screenful, as pictures, and as a page."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from elman import __version__
from elman.evaluate.text import one_line
from elman.explain import Attribution, Bptt, Diagnosis, Memory, Trace
from elman.plots.style import save
from elman.runs import diagnostics_html
from elman.runs.report import html
from elman.runs.report.html import PageFigure, PageFigures

WORDS = {
    "trace": diagnostics_html.TRACE,
    "bptt": "From above: what was read, the gradient of the loss with respect to each state, its "
    "norm, the Jacobian of each step where that is quick to find, and what each step contributes "
    "to the gradient of each weight.",
    "distance": "The norm of the gradient against how many steps it went back from where it "
    "entered. A line that falls steeply says that what stands far back is hardly learnt from.",
    "attribution": "How much each step did for the number that is explained: bars up raised it, "
    "bars down lowered it.",
    "memory": diagnostics_html.MEMORY,
    "doctor": diagnostics_html.DOCTOR,
}


@dataclass(frozen=True)
class Explanation:
    """What was found out; words in the place of a result say why there is none.

    Args:
        name: of the sequence, as the file calls it.
        number: from 0.
        of: the data.
        steps: its length.
        true: its label in words; empty where it is not known.
        predicted: in words.
        against: whose loss the gradient comes from, in words.
    """

    name: str
    number: int
    of: str
    steps: int
    true: str
    predicted: str
    against: str
    trace: Trace
    bptt: Bptt | str
    attribution: Attribution | str
    memory: Memory | str
    diagnosis: Diagnosis
    places: tuple[str, ...]

    @property
    def lead(self) -> str:
        """The sequence and its answer in a sentence or two."""
        known = f"True: {self.true}. " if self.true else "The true answer is not known. "
        return f"{known}Predicted: {self.predicted}."

    def __str__(self) -> str:
        lines = [f"Sequence {self.name} of {self.of} (number {self.number} from 0)", self.lead, ""]
        lines += [f"Trace: {self.trace}"]
        back = self.bptt if isinstance(self.bptt, str) else f"{self.against}\n{_lines(self.bptt)}"
        lines += ["", f"Gradient: {back}", "", str(self.attribution), ""]
        lines += [str(self.memory), "", self.diagnosis.summary]
        lines += [f"  {f.severity}: {f.name}: {f.message}" for f in self.diagnosis.findings[:3]]
        more = len(self.diagnosis.findings) - 3
        lines += [f"  and {more} more, on the page"] * (more > 0)
        return "\n".join(one_line(line, 200) for text in lines for line in text.split("\n"))


def draw(found: Explanation, folder: Path) -> dict[str, Path]:
    """Write every picture there is, in the order of the page."""
    drawers: dict[str, Any] = {"trace": found.trace.plot}
    for each in found.trace.layers:
        name = f"gates/layer_{each.layer}_{each.direction}"
        drawers[name] = functools.partial(found.trace.plot_gates, each.layer, each.direction)
    if isinstance(found.bptt, Bptt):
        drawers |= {"bptt": found.bptt.plot, "distance": found.bptt.plot_by_lag}
    if isinstance(found.attribution, Attribution):
        drawers["attribution"] = found.attribution.plot
    if isinstance(found.memory, Memory):
        drawers["memory"] = found.memory.plot
    drawers["doctor"] = found.diagnosis.plot
    (folder / "gates").mkdir()
    paths = {}
    for name, draw in drawers.items():
        paths[name] = folder / f"{name}.png"
        save(draw(), paths[name])
    return paths


def render(
    found: Explanation, paths: Mapping[str, Path], notes: tuple[str, ...], model: str
) -> str:
    """Return the page of one sequence as HTML."""
    # Gates come last where there is too much for one page.
    ordered = sorted(paths.values(), key=lambda path: path.parent.name == "gates")
    pictures = PageFigures(ordered)

    def shown(name: str, title: str, gist: object) -> Markup:
        if name not in paths:
            return html.paragraphs(_lines(gist))
        alt = f"{title}. {_lines(gist)}".replace("\n", " ")
        return html.paragraphs(_lines(gist)) + pictures.show(
            PageFigure(paths[name], title, WORDS[name], alt)
        )

    words = WORDS["trace"] if not found.trace.per_step else diagnostics_html.TRACE_OF_STEPS
    title = "What the network did at every step"
    alt = f"{title}. {_lines(found.trace)}".replace("\n", " ")
    first = PageFigure(paths["trace"], title, words, alt)
    gates = [
        PageFigure(
            paths[f"gates/layer_{each.layer}_{each.direction}"],
            f"Layer {each.layer}, {each.direction}",
            "Every gate and state of this layer and direction, unit by unit.",
        )
        for each in found.trace.layers
    ]
    back = found.bptt
    gradient = html.paragraphs(_lines(found.against)) + shown("bptt", "The way back", back)
    if isinstance(back, Bptt):
        gradient += pictures.show(
            PageFigure(
                paths["distance"], "How far the gradient gets", WORDS["distance"], back.verdict
            )
        )
    facts = {
        "Network": found.trace.network,
        "Model": model,
        "Sequence": f"{found.name} of {found.of}, number {found.number} from 0",
        "Steps": f"{found.steps:,}",
    }
    diagnosis = PageFigure(paths["doctor"], "What was measured", WORDS["doctor"])
    sections = {
        "What happened": html.paragraphs(_lines(found.trace)) + pictures.show(first),
        "Where the gradient comes from": gradient,
        "Which steps decided": shown("attribution", "What decided", found.attribution),
        "How far back it remembers": shown("memory", "Memory", found.memory),
        "What the doctor says": diagnostics_html.doctor(found.diagnosis, found.places)
        + pictures.show(diagnosis),
        "Every gate and state": pictures.show(*gates),
        "What was asked": html.facts(facts),
    }
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return html.render(
        "page.html.jinja",
        kind="elman explanation of one sequence",
        created=now,
        title=f"{diagnostics_html.called(found.name)} of {Path(found.of).name}",
        lead=found.lead,
        notes=notes,
        sections=sections,
        version=__version__,
    )


def _lines(result: object) -> str:
    """The gist of a result: every line begins with a capital letter and ends with a full stop."""
    told = [line.strip() for line in str(result).splitlines() if line.strip()]
    if isinstance(result, Bptt):
        told = told[1:]  # the network, which the trace has named
    return "\n".join(
        f"{line[0].upper()}{line[1:]}" + ("" if line[-1] in ".:" else ".") for line in told
    )
