"""Long sequences through a network part after part, with the bits of the whole in one call.

A network that reads in one direction needs only its states to go on, so that the memory of a
prediction is bounded by the steps of a part, whatever the length of the sequence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import nn

from elman.data.batches import MOST_STEPS, batch_by_length
from elman.models.carry import Carry
from elman.models.model import SequenceModel

# Long sequences that are read side by side: one alone leaves most of the arithmetic units idle.
_ROWS = 16
# Steps of a part, over all rows. Measured with 128 units: smaller ones are not slower down to
# 10,000, and take less memory.
_STEPS = 2**16


@dataclasses.dataclass(frozen=True)
class Span:
    """Some steps of some sequences, that a network reads in one call.

    Args:
        index: the sequences, (B,).
        start, stop: their steps; a sequence that ends earlier is read to its end.
        carry: their states before `start`, which the network replaces; None for whole sequences.
    """

    index: NDArray[np.int64]
    start: int
    stop: int
    carry: Carry | None

    @property
    def is_first(self) -> bool:
        """Whether the sequences begin here, so that a batch does."""
        return self.start == 0


def can_carry(model: nn.Module, readouts: tuple[str, ...] = ("every", "last")) -> bool:
    """Whether a model can read a sequence part after part, and has one of these readouts."""
    return (
        isinstance(model, SequenceModel)
        and type(model).forward is SequenceModel.forward
        and "forward" not in vars(model)
        and not model.config.bidirectional
        and model.config.readout in readouts
        and next(model.recurrent.parameters(), None) is not None  # torch's quantization hides them
    )


def spans(
    model: SequenceModel,
    lengths: NDArray[np.int64],
    batch_size: int,
    readouts: tuple[str, ...] = ("every", "last"),
    most_steps: int = MOST_STEPS,
) -> Iterator[Span]:
    """Yield all sequences in batches from short to long, those above `most_steps` in parts.

    The caller runs the network on each span, with its carry, before it asks for the next one.
    With an output for a whole sequence, the last span of a sequence has it.

    Args:
        model: the network.
        lengths: steps of each sequence, (n,).
        batch_size: largest number of sequences in a batch.
        readouts: for which sequences may be read in parts.
        most_steps: as in `batch_by_length`; a model that cannot carry its state reads a longer
            sequence in one call nevertheless.
    """
    in_parts = can_carry(model, readouts)
    for index in batch_by_length(lengths, batch_size, most_steps, _ROWS if in_parts else 1):
        longest = int(lengths[index[-1]])
        if longest <= most_steps or not in_parts:
            yield Span(index, 0, longest, None)
            continue
        carry = Carry.of(model, len(index))
        size = max(1, min(_STEPS, most_steps) // len(index))
        for start in range(0, longest, size):
            ended = int((lengths[index] <= start).sum())  # sorted: the first ones
            index = index[ended:]
            carry = carry.take(slice(ended, None))
            yield Span(index, start, start + size, carry)
            carry.begins = None
