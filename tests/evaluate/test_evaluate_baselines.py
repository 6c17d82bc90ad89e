"""The two simple answers: right on data made for them, unchanged by saving, honest."""

import numpy as np
import pytest

from elman.data.ragged import Ragged
from elman.errors import DataError, ModelFileError, ShapeError
from elman.evaluate import Baselines
from elman.evaluate import baselines as module
from elman.evaluate.features import count_tokens, summarise_numbers

TAG = "most frequent tag of the token"


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
    assert list(answers) == [
        "majority class",
        TAG if case == "token steps" else "logistic regression",
    ]
    majority, second = answers.values()
    assert len(np.unique(majority)) == 1
    assert majority.shape == second.shape == y.shape
    assert (second == y).mean() > {"tokens": 0.75}.get(case, 0.9)


@pytest.mark.parametrize("case", CASES)
def test_saved_and_loaded_it_answers_the_same(case, tmp_path):
    from safetensors.numpy import load_file, save_file

    model, (x, _) = fitted(case)
    arrays = model.to_arrays()
    assert {a.dtype.name for a in arrays.values()} <= {"float64", "int64"}
    save_file(arrays, tmp_path / "baselines.safetensors")
    again = Baselines.from_arrays(load_file(tmp_path / "baselines.safetensors"))
    for name, codes in model.predict(x).items():
        assert (again.predict(x)[name] == codes).all()
        assert codes.dtype == np.int64
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
    assert (model.predict(x)["logistic regression"] == y).mean() > 0.6


def test_a_constant_channel_and_a_class_never_met_do_no_harm():
    x, y = series()
    x.values[:, 1] = 5.0
    answers = Baselines.from_training(x, y % 2, 6, vocabulary_size=None).predict(x)
    assert answers["logistic regression"].max() <= 1


def test_one_class_in_training_is_the_answer():
    x, y = series()
    answers = Baselines.from_training(x, y * 0 + 2, 3, vocabulary_size=None).predict(x)
    assert all((codes == 2).all() for codes in answers.values())


def test_tags_of_tokens_by_hand():
    x = Ragged(np.array([3, 3, 3, 1, 1, 0]), np.array([0, 4, 6]))
    model = Baselines.from_training(
        x, np.array([1, 2, 2, 0, 1, 1]), 4, vocabulary_size=6, per_step=True
    )
    asked = Ragged(np.array([0, 1, 2, 3, 5]), np.array([0, 2, 5]))
    # Token 1 has tags 0 and 1 once each: the lower. 2 and 5 are unknown: the majority, 1.
    assert model.predict(asked)[TAG].tolist() == [1, 0, 1, 2, 1]
    assert "not seen" in model.description[TAG]


def test_many_steps_are_thinned_and_the_description_says_so(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 500)
    model, (x, y) = fitted("number steps")
    assert (model.predict(x)["logistic regression"] == y).mean() > 0.9
    assert "fitted on 500 steps" in model.description["logistic regression"]


def test_an_unfinished_fit_warns_nobody_and_the_description_says_so(monkeypatch):
    monkeypatch.setattr(module, "MOST_ITERATIONS", 2)
    model, (x, _) = fitted("numbers")
    model.predict(x)
    assert "stopped after 2 iterations" in model.description["logistic regression"]


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
    name = "tag_of_token" if case == "token steps" else "weights"
    with pytest.raises(ModelFileError, match=name):
        Baselines.from_arrays({**arrays, name: arrays[name][:-1]})
