"""A training that is cut off and continued ends with the same bits as an unbroken one."""

import dataclasses

import numpy as np
import pytest
import torch
from cases import make_examples, make_model, same_bits, weights_of

from elman.errors import SettingsError
from elman.settings import TrainingSettings
from elman.train import Checkpoints, train
from elman.train.checkpoint import Saver, find_checkpoints
from elman.train.metrics import RunningMetrics

PLAN = TrainingSettings(epochs=3, batch_size=8, token_dropout=1.0, learning_rate=0.02)


class Killed(BaseException):
    """Stands for a process that dies: nothing is written after it."""


def run(folder=None, plan=PLAN, every=0.0, seed=0, model=None, data=None, validation=True, **more):
    """One training from the same start; returns what must be equal to the last bit."""
    model = make_model("gru", tokens=True, dropout=0.3) if model is None else model()
    data = make_examples(30, tokens=True) if data is None else data
    checkpoints = None if folder is None else Checkpoints(folder, every)
    torch.manual_seed(seed)
    held_out = make_examples(20, tokens=True, seed=5) if validation is True else validation
    history = train(model, data, held_out or None, plan, checkpoints=checkpoints, **more)
    records = [dataclasses.replace(record, seconds=None) for record in history.epochs]
    return weights_of(model), records, history.stopped, history.kept_epoch


def killed_after(monkeypatch, writes, **arguments):
    """Train until so many checkpoints are written, then die."""
    save, count = Saver.save, iter(range(writes - 1))

    def dying(self, state):
        save(self, state)
        if next(count, None) is None:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Saver, "save", dying)
        patch.setattr(Saver, "save_broken_off", lambda self, state, error: None)
        with pytest.raises(Killed):
            run(**arguments)


def assert_equal(one, other):
    assert same_bits(one[0], other[0])
    assert one[1:] == other[1:]


@pytest.mark.parametrize("writes", [1, 4, 5, 6, 14])
def test_continued_ends_with_the_same_bits(writes, tmp_path, monkeypatch):
    killed_after(monkeypatch, writes, folder=tmp_path / "c")
    assert_equal(run(tmp_path / "c", seed=7), run())


def test_two_are_kept_and_the_last_ends_the_training(tmp_path):
    run(tmp_path)
    assert [path.name for path in find_checkpoints(tmp_path)] == ["000000000012", "000000000011"]
    calls = []
    assert_equal(run(tmp_path, on_epoch=calls.append), run())
    assert [record.epoch for record in calls] == [1, 2, 3]


def test_a_short_training_writes_none(tmp_path):
    run(tmp_path / "c", every=30.0)
    assert not (tmp_path / "c").exists()


def test_another_training_is_refused(tmp_path):
    run(tmp_path)
    changed = dataclasses.replace(PLAN, learning_rate=0.01)
    with pytest.raises(SettingsError, match=r"learning_rate was 0\.02 and is 0\.01"):
        run(tmp_path, changed)


def test_a_display_does_not_change_the_sums():
    """A progress bar reads the metrics by the clock; the sums of squares must not depend on it."""
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(2, 50, 1, generator=generator) for _ in range(400)]
    unit, found = np.ones(1), []
    for read in (False, True):
        metrics = RunningMetrics(unit=unit)
        for outputs, target in batches:
            metrics.add(0.0, outputs, target)
            read = read and metrics.rmse is not None
        found.append(metrics.rmse)
    assert found[0] == found[1]
