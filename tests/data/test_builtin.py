"""The built-in tasks are what they say they are, and the same every time."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter

import numpy as np
import pytest

from elman.data.builtin import BUILTIN_TASKS, load_task
from elman.data.dataset import Dataset
from elman.data.ragged import Ragged
from elman.errors import SettingsError

SIMPLE = ["sum-threshold", "token-order", "running-parity", "waves"]
DRAWN = [*SIMPLE, "adding", "copy-memory", "temporal-order", "reber", "brackets"]
SIZES = {
    "adding": (5000, 1000),
    "copy-memory": (4000, 500),
    "temporal-order": (2000, 500),
    "reber": (1000, 250),
    "brackets": (3000, 500),
}
WORDS = {"waves", "copy-memory", "temporal-order", "reber", "anbn", "brackets"}  # as labels


def labelled(data: Dataset) -> list[tuple[list, object]]:
    """The sequences as plain lists, each with its label or labels."""
    assert isinstance(data.inputs, Ragged)
    assert data.target is not None
    targets = [t.tolist() if isinstance(data.target, Ragged) else t for t in data.target]
    return [(s.tolist(), t) for s, t in zip(data.inputs, targets, strict=True)]


load = functools.cache(load_task)


def both(name: str, seed: int = 0) -> list[tuple[list, object]]:
    train, test = load(name, seed)
    return labelled(train) + labelled(test)


def test_the_tasks_and_their_names() -> None:
    assert list(BUILTIN_TASKS) == ["digits", *DRAWN[:-1], "anbn", "brackets", "sequential-digits"]
    for name, task in BUILTIN_TASKS.items():
        assert task.name == name
        assert task.summary and "\n" not in task.summary + task.known + task.source
        assert "sequences of the" in "".join(p.meaning for p in task.parameters.values()) or (
            "digits" in name
        )


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_layout_describes_the_data(name: str) -> None:
    for data in load(name, 0):
        layout = data.layout
        assert data.source == name
        assert (layout.format, layout.target) == ("rows", "label")
        assert layout.per_step == isinstance(data.target, Ragged)
        assert isinstance(data.inputs, Ragged)
        if layout.kind == "numbers":
            assert data.inputs.values.dtype == np.float64
            assert data.inputs.values.shape[1:] == (len(layout.values),)
            assert np.isfinite(data.inputs.values).all()
        else:
            assert layout.kind == "tokens"
            assert layout.text == "tokens" and layout.values == ()
            assert data.inputs.values.dtype == object and data.inputs.values.ndim == 1
            assert {type(v) for v in data.inputs.values} == {str}
        assert data.lines is None
        labels = data.target.values if isinstance(data.target, Ragged) else data.target
        assert labels is not None
        if name == "adding":  # a number to predict, not a class
            assert labels.dtype == np.float64
            continue
        assert labels.dtype == object
        assert {type(label) for label in labels} == {str if name in WORDS else int}


@pytest.mark.parametrize("name", DRAWN)
def test_generated_sizes_and_no_test_sequence_in_training(name: str) -> None:
    for seed in range(2):
        train, test = load(name, seed)
        assert (len(train), len(test)) == SIZES.get(name, (800, 200))
        assert len({str(s) for s, _ in both(name, seed)}) == len(train) + len(test)


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_seed_decides(name: str) -> None:
    # The sequences of adding are long and many: a small set is drawn by the same code.
    name = {"adding": "adding:T=20,train=200,test=50"}.get(name, name)
    again = [pair for part in load_task(name, 7) for pair in labelled(part)]
    assert both(name, 7) == again
    assert both(name, 7) != both(name, 0)
    assert both(name, 2**40) != both(name, 0)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("digits", "264b618874f21c88"),
        ("sum-threshold", "73c3dd9dd2d26d28"),
        ("token-order", "eb429a4d8e37e6fe"),
        ("running-parity", "61050149c74316e1"),
        ("waves", "72e6a427894f5256"),
        ("adding:T=20,train=50", "3397cc1e9496bc9a"),
        ("copy-memory", "38d612e0c8e5b624"),
        ("temporal-order", "f730b89b261b32e5"),
        ("temporal-order:symbols=3", "699060afd391eede"),
        ("reber", "13a503799bc3d12b"),
        ("anbn", "7fb369b0f6326c83"),
        ("brackets", "ec237c030fa9f112"),
        ("brackets:kinds=1", "82197349aaeb3aa2"),
        ("sequential-digits", "4b6932d58e9775fa"),
        ("sequential-digits:order=permuted", "ce2b6f232e144c60"),
        ("running-parity:stretch=3", "b0f2d8a5f6f88616"),
    ],
)
def test_data_of_a_seed_never_changes(name: str, digest: str) -> None:
    assert hashlib.sha256(repr(both(name, 0)).encode()).hexdigest()[:16] == digest


def test_digits_are_the_digits_in_a_stratified_split() -> None:
    from sklearn.datasets import load_digits

    train, test = load("digits", 0)
    assert (len(train), len(test)) == (1437, 360)
    images, digits = load_digits(return_X_y=True)
    expected = Counter((tuple(i), int(d)) for i, d in zip(images, digits, strict=True))
    assert Counter((tuple(np.ravel(s)), d) for s, d in both("digits")) == expected
    assert all(np.shape(s) == (8, 8) for s, _ in both("digits"))
    shares = [Counter(d for _, d in labelled(part)) for part in (train, test)]
    for digit in range(10):
        assert abs(shares[1][digit] - 0.2 * (shares[0][digit] + shares[1][digit])) <= 1
    assert train.layout.values[0] == "pixel 1" and train.layout.values[-1] == "pixel 8"


def test_sum_threshold_rule() -> None:
    for sequence, label in both("sum-threshold"):
        numbers = [x for (x,) in sequence]
        assert len(numbers) == 10
        assert all(0 <= x < 1 for x in numbers)
        assert label == (1 if sum(numbers) > 5 else 0)


def test_token_order_rule() -> None:
    sequences = both("token-order")
    for tokens, label in sequences:
        assert len(tokens) == 12
        assert tokens.count("1") == tokens.count("2") == 1
        assert label == (1 if tokens.index("1") < tokens.index("2") else 0)
    assert {t for tokens, _ in sequences for t in tokens} == {str(i) for i in range(20)}
    assert {tokens.index("1") for tokens, _ in sequences} == set(range(12))
    assert {tokens.index("2") for tokens, _ in sequences} == set(range(12))


def test_running_parity_rule() -> None:
    sequences = both("running-parity")
    for sequence, labels in sequences:
        odd = 0
        expected = []
        for (bit,) in sequence:
            assert bit in (0.0, 1.0)
            odd ^= int(bit)
            expected.append(odd)
        assert labels == expected
    assert {len(s) for s, _ in sequences} == set(range(5, 21))


def test_waves_are_the_shapes_they_are_called() -> None:
    """Least squares over a grid of phases and periods finds the shape back from the noise."""
    sequences = both("waves")
    assert {len(s) for s, _ in sequences} == set(range(20, 51))
    phase, period = (
        g.reshape(-1, 1) for g in np.meshgrid(np.arange(0, 1, 0.05), np.arange(8, 16.1, 0.2))
    )
    turns = (phase + np.arange(50) / period) % 1
    shapes = {
        "sine": 2**0.5 * np.sin(2 * np.pi * turns),
        "square": np.sign(0.5 - turns),
        "sawtooth": 3**0.5 * (2 * turns - 1),
    }
    hits = 0
    for sequence, label in sequences:
        x = np.array(sequence)[:, 0]
        errors = {n: ((w[:, : len(x)] - x) ** 2).mean(axis=1).min() for n, w in shapes.items()}
        hits += min(errors, key=errors.__getitem__) == label
        assert abs(x.std() - 1.03) < 0.3
    assert hits > 970


@pytest.mark.parametrize("name", [*SIMPLE, "temporal-order", "brackets"])
def test_classes_are_balanced(name: str) -> None:
    for seed in range(2):
        for data in load(name, seed):
            labels = [v for _, t in labelled(data) for v in (t if isinstance(t, list) else [t])]
            counts = Counter(labels)
            fair = len(labels) / len(counts)
            assert len(counts) == {"waves": 3, "temporal-order": 4}.get(name, 2)
            # Four standard deviations of a fair draw.
            assert max(abs(c - fair) for c in counts.values()) < 4 * fair**0.5


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"no task 'wave'.*Did you mean 'waves'\?.*digits"):
        load_task("wave", 0)
    with pytest.raises(SettingsError, match=r"no task 'wave'"):
        load_task("wave:T=3", 0)
    with pytest.raises(SettingsError, match="seed is -1"):
        load_task("digits", -1)
