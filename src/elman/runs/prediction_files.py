"""Files that predictions are written to; the ending of the name chooses the format."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import SettingsError, nearest
from elman.files import write_file, writing

if TYPE_CHECKING:
    from elman.runs.predictions import Column, Predictions

_GROUP = 2**25  # bytes of Arrow tables that are written together, as a row group of Parquet


@dataclass(frozen=True)
class FileFormat:
    """A format of prediction files.

    Args:
        name: its name in messages and `--help`.
        endings: endings of its files.
        encode: yields the content of the file in pieces, from the predictions in the order in which
            they are written, part after part.
    """

    name: str
    endings: tuple[str, ...]
    encode: Callable[[Iterable[Predictions]], Iterator[bytes]]


class _Sink(io.RawIOBase):
    """A stream for pyarrow, which keeps what was written until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """Whether pyarrow may write to it."""
        return True

    def write(self, piece: Any) -> int:
        """Keep a piece."""
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        """Return all that was written since the last call."""
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content


def _csv(delimiter: str, parts: Iterable[Predictions]) -> Iterator[bytes]:
    for number, part in enumerate(parts):
        yield from map(str.encode, part.csv_pieces(delimiter, header=number == 0))


def _json_lines(parts: Iterable[Predictions]) -> Iterator[bytes]:
    for part in parts:
        for record in part.records():
            yield (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _conll(parts: Iterable[Predictions]) -> Iterator[bytes]:
    first = 0
    for part in parts:
        yield from map(str.encode, conll_pieces(part, first))
        first += len(part)


def conll_pieces(part: Predictions, first: int = 0) -> Iterator[str]:
    """Yield one token per line, and a blank line after each sentence, sentence by sentence.

    Columns, separated by tabs: the token, the true tag if it is known, and the predicted one,
    as conlleval reads them. Sentences with a name have it in a comment, `# sent_id`.

    Args:
        first: number of sentences before these in the file.
    Raises: SettingsError if the predictions are not one class per token.
    """
    if part.tokens is None or part.steps is None:
        raise SettingsError(
            "CoNLL files hold one tag per token, and these predictions are others. Name a file"
            " of another format with --out, such as one that ends in .csv"
        )
    offsets = part.steps.offsets.tolist()
    for i, name in enumerate(map(str, part.names)):
        columns = {c.name: c.cells() for c in part.columns(slice(offsets[i], offsets[i + 1]))}
        rows = zip(
            *(columns[n] for n in ("token", "true", "predicted") if n in columns), strict=True
        )
        lines = ["\t".join(map(_on_one_line, row)) for row in rows]
        named = [] if name == str(first + i + 1) else [f"# sent_id = {name}"]
        yield "\n".join([*named, *lines, "", ""])


def _on_one_line(cell: str) -> str:
    """Return a cell without tabs and line ends, and an underscore for an empty one."""
    return cell.translate(dict.fromkeys(map(ord, "\t\r\n"), " ")) or "_"


def _parquet(sink: Any, schema: Any) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetWriter(sink, schema)


def _arrow(sink: Any, schema: Any) -> Any:
    import pyarrow.ipc

    options = pyarrow.ipc.IpcWriteOptions(compression="lz4")
    return pyarrow.ipc.new_file(sink, schema, options=options)


def _tables(
    open_writer: Callable[[Any, Any], Any], parts: Iterable[Predictions]
) -> Iterator[bytes]:
    """Yield the content of a file of Arrow tables: several pieces of text make one table in it."""
    sink = _Sink()
    writer: Any = None
    waiting: list[Any] = []
    for table in map(_arrow_table, (columns for part in parts for columns in part.tables())):
        if writer is None:
            schema = _settle_types(table.schema)
            writer = open_writer(sink, schema)
        waiting.append(table.cast(schema))
        if sum(each.nbytes for each in waiting) >= _GROUP:
            _write_group(writer, waiting)
            yield sink.take()
    if writer is not None:
        _write_group(writer, waiting)
        writer.close()
    yield sink.take()


def _write_group(writer: Any, tables: list[Any]) -> None:
    import pyarrow

    if tables:
        writer.write(pyarrow.concat_tables(tables).combine_chunks())
        tables.clear()


def _settle_types(schema: Any) -> Any:
    """Return the types of a file: where the first rows have no true value, that of the predicted.

    The labels may all be missing in the first rows and known in later ones.
    """
    import pyarrow

    types = dict(zip(schema.names, schema.types, strict=True))
    for name, own in types.items():
        if pyarrow.types.is_null(own):
            types[name] = types.get(name.replace("true", "predicted", 1), own)
    return pyarrow.schema(list(types.items()))


def _arrow_table(columns: list[Column]) -> Any:
    """Return the table with a type per column; several labels are a list of strings."""
    import pyarrow

    lists = pyarrow.list_(pyarrow.string())
    arrays = [
        # The type of lists is given, because Arrow cannot tell it where all lists are empty.
        pyarrow.array(c.values, lists if any(isinstance(v, list) for v in c.values) else None)
        for c in columns
    ]
    return pyarrow.Table.from_arrays(arrays, [column.name for column in columns])


FORMATS = (
    FileFormat("CSV", (".csv",), partial(_csv, ",")),
    FileFormat("TSV", (".tsv", ".tab"), partial(_csv, "\t")),
    FileFormat("JSON lines", (".jsonl", ".ndjson"), _json_lines),
    FileFormat("CoNLL", (".conll", ".iob", ".iob2", ".bio", ".bioes"), _conll),
    FileFormat("Parquet", (".parquet", ".pq"), partial(_tables, _parquet)),
    FileFormat("Arrow", (".arrow", ".feather", ".ipc"), partial(_tables, _arrow)),
)
CSV = FORMATS[0]
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


def write_predictions(
    parts: Iterable[Predictions], path: Path, file_format: FileFormat = CSV
) -> None:
    """Write a file that is complete or, if anything fails, not there.

    Args:
        parts: the predictions, in the order of the file; they are asked for one by one, so that
            they need not be in memory together.
    Raises: WriteError; and what `parts` raises.
    """
    write_file(path, file_format.encode(parts))
