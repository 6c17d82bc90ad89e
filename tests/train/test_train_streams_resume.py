"""Trainings in streams that are cut off, interrupted, or read from disk: the same bits."""

import dataclasses

import numpy as np
import pytest
import torch
from cases import Hook, by_modules, make_model, same_bits, weights_of
from safetensors.torch import load_file, save_file
from test_train_streams import examples_of

from elman import files
from elman.data.encoded import ExamplesWriter
from elman.settings import TrainingSettings
from elman.train import Checkpoints, train
from elman.train.checkpoint import find_checkpoints
from elman.train.gradients import Autograd, OneCall

PLAN = TrainingSettings(
    epochs=2, batch_size=4, token_dropout=1.0, noise=0.1, learning_rate=0.02, tbptt=5
)
LENGTHS = [3, 40, 17, 61, 1, 20, 33, 8]


class Killed(BaseException):
    """Stands for a process that dies."""


def run(folder=None, *, batch=None, data=None, autograd=False, say=None, cell="lstm"):
    """One training from the same start; returns what must be equal to the last bit.

    Args:
        batch: called after every batch.
    """
    model = make_model(cell, "every", mixed=True, dropout=0.3, num_layers=2)
    model = by_modules(model) if autograd else model
    data = examples_of(LENGTHS, "mixed", gaps=0.3) if data is None else data
    data = dataclasses.replace(data, measured=2)
    checkpoints = None if folder is None else Checkpoints(folder, 0.0, say=say)
    history = train(
        model,
        data,
        None,
        PLAN,
        checkpoints=checkpoints,
        generator=torch.Generator().manual_seed(0),
        progress=Hook(batch=batch),
    )
    return weights_of(model), [dataclasses.replace(r, seconds=None) for r in history.epochs]


def die_after(batches):
    count = iter(range(batches - 1))

    def batch(*_):
        if next(count, None) is None:
            raise Killed

    return batch


def assert_equal(one, other):
    assert same_bits(one[0], other[0])
    assert one[1] == other[1]


@pytest.mark.parametrize("autograd", [False, True])
@pytest.mark.parametrize("batches", [1, 6, 14])
def test_continued_in_the_middle_of_a_sequence(batches, autograd, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, batch=die_after(batches), autograd=autograd)
    assert find_checkpoints(tmp_path)
    assert_equal(run(tmp_path, autograd=autograd), run(autograd=autograd))


@pytest.mark.parametrize("kind", [OneCall, Autograd])
def test_an_interrupt_between_gradients_and_step_loses_no_state(kind, tmp_path, monkeypatch):
    """The states after the batch must not be saved: it is trained again."""
    clip, calls = kind.clip, iter(range(7))

    def interrupted(self, limit):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return clip(self, limit)

    autograd = kind is Autograd
    with monkeypatch.context() as patch:
        patch.setattr(kind, "clip", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, autograd=autograd)
    assert_equal(run(tmp_path, autograd=autograd), run(autograd=autograd))


@pytest.mark.parametrize(
    "change", [lambda t: t[:, :1], lambda t: t.double(), None], ids=["shape", "dtype", "missing"]
)
def test_states_of_other_streams_are_refused(change, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, batch=die_after(3))
    for path in find_checkpoints(tmp_path):
        tensors = load_file(path / "state.safetensors")
        tensors["streams.c"] = (
            tensors["streams.c"] if change is None else change(tensors["streams.c"])
        )
        if change is None:
            del tensors["streams.c"]
        (path / "manifest.json").unlink()
        save_file({k: t.contiguous() for k, t in tensors.items()}, path / "state.safetensors")
        files.seal(path)
    said = []
    assert_equal(run(tmp_path, say=said.append), run())
    assert "the states of the streams do not fit" in said[0]


def test_a_training_from_disk_has_the_same_bits(tmp_path):
    for lengths in (LENGTHS, [900]):
        data = examples_of(lengths, "mixed", gaps=0.3, weights=True)
        writer = ExamplesWriter(tmp_path / str(len(lengths)), numbers=2)
        writer.add(dataclasses.replace(data, measured=2))
        assert_equal(run(data=writer.finish()), run(data=data))


def test_an_epoch_may_begin_with_chunks_that_have_no_label(tmp_path):
    """Nothing is trained before the first label, and a checkpoint of that time continues."""
    data = examples_of([60], "mixed")
    data.target.values[:45] = -100
    with pytest.raises(Killed):
        run(tmp_path, batch=die_after(3), data=data)
    saved = load_file(find_checkpoints(tmp_path)[0] / "state.safetensors")
    assert np.isnan(saved["norms"].numpy()).all()
    assert not any(name.startswith("optimizer.") for name in saved)
    found = run(tmp_path, data=data)
    assert_equal(found, run(data=data))
    assert np.isfinite(found[1][0].gradient_norm)
