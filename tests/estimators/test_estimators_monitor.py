"""`fit(test_data=...)`: a curve of the test split for every task, which nothing depends on."""

import numpy as np
import pytest
import torch

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger, load
from elman.errors import DataError, ElmanError

QUICK = {"hidden_size": 4, "epochs": 5, "random_state": 0}


def make(task, count, seed):
    """Sequences and targets of a task, (X, y)."""
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(n, 2)) for n in rng.integers(3, 9, count)]
    sign = [x[:, 0].mean() > 0 for x in X]
    targets = {
        "classes": [str(s) for s in sign],
        "labels": [{"up"} if s else {"down", "both"} for s in sign],
        "numbers": np.array([x.sum() for x in X]),
        "pairs": np.array([[x.sum(), x[0, 0]] for x in X]),
        "tags": [np.where(x[:, 0] > 0, "A", "B") for x in X],
        "numbers a step": [x[:, 0] * 3 for x in X],
    }
    if task == "tokens":
        return [list("ab" if s else "ba") * 3 for s in sign], targets["classes"]
    return X, targets[task]


KINDS = {
    "classes": SequenceClassifier,
    "tokens": SequenceClassifier,
    "labels": SequenceClassifier,
    "numbers": SequenceRegressor,
    "pairs": SequenceRegressor,
    "tags": SequenceTagger,
    "numbers a step": SequenceRegressor,
}


def fitted(task, **options):
    extra = {"readout": "every"} if task == "numbers a step" else {}
    return KINDS[task](**QUICK, **extra).fit(*make(task, 24, 0), **options)


@pytest.mark.parametrize("task", KINDS)
def test_every_task_has_a_curve_that_changes_nothing(task, tmp_path):
    X, y = make(task, 20, 1)
    model, alone = fitted(task, test_data=(X, y)), fitted(task)
    weights, others = model.model_.state_dict(), alone.model_.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert [e.loss for e in model.history_.epochs] == [e.loss for e in alone.history_.epochs]
    assert model.history_.kept_epoch == alone.history_.kept_epoch == 5
    last = model.history_.epochs[-1]
    assert last.test_loss > 0 and last.validation_loss is None
    report = model.evaluate(X, y, resamples=0)
    if "numbers" in task or task == "pairs":
        assert last.test_accuracy is None
        assert last.test_rmse == pytest.approx(report.rmse, rel=1e-5)
    else:
        assert last.test_rmse is None
        expected = report.accuracy
        assert last.test_accuracy == pytest.approx(expected)
    assert (model.history_.held_out, alone.history_.held_out) == ("test", None)
    assert "test split (20 sequences)" in model.history_.monitored
    named = {text.get_text() for axes in model.plot_history().axes for text in axes.texts}
    assert "test (not used\nfor any choice)" in named and "validation" not in named
    model.save(tmp_path / "model")
    restored = load(tmp_path / "model").history_
    assert restored.epochs == model.history_.epochs
    assert (restored.held_out, restored.monitored) == ("test", model.history_.monitored)


def test_test_and_validation_data_side_by_side():
    validation, test = make("classes", 20, 1), make("classes", 20, 2)
    both = fitted("classes", validation_data=validation, test_data=test)
    chosen = fitted("classes", validation_data=validation)
    assert both.history_.held_out == "validation"
    assert both.history_.kept_epoch == chosen.history_.kept_epoch
    assert [e.validation_loss for e in both.history_.epochs] == [
        e.validation_loss for e in chosen.history_.epochs
    ]
    assert both.history_.epochs[-1].test_loss is not None


def test_weights_of_the_test_data():
    X, y = make("classes", 20, 1)
    weight = np.arange(20) % 3 + 0.5
    model = fitted("classes", test_data=(X, y, weight))
    p = model.predict_proba(X)[np.arange(20), np.searchsorted(model.classes_, y)]
    expected = float((weight * -np.log(p)).sum() / weight.sum())
    assert model.history_.epochs[-1].test_loss == pytest.approx(expected, rel=1e-4)


def test_faults_are_refused_before_the_training():
    X, y = make("classes", 20, 1)
    with pytest.raises(DataError, match="'Maybe'"):
        fitted("classes", test_data=(X, ["Maybe", *y[1:]]))
    with pytest.raises(ElmanError, match="19 labels"):
        fitted("classes", test_data=(X, y[1:]))
    with pytest.raises(ElmanError):
        fitted("classes", test_data=([x[:, :1] for x in X], y))
