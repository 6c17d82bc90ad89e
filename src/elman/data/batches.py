"""Padded batches of ragged sequences, built on demand and always with their lengths."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.ragged import Ragged, flatten, is_target

# Number of batches sorted by length together; more save little padding and mix batches less.
_BUCKET = 16
# Steps in a batch of inference. A network of 64 units in both directions takes about 2 kB a step.
MOST_STEPS = 2**18


@dataclass(frozen=True)
class Examples:
    """Encoded sequences for a model.

    Args:
        inputs: n sequences of numbers, (N, C) float32, or token ids, (N,) int64.
        target: class codes, (n,) int64; labels as 0 or 1, (n, K) float32; or values, (n, K)
            float32. Targets at every step are a Ragged of (N,) or (N, K), with the code -100 or
            NaN where a step is not labelled.
        weight: weight in the loss, (n,) float32, or a Ragged of (N,); None for equal weights.
        unit: scale of each predicted value, (K,) float64: the size of 1 in the unit of the target;
            None if no numbers are predicted.
        measured: number of leading columns of `inputs` that hold measured values.
        places: index of each sequence in the caller's data, (n,); None if it is the index here.
    """

    inputs: Ragged
    target: NDArray[Any] | Ragged
    weight: NDArray[np.float32] | Ragged | None = None
    unit: NDArray[np.float64] | None = None
    measured: int = 0
    places: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, (n,)."""
        return self.inputs.lengths

    @property
    def weighted(self) -> bool:
        """Whether sequences or steps have weights of their own."""
        return self.weight is not None

    @property
    def known(self) -> tuple[int, int]:
        """Number of sequences, or steps, that are labelled, and number of all of them."""
        labelled = is_target(flatten(self.target))
        return int(labelled.sum()), len(labelled)

    def pieces(self) -> Iterator[Examples]:
        """Yield all sequences, in one piece because they are in memory."""
        yield self

    def sample(self) -> Examples:
        """Return all sequences, because they are in memory."""
        return self

    def subset(self, index: NDArray[np.int64]) -> Examples:
        """Return the sequences at `index`, (m,), in that order."""
        return self.take(index)

    def code_counts(self, numbers: int) -> list[NDArray[np.int64]]:
        """Return how often each code occurs in each column of token ids or category codes.

        Args:
            numbers: number of leading columns of `inputs` that are no codes.
        """
        values = self.inputs.values
        columns = [values] if values.ndim == 1 else list(values[:, numbers:].T.astype(np.int64))
        return [np.bincount(codes) for codes in columns]

    def places_of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices in the caller's data of the sequences at `index`."""
        return index if self.places is None else self.places[index]

    def take(self, index: NDArray[np.int64]) -> Examples:
        """Return the sequences at `index`, (m,), in that order."""
        return dataclasses.replace(
            self,
            inputs=self.inputs.take(index),
            target=_at(self.target, index),
            weight=None if self.weight is None else _at(self.weight, index),
            places=self.places_of(index),
        )

    def take_steps(
        self, index: NDArray[np.int64], start: NDArray[np.int64], count: NDArray[np.int64]
    ) -> Examples:
        """Return a part of each sequence at `index`: `count` steps from `start` on, (m,) each.

        The targets, and weights if there are any, are those of the steps.
        """
        target, weight = self.target, self.weight
        assert isinstance(target, Ragged) and not isinstance(weight, np.ndarray)
        return dataclasses.replace(
            self,
            inputs=self.inputs.take_steps(index, start, count),
            target=target.take_steps(index, start, count),
            weight=None if weight is None else weight.take_steps(index, start, count),
            places=self.places_of(index),
        )


@dataclass(frozen=True)
class Part:
    """Where the rows of a batch lie, if they are chunks of longer sequences.

    Args:
        streams: the stream whose state a row continues from, (B,) int64.
        begins: whether it starts from its first state instead, (B,) bool.
        starts: the row's first step in its sequence, (B,).
    """

    streams: Tensor
    begins: Tensor
    starts: NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """Which rows of a whole batch a process computes, where several processes divide it.

    Args:
        rows: of the whole batch.
        batch, time: sizes of the whole batch, B and T.
        counts: False for a process without a row of its own, because the batch has fewer rows than
            there are processes: it computes the first row and adds nothing to the result.
    """

    rows: slice
    batch: int
    time: int
    counts: bool = True

    @property
    def part(self) -> tuple[slice, int, int]:
        """What `elman.layers.random_numbers.draw_for` takes."""
        return self.rows, self.batch, self.time

    @classmethod
    def of(cls, lengths: NDArray[np.int64], rank: int, ranks: int) -> Share:
        """Return the rows of process `rank` of `ranks`: rank, rank + ranks, rank + 2 ranks, ...

        Rows of a batch are sorted by length, so that each process has about as many steps.

        Args:
            lengths: steps of each row of the whole batch, (B,).
        """
        batch, time = len(lengths), int(lengths.max())
        if rank < batch:
            return cls(slice(rank, None, ranks), batch, time)
        return cls(slice(0, 1), batch, time, counts=False)


@dataclass(frozen=True)
class Batch:
    """B padded sequences.

    Args:
        x: numbers (B, T, C) or token ids (B, T), zero past each row's end.
        lengths: valid steps of each row, (B,) int64.
        target: class codes, (B,), or (B, K), or (B, T) or (B, T, K) with zeros past each row's end.
        weight: (B,) or (B, T), or None.
        static: features of whole sequences, (B, S), or None.
        part: None if the rows are whole sequences.
        share: which rows of a whole batch these are; None for all.
    """

    x: Tensor
    lengths: Tensor
    target: Tensor
    weight: Tensor | None = None
    static: Tensor | None = None
    part: Part | None = None
    share: Share | None = None


def pad(ragged: Ragged) -> Tensor:
    """Pad n sequences to the longest length T: (n, T, ...), zeros past each end."""
    # Padded one batch at a time: a whole split padded to its longest sequence would often not fit
    # in memory. No layer reads the zeros, because every batch comes with its lengths.
    return torch.from_numpy(ragged.to_padded())


def make_batch(
    examples: Examples, index: NDArray[np.int64], steps: tuple[int, int] | None = None
) -> Batch:
    """Pad the sequences at `index`, (B,), or some steps of them, into one batch.

    Args:
        steps: the first step and the one after the last; a shorter sequence ends where it ends.
            None for whole sequences.
    """
    inputs = (
        examples.inputs.take(index) if steps is None else examples.inputs.between(index, *steps)
    )
    weight = examples.weight
    return Batch(
        x=pad(inputs),
        lengths=torch.from_numpy(inputs.lengths),
        target=_side_by_side(examples.target, index, steps),
        weight=None if weight is None else _side_by_side(weight, index, steps),
        static=static_of(inputs),
    )


def static_of(inputs: Ragged) -> Tensor | None:
    """Return the static features of encoded sequences, (n, S), or None if there are none."""
    return None if inputs.static is None else torch.from_numpy(inputs.static)


def _at(values: Any, index: NDArray[np.int64]) -> Any:
    return values.take(index) if isinstance(values, Ragged) else values[index]


def _side_by_side(
    values: NDArray[Any] | Ragged, index: NDArray[np.int64], steps: tuple[int, int] | None
) -> Tensor:
    if isinstance(values, Ragged):
        return pad(values.take(index) if steps is None else values.between(index, *steps))
    return torch.from_numpy(values[index])


def batch_randomly(
    lengths: NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Split one epoch into batches of similar lengths, in random order.

    All sequences are shuffled, each run of 16 batches is sorted by length and split, and
    the batches are shuffled again: this needs little padding and changes the batches every epoch.

    Args:
        lengths: steps of each sequence, (n,).
        batch_size: B; the last batch may be smaller.
        generator: the only source of randomness.
    Returns: indices into `lengths`, one array per batch; each sequence exactly once.
    """
    order = generator.permutation(len(lengths))
    # Sorting equal lengths would only cost time; skipping it draws the same random numbers.
    if len(np.unique(lengths)) > 1:
        span = batch_size * _BUCKET
        runs = [order[i : i + span] for i in range(0, len(order), span)]
        order = np.concatenate([run[np.argsort(lengths[run], kind="stable")] for run in runs])
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    # Shuffled again, because each sorted run starts with its short sequences.
    return [batches[i] for i in generator.permutation(len(batches))]


def batch_by_length(
    lengths: NDArray[np.int64],
    batch_size: int,
    most_steps: int = MOST_STEPS,
    long_rows: int = 1,
) -> Iterator[NDArray[np.int64]]:
    """Split all sequences into batches from short to long, deterministically; for inference.

    Args:
        lengths: steps of each sequence, (n,).
        batch_size: largest number of sequences in a batch.
        most_steps: largest number of steps in a batch, padding included, to bound its memory; a
            longer sequence is a batch of its own.
        long_rows: number of such longer sequences in a batch, if they are read in parts.
    Returns: indices into `lengths`, one array per batch; each sequence exactly once.
    """
    order = np.argsort(lengths, kind="stable")
    for i in range(0, len(order), batch_size):
        block = order[i : i + batch_size]  # the last is the longest
        short = len(block)
        if long_rows > 1:
            short = int(np.searchsorted(lengths[block], most_steps, side="right"))
        block, long = block[:short], block[short:]
        rows = max(1, most_steps // max(1, int(lengths[block].max(initial=1))))
        yield from (block[k : k + rows] for k in range(0, len(block), rows))
        yield from (long[k : k + long_rows] for k in range(0, len(long), long_rows))


class Source(Protocol):
    """The batches of each epoch, in an order that depends on nothing but a random generator.

    Attributes:
        batches: number of batches of an epoch, the same in each.
    """

    batches: int

    def epoch(self, generator: np.random.Generator) -> Sequence[Any]:
        """Return the plan of each batch of an epoch.

        All that is random about the order is drawn here, and nothing is read: a training that is
        continued skips the plans of the batches that are done.
        """
        ...

    def make(self, plan: Any) -> Batch:
        """Return the batch of a plan."""
        ...

    def make_share(self, plan: Any, rank: int, ranks: int) -> Batch:
        """Return the rows of a plan that process `rank` of `ranks` computes, with their `share`."""
        ...

    def places(self, plan: Any) -> NDArray[np.int64]:
        """Return the index in the caller's data of each row of the batch, (B,)."""
        ...


class InMemory:
    """Batches of sequences that are all in memory; a plan is their indices, (B,).

    Args:
        examples: the training split.
        batch_size: sequences of a batch, or "full" for all of them.
    """

    def __init__(self, examples: Examples, batch_size: int | str) -> None:
        self.examples = examples
        self.size = len(examples) if isinstance(batch_size, str) else batch_size
        self.batches = math.ceil(len(examples) / self.size)

    def epoch(self, generator: np.random.Generator) -> Sequence[NDArray[np.int64]]:
        """Return the indices of each batch; each sequence is in one of them."""
        return batch_randomly(self.examples.inputs.lengths, self.size, generator)

    def make(self, plan: NDArray[np.int64]) -> Batch:
        """Return the sequences of a plan, padded."""
        return make_batch(self.examples, plan)

    def make_share(self, plan: NDArray[np.int64], rank: int, ranks: int) -> Batch:
        """Return every `ranks`-th sequence of a plan, padded to the longest of these."""
        share = Share.of(self.examples.inputs.lengths_of(plan), rank, ranks)
        return dataclasses.replace(make_batch(self.examples, plan[share.rows]), share=share)

    def places(self, plan: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index in the caller's data of each sequence of a plan."""
        return self.examples.places_of(plan)
