"""How large an Arrow file will be in memory, from its metadata, before anything is unpacked.

The layout of messages is that of Arrow's format specification (Message.fbs), and of tables that of
FlatBuffers. pyarrow shows neither the lengths of buffers nor those after they are unpacked.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_HEAD = 8  # bytes before the first message of a file: ARROW1 and padding
_STRUCT = struct.Struct("<qq")  # of a node: length, nulls; of a buffer: offset, length
# Fields of the tables, by their position.
_HEADER, _LENGTH, _NODES, _BUFFERS, _COMPRESSION, _DICTIONARY = 2, 0, 1, 2, 3, 1


class Size(NamedTuple):
    """What an Arrow file says of its size.

    Args:
        rows: rows of all batches.
        columns: columns of the table.
        memory: bytes of all buffers, unpacked, or of a number for each cell if that is more.
    """

    rows: int
    columns: int
    memory: int


def measure_ipc(path: Path, is_file: bool) -> Size:
    """Return the size of the tables in an Arrow file.

    Args:
        is_file: whether it is a file, with a magic number, or a stream.
    Raises: ValueError or pyarrow's errors, which are some, if it is damaged.
    """
    import pyarrow as pa
    import pyarrow.ipc

    rows = columns = memory = 0
    with pa.memory_map(str(path)) as stream:
        stream.seek(_HEAD if is_file else 0)
        for message in pa.ipc.MessageReader.open_stream(stream):
            if message.type == "schema":
                columns = len(pa.ipc.read_schema(message))
            if message.type not in ("record batch", "dictionary"):
                continue
            try:
                count, size = _measure_batch(
                    memoryview(message.metadata), memoryview(message.body), message.type
                )
            except (struct.error, IndexError):
                raise ValueError("a message has invalid metadata") from None
            rows += count
            memory += size
    return Size(rows, columns, memory)


def _measure_batch(metadata: memoryview, body: memoryview, kind: str) -> tuple[int, int]:
    """Return the rows and the bytes of a record batch; the values of a dictionary are no rows."""
    (root,) = struct.unpack_from("<I", metadata)
    batch = _follow(metadata, _field(metadata, root, _HEADER))
    if kind == "dictionary":
        batch = _follow(metadata, _field(metadata, batch, _DICTIONARY))
    at = _field(metadata, batch, _LENGTH)
    rows = struct.unpack_from("<q", metadata, at)[0] if at else 0
    cells = sum(length for length, _ in _structs(metadata, _field(metadata, batch, _NODES)))
    packed = _field(metadata, batch, _COMPRESSION) > 0
    memory = 0
    for offset, length in _structs(metadata, _field(metadata, batch, _BUFFERS)):
        # A packed buffer starts with its length after unpacking, -1 if it is stored as it is.
        unpacked = struct.unpack_from("<q", body, offset)[0] if packed and length else -1
        memory += length if unpacked < 0 else unpacked
    return 0 if kind == "dictionary" else rows, max(memory, 8 * cells)


def _field(data: memoryview, table: int, position: int) -> int:
    """Return where a field of a FlatBuffers table is, 0 if it has its default value."""
    slots = table - struct.unpack_from("<i", data, table)[0]
    if 4 + 2 * position >= struct.unpack_from("<H", data, slots)[0]:
        return 0
    offset: int = struct.unpack_from("<H", data, slots + 4 + 2 * position)[0]
    return table + offset if offset else 0


def _follow(data: memoryview, at: int) -> int:
    """Return where the table or vector is to which the offset at a place points."""
    offset: int = struct.unpack_from("<I", data, at)[0]
    return at + offset


def _structs(data: memoryview, at: int) -> list[tuple[int, int]]:
    """Return the pairs of a vector."""
    if not at:
        return []
    vector = _follow(data, at)
    (count,) = struct.unpack_from("<I", data, vector)
    return [_STRUCT.unpack_from(data, vector + 4 + 16 * i) for i in range(count)]
