"""The tasks about memory follow their rules, and the answers of who has none are as stated."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from elman.data.builtin import load_task
from elman.data.builtin.benchmarks import make_adding
from elman.data.dataset import Dataset
from elman.data.ragged import Ragged


def sequences(data: Dataset) -> list[list]:
    assert isinstance(data.inputs, Ragged)
    return [s.tolist() for s in data.inputs]


def answers(data: Dataset) -> list:
    assert data.target is not None
    return [t.tolist() if isinstance(data.target, Ragged) else t for t in data.target]


@pytest.mark.parametrize("T", [2, 7, 100])
def test_adding(T: int) -> None:
    train, test = make_adding(1, T=T, train=2000, test=1000)
    assert (len(train), len(test)) == (2000, 1000)
    for part in (train, test):
        x, y = np.array(sequences(part)), np.array(answers(part))
        assert x.shape == (len(part), T, 2)
        numbers, marks = x[:, :, 0], x[:, :, 1]
        assert numbers.min() >= 0 and numbers.max() < 1
        assert set(np.unique(marks)) <= {0.0, 1.0}
        half = T // 2
        assert (marks[:, :half].sum(1) == 1).all() and (marks[:, half:].sum(1) == 1).all()
        np.testing.assert_allclose((numbers * marks).sum(1), y, rtol=1e-15)
        assert (marks.sum(0) > 0).all()  # every step is marked now and then


def test_adding_without_memory() -> None:
    """Always 1 has a mean squared error of 1/6; the mean of all numbers hardly helps."""
    train, test = make_adding(0, T=100, train=5000, test=5000)
    y = np.array(answers(test))
    assert np.mean((y - 1) ** 2) == pytest.approx(1 / 6, abs=0.006)
    x = np.array(sequences(test))[:, :, 0]
    explained = np.corrcoef(x.mean(1), y)[0, 1] ** 2
    assert explained == pytest.approx(2 / 100, abs=0.015)
    assert len({s.tobytes() for part in (train, test) for s in np.array(sequences(part))}) == 10_000


@pytest.mark.parametrize(("T", "items", "symbols"), [(1, 6, 9), (20, 10, 8), (100, 3, 9)])
def test_copy_memory(T: int, items: int, symbols: int) -> None:
    """The label at step t is the symbol at step t - T - items, where there is one; else blank."""
    asked = f"copy-memory:T={T},items={items},symbols={symbols},train=400,test=100"
    for part in load_task(asked, 2):
        alphabet = {str(i) for i in range(1, symbols + 1)}
        for x, y in zip(sequences(part), answers(part), strict=True):
            assert len(x) == len(y) == T + 2 * items
            assert set(x[:items]) <= alphabet
            assert x[items:] == ["-"] * (T - 1) + [":"] + ["-"] * items
            lag = T + items
            assert y == ["-"] * lag + x[: len(x) - lag]
        places = np.array([x[:items] for x in sequences(part)])
        for column in places.T:  # each place holds each symbol equally often
            counts = np.array([(column == a).sum() for a in sorted(alphabet)])
            fair = len(column) / symbols
            assert abs(counts - fair).max() < 5 * fair**0.5


def test_copy_memory_without_memory() -> None:
    """Blank until the sign, then a guess: the loss 10 log 8 / (T + 20) of the literature."""
    T, items, symbols = 20, 10, 8
    truth = np.array(answers(load_task("copy-memory", 0)[1]))
    said = np.full(truth.shape, "-", dtype=object)
    said[:, T + items :] = "1"
    accuracy = (said == truth).mean()
    assert accuracy == pytest.approx((T + items + items / symbols) / (T + 2 * items), abs=0.01)
    chance = np.where(np.arange(truth.shape[1]) < T + items, 1.0, 1 / symbols)
    loss = -np.log(chance).mean()
    assert loss == pytest.approx(10 * np.log(8) / (20 + 20))


@pytest.mark.parametrize(
    ("T", "symbols", "spans"),
    [
        (100, 2, [(10, 20), (50, 60)]),
        (100, 3, [(10, 20), (33, 43), (66, 76)]),
        (10, 2, [(1, 2), (5, 6)]),
        (10, 3, [(1, 2), (3, 4), (6, 7)]),
    ],
)
def test_temporal_order(T: int, symbols: int, spans: list[tuple[int, int]]) -> None:
    train, test = load_task(f"temporal-order:T={T},symbols={symbols}", 1)
    seen: list[set[int]] = [set() for _ in spans]
    lengths = set()
    for part in (train, test):
        for x, y in zip(sequences(part), answers(part), strict=True):
            lengths.add(len(x))
            assert (x[0], x[-1]) == ("E", "B")
            assert set(x[1:-1]) <= set("abcdXY")
            places = [i for i, token in enumerate(x) if token in ("X", "Y")]
            assert len(places) == symbols
            for place, (low, high), found in zip(places, spans, seen, strict=True):
                assert low <= place <= high
                found.add(place)
            assert y == "".join(x[i] for i in places)
    assert lengths == set(range(T, T + T // 10 + 1))
    for (low, high), found in zip(spans, seen, strict=True):
        assert found == set(range(low, high + 1))


@pytest.mark.parametrize(("symbols", "stated"), [(2, 0.75), (3, 0.5)])
def test_temporal_order_without_order(symbols: int, stated: float) -> None:
    """Counting X, but not minding where it stands, is right as often as stated."""
    train, test = load_task(f"temporal-order:symbols={symbols}", 0)
    by_count: dict[int, Counter] = {}
    for x, y in zip(sequences(train), answers(train), strict=True):
        by_count.setdefault(x.count("X"), Counter())[y] += 1
    said = [by_count[x.count("X")].most_common(1)[0][0] for x in sequences(test)]
    right = np.mean([a == b for a, b in zip(said, answers(test), strict=True)])
    assert right == pytest.approx(stated, abs=0.07)


def test_length_says_nothing_of_the_order() -> None:
    train, _ = load_task("temporal-order:train=4000", 0)
    mean = {y: [] for y in ("XX", "XY", "YX", "YY")}
    for x, y in zip(sequences(train), answers(train), strict=True):
        mean[y].append(len(x))
    # 11 lengths, uniform: deviation 3.16; a thousand sequences a class.
    assert max(abs(np.mean(v) - 105) for v in mean.values()) < 4 * 3.16 / 900**0.5


def test_sequential_digits_are_the_digits() -> None:
    rows = load_task("digits", 3)
    pixels = load_task("sequential-digits", 3)
    mixed = load_task("sequential-digits:order=permuted", 3)
    places = None
    for a, b, c in zip(rows, pixels, mixed, strict=True):
        assert answers(a) == answers(b) == answers(c)
        assert all(isinstance(part.inputs, Ragged) for part in (a, b, c))
        flat = np.array(sequences(b))
        assert flat.shape[1:] == (64, 1)
        np.testing.assert_array_equal(np.array(sequences(a)).reshape(flat.shape), flat)
        shuffled = np.array(sequences(c))
        assert (shuffled != flat).any()
        if places is None:  # the order that is found in one part holds in both
            columns = {flat[:, i, 0].tobytes(): i for i in range(64)}
            places = [columns[shuffled[:, i, 0].tobytes()] for i in range(64)]
        np.testing.assert_array_equal(flat[:, places], shuffled)
    assert places is not None and len(set(places)) > 50  # some corners are always 0


@pytest.mark.parametrize("stretch", [1, 3])
def test_running_parity_of_longer_sequences(stretch: int) -> None:
    train, test = load_task(f"running-parity:T=30,stretch={stretch}", 0)
    for part, low, high in (
        (train, 5, 30),
        (test, *((5, 30) if stretch == 1 else (31, 90))),
    ):
        lengths = {len(x) for x in sequences(part)}
        assert low <= min(lengths) and max(lengths) <= high
        assert len(lengths) > 0.8 * (high - low)
        for x, y in zip(sequences(part), answers(part), strict=True):
            bits = np.ravel(x).astype(int)
            assert y == np.bitwise_xor.accumulate(bits).tolist()
