"""Padding and constants in sequences: at their ends, or throughout.

Dimensions: n sequences, N steps in all, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.explain.doctor.findings import Finding, Limits
from elman.explain.doctor.inputs import DiagnosisInput
from elman.models.model import PADDING

TAIL = 3  # steps of the shortest padding that is looked for
TAILS = 0.2  # least share of the sequences that are padded


def diagnose_padding(inputs: DiagnosisInput) -> Iterator[Finding]:
    """Look for padding that was written into the data, and for sequences that never change."""
    yield from _diagnose_tails(inputs)
    yield from _diagnose_padding(inputs)
    yield from _diagnose_constants(inputs)


def _diagnose_tails(inputs: DiagnosisInput) -> Iterator[Finding]:
    """Find padding that was written into the data: the same values up to the end or the start."""
    steps = inputs.raw if inputs.raw is not None else inputs.examples.inputs
    if len(steps) < 10 or np.median(steps.lengths) < 2 * TAIL or len(inputs.lengths) < 10:
        return
    values = steps.values if steps.values.ndim == 2 else steps.values[:, None]
    values = np.where(np.isnan(values), np.inf, values) if values.dtype.kind == "f" else values
    same = np.concatenate([[False], (values[1:] == values[:-1]).all(1)])
    same[steps.offsets[:-1]] = False  # (N,): equal to the step before in the same sequence
    for reverse, where in ((False, "end"), (True, "beginning")):
        runs = np.array([_run(same[a:b], reverse) for a, b in bounds_of(steps)])
        ends = steps.offsets[:-1] if reverse else steps.offsets[1:] - 1
        inside = max(0.0, float(same.sum() - np.maximum(runs - 1, 0).sum()))
        chance = inside / max(1, len(same) - int(runs.sum()))
        long = (runs >= TAIL) & (len(steps) * chance ** (runs - 1.0) < Limits.BY_CHANCE)
        long &= runs < steps.lengths  # a sequence that is constant throughout is another finding
        if long.mean() < TAILS or chance > 0.5:
            continue
        last = values[ends[long]]
        fill, counts = np.unique(last, axis=0, return_counts=True)
        common = counts.max() > 0.8 * long.sum()
        if common and not np.isfinite(fill[counts.argmax()]).all():
            what = "with missing values"
        elif common:
            what = f"with {_name_fill(inputs, fill[counts.argmax()])}"
        else:
            what = "with its first step" if reverse else "with its last step"
        share = float(runs[long].sum() / steps.lengths[long].sum())
        yield Finding(
            "padded_sequences",
            "warning",
            f"{int(long.sum())} of {len(steps)} sequences are filled up at the {where} {what}, for "
            f"{share:.0%} of their steps: that looks like padding, and the network reads it as "
            "data",
            float(long.mean()),
            TAILS,
            f"Cut the padding off, so that every sequence {'begins' if reverse else 'ends'} where "
            f"its data {'begin' if reverse else 'end'}: sequences may have different lengths.",
            sequences=tuple(inputs.places[long].tolist()),
        )
        return


def bounds_of(steps: Ragged) -> list[tuple[int, int]]:
    """Start and end of each sequence."""
    return list(zip(steps.offsets[:-1].tolist(), steps.offsets[1:].tolist(), strict=True))


def _run(same: NDArray[np.bool_], reverse: bool) -> int:
    """Number of equal steps at the end of one sequence, or at its beginning."""
    changed = np.flatnonzero(~same[1:]) + 1  # where a step differs from the one before
    if not len(changed):
        return len(same)
    return int(changed[0]) if reverse else len(same) - int(changed[-1])


def _name_fill(inputs: DiagnosisInput, fill: NDArray[np.generic]) -> str:
    if inputs.raw is None and inputs.model.config.vocabulary_size:
        return f"the token {inputs.name_token(int(fill[0]))}"
    return ", ".join(dict.fromkeys(f"{float(v):g}" for v in fill))


def _diagnose_padding(inputs: DiagnosisInput) -> Iterator[Finding]:
    if inputs.raw is not None:
        steps = inputs.raw
        blank = ((steps.values == 0) | np.isnan(steps.values)).all(-1)
    elif inputs.model.config.vocabulary_size:
        steps = inputs.examples.inputs
        blank = steps.values == PADDING
    else:
        return  # categorical columns have no padding value
    content_steps = np.bincount(steps.owners[~blank], minlength=len(steps))
    padding = _beyond_chance(content_steps == 0, blank, steps.owners, steps.lengths)
    padding &= steps.lengths > 1  # in a sequence of one step, zero may be an ordinary value
    if padding.any():
        yield _affected(
            "padding_sequences",
            inputs.places[padding],
            len(steps),
            "hold nothing but padding or gaps",
            "Leave them out: the network learns their labels from nothing.",
        )


def _diagnose_constants(inputs: DiagnosisInput) -> Iterator[Finding]:
    if inputs.raw is None:
        return
    steps = inputs.raw
    values, starts, owners = np.nan_to_num(steps.values), steps.offsets[:-1], steps.owners
    flat = (np.maximum.reduceat(values, starts) == np.minimum.reduceat(values, starts)).all(-1)
    nonzero = (np.maximum.reduceat(np.abs(values), starts) > 0).any(-1)  # all zeros are padding
    repeats = (values[1:] == values[:-1]).all(-1)  # (N - 1,): equal to the step before
    within = owners[1:] == owners[:-1]
    constant = _beyond_chance(
        flat & nonzero, repeats[within], owners[1:][within], steps.lengths - 1
    )
    if constant.any():
        yield _affected(
            "constant_sequences",
            inputs.places[constant],
            len(steps),
            "have the same values at every step",
            "Check whether they were measured at all; leave them out if not.",
        )
    empty = np.flatnonzero(~np.isfinite(steps.values).any(0))
    if len(empty):
        yield Finding(
            "empty_channels",
            "warning",
            f"{len(empty)} of {values.shape[1]} channels have no value at any step",
            len(empty),
            0,
            "Find out why nothing was read; leave them out of the values if they are empty.",
            "values",
            units=tuple(empty.tolist()),
        )
    still = np.setdiff1d(np.flatnonzero(np.ptp(values, axis=0) == 0), empty)
    if len(steps) > 1 and len(still) > 0 and values.shape[1] > 1:
        yield Finding(
            "constant_channels",
            "note",
            f"{len(still)} of {values.shape[1]} channels have the same value at every step of "
            "every sequence and carry no information",
            len(still),
            0,
            "Leave them out of the values.",
            "values",
            units=tuple(still.tolist()),
        )


def _affected(name: str, places: NDArray[np.int64], count: int, what: str, remedy: str) -> Finding:
    message, sequences = f"{len(places)} of {count} sequences {what}", tuple(places.tolist())
    return Finding(name, "warning", message, len(places), 0, remedy, sequences=sequences)


def _beyond_chance(
    whole: NDArray[np.bool_],
    events: NDArray[np.bool_],
    owners: NDArray[np.int64],
    tries: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Find sequences that are affected at every step, if chance is unlikely to be the reason.

    Args:
        whole: whether every step of a sequence is affected, (n,).
        events: whether each step of any sequence is affected, (m,).
        owners: the sequence of each of these steps, (m,).
        tries: number of steps of each sequence that could be affected, (n,).
    """
    others = ~whole[owners]
    share = float(events[others].mean()) if others.any() else 0.0
    expected = len(whole) * share ** np.maximum(tries, 0)  # number expected among n sequences
    affected: NDArray[np.bool_] = whole & (tries > 0) & (expected < Limits.BY_CHANCE)
    return affected
