"""benchmarks/tasks.py: its commands are commands, its table holds what was measured."""

from __future__ import annotations

import importlib
import shlex
import sys
from pathlib import Path

import pytest

from elman.cli.train import command, settings_from
from elman.data import BUILTIN_TASKS, load_task
from elman.estimators.defaults import DataStatistics, choose

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
tasks = importlib.import_module("tasks")


@pytest.mark.parametrize("row", tasks.ROWS, ids=lambda row: row.task)
@pytest.mark.parametrize("cell", tasks.CELLS)
def test_every_row_can_be_run(row, cell):
    """And nothing is left to a rule for defaults, which may change: its rows would move."""
    settings = row.settings(cell, 3)
    assert (settings.data.data, settings.model.cell, settings.training.seed) == (row.task, cell, 3)
    assert not settings.model.bidirectional
    per_step = row.figure in (tasks.whole, tasks.recalled)
    tokens = 0 if row.task.startswith(("adding", "running", "sequential")) else 9
    figures = DataStatistics(100, 20.0, int(not tokens), 0, tokens, 4, per_step)
    assert choose(figures, settings.model, settings.training)[2] == "every setting was given"
    assert settings.data.validation == 0.1
    name, _, values = row.task.partition(":")
    assert BUILTIN_TASKS[name].values(values) is not None


def test_the_command_of_a_row_gives_its_settings():
    row = tasks.ROWS[3]
    words = shlex.split(row.command().replace("CELL", "gru").replace("--seed S", "--seed 5"))
    assert words[:2] == ["elman", "train"]
    given = command.make_context("train", words[2:]).params
    assert given.pop("config") == Path("benchmarks/tasks.toml")
    assert settings_from(given, tasks.CONFIG) == row.settings("gru", 5)


def test_every_hard_task_is_measured():
    measured = {row.task.split(":")[0] for row in tasks.ROWS}
    assert measured == {name for name, task in BUILTIN_TASKS.items() if task.known}


def test_a_row_is_measured_and_shown(capsys, monkeypatch):
    row = tasks.Row("anbn:n=2,train=30", "--epochs 1 --hidden-size 2", tasks.whole, "right", "0")
    monkeypatch.setattr(tasks, "ROWS", (row,))
    monkeypatch.setattr(sys, "argv", ["tasks.py", "anbn", "--seeds", "2"])
    tasks.main()
    shown = capsys.readouterr().out
    assert shown.count("anbn:n=2,train=30 lstm seed") == 2
    assert "| `anbn:n=2,train=30` | right | 0 | test | 0.000 |" in shown
    assert f"s: `{row.command()}`" in shown


def test_the_figures():
    class Report:
        classes = ("-", "1", "2")
        owners = tasks.np.array([0, 0, 1, 1, 2, 2])
        true = tasks.np.array([0, 1, 0, 2, 0, 2])
        predicted = tasks.np.array([0, 1, 0, 1, 1, 2])
        count, accuracy, rmse = 3, 4 / 6, 0.5

    assert tasks.whole(Report) == pytest.approx(1 / 3)
    assert tasks.recalled(Report) == pytest.approx(2 / 3)
    assert tasks.accuracy(Report) == 4 / 6
    assert tasks.rmse(Report) == 0.5
    assert tasks.spread([0.5, 0.5]) == "0.500"
    assert tasks.spread([0.25, 0.75]) == "0.500 (0.250 to 0.750)"


def test_numbers_are_learnt_by_the_regressor():
    row = tasks.Row("adding:T=4,train=40,test=20", "--epochs 1", tasks.rmse, "RMSE", "0.408")
    train, test, seconds = tasks.measure(row, "rnn", 0)
    assert 0.1 < train < 2 and 0.1 < test < 2 and seconds > 0
    assert len(load_task(row.task, 0)[1]) == 20


def test_the_page_shows_the_newest_result():
    found = sorted((ROOT / "benchmarks" / "results").glob("tasks_*.md"))
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    for line in found[-1].read_text(encoding="utf-8").splitlines():
        if line.startswith(("| ", "- ")):
            assert line in page
    assert found[-1].name in page
