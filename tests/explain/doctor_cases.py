"""Sequences that can be learnt in a moment, and networks that have learnt them."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger

Data = tuple[list[Any], Any]


def waves(n: int = 60, seed: int = 0, steps: int = 20) -> Data:
    """Noisy waves of two channels, slow or fast, 15 to 20 steps."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for i in range(n):
        time = np.arange(rng.integers(steps - 5, steps + 1)) + rng.uniform(0, 9)
        wave = np.sin(time * (0.3, 1.1)[i % 2])
        wave += rng.normal(0, 0.1, len(time))
        X.append(np.stack([wave, rng.normal(size=len(time))], 1))
        y.append(("slow", "fast")[i % 2])
    return X, y


def words(n: int = 80, seed: int = 0) -> Data:
    """Words of letters, of one language more a and b, of the other more y and z."""
    rng = np.random.default_rng(seed)
    X = []
    for i in range(n):
        letters = list("aaaabbbbmnyz" if i % 2 else "abmnyyyyzzzz")
        X.append("".join(rng.choice(letters, rng.integers(8, 14))))
    return X, ["ab" if i % 2 else "yz" for i in range(n)]


def signs(n: int = 50, seed: int = 0) -> Data:
    """A label at every step: whether the sum so far is above 0."""
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(rng.integers(8, 15), 1)) for _ in range(n)]
    return X, [["up" if s > 0 else "down" for s in x[:, 0].cumsum()] for x in X]


def sums(n: int = 80, seed: int = 0) -> Data:
    """The mean of a channel."""
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(10, 2)) + rng.normal() for _ in range(n)]
    return X, [float(x[:, 0].mean()) for x in X]


HEALTHY: dict[str, tuple[type[Any], Any, dict[str, Any]]] = {
    "gru": (SequenceClassifier, waves, {}),
    "rnn": (SequenceClassifier, waves, {"cell": "rnn"}),
    "relu": (SequenceClassifier, waves, {"cell": "rnn", "nonlinearity": "relu"}),
    "lstm of two layers in both directions": (
        SequenceClassifier,
        waves,
        {"cell": "lstm", "num_layers": 2, "bidirectional": True},
    ),
    "one direction, mean": (SequenceClassifier, waves, {"bidirectional": False, "readout": "mean"}),
    "torch's first weights": (
        SequenceClassifier,
        waves,
        {"cell": "gru", "initialization": "torch"},
    ),
    "tokens": (SequenceClassifier, words, {}),
    "tokens, lstm": (SequenceClassifier, words, {"cell": "lstm"}),
    "tagger": (SequenceTagger, signs, {}),
    "regression": (SequenceRegressor, sums, {}),
    "sgd": (SequenceClassifier, waves, {"optimizer": "sgd", "learning_rate": 0.03}),
    "with a validation split": (SequenceClassifier, waves, {"validation": 0.2}),
}


@functools.cache
def healthy(name: str) -> Any:
    """A network trained a little, that has learnt most of it."""
    kind, data, options = HEALTHY[name]
    estimator = kind(**{"epochs": 40, "hidden_size": 16, "random_state": 0, **options})
    with warnings.catch_warnings():
        return estimator.fit(*data())
