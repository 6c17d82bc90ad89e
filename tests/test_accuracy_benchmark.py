"""benchmarks/accuracy.py: its figures, its data, and one run in a process of its own."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
accuracy = importlib.import_module("accuracy")
contenders = importlib.import_module("peers.contenders")
sets = importlib.import_module("peers.sets")

BY_NAME = {s.name: s for s in sets.SETS}
TAGS = sets.Data("tags", [["a"]], [["O"]], [["a", "b"], ["c"]], [["B-x", "I-x"], ["O"]])


def test_figures_of_classes_and_tags():
    plain = sets.Data("numbers", [], [], [0] * 4, ["a", "b", "b", "a"])
    assert accuracy.metrics_of(plain, ["a", "b", "a", "a"]) == {"accuracy": 0.75}
    found = accuracy.metrics_of(TAGS, [["B-x", "O"], ["O"]])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["entity F1"] == 0  # half an entity is none
    assert accuracy.metrics_of(TAGS, TAGS.y_test) == {"accuracy": 1.0, "entity F1": 1.0}


def test_the_parts_are_the_official_ones():
    data = BY_NAME["ItalyPowerDemand"].load(Path(), 0)
    assert (len(data.X), len(data.X_test)) == (67, 1029)
    assert data.X[0].shape == (24, 1)
    digits = [BY_NAME["digits by rows"].load(Path(), seed) for seed in range(sets.FOLDS)]
    assert sum(len(d.X_test) for d in digits) == 1797  # each digit once
    first, again = digits[0], BY_NAME["digits by rows"].load(Path(), sets.FOLDS)
    assert np.array_equal(first.X_test, again.X_test)


def test_data_that_is_not_at_hand(tmp_path):
    found = accuracy.measure(BY_NAME["names"], "elman", 0, tmp_path)
    assert found == {"absent": f"names_train.csv is not in {tmp_path}; --data says where"}


def test_peers_say_what_they_do_not_take():
    unequal = sets.Data("numbers", [np.ones((3, 1)), np.ones((2, 1))], ["a", "b"], [], [])
    for contender in ("sktime GRU", "aeon FCN", "aeon MiniRocket"):
        for data in (TAGS, unequal):
            with pytest.raises(contenders.CannotError, match="only"):
                contenders.predict(contender, data, 0)


def test_the_contenders_that_need_nothing_else(monkeypatch):
    """They learn what is there to be learnt, on numbers, tokens and tags."""
    monkeypatch.setattr(contenders, "PLAIN_SECONDS", 3.0)
    rng = np.random.default_rng(0)
    numbers = [rng.normal(size=(rng.integers(3, 6), 2)) + 2 * (i % 2) for i in range(80)]
    tokens = [["no" if i % 2 else "yes", "well"][: 1 + i % 3] for i in range(80)]
    y = [str(i % 2) for i in range(80)]
    tags = [[t.upper() for t in x] for x in tokens]
    for kind, X, labels in (
        ("numbers", numbers, y),
        ("tokens", tokens, y),
        ("tags", tokens, tags),
    ):
        data = sets.Data(kind, X[:60], labels[:60], X[60:], labels[60:])
        for contender in ("plain torch", "logistic regression"):
            found, seconds = contenders.predict(contender, data, 0)
            assert accuracy.metrics_of(data, found)["accuracy"] > 0.9, (kind, contender)
            assert seconds > 0


def test_a_table_by_processes():
    chosen = [BY_NAME["ItalyPowerDemand"]]
    lines = list(accuracy.table_lines(chosen, ["logistic regression"], 1, Path(), 300.0))
    cells = [cell.strip() for cell in lines[-1].split("|")]
    assert cells[1:4] == ["ItalyPowerDemand", "logistic regression", "accuracy"]
    assert 0.7 < float(cells[4]) <= 1  # summaries leave out the order of steps
    stopped = list(accuracy.table_lines(chosen, ["plain torch"], 1, Path(), 0.01))
    assert "not done after 0.01 s" in stopped[-1]
