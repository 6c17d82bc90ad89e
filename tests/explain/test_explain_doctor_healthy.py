"""A healthy network gets no finding: false alarms are as bad as misses."""

import copy
import sys

import numpy as np
import pytest
import torch
from cases import make_model, same_bits, weights_of
from doctor_cases import HEALTHY, healthy, waves, words

from elman.errors import DataError, ElmanError, SettingsError, ShapeError
from elman.explain import doctor

NEW = {"gru": {}, "lstm": {"num_layers": 2, "bidirectional": True}, "rnn": {}}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_network_that_has_learnt(name):
    _, data, _ = HEALTHY[name]
    found = doctor(healthy(name), *data(), held_out=data(40, seed=1))
    assert found.healthy, str(found)
    assert not found.skipped


@pytest.mark.parametrize("name", HEALTHY)
def test_on_sequences_that_it_was_not_trained_on(name):
    _, data, _ = HEALTHY[name]
    found = doctor(healthy(name), *data(40, seed=1), probe=False)
    assert found.healthy, str(found)


@pytest.mark.parametrize("cell", NEW)
@pytest.mark.parametrize("initialization", ["orthogonal", "torch"])
@pytest.mark.parametrize("tokens", [False, True], ids=["numbers", "tokens"])
def test_a_new_network(cell, initialization, tokens):
    """Before any training: a bare network of 32 units, on sequences of up to 20 steps."""
    generator = torch.Generator().manual_seed(0)
    model = make_model(
        cell, tokens=tokens, hidden_size=32, initialization=initialization, **NEW[cell]
    )
    lengths = [20, 15, 10] * 10
    if tokens:
        X = [torch.randint(2, 9, (n,), generator=generator) for n in lengths]
    else:
        X = [torch.randn(n, 2, generator=generator) for n in lengths]
    found = doctor(model, X, [i // 3 % 3 for i in range(30)])
    assert found.healthy, str(found)
    assert list(found.skipped) == ["leakage", "history"]


@pytest.mark.parametrize("values", ["bits", "few steps", "one step"])
def test_sequences_constant_by_chance_are_no_finding(values):
    rng = np.random.default_rng(0)
    X = [rng.integers(0, 2, (n, 1)).astype(float) for n in rng.integers(2, 12, 300)]
    if values == "one step":
        X = [rng.normal(size=(1, 1)) for _ in range(30)] + [np.zeros((1, 1))]
    if values == "few steps":
        X = [x[:3] for x in X]
    model = make_model(input_size=1, num_outputs=2)
    assert doctor(model, [torch.tensor(x).float() for x in X]).healthy


def test_nothing_is_changed():
    """Weights, gradients, mode, hooks and every random generator."""
    estimator = healthy("gru")
    model = estimator.model_
    X, y = waves()
    before, mode = weights_of(model), model.training
    model.output.bias.grad = torch.ones_like(model.output.bias)
    torch.manual_seed(5)
    np.random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    kept = copy.deepcopy(X)
    doctor(estimator, X, y, held_out=(X, y))
    assert same_bits(before, weights_of(model))
    assert torch.equal(model.output.bias.grad, torch.ones(2))
    model.zero_grad(set_to_none=True)
    assert model.training == mode and not model.output._forward_pre_hooks
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert all((a == b).all() for a, b in zip(X, kept, strict=True))


def test_the_same_seed_gives_the_same_findings():
    X, y = waves(80)
    one, other, third = (
        doctor(healthy("gru"), X, y, sequences=20, seed=seed) for seed in (1, 1, 2)
    )
    assert str(one) == str(other) != str(third)
    assert one.to_dict() == other.to_dict()
    assert "predictions for 20 of them, sampled by seed 1" in str(one)


def test_long_sequences_are_examined_in_part(monkeypatch):
    states = sys.modules["elman.explain.doctor.states"]  # by its name it is the function's
    monkeypatch.setattr(states, "NUMBERS", 20 * 16 * 2 * 6 * 5)
    found = doctor(healthy("gru"), *waves())
    assert "gates and states on 5, gradients on 5" in str(found)
    monkeypatch.setattr(states, "STEPS", 6)
    gradient_by_lag = doctor(healthy("gru"), *waves()).measurements.gradient_by_lag
    assert {len(values) for values in gradient_by_lag.values()} == {6}


def test_bare_and_estimator_find_the_same():
    """An estimator's network, alone, on what the estimator encodes."""
    estimator = healthy("gru")
    X, y = waves()
    encoded = list(estimator.encoder_.encode(X))
    codes = [list(estimator.classes_).index(label) for label in y]
    one, other = doctor(estimator, X, y), doctor(estimator.model_, encoded, codes)
    assert one.to_dict()["saturation"] == other.to_dict()["saturation"]
    assert one.to_dict()["gradient_by_lag"] == other.to_dict()["gradient_by_lag"]


def test_forms_of_X():
    """Arrays, a list of lists, token lists, frames of numbers: what fit takes."""
    model = make_model("gru")
    X = torch.randn(12, 9, 2)
    assert doctor(model, X).healthy and doctor(model, X.numpy(), [0, 1, 2] * 4).healthy
    assert doctor(make_model("gru", "every"), X, torch.randint(0, 3, (12, 9))).healthy
    several = make_model("gru", task="multilabel")
    assert doctor(several, X, np.eye(3)[[0, 1, 2] * 4]).healthy
    mixed = make_model("gru", category_sizes=(5,))
    codes = torch.randint(0, 5, (12, 9, 1)).float()
    assert doctor(mixed, torch.cat([X, codes], -1), [0, 1, 2] * 4).healthy


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        (waves(4), {"sequences": 0}, SettingsError, "sequences: got 0"),
        ((waves(4)[0], ["slow"]), {}, ShapeError, "y: got 1 labels, expected 4"),
        (words(4), {}, DataError, "numbers"),
        (waves(4), {"held_out": waves(4)[0]}, SettingsError, "held_out: got a list"),
        (([np.zeros((0, 2))] * 3,), {}, ElmanError, "."),
    ],
)
def test_inputs_that_cannot_be_examined(arguments, options, kind, message):
    with pytest.raises(kind, match=message):
        doctor(healthy("gru"), *arguments, **options)


def test_anything_but_a_network_is_refused():
    with pytest.raises(SettingsError, match="expected a SequenceModel or a fitted"):
        doctor("gru", *waves(4))
    with pytest.raises(SettingsError, match="Call fit first"):
        doctor(HEALTHY["gru"][0](), *waves(4))
