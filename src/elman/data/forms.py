"""The form of the numbers in every column of a table, settled once and said.

A column's own cells decide its form, except where they can be read in two ways: 1,234 is then read
as the other columns of the file are, or as in an earlier file, and asked about if nothing tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from elman.data.columns import NumberColumn, TextColumn
from elman.data.dataset import Guess, Layout, Sure
from elman.data.faults import format_count, is_number, list_names
from elman.data.numbers import Evidence, NumberForm, examine, find_form, look
from elman.data.roles import ReadOptions, Schema
from elman.data.series import expand_steps, find_series_cells
from elman.data.table import Table
from elman.data.units import MARKS, UNSAID

_SHOWN = 3  # columns or marks listed in one guess


def missing_marks(options: ReadOptions) -> tuple[str, ...]:
    """Return the marks of missing values that the caller, or an earlier file, added."""
    return options.missing or (options.layout.missing if options.layout else ())


def settle_forms(table: Table, options: ReadOptions) -> Table:
    """Set the form of the numbers in every column of text; return the table with it.

    Raises: DataError if a mark may separate thousands as well as decimals; if a column is in
        another unit than in an earlier file.
    """
    columns = {
        name: column
        for name, column in table.columns.items()
        if isinstance(column, TextColumn) and not isinstance(column, NumberColumn)
    }
    layout = options.layout
    missing = missing_marks(options)
    for each in table.columns.values():
        each.sentinels = tuple(float(mark) for mark in missing if is_number(mark))
        each.marks = missing
    # Words that repeated beside the numbers of an earlier file may stand once in this one.
    gaps = (*missing, *(layout.number_marks if layout else ()))
    seen = {name: examine(column.sample(), gaps) for name, column in columns.items()}
    known = options.decimal or (layout.decimal if layout else None)
    if known == "," or any(own.commas for own in seen.values()):
        # Plain numbers such as 1.234 may be thousands if other columns have decimal commas.
        for name, own in seen.items():
            if own.plain and own.points:
                seen[name] = examine(own.cells, gaps, closely=True)
    chosen, asked = _choose_decimals(seen, options.decimal, known)
    for name, column in columns.items():
        form = find_form(seen[name], chosen[name], gaps)
        # Marks alone, in a table with columns of numbers, are the gaps of one more.
        bare = seen[name].marked and not seen[name].size and _has_numbers(seen, name)
        if form is None and (column.declared_numeric or bare):
            form = NumberForm.plain(gaps)
        column.settle(form)
    if asked := [name for name in asked if columns[name].form is not None]:
        _ask(table, asked[0], seen[asked[0]])
    if layout is not None:
        _check_units(table, dict(zip(layout.values, layout.units, strict=False)))
    series = find_series_cells(table, options)
    table = dataclasses.replace(table, columns={**table.columns, **series}) if series else table
    # A channel of a step that an earlier file had in the cells of one column.
    of_steps = layout is not None and layout.format == "steps"
    return expand_steps(table, tuple(series))[0] if of_steps else table


def _has_numbers(columns: Mapping[str, Evidence], apart: str) -> bool:
    """Whether the cells of a column other than `apart` are numbers."""
    return any(n != apart and e.size and (e.plain or e.numbers) for n, e in columns.items())


def _choose_decimals(
    columns: Mapping[str, Evidence], decimal: str | None, known: str | None
) -> tuple[dict[str, str | None], list[str]]:
    """Return the decimal mark of each column, None for unknown, and the columns to ask about.

    Args:
        decimal: the mark that the caller named.
        known: the mark of an earlier file, for columns that may be read in two ways.
    """
    own = {name: seen.mark for name, seen in columns.items()}
    marks = [mark for mark in own.values() if mark]
    pointed = any(seen.points for seen in columns.values())
    # 1,234.5 in any column shows that commas separate thousands.
    thousands = any(
        seen.count("both", ",") + seen.count("several", ",") for seen in columns.values()
    )
    chosen: dict[str, str | None] = {}
    asked: list[str] = []
    for name, seen in columns.items():
        commas, unclear = seen.decimals(","), seen.count("groups", ",")
        several = seen.count("several", ".")
        if decimal is not None:
            clear = seen.decimals(".") and not commas and not several
            chosen[name] = "." if decimal == "." or clear else ","
        elif own[name] is not None:
            few = commas + unclear < 2 / 3 * seen.size and not several
            # Where other columns have points, a few commas are mistakes, reported as faults.
            mistaken = own[name] == "," and pointed and few and not seen.count("both")
            chosen[name] = "." if mistaken else own[name]
        elif unclear:
            # Whoever separates thousands separates all of them, and leaves 950 as it is.
            grouped = seen.count("integer") >= 2 and len(seen.numbers) >= 10
            if known:
                chosen[name] = known
            elif "," in marks or seen.count("long"):
                chosen[name] = ","
            else:
                chosen[name] = "." if grouped or thousands else None
                asked += [] if chosen[name] else [name]
        elif seen.count("groups", ".") and (known or marks.count(",")) and not seen.count("long"):
            chosen[name] = known
            asked += [] if known else [name]
        else:
            chosen[name] = None
    return chosen, asked


def _ask(table: Table, name: str, seen: Evidence) -> None:
    """Raise the question whether a mark separates decimals or thousands."""
    cell = next(n.body for n in seen.numbers if n.kind == "groups")
    mark = "," if "," in cell else "."
    decimal, whole = cell.replace(",", "."), cell.replace(mark, "")
    flags = {",": ("--decimal ,", "--decimal ."), ".": ("write 1,5 for 1.5 in it", "--decimal ,")}
    first, second = flags[mark]
    raise table.faults.error(
        "choice",
        f"{cell!r} in column {name!r} may be a decimal number or thousands",
        f"If {cell} means {decimal}: {first}  If it means {whole}: {second}",
    )


def _check_units(table: Table, units: Mapping[str, str]) -> None:
    """Refuse a column whose cells have another unit than in the earlier file."""
    for name, unit in units.items():
        column = table.columns.get(name)
        found = column.unit if column is not None else ""
        if unit and found and found != unit:
            raise table.faults.error(
                "unit",
                f"the numbers of column {name!r} are in {found}, expected {unit} as before",
                f"Convert them to {unit}.",
            )


def tell_forms(schema: Schema, table: Table) -> None:
    """Record how the numbers of the columns that are read differ from plain ones."""
    read = [*schema.values, *schema.target, *([schema.time] if schema.time else [])]
    columns = [table.columns[name] for name in read if name in table.columns]
    texts = [c for c in columns if isinstance(c, TextColumn) and not isinstance(c, NumberColumn)]
    texts = [column for column in texts if column.form is not None]
    _tell_decimals(schema, texts)
    for column in texts:
        form = column.form
        if form is None or column.name in schema.target:
            continue
        change = f"--categories {column.name} reads it as categories"
        change = "--time NAME" if column.name == schema.time else change
        if form.unit:
            example = next(n.strip() for n in column.sample() if form.unit in n)
            why = f"its numbers have this unit, as in {example!r}"
            flag = f"{column.name} in {form.unit}"
            schema.guess("unit", [column.name], why, "sure", flag=flag, change=change)
        if form.brackets:
            example = next(n.strip() for n in column.sample() if "(" in n)
            why = f"brackets mean a negative number, as in {example!r}"
            flag = f"{column.name} with brackets"
            schema.guess("sign", [column.name], why, "likely", flag=flag, change=change)
        if form.apart:
            cells = (cell.strip() for cell in column.sample())
            example = next(cell for cell in cells if (seen := look(cell)) and seen.apart)
            why = f"{example!r} is read as the number in it"
            flag = f"{column.name} without marks"
            schema.guess("sign", [column.name], why, "likely", flag=flag, change=change)
    values = {*schema.values}
    _tell_missing(schema, [c for c in texts if c.name in values])


def _tell_decimals(schema: Schema, columns: Sequence[TextColumn]) -> None:
    commas = [c for c in columns if c.form is not None and c.form.decimal == ","]
    if commas:
        example = next((n.strip() for n in commas[0].sample() if "," in n), "")
        names = [column.name for column in commas]
        mixed = any(
            c.form is not None and c.form.decimal == "." and _has_points(c) for c in columns
        )
        why = f"numbers such as {example} in {list_names(names, _SHOWN)}"
        sure: Sure = "likely" if mixed else "sure"
        schema.guesses.append(
            Guess("decimal", tuple(names), why, "--decimal ,", "--decimal .", sure)
        )
    grouped = [c for c in columns if c.form is not None and c.form.thousands]
    for column in grouped:
        assert column.form is not None
        example = next(
            n.strip() for n in column.sample() if set(n.strip()) & set(column.form.thousands)
        )
        why = f"{example!r} is one number, with a mark between thousands"
        flag = f"thousands in {column.name}"
        change = (
            "--decimal , reads commas as decimals"
            if "," in column.form.thousands
            else (f"--categories {column.name} reads it as categories")
        )
        schema.guess("thousands", [column.name], why, "likely", flag=flag, change=change)


def _has_points(column: TextColumn) -> bool:
    return any("." in cell for cell in column.sample())


def _tell_missing(schema: Schema, columns: Sequence[TextColumn]) -> None:
    """Record the marks that are read as missing values, with their counts."""
    counts: dict[str, dict[str, int]] = {}
    for column in columns:
        named = {mark.lower() for mark in column.marks}
        for mark, count in column.count_marks().items():
            if mark.lower() not in named:
                counts.setdefault(mark, {})[column.name] = count
    for mark, found in counts.items():
        names = list(found)
        cells = format_count(sum(found.values()), "cell")
        usual = mark.lower() in MARKS
        what = "beside numbers" if usual else f"{mark!r} repeats beside numbers"
        schema.guess(
            "missing",
            names,
            f"{cells} of {list_names(names, _SHOWN)}, {what}",
            "sure" if usual else "likely",
            flag=f'--missing "{mark}"' if " " in mark else f"--missing {mark}",
            change=f"--categories {names[0]} reads the column as categories",
        )


def _words_for_gaps(table: Table, options: ReadOptions) -> tuple[str, ...]:
    """Return the words that were taken for gaps, here and in the earlier file."""
    found = dict.fromkeys(options.layout.number_marks if options.layout else ())
    named = {mark.lower() for mark in missing_marks(options)}
    for column in table.columns.values():
        form = column.form if isinstance(column, TextColumn) else None
        found |= dict.fromkeys(sorted(form.marks - MARKS - named) if form else ())
    return tuple(found)


def note_forms(layout: Layout, table: Table, options: ReadOptions) -> Layout:
    """Return the layout with what is needed to read the numbers of another file alike."""
    before = options.layout
    forms = [c.form for c in table.columns.values() if isinstance(c, TextColumn) and c.form]
    decimal = options.decimal or (before.decimal if before else None)
    if any(form.decimal == "," for form in forms):
        decimal = decimal or ","
    elif any("," in form.thousands for form in forms):
        decimal = decimal or "."
    units = tuple(table.columns[name].unit for name in layout.values if name in table.columns)
    if before is not None and before.values == layout.values and not any(units):
        units = before.units
    return dataclasses.replace(
        layout,
        decimal=decimal,
        missing=missing_marks(options),
        number_marks=_words_for_gaps(table, options),
        units=units if any(units) else (),
    )


def read_written(
    lists: list[list[Any]], name: str, form: NumberForm | None, marks: tuple[str, ...]
) -> tuple[list[list[Any]], str]:
    """Return lists with numbers in place of text that holds them, and a note, or ''.

    Args:
        name: key of the lists, for the note.
        form: of numbers that are written as text; None to read only marks of missing values.
        marks: of missing values, besides the usual ones.
    """
    texts = list({cell for row in lists for cell in flatten_once(row) if isinstance(cell, str)})
    if not texts:
        return lists, ""
    numbers, bad = (form or NumberForm.plain(marks)).parse(texts)
    pairs = zip(texts, numbers.tolist(), bad.tolist(), strict=True)
    known = {text: v for text, v, wrong in pairs if not wrong and (form or v != v)}
    gaps = [t for t, value in known.items() if value != value and t.lower() not in UNSAID]
    notes = [f"{name!r}: numbers written as text are read as numbers"] if form else []
    notes += [f"{name!r}: read as missing: {list_names(sorted(gaps), 5)}"] if gaps else []

    def replace(value: Any) -> Any:
        if isinstance(value, list):
            return [replace(inner) for inner in value]
        return known.get(value, value) if isinstance(value, str) else value

    return [replace(row) for row in lists], "; ".join(notes)


def flatten_once(values: list[Any]) -> Iterator[Any]:
    """Yield the values of a list, and of the lists in it."""
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value
