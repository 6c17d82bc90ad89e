"""Read a file of any size once, piece by piece, into a data set on disk.

The first piece settles which column is what, as `read` would for the whole file; later pieces are
read alike by the same readers. What cannot be read in pieces is refused with the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.as_before import check_kind
from elman.data.continued import Continued, LongSequenceError
from elman.data.dataset import Dataset, Layout
from elman.data.faults import Faults, guard
from elman.data.hashing import stable_bits
from elman.data.packing import bytes_per_sequence
from elman.data.ragged import Ragged, to_objects
from elman.data.read import finish, kind_of_text, make_options, read_content
from elman.data.readers import PACKINGS, refuse_missing
from elman.data.readers.json import Document, is_document, parse_lines
from elman.data.readers.pieces import MOST_PIECES, FramePieces, TextPieces
from elman.data.store import StoredDataset, StoreWriter
from elman.errors import DataError
from elman.formats import KINDS, ending_of

PIECE = 8 << 20  # bytes that are read at once by default
_LOOKED_AT = 1 << 20  # bytes of a file that show how large it is in memory
_SHARE = 24  # reading a piece takes up to this many times its bytes
_STREAMED = "CSV, TSV, JSON lines, Parquet and Arrow files"


@dataclass(frozen=True)
class Estimate:
    """What reading a file will take, judged by its first piece.

    Args:
        memory: bytes that `read` would hold the sequences in.
        sequences: number of sequences, about.
    """

    memory: int
    sequences: int


def piece_bytes(memory: int) -> int:
    """Return the bytes of a piece whose reading takes about `memory` bytes."""
    return min(PIECE, max(64 << 10, memory // _SHARE))


@guard
def estimate(
    path: str | Path,
    settings: Mapping[str, Any],
    *,
    layout: Layout | None = None,
    form: str | None = None,
) -> Estimate:
    """Return how large the sequences of a file are in memory, from its first MB.

    Args: as for `read_stored`.
    Raises: DataError if its first piece is at fault, or if it cannot be read in pieces.
    """
    reading = _Reading(Path(path), settings, layout, form, _LOOKED_AT)
    dataset, share = next(iter(reading))
    size = int(bytes_per_sequence(dataset).sum())
    return Estimate(int(size / share), round(len(dataset) / share))


@guard
def read_stored(
    path: str | Path,
    folder: Path,
    settings: Mapping[str, Any],
    *,
    layout: Layout | None = None,
    form: str | None = None,
    piece: int = PIECE,
    block: int = 4 << 20,
) -> StoredDataset:
    """Read a CSV, TSV, JSON lines, Parquet or Arrow file into a store, in bounded memory.

    Args:
        path: the file.
        folder: an existing folder for the store.
        settings: arguments of `read`, by their names.
        layout, form: as `layout` and `format` of `read`.
        piece: bytes of the file that are read at once; more where a sequence is longer.
        block: memory of the sequences of a block of the store, in bytes.
    Returns: the sequences that `read` would return, in their order.
    Raises: DataError as `read` does, also where a later piece contradicts what the first one
        settled, and for a file that cannot be read in pieces; WriteError.
    """
    reading = _Reading(Path(path), settings, layout, form, piece)
    writer = StoreWriter(folder, block)
    for dataset, _ in reading:
        writer.add(dataset)
    stored = writer.finish(reading.continued.renamed_classes(layout))
    reading.check_scattered(stored)
    return stored


class _Reading:
    """Reads a file piece by piece.

    Args: as for `read_stored`.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        layout: Layout | None,
        form: str | None,
        piece: int,
    ) -> None:
        self.options, self.future = make_options(settings, layout, form)
        self.given, self.form = layout, form
        self.source, faults = str(path), Faults(str(path))
        self.pieces, self.kind, self.note = _open(path, form, faults, piece)
        if layout is not None and form is None:
            check_kind(self.kind, layout, faults)
        self.continued = Continued(given=layout is not None)
        self.size = piece
        self.first: Dataset | None = None
        self._names: list[NDArray[np.uint64]] = []

    def __iter__(self) -> Iterator[tuple[Dataset, float]]:
        """Yield the sequences of each piece, and the share of the file that is read by then."""
        most = MOST_PIECES * self.size
        while (content := self.pieces.read(self.size)) is not None:
            self.continued.last = self.pieces.last
            self.continued.kept, self.continued.next_line = 0, None
            try:
                dataset = self._read(content)
            except (LongSequenceError, DataError) as error:
                # A piece may hold nothing but comments and the names of the columns.
                bare = isinstance(error, DataError) and error.rule == "empty"
                if isinstance(error, DataError) and (not bare or self.pieces.last):
                    raise
                if self.size >= most:
                    raise self._refuse_long() from None
                self.size = min(2 * self.size, most)
                self.pieces.keep(0, self.continued)
                continue
            self.pieces.keep(self.continued.kept, self.continued)
            self.continued.rows += self.continued.kept
            self.continued.first = False
            yield dataset, self.pieces.share

    def _read(self, content: Any) -> Dataset:
        faults = Faults(self.source)
        known = self.first.layout if self.first is not None else self.given
        options = dataclasses.replace(self.options, layout=known, continued=self.continued)
        form = self.form or (known.format if known else None)
        if self.first is not None:
            faults.guesses += self.first.layout.guesses
        if self.kind == "jsonl":
            with faults:
                found, notes = parse_lines(content.text(), faults, content.before)
            content = Document(tuple(found), notes)
        dataset = read_content(self.kind, content, faults, options, form)
        future, unit = self.future, known.unit if known else None
        future = dataclasses.replace(future, unit=unit or future.unit)
        dataset = future.look_ahead(dataset, whole=False)
        dataset = finish(dataset, known, faults, self.form is None, "" if self.first else self.note)
        if self.first is None:
            _refuse_layout(dataset.layout, faults)
            self.first = dataset.take(np.arange(min(1, len(dataset))))
        _check_alike(dataset, self.first)
        if dataset.layout.format == "steps":
            self._names.append(stable_bits(to_objects(dataset.ids)))
        return dataset

    def _refuse_long(self) -> DataError:
        return Faults(self.source).error(
            "memory",
            f"a sequence, or a row, takes up more than {self.size >> 20:,} MiB of the file",
            "Give more memory, or check that the column of sequences (--id) and the quotes are"
            " right.",
        )

    def check_scattered(self, stored: StoredDataset) -> None:
        """Refuse a sequence whose rows are not together, in pieces that are far apart."""
        names = np.concatenate(self._names) if self._names else np.zeros(0, np.uint64)
        order = np.argsort(names, kind="stable")
        again = np.flatnonzero(names[order[1:]] == names[order[:-1]])
        if not len(again):
            return
        # The first one that continues, in the order of the file.
        k = again[np.argmin(order[again + 1])]
        both = stored.take(order[k : k + 2])
        lines = (None, None) if both.lines is None else both.lines.tolist()
        began = "earlier" if lines[0] is None else f"on line {lines[0]}"
        raise Faults(self.source).error(
            "order of rows",
            f"sequence {both.ids[1]!r} continues here; other rows of it began {began}",
            "Sort the file so that the rows of one sequence are together.",
            lines[1],
        )


def _refuse_layout(layout: Layout, faults: Faults) -> None:
    """Refuse what `read` can read only as a whole."""
    what = ""
    if layout.blocks:
        what = "a file whose sequences end at blank lines"
    elif layout.melted:
        what = "a table with a row for each measurement"
    elif layout.format == "steps" and layout.id is None:
        what = "one recording without a column that divides it into sequences"
    if what:
        raise _refuse(faults, what)


def _refuse(faults: Faults, what: str) -> DataError:
    return faults.error(
        "memory",
        f"{what} cannot be read in pieces; {_STREAMED} with whole sequences, or with a row for each"
        " step and a column of sequences, can",
        "Convert it, or leave --memory-limit out, which reads all of it into memory.",
    )


def _check_alike(dataset: Dataset, first: Dataset) -> None:
    """Refuse labels of another kind than those of the first piece."""
    got, expected = _describe_target(dataset), _describe_target(first)
    if got != expected:
        raise DataError(
            f"the target is {got}, expected {expected} as in the rows before",
            remedy="Say what it is with --task and --target.",
            source=dataset.source,
            line=None if dataset.lines is None else int(dataset.lines[0]),
            rule="first piece",
        )


def _describe_target(dataset: Dataset) -> str:
    target = dataset.target
    if target is None:
        return "missing"
    values = target.values if isinstance(target, Ragged) else target
    where = "for each step" if isinstance(target, Ragged) else "for each sequence"
    if values.dtype == object:
        kinds = sorted({type(label).__name__ for label in dataset.layout.class_names})
        return f"a label ({', '.join(kinds) or 'str'}) {where}"
    return f"{values.shape[1] if values.ndim > 1 else 1} numbers {where}"


def _open(
    path: Path, form: str | None, faults: Faults, size: int
) -> tuple[TextPieces | FramePieces, str, str]:
    """Return the pieces of a file, its kind, and a note if that was guessed."""
    refuse_missing(path, faults.source)
    if path.is_dir():
        raise _refuse(faults, "a folder")
    kind = KINDS.get(ending_of(path.name), "")
    with path.open("rb") as file:
        packed = any(file.read(6).startswith(magic) for magic in PACKINGS)
    if packed and kind != "arrays":
        raise _refuse(faults, "a compressed file")
    if kind == "frame":
        return FramePieces(path, faults.source), kind, ""
    if kind in ("arrays", "arff"):
        raise _refuse(faults, f"a file that ends in {path.suffix!r}")
    pieces = TextPieces(path, faults.source)
    head = pieces.read(size)
    assert head is not None
    kind, note = kind_of_text(head, path.name, faults, form)
    if kind == "jsonl" and is_document(head.text()):
        raise faults.error(
            "memory",
            "a JSON document cannot be read in pieces, but JSON lines can, with an object a line",
            f"Convert it, for example `jq -c .[] {path.name} > {path.stem}.jsonl`.",
        )
    if kind not in ("table", "jsonl"):
        raise _refuse(faults, f"a file of the format {kind}")
    return TextPieces(path, faults.source), kind, note
