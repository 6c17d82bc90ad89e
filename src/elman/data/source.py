"""From a path to checked text, with a plain reason and a remedy where that fails."""

from __future__ import annotations

import difflib
from pathlib import Path

from elman.errors import DataError

FAMILIES = {
    ".csv": "table",
    ".tsv": "table",
    ".tab": "table",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".ts": "ts",
}
READABLE = "CSV and TSV (.csv, .tsv, .tab), JSON lines (.jsonl, .ndjson, .json) and UCR/UEA .ts"
_MAGIC = {
    b"\x1f\x8b": ("gzip-compressed", "Unpack it first: `gunzip FILE`."),
    b"BZh": ("bzip2-compressed", "Unpack it first: `bunzip2 FILE`."),
    b"\xfd7zXZ": ("xz-compressed", "Unpack it first: `unxz FILE`."),
    b"PK\x03\x04": ("a zip archive or spreadsheet", "Unpack it, or save the sheet as CSV (UTF-8)."),
    b"PAR1": ("a Parquet file", f"elman reads {READABLE}; save it as one of these."),
}
_UTF8 = "Save the file as UTF-8"


def load_text(path: Path, source: str) -> str:
    """Return the text of the file at `path`, decoded from UTF-8 and without a byte order mark.

    Raises: DataError when it is missing, a folder, empty, compressed, binary or not UTF-8.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _missing(path, source) from None
    except IsADirectoryError:
        raise DataError(
            f"this is a folder, expected a file.{_inside(path)}",
            remedy="Give the path of one data file.",
            source=source,
        ) from None
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}",
            remedy="Check the path and its permissions.",
            source=source,
        ) from None
    return _decode(data, source)


def _decode(data: bytes, source: str) -> str:
    for magic, (what, remedy) in _MAGIC.items():
        if data.startswith(magic):
            raise DataError(f"the file is {what}, expected text", remedy=remedy, source=source)
    head = data[:4096]
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or _looks_utf16(head):
        raise DataError(
            "the text is encoded as UTF-16, expected UTF-8",
            remedy=f"{_UTF8}, for example `iconv -f UTF-16 -t UTF-8 FILE > NEW`.",
            source=source,
        )
    at = data.find(b"\0")
    if at >= 0:
        raise DataError(
            "a zero byte: the file is binary or damaged, expected text",
            remedy=f"elman reads {READABLE}.",
            source=source,
            line=_line_of(data, at),
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        raise DataError(
            f"byte 0x{data[start]:02x} is not UTF-8"
            f" (in Latin-1 it would be {data[start : start + 1].decode('latin-1')!r})",
            remedy=f"{_UTF8}, for example `iconv -f LATIN1 -t UTF-8 FILE > NEW`.",
            source=source,
            line=_line_of(data, start),
        ) from None
    if not text.strip():
        raise DataError(
            "the file is empty", remedy="Check that it was written to the end.", source=source
        )
    return text


def _looks_utf16(head: bytes) -> bool:
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
            f"there is no folder {str(folder)!r}", remedy="Check the path.", source=source
        )
    names = sorted(p.name for p in folder.iterdir() if p.is_file())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    if near:
        found = f"Did you mean {' or '.join(map(repr, near))}?"
    else:
        found = _inside(folder).strip() or f"No data file lies in {str(folder)!r}."
    return DataError("there is no such file", remedy=found, source=source)


def _inside(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in FAMILIES)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f" The folder holds {', '.join(map(repr, names[:5]))}{more}." if names else ""
