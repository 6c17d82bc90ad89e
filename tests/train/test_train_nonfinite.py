"""The first number that is not finite stops a training and is named, to the gate and unit."""

import dataclasses

import numpy as np
import pytest
import torch
from cases import by_modules, make_examples, make_model

from elman import SequenceClassifier
from elman.data.batches import Examples, make_batch
from elman.data.ragged import Ragged
from elman.errors import NonFiniteError
from elman.settings import TrainingSettings
from elman.train import nonfinite, train
from elman.train.losses import Loss

QUICK = TrainingSettings(epochs=2, batch_size=8, token_dropout=0, learning_rate=0.01, warmup=0)


def stopped(model, data, validation=None, **changes):
    """The error that stops this training."""
    with pytest.raises(NonFiniteError) as caught:
        train(model, data, validation, dataclasses.replace(QUICK, **changes))
    return caught.value


def chain(weight, recurrent, output, *, steps=4, cell="rnn", **options):
    """A relu network of one unit, and one sequence: 1, then zeros. Its target is 0."""
    model = make_model(
        cell,
        hidden_size=1,
        input_size=1,
        num_outputs=1,
        task="regression",
        nonlinearity="relu" if cell == "rnn" else "tanh",
        **options,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for name, parameter in model.named_parameters():
            for part, value in (("weight_ih", weight), ("weight_hh", recurrent)):
                if part in name:
                    parameter.fill_(value)
        model.output.weight.fill_(output)
    x = np.zeros((steps, 1), dtype=np.float32)
    x[0] = 1
    target = np.zeros((1, 1), dtype=np.float32)
    return model, Examples(Ragged.from_list([x]), target, unit=np.ones(1))


@pytest.mark.parametrize("source", [lambda model: model, by_modules], ids=["native", "autograd"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_input_is_named_by_sequence_step_and_channel(source, value):
    data = make_examples()
    start = int(data.inputs.offsets[23])
    data.inputs.values[start, 1] = value
    error = stopped(source(make_model("gru", dropout=0.3)), data)
    assert (error.stage, error.sequence, error.step, error.unit) == ("input", 23, 1, 1)
    assert error.layer is None and error.gate is None
    assert "epoch 1, batch" in str(error) and "sequence 23, step 1" in str(error)
    assert "channel 1 of the input" in str(
        error
    ) and "It is in the data: correct the sequence" in str(error)
    assert "diverged" not in str(error)  # the learning rate is not to blame


@pytest.mark.parametrize(
    ("cell", "gate", "row"), [("gru", "z", 6 + 3), ("lstm", "o", 3 * 6 + 3), ("rnn", "h", 3)]
)
def test_a_weight_is_named_with_its_gate(cell, gate, row):
    model = make_model(cell, num_layers=2, bidirectional=True)
    with torch.no_grad():
        model.recurrent.weight_hh_l1_reverse[row, 2] = torch.nan
    error = stopped(model, make_examples())
    assert (error.stage, error.layer, error.direction) == ("weight", 1, "backward")
    assert (error.gate, error.unit, error.sequence) == (gate, 3, None)
    assert "weight_hh_l1_reverse" in str(error) and "learning rate (now 0.01)" in str(error)


@pytest.mark.parametrize("source", [lambda model: model, by_modules], ids=["native", "autograd"])
def test_a_state_that_grows_is_named_at_the_step_where_it_ends(source):
    """h_t = 1e10^t: float32 ends at 3.4e38, so that step 5 does not fit, 1e40."""
    model, data = chain(1.0, 1e10, 1.0, steps=7)
    error = stopped(source(model), data)
    assert (error.stage, error.step, error.gate, error.sequence) == ("forward", 5, "h", 0)
    assert (error.layer, error.direction, error.unit) == (0, "forward", 0)
    assert "the sum that enters state h, unit 0, inf" in str(error)


def test_the_backward_direction_counts_its_steps_in_the_order_of_the_sequence():
    """The 1 stands at the first step, where the backward direction ends: put it at the last."""
    model, data = chain(1.0, 1e10, 1.0, steps=7, bidirectional=True)
    data.inputs.values[:] = data.inputs.values[::-1].copy()
    with torch.no_grad():
        model.recurrent.weight_hh_l0.zero_()
    error = stopped(model, data)
    assert (error.direction, error.step) == ("backward", 3)
    assert "backward direction" in str(error)


def test_the_upper_layer_is_named_where_the_lower_one_is_finite():
    model, data = chain(1.0, 1.0, 1.0, steps=3, num_layers=2)
    with torch.no_grad():
        model.recurrent.weight_ih_l0.fill_(1e20)
        model.recurrent.weight_ih_l1.fill_(1e20)
    error = stopped(model, data)
    assert (error.stage, error.layer, error.step) == ("forward", 1, 1)


@pytest.mark.parametrize(
    ("cell", "gate"), [*(("lstm", g) for g in "ifgo"), *(("gru", g) for g in "rzn")]
)
def test_a_gate_is_named(cell, gate):
    """One sequence takes the sum that enters one gate out of float32's range."""
    data = make_examples(16)
    data.inputs.values[data.inputs.offsets[11]] = 1e20
    model = make_model(cell, bidirectional=True)
    with torch.no_grad():
        rows = {"lstm": "ifgo", "gru": "rzn"}[cell]
        model.recurrent.weight_ih_l0_reverse[rows.index(gate) * 6 + 2] = 1e20
    batch = make_batch(data, np.arange(8, 16))
    found = nonfinite.find_origin(model, batch, Loss("classification", "cross_entropy"))
    assert (found.stage, found.gate, found.unit, found.row) == ("forward", gate, 2, 3)
    assert (found.direction, found.step, found.value) == ("backward", 1, np.inf)


def test_the_output_and_the_loss_are_named():
    model, data = chain(1.0, 1.0, 3e38, steps=3)
    with torch.no_grad():
        model.output.bias.fill_(3e38)
    error = stopped(model, data)
    assert (error.stage, error.sequence, error.gate) == ("forward", 0, None)
    assert "the output, number 0" in str(error)
    model, data = chain(1.0, 1.0, 1e20, steps=3)  # 1e20 squared
    error = stopped(model, data)
    assert (error.stage, error.sequence) == ("loss", 0)


@pytest.mark.parametrize("source", [lambda model: model, by_modules], ids=["native", "autograd"])
def test_a_gradient_that_grows_is_named_where_it_ends(source):
    """Forward all fits: h = 1e-30, 1e-15, 1. Back: dL/dy = 2e15, dL/dh_3 = 2e30, dL/dh_2 = 2e45."""
    model, data = chain(1e-30, 1e15, 1e15, steps=3)
    error = stopped(source(model), data, clip_norm=0)
    assert (error.stage, error.step, error.gate, error.layer) == ("backward", 2, "h", 0)
    assert "the gradient of state h, unit 0" in str(error)


def test_a_gradient_of_a_weight_alone_is_named():
    """dL/dz = 2e15 * 1e15 = 2e30 fits, and times the input 1e10 does not."""
    model, data = chain(1e-10, 1.0, 1e15, steps=1)
    data.inputs.values[:] = 1e10
    error = stopped(model, data, clip_norm=0)
    assert (error.stage, error.gate, error.unit) == ("gradient", "h", 0)
    assert "weight_ih_l0" in str(error)


def test_a_step_of_a_tagger_is_named():
    data = make_examples(16, per_step=True)
    model = make_model("rnn", "every", nonlinearity="relu")
    sequence = int(data.inputs.lengths.argmax())
    data.inputs.values[data.inputs.offsets[sequence] + 4] = 1e25
    with torch.no_grad():
        model.output.weight.fill_(1e15)
        model.recurrent.weight_ih_l0.fill_(1.0)
        model.recurrent.weight_hh_l0.zero_()
    error = stopped(model, data)
    assert (error.sequence, error.step) == (sequence, 5)


def test_a_row_beyond_those_gone_through_together_is_named():
    data = make_examples(200)
    data.inputs.values[data.inputs.offsets[171]] = 1e25
    model = make_model("rnn", nonlinearity="relu", seed=3)
    with torch.no_grad():
        model.recurrent.weight_ih_l0.fill_(1e20)
    error = stopped(model, data, batch_size="full")
    assert (error.stage, error.sequence, error.step) == ("forward", 171, 1)


def test_the_validation_part_is_looked_at_too():
    watched = make_examples()
    watched.inputs.values[watched.inputs.offsets[17], 0] = np.nan
    error = stopped(make_model(), make_examples(), watched)
    assert str(error).startswith("epoch 1: validation loss nan")
    assert (error.stage, error.sequence, error.step) == ("input", 17, 1)


def test_a_sequence_is_named_by_its_place_in_the_callers_X(monkeypatch):
    """Some are left out by weight 0, others are held out; the rest are shuffled."""
    seen = []

    def spied(model, training, validation, *args, **options):
        seen.extend([training, validation])
        # In the third that is trained on, whichever that is.
        training.inputs.values[training.inputs.offsets[2]] = np.nan
        return train(model, training, validation, *args, **options)

    monkeypatch.setattr("elman.estimators.base.train", spied)
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(5, 2)).astype(np.float32) for _ in range(40)]
    weight = np.ones(40)
    weight[:7] = 0
    clf = SequenceClassifier(epochs=2, hidden_size=4, scale=False, noise=0, validation=0.3)
    with pytest.raises(NonFiniteError) as caught:
        clf.fit(X, [i % 2 for i in range(40)], sample_weight=weight)
    for part in seen:
        places = part.places_of(np.arange(len(part)))
        for row, place in enumerate(places):
            if part is not seen[0] or row != 2:
                assert (part.inputs[row] == X[place]).all()
    everywhere = np.concatenate([part.places for part in seen])
    assert sorted(everywhere) == list(range(7, 40))
    assert caught.value.sequence == seen[0].places[2] != 2
    assert f"sequence {seen[0].places[2]}, step 1" in str(caught.value)


def test_a_healthy_training_is_not_gone_through_again(monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(nonfinite, "find_origin", never)
    train(make_model(), make_examples(), make_examples(), QUICK)


def test_a_model_of_other_parts_is_still_told_to_have_diverged(monkeypatch):
    def broken(*_):
        raise AttributeError("no recurrent")

    monkeypatch.setattr(nonfinite, "find_origin", broken)
    model = make_model()
    with torch.no_grad():
        model.output.bias[0] = torch.inf
    error = stopped(model, make_examples())
    assert "training has diverged" in str(error) and error.stage == ""


@pytest.mark.parametrize("value", [3e38, 1e20, -2e5])
def test_a_very_large_input_is_named_and_the_learning_rate_is_not_blamed(value):
    """The number is finite, so that the search finds a later one; the cause is in the data."""
    model, data = chain(np.copysign(3e34 if abs(value) < 1e30 else 2.0, value), 1.0, 1.0)
    data.inputs.values[0] = value
    text = str(stopped(model, data))
    assert f"The input is very large: {value:.3g} in channel 0 of sequence 0 at step 1" in text
    assert "correct it or leave the sequence out" in text
    assert "learning rate" not in text


def test_an_input_of_usual_size_is_not_called_large():
    model, data = chain(3e38, 1.0, 1.0)
    data.inputs.values[0] = 100.0
    text = str(stopped(model, data))
    assert "very large" not in text
    assert "Lower the learning rate" in text
