"""Targets: labels, sets of labels or numbers, built from columns and checked.

Not every step needs a label; `elman.data.unlabelled` says how such a step is written and read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.columns import TextColumn
from elman.data.dataset import Dataset
from elman.data.faults import Faults, describe_value, is_number, list_names
from elman.data.onehot import ONE_HOT, bit_of, build_one_hot, find_ones, read_bits
from elman.data.ragged import NOT_LABELLED, Ragged, first_gap, flatten, is_labelled, to_objects
from elman.data.table import UNREADABLE, Column, LabelCells, Steps
from elman.data.unlabelled import CodedLabels, code_labels, unlabel
from elman.errors import DataError
from elman.tasks import TASKS, TaskName

TargetValues = NDArray[Any] | Ragged
_NOTHING = frozenset(
    ("na", "n/a", "none", "?", "-", "missing", "nan", "null", "unlabeled", "unlabelled")
)
# Numbers of a CSV file may have been written as floats; JSON and arrays have integers.
_WHOLE = re.compile(r"-?\d+\.0+")

OUTSIDE = "O"
Entity = tuple[int, int, str]  # first step, step after the last, name

# Positions by scheme: begin, inside, end or last, single or unit or whole, middle.
_SCHEMES = {
    "BIO": frozenset("BI"),
    "IOE": frozenset("IE"),
    "BIOES": frozenset("BIES"),
    "BILOU": frozenset("BILU"),
    "BILOW": frozenset("BILW"),
    "BMEOS": frozenset("BMES"),
}
_FIRST = "BSUW"  # positions that always start an entity
_LAST = "ESLUW"  # positions that always end one


def build_target(
    task: TaskName,
    columns: Sequence[Column],
    steps: Steps | None,
    per_step: bool,
    *,
    gaps: bool = False,
) -> TargetValues | CodedLabels:
    """Return the target of every row, after recording its faults.

    Args:
        columns: one column, or one for each value or label.
        steps: lengths of the sequences if a cell holds all labels of a sequence; None if each row
            has its own label.
        per_step: whether a cell holds a label for every step.
        gaps: whether a row is a step, which need not have a label: None, or NaN among numbers.
    """
    if not TASKS[task].has_classes:
        return _build_numbers(columns, steps, gaps)
    if not TASKS[task].single_label:
        return _build_label_sets(columns, steps)
    column, *others = columns
    faults = column.rows.faults
    if others and (classes := build_one_hot(columns, steps, gaps)) is not None:
        return classes
    if others:
        raise faults.error(
            "label",
            f"{len(columns)} target columns, {list_names([c.name for c in columns])}, and they"
            " hold classes",
            "Name one, or columns of numbers, or of 0 and 1 with --task multilabel.",
        )
    if gaps and isinstance(column, TextColumn):  # has no faults: its labels are text
        coded = code_labels(column)
        return coded.renamed(without_point(coded.different))
    cells = column.label_cells(steps, per_step)
    if not gaps and cells.offsets is None:
        check_labels(cells, faults)
        return to_objects(cells.values)
    if {list, dict} & set(map(type, cells.values)):  # neither can be in a set
        check_labels(cells, faults)
        faults.stop()
    labels = without_point(unlabel(cells.values, column.marks))
    known = np.flatnonzero(is_labelled(labels))
    found = labels[known].tolist()
    check_labels(LabelCells(found, None, lambda i: cells.place(int(known[i]))), faults)
    return labels if cells.offsets is None else Ragged(labels, cells.offsets)


def without_point(labels: NDArray[Any]) -> NDArray[Any]:
    """Return 1.0 as 1 if some labels are missing: pandas makes floats of whole numbers then."""
    known = is_labelled(labels)
    different: set[Any] = {*labels[known].tolist()} if not known.all() else {None}
    if not all(isinstance(label, str) and _WHOLE.fullmatch(label) for label in different):
        return labels
    shorter = {label: label.partition(".")[0] for label in different}
    return to_objects([shorter.get(label) for label in labels.tolist()])


def match_classes(target: TargetValues, classes: Sequence[Any]) -> TargetValues:
    """Return labels with those of another form as the class of the same number: 1.0 as 1."""
    values = flatten(target)
    if values.dtype != object or any(isinstance(v, frozenset) for v in values[:1]):
        return target
    numbers = {float(c): c for c in classes if isinstance(c, str) and is_number(c)}
    other = {
        label: numbers.get(float(label), label)
        for label in {v for v in values.tolist() if isinstance(v, str)}.difference(classes)
        if is_number(label)
    }
    if not other or len(numbers) < len(classes):
        return target
    values = to_objects([other.get(label, label) for label in values.tolist()])
    return target.with_values(values) if isinstance(target, Ragged) else values


def _build_label_sets(columns: Sequence[Column], steps: Steps | None) -> NDArray[Any]:
    """Return frozensets, (n,), from one column of lists or one column of 0 and 1 per label."""
    if len(columns) == 1:
        cells = columns[0].label_lists()
        check_labels(cells, columns[0].rows.faults)
        if {list, dict} & set(map(type, cells.values)):  # neither can be in a set
            columns[0].rows.faults.stop()
        assert cells.offsets is not None
        if steps is not None and len(cells.offsets) - 1 != len(steps.lengths):
            raise columns[0].rows.faults.error(
                "length",
                f"there are {len(cells.offsets) - 1:,} rows of labels for {len(steps.lengths):,}"
                " sequences",
                "Save as many rows of labels as sequences.",
            )
        labels = Ragged(to_objects(cells.values), cells.offsets)
        return to_objects([frozenset(own.tolist()) for own in labels])
    sets: list[set[str]] | None = None
    for column in columns:
        cells = column.label_cells(steps, False)
        # The first column creates the sets; all columns are equally long.
        sets = [set() for _ in cells.values] if sets is None else sets
        for i, cell in enumerate(cells.values):
            bit = bit_of(cell)
            if bit == 1:
                sets[i].add(column.name)
            elif bit != 0:
                problem = f"{cell!r} says whether label {column.name!r} is there, expected 0 or 1"
                column.fault(i, "label", problem, "Correct it, or name other columns.")
    return to_objects([frozenset(own) for own in sets or ()])


def _build_numbers(columns: Sequence[Column], steps: Steps | None, gaps: bool) -> TargetValues:
    """Return numbers, (n,) or (n, K), or a Ragged of (N,) or (N, K)."""
    parts = [column.numbers() if gaps else column.target_numbers(steps) for column in columns]
    if len(parts) == 1:
        return parts[0]
    if len({flatten(part).shape for part in parts}) > 1:
        raise columns[0].rows.faults.error(
            "length",
            f"target columns {list_names([c.name for c in columns])} hold unequally many numbers,"
            " expected one each for every sequence, or one for every step",
            "Name columns of one kind.",
        )
    numbers = np.column_stack([flatten(part) for part in parts])
    return parts[0].with_values(numbers) if isinstance(parts[0], Ragged) else numbers


def check_labels(cells: LabelCells, faults: Faults, what: str = "label") -> None:
    """Record labels or groups that are empty, of an invalid type, or of mixed types."""
    # The usual case needs one pass over the distinct labels; the slow loop below runs only if this
    # pass finds a fault.
    distinct = set(map(type, cells.values))
    if distinct == {str} and not any(not label.strip() for label in set(cells.values)):
        return
    first: Any = None
    for i, label in enumerate(cells.values):
        if label is UNREADABLE:
            continue
        if label is None or (isinstance(label, str) and not label.strip()):
            rule, problem = f"no {what}", f"the {what} is empty"
            remedy = f"Write the {what} or remove the row."
        elif not isinstance(label, str | int):
            value = describe_value(label)
            rule, problem = "label", f"the {what} is {value}, expected text or a whole number"
            remedy = "Labels are classes; numbers to predict are read with --task regression."
        elif first is not None and type(label) is not type(first) and what == "label":
            rule = "label type"
            problem = (
                f"the label is {describe_value(label)}, on the first line {describe_value(first)}"
            )
            remedy = "Labels of one file are all of one type."
        else:
            first = label if first is None else first
            continue
        cells.place(i).fault(faults, rule, problem, remedy)


def guess_task(columns: Sequence[Column], per_step: bool) -> tuple[TaskName, str]:
    """Return the task that the target suggests, and why if it is not classification.

    Whole numbers are read as classes, because they are more often codes; --task overrides this.
    """
    bits = read_bits(columns) if len(columns) > 1 else None
    if bits is not None and find_ones(bits, zeros=False) is not None:
        return "classification", f"{ONE_HOT}; --task multilabel if any number of labels may apply"
    if bits is not None:
        return "multilabel", "the target columns hold 0 and 1"
    numbers = [column.known_numbers() for column in columns]
    known = [values for values in numbers if values is not None]
    if len(known) == len(columns):
        if len(columns) > 1:
            return "regression", "several target columns of numbers"
        if has_fractions(known[0]):
            return "regression", "the target's numbers have fractions"
    return ("tagging" if per_step else "classification"), ""


def has_fractions(numbers: NDArray[np.float64]) -> bool:
    """Whether any finite number is not whole."""
    finite = numbers[np.isfinite(numbers)]
    return bool((finite != np.round(finite)).any())


def check_classes(dataset: Dataset, minimum: int = 2) -> None:
    """Refuse training data with fewer than two classes, or with a class too small to split.

    Numeric targets only need to exist; multilabel targets need at least one label.

    Args:
        minimum: sequences each class must have; labels at every step are only checked to differ.
    Raises: DataError naming the class, its count and a line it is on.
    """
    if dataset.target is None:
        raise DataError(
            "the sequences have no labels, expected some to learn from",
            remedy="Name the label with --target NAME.",
            source=dataset.source,
        )
    task, labels = TASKS[dataset.task], dataset.labels()
    if not task.has_classes:
        if not is_labelled(flatten(dataset.target)).any():
            raise DataError(
                "no number to predict is known: all are missing",
                remedy="Name another target with --target NAME.",
                source=dataset.source,
            )
        return
    per_step, line, problem = isinstance(dataset.target, Ragged), None, ""
    counts = Counter(labels)
    small = [(label, n) for label, n in counts.items() if n < minimum]
    if not task.single_label:
        problem = "" if labels else "no sequence has a label, expected some to learn from"
        remedy = "Name another target with --target NAME."
    elif len(counts) < 2:
        unit = "step" if per_step else "sequence"
        only = f"every {unit} has the label {labels[0]!r}" if labels else "there are no labels"
        problem = f"{only}, expected at least 2 classes"
        remedy = "Add data of other classes, or name another target with --target NAME."
    elif small and not per_step:
        listed = ", ".join(f"{label!r} has {n}" for label, n in small[:5])
        more = f" and {len(small) - 5} more classes have too few" if len(small) > 5 else ""
        problem = f"every class needs at least {minimum} sequences; {listed}{more}"
        # Many tiny classes suggest that the column holds names or numbers instead of classes.
        many = len(counts) > 20 and len(small) > len(counts) // 2
        remedy = (
            "Is this the column of classes? Name another with --target NAME."
            if many
            else "Add sequences of that class, or remove it from the file."
        )
        if dataset.lines is not None:
            line = int(dataset.lines[labels.index(small[0][0])])
    if problem:
        layout = dataset.layout
        column = layout.target if layout.format in ("rows", "steps") else None
        raise DataError(problem, remedy=remedy, source=dataset.source, line=line, column=column)


def check_gaps(dataset: Dataset, allowed: NDArray[np.bool_], hint: str = "") -> None:
    """Refuse a missing value in a channel that had none in the training split.

    Args:
        allowed: whether a channel may have gaps, (C,).
        hint: how to fill it, for the message.
    Raises: DataError naming the sequence, its step and the column.
    """
    numbers = dataset.numbers
    if numbers is None or numbers.values.shape[1:] != allowed.shape:
        return  # other channels are refused elsewhere; tokens have no channels
    gap = first_gap(numbers, allowed)
    if gap is None:
        return
    layout = dataset.layout
    # With one row per sequence the columns are steps, so the step gives the column.
    over_time = layout.format == "rows"  # a column for each step of one channel
    at = gap.step if over_time else gap.channel
    names = layout.values if over_time else layout.channels
    name = names[at] if at < len(names) else str(at)
    owner = "the sequence that starts here"
    if dataset.lines is None and dataset.ids:
        owner = f"sequence {dataset.ids[gap.sequence]!r}"
    raise DataError(
        f"step {gap.step + 1} of {owner} is missing"
        + (", " if over_time else f" in channel {name!r}, ")
        + "which had no gaps in the training split",
        remedy=f"Fill the gap{hint}, or train on sequences with gaps there.",
        source=dataset.source,
        line=None if dataset.lines is None else int(dataset.lines[gap.sequence]),
        column=name if layout.format in ("rows", "steps") else None,
    )


def find_doubtful_labels(classes: Iterable[str]) -> list[str]:
    """Return notes on suspicious classes: two spellings of one, or words among numbers."""
    classes = list(classes)
    folded: dict[object, list[str]] = {}
    for label in classes:
        # 1 and 1.0, or Yes and yes, are rarely meant as two classes.
        same: object = float(label) if is_number(label) else " ".join(label.lower().split())
        folded.setdefault(same, []).append(label)
    doubts = [
        f"one class or several? {list_names(labels)}"
        for labels in folded.values()
        if len(labels) > 1
    ]
    unsure = [label for label in classes if label.strip().lower() in _NOTHING]
    if unsure:
        doubts.append(
            f"{list_names(unsure)} is read as a class: write an empty cell where there is no label"
        )
    numbers = [label for label in classes if is_number(label)]
    if len(numbers) > 1 and str(NOT_LABELLED) in numbers:
        doubts.append(
            f"{NOT_LABELLED} is read as a class; torch and Hugging Face write it where there is no"
            " label"
        )
    if numbers and len(numbers) < len(classes):
        others = [label for label in classes if not is_number(label)]
        doubts.append(
            f"labels are numbers ({list_names(numbers, 3)}) and words ({list_names(others, 3)}): is"
            " one a mistake?"
        )
    return doubts


# Tags of entities: `O`, outside of all, or the position in an entity and its name, as in `B-city`.


def find_scheme(tags: Iterable[object]) -> str | None:
    """Return the scheme of distinct tags, or None if they are not tags of entities.

    With `I` alone it is IOB1, in which `B` only divides entities of one name that touch.
    """
    distinct = set(tags)
    names = distinct - {OUTSIDE}
    if not names or not all(isinstance(t, str) and len(t) > 2 and t[1] == "-" for t in names):
        return None
    positions = frozenset(str(tag)[0] for tag in names)
    if positions == {"I"}:
        return "IOB1" if OUTSIDE in distinct else None
    if not positions & {*"BSUWE"}:
        return None
    return next((name for name, known in _SCHEMES.items() if positions <= known), None)


def name_scheme(sequences: Iterable[Sequence[str]]) -> str | None:
    """Return the scheme of tagged sequences; IOB1 and IOB2 differ in where `I` stands."""
    rows = [list(tags) for tags in sequences]
    scheme = find_scheme({tag for tags in rows for tag in tags})
    if scheme != "BIO":
        return scheme
    for tags in rows:
        for before, tag in zip([OUTSIDE, *tags], tags, strict=False):
            if tag[0] == "I" and before[2:] != tag[2:]:
                return "IOB1"
    return "BIO (IOB2)"


def find_entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of one sequence, in any of the schemes.

    As in conlleval, an entity also begins at a tag of another name, and inside tags after `O` or
    after an end begin one: what a network predicts need not be well formed.
    """
    found: list[Entity] = []
    start, name, ended = 0, "", False
    for i, tag in enumerate([*tags, OUTSIDE]):
        current = "" if tag == OUTSIDE else tag[2:]
        if name and (ended or current != name or tag[0] in _FIRST):
            found.append((start, i, name))
            name = ""
        if current and not name:
            start, name = i, current
        ended = tag[0] in _LAST
    return found
