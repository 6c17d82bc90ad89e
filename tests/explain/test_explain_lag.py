"""dL/dh, Jacobians and gradient norms by time lag, against autograd through the reference loops."""

import json

import numpy as np
import pytest
import torch
from explain_cases import STACK_IDS, STACKS, assert_near_relative, label, network, sequence
from torch.nn import functional

from elman.explain import bptt, run_forward
from elman.models.unrolled import read_out, weight_names
from elman.ops.reference import run_reference

each_stack = pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)


def reference(model, layer, direction, x, h0, c0):
    """States after each step of one layer and direction, (T, H), and the last c, (H,) or None."""
    weights = [getattr(model.recurrent, n) for n in weight_names(layer, direction == "backward")]
    x = x.flip(0) if direction == "backward" else x
    cell = model.config.cell_definition
    initial = tuple(None if s is None else s[None] for s in (h0, c0)[: len(cell.states)])
    y, (_, *c) = run_reference(cell, x[None], *weights, initial, None, False)
    return y[0], c[0][0] if c else None


def cut(model, x, where, t):
    """Outputs, as a function of the state h that one layer and direction has after step t.

    Returns: the outputs and that h, a leaf, (H,).
    """
    zero = torch.zeros(model.config.hidden_size, dtype=torch.float64)
    e, leaf = x, None
    for layer in range(model.config.num_layers):
        both = []
        for direction in ["forward", "backward"][: 2 if model.config.bidirectional else 1]:
            y, _ = reference(model, layer, direction, e, zero, zero)
            if (layer, direction) == where:
                place = len(x) - 1 - t if direction == "backward" else t
                gradient_by_lag = e.flip(0) if direction == "backward" else e
                # The state of an lstm at this step: c is held.
                first = gradient_by_lag[: place + 1]
                first = first.flip(0) if direction == "backward" else first
                before, c = reference(model, layer, direction, first, zero, zero)
                leaf = before[-1].detach().requires_grad_()
                parts = [before[:-1].detach(), leaf[None]]
                rest = gradient_by_lag[place + 1 :]
                if len(rest):
                    rest = rest.flip(0) if direction == "backward" else rest
                    c = None if c is None else c.detach()
                    parts.append(reference(model, layer, direction, rest, leaf, c)[0])
                y = torch.cat(parts)
            both.append(y.flip(0) if direction == "backward" else y)
        e = torch.cat(both, -1)
    read = read_out(model, e[None], torch.ones(1, len(e), dtype=torch.bool))[0]
    return read @ model.output.weight.T + model.output.bias, leaf


@each_stack
@pytest.mark.parametrize("readout", ["last", "max", "every"])
def test_dh_equals_autograd(stack, readout):
    steps = 4
    model = network(stack, readout)
    x, target = sequence(steps=steps), label(readout=readout, steps=steps)
    result = bptt(model, x, target)
    for where, dh in result.dh.items():
        for t in range(steps):
            outputs, leaf = cut(model, x, where, t)
            loss = functional.cross_entropy(outputs, target, reduction="sum")
            assert_near_relative(dh[t], torch.autograd.grad(loss, leaf)[0].numpy())


def one_step(model, layer, t):
    """d(state_t)/d(state_{t-1}) by autograd, (N, N)."""
    h = layer.previous["h"][t]
    zero = torch.zeros_like(h)
    c = zero
    if "c" in layer.gates:
        back = layer.direction == "backward"
        place = t + 1 if back else t - 1
        c = layer.gates["c"][place] if 0 <= place < len(layer.h) else zero

    def step(state):
        y, c = reference(
            model, layer.layer, layer.direction, layer.inputs[t : t + 1], *state.chunk(2)
        )
        return torch.cat([y[0], torch.zeros_like(y[0]) if c is None else c])

    J = torch.autograd.functional.jacobian(step, torch.cat([h, c]))
    H = len(h)
    return J if "c" in layer.gates else J[:H, :H]


@each_stack
def test_jacobians_and_norms_by_lag_equal_autograd(stack):
    """Each source followed by itself, through Jacobians that autograd finds."""
    steps = 5
    for readout in ("last", "mean", "every"):
        model = network(stack, readout)
        x, target = sequence(steps=steps), label(readout=readout, steps=steps)
        result = bptt(model, x, target)
        with torch.no_grad():
            done = run_forward(model, x)
        for layer, back in zip(done.layers, result.backward_pass.layers, strict=True):
            where = (layer.layer, layer.direction)
            J = [one_step(model, layer, t) for t in range(steps)]
            assert_near_relative(
                result.jacobian_norms[where], [torch.linalg.svdvals(j)[0].item() for j in J]
            )
            order = list(range(steps))[:: 1 if layer.direction == "backward" else -1]
            norms = [[] for _ in range(steps)]
            ahead = [[] for _ in range(steps)]  # pairs of norms before and after a step
            sources = 0
            for place, s in enumerate(order):
                g = back.direct[s]
                if not (g != 0).any():
                    continue
                sources += 1
                g = torch.cat([g, torch.zeros_like(g)]) if "c" in layer.gates else g
                for distance, t in enumerate(order[place:]):
                    norms[distance].append(g.norm().item())
                    after = J[t].T @ g
                    if place + distance + 1 < steps:
                        ahead[distance + 1].append((g.norm().item(), after.norm().item()))
                    g = after
            assert result.sources[where] == sources
            for distance in range(steps):
                if norms[distance]:
                    assert_near_relative(
                        result.gradient_by_lag[where][distance], np.mean(norms[distance])
                    )
                else:
                    assert np.isnan(result.gradient_by_lag[where][distance])
            ratios = [1.0]
            for pairs in ahead[1:]:
                was, now = np.sum(pairs, 0) if pairs else (1, np.nan)
                ratios.append(now / was if was else 0.0)
            left = np.cumprod(ratios)
            np.testing.assert_allclose(result.remaining[where], left, rtol=1e-9, atol=1e-300)


def test_with_one_output_and_one_layer_the_norm_by_lag_is_that_of_dh():
    for stack in (STACKS[0], STACKS[12]):  # rnn, gru: one layer, one direction
        result = bptt(network(stack), sequence(steps=9), label())
        norms = np.linalg.norm(result.dh[0, "forward"], axis=1)[::-1]
        np.testing.assert_allclose(result.gradient_by_lag[0, "forward"], norms, rtol=1e-12)


def test_many_sources_are_sampled_with_both_ends():
    target = label(readout="every", steps=150)
    result = bptt(network(STACKS[12], "every"), sequence(steps=150), target)
    assert result.sources == {(0, "forward"): 64}
    assert np.isfinite(
        result.gradient_by_lag[0, "forward"]
    ).all()  # the last step's went all the way


def scaled(recurrent, steps=60):
    """A bptt of a network whose U is an orthogonal matrix times `recurrent`, its input small."""
    model = network((("rnn", "tanh"), 1, False))
    with torch.no_grad():
        torch.nn.init.orthogonal_(model.recurrent.weight_hh_l0).mul_(recurrent)
        for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0"):
            getattr(model.recurrent, name).mul_(1e-6)
    return bptt(model, sequence(steps=steps), label())


def test_the_verdict_has_the_growth_of_a_linear_recurrence():
    """Near 0 tanh is the identity: J = U, and a gradient is multiplied by its factor each step."""
    where = (0, "forward")
    for factor, word in (
        (0.75, "vanishes"),
        (0.8, "shrinks"),
        (1.0, "survives"),
        (0.95, "survives"),
    ):
        result = scaled(factor)
        np.testing.assert_allclose(result.jacobian_norms[where], factor, rtol=1e-6)
        assert result.rate(where) == pytest.approx(factor, rel=1e-6)
        assert result.verdicts == {where: word}
        left = f"after 59 steps back its norm is {factor**59:.2g} of what it was"
        assert f"the gradient {word}: {left}, x {factor:.3f} per step" in str(result)


def test_an_exploding_gradient_is_reported():
    model = network((("rnn", "relu"), 1, False))
    with torch.no_grad():
        for p in model.recurrent.parameters():
            p.fill_(0.1)
        model.recurrent.weight_hh_l0.copy_(torch.eye(6) * 1.3)
    for steps, word in ((40, "explodes"), (20, "grows")):
        result = bptt(model, sequence(steps=steps).abs(), label())
        assert result.verdicts == {(0, "forward"): word}
        assert result.rate((0, "forward")) == pytest.approx(1.3)


def test_a_gradient_beyond_the_largest_number_explodes():
    model = network((("rnn", "relu"), 1, False), task="regression")
    with torch.no_grad():
        for p in model.recurrent.parameters():
            p.fill_(0.0)
        model.recurrent.bias_ih_l0.fill_(1e-300)
        model.recurrent.weight_hh_l0.copy_(torch.eye(6) * 1e9)
    result = bptt(model, sequence(steps=37), label("regression"))
    assert result.verdicts == {(0, "forward"): "explodes"}
    assert result.rate((0, "forward")) == np.inf
    json.dumps(result.to_dict(), allow_nan=False)
    assert "explodes" in str(result)
    result.plot(jacobians=False).canvas.draw()
    result.plot_by_lag().canvas.draw()


def test_a_single_step_has_no_lag():
    result = bptt(network(STACKS[-1]), sequence(steps=1), label())
    assert set(result.verdicts.values()) == {"single step"}
    assert "enters at the first step and goes no further back" in str(result)
    assert not result.plot_by_lag().axes  # a sentence in place of a single point


def test_dead_units_get_no_gradient():
    model = network((("rnn", "relu"), 2, False))
    with torch.no_grad():
        model.recurrent.bias_ih_l1.fill_(-100.0)
    result = bptt(model, sequence(), label())
    assert result.verdicts[0, "forward"] == "no gradient"
    assert result.verdicts[1, "forward"] == "vanishes"
    assert (result.gradients["weight_ih_l0"] == 0).all()
    json.dumps(result.to_dict(), allow_nan=False)


def test_to_dict_is_json():
    result = bptt(network(STACKS[-1], "every"), sequence(), label(readout="every"))
    back = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert back["losses"] == result.losses.tolist()
    assert back["verdicts"]["layer 2, backward"] == result.verdicts[2, "backward"]
