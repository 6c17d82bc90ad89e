"""Pickles, deep copies and other processes: through the safe files, the same to the last bit."""

import copy
import pickle
import pickletools

import numpy as np
import pytest
from sklearn.base import clone  # noqa: TID253
from sklearn.model_selection import cross_validate  # noqa: TID253

from elman import SequenceClassifier, SequenceTagger

SMALL = {"hidden_size": 4, "epochs": 2, "batch_size": 8, "random_state": 0}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("kind", ["numbers", "tokens"])
def test_a_copy_is_the_same_model(copied, kind, data, tags):
    X, y = data[kind]
    for model in (SequenceClassifier(**SMALL).fit(X, y), SequenceTagger(**SMALL).fit(X, tags(X))):
        model.note_ = "kept"
        again = copied(model)
        assert type(again) is type(model)
        assert again.get_params() == model.get_params()
        assert vars(again).keys() == vars(model).keys()
        assert again.note_ == "kept"
        assert again.history_ == model.history_
        for one, two in zip(again.predict_proba(X), model.predict_proba(X), strict=True):
            np.testing.assert_array_equal(one, two)
        truth = model.predict(X)
        assert str(again.evaluate(X, truth)) == str(model.evaluate(X, truth))
        weight, other = model.model_.output.weight, again.model_.output.weight
        assert weight.data_ptr() != other.data_ptr()


def test_columns_are_copied():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(12, 3)), columns=list("abc"))
    model = SequenceClassifier(**SMALL).fit(frame, [0, 1] * 6)
    again = pickle.loads(pickle.dumps(model))
    assert again.n_features_in_ == 3
    assert again.feature_names_in_.tolist() == list("abc")
    with pytest.raises(ValueError, match="same order"):
        again.predict(frame[list("cba")])


def test_a_pickle_names_no_code_of_torch(numbers):
    """Nothing but the estimator's class, and bytes."""
    data = pickle.dumps(SequenceClassifier(**SMALL).fit(*numbers))
    named = {
        argument
        for opcode, argument, _ in pickletools.genops(data)
        if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE") and "." in argument
    }
    assert {n for n in named if n.split(".")[0] in ("elman", "torch", "numpy")} == {
        "elman.estimators.estimators"
    }


@pytest.mark.parametrize("kind", ["int8", "int32", "uint16", "int64", "float32", "bool", "str"])
def test_labels_keep_their_dtype(kind, numbers):
    X, _ = numbers
    model = SequenceClassifier(**SMALL).fit(X, np.array([0, 1] * 12).astype(kind))
    assert pickle.loads(pickle.dumps(model)).predict(X).dtype == model.predict(X).dtype


def test_one_that_is_not_fitted():
    state = np.random.RandomState(3)
    model = SequenceClassifier(hidden_size=7, random_state=state)
    again = pickle.loads(pickle.dumps(model))
    assert again.hidden_size == 7
    assert again.random_state.randint(100) == state.randint(100)
    assert not hasattr(again, "classes_")
    assert copy.deepcopy(model).get_params()["hidden_size"] == 7


def test_other_processes(numbers):
    X, y = numbers
    model = SequenceClassifier(**SMALL)
    alone = cross_validate(model, X, y, cv=2, return_estimator=True)
    beside = cross_validate(model, X, y, cv=2, return_estimator=True, n_jobs=2)
    np.testing.assert_array_equal(alone["test_score"], beside["test_score"])
    for one, two in zip(alone["estimator"], beside["estimator"], strict=True):
        np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert not hasattr(clone(alone["estimator"][0]), "classes_")
