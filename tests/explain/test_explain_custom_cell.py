"""A user's cell is explained like any other: its gradients go back by autograd."""

import numpy as np
import pytest
import torch
from cases import make_model, unregister_cell
from explain_cases import label, sequence
from torch.nn import functional

from elman.explain import attribute, bptt, doctor, memory, run_forward, trace
from elman.explain import backward as written_out
from elman.ops.cells import GRU, LSTM, Cell, register_cell


def _peephole_step(a, u, states):
    """A forget gate that reads the slow state s, which decays into h."""
    sums = {"f": a["f"] + u["f"] + states["s"], "g": a["g"] + u["g"]}
    f, g = torch.sigmoid(sums["f"]), torch.tanh(sums["g"])
    s = f * states["s"] + (1 - f) * g
    return sums, {"f": f, "g": g}, {"s": s, "h": torch.tanh(s) + 0.1 * states["h"]}


@pytest.fixture(scope="module")
def user_cell():
    cell = Cell(
        "peephole_test",
        ("f", "g"),
        _peephole_step,
        states=("s", "h"),
        activations={"f": "sigmoid", "g": "tanh"},
    )
    register_cell(cell)
    yield cell
    unregister_cell(cell)


@pytest.fixture(params=["last", "max", "every"])
def model(user_cell, request):
    return make_model(
        user_cell.name, request.param, num_layers=2, bidirectional=True, nonlinearity="tanh"
    ).double()


def test_a_trace_has_its_gates_and_states(model, user_cell):
    result = trace(model, sequence())
    assert set(result.layers[0].gates) == {"f", "g", "s", "h"}
    assert result.layers[0].sigmoid_gates == ("f",)
    assert str(user_cell) in str(result)
    result.plot().canvas.draw()
    result.plot_gates().canvas.draw()


def test_gradients_are_those_of_the_whole_network(model):
    readout = model.config.readout
    x, target = sequence(steps=6), label(readout=readout, steps=6)
    result = bptt(model, x, target)
    outputs = run_forward(model, x).outputs
    loss = functional.cross_entropy(outputs, target, reduction="sum")
    names, parameters = zip(*model.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        own = result.gradients[name.removeprefix("recurrent.")]
        np.testing.assert_allclose(own, gradient.numpy(), rtol=1e-9, atol=1e-12)
    assert all(len(norms) == 6 for norms in result.jacobian_norms.values())
    result.plot().canvas.draw()
    result.plot_by_lag().canvas.draw()


def test_inputs_and_memory_and_diagnosis(model):
    x = sequence(steps=6)
    step = 2 if model.config.per_step else None
    result = attribute(model, x, 1, step=step)
    assert result.complete
    X = [sequence(steps=n, seed=n).numpy() for n in (5, 6, 7)]
    assert memory(model, X).reach is not None
    assert doctor(model, X) is not None


@pytest.mark.parametrize("cell", [GRU, LSTM])
def test_autograd_gives_the_gradients_of_the_written_equations(cell, monkeypatch):
    model = make_model(cell.name, "mean", num_layers=2, nonlinearity="tanh").double()
    x, target = sequence(), label()
    by_equations = bptt(model, x, target)
    monkeypatch.setattr(written_out, "_STEP_BACKS", {})
    by_autograd = bptt(model, x, target)
    for name in ("gradients", "dh", "jacobian_norms", "gradient_by_lag", "remaining"):
        for key, values in getattr(by_equations, name).items():
            other = getattr(by_autograd, name)[key]
            np.testing.assert_allclose(values, other, rtol=1e-9, atol=1e-14)
