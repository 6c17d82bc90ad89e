"""A training that is cut off and continued ends with the same bits as an unbroken one."""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import signal
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import Hook, make_examples, make_model, same_bits, weights_of
from safetensors.torch import load_file, save_file

from elman import disk, files
from elman.errors import NonFiniteError, SettingsError, WriteError
from elman.settings import TrainingSettings
from elman.train import Checkpoints, checkpoint, train
from elman.train.checkpoint import Saver, find_checkpoints
from elman.train.metrics import RunningMetrics

PLAN = TrainingSettings(epochs=3, batch_size=8, token_dropout=1.0, learning_rate=0.02)


class Killed(BaseException):
    """Stands for a process that dies: nothing is written after it."""


def run(folder=None, plan=PLAN, every=0.0, seed=0, data=None, say=None, **more):
    """One training from the same start; returns what must be equal to the last bit."""
    model = make_model("gru", tokens=True, dropout=0.3)
    data = make_examples(30, tokens=True) if data is None else data
    checkpoints = None if folder is None else Checkpoints(folder, every, say=say)
    generator = torch.Generator().manual_seed(seed)
    held_out = make_examples(20, tokens=True, seed=5)
    history = train(
        model, data, held_out, plan, checkpoints=checkpoints, generator=generator, **more
    )
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


def interrupted_by(number, seconds):
    """A timer that sends this process a signal."""
    return threading.Timer(seconds, os.kill, (os.getpid(), number))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_any_instant_lose_no_batch(number, tmp_path, monkeypatch):
    """Interrupted again and again, with no checkpoint but that of the interrupt."""
    handler = signal.signal(number, signal.default_int_handler)
    plan = dataclasses.replace(PLAN, epochs=60)
    data = make_examples(60, tokens=True)
    unbroken, rng, interrupts, steps = run(plan=plan, data=data), np.random.default_rng(0), 0, []
    monkeypatch.setattr(Saver, "save_if_due", lambda self, state: steps.append(state.step))
    try:
        while True:
            timer = interrupted_by(number, rng.uniform(0.001, 0.1))
            timer.start()
            try:
                found = run(tmp_path / "c", plan, 100.0, data=data)
                break
            except KeyboardInterrupt:
                interrupts += 1
            finally:
                timer.cancel()
                timer.join()
    except KeyboardInterrupt:  # between the training and this loop
        found = run(tmp_path / "c", plan, 100.0, data=data)
    finally:
        signal.signal(number, handler)
    assert_equal(found, unbroken)
    assert interrupts > 3
    # No batch was trained twice: each interrupt left a checkpoint of the last complete one.
    assert len(steps) - len(set(steps)) <= 60  # one more call at the end of each epoch


def test_a_process_that_is_killed_continues(tmp_path):
    """SIGKILL, at random instants: of the writing of a checkpoint too."""
    plan = dataclasses.replace(PLAN, epochs=8)
    unbroken, rng, kills = run(plan=plan), np.random.default_rng(1), 0
    while True:
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                warnings.simplefilter("ignore")
                run(tmp_path / "c", plan)
                os._exit(0)
            os._exit(1)
        time.sleep(rng.uniform(0.02, 0.3))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        kills += 1
    assert kills
    assert_equal(run(tmp_path / "c", plan), unbroken)


def damage(path, how):
    """Do to a checkpoint what a disk or a person may do."""
    if how == "no manifest":
        (path / "manifest.json").unlink()
    elif how == "empty":
        (path / "state.json").write_bytes(b"")
    elif how == "cut":
        data = (path / "state.safetensors").read_bytes()
        (path / "state.safetensors").write_bytes(data[:-1])
    elif how == "one file more":
        (path / "extra").write_text("")
    else:
        file = path / how
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


DAMAGES = ["no manifest", "empty", "cut", "one file more", "state.json", "state.safetensors"]
DAMAGES += ["manifest.json"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_said_and_the_one_before_it_used(how, tmp_path, monkeypatch):
    killed_after(monkeypatch, 7, folder=tmp_path)
    newest, older = find_checkpoints(tmp_path)
    damage(newest, how)
    with pytest.warns(UserWarning, match=f"{newest.name}.*This checkpoint is not used"):
        found = run(tmp_path)
    assert_equal(found, run())
    assert not newest.exists() or newest.name > older.name


def test_if_all_are_damaged_the_training_begins_again_and_says_so(tmp_path, monkeypatch):
    killed_after(monkeypatch, 7, folder=tmp_path)
    for path in find_checkpoints(tmp_path):
        damage(path, "state.json")
    said = []
    found = run(tmp_path, say=said.append)
    assert_equal(found, run())
    assert ["is not used" in line for line in said] == [True, True, False]
    assert said[-1].endswith("the training starts at its beginning")


def rewrite(path, change):
    """Change what a checkpoint holds and seal it again, as an attacker may."""
    values = json.loads((path / "state.json").read_text())
    tensors = load_file(path / "state.safetensors")
    change(values, tensors)
    (path / "manifest.json").unlink()
    (path / "state.json").write_text(json.dumps(values))
    save_file(tensors, path / "state.safetensors")
    files.seal(path)


def put(place, value):
    def change(values, tensors):
        at = values["state"]
        for name in place[:-1]:
            at = at[name]
        at[place[-1]] = value

    return change


def put_tensor(name, value):
    def change(values, tensors):
        key = next(key for key in tensors if key.startswith(name))
        if value is None:
            del tensors[key]
        else:
            tensors[key] = value(tensors[key]).contiguous()

    return change


FORGED = [
    put(["epoch"], 3),
    put(["epoch"], -1),
    put(["epoch"], 10**30),
    put(["batch"], 99),
    put(["step"], 2),
    put(["kept_epoch"], 5),
    put(["best_epoch"], -2),
    put(["stopped"], "all epochs done"),
    put(["records"], []),
    put(["records", 0, "epoch"], 2),
    put(["records", 0, "loss"], "0.5"),
    put(["records", 0, "extra"], 1),
    put(["order", "state"], "xyz"),
    put(["order", "state"], "f" * 33),
    put(["order", "uinteger"], 2**32),
    put(["metrics", "extra"], 1),
    put(["metrics", "count"], -1),
    put(["seconds"], None),
    put_tensor("weights.", None),
    put_tensor("weights.", lambda t: t[:1]),
    put_tensor("weights.", lambda t: t.double()),
    put_tensor("kept.", None),
    put_tensor("optimizer.", None),
    put_tensor("optimizer.", lambda t: t.long()),
    put_tensor("optimizer.adamw.0.exp_avg", lambda t: t[:-1]),
    put_tensor("random.cpu", None),
    put_tensor("random.cpu", lambda t: t[:-1]),
    put_tensor("random.cpu", lambda t: torch.full_like(t, 255)),
    put_tensor("metrics.outputs", lambda t: t[:, :1]),
    put_tensor("metrics.target", lambda t: t[:1]),
    put_tensor("norms", lambda t: t[:1]),
]


@pytest.fixture(scope="module")
def unbroken():
    return run()


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed") / "c"
    with pytest.MonkeyPatch.context() as patch:
        killed_after(patch, 7, folder=folder)
    return folder


@pytest.mark.parametrize("change", FORGED, ids=range(len(FORGED)))
def test_a_forged_checkpoint_is_not_used(change, killed, unbroken, tmp_path):
    shutil.copytree(killed, tmp_path / "c")
    newest, _ = find_checkpoints(tmp_path / "c")
    rewrite(newest, change)
    with pytest.warns(UserWarning, match="This checkpoint is not used"):
        found = run(tmp_path / "c")
    assert_equal(found, unbroken)


def test_a_checkpoint_of_a_newer_format_is_not_used(killed, tmp_path):
    shutil.copytree(killed, tmp_path / "c")
    rewrite(find_checkpoints(tmp_path / "c")[0], lambda values, _: values.update(format=2))
    with pytest.warns(UserWarning, match="format 2, this version of elman reads 1"):
        run(tmp_path / "c")


def test_another_processor_is_said(killed, unbroken, tmp_path):
    shutil.copytree(killed, tmp_path / "c")
    rewrite(find_checkpoints(tmp_path / "c")[0], lambda values, _: values.update(machine="abacus"))
    with pytest.warns(UserWarning, match=r"another processor \(abacus, here .*last bits"):
        assert_equal(run(tmp_path / "c"), unbroken)


def test_a_full_disk_does_not_end_the_training(unbroken, tmp_path, monkeypatch):
    """It says so each time; what was written before stands."""
    killed_after(monkeypatch, 4, folder=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in find_checkpoints(tmp_path)}

    def full(path, data):
        raise WriteError(f"{path}: no space left on the device", errno.ENOSPC)

    monkeypatch.setattr(files, "write_file", full)
    with pytest.warns(UserWarning, match="No checkpoint was written; the one before it stands"):
        assert_equal(run(tmp_path), unbroken)
    assert {path: path.stat().st_mtime_ns for path in find_checkpoints(tmp_path)} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in before)


def test_a_training_that_diverges_keeps_its_best_weights(tmp_path):
    """The checkpoint at the divergence holds the best epoch; `finish` trains no further."""
    plan, seen = dataclasses.replace(PLAN, epochs=9), []
    weight = dataclasses.replace(
        make_examples(30, tokens=True), weight=np.ones(30, dtype=np.float32)
    )

    def poison(record):
        seen.append(record)
        if record.epoch == 3:
            weight.weight[:] = np.inf

    # The data are identified at the first checkpoint, when the weights are still 1.
    with pytest.raises(NonFiniteError, match="epoch 4, batch 1"):
        run(tmp_path, plan, 0.0, data=weight, on_epoch=poison)
    weight.weight[:] = 1
    for path in find_checkpoints(tmp_path):
        assert int(path.name) in (11, 12)
    model = make_model("gru", tokens=True, dropout=0.3)
    held_out = make_examples(20, tokens=True, seed=5)
    history = train(model, weight, held_out, plan, checkpoints=Checkpoints(tmp_path, finish=True))
    assert history.stopped == "ended on request after epoch 3" and history.epochs == seen
    expected = run(plan=plan, data=weight, on_epoch=stop_after(3))
    assert same_bits(weights_of(model), expected[0])
    assert history.kept_epoch == expected[3]


def stop_after(epoch):
    def on_epoch(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return on_epoch


def test_finish_needs_an_epoch(tmp_path):
    with pytest.raises(SettingsError, match="no epoch is complete in a checkpoint there"):
        train(
            make_model("gru", tokens=True),
            make_examples(30, tokens=True),
            None,
            PLAN,
            checkpoints=Checkpoints(tmp_path, finish=True),
        )


def test_writing_is_further_apart_if_it_takes_long(tmp_path, monkeypatch):
    """At most 2 % of the time: after a second of writing, fifty of training."""
    now, wrote = [0.0], []
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])

    def slow(path):
        now[0] += 1.0
        wrote.append(now[0])

    monkeypatch.setattr(files, "seal", slow)

    def batch(number, batches, metrics):
        now[0] += 10.0

    run(tmp_path, dataclasses.replace(PLAN, epochs=10), 30.0, progress=Hook(batch=batch))
    assert len(wrote) > 3
    assert np.diff(wrote[1:-1]).min() >= 50.0
    assert wrote[0] == 31.0


def test_what_a_dead_process_left_is_removed(tmp_path, monkeypatch):
    killed_after(monkeypatch, 5, folder=tmp_path)
    child = os.fork()
    if not child:
        Path(disk.temporary_name(str(tmp_path / "000000000004"))).mkdir()
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.glob(".*"))) == 1
    run(tmp_path)
    assert not list(tmp_path.glob(".*"))
