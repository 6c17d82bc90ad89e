"""The model against its explicit construction: each row alone, torch.nn's layer, a plain loop."""

import dataclasses
import re

import pytest
import torch
from cases import (
    CHANNELS,
    CLASSES,
    READOUTS,
    VOCABULARY,
    make_model,
    make_sequences,
    stack_rows,
)
from tolerances import assert_close
from torch import nn

from elman.errors import SettingsError, ShapeError
from elman.models import ModelConfig, SequenceModel

LENGTHS = [4, 1, 7, 2]
TORCH = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
each_cell = pytest.mark.parametrize("cell", TORCH)
each_direction = pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])
each_input = pytest.mark.parametrize("inputs", ["numbers", "tokens", "mixed"])


def one_direction(model, cell, suffix, layer):
    """torch.nn's forward layer with the weights of one layer and direction of the model."""
    size = getattr(model.recurrent, f"weight_ih_l{layer}{suffix}").shape[1]
    single = TORCH[cell](size, model.config.hidden_size, batch_first=True).double()
    with torch.no_grad():
        for name, parameter in single.named_parameters():
            parameter.copy_(getattr(model.recurrent, name.replace("_l0", f"_l{layer}") + suffix))
    return single


def states_alone(model, cell, row):
    """States of the top layer over one unpadded row, forward and backward, each (T, H).

    The backward direction is the forward layer over the flipped sequence, flipped back.
    """
    x = model.embedding(row) if model.config.vocabulary_size else row
    if model.config.category_sizes:
        numbers, *codes = row.tensor_split([CHANNELS, CHANNELS + 1], -1)
        parts = [table(c[:, 0].long()) for table, c in zip(model.embeddings, codes, strict=True)]
        x = torch.cat([numbers, *parts], -1)
    both = []
    for layer in range(model.config.num_layers):
        forward = one_direction(model, cell, "", layer)(x[None])[0][0]
        both = [forward]
        if model.config.bidirectional:
            flipped = one_direction(model, cell, "_reverse", layer)(x.flip(0)[None])[0][0]
            both.append(flipped.flip(0))
        x = torch.cat(both, -1)
    return both


def read(states, how):
    """The readout as a loop over the row's own steps."""
    both = torch.cat(states, -1)  # (T, D*H)
    if how == "last":
        return torch.cat([states[0][-1], *(s[0] for s in states[1:])])
    if how == "every":
        return both
    total = both[0]
    for h in both[1:]:
        total = torch.maximum(total, h) if how == "max" else total + h
    return total / len(both) if how == "mean" else total


@each_cell
@each_direction
@each_input
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("readout", READOUTS)
def test_explicit_construction(cell, bidirectional, inputs, layers, readout):
    tokens = inputs == "tokens"
    kind = {} if inputs == "numbers" else {inputs: True}
    model = make_model(
        cell, readout, **kind, bidirectional=bidirectional, num_layers=layers
    ).double()
    rows = make_sequences(LENGTHS, **kind)
    if not tokens:
        rows = [row.double() for row in rows]
    x, lengths = stack_rows(rows, extra=2, pad=0 if tokens else float("nan"))
    logits = model(x, lengths)
    assert logits.shape == ((4, 9, CLASSES) if readout == "every" else (4, CLASSES))
    for i, row in enumerate(rows):
        wanted = read(states_alone(model, cell, row), readout) @ model.output.weight.T
        wanted = wanted + model.output.bias
        found = logits[i, : len(row)] if readout == "every" else logits[i]
        assert_close(found, wanted, "float64", f"row {i} of {len(row)} steps")


@pytest.mark.parametrize("readout", READOUTS)
def test_no_lengths_means_all_steps(readout):
    model = make_model("gru", readout, bidirectional=True)
    x = torch.randn(3, 5, CHANNELS)
    assert torch.equal(model(x), model(x, torch.tensor([5, 5, 5])))


@pytest.mark.parametrize("readout", READOUTS)
def test_no_rows(readout):
    model = make_model("gru", readout)
    found = model(torch.zeros(0, 4, CHANNELS), torch.zeros(0, dtype=torch.int64))
    assert found.shape == ((0, 4, CLASSES) if readout == "every" else (0, CLASSES))


@pytest.mark.parametrize("readout", READOUTS)
def test_dropout_only_while_training(readout):
    """On embeddings, between layers and before the output; never in evaluation."""
    model = make_model("gru", readout, tokens=True, num_layers=2, dropout=0.5)
    x, lengths = stack_rows(make_sequences(LENGTHS, tokens=True))
    assert torch.equal(model(x, lengths), model(x, lengths))
    model.train()
    assert not torch.equal(model(x, lengths), model(x, lengths))


def test_dropout_share_of_embeddings_and_output(monkeypatch):
    seen = []
    original = nn.functional.dropout

    def spy(x, p, training):
        out = original(x, p, training)
        seen.append(float(((out == 0) & (x != 0)).double().sum() / (x != 0).sum()))
        return out

    monkeypatch.setattr(nn.functional, "dropout", spy)
    model = make_model("gru", "every", tokens=True, dropout=0.3, embedding_size=50, hidden_size=50)
    model.train()(torch.randint(2, VOCABULARY, (20, 10)))
    assert len(seen) == 2
    assert seen == pytest.approx([0.3, 0.3], abs=5 * (0.21 / 10_000) ** 0.5)


def test_first_weights():
    """Orthogonal unless torch's are asked for, and torch's are those of nn.GRU and nn.Linear."""
    sizes = {"num_outputs": CLASSES, "input_size": CHANNELS, "hidden_size": 6}
    config = ModelConfig(**sizes, readout="last", bidirectional=False)
    model = SequenceModel(config)
    U = model.recurrent.weight_hh_l0[:6].detach()
    assert_close(U.T @ U, torch.eye(6), "float32")
    torch.manual_seed(4)
    plain = SequenceModel(dataclasses.replace(config, initialization="torch"))
    torch.manual_seed(4)
    recurrent, output = nn.GRU(CHANNELS, 6), nn.Linear(6, CLASSES)
    for name, parameter in recurrent.named_parameters():
        assert torch.equal(parameter, getattr(plain.recurrent, name))
    assert torch.equal(output.weight, plain.output.weight)


def test_relu_reaches_the_cell():
    model = make_model("rnn", "every", nonlinearity="relu")
    y, _ = model.recurrent(torch.randn(3, 5, CHANNELS))
    assert (y >= 0).all()
    assert (y == 0).any()


NUMBERS = torch.zeros(2, 3, CHANNELS)
TOKENS = torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("tokens", "x", "lengths", "message"),
    [
        (False, TOKENS, None, f"x: got (2, 3), expected (B, T, {CHANNELS})"),
        (False, torch.zeros(2, 3, 5), None, f"x: got (2, 3, 5), expected (B, T, {CHANNELS})"),
        (True, NUMBERS, None, f"x: got (2, 3, {CHANNELS}), expected token ids (B, T)"),
        (False, NUMBERS, [0, 3], "lengths: got an empty sequence, expected at least 1"),
        (False, NUMBERS, [-1, 3], "lengths: got an empty sequence"),
        (False, NUMBERS[:, :0], None, "lengths: got an empty sequence"),
        (False, NUMBERS, [1, 4], "lengths: got 1 to 4, expected 0 to T = 3"),
        (False, NUMBERS, [1, 2, 3], "lengths: got (3,), expected (2,)"),
        (True, TOKENS, [1], "lengths: got (1,), expected (2,)"),
        (False, NUMBERS, [[1], [2]], "lengths: got (2, 1), expected (2,)"),
        (False, NUMBERS, 3, "lengths: got (), expected (2,)"),
    ],
)
def test_wrong_input(tokens, x, lengths, message):
    model = make_model(tokens=tokens)
    ends = None if lengths is None else torch.tensor(lengths)
    with pytest.raises(ShapeError, match=re.escape(message)):
        model(x, ends)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cell": "gru", "nonlinearity": "relu"},
            "nonlinearity: 'relu' is an option of cell 'rnn'",
        ),
        ({"readout": "auto"}, "readout: expected last, mean, max or every, not auto"),
        ({"input_size": 0}, "exactly one must be given"),
        ({"vocabulary_size": 5}, "exactly one must be given"),
    ],
)
def test_settings_that_do_not_go_together(options, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        ModelConfig(**{"num_outputs": 2, "input_size": 3, "readout": "last", **options})


def test_config_is_the_whole_model():
    """The same config and seed make the same model."""
    config = ModelConfig(num_outputs=2, input_size=3, readout="mean", cell="lstm", num_layers=2)
    torch.manual_seed(1)
    one = SequenceModel(config).state_dict()
    torch.manual_seed(1)
    other = SequenceModel(config).state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[n], other[n]) for n in one)
