"""Encoded sequences on disk: written once, then read in any order, as few at a time as wanted.

    writer = ExamplesWriter(folder)
    for part in parts:
        writer.add(part)             an `Examples`, of which nothing is kept
    stored = writer.finish()         a `StoredExamples`: 16 bytes of memory a sequence
    stored.take(index)               an `Examples` again, equal to the one that was added

Each array is a file of rows without any header, in the order in which the sequences were added, so
a sequence is one read at a known place. Plain reads, because pages of a memory map would count as
memory of this process.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman import files
from elman.data.batches import Examples
from elman.data.ragged import Ragged, flatten, is_target
from elman.errors import ModelFileError

Ints = NDArray[np.int64]
BUFFER_BYTES = 1 << 28
PIECE_BYTES = 1 << 24  # of the sequences that `pieces` reads at once
# Memory that the index of a sequence takes: its first step, its length and its place.
INDEX_BYTES = 24


@dataclass(frozen=True)
class _Rows:
    """A file of rows: one for each step, or one for each sequence.

    Args:
        path: the file.
        dtype: type of the numbers there; whole numbers have 4 bytes there and 8 in memory.
        shape: shape of a row.
        per_step: whether there is a row for each step.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    per_step: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the file."""
        return np.dtype(self.dtype).itemsize * int(np.prod(self.shape, dtype=np.int64))

    @property
    def memory(self) -> int:
        """Bytes of a row in memory."""
        return self.row_bytes * (2 if self.dtype == "int32" else 1)

    def read(self, first: Ints, counts: Ints) -> NDArray[Any]:
        """Return the rows from each of `first` on, `counts` of them, one after the other.

        Raises: ModelFileError if the file ends before them.
        """
        size = self.row_bytes
        out = np.empty((int(counts.sum()), *self.shape), dtype=self.dtype)
        if not out.size:
            return out.astype(np.int64) if self.dtype == "int32" else out
        room, at = memoryview(out).cast("B"), 0  # type: ignore[arg-type]
        # Neighbours in the file are read at once.
        starts = np.flatnonzero(np.append(True, first[1:] != (first + counts)[:-1]))
        runs = zip(first[starts].tolist(), np.add.reduceat(counts, starts).tolist(), strict=True)
        with self.path.open("rb", buffering=0) as file:
            for start, rows in runs:
                file.seek(start * size)
                end = at + rows * size
                while at < end:
                    if not (done := file.readinto(room[at:end])):
                        raise ModelFileError(
                            f"{self.path}: ends before the data that was written there. Remove the "
                            "folder and start again"
                        )
                    at += done
        return out.astype(np.int64) if self.dtype == "int32" else out


@dataclass(frozen=True, eq=False)
class StoredExamples:
    """n encoded sequences on disk, with the interface of `Examples` that the training needs.

    Args:
        rows: files by the name of the array: `inputs`, `target`, and `weight` and `static` if there
            are any.
        first: first step of each sequence among all that were written, (n,).
        lengths: steps of each sequence, (n,).
        order: index of each sequence among all that were written, (n,); None if it is the same.
        unit, measured: as in `Examples`.
        places: index of each sequence in the caller's data, (n,); None if it is the index here.
        counts: how often each code occurs in each column of token ids or category codes.
        known: number of labelled steps or sequences, and number of all of them.
        digest: SHA-256 of everything that was written.
        buffer: bytes of memory from which random batches are drawn.
    """

    rows: dict[str, _Rows]
    first: Ints
    lengths: Ints
    order: Ints | None
    unit: NDArray[np.float64] | None
    measured: int
    places: Ints | None
    counts: tuple[Ints, ...]
    known: tuple[int, int]
    digest: str
    buffer: int = BUFFER_BYTES

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def weighted(self) -> bool:
        """Whether sequences or steps have weights of their own."""
        return "weight" in self.rows

    def sample(self, most_bytes: int = PIECE_BYTES) -> Examples:
        """Return sequences of at most so many bytes, or all of them: a fixed random choice."""
        return self.take(choose(self.sizes, most_bytes))

    @property
    def sizes(self) -> Ints:
        """Bytes that each sequence takes in memory, (n,)."""
        steps = sum(rows.memory for rows in self.rows.values() if rows.per_step)
        own = sum(rows.memory for rows in self.rows.values() if not rows.per_step)
        return self.lengths * steps + (own + INDEX_BYTES)

    def places_of(self, index: Ints) -> Ints:
        """Return the indices in the caller's data of the sequences at `index`."""
        return index if self.places is None else self.places[index]

    def subset(self, index: Ints) -> StoredExamples:
        """Return the sequences at `index`, (m,), which stay on disk."""
        digest = hashlib.sha256(self.digest.encode() + index.astype("<i8").tobytes()).hexdigest()
        order = index if self.order is None else self.order[index]
        return dataclasses.replace(
            self,
            first=self.first[index],
            lengths=self.lengths[index],
            order=order,
            places=self.places_of(index),
            digest=digest,
        )

    def take(self, index: Ints) -> Examples:
        """Return the sequences at `index`, (m,), in that order, in memory."""
        lengths = self.lengths[index]
        return self._read(index, self.first[index], lengths)

    def take_steps(self, index: Ints, start: Ints, count: Ints) -> Examples:
        """Return a part of each sequence at `index`, (m,): `count` steps from `start` on, (m,)."""
        return self._read(index, self.first[index] + start, count)

    def _read(self, index: Ints, first: Ints, lengths: Ints) -> Examples:
        order = index if self.order is None else self.order[index]
        ones = np.ones(len(order), dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        found: dict[str, Any] = {}
        for name, rows in self.rows.items():
            if rows.per_step:
                found[name] = Ragged(rows.read(first, lengths), offsets)
            else:
                found[name] = rows.read(order, ones)
        inputs = dataclasses.replace(found["inputs"], static=found.get("static"))
        weight, places = found.get("weight"), self.places_of(index)
        return Examples(inputs, found["target"], weight, self.unit, self.measured, places)

    def pieces(self, most_bytes: int = PIECE_BYTES) -> Iterator[Examples]:
        """Yield all sequences in order, in pieces of at most so many bytes, or of one sequence."""
        for start, end in cut(self.sizes, most_bytes):
            yield self.take(np.arange(start, end))

    def code_counts(self, numbers: int) -> tuple[Ints, ...]:
        """Return how often each code occurs in each column of codes; see `Examples`."""
        return self.counts


Split = Examples | StoredExamples


def cut(sizes: Ints, most: int) -> list[tuple[int, int]]:
    """Divide a row of things into parts whose sizes add up to at most `most`, or of one thing.

    Args:
        sizes: size of each, (n,).
    Returns: first index of each part, and the index behind its last.
    """
    ends, parts, start = np.cumsum(sizes), [], 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        end = int(np.searchsorted(ends, before + most, side="right"))
        end = max(end, start + 1)
        parts.append((start, end))
        start = end
    return parts


def choose(sizes: Ints, most: int) -> Ints:
    """Return a fixed random choice of things whose sizes add up to at most `most`, or of one thing.

    Args:
        sizes: size of each, (n,).
    Returns: their indices in ascending order.
    """
    order = np.random.default_rng(0).permutation(len(sizes))
    count = int(np.searchsorted(np.cumsum(sizes[order]), most, side="right"))
    return np.sort(order[: max(1, count)])


class ExamplesWriter:
    """Writes examples to disk, part by part.

    Args:
        folder: holds nothing else; made if missing.
        numbers: number of leading columns of the inputs that are no codes.
    """

    def __init__(self, folder: Path, numbers: int = 0) -> None:
        self.folder, self.numbers = folder, numbers
        files.make_folder(folder)
        self._rows: dict[str, _Rows] = {}
        self._digests: dict[str, Any] = {}
        self._lengths: list[Ints] = []
        self._places: list[Ints] = []
        self._counts: list[Ints] = []
        self._known = [0, 0]
        self._unit: NDArray[np.float64] | None = None
        self._measured = 0

    def add(self, examples: Examples) -> None:
        """Append sequences. Raises WriteError."""
        inputs = examples.inputs
        self._append("inputs", inputs)
        self._append("target", examples.target)
        if examples.weight is not None:
            self._append("weight", examples.weight)
        if inputs.static is not None:
            self._append("static", inputs.static)
        self._lengths.append(inputs.lengths)
        self._places.append(examples.places_of(np.arange(len(examples))))
        for k, counts in enumerate(examples.code_counts(self.numbers)):
            if k == len(self._counts):
                self._counts.append(counts)
            else:
                self._counts[k] = _add(self._counts[k], counts)
        known = is_target(flatten(examples.target))
        self._known = [self._known[0] + int(known.sum()), self._known[1] + len(known)]
        self._unit, self._measured = examples.unit, examples.measured

    def _append(self, name: str, values: NDArray[Any] | Ragged) -> None:
        array = np.ascontiguousarray(flatten(values))
        if array.dtype.kind == "i":
            array = array.astype(np.int32)  # ids and codes are below 2^31
        rows = _Rows(
            self.folder / name, array.dtype.name, array.shape[1:], isinstance(values, Ragged)
        )
        if name not in self._rows:
            files.remove(rows.path)  # of a training that was cut off
            head = f"{rows.dtype}{rows.shape}{rows.per_step}"
            self._rows[name], self._digests[name] = rows, hashlib.sha256(head.encode())
        assert rows == self._rows[name], (rows, self._rows[name])
        data = array.tobytes()
        self._digests[name].update(data)
        files.append_bytes(rows.path, data)

    def finish(self) -> StoredExamples:
        """Return all that was added."""
        lengths = np.concatenate(self._lengths) if self._lengths else np.zeros(0, np.int64)
        places = np.concatenate(self._places) if self._places else np.zeros(0, np.int64)
        digest = hashlib.sha256(lengths.astype("<i8").tobytes())
        for name in sorted(self._digests):
            digest.update(f"{name} {self._digests[name].hexdigest()}".encode())
        digest.update(b"" if self._unit is None else self._unit.tobytes())
        first = np.cumsum(lengths) - lengths
        return StoredExamples(
            self._rows,
            first,
            lengths,
            None,
            self._unit,
            self._measured,
            None if np.array_equal(places, np.arange(len(places))) else places,
            tuple(self._counts),
            (self._known[0], self._known[1]),
            digest.hexdigest(),
        )


def _add(one: Ints, other: Ints) -> Ints:
    """Return the sum of two counts of which one may know more codes."""
    total = np.zeros(max(len(one), len(other)), dtype=np.int64)
    total[: len(one)] += one
    total[: len(other)] += other
    return total
