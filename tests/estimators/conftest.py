"""Small sequences that can be learnt, in every form that the estimators take."""

import numpy as np
import pytest


def make_numbers(n=24, channels=2, seed=0):
    """n arrays of 2 to 6 steps whose mean tells the class; the classes take turns."""
    rng = np.random.default_rng(seed)
    y = ["low", "high"] * (n // 2)
    return [rng.normal(i % 2 * 2 - 1, 1, (2 + i % 5, channels)) for i in range(n)], y


def make_tokens(n=24, seed=0):
    """n lists of 2 to 6 tokens; `yes` stands in every second."""
    rng = np.random.default_rng(seed)
    X = []
    for i in range(n):
        words = rng.choice(["a", "b", "c"], 2 + i % 5).tolist()
        words[i % len(words)] = ["yes", "no"][i % 2]
        X.append(words)
    return X, ["y", "n"] * (n // 2)


def make_tags(X):
    """A label for each step of X: its sign, or whether the token is yes or no."""
    if isinstance(X[0], list):
        return [["special" if t in ("yes", "no") else "plain" for t in s] for s in X]
    return [np.where(s[:, 0] > 0, "pos", "neg").tolist() for s in X]


@pytest.fixture
def numbers():
    return make_numbers()


@pytest.fixture
def tokens():
    return make_tokens()


@pytest.fixture
def data():
    """By the kind of input: sequences, and a class of each."""
    return {"numbers": make_numbers(), "tokens": make_tokens()}


@pytest.fixture
def tags():
    """From sequences to a label a step."""
    return make_tags
