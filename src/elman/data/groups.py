"""Parts of a dataset by group, so that none stands on both sides, or by time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.data.splits import Ints, traits_of
from elman.errors import DataError, ShapeError


def as_groups(groups: Any, count: int) -> NDArray[Any]:
    """Return the group of each of `count` sequences, (n,).

    Raises: ShapeError unless there is one a sequence.
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
    """Draw whole groups by chance.

    Groups come in random order, and one is taken if that brings the second part nearer to `share`
    of each class (of all sequences, where there are no classes), unless the first part would lose
    the last sequence with some label, or the last with gaps in a channel.

    Args:
        groups: of each sequence, (n,).
        share: of the sequences in the second part, as nearly as whole groups allow.
        seed: of the draw.
        labels, what, gaps: as in `hold_out`.
    Returns: indices of the first and the second part, each in ascending order.
    Raises: DataError if no group can be held out.
    """
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    kinds: NDArray[np.int64] = np.zeros(len(groups), np.int64)
    if labels is not None and not isinstance(labels, Ragged):
        kinds = np.unique(np.asarray(labels), return_inverse=True)[1]
        labels = Ragged(np.asarray(labels), np.arange(len(groups) + 1))
    traits = traits_of(len(groups), labels, gaps)
    left = Counter(trait for one in traits for trait in one)
    lists = list(members.values())
    sizes = np.zeros((len(lists), int(kinds.max(initial=0)) + 1))  # sequences by group and class
    for row, own in zip(sizes, lists, strict=True):
        np.add.at(row, kinds[own], 1)
    wanted = share * sizes.sum(0)
    held = np.zeros(len(wanted))
    second: list[int] = []

    def take(group: int) -> bool:
        """Hold a group out, if the first part can do without."""
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
        nearer = np.abs(held + sizes[group] - wanted).sum() < np.abs(held - wanted).sum()
        if nearer and take(group):
            held += sizes[group]
    if not second:  # all are too large: take the one that is least so
        order.sort(key=lambda group: float(np.abs(sizes[group] - wanted).sum()))
        any(map(take, order))
    if not second:
        raise DataError(
            f"{len(lists)} group{'s' * (len(lists) != 1)} cannot be parted so that some are held "
            f"out for the {what} part and the others keep every class, and every channel with gaps",
            remedy=f"Add groups, or set the {what} part aside yourself.",
        )
    second_part = np.array(sorted(second), dtype=np.int64)
    return np.setdiff1d(np.arange(len(groups)), second_part), second_part


def hold_out_latest(
    times: NDArray[np.float64], share: float, what: str = "validation"
) -> tuple[Ints, Ints]:
    """Hold out the sequences that start last; of equal ones, those that come later.

    Args:
        times: at which each sequence starts, (n,).
        share: of them in the second part, rounded up.
        what: name of the second part, for the message.
    Returns: indices of the first and the second part, each in ascending order.
    """
    held = math.ceil(share * len(times))
    if held >= len(times):
        raise DataError(
            f"{len(times)} sequences are too few to hold out a {what} part",
            remedy=f"Add sequences, or set the {what} part aside yourself.",
        )
    order = np.argsort(times, kind="stable")
    return np.sort(order[:-held]), np.sort(order[-held:])
