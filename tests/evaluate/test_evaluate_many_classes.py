"""Evaluations with many classes: the same bits as by plain tables, without such tables."""

import tracemalloc

import numpy as np
import pytest

from elman.evaluate import evaluate
from elman.evaluate.comparison import SUMS, compare
from elman.evaluate.metrics import METRICS, area_under_roc
from elman.evaluate.resampling import PIECE, Resampling, resample_classes

BALANCED = next(row for row in METRICS["classification"] if row.name == "balanced_accuracy")


def draws(count, classes, *, unit=0, seed=0):
    """True and predicted codes, and what is drawn: sequences, or groups of `unit` of them."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, count)
    predicted = np.where(rng.random(count) < 0.6, true, rng.integers(0, classes, count))
    groups = (np.arange(count) // unit).tolist() if unit else None
    return true, predicted, Resampling.of(count, None, groups, 2 * PIECE + 3, 0)


@pytest.mark.parametrize("unit", [0, 3])
def test_resampled_counts_are_those_of_products_with_indicators(unit):
    true, predicted, resampling = draws(400, 17, unit=unit)
    found = resample_classes(true, predicted, 17, resampling)
    rng = np.random.default_rng(0)
    used, place = np.unique(true * 17 + predicted, return_inverse=True)
    if unit:
        units = np.array(resampling.units)
        drawn = np.zeros((resampling.resamples, len(used)))
        for row in drawn:
            times = np.bincount(rng.integers(0, resampling.count, resampling.count))
            times = np.pad(times, (0, resampling.count - len(times)))
            np.add.at(row, place, times[units])
    else:
        shares = np.bincount(place) / len(place)
        drawn = rng.multinomial(len(place), shares, size=resampling.resamples).astype(float)
    of_true, of_predicted = (np.eye(17)[codes] for codes in np.divmod(used, 17))
    np.testing.assert_array_equal(found.true, drawn @ of_true)
    np.testing.assert_array_equal(found.predicted, drawn @ of_predicted)
    np.testing.assert_array_equal(found.both, drawn @ (of_true * of_predicted))
    assert found.true.flags.c_contiguous  # or sums over the classes would have other bits


def test_no_table_of_cells_by_classes_is_made():
    """4,000 sequences of 2,000 classes have some 2,800 cells: such a table takes 45 MB."""
    true, predicted, resampling = draws(4000, 2000)
    tracemalloc.start()
    try:
        resample_classes(true, predicted, 2000, resampling)
        assert tracemalloc.get_traced_memory()[1] < 25e6
    finally:
        tracemalloc.stop()


def test_no_table_of_groups_by_classes_is_made():
    """2,000 groups by twice 1,000 classes: 32 MB for the network and as much for its baseline."""
    true, predicted, resampling = draws(6000, 1000, unit=3)
    baseline = draws(6000, 1000, seed=1)[1]
    tracemalloc.start()
    try:
        found = compare(BALANCED, "", true, predicted, {"b": baseline}, resampling)
        assert tracemalloc.get_traced_memory()[1] < 25e6
    finally:
        tracemalloc.stop()
    groups = np.array(resampling.units)
    right, other = ((p == true).reshape(-1, 3) for p in (predicted, baseline))
    assert found.differing == (right != other).any(1).sum()
    sums, value = SUMS["balanced_accuracy"]
    recall = [np.mean(predicted[true == k] == k) for k in np.unique(true)]
    assert found.network == pytest.approx(np.mean(recall), abs=1e-12)
    by_group = sums(true, predicted, groups, resampling.count)
    np.testing.assert_array_equal(by_group.sum(1), 3 + right.sum(1))
    assert value(np.asarray(by_group.sum(0))[None])[0] == pytest.approx(np.mean(recall), abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_the_area_is_scikit_learns_with_and_without_ties(decimals):
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(decimals)
    for positives in (1, 20, 199):
        positive = rng.permutation(np.arange(200) < positives)
        scores = (rng.normal(size=200) + positive).round(decimals)
        expected = roc_auc_score(positive, scores)
        assert area_under_roc(positive, scores) == pytest.approx(expected, abs=1e-12)
    assert area_under_roc(np.ones(3, bool), np.arange(3.0)) is None
    assert area_under_roc(np.zeros(3, bool), np.arange(3.0)) is None


def test_a_report_of_many_classes_has_every_metric():
    rng = np.random.default_rng(0)
    true = np.arange(1200) % 300
    p = rng.random((1200, 300)) + 2 * np.eye(300)[true]
    report = evaluate(
        true,
        p / p.sum(1, keepdims=True),
        range(300),
        lengths=np.ones(1200, int),
        baselines={"b": rng.integers(0, 300, 1200)},
        resamples=100,
    )
    assert report.accuracy == 1 and report.roc_auc == 1
    assert report.comparison.verdict == "better"
