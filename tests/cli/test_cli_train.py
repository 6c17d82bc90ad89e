"""What `elman train` says and writes; settings from flags and files; the other small commands."""

import json
import re
import tomllib
from importlib.metadata import version

import numpy as np
import pytest
from click.testing import CliRunner

from elman import _core, load
from elman.cli.commands import cli
from elman.cli.signals import NOTHING_WRITTEN
from elman.data.builtin import BUILTIN_TASKS
from elman.evaluate import Check
from elman.setting_list import list_settings

EPOCH = re.compile(
    r"^epoch (\d+)/(\d+)  loss (\d+\.\d{4})  accuracy ([01]\.\d{4})"
    r"  (?:validation|test) loss (\d+\.\d{4})  accuracy ([01]\.\d{4})(?:  \d+:\d\d left)?$",
    re.MULTILINE,
)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_said(elman, files, tmp_path):
    data = files / "text.csv"
    flags = ["--hidden-size", 4, "--epochs", 3, "--no-bidirectional", "--validation", 0.1]
    done = elman("train", data, *flags, "--out", "my run")
    assert done.code == 0
    assert done.err == ""
    assert f"{data}\n  format     one row a sequence" in done.out
    assert "Guessed; each flag overrides its guess:\n  --target label: by its name" in done.out
    assert "test split: 6 sequences held out (20%); --test" in done.out
    assert [m[0] for m in EPOCH.findall(done.out)] == ["1", "2", "3"]
    native = f"gradients by one native call a batch ({_core.isa()})"
    same = "deterministic: the same bits on every run, for any number of threads"
    assert f"\n{native}\n{same}\nepoch 1/3" in done.out
    assert "GRU of 4 units, 1 layer, one direction, readout last, 2 classes" in done.out
    assert "all epochs done; the weights of epoch 3 are evaluated and saved" in done.out
    assert re.search(r"^accuracy +[\d.]+ +[\d.]+ to [\d.]+", done.out, re.MULTILINE)
    assert re.search(
        r"^[\d.]+ s\. Everything is in my run; open my run/report\.html\n\Z", done.out, re.MULTILINE
    )
    records = read_lines(tmp_path / "my run" / "metrics.jsonl")
    shown = [
        tuple(f"{r[k]:.4f}" for k in ("loss", "accuracy", "validation_loss", "validation_accuracy"))
        for r in records
    ]
    assert [m[2:] for m in EPOCH.findall(done.out)] == shown
    page = (tmp_path / "my run" / "report.html").read_text(encoding="utf-8")
    assert f"<dt>Gradients</dt><dd>by one native call a batch ({_core.isa()})</dd>" in page
    assert "--hidden-size 4 --epochs 3" in page


def test_quiet(elman, files, small):
    done = elman("train", files / "text.csv", *small)
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(("every", "shown"), [(1, "1234567"), (3, "1367"), (5, "157"), (9, "17")])
def test_log_every(elman, files, every, shown):
    flags = ["--hidden-size", 2, "--epochs", 7, "--log-every", every]
    done = elman("train", files / "text.csv", *flags, "--validation", 0.1, "--patience", 0)
    assert [m[0] for m in EPOCH.findall(done.out)] == list(shown)


def test_the_last_line_is_shown_after_early_stopping(elman, tmp_path):
    rows = [f"{'ab'[i % 2]} {'cd'[i % 3 % 2]},{'xy'[i * i % 7 % 2]}" for i in range(40)]
    (tmp_path / "noise.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    flags = ["--epochs", 60, "--patience", 1, "--log-every", 50, "--learning-rate", 0.1]
    done = elman("train", "noise.csv", *flags, "--validation", 0.1)
    stopped = re.search(
        r"no lower validation loss for 1 epochs; the weights of epoch (\d+)", done.out
    )
    assert [int(m[0]) for m in EPOCH.findall(done.out)] == [1, int(stopped[1]) + 1]


def test_recipe_b(elman, tmp_path):
    """A plain training by flags: full batches, Adam, nothing else."""
    flags = (
        "--cell rnn --hidden-size 16 --epochs 50 --batch-size full --learning-rate 0.01 "
        "--optimizer adam --schedule constant --warmup 0 --clip-norm 0 --initialization torch "
        "--no-scale --validation test --log-every 10 --seed 0 --no-diagnostics --out b"
    )
    done = elman("train", "sum-threshold", *flags.split())
    assert done.code == 0, done.err
    assert [m[:2] for m in EPOCH.findall(done.out)] == [
        (str(e), "50") for e in (1, 10, 20, 30, 40, 50)
    ]
    found = json.loads((tmp_path / "b" / "metrics.json").read_text())
    assert 0.88 <= found["test"]["accuracy"] <= 0.98
    assert "validation" not in found
    lines = read_lines(tmp_path / "b" / "metrics.jsonl")
    assert all(line["test_loss"] and line["validation_loss"] is None for line in lines)
    assert lines[-1]["test_accuracy"] == found["test"]["accuracy"]
    assert found["kept_epoch"] == found["epochs"] == 50  # nothing is chosen by the test split
    settings = tomllib.loads((tmp_path / "b" / "config.toml").read_text())
    training = settings["training"]
    assert (training["keep"], training["patience"], training["weight_decay"]) == ("last", 0, 0.0)
    rates = {r["learning_rate"] for r in read_lines(tmp_path / "b" / "metrics.jsonl")}
    assert rates == {0.01}


# -- settings ----------------------------------------------------------------------------------


def other_value(field):
    """A value that is not the default, as a flag's words and as a setting."""
    if field.types == (bool,):
        flag = field.name.replace("_", "-")
        return [f"--no-{flag}" if field.default else f"--{flag}"], not field.default
    flag = f"--{field.name.replace('_', '-')}"
    special = {
        "test": 0.25,
        "validation": 0.25,
        "cell": "rnn",
        "nonlinearity": "relu",
        "memory_limit": "4GB",
    }
    if field.name in special:
        value = special[field.name]
    elif field.choices:
        value = [c for c in field.choices if c != field.default][-1]
    elif int in field.types:
        value = 7
    elif float in field.types:
        value = 0.125
    else:
        value = "some, name"
    return [flag, value], value


FIELDS = [f for f in list_settings() if f.name != "data"]


@pytest.mark.parametrize("field", FIELDS, ids=[f.name for f in FIELDS])
def test_every_setting_is_a_flag_and_a_key(elman, tmp_path, field):
    words, value = other_value(field)
    beside = {
        "nonlinearity": ["--cell", "rnn"],
        "focal_gamma": ["--loss", "focal"],
        "stride": ["--window", "9"],
        "precision": ["--device", "cuda"],
    }.get(field.name, [])
    done = elman("train", "x.csv", *beside, *words, "--print-config")
    assert done.code == 0, done.err
    shown = tomllib.loads(done.out)
    assert shown[field.section][field.name] == value
    assert type(shown[field.section][field.name]) is type(value)
    (tmp_path / "c.toml").write_text(done.out)
    again = elman("train", "--config", "c.toml", "--print-config")
    assert again.out == done.out


def test_flags_win_over_the_file(elman, tmp_path):
    (tmp_path / "c.toml").write_text(
        '[data]\ndata = "file.csv"\nscale = false\n[model]\nhidden_size = 7\ncell = "lstm"\n'
        "[training]\nepochs = 3\nlearning_rate = 1\n"
    )
    done = elman(
        "train", "other.csv", "--config", "c.toml", "--hidden-size", 9, "--scale", "--print-config"
    )
    shown = tomllib.loads(done.out)
    assert shown["data"]["data"] == "other.csv"
    assert shown["data"]["scale"] is True
    assert (shown["model"]["hidden_size"], shown["model"]["cell"]) == (9, "lstm")
    assert shown["training"]["learning_rate"] == 1.0
    assert not list(tmp_path.glob("runs"))


def test_a_wrong_key_names_the_nearest(elman, tmp_path):
    (tmp_path / "c.toml").write_text("[model]\nhiden_size = 7\nepochs = 3\n[trainning]\n")
    done = elman("train", "x.csv", "--config", "c.toml", "--print-config")
    assert done.code == 2
    assert done.err.splitlines() == [
        "Error: c.toml, line 2: [model] hiden_size: no such setting. Did you mean 'hidden_size'?",
        "c.toml, line 3: [model] epochs: belongs below [training]",
        "c.toml, line 4: trainning: no such section or setting. Did you mean 'training'?",
    ]


def test_whole_numbers_stand_for_shares(elman, files, tmp_path, small):
    (tmp_path / "c.toml").write_text("[data]\nvalidation = 0\n[training]\nweight_decay = 1\n")
    done = elman("train", files / "text.csv", "--config", "c.toml", *small, "--out", "r")
    assert done.code == 0, done.err
    assert "validation" not in json.loads((tmp_path / "r" / "metrics.json").read_text())


def test_a_run_again_from_its_config(elman, files, small, tmp_path):
    flags = ["--cell", "lstm", "--bidirectional", "--readout", "max", "--dropout", 0.3, "--seed", 9]
    assert elman("train", files / "steps.csv", *small, *flags, "--out", "a").code == 0
    assert elman("train", "--config", "a/config.toml", "--quiet", "--out", "b").code == 0
    a, b = (json.loads((tmp_path / x / "metrics.json").read_text()) for x in "ab")
    for changing in ("seconds", "versions"):
        a.pop(changing), b.pop(changing)
    assert a == b


def test_streaming_says_what_it_costs_and_trains_one_direction(elman, files, small, tmp_path):
    flags = [flag for flag in small if flag != "--quiet"]
    done = elman("train", files / "steps.csv", *flags, "--streaming", "--out", "r")
    assert done.code == 0, done.err
    cost = done.out.index("--streaming: the network reads in one direction. Over six data sets")
    assert cost < done.out.index("epoch 1/")
    assert "streaming = true" in (tmp_path / "r" / "config.toml").read_text()
    model = load(tmp_path / "r")
    assert model.streaming and not model.model_.config.bidirectional
    X = model.read(files / "steps.csv").inputs
    np.testing.assert_array_equal(model.stream().feed([X[0]]), model.predict_proba([X[0]]))
    done = elman("train", files / "steps.csv", *small, "--streaming", "--bidirectional")
    assert done.code == 2
    assert "streaming: a network that answers step by step reads in one direction" in done.err


# -- the small commands ------------------------------------------------------------------------


def test_tasks(elman):
    lines = elman("tasks").out.splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert [line.split("  ")[0] for line in heads] == list(BUILTIN_TASKS)
    assert all(
        task.summary in line for task, line in zip(BUILTIN_TASKS.values(), heads, strict=True)
    )
    assert "                   :n=10,stretch=2,letters=2,train=500" in lines
    for task in BUILTIN_TASKS.values():
        assert not task.known or any(line.endswith(task.known) for line in lines)


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_one_task(elman, name):
    done = elman("tasks", name)
    assert done.out.startswith(f"{name}: {BUILTIN_TASKS[name].summary}\n")
    assert BUILTIN_TASKS[name].source in done.out
    for parameter in BUILTIN_TASKS[name].parameters.values():
        line = f"{parameter.meaning} [default: {parameter.default}]\n"
        assert re.search(rf"^  {parameter.name} +{re.escape(line)}", done.out, re.MULTILINE)


def test_no_such_task(elman):
    done = elman("tasks", "rebr")
    assert (done.code, done.out) == (2, "")
    assert "There is no task 'rebr'. Did you mean 'reber'?" in done.err


def test_a_task_with_parameters(elman, tmp_path):
    asked = "anbn:n=3,stretch=3,train=40"
    assert elman("train", asked, "--epochs", 1, "--hidden-size", 2, "--no-diagnostics").code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("anbn-n-3-stretch-3-train-40")
    assert tomllib.loads((run / "config.toml").read_text())["data"]["data"] == asked
    found = json.loads((run / "metrics.json").read_text())
    assert (found["test"]["count"], found["test"]["steps"]) == (6, sum(range(9, 20, 2)))
    done = elman("evaluate", run, "anbn:n=3,stretch=2,train=2")
    assert done.code == 0, done.err
    assert "3 sequences" in done.out
    done = elman("train", "anbn:m=3")
    assert (done.code, done.out) == (2, "")
    assert "task anbn: no such parameter 'm'" in done.err
    done = elman("train", "anbm:n=3")
    assert "no such file or task: 'anbm:n=3'. Did you mean 'anbn'?" in done.err


def test_help_names_everything(elman):
    done = elman("--help")
    assert done.code == 0
    for name in ("train", "evaluate", "predict", "check", "tasks"):
        assert re.search(rf"^  {name} +\w", done.out, re.MULTILINE)
        assert elman(name, "--help").code == 0
        assert elman(name, "-h").out == elman(name, "--help").out
    shown = elman("train", "--help").out
    for field in list_settings():
        if field.name != "data":
            assert f"--{field.name.replace('_', '-')}" in shown
            if field.default is not None:
                assert "[default" in shown
    assert elman("--version").out == f"elman {version('elman')}\n"


def test_defaults_in_the_help_are_true(elman):
    """What --help calls the default is what --print-config shows."""
    shown = tomllib.loads(elman("train", "x.csv", "--print-config").out)
    text = re.sub(r"\s+", " ", elman("train", "--help").out)
    for field in list_settings():
        if field.default is None or field.name == "data":
            continue
        words = field.name.replace("_", "-")
        default = shown[field.section][field.name]
        if isinstance(default, bool):
            default = words if default else f"no-{words}"
        part = text.split(f" --{words} ", 1)[1]
        assert f"[default: {default}]" in part.split(" --", 1)[0] + part[:400], field.name


def test_the_group_is_a_click_command():
    """As others embed it; errors are click's own there."""
    result = CliRunner().invoke(cli, ["tasks"])
    assert result.exit_code == 0
    assert CliRunner().invoke(cli, ["taks"]).exit_code == 2


def test_an_interrupt_before_anything(elman, files, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("elman.train.gradients.OneCall.__call__", stop)
    done = elman("train", files / "text.csv")
    assert done.code == 130
    assert done.err.strip() == f"Interrupted {NOTHING_WRITTEN}"
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_after_the_training(elman, files, tmp_path, monkeypatch, small):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("elman.plots.save_all", stop)
    done = elman("train", files / "text.csv", *small, "--out", "r")
    assert done.code == 130
    assert done.err.strip().startswith("Interrupted")
    assert "after epoch 2, in the evaluation. To continue: elman train --resume r\n" in done.err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert elman("predict", "r", files / "text.csv", "-o", "p.csv").code == 0
    done = elman("train", "--resume", "r", "--quiet")
    assert done.code == 0, done.err
    assert (tmp_path / "r" / "metrics.json").is_file()


def test_a_check_that_fails(elman, trained, files, monkeypatch):
    """Each check in a line with its verdict, the number of those that failed, and exit code 1."""
    found = [
        Check("company", "with the others", 0.25, False, 0.0),
        Check("order", "in another order", 0.0, True, 0.0),
        Check("pad value", "padded with nan", float("inf"), False, 0.0),
    ]
    monkeypatch.setattr("elman.estimators.base.check_invariance", lambda *_, **__: found)
    done = elman("check", trained("text.csv"), files / "text.csv")
    assert done.code == 1
    assert done.out.splitlines() == [
        "FAIL   2.5e-01  company: with the others",
        "ok     0.0e+00  order: in another order",
        "FAIL       inf  pad value: padded with nan",
        "2 of 3 checks failed: predictions depend on other sequences",
        "The bound is 0",
    ]
