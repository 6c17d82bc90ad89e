"""The way in: from a file to a dataset, guessing what the caller does not say."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from elman.data.dataset import Dataset, Layout
from elman.data.faults import Faults
from elman.data.jsonl import read_jsonl
from elman.data.options import Options, several
from elman.data.source import FAMILIES, READABLE, load_text
from elman.data.tabular import read_table
from elman.data.ts import read_ts
from elman.errors import DataError, SettingsError, nearest

FORMATS = {"rows": "table", "steps": "table", "jsonl": "jsonl", "ts": "ts"}
_NAMES = {"table": "a CSV or TSV table", "jsonl": "JSON lines", "ts": "a .ts file"}
# Endings that say nothing about the content.
_OPEN = ("", ".txt", ".dat", ".data")


def read(
    path: str | os.PathLike[str],
    *,
    layout: Layout | None = None,
    format: str | None = None,  # noqa: A002
    target: str | None = None,
    text: str | None = None,
    values: str | Sequence[str] | None = None,
    id: str | None = None,  # noqa: A002
    time: str | None = None,
    labelled: bool | None = None,
) -> Dataset:
    """Read labelled sequences from a CSV, TSV, JSON lines or UCR/UEA `.ts` file.

    What is not said is guessed from the names and the content, and noted in `layout.notes` of the
    result together with the flag that says otherwise.

    Args:
        path: the file, UTF-8.
        layout: of an earlier read, to read this file in the same way; what is said besides wins.
        format: `rows` (CSV/TSV, a row a sequence), `steps` (CSV/TSV, a row a time step), `jsonl`
            or `ts`.
        target: column or key of the label.
        text: column or key of the text or tokens.
        values: columns of numbers, as a sequence of names or one text with commas between; `a:b`
            means all columns from a to b. For `jsonl` one key.
        id: for `steps`, the column that says which sequence a row belongs to.
        time: for `steps`, the column that must grow from row to row of a sequence.
        labelled: True needs a target, None takes one where there is one, False ignores it.
    Raises: DataError with the place of the fault; SettingsError for an argument that the format
        does not have.
    """
    path = Path(path)
    source = str(path)
    if isinstance(values, str):
        values = [name.strip() for name in values.split(",")]
    if text and values:
        raise SettingsError(
            "--text and --values exclude each other: a sequence is text or tokens, or numbers."
        )
    if format is not None and format not in FORMATS:
        raise SettingsError(
            f"unknown format {format!r}, expected one of {', '.join(FORMATS)}."
            f"{nearest(format, FORMATS)}"
        )
    family, content, note = _open(path, source, format)
    if layout is not None and format is None and family != FORMATS[layout.format]:
        raise DataError(
            f"the file is {_NAMES[family]}, expected {_NAMES[FORMATS[layout.format]]} as before",
            remedy=f"Convert it, or read it afresh with --format {_fresh(family)}.",
            source=source,
        )
    same = layout is not None and (format is None or format == layout.format)
    options = Options(
        target=target,
        text=text,
        values=tuple(values or ()),
        id=id,
        time=time,
        labelled=labelled,
        layout=layout if same else None,
    )
    with Faults(source) as faults:
        if family == "ts":
            _refuse("ts", target=target, text=text, values=values, id=id, time=time)
            dataset = read_ts(content, faults, options)
        elif family == "jsonl":
            _refuse("jsonl", id=id, time=time)
            dataset = read_jsonl(content, faults, options)
        else:
            fixed = format or (layout.format if layout else None)
            dataset = read_table(content, faults, options, fixed)
    if layout is not None:
        _compare(dataset, layout, source)
    if note:
        how = dataclasses.replace(dataset.layout, notes=(note, *dataset.layout.notes))
        dataset = dataclasses.replace(dataset, layout=how)
    return dataset


def _open(path: Path, source: str, form: str | None) -> tuple[str, str, str]:
    """Return the family of formats, the text of the file, and a note if the content decided."""
    ending = path.suffix.lower()
    if form is not None:
        return FORMATS[form], load_text(path, source), ""
    if ending in FAMILIES:
        content = load_text(path, source)
        if FAMILIES[ending] == "table" and content.lstrip().startswith('{"'):
            raise DataError(
                f"the name ends in {ending!r}, but the file holds JSON objects",
                remedy="Rename it to .jsonl or give --format jsonl.",
                source=source,
            )
        return FAMILIES[ending], content, ""
    # Look at the file first: a missing or compressed one is to be called that.
    content = load_text(path, source)
    if ending not in _OPEN:
        raise DataError(
            f"files ending in {ending!r} are not read; elman reads {READABLE}",
            remedy="Save it as one of these, or say what it holds with --format.",
            source=source,
        )
    first = next(line.strip() for line in content.split("\n") if line.strip())
    if first.startswith("{"):
        return "jsonl", content, "--format jsonl: the first line is an object"
    if first.startswith(("@", "#")):
        return "ts", content, "--format ts: the first line is a header of such files"
    return "table", content, ""


def _fresh(family: str) -> str:
    return " or ".join(name for name, of in FORMATS.items() if of == family)


def _refuse(form: str, **given: object) -> None:
    for name, value in given.items():
        if value:
            raise SettingsError(
                f"--{name} means nothing for the format {form}, expected no such setting."
                " Leave it out."
            )


def _compare(dataset: Dataset, layout: Layout, source: str) -> None:
    """Refuse sequences of another kind, or with other channels, than the layout's."""
    got = dataset.layout
    if got.kind != layout.kind:
        raise DataError(
            f"the sequences are {got.kind}, expected {layout.kind} as before",
            remedy="Name other columns with --text or --values.",
            source=source,
        )
    if layout.kind == "numbers":
        channels, expected = _channels(got), _channels(layout)
        if channels != expected:
            raise DataError(
                f"{several(channels, 'channel')}, expected {expected} as before",
                remedy="Use a file with the channels of the training file.",
                source=source,
            )
    if got.target and layout.target and got.per_step != layout.per_step:
        words = {True: "a label at every step", False: "a class per sequence"}
        raise DataError(
            f"the target is {words[got.per_step]}, expected {words[layout.per_step]} as before",
            remedy="Name another with --target NAME.",
            source=source,
        )


def _channels(layout: Layout) -> int:
    return 1 if layout.format == "rows" else len(layout.values)
