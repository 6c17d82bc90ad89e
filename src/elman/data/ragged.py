"""Sequences of unequal length as one flat array and offsets, as Arrow stores lists.

Also their missing values and categories: steps that mix numbers and categories are (N, C) object
arrays.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from operator import is_not
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ragged:
    """n concatenated sequences.

    Args:
        values: the steps of all sequences, (N, ...): (N, C) numbers, (N,) tokens or tags.
        offsets: where each sequence starts, and the end, (n + 1,) int64, from 0 to N.
        static: encoded features of whole sequences that go with the steps, (n, S) float32; None if
            there are none.
        padded: lengths before padding was removed at the ends, (n,); None if there was none.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    static: NDArray[np.float32] | None = None
    padded: NDArray[np.int64] | None = None

    @classmethod
    def from_list(cls, sequences: Sequence[Any], dtype: Any = None) -> Ragged:
        """Join `sequences`, each of shape (T_i, ...) with the same trailing shape."""
        arrays = [np.asarray(s, dtype=dtype) for s in sequences]
        offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(a) for a in arrays], out=offsets[1:])
        values = np.concatenate(arrays) if arrays else np.zeros(0, dtype=dtype)
        return cls(values, offsets)

    @classmethod
    def from_padded(cls, X: Any, lengths: Any) -> Ragged:
        """Take the valid steps out of an array; NaN in them is a gap, also at their end.

        Args:
            X: (n, T, C), or (n, T) for one channel; an array, a tensor, or nested lists.
            lengths: steps of each sequence, (n,): a list, tuple, array, tensor or series.
        Raises: DataError for other shapes, and for lengths that are not from 1 to T.
        """
        if hasattr(X, "detach"):
            X = X.detach().cpu()
        array, ends = np.asarray(X), np.asarray(lengths)
        if array.ndim not in (2, 3) or ends.shape != array.shape[:1] or ends.dtype.kind not in "iu":
            raise DataError(
                f"got X of shape {array.shape} and lengths of {ends.dtype} and shape {ends.shape}",
                remedy="Expected (n, T, C) or (n, T), and n whole numbers.",
            )
        if len(ends) and not 1 <= ends.min() <= ends.max() <= array.shape[1]:
            raise DataError(
                f"lengths: got {ends.min()} to {ends.max()}, expected 1 to {array.shape[1]}",
                remedy="Leave out sequences without steps.",
            )
        mask = np.arange(array.shape[1]) < ends[:, None]
        offsets = np.concatenate([[0], np.cumsum(ends)]).astype(np.int64)
        return cls(array.reshape(*array.shape[:2], -1)[mask], offsets)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, (n,)."""
        return np.diff(self.offsets)

    def lengths_of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the steps of the sequences at `index`, (m,)."""
        # Without those of all, which would make an epoch, batch by batch, quadratic in n.
        return self.offsets[1:][index] - self.offsets[:-1][index]

    @property
    def owners(self) -> NDArray[np.int64]:
        """For each step, the index of its sequence, (N,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def with_values(self, values: NDArray[Any]) -> Ragged:
        """Return the same lengths over other step values, (N, ...)."""
        return dataclasses.replace(self, values=values)

    def take(self, index: NDArray[np.int64]) -> Ragged:
        """Return the sequences at `index`, (m,), in that order."""
        taken = self.take_steps(index, np.zeros_like(index), self.lengths_of(index))
        padded = None if self.padded is None else self.padded[index]
        return dataclasses.replace(taken, padded=padded)

    def take_steps(
        self, index: NDArray[np.int64], start: NDArray[np.int64], count: NDArray[np.int64]
    ) -> Ragged:
        """Return a part of each sequence at `index`: `count` steps from `start` on, (m,) each."""
        offsets = np.append(0, np.cumsum(count)).astype(np.int64)
        static = None if self.static is None else self.static[index]
        return Ragged(self.values[self._places(index, start, count)], offsets, static)

    def _places(self, index: NDArray[np.int64], start: Any, count: NDArray[np.int64]) -> Any:
        """Return where `values` holds the steps of `take_steps`."""
        shift = np.repeat(self.offsets[:-1][index] + start - (np.cumsum(count) - count), count)
        return np.arange(len(shift)) + shift

    def between(self, index: NDArray[np.int64], start: int, stop: int) -> Ragged:
        """Return the steps from `start` to `stop`, or the end, of the sequences at `index`."""
        count = np.clip(self.lengths_of(index), start, stop) - start
        return self.take_steps(index, np.full_like(index, start), count)

    def places_between(self, index: NDArray[np.int64], start: int, stop: int) -> NDArray[np.int64]:
        """Return where `values` holds the steps of `between`."""
        count = np.clip(self.lengths_of(index), start, stop) - start
        return np.asarray(self._places(index, start, count))

    def cut(self, other: Ragged, labels: Ragged | None = None) -> Ragged:
        """Return `other`, labels or weights per step, without what is beyond the ends of this one.

        That is what was padding of this one, or steps beyond its ends of which none is labelled.

        Args:
            labels: the labels, as long as `other`; by default it is `other`.
        """
        padded = self.padded is not None and np.array_equal(other.lengths, self.padded)
        longer = other.lengths > self.lengths if len(other) == len(self) else np.zeros(1, bool)
        if not padded and not (longer.any() and (other.lengths >= self.lengths).all()):
            return other
        starts = np.repeat(other.offsets[:-1], other.lengths)
        kept = np.arange(len(other.values)) - starts < np.repeat(self.lengths, other.lengths)
        beyond = (other if labels is None else labels).values[~kept]
        if not padded and is_labelled(beyond).any():
            return other
        return Ragged(other.values[kept], self.offsets)

    def to_padded(self, fill: Any = 0) -> NDArray[Any]:
        """Return the sequences side by side, (n, T, ...), with `fill` past each end."""
        mask = np.arange(self.lengths.max(initial=0)) < self.lengths[:, None]  # (n, T)
        out = np.zeros((*mask.shape, *self.values.shape[1:]), dtype=self.values.dtype)
        if fill != 0:
            out.fill(fill)
        out[mask] = self.values
        return out

    def contents(self) -> list[bytes]:
        """Return comparable bytes for each sequence of numbers, with its static features."""
        own = [repr(s.shape).encode() + np.ascontiguousarray(s).tobytes() for s in self]
        if self.static is None:
            return own
        return [a + b.tobytes() for a, b in zip(own, self.static, strict=True)]

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
    """Return the steps of all sequences, (N, ...); an array is returned unchanged."""
    return values.values if isinstance(values, Ragged) else values


def to_objects(values: Sequence[Any]) -> NDArray[Any]:
    """Return values as an object array, (n,), without changing their types.

    `np.array` would convert numbers to text if the values also contain text.
    """
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def is_channels_first(steps: int, channels: int) -> bool:
    """Whether sequences (T, C) have so few steps that they may have been stored as (C, T)."""
    return channels > steps


def ask_channels_first(what: str, shape: tuple[int, ...], verb: str) -> str:
    """Return the hint that sequences may have been stored channels first.

    Args:
        what: the array.
        shape: (n, T, C).
        verb: what to do with the transposed array.
    """
    n, steps, channels = shape
    return (
        f"{what} of shape {shape} was read as {n:,} sequences of {steps} steps and {channels} "
        f"channels, more channels than steps. If it holds {steps} channels of {channels} steps, as "
        f"aeon, sktime and tsai store it, {verb} X.transpose(0, 2, 1)"
    )


def trailing_gaps(values: NDArray[Any]) -> int:
    """Return the number of steps at the end of (T, C) in which every channel is NaN.

    A sequence without any value has none: it is refused and not shortened.
    """
    gaps = np.isnan(values).reshape(len(values), -1).all(axis=1)
    return 0 if gaps.all() else int(np.argmin(gaps[::-1]))


NOT_LABELLED = -100  # the class code of a step without a label, torch's ignore_index


def is_labelled(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which labels or values are known, (N,).

    Args:
        labels: (N,) labels, None where there is none; or (N,) or (N, K) numbers, NaN where there is
            none. A row of K numbers is known if all of them are.
    """
    if labels.dtype.kind == "f":
        return np.asarray(~np.isnan(labels).reshape(len(labels), -1).any(1))
    if labels.dtype != object:
        return np.ones(len(labels), dtype=bool)
    return np.fromiter(map(is_not, labels.tolist(), repeat(None)), bool, len(labels))


def is_target(target: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which entries of a training target are known, (N,): codes from 0, or numbers."""
    codes = target.dtype.kind in "iu" and target.ndim == 1
    return np.asarray(target >= 0) if codes else is_labelled(target)


def sequences_with_labels(labels: Ragged) -> NDArray[np.bool_]:
    """Return whether any step of each sequence is labelled, (n,)."""
    known = is_labelled(labels.values)
    return np.bincount(labels.owners[known], minlength=len(labels)) > 0


def join_steps(steps: list[Any], channels: int, largest: float) -> NDArray[np.float64] | None:
    """Return the numbers of a sequence of lists, (T * C,), None being NaN; None if one is invalid.

    Types are looked at in sets: one by one that takes three times as long as parsing them.

    Args:
        largest: magnitude that a number may have.
    """
    if {*map(type, steps)} != {list} or {*map(len, steps)} != {channels}:
        return None
    cells = [*chain.from_iterable(steps)]
    if not {*map(type, cells)} <= {int, float, type(None)}:
        return None
    try:
        numbers = np.array(cells, np.float64)
    except OverflowError:
        return None
    return None if (np.abs(numbers) > largest).any() else numbers


class Gap(NamedTuple):
    """Place of a missing value: its sequence, step and channel, each counted from 0."""

    sequence: int
    step: int
    channel: int


def first_gap(numbers: Ragged, allowed: NDArray[np.bool_]) -> Gap | None:
    """Return the first missing value in a channel that must not have any, or None.

    Args:
        numbers: (N, C), NaN where a value is missing.
        allowed: whether a channel may have gaps, (C,).
    """
    wrong = np.isnan(numbers.values) & ~allowed
    if not wrong.any():
        return None
    row, channel = (int(i) for i in np.argwhere(wrong)[0])
    sequence = int(numbers.owners[row])
    return Gap(sequence, row - int(numbers.offsets[sequence]), channel)


def sequences_with_gaps(numbers: Ragged) -> NDArray[np.bool_]:
    """Return whether each sequence lacks values in each channel, (n, C); lengths are >= 1."""
    if not len(numbers):
        return np.zeros((0, numbers.values.shape[1]), dtype=bool)
    return np.logical_or.reduceat(np.isnan(numbers.values), numbers.offsets[:-1])


def sequences_without_values(numbers: Ragged) -> NDArray[np.bool_]:
    """Return whether all values of each sequence are missing, (n,); lengths are >= 1."""
    if not len(numbers):
        return np.zeros(0, dtype=bool)
    observed = (~np.isnan(numbers.values)).any(1)
    return ~np.logical_or.reduceat(observed, numbers.offsets[:-1])


def carry_forward(numbers: Ragged, fill: Floats) -> Floats:
    """Return (N, C) with each gap replaced by the last value of its channel and sequence.

    Args:
        numbers: (N, C), NaN where a value is missing.
        fill: value that replaces gaps before the first value of a sequence, one per channel, (C,).
    """
    values: Floats = numbers.values
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    starts = np.repeat(numbers.offsets[:-1], numbers.lengths)[:, None]  # (N, 1)
    rows = np.arange(len(values))[:, None]
    # A running maximum of row numbers finds the last value in one pass over all sequences.
    last = np.maximum.accumulate(np.where(gaps, -1, rows), axis=0)  # row of the last value so far
    carried = np.take_along_axis(values, last.clip(0), axis=0)
    # A value from before the start of the sequence belongs to the previous sequence.
    return np.where(last < starts, fill, carried)


Fill = Literal["refuse", "previous", "mean", "zero"]


def fill_gaps(numbers: Ragged, allowed: NDArray[np.bool_], how: Fill, mean: Floats) -> Ragged:
    """Return numbers without the gaps that `first_gap` finds.

    Args:
        numbers: (N, C), NaN where a value is missing.
        allowed: whether a channel may have gaps, (C,); those are left as they are.
        how: `previous`, the last value of the channel in the sequence, or at its start the next
            one; a channel without any value in the sequence stays a gap. `mean`; or `zero`.
            `refuse` changes nothing.
        mean: mean of each channel in the training split, (C,).
    """
    values = numbers.values
    wrong = np.isnan(values) & ~allowed
    if how == "refuse" or not wrong.any():
        return numbers
    if how == "previous":
        nothing = np.full(values.shape[1], np.nan)
        # Reversed in time within each sequence, the next value is the previous one.
        rows = np.arange(len(values))
        back = (numbers.offsets[:-1] + numbers.offsets[1:] - 1)[numbers.owners] - rows
        following = carry_forward(numbers.with_values(values[back]), nothing)[back]
        filled = carry_forward(numbers, nothing)
        filled = np.where(np.isnan(filled), following, filled)
    else:
        filled = np.broadcast_to(mean if how == "mean" else np.zeros_like(mean), values.shape)
    return numbers.with_values(np.where(wrong, filled, values))


MISSING_CATEGORY = ""  # a missing value is a category of its own


def is_number_or_gap(value: Any) -> bool:
    """Whether a value is allowed in a numeric column: a number, or None for a gap."""
    return value is None or isinstance(value, float | int | np.number | np.bool_)


def category_columns(values: NDArray[Any]) -> tuple[int, ...]:
    """Return the columns of (N, C) in which a value is neither a number nor missing."""
    # Converted to lists first: indexing an object array element by element is slow.
    columns = values.T.tolist()
    return tuple(c for c, column in enumerate(columns) if not all(map(is_number_or_gap, column)))


def number_columns(values: NDArray[Any], categories: tuple[int, ...]) -> list[int]:
    """Return the other columns of (N, C)."""
    return [c for c in range(values.shape[1]) if c not in categories]


def extract_numbers(mixed: Ragged, categories: tuple[int, ...]) -> Ragged:
    """Return the columns of numbers, (N, C) float64, NaN where a value is missing.

    Raises: DataError naming a value that is not a number.
    """
    columns = number_columns(mixed.values, categories)
    part = mixed.values[:, columns]
    out = np.empty(part.shape)
    for at, own in enumerate(part.T.tolist()):
        for row, value in enumerate(own):
            if not is_number_or_gap(value):
                sequence = int(mixed.owners[row])
                raise DataError(
                    f"sequence {sequence}: step {row - mixed.offsets[sequence] + 1}, channel "
                    f"{columns[at]} is {value!r:.40}, expected a number as in training",
                    remedy="Correct the value, or give NaN where it is missing.",
                )
            out[row, at] = math.nan if value is None else value
    return mixed.with_values(out)


def category_names(column: NDArray[Any]) -> list[str]:
    """Return the categories in a column, (N,), as text; a missing category is empty text."""
    return [MISSING_CATEGORY if v is None or v != v else str(v) for v in column.tolist()]
