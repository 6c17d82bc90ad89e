"""Read a file, folder or frame as a dataset; unspecified roles are guessed and noted."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from elman.data.ahead import Future
from elman.data.as_before import FORMATS, KIND_NAMES, check_kind, compare, formats_of
from elman.data.build import build_dataset
from elman.data.continued import read_whole_sequences
from elman.data.dataset import Dataset, Layout
from elman.data.faults import Faults, guard
from elman.data.forms import note_forms, settle_forms, tell_forms
from elman.data.melted import spread_variables
from elman.data.moments import DateOrder
from elman.data.readers import TextFile, load_text, refuse_missing
from elman.data.readers.arff import read_arff
from elman.data.readers.arrays import read_arrays
from elman.data.readers.conll import holds_sentences, read_conll
from elman.data.readers.csv import read_csv
from elman.data.readers.dialect import HEAD
from elman.data.readers.folder import name_sequences, read_folder
from elman.data.readers.frames import levels_of, load_frame, read_frame
from elman.data.readers.json import Document
from elman.data.readers.records import read_json
from elman.data.readers.ts import read_ts
from elman.data.roles import CASE_SETTINGS, ReadOptions, refuse_settings
from elman.data.schema import choose_schema
from elman.data.series import expand_steps
from elman.data.table import Table
from elman.data.targets import find_doubtful_labels
from elman.data.text import Unit
from elman.errors import SettingsError, nearest
from elman.formats import KINDS, PACKED, READABLE, ending_of
from elman.tasks import TASKS, TaskName

# Endings that do not determine the content.
_OPEN = ("", ".txt", ".dat", ".data")


@guard
def read(
    data: str | os.PathLike[str] | Any,
    *,
    layout: Layout | None = None,
    format: str | None = None,  # noqa: A002
    target: str | None = None,
    text: str | None = None,
    values: str | Sequence[str] | None = None,
    id: str | None = None,  # noqa: A002
    time: str | None = None,
    categories: str | Sequence[str] | None = None,
    time_difference: bool | None = None,
    group: str | None = None,
    channels: int | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    skip_lines: int | None = None,
    dates: DateOrder | None = None,
    missing: str | float | Sequence[str | float] | None = None,
    static: str | Sequence[str] | None = None,
    task: TaskName | None = None,
    labelled: bool | None = None,
    ahead: int | None = None,
    tokens: Unit | Literal["auto"] = "auto",
) -> Dataset:
    """Read labelled sequences from a file, a folder of files, or a data frame.

    Roles that are not specified are guessed from names and content; see `layout.guesses`.
    Args:
        data: path of a CSV, TSV, JSON lines, Parquet, Feather, Arrow, `.ts`, `.arff`, `.npz` or
            `.npy` file, text in UTF-8; of a folder with a file per sequence, in subfolders named
            after the classes; or a data frame, in which an index of two levels holds the sequence
            and its time.
        layout: of an earlier read, to read this file alike; other arguments override it.
        format: `rows` (a row per sequence), `steps` (a row per time step), `jsonl` (JSON lines, or
            rows of lists), `ts`, `arrays` or `folder`.
        target, text: column or key of the label, and of the text or tokens.
        values: columns of numbers, as a sequence of names or one comma-separated string; `a:b`
            means all columns from a to b. For `jsonl` one key, for `arrays` one array.
        id, time: for `steps`, the column that names the sequence of each row, or several, as in
            `subject,trial`; and the column of times, which must increase within a sequence.
        categories: for `steps` and `jsonl`, columns or keys of categories, written like `values`.
        time_difference: whether the time since the last step is a channel; None: if it is uneven.
        group: column or key of the group of each sequence; constant within a sequence.
        channels: for `rows`, channels into which the values are divided; None reads their names.
        decimal: decimal mark of the numbers in a text file, `.` or `,`; None decides by the cells.
        header, skip_lines: whether a line of a table is its header; lines above the table.
        dates: order of dates such as 01/02/2024, `dmy`, `mdy` or `ymd`.
        missing, static: further marks of missing values, such as `ND` or -999; and columns or keys
            with one value per sequence, or "none"; both written like `values`.
        task: task to learn: `classification`, `multilabel`, `tagging` or `regression`.
        labelled: True requires a target, None uses one if it exists, False ignores it.
        ahead, tokens: predict the sequence itself so many steps later, of which `target` names the
            channels; text is then split into this unit.
    Raises: DataError with the place of every fault; SettingsError for an unsupported argument.
    """
    settings = {
        "target": target,
        "text": text,
        "values": values,
        "id": id,
        "time": time,
        "categories": categories,
        "time_difference": time_difference,
        "group": group,
        "channels": channels,
        "decimal": decimal,
        "header": header,
        "skip_lines": skip_lines,
        "dates": dates,
        "missing": missing,
        "static": static,
        "task": task,
        "labelled": labelled,
        "ahead": ahead,
        "tokens": tokens,
    }
    options, future = make_options(settings, layout, format)
    return _read_as(data, format, options, future)


def make_options(
    settings: Mapping[str, Any], layout: Layout | None, form: str | None
) -> tuple[ReadOptions, Future]:
    """Return the options of `read` from its arguments, by their names, checked.

    Raises: SettingsError for arguments that exclude each other.
    """
    lists = {
        name: _split_names(settings.get(name))
        for name in ("values", "categories", "static", "missing")
    }
    _check_settings(settings.get("text"), lists["values"], lists["categories"], form)
    rest = {**settings, **lists}
    unit: Any
    ahead, unit = rest.pop("ahead", None), rest.pop("tokens", None)
    target, task, labelled = (rest.get(name) for name in ("target", "task", "labelled"))
    future = Future.of(ahead, target, unit or "auto", task, labelled, layout)
    rest["target"], rest["labelled"] = future.target, future.read_labels
    rest["task"] = None if future.steps else task
    return ReadOptions(**rest, ahead=future.steps > 0, layout=layout), future


def _read_as(
    data: str | os.PathLike[str] | Any, form: str | None, options: ReadOptions, future: Future
) -> Dataset:
    """Read data of any kind with these options; `format` and `layout` of `read` are still open."""
    layout = options.layout
    faults, kind, content, note, levels = _open_data(data, form)
    if layout is not None and form is None:
        check_kind(kind, layout, faults)
    before = layout.format if layout else None
    options = dataclasses.replace(
        options,
        id=options.id or levels[0],
        time=options.time or levels[1],
        # Another format has other columns, to which the layout does not apply.
        layout=layout if form in (None, before) else None,
    )
    dataset = read_content(kind, content, faults, options, form or before)
    return finish(future.look_ahead(dataset), layout, faults, form is None, note)


def finish(
    dataset: Dataset, layout: Layout | None, faults: Faults, same: bool, note: str
) -> Dataset:
    """Return a dataset with all its notes, after comparing it with an earlier layout."""
    if layout is not None:
        compare(dataset, layout, faults, same)
    notes = (note, *dataset.layout.notes, *(find_doubts(dataset) if layout is None else ()))
    how = dataclasses.replace(dataset.layout, notes=tuple(filter(None, notes)))
    return dataclasses.replace(dataset, layout=how)


def _open_data(
    data: str | os.PathLike[str] | Any, form: str | None
) -> tuple[Faults, str, Any, str, tuple[str | None, str | None]]:
    """Return what collects the faults, what `_open` does, and the names of an index's levels."""
    if isinstance(data, Document):  # the records of a request
        return Faults(""), "jsonl", data, "", (None, None)
    if not isinstance(data, str | os.PathLike):
        content, levels = levels_of(data)
        return Faults("the frame"), "frame", content, "", levels
    faults = Faults(str(Path(data)))
    return faults, *_open(Path(data), faults, form), (None, None)


def read_content(
    kind: str, content: Any, faults: Faults, options: ReadOptions, form: str | None
) -> Dataset:
    """Read an opened file or frame, and refuse a target that does not match `--task`."""
    task = options.task
    with faults:
        if kind != "jsonl":
            what = f"the format {kind}" if kind in FORMATS else KIND_NAMES[kind]
            refuse_settings(options, _REFUSED.get(kind, ()), what)
        table, options, form = _read_table(kind, content, faults, options, form)
        # Only reading a frame or JSON shows whether it holds a sequence in a row.
        if table.format == "jsonl":
            refuse_settings(options, _REFUSED["jsonl"], "the format jsonl")
        table, melted = spread_variables(table, options)
        if options.continued is not None:
            table, schema = read_whole_sequences(table, options, form)
        else:
            table = settle_forms(table, options)
            schema = choose_schema(table, options, form)
        if schema.format == "steps":
            table, schema.values = expand_steps(table, schema.values)
        tell_forms(schema, table)
        dataset = build_dataset(table, schema, options)
        layout = note_forms(dataset.layout, table, options)
        dataset = dataclasses.replace(dataset, layout=dataclasses.replace(layout, melted=melted))
    if kind == "folder":
        dataset = name_sequences(dataset, table)
    if task is not None and dataset.target is not None and dataset.task != task:
        raise faults.error(
            "label",
            f"the target holds {TASKS[dataset.task].target}, expected {TASKS[task].target} for"
            f" --task {task}",
            "Name another with --target NAME, or leave --task out.",
        )
    return dataset


def _split_names(names: str | float | Sequence[str | float] | None) -> tuple[str, ...]:
    """Return names, or marks, as a tuple; a string is split at commas."""
    if isinstance(names, str | int | float):
        return tuple(name.strip() for name in str(names).split(","))
    return tuple(map(str, names or ()))


def _check_settings(
    text: str | None, values: Sequence[str], categories: Sequence[str], form: str | None
) -> None:
    """Refuse settings that exclude each other, and an unknown format."""
    if text and categories:
        raise SettingsError(
            "--text and --categories exclude each other: tokens beside other columns are"
            " categories. Name all of them with --categories."
        )
    if text and values:
        raise SettingsError(
            "--text and --values exclude each other: a sequence is text or tokens, or numbers."
        )
    if form is not None and form not in FORMATS:
        raise SettingsError(
            f"unknown format {form!r}, expected one of {', '.join(FORMATS)}."
            f"{nearest(form, FORMATS)}"
        )


def _read_table(
    kind: str, content: Any, faults: Faults, options: ReadOptions, form: str | None
) -> tuple[Table, ReadOptions, str | None]:
    """Read any kind of file into a table.

    Returns: the table; the options, with what the file declares; `rows` or `steps`, if known.
    """
    layout, note = options.layout, ""
    if kind == "folder":
        return read_folder(content, faults, options)
    if kind == "arrays":
        return *read_arrays(content, faults, options), form
    known = bool(layout and layout.blocks)
    blocks = kind == "table" and form != "rows" and (known or content.has_blank_lines())
    if kind == "ts":
        table = read_ts(content, faults, options)
    elif kind == "conll":
        table, options, form = read_conll(content, faults, options)
    elif blocks and holds_sentences(content, faults, layout):
        table, options, form = read_conll(content.text(), faults, options)
    elif kind == "jsonl":
        table, options, form = read_json(content, faults, options, form)
    elif kind == "arff":
        table, note = read_arff(content, faults, options, form)
    elif kind == "frame":
        table = read_frame(content, faults, options, records=form == "jsonl")
    else:
        table = read_csv(content, faults, options)
    if note:
        options = dataclasses.replace(options, notes=(*options.notes, note))
    return table, options, form


def _open(path: Path, faults: Faults, form: str | None) -> tuple[str, Any, str]:
    """Return the kind of file, its text, path or frame, and a note if the kind was guessed."""
    ending = ending_of(path.name)
    kind = "folder" if path.is_dir() else KINDS.get(ending, "")
    if kind in ("folder", "arrays", "frame", "arff"):
        refuse_missing(path, faults.source)
        if kind != "arff" and path.suffix.lower() in PACKED:
            remedy = "Unpack it first; Parquet, Feather, Arrow and .npz are compressed inside."
            raise faults.error("compressed", f"a compressed {ending} file is not read", remedy)
        if form is not None and kind not in FORMATS[form]:
            raise faults.error(
                "format",
                f"--format {form} is given, and this is {KIND_NAMES[kind]}",
                f"Leave it out, or give --format {formats_of(kind)}.",
            )
        if kind == "frame":
            return kind, load_frame(path, faults.source), ""
        return kind, load_text(path, faults.source) if kind == "arff" else path, ""
    file = TextFile(path, faults.source)
    kind, note = kind_of_text(file, path.name, faults, form)
    # A table is read in pieces.
    return kind, file if kind == "table" else file.text(), note


def kind_of_text(file: TextFile, name: str, faults: Faults, form: str | None) -> tuple[str, str]:
    """Return the kind of a file of text, and a note if it was guessed.

    Args:
        file: the text, or its beginning.
        name: of the file.
    Raises: DataError for an ending that no reader knows, or that the content contradicts.
    """
    ending = ending_of(file.name or name)
    kind = KINDS.get(ending, "")
    if form is not None:
        # JSON can hold a table too; any other text is what the format says.
        kind = kind if kind in ("jsonl", "conll") and kind in FORMATS[form] else FORMATS[form][0]
        if kind in ("arrays", "folder"):
            raise faults.error(
                "format",
                f"--format {form} is given, and this is a text file",
                f"Leave it out; elman reads {READABLE}.",
            )
        return kind, ""
    if kind:
        # A CSV file may start with a brace in a cell, but hardly with the key of an object.
        if kind == "table" and "".join(file.beginning()[:50].split())[:2] in ('{"', "[{"):
            raise faults.error(
                "format",
                f"the name ends in {ending!r}, but the file holds JSON objects",
                "Rename it to .jsonl or give --format jsonl.",
            )
        return kind, ""
    if ending not in _OPEN:
        raise faults.error(
            "ending",
            f"files ending in {ending!r} are not read; elman reads {READABLE}",
            "Save it as one of these, or say what it holds with --format.",
        )
    # Where the ending does not decide, the first character does; anything else is a table.
    first = file.beginning()
    if first.startswith("{") or "".join(first[:50].split())[:2] in ("[{", "[[", '["'):
        return "jsonl", "--format jsonl: the text begins as JSON does"
    # Comments and tokens of other files start with # as well.
    if first.startswith("@") or (first.startswith("#") and "\n@" in file.head(HEAD)):
        return "ts", "--format ts: the first line is a header of such files"
    return "table", ""


def find_doubts(dataset: Dataset) -> tuple[str, ...]:
    """Return notes on labels that look like typing mistakes or marks of missing labels."""
    if dataset.target is None or not TASKS[dataset.task].single_label:
        return ()
    classes = list(map(str, dict.fromkeys(dataset.labels())))
    return tuple(
        f"--target {dataset.layout.target}: {doubt}" for doubt in find_doubtful_labels(classes)
    )


# Settings that a format does not support; they are refused because they would be ignored.
_LINES = ("header", "skip_lines")
_REFUSED = {
    "ts": CASE_SETTINGS,
    "jsonl": (*("time_difference", "id", "time", "channels", "decimal", "dates"), *_LINES),
    "arrays": (
        *("time_difference", "categories", "id", "time", "group", "channels", "decimal"),
        *("dates", *_LINES),
    ),
    "folder": ("group",),
    **dict.fromkeys(("frame", "arff", "conll"), _LINES),
}
