"""Datasets as bytes and back, whole or in part: the blocks of a data set on disk.

data = pack(dataset)                              numbers as they are, words by their codes
dataset = unpack(data, place, layout, source)     equal to it, in values and types
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load, save

from elman.data.dataset import Dataset, Layout, Static
from elman.data.ragged import Ragged, flatten, to_objects
from elman.errors import ModelFileError
from elman.untrusted import parse_json

Ints = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]

_NONE: Mapping[Any, Any] = {}
_TABLES = "tables"  # name of the array that holds the distinct values of all others, as JSON
_POINTER, _FLOAT, _TEXT = 8, 32, 56  # bytes of a reference, a Python float, and an empty str


def bytes_per_sequence(dataset: Dataset) -> Ints:
    """Return the memory that each sequence takes up with its target, in bytes, (n,)."""
    count = len(dataset)
    sizes = np.full(count, 8 * 4 + 2 * _TEXT, np.int64)  # offsets, lines, a name and its group
    if isinstance(dataset.inputs, list):
        sizes += np.fromiter((_TEXT + len(text) for text in dataset.inputs), np.int64, count)
    else:
        values = dataset.inputs.values
        width = values.shape[1] if values.ndim > 1 else 1
        numbers = width - len(dataset.layout.categories) if values.ndim > 1 else 0
        each = width * _POINTER + (numbers * _FLOAT if values.dtype == object else 0)
        sizes += dataset.inputs.lengths * each
    target = dataset.target
    if isinstance(target, Ragged):
        labels = target.values
        sizes += target.lengths * _POINTER * (labels.shape[1] if labels.ndim > 1 else 1)
    if dataset.static is not None:
        sizes += 8 * dataset.static.numbers.shape[1] + 64 * dataset.static.categories.shape[1]
    return sizes


def pack(dataset: Dataset) -> bytes:
    """Return all of a dataset but its source and layout as bytes, as safetensors writes arrays."""
    arrays: Arrays = {}
    tables: dict[str, list[Any]] = {}
    inputs, target = dataset.inputs, dataset.target
    if isinstance(inputs, Ragged):
        arrays["offsets"] = inputs.offsets
        if inputs.padded is not None:
            arrays["padded"] = inputs.padded
        _put(arrays, tables, "inputs", inputs.values)
    else:
        _put_texts(arrays, "inputs", inputs)
    if target is not None:
        _put(arrays, tables, "target", flatten(target))
    if isinstance(target, Ragged):
        arrays["target.offsets"] = target.offsets
    for name in ("lines", "starts", "windows"):
        if (own := getattr(dataset, name)) is not None:
            arrays[name] = own
    if dataset.ids:
        _put_texts(arrays, "ids", dataset.ids)
    if dataset.groups:
        _put(arrays, tables, "groups", to_objects(dataset.groups))
    if dataset.static is not None:
        arrays["static"] = dataset.static.numbers
        _put(arrays, tables, "static.categories", dataset.static.categories)
        tables["static.names"] = list(dataset.static.names)
        tables["static.units"] = list(dataset.static.units)
    text = json.dumps(tables, ensure_ascii=False, allow_nan=False)
    arrays[_TABLES] = np.frombuffer(text.encode(), np.uint8)
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def unpack(
    data: bytes, place: str, layout: Layout, source: str, renamed: Mapping[Any, Any] = _NONE
) -> Dataset:
    """Return the dataset of the bytes that `pack` made.

    Args:
        place: the file that they are from, for messages.
        renamed: other names of labels.
    Raises: ModelFileError if they are damaged.
    """
    try:
        arrays = load(data)
        text = arrays.pop(_TABLES).tobytes()
        tables = parse_json(text, place, around=len(data))
        if renamed and "target.0" in tables:
            tables["target.0"] = [renamed.get(label, label) for label in tables["target.0"]]
        return _restore(arrays, tables, layout, source)
    except (safetensors.SafetensorError, KeyError, ValueError, IndexError, TypeError) as error:
        raise ModelFileError(f"{place}: a block of the stored data is damaged: {error}") from error


def _restore(arrays: Arrays, tables: dict[str, Any], layout: Layout, source: str) -> Dataset:
    inputs: Ragged | list[str]
    if "offsets" in arrays:
        values = _take(arrays, tables, "inputs")
        inputs = Ragged(values, arrays["offsets"], padded=arrays.get("padded"))
    else:
        inputs = _take_texts(arrays, "inputs")
    target: NDArray[Any] | Ragged | None = None
    if "target" in arrays or "target.0" in arrays:
        labels = _take(arrays, tables, "target")
        ends = arrays.get("target.offsets")
        target = labels if ends is None else Ragged(labels, ends)
    static = None
    if "static" in arrays:
        names, units = tuple(tables["static.names"]), tuple(tables["static.units"])
        texts = _take(arrays, tables, "static.categories")
        static = Static(names, arrays["static"], texts, units)
    return Dataset(
        inputs,
        target,
        source,
        layout,
        lines=arrays.get("lines"),
        ids=tuple(_take_texts(arrays, "ids")) if "ids" in arrays else (),
        groups=tuple(_take(arrays, tables, "groups")) if "groups.0" in arrays else (),
        starts=arrays.get("starts"),
        windows=arrays.get("windows"),
        static=static,
    )


def _put(arrays: Arrays, tables: dict[str, list[Any]], name: str, values: NDArray[Any]) -> None:
    """Put an array of numbers, or of objects as codes column by column."""
    if values.dtype != object:
        arrays[name] = values
        return
    arrays[f"{name}.shape"] = np.array(values.shape, np.int64)
    for c, column in enumerate(values.T if values.ndim == 2 else values[None]):
        own = column.tolist()
        if set(map(type, own)) == {float}:
            arrays[f"{name}.{c}"] = np.array(own, np.float64)
        else:
            arrays[f"{name}.{c}"], tables[f"{name}.{c}"] = encode_values(own)
    arrays.setdefault(f"{name}.0", np.zeros(0))  # no columns


def _take(arrays: Arrays, tables: dict[str, list[Any]], name: str) -> NDArray[Any]:
    if name in arrays:
        return arrays[name]
    shape = arrays[f"{name}.shape"].tolist()
    values = np.empty(shape, dtype=object)
    for c, column in enumerate(values.T if values.ndim == 2 else values[None]):
        own = arrays[f"{name}.{c}"]
        key = f"{name}.{c}"
        column[:] = decode_values(own, tables[key]) if key in tables else own.tolist()
    return values


def encode_values(values: Sequence[Any]) -> tuple[NDArray[np.int32], list[Any]]:
    """Return the codes of texts, numbers, None or sets of labels, (n,), and the distinct values."""
    kinds = set(map(type, values))
    if kinds <= {str}:
        different: dict[Any, int] = dict.fromkeys(values, 0)
        keys: Iterable[Any] = values
    else:  # True == 1 == 1.0
        keys = [*zip(map(type, values), values, strict=True)]
        different = dict.fromkeys(keys, 0)
    table = [key if kinds <= {str} else key[1] for key in different]
    different = dict(zip(different, range(len(different)), strict=True))
    codes = np.fromiter(map(different.__getitem__, keys), np.int32, len(values))
    return codes, [sorted(v, key=repr) if isinstance(v, frozenset) else v for v in table]


def decode_values(codes: NDArray[np.int32], table: list[Any]) -> NDArray[np.object_]:
    """Return the values of `encode_values`, (n,); equal ones are the same object."""
    values = to_objects([frozenset(v) if isinstance(v, list) else v for v in table])
    decoded: NDArray[np.object_] = values[codes]
    return decoded


def _put_texts(arrays: Arrays, name: str, texts: Sequence[str]) -> None:
    # Lone surrogates may be in a JSON file.
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    arrays[f"{name}.ends"] = ends
    arrays[name] = np.frombuffer(b"".join(parts), np.uint8)


def _take_texts(arrays: Arrays, name: str) -> list[str]:
    data, ends = arrays[name].tobytes(), arrays[f"{name}.ends"].tolist()
    return [data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(ends)]


def join(parts: Sequence[Dataset]) -> Dataset:
    """Return the sequences of several datasets of one layout, in order; at least one dataset."""
    first = parts[0]
    if len(parts) == 1:
        return first
    inputs: Ragged | list[str]
    if isinstance(first.inputs, list):
        inputs = [text for part in parts for text in part.inputs]  # type: ignore[misc]
    else:
        inputs = _join_ragged([part.inputs for part in parts])
    target: NDArray[Any] | Ragged | None = None
    if isinstance(first.target, Ragged):
        target = _join_ragged([part.target for part in parts])
    elif first.target is not None:
        target = np.concatenate([part.target for part in parts])
    arrays: dict[str, Any] = {}
    for name in ("lines", "starts", "windows"):
        if getattr(first, name) is not None:
            arrays[name] = np.concatenate([getattr(part, name) for part in parts])
    for name in ("ids", "groups"):
        arrays[name] = tuple(chain.from_iterable(getattr(part, name) for part in parts))
    if first.static is not None:
        every = [part.static for part in parts if part.static is not None]
        arrays["static"] = dataclasses.replace(
            first.static,
            numbers=np.concatenate([own.numbers for own in every]),
            categories=np.concatenate([own.categories for own in every]),
        )
    return dataclasses.replace(first, inputs=inputs, target=target, **arrays)


def _join_ragged(parts: Sequence[Any]) -> Ragged:
    lengths = np.concatenate([part.lengths for part in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    padded = None
    if any(part.padded is not None for part in parts):
        own = [part.lengths if part.padded is None else part.padded for part in parts]
        padded = np.concatenate(own)
    return Ragged(np.concatenate([part.values for part in parts]), offsets, padded=padded)
