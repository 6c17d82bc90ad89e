"""Which sequences are chosen to be looked at, checked on answers that can be counted by hand."""

import numpy as np
import pytest

from elman.evaluate import evaluate, evaluate_labels, evaluate_values
from elman.evaluate.task_reports import CLOSEST, FARTHEST, RIGHT, UNDECIDED, WRONG


def test_classes():
    p = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.36, 0.34, 0.3], [0.0, 0.3, 0.7],
                  [0.2, 0.75, 0.05]])  # fmt: skip
    report = evaluate([0, 2, 0, 2, 0], p, ["a", "b", "c"], lengths=[3] * 5, resamples=0)
    found = report.notable_examples()
    assert [t.sequence for t in found[RIGHT]] == [0, 3, 2]
    assert [(t.sequence, t.true, t.predicted) for t in found[WRONG]] == [
        (1, "c", "b"),
        (4, "a", "b"),
    ]
    assert found[WRONG][0].score == pytest.approx(0.8) and found[WRONG][0].step is None
    assert [t.sequence for t in found[UNDECIDED]][:2] == [2, 3]
    assert [len(each) for each in report.notable_examples(most=1).values()] == [1, 1, 1]
    perfect = evaluate([0, 1], [[0.9, 0.1], [0.4, 0.6]], ["a", "b"], lengths=[1, 1], resamples=0)
    assert perfect.notable_examples()[WRONG] == ()


def test_a_class_at_every_step():
    sure = np.array([0.9, 0.8, 0.99, 0.95, 0.7, 0.6, 0.97, 0.55])
    owners = np.array([0, 0, 1, 1, 2, 2, 2, 3])
    true = np.array([0, 0, 0, 0, 1, 0, 1, 0])  # sequence 2 is wrong at its steps 0 and 2
    p = np.stack([sure, 1 - sure], 1)
    report = evaluate(true, p, ["a", "b"], lengths=[2, 2, 3, 1], owners=owners, resamples=0)
    found = report.notable_examples()
    # By the least sure step of each: 0.95, 0.8, 0.55.
    assert [(t.sequence, t.step) for t in found[RIGHT]] == [(1, None), (0, None), (3, None)]
    assert [round(t.score, 2) for t in found[RIGHT]] == [0.95, 0.8, 0.55]
    assert [(t.sequence, t.step, t.true) for t in found[WRONG]] == [(2, 2, "b")]
    assert [(t.sequence, t.step) for t in found[UNDECIDED]] == [(3, 0), (2, 1), (0, 1), (1, 1)]


def test_several_labels():
    p = np.array([[0.9, 0.1], [0.6, 0.05], [0.99, 0.45]])
    true = np.array([[1, 0], [0, 0], [1, 1]])
    found = evaluate_labels(true, p, ["x", "y"], lengths=[1, 2, 3], resamples=0).notable_examples()
    assert [(t.sequence, t.predicted) for t in found[RIGHT]] == [(0, "x")]
    assert [(t.sequence, t.true, t.predicted) for t in found[WRONG]] == [
        (1, "x: no", "x: yes"), (2, "y: yes", "y: no"),
    ]  # fmt: skip
    assert found[WRONG][0].score == pytest.approx(0.6)
    assert found[UNDECIDED][0].sequence == 2


def test_values_and_values_at_every_step():
    true = np.array([[1.0], [2.0], [3.0], [4.0]])
    predicted = true + np.array([[0.1], [-2.0], [0.0], [0.5]])
    found = evaluate_values(true, predicted, ["v"], lengths=[1] * 4, resamples=0).notable_examples()
    assert [t.sequence for t in found[FARTHEST]] == [1, 3, 0, 2]
    assert [t.sequence for t in found[CLOSEST]] == [2, 0, 3, 1]
    assert (found[FARTHEST][0].true, found[FARTHEST][0].predicted) == ("2", "0")
    assert found[FARTHEST][0].score == pytest.approx(2 / true.std())
    report = evaluate_values(
        true, predicted, ["v"], lengths=[3, 1], owners=np.array([0, 0, 0, 1]), resamples=0
    )
    first = report.notable_examples()[FARTHEST][0]
    assert (first.sequence, first.step) == (0, 1)
