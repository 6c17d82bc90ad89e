"""torch.compile without a graph break, and torch.export with batch and time free.

torch.nn's own recurrent layers have neither.
"""

import pytest
import torch
from cases import CELLS, KERNELS, gradients
from tolerances import assert_close
from torch import nn
from torch._dynamo.exc import Unsupported
from torch._dynamo.testing import CompileCounterWithBackend
from torch.export import Dim
from torch.nn.utils.rnn import pack_padded_sequence

I, H = 3, 5
each_cell = pytest.mark.parametrize("cell", KERNELS[1:], ids=str)  # one rnn is enough here
each_ragged = pytest.mark.parametrize("ragged", [False, True], ids=["full", "lengths"])
SIZES = [(4, 7), (2, 3), (9, 12)]
# Both compilers read what torch has deprecated of its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()


def layer_of(cell, dtype=torch.float64, **options):
    both = {"batch_first": True, "bidirectional": True}
    return cell.layer(I, H, 2, dtype=dtype, **cell.layer_options(H), **both | options)


def draw(cell, B, T, ragged, dtype=torch.float64):
    """x, initial states and lengths, rows without steps among them."""
    x = torch.randn(B, T, I, dtype=dtype, requires_grad=True)
    widths = (cell.width(H), H)[: len(cell.states)]
    states = [torch.randn(4, B, n, dtype=dtype, requires_grad=True) for n in widths]
    lengths = torch.randint(0, T + 1, (B,)) if ragged else None
    return x, tuple(states) if len(states) > 1 else states[0], lengths


def flat(result):
    return torch.utils._pytree.tree_leaves(result)


def compare(layer, compiled, arguments, line):
    """Outputs and the gradients of input, states and weights."""
    x, hx, _ = arguments
    leaves = {"x": x, **dict(enumerate(flat(hx)))} | dict(layer.named_parameters())
    found, wanted = flat(compiled(*arguments)), flat(layer(*arguments))
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b, line)
    other = gradients(wanted, leaves)
    for name, gradient in gradients(found, leaves).items():
        assert_close(gradient, other[name], line, f"gradient of {name}")


@each_cell
@each_ragged
def test_compiled_as_eager(cell, ragged):
    """One graph: the second size makes its sizes free, the third needs no graph of its own."""
    layer = layer_of(cell)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, fullgraph=True, backend=counter)
    for B, T in SIZES:
        compare(layer, compiled, draw(cell, B, T, ragged), "float64")
    assert counter.frame_count == 2


@each_cell
def test_compiled_without_states_or_gradients(cell):
    layer = layer_of(cell, batch_first=False)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, lengths = torch.randn(6, 4, I, dtype=torch.float64), torch.tensor([6, 0, 2, 5])
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            for arguments in ((x,), (x, None, lengths), (x[:, 0],)):
                for a, b in zip(flat(compiled(*arguments)), flat(layer(*arguments)), strict=True):
                    assert_close(a, b, "float64")


@each_cell
def test_compiled_inside_a_model(cell):
    """Dropout between layers, a linear layer around: one graph for the whole step."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = layer_of(cell, dropout=0.5)
            self.output = nn.Linear(2 * cell.width(H), 2, dtype=torch.float64)

        def forward(self, x, lengths):
            y, _ = self.recurrent(x, lengths=lengths)
            return self.output(y.sum(1))

    model = Model()
    x, _, lengths = draw(cell, 4, 7, True)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert compiled(x, lengths).shape == (4, 2)
    assert not torch.equal(compiled(x, lengths), compiled(x, lengths))  # dropout draws anew
    model.eval()
    assert_close(compiled(x, lengths), model(x, lengths), "float64")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # Dynamo's
@pytest.mark.parametrize("form", ["bfloat16", "autocast", "packed"])
def test_what_runs_through_torch_breaks_the_graph_and_stays_right(form):
    """As at torch.nn's layers: right answers, but not with fullgraph=True."""
    dtype = torch.bfloat16 if form == "bfloat16" else torch.float32
    layer = layer_of(CELLS[-1], dtype)
    x, lengths = torch.randn(4, 7, I).to(dtype), torch.tensor([7, 1, 3, 2])
    arguments = (x, None, lengths)
    if form == "packed":
        arguments = (pack_padded_sequence(x, lengths, True, enforce_sorted=False),)
    with torch.autocast("cpu", torch.bfloat16, enabled=form == "autocast"):
        found = flat(torch.compile(layer, backend="aot_eager")(*arguments))
        wanted = flat(layer(*arguments))
        torch._dynamo.reset()
        with pytest.raises(Unsupported):
            torch.compile(layer, backend="aot_eager", fullgraph=True)(*arguments)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        assert_close(a, b, "float32")


@pytest.mark.slow
@each_cell
@each_ragged
def test_inductor(cell, ragged):
    """The default backend, float32: C++ around the same kernels."""
    layer = layer_of(cell, torch.float32)
    compiled = torch.compile(layer, fullgraph=True)
    for B, T in SIZES[:2]:
        compare(layer, compiled, draw(cell, B, T, ragged, torch.float32), "float32")


class Whole(nn.Module):
    """All outputs of a layer as one tuple, lengths given or not."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, lengths=None):
        return tuple(flat(self.layer(x, lengths=lengths)))


@each_cell
@each_ragged
@pytest.mark.parametrize("batch_first", [True, False])
def test_exported(cell, ragged, batch_first):
    """One program for every batch and time, saved and loaded by torch."""
    module = Whole(layer_of(cell, batch_first=batch_first)).eval()
    batch, time = Dim("batch", min=1), Dim("time", min=1)
    x, _, lengths = draw(cell, 4, 7, ragged)
    x = x.detach() if batch_first else x.detach().transpose(0, 1).contiguous()
    axes = {"x": {0: batch, 1: time} if batch_first else {0: time, 1: batch}}
    if ragged:
        axes["lengths"] = {0: batch}
    arguments = (x, lengths) if ragged else (x,)
    program = torch.export.export(module, arguments, dynamic_shapes=axes)
    for B, T in [*SIZES, (1, 1), (33, 2)]:
        x, _, lengths = draw(cell, B, T, ragged)
        x = x.detach() if batch_first else x.detach().transpose(0, 1).contiguous()
        given = (x, lengths) if ragged else (x,)
        for a, b in zip(program.module()(*given), module(*given), strict=True):
            assert_close(a, b, "float64")


@each_cell
def test_the_graph_holds_one_node_for_each_layer_and_direction(cell):
    """The kernels themselves are exported, and not a loop over the steps of the example."""
    module = Whole(layer_of(cell)).eval()
    program = torch.export.export(module, (torch.randn(4, 7, I, dtype=torch.float64),))
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum(name.startswith("elman") for name in names) == 4
