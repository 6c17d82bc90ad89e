"""Read and decode text files, with a reason and a remedy for each failure."""

from __future__ import annotations

import bz2
import codecs
import difflib
import gzip
import io
import lzma
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from elman.data.faults import refuse_damaged
from elman.errors import DataError
from elman.formats import READABLE, is_file_name

LONGEST_LINE = 64 << 20  # bytes; reading stops there, the file probably has no line ends
_CHUNK = 1 << 20  # bytes read at a time, so that a file without line ends is refused early
# First bytes of compressed files: the name of the compression, and the tool that unpacks it.
PACKINGS = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"PK\x03\x04": ("zip", "unzip"),
}
# First bytes of files often passed as text; the remedy says how to convert them. A compressed file
# is unpacked before, so that one that still looks compressed is so twice.
_MAGIC = {
    magic: (
        "a zip archive in a compressed file" if kind == "zip" else f"{kind}-compressed twice",
        f"Unpack it first: `{tool} FILE`.",
    )
    for magic, (kind, tool) in PACKINGS.items()
} | {
    b"\x04\x22\x4d\x18": ("lz4-compressed", "Unpack it first: `unlz4 FILE`."),
    b"\x1f\x9d": ("compressed by compress", "Unpack it first: `uncompress FILE`."),
    b"7z\xbc\xaf": ("a 7z archive", "Unpack it first: `7z x FILE`."),
    b"Rar!": ("a RAR archive", "Unpack it first: `unrar x FILE`."),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet of Excel", "Save the sheet as CSV (UTF-8)."),
    b"PAR1": ("a Parquet file", "Rename it to end in .parquet."),
    b"ARROW1": ("an Arrow file", "Rename it to end in .arrow."),
    b"\x93NUMPY": ("a NumPy array", "Rename it to end in .npy."),
    b"\x89HDF": ("an HDF5 file", "Save the arrays with numpy.savez."),
}
_DECOMPRESSORS = {"bzip2": bz2.BZ2Decompressor, "xz": lzma.LZMADecompressor}
# A file of text rarely unpacks to more than 20 times its size; one of zeros to 1,000 times.
_MOST_GROWTH = 100
_ALWAYS_UNPACKED = 64 << 20  # bytes to which every file may unpack
_UTF8 = "Save the file as UTF-8"
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n\s*\S")
_FIRST_LINES = 200


class TextFile:
    """A file of UTF-8 text, checked from its first to its last byte, and read in pieces.

    A file is never held as a whole, unless its whole text is asked for.

    Args:
        path: of the file, or its bytes. A compressed file is unpacked into memory.
        source: name of the file in messages.

    Attributes:
        name: of the file, or of the file in a zip archive.
        start: bytes before the text: those of a byte order mark.
        size: bytes of the file.
        before: lines of the file before this text, which may be a piece of it.

    Raises: DataError if it is missing, a folder, empty, compressed, binary or not UTF-8.
    """

    def __init__(self, path: Path | bytes, source: str, before: int = 0) -> None:
        self.path, self.source, self.before = path, source, before
        self.name = ""
        if isinstance(path, Path):
            self.name = path.name
            refuse_missing(path, source)
        try:
            if isinstance(path, Path) and (unpacked := unpack(path, source)):
                self.path, self.name = unpacked
            self._check()
        except OSError as error:
            raise DataError(
                f"the file cannot be read: {error.strerror or error}",
                remedy="Check the path and its permissions.",
                source=source,
                rule="file",
            ) from None

    def open(self) -> BinaryIO:
        """Return the bytes as a stream."""
        return self.path.open("rb") if isinstance(self.path, Path) else io.BytesIO(self.path)

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to before `end`, both counted from the file's start."""
        with self.open() as file:
            file.seek(start)
            return file.read(end - start)

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes of the file in pieces."""
        with self.open() as file:
            while block := file.read(_CHUNK):
                yield block

    def text(self) -> str:
        """Return the whole text, without a byte order mark."""
        return self.read(self.start, self.size).decode()

    def head(self, lines: int, most: int = 8 << 20) -> str:
        """Return the first lines, ends included; fewer if they have more than `most` bytes."""
        found = bytearray()
        for block in self.blocks():
            found += block
            if len(found) > most or found.count(b"\n") > lines:
                break
        if len(found) < self.size:
            # One line at least, and no half of one.
            ends = found.rfind(b"\n", 0, most) + 1 or found.find(b"\n") + 1
            found = found[:ends] if ends else bytearray(self.read(0, self.size))
        rows = io.StringIO(found[self.start :].decode(), newline="")
        return "".join(islice(rows, lines))

    def has_blank_lines(self) -> bool:
        """Whether a line among the first is blank, and lines follow it."""
        return _BLANK_LINE.search(self.head(_FIRST_LINES)) is not None

    def beginning(self) -> str:
        """Return the first characters of the text, from the first that is no space."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        for block in self.blocks():
            if text := decoder.decode(block).lstrip("\ufeff").lstrip():
                return text
        return ""

    def _check(self) -> None:
        """Refuse what is no text, in one pass over the bytes."""
        since = 0  # bytes since the last line end
        at = 0
        zero: int | None = None
        bad: int | None = None
        rest = b""  # of a character that the next block ends
        blank = True
        head = b""
        for block in self.blocks():
            if at == 0:
                head = block[:4096]
                self._check_head(head)
            end = max(block.rfind(b"\n"), block.rfind(b"\r"))
            since = since + len(block) if end < 0 else len(block) - 1 - end
            if since > LONGEST_LINE:
                raise DataError(
                    f"a line of more than {LONGEST_LINE >> 20} MiB, expected a line a sequence or"
                    " step",
                    remedy="Check the line ends; write long sequences with a row a time step.",
                    source=self.source,
                    line=self._line_of(at + len(block) - since),
                    rule="line length",
                )
            if zero is None and (found := block.find(b"\0")) >= 0:
                zero = at + found
            if bad is None:
                data = rest + block
                try:
                    # Strict: guessing Latin-1 or replacing invalid bytes would change words.
                    text, used = codecs.utf_8_decode(data, "strict", False)
                    rest = data[used:]
                    blank = blank and not text.removeprefix("\ufeff").strip()
                except UnicodeDecodeError as error:
                    bad = at + len(block) - len(data) + error.start
            at += len(block)
        self.size = at
        self.start = 3 if head.startswith(codecs.BOM_UTF8) else 0
        self._refuse_bytes(zero, bad if bad is not None or not rest else at - len(rest), blank)

    def _check_head(self, head: bytes) -> None:
        for magic, (what, remedy) in _MAGIC.items():
            if head.startswith(magic):
                problem = f"the file is {what}, expected text"
                raise DataError(problem, remedy=remedy, source=self.source, rule="compressed")
        if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _looks_utf16(head):
            raise DataError(
                "the text is encoded as UTF-16, expected UTF-8",
                remedy=f"{_UTF8}, for example `iconv -f UTF-16 -t UTF-8 FILE > NEW`.",
                source=self.source,
                rule="encoding",
            )

    def _refuse_bytes(self, zero: int | None, bad: int | None, blank: bool) -> None:
        """Raise the DataError for a zero byte, invalid UTF-8, or a file without text."""
        # A zero byte is valid UTF-8, but no text contains one: the file is binary or damaged.
        if zero is not None:
            raise DataError(
                "a zero byte: the file is binary or damaged, expected text",
                remedy=f"elman reads {READABLE}.",
                source=self.source,
                line=self._line_of(zero),
                rule="encoding",
            )
        if bad is not None:
            byte = self.read(bad, bad + 1)
            raise DataError(
                f"byte 0x{byte[0]:02x} is not UTF-8 (in Latin-1 it would be"
                f" {byte.decode('latin-1')!r})",
                remedy=f"{_UTF8}, for example `iconv -f LATIN1 -t UTF-8 FILE > NEW`.",
                source=self.source,
                line=self._line_of(bad),
                rule="encoding",
            )
        if blank:
            raise DataError(
                "the file is empty",
                remedy="Check that it was written to the end.",
                source=self.source,
                rule="empty",
            )

    def _line_of(self, at: int) -> int:
        """Return the line of a byte; lines end in \\n, \\r\\n or \\r."""
        lines, last, seen = 1 + self.before, b"", 0
        for block in self.blocks():
            block = block[: at - seen]
            seen += len(block)
            lines += block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")
            lines -= last == b"\r" and block[:1] == b"\n"
            last = block[-1:]
            if seen == at:
                break
        return lines


def load_text(path: Path, source: str) -> str:
    """Return the text of the file at `path`, decoded from UTF-8 and without a byte order mark.

    Raises: DataError if it is missing, a folder, empty, compressed, binary or not UTF-8.
    """
    return TextFile(path, source).text()


def unpack(path: Path, source: str) -> tuple[bytes, str] | None:
    """Return the content of a compressed file and its name; None if it is not compressed.

    Raises: DataError if it is damaged, has several files, or unpacks to unlikely many bytes.
    """
    if path.is_dir():
        return None
    with path.open("rb") as file:
        magic = file.read(6)
        kind, tool = next((own for key, own in PACKINGS.items() if magic.startswith(key)), ("", ""))
        if not kind:
            return None
        file.seek(0)
        size = path.stat().st_size
        name = path.name
        what = "zip archive or spreadsheet" if kind == "zip" else f"{kind} file"
        remedy = f"Copy or download it again; `{tool} -t FILE` tests it."
        remedy += " Save a sheet as CSV (UTF-8)." * (kind == "zip")
        with refuse_damaged(f"the {what} is damaged or was cut off", remedy, source):
            if kind in _DECOMPRESSORS:
                blocks = _unpack_streams(file, _DECOMPRESSORS[kind])
            elif kind == "zip":
                archive = zipfile.ZipFile(file)
                member = _only_member(archive, source)
                name = member.filename
                blocks = _blocks_of(archive.open(member))
            elif kind == "zstd":
                import pyarrow as pa

                blocks = _blocks_of(pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"))
            else:
                blocks = _blocks_of(gzip.GzipFile(fileobj=file))
            return _read_limited(blocks, size, source, tool), name


def _blocks_of(stream: Any) -> Iterator[bytes]:
    """Yield what a stream holds, in pieces."""
    with stream:
        while block := stream.read(_CHUNK):
            yield block


def _unpack_streams(file: BinaryIO, make: Callable[[], Any]) -> Iterator[bytes]:
    """Yield what a file of one or more compressed streams unpacks to, in pieces.

    Python's own `bz2.open` and `lzma.open` take a damaged second stream for the end of the file.

    Args:
        make: returns what unpacks one stream, such as `bz2.BZ2Decompressor`.
    Raises: EOFError for a stream without an end; the error of what unpacks for anything else.
    """
    unpacker, data, begun = make(), b"", False
    while data or (data := file.read(_CHUNK)):
        if not begun:
            data = data.lstrip(b"\0")  # padding between streams, and at the end
            begun = bool(data)
        if data:
            yield unpacker.decompress(data, _CHUNK)
        while not unpacker.eof and not unpacker.needs_input:
            yield unpacker.decompress(b"", _CHUNK)
        data = b""
        if unpacker.eof:
            unpacker, data, begun = make(), unpacker.unused_data, False
    if begun:
        raise EOFError("the end is missing")


def _read_limited(blocks: Iterable[bytes], size: int, source: str, tool: str) -> bytes:
    """Return what `size` compressed bytes unpack to."""
    most = max(_ALWAYS_UNPACKED, _MOST_GROWTH * size)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most = min(most, memory // 2)
    content = io.BytesIO()
    for block in blocks:
        if content.tell() + len(block) > most:
            raise DataError(
                f"{size:,} compressed bytes unpack to more than {most >> 20:,} MiB",
                remedy=f"If the file is what it should be, unpack it first: `{tool} FILE`.",
                source=source,
                rule="compressed",
            )
        content.write(block)
    return content.getvalue()


def _only_member(archive: zipfile.ZipFile, source: str) -> zipfile.ZipInfo:
    """Return the only file of a zip archive; refuse spreadsheets and several files."""
    members = [own for own in archive.infolist() if not own.is_dir()]
    names = [own.filename for own in members]
    # The Finder adds files for itself.
    kept = [own for own in members if not own.filename.startswith(("__MACOSX/", "."))]
    if names and all(name.endswith(".npy") for name in names):
        raise DataError(
            "the file is NumPy arrays, expected text",
            remedy="Rename it to end in .npz.",
            source=source,
            rule="compressed",
        )
    if len(kept) == 1 and "[Content_Types].xml" not in names and "mimetype" not in names:
        return kept[0]
    office = "[Content_Types].xml" in names or "mimetype" in names
    listed = ", ".join(map(repr, names[:3])) + ", ..." * (len(names) > 3)
    raise DataError(
        "the file is a spreadsheet, expected text"
        if office
        else f"the zip archive holds {len(kept):,} files ({listed}), expected one",
        remedy="Save the sheet as CSV (UTF-8)."
        if office
        else "Unpack it first: `unzip FILE`; arrays are called .npz.",
        source=source,
        rule="compressed",
    )


def refuse_missing(path: Path, source: str) -> None:
    """Raise a DataError naming similar files if nothing is at `path`."""
    if not path.exists():
        raise _missing(path, source)


def _looks_utf16(head: bytes) -> bool:
    # In Western text without a byte order mark every second byte is zero, and no other byte.
    half = len(head) // 2
    zeros = max(head[0::2].count(0), head[1::2].count(0))
    return half > 0 and zeros > 0.4 * half and min(head[0::2].count(0), head[1::2].count(0)) == 0


def _missing(path: Path, source: str) -> DataError:
    folder = path.parent
    if not folder.is_dir():
        return DataError(
            f"there is no folder {str(folder)!r}",
            remedy="Check the path.",
            source=source,
            rule="file",
        )
    names = sorted(p.name for p in folder.iterdir() if p.is_file())
    # A mistyped name is the usual reason; 0.6 is difflib's own cutoff.
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    # An ending in common makes any two short names similar; the rest must be similar too.
    stems = set(difflib.get_close_matches(path.stem, [Path(name).stem for name in near], n=3))
    near = [name for name in near if Path(name).stem in stems]
    if near:
        found = f"Did you mean {' or '.join(map(repr, near))}?"
    else:
        found = _list_folder(folder).strip() or f"There is no data file in {str(folder)!r}."
    return DataError("there is no such file", remedy=found, source=source, rule="file")


def _list_folder(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir() if is_file_name(p.name))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f" The folder holds {', '.join(map(repr, names[:5]))}{more}." if names else ""
