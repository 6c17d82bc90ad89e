"""Captions say what the report at hand shows."""

import numpy as np
import pytest

from elman import plots
from elman.evaluate import evaluate, evaluate_labels, evaluate_values


def words(report, name, records=()):
    return plots.caption(name, records, report)[1]


def test_every_figure_that_is_drawn_has_a_caption(random_report, tmp_path):
    records = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5}]
    true = np.random.default_rng(0).normal(size=(60, 2))
    there = (true > 0).astype(int)
    lengths = np.arange(60) % 7 + 1
    reports = [
        random_report(2),
        random_report(5, tagger=True),
        random_report(3, weights=[0.9, 0.07, 0.03]),
        evaluate_labels(there, 0.2 + 0.6 * there, ["x", "y"], lengths=lengths, resamples=0),
        evaluate_values(true, 0.9 * true, ["u", "v"], lengths=lengths, resamples=0),
    ]
    for i, report in enumerate(reports):
        for path in plots.save_all(records, report, tmp_path / str(i)):
            title, text = plots.caption(path.stem, records, report)
            assert title and len(text) > 60, path.stem
    assert plots.caption("state_norms", records, reports[0]) == ("State norms", "")


def test_history_says_whether_the_network_overfits(random_report):
    def text(losses):
        records = [
            {"epoch": i + 1, "loss": 1.0, "accuracy": 0.5, "validation_loss": loss}
            for i, loss in enumerate(losses)
        ]
        return words(random_report(2), "history", records)

    assert "lowest at epoch 2 (0.5) and rises to 0.9: from then on the network overfits" in text(
        [1.0, 0.5, 0.9]
    )
    assert "no overfitting is seen" in text([1.0, 0.5, 0.4])
    assert "no overfitting is seen" in text([1.0, 0.0010, 0.0011])  # a rise of nothing
    unseen = text([None, None])
    assert "Neither a validation split nor the test split was evaluated" in unseen


def test_history_says_what_the_test_curve_is(random_report):
    def text(losses, accuracies=None, metric="accuracy"):
        records = [
            {"epoch": i + 1, "loss": 1.0, metric: 0.5, "test_loss": loss, "validation_loss": None}
            for i, loss in enumerate(losses)
        ]
        for record, value in zip(records, accuracies or (), strict=False):
            record[f"test_{metric}"] = value
        found = words(random_report(2), "history", records)
        assert "validation loss" not in found and "cannot be seen" not in found
        return found

    seen = text([1.0, None, 0.5, None, 0.9])
    assert "The test loss (not used for any choice) is lowest at epoch 3 (0.5)" in seen
    assert "rises to 0.9: from then on the network overfits" in seen
    assert "hold out a validation split (--validation 0.1)" in seen
    assert "It was evaluated at 3 of the 5 epochs." in seen
    assert "evaluated at" not in text([1.0, 0.5, 0.9])
    confident = text([1.0, 0.5, 0.9], [0.5, 0.90, 0.91])
    assert "but the accuracy does not fall (0.900 there, 0.910 at the end)" in confident
    hardly = text([1.0, 0.5, 0.9], [0.5, 1.0, 0.9875])
    assert "the accuracy hardly falls (1.000 there, 0.988 at the end)" in hardly
    assert "overfits" not in hardly
    assert "from then on the network overfits" in text([1.0, 0.5, 0.9], [0.5, 0.90, 0.80])
    assert "from then on the network overfits" in text([1.0, 0.5, 0.9], [5.0, 4.0, 6.0], "rmse")
    assert "The test loss (not used for any choice) is 0.7 after epoch 2" in text([None, 0.7])


def test_the_most_frequent_confusion_and_the_hardest_class_are_named():
    true = np.array([0] * 10 + [1] * 10)
    predicted = true.copy()
    predicted[:4] = 1
    report = evaluate(true, np.eye(2)[predicted], ["cat", "dog"], lengths=np.ones(20), resamples=0)
    assert "cat predicted as dog: 4 times, 40% of the true class" in words(
        report, "confusion_matrix"
    )
    assert "The hardest class is cat, with a recall of 60%" in words(report, "accuracy_by_class")
    perfect = evaluate(true, np.eye(2)[true], ["cat", "dog"], lengths=np.ones(20), resamples=0)
    assert "Nothing is off the diagonal" in words(perfect, "confusion_matrix")


@pytest.mark.parametrize(
    ("probability", "says"),
    [(0.95, "overconfident"), (0.6, "underconfident"), (0.8, "neither overconfident nor")],
)
def test_calibration_says_on_which_side_the_network_is(probability, says):
    right = np.arange(100) % 5 > 0  # 80 %
    p = np.where(right[:, None], [1 - probability, probability], [probability, 1 - probability])
    report = evaluate(np.ones(100, int), p, ["a", "b"], lengths=np.ones(100), resamples=0)
    assert says in words(report, "calibration")


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ([36, 37, 35, 37, 36, 36, 36, 36, 35, 36], "each of the 10 classes makes up about 10 %"),
        ([100, 100, 9], "the rarest class makes up 4.3 %"),
    ],
)
def test_a_class_is_called_rare_only_if_it_is(random_report, make_report, counts, says):
    true = np.repeat(np.arange(len(counts)), counts)
    report = make_report(true, np.eye(len(counts))[true])
    assert says in words(report, "precision_recall")
    assert says in plots.left_out([{"loss": 1.0}], report)["roc.png"]


def test_of_many_classes_the_most_confused_are_drawn(make_report, tmp_path):
    k = 800
    true = np.repeat(np.arange(k), 2)
    predicted = true.copy()
    predicted[[2, 3]] = 700  # both sequences of class 1
    report = make_report(true, np.eye(k)[predicted])
    figure = plots.confusion_matrix(report)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(names) == 50 and {"c1", "c700"} <= set(names)
    assert max(figure.get_size_inches()) < 12
    assert "Of 800 classes, the 50 with the most errors are drawn" in words(
        report, "confusion_matrix"
    )
    assert "c1 predicted as c700: 2 times, 100%" in words(report, "confusion_matrix")


def test_labels_predicted_in_error_are_named():
    true = np.array([[1, 0, 0]] * 6 + [[0, 1, 0]] * 4)
    predicted = true.copy()
    predicted[:3, 2] = 1  # c, for half of the sequences with a
    lengths = np.arange(10) + 1
    report = evaluate_labels(true, 0.1 + 0.8 * predicted, ["a", "b", "c"], lengths=lengths)
    assert "50%: c, for sequences with a." in words(report, "label_matrix")
    shares = plots.label_matrix(report).axes[0].images[0].get_array()
    assert shares[0].tolist() == [1.0, 0.0, 0.5] and shares[1].tolist() == [0.0, 1.0, 0.0]
    assert np.ma.getmaskarray(shares)[2].all()  # no sequence has label c
    assert "too low" not in words(report, "calibration")
    assert "for 1 steps" not in words(report, "exact_by_length")
    none = evaluate_labels(0 * true, 0.1 + 0 * true, ["a", "b", "c"], lengths=lengths)
    assert plots.left_out([], none)["label_matrix.png"] == "no sequence has a label"
