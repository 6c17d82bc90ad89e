"""Several labels a sequence: every form of y, weights, figures, saving, what is refused."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score  # noqa: TID253
from sklearn.model_selection import cross_val_score  # noqa: TID253

from elman import SequenceClassifier, SequenceTagger, load
from elman.errors import DataError, SettingsError, ShapeError
from elman.estimators.targets import MultilabelTarget
from elman.estimators.weights import label_weights
from elman.evaluate import MultilabelReport

SMALL = {"hidden_size": 6, "epochs": 3, "batch_size": 8, "random_state": 0}


def make(n=48, seed=0):
    """Sequences, and two labels: whether each channel's mean is above 0."""
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(2 + i % 5, 2)) for i in range(n)]
    return X, np.array([(x.mean(0) > 0).astype(int) for x in X])


def as_sets(y):
    return [
        {name for name, there in zip(("left", "right"), row, strict=True) if there} for row in y
    ]


@pytest.mark.parametrize("form", ["indicator", "rows", "truth", "sets", "lists"])
def test_every_form(form, tmp_path):
    X, y = make()
    given = {
        "indicator": y,
        "rows": y.tolist(),
        "truth": y.astype(bool),
        "sets": as_sets(y),
        "lists": [sorted(s) for s in as_sets(y)],
    }[form]
    model = SequenceClassifier(**SMALL).fit(X, given)
    named = form in ("sets", "lists")
    assert model.classes_.tolist() == (["left", "right"] if named else [0, 1])
    assert model.history_.gradients == "gradients by autograd: the loss is binary cross-entropy"
    p = model.predict_proba(X)
    assert p.shape == (48, 2)
    assert ((p > 0) & (p < 1)).all()
    assert (abs(p.sum(1) - 1) > 0.01).any()  # each label for itself
    found = model.predict(X)
    np.testing.assert_array_equal(found, (p > 0.5).astype(int))
    assert model.score(X, given) == accuracy_score(y, found)
    report = model.evaluate(X, given)
    assert isinstance(report, MultilabelReport)
    assert report.accuracy == pytest.approx(model.score(X, given))
    assert len(report.baselines) >= 2
    assert all(check.worst == 0 for check in model.check(X[:9]))
    model.save(tmp_path, report=report)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.predict_proba(X), p)
    assert again.evaluate(X, given).to_dict() == report.to_dict()
    assert "any of 2 labels" in (tmp_path / "README.md").read_text()


def test_the_forms_are_one():
    X, y = make()
    one = SequenceClassifier(**SMALL).fit(X, y).predict_proba(X)
    other = SequenceClassifier(**SMALL).fit(X, as_sets(y)).predict_proba(X)
    np.testing.assert_array_equal(one, other)


def test_it_learns():
    X, y = make(300)
    model = SequenceClassifier(hidden_size=16, epochs=30, random_state=0).fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) > 0.8
    assert cross_val_score(SequenceClassifier(**SMALL), X, y, cv=2).shape == (2,)


def test_balanced_counts_a_rare_label_more():
    there = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]])
    classes = np.array(["a", "b", "c"])
    counts = MultilabelTarget(classes).count(there)
    assert counts.tolist() == [[1, 3, 0], [3, 1, 4]]
    assert label_weights("balanced", classes, counts).tolist() == [3, 1 / 3, 1]
    assert label_weights({"c": 2.0}, classes, counts).tolist() == [1, 1, 2]
    assert label_weights(None, classes, counts) is None
    X, y = make(120)
    y[:, 0] &= np.arange(120) % 6 == 0
    settings = {**SMALL, "epochs": 15, "validation": 0}
    means = [
        SequenceClassifier(**settings, class_weight=w).fit(X, y).predict_proba(X)[:, 0].mean()
        for w in (None, "balanced")
    ]
    assert means[0] < means[1]


def test_focal_loss_and_sample_weights():
    X, y = make()
    model = SequenceClassifier(**SMALL, loss="focal").fit(X, y, sample_weight=np.ones(48))
    assert "focal" in model.history_.gradients
    weight = np.where(y[:, 0], 5.0, 1.0)
    settings = {**SMALL, "epochs": 10, "validation": 0}
    plain, heavy = (
        SequenceClassifier(**settings).fit(X, y, sample_weight=w).predict_proba(X)[:, 0].mean()
        for w in (None, weight)
    )
    assert heavy > plain


X3, Y3 = make(3)
BAD = [
    ([{"a"}, "b", {"c"}], DataError, "sequence 1: got 'b', expected a set of labels"),
    ([{"a"}, {1}, {"c"}], DataError, "labels of the types"),
    ([{"a", 1}, {"b"}, {"c"}], DataError, "sequence 0 holds labels of the types"),
    ([set(), set(), set()], DataError, "no label at all"),
    ([{0.5}, {"b"}, {"c"}], DataError, "real numbers"),
    (np.array([[0.5, 1], [1, 0], [0, 1]]), DataError, "other numbers than 0 and 1"),
    (np.ones((3, 2, 2)), ShapeError, r"got shape \(3, 2, 2\)"),
    ([{"a"}, {"b"}], ShapeError, "got 2 labels, expected 3"),
]


@pytest.mark.parametrize(("y", "kind", "message"), BAD)
def test_labels_that_are_refused(y, kind, message):
    with pytest.raises(kind, match=message):
        SequenceClassifier(**SMALL, validation=0).fit(X3, y)


def test_what_does_not_go_with_the_training_is_refused():
    X, y = make()
    model = SequenceClassifier(**SMALL).fit(X, as_sets(y))
    with pytest.raises(DataError, match="training has not seen: 'up'"):
        model.evaluate(X[:2], [{"left"}, {"up"}])
    with pytest.raises(DataError, match="y holds one label each"):
        model.evaluate(X[:2], ["left", "right"])
    with pytest.raises(ShapeError, match="got 3 labels, expected 2"):
        model.evaluate(X[:2], np.eye(3, dtype=int)[:2])
    plain = SequenceClassifier(**SMALL).fit(X, y[:, 0])
    with pytest.raises(DataError, match="y holds several labels each"):
        plain.evaluate(X, y)
    with pytest.raises(SettingsError, match="there is no class 'up'"):
        SequenceClassifier(**SMALL, class_weight={"up": 2}).fit(X, as_sets(y))
    with pytest.raises(SettingsError, match="loss: got 'huber'"):
        SequenceClassifier(**SMALL, loss="huber").fit(X, y)
    with pytest.raises((DataError, ShapeError)):
        SequenceTagger(**SMALL).fit(X, [[{"a"}] * len(x) for x in X])
