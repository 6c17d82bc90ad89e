"""What stands under a name is complete: whole files, whole folders, whole lines, locks."""

import os
import subprocess
import sys

import pytest

from elman import files
from elman.errors import ModelFileError, SettingsError, WriteError


def entries(folder):
    """Every file below a folder with its content, by name; folders map to None."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


def fill(folder, text):
    files.write_file(folder / "a.txt", text)
    files.make_folder(folder / "deep" / "er")
    files.write_file(folder / "deep" / "er" / "b.txt", text * 2)


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "x.txt"
    files.write_file(path, "ä\n")
    path.chmod(0o600)
    files.write_file(path, b"new")
    assert entries(tmp_path) == {"x.txt": b"new"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "there" / "x.txt")
    files.write_file(link, "1")
    assert link.is_symlink()
    assert (tmp_path / "there" / "x.txt").read_text() == "1"


@pytest.mark.parametrize("old", [None, "empty", "full"])
def test_a_folder_is_put_in_place(tmp_path, old):
    target = tmp_path / "new" / "run"
    if old:
        target.mkdir(parents=True)
    if old == "full":
        (target / "old.txt").write_text("old")
    with files.new_folder(target, replace=old == "full") as folder:
        fill(folder, "1")
        assert folder.parent == target.parent
    assert set(entries(tmp_path / "new")) == {
        "run", "run/a.txt", "run/deep", "run/deep/er", "run/deep/er/b.txt",
    }  # fmt: skip


@pytest.mark.parametrize("old", [False, True])
def test_nothing_is_left_of_a_block_that_fails(tmp_path, old):
    target = tmp_path / "parent" / "run"
    if old:
        target.mkdir(parents=True)
        (target / "old.txt").write_text("old")
    before = entries(tmp_path)
    with pytest.raises(ZeroDivisionError), files.new_folder(target, replace=True) as folder:
        fill(folder, "1")
        raise ZeroDivisionError
    assert entries(tmp_path) == before


def test_a_full_folder_is_replaced_only_where_asked(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(SettingsError, match="not empty"):
        files.new_folder(tmp_path / "run", replace=False).__enter__()
    assert entries(tmp_path / "run") == {"mine.txt": b"mine"}


def test_half_a_line_is_neither_read_nor_continued(tmp_path):
    log = tmp_path / "log.jsonl"
    files.append_line(log, "one\u2028")
    with log.open("ab") as half:
        half.write(b'{"tw')
    assert files.read_lines(log) == ["one\u2028"]
    files.append_line(log, "two")
    assert files.read_lines(log) == ["one\u2028", "two"]


def test_a_seal_sees_every_change(tmp_path):
    fill(tmp_path, "1")
    files.seal(tmp_path)
    assert files.check_seal(tmp_path) == []
    name = tmp_path / "deep" / "er" / "b.txt"
    for change, problem in [
        (lambda: name.write_text("12"), "content"),
        (lambda: name.write_text("111"), "3 bytes"),
        (name.unlink, "missing"),
        (lambda: (tmp_path / "more").write_text(""), "not listed"),
    ]:
        change()
        with pytest.raises(ModelFileError, match=problem):
            files.check_seal(tmp_path)
        (tmp_path / "more").unlink(missing_ok=True)
        name.write_text("11")
    name.unlink()
    name.symlink_to(tmp_path / "a.txt")
    with pytest.raises(ModelFileError, match="is a link"):
        files.check_seal(tmp_path)


HOLD = """
import sys, time
from elman import files
with files.lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_of_the_first(tmp_path):
    run = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(SettingsError, match=rf"run: process {owner.pid} is writing there"):
            files.lock(run).__enter__()
        owner.kill()
        owner.wait()
    with files.lock(run):
        assert "pid" in (tmp_path / ".run.lock").read_text()
        with pytest.raises(SettingsError, match=f"process {os.getpid()} is"):
            files.lock(run).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_removed(tmp_path):
    code = (
        "import os, signal, sys\nfrom elman import files\n"
        "with files.new_folder(sys.argv[1], replace=True) as folder:\n"
        "    files.write_file(folder / 'x', 'half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    target = tmp_path / "run"
    subprocess.run([sys.executable, "-c", code, str(target)], check=False, timeout=60)
    assert len(list(tmp_path.iterdir())) == 1
    with files.new_folder(target, replace=True) as folder:
        fill(folder, "1")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_an_error_names_the_file_the_reason_and_a_remedy(tmp_path):
    with pytest.raises(WriteError, match=r"no/x\.txt: could not be written: the folder .* --out"):
        files.write_file(tmp_path / "no" / "x.txt", "1")
