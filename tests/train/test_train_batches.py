"""Cutting ragged sequences into padded batches."""

import numpy as np
import pytest
import torch
from cases import make_examples
from hypothesis import given
from hypothesis import strategies as st

from elman.data.batches import batch_by_length, batch_randomly, make_batch, pad
from elman.data.ragged import Ragged


def lengths_of(n, seed=0, longest=100):
    return np.random.default_rng(seed).integers(1, longest + 1, n)


def padding_share(lengths, batches):
    room = sum(len(b) * lengths[b].max() for b in batches)
    return 1 - lengths.sum() / room


@given(
    lengths=st.lists(st.integers(0, 20), max_size=80),
    size=st.integers(1, 90),
    seed=st.integers(0, 3),
)
def test_shuffled_takes_each_sequence_once(lengths, size, seed):
    batches = batch_randomly(np.array(lengths, dtype=np.int64), size, np.random.default_rng(seed))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(0 < len(batch) <= size for batch in batches)
    assert len(batches) == -(-len(lengths) // size)


@given(lengths=st.lists(st.integers(0, 20), max_size=80), size=st.integers(1, 90))
def test_in_order_takes_each_sequence_once_from_short_to_long(lengths, size):
    array = np.array(lengths, dtype=np.int64)
    order = [i for batch in batch_by_length(array, size) for i in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert list(array[order]) == sorted(lengths)


def test_batches_are_of_like_lengths():
    """Far less padding than batches drawn without regard to length."""
    lengths = lengths_of(1000)
    bucketed = padding_share(lengths, batch_randomly(lengths, 16, np.random.default_rng(0)))
    order = np.random.default_rng(0).permutation(1000)
    careless = padding_share(lengths, [order[i : i + 16] for i in range(0, 1000, 16)])
    assert careless > 0.4
    assert bucketed < careless / 4


def test_batches_come_in_random_order():
    """Short sequences do not come first, and other sequences meet in every epoch."""
    lengths = lengths_of(1000)
    generator = np.random.default_rng(0)
    one, other = batch_randomly(lengths, 16, generator), batch_randomly(lengths, 16, generator)
    means = [lengths[batch].mean() for batch in one]
    assert 0.3 < np.mean(np.diff(means) > 0) < 0.7
    sets = {frozenset(batch) for batch in one}
    assert not sets & {frozenset(batch) for batch in other}


@pytest.mark.parametrize("equal", [False, True])
def test_the_generator_is_the_only_chance(equal):
    lengths = np.full(50, 7) if equal else lengths_of(50)
    np.random.seed(0)
    one = batch_randomly(lengths, 8, np.random.default_rng(3))
    np.random.seed(1)
    two = batch_randomly(lengths, 8, np.random.default_rng(3))
    other = batch_randomly(lengths, 8, np.random.default_rng(4))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_pad():
    ragged = Ragged.from_list([[1, 2, 3], [], [4]], dtype=np.int64)
    assert pad(ragged).tolist() == [[1, 2, 3], [0, 0, 0], [4, 0, 0]]
    assert pad(ragged).dtype == torch.int64
    numbers = Ragged.from_list([np.ones((2, 3), np.float32), 2 * np.ones((1, 3), np.float32)])
    found = pad(numbers)
    assert found.dtype == torch.float32
    assert found.tolist() == [[[1.0] * 3] * 2, [[2.0] * 3, [0.0] * 3]]
    assert pad(ragged.take(np.array([], dtype=np.int64))).shape == (0, 0)


@pytest.mark.parametrize("tokens", [False, True], ids=["numbers", "tokens"])
@pytest.mark.parametrize("per_step", [False, True])
def test_make_batch(tokens, per_step):
    data = make_examples(12, tokens=tokens, per_step=per_step)
    index = np.array([5, 0, 11, 5])
    batch = make_batch(data, index)
    assert batch.lengths.tolist() == data.inputs.lengths[index].tolist()
    assert batch.x.shape[:2] == (4, batch.lengths.max())
    assert batch.lengths.dtype == torch.int64
    for row, (i, length) in enumerate(zip(index, batch.lengths, strict=True)):
        assert np.array_equal(batch.x[row, :length], data.inputs[i])
        assert (batch.x[row, length:] == 0).all()
        if per_step:
            assert np.array_equal(batch.target[row, :length], data.target[i])
            assert (batch.target[row, length:] == 0).all()
        else:
            assert batch.target[row] == data.target[i]


def test_a_batch_is_a_copy():
    """Writing into a batch leaves the data alone."""
    data = make_examples(3)
    before = data.inputs.values.copy()
    batch = make_batch(data, np.arange(3))
    batch.x.fill_(9)
    batch.lengths.fill_(9)
    assert np.array_equal(data.inputs.values, before)
    assert data.inputs.lengths.max() < 10
