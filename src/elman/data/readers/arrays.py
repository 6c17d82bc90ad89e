"""NumPy's `.npz` and `.npy`: padded or equally long sequences, and labels, as arrays.

An array is a column of the table, and its rows are the cells. The end of a sequence comes from an
array of lengths or from its padding; labels at every step are cut at the same place. Files that
hold Python objects are refused, because reading them would run code.
"""

from __future__ import annotations

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from elman.data.columns import NumberColumn, TextColumn
from elman.data.dataset import Guess
from elman.data.faults import Faults, Place, check_numbers, format_count, unknown_name
from elman.data.ragged import Ragged
from elman.data.roles import ReadOptions
from elman.data.table import Column, LabelCells, Rows, Steps, Table
from elman.errors import DataError

Array = NDArray[Any]
_CHANNEL_NAMES = ("names", "channel_names", "channels", "columns", "feature_names", "features")
_STATIC, _STATIC_NAMES = ("static",), "static_names"
_LENGTHS = ("lengths", "length", "lens")
# Parts of the name of an input file, and what replaces them in the name of its label file.
_BESIDE = (("X", "y"), ("x", "y"), ("data", "labels"), ("inputs", "labels"), ("inputs", "targets"))


def read_arrays(path: Path, faults: Faults, options: ReadOptions) -> tuple[Table, ReadOptions]:
    """Read X (n, T, C) or (n, T), and optionally y and lengths (n,), from `.npz` or `.npy`.

    Returns: the table, and the options with the file of labels next to a `.npy` file.
    """
    if path.suffix.lower() == ".npy":
        arrays, options = _open_npy(path, faults.source, options)
    else:
        arrays = _open_npz(path, faults.source)
        if len(options.values) > 1:
            raise faults.error(
                "shape",
                f"--values names {len(options.values)} arrays, expected 1, (n, T, C)",
                "Stack the channels in one array.",
            )
    name = next((n for n in arrays if n.lower() in _LENGTHS), None)
    lengths = arrays.pop(name) if name else None
    channels = _pop_channel_names(arrays)
    rows = Rows(faults, noun="sequence", named=False)
    static, options = _pop_static(arrays, rows, options)
    columns: dict[str, Column] = {
        name: ArrayColumn(name, rows, array, lengths, channels) for name, array in arrays.items()
    }
    columns |= static
    size = max((len(array) for array in arrays.values() if array.ndim), default=0)
    return Table("arrays", columns, rows, size, noun="array"), options


class ArrayColumn(Column):
    """One array, with a sequence or label in each row.

    Args:
        array: (n, ...).
        ends: steps of each sequence, (n,); None if the file has no lengths.
        channels: names of the channels, (C,); empty if the file has none.
    """

    def __init__(
        self,
        name: str,
        rows: Rows,
        array: Array,
        ends: Array | None,
        channels: tuple[str, ...] = (),
    ) -> None:
        super().__init__(name, rows)
        self.array, self.ends, self.channels = array, ends, channels
        self.nested = array.ndim in (2, 3)
        self.padded = array.shape[1] if self.nested else None

    def __str__(self) -> str:
        return f"{self.name!r} {self.array.shape}"

    def channel_names(self, count: int) -> list[str]:
        """Return the names of the channels in the file, or numbered ones."""
        return list(self.channels) if len(self.channels) == count else super().channel_names(count)

    def series(self) -> tuple[Ragged, str]:
        """Return the valid steps, (N, C), and a note that counts sequences padded with NaN."""
        array = self.array
        problem = ""
        if array.dtype.kind not in "fiub":
            problem = f"array {self.name!r} is of {array.dtype}, expected numbers"
        elif array.ndim not in (2, 3):
            problem = (
                f"array {self.name!r} has the shape {array.shape}, expected (n, T, C) or (n, T)"
            )
        elif 0 in array.shape:
            problem = f"array {self.name!r} has the shape {array.shape}, expected no 0 in it"
        if problem:
            remedy = "Save numbers, (sequences, time steps, channels)."
            source = self.rows.faults.source
            raise DataError(problem, remedy=remedy, source=source, rule="shape")
        values = self.blank(array.astype(np.float64)).reshape(*array.shape[:2], -1)
        steps, channels = values.shape[1:]
        lengths = self._find_ends(values)
        short = int((lengths < steps).sum()) if self.ends is None else 0
        # Padding is removed here; each batch is padded again, only to the length of its longest
        # sequence.
        mask: NDArray[np.bool_] = np.arange(steps) < lengths[:, None]
        sequences, at = np.nonzero(mask)

        def place(step: int, channel: int) -> Place:
            where = f"sequence {sequences[step] + 1}, step {at[step] + 1}, channel {channel + 1}: "
            return Place(None, None, where)

        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ragged = Ragged(values[mask].reshape(-1, channels), offsets)
        count = format_count(short, "sequence")
        note = f"{count} end early: steps of NaN alone at the end" if short else ""
        return check_numbers(ragged, place, self.rows.faults), note

    def _find_ends(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the length of each sequence, (n,): from the file, or without trailing NaN."""
        n, steps = values.shape[:2]
        if self.ends is None:
            full = ~np.asarray(np.isnan(values).all(axis=2))
            last = steps - np.argmax(full[:, ::-1], axis=1)
            # A sequence of only NaN keeps all its steps; it is refused because it has no value.
            return np.where(full.any(axis=1), last, steps)
        if self.ends.shape != (n,) or self.ends.dtype.kind not in "iu":
            raise self.rows.faults.error(
                "length",
                f"the lengths are {self.ends.dtype} of shape {self.ends.shape}, expected whole"
                f" numbers, ({n},)",
                "Save the steps of each sequence.",
            )
        ends = self.ends.astype(np.int64)
        for i in np.flatnonzero((ends < 1) | (ends > steps)).tolist():
            problem = f"length {ends[i]}, expected 1 to {steps}"
            self.fault(i, "length", problem, "Correct the lengths.")
        return np.clip(ends, 1, steps)

    def _within(self, steps: Steps, wide: bool) -> tuple[Array, NDArray[np.int64] | None]:
        """Return labels, one per row or, with offsets, one per valid step.

        Args:
            wide: whether an array of several numbers per row, (n, K), is allowed.
        """
        n, target = len(steps.lengths), self.array
        # scikit-learn and pandas often store y as a column.
        if target.ndim == 2 and target.shape == (n, 1) and steps.padded != 1:
            target = target[:, 0]
        wide = wide and target.ndim == 2 and target.shape[0] == n and target.shape[1] > 0
        if target.shape not in ((n,), (n, steps.padded)) and not wide:
            raise self.rows.faults.error(
                "length",
                f"array {self.name!r} has the shape {target.shape}, expected ({n},), a label a"
                f" sequence, or ({n}, {steps.padded}), one a step",
                "Save as many labels as sequences.",
            )
        if target.dtype.kind not in "fiubUS":
            raise self.rows.faults.error(
                "label",
                f"array {self.name!r} is of {target.dtype}, expected numbers or text",
                "Save labels as whole numbers or text.",
            )
        if target.shape != (n, steps.padded):
            return target, None
        mask: NDArray[np.bool_] = np.arange(steps.padded or 0) < steps.lengths[:, None]
        return target[mask], np.concatenate([[0], np.cumsum(steps.lengths)]).astype(np.int64)

    def label_cells(self, steps: Steps | None, per_step: bool) -> LabelCells:
        """Return one label per sequence from y (n,), or one per step from y (n, T)."""
        assert steps is not None  # arrays hold numbers, so their sequences have steps
        target, offsets = self._within(steps, wide=False)
        if target.dtype.kind == "S":
            target = np.char.decode(target, "utf-8")
        labels = target.tolist()
        if target.dtype.kind == "f":  # whole numbers are classes, even if saved as floats
            # MATLAB and pandas save class codes as floats.
            labels = [int(label) if label.is_integer() else label for label in labels]

        def place(i: int) -> Place:
            if offsets is None:
                return self.place(i)
            row = int(np.searchsorted(offsets, i, side="right")) - 1
            return self.place(row, f"step {i - offsets[row] + 1}: ")

        return LabelCells(labels, offsets, place)

    def target_numbers(self, steps: Steps | None) -> NDArray[np.float64] | Ragged:
        """Return numbers of y (n,) or (n, K), or, of (n, T), one a step."""
        assert steps is not None
        target, offsets = self._within(steps, wide=True)
        if target.dtype.kind not in "fiu":
            self._refuse("numbers to predict")
        finite = np.isfinite(target).reshape(len(target), -1).all(1)
        for i in np.flatnonzero(~finite).tolist():
            row = i if offsets is None else int(np.searchsorted(offsets, i, side="right")) - 1
            problem, remedy = "the target is not finite, expected a number", "Correct or drop it."
            self.fault(row, "finite", problem, remedy)
        values = np.nan_to_num(target.astype(np.float64))
        return values if offsets is None else Ragged(values, offsets)

    def known_numbers(self) -> NDArray[np.float64] | None:
        """Return all numbers of the array, or None if anything else is in it."""
        numeric = self.array.dtype.kind in "fiu" and bool(np.isfinite(self.array).all())
        return self.array.astype(np.float64) if numeric else None


def _pop_channel_names(arrays: dict[str, Array]) -> tuple[str, ...]:
    """Remove and return the array of text that names the channels of an array (n, T, C), if any."""
    counts = {array.shape[2] for array in arrays.values() if array.ndim == 3}
    for name, array in list(arrays.items()):
        text = array.ndim == 1 and array.dtype.kind in "US" and len(array) in counts
        if text and name.lower() in _CHANNEL_NAMES and len(set(array.tolist())) == len(array):
            del arrays[name]
            texts = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
            return tuple(texts.tolist())
    return ()


def _pop_static(
    arrays: dict[str, Array], rows: Rows, options: ReadOptions
) -> tuple[dict[str, Column], ReadOptions]:
    """Remove the arrays of static features, (n,) or (n, k); return a column for each feature.

    Returns: the columns, and the options, whose `static` names them.
    """
    layout, named = options.layout, list(options.static)
    names, guessed = _pop_names(arrays), list[str]()
    if not named and layout:
        named = list(dict.fromkeys(re.sub(r"\[\d+\]$", "", n) for n in layout.static))
        named = named if set(named) <= set(arrays) else [n for n in _STATIC if n in arrays][:1]
    elif not named:
        named = guessed = [name for name in arrays if name.lower() in _STATIC]
    if named == ["none"] and "none" not in arrays:
        for name in [name for name in arrays if name.lower() in _STATIC]:
            del arrays[name]
        return {}, options
    if guessed:
        flag, change = f"--static {guessed[0]}", "--static none"
        rows.faults.guesses.append(Guess("static", (), "by its name", flag, change, "sure"))
    columns: dict[str, Column] = {}
    for key in named:
        if key not in arrays:
            raise unknown_name(key, list(arrays), "--static NAME", "array", rows.faults.source)
        array = arrays.pop(key)
        n = len(array) if array.ndim else 0
        if array.ndim not in (1, 2) or array.dtype.kind not in "fiubUS" or 0 in array.shape:
            raise rows.faults.error(
                "shape",
                f"array {key!r} is of {array.dtype} with the shape {array.shape}, expected numbers"
                " or text, (n,) or (n, k), one row for each sequence",
                "Save one value of each static feature for each sequence.",
            )
        table = array.reshape(n, -1)
        width = table.shape[1]
        own = names if len(names) == width else tuple(f"{key}[{c + 1}]" for c in range(width))
        for name, cells in zip(own if width > 1 or names else (key,), table.T, strict=True):
            if cells.dtype.kind in "US":
                texts = np.char.decode(cells, "utf-8") if cells.dtype.kind == "S" else cells
                columns[name] = TextColumn(name, rows, texts.tolist())
            else:
                columns[name] = NumberColumn(name, rows, cells)
    return columns, dataclasses.replace(options, static=tuple(columns))


def _pop_names(arrays: dict[str, Array]) -> tuple[str, ...]:
    """Remove and return the array of text that names the static features, if any."""
    array = arrays.pop(_STATIC_NAMES, None)
    return () if array is None else tuple(map(str, array.ravel().tolist()))


def load_npy(path: Path, source: str) -> Array:
    """Return the array of a `.npy` file."""
    with path.open("rb") as file:
        return _load(file, path.stat().st_size, source, "")


def _open_npz(path: Path, source: str) -> dict[str, Array]:
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            # Not numpy.load: it trusts the shape in the header and allocates memory before it
            # reads the content.
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    name = entry.filename.removesuffix(".npy")
                    arrays[name] = _load(file, entry.file_size, source, f"array {name!r}: ")
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise _damaged(str(error), source, "") from None
    if not arrays:
        raise DataError(
            "the file holds no arrays",
            remedy="Save X and y with numpy.savez.",
            source=source,
            rule="empty",
        )
    return arrays


def _load(file: IO[bytes], size: int, source: str, what: str) -> Array:
    """Read one array, after checking its header against the size of its content.

    Args:
        size: bytes of the whole file.
    """
    read_header: dict[tuple[int, int], Callable[..., Any]] = {
        # Version 3.0 is for structured types with names beyond Latin-1, which are refused anyway.
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
        if version not in read_header:
            raise ValueError(f"version {version} of the format, expected 1.0 or 2.0")
        shape, fortran, dtype = read_header[version](file)
        # numpy.load would refuse too, but names pickle as the remedy.
        if dtype.hasobject:
            raise DataError(
                f"{what}Python objects, which only pickle can read and elman never does",
                remedy="Save sequences of unequal length padded, with an array of lengths.",
                source=source,
                rule="pickle",
            )
        content = file.read()
        # As Python integers: a forged shape overflows int64 and would look small.
        count = int(np.prod(shape, dtype=object)) if shape else 1
        if count * dtype.itemsize != len(content):
            raise ValueError(
                f"{len(content):,} bytes of content, expected {count * dtype.itemsize:,} for shape"
                f" {shape} of {dtype}"
            )
    except (ValueError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise _damaged(str(error), source, what) from None
    array = np.frombuffer(content, dtype=dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _damaged(problem: str, source: str, what: str) -> DataError:
    return DataError(
        f"{what}not readable as a NumPy array: {problem}",
        remedy="Check that it was written to the end, by numpy.save or numpy.savez.",
        source=source,
        rule="damaged",
    )


def _open_npy(
    path: Path, source: str, options: ReadOptions
) -> tuple[dict[str, Array], ReadOptions]:
    """Return the array of inputs and, from the named or a neighbouring file, the labels."""
    arrays = {path.name: load_npy(path, source)}
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
