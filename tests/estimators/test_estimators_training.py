"""What fit promises: seeds, what the validation split may touch, Ctrl-C, a plain loop's numbers."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from elman import SequenceClassifier, SequenceTagger
from elman.data import Ragged
from elman.data.builtin import load_task
from elman.data.splits import hold_out
from elman.errors import DataError
from elman.models import SequenceModel

SMALL = {"hidden_size": 5, "epochs": 2, "batch_size": 8, "random_state": 0}


@pytest.mark.parametrize("kind", ["numbers", "tokens"])
def test_the_same_seed_gives_the_same_bits(kind, data):
    X, y = data[kind]
    options = {**SMALL, "dropout": 0.3, "num_layers": 2}
    first = SequenceClassifier(**options).fit(X, y)
    torch.manual_seed(99)
    np.random.seed(99)
    second = SequenceClassifier(**options).fit(X, y)
    third = first.model_
    first.fit(X, y)  # nothing of an earlier fit is left
    for model in (first.model_, second.model_):
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, third.state_dict()[name]), name
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert [e.loss for e in first.history_.epochs] == [e.loss for e in second.history_.epochs]
    numpy_seed = SequenceClassifier(**{**options, "random_state": np.int64(0)}).fit(X, y)
    np.testing.assert_array_equal(numpy_seed.predict_proba(X), first.predict_proba(X))
    other = SequenceClassifier(**{**options, "random_state": 1}).fit(X, y)
    assert not np.array_equal(other.predict_proba(X), first.predict_proba(X))


@pytest.mark.parametrize("kind", ["numbers", "tokens"])
def test_the_callers_chance_and_threads_are_left_alone(kind, data, tmp_path):
    import sklearn.linear_model  # noqa: F401 - imported first, it draws a random number

    X, y = data[kind]

    def state():
        return (
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),
            np.random.get_state()[2],
            random.getstate(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
        )

    before = state()
    model = SequenceClassifier(**{**SMALL, "dropout": 0.3, "threads": 2}).fit(X, y)
    assert state() == before
    model.predict(X)
    model.evaluate(X, y)
    model.check(X)
    model.save(tmp_path / "m")
    assert state() == before


def test_random_state_none_follows_numpy(numbers):
    """As in scikit-learn: another result each time, and the same after numpy.random.seed."""
    X, y = numbers
    model = SequenceClassifier(**{**SMALL, "random_state": None})
    first, second = (model.fit(X, y).predict_proba(X) for _ in range(2))
    assert not np.array_equal(first, second)
    np.random.seed(5)
    third = model.fit(X, y).predict_proba(X)
    np.random.seed(5)
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), third)
    generator = np.random.RandomState(5)
    model.set_params(random_state=generator)
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), third)


def test_the_split_is_stratified(numbers):
    labels = np.array(["a"] * 60 + ["b"] * 30 + ["c"] * 10)
    first, second = hold_out(100, 0.2, 0, labels)
    assert [(labels[second] == c).sum() for c in "abc"] == [12, 6, 2]
    assert sorted([*first, *second]) == list(range(100))
    assert (np.diff(first) > 0).all()
    assert (np.diff(second) > 0).all()
    assert not np.array_equal(second, hold_out(100, 0.2, 1, labels)[1])


@pytest.mark.parametrize("seed", range(6))
def test_a_rare_tag_stays_in_the_training_part(seed):
    labels = Ragged.from_list([np.array(["A", "B"])] * 9 + [np.array(["A", "rare"])], object)
    first, second = hold_out(10, 0.5, seed, labels)
    assert 9 in first
    assert sorted([*first, *second]) == list(range(10))
    with pytest.raises(DataError, match="every sequence has a label that no other has"):
        hold_out(3, 0.3, seed, Ragged.from_list([np.array([c]) for c in "abc"], object))


@pytest.mark.parametrize("where", ["validation", "training"])
def test_scaling_is_fitted_on_the_training_part_only(where, numbers):
    """An outlier in the validation split changes nothing in what is learnt."""
    X, y = numbers
    options = {**SMALL, "validation": 0.25, "keep": "last", "patience": 0}
    first, second = hold_out(len(X), 0.25, 0, np.array(y))
    at = (second if where == "validation" else first)[0]
    spoilt = list(X)
    spoilt[at] = X[at] + 1e4
    clean, dirty = (SequenceClassifier(**options).fit(x, y) for x in (X, spoilt))
    training = np.concatenate([X[i] for i in first])
    np.testing.assert_array_equal(clean.encoder_.mean, training.mean(0))
    np.testing.assert_array_equal(clean.encoder_.scale, training.std(0))
    unchanged = np.array_equal(dirty.encoder_.mean, clean.encoder_.mean)
    same = [e.loss for e in clean.history_.epochs] == [e.loss for e in dirty.history_.epochs]
    assert unchanged == same == (where == "validation")
    watched = [m.history_.epochs[0].validation_loss for m in (clean, dirty)]
    assert watched[0] != watched[1]


def test_the_vocabulary_comes_from_the_training_part_only(tokens):
    X, y = tokens
    first, second = hold_out(len(X), 0.25, 0, np.array(y))
    X = [[*s, f"only{i}"] for i, s in enumerate(X)]
    model = SequenceClassifier(**SMALL, validation=0.25).fit(X, y)
    assert all(f"only{i}" in model.encoder_.vocabulary for i in first)
    assert not any(f"only{i}" in model.encoder_.vocabulary for i in second)
    assert model.count_unknown(X) == {f"only{i}": 1 for i in second}


def test_validation_data_of_ones_own(numbers):
    X, y = numbers
    model = SequenceClassifier(**SMALL, validation=0.25).fit(
        X[:16], y[:16], validation_data=(X[16:], y[16:])
    )
    training = np.concatenate(X[:16])
    np.testing.assert_array_equal(model.encoder_.mean, training.mean(0))
    assert model.history_.epochs[0].validation_accuracy * 8 % 1 == 0
    none = SequenceClassifier(**SMALL, validation=0.0).fit(X, y)
    assert none.history_.epochs[0].validation_loss is None
    assert none.history_.kept_epoch == 2


def test_the_best_weights_are_the_ones_that_are_kept(numbers):
    X, _ = numbers
    y = np.random.default_rng(5).permutation([0, 1] * 12)
    held = X[:8], y[:8]
    model = SequenceClassifier(**{**SMALL, "epochs": 15, "learning_rate": 0.05}).fit(
        X[8:], y[8:], validation_data=held
    )
    record = min(model.history_.epochs, key=lambda e: e.validation_loss)
    assert record.epoch == model.history_.kept_epoch < 15
    report = model.evaluate(*held, resamples=0)
    assert report.log_loss == pytest.approx(record.validation_loss, abs=1e-5)
    assert report.accuracy == record.validation_accuracy


def test_epochs_are_told_as_they_end(numbers):
    X, y = numbers
    heard = []
    model = SequenceClassifier(**SMALL).fit(X, y, on_epoch=heard.append)
    assert heard == model.history_.epochs
    assert [e.epoch for e in heard] == [1, 2]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_ctrl_c_keeps_the_model_so_far(keep, numbers):
    X, y = numbers

    def stop(record):
        if record.epoch == 2:
            raise KeyboardInterrupt

    options = {**SMALL, "epochs": 50, "schedule": "constant", "warmup": 0.0, "keep": keep}
    model = SequenceClassifier(**options).fit(X, y, on_epoch=stop)
    assert model.history_.stopped == "interrupted after epoch 2"
    short = SequenceClassifier(**{**options, "epochs": 2}).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), short.predict_proba(X))


def test_ctrl_c_in_the_first_epoch_leaves_nothing(numbers, monkeypatch):
    X, y = numbers

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("elman.train.gradients.OneCall.__call__", stop)
    model = SequenceClassifier(**SMALL)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not hasattr(model, "model_")
    assert not hasattr(model, "classes_")


def plain_loop(X, y, weights, epochs):
    """Recipe B as anyone would write it: all sequences at once, Adam, no tricks."""
    torch.manual_seed(1)
    rnn, linear = nn.RNN(1, 16, batch_first=True), nn.Linear(16, 2)
    rnn.load_state_dict({k.removeprefix("recurrent."): v for k, v in weights.items() if "_l0" in k})
    linear.load_state_dict({k[7:]: v for k, v in weights.items() if k.startswith("output.")})
    parameters = [*rnn.parameters(), *linear.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    x, target = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    losses = []
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(linear(rnn(x)[1][0]), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        return losses, torch.softmax(linear(rnn(x)[1][0]).double(), -1).numpy()


def test_recipe_b_equals_a_plain_loop(monkeypatch):
    train, test = load_task("sum-threshold", 0)
    X = np.stack(list(train.inputs))
    y = train.target.astype(int)
    weights = {}
    construct = SequenceModel.__init__

    def spy(self, config, generator):
        construct(self, config, generator)
        weights.update({k: v.clone() for k, v in self.state_dict().items()})

    monkeypatch.setattr(SequenceModel, "__init__", spy)
    model = SequenceClassifier(
        cell="rnn",
        bidirectional=False,
        hidden_size=16,
        epochs=50,
        batch_size="full",
        learning_rate=0.01,
        optimizer="adam",
        schedule="constant",
        warmup=0.0,
        clip_norm=0.0,
        initialization="torch",
        scale=False,
        validation=0.0,
        random_state=0,
    ).fit(X, y)
    losses, probabilities = plain_loop(X, y, weights, 50)
    np.testing.assert_allclose([e.loss for e in model.history_.epochs], losses, rtol=1e-4)
    np.testing.assert_allclose(model.predict_proba(X), probabilities, atol=2e-4)
    assert model.history_.epochs[0].loss == pytest.approx(losses[0], rel=1e-6)
    assert 0.88 <= model.score(np.stack(list(test.inputs)), test.target.astype(int)) <= 0.98


def test_first_weights_are_torchs(monkeypatch):
    """initialization='torch' with a seed gives nn.RNN's and nn.Linear's own for that seed."""
    weights = {}

    def see(model, *_, **__):
        weights.update(model.state_dict())
        raise KeyboardInterrupt

    monkeypatch.setattr("elman.estimators.base.train", see)
    model = SequenceClassifier(
        cell="rnn",
        bidirectional=False,
        hidden_size=7,
        initialization="torch",
        validation=0.0,
        random_state=3,
    )
    with pytest.raises(KeyboardInterrupt):
        model.fit(np.zeros((4, 3)), [0, 1, 0, 1])
    torch.manual_seed(3)
    rnn, linear = nn.RNN(1, 7, batch_first=True), nn.Linear(7, 2)
    for name, tensor in rnn.state_dict().items():
        assert torch.equal(weights[f"recurrent.{name}"], tensor), name
    for name, tensor in linear.state_dict().items():
        assert torch.equal(weights[f"output.{name}"], tensor), name


def test_a_one_way_tagger_does_not_look_ahead(numbers, tags):
    X, _ = numbers
    model = SequenceTagger(**SMALL, bidirectional=False).fit(X, tags(X))
    both = SequenceTagger(**SMALL, bidirectional=True).fit(X, tags(X))
    x = np.vstack([X[4], X[3]])
    whole, start = model.predict_proba([x])[0], model.predict_proba([x[:3]])[0]
    np.testing.assert_allclose(whole[:3], start, rtol=0, atol=1e-6)
    assert not np.allclose(both.predict_proba([x])[0][:3], both.predict_proba([x[:3]])[0])


def test_what_is_learnt_is_better_than_chance(data, tags):
    options = {"epochs": 30, "hidden_size": 8, "batch_size": 4, "patience": 0}
    options |= {"learning_rate": 0.01, "random_state": 0}
    for X, y in data.values():
        model = SequenceClassifier(**options).fit(X, y)
        assert model.score(X, y) > 0.9
        tagger = SequenceTagger(**options).fit(X, tags(X))
        assert tagger.score(X, tags(X)) > 0.9
