"""Roles of columns: settings of the caller, the chosen roles, and the choice of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from elman.data.columns import TextColumn
from elman.data.dataset import Format, Guess, InputKind, Layout, Sure
from elman.data.evidence import Evidence, id_tier, split_words, time_tier
from elman.data.faults import list_names, unknown_name
from elman.data.moments import DateOrder
from elman.data.names import (
    LEAST_TARGET_NAMES,
    PERSONAL,
    TEXT_NAMES,
    TOKEN_NAMES,
    guess_target_names,
    is_named,
)
from elman.data.table import Table, rejoin_names
from elman.errors import DataError, SettingsError
from elman.tasks import TASKS, TaskName

if TYPE_CHECKING:
    from elman.data.continued import Continued

# Names of columns whose cells hold whole sequences, by format.
SEQUENCE_NAMES = {
    "jsonl": ("tokens", "text", "sequence"),
    "arrays": ("x", "data", "inputs", "values", "sequences", "series"),
    "ts": ("series",),
}

# Settings without meaning in formats that fix which part is the series and which the class.
CASE_SETTINGS = (
    *("time_difference", "categories", "target", "text", "values", "id", "time", "group"),
    *("channels", "decimal", "dates", "header", "skip_lines", "static"),
)


@dataclass(frozen=True)
class ReadOptions:
    """Settings of the caller, and the layout used for roles that the caller did not set.

    Args:
        target, text, values, id, time: names of columns or keys, as the flags of the same name.
        categories: columns or keys of categories.
        time_difference: whether the time since the last step is a channel; None: if it is uneven.
        group: the column or key of groups, kept with the sequences.
        channels: for `rows`, number of channels; None decides by the names of the columns.
        decimal: decimal mark of the file; None decides by its cells.
        header, skip_lines: whether a line of a table names its columns; lines above the table.
        dates: order of day, month and year in dates such as 01/02/2024; None decides by the cells.
        missing: marks of missing values besides the usual ones; numbers count among numbers.
        static: columns or keys with one value per sequence; `none` for none.
        task: task to learn, as in `Layout`; None derives it from the target.
        labelled: True requires a target, None uses one if it exists, False ignores it.
        layout: an earlier layout of the same format; with one, nothing is guessed.
        notes: assumptions of the file reader.
        continued: what earlier pieces of the file have settled, if it is read in pieces.
        ahead: whether the target is the sequence itself some steps later, so that its columns are
            inputs; `labelled` is then False.
    """

    target: str | None = None
    text: str | None = None
    values: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    categories: tuple[str, ...] = ()
    time_difference: bool | None = None
    group: str | None = None
    channels: int | None = None
    decimal: str | None = None
    header: bool | None = None
    skip_lines: int | None = None
    dates: DateOrder | None = None
    missing: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    task: TaskName | None = None
    labelled: bool | None = None
    layout: Layout | None = None
    notes: tuple[str, ...] = ()
    continued: Continued | None = None
    ahead: bool = False


def refuse_settings(options: ReadOptions, names: Sequence[str], what: str) -> None:
    """Raise a SettingsError for a setting that the format `what` does not support."""
    for name in names:
        if getattr(options, name) not in (None, ()):
            raise SettingsError(
                f"--{name.replace('_', '-')} means nothing for {what}, expected no such setting."
                " Leave it out."
            )


@dataclass
class Schema:
    """The role of each column; filled in by one choice after the other.

    Args:
        format: `rows` and `steps` have a value in a cell, the others a sequence.
        target: the columns of the target.
        static: features with one value per sequence, in the order in which they were named.
        wide: for `rows`, names of the channels whose columns `values` lists one after the other.
        dates: order of day, month and year, if the times are dates that need it.
        seconds: whether the times are in seconds, as dates are, and not in a unit of their own.
        guesses: what was guessed; the faults of the file refer to the same list.
        notes: other remarks.
    """

    format: Format = "rows"
    kind: InputKind = "text"
    target: tuple[str, ...] = ()
    text: str | None = None
    values: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    group: str | None = None
    static: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()
    dates: DateOrder | None = None
    seconds: bool = False
    guesses: list[Guess] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def guess(
        self,
        role: str,
        columns: Sequence[str],
        reason: str,
        sure: Sure = "likely",
        *,
        flag: str = "",
        change: str = "",
    ) -> None:
        """Record a guess.

        Args: as for `Guess`; by default the flag is `--role` with the names of the columns, of
            which only the first and the last are shown if there are many.
        """
        names = list(columns)
        shown = ",".join(names) if len(names) < 5 else f"{names[0]},...,{names[-1]}"
        change = change or f"--{role} {'NAMES' if role in ('values', 'categories') else 'NAME'}"
        flag = flag or (f"--{role} {shown}" if names else change)
        self.guesses.append(Guess(role, tuple(names), reason, flag, change, sure))


def split_target(target: str, names: Sequence[str]) -> list[str]:
    """Return the columns that a comma-separated target names; empty if one does not exist.

    A column whose own name contains the comma takes precedence.
    """
    if target in names:
        return [target]
    parts = rejoin_names([part.strip() for part in target.split(",")], names)
    return list(parts) if all(part in names for part in parts) else []


def choose_target(schema: Schema, table: Table, options: ReadOptions) -> list[str]:
    """Set the target that was named, or the column with a usual name of a target.

    Returns: every column that holds a label, whether used or not.
    Raises: DataError if the named column does not exist or several columns have usual names.
    """
    layout = options.layout
    if table.format == "ts":  # the format fixes the roles of its columns
        found = [name for name in table.names if not table.columns[name].nested]
        schema.target = () if options.labelled is False else tuple(found)
        return found
    chosen = {options.text, options.id, options.time, options.group}
    chosen |= {*options.values, *options.categories, *schema.static}
    names = list(table.names)
    if table.format == "table":
        # A column that was named for another role is not a candidate.
        names = [name for name in names if name not in chosen or name == options.target]
    named = options.target or (layout.target if layout else None)
    if options.ahead:
        own = (named or "").split(",")
        found = guess_target_names(names, lambda name: _repeats_as_labels(table, name))
        return [name for name in found if name not in (named, *(part.strip() for part in own))]
    # The label column of a layout may be absent from a file that is only used for prediction.
    if named is not None:
        if found := split_target(named, names):
            schema.target = () if options.labelled is False else tuple(found)
            return found
        if options.labelled is False or (options.labelled is None and not options.target):
            return []
        raise unknown_name(named, names, "--target NAME", table.noun, table.faults.source)
    # The layout was made without labels, so a label column here is not the target of the model.
    if layout and not options.labelled:
        return []
    found = guess_target_names(names, lambda name: _repeats_as_labels(table, name))
    if _is_coordinate(table, names, found):
        found = []
    if options.labelled is False:
        return found
    if len(found) > 1:
        choices = ", ".join(f"`--target {name}` {_meaning(table, name)}" for name in found)
        raise table.faults.error(
            "choice",
            f"{len(found)} {table.noun}s could be the target: {list_names(found)}",
            f"Choose one: {choices}.",
        )
    if found:
        schema.target = (found[0],)
        agrees = table.format != "table" or may_be_labels(table, found[0])
        sure: Sure = "likely" if is_named(found[0], LEAST_TARGET_NAMES) else "sure"
        schema.guess("target", found, "by its name", sure if agrees else "unsure")
    return found


def _is_coordinate(table: Table, names: Sequence[str], found: Sequence[str]) -> bool:
    """Whether the only name found is y, beside x and a column of words that may be the label."""
    if table.format != "table" or len(found) != 1 or not is_named(found[0], ("y",)):
        return False
    words = (n for n in names if not table.columns[n].is_numeric and not id_tier(n))
    return any(is_named(n, ("x",)) for n in names) and any(
        not time_tier(n) and may_be_labels(table, n, gaps=0.0) for n in words
    )


def _repeats_as_labels(table: Table, name: str) -> bool:
    """Whether a column may be labels, and is no measurement with fractions, such as a phase."""
    column = table.columns[name]
    values = column.known_numbers() if isinstance(column, TextColumn) else None
    measured = values is not None and len(values) > 20 and bool((values % 1 != 0).any())
    return may_be_labels(table, name, gaps=0.0) and not measured


def may_be_labels(table: Table, name: str, gaps: float = 0.1) -> bool:
    """Whether the cells repeat as labels do, or are numbers with fractions, and few are missing.

    Args:
        gaps: share of the cells that may be missing.
    """
    column = table.columns[name]
    if table.format != "table":
        return not column.nested
    assert isinstance(column, TextColumn)
    missing = int(column.missing().sum())
    few = len(column.different()) <= max(20, len(table) // 2)
    values = None if few or not gaps else column.known_numbers()
    fractions = values is not None and bool((values % 1 != 0).any())
    return missing <= max(1 if gaps else 0, gaps * len(table)) and (few or fractions)


def guess_target(
    schema: Schema, evidence: Evidence, options: ReadOptions, inputs: list[str]
) -> None:
    """Set the target if only one column can be the label."""
    table = evidence.table
    if schema.format == "rows" and _guess_target_of_ucr(schema, evidence, options, inputs):
        return
    rows = schema.format == "rows"
    chosen = [n for n in (options.text, *options.values) if n]
    free = [name for name in inputs if name not in chosen]
    # Columns named as inputs are not candidates for the label.
    textual = [name for name in free if not table.columns[name].is_numeric]
    usual = TEXT_NAMES if rows else TOKEN_NAMES
    # If inputs were named and one column remains, it is most likely the label.
    if len(free) == 1 and chosen and (textual or rows):
        schema.target = (free[0],)
        schema.guess("target", free, "the only other column")
        return
    if len(inputs) == 2 and rows:
        counts = {name: evidence.distinct(name) for name in inputs}
        few, many = sorted(inputs, key=counts.__getitem__)
        # Labels repeat and texts do not: a label has at most half as many distinct values.
        if 2 * counts[few] <= counts[many] and not is_named(few, usual):
            schema.target = (few,)
            why = f"{counts[few]} values against {counts[many]} in {many!r}"
            schema.guess("target", [few], why)
        return
    # The weakest evidence comes last: a column of remarks would be mistaken for a label.
    labels = [name for name in textual if not is_named(name, usual) and not id_tier(name)]
    # Whoever learns the sex of a patient says so; it is more often a property.
    if len(labels) == 1 and PERSONAL.intersection(split_words(labels[0])):
        return
    if len(labels) == 1 and len(free) > 1 and may_be_labels(table, labels[0], 0.01):
        constant = not rows and not evidence.changes_within(labels[0], evidence.starts(schema.id))
        sure: Sure = "likely" if rows or constant else "unsure"
        schema.target = (labels[0],)
        schema.guess("target", labels, "the only column that is not numbers", sure)


def label_candidates(evidence: Evidence, inputs: list[str], schema: Schema) -> list[str]:
    """Return the columns that could hold the label, for the question which one it is."""
    table = evidence.table
    inputs = [name for name in inputs if not id_tier(name)]
    textual = [name for name in inputs if not table.columns[name].is_numeric]
    others = [name for name in inputs if name not in textual]
    if schema.format == "steps" and schema.id in table.columns:
        starts = evidence.starts(schema.id)
        constant = [name for name in others if not evidence.changes_within(name, starts)]
        if constant:
            return textual + constant
    few = [n for n in others if not evidence.has_fractions(n) and evidence.distinct(n) <= 20]
    return textual + few


def _guess_target_of_ucr(
    schema: Schema, evidence: Evidence, options: ReadOptions, inputs: list[str]
) -> bool:
    """Set the target of a file of the UCR archive: no header, and the class comes first."""
    table = evidence.table
    if table.header or len(inputs) < 4 or options.values:
        return False
    first, *others = inputs
    # Units and their cycles, as of engines, are no classes and values.
    cycles = not evidence.has_fractions(others[0]) and evidence.is_contiguous(first)
    if cycles and evidence.rises(others[0], evidence.starts(first)) == 1:
        return False
    codes = table.columns[first].is_numeric and not evidence.has_fractions(first)
    few = 2 * evidence.distinct(first) <= len(table)
    if codes and few and any(map(evidence.has_fractions, others)):
        schema.target = (first,)
        why = "few whole numbers in the first column of a file without a header, as in the UCR"
        schema.guess("target", [first], f"{why} archive", "sure")
    return bool(schema.target)


def _meaning(table: Table, name: str) -> str:
    """Describe the target that a column would be."""
    column = table.columns[name]
    if isinstance(column, TextColumn):
        gaps = int(column.missing().sum())
        empty = f", {gaps:,} of {len(table):,} cells empty" if gaps else ""
        return f"({len(set(column.different()) - {''}):,} different values{empty})"
    return TASKS["tagging" if column.nested else "classification"].target


def need_target(
    schema: Schema, table: Table, options: ReadOptions, candidates: Sequence[str] = ()
) -> None:
    """Raise a DataError if labels are required and no column is the target.

    Args:
        candidates: columns that could hold the label, which the message describes.
    """
    if schema.target or not options.labelled:
        return
    described = [f"`--target {name}` {_meaning(table, name)}" for name in candidates[:4]]
    remedy = "Say which one holds the label: --target NAME."
    if described:
        remedy = f"{remedy.rstrip('.')}, for example {' or '.join(described)}."
    elif schema.format == "steps":
        remedy += " To forecast, add a column with the number to predict at every step."
    raise table.faults.error(
        "choice",
        f"no {table.noun} is known to be the target; the {table.noun}s are"
        f" {list_names(table.names, 12)}",
        remedy,
    )


def ask_for_inputs(table: Table, inputs: list[str]) -> DataError:
    """Return the question which of several columns is the sequence."""
    return table.faults.error(
        "choice",
        f"several columns could be the sequence: {list_names(inputs)}"
        if inputs
        else f"no column is left to be the sequence; there are {list_names(table.names)}",
        "Choose a column of text with --text NAME, or of numbers with --values NAMES.",
    )


def refuse_twice(schema: Schema, table: Table) -> None:
    """Refuse a column that does not exist or is named for two roles."""
    taken: dict[str, str] = {}
    roles: list[tuple[str, str | None]] = [("--target", name) for name in schema.target]
    roles += [("--id", schema.id), ("--time", schema.time), ("--group", schema.group)]
    # A static feature that is also named as a category is a category, whatever its cells hold.
    roles += [("--static", name) for name in schema.static]
    roles += [("--text", schema.text), *(("--values", name) for name in schema.values)]
    # The order of the flags determines the message: it names the earlier role of a column first.
    categories = (name for name in schema.categories if name not in schema.static)
    roles += [("--categories", name) for name in categories]
    for flag, name in roles:
        if name is None:
            continue
        if name not in table.joined:
            table.column(name, f"{flag} NAME")
        if name in taken:
            raise table.faults.error(
                "choice",
                f"{table.noun} {name!r} is used twice, as {taken[name]} and as {flag}",
                "Name another column for one of them.",
            )
        taken[name] = flag
