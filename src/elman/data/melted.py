"""Long tables with a row per measurement: its variable and its value, as PhysioNet and R write."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.columns import NumberColumn, TextColumn
from elman.data.dataset import Guess
from elman.data.evidence import id_tier, moments_of, split_words, time_tier, words_of
from elman.data.faults import list_names
from elman.data.ragged import to_objects
from elman.data.roles import ReadOptions
from elman.data.table import Rows, Table

_VARIABLES = words_of(
    "variable variables var parameter param measurement measure metric quantity feature channel"
    " signal attribute analyte vital item itemid series key sensor messgröße größe parametername"
)
_VALUES = words_of("value values val valuenum reading wert messwert number measurement")
_MOST = 2000  # variables


def spread_variables(table: Table, options: ReadOptions) -> tuple[Table, tuple[str, ...]]:
    """Make a table with a row per time step of one with a row per variable of a step.

    The rows of a step have the same cells in all other columns that identify it; a variable that
    was not measured at a step is a gap. Sequences keep their order in the file, and steps are in
    the order of their times.

    Returns: the table, and the columns of variables and values if it has them; else the table as
        it is, and ().
    Raises: DataError if a variable has two values at one step.
    """
    layout = options.layout
    found = layout.melted if layout else _find_columns(table, options)
    if not found or table.format != "table" or not {*found} <= table.columns.keys():
        return table, ()
    variable, value = (_text(table, name) for name in found)
    names = [name for name in table.names if name not in found]
    ids, times = _keys(table, names, options)
    if not times and not ids:
        return table, ()
    order, step = _steps(table, ids, times)
    codes = variable.codes()
    cells = step * (len(variable.different()) + 1) + codes
    if len(np.unique(cells)) < len(cells):
        _refuse_twice(table, variable, cells, found)
    numbers = value.numbers()  # faults of cells have the lines of this table
    rows = order[np.unique(step[order], return_index=True)[1]]
    lines = table.rows.lines
    kept = Rows(table.faults, None if lines is None else lines[rows])
    columns: dict[str, Any] = {
        name: TextColumn(name, kept, to_objects(_text(table, name).texts())[rows].tolist())
        for name in names
    }
    wanted = variable.different()
    if layout:  # variables that a later file lacks are gaps
        wanted = [*layout.values, *(name for name in wanted if name not in layout.values)]
    known = {name: i for i, name in enumerate(variable.different())}
    for name in wanted:
        values = np.full(len(rows), np.nan)
        mine = codes == known.get(name, -1)
        values[step[mine]] = numbers[mine]
        columns[name] = NumberColumn(name, kept, values)
    if layout is None:
        reason = f"each row is one measurement; the variables are {list_names(wanted, 4)}"
        flag = f"columns {found[0]}, {found[1]}"
        table.faults.guesses.append(
            Guess("melted", found, reason, flag, "--values NAMES reads them as they are", "sure")
        )
    spread = Table("table", columns, kept, len(rows), table.delimiter, table.header)
    return spread, tuple(found)


def _text(table: Table, name: str) -> TextColumn:
    column = table.columns[name]
    assert isinstance(column, TextColumn)  # a table with one value per cell has no others
    return column


def _find_columns(table: Table, options: ReadOptions) -> tuple[str, str] | None:
    """Return the columns of variables and values, if their names and cells say so."""
    if options.values or options.text or options.categories or table.format != "table":
        return None
    names = [n for n in table.names if n not in (options.target, options.id, options.time)]
    variables = [n for n in names if split_words(n)[:1] and split_words(n)[0] in _VARIABLES]
    values = [n for n in names if split_words(n) and split_words(n)[0] in _VALUES]
    values = [n for n in values if table.columns[n].is_numeric and n not in variables[:1]]
    variables = [n for n in variables if n not in values]
    if len(variables) != 1 or len(values) != 1:
        return None
    column = _text(table, variables[0])
    count = len(column.different())
    numeric = column.is_numeric and "item" not in variables[0].lower()
    if numeric or not 2 <= count <= _MOST or 2 * count > len(table) or "" in column.different():
        return None
    return variables[0], values[0]


def _keys(table: Table, names: list[str], options: ReadOptions) -> tuple[list[str], list[str]]:
    """Return the columns that identify sequences, and those of their times."""
    layout = options.layout
    ids = (options.id or (layout.id if layout else None) or "").split(",")
    times = (options.time or (layout.time if layout else None) or "").split(",")
    found_ids = [n for n in ids if n in names] or [n for n in names if id_tier(n)]
    found = [n for n in times if n in names] or [n for n in names if time_tier(n) == 2]
    found = found or [n for n in names if time_tier(n) and n not in found_ids]
    return [n for n in found_ids if n not in found], found[:1]


def _steps(
    table: Table, ids: list[str], times: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows sorted by sequence and time, (n,), and the step of each row, (n,)."""
    keys = [_text(table, name).codes() for name in ids]  # in order of appearance
    clock: NDArray[Any] = np.zeros(len(table))
    for name in times:
        column = _text(table, name)
        moments = moments_of(column, name, None)
        clock = column.codes() if moments is None else moments.values
    order = np.lexsort((clock, *reversed(keys)))
    changed = np.ones(len(table), dtype=bool)
    together = np.column_stack([*keys, clock])[order]
    changed[1:] = (together[1:] != together[:-1]).any(axis=1)
    step = np.empty(len(table), np.int64)
    step[order] = np.cumsum(changed) - 1
    return order.astype(np.int64), step


def _refuse_twice(
    table: Table, variable: TextColumn, cells: NDArray[np.int64], found: tuple[str, ...]
) -> None:
    """Record every row whose variable has a value at the same step already, and stop."""
    first = np.unique(cells, return_index=True)[1]
    again = np.setdiff1d(np.arange(len(cells)), first)
    for row in again.tolist():
        table.rows.fault(
            row,
            found[0],
            "variable twice",
            f"variable {variable.cell(row).strip()!r} has two values at one step",
            "Keep one of them, or name the columns that tell the steps apart with --id and --time.",
        )
    table.faults.stop()
