"""A folder with one file per sequence, in subfolders of their classes or listed in a table."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from elman.data.cells import join_cells
from elman.data.columns import NumberColumn, TextColumn
from elman.data.dataset import Dataset, Guess
from elman.data.faults import Faults, is_number, list_names
from elman.data.readers import TextFile, load_text
from elman.data.readers.csv import read_csv
from elman.data.readers.firstlines import compare_first_lines
from elman.data.readers.manifest import find_manifest
from elman.data.readers.npy import load_npy
from elman.data.roles import ReadOptions
from elman.data.series import SeriesCells, SeriesForm, find_series
from elman.data.table import Column, Rows, Table
from elman.data.units import MARKS
from elman.errors import DataError
from elman.formats import ending_of

FILE, CLASS = "file name", "folder name"
_LINE = "value"  # channel of files that hold one line of numbers
_LOOKED_AT, _LINES = 20, 200  # text files, and lines of each, that show whether they hold numbers
_MOST_NUMBERS = 0.9  # share of files, and of what is in a file, that must
ENDINGS = {".csv": "table", ".tsv": "table", ".tab": "table", ".npy": "array", ".txt": "text"}
_READ = "CSV and TSV (.csv, .tsv, .tab), .npy and text (.txt)"


def read_folder(path: Path, faults: Faults, options: ReadOptions) -> tuple[Table, ReadOptions, str]:
    """Read one sequence from each file: the rows of a table or array, or the text.

    Files are in the subfolder of their class, or directly in `path` if no labels are needed.

    Returns: one table of all files, with columns of file and folder names; the options with these
        two as id and target; and whether the table has `rows` or `steps`.
    """
    if (path / "metrics.jsonl").is_file() or (path / "model.safetensors").is_file():
        raise faults.error(
            "format",
            "is the folder of a run or model, expected data",
            f"To use the model: elman predict {path} DATA, or elman evaluate.",
        )
    manifest = find_manifest(path, tuple(ENDINGS), faults, options)
    files, left = (list(manifest.files), []) if manifest else _list_files(path, faults)
    if not files:
        faults.stop()
    kinds = {ENDINGS[ending_of(file.name)] for file in files}
    if len(kinds) > 1:
        raise faults.error(
            "kind",
            f"the files end in {list_names(sorted({file.suffix for file in files}))}, expected one"
            " kind of file",
            "Save all sequences in the same way.",
        )
    below = not manifest and {file.parent != path for file in files} == {True}
    if options.labelled and not below and not (manifest or options.target):
        raise faults.error(
            "label",
            "the files lie in the folder itself, expected each in a folder named as its class",
            "Move them, as in FOLDER/yes/1.csv and FOLDER/no/1.csv, or give one of them:"
            f" {list_names([file.name for file in files], 4)}.",
        )
    rows = _find_numbers(files, options) if kinds == {"text"} else ""
    if rows and options.layout is None:
        why, change = "every line holds numbers", "--text text reads the files as texts"
        guess = Guess("format", (), why, "numbers in .txt files", change, "sure")
        faults.guesses.append(guess)
    text = kinds == {"text"} and not rows
    header = None
    if (kinds == {"table"} or rows == "table") and options.layout is None:
        header = compare_first_lines(files, faults, options)
    # All files are read before faults are raised, so that one run reports all of them.
    tables: list[tuple[Path, Table]] = []
    for file in files:
        try:
            with Faults(str(file)) as own:
                tables.append((file, _read_file(file, own, options, tables, rows, header)))
            if len(tables) == 1:  # the other files are read like the first one
                faults.guesses += own.guesses
        except DataError as error:
            faults.take(error)
    if not tables:
        faults.stop()
    labelled = below and options.labelled is not False
    note = (f"left out beside the folders: {list_names(left, 3)}",) if left else ()
    target = options.target or (CLASS if labelled else None)
    if manifest:
        note = (manifest.note,)
        target = target or (None if options.labelled is False else manifest.target)
    options = dataclasses.replace(
        options,
        id=None if text else options.id or FILE,
        target=target,
        text=options.text or ("text" if text else None),
        notes=(*options.notes, *note),
    )
    names: dict[str, Callable[[Path], str]] = {FILE: lambda file: file.relative_to(path).as_posix()}
    if below:
        names[CLASS] = lambda file: file.parent.name
    if manifest and tables:
        own_names = tables[0][1].columns
        names |= {n: c.__getitem__ for n, c in manifest.columns.items() if n not in own_names}
    return _join_tables(tables, names, faults), options, "rows" if text else "steps"


def name_sequences(dataset: Dataset, table: Table) -> Dataset:
    """Return the dataset with file names as ids in place of line numbers."""
    ids = tuple(table.columns[FILE].texts()) if len(dataset) == len(table) else dataset.ids
    layout = dataclasses.replace(dataset.layout, format="folder")
    return dataclasses.replace(dataset, lines=None, ids=dataset.ids or ids, layout=layout)


def _list_files(path: Path, faults: Faults) -> tuple[list[Path], list[str]]:
    """Return the sequence files sorted by name, and the names of ignored files."""
    # Sorted, because file systems list files in any order and splits must not depend on it. Names
    # that start with a dot, such as .DS_Store, belong to the system.
    seen = [p for p in sorted(path.iterdir()) if not p.name.startswith(".")]
    classes = [p for p in seen if p.is_dir()]
    files: list[Path] = []
    for folder in classes:
        content = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
        deeper = [p.name for p in content if p.is_dir()]
        if deeper:
            raise faults.error(
                "folder",
                f"folders within {folder.name!r}: {list_names(deeper, 4)}; expected files there",
                f"Give {str(folder)!r}, if its folders are the classes.",
            )
        if not content:
            faults.add("empty", f"the folder {folder.name!r} is empty", "Fill it or remove it.")
        files += content
    beside = [p for p in seen if p.is_file()]
    left = [p.name for p in beside] if classes else []
    files = files if classes else beside
    for file in files:
        if ending_of(file.name) not in ENDINGS:
            faults.add(
                "ending",
                f"files ending in {file.suffix!r} are not read here: {file.relative_to(path)}",
                f"A file a sequence may be {_READ}; remove others.",
            )
    files = [file for file in files if ending_of(file.name) in ENDINGS]
    if not files:
        faults.stop()
        raise faults.error(
            "empty",
            "there is no file in this folder",
            f"Give a file, or a folder with a file a sequence: {_READ}.",
        )
    return files, left


def _read_file(
    file: Path,
    own: Faults,
    options: ReadOptions,
    tables: Sequence[tuple[Path, Table]],
    rows: str = "",
    header: bool | None = None,
) -> Table:
    """Read one file into a table with the same columns as the first file.

    Args:
        rows: what `_find_numbers` says of text files.
        header: what `compare_first_lines` says of tables.
    """
    first = tables[0][1] if tables else None
    kind = ENDINGS[ending_of(file.name)]
    if kind == "text" and rows == "steps":
        return _read_line(load_text(file, own.source), own)
    if kind == "text" and not rows:
        # Editors end a file with a newline that is not part of the text.
        content = load_text(file, own.source).rstrip("\r\n")
        place = Rows(own, np.ones(1, np.int64))
        return Table("table", {"text": TextColumn("text", place, [content])}, place, 1)
    if kind == "array":
        table = _read_array(file, own)
    else:
        if header is not None:
            options = dataclasses.replace(options, header=header)
        table = read_csv(TextFile(file, own.source), own, options, first)
    if first and table.names != first.names:
        raise own.error(
            "columns",
            f"the columns are {list_names(table.names)}, in the first file"
            f" {list_names(first.names)}",
            "All files need the same columns, in the same order.",
        )
    return table


def _find_numbers(files: Sequence[Path], options: ReadOptions) -> str:
    """Return whether text files hold numbers: `table`, `steps` for one line of steps, or ''."""
    layout = options.layout
    if options.text or (layout is not None and layout.kind == "text"):
        return ""
    numbers = lines = wide = 0
    some = files[:: max(1, len(files) // _LOOKED_AT)]
    for file in some:
        with file.open(encoding="utf-8", errors="replace") as stream:
            rows = list(filter(None, map(str.strip, itertools.islice(stream, _LINES))))
        cells = [re.split(r"[\s,;|]+", row.strip(",;| ")) for row in rows if row[0] not in "#%"]
        # The first line may hold names.
        full = [row for k, row in enumerate(cells) if k or all(map(_is_number_or_mark, row))]
        flat = [cell for row in full for cell in row]
        right = sum(map(_is_number_or_mark, flat))
        good = bool(flat) and right >= _MOST_NUMBERS * len(flat)
        numbers += good and any(map(is_number, flat))
        lines += good and len(cells) == 1
        wide += good and len(full[0]) > 1
    if layout is not None:
        return "steps" if lines == len(some) and layout.values == (_LINE,) else "table"
    if numbers < _MOST_NUMBERS * len(some):
        return ""
    # One number alone is a text of digits.
    return ("steps" if wide else "") if lines == len(some) else "table"


def _is_number_or_mark(cell: str) -> bool:
    return is_number(cell.replace("\u2212", "-")) or cell.lower() in MARKS


def _read_line(text: str, own: Faults) -> Table:
    """Return the numbers of a file's only line as steps."""
    line = text.strip()
    form = find_series([line]) or SeriesForm(".", "", False)
    whole = Rows(own, np.ones(1, np.int64))
    values = SeriesCells(TextColumn(_LINE, whole, [line]), form).series()[0].values[:, 0]
    rows = Rows(own, np.ones(len(values), np.int64))
    columns: dict[str, Column] = {_LINE: NumberColumn(_LINE, rows, values)}
    return Table("table", columns, rows, len(values), header=False)


def _read_array(file: Path, own: Faults) -> Table:
    array = load_npy(file, own.source)
    if array.ndim not in (1, 2) or 0 in array.shape or array.dtype.kind not in "fiub":
        raise own.error(
            "shape",
            f"{array.dtype} of shape {array.shape}, expected numbers, (T, C) or (T,)",
            "Save the steps of one sequence in each file.",
        )
    channels = array.reshape(len(array), -1).astype(np.float64).T
    rows = Rows(own)
    columns = {str(c): NumberColumn(str(c), rows, own) for c, own in enumerate(channels, 1)}
    return Table("table", columns, rows, len(array), header=False)


def _join_tables(
    tables: Sequence[tuple[Path, Table]], names: dict[str, Callable[[Path], str]], faults: Faults
) -> Table:
    """Return one table of all files; `names` gives leading columns made from their paths."""
    first = tables[0][1]
    lines = [
        np.arange(1, len(table) + 1) if table.rows.lines is None else table.rows.lines
        for _, table in tables
    ]
    files = tuple(str(file) for file, table in tables for _ in range(len(table)))
    rows = Rows(faults, np.concatenate(lines).astype(np.int64), files)
    columns: dict[str, Column] = {}
    for name, name_of in names.items():
        cells = [name_of(file) for file, table in tables for _ in range(len(table))]
        columns[name] = TextColumn(name, rows, cells)
    for name, column in first.columns.items():
        parts = [table.columns[name] for _, table in tables]
        if isinstance(column, NumberColumn):
            values = np.concatenate([part.numbers() for part in parts])
            columns[name] = NumberColumn(name, rows, values)
        else:
            own = [part.cells for part in parts if isinstance(part, TextColumn)]
            columns[name] = TextColumn(name, rows, join_cells(own))
        columns[name].unit = columns[name].header_unit = column.header_unit
    return Table("table", columns, rows, len(files), first.delimiter, first.header, first.unnamed)
