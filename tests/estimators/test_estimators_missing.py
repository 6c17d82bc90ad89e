"""Arrays with NaN: each channel with gaps becomes a value and whether it was observed."""

import numpy as np
import pytest

from elman import DataError, SequenceClassifier, SequenceTagger, SettingsError, load
from elman.data.ragged import Ragged, carry_forward
from elman.estimators.encoder import Encoder

NAN = np.nan
SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}


def gapped(numbers, share=0.3):
    """The sequences with gaps in channel 1 only, each with a value left."""
    rng = np.random.default_rng(1)
    X = [x.copy() for x in numbers[0]]
    for x in X:
        x[rng.random(len(x)) < share, 1] = NAN
    return X, numbers[1]


def test_value_and_mask():
    X = [np.array([[1.0, NAN], [2.0, 4.0], [NAN, NAN]]), np.array([[3.0, NAN], [NAN, 8.0]])]
    X = Ragged.from_list(X)  # whose lengths are known, so that NaN at the end is a gap
    encoder = Encoder.fit_encode(X, inputs="numbers", tokens="auto", scale=True).encoder
    assert encoder.gaps.tolist() == [True, True] and encoder.input_size == 4
    # By hand: channel 0 holds 1, 2, 3: mean 2, deviation sqrt(2/3); channel 1 4, 8: mean 6, 2.
    s = np.sqrt(2 / 3)
    expected = [[-1 / s, 0, 1, 0], [0, -1, 1, 1], [0, -1, 0, 0], [1 / s, 0, 1, 0], [1 / s, 1, 0, 1]]
    found = encoder.encode(X)
    np.testing.assert_allclose(found.values, np.array(expected, np.float32), rtol=1e-6)
    raw = Encoder.fit_encode(X, inputs="numbers", tokens="auto", scale=False).inputs
    np.testing.assert_array_equal(raw.values[:, 0], [1, 2, 2, 3, 3])
    np.testing.assert_array_equal(raw.values[:, 1], [6, 4, 4, 6, 8])


def test_scaling_skips_gaps_as_pandas_does():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 3)) * [1, 10, 1e6] + 5
    values[rng.random(values.shape) < 0.4] = NAN
    encoder = Encoder.fit_encode([values], inputs="numbers", tokens="auto", scale=True).encoder
    frame = pandas.DataFrame(values)
    np.testing.assert_allclose(encoder.mean, frame.mean(), rtol=1e-12)
    np.testing.assert_allclose(encoder.scale, frame.std(ddof=0), rtol=1e-12)
    filled = frame.ffill().fillna(frame.mean())
    own = carry_forward(encoder.read_steps([values]), encoder.fill)
    np.testing.assert_allclose(own, filled, rtol=1e-12)


def test_channels_without_gaps_are_as_before(numbers):
    encoder = Encoder.fit_encode(numbers[0], inputs="numbers", tokens="auto", scale=True).encoder
    assert encoder.input_size == 2
    assert encoder.encode(numbers[0]).values.shape[1] == 2
    stacked = np.concatenate(numbers[0])
    assert (encoder.mean == stacked.mean(0)).all() and (encoder.scale == stacked.std(0)).all()


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger])
def test_a_model_trained_with_gaps(kind, numbers, tags, tmp_path):
    X, y = gapped(numbers)
    y = tags(numbers[0]) if kind is SequenceTagger else y
    model = kind(**SMALL).fit(X, y)
    assert model.model_.config.input_size == 3
    assert all(check.passed and check.tolerance == 0 for check in model.check(X))
    report = model.evaluate(X, y)
    seen = "the step" if kind is SequenceTagger else "summaries"
    assert report.baselines[f"logistic regression on {seen}"]["accuracy"] > 0.5
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    for one, other in zip(model.predict_proba(X), again.predict_proba(X), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "what was observed" in (tmp_path / "model/README.md").read_text()
    with pytest.raises(DataError, match="sequence 1: step 1, channel 0 is missing, but that"):
        again.predict([np.ones((2, 2)), np.array([[NAN, 1.0]])])


def test_what_was_observed_can_be_learnt_from():
    """The values say nothing; whether one is missing says all."""
    rng = np.random.default_rng(0)
    X, y = [], []
    for i in range(80):
        x = rng.normal(size=(6, 1))
        x[rng.choice(6, 2, replace=False)] = NAN if i % 2 else 0.0
        X.append(x)
        y.append("gap" if i % 2 else "whole")
    model = SequenceClassifier(epochs=40, validation=0.0, random_state=0)
    training, test = Ragged.from_list(X[:60]), Ragged.from_list(X[60:])
    assert model.fit(training, y[:60]).score(test, y[60:]) == 1.0


def test_a_channel_without_any_value_is_refused(numbers):
    X = [np.column_stack([x, np.full(len(x), NAN)]) for x in numbers[0]]
    with pytest.raises(DataError, match="channel 2 has no value in the training split"):
        SequenceClassifier(**SMALL).fit(X, numbers[1])


def test_the_only_gap_is_learnt_from_whatever_is_held_out(numbers):
    X = [x.copy() for x in numbers[0]]
    X[4][0, 0] = NAN
    for seed in range(5):
        model = SequenceClassifier(**SMALL | {"random_state": seed, "validation": 0.4})
        assert model.fit(X, numbers[1]).encoder_.gaps.tolist() == [True, False]


def test_a_gap_that_training_did_not_have_is_filled_on_request(numbers):
    X, y = numbers
    clf = SequenceClassifier(**SMALL).fit(X, y)
    gap = [x.copy() for x in X[:3]]
    gap[1][2, 0] = NAN
    by_hand = [x.copy() for x in gap]
    values = {"previous": gap[1][1, 0], "mean": clf.encoder_.mean[0], "zero": 0.0}
    for how, value in values.items():
        by_hand[1][2, 0] = value
        found = clf.predict_proba(clf.encode(gap, fill=how))
        assert np.array_equal(found, clf.predict_proba(by_hand)), how
    with pytest.raises(DataError, match=r"step 3, channel 0 is missing.*fill='previous'"):
        clf.predict(gap)
    with pytest.raises(SettingsError, match=r"fill: got 'median', expected one of refuse, prev"):
        clf.encode(gap, fill="median")
    plain = SequenceClassifier(scale=False, **SMALL).fit(X, y)
    with pytest.raises(SettingsError, match="trained without scaling, so it has no means"):
        plain.encode(gap, fill="mean")
    gap[1][:, 0] = NAN
    with pytest.raises(DataError, match="channel 0 is missing"):
        clf.encode(gap, fill="previous")


def test_gaps_beside_categories_are_filled():
    X = [np.array([[1.0, "on"], [2.0, "off"]], dtype=object) for _ in range(6)]
    clf = SequenceClassifier(**SMALL).fit(X, ["a", "b"] * 3)
    gap = [np.array([[None, "on"], [2.0, "off"]], dtype=object)]
    filled = [np.array([[2.0, "on"], [2.0, "off"]], dtype=object)]
    found = clf.predict_proba(clf.encode(gap, fill="previous"))
    assert np.array_equal(found, clf.predict_proba(filled))
    with pytest.raises(DataError, match="is missing"):
        clf.predict(gap)
