"""States carried from one part of a sequence to the next, in training and prediction.

A long sequence runs through a network part after part. Each part begins with the states in which
the one before it ended, as constants: no gradient flows through them.

Dimensions: B batch, H hidden, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from elman import _core
from elman.errors import SettingsError, ShapeError

if TYPE_CHECKING:
    from elman.models.model import ModelConfig, SequenceModel

States = tuple[Tensor, ...]  # (L, B, H) each: h, then the cell's other states, as in torch's layers


@dataclass
class Carry:
    """The states of B sequences, for one part of each after another.

    Args:
        states: before a part; the network replaces them by those after each row's last step.
        begins: which rows begin with the part, (B,) bool: the network gives them their first
            states, whatever `states` holds. None for no row.
    """

    states: States
    begins: Tensor | None = None

    @classmethod
    def of(cls, model: SequenceModel, batch: int) -> Carry:
        """Return the carry of `batch` sequences that begin.

        Raises: SettingsError for a network that also reads from the end of a sequence.
        """
        weight = next(model.recurrent.parameters())
        states = zero_states(model.config, batch, weight.dtype, weight.device)
        return cls(states, torch.ones(batch, dtype=torch.bool))

    def first(self, own: States) -> States:
        """Return the states before the part: those carried, or at a row's beginning its `own`.

        Args:
            own: those that a network has set from static features, (L, B, H) each; empty for zeros.
        """
        if self.begins is None:
            return self.states
        begins = self.begins.to(self.states[0].device)[None, :, None]
        if not own:
            return tuple(state.masked_fill(begins, 0.0) for state in self.states)
        pairs = zip(own, self.states, strict=True)
        return tuple(torch.where(begins, first, state) for first, state in pairs)

    def take(self, rows: slice) -> Carry:
        """Return the carry of some of the rows."""
        begins = None if self.begins is None else self.begins[rows]
        return Carry(tuple(state[:, rows] for state in self.states), begins)

    def locate(self, config: ModelConfig, batch: int, dtype: torch.dtype) -> Located:
        """Return the states before the part, and memory for those after it, for the native call.

        Raises: ShapeError for states of another shape, dtype or device than the network's.
        """
        shape = (config.num_layers, batch, config.hidden_size)
        count = len(config.cell_definition.initial_states)
        first = tuple(state.contiguous() for state in self.first(()))
        fits = len(first) == count and not config.bidirectional
        if not fits or not _core.read_tensors(first, [shape] * count, dtype is torch.float64):
            found = ", ".join(f"{tuple(state.shape)} {state.dtype}" for state in self.states)
            raise ShapeError(f"carry: got {found}; expected {count} of {shape} {dtype} on the CPU")
        last = tuple(torch.empty_like(state) for state in first)
        addresses = [
            states[i].data_ptr() if i < count else 0 for states in (first, last) for i in (0, 1)
        ]
        return Located(tuple(addresses), first, last)


@dataclass(frozen=True)
class Located:
    """What a native call reads and writes of a carry: none, unless there is one.

    Args:
        addresses: of h and c before a part and after it, 0 for a cell without.
        first, last: the tensors that are there, which must live until the call returns.
    """

    addresses: tuple[int, ...] = ()
    first: States = ()
    last: States = ()


def zero_states(
    config: ModelConfig, batch: int, dtype: torch.dtype, device: torch.device
) -> States:
    """Return the states of `batch` sequences before their first step, without static features.

    Raises: SettingsError for a network that also reads from the end of a sequence.
    """
    if config.bidirectional:
        raise SettingsError(
            "bidirectional: this network also reads each sequence from its end, so its states "
            "cannot be carried from one part to the next. Train one with --no-bidirectional "
            "(bidirectional=False)"
        )
    shape = (config.num_layers, batch, config.hidden_size)
    names = config.cell_definition.initial_states
    return tuple(torch.zeros(shape, dtype=dtype, device=device) for _ in names)
