"""The one place that writes files: whole files, whole folders, logs, seals and locks.

What stands under a name is complete: a file or folder is made under a temporary name beside its
own, synced, and renamed in one step. If anything fails, or the process is killed at any instant,
what stood there before still stands. Nothing else in the package opens a file for writing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from elman import disk
from elman.disk import append_bytes, append_line, raise_error, sync_names, write_file, writing
from elman.errors import SettingsError, WriteError
from elman.guards import MANIFEST, append_together, check_seal, lock, read_together, seal
from elman.guards import scratch_folder as scratch_folder

__all__ = [
    "MANIFEST",
    "WriteError",
    "append_bytes",
    "append_line",
    "append_together",
    "check_seal",
    "exchange",
    "is_internal",
    "lock",
    "make_folder",
    "move",
    "new_folder",
    "read_lines",
    "read_together",
    "recover",
    "remove",
    "scratch_folder",
    "seal",
    "sync_folder",
    "write_file",
    "writing",
]


_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_AT_FDCWD = -100
# A mount point, a folder of a lower layer of an overlay, one whose parent is read-only.
_CANNOT_RENAME = (errno.EXDEV, errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS)


def make_folder(path: str | Path) -> None:
    """Make a folder and its missing parents, and sync them. Raises WriteError."""
    made: list[str] = []
    try:
        with writing(path):
            disk.make_folders(os.path.abspath(path), made)
    except BaseException:
        disk.remove_empty(made)
        raise


def read_lines(path: str | Path) -> list[str]:
    """Return the whole lines of a log; half a line at its end, which was cut off, is left out."""
    with open(path, "rb") as file:
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1].decode("utf-8")
    return whole.split("\n")[:-1]  # not splitlines: JSON may contain U+2028


def move(path: str | Path, target: str | Path) -> None:
    """Rename a file or folder, and sync the folder that it is in. Raises WriteError."""
    with writing(target):
        os.rename(path, target)
        sync_names(os.path.dirname(os.path.abspath(target)))


def exchange(first: str | Path, second: str | Path) -> bool:
    """Swap two folders of one file system in one step, and sync the folders that they are in.

    Returns: False, and nothing is changed, where the system cannot do that.
    Raises: WriteError.
    """
    paths = os.path.abspath(first), os.path.abspath(second)
    with writing(second):
        done = _exchange(*paths)
        for parent in {os.path.dirname(path) for path in paths} if done else ():
            sync_names(parent)
    return done


def remove(path: str | Path, sync: bool = True) -> None:
    """Remove a file or folder; a folder vanishes in one step. One that is missing is no error.

    Args: sync: False saves the milliseconds of a sync; a power failure may then undo it.
    Raises: WriteError.
    """
    full = os.path.abspath(path)
    with writing(path):
        disk.remove_abandoned(full)  # a process was killed after the renaming below
        if not os.path.lexists(full):
            return
        if os.path.islink(full) or not os.path.isdir(full):
            os.unlink(full)
        else:
            # Renamed first, so that a process killed in between leaves no half of a folder.
            temporary = disk.temporary_name(full)
            try:
                os.rename(full, temporary)
                disk.discard(temporary)
            except BaseException:  # Ctrl-C, perhaps in the middle of it
                disk.discard(temporary)
                raise
            finally:
                disk.own.discard(temporary)
        if sync:
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
    removed the next time. A folder that cannot be renamed (a mount point, the current folder, one
    whose parent is read-only) is filled from within, entry by entry; `recover` completes that after
    a crash.

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
    fixed = disk.is_fixed(target) or _is_current(target)
    temporary = disk.temporary_name(os.path.join(target, disk.INSIDE) if fixed else target)
    disk.in_progress[temporary] = os.fspath(path)
    descriptor = -1
    try:
        with writing(path):
            disk.make_folders(os.path.dirname(temporary), made)
            disk.remove_abandoned(target)
            os.mkdir(temporary)
            descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
            disk.try_lock(descriptor)
        yield Path(temporary)
        with writing(path):
            sync_folder(temporary)
            if fixed:
                _fill_in_place(temporary, target)
            else:
                _put_in_place(temporary, target, path, replace)
            sync_names(os.path.dirname(target))
        for old in (temporary, f"{temporary}-old", f"{temporary}-whole"):
            disk.discard(old)  # the temporary name is the old folder's now, if there was one
    except BaseException as error:
        _undo(temporary, target, error)
        disk.remove_empty(made)
        raise
    finally:
        disk.in_progress.pop(temporary, None)
        disk.own.discard(temporary)
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


def _check_target(path: str | Path, target: str, replace: bool) -> None:
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target):
        raise SettingsError(f"{path}: is a file, expected a folder. Name another folder")
    with writing(path):
        names = os.listdir(target)
    if not replace and any(not is_internal(name) for name in names):
        raise SettingsError(f"{path}: exists already and is not empty. Name another folder")


def _is_current(target: str) -> bool:
    """Whether the current folder is there: a shell would be left in a removed folder."""
    try:
        return Path.cwd().is_relative_to(target)
    except OSError:
        return False


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
            if error.errno in _CANNOT_RENAME and os.path.isdir(target):
                _move_inside(temporary, target)
                return
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not replace:
                raise SettingsError(
                    f"{path}: another process made this folder meanwhile. Name another folder"
                ) from error
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _exchange(first: str, second: str) -> bool:
    """Swap two paths in one step; return False where the system cannot do that."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        function: Any = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    here = _AT_FDCWD
    if function(here, os.fsencode(first), here, os.fsencode(second), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code))


def _replace_in_two_steps(temporary: str, target: str) -> None:
    """Rename the old folder away and the new one in; `recover` mends a crash in between."""
    os.rename(target, f"{temporary}-old")
    sync_names(os.path.dirname(target))
    os.rename(temporary, target)


def _undo(temporary: str, target: str, error: BaseException) -> None:
    """Put the old folder back after a failure, if it is not there; remove what is left.

    If that fails too, as on a dead device, a note on the error says where the old folder is.
    """
    old, whole = f"{temporary}-old", f"{temporary}-whole"
    with suppress(OSError):
        if os.path.dirname(temporary) == target:
            if os.path.isdir(whole) and os.path.isdir(temporary):
                _move_entries(target, temporary)
                os.rename(whole, old)
            if os.path.isdir(old):
                _move_entries(old, target)
                os.rmdir(old)
        elif os.path.isdir(old) and not os.path.lexists(target):
            os.rename(old, target)
    moved = os.path.dirname(temporary) == target or not os.path.lexists(target)
    for aside in (old, whole):
        if moved and os.path.isdir(aside) and os.path.isdir(temporary):
            error.add_note(
                f"What was in {target} is in {aside}. It is put back when {target} is next written "
                "or loaded"
            )
            return
    for left in (temporary, old, whole):
        disk.discard(left)


def recover(path: str | Path) -> None:
    """Put things right if a process died while it replaced `path`; never fails.

    For whoever reads a folder that may have been replaced where the system cannot swap folders: a
    crash between two renames leaves nothing under its name until this is called.
    """
    target = os.path.realpath(path)
    for old in disk.abandoned(target):
        if old.endswith("-old"):
            with suppress(OSError):
                if os.path.isdir(old) and not os.path.lexists(target):
                    os.rename(old, target)
                disk.delete(old)
    _finish_in_place(target)


def is_internal(name: str) -> bool:
    """Whether an entry of a folder is a lock or a temporary folder of this module."""
    return name.startswith(f".{disk.INSIDE}.")


def _fill_in_place(temporary: str, target: str) -> None:
    """Replace the entries of `target` by those of the temporary folder, which is in it.

    The old entries are gathered in a folder `-old`, which is renamed to `-whole` when it has them
    all. Until then a crash is undone by `recover`; from then on it is completed.
    """
    old, whole = f"{temporary}-old", f"{temporary}-whole"
    with _turn(target):
        os.mkdir(old)
        _move_entries(target, old)
        sync_names(old)
        sync_names(target)
        os.rename(old, whole)
        sync_names(target)
        _move_entries(temporary, target)
        sync_names(target)
        os.rmdir(temporary)


def _move_inside(temporary: str, target: str) -> None:
    """Replace the entries of `target` by those of a complete folder beside it."""
    inside = disk.temporary_name(os.path.join(target, disk.INSIDE))
    try:
        _move(temporary, inside)
        _fill_in_place(inside, target)
        disk.discard(f"{inside}-whole")
    except BaseException as error:
        _undo(inside, target, error)
        raise
    finally:
        disk.own.discard(inside)


@contextmanager
def _turn(folder: str) -> Iterator[None]:
    """Wait until no other process fills the folder in place."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(200):
            if disk.try_lock(descriptor) is not False:
                break
            time.sleep(0.05)
        else:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        yield
    finally:
        os.close(descriptor)


def _move_entries(source: str, target: str) -> None:
    for name in sorted(os.listdir(source)):
        if not is_internal(name):
            _move(os.path.join(source, name), os.path.join(target, name))


def _move(source: str, target: str) -> None:
    """Rename a file or folder; copy it if the file system cannot, as across mount points."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if os.path.isdir(source) and not os.path.islink(source):
            disk.make_folders(target, [])
            _move_entries(source, target)
            os.rmdir(source)
        else:
            write_file(target, Path(source).read_bytes())
            os.unlink(source)


def _finish_in_place(target: str) -> None:
    """Undo or complete what a dead process left of filling `target` in place."""
    for left in disk.abandoned(os.path.join(target, disk.INSIDE)):
        temporary, _, kind = left.rpartition("-")
        with suppress(OSError):
            if kind == "old":
                _move_entries(left, target)
                os.rmdir(left)
            elif kind == "whole":
                if os.path.isdir(temporary):
                    _move_entries(temporary, target)
                    os.rmdir(temporary)
                disk.delete(left)
            elif not os.path.lexists(f"{left}-whole"):
                disk.delete(left)
