"""Choose the role of each table column: set by the caller or a layout, or guessed.

Each `_choose_*` function sets one role. Guesses are recorded with the flag that overrides them.
"""

from __future__ import annotations

import dataclasses
import re

from elman.data.dataset import Format, Sure
from elman.data.evidence import Evidence, id_tier, time_tier
from elman.data.faults import list_names
from elman.data.groups import (
    is_person_name,
    judge_keys,
    set_aside,
    set_constants_aside,
    set_counters_aside,
)
from elman.data.guessing import (
    Guesser,
    ask_person_or_rows,
    ask_rows_or_steps,
    ask_text_or_steps,
)
from elman.data.keys import first_unknown, join_columns
from elman.data.names import TEXT_NAMES, TOKEN_NAMES, is_named
from elman.data.roles import (
    SEQUENCE_NAMES,
    ReadOptions,
    Schema,
    ask_for_inputs,
    choose_target,
    guess_target,
    label_candidates,
    need_target,
    refuse_twice,
    split_target,
)
from elman.data.series import use_series
from elman.data.static import choose_static, step_options
from elman.data.table import Table, TableFormat
from elman.data.wide import find_wide, split_channels, use_wide
from elman.errors import SettingsError

_FORMATS: dict[TableFormat, Format] = {"jsonl": "jsonl", "ts": "ts", "arrays": "arrays"}


def choose_schema(table: Table, options: ReadOptions, form: str | None) -> Schema:
    """Return the role of each column.

    Args:
        form: `rows`, `steps`, or None to decide by whether a column of sequence ids repeats.
    Raises: DataError if a column does not exist or the choice is ambiguous.
    """
    # The same list, so that faults found from here on can refer to the guesses.
    layout = options.layout
    # A layout's group need not be in a file that is only used for prediction.
    known = layout.group if layout and layout.group in table.columns else None
    schema = Schema(group=options.group or known, guesses=table.faults.guesses)
    table.faults.rows = len(table)
    schema.static = choose_static(table, options)
    values = table.resolve(options.values, "--values NAMES")
    categories = table.resolve(options.categories, "--categories NAMES")
    options = dataclasses.replace(options, values=values, categories=categories)
    if table.format == "table":
        _choose_cells(schema, table, step_options(schema, options), form)
    else:
        _choose_sequences(schema, table, step_options(schema, options))
    # Notes of the file reader come last, because roles need correction more often.
    schema.notes += options.notes
    refuse_twice(schema, table)
    if options.dates and not schema.time:
        raise SettingsError(
            f"--dates {options.dates}: no column holds dates in this order. Leave it out, give"
            " another order, or name the column of dates with --time NAME."
        )
    return schema


def _choose_cells(schema: Schema, table: Table, options: ReadOptions, form: str | None) -> None:
    """Choose the roles of columns with one value per cell."""
    layout = options.layout
    labels = _keep_series(schema, table, options, choose_target(schema, table, options))
    aside = (*labels, *table.unnamed, *schema.static, schema.group)
    rest = [name for name in table.names if name not in aside]
    schema.id = options.id or (layout.id if layout else None)
    schema.time = options.time or (layout.time if layout else None)
    if layout and layout.format == "rows" and not options.id and schema.id not in table.columns:
        schema.id = None  # it only names the rows
    marks = {"--id NAME": "-", "--time NAME": " "}  # between the cells of several columns
    for name, flag in ((schema.id, "--id NAME"), (schema.time, "--time NAME")):
        if name is not None and not join_columns(table, name, marks[flag]):
            table.column(first_unknown(table, name), flag)
    guesser = Guesser(schema, table, options, rest, form)
    form = form or guesser.guess_form()
    if form == "steps":
        schema.format = "steps"
        rest = _choose_id_and_time(guesser, rest)
        inputs = [name for name in rest if name not in schema.target]
    else:
        _refuse_step_options(options)
        rest = [name for name in rest if name != schema.id]
        # Ids and times carry no information about a sequence; used only if nothing else is left.
        counters = [name for name in rest if guesser.is_counter(name)]
        named = options.text or options.values
        if counters and not layout and len(counters) < len(rest) and not named:
            set_counters_aside(guesser, counters)
        inputs = rest = [name for name in rest if name not in set(counters)] or rest
    # Guessed only now, because the guess depends on which columns are left.
    if not schema.target and options.labelled is not False and not layout:
        guess_target(schema, guesser.evidence, options, rest)
    if not schema.target and options.labelled:
        need_target(schema, table, options, label_candidates(guesser.evidence, rest, schema))
    if not schema.target and options.labelled is None and not layout:
        schema.guess("target", (), "none found, so the sequences have no labels")
    inputs = [name for name in rest if name not in schema.target]
    if form == "steps" and not layout:
        inputs = set_aside(guesser, inputs)
    _choose_categories(schema, table, options, inputs)
    inputs = [name for name in inputs if name not in schema.categories]
    if form == "steps":
        _choose_step_inputs(schema, table, options, inputs)
    else:
        _choose_row_inputs(guesser, inputs)
        if schema.text and not layout:
            others = [name for name in inputs if name != schema.text]
            if others:
                set_constants_aside(guesser, others, by_name=True)
    if schema.categories:
        schema.kind = "mixed"
    elif schema.values:
        schema.kind = "numbers"
    else:
        schema.kind = "tokens" if schema.format == "steps" else "text"


def _keep_series(
    schema: Schema, table: Table, options: ReadOptions, labels: list[str]
) -> list[str]:
    """Return the labels, without a guessed one that is the only column of values.

    Forecasting tools call the series itself y: unique_id, ds, y.
    """
    if options.target or options.layout or not schema.target:
        return labels
    others = [name for name in table.names if name not in labels and name not in table.unnamed]
    inputs = [name for name in others if not id_tier(name) and not time_tier(name)]
    if inputs or not any(map(time_tier, others)):
        return labels
    schema.target = ()
    schema.guesses[:] = [guess for guess in schema.guesses if guess.role != "target"]
    return []


def _refuse_step_options(options: ReadOptions) -> None:
    """Refuse settings that apply only to files with one row per time step."""
    if options.time:
        raise SettingsError(
            "--time is for files with a row a time step, and this one is read with --format rows."
            " Leave it out or give --format steps."
        )
    if options.categories or options.time_difference:
        raise SettingsError(
            "--categories and --time-difference are for files with a row a time step, and this one"
            " is read with a row a sequence. Leave them out, or name the sequence with --id."
        )


def _choose_id_and_time(guesser: Guesser, rest: list[str]) -> list[str]:
    """Set the columns of the sequence id and the time; return the others."""
    schema, options = guesser.schema, guesser.options
    if not options.layout:
        schema.id = schema.id or guesser.find_id()
        if schema.id is None:
            guesser.accept_one_recording()
        elif not options.id:
            guesser.tell_id()
        if schema.time is None and not guesser.table.blocks:
            guesser.guess_time()
        if not options.id and schema.time is None and is_person_name(str(schema.id)):
            ask_person_or_rows(guesser)
    # Of several columns that name a sequence the others are groups; the last only counts in them.
    parts = split_target(schema.id, rest) if schema.id else []
    times = split_target(schema.time, rest) if schema.time else []
    return [name for name in rest if name not in (schema.id, *parts[-1:], *times)]


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
    textual = [name for name in inputs if not table.columns[name].is_numeric]
    # Without numbers the steps are tokens. A column with a usual name of tokens holds tokens even
    # if there are numbers.
    if not numeric or any(is_named(name, TOKEN_NAMES) for name in textual):
        return
    # Categories occur at least twice on average, unlike names and remarks.
    evidence = Evidence(table)
    found = [name for name in textual if 2 * evidence.distinct(name) <= len(table)]
    if found:
        schema.categories = tuple(found)
        schema.guess("categories", found, "words that repeat, beside numbers")


def _choose_step_inputs(
    schema: Schema, table: Table, options: ReadOptions, inputs: list[str]
) -> None:
    """Set the column of tokens, or the columns of values, of a table with a row per step."""
    if _follow_options(schema, table, options, inputs):
        return
    numeric = [name for name in inputs if table.columns[name].is_numeric]
    textual = [name for name in inputs if not table.columns[name].is_numeric]
    named = [n for word in TOKEN_NAMES for n in textual if is_named(n, (word,))]
    if schema.categories:
        if numeric:
            _use_values(schema, numeric, inputs)
    elif named:
        _use_text(schema, named[0], inputs, "by its name", "sure")
    elif numeric:
        _use_values(schema, numeric, inputs)
    elif len(textual) == 1:
        _use_text(schema, textual[0], inputs, "the only column left")
    else:
        raise ask_for_inputs(table, inputs)


def _choose_row_inputs(guesser: Guesser, inputs: list[str]) -> None:
    """Set the column of text, or the columns of values, of a table with a row per sequence."""
    schema, table, options = guesser.schema, guesser.table, guesser.options
    layout = options.layout
    if use_series(schema, table, options, inputs):
        return
    if _follow_options(schema, table, options, inputs):
        if layout and not options.values:
            schema.wide = layout.wide
        else:
            split_channels(schema, options, schema.values)
        return
    numeric = [name for name in inputs if table.columns[name].is_numeric]
    textual = [name for name in inputs if not table.columns[name].is_numeric]
    # A series has three steps or more, or it is all there is.
    wide = find_wide(numeric, 3 if textual else len(numeric) if len(numeric) < 3 else 3)
    # Three columns of numbers are a series over time, whatever the name of another column.
    named = [
        name
        for word in TEXT_NAMES
        for name in inputs
        if is_named(name, (word,)) and (name in textual or len(numeric) < 3)
    ]
    free = [name for name in textual if guesser.evidence.is_free_text(name)]
    if wide and (not named or len(wide.columns) > 2):
        use_wide(schema, options, wide)
        steps = set(wide.columns)
        set_constants_aside(guesser, [name for name in inputs if name not in steps])
    elif named:
        _use_text(schema, named[0], inputs, "by its name", "sure")
    elif free:
        _use_text(schema, free[0], inputs, "texts of several words")
    # One or two numbers in a row with text are more likely codes than a series.
    elif len(numeric) >= 3 or (len(numeric) > 1 and not textual):
        ask_rows_or_steps(guesser, numeric)
        _use_values(schema, numeric, inputs)
        split_channels(schema, options, schema.values)
    elif len(textual) == 1:
        _use_text(schema, textual[0], inputs, "the only column left")
    elif len(inputs) == 1:
        ask_text_or_steps(guesser, inputs[0])
        _use_text(schema, inputs[0], inputs, "the only column left")
    else:
        raise ask_for_inputs(table, inputs)


def _follow_options(schema: Schema, table: Table, options: ReadOptions, inputs: list[str]) -> bool:
    """Set the columns that the caller or the layout names; return whether there are any."""
    layout = options.layout
    if options.text or options.values:
        schema.text, schema.values = options.text, options.values
        return True
    if not layout:
        return False
    schema.text, schema.values = layout.text, layout.values
    read = (*layout.values, *layout.categories, *layout.static)
    known = {*read, layout.text, layout.target, *layout.aside}
    extra = [name for name in inputs if name not in known]
    if layout.values and extra:
        unknown = list_names(extra, 4)
        schema.notes.append(f"--values: left out {unknown}, which the layout does not name")
    return True


def _use_values(schema: Schema, numeric: list[str], inputs: list[str]) -> None:
    """Set the columns of values, and say which inputs are left out."""
    schema.values = tuple(numeric)
    used = set(numeric)
    left = [name for name in inputs if name not in used]
    why = f"the column{'s' if numeric[1:] else ''} of numbers"
    schema.guess("values", numeric, why + _left_out(left), "likely" if left else "sure")


def _use_text(
    schema: Schema, name: str, inputs: list[str], why: str, sure: Sure = "likely"
) -> None:
    """Set the column of text or tokens, and say which inputs are left out."""
    schema.text = name
    left = [other for other in inputs if other != name]
    schema.guess("text", [name], why + _left_out(left), sure)


def _left_out(names: list[str]) -> str:
    return f"; left out: {list_names(names, 4)}" if names else ""


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
    elif layout and not (options.text or options.values) and table.format != "ts":
        schema.kind = layout.kind
    else:
        schema.kind = table.columns[names[0]].guess_kind(flag)
    if schema.kind in ("text", "tokens"):
        schema.text = names[0]
    else:
        schema.values = tuple(names)
    if table.format == "jsonl" and not layout:
        judge_keys(schema, table, options)


def _named_sequences(table: Table, options: ReadOptions) -> tuple[list[str], tuple[str, ...], str]:
    """Return the named columns of numbers or text, those of categories, and the flag."""
    layout = options.layout
    if options.text:
        return [options.text], (), "--text"
    if options.values or options.categories:
        flag = "--values NAMES and --categories NAMES" if options.categories else "--values"
        return [n for n in options.values if n not in options.categories], options.categories, flag
    if layout is not None and layout.text and layout.text in table.columns:
        return [layout.text], (), ""
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
    free = [n for n in table.names if n not in (*labels, *schema.target, *schema.static)]
    found = [name for word in usual for name in free if name.lower() == word]
    why = "by its name"
    # numpy.savez without names calls arrays arr_0, arr_1; the one with time steps is the input.
    lists = [name for name in free if table.columns[name].nested]
    if (table.format == "arrays" and len(found) != 1) or (not found and len(lists) == 1):
        found, why = lists, f"the only {table.noun} with several steps"
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
    if table.format != "ts":  # the format fixes the roles of its columns
        schema.guess(flag[2:], found[:1], why + _left_out(left), "likely" if left else "sure")
    return found[0]
