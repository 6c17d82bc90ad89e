"""The table of metrics: a row is all that a new metric takes."""

import numpy as np
import pytest

from elman.evaluate import METRICS, Metric, evaluate, evaluate_labels, evaluate_values
from elman.evaluate import metrics as module

NEW = Metric(
    "share_predicted",
    "share predicted",
    "Something new.",
    "counts",
    lambda counts: counts.predicted[..., 0] / counts.predicted.sum(-1),
    interval=True,
)


def test_a_new_row_appears_everywhere(monkeypatch):
    monkeypatch.setitem(METRICS, "classification", (*METRICS["classification"], NEW))
    rng = np.random.default_rng(0)
    true, p = rng.integers(0, 3, 90), rng.dirichlet(np.ones(3), 90)
    report = evaluate(true, p, "abc", lengths=np.ones(90), baselines={"zero": true * 0})
    assert report.share_predicted == pytest.approx((p.argmax(1) == 0).mean())
    assert "share_predicted" in dir(report)
    assert report.to_dict()["share_predicted"] == report.share_predicted
    assert report.baselines["zero"]["share_predicted"] == 1
    low, high = report.intervals["share_predicted"]
    assert low < report.share_predicted < high
    assert "share predicted" in str(report) and "share predicted" in report._repr_html_()


@pytest.mark.parametrize("output", METRICS)
def test_rows_keep_their_own_rules(output):
    rows = METRICS[output]
    assert len({row.name for row in rows}) == len({row.title for row in rows}) == len(rows)
    for row in rows:
        assert row.meaning.endswith(".")
        assert row.needs == "counts" or not row.interval  # only counts can be resampled


def test_what_a_report_lacks_is_an_attribute_error():
    numbers = np.arange(4.0)[:, None]
    report = evaluate_values(numbers, numbers, ["y"], lengths=np.ones(4), resamples=0)
    with pytest.raises(AttributeError, match="RegressionReport has no attribute 'accuracy'"):
        report.accuracy  # noqa: B018


def test_reports_can_be_copied_and_pickled():
    import copy
    import pickle

    there = np.eye(3, dtype=int)
    report = evaluate_labels(there, 0.8 * there, "abc", lengths=np.ones(3), resamples=0)
    for again in (copy.deepcopy(report), pickle.loads(pickle.dumps(report))):
        assert again.micro_f1 == report.micro_f1 == 1
        assert again.per_label[2].support == 1


def test_calibration_bins_are_those_of_the_error():
    rng = np.random.default_rng(1)
    true, p = rng.integers(0, 3, 500), rng.dirichlet(np.ones(3), 500)
    report = evaluate(true, p, "abc", lengths=np.ones(500), resamples=0)
    bins = report.calibration_bins
    assert bins.count.sum() == 500 and len(bins.count) == module.CALIBRATION_BINS
    assert report.calibration_error == bins.error


def test_a_rich_console_prints_what_str_says():
    import io

    from rich.console import Console

    report = evaluate([0, 1, 1], np.eye(2)[[0, 1, 0]], ["[bold]", "b"], lengths=[1, 1, 1])
    stream = io.StringIO()
    Console(file=stream, width=80, color_system=None).print(report)
    lines = [line.rstrip() for line in stream.getvalue().rstrip().splitlines()]
    assert lines == str(report).splitlines()
    assert "[bold]" in str(report) and "\x1b" not in str(report)
    narrow = io.StringIO()
    Console(file=narrow, width=40, color_system=None).print(report)
    assert max(len(line) for line in narrow.getvalue().splitlines()) <= 40
