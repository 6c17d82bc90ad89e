"""Whether the held-out split is like the training split: what differs, and what is in both.

Dimensions: n sequences, N steps in all, C channels, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import flatten
from elman.explain.doctor.evidence import cross_validate, one_hot, ridge, shape_features
from elman.explain.doctor.findings import Finding, Limits
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.score import LEVEL, is_worse
from elman.explain.forms import Floats
from elman.models.model import UNKNOWN
from elman.tasks import TASKS

MOST_STEPS = 200_000  # of the training split, whose blocks of steps are compared
MOST_COMPARED = 500  # sequences of a part in a two-sample test
LEAST_DIFFERENCE = 0.2  # Kolmogorov-Smirnov statistic of a difference that is worth telling
LARGE_DIFFERENCE = 0.5
BLOCK = 16  # most steps of a block that overlapping sequences share
TINY = 0.05  # share of the held-out split that a single sequence is in a tiny one
NEAR = 0.03  # distance to the nearest sequence, as a share of that between any two
APART = 10.0  # distance to the others, as a multiple of it
POINTS = 16  # steps that sequences are resampled to
TELLING = 0.3  # share of the constant prediction's errors that a telling channel removes


@dataclass(frozen=True)
class Difference:
    """One thing in which two parts differ.

    Args:
        what: what differs, in words.
        channel: the channel that it belongs to; -1 for none.
        size: Kolmogorov-Smirnov statistic, 0 to 1.
        p: p-value, corrected by Holm's method for all things that were compared.
        before, after: its mean in the training split and in the held-out split.
    """

    what: str
    channel: int
    size: float
    p: float
    before: float
    after: float


def compare_parts(inputs: DiagnosisInput, held_out: DiagnosisInput) -> list[Difference]:
    """What differs between the sequences of two parts, the largest difference first."""
    from scipy.stats import ks_2samp

    columns = [_describe_part(part) for part in (inputs, held_out)]
    tested = []
    for (what, channel), before in columns[0].items():
        after = columns[1][what, channel]
        if min(len(before), len(after)) < 8:
            continue
        test = ks_2samp(before, after, method="asymp")
        tested.append(
            Difference(
                what,
                channel,
                float(test.statistic),
                float(test.pvalue),
                float(before.mean()),
                float(after.mean()),
            )
        )
    found, highest = [], 0.0
    for rank, each in enumerate(sorted(tested, key=lambda d: d.p)):
        highest = max(highest, each.p * (len(tested) - rank))  # Holm 1979
        if highest < LEVEL and each.size > LEAST_DIFFERENCE:
            found.append(dataclasses.replace(each, p=highest))
    return sorted(found, key=lambda d: -d.size)


def _describe_part(inputs: DiagnosisInput) -> dict[tuple[str, int], Floats]:
    """What is compared, by name and channel: a number for each sequence, (n,)."""
    index = inputs.sample(MOST_COMPARED, 0)
    steps = inputs.examples.inputs.take(index)
    starts, count = steps.offsets[:-1], steps.lengths
    columns: dict[tuple[str, int], Floats] = {("length", -1): count.astype(np.float64)}
    if inputs.model.config.vocabulary_size:
        unknown = np.add.reduceat((steps.values == UNKNOWN).astype(float), starts) / count
        columns["share of unknown tokens", -1] = unknown
    if inputs.raw is not None:
        raw = inputs.raw.take(index)
        gaps = np.add.reduceat((~np.isfinite(raw.values)).astype(float), starts) / count[:, None]
        features, channels = shape_features(raw), raw.values.shape[1]
        rough = features[:, -channels:]  # roughness relative to the spread
        for c in range(channels):
            columns["mean", c] = features[:, c]
            columns["spread", c] = features[:, channels + c]
            columns["roughness", c] = rough[:, c]
            columns["share of gaps", c] = gaps[:, c]
    for k in range(len(inputs.model.config.category_sizes)):
        codes = steps.values[:, inputs.model.config.input_size + k]
        share = np.add.reduceat((codes == UNKNOWN).astype(float), starts) / count
        columns[f"share of unknown categories in column {k + 1}", -1] = share
    return columns


def diagnose_differences(
    inputs: DiagnosisInput, differences: list[Difference], *, lost: bool, judged: bool
) -> Iterator[Finding]:
    """Report what differs, as a fault if the score was lost or, without labels, if it is large.

    Args:
        lost: whether the network is worse on the held-out split than on the training split.
        judged: whether the held-out split has labels.
    """
    unknown = [d for d in differences if d.what == "share of unknown tokens"]
    if unknown and unknown[0].after > Limits.UNKNOWN_SHARE:
        yield Finding(
            "unknown_tokens",
            "warning",
            f"{unknown[0].after:.0%} of the tokens of the held-out split are not in the vocabulary "
            f"and are read as unknown; in the training split {unknown[0].before:.0%} are",
            unknown[0].after,
            Limits.UNKNOWN_SHARE,
            "Train on text of the same kind, or cut it into smaller tokens (tokens 'characters'); "
            "check upper and lower case and the language.",
            "tokens",
        )
    others = [d for d in differences if d not in unknown or d.after <= Limits.UNKNOWN_SHARE]
    # One for each channel, the largest; where values are missing, all else follows from that.
    others.sort(key=lambda d: d.what != "share of gaps")
    others = [d for i, d in enumerate(others) if d.channel not in [e.channel for e in others[:i]]
              or d.channel < 0]  # fmt: skip
    if not others:
        return
    others.sort(key=lambda d: -d.size)
    lines = [_tell(inputs, d) for d in others[:4]]
    more = f", and {len(others) - 4} other differences" if len(others) > 4 else ""
    harmful = lost if judged else others[0].size > LARGE_DIFFERENCE
    yield Finding(
        "held_out_shift",
        "warning" if harmful else "note",
        f"the held-out sequences are not like the training split: {'; '.join(lines)}{more}",
        others[0].size,
        LEAST_DIFFERENCE,
        "Find out why the parts differ (another device, unit, person or time). Draw both from the "
        "same source, or train on sequences like those that will come."
        if harmful
        else "The score is not worse for it.",
        "split",
        units=tuple(dict.fromkeys(d.channel for d in others if d.channel >= 0)),
    )


def _tell(inputs: DiagnosisInput, difference: Difference) -> str:
    of = f" of {inputs.channels[difference.channel]}" if difference.channel >= 0 else ""
    return (
        f"the {difference.what}{of} is {difference.before:.3g} in the training split and "
        f"{difference.after:.3g} in the held-out split"
    )


def diagnose_label_shares(
    inputs: DiagnosisInput, held_out: DiagnosisInput, *, lost: bool
) -> Iterator[Finding]:
    """Compare how often each class occurs, by a chi-squared test."""
    from scipy.stats import chi2_contingency

    if not TASKS[inputs.model.config.task].single_label or inputs.model.config.per_step:
        return
    width = len(inputs.classes)
    counts = np.stack(
        [np.bincount(flatten(p.examples.target), minlength=width) for p in (inputs, held_out)]
    )
    counts = counts[:, counts.sum(0) > 0]
    names = [c for c, n in zip(inputs.classes, counts.sum(0), strict=False) if n > 0]
    if counts.shape[1] < 2 or counts.sum(1).min() < 20:
        return
    shares = counts / counts.sum(1, keepdims=True)
    differs = float(np.abs(shares[0] - shares[1]).sum() / 2)
    if differs < LEAST_DIFFERENCE or chi2_contingency(counts).pvalue > LEVEL / 10:
        return
    k = int(np.abs(shares[0] - shares[1]).argmax())
    yield Finding(
        "label_shares",
        "warning" if lost else "note",
        f"the classes are not equally frequent in both splits: {names[k]!r} has "
        f"{shares[0, k]:.0%} of "
        f"the labels of the training split and {shares[1, k]:.0%} of the held-out split",
        differs,
        LEAST_DIFFERENCE,
        "Split at random and by class (split 'stratified'), or judge by balanced accuracy; if the "
        "classes will come as in the held-out split, weight them so (class_weight).",
        "split",
    )


def diagnose_telling_channels(
    inputs: DiagnosisInput, held_out: DiagnosisInput, differences: list[Difference]
) -> Iterator[Finding]:
    """Find channels that tell the label in the training split, but not in the held-out split.

    Parts of other lengths are not asked: there, what a channel tells changes with its length. The
    training split is weighted to the class shares of the held-out split.
    """
    if any(d.what == "length" and d.size > LARGE_DIFFERENCE for d in differences):
        return
    moved = {d.channel for d in differences if d.size > LARGE_DIFFERENCE and d.what == "mean"}
    if held_out.raw is not None:  # a channel that is empty later may have known the label
        moved -= set(np.flatnonzero(np.nan_to_num(held_out.raw.values).std(0) == 0).tolist())
    moved |= {d.channel for d in differences if d.what == "share of gaps"}
    task, config = TASKS[inputs.model.config.task], inputs.model.config
    if not task.single_label or config.per_step or inputs.raw is None or held_out.raw is None:
        return
    rows = inputs.sample(MOST_COMPARED, 0), held_out.sample(MOST_COMPARED, 0)
    parts = [part.raw.take(i) for part, i in zip((inputs, held_out), rows, strict=True) if part.raw]
    features = [shape_features(steps) for steps in parts]
    labels = [flatten(p.examples.target)[i] for p, i in zip((inputs, held_out), rows, strict=True)]
    channels = parts[0].values.shape[1]
    if min(map(len, labels)) < 10 or len(np.unique(labels[0])) < 2:
        return
    constant = float(np.bincount(labels[0]).max() / len(labels[0]))
    width = int(max(v.max() for v in labels)) + 1
    shares = [np.bincount(v, minlength=width) / len(v) for v in labels]
    weights = (shares[1] / np.maximum(shares[0], 1e-9))[labels[0]]
    found, codes = [], one_hot(labels[0])
    for c in range(min(channels, 40)):
        if c in moved:
            continue  # new values are no evidence that the channel knew the label
        wanted = [*range(c, 7 * channels, channels), *range(7 * channels + 1 + c, 9 * channels + 1,
                                                            channels)]  # fmt: skip
        known, new = (f[:, wanted] for f in features)
        guess = cross_validate(known, codes, np.arange(len(known)))
        inside = weights * (guess.argmax(1) == labels[0])
        if inside.mean() < constant + TELLING * (1 - constant):
            continue
        outside = ridge(known, codes, new).argmax(1) == labels[1]
        kept = (outside.mean() - constant) / (inside.mean() - constant)
        if kept < 0.4 and is_worse(1.0 - outside, 1.0 - inside, LEVEL / channels):
            found.append((float(inside.mean()), float(outside.mean()), c))
    if not found:
        return
    inside_share, outside_share, c = max(found)
    yield Finding(
        "label_in_training_only",
        "warning",
        f"{inputs.channels[c]} alone tells the label in the training split (cross-validated "
        "accuracy "
        f"{inside_share:.2f}), but not in the held-out split ({outside_share:.2f}): the network "
        "relies on something that new sequences do not have",
        inside_share,
        outside_share,
        f"Find out how {inputs.channels[c]} came to know the label, and leave it out of the "
        "values.",
        "values",
        units=tuple(c for *_, c in sorted(found, reverse=True)),
    )


def diagnose_leakage(inputs: DiagnosisInput, held_out: DiagnosisInput) -> Iterator[Finding]:
    """Look for held-out sequences that the training split contains, whole, in part or nearly."""
    found = next(_diagnose_equal(inputs, held_out), None)
    if found is not None:
        yield found
    if found is None or found.severity == "note":
        overlapping = list(_diagnose_overlap(inputs, held_out))
        yield from overlapping or _diagnose_near(inputs, held_out)


def _diagnose_equal(inputs: DiagnosisInput, held_out: DiagnosisInput) -> Iterator[Finding]:
    contents = set(inputs.examples.inputs.contents())
    leaked = [
        int(place)
        for place, own in zip(held_out.places, held_out.examples.inputs.contents(), strict=True)
        if own in contents
    ]
    if not leaked:
        return
    count, share = len(held_out.examples), len(leaked) / len(held_out.examples)
    repeated = len(inputs.examples) - len(contents)
    # Short sequences with few different values repeat even if the split is correct: three bits make
    # only eight sequences. They then repeat about as often within the training split.
    usual = share <= 2 * repeated / len(inputs.examples)
    single = len(leaked) == 1 and share < TINY
    message = (
        f"{len(leaked)} of {count} held-out sequences are also in the training split, so metrics "
        "measured on them do not hold for new sequences"
    )
    if usual:
        message += (
            f". Equal sequences are common in these data: {repeated} are repeated within the "
            "training split too"
        )
    yield Finding(
        "leakage",
        # A single one moves the metric by less than its interval, unless the part is tiny.
        "note" if share <= Limits.LEAK or usual or single else "warning",
        message,
        share,
        Limits.LEAK,
        "Keep equal sequences on one side of the split: group 'content'.",
        "group",
        sequences=tuple(leaked),
        held_out=True,
    )


def _diagnose_overlap(inputs: DiagnosisInput, held_out: DiagnosisInput) -> Iterator[Finding]:
    """Look for held-out sequences that share a run of steps with the training split."""
    if inputs.raw is None or held_out.raw is None:
        return
    known, new = inputs.raw.values, held_out.raw.values
    size = int(np.clip(np.median(held_out.lengths) // 4, 3, BLOCK))
    if np.median(held_out.lengths) < 2 * size:
        return
    # Probability that two steps are equal by chance; neighbouring steps depend on each other, so a
    # block counts as half as many independent ones.
    equal = np.unique(known[:5000], axis=0, return_counts=True)[1] / min(len(known), 5000)
    if float((equal**2).sum()) ** (size / 2) * min(len(known), MOST_STEPS) * len(new) > 0.1:
        return
    blocks = {
        known[i : i + size].tobytes()
        for i in range(0, min(len(known), MOST_STEPS) - size, size)
        if not (known[i] == known[i + size - 1]).all()  # constant runs are equal by nature
    }
    overlapping = []
    bounds = zip(held_out.raw.offsets[:-1].tolist(), held_out.raw.offsets[1:].tolist(), strict=True)
    for place, (start, end) in zip(held_out.places, bounds, strict=True):
        if any(new[i : i + size].tobytes() in blocks for i in range(start, end - size + 1)):
            overlapping.append(int(place))
    share = len(overlapping) / len(held_out.examples)
    if share > Limits.LEAK and len(overlapping) > 1:
        yield Finding(
            "overlapping_sequences",
            "warning",
            f"{len(overlapping)} of {len(held_out.examples)} held-out sequences share {size} or "
            "more steps in a row with a training sequence, so metrics measured on them do not hold "
            "for new sequences",
            share,
            Limits.LEAK,
            "Cut the recording into a training split and a held-out split first, and each split "
            "into windows afterwards (window, stride); or keep the windows of one recording "
            "together "
            "(group).",
            "group",
            sequences=tuple(overlapping),
            held_out=True,
        )


def _diagnose_near(inputs: DiagnosisInput, held_out: DiagnosisInput) -> Iterator[Finding]:
    """Look for held-out sequences that are copies of training sequences but for a little noise."""
    from scipy.spatial.distance import cdist

    if inputs.raw is None or held_out.raw is None or np.median(inputs.lengths) < 5:
        return
    rows = inputs.sample(1000, 0), held_out.sample(300, 0)
    known, new = (
        _resample(part, index) for part, index in zip((inputs, held_out), rows, strict=True)
    )
    distance = np.sort(cdist(new, known), 1)  # (h, n)
    typical = float(np.median(distance))
    if distance.shape[1] < 30 or not typical > 0:
        return
    nearest, others = distance[:, 0], distance[:, min(25, distance.shape[1] - 1)]
    near = (nearest < NEAR * typical) & (others > APART * nearest) & (others > 0.2 * typical)
    if near.mean() > 0.05:
        yield Finding(
            "near_duplicates",
            "warning",
            f"{int(near.sum())} of {len(near)} held-out sequences are almost equal to a training "
            "sequence, far closer than to any others, so metrics measured on them do not hold for "
            "new sequences",
            float(near.mean()),
            0.05,
            "Keep copies, augmented versions and repeated recordings of one sequence on one side "
            "of "
            "the split (group).",
            "group",
            sequences=tuple(held_out.places[rows[1]][near].tolist()),
            held_out=True,
        )


def _resample(inputs: DiagnosisInput, index: NDArray[np.int64]) -> Floats:
    """Sequences as rows of POINTS steps each, (n, POINTS * C), as the network reads them."""
    steps = inputs.examples.inputs.take(index)
    places = np.linspace(0, 1, POINTS) * (steps.lengths[:, None] - 1) + steps.offsets[:-1, None]
    values = np.clip(steps.values[:, : inputs.model.config.input_size].astype(np.float64), -5, 5)
    return values[np.round(places).astype(np.int64)].reshape(len(steps), -1)
