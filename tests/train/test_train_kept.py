"""Weights that are kept of the epochs: which, that they are the network's, and what they cost."""

import dataclasses
import itertools
import shutil
import time

import numpy as np
import pytest
import torch
from cases import make_examples, make_model, same_bits, weights_of
from safetensors.torch import load_file, save_file
from test_train_checkpoints import PLAN, Killed, assert_equal, run

from elman import files
from elman.errors import ModelFileError
from elman.train import Checkpoints, kept, read_kept_epochs, state, train
from elman.train.checkpoint import Saver
from elman.train.kept import (
    EpochFiles,
    choose_epochs,
    find_files,
    keep_epoch,
    stack_epochs,
    unstack_epochs,
)

KEEPING = dataclasses.replace(PLAN, epochs=9, keep_epochs=3, keep="best", patience=0)


class Recorder:
    """Follows a training and copies the weights at its beginning and after each epoch."""

    def __init__(self):
        self.weights = {}

    def begin(self, model, training, loss):
        self.model = model
        self.weights[0] = weights_of(model)

    def epoch(self, record):
        self.weights[record.epoch] = weights_of(self.model)


def history_of(plan=KEEPING, folder=None, epochs=None, seed=0, on_epoch=None, say=None):
    """A training with dropout, noise of tokens and a validation split; returns its history."""
    model = make_model("lstm", tokens=True, dropout=0.3)
    checkpoints = None if folder is None else Checkpoints(folder, 0.0, epochs=epochs, say=say)
    generator = torch.Generator().manual_seed(seed)
    data, held_out = make_examples(30, tokens=True), make_examples(20, tokens=True, seed=5)
    arguments = {"checkpoints": checkpoints, "generator": generator, "on_epoch": on_epoch}
    return train(model, data, held_out, plan, **arguments)


def same_epochs(one, other):
    assert one.keys() == other.keys()
    assert all(same_bits(one[epoch], other[epoch]) for epoch in one)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 20])
def test_which_epochs_are_chosen(most):
    for last in range(1, 400):
        between = sorted(choose_epochs(last, last, most) - {0, last})
        assert len(between) <= most
        if last - 1 <= most:
            assert between == [*range(1, last)]
        else:
            assert between[0] == 1  # a network changes most in the first epochs
            gaps = [b - a for a, b in itertools.pairwise(between)]
            assert gaps == sorted(gaps)
            assert all(gap & (gap - 1) == 0 or most < 10 for gap in gaps)
            assert 2 * len(between) >= min(most, 2 * last.bit_length() - 2)
        best = 1 + last // 2
        assert choose_epochs(last, best, most) == {0, *between, best, last}


def test_the_epochs_of_usual_trainings():
    assert sorted(choose_epochs(30, 30, 20)) == [
        *(0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 30)
    ]
    assert sorted(choose_epochs(120, 90, 20)) == [
        *(0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 90, 96, 120)
    ]


def test_none_are_chosen_without_a_number():
    assert choose_epochs(7, 3, 0) == set()


@pytest.mark.parametrize("most", [1, 2, 4, 20])
def test_dropping_on_the_way_loses_nothing(most):
    """Whatever is chosen at the end was never dropped before."""
    best, found = 0, {}
    for epoch in range(600):
        best = epoch if epoch % 7 == 1 else best
        keep_epoch(found, epoch, {"w": torch.full((2,), float(epoch))}, best, most)
        assert found.keys() == choose_epochs(epoch, best, most)
    assert all(weights["w"].tolist() == [epoch] * 2 for epoch, weights in found.items())


def test_they_are_the_weights_of_their_epochs():
    recorder = Recorder()
    history = history_of(on_epoch=recorder)
    assert history.kept_epochs.keys() == choose_epochs(9, history.kept_epoch, 3)
    same_epochs(history.kept_epochs, {k: recorder.weights[k] for k in history.kept_epochs})


def test_the_training_has_the_same_bits():
    without = dataclasses.replace(KEEPING, keep_epochs=0)
    assert_equal(run(plan=KEEPING), run(plan=without))
    assert history_of(without).kept_epochs == {}


@pytest.mark.parametrize("batches", [1, 9, 30])
def test_a_continued_training_keeps_the_same(batches, tmp_path, monkeypatch):
    whole = history_of(folder=tmp_path / "c", epochs=tmp_path / "whole" / "epochs")
    shutil.rmtree(tmp_path / "c")
    with monkeypatch.context() as patch:
        save, count = Saver.save, iter(range(batches - 1))

        def dying(self, state):
            save(self, state)
            if next(count, None) is None:
                raise Killed

        patch.setattr(Saver, "save", dying)
        patch.setattr(Saver, "save_broken_off", lambda self, state, error: None)
        with pytest.raises(Killed):
            history_of(folder=tmp_path / "c", epochs=tmp_path / "epochs")
    # As if the process had gone on beyond its last checkpoint.
    (tmp_path / "epochs" / "epoch-0099.safetensors").write_bytes(b"newer")
    history = history_of(folder=tmp_path / "c", epochs=tmp_path / "epochs", seed=7)
    same_epochs(history.kept_epochs, whole.kept_epochs)
    same_epochs(dict(read_kept_epochs(tmp_path)), whole.kept_epochs)
    same_epochs(dict(read_kept_epochs(tmp_path / "whole")), whole.kept_epochs)


def test_faults_in_stored_epochs_are_found(tmp_path):
    history_of(folder=tmp_path)
    newest = max(path for path in tmp_path.iterdir() if path.name.isdigit())
    tensors = load_file(newest / "state.safetensors")
    stacked = {k.removeprefix("epochs."): t for k, t in tensors.items() if k.startswith("epochs.")}
    model = make_model("lstm", tokens=True)
    weights = model.state_dict()
    assert 0 in unstack_epochs(stacked, "here", weights)
    name = next(iter(weights))
    faults = (
        {**stacked, "numbers": stacked["numbers"] - 1},
        {**stacked, "numbers": stacked["numbers"].flip(0)},
        {**stacked, "numbers": stacked["numbers"].double()},
        {k: t for k, t in stacked.items() if k != "numbers"},
        {k: t for k, t in stacked.items() if k != name},
        {**stacked, name: stacked[name][1:]},
        {**stacked, name: stacked[name].long()},
        {**stacked, "more": stacked[name]},
    )
    for fault in faults:
        with pytest.raises(ModelFileError, match="here: the kept epochs do not fit"):
            unstack_epochs(fault, "here", weights)


def test_a_checkpoint_with_other_epochs_is_not_used(tmp_path):
    history, said = history_of(folder=tmp_path), []
    path = max(path for path in tmp_path.iterdir() if path.name.isdigit())
    tensors = load_file(path / "state.safetensors")
    tensors["epochs.numbers"] += 1
    save_file(tensors, path / "state.safetensors")
    (path / "manifest.json").unlink()
    files.seal(path)
    again = history_of(folder=tmp_path, say=said.append)
    assert said == [
        f"{path / 'state.json'}: these values do not fit the others: kept epochs. This checkpoint "
        "is not used, but an older one if there is any"
    ]
    same_epochs(again.kept_epochs, history.kept_epochs)


def test_stacking_and_back():
    found = {
        epoch: {"a": torch.randn(2, 3), "b": torch.randn(()), "c": torch.zeros(0)}
        for epoch in (0, 4, 11)
    }
    same_epochs(unstack_epochs(stack_epochs(found), "", found[0]), found)
    assert unstack_epochs(stack_epochs({}), "", {}) == {}


def test_files_follow_the_training(tmp_path, monkeypatch):
    """At the end of every epoch the folder holds what is kept then, each file complete."""
    seen = []

    class Looking(Recorder):
        def epoch(self, record):
            super().epoch(record)
            seen.append((record.epoch, dict(read_kept_epochs(tmp_path))))

    recorder = Looking()
    monkeypatch.setattr(kept, "_SHARE", 0)  # at once
    history = history_of(folder=tmp_path / "c", epochs=tmp_path / "epochs", on_epoch=recorder)
    assert len(seen) == 9
    for last, found in seen:
        assert {0, last} <= found.keys() <= {*range(last + 1)}
        same_epochs(found, {epoch: recorder.weights[epoch] for epoch in found})
    same_epochs(dict(read_kept_epochs(tmp_path)), history.kept_epochs)


def test_writing_takes_a_share_of_the_time(tmp_path, monkeypatch):
    """A slow disk delays the files, not the training; at the end all of them are there."""
    clock, written = [0.0], []

    def slow(path, data, sync):
        clock[0] += 0.1
        written.append(path.name)

    monkeypatch.setattr(kept.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(kept.files, "write_file", slow)
    monkeypatch.setattr(kept.files, "remove", lambda path, sync: None)
    writer, found = EpochFiles(tmp_path / "epochs"), {}
    for epoch in range(501):
        keep_epoch(found, epoch, {"w": torch.zeros(1)}, epoch, 20)
        writer.write(found)
        clock[0] += 1.0
    assert 0 < len(written) * 0.1 <= clock[0] * 0.02 + 2.3  # and those that were written last
    writer.write(found, last=True)
    assert {kept.file_name(epoch) for epoch in found} <= set(written)


def test_a_reader_meets_files_that_vanish_or_are_damaged(tmp_path, monkeypatch):
    writer = EpochFiles(tmp_path / "epochs")
    found = {epoch: {"w": torch.full((3,), float(epoch))} for epoch in (0, 2, 10000)}
    writer.write(found)
    (tmp_path / "epochs" / "notes.txt").write_text("of somebody")
    (tmp_path / "epochs" / ".epoch-0003.safetensors.1.2.3.partial").write_bytes(b"half")
    same_epochs(dict(read_kept_epochs(tmp_path)), found)
    listed = find_files(tmp_path / "epochs")
    listed[5] = tmp_path / "epochs" / "epoch-0005.safetensors"  # was there when it was listed
    with monkeypatch.context() as patch:
        patch.setattr(kept, "find_files", lambda folder: listed)
        same_epochs(dict(read_kept_epochs(tmp_path)), found)
    path = listed[2]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelFileError, match=r"epoch-0002\.safetensors: damaged"):
        read_kept_epochs(tmp_path)
    path.unlink()
    path.symlink_to(listed[0])
    with pytest.raises(ModelFileError, match="is a link"):
        read_kept_epochs(tmp_path)
    assert read_kept_epochs(tmp_path / "nothing") == []


@pytest.mark.slow
def test_a_small_network_takes_at_most_2_percent_longer(tmp_path, monkeypatch):
    """Processor time of all that keeping adds, in a training of about a second."""
    spent, shares = [], []

    def timed(owner, name):
        function = getattr(owner, name)

        def measured(*arguments, **options):
            started = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                spent.append(time.process_time() - started)

        monkeypatch.setattr(owner, name, measured)

    for owner, name in ((state, "copy_to_cpu"), (state, "keep_epoch"), (EpochFiles, "write")):
        timed(owner, name)
    data = make_examples(900, tokens=False)
    plan = dataclasses.replace(PLAN, epochs=60, keep_epochs=20, keep="last", patience=0)
    for number in range(5):
        model = make_model("gru", hidden_size=64, bidirectional=True)
        folder = tmp_path / str(number)
        spent.clear()
        started = time.process_time()
        train(model, data, None, plan, checkpoints=Checkpoints(folder, 1e6, epochs=folder / "e"))
        shares.append(sum(spent) / (time.process_time() - started))
    assert len(spent) > 60
    assert np.median(shares) <= 0.02
