"""What is wrong inside sequences, seen without running the network: codes, units, spikes, scale.

Dimensions: n sequences, N steps in all, T steps of one sequence, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.explain.doctor.findings import Finding, Limits
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.padding import bounds_of, diagnose_padding
from elman.explain.forms import Floats
from elman.models.model import UNKNOWN

CODED = 0.0005  # least share of a channel's values that are the code of a missing value
MOST_CODED = 0.6
DISTINCT = 12  # least different values of a channel that is measured and not a code
SPIKE = 50.0  # distance from the median in multiples of the interquartile range
FEW_SPIKES = 0.02  # most of a channel's values that are spikes
FLAT = 0.02  # interquartile range as a share of the deviation, in a channel ruled by its spikes
MOST_LEVELS = 500  # sequences whose levels are compared
UNITS = 5.0  # ratio between two units; and the gap between them, in deviations within each
LEAST_UNIT = 0.1  # share of the sequences in the rarer unit
ONE_STEP = 0.8  # share of sequences of a single step


def diagnose_sequences(inputs: DiagnosisInput) -> Iterator[Finding]:
    """Look for faults inside the sequences, the causes before their effects."""
    yield from _diagnose_lengths(inputs)
    if inputs.raw is not None and inputs.record is not None:
        yield from _diagnose_codes(inputs, inputs.raw)
        yield from _diagnose_spikes(inputs, inputs.raw)
        yield from _diagnose_units(inputs, inputs.raw)
    yield from diagnose_padding(inputs)
    yield from _diagnose_unknown_tokens(inputs)
    yield from _diagnose_scale(inputs)


def _diagnose_lengths(inputs: DiagnosisInput) -> Iterator[Finding]:
    steps, single = inputs.examples.inputs, float((inputs.lengths == 1).mean())
    if single < ONE_STEP or len(steps) < 10:
        return
    if inputs.model.config.vocabulary_size:
        example = inputs.name_token(int(steps.values[0]))[:40]
        yield Finding(
            "single_tokens",
            "warning",
            f"{single:.0%} of the sequences are a single token, such as {example}, so there is "
            "nothing to read in order, and a new text is an unknown token",
            single,
            ONE_STEP,
            "Cut the text into tokens: pass each text as one string, with tokens 'words' or "
            "'characters', or as a list of its words.",
            "tokens",
        )
    else:
        yield Finding(
            "short_sequences",
            "note" if inputs.record is None else "warning",
            f"{single:.0%} of the sequences have a single step, so a recurrent network has "
            "nothing to remember",
            single,
            ONE_STEP,
            "Check that the rows of one sequence are put together: name the column that says which "
            "sequence a row belongs to (id). If there is one row each, use a model without "
            "recurrence.",
            "id",
        )


def _diagnose_codes(inputs: DiagnosisInput, raw: Ragged) -> Iterator[Finding]:
    """Find numbers that stand for a missing value: repeated exactly, and far from all others."""
    found: list[tuple[int, float, float, float, float]] = []
    for channel, column in enumerate(raw.values.T):
        values = column[np.isfinite(column)]
        for code in {float(values.min()), float(values.max()), 0.0} if len(values) else ():
            is_code = values == code
            share, rest = float(is_code.mean()), values[~is_code]
            if not max(CODED, 3 / len(values)) <= share <= MOST_CODED:
                continue
            if len(np.unique(rest[:10_000])) < DISTINCT:
                continue
            low, high = (float(v) for v in np.quantile(rest, (0.001, 0.999)))
            # Far away: by more than the spread of all other values.
            if (
                max(low - code, code - high) > 2 * (high - low)
                and not rest.min() < code < rest.max()
            ):
                found.append((channel, code, share, low, high))
    if not found:
        return
    channels = [channel for channel, *_ in found]
    channel, code, share, low, high = max(found, key=lambda each: each[2])
    yield Finding(
        "missing_codes",
        "warning",
        f"{inputs.channels[channel]} is exactly {code:g} in {share:.1%} of its steps, while its "
        f"other values lie between {low:.3g} and {high:.3g}: {code:g} looks like a code for a "
        "missing value, and the network reads it as a measurement",
        share,
        CODED,
        f"Replace {code:g} by a missing value (NaN, or an empty cell of the file); gaps are filled "
        "and marked.",
        "values",
        units=tuple(channels),
    )


def _diagnose_spikes(inputs: DiagnosisInput, raw: Ragged) -> Iterator[Finding]:
    """Find channels whose deviation comes from a few values far away from all others."""
    found = []
    for channel, column in enumerate(raw.values.T):
        values = column[np.isfinite(column)]
        if len(values) < 50:
            continue
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        spread, deviation = float(high - low), float(values.std())
        if not spread > 0 or spread > FLAT * 1.35 * deviation * 10:
            continue
        far = np.abs(values - middle) > SPIKE * spread
        if 0 < far.mean() < FEW_SPIKES and spread < 10 * FLAT * deviation:
            found.append(
                (channel, float(far.mean()), float(np.abs(values - middle).max()) / spread)
            )
    if not found:
        return
    channel, share, size = max(found, key=lambda each: each[2])
    yield Finding(
        "spikes",
        "warning",
        f"{share:.2%} of the values of {inputs.channels[channel]} are spikes, up to {size:,.0f} "
        "times as far from the median as ordinary values. They decide the deviation that the "
        "channel is divided by, so its ordinary values reach the network almost as a constant",
        size,
        SPIKE,
        "Remove the spikes or limit them to the range of ordinary values (numpy.clip) before "
        "training.",
        "values",
        units=tuple(c for c, *_ in found),
    )


def _diagnose_units(inputs: DiagnosisInput, raw: Ragged) -> Iterator[Finding]:
    """Find channels that are in one unit in some sequences and in another in the others."""
    if len(raw) < 20:
        return
    rows = inputs.sample(MOST_LEVELS, 0)
    raw = raw.take(rows)
    values = np.nan_to_num(raw.values)
    # Medians, because a spike or a code in a sequence is another finding.
    level = np.array([np.median(np.abs(values[a:b]), axis=0) for a, b in bounds_of(raw)])  # (n, C)
    centre = np.array([np.median(values[a:b], axis=0) for a, b in bounds_of(raw)])
    moved = np.abs(values - centre[raw.owners])
    spread = np.array([np.median(moved[a:b], axis=0) for a, b in bounds_of(raw)])
    found = []
    for c in range(values.shape[1]):
        for size in (level[:, c], spread[:, c]):
            if (size > 0).mean() > 0.9 and (
                pair := _two_groups(np.log(np.maximum(size, size[size > 0].min())))
            ):
                break
        else:
            continue
        if not _follows_labels(inputs, rows, pair[0]):
            found.append((c, *pair))
    if not found:
        return
    channel, high, ratio = max(found, key=lambda each: each[2])
    yield Finding(
        "mixed_units",
        "warning",
        f"{inputs.channels[channel]} is about {_round(ratio)} times as large in {high.mean():.0%} "
        "of the sequences as in the others, with nothing between, and the labels do not follow it: "
        "these sequences look as if they were in another unit",
        ratio,
        UNITS,
        "Convert all sequences to one unit before training. If the levels may differ, divide each "
        "sequence by its own level.",
        "values",
        units=tuple(c for c, *_ in found),
        sequences=tuple(inputs.places[rows][high if high.mean() < 0.5 else ~high].tolist()),
    )


def _two_groups(level: Floats) -> tuple[NDArray[np.bool_], float] | None:
    """Split logarithms of levels, (n,), at a wide gap; None if there is none.

    Returns: which are in the upper group, and the ratio of the groups' levels.
    """
    order = np.sort(level)
    least = max(3, int(np.ceil(LEAST_UNIT * len(order))))
    gaps = np.diff(order)[least - 1 : len(order) - least]
    if not len(gaps):
        return None
    at = least - 1 + int(gaps.argmax())
    low, high = order[: at + 1], order[at + 1 :]
    between = float(np.median(high) - np.median(low))
    within = float(max(low.std(), high.std(), 1e-9))
    if between < np.log(UNITS) or between < UNITS * within or gaps.max() < 0.3 * between:
        return None
    return level > (order[at] + order[at + 1]) / 2, float(np.exp(between))


def _follows_labels(
    inputs: DiagnosisInput, rows: NDArray[np.int64], group: NDArray[np.bool_]
) -> bool:
    """Whether the labels differ between two groups of sequences; then the level tells something."""
    target = inputs.examples.target
    if not inputs.labelled or isinstance(target, Ragged):
        return False
    target = target[rows]
    columns = target[:, None] == np.unique(target) if target.ndim == 1 else target
    columns = np.asarray(columns, dtype=np.float64)
    deviation = columns.std(0)
    means = [columns[side].mean(0) for side in (group, ~group)]
    differs = np.abs(means[0] - means[1])[deviation > 0] / deviation[deviation > 0]
    return bool(len(differs) and differs.max() > 1.0)


def _round(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _diagnose_unknown_tokens(inputs: DiagnosisInput) -> Iterator[Finding]:
    if not inputs.model.config.vocabulary_size or inputs.record is None:
        return
    share = float((inputs.examples.inputs.values == UNKNOWN).mean())
    if share > Limits.UNKNOWN_SHARE:
        yield Finding(
            "unknown_tokens",
            "warning",
            f"{share:.0%} of the tokens are not in the vocabulary and are read as unknown",
            share,
            Limits.UNKNOWN_SHARE,
            "Train on text of this kind, or split it into smaller tokens.",
            "tokens",
        )


def _diagnose_scale(inputs: DiagnosisInput) -> Iterator[Finding]:
    count = inputs.model.config.input_size
    if not count:
        return
    values = inputs.examples.inputs.values[:, :count].astype(np.float64)
    level = np.sqrt(np.mean(values**2, 0))  # (C,)
    moves = values.std(0) > 0  # constant channels are reported by a separate finding
    advice = (
        "Standardise every channel by the mean and deviation of the training split."
        if inputs.scaled is None
        else "These sequences differ from those of the training, by whose mean and deviation the "
        "channels are standardised: bring them to the same unit."
        if inputs.scaled
        else "Let the estimator standardise: scale=True."
    )
    loud = "values of about {:.3g}, which drive its gates to their ends"
    faint = "values of only {:.3g}, too small to have an effect"
    for is_outside, most, threshold, what in (
        (level > Limits.LOUD, np.max, Limits.LOUD, loud),
        (level < Limits.FAINT, np.min, Limits.FAINT, faint),
    ):
        channels = np.flatnonzero(moves & is_outside)
        if len(channels):
            value = float(most(level[channels]))
            yield Finding(
                "unscaled_inputs",
                "warning",
                f"{len(channels)} of {count} channels reach the network with {what.format(value)}",
                value,
                threshold,
                advice,
                "scale",
                units=tuple(channels.tolist()),
            )
