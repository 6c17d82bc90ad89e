"""A run on data read from disk is that in memory, within its memory limit."""

import csv
import json

import numpy as np
import pyarrow.parquet
import pytest

from elman import SettingsError
from elman.errors import DataError
from elman.runs import streamed, streamed_evaluation
from elman.runs.config import merge
from elman.runs.evaluation import evaluate, predict_file
from elman.runs.experiment import resume, run
from elman.runs.folder import STORED
from elman.runs.streamed import plan_memory

# Far above what the process of the tests takes up.
LIMIT = {"data": {"memory_limit": "40GB"}}
SMALL = {"model": {"hidden_size": 4}, "training": {"epochs": 2, "batch_size": 8}}


def silent(text):
    """Ignore a message."""


@pytest.fixture
def from_disk(monkeypatch):
    """Read all data from disk that have a memory limit, however small they are."""
    monkeypatch.setattr(streamed, "IN_MEMORY", 1e9)
    monkeypatch.setattr(streamed, "_BLOCK", 2000)


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def write_files(root):
    """Files of every kind of input and target, in which blocks and groups cut across."""
    rng = np.random.default_rng(3)
    words = ["a good day", "a bad day", "no day at all"]
    rows = [f"{words[i % 3]} {i % 7},{'yn?'[i % 3]}" for i in range(90)]
    write(root / "text.csv", ["text,label", *rows])
    steps, tags = [], []
    for i in range(60):
        length, level = 4 + i % 5, i % 2
        for t in range(length):
            x = rng.normal(level, 0.5, 2)
            gap = "" if (i + t) % 4 == 0 else f"{x[1]:.4f}"
            cells = f"{x[0]:.4f},{gap},{'uvw'[i % 3]},{40 + i},{'ab'[level]},{x[0] * 2:.4f}"
            steps.append(f"p{i},g{i // 3},{t},{cells}")
        tokens = [f"w{(i + t) % 6}" for t in range(length)]
        tags.append(
            json.dumps({"tokens": tokens, "tags": ["xy"[(i + t) % 2] for t in range(length)]})
        )
    write(root / "steps.csv", ["id,ward,time,u,v,kind,age,label,next", *steps])
    write(root / "tags.jsonl", tags)
    several = [
        json.dumps({"text": f"{words[i % 3]} {i}", "topics": ["p", "q", "r"][: i % 3 + 1]})
        for i in range(60)
    ]
    write(root / "several.jsonl", several)
    numbers = [
        json.dumps({"x": rng.normal(0, 1, 5).round(4).tolist(), "y": i / 7}) for i in range(60)
    ]
    write(root / "numbers.jsonl", numbers)
    return root


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("streamed"))


ROLES = {"id": "id", "time": "time"}
CASES = {
    "text": ("text.csv", {}),
    "content": ("text.csv", {"group": "content"}),
    "tags": ("tags.jsonl", {"validation": 0.2}),
    "several": ("several.jsonl", {"target": "topics", "task": "multilabel", "validation": "test"}),
    "numbers": ("numbers.jsonl", {"target": "y", "values": "x", "test": 0.3, "split": "random"}),
    "mixed": (
        "steps.csv",
        {
            **ROLES,
            "values": "u,v",
            "categories": "kind",
            "static": "age",
            "target": "label",
            "group": "ward",
            "validation": 0.2,
        },
    ),
    "each step": ("steps.csv", {**ROLES, "values": "u,v", "target": "next", "split": "time"}),
    "windows": (
        "steps.csv",
        {**ROLES, "values": "u,v", "target": "label", "window": 4, "stride": 2, "validation": 0.2},
    ),
}


def table(folder):
    with (folder / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same_tables(found, expected):
    """Compare all columns: places and true values as text, predicted numbers to rounding."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if name.startswith(("p(", "prob", "predicted")) and value.replace(".", "").isdigit():
                assert float(value) == pytest.approx(float(other[name]), abs=1e-4), name
            else:
                assert value == other[name], name


@pytest.mark.usefixtures("from_disk", "quick_figures")
@pytest.mark.parametrize("name", CASES)
def test_a_run_from_disk_is_that_in_memory(files, tmp_path, name):
    file, data = CASES[name]
    report = {"report": {"diagnostics": name in ("text", "mixed")}}
    base = {"data": {"data": str(files / file), **data}, **SMALL, **report}
    if name in ("tags", "each step"):
        base["training"] = base["training"] | {"tbptt": 3}
    whole = run(merge(base), out=tmp_path / "whole", verbose=0, echo=silent)
    said = []
    done = run(merge(base, LIMIT), out=tmp_path / "disk", verbose=0, echo=said.append)
    assert said[0].startswith("from disk")
    assert_same_tables(table(done.folder), table(whole.folder))
    for split, report in whole.reports.items():
        other = done.reports[split]
        assert other.count == report.count and other.steps == report.steps
        assert other.groups == report.groups and other.duplicates == report.duplicates
        headline = report.headline_metric
        assert other.metrics[headline] == pytest.approx(report.metrics[headline], rel=1e-3), split
        for baseline, metrics in report.baselines.items():
            expected = pytest.approx(metrics[headline], rel=1e-3)
            assert other.baselines[baseline][headline] == expected, baseline
    assert (done.folder / "report.html").is_file() and not (done.folder / STORED).exists()
    theirs, ours = (
        set((folder / "config.toml").read_text().splitlines())
        for folder in (whole.folder, done.folder)
    )
    assert {line.split()[0] for line in theirs ^ ours} == {"#", "memory_limit"}


@pytest.mark.usefixtures("from_disk", "quick_figures")
def test_use_of_a_model_on_data_from_disk(files, tmp_path):
    file, data = CASES["windows"]
    base = {"data": {"data": str(files / file), **data}, **SMALL, "report": {"diagnostics": False}}
    done = run(merge(base), out=tmp_path / "run", verbose=0, echo=silent)
    data, said = str(files / file), []
    options = {"diagnostics": False, "memory_limit": "40GB", "say": said.append}
    report, found, notes = evaluate(done.folder, data, {}, tmp_path / "disk", False, **options)
    whole, expected, others = evaluate(
        done.folder, data, {}, tmp_path / "whole", False, diagnostics=False
    )
    assert said[0].startswith("from disk") and notes == others
    assert_same_tables(table(found), table(expected))
    assert report.to_dict() == whole.to_dict()
    assert sorted(p.name for p in found.iterdir()) == sorted(p.name for p in expected.iterdir())
    texts = []
    for limit in ("40GB", None):
        path = tmp_path / f"{limit}.parquet"
        shown = []
        given = {"show": shown.append, "memory_limit": limit, "say": silent}
        count, _ = predict_file(done.folder, data, {}, None, False, **given)
        predict_file(done.folder, data, {}, path, False, **given)
        assert count == whole.count
        texts.append(("".join(shown), pyarrow.parquet.read_table(path)))
    assert texts[0] == texts[1]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("from_disk", "quick_figures")
@pytest.mark.parametrize("where", ["reading", "training", "evaluation"])
def test_a_run_from_disk_goes_on(files, tmp_path, monkeypatch, where):
    file, data = CASES["tags"]
    base = {"data": {"data": str(files / file), **data}, **SMALL, "report": {"diagnostics": False}}
    settings = merge(base, LIMIT)
    whole = run(settings, out=tmp_path / "whole", verbose=0, echo=silent)

    class Cut(BaseException):
        pass

    def stop(*arguments, **options):
        raise Cut

    place = {
        "reading": "elman.runs.preparation.prepare_from_disk",
        "training": "elman.train.checkpoint.Saver.save_broken_off",
        "evaluation": "elman.runs.experiment.evaluate_splits",
    }[where]
    with monkeypatch.context() as patch:
        patch.setattr(place, stop)
        if where == "training":
            batches = iter(range(20))
            from elman.train.checkpoint import Saver

            save = Saver.save_if_due

            def save_and_stop(self, state):
                save(self, state)
                if next(batches) == 11:
                    raise Cut

            patch.setattr(Saver, "save_if_due", save_and_stop)
        with pytest.raises(Cut):
            run(settings, out=tmp_path / "cut", verbose=0, echo=silent, checkpoint_every=0.0)
    assert (tmp_path / "cut" / STORED / "data").is_dir()
    with monkeypatch.context() as patch:
        patch.setattr("elman.runs.streamed.read_stored", stop)  # it was read
        done = resume(tmp_path / "cut", echo=silent)
    assert (done.folder / "predictions.csv").read_bytes() == (
        whole.folder / "predictions.csv"
    ).read_bytes()
    name = "model/model.safetensors"
    assert (done.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert not (done.folder / STORED).exists()


@pytest.mark.usefixtures("from_disk", "quick_figures")
def test_metrics_of_a_sample_are_said_to_be(files, tmp_path, monkeypatch):
    monkeypatch.setattr(streamed_evaluation, "ROW", 3e9)
    monkeypatch.setattr(streamed, "SEQUENCES", 5)
    file, data = CASES["text"]
    base = {"data": {"data": str(files / file), **data}, **SMALL, "report": {"diagnostics": True}}
    said = []
    done = run(merge(base, LIMIT), out=tmp_path / "run", verbose=0, echo=said.append)
    test = done.reports["test"]
    assert test.count < 18 and len(table(done.folder)) == 18
    text = "\n".join(said)
    assert f"the metrics of the test split are those of {test.count} of its 18 sequences" in text
    assert "diagnostics: made of 5 training and 5 test sequences, drawn at random" in text
    assert "5 of its sequences, drawn at random, are described here" in text
    assert (
        text in (done.folder / "report.html").read_text()
        or "drawn at random" in (done.folder / "report.html").read_text()
    )


def test_a_limit_that_is_too_small_says_what_would_do(files, monkeypatch):
    monkeypatch.setattr(streamed, "IN_MEMORY", 1e9)
    data = str(files / "text.csv")
    with pytest.raises(SettingsError, match="Expected at least") as error:
        plan_memory(data, "100MB", {})
    least = str(error.value).rpartition(" ")[2]
    assert plan_memory(data, least, {}).streamed
    with pytest.raises(SettingsError, match="memory_limit: got '3', expected a size"):
        plan_memory(data, "3", {})


def test_data_that_fit_are_read_into_memory(files, monkeypatch):
    data = str(files / "text.csv")
    plan = plan_memory(data, "4GB", {})
    assert not plan.streamed and plan.note.startswith("in memory")
    monkeypatch.setattr(streamed, "_UNFOLDED", 1e9)  # the size of the file tells nothing
    plan = plan_memory(data, "4GB", {})
    assert not plan.streamed and "which fits into --memory-limit 4GB" in plan.note


@pytest.mark.usefixtures("from_disk")
def test_what_cannot_be_streamed_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.zeros((9, 5, 1)), y=np.arange(9) % 2)
    with pytest.raises(DataError, match="cannot be read in pieces"):
        plan_memory(str(tmp_path / "a.npz"), "1GB", {})
    rows = [f"{i},{i % 7}" for i in range(200)]
    write(tmp_path / "recording.csv", ["value,target", *rows])
    settings = {"data": str(tmp_path / "recording.csv"), "format": "steps", "window": 10}
    settings["values"] = "value"
    with pytest.raises(DataError, match=r"one recording .* cannot be read in pieces"):
        run(merge({"data": settings}, LIMIT), out=tmp_path / "r", verbose=0, echo=silent)
    assert not (tmp_path / "r").exists()


def test_without_a_limit_large_data_are_noticed(files, monkeypatch):
    data = str(files / "steps.csv")
    assert not plan_memory(data, None, {}).note
    monkeypatch.setattr(streamed, "_SMALL", 0)
    monkeypatch.setattr(streamed, "free_memory", lambda: 20_000)
    note = plan_memory(data, None, {}).note
    assert "will take up about" in note and "--memory-limit" in note


def test_a_disk_that_is_too_full_is_noticed_first(tmp_path):
    with pytest.raises(SettingsError, match="Free some space"):
        streamed.check_disk(tmp_path / "run", 1 << 60)
    streamed.check_disk(tmp_path / "run", 1)


@pytest.mark.usefixtures("from_disk")
def test_predicting_the_sequence_itself_needs_memory(files):
    base = {"data": {"data": str(files / "tags.jsonl"), "ahead": 1}}
    with pytest.raises(SettingsError, match="needs its sequences in memory"):
        streamed.plan_run(merge(base, LIMIT))
    assert not streamed.plan_run(merge(base)).streamed
