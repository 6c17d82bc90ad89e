"""Diagnostics of a trained network for its report: diagnosis, memory, and traced examples.

Its cost is bounded by a small fraction of the training's, counted in multiplications. After a short
training the bound is what a small network computes in about a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from elman.data import Dataset, Ragged
from elman.data.splits import excerpts
from elman.data.unlabelled import leave_out_unlabelled
from elman.errors import ElmanError
from elman.estimators import EncodedSequences, Estimator
from elman.evaluate import NotableExample, Report
from elman.evaluate.comparison import Comparison
from elman.evaluate.text import one_line
from elman.explain import Diagnosis, Finding, Memory, doctor, memory, trace
from elman.plots.style import save

T = TypeVar("T")
Part = tuple[Dataset, EncodedSequences]  # a split, and its sequences as the network reads them

# Multiplications allowed for each of memory, learning rates and traces: SHARE of the training's, so
# that diagnostics add little to a long training, but at least LEAST, so that a short training is
# diagnosed too.
SHARE = 0.03
LEAST = 2e9
EXAMPLES = 5  # sequences listed per kind of notable example; the first is traced
SEQUENCES = 2000  # sequences that the doctor predicts
SAMPLE = (2000, 200_000)  # maximum sequences and steps of a split that the doctor reads
# Sequences for the memory curve; its interval narrows with the square root of their number.
NO_TRAINING_SPLIT = (
    "Left out: the diagnosis compares the training split with held-out data, and an evaluation has "
    "no training split. The report of the run has it, and elman explain makes one of other data."
)
MEMORY = (20, 40)
LONGEST = 2000  # maximum steps in the figure of a trace
PROBE = 90 * 32  # rows that the network reads when the doctor tries learning rates


@dataclass(frozen=True)
class ExampleRow:
    """A notable sequence of the test split: one row of a table.

    Args:
        notable: why it is notable.
        name: name of the sequence in the file.
        steps: length of the sequence.
        step: step of the prediction, from 1, with its token; empty for the whole sequence.
        text: the sequence's text or the beginning of it; empty for numbers.
    """

    notable: NotableExample
    name: str
    steps: int
    step: str
    text: str


@dataclass(frozen=True)
class TracedExample:
    """The figure of a traced example, and its summary in words."""

    example: ExampleRow
    path: Path
    summary: str


@dataclass(frozen=True)
class Diagnostics:
    """Results of the diagnostics; a string in place of a result is the reason why it is missing.

    Args:
        diagnosis: the doctor's diagnosis, with the test split as held-out data.
        sequences: for each finding, the joined names of its sequences.
        memory: memory measured on the test split.
        examples: examples by kind; see `elman.evaluate.Report.notable_examples`.
        traces: trace of the first suitable example, by kind.
        figures: figures of the diagnosis, if it has findings, and of the memory.
    """

    diagnosis: Diagnosis | str
    sequences: tuple[str, ...]
    memory: Memory | str
    examples: dict[str, tuple[ExampleRow, ...]]
    traces: dict[str, TracedExample | str]
    figures: dict[str, Path]

    @property
    def paths(self) -> list[Path]:
        """Paths of all figures, the most important first."""
        traces = [t.path for t in self.traces.values() if isinstance(t, TracedExample)]
        return [*self.figures.values(), *traces]


def run_diagnostics(
    estimator: Estimator,
    training_part: Part | None,
    test_part: Part,
    report: Report,
    folder: Path,
    comparison: Comparison | None = None,
) -> Diagnostics:
    """Diagnose a trained network, and write the figures into `folder`.

    A result that cannot be computed is replaced by the reason, so that a report is always written.

    Args:
        training_part: the training split; None if it is not at hand, as in an evaluation, which has
            no diagnosis then.
        test_part: the evaluated sequences.
        report: report on the evaluated sequences.
        comparison: with the best baseline, if the report is of a part of what was evaluated.
    """
    multiplications = sum(p.numel() for p in estimator.model_.recurrent.parameters())  # of a step
    training_steps = 0 if training_part is None else int(training_part[1].inputs.lengths.sum())
    passes = 3.0 * len(estimator.history_.epochs)  # a step back costs two forward
    allowed_steps = max(LEAST / multiplications, SHARE * passes * training_steps)
    split, sequences = test_part
    lengths = sequences.inputs.lengths
    median = float(np.median(lengths))
    test, test_sequences = _sample(estimator, split, sequences)
    if len(test_sequences) and median > LONGEST and estimator.per_step:
        median = float(np.median(test_sequences.inputs.lengths))
    figures: dict[str, Path] = {}
    diagnosis: Diagnosis | str = NO_TRAINING_SPLIT
    names: tuple[str, ...] = ()
    if training_part is not None:
        training, training_sequences = _sample(estimator, *training_part)
        diagnosis = _reason_or_result(
            lambda: doctor(
                estimator,
                training_sequences,
                training.target,
                held_out=(test_sequences, test.target),
                sequences=SEQUENCES,
                comparison=comparison or report.comparison,
                probe=PROBE * 3.0 * median <= allowed_steps,
            )
        )
        if isinstance(diagnosis, Diagnosis):
            names = tuple(
                join_sequence_names(finding, test.names if finding.held_out else training.names)
                for finding in diagnosis.findings
            )
            if not diagnosis.healthy:
                figures["doctor"] = folder / "doctor.png"
                save(diagnosis.plot(), figures["doctor"])
    remembered = _measure_memory(estimator, test_sequences, median, allowed_steps)
    if isinstance(remembered, Memory) and not remembered.why_no_figure:
        figures["memory"] = folder / "memory.png"
        save(remembered.plot(), figures["memory"])
    examples = {
        kind: tuple(_example_row(each, split.names, split, lengths) for each in chosen)
        for kind, chosen in report.notable_examples(EXAMPLES).items()
    }
    longest = LONGEST
    if estimator.model_.config.bidirectional and not estimator.per_step:
        # The prediction after a step needs a separate pass over the sequence up to that step.
        longest = min(LONGEST, int(allowed_steps**0.5))
    traces: dict[str, TracedExample | str] = {}
    for kind, rows in examples.items():
        if rows:
            path = folder / f"trace_{_file_stem(kind)}.png"
            traces[kind] = _trace(estimator, split, rows, longest, path, [*traces.values()])
    return Diagnostics(diagnosis, names, remembered, examples, traces, figures)


def join_sequence_names(finding: Finding, names: list[Any]) -> str:
    """Return the first few names, in the file, of a finding's sequences."""
    listed = [one_line(names[i], 30) for i in finding.sequences[:8]]
    more = len(finding.sequences) - len(listed)
    return ", ".join(listed) + (f" and {more} more" if more else "")


def is_divisible(estimator: Estimator, dataset: Dataset, steps: int) -> bool:
    """Whether sequences longer than `steps` may be divided: each step has an output of its own."""
    divisible = estimator.per_step and isinstance(dataset.inputs, Ragged)
    return divisible and int(dataset.lengths.max(initial=0)) > steps


def _reason_or_result(make: Callable[[], T]) -> T | str:
    """Return the result, or the reason why it cannot be computed."""
    try:
        return make()
    except ElmanError as error:
        return str(error)


def _sample(
    estimator: Estimator, split: Dataset, sequences: EncodedSequences
) -> tuple[Dataset, EncodedSequences]:
    """Return a split and its sequences, or a sample if the split is large.

    Of long recordings with a target at every step, it is a sample of excerpts.
    """
    if is_divisible(estimator, split, LONGEST):
        pieces, _ = excerpts(split, LONGEST)
        most = min(len(pieces), SAMPLE[0], max(2, SAMPLE[1] // LONGEST))
        index = np.sort(np.random.default_rng(0).choice(len(pieces), most, replace=False))
        part, _ = leave_out_unlabelled(pieces.take(index))
        return part, estimator.encode(part)
    count, steps = len(split), int(sequences.inputs.lengths.sum())
    most = min(SAMPLE[0], max(2, int(SAMPLE[1] * count / max(1, steps))))
    if count <= most:
        return split, sequences
    index = np.sort(np.random.default_rng(0).choice(count, most, replace=False))
    return split.take(index), sequences.take(index)


def _measure_memory(
    estimator: Estimator, sequences: EncodedSequences, length: float, allowed_steps: float
) -> Memory | str:
    """Measure the memory with as many sequences or lags as the allowed steps permit."""
    sides = 2 if estimator.model_.config.bidirectional else 1
    for lags in (32, 8):
        count = int(allowed_steps / (length * min(length, lags * sides)))
        if count >= MEMORY[0]:
            options: dict[str, Any] = {"sequences": min(count, MEMORY[1]), "lags": lags}
            return _reason_or_result(partial(memory, estimator, sequences, **options))
    return (
        "Left out: the sequences are so long that it would take a large share of the training's "
        "time. `elman explain` measures it."
    )


def _example_row(
    notable: NotableExample, names: list[Any], split: Dataset, lengths: NDArray[np.int64]
) -> ExampleRow:
    sequence = split.inputs[notable.sequence]
    has_tokens = not isinstance(split.inputs, Ragged) or split.inputs.values.ndim == 1
    step = ""
    if notable.step is not None:
        token = f" ({sequence[notable.step]})" if has_tokens else ""
        step = one_line(f"{notable.step + 1}{token}", 30)
    text = sequence if isinstance(sequence, str) else " ".join(map(str, sequence[:60]))
    return ExampleRow(
        notable,
        name=one_line(names[notable.sequence], 40),
        steps=int(lengths[notable.sequence]),
        step=step,
        text=one_line(text, 60) if has_tokens else "",
    )


def _trace(
    estimator: Estimator,
    split: Dataset,
    rows: tuple[ExampleRow, ...],
    longest: int,
    path: Path,
    earlier: list[TracedExample | str],
) -> TracedExample | str:
    """Trace the first example that is not too long and not shown in an earlier figure."""
    divisible = is_divisible(estimator, split, longest)
    short = [row for row in rows if row.steps <= longest or divisible]
    if not short:
        return f"All of these have more than {longest:,} steps, too many to draw here."
    # With few test sequences, the same one is often both the most confident error and the least
    # certain prediction.
    drawn = {t.example.notable.sequence for t in earlier if isinstance(t, TracedExample)}
    row = next((row for row in short if row.notable.sequence not in drawn), None)
    if row is None:
        return "The figures above show these sequences already."
    number = row.notable.sequence
    sequence = split.take(np.array([number]))
    if divisible:
        pieces, _ = excerpts(sequence, longest)
        sequence = pieces.take(np.array([(row.notable.step or 0) // longest]))
    label = None if sequence.target is None else sequence.target[0]
    traced = _reason_or_result(lambda: trace(estimator, sequence, label))
    if isinstance(traced, str):
        return traced
    save(traced.plot(), path)
    return TracedExample(row, path, str(traced))


def _file_stem(kind: str) -> str:
    return kind.lower().replace("most ", "").replace("confident and ", "").replace(" ", "_")
