"""Static features of a file: which columns they are, and their value for each sequence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Static
from elman.data.faults import describe_value, quote
from elman.data.roles import ReadOptions, Schema
from elman.data.table import Column, Table
from elman.data.units import unit_of
from elman.errors import SettingsError

_LARGEST = 1e308  # as in JSON files
NONE = "none"  # of --static: leaves out what would be found in the file


def choose_static(table: Table, options: ReadOptions) -> tuple[str, ...]:
    """Return the columns that the caller, or the layout, names as static features.

    Raises: DataError if a column does not exist; SettingsError if `none` stands beside names.
    """
    if options.static == (NONE,) and NONE not in table.columns:
        return ()
    if NONE in options.static and NONE not in table.columns:
        raise SettingsError("static: got 'none' beside names, expected one or the other")
    if options.static:
        return table.resolve(options.static, "--static NAMES")
    layout = options.layout
    for name in layout.static if layout else ():
        table.column(name, "--static NAME")
    return layout.static if layout else ()


def step_options(schema: Schema, options: ReadOptions) -> ReadOptions:
    """Return the options without the categories that are static features, not columns of steps."""
    categories = tuple(name for name in options.categories if name not in schema.static)
    return dataclasses.replace(options, categories=categories)


def read_static(
    table: Table,
    schema: Schema,
    options: ReadOptions,
    count: int,
    offsets: NDArray[np.int64] | None = None,
) -> Static | None:
    """Return the static features of every sequence, or None if there are none.

    Args:
        count: number of sequences, n.
        offsets: where each sequence starts, (n + 1,), if a row is a step; None if it is a sequence.
    """
    numbers: dict[str, NDArray[Any]] = {}
    categories: dict[str, NDArray[Any]] = {}
    for name in schema.static:
        column = table.columns[name]
        coded = _is_category(column, options)
        cells = column.static_cells(coded)
        if offsets is not None:
            cells = _constant(column, cells, offsets)
        if len(cells) != count:  # only arrays may be of unequal length
            raise table.faults.error(
                "length",
                f"static feature {name!r} has {len(cells):,} values, expected {count:,}, one for"
                " each sequence",
                "Save one row of static features for each sequence.",
            )
        (categories if coded else numbers)[name] = cells
    if not schema.static:
        return None
    names = (*numbers, *categories)
    return Static(
        names,
        np.column_stack([*numbers.values()]) if numbers else np.zeros((count, 0)),
        np.column_stack([*categories.values()])
        if categories
        else np.zeros((count, 0), dtype=object),
        tuple(map(unit_of, names)),
    )


def _is_category(column: Column, options: ReadOptions) -> bool:
    """Whether a feature is a category: as in training, as named, or because it is not numeric."""
    layout = options.layout
    if column.name in options.categories:
        return True
    if layout and column.name in layout.static:
        return column.name in layout.static_categories
    return not column.is_numeric


def _constant(column: Column, cells: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Return the value of each sequence; a second value within a sequence is a fault.

    The value may stand in some rows of a sequence only, with a gap in the others.
    """
    gaps = cells == "" if cells.dtype == object else np.isnan(cells)
    rows = np.arange(len(cells))
    starts = offsets[:-1]
    # The first row of each sequence that has a value; its first row if none has.
    first = np.minimum.reduceat(np.where(gaps, len(cells), rows), starts)
    first = np.where(first < len(cells), first, starts)
    values = cells[first]
    expected = np.repeat(values, np.diff(offsets))
    for i in np.flatnonzero(~gaps & (cells != expected)).tolist():
        column.fault(
            i,
            "static",
            f"{quote(_write(cells[i]))} differs from {quote(_write(expected[i]))}, which the"
            " sequence has before; a static feature has one value for a whole sequence",
            "Correct the cell, or leave the column out of --static.",
        )
    return np.asarray(values)


def mostly_numbers(values: Iterable[Any]) -> bool:
    """Whether at least half of JSON values that are not null are numbers."""
    full = [value for value in values if value is not None]
    return 2 * sum(type(value) in (int, float) for value in full) >= len(full)


def scalar_cells(
    column: Column, values: Iterable[tuple[int, Any]], count: int, categories: bool
) -> NDArray[Any]:
    """Return JSON values, (n,), as numbers or as categories; null is a gap.

    Args:
        values: row and value of each object that has the key.
        count: number of objects, n.
    """
    cells = np.full(count, "" if categories else math.nan, object)
    expected = "text or a whole number" if categories else "a number"
    for row, value in values:
        if value is None or value != value:
            continue
        # Not `isfinite`, which fails for a whole number that no float holds.
        number = type(value) in (int, float) and -_LARGEST <= value <= _LARGEST
        if isinstance(value, str | bool | int) if categories else number:
            cells[row] = str(value).strip() if categories else float(value)
            continue
        problem = f"{column.name!r} is {describe_value(value)}, expected {expected}, or null"
        remedy = "A static feature has one value for a whole sequence. Correct it."
        column.fault(row, "static", problem, remedy)
    return cells if categories else cells.astype(np.float64)


def _write(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
