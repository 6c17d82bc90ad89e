"""Reports with random or given predictions."""

import numpy as np
import pytest

from elman.evaluate import evaluate


def make(true, probabilities, *, lengths=None, owners=None, classes=None):
    k = probabilities.shape[1]
    count = len(true) if owners is None else int(owners.max()) + 1
    return evaluate(
        true,
        probabilities,
        classes or [f"c{i}" for i in range(k)],
        lengths=np.ones(count, dtype=np.int64) if lengths is None else lengths,
        owners=owners,
        resamples=0,
    )


def random(k, n=300, seed=0, weights=None, tagger=False, **kw):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 30, n)
    owners = np.repeat(np.arange(n), lengths) if tagger else None
    m = lengths.sum() if tagger else n
    true = rng.choice(k, m, p=weights)
    scores = rng.normal(size=(m, k))
    scores[np.arange(m), true] += 2
    p = np.exp(scores)
    p /= p.sum(1, keepdims=True)
    return make(true, p, lengths=lengths, owners=owners, **kw)


@pytest.fixture
def make_report():
    return make


@pytest.fixture
def random_report():
    return random


@pytest.fixture
def records():
    return [
        {
            "epoch": e,
            "loss": 1.0 / e,
            "accuracy": 1 - 0.5 / e,
            "validation_loss": 1.1 / e + 0.01 * e,
            "validation_accuracy": 0.9 - 0.4 / e,
            "learning_rate": 0.001,
        }
        for e in range(1, 9)
    ]
