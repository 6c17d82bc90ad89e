"""Steps that are not labelled, and labels of a sequence that stand in some of its rows only.

A step that is not labelled is None among the labels of `Dataset.target`, and NaN among its numbers;
`elman.data.ragged.is_labelled` tells. In training such a step has the class code -100, torch's
ignore_index, or NaN (`elman.train.losses`). Among numbers to predict -100 is a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import merge_codes
from elman.data.columns import TextColumn
from elman.data.dataset import Dataset, Sure
from elman.data.faults import format_count, is_number, quote
from elman.data.ragged import (
    NOT_LABELLED,
    Ragged,
    flatten,
    is_labelled,
    sequences_with_labels,
    to_objects,
)
from elman.data.roles import ReadOptions, Schema
from elman.data.table import Column, Table
from elman.data.units import MISSING
from elman.tasks import TASKS

# Words for "no label" among labels that are words. NA and none may be classes then.
_MARKS = frozenset(("", "nan", "null", "<na>", "nat"))


def is_real(value: Any) -> bool:
    """Whether a value is a number, and not a truth value."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def is_gap(value: Any) -> bool:
    """Whether a value means that there is none: None, NaN, NaT or pandas.NA."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas.NA is neither equal nor unequal to itself
        return True


def find_gaps(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which labels are missing, (m,): None, NaN, NaT or pandas.NA."""
    if values.dtype.kind in "fmM":
        return np.asarray(values != values)
    if values.dtype != object:
        return np.zeros(len(values), dtype=bool)
    labels = values.tolist()
    if {*map(type, labels)} <= {str, int, bool, frozenset}:  # none of these is a gap
        return np.zeros(len(values), dtype=bool)
    return np.fromiter(map(is_gap, labels), bool, len(values))


def find_unlabelled(values: NDArray[Any], marks: Sequence[str] = ()) -> NDArray[np.bool_]:
    """Return which steps are not labelled, (N,): a gap, a word for it, or torch's -100.

    Every word for a missing value is one among labels that are numbers. Among words, NA and none
    are classes. The number -100 is a class if another number is below -1, or 100.

    Args:
        marks: further words for it.
    """
    gaps = find_gaps(values)
    if values.dtype.kind not in "iufUO":
        return gaps
    # Few labels are different, and equal ones are often the same object.
    known = values[~gaps].tolist()
    try:
        different: dict[Any, bool] = dict.fromkeys(known, False)
    except TypeError:  # a list or an object of JSON is no label, which is reported elsewhere
        return gaps
    words = {v: v.strip().lower() for v in different if isinstance(v, str)}
    texts = [v for v, word in words.items() if word not in _MARKS and word not in MISSING]
    numeric = all(map(is_number, texts))
    nothing = _MARKS.union(map(str.lower, marks), MISSING if numeric else ())
    numbers = [float(v) for v in different if is_real(v) or (v in words and is_number(v))]
    others = [number for number in numbers if number != NOT_LABELLED]
    is_mark = min(others, default=0) >= -1 and -NOT_LABELLED not in others
    for value in different:
        if value in words:
            minus = is_mark and is_number(value) and float(value) == NOT_LABELLED
            different[value] = words[value] in nothing or minus
        else:
            different[value] = is_mark and is_real(value) and value == NOT_LABELLED
    if any(different.values()):
        gaps[~gaps] = np.fromiter((different[v] for v in known), bool, len(known))
    return gaps


def unlabel(labels: Sequence[Any], marks: Sequence[str] = ()) -> NDArray[np.object_]:
    """Return labels as objects, (N,), with None for each that is not one; as `find_unlabelled`."""
    values = np.empty(len(labels), dtype=object)
    values[:] = labels
    values[find_unlabelled(values, marks)] = None
    return values


@dataclass(frozen=True, eq=False)
class CodedLabels:
    """Labels of rows, of which each distinct one is kept once.

    Args:
        codes: index of each label in `different`, (N,).
        different: distinct labels, one of them None if some rows are not labelled.
    """

    codes: NDArray[np.int32]
    different: NDArray[np.object_]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which rows are labelled, (N,)."""
        known: NDArray[np.bool_] = is_labelled(self.different)[self.codes]
        return known

    def renamed(self, different: NDArray[np.object_]) -> CodedLabels:
        """Return other labels for the distinct ones, (m,); some of them may be equal."""
        codes, merged = merge_codes(self.codes, different.tolist())
        return CodedLabels(codes.astype(np.int32, copy=False), to_objects(merged))

    def __getitem__(self, rows: Any) -> NDArray[np.object_]:
        """Return the labels of rows, (m,)."""
        labels: NDArray[np.object_] = self.different[self.codes[rows]]
        return labels


def code_labels(column: TextColumn) -> CodedLabels:
    """Return the label of every row, None for each that is not labelled, as `find_unlabelled`."""
    coded = CodedLabels(column.small_codes(), to_objects(column.different()))
    return coded.renamed(unlabel(column.different(), column.marks))


def are_constant(values: NDArray[Any], offsets: NDArray[np.int64]) -> bool:
    """Whether all rows of each sequence are equal.

    Args:
        values: (N,) or (N, K).
        offsets: where each sequence starts, (n + 1,).
    """
    differs = values[1:] != values[:-1]
    differs = differs.any(axis=1) if differs.ndim > 1 else differs.astype(bool, copy=False)
    differs[offsets[1:-1] - 1] = False
    return not differs.any()


def by_sequence(
    table: Table,
    schema: Schema,
    options: ReadOptions,
    labels: NDArray[Any] | CodedLabels,
    offsets: NDArray[np.int64],
) -> NDArray[Any] | Ragged | None:
    """Return one label per sequence if labels are constant within sequences, else one per step.

    Args:
        labels: of all rows, (N,) or (N, K), None or NaN where there is none.
        offsets: where each sequence starts, (n + 1,).
    Returns: None if labels may be absent, and are for a whole sequence.
    """
    layout = options.layout
    named = layout and layout.target and options.target in (None, layout.target)
    per_step = layout.per_step if layout and named else None
    coded = isinstance(labels, CodedLabels)
    known = labels.known if isinstance(labels, CodedLabels) else is_labelled(labels)
    values = labels.codes if isinstance(labels, CodedLabels) else labels
    if options.task is not None and (TASKS[options.task].per_step or not known.all()):
        per_step = TASKS[options.task].per_step
    if len(values) and isinstance(values[0], frozenset):
        per_step = False  # multilabel targets at every step are not supported
    if not per_step and len(values) and known.all():  # in most files
        if are_constant(values, offsets):
            return labels[offsets[:-1]]
        per_step = True if per_step is None else per_step
    if per_step:
        return Ragged(labels[:], offsets)
    rows = np.flatnonzero(known)
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[rows]
    labelled, first = np.unique(owners, return_index=True)
    same = rows[first][np.searchsorted(labelled, owners)]  # first labelled row of the sequence
    # Rows with several numbers differ if any of the numbers differs.
    differs = values[rows] != values[same]
    differs = differs.any(axis=1) if differs.ndim > 1 else differs.astype(bool)
    if per_step is None:
        per_step = bool(differs.any())
        if not per_step and not known.all():
            numbers = not coded and values.dtype.kind == "f"
            per_step = _guess_place(schema, rows, owners, offsets, numbers)
    if per_step:
        return Ragged(labels[:], offsets)
    target = ",".join(schema.target)
    before, other = "the training file", "train on labels at every step"
    if options.continued is not None and not options.continued.given:
        before, other = "the rows before", "say --task tagging for labels at every step"
    for row, label in zip(rows[differs].tolist(), labels[same[differs]].tolist(), strict=True):
        table.rows.fault(
            row,
            target,
            "label",
            f"label {quote(str(labels[row]))} differs from {quote(str(label))}, with which"
            f" the sequence starts; expected one label a sequence, as in {before}",
            f"Correct the label, or {other}.",
        )
    bare = np.setdiff1d(np.arange(len(offsets) - 1), labelled)
    if len(bare) and not options.labelled:
        count = f"{len(bare):,} of {format_count(len(offsets) - 1, 'sequence')}"
        schema.notes.append(f"--target {target}: {count} have no label, so labels are not used")
        return None
    for i in bare.tolist():
        one = offsets[i + 1] - offsets[i] == 1
        problem = "the label is empty" if one else "no row of this sequence has a label"
        remedy = "Write it in one of its rows, or remove the sequence."
        if one:
            remedy = "Write the label or remove the row."
        table.rows.fault(int(offsets[i]), target, "no label", problem, remedy)
    own = labels[rows[first]]
    whole = np.full((len(offsets) - 1, *own.shape[1:]), _nothing(own), own.dtype)
    whole[labelled] = own
    return whole


def _nothing(labels: NDArray[Any]) -> Any:
    return math.nan if labels.dtype.kind == "f" else None


def _guess_place(
    schema: Schema,
    rows: NDArray[np.int64],
    owners: NDArray[np.int64],
    offsets: NDArray[np.int64],
    numbers: bool,
) -> bool:
    """Return whether labels that some rows lack are of the steps, and record the guess.

    They are constant within sequences, so that they may be of the sequence as well.

    Args:
        rows: the labelled rows, and their sequences, `owners`, (m,) each.
        numbers: whether they are numbers to predict.
    """
    count, several = len(offsets) - 1, int((np.diff(offsets) > 1).sum())
    if not len(rows) or several == 0:
        return False
    counts = np.bincount(owners, minlength=count)
    if (counts[counts > 0] == np.diff(offsets)[counts > 0]).all():
        return False  # in some sequences no row has a label, in the others every row
    once = int(counts.max()) == 1
    from_start, from_end = rows - offsets[:-1][owners], offsets[1:][owners] - 1 - rows
    sure: Sure = "likely"
    if count == 1:
        per_step, why = True, "some steps of the one recording have no label"
    elif once and (at := _name_row(from_start, from_end)):
        per_step = False
        why = f"each label stands in {at} of its sequence, the others are empty"
    elif once or not counts.all():
        per_step, sure = True, "unsure"
        why = "some steps have no label, and no sequence has two different ones"
    else:
        per_step, sure = False, "unsure"
        why = "each sequence has one label, which some of its rows lack"
    tasks = ["--task classification", "--task tagging"]
    flag, change = tasks[per_step], tasks[not per_step]
    if numbers:
        flag, change = "--task regression", "Repeating the number in each row of its sequence"
    what = f"{'numbers' if numbers else 'labels'} of {'steps' if per_step else 'sequences'}"
    schema.guess("task", (), f"{why}: {what}", sure, flag=flag, change=change)
    return per_step


def _name_row(from_start: NDArray[np.int64], from_end: NDArray[np.int64]) -> str:
    """Return which row is labelled in every sequence, in words; '' if it is not the same one.

    Args:
        from_start, from_end: rows before and after the labelled one in its sequence, (n,).
    """
    if not from_end.any():
        return "the last row"
    if not from_start.any():
        return "the first row"
    if not np.ptp(from_start):
        return f"row {int(from_start[0]) + 1}"
    before = int(from_end[0])
    if np.ptp(from_end):
        return ""
    return f"the row {before} before the last row" if before > 1 else "the row before the last row"


def have_no_label(columns: Sequence[Column]) -> bool:
    """Whether every cell of the columns is empty or says that there is no label."""
    return all(
        isinstance(column, TextColumn)
        and bool(find_unlabelled(to_objects(column.different()), column.marks).all())
        for column in columns
    )


def doubt_numbers(target: NDArray[Any] | Ragged, name: str) -> list[str]:
    """Return notes on numbers to predict that may mean "not known", or that are known in part."""
    values = flatten(target)
    values = values.reshape(len(values), -1)
    gaps = np.isnan(values)
    some = int((gaps.any(1) & ~gaps.all(1)).sum())
    notes = []
    if some:
        notes.append(
            f"--target {name}: {format_count(some, 'step')} with some of the {values.shape[1]}"
            " numbers only, which count as not labelled"
        )
    marks = values == NOT_LABELLED
    others = values[~marks & ~gaps]
    if int(marks.sum()) > 1 and len(others) and others.min() > NOT_LABELLED / 2:
        notes.append(
            f"--target {name}: {NOT_LABELLED} occurs {int(marks.sum()):,} times, far from the other"
            f" numbers ({others.min():.4g} to {others.max():.4g}), and is read as a number;"
            f" --missing {NOT_LABELLED} if it means that there is none"
        )
    return notes


def leave_out_unlabelled(dataset: Dataset) -> tuple[Dataset, str]:
    """Return the sequences of which some step is labelled, and a note on the others, or ''."""
    if not isinstance(dataset.target, Ragged):
        return dataset, ""
    used = sequences_with_labels(dataset.target)
    if used.all() or not used.any():
        return dataset, ""
    unit = "sequence" if dataset.windows is None else "window"
    return dataset.take(np.flatnonzero(used)), describe_unlabelled(used, unit)


def describe_unlabelled(used: NDArray[np.bool_], unit: str) -> str:
    """Say how many of n sequences or windows are not used, because no step is labelled."""
    missing = f"{len(used) - int(used.sum()):,} of {format_count(len(used), unit)}"
    return f"{missing} are left out of the training: no step of them is labelled"


def count_unlabelled(dataset: Dataset) -> str:
    """Return how many steps are not labelled, in words; '' if all are."""
    if not isinstance(dataset.target, Ragged):
        return ""
    known = is_labelled(dataset.target.values)
    missing = len(known) - int(known.sum())
    return f"{missing:,} of {len(known):,} steps are not labelled" if missing else ""
