"""Times of steps: numbers or ISO dates in a column, which must grow within a sequence."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from elman.data.faults import is_missing, is_number, quote
from elman.data.ragged import Ragged
from elman.data.roles import Schema
from elman.data.table import Column, Table

UNEVEN = 0.01  # of the median: less is taken for the jitter of a clock


def read_times(table: Table, schema: Schema, offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the times, (N,); those that do not grow from row to row are faults."""
    assert schema.time is not None and schema.id is not None
    column = table.columns[schema.time]
    cells = column.texts()
    # The first time decides for the column: mixed ones would be compared in different units.
    first = next((cell for cell in cells if not is_missing(cell)), "")
    if is_number(first):
        times = column.numbers("time: ").copy()
        times[[not is_number(cell) for cell in cells]] = np.nan
    else:
        times = _parse_dates(column, cells)
    for i in np.flatnonzero(np.isnan(times)).tolist():
        if is_missing(cells[i]):
            problem = "time: missing value, expected a time in every row"
            column.fault(i, "time", problem, "Fill it in or remove the row.")
    starts = np.zeros(len(cells), dtype=bool)
    starts[offsets[:-1]] = True
    # A first step has no step before it; NaN compares false, and is a fault already.
    wrong = np.flatnonzero(~starts[1:] & (times[1:] <= times[:-1])) + 1
    ids = table.columns[schema.id].texts() if len(wrong) else []
    for i in wrong.tolist():
        same = times[i] == times[i - 1]
        column.fault(
            i,
            "time twice" if same else "time order",
            f"time {cells[i].strip()!r} of sequence {ids[i].strip()!r}"
            + (" is there twice" if same else f" comes after {cells[i - 1].strip()!r}"),
            ("Keep one row for each time" if same else "Sort the rows of a sequence by time")
            + ", or name another column with --time NAME.",
        )
    return times


def _parse_dates(column: Column, cells: list[str]) -> NDArray[np.float64]:
    """Return ISO dates as seconds, (n,), NaN where one is missing or cannot be read, a fault.

    A date without a zone is taken as UTC, as only order and differences count.
    """
    times = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        try:
            moment = datetime.fromisoformat(cell.strip())
        except ValueError:
            if not is_missing(cell):
                column.fault(
                    i,
                    "time",
                    f"time {quote(cell.strip())} is neither a number nor an ISO date like"
                    " 2024-01-31T12:00",
                    "Correct it, or name another column with --time NAME.",
                )
            continue
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        times[i] = moment.timestamp()
    return times


def time_deltas(times: Ragged) -> NDArray[np.float64]:
    """Return the time since the previous step of the sequence, 0 at the first, (N,)."""
    passed = np.diff(times.values, prepend=times.values[:1])
    passed[times.offsets[:-1]] = 0.0
    return passed


def describe_unevenness(times: Ragged) -> str:
    """Say how unevenly the steps of sequences come; empty if none is off by more than 1 %."""
    has_previous = np.ones(len(times.values), dtype=bool)
    has_previous[times.offsets[:-1]] = False
    deltas = time_deltas(times)[has_previous]
    # A missing time is a fault already, and has no difference.
    if len(deltas) == 0 or np.isnan(deltas).any():
        return ""
    median = float(np.median(deltas))
    if (np.abs(deltas - median) <= UNEVEN * median).all():
        return ""
    return f"{deltas.min():.6g} to {deltas.max():.6g} apart, median {median:.6g}"
