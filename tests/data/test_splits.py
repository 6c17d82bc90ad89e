"""Whole groups on one side, in the shares asked for, and parts by time."""

import numpy as np
import pytest

from elman import DataError
from elman.data import Ragged, read
from elman.data.splits import hold_out_groups, hold_out_latest


def apart(groups, first, second):
    assert sorted([*first, *second]) == list(range(len(groups)))
    assert not {groups[i] for i in first} & {groups[i] for i in second}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.5])
def test_groups_stay_whole_and_shares_are_met(seed, share):
    rng = np.random.default_rng(seed)
    groups = [f"s{g}" for g in rng.integers(60, size=600)]
    labels = rng.choice(["a", "b", "c"], 600, p=[0.6, 0.3, 0.1])
    first, second = hold_out_groups(groups, share, seed, labels)
    apart(groups, first, second)
    assert abs(len(second) - share * 600) <= 15
    for label, least in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
        assert abs((labels[second] == label).mean() - least) < 0.1
    again = hold_out_groups(groups, share, seed, labels)
    np.testing.assert_array_equal(again[1], second)
    assert not np.array_equal(hold_out_groups(groups, share, seed + 100, labels)[1], second)


@pytest.mark.parametrize("seed", range(20))
def test_the_first_part_keeps_every_label(seed):
    groups = ["a", "a", "b", "b", "c", "c", "d", "d"]
    labels = np.array(["x", "y", "x", "y", "x", "only", "x", "y"])
    first, second = hold_out_groups(groups, 0.25, seed, labels)
    apart(groups, first, second)
    assert set(labels[first]) == {"x", "y", "only"} and len(second) == 2
    steps = Ragged.from_list([np.array([one, "x"], object) for one in labels])
    first, second = hold_out_groups(groups, 0.25, seed, steps)
    apart(groups, first, second)
    assert 5 in first and len(second) == 2
    gaps = np.zeros((8, 2), bool)
    gaps[2, 1] = True
    first, second = hold_out_groups(groups, 0.25, seed, None, gaps=gaps)
    assert 2 in first and len(second)


def test_large_groups_and_too_few():
    groups = [0] * 50 + [1] * 30 + [2] * 20
    assert set(hold_out_groups(groups, 0.1, 0)[1]) == set(range(80, 100))
    with pytest.raises(DataError, match="1 group cannot be divided so that some are held out for"):
        hold_out_groups(["a"] * 9, 0.2, 0)
    with pytest.raises(DataError, match="2 groups cannot be divided"):
        hold_out_groups([0, 0, 1, 1], 0.5, 0, np.array(["a", "a", "b", "b"]))


def test_the_latest():
    times = np.array([5.0, 1, 3, 3, 9])
    first, second = hold_out_latest(times, 0.4)
    assert (first.tolist(), second.tolist()) == ([1, 2, 3], [0, 4])
    first, second = hold_out_latest(np.zeros(5), 0.3)
    assert (first.tolist(), second.tolist()) == ([0, 1, 2], [3, 4])
    with pytest.raises(DataError, match="1 sequences are too few to hold out a test split"):
        hold_out_latest(np.zeros(1), 0.2, "test")


def test_groups_and_starts_are_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "id,who,time,v,label\nx,ann,2024-01-02,1,u\nx,ann,2024-01-03,2,u\ny,bob,2024-01-01,3,v\n"
    )
    data = read(path, group="who")
    assert data.groups == ("ann", "bob") and data.layout.values == ("v",)
    assert np.diff(data.starts).tolist() == [-86400]
    assert data.take(np.array([1])).groups == ("bob",)
    assert read(path, layout=data.layout).groups == ("ann", "bob")
    with pytest.raises(DataError, match="column 'id' is used twice, as --id and as --group"):
        read(path, id="id", group="id")
    path.write_text("id,who,v,label\nx,ann,1,u\nx,bob,2,u\ny,bob,3,v\n")
    with pytest.raises(DataError, match="line 3, column who: group 'bob' differs from 'ann'"):
        read(path, id="id", group="who")
    path.write_text("text,who,label\na,ann,u\nb, ,v\n")
    with pytest.raises(DataError, match="line 3, column who: the group is empty"):
        read(path, group="who", text="text")
    path.write_text("text,who,label\na,ann,u\nb,bob,v\n")
    assert read(path, group="who", text="text").groups == ("ann", "bob")
    with pytest.raises(DataError, match=r"there is no column 'whom'\. Did you mean 'who'"):
        read(path, group="whom", text="text")
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "a", "who": 1, "label": "u"}\n{"text": "b", "who": 2, "label": "v"}')
    assert read(lines, group="who").groups == ("1", "2")
    lines.write_text(
        '{"text": "a", "who": 1, "label": "u"}\n{"text": "b", "who": null, "label": "v"}'
    )
    with pytest.raises(DataError, match=r"line 2: key 'who': the group is empty. Write the group"):
        read(lines, group="who")
