"""RNN, GRU and LSTM in place of torch.nn's: the same weights, outputs, states and first weights."""

import itertools

import pytest
import torch
from cases import CELLS, RAGGED, Cell, converted, gradients, padded_with
from tolerances import assert_close
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman import layers
from elman.ops import cells

PROJECTED = Cell("lstm_projected", cells.LSTM, None, layers.LSTM, nn.LSTM, {"proj_size": 2})

each_cell = pytest.mark.parametrize("cell", [*CELLS, PROJECTED], ids=str)
OPTIONS = [
    {"num_layers": layers, "bidirectional": both, "bias": bias, "batch_first": first}
    for layers, both, bias, first in itertools.product((1, 2), *[(False, True)] * 3)
]
each_option = pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda o: "-".join(str(int(v)) for v in o.values())
)
DEEP = {"num_layers": 2, "bidirectional": True, "bias": True, "batch_first": True}
FORMS = ["full", "lengths", "sorted", "unsorted", "one"]
LENGTHS = RAGGED.ends
# torch says so of its own kernel.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def pair(cell, options, dtype=torch.float64):
    """Our layer and torch's, in float64, with the same weights."""
    sizes = (RAGGED.I, RAGGED.H)
    ours = cell.layer(*sizes, dtype=dtype, **options, **cell.options)
    theirs = cell.torch_layer(*sizes, dtype=torch.float64, **options, **cell.options)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def draw(layer, form, device="cpu"):
    """x, NaN past the ends if ragged, and initial states; leaves in float64, by name."""
    x = torch.randn(RAGGED.B, RAGGED.T, RAGGED.I, dtype=torch.float64)
    if form not in ("full", "one"):
        order = LENGTHS.argsort(descending=True) if form == "sorted" else slice(None)
        x = padded_with(x, LENGTHS, float("nan"))[order]
    if not layer.batch_first:
        x = x.transpose(0, 1).contiguous()
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    units = [layer.proj_size or layer.hidden_size, layer.hidden_size]
    names = ("h0", "c0")[: 2 if layer.mode == "LSTM" else 1]
    states = {
        name: torch.randn(count, RAGGED.B, width, dtype=torch.float64)
        for name, width in zip(names, units, strict=False)
    }
    if form == "one":
        x = x[2] if layer.batch_first else x[:, 2]
        states = {name: state[:, 2].contiguous() for name, state in states.items()}
    return {n: t.to(device).requires_grad_() for n, t in ({"x": x} | states).items()}


def run(layer, leaves, form, with_states, *, packed):
    """y (padded unless a PackedSequence went in), h_n and, of an lstm, c_n.

    Args:
        packed: give lengths as a PackedSequence, the only form that torch knows.
    """
    x, *states = leaves.values()
    hx = (tuple(states) if len(states) > 1 else states[0]) if with_states else None
    first = layer.batch_first
    if form in ("full", "one"):
        y, final = layer(x, hx)
    elif form == "lengths" and not packed:
        y, final = layer(x, hx, LENGTHS)
    else:
        ends = LENGTHS.sort(descending=True).values if form == "sorted" else LENGTHS
        layer_input = pack_padded_sequence(x, ends, first, enforce_sorted=form == "sorted")
        y, final = layer(layer_input, hx)
        if form == "lengths":
            y, _ = pad_packed_sequence(y, first, total_length=RAGGED.T)
    return [y, *final] if isinstance(final, tuple) else [y, final]


def compare(ours, theirs, leaves, form, with_states, line):
    """Every output, then the gradient of every leaf and weight."""
    dtype = next(ours.parameters()).dtype
    mine = converted(leaves, dtype)
    found = run(ours, mine, form, with_states, packed=False)
    wanted = run(theirs, leaves, form, with_states, packed=True)
    if isinstance(wanted[0], PackedSequence):
        assert isinstance(found[0], PackedSequence)
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            one, other = getattr(found[0], name), getattr(wanted[0], name)
            assert (one is None and other is None) or torch.equal(one, other), name
        found[0], wanted[0] = found[0].data, wanted[0].data
    for name, a, b in zip(("y", "h_n", "c_n"), found, wanted, strict=False):
        assert a.dtype == dtype
        assert_close(a, b, line, name)
    one = gradients(found, mine | dict(ours.named_parameters()))
    other = gradients(wanted, leaves | dict(theirs.named_parameters()))
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        assert_close(gradient, other[name], line, f"gradient of {name}")


@each_cell
@each_option
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_same_as_torch(cell, options, form, dtype):
    """Outputs, final states and every gradient on the same weights, with states and without."""
    ours, theirs = pair(cell, options, dtype)
    for with_states in (True, False):
        leaves = draw(ours, form)
        compare(ours, theirs, leaves, form, with_states, str(dtype).removeprefix("torch."))


@pytest.mark.gpu
@each_cell
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layers", [1, 2])
def test_same_as_torch_cuda(cell, form, layers):
    options = DEEP | {"num_layers": layers, "bidirectional": layers == 2}
    ours, theirs = (layer.cuda() for layer in pair(cell, options))
    for with_states in (True, False):
        compare(ours, theirs, draw(ours, form, "cuda"), form, with_states, "float64")


@pytest.mark.gpu
@each_cell
def test_cuda_as_on_the_cpu(cell):
    """The same layer, the same rows, NaN in the padding and a row without steps."""
    ours, _ = pair(cell, DEEP)
    leaves = draw(ours, "lengths")
    lengths = LENGTHS.clone()
    lengths[1] = 0
    x, *states = (t.detach() for t in leaves.values())
    hx = tuple(states) if len(states) > 1 else states[0]
    wanted = torch.utils._pytree.tree_leaves(ours(x, hx, lengths))
    there = torch.utils._pytree.tree_map(lambda t: t.cuda(), (x, hx, lengths))
    for a, b in zip(torch.utils._pytree.tree_leaves(ours.cuda()(*there)), wanted, strict=True):
        assert_close(a.cpu(), b, "float64")


@each_cell
@each_option
def test_weights_load_both_ways(cell, options):
    ours, theirs = pair(cell, options)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [
        (n, p.shape) for n, p in theirs.named_parameters()
    ]
    theirs.reset_parameters()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    compare(ours, theirs, draw(ours, "full"), "full", True, "float64")


@each_cell
def test_states_are_found_by_name_and_in_a_list(cell):
    ours, theirs = pair(cell, DEEP)
    x, *states = draw(ours, "full").values()
    hx = states if len(states) > 1 else states[0]
    wanted = theirs(input=x, hx=hx)[0]
    assert_close(ours(input=x, hx=hx)[0], wanted, "float64")
    assert_close(ours(input=x, hx=hx, lengths=None)[0], wanted, "float64")


@each_cell
@each_option
def test_first_weights_are_torchs(cell, options):
    """The same seed draws the same weights, as torch.nn does: uniform in ±1/sqrt(H)."""
    torch.manual_seed(3)
    ours = cell.layer(4, 25, **options, **cell.options)
    torch.manual_seed(3)
    theirs = cell.torch_layer(4, 25, **options, **cell.options)
    for name, parameter in theirs.named_parameters():
        assert torch.equal(parameter, getattr(ours, name)), name


@each_cell
def test_reset_parameters_stays_in_bounds_and_fills_them(cell):
    layer = cell.layer(4, 25, 2, **cell.options)
    before = {n: p.detach().clone() for n, p in layer.named_parameters()}
    layer.reset_parameters()
    bound = 1 / 25**0.5
    for name, parameter in layer.named_parameters():
        assert not torch.equal(parameter, before[name]), name
        assert parameter.abs().max() <= bound, name
        assert parameter.abs().max() > 0.7 * bound, name
        assert abs(float(parameter.detach().mean())) < bound * 3 / (3 * parameter.numel()) ** 0.5


@each_cell
def test_dtype_and_device_reach_the_weights(cell):
    layer = cell.layer(2, 3, dtype=torch.float64, device="meta", **cell.options)
    for parameter in layer.parameters():
        assert parameter.dtype == torch.float64
        assert parameter.device.type == "meta"


@each_cell
def test_arguments_stand_where_torchs_do(cell):
    """By position: the whole list that torch documents."""
    values = [3, 4, 2, False, True, 0.25, True]
    if cell.name.startswith("rnn"):
        values.insert(3, "relu")
    if cell.layer is layers.LSTM:
        values.append(2)
    values += ["meta", torch.float64]
    if cell.layer is not layers.LSTM:  # torch's RNN and GRU hand on a proj_size of 0 in between
        theirs = cell.torch_layer(*values[:-2], device="meta", dtype=torch.float64)
    else:
        theirs = cell.torch_layer(*values)
    ours = cell.layer(*values)
    assert repr(ours) == repr(theirs)
    shown = [(n, p.shape, p.dtype, p.device) for n, p in theirs.named_parameters()]
    assert [(n, p.shape, p.dtype, p.device) for n, p in ours.named_parameters()] == shown


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_bits_do_not_hang_on_company(cell):
    """A row's outputs and states are the same bits alone, padded, among others and in any order."""
    ours, _ = pair(cell, DEEP, torch.float32)
    x = torch.randn(RAGGED.B, RAGGED.T, RAGGED.I)
    y, final = ours(x, None, LENGTHS)
    final = final if isinstance(final, tuple) else (final,)
    order = torch.tensor([3, 0, 4, 2, 1])
    turned, _ = ours(x[order], None, LENGTHS[order])
    for b, length in enumerate(LENGTHS.tolist()):
        alone, last = ours(x[b, :length])
        last = last if isinstance(last, tuple) else (last,)
        assert_close(y[b, :length], alone, "exact")
        assert_close(turned[order.tolist().index(b), :length], alone, "exact")
        for one, other in zip(final, last, strict=True):
            assert_close(one[:, b], other, "exact")
