"""Figures of several labels beside scikit-learn's, their intervals, and the baselines."""

import json

import numpy as np
import pytest
from sklearn import metrics  # noqa: TID253
from sklearn.linear_model import LogisticRegression  # noqa: TID253

from elman.data.ragged import Ragged
from elman.errors import DataError, SettingsError, ShapeError
from elman.evaluate import Baselines, evaluate_labels
from elman.evaluate.features import summarise_numbers
from elman.evaluate.metrics import average_precision
from elman.evaluate.rules import FREQUENT, LOGISTIC

N, K = 80, 4
NAMES = ["a", "b", "c", "d"]


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    true = (rng.random((N, K)) < [0.1, 0.5, 0.8, 0.3]).astype(int)
    p = np.clip(0.5 * true + 0.25 + rng.normal(0, 0.25, (N, K)), 0, 1).round(2)  # with ties
    return true, p


def figures(true, predicted):
    return {
        "accuracy": metrics.accuracy_score(true, predicted),
        "micro_f1": metrics.f1_score(true, predicted, average="micro", zero_division=0),
        "macro_f1": metrics.f1_score(true, predicted, average="macro", zero_division=0),
        "samples_f1": metrics.f1_score(true, predicted, average="samples", zero_division=0),
        "hamming_loss": metrics.hamming_loss(true, predicted),
    }


def test_figures_are_scikit_learns():
    true, p = drawn()
    report = evaluate_labels(true, p, NAMES, lengths=np.ones(N), resamples=0)
    predicted = (p > 0.5).astype(int)
    for name, value in figures(true, predicted).items():
        assert getattr(report, name) == pytest.approx(value), name
    parts = metrics.precision_recall_fscore_support(true, predicted, zero_division=0)
    for k, found in enumerate(report.per_label):
        wanted = [part[k] for part in parts]
        assert (found.precision, found.recall, found.f1, found.support) == pytest.approx(wanted)
        area = metrics.average_precision_score(true[:, k], p[:, k])
        assert found.average_precision == pytest.approx(area)
    assert average_precision(np.zeros(3), np.ones(3)) is None


def test_intervals_are_those_of_drawing_sequences():
    true, p = drawn()
    report = evaluate_labels(true, p, NAMES, lengths=np.ones(N))
    rng = np.random.default_rng(3)
    draws = [rng.integers(N, size=N) for _ in range(400)]
    spread = [figures(true[at], (p[at] > 0.5).astype(int)) for at in draws]
    for name, ends in report.intervals.items():
        low, high = np.percentile([one[name] for one in spread], [2.5, 97.5])
        assert ends == pytest.approx((low, high), abs=0.2 * (high - low)), name


def test_report_as_json_and_text():
    true, p = drawn()
    report = evaluate_labels(
        true, p, NAMES, lengths=np.ones(N), baselines={"none": 0 * true}, resamples=20
    )
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["accuracy"] == report.accuracy
    assert [v["label"] for v in found["per_label"]] == NAMES
    assert found["baselines"]["none"]["hamming_loss"] == pytest.approx(true.mean())
    text = str(report)
    assert f"{N} sequences, 4 labels" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "<table" in report._repr_html_()
    many = np.tile(true, 6)
    names = [f"label {k}" for k in range(24)]
    shown = str(evaluate_labels(many, np.tile(p, 6), names, lengths=np.ones(N), resamples=0))
    assert "4 rarer labels not shown" in shown


REFUSED = [
    ({"probabilities": np.ones((N, 2))}, ShapeError, r"probabilities have shape \(80, 2\)"),
    ({"probabilities": np.full((N, K), np.nan)}, DataError, "probabilities hold NaN"),
    ({"true": np.full((N, K), 2)}, DataError, "true holds other numbers than 0 and 1"),
    ({"true": np.ones((N, 2))}, ShapeError, r"true has shape \(80, 2\)"),
    ({"lengths": np.ones(3)}, ShapeError, "lengths has 3 sequences"),
    ({"resamples": -1}, SettingsError, "resamples is -1"),
]


@pytest.mark.parametrize(("change", "kind", "message"), REFUSED)
def test_what_cannot_be_evaluated(change, kind, message):
    true, p = drawn()
    given = {"true": true, "probabilities": p, "classes": NAMES, "lengths": np.ones(N), **change}
    with pytest.raises(kind, match=message):
        evaluate_labels(**given)


@pytest.mark.parametrize("tokens", [False, True])
def test_baselines_of_labels(tokens):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 7, 60)
    rows = [rng.integers(2, 9, n) if tokens else rng.normal(size=(n, 2)) for n in lengths]
    inputs = Ragged.from_list(rows)
    first = [5 in row if tokens else row[:, 0].mean() > 0 for row in rows]
    there = np.stack([first, np.ones(60), np.zeros(60)], 1).astype(np.int64)
    size = 10 if tokens else None
    fitted = Baselines.from_training(
        inputs, there, 3, vocabulary_size=size, per_step=False, task="multilabel"
    )
    found = fitted.predict(inputs)
    kinds = ["token counts", "token pairs"] if tokens else ["summaries"]
    names = [f"{LOGISTIC} on {kind}" for kind in kinds]
    assert list(found) == [FREQUENT, *names] == list(fitted.description)
    np.testing.assert_allclose(found[FREQUENT], np.tile(there.mean(0), (60, 1)))
    for name in names:
        assert (found[name][:, 1:] == [1, 0]).all()  # always, and never, there
        assert ((found[name] > 0.5)[:, 0] == there[:, 0]).mean() > 0.9
    if not tokens:
        x = summarise_numbers(inputs, np.zeros(2))
        x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
        theirs = LogisticRegression(max_iter=300).fit(x, there[:, 0]).predict_proba(x)
        np.testing.assert_allclose(found[names[0]][:, 0], theirs[:, 1], atol=1e-3)
    again = Baselines.from_arrays(fitted.to_arrays()).predict(inputs)
    np.testing.assert_array_equal(again[names[0]], found[names[0]])
