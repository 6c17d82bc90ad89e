"""Arrays from `.npz` and `.npy` files, checked before memory is used; `arrays` gives them roles."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Guess
from elman.data.faults import Faults, refuse_damaged
from elman.data.names import TARGET_NAMES, UNNAMED
from elman.data.roles import SEQUENCE_NAMES, ReadOptions
from elman.errors import DataError

Array = NDArray[Any]
_OFFSETS = ("offsets", "indptr", "row_splits", "splits", "starts")
_GROUPS = ("groups", "group", "subject", "subjects")  # of sequences or of steps
_IDS = (
    *("id", "ids", "sequence_id", "sequence_ids", "seq_id", "recording", "recordings", "trial"),
    *("trials", "case", "cases", *_GROUPS),
)
# Compressed arrays may take this many bytes, or else at most so many times their file: measured
# data compress to a third, padded ones to a twentieth; a file of zeros to a thousandth.
LARGEST_UNCHECKED, MOST_EXPANSION = 64 << 20, 200
# Parts of the name of an input file, and what replaces them in the name of its label file.
_UNREADABLE = "not readable as a NumPy array"
_WRITTEN = "Check that it was written to the end, by numpy.save or numpy.savez."
_BESIDE = (("X", "y"), ("x", "y"), ("data", "labels"), ("inputs", "labels"), ("inputs", "targets"))


def load_npy(path: Path, source: str) -> Array:
    """Return the array of a `.npy` file."""
    with path.open("rb") as file:
        return _load(file, path.stat().st_size, source, "")


def open_npz(path: Path, source: str) -> dict[str, Array]:
    """Return the arrays of an `.npz` file by name, in the order of the file."""
    arrays = {}
    with refuse_damaged(_UNREADABLE, _WRITTEN, source), zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        _refuse_bomb(sum(entry.file_size for entry in entries), path.stat().st_size, source)
        # Not numpy.load: it trusts the shape in the header and allocates memory before it
        # reads the content.
        for entry in entries:
            with archive.open(entry) as file:
                name = entry.filename.removesuffix(".npy") or UNNAMED
                arrays[name] = _load(file, entry.file_size, source, f"array {name!r}: ")
    if not arrays:
        raise DataError(
            "the file holds no arrays",
            remedy="Save X and y with numpy.savez.",
            source=source,
            rule="empty",
        )
    return arrays


def is_bomb(size: int, packed: int) -> bool:
    """Whether a file of `packed` bytes needs so many of memory that it holds no measured data."""
    return size > LARGEST_UNCHECKED and size > MOST_EXPANSION * packed


def _refuse_bomb(size: int, packed: int, source: str) -> None:
    if is_bomb(size, packed):
        raise DataError(
            f"{packed:,} bytes unpack to {size:,}, expected at most {MOST_EXPANSION} times as many",
            remedy="If it is what you want, save it uncompressed: numpy.savez.",
            source=source,
            rule="memory",
        )


def _load(file: IO[bytes], size: int, source: str, what: str) -> Array:
    """Read one array, after checking its header against the size of its content.

    Args:
        size: bytes of the whole file, header included.
    """
    read_header: dict[tuple[int, int], Callable[..., Any]] = {
        # Version 3.0 is for structured types with names beyond Latin-1, which are refused anyway.
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with refuse_damaged(what + _UNREADABLE, _WRITTEN, source):
        version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
        if version not in read_header:
            raise ValueError(f"version {version} of the format, expected 1.0 or 2.0")
        shape, fortran, dtype = read_header[version](file)
        # numpy.load would refuse too, but names pickle as the remedy.
        if dtype.hasobject:
            raise DataError(
                f"{what}Python objects, which only pickle can read and elman never does",
                remedy="Save sequences of unequal length padded, with an array of lengths; or each "
                "as an array of its own, with y.",
                source=source,
                rule="pickle",
            )
        # As Python integers: a forged shape overflows int64 and would look small.
        count = int(np.prod(shape, dtype=object)) if shape else 1
        expected, present = count * dtype.itemsize, size - file.tell()
        if expected != present or not dtype.itemsize:
            raise ValueError(
                f"{present:,} bytes of content, expected {expected:,} for shape {shape} of {dtype}"
            )
        content = file.read(expected)
        if len(content) != expected:
            raise ValueError(f"{len(content):,} bytes of content, expected {expected:,}")
        array = np.frombuffer(content, dtype=dtype)
        _check_text(array)
        if array.dtype.kind == "f" and dtype.itemsize > 8:  # the largest have 4,932 digits
            with np.errstate(over="ignore"):
                array = array.astype(np.float64)
        return array.reshape(shape, order="F" if fortran else "C")


def _check_text(array: Array) -> None:
    """Raise ValueError if an array of text holds what is no character."""
    if array.dtype.kind == "U":
        # NumPy makes strings of any four bytes; Python stops at those that name no character.
        codes = array.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        wrong = (codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))
        if wrong.any():
            raise ValueError(f"0x{int(codes[wrong][0]):x} in a text is no character of Unicode")


def decode_text(array: Array, name: str, faults: Faults) -> Array:
    """Return an array of bytes as one of text, any other as it is."""
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise faults.error(
            "encoding",
            f"array {name!r} holds bytes that are not UTF-8: {error.object[:20]!r}",
            "Save it as text: np.char.decode(array, 'latin-1').",
        ) from None


def open_npy(path: Path, source: str, options: ReadOptions) -> tuple[dict[str, Array], ReadOptions]:
    """Return the array of inputs and, from the named or a neighbouring file, the labels."""
    arrays = {path.name: load_npy(path, source)}
    if options.text:
        options = dataclasses.replace(options, text=path.name)
    else:
        options = dataclasses.replace(options, values=(path.name,))
    guess = _find_labels(path)
    if options.labelled is False or not (options.target or guess):
        return arrays, options
    if options.target:
        file = Path(options.target)
        file = file if file.is_file() else path.parent / options.target
        if not file.is_file():
            raise DataError(
                f"there is no file {options.target!r} of labels",
                remedy="Give the path of a .npy file with --target PATH.",
                source=source,
                rule="label",
            )
        note: tuple[str, ...] = ()
    elif guess:
        file, note = guess, (f"--target {guess.name}: the labels beside it, by the name",)
    arrays[str(file)] = load_npy(file, str(file))
    return arrays, dataclasses.replace(options, target=str(file), notes=(*options.notes, *note))


def _find_labels(path: Path) -> Path | None:
    """Return the label file that matches an input file, such as y_test.npy for X_test.npy."""
    stem = path.stem
    names = [stem.replace(x, y) for x, y in _BESIDE if x in stem]
    names += [f"{stem}_y", f"{stem}_labels"]
    found = [path.with_name(f"{name}.npy") for name in names]
    return next((file for file in found if file != path and file.is_file()), None)


class Packed(NamedTuple):
    """Sequences of unequal length in one array, (N, C) or (N,).

    Args:
        name: name of that array.
        offsets: where each sequence starts, and the end, (n + 1,), from 0 to N.
        ids: name of each sequence; empty if they have none.
        guess: what was recognised, in words.
    """

    name: str
    offsets: NDArray[np.int64]
    ids: tuple[str, ...]
    guess: str


def unpack(
    arrays: dict[str, Array], lengths: Array | None, options: ReadOptions, faults: Faults
) -> Packed | None:
    """Recognise sequences that are not padded, and leave one array of all their steps.

    They are arrays of their own, arr_0, arr_1, ...; or one array (N, C) beside `offsets`, (n + 1,),
    `lengths`, (n,), or the id of the sequence of each step, (N,).

    Args:
        arrays: changed in place: the arrays that only say where sequences start are removed.
    """
    target = options.target or next((n for n in arrays if n.lower() in TARGET_NAMES), None)
    if any(array.ndim == 3 for array in arrays.values()):
        return None
    return _join_parts(arrays, target, options) or _find_offsets(
        arrays, lengths, target, options, faults
    )


def _join_parts(
    arrays: dict[str, Array], target: str | None, options: ReadOptions
) -> Packed | None:
    """Join arrays of one sequence each, if there are as many as labels, or of unequal lengths."""
    numeric = {n: a for n, a in arrays.items() if a.dtype.kind in "fiub" and a.ndim in (1, 2)}
    parts = {name: array for name, array in numeric.items() if name != target}
    usual = {*SEQUENCE_NAMES["arrays"], *_IDS, *_OFFSETS}
    alike = len({(array.ndim, *array.shape[1:]) for array in parts.values()}) == 1
    if options.values or options.text or len(parts) < 2 or not alike:
        return None
    if usual & {name.lower() for name in parts} or not all(map(len, parts.values())):
        return None
    sizes = {len(array) for array in parts.values()}
    labels = arrays[target].shape[:1] if target in arrays else None
    each = labels == (len(parts),) and sizes != {len(parts)}
    if not each and (labels is not None or len(sizes) == 1):
        return None
    for name in parts:
        del arrays[name]
    arrays["sequences"] = np.concatenate(list(parts.values()))
    offsets = np.cumsum([0, *map(len, parts.values())])
    what = f"{len(parts):,} arrays of one sequence each, in the order of the file"
    return Packed("sequences", offsets.astype(np.int64), tuple(parts), what)


def _rows_guess(name: str, key: str, count: int) -> Guess:
    """Return the guess that rows are sequences where they could be steps of fewer sequences."""
    why = f"each row is a sequence; {key!r} groups the rows into {count:,}, and is not read"
    change = f"Call {key!r} 'ids' if each row of {name!r} is a step"
    return Guess("unused", (), why, f"--values {name}", change, "unsure")


def _find_offsets(
    arrays: dict[str, Array],
    lengths: Array | None,
    target: str | None,
    options: ReadOptions,
    faults: Faults,
) -> Packed | None:
    """Find the array that says where the sequences of an array (N, C) start."""
    flat = [n for n, a in arrays.items() if a.ndim == 2 and n != target]
    flat = flat or [n for n, a in arrays.items() if n.lower() in SEQUENCE_NAMES["arrays"]]
    flat = [name for name in flat if name in options.values] or flat
    if len(flat) != 1 or arrays[flat[0]].ndim not in (1, 2):
        return None
    name, size = flat[0], len(arrays[flat[0]])
    if lengths is not None and lengths.ndim == 1 and lengths.dtype.kind in "iu":
        total = int(lengths.sum(dtype=np.int64))
        if total == size != len(lengths) and (lengths > 0).all():
            offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            what = f"the rows of {name!r} are steps, {len(lengths):,} sequences by their lengths"
            return Packed(name, offsets, (), what)
    for key, array in list(arrays.items()):
        if key in (name, target) or array.ndim != 1 or not len(array):
            continue
        if key.lower() in _OFFSETS and array.dtype.kind in "iu":
            ends = array.astype(np.int64)
            ends = ends if ends[-1] == size else np.append(ends, size)
            if ends[0] == 0 and ends[-1] == size and (np.diff(ends) > 0).all() and len(ends) > 2:
                del arrays[key]
                what = f"the rows of {name!r} are steps, sequences start at {key!r}"
                return Packed(name, ends, (), what)
        if key.lower() in _IDS and len(array) == size and array.dtype.kind in "iuUS":
            changes = np.flatnonzero(array[1:] != array[:-1]) + 1
            offsets = np.concatenate([[0], changes, [size]]).astype(np.int64)
            ids = tuple(str(value) for value in array[offsets[:-1]].tolist())
            labels = arrays[target].shape[:1] if target in arrays else None
            one_label_each = labels == (len(ids),) and len(ids) != size
            trained = options.layout is not None and arrays[name].shape[1:] == (
                len(options.layout.values),
            )
            if key.lower() in _GROUPS and not (one_label_each or trained):
                if len(ids) < size:
                    faults.guesses.append(_rows_guess(name, key, len(ids)))
                continue
            if len(set(ids)) < len(ids):
                raise faults.error(
                    "order of rows",
                    f"the rows of one sequence do not stand together in array {key!r}",
                    "Sort all arrays by it.",
                )
            if len(ids) < size:
                del arrays[key]
                what = f"the rows of {name!r} are steps, array {key!r} says of which sequence"
                return Packed(name, offsets, ids, what)
    return None
