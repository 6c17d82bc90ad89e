"""The footer of a Parquet file: how much each of its column chunks says it holds.

pyarrow ends the process where a damaged footer contradicts itself (its `RowGroupMetaData.column`
lets a C++ exception through), so what has to be known before anything is read is read here.
Source: the Thrift compact protocol, and parquet.thrift of the format's specification.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LARGEST = 1 << 28  # bytes; a footer of 100,000 columns takes a tenth of it
_DEEPEST = 32
_BOOLEANS = (1, 2)
_BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)
_BYTE_ARRAY = 6  # the physical type of texts
# Fields of FileMetaData, RowGroup, ColumnChunk and ColumnMetaData.
_ROW_GROUPS, _COLUMNS, _META = 4, 1, 3
_TYPE, _PATH, _VALUES, _SIZE = 1, 3, 5, 6


@dataclass(frozen=True)
class Chunk:
    """A column of a row group.

    Args:
        name: path of the column in the schema.
        values: number of values, missing ones included.
        size: bytes before compression.
        is_text: whether the values are texts of any length.
    """

    name: str
    values: int
    size: int
    is_text: bool


def read_chunks(path: Path) -> list[Chunk]:
    """Return the column chunks that a Parquet file lists. Raises ValueError if it is damaged."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - 8))
        length = int.from_bytes(file.read(4), "little")
        if length > min(end - 8, _LARGEST):
            raise ValueError(f"the footer would have {length:,} bytes")
        file.seek(end - 8 - length)
        content = file.read(length)
    try:
        groups = _Reader(content).structure()[_ROW_GROUPS]
        about = [chunk[_META] for group in groups for chunk in group[_COLUMNS]]
        chunks = [
            Chunk(
                b".".join(own[_PATH]).decode(), own[_VALUES], own[_SIZE], own[_TYPE] == _BYTE_ARRAY
            )
            for own in about
        ]
        # A count below 0 would make up for one that is far too large.
        if any(min(chunk.values, chunk.size) < 0 for chunk in chunks):
            raise ValueError("the footer is damaged: a count is below 0")
    except (IndexError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"the footer is damaged: {error!r}") from error
    return chunks


class _Reader:
    """Reads values of the Thrift compact protocol; a struct becomes a dict by field number."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def number(self) -> int:
        """An unsigned integer, seven bits a byte."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("the footer is damaged: a number of more than 64 bits")

    def integer(self) -> int:
        """A signed integer: 0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
        value = self.number()
        return (value >> 1) ^ -(value & 1)

    def structure(self, depth: int = 0) -> dict[int, Any]:
        """A struct, by the number of each field."""
        if depth > _DEEPEST:
            raise ValueError("the footer is damaged: it is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while header := self.byte():
            number = number + (header >> 4) if header >> 4 else self.integer()
            kind = header & 15
            fields[number] = kind == 1 if kind in _BOOLEANS else self.value(kind, depth)
        return fields

    def value(self, kind: int, depth: int) -> Any:
        """A value of a type; a boolean is one of a list, which takes a byte."""
        if kind in _INTEGERS:
            return self.integer()
        if kind == _BINARY:
            length = self.number()
            self.at += length
            if self.at > len(self.content):
                raise ValueError("the footer is damaged: a text ends behind it")
            return self.content[self.at - length : self.at]
        if kind == _STRUCT:
            return self.structure(depth + 1)
        if kind in (_LIST, _SET):
            return self.elements(depth)
        if kind == _MAP:
            return self.pairs(depth)
        if kind == _DOUBLE:
            self.at += 8
            return struct.unpack_from("<d", self.content, self.at - 8)[0]
        if kind == _BYTE or kind in _BOOLEANS:
            return self.byte()
        raise ValueError(f"the footer is damaged: there is no type {kind}")

    def elements(self, depth: int) -> list[Any]:
        header = self.byte()
        count = header >> 4
        if count == 15:
            count = self.number()
        self._check_count(count, depth)
        return [self.value(header & 15, depth + 1) for _ in range(count)]

    def pairs(self, depth: int) -> list[tuple[Any, Any]]:
        count = self.number()
        self._check_count(count, depth)
        kinds = self.byte() if count else 0
        return [
            (self.value(kinds >> 4, depth + 1), self.value(kinds & 15, depth + 1))
            for _ in range(count)
        ]

    def _check_count(self, count: int, depth: int) -> None:
        """Refuse more elements than there are bytes; each takes one or more."""
        if count > len(self.content) - self.at or depth > _DEEPEST:
            raise ValueError("the footer is damaged: a list ends behind it")
