"""Places where folders cannot be renamed or locked, writers at once, users without rights."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from test_file_faults import room  # noqa: F401
from test_files import entries, fill

from elman import disk, files
from elman.errors import SettingsError, WriteError


def replace(target, text, replace=True):
    with files.new_folder(target, replace=replace) as folder:
        fill(folder, text)


def content(folder):
    return (folder / "a.txt").read_text(), (folder / "deep" / "er" / "b.txt").read_text()


PLACES = os.pathsep.join([str(Path(files.__file__).parents[1]), str(Path(__file__).parent)])


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": PLACES},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def read(folder, name):
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=folder)) as file:
        return file.read()


def test_writers_at_once_never_mix(room):  # noqa: F811
    code = """
        import sys, time
        from elman import files
        for number in range(60):
            text = f"{sys.argv[2]} {number}"
            with files.new_folder(sys.argv[1], replace=True) as folder:
                for name in "abc":
                    files.write_file(folder / name, text)
            files.write_file(sys.argv[1] + ".txt", text * 1000)
        """
    target = room / "run"
    command = [sys.executable, "-c", textwrap.dedent(code), str(target)]
    writers = [subprocess.Popen([*command, name]) for name in ("first", "second")]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        try:
            descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            assert not seen
            continue
        try:
            texts = {read(descriptor, name) for name in "abc"}
        except FileNotFoundError:  # the folder was replaced after it was opened, and is removed
            continue
        finally:
            os.close(descriptor)
        assert len(texts) == 1
        seen |= texts
        time.sleep(0.001)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(seen) > 1
    assert sorted(p.name for p in room.iterdir()) == ["run", "run.txt"]


def test_the_current_folder_is_filled_from_within(room, monkeypatch):  # noqa: F811
    target = room / "here"
    target.mkdir()
    monkeypatch.chdir(target)
    inode = target.stat().st_ino
    replace(".", "1", replace=False)
    replace(".", "2")
    assert content(target) == ("2", "22") and target.stat().st_ino == inode
    assert sorted(entries(target)) == ["a.txt", "deep", "deep/er", "deep/er/b.txt"]


def test_a_link_to_a_folder_is_followed(room):  # noqa: F811
    (room / "link").symlink_to("there")
    replace(room / "link", "1")
    replace(room / "link", "2")
    assert (room / "link").is_symlink() and content(room / "there") == ("2", "22")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EBUSY, errno.EPERM])
def test_a_folder_that_cannot_be_renamed_is_filled_from_within(room, monkeypatch, code):  # noqa: F811
    """As a folder of a lower layer of an overlay, whose folders cannot be renamed either."""
    target = room / "run"
    replace(target, "1")
    real, lower = os.rename, {target.stat().st_ino, (target / "deep").stat().st_ino}

    def rename(source, goal):
        for path in (source, goal):
            if os.path.isdir(path) and os.stat(path).st_ino in lower:  # noqa: PTH112, PTH116
                folder = errno.EXDEV if "deep" in str(path) else code
                raise OSError(folder, os.strerror(folder))
        real(source, goal)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(files, "_exchange", lambda *names: rename(*names) is not None)
    replace(target, "2")
    assert content(target) == ("2", "22")
    assert sorted(entries(room)) == [
        "run", "run/a.txt", "run/deep", "run/deep/er", "run/deep/er/b.txt",
    ]  # fmt: skip


MOUNTS = {
    "mount point": "mkdir -p v old; mount --bind old v",
    "overlay": "mkdir -p l/v/deep u w v o; echo old > l/v/deep/x; mount -t overlay overlay -o "
    "lowerdir=l,upperdir=u,workdir=w o; ln -sfn o/v v2",
    "small disk": "mkdir -p v; mount -t tmpfs -o size=64k tmpfs v",
    "read-only": "mkdir -p v; mount --bind v v; mount -o remount,ro,bind v",
}
IN_PLACE = """
    import sys
    from pathlib import Path
    from elman import files
    from test_files import fill
    target = Path(sys.argv[1])
    for text in "12":
        with files.new_folder(target, replace=True) as folder:
            fill(folder, text)
    print(*sorted(str(p.relative_to(target)) for p in target.rglob("*")))
    print((target / "a.txt").read_text(), (target / "deep/er/b.txt").read_text())
    """
FULL = """
    import sys
    from pathlib import Path
    from elman import files
    target = Path(sys.argv[1]) / "run"
    try:
        with files.new_folder(target, replace=True) as folder:
            files.write_file(folder / "a", "1" * 1000)
        with files.new_folder(target, replace=True) as folder:
            files.write_file(folder / "a", "2" * 100_000)
    except files.WriteError as error:
        print(error)
    print(*sorted(str(p.relative_to(sys.argv[1])) for p in Path(sys.argv[1]).rglob("*")))
    """


@pytest.mark.parametrize(
    ("mount", "target", "code", "expected"),
    [
        ("mount point", "v", IN_PLACE, "a.txt deep deep/er deep/er/b.txt\n2 22"),
        ("overlay", "o/v", IN_PLACE, "a.txt deep deep/er deep/er/b.txt\n2 22"),
        (
            "small disk",
            "v",
            FULL,
            "could not be written: no space left on the device (0.1 MB free)",
        ),
        ("small disk", "v", FULL, "--out)\nrun run/a"),
        ("read-only", "v", FULL, "run: could not be written: the file system is read-only"),
    ],
)
def test_real_file_systems(tmp_path, mount, target, code, expected):
    script = f'cd {tmp_path} && {MOUNTS[mount]} && exec {sys.executable} -c "$CODE" {target}'
    allowed = shutil.which("unshare") and subprocess.run(
        ["unshare", "-m", "sh", "-c", f"cd {tmp_path} && {MOUNTS[mount]}"],
        capture_output=True, check=False,
    ).returncode == 0  # fmt: skip
    if not allowed:
        pytest.skip("file systems may not be mounted here")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        env={**os.environ, "CODE": textwrap.dedent(code), "PYTHONPATH": PLACES},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert expected in done.stdout, done


def test_a_user_without_rights(tmp_path):
    """In a child that gives up root's rights."""
    if os.getuid() != 0:
        pytest.skip("needs root, who may become another user")
    code = """
        import os, sys
        from elman import files
        from test_files import fill
        os.setuid(65534)
        for text in "12":  # a folder of one's own in a folder of somebody else
            with files.lock(sys.argv[1] + "/mine"):
                assert ".elman.lock" in os.listdir(sys.argv[1] + "/mine")
                with files.new_folder(sys.argv[1] + "/mine", replace=True) as folder:
                    fill(folder, text)
        print(sorted(os.listdir(sys.argv[1] + "/mine")))
        for job in (lambda: files.write_file(sys.argv[1] + "/x", "1"),
                    lambda: files.make_folder(sys.argv[1] + "/new/er"),
                    lambda: files.new_folder(sys.argv[1] + "/new", replace=True).__enter__(),
                    lambda: files.lock(sys.argv[1] + "/new").__enter__()):
            try:
                job()
            except files.WriteError as error:
                print(error)
        """
    (tmp_path / "mine").mkdir()
    os.chown(tmp_path / "mine", 65534, 65534)
    for parent in (tmp_path, *tmp_path.parents[:-2]):
        parent.chmod(0o755)
    done = run(code, tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == "['a.txt', 'deep']", done.stderr
    assert len(lines) == 5
    assert all("could not be written: no permission" in line for line in lines[1:]), lines
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]


def test_locks_without_locks_of_the_file_system(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "fcntl", None)
    run_folder, lock = tmp_path / "run", tmp_path / ".run.lock"
    with files.lock(run_folder):
        owner = lock.read_text()
        with pytest.raises(SettingsError, match=f"process {os.getpid()} is writing there since 20"):
            files.lock(run_folder).__enter__()
    assert not lock.exists()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock.write_text(owner.replace(str(os.getpid()), str(dead.pid)))
    with files.lock(run_folder):
        pass
    lock.write_text('{"pid": 1, "host": "elsewhere", "since": "2026-01-01"}')
    with pytest.raises(
        SettingsError, match=r"process 1 on elsewhere .*if it is dead, remove .*lock"
    ):
        files.lock(run_folder).__enter__()


def test_names_of_every_length(room):  # noqa: F811
    name = "ä" * 127
    files.write_file(room / f"{name}x", "1")
    with files.lock(room / name):
        replace(room / name, "1")
        replace(room / name, "2")
    assert content(room / name) == ("2", "22") and len(list(room.iterdir())) == 2
    for job in (
        lambda: files.write_file(room / (name + "xy"), "1"),
        lambda: replace(room / (name + "xy"), "1"),
    ):
        with pytest.raises(WriteError, match="the name is too long for the file system"):
            job()


def test_a_file_in_the_way(room):  # noqa: F811
    files.write_file(room / "file", "1")
    with pytest.raises(SettingsError, match="is a file, expected a folder"):
        replace(room / "file", "1")
    with pytest.raises(WriteError, match="a part of the path is a file"):
        replace(room / "file" / "run", "1")
    with pytest.raises(WriteError, match="is a folder, expected a file"):
        files.write_file(room, "1")
    (room / "a").symlink_to("b")
    (room / "b").symlink_to("a")
    with pytest.raises(WriteError, match="links lead in a circle"):
        files.write_file(room / "a", "1")


def test_read_only_content_of_an_old_folder_is_removed(tmp_path):
    replace(tmp_path / "run", "1")
    (tmp_path / "run" / "deep" / "er").chmod(0o500)
    (tmp_path / "run").chmod(0o750)
    replace(tmp_path / "run", "2")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o750


def test_the_limit_of_a_file_is_named(tmp_path):
    code = """
        import resource, sys
        from elman import files
        files.write_file(sys.argv[1], "old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            files.write_file(sys.argv[1], "x" * 2000)
        except files.WriteError as error:
            print(error)
        """
    done = run(code, tmp_path / "x")
    assert "x: could not be written: the file is too large" in done.stdout, done
    assert entries(tmp_path) == {"x": b"old"}
