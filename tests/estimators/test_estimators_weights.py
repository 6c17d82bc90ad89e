"""Class weights and sample weights: how they are written, what they come to, what they do."""

import json

import numpy as np
import pytest
from sklearn.base import clone  # noqa: TID253
from sklearn.utils.class_weight import compute_class_weight  # noqa: TID253

from elman import SequenceClassifier, SequenceTagger, load
from elman.data.ragged import Ragged
from elman.errors import DataError, SettingsError, ShapeError
from elman.estimators.weights import class_weights, sample_weights
from elman.runs.config import merge, read_toml, to_toml

SMALL = {"hidden_size": 5, "epochs": 2, "batch_size": 8, "random_state": 0}
LABELS = np.array(["a", "b", "b", "c", "b", "b"])


def uneven(n=60, seed=0):
    """Sequences of which one in six is of the second class, hard to tell apart."""
    rng = np.random.default_rng(seed)
    y = [int(i % 6 == 0) for i in range(n)]
    return [rng.normal(0.7 * k, 1, (2 + i % 4, 2)) for i, k in enumerate(y)], y


def test_balanced_is_scikit_learns():
    classes, counts = np.unique(LABELS, return_counts=True)
    expected = compute_class_weight("balanced", classes=classes, y=LABELS)
    np.testing.assert_allclose(class_weights("balanced", classes, counts), expected)


def test_weights_by_label():
    classes = np.array(["a", "b", "c"])
    counts = np.array([1, 4, 1])
    assert class_weights(None, classes, counts) is None
    assert class_weights({"c": 3, "a": 0.5}, classes, counts).tolist() == [0.5, 1, 3]
    for numbers in ({1: 2.0}, {"1": 2.0}, {np.int64(1): 2.0}):  # in a file a label is text
        assert class_weights(numbers, np.array([0, 1]), counts).tolist() == [1, 2]
    with pytest.raises(SettingsError, match=r"there is no class 'bb'.* Did you mean 'b'"):
        class_weights({"bb": 1.0}, np.array(["a", "b"]), counts)


@pytest.mark.parametrize("given", ["even", {"a": 0}, {"a": -1.0}, {"a": "x"}, 3])
def test_other_class_weights_are_refused(given):
    X, y = uneven(12)
    with pytest.raises(SettingsError, match="class_weight: got"):
        SequenceClassifier(class_weight=given, **SMALL).fit(X, y)


def test_a_balanced_loss_finds_more_of_the_rare_class():
    X, y = uneven(120)
    settings = {**SMALL, "epochs": 15, "validation": 0}
    plain = SequenceClassifier(**settings).fit(X, y)
    balanced = SequenceClassifier(class_weight="balanced", **settings).fit(X, y)
    assert "one native call" in balanced.history_.gradients
    found = [np.mean(model.predict(X)) for model in (plain, balanced)]
    assert found[0] < found[1]
    share = balanced.predict_proba(X)[:, 1].mean()
    by_hand = SequenceClassifier(class_weight={0: 0.6, 1: 3.0}, **settings).fit(X, y)
    assert by_hand.predict_proba(X)[:, 1].mean() == pytest.approx(share)


def test_a_taggers_weights_are_over_steps():
    X, _ = uneven(24)
    y = [(x[:, 0] > 1).astype(int) for x in X]
    counts = np.bincount(np.concatenate(y))
    n = counts.sum()
    asked = {k: float(n / (2 * counts[k])) for k in (0, 1)}
    settings = {**SMALL, "validation": 0}
    one = SequenceTagger(class_weight="balanced", **settings).fit(X, y)
    two = SequenceTagger(class_weight=asked, **settings).fit(X, y)
    np.testing.assert_array_equal(one.predict_proba(X)[3], two.predict_proba(X)[3])
    three = SequenceTagger(**settings).fit(X, y)
    assert (three.predict_proba(X)[3] != one.predict_proba(X)[3]).any()


@pytest.mark.parametrize("estimator", [SequenceClassifier, SequenceTagger])
def test_a_weight_of_zero_is_leaving_out(estimator):
    X, y = uneven(30)
    y = y if estimator is SequenceClassifier else [(x[:, 0] > 0).tolist() for x in X]
    weight = np.ones(30)
    weight[[3, 8, 20]] = 0
    kept = np.flatnonzero(weight)
    with_zeros = estimator(**SMALL).fit(X, y, sample_weight=weight)
    without = estimator(**SMALL).fit(
        [X[i] for i in kept], [y[i] for i in kept], sample_weight=np.ones(27)
    )
    # Weights of 1 at every labelled step are none.
    tagger = estimator is SequenceTagger
    assert ("one native call" if tagger else "weights of") in with_zeros.history_.gradients
    np.testing.assert_array_equal(with_zeros.predict_proba(X)[0], without.predict_proba(X)[0])


def test_only_the_proportion_of_weights_matters():
    X, y = uneven(30)
    weight = np.random.default_rng(0).random(30) + 0.1
    found = [
        SequenceClassifier(**SMALL).fit(X, y, sample_weight=w).predict_proba(X)
        for w in (weight, 2 * weight, np.ones(30))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_a_step_can_have_a_weight():
    X, _ = uneven(30)
    y = [(x[:, 0] > 0).astype(int) for x in X]
    lists = [np.full(len(x), 1.0 + i % 3) for i, x in enumerate(X)]
    each = [1.0 + i % 3 for i in range(30)]
    found = [
        SequenceTagger(**SMALL).fit(X, y, sample_weight=w).predict_proba(X)[0]
        for w in (lists, Ragged.from_list(lists), each)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_weights_of_the_part_that_is_watched():
    X, y = uneven(30)
    losses = []
    for weight in (np.ones(30), np.arange(30)):
        model = SequenceClassifier(**SMALL).fit(X, y, validation_data=(X, y, weight))
        losses.append(model.history_.epochs[0].validation_loss)
    assert losses[0] != losses[1]
    model = SequenceClassifier(**SMALL).fit(X, y, validation_data=(X, y))
    assert model.history_.epochs[0].validation_loss == pytest.approx(losses[0])


BAD = [
    ([1.0], ShapeError, "expected 3 numbers, one a sequence"),
    (3.0, ShapeError, "expected 3 numbers"),
    ([1.0, "x", 2.0], DataError, "something that is no number"),
    ([1.0, -1.0, 2.0], DataError, "below 0"),
    ([1.0, np.nan, 2.0], DataError, "not finite"),
    ([0, 0, 0], DataError, "all zero"),
    ([[1.0], [1.0], [1.0]], ShapeError, r"got shape \(3, 1\)"),
]


@pytest.mark.parametrize(("given", "kind", "message"), BAD)
def test_sample_weights_that_are_refused(given, kind, message):
    with pytest.raises(kind, match=message):
        sample_weights(given, np.array([2, 3, 1]), per_step=False)


def test_sample_weights_of_steps_that_are_refused():
    lengths = np.array([2, 3])
    with pytest.raises(ShapeError, match="sequence 1: got 2 numbers, expected 3, one a step"):
        sample_weights([[1, 1], [1, 1]], lengths, per_step=True)
    with pytest.raises(ShapeError, match="expected one a sequence"):
        sample_weights(Ragged.from_list([[1.0, 1], [1, 1, 1]]), lengths, per_step=False)


def test_weights_survive_saving_and_cloning(tmp_path):
    X, y = uneven(24)
    model = SequenceClassifier(class_weight={0: 1.0, 1: 4.0}, loss="focal", **SMALL).fit(X, y)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert json.loads((tmp_path / "model" / "config.json").read_text())["parameters"]["loss"]
    refit = clone(again).fit(X, y)
    np.testing.assert_array_equal(refit.predict_proba(X), model.predict_proba(X))


def test_class_weights_in_a_settings_file(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('[training.class_weight]\nup = 2\n"a \\" b" = 0.5\n')
    settings = merge(file=read_toml(path))
    assert settings.training.class_weight == {"up": 2.0, 'a " b': 0.5}
    path.write_text(to_toml(settings))
    assert merge(file=read_toml(path)) == settings
    path.write_text("[training.class_weight]\nup = 0\n")
    with pytest.raises(SettingsError, match="class_weight: got"):
        merge(file=read_toml(path))


@pytest.mark.parametrize(
    "weight", [np.array([1.0, 2.0]), [1, 2], (1.0, 2.0), np.array([1, 2], np.int32)]
)
def test_class_weights_without_their_classes_are_refused_with_the_way_to_name_them(weight):
    X, y = uneven(12)
    with pytest.raises(SettingsError, match=r"class_weight: got a \w+ of 2, expected 'balanced'"):
        SequenceClassifier(**SMALL, class_weight=weight).fit(X, y)


def test_class_weights_of_numpys_own_numbers(tmp_path):
    X, y = uneven(12)
    classes = np.unique(y)
    named = dict(zip(classes, np.array([1, 3], np.float32), strict=True))  # what the message says
    model = SequenceClassifier(**SMALL, class_weight=named).fit(X, y)
    plain = {str(label): float(weight) for label, weight in named.items()}
    other = SequenceClassifier(**SMALL, class_weight=plain).fit(X, y)
    assert np.array_equal(model.predict_proba(X), other.predict_proba(X))
    model.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").predict_proba(X), other.predict_proba(X))
