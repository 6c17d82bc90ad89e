"""Roles of columns: settings of the caller, the chosen roles, and the choice of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from elman.data.dataset import Format, InputKind, Layout
from elman.data.faults import list_names, unknown_name
from elman.data.table import Table
from elman.errors import SettingsError
from elman.tasks import TASKS, TaskName

# Usual names in public data sets. Names in an earlier list win; if two names from one list occur,
# the user has to choose.
TARGET_NAMES = ("label", "labels", "class", "target", "y", "category", "intent", "tag", "tags")
WEAKER_TARGET_NAMES = ("language", "sentiment")
ID_NAMES = ("id", "series_id", "sequence_id", "sample_id", "case_id", "item_id", "sentence_id")
WEAKER_ID_NAMES = ("series", "sequence", "sample", "case", "subject", "patient", "trial", "group")
TIME_NAMES = ("time", "timestamp", "t", "step", "time_step", "timestep", "time_idx", "date")
TEXT_NAMES = ("text", "sentence", "utterance", "message", "review", "tweet", "sequence", "name")
TOKEN_NAMES = ("token", "tokens", "word", "words", "symbol", "char", "character", "text")
# Names of columns whose cells hold whole sequences, by format.
SEQUENCE_NAMES = {
    "jsonl": ("tokens", "text", "sequence"),
    "arrays": ("x", "data", "inputs", "values", "sequences", "series"),
    "ts": ("series",),
}

# Settings without meaning in formats that fix which part is the series and which the class.
CASE_SETTINGS = ("time_difference", "categories", "target", "text", "values", "id", "time", "group")


@dataclass(frozen=True)
class ReadOptions:
    """Settings of the caller, and the layout used for roles that the caller did not set.

    Args:
        target, text, values, id, time: names of columns or keys, as the flags of the same name.
        categories: columns or keys of categories.
        time_difference: whether the time since the last step is a channel; None decides by the
            steps.
        group: the column or key of groups, kept with the sequences.
        task: task to learn, as in `Layout`; None derives it from the target.
        labelled: True requires a target, None uses one if it exists, False ignores it.
        layout: an earlier layout of the same format; with one, nothing is guessed.
        notes: assumptions of the file reader.
    """

    target: str | None = None
    text: str | None = None
    values: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    categories: tuple[str, ...] = ()
    time_difference: bool | None = None
    group: str | None = None
    task: TaskName | None = None
    labelled: bool | None = None
    layout: Layout | None = None
    notes: tuple[str, ...] = ()


def refuse_settings(options: ReadOptions, names: Sequence[str], what: str) -> None:
    """Raise a SettingsError for a setting that the format `what` does not support."""
    for name in names:
        if getattr(options, name):
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
        notes: what was guessed, and the flag that overrides it.
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
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a note unless it is empty."""
        if text:
            self.notes.append(text)


def guess_target_names(names: Sequence[str]) -> list[str]:
    """Return the names that usually denote a label; y with x and z is a coordinate."""
    small = {name.lower() for name in names}
    for usual in (TARGET_NAMES, WEAKER_TARGET_NAMES):
        found = [name for name in names if name.lower() in usual]
        # x, y, z are the axes of an accelerometer; x and y with another label are a position.
        if "x" in small and ("z" in small or len(found) > 1):
            found = [name for name in found if name.lower() != "y"]
        if found:
            return found
    return []


def split_target(target: str, names: Sequence[str]) -> list[str]:
    """Return the columns that a comma-separated target names; empty if one does not exist.

    A column whose own name contains the comma takes precedence.
    """
    if target in names:
        return [target]
    parts = [part.strip() for part in target.split(",")]
    return parts if len(parts) > 1 and all(part in names for part in parts) else []


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
    chosen |= {*options.values, *options.categories}
    names = list(table.names)
    if table.format == "table":
        # A column that was named for another role is not a candidate.
        names = [name for name in names if name not in chosen or name == options.target]
    named = options.target or (layout.target if layout else None)
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
    found = guess_target_names(names)
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
        schema.note(f"--target {found[0]}: by its name")
    return found


def _meaning(table: Table, name: str) -> str:
    """Describe the target that a column would be."""
    column = table.columns[name]
    if table.format == "table":
        return f"({len(set(column.texts())):,} different values)"
    return TASKS["tagging" if column.nested else "classification"].target


def need_target(schema: Schema, table: Table, options: ReadOptions) -> None:
    """Raise a DataError if labels are required and no column is the target."""
    if not schema.target and options.labelled:
        raise table.faults.error(
            "choice",
            f"no {table.noun} is known to be the target; the {table.noun}s are"
            f" {list_names(table.names, 12)}",
            "Say which one holds the label: --target NAME.",
        )


def refuse_twice(schema: Schema, table: Table) -> None:
    """Refuse a column that does not exist or is named for two roles."""
    taken: dict[str, str] = {}
    roles: list[tuple[str, str | None]] = [("--target", name) for name in schema.target]
    roles += [("--id", schema.id), ("--time", schema.time), ("--group", schema.group)]
    roles += [("--text", schema.text), *(("--values", name) for name in schema.values)]
    # The order of the flags determines the message: it names the earlier role of a column first.
    roles += [("--categories", name) for name in schema.categories]
    for flag, name in roles:
        if name is None:
            continue
        table.column(name, f"{flag} NAME")
        if name in taken:
            raise table.faults.error(
                "choice",
                f"{table.noun} {name!r} is used twice, as {taken[name]} and as {flag}",
                "Name another column for one of them.",
            )
        taken[name] = flag
