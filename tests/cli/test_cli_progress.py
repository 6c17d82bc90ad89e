"""How a training is shown: lines, a bar in a terminal, the output of a notebook's cell."""

import dataclasses
import re
import sys
import types

import pytest

from elman import SequenceClassifier, _core
from elman.train import EpochRecord
from elman.train.metrics import RunningMetrics
from elman.train.progress import (
    Lines,
    Notebook,
    Progress,
    Terminal,
    _clock,
    epoch_line,
    make_progress,
)


def record(epoch, watched=True):
    return EpochRecord(
        epoch, 0.59134, 0.7, 0.6 if watched else None, 0.65 if watched else None, 0.003, 1.0, 0.1
    )


BAR = " left"  # stands beside it


def without_time(line):
    return re.sub(r"  \d+:\d\d left$", "", line)


ONE_CALL = f"gradients by one native call a batch ({_core.isa()})"
DETERMINISTIC = "deterministic: the same bits on every run, for any number of threads"


def test_a_line():
    assert epoch_line(record(3), 20) == (
        "epoch 3/20  loss 0.5913  accuracy 0.7000  validation loss 0.6000  accuracy 0.6500"
    )
    assert epoch_line(record(3, False), 20) == "epoch 3/20  loss 0.5913  accuracy 0.7000"


@pytest.mark.parametrize(
    ("epochs", "every", "ran", "shown"),
    [
        (5, 1, 5, [1, 2, 3, 4, 5]),
        (5, 2, 5, [1, 2, 4, 5]),
        (6, 10, 6, [1, 6]),
        (20, 5, 7, [1, 5, 7]),
        (20, 5, 10, [1, 5, 10]),
        (1, 3, 1, [1]),
        (9, 3, 0, []),
    ],
)
def test_which_lines(capsys, epochs, every, ran, shown):
    with Lines(epochs, every) as progress:
        for epoch in range(1, ran + 1):
            progress.batch(1, 1, RunningMetrics(0.5, 1, 1))
            progress.epoch(record(epoch))
    lines = capsys.readouterr().out.splitlines()
    assert [without_time(line) for line in lines] == [epoch_line(record(e), epochs) for e in shown]


def watched_test(epoch, loss=None, accuracy=None):
    whole = record(epoch, watched=False)
    return dataclasses.replace(whole, test_loss=loss, test_accuracy=accuracy)


def test_a_line_has_the_last_figure_of_the_test_split(capsys):
    with Lines(4, 1) as progress:
        for each in (
            watched_test(1, 0.9, 0.5),
            watched_test(2),
            watched_test(3, 0.8, 0.625),
            watched_test(4),
        ):
            progress.epoch(each)
    found = [without_time(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.partition("accuracy 0.7000  ")[2] for line in found] == [
        "test loss 0.9000  accuracy 0.5000",
        "test loss 0.9000  accuracy 0.5000 (epoch 1)",
        "test loss 0.8000  accuracy 0.6250",
        "test loss 0.8000  accuracy 0.6250 (epoch 3)",
    ]


def test_the_last_line_is_shown_after_ctrl_c(capsys):
    def interrupted():
        with Lines(20, 10) as progress:
            for epoch in (1, 2, 3):
                progress.epoch(record(epoch))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "epoch 1/20",
        "epoch 3/20",
    ]


def test_silence(capsys):
    with Progress() as progress:
        progress.start("gradients by autograd")
        progress.batch(1, 1, RunningMetrics(0.5, 1, 1))
        progress.epoch(record(1))
    assert capsys.readouterr().out == ""


def test_the_estimator_shows_lines(capsys, monkeypatch):
    X, y = [[0.5, 1.0], [1.5, 2.0]] * 6, [0, 1] * 6
    model = SequenceClassifier(hidden_size=2, epochs=4, random_state=0)
    model.fit(X, y)
    assert capsys.readouterr().out == ""
    model.set_params(verbose=2).fit(X, y)
    lines = [without_time(line) for line in capsys.readouterr().out.splitlines()]
    expected = [epoch_line(e, 4) for e in model.history_.epochs]
    assert lines == [ONE_CALL, DETERMINISTIC, expected[0], expected[1], expected[3]]
    assert model.history_.gradients == ONE_CALL


def test_clock():
    assert [_clock(s) for s in (0, 5.4, 65, 3600, 36065.2)] == [
        "0:00",
        "0:05",
        "1:05",
        "1:00:00",
        "10:01:05",
    ]


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, content):
        self.shown.append(content._repr_mimebundle_([], [])["text/html"])


@pytest.fixture
def notebook(monkeypatch):
    """IPython as in a notebook; what was displayed, in order."""
    shown = []

    def display(content, display_id=False):
        assert display_id
        handle = Handle(shown)
        handle.update(content)
        return handle

    class ZMQInteractiveShell:
        pass

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = ZMQInteractiveShell
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return shown


def test_a_notebook(notebook):
    progress = make_progress(1, 20)
    assert type(progress) is Notebook
    with progress:
        progress.start("gradients by <autograd>")
        assert "gradients by &lt;autograd&gt;" in notebook.pop()
        progress.batch(1, 4, RunningMetrics(2.0, 3, 4))
        assert BAR in notebook[-1]
        assert "epoch 1/20  loss 0.5000  accuracy 0.7500  " in notebook[-1]
        progress.batch(2, 4, RunningMetrics(2.0, 3, 4))  # too soon to draw again
        assert len(notebook) == 1
        for epoch in range(1, 13):
            progress.epoch(record(epoch))
    last = notebook[-1]
    assert BAR not in last
    assert last.count("epoch ") == 8  # the last eight lines
    assert "epoch 12/20" in last
    assert "epoch 5/20" in last
    assert "epoch 4/20" not in last


def test_a_training_in_a_notebook(notebook, capsys):
    X, y = [[0.5, 1.0], [1.5, 2.0]] * 6, [0, 1] * 6
    model = SequenceClassifier(hidden_size=2, epochs=3, verbose=1, random_state=0).fit(X, y)
    assert epoch_line(model.history_.epochs[-1], 3) in notebook[-1]
    assert notebook[-1].count(ONE_CALL) == 1
    assert capsys.readouterr().out == ""


def test_the_choice(monkeypatch, notebook):
    assert type(make_progress(0, 5)) is Progress
    sys.modules["IPython"].get_ipython = lambda: None  # imported, but no notebook runs
    assert type(make_progress(1, 5)) is Lines
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert type(make_progress(1, 5)) is Terminal
    assert make_progress(3, 5).every == 3


def test_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Terminal(5, 1) as progress:
        progress.start("gradients by [autograd]")
        progress.batch(1, 2, RunningMetrics(1.0, 1, 2))
        progress.epoch(record(1))
        progress.epoch(record(2))
    text = capsys.readouterr().out
    assert "gradients by [autograd]" in text
    assert epoch_line(record(1), 5) in text
    assert epoch_line(record(2), 5) in text
    assert "\x1b[?25h" in text  # the cursor is shown again
