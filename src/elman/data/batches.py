"""Padded batches of ragged sequences, made late and always with their lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.ragged import Ragged

# Batches sorted by length together: more would save little padding and mix the batches less.
_BUCKET = 16


@dataclass(frozen=True)
class Examples:
    """Sequences as a model takes them.

    Args:
        inputs: n sequences of numbers, (N, C) float32, or token ids, (N,) int64.
        target: class codes, (n,) int64; or labels, 0 or 1, or values, (n, K) float32. With one at
            every step a Ragged of (N,) or (N, K).
        weight: how much each counts in the loss, (n,) float32, or a Ragged of (N,); None for equal
            weights.
        unit: of each predicted value, (K,) float64: the size of 1 in the target's unit; None if no
            numbers are predicted.
        measured: number of leading columns of `inputs` that hold measured values.
        places: index of each in the caller's sequences, (n,); None where it is the index here.
    """

    inputs: Ragged
    target: NDArray[Any] | Ragged
    weight: NDArray[np.float32] | Ragged | None = None
    unit: NDArray[np.float64] | None = None
    measured: int = 0
    places: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def places_of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of the sequences at `index` among the caller's."""
        return index if self.places is None else self.places[index]


@dataclass(frozen=True)
class Batch:
    """B padded sequences.

    Args:
        x: numbers (B, T, C) or token ids (B, T), zero past each row's end.
        lengths: valid steps of each row, (B,) int64.
        target: class codes, (B,), or (B, K), or (B, T) or (B, T, K) with zeros past each row's end.
        weight: (B,) or (B, T), or None.
    """

    x: Tensor
    lengths: Tensor
    target: Tensor
    weight: Tensor | None = None


def pad(ragged: Ragged) -> Tensor:
    """Lay n sequences side by side: (n, T, ...), T the longest length, zeros past each end."""
    lengths = ragged.lengths
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]  # (n, T)
    # Padded only here, for one batch at a time: a whole split padded to its longest sequence would
    # often not fit. Zeros, which no layer reads: lengths go with every batch.
    out = np.zeros((*mask.shape, *ragged.values.shape[1:]), dtype=ragged.values.dtype)
    out[mask] = ragged.values
    return torch.from_numpy(out)


def make_batch(examples: Examples, index: NDArray[np.int64]) -> Batch:
    """Pad the sequences at `index`, (B,), into one batch."""
    inputs = examples.inputs.take(index)
    return Batch(
        x=pad(inputs),
        lengths=torch.from_numpy(inputs.lengths),
        target=_side_by_side(examples.target, index),
        weight=None if examples.weight is None else _side_by_side(examples.weight, index),
    )


def _side_by_side(values: NDArray[Any] | Ragged, index: NDArray[np.int64]) -> Tensor:
    if isinstance(values, Ragged):
        return pad(values.take(index))
    return torch.from_numpy(values[index])


def batch_randomly(
    lengths: NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Cut one epoch into batches of like lengths, in random order.

    All sequences are shuffled, each run of 16 batches is sorted by length and cut, and the batches
    are shuffled again: little padding, and yet different batches in every epoch.

    Args:
        lengths: steps of each sequence, (n,).
        batch_size: B; the last batch may be smaller.
        generator: the only source of randomness.
    Returns: indices into `lengths`, one array a batch; each sequence exactly once.
    """
    order = generator.permutation(len(lengths))
    # With equal lengths sorting only costs time; the random numbers drawn are the same.
    if len(np.unique(lengths)) > 1:
        span = batch_size * _BUCKET
        runs = [order[i : i + span] for i in range(0, len(order), span)]
        order = np.concatenate([run[np.argsort(lengths[run], kind="stable")] for run in runs])
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    # Shuffled again, or every epoch would begin with its short sequences.
    return [batches[i] for i in generator.permutation(len(batches))]


def batch_by_length(lengths: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Cut all sequences into batches from short to long, deterministically; for inference."""
    order = np.argsort(lengths, kind="stable")
    return (order[i : i + batch_size] for i in range(0, len(order), batch_size))
