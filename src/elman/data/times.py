"""Times of steps: a column of numbers or ISO dates, which must increase within a sequence."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from elman.data.columns import TextColumn
from elman.data.faults import is_missing, quote
from elman.data.ragged import Ragged
from elman.data.roles import Schema
from elman.data.table import Table

UNEVEN = 0.01  # of the median; smaller deviations are treated as clock jitter


def read_times(table: Table, schema: Schema, offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the times, (N,); times that do not increase within a sequence are faults."""
    assert schema.time is not None
    column = table.columns[schema.time]
    assert isinstance(column, TextColumn)
    # The first time sets the type of the column; numbers and dates are in different units.
    missing = column.missing()
    first = int(np.argmin(missing))
    if column.is_numeric and not np.isnan(column.parsed()[first]):
        column.numbers("time: ")  # for its faults: a faulty cell has no place in the order
        times = column.parsed()
    else:
        times = _parse_dates(column)
    for i in np.flatnonzero(missing).tolist():
        problem = "time: missing value, expected a time in every row"
        column.fault(i, "time", problem, "Fill it in or remove the row.")
    starts = np.zeros(len(times), dtype=bool)
    starts[offsets[:-1]] = True
    # A first step has no predecessor. NaN compares false; its fault is recorded already.
    wrong = np.flatnonzero(~starts[1:] & (times[1:] <= times[:-1])) + 1
    names = table.columns[schema.id] if schema.id else None
    for i in wrong.tolist():
        whose = f" of sequence {names.cell(i).strip()!r}" if names else ""
        same = times[i] == times[i - 1]
        column.fault(
            i,
            "time twice" if same else "time order",
            f"time {column.cell(i).strip()!r}{whose}"
            + (" is there twice" if same else f" comes after {column.cell(i - 1).strip()!r}"),
            ("Keep one row for each time" if same else "Sort the rows of a sequence by time")
            + ", or name another column with --time NAME.",
        )
    return times


def _parse_dates(column: TextColumn) -> NDArray[np.float64]:
    """Return ISO dates as seconds, (n,), NaN if missing or invalid; invalid dates are faults.

    A date without a time zone is read as UTC, because only order and differences matter.
    """
    different, codes = column.different(), column.codes()
    seconds = np.full(len(different), np.nan)
    wrong = np.zeros(len(different), dtype=bool)
    for i, cell in enumerate(different):
        try:
            moment = datetime.fromisoformat(cell)
        except ValueError:
            wrong[i] = not is_missing(cell)
            continue
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        seconds[i] = moment.timestamp()
    for i in np.flatnonzero(wrong[codes]).tolist() if wrong.any() else ():
        column.fault(
            i,
            "time",
            f"time {quote(different[codes[i]])} is neither a number nor an ISO date like"
            " 2024-01-31T12:00",
            "Correct it, or name another column with --time NAME.",
        )
    return seconds[codes]


def time_deltas(times: Ragged) -> NDArray[np.float64]:
    """Return the time since the previous step of the sequence, 0 at the first, (N,)."""
    passed = np.diff(times.values, prepend=times.values[:1])
    passed[times.offsets[:-1]] = 0.0
    return passed


def describe_unevenness(times: Ragged) -> str:
    """Describe how uneven the time steps are; empty if all are within 1 % of the median."""
    has_previous = np.ones(len(times.values), dtype=bool)
    has_previous[times.offsets[:-1]] = False
    deltas = time_deltas(times)[has_previous]
    # A missing time was recorded as a fault already, and its difference is unknown.
    if len(deltas) == 0 or np.isnan(deltas).any():
        return ""
    median = float(np.median(deltas))
    if (np.abs(deltas - median) <= UNEVEN * median).all():
        return ""
    return f"{deltas.min():.6g} to {deltas.max():.6g} apart, median {median:.6g}"
