"""A data set on disk, in blocks of sequences, with a small index in memory.

    writer = StoreWriter(folder, block_bytes)
    for dataset in pieces:
        writer.add(dataset)
    stored = writer.finish()                    StoredDataset; later open_store(folder)
    for index, dataset in stored.blocks(): ...  all of it, in the order of the file
    dataset = stored.take(index)                some of it, in memory
    split = stored.subset(index)                some of it, still on disk

Blocks are read with plain reads: pages of a mapped file would count as memory of the process.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman import files
from elman.data.dataset import Dataset, Layout
from elman.data.packing import join, pack, unpack
from elman.data.ragged import Ragged
from elman.data.store_index import Index, IndexWriter
from elman.errors import ModelFileError
from elman.tasks import TaskName
from elman.untrusted import open_file, parse_json, read_as, read_file

Ints = NDArray[np.int64]

BLOCKS, INDEX, LAYOUT = "blocks.bin", "index.safetensors", "layout.json"
_MOST_INDEX, _MOST_LAYOUT = 1 << 40, 1 << 30


class StoreWriter:
    """Writes a data set to disk, block by block; it is there once `finish` has returned.

    Args:
        folder: an existing folder, which is empty or holds a store that was not finished.
        block_bytes: memory that the sequences of a block take up; a longer one has its own block.
    """

    def __init__(self, folder: Path, block_bytes: int = 4 << 20) -> None:
        self.folder, self.block_bytes = folder, block_bytes
        for name in (INDEX, LAYOUT, BLOCKS):
            files.remove(folder / name)
        files.append_bytes(folder / BLOCKS, b"")
        self._index = IndexWriter()
        self._pending: list[Dataset] = []
        self._pending_bytes = self._written = 0
        self._first: Dataset | None = None
        self._task: TaskName = "classification"

    def add(self, dataset: Dataset) -> None:
        """Add whole sequences, all of one kind; the layout is that of the first of them."""
        sizes = self._index.add(dataset)
        start = 0
        for end in self._cuts(sizes):
            part = dataset if end - start == len(dataset) else dataset.take(np.arange(start, end))
            self._pending.append(part)
            self._pending_bytes += int(sizes[start:end].sum())
            if self._pending_bytes >= self.block_bytes:
                self._flush()
            start = end
        if self._first is None:
            # Without sequences the kind of their labels is not known.
            self._first, self._task = dataset.take(np.zeros(0, np.int64)), dataset.task

    def _cuts(self, sizes: Ints) -> list[int]:
        """Return where blocks end among the sequences added now, and their number."""
        if not len(sizes):
            return []
        filled = (np.cumsum(sizes) - sizes + self._pending_bytes) // self.block_bytes
        ends = np.flatnonzero(np.diff(filled)) + 1
        return [*ends.tolist(), len(sizes)]

    def _flush(self) -> None:
        if not self._pending:
            return
        dataset = join(self._pending)
        self._pending, self._pending_bytes = [], 0
        data = pack(dataset)
        at = files.append_bytes(self.folder / BLOCKS, data)
        self._index.add_block(at, len(data), self._written)
        self._written += len(dataset)

    def finish(self, renamed: Mapping[Any, Any] | None = None) -> StoredDataset:
        """Write the rest and the index, and return the data set.

        Its layout is that of the first sequences, with the labels and categories of all.

        Args:
            renamed: other names of labels, which only all of them show.
        Raises: WriteError.
        """
        first = self._first
        assert first is not None, "no sequence was added"
        self._flush()
        index = self._index.finish(first)
        renamed = dict(renamed or {})
        header = {
            "source": first.source,
            "layout": dataclasses.asdict(self._index.layout(first.layout, renamed)),
            "task": self._task,
            "renamed": [list(pair) for pair in renamed.items()],
        }
        files.sync_folder(self.folder)
        files.write_file(self.folder / LAYOUT, json.dumps(header, ensure_ascii=False))
        files.write_file(self.folder / INDEX, index.pack())
        return open_store(self.folder)


@dataclass(frozen=True)
class _Header:
    source: str
    layout: Layout
    task: TaskName
    renamed: list[list[Any]]


def is_store(folder: Path) -> bool:
    """Whether a finished store is in the folder."""
    return (folder / INDEX).is_file()


def open_store(folder: Path) -> StoredDataset:
    """Return the data set that a `StoreWriter` has finished. Raises ModelFileError."""
    place = str(folder / LAYOUT)
    value = parse_json(read_file(folder / LAYOUT, _MOST_LAYOUT), place, around=1 << 28)
    header = read_as(_Header, value, place)
    renamed = dict(header.renamed)
    index = Index.unpack(read_file(folder / INDEX, _MOST_INDEX), str(folder / INDEX), renamed)
    size = (folder / BLOCKS).stat().st_size
    if int(index.block_size.sum()) != size:
        expected = int(index.block_size.sum())
        raise ModelFileError(f"{folder / BLOCKS}: {size:,} bytes, expected {expected:,}")
    rows = np.arange(len(index))
    source, task = header.source, header.task
    return StoredDataset(folder, index, rows, header.layout, source, task, renamed)


@dataclass(frozen=True, eq=False)
class StoredDataset:
    """n sequences on disk: all of a store, or a part of it.

    What decides on splits is in memory: lengths, targets of whole sequences, groups, gaps.

    Args:
        folder: the folder of the store.
        index: of all sequences of the store.
        rows: the sequences that belong to this data set, as places in the store, (n,).
        layout: how the file was read.
        source: name of the file in messages.
        task: what the target is.
        renamed: names of labels that the blocks have under others.
    """

    folder: Path
    index: Index
    rows: Ints
    layout: Layout
    source: str
    task: TaskName
    renamed: Mapping[Any, Any]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Ints:
        """Steps of each sequence, or characters of each text, (n,)."""
        return self.index.lengths[self.rows]

    @property
    def sizes(self) -> Ints:
        """Memory that each sequence takes up once it is read, in bytes, (n,)."""
        return self.index.sizes[self.rows]

    @property
    def bytes(self) -> int:
        """Memory that all sequences together would take up, as `read` holds them."""
        return int(self.sizes.sum())

    @property
    def target(self) -> NDArray[Any] | None:
        """Targets of whole sequences, as in `Dataset`; None if they are per step or missing."""
        return None if self.index.target is None else self.index.target[self.rows]

    @property
    def step_labels(self) -> Ragged | None:
        """Distinct labels of the steps of each sequence, (n,) lists; None if none are per step."""
        labels = self.index.step_labels
        return None if labels is None else labels.take(self.rows)

    @property
    def has_target(self) -> bool:
        """Whether there are labels or numbers to learn, of whole sequences or of steps."""
        return self.index.has_target

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the target columns in the file; empty if there are none."""
        names = self.layout.target
        if not names or not self.has_target:
            return ()
        split = tuple(name.strip() for name in names.split(","))
        return split if self.index.wide else (names,)

    @property
    def groups(self) -> tuple[str, ...]:
        """Group of each sequence, or empty if no group column was named."""
        groups = self.index.groups
        return () if groups is None else tuple(groups[self.rows].tolist())

    @property
    def digests(self) -> NDArray[np.uint64]:
        """A number for the content of each sequence, (n,), the same in every process."""
        return self.index.digests[self.rows]

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """Whether each sequence lacks values in each channel of numbers, (n, C)."""
        return self.index.gaps[self.rows]

    @property
    def static_gaps(self) -> NDArray[np.bool_]:
        """Whether each sequence lacks each static feature that is a number, (n, k)."""
        return self.index.static_gaps[self.rows]

    @property
    def starts(self) -> NDArray[np.float64] | None:
        """Time at which each sequence starts, (n,), or None without a column of times."""
        return None if self.index.starts is None else self.index.starts[self.rows]

    @cached_property
    def blocks_of(self) -> Ints:
        """Block in which each sequence is, (n,)."""
        return self.index.blocks_of(self.rows)

    def subset(self, index: Ints) -> StoredDataset:
        """Return the sequences at `index`, (m,), in that order; nothing is read."""
        return dataclasses.replace(self, rows=self.rows[index])

    def take(self, index: Ints) -> Dataset:
        """Return the sequences at `index`, (m,), in that order, in memory."""
        index = np.asarray(index, dtype=np.int64)
        blocks = self.blocks_of[index]
        order = np.argsort(blocks, kind="stable")
        parts = []
        for block in np.unique(blocks).tolist():
            own = index[order[blocks[order] == block]]
            parts.append(self._read(block, own))
        if not parts:
            return self._read(0, np.zeros(0, np.int64))
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return join(parts).take(back)

    def blocks(self) -> Iterator[tuple[Ints, Dataset]]:
        """Yield all sequences in the order of the file, block by block, with their places here."""
        return (self.block(number) for number in self.block_numbers.tolist())

    @property
    def block_numbers(self) -> Ints:
        """Blocks in which there are sequences of this data set, in the order of the file."""
        return self._by_block[0]

    def block(self, number: int) -> tuple[Ints, Dataset]:
        """Return the sequences here that are in a block, and their places here, in file order."""
        numbers, ends, order = self._by_block
        k = int(np.searchsorted(numbers, number))
        own = order[ends[k] : ends[k + 1]]
        return own, self._read(number, own)

    @cached_property
    def _by_block(self) -> tuple[Ints, Ints, Ints]:
        """Blocks, where each begins in the places that follow, and places in file order, (n,)."""
        order = np.argsort(self.rows, kind="stable")
        numbers, first = np.unique(self.blocks_of[order], return_index=True)
        return numbers, np.append(first, len(order)), order

    def _read(self, block: int, index: Ints) -> Dataset:
        """Return the sequences at `index`, which are all in one block."""
        place = self.folder / BLOCKS
        with open_file(place, 1 << 62) as file:
            file.seek(int(self.index.block_at[block]))
            data = file.read(int(self.index.block_size[block]))
        dataset = unpack(data, str(place), self.layout, self.source, self.renamed)
        if self.index.groups is None and dataset.groups:  # the splits ignore them
            dataset = dataclasses.replace(dataset, groups=())
        return dataset.take(self.rows[index] - self.index.block_row[block])
