"""Which layer runs where: elman's kernels, or torch's layers behind the same interface."""

import pytest
import torch
from cases import CELLS, RAGGED, gradients, padded_with
from tolerances import assert_close
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import pack_padded_sequence

from elman import layers, ops
from elman.layers import torch_layers

each_cell = pytest.mark.parametrize("cell", CELLS, ids=str)
B, T, I, H = RAGGED.B, RAGGED.T, RAGGED.I, RAGGED.H
LENGTHS = torch.tensor([7, 0, 4, 7, 2])


@pytest.fixture
def paths(monkeypatch):
    """Names of the ways taken, one for each layer and direction or whole stack."""
    taken = []
    for kind in (layers.RNN, layers.GRU, layers.LSTM):
        for name in ("_run_one", "_torch_forward"):
            original = getattr(kind, name)

            def spy(*arguments, _original=original, _name=name, **options):
                taken.append(_name)
                return _original(*arguments, **options)

            monkeypatch.setattr(kind, name, spy)
    return taken


def layer_of(cell, dtype=torch.float32, **options):
    return cell.layer(I, H, 2, batch_first=True, dtype=dtype, **cell.options, **options)


def flat(result):
    return torch.utils._pytree.tree_leaves(result)


@each_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_cpu(cell, dtype, paths):
    """One op for each layer and direction, whatever the form, with gradients or without."""
    layer = layer_of(cell, dtype, bidirectional=True)
    x = torch.randn(B, T, I, dtype=dtype)
    packed = pack_padded_sequence(x, LENGTHS.clamp(1), True, enforce_sorted=False)
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            layer(x)
            layer(x, lengths=LENGTHS)
            layer(packed)
            layer(x[0])
    assert paths == ["_run_one"] * 48


@each_cell
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(cell, dtype, paths):
    """torch's layer, with lengths honoured: the same numbers as in float32, as near as they get."""
    layer = layer_of(cell, dtype)
    exact = layer_of(cell)
    exact.load_state_dict(layer.state_dict())
    x = torch.randn(B, T, I).to(dtype)
    x[torch.arange(T) >= LENGTHS[:, None]] = torch.nan
    for lengths in (None, LENGTHS):
        layer_input = x.nan_to_num(0.0) if lengths is None else x
        found = flat(layer(layer_input, lengths=lengths))
        for a, b in zip(found, flat(exact(layer_input.float(), lengths=lengths)), strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a.float(), b, rtol=0, atol=0.05)
    assert paths == ["_torch_forward", "_run_one", "_run_one"] * 2


@each_cell
def test_autocast(cell, paths):
    """torch's layer under autocast, as torch.nn's own does."""
    layer, x = layer_of(cell), torch.randn(B, T, I)
    theirs = cell.torch_layer(I, H, 2, batch_first=True, **cell.options)
    theirs.load_state_dict(layer.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = flat(layer(x)), flat(theirs(x))
    assert paths == ["_torch_forward"]
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        assert_close(a, b, "exact")
    layer(x)
    assert paths[1:] == ["_run_one", "_run_one"]


@each_cell
def test_meta_device(cell, paths):
    layer = cell.layer(I, H, device="meta", **cell.options)
    y, _ = layer(torch.empty(T, B, I, device="meta"))
    assert y.shape == (T, B, H)
    assert paths == ["_torch_forward"]


@each_cell
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("form", ["full", "lengths", "packed", "one", "no_rows"])
@pytest.mark.parametrize("with_states", [True, False], ids=["states", "no_states"])
def test_both_ways_agree(cell, batch_first, form, with_states, monkeypatch):
    """torch's whole stack and elman's ops: outputs and gradients in float64, on the CPU.

    What a GPU takes is tried here: rows without steps, NaN in the padding, both directions.
    """
    options = {"batch_first": batch_first, "bidirectional": True, **cell.options}
    layer = cell.layer(I, H, 2, dtype=torch.float64, **options)
    lengths = LENGTHS
    x = padded_with(torch.randn(B, T, I, dtype=torch.float64), lengths, float("nan"))
    states = [torch.randn(4, B, H, dtype=torch.float64) for _ in cell.states]
    if form == "full":
        x, lengths = x.nan_to_num(0.5), None
    elif form == "packed":
        lengths = LENGTHS.clamp(1)
        x = x.nan_to_num(0.5)
    elif form == "one":
        x, lengths, states = x[0], None, [s[:, 0] for s in states]
    elif form == "no_rows":
        x, lengths, states = x[:0], LENGTHS[:0], [s[:, :0] for s in states]
    if not batch_first and x.dim() == 3:
        x = x.transpose(0, 1)
    leaves = {"x": x, **dict(zip(cell.states, states, strict=True))}
    leaves = {n: t.contiguous().requires_grad_() for n, t in leaves.items()}
    results = []
    for native in (True, False):
        if not native:
            monkeypatch.setattr(torch_layers, "is_native", lambda *_: False)
        layer_input, *start = leaves.values()
        if form == "packed":
            layer_input = pack_padded_sequence(
                layer_input, lengths, batch_first, enforce_sorted=False
            )
        hx = (tuple(start) if len(start) > 1 else start[0]) if with_states else None
        y, final = layer(layer_input, hx, None if form == "packed" else lengths)
        found = [y.data if form == "packed" else y, *flat(final)]
        results.append((found, gradients(found, leaves | dict(layer.named_parameters()))))
    (one, grads), (other, other_grads) = results
    for a, b in zip(one, other, strict=True):
        assert_close(a, b, "float64")
    for name, gradient in grads.items():
        assert_close(gradient, other_grads[name], "float64", f"gradient of {name}")


# torch's own rules for these are written with torch.jit, which it has deprecated.
quiet = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@quiet
@each_cell
def test_transforms(cell, paths):
    """torch.func and forward-mode derivatives follow torch's rules, so torch's layer runs."""
    layer = layer_of(cell, torch.float64)
    theirs = cell.torch_layer(I, H, 2, batch_first=True, dtype=torch.float64, **cell.options)
    theirs.load_state_dict(layer.state_dict())
    x, direction = torch.randn(2, B, T, I, dtype=torch.float64)

    def along(module):
        return torch.func.jvp(lambda t: module(t)[0], (x,), (direction,))[1]

    def gradient(module):
        def loss(weights):
            return torch.func.functional_call(module, weights, (x,))[0].pow(2).sum()

        found = torch.func.grad(loss)(dict(module.named_parameters()))
        return found["weight_hh_l0"]

    def dual(module):
        with torch.autograd.forward_ad.dual_level():
            y, _ = module(torch.autograd.forward_ad.make_dual(x, direction))
            return torch.autograd.forward_ad.unpack_dual(y).tangent

    for transform in (along, gradient, dual):
        assert_close(transform(layer), transform(theirs), "float64", transform.__name__)
    assert paths == ["_torch_forward"] * 3


class Named(torch.Tensor):
    """A tensor of a class of its own."""


def traced(layer, x, other):
    with torch.no_grad():
        return torch.jit.trace(layer, (x,), check_trace=False)(other)[0]


def recorded(layer, x, other):
    return make_fx(lambda t: layer(t)[0])(x)(other)


def named(layer, x, other):
    y, _ = layer(other.as_subclass(Named))
    assert type(y) is Named
    return y.as_subclass(torch.Tensor)


@quiet
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of the checks of sizes
@each_cell
@pytest.mark.parametrize("observer", [traced, recorded, named])
def test_what_follows_every_operation(cell, observer, paths):
    """A trace of one input answers for another: kernels, which no trace sees, stay out."""
    layer = layer_of(cell, torch.float64)
    x, other = torch.randn(2, B, T, I, dtype=torch.float64)
    found = observer(layer, x, other)
    assert paths == ["_torch_forward"]
    assert_close(found.detach(), layer(other)[0].detach(), "float64")


@each_cell
def test_fake_tensors(cell, paths):
    """Shapes without numbers: no kernel touches memory that is not there."""
    layer = layer_of(cell)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y, _ = layer(mode.from_tensor(torch.randn(B, T, I)))
    assert y.shape == (B, T, H)
    assert paths == ["_torch_forward"]


@quiet
@each_cell
def test_direct_calls_of_the_ops_follow_transforms(cell):
    """The ops choose by the same rule as the layers."""
    op = {"gru": ops.gru, "lstm": ops.lstm}.get(cell.name, ops.rnn)
    layer = cell.layer(I, H, batch_first=True, dtype=torch.float64, **cell.options)
    x = torch.randn(B, T, I, dtype=torch.float64)
    weights = [w.detach() for w in layer.all_weights[0]]
    _, found = torch.func.jvp(lambda t: op(t, *weights, **cell.options)[0], (x,), (x,))
    _, wanted = torch.func.jvp(lambda t: layer(t)[0], (x,), (x,))
    assert_close(found, wanted, "float64")


@each_cell
@pytest.mark.parametrize("form", ["full", "lengths", "packed"])
def test_second_derivatives(cell, form):
    """Of a whole stack in both directions, by finite differences of the gradients."""
    layer = cell.layer(2, 2, 2, bidirectional=True, dtype=torch.float64, **cell.options)
    lengths = torch.tensor([3, 1])

    def run(x, *_):
        if form == "packed":
            y, final = layer(pack_padded_sequence(x, lengths))
            return y.data, *flat(final)
        return tuple(flat(layer(x, lengths=lengths if form == "lengths" else None)))

    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(run, (x, *layer.parameters()), fast_mode=True)


@each_cell
def test_batched_gradients(cell):
    """Many gradients at once, as torch.autograd.functional.jacobian(vectorize=True) asks for."""
    layer = cell.layer(I, H, batch_first=True, dtype=torch.float64, **cell.options)
    x = torch.randn(2, 3, I, dtype=torch.float64, requires_grad=True)
    y, _ = layer(x)
    many = torch.randn(4, *y.shape, dtype=torch.float64)
    inputs = (x, *layer.parameters())
    found = torch.autograd.grad(y, inputs, many, is_grads_batched=True, retain_graph=True)
    for i, one in enumerate(many):
        for a, b in zip(found, torch.autograd.grad(y, inputs, one, retain_graph=True), strict=True):
            assert_close(a[i], b, "float64")


@pytest.mark.gpu
@each_cell
def test_cuda_runs_torchs_stack(cell, paths):
    layer = layer_of(cell, bidirectional=True).cuda()
    x = torch.randn(B, T, I).cuda()
    layer(x)
    layer(x, lengths=LENGTHS)
    layer(x, lengths=LENGTHS.cuda())
    assert paths == ["_torch_forward"] * 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*vmap.*:UserWarning")
@pytest.mark.parametrize("layer", [layers.RNN, layers.GRU, layers.LSTM])
def test_torch_func_as_the_page_says(layer):
    """What docs/layers.md lists works, and what it says is refused is refused by torch too."""
    x = torch.randn(2, 5, 3)
    for net in (layer(3, 4), getattr(torch.nn, layer.__name__)(3, 4)):
        torch.func.grad(lambda v, net=net: net(v)[0].sum())(x)
        torch.func.jacrev(lambda v, net=net: net(v)[0].sum())(x)
        with pytest.raises(RuntimeError, match="Batching rule not implemented"):
            torch.func.vmap(lambda v, net=net: net(v)[0])(x[None])
        double, wide = net.double(), x.double()
        torch.func.jvp(lambda v, net=double: net(v)[0], (wide,), (wide,))
    if layer is layers.LSTM:
        with pytest.raises(NotImplementedError, match="forward AD"):
            torch.func.jvp(lambda v: layer(3, 4)(v)[0], (x,), (x,))
