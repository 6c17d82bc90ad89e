"""A run without a validation split shows the test split's curve under its own name."""

import json

import pytest

from elman.runs.config import merge
from elman.runs.experiment import run

SMALL = {"model": {"hidden_size": 4}, "training": {"epochs": 6}, "report": {"diagnostics": False}}


def trained(tmp_path, data, **given):
    settings = merge({"data": {"data": data, **given}, **SMALL})
    done = run(settings, out=tmp_path / "run", verbose=0, echo=lambda _: None)
    lines = (done.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    return done, [json.loads(line) for line in lines], page


@pytest.mark.parametrize("data", ["waves:train=60,test=20", "adding:T=5,train=60,test=20"])
def test_the_test_curve_is_drawn_and_chooses_nothing(tmp_path, data):
    done, records, page = trained(tmp_path, data)
    metric = "rmse" if data.startswith("adding") else "accuracy"
    assert all(record["validation_loss"] is None for record in records)
    assert records[-1]["test_loss"] > 0
    assert records[-1][f"test_{metric}"] == pytest.approx(
        getattr(done.reports["test"], metric), rel=1e-5
    )
    assert "The test loss (not used for any choice) is" in page
    assert "validation loss" not in page and "cannot be seen" not in page
    assert "<dt>Monitored</dt><dd>test split (20 sequences)" in page
    assert "validation" not in done.reports
    assert done.estimator.history_.kept_epoch == 6


def test_a_validation_split_takes_its_place(tmp_path):
    done, records, page = trained(tmp_path, "waves:train=60,test=20", validation=0.2)
    assert all(record["test_loss"] is None for record in records)
    assert all(record["validation_loss"] is not None for record in records)
    assert "The validation loss is" in page and "not used for any choice" not in page
    assert done.estimator.history_.held_out == "validation"


def test_validation_test_evaluates_all_of_it_after_every_epoch(tmp_path):
    done, records, _ = trained(tmp_path, "waves:train=60,test=2000", validation="test")
    assert all(record["test_loss"] is not None for record in records)
    assert "sequences): evaluated after every epoch" in done.estimator.history_.monitored
    assert done.estimator.history_.held_out == "test"
