"""What a report says of the inside of a network: the doctor, the memory, sequences worth a look.

All is bounded by the work of the training, in multiplications: it takes a small part of that, or as
much as a small network does in a second.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from elman.data import Dataset, Ragged
from elman.errors import ElmanError
from elman.estimators import Estimator
from elman.evaluate import MultilabelReport, RegressionReport, Report
from elman.evaluate.notable import NotableExample, notable_examples
from elman.evaluate.text import one_line
from elman.explain import Diagnosis, Finding, Memory, doctor, memory, trace
from elman.plots.style import save
from elman.runs.parts import Parts
from elman.runs.predictions import sequence_names

T = TypeVar("T")

SHARE = 0.03  # of the training's multiplications, that each part of this may take
LEAST = 2e9  # multiplications that it may take, however short the training
EXAMPLES = 5  # sequences listed of each kind; the first is traced
SEQUENCES = 64  # that the doctor asks for their answers
SAMPLE = (2000, 200_000)  # sequences and steps of a part that are looked at, at most
MEMORY = (20, 40)  # sequences behind the memory's curve, at least and at most
LONGEST = 2000  # steps that a picture of a trace has room for
PROBE = 90 * 32  # rows that pass through a new network while learning rates are tried


@dataclass(frozen=True)
class Example:
    """A sequence of the test part that is worth a look.

    Args:
        notable: why.
        name: as the file calls it.
        steps: its length.
        at: the step that is meant, from 1, with its token; empty for the whole sequence.
        begins: its text, or the beginning of it; empty for numbers.
    """

    notable: NotableExample
    name: str
    steps: int
    at: str
    begins: str


@dataclass(frozen=True)
class Traced:
    """The picture of what the network did with an example, and the gist in words."""

    example: Example
    path: Path
    gist: str


@dataclass(frozen=True)
class Diagnostics:
    """What was found; words in the place of a result say why there is none.

    Args:
        diagnosis: the doctor's, of the training part, with the test part held out.
        places: the sequences that each finding is about, as the file calls them, joined.
        memory: of the test part.
        examples: by kind; see `elman.evaluate.notable`.
        traces: of the first examples, by kind.
        pictures: of the diagnosis, if there is something to see, and of the memory.
    """

    diagnosis: Diagnosis | str
    places: tuple[str, ...]
    memory: Memory | str
    examples: dict[str, tuple[Example, ...]]
    traces: dict[str, Traced | str]
    pictures: dict[str, Path]

    @property
    def paths(self) -> list[Path]:
        """Of all pictures, in the order in which they matter."""
        traces = [t.path for t in self.traces.values() if isinstance(t, Traced)]
        return [*self.pictures.values(), *traces]


def run_diagnostics(
    estimator: Estimator,
    parts: Parts,
    report: Report | MultilabelReport | RegressionReport,
    folder: Path,
) -> Diagnostics:
    """Look at a trained network, and write the pictures into `folder`.

    What cannot be looked at is left out, with the reason: a report is made all the same.

    Args:
        report: of the test part.
    """
    one = sum(p.numel() for p in estimator.model_.recurrent.parameters())  # of a step
    steps = estimator.encoder_.read_steps(parts.training.inputs).lengths.sum()
    trained = 3.0 * len(estimator.history_.epochs) * float(steps) * one
    allowed = max(LEAST, SHARE * trained)
    lengths = estimator.encoder_.read_steps(parts.test.inputs).lengths
    pictures = {}
    seen, held = _some(parts.training, steps), _some(parts.test, lengths.sum())
    probe = PROBE * 3.0 * float(np.median(lengths)) * one <= allowed

    def diagnose() -> Diagnosis:
        return doctor(
            estimator,
            seen.inputs,
            seen.target,
            held_out=(held.inputs, held.target),
            sequences=SEQUENCES,
            probe=probe,
        )

    diagnosis = _tried(diagnose)
    places: tuple[str, ...] = ()
    if isinstance(diagnosis, Diagnosis):
        places = tuple(_named(finding, seen, held) for finding in diagnosis.findings)
        if not diagnosis.healthy:
            pictures["doctor"] = folder / "doctor.png"
            save(diagnosis.plot(), pictures["doctor"])
    found = _remember(estimator, held, float(np.median(lengths)), allowed / one)
    if isinstance(found, Memory):
        pictures["memory"] = folder / "memory.png"
        save(found.plot(), pictures["memory"])
    names = sequence_names(parts.test)
    examples = {
        kind: tuple(_example(each, names, parts.test, lengths) for each in chosen)
        for kind, chosen in notable_examples(report, EXAMPLES).items()
    }
    longest = LONGEST
    if estimator.model_.config.bidirectional and not estimator.per_step:
        longest = min(LONGEST, int((allowed / one) ** 0.5))  # a pass for each beginning
    traces = {
        kind: _trace(estimator, parts.test, chosen, longest, folder / f"trace_{_stem(kind)}.png")
        for kind, chosen in examples.items()
        if chosen
    }
    return Diagnostics(diagnosis, places, found, examples, traces, pictures)


def _tried(make: Callable[[], T]) -> T | str:
    """What is made, or why it cannot be."""
    try:
        return make()
    except ElmanError as error:
        return str(error)


def _some(part: Dataset, steps: int) -> Dataset:
    """A part, or a sample of a large one."""
    count = len(part)
    most = min(SAMPLE[0], max(2, int(SAMPLE[1] * count / max(1, steps))))
    if count <= most:
        return part
    return part.take(np.sort(np.random.default_rng(0).choice(count, most, replace=False)))


def _named(finding: Finding, seen: Dataset, held: Dataset) -> str:
    """The sequences of a finding as the file calls them, a few of them."""
    outside = finding.name == "leakage" or finding.message.startswith("in the held-out part")
    names = sequence_names(held if outside else seen)
    shown = [one_line(names[i], 30) for i in finding.sequences[:8]]
    more = len(finding.sequences) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _remember(estimator: Estimator, part: Dataset, length: float, steps: float) -> Memory | str:
    """The memory, on as many sequences as so many steps of the network allow."""
    sides = 2 if estimator.model_.config.bidirectional else 1
    for lags in (32, 8):
        count = int(steps / (length * min(length, lags * sides)))
        if count >= MEMORY[0]:
            few = min(count, MEMORY[1])
            how: dict[str, Any] = {"sequences": few, "lags": lags}
            return _tried(functools.partial(memory, estimator, part.inputs, **how))
    return "The sequences are so long that it would take a large part of the training's time."


def _example(each: NotableExample, names: list[Any], part: Dataset, lengths: Any) -> Example:
    sequence = part.inputs[each.sequence]
    tokens = not isinstance(part.inputs, Ragged) or part.inputs.values.ndim == 1
    at = ""
    if each.step is not None:
        token = f" ({sequence[each.step]})" if tokens else ""
        at = one_line(f"{each.step + 1}{token}", 30)
    text = sequence if isinstance(sequence, str) else " ".join(map(str, sequence[:60]))
    return Example(
        notable=each,
        name=one_line(names[each.sequence], 40),
        steps=int(lengths[each.sequence]),
        at=at,
        begins=one_line(text, 60) if tokens else "",
    )


def _trace(
    estimator: Estimator, part: Dataset, examples: tuple[Example, ...], longest: int, path: Path
) -> Traced | str:
    """Trace the first example that is not too long."""
    for example in examples:
        if example.steps <= longest:
            sequence = part.inputs[example.notable.sequence]
            found = _tried(functools.partial(trace, estimator, sequence))
            if isinstance(found, str):
                return found
            save(found.plot(), path)
            return Traced(example, path, str(found))
    return f"All of these have more than {longest:,} steps, too many to be drawn here."


def _stem(kind: str) -> str:
    return kind.lower().replace("most ", "").replace("confident and ", "").replace(" ", "_")
