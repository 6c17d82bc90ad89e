"""The way in: from a file, folder or frame to a dataset, guessing what the caller does not say."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elman.data.arff import read_arff
from elman.data.arrays import read_arrays
from elman.data.check import doubtful_labels
from elman.data.dataset import Dataset, Layout
from elman.data.faults import Faults, format_count
from elman.data.folder import read_folder
from elman.data.frames import levels_of, load_frame, refuse_type, table_of
from elman.data.jsonl import from_records, read_jsonl
from elman.data.options import Options
from elman.data.ragged import flatten
from elman.data.source import KINDS, READABLE, load_text, refuse_missing
from elman.data.tabular import from_table, read_table
from elman.data.ts import read_ts
from elman.errors import DataError, SettingsError, nearest
from elman.tasks import TASKS, TaskName

# The kinds of file that can hold a format; the first is what text of another ending is taken for.
FORMATS = {
    "rows": ("table", "arff", "frame"),
    "steps": ("table", "arff", "frame"),
    "jsonl": ("jsonl", "frame"),
    "ts": ("ts", "arff"),
    "arrays": ("arrays",),
    "folder": ("folder",),
}
_NAMES = {
    "table": "a CSV or TSV table",
    "jsonl": "JSON lines",
    "ts": "a .ts file",
    "arff": "an .arff file",
    "frame": "a data frame",
    "arrays": "NumPy arrays",
    "folder": "a folder",
}
_CASES = ("ts", "arrays")  # formats that differ only in how they are written
# Endings that say nothing about the content.
_OPEN = ("", ".txt", ".dat", ".data")


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
    task: TaskName | None = None,
    labelled: bool | None = None,
) -> Dataset:
    """Read labelled sequences from a file, a folder of files, or a data frame.

    What is not said is guessed from the names and the content, and noted in `layout.notes` of the
    result together with the flag that says otherwise.

    Args:
        data: path of a CSV, TSV, JSON lines, Parquet, Feather, Arrow, `.ts`, `.arff`, `.npz` or
            `.npy` file, all text in UTF-8; of a folder with a file a sequence in folders named as
            the classes; or a pandas, polars or pyarrow table. A pandas frame with two levels of row
            labels has a sequence for each value of the first, and its time in the second.
        layout: of an earlier read, to read this file in the same way; what is said besides wins.
        format: `rows` (a row a sequence), `steps` (a row a time step), `jsonl` (JSON lines, or rows
            of lists), `ts`, `arrays` or `folder`.
        target: column, key or array of the label.
        text: column or key of the text or tokens.
        values: columns of numbers, as a sequence of names or one text with commas between; `a:b`
            means all columns from a to b. For `jsonl` one key, for `arrays` one array.
        id: for `steps`, the column that says which sequence a row belongs to.
        time: for `steps`, the column that must grow from row to row of a sequence.
        categories: for `steps` and `jsonl`, columns or keys of categories, written as `values`.
        time_difference: whether the time since the last step becomes a channel; None means where
            the steps of `time` are uneven.
        group: column or key of a group that each sequence belongs to; constant within a sequence.
        task: what is to be learned: `classification`, `multilabel`, `tagging` or `regression`.
        labelled: True needs a target, None takes one where there is one, False ignores it.
    Raises: DataError with the place of every fault; SettingsError for an argument that the format
        does not have.
    """
    if isinstance(values, str):
        values = [name.strip() for name in values.split(",")]
    if isinstance(categories, str):
        categories = [name.strip() for name in categories.split(",")]
    if text and categories:
        raise SettingsError(
            "--text and --categories exclude each other: tokens beside other columns are"
            " categories. Name all of them with --categories."
        )
    if text and values:
        raise SettingsError(
            "--text and --values exclude each other: a sequence is text or tokens, or numbers."
        )
    if format is not None and format not in FORMATS:
        raise SettingsError(
            f"unknown format {format!r}, expected one of {', '.join(FORMATS)}."
            f"{nearest(format, FORMATS)}"
        )
    note, content = "", data
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        source = str(path)
        kind, content, note = _open(path, source, format)
    else:
        source, kind = "the frame", "frame"
        if not hasattr(data, "columns"):
            raise refuse_type(data)
        content, levels = levels_of(data)
        id, time = (id or levels[0], time or levels[1]) if levels else (id, time)  # noqa: A001
    if layout is not None and format is None and not _fits(kind, layout):
        raise DataError(
            f"the file is {_NAMES[kind]}, expected {_NAMES[FORMATS[layout.format][0]]} as before",
            remedy=f"Convert it, or read it afresh with --format {_fresh(kind)}.",
            source=source,
            rule="format",
        )
    same = layout is not None and (format is None or format == layout.format)
    options = Options(
        target=target,
        text=text,
        values=tuple(values or ()),
        id=id,
        time=time,
        categories=tuple(categories or ()),
        time_difference=time_difference,
        group=group,
        task=task,
        labelled=labelled,
        layout=layout if same else None,
    )
    form = format or (layout.format if layout else None)
    with Faults(source) as faults:
        if kind not in ("table", "frame", "arff", "folder"):
            _refuse(kind, time_difference=time_difference)
        if kind not in ("table", "frame", "arff", "folder", "jsonl"):
            _refuse(kind, categories=categories)
        if kind == "ts":
            _refuse("ts", target=target, text=text, values=values, id=id, time=time, group=group)
            dataset = read_ts(content, faults, options)
        elif kind == "jsonl":
            _refuse("jsonl", id=id, time=time)
            dataset = read_jsonl(content, faults, options)
        elif kind == "arrays":
            _refuse("arrays", text=text, id=id, time=time, group=group)
            dataset = read_arrays(content, faults, options)
        elif kind == "arff":
            dataset = read_arff(content, faults, options, form)
        elif kind == "folder":
            _refuse("folder", group=group)
            dataset = read_folder(content, faults, options)
        elif kind == "frame":
            table = table_of(content, faults, records=form == "jsonl")
            if isinstance(table, list):
                _refuse("jsonl", id=id, time=time, time_difference=time_difference)
                dataset = from_records(table, None, faults, options)
            else:
                dataset = from_table(table, options, form)
        else:
            dataset = read_table(content, faults, options, form)
    if task is not None and dataset.target is not None and dataset.task != task:
        raise DataError(
            f"the target holds {TASKS[dataset.task].target}, expected {TASKS[task].target} for"
            f" --task {task}",
            remedy="Name another with --target NAME, or leave --task out.",
            source=source,
            rule="label",
        )
    if layout is not None:
        _compare(dataset, layout, source, format is None)
    before = (note,) if note else ()
    after = _doubts(dataset) if layout is None else ()
    if before or after:
        how = dataclasses.replace(dataset.layout, notes=(*before, *dataset.layout.notes, *after))
        dataset = dataclasses.replace(dataset, layout=how)
    return dataset


def _open(path: Path, source: str, form: str | None) -> tuple[str, Any, str]:
    """Return the kind of file, its text, path or frame, and a note if the content decided."""
    ending = path.suffix.lower()
    kind = "folder" if path.is_dir() else KINDS.get(ending, "")
    if kind in ("folder", "arrays", "frame", "arff"):
        refuse_missing(path, source)
        if form is not None and kind not in FORMATS[form]:
            raise DataError(
                f"--format {form} is given, and this is {_NAMES[kind]}",
                remedy=f"Leave it out, or give --format {_fresh(kind)}.",
                source=source,
                rule="format",
            )
        if kind == "frame":
            return kind, load_frame(path, source), ""
        return kind, load_text(path, source) if kind == "arff" else path, ""
    content = load_text(path, source)
    if form is not None:
        kind = FORMATS[form][0]
        if kind in ("arrays", "folder"):
            raise DataError(
                f"--format {form} is given, and this is a text file",
                remedy=f"Leave it out; elman reads {READABLE}.",
                source=source,
                rule="format",
            )
        return kind, content, ""
    if kind:
        if kind == "table" and content.lstrip().startswith('{"'):
            raise DataError(
                f"the name ends in {ending!r}, but the file holds JSON objects",
                remedy="Rename it to .jsonl or give --format jsonl.",
                source=source,
                rule="format",
            )
        return kind, content, ""
    if ending not in _OPEN:
        raise DataError(
            f"files ending in {ending!r} are not read; elman reads {READABLE}",
            remedy="Save it as one of these, or say what it holds with --format.",
            source=source,
            rule="ending",
        )
    first = next(line.strip() for line in content.split("\n") if line.strip())
    if first.startswith("{"):
        return "jsonl", content, "--format jsonl: the first line is an object"
    if first.startswith(("@", "#")):
        return "ts", content, "--format ts: the first line is a header of such files"
    return "table", content, ""


def _doubts(dataset: Dataset) -> tuple[str, ...]:
    """Return what looks like a slip among labels that are text."""
    if dataset.target is None or flatten(dataset.target).ndim > 1:
        return ()
    if dataset.task == "regression":
        return ()
    classes = list(dict.fromkeys(flatten(dataset.target).tolist()))
    if not all(isinstance(label, str) for label in classes):
        return ()
    return tuple(f"--target {dataset.layout.target}: {doubt}" for doubt in doubtful_labels(classes))


def _fits(kind: str, layout: Layout) -> bool:
    """Whether a kind of file can hold what was read before."""
    formats = _CASES if layout.format in _CASES else (layout.format,)
    return any(kind in FORMATS[form] for form in formats)


def _fresh(kind: str) -> str:
    return " or ".join(name for name, kinds in FORMATS.items() if kind in kinds)


def _refuse(form: str, **given: object) -> None:
    for name, value in given.items():
        if value:
            flag = name.replace("_", "-")
            raise SettingsError(
                f"--{flag} means nothing for the format {form}, expected no such setting."
                " Leave it out."
            )


def _compare(dataset: Dataset, layout: Layout, source: str, same: bool) -> None:
    """Refuse sequences of another kind, with other channels or, if `same`, in another format."""
    got = dataset.layout
    if same and got.format != layout.format and not {got.format, layout.format} <= set(_CASES):
        raise DataError(
            f"the layout is {got.format}, expected {layout.format} as before",
            remedy=f"Convert the file, or read it afresh with --format {got.format}.",
            source=source,
            rule="format",
        )
    if got.kind != layout.kind:
        raise DataError(
            f"the sequences are {got.kind}, expected {layout.kind} as before",
            remedy="Name other columns with --text or --values.",
            source=source,
            rule="as before",
        )
    if layout.kind in ("numbers", "mixed"):
        channels, expected = _channels(got), _channels(layout)
        if channels != expected:
            raise DataError(
                f"{format_count(channels, 'channel')}, expected {expected} as before",
                remedy="Use a file with the channels of the training file.",
                source=source,
                rule="as before",
            )
    if got.target and layout.target and got.per_step != layout.per_step:
        words = {True: "a class at every step", False: "one class per sequence"}
        raise DataError(
            f"the target is {words[got.per_step]}, expected {words[layout.per_step]} as before",
            remedy="Name another with --target NAME.",
            source=source,
            rule="as before",
        )


def _channels(layout: Layout) -> int:
    return 1 if layout.format == "rows" else len(layout.channels)
