"""Division of a dataset: random, grouped and temporal splits, and windows of sequences."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Dataset
from elman.data.faults import format_count
from elman.data.ragged import Ragged, is_labelled
from elman.errors import DataError, SettingsError, ShapeError

Ints = NDArray[np.int64]
Traits = frozenset[tuple[str, Any]]


def hold_out(
    count: int,
    share: float,
    seed: int,
    labels: NDArray[Any] | Ragged | None = None,
    what: str = "validation",
    gaps: NDArray[np.bool_] | None = None,
) -> tuple[Ints, Ints]:
    """Divide sequences at random into two splits.

    Args:
        count: number of sequences, n.
        share: share of sequences in the second split, rounded up; if stratified, the second split
            has at least one sequence per class.
        seed: seed of the random assignment.
        labels: classes, (n,), to stratify by; or labels at every step, each of which must occur in
            the first split; None to ignore labels.
        what: name of the second split in messages.
        gaps: whether each sequence lacks values in each channel, (n, C). A channel with gaps must
            have some in the first split: a network cannot learn about gaps it never sees.
    Returns: indices of the first and the second split, each in ascending order.
    Raises: DataError if there are too few sequences.
    """
    from sklearn.model_selection import train_test_split

    second_size = math.ceil(share * count)
    classes = 0
    strata: Ints | None = None
    if labels is not None and not isinstance(labels, Ragged):
        names, strata = _code(labels)
        sizes = np.bincount(strata)
        classes = len(names)
        # train_test_split refuses a split with fewer places than classes.
        second_size = max(second_size, classes)
        if (sizes == 1).any():
            raise DataError(
                f"class {names[int((sizes == 1).argmax())]!r} has one sequence left, "
                f"which cannot be in both the training and the {what} split",
                remedy=f"Add sequences of it, leave it out, or provide the {what} split yourself.",
            )
    if second_size >= count or count - second_size < classes:
        raise DataError(
            f"{count} {'sample is' if count == 1 else 'sequences are'} too few to hold out a "
            f"{what} split",
            remedy=f"Add sequences, or provide the {what} split yourself.",
        )
    first, second = train_test_split(
        np.arange(count), test_size=second_size, random_state=seed, stratify=strata
    )
    # train_test_split cannot stratify by step labels or gaps, so sequences are moved afterwards.
    traits = list_traits(count, labels if isinstance(labels, Ragged) else None, gaps)
    first, second = keep_all(traits, first, second)
    if len(second) == 0:
        raise DataError(
            f"every sequence has a label{' or gaps' if gaps is not None and gaps.any() else ''} "
            f"that no other has: none is left for a {what} split",
            remedy=f"Add sequences, or provide the {what} split yourself.",
        )
    return np.sort(first), np.sort(second)


def list_traits(count: int, labels: Ragged | None, gaps: NDArray[np.bool_] | None) -> list[Traits]:
    """Return the traits of each sequence: its labels and its channels with gaps."""
    none: Traits = frozenset()
    found = [none] * count
    shared: dict[Traits, Traits] = {}  # equal traits are one object, as there may be many sequences
    for i, sequence in enumerate(labels or ()):
        own = frozenset(("label", label) for label in sequence[is_labelled(sequence)].tolist())
        found[i] = shared.setdefault(own, own)
    for i in np.flatnonzero(gaps.any(1)).tolist() if gaps is not None else ():
        assert gaps is not None
        own = found[i].union(("gap", channel) for channel in np.flatnonzero(gaps[i]).tolist())
        found[i] = shared.setdefault(own, own)
    return found


def keep_all(traits: list[Traits], first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Move sequences to the first split until it has every trait of the second."""
    # Only sequences that add a trait are moved, to stay as close as possible to the share.
    known = set[tuple[str, Any]]().union(*{traits[i] for i in first.tolist()})
    moved = []
    for i in second.tolist():
        if not known.issuperset(traits[i]):
            known.update(traits[i])
            moved.append(i)
    moved_index = np.array(moved, dtype=np.int64)
    return np.concatenate([first, moved_index]), np.setdiff1d(second, moved_index)


def _code(labels: NDArray[Any]) -> tuple[list[Any], Ints]:
    """Return the classes that occur, in order, and the place there of each label, (n,)."""
    if labels.dtype != object:
        different, codes = np.unique(labels, return_inverse=True)
        return different.tolist(), codes.astype(np.int64)
    # As np.unique, but without sorting all of what may be many labels.
    names = sorted(set(labels))
    places = {name: code for code, name in enumerate(names)}
    return names, np.fromiter(map(places.__getitem__, labels), np.int64, len(labels))


def check_groups(groups: Any, count: int) -> NDArray[Any]:
    """Return the group of each of `count` sequences, (n,).

    Raises: ShapeError unless there is one group per sequence.
    """
    found = np.asarray(groups)
    if found.shape != (count,):
        raise ShapeError(f"groups: got shape {found.shape}, expected ({count},), one a sequence")
    return found


def hold_out_groups(
    groups: Sequence[Hashable] | NDArray[Any],
    share: float,
    seed: int,
    labels: NDArray[Any] | Ragged | None = None,
    what: str = "validation",
    gaps: NDArray[np.bool_] | None = None,
) -> tuple[Ints, Ints]:
    """Divide sequences at random into two splits, without dividing a group.

    Groups are tried in random order. A group joins the second split if this brings the split closer
    to `share` of each class (of all sequences if there are no classes), unless the first split
    would lose its last sequence with a label or with gaps in a channel.

    Args:
        groups: group of each sequence, (n,).
        share: share of sequences in the second split, as closely as whole groups allow.
        seed: seed of the random order.
        labels, what, gaps: as in `hold_out`.
    Returns: indices of the first and the second split, each in ascending order.
    Raises: DataError if no group can be held out.
    """
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    kinds: NDArray[np.int64] = np.zeros(len(groups), np.int64)
    if labels is not None and not isinstance(labels, Ragged):
        # Classes become column indices of the table of sizes, groups by classes.
        kinds = _code(np.asarray(labels))[1]
        labels = Ragged(kinds, np.arange(len(groups) + 1))
    traits = list_traits(len(groups), labels, gaps)
    left = Counter(trait for one in traits for trait in one)
    lists = list(members.values())
    sizes = np.zeros((len(lists), int(kinds.max(initial=0)) + 1))  # sequences by group and class
    for row, own in zip(sizes, lists, strict=True):
        np.add.at(row, kinds[own], 1)
    target_sizes = share * sizes.sum(0)
    sizes_so_far = np.zeros(len(target_sizes))
    second: list[int] = []

    # Checked group by group: the remaining traits depend on the groups already held out.
    def take(group: int) -> bool:
        """Hold a group out, unless the first split would lose a trait or be empty."""
        own = Counter(trait for i in lists[group] for trait in traits[i])
        if len(second) + len(lists[group]) == len(groups) or any(
            left[trait] <= n for trait, n in own.items()
        ):
            return False
        left.subtract(own)
        second.extend(lists[group])
        return True

    order = np.random.default_rng(seed).permutation(len(lists)).tolist()
    for group in order:
        nearer = (
            np.abs(sizes_so_far + sizes[group] - target_sizes).sum()
            < np.abs(sizes_so_far - target_sizes).sum()
        )
        if nearer and take(group):
            sizes_so_far += sizes[group]
    if not second:  # every group is too large: take the one closest in size
        order.sort(key=lambda group: float(np.abs(sizes[group] - target_sizes).sum()))
        any(map(take, order))
    if not second:
        raise DataError(
            f"{len(lists)} group{'s' * (len(lists) != 1)} cannot be divided so that some are held "
            f"out for the {what} split and the others keep every class and every channel with "
            "gaps",
            remedy=f"Add groups, or provide the {what} split yourself.",
        )
    held_out = np.array(sorted(second), dtype=np.int64)
    return np.setdiff1d(np.arange(len(groups)), held_out), held_out


def hold_out_latest(
    times: NDArray[np.float64], share: float, what: str = "validation"
) -> tuple[Ints, Ints]:
    """Hold out the sequences that start last; ties go to those later in the file.

    Args:
        times: time at which each sequence starts, (n,).
        share: share of sequences in the second split, rounded up.
        what: name of the second split in messages.
    Returns: indices of the first and the second split, each in ascending order.
    """
    second_size = math.ceil(share * len(times))
    # At least one sequence must remain for training.
    if second_size >= len(times):
        raise DataError(
            f"{len(times)} sequences are too few to hold out a {what} split",
            remedy=f"Add sequences, or provide the {what} split yourself.",
        )
    # A stable sort keeps sequences with equal times in the order of the file.
    order = np.argsort(times, kind="stable")
    return np.sort(order[:-second_size]), np.sort(order[-second_size:])


def resampling_groups(dataset: Dataset, *, by_content: bool = False) -> list[Hashable] | None:
    """Return the group of each sequence for intervals: sequences of a group are not independent.

    These are the groups of the file, the sequences that windows were cut from, or equal sequences.

    Args:
        by_content: whether equal sequences are a group, if there are no others.
    Returns: None if each sequence is a group of its own.
    """
    groups: list[Hashable] = []
    if dataset.groups:
        groups = list(dataset.groups)
    elif dataset.windows is not None:
        groups = np.cumsum(dataset.windows[:, 0] == 0).tolist()
    elif by_content:
        groups = dataset.contents().tolist()
    return groups if len(set(groups)) < len(groups) else None


def find_duplicates(dataset: Dataset, training: Dataset) -> NDArray[np.bool_]:
    """Return whether each sequence is also in the training data, (n,)."""
    return np.isin(dataset.contents(), training.contents())


def divide_recording(
    dataset: Dataset, share: float, window: int, gap: int, what: str = "validation"
) -> tuple[Dataset, Dataset]:
    """Divide a dataset of one sequence in time, with a gap between the parts.

    Neighbouring steps are alike, so that windows right beside each other would make the second
    part too easy.

    Args:
        share: share of the steps in the second part, rounded up.
        window: steps of the windows, or chunks, into which both parts will be cut.
        gap: steps between the parts, from `window`.
        what: name of the second part in messages.
    Raises: DataError if a part would be shorter than a window.
    """
    inputs, target = dataset.inputs, dataset.target
    assert isinstance(inputs, Ragged) and len(inputs) == 1
    total = len(inputs.values)
    start = total - math.ceil(share * total)
    end = start - gap
    if end < window or total - start < window:
        raise DataError(
            f"the recording of {total:,} steps is too short for a training and a {what} split of"
            f" windows of {window:,} steps, with a gap of {gap:,} steps between them",
            remedy=f"Use shorter windows, a larger share for --{what}, or add recordings.",
            source=dataset.source,
        )

    def part(first: int, last: int) -> Dataset:
        offsets = np.array([0, last - first], dtype=np.int64)
        base = 0 if dataset.windows is None else int(dataset.windows[0, 1])
        return dataclasses.replace(
            dataset,
            inputs=Ragged(inputs.values[first:last], offsets),
            target=Ragged(target.values[first:last], offsets)
            if isinstance(target, Ragged)
            else target,
            windows=np.array([[0, base + first]], dtype=np.int64),
        )

    return part(0, end), part(start, total)


def cut_windows(dataset: Dataset, window: int, stride: int, what: str = "") -> tuple[Dataset, str]:
    """Cut each sequence into windows of the same length.

    Windows start at steps 0, stride, 2 stride, ... as long as a whole window fits. Steps after the
    last window are dropped, as are steps between windows if the stride exceeds the window. A
    sequence shorter than a window stays whole. Each window inherits the label of its sequence;
    labels at every step are cut in the same way as the steps.

    Args:
        dataset: sequences that are not windows yet, or the parts of a divided recording; text must
            have been split into tokens.
        window, stride: in steps, 1 or more.
        what: text that follows "sequences" in the returned sentence.
    Returns: the windows, and one sentence that counts the windows and the dropped steps.
    """
    inputs, target = dataset.inputs, dataset.target
    if not isinstance(inputs, Ragged):
        raise SettingsError(
            "window: text has no steps before it is cut into tokens; expected numbers or tokens."
            ' Write the tokens, in JSON lines as "tokens": [...], or leave --window out'
        )
    lengths = inputs.lengths
    counts = np.where(lengths < window, 1, (lengths - window) // stride + 1)
    owners = np.repeat(np.arange(len(inputs)), counts)
    numbers = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = numbers * stride
    # Parts of a recording count the steps of the whole recording.
    base = 0 if dataset.windows is None else dataset.windows[owners, 1]
    taken = np.minimum(window, lengths[owners])
    offsets = np.concatenate([[0], np.cumsum(taken)]).astype(np.int64)
    # Difference between the index of a step in the dataset and its index among the windows: one
    # index array for all windows is faster than a slice for each.
    shift = np.repeat(inputs.offsets[:-1][owners] + first - offsets[:-1], taken)
    places = np.arange(offsets[-1]) + shift
    cut = dataclasses.replace(
        _without_steps(dataset).take(owners),
        inputs=Ragged(inputs.values[places], offsets),
        target=Ragged(target.values[places], offsets)
        if isinstance(target, Ragged)
        else None
        if target is None
        else target[owners],
        windows=np.column_stack([numbers, base + first]),
    )
    return cut, describe_windows(lengths, window, stride, what)


def describe_windows(lengths: Ints, window: int, stride: int, what: str = "") -> str:
    """Count the windows of sequences, (n,) steps each, and the dropped steps; see `cut_windows`."""
    counts = np.where(lengths < window, 1, (lengths - window) // stride + 1)
    # Windows overlap if the stride is shorter than the window, so each step is counted once.
    covered = (counts - 1) * min(stride, window) + np.minimum(window, lengths)
    dropped, short = int((lengths - covered).sum()), int((lengths < window).sum())
    windows = format_count(int(counts.sum()), "window")
    parts = [
        f"{format_count(len(lengths), 'sequence')}{what} became {windows}"
        f" of {format_count(window, 'step')}, stride {stride:,}"
    ]
    if dropped:
        where = "at ends and between windows" if stride > window else "at ends"
        parts.append(f"{format_count(dropped, 'step')} {where} dropped")
    if short:
        parts.append(f"{format_count(short, 'sequence')} shorter than a window kept whole")
    return "; ".join(parts)


def _without_steps(dataset: Dataset) -> Dataset:
    """Return the same sequences without steps, to repeat what belongs to whole sequences.

    With them, every window would get all steps of its sequence first.
    """
    none = np.zeros(len(dataset) + 1, dtype=np.int64)
    target = dataset.target
    if isinstance(target, Ragged):
        target = Ragged(target.values[:0], none)
    assert isinstance(dataset.inputs, Ragged)
    inputs = Ragged(dataset.inputs.values[:0], none)
    return dataclasses.replace(dataset, inputs=inputs, target=target)


def excerpts(dataset: Dataset, steps: int) -> tuple[Dataset, NDArray[np.int64]]:
    """Divide sequences that are longer than `steps` into excerpts of as many steps.

    Unlike with `cut_windows` no step is dropped: the last excerpt of a sequence may be shorter.

    Args:
        dataset: sequences of numbers or tokens, with a target at every step or none.
    Returns: the excerpts, named like windows, and the sequence of each, (m,).
    """
    inputs, target = dataset.inputs, dataset.target
    assert isinstance(inputs, Ragged)
    counts = np.maximum(1, -(-inputs.lengths // steps))
    owners = np.repeat(np.arange(len(inputs)), counts)
    numbers = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = np.append(inputs.offsets[:-1][owners] + numbers * steps, inputs.offsets[-1])
    before = 0 if dataset.windows is None else dataset.windows[owners, 1]
    cut = dataclasses.replace(
        _without_steps(dataset).take(owners),
        inputs=Ragged(inputs.values, offsets),
        target=Ragged(target.values, offsets) if isinstance(target, Ragged) else None,
        windows=np.column_stack([numbers, before + numbers * steps]),
    )
    return cut, owners
