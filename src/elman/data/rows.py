"""A table with one row a sequence: a text, or one channel of numbers over time."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from elman.data.cells import Place, to_numbers
from elman.data.dataset import Dataset, Layout
from elman.data.options import listing
from elman.data.ragged import Ragged
from elman.data.table import Table
from elman.data.target import cell_labels, objects
from elman.errors import DataError


def read_rows(table: Table, layout: Layout) -> Dataset:
    """Read one sequence from each row."""
    labels = None if layout.target is None else objects(cell_labels(table, layout.target))
    inputs = _texts(table, layout.text) if layout.text else _numbers(table, layout.values)
    return Dataset(inputs, labels, table.source, layout, table.lines)


def _texts(table: Table, name: str) -> list[str]:
    texts = table.column(name)
    for text, line in zip(texts, table.lines, strict=True):
        if not text.strip():
            raise DataError(
                "an empty sequence: the text is empty",
                remedy="Write the text or remove the row.",
                source=table.source,
                line=int(line),
                column=name,
            )
    return texts


def _numbers(table: Table, names: tuple[str, ...]) -> Ragged:
    """Return one channel over time, (N, 1); empty cells after the last full one are no steps."""
    at = [table.names.index(name) for name in names]
    cells: list[str] = []
    ends = [0]
    for row, line in zip(table.rows, table.lines, strict=True):
        own = [row[j] for j in at]
        while own and not own[-1].strip():
            own.pop()
        if not own:
            raise DataError(
                f"an empty sequence: no cell of {listing(names, 3)} holds a number",
                remedy="Remove the row.",
                source=table.source,
                line=int(line),
            )
        cells += own
        ends.append(len(cells))

    def place(k: int) -> Place:
        i = bisect_right(ends, k) - 1
        whole = slice(ends[i], ends[i + 1])
        hint = "Cells after the end of a sequence are left empty."
        return Place(int(table.lines[i]), names[k - ends[i]], whole, hint=hint)

    numbers = to_numbers(cells, place, table.source)
    return Ragged(numbers[:, None], np.array(ends, np.int64))
