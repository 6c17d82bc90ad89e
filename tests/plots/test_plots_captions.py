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
    assert "Without validation data, overfitting cannot be seen" in text([None, None])


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
