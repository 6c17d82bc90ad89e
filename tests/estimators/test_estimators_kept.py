"""`kept_epochs_`: the weights of epochs on the way, in every estimator and through every copy."""

import copy
import pickle

import numpy as np
import pytest
import torch
from cases import same_bits

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger, load
from elman.errors import ModelFileError
from elman.estimators.storage import FittedState

SMALL = {"hidden_size": 4, "epochs": 6, "batch_size": 16, "random_state": 3}
RNG = np.random.default_rng(0)
X = [RNG.normal(size=(RNG.integers(2, 7), 2)).astype(np.float32) for _ in range(40)]
LABELS = [int(x.sum() > 0) for x in X]
STEPS = [(x[:, 0] > 0).astype(int) for x in X]
TOKENS = [[str(int(v > 0)) for v in x[:, 0]] for x in X]
NUMBERS = [float(x.mean()) for x in X]
CASES = {
    "classes": (SequenceClassifier, {"keep": "best", "validation": 0.3, "patience": 0}, X, LABELS),
    "tokens": (SequenceClassifier, {"cell": "lstm", "num_layers": 2}, TOKENS, LABELS),
    "tags": (SequenceTagger, {"bidirectional": False, "tbptt": 2}, X, STEPS),
    "numbers": (SequenceRegressor, {"cell": "rnn", "readout": "mean"}, X, NUMBERS),
}


def fresh(estimator):
    """The estimator as it was before it was fitted."""
    from sklearn.base import clone

    return clone(estimator)


def same_epochs(one, other):
    assert one.keys() == other.keys()
    assert all(same_bits(one[epoch], other[epoch]) for epoch in one)


@pytest.fixture(scope="module", params=CASES)
def fitted(request):
    kind, options, data, target = CASES[request.param]
    return kind(**SMALL, **options, keep_epochs=2).fit(data, target), data, target


def test_they_are_kept_and_change_nothing(fitted):
    estimator, data, target = fitted
    found = estimator.kept_epochs_
    assert {0, 6, estimator.history_.kept_epoch} <= found.keys()
    assert found.keys() <= {0, 1, 4, 6, estimator.history_.kept_epoch}
    own = estimator.model_.state_dict()
    assert same_bits(found[estimator.history_.kept_epoch], own)
    assert not same_bits(found[0], own)
    without = fresh(estimator).set_params(keep_epochs=None).fit(data, target)
    assert without.kept_epochs_ == {}
    assert same_bits(without.model_.state_dict(), own)


def test_the_first_are_the_initial_weights(fitted):
    """Epoch 0 is the network that a training of one batch at a rate of almost 0 stays with."""
    estimator, data, target = fitted
    still = {"epochs": 1, "learning_rate": 1e-30, "weight_decay": 0.0, "keep_epochs": 1}
    if estimator.validation:
        still |= {"keep": "last"}
    other = fresh(estimator).set_params(**still).fit(data, target)
    assert same_bits(other.kept_epochs_[0], estimator.kept_epochs_[0])


def test_every_copy_has_them(fitted, tmp_path):
    estimator, *_ = fitted
    found = estimator.kept_epochs_
    same_epochs(pickle.loads(pickle.dumps(estimator)).kept_epochs_, found)
    same_epochs(copy.deepcopy(estimator).kept_epochs_, found)
    estimator.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    same_epochs(loaded.kept_epochs_, found)
    assert loaded.keep_epochs == 2
    size = (tmp_path / "m" / "model.safetensors").stat().st_size
    loaded.save(tmp_path / "m", kept_epochs=False)
    assert load(tmp_path / "m").kept_epochs_ == {}
    assert (tmp_path / "m" / "model.safetensors").stat().st_size < size
    unfitted = fresh(estimator)
    assert unfitted.keep_epochs == 2
    with pytest.raises(AttributeError, match=r"kept_epochs_: .* not fitted yet"):
        _ = unfitted.kept_epochs_


def test_damaged_ones_are_refused(fitted, tmp_path, monkeypatch):
    estimator, *_ = fitted
    to_tensors = FittedState.to_tensors

    def damaged(self, kept_epochs):
        tensors = to_tensors(self, kept_epochs)
        tensors["epochs.numbers"] = tensors["epochs.numbers"] * 3  # up to epoch 18
        return tensors

    with monkeypatch.context() as patch:
        patch.setattr(FittedState, "to_tensors", damaged)
        estimator.save(tmp_path / "m")
    with pytest.raises(
        ModelFileError, match="kept epochs: got 18, expected an epoch of the training"
    ):
        load(tmp_path / "m")


def test_passes_of_partial_fit_are_epochs():
    estimator = SequenceClassifier(**SMALL, keep_epochs=2)
    weights = {}
    for number in range(1, 6):
        estimator.partial_fit(X, LABELS)
        weights[number] = {n: t.clone() for n, t in estimator.model_.state_dict().items()}
    found = estimator.kept_epochs_
    assert found.keys() == {0, 1, 4, 5}
    weights[0] = SequenceClassifier(**SMALL, keep_epochs=1).partial_fit(X, LABELS).kept_epochs_[0]
    same_epochs(found, {epoch: weights[epoch] for epoch in found})


def test_a_warm_start_begins_with_the_present_weights():
    estimator = SequenceClassifier(**SMALL, keep_epochs=1, warm_start=True).fit(X, LABELS)
    before = {name: t.clone() for name, t in estimator.model_.state_dict().items()}
    estimator.fit(X, LABELS)
    assert same_bits(estimator.kept_epochs_[0], before)
    assert estimator.kept_epochs_.keys() == {0, 1, 6}


def test_interrupted_the_last_that_ended_is_kept():
    def stop(record):
        if record.epoch == 3:
            raise KeyboardInterrupt

    estimator = SequenceClassifier(**SMALL, keep_epochs=20).fit(X, LABELS, on_epoch=stop)
    assert [*estimator.kept_epochs_] == [0, 1, 2, 3]
    assert same_bits(estimator.kept_epochs_[3], estimator.model_.state_dict())
    assert torch.isfinite(estimator.kept_epochs_[3]["output.bias"]).all()
