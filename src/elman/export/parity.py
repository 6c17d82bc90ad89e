"""Proof that an exported model answers as elman does: sequences to ask, comparison, report.

Dimensions: n sequences, N steps in all, C channels, K outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.data.dataset import Static
from elman.data.faults import format_count
from elman.data.ragged import Ragged, number_columns, to_objects
from elman.errors import ExportError, SettingsError
from elman.estimators import EncodedSequences, Estimator
from elman.estimators.encoder import Encoder
from elman.estimators.static import StaticEncoder
from elman.estimators.storage import evaluation_mode
from elman.estimators.targets import Target

LIMIT = 1e-5  # the largest accepted difference
LENGTHS = (1, 2, 3, 1, 5, 9, 17, 33, 64, 100, 250, 999, 1000, 4)
_UNKNOWN = "\u2047"  # one character and one word, in hardly any training; else one known word more
_GAPS, _UNKNOWN_SHARE = 0.2, 0.1

Floats = NDArray[np.float64]
Answer = Callable[[EncodedSequences], Floats]


@dataclass(frozen=True)
class Parity:
    """The largest difference between an exported model's answers and elman's.

    Args:
        difference: of probabilities, or of numbers divided by the standard deviation that the
            target had in training; numbers more than one standard deviation from the mean are also
            divided by that distance, because float32 holds seven digits.
        sequences, steps, longest: how many sequences were compared, with how many steps in all,
            and the length of the longest.
        where: the sequence, step and output with the largest difference.
        exported, expected: the two answers there.
        is_probability: whether the answers are probabilities.
        agreed: the longest length up to which all sequences are within the limit, 0 for none.
        own: difference of elman's own answers to that sequence in float32 and in float64; None if
            the exported model is within the limit.
    """

    difference: float
    sequences: int
    steps: int
    longest: int
    where: str
    exported: float
    expected: float
    is_probability: bool
    agreed: int
    own: float | None = None

    def __str__(self) -> str:
        what = "of probabilities" if self.is_probability else "in standard deviations of the target"
        return (
            f"largest difference {what} {self.difference:.1e}, over {self.sequences:,} sequences "
            f"of up to {self.longest:,} steps"
        )


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote, and how it was checked.

    Args:
        format: name of the format in words, such as `ONNX`.
        files: path and size in bytes of each file, the most important one first.
        parity: the comparison with elman; None if there was none, and a note then says why.
        notes: what else the user should know, one sentence each.
    """

    format: str
    files: tuple[tuple[Path, int], ...]
    parity: Parity | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{path}: {self.format}, {size:,} bytes" for path, size in self.files]
        if self.parity is not None:
            lines.append(f"Compared with elman: {self.parity}")
        return "\n".join([*lines, *self.notes])


def sample_sequences(
    estimator: Estimator, lengths: Sequence[int] = LENGTHS, seed: int = 0
) -> EncodedSequences:
    """Return random sequences of the kind that a fitted estimator reads.

    Numbers are spread like those of the training split, one in ten of them ten times as wide, with
    gaps where that split had some. Tokens and categories are known and unknown ones.

    Args:
        lengths: steps of each sequence, (n,).
        seed: determines the sequences.
    """
    encoder, generator = estimator.encoder_, np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = _sample_steps(encoder, int(offsets[-1]), generator)
    steps = Ragged(values, offsets)
    sequences: Any = list(steps)
    if encoder.unit is not None:
        separator = " " if encoder.unit == "words" else ""
        sequences = [separator.join(tokens) for tokens in sequences]
    encoded = EncodedSequences(sequences, steps, encoder.encode_steps(steps), encoder)
    if encoder.static is None:
        return encoded
    return encoded.with_static(_sample_static(encoder.static, len(steps), generator))


def sample_lengths(longest: int | None) -> tuple[int, ...]:
    """Return the lengths of random sequences: LENGTHS, or of those the ones up to `longest`."""
    if longest is None:
        return LENGTHS
    if longest < 1:
        raise SettingsError(f"longest: got {longest}, expected at least 1 step")
    return (*(length for length in LENGTHS if length < longest), longest)


def compare(
    estimator: Estimator,
    encoded: EncodedSequences,
    answer: Answer,
    expected: Floats | None = None,
) -> Parity:
    """Compare an exported model's answers with those of the estimator.

    Args:
        encoded: the sequences to ask; `steps` and `static` hold them as they were before encoding.
        answer: returns the exported model's answers, (n, K), or (N, K) with one for every step:
            probabilities, or numbers in the target's unit.
        expected: those of the estimator, if they are known.
    Raises: ExportError if the answers have another shape.
    """
    expected = estimator.predict_encoded(encoded) if expected is None else expected
    exported = answer(encoded)
    if exported.shape != expected.shape:
        raise ExportError(
            f"the exported model returns answers of shape {exported.shape}, expected "
            f"{expected.shape}"
        )
    target, lengths = estimator.target_, encoded.steps.lengths
    differences = _differences(target, exported, expected)
    row, column = map(int, np.unravel_index(int(differences.argmax()), differences.shape))
    owners = encoded.steps.owners if estimator.per_step else np.arange(len(encoded))
    wrong = lengths[np.unique(owners[(differences > LIMIT).any(1)])]
    agreed = lengths[lengths < wrong.min()] if len(wrong) else lengths
    return Parity(
        float(differences[row, column]),
        len(encoded),
        len(encoded.steps.values),
        int(lengths.max(initial=0)),
        _describe_place(estimator, encoded, row, column),
        float(exported[row, column]),
        float(expected[row, column]),
        target.unit is None,
        int(agreed.max(initial=0)),
        _own_difference(estimator, encoded.take(owners[[row]])) if len(wrong) else None,
    )


def _differences(target: Target, exported: Floats, expected: Floats) -> Floats:
    """Return the difference of each answer, (m, K), as `Parity` defines it."""
    difference: Floats = np.abs(exported - expected)
    if target.unit is not None:
        size = np.abs(expected - target.to_output_units(np.zeros(expected.shape)))
        difference = difference / np.maximum(target.unit, size)
    # Where elman itself answers infinity or NaN, there is nothing to agree with.
    return np.nan_to_num(difference, nan=np.inf)


def _own_difference(estimator: Estimator, encoded: EncodedSequences) -> float:
    """Return how much elman's own answers differ between float32 and float64."""
    model, target, inputs = estimator.model_, estimator.target_, encoded.inputs
    answers = []
    with torch.no_grad(), evaluation_mode(model):
        for network in (model, copy.deepcopy(model).double()):
            tensors = [torch.from_numpy(inputs.values)[None], torch.from_numpy(inputs.lengths)]
            tensors += [] if inputs.static is None else [torch.from_numpy(inputs.static)]
            dtype = network.output.weight.dtype
            tensors = [t.to(dtype) if t.is_floating_point() else t for t in tensors]
            outputs = target.transform_outputs(network(*tensors)).numpy()
            answers.append(target.to_output_units(outputs.reshape(-1, outputs.shape[-1])))
    return float(_differences(target, *answers).max())


def check(parity: Parity, limit: float = LIMIT) -> Parity:
    """Return the parity if it is within the limit.

    Raises: ExportError that names the largest difference.
    """
    if parity.difference <= limit:
        return parity
    reason = ""
    if not np.isfinite(parity.expected):
        reason = "Elman's own answer overflows there"
    elif parity.own is not None and parity.own > limit:
        reason = (
            f"Elman's own answer there changes by {parity.own:.1e} if it computes in float64: over "
            "so many steps the network amplifies the rounding of its numbers, so no other program "
            "can repeat its answers"
        )
    if reason and parity.agreed:
        reason += (
            f". They agree on sequences of up to {format_count(parity.agreed, 'step')}. If the "
            f"network is used on no longer ones, compare it on those alone: longest={parity.agreed}"
            f", in a command --longest {parity.agreed}"
        )
    raise ExportError(
        f"the exported model does not answer as elman does, so nothing was written: {parity.where} "
        f"is {parity.exported:.9g} in the exported model and {parity.expected:.9g} in elman. The "
        f"{parity}; the limit is {limit:g}{'. ' if reason else ''}{reason}"
    )


def _describe_place(estimator: Estimator, encoded: EncodedSequences, row: int, column: int) -> str:
    """Name one output of one answer, given its row and column in the answers."""
    steps, place = encoded.steps, ""
    sequence = row
    if estimator.per_step:
        sequence = int(np.searchsorted(steps.offsets, row, side="right")) - 1
        place = f" at step {row - int(steps.offsets[sequence]) + 1}"
    name = estimator.target_.output_names[column]
    count = format_count(int(steps.lengths[sequence]), "step")
    return f"{name!r}{place} of sequence {sequence}, which has {count},"


def _sample_steps(encoder: Encoder, count: int, generator: np.random.Generator) -> NDArray[Any]:
    """Return `count` steps as `Encoder.read_steps` does: (N, C) or (N,)."""
    if encoder.kind in ("tokens", "text"):
        return _sample_words(list(encoder.vocabulary), count, generator)
    numbers = _sample_numbers(encoder.mean, encoder.scale, encoder.fill, count, generator)
    if encoder.kind == "numbers":
        return numbers
    values = np.empty((count, encoder.channels), dtype=object)
    values[:, number_columns(values, tuple(encoder.categories))] = numbers
    for column, known in encoder.categories.items():
        values[:, column] = _sample_words(list(known), count, generator)
    return values


def _sample_numbers(
    mean: Floats, scale: Floats, fill: Floats, count: int, generator: np.random.Generator
) -> Floats:
    """Return (count, C) numbers around the means, NaN for some of those that may be missing."""
    center = np.where(np.isnan(fill), mean, fill)
    shape = count, len(mean)
    spread = np.where(generator.random(shape) < 0.1, 10.0, 1.0)
    numbers: Floats = center + scale * spread * generator.standard_normal(shape)
    gaps = (generator.random(shape) < _GAPS) & np.isfinite(fill)
    return np.where(gaps, np.nan, numbers)


def _sample_words(
    known: Sequence[str], count: int, generator: np.random.Generator
) -> NDArray[np.object_]:
    """Return (count,) words, one in ten of them unknown."""
    chosen = generator.integers(0, len(known), count)
    unknown = generator.random(count) < _UNKNOWN_SHARE
    pairs = zip(chosen.tolist(), unknown.tolist(), strict=True)
    return to_objects([_UNKNOWN if is_unknown else known[k] for k, is_unknown in pairs])


def _sample_static(encoder: StaticEncoder, count: int, generator: np.random.Generator) -> Static:
    """Return static features of `count` sequences."""
    numbers = _sample_numbers(encoder.mean, encoder.scale, encoder.fill, count, generator)
    columns = [_sample_words(known, count, generator) for known in encoder.categories]
    categories = np.empty((count, len(columns)), dtype=object)
    for k, column in enumerate(columns):
        categories[:, k] = column
    return Static(encoder.names, numbers, categories, (None,) * len(encoder.names))
