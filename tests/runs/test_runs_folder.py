"""The run folder: never over something else, never half of it, and the old run safe to the end."""

import datetime
import json

import pytest

from elman import SettingsError
from elman.runs.folder import (
    EVALUATION,
    RUN,
    check_output_folder,
    default_folder,
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
            with pytest.raises(SettingsError, match="Name another with --out"):
                check_output_folder(tmp_path / f"{i}", overwrite, kind)
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
    assert tree(tmp_path) == {"file": b"mine"}


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
    wanted = default_folder("digits", day)
    assert unused_path(wanted).name == "2024-02-01-digits-2"
    (tmp_path / "runs" / "2024-02-01-digits-2").write_text("")
    assert unused_path(wanted).name == "2024-02-01-digits-3"
    assert unused_path(tmp_path / "free") == tmp_path / "free"


def test_json_is_json(tmp_path):
    write_json(tmp_path / "j", {"ä": [1, None]})
    assert json.loads((tmp_path / "j").read_text(encoding="utf-8")) == {"ä": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "j", {"loss": float("nan")})
