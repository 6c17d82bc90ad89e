"""Saving a model, an evaluation, an explanation or predictions fails, or is killed, anywhere."""

import os
import shutil
import signal
import zlib

import numpy as np
import pytest
from faults import Faults
from test_file_faults import entries, room, seen  # noqa: F401

from elman import SequenceClassifier, load
from elman.errors import ModelFileError, WriteError
from elman.runs.evaluation import evaluate
from elman.runs.explanation import ExplainOptions, explain

X = [np.arange(float(n)) % 3 for n in (3, 4, 5, 6) * 3]
Y = ["a", "b"] * 6


@pytest.fixture(scope="module")
def models():
    """Two models with different weights."""
    return [
        SequenceClassifier(hidden_size=2, epochs=1, random_state=seed).fit(X, Y) for seed in (0, 1)
    ]


@pytest.fixture
def csv(room):  # noqa: F811
    path = room / "data.csv"
    rows = [f"{i},{v},{y}" for i, (x, y) in enumerate(zip(X, Y, strict=True)) for v in x]
    path.write_text("\n".join(["id,v,label", *rows, ""]))
    return path


def answers(model):
    return model.predict_proba(X).tobytes()


def some(count, every, case):
    return range(1 + zlib.crc32(repr(case).encode()) % every, count + 1, every)


def operations(job):
    with Faults() as faults:
        job()
    return faults.calls


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "short", "ENOSPC lasting", "interrupt"])
def test_a_model_is_the_old_or_the_new_one_after_an_error(room, models, fault, every):  # noqa: F811
    old, new = (answers(model) for model in models)
    folder = room / "model"
    models[0].save(folder)
    calls = operations(lambda: models[0].save(folder))
    kind, _, lasting = fault.partition(" ")
    raised = 0
    for at in some(len(calls), every, fault):
        models[0].save(folder)
        with Faults(at, kind, bool(lasting)):
            try:
                models[1].save(folder)
            except KeyboardInterrupt:
                raised += 1
            except WriteError as error:
                raised += 1
                assert str(error).startswith(str(folder)) and "--out" in str(error)
            else:
                assert answers(load(folder)) == new
        assert answers(load(folder)) in (old, new), (at, calls[at - 1])
        assert [p.name for p in room.iterdir()] == ["model"], (at, calls[at - 1])
    assert raised or every > 1


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("when", ["kill", "killed"])
@pytest.mark.parametrize("first", [True, False])
def test_a_model_is_the_old_or_the_new_one_after_a_kill(room, models, when, every, first):  # noqa: F811
    old, new = (answers(model) for model in models)
    folder = room / "model"
    calls = operations(lambda: models[0].save(folder))
    if not first:
        calls = operations(lambda: models[0].save(folder))
    for at in some(len(calls), every, (when, first)):
        if first:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            models[0].save(folder)
        child = os.fork()
        if not child:
            with Faults(at, when):
                models[1].save(folder)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        if folder.exists() or not first:
            assert answers(load(folder)) in ((new,) if first else (old, new)), (at, calls[at - 1])
        models[1].save(folder)
        assert [p.name for p in room.iterdir()] == ["model"], (at, calls[at - 1])


def test_a_model_is_saved_into_the_current_folder(room, models, monkeypatch):  # noqa: F811
    (room / "here").mkdir()
    monkeypatch.chdir(room / "here")
    for model in models:
        model.save(".")
        assert answers(load(".")) == answers(model)
        assert sorted(p.name for p in (room / "here").iterdir()) == [
            "README.md", "config.json", "manifest.json", "model.safetensors",
        ]  # fmt: skip


def test_saving_removes_no_file_of_the_user(room, models):  # noqa: F811
    (room / "notes.txt").write_text("mine")
    with pytest.raises(ModelFileError, match=r"holds notes\.txt"):
        models[0].save(room)
    assert [p.name for p in room.iterdir()] == ["notes.txt"]
    models[0].save(room / "model")
    (room / "model" / "README.md").write_text("edited")
    models[0].save(room / "model")
    assert answers(load(room / "model")) == answers(models[0])


@pytest.mark.parametrize(
    ("what", "every"),
    [
        ("evaluation", 0),
        pytest.param("evaluation", 1, marks=pytest.mark.slow),
        pytest.param("explanation", 1, marks=pytest.mark.slow),
    ],
)
def test_a_folder_of_results_is_the_old_one_or_whole(room, models, csv, what, every):  # noqa: F811
    models[0].save(room / "model")
    out = room / "out"

    def job():
        if what == "evaluation":
            evaluate(room / "model", str(csv), {}, out, overwrite=True, diagnostics=False)
        else:
            options = ExplainOptions(attribution=False, memory=False, diagnosis=False)
            explain(room / "model", str(csv), {}, options, out, overwrite=True)

    job()
    calls = operations(job)
    after = entries(out)
    # In CI at the rename alone, as each takes a second.
    for at in some(len(calls), every, what) if every else [calls.index("exchange") + 1]:
        (old := out / "metrics.json" if what == "evaluation" else out / "index.html").write_text(
            "old"
        )
        before = entries(out)
        with Faults(at, "ENOSPC", lasting=True):
            try:
                job()
            except WriteError as error:
                assert str(error).startswith(str(out))
        assert entries(out) == before or (
            set(entries(out)) == set(after) and old.read_text() != "old"
        )
        assert sorted(p.name for p in room.iterdir()) == ["data.csv", "model", "out"]
