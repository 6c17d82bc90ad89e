"""Backpropagation through time of one sequence, step by step and by hand.

What `recurrence` runs forward is gone through backward here, equation by equation; dx stands for
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

a_t is what stands inside a gate, W e_t + b + U h_{t-1} + b', and du_t its gradient as seen from U.
From them come the gradients of the weights, a sum over the steps of what each step contributes:

    dW = sum_t da_t e_t^T    dU = sum_t du_t h_{t-1}^T    db = sum_t da_t    db' = sum_t du_t
    de_t = W^T da_t, for the layer below or the embedding

No autograd here: it is what the tests judge this file by, besides finite differences.

Dimensions: T steps, I what a layer reads, H hidden, G gates, D directions, K outputs, S sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from elman.explain.forward import Direction, ForwardPass, LayerForward, Weights
from elman.explain.network import ExplainedSequence
from elman.models import SequenceModel

# From (t, dh, dc) to (da, du) of that step, and dh and dc of the step before; dh may be (H,) or, of
# several gradients at once, (S, H). Cells without c hand dc on as it is.
StepBack = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class LayerBackward:
    """The backward pass of one layer and direction; row t of every array belongs to x_t.

    Args:
        forward: what the layer did.
        direct: gradient that enters from above, (T, H).
        dh: dL/dh_t, all ways together, (T, H).
        da: gradient of what stands inside the gates, (T, G*H).
        du: the same as seen from U, (T, G*H); it differs for the candidate of a gru.
        step: goes back one step.
    """

    forward: LayerForward
    direct: Tensor
    dh: Tensor
    da: Tensor
    du: Tensor
    step: StepBack

    @property
    def order(self) -> Iterable[int]:
        """Steps from the last to the first, in the direction of travel."""
        return backwards(len(self.dh), self.forward.direction)


@dataclass(frozen=True)
class BackwardPass:
    """The backward pass of one sequence.

    Args:
        losses: L_t, (T,); one loss for the whole sequence stands at the last step.
        dy: gradient of the outputs as seen from each step, (T, K); of one answer, T times the same.
        share: what part of each state the output reads, (T, D*H): read = sum_t share_t * h_t.
        layers: as in the forward pass.
        embedded: gradient of what the first layer reads, (T, I).
    """

    losses: Tensor
    dy: Tensor
    share: Tensor
    layers: tuple[LayerBackward, ...]
    embedded: Tensor


def backward(subject: ExplainedSequence, done: ForwardPass) -> BackwardPass:
    """Go back from the loss to every state and input.

    Args:
        subject: with a target.
        done: its forward pass.
    """
    model = subject.model
    losses, dy = loss_and_slope(subject, done.outputs)
    dy = dy.expand(subject.steps, -1)  # (T, K)
    share = shares(model, done.hidden)
    above = share * (dy @ model.output.weight)  # (T, D*H), enters the top layer
    layers: list[LayerBackward] = []
    H = model.config.hidden_size
    D = len(done.layers) // model.config.num_layers
    for number in reversed(range(model.config.num_layers)):
        both = [
            layer_back(model, layer, above[:, d * H : (d + 1) * H])
            for d, layer in enumerate(done.layers[number * D : (number + 1) * D])
        ]
        # What this layer read was read by both of its directions.
        above = sum(
            (b.da @ Weights.of(model, number, b.forward.direction).W for b in both),
            start=torch.zeros_like(both[0].forward.inputs),
        )
        layers = both + layers
    return BackwardPass(losses, dy, share, tuple(layers), above)


def loss_and_slope(subject: ExplainedSequence, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of every step, (T,), and its gradient for the outputs, (K,) or (T, K).

    classification  L = -log softmax(y)[true]                       dy = softmax(y) - [true]
    multilabel      L = mean_k of the binary cross-entropies        dy = (sigmoid(y) - target) / K
    regression      L = mean_k (y_k - target_k)^2                   dy = 2 (y - target) / K

    Natural logarithms: cross-entropies are in nats. One loss for the sequence stands at step T.
    """
    target, K = subject.target, outputs.shape[-1]
    assert target is not None
    if subject.task == "classification":
        true = torch.nn.functional.one_hot(target, K).to(outputs)
        losses = -(true * torch.log_softmax(outputs, -1)).sum(-1)
        dy = torch.softmax(outputs, -1) - true
    elif subject.task == "multilabel":
        # -log sigmoid(y) where the label is there, -log(1 - sigmoid(y)) where not
        losses = torch.nn.functional.softplus(outputs * (1 - 2 * target)).mean(-1)
        dy = (torch.sigmoid(outputs) - target) / K
    else:
        losses = ((outputs - target) ** 2).mean(-1)
        dy = 2 * (outputs - target) / K
    if not subject.per_step:
        losses = torch.cat([losses.new_zeros(subject.steps - 1), losses[None]])
    return losses, dy


def shares(model: SequenceModel, hidden: Tensor) -> Tensor:
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


def layer_back(model: SequenceModel, layer: LayerForward, direct: Tensor) -> LayerBackward:
    """Go back through one layer and direction, from the gradient that enters above, (T, H)."""
    step = step_back(model, layer)
    dh, da, du = ([torch.empty(0)] * len(direct) for _ in range(3))
    back_h = back_c = torch.zeros_like(direct[0])
    for t in backwards(len(direct), layer.direction):
        dh[t] = direct[t] + back_h
        da[t], du[t], back_h, back_c = step(t, dh[t], back_c)
    return LayerBackward(layer, direct, torch.stack(dh), torch.stack(da), torch.stack(du), step)


def step_back(model: SequenceModel, layer: LayerForward) -> StepBack:
    """Return what goes back one step through this layer and direction."""
    weights = Weights.of(model, layer.layer, layer.direction)
    if model.config.cell == "rnn":
        return _rnn(weights, layer, model.config.nonlinearity)
    return (_gru if model.config.cell == "gru" else _lstm)(weights, layer)


def backwards(steps: int, direction: Direction) -> Iterable[int]:
    """Steps from the last to the first in the direction of travel; arrays lie as the sequence."""
    return range(steps) if direction == "backward" else reversed(range(steps))


def before(values: Tensor, direction: Direction) -> Tensor:
    """What stood one step before in the direction of travel, zero before the first, (T, H)."""
    start = torch.zeros_like(values[:1])
    if direction == "backward":
        return torch.cat([values[1:], start])
    return torch.cat([start, values[:-1]])


def _rnn(weights: Weights, layer: LayerForward, nonlinearity: str) -> StepBack:
    h = layer.h
    slope = 1 - h**2 if nonlinearity == "tanh" else (h > 0).to(h)

    def step(t: int, dh: Tensor, dc: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        da = dh * slope[t]
        return da, da, da @ weights.U, dc

    return step


def _gru(weights: Weights, layer: LayerForward) -> StepBack:
    r, z, n = (layer.gates[name] for name in ("r", "z", "n"))
    h_before = layer.previous
    u_n = (h_before @ weights.U.T + weights.c).chunk(3, -1)[2]

    def step(t: int, dh: Tensor, dc: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        da_z = dh * (h_before[t] - n[t]) * z[t] * (1 - z[t])
        da_n = dh * (1 - z[t]) * (1 - n[t] ** 2)
        da_r = da_n * u_n[t] * r[t] * (1 - r[t])
        da = torch.cat([da_r, da_z, da_n], -1)
        du = torch.cat([da_r, da_z, da_n * r[t]], -1)
        return da, du, dh * z[t] + du @ weights.U, dc

    return step


def _lstm(weights: Weights, layer: LayerForward) -> StepBack:
    i, f, g, o, c = (layer.gates[name] for name in ("i", "f", "g", "o", "c"))
    c_before = before(c, layer.direction)
    tanh_c = torch.tanh(c)

    def step(t: int, dh: Tensor, dc: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dc = dc + dh * o[t] * (1 - tanh_c[t] ** 2)
        da_i = dc * g[t] * i[t] * (1 - i[t])
        da_f = dc * c_before[t] * f[t] * (1 - f[t])
        da_g = dc * i[t] * (1 - g[t] ** 2)
        da_o = dh * tanh_c[t] * o[t] * (1 - o[t])
        da = torch.cat([da_i, da_f, da_g, da_o], -1)
        return da, da, da @ weights.U, dc * f[t]

    return step
