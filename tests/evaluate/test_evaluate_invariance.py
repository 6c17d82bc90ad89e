"""A sound model passes every check, and each planted fault is caught by the check that names it."""

import numpy as np
import pytest
import torch

from elman.errors import DataError
from elman.evaluate import check_invariance

torch.manual_seed(0)
W = torch.randn(3, 4, dtype=torch.float64)
EMBEDDING = torch.randn(20, 3, dtype=torch.float64)


def mask(x, lengths):
    return torch.arange(x.shape[1]) < lengths[:, None]


def embed(x, lengths):
    """Numbers as they are, tokens looked up, noughts past the end."""
    valid = mask(x, lengths)
    if x.ndim == 2:
        return EMBEDDING[torch.where(valid, x, 0)] * valid[..., None]
    return torch.where(valid[..., None], x.double(), 0.0)


def sound(x, lengths):
    return (embed(x, lengths).sum(1) / lengths[:, None] @ W).softmax(-1)


def sound_tagger(x, lengths):
    return (embed(x, lengths).cumsum(1) @ W).softmax(-1)


def mean_over_padding(x, lengths):
    return (embed(x, lengths).mean(1) @ W).softmax(-1)


def reads_padding(x, lengths):
    return (x.double().mean(1) @ W).softmax(-1)


def last_column(x, lengths):
    return (embed(x, lengths)[:, -1] @ W).softmax(-1)


def mixes_rows(x, lengths):
    pooled = embed(x, lengths).sum(1) / lengths[:, None]
    return ((pooled - pooled.mean(0)) @ W).softmax(-1)


def first_row_is_special(x, lengths):
    scores = embed(x, lengths).sum(1) / lengths[:, None] @ W
    scores = torch.cat([scores[:1], scores[1:] + torch.arange(4) * (lengths[0] > 5)])
    return scores.softmax(-1)


def large_batches_differ(x, lengths):
    return ((1 + (len(x) > 12) * 0.1) * embed(x, lengths).sum(1) @ W).softmax(-1)


def reads_memory_as_if_dense(x, lengths):
    dense = torch.as_strided(x, x.shape, torch.empty(x.shape).stride(), x.storage_offset())
    return sound(dense, lengths)


class Forgetful:
    """A random answer, as of a model left in training mode with dropout."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, x, lengths):
        noise = torch.rand(len(x), 4, generator=self.generator)
        return (sound(x, lengths) + 0.1 * noise).softmax(-1)


def numbers(n=12, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(t, 3)) for t in rng.permutation(np.arange(1, n + 1))]


def tokens(n=12, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 20, t) for t in rng.permutation(np.arange(1, n + 1))]


def failed(checks):
    return {c.name for c in checks if not c.passed}


@pytest.mark.parametrize("model", [sound, sound_tagger])
@pytest.mark.parametrize("data", [numbers, tokens])
def test_a_sound_model_passes_everything(model, data):
    checks = check_invariance(model, data(), tolerance=1e-12)
    assert failed(checks) == set()
    names = {c.name for c in checks}
    assert {"other sequences", "order", "batch size", "extra padding", "pad value"} <= names
    assert ("pad value outside the vocabulary" in names) == (data is tokens)
    assert all(c.worst <= 1e-12 and c.detail for c in checks)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (mean_over_padding, "extra padding"),
        (reads_padding, "pad value"),
        (last_column, "extra padding"),
        (mixes_rows, "other sequences"),
        (first_row_is_special, "order"),
        (large_batches_differ, "batch size"),
        (reads_memory_as_if_dense, "memory layout"),
        (Forgetful(), "repeated"),
    ],
)
def test_each_fault_is_caught_by_its_check(model, name):
    checks = check_invariance(model, numbers())
    assert name in failed(checks)
    assert all(c.worst > 1e-6 for c in checks if not c.passed)


def test_a_fault_in_one_thing_leaves_the_other_checks_alone():
    assert failed(check_invariance(large_batches_differ, numbers())) == {"batch size"}
    assert failed(check_invariance(reads_memory_as_if_dense, numbers())) == {"memory layout"}


def test_a_model_that_needs_sorted_rows_is_caught_by_order_alone():
    def sorted_only(x, lengths):
        order = lengths.argsort(descending=True, stable=True)
        return sound(x[order], lengths[order])  # and forgets to put them back

    longest_first = sorted(numbers(), key=len, reverse=True)
    checks = check_invariance(sorted_only, longest_first)
    assert failed(checks) == {"order", "batch size"}


def test_nan_that_leaks_from_padding_counts_as_infinite():
    def leaks(x, lengths):
        return ((x.double() * mask(x, lengths)[..., None]).sum(1) @ W).softmax(-1)

    checks = check_invariance(leaks, numbers())
    worst = {c.detail.split()[2].rstrip(","): c.worst for c in checks if c.name == "pad value"}
    assert worst["nan"] == worst["inf"] == float("inf")
    assert worst["1000000.0"] <= 1e-6


def test_a_pad_id_with_meaning_and_ids_that_crash_the_model_are_found():
    def token_7_is_read(x, lengths):
        seen = ((x == 7).sum(1, keepdim=True) * torch.arange(4)).double()
        return (sound(x, lengths) + seen).softmax(-1)

    sequences = [s[s != 7] if (s != 7).any() else s + 1 for s in tokens()]
    assert failed(check_invariance(token_7_is_read, sequences)) == set()
    assert failed(check_invariance(token_7_is_read, sequences, pad_ids=[7])) == {"pad value"}

    def looks_up_padding(x, lengths):
        return (EMBEDDING[x] * mask(x, lengths)[..., None]).sum(1).softmax(-1)

    checks = check_invariance(looks_up_padding, tokens())
    crashed = [c for c in checks if "IndexError" in c.detail]
    assert [c.name for c in crashed] == ["pad value outside the vocabulary"]
    assert crashed[0].worst == float("inf")


def test_more_sequences_than_a_batch_holds_are_never_alone():
    sizes = []

    def spy(x, lengths):
        sizes.append(len(x))
        return sound(x, lengths)

    assert failed(check_invariance(spy, numbers(130))) == set()
    assert max(sizes) <= 128  # a batch of 64, doubled
    assert sizes.count(1) == 2 * 130  # alone, twice
    assert min(size for size in sizes if size > 1) == 43


def test_float32_is_asked_in_float32():
    kinds = set()

    def spy(x, lengths):
        kinds.add(x.dtype)
        return sound(x, lengths)

    check_invariance(spy, [s.astype(np.float32) for s in numbers()])
    assert kinds == {torch.float32}


@pytest.mark.parametrize("sequences", [[], [np.zeros((0, 3))]])
def test_nothing_to_check_is_an_error(sequences):
    with pytest.raises(DataError):
        check_invariance(sound, sequences)
