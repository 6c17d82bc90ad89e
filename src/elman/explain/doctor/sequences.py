"""What is wrong with the sequences themselves, before any network reads them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.explain.doctor import limits
from elman.explain.doctor.findings import Finding
from elman.explain.doctor.inputs import DiagnosisInput
from elman.models.model import PADDING, UNKNOWN


def diagnose_sequences(inputs: DiagnosisInput) -> Iterator[Finding]:
    """Look for padding, constants, unknown tokens and channels out of scale."""
    yield from _padding(inputs)
    yield from _constant(inputs)
    yield from _unknown(inputs)
    yield from _scale(inputs)


def diagnose_leakage(inputs: DiagnosisInput, other: DiagnosisInput) -> Iterator[Finding]:
    """Look for sequences that stand in both parts: `other` is the one held out."""
    known = {_content(sequence) for sequence in inputs.examples.inputs}
    twins = [
        int(place)
        for place, sequence in zip(other.places, other.examples.inputs, strict=True)
        if _content(sequence) in known
    ]
    if not twins:
        return
    count = len(other.examples)
    share = len(twins) / count
    own = len(inputs.examples) - len(known)
    by_chance = own / len(inputs.examples)
    usual = share <= 2 * by_chance
    message = (
        f"{len(twins)} of {count} held-out sequences stand in the training part as well; what is "
        "measured on them is not what new sequences will get"
    )
    if usual:
        message += f". Within the training part {own} are repeated too: equal ones are common here"
    yield Finding(
        "leakage",
        "warning" if share > limits.LEAK and not usual else "note",
        message,
        share,
        limits.LEAK,
        "Keep equal sequences on one side of the split: group 'content'.",
        "group",
        sequences=tuple(twins),
    )


def _content(sequence: NDArray[np.generic]) -> bytes:
    return str(sequence.shape).encode() + np.ascontiguousarray(sequence).tobytes()


def _padding(inputs: DiagnosisInput) -> Iterator[Finding]:
    if inputs.raw is not None:
        steps = inputs.raw
        blank = ((steps.values == 0) | np.isnan(steps.values)).all(-1)
    elif inputs.model.config.vocabulary_size:
        steps = inputs.examples.inputs
        blank = steps.values == PADDING
    else:
        return  # categories alone have no zero
    filled = np.bincount(steps.owners[~blank], minlength=len(steps))
    found = _beyond_chance(filled == 0, blank, steps.owners, steps.lengths)
    found &= steps.lengths > 1  # of one step zero is a value like any other
    if found.any():
        places = inputs.places[found]
        yield Finding(
            "padding_sequences",
            "warning",
            f"{len(places)} of {len(steps)} sequences are padding or gaps from end to end",
            len(places),
            0,
            "Leave them out: they teach a label of nothing.",
            sequences=tuple(places.tolist()),
        )


def _constant(inputs: DiagnosisInput) -> Iterator[Finding]:
    if inputs.raw is None:
        return
    steps = inputs.raw
    values = np.nan_to_num(steps.values)
    starts = steps.offsets[:-1]
    flat = (np.maximum.reduceat(values, starts) == np.minimum.reduceat(values, starts)).all(-1)
    filled = (np.maximum.reduceat(np.abs(values), starts) > 0).any(-1)  # else it is padding
    same = (values[1:] == values[:-1]).all(-1)  # (N - 1,) as the step before
    owners = steps.owners
    within = owners[1:] == owners[:-1]
    found = _beyond_chance(flat & filled, same[within], owners[1:][within], steps.lengths - 1)
    if found.any():
        places = inputs.places[found]
        yield Finding(
            "constant_sequences",
            "warning",
            f"{len(places)} of {len(steps)} sequences have the same values at every step",
            len(places),
            0,
            "See whether they were measured at all; leave them out if not.",
            sequences=tuple(places.tolist()),
        )
    still = np.flatnonzero(np.ptp(values, axis=0) == 0)
    if len(steps) > 1 and len(still) > 0 and values.shape[1] > 1:
        yield Finding(
            "constant_channels",
            "note",
            f"{len(still)} of {values.shape[1]} channels never change, and carry nothing",
            len(still),
            0,
            "Leave them out of the values.",
            "values",
            units=tuple(still.tolist()),
        )


def _beyond_chance(
    whole: NDArray[np.bool_],
    events: NDArray[np.bool_],
    owners: NDArray[np.int64],
    tries: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which sequences are hit in all their steps, where that is no matter of chance.

    Args:
        whole: whether every step of a sequence is hit, (n,).
        events: hit or not, of all sequences, (m,), with their owners.
        tries: steps of each sequence that could be hit, (n,).
    """
    others = ~whole[owners]
    share = float(events[others].mean()) if others.any() else 0.0
    expected = len(whole) * share ** np.maximum(tries, 0)  # of so many sequences as long as this
    found: NDArray[np.bool_] = whole & (tries > 0) & (expected < limits.BY_CHANCE)
    return found


def _unknown(inputs: DiagnosisInput) -> Iterator[Finding]:
    if not inputs.model.config.vocabulary_size or inputs.record is None:
        return
    steps = inputs.examples.inputs
    share = float((steps.values == UNKNOWN).mean())
    if share > limits.UNKNOWN_SHARE:
        yield Finding(
            "unknown_tokens",
            "warning",
            f"{share:.0%} of the tokens were not seen in training and are read as unknown",
            share,
            limits.UNKNOWN_SHARE,
            "Train on text of this kind, or cut it into smaller pieces.",
            "tokens",
        )


def _scale(inputs: DiagnosisInput) -> Iterator[Finding]:
    count = inputs.model.config.input_size
    if not count:
        return
    values = inputs.examples.inputs.values[:, :count].astype(np.float64)
    level = np.sqrt(np.mean(values**2, 0))  # (C,)
    moves = values.std(0) > 0
    moving = np.where(moves, level, np.nan)
    if not moves.any():
        return
    strongest = float(np.nanmax(moving))
    advice = (
        "Let the estimator standardise: scale=True."
        if inputs.scaled is False
        else "These sequences are not like those of the training: their channels were standardised "
        "by the training part."
        if inputs.scaled
        else "Standardise every channel by mean and deviation of the training part."
    )
    loud = np.flatnonzero(moves & (level > limits.LOUD))
    if len(loud):
        yield Finding(
            "unscaled_inputs",
            "warning",
            f"{len(loud)} of {count} channels reach the network at a level of up to "
            f"{strongest:.3g} (root mean square), which drives its gates to their ends",
            strongest,
            limits.LOUD,
            advice,
            "scale",
            units=tuple(loud.tolist()),
        )
    faint = np.flatnonzero(moves & (level < limits.FAINT))
    if len(faint):
        lowest = float(np.nanmin(moving))
        yield Finding(
            "unscaled_inputs",
            "warning",
            f"{len(faint)} of {count} channels reach the network at a level of {lowest:.3g} (root "
            "mean square), too faint to be heard",
            lowest,
            limits.FAINT,
            advice,
            "scale",
            units=tuple(faint.tolist()),
        )


def truncate(steps: Ragged, most: int) -> Ragged:
    """The first `most` steps of each sequence."""
    inside = np.arange(len(steps.values)) - np.repeat(steps.offsets[:-1], steps.lengths) < most
    lengths = np.minimum(steps.lengths, most)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ragged(steps.values[inside], offsets)
