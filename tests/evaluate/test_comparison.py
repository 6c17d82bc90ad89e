"""What decides whether the network beats its best baseline, against tests from elsewhere."""

import numpy as np
import pytest
from scipy import stats

from elman.evaluate import evaluate, evaluate_labels, evaluate_values


def outcome(both, only_network, only_baseline, neither, **options):
    """A report of two classes in which network and baseline are right so many times."""
    sizes = (both, only_network, only_baseline, neither)
    network = np.repeat([1, 1, 0, 0], sizes)
    baseline = np.repeat([1, 0, 1, 0], sizes)
    n = sum(sizes)
    return evaluate(
        np.ones(n, int),
        np.eye(2)[network],
        "ab",
        lengths=np.ones(n),
        baselines={"nothing": np.zeros(n, int), "rival": baseline},
        **options,
    )


def test_numbers_of_a_comparison():
    found = outcome(60, 25, 5, 10).comparison
    assert (found.baseline, found.metric) == ("rival", "accuracy")
    assert (found.network, found.reference) == (0.85, 0.65)
    assert found.difference == pytest.approx(0.2)
    # The standard error of a difference of paired shares, (b + c - (b - c)^2 / n) / n^2.
    error = np.sqrt((30 - 20**2 / 100) / 100**2)
    assert found.low == pytest.approx(0.2 - 1.96 * error, abs=0.02)
    assert found.high == pytest.approx(0.2 + 1.96 * error, abs=0.02)
    assert found.verdict == "better"
    assert found.sentence == (
        "The network is better than the best baseline, rival: accuracy 0.85 against 0.65 "
        f"(difference 0.20, 95 % interval {found.low:.2f} to {found.high:.2f})."
    )


def test_the_pairs_decide_and_not_the_overlap_of_two_intervals():
    """Both are mostly right on the same sequences, so a small difference is certain."""
    found = outcome(340, 10, 0, 50)
    assert found.intervals["accuracy"][0] < found.comparison.reference
    assert found.comparison.verdict == "better"
    mirrored = outcome(340, 0, 10, 50).comparison
    assert mirrored.verdict == "worse"
    assert "worse than the best baseline" in mirrored.sentence


@pytest.mark.parametrize("ahead", range(6, 31, 2))
@pytest.mark.parametrize("behind", [0, 1, 3, 8, 15])
def test_verdicts_are_those_of_mcnemars_test(ahead, behind):
    """The exact test is known to be cautious, so where it rejects, the bootstrap does too; and
    where the mid-p test is far from rejecting, the bootstrap does not."""
    found = outcome(100, ahead, behind, 20, resamples=4000).comparison
    exact = stats.binomtest(ahead, ahead + behind).pvalue
    middle = exact - stats.binom.pmf(ahead, ahead + behind, 0.5)
    if exact < 0.04:
        assert found.verdict == ("better" if ahead > behind else "worse")
    if middle > 0.07:
        assert found.verdict == "undecided"


@pytest.mark.parametrize("n", range(1, 6))
def test_five_sequences_never_decide(n):
    found = outcome(0, n, 0, 0).comparison
    assert found.verdict == "undecided" and found.low is None
    assert stats.binomtest(n, n).pvalue > 0.05
    word = "sequence" if n == 1 else "sequences"
    assert f"{n} {word} cannot decide; at least 6 are needed" in found.sentence


def test_six_sequences_can_decide_and_few_differing_ones_cannot():
    assert outcome(0, 6, 0, 0).comparison.verdict == "better"
    few = outcome(300, 5, 0, 0).comparison
    assert few.verdict == "undecided"
    assert "differ in 5 of 305 sequences only; at least 6 must differ to decide" in few.sentence


def test_a_perfect_tie_is_said():
    found = outcome(90, 0, 0, 10).comparison
    assert (found.verdict, found.difference, found.differing) == ("undecided", 0, 0)
    assert "both do the same in every sequence" in found.sentence


def test_without_resamples_nothing_is_decided_and_without_baselines_there_is_nothing():
    assert outcome(60, 30, 0, 10, resamples=0).comparison.verdict == "undecided"
    assert evaluate([0, 1], np.eye(2), "ab", lengths=[1, 1]).comparison is None


def test_numbers_are_compared_by_their_errors():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(200, 2))
    near, far = (true + scale * rng.normal(size=true.shape) for scale in (0.5, 1.0))
    found = evaluate_values(
        true, near, "ab", lengths=np.ones(200), baselines={"far": far, "mean": 0 * true}
    ).comparison
    assert found.metric == "rmse" and found.verdict == "better"
    assert found.difference == pytest.approx(found.reference - found.network)

    def rmse(answers, axis):
        squares = (answers - true[axis]) ** 2
        return np.sqrt(squares.mean(-2)).mean(-1)

    def statistic(axis):
        return np.array([rmse(far[row], row) - rmse(near[row], row) for row in np.atleast_2d(axis)])

    rival = {"far": far, "mean": 0 * true}[found.baseline]
    assert rival is far
    other = stats.bootstrap(
        (np.arange(200),), lambda at, axis: statistic(at).squeeze(), method="percentile",
        n_resamples=2000, rng=1,
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.025)


def test_a_constant_target_leaves_a_tie():
    true = np.full((40, 1), 3.0)
    found = evaluate_values(true, true, ["y"], lengths=np.ones(40), baselines={"mean": true})
    assert found.comparison.verdict == "undecided" and found.comparison.difference == 0


def test_labels_are_compared_by_all_decisions():
    rng = np.random.default_rng(0)
    true = (rng.random((150, 3)) < 0.4).astype(int)
    flipped = np.where(rng.random(true.shape) < 0.1, 1 - true, true)
    found = evaluate_labels(
        true, 0.8 * flipped + 0.1, "abc", lengths=np.ones(150), baselines={"none": 0.0 * true}
    ).comparison
    assert (found.metric, found.verdict, found.reference) == ("micro_f1", "better", 0)


def coverage(sets, drawn, **options):
    """Share of the intervals of samples that hold the true difference.

    Samples with fewer than 6 differing sequences have no interval, so they claim nothing.
    """
    rng, hits, claims = np.random.default_rng(5), 0, 0
    for seed in range(sets):
        sizes, groups, truth = drawn(rng)
        found = outcome(*sizes, resamples=400, seed=seed, groups=groups, **options).comparison
        if found.low is not None:
            claims += 1
            hits += found.low <= truth <= found.high
    assert claims > 0.9 * sets
    return hits / claims


def test_the_interval_covers_the_true_difference_95_times_in_100():
    shares = [0.55, 0.25, 0.1, 0.1]
    assert 0.92 <= coverage(300, lambda rng: (rng.multinomial(80, shares), None, 0.15)) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 80, 300])
def test_the_interval_covers_for_any_size(n):
    shares = [0.55, 0.25, 0.1, 0.1]
    found = coverage(3000, lambda rng: (rng.multinomial(n, shares), None, 0.15))
    assert 0.935 <= found <= 0.97, found


def test_groups_are_drawn_whole():
    """Eight subjects of 25 sequences that behave alike are eight pieces of evidence, not 200."""
    n, subjects = 200, np.repeat(np.arange(8), 25)
    right = subjects < 5
    baseline = (subjects == 5) | (subjects == 6)
    kw = {"lengths": np.ones(n), "baselines": {"rival": baseline.astype(int)}}
    true, p = np.ones(n, int), np.eye(2)[right.astype(int)]
    single = evaluate(true, p, "ab", **kw)
    whole = evaluate(true, p, "ab", groups=[f"s{g}" for g in subjects], **kw)
    assert single.comparison.verdict == "better"
    assert whole.comparison.verdict == "undecided"
    assert (whole.groups, whole.comparison.units, whole.comparison.unit) == (8, 8, "group")
    wide, narrow = (np.diff(r.intervals["accuracy"])[0] for r in (whole, single))
    assert wide > 3 * narrow
    assert "95 % interval over 8 groups" in whole.headline("test")
    assert single.accuracy == whole.accuracy


def test_one_group_decides_nothing():
    n = 50
    report = evaluate(
        np.ones(n, int), np.eye(2)[np.arange(n) % 2], "ab", lengths=np.ones(n),
        groups=["all"] * n, baselines={"rival": np.zeros(n, int)},
    )  # fmt: skip
    assert report.interval_of("accuracy") is None
    assert report.comparison.verdict == "undecided"
    assert "1 group cannot decide" in report.headline("test")
