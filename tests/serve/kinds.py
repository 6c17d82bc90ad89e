"""A small trained estimator of every kind of input and task."""

from __future__ import annotations

import functools

import numpy as np

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger

SMALL = {"cell": "gru", "hidden_size": 4, "epochs": 1, "random_state": 0, "verbose": 0}
N = 24


def numbers(generator, gaps=False):
    X = [generator.normal(size=(int(generator.integers(2, 7)), 2)) for _ in range(N)]
    if gaps:
        for x in X[::2]:
            x[0, 1] = np.nan
    return X


def mixed(generator):
    return [
        np.array([[float(v), "ab"[int(v > 0)]] for v in generator.normal(size=4)], dtype=object)
        for _ in range(N)
    ]


def two(generator):
    return np.array(["up", "down"])[np.arange(N) % 2]


def static(generator):
    return {"age": generator.normal(size=N), "ward": ["a", "b"] * (N // 2)}


def cut(steps):
    """Sequences of one, two and three of these steps in turn."""
    return [steps[: i % 3 + 1] for i in range(N)]


TEXTS = ["so good", "not bad at all"] * (N // 2)
LABELS = [{"a"}, {"a", "b"}, set()] * (N // 3)
KINDS = {
    "numbers": lambda g: (SequenceClassifier, numbers(g), two(g), {}),
    "gaps": lambda g: (SequenceClassifier, numbers(g, True), np.arange(N) % 3, {}),
    "static": lambda g: (SequenceClassifier, numbers(g), two(g), {"static": static(g)}),
    "mixed": lambda g: (SequenceClassifier, mixed(g), two(g), {}),
    "tokens": lambda g: (SequenceClassifier, cut(["a", "b", "c"]), two(g), {}),
    "text": lambda g: (SequenceClassifier, TEXTS, two(g), {}),
    "labels": lambda g: (SequenceClassifier, numbers(g), LABELS, {}),
    "values": lambda g: (SequenceRegressor, numbers(g), g.normal(size=(N, 2)), {}),
    "value": lambda g: (SequenceRegressor, numbers(g), g.normal(size=N), {}),
    "tagger": lambda g: (SequenceTagger, cut(["a", "b", "c"]), cut(["X", "Y", "X"]), {}),
}


@functools.cache
def make_model(kind):
    estimator, X, y, options = KINDS[kind](np.random.default_rng(0))
    return estimator(**SMALL).fit(X, y, **options)
