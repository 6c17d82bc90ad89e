"""Roles of columns: what the caller may name, what was chosen, and the target, first of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from elman.data.dataset import Format, InputKind, Layout
from elman.data.faults import list_names, unknown_name
from elman.data.table import Table
from elman.errors import SettingsError
from elman.tasks import TASKS, TaskName

# Usual names in public data sets. A name of an earlier line wins; with two of one line the user is
# asked.
TARGET_NAMES = ("label", "labels", "class", "target", "y", "category", "intent", "tag", "tags")
WEAKER_TARGET_NAMES = ("language", "sentiment")
ID_NAMES = ("id", "series_id", "sequence_id", "sample_id", "case_id", "item_id", "sentence_id")
WEAKER_ID_NAMES = ("series", "sequence", "sample", "case", "subject", "patient", "trial", "group")
TIME_NAMES = ("time", "timestamp", "t", "step", "time_step", "timestep", "time_idx", "date")
TEXT_NAMES = ("text", "sentence", "utterance", "message", "review", "tweet", "sequence", "name")
TOKEN_NAMES = ("token", "tokens", "word", "words", "symbol", "char", "character", "text")
# Of cells that hold the sequence of their row, by format.
SEQUENCE_NAMES = {
    "jsonl": ("tokens", "text", "sequence"),
    "arrays": ("x", "data", "inputs", "values", "sequences", "series"),
    "ts": ("series",),
}

# Settings that mean nothing where the format itself says what is series and what is class.
CASE_SETTINGS = ("time_difference", "categories", "target", "text", "values", "id", "time", "group")


@dataclass(frozen=True)
class ReadOptions:
    """What the caller named, and the layout to follow where the caller named nothing.

    Args:
        target, text, values, id, time: names of columns or keys, as the flags of the same name.
        categories: columns or keys of categories.
        time_difference: whether the time since the last step is a channel; None decides by the
            steps.
        group: the column or key of groups, kept with the sequences.
        task: what is to be learned, as `Layout`; None decides by the target.
        labelled: True needs a target, None takes one where there is one, False ignores it.
        layout: an earlier layout of the same format; with one, nothing is guessed.
        notes: what the reader of the file assumed.
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
    """Raise a SettingsError for a setting that `what`, a format, does not have."""
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
        """Add a note, if it says anything."""
        if text:
            self.notes.append(text)


def guess_target_names(names: Sequence[str]) -> list[str]:
    """Return the names that usually mean a label; y beside x and z is a direction in space."""
    small = {name.lower() for name in names}
    for usual in (TARGET_NAMES, WEAKER_TARGET_NAMES):
        found = [name for name in names if name.lower() in usual]
        # x, y, z are an accelerometer's axes; x, y with a label beside them are a position.
        if "x" in small and ("z" in small or len(found) > 1):
            found = [name for name in found if name.lower() != "y"]
        if found:
            return found
    return []


def split_target(target: str, names: Sequence[str]) -> list[str]:
    """Return the columns that a target names, one or several with commas; none if one is not there.

    A column whose own name has a comma in it goes first.
    """
    if target in names:
        return [target]
    parts = [part.strip() for part in target.split(",")]
    return parts if len(parts) > 1 and all(part in names for part in parts) else []


def choose_target(schema: Schema, table: Table, options: ReadOptions) -> list[str]:
    """Set the target that was named, or whose name says that it is one.

    Returns: every column that is a label, whether used or not.
    Raises: DataError when the name is not there, or several names are usual ones.
    """
    layout = options.layout
    if table.format == "ts":  # whose two columns are what they are
        found = [name for name in table.names if not table.columns[name].nested]
        schema.target = () if options.labelled is False else tuple(found)
        return found
    chosen = {options.text, options.id, options.time, options.group}
    chosen |= {*options.values, *options.categories}
    names = list(table.names)
    if table.format == "table":
        # A column that was named for another role is no candidate, whatever its name.
        names = [name for name in names if name not in chosen or name == options.target]
    named = options.target or (layout.target if layout else None)
    # A label column of a layout may be absent when a file is only to be predicted.
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
    """Say what learning a column would mean."""
    column = table.columns[name]
    if table.format == "table":
        return f"({len(set(column.texts())):,} different values)"
    return TASKS["tagging" if column.nested else "classification"].target


def need_target(schema: Schema, table: Table, options: ReadOptions) -> None:
    """Raise a DataError if labels are needed and no column has them."""
    if not schema.target and options.labelled:
        raise table.faults.error(
            "choice",
            f"no {table.noun} is known to be the target; the {table.noun}s are"
            f" {list_names(table.names, 12)}",
            "Say which one holds the label: --target NAME.",
        )


def refuse_twice(schema: Schema, table: Table) -> None:
    """Refuse a column that does not exist or has two roles."""
    taken: dict[str, str] = {}
    roles: list[tuple[str, str | None]] = [("--target", name) for name in schema.target]
    roles += [("--id", schema.id), ("--time", schema.time), ("--group", schema.group)]
    roles += [("--text", schema.text), *(("--values", name) for name in schema.values)]
    # Flags are listed in the order in which a message names them: the earlier role is the one named
    # first.
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
