"""What the generated tasks share: sizes, sequences of which no two are alike, the two parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from elman.data.dataset import Dataset, InputKind, Layout
from elman.data.ragged import Ragged
from elman.errors import SettingsError
from elman.settings import Help

Train = Annotated[int, Ge(2), Le(1_000_000), Help("sequences of the training part")]
Test = Annotated[int, Ge(1), Le(1_000_000), Help("sequences of the test part")]
Stretch = Annotated[
    int, Ge(1), Le(100), Help("1: a test part like the training's; else up to so many times longer")
]


def distinct(draw: Callable[[], NDArray[Any]], count: int) -> list[NDArray[Any]]:
    """Draw until there are `count` sequences of which no two are equal.

    They come in the order of their first draw, so that likely ones come early.
    Raises: SettingsError if there are too few of them.
    """
    seen: dict[bytes, NDArray[Any]] = {}
    for _ in range(20 * count + 10_000):
        sequence = draw()
        # Object arrays hold addresses; all others are told apart by their bytes.
        seen.setdefault(
            repr(sequence.tolist()).encode() if sequence.dtype == object else sequence.tobytes(),
            sequence,
        )
        if len(seen) == count:
            return list(seen.values())
    raise SettingsError(
        f"Of the {count:,} different sequences asked for, only {len(seen):,} were found. Ask for "
        "fewer with train= and test=, or for longer ones"
    )


def layout(kind: InputKind, values: Sequence[str] = (), *, per_step: bool = False) -> Layout:
    """How generated data is laid out: numbers with these channels, or tokens."""
    return Layout(
        format="rows",
        kind=kind,
        target="label",
        per_step=per_step,
        text="tokens" if kind == "tokens" else None,
        values=tuple(values),
    )


def parts(
    name: str,
    inputs: Sequence[NDArray[Any]],
    target: NDArray[Any] | Ragged,
    layout: Layout,
    train: int,
) -> tuple[Dataset, Dataset]:
    """The first `train` sequences and the rest."""
    data = Dataset(inputs=Ragged.from_list(inputs), target=target, source=name, layout=layout)
    index = np.arange(len(inputs))
    return data.take(index[:train]), data.take(index[train:])


def labels(values: Sequence[Any]) -> NDArray[np.object_]:
    """Plain labels in an object array, (n,)."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def tokens(text: Sequence[str]) -> NDArray[np.object_]:
    """A sequence of tokens, (T,), a character each if `text` is a string."""
    return labels(list(text))
