"""What the command calls things: help, versions, hints, formats."""

import re
from importlib.metadata import version

import pytest

from elman.errors import find_nearest
from elman.formats import FILE_FORMATS, KINDS
from elman.setting_list import list_settings


def test_help_and_version_as_commands(elman):
    assert elman("help").out == elman("--help").out
    for name in ("train", "predict", "explain", "help"):
        assert elman("help", name).out == elman(name, "--help").out
    for words in (["version"], ["-v"], ["-V"], ["--version"]):
        assert elman(*words).out == f"elman {version('elman')}\n"
    done = elman("help", "trian")
    assert done.code == 2 and "No such command 'trian'. Did you mean 'train'?" in done.err


def test_a_word_that_is_no_command(elman, tmp_path):
    done = elman("fit", "x.csv")
    assert done.code == 2 and "Expected one of train, tune, evaluate, predict" in done.err
    (tmp_path / "x.csv").write_text("a")
    done = elman("x.csv")
    assert done.code == 2 and "To train on the file: elman train x.csv" in done.err


def test_the_help_of_train_names_every_format(elman):
    shown = re.sub(r"\s+", " ", elman("train", "--help").out)
    assert KINDS
    for row in FILE_FORMATS:
        assert f"{row.name} ({', '.join(row.endings)})" in shown


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (["--device", "gpu"], "Did you mean 'cuda'?"),
        (["--device", "GPU"], "Did you mean 'cuda'?"),
        (["--device", "cuda:0"], "Did you mean 'cuda'?"),
        (["--optimizer", "AdamW"], "Did you mean 'adamw'?"),
        (["--loss", "mse"], "Did you mean 'squared_error'?"),
        (["--task", "ner"], "Did you mean 'tagging'?"),
        (["--tokens", "word"], "Did you mean 'words'?"),
        (["--format", "csv"], "Did you mean 'rows'?"),
        (["--cell", "simplernn"], "Did you mean 'rnn'?"),
        (["--lr", "0.1"], "Did you mean '--learning-rate'?"),
        (["--embedding_size", "3"], "Did you mean '--embedding-size'?"),
        (["--class-weights", "balanced"], "Did you mean '--class-weight'?"),
    ],
)
def test_a_word_of_another_library_gets_the_word_here(elman, tmp_path, flags, hint):
    """Before anything is read: there is no such file."""
    done = elman("train", "missing.csv", *flags)
    assert done.code == 2 and hint in done.err, done.err
    assert not list(tmp_path.iterdir())


def test_a_setting_of_a_file_gets_the_hint_too(elman, tmp_path):
    (tmp_path / "s.toml").write_text('[training]\ndevice = "gpu"\n')
    done = elman("train", "missing.csv", "--config", "s.toml")
    assert done.code == 2
    assert "device: got 'gpu', expected 'cpu' or 'cuda'. Did you mean 'cuda'?" in done.err


def test_every_synonym_leads_to_a_setting_or_a_choice():
    from elman.errors import _SYNONYMS

    names = {name for s in list_settings() for name in (s.name, *s.choices)}
    names.add("integrated_gradients")
    for word, meant in _SYNONYMS.items():
        assert meant in names and find_nearest(word, [meant, "x"]) == meant


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["x.ts", "--embedding-size", 4], "embedding_size: got 4, but the sequences are numbers"),
        (["x.csv", "--values", "a", "--embedding-size", 4], "embedding_size: got 4"),
    ],
)
def test_settings_that_no_data_can_honour_are_refused_before_reading(elman, flags, message):
    done = elman("train", *flags)
    assert done.code == 2 and message in done.err
    assert "no such file" not in done.err


def test_a_missing_device_is_said_before_reading(elman, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = elman("train", "missing.csv", "--device", "cuda")
    assert done.code == 2 and "torch finds no CUDA device here" in done.err


def test_check_says_its_bound(elman, files, tmp_path, small):
    """Numbers beside categories are computed by torch, to 1e-6, or by the kernels, to the bit."""
    shown = re.sub(r"\s+", " ", elman("check", "--help").out)
    assert "The bound is 0, the same bits, where elman's kernels compute" in shown
    data = files / "steps.csv"
    flags = ("--id", "id", "--time", "t", "--values", "a", "--categories", "b")
    assert elman("train", data, *flags, *small, "--out", "r").code == 0
    done = elman("check", "r", data)
    assert done.code == 0, done.out
    worst = max(float(line.split()[1]) for line in done.out.splitlines() if line[:2] == "ok")
    said = "to the last bit" in done.out
    assert said == (worst == 0)
    if not said:
        assert "The bound is 1e-06, because torch computes it: " in done.out
