"""`elman lab`: the page of a run, what it shows, where it goes and what it refuses."""

import contextlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import make_files

from elman.cli import lab
from elman.runs.config import merge
from elman.runs.experiment import run
from elman.runs.folder import check_output_folder


def payload_of(path):
    """The JSON in a page."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="lab-data">(.*?)</script>', text, re.DOTALL)[1])


def train(folder, data, out, **changes):
    """Train in a folder, as `elman train` does there."""
    model = {"hidden_size": changes.pop("hidden_size", 4)}
    settings = merge(
        {
            "data": {"data": data, "validation": 0, "test": 0.3},
            "model": model,
            "training": {"epochs": 2, **changes},
            "report": {"diagnostics": False},
        }
    )
    with contextlib.chdir(folder):
        run(settings, out=Path(out), verbose=0, echo=lambda text: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with files of every layout, and three runs."""
    folder = tmp_path_factory.mktemp("lab")
    make_files(folder)
    train(folder, "values.csv", "run")
    train(folder, "values.csv", "other", hidden_size=6)
    train(folder, "text.csv", "texts")
    return folder


@pytest.fixture
def trained(made, tmp_path):
    """A copy of it as the current folder; the run on values.csv."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


def test_the_page_of_a_run_shows_its_own_test_part(elman, trained, tmp_path):
    done = elman("lab", "run", "--no-open")
    assert done.code == 0 and "run/lab.html" in done.out and "kB" in done.out
    (shown,) = payload_of(trained / "lab.html")["runs"]
    predictions = (trained / "predictions.csv").read_text().splitlines()[1:]
    tested = {line.split(",")[0] for line in predictions}
    assert {example["name"] for example in shown["examples"]} == tested
    assert {example["split"] for example in shown["examples"]} == {"test"}
    assert shown["settings"]["hidden_size"] == 4 and shown["settings"]["data"] == "values.csv"
    assert shown["name"] == "run" and shown["history"]["epoch"] == [1, 2]
    assert [entry["epoch"] for entry in shown["epochs"]] == [0, 1, 2]
    assert elman("lab", "run", "--no-open").code == 0  # made anew
    check_output_folder(trained, overwrite=True)  # the page is a part of the run


def test_files_that_are_there_are_kept(elman, trained, tmp_path):
    (tmp_path / "page.html").write_text("mine")
    done = elman("lab", "run", "--no-open", "-o", "page.html")
    assert done.code == 2 and "exists already" in done.err and "--overwrite" in done.err
    assert (tmp_path / "page.html").read_text() == "mine"
    assert elman("lab", "run", "--no-open", "-o", "page.html", "--overwrite").code == 0
    assert payload_of(tmp_path / "page.html")["mode"] == "file"
    assert "is a folder" in elman("lab", "run", "--no-open", "-o", "run").err


def test_data_that_are_gone_or_moved(elman, trained, tmp_path):
    before = payload_of_run(elman)
    shutil.move("values.csv", "elsewhere.csv")
    done = elman("lab", "run", "--no-open", "-o", "gone.html")
    assert done.code == 2 and "elman lab run --data FILE" in done.err
    assert not (tmp_path / "gone.html").exists()
    # The same file under another name: its test part, not all of it.
    assert elman("lab", "run", "--no-open", "--data", "elsewhere.csv", "-o", "m.html").code == 0
    assert payload_of(tmp_path / "m.html")["runs"][0]["examples"] == before["examples"]
    text = (tmp_path / "elsewhere.csv").read_text()
    (tmp_path / "values.csv").write_text(f"{text}x,0.5,0.5,0.5,,,\n")
    done = elman("lab", "run", "--no-open", "-o", "c.html")
    assert done.code == 2 and "has changed since the training" in done.err
    assert elman("lab", "run", "--no-open", "--data", "values.csv", "-o", "o.html").code == 0
    examples = payload_of(tmp_path / "o.html")["runs"][0]["examples"]
    assert {example["split"] for example in examples} == {"values.csv"}


def payload_of_run(elman):
    assert elman("lab", "run", "--no-open", "-o", "before.html").code == 0
    return payload_of(Path("before.html"))["runs"][0]


def test_two_runs_with_the_same_examples(elman, trained, tmp_path):
    done = elman("lab", "run", "other", "--no-open")
    assert done.code == 0 and done.out.startswith("lab.html")
    first, second = payload_of(tmp_path / "lab.html")["runs"]
    assert [e["x"]["shape"] for e in first["examples"]] == [
        e["x"]["shape"] for e in second["examples"]
    ]
    assert [e["name"] for e in first["examples"]] == [e["name"] for e in second["examples"]]
    assert (first["settings"]["hidden_size"], second["settings"]["hidden_size"]) == (4, 6)
    again = elman("lab", "run", "other", "--no-open")
    assert "lab-2.html" in again.out and (tmp_path / "lab-2.html").exists()
    # Of other data: each its own.
    done = elman("lab", "run", "texts", "--no-open", "-o", "both.html")
    assert "other data" in done.out
    assert payload_of(tmp_path / "both.html")["runs"][1]["vocabulary"]


def test_a_model_folder_needs_data(elman, trained):
    done = elman("lab", "run/model", "--no-open")
    assert done.code == 2 and "elman lab run/model --data FILE" in done.err
    done = elman("lab", "run/model", "--data", "values.csv", "--no-open")
    assert done.code == 0 and "lab.html" in done.out


def test_the_browser_is_asked_unless_not_wanted(elman, trained, monkeypatch):
    opened = []
    monkeypatch.setenv("BROWSER", "true")
    monkeypatch.setattr(
        lab.webbrowser, "open_new_tab", lambda address: opened.append(address) or True
    )
    assert elman("lab", "run", "--no-open").code == 0 and opened == []
    assert elman("lab", "run").code == 0
    assert opened == [(trained / "lab.html").as_uri()]
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    done = elman("lab", "run")
    assert done.code == 0 and len(opened) == 1 and "No browser was found" in done.out


def test_what_is_refused(elman, trained):
    assert "at most two" in elman("lab", "run", "run", "run", "--no-open").err
    assert "belongs to a run" in elman("lab", "--data", "x.csv", "--no-open").err
    assert "there is no --data" in elman("lab", "run", "--target", "label", "--no-open").err
    assert "no such" in elman("lab", "nowhere", "--data", "values.csv", "--no-open").err


def test_without_a_run_the_page_has_the_tasks(elman, tmp_path):
    done = elman("lab", "--no-open")
    assert done.code == 0 and payload_of(tmp_path / "lab.html")["mode"] == "tasks"


WORDS = ("train", "values.csv", "--hidden-size", 4, "--epochs", 3, "--no-diagnostics")
WORDS += ("--validation", 0, "--keep-epochs", 2)


def test_a_watched_training_has_the_same_bits(elman, trained):
    assert elman(*WORDS, "--quiet", "--out", "alone").code == 0
    done = elman(*WORDS, "--quiet", "--out", "watched", "--watch")
    assert done.code == 0, done.err
    assert re.search(r"Watch the training at http://127\.0\.0\.1:\d+/[\w-]{20,}/", done.out)
    for name in ("model/model.safetensors", "predictions.csv", "config.toml"):
        assert Path("alone", name).read_bytes() == Path("watched", name).read_bytes()


def test_watching_keeps_epochs_of_large_networks_too(elman, trained):
    words = ("train", "values.csv", "--hidden-size", 65, "--epochs", 1, "--no-diagnostics")
    assert elman(*words, "--quiet", "--out", "large", "--watch").code == 0
    assert {path.name for path in Path("large/epochs").iterdir()} == {
        "epoch-0000.safetensors",
        "epoch-0001.safetensors",
    }


def test_watching_without_its_packages_says_what_to_install(elman, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "elman.serve.watch", None)
    monkeypatch.delitem(sys.modules, "elman.serve.watch")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = elman(*WORDS, "--quiet", "--out", "none", "--watch")
    assert done.code == 2 and "pip install 'elman[lab]'" in done.err
    assert not Path("none").exists()


def test_what_holds_no_model_is_named(elman, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no such folder" in elman("lab", "nosuch", "--no-open").err
    done = elman("lab", "empty", "--no-open")
    assert done.code == 2 and "no config.json there" in done.err
