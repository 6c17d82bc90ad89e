"""One-hot targets in Python: exactly one 1 in every row means classes."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from elman import SequenceClassifier, SequenceTagger, load
from elman.errors import DataError, ShapeError
from elman.evaluate import MultilabelReport

SMALL = {"hidden_size": 4, "epochs": 2, "validation": 0, "random_state": 0}


def make(n=30, classes=3):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(3 + i % 4, 2)) + i % classes for i in range(n)]
    return X, np.arange(n) % classes


def fit(X, y, kind=SequenceClassifier, **more):
    with pytest.warns(UserWarning, match="exactly one 1") as caught:
        model = kind(**SMALL).fit(X, y, **more)
    assert sum("exactly one 1" in str(w.message) for w in caught) == 1
    return model


@pytest.mark.parametrize("form", ["floats", "ints", "truth", "rows", "int8", "frame", "polars"])
def test_one_hot_rows_are_classes(form, tmp_path):
    X, codes = make()
    one_hot = np.eye(3)[codes]
    names = ["a", "b", "c"]
    given = {
        "floats": one_hot,
        "ints": one_hot.astype(int),
        "truth": one_hot.astype(bool),
        "rows": one_hot.tolist(),
        "int8": one_hot.astype(np.int8),
        "frame": pd.DataFrame(one_hot, columns=names),
        "polars": pl.DataFrame(dict(zip(names, one_hot.T, strict=True))),
    }[form]
    model = fit(X, given)
    named = form in ("frame", "polars")
    labels = np.array(names)[codes] if named else codes
    assert model.classes_.tolist() == (names if named else [0, 1, 2])
    plain = SequenceClassifier(**SMALL).fit(X, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = model.predict_proba(X)
        np.testing.assert_array_equal(p, plain.predict_proba(X))
        np.testing.assert_allclose(p.sum(1), 1)
        assert model.score(X, given) == model.score(X, labels) == plain.score(X, labels)
        report = model.evaluate(X, given)
        model.save(tmp_path, report=report)
        again = load(tmp_path)
        assert again.score(X, given) == model.score(X, labels)
        assert again.predict(X).tolist() == plain.predict(X).tolist()


def test_names_of_columns_are_the_classes_in_any_order():
    X, codes = make()
    frame = pd.get_dummies(pd.Series(np.array(["up", "flat", "down"])[codes]))
    frame = frame[["up", "flat", "down"]]
    model = fit(X, frame)
    assert model.classes_.tolist() == ["down", "flat", "up"]
    other = frame[["flat", "down", "up"]]
    assert model.score(X, other) == model.score(X, np.array(["up", "flat", "down"])[codes])
    with pytest.raises(DataError, match="whose columns have no names"):
        model.score(X, frame.to_numpy())


def test_what_is_not_one_hot_stays_several_labels():
    X, codes = make()
    several = np.eye(3, dtype=int)[codes]
    several[0] = [1, 1, 0]
    none = np.eye(3, dtype=int)[codes]
    none[4] = 0
    sets = [{int(code)} for code in codes]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for y in (several, none, sets, [frozenset(s) for s in sets], [[c] for c in codes]):
            model = SequenceClassifier(**SMALL).fit(X, y)
            assert model.predict(X).shape == (30, 3)
    # A model of several labels keeps them, whatever rows it is scored on.
    part = np.flatnonzero(several.sum(1) == 1)
    X, y = [X[i] for i in part], several[part]
    model = SequenceClassifier(**SMALL).fit(make()[0], several)
    assert isinstance(model.evaluate(X, y), MultilabelReport)
    assert model.score(X, y) == (model.predict(X) == y).all(1).mean()


def test_a_column_is_not_one_hot():
    X, codes = make(classes=2)
    model = SequenceClassifier(**SMALL)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*exactly one 1.*")
        warnings.simplefilter("ignore")
        model.fit(X, codes[:, None])
    assert model.classes_.tolist() == [0, 1]


def test_validation_data_and_continued_training():
    X, codes = make()
    one_hot = np.eye(3)[codes]
    model = fit(X, one_hot, validation_data=(X[:9], one_hot[:9]))
    assert model.history_.epochs[0].validation_loss is not None
    with pytest.warns(UserWarning, match="exactly one 1"):
        model = SequenceClassifier(**SMALL).partial_fit(X, one_hot)
    model.partial_fit(X[:6], one_hot[:6])
    assert model.classes_.tolist() == [0, 1, 2]
    plain = SequenceClassifier(**SMALL).fit(X, codes)
    assert plain.score(X, one_hot) == plain.score(X, codes)


def test_a_class_that_training_has_not_seen_is_named():
    X, codes = make()
    model = fit(X, np.eye(4)[codes])  # class 3 has no sequence
    assert model.classes_.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="training has not seen: 3"):
        model.evaluate(X[:2], np.eye(4)[[0, 3]])
    with pytest.raises(DataError, match="y holds several labels each"):
        model.evaluate(X[:2], np.array([[1, 1, 0], [0, 0, 1]]))
    with pytest.raises(ShapeError, match="got 1 labels, expected 2"):
        model.score(X[:2], np.eye(3)[:1])


@pytest.mark.parametrize("form", ["array", "lists", "padded", "nan"])
def test_one_hot_steps_are_classes(form, tmp_path):
    rng = np.random.default_rng(0)
    lengths = np.full(12, 6) if form == "array" else 3 + np.arange(12) % 4
    X = [rng.normal(size=(n, 2)) for n in lengths]
    codes = [(x[:, 0] > 0).astype(int) + (x[:, 1] > 1) for x in X]
    one_hot = [np.eye(3)[c] for c in codes]
    given = one_hot
    if form != "lists":
        given = np.full((12, 6, 3), 0.0 if form != "nan" else np.nan)
        for i, own in enumerate(one_hot):
            given[i, : len(own)] = own
    model = fit(X, given, SequenceTagger)
    assert model.classes_.tolist() == [0, 1, 2]
    plain = SequenceTagger(**SMALL).fit(X, codes)
    for a, b in zip(model.predict_proba(X), plain.predict_proba(X), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.score(X, given) == model.score(X, codes) == plain.score(X, given)


def test_a_step_with_several_ones_is_refused():
    X = [np.ones((3, 2)) * i for i in range(4)]
    y = np.zeros((4, 3, 2))
    y[:, :, 0] = 1
    y[2, 1] = 1
    with pytest.raises(ShapeError, match=r"sequence 2: step 2 has 2 ones"):
        SequenceTagger(**SMALL).fit(X, y)


@pytest.mark.filterwarnings("ignore:X. 9 of 12 sequences end:elman.errors.DataWarning")
@pytest.mark.parametrize("nothing", [-100, np.nan, None])
@pytest.mark.parametrize("form", ["ragged", "padded"])
def test_labels_padded_beyond_the_end(form, nothing):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(3 + i % 4, 2)) for i in range(12)]
    codes = [(x[:, 0] > 0).astype(int) for x in X]
    y, wide = np.full((12, 8), nothing, dtype=object), np.full((12, 8, 2), np.nan)
    for i, x in enumerate(X):
        y[i, : len(x)], wide[i, : len(x)] = codes[i], x
    given = X if form == "ragged" else wide[:, :6]
    model = SequenceTagger(**SMALL).fit(given, y, sample_weight=np.arange(1.0, 13.0))
    plain = SequenceTagger(**SMALL).fit(X, codes, sample_weight=np.arange(1.0, 13.0))
    for a, b in zip(model.predict_proba(X), plain.predict_proba(X), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.score(given, y) == plain.score(X, codes)
    y[0, 7] = 1
    with pytest.raises(ShapeError, match=r"got 8 labels, expected 3.*beyond the end"):
        SequenceTagger(**SMALL).fit(given, y)
