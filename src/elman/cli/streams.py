"""Standard output and error, which a reader may leave and a disk may be too full for."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from elman.cli import signals
from elman.errors import WriteError


class ReaderLeftError(Exception):
    """Whoever read what the command prints wants no more: `elman data train.csv | head -1`."""


class _Stream(io.FileIO):
    """A file descriptor that accepts and drops everything after its first failure.

    Args:
        descriptor: 1 or 2; it stays open.
        failed: called with the first failure; may raise.
    """

    def __init__(self, descriptor: int, failed: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._failed = failed
        self._lost = False

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Write, and return the number of bytes that the caller need not write again."""
        while not self._lost:
            try:
                written = super().write(data)
            except OSError as error:
                self._lost = True
                self._failed(error)
                break
            if written is not None:
                return written
            select.select([], [self.fileno()], [])  # a pipe in non-blocking mode is full
        return len(data)


class Streams:
    """What happens when standard output fails.

    Args:
        product: whether the printed text is what the command is for, such as that of `elman data`,
            so that the command fails; otherwise it goes on, and says so once.
    """

    def __init__(self) -> None:
        self.product = True

    def output_failed(self, error: OSError) -> None:
        """Raise an exception, or say that the command goes on."""
        left = error.errno in (errno.EPIPE, errno.ECONNRESET)
        if self.product and left:
            raise ReaderLeftError
        closed = left or error.errno == errno.EBADF
        reason = "it is closed" if closed else (error.strerror or str(error)).lower()
        if self.product:
            raise WriteError(
                f"standard output cannot be written: {reason}. Send it to another file or program"
            )
        if not signals.is_ending():
            sys.stderr.write(
                f"Standard output cannot be written: {reason}. The command goes on without it; "
                "its files are not affected\n"
            )
            sys.stderr.flush()


_current: Streams | None = None


@contextmanager
def guarded() -> Iterator[Streams]:
    """Guard standard output and error for the duration of a `with` block.

    Text that a terminal cannot encode is printed as escapes. Where Python's streams were replaced,
    by a notebook or a test, they are left alone.
    """
    global _current
    _open_missing()
    streams = Streams()
    before = sys.stdout, sys.stderr
    outer, _current = _current, streams
    try:
        # Messages that cannot be written are lost; the exit code still tells how the command ended.
        sys.stderr = _replace(sys.stderr, sys.__stderr__, 2, lambda error: None)
        sys.stdout = _replace(sys.stdout, sys.__stdout__, 1, streams.output_failed)
        yield streams
    finally:
        _current = outer
        sys.stdout, sys.stderr = before


def output_is_secondary() -> None:
    """Say that this command writes files, and that what it prints only accompanies them."""
    if _current is not None:
        _current.product = False


def _open_missing() -> None:
    """Open the standard descriptors that are closed, which the next file would get otherwise.

    Whatever a compiled library prints would end up in that file.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free number; writing to 1 fails, as before


def _replace(
    stream: TextIO, original: TextIO | None, descriptor: int, failed: Callable[[OSError], None]
) -> TextIO:
    """Return the guarded stream that takes the place of Python's own."""
    if stream is not original:
        return stream
    encoding, line_buffering, write_through = None, False, False
    if isinstance(stream, io.TextIOWrapper):
        stream.flush()
        encoding, line_buffering = stream.encoding, stream.line_buffering
        write_through = stream.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(descriptor, failed)),  # type: ignore[type-var]
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=line_buffering,
        write_through=write_through,
    )
