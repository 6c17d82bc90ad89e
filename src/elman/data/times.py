"""Times of steps: numbers, dates or clock times, which must increase within a sequence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elman.data.columns import TextColumn
from elman.data.dataset import Layout
from elman.data.evidence import moments_of
from elman.data.faults import is_missing, quote
from elman.data.moments import Moments
from elman.data.ragged import Ragged
from elman.data.roles import ReadOptions, Schema
from elman.data.table import Table
from elman.errors import DataError, SettingsError

UNEVEN = 0.01  # of the median; smaller deviations are treated as clock jitter


def read_times(
    table: Table, schema: Schema, options: ReadOptions, offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """Return the times, (N,), and the origin from which they count, and record them in the schema.

    Times that do not increase within a sequence are faults, and so are cells without one.

    Raises: DataError if most cells are no times, if it is unclear whether the day or the month
        comes first, or if a layout has times in another unit.
    """
    assert schema.time is not None
    column = table.cells(schema.time)
    assert isinstance(column, TextColumn)  # a table with one value per cell has no others
    layout = options.layout
    known = options.dates or (layout.dates if layout and layout.dates else None)
    moments = moments_of(column, schema.time, known)
    if moments is None:
        raise _refuse_column(column, table, options)
    form = moments.form
    if form.unclear:
        raise _ask_order(column, table, form.example)
    _compare(table, schema.time, moments, layout)
    schema.dates, schema.seconds = form.order, form.in_seconds
    missing = column.missing()
    another = "name another column with --time NAME"
    if options.dates:
        another = f"give another order than --dates {options.dates}"
    if form.name in ("number", "epoch"):
        if options.dates:
            raise SettingsError(
                f"--dates means nothing for column {schema.time!r}, whose times are numbers. Leave"
                " it out, or name a column of dates with --time NAME."
            )
        column.numbers("time: ")  # for its faults
    else:
        for i in np.flatnonzero(np.isnan(moments.values) & ~missing).tolist():
            column.fault(
                i,
                "time",
                f"time {quote(column.cell(i).strip())}, expected a time such as {form.example}, as"
                " in most rows",
                f"Correct it, or {another}.",
            )
    for i in np.flatnonzero(missing).tolist():
        problem = "time: missing value, expected a time in every row"
        column.fault(i, "time", problem, "Fill it in or remove the row.")
    starts = np.zeros(len(table), dtype=bool)
    starts[offsets[:-1]] = True
    times = moments.across_midnight(starts)
    # A first step has no predecessor. NaN compares false; its fault is recorded already.
    wrong = np.flatnonzero(~starts[1:] & (times[1:] <= times[:-1])) + 1
    ids = table.cells(schema.id) if schema.id else None
    for i in wrong.tolist():
        whose = f" of sequence {ids.cell(i).strip()!r}" if ids is not None else ""
        same = times[i] == times[i - 1]
        changed = ""
        if form.is_dated and 0 <= times[i - 1] - times[i] < 3600:
            changed = ". If the clocks went back here, write the times with their offset from UTC"
        column.fault(
            i,
            "time twice" if same else "time order",
            f"time {column.cell(i).strip()!r}{whose}"
            + (" is there twice" if same else f" comes after {column.cell(i - 1).strip()!r}"),
            ("Keep one row for each time" if same else "Sort the rows of a sequence by time")
            + f", or name another column with --time NAME{changed}.",
        )
    return times, moments.origin


def _refuse_column(column: TextColumn, table: Table, options: ReadOptions) -> DataError:
    example = next((cell for cell in column.different() if not is_missing(cell)), "")
    return table.faults.error(
        "time",
        f"column {column.name!r} holds no times: {quote(example)} is neither a number, a date nor"
        " a clock time, and most cells are written alike",
        f"Give another order than --dates {options.dates}, or name another column with --time NAME."
        if options.dates
        else "Name another column with --time NAME, or write the times as 2024-01-31T12:00.",
    )


def _ask_order(column: TextColumn, table: Table, example: str) -> DataError:
    return table.faults.error(
        "choice",
        f"the dates of column {column.name!r}, such as {example}, may have the day or the month"
        " first, because no day is after the twelfth",
        "If the day comes first: --dates dmy  If the month comes first: --dates mdy".replace(
            "  ", ". "
        ),
    )


def _compare(table: Table, name: str, moments: Moments, layout: Layout | None) -> None:
    """Refuse numbers in place of the dates of a layout with time differences, and the reverse."""
    if layout is None or not layout.time_difference or layout.time != name:
        return
    if moments.form.in_seconds != layout.seconds:
        kinds = {True: "dates or clock times", False: "numbers"}
        raise table.faults.error(
            "as before",
            f"the times of column {name!r} are {kinds[moments.form.in_seconds]}, expected"
            f" {kinds[layout.seconds]} as before",
            "The network reads time differences, so write the times as in the training file.",
        )


def time_deltas(times: Ragged) -> NDArray[np.float64]:
    """Return the time since the previous step of the sequence, 0 at the first, (N,)."""
    with np.errstate(invalid="ignore"):  # infinite times, which are faults already
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


def read_starts(
    table: Table,
    schema: Schema,
    options: ReadOptions,
    offsets: NDArray[np.int64],
    difference: bool | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the times at which sequences start, (n,), and the channel of differences, (N,).

    The starts are for splits by time. The differences are None if they are no channel.
    """
    values, origin = read_times(table, schema, options, offsets)
    times = Ragged(values, offsets)
    different = _choose_difference(schema, times, difference)
    continued = options.continued
    guessed = options.time_difference is None and not (different or schema.text)
    if continued is not None and guessed and not continued.given:
        continued.check_times(times, table.cells(schema.time or ""))
    return values[offsets[:-1]] + origin, time_deltas(times) if different else None


def _choose_difference(schema: Schema, times: Ragged, difference: bool | None) -> bool:
    """Return whether the time since the last step is a channel: as set, or if it varies."""
    if schema.text:
        if difference:
            raise SettingsError(
                "time_difference: a step is a token, which cannot have a number. Name the column "
                "with --categories instead of --text, or leave it out"
            )
        return False
    if difference is not None:
        return difference
    uneven = describe_unevenness(times)
    if uneven:
        schema.guess(
            "time_difference",
            (),
            f"steps are {uneven}{' s' * schema.seconds}; the time since the last is a channel",
            "sure",
            flag="--time-difference",
            change="--no-time-difference",
        )
    return bool(uneven)
