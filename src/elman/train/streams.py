"""Truncated backpropagation through time: sequences read in streams, a few steps at a time.

    (h, c)_first of a chunk = (h, c)_last of the chunk before it, as a constant

The sequences of the training split are dealt to streams that lie side by side. A training step
takes the next K steps, a chunk, of every stream; a chunk never goes beyond the end of a sequence,
and the next sequence of the stream begins with its own first state. Source: Williams & Peng 1990,
Neural Computation 2, with h = h' = K.

Dimensions: S streams, B rows of a batch, K steps of a chunk.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Batch, Part, Share, batch_randomly, make_batch
from elman.data.encoded import Split
from elman.data.faults import format_count
from elman.errors import ModelFileError, SettingsError
from elman.models import SequenceModel
from elman.models.carry import Carry, zero_states
from elman.settings import TrainingPlan

Integers = NDArray[np.int64]
# A piece of a sequence that is divided has this many chunks at least: its first ones are read from
# a state that the whole sequence does not have there.
LEAST_CHUNKS = 10
# A finer division must make an epoch this much shorter to be worth its wrong first states.
WORTHWHILE = 0.8
_FINER = (3.0, 2.0, 1.5, 1.25, 1.0)  # longest pieces that are tried, in mean lengths of a stream


def refuse_truncation(model: SequenceModel, plan: TrainingPlan) -> None:
    """Raise SettingsError if a model cannot be trained with the `tbptt` of the plan."""
    if not model.config.per_step:
        raise SettingsError(
            f"tbptt: got {plan.tbptt}, but readout {model.config.readout!r} gives one output for a "
            "whole sequence, whose loss is known at its end only. Use it with an output at every "
            "step (task tagging, or numbers at every step), or leave it out"
        )
    if model.config.bidirectional:
        raise SettingsError(
            f"tbptt: got {plan.tbptt}, but this network also reads each sequence from its end, so "
            "its states cannot be carried from one chunk to the next. Train one with "
            "--no-bidirectional (bidirectional=False), or leave tbptt out"
        )
    if type(model).forward is not SequenceModel.forward:
        raise SettingsError(
            f"tbptt: got {plan.tbptt}, but {type(model).__name__} has a forward pass of its own, "
            "which cannot be cut into chunks; expected a SequenceModel"
        )


class Chunks(NamedTuple):
    """The plan of a batch: a row for each stream that still runs.

    Args:
        streams: stream of each row, (B,), ascending.
        sequences: index of its sequence, (B,).
        starts: first step of the chunk in the sequence, (B,).
        lengths: steps of the chunk, (B,), from 1 to K.
        begins: whether the row starts from its first state, (B,).
    """

    streams: Integers
    sequences: Integers
    starts: Integers
    lengths: Integers
    begins: NDArray[np.bool_]


class Streams:
    """Batches of chunks, the `Source` of a training by truncated backpropagation.

    The number of batches depends on the lengths alone. Where no sequence is longer than a chunk,
    the batches are those of full backpropagation.

    Args:
        examples: the training split, in memory or on disk, with a target at every step.
        steps: K.
        batch_size: streams, or "full" for one for each sequence.
    Attributes:
        batches: training steps of an epoch.
        count: S, streams that are in use.
        pieces: number of pieces of each sequence, (n,).
    """

    def __init__(self, examples: Split, steps: int, batch_size: int | str) -> None:
        self.examples, self.steps = examples, steps
        lengths = examples.lengths
        self.size = len(lengths) if isinstance(batch_size, str) else batch_size
        self.whole = bool(lengths.max() <= steps)
        chunks = -(-lengths // steps)
        self.pieces = divide(chunks, self.size)
        self._sequence = np.repeat(np.arange(len(lengths)), self.pieces)
        # Boundaries of the pieces of a sequence, in chunks: as equal as whole chunks can be.
        number = np.arange(len(self._sequence)) - np.repeat(
            np.cumsum(self.pieces) - self.pieces, self.pieces
        )
        parts, total = self.pieces[self._sequence], chunks[self._sequence]
        self._first = number * total // parts
        self._chunks = (number + 1) * total // parts - self._first
        self._stream = _deal(np.sort(self._chunks)[::-1], self.size)
        loads = np.bincount(self._stream, np.sort(self._chunks)[::-1]).astype(np.int64)
        self.count = min(self.size, len(lengths)) if self.whole else len(loads)
        self.batches = math.ceil(len(lengths) / self.size) if self.whole else int(loads.max())

    @property
    def description(self) -> str:
        """How the sequences are read, in words."""
        K = format_count(self.steps, "step")
        if self.whole:
            return f"truncated after {K}: no sequence is longer, so nothing is cut off"
        text = f"truncated after {K} of each of {format_count(self.count, 'stream')}"
        divided = self.pieces[self.pieces > 1]
        if not len(divided):
            return text
        pieces = format_count(int(divided.sum()), "piece")
        return (
            f"{text}; {format_count(len(divided), 'long sequence')} divided into {pieces}, so that "
            "every stream has as much to read: each piece starts from the first state"
        )

    def epoch(self, generator: np.random.Generator) -> list[Chunks]:
        """Return the chunks of each batch; every step of every sequence is in one of them."""
        if self.whole:
            lengths = self.examples.lengths
            batches = batch_randomly(lengths, self.size, generator)
            return [_whole_sequences(index, lengths[index]) for index in batches]
        count = len(self._chunks)
        # Which of equally long pieces goes to which place of the deal is drawn, then the order of
        # the pieces of a stream.
        order = generator.permutation(count)
        order = order[np.argsort(-self._chunks[order], kind="stable")]
        stream = np.empty(count, dtype=np.int64)
        stream[order] = self._stream
        order = np.lexsort((generator.permutation(count), stream))
        chunks = self._chunks[order]
        before = np.cumsum(chunks) - chunks
        firsts = _firsts(stream[order])
        starts = before - np.repeat(before[firsts], np.diff([*firsts, count]))
        piece = np.repeat(order, chunks)
        number = np.arange(len(piece)) - np.repeat(before, chunks)  # of the chunk in its piece
        place = np.repeat(starts, chunks) + number  # the batch that it is in
        by_place = np.lexsort((stream[piece], place))
        piece, number = piece[by_place], number[by_place]
        sequence = self._sequence[piece]
        start = (self._first[piece] + number) * self.steps
        left = self.examples.lengths[sequence] - start
        rows = (stream[piece], sequence, start, np.minimum(left, self.steps), number == 0)
        ends = np.cumsum(np.bincount(place))[:-1]
        return [Chunks(*row) for row in zip(*(np.split(each, ends) for each in rows), strict=True)]

    def make(self, plan: Chunks) -> Batch:
        """Return the chunks of a plan, padded, with their places in streams and sequences."""
        parts = self.examples.take_steps(plan.sequences, plan.starts, plan.lengths)
        batch = make_batch(parts, np.arange(len(plan.streams)))
        part = Part(torch.from_numpy(plan.streams), torch.from_numpy(plan.begins), plan.starts)
        return dataclasses.replace(batch, part=part)

    def make_share(self, plan: Chunks, rank: int, ranks: int) -> Batch:
        """Return every `ranks`-th row of a plan, padded to the longest of these."""
        share = Share.of(plan.lengths, rank, ranks)
        at = share.rows
        streams, sequences, starts, lengths, begins = plan
        own = Chunks(streams[at], sequences[at], starts[at], lengths[at], begins[at])
        return dataclasses.replace(self.make(own), share=share)

    def places(self, plan: Chunks) -> Integers:
        """Return the index in the caller's data of each row's sequence, (B,)."""
        return self.examples.places_of(plan.sequences)


def divide(chunks: Integers, streams: int) -> Integers:
    """Return the number of pieces of each sequence, (n,), so that no stream is left alone.

    A sequence that is much longer than an equal share of a stream would be read on its own for most
    of an epoch. It is divided into equal pieces, as few as make the epoch short.

    Args:
        chunks: of each sequence, (n,).
    """
    share = math.ceil(int(chunks.sum()) / streams)
    best = np.ones(len(chunks), dtype=np.int64)
    span = _span(chunks, best, streams)
    for factor in _FINER:
        most = math.ceil(share * factor)
        pieces = np.minimum(-(-chunks // most), np.maximum(1, chunks // LEAST_CHUNKS))
        if (pieces > 1).any() and (found := _span(chunks, pieces, streams)) < WORTHWHILE * span:
            best, span = pieces, found
    return best


def _span(chunks: Integers, pieces: Integers, streams: int) -> int:
    """Return the training steps of an epoch: the chunks of the stream that has the most."""
    each = np.repeat(-(-chunks // pieces), pieces)
    if each.max() * streams <= each.sum() / WORTHWHILE and len(each) > 16 * streams:
        return int(-(-each.sum() // streams))  # many small ones: a deal leaves no stream behind
    each = np.sort(each)[::-1]
    return int(np.bincount(_deal(each, streams), each).max())


def _deal(chunks: Integers, streams: int) -> Integers:
    """Return the stream of each piece, (P,): the longest first, each to the shortest stream.

    Args:
        chunks: of each piece, (P,), descending.
    """
    shortest = [(0, stream) for stream in range(streams)]
    dealt = np.empty(len(chunks), dtype=np.int64)
    for i, count in enumerate(chunks.tolist()):
        load, stream = shortest[0]
        dealt[i] = stream
        heapq.heapreplace(shortest, (load + count, stream))
    return dealt


def _firsts(sorted_values: Integers) -> Integers:
    """Return where each run of equal values begins."""
    return np.flatnonzero(np.diff(sorted_values, prepend=-1))


def _whole_sequences(index: Integers, lengths: Integers) -> Chunks:
    rows = np.arange(len(index))
    return Chunks(rows, index, np.zeros_like(rows), lengths, np.ones(len(rows), dtype=bool))


class StreamStates:
    """The states of all streams between their chunks, which are part of a checkpoint.

    Args:
        model: the network that is trained.
        count: S.
    """

    def __init__(self, model: SequenceModel, count: int) -> None:
        weight = next(model.recurrent.parameters())
        self._states = zero_states(model.config, count, weight.dtype, weight.device)
        self._names = model.config.cell_definition.initial_states
        self._next: tuple[Tensor, tuple[Tensor, ...]] | None = None

    def before(self, batch: Batch) -> Carry:
        """Return the states of a batch's rows before it; a row that begins gets its first state."""
        assert batch.part is not None
        streams = batch.part.streams.to(self._states[0].device)
        return Carry(tuple(state[:, streams] for state in self._states), batch.part.begins)

    def after(self, batch: Batch, carry: Carry) -> None:
        """Take note of the states after a batch; `commit` makes them those of the streams."""
        assert batch.part is not None
        self._next = batch.part.streams, tuple(state.detach() for state in carry.states)

    def add_up(self, add: Callable[[Tensor], None], *, counts: bool) -> None:
        """Take the states after a batch from all the processes that have divided it.

        Args:
            add: replaces a tensor by its sum over all processes.
            counts: whether the rows of this process are its own.
        """
        assert self._next is not None
        streams, states = self._next
        # In places of their own, which the other processes leave at 0, so that nothing is rounded.
        whole = torch.zeros_like(torch.stack(self._states))
        computed = torch.zeros(whole.shape[2], dtype=whole.dtype, device=whole.device)
        if counts:
            whole[:, :, streams] = torch.stack(states).to(whole.dtype)
            computed[streams] = 1.0
        add(whole)
        add(computed)
        streams = computed.nonzero()[:, 0]
        self._next = streams, tuple(whole[:, :, streams])

    def commit(self) -> None:
        """Move on to the next batch: the step of this one has been taken."""
        if self._next is None:
            return
        streams, states = self._next
        for whole, new in zip(self._states, states, strict=True):
            whole[:, streams.to(whole.device)] = new.to(whole.dtype)
        self._next = None

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the states by name."""
        return dict(zip(self._names, self._states, strict=True))

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from the states that `to_tensors` returned.

        Raises: ModelFileError if they are of other streams.
        """
        fit = tensors.keys() == set(self._names) and all(
            tensors[name].shape == own.shape and tensors[name].dtype == own.dtype
            for name, own in self.to_tensors().items()
        )
        if not fit:
            raise ModelFileError("the states of the streams do not fit the network and the data")
        for name, own in self.to_tensors().items():
            own.copy_(tensors[name])
