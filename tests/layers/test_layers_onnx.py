"""torch's two ONNX exporters, in onnxruntime: batch and time free, lengths an input."""

import itertools
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from cases import CELLS, KERNELS, READOUTS
from torch import nn
from torch.export import Dim
from torch.nn.utils.rnn import pack_padded_sequence

from elman import ops
from elman.errors import SettingsError
from elman.layers import GRU, LSTM, RNN, Cell, Recurrent
from elman.models import ModelConfig, SequenceModel

I, H, L = 3, 5, 2
# Batch and time of the example, and of what is asked afterwards.
EXAMPLE, SIZES = (4, 7), [(4, 7), (2, 3), (1, 1), (9, 40)]
BOUND = 1e-5  # float32, of numbers up to about 10
each_exporter = pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "older"])
# What torch has deprecated of its own, and its advice to use the other exporter.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*treespec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:# The axis name"),
    pytest.mark.filterwarnings("ignore:# ONNX model has different number of inputs"),
]


class Flat(nn.Module):
    """A function of named tensors, with its results as one tuple."""

    def __init__(self, run, *modules):
        super().__init__()
        self.run, self.inside = run, nn.ModuleList(modules)
        self.eval()

    def forward(self, *tensors):
        return tuple(torch.utils._pytree.tree_leaves(self.run(*tensors)))


def shake(module):
    """Weights of a size at which every gate matters, biases included."""
    for parameter in module.parameters():
        parameter.data.uniform_(-0.6, 0.6)
    return module.eval()


def export(path, module, example, axes, dynamo):
    """Write `module` to a file; axes has the free axes of each input by its name."""
    if not dynamo:
        free = {name: {a: str(d) for a, d in each.items()} for name, each in axes.items()}
        torch.onnx.export(
            module, example, path, input_names=list(axes), dynamic_axes=free, dynamo=False
        )
        return
    shapes = (tuple(axes.values()),) if isinstance(module, Flat) else tuple(axes.values())
    torch.onnx.export(
        module,
        example,
        path,
        input_names=list(axes),
        dynamic_shapes=shapes,
        dynamo=True,
        verbose=False,
    )


def assert_same(path, module, names, draw, bound=BOUND, valid=lambda out, tensors: out):
    """Compare onnxruntime with the module at every size."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_inputs()] == list(names)
    for batch, time in SIZES:
        tensors = draw(batch, time)
        feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        with torch.no_grad():
            wanted = torch.utils._pytree.tree_leaves(module(*tensors))
        for found, want in zip(session.run(None, feed), wanted, strict=True):
            assert found.dtype == want.numpy().dtype
            found, want = valid(torch.from_numpy(found), tensors), valid(want, tensors)
            torch.testing.assert_close(found, want, rtol=bound, atol=bound)
    return session


def check_layer(path, cell, dynamo, options, ragged, states, dtype=torch.float32, bound=BOUND):
    """Export a layer of random weights; rows without steps are among the ragged ones."""
    layer = shake(cell.layer(I, H, L, dtype=dtype, **cell.layer_options(H), **options))
    batch_first, directions = options["batch_first"], 1 + options["bidirectional"]
    widths = (cell.width(H), H)[: len(cell.states)]

    def draw(batch, time):
        x = torch.randn(batch, time, I, dtype=dtype)
        lengths = torch.randint(0, time + 1, (batch,))
        if ragged:
            x[torch.arange(time) >= lengths[:, None]] = torch.nan
        hx = [torch.randn(L * directions, batch, width, dtype=dtype) for width in widths]
        x = x if batch_first else x.transpose(0, 1).contiguous()
        return (x, *[lengths] * ragged, *hx * states)

    def run(x, *others):
        lengths = others[0] if ragged else None
        hx = others[ragged:]
        return layer(x, (hx if len(hx) > 1 else hx[0]) if hx else None, lengths)

    axes = {"x": {0: "batch", 1: "time"} if batch_first else {0: "time", 1: "batch"}}
    axes |= {"lengths": {0: "batch"}} if ragged else {}
    axes |= {name: {1: "batch"} for name in cell.states if states}
    module = Flat(run, layer)
    export(path, module, draw(*EXAMPLE), axes, dynamo)
    return assert_same(path, module, axes, draw, bound)


OPTIONS = [
    {"bidirectional": b, "bias": c, "batch_first": f}
    for b, c, f in [(True, True, True), (False, True, False), (True, False, False)]
]


@pytest.mark.parametrize("cell", KERNELS, ids=str)
@pytest.mark.parametrize("options", OPTIONS[:2], ids=["both directions", "one direction"])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "lengths"])
def test_layer_by_the_older_exporter(tmp_path, cell, options, ragged):
    """Without a warning but torch's own, about the exporter."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        states = ragged == options["bidirectional"]
        check_layer(tmp_path / "layer.onnx", cell, False, options, ragged, states)


@pytest.mark.parametrize("cell", KERNELS[2::2], ids=str)
def test_layer_by_the_default_exporter(tmp_path, cell):
    """As one node for each layer and direction: no loop, and no step of the example."""
    session = check_layer(tmp_path / "layer.onnx", cell, True, OPTIONS[0], True, True)
    graph = onnx.load(tmp_path / "layer.onnx").graph
    assert len(session.get_outputs()) == 1 + len(cell.states)
    nodes = [node.op_type for node in graph.node]
    assert nodes.count("GRU") + nodes.count("LSTM") == 2 * L
    assert not {"Loop", "Scan", "Split"} & set(nodes)


@pytest.mark.slow
@each_exporter
@pytest.mark.parametrize("cell", KERNELS, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("states", [False, True], ids=["zeros", "states"])
def test_layer_in_every_combination(tmp_path, cell, options, ragged, states, dynamo):
    check_layer(tmp_path / "layer.onnx", cell, dynamo, options, ragged, states)


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_an_example_of_one_step(tmp_path, cell, dynamo):
    """One step of one sequence has a path of its own, which an export must not take."""
    layer = shake(cell.layer(I, H, batch_first=True, **cell.layer_options(H)))
    path, x = tmp_path / "layer.onnx", torch.randn(1, 1, I)
    free = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} if dynamo else {0: "batch", 1: "time"}
    with torch.no_grad():
        export(path, layer, (x,), {"x": free}, dynamo)
    assert_same(path, layer, ["x"], lambda batch, time: (torch.randn(batch, time, I),))


@pytest.mark.slow
def test_float64_is_a_loop_in_float64(tmp_path):
    """onnxruntime has no node for it; the older exporter has no loop either, and says so."""
    cell, options = KERNELS[-1], OPTIONS[1]
    path = tmp_path / "layer.onnx"
    check_layer(path, cell, True, options, True, True, torch.float64, 1e-12)
    with pytest.raises(
        SettingsError, match=r"float64.*dynamo=True.*or export the model in float32"
    ):
        check_layer(path, cell, False, options, True, True, torch.float64)


def test_programs_of_torch_export(tmp_path):
    """A program that torch.export has captured before, which keeps the operator itself."""
    layer = shake(LSTM(I, 6, L, batch_first=True, bidirectional=True, proj_size=2))
    module = Flat(lambda x, lengths: layer(x, lengths=lengths), layer)

    def draw(batch, time):
        return torch.randn(batch, time, I), torch.randint(0, time + 1, (batch,))

    batch = Dim("batch")
    shapes = (({0: batch, 1: Dim("time")}, {0: batch}),)
    program = torch.export.export(module, draw(*EXAMPLE), dynamic_shapes=shapes)
    lowered = program.run_decompositions()
    assert sum("elman" in str(node.target) for node in lowered.graph.nodes) == 2 * L
    path = tmp_path / "program.onnx"
    torch.onnx.export(program, f=path, input_names=["x", "lengths"], dynamo=True, verbose=False)
    assert_same(path, module, ["x", "lengths"], draw)


def test_the_operator_stays_whole_outside_an_export():
    """torch's table of decompositions, in which the exporter finds ours, has other readers."""
    weights = shake(RNN(I, H)).all_weights[0]

    def run(x):
        return torch.ops.elman.recurrence(
            x, *weights, None, None, None, None, "rnn_tanh", False, True, False
        )[0]

    x = torch.randn(2, 4, I)
    make = torch.fx.experimental.proxy_tensor.make_fx
    graph = make(run, decomposition_table=torch._decomp.decomposition_table)(x)
    assert "elman.recurrence" in graph.code
    assert torch.equal(graph(x), run(x))


def _gated(a, u, states):
    sums = {"f": a["f"] + u["f"]}
    f = torch.sigmoid(sums["f"])
    sums["n"] = a["n"] + f * u["n"]
    n = torch.tanh(sums["n"])
    return sums, {"f": f, "n": n}, {"h": (1 - f) * states["h"] + f * n}


def test_a_cell_of_ones_own_is_a_loop(tmp_path):
    """Of any number of steps, where the exporter has one; refused where it would be unrolled."""
    layer = shake(Recurrent(Cell("mgu", ("f", "n"), _gated), I, H, batch_first=True))
    module = Flat(lambda x, lengths: layer(x, lengths=lengths), layer)

    def draw(batch, time):
        return torch.randn(batch, time, I), torch.randint(0, time + 1, (batch,))

    axes = {"x": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}
    path = tmp_path / "cell.onnx"
    export(path, module, draw(*EXAMPLE), axes, True)
    assert_same(path, module, axes, draw)
    with pytest.raises(SettingsError, match=r"cell 'mgu' has no node in ONNX.*dynamo=True"):
        export(path, module, draw(*EXAMPLE), axes, False)


@each_exporter
def test_functions_and_layers_of_the_table(tmp_path, dynamo):
    """`elman.ops` and `Recurrent` take the same way as the layers."""
    layer = shake(Recurrent("gru", I, H))
    weights = [nn.Parameter(torch.randn(*shape) / 2) for shape in [(3 * H, H), (3 * H, H)]]

    def run(x, lengths):
        y, _ = layer(x, lengths=lengths)
        return ops.gru(y, *weights, lengths=lengths, reverse=True, batch_first=False)

    def draw(batch, time):
        return torch.randn(time, batch, I), torch.randint(0, time + 1, (batch,))

    axes = {"x": {0: "time", 1: "batch"}, "lengths": {0: "batch"}}
    module = Flat(run, layer, nn.ParameterList(weights))
    export(tmp_path / "both.onnx", module, draw(*EXAMPLE), axes, dynamo)
    assert_same(tmp_path / "both.onnx", module, axes, draw)


def test_packed_input_is_refused(tmp_path):
    layer = GRU(I, H, batch_first=True)

    def run(x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return layer(packed)[1]

    example = (torch.randn(4, 7, I), torch.tensor([7, 2, 3, 1]))
    axes = {"x": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}
    with pytest.raises(Exception, match="pass the padded batch and lengths=lengths"):
        export(tmp_path / "packed.onnx", Flat(run, layer), example, axes, True)


KINDS = {
    "numbers": {"input_size": I},
    "tokens": {"vocabulary_size": 7},
    "mixed": {"input_size": 2, "category_sizes": (4, 5)},
}


def check_model(path, cell, readout, kind, static_to, bidirectional, dynamo):
    """Export a model of random weights, with ragged rows whose padding is NaN."""
    nonlinearity = {"nonlinearity": "relu"} if cell.name == "rnn_relu" else {}
    static = {"static_size": 2, "static_to": static_to} if static_to else {}
    config = ModelConfig(
        cell=cell.definition.name,
        hidden_size=H,
        num_layers=L,
        bidirectional=bidirectional,
        readout=readout,
        num_outputs=3,
        embedding_size=4,
        **KINDS[kind] | nonlinearity | static,
    )
    model = shake(SequenceModel(config))

    def draw(batch, time):
        lengths = torch.randint(1, time + 1, (batch,))
        past = torch.arange(time) >= lengths[:, None]
        if kind == "tokens":
            x = torch.randint(0, 7, (batch, time)).masked_fill(past, -1)
        else:
            x = torch.randn(batch, time, config.columns)
            if kind == "mixed":
                x[:, :, 2:] = torch.randint(0, 4, (batch, time, 2))
            x[past] = torch.nan
        return (x, lengths, torch.randn(batch, 2)) if static_to else (x, lengths)

    def valid(out, tensors):
        steps = torch.arange(tensors[0].shape[1]) < tensors[1][:, None]
        return out[steps] if config.per_step else out

    axes = {"x": {0: "batch", 1: "time"}, "lengths": {0: "batch"}, "static": {0: "batch"}}
    axes = dict(itertools.islice(axes.items(), 2 + bool(static_to)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        export(path, model, draw(*EXAMPLE), axes, dynamo)
    assert_same(path, model, axes, draw, valid=valid)


# Each cell, readout, kind of input, place of static features and direction, in few exports.
MODELS = [
    (CELLS[0], "last", "numbers", None, False),
    (CELLS[1], "mean", "tokens", "state", False),
    (CELLS[2], "max", "mixed", "readout", True),
    (CELLS[3], "every", "numbers", "both", True),
]


@pytest.mark.parametrize(
    ("case", "dynamo"), [*((case, False) for case in MODELS), (MODELS[2], True)]
)
def test_model(tmp_path, case, dynamo):
    check_model(tmp_path / "model.onnx", *case, dynamo)


@pytest.mark.slow
@each_exporter
@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_model_in_every_combination(tmp_path, cell, readout, kind, dynamo):
    for static_to, both in itertools.product([None, "readout", "state", "both"], [False, True]):
        check_model(tmp_path / "model.onnx", cell, readout, kind, static_to, both, dynamo)


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_trained_estimator(tmp_path, dynamo):
    """`model_` as fit leaves it, with the logits of its own call."""
    from elman import SequenceClassifier

    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, I)).astype(np.float32) for n in rng.integers(2, 9, 20)]
    model = SequenceClassifier(cell="gru", hidden_size=H, epochs=1, random_state=0).fit(
        sequences, np.arange(20) % 3
    )

    def draw(batch, time):
        return torch.randn(batch, time, I), torch.randint(1, time + 1, (batch,))

    axes = {"x": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}
    export(tmp_path / "model.onnx", model.model_, draw(*EXAMPLE), axes, dynamo)
    assert_same(tmp_path / "model.onnx", model.model_, axes, draw)
