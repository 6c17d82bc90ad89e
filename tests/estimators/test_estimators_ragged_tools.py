"""scikit-learn's tools on sequences of unequal length, and other containers named in messages."""

import narwhals
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import cross_val_predict, cross_val_score  # noqa: TID253
from torch.nn.utils.rnn import pack_sequence

from elman import DataError, SequenceClassifier, SequenceRegressor, SequenceTagger, ShapeError

SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def walks():
    """24 walks of 3 to 7 steps, the sign of each step, and the sum up to it."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(3 + i % 5, 2)) for i in range(24)]
    tags = [["up" if v > 0 else "down" for v in x[:, 0]] for x in X]
    return X, tags, [x.sum(1).cumsum() for x in X]


@pytest.fixture(scope="module")
def tagger(walks):
    return SequenceTagger(**SMALL).fit(*walks[:2])


def objects(values):
    array = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def test_predictions_at_every_step_are_an_object_array(walks, tagger):
    X = walks[0]
    for found in (tagger.predict(X), tagger.predict_proba(X), tagger.predict([x[:3] for x in X])):
        assert found.shape == (24,) and found.dtype == object
        assert isinstance(found[0], np.ndarray)


def test_cross_val_predict_on_ragged_sequences(walks):
    X, tags, sums = walks
    found = cross_val_predict(SequenceTagger(**SMALL), X, tags, cv=3)
    assert [len(own) for own in found] == [len(own) for own in tags]
    assert set(np.concatenate(found)) <= {"up", "down"}
    found = cross_val_predict(SequenceTagger(**SMALL), X, objects(tags), cv=3)
    assert len(np.concatenate(found)) == sum(map(len, tags))
    found = cross_val_predict(SequenceRegressor(readout="every", **SMALL), X, sums, cv=3)
    assert [own.shape for own in found] == [own.shape for own in sums]
    assert cross_val_score(SequenceTagger(**SMALL), X, tags, cv=3).shape == (3,)


def test_the_score_of_a_tagger_has_weights(walks, tagger):
    X, tags, _ = walks
    right = [np.array(t) == p for t, p in zip(tags, tagger.predict(X), strict=True)]
    assert tagger.score(X, tags) == pytest.approx(np.concatenate(right).mean())
    first = [[1.0] + [0.0] * (len(t) - 1) for t in tags]
    assert tagger.score(X, tags, first) == pytest.approx(np.mean([r[0] for r in right]))
    by_sequence = np.arange(24.0)
    steps = np.repeat(by_sequence, [len(t) for t in tags])
    expected = np.average(np.concatenate(right), weights=steps)
    assert tagger.score(X, tags, by_sequence) == pytest.approx(expected)
    with pytest.raises(ShapeError, match="sample_weight: expected 24 numbers"):
        tagger.score(X, tags, [1.0])
    with pytest.raises(ShapeError, match="sequence 0: got 2 labels, expected 3"):
        tagger.score(X, [t[:2] for t in tags])


def test_a_model_in_training_mode_predicts_as_in_evaluation(walks):
    X, tags, _ = walks
    y = [t[-1] for t in tags]
    clf = SequenceClassifier(dropout=0.5, num_layers=2, **SMALL).fit(X, y)
    expected = clf.predict_proba(X)
    clf.model_.train()
    assert np.array_equal(clf.predict_proba(X), expected)
    assert np.array_equal(clf.predict_proba(X), expected)
    assert all(check.worst == 0 for check in clf.check(X))
    assert clf.model_.training and clf.model_.recurrent.training  # as the user left it


def test_containers_that_hold_no_sequences_are_named(walks):
    X, tags, _ = walks
    y = [t[-1] for t in tags]
    clf = SequenceClassifier(**SMALL)
    packed = pack_sequence([torch.from_numpy(x) for x in X], enforce_sorted=False)
    with pytest.raises(DataError, match=r"X is a PackedSequence.*unpack_sequence"):
        clf.fit(packed, y)
    with pytest.raises(DataError, match=r"X is a LazyFrame.*Give X.collect\(\)"):
        clf.fit(narwhals.from_native(pd.DataFrame({"a": np.arange(24.0)})).lazy(), y)
    rows, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    again = [row[:n].numpy() for row, n in zip(rows, lengths, strict=True)]
    assert np.array_equal(clf.fit(again, y).predict(again), clf.fit(X, y).predict(X))
