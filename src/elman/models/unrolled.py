"""The standard model's forward pass step by step, with every sum, gate and state.

    e_t = x_t, or the embedding of token x_t, or numbers and embedded categories, concatenated
    h_t = the state of the cell after step(W e_t + b, U h_{t-1} + b')       see ops/cells.py
    y   = V readout(h_1 ... h_T) + b_y                                      or y_t = V h_t + b_y

Static features enter as `elman.models.static` says.

A backward direction runs from x_T to x_1 and reads h_{t+1} where a forward one reads h_{t-1}. A
layer above the first reads the concatenated directions of the layer below.

This computes the same as the kernels, in plain torch and in evaluation mode. It serves to explain a
network and is too slow to train one. Autograd follows all operations. A row that has ended keeps
its state for the remaining steps of the batch.

Dimensions: B batch, T time, I input of a layer, H hidden, D directions, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from elman.models.carry import Carry
from elman.models.model import PADDING, SequenceModel
from elman.models.static import check_static, first_states, join
from elman.ops.reference import Step, run_steps


@dataclass(frozen=True)
class LayerSteps:
    """Inputs and steps of one layer in one direction.

    Args:
        layer: counted from 0, as in torch's names of the weights.
        reverse: whether it runs from each row's last step to its first.
        inputs: input of the layer, (B, T, I).
        steps: steps in the order of computation.
    """

    layer: int
    reverse: bool
    inputs: Tensor
    steps: list[Step] = field(default_factory=list)

    def over_time(self, name: str) -> Tensor:
        """Return a gate or state by name, (B, T, H), in the order of the sequence."""
        ordered = sorted(self.steps, key=lambda step: step.t)
        return torch.stack([{**step.gates, **step.states}[name] for step in ordered], 1)


@dataclass(frozen=True)
class Unrolled:
    """A whole forward pass.

    Args:
        mask: True at the valid steps of each row, (B, T).
        embedded: input of the first layer, (B, T, I).
        layers: layers from the lowest up, each with the forward direction first.
        readout: what the readout returns, (B, D*H), or (B, T, D*H) with an output at every step.
        read: input of the output layer: the readout, and the static features that are joined to it.
        outputs: logits or values, (B, K) or (B, T, K).
    """

    mask: Tensor
    embedded: Tensor
    layers: list[LayerSteps]
    readout: Tensor
    read: Tensor
    outputs: Tensor


def unroll(
    model: SequenceModel,
    x: Tensor,
    lengths: Tensor,
    static: Tensor | None = None,
    carry: Carry | None = None,
) -> Unrolled:
    """Run a batch through a model as in evaluation mode; autograd follows it.

    Args:
        x: numbers, (B, T, C), or token ids, (B, T).
        lengths: valid steps of each row, (B,), from 1 to T.
        static: features of each row, (B, S), or None.
        carry: the states before x, if its rows are parts of sequences; it is not changed.
    """
    mask = torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]  # (B, T)
    return unroll_embedded(model, embed(model, x, mask), mask, static, carry)


def unroll_embedded(
    model: SequenceModel,
    embedded: Tensor,
    mask: Tensor,
    static: Tensor | None = None,
    carry: Carry | None = None,
) -> Unrolled:
    """Run what `embed` returns, (B, T, I), through the stack, readout and output."""
    static = check_static(model, embedded, static)
    layers: list[LayerSteps] = []
    below = embedded
    for layer in range(model.config.num_layers):
        directions = []
        for reverse in (False, True)[: 1 + model.config.bidirectional]:
            steps = list(steps_of_layer(model, layer, reverse, below, mask, static, carry))
            layers.append(LayerSteps(layer, reverse, below, steps))
            # `run_steps` keeps the last state past a row's end; y of a layer is zero there.
            states = layers[-1].over_time("h")
            directions.append(torch.where(mask[:, :, None], states, 0.0))
        below = torch.cat(directions, -1)  # (B, T, D*H)
    readout = read_out(model, below, mask)
    read = join(model, readout, static)
    # Uses the weights instead of calling the module, because hooks are not part of the equations.
    outputs = functional.linear(read, model.output.weight, model.output.bias)
    return Unrolled(mask, embedded, layers, readout, read, outputs)


def embed(model: SequenceModel, x: Tensor, mask: Tensor) -> Tensor:
    """Input of the first layer, (B, T, I); zeros or the padding embedding past each row's end."""
    config = model.config
    if config.vocabulary_size:
        return functional.embedding(torch.where(mask, x, PADDING), model.embedding.weight)
    x = torch.where(mask[:, :, None], x, 0.0)
    if not config.category_sizes:
        return x
    codes = x[:, :, config.input_size :].long()
    tables = model.embeddings.parameters()
    parts = [functional.embedding(codes[:, :, k], w) for k, w in enumerate(tables)]
    return torch.cat([x[:, :, : config.input_size], *parts], -1)


def read_out(model: SequenceModel, y: Tensor, mask: Tensor) -> Tensor:
    """Compute the readout from the states y, (B, T, D*H), zero past each end."""
    config = model.config
    if config.per_step:
        return y
    lengths = mask.sum(1)
    if config.readout == "mean":
        return y.sum(1) / lengths[:, None].to(y)
    if config.readout == "max":
        # -inf, because the zeros of padding would exceed negative states.
        return torch.where(mask[:, :, None], y, -torch.inf).amax(1)
    # h_n of each direction: forward after a row's last step, backward after its first.
    rows = torch.arange(len(y), device=y.device)
    ends = [y[rows, lengths - 1, : config.hidden_size], y[:, 0, config.hidden_size :]]
    return torch.cat(ends, -1)


def weight_names(layer: int, reverse: bool) -> tuple[str, str, str, str]:
    """Names of W, U and the two biases in torch's recurrent layers."""
    end = f"l{layer}{'_reverse' if reverse else ''}"
    return f"weight_ih_{end}", f"weight_hh_{end}", f"bias_ih_{end}", f"bias_hh_{end}"


def weights_of(model: SequenceModel, layer: int, reverse: bool) -> tuple[Tensor, ...]:
    """W (G*H, I), U (G*H, H) and their biases b and c, (G*H,), of one layer and direction."""
    return tuple(getattr(model.recurrent, name) for name in weight_names(layer, reverse))


def steps_of_layer(
    model: SequenceModel,
    layer: int,
    reverse: bool,
    inputs: Tensor,
    mask: Tensor,
    static: Tensor | None = None,
    carry: Carry | None = None,
) -> Iterator[Step]:
    """Run one layer in one direction step by step.

    Args:
        inputs: input of the layer, (B, T, I), finite past each row's end.
        mask: True at the valid steps of each row, (B, T).
        static: features of each row, (B, S), or None.
        carry: the states of all layers before the steps; None for the first ones of sequences.
    """
    cell = model.config.cell_definition
    W, U, b, c = weights_of(model, layer, reverse)
    start = inputs.new_zeros(len(inputs), model.config.hidden_size)
    states = dict.fromkeys(cell.states, start)
    place = layer * (1 + model.config.bidirectional) + reverse
    features = check_static(model, inputs, static)
    own = first_states(model, features)
    first = [state[place] for state in (own if carry is None else carry.first(own))]
    states |= dict(zip(cell.initial_states, first, strict=False))
    return run_steps(cell, inputs @ W.T + b, U, c, states, mask, reverse)
