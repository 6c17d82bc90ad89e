"""The table beside the files of a folder that says which class each of them is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elman.data.evidence import words_of
from elman.data.faults import Faults
from elman.data.names import guess_target_names
from elman.data.readers import TextFile
from elman.data.readers.csv import read_csv
from elman.data.roles import ReadOptions
from elman.errors import DataError

ENDINGS = (".csv", ".tsv", ".tab", ".txt")
_LISTED = 0.5  # share of the rows that name a file of the folder, from which a table is a manifest
_LARGEST = 64 << 20  # bytes
_NAMES = words_of(
    "labels label manifest metadata meta index annotations annotation targets target classes "
    "train test reference records files filelist list samples info data_labels y"
)


@dataclass(frozen=True)
class Manifest:
    """The files of a folder that a table lists, in its order, and its other columns.

    Args:
        path: the table.
        files: the listed files.
        columns: the other columns by name, one cell for each file.
        target: the column of labels; None if it cannot be told.
        note: what was recognised, in words.
    """

    path: Path
    files: tuple[Path, ...]
    columns: Mapping[str, Mapping[Path, str]]
    target: str | None
    note: str


def find_manifest(
    folder: Path, endings: Sequence[str], faults: Faults, options: ReadOptions
) -> Manifest | None:
    """Find the table in a folder that names its files, such as labels.csv: filename, label.

    Files are named by their path in the folder, by their name, or without their ending.

    Args:
        endings: of the files with sequences.
        faults: collects rows whose file does not exist, and files that are listed twice.
    """
    tables = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    tables = [p for p in tables if p.suffix.lower() in ENDINGS and p.stat().st_size <= _LARGEST]
    # Files with sequences are many; a manifest has the usual name, or is one of a few tables.
    usual = [p for p in tables if p.stem.lower() in _NAMES]
    places: dict[str, Path] | None = None
    for path in usual or (tables if len(tables) <= 3 else ()):
        if places is None:
            places = _places(folder, endings)
        if not places:
            return None
        found = _read(path, folder, places, faults, options)
        if found is not None:
            return found
    return None


def _places(folder: Path, endings: Sequence[str]) -> dict[str, Path]:
    """Return the files below a folder by each of their names; None for an ambiguous one."""
    files = [
        p
        for p in sorted(folder.rglob("*"))
        if p.suffix.lower() in endings and p.is_file() and not p.name.startswith(".")
    ]
    places: dict[str, Path] = {}
    ambiguous: set[str] = set()
    for file in files:
        whole = file.relative_to(folder)
        names = {whole.as_posix(), whole.with_suffix("").as_posix(), file.name, file.stem}
        names |= {f"{folder.name}/{whole.as_posix()}"}
        for name in names:
            if places.setdefault(name, file) != file:
                ambiguous.add(name)
    return {name: file for name, file in places.items() if name not in ambiguous}


def _read(
    path: Path, folder: Path, places: Mapping[str, Path], faults: Faults, options: ReadOptions
) -> Manifest | None:
    """Return a table as a manifest, or None if no column names files."""
    own = Faults(str(path))
    try:
        with own:
            text = TextFile(path, own.source)
            table = read_csv(text, own, ReadOptions())
            if any(_clean(name) in places for name in table.names):  # it has no header
                table = read_csv(text, own, ReadOptions(header=False))
    except DataError:
        return None
    texts = {
        name: [cell.strip() for cell in column.texts()] for name, column in table.columns.items()
    }
    known = {name: [places.get(_clean(cell)) for cell in cells] for name, cells in texts.items()}
    if path.stem.lower() not in _NAMES:  # numbers may happen to be the names of files
        known = {name: files for name, files in known.items() if not table.columns[name].is_numeric}
    share = {name: sum(f not in (None, path) for f in files) for name, files in known.items()}
    key = max(share, key=share.__getitem__, default=None)
    if key is None or share[key] < max(1, _LISTED * len(table)):
        return None
    others = [name for name in texts if name != key]
    target = options.target if options.target in others else None
    if target is None:
        usual = guess_target_names(others, lambda _: True)
        target = usual[0] if len(usual) == 1 else others[0] if len(others) == 1 else None
    files: dict[Path, int] = {}
    lines = table.rows.lines
    for i, file in enumerate(known[key]):
        problem, remedy = "", "Remove the row, or add the file."
        if file is None:
            problem = f"there is no file {texts[key][i]!r} in the folder"
        elif file == path:
            problem = "the row names this table itself"
        elif file in files:
            problem, remedy = f"{texts[key][i]!r} is listed twice", "List every file once."
        if problem:
            line = None if lines is None else int(lines[i])
            faults.add("file", problem, remedy, line, key, str(path))
        elif file is not None:
            files[file] = i
    columns = {name: {file: texts[name][i] for file, i in files.items()} for name in others}
    left = len({*places.values()} - {path, *files})
    note = f"{path.name}: column {key!r} names {len(files):,} files"
    note += f"; {left:,} other files are left out" if left else ""
    return Manifest(path, tuple(files), columns, target, note)


def _clean(cell: str) -> str:
    return cell.replace("\\", "/").removeprefix("./")
