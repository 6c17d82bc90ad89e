"""elman tune: the whole path, what the trials see, how they end, and how a search goes on."""

import csv
import json

import numpy as np
import pytest

from elman.errors import SettingsError
from elman.runs import tuning
from elman.runs.config import merge, read_toml, to_toml
from elman.runs.tuning.storage import open_store
from elman.runs.tuning.trials import Trials

SMALL = {
    "model": {"hidden_size": 4},
    "training": {"epochs": 2},
    "report": {"diagnostics": False},
}


def search(files, name="values.csv", *, trials=3, data=None, **values):
    settings = merge({"data": {"data": str(files / name)}, **SMALL}, data or {})
    return tuning.Search.of(settings, trials=trials, **{"folds": 2, **values})


def rows(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("quick_figures")
def test_the_whole_path(files, tmp_path, capsys):
    """Table, TOML and last run; the TOML trains the same network again; the test part is kept."""
    said = []
    results = tuning.tune(search(files), out=tmp_path / "t", echo=said.append)
    table = rows(tmp_path / "t")
    assert [row["trial"] for row in table] == ["1", "2", "3"]
    assert {row["state"] for row in table} <= {"complete", "pruned"}
    best = min((row for row in table if row["state"] == "complete"), key=lambda r: float(r["loss"]))
    losses = [float(x) for x in best["losses_of_folds"].split()]
    assert len(losses) == 2 and np.isclose(np.mean(losses), float(best["loss"]), rtol=1e-5)
    settings = merge(file=read_toml(tmp_path / "t" / "best.toml"))
    assert f"{settings.training.learning_rate:.3g}" == best["learning_rate"]
    assert settings.model.hidden_size == 4  # given, so it does not vary
    again = tuning.experiment.run(settings, out=tmp_path / "again", echo=said.append)
    assert again.reports["test"].to_dict() == results.run.reports["test"].to_dict()
    weights = [(tmp_path / r / "model/model.safetensors").read_bytes() for r in ("t/run", "again")]
    assert weights[0] == weights[1]
    assert any("best so far" in line for line in said)


def test_the_same_seed_gives_the_same_trials(files, tmp_path):
    first = run_trials(search(files), tmp_path / "a")
    assert first == run_trials(search(files), tmp_path / "b")
    other = merge({"data": {"data": str(files / "values.csv")}, **SMALL}, {"training": {"seed": 1}})
    changed = tuning.Search.of(other, trials=3, folds=2)
    assert first != run_trials(changed, tmp_path / "c")


def run_trials(wanted, folder, times=1):
    """Run the trials of a search without the last training; return values and losses."""
    folder.mkdir(exist_ok=True)
    plan = tuning._Work.read(wanted)
    trials = Trials(open_store(folder, "", "s"), "s", wanted.trials, wanted.settings.training.seed)
    trials.make(plan.first, {})
    for _ in range(times):
        tuning.work(trials, plan.objective)
    return [(t.params, t.value, t.user_attrs.get("scores")) for t in trials.list()]


def test_no_trial_sees_the_test_part(files, tmp_path):
    """Whatever the test file holds, the trials are the same to the last bit."""
    text = (files / "values.csv").read_text().splitlines()
    header, body = text[0], text[1:]
    outcomes = []
    for factor in ("", "9"):
        test = tmp_path / f"test{factor}.csv"
        changed = [line.replace(".", f"{factor}.") for line in body[:8]]
        test.write_text("\n".join([header, *changed]) + "\n")
        wanted = search(files, data={"data": {"test": str(test)}})
        outcomes.append(run_trials(wanted, tmp_path / f"t{factor}"))
    assert outcomes[0] == outcomes[1]
    held_out = tuning._Work.read(search(files)).objective.folds
    splits = tuning.read_splits(search(files).settings.data, 0, test_only=True)
    tested = set(splits.test.contents().tolist())
    for fold in held_out:
        for part in (fold.training, fold.validation, fold.test):
            assert not tested & set(part.contents().tolist())


def test_a_search_goes_on_with_more_trials(files, tmp_path, capsys):
    folder = tmp_path / "t"
    tuning.tune(search(files, trials=2), out=folder, echo=lambda text: None)
    before = rows(folder)
    said = []
    tuning.resume(folder, trials=4, echo=said.append)
    after = rows(folder)
    assert len(after) == 4 and after[:2] == before and "2 of them are finished" in said
    with pytest.raises(SettingsError, match="Expected at least as many"):
        tuning.resume(folder, trials=3)
    assert json.loads((folder / "tuning.json").read_text())["trials"] == 4


def test_the_values_of_the_first_trial_are_those_of_elman_train(files):
    plan = tuning._Work.read(search(files))
    chosen = plan.objective.space.settings({})
    assert plan.first["learning_rate"] == chosen.training.learning_rate
    assert "hidden_size" not in plan.first
    assert to_toml(plan.objective.space.settings(plan.first)) == to_toml(chosen)


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("ahead", [False, True])
def test_one_recording_and_its_own_next_steps(tmp_path, ahead):
    """Truncated backpropagation needs no windows, and next tokens need not be in every fold."""
    if ahead:
        path, data = tmp_path / "a.jsonl", {"ahead": 1, "text": "tokens"}
        lines = [json.dumps({"tokens": [f"w{i}", "a", f"w{i % 5}", "b"]}) for i in range(30)]
    else:
        path, data = tmp_path / "a.csv", {"format": "steps", "target": "state", "values": "x"}
        lines = ["time,x,state", *(f"{t},{t % 7 / 3:.2f},{'ab'[t // 4 % 2]}" for t in range(240))]
    path.write_text("\n".join(lines) + "\n")
    settings = merge({"data": {"data": str(path), **data}, **SMALL}, {"training": {"tbptt": 3}})
    results = tuning.tune(
        tuning.Search.of(settings, trials=2, folds=2), out=tmp_path / "t", echo=lambda text: None
    )
    assert len(rows(tmp_path / "t")) == 2
    assert not results.run.estimator.model_.config.bidirectional
