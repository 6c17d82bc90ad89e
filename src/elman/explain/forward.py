"""The forward pass of one sequence, with every gate and state kept, laid out as the sequence lies.

The equations, and the steps that follow them, are those of `elman.models.unrolled`; `check` makes
sure that a network computes what they say.

Dimensions: T steps, C channels, I what a layer reads, H hidden, G gates, D directions, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elman.errors import ElmanError
from elman.explain.network import ExplainedSequence
from elman.models import SequenceModel
from elman.models.unrolled import LayerSteps, unroll, weight_names, weights_of

Direction = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")


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
        return cls(*weights_of(model, layer, direction == "backward"))


@dataclass(frozen=True)
class LayerForward:
    """What one layer did in one direction, in the order of the sequence: row t belongs to x_t.

    Args:
        layer: counted from 0, as in torch's names of the weights.
        direction: `forward` or `backward`.
        inputs: what it read, (T, I).
        gates: by name, each (T, H), all that `Cell.traced` lists.
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
class ForwardPass:
    """The whole forward pass of one sequence.

    Args:
        embedded: what the first layer reads, (T, I).
        layers: from the lowest up, in each the forward direction first.
        hidden: the states of the top layer, both directions end to end, (T, D*H).
        read: what the output reads, (D*H,), or (T, D*H) with an output at every step.
        outputs: logits, or values, (K,), or (T, K) with an output at every step.
    """

    embedded: Tensor
    layers: tuple[LayerForward, ...]
    hidden: Tensor
    read: Tensor
    outputs: Tensor


def names(layer: int, direction: Direction) -> tuple[str, str, str, str]:
    """Names of W, U and the two biases in torch's recurrent layers."""
    return weight_names(layer, direction == "backward")


def run_forward(model: SequenceModel, x: Tensor) -> ForwardPass:
    """Run one sequence through the network, as in evaluation mode; autograd follows all of it.

    Args:
        x: (T, C) numbers or (T,) token ids.
    """
    done = unroll(model, x[None], torch.tensor([len(x)]))
    layers = tuple(_layer(model, steps) for steps in done.layers)
    top = layers[-1 - model.config.bidirectional :]
    hidden = torch.cat([layer.h for layer in top], -1)
    return ForwardPass(done.embedded[0], layers, hidden, done.read[0], done.outputs[0])


def _layer(model: SequenceModel, steps: LayerSteps) -> LayerForward:
    gates = {name: steps.over_time(name)[0] for name in model.config.cell_definition.traced}
    start, h = torch.zeros_like(gates["h"][:1]), gates["h"]
    previous = torch.cat([h[1:], start] if steps.reverse else [start, h[:-1]])
    direction = DIRECTIONS[steps.reverse]
    return LayerForward(steps.layer, direction, steps.inputs[0], gates, previous)


def check_forward(subject: ExplainedSequence, done: ForwardPass) -> None:
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
