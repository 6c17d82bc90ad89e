"""Every file operation of a write fails or is the last: the previous or the new state stands."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import pytest
from faults import Faults
from test_files import entries, fill

from elman import disk, files
from elman.errors import WriteError


def write_file(folder):
    files.write_file(folder / "x.txt", "new")


def new_folder(folder):
    with files.new_folder(folder / "run", replace=True) as new:
        fill(new, "new")
        files.seal(new)


def first_folder(folder):
    with files.new_folder(folder / "deep" / "run", replace=False) as new:
        fill(new, "new")


def append(folder):
    files.append_line(folder / "log", LINE)


def remove(folder):
    files.remove(folder / "run")


def held(folder):
    with files.lock(folder / "run"):
        files.write_file(folder / "x.txt", "new")


JOBS = (write_file, new_folder, first_folder, append, remove, held)
LINE = "a line that is not short"
WAYS = ("exchange", "two renames", "in place")
FAULTS = ("ENOSPC", "EIO", "short", "ENOSPC lasting", "EIO lasting", "interrupt")


@pytest.fixture
def room(tmp_path):
    """An empty folder, in memory where there is such a file system: there a sync takes no time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def prepare(folder):
    folder.mkdir()
    (folder / "x.txt").write_text("old")
    (folder / "log").write_text("one\n")
    (folder / "run" / "plots").mkdir(parents=True)
    (folder / "run" / "plots" / "a.png").write_text("old")
    (folder / "run" / "a.txt").write_text("old")
    return folder


@pytest.fixture
def way(request, monkeypatch):
    """How a folder is replaced."""
    if request.param != "exchange":
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    if request.param == "in place":
        monkeypatch.setattr(disk, "is_fixed", lambda folder: Path(folder).is_dir())
    return request.param


def seen(folder):
    """What a reader finds: entries that are no temporary ones."""
    return {
        name: content
        for name, content in entries(folder).items()
        if not any(part.startswith(".") for part in name.split("/"))
    }


def states(room, job):
    """The folder before and after a job, and the operations of the job."""
    before = seen(prepare(room / "before"))
    folder = prepare(room / "after")
    with Faults() as faults:
        job(folder)
    assert entries(folder) == seen(folder), "something temporary is left"
    return before, seen(folder), faults.calls


CASES = [(job, "exchange") for job in JOBS] + [(new_folder, way) for way in WAYS[1:]]
cases = pytest.mark.parametrize(
    ("job", "way"), CASES, indirect=["way"], ids=lambda v: v if isinstance(v, str) else v.__name__
)


# In CI every fifth operation, another fifth for each case.
every = pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])


def some(calls, every, case):
    first = zlib.crc32(repr(case).encode()) % every
    return list(enumerate(calls, 1))[first::every]


@every
@cases
@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_at_any_operation_leaves_the_old_or_the_new(room, job, way, fault, every):
    before, after, calls = states(room, job)
    kind, _, lasting = fault.partition(" ")
    raised = 0
    for number, name in some(calls, every, (job.__name__, way, fault)):
        folder = prepare(room / f"{number}")
        with Faults(number, kind, bool(lasting)) as faults:
            try:
                job(folder)
            except KeyboardInterrupt:
                raised += 1
            except WriteError as error:
                raised += 1
                assert str(error).startswith(str(folder))
                assert ".partial" not in str(error)
            else:
                assert seen(folder) == after, (number, name)
        assert faults.happened
        if lasting and way != "exchange":
            files.recover(folder / "run")  # a broken disk cannot be tidied up before it is mended
        parents = before | {"deep": None} if lasting and job is first_folder else before
        assert seen(folder) in (before, after, parents), (number, name)
        if not lasting and (kind, job) != ("interrupt", held):  # an empty lock file is harmless
            assert entries(folder) == seen(folder), (number, name, "something is left")
    assert raised or every > 1 or (kind, job) == ("short", remove)


@every
@cases
@pytest.mark.parametrize("when", ["kill", "killed"])
def test_a_kill_at_any_operation_leaves_the_old_or_the_new(room, job, way, when, every):
    before, after, calls = states(room, job)
    for number, name in some(calls, every, (job.__name__, way, when)):
        folder = prepare(room / f"{number}")
        child = os.fork()
        if not child:
            with Faults(number, when):
                job(folder)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        if way != "exchange":
            files.recover(folder / "run")
        if job is append:  # half a line may be there, which no reader sees
            assert files.read_lines(folder / "log") in (["one"], ["one", LINE])
        else:
            parents = before | {"deep": None} if job is first_folder else before
            assert seen(folder) in (before, after, parents), (number, name)
        if seen(folder) != after or job is not first_folder:  # it replaces nothing
            job(folder)
            if job is not append:
                assert seen(folder) == after
        if job is not remove:
            assert entries(folder) == seen(folder), (number, name, "something is left")


# Everything that changes a file system, also by ways that elman does not take.
SYSTEM = (
    "openat,open,creat,write,pwrite64,writev,pwritev,fsync,fdatasync,ftruncate,truncate,fchmod,"
    "chmod,fchmodat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,"
    "symlink,symlinkat,fallocate,copy_file_range,sendfile,utimensat,mknod"
)
COUNT = """
import sys, pathlib
sys.path.insert(0, sys.argv[2])
import test_file_faults as t
from faults import Faults
folder = pathlib.Path(sys.argv[1])
with Faults() as faults:
    t.new_folder(folder); t.write_file(folder); t.append(folder); t.held(folder); t.remove(folder)
print(*[name for name in faults.calls if name != "close"])
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_system_sees_no_operation_that_is_not_counted(room):
    folder, log = prepare(room / "f"), room / "strace"
    names = {"pwrite": "pwrite64", "exchange": "renameat2", "replace": "rename", "open": "openat"}
    command = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={SYSTEM}"]
    done = subprocess.run(
        [*command, sys.executable, "-c", COUNT, str(folder), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in done.stderr:
        pytest.skip("processes may not be traced here")
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()]
    ours = [line for line in lines if str(folder) in line]
    changes = [line.split("(")[0] for line in ours if not re.search("openat.* O_RDONLY", line)]
    counted = [names.get(name, name) for name in done.stdout.split() if name != "look"]
    assert sorted(changes) == sorted(counted)
    assert len(set(counted)) > 8
