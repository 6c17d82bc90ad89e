"""What a JSON text holds: objects per sequence or step, columns, or lists, as a table.

pandas writes five forms of one table; other programs put objects around the list of sequences, or
objects into it. Each of them ends as objects of one kind, and these as one of two tables: a row
per object, whose cells may be lists, or a row per step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.columns import to_column, write_value
from elman.data.dataset import Guess
from elman.data.evidence import id_tier
from elman.data.faults import Faults, describe_value, format_count, is_number, list_names
from elman.data.names import TARGET_NAMES, UNNAMED, is_named
from elman.data.readers.json import DEEPEST, LINE, Document, Located, parse_json
from elman.data.readers.jsonl import Record, table_of_records
from elman.data.roles import SEQUENCE_NAMES, ReadOptions
from elman.data.table import Rows, Table

_USUAL = SEQUENCE_NAMES["jsonl"]
_NUMBER = "sequence"  # name of the column that numbers objects without an id


class Records(NamedTuple):
    """The objects of a file.

    Args:
        records: the objects, with the keys in the order of the file.
        lines: the line on which each starts.
        notes: how they were found in the file.
        header: whether the file names the values; else the keys are numbers from 1.
    """

    records: list[Record]
    lines: list[int]
    notes: tuple[str, ...] = ()
    header: bool = True


def read_json(
    text: str | Document, faults: Faults, options: ReadOptions, form: str | None
) -> tuple[Table, ReadOptions, str | None]:
    """Read a JSON text as a table of objects, of rows, or of steps.

    Args:
        text: the text, or the values that were found in one.
        form: the format that the caller or the layout names, if any.
    Returns: the table; the options, with the id of the sequences if the file implies it; and
        `rows` or `steps`, if known.
    """
    layout = options.layout
    known = {options.id, options.target, options.group}
    known |= {layout.id, layout.target} if layout else set()
    if isinstance(text, Document):
        document = text
    else:
        one = _form_of_object(options, form)
        document = parse_json(text, faults, one, [key for key in known if key])
    found = _find_records(document, faults)
    records = _flatten(found, faults)
    notes = found.notes
    if records is not found.records:
        keys = [key for key in records[0] if "." in key and key not in found.records[0]]
        notes += (f"nested objects are read as keys such as {list_names(keys, 2)}",)
        options = _find_nested_label(records[0], options, faults)
    options = dataclasses.replace(options, notes=(*options.notes, *notes))
    found = found._replace(records=records)
    inner = _step_key(found, faults)
    if inner:
        return _read_steps(found, faults, options, inner)
    lists = [key for key, value in records[0].items() if isinstance(value, list)]
    if form in ("rows", "steps"):
        needed = {*layout.values, *layout.categories, layout.text} if layout else set()
        # The channels of a list of lists are called x[1], x[2], ...
        there = {name for name in needed if name and {name, name.split("[")[0]} & records[0].keys()}
        if lists and needed - there - {None}:
            raise faults.error(
                "format",
                "each object holds a whole sequence, expected a table as before",
                "Convert it, or read it afresh with --format jsonl.",
            )
        if lists and form == "steps":
            return _read_steps(found, faults, options, None)
        if not lists:
            return *_flat_table(found, faults, options), form
    elif form is None and not lists and _is_table(records, options):
        return *_flat_table(found, faults, options), None
    elif form is None and len(lists) > 1 and _are_channels(records, lists, options):
        return _read_steps(found, faults, options, None)
    lines = _lines_of(found)
    return table_of_records(records, lines, faults, options, "object"), options, form


def _lines_of(found: Records) -> NDArray[np.int64] | None:
    """Return the line of each object; None if they share lines or have none: they are numbered."""
    lines = np.array(found.lines, np.int64)
    return lines if (np.diff(lines, prepend=0) > 0).all() else None


def _form_of_object(options: ReadOptions, form: str | None) -> str | None:
    """Return the format that decides what the only object of a file is; see `parse_json`."""
    layout = options.layout
    if layout is None:
        return form
    if layout.format == "jsonl":
        return "jsonl" if layout.per_step else "rows"
    # A column that numbers the objects was made from objects that are sequences.
    return "jsonl" if layout.id == _NUMBER else form


def _find_records(document: Document, faults: Faults) -> Records:
    """Return the values of a file as objects; values of another kind are faults."""
    items, notes, names = document
    kinds = {type(item.value) for item in items}
    if kinds == {list} or names:
        return _rows_of(items, faults, names)
    if kinds == {str}:
        return Records([{"text": item.value} for item in items], [item.line for item in items])
    if not items:
        raise faults.error(
            "empty", "the list is empty", "Check that it was written to the end.", line=1
        )
    for item in items:
        if not isinstance(item.value, dict):
            problem = f"{describe_value(item.value)}, expected an object"
            faults.add("JSON", problem, LINE, line=item.line)
    kept = [item for item in items if isinstance(item.value, dict)]
    if not kept:
        faults.stop()
    return Records([_name_all(item.value) for item in kept], [item.line for item in kept], notes)


def _name_all(record: Record) -> Record:
    """Return an object in which every key has a name."""
    return {key or UNNAMED: value for key, value in record.items()} if "" in record else record


def _rows_of(rows: Sequence[Located], faults: Faults, names: Sequence[str] | None) -> Records:
    """Return lists of values as objects: sequences of numbers or words, or rows of a table."""
    values = [row.value for row in rows]
    lines = [row.line for row in rows]
    cells = [cell for row in values for cell in row]
    widths = {len(row) for row in values}
    words = sum(isinstance(cell, str) for cell in cells)
    if names is None and (not words or (words == len(cells) and len(widths) > 1)):
        key = "tokens" if words else "sequence"
        note = f"each list is a sequence; its values are read as the key {key!r}"
        return Records([{key: row} for row in values], lines, (note,))
    header = names is not None
    if names is None:
        first = values[0]
        numbers = any(isinstance(cell, int | float) for cell in cells)
        header = numbers and all(isinstance(c, str) and c and not is_number(c) for c in first)
        names = list(first) if header else [str(i) for i in range(1, len(first) + 1)]
        values, lines = values[header:], lines[header:]
    kept = []
    for row, line in zip(values, lines, strict=True):
        if isinstance(row, list) and len(row) == len(names):
            kept.append((dict(zip(names, row, strict=True)), line))
            continue
        problem = f"{len(row) if isinstance(row, list) else 1} values, expected {len(names)}"
        faults.add("width", problem, "Give every list as many values as the first.", line=line)
    if not kept:
        faults.stop()
        raise faults.error("empty", "there are columns and no rows", "Check how it was made.")
    return Records([row for row, _ in kept], [line for _, line in kept], (), header)


# Objects within objects.


def _find_nested_label(first: Record, options: ReadOptions, faults: Faults) -> ReadOptions:
    """Return the options with the only label of an inner object as target, if no other is."""
    outer = any(is_named(key, TARGET_NAMES) for key in first if "." not in key)
    usual = [name for name in TARGET_NAMES if name != "y"]  # x.y is a coordinate
    found = [k for k in first if "." in k and is_named(k.rpartition(".")[2], usual)]
    if options.target or options.layout or options.labelled is False or outer or len(found) != 1:
        return options
    why, flag = "by its name in the inner object", f"--target {found[0]}"
    faults.guesses.append(Guess("target", tuple(found), why, flag, "--target NAME", "likely"))
    return dataclasses.replace(options, target=found[0])


def _flatten(found: Records, faults: Faults) -> list[Record]:
    """Return the objects with nested ones as keys `outer.inner`; unchanged if there are none."""
    records = found.records
    if not any(isinstance(value, dict) for record in records for value in record.values()):
        return records
    flat = []
    for record, line in zip(records, found.lines, strict=True):
        own: Record = {}
        for key, value in _leaves(record, "", 0):
            if key in own:
                remedy = "Rename one of them."
                faults.add("key", f"two keys are called {key!r}", remedy, line=line)
            own[key] = value
            if isinstance(value, dict) and value:
                problem = f"{key!r} is nested too deep, expected at most {DEEPEST} objects"
                faults.add("JSON", problem, "Bring the values further up.", line=line)
        flat.append(own)
    faults.stop()
    return flat


def _leaves(record: Record, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if not isinstance(value, dict) or not value or depth > DEEPEST:
            yield prefix + key or UNNAMED, value
        elif all(inner == str(i) for i, inner in enumerate(value)):
            yield (
                prefix + key or UNNAMED,
                list(value.values()),
            )  # a series of pandas: {"0": 1.5, "1": 2.5}
        else:
            yield from _leaves(value, f"{prefix}{key}.", depth + 1)


def _step_key(found: Records, faults: Faults) -> str | None:
    """Return the key that holds a list of objects, one per step, if there is one."""
    keys = [
        key
        for key, value in found.records[0].items()
        if isinstance(value, list) and value and all(isinstance(step, dict) for step in value)
    ]
    if len(keys) > 1:
        raise faults.error(
            "choice",
            f"{len(keys)} keys hold lists of objects: {list_names(keys)}",
            "Keep the one whose objects are the steps of the sequence.",
            line=found.lines[0],
        )
    return keys[0] if keys else None


# Tables.


def _is_table(records: list[Record], options: ReadOptions) -> bool:
    """Whether objects without lists are rows of a table, and not texts with their labels."""
    if options.id or options.time or options.values or options.categories:
        return True
    if any(isinstance(value, list) for record in records[:1000] for value in record.values()):
        return False  # the first object lacks what others have
    keys = list(records[0])
    # A sequence may also be numbered.
    text = [key for key in keys if key.lower() in _USUAL and not _is_number(records[0][key])]
    text += [key for key in keys if key.lower() == "text"]
    if not text and options.text is None:
        return True
    # One word of a sentence on each line: an id repeats.
    size = len(records)
    return any(
        2 * len({str(record.get(key)) for record in records}) <= size
        for key in keys
        if id_tier(key) and key not in (options.text, options.target, options.group)
    )


def _are_channels(records: list[Record], lists: list[str], options: ReadOptions) -> bool:
    """Whether the lists of an object are columns of its steps, none of which is the sequence."""
    if options.id or options.time:
        return True
    if options.values or options.categories or options.text:
        return False
    inputs = [key for key in lists if not is_named(key, TARGET_NAMES) and key != options.target]
    if len(inputs) < 2 or any(key.lower() in _USUAL for key in lists):
        return False
    return any(_is_number(value) for key in inputs for value in records[0][key][:1])


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _flat_table(found: Records, faults: Faults, options: ReadOptions) -> tuple[Table, ReadOptions]:
    """Return a table with a row per object; a key that an object lacks is a missing value there."""
    rows, records = Rows(faults, _lines_of(found), noun="object"), found.records
    keys = list(dict.fromkeys(key for record in records for key in record))
    lacking = {key: sum(key not in record for record in records) for key in keys}
    notes = [
        f"{key!r} is missing in {count:,} of {len(records):,} objects, and has no value there"
        for key, count in lacking.items()
        if count
    ]
    columns = {key: to_column(key, rows, [own.get(key) for own in records]) for key in keys}
    table = Table("table", columns, rows, len(records), "", found.header, noun="key")
    if len(notes) > 6:
        notes[5:] = [f"{len(notes) - 5} more keys are missing in some objects"]
    return table, dataclasses.replace(options, notes=(*options.notes, *notes))


def _read_steps(
    found: Records, faults: Faults, options: ReadOptions, inner: str | None
) -> tuple[Table, ReadOptions, str]:
    """Return a table with a row per step of each object.

    Args:
        inner: the key that holds a list of objects, one per step; None if each key holds a list
            of values, one per step. Other values of an object are repeated at each of its steps.
    """
    layout = options.layout
    pairs = zip(found.records, found.lines, strict=True)
    parts = [_split_steps(record, inner, line, faults) for record, line in pairs]
    first, constant = parts[0]
    name, ids = _name_objects(found.records, list(constant), options)
    faults.stop()
    owners = [i for i, (steps, _) in enumerate(parts) for _ in range(_length(steps))]
    lines = _lines_of(found)
    rows = Rows(faults, None if lines is None else lines[owners], noun="step")
    cells: dict[str, list[Any]] = {name: [ids[i] for i in owners]}
    for key in (*constant, *first):
        if key != name:
            cells[key] = []
    for (steps, own), record, line in zip(parts, found.records, found.lines, strict=True):
        count = _length(steps)
        missing = [key for key in cells if key not in steps and key not in own and key != name]
        if missing:
            problem = f"key {missing[0]!r} is missing; the keys are {list_names(list(record))}"
            faults.add("key", problem, "Every object needs it; null means no value.", line=line)
        for key, column in cells.items():
            if key != name:
                column += steps[key] if key in steps else [own.get(key)] * count
    faults.stop()
    columns = {key: to_column(key, rows, values) for key, values in cells.items()}
    what = f"the objects under {inner!r}" if inner else "the values in its lists"
    note = f"each object is a sequence, and {what} are its steps"
    if options.id is None and layout is None:
        options = dataclasses.replace(options, id=name)
    options = dataclasses.replace(options, notes=(*options.notes, note))
    return Table("table", columns, rows, len(owners), "", noun="key"), options, "steps"


def _length(steps: dict[str, list[Any]]) -> int:
    return max(map(len, steps.values()), default=0)


def _split_steps(
    record: Record, inner: str | None, line: int, faults: Faults
) -> tuple[dict[str, list[Any]], Record]:
    """Return the lists of values at each step, by key, and the values that are no lists."""
    constant = {key: v for key, v in record.items() if not isinstance(v, list) and key != inner}
    lists = {key: v for key, v in record.items() if isinstance(v, list) and key != inner}
    steps: dict[str, list[Any]] = {}
    if inner is not None:
        objects = record.get(inner)
        if not isinstance(objects, list) or not all(isinstance(step, dict) for step in objects):
            problem = f"{inner!r} is {describe_value(objects)}, expected a list of objects"
            faults.add("type", problem, "Write a list of steps, as on the first line.", line=line)
            objects = []
        elif not objects:
            problem = f"an empty sequence: {inner!r} is empty"
            faults.add("empty", problem, "Remove the object.", line=line)
        flat = [dict(_leaves(step, "", 0)) for step in objects]
        keys = list(dict.fromkeys(key for step in flat for key in step))
        steps = {key: [step.get(key) for step in flat] for key in keys}
    for key, values in lists.items():
        if values and all(isinstance(v, list) and len(v) == len(values[0]) for v in values):
            for c, channel in enumerate(zip(*values, strict=True), 1):
                steps[f"{key}[{c}]"] = list(channel)
        else:
            steps[key] = values
    for key, values in steps.items():
        if len(values) != _length(steps):
            count = format_count(len(values), "value")
            problem = f"{key!r} has {count}, expected {_length(steps)} as the other keys"
            faults.add("length", problem, "Give every key as many steps.", line=line)
    if not _length(steps) and (inner is None or record.get(inner) != []):
        faults.add("empty", "an empty sequence: no step", "Remove the object.", line=line)
    clash = [key for key in constant if key in steps]
    if clash:
        problem = f"two keys are called {clash[0]!r}, in the object and in its steps"
        faults.add("key", problem, "Rename one of them.", line=line)
    return steps, constant


def _name_objects(
    records: list[Record], keys: list[str], options: ReadOptions
) -> tuple[str, list[str]]:
    """Return the name of the column of ids, and the id of each object."""
    known = options.id or (options.layout.id if options.layout else None)
    different = [
        key for key in keys if len({str(record.get(key)) for record in records}) == len(records)
    ]
    named = [key for key in different if id_tier(key)]
    name = known or (max(named, key=id_tier) if named else _NUMBER)
    if name in keys:
        return name, [write_value(record.get(name)) for record in records]
    return name, [str(i) for i in range(1, len(records) + 1)]
