"""From a file with numbers, or several labels, to a run folder, and a trained model on the file."""

import csv
import json
import random

import pytest

from elman.errors import ElmanError, SettingsError
from elman.runs.config import merge, read_toml
from elman.runs.evaluation import check, evaluate, predict
from elman.runs.experiment import run

SMALL = {"model": {"hidden_size": 4}, "training": {"epochs": 2, "seed": 1}}
NO_DIAGNOSTICS = {"report": {"diagnostics": False}}


def _write(folder):
    """A number a sequence, one at every step, two a sequence, labels in a cell and in columns."""
    rng = random.Random(0)
    rows, steps, tags = ["total,t1,t2,t3,t4"], ["id,x,sum,wet,cold"], ["text,tags"]
    for i in range(40):
        v = [round(rng.random(), 3) for _ in range(rng.randint(2, 4))]
        rows.append(f"{sum(v):.3f},{','.join(map(str, v))}{',' * (4 - len(v))}")
        flags = f"{rng.randint(0, 1)},{rng.randint(0, 1)}"
        steps += [f"s{i},{x},{sum(v[: j + 1]):.3f},{flags}" for j, x in enumerate(v)]
        own = [t for t in ("red", "big") if rng.random() < 0.5]
        tags.append(f"{' '.join([*own, 'a', 'house'])},{'|'.join(own)}")
    for name, lines in (("rows", rows), ("steps", steps), ("tags", tags)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


CASES = {
    "number": ({"data": "rows.csv", "target": "total"}, "regression"),
    "number at every step": ({"data": "steps.csv", "target": "sum", "values": "x"}, "regression"),
    "two numbers": (
        {"data": "steps.csv", "target": "wet,cold", "values": "x", "task": "regression"},
        "regression",
    ),
    "labels in columns": (
        {"data": "steps.csv", "target": "wet,cold", "values": "x"},
        "multilabel",
    ),
    "labels in a cell": (
        {"data": "tags.csv", "target": "tags", "task": "multilabel"},
        "multilabel",
    ),
}
HEADS = {
    "number": ["sequence", "true total", "predicted total"],
    "number at every step": ["sequence", "step", "true sum", "predicted sum"],
    "two numbers": ["sequence", "true wet", "true cold", "predicted wet", "predicted cold"],
    "labels in columns": ["sequence", "true", "predicted", "p(cold)", "p(wet)"],
    "labels in a cell": ["sequence", "true", "predicted", "p(big)", "p(red)"],
}
PICTURES = {
    "regression": {"history", "predicted", "residuals", "error_by_length"},
    "multilabel": {"history", "labels", "label_matrix", "calibration", "exact_by_length"},
}


@pytest.mark.parametrize("name", CASES)
def test_from_file_to_report_and_back(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _write(tmp_path)
    data, task = CASES[name]
    done = run(merge({"data": data, **SMALL}), out=tmp_path / "run", verbose=0, echo=lambda _: None)
    pictures = {p.stem for p in (done.folder / "plots").iterdir()}
    looked = {stem for stem in pictures if stem.startswith(("trace_", "memory", "doctor"))}
    assert pictures - looked == PICTURES[task]
    kinds = {"regression": "largest_errors", "multilabel": "undecided"}
    assert {"memory", f"trace_{kinds[task]}"} <= looked
    assert "<h2>Notable sequences</h2>" in (done.folder / "report.html").read_text("utf-8")
    metrics = json.loads((done.folder / "metrics.json").read_text())
    figure = "rmse" if task == "regression" else "micro_f1"
    assert metrics["test"][figure] == getattr(done.reports["test"], figure)
    records = (done.folder / "metrics.jsonl").read_text().splitlines()
    assert ("rmse" in json.loads(records[0])) == (task == "regression")
    with (done.folder / "predictions.csv").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    assert head == HEADS[name]
    assert len(rows) == (done.reports["test"].steps or done.reports["test"].count)
    page = (done.folder / "report.html").read_text()
    assert ("RMSE" if task == "regression" else "F1 (micro)") in page
    assert f"Loss and {'error' if task == 'regression' else 'accuracy'} by epoch" in page
    assert "against" in page
    again = read_toml(done.folder / "config.toml").values
    plain = merge(again, NO_DIAGNOSTICS)
    second = run(plain, out=tmp_path / "again", verbose=0, echo=lambda _: None)
    assert {p.stem for p in (second.folder / "plots").iterdir()} == pictures - looked
    assert "Notable sequences" not in (second.folder / "report.html").read_text("utf-8")
    assert second.reports["test"].to_dict() == done.reports["test"].to_dict()
    report, folder, _ = evaluate(done.folder, data["data"], {}, tmp_path / "evaluation", False)
    assert report.count == 40
    assert (folder / "predictions.csv").read_text().splitlines()[0].split(",") == HEADS[name]
    predictions, _ = predict(done.folder, data["data"], {})
    assert len(predictions) == 40
    assert predictions.to_csv().splitlines()[0].split(",") == HEADS[name]
    assert all(found.worst == 0 for found in check(done.folder, data["data"], {})[0])


def test_a_task_of_numbers_runs(tmp_path):
    settings = merge({"data": {"data": "adding:T=5,train=60,test=20"}, **SMALL, **NO_DIAGNOSTICS})
    done = run(settings, out=tmp_path / "run", verbose=0, echo=lambda _: None)
    assert done.reports["test"].rmse > 0
    with pytest.raises(SettingsError, match="task: got 'tagging', but the target of adding"):
        merged = merge({"data": {"data": "adding:T=5,train=60,test=20", "task": "tagging"}})
        run(merged, out=tmp_path / "other", echo=lambda _: None)


def test_another_target_than_in_training_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _write(tmp_path)
    data, _ = CASES["number"]
    settings = merge({"data": data, **SMALL, **NO_DIAGNOSTICS})
    done = run(settings, out=tmp_path / "run", verbose=0, echo=lambda _: None)
    (tmp_path / "words.csv").write_text("total,t1,t2,t3,t4\nmany,1,2,,\n")
    with pytest.raises(ElmanError, match="line 2, column total"):
        evaluate(done.folder, "words.csv", {}, tmp_path / "evaluation", False)
