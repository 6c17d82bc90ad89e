"""Windows against a loop over each sequence, and the count of what is dropped."""

import numpy as np
import pytest

from elman import DataError, SettingsError
from elman.data import Dataset, Layout, Ragged
from elman.data.splits import cut_windows, divide_recording


def make(lengths, per_step=False, tokens=False):
    steps = np.arange(sum(lengths), dtype=float)
    values = steps.astype(int).astype(str).astype(object) if tokens else steps[:, None]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    labels = np.array([f"c{i}" for i in range(len(lengths))], object)
    return Dataset(
        Ragged(values, offsets),
        Ragged(np.array([f"t{i}" for i in range(sum(lengths))], object), offsets)
        if per_step
        else labels,
        "here",
        Layout("steps", "tokens" if tokens else "numbers", per_step=per_step),
        ids=tuple(f"s{i}" for i in range(len(lengths))),
    )


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(("window", "stride"), [(4, 4), (4, 1), (3, 5), (1, 1), (50, 2)])
def test_windows_against_a_loop(per_step, tokens, window, stride):
    lengths = [9, 3, 4, 1, 12, 50]
    data = make(lengths, per_step, tokens)
    cut, note = cut_windows(data, window, stride)
    at, used, short = 0, 0, 0
    for i, length in enumerate(lengths):
        if length < window:
            pieces, short = [(0, length)], short + 1
        else:
            pieces = [(s, s + window) for s in range(0, length - window + 1, stride)]
        used += len({t for a, b in pieces for t in range(a, b)})
        for number, (a, b) in enumerate(pieces):
            np.testing.assert_array_equal(cut.inputs[at], data.inputs[i][a:b])
            if per_step:
                np.testing.assert_array_equal(cut.target[at], data.target[i][a:b])
            else:
                assert cut.target[at] == f"c{i}"
            assert cut.ids[at] == f"s{i}" and cut.windows[at].tolist() == [number, a]
            at += 1
    assert at == len(cut)
    expected = f"6 sequences became {at} windows of {window} step{'s' * (window > 1)}, stride"
    assert note.startswith(expected)
    dropped = sum(lengths) - used
    assert (f"; {dropped} step" in note) == (dropped > 0)
    assert ("shorter than a window kept whole" in note) == (short > 0)


def test_the_sentence():
    assert cut_windows(make([9, 3]), 4, 4, " of the test split")[1] == (
        "2 sequences of the test split became 3 windows of 4 steps, stride 4; 1 step at ends "
        "dropped; 1 sequence shorter than a window kept whole"
    )
    assert cut_windows(make([9]), 2, 4)[1] == (
        "1 sequence became 2 windows of 2 steps, stride 4; 5 steps at ends and between windows "
        "dropped"
    )


def test_text_has_no_steps():
    data = Dataset(["ab", "cd"], None, "here", Layout("rows", "text"))
    with pytest.raises(SettingsError, match="window: text has no steps before it is cut"):
        cut_windows(data, 2, 2)


@pytest.mark.parametrize("per_step", [False, True])
def test_a_recording_is_divided_in_time(per_step):
    data = make([100], per_step)
    first, second = divide_recording(data, 0.2, 10, 10)
    # The last 20 steps, and a gap of one window before them.
    assert first.inputs.values[:, 0].tolist() == list(range(70))
    assert second.inputs.values[:, 0].tolist() == list(range(80, 100))
    if per_step:
        assert second.target[0].tolist() == [f"t{i}" for i in range(80, 100)]
    cut, _ = cut_windows(second, 10, 5)
    assert cut.windows.tolist() == [[0, 80], [1, 85], [2, 90]]
    again = divide_recording(second, 0.5, 3, 3)[1]
    assert again.windows.tolist() == [[0, 90]]
    with pytest.raises(DataError, match=r"100 steps is too short .* windows of 30 steps"):
        divide_recording(data, 0.2, 30, 30)
