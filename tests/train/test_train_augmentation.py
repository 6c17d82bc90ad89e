"""Noise on numbers: as much as asked for, where it belongs, in training only."""

import numpy as np
import pytest
import torch

from elman import SequenceClassifier, SequenceRegressor
from elman.data.batches import Examples, make_batch
from elman.data.ragged import Ragged
from elman.errors import SettingsError
from elman.settings import TrainingSettings
from elman.train.examples import Augmentation

SMALL = {"hidden_size": 4, "epochs": 2, "batch_size": 8, "random_state": 0}


def examples(measured):
    values = np.zeros((4000, 3), np.float32)
    return Examples(
        Ragged(values, np.arange(0, 4001, 20)), np.zeros(200, np.int64), measured=measured
    )


@pytest.mark.parametrize("measured", [0, 2, 3])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_noise_of_the_deviation_on_what_was_measured(noise, measured):
    data = examples(measured)
    settings = TrainingSettings(noise=noise).resolve(False)
    batch = make_batch(data, np.arange(200))
    before = batch.x.clone()
    torch.manual_seed(0)
    augment = Augmentation(data, settings, 3)
    first, second = augment(batch), augment(batch)
    assert torch.equal(batch.x, before)
    assert torch.equal(first.x[:, :, measured:], before[:, :, measured:])
    if not (noise and measured):
        assert first is batch
        return
    added = (first.x - before)[:, :, :measured].flatten().numpy()
    assert abs(added.mean()) < 4 * noise / len(added) ** 0.5
    assert added.std() == pytest.approx(noise, rel=0.04)
    assert not torch.equal(first.x, second.x)
    assert first.target is batch.target


def data(n=24):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(3 + i % 4, 2)) for i in range(n)]
    return X, ["a", "b"] * (n // 2)


def test_only_training_is_disturbed_and_by_the_seed():
    X, y = data()
    plain = SequenceClassifier(**SMALL, noise=0).fit(X, y)
    noisy = SequenceClassifier(**SMALL, noise=0.5).fit(X, y)
    again = SequenceClassifier(**SMALL, noise=0.5).fit(X, y)
    assert noisy.history_.gradients.startswith("gradients by one native call")
    assert not np.array_equal(noisy.predict_proba(X), plain.predict_proba(X))
    assert np.array_equal(noisy.predict_proba(X), again.predict_proba(X))
    assert np.array_equal(noisy.predict_proba(X), noisy.predict_proba(X))


def test_which_column_was_missing_is_not_disturbed():
    """The mask beside a channel with gaps says 0 or 1 and nothing between."""
    X, y = data()
    X[0] = X[0].copy()
    X[0][1, 0] = np.nan
    X[1] = X[1].copy()
    X[1][0, 0] = np.nan
    model = SequenceClassifier(**SMALL, noise=1e6, validation=0).fit(X, y)
    encoder = model.encoder_
    inputs = encoder.encode(X)
    assert inputs.values.shape[1] == 3
    training = Examples(inputs, np.zeros(len(X), np.int64), measured=len(encoder.mean))
    settings = TrainingSettings(noise=1e6).resolve(False)
    x = Augmentation(training, settings, 3)(make_batch(training, np.arange(len(X)))).x
    assert set(x[:, :, 2].unique().tolist()) == {0.0, 1.0}
    assert x[:, :, :2].abs().min() > 1


def test_words_have_none():
    with pytest.raises(SettingsError, match=r"noise: got 0\.1, but the sequences are tokens"):
        SequenceClassifier(**SMALL, noise=0.1).fit([["a", "b"]] * 8, ["x", "y"] * 4)


def test_a_regressor_takes_it():
    X, _ = data()
    model = SequenceRegressor(**SMALL, noise=0.2).fit(X, [x.sum() for x in X])
    assert np.isfinite(model.predict(X)).all()
