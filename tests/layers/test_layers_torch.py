"""RNN, GRU and LSTM in place of torch.nn's: the same weights, outputs, states and first weights."""

import pytest
import torch
from cases import CELLS, RAGGED, gradients, padded_with
from tolerances import assert_close
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

OPTIONS = [
    {"num_layers": layers, "bidirectional": both, "bias": bias, "batch_first": first}
    for layers in (1, 2, 3)
    for both in (False, True)
    for bias in (True, False)
    for first in (True, False)
]
each_cell = pytest.mark.parametrize("cell", CELLS, ids=str)
each_option = pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda o: "-".join(str(int(v)) for v in o.values())
)
LENGTHS = RAGGED.ends


def pair(cell, options, dtype=torch.float64):
    """Our layer and torch's, each with weights of its own."""
    sizes = (RAGGED.I, RAGGED.H)
    ours = cell.layer(*sizes, dtype=dtype, **options, **cell.options)
    theirs = cell.torch_layer(*sizes, dtype=dtype, **options, **cell.options)
    return ours, theirs


def inputs(cell, options, dtype=torch.float64):
    """x with NaN past the ends, laid out as `batch_first` says, and random initial states."""
    x = torch.randn(RAGGED.B, RAGGED.T, RAGGED.I, dtype=dtype, requires_grad=True)
    x = padded_with(x, LENGTHS, float("nan"))
    count = options["num_layers"] * (2 if options["bidirectional"] else 1)
    states = tuple(
        torch.randn(count, RAGGED.B, RAGGED.H, dtype=dtype, requires_grad=True) for _ in cell.states
    )
    if not options["batch_first"]:
        x = x.detach().transpose(0, 1).requires_grad_()
    return x, states


def flat(y, final):
    return [y, *final] if isinstance(final, tuple) else [y, final]


def run_ours(layer, x, states, lengths):
    return flat(*layer(x, states if len(states) > 1 else states[0], lengths))


def run_theirs(layer, x, states, lengths):
    first = layer.batch_first
    packed = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
    y, final = layer(packed, states if len(states) > 1 else states[0])
    total = x.shape[1 if first else 0]
    y, _ = pad_packed_sequence(y, batch_first=first, total_length=total)
    return flat(y, final)


@each_cell
@each_option
def test_same_as_torch_packed(cell, options):
    """Outputs, final states and every gradient, on torch's weights."""
    ours, theirs = pair(cell, options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, states = inputs(cell, options)
    leaves = {"x": x, **dict(zip(cell.states, states, strict=True))}
    found = run_ours(ours, x, states, LENGTHS)
    wanted = run_theirs(theirs, x, states, LENGTHS)
    for name, a, b in zip(("y", "h_n", "c_n"), found, wanted, strict=False):
        assert_close(a, b, "float64", name)
    one = gradients(found, leaves | dict(ours.named_parameters()))
    other = gradients(wanted, leaves | dict(theirs.named_parameters()))
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        assert_close(gradient, other[name], "float64", f"gradient of {name}")


@each_cell
@each_option
def test_weights_load_both_ways(cell, options):
    ours, theirs = pair(cell, options)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [
        (n, p.shape) for n, p in theirs.named_parameters()
    ]
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x, states = inputs(cell, options)
    found, wanted = run_ours(ours, x, states, LENGTHS), run_theirs(theirs, x, states, LENGTHS)
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b, "float64")


@each_cell
@pytest.mark.parametrize("batch_first", [True, False])
def test_without_lengths_or_state(cell, batch_first):
    """Called as torch.nn's layers are called, in float32."""
    options = {"num_layers": 2, "bidirectional": True, "bias": True, "batch_first": batch_first}
    ours, theirs = pair(cell, options, torch.float32)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(RAGGED.B, RAGGED.T, RAGGED.I)
    for a, b in zip(flat(*ours(x)), flat(*theirs(x)), strict=True):
        assert_close(a, b, "float32")


@each_cell
def test_first_weights_are_torchs(cell):
    """The same seed draws the same weights, as torch.nn does: uniform in ±1/sqrt(H)."""
    options = {"num_layers": 2, "bidirectional": True}
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
