"""Wrong arguments: what torch.nn refuses ours refuse, with an error that its handlers catch."""

import re
import warnings

import numpy as np
import pytest
import torch
from cases import CELLS
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from elman import ops
from elman.errors import ElmanError, SettingsError, ShapeError
from elman.layers import GRU, LSTM, RNN
from elman.models import ModelConfig, SequenceModel

I, H, L, B, T = 3, 4, 2, 2, 5
each_cell = pytest.mark.parametrize("cell", CELLS, ids=str)


def refused(call, *arguments, **options):
    """The error that a call ends with."""
    with pytest.raises(Exception) as caught:
        call(*arguments, **options)
    return caught.value


@each_cell
@pytest.mark.parametrize(
    "options",
    [
        {"input_size": 0},
        {"input_size": -1},
        {"input_size": 2.0},
        {"hidden_size": 0},
        {"hidden_size": "4"},
        {"num_layers": 0},
        {"dropout": 1.1},
        {"dropout": -0.1},
        {"dropout": float("nan")},
        {"dropout": True},
        {"bias": 1},
        {"batch_first": "True"},
        {"proj_size": 2},
        {"proj_size": -1},
        {"proj_size": 9},
        {"nonlinearity": "gelu"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_constructor(cell, options):
    """The same error type and words; an LSTM takes a projection, the others none."""
    options = {"input_size": I, "hidden_size": H, **cell.options, **options}
    try:
        cell.torch_layer(**options)
    except Exception as theirs:
        ours = refused(cell.layer, **options)
        assert isinstance(ours, type(theirs))
        if not isinstance(theirs, TypeError):
            assert str(ours) == str(theirs)
    else:
        cell.layer(**options)


def test_constructor_errors_of_our_own_are_elmans():
    assert isinstance(refused(RNN, I, H, nonlinearity="gelu"), SettingsError)
    assert isinstance(refused(GRU, I, H, proj_size=2), SettingsError)


@each_cell
def test_warning_of_dropout_without_effect(cell):
    shown = []
    for layer in (cell.layer, cell.torch_layer):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            layer(I, H, dropout=0.5, **cell.options)
        shown.append([(w.category, str(w.message)) for w in caught])
    assert shown[0] == shown[1]
    assert len(shown[0]) == 1


def zeros(*sizes, dtype=None):
    return [torch.zeros(size, dtype=dtype) for size in sizes]


def states(cell, size, wrong=(), at=0, dtype=None):
    """Initial states of that size, of an lstm one of them `wrong`."""
    if len(cell.states) == 1:
        return torch.zeros(wrong or size, dtype=dtype)
    pair = [torch.zeros(size, dtype=dtype), torch.zeros(size, dtype=dtype)]
    pair[at] = torch.zeros(wrong or size, dtype=dtype)
    return tuple(pair)


def calls(cell):
    """Input and states that do not fit a layer of L layers, time first; by what is wrong."""
    x, right = torch.zeros(T, B, I), (L, B, H)
    yield "4-D", torch.zeros(T, B, I, 1), None
    yield "1-D", torch.zeros(I), None
    yield "features", torch.zeros(T, B, I + 1), None
    yield "features of one", torch.zeros(T, I + 1), None
    yield "no steps", torch.zeros(0, B, I), None
    yield "no steps of one", torch.zeros(0, I), None
    yield "dtype", torch.zeros(T, B, I, dtype=torch.float64), None
    yield "integers", torch.zeros(T, B, I, dtype=torch.int64), None
    yield "half", torch.zeros(T, B, I, dtype=torch.float16), None
    yield "states of another dtype", x, states(cell, right, dtype=torch.float64)
    yield "states 2-D, input 3-D", x, states(cell, (L, H))
    yield "states 3-D, input 2-D", torch.zeros(T, I), states(cell, right)
    for at in range(len(cell.states)):
        for what, size in {
            "layers": (L + 1, B, H),
            "batch": (L, B + 1, H),
            "units": (L, B, H + 1),
            "broadcast": (L, 1, H),
        }.items():
            yield f"{what} of state {at}", x, states(cell, right, size, at)
        yield f"units of state {at} of one", torch.zeros(T, I), states(cell, (L, H), (L, 9), at)
    packed = pack_padded_sequence(x, torch.tensor([5, 3]))
    yield "packed states", packed, states(cell, (L, B + 1, H))
    yield "packed features", pack_padded_sequence(torch.zeros(T, B, 9), torch.tensor([5, 3])), None
    yield "packed dtype", packed.to(torch.float64), None


WRONG = [
    pytest.param(cell, x, hx, id=f"{cell}-{what}") for cell in CELLS for what, x, hx in calls(cell)
]


@pytest.mark.parametrize(("cell", "x", "hx"), WRONG)
def test_forward(cell, x, hx):
    """Whatever handler is written for torch's error catches ours, and finds its words."""
    theirs = refused(cell.torch_layer(I, H, L, **cell.options), x, hx)
    ours = refused(cell.layer(I, H, L, **cell.options), x, hx)
    assert isinstance(ours, type(theirs)), repr(ours)
    if isinstance(x, PackedSequence) and cell.name == "lstm":
        return  # torch's does not look, and stumbles over it in the middle of its kernel
    words = str(theirs).rstrip(".").removesuffix(" instead").removesuffix(" tensor")
    assert words in str(ours)


@each_cell
def test_a_shape_error_is_all_three(cell):
    layer = cell.layer(I, H, batch_first=True, **cell.options)
    error = refused(layer, torch.zeros(B, T, I + 1))
    for kind in (ShapeError, ElmanError, ValueError, RuntimeError):
        assert isinstance(error, kind)
    assert "Expected 3, got 4: the input is (2, 5, 4)" in str(error)
    error = refused(layer, torch.zeros(B, T, I), states(cell, (1, B, 9)))
    assert "h0 is (L*D, B, units)" in str(error)


@each_cell
@pytest.mark.parametrize("batch_first", [True, False])
def test_wrong_lengths(cell, batch_first):
    layer = cell.layer(I, H, batch_first=batch_first, **cell.options)
    x = torch.zeros((B, T, I) if batch_first else (T, B, I))
    for lengths, message in {
        (6, 6): "lengths: got 6 to 6, expected 0 to T = 5",
        (-1, 3): "lengths: got -1 to 3, expected 0 to T = 5",
        (1, 2, 3): "lengths: got (3,) torch.int64, expected (2,) integers",
        (1.0, 2.0): "lengths: got (2,) torch.float32, expected (2,) integers",
    }.items():
        with pytest.raises(ShapeError, match=re.escape(message)):
            layer(x, lengths=torch.tensor(lengths))


@each_cell
def test_lengths_beside_a_packed_sequence(cell):
    layer = cell.layer(I, H, **cell.options)
    packed = pack_padded_sequence(torch.zeros(T, B, I), torch.tensor([5, 3]))
    with pytest.raises(ShapeError, match="lengths: a PackedSequence has its own"):
        layer(packed, lengths=torch.tensor([5, 3]))


@pytest.mark.parametrize("count", [None, 1, 3])
def test_lstm_wants_both_states(count):
    """A tensor in place of the pair, or a tuple of another length, is refused, never half read."""
    state = torch.zeros(1, 2, 4)
    hx = (state,) * count if count else state
    with pytest.raises(ShapeError, match="hx: expected h0 and c0, one tensor each"):
        LSTM(I, H)(torch.zeros(T, B, I), hx)


@pytest.mark.parametrize("layer", [RNN, GRU])
def test_others_want_one_state(layer):
    state = torch.zeros(1, B, H)
    with pytest.raises(ShapeError, match="hx: expected h0, one tensor each"):
        layer(I, H)(torch.zeros(T, B, I), (state, state))


@pytest.mark.gpu
@each_cell
def test_wrong_device(cell):
    """Input, states or weights on different devices: torch's error."""
    for layer in (cell.layer, cell.torch_layer):
        here = layer(I, H, **cell.options)
        there = layer(I, H, **cell.options).cuda()
        x, hx = torch.zeros(T, B, I), states(cell, (1, B, H))
        on_gpu = torch.utils._pytree.tree_map(lambda t: t.cuda(), hx)
        parameters = "Input and parameter tensors are not at the same device"
        with pytest.raises(RuntimeError, match=parameters):
            here(x.cuda())
        with pytest.raises(RuntimeError, match=parameters):
            there(x)
        hidden = "Input and hidden tensors are not at the same device"
        with pytest.raises(RuntimeError, match=hidden):
            here(x, on_gpu)
        with pytest.raises(RuntimeError, match=hidden):
            there(x.cuda(), hx)


def test_what_a_layer_is_an_instance_of():
    """Ours are no torch.nn.LSTM: torch.compile refuses every instance of that class."""
    assert not isinstance(LSTM(I, H), nn.LSTM)
    assert isinstance(LSTM(I, H), nn.RNNBase)


@pytest.mark.parametrize("layer", [RNN, GRU, LSTM])
def test_lengths_may_be_a_list(layer):
    torch.manual_seed(0)
    net, x = layer(3, 4, batch_first=True), torch.randn(2, 5, 3)
    expected, _ = net(x, lengths=torch.tensor([5, 1]))
    for lengths in ([5, 1], (5, 1), np.array([5, 1]), np.array([5, 1], dtype=np.int32)):
        assert torch.equal(net(x, lengths=lengths)[0], expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_list_of_lengths_compiles():
    net, x = GRU(3, 4, batch_first=True), torch.randn(2, 5, 3)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x, lengths=[5, 1])[0], net(x, lengths=[5, 1])[0])


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([5, 1, 2], r"lengths: got \(3,\) torch.int64, expected \(2,\) integers"),
        ([5, 9], "lengths: got 5 to 9, expected 0 to T = 5"),
        ([5, 1.5], r"lengths: got \(2,\) torch.float32, expected \(2,\) integers"),
        ([True, False], r"lengths: got \(2,\) torch.bool, expected \(2,\) integers"),
        (5, r"lengths: got \(\) torch.int64, expected \(2,\) integers"),
        ("ab", "lengths: got 'ab', expected a tensor or a list with one integer per row"),
        ([[1], [2, 3]], "lengths: got .* expected a tensor or a list with one integer per row"),
        ([5, None], "lengths: got .* expected a tensor or a list with one integer per row"),
    ],
)
def test_lengths_that_are_no_lengths(lengths, message):
    with pytest.raises(ShapeError, match=message):
        GRU(3, 4, batch_first=True)(torch.randn(2, 5, 3), lengths=lengths)


def test_functions_and_networks_take_lists_too():
    net = GRU(3, 4, batch_first=True)
    x, weights = torch.randn(2, 5, 3), [p.detach() for p in net.parameters()]
    expected, _ = ops.gru(x, *weights, lengths=torch.tensor([5, 1]), batch_first=True)
    assert torch.equal(ops.gru(x, *weights, lengths=[5, 1], batch_first=True)[0], expected)
    model = SequenceModel(
        ModelConfig(cell="gru", readout="last", hidden_size=4, input_size=3, num_outputs=2)
    )
    model.eval()
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            found = model(x, [5, 1])
            assert torch.equal(found, model(x, torch.tensor([5, 1])))
