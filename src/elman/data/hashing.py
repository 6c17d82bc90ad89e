"""Equal sequences found by hashes of their steps, in whole-array operations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged, to_objects

_MIX = tuple(map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)))
_HASHED = 1 << 20  # values that are hashed at once, so that no large copies are made


def hash_sequences(bits: Ragged, begin: int | None = None) -> NDArray[np.uint64]:
    """Return a number for each sequence, (n,): equal ones have equal numbers.

    Two different sequences have the same number with a probability of 5e-20.

    Args:
        bits: steps as (N,) or (N, C) uint64.
        begin: for one part of a sequence, the place of its first step there. The sum of the numbers
            of all parts and `mix_length` of the whole is the number of the sequence.
    Source: the finaliser of SplitMix64, Steele et al. 2014, on every value and its place.
    """
    hashes = mix_length(bits.lengths if begin is None else np.zeros(len(bits), np.int64))
    cuts = np.searchsorted(bits.offsets, np.arange(0, bits.offsets[-1] + 1, _HASHED))
    for first, last in pairwise(np.unique([0, *cuts.tolist(), len(bits)]).tolist()):
        start, end = bits.offsets[first], bits.offsets[last]
        if start == end:
            continue
        values = bits.values[start:end].reshape(end - start, -1)
        lengths = bits.lengths[first:last]
        offsets = bits.offsets[first:last][lengths > 0] - start
        places = np.arange(end - start) - np.repeat(offsets, lengths[lengths > 0])
        places += begin or 0
        total = np.zeros(end - start, np.uint64)
        for c in range(values.shape[1]):
            keys = (places * values.shape[1] + c + 1).astype(np.uint64)
            total += _mix(_mix(values[:, c]) + keys * _MIX[0])
        hashes[first:last][lengths > 0] += np.add.reduceat(total, offsets)
    return hashes


def mix_length(lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the share of the lengths of sequences, (n,), in their numbers, (n,)."""
    return _mix(lengths.astype(np.uint64))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * _MIX[1]
    values = (values ^ (values >> np.uint64(27))) * _MIX[2]
    return values ^ (values >> np.uint64(31))


def hash_steps(
    inputs: Ragged | list[str],
    numbers: Ragged | None,
    bits_of: Callable[[NDArray[Any]], NDArray[np.uint64]] | None = None,
    begin: int | None = None,
) -> NDArray[np.uint64]:
    """Return a number for each sequence, (n,), or text: equal ones have equal numbers.

    Args:
        numbers: the columns of numbers, (N, C), of which steps may have more, categories.
        bits_of: `to_bits`, or `stable_bits` for numbers that are the same in every process.
        begin: as in `hash_sequences`.
    """
    bits_of = bits_of or to_bits
    if not isinstance(inputs, Ragged):
        return bits_of(to_objects(inputs))
    if numbers is None or inputs.values.dtype != object:
        return hash_sequences(inputs.with_values(bits_of(inputs.values)), begin)
    words = inputs.values[:, numbers.values.shape[1] :].astype(str).astype(object)
    bits = np.hstack([bits_of(numbers.values), bits_of(words)])
    return hash_sequences(inputs.with_values(bits), begin)


def to_bits(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Return an uint64 for each value of an array, equal for equal numbers, texts or sets."""
    if values.dtype.kind == "f":
        return values.astype(np.float64).view(np.uint64)
    if values.dtype.kind in "iub":
        return values.astype(np.int64).view(np.uint64)
    flat = np.fromiter(map(hash, values.reshape(-1).tolist()), np.int64, values.size)
    return flat.view(np.uint64).reshape(values.shape)


def stable_bits(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Return an uint64 for each number or text of an array, the same in every process, (N, ...)."""
    if values.dtype != object:
        return to_bits(values)
    flat = values.reshape(-1).tolist()
    known = {text: _digest(text) for text in set(flat)}
    return np.fromiter(map(known.__getitem__, flat), np.uint64, values.size).reshape(values.shape)


def _digest(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
