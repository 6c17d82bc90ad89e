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
            f"{count} sequences are too few to hold out a {what} part",
            remedy=f"Add sequences, or set the {what} part aside yourself.",
        )
    first, second = train_test_split(
        np.arange(count), test_size=held, random_state=seed, stratify=strata
    )
    if isinstance(labels, Ragged):
        first, second = _keep_all(labels, first, second)
        if len(second) == 0:
            raise DataError(
                f"every sequence has a label that no other has: none is left for a {what} part",
                remedy=f"Add sequences, or set the {what} part aside yourself.",
            )
    return np.sort(first), np.sort(second)


def _keep_all(labels: Ragged, first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Move a sequence from the second to the first part for each label that the first misses."""
    known = set(labels.take(first).values.tolist())
    moved = []
    for i in second.tolist():
        if not known.issuperset(labels[i].tolist()):
            known.update(labels[i].tolist())
            moved.append(i)
    moved_index = np.array(moved, dtype=np.int64)
    return np.concatenate([first, moved_index]), np.setdiff1d(second, moved_index)
