"""Numbers as targets: every form, their unit, masks, the same answer in any company, saving."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_regressor  # noqa: TID253
from sklearn.metrics import r2_score  # noqa: TID253
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: TID253

from elman import SequenceClassifier, SequenceRegressor, load
from elman.data.ragged import Ragged
from elman.errors import DataError, ModelFileError, SettingsError, ShapeError
from elman.evaluate import RegressionReport
from elman.files import seal

SMALL = {"hidden_size": 6, "epochs": 3, "batch_size": 8, "random_state": 0}


def make(n=40, seed=0):
    """Sequences, the sum of each, and the running sums, in thousands about a million."""
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(2 + i % 5, 2)) for i in range(n)]
    return X, np.array([1e6 + 1e3 * x.sum() for x in X]), [1e6 + 1e3 * x.cumsum(0) for x in X]


def form(shape):
    """X, y and settings: a value or two, of a sequence or of each step."""
    X, sums, running = make()
    return {
        "one": (X, sums, {}),
        "one of two axes": (X, sums[:, None], {}),
        "two": (X, np.stack([sums, -2 * sums], 1), {}),
        "steps": (X, [r[:, 0] for r in running], {"readout": "every"}),
        "steps of two": (X, running, {"readout": "every"}),
        "ragged steps": (X, Ragged.from_list(running), {"readout": "every"}),
    }[shape]


FORMS = ["one", "one of two axes", "two", "steps", "steps of two", "ragged steps"]


@pytest.mark.parametrize("shape", FORMS)
def test_every_form_in_its_shape_and_unit(shape, tmp_path):
    X, y, options = form(shape)
    model = SequenceRegressor(**SMALL, **options).fit(X, y)
    assert model.history_.gradients.startswith("gradients by one native call")
    found = model.predict(X)
    if options:
        assert [f.shape for f in found] == [np.shape(row) for row in y]
        flat, truth = np.concatenate(found), np.concatenate(list(y))
    else:
        assert found.shape == np.shape(y)
        flat, truth = found, np.asarray(y)
    assert flat.dtype == np.float64
    assert abs(np.abs(flat).mean() / np.abs(truth).mean() - 1) < 0.01  # about a million, or two
    assert model.score(X, y) == pytest.approx(r2_score(truth, flat))
    report = model.evaluate(X, y)
    assert isinstance(report, RegressionReport)
    assert report.r2 == pytest.approx(model.score(X, y))
    assert report.rmse > 0
    assert len(report.baselines) >= 2
    assert all(check.passed and check.worst == 0 for check in model.check(X[:9]))
    alone = [model.predict([x])[0] for x in X[:5]]
    for one, other in zip(alone, found[:5], strict=True):
        np.testing.assert_array_equal(one, other)
    model.save(tmp_path / "m", report=report)
    again = load(tmp_path / "m")
    assert isinstance(again, SequenceRegressor)
    for one, other in zip(again.predict(X), found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.history_.epochs == model.history_.epochs
    assert again.evaluate(X, y).to_dict() == report.to_dict()
    card = (tmp_path / "m" / "README.md").read_text()
    assert "RMSE" in card
    assert "classes" not in card.lower()


def test_it_learns():
    X, y, running = make(300)
    settings = {"hidden_size": 16, "epochs": 40, "random_state": 0, "validation": 0}
    model = SequenceRegressor(**settings).fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) > 0.9
    steps = SequenceRegressor(**settings, readout="every").fit(X[:200], running[:200])
    assert steps.score(X[200:], running[200:]) > 0.9


def test_the_targets_unit_does_not_matter():
    X, y, _ = make()
    one = SequenceRegressor(**SMALL, validation=0.1).fit(X, y)
    other = SequenceRegressor(**SMALL, validation=0.1).fit(X, (y - 1e6) / 1e3)
    np.testing.assert_allclose(one.predict(X), 1e3 * other.predict(X) + 1e6, rtol=1e-6)
    first, second = one.history_.epochs[-1], other.history_.epochs[-1]
    assert first.validation_loss == pytest.approx(second.validation_loss, rel=1e-3)
    assert first.validation_rmse == pytest.approx(1e3 * second.validation_rmse, rel=1e-3)


def test_only_the_training_part_says_mean_and_deviation():
    X, y, _ = make()
    model = SequenceRegressor(**SMALL).fit(X, y, validation_data=(X, y + 1e6))
    assert model.target_.mean == pytest.approx(y.mean())
    assert model.target_.scale == pytest.approx(y.std())
    record = model.history_.epochs[0]
    assert record.validation_rmse == pytest.approx(1e6, rel=0.1)
    assert record.rmse < 1e4


def test_a_target_that_never_changes():
    X, _, _ = make()
    model = SequenceRegressor(**SMALL).fit(X, np.full(40, 7.0))
    np.testing.assert_allclose(model.predict(X), 7, atol=0.5)


@pytest.mark.parametrize("loss", ["absolute", "huber"])
def test_other_losses_heed_outliers_less(loss):
    X, y, _ = make(80)
    y = (y - 1e6) / 1e3
    y[::16] += 50
    settings = {**SMALL, "epochs": 30, "validation": 0}
    plain = SequenceRegressor(**settings).fit(X, y)
    robust = SequenceRegressor(**settings, loss=loss).fit(X, y)
    assert robust.history_.gradients == f"gradients by autograd: the loss is {loss}"
    errors = [np.median(np.abs(m.predict(X) - y)) for m in (plain, robust)]
    assert errors[1] < errors[0]


def test_weights_draw_the_answer():
    X, _, _ = make()
    y = np.arange(40) % 2 * 10.0
    weight = np.where(y > 0, 9.0, 1.0)
    model = SequenceRegressor(**{**SMALL, "epochs": 20, "validation": 0})
    assert model.fit(X, y, sample_weight=weight).predict(X).mean() > 6
    steps = clone(model).set_params(readout="every")
    rows = [np.where(np.arange(len(x)) % 2, 10.0, 0.0) for x in X]
    heavy = [np.where(row > 0, 9.0, 0.0) for row in rows]
    assert np.concatenate(steps.fit(X, rows, sample_weight=heavy).predict(X)).mean() > 8
    assert steps.score(X, rows, sample_weight=heavy) <= 1


def test_scikit_learns_tools_take_it():
    X, y, _ = make()
    model = SequenceRegressor(**SMALL)
    assert is_regressor(model)
    assert cross_val_score(model, X, y, cv=2).shape == (2,)
    search = GridSearchCV(model, {"hidden_size": [3, 4]}, cv=2).fit(X, y)
    assert search.best_estimator_.hidden_size in (3, 4)
    frame = pd.DataFrame({"a": y, "b": y})
    assert model.fit(X, frame).predict(X).shape == (40, 2)
    assert model.fit(X, frame["a"]).predict(X).shape == (40,)
    assert model.fit(["abc", "de"] * 20, y).predict(["ab"]).shape == (1,)


X3, Y3, R3 = make(3)
BAD = [
    ({}, Y3[:2], ShapeError, "got 2 labels, expected 3"),
    ({}, ["a", "b", "c"], DataError, "something that is no number"),
    ({}, ["1", "2", "3"], DataError, "something that is no number"),
    ({}, [True, False, True], DataError, "something that is no number"),
    ({}, [1.0, None, 2.0], DataError, "something that is no number"),
    ({}, [1.0, np.nan, 2.0], DataError, "holds nan at place 1"),
    ({}, [1.0, np.inf, 2.0], DataError, "holds inf at place 1"),
    ({}, np.ones((3, 2, 2)), ShapeError, r"got shape \(3, 2, 2\), expected"),
    ({}, R3, DataError, "something that is no number"),
    ({}, Ragged.from_list(R3), DataError, "a value for every step"),
    ({}, [1e308, -1e308, 1e308], DataError, "too large to standardise"),
    ({"readout": "every"}, Y3, ShapeError, "y, sequence 0: got"),
    ({"readout": "every"}, [r[:1] for r in R3], ShapeError, "sequence 0: got 1 labels, expected 2"),
    ({"readout": "every"}, [R3[0], R3[1], R3[2][:, 0]], ShapeError, "sequence 2: got steps of"),
    ({"loss": "focal"}, Y3, SettingsError, "loss: got 'focal', expected 'auto' or one of"),
    ({"label_smoothing": 0.1}, Y3, SettingsError, "label_smoothing: got 0.1, but numbers"),
    ({"class_weight": "balanced"}, Y3, SettingsError, "class_weight: got 'balanced', but"),
]


@pytest.mark.parametrize(("options", "y", "kind", "message"), BAD)
def test_what_is_no_number_is_refused(options, y, kind, message):
    with pytest.raises(kind, match=message):
        SequenceRegressor(**SMALL, **options, validation=0).fit(X3, y)


def test_other_widths_are_refused_after_fit():
    X, y, _ = make()
    model = SequenceRegressor(**SMALL).fit(X, y)
    with pytest.raises(ShapeError, match="got 2 values each, expected 1 as in training"):
        model.evaluate(X, np.stack([y, y], 1))
    with pytest.raises(SettingsError, match="loss: got 'huber', expected 'auto' or one of"):
        SequenceClassifier(loss="huber").fit(X, ["a", "b"] * 20)


CHANGES = [
    (("target", "names"), [], "expected a name, mean and scale of each"),
    (("target", "scale"), [0.0], "target: scale: expected numbers above 0"),
    (("target", "mean"), [1.0, 2.0], "expected a name, mean and scale of each"),
    (("model", "task"), "classification", "which is no SequenceRegressor's"),
    (("model", "num_outputs"), 3, "num_outputs is 3, but there are 1"),
    (("target",), None, "target"),
]


@pytest.mark.parametrize(("place", "value", "message"), CHANGES)
def test_a_file_that_was_changed(place, value, message, tmp_path):
    X, y, _ = make()
    SequenceRegressor(**SMALL).fit(X, y).save(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    at = config
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    path.write_text(json.dumps(config))
    seal(tmp_path)
    with pytest.raises(ModelFileError, match=message):
        load(tmp_path)


def test_the_history_is_drawn():
    X, y, _ = make()
    model = SequenceRegressor(**SMALL).fit(X, y)
    titles = [axes.get_title(loc="left") for axes in model.plot_history().axes]
    assert titles == ["Loss", "RMSE"]
