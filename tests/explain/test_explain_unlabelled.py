"""Explanations and the doctor where steps are not labelled: no loss, no error, no evidence."""

import numpy as np
import pytest

from elman import SequenceRegressor, SequenceTagger
from elman.explain import bptt, doctor, trace
from elman.explain.choice import choose_sequence

SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def walks():
    """40 walks of 5 to 8 steps; the sign of each step, and its value, known at most steps."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(5 + i % 4, 2)) for i in range(40)]
    known = [np.arange(len(x)) % 3 != 1 for x in X]
    tags = [["up" if v > 0 else "down" for v in x[:, 0]] for x in X]
    part = [[t if k else None for t, k in zip(*both, strict=True)]
            for both in zip(tags, known, strict=True)]  # fmt: skip
    values = [np.where(k, x[:, 0], np.nan) for x, k in zip(X, known, strict=True)]
    return X, tags, part, values, known


@pytest.fixture(scope="module")
def tagger(walks):
    return SequenceTagger(**SMALL).fit(walks[0], walks[2])


def test_a_step_without_a_label_is_not_wrong(walks, tagger):
    X, tags, part, _, known = walks
    found, full = trace(tagger, X[0], part[0]), trace(tagger, X[0], tags[0])
    assert np.array_equal(found.is_wrong, full.is_wrong & known[0])
    assert str(found)
    found.plot()


def test_its_loss_and_its_gradient_are_none(walks, tagger):
    X, tags, part, _, known = walks
    found, full = bptt(tagger, X[0], part[0]), bptt(tagger, X[0], tags[0])
    assert (np.asarray(found.losses)[~known[0]] == 0).all()
    assert np.allclose(np.asarray(found.losses)[known[0]], np.asarray(full.losses)[known[0]])


def test_the_sequence_that_is_explained_is_chosen_by_labelled_steps(walks, tagger):
    X, _, part, _, known = walks
    chosen = choose_sequence(tagger, X, part)
    assert known[chosen.index][chosen.step]


def test_the_doctor_counts_labelled_steps_alone(walks, tagger):
    X, _, part, values, _ = walks
    found = doctor(tagger, X[:30], part[:30], held_out=(X[30:], part[30:]))
    assert str(found)
    regressor = SequenceRegressor(readout="every", **SMALL).fit(X, values)
    assert "nan" not in str(doctor(regressor, X[:30], values[:30], held_out=(X[30:], values[30:])))
    assert "nan" not in str(trace(regressor, X[0], values[0]))
