"""Backpropagation through time of one sequence, step by step, written out.

What `run_forward` computed is gone through backward here, equation by equation; dx is short for
dL/dx. A state acts on the loss in two ways, through what reads it (the output, or the layer above)
and through the next state, and the two add up:

    dh_t = direct_t + what comes back from step t+1

    rnn     da_t = dh_t * f'(a_t)              tanh: 1 - h_t^2, relu: 1 where h_t > 0
            goes back: U^T da_t

    gru     dz_t = dh_t * (h_{t-1} - n_t)      da_z = dz_t * z_t * (1 - z_t)
            dn_t = dh_t * (1 - z_t)            da_n = dn_t * (1 - n_t^2)
            dr_t = da_n * u_n                  da_r = dr_t * r_t * (1 - r_t)
            u_n = U_n h_{t-1} + b'_n, so that du_n = da_n * r_t; du_r = da_r, du_z = da_z
            goes back: dh_t * z_t + U^T du_t

    lstm    dc_t = what comes back to c_t + dh_t * o_t * (1 - tanh(c_t)^2)
            di_t = dc_t * g_t                  da_i = di_t * i_t * (1 - i_t)
            df_t = dc_t * c_{t-1}              da_f = df_t * f_t * (1 - f_t)
            dg_t = dc_t * i_t                  da_g = dg_t * (1 - g_t^2)
            do_t = dh_t * tanh(c_t)            da_o = do_t * o_t * (1 - o_t)
            goes back: to h_{t-1} U^T da_t, to c_{t-1} dc_t * f_t

a_t is the sum inside a gate, W e_t + b + U h_{t-1} + b', da_t its gradient and du_t the same as
seen from U. The gradients of the weights are sums over the steps of what each step contributes:

    dW = sum_t da_t e_t^T    dU = sum_t du_t h_{t-1}^T    db = sum_t da_t    db' = sum_t du_t
    de_t = W^T da_t, for the layer below or the embedding

No autograd in these: it is what the tests compare this file with, besides finite differences. Only
a cell that has no equations here, a user's own, goes back by autograd through its step function.

Dimensions: T steps, I what a layer reads, H hidden, G blocks of the weights, D directions, K
outputs, S gradients that go back together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from elman.explain.forward import ForwardPass, LayerForward
from elman.explain.network import ExplainedSequence
from elman.models import SequenceModel
from elman.ops.cells import GRU, LSTM, RNN, RNN_RELU, Cell

StateGradients = dict[str, Tensor]  # by name of a state, (H,) or, of S gradients at once, (S, H)
# From (t, dL/d of the states at t) to (da, du) of that step and dL/d of the states of the step
# before it.
StepBack = Callable[[int, StateGradients], tuple[Tensor, Tensor, StateGradients]]


@dataclass(frozen=True)
class LayerBackward:
    """The backward pass of one layer and direction; row t of every array belongs to x_t.

    Args:
        forward: what the layer did.
        direct: gradient that enters from above, (T, H).
        dh: dL/dh_t, all ways together, (T, H).
        da: gradient of the sums inside the gates, (T, G*H).
        du: the same as seen from U, (T, G*H); it differs for the candidate of a gru.
        step_back: goes back one step.
    """

    forward: LayerForward
    direct: Tensor
    dh: Tensor
    da: Tensor
    du: Tensor
    step_back: StepBack


@dataclass(frozen=True)
class BackwardPass:
    """The backward pass of one sequence.

    Args:
        losses: L_t, (T,); one loss for the whole sequence stands at the last step.
        dy: gradient of the outputs as seen from each step, (T, K); of one output, T times the same.
        share: what part of each state the output reads, (T, D*H): read = sum_t share_t * h_t.
        layers: as in the forward pass.
        embedded: gradient of what the first layer reads, (T, I).
    """

    losses: Tensor
    dy: Tensor
    share: Tensor
    layers: tuple[LayerBackward, ...]
    embedded: Tensor


def run_backward(sequence: ExplainedSequence, forward: ForwardPass) -> BackwardPass:
    """Go back from the loss to every state and input.

    Args:
        sequence: with a target.
        forward: its forward pass.
    """
    model = sequence.model
    assert sequence.target is not None
    losses, dy = sequence.network.meaning.loss(forward.outputs, sequence.target)
    if not sequence.per_step:  # the only loss stands at the last step
        losses = torch.cat([losses.new_zeros(sequence.steps - 1), losses[None]])
    dy = dy.expand(sequence.steps, -1)  # (T, K)
    share = output_shares(model, forward.hidden)
    above = share * (dy @ model.output.weight)  # (T, D*H), enters the top layer
    layers: list[LayerBackward] = []
    H = model.config.hidden_size
    D = len(forward.layers) // model.config.num_layers
    for number in reversed(range(model.config.num_layers)):
        both = [
            layer_backward(layer, above[:, d * H : (d + 1) * H])
            for d, layer in enumerate(forward.layers[number * D : (number + 1) * D])
        ]
        # What this layer read was read by both of its directions.
        above = sum(
            (layer.da @ layer.forward.weights[0] for layer in both),
            start=torch.zeros_like(both[0].forward.inputs),
        )
        layers = both + layers
    return BackwardPass(losses, dy, share, tuple(layers), above)


def output_shares(model: SequenceModel, hidden: Tensor) -> Tensor:
    """What part of each state the output reads, (T, D*H).

    last: 1 at each direction's own last step; mean: 1/T; max: 1 at a unit's largest state, divided
    among equals; every: 1.
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
    """Go back through one layer and direction, from the gradient that enters above, (T, H)."""
    step_back = _STEP_BACKS.get(layer.cell, _autograd_step_back)(layer)
    dh, da, du = ([torch.empty(0)] * len(direct) for _ in range(3))
    gradients = dict.fromkeys(layer.cell.states, torch.zeros_like(direct[0]))
    for t in layer.backwards:
        # What enters from above acts on h_t alone; the other states reach it only through time.
        dh[t] = direct[t] + gradients["h"]
        da[t], du[t], gradients = step_back(t, gradients | {"h": dh[t]})
    return LayerBackward(
        layer, direct, torch.stack(dh), torch.stack(da), torch.stack(du), step_back
    )


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
    """Of a cell without equations above: one step again, and back through it by autograd.

    a and u are leaves of their own, so that their gradients come apart as da and du.
    """
    W, U, b, b_hh = (weight.detach() for weight in layer.weights)
    cell, previous = layer.cell, {name: h.detach() for name, h in layer.previous.items()}
    a_all, u_all = layer.inputs.detach() @ W.T + b, previous["h"] @ U.T + b_hh  # (T, G*H)

    def step_back(t: int, gradients: StateGradients) -> tuple[Tensor, Tensor, StateGradients]:
        # A step acts on each row of a batch alone: a row for each gradient that goes back.
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
