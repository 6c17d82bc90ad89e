"""What the pictures say: their lines, labels and axes."""

import numpy as np
import pytest

from elman import plots
from elman.plots.style import label, length_edges, spread, wilson


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def texts(axes):
    return [t.get_text() for t in axes.texts]


def legend(axes):
    return [t.get_text() for t in axes.figure.legends[0].get_texts()]


def test_history_draws_both_figures_of_both_parts(records):
    loss, accuracy = plots.history(records).axes
    assert (loss.get_title("left"), accuracy.get_title("left")) == ("Loss", "Accuracy")
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        assert axes.get_xlabel() == "epoch"
        for part, key in (("training", name), ("validation", f"validation_{name}")):
            line = lines(axes)[part]
            assert line.get_xdata().tolist() == list(range(1, 9))
            assert line.get_ydata().tolist() == [r[key] for r in records]
            assert part in texts(axes)


def test_history_names_the_test_split_and_connects_its_points(records):
    """The split of the held-out curve is never called validation when it is the test split."""
    sparse = []
    for record in records:
        values = {k.replace("validation_", "test_"): v for k, v in record.items()}
        if record["epoch"] % 3 != 1:
            values |= {"test_loss": None, "test_accuracy": None}
        sparse.append({"validation_loss": None, "validation_accuracy": None, **values})
    for axes, key in zip(
        plots.history(sparse, kept_epoch=8).axes, ("loss", "accuracy"), strict=True
    ):
        line = lines(axes)["test (not used\nfor any choice)"]
        assert line.get_xdata().tolist() == [1, 4, 7]
        assert line.get_ydata().tolist() == [records[i][f"validation_{key}"] for i in (0, 3, 6)]
        assert "validation" not in lines(axes)
        assert not any("validation" in text for text in texts(axes))
        assert lines(axes)["kept epoch"].get_ydata() == [sparse[7][key]]  # on the training line


def test_history_marks_the_kept_epoch_on_the_validation_line(records):
    loss, accuracy = plots.history(records, kept_epoch=3).axes
    for axes, key in ((loss, "validation_loss"), (accuracy, "validation_accuracy")):
        mark = lines(axes)["kept epoch"]
        assert mark.get_xdata() == [3]
        assert mark.get_ydata() == [records[2][key]]
        assert "kept: 3" in texts(axes)
    assert "kept epoch" not in lines(plots.history(records).axes[0])


def test_history_leaves_gaps_and_says_what_was_not_recorded():
    records = [
        {"epoch": 1, "loss": 1.0, "validation_loss": None},
        {"epoch": 2, "loss": float("nan")},
        {"epoch": 3, "loss": float("inf")},
        {"epoch": 4, "loss": 0.5, "accuracy": None},
    ]
    loss, accuracy = plots.history(records, kept_epoch=4).axes
    drawn = lines(loss)["training"].get_ydata()
    assert np.isnan(drawn).tolist() == [False, True, True, False]
    assert "validation" not in lines(loss)
    assert "not recorded" in texts(accuracy)


def test_history_of_one_epoch_shows_points():
    figure = plots.history([{"epoch": 1, "loss": 1.0, "accuracy": 0.5}])
    assert all(lines(axes)["training"].get_marker() == "o" for axes in figure.axes)


def test_confusion_colours_shares_and_writes_counts(make_report):
    true = np.array([0] * 8 + [1] * 4)
    p = np.eye(3)[[0] * 6 + [1] * 2 + [1] * 4]
    axes = plots.confusion_matrix(make_report(true, p, classes=("cat", "dog", "never"))).axes[0]
    share = axes.get_images()[0].get_array()
    assert share[:2].tolist() == [[0.75, 0.25, 0.0], [0.0, 1.0, 0.0]]
    assert share.mask[2].all()
    assert sorted(texts(axes)) == ["2", "4", "6"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["cat", "dog", "never"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true", "predicted")
    assert "12 sequences" in axes.get_title("left")


def test_confusion_of_many_classes_drops_numbers_and_keeps_all_labels_apart(random_report):
    names = tuple(f"B-a_long_tag_number_{i}" for i in range(50))
    axes = plots.confusion_matrix(random_report(50, tagger=True, classes=names)).axes[0]
    assert texts(axes) == []
    shown = [t.get_text() for t in axes.get_xticklabels() if t.get_text()]
    assert len(set(shown)) == 50
    assert max(map(len, shown)) <= 12


def test_roc_of_two_classes_is_scikit_learns(random_report):
    from sklearn import metrics

    report = random_report(2, classes=("no", "yes"))
    axes = plots.roc(report).axes[0]
    x, y, _ = metrics.roc_curve(
        report.true == 1, report.probabilities[:, 1], drop_intermediate=False
    )
    area = metrics.roc_auc_score(report.true == 1, report.probabilities[:, 1])
    line = lines(axes)[f"area {area:.3f}"]
    np.testing.assert_allclose(line.get_xdata(), x, atol=1e-12)
    np.testing.assert_allclose(line.get_ydata(), y, atol=1e-12)
    assert axes.get_title("left") == "ROC of class yes"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("false positive rate", "true positive rate")


def test_precision_recall_is_scikit_learns_and_of_the_rarer_class(random_report):
    from sklearn import metrics

    report = random_report(2, weights=[0.1, 0.9], classes=("rare", "common"))
    axes = plots.precision_recall(report).axes[0]
    score = metrics.average_precision_score(report.true == 0, report.probabilities[:, 0])
    precision, recall, _ = metrics.precision_recall_curve(
        report.true == 0, report.probabilities[:, 0]
    )
    line = lines(axes)[f"average precision {score:.3f}"]
    np.testing.assert_allclose(line.get_xdata()[1:], recall[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(line.get_ydata()[1:], precision[:-1][::-1], atol=1e-12)
    assert axes.get_title("left") == "Precision and recall of class rare"
    share = (report.true == 0).mean()
    assert f"chance {share:.3f}" in legend(axes)


@pytest.mark.parametrize("draw", [plots.roc, plots.precision_recall])
@pytest.mark.parametrize(("k", "entries"), [(3, 4), (5, 6), (18, 5), (72, 5)])
def test_curves_of_many_classes_keep_a_short_legend(random_report, draw, k, entries):
    report = random_report(k, n=600)
    axes = draw(report).axes[0]
    assert len(legend(axes)) == entries
    assert len([line for line in axes.get_lines() if len(line.get_xdata()) > 2]) == k + 1
    if k > 5:
        assert legend(axes)[0] == f"{k - 3} other classes"


def test_the_classes_with_the_smallest_areas_stand_out(random_report):
    from sklearn import metrics

    report = random_report(9, n=500)
    areas = [metrics.roc_auc_score(report.true == k, report.probabilities[:, k]) for k in range(9)]
    worst = np.argsort(areas)[:3]
    named = legend(plots.roc(report).axes[0])[1:4]
    assert named == [f"c{k}  {areas[k]:.3f}" for k in worst]


def test_the_mean_curve_is_named_after_the_mean_area(random_report):
    from sklearn import metrics

    report = random_report(5)
    area = metrics.roc_auc_score(report.true, report.probabilities, multi_class="ovr")
    assert f"mean area {area:.3f}" in legend(plots.roc(report).axes[0])


@pytest.mark.parametrize("draw", [plots.roc, plots.precision_recall])
def test_curves_of_one_class_say_that_they_are_undefined(make_report, draw):
    report = make_report(np.zeros(5, int), np.tile([0.6, 0.4], (5, 1)))
    assert texts(draw(report).axes[0]) == ["undefined: only one class occurs"]


def test_long_curves_are_thinned_and_keep_their_ends(random_report):
    line = plots.roc(random_report(2, n=20_000)).axes[0].get_lines()[0]
    assert len(line.get_xdata()) < 2100
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (0, 0)
    assert (line.get_xdata()[-1], line.get_ydata()[-1]) == (1, 1)


def test_calibration_shows_accuracy_over_confidence_and_counts(make_report):
    true = np.array([0, 1, 0, 1, 1])
    p = np.array([[0.65, 0.35], [0.65, 0.35], [0.95, 0.05], [0.05, 0.95], [0.03, 0.97]])
    upper, lower = plots.calibration(make_report(true, p)).axes
    line = lines(upper)["model"]
    np.testing.assert_allclose(line.get_xdata(), [0.65, (0.95 + 0.95 + 0.97) / 3])
    np.testing.assert_allclose(line.get_ydata(), [0.5, 1.0])
    heights = [bar.get_height() for bar in lower.patches]
    assert heights == [0] * 9 + [2] + [0] * 4 + [3]
    assert upper.get_title("left") == "Calibration: expected error 0.086"
    assert lower.get_ylabel() == "sequences"
    assert len(upper.collections) == 1


def test_calibration_of_a_tagger_claims_no_intervals(random_report):
    upper, lower = plots.calibration(random_report(3, tagger=True)).axes
    assert len(upper.collections) == 0
    assert lower.get_ylabel() == "steps"


def test_accuracy_by_length_by_hand(make_report):
    true = np.zeros(40, int)
    p = np.eye(2)[[0] * 20 + [0] * 5 + [1] * 15]
    report = make_report(true, p, lengths=[3] * 20 + [9] * 20)
    axes = plots.accuracy_by_length(report).axes[0]
    assert lines(axes)["accuracy"].get_ydata().tolist() == [1.0, 0.25]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["3\nn = 20", "9\nn = 20"]
    low, high = wilson(np.array([20.0, 5.0]), np.array([20.0, 20.0]))
    bars = [s[:, 1].tolist() for s in axes.collections[0].get_segments()]
    np.testing.assert_allclose(bars, np.stack([low, high], 1))
    assert "all: 0.625" in texts(axes)


def test_accuracy_by_length_of_a_tagger_counts_steps_and_widens_for_copies(make_report):
    rng = np.random.default_rng(0)
    right = rng.random(60) < 0.7
    lengths = rng.integers(10, 14, 60)
    owners = np.repeat(np.arange(60), lengths)
    report = make_report(
        np.zeros(len(owners), int), np.eye(2)[1 - right[owners]], lengths=lengths, owners=owners
    )
    axes = plots.accuracy_by_length(report).axes[0]
    first = lengths == 10
    assert lines(axes)["accuracy"].get_ydata()[0] == pytest.approx(right[first].mean())
    low, high = axes.collections[0].get_segments()[0][:, 1]
    n = float(first.sum())
    one_a_sequence = wilson(np.array([right[first].sum()]), np.array([n]))
    assert high - low == pytest.approx(*(one_a_sequence[1] - one_a_sequence[0]), rel=0.15)


def test_a_tagger_without_errors_is_no_surer_than_its_sequences_allow(make_report):
    lengths = np.repeat([5, 9], 10)
    owners = np.repeat(np.arange(20), lengths)
    p = np.tile([0.9, 0.1], (len(owners), 1))
    report = make_report(np.zeros(len(owners), int), p, lengths=lengths, owners=owners)
    low = plots.accuracy_by_length(report).axes[0].collections[0].get_segments()[0][0, 1]
    assert low == pytest.approx(*wilson(np.array([10.0]), np.array([10.0]))[0])


def test_length_bins_are_few_ordered_and_hold_everything():
    rng = np.random.default_rng(0)
    for lengths in (rng.integers(1, 500, 3000), rng.zipf(1.5, 3000), np.full(9, 4), np.arange(25)):
        edges = length_edges(lengths)
        assert edges[0] == lengths.min()
        assert (np.diff(edges) > 0).all()
        assert len(edges) <= 8


def test_wilson_is_scipys():
    from scipy.stats import binomtest

    right, count = np.array([0.0, 3.0, 10.0]), np.array([10.0, 7.0, 10.0])
    for r, n, low, high in zip(right, count, *wilson(right, count), strict=True):
        expected = binomtest(int(r), int(n)).proportion_ci(0.95, method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high))


def test_labels_are_cut_in_the_middle_and_hold_no_mathematics():
    assert label("abc") == "abc"
    assert label("a_very_long_name_0123456789", 12) == "a_very_l…789"
    assert label("$x_1$") == r"\$x_1\$"
    assert "\n" not in label("two\nlines")


def test_spread_moves_neighbours_apart_and_others_not():
    near = spread([0.5, 0.49], 0.1)
    assert near[0] - near[1] == pytest.approx(0.1)
    assert spread([0.1, 0.9], 0.1) == [0.1, 0.9]
