"""Predictions without recurrence: right on data made for them, unchanged by saving, honest."""

import dataclasses

import numpy as np
import pytest

from elman.data.ragged import Ragged
from elman.errors import DataError, ModelFileError, ShapeError
from elman.evaluate import Baselines
from elman.evaluate import baselines as module
from elman.evaluate.features import count_tokens, summarise_numbers

TAG = "most frequent tag of the token"
SUMMARIES = "logistic regression on summaries"
NAMES = {  # the baselines beside the constant one, by the form of the data
    "numbers": [SUMMARIES],
    "tokens": ["logistic regression on token counts", "logistic regression on token pairs"],
    "number steps": ["logistic regression on the step", "logistic regression on 5 steps"],
    "token steps": [TAG, f"{TAG} pair"],
}


def ragged(rng, n, channels=None, low=1, high=12):
    lengths = rng.integers(low, high, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    steps = offsets[-1]
    values = rng.integers(0, 30, steps) if channels is None else rng.normal(size=(steps, channels))
    return Ragged(values, offsets)


def series(seed=0, n=400):
    """Three classes told apart by the slope of channel 0, the spread of 1, the last value of 2."""
    rng = np.random.default_rng(seed)
    x, y = ragged(rng, n, 3, low=4), rng.integers(0, 3, n)
    owner = y[x.owners]
    step = np.arange(len(owner)) - x.offsets[:-1][x.owners]
    x.values[:, 0] += 2.0 * step * (owner == 0)
    x.values[:, 1] *= 1 + 6 * (owner == 1)
    x.values[x.offsets[1:] - 1, 2] += 9 * (y == 2)
    return x, y


def texts(seed=0, n=400):
    rng = np.random.default_rng(seed)
    x, y = ragged(rng, n, low=3), rng.integers(0, 4, n)
    x.values[x.offsets[:-1]] = y * 3
    return x, y


def tagged(seed=0, n=300, channels=None):
    rng = np.random.default_rng(seed)
    x = ragged(rng, n, channels)
    y = x.values % 5 if channels is None else (x.values[:, 0] > 0.3).astype(np.int64)
    return x, y


CASES = {
    "numbers": (series, {}, 3, None),
    "tokens": (texts, {}, 4, 30),
    "number steps": (tagged, {"channels": 2}, 2, None),
    "token steps": (tagged, {}, 5, 30),
}


def fitted(case):
    make, kw, k, size = CASES[case]
    x, y = make(**kw)
    return Baselines.from_training(x, y, k, vocabulary_size=size), make(seed=1, **kw)


@pytest.mark.parametrize("case", CASES)
def test_what_can_be_learnt_without_recurrence_is_learnt(case):
    model, (x, y) = fitted(case)
    answers = model.predict(x)
    assert list(answers) == ["majority class", *NAMES[case]] == list(model.description)
    k = CASES[case][2]
    for p in answers.values():
        assert p.shape == (len(y), k)
        np.testing.assert_allclose(p.sum(1), 1)
    majority, *others = answers.values()
    assert (majority == majority[0]).all()
    for p in others:
        assert (p.argmax(1) == y).mean() > {"tokens": 0.75}.get(case, 0.9)


@pytest.mark.parametrize("case", CASES)
def test_saved_and_loaded_it_answers_the_same(case, tmp_path):
    from safetensors.numpy import load_file, save_file

    model, (x, _) = fitted(case)
    arrays = model.to_arrays()
    assert {a.dtype.name for a in arrays.values()} <= {"float64", "int64"}
    save_file(arrays, tmp_path / "baselines.safetensors")
    again = Baselines.from_arrays(load_file(tmp_path / "baselines.safetensors"))
    for name, p in model.predict(x).items():
        assert (again.predict(x)[name] == p).all()
    assert again.description == model.description


def test_summaries_of_numbers_are_what_numpy_says():
    x = ragged(np.random.default_rng(0), 30, 2)
    rows = summarise_numbers(x, np.zeros(2))
    for s, row in zip(x, rows, strict=True):
        slope = np.polyfit(np.arange(len(s)), s, 1)[0] if len(s) > 1 else np.zeros(2)
        parts = [s.mean(0), s.std(0), s.min(0), s.max(0), s[0], s[-1], slope, [len(s)]]
        np.testing.assert_allclose(row, np.concatenate(parts), rtol=1e-9, atol=1e-9)


def test_summaries_of_tokens_count_them_and_the_steps():
    x = ragged(np.random.default_rng(0), 20)
    rows = count_tokens(x, 30).toarray()
    for s, row in zip(x, rows, strict=True):
        assert (row[:-1] == np.bincount(s, minlength=30)).all()
        assert row[-1] == len(s)


def test_missing_and_enormous_numbers_do_no_harm():
    x, y = series()
    x.values[::7, 0] = np.nan
    x.values[3, 1] = 1e300
    x.values[5, 1] = np.inf
    model = Baselines.from_training(x, y, 3, vocabulary_size=None)
    assert (model.predict(x)[SUMMARIES].argmax(1) == y).mean() > 0.6


def test_a_constant_channel_and_a_class_never_met_do_no_harm():
    x, y = series()
    x.values[:, 1] = 5.0
    answers = Baselines.from_training(x, y % 2, 6, vocabulary_size=None).predict(x)
    assert (answers[SUMMARIES][:, 2:] == 0).all()


def test_one_class_in_training_is_the_answer():
    x, y = series()
    answers = Baselines.from_training(x, y * 0 + 2, 3, vocabulary_size=None).predict(x)
    assert all((p == [0, 0, 1]).all() for p in answers.values())


def test_tags_of_tokens_by_hand():
    x = Ragged(np.array([3, 3, 3, 1, 1, 0]), np.array([0, 4, 6]))
    model = Baselines.from_training(
        x, np.array([1, 2, 2, 0, 1, 1]), 4, vocabulary_size=6, per_step=True
    )
    asked = Ragged(np.array([0, 1, 2, 3, 5]), np.array([0, 2, 5]))
    share = np.array([1, 3, 2, 0]) / 6
    expected = {0: [0, 1, 0, 0], 1: [1, 1, 0, 0], 3: [0, 1, 2, 0]}
    rows = [(np.array(expected[t]) + share) / (sum(expected[t]) + 1) for t in (0, 1)]
    rows += [share, (np.array(expected[3]) + share) / 4, share]  # 2 and 5 were never seen
    np.testing.assert_allclose(model.predict(asked)[TAG], rows)
    assert "not seen" in model.description[TAG]
    # The pair 0, 1 was never seen, so it is answered like 1; 1, 0 was, with tag 1.
    pair = model.predict(Ragged(np.array([0, 1, 0]), np.array([0, 3])))[f"{TAG} pair"]
    np.testing.assert_allclose(pair[:2], rows[:2])
    np.testing.assert_allclose(pair[2], (np.array([0, 1, 0, 0]) + rows[0]) / 2)


def test_many_steps_are_thinned_and_the_description_says_so(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 500)
    model, (x, y) = fitted("number steps")
    for name in NAMES["number steps"]:
        assert (model.predict(x)[name].argmax(1) == y).mean() > 0.9
        assert "fitted on 500 steps" in model.description[name]


def test_an_unfinished_fit_warns_nobody_and_the_description_says_so(monkeypatch):
    monkeypatch.setattr(module, "MOST_ITERATIONS", 2)
    model, (x, _) = fitted("numbers")
    model.predict(x)
    assert "stopped after 2 iterations" in model.description[SUMMARIES]


def test_the_budget_bounds_rows_and_iterations():
    x, y = series(n=2000)
    model = Baselines.from_training(x, y, 3, vocabulary_size=None, budget=2e6)
    assert (model.predict(x)[SUMMARIES].argmax(1) == y).mean() > 0.7
    rows = int(model.to_arrays()["summaries.rows"][0])
    limit = int(model.to_arrays()["summaries.limit"][0])
    assert 0 < rows < 2000 and rows * limit * 2 * 22 * 3 <= 2e6
    assert f"fitted on {rows} sequences" in model.description[SUMMARIES]


def motif(rng, n, steps=60, letters=4):
    """Letters, half of them with a noisy motif at a fixed place: only positions tell."""
    x, y = rng.integers(2, 2 + letters, (n, steps)), rng.integers(0, 2, n)
    planted = np.where(rng.random((n, 6)) < 0.8, [2, 3, 4, 5, 3, 2], x[:, 30:36])
    x[:, 30:36] = np.where(y[:, None] == 1, planted, x[:, 30:36])
    return x, y


def as_ragged(x):
    return Ragged(x.reshape(-1, *x.shape[2:]), np.arange(len(x) + 1) * x.shape[1])


def shares_right(model, x, y):
    return {name: (p.argmax(1) == y).mean() for name, p in model.predict(as_ragged(x)).items()}


def test_letters_of_one_length_are_seen_by_position():
    x, y = motif(np.random.default_rng(0), 1200)
    model = Baselines.from_training(as_ragged(x[:800]), y[:800], 2, vocabulary_size=6)
    found = shares_right(model, x[800:], y[800:])
    assert found["logistic regression by position"] > 0.9
    assert max(v for name, v in found.items() if "position" not in name) < 0.75
    assert "which token is at each step" in model.description["logistic regression by position"]


def test_neighbours_tell_what_counts_cannot():
    """23 against 32 at any place: the same letters in another order."""
    rng = np.random.default_rng(0)
    y, rows = rng.integers(0, 2, 600), []
    for label in y:
        row = rng.integers(4, 9, rng.integers(5, 25))
        rows.append(np.insert(row, rng.integers(len(row)), [2, 3] if label else [3, 2]))
    found = Baselines.from_training(Ragged.from_list(rows), y, 2, vocabulary_size=9).predict(
        Ragged.from_list(rows)
    )
    assert (found["logistic regression on token pairs"].argmax(1) == y).mean() > 0.95
    assert (found["logistic regression on token counts"].argmax(1) == y).mean() < 0.7


def test_values_of_one_length_are_seen_by_position():
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = digits.images, digits.target
    model = Baselines.from_training(as_ragged(x[:1000]), y[:1000], 10, vocabulary_size=None)
    found = shares_right(model, x[1000:], y[1000:])
    assert found["logistic regression by position"] > found[SUMMARIES] + 0.02


def test_positions_are_what_reshape_says_and_other_lengths_are_answered():
    x = np.random.default_rng(0).normal(size=(60, 4, 3))
    y = (x[:, 2, 1] > 0).astype(int)
    model = Baselines.from_training(as_ragged(x), y, 2, vocabulary_size=None)
    arrays = model.to_arrays()
    flat = np.hstack([x.reshape(60, -1), np.full((60, 1), 4.0)])
    np.testing.assert_allclose(arrays["values_by_position.centre"], flat.mean(0))
    name = "logistic regression by position"
    whole = model.predict(as_ragged(x))[name]
    longer = np.concatenate([x, x[:, :2]], 1)
    assert (model.predict(as_ragged(longer))[name].argmax(1) == y).mean() > 0.9
    shorter = Ragged(x[:, :3].reshape(-1, 3), np.arange(61) * 3)
    assert (model.predict(shorter)[name].argmax(1) == whole.argmax(1)).mean() > 0.9


@pytest.mark.parametrize("low", [2, 9])
def test_positions_are_left_out_where_lengths_differ_much(low):
    x = ragged(np.random.default_rng(0), 50, 2, low=low, high=11)
    model = Baselines.from_training(x, np.arange(50) % 2, 2, vocabulary_size=None)
    assert ("logistic regression by position" in model.predict(x)) == (low == 9)


def test_a_window_uses_later_steps_only_where_the_network_can():
    rng = np.random.default_rng(0)
    x = ragged(rng, 100, 1, low=8, high=20)
    ahead = np.roll(x.values[:, 0], -1)
    ahead[x.offsets[1:] - 1] = 0
    y = (ahead > 0).astype(int)
    right = {}
    for both in (False, True):
        model = Baselines.from_training(x, y, 2, vocabulary_size=None, both_sides=both)
        p = model.predict(x)["logistic regression on 5 steps"]
        right[both] = (p.argmax(1) == y).mean()
    assert right[True] > 0.85 > 0.65 > right[False]


def test_a_model_that_cannot_be_fitted_is_left_out_and_named(monkeypatch):
    def fail(*arguments):
        raise np.linalg.LinAlgError("singular")

    rule = module.RULES["classification"]
    monkeypatch.setitem(module.RULES, "classification", dataclasses.replace(rule, fit_linear=fail))
    model, (x, _) = fitted("numbers")
    assert list(model.predict(x)) == ["majority class"]
    assert model.description[SUMMARIES] == ("It could not be fitted to these data and is left out.")
    again = Baselines.from_arrays(model.to_arrays())
    assert list(again.predict(x)) == ["majority class"]
    assert again.description == model.description


def test_the_description_says_what_is_used():
    uses = {case: list(fitted(case)[0].description.values())[1] for case in CASES}
    assert "slope" in uses["numbers"]
    assert "how often each token" in uses["tokens"]
    assert "without its neighbours" in uses["number steps"]


def test_faults_are_named():
    x, y = texts()
    with pytest.raises(ShapeError, match="one a sequence"):
        Baselines.from_training(x, y[:-1], 4, vocabulary_size=30)
    with pytest.raises(DataError, match="expected 0 to 9"):
        Baselines.from_training(x, y, 4, vocabulary_size=10)
    with pytest.raises(DataError, match="from 0 to 3"):
        Baselines.from_training(x, y, 2, vocabulary_size=30)
    with pytest.raises(ShapeError, match=r"\(N, C\)"):
        Baselines.from_training(x, y, 4, vocabulary_size=None)
    with pytest.raises(DataError, match="no steps"):
        empty = Ragged(np.array([1, 2]), np.array([0, 2, 2]))
        Baselines.from_training(empty, np.array([0, 1]), 2, vocabulary_size=30)
    numbers, codes = series()
    model = Baselines.from_training(numbers, codes, 3, vocabulary_size=None)
    with pytest.raises(ShapeError, match="expected 3 as in training"):
        model.predict(numbers.with_values(numbers.values[:, :2]))


@pytest.mark.parametrize("case", CASES)
def test_spoilt_arrays_are_refused(case):
    arrays = fitted(case)[0].to_arrays()
    for name in arrays:
        with pytest.raises(ModelFileError, match=name):
            Baselines.from_arrays({n: a for n, a in arrays.items() if n != name})
        with pytest.raises(ModelFileError, match="shape"):
            Baselines.from_arrays({**arrays, name: arrays[name][None]})
    name = next(n for n in arrays if n.endswith((".weights", ".table")))
    with pytest.raises(ModelFileError, match=name):
        Baselines.from_arrays({**arrays, name: arrays[name][:-1]})
    with pytest.raises(ModelFileError, match="task is 7"):
        Baselines.from_arrays({**arrays, "task": np.array([7])})
