"""Parts of a dataset that do not overlap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.errors import DataError

Ints = NDArray[np.int64]


def hold_out(
    count: int,
    share: float,
    seed: int,
    labels: NDArray[Any] | Ragged | None = None,
    what: str = "validation",
    gaps: NDArray[np.bool_] | None = None,
) -> tuple[Ints, Ints]:
    """Draw two parts by chance.

    Args:
        count: n sequences.
        share: of them in the second part, rounded up; with a class each, at least as many as there
            are classes.
        seed: of the draw.
        labels: classes, (n,), whose shares are to be alike in both parts; or labels at every step,
            none of which is to be missing from the first part; None for no such care.
        what: name of the second part, for the message.
        gaps: channels in which a sequence misses values, (n, C), none of which is to be without
            gaps in the first part alone: what that has not seen, nothing is learnt about.
    Returns: indices of the first and the second part, each in ascending order.
    Raises: DataError if there are too few sequences.
    """
    from sklearn.model_selection import train_test_split

    held = math.ceil(share * count)
    classes = 0
    strata = None if isinstance(labels, Ragged) else labels
    if strata is not None:
        names, sizes = np.unique(strata, return_counts=True)
        classes = len(names)
        held = max(held, classes)
        if (sizes == 1).any():
            raise DataError(
                f"class {names.tolist()[int((sizes == 1).argmax())]!r} has one sequence left, "
                f"which cannot stand in both the training and the {what} part",
                remedy=f"Add sequences of it, leave it out, or set the {what} part aside yourself.",
            )
    if held >= count or count - held < classes:
        raise DataError(
            f"{count} {'sample is' if count == 1 else 'sequences are'} too few to hold out a "
            f"{what} part",
            remedy=f"Add sequences, or set the {what} part aside yourself.",
        )
    first, second = train_test_split(
        np.arange(count), test_size=held, random_state=seed, stratify=strata
    )
    traits = traits_of(count, labels if isinstance(labels, Ragged) else None, gaps)
    first, second = _keep_all(traits, first, second)
    if len(second) == 0:
        raise DataError(
            f"every sequence has a label{' or gaps' if gaps is not None and gaps.any() else ''} "
            f"that no other has: none is left for a {what} part",
            remedy=f"Add sequences, or set the {what} part aside yourself.",
        )
    return np.sort(first), np.sort(second)


def traits_of(
    count: int, labels: Ragged | None, gaps: NDArray[np.bool_] | None
) -> list[set[tuple[str, Any]]]:
    """What each sequence has that is to be in the first part if it is anywhere: labels, gaps."""
    found: list[set[tuple[str, Any]]] = [set() for _ in range(count)]
    for own, sequence in zip(found, labels or (), strict=False):
        own.update(("label", label) for label in sequence.tolist())
    for i, channel in np.argwhere(gaps) if gaps is not None else ():
        found[i].add(("gap", int(channel)))
    return found


def _keep_all(traits: list[set[tuple[str, Any]]], first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Move a sequence from the second to the first part for each trait that the first misses."""
    known = set[tuple[str, Any]]().union(*(traits[i] for i in first.tolist()))
    moved = []
    for i in second.tolist():
        if not known.issuperset(traits[i]):
            known.update(traits[i])
            moved.append(i)
    moved_index = np.array(moved, dtype=np.int64)
    return np.concatenate([first, moved_index]), np.setdiff1d(second, moved_index)
