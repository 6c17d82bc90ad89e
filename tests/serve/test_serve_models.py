"""serve/models.py: a model is replaced while it answers, and a damaged one never."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref

import numpy as np
import pytest

from elman.errors import ModelFileError
from elman.estimators import SequenceClassifier, SequenceRegressor
from elman.serve.models import ServedModel

RNG = np.random.default_rng(0)
X = [RNG.normal(size=(int(n), 3)) for n in RNG.integers(2, 9, 30)]
Y = RNG.integers(0, 3, 30)


def fit(seed, **settings):
    return SequenceClassifier(epochs=1, hidden_size=4, random_state=seed, **settings).fit(X, Y)


@pytest.fixture(scope="module")
def pair():
    return fit(0), fit(1)


@pytest.fixture
def folder(tmp_path, pair):
    pair[0].save(tmp_path / "m")
    return tmp_path / "m"


def answers(served):
    return served.current.estimator.predict_proba(X).tolist()


def test_another_model_is_taken_up_once_it_stands_still(folder, pair):
    served = ServedModel(folder)
    first = served.current
    assert not served.poll() and not served.reload() and served.current is first
    pair[1].save(folder)
    assert not served.poll()  # it has just changed: it may be a copy in progress
    assert served.current is first
    assert served.poll() and served.current.version != first.version
    assert answers(served) == pair[1].predict_proba(X).tolist()
    pair[0].save(folder)
    assert served.reload() and served.current.version == first.version
    assert not served.poll() and served.replaced == 2


def test_a_card_rewritten_is_no_other_model(folder, pair):
    served = ServedModel(folder)
    first = served.current
    pair[0].save_card(folder, data="other data")
    assert not served.poll() and not served.poll() and not served.reload()
    assert served.current is first and not served.problem


@pytest.mark.parametrize("how", ["flipped", "cut", "link", "extra", "no config", "no manifest"])
def test_a_damaged_model_is_refused_and_the_old_one_serves_on(folder, pair, how, caplog):
    served = ServedModel(folder)
    first = served.current
    pair[1].save(folder)
    weights = folder / "model.safetensors"
    if how == "flipped":
        data = bytearray(weights.read_bytes())
        data[-5] ^= 1
        weights.write_bytes(data)
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-8])
    elif how == "link":
        shutil.move(weights, folder.parent / "w")
        weights.symlink_to(folder.parent / "w")
    elif how == "extra":
        (folder / "other.bin").write_bytes(b"")
    else:
        (folder / {"no config": "config.json", "no manifest": "manifest.json"}[how]).unlink()
    assert not served.poll() and not served.poll()
    with pytest.raises(ModelFileError):
        served.reload()
    assert served.current is first and answers(served) == pair[0].predict_proba(X).tolist()
    if how != "no config":  # without one there is no model there, as while a folder is copied
        assert served.problem and served.refused
        assert "serves on" in caplog.text
    pair[1].save(folder) if how != "extra" else (folder / "other.bin").unlink()
    assert served.reload() and not served.problem


def test_a_model_that_arrives_file_by_file_is_taken_up(folder, pair, tmp_path):
    served = ServedModel(folder)
    pair[1].save(tmp_path / "new")
    for name in ("manifest.json", "README.md", "config.json", "model.safetensors"):
        shutil.copy(tmp_path / "new" / name, folder / name)
        assert not served.poll()
    assert served.poll() and served.refused == 0 and not served.problem


def test_a_removed_folder_changes_nothing(folder):
    served = ServedModel(folder)
    shutil.rmtree(folder)
    assert not served.poll() and not served.poll()
    with pytest.raises(ModelFileError, match="no such folder"):
        served.reload()
    assert answers(served)


@pytest.mark.parametrize(
    ("make", "differs"),
    [
        (lambda: SequenceClassifier(epochs=1).fit([x[:, :2] for x in X], Y), "columns"),
        (lambda: SequenceClassifier(epochs=1).fit(["ab", "ba"] * 9, [0, 1] * 9), "input"),
        (lambda: SequenceRegressor(epochs=1).fit(X, Y.astype(float)), "target"),
        (lambda: fit(2, readout="mean", bidirectional=True), "directions"),
        (lambda: SequenceClassifier(epochs=1).fit(X, Y, static=Y[:, None] * 1.0), "static"),
    ],
)
def test_a_model_that_would_fail_the_clients_requests_is_refused(tmp_path, make, differs):
    fit(0, bidirectional=False).save(tmp_path / "m")
    served = ServedModel(tmp_path / "m")
    make().save(tmp_path / "m")
    with pytest.raises(ModelFileError, match=f"differs in its .*{differs}.*start the server again"):
        served.reload()
    assert served.problem


def test_classes_and_sizes_may_change(folder):
    served = ServedModel(folder)
    new = SequenceClassifier(epochs=1, cell="lstm", hidden_size=7, bidirectional=False)
    new.fit(X, np.arange(30) % 5).save(folder)
    assert served.reload() and len(served.current.estimator.classes_) == 5


def test_an_estimator_is_served_and_has_no_folder(pair):
    served = ServedModel(pair[0])
    assert not served.poll() and answers(served) == pair[0].predict_proba(X).tolist()
    with pytest.raises(ModelFileError, match="elman serve RUN"):
        served.reload()


def test_a_model_that_predicts_nan_is_refused(pair):
    broken = fit(3)
    broken.model_.output.weight.data.fill_(1e38)
    broken.model_.output.bias.data.fill_(float("inf"))
    with pytest.raises(ModelFileError, match="NaN or infinity"):
        ServedModel(broken)


def test_the_old_model_is_freed(folder, pair):
    served = ServedModel(folder)
    old = weakref.ref(served.current.estimator)
    pair[1].save(folder)
    assert served.reload()
    gc.collect()
    assert old() is None


@pytest.mark.filterwarnings("ignore:.*README.md")  # of a folder in between
def test_a_folder_that_is_replaced_all_the_time_is_never_torn(folder, pair):
    served, stop, seen = ServedModel(folder), threading.Event(), set()

    def replace():
        for i in range(40):
            pair[i % 2].save(folder)
        stop.set()

    thread = threading.Thread(target=replace)
    thread.start()
    while not stop.is_set():
        served.reload()
        seen.add(served.current.version)
    thread.join()
    served.reload()
    assert seen and served.refused == 0 and answers(served) == pair[1].predict_proba(X).tolist()
