"""Which column or key holds the label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.options import Options, listing, unknown
from elman.data.table import Table
from elman.errors import DataError

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
        if asked in names:
            return (None if options.labelled is False else asked), [asked], ""
        if options.labelled is False or (options.labelled is None and not options.target):
            return None, [], ""
        raise unknown(asked, names, "--target NAME", what, source)
    if layout and not options.labelled:
        return None, [], ""
    found = by_name(names)
    if options.labelled is False:
        return None, found, ""
    if len(found) > 1:
        choices = ", ".join(f"`--target {name}` {meaning(name)}" for name in found)
        raise DataError(
            f"{len(found)} {what}s could be the target: {listing(found)}",
            remedy=f"Choose one: {choices}.",
            source=source,
            rule="choice",
        )
    if not found:
        return None, [], ""
    return found[0], found, f"--target {found[0]}: by its name"


def no_target(names: Sequence[str], what: str, source: str) -> DataError:
    """Return the error for a file that needs a target and shows none."""
    return DataError(
        f"no {what} is known to be the target; the {what}s are {listing(names, 12)}",
        remedy="Say which one holds the label: --target NAME.",
        source=source,
        rule="choice",
    )


def objects(labels: Sequence[Any]) -> NDArray[Any]:
    """Return labels as an object array, (n,), each of the type it has."""
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def cell_labels(table: Table, name: str, what: str = "label") -> list[str]:
    """Return the labels, or groups, in a column of a table, stripped; empty ones are told."""
    labels = [cell.strip() for cell in table.column(name)]
    for i, label in enumerate(labels):
        if not label:
            problem, remedy = f"the {what} is empty", f"Write the {what} or remove the row."
            table.fault(f"no {what}", problem, remedy, i, name)
    return labels
