"""Every figure of a report against scikit-learn's, and what a reader sees of it."""

import json
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import DataError, SettingsError, ShapeError
from elman.evaluate import evaluate

EXACT = 1e-12


def draw(seed, m, k, absent=0, ties=False):
    """Random truth over the first k - absent classes and probabilities that know a little of it."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, k - absent, m)
    scores = rng.normal(size=(m, k))
    scores[np.arange(m), true] += 1.5
    if ties:
        scores = scores.round()
    p = np.exp(scores)
    return true, p / p.sum(1, keepdims=True)


def sklearn_figures(true, p, average):
    """What scikit-learn says; it warns of what elman documents instead."""
    from sklearn import metrics as sk

    k = p.shape[1]
    predicted = p.argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            "accuracy": sk.accuracy_score(true, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(true, predicted),
            "log_loss": sk.log_loss(true, p, labels=np.arange(k)),
        }
        for prefix, how in (("macro_", "macro"), ("weighted_", "weighted"), ("", average)):
            values = sk.precision_recall_fscore_support(
                true, predicted, average=how, zero_division=0
            )
            for name, value in zip(("precision", "recall", "f1"), values, strict=False):
                found[prefix + name] = value
        per_class = sk.precision_recall_fscore_support(
            true, predicted, labels=np.arange(k), zero_division=0
        )
        matrix = sk.confusion_matrix(true, predicted, labels=np.arange(k))
    return found, per_class, matrix


def compare(report, true, p):
    found, per_class, matrix = sklearn_figures(true, p, report.average)
    for name, value in found.items():
        assert getattr(report, name) == pytest.approx(value, abs=EXACT), name
    assert (report.confusion_matrix == matrix).all()
    for i, figures in enumerate(report.per_class):
        mine = (figures.precision, figures.recall, figures.f1, figures.support)
        assert mine == pytest.approx([part[i] for part in per_class], abs=EXACT)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    m=st.integers(5, 200),
    k=st.sampled_from([3, 5, 18]),
    absent=st.integers(0, 2),
    ties=st.booleans(),
)
def test_figures_are_those_of_scikit_learn(seed, m, k, absent, ties):
    from sklearn import metrics as sk

    true, p = draw(seed, m, k, absent, ties)
    report = evaluate(true, p, range(k), lengths=np.ones(m), resamples=2)
    compare(report, true, p)
    present = [c for c in range(k) if 0 < (true == c).sum() < m]
    areas = [sk.roc_auc_score(true == c, p[:, c]) for c in present]
    assert report.roc_auc == (pytest.approx(np.mean(areas), abs=EXACT) if areas else None)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), m=st.integers(8, 100), ties=st.booleans())
def test_two_classes_are_judged_by_the_second(seed, m, ties):
    from sklearn import metrics as sk

    true, p = draw(seed, m, 2, ties=ties)
    true[:2] = 0, 1
    report = evaluate(true, p, ["no", "yes"], lengths=np.ones(m), resamples=2)
    assert report.average == "binary"
    compare(report, true, p)
    assert report.roc_auc == pytest.approx(sk.roc_auc_score(true, p[:, 1]), abs=EXACT)
    assert report.recall == report.per_class[1].recall


def test_roc_auc_is_scikit_learns_one_vs_rest_when_all_classes_occur():
    from sklearn import metrics as sk

    true, p = draw(3, 400, 5)
    report = evaluate(true, p, range(5), lengths=np.ones(400), resamples=2)
    expected = sk.roc_auc_score(true, p, multi_class="ovr", average="macro")
    assert report.roc_auc == pytest.approx(expected, abs=EXACT)


def test_a_tagger_is_judged_over_steps():
    lengths = np.random.default_rng(0).integers(1, 9, 50)
    true, p = draw(1, lengths.sum(), 5, absent=1)
    owners = np.repeat(np.arange(50), lengths)
    report = evaluate(true, p, range(5), lengths=lengths, owners=owners, resamples=20)
    compare(report, true, p)
    assert (report.count, report.steps) == (50, lengths.sum())


def test_one_class_alone_leaves_the_area_undefined_and_the_rest_finite():
    p = np.tile([0.7, 0.3], (6, 1))
    report = evaluate(np.zeros(6, int), p, ["a", "b"], lengths=np.ones(6), resamples=20)
    assert report.roc_auc is None
    assert report.accuracy == report.balanced_accuracy == 1.0
    assert report.precision == report.recall == report.f1 == 0.0
    assert "undefined" in str(report)


def test_log_loss_of_a_certain_error_is_large_but_finite_and_scikit_learns():
    from sklearn import metrics as sk

    p = np.array([[1.0, 0.0], [0.25, 0.75]])
    report = evaluate([1, 1], p, "ab", lengths=[1, 1], resamples=2)
    assert report.log_loss == pytest.approx(sk.log_loss([1, 1], p, labels=[0, 1]))


def test_calibration_error_by_hand():
    # Bin (0.6, 0.667]: two answers at 0.65, one right. Bin (0.933, 1]: two at 0.95, both right.
    p = np.array([[0.65, 0.35], [0.65, 0.35], [0.95, 0.05], [0.05, 0.95]])
    report = evaluate([0, 1, 0, 1], p, "ab", lengths=np.ones(4), resamples=2)
    assert report.calibration_error == pytest.approx((2 * 0.15 + 2 * 0.05) / 4)


def test_calibration_error_is_small_for_honest_probabilities_only():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 20_000)
    true = (rng.random((20_000, 1)) > p.cumsum(1)).sum(1)
    honest = evaluate(true, p, range(3), lengths=np.ones(20_000), resamples=0)
    sharp = p**4 / (p**4).sum(1, keepdims=True)
    too_sure = evaluate(true, sharp, range(3), lengths=np.ones(20_000), resamples=0)
    assert honest.calibration_error < 0.015
    assert too_sure.calibration_error > 0.15


def test_baselines_are_judged_like_the_model():
    true, p = draw(5, 300, 4)
    report = evaluate(true, p, range(4), lengths=np.ones(300), baselines={"same": p}, resamples=0)
    assert report.baselines["same"] == report.metrics
    assert report.log_loss and report.roc_auc and report.precision


def test_codes_of_a_baseline_leave_the_metrics_of_probabilities_undefined():
    true, p = draw(5, 300, 4)
    codes = {"same": p.argmax(1)}
    report = evaluate(true, p, range(4), lengths=np.ones(300), baselines=codes, resamples=0)
    undefined = {name for name, value in report.baselines["same"].items() if value is None}
    assert undefined == {"roc_auc", "log_loss", "calibration_error"}
    for name in set(report.metrics) - undefined:
        assert report.baselines["same"][name] == getattr(report, name)


def test_to_dict_is_json_without_nan():
    true, p = draw(2, 60, 3)
    classes = (np.str_("a"), np.int64(3), float("nan"))
    report = evaluate(true, p, classes, lengths=np.ones(60), baselines={"zero": true * 0})
    text = json.dumps(report.to_dict(), allow_nan=False)
    back = json.loads(text)
    assert back["classes"] == ["a", 3, None]
    assert back["confusion_matrix"] == report.confusion_matrix.tolist()
    assert back["per_class"][1]["label"] == 3
    assert back["intervals"]["accuracy"] == list(report.intervals["accuracy"])
    assert not {"true", "predicted", "probabilities", "lengths", "owners"} & set(back)


def test_text_fits_80_columns_and_holds_the_figures():
    true, p = draw(2, 500, 5)
    report = evaluate(
        true,
        p,
        ["a", "b" * 60, "line\nbreak", "d", "e"],
        lengths=np.ones(500),
        baselines={"majority class": true * 0, "most frequent tag of the token": true},
    )
    text = str(report)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert f"{report.accuracy:.3f}" in text
    assert "{:.3f} to {:.3f}".format(*report.intervals["f1"]) in text
    assert "500 sequences, 5 classes" in text
    assert "b" * 60 not in text
    assert "\nbreak" not in text


def test_text_of_many_classes_shows_the_frequent_and_says_how_many_it_hides():
    rng = np.random.default_rng(0)
    true = rng.choice(30, 400, p=np.arange(30) / np.arange(30).sum())
    p = np.eye(30)[true]
    report = evaluate(true, p, [f"class{i}" for i in range(30)], lengths=np.ones(400), resamples=0)
    text = str(report)
    hidden = np.sort(np.bincount(true, minlength=30))[:10].sum()
    assert f"10 rarer classes with {hidden} sequences in all not shown" in text
    assert "class29" in text
    assert "class0 " not in text


def test_an_interval_without_an_error_is_not_left_to_be_misread():
    p = np.eye(2)[[0, 1] * 10]
    report = evaluate([0, 1] * 10, p, "ab", lengths=np.ones(20))
    assert report.intervals["accuracy"] == (1.0, 1.0)
    assert "up to 15% of sequences" in " ".join(str(report).split())
    assert re.search(r"log loss +0\.000", str(report))
    assert re.search(r"accuracy +1\.000 +0\.850 to 1\.000", str(report))


def test_html_escapes_labels_and_sets_no_colour_of_its_own():
    true, p = draw(2, 60, 3)
    report = evaluate(
        true, p, ["<script>", "a&b", "c"], lengths=np.ones(60), baselines={"<b>": true}
    )
    page = report._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert "a&amp;b" in page
    assert "#" not in page  # no fixed colour: text is the page's own, light or dark
    assert f"{report.accuracy:.3f}" in page


def test_the_arrays_do_not_flood_the_repr():
    true, p = draw(2, 60, 3)
    assert "array" not in repr(evaluate(true, p, range(3), lengths=np.ones(60)))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"probabilities": np.ones((3, 3)) / 3}, ShapeError, "2 classes"),
        ({"probabilities": np.full((3, 2), np.nan)}, DataError, "3 of 3 rows"),
        ({"probabilities": np.full((3, 2), 1.5)}, DataError, "lower the learning rate"),
        ({"true": [0, 1, 2]}, DataError, "from 0 to 2"),
        ({"true": [0, 1]}, ShapeError, "true"),
        ({"true": [0.0, 1.0, 1.0]}, DataError, "float64"),
        ({"lengths": [1, 1]}, ShapeError, "owners"),
        ({"owners": [0, 1, 3]}, DataError, "owners"),
        ({"baselines": {"zero": [0]}}, ShapeError, "'zero'"),
        ({"resamples": -1}, SettingsError, "resamples"),
    ],
)
def test_faults_are_named(change, error, says):
    given = {
        "true": [0, 1, 1],
        "probabilities": np.full((3, 2), 0.5),
        "classes": ["a", "b"],
        "lengths": [1, 2, 3],
        **change,
    }
    with pytest.raises(error, match=says):
        evaluate(**given)


def test_nothing_to_evaluate_is_an_error():
    with pytest.raises(DataError, match="nothing"):
        evaluate(np.zeros(0, int), np.zeros((0, 2)), "ab", lengths=[])
