"""Single files on disk: written whole or not at all, lines appended, errors in words.

Every operation that changes the disk is a call of `os` in this file or in `files.py`, so that a
test can count them, and fail or stop the process at each. Import from `elman.files`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elman.errors import WriteError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_REASONS = {
    errno.ENOSPC: ("no space left on the device", "Free some space"),
    errno.EDQUOT: ("the disk quota is used up", "Delete other files of yours"),
    errno.EIO: ("the device reports an input/output error", "Check the disk"),
    errno.EROFS: ("the file system is read-only", ""),
    errno.EACCES: ("no permission to write there", "Change its permissions"),
    errno.EPERM: ("no permission to write there", "Change its permissions"),
    errno.ENAMETOOLONG: ("the name is too long for the file system", "Choose a shorter one"),
    errno.ENOTDIR: ("a part of the path is a file, expected a folder", ""),
    errno.EISDIR: ("is a folder, expected a file", ""),
    errno.ENOENT: ("the folder that it should be written to does not exist", "Make it"),
    errno.EFBIG: ("the file is too large for the file system or your limit (ulimit -f)", ""),
    errno.EMFILE: ("too many files are open", "Raise the limit (ulimit -n)"),
    errno.ENFILE: ("too many files are open on this machine", "Close some programs"),
    errno.EBUSY: ("it is in use, or something is mounted there", ""),
    errno.ELOOP: ("its links lead in a circle", "Remove one of them"),
    errno.ENOLCK: ("the file system has no locks", ""),
}
INSIDE = "elman"  # locks and temporary folders inside a folder are called .elman.*
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # e.g. some network drives

# Temporary path -> the path that the user gave, for messages.
in_progress: dict[str, str] = {}
own: set[str] = set()  # temporary paths that this process is working on
_numbers = iter(range(1, 1 << 62))
_numbers_lock = threading.Lock()


def shown(path: str | Path) -> str:
    """Return the path as the user gave it: what is in a temporary folder is shown in its target."""
    text = os.fspath(path)
    for temporary, target in list(in_progress.items()):
        if text == temporary or text.startswith(temporary + os.sep):
            return target + text[len(temporary) :]
    return text


@contextmanager
def writing(path: str | Path, note: str = "") -> Iterator[None]:
    """Turn an OSError of the block into a WriteError that names `path`, the reason and a remedy.

    Args:
        path: what is being written.
        note: a sentence for the end of the message.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise write_error(path, error, note) from error


def write_error(path: str | Path, error: OSError, note: str = "") -> WriteError:
    """Return the WriteError for a system error on `path`; arguments as `writing`."""
    name = shown(path)
    reason, remedy = _REASONS.get(error.errno or 0, (error.strerror or str(error), ""))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        with suppress(OSError):
            reason += f" ({shutil.disk_usage(_existing(path)).free / 1e6:,.1f} MB free)"
    elsewhere = "write somewhere else (in a command: --out)"
    remedy = f"{remedy}, or {elsewhere}" if remedy else elsewhere.capitalize()
    message = f"{name}: could not be written: {reason}. {remedy}"
    return WriteError(f"{message}. {note}" if note else message, error.errno, name)


def _existing(path: str | Path) -> Path:
    """Return the innermost folder of `path` that exists."""
    full = Path(path).absolute()
    return next(folder for folder in (full, *full.parents) if folder.is_dir())


def write_file(path: str | Path, data: bytes | str | Iterable[bytes], sync: bool = True) -> None:
    """Write a file so that it is complete under its name or, if that fails, as it was before.

    The data are written to a temporary file beside it and synced, which is then renamed. A link is
    followed; a device or a pipe (`/dev/stdout`) is written to directly.

    Args:
        path: a file in an existing folder.
        data: its content, text in UTF-8; or pieces of it, of which one at a time is in memory.
        sync: False saves the milliseconds of a sync; a power failure may then leave an empty file.
    Raises: WriteError; and what making the pieces raises.
    """
    data = data.encode() if isinstance(data, str) else data
    content = [data] if isinstance(data, bytes) else data
    with writing(path):
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            mode = None
        if mode is not None and not stat.S_ISREG(mode):
            descriptor = os.open(path, os.O_WRONLY)  # raises IsADirectoryError for a folder
            try:
                _write(descriptor, content)
            finally:
                os.close(descriptor)
            return
        target = os.path.realpath(path)
        remove_abandoned(target)
        temporary = temporary_name(target)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                try_lock(descriptor)
                _write(descriptor, content)
                if mode is not None:
                    os.fchmod(descriptor, stat.S_IMODE(mode))
                if sync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, target)
        except BaseException:
            discard(temporary)
            raise
        finally:
            own.discard(temporary)
        if sync:
            sync_names(os.path.dirname(target))


def _write(descriptor: int, content: Iterable[bytes]) -> None:
    """Write all pieces; the system may take fewer bytes at a time."""
    for piece in content:
        rest = memoryview(piece)
        while rest:
            written = os.write(descriptor, rest)
            if written <= 0:
                raise OSError(errno.EIO, "the device accepts no more data")
            rest = rest[written:]


def append_line(path: str | Path, line: str) -> None:
    """Append one line to a log, whole or not at all; other processes can read it at once.

    Half a line that a killed process left is removed first. The line is not synced to the device:
    it survives the death of the process, but perhaps not a power failure.

    Args:
        path: the file; made if missing.
        line: text without a newline.
    Raises: WriteError.
    """
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            whole = _end_of_last_line(descriptor, size)
            if whole < size:
                os.ftruncate(descriptor, whole)
            os.lseek(descriptor, whole, os.SEEK_SET)
            try:
                _write(descriptor, [(line + "\n").encode()])
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(descriptor, whole)
                raise
        finally:
            os.close(descriptor)


def append_bytes(path: str | Path, data: bytes) -> int:
    """Append bytes to a file, made if missing; return where they begin. They are not synced.

    Raises: WriteError.
    """
    with writing(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            start = os.lseek(descriptor, 0, os.SEEK_END)
            _write(descriptor, [data])
        finally:
            os.close(descriptor)
    return start


def _end_of_last_line(descriptor: int, size: int) -> int:
    """Return the position behind the last newline of a file of `size` bytes."""
    block, end = 1 << 16, size
    while end:
        start = max(0, end - block)
        os.lseek(descriptor, start, os.SEEK_SET)
        found = os.read(descriptor, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def raise_error(error: OSError) -> None:
    """Raise the error: for `os.walk`, which else leaves out folders that it cannot read."""
    raise error


def sync_names(folder: str) -> None:
    """Sync a folder itself, so that names made, renamed or removed in it survive a power failure.

    File systems that cannot sync a folder are left alone.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file or folder until it is closed.

    Returns: False if another one holds the lock, None if the file system has no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return True


def _prefix(path: str) -> str:
    """Return what the names of temporary files for `path` begin with, of at most 90 bytes."""
    name = os.fsencode(os.path.basename(path))
    if len(name) > 80:
        name = name[:60] + hashlib.sha256(name).hexdigest()[:16].encode()
    return f".{os.fsdecode(name)}."


def beside(path: str, ending: str) -> str:
    """Return a hidden name beside `path`, whose length every file system allows."""
    return os.path.join(os.path.dirname(path), f"{_prefix(path)}{ending}")


def temporary_name(path: str) -> str:
    """Return a name beside `path` that no other process and no other thread uses."""
    with _numbers_lock:
        number = next(_numbers)
    temporary = beside(path, f"{_this_machine()}.{os.getpid()}.{number}.partial")
    own.add(temporary)
    return temporary


def _this_machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def abandoned(path: str) -> list[str]:
    """Return the temporary files and folders for `path` whose processes are dead."""
    folder, prefix = os.path.dirname(path), _prefix(path)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [
        full
        for name in names
        if name.startswith(prefix)
        and _is_abandoned(full := os.path.join(folder, name), name[len(prefix) :].split("."))
    ]


def _is_abandoned(path: str, parts: list[str]) -> bool:
    """Whether the process that made a temporary path is dead.

    Args:
        parts: its name behind the prefix: machine, process, number, kind.
    """
    if len(parts) != 4 or not parts[1].isdigit() or not parts[3].startswith("partial"):
        return False
    made = path[: path.rindex("partial") + len("partial")]  # without -old
    if made in own:
        return False
    here = parts[0] == _this_machine()
    ours = int(parts[1]) == os.getpid()  # a failure of this process, or a number given anew
    dead = here and (ours or not is_alive(int(parts[1])))
    try:
        # Another machine, or a process that happens to have the same number: the lock decides,
        # unless the path is so young that it may be about to be locked.
        if not dead and time.time() - os.lstat(path).st_ctime < 60:
            return False
        descriptor = os.open(made, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return dead
    try:
        locked = try_lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return locked is True or (locked is None and dead)


def is_fixed(folder: str) -> bool:
    """Whether a folder exists that cannot be renamed, and nothing be made beside it."""
    return os.path.isdir(folder) and (
        os.path.ismount(folder) or not os.access(os.path.dirname(folder), os.W_OK | os.X_OK)
    )


def make_folders(path: str, made: list[str]) -> None:
    """Make a folder and its missing parents; put those made into `made`, the innermost first."""
    parent = os.path.dirname(path)
    if os.path.isdir(path):
        return
    if parent != path:
        make_folders(parent, made)
    made.insert(0, path)  # before it is made, as Ctrl-C may come right after
    try:
        os.mkdir(path)
    except FileExistsError:
        made.remove(path)
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
    else:
        sync_names(parent)


def remove_empty(folders: list[str]) -> None:
    """Remove the folders that are empty; never fails."""
    for folder in folders:
        with suppress(OSError):
            os.rmdir(folder)


def is_alive(process: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        with suppress(PermissionError):  # it belongs to another user
            os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    return True


def remove_abandoned(path: str) -> None:
    """Remove what dead processes left of writing `path`; never fails."""
    for temporary in abandoned(path):
        discard(temporary)


def discard(path: str) -> None:
    """Delete what is no longer needed; never fails: what is left is removed by a later write."""
    for _ in range(2):
        try:
            delete(path)
        except FileNotFoundError:
            return
        except OSError:
            continue
        return


def delete(path: str) -> None:
    """Delete a file, a link or a folder with all in it, also where folders are read-only."""
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        os.chmod(path, 0o700)
    for name in os.listdir(path):
        with suppress(FileNotFoundError):  # another process may be deleting the same
            delete(os.path.join(path, name))
    os.rmdir(path)
