"""Backpropagation through time of one sequence, step by step, written out.

The equations of `run_forward` are differentiated from the last step to the first; dx is short for
dL/dx. A state affects the loss directly, through the output or the layer above, which read it, and
through the next state; its gradient is the sum of both:

    dh_t = direct_t + the gradient that comes back from step t+1

    rnn     da_t = dh_t * f'(a_t)              tanh: 1 - h_t^2, relu: 1 where h_t > 0
            goes back: U^T da_t

    gru     dz_t = dh_t * (h_{t-1} - n_t)      da_z = dz_t * z_t * (1 - z_t)
            dn_t = dh_t * (1 - z_t)            da_n = dn_t * (1 - n_t^2)
            dr_t = da_n * u_n                  da_r = dr_t * r_t * (1 - r_t)
            u_n = U_n h_{t-1} + b'_n, so that du_n = da_n * r_t; du_r = da_r, du_z = da_z
            goes back: dh_t * z_t + U^T du_t

    lstm    dc_t = the gradient that comes back to c_t + dh_t * o_t * (1 - tanh(c_t)^2)
            di_t = dc_t * g_t                  da_i = di_t * i_t * (1 - i_t)
            df_t = dc_t * c_{t-1}              da_f = df_t * f_t * (1 - f_t)
            dg_t = dc_t * i_t                  da_g = dg_t * (1 - g_t^2)
            do_t = dh_t * tanh(c_t)            da_o = do_t * o_t * (1 - o_t)
            goes back: to h_{t-1} U^T da_t, to c_{t-1} dc_t * f_t

a_t is the preactivation of a gate, W e_t + b + U h_{t-1} + b', da_t is its gradient and du_t the
gradient of the recurrent part, U h_{t-1} + b'. The gradient of a weight is a sum over the steps:

    dW = sum_t da_t e_t^T    dU = sum_t du_t h_{t-1}^T    db = sum_t da_t    db' = sum_t du_t
    de_t = W^T da_t, for the layer below or the embedding

These equations do not use autograd; the tests compare them with autograd and finite differences.
Only a cell that a user registered, which has no equations here, is differentiated by autograd
through its step function.

`gradient_by_lag` measures how a gradient shrinks or grows on its way back. Its sources are the
steps at which a gradient enters a layer from above, because the output or the next layer reads
them. The gradient of each source is followed back through the recurrence of that layer and
direction alone. It is the gradient of all states of a step together: h, or h and c of an lstm:

    g_{t-1} = J_t^T g_t        J_t = d(states_t) / d(states_{t-1})

Dimensions: T steps, I input size of a layer, H hidden, G blocks of the weights, D directions, K
outputs, S gradients propagated together, N size of all states together (H, or 2*H for an lstm).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from elman.explain.forward import ForwardPass, LayerForward
from elman.explain.network import ExplainedSequence
from elman.models import SequenceModel
from elman.models.static import join_backward
from elman.ops.cells import GRU, LSTM, RNN, RNN_RELU, Cell
from elman.train import TorchThreads

StateGradients = dict[str, Tensor]  # by name of a state: (H,), or (S, H) for S gradients at once
# Takes t and the gradients of the states at t; returns da and du of that step, and the gradients of
# the states of the step before it.
StepBack = Callable[[int, StateGradients], tuple[Tensor, Tensor, StateGradients]]

MAX_SOURCES = 64  # followed at most: memory stays O(T*H) even if every step is a source
# Norm of a gradient after all steps back, relative to its norm at the start: below VANISHED it has
# vanished, above EXPLODED it has exploded. `bptt` and the doctor both decide by these two numbers.
# Measured in docs/understand.md: after 99 steps untrained networks leave 1e-21 to 0.003, and GRUs
# that solve their task 0.1 to 1.1. Healthy networks grow a gradient by up to 20.
VANISHED, EXPLODED = 1e-6, 1e4
# Between them a gradient below WEAK has shrunk, and one above STRONG has grown.
WEAK, STRONG = 0.01, 100.0
_JACOBIAN_VALUES = 2**22  # most elements of Jacobians in memory at once


@dataclass(frozen=True)
class LayerBackward:
    """The backward pass of one layer and direction; row t of every array belongs to x_t.

    Args:
        forward: the forward pass of the layer.
        direct: gradient that enters from above, (T, H).
        dh: dL/dh_t, the direct gradient plus the one through the next state, (T, H).
        da: gradient of the gates' preactivations, (T, G*H).
        du: gradient of their recurrent part, (T, G*H); differs from da for the candidate of a gru.
        step_back: function that propagates a gradient back by one step.
        start: gradient of the states before the first step, by name, (H,) each.
    """

    forward: LayerForward
    direct: Tensor
    dh: Tensor
    da: Tensor
    du: Tensor
    step_back: StepBack
    start: StateGradients


@dataclass(frozen=True)
class BackwardPass:
    """The backward pass of one sequence.

    Args:
        losses: L_t, (T,); with one output a sequence, its loss is at the last step.
        dy: gradient of the outputs at each step, (T, K); one output a sequence is repeated T times.
        share: the share of each state that the output reads, (T, D*H): read = sum share_t * h_t.
        layers: in the order of the forward pass.
        embedded: gradient of the first layer's input, (T, I).
    """

    losses: Tensor
    dy: Tensor
    share: Tensor
    layers: tuple[LayerBackward, ...]
    embedded: Tensor


def run_backward(sequence: ExplainedSequence, forward: ForwardPass) -> BackwardPass:
    """Propagate the gradient of the loss back to every state and input.

    Args:
        sequence: a sequence with a target.
        forward: its forward pass.
    """
    model = sequence.model
    assert sequence.target is not None
    losses, dy = sequence.network.meaning.loss(forward.outputs, sequence.target)
    if not sequence.per_step:  # the only loss is at the last step
        losses = torch.cat([losses.new_zeros(sequence.steps - 1), losses[None]])
    dy = dy.expand(sequence.steps, -1)  # (T, K)
    share = output_shares(model, forward.hidden)
    # The gradient of the readout enters the top layer, (T, D*H).
    above = share * join_backward(model, forward.read, dy @ model.output.weight)
    layers: list[LayerBackward] = []
    H = model.config.hidden_size
    D = len(forward.layers) // model.config.num_layers
    for number in reversed(range(model.config.num_layers)):
        both = [
            layer_backward(layer, above[:, d * H : (d + 1) * H])
            for d, layer in enumerate(forward.layers[number * D : (number + 1) * D])
        ]
        # Both directions read the same input, so its gradient is the sum over the directions.
        above = sum(
            (layer.da @ layer.forward.weights[0] for layer in both),
            start=torch.zeros_like(both[0].forward.inputs),
        )
        layers = both + layers
    return BackwardPass(losses, dy, share, tuple(layers), above)


def output_shares(model: SequenceModel, hidden: Tensor) -> Tensor:
    """The share of each state that the output reads, (T, D*H).

    last: 1 at the last step of each direction; mean: 1/T; max: 1 at a unit's largest state, divided
    equally among ties; every: 1.
    """
    config, H = model.config, model.config.hidden_size
    if config.per_step:
        return torch.ones_like(hidden)
    if config.readout == "mean":
        return torch.full_like(hidden, 1 / len(hidden))
    if config.readout == "max":
        largest = (hidden == hidden.amax(0)).to(hidden)
        return largest / largest.sum(0)
    share = torch.zeros_like(hidden)
    share[-1, :H] = 1
    share[0, H:] = 1
    return share


def layer_backward(layer: LayerForward, direct: Tensor) -> LayerBackward:
    """Backpropagate through one layer and direction; `direct` enters from above, (T, H)."""
    step_back = _STEP_BACKS.get(layer.cell, _autograd_step_back)(layer)
    dh, da, du = ([torch.empty(0)] * len(direct) for _ in range(3))
    gradients = dict.fromkeys(layer.cell.states, torch.zeros_like(direct[0]))
    for t in layer.backwards:
        # Only h_t is read from above, so c_t of an lstm has no direct gradient.
        dh[t] = direct[t] + gradients["h"]
        da[t], du[t], gradients = step_back(t, gradients | {"h": dh[t]})
    dh_t, da_t, du_t = map(torch.stack, (dh, da, du))
    return LayerBackward(layer, direct, dh_t, da_t, du_t, step_back, gradients)


def _rnn_tanh(layer: LayerForward) -> StepBack:
    return _rnn(layer, 1 - layer.h**2)


def _rnn_relu(layer: LayerForward) -> StepBack:
    return _rnn(layer, (layer.h > 0).to(layer.h))


def _rnn(layer: LayerForward, slope: Tensor) -> StepBack:
    _, U, _, _ = layer.weights

    def step_back(t: int, gradients: StateGradients) -> tuple[Tensor, Tensor, StateGradients]:
        da = gradients["h"] * slope[t]
        return da, da, {"h": da @ U}

    return step_back


def _gru(layer: LayerForward) -> StepBack:
    _, U, _, b_hh = layer.weights
    r, z, n = (layer.gates[name] for name in ("r", "z", "n"))
    h_before = layer.previous["h"]
    u_n = layer.cell.split(h_before @ U.T + b_hh)["n"]

    def step_back(t: int, gradients: StateGradients) -> tuple[Tensor, Tensor, StateGradients]:
        dh = gradients["h"]
        da_z = dh * (h_before[t] - n[t]) * z[t] * (1 - z[t])
        da_n = dh * (1 - z[t]) * (1 - n[t] ** 2)
        da_r = da_n * u_n[t] * r[t] * (1 - r[t])
        da = torch.cat([da_r, da_z, da_n], -1)
        du = torch.cat([da_r, da_z, da_n * r[t]], -1)
        return da, du, {"h": dh * z[t] + du @ U}

    return step_back


def _lstm(layer: LayerForward) -> StepBack:
    _, U, _, _ = layer.weights
    i, f, g, o, c = (layer.gates[name] for name in ("i", "f", "g", "o", "c"))
    c_before = layer.previous["c"]
    tanh_c = torch.tanh(c)

    def step_back(t: int, gradients: StateGradients) -> tuple[Tensor, Tensor, StateGradients]:
        dh = gradients["h"]
        dc = gradients["c"] + dh * o[t] * (1 - tanh_c[t] ** 2)
        da_i = dc * g[t] * i[t] * (1 - i[t])
        da_f = dc * c_before[t] * f[t] * (1 - f[t])
        da_g = dc * i[t] * (1 - g[t] ** 2)
        da_o = dh * tanh_c[t] * o[t] * (1 - o[t])
        da = torch.cat([da_i, da_f, da_g, da_o], -1)
        return da, da, {"c": dc * f[t], "h": da @ U}

    return step_back


def _autograd_step_back(layer: LayerForward) -> StepBack:
    """Step back by autograd, for a cell without equations above: recompute and differentiate it.

    a and u are separate leaves, so that their gradients are da and du.
    """
    W, U, b, b_hh = (weight.detach() for weight in layer.weights)
    cell, previous = layer.cell, {name: h.detach() for name, h in layer.previous.items()}
    a_all, u_all = layer.inputs.detach() @ W.T + b, previous["h"] @ U.T + b_hh  # (T, G*H)

    def step_back(t: int, gradients: StateGradients) -> tuple[Tensor, Tensor, StateGradients]:
        # The rows of a batch are independent, so each gradient that is propagated takes one row.
        rows = gradients["h"].reshape(-1, gradients["h"].shape[-1]).shape[0]
        a, u = (values[t].repeat(rows, 1).requires_grad_() for values in (a_all, u_all))
        states = {name: h[t].repeat(rows, 1).requires_grad_() for name, h in previous.items()}
        with torch.enable_grad():
            _, _, new = cell.step(cell.split(a), cell.split(u), states)
        da, du, *back = torch.autograd.grad(
            [new[name] for name in cell.states],
            [a, u, *states.values()],
            [gradients[name].reshape(rows, -1) for name in cell.states],
            materialize_grads=True,
        )
        before = dict(zip(states, back, strict=True))
        before["h"] = before["h"] + du @ U
        shape = gradients["h"].shape[:-1]
        return (
            da.reshape(*shape, -1),
            du.reshape(*shape, -1),
            {name: values.reshape(*shape, -1) for name, values in before.items()},
        )

    return step_back


_STEP_BACKS: dict[Cell, Callable[[LayerForward], StepBack]] = {
    RNN: _rnn_tanh,
    RNN_RELU: _rnn_relu,
    GRU: _gru,
    LSTM: _lstm,
}


@dataclass(frozen=True)
class GradientByLag:
    """Norm of a gradient by time lag.

    Args:
        norms: mean norm by time lag, 0 to T-1, over the sources that reach the lag, (T,); NaN at
            lags that no source reaches.
        remaining: the norm relative to that at lag 0, (T,): the cumulative product over the lags of
            (sum of norms after a step back) / (sum before it), over the sources that take the step.
        sources: number of sources that were followed, S.
    """

    norms: Tensor
    remaining: Tensor
    sources: int


def gradient_by_lag(layer: LayerBackward) -> GradientByLag:
    """Follow the gradients that enter one layer and direction, all together.

    If more than 64 steps are sources, 64 evenly spaced ones are followed, including the first and
    the last, so that time and memory stay O(T*H).
    """
    order = list(layer.forward.backwards)
    is_source = (layer.direct != 0).any(1).tolist()
    entries = [place for place, t in enumerate(order) if is_source[t]]
    if len(entries) > MAX_SOURCES:
        chosen = torch.linspace(0, len(entries) - 1, MAX_SOURCES).round().long().tolist()
        entries = [entries[i] for i in chosen]
    norms = layer.dh.new_full((len(entries), len(order)), torch.nan)  # (S, lag)
    gradients = dict.fromkeys(layer.forward.cell.states, layer.dh.new_zeros(0, layer.dh.shape[1]))
    started = 0
    for place, t in enumerate(order):
        if place in entries[started : started + 1]:
            # The gradient enters at h; those of the other states are still zero.
            gradients = {
                name: torch.cat([g, torch.zeros_like(layer.direct[t])[None]])
                for name, g in gradients.items()
            }
            gradients["h"][-1] = layer.direct[t]
            started += 1
        if started:
            squares = sum(g.square().sum(1) for g in gradients.values())
            sizes = torch.as_tensor(squares).sqrt().nan_to_num(nan=torch.inf, posinf=torch.inf)
            lags = place - torch.tensor(entries[:started])
            norms[torch.arange(started), lags] = sizes
            _, _, gradients = layer.step_back(t, gradients)
    reached = ~norms.isnan()
    reaching = torch.where(reached, norms, 0.0)
    mean = reaching.sum(0) / reached.sum(0)  # 0 / 0 is NaN: no source reaches that lag
    # The ratio is of sums over the same sources. The means at lags k and k + 1 are over different
    # sources: where a strong source ends, their ratio would look like a vanishing gradient.
    after = reaching[:, 1:].sum(0)
    before = torch.where(reached[:, 1:], norms[:, :-1], 0.0).sum(0)  # over the same sources
    ratio = after / before
    # A zero gradient stays zero and one that has overflowed stays infinite. 0 / 0 and inf / inf
    # would give NaN, which is reserved for lags that no source reaches.
    ratio[before == 0] = 0.0
    ratio[before.isinf()] = torch.inf
    ratio[~reached[:, 1:].any(0)] = torch.nan
    remaining = torch.cat([torch.ones_like(mean[:1]), ratio]).cumprod(0)
    return GradientByLag(mean, remaining, len(entries))


def describe_remaining(remaining: float) -> str:
    """Say in a word or two what became of a gradient, of which this share of the norm remains."""
    if remaining < VANISHED:
        return "vanishes"
    if remaining > EXPLODED:
        return "explodes"
    return "shrinks" if remaining < WEAK else "grows" if remaining > STRONG else "survives"


def jacobians(layer: LayerBackward, steps: list[int]) -> Tensor:
    """Jacobians J_t of the given steps, (n, N, N): rows are states at t, columns those before.

    Row i is computed by propagating the i-th unit vector back by one step.
    """
    names = layer.forward.cell.initial_states
    unit_rows = torch.eye(layer.forward.state_size).to(layer.dh).chunk(len(names), 1)
    gradients = dict(zip(names, unit_rows, strict=True))
    rows = []
    for t in steps:
        _, _, before = layer.step_back(t, gradients)
        rows.append(torch.cat([before[name] for name in names], 1))
    return torch.stack(rows)


@TorchThreads(1)  # for many small matrices, synchronising two threads costs more than it gains
def jacobian_norms(layer: LayerBackward) -> Tensor:
    """Largest singular value of J_t, (T,): the most by which a step can grow a gradient."""
    batch = max(1, _JACOBIAN_VALUES // layer.forward.state_size**2)
    steps = list(range(len(layer.dh)))
    parts = [jacobians(layer, steps[i : i + batch]) for i in range(0, len(steps), batch)]
    # The root of J J^T's largest eigenvalue takes half the time of a singular value decomposition.
    return torch.cat([torch.linalg.eigvalsh(J @ J.mT)[:, -1].clamp_min(0).sqrt() for J in parts])
