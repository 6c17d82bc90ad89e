"""The forward pass step by step against the model's own, in float64."""

import pytest
import torch
from explain_cases import KINDS, READOUTS, STACK_IDS, STACKS, TASKS, network, sequence

from elman.errors import ElmanError
from elman.explain import read_sequence, run_forward
from elman.explain.trace import check_forward


def assert_near(result, expected):
    assert result.shape == expected.shape
    assert (result - expected).abs().max() <= 1e-10


@pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)
def test_outputs_are_the_models_own(stack):
    """Every readout, kind of input and task; a sequence of one step as well."""
    for readout in READOUTS:
        for kind, task in zip(KINDS, TASKS, strict=True):
            model = network(stack, readout, kind, task)
            for steps in (1, 6):
                x = sequence(kind, steps)
                with torch.no_grad():
                    assert_near(run_forward(model, x).outputs, model(x[None])[0])


@pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)
def test_states_are_the_layers_own(stack):
    model = network(stack)
    x = sequence(steps=7)
    done = run_forward(model, x)
    y, final = model.recurrent(x[None])
    assert_near(done.hidden, y[0])
    ends = final if isinstance(final, tuple) else (final,)
    for i, layer in enumerate(done.layers):
        end = -1 if layer.direction == "forward" else 0
        assert set(layer.gates) == set(model.config.cell_definition.traced)
        assert all(g.shape == (7, model.config.hidden_size) for g in layer.gates.values())
        for name, state in zip(("h", "c"), ends, strict=False):
            assert_near(layer.gates[name][end], state[i, 0])


@pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)
def test_gates_satisfy_the_equations_between_neighbours(stack):
    """Row t of every array belongs to x_t, in the backward direction too."""
    for layer in run_forward(network(stack), sequence(steps=6)).layers:
        g = layer.gates
        back = layer.direction == "backward"
        start = torch.zeros_like(layer.h[:1])
        before = torch.cat([layer.h[1:], start]) if back else torch.cat([start, layer.h[:-1]])
        assert torch.equal(layer.previous["h"], before)
        if "z" in g:
            assert_near(g["h"], (1 - g["z"]) * g["n"] + g["z"] * before)
        if "c" in g:
            c = torch.cat([g["c"][1:], start]) if back else torch.cat([start, g["c"][:-1]])
            assert_near(g["c"], g["f"] * c + g["i"] * g["g"])
            assert_near(g["h"], g["o"] * torch.tanh(g["c"]))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_through(kind):
    model = network(STACKS[-1], "mean", kind)
    x = sequence(kind)
    parameters = list(model.parameters())
    result = torch.autograd.grad(run_forward(model, x).outputs.sum(), parameters)
    expected = torch.autograd.grad(model(x[None]).sum(), parameters)
    for one, other in zip(result, expected, strict=True):
        assert_near(one, other)


def test_a_network_that_does_something_else_is_refused():
    model = network(STACKS[0])
    model.output.register_forward_hook(lambda module, given, out: out + 1e-6)
    explained = read_sequence(model, sequence())
    with pytest.raises(ElmanError, match=r"differs by 1\.0e-06 from the equations"):
        check_forward(explained, run_forward(explained.model, explained.x[0]))


def test_a_network_like_its_config_passes():
    for dtype in (torch.float32, torch.float64):
        explained = read_sequence(network(STACKS[-1]), sequence(), dtype=dtype)
        check_forward(explained, run_forward(explained.model, explained.x[0]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_runs_where_the_model_is():
    model = network(STACKS[-1]).cuda()
    explained = read_sequence(model, sequence())
    done = run_forward(explained.model, explained.x[0])
    assert done.outputs.is_cuda
    check_forward(explained, done)
