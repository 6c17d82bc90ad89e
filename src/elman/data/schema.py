"""Choose the role of each table column: set by the caller or a layout, or guessed and noted.

Every guess adds a note with the flag that overrides it. Columns are recognised by their names and
by whether they hold numbers; each `_choose_*` function sets one role.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from elman.data.dataset import Format
from elman.data.faults import is_number, list_names
from elman.data.roles import (
    ID_NAMES,
    SEQUENCE_NAMES,
    TEXT_NAMES,
    TIME_NAMES,
    TOKEN_NAMES,
    WEAKER_ID_NAMES,
    ReadOptions,
    Schema,
    choose_target,
    need_target,
    refuse_twice,
)
from elman.data.table import Table, TableFormat
from elman.errors import SettingsError

_FORMATS: dict[TableFormat, Format] = {"jsonl": "jsonl", "ts": "ts", "arrays": "arrays"}


def choose_schema(table: Table, options: ReadOptions, form: str | None) -> Schema:
    """Return the role of each column.

    Args:
        form: `rows`, `steps`, or None to decide by whether a column of sequence ids repeats.
    Raises: DataError if a column does not exist or the choice is ambiguous.
    """
    schema = Schema(group=options.group)
    if table.format == "table":
        options = dataclasses.replace(
            options,
            values=table.resolve(options.values, "--values NAMES"),
            categories=table.resolve(options.categories, "--categories NAMES"),
        )
        _choose_cells(schema, table, options, form)
    else:
        _choose_sequences(schema, table, options)
    # Notes of the file reader come last, because roles need correction more often.
    schema.notes += options.notes
    refuse_twice(schema, table)
    return schema


def _choose_cells(schema: Schema, table: Table, options: ReadOptions, form: str | None) -> None:
    """Choose the roles of columns with one value per cell."""
    layout = options.layout
    labels = choose_target(schema, table, options)
    aside = (*labels, *table.unnamed, options.group)
    rest = [name for name in table.names if name not in aside]
    guessed = form is None
    schema.id = options.id or (layout.id if layout else None)
    if form is None:
        schema.id = schema.id or _guess_id(table, rest)
        form = "steps" if schema.id or options.time else "rows"
        why = f"column {schema.id!r} repeats" if schema.id else "no column of sequence ids repeats"
        schema.note("" if options.id else f"--format {form}: {why}")
    if form == "steps":
        schema.format = "steps"
        rest = _choose_id_and_time(schema, table, options, rest)
        clock = None
    else:
        _refuse_step_options(options)
        # Refused below, once it is certain that the numbers would be read as a series: a column
        # with the name of a time may also hold text.
        clock = next((name for name in rest if name.lower() in TIME_NAMES), None)
        # Ids and counters carry no information about a sequence; used only if nothing else is left.
        counters = (*ID_NAMES, *TIME_NAMES, "index")
        rest = [name for name in rest if name.lower() not in counters] or rest
    # Guessed only now, because the guess depends on which columns are left.
    if not schema.target and options.labelled is not False and not layout:
        _guess_target(schema, table, options, rest)
    need_target(schema, table, options)
    inputs = [name for name in rest if name not in schema.target]
    _choose_categories(schema, table, options, inputs)
    inputs = [name for name in inputs if name not in schema.categories]
    _choose_inputs(schema, table, options, inputs)
    if guessed and clock and schema.format == "rows" and schema.values and not options.values:
        raise table.faults.error(
            "choice",
            f"column {clock!r} looks like the time of a step, but no column is known to say which"
            " sequence a row belongs to",
            "Name it with --id NAME, or say that a row is a sequence with --format rows.",
        )
    if schema.categories:
        schema.kind = "mixed"
    elif schema.values:
        schema.kind = "numbers"
    else:
        schema.kind = "tokens" if schema.format == "steps" else "text"


def _refuse_step_options(options: ReadOptions) -> None:
    """Refuse settings that apply only to files with one row per time step."""
    if options.id or options.time:
        raise SettingsError(
            "--id and --time are for files with a row a time step, and this one is read with"
            " --format rows. Leave them out or give --format steps."
        )
    if options.categories or options.time_difference:
        raise SettingsError(
            "--categories and --time-difference are for files with a row a time step, and this one"
            " is read with a row a sequence. Leave them out, or name the sequence with --id."
        )


def _guess_id(table: Table, names: Sequence[str]) -> str | None:
    """Return the column with a usual name of a sequence id and repeated values, if any."""
    # Repeated ids are the only evidence that rows are steps; the name must match too, because the
    # values of any category repeat.
    timed = any(name.lower() in TIME_NAMES for name in names)
    usual = (*ID_NAMES, *WEAKER_ID_NAMES)
    for name in sorted(names, key=lambda n: usual.index(n.lower()) if n.lower() in usual else 99):
        if name.lower() not in usual or len(names) < 2:
            continue
        cells = table.columns[name].texts()
        different = len(set(cells))
        # A few repeats are duplicates; if there is also a time column, they are time steps.
        if different < len(cells) if timed else 2 * different <= len(cells):
            return name
    return None


def _choose_id_and_time(
    schema: Schema, table: Table, options: ReadOptions, rest: list[str]
) -> list[str]:
    """Set the columns of the sequence id and the time; return the others."""
    layout = options.layout
    if schema.id is None and (found := _guess_id(table, rest)) is not None:
        schema.id = found
    if schema.id is None:
        raise table.faults.error(
            "choice",
            "no column is known to say which sequence a row belongs to;"
            f" the columns are {list_names(table.names, 12)}",
            "Name it with --id NAME.",
        )
    schema.note("" if options.id or layout else f"--id {schema.id}: by its name")
    schema.time = options.time or (layout.time if layout else None)
    if schema.time is None and not layout:
        used = (schema.id, options.text, *options.values)
        clocks = [name for name in rest if name.lower() in TIME_NAMES and name not in used]
        if len(clocks) > 1:
            raise table.faults.error(
                "choice",
                f"{len(clocks)} columns could be the time: {list_names(clocks)}",
                "Choose one with --time NAME.",
            )
        schema.time = clocks[0] if clocks else None
        schema.note(
            f"--time {schema.time}: by its name"
            if clocks
            else "--time NAME: none found, so steps are in the order of the file"
        )
    return [name for name in rest if name not in (schema.id, schema.time)]


def _guess_target(schema: Schema, table: Table, options: ReadOptions, inputs: list[str]) -> None:
    """Set the target if only one column can be the label."""
    rows = schema.format == "rows"
    if rows and not table.header and len(inputs) > 3 and not options.values:
        # The .tsv files of the UCR archive: no header, and an integer class before the values.
        first = table.columns[inputs[0]]
        if first.is_numeric and _looks_like_codes(table, inputs):
            schema.target = (inputs[0],)
            schema.note(
                f"--target {inputs[0]}: few whole numbers in the first column of a file without a"
                " header, as in the UCR archive"
            )
            return
    chosen = [n for n in (options.text, *options.values) if n]
    free = [name for name in inputs if name not in chosen]
    # Columns named as inputs are not candidates for the label.
    textual = [name for name in free if not table.columns[name].is_numeric]
    usual = TEXT_NAMES if rows else TOKEN_NAMES
    # If inputs were named and one column remains, it is most likely the label.
    if len(free) == 1 and chosen and (textual or rows):
        schema.target = (free[0],)
        schema.note(f"--target {free[0]}: the only other column")
    elif len(inputs) == 2 and rows:
        counts = {name: len(set(table.columns[name].texts())) for name in inputs}
        few, many = sorted(inputs, key=counts.__getitem__)
        # Labels repeat and texts do not: the label column has at most half as many distinct values.
        if 2 * counts[few] <= counts[many] and few.lower() not in usual:
            schema.target = (few,)
            schema.note(f"--target {few}: {counts[few]} values against {counts[many]} in {many!r}")
    # The weakest evidence comes last: a column of remarks would be mistaken for a label.
    elif len(textual) == 1 and len(free) > 1 and textual[0].lower() not in usual:
        schema.target = (textual[0],)
        schema.note(f"--target {textual[0]}: the only column that is not numbers")


def _looks_like_codes(table: Table, names: list[str]) -> bool:
    """Whether the first column has few whole numbers and another column has fractions."""
    # Non-numeric cells are skipped here; they are reported when the columns are read.
    cells = ([float(c) for c in table.columns[n].texts() if is_number(c)] for n in names)
    first, *others = map(np.array, cells)
    few = 0 < 2 * len(np.unique(first)) <= len(first)
    return few and not (first % 1).any() and any((other % 1).any() for other in others)


def _choose_categories(
    schema: Schema, table: Table, options: ReadOptions, inputs: list[str]
) -> None:
    """Set the columns of categories that accompany columns of numbers."""
    layout = options.layout
    if options.categories or layout or schema.format == "rows" or options.text or options.values:
        known = layout.categories if layout and not (options.text or options.values) else ()
        schema.categories = options.categories or known
        return
    # Guessed only if no input was named, so that flags and guesses are not mixed.
    numeric = [name for name in inputs if table.columns[name].is_numeric]
    textual = [name for name in inputs if name not in numeric]
    # Without numbers the steps are tokens. A column with a usual name of tokens holds tokens even
    # if there are numbers.
    if not numeric or any(name.lower() in TOKEN_NAMES for name in textual):
        return
    # Categories occur at least twice on average, unlike names and remarks.
    cells = {name: table.columns[name].texts() for name in textual}
    found = [name for name in textual if 2 * len(set(cells[name])) <= len(cells[name])]
    if found:
        schema.categories = tuple(found)
        schema.note(f"--categories {','.join(found)}: words that repeat, beside numbers")


def _choose_inputs(schema: Schema, table: Table, options: ReadOptions, inputs: list[str]) -> None:
    """Set the column of text or tokens, or the columns of values."""
    layout = options.layout
    if options.text or options.values:
        schema.text, schema.values = options.text, options.values
        return
    numeric = [name for name in inputs if table.columns[name].is_numeric]
    if layout:
        schema.text, schema.values = layout.text, layout.values
        known = (*layout.values, layout.text, layout.target)
        extra = [n for n in numeric if n not in known] if layout.values else []
        if extra:
            unused = list_names(extra, 4)
            schema.note(f"--values: left out {unused}, which the layout does not name")
        return
    steps = schema.format == "steps"
    textual = [name for name in inputs if name not in numeric]
    usual = TOKEN_NAMES if steps else TEXT_NAMES
    # Three columns of numbers are a series over time, whatever the name of another column.
    named = [
        name
        for word in usual
        for name in inputs
        if name.lower() == word and (name in textual or (not steps and len(numeric) < 3))
    ]
    if schema.categories:
        used, why = numeric, ""
        if not numeric:
            return
    elif named:
        used, why = named[:1], "by its name"
    # One or two numbers in a row with text are more likely codes than a series.
    elif len(numeric) >= (1 if steps else 3) or (len(numeric) > 1 and not textual):
        used, why = numeric, ""
    elif len(textual) == 1 or len(inputs) == 1:
        used, why = textual or inputs, "the only column left"
    else:
        raise table.faults.error(
            "choice",
            f"several columns could be the sequence: {list_names(inputs)}"
            if inputs
            else f"no column is left to be the sequence; there are {list_names(table.names)}",
            "Choose a column of text with --text NAME, or of numbers with --values NAMES.",
        )
    left = [name for name in inputs if name not in used]
    left_out = f"; left out: {list_names(left, 4)}" if left else ""
    if used is numeric:
        schema.values = tuple(used)
        short = ",".join(used) if len(used) < 5 else f"{used[0]},...,{used[-1]}"
        why = "the columns of numbers" if numeric[1:] else "the column of numbers"
        schema.note(f"--values {short}: {why}{left_out}")
    else:
        schema.text = used[0]
        schema.note(f"--text {used[0]}: {why}{left_out}")


def _choose_sequences(schema: Schema, table: Table, options: ReadOptions) -> None:
    """Choose the roles of columns whose cells hold whole sequences."""
    schema.format = _FORMATS[table.format]
    labels = choose_target(schema, table, options)
    need_target(schema, table, options)
    names, categories, flag = _named_sequences(table, options)
    schema.categories = categories
    for name in (*names, *categories):
        table.column(name, flag or "--text NAME or --values NAMES")
    layout = options.layout
    if not names and not categories:
        names = [_guess_sequence(schema, table, labels)]
    if categories or len(names) > 1:
        schema.kind = "mixed" if categories else "numbers"
    elif layout and not (options.text or options.values) and table.format == "jsonl":
        schema.kind = layout.kind
    else:
        schema.kind = table.columns[names[0]].guess_kind(flag)
    if schema.kind in ("text", "tokens"):
        schema.text = names[0]
    else:
        schema.values = tuple(names)


def _named_sequences(table: Table, options: ReadOptions) -> tuple[list[str], tuple[str, ...], str]:
    """Return the named columns of numbers or text, those of categories, and the flag."""
    layout = options.layout
    if options.text:
        return [options.text], (), "--text"
    if options.values or options.categories:
        flag = "--values NAMES and --categories NAMES" if options.categories else "--values"
        return [n for n in options.values if n not in options.categories], options.categories, flag
    if layout is None or table.format != "jsonl":
        return [], (), ""
    if layout.text:
        return [layout.text], (), ""
    # A layout lists channels, a file has keys: the channels of key x are called x[1], x[2], ..., or
    # x if there is only one.
    whole = [
        name if name in table.columns else re.sub(r"\[\d+\]$", "", name) for name in layout.values
    ]
    return list(dict.fromkeys(whole)), layout.categories, ""


def _guess_sequence(schema: Schema, table: Table, labels: list[str]) -> str:
    """Return the column of sequences, found by its name or as the only one with sequences."""
    usual = SEQUENCE_NAMES[table.format]
    free = [name for name in table.names if name not in (*labels, *schema.target)]
    found = [name for word in usual for name in free if name.lower() == word]
    why = "by its name"
    # numpy.savez without names calls arrays arr_0, arr_1; the one with time steps is the input.
    if table.format == "arrays" and len(found) != 1:
        found, why = [name for name in free if table.columns[name].nested], "by its shape"
    # If a line has both tokens and their text, use the tokens; "sequence" may be either.
    ambiguous = len(found) > 1 and (table.format != "jsonl" or "sequence" in found)
    if not found or ambiguous:
        columns = ", ".join(str(table.columns[name]) for name in found or table.names)
        raise table.faults.error(
            "choice",
            f"several {table.noun}s could be the sequence: {columns}"
            if found
            else f"no {table.noun} is known to be the sequence (looked for {list_names(usual)});"
            f" the {table.noun}s are {columns}",
            "Save it as X, or name it with --values NAME."
            if table.format == "arrays"
            else "Name a text or list of tokens with --text NAME, numbers with --values NAME.",
        )
    left = [name for name in (found if table.format == "jsonl" else free) if name != found[0]]
    flag = "--values" if table.columns[found[0]].guess_kind("") == "numbers" else "--text"
    left_out = f"; left out: {list_names(left)}" if left else ""
    if table.format != "ts":  # the format fixes the roles of its columns
        schema.note(f"{flag} {found[0]}: {why}{left_out}")
    return found[0]
