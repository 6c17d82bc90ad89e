"""Sequences of unequal length as one flat array and offsets, the way Arrow stores lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ragged:
    """n sequences laid end to end.

    Args:
        values: the steps of all sequences, (N, ...): (N, C) numbers, (N,) tokens or tags.
        offsets: where each sequence starts, and the end, (n + 1,) int64, from 0 to N.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    @classmethod
    def from_list(cls, sequences: Sequence[Any], dtype: Any = None) -> Ragged:
        """Join `sequences`, each of shape (T_i, ...) with the same trailing shape."""
        arrays = [np.asarray(s, dtype=dtype) for s in sequences]
        offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(a) for a in arrays], out=offsets[1:])
        values = np.concatenate(arrays) if arrays else np.zeros(0, dtype=dtype)
        return cls(values, offsets)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, (n,)."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> NDArray[np.int64]:
        """For each step, the index of its sequence, (N,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def with_values(self, values: NDArray[Any]) -> Ragged:
        """Return the same lengths over other step values, (N, ...)."""
        return Ragged(values, self.offsets)

    def take(self, index: NDArray[np.int64]) -> Ragged:
        """Return the sequences at `index`, (m,), in that order."""
        lengths = self.lengths[index]
        offsets = np.zeros(len(index) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        # From a step's place in the result to its place here.
        shift = np.repeat(self.offsets[:-1][index] - offsets[:-1], lengths)
        return Ragged(self.values[np.arange(offsets[-1]) + shift], offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))


def flatten(values: NDArray[Any] | Ragged) -> NDArray[Any]:
    """Return the steps of all sequences, (N, ...), or an array of one value a sequence as it is."""
    return values.values if isinstance(values, Ragged) else values


def to_objects(values: Sequence[Any]) -> NDArray[Any]:
    """Return values as an object array, (n,), each of the type it has.

    `np.array` would turn numbers beside text into text.
    """
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
