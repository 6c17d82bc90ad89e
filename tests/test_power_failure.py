"""What is renamed into place was synced before, and its name after: a power failure loses neither.

A killed process loses nothing that it has written; a machine without power loses all that was not
synced. The log of the file operations is replayed, and keeps what has changed since its last sync.
"""

import os
from pathlib import Path

import pytest
from faults import Faults
from test_file_faults import first_folder, held, new_folder, prepare, room, way, write_file

__all__ = ["room", "way"]  # fixtures


def parent(path):
    return str(Path(path).parent)


def unsynced(log):
    """Replay a log.

    Returns: paths that were renamed into place before they were synced, with what was not; and
        what was not synced at the end.
    """
    opened, dirty, early = {}, set(), []

    def rename(old, new):
        inside = {path for path in dirty if path == old or path.startswith(f"{old}/")}
        early.extend((new, path) for path in sorted(inside))
        dirty.difference_update(inside)
        dirty.update(new + path[len(old) :] for path in inside)

    for name, args, result in log:
        if name == "open":
            path = os.fspath(args[0])
            opened[result] = path
            if args[1] & os.O_CREAT:
                dirty.update((path, parent(path)))
        elif name in ("write", "pwrite", "ftruncate"):
            dirty.add(opened[args[0]])
        elif name == "fsync":
            dirty.discard(opened[args[0]])
        elif name == "mkdir":
            dirty.update((args[0], parent(args[0])))
        elif name in ("rename", "replace") or (name == "exchange" and result):
            rename(*args)
            dirty.add(parent(args[1]))
        elif name in ("unlink", "rmdir"):
            dirty.discard(args[0])
    return early, {path for path in dirty if Path(path).exists()}


def names(found):
    return [path for path in found if ".lock" not in str(path)]  # of no use after a power failure


JOBS = [
    (write_file, "exchange"),
    (first_folder, "exchange"),
    (new_folder, "exchange"),
    (new_folder, "two renames"),
    (new_folder, "in place"),
    (held, "exchange"),
]
jobs = pytest.mark.parametrize(("job", "way"), JOBS, indirect=["way"])


@jobs
def test_all_is_synced_before_it_is_named_and_its_name_after(room, job, way):
    folder = prepare(room / "f")
    with Faults() as faults:
        job(folder)
    early, late = unsynced(faults.log)
    assert (early, names(late)) == ([], [])


@jobs
@pytest.mark.parametrize("kind", ["files", "folders"])
def test_a_sync_that_is_left_out_is_seen(room, job, way, kind):
    folder = prepare(room / "f")
    with Faults() as faults:
        job(folder)
    log, opened = [], {}
    for entry in faults.log:
        name, args, result = entry
        if name == "open":
            opened[result] = "folders" if args[1] & os.O_DIRECTORY else "files"
        if name != "fsync" or opened[args[0]] != kind:
            log.append(entry)
    early, late = unsynced(log)
    assert early or names(late)
