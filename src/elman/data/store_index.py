"""What is kept in memory of a data set on disk: one entry for each sequence and for each block."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load, save

from elman.data.dataset import Dataset, Layout
from elman.data.hashing import hash_sequences, hash_steps, stable_bits
from elman.data.packing import bytes_per_sequence, decode_values, encode_values
from elman.data.ragged import Ragged, is_labelled, sequences_with_gaps
from elman.errors import ModelFileError
from elman.tasks import TASKS
from elman.untrusted import parse_json

Ints = NDArray[np.int64]
_TABLES = "tables"


@dataclass(frozen=True, eq=False)
class Index:
    """An entry for each of n sequences, and one for each of b blocks.

    Args:
        lengths: steps, or characters of a text, (n,).
        sizes: memory that a sequence takes up once it is read, in bytes, (n,).
        digests: numbers that are equal for equal sequences, in every process, (n,) uint64.
        gaps: whether values are missing, by channel of numbers, (n, C).
        static_gaps: whether static features that are numbers are missing, (n, k).
        block_at, block_size: where each block begins in the file, and its bytes, (b,).
        block_row: first sequence of each block, (b,).
        has_target: whether there are labels or numbers to learn.
        wide: whether a target is several numbers.
        starts: times at which the sequences start, (n,), or None.
        target: targets of whole sequences, as in `Dataset`, or None.
        step_labels: distinct labels of the steps of each sequence, or None.
        groups: group of each sequence, (n,) text, or None.
    """

    lengths: Ints
    sizes: Ints
    digests: NDArray[np.uint64]
    gaps: NDArray[np.bool_]
    static_gaps: NDArray[np.bool_]
    block_at: Ints
    block_size: Ints
    block_row: Ints
    has_target: bool
    wide: bool
    starts: NDArray[np.float64] | None = None
    target: NDArray[Any] | None = None
    step_labels: Ragged | None = None
    groups: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def blocks_of(self, rows: Ints) -> Ints:
        """Return the block in which each sequence is, (m,)."""
        return np.searchsorted(self.block_row, rows, side="right") - 1

    def pack(self) -> bytes:
        """Return the index as bytes."""
        arrays: dict[str, NDArray[Any]] = {}
        tables: dict[str, Any] = {"has_target": self.has_target, "wide": self.wide}

        def put(name: str, values: NDArray[Any]) -> None:
            if values.dtype == object:
                values, tables[name] = encode_values(values.tolist())
            arrays[name] = np.ascontiguousarray(values)

        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                put(field.name, value)
            elif isinstance(value, Ragged):
                put(field.name, value.values)
                arrays[f"{field.name}.offsets"] = value.offsets
        text = json.dumps(tables, ensure_ascii=False)
        arrays[_TABLES] = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
        return save(arrays)

    @classmethod
    def unpack(cls, data: bytes, place: str, renamed: Mapping[Any, Any]) -> Index:
        """Return the index of the bytes that `pack` made, with other names of some labels.

        Raises: ModelFileError if they are damaged.
        """
        try:
            arrays = load(data)
            tables = parse_json(arrays.pop(_TABLES).tobytes(), place, around=len(data))
            for name in {"target", "step_labels"} & tables.keys() if renamed else ():
                tables[name] = [renamed.get(label, label) for label in tables[name]]
            values: dict[str, Any] = {
                name: decode_values(array, tables[name]) if name in tables else array
                for name, array in arrays.items()
            }
            if "step_labels" in values:
                offsets = values.pop("step_labels.offsets")
                values["step_labels"] = Ragged(values["step_labels"], offsets)
            return cls(**values, has_target=tables["has_target"], wide=tables["wide"])
        except (safetensors.SafetensorError, KeyError, ValueError, IndexError, TypeError) as error:
            raise ModelFileError(f"{place}: the index is damaged: {error}") from error


class IndexWriter:
    """Gathers the index of a data set while its sequences are added."""

    def __init__(self) -> None:
        self._parts: dict[str, list[NDArray[Any]]] = {}
        self._blocks: list[tuple[int, int, int]] = []
        self._labels: dict[Any, None] = {}
        self._categories: list[dict[str, None]] = []

    def add(self, dataset: Dataset) -> Ints:
        """Add the entries of whole sequences; return the memory of each, in bytes, (n,)."""
        sizes = bytes_per_sequence(dataset)
        target, numbers = dataset.target, dataset.numbers
        parts: dict[str, NDArray[Any] | None] = {
            "lengths": dataset.lengths,
            "sizes": sizes,
            "digests": digest_sequences(dataset),
            "gaps": np.zeros((len(dataset), 0), bool),
            "static_gaps": np.zeros((len(dataset), 0), bool),
            "starts": dataset.starts,
        }
        if numbers is not None:
            parts["gaps"] = sequences_with_gaps(numbers)
        if dataset.static is not None:
            parts["static_gaps"] = np.isnan(dataset.static.numbers)
        if dataset.groups:
            parts["groups"] = np.array(dataset.groups, dtype=object)
        if isinstance(target, Ragged):
            if TASKS[dataset.task].has_classes:
                found = _distinct_labels(target)
                parts |= {"step_labels": found.values, "step_labels.lengths": found.lengths}
        elif target is not None:
            parts["target"] = target
        for name, part in parts.items():
            if part is not None:
                self._parts.setdefault(name, []).append(part)
        self._labels |= dict.fromkeys(dataset.layout.class_names)
        values = dataset.layout.category_values
        self._categories = self._categories or [{} for _ in values]
        for known, own in zip(self._categories, values, strict=True):
            known |= dict.fromkeys(own)
        return sizes

    def add_block(self, at: int, size: int, row: int) -> None:
        """Add a block that begins at a byte of the file with a sequence."""
        self._blocks.append((at, size, row))

    def layout(self, layout: Layout, renamed: Mapping[Any, Any]) -> Layout:
        """Return a layout with the labels and categories of all sequences."""
        labels = list(dict.fromkeys(renamed.get(label, label) for label in self._labels))
        alike = len(set(map(type, labels))) < 2
        return dataclasses.replace(
            layout,
            class_names=tuple(sorted(labels, key=None if alike else str)),
            category_values=tuple(tuple(sorted(known)) for known in self._categories),
        )

    def finish(self, last: Dataset) -> Index:
        """Return the index; `last` is any of the datasets that were added."""
        values: dict[str, Any] = {
            name: np.concatenate(parts) for name, parts in self._parts.items()
        }
        if "step_labels" in values:
            ends = np.cumsum(values.pop("step_labels.lengths"))
            offsets = np.concatenate([[0], ends]).astype(np.int64)
            values["step_labels"] = Ragged(values["step_labels"], offsets)
        at, size, row = np.array(self._blocks, np.int64).reshape(-1, 3).T
        target = last.target
        wide = getattr(target.values if isinstance(target, Ragged) else target, "ndim", 1) > 1
        return Index(
            **values,
            block_at=at,
            block_size=size,
            block_row=row,
            has_target=target is not None,
            wide=wide,
        )


def _distinct_labels(target: Ragged) -> Ragged:
    """Return the distinct labels of the steps of each sequence, in the order they first occur."""
    known = is_labelled(target.values)
    codes, table = encode_values(target.values[known].tolist())
    keys = target.owners[known] * max(1, len(table)) + codes
    different, first = np.unique(keys, return_index=True)
    different = different[np.argsort(first, kind="stable")]
    lengths = np.bincount(different // max(1, len(table)), minlength=len(target))
    labels = decode_values(different % max(1, len(table)), table)
    return Ragged(labels, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def digest_sequences(dataset: Dataset) -> NDArray[np.uint64]:
    """Return a number for each sequence, (n,), as `Dataset.contents`, but for every process."""
    own = hash_steps(dataset.inputs, dataset.numbers, stable_bits)
    static = dataset.static
    if static is None:
        return own
    bits = np.hstack([stable_bits(static.numbers), stable_bits(static.categories)])
    features = hash_sequences(Ragged(bits, np.arange(len(bits) + 1)))
    return hash_sequences(Ragged(np.column_stack([own, features]), np.arange(len(own) + 1)))
