"""The cells of one column of text: as Python's strings, as Arrow's, or as numbers.

All give the same answers. A million Python strings take 60 MB and seconds to look at, so files are
read into Arrow's arrays; numbers that a file holds are not kept as text, but can be written again
exactly as they are in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLE = 1000  # cells of a column that are looked at where a million would take seconds
_MOST = 2_000_000  # of all columns together


def count_first(columns: int) -> int:
    """Return how many first rows of a table show what its columns hold."""
    return min(_SAMPLE, max(20, _MOST // columns))


class Cells:
    """Cells as a list of strings.

    Args:
        texts: exactly as they are in the file.
    """

    values: NDArray[np.float64] | None = None  # numbers, if all cells are plain numbers or missing
    encoded = False  # whether each distinct cell is kept once

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def first(self, count: int) -> Cells:
        """Return the first cells."""
        return Cells(self._texts[:count])

    def texts(self) -> list[str]:
        """Return all cells."""
        return self._texts

    def head(self, count: int) -> list[str]:
        """Return the first cells."""
        return self._texts[:count]

    def sample(self) -> list[str]:
        """Return about 1,000 cells: every k-th, because the first ones may all be gaps."""
        return self._texts[:: max(1, len(self) // _SAMPLE)]

    def cell(self, row: int) -> str:
        """Return one cell."""
        return self._texts[row]

    def strings(self) -> Any:
        """Return all cells as a list or as one array of pyarrow, whatever costs nothing."""
        return self._texts

    def factorize(self) -> tuple[NDArray[np.int32], list[str]]:
        """Return the index of every cell, (n,), in the distinct cells, without outer spaces."""
        known: dict[str, int] = {}
        codes = (known.setdefault(cell.strip(), len(known)) for cell in self._texts)
        return np.fromiter(codes, np.int32, len(self._texts)), list(known)

    def blank(self) -> NDArray[np.bool_]:
        """Return which cells hold nothing but spaces, (n,)."""
        return np.fromiter((not cell.strip() for cell in self._texts), bool, len(self._texts))


class ArrowCells(Cells):
    """Cells as Arrow's strings, or as indices in a dictionary of strings if they repeat.

    Args:
        data: chunked array of strings or of a dictionary of strings, without nulls.
    """

    def __init__(self, data: Any) -> None:
        import pyarrow as pa

        self.data = data
        self.encoded = pa.types.is_dictionary(data.type)

    def __len__(self) -> int:
        return len(self.data)

    def first(self, count: int) -> Cells:
        """Return the first cells; a dictionary keeps only what is in them."""
        import pyarrow as pa

        data = self.data.slice(0, count)
        if self.encoded:
            data = data.cast(pa.string()).dictionary_encode()
        return ArrowCells(data)

    def texts(self) -> list[str]:
        """Return all cells."""
        cells: list[str] = self.data.to_pylist()
        return cells

    def head(self, count: int) -> list[str]:
        """Return the first cells."""
        cells: list[str] = self.data.slice(0, count).to_pylist()
        return cells

    def sample(self) -> list[str]:
        """Return about 1,000 cells."""
        every = np.arange(0, len(self), max(1, len(self) // _SAMPLE))
        cells: list[str] = self.data.take(to_arrow(every)).to_pylist()
        return cells

    def cell(self, row: int) -> str:
        """Return one cell."""
        cell: str = self.data[row].as_py()
        return cell

    def strings(self) -> Any:
        """Return all cells as one array of strings."""
        import pyarrow as pa

        return self.data.cast(pa.large_string()).combine_chunks()

    def factorize(self) -> tuple[NDArray[np.int32], list[str]]:
        """Return the index of every cell, (n,), in the distinct cells, without outer spaces."""
        # Unification of as many dictionaries as pieces takes 20 s for 2,000,000 different cells;
        # what is encoded as a whole has one dictionary already.
        data = self.data
        data = data.unify_dictionaries() if self.encoded else data.dictionary_encode()
        parts = [from_arrow(chunk.indices) for chunk in data.chunks]
        codes = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        # Every chunk has the same dictionary now.
        distinct = data.chunk(0).dictionary.to_pylist() if parts else []
        return merge_codes(codes, [cell.strip() for cell in distinct])

    def blank(self) -> NDArray[np.bool_]:
        """Return which cells hold nothing but spaces, (n,)."""
        import pyarrow.compute as pc

        if self.encoded:
            codes, distinct = self.factorize()
            return np.array([not cell for cell in distinct], dtype=bool)[codes]
        trimmed = pc.utf8_trim_whitespace(self.data)
        return from_arrow(pc.equal(pc.binary_length(trimmed), 0))


class NumberCells(Cells):
    """Cells that are all plain numbers or missing; their texts are read again when asked for.

    Args:
        data: chunked array of float64 or int64, with nulls.
        exact: returns the cells as strings as they are in the file: all, or with True the first.
    """

    def __init__(self, data: Any, exact: Callable[[bool], Cells]) -> None:
        self.data, self._exact = data, exact
        self._count = len(data)
        self._values: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> NDArray[np.float64]:  # type: ignore[override]
        """The numbers, (n,) float64, NaN where one is missing."""
        if self._values is not None:
            return self._values
        return from_arrow(self.data).astype(np.float64, copy=False)

    def move(self, values: NDArray[np.float64]) -> Iterator[None]:
        """Put the numbers into `values`, (n,), piece by piece, and keep them only there."""
        chunks = [self._values] if self._values is not None else self.data.chunks[::-1]
        self._values, self.data = values, None
        start = 0
        while chunks:
            chunk = chunks.pop()  # its memory is free after the next line but one
            own = chunk if isinstance(chunk, np.ndarray) else from_arrow(chunk)
            values[start : start + len(own)] = own
            start += len(own)
            del chunk, own
            yield

    def first(self, count: int) -> Cells:
        """Return the first cells."""
        return NumberCells(self.data.slice(0, count), lambda few: self._exact(few).first(count))

    def texts(self) -> list[str]:
        """Return all cells."""
        return self._exact(False).texts()

    def head(self, count: int) -> list[str]:
        """Return the first cells."""
        first = self._exact(True)
        few = min(count, len(self)) <= len(first)
        return (first if few else self._exact(False)).head(count)

    def sample(self) -> list[str]:
        """Return the first cells: which they are does not matter among plain numbers."""
        return self._exact(True).head(_SAMPLE)

    def cell(self, row: int) -> str:
        """Return one cell."""
        first = self._exact(True)
        if row < len(first):
            return first.cell(row)
        return self._exact(False).cell(row)

    def strings(self) -> Any:
        """Return all cells as one array of strings."""
        return self._exact(False).strings()

    def factorize(self) -> tuple[NDArray[np.int32], list[str]]:
        """Return the index of every cell, (n,), in the distinct cells, without outer spaces."""
        return self._exact(False).factorize()

    def blank(self) -> NDArray[np.bool_]:
        """Return which cells hold nothing but spaces, (n,)."""
        gaps = np.isnan(self.values).any()
        return self._exact(False).blank() if gaps else np.zeros(len(self), dtype=bool)


class WholeCells(Cells):
    """Cells that are whole numbers, all written as Python writes them.

    Args:
        data: chunked array of int64, without nulls.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    @property
    def values(self) -> NDArray[np.float64]:  # type: ignore[override]
        """The numbers, (n,) float64."""
        return from_arrow(self.data).astype(np.float64, copy=False)

    def first(self, count: int) -> Cells:
        """Return the first cells."""
        return WholeCells(self.data.slice(0, count))

    def texts(self) -> list[str]:
        """Return all cells."""
        return list(map(str, self.data.to_pylist()))

    def head(self, count: int) -> list[str]:
        """Return the first cells."""
        return list(map(str, self.data.slice(0, count).to_pylist()))

    def sample(self) -> list[str]:
        """Return about 1,000 cells."""
        values = from_arrow(self.data)
        return list(map(str, values[:: max(1, len(self) // _SAMPLE)].tolist()))

    def cell(self, row: int) -> str:
        """Return one cell."""
        return str(self.data[row].as_py())

    def strings(self) -> Any:
        """Return all cells as one array of strings."""
        import pyarrow as pa

        return self.data.cast(pa.large_string()).combine_chunks()

    def factorize(self) -> tuple[NDArray[np.int32], list[str]]:
        """Return the index of every cell, (n,), in the distinct cells."""
        encoded = self.data.combine_chunks().dictionary_encode()
        return from_arrow(encoded.indices), list(map(str, encoded.dictionary.to_pylist()))

    def count_different(self) -> int:
        """Return the number of distinct cells."""
        import pyarrow.compute as pc

        count: int = pc.count_distinct(self.data).as_py()
        return count

    def blank(self) -> NDArray[np.bool_]:
        """Return which cells hold nothing but spaces, (n,): none."""
        return np.zeros(len(self), dtype=bool)


def to_arrow(numbers: NDArray[np.int64]) -> Any:
    """Return whole numbers as an array of pyarrow; its own conversion imports pandas."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])


def from_arrow(data: Any) -> NDArray[Any]:
    """Return numbers or truth values of pyarrow, (n,), NaN for null; without importing pandas."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(data, pa.ChunkedArray):
        parts = [from_arrow(chunk) for chunk in data.chunks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    if data.null_count:
        data = pc.fill_null(data, float("nan"))
    if pa.types.is_boolean(data.type):
        return from_arrow(data.cast(pa.uint8())).view(np.bool_)
    kinds = {"double": np.float64, "int64": np.int64, "int32": np.int32, "uint8": np.uint8}
    values = np.frombuffer(data.buffers()[1], kinds[str(data.type)])
    return values[data.offset : data.offset + len(data)]


def move_numbers(columns: Sequence[NumberCells], values: NDArray[np.float64]) -> None:
    """Put columns of numbers into an array, (n, C), and free their own memory on the way.

    All columns advance together: to fill them one by one needs the memory of the whole array before
    any is free.
    """
    import pyarrow as pa

    moves = [column.move(values[:, c]) for c, column in enumerate(columns)]
    for k, _ in enumerate(zip_longest(*moves)):
        if k % 8 == 7:
            pa.default_memory_pool().release_unused()


def join_cells(parts: Sequence[Cells]) -> Cells:
    """Return the cells of several files as those of one column."""
    import pyarrow as pa

    if all(isinstance(part, NumberCells | WholeCells) for part in parts):
        chunks = [c.cast(pa.float64()) for p in parts for c in p.data.chunks]  # type: ignore[attr-defined]

        def exact(first: bool) -> Cells:
            texts = parts[0].sample() if first else [t for part in parts for t in part.texts()]
            return Cells(texts)

        return NumberCells(pa.chunked_array(chunks), exact)
    return Cells([cell for part in parts for cell in part.texts()])


def merge_codes(codes: NDArray[Any], distinct: list[Any]) -> tuple[NDArray[Any], list[Any]]:
    """Return codes and the values that they stand for, of which each occurs once.

    Args:
        codes: index in `distinct` of every cell, (n,).
        distinct: values, in order of appearance.
    """
    known: dict[Any, int] = {}
    merged = [known.setdefault(value, len(known)) for value in distinct]
    if len(known) < len(distinct):
        codes = np.array(merged, dtype=codes.dtype)[codes]
    return codes, list(known)
