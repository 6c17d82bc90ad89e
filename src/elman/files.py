"""The one place that writes files: whole files, whole folders, logs, seals and locks.

What stands under a name is complete: a file or folder is made under a temporary name beside its
own, synced, and renamed in one step. If anything fails, or the process is killed at any instant,
what stood there before still stands. Nothing else in the package opens a file for writing.
"""

from __future__ import annotations

import ctypes
import datetime
import errno
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from elman import disk
from elman.disk import append_line, raise_error, read_lines, sync_names, write_file, writing
from elman.errors import SettingsError, WriteError
from elman.seals import MANIFEST, check_seal, seal

__all__ = [
    "MANIFEST",
    "WriteError",
    "append_line",
    "check_seal",
    "lock",
    "make_folder",
    "move",
    "new_folder",
    "read_lines",
    "recover",
    "remove",
    "seal",
    "sync_folder",
    "write_file",
    "writing",
]

_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_AT_FDCWD = -100


def make_folder(path: str | Path) -> None:
    """Make a folder and its missing parents, and sync them. Raises WriteError."""
    with writing(path):
        _make(os.path.abspath(path))


def _make(path: str) -> list[str]:
    """Make a folder and its missing parents; return those made, the innermost first."""
    made: list[str] = []
    parent = os.path.dirname(path)
    if not os.path.isdir(path):
        if parent != path:
            made = _make(parent)
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
        else:
            made.insert(0, path)
            sync_names(parent)
    return made


def move(path: str | Path, target: str | Path) -> None:
    """Rename a file or folder, and sync the folder that it is in. Raises WriteError."""
    with writing(target):
        os.rename(path, target)
        sync_names(os.path.dirname(os.path.abspath(target)))


def remove(path: str | Path) -> None:
    """Remove a file or folder; a folder vanishes in one step. One that is missing is no error.

    Raises: WriteError.
    """
    full = os.path.abspath(path)
    with writing(path):
        if not os.path.lexists(full):
            return
        if os.path.islink(full) or not os.path.isdir(full):
            os.unlink(full)
        else:
            # Renamed first, so that a process killed in between leaves no half of a folder.
            temporary = disk.temporary_name(full)
            os.rename(full, temporary)
            disk.delete(temporary)
            disk.own.discard(temporary)
        sync_names(os.path.dirname(full))


def sync_folder(path: str | Path) -> None:
    """Sync every file and folder in a folder, then the folder itself. Raises WriteError."""
    with writing(path):
        for folder, _, names in os.walk(path, topdown=False, onerror=raise_error):
            for name in names:
                full = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(full).st_mode):
                    descriptor = os.open(full, os.O_RDONLY)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
            sync_names(folder)


@contextmanager
def new_folder(path: str | Path, *, replace: bool) -> Iterator[Path]:
    """Fill a temporary folder in a `with` block, which then becomes `path` in one step.

    The temporary folder is beside `path`. At the end of the block all of it is synced and renamed.
    If the block fails or the process dies, the old folder stands. What a dead process left is
    removed the next time.

    Args:
        path: a folder; parents are made if missing. A link is followed.
        replace: an existing folder is replaced, WITH EVERYTHING IN IT, else it must be empty.
    Yields: the temporary folder to fill.
    Raises: WriteError; SettingsError if `path` is a file or, without `replace`, is not empty.
    """
    target = os.path.realpath(path)
    recover(target)
    _check_target(path, target, replace)
    made: list[str] = []
    temporary = disk.temporary_name(target)
    disk.in_progress[temporary] = os.fspath(path)
    descriptor = -1
    try:
        with writing(path):
            made = _make(os.path.dirname(target))
            disk.remove_abandoned(target)
            os.mkdir(temporary)
            descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
            disk.try_lock(descriptor)
        yield Path(temporary)
        with writing(path):
            sync_folder(temporary)
            _put_in_place(temporary, target, path, replace)
            sync_names(os.path.dirname(target))
    except BaseException:
        _restore(target, f"{temporary}-old")
        with suppress(OSError):
            disk.delete(temporary)
        for folder in made:
            with suppress(OSError):
                os.rmdir(folder)
        raise
    finally:
        disk.in_progress.pop(temporary, None)
        if descriptor >= 0:
            os.close(descriptor)
        disk.own.discard(temporary)
    # Now the temporary name is the old folder's, if there was one.
    for old in (temporary, f"{temporary}-old"):
        with suppress(OSError):
            disk.delete(old)


def _check_target(path: str | Path, target: str, replace: bool) -> None:
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target):
        raise SettingsError(f"{path}: is a file, expected a folder. Name another folder")
    if not replace and os.listdir(target):
        raise SettingsError(f"{path}: exists already and is not empty. Name another folder")


def _put_in_place(temporary: str, target: str, path: str | Path, replace: bool) -> None:
    """Rename a complete temporary folder to `target`, whether or not something stands there."""
    for _ in range(100):  # another process may make or remove the folder in between
        try:
            if not replace or not os.path.isdir(target):
                os.rename(temporary, target)  # onto a missing or an empty folder
                return
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode) | 0o700)
            if not _exchange(temporary, target):
                _replace_in_two_steps(temporary, target)
            return
        except FileNotFoundError:
            if not os.path.isdir(temporary):
                raise
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not replace:
                raise SettingsError(
                    f"{path}: another process made this folder meanwhile. Name another folder"
                ) from error
    raise OSError(errno.EBUSY, "other processes keep replacing it")


def _exchange(first: str, second: str) -> bool:
    """Swap two folders in one step; return False where the system cannot do that."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        function: Any = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    names = os.fsencode(first), os.fsencode(second)
    if function(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code))


def _replace_in_two_steps(temporary: str, target: str) -> None:
    """Rename the old folder away and the new one in; `recover` mends a crash in between."""
    old = f"{temporary}-old"
    os.rename(target, old)
    sync_names(os.path.dirname(target))
    try:
        os.rename(temporary, target)
    except BaseException:
        _restore(target, old)
        raise


def _restore(target: str, old: str) -> None:
    if os.path.isdir(old) and not os.path.lexists(target):
        with suppress(OSError):
            os.rename(old, target)


def recover(path: str | Path) -> None:
    """Put the old folder back if a process died while it replaced `path`; never fails.

    For whoever reads a folder: a crash between two renames leaves nothing under its name.
    """
    target = os.path.realpath(path)
    for old in disk.abandoned(target, "partial-old"):
        _restore(target, old)
        with suppress(OSError):
            disk.delete(old)


@contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Hold a folder for writing during a `with` block; the system releases it if we die.

    The lock is a file beside the folder, `.<name>.lock`, so that the folder can be renamed. It
    holds the owner's process, machine and time, and is removed at the end.

    Raises: SettingsError naming the owner if another process, or another thread of this one, holds
        the folder; WriteError.
    """
    target = os.path.realpath(folder)
    path = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.lock")
    with writing(folder):
        made = _make(os.path.dirname(target))
        descriptor = _take(path, folder)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)
        os.close(descriptor)
        for parent in made:
            with suppress(OSError):
                os.rmdir(parent)


def _take(path: str, folder: str | Path) -> int:
    """Open and lock a lock file and write the owner to it; return its descriptor."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            locked = disk.try_lock(descriptor)
            owner = _read_owner(descriptor)
            if locked is False or (locked is None and _is_held(owner)):
                raise _held(folder, owner, path)
            # The owner before may have removed the file after we had opened it.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
                    values = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, json.dumps(values).encode(), 0)
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _read_owner(descriptor: int) -> dict[str, Any]:
    with suppress(ValueError):
        values = json.loads(os.pread(descriptor, 4096, 0))
        if isinstance(values, dict):
            return values
    return {}


def _is_held(owner: dict[str, Any]) -> bool:
    """Whether the owner in a lock file is alive, as far as can be known without file locks."""
    process, host = owner.get("pid"), owner.get("host")
    return isinstance(process, int) and (host != socket.gethostname() or disk.is_alive(process))


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
