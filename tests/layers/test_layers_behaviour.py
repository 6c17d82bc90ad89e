"""Dropout between layers, starting weights, copies, repr and wrong arguments."""

import copy
import itertools
import pickle
import re

import pytest
import torch
from cases import CELLS
from tolerances import assert_close
from torch.nn import functional

from elman.errors import SettingsError, ShapeError
from elman.layers import GRU, LSTM, RNN, initialise_recurrent

each_cell = pytest.mark.parametrize("cell", CELLS, ids=str)


def final_of(result):
    return result[1] if isinstance(result[1], tuple) else (result[1],)


@each_cell
def test_dropout_acts_between_layers_and_only_there(cell):
    """The first layer's states are untouched, the second's change from call to call."""
    layer = cell.layer(3, 16, 2, batch_first=True, dropout=0.5, **cell.options).train()
    x = torch.randn(4, 6, 3)
    first, second = final_of(layer(x)), final_of(layer(x))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a[0], b[0])
        assert not torch.equal(a[1], b[1])
    y, _ = layer(x)
    assert (y != 0).float().mean() > (0.4 if cell.name == "rnn_relu" else 0.99)  # not the output


def test_dropout_share_and_scale(monkeypatch):
    """The stated share of each inner output is dropped and the rest is scaled up for it."""
    seen = []
    original = functional.dropout

    def spy(x, p, training):
        out = original(x, p, training)
        seen.append((x.detach(), out.detach()))
        return out

    monkeypatch.setattr(functional, "dropout", spy)
    layer = GRU(3, 64, 3, batch_first=True, dropout=0.25).train()
    layer(torch.randn(20, 10, 3))
    assert len(seen) == 2
    for before, after in seen:
        dropped = (after == 0) & (before != 0)
        share = float(dropped.float().mean())
        assert abs(share - 0.25) < 5 * (0.25 * 0.75 / dropped.numel()) ** 0.5
        assert_close(after[~dropped], before[~dropped] / 0.75, "float32")


@each_cell
def test_no_dropout_in_evaluation(cell):
    layer = cell.layer(3, 8, 3, dropout=0.9, **cell.options)
    plain = cell.layer(3, 8, 3, **cell.options)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(5, 2, 3)
    assert torch.equal(layer.eval()(x)[0], plain(x)[0])


@each_cell
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_initialise_recurrent(cell, layers, bidirectional):
    H = 7
    layer = cell.layer(
        3, H, layers, bidirectional=bidirectional, dtype=torch.float64, **cell.options
    )
    initialise_recurrent(layer)
    for name, parameter in layer.named_parameters():
        assert parameter.requires_grad
        value = parameter.detach()
        blocks = value.split(H)
        assert len(blocks) == cell.gates
        if name.startswith("weight_hh"):
            for U in blocks:
                assert_close(U.T @ U, torch.eye(H, dtype=torch.float64), "float64", name)
            for one, other in itertools.pairwise(blocks):
                assert not torch.allclose(one, other)
        elif name.startswith("weight_ih"):
            bound = (6 / (H + value.shape[1])) ** 0.5  # Xavier's, of one gate
            assert value.abs().max() <= bound
            assert value.abs().max() > 0.7 * bound
        else:
            wanted = torch.zeros_like(value)
            if cell.name == "lstm" and name.startswith("bias_ih"):
                wanted[H : 2 * H] = 1  # i, f, g, o
            assert torch.equal(value, wanted), name


def test_forget_bias_is_the_forget_gates():
    """With open forget gates and all else zero, an lstm's cell decays by sigmoid(1) a step."""
    layer = LSTM(2, 3, batch_first=True)
    initialise_recurrent(layer)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("weight"):
                parameter.zero_()
    c0 = torch.ones(1, 1, 3)
    _, (_, c_n) = layer(torch.zeros(1, 4, 2), (torch.zeros(1, 1, 3), c0))
    assert_close(c_n, c0 * torch.sigmoid(torch.tensor(1.0)) ** 4, "float32")


def test_initialise_recurrent_without_biases():
    layer = LSTM(2, 3, bias=False)
    initialise_recurrent(layer)
    assert len(list(layer.parameters())) == 2


@each_cell
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(cell, duplicate):
    layer = cell.layer(3, 4, 2, bidirectional=True, dropout=0.3, **cell.options).eval()
    other = duplicate(layer)
    x = torch.randn(5, 2, 3)
    assert repr(other) == repr(layer)
    assert not other.training
    assert torch.equal(other(x)[0], layer(x)[0])
    with torch.no_grad():
        next(other.parameters()).zero_()
    assert not torch.equal(other(x)[0], layer(x)[0])


def test_repr():
    assert repr(GRU(3, 4)) == "GRU(3, 4)"
    assert repr(RNN(3, 4, nonlinearity="relu")) == "RNN(3, 4, nonlinearity='relu')"
    shown = repr(LSTM(3, 4, 2, bias=False, batch_first=True, dropout=0.5, bidirectional=True))
    assert shown == (
        "LSTM(3, 4, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True)"
    )


@each_cell
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 0}, "input_size: got 0, expected at least 1"),
        ({"hidden_size": -1}, "hidden_size: got -1, expected at least 1"),
        ({"num_layers": 0}, "num_layers: got 0, expected at least 1"),
        ({"dropout": 1.0}, "dropout: got 1.0, expected from 0 up to, not including, 1"),
        ({"dropout": -0.1}, "dropout: got -0.1"),
        ({"dropout": float("nan")}, "dropout: got nan"),
    ],
)
def test_wrong_sizes(cell, options, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        cell.layer(**{"input_size": 3, "hidden_size": 4, **cell.options, **options})


def test_unknown_nonlinearity():
    with pytest.raises(SettingsError, match="nonlinearity: got 'gelu', expected 'tanh' or 'relu'"):
        RNN(3, 4, nonlinearity="gelu")


@each_cell
def test_wrong_input(cell):
    first = cell.layer(3, 4, batch_first=True, **cell.options)
    with pytest.raises(
        ShapeError, match=re.escape("input: got (2, 5, 4), expected (B, T, I) with")
    ):
        first(torch.zeros(2, 5, 4))
    other = cell.layer(3, 4, **cell.options)
    with pytest.raises(ShapeError, match=re.escape("input: got (2, 3), expected (T, B, I) with")):
        other(torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="lengths: got 6 to 6, expected 0 to T = 5"):
        first(torch.zeros(2, 5, 3), lengths=torch.tensor([6, 6]))


@each_cell
def test_wrong_states(cell):
    layer = cell.layer(3, 4, 2, batch_first=True, bidirectional=True, **cell.options)
    x = torch.zeros(2, 5, 3)
    right, wrong = torch.zeros(4, 2, 4), torch.zeros(2, 2, 4)
    for i, name in enumerate(cell.states):
        states = [right] * len(cell.states)
        states[i] = wrong
        message = f"{name}: got (2, 2, 4), expected (4, 2, 4) = (L*D, B, H)"
        with pytest.raises(ShapeError, match=re.escape(message)):
            layer(x, tuple(states) if len(states) > 1 else states[0])


@pytest.mark.parametrize("count", [None, 1, 3])
def test_lstm_wants_both_states(count):
    """A tensor in place of the pair, or a tuple of another length, is refused, never half read."""
    state = torch.zeros(1, 2, 4)
    hx = (state,) * count if count else state
    with pytest.raises(ShapeError, match=re.escape("hx: expected a tuple (h0, c0)")):
        LSTM(3, 4)(torch.zeros(5, 2, 3), hx)
