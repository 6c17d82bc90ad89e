"""The explanation of one sequence: its summary for the terminal, its figures and its page."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from elman import __version__
from elman.evaluate.text import one_line
from elman.explain import Attribution, Bptt, Diagnosis, Influence, Memory, Trace
from elman.files import make_folder
from elman.plots.style import save
from elman.runs import html
from elman.runs.html import PageFigure, PageFigures
from elman.runs.report_page import (
    DIAGNOSIS,
    DIAGNOSIS_CAPTION,
    MEMORY,
    MEMORY_CAPTION,
    PREDICTION_CAPTIONS,
    TRACE_CAPTION,
    diagnosis_section,
    name_in_text,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# File name -> title and caption of a figure on the page.
FIGURES = {
    "trace": ("What the network did at every step", TRACE_CAPTION),
    "bptt": (
        "Gradient at every step",
        "From the top: the input, the gradient of the loss with respect to each state, its norm, "
        "the Jacobian of each step where it is cheap to compute, and what each step contributes to "
        "the gradient of each weight: its size, its sign, and its share in the gradient of all "
        "weights together. A step with a negative share works against the sum of the others.",
    ),
    "distance": (
        "Gradient by time lag",
        "The norm of the gradient against the number of steps that it has gone back from where it "
        "entered. A line that falls steeply means that the network hardly learns from early steps.",
    ),
    "attribution": (
        "Attribution to steps",
        "How much each step contributed to the number that is explained: bars above zero raised "
        "it, bars below lowered it.",
    ),
    "memory": (MEMORY, MEMORY_CAPTION),
    "influence": (
        "Influence of each input",
        "How much the output changes if one input of this sequence is replaced: of the output at "
        "every step, or of the one output.",
    ),
    "doctor": ("What was measured", DIAGNOSIS_CAPTION),
}


@dataclass(frozen=True)
class Explanation:
    """The explanation of a sequence; a string in place of a result is the reason why it is missing.

    Args:
        name: name of the sequence in the file.
        number: position of the sequence, from 0.
        source: name of the data.
        steps: length of the sequence.
        true: true label in words; empty if it is unknown.
        predicted: prediction in words.
        chosen: why this sequence was chosen; empty if the user named it.
        loss_of: the label whose loss is differentiated, in words.
        finding_sequences: for each finding, the joined names of its sequences.
    """

    name: str
    number: int
    source: str
    steps: int
    true: str
    predicted: str
    chosen: str
    loss_of: str
    trace: Trace
    bptt: Bptt | str
    attribution: Attribution | str
    memory: Memory | str
    influence: Influence | str
    diagnosis: Diagnosis | str
    finding_sequences: tuple[str, ...]

    @property
    def lead(self) -> str:
        """Return the true and the predicted label in one or two sentences."""
        true = f"True: {self.true}. " if self.true else "The true label is not known. "
        return f"{true}Predicted: {self.predicted}."

    def __str__(self) -> str:
        back = self.bptt
        gradient = back if isinstance(back, str) else f"{self.loss_of}\n{_sentences(back)}"
        diagnosis = self.diagnosis
        findings = [] if isinstance(diagnosis, str) else [f"  {f}" for f in diagnosis.causes]
        texts = [
            f"Sequence {self.name} of {self.source} (number {self.number}, counted from 0)",
            *[self.chosen[:1].upper() + self.chosen[1:] + "."] * bool(self.chosen),
            self.lead,
            f"\nTrace: {self.trace}",
            f"\nGradient: {gradient}",
            f"\n{self.attribution}",
            f"\n{self.memory}",
            *[str(self.influence)] * bool(self.influence),
            f"\n{diagnosis if isinstance(diagnosis, str) else diagnosis.summary}",
            *findings,
        ]
        # Cut only where a line is no longer readable, such as one with a token of 10,000 letters.
        return "\n".join(one_line(line, 1000) for text in texts for line in text.split("\n"))


def save_figures(explanation: Explanation, folder: Path) -> dict[str, Path]:
    """Write every available figure; return the paths by name, in the order of the page."""
    trace = explanation.trace
    plots: dict[str, Callable[[], Figure]] = {"trace": trace.plot}
    for layer in trace.layers:
        name = f"gates/layer_{layer.layer}_{layer.direction}"
        plots[name] = partial(trace.plot_gates, layer.layer, layer.direction)
    # A figure in which there is nothing to see is left out; the summary says why.
    if isinstance(explanation.bptt, Bptt) and explanation.bptt.has_gradient:
        plots["bptt"] = explanation.bptt.plot
        if not explanation.bptt.why_no_lags:
            plots["distance"] = explanation.bptt.plot_by_lag
    if isinstance(explanation.attribution, Attribution) and explanation.attribution.has_values:
        plots["attribution"] = explanation.attribution.plot
    if isinstance(explanation.memory, Memory) and not explanation.memory.why_no_figure:
        plots["memory"] = explanation.memory.plot
    if isinstance(explanation.influence, Influence) and explanation.influence.longest:
        plots["influence"] = explanation.influence.plot
    if isinstance(explanation.diagnosis, Diagnosis):
        plots["doctor"] = explanation.diagnosis.plot
    make_folder(folder / "gates")
    paths = {name: folder / f"{name}.png" for name in plots}
    for name, plot in plots.items():
        save(plot(), paths[name])
    return paths


def render_page(
    explanation: Explanation, paths: Mapping[str, Path], notes: tuple[str, ...], model: str
) -> str:
    """Return the page of one sequence as HTML.

    Args:
        paths: paths of the figures, by name.
        notes: caveats for the reader.
        model: folder of the explained model.
    """
    trace = explanation.trace
    # Gates come last because the last figures are omitted if a page has too many.
    figures = PageFigures(sorted(paths.values(), key=lambda path: path.parent.name == "gates"))

    def draw(name: str, summary: object) -> Markup:
        """A figure, if there is one; its alternative text is the summary of the result."""
        if name not in paths:
            return Markup()
        title, caption = FIGURES[name]
        alt = f"{title}. {_sentences(summary)}".replace("\n", " ")
        caption = caption.format(PREDICTION_CAPTIONS[trace.per_step])
        return figures.show(PageFigure(paths[name], title, caption, alt))

    def describe(result: object) -> Markup:
        return html.paragraphs(_sentences(result))

    back = explanation.bptt
    gates = [
        PageFigure(
            paths[f"gates/layer_{layer.layer}_{layer.direction}"],
            f"Layer {layer.layer}, {layer.direction}",
            "Every gate and state of this layer and direction, unit by unit.",
        )
        for layer in trace.layers
    ]
    diagnosis = explanation.diagnosis
    sections = {
        "What the network did": describe(trace) + draw("trace", trace),
        "Where the gradient comes from": describe(
            explanation.loss_of and f"the gradient comes {explanation.loss_of}"
        )
        + describe(back)
        + draw("bptt", back)
        + draw("distance", back.verdict if isinstance(back, Bptt) else ""),
        "Which steps decided": describe(explanation.attribution)
        + draw("attribution", explanation.attribution),
        MEMORY: describe(explanation.memory)
        + draw("memory", explanation.memory)
        + describe(explanation.influence)
        + draw("influence", explanation.influence),
        DIAGNOSIS: html.paragraphs(diagnosis)
        if isinstance(diagnosis, str)
        else diagnosis_section(diagnosis, explanation.finding_sequences)
        + draw("doctor", diagnosis.summary),
        "Every gate and state": figures.show(*gates),
        "What was explained": html.facts(
            {
                "Network": trace.network,
                "Model": model,
                "Sequence": f"{explanation.name} of {explanation.source}, "
                f"number {explanation.number} (counted from 0)"
                + f"; {explanation.chosen}"
                * bool(explanation.chosen),
                "Steps": f"{explanation.steps:,}",
            }
        ),
    }
    return html.render(
        "page.html.jinja",
        kind="elman explanation of one sequence",
        created=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        title=f"{name_in_text(explanation.name)} of {Path(explanation.source).name}",
        lead=explanation.lead,
        notes=notes,
        sections=sections,
        version=__version__,
    )


def _sentences(result: object) -> str:
    """Return the summary of a result as sentences, one per line."""
    lines = [line.strip() for line in str(result).splitlines() if line.strip()]
    if isinstance(result, Bptt):
        lines = lines[1:]  # skips the network's description, which the trace already shows
    return "\n".join(
        f"{line[0].upper()}{line[1:]}" + ("" if line[-1] in ".:" else ".") for line in lines
    )
