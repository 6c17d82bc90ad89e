"""Folds: each sequence is held out once; classes, groups, gaps and time are respected."""

import numpy as np
import pytest

from elman.data import Layout, Ragged
from elman.data.dataset import Dataset
from elman.data.folds import divide_into_folds
from elman.errors import DataError


def make(target, task="classification", starts=None):
    n = len(target)
    inputs = Ragged(np.zeros((2 * n, 1)), np.arange(n + 1) * 2)
    layout = Layout(kind="numbers", format="rows", task=task)
    return Dataset(inputs, target, layout=layout, source="here", starts=starts)


def labels(text):
    out = np.empty(len(text), dtype=object)
    out[:] = list(text)
    return out


def check(found, count):
    held_out = np.concatenate([second for _, second in found])
    assert sorted(held_out.tolist()) == list(range(count))
    for first, second in found:
        assert sorted([*first.tolist(), *second.tolist()]) == list(range(count))


def test_stratified():
    data = make(labels("aaaaaabbbccc"))
    found = divide_into_folds(data, 3, 0)
    check(found, 12)
    for _, second in found:
        assert sorted(data.target[second].tolist()) == list("aabc")
    again = divide_into_folds(data, 3, 0)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(found, again, strict=True))
    other = divide_into_folds(data, 3, 1)
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(found, other, strict=True))


def test_a_class_of_one_sequence_is_never_held_out():
    data = make(labels("aaaaaabbbbbc"))
    for first, second in divide_into_folds(data, 3, 0):
        assert 11 in first and 11 not in second


def test_groups_are_whole():
    groups = list("112233445566")
    data = make(labels("abababababab"))
    found = divide_into_folds(data, 3, 0, "group", groups)
    check(found, 12)
    for first, second in found:
        assert not {groups[i] for i in first} & {groups[i] for i in second}


def test_a_group_with_the_only_sequence_of_a_class_stays_whole():
    groups = list("112233445566")
    data = make(labels("cbababababab"))
    for first, second in divide_into_folds(data, 3, 0, "group", groups):
        assert {0, 1} <= set(first.tolist())
        assert not {groups[i] for i in first} & {groups[i] for i in second}


def test_in_time():
    starts = np.array([5.0, 1, 4, 2, 3, 0, 7, 6])
    found = divide_into_folds(make(labels("aaaaaaaa"), starts=starts), 3, 0, "time")
    for first, second in found:
        assert starts[first].max() < starts[second].min()
    held_out = np.concatenate([second for _, second in found])
    assert len(set(held_out.tolist())) == len(held_out) == 6


def test_in_time_a_new_class_is_left_out():
    for first, second in divide_into_folds(make(labels("aaaabaaa")), 3, 0, "time"):
        assert first.max() < second.min() and (4 not in second or 4 in first)


def test_gaps_that_one_sequence_has_are_not_held_out():
    gaps = np.zeros((9, 2), dtype=bool)
    gaps[4, 1] = True
    for first, _ in divide_into_folds(make(labels("ababababa")), 3, 0, gaps=gaps):
        assert 4 in first


def test_labels_at_steps_and_sets_of_labels():
    steps = Ragged(labels("aabbaabbaabbaaca"), np.arange(9) * 2)
    for first, _ in divide_into_folds(make(steps, "tagging"), 4, 0):
        assert 7 in first  # the only one with a c
    sets = labels([frozenset(x) for x in ("a", "ab", "b", "a", "ab", "c")])
    for first, _ in divide_into_folds(make(sets, "multilabel"), 2, 0):
        assert 5 in first
    check(divide_into_folds(make(np.arange(6.0)[:, None], "regression"), 3, 0), 6)


@pytest.mark.parametrize(
    ("method", "groups", "words"),
    [("stratified", None, "2 sequences"), ("group", ["x", "x"], "1 groups")],
)
def test_too_few(method, groups, words):
    with pytest.raises(DataError, match=f"{words} are too few for 3 folds"):
        divide_into_folds(make(labels("ab")), 3, 0, method, groups)
