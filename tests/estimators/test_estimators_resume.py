"""Training that goes on: `partial_fit` keeps the optimizer too, `warm_start` the weights."""

import copy
import pickle

import numpy as np
import pytest
import torch

from elman import (
    DataError,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    SettingsError,
    ShapeError,
    load,
)

SMALL = {"hidden_size": 4, "batch_size": 8, "random_state": 0}
# What partial_fit does, by fit.
STEADY = {"schedule": "constant", "warmup": 0.0, "validation": 0.0}


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.model_.parameters()])


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_passes_are_epochs(optimizer, numbers):
    """One batch, so that an order only rounds: three passes are three epochs."""
    X, y = numbers
    options = {**SMALL, "batch_size": "full", "optimizer": optimizer, "noise": 0}
    whole = SequenceClassifier(**options, **STEADY, epochs=3).fit(X, y)
    parts = SequenceClassifier(**options)
    for _ in range(3):
        assert parts.partial_fit(X, y) is parts
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-5, atol=1e-6)
    assert [r.epoch for r in parts.history_.epochs] == [1, 2, 3]
    assert parts.history_.kept_epoch == 3
    for one, two in zip(parts.history_.epochs, whole.history_.epochs, strict=True):
        assert one.loss == pytest.approx(two.loss, rel=1e-5)
        assert one.gradient_norm == pytest.approx(two.gradient_norm, rel=1e-4)


def test_the_optimizer_goes_on_also_in_a_copy_and_by_autograd(numbers):
    X, y = numbers
    first = SequenceClassifier(**SMALL).partial_fit(X, y)
    copied, loaded = pickle.loads(pickle.dumps(first)), copy.deepcopy(first)
    fresh = copy.deepcopy(first)
    fresh._memory = {}
    for model in (first, copied, loaded, fresh):
        model.partial_fit(X, y)
    torch.testing.assert_close(weights(copied), weights(first), rtol=0, atol=0)
    torch.testing.assert_close(weights(loaded), weights(first), rtol=0, atol=0)
    assert not torch.equal(weights(fresh), weights(first))
    # Weights of one are those of none, but go by autograd.
    other = copy.deepcopy(first)
    first.partial_fit(X, y)
    other.partial_fit(X, y, sample_weight=np.ones(len(X)))
    assert "autograd" in other.history_.gradients
    torch.testing.assert_close(weights(other), weights(first), rtol=1e-4, atol=1e-5)


def test_classes_are_told_at_first(numbers):
    X, _ = numbers
    model = SequenceClassifier(**SMALL).partial_fit(X[:6], ["b"] * 6, classes=["a", "b", "c"])
    assert model.classes_.tolist() == ["a", "b", "c"]
    model.partial_fit(X[6:12], ["a"] * 6).partial_fit(X[12:], ["c"] * 12, classes=["a", "b", "c"])
    assert model.predict_proba(X).shape == (24, 3)
    assert pickle.loads(pickle.dumps(model)).classes_.tolist() == ["a", "b", "c"]
    with pytest.raises(DataError, match="classes that training has not seen: 'd'"):
        model.partial_fit(X[:2], ["a", "d"])
    with pytest.raises(SettingsError, match="training continues with"):
        model.partial_fit(X[:2], ["a", "b"], classes=["a", "b"])
    with pytest.raises(DataError, match="one class only"):
        SequenceClassifier(**SMALL).partial_fit(X[:2], ["a", "a"])
    with pytest.raises(SettingsError, match="numbers are predicted, which have none"):
        SequenceRegressor(**SMALL).partial_fit(X[:2], [0.5, 1.0], classes=[1, 2])


def test_the_encoder_is_fixed_by_the_first_call(numbers, tokens):
    X, y = numbers
    model = SequenceClassifier(**SMALL).partial_fit(X[:12], y[:12])
    mean = model.encoder_.mean
    model.partial_fit([x + 5 for x in X[12:]], y[12:])
    np.testing.assert_array_equal(model.encoder_.mean, mean)
    with pytest.raises(ShapeError, match="X has 1 channels, expected 2 as in training"):
        model.partial_fit([x[:, :1] for x in X], y)
    X, y = tokens
    model = SequenceClassifier(**SMALL).partial_fit(X, y)
    size = model.encoder_.vocabulary_size
    model.partial_fit([["new", "words"]] * 4, ["y", "n"] * 2)
    assert model.encoder_.vocabulary_size == size


def test_tagger_and_regressor(numbers, tags):
    X, _ = numbers
    tagger = SequenceTagger(**SMALL).partial_fit(X, tags(X))
    before = weights(tagger)
    assert not torch.equal(weights(tagger.partial_fit(X, tags(X))), before)
    values = np.array([x.mean() for x in X])
    regressor = SequenceRegressor(**SMALL, learning_rate=0.03).partial_fit(X, values)
    first = regressor.score(X, values)
    for _ in range(20):
        regressor.partial_fit(X, values)
    assert regressor.score(X, values) > max(first, 0.5)


def test_what_cannot_go_on(numbers):
    X, y = numbers
    model = SequenceClassifier(**SMALL).partial_fit(X, y)
    kept = weights(model)
    with pytest.raises(SettingsError, match="hidden_size: got 5, but training continues from a"):
        model.set_params(hidden_size=5).partial_fit(X, y)
    model.set_params(hidden_size=4, optimizer="sgd")
    with pytest.raises(SettingsError, match="cannot continue from the state of the optimizer"):
        model.partial_fit(X, y)
    model.set_params(optimizer="adamw", class_weight="balanced")
    with pytest.raises(SettingsError, match="'balanced', which partial_fit cannot know"):
        model.partial_fit(X, y)
    assert torch.equal(weights(model), kept)
    model.set_params(class_weight=None, dropout=0.5).partial_fit(X, y)
    assert model.model_.config.dropout == 0.5


def test_warm_start(numbers, tmp_path):
    X, y = numbers
    options = {**SMALL, **STEADY, "epochs": 2, "optimizer": "sgd", "clip_norm": 0.0}
    model = SequenceClassifier(**options, warm_start=True).fit(X, y)
    once = weights(model)
    twice = weights(model.fit(X, y))
    assert len(model.history_.epochs) == 2
    anew = SequenceClassifier(**options).fit(X, y)
    assert torch.equal(weights(anew), once)
    assert torch.equal(weights(anew.fit(X, y)), once)
    assert not torch.equal(twice, once)
    # It went on from there: a step of nothing leaves the weights where they were.
    still = model.set_params(learning_rate=1e-12).fit(X, y)
    torch.testing.assert_close(weights(still), twice)
    with pytest.raises(
        SettingsError, match="cell: got 'rnn', but training continues from a network"
    ):
        model.set_params(cell="rnn").fit(X, y)
    model.set_params(cell=None).save(tmp_path / "m")
    assert torch.equal(weights(load(tmp_path / "m").fit(X, y)), weights(still.fit(X, y)))
