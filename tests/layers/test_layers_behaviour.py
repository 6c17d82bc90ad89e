"""Dropout between layers, starting weights, copies, repr, and what stands for a weight."""

import copy
import itertools
import pickle

import pytest
import torch
from cases import CELLS
from tolerances import assert_close
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils import parametrize

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
def test_everything_dropped(cell):
    """A share of 1 is allowed, as in torch: the second layer hears its biases alone."""
    layer = cell.layer(3, 8, 2, dropout=1.0, **cell.options).train()
    assert_close(layer(torch.randn(5, 1, 3))[0], layer(torch.randn(5, 1, 3))[0], "exact")


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


def test_initialise_recurrent_with_a_projection():
    layer = LSTM(2, 5, proj_size=3, dtype=torch.float64)
    initialise_recurrent(layer)
    R = layer.weight_hr_l0.detach()
    assert_close(R @ R.T, torch.eye(3, dtype=torch.float64), "float64")
    for U in layer.weight_hh_l0.detach().split(5):
        assert_close(U.T @ U, torch.eye(3, dtype=torch.float64), "float64")


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


@each_cell
def test_saved_whole(cell, tmp_path):
    """By torch.save, the user's own file: ours never pickles."""
    layer = cell.layer(3, 4, 2, **cell.options)
    torch.save(layer, tmp_path / "layer.pt")
    other = torch.load(tmp_path / "layer.pt", weights_only=False)
    other.flatten_parameters()
    x = torch.randn(5, 2, 3)
    assert torch.equal(other(x)[0], layer(x)[0])


def test_repr():
    """As torch writes it."""
    assert repr(GRU(3, 4)) == "GRU(3, 4)"
    shown = repr(LSTM(3, 5, 2, bias=False, batch_first=True, dropout=0.5, proj_size=4))
    assert shown == repr(nn.LSTM(3, 5, 2, bias=False, batch_first=True, dropout=0.5, proj_size=4))
    assert repr(RNN(3, 4, nonlinearity="relu")) == repr(nn.RNN(3, 4, nonlinearity="relu"))


@each_cell
def test_new_weights_are_used(cell):
    """Another tensor in a weight's place: functional calls and parametrisation."""
    layer = cell.layer(3, 4, batch_first=True, **cell.options)
    theirs = cell.torch_layer(3, 4, batch_first=True, **cell.options)
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 3)
    new = {name: torch.randn_like(p) for name, p in layer.named_parameters()}
    found = functional_call(layer, new, (x,))[0]
    assert_close(found, functional_call(theirs, new, (x,))[0], "float32")
    assert not torch.allclose(found, layer(x)[0])
    for module in (layer, theirs):
        parametrize.register_parametrization(module, "weight_hh_l0", Doubled())
    assert_close(layer(x)[0], theirs(x)[0], "float32")
    layer(x)[0].sum().backward()
    assert layer.parametrizations.weight_hh_l0.original.grad.abs().sum() > 0


class Doubled(nn.Module):
    """A parametrisation: twice the weight that is stored."""

    def forward(self, weight):
        return 2 * weight


@each_cell
def test_torchs_own_attributes(cell):
    layer = cell.layer(3, 4, 2, bidirectional=True, **cell.options)
    assert isinstance(layer, nn.RNNBase)
    assert [len(weights) for weights in layer.all_weights] == [4] * 4
    assert len(layer._flat_weights) == 16
    layer.flatten_parameters()
    x = torch.zeros(5, 2, 3)
    assert layer.get_expected_hidden_size(x, None) == (4, 2, 4)
    assert layer.num_directions == 2
    assert (layer.proj_size, layer.batch_first, layer.mode[:3]) == (0, False, cell.name[:3].upper())
