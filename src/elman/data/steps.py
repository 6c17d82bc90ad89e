"""A table with one row a time step: channels of numbers, or a token, of the sequence it names."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import Place, is_number, to_numbers
from elman.data.dataset import Dataset, Layout
from elman.data.options import shorten
from elman.data.ragged import Ragged
from elman.data.table import Table
from elman.data.target import cell_labels, objects
from elman.errors import DataError


def read_steps(table: Table, layout: Layout, per_step: bool | None) -> Dataset:
    """Read sequences whose steps are rows under each other.

    Args:
        layout: with the columns that say which sequence a row belongs to, and at which time.
        per_step: whether there is a label at every step; None looks whether it changes.
    """
    assert layout.id is not None
    offsets, ids = _sequences(table, layout.id)
    if layout.time is not None:
        _check_time(table, layout.time, layout.id, offsets)
    steps = _tokens(table, layout.text) if layout.text else _channels(table, layout.values, offsets)
    labels = None if layout.target is None else _labels(table, layout.target, offsets, per_step)
    layout = dataclasses.replace(layout, per_step=isinstance(labels, Ragged))
    lines = table.lines[offsets[:-1]]
    return Dataset(Ragged(steps, offsets), labels, table.source, layout, lines, ids)


def _sequences(table: Table, identity: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return where each sequence starts, (n + 1,), and its id."""
    cells = [cell.strip() for cell in table.column(identity)]
    starts = [i for i in range(len(cells)) if not i or cells[i] != cells[i - 1]]
    seen: dict[str, int] = {}
    for k, i in enumerate(starts):
        name = cells[i]
        if not name or name in seen:
            if not name:
                problem, remedy = "the id is empty", "Say which sequence the row belongs to."
            else:
                ended = table.lines[starts[seen[name] + 1] - 1]
                problem = f"sequence {name!r} goes on here; its rows had ended on line {ended}"
                remedy = "Sort the file so that the rows of one sequence stand together."
            raise DataError(
                problem,
                remedy=remedy,
                source=table.source,
                line=int(table.lines[i]),
                column=identity,
            )
        seen[name] = k
    return np.array([*starts, len(cells)], np.int64), tuple(seen)


def _check_time(table: Table, name: str, identity: str, offsets: NDArray[np.int64]) -> None:
    """Refuse a time that does not grow from row to row of a sequence."""
    cells = table.column(name)

    if is_number(cells[0]):
        times: NDArray[Any] = to_numbers(
            cells, lambda i: Place(int(table.lines[i]), name, slice(None), "time: "), table.source
        )
    else:
        times = np.array([_instant(table, name, i) for i in range(len(cells))])
    starts = np.zeros(len(cells), dtype=bool)
    starts[offsets[:-1]] = True
    wrong = np.flatnonzero(~starts[1:] & (times[1:] <= times[:-1])) + 1
    if len(wrong) == 0:
        return
    i = int(wrong[0])
    series = table.rows[i][table.names.index(identity)].strip()
    same = times[i] == times[i - 1]
    raise DataError(
        f"time {cells[i].strip()!r} of sequence {series!r}"
        + (" is there twice" if same else f" comes after {cells[i - 1].strip()!r}"),
        remedy="Keep one row for each time, or name another column with --time NAME."
        if same
        else "Sort the rows of a sequence by time, or name another column with --time NAME.",
        source=table.source,
        line=int(table.lines[i]),
        column=name,
    )


def _instant(table: Table, name: str, i: int) -> datetime:
    """Return the ISO date in row i; one without a zone is taken as UTC, as only order counts."""
    cell = table.rows[i][table.names.index(name)].strip()
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        raise DataError(
            f"time {shorten(cell)} is neither a number nor an ISO date like 2024-01-31T12:00",
            remedy="Correct it, or name another column with --time NAME.",
            source=table.source,
            line=int(table.lines[i]),
            column=name,
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _tokens(table: Table, name: str) -> NDArray[np.object_]:
    cells = table.column(name)
    for i, cell in enumerate(cells):
        if not cell:
            raise DataError(
                "the token is empty",
                remedy="Write the token or remove the row.",
                source=table.source,
                line=int(table.lines[i]),
                column=name,
            )
    return objects(cells)


def _channels(
    table: Table, names: tuple[str, ...], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    at = [table.names.index(name) for name in names]
    width = len(at)
    cells = [row[j] for row in table.rows for j in at]

    def place(k: int) -> Place:
        i = k // width
        own = int(np.searchsorted(offsets, i, side="right")) - 1
        whole = slice(int(offsets[own]) * width, int(offsets[own + 1]) * width)
        return Place(int(table.lines[i]), names[k % width], whole)

    return to_numbers(cells, place, table.source).reshape(-1, width)


def _labels(
    table: Table, target: str, offsets: NDArray[np.int64], per_step: bool | None
) -> NDArray[np.object_] | Ragged:
    """Return a label a sequence where it never changes within one, else a label a step."""
    labels = objects(cell_labels(table, target))
    first = np.repeat(labels[offsets[:-1]], np.diff(offsets))
    changed = np.flatnonzero(labels != first)
    if per_step or (per_step is None and len(changed)):
        return Ragged(labels, offsets)
    if len(changed):
        i = int(changed[0])
        raise DataError(
            f"label {shorten(labels[i])} differs from {shorten(first[i])}, with which the sequence"
            " starts; expected one label a sequence, as in the training file",
            remedy="Correct the label, or train on labels at every step.",
            source=table.source,
            line=int(table.lines[i]),
            column=target,
        )
    return labels[offsets[:-1]]
