"""Build a dataset from a table and the roles of its columns, and check every value."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Dataset, Layout, Static
from elman.data.faults import Place, check_numbers, format_count, list_names
from elman.data.keys import constant_groups, find_sequences, read_groups
from elman.data.ragged import Ragged, flatten, to_objects
from elman.data.roles import ReadOptions, Schema
from elman.data.static import read_static
from elman.data.table import Column, Steps, Table, stack_numbers
from elman.data.targets import (
    TargetValues,
    build_target,
    guess_task,
    match_classes,
)
from elman.data.times import read_starts
from elman.data.unlabelled import (
    CodedLabels,
    by_sequence,
    doubt_numbers,
    have_no_label,
)
from elman.errors import SettingsError
from elman.tasks import TASKS

_RECORDING = "recording"  # id of the only sequence of a file without a column of ids


def build_dataset(table: Table, schema: Schema, options: ReadOptions) -> Dataset:
    """Return the sequences of a table; errors in the columns used are collected as faults."""
    read = {*schema.target, *schema.values, *schema.categories}
    read |= {name for name in (schema.text, schema.id, schema.time, *schema.static) if name}
    before, skipped = options.layout, options.skip_lines
    if skipped is None and before is not None:
        skipped = before.skip_lines
    layout = Layout(
        format=schema.format,
        kind=schema.kind,
        target=",".join(schema.target) or None,
        text=schema.text,
        values=schema.values,
        id=schema.id,
        group=schema.group,
        time=schema.time,
        categories=schema.categories,
        wide=schema.wide,
        aside=tuple(name for name in table.names if name not in read),
        delimiter=table.delimiter,
        header=table.header,
        header_named=options.header is not None or bool(before and before.header_named),
        blocks=table.blocks,
        skip_lines=skipped,
    )
    build = {"rows": _build_rows, "steps": _build_steps}.get(schema.format, _build_sequences)
    dataset = build(table, schema, options, layout)
    if dataset.static is not None:
        static = dataset.static
        layout = dataclasses.replace(
            dataset.layout, static=static.names, static_categories=static.category_names
        )
        dataset = dataclasses.replace(dataset, layout=layout)
    guesses, notes = tuple(schema.guesses), tuple(schema.notes)
    layout = dataclasses.replace(dataset.layout, guesses=guesses, notes=notes)
    return dataclasses.replace(dataset, layout=layout)


def _build_rows(table: Table, schema: Schema, options: ReadOptions, layout: Layout) -> Dataset:
    """Return one sequence per row: a text, or one channel of numbers over time."""
    inputs = _read_texts(table.columns[schema.text]) if schema.text else _read_series(table, schema)
    target = _build_target(table, schema, options, None)
    static = read_static(table, schema, options, len(inputs))
    dataset = _dataset(table, inputs, target, layout, _read_groups(table, schema), static)
    if schema.id is None:
        return dataset
    cells = table.cells(schema.id).label_cells(None, False).values
    first = table.rows.before + 1
    names = tuple(name or f"row {i}" for i, name in enumerate(map(str, cells), first))
    return dataclasses.replace(dataset, ids=names)


def _build_sequences(table: Table, schema: Schema, options: ReadOptions, layout: Layout) -> Dataset:
    """Return one sequence per row, stored in one cell or in several cells, one per channel."""
    inputs, names, steps = _read_cells(table, schema)
    target = _build_target(table, schema, options, steps)
    layout = dataclasses.replace(layout, values=names)
    static = read_static(table, schema, options, len(inputs))
    return _dataset(table, inputs, target, layout, _read_groups(table, schema), static)


def _build_steps(table: Table, schema: Schema, options: ReadOptions, layout: Layout) -> Dataset:
    """Return sequences whose steps are rows: consecutive rows with the same id."""
    offsets = np.array([0, len(table)], np.int64)
    ids: tuple[str, ...] = (_RECORDING,)
    if schema.id is not None:
        offsets, ids = find_sequences(table.cells(schema.id))
    known = options.layout
    difference = options.time_difference
    if difference is None and known:
        difference = known.time_difference
    starts, deltas = None, None
    if schema.time is not None:
        starts, deltas = read_starts(table, schema, options, offsets, difference)
    elif difference:
        raise SettingsError(
            "time_difference: there is no column of times. Name it with --time, or leave it out"
        )
    if schema.text:
        steps: NDArray[Any] = _read_tokens(table.columns[schema.text])
    else:
        steps = _read_channels(table, schema, offsets)
        if deltas is not None:
            steps = np.column_stack([steps, deltas])
        for name in schema.categories:
            cells = table.columns[name].label_cells(None, False).values
            # Numbers first, categories last, as Layout.channels lists them.
            steps = np.column_stack([steps.astype(object), to_objects(cells)])
    # Every row has a label; whether a label belongs to a step or a sequence is decided next.
    target = _build_target(table, schema, options, None, offsets)
    groups = constant_groups(table, schema.group, offsets) if schema.group else ()
    layout = dataclasses.replace(
        layout, time_difference=deltas is not None, dates=schema.dates, seconds=schema.seconds
    )
    static = read_static(table, schema, options, len(ids), offsets)
    dataset = _dataset(table, Ragged(steps, offsets), target, layout, groups, static)
    lines = table.rows.lines
    lines = None if lines is None else lines[offsets[:-1]]
    return dataclasses.replace(dataset, lines=lines, ids=ids, starts=starts)


def _dataset(
    table: Table,
    inputs: Ragged | list[str],
    target: TargetValues | None,
    layout: Layout,
    groups: tuple[str, ...],
    static: Static | None,
) -> Dataset:
    lines = table.rows.lines
    noun = table.rows.noun
    ids = (
        ()
        if lines is not None
        else table.rows.ids
        or tuple(f"{noun} {table.rows.before + i + 1}" for i in range(len(inputs)))
    )
    source = table.faults.source
    dataset = Dataset(inputs, target, source, layout, lines, ids, groups, static=static)
    # Stored in the layout, so that a later file can be checked without the labels of this one.
    try:
        labels = set(dataset.labels())
    except TypeError:  # a list or an object is among them, which is a fault already
        table.faults.stop()
        raise
    # Mixed label types are reported as a fault elsewhere, but must not break the sorting here.
    alike = len(set(map(type, labels))) < 2
    layout = dataclasses.replace(
        layout,
        task=dataset.task,
        per_step=isinstance(target, Ragged),
        category_values=_category_values(inputs, len(layout.categories)),
        class_names=tuple(sorted(labels, key=None if alike else str)),
    )
    return dataclasses.replace(dataset, layout=layout)


def _category_values(inputs: Ragged | list[str], columns: int) -> tuple[tuple[str, ...], ...]:
    """Return the distinct values of the last `columns` columns, sorted, without gaps."""
    if not columns or not isinstance(inputs, Ragged):
        return ()
    return tuple(tuple(sorted({*cells.tolist()} - {""})) for cells in inputs.values.T[-columns:])


# Targets.


def _build_target(
    table: Table,
    schema: Schema,
    options: ReadOptions,
    steps: Steps | None,
    offsets: NDArray[np.int64] | None = None,
) -> TargetValues | None:
    """Return the target of every row, or None if the table has no target.

    Args:
        steps: as in `build_target`.
        offsets: where each sequence starts, if a row is a step; then the target may also be one of
            each sequence.
    """
    if not schema.target:
        return None
    columns = [table.columns[name] for name in schema.target]
    layout = options.layout
    # A layout determines only its own target; the task of another --target is guessed again.
    same = layout is not None and not options.target and layout.target == ",".join(schema.target)
    per_step = columns[0].nested
    if layout and same:
        per_step = layout.per_step
    name = ",".join(schema.target)
    if len(table) and have_no_label(columns):
        described = f"every cell of the target {name!r} is empty"
        if options.labelled:
            remedy = "Name another with --target NAME, or write the labels."
            line = None if table.rows.lines is None else int(table.rows.lines[0])
            raise table.faults.error("no label", described, remedy, line)
        schema.notes.append(f"--target {name}: {described}, so that there are no labels")
        return None
    task = columns[0].task or options.task or (layout.task if layout and same else None)
    if task is None:
        task, why = guess_task(columns, per_step)
        if why:
            change = f"--task {'multilabel' if TASKS[task].single_label else 'classification'}"
            if TASKS[task].single_label:  # of sequences or of steps, which is decided later
                schema.guess("target", schema.target, why, change=change)
            else:
                schema.guess("task", (), why, flag=f"--task {task}", change=change)
    continued = options.continued
    if continued is not None and options.task is None and TASKS[task].single_label:
        continued.check_task(columns[0])
    classes = TASKS[task].has_classes and TASKS[task].single_label and not columns[1:]
    target: TargetValues | CodedLabels
    if continued is not None and classes and offsets is not None:
        target = continued.read_labels(columns[0])
    else:
        target = build_target(task, columns, steps, per_step, gaps=offsets is not None)
    if isinstance(target, CodedLabels):
        assert offsets is not None
        if same and layout and continued is None:
            target = target.renamed(flatten(match_classes(target.different, layout.class_names)))
        return by_sequence(table, schema, options, target, offsets)
    if not TASKS[task].has_classes:
        schema.notes += doubt_numbers(target, name)
    elif same and layout and continued is None:
        target = match_classes(target, layout.class_names)
    if offsets is None:
        return target
    return by_sequence(table, schema, options, flatten(target), offsets)


def _read_groups(table: Table, schema: Schema) -> tuple[str, ...]:
    """Return the group of every row as text; empty if no group column is named."""
    return read_groups(table, schema.group) if schema.group else ()


# One row per sequence.


def _read_texts(column: Column) -> list[str]:
    texts = column.texts()
    for i, text in enumerate(texts):
        if not text.strip() and i not in column.rows.faulty:
            problem, remedy = "an empty sequence: the text is empty", "Write it or remove the row."
            column.fault(i, "empty", problem, remedy)
    return texts


def _read_series(table: Table, schema: Schema) -> Ragged:
    """Return the channels over time, (N, C); trailing steps whose cells are all empty are none.

    In a file without a header trailing NaN are not steps either: the UCR archive pads with them.
    """
    names = schema.values
    if table.columns[names[0]].nested:
        inputs = _read_cells(table, schema)[0]
        assert isinstance(inputs, Ragged)
        return inputs
    channels = max(1, len(schema.wide))
    width = len(names) // channels
    # The columns are channel by channel.
    ordered = [table.columns[name] for t in range(width) for name in names[t::width]]
    numbers = stack_numbers(ordered, len(table)).reshape(len(table), width, channels)
    gaps = bool(np.isnan(numbers).any())
    lengths = np.full(len(table), 0 if gaps else width, np.int64)
    for t in range(width if gaps else 0):
        full = np.zeros(len(table), dtype=bool)
        for c, name in enumerate(names[t::width]):
            column = table.columns[name]
            missing = np.isnan(numbers[:, t, c])
            # UCR files have no header. In others, a program wrote NaN for a missing value.
            empty = column.empty_cells() if missing.any() else missing
            full |= ~(empty | (missing if not table.header else empty))
        # Gaps within a series remain steps; only trailing empty cells are dropped.
        lengths[full] = t + 1
    for i in np.flatnonzero(lengths == 0).tolist():
        problem = f"an empty sequence: no cell of {list_names(names, 3)} holds a number"
        table.rows.fault(i, None, "empty", problem, "Remove the row.")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = numbers.reshape(-1, channels)
    if (lengths < width).any():
        values = numbers[np.arange(width) < lengths[:, None]]

    def place(step: int, channel: int) -> Place:
        row = int(np.searchsorted(offsets, step, side="right")) - 1
        return table.rows.place(row, names[channel * width + step - int(offsets[row])])

    return check_numbers(Ragged(values, offsets), place, table.faults)


# One cell per sequence.


def _read_cells(
    table: Table, schema: Schema
) -> tuple[Ragged | list[str], tuple[str, ...], Steps | None]:
    """Return the inputs, the names of their channels, and the lengths expected of labels."""
    if schema.text:
        column = table.columns[schema.text]
        if schema.kind == "text":
            return _read_texts(column), (), None
        tokens = column.tokens()
        return tokens, (), Steps(tokens.lengths, column.padded)
    parts: dict[str, Ragged] = {}
    channels: list[str] = []
    padded = None
    for name in schema.values:
        column = table.columns[name]
        parts[name], note = column.series()
        schema.notes += [note] if note else []
        padded = column.padded
        channels += column.channel_names(parts[name].values.shape[1])
    for name in schema.categories:
        parts[name] = table.columns[name].categories()
    first, *others = parts
    for key in others:
        for i in np.flatnonzero(parts[key].lengths != parts[first].lengths).tolist():
            count = format_count(int(parts[key].lengths[i]), "step")
            problem = f"{key!r} has {count}, expected {parts[first].lengths[i]} as {first!r}"
            remedy = f"Give every {table.noun} of a row as many steps."
            table.columns[key].fault(i, "length", problem, remedy)
    inputs = parts[first]
    if others or schema.categories:
        if others:  # columns of unequal length cannot be stacked
            table.faults.stop()
        dtype = object if schema.categories else np.float64
        columns = [part.values.reshape(len(part.values), -1) for part in parts.values()]
        inputs = inputs.with_values(np.hstack([column.astype(dtype) for column in columns]))
    return inputs, tuple(channels), Steps(inputs.lengths, padded)


# One row per step.


def _read_tokens(column: Column) -> NDArray[np.object_]:
    cells = column.texts()
    for i, cell in enumerate(cells):
        if not cell:
            problem, remedy = "the token is empty", "Write the token or remove the row."
            column.fault(i, "empty token", problem, remedy)
    return to_objects(cells)


def _read_channels(table: Table, schema: Schema, offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the columns of numbers, (N, C)."""
    names = schema.values
    if not names:
        return np.zeros((int(offsets[-1]), 0))
    numbers = stack_numbers([table.columns[name] for name in names], int(offsets[-1]))
    if not schema.categories and np.isnan(numbers).all():
        raise table.faults.error(
            "no value",
            f"no cell of column{'s' if names[1:] else ''} {list_names(names, 5)} holds a value",
            "Name other columns with --values NAMES.",
        )

    def place(step: int, channel: int) -> Place:
        return table.rows.place(step, names[channel])

    # With categories a sequence may lack numbers; without them it needs at least one number.
    whole = not schema.categories
    return check_numbers(Ragged(numbers, offsets), place, table.faults, whole=whole).values
