"""Plain lines of progress."""

import dataclasses

import pytest

from elman.train import EpochRecord
from elman.train.progress import Lines, Progress, epoch_line, make_progress


def record(epoch, validated=True):
    return EpochRecord(
        epoch=epoch,
        loss=0.5,
        accuracy=0.75,
        validation_loss=0.625 if validated else None,
        validation_accuracy=0.5 if validated else None,
        learning_rate=0.001,
        gradient_norm=1.0,
        seconds=0.1,
    )


def test_line():
    assert epoch_line(record(3), 10) == (
        "epoch 3/10  loss 0.5000  accuracy 0.7500  validation loss 0.6250  accuracy 0.5000"
    )
    assert epoch_line(record(3, False), 10) == "epoch 3/10  loss 0.5000  accuracy 0.7500"


@pytest.mark.parametrize(
    ("every", "last", "shown"),
    [
        (1, 5, [1, 2, 3, 4, 5]),
        (4, 10, [1, 4, 8, 10]),
        (4, 6, [1, 4, 6]),  # stopped early: the last one is shown all the same
        (100, 1, [1]),
    ],
)
def test_first_and_last_are_always_shown(every, last, shown, capsys):
    with Lines(10, every) as progress:
        for epoch in range(1, last + 1):
            progress.epoch(record(epoch))
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[1].split("/")[0]) for line in lines] == shown


def test_lines_have_the_time_left(capsys):
    with Lines(100, 1) as progress:
        for epoch in (1, 2, 100):
            progress.epoch(dataclasses.replace(record(epoch), seconds=2.0))
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.endswith("  3:18 left") and second.endswith("  3:16 left")
    assert "left" not in last


def test_silence(capsys):
    with make_progress(0, 3) as progress:
        assert type(progress) is Progress
        for epoch in (1, 2, 3):
            progress.epoch(record(epoch))
    assert capsys.readouterr() == ("", "")


def test_plain_lines_where_there_is_no_terminal(capsys):
    assert type(make_progress(2, 3)) is Lines
