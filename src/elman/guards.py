"""Guards: seals, which show whether a file was changed, locks, and logs with several writers.

A seal is a manifest.json with bytes and SHA-256 of every file. Import from `elman.files`.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import socket
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from elman.disk import (
    INSIDE,
    append_line,
    beside,
    discard,
    is_alive,
    is_fixed,
    make_folders,
    own,
    remove_abandoned,
    remove_empty,
    temporary_name,
    try_lock,
    write_file,
    writing,
)
from elman.errors import ElmanError, ModelFileError, SettingsError
from elman.untrusted import unique_keys

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MANIFEST = "manifest.json"
_FORMAT = 1
_LONGEST_MANIFEST = 1 << 20  # bytes
_MOST_FILES = 10_000


def seal(folder: str | Path) -> None:
    """Write manifest.json: bytes and SHA-256 of every file in the folder, sorted by name.

    Raises: WriteError; OSError if a file cannot be read.
    """
    names = [name for name in _files_in(Path(folder)) if name != MANIFEST]
    files = {name: _measure(Path(folder) / name) for name in sorted(names)}
    write_file(Path(folder) / MANIFEST, _to_text(files))


def make_manifest(files: Mapping[str, bytes]) -> bytes:
    """Return the content of the manifest.json that `seal` would write for these files."""
    entries = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(files.items())
    }
    return _to_text(entries).encode()


def _to_text(entries: Mapping[str, Any]) -> str:
    return json.dumps({"format": _FORMAT, "files": entries}, indent=2, ensure_ascii=False) + "\n"


def check_seal(
    folder: str | Path,
    *,
    may_differ: Collection[str] = (),
) -> list[str]:
    """Check that a folder holds exactly the files of its manifest.json, unchanged.

    Names, kinds and sizes are checked before any content is read. Links are refused.

    Args:
        may_differ: files that may be changed by hand, such as README.md.
    Returns: those of `may_differ` that were changed or are missing.
    """
    with _reading(folder):
        sums, changed = check_names(folder, may_differ=may_differ)
        for name, expected in sums.items():
            if name in changed or _measure(Path(folder) / name)["sha256"] == expected:
                continue
            if name not in may_differ:
                raise damaged(Path(folder) / name)
            changed.append(name)
        return changed


@contextmanager
def _reading(folder: str | Path) -> Iterator[None]:
    """Turn an OSError of the block into a ModelFileError, which names what cannot be read."""
    try:
        yield
    except OSError as problem:
        if isinstance(problem, ElmanError):
            raise
        place = problem.filename or folder
        raise ModelFileError(f"{place}: cannot be read: {problem.strerror or problem}") from problem


def check_names(
    folder: str | Path,
    *,
    may_differ: Collection[str] = (),
) -> tuple[dict[str, str], list[str]]:
    """Check names, kinds and sizes of the files of a sealed folder; arguments as `check_seal`.

    For a caller that reads the files anyway, and compares the sums of what it has read.

    Returns: the expected SHA-256 of each file, and those of `may_differ` of another size.
    """
    folder = Path(folder)
    with _reading(folder):
        listed, present = _read_manifest(folder), _files_in(folder)
    changed = []
    if besides := sorted(set(present) - set(listed) - {MANIFEST}):
        raise ModelFileError(
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
            raise ModelFileError(
                f"{folder / name}: missing, but listed in {MANIFEST}. Save it again"
            )
        else:
            raise ModelFileError(
                f"{folder / name}: damaged: has {size:,} bytes, expected {entry['bytes']:,} "
                f"({MANIFEST}). Save it again, or copy the folder again"
            )
    return {name: entry["sha256"] for name, entry in listed.items()}, changed


def damaged(path: Path) -> ElmanError:
    """Return the error for a file whose content is not what its manifest.json lists."""
    return ModelFileError(
        f"{path}: damaged: its content is not that which was written (SHA-256 in {MANIFEST}). "
        "Save it again, or copy the folder again"
    )


def _files_in(folder: Path) -> dict[str, int]:
    """Return the size of every file in a folder and its folders; anything else is refused.

    Hidden entries, such as the .DS_Store of a file manager, are passed over: nobody reads them.
    """
    found: dict[str, int] = {}
    waiting = [folder]
    while waiting:
        for path in waiting.pop().iterdir():
            if path.name.startswith("."):
                continue
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                waiting.append(path)
            elif stat.S_ISREG(status.st_mode):
                found[path.relative_to(folder).as_posix()] = status.st_size
            else:
                what = "a link" if stat.S_ISLNK(status.st_mode) else "no regular file"
                raise ModelFileError(f"{path}: is {what}, expected a file. Put a copy in its place")
            if len(found) + len(waiting) > _MOST_FILES:
                raise ModelFileError(
                    f"{folder}: holds more than {_MOST_FILES:,} files, expected a model"
                )
    return found


def _measure(path: Path) -> dict[str, Any]:
    """Return the bytes and the SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of manifest.json by file name, strictly checked."""
    path = folder / MANIFEST
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path}: is no regular file, expected what `save` wrote")
        if status.st_size > _LONGEST_MANIFEST:
            raise ModelFileError(f"{path}: has {status.st_size:,} bytes, expected at most 1 MB")
        values = json.loads(path.read_bytes().decode(), object_pairs_hook=unique_keys)
        entries = values["files"]
        strict = set(values) == {"format", "files"} and all(
            set(entry) == {"bytes", "sha256"}
            and type(entry["bytes"]) is int
            and isinstance(entry["sha256"], str)
            for entry in entries.values()
        )
    except FileNotFoundError as missing:
        raise ModelFileError(
            f"{path}: missing, so it is not known whether the folder is complete. Expected a "
            "folder written by this version of elman"
        ) from missing
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as broken:
        if isinstance(broken, ElmanError):
            raise
        raise ModelFileError(
            f"{path}: damaged: not a list of files with bytes and sha256"
        ) from broken
    if not strict or type(values["format"]) is not int or values["format"] != _FORMAT:
        raise ModelFileError(
            f"{path}: damaged or of another version: expected format {_FORMAT} and bytes and "
            "sha256 of each file"
        )
    return dict(entries)


@contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Hold a folder for writing during a `with` block; the system releases it if we die.

    The lock is a file beside the folder, `.<name>.lock`, so that the folder can be renamed; for a
    folder that cannot be renamed it is in it. It holds the owner's process, machine and time, and
    is removed at the end.

    Raises: SettingsError naming the owner if another process, or another thread of this one, holds
        the folder; WriteError.
    """
    target = os.path.realpath(folder)
    inside = is_fixed(target)
    path = os.path.join(target, f".{INSIDE}.lock") if inside else beside(target, "lock")
    process = os.getpid()
    made: list[str] = []
    try:
        with writing(folder):
            make_folders(os.path.dirname(target), made)
            descriptor = _take(path, folder)
        try:
            yield
        finally:
            if os.getpid() == process:  # not in a child made by fork
                discard(path)
            with suppress(OSError):
                os.close(descriptor)
    finally:
        remove_empty(made)


def _take(path: str, folder: str | Path) -> int:
    """Open and lock a lock file and write the owner to it; return its descriptor."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        taken = False
        try:
            locked = try_lock(descriptor)
            owner = _read_owner(descriptor)
            if locked is False or (locked is None and _is_held(owner)):
                raise _held(folder, owner, path)
            # The owner before may have removed the file after we had opened it.
            with suppress(FileNotFoundError):
                taken = os.path.samestat(os.fstat(descriptor), os.stat(path))
            if taken:
                _write_owner(descriptor)
                return descriptor
        except BaseException:
            if taken:
                discard(path)
            with suppress(OSError):
                os.close(descriptor)
            raise
        os.close(descriptor)


def _write_owner(descriptor: int) -> None:
    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    values = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(values).encode(), 0)


def _read_owner(descriptor: int) -> dict[str, Any]:
    with suppress(ValueError):
        values = json.loads(os.pread(descriptor, 4096, 0))
        if isinstance(values, dict):
            return values
    return {}


def _is_held(owner: dict[str, Any]) -> bool:
    """Whether the owner in a lock file is alive, as far as can be known without file locks."""
    process, host = owner.get("pid"), owner.get("host")
    return isinstance(process, int) and (host != socket.gethostname() or is_alive(process))


def _held(folder: str | Path, owner: dict[str, Any], path: str) -> SettingsError:
    who = f"process {owner['pid']}" if "pid" in owner else "another process"
    host = owner.get("host")
    where = "" if host in (None, socket.gethostname()) else f" on {host}"
    since = f" since {owner['since']}" if "since" in owner else ""
    stale = f" (if it is dead, remove {path})" if where else ""
    return SettingsError(
        f"{folder}: {who}{where} is writing there{since}; wait for it{stale}, or name another "
        "folder with --out"
    )


@contextmanager
def scratch_folder(near: str | Path) -> Iterator[Path]:
    """Make an empty folder below `near` for the block; it is removed afterwards.

    What a process left that was killed is removed by the next one.

    Raises: WriteError.
    """
    target = os.path.join(os.path.realpath(near), "scratch")
    remove_abandoned(target)
    temporary = temporary_name(target)
    descriptor = -1
    try:
        with writing(near):
            os.mkdir(temporary)
            descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
            try_lock(descriptor)
        yield Path(temporary)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        discard(temporary)
        own.discard(temporary)


# -- logs that several processes write at the same time -----------------------------------------


def append_together(path: str | Path, lines: Sequence[str]) -> None:
    """Append lines to a log that other processes append to as well, and sync it.

    The file itself is locked meanwhile. The system releases the lock if this process dies, and
    the next writer removes the part of a line that it may have left.

    Args:
        path: the file; made if missing.
        lines: text without newlines.
    Raises: WriteError.
    """
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _wait_for_lock(descriptor)
            for line in lines:
                append_line(path, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_together(path: str | Path, start: int = 0) -> bytes:
    """Return the whole lines of a log from a position on, while no other process appends to it.

    Without the lock, one could read the first half of a line that a dead process left, and then
    the second half of the line that took its place.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _wait_for_lock(descriptor, shared=True)
        os.lseek(descriptor, start, os.SEEK_SET)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            content = file.read()
    finally:
        os.close(descriptor)
    return content[: content.rfind(b"\n") + 1]


def _wait_for_lock(descriptor: int, *, shared: bool = False) -> None:
    """Lock an open file until it is closed, for one writer or `shared` readers; wait for it.

    Raises: OSError with ENOLCK if the file system has no locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
