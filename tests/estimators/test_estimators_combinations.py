"""Every cell, direction, readout, depth and kind of input goes with every other, and counts."""

import numpy as np
import pytest
import torch

from elman import SequenceClassifier, SequenceTagger, load

SMALL = {
    "hidden_size": 5,
    "epochs": 1,
    "batch_size": 8,
    "bidirectional": False,
    "random_state": 3,
}
CELLS = {
    "rnn_tanh": {"cell": "rnn"},
    "rnn_relu": {"cell": "rnn", "nonlinearity": "relu"},
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
}


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", ["numbers", "tokens"])
@pytest.mark.parametrize("readout", ["last", "mean", "max", "every"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_every_combination(cell, bidirectional, readout, kind, num_layers, data, tags, tmp_path):
    X, y = data[kind]
    options = {**SMALL, **CELLS[cell], "bidirectional": bidirectional, "num_layers": num_layers}
    if readout == "every":
        y = tags(X)
        model = SequenceTagger(**options).fit(X, y)
        flat = np.concatenate(model.predict(X))
        found = model.predict_proba(X)
        assert [len(p) for p in found] == [len(s) for s in X]
        found, truth = np.concatenate(found), np.concatenate(y)
    else:
        model = SequenceClassifier(readout=readout, **options).fit(X, y)
        flat, found, truth = model.predict(X), model.predict_proba(X), np.array(y)
    network = model.model_
    assert network.recurrent.num_layers == num_layers
    assert network.recurrent.bidirectional == bidirectional
    assert type(network.recurrent).__name__ == CELLS[cell]["cell"].upper()
    assert network.output.in_features == 5 * (1 + bidirectional)
    assert found.shape == (len(truth), 2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    assert (model.classes_[found.argmax(1)] == flat).all()
    # In other company, and alone: the same bits.
    turned, alone = model.predict_proba(X[::-1])[::-1], [model.predict_proba([s])[0] for s in X]
    assert np.array_equal(np.vstack(turned), found)
    assert np.array_equal(np.vstack(alone), found)
    report = model.evaluate(X, y, resamples=0)
    assert model.score(X, y) == pytest.approx((flat == truth).mean()) == report.accuracy
    assert len(model.history_.epochs) == 1

    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert type(again) is type(model)
    assert np.array_equal(
        np.concatenate(list(again.predict_proba(X))), np.concatenate(list(model.predict_proba(X)))
    )
    assert again.get_params() == model.get_params()


# What each setting is changed from and to. No change may be without effect: an option that is
# taken and ignored would leave the weights, or the history, as they were.
CHANGES = [
    ("numbers", {}, {"cell": "lstm"}),
    ("numbers", {"cell": "rnn"}, {"cell": "rnn", "nonlinearity": "relu"}),
    ("numbers", {}, {"hidden_size": 6}),
    ("numbers", {}, {"num_layers": 2}),
    ("numbers", {}, {"bidirectional": True}),
    ("numbers", {}, {"dropout": 0.5}),
    ("numbers", {}, {"readout": "mean"}),
    ("numbers", {"readout": "mean"}, {"readout": "max"}),
    ("numbers", {}, {"initialization": "torch"}),
    ("numbers", {}, {"epochs": 2}),
    ("numbers", {}, {"batch_size": 5}),
    ("numbers", {}, {"batch_size": "full"}),
    ("numbers", {}, {"learning_rate": 0.01}),
    ("numbers", {}, {"optimizer": "sgd"}),
    ("numbers", {"weight_decay": 0.3}, {"optimizer": "adam", "weight_decay": 0.3}),
    ("numbers", {}, {"weight_decay": 0.0}),
    ("numbers", {}, {"schedule": "constant"}),
    ("numbers", {}, {"warmup": 0.9}),
    ("numbers", {}, {"clip_norm": 0.01}),
    ("numbers", {}, {"label_smoothing": 0.3}),
    ("numbers", {}, {"validation": 0.4}),
    ("numbers", {}, {"scale": False}),
    ("numbers", {}, {"random_state": 4}),
    ("tokens", {}, {"embedding_size": 7}),
    ("tokens", {}, {"token_dropout": 5.0}),
    ("tokens", {}, {"dropout": 0.5}),
    ("text", {}, {"tokens": "characters"}),
]


@pytest.mark.parametrize(
    ("kind", "before", "after"), CHANGES, ids=[f"{k}-{a}" for k, _, a in CHANGES]
)
def test_every_setting_counts(kind, before, after, data, tags):
    X, y = data["tokens" if kind == "text" else kind]
    if kind == "text":
        X = [" ".join(s) for s in X]

    def outcome(options):
        model = SequenceClassifier(**{**SMALL, "batch_size": 4, **options}).fit(X, y)
        state = {k: v.clone() for k, v in model.model_.state_dict().items()}
        return state, [e.loss for e in model.history_.epochs]

    (state, losses), (other_state, other_losses) = outcome(before), outcome(after)
    same = state.keys() == other_state.keys() and all(
        v.shape == other_state[k].shape and torch.equal(v, other_state[k]) for k, v in state.items()
    )
    assert not (same and losses == other_losses)


@pytest.mark.parametrize("patience", [0, 2])
def test_patience_and_keep_count(patience, numbers):
    """Labels that mean nothing: the validation loss soon rises."""
    X, _ = numbers
    y = np.random.default_rng(5).permutation([0, 1] * 12)
    options = {**SMALL, "epochs": 12, "learning_rate": 0.05, "validation": 0.3}
    best = SequenceClassifier(**options, patience=patience).fit(X, y)
    last = SequenceClassifier(**options, patience=patience, keep="last").fit(X, y)
    losses = [e.validation_loss for e in best.history_.epochs]
    lowest = int(np.argmin(losses)) + 1
    assert best.history_.kept_epoch == lowest < len(losses)
    assert last.history_.kept_epoch == len(losses)
    assert [e.loss for e in last.history_.epochs] == [e.loss for e in best.history_.epochs]
    if patience:
        assert len(losses) == lowest + patience < 12
        assert best.history_.stopped == "no lower validation loss for 2 epochs"
    else:
        assert len(losses) == 12
        assert best.history_.stopped == "all epochs done"
    assert not np.array_equal(best.predict_proba(X), last.predict_proba(X))


def test_dropout_is_between_the_layers_too(numbers):
    X, y = numbers
    for layers, between in ((1, 0.0), (2, 0.5)):
        model = SequenceClassifier(**SMALL, num_layers=layers, dropout=0.5).fit(X, y)
        assert model.model_.recurrent.dropout == between
        np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
