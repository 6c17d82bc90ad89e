"""Folds for cross-validation: stratified, by group or in time, as the splits of a run are."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Dataset
from elman.data.ragged import Ragged
from elman.data.splits import Ints, Traits, keep_all, list_traits
from elman.errors import DataError
from elman.tasks import TASKS


def divide_into_folds(
    dataset: Dataset,
    folds: int,
    seed: int,
    method: str = "stratified",
    groups: Sequence[Hashable] | None = None,
    gaps: NDArray[np.bool_] | None = None,
) -> list[tuple[Ints, Ints]]:
    """Divide sequences into folds, each of which is held out once.

    Args:
        folds: number of folds, 2 or more.
        seed: seed of the random assignment.
        method: as the setting `split`. With `time`, each fold is held out from what starts before
            it, so that the first part of the sequences is in no fold.
        groups: group of each sequence for method `group`, which divides none.
        gaps: as in `hold_out`.
    Returns: for each fold, indices of the sequences to train on and of those held out, each in
        ascending order. A sequence with a label, or gaps in a channel, that no sequence to train on
        has is not held out, and neither is the rest of its group; with `time` it is left out.
    Raises: DataError if there are too few sequences or groups.
    """
    count = len(dataset)
    units = len(set(groups)) if groups is not None else count
    if units < (needed := folds + (method == "time")):
        what = "groups" if groups is not None else "sequences"
        raise DataError(
            f"{units} {what} are too few for {folds} folds, expected {needed} or more",
            remedy=f"Add {what}, or use fewer folds: --folds 2",
            source=dataset.source,
        )
    classes = _classes(dataset)
    traits = list_traits(count, classes, gaps)
    if not TASKS[dataset.task].has_classes or isinstance(dataset.target, Ragged):
        classes = None
    if method == "time":
        times = np.zeros(count) if dataset.starts is None else dataset.starts
        parts = np.array_split(np.argsort(times, kind="stable"), folds + 1)
        pairs = [(np.concatenate(parts[: i + 1]), parts[i + 1]) for i in range(folds)]
    else:
        pairs = _draw(count, folds, seed, None if method == "random" else classes, groups)
    # In time, a sequence that comes later must not be moved before: it is left out.
    found = [(_leave_out if method == "time" else keep_all)(traits, *pair) for pair in pairs]
    if groups is not None:
        found = [_keep_groups(groups, *pair) for pair in found]
    if not all(len(held_out) for _, held_out in found):
        raise DataError(
            f"one of {folds} folds would hold out nothing, because its sequences have labels or "
            "gaps that no others have",
            remedy="Add sequences, or use fewer folds: --folds 2",
            source=dataset.source,
        )
    return [(np.sort(first), np.sort(held_out)) for first, held_out in found]


def _classes(dataset: Dataset) -> Ragged | None:
    """Return the labels of each sequence, one or more; None for numbers or next steps."""
    target = dataset.target
    if target is None or not TASKS[dataset.task].has_classes or dataset.layout.ahead:
        return None  # the next tokens are far too many for each to be in all folds
    if isinstance(target, Ragged):
        return target
    if TASKS[dataset.task].single_label:
        return Ragged(target.astype(str), np.arange(len(target) + 1))
    labels = [sorted(map(str, each)) for each in target.tolist()]
    offsets = np.cumsum([0, *map(len, labels)])
    return Ragged(np.array([label for each in labels for label in each], dtype=object), offsets)


def _draw(
    count: int,
    folds: int,
    seed: int,
    classes: Ragged | None,
    groups: Sequence[Hashable] | None,
) -> list[tuple[Ints, Ints]]:
    """Draw folds with equal shares of each class, as far as there is one for each sequence."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    strata = None
    if classes is not None and bool((classes.lengths == 1).all()):
        strata = np.unique(classes.values.astype(str), return_inverse=True)[1]
    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): KFold,
        (False, True): GroupKFold,
        (True, False): StratifiedKFold,
        (True, True): StratifiedGroupKFold,
    }
    kind = kinds[strata is not None, groups is not None]
    if strata is not None and np.bincount(strata).max() < folds:
        kind, strata = kinds[False, groups is not None], None  # no class reaches every fold
    numbers: dict[Hashable, int] = {}
    codes = None
    if groups is not None:
        codes = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    with warnings.catch_warnings():  # of classes with fewer sequences than folds
        warnings.simplefilter("ignore")
        splitter = kind(folds, shuffle=True, random_state=seed)
        return list(splitter.split(np.zeros(count), strata, codes))


def _leave_out(traits: list[Traits], first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Drop the sequences of the second split that have a trait which the first lacks."""
    known = set[tuple[str, Any]]().union(*{traits[i] for i in first.tolist()})
    kept = np.array([known.issuperset(traits[i]) for i in second.tolist()], dtype=bool)
    return first, second[kept]


def _keep_groups(groups: Sequence[Hashable], first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Move the rest of a group to the first split if a part of it was moved there."""
    present = {groups[i] for i in first.tolist()}
    moved = np.array([groups[i] in present for i in second.tolist()], dtype=bool)
    return np.concatenate([first, second[moved]]), second[~moved]
