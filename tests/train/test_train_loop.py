"""train(): it learns, it ends as it should, and the same seed gives the same bits."""

import copy
import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from cases import CLASSES, Hook, make_examples, make_model
from tolerances import assert_close

from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.errors import ElmanError, SettingsError
from elman.settings import TrainingSettings
from elman.train import loop, train
from elman.train.metrics import RunningMetrics
from elman.train.progress import Progress

QUICK = TrainingSettings(epochs=4, batch_size=8, token_dropout=0, learning_rate=0.02)


def settings(**changes):
    return dataclasses.replace(QUICK, **changes)


def weights(model):
    return {name: t.clone() for name, t in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def trained(seed=0, *, torch_seed=0, tokens=True, **changes):
    """Weights after a training in which everything drawn by chance matters."""
    model = make_model("gru", tokens=tokens, dropout=0.2)
    torch.manual_seed(torch_seed)
    data = make_examples(tokens=tokens)
    history = train(model, data, data, settings(seed=seed, token_dropout=1.0, **changes))
    return weights(model), history


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("tokens", [False, True], ids=["numbers", "tokens"])
def test_loss_falls(cell, readout, tokens):
    data = make_examples(60, tokens=tokens, per_step=readout == "every")
    model = make_model(cell, readout, tokens=tokens)
    history = train(model, data, None, settings(epochs=12))
    losses = [record.loss for record in history.epochs]
    assert [record.epoch for record in history.epochs] == list(range(1, 13))
    assert losses[-1] < 0.7 * losses[0]
    assert history.epochs[-1].accuracy > history.epochs[0].accuracy
    assert history.stopped == "all epochs done"
    assert not model.training


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_learns_eight_sequences_by_heart(cell):
    """Labels that mean nothing: only a network that reads and trains rightly gets them all."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(2, 9, length) for length in rng.integers(3, 8, 8)]
    data = Examples(Ragged.from_list(rows), rng.permutation(np.arange(8) % CLASSES))
    model = make_model(cell, "last", tokens=True, hidden_size=16, embedding_size=8)
    history = train(
        model,
        data,
        None,
        settings(epochs=80, batch_size="full", weight_decay=0.0, optimizer="adam"),
    )
    assert history.epochs[-1].accuracy == 1
    assert history.epochs[-1].loss < 0.1


def test_the_same_seed_gives_the_same_bits():
    one, history = trained()
    other, again = trained()
    assert same(one, other)
    for a, b in zip(history.epochs, again.epochs, strict=True):
        assert dataclasses.replace(a, seconds=0) == dataclasses.replace(b, seconds=0)


@pytest.mark.parametrize("seeds", [{"seed": 1}, {"torch_seed": 1}])
def test_another_seed_gives_other_weights(seeds):
    """The setting draws the order of batches; torch's own seed draws the dropout."""
    assert not same(trained()[0], trained(**seeds)[0])


def test_training_and_numpys_and_pythons_chance_are_apart():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    trained()
    assert (np.random.get_state()[1] == before).all()


def against(examples):
    """The same sequences with their labels turned round: learning the one unlearns the other."""
    return Examples(examples.inputs, 1 - examples.target)


def snapshots(model, into):
    def on_epoch(record):
        into.append((weights(model), record.validation_loss))

    return on_epoch


def test_keep_best_restores_the_best_epoch():
    """Labels of the validation split are turned round, so that the first epochs are the best."""
    data, model, seen = make_examples(), make_model(), []
    history = train(
        model, data, against(data), settings(epochs=6, patience=0), on_epoch=snapshots(model, seen)
    )
    losses = [loss for _, loss in seen]
    best = int(np.argmin(losses))
    assert best < 5
    assert losses == [record.validation_loss for record in history.epochs]
    assert history.kept_epoch == best + 1
    assert same(weights(model), seen[best][0])
    assert not same(weights(model), seen[-1][0])


def test_keep_best_keeps_the_first_of_the_lowest(monkeypatch):
    """Validation losses as written here: down, up, down further, level, up."""
    losses = [5.0, 3.0, 4.0, 2.0, 2.0, 6.0]
    given = iter(losses)
    monkeypatch.setattr(
        loop, "validate", lambda *_: RunningMetrics(loss=next(given), correct=0, count=1)
    )
    data, model, seen = make_examples(), make_model(), []
    history = train(
        model, data, data, settings(epochs=6, patience=3), on_epoch=snapshots(model, seen)
    )
    assert [record.validation_loss for record in history.epochs] == losses
    assert history.kept_epoch == 4
    assert same(weights(model), seen[3][0])
    assert not any(same(weights(model), seen[i][0]) for i in (0, 1, 2, 4, 5))


def test_keep_last_keeps_the_last():
    data, model, seen = make_examples(), make_model(), []
    chosen = settings(epochs=6, patience=0, keep="last")
    history = train(model, data, against(data), chosen, on_epoch=snapshots(model, seen))
    assert history.kept_epoch == 6
    assert same(weights(model), seen[-1][0])


def test_watching_changes_nothing():
    """A validation split that nothing is chosen by leaves the weights as they were without it."""
    data = make_examples(tokens=True)
    found = []
    for validation in (None, make_examples(10, tokens=True, seed=1)):
        model = make_model(tokens=True, dropout=0.3)
        torch.manual_seed(0)
        train(model, data, validation, settings(keep="last", patience=0, token_dropout=0.5))
        found.append(weights(model))
    assert same(*found)


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_stops(patience):
    data, model = make_examples(), make_model()
    history = train(model, data, against(data), settings(epochs=40, patience=patience))
    losses = [record.validation_loss for record in history.epochs]
    assert len(losses) < 40
    assert len(losses) == int(np.argmin(losses)) + 1 + patience
    assert history.stopped == f"no lower validation loss for {patience} epochs"


def test_patience_0_never_stops():
    data = make_examples()
    history = train(make_model(), data, against(data), settings(epochs=20, patience=0))
    assert len(history.epochs) == 20
    assert history.stopped == "all epochs done"


def test_patience_stops_with_keep_last():
    data, model, seen = make_examples(), make_model(), []
    chosen = settings(epochs=40, patience=2, keep="last")
    history = train(model, data, against(data), chosen, on_epoch=snapshots(model, seen))
    assert len(history.epochs) < 40
    assert history.kept_epoch == len(history.epochs)
    assert same(weights(model), seen[-1][0])


class Interrupt(Progress):
    """Raises what Ctrl-C raises, in one batch of one epoch."""

    def __init__(self, epoch, batch):
        self.when = (epoch, batch)
        self.current = 1

    def batch(self, number, batches, metrics):
        if (self.current, number) == self.when:
            raise KeyboardInterrupt
        if number == batches:
            self.current += 1


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_interrupt_ends_with_the_best_so_far(batch):
    data, model, seen = make_examples(), make_model(), []
    history = train(
        model,
        data,
        against(data),
        settings(epochs=10, patience=0),
        progress=Interrupt(4, batch),
        on_epoch=snapshots(model, seen),
    )
    assert history.stopped == "interrupted after epoch 3"
    assert len(history.epochs) == len(seen) == 3
    best = int(np.argmin([loss for _, loss in seen]))
    assert history.kept_epoch == best + 1
    assert same(weights(model), seen[best][0])
    assert not model.training


def test_interrupt_with_keep_last_ends_with_a_whole_epoch():
    data, model, seen = make_examples(), make_model(), []
    history = train(
        model,
        data,
        None,
        settings(epochs=10, keep="last"),
        progress=Interrupt(4, 3),
        on_epoch=snapshots(model, seen),
    )
    assert history.kept_epoch == 3
    assert same(weights(model), seen[2][0])


def test_interrupt_in_the_first_epoch_is_passed_on():
    data = make_examples()
    with pytest.raises(KeyboardInterrupt):
        train(make_model(), data, data, settings(), progress=Interrupt(1, 2))


@pytest.mark.parametrize("validation", [False, True])
def test_divergence_is_an_error(validation):
    data = make_examples()
    wild = settings(optimizer="sgd", learning_rate=1e30, clip_norm=0, epochs=20, warmup=0)
    with pytest.raises(ElmanError, match=r"diverged.*Lower the learning rate \(now 1e\+30\)"):
        train(make_model("rnn", nonlinearity="relu"), data, data if validation else None, wild)


def test_divergence_in_the_last_step_is_an_error():
    """The loss was finite before the step; the validation after it is not."""
    data = make_examples()
    wild = settings(
        optimizer="sgd", learning_rate=3e38, clip_norm=0, epochs=1, warmup=0, batch_size="full"
    )
    with pytest.raises(ElmanError, match=r"epoch 1: validation loss (inf|nan): .*diverged"):
        train(make_model("gru", "mean", num_layers=2), data, data, wild)


def test_nan_in_the_data_is_an_error():
    data = make_examples()
    data.inputs.values[3, 0] = np.nan
    with pytest.raises(ElmanError, match=r"epoch 1, batch [1-5]: loss nan"):
        train(make_model(), data, None, settings())
    with pytest.raises(ElmanError, match="epoch 1: validation loss nan"):
        train(make_model(), make_examples(), data, settings())


@pytest.mark.parametrize("changes", [{"keep": "best"}, {"patience": 3}])
def test_what_needs_a_validation_part(changes):
    with pytest.raises(SettingsError, match="need a validation split"):
        train(make_model(), make_examples(), None, settings(**changes))


def test_full_batch():
    """One step an epoch, over everything."""
    calls = []
    data = make_examples(37)
    train(
        make_model(),
        data,
        None,
        settings(batch_size="full", epochs=3),
        progress=Hook(
            batch=lambda number, batches, metrics: calls.append((number, batches, metrics.count))
        ),
    )
    assert calls == [(1, 1, 37)] * 3


def test_progress_hears_of_every_batch():
    calls = []
    train(
        make_model(),
        make_examples(20),
        None,
        settings(batch_size=8, epochs=2),
        progress=Hook(
            batch=lambda number, batches, metrics: calls.append((number, batches, metrics.count))
        ),
    )
    assert [(n, m) for n, m, _ in calls] == [(1, 3), (2, 3), (3, 3)] * 2
    assert calls[2][2] == calls[5][2] == 20


def test_records_are_json_ready():
    data = make_examples()
    record = train(make_model(), data, data, settings(epochs=1)).epochs[0].to_dict()
    assert set(record) == {
        "epoch",
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
        "learning_rate",
        "gradient_norm",
        "test_loss",
        "test_accuracy",
    }
    tested = {record.pop("test_loss"), record.pop("test_accuracy")}
    assert tested == {None}
    assert all(math.isfinite(v) for v in record.values())
    assert all(type(v) in (int, float) for v in record.values())


def test_record_is_the_mean_over_the_labels():
    """With no step taken, an epoch's loss and accuracy are those of the data as a whole."""
    data, model = make_examples(21, per_step=True), make_model("gru", "every")
    frozen = settings(learning_rate=1e-30, weight_decay=0.0, epochs=1, keep="last", patience=0)
    record = train(copy.deepcopy(model), data, data, frozen).epochs[0]
    losses, hits = [], []
    for row, target in zip(data.inputs, data.target, strict=True):
        logits = model(torch.from_numpy(row)[None])[0].detach()
        for scores, code in zip(logits, target, strict=True):
            losses.append(-float(scores.log_softmax(0)[code]))
            hits.append(int(scores.argmax()) == code)
    for loss, accuracy in (
        (record.loss, record.accuracy),
        (record.validation_loss, record.validation_accuracy),
    ):
        assert_close(torch.tensor(loss), torch.tensor(np.mean(losses)), "training")
        assert accuracy == np.mean(hits)


@pytest.mark.gpu
def test_cuda_learns():
    data, model = make_examples(), make_model().cuda()
    history = train(model, data, data, settings(epochs=10, device="cuda"))
    assert history.epochs[-1].loss < 0.8 * history.epochs[0].loss


def test_message_of_divergence_names_the_batch():
    data = make_examples()
    data.inputs.values[:] = np.inf
    with pytest.raises(ElmanError, match=re.escape("epoch 1, batch 1: loss nan, gradient norm")):
        train(make_model(), data, None, settings())
