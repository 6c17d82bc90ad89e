"""One-hot targets: columns or arrays of 0 and 1 with exactly one 1 in every row mean classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Guess
from elman.data.faults import Faults, list_names
from elman.data.names import TARGET_NAMES
from elman.data.ragged import NOT_LABELLED, to_objects
from elman.data.roles import ReadOptions
from elman.data.table import Column, Steps
from elman.data.unlabelled import unlabel
from elman.tasks import TASKS

_BLANK = -1  # a cell without a value, and a row without a class
_CELLS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
ONE_HOT = "every row has exactly one 1, as one-hot classes have"


def bit_of(cell: Any) -> int | None:
    """Return 0 or 1 for a cell that says whether a label applies, -1 for none; else None."""
    if cell is None:
        return _BLANK
    if isinstance(cell, str):
        return _CELLS.get(cell.strip().lower())
    return int(cell) if cell in (0, 1) else None


def to_bits(values: NDArray[Any]) -> NDArray[np.int8] | None:
    """Return 0, 1 and, for None, NaN and -100, -1, (m, K); None if there is anything else."""
    if values.dtype == object:
        flat = values.ravel().tolist()
        if any(isinstance(value, str) for value in flat):
            return None
        try:
            values = np.array(flat, dtype=np.float64).reshape(values.shape)
        except (TypeError, ValueError):
            return None
    if values.dtype.kind not in "biuf":
        return None
    blank = (values != values) | (values == NOT_LABELLED)
    if not (blank | (values == 0) | (values == 1)).all():
        return None
    return np.where(blank, _BLANK, values == 1).astype(np.int8)


def find_ones(bits: NDArray[np.int8], *, zeros: bool) -> NDArray[np.int64] | None:
    """Return the place of the 1 in each row, (m,), or None if some row has no or several ones.

    Args:
        bits: as `to_bits` returns them.
        zeros: whether a row of zeros has no class, as a row without any value has none.
    Returns: -1 for a row without a class.
    """
    ones, blank = (bits == 1).sum(1), (bits == _BLANK).all(1)
    blank |= zeros & (ones == 0) & (bits == 0).all(1)
    if blank.all() or ((bits == _BLANK).any(1) & ~blank).any() or (ones[~blank] != 1).any():
        return None
    return np.where(blank, _BLANK, bits.argmax(1)).astype(np.int64)


def read_bits(columns: Sequence[Column], steps: Steps | None = None) -> NDArray[np.int8] | None:
    """Return the cells of several columns as `to_bits`; None if they hold anything else."""
    if len(columns) < 2 or any(column.nested for column in columns):
        return None
    parts = []
    for column in columns:
        numbers = column.known_numbers()
        if numbers is not None and not np.isin(numbers, (0, 1, NOT_LABELLED)).all():
            return None
        cells = unlabel(column.label_cells(steps, False).values, column.marks).tolist()
        try:
            known = {cell: bit_of(cell) for cell in set(cells)}
        except TypeError:  # a list or an object of JSON
            return None
        if None in known.values():
            return None
        parts.append(np.array([known[cell] for cell in cells], np.int8))
    return np.column_stack(parts) if len({*map(len, parts)}) == 1 else None


def build_one_hot(
    columns: Sequence[Column], steps: Steps | None, gaps: bool
) -> NDArray[np.object_] | None:
    """Return the name of the column with the 1 of each row, (n,), after recording faults.

    Args:
        gaps: whether a row need not have a class; it is None then.
    Returns: None if the columns hold anything but 0 and 1.
    """
    bits = read_bits(columns, steps)
    if bits is None:
        return None
    names, rows = [column.name for column in columns], columns[0].rows
    ones, blank = (bits == 1).sum(1), (bits == _BLANK).all(1)
    listed = list_names(names, 5)
    wrong = (ones != 1) | (bits == _BLANK).any(1)
    for i in np.flatnonzero(wrong & ~(blank & gaps)).tolist():
        count = f"{ones[i]} ones" if ones[i] != 1 else "a 1 and empty cells"
        problem = f"the row has {count} in {listed}, expected one 1 and zeros: the class"
        if blank[i]:
            problem = f"the label is empty: no cell of {listed} has a value"
        remedy = "Correct it; if any number of labels may apply, read them with --task multilabel."
        rows.fault(i, ",".join(names), "label", problem, remedy)
    found = to_objects([names[k] for k in bits.argmax(1).tolist()])
    found[blank] = None
    return found


def open_arrays(
    arrays: dict[str, NDArray[Any]], options: ReadOptions, faults: Faults
) -> ReadOptions:
    """Replace one-hot labels among the arrays of a file by the numbers of their classes.

    Labels (n, K) become (n,), and (n, T, K) become (n, T), -100 for a step without a class.
    Returns: the options, with the task `multilabel` if (n, K) holds 0 and 1, and not one 1 a row.
    """
    before = options.layout
    named = options.target or (before.target if before else None)
    name = named or next((n for n in arrays if n.lower() in TARGET_NAMES), None)
    task = options.task or (before.task if before and not options.target else None)
    if name not in arrays or (task is not None and not TASKS[task].single_label):
        return options
    target = arrays[name]
    others = [a for key, a in arrays.items() if key != name and a.ndim in (2, 3)]
    if target.ndim not in (2, 3) or target.shape[-1] < 2 or 0 in target.shape:
        return options
    of_steps = any(a.shape[:2] == target.shape[:2] for a in others)
    if target.ndim == 3 and not of_steps:
        return options
    bits = to_bits(target.reshape(-1, target.shape[-1]))
    if bits is None:
        return options
    codes = find_ones(bits, zeros=target.ndim == 3)
    flag, new = f"--target {name}", before is None and options.task is None
    if target.ndim == 2 and of_steps and (task is None or TASKS[task].per_step):
        if codes is not None and new:  # one event in each sequence looks the same
            why = (
                "it has as many columns as steps, and exactly one 1 in every row: labels of steps;"
                " --task classification reads a class for each sequence"
            )
            faults.guesses.append(
                Guess("target", (name,), why, flag, "--task classification", "unsure")
            )
        return options
    width = target.shape[-1]
    if codes is None:
        if target.ndim == 3 or not new or (bits == _BLANK).any():
            return options
        why = f"it holds 0 and 1 in {width} columns: any of {width} labels for each sequence"
        faults.guesses.append(Guess("task", (), why, "--task multilabel", "--task regression"))
        return dataclasses.replace(options, task="multilabel")
    if new and options.labelled is not False:
        change = "--task multilabel" if target.ndim == 2 else "--task regression"
        other = f"any of {width} labels" if target.ndim == 2 else f"{width} numbers at every step"
        why = f"{ONE_HOT}: classes 0 to {width - 1}; {change} reads {other}"
        faults.guesses.append(Guess("target", (name,), why, flag, change))
    codes = np.where(codes == _BLANK, NOT_LABELLED, codes).reshape(target.shape[:-1])
    arrays[name] = codes
    return options
