"""The sequences that exports are checked with, and the comparison of answers."""

import numpy as np
import pytest

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.errors import ExportError
from elman.export.parity import LENGTHS, check, compare, sample_sequences

RANDOM = np.random.default_rng(0)


def fit_numbers(gaps=False):
    X = [5 + 3 * RANDOM.standard_normal((6, 2)) for _ in range(12)]
    if gaps:
        for x in X:
            x[2, 1] = np.nan
    return SequenceClassifier(hidden_size=4, epochs=1, verbose=0).fit(X, [0, 1] * 6)


def fit_mixed():
    X = [[[float(t), "ab"[t % 2], None if t == 3 else "x"] for t in range(5)] for _ in range(12)]
    return SequenceTagger(hidden_size=4, epochs=1, verbose=0).fit(X, [list("uuvvu")] * 12)


def fit_values():
    X = [RANDOM.standard_normal((5, 1)) for _ in range(12)]
    static = {"age": RANDOM.uniform(20, 90, 12), "site": list("abc") * 4}
    y = 1000 + 50 * RANDOM.standard_normal((12, 2))
    return SequenceRegressor(hidden_size=4, epochs=1, verbose=0).fit(X, y, static=static)


def fit_text():
    X = ["the cat sat on a mat", "a dog ran off with it"] * 6
    return SequenceClassifier(hidden_size=4, epochs=1, verbose=0).fit(X, [0, 1] * 6)


@pytest.mark.parametrize("fit", [fit_numbers, fit_mixed, fit_values, fit_text])
def test_samples_are_of_the_kind_that_the_model_reads(fit):
    estimator = fit()
    encoded = sample_sequences(estimator)
    assert encoded.inputs.lengths.tolist() == list(LENGTHS)
    assert max(LENGTHS) == 1000
    assert min(LENGTHS) == 1
    # Read again as a user's sequences they are the same inputs.
    raw = encoded.steps if estimator.encoder_.kind != "text" else encoded.sequences
    again = estimator.encoder_.encode_steps(estimator.encoder_.read_steps(raw))
    assert np.array_equal(again.values, encoded.inputs.values)
    parity = compare(estimator, encoded, estimator.predict_encoded)
    assert parity.difference == 0
    assert check(parity) is parity
    if encoded.static is not None:
        assert len(encoded.static) == len(LENGTHS)
        assert len(np.unique(encoded.inputs.static, axis=0)) > 5


def test_samples_have_gaps_where_the_training_had():
    values = sample_sequences(fit_numbers(gaps=True)).steps.values
    assert np.isnan(values).mean(0) == pytest.approx([0, 0.2], abs=0.05)
    assert not np.isnan(sample_sequences(fit_numbers()).steps.values).any()


def test_samples_hold_known_and_unknown_words():
    ids = sample_sequences(fit_text()).inputs.values
    assert set(ids.tolist()) >= {1, 2, 3, 4}
    codes = sample_sequences(fit_mixed()).inputs.values[:, 1:]
    assert set(codes[:, 0].tolist()) == {1.0, 2.0, 3.0}


def changed(answers, row, by):
    answers = answers.copy()
    answers[row, 1] += by
    return answers


@pytest.mark.parametrize("by", [1e-4, -1e-4, np.nan, np.inf])
def test_a_difference_is_found_and_named(by):
    estimator = fit_numbers()
    encoded = sample_sequences(estimator, (3, 1, 7))
    parity = compare(estimator, encoded, lambda e: changed(estimator.predict_encoded(e), 2, by))
    with pytest.raises(ExportError, match=r"1 of sequence 2, which has 7 steps, is .* in the exp"):
        check(parity)


def test_numbers_are_compared_in_standard_deviations():
    estimator = fit_values()
    unit = estimator.target_.scale[1]
    assert unit > 20
    encoded = sample_sequences(estimator, (3, 1, 7))
    shifted = compare(
        estimator, encoded, lambda e: changed(estimator.predict_encoded(e), 1, 2e-5 * unit)
    )
    assert shifted.difference == pytest.approx(2e-5, rel=0.01)
    assert "standard deviations" in str(shifted)
    with pytest.raises(ExportError, match="'target 2' of sequence 1, which has 1 step,"):
        check(shifted)


def test_a_step_is_named():
    estimator = fit_mixed()
    encoded = sample_sequences(estimator, (3, 4))
    parity = compare(estimator, encoded, lambda e: changed(estimator.predict_encoded(e), 5, 1))
    assert parity.where == "'v' at step 3 of sequence 1, which has 4 steps,"


def test_another_shape_is_refused():
    estimator = fit_values()
    with pytest.raises(ExportError, match="returns answers of shape"):
        compare(
            estimator, sample_sequences(estimator, (3,)), lambda e: estimator.predict_encoded(e)[0]
        )
