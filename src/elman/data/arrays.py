"""NumPy's `.npz` and `.npy`: padded or equally long sequences, and labels, as arrays.

Files that hold Python objects are refused: reading those would run code of theirs.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import Place, check_numbers
from elman.data.dataset import Dataset, Layout
from elman.data.faults import Faults, format_count, list_names, unknown_name
from elman.data.options import Options
from elman.data.ragged import Ragged
from elman.data.target import by_name, has_fractions, objects
from elman.errors import DataError

Array = NDArray[Any]
_INPUTS = ("x", "data", "inputs", "values", "sequences", "series")
_LENGTHS = ("lengths", "length", "lens")
# In the name of a file of inputs, and in that of the labels beside it.
_BESIDE = (("X", "y"), ("x", "y"), ("data", "labels"), ("inputs", "labels"), ("inputs", "targets"))


def read_arrays(path: Path, faults: Faults, options: Options) -> Dataset:
    """Read X (n, T, C) or (n, T), where given y and lengths (n,), from a `.npz` or `.npy` file."""
    if path.suffix.lower() == ".npy":
        arrays, names, notes = _open_npy(path, faults.source, options)
    else:
        arrays = _open_npz(path, faults.source)
        names, notes = _roles(arrays, options, faults.source)
    inputs, target, lengths = (arrays.get(name) if name else None for name in names)
    if options.labelled and target is None:
        raise DataError(
            f"no array is known to be the labels; there are {list_names(list(arrays))}",
            remedy="Save them as y, or say which they are: --target NAME.",
            source=faults.source,
            rule="label",
        )
    assert inputs is not None
    values, padded = _sequences(inputs, lengths, names[0] or "", faults)
    if padded:
        notes.append(f"{format_count(padded, 'sequence')} end early: steps of NaN alone at the end")
    labels, numbers = None, False
    if target is not None and options.labelled is not False:
        task = options.task or (options.layout.task if options.layout else None)
        numbers = task == "regression" or (task is None and _fractions(target))
        labels = _labels(target, values, inputs.shape[:2], names[1] or "", faults, numbers)
        if numbers and not task:
            notes.append("--task regression: the target's numbers have fractions")
    layout = Layout(
        format="arrays",
        kind="numbers",
        target=names[1] if labels is not None else None,
        task="regression"
        if numbers
        else "tagging"
        if isinstance(labels, Ragged)
        else "classification",
        per_step=isinstance(labels, Ragged),
        values=tuple(f"channel {c + 1}" for c in range(values.values.shape[1])),
        notes=tuple(notes),
    )
    ids = tuple(f"sequence {i + 1}" for i in range(len(values)))
    return Dataset(values, labels, faults.source, layout, None, ids)


def load_npy(path: Path, source: str) -> Array:
    """Return the array of a `.npy` file."""
    with path.open("rb") as file:
        return _load(file, path.stat().st_size, source, "")


def _open_npz(path: Path, source: str) -> dict[str, Array]:
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
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
    """Read one array; what its header claims is compared with what is there before memory is taken.

    Args:
        size: bytes of the whole file.
    """
    read_header: dict[tuple[int, int], Callable[..., Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
        if version not in read_header:
            raise ValueError(f"version {version} of the format, expected 1.0 or 2.0")
        shape, fortran, dtype = read_header[version](file)
        if dtype.hasobject:
            raise DataError(
                f"{what}Python objects, which only pickle can read and elman never does",
                remedy="Save sequences of unequal length padded, with an array of lengths.",
                source=source,
                rule="pickle",
            )
        content = file.read()
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
    path: Path, source: str, options: Options
) -> tuple[dict[str, Array], tuple[str, str | None, str | None], list[str]]:
    """Return the array of inputs, and the labels of the file named or lying beside it."""
    arrays = {path.name: load_npy(path, source)}
    guess = _beside(path)
    if options.target and options.labelled is not False:
        file = Path(options.target)
        file = file if file.is_file() else path.parent / options.target
        if not file.is_file():
            raise DataError(
                f"there is no file {options.target!r} of labels",
                remedy="Give the path of a .npy file with --target PATH.",
                source=source,
                rule="label",
            )
        note = []
    elif guess and options.labelled is not False:
        file, note = guess, [f"--target {guess.name}: the labels beside it, by the name"]
    else:
        return arrays, (path.name, None, None), []
    arrays[str(file)] = load_npy(file, str(file))
    return arrays, (path.name, str(file), None), note


def _beside(path: Path) -> Path | None:
    """Return the file of labels that goes with a file of inputs, as y_test.npy with X_test.npy."""
    stem = path.stem
    names = [stem.replace(x, y) for x, y in _BESIDE if x in stem]
    names += [f"{stem}_y", f"{stem}_labels"]
    found = [path.with_name(f"{name}.npy") for name in names]
    return next((file for file in found if file != path and file.is_file()), None)


def _roles(
    arrays: dict[str, Array], options: Options, source: str
) -> tuple[tuple[str, str | None, str | None], list[str]]:
    """Return the names of inputs, target and lengths, and the notes on what was guessed."""
    names, layout = list(arrays), options.layout
    lengths = next((n for n in names if n.lower() in _LENGTHS), None)
    target = options.target or (layout.target if layout and layout.target in names else None)
    notes = []
    if target is None and not layout:
        found = by_name(names)
        target = found[0] if len(found) == 1 else None
        notes += [f"--target {target}: by its name"] if target else []
    if len(options.values) > 1:
        raise DataError(
            f"--values names {len(options.values)} arrays, expected 1, (n, T, C)",
            remedy="Stack the channels in one array.",
            source=source,
            rule="shape",
        )
    for name, flag in ((target, "--target NAME"), ("".join(options.values), "--values NAME")):
        if name and name not in names:
            raise unknown_name(name, names, flag, "array", source)
    if options.values:
        return (options.values[0], target, lengths), notes
    rest = [n for n in names if n not in (target, lengths)]
    usual = [n for n in rest if n.lower() in _INPUTS]
    several_steps = [n for n in rest if arrays[n].ndim in (2, 3)]
    chosen = usual if len(usual) == 1 else several_steps
    if len(chosen) != 1:
        shapes = ", ".join(f"{n!r} {arrays[n].shape}" for n in rest) or "none"
        raise DataError(
            f"which array holds the sequences? There are {shapes}",
            remedy="Save them as X, or name the array with --values NAME.",
            source=source,
            rule="key",
        )
    notes.append(f"--values {chosen[0]}: {'by its name' if usual else 'by its shape'}")
    left = [n for n in rest if n != chosen[0]]
    if left:
        notes.append(f"left out: {list_names(left)}")
    return (chosen[0], target, lengths), notes


def _sequences(
    inputs: Array, lengths: Array | None, name: str, faults: Faults
) -> tuple[Ragged, int]:
    """Return the steps within each length, (N, C), and how many sequences NaN at the end cut."""
    problem = ""
    inside: NDArray[np.bool_]
    if inputs.dtype.kind not in "fiub":
        problem = f"array {name!r} is of {inputs.dtype}, expected numbers"
    elif inputs.ndim not in (2, 3):
        problem = f"array {name!r} has the shape {inputs.shape}, expected (n, T, C) or (n, T)"
    elif 0 in inputs.shape:
        problem = f"array {name!r} has the shape {inputs.shape}, expected no 0 in it"
    if problem:
        remedy = "Save numbers, (sequences, time steps, channels)."
        raise DataError(problem, remedy=remedy, source=faults.source, rule="shape")
    values = inputs.astype(np.float64).reshape(*inputs.shape[:2], -1)
    n, steps, channels = values.shape
    cut = 0
    if lengths is None:
        full = ~np.asarray(np.isnan(values).all(axis=2))
        ends = np.where(full.any(axis=1), steps - np.argmax(full[:, ::-1], axis=1), steps)
        cut = int((ends < steps).sum())
    elif lengths.shape != (n,) or lengths.dtype.kind not in "iu":
        raise DataError(
            f"the lengths are {lengths.dtype} of shape {lengths.shape}, expected whole numbers,"
            f" ({n},)",
            remedy="Save the steps of each sequence.",
            source=faults.source,
            rule="length",
        )
    else:
        ends = lengths.astype(np.int64)
        for i in np.flatnonzero((ends < 1) | (ends > steps)).tolist():
            faults.add(
                "length",
                f"sequence {i + 1}: length {ends[i]}, expected 1 to {steps}",
                remedy="Correct the lengths.",
            )
        ends = np.clip(ends, 1, steps)
    inside = np.arange(steps) < ends[:, None]
    rows, at = np.nonzero(inside)

    def place(step: int, channel: int) -> Place:
        where = f"sequence {rows[step] + 1}, step {at[step] + 1}, channel {channel + 1}: "
        return Place(None, None, where)

    offsets = np.concatenate([[0], np.cumsum(ends)]).astype(np.int64)
    ragged = Ragged(values[inside].reshape(-1, channels), offsets)
    return check_numbers(ragged, place, faults), cut


def _fractions(target: Array) -> bool:
    """Whether all are finite numbers, and not all of them whole."""
    known = target.dtype.kind == "f" and bool(np.isfinite(target).all())
    return known and has_fractions(target)


def _labels(
    target: Array,
    inputs: Ragged,
    shape: tuple[int, ...],
    name: str,
    faults: Faults,
    numbers: bool,
) -> NDArray[Any] | Ragged:
    """Return a label a sequence of y (n,), or one a step of y (n, T).

    With `numbers` numbers to predict; those of y (n, K), K not T, are K values a sequence.
    """
    n, steps = shape
    if target.ndim == 2 and target.shape == (n, 1) and steps != 1:
        target = target[:, 0]
    wide = numbers and target.ndim == 2 and target.shape[0] == n and target.shape[1] > 0
    if target.shape not in ((n,), (n, steps)) and not wide:
        raise DataError(
            f"array {name!r} has the shape {target.shape}, expected ({n},), a label a sequence,"
            f" or ({n}, {steps}), one a step",
            remedy="Save as many labels as sequences.",
            source=faults.source,
            rule="length",
        )
    if target.dtype.kind not in "fiubUS":
        raise DataError(
            f"array {name!r} is of {target.dtype}, expected numbers or text",
            remedy="Save labels as whole numbers or text.",
            source=faults.source,
            rule="label",
        )
    per_step = target.shape == (n, steps)
    if per_step:
        within: NDArray[np.bool_] = np.arange(steps) < inputs.lengths[:, None]
        target = target[within]
    if numbers and target.dtype.kind in "fiu":
        finite = np.isfinite(target).reshape(len(target), -1).all(1)
        for i in np.flatnonzero(~finite).tolist():
            problem = f"target {i + 1} is not finite, expected a number"
            faults.add("finite", problem, remedy="Correct it, or drop the sequence.")
        values = np.nan_to_num(target.astype(np.float64))
        return inputs.with_values(values) if per_step else values
    if target.dtype.kind == "S":
        target = np.char.decode(target, "utf-8")
    if target.dtype.kind == "f":
        wrong: NDArray[np.bool_] = ~np.isfinite(target) | (target % 1 != 0)
        for i in np.flatnonzero(wrong).tolist():
            faults.add(
                "label",
                f"label {i + 1} is {target[i]}, expected whole numbers or text",
                remedy="Numbers to predict are read with --task regression.",
            )
        target = np.where(wrong, 0, target).astype(np.int64)
    elif target.dtype.kind == "U":
        for i in np.flatnonzero(np.char.strip(target) == "").tolist():
            faults.add(
                "no label", f"label {i + 1} is empty", remedy="Write it, or drop the sequence."
            )
    labels = objects(target.tolist())
    return inputs.with_values(labels) if per_step else labels
