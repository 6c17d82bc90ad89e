"""Parts of a dataset that do not overlap."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from elman.errors import DataError

Ints = NDArray[np.int64]


def hold_out(
    count: int, share: float, seed: int, codes: Ints | None = None, what: str = "validation"
) -> tuple[Ints, Ints]:
    """Draw two parts by chance.

    Args:
        count: n sequences.
        share: of them in the second part, rounded up; with `codes` at least one a class.
        seed: of the draw.
        codes: classes, (n,), whose shares are to be alike in both parts; None for no such care.
        what: name of the second part, for the message.
    Returns: indices of the first and the second part, each in ascending order.
    Raises: DataError if there are too few sequences.
    """
    from sklearn.model_selection import train_test_split

    held = math.ceil(share * count)
    if codes is not None:
        sizes = np.bincount(codes)
        held = max(held, int((sizes > 0).sum()))
        if (sizes == 1).any():
            raise DataError(
                f"a class with one sequence cannot stand in both the training and the {what} part",
                remedy=f"Add sequences of it, leave it out, or set the {what} part aside yourself.",
            )
    if held >= count or (codes is not None and count - held < (sizes > 0).sum()):
        raise DataError(
            f"{count} sequences are too few to hold out a {what} part",
            remedy=f"Add sequences, or set the {what} part aside yourself.",
        )
    first, second = train_test_split(
        np.arange(count), test_size=held, random_state=seed, stratify=codes
    )
    return np.sort(first), np.sort(second)
