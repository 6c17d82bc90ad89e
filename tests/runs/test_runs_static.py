"""Runs on files with static features: named, found by content, left out; every later command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.errors import DataError
from elman.runs.config import merge
from elman.runs.data_splits import read_splits
from elman.runs.evaluation import check, evaluate, predict
from elman.runs.experiment import Run, run
from elman.runs.explanation import ExplainOptions, explain


def write(path: Path, seed: int = 0, count: int = 60) -> Path:
    """Write stays whose label is the direction of the pulse, for sex f the opposite."""
    rng = np.random.default_rng(seed)
    rows = ["stay,hour,pulse,age,sex,label"]
    for i in range(count):
        drift, sex = rng.choice([-1, 1]), rng.choice(["f", "m"])
        age = "" if i % 7 == 0 else round(rng.normal(50, 10))
        label = ["down", "up"][int((drift > 0) != (sex == "f"))]
        for t in range(4 + i % 3):
            pulse = drift * t + rng.normal() * 0.3
            rows.append(f"s{i},{t},{pulse:.3f},{age},{sex},{label}")
    path.write_text("\n".join(rows) + "\n")
    return path


def settings_of(path: Path, **data: Any) -> Any:
    return merge(
        {
            "data": {"data": str(path), "test": 0.3, **data},
            "model": {"hidden_size": 8},
            "training": {"epochs": 30, "batch_size": 8},
            "report": {"diagnostics": False},
        }
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("static")
    settings = settings_of(write(folder / "train.csv"), static="age,sex", validation=0.2)
    return run(settings, out=folder / "run", verbose=0, echo=lambda text: None)


def test_a_run_uses_and_reports_the_features(done: Run) -> None:
    assert done.reports["test"].accuracy > 0.8
    page = (done.folder / "report.html").read_text()
    assert "if all of them are exchanged between sequences" in page
    assert "logistic regression on static features" in page
    card = (done.folder / "model" / "README.md").read_text()
    assert "static features &#x27;age" in page or "static features 'age', 'sex'" in card
    config = json.loads((done.folder / "model" / "config.json").read_text())
    assert config["layout"]["static"] == ["age", "sex"]
    assert config["model"]["static_to"] == "readout" and config["model"]["static_size"] == 4
    assert config["encoder"]["static"]["names"] == ["age", "sex"]


def test_the_trained_model_reads_other_files(done: Run, tmp_path: Path) -> None:
    later = write(tmp_path / "later.csv", seed=1)
    report, _, notes = evaluate(
        done.folder, str(later), {}, tmp_path / "out", False, diagnostics=False
    )
    assert report.accuracy > 0.8 and any("if all of them are exchanged" in note for note in notes)
    checks, reason = check(done.folder, str(later), {})
    assert all(each.passed and each.tolerance == 0 for each in checks) and reason == ""
    lines = [line.rsplit(",", 1)[0] for line in later.read_text().splitlines()]
    columns = [[line.split(",")[k] for k in (4, 0, 3, 1, 2)] for line in lines]
    unlabelled = tmp_path / "unlabelled.csv"
    unlabelled.write_text("\n".join(map(",".join, columns)) + "\n")
    answers = [
        [
            row["predicted"]
            for row in csv.DictReader(predict(done.folder, str(file), {})[0].to_csv().splitlines())
        ]
        for file in (later, unlabelled)
    ]
    assert answers[0] == answers[1]
    later.write_text(later.read_text().replace(",f,", ",x,"))
    assert any("read as unknown: 'x'" in note for note in predict(done.folder, str(later), {})[1])
    without = tmp_path / "without.csv"
    without.write_text("\n".join(",".join(line.split(",")[:3]) for line in lines) + "\n")
    with pytest.raises(DataError, match="there is no column 'age'"):
        predict(done.folder, str(without), {})


def test_a_prediction_is_explained(done: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "later.csv", seed=1)
    options = ExplainOptions(row="s3", diagnosis=False, memory=False)
    explanation, folder, _ = explain(done.folder, str(path), {}, options, tmp_path / "out")
    assert "Static features, by the change" in str(explanation)
    assert "sex" in (folder / "index.html").read_text()


def test_gaps_stay_in_training_and_the_guess_can_be_left_out(tmp_path: Path) -> None:
    text = write(tmp_path / "train.csv").read_text()
    ages = {f"s{i}" for i in range(60) if i != 7}  # only one sequence lacks the age
    rows = [line.split(",") for line in text.splitlines()]
    for row in rows[1:]:
        row[3] = "40" if row[0] in ages else ""
    path = tmp_path / "gap.csv"
    path.write_text("\n".join(map(",".join, rows)) + "\n")
    for seed in range(3):
        splits = read_splits(settings_of(path, static="age,sex").data, seed)
        assert splits.test.static is not None and splits.training.static is not None
        assert not np.isnan(splits.test.static.numbers).any()
        assert np.isnan(splits.training.static.numbers).any()
    guessed = read_splits(settings_of(tmp_path / "train.csv").data, 0).whole
    assert guessed.layout.static == ("age", "sex")
    assert any("--static none" in guess.line for guess in guessed.layout.guesses)
    left_out = read_splits(settings_of(tmp_path / "train.csv", static="none").data, 0).whole
    assert left_out.static is None
