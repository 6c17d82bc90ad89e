"""The run folder: never over something else, never half of it, and the old run safe to the end."""

import datetime
import json
import os

import pytest

from elman import SettingsError
from elman.runs.folder import (
    EVALUATION,
    RUN,
    append_line,
    check_output_folder,
    default_folder,
    new_folder,
    unused_path,
    write_json,
)


def tree(root):
    """Every path below root, and the content of every file."""
    return {
        str(p.relative_to(root)): p.read_bytes() if p.is_file() else None
        for p in sorted(root.rglob("*"))
    }


def make_run(folder, word="old"):
    (folder / "model").mkdir(parents=True)
    for name in ("config.toml", "metrics.jsonl", "metrics.json", "model/config.json"):
        (folder / name).write_text(word)
    return folder


class BrokenError(Exception):
    """What goes wrong in these tests."""


def test_a_new_folder(tmp_path):
    with new_folder(tmp_path / "a" / "b", False) as folder:
        (folder / "x").write_text("x")
    assert tree(tmp_path) == {"a": None, "a/b": None, "a/b/x": b"x"}


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize(
    ("before", "overwrite"),
    [("nothing", False), ("nothing", True), ("empty", False), ("empty", True), ("run", True)],
)
def test_a_failure_leaves_all_as_it_was(tmp_path, monkeypatch, error, before, overwrite):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "mine"
    if before == "empty":
        folder.mkdir(parents=True)
    if before == "run":
        make_run(folder)
    was = tree(tmp_path)

    def fail():
        with new_folder(folder, overwrite):
            (folder / "plots").mkdir()
            (folder / "config.toml").write_text("new")
            (folder / "plots" / "a.png").write_text("new")
            raise error

    with pytest.raises(error) as caught:
        fail()
    assert tree(tmp_path) == was
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("before", ["nothing", "empty", "run"])
def test_a_saved_model_outlives_a_failure(tmp_path, before):
    folder = tmp_path / "mine"
    if before == "empty":
        folder.mkdir()
    if before == "run":
        make_run(folder)
    was = tree(tmp_path)

    def fail():
        with new_folder(folder, before == "run"):
            make_run(folder, "new")
            (folder / "metrics.json").unlink()
            raise BrokenError

    with pytest.raises(BrokenError) as caught:
        fail()
    kept = tmp_path / "mine-unfinished" if before == "run" else folder
    assert caught.value.__notes__ == [f"The model trained so far is in {kept / 'model'}"]
    assert (kept / "model" / "config.json").read_text() == "new"
    if before == "run":
        now = {k: v for k, v in tree(tmp_path).items() if not k.startswith("mine-unfinished")}
        assert now == was


def test_a_run_is_replaced_whole(tmp_path):
    folder = make_run(tmp_path / "mine")
    with new_folder(folder, True):
        assert list(folder.iterdir()) == []
        (folder / "config.toml").write_text("new")
        aside = tmp_path / ".mine.replaced"
        assert (aside / "metrics.json").read_text() == "old"  # safe until the new one is whole
    assert tree(tmp_path) == {"mine": None, "mine/config.toml": b"new"}


def test_after_a_kill_the_complete_run_is_what_counts(tmp_path):
    """Killed while it replaced a run: a half-written folder, and the old run beside it."""
    make_run(tmp_path / ".mine.replaced")
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("config.toml", "metrics.jsonl"):
        (folder / name).write_text("half")

    def fail():
        with new_folder(folder, True):
            raise BrokenError

    with pytest.raises(BrokenError):
        fail()
    assert (folder / "metrics.json").read_text() == "old"
    assert not (tmp_path / ".mine.replaced").exists()
    with new_folder(folder, True):
        (folder / "config.toml").write_text("new")
    assert tree(tmp_path) == {"mine": None, "mine/config.toml": b"new"}


@pytest.mark.parametrize("kind", [RUN, EVALUATION])
def test_what_is_not_elmans_is_never_replaced(tmp_path, kind):
    other = [
        {"config.toml": "the user's own"},
        {"data.csv": "1,2"},
        {"metrics.json": "{}"},
        dict.fromkeys([*RUN.required, "thesis.tex"], ""),
        dict.fromkeys([*EVALUATION.required, "thesis.tex"], ""),
        {"config.toml": "", "metrics.json": "", "src": "x"},
    ]
    for i, files in enumerate(other):
        folder = tmp_path / f"{i}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    was = tree(tmp_path)
    for i in range(len(other)):
        for overwrite in (False, True):
            with (
                pytest.raises(SettingsError, match="Name another with --out"),
                new_folder(tmp_path / f"{i}", overwrite, kind),
            ):
                raise AssertionError
    assert tree(tmp_path) == was


def test_an_evaluation_does_not_replace_a_run_nor_the_other_way(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "predictions.csv").write_text("")
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    for name in EVALUATION.required:
        (evaluation / name).write_text("")
    with pytest.raises(SettingsError, match="is no part of an evaluation"):
        check_output_folder(run, True, EVALUATION)
    with pytest.raises(SettingsError, match="is not the folder of an elman run"):
        check_output_folder(evaluation, True, RUN)
    check_output_folder(run, True, RUN)
    check_output_folder(evaluation, True, EVALUATION)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingsError, match="is a file, expected a folder"):
        check_output_folder(tmp_path / "file", True)
    with pytest.raises(NotADirectoryError), new_folder(tmp_path / "file" / "run", False):
        raise AssertionError
    assert tree(tmp_path) == {"file": b"mine"}


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_links_and_dots(tmp_path, monkeypatch):
    real = make_run(tmp_path / "real")
    link = tmp_path / "link"
    link.symlink_to(real)
    with new_folder(link, True) as folder:
        (folder / "config.toml").write_text("new")
    assert link.is_symlink()
    assert tree(real) == {"config.toml": b"new"}
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with new_folder(type(empty)("."), False) as folder:
        (folder / "config.toml").write_text("here")
    assert tree(empty) == {"config.toml": b"here"}
    inside = make_run(tmp_path / "inside")
    for at, given in ((inside, "."), (inside / "model", "..")):
        monkeypatch.chdir(at)
        with pytest.raises(SettingsError, match=r"you are in it\. Go to another folder"):
            check_output_folder(type(empty)(given), True)


def test_somebody_faster_is_not_swept_away(tmp_path, monkeypatch):
    """Two runs choose the same name; the slower one must not remove the other's files."""
    folder = tmp_path / "mine"
    mkdir = type(folder).mkdir

    def slow(self, *arguments, **options):
        monkeypatch.undo()
        make_run(folder, "theirs")
        mkdir(self, *arguments, **options)

    monkeypatch.setattr(type(folder), "mkdir", slow)
    with pytest.raises(FileExistsError), new_folder(folder, False):
        raise AssertionError
    assert (folder / "metrics.json").read_text() == "theirs"


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    day = datetime.date(2024, 2, 1)
    for data, name in [
        ("x/my data, 1.csv", "my-data-1"),
        ("digits", "digits"),
        ("日本.tsv", "日本"),
        ("...", "run"),
        ("a.b.csv", "a.b"),
    ]:
        assert str(default_folder(data, day)) == f"runs/2024-02-01-{name}"
    (tmp_path / "runs" / "2024-02-01-digits").mkdir(parents=True)
    assert default_folder("digits", day).name == "2024-02-01-digits-2"
    (tmp_path / "runs" / "2024-02-01-digits-2").write_text("")
    assert default_folder("digits", day).name == "2024-02-01-digits-3"
    assert unused_path(tmp_path / "free") == tmp_path / "free"


def test_a_line_is_there_to_be_read(tmp_path):
    path = tmp_path / "lines"
    with path.open("w", encoding="utf-8") as file:
        for i in range(3):
            append_line(file, {"epoch": i})
            assert len([json.loads(line) for line in path.read_text().splitlines()]) == i + 1
        with pytest.raises(ValueError, match="JSON"):
            append_line(file, {"loss": float("nan")})
    write_json(tmp_path / "j", {"ä": [1, None]})
    assert json.loads((tmp_path / "j").read_text(encoding="utf-8")) == {"ä": [1, None]}
