"""CSV and TSV files: a row a sequence, or a row a time step."""

from __future__ import annotations

import dataclasses

from elman.data.columns import choose_columns
from elman.data.dataset import Dataset
from elman.data.faults import Faults
from elman.data.options import Options
from elman.data.rows import read_rows
from elman.data.steps import read_steps
from elman.data.table import Table, parse_table
from elman.data.target import task_of_table


def read_table(text: str, faults: Faults, options: Options, form: str | None) -> Dataset:
    """Read the text of a CSV or TSV file; `form` is `rows`, `steps` or None to guess."""
    before = options.layout
    table = parse_table(
        text,
        faults,
        delimiter=before.delimiter or None if before else None,
        header=before.header if before else None,
    )
    return from_table(table, options, form)


def from_table(table: Table, options: Options, form: str | None) -> Dataset:
    """Make sequences of the rows of a table; `form` as for `read_table`."""
    before = options.layout
    options = dataclasses.replace(
        options,
        values=table.resolve(options.values),
        categories=table.resolve(options.categories, "--categories NAMES"),
    )
    layout = choose_columns(table, options, form)
    if layout.target is not None:
        task, note = task_of_table(table, layout.target, options)
        notes = (*layout.notes, note) if note else layout.notes
        layout = dataclasses.replace(layout, task=task or "classification", notes=notes)
    if layout.format == "rows":
        return read_rows(table, layout, options.group)
    per_step = before.per_step if before and before.target and not options.target else None
    if options.task == "tagging":
        per_step = True
    difference = options.time_difference
    if difference is None and before:
        difference = before.time_difference
    return read_steps(table, layout, per_step, options.group, difference)
