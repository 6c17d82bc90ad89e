"""Read and decode text files, with a reason and a remedy for each failure."""

from __future__ import annotations

import difflib
from pathlib import Path

from elman.errors import DataError
from elman.formats import KINDS, READABLE

LONGEST_LINE = 64 << 20  # bytes; reading stops there, the file probably has no line ends
_CHUNK = 1 << 20  # bytes read at a time, so that a file without line ends is refused early
# First bytes of files often passed as text; the remedy says how to convert them.
_MAGIC = {
    b"\x1f\x8b": ("gzip-compressed", "Unpack it first: `gunzip FILE`."),
    b"BZh": ("bzip2-compressed", "Unpack it first: `bunzip2 FILE`."),
    b"\xfd7zXZ": ("xz-compressed", "Unpack it first: `unxz FILE`."),
    b"\x28\xb5\x2f\xfd": ("zstd-compressed", "Unpack it first: `unzstd FILE`."),
    b"PK\x03\x04": (
        "a zip archive or spreadsheet",
        "Unpack it, or save the sheet as CSV (UTF-8); arrays are called .npz.",
    ),
    b"PAR1": ("a Parquet file", "Rename it to end in .parquet."),
    b"ARROW1": ("an Arrow file", "Rename it to end in .arrow."),
    b"\x93NUMPY": ("a NumPy array", "Rename it to end in .npy."),
    b"\x89HDF": ("an HDF5 file", "Save the arrays with numpy.savez."),
}
_UTF8 = "Save the file as UTF-8"


def load_text(path: Path, source: str) -> str:
    """Return the text of the file at `path`, decoded from UTF-8 and without a byte order mark.

    Raises: DataError if it is missing, a folder, empty, compressed, binary or not UTF-8.
    """
    refuse_missing(path, source)
    try:
        data = _bytes(path, source)
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}",
            remedy="Check the path and its permissions.",
            source=source,
            rule="file",
        ) from None
    return _decode(data, source)


def refuse_missing(path: Path, source: str) -> None:
    """Raise a DataError naming similar files if nothing is at `path`."""
    if not path.exists():
        raise _missing(path, source)


def _bytes(path: Path, source: str) -> bytes:
    """Read the file, stopping at a line that is longer than `LONGEST_LINE`."""
    chunks: list[bytes] = []
    since = lines = 0  # bytes since the last line end, lines before it
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            chunks.append(chunk)
            end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
            since = since + len(chunk) if end < 0 else len(chunk) - 1 - end
            lines += 0 if end < 0 else _line_of(chunk, end + 1) - 1
            if since > LONGEST_LINE and not chunks[0].startswith(tuple(_MAGIC)):
                raise DataError(
                    f"a line of more than {LONGEST_LINE >> 20} MiB, expected a line a sequence or"
                    " step",
                    remedy="Check the line ends; write long sequences with a row a time step.",
                    source=source,
                    line=lines + 1,
                    rule="line length",
                )
            if since > LONGEST_LINE:
                break
    return b"".join(chunks)


def _decode(data: bytes, source: str) -> str:
    for magic, (what, remedy) in _MAGIC.items():
        if data.startswith(magic):
            problem = f"the file is {what}, expected text"
            raise DataError(problem, remedy=remedy, source=source, rule="compressed")
    head = data[:4096]
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or _looks_utf16(head):
        raise DataError(
            "the text is encoded as UTF-16, expected UTF-8",
            remedy=f"{_UTF8}, for example `iconv -f UTF-16 -t UTF-8 FILE > NEW`.",
            source=source,
            rule="encoding",
        )
    # A zero byte is valid UTF-8, but no text contains one: the file is binary or damaged.
    at = data.find(b"\0")
    if at >= 0:
        raise DataError(
            "a zero byte: the file is binary or damaged, expected text",
            remedy=f"elman reads {READABLE}.",
            source=source,
            line=_line_of(data, at),
            rule="encoding",
        )
    try:
        # Strict: guessing Latin-1 or replacing invalid bytes would silently change words.
        # utf-8-sig removes the byte order mark that spreadsheets write; it would otherwise become
        # part of the first column's name.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig counts from after the byte order mark; lines are counted from the file's start.
        start = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        raise DataError(
            f"byte 0x{data[start]:02x} is not UTF-8"
            f" (in Latin-1 it would be {data[start : start + 1].decode('latin-1')!r})",
            remedy=f"{_UTF8}, for example `iconv -f LATIN1 -t UTF-8 FILE > NEW`.",
            source=source,
            line=_line_of(data, start),
            rule="encoding",
        ) from None
    if not text.strip():
        raise DataError(
            "the file is empty",
            remedy="Check that it was written to the end.",
            source=source,
            rule="empty",
        )
    return text


def _looks_utf16(head: bytes) -> bool:
    # In Western text without a byte order mark every second byte is zero, and no other byte.
    half = len(head) // 2
    zeros = max(head[0::2].count(0), head[1::2].count(0))
    return half > 0 and zeros > 0.4 * half and min(head[0::2].count(0), head[1::2].count(0)) == 0


def _line_of(data: bytes, at: int) -> int:
    head = data[:at]
    return 1 + head.count(b"\n") + head.replace(b"\r\n", b"\n").count(b"\r")


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
    names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in KINDS)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f" The folder holds {', '.join(map(repr, names[:5]))}{more}." if names else ""
