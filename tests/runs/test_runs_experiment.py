"""A run from data to folder: what is in it, that it can be had again, and what a failure leaves."""

import csv
import hashlib
import json
import re

import numpy as np
import pytest

from elman import SequenceClassifier, SequenceTagger, SettingsError, _core
from elman.data import read
from elman.runs.config import merge, read_toml, settings_hash
from elman.runs.data_splits import read_splits
from elman.runs.evaluation import check, evaluate, predict
from elman.runs.experiment import run
from elman.runs.preparation import make_estimator
from elman.setting_list import list_settings

EVERYTHING = {
    "config.toml",
    "epochs",
    "metrics.json",
    "metrics.jsonl",
    "model",
    "plots",
    "predictions.csv",
    "report.html",
    "times.jsonl",
}


def tree(root):
    return {
        str(p.relative_to(root)): p.read_bytes() if p.is_file() else None
        for p in sorted(root.rglob("*"))
    }


def silent(text):
    """Hear nothing."""


def quiet_run(settings, **given):
    return run(settings, **{"verbose": 0, "echo": silent, **given})


def figures(folder):
    """metrics.json without what differs from run to run."""
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {k: v for k, v in found.items() if k not in ("seconds", "versions")}


def test_everything_is_there(trained, files):
    done, said = trained
    assert {p.name for p in done.folder.iterdir()} == EVERYTHING
    assert {p.name for p in (done.folder / "model").iterdir()} == {
        "README.md",
        "config.json",
        "manifest.json",
        "model.safetensors",
    }
    pictures = list((done.folder / "plots").iterdir())
    assert len(pictures) >= 4
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)
    assert "<html" in (done.folder / "report.html").read_text(encoding="utf-8")
    assert any("text.csv" in text for text in said)
    assert any("the weights of epoch 2 are evaluated and saved" in text for text in said)


def test_metrics(trained, files):
    done, _ = trained
    found = json.loads((done.folder / "metrics.json").read_text())
    for part in ("test", "validation", "train"):
        for figure in ("accuracy", "recall", "f1", "log_loss"):
            assert found[part][figure] == getattr(done.reports[part], figure)
    assert found["test"]["count"] == 6
    assert found["validation"]["count"] == 3
    assert found["train"]["count"] == 21
    assert found["seconds"] == pytest.approx(done.seconds, abs=0.001)
    assert found["epochs"] == found["kept_epoch"] == 2
    assert found["stopped"] == "all epochs done"
    assert found["gradients"] == f"gradients by one native call a batch ({_core.isa()})"
    assert found["determinism"].startswith("deterministic: the same bits on every run")
    settings = merge(file=read_toml(done.folder / "config.toml"))
    assert found["settings_sha256"] == settings_hash(settings)
    data = files / "text.csv"
    assert found["data_sha256"] == {str(data): hashlib.sha256(data.read_bytes()).hexdigest()}
    assert set(found["versions"]) == {"elman", "python", "torch"}
    assert set(found["test"]["baselines"]) == {
        "majority class",
        "logistic regression on token counts",
        "logistic regression on token pairs",
        "logistic regression by position",
    }


def test_epochs_are_lines(trained):
    done, _ = trained
    text = (done.folder / "metrics.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert text.endswith("\n")
    assert records == [e.to_dict() for e in done.estimator.history_.epochs]
    assert [r["epoch"] for r in records] == [1, 2]
    assert set(records[0]) >= {"loss", "accuracy", "validation_loss", "learning_rate"}


def test_epochs_are_written_as_they_go(settings, tmp_path, monkeypatch):
    out = tmp_path / "run"
    seen = []
    fit = SequenceClassifier.fit_prepared

    def spy(self, prepared, on_epoch, checkpoints):
        def record_epoch(record):
            on_epoch(record)
            lines = (out / "metrics.jsonl").read_text().splitlines()
            seen.append([json.loads(line)["epoch"] for line in lines])
            assert (out / "config.toml").is_file()
            assert not (out / "metrics.json").exists()  # where it is, the run is complete

        return fit(self, prepared, record_epoch, checkpoints)

    monkeypatch.setattr(SequenceClassifier, "fit_prepared", spy)
    quiet_run(settings(training={"epochs": 3}), out=out)
    assert seen == [[1], [1, 2], [1, 2, 3]]


def test_predictions(trained, files):
    done, _ = trained
    with (done.folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    source = (files / "text.csv").read_text().splitlines()
    report = done.reports["test"]
    assert len(rows) == 6
    for row, p in zip(rows, report.probabilities, strict=True):
        line = int(row["sequence"].removeprefix("line "))
        assert source[line - 1].endswith("," + row["true"])
        shown = [float(row["p(no)"]), float(row["p(yes)"])]
        assert sum(shown) == pytest.approx(1, abs=2e-6)
        assert shown == pytest.approx(p.tolist(), abs=1e-6)
        assert float(row["probability"]) == max(shown)
        assert row["predicted"] == ["no", "yes"][int(np.argmax(shown))]
    right = sum(row["true"] == row["predicted"] for row in rows)
    assert right / 6 == report.accuracy


def test_the_config_is_complete_and_resolved(trained, files):
    done, _ = trained
    values = read_toml(done.folder / "config.toml").values
    model, training, data = values["model"], values["training"], values["data"]
    assert model["readout"] == "last"
    assert (training["weight_decay"], training["patience"], training["keep"]) == (0.3, 15, "best")
    assert [data[n] for n in ("format", "target", "text", "test")] == ["rows", "label", "text", 0.2]
    text = (done.folder / "config.toml").read_text()
    assert all(re.search(rf"^(# )?{f.name} =", text, re.MULTILINE) for f in list_settings())
    unset = re.findall(r"^# (\w+) =", text, re.MULTILINE)
    reading = "values categories id time time_difference dates missing header skip_lines channels"
    asked = {
        *reading.split(),
        "split",
        "group",
        "window",
        "stride",
        "ahead",
        "memory_limit",
        "tbptt",
        "noise",
        "decimal",
        "static",
    }
    assert set(unset) <= asked | {"class_weight", "static_to"}, "the rest is chosen by now"


@pytest.mark.parametrize("name", ["text.csv", "values.csv", "tags.jsonl", "running-parity"])
def test_a_run_can_be_had_again(files, tmp_path, name):
    data = name if name == "running-parity" else str(files / name)
    small = {"model": {"hidden_size": 4, "dropout": 0.2}, "training": {"epochs": 2, "seed": 5}}
    small |= {"report": {"diagnostics": False}}
    first = quiet_run(merge({"data": {"data": data}, **small}), out=tmp_path / "a")
    second = quiet_run(merge(file=read_toml(tmp_path / "a" / "config.toml")), out=tmp_path / "b")
    assert figures(first.folder) == figures(second.folder)
    for file in ("config.toml", "predictions.csv", "model/model.safetensors"):
        one, two = ((tmp_path / x / file).read_bytes() for x in "ab")
        assert one == two, file

    def without_time(folder):
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    assert without_time(first.folder) == without_time(second.folder)
    assert isinstance(
        first.estimator,
        SequenceTagger if name in ("tags.jsonl", "running-parity") else SequenceClassifier,
    )


def test_scaling_is_fitted_on_the_training_part(files, tmp_path):
    settings = merge(
        {
            "data": {"data": str(files / "values.csv")},
            "model": {"hidden_size": 4},
            "training": {"epochs": 1},
            "report": {"diagnostics": False},
        }
    )
    done = quiet_run(settings, out=tmp_path / "run")
    training = read_splits(settings.data, 0).training.inputs.values
    np.testing.assert_array_equal(done.estimator.encoder_.mean, training.mean(0))
    np.testing.assert_array_equal(done.estimator.encoder_.scale, training.std(0))


def test_every_setting_reaches_the_estimator():
    given = {
        "model": {
            "cell": "rnn",
            "nonlinearity": "relu",
            "hidden_size": 3,
            "num_layers": 2,
            "bidirectional": False,
            "streaming": True,
            "dropout": 0.25,
            "readout": "max",
            "embedding_size": 5,
            "initialization": "torch",
            "static_to": "both",
        },
        "training": {
            "effort": "high",
            "epochs": 7,
            "batch_size": "full",
            "tbptt": 50,
            "learning_rate": 0.5,
            "optimizer": "sgd",
            "weight_decay": 0.125,
            "schedule": "constant",
            "warmup": 0.5,
            "clip_norm": 2.0,
            "label_smoothing": 0.0,
            "class_weight": "balanced",
            "loss": "focal",
            "focal_gamma": 1.5,
            "token_dropout": 3.0,
            "noise": 0.75,
            "patience": 4,
            "keep": "last",
            "keep_epochs": 6,
            "device": "cpu",
            "precision": "float32",
            "threads": 3,
            "seed": 11,
        },
        "data": {"tokens": "words", "scale": False, "validation": 0.3},
    }
    parameters = make_estimator(merge(given), 9).get_params()
    for section in given.values():
        for name, value in section.items():
            assert parameters["random_state" if name == "seed" else name] == value, name
    assert parameters["verbose"] == 9
    known = {f.name for f in list_settings() if f.section in ("model", "training")} | set(
        given["data"]
    )
    told = {name for section in given.values() for name in section}
    assert told == known  # a new setting belongs in this test


def test_a_run_is_never_overwritten_unasked(settings, trained):
    done, _ = trained
    was = tree(done.folder)
    with pytest.raises(SettingsError, match=r"exists already\. Name another with --out"):
        quiet_run(settings(), out=done.folder)
    assert tree(done.folder) == was


def test_overwriting(settings, tmp_path):
    out = tmp_path / "mine"
    first = quiet_run(settings(), out=out)
    evaluate(out, str(settings().data.data), {}, None, False)
    second = quiet_run(settings(training={"seed": 1}), out=out, overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {"mine"}
    assert {p.name for p in out.iterdir()} == EVERYTHING
    assert figures(out)["settings_sha256"] != settings_hash(merge({}))
    assert not np.array_equal(first.reports["test"].probabilities, second.reports["test"])


def test_the_default_folder(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [quiet_run(settings()).folder for _ in range(2)]
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d-text", names[0].as_posix())
    assert names[1].as_posix() == names[0].as_posix() + "-2"


# -- a trained model on other data -------------------------------------------------------------


def test_evaluate(trained, files, tmp_path):
    done, _ = trained
    report, folder, notes = evaluate(
        done.folder, str(files / "text.csv"), {}, tmp_path / "e", False
    )
    assert folder == tmp_path / "e"
    expected = {"metrics.json", "predictions.csv", "plots", "report.html"}
    assert {p.name for p in folder.iterdir()} == expected
    found = json.loads((folder / "metrics.json").read_text())
    assert found["evaluation"]["accuracy"] == report.accuracy
    assert found["evaluation"]["count"] == 30
    assert notes == ()
    with pytest.raises(SettingsError, match="exists already"):
        evaluate(done.folder, str(files / "text.csv"), {}, tmp_path / "e", False)
    evaluate(done.folder, str(files / "text.csv"), {}, tmp_path / "e", True)
    assert {p.name for p in tmp_path.iterdir()} == {"e"}


def test_the_page_of_an_evaluation_is_that_of_a_training(trained, files, tmp_path):
    """The same sections; the diagnosis, which needs the training split, says why it is missing."""
    done, _ = trained
    call = done.folder, str(files / "text.csv"), {}
    _, folder, _ = evaluate(*call, tmp_path / "e", False)
    page = (folder / "report.html").read_text(encoding="utf-8")
    sections = re.findall(r"<h2>(.*?)</h2>", page)
    for heading in ("Metrics", "Figures", "Diagnosis", "Memory", "Notable sequences", "Training"):
        assert heading in sections
    assert "an evaluation has no training split" in page
    assert "text.csv" in page and "elman evaluate" in page and "config.toml" in page
    assert {p.name for p in (folder / "plots").iterdir()} >= {"history.png", "memory.png"}
    _, folder, _ = evaluate(*call, tmp_path / "plain", False, diagnostics=False)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "The diagnostics were switched off" in page
    assert not (folder / "plots" / "memory.png").exists()


def test_evaluate_never_replaces_the_run_it_reads(trained, files):
    done, _ = trained
    was = tree(done.folder)
    with pytest.raises(SettingsError, match="is no part of an evaluation"):
        evaluate(done.folder, str(files / "text.csv"), {}, done.folder, True)
    assert tree(done.folder) == was


def test_the_default_place_of_an_evaluation(settings, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = quiet_run(settings(), out=tmp_path / "r")
    data = str(files / "text.csv")
    (_, first, notes), (_, second, renamed) = (
        evaluate(done.folder, data, {}, None, False, diagnostics=False) for _ in range(2)
    )
    assert [first, second] == [done.folder / "evaluations" / name for name in ("text", "text-2")]
    # Another name than the usual one is said, and --overwrite keeps the usual one.
    assert notes == () and "so this evaluation is called text-2; --overwrite" in renamed[0]
    (first / "metrics.json").write_text("old")
    assert evaluate(done.folder, data, {}, None, True, diagnostics=False)[1:] == (first, ())
    assert (first / "metrics.json").read_text() != "old"
    done.estimator.save(tmp_path / "m")
    assert (
        str(evaluate(tmp_path / "m", data, {}, None, False, diagnostics=False)[1])
        == "evaluation-text"
    )


def test_predict_labelled_or_not(trained, files, tmp_path):
    done, _ = trained
    (tmp_path / "new.csv").write_text("text\na good day\na strange zebra\n")
    predictions, notes = predict(done.folder, str(tmp_path / "new.csv"), {})
    rows = list(csv.DictReader(predictions.to_csv().splitlines()))
    assert len(predictions) == len(rows) == 2
    assert list(rows[0]) == ["sequence", "predicted", "probability", "p(no)", "p(yes)"]
    assert [r["sequence"] for r in rows] == ["line 2", "line 3"]
    assert len(notes) == 1
    assert re.search(r"of 6 tokens \(\d+\.\d%\) of .*new\.csv were not seen in training", notes[0])
    labelled, notes = predict(done.folder, str(files / "text.csv"), {})
    assert labelled.to_csv().splitlines()[0].startswith("sequence,true,predicted")
    assert (len(labelled), notes) == (30, ())


def test_check(trained, files):
    done, _ = trained
    assert all(c.passed for c in check(done.folder, str(files / "text.csv"), {})[0])


def test_a_model_from_python_reads_a_file(tmp_path, files):
    """Without a layout of its own, the file is read as it says itself."""
    data = read(files / "text.csv", labelled=True)
    model = SequenceClassifier(hidden_size=4, epochs=1, random_state=0)
    model.fit(data.inputs, data.target).save(tmp_path / "m")
    report, *_ = evaluate(tmp_path / "m", str(files / "text.csv"), {}, tmp_path / "e", False)
    assert report.count == 30


@pytest.mark.parametrize("classes", [(3, 10), (False, True)])
def test_labels_that_a_file_can_only_write_as_text(tmp_path, monkeypatch, classes):
    """A network trained in Python on 3 and 10 reads "3" and "10" in a CSV."""
    monkeypatch.chdir(tmp_path)
    X = [[float(i % 2), float(i)] for i in range(20)]
    y = [classes[i % 2] for i in range(20)]
    model = SequenceClassifier(hidden_size=4, epochs=2, random_state=0).fit(X, y)
    model.save(tmp_path / "m")
    rows = [f"{label},{a},{b}" for label, (a, b) in zip(y, X, strict=True)]
    (tmp_path / "x.csv").write_text("\n".join(["kind,a,b", *rows]))
    report = evaluate(tmp_path / "m", "x.csv", {"target": "kind"}, None, False)[0]
    assert report.accuracy == model.score(X, y)


def test_a_task_is_evaluated_on_its_test_part(tmp_path):
    settings = merge(
        {
            "data": {"data": "running-parity"},
            "model": {"hidden_size": 4},
            "training": {"epochs": 1, "seed": 3},
            "report": {"diagnostics": False},
        }
    )
    done = quiet_run(settings, out=tmp_path / "r")
    report, *_ = evaluate(tmp_path / "r", "running-parity", {}, None, False)
    assert report.to_dict() == done.reports["test"].to_dict()
    with pytest.raises(SettingsError, match="--target: running-parity is a built-in task"):
        evaluate(tmp_path / "r", "running-parity", {"target": "x"}, None, False)
