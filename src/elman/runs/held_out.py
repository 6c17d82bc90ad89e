"""Which sequences are held out, from a data set in memory or from the index of one on disk.

Both give the same splits. Nothing of a data set on disk is read but what a message needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from elman.data import Dataset, Ragged, check_classes, check_gaps
from elman.data.ahead import forget_unknown
from elman.data.ragged import flatten, sequences_with_gaps, sequences_with_labels, to_objects
from elman.data.splits import divide_recording, hold_out, hold_out_groups, hold_out_latest
from elman.data.store import StoredDataset
from elman.data.unlabelled import describe_unlabelled, leave_out_unlabelled
from elman.errors import DataError, SettingsError
from elman.settings import DataSettings
from elman.tasks import TASKS

Ints = NDArray[np.int64]
CONTENT = "content"  # every sequence is its own group
AnyDataset = Dataset | StoredDataset
D = TypeVar("D", Dataset, StoredDataset)


@overload
def part_of(dataset: Dataset, index: Ints) -> Dataset: ...
@overload
def part_of(dataset: StoredDataset, index: Ints) -> StoredDataset: ...
def part_of(dataset: AnyDataset, index: Ints) -> AnyDataset:
    """Return the sequences at `index`, (m,), in that order; those on disk stay there."""
    return dataset.subset(index) if isinstance(dataset, StoredDataset) else dataset.take(index)


def contents_of(dataset: AnyDataset) -> NDArray[np.uint64]:
    """Return a number for each sequence, (n,); equal sequences have equal numbers."""
    return dataset.digests if isinstance(dataset, StoredDataset) else dataset.contents()


def gaps_of(dataset: AnyDataset) -> NDArray[np.bool_]:
    """Return which sequences have gaps in which channels, (n, C); (n, 0) for tokens and text."""
    if isinstance(dataset, StoredDataset):
        return dataset.gaps
    numbers = dataset.numbers
    if numbers is not None:
        return sequences_with_gaps(numbers)
    return np.zeros((len(dataset), 0), dtype=bool)


def targets_of(dataset: AnyDataset) -> NDArray[Any] | Ragged | None:
    """Return the targets; of labels at every step of a data set on disk, the distinct ones."""
    if isinstance(dataset, StoredDataset) and dataset.target is None:
        return dataset.step_labels
    return dataset.target


def labels_of(dataset: AnyDataset) -> NDArray[np.object_]:
    """Return all labels of a data set in one array, (n,) or (N,)."""
    target = targets_of(dataset)
    assert target is not None  # read with labelled=True
    return flatten(target)


def classes_of(dataset: AnyDataset) -> set[object]:
    """Return the labels that occur in a data set."""
    labels = set(labels_of(dataset).tolist()) - {None}  # at steps that are not labelled
    return {x for each in labels for x in (each if isinstance(each, frozenset) else (each,))}


def check_known(dataset: AnyDataset, classes: set[object]) -> None:
    """Refuse labels that do not occur in the training split.

    Raises: DataError with the first line that has such a label.
    """
    if classes_of(dataset) <= classes:
        return
    labels = labels_of(dataset).tolist()
    label_sets = [each if isinstance(each, frozenset) else frozenset((each,)) for each in labels]
    known = classes | {None}
    unknown = Counter(label for labels in label_sets for label in labels if label not in known)
    first = next(i for i, each in enumerate(label_sets) if not unknown.keys().isdisjoint(each))
    target = targets_of(dataset)
    if isinstance(target, Ragged):
        first = int(target.owners[first])
    listed = ", ".join(f"{label!r} ({n} times)" for label, n in unknown.most_common(5))
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    lines = _in_memory(dataset, first).lines
    raise DataError(
        f"classes that the training split does not have: {listed}{more}",
        remedy="Leave these sequences out, or add sequences of that class to the training split.",
        source=dataset.source,
        line=None if lines is None else int(lines[0]),
    )


def check_targets(dataset: AnyDataset, minimum: int) -> None:
    """Refuse what cannot be learnt; see `check_classes`."""
    if not isinstance(dataset, StoredDataset):
        check_classes(dataset, minimum)
        return
    target = targets_of(dataset)
    if target is None and dataset.has_target:  # numbers at every step, which are not in the index
        target = Ragged(np.zeros(len(dataset)), np.arange(len(dataset) + 1))
    outline = Ragged(np.zeros((len(dataset), 0)), np.arange(len(dataset) + 1))
    check_classes(Dataset(outline, target, dataset.source, dataset.layout), minimum)


def without_unknown(split: D, training: D, name: str) -> tuple[D, list[str]]:
    """Return a held-out split without the next tokens that training lacks, and notes on them."""
    ahead = split.layout.ahead and TASKS[split.task].has_classes
    if not ahead or isinstance(split, StoredDataset):
        return split, []
    split, note = forget_unknown(split, classes_of(training), name)
    return split, [note] if note else []


def check_splits(training: D, others: dict[str, D | None]) -> list[str]:
    """Refuse classes and gaps that training lacks; return notes on sequences in both splits."""
    check_targets(training, minimum=1)
    channels_with_gaps: NDArray[np.bool_] = np.logical_or.reduce(gaps_of(training))
    notes = [f"training split: {len(training):,} sequences"]
    contents = contents_of(training)
    for name, split in others.items():
        if split is None:
            continue
        if TASKS[split.task].has_classes:
            check_known(split, classes_of(training))
        refused = (gaps_of(split) & ~channels_with_gaps).any(1)
        if refused.any():
            check_gaps(_in_memory(split, int(refused.argmax())), channels_with_gaps)
        repeated = int(np.isin(contents_of(split), contents).sum())
        if repeated:
            notes.append(
                f"{repeated:,} of the {name} split's sequences also occur in the training split, "
                "so its metrics are too optimistic"
            )
    return notes


def _in_memory(dataset: AnyDataset, sequence: int) -> Dataset:
    """Return one sequence."""
    return dataset.take(np.array([sequence]))


def without_unlabelled(dataset: D) -> tuple[D, str]:
    """Return the sequences of which some step is labelled, and a note on the others, or ''."""
    if not isinstance(dataset, StoredDataset):
        return leave_out_unlabelled(dataset)
    if not dataset.layout.per_step:
        return dataset, ""
    if dataset.step_labels is not None:
        used = dataset.step_labels.lengths > 0
    else:  # numbers, which are not in the index
        used = np.zeros(len(dataset), dtype=bool)
        for index, block in dataset.blocks():
            if isinstance(block.target, Ragged):
                used[index] = sequences_with_labels(block.target)
    if used.all() or not used.any():
        return dataset, ""
    unit = "window" if dataset.layout.window else "sequence"
    return part_of(dataset, np.flatnonzero(used)), describe_unlabelled(used, unit)


def is_recording(dataset: AnyDataset) -> bool:
    """Whether the data are one sequence of steps, which only windows can divide."""
    return len(dataset) == 1 and dataset.layout.kind != "text"


def method_of(settings: DataSettings) -> str:
    """Return how sequences are assigned to splits."""
    return settings.split or ("group" if settings.group else "stratified")


def hold_out_share(
    dataset: D,
    settings: DataSettings,
    share: float,
    seed: int,
    name: str,
    chunk: int | None = None,
) -> tuple[D, D, str]:
    """Return the remaining and the held-out sequences, and how they were chosen, in words.

    Args:
        chunk: steps of a chunk of truncated backpropagation, which one recording needs no windows
            for; None for full backpropagation.
    """
    if is_recording(dataset):
        return _hold_out_steps(dataset, settings, share, name, chunk)
    # The next tokens are far too many for each to be in the training split.
    stratified = TASKS[dataset.task].single_label and not dataset.layout.ahead
    labels = targets_of(dataset) if stratified else None
    if labels is not None and not isinstance(labels, Ragged):
        texts: dict[str, str] = {}  # equal texts are one object, as there may be many sequences
        labels = to_objects([texts.setdefault(text, text) for text in map(str, labels)])
    gaps, method, how = gaps_of(dataset), method_of(settings), ""
    if isinstance(dataset, StoredDataset):
        gaps = np.hstack([gaps, dataset.static_gaps])
    elif dataset.static is not None:
        gaps = np.hstack([gaps, np.isnan(dataset.static.numbers)])
    try:
        if method == "group":
            groups: Sequence[Any] = dataset.groups
            if settings.group == CONTENT:
                groups = contents_of(dataset).tolist()
            first, second = hold_out_groups(groups, share, seed, labels, name, gaps)
            held_out = len({groups[i] for i in second.tolist()})
            how = f", {held_out:,} of {len(set(groups)):,} groups by {settings.group}"
        elif method == "time":
            starts = dataset.starts
            times = np.zeros(len(dataset)) if starts is None else starts
            first, second = hold_out_latest(times, share, name)
            how = ", the last by time"
            if starts is None:
                how = ", the last in the order of the file"
        else:
            if method == "random" and labels is not None and not isinstance(labels, Ragged):
                # As labels per step, they keep every class in training, but not its proportion.
                labels = Ragged(labels, np.arange(len(labels) + 1))
            first, second = hold_out(len(dataset), share, seed, labels, name, gaps)
            how = ", at random" if method == "random" else ""
    except DataError as error:
        raise DataError(error.problem, remedy=error.remedy, source=dataset.source) from None
    return part_of(dataset, first), part_of(dataset, second), how


def _hold_out_steps(
    dataset: D, settings: DataSettings, share: float, name: str, chunk: int | None
) -> tuple[D, D, str]:
    """Hold out the last steps of one recording, and return how in words."""
    steps = int(dataset.lengths[0])
    length = settings.window or chunk
    if length is None:
        short = max(2, min(100, steps // 20))
        whole = ""
        if dataset.layout.per_step:
            whole = f" Or read it whole, with --tbptt {short}."
        raise DataError(
            f"the file is one recording of {steps:,} steps, and training needs several sequences",
            remedy=f"Cut it into windows, for example --window {short}; the"
            f" last ones are held out.{whole} If it holds several recordings, name the column that"
            " tells them apart with --id NAME.",
            source=dataset.source,
        )
    if settings.split not in (None, "time"):
        raise SettingsError(
            f"split: got {settings.split!r}, but one recording can only be divided in time. Leave"
            " it out, or give --split time"
        )
    if isinstance(dataset, StoredDataset):
        raise DataError(
            f"the file is one recording of {steps:,} steps, which can only be divided in memory",
            remedy="Leave --memory-limit out, or name a column that divides it with --id NAME.",
            source=dataset.source,
        )
    # The targets of the last steps before the gap lie as many steps later.
    gap = max(length, settings.ahead or 0)
    first, second = divide_recording(dataset, share, length, gap, name)
    return first, second, f", the last steps of the recording, after a gap of {gap:,}"
