"""A decisive step is hidden in noise, and a network trained: every method must find the step."""

import functools

import numpy as np
import pytest

from elman import SequenceClassifier, SequenceRegressor
from elman.explain import attribute

METHODS = ["integrated_gradients", "gradient_x_input", "occlusion"]
SMALL = {"hidden_size": 12, "validation": 0, "random_state": 0, "dropout": 0}


@functools.cache
def numbers():
    """Three channels of noise; the class is the sign of one high or low step in the second."""
    rng = np.random.default_rng(0)
    X = [0.3 * rng.normal(size=(n, 3)) for n in rng.integers(10, 16, 240)]
    places = np.array([rng.integers(len(x)) for x in X])
    signs = rng.choice([-1, 1], len(X))
    for x, place, sign in zip(X, places, signs, strict=True):
        x[place, 1] += 3 * sign
    y = np.where(signs > 0, "high", "low")
    clf = SequenceClassifier(epochs=30, learning_rate=0.01, bidirectional=False, **SMALL)
    return clf.fit(X[:200], y[:200]), X[200:], y[200:], places[200:]


@functools.cache
def words():
    """Random letters, in which one word determines the class."""
    rng = np.random.default_rng(0)
    X = [rng.choice(list("abcdefgh"), n).tolist() for n in rng.integers(6, 12, 240)]
    y = rng.choice(["for", "against"], len(X))
    places = np.array([rng.integers(len(x)) for x in X])
    for x, place, label in zip(X, places, y, strict=True):
        x[place] = "yes" if label == "for" else "no"
    clf = SequenceClassifier(epochs=12, learning_rate=0.01, **SMALL)
    return clf.fit(X[:200], y[:200]), X[200:], y[200:], places[200:]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("data", [numbers, words])
def test_the_decisive_step_gets_the_largest_value(data, method):
    clf, X, y, places = data()
    assert clf.score(X, y) == 1
    result = [attribute(clf, x, label, method) for x, label in zip(X, y, strict=True)]
    right = [f.by_step.argmax() == place for f, place in zip(result, places, strict=True)]
    # Where the network is certain, its gradient is small: a known weakness of gradient x input.
    assert np.mean(right) >= (0.8 if method == "gradient_x_input" else 0.95)
    if data is numbers:
        assert np.mean([np.abs(f.values).sum(0).argmax() == 1 for f in result]) >= 0.95


def test_a_sum_is_divided_among_its_terms():
    """Two marked numbers are added: each gets its value, in the target's unit."""
    rng = np.random.default_rng(0)
    X, y, places = [], [], []
    for n in rng.integers(6, 9, 400):
        marks = rng.choice(n, 2, replace=False)
        x = np.column_stack([rng.normal(size=n), np.isin(np.arange(n), marks)])
        X.append(x)
        y.append(100 * x[marks, 0].sum())
        places.append(marks)
    reg = SequenceRegressor(epochs=60, learning_rate=0.01, bidirectional=False, **SMALL)
    reg.fit(X[:360], y[:360])
    assert reg.score(X[360:], y[360:]) > 0.95
    errors = []
    for x, marks in zip(X[360:], places[360:], strict=True):
        result = attribute(reg, x)
        assert abs(result.gap) < 0.01 and result.at_input == pytest.approx(
            reg.predict([x])[0], 1e-4
        )
        errors += list(result.values[marks, 0] - 100 * x[marks, 0])
    assert np.sqrt(np.mean(np.square(errors))) < 60  # of numbers with deviation 100
