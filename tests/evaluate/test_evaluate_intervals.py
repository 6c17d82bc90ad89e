"""The 95 % intervals hold what they promise."""

import numpy as np

from elman.evaluate import evaluate


def width(interval):
    return interval[1] - interval[0]


def answers(right):
    """Probabilities of two classes where the truth is class 1 and `right` says who gets it."""
    return np.where(right[:, None], [0.2, 0.8], [0.8, 0.2])


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    covered, sets, truth = 0, 300, 0.8
    for seed in range(sets):
        right = rng.random(100) < truth
        report = evaluate(
            np.ones(100, int), answers(right), "ab", lengths=np.ones(100), resamples=400, seed=seed
        )
        low, high = report.intervals["accuracy"]
        covered += low <= truth <= high
    assert 0.90 <= covered / sets <= 0.98


def test_a_tagger_interval_covers_the_truth_though_steps_hang_together():
    rng = np.random.default_rng(1)
    covered, naive, sets, truth = 0, 0, 200, 0.7
    for seed in range(sets):
        lengths = rng.integers(5, 15, 80)
        owners = np.repeat(np.arange(80), lengths)
        # Each sequence has its own chance of a right answer, 0.7 in the mean.
        right = rng.random(len(owners)) < rng.beta(3.5, 1.5, 80)[owners]
        true = np.ones(len(owners), int)
        p = answers(right)
        kw = {"resamples": 300, "seed": seed}
        report = evaluate(true, p, "ab", lengths=lengths, owners=owners, **kw)
        wrong = evaluate(true, p, "ab", lengths=np.ones(len(owners)), **kw)
        covered += report.intervals["accuracy"][0] <= truth <= report.intervals["accuracy"][1]
        naive += wrong.intervals["accuracy"][0] <= truth <= wrong.intervals["accuracy"][1]
    assert 0.90 <= covered / sets <= 0.985
    assert naive / sets < 0.88


def test_copies_of_a_step_add_no_certainty():
    rng = np.random.default_rng(2)
    right = rng.random(200) < 0.7
    true = np.ones(200, int)
    single = evaluate(true, answers(right), "ab", lengths=np.ones(200), resamples=2000)
    copied = evaluate(
        np.repeat(true, 9),
        answers(np.repeat(right, 9)),
        "ab",
        lengths=np.full(200, 9),
        owners=np.repeat(np.arange(200), 9),
        resamples=2000,
    )
    as_if_free = evaluate(
        np.repeat(true, 9), answers(np.repeat(right, 9)), "ab", lengths=np.ones(1800)
    )
    for name in ("accuracy", "recall"):
        assert abs(width(copied.intervals[name]) / width(single.intervals[name]) - 1) < 0.1
        assert width(copied.intervals[name]) > 2.5 * width(as_if_free.intervals[name])


def test_both_ways_of_drawing_agree_where_each_sequence_has_one_step():
    rng = np.random.default_rng(3)
    true, p = rng.integers(0, 4, 300), rng.dirichlet(np.ones(4), 300)
    kw = {"lengths": np.ones(300), "resamples": 4000}
    one = evaluate(true, p, range(4), **kw)
    other = evaluate(true, p, range(4), owners=np.arange(300), **kw)
    for name, pair in one.intervals.items():
        assert np.allclose(pair, other.intervals[name], atol=0.01), name


def test_the_same_seed_gives_the_same_intervals_and_none_are_made_unasked():
    rng = np.random.default_rng(4)
    true, p = rng.integers(0, 3, 80), rng.dirichlet(np.ones(3), 80)
    a, b, c = (evaluate(true, p, "abc", lengths=np.ones(80), seed=s) for s in (1, 1, 2))
    assert a.intervals == b.intervals != c.intervals
    none = evaluate(true, p, "abc", lengths=np.ones(80), resamples=0)
    assert none.intervals == {}
    assert "interval" not in str(none)


def test_each_figure_lies_within_its_interval():
    rng = np.random.default_rng(5)
    true, p = rng.integers(0, 3, 500), rng.dirichlet(np.ones(3), 500)
    report = evaluate(true, p, "abc", lengths=np.ones(500))
    assert set(report.intervals) == {"accuracy", "balanced_accuracy", "precision", "recall", "f1"}
    for name, (low, high) in report.intervals.items():
        assert low < getattr(report, name) < high
