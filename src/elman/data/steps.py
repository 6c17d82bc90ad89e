"""A table with one row a time step: channels of numbers, or a token, of the sequence it names."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import Place, check_numbers, is_missing, is_number
from elman.data.channels import describe_unevenness, time_deltas
from elman.data.dataset import Dataset, Layout
from elman.data.faults import quote
from elman.data.ragged import Ragged
from elman.data.table import Table
from elman.data.target import cell_labels, cell_targets, objects
from elman.errors import SettingsError


def read_steps(
    table: Table,
    layout: Layout,
    per_step: bool | None,
    group: str | None = None,
    difference: bool | None = None,
) -> Dataset:
    """Read sequences whose steps are rows under each other.

    Args:
        layout: with the columns that say which sequence a row belongs to, and at which time.
        per_step: whether there is a label at every step; None looks whether it changes.
        group: the column of groups.
        difference: whether the time since the last step is a channel; None looks whether it varies.
    """
    assert layout.id is not None
    offsets, ids = _sequences(table, layout.id)
    starts = None
    if layout.time is not None:
        times = Ragged(_check_time(table, layout.time, layout.id, offsets), offsets)
        starts = times.values[offsets[:-1]]
        layout = _with_difference(layout, times, difference)
        passed = time_deltas(times)
    elif difference:
        raise SettingsError(
            "time_difference: there is no column of times. Name it with --time, or leave it out"
        )
    if layout.text:
        steps: NDArray[Any] = _tokens(table, layout.text)
    else:
        steps = _channels(table, layout.values, offsets, whole=not layout.categories)
        if layout.time_difference:
            steps = np.column_stack([steps, passed])
        for name in layout.categories:
            cells = [cell.strip() for cell in table.column(name)]
            steps = np.column_stack([steps.astype(object), objects(cells)])
    labels = None if layout.target is None else _labels(table, layout, offsets, per_step)
    layout = dataclasses.replace(layout, per_step=isinstance(labels, Ragged))
    lines = None if table.lines is None else table.lines[offsets[:-1]]
    groups = () if group is None else _groups(table, group, offsets)
    return Dataset(Ragged(steps, offsets), labels, table.source, layout, lines, ids, groups, starts)


def _with_difference(layout: Layout, times: Ragged, wanted: bool | None) -> Layout:
    """Say in a layout whether the time since the last step is a channel."""
    if layout.text:
        if wanted:
            raise SettingsError(
                "time_difference: steps are tokens, beside which no number stands. Name the column "
                "with --categories instead of --text, or leave it out"
            )
        return layout
    found = describe_unevenness(times) if wanted is None else ""
    note = f"--time-difference: steps are {found}; the time since the last is a channel"
    return dataclasses.replace(
        layout,
        time_difference=bool(wanted or found),
        notes=(*layout.notes, note) if found else layout.notes,
    )


def _groups(table: Table, name: str, offsets: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the group of each sequence, in which it must not change."""
    cells = np.array(cell_labels(table, name, "group"), dtype=object)
    own = cells[offsets[:-1]]
    first = np.repeat(own, np.diff(offsets))
    for i in np.flatnonzero(cells != first).tolist():
        table.fault(
            "group",
            f"group {quote(cells[i])} differs from {quote(first[i])}, with which the sequence"
            " starts",
            "Name a column that is the same in all rows of a sequence.",
            i,
            name,
        )
    return tuple(own.tolist())


def _sequences(table: Table, identity: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return where each sequence starts, (n + 1,), and its id."""
    cells = [cell.strip() for cell in table.column(identity)]
    starts = [i for i in range(len(cells)) if not i or cells[i] != cells[i - 1]]
    ends = [*starts[1:], len(cells)]
    seen: dict[str, int] = {}
    for start, end in zip(starts, ends, strict=True):
        name = cells[start]
        if not name:
            problem, remedy = "the id is empty", "Say which sequence the row belongs to."
            table.fault("no id", problem, remedy, start, identity)
        elif name in seen:
            ended = table.place(seen[name])
            where = f"line {ended.line}" if ended.line else f"row {seen[name] + 1}"
            table.fault(
                "order of rows",
                f"sequence {name!r} goes on here; its rows had ended on {where}",
                "Sort the file so that the rows of one sequence stand together.",
                start,
                identity,
            )
        seen[name] = end - 1
    return np.array([*starts, len(cells)], np.int64), tuple(cells[i] for i in starts)


def _check_time(
    table: Table, name: str, identity: str, offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the times, (N,), after telling of those that do not grow from row to row."""
    cells = table.column(name)
    first = next((cell for cell in cells if not is_missing(cell)), "")
    if is_number(first):
        times = table.numbers(name, "time: ").copy()
        times[[not is_number(cell) for cell in cells]] = np.nan
    else:
        times = _instants(table, name, cells)
    for i in np.flatnonzero(np.isnan(times)).tolist():
        if is_missing(cells[i]):
            problem = "time: missing value, expected a time in every row"
            table.fault("time", problem, "Fill it in or remove the row.", i, name)
    starts = np.zeros(len(cells), dtype=bool)
    starts[offsets[:-1]] = True
    wrong = np.flatnonzero(~starts[1:] & (times[1:] <= times[:-1])) + 1
    ids = table.column(identity)
    for i in wrong.tolist():
        same = times[i] == times[i - 1]
        table.fault(
            "time twice" if same else "time order",
            f"time {cells[i].strip()!r} of sequence {ids[i].strip()!r}"
            + (" is there twice" if same else f" comes after {cells[i - 1].strip()!r}"),
            "Keep one row for each time, or name another column with --time NAME."
            if same
            else "Sort the rows of a sequence by time, or name another column with --time NAME.",
            i,
            name,
        )
    return times


def _instants(table: Table, name: str, cells: list[str]) -> NDArray[np.float64]:
    """Return ISO dates as seconds, (n,), NaN where one is missing or, which is told, none.

    A date without a zone is taken as UTC, as only order counts.
    """
    times = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        try:
            moment = datetime.fromisoformat(cell.strip())
        except ValueError:
            if is_missing(cell):
                continue
            table.fault(
                "time",
                f"time {quote(cell.strip())} is neither a number nor an ISO date like"
                " 2024-01-31T12:00",
                "Correct it, or name another column with --time NAME.",
                i,
                name,
            )
            continue
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        times[i] = moment.timestamp()
    return times


def _tokens(table: Table, name: str) -> NDArray[np.object_]:
    cells = table.column(name)
    for i, cell in enumerate(cells):
        if not cell:
            problem, remedy = "the token is empty", "Write the token or remove the row."
            table.fault("empty token", problem, remedy, i, name)
    return objects(cells)


def _channels(
    table: Table, names: tuple[str, ...], offsets: NDArray[np.int64], whole: bool
) -> NDArray[np.float64]:
    """Return (N, C); `whole` if there is nothing else in a step, so that a value must be there."""
    if not names:
        return np.zeros((int(offsets[-1]), 0))
    numbers = np.column_stack([table.numbers(name) for name in names])

    def place(step: int, channel: int) -> Place:
        return table.place(step, names[channel])

    return check_numbers(Ragged(numbers, offsets), place, table.faults, whole=whole).values


def _labels(
    table: Table, layout: Layout, offsets: NDArray[np.int64], per_step: bool | None
) -> NDArray[Any] | Ragged:
    """Return a label a sequence where it never changes within one, else a label a step."""
    assert layout.target is not None
    labels = cell_targets(table, layout.target, layout.task)
    first = np.repeat(labels[offsets[:-1]], np.diff(offsets), axis=0)
    differs = labels != first
    changed = np.flatnonzero(differs.any(axis=1) if differs.ndim > 1 else differs)
    if layout.task == "multilabel":
        per_step = False
    if per_step or (per_step is None and len(changed)):
        return Ragged(labels, offsets)
    for i in changed.tolist():
        table.fault(
            "label",
            f"label {quote(str(labels[i]))} differs from {quote(str(first[i]))}, with which"
            " the sequence starts; expected one label a sequence, as in the training file",
            "Correct the label, or train on labels at every step.",
            i,
            layout.target,
        )
    return labels[offsets[:-1]]
