"""From what users have to what is explained: the same sequence, label and network."""

import copy

import numpy as np
import pytest
import torch
from cases import same_bits, weights_of
from explain_cases import KINDS, STACKS, WHAT, fitted, label, network, sequence

from elman import SequenceClassifier
from elman.errors import DataError, SettingsError, ShapeError
from elman.explain import read_sequence, run_forward


def predict(explained):
    """The distribution that an explained network gives, step by step."""
    with torch.no_grad():
        return explained.network.distribution(
            run_forward(explained.model, explained.x[0]).outputs
        ).numpy()


@pytest.mark.parametrize("what", WHAT)
def test_the_prediction_is_the_estimators(what):
    est, X, _ = fitted(what)
    for i in (0, 3):
        result = predict(read_sequence(est, X[i]))
        expected = (est.predict if what == "values" else est.predict_proba)([X[i]])[0]
        np.testing.assert_allclose(result, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("what", WHAT)
def test_labels_become_what_the_network_learns(what):
    est, X, y = fitted(what)
    result = read_sequence(est, X[3], y[3]).target.numpy()
    if what == "tags":
        assert [est.classes_[k] for k in result] == y[3]
    elif what == "sets":
        assert {est.classes_[k] for k in np.flatnonzero(result)} == y[3]
    elif what == "values":
        back = result * est.target_.scale + est.target_.mean
        np.testing.assert_allclose(back, y[3], rtol=1e-6)
    else:
        assert est.classes_[result] == y[3]


def test_text_is_read_letter_by_letter():
    est, _, _ = fitted("text")
    explained = read_sequence(est, "abz")
    assert explained.tokens == ("a", "b", "z")
    assert explained.x[0, 2] == 1  # unknown
    assert explained.inputs.tolist() == ["a", "b", "z"]
    assert explained.network.channel_names == ("token",)
    assert explained.network.output_names == ("down", "up")


def test_columns_of_mixed_steps_are_named():
    est, X, _ = fitted("mixed")
    explained = read_sequence(est, X[0])
    assert explained.network.channel_names == (
        "channel 1",
        "channel 3",
        "whether channel 3 is missing",
        "channel 2",
    )
    assert explained.network.category_values[:2] == ((), ())
    assert explained.network.category_values[2] == ("missing", "observed")
    assert explained.network.category_values[3][:2] == ("padding", "unknown")
    assert explained.categories[1] == tuple(X[0][:, 1])
    assert explained.categories[0][:2] == ("observed", "missing")
    assert explained.inputs.shape == (len(X[0]), 4)
    assert explained.inputs[1, 2] == 0  # not observed


def test_channels_of_frames_have_their_names():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = [pandas.DataFrame(rng.normal(size=(4, 2)), columns=["ax", "ay"]) for _ in range(8)]
    est = SequenceClassifier(epochs=1, validation=0).fit(X, ["a", "b"] * 4)
    assert read_sequence(est, X[0]).network.channel_names == ("ax", "ay")


def test_series_of_one_channel():
    _, X, y = fitted("numbers")
    rows = [x[:, 0] for x in X]
    one = SequenceClassifier(epochs=1, validation=0).fit(rows, y)
    explained = read_sequence(one, rows[0])
    assert explained.network.channel_names == ("value",)
    assert explained.x.shape == (1, len(rows[0]), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_network_takes_arrays_and_tensors(kind):
    model = network(STACKS[0], kind=kind)
    x = sequence(kind)
    one, other = read_sequence(model, x), read_sequence(model, x.numpy())
    assert torch.equal(one.x, other.x)
    assert one.x.shape[:2] == (1, 5) and one.steps == 5
    assert one.network.output_names == (0, 1, 2)
    assert (one.tokens is None) == (kind != "tokens")
    assert len(one.categories) == (2 if kind == "mixed" else 0)
    assert len(one.network.channel_names) == {"numbers": 2, "tokens": 1, "mixed": 4}[kind]


def test_the_callers_network_and_random_state_stay_as_they_were():
    model = network(STACKS[-1]).float().train()
    model(sequence().float()[None]).sum().backward()
    before = weights_of(model)
    grads = [p.grad.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    explained = read_sequence(model, sequence(), label())
    run_forward(explained.model, explained.x[0]).outputs.sum().backward()
    assert same_bits(before, weights_of(model))
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, model.parameters(), strict=True))
    assert model.training and model.output.weight.dtype is torch.float32
    assert not explained.model.training and explained.model.output.weight.dtype is torch.float64
    assert torch.equal(state, torch.get_rng_state())


def test_the_networks_own_precision_on_request():
    explained = read_sequence(network(STACKS[0]).float(), sequence(), dtype=None)
    assert explained.x.dtype is explained.model.output.weight.dtype is torch.float32


@pytest.mark.parametrize(
    ("kind", "change", "error", "message"),
    [
        ("numbers", lambda x: x[:, :1], ShapeError, r"got shape \(5, 1\), expected numbers \(T, 2"),
        ("numbers", lambda x: x[None], ShapeError, r"got shape \(1, 5, 2\)"),
        ("numbers", lambda x: x[:0], ShapeError, r"at least 1 step"),
        ("numbers", lambda x: "abc", ShapeError, r"got a str, expected a tensor or an array"),
        ("numbers", lambda x: [[1, 2], [3]], ShapeError, r"got a list, expected a tensor"),
        ("numbers", lambda x: x / 0, DataError, r"step 1, channel channel 1 is -?inf"),
        ("tokens", lambda x: x.double(), ShapeError, r"got torch.float64, expected whole numbers"),
        ("tokens", lambda x: x[:, None], ShapeError, r"expected token ids \(T,\)"),
        ("tokens", lambda x: x + 9, DataError, r"step 1 is \d+, which is no token.* 0 to 8"),
        ("mixed", lambda x: x + 0.5, DataError, r"which is no category.* 0 to 3"),
    ],
)
def test_a_wrong_sequence_is_named(kind, change, error, message):
    with pytest.raises(error, match=message):
        read_sequence(network(STACKS[0], kind=kind), change(sequence(kind)))


@pytest.mark.parametrize(
    ("task", "readout", "wrong", "error", "message"),
    [
        ("classification", "last", 3, DataError, r"label: got 3, expected 0 to 2"),
        ("classification", "last", [1], ShapeError, r"label: got shape \(1,\), expected \(\)"),
        ("classification", "last", 1.0, ShapeError, r"expected a class's code"),
        ("classification", "last", "up", ShapeError, r"label: got a str"),
        ("classification", "every", [0, 1], ShapeError, r"expected \(5,\), one a step"),
        ("multilabel", "last", [0, 1], ShapeError, r"expected \(3,\)"),
        ("regression", "every", [0.0] * 5, ShapeError, r"expected \(5, 3\), one a step"),
    ],
)
def test_a_wrong_label_is_named(task, readout, wrong, error, message):
    with pytest.raises(error, match=message):
        read_sequence(network(STACKS[0], readout, task=task), sequence(), wrong)


def test_one_number_is_the_label_of_one_output():
    model = network(STACKS[0], task="regression", num_outputs=1)
    assert read_sequence(model, sequence(), 2.5).target.tolist() == [2.5]
    steps = network(STACKS[0], "every", task="regression", num_outputs=1)
    assert read_sequence(steps, sequence(), np.arange(5.0)).target.shape == (5, 1)


def test_a_class_that_is_none_is_named_with_the_nearest():
    est, X, _ = fitted("numbers")
    with pytest.raises(DataError, match=r"got 'upp', expected one of the classes 'down', 'up' Did"):
        read_sequence(est, X[0], "upp")


@pytest.mark.parametrize("thing", [SequenceClassifier(), torch.nn.GRU(2, 3), None, "runs/first"])
def test_only_networks_and_fitted_estimators(thing):
    with pytest.raises(SettingsError, match=r"model: got a \w+, expected a SequenceModel or a fit"):
        read_sequence(thing, sequence())


def test_estimators_that_are_copied_are_explained_too():
    est, X, _ = fitted("numbers")
    assert np.array_equal(
        predict(read_sequence(copy.deepcopy(est), X[0])), predict(read_sequence(est, X[0]))
    )
