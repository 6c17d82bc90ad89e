"""Which column of a table is what: asked for, known from a layout, or guessed and noted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from elman.data.dataset import Layout
from elman.data.faults import Faults, list_names
from elman.data.options import Options
from elman.data.table import Table
from elman.data.target import named_target, no_target, target_names
from elman.errors import DataError, SettingsError

# Usual names, the most telling first.
ID_NAMES = ("id", "series_id", "sequence_id", "sample_id", "case_id", "item_id", "sentence_id")
WEAKER_ID_NAMES = ("series", "sequence", "sample", "case", "subject", "patient", "trial", "group")
TIME_NAMES = ("time", "timestamp", "t", "step", "time_step", "timestep", "time_idx", "date")
TEXT_NAMES = ("text", "sentence", "utterance", "message", "review", "tweet", "sequence", "name")
TOKEN_NAMES = ("token", "tokens", "word", "words", "symbol", "char", "character", "text")


def choose_columns(table: Table, options: Options, form: str | None) -> Layout:
    """Return the layout of a table.

    Args:
        form: `rows`, `steps`, or None to look whether a column of sequence ids repeats.
    Raises: DataError when a column is not there or several could be meant.
    """
    layout = options.layout
    chosen = {options.text, options.id, options.time, options.group}
    chosen |= {*options.values, *options.categories}
    target, labels, note = named_target(
        [name for name in table.names if name not in chosen or name == options.target],
        options,
        table.source,
        what="column",
        meaning=lambda name: f"({len(set(table.column(name))):,} different values)",
    )
    notes = [note]
    aside = (*labels, *table.unnamed, options.group)
    rest = [name for name in table.names if name not in aside]
    identity = options.id or (layout.id if layout else None)
    guessed = form is None
    if form is None:
        identity = identity or guess_id(table, rest)
        form = "steps" if identity or options.time else "rows"
        why = f"column {identity!r} repeats" if identity else "no column of sequence ids repeats"
        notes.append("" if options.id else f"--format {form}: {why}")
    if form == "rows" and (options.id or options.time):
        raise SettingsError(
            "--id and --time are for files with a row a time step, and this one is read with"
            " --format rows. Leave them out or give --format steps."
        )
    if form == "rows" and (options.categories or options.time_difference):
        raise SettingsError(
            "--categories and --time-difference are for files with a row a time step, and this one"
            " is read with a row a sequence. Leave them out, or name the sequence with --id."
        )
    time = None
    if form == "steps":
        if identity is None and (identity := guess_id(table, rest)) is None:
            raise DataError(
                "no column is known to say which sequence a row belongs to;"
                f" the columns are {list_names(table.names, 12)}",
                remedy="Name it with --id NAME.",
                source=table.source,
                rule="choice",
            )
        time, note = _choose_time(table, options, [n for n in rest if n != identity])
        notes += ["" if options.id or layout else f"--id {identity}: by its name", note]
        rest = [name for name in rest if name not in (identity, time)]
    else:
        aside = (*ID_NAMES, *TIME_NAMES, "index")
        clock = [name for name in rest if name.lower() in TIME_NAMES]
        rest = [name for name in rest if name.lower() not in aside] or rest

    if target is None and options.labelled is not False and not layout:
        target, note = _guess_target(table, options, rest, form)
        notes.append(note)
    if target is None and options.labelled:
        raise no_target(table.names, "column", table.source)
    inputs = [name for name in rest if name != target]
    categories, because = _choose_categories(table, options, inputs, form)
    notes.append(because)
    inputs = [name for name in inputs if name not in categories]
    text, values, note = _choose_inputs(table, options, inputs, form, alone=not categories)
    if guessed and form == "rows" and clock and values and not options.values:
        raise DataError(
            f"column {clock[0]!r} looks like the time of a step, but no column is known to say"
            " which sequence a row belongs to",
            remedy="Name it with --id NAME, or say that a row is a sequence with --format rows.",
            source=table.source,
            rule="choice",
        )
    targets = [("--target", n) for n in target_names(target, table.names)] if target else []
    roles = [*targets, ("--id", identity), ("--time", time), ("--group", options.group)]
    _refuse_twice(table, [*roles, ("--text", text)], values, categories)
    return Layout(
        format="steps" if form == "steps" else "rows",
        kind="mixed"
        if categories
        else "numbers"
        if values
        else "tokens"
        if form == "steps"
        else "text",
        target=target,
        text=text,
        values=values,
        id=identity,
        time=time,
        categories=categories,
        delimiter=table.delimiter,
        header=table.header,
        notes=tuple(note for note in (*notes, note) if note),
    )


def guess_id(table: Table, names: Sequence[str]) -> str | None:
    """Return the column that usually names a sequence and whose values repeat, if there is one."""
    timed = any(name.lower() in TIME_NAMES for name in names)
    usual = (*ID_NAMES, *WEAKER_ID_NAMES)
    for name in sorted(names, key=lambda n: usual.index(n.lower()) if n.lower() in usual else 99):
        cells = table.column(name)
        different = len(set(cells))
        # A few repeats are duplicates; with a time column beside them they are time steps.
        repeats = different < len(cells) if timed else 2 * different <= len(cells)
        if name.lower() in usual and repeats and len(names) > 1:
            return name
    return None


def _choose_time(table: Table, options: Options, names: list[str]) -> tuple[str | None, str]:
    named = options.time or (options.layout.time if options.layout else None)
    if named or options.layout:
        return named, ""
    chosen = (options.text, *options.values)
    found = [name for name in names if name.lower() in TIME_NAMES and name not in chosen]
    if len(found) > 1:
        raise DataError(
            f"{len(found)} columns could be the time: {list_names(found)}",
            remedy="Choose one with --time NAME.",
            source=table.source,
            rule="choice",
        )
    if found:
        return found[0], f"--time {found[0]}: by its name"
    return None, "--time NAME: none found, so steps are in the order of the file"


def _guess_target(
    table: Table, options: Options, inputs: list[str], form: str
) -> tuple[str | None, str]:
    """Return the column that can only be the label, and the note that says why."""
    if form == "rows" and not table.header and len(inputs) > 3 and not options.values:
        quiet = dataclasses.replace(table, faults=Faults(table.source))
        first = quiet.numbers(inputs[0])
        repeats = table.numeric(inputs[0]) and 2 * len(np.unique(first)) <= len(first)
        if (
            repeats
            and not (first % 1).any()
            and any((quiet.numbers(n) % 1).any() for n in inputs[1:])
        ):
            return inputs[0], (
                f"--target {inputs[0]}: few whole numbers in the first column of a file without a"
                " header, as in the UCR archive"
            )
    chosen = [n for n in (options.text, *options.values) if n]
    free = [name for name in inputs if name not in chosen]
    textual = [name for name in free if not table.numeric(name)]
    usual = TEXT_NAMES if form == "rows" else TOKEN_NAMES
    if len(free) == 1 and chosen and (textual or form == "rows"):
        return free[0], f"--target {free[0]}: the only other column"
    if len(inputs) == 2 and form == "rows":
        counts = {name: len(set(table.column(name))) for name in inputs}
        few, many = sorted(inputs, key=counts.__getitem__)
        if 2 * counts[few] <= counts[many] and few.lower() not in usual:
            return few, f"--target {few}: {counts[few]} values against {counts[many]} in {many!r}"
    elif len(textual) == 1 and len(free) > 1 and textual[0].lower() not in usual:
        return textual[0], f"--target {textual[0]}: the only column that is not numbers"
    return None, ""


def _choose_categories(
    table: Table, options: Options, inputs: list[str], form: str
) -> tuple[tuple[str, ...], str]:
    """Return the columns of categories beside those of numbers, and the note if they are guessed.

    A column of words is guessed to be one if its values repeat, twice on average.
    """
    layout = options.layout
    if options.categories or layout or form == "rows" or options.text or options.values:
        other = layout.categories if layout and not (options.text or options.values) else ()
        return options.categories or other, ""
    numeric = [name for name in inputs if table.numeric(name)]
    textual = [name for name in inputs if name not in numeric]
    if not numeric or any(name.lower() in TOKEN_NAMES for name in textual):
        return (), ""
    found = [name for name in textual if _repeats(table, name)]
    if not found:
        return (), ""
    return tuple(found), f"--categories {','.join(found)}: words that repeat, beside numbers"


def _repeats(table: Table, name: str) -> bool:
    cells = table.column(name)
    return 2 * len(set(cells)) <= len(cells)


def _choose_inputs(
    table: Table, options: Options, inputs: list[str], form: str, *, alone: bool = True
) -> tuple[str | None, tuple[str, ...], str]:
    """Return the column of text or tokens, or the columns of values, and the note.

    Args:
        alone: whether these are all; beside categories there are numbers, or nothing.
    """
    layout = options.layout
    if options.text or options.values:
        return options.text, options.values, ""
    if layout:
        known = (*layout.values, layout.text, layout.target)
        extra = [n for n in inputs if n not in known and table.numeric(n)] if layout.values else []
        unused = f"--values: left out {list_names(extra, 4)}, which the layout does not name"
        return layout.text, layout.values, unused if extra else ""
    steps = form == "steps"
    numeric = [name for name in inputs if table.numeric(name)]
    textual = [name for name in inputs if name not in numeric]
    usual = TOKEN_NAMES if steps else TEXT_NAMES
    named = [
        name
        for word in usual
        for name in inputs
        if name.lower() == word and (name in textual or (not steps and len(numeric) < 3))
    ]
    if not alone:
        if not numeric:
            return None, (), ""
        used, why = numeric, "the columns of numbers" if numeric[1:] else "the column of numbers"
    elif named:
        used, why = named[:1], "by its name"
    elif len(numeric) >= (1 if steps else 3) or (len(numeric) > 1 and not textual):
        used, why = numeric, "the columns of numbers" if numeric[1:] else "the column of numbers"
    elif len(textual) == 1 or len(inputs) == 1:
        used, why = textual or inputs, "the only column left"
    else:
        raise DataError(
            f"several columns could be the sequence: {list_names(inputs)}"
            if inputs
            else f"no column is left to be the sequence; there are {list_names(table.names)}",
            remedy="Choose a column of text with --text NAME, or of numbers with --values NAMES.",
            source=table.source,
            rule="choice",
        )
    left = [name for name in inputs if name not in used]
    why += f"; left out: {list_names(left, 4)}" if left else ""
    if used is numeric:
        short = ",".join(used) if len(used) < 5 else f"{used[0]},...,{used[-1]}"
        return None, tuple(used), f"--values {short}: {why}"
    return used[0], (), f"--text {used[0]}: {why}"


def _refuse_twice(
    table: Table,
    roles: Sequence[tuple[str, str | None]],
    values: tuple[str, ...],
    categories: tuple[str, ...],
) -> None:
    """Refuse a column that does not exist or has two roles."""
    taken: dict[str, str] = {}
    uses = [*roles, *(("--values", name) for name in values)]
    uses += [("--categories", name) for name in categories]
    for flag, name in uses:
        if name is not None:
            table.index(name, f"{flag} NAME")
        if name in taken:
            raise DataError(
                f"column {name!r} is used twice, as {taken[name]} and as {flag}",
                remedy="Name another column for one of them.",
                source=table.source,
                rule="choice",
            )
        if name is not None:
            taken[name] = flag
