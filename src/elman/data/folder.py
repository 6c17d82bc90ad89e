"""A folder of one file a sequence, below folders named as the classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.arrays import load_npy
from elman.data.dataset import Dataset
from elman.data.faults import Faults, list_names
from elman.data.options import Options
from elman.data.source import load_text
from elman.data.table import Table, parse_table
from elman.data.tabular import from_table
from elman.errors import DataError

FILE, CLASS = "file name", "folder name"
ENDINGS = {".csv": "table", ".tsv": "table", ".tab": "table", ".npy": "array", ".txt": "text"}
_READ = "CSV and TSV (.csv, .tsv, .tab), .npy and text (.txt)"


def read_folder(path: Path, faults: Faults, options: Options) -> Dataset:
    """Read a sequence from each file: the rows of a table or array, or the text.

    Files below a folder of their class, or, where no labels are needed, directly in `path`.
    """
    files, left = _files(path, faults)
    kinds = {ENDINGS[file.suffix.lower()] for file in files}
    if len(kinds) > 1:
        raise DataError(
            f"the files end in {list_names(sorted({file.suffix for file in files}))}, expected one"
            " kind of file",
            remedy="Save all sequences in the same way.",
            source=faults.source,
            rule="kind",
        )
    below = {file.parent != path for file in files}
    if options.labelled and below != {True} and not options.target:
        raise DataError(
            "the files lie in the folder itself, expected each in a folder named as its class",
            remedy="Move them, as in FOLDER/yes/1.csv and FOLDER/no/1.csv, or give one of them:"
            f" {list_names([file.name for file in files], 4)}.",
            source=faults.source,
            rule="label",
        )
    text = kinds == {"text"}
    parts: list[tuple[Path, Table]] = []
    for file in files:
        try:
            with Faults(str(file)) as own:
                parts.append((file, _read(file, own, options, parts[0][1] if parts else None)))
        except DataError as error:
            faults.take(error)
    if not parts:
        faults.stop()
    table = _joined(path, parts, faults)
    if below != {True}:
        at = table.names.index(CLASS)
        names, columns = list(table.names), list(table.columns)
        del names[at], columns[at]
        table = dataclasses.replace(table, names=tuple(names), columns=tuple(columns))
    labelled = below == {True} and options.labelled is not False
    options = dataclasses.replace(
        options,
        id=None if text else options.id or FILE,
        target=options.target or (CLASS if labelled else None),
        text=options.text or ("text" if text else None),
    )
    dataset = from_table(table, options, "rows" if text else "steps")
    note = (f"left out beside the folders: {list_names(left, 3)}",) if left else ()
    return dataclasses.replace(
        dataset,
        lines=None,
        ids=tuple(table.column(FILE)) if text else dataset.ids,
        layout=dataclasses.replace(
            dataset.layout, format="folder", notes=(*dataset.layout.notes, *note)
        ),
    )


def _files(path: Path, faults: Faults) -> tuple[list[Path], list[str]]:
    """Return the files of sequences in the order of their names, and what else was left out."""
    seen = [p for p in sorted(path.iterdir()) if not p.name.startswith(".")]
    classes = [p for p in seen if p.is_dir()]
    files: list[Path] = []
    for folder in classes:
        inside = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
        deeper = [p.name for p in inside if p.is_dir()]
        if deeper:
            raise DataError(
                f"folders within {folder.name!r}: {list_names(deeper, 4)}; expected files there",
                remedy=f"Give {str(folder)!r}, if its folders are the classes.",
                source=faults.source,
                rule="folder",
            )
        if not inside:
            faults.add(
                "empty",
                f"the folder {folder.name!r} is empty",
                remedy="Fill it or remove it.",
            )
        files += inside
    beside = [p for p in seen if p.is_file()]
    left = [p.name for p in beside] if classes else []
    files = files if classes else beside
    for file in files:
        if file.suffix.lower() not in ENDINGS:
            faults.add(
                "ending",
                f"files ending in {file.suffix!r} are not read here: {file.relative_to(path)}",
                remedy=f"A file a sequence may be {_READ}; remove others.",
            )
    files = [file for file in files if file.suffix.lower() in ENDINGS]
    if not files:
        faults.stop()
        raise DataError(
            "no file lies in this folder",
            remedy=f"Give a file, or a folder with a file a sequence: {_READ}.",
            source=faults.source,
            rule="empty",
        )
    return files, left


def _read(file: Path, own: Faults, options: Options, first: Table | None) -> Table:
    """Read one file into a table; its columns must be those of the first."""
    before = options.layout
    kind = ENDINGS[file.suffix.lower()]
    if kind == "text":
        content = load_text(file, own.source).rstrip("\r\n")
        return Table(("text",), ([content],), np.ones(1, np.int64), own)
    if kind == "array":
        table = _array(file, own)
    else:
        header = first.header if first else before.header if before else None
        mark = first.delimiter if first else before.delimiter if before else None
        table = parse_table(load_text(file, own.source), own, delimiter=mark, header=header)
    if first and table.names != first.names:
        raise DataError(
            f"the columns are {list_names(table.names)}, in the first file"
            f" {list_names(first.names)}",
            remedy="All files need the same columns, in the same order.",
            source=own.source,
            rule="columns",
        )
    return table


def _array(file: Path, own: Faults) -> Table:
    array = load_npy(file, own.source)
    if array.ndim not in (1, 2) or 0 in array.shape or array.dtype.kind not in "fiub":
        raise DataError(
            f"{array.dtype} of shape {array.shape}, expected numbers, (T, C) or (T,)",
            remedy="Save the steps of one sequence in each file.",
            source=own.source,
            rule="shape",
        )
    channels = array.reshape(len(array), -1).astype(np.float64)
    names = tuple(str(c + 1) for c in range(channels.shape[1]))
    return Table(names, tuple(channels.T), None, own, header=False)


def _joined(path: Path, parts: list[tuple[Path, Table]], faults: Faults) -> Table:
    """Return one table of all files, with two columns before theirs: file name and folder name."""
    first = parts[0][1]
    files = [str(file) for file, table in parts for _ in range(len(table))]
    columns: list[list[str] | NDArray[Any]] = [
        [file.relative_to(path).as_posix() for file, table in parts for _ in range(len(table))],
        [file.parent.name for file, table in parts for _ in range(len(table))],
    ]
    for cells in zip(*(table.columns for _, table in parts), strict=True):
        if isinstance(cells[0], list):
            columns.append([cell for own in cells for cell in own])
        else:
            columns.append(np.concatenate(cells))
    lines = [np.arange(1, len(t) + 1) if t.lines is None else t.lines for _, t in parts]
    return Table(
        (FILE, CLASS, *first.names),
        tuple(columns),
        np.concatenate(lines).astype(np.int64),
        faults,
        first.delimiter,
        first.header,
        first.unnamed,
        tuple(files),
    )
