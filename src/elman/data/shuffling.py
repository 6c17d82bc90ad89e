"""Random batches of sequences that are on disk, through a buffer in memory.

The sequences are divided into runs of neighbours in the file. Each epoch takes the runs in random
order and fills the buffer with one part of them after the other; the sequences of a fill are
shuffled and batched as a split in memory is. If all of them fit, that is the same order.

Everything random of an epoch is drawn before anything is read: a training that is continued reads
no fill but the one that it stopped in.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import Batch, Examples, Share, batch_randomly, make_batch
from elman.data.encoded import StoredExamples, cut
from elman.errors import SettingsError

Ints = NDArray[np.int64]
# Bytes of a run. Shorter ones mix a sorted file better, but each costs a seek.
RUN_BYTES = 1 << 18
# The buffer holds at least this many runs, so that a batch mixes as many places of the file.
LEAST_RUNS = 64


def buffer_of(memory_limit: int) -> int:
    """Return the bytes of a buffer for a process that may take up so many.

    It depends on nothing else: a training that is continued needs the same buffer again, whatever
    the process takes up then. An eighth, because the libraries and the network take up a share,
    and the part of the data that is being read and encoded another.
    """
    return memory_limit // 8


class Plan(NamedTuple):
    """A batch of a fill of the buffer.

    Args:
        fill: the sequences in the buffer, in ascending order, (m,).
        rows: places of the batch's sequences in the fill, (B,).
        batches: the rows of every batch of the fill; none if the buffer holds all sequences.
    """

    fill: Ints
    rows: Ints
    batches: Sequence[Ints] = ()


@dataclass(frozen=True, eq=False)
class Epoch(Sequence[Plan]):
    """Batches of an epoch; those of a fill are listed when the first of them is asked for.

    Args:
        lengths: steps of each sequence, (n,).
        size: sequences of a batch.
        bounds: first sequence of each run, and the number of sequences, (R + 1,).
        runs: the runs in random order, (R,).
        starts: number of sequences in the runs before each of `runs`, (R + 1,).
        fills: first sequence of each fill, counted in the order of `runs`, and their number,
            (F + 1,); multiples of `size` but for the last.
        seed: of the order inside the fills.
        places: the batches of the epoch that these are.
    """

    lengths: Ints
    size: int
    bounds: Ints
    runs: Ints
    starts: Ints
    fills: Ints
    seed: int
    places: range
    _listed: dict[int, list[Plan]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, at: int) -> Plan: ...
    @overload
    def __getitem__(self, at: slice) -> Epoch: ...
    def __getitem__(self, at: int | slice) -> Plan | Epoch:
        if isinstance(at, slice):
            return dataclasses.replace(self, places=self.places[at])
        first = self.places[at] * self.size
        fill = int(np.searchsorted(self.fills, first, side="right")) - 1
        if fill not in self._listed:
            self._listed.clear()
            self._listed[fill] = self._list(fill)
        return self._listed[fill][(first - int(self.fills[fill])) // self.size]

    def _list(self, fill: int) -> list[Plan]:
        """Return the batches of a fill."""
        start, end = int(self.fills[fill]), int(self.fills[fill + 1])
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        last = int(np.searchsorted(self.starts, end, side="left"))
        own = [np.arange(self.bounds[r], self.bounds[r + 1]) for r in self.runs[first:last]]
        before = int(self.starts[first])
        index = np.sort(np.concatenate(own)[start - before : end - before])
        generator = np.random.default_rng((self.seed, fill))
        batches = batch_randomly(self.lengths[index], self.size, generator)
        return [Plan(index, rows, batches) for rows in batches]


class Shuffled:
    """Source of random batches of sequences on disk; a plan is a batch of a fill of the buffer.

    Args:
        examples: the training split; its `buffer` is the memory of a fill.
        batch_size: sequences of a batch, or "full" for all of them.
    Raises: SettingsError if the buffer cannot hold every batch.
    """

    def __init__(self, examples: StoredExamples, batch_size: int | str) -> None:
        count = len(examples)
        self.examples = examples
        self.size = count if isinstance(batch_size, str) else batch_size
        self.batches = math.ceil(count / self.size)
        sizes, most = examples.sizes, examples.buffer
        largest = min(self.size, count)
        least = int(np.partition(sizes, count - largest)[count - largest :].sum())
        if least > most:
            raise SettingsError(
                f"batch_size: a batch of {largest:,} sequences may take {least:,} bytes, but the "
                f"memory limit leaves {most:,} bytes to the buffer that batches are drawn from. "
                "Raise --memory-limit, or use a smaller --batch-size"
            )
        self._everything = np.arange(count) if int(sizes.sum()) <= most else None
        runs = cut(sizes, min(RUN_BYTES, max(1, most // LEAST_RUNS)))
        self._bounds = np.array([first for first, _ in runs] + [count], dtype=np.int64)
        self._bytes = np.add.reduceat(sizes, self._bounds[:-1])
        # A fill, the process that it was read for, and what was read.
        self._held: tuple[Ints, tuple[int, int], Examples, Ints] | None = None

    def epoch(self, generator: np.random.Generator) -> Sequence[Plan]:
        """Return the batches of an epoch; each sequence is in one of them."""
        lengths = self.examples.lengths
        if self._everything is not None:
            batches = batch_randomly(lengths, self.size, generator)
            return [Plan(self._everything, rows) for rows in batches]
        runs = generator.permutation(len(self._bytes))
        starts = _sums(np.diff(self._bounds)[runs])
        fills = self._divide(starts, _sums(self._bytes[runs]))
        seed = int(generator.integers(2**63))
        places = range(self.batches)
        return Epoch(lengths, self.size, self._bounds, runs, starts, fills, seed, places)

    def _divide(self, starts: Ints, sizes: Ints) -> Ints:
        """Return where fills begin and the last ends, so that each fits and only the last batch
        is smaller than the others.

        Args:
            starts, sizes: number and bytes of the sequences before each run, in order, (R + 1,).
        """
        fills, count = [0], int(starts[-1])
        while fills[-1] < count:
            first = int(np.searchsorted(starts, fills[-1], side="right")) - 1
            fitting = sizes[first] + self.examples.buffer
            end = int(starts[np.searchsorted(sizes, fitting, side="right") - 1])
            end = end if end == count else end // self.size * self.size
            fills.append(end if end > fills[-1] else min(fills[-1] + self.size, count))
        return np.array(fills, dtype=np.int64)

    def make(self, plan: Plan) -> Batch:
        """Return a batch, padded, and fill the buffer first if it holds other sequences."""
        return make_batch(self._load(plan, 0, 1)[0], plan.rows)

    def make_share(self, plan: Plan, rank: int, ranks: int) -> Batch:
        """Return every `ranks`-th sequence of a batch; of a fill, only such sequences are read."""
        buffer, own = self._load(plan, rank, ranks)
        share = Share.of(self.examples.lengths[plan.fill[plan.rows]], rank, ranks)
        rows = np.searchsorted(own, plan.rows[share.rows])
        return dataclasses.replace(make_batch(buffer, rows), share=share)

    def _load(self, plan: Plan, rank: int, ranks: int) -> tuple[Examples, Ints]:
        """Return what the buffer holds of a fill for a process, and their places in the fill."""
        if self._held is not None:
            fill, held_for, buffer, own = self._held
            if fill is plan.fill and held_for == (rank, ranks):
                return buffer, own
            del buffer
        self._held = None  # its memory is free before the next fill is read
        own = np.arange(len(plan.fill))
        if plan.batches and ranks > 1:
            lengths = self.examples.lengths[plan.fill]
            shares = [b[Share.of(lengths[b], rank, ranks).rows] for b in plan.batches]
            own = np.sort(np.concatenate(shares))
        buffer = self.examples.take(plan.fill[own])
        self._held = plan.fill, (rank, ranks), buffer, own
        return buffer, own

    def places(self, plan: Plan) -> Ints:
        """Return the index in the caller's data of each sequence of a batch."""
        return self.examples.places_of(plan.fill[plan.rows])


def _sums(counts: Ints) -> Ints:
    """Return the sums of the counts before each place, and of all, (n + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
