"""Pieces of files of text and of tables of pyarrow, which end where rows end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from elman.data.continued import Continued
from elman.data.faults import refuse_damaged
from elman.data.readers.csv import TextPiece
from elman.data.readers.frames import check_arrow

MOST_PIECES = 16  # pieces that a row, or a sequence with its rows, may take up
_LEAST = 20  # rows of the first piece
_BATCH = 1 << 20  # bytes of a Parquet file that are unpacked at once


class TextPieces:
    """Pieces of a text that end where rows end.

    Args:
        path: the file.
        source: its name in messages.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path, self.source = path, source
        self.last = False
        self.lines = 0  # before the piece
        self._at = 0  # bytes before it
        self._size = path.stat().st_size
        self._data = b""
        self._first: TextPiece | None = None
        with path.open("rb") as file:
            start = file.read(1000).removeprefix(b"\xef\xbb\xbf").lstrip()
        self._quoted = not start.startswith((b"{", b"["))  # whether cells may hold line ends

    @property
    def share(self) -> float:
        """The share of the file that was read."""
        return self._at / self._size

    def read(self, size: int) -> TextPiece | None:
        """Return the next piece, of about `size` bytes; None at the end."""
        with self.path.open("rb") as file:
            file.seek(self._at)
            data = file.read(size)
            # The first rows show whether a line names the columns.
            least = 1 if self._first else _LEAST
            end = self._end_of_rows(data, least)
            while not end and self._at + len(data) < self._size and len(data) < MOST_PIECES * size:
                data += file.read(len(data))  # a long row
                end = self._end_of_rows(data, least)
        end = end or self._end_of_rows(data, 1)
        self.last = self._at + len(data) >= self._size
        # Without the end of a row the rest has a fault, which its reader names.
        self._data = data if self.last or not end else data[:end]
        if not self._data.strip() and self._at:
            return None
        piece = TextPiece(self._data, self.source, self.lines, self.last, self._first)
        self._first = self._first or piece
        return piece

    def _end_of_rows(self, data: bytes, least: int) -> int:
        """Return where the last whole row ends, without blank lines after it.

        Args:
            least: rows that the piece should have.
        Returns: 0 if it has fewer.
        """
        mark = self._first.dialect.quote if self._first and self._first.dialect else '"'
        codes = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(codes == 10)
        # Lines end JSON objects, whatever their quotes are.
        quotes = np.flatnonzero(codes == ord(mark)) if self._quoted else np.zeros(0, np.int64)
        outside = ends[np.searchsorted(quotes, ends) % 2 == 0]
        if len(outside) < least:
            return 0
        # Blank lines at the end of the file are no rows of a table with one column.
        full = len(data[: outside[-1]].rstrip(b"\r\n"))
        return data.index(b"\n", full) + 1 if full else 0

    def keep(self, rows: int, continued: Continued) -> None:
        """Go on after the rows that were read, of which there are `rows`."""
        if not rows:
            return
        used = len(self._data)
        if continued.next_line is not None:
            count = continued.next_line - self.lines - 1
            ends = np.flatnonzero(np.frombuffer(self._data, np.uint8) == 10)
            used = int(ends[count - 1]) + 1
        self._at += used
        self.lines += self._data.count(b"\n", 0, used)


class FramePieces:
    """Pieces of a Parquet, Feather or Arrow file, as tables of pyarrow."""

    lines = 0

    def __init__(self, path: Path, source: str) -> None:
        self.source = source
        self.last = False
        with _reading_frame(source):
            self._batches = _batches(path)
            self._count: int = next(self._batches, 0)
        self._rest: Any = None
        self._piece: Any = None
        self._done = 0

    @property
    def share(self) -> float:
        """The share of the file that was read."""
        return self._done / max(1, self._count)

    def read(self, size: int) -> Any:
        """Return the next rows, of about `size` bytes; None at the end."""
        import pyarrow as pa

        parts = [] if self._rest is None else [self._rest]
        with _reading_frame(self.source):
            while not self.last and sum(part.nbytes for part in parts) < size:
                batch = next(self._batches, None)
                self.last = batch is None
                if batch is not None and len(batch):
                    check_arrow(part := pa.Table.from_batches([batch]))
                    parts.append(part)
        self._piece = pa.concat_tables(parts) if parts else None
        return self._piece

    def keep(self, rows: int, continued: Continued) -> None:
        """Go on after the rows that were read, of which there are `rows`."""
        self._rest = self._piece.slice(rows) if rows < len(self._piece) else None
        self._done += rows


def _reading_frame(source: str) -> AbstractContextManager[None]:
    return refuse_damaged(
        "the file cannot be read as Parquet, Feather or Arrow",
        "Check that it was written to the end, and that its name ends as it should.",
        source,
    )


def _batches(path: Path) -> Iterator[Any]:
    """Yield the number of rows of a Parquet, Feather or Arrow file, about, then its batches."""
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    with path.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic.startswith(b"PAR1"):
            # Pages are unpacked one by one, so that a row group may be as large as the file.
            parquet = pa.parquet.ParquetFile(
                file, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True
            )
            yield (count := parquet.metadata.num_rows)
            width = max(1, path.stat().st_size // max(1, count))
            rows = max(1, min(16_384, _BATCH // width))
            yield from parquet.iter_batches(batch_size=rows, use_threads=False)
        elif magic == b"ARROW1":
            reader = pa.ipc.open_file(file)
            numbers = range(reader.num_record_batches)
            yield len(numbers) * (len(reader.get_batch(0)) if numbers else 0)
            yield from map(reader.get_batch, numbers)
        else:
            stream = pa.ipc.open_stream(file)
            first = next(stream, None)
            if first is not None:
                yield path.stat().st_size * len(first) // max(1, first.nbytes)
                yield first
                yield from stream
