"""aeon's own checks of an estimator, and its layout of sequences."""

import importlib
import inspect
import sys

import numpy as np
import pytest
from aeon.testing.estimator_checking import parametrize_with_checks
from sklearn.model_selection import cross_val_score  # noqa: TID253

from elman import SequenceClassifier, SequenceRegressor, ShapeError
from elman.estimators import from_channels_first
from elman.estimators.aeon import AeonClassifier, AeonRegressor

SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}


# aeon's own cases have missing values at the ends, which are read as padding.
@pytest.mark.filterwarnings("ignore:.*end in steps of NaN alone:UserWarning")
@parametrize_with_checks([AeonClassifier, AeonRegressor])
def test_aeon_check(check):
    check()


@pytest.mark.parametrize(
    ("theirs", "ours"), [(AeonClassifier, SequenceClassifier), (AeonRegressor, SequenceRegressor)]
)
def test_the_arguments_are_the_same(theirs, ours):
    def arguments(kind):
        return {n: p.default for n, p in inspect.signature(kind).parameters.items()}

    assert arguments(theirs) == arguments(ours)


def test_channels_first_is_time_first_turned():
    rng = np.random.default_rng(0)
    cube = rng.normal(size=(5, 2, 7))
    assert from_channels_first(cube).shape == (5, 7, 2)
    np.testing.assert_array_equal(from_channels_first(cube)[3, 6], cube[3, :, 6])
    assert from_channels_first(cube[:, 0]).shape == (5, 7, 1)
    ragged = from_channels_first([cube[0], cube[1, :, :3]])
    assert [s.shape for s in ragged] == [(7, 2), (3, 2)]
    assert from_channels_first([cube[0, 0]])[0].shape == (7, 1)
    with pytest.raises(ShapeError, match=r"got shape \(7,\), expected \(n, C, T\) or \(n, T\)"):
        from_channels_first(cube[0, 0])
    with pytest.raises(ShapeError, match=r"sequence 1: got shape \(5, 2, 7\)"):
        from_channels_first([cube[0], cube])


def test_the_work_is_done_by_ours(numbers):
    X, y = numbers
    turned, labels = [np.ascontiguousarray(x.T) for x in X], np.array(y)
    theirs = AeonClassifier(**SMALL).fit(turned, labels)
    ours = SequenceClassifier(**SMALL).fit(X, y)
    np.testing.assert_array_equal(theirs.predict_proba(turned), ours.predict_proba(X))
    assert theirs.estimator_.history_.kept_epoch == ours.history_.kept_epoch
    assert theirs.score(turned, labels) == ours.score(X, y)
    assert cross_val_score(AeonClassifier(**SMALL), turned, labels, cv=2).shape == (2,)
    values = np.array([x.mean() for x in X])
    found = AeonRegressor(**SMALL).fit(turned, values).predict(turned)
    np.testing.assert_array_equal(found, SequenceRegressor(**SMALL).fit(X, values).predict(X))


def test_missing_values_and_other_channels():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2, 6))
    X[::2, 0, 2] = np.nan
    y = np.array([0, 1] * 10)
    model = AeonClassifier(**SMALL).fit(X, y)
    assert model.predict(X[:, :, :4]).shape == (20,)
    with pytest.raises(ValueError, match="different number of channels"):
        model.predict(X[:, :1])


def test_without_aeon_the_message_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon.classification.base", None)
    monkeypatch.delitem(sys.modules, "elman.estimators.aeon")
    with pytest.raises(ImportError, match=r"needs aeon, .* Install it: pip install aeon"):
        importlib.import_module("elman.estimators.aeon")
