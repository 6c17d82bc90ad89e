"""Which column or key holds the label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import is_missing, is_number
from elman.data.faults import list_names, unknown_name
from elman.data.options import Options
from elman.data.table import Table
from elman.errors import DataError
from elman.tasks import TaskName

# Looked for in this order; two of the first line in one file are ambiguous.
NAMES = ("label", "labels", "class", "target", "y", "category", "intent", "tag", "tags")
WEAKER_NAMES = ("language", "sentiment")


def by_name(names: Sequence[str]) -> list[str]:
    """Return the names that usually mean a label; y beside x and z is a direction in space."""
    for usual in (NAMES, WEAKER_NAMES):
        found = [name for name in names if name.lower() in usual]
        small = {name.lower() for name in names}
        if "x" in small and ("z" in small or len(found) > 1):
            found = [name for name in found if name.lower() != "y"]
        if found:
            return found
    return []


def named_target(
    names: Sequence[str],
    options: Options,
    source: str,
    *,
    what: str,
    meaning: Callable[[str], str],
) -> tuple[str | None, list[str], str]:
    """Return the target that was asked for or that its name gives away.

    Args:
        names: the columns or keys of the file.
        what: "column" or "key".
        meaning: says of a candidate what learning it would mean.
    Returns: its name or None; every column that is a label whether used or not; the note.
    Raises: DataError when the name asked for is not there, or several names are usual ones.
    """
    layout = options.layout
    asked = options.target or (layout.target if layout else None)
    if asked is not None:
        if found := target_names(asked, names):
            return (None if options.labelled is False else asked), found, ""
        if options.labelled is False or (options.labelled is None and not options.target):
            return None, [], ""
        raise unknown_name(asked, names, "--target NAME", what, source)
    if layout and not options.labelled:
        return None, [], ""
    found = by_name(names)
    if options.labelled is False:
        return None, found, ""
    if len(found) > 1:
        choices = ", ".join(f"`--target {name}` {meaning(name)}" for name in found)
        raise DataError(
            f"{len(found)} {what}s could be the target: {list_names(found)}",
            remedy=f"Choose one: {choices}.",
            source=source,
            rule="choice",
        )
    if not found:
        return None, [], ""
    return found[0], found, f"--target {found[0]}: by its name"


def target_names(target: str, names: Sequence[str]) -> list[str]:
    """Return the columns that a target names, one or several with commas; none if one is not there.

    A column whose own name has a comma in it goes first.
    """
    if target in names:
        return [target]
    parts = [part.strip() for part in target.split(",")]
    return parts if len(parts) > 1 and all(part in names for part in parts) else []


def no_target(names: Sequence[str], what: str, source: str) -> DataError:
    """Return the error for a file that needs a target and shows none."""
    return DataError(
        f"no {what} is known to be the target; the {what}s are {list_names(names, 12)}",
        remedy="Say which one holds the label: --target NAME.",
        source=source,
        rule="choice",
    )


def objects(labels: Sequence[Any]) -> NDArray[Any]:
    """Return labels as an object array, (n,), each of the type it has."""
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def has_fractions(numbers: NDArray[np.float64]) -> bool:
    """Whether finite numbers are among them that are not whole."""
    known = numbers[np.isfinite(numbers)]
    return bool((known != np.round(known)).any())


def task_of_table(table: Table, target: str, options: Options) -> tuple[TaskName | None, str]:
    """Say what is to be learned from the target of a table, and the note where that is a guess.

    None means classes, of sequences or of steps.
    """
    known = options.layout.task if options.layout and not options.target else None
    if asked := options.task or known:
        return asked, ""
    names = target_names(target, table.names)
    cells = [[cell.strip() for cell in table.column(name)] for name in names]
    if len(names) > 1 and all(set(column) <= {"0", "1"} for column in cells):
        return "multilabel", "--task multilabel: the target columns hold 0 and 1"
    if not all(is_number(cell) for column in cells for cell in column if not is_missing(cell)):
        return None, ""
    if len(names) > 1:
        return "regression", "--task regression: several target columns of numbers"
    if has_fractions(np.array([float(c) for c in cells[0] if not is_missing(c)])):
        return "regression", "--task regression: the target's numbers have fractions"
    return None, ""


def cell_targets(table: Table, target: str, task: TaskName | None) -> NDArray[Any]:
    """Return the target of every row of a table; what is wrong is told.

    Returns: labels as text, (n,); of several labels frozensets, (n,), from cells with `|` between
        them or from a column of 0 and 1 each; of numbers float64, (n,) or (n, K).
    """
    names = target_names(target, table.names)
    if task == "regression":
        columns = [table.numbers(name) for name in names]
        for name, column in zip(names, columns, strict=True):
            for i in np.flatnonzero(np.isnan(column)).tolist():
                if is_missing(table.column(name)[i]):
                    problem, remedy = "the number is missing", "Write it or remove the row."
                    table.fault("no label", problem, remedy, i, name)
        return columns[0] if len(columns) == 1 else np.column_stack(columns)
    if task != "multilabel":
        if len(names) > 1:
            raise DataError(
                f"{len(names)} target columns, {list_names(names)}, and they hold classes",
                remedy="Name one, or columns of numbers, or of 0 and 1 with --task multilabel.",
                source=table.source,
                rule="label",
            )
        return objects(cell_labels(table, names[0]))
    if len(names) == 1:
        split = ([part.strip() for part in c.split("|")] for c in table.column(names[0]))
        return objects([frozenset(part for part in parts if part) for parts in split])
    found: list[set[str]] = [set() for _ in range(len(table))]
    for name in names:
        for i, cell in enumerate(table.column(name)):
            if cell.strip() == "1":
                found[i].add(name)
            elif cell.strip() != "0":
                problem = f"{cell.strip()!r} says whether label {name!r} is there, expected 0 or 1"
                table.fault("label", problem, "Correct it, or name other columns.", i, name)
    return objects([frozenset(own) for own in found])


def cell_labels(table: Table, name: str, what: str = "label") -> list[str]:
    """Return the labels, or groups, in a column of a table, stripped; empty ones are told."""
    labels = [cell.strip() for cell in table.column(name)]
    for i, label in enumerate(labels):
        if not label:
            problem, remedy = f"the {what} is empty", f"Write the {what} or remove the row."
            table.fault(f"no {what}", problem, remedy, i, name)
    return labels
