"""NumPy's `.npz` and `.npy`: padded or equally long sequences, and labels, as arrays.

An array is a column of the table, and its rows are the cells. The end of a sequence comes from an
array of lengths or from its padding; labels at every step are cut at the same place. Files that
hold Python objects are refused, because reading them would run code.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.columns import NumberColumn, TextColumn
from elman.data.dataset import Guess, InputKind
from elman.data.faults import Faults, Place, check_numbers, unknown_name
from elman.data.onehot import open_arrays
from elman.data.ragged import Ragged, ask_channels_first, is_channels_first
from elman.data.readers.npy import Packed, decode_text, open_npy, open_npz, unpack
from elman.data.roles import ReadOptions
from elman.data.table import Column, LabelCells, Rows, Steps, Table, flatten_lists
from elman.errors import DataError

Array = NDArray[Any]
# What to do about arrays of other types.
_TEXT = "Save numbers, X.astype(float), or read the text as tokens with --text X."
_REMEDIES = {
    "c": "Save what matters of complex numbers: np.abs(X), or real and imaginary parts as channels:"
    " np.stack([X.real, X.imag], axis=-1).",
    "M": "Save numbers, such as seconds: (X - X[:, :1]) / np.timedelta64(1, 's').",
    "m": "Save numbers, such as seconds: X / np.timedelta64(1, 's').",
    "V": "Save the fields as channels: numpy.lib.recfunctions.structured_to_unstructured(X).",
    "U": _TEXT,
    "S": _TEXT,
}
_CHANNEL_NAMES = ("names", "channel_names", "channels", "columns", "feature_names", "features")
_SEQUENCE_NAMES = ("names", "ids", "id", "sequence_names", "case_names", "filenames", "files")
_STATIC, _STATIC_NAMES = ("static",), "static_names"
_LENGTHS = ("lengths", "length", "lens")


def read_arrays(path: Path, faults: Faults, options: ReadOptions) -> tuple[Table, ReadOptions]:
    """Read X (n, T, C) or (n, T), and optionally y and lengths (n,), from `.npz` or `.npy`.

    Returns: the table, and the options with the file of labels next to a `.npy` file.
    """
    if path.suffix.lower() == ".npy":
        arrays, options = open_npy(path, faults.source, options)
    else:
        arrays = open_npz(path, faults.source)
        if len(options.values) > 1:
            raise faults.error(
                "shape",
                f"--values names {len(options.values)} arrays, expected 1, (n, T, C)",
                "Stack the channels in one array.",
            )
    options = open_arrays(arrays, options, faults)
    name = next((n for n in arrays if n.lower() in _LENGTHS), None)
    lengths = arrays.pop(name) if name else None
    packed = unpack(arrays, lengths, options, faults)
    if packed is not None:
        flag = f"--values {packed.name}"
        faults.guesses.append(Guess("format", (), packed.guess, flag, "--values NAME", "sure"))
    channels = _pop_channel_names(arrays, packed, faults)
    n = (
        len(packed.offsets) - 1
        if packed
        else max((len(a) for a in arrays.values() if a.ndim), default=0)
    )
    ids = packed.ids if packed and packed.ids else _pop_ids(arrays, n, faults)
    rows = Rows(faults, noun="sequence", named=False, ids=ids)
    static, options = _pop_static(arrays, rows, options)
    columns: dict[str, Column] = {
        name: ArrayColumn(name, rows, array, lengths, channels) for name, array in arrays.items()
    }
    if packed is not None and packed.name in arrays:
        array = arrays[packed.name]
        columns[packed.name] = PackedColumn(packed.name, rows, array, packed.offsets, channels)
    columns |= static
    return Table("arrays", columns, rows, n, noun="array"), options


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
        self._refuse_unreadable((2, 3), "(n, T, C) or (n, T)")
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
        ends = "sequence ends" if short == 1 else "sequences end"
        notes = [f"{short:,} {ends} early: steps of NaN alone at the end"] if short else []
        if len(self.channels) != channels and is_channels_first(steps, channels):
            notes.append(ask_channels_first(f"array {self.name!r}", array.shape, "save"))
        return check_numbers(ragged, place, self.rows.faults), "; ".join(notes)

    def _refuse_unreadable(self, dimensions: tuple[int, ...], expected: str) -> None:
        """Raise DataError unless the array holds numbers, with one of the numbers of dimensions."""
        array = self.array
        remedy = "Save numbers, (sequences, time steps, channels)."
        if array.dtype.kind not in "fiub":
            problem = f"array {self.name!r} is of {array.dtype}, expected numbers"
            remedy = _REMEDIES.get(array.dtype.kind, remedy)
        elif array.ndim not in dimensions:
            problem = f"array {self.name!r} has the shape {array.shape}, expected {expected}"
        elif 0 in array.shape:
            problem = f"array {self.name!r} has the shape {array.shape}, expected no 0 in it"
        else:
            return
        source = self.rows.faults.source
        raise DataError(problem, remedy=remedy, source=source, rule="shape")

    def guess_kind(self, named: str) -> InputKind:
        """Return `tokens` for words, (n, T), and for what `--text` names, else `numbers`."""
        words = self.array.dtype.kind in "US" and self.array.ndim == 2 and named != "--values"
        return "tokens" if named == "--text" or words else "numbers"

    def tokens(self) -> Ragged:
        """Return words, or whole numbers as text, (N,); empty text at the end is padding."""
        array = self.array
        if array.dtype.kind not in "iuUSb" or array.ndim != 2 or 0 in array.shape:
            raise self.rows.faults.error(
                "type",
                f"array {self.name!r} is of {array.dtype} with the shape {array.shape}, expected"
                " whole numbers or text, (n, T)",
                "Name another array with --text, or read numbers with --values.",
            )
        texts = decode_text(array, self.name, self.rows.faults)
        texts = texts if texts.dtype.kind == "U" else texts.astype(str)
        n, steps = texts.shape
        full = texts != ""
        ends = np.where(full.any(1), steps - np.argmax(full[:, ::-1], axis=1), 1)
        ends = ends if self.ends is None else self._find_ends(np.zeros((n, steps, 1)))
        mask: NDArray[np.bool_] = np.arange(steps) < ends[:, None]
        for i, step in np.argwhere(mask & ~full).tolist():
            problem = f"step {step + 1}: the token is empty"
            self.fault(i, "empty token", problem, "Write the token, or the lengths.")
        offsets = np.concatenate([[0], np.cumsum(ends)]).astype(np.int64)
        return Ragged(texts[mask].astype(object), offsets)

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
        offsets = np.concatenate([[0], np.cumsum(steps.lengths)]).astype(np.int64)
        total = int(offsets[-1])
        if steps.padded is None and total != n and target.shape in ((total,), (total, 1)):
            return target.reshape(total), offsets
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
        return target[mask], offsets

    def label_cells(self, steps: Steps | None, per_step: bool) -> LabelCells:
        """Return one label per sequence from y (n,), or one per step from y (n, T)."""
        assert steps is not None  # arrays hold numbers, so their sequences have steps
        target, offsets = self._within(steps, wide=False)
        labels = decode_text(target, self.name, self.rows.faults).tolist()
        if target.dtype.kind == "f":  # whole numbers are classes, even if saved as floats
            # MATLAB and pandas save class codes as floats.
            labels = [int(label) if label.is_integer() else label for label in labels]

        def place(i: int) -> Place:
            if offsets is None:
                return self.place(i)
            row = int(np.searchsorted(offsets, i, side="right")) - 1
            return self.place(row, f"step {i - offsets[row] + 1}: ")

        return LabelCells(labels, offsets, place)

    def label_lists(self) -> LabelCells:
        """Return the numbers of the columns of y (n, K) that hold 1, in lists."""
        numeric = self.array.ndim == 2 and self.array.dtype.kind in "fiub"
        if not numeric or not np.isin(self.array, (0, 1)).all():
            return super().label_lists()
        return flatten_lists([np.flatnonzero(row).tolist() for row in self.array], self.place)

    def target_numbers(self, steps: Steps | None) -> NDArray[np.float64] | Ragged:
        """Return numbers of y (n,) or (n, K), or, of (n, T), one a step."""
        assert steps is not None
        target, offsets = self._within(steps, wide=True)
        if target.dtype.kind not in "fiu":
            self._refuse("numbers to predict")
        # A number at every step may be missing at some.
        fine = np.isfinite(target) if offsets is None else ~np.isinf(target)
        finite = fine.reshape(len(target), -1).all(1)
        for i in np.flatnonzero(~finite).tolist():
            row = i if offsets is None else int(np.searchsorted(offsets, i, side="right")) - 1
            problem, remedy = "the target is not finite, expected a number", "Correct or drop it."
            self.fault(row, "finite", problem, remedy)
        values = target.astype(np.float64)
        return np.nan_to_num(values) if offsets is None else Ragged(values, offsets)

    def known_numbers(self) -> NDArray[np.float64] | None:
        """Return all numbers of the array, or None if anything else is in it."""
        if self.array.dtype.kind not in "fiu" or np.isinf(self.array).any():
            return None
        numbers = self.array.astype(np.float64)
        return np.asarray(numbers[~np.isnan(numbers)])


class PackedColumn(ArrayColumn):
    """The steps of all sequences in one array, (N, C) or (N,).

    Args:
        offsets: where each sequence starts, and the end, (n + 1,).
    """

    def __init__(
        self,
        name: str,
        rows: Rows,
        array: Array,
        offsets: NDArray[np.int64],
        channels: tuple[str, ...] = (),
    ) -> None:
        super().__init__(name, rows, array, None, channels)
        self.offsets = offsets
        self.nested, self.padded = True, None

    def series(self) -> tuple[Ragged, str]:
        """Return the steps, (N, C); NaN at the end of a sequence is a gap, its length is known."""
        self._refuse_unreadable((1, 2), "(N, C) or (N,)")
        values = self.blank(self.array.astype(np.float64)).reshape(len(self.array), -1)
        ragged = Ragged(values, self.offsets)

        def place(step: int, channel: int) -> Place:
            i = int(np.searchsorted(self.offsets, step, side="right")) - 1
            where = f"step {step - self.offsets[i] + 1}, channel {channel + 1}: "
            return self.rows.place(i, None, where)

        return check_numbers(ragged, place, self.rows.faults), ""


def _pop_ids(arrays: dict[str, Array], n: int, faults: Faults) -> tuple[str, ...]:
    """Remove and return the array of text that names the n sequences, if any."""
    for name, array in list(arrays.items()):
        text = array.dtype.kind in "US" and array.shape == (n,)
        if text and name.lower() in _SEQUENCE_NAMES and len(set(array.tolist())) == n:
            del arrays[name]
            return tuple(_texts(array, name, faults))
    return ()


def _texts(array: Array, name: str, faults: Faults) -> list[str]:
    return list(map(str, decode_text(array, name, faults).tolist()))


def _pop_channel_names(
    arrays: dict[str, Array], packed: Packed | None, faults: Faults
) -> tuple[str, ...]:
    """Remove and return the array of text that names the channels of an array (n, T, C), if any."""
    counts = {array.shape[2] for array in arrays.values() if array.ndim == 3}
    if packed is not None:
        counts.update(arrays[packed.name].shape[1:])
    for name, array in list(arrays.items()):
        text = array.ndim == 1 and array.dtype.kind in "US" and len(array) in counts
        if text and name.lower() in _CHANNEL_NAMES and len(set(array.tolist())) == len(array):
            del arrays[name]
            return tuple(_texts(array, name, faults))
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
                columns[name] = TextColumn(name, rows, _texts(cells, key, rows.faults))
            else:
                columns[name] = NumberColumn(name, rows, cells)
    return columns, dataclasses.replace(options, static=tuple(columns))


def _pop_names(arrays: dict[str, Array]) -> tuple[str, ...]:
    """Remove and return the array of text that names the static features, if any."""
    array = arrays.pop(_STATIC_NAMES, None)
    return () if array is None else tuple(map(str, array.ravel().tolist()))
