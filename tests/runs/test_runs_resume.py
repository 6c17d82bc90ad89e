"""A run that was cut off goes on to the files of an unbroken one, or says why it cannot."""

import json
import shutil

import pytest
from run_files import same_files, tree

from elman import ModelFileError, SettingsError, load
from elman.errors import NonFiniteError
from elman.runs import unfinished
from elman.runs.config import merge
from elman.runs.evaluation import evaluate, predict
from elman.runs.experiment import resume, run

STEP = "elman.train.loop._Run.train_batches"


class Cut(BaseException):
    """What ends a process here."""


def silent(text):
    """Ignore a message."""


def cut_after(monkeypatch, batches):
    """Return a context in which the training is cut off after so many of its batches."""
    from elman.train.checkpoint import Saver

    save, count = Saver.save_if_due, []

    def stop(self, state):
        save(self, state)
        count.append(1)
        if len(count) == batches:
            raise Cut

    context = monkeypatch.context()
    patch = context.__enter__()
    patch.setattr(Saver, "save_if_due", stop)
    patch.setattr(Saver, "save_broken_off", lambda self, state, error: None)  # as after SIGKILL
    return context


def train_and_cut(monkeypatch, settings, out, batches, **given):
    context = cut_after(monkeypatch, batches)
    with pytest.raises(Cut):
        run(settings, out=out, **{"verbose": 0, "echo": silent, "checkpoint_every": 0.0, **given})
    context.__exit__(None, None, None)


SMALL = {"model": {"hidden_size": 4, "dropout": 0.2}, "training": {"epochs": 3, "batch_size": 8}}
CASES = {
    "text.csv": {"training": {"token_dropout": 2.0}, "report": {"diagnostics": True}},
    "values.csv": {"training": {"noise": 0.3, "optimizer": "sgd", "patience": 1}},
    "tags.jsonl": {"model": {"cell": "lstm", "num_layers": 2}},
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_cut_off_in_the_middle_of_an_epoch(files, tmp_path, monkeypatch, name):
    base = {"data": {"data": str(files / name), "validation": 0.2}, **SMALL}
    settings = merge({"report": {"diagnostics": False}}, base, CASES[name])
    whole = run(settings, out=tmp_path / "whole", verbose=0, echo=silent).folder
    out = tmp_path / "cut"
    train_and_cut(monkeypatch, settings, out, 5)
    context = cut_after(monkeypatch, 2)
    with pytest.raises(Cut):  # and once more
        resume(out, verbose=0, echo=silent)
    context.__exit__(None, None, None)
    said = []
    done = resume(out, verbose=0, echo=said.append)
    assert said[0].startswith(f"Resuming {out}, which stopped in epoch ")
    assert "starts again" not in said[0]
    same_files(out, whole)
    assert not (out / "checkpoints").exists() and not (out / "unfinished.json").exists()
    assert done.reports["test"].to_dict() == json.loads((out / "metrics.json").read_text())["test"]


@pytest.fixture(scope="module")
def cut(files, tmp_path_factory):
    """A run that was cut off in its second epoch, not to be changed."""
    out = tmp_path_factory.mktemp("cut") / "run"
    values = {
        "data": {"data": str(files / "text.csv"), "validation": 0.2},
        "report": {"diagnostics": False},
    }
    with pytest.MonkeyPatch.context() as patch:
        train_and_cut(patch, merge(values, SMALL), out, 6, command="elman train text.csv")
    return out


@pytest.fixture
def broken(cut, tmp_path):
    """A copy of it."""
    return shutil.copytree(cut, tmp_path / "run")


def test_what_unfinished_json_holds(broken, files):
    record = unfinished.Record.read(broken)
    assert record.settings.model.hidden_size == 4
    assert record.settings.model.cell is None, "settings are stored as they were given"
    assert record.command == "elman train text.csv"
    assert (record.log_every, record.checkpoint_every) == (0, 0.0)
    assert list(record.data_sha256) == [str(files / "text.csv")]
    assert unfinished.Record.read(broken) == record
    (broken / "unfinished.json").write_text(record.to_json())
    assert unfinished.Record.read(broken) == record


def test_a_run_without_a_checkpoint_starts_again(broken, tmp_path):
    whole = run(unfinished.Record.read(broken).settings, out=tmp_path / "w", verbose=0, echo=silent)
    shutil.rmtree(broken / "checkpoints")
    said = []
    resume(broken, verbose=0, echo=said.append)
    assert said[0].endswith("in epoch 2 of 3. It has no checkpoint yet, so it starts again")
    same_files(broken, whole.folder)


def test_finishing_keeps_the_best_weights_so_far(broken):
    done = resume(broken, finish=True, verbose=0, echo=silent)
    assert done.estimator.history_.kept_epoch == 1
    metrics = json.loads((broken / "metrics.json").read_text())
    assert metrics["epochs"] == 1
    assert metrics["stopped"] == "ended on request after epoch 1"
    assert len((broken / "metrics.jsonl").read_text().splitlines()) == 1
    assert load(broken).predict(["a good day"]).shape == (1,)
    with pytest.raises(SettingsError, match=r"is complete; there is nothing to resume\. See "):
        resume(broken)


def test_finishing_is_refused_before_the_first_epoch_has_ended(files, tmp_path, monkeypatch):
    out = tmp_path / "run"
    data = {"data": {"data": str(files / "text.csv")}}
    train_and_cut(monkeypatch, merge(data, SMALL), out, 1)
    was = tree(out)
    with pytest.raises(SettingsError, match="no epoch is complete") as caught:
        resume(out, finish=True, verbose=0, echo=silent)
    assert caught.value.__notes__ == [
        f"The run stopped in epoch 1 of 3. To continue: elman train --resume {out}"
    ]
    assert tree(out).keys() == was.keys()


def test_finishing_is_refused_before_the_first_checkpoint(files, tmp_path, monkeypatch):
    out = tmp_path / "run"
    data = {"data": {"data": str(files / "text.csv")}}
    train_and_cut(monkeypatch, merge(data, SMALL), out, 1)
    shutil.rmtree(out / "checkpoints")
    message = refused(out, finish=True)
    assert "stopped in epoch 1 of 3, before its first checkpoint, so no weights" in message


def refused(folder, **given):
    was = tree(folder)
    with pytest.raises((SettingsError, ModelFileError)) as caught:
        resume(folder, verbose=0, echo=silent, **given)
    assert tree(folder) == was
    return str(caught.value)


def change(folder, **values):
    path = folder / "unfinished.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_other_data_are_refused(broken, files, tmp_path, monkeypatch):
    data = files / "text.csv"
    copy = tmp_path / "copy.csv"
    shutil.copy(data, copy)
    values = json.loads((broken / "unfinished.json").read_text())
    values["settings"]["data"]["data"] = "copy.csv"
    sums = {"copy.csv": values["data_sha256"][str(data)]}
    change(broken, settings=values["settings"], data_sha256=sums, directory=str(tmp_path))
    monkeypatch.chdir(tmp_path)
    copy.write_text(data.read_text() + "a bad day,no\n")
    text = refused(broken)
    assert f"{broken}: the run cannot be resumed, because it would end with another result:" in text
    assert "copy.csv: its content has changed since the run was started (SHA-256 " in text
    assert "Restore the file" in text and "elman train --config" in text
    copy.unlink()
    assert "copy.csv: there is no such file" in refused(broken)
    # From another folder, the same name is another file, or none.
    monkeypatch.chdir(files)
    assert f"The run was started in {tmp_path}: cd {tmp_path}" in refused(broken)


@pytest.mark.parametrize("name", ["elman", "torch"])
def test_other_versions_are_refused(broken, name):
    change(broken, **{name: "0.0.1+cpu"})
    text = refused(broken)
    assert f"{name} 0.0.1+cpu trained it, and this is " in text
    assert f"pip install {name}==0.0.1" in text


def test_a_changed_config_is_refused(broken):
    path = broken / "config.toml"
    text = path.read_text()
    path.write_text(text.replace("epochs = 3", "epochs = 5"))
    said = refused(broken)
    assert "the run has 'epochs = 3'" in said and f"{path} says 'epochs = 5'" in said
    assert "change config.toml back" in said
    path.unlink()
    resume(broken, verbose=0, echo=silent)
    assert path.read_text() == text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"format": 2}',
        b'{"format": 1}',
        b"[" * 100_000,
        b'{"format": 1, "format": 1}',
    ],
)
def test_a_damaged_record_is_refused(broken, content):
    (broken / "unfinished.json").write_bytes(content)
    text = refused(broken)
    assert "unfinished.json: is damaged, so the run cannot be resumed: " in text
    assert f"--config {broken / 'config.toml'} --out {broken} --overwrite" in text


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"model": {"cell": "x"}}},
        {"settings": {"nothing": {}}},
        {"settings": []},
        {"settings": {"model": 3}},
        {"log_every": -1},
        {"log_every": True},
        {"checkpoint_every": "3"},
        {"checkpoint_every": -1},
        {"command": 3},
        {"replaces": "../other"},
        {"data_sha256": {"x": 3}},
        {"data_sha256": []},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_record_with_other_values_is_refused(broken, values):
    change(broken, **values)
    assert "unfinished.json: " in refused(broken)


def test_a_record_is_no_link(broken, tmp_path):
    (broken / "unfinished.json").rename(tmp_path / "else.json")
    (broken / "unfinished.json").symlink_to(tmp_path / "else.json")
    assert "is a link" in refused(broken)


def test_a_replaced_run_that_a_record_names_must_be_one(broken, tmp_path):
    """Only the folder of an elman run with the name that `--overwrite` gives is ever removed."""
    other = tmp_path / "run.replaced"
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    change(broken, replaces="run.replaced")
    resume(broken, verbose=0, echo=silent)
    assert (other / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("every", [float("inf"), float("nan"), -1.0])
def test_a_time_between_checkpoints_that_is_none(broken, settings, tmp_path, every):
    assert "checkpoint_every: got " in refused(broken, checkpoint_every=every)
    with pytest.raises(SettingsError, match="expected seconds, 0 or more"):
        run(settings(), out=tmp_path / "r", checkpoint_every=every, verbose=0, echo=silent)


def test_an_unfinished_run_says_what_to_do(broken, files):
    data = str(files / "text.csv")
    for use in (
        lambda: load(broken),
        lambda: evaluate(broken, data, {}, None, False),
        lambda: predict(broken, data, {}),
    ):
        with pytest.raises(ModelFileError, match="this run has no model yet") as caught:
            use()
        assert f"elman train --resume {broken};" in str(caught.value)
        assert f"elman train --resume {broken} --finish" in str(caught.value)


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(broken, tmp_path):
    whole = run(unfinished.Record.read(broken).settings, out=tmp_path / "w", verbose=0, echo=silent)
    newest = max((broken / "checkpoints").glob("[0-9]*"))
    weights = bytearray((newest / "state.safetensors").read_bytes())
    weights[-1] ^= 1
    (newest / "state.safetensors").write_bytes(weights)
    said = []
    resume(broken, verbose=0, echo=said.append)
    assert any(newest.name in text and "not used" in text for text in said), said
    same_files(broken, whole.folder)


def test_a_training_that_diverges_can_be_finished(tmp_path):
    values = {
        "data": {"data": "waves:train=100,test=40", "validation": 0.1},
        "model": {"hidden_size": 4, "cell": "rnn", "nonlinearity": "relu"},
        "training": {"epochs": 30, "optimizer": "sgd", "clip_norm": 0.0, "warmup": 0.9}
        | {"learning_rate": 1000.0, "patience": 0},
        "report": {"diagnostics": False},
    }
    out = tmp_path / "run"
    with pytest.raises(NonFiniteError) as caught:
        run(merge(values), out=out, verbose=0, echo=silent)
    (note,) = caught.value.__notes__
    assert f"{out} is kept, unfinished" in note
    assert f"save these weights: elman train --resume {out} --finish\n" in note
    assert (
        f"To train again: elman train --config {out / 'config.toml'} --learning-rate 1e+02" in note
    )
    with pytest.raises(NonFiniteError):  # at the same place
        resume(out, verbose=0, echo=silent)
    done = resume(out, finish=True, verbose=0, echo=silent)
    assert done.estimator.history_.kept_epoch == 1
    assert (out / "metrics.json").is_file()
