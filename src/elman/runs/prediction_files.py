"""Files that predictions are written to; the ending of the name chooses the format."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import SettingsError, nearest
from elman.files import write_file, writing

if TYPE_CHECKING:
    from elman.runs.predictions import Predictions


@dataclass(frozen=True)
class FileFormat:
    """A format of prediction files.

    Args:
        name: its name in messages and `--help`.
        endings: endings of its files.
        encode: returns the content of the file.
    """

    name: str
    endings: tuple[str, ...]
    encode: Callable[[Predictions], bytes]


def _parquet(predictions: Predictions) -> bytes:
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(_arrow_table(predictions), out)
    return out.getvalue()


def _arrow(predictions: Predictions) -> bytes:
    import pyarrow.feather

    out = io.BytesIO()
    pyarrow.feather.write_feather(_arrow_table(predictions), out)
    return out.getvalue()


def _arrow_table(predictions: Predictions) -> Any:
    """Return the table with a type per column; several labels are a list of strings."""
    import pyarrow

    columns = predictions.columns()
    lists = pyarrow.list_(pyarrow.string())
    arrays = [
        # The type of lists is given, because Arrow cannot tell it where all lists are empty.
        pyarrow.array(c.values, lists if any(isinstance(v, list) for v in c.values) else None)
        for c in columns
    ]
    return pyarrow.Table.from_arrays(arrays, [column.name for column in columns])


FORMATS = (
    FileFormat("CSV", (".csv",), lambda p: p.to_csv().encode()),
    FileFormat("TSV", (".tsv", ".tab"), lambda p: p.to_csv("\t").encode()),
    FileFormat("JSON lines", (".jsonl", ".ndjson"), lambda p: p.to_jsonl().encode()),
    FileFormat(
        "CoNLL", (".conll", ".iob", ".iob2", ".bio", ".bioes"), lambda p: p.to_conll().encode()
    ),
    FileFormat("Parquet", (".parquet", ".pq"), _parquet),
    FileFormat("Arrow", (".arrow", ".feather", ".ipc"), _arrow),
)
WRITABLE = ", ".join(f"{f.name} ({', '.join(f.endings)})" for f in FORMATS)


def prediction_format(path: Path, overwrite: bool) -> FileFormat:
    """Return the format that the ending of `path` asks for, once the file can be written.

    Raises: SettingsError if the ending is of no format, or if a file, a folder, a missing folder or
        a missing permission is in the way.
    """
    with writing(path):  # the system may refuse to look, for example because the name is too long
        return _prediction_format(path, overwrite)


def _prediction_format(path: Path, overwrite: bool) -> FileFormat:
    if path.is_dir():
        raise SettingsError(f"{path}: is a folder, expected a file to write. Name one with --out")
    by_ending = {ending: f for f in FORMATS for ending in f.endings}
    found = by_ending.get(path.suffix.lower())
    if found is None:
        ending = f"the ending {path.suffix!r} is" if path.suffix else "a name without an ending is"
        hint = nearest(path.suffix.lower(), by_ending) if path.suffix else ""
        raise SettingsError(
            f"{path}: {ending} not a format for predictions; expected {WRITABLE}.{hint} "
            "Name another file with --out, or use --out - for CSV on the terminal"
        )
    if not path.parent.is_dir():
        raise SettingsError(f"{path}: there is no folder {path.parent}. Make it first")
    if path.exists() and not overwrite:
        raise SettingsError(f"{path}: exists already. Name another with --out, or use --overwrite")
    # A file is replaced by renaming another in its folder; a pipe is written to.
    written = path if path.exists() and not path.is_file() else path.resolve().parent
    if not os.access(written, os.W_OK):
        raise SettingsError(f"{path}: no permission to write there. Name another with --out")
    return found


def write_predictions(predictions: Predictions, path: Path, file_format: FileFormat) -> None:
    """Write a file that is complete or, if writing fails, not there. Raises WriteError."""
    write_file(path, file_format.encode(predictions))
