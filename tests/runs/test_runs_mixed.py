"""A run on a file of numbers, categories and uneven times, from training to predictions."""

import csv

import numpy as np
import pytest

from elman.runs.config import merge
from elman.runs.evaluation import check, evaluate, predict
from elman.runs.experiment import run


@pytest.mark.parametrize("per_step", [False, True])
def test_train_predict_check_evaluate(tmp_path, per_step):
    rng = np.random.default_rng(0)
    rows = ["id,time,level,state,place,label"]
    for i in range(30):
        clock = 0.0
        for t in range(3 + i % 4):
            clock += rng.choice([1.0, 2.5])
            level = "" if rng.random() < 0.2 and t else f"{rng.normal():.2f}"
            state = ["on", "off"][int(rng.random() < (0.2, 0.8)[i % 2])]
            label = state if per_step else ["u", "v"][i % 2]
            rows.append(f"s{i},{clock},{level},{state},{rng.choice(['n', 's'])},{label}")
    path = tmp_path / "wards.csv"
    path.write_text("\n".join(rows) + "\n")
    data = {"data": str(path), "target": "label", "categories": "state,place", "validation": 0.2}
    settings = merge(
        {
            "data": data,
            "model": {"hidden_size": 8},
            "training": {"epochs": 2},
            "report": {"diagnostics": False},
        }
    )
    said = []
    done = run(settings, out=tmp_path / "run", verbose=0, echo=said.append)
    assert done.estimator.encoder_.kind == "mixed"
    assert done.estimator.model_.config.input_size == 3  # level, whether observed, time passed
    assert "--time-difference" in said[0]
    predictions, _ = predict(tmp_path / "run", str(path), {})
    rows = list(csv.DictReader(predictions.to_csv().splitlines()))
    assert len(predictions) == 30 and len(rows) >= 30
    assert all(entry.passed for entry in check(tmp_path / "run", str(path), {})[0])
    assert evaluate(tmp_path / "run", str(path), {}, tmp_path / "out", False)[0].accuracy >= 0
    path.write_text(path.read_text().replace("on", "idle"))
    assert any("'idle'" in note for note in predict(tmp_path / "run", str(path), {})[1])
