"""The curve of the test split: what it costs, what it holds, and that it changes nothing."""

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from cases import make_examples, make_model

from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.errors import ShapeError
from elman.settings import TrainingSettings
from elman.train import train
from elman.train.monitor import ALLOWED, OVERHEAD, SHARE, Monitor, _multiplications

QUICK = TrainingSettings(epochs=6, batch_size=8, learning_rate=0.02, token_dropout=1.0)


def monitor(test, training, model, settings=QUICK, **options):
    plan = settings.resolve(False)
    return Monitor.plan(test, training, model.config, plan, **options)


def bits(tokens, watched, **changes):
    """Everything that a training leaves behind: weights, generators, records, state."""
    model = make_model("gru", tokens=tokens, dropout=0.2)
    training, test = make_examples(40, tokens=tokens), make_examples(25, tokens=tokens, seed=9)
    settings = dataclasses.replace(QUICK, **changes)
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002: the global generator must not be touched either
    modes, state = [], {}
    history = train(
        model,
        training,
        None,
        settings,
        optimizer_state=state,
        monitor=monitor(test, training, model, settings, every_epoch=True) if watched else None,
        on_epoch=lambda record: modes.append(model.training),
    )
    records = [
        dataclasses.replace(e, seconds=0, test_loss=None, test_accuracy=None)
        for e in history.epochs
    ]
    drawn = (torch.rand(3), random.random(), np.random.rand())
    return model.state_dict(), state, records, modes, drawn, history


@pytest.mark.parametrize("tokens", [False, True], ids=["numbers", "tokens"])
@pytest.mark.parametrize("changes", [{}, {"loss": "focal", "noise": 0.1}], ids=["native", "torch"])
def test_the_same_bits_with_and_without(tokens, changes):
    seen, unseen = bits(tokens, True, **changes), bits(tokens, False, **changes)
    for one, other in zip(seen[:2], unseen[:2], strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert seen[2] == unseen[2]
    assert seen[3] == unseen[3]
    assert torch.equal(seen[4][0], unseen[4][0])
    assert seen[4][1:] == unseen[4][1:]
    assert all(e.test_loss is not None for e in seen[5].epochs)
    assert (seen[5].held_out, unseen[5].held_out) == ("test", None)
    assert unseen[5].monitored == ""


def test_the_figures_are_those_of_the_network_at_that_epoch():
    training, test, model = make_examples(40), make_examples(25, seed=9), make_model()
    seen = []

    def measure(record):
        with torch.no_grad():
            rows = [model(torch.from_numpy(x)[None])[0] for x in test.inputs]
        logits = torch.stack(rows)
        target = torch.from_numpy(test.target)
        loss = float(torch.nn.functional.cross_entropy(logits, target))
        seen.append((loss, float((logits.argmax(1) == target).float().mean())))

    watch = monitor(test, training, model, every_epoch=True)
    history = train(model, training, None, QUICK, monitor=watch, on_epoch=measure)
    for record, (loss, accuracy) in zip(history.epochs, seen, strict=True):
        assert record.test_loss == pytest.approx(loss, rel=1e-5)
        assert record.test_accuracy == pytest.approx(accuracy)
        assert record.validation_loss is None
    assert history.kept_epoch == QUICK.epochs  # not the epoch with the lowest test loss


def test_validation_and_test_side_by_side():
    training, validation, test = (make_examples(30, seed=s) for s in (0, 1, 2))
    model = make_model()
    watch = monitor(test, training, model, every_epoch=True)
    history = train(model, training, validation, QUICK, monitor=watch)
    assert history.held_out == "validation"
    losses = [e.validation_loss for e in history.epochs]
    assert losses[history.kept_epoch - 1] == min(losses)
    assert all(e.test_loss is not None for e in history.epochs)


@pytest.mark.parametrize(
    ("train_count", "test_count", "epochs"),
    [(200, 50, 60), (70, 1000, 300), (2000, 500, 3), (20_000, 5000, 3), (30, 10, 400), (8, 2, 1)],
)
def test_the_cost_is_bounded(train_count, test_count, epochs):
    """Counted in multiplications and calls, at most 3 % or about 0.03 s."""
    training, test = make_examples(train_count), make_examples(test_count, seed=1)
    model = make_model("gru", hidden_size=64)
    settings = dataclasses.replace(QUICK, epochs=epochs)
    found = monitor(test, training, model, settings)
    due = [epoch for epoch in range(1, epochs + 1) if found.is_due(epoch)]
    assert due[0] == 1
    assert due[-1] == epochs
    assert len(due) >= min(epochs, 2)
    step = _multiplications(model.config)
    cost = step * found.examples.inputs.lengths.sum()
    cost += OVERHEAD * math.ceil(len(found.examples) / 256)
    whole = 3 * step * training.inputs.lengths.sum() + OVERHEAD * math.ceil(train_count / 8)
    assert len(due) * cost <= max(SHARE * epochs * whole, ALLOWED)
    again = monitor(test, training, model, settings)
    np.testing.assert_array_equal(found.examples.inputs.values, again.examples.inputs.values)


def test_a_sample_is_said_and_every_epoch_is_the_whole_split():
    training, test, model = make_examples(40), make_examples(4000, seed=1), make_model("gru")
    settings = dataclasses.replace(QUICK, epochs=50)
    some = monitor(test, training, make_model("gru", hidden_size=96), settings)
    assert len(some.examples) < 4000
    assert f"a fixed sample of {len(some.examples)} of them" in str(some)
    assert f"every {some.every} epochs, the first and the last" in str(some)
    assert "nothing is chosen by it" in str(some)
    whole = monitor(test, training, model, settings, every_epoch=True)
    assert whole.examples is test
    assert "sequences): evaluated after every epoch" in str(whole)


def test_a_sample_keeps_weights_targets_and_places():
    rows = [np.full((n, 1), n, np.float32) for n in (2, 3, 4)]
    steps = [np.full(n, n % 3) for n in (2, 3, 4)]
    weights = [np.full(n, n, np.float32) for n in (2, 3, 4)]
    whole = Examples(*map(Ragged.from_list, (rows, steps, weights)), places=np.array([5, 7, 9]))
    part = whole.take(np.array([0, 2]))
    assert [x[0, 0] for x in part.inputs] == [2, 4]
    assert [y.tolist() for y in part.target] == [[2, 2], [1, 1, 1, 1]]
    assert [w[0] for w in part.weight] == [2, 4]
    assert part.places.tolist() == [5, 9]


def test_a_test_loss_that_is_not_finite_ends_nothing():
    training, test = make_examples(40), make_examples(10, seed=1)
    test.inputs.values[3] = np.inf
    model = make_model()
    watch = monitor(test, training, model, every_epoch=True)
    history = train(model, training, None, QUICK, monitor=watch)
    assert len(history.epochs) == QUICK.epochs
    assert {e.test_loss for e in history.epochs} == {None}
    assert history.held_out is None


def test_a_test_split_that_does_not_fit_is_refused_before_the_training():
    training, test, model = make_examples(20), make_examples(10, tokens=True), make_model()
    plan = Monitor(test, 10, 1, 6)
    with pytest.raises(ShapeError, match="test: got steps of shape"):
        train(model, training, None, QUICK, monitor=plan)
