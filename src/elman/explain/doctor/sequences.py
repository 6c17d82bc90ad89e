"""What is wrong with the sequences themselves, before any network reads them.

Dimensions: n sequences, N steps of all of them, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from elman.explain.doctor import limits
from elman.explain.doctor.findings import Finding
from elman.explain.doctor.inputs import DiagnosisInput
from elman.models.model import PADDING, UNKNOWN


def diagnose_sequences(inputs: DiagnosisInput) -> Iterator[Finding]:
    """Look for padding, constants, unknown tokens and channels out of scale."""
    yield from _diagnose_padding(inputs)
    yield from _diagnose_constants(inputs)
    yield from _diagnose_unknown_tokens(inputs)
    yield from _diagnose_scale(inputs)


def diagnose_leakage(inputs: DiagnosisInput, held_out: DiagnosisInput) -> Iterator[Finding]:
    """Look for held-out sequences that the training part contains."""
    contents = {_content(sequence) for sequence in inputs.examples.inputs}
    leaked = [
        int(place)
        for place, sequence in zip(held_out.places, held_out.examples.inputs, strict=True)
        if _content(sequence) in contents
    ]
    if not leaked:
        return
    count = len(held_out.examples)
    share = len(leaked) / count
    repeated = len(inputs.examples) - len(contents)
    # Short sequences of few values repeat without any fault of the split: three bits make only
    # eight sequences. How often they repeat within the training part tells.
    usual = share <= 2 * repeated / len(inputs.examples)
    message = (
        f"{len(leaked)} of {count} held-out sequences are also in the training part, so metrics "
        "measured on them do not hold for new sequences"
    )
    if usual:
        message += (
            f". Equal sequences are common in these data: {repeated} are repeated within the "
            "training part too"
        )
    yield Finding(
        "leakage",
        "warning" if share > limits.LEAK and not usual else "note",
        message,
        share,
        limits.LEAK,
        "Keep equal sequences on one side of the split: group 'content'.",
        "group",
        sequences=tuple(leaked),
        held_out=True,
    )


def _content(sequence: NDArray[np.generic]) -> bytes:
    return str(sequence.shape).encode() + np.ascontiguousarray(sequence).tobytes()


def _diagnose_padding(inputs: DiagnosisInput) -> Iterator[Finding]:
    if inputs.raw is not None:
        steps = inputs.raw
        blank = ((steps.values == 0) | np.isnan(steps.values)).all(-1)
    elif inputs.model.config.vocabulary_size:
        steps = inputs.examples.inputs
        blank = steps.values == PADDING
    else:
        return  # categories alone have no zero
    content_steps = np.bincount(steps.owners[~blank], minlength=len(steps))
    padding = _beyond_chance(content_steps == 0, blank, steps.owners, steps.lengths)
    padding &= steps.lengths > 1  # in a single step, zero is a value like any other
    if padding.any():
        places = inputs.places[padding]
        yield Finding(
            "padding_sequences",
            "warning",
            f"{len(places)} of {len(steps)} sequences hold nothing but padding or gaps",
            len(places),
            0,
            "Leave them out: the network learns their labels from nothing.",
            sequences=tuple(places.tolist()),
        )


def _diagnose_constants(inputs: DiagnosisInput) -> Iterator[Finding]:
    if inputs.raw is None:
        return
    steps = inputs.raw
    values, starts, owners = np.nan_to_num(steps.values), steps.offsets[:-1], steps.owners
    flat = (np.maximum.reduceat(values, starts) == np.minimum.reduceat(values, starts)).all(-1)
    nonzero = (np.maximum.reduceat(np.abs(values), starts) > 0).any(-1)  # else it is padding
    repeats = (values[1:] == values[:-1]).all(-1)  # (N - 1,) the step before
    within = owners[1:] == owners[:-1]
    constant = _beyond_chance(
        flat & nonzero, repeats[within], owners[1:][within], steps.lengths - 1
    )
    if constant.any():
        places = inputs.places[constant]
        yield Finding(
            "constant_sequences",
            "warning",
            f"{len(places)} of {len(steps)} sequences have the same values at every step",
            len(places),
            0,
            "Check whether they were measured at all; leave them out if not.",
            sequences=tuple(places.tolist()),
        )
    still = np.flatnonzero(np.ptp(values, axis=0) == 0)
    if len(steps) > 1 and len(still) > 0 and values.shape[1] > 1:
        yield Finding(
            "constant_channels",
            "note",
            f"{len(still)} of {values.shape[1]} channels never change and carry no information",
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
    """Which sequences are affected in every step, where chance does not explain it.

    Args:
        whole: whether every step of a sequence is affected, (n,).
        events: affected or not, steps of all sequences, (m,), with their owners.
        tries: steps of each sequence that could be affected, (n,).
    """
    others = ~whole[owners]
    share = float(events[others].mean()) if others.any() else 0.0
    expected = len(whole) * share ** np.maximum(tries, 0)  # among n sequences of this length
    affected: NDArray[np.bool_] = whole & (tries > 0) & (expected < limits.BY_CHANCE)
    return affected


def _diagnose_unknown_tokens(inputs: DiagnosisInput) -> Iterator[Finding]:
    if not inputs.model.config.vocabulary_size or inputs.record is None:
        return
    share = float((inputs.examples.inputs.values == UNKNOWN).mean())
    if share > limits.UNKNOWN_SHARE:
        yield Finding(
            "unknown_tokens",
            "warning",
            f"{share:.0%} of the tokens are not in the vocabulary and are read as unknown",
            share,
            limits.UNKNOWN_SHARE,
            "Train on text of this kind, or split it into smaller tokens.",
            "tokens",
        )


def _diagnose_scale(inputs: DiagnosisInput) -> Iterator[Finding]:
    count = inputs.model.config.input_size
    if not count:
        return
    values = inputs.examples.inputs.values[:, :count].astype(np.float64)
    level = np.sqrt(np.mean(values**2, 0))  # (C,)
    moves = values.std(0) > 0  # constant channels have a finding of their own
    advice = (
        "Standardise every channel by mean and deviation of the training part."
        if inputs.scaled is None
        else "These sequences differ from those of the training, by whose mean and deviation the "
        "channels are standardised."
        if inputs.scaled
        else "Let the estimator standardise: scale=True."
    )
    for channels, most, threshold, what in (
        (
            np.flatnonzero(moves & (level > limits.LOUD)), np.max, limits.LOUD,
            "a level of up to {:.3g} (root mean square), which saturates its gates",
        ),
        (
            np.flatnonzero(moves & (level < limits.FAINT)), np.min, limits.FAINT,
            "a level of only {:.3g} (root mean square), too low to have an effect",
        ),
    ):  # fmt: skip
        if len(channels):
            value = float(most(level[channels]))
            yield Finding(
                "unscaled_inputs",
                "warning",
                f"{len(channels)} of {count} channels reach the network at {what.format(value)}",
                value,
                threshold,
                advice,
                "scale",
                units=tuple(channels.tolist()),
            )
