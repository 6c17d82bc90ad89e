"""The forward pass of one sequence, step by step, with every gate and state kept.

    e_t = x_t, or the embedding of token x_t, or numbers and embedded categories end to end
    rnn     h_t = f(W e_t + U h_{t-1} + b)                           f is tanh or relu
    gru     r_t, z_t = sigmoid(W e_t + U h_{t-1} + b)                reset, update
            n_t = tanh(W_n e_t + b_n + r_t * (U_n h_{t-1} + b'_n))   candidate
            h_t = (1 - z_t) * n_t + z_t * h_{t-1}
    lstm    i_t, f_t, o_t = sigmoid(W e_t + U h_{t-1} + b)           input, forget, output gate
            g_t = tanh(W_g e_t + U_g h_{t-1} + b_g)                  candidate
            c_t = f_t * c_{t-1} + i_t * g_t        h_t = o_t * tanh(c_t)
    y   = V read(h_1 ... h_T) + b_y                                  or y_t = V h_t + b_y

A backward direction goes from x_T to x_1: there h_{t+1} stands in the place of h_{t-1}. A layer
above the first reads both directions of the one below, end to end.

Plain torch, one sequence, no batch: a matrix times a vector, as in the equations. Autograd follows
all of it. It is tested to be what `SequenceModel` computes, and `check` compares the two.

Dimensions: T steps, C channels, I what a layer reads, H hidden, G gates, D directions, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elman.errors import ElmanError
from elman.explain.subject import Subject
from elman.models import SequenceModel

Direction = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")

# Names of what is kept, as the equations have them; of the gates in the order of their weights.
GATES = {"rnn": ("h",), "gru": ("r", "z", "n", "h"), "lstm": ("i", "f", "g", "o", "c", "h")}


@dataclass(frozen=True)
class Weights:
    """The weights of one layer and direction.

    Args:
        W: input weights, (G*H, I).
        U: recurrent weights, (G*H, H).
        b, c: biases beside W and beside U, (G*H,).
    """

    W: Tensor
    U: Tensor
    b: Tensor
    c: Tensor

    @classmethod
    def of(cls, model: SequenceModel, layer: int, direction: Direction) -> Weights:
        """Take them out of a network; layers count from 0."""
        found = [getattr(model.recurrent, name) for name in names(layer, direction)]
        return cls(*found)


@dataclass(frozen=True)
class Layer:
    """What one layer did in one direction, in the order of the sequence: row t belongs to x_t.

    Args:
        layer: counted from 0, as in torch's names of the weights.
        direction: `forward` or `backward`.
        inputs: what it read, (T, I).
        gates: by name, each (T, H), all that `GATES` lists.
        previous: the state h from which each step started, (T, H): that of the step before in the
            direction of travel, zero for the first.
    """

    layer: int
    direction: Direction
    inputs: Tensor
    gates: dict[str, Tensor]
    previous: Tensor

    @property
    def h(self) -> Tensor:
        """Hidden states, (T, H)."""
        return self.gates["h"]


@dataclass(frozen=True)
class Pass:
    """The whole forward pass of one sequence.

    Args:
        embedded: what the first layer reads, (T, I).
        layers: from the lowest up, in each the forward direction first.
        hidden: the states of the top layer, both directions end to end, (T, D*H).
        read: what the output reads, (D*H,), or (T, D*H) with an output at every step.
        outputs: logits, or values, (K,), or (T, K) with an output at every step.
    """

    embedded: Tensor
    layers: tuple[Layer, ...]
    hidden: Tensor
    read: Tensor
    outputs: Tensor


def names(layer: int, direction: Direction) -> tuple[str, str, str, str]:
    """Names of W, U and the two biases in torch's recurrent layers."""
    end = f"_l{layer}" + ("_reverse" if direction == "backward" else "")
    return f"weight_ih{end}", f"weight_hh{end}", f"bias_ih{end}", f"bias_hh{end}"


def run(model: SequenceModel, x: Tensor) -> Pass:
    """Run one sequence through the network, as in evaluation mode.

    Args:
        x: (T, C) numbers or (T,) token ids.
    """
    return run_embedded(model, embed(model, x))


def embed(model: SequenceModel, x: Tensor) -> Tensor:
    """What the first layer reads, (T, I)."""
    config = model.config
    if config.vocabulary_size:
        table: Tensor = model.embedding.weight
        return table[x]
    if config.category_sizes:
        numbers, codes = x[:, : config.input_size], x[:, config.input_size :].long()
        tables = model.embeddings.parameters()
        return torch.cat([numbers, *(w[codes[:, k]] for k, w in enumerate(tables))], -1)
    return x


def run_embedded(model: SequenceModel, embedded: Tensor) -> Pass:
    """Run what `embed` gave, (T, I), through the stack, readout and output."""
    config = model.config
    directions = DIRECTIONS[: 2 if config.bidirectional else 1]
    layers: list[Layer] = []
    e = embedded
    for layer in range(config.num_layers):
        both = [run_layer(model, e, layer, direction) for direction in directions]
        layers += both
        e = torch.cat([done.h for done in both], -1)  # (T, D*H)
    read = read_out(model, e)
    outputs = read @ model.output.weight.T + model.output.bias
    return Pass(embedded, tuple(layers), e, read, outputs)


def run_layer(model: SequenceModel, inputs: Tensor, layer: int, direction: Direction) -> Layer:
    """Run one layer in one direction over its inputs, (T, I)."""
    weights = Weights.of(model, layer, direction)
    travelled = inputs.flip(0) if direction == "backward" else inputs
    if model.config.cell == "rnn":
        gates = _rnn(weights, travelled, model.config.nonlinearity)
    else:
        gates = (_gru if model.config.cell == "gru" else _lstm)(weights, travelled)
    h = gates["h"]
    previous = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
    if direction == "backward":
        gates = {name: values.flip(0) for name, values in gates.items()}
        previous = previous.flip(0)
    return Layer(layer, direction, inputs, gates, previous)


def read_out(model: SequenceModel, hidden: Tensor) -> Tensor:
    """What the output reads of the top layer's states, (T, D*H): (D*H,), or all of them."""
    config = model.config
    if config.per_step:
        return hidden
    if config.readout == "mean":
        return hidden.mean(0)
    if config.readout == "max":
        return hidden.amax(0)
    H = config.hidden_size  # the forward direction ends at x_T, the backward one at x_1
    return torch.cat([hidden[-1, :H], hidden[0, H:]])


def check(subject: Subject, done: Pass) -> None:
    """Raise ElmanError unless the network itself gives the outputs of this pass.

    It may hold what its config does not tell: a hook, a replaced layer, a forward of a subclass.
    """
    with torch.no_grad():
        own = subject.model(subject.x, lengths=subject.lengths)[0]
        away = (own - done.outputs).abs().max()
    close = 1e-8 if own.dtype is torch.float64 else 1e-4
    if not away <= close * (1 + own.abs().max()):
        raise ElmanError(
            f"model: its own forward pass differs by {float(away):.1e} from the equations that its "
            f"config stands for ({subject.model.config.cell}, "
            f"{subject.model.config.num_layers} layers). Only a network that computes what its "
            "config says can be explained: take away hooks and replaced parts"
        )


def _rnn(weights: Weights, x: Tensor, nonlinearity: str) -> dict[str, Tensor]:
    f = torch.tanh if nonlinearity == "tanh" else torch.relu
    a = x @ weights.W.T + weights.b  # (T, H)
    h = torch.zeros_like(a[0])
    kept = []
    for a_t in a:
        h = f(a_t + weights.U @ h + weights.c)
        kept.append(h)
    return {"h": torch.stack(kept)}


def _gru(weights: Weights, x: Tensor) -> dict[str, Tensor]:
    a = x @ weights.W.T + weights.b  # (T, 3*H)
    h = torch.zeros_like(a[0].chunk(3)[0])
    kept: list[tuple[Tensor, ...]] = []
    for a_t in a:
        a_r, a_z, a_n = a_t.chunk(3)
        u_r, u_z, u_n = (weights.U @ h + weights.c).chunk(3)
        r = torch.sigmoid(a_r + u_r)
        z = torch.sigmoid(a_z + u_z)
        n = torch.tanh(a_n + r * u_n)
        h = (1 - z) * n + z * h
        kept.append((r, z, n, h))
    return _by_name("gru", kept)


def _lstm(weights: Weights, x: Tensor) -> dict[str, Tensor]:
    a = x @ weights.W.T + weights.b  # (T, 4*H)
    h = c = torch.zeros_like(a[0].chunk(4)[0])
    kept: list[tuple[Tensor, ...]] = []
    for a_t in a:
        a_i, a_f, a_g, a_o = (a_t + weights.U @ h + weights.c).chunk(4)
        i, f, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o)
        g = torch.tanh(a_g)
        c = f * c + i * g
        h = o * torch.tanh(c)
        kept.append((i, f, g, o, c, h))
    return _by_name("lstm", kept)


def _by_name(cell: str, kept: list[tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """From a tuple a step to one (T, H) a name."""
    columns = [torch.stack(column) for column in zip(*kept, strict=True)]
    return dict(zip(GATES[cell], columns, strict=True))
