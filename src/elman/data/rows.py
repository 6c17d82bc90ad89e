"""A table with one row a sequence: a text, or one channel of numbers over time."""

from __future__ import annotations

import numpy as np

from elman.data.cells import Place, check_numbers
from elman.data.dataset import Dataset, Layout
from elman.data.faults import list_names
from elman.data.ragged import Ragged
from elman.data.table import Table
from elman.data.target import cell_labels, cell_targets


def read_rows(table: Table, layout: Layout, group: str | None = None) -> Dataset:
    """Read one sequence from each row; `group` is the column of groups."""
    labels = None if layout.target is None else cell_targets(table, layout.target, layout.task)
    inputs = _texts(table, layout.text) if layout.text else _numbers(table, layout.values)
    groups = () if group is None else tuple(cell_labels(table, group, "group"))
    ids = tuple(f"row {i + 1}" for i in range(len(table))) if table.lines is None else ()
    return Dataset(inputs, labels, table.source, layout, table.lines, ids, groups)


def _texts(table: Table, name: str) -> list[str]:
    texts = table.column(name)
    for i, text in enumerate(texts):
        if not text.strip():
            table.fault(
                "empty",
                "an empty sequence: the text is empty",
                "Write the text or remove the row.",
                i,
                name,
            )
    return texts


def _numbers(table: Table, names: tuple[str, ...]) -> Ragged:
    """Return one channel over time, (N, 1); empty cells after the last full one are no steps.

    Nor is NaN there in a file without a header: the UCR archive fills shorter sequences up with it.
    """
    numbers = np.column_stack([table.numbers(name) for name in names])  # (n, T)
    full = ~np.column_stack([table.empty(name) for name in names])
    if not table.header:
        full &= ~np.isnan(numbers)
    width = len(names)
    lengths = np.where(full.any(axis=1), width - np.argmax(full[:, ::-1], axis=1), 0)
    for i in np.flatnonzero(lengths == 0).tolist():
        table.fault(
            "empty",
            f"an empty sequence: no cell of {list_names(names, 3)} holds a number",
            "Remove the row.",
            i,
            None,
        )
    inside = np.arange(width) < lengths[:, None]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows, steps = np.nonzero(inside)

    def place(step: int, channel: int) -> Place:
        return table.place(int(rows[step]), names[steps[step]])

    return check_numbers(Ragged(numbers[inside][:, None], offsets), place, table.faults)
