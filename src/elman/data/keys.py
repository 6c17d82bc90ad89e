"""Columns of ids, several joined into one: the sequences that their rows form, and groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elman.data.columns import TextColumn
from elman.data.faults import list_names, quote
from elman.data.ragged import to_objects
from elman.data.table import Column, Table
from elman.data.targets import check_labels
from elman.data.unlabelled import are_constant


def join_columns(table: Table, name: str, mark: str = "-") -> bool:
    """Make one column of those that a comma-separated name lists, for `table.cells(name)`.

    Args:
        mark: between the cells of a row.
    Returns: whether the name lists two or more columns of the table, and is not itself one.
    Raises: DataError if cells that differ would be equal when joined, as 1-1, 1 and 1, 1-1.
    """
    parts = [part.strip() for part in name.split(",")]
    if name in table.columns or len(parts) < 2 or not all(p in table.columns for p in parts):
        return False
    columns = [column for p in parts if isinstance(column := table.columns[p], TextColumn)]
    if len(columns) < len(parts):
        return False
    codes = np.unique(np.column_stack([c.codes() for c in columns]), axis=0, return_inverse=True)
    rows = [
        [column.different()[code] for column, code in zip(columns, row, strict=True)]
        for row in codes[0].tolist()
    ]
    texts = to_objects([mark.join(row) if all(row) else "" for row in rows])
    if len({*texts}) < len({tuple(row) if all(row) else () for row in rows}):
        raise table.faults.error(
            "name twice",
            f"columns {list_names(parts)} have different cells that are equal when joined by"
            f" {mark!r}",
            "Join them in a new column, and name that.",
        )
    table.joined[name] = TextColumn(name, table.rows, texts[codes[1].reshape(-1)].tolist())
    return True


def first_unknown(table: Table, name: str) -> str:
    """Return the first of the columns listed in a name that is missing, if another one exists."""
    parts = [part.strip() for part in name.split(",")]
    unknown = [part for part in parts if part not in table.columns]
    return unknown[0] if name not in table.columns and 0 < len(unknown) < len(parts) else name


def find_sequences(ids: Column) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return where each sequence of consecutive rows starts, (n + 1,), and its id.

    An empty id, and rows of a sequence that are not together, are faults.
    """
    assert isinstance(ids, TextColumn)
    codes, different = ids.small_codes(), ids.different()
    # Only consecutive rows form a sequence: collecting all rows with the same id would hide that
    # the file was shuffled.
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    offsets = np.append(starts, len(codes)).astype(np.int64)
    owners = codes[starts]
    names = [different[owner] for owner in owners.tolist()]
    if len(starts) > len(different) or "" in different:
        _refuse_scattered(ids, offsets.tolist(), names)
    return offsets, tuple(names)


def _refuse_scattered(ids: TextColumn, offsets: list[int], names: list[str]) -> None:
    """Record every sequence without an id, and every one whose rows are not together."""
    last: dict[str, int] = {}
    for name, start, end in zip(names, offsets, offsets[1:], strict=False):
        if not name:
            problem, remedy = "the id is empty", "Say which sequence the row belongs to."
            ids.fault(start, "no id", problem, remedy)
        elif name in last:
            ended = ids.place(last[name])
            where = f"line {ended.line}" if ended.line else f"row {last[name] + 1}"
            ids.fault(
                start,
                "order of rows",
                f"sequence {name!r} continues here; its rows had ended on {where}",
                "Sort the file so that the rows of one sequence are together.",
            )
        # Updated for repeated ids too, so that each message names the preceding piece.
        last[name] = end - 1


def read_groups(table: Table, name: str) -> tuple[str, ...]:
    """Return the group of every row as text."""
    cells = table.columns[name].label_cells(None, False)
    # Groups are compared as text, so numbers and text may be mixed, but none may be missing.
    check_labels(cells, table.faults, "group")
    return tuple(map(str, cells.values))


def constant_groups(table: Table, name: str, offsets: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the group of each sequence; a group that changes within a sequence is a fault."""
    column = table.columns[name]
    if isinstance(column, TextColumn) and "" not in column.different():
        codes = column.small_codes()
        if are_constant(codes, offsets):  # needs no string for every row
            return tuple(to_objects(column.different())[codes[offsets[:-1]]].tolist())
    cells = np.array(read_groups(table, name), dtype=object)
    first = np.repeat(cells[offsets[:-1]], np.diff(offsets))
    for i in np.flatnonzero(cells != first).tolist():
        table.rows.fault(
            i,
            name,
            "group",
            f"group {quote(cells[i])} differs from {quote(first[i])}, with which the sequence"
            " starts",
            "Name a column that is the same in all rows of a sequence.",
        )
    return tuple(cells[offsets[:-1]].tolist())
