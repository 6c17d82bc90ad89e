"""Figures of predicted numbers beside scikit-learn's, their intervals, and the baselines."""

import json

import numpy as np
import pytest
from sklearn import metrics  # noqa: TID253
from sklearn.linear_model import Ridge  # noqa: TID253

from elman.data.ragged import Ragged
from elman.errors import DataError, ModelFileError, SettingsError, ShapeError
from elman.evaluate import Baselines, evaluate_values
from elman.evaluate.rules import MEAN, MEAN_OF_TOKEN, RIDGE

M, K = 57, 3


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(1e4, [1, 20, 300], (M, K))
    return true, true + rng.normal(0, [0.5, 20, 10], (M, K))


def test_figures_are_scikit_learns():
    true, predicted = drawn()
    report = evaluate_values(true, predicted, ["a", "b", "c"], lengths=np.ones(M), resamples=0)
    assert report.rmse == pytest.approx(metrics.root_mean_squared_error(true, predicted))
    assert report.mae == pytest.approx(metrics.mean_absolute_error(true, predicted))
    assert report.r2 == pytest.approx(metrics.r2_score(true, predicted), rel=1e-9)
    median = metrics.median_absolute_error(true, predicted)
    assert report.median_absolute_error == pytest.approx(median)
    for k, figures in enumerate(report.per_value):
        one = true[:, k], predicted[:, k]
        assert figures.label == "abc"[k]
        assert figures.rmse == pytest.approx(metrics.root_mean_squared_error(*one))
        assert figures.mae == pytest.approx(metrics.mean_absolute_error(*one))
        assert figures.r2 == pytest.approx(metrics.r2_score(*one), rel=1e-9)
        assert figures.median_absolute_error == pytest.approx(metrics.median_absolute_error(*one))
    assert report.intervals == {}


@pytest.mark.parametrize("predicted", [5.0, 6.0])
def test_a_truth_that_never_changes_is_as_in_scikit_learn(predicted):
    true = np.full((4, 1), 5.0)
    guess = np.full((4, 1), predicted)
    report = evaluate_values(true, guess, ["y"], lengths=np.ones(4))
    assert report.r2 == metrics.r2_score(true, guess)


def test_intervals_are_those_of_drawing_sequences():
    """Beside a plain loop that draws sequences and computes anew, with steps that hang together."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 40)
    owners = np.repeat(np.arange(40), lengths)
    true = rng.normal(size=(len(owners), 2))
    predicted = true + rng.normal(size=(40, 1))[owners]  # one error a sequence
    report = evaluate_values(true, predicted, ["a", "b"], lengths=lengths, owners=owners)
    assert report.steps == lengths.sum()
    found = {name: [] for name in ("rmse", "mae", "r2")}
    steps = [np.flatnonzero(owners == i) for i in range(40)]
    for _ in range(1000):
        at = np.concatenate([steps[i] for i in rng.integers(40, size=40)])
        found["rmse"].append(metrics.root_mean_squared_error(true[at], predicted[at]))
        found["mae"].append(metrics.mean_absolute_error(true[at], predicted[at]))
        found["r2"].append(metrics.r2_score(true[at], predicted[at]))
    for name, values in found.items():
        low, high = np.percentile(values, [2.5, 97.5])
        assert report.intervals[name] == pytest.approx((low, high), abs=0.15 * (high - low))
    again = evaluate_values(true, predicted, ["a", "b"], lengths=lengths, owners=owners)
    assert again.intervals == report.intervals


def test_report_as_json_and_text():
    true, predicted = drawn()
    base = {"mean": np.broadcast_to(true.mean(0), true.shape)}
    report = evaluate_values(
        true, predicted, ["a", "b", "c"], lengths=np.ones(M), baselines=base, resamples=20
    )
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["rmse"] == report.rmse
    assert [v["name"] for v in found["per_value"]] == ["a", "b", "c"]
    assert "predicted" not in found
    assert found["baselines"]["mean"]["r2"] == pytest.approx(0, abs=1e-9)
    text = str(report)
    assert f"{M} sequences, 3 values" in text
    assert f"{report.rmse:.4g}" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "<table" in report._repr_html_()
    assert "RMSE" in str(evaluate_values(true[:, :1], true[:, :1], ["y"], lengths=np.ones(M)))


REFUSED = [
    ({"predicted": np.ones((M, 2))}, ShapeError, r"predicted has shape \(57, 2\); expected"),
    ({"predicted": np.full((M, K), np.nan)}, DataError, "predicted holds numbers that are not"),
    ({"names": ["a"]}, ShapeError, r"true has shape \(57, 3\); expected \(m, 1\)"),
    ({"lengths": np.ones(3)}, ShapeError, "lengths has 3 sequences but there are 57 predictions"),
    ({"resamples": -1}, SettingsError, "resamples is -1"),
    ({"baselines": {"x": np.ones(3)}}, ShapeError, "baseline 'x' has shape"),
]


@pytest.mark.parametrize(("change", "kind", "message"), REFUSED)
def test_what_cannot_be_evaluated(change, kind, message):
    true, predicted = drawn()
    given = {"true": true, "predicted": predicted, "names": ["a", "b", "c"]}
    with pytest.raises(kind, match=message):
        evaluate_values(**{**given, "lengths": np.ones(M), **change})


def sequences(tokens=False, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, 50)
    rows = [rng.integers(2, 9, n) if tokens else rng.normal(size=(n, 2)) for n in lengths]
    return Ragged.from_list(rows)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("per_step", [False, True])
def test_baselines_of_values(tokens, per_step):
    inputs = sequences(tokens)
    rng = np.random.default_rng(1)
    values = rng.normal(3, 1, (len(inputs.values) if per_step else 50, 2))
    if tokens and per_step:
        values[:, 0] = inputs.values  # the token says it
    size = 10 if tokens else None
    fitted = Baselines.from_training(
        inputs, values, 2, vocabulary_size=size, per_step=per_step, task="regression"
    )
    found = fitted.predict(inputs)
    names = {
        (False, False): [f"{RIDGE} on summaries"],
        (False, True): [f"{RIDGE} on the step", f"{RIDGE} on 5 steps"],
        (True, False): [f"{RIDGE} on token counts", f"{RIDGE} on token pairs"],
        (True, True): [MEAN_OF_TOKEN, f"{MEAN_OF_TOKEN} pair"],
    }[tokens, per_step]
    assert list(found) == [MEAN, *names] == list(fitted.description)
    second = names[0]
    np.testing.assert_allclose(found[MEAN], np.broadcast_to(values.mean(0), values.shape))
    if tokens and per_step:
        np.testing.assert_allclose(found[second][:, 0], inputs.values)
        unseen = Ragged.from_list([np.array([9])])
        np.testing.assert_allclose(fitted.predict(unseen)[second][0], values.mean(0))
    elif per_step:
        x = inputs.values
        x = (x - x.mean(0)) / x.std(0)
        np.testing.assert_allclose(found[second], Ridge().fit(x, values).predict(x), rtol=1e-6)
    again = Baselines.from_arrays(fitted.to_arrays())
    for name, answers in again.predict(inputs).items():
        np.testing.assert_array_equal(answers, found[name])
    broken = {**fitted.to_arrays(), "constant": np.ones(3)}
    with pytest.raises(ModelFileError, match="constant has shape"):
        Baselines.from_arrays(broken)
    with pytest.raises(ShapeError, match="target has shape"):
        Baselines.from_training(inputs, values[:3], 2, vocabulary_size=size, task="regression")


def test_ridge_on_summaries_finds_what_is_in_them():
    inputs = sequences()
    last = inputs.values[inputs.offsets[1:] - 1]
    fitted = Baselines.from_training(
        inputs, last @ [[2.0], [1.0]], 1, vocabulary_size=None, per_step=False, task="regression"
    )
    found = fitted.predict(inputs)[f"{RIDGE} on summaries"]
    assert metrics.r2_score(last @ [[2.0], [1.0]], found) > 0.99
