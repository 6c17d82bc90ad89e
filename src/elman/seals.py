"""Seals: a manifest.json with bytes and SHA-256 of every file of a folder, and its check."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any

from elman.disk import raise_error, write_file
from elman.errors import ElmanError, ModelFileError

MANIFEST = "manifest.json"
_FORMAT = 1
_LONGEST_MANIFEST = 1 << 20  # bytes


def seal(folder: str | Path) -> None:
    """Write manifest.json: bytes and SHA-256 of every file in the folder, sorted by name.

    Raises: WriteError; OSError if a file cannot be read.
    """
    names = [name for name in _files_in(Path(folder)) if name != MANIFEST]
    files = {name: _measure(Path(folder) / name) for name in sorted(names)}
    text = json.dumps({"format": _FORMAT, "files": files}, indent=2, ensure_ascii=False)
    write_file(Path(folder) / MANIFEST, text + "\n")


def check_seal(
    folder: str | Path,
    error: type[ElmanError] = ModelFileError,
    *,
    may_differ: Collection[str] = (),
) -> list[str]:
    """Check that a folder holds exactly the files of its manifest.json, unchanged.

    Names, kinds and sizes are checked before any content is read. Links are refused.

    Args:
        error: class of the error that is raised.
        may_differ: files that may be changed by hand, such as README.md.
    Returns: those of `may_differ` that were changed or are missing.
    """
    folder = Path(folder)
    listed = _read_manifest(folder, error)
    present = _files_in(folder, error)
    changed = []
    if besides := sorted(set(present) - set(listed) - {MANIFEST}):
        raise error(
            f"{folder / besides[0]}: not listed in {MANIFEST}, expected only the files that were "
            "written with it. Move it elsewhere, or save again"
        )
    for name, entry in listed.items():
        size = present.get(name)
        if size == entry["bytes"]:
            continue
        if name in may_differ:
            changed.append(name)
        elif size is None:
            raise error(f"{folder / name}: missing, but listed in {MANIFEST}. Save it again")
        else:
            raise error(
                f"{folder / name}: damaged: has {size:,} bytes, expected {entry['bytes']:,} "
                f"({MANIFEST}). Save it again, or copy the folder again"
            )
    for name, entry in listed.items():
        if name in changed or _measure(folder / name)["sha256"] == entry["sha256"]:
            continue
        if name not in may_differ:
            raise error(
                f"{folder / name}: damaged: its content is not that which was written (SHA-256 "
                f"in {MANIFEST}). Save it again, or copy the folder again"
            )
        changed.append(name)
    return changed


def _files_in(folder: Path, error: type[ElmanError] = ModelFileError) -> dict[str, int]:
    """Return the size of every file in a folder and its folders; anything else is refused."""
    found = {}
    for inner, folders, names in os.walk(folder, onerror=raise_error):
        for name in (*folders, *names):
            path = Path(inner) / name
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                found[path.relative_to(folder).as_posix()] = status.st_size
            elif not stat.S_ISDIR(status.st_mode):
                what = "a link" if stat.S_ISLNK(status.st_mode) else "no regular file"
                raise error(f"{path}: is {what}, expected a file. Put a copy in its place")
    return found


def _measure(path: Path) -> dict[str, Any]:
    """Return the bytes and the SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _read_manifest(folder: Path, error: type[ElmanError]) -> dict[str, dict[str, Any]]:
    """Return the entries of manifest.json by file name, strictly checked."""
    path = folder / MANIFEST
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{path}: is no regular file, expected what `save` wrote")
        if status.st_size > _LONGEST_MANIFEST:
            raise error(f"{path}: has {status.st_size:,} bytes, expected at most 1 MB")
        values = json.loads(path.read_bytes().decode(), object_pairs_hook=_unique)
        entries = values["files"]
        strict = set(values) == {"format", "files"} and all(
            set(entry) == {"bytes", "sha256"}
            and type(entry["bytes"]) is int
            and isinstance(entry["sha256"], str)
            for entry in entries.values()
        )
    except FileNotFoundError as missing:
        raise error(
            f"{path}: missing, so it is not known whether the folder is complete. Expected a "
            "folder written by this version of elman"
        ) from missing
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as broken:
        if isinstance(broken, ElmanError):
            raise
        raise error(f"{path}: damaged: not a list of files with bytes and sha256") from broken
    if not strict or type(values["format"]) is not int or values["format"] != _FORMAT:
        raise error(
            f"{path}: damaged or of another version: expected format {_FORMAT} and bytes and "
            "sha256 of each file"
        )
    return dict(entries)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key occurs twice")
    return values
