"""Static features in all estimators: what is learnt from them, and every way to give them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn  # noqa: TID253
from sklearn.base import clone  # noqa: TID253
from sklearn.model_selection import cross_val_score  # noqa: TID253
from sklearn.pipeline import make_pipeline  # noqa: TID253
from sklearn.preprocessing import FunctionTransformer  # noqa: TID253

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger, load
from elman.data import read
from elman.errors import DataError, ElmanError, SettingsError, ShapeError
from elman.estimators import ablate_static

SMALL: dict[str, Any] = {"hidden_size": 8, "epochs": 20, "random_state": 0, "batch_size": 16}


class Wards:
    """Sequences that drift up or down; for sex f the label is the opposite of the drift."""

    def __init__(self, count: int = 200) -> None:
        rng = np.random.default_rng(0)
        drift, sex = rng.normal(size=count), rng.choice(["f", "m"], count)
        age = rng.normal(50, 10, count)
        age[::7] = np.nan
        self.X = [
            (d * np.linspace(0, 2, n) + rng.normal(size=n) * 0.2)[:, None]
            for d, n in zip(drift, rng.integers(5, 9, count), strict=True)
        ]
        self.y = np.where((drift > 0) != (sex == "f"), "up", "down")
        self.values = drift * np.where(sex == "f", -1, 1) + np.nan_to_num(age, nan=50.0) / 20
        self.steps = [
            np.where(np.arange(len(x)) > 2, s, "start") for x, s in zip(self.X, sex, strict=True)
        ]
        self.static = pd.DataFrame({"sex": sex, "age": age})


@pytest.fixture(scope="module")
def wards() -> Wards:
    return Wards()


@pytest.fixture(scope="module")
def fitted(wards: Wards) -> SequenceClassifier:
    return SequenceClassifier(**SMALL).fit(wards.X[:150], wards.y[:150], static=wards.static[:150])


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_a_feature_that_flips_the_meaning_of_a_channel_is_learnt(
    wards: Wards, fitted: SequenceClassifier
) -> None:
    X, y, static = wards.X[150:], wards.y[150:], wards.static[150:]
    assert fitted.score(X, y, static=static) > 0.9
    without = SequenceClassifier(**SMALL).fit(wards.X[:150], wards.y[:150])
    assert without.score(X, y) < 0.7
    assert "static_to readout" in fitted.chosen_
    assert "static features are joined" in fitted.history_.gradients


@pytest.mark.parametrize("to", ["state", "both"])
def test_the_first_state_can_be_set(wards: Wards, to: str) -> None:
    model = SequenceClassifier(**SMALL, static_to=to, cell="lstm", readout="mean")
    model.fit(wards.X, wards.y, static=wards.static)
    assert model.score(wards.X, wards.y, static=wards.static) > 0.8
    assert all(check.passed for check in model.check(wards.X[:30], static=wards.static[:30]))


def test_tagger_and_regressor(wards: Wards, tmp_path: Path) -> None:
    tagger = SequenceTagger(**SMALL).fit(wards.X, wards.steps, static=wards.static)
    assert tagger.score(wards.X, wards.steps, static=wards.static) > 0.95
    assert all(check.passed for check in tagger.check(wards.X[:30], static=wards.static[:30]))
    regressor = SequenceRegressor(**SMALL).fit(wards.X, wards.values, static=wards.static)
    assert regressor.score(wards.X, wards.values, static=wards.static) > 0.8
    signs = np.where(wards.static["sex"] == "f", 1, -1)
    targets = [np.cumsum(x[:, 0]) * sign for x, sign in zip(wards.X, signs, strict=True)]
    per_step = SequenceRegressor(**SMALL, readout="every")
    per_step.fit(wards.X, targets, static=wards.static)
    assert per_step.score(wards.X, targets, static=wards.static) > 0.5  # about 0 without
    per_step.save(tmp_path / "model")
    again, expected = load(tmp_path / "model"), per_step.predict(wards.X, static=wards.static)
    for a, b in zip(again.predict(wards.X, static=wards.static), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_container_gives_the_same_bits(wards: Wards, fitted: SequenceClassifier) -> None:
    X, frame = wards.X[150:], wards.static[150:]
    expected = fitted.predict_proba(X, static=frame)
    objects = frame.astype(object).where(frame.notna(), None)
    for static in (
        frame[["age", "sex"]],
        pl.from_pandas(frame),
        {name: frame[name].tolist() for name in frame},
        objects,
    ):
        np.testing.assert_array_equal(fitted.predict_proba(X, static=static), expected)
    encoded = fitted.encode(X, static=frame)
    np.testing.assert_array_equal(fitted.predict_proba(encoded), expected)
    part = encoded.take(np.array([5, 2]))
    np.testing.assert_array_equal(fitted.predict_proba(part), expected[[5, 2]])
    # Arrays have no names: the order is that of the training.
    table = np.array(list(zip(frame["age"], frame["sex"], strict=True)), dtype=object)
    arrays = SequenceClassifier(**SMALL | {"epochs": 2}).fit(X, wards.y[150:], static=table)
    assert arrays.encoder_.static is not None
    assert arrays.encoder_.static.names == ("static 1", "static 2")
    assert arrays.predict(X, static=table).shape == (50,)


def test_saving_pickling_and_copies_keep_every_bit(
    wards: Wards, fitted: SequenceClassifier, tmp_path: Path
) -> None:
    expected = fitted.predict_proba(wards.X, static=wards.static)
    fitted.save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "static features 'age', 'sex' joined to the readout" in card
    assert "predict(X, static=S)" in card
    for same in (
        load(tmp_path / "model"),
        pickle.loads(pickle.dumps(fitted)),
        copy.deepcopy(fitted),
    ):
        np.testing.assert_array_equal(same.predict_proba(wards.X, static=wards.static), expected)
    with pytest.raises(ElmanError):
        clone(fitted).set_params(static_to="elsewhere").fit(wards.X, wards.y, static=wards.static)


def test_predictions_do_not_depend_on_the_batch(wards: Wards, fitted: SequenceClassifier) -> None:
    checks = fitted.check(wards.X[:40], static=wards.static[:40])
    assert all(check.passed and check.tolerance == 0 for check in checks)
    assert fitted.model_.is_exact() and isinstance(fitted.model_.native(), str)


def test_unknown_and_missing_values(wards: Wards, fitted: SequenceClassifier) -> None:
    odd = wards.static[:3].copy()
    odd["sex"] = ["x", None, "f"]
    assert fitted.count_unknown(fitted.encode(wards.X[:3], static=odd)) == {"x": 1, "missing": 1}
    full = wards.static.assign(age=wards.static["age"].fillna(50.0))
    model = SequenceClassifier(**SMALL | {"epochs": 1}).fit(wards.X, wards.y, static=full)
    with pytest.raises(DataError, match="sequence 0: static feature 'age' is missing"):
        model.predict(wards.X, static=wards.static)
    mean = model.encode(wards.X, static=wards.static, fill="mean")
    zero = model.encode(wards.X, static=wards.static, fill="zero")
    assert model.encoder_.static is not None and mean.inputs.static is not None
    assert mean.inputs.static[0, 0] == 0.0 != zero.inputs.static[0, 0]  # type: ignore[index]
    with pytest.raises(DataError, match="no previous value"):
        model.encode(wards.X, static=wards.static, fill="previous")


def test_what_does_not_fit_is_refused(wards: Wards, fitted: SequenceClassifier) -> None:
    X, static = wards.X, wards.static
    with pytest.raises(DataError, match="the model reads 'age', 'sex', and X has no static"):
        fitted.predict(X)
    with pytest.raises(ShapeError, match=r"no feature 'sex'.*Did you mean 'sx'"):
        fitted.predict(X, static=static.rename(columns={"sex": "sx"}))
    with pytest.raises(ShapeError, match="has 10 values, expected 200"):
        fitted.predict(X, static=static[:10])
    with pytest.raises(ShapeError, match="2 features without names"):
        fitted.predict(X, static=static.to_numpy())
    with pytest.raises(DataError, match="feature 'age' is 'old', expected a number"):
        fitted.predict(X[:1], static={"age": ["old"], "sex": ["f"]})
    with pytest.raises(DataError, match="trained without any"):
        SequenceClassifier(**SMALL | {"epochs": 1}).fit(X, wards.y).predict(X, static=static)
    with pytest.raises(SettingsError, match="static_to: got 'state', but there are no static"):
        SequenceClassifier(**SMALL, static_to="state").fit(X, wards.y)
    ids = pd.DataFrame({"name": [f"p{i}" for i in range(1200)]})
    with pytest.raises(DataError, match="'name' has 1,200 different values"):
        SequenceClassifier(**SMALL).fit([X[0]] * 1200, ["a", "b"] * 600, static=ids)


def test_training_goes_on_with_the_same_features(wards: Wards) -> None:
    model = SequenceClassifier(**SMALL | {"epochs": 2}, warm_start=True)
    model.fit(wards.X, wards.y, static=wards.static)
    encoder = model.encoder_
    model.fit(wards.X, wards.y, static=wards.static[["age", "sex"]])
    model.partial_fit(wards.X[:20], wards.y[:20], static=wards.static[:20])
    assert model.encoder_ is encoder
    with pytest.raises(DataError, match="X has no static features"):
        model.partial_fit(wards.X[:20], wards.y[:20])


def test_validation_test_and_weights(wards: Wards) -> None:
    X, y, static = wards.X, wards.y, wards.static
    validation = (X[150:], y[150:], None, static[150:])
    model = SequenceClassifier(**SMALL | {"epochs": 2})
    model.fit(X[:150], y[:150], static=static[:150], validation_data=validation)
    assert model.history_.epochs[0].validation_loss is not None
    monitored = clone(model).fit(X[:150], y[:150], static=static[:150], test_data=validation)
    assert monitored.history_.epochs[0].test_loss is not None
    # Sequences of weight 0 are left out together with their features.
    weights = np.r_[np.ones(150), np.zeros(50)]
    kept = clone(model).fit(X[:150], y[:150], static=static[:150])
    weighted = clone(model).fit(X, y, sample_weight=weights, static=static)
    assert kept.encoder_.static is not None and weighted.encoder_.static is not None
    assert kept.encoder_.static.to_dict() == weighted.encoder_.static.to_dict()
    with pytest.raises(DataError, match="X has no static features"):
        clone(model).fit(X, y, static=static, validation_data=(X, y))


@pytest.mark.usefixtures("routing")
def test_scikit_learn_passes_the_features_on(wards: Wards) -> None:
    model = SequenceClassifier(**SMALL | {"epochs": 8})
    model.set_fit_request(static=True).set_score_request(static=True)
    params = {"static": wards.static}
    scores = cross_val_score(model, wards.X, wards.y, cv=2, params=params)
    assert scores.mean() > 0.8
    pipeline = make_pipeline(FunctionTransformer(), model).fit(
        wards.X, wards.y, static=wards.static
    )
    assert pipeline.score(wards.X, wards.y, static=wards.static) > 0.8


def test_files_and_frames_by_name(wards: Wards, tmp_path: Path) -> None:
    parts = [
        pd.DataFrame({"patient": f"p{i}", "hour": np.arange(len(x)), "pulse": x[:, 0]}).assign(
            age=wards.static["age"][i], sex=wards.static["sex"][i], label=wards.y[i]
        )
        for i, x in enumerate(wards.X)
    ]
    frame = pd.concat(parts)
    frame.to_csv(tmp_path / "wards.csv", index=False)
    data = read(tmp_path / "wards.csv", static="age,sex")
    model = SequenceClassifier(**SMALL).fit(data)
    answers = model.predict(tmp_path / "wards.csv")
    assert model.score(tmp_path / "wards.csv") > 0.9
    np.testing.assert_array_equal(model.predict(data), answers)
    shuffled = frame[["label", "sex", "pulse", "patient", "age", "hour"]]
    np.testing.assert_array_equal(model.predict(shuffled), answers)
    np.testing.assert_array_equal(model.predict(wards.X, static=wards.static), answers)
    with pytest.raises(DataError, match="no column 'sex'"):
        model.predict(frame.drop(columns="sex"))
    with pytest.raises(SettingsError, match="has static features of its own"):
        model.predict(data, static=wards.static)
    plain = SequenceClassifier(**SMALL | {"epochs": 1}).fit(wards.X, wards.y)
    with pytest.raises(DataError, match="trained without any"):
        plain.predict(data)


def test_the_worth_of_the_features_is_measured(wards: Wards, fitted: SequenceClassifier) -> None:
    found = ablate_static(fitted, wards.X, wards.y, static=wards.static)
    assert found.score > 0.9 and found.without < 0.65
    assert found.by_feature["sex"] < 0.65 and found.by_feature["age"] > 0.85
    assert "if all of them are exchanged" in str(found) and "sex 0." in str(found)
    plain = SequenceClassifier(**SMALL | {"epochs": 1}).fit(wards.X, wards.y)
    with pytest.raises(DataError, match="no static features"):
        ablate_static(plain, wards.X, wards.y)
