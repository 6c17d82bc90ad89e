"""The epochs that a run keeps: by default, as it says, from disk, and in a run that is replaced."""

import json

import numpy as np
import pytest
import torch
from cases import same_bits
from test_runs_experiment import quiet_run
from test_runs_resume import train_and_cut

from elman import load
from elman.estimators.defaults import DataStatistics
from elman.runs.config import merge
from elman.runs.experiment import resume
from elman.runs.preparation import Work
from elman.runs.tuning.space import Space
from elman.train import read_kept_epochs
from elman.train.kept import DEFAULT, MOST_UNITS


@pytest.fixture
def settings(files):
    def make(name="values.csv", units=4, **training):
        return merge(
            {
                "data": {"data": str(files / name), "validation": 0.2},
                "model": {"hidden_size": units},
                "training": {"epochs": 3, "batch_size": 32, **training},
                "report": {"diagnostics": False},
            }
        )

    return make


@pytest.mark.parametrize("units", [MOST_UNITS, MOST_UNITS + 1])
@pytest.mark.parametrize("given", [None, 0, 3])
def test_small_networks_keep_epochs_by_default(settings, units, given):
    work = Work.read(settings(units=units, keep_epochs=given), 0)
    default = DEFAULT if units == MOST_UNITS else 0
    expected = default if given is None else given
    assert work.settings.training.keep_epochs == work.prepared.plan.keep_epochs == expected
    assert work.estimator.keep_epochs == expected


def test_the_weights_are_those_of_the_run(settings, tmp_path):
    done = quiet_run(settings(epochs=7, keep_epochs=2, keep="last"), out=tmp_path / "run")
    found = dict(read_kept_epochs(done.folder))
    assert [*found] == [0, 1, 4, 7]
    model = load(done.folder)
    assert same_bits(found[7], model.model_.state_dict())
    assert model.kept_epochs_ == {}, "the model folder holds only what predictions need"
    assert model.keep_epochs == 2
    metrics = json.loads((done.folder / "metrics.json").read_text())
    shorter = quiet_run(settings(epochs=7, keep_epochs=0, keep="last"), out=tmp_path / "none")
    assert not (shorter.folder / "epochs").exists()
    without = json.loads((shorter.folder / "metrics.json").read_text())
    for part in ("test", "train", "validation"):
        assert metrics[part] == without[part]
    same = (done.folder, shorter.folder)
    one, other = (folder / "model" / "model.safetensors" for folder in same)
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_a_run_that_is_replaced_leaves_no_epoch(settings, tmp_path):
    quiet_run(settings(epochs=6), out=tmp_path / "run")
    done = quiet_run(settings(epochs=2), out=tmp_path / "run", overwrite=True)
    assert [epoch for epoch, _ in read_kept_epochs(done.folder)] == [0, 1, 2]
    assert len([*(done.folder / "epochs").iterdir()]) == 3


def test_a_run_that_is_finished_early_has_those_of_its_checkpoint(settings, tmp_path, monkeypatch):
    out = tmp_path / "run"
    train_and_cut(monkeypatch, settings(epochs=6, batch_size=8), out, 14)
    cut = dict(read_kept_epochs(out))
    done = resume(out, finish=True, verbose=0, echo=lambda text: None)
    found = dict(read_kept_epochs(done.folder))
    last = len(done.estimator.history_.epochs)
    assert 0 < last < 6 and [*found] == [*range(last + 1)]
    assert all(same_bits(found[epoch], cut[epoch]) for epoch in found.keys() & cut.keys())


@pytest.mark.slow
def test_data_from_disk_and_chunks_of_steps(settings, files, tmp_path):
    rng = np.random.default_rng(0)
    lines = ["id,t,a,label"]
    for k in range(60):
        lines += [f"s{k},{t},{v:.3f},{int(v > 0)}" for t, v in enumerate(rng.normal(size=12))]
    (tmp_path / "steps.csv").write_text("\n".join(lines))
    given = {
        "data": {"data": str(tmp_path / "steps.csv"), "id": "id", "time": "t", "target": "label"}
        | {"task": "tagging", "memory_limit": "4GB"},
        "model": {"hidden_size": 4, "bidirectional": False},
        "training": {"epochs": 3, "tbptt": 4, "keep_epochs": 1},
        "report": {"diagnostics": False},
    }
    done = quiet_run(merge(given), out=tmp_path / "run")
    found = dict(read_kept_epochs(done.folder))
    assert {0, 2, 3} <= found.keys()
    assert all(torch.isfinite(t).all() for weights in found.values() for t in weights.values())
    assert same_bits(
        found[done.estimator.history_.kept_epoch], load(done.folder).model_.state_dict()
    )


@pytest.mark.parametrize("holds_out", [False, True])
def test_trials_of_a_search_keep_none(settings, holds_out):
    """Nobody sees the weights of a trial, and every trial would hold twenty copies of them."""
    statistics = DataStatistics(100, 20.0, 3, 0, 0, 4, False)
    space = Space((), settings(keep_epochs=20), statistics, holds_out=holds_out)
    assert space.draw(None).training.keep_epochs == 0
    assert space.base.training.keep_epochs == 20
