"""The forward pass of one sequence, with every gate and state, in the order of its steps.

The equations are those of the cell in `elman.ops.cells`, run step by step by
`elman.models.unrolled`. `run_forward` returns differentiable tensors. `check_forward` makes sure
that the network computes what the equations say.

Dimensions: T steps, C channels and categorical columns, I input size of a layer, H hidden, G blocks
of the weights, D directions, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import ElmanError
from elman.explain.forms import Floats
from elman.explain.network import ExplainedSequence
from elman.models import SequenceModel
from elman.models.static import check_static, first_states, join
from elman.models.unrolled import LayerSteps, unroll, weights_of
from elman.ops.cells import Cell, find_cell

Direction = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")

_BATCH_STEPS = 2**18  # most steps in a batch of prefixes, to bound the memory


@dataclass(frozen=True)
class LayerForward:
    """The forward pass of one layer and direction, in the order of the sequence: row t is for x_t.

    Args:
        layer: index from 0, as in torch's weight names.
        direction: `forward` or `backward`.
        cell: the cell, with its equations.
        weights: W (G*H, I), U (G*H, H) and their biases b and b', (G*H,) each.
        inputs: input of the layer, (T, I).
        gates: every gate and state in `Cell.traced`, by name, each (T, H).
        previous: the states before each step, by name, each (T, H): those of the previous step in
            this direction; for the first zero, or what static features set.
    """

    layer: int
    direction: Direction
    cell: Cell
    weights: tuple[Tensor, Tensor, Tensor, Tensor]
    inputs: Tensor
    gates: dict[str, Tensor]
    previous: dict[str, Tensor]

    @property
    def h(self) -> Tensor:
        """Hidden states, (T, H)."""
        return self.gates["h"]

    @property
    def place(self) -> tuple[int, Direction]:
        """The layer and the direction."""
        return self.layer, self.direction

    @property
    def state_size(self) -> int:
        """N, the size of all states of a step together: H, or 2*H for an lstm."""
        return len(self.cell.states) * self.h.shape[1]

    @property
    def backwards(self) -> Iterable[int]:
        """Steps in the order in which a gradient passes them: the reverse of the layer's order."""
        steps = range(len(self.h))
        return steps if self.direction == "backward" else reversed(steps)


@dataclass(frozen=True)
class ForwardPass:
    """The whole forward pass of one sequence.

    Args:
        embedded: input of the first layer, (T, I).
        layers: from the lowest up; in each layer the forward direction comes first.
        readout: what the readout returns, (D*H,) or (T, D*H).
        hidden: the states of the top layer, both directions concatenated, (T, D*H).
        read: input of the output layer, (D*H,), or (T, D*H) with an output at every step.
        outputs: logits, or values, (K,), or (T, K) with an output at every step.
    """

    embedded: Tensor
    layers: tuple[LayerForward, ...]
    hidden: Tensor
    readout: Tensor
    read: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class LayerTrace:
    """Gates and states of one layer and direction; row t of every array belongs to x_t.

    Args:
        layer: index from 0, the lowest, as in torch's weight names.
        direction: `forward`, or `backward`, which runs from the last step to the first.
        cell: name of the cell.
        gates: every gate and state by name, each (T, H). rnn: h. gru: r reset, z
            update, n candidate, h. lstm: i input, f forget, g candidate, o output, c cell state, h.
            h is the hidden state.
    """

    layer: int
    direction: Direction
    cell: str
    gates: dict[str, Floats]

    @property
    def h(self) -> Floats:
        """Hidden states, (T, H)."""
        return self.gates["h"]

    @property
    def sigmoid_gates(self) -> tuple[str, ...]:
        """Names of the gates with values between 0 (closed) and 1 (open)."""
        cell = find_cell(self.cell)
        return tuple(name for name in cell.gates if cell.activations.get(name) == "sigmoid")

    @property
    def gate_ends(self) -> Mapping[str, tuple[str, str]]:
        """What each sigmoid gate does at 0 and at 1, in words, as far as the cell says it."""
        return find_cell(self.cell).gate_ends


def run_forward(model: SequenceModel, x: Tensor) -> ForwardPass:
    """Run one sequence through the network as in evaluation mode; differentiable by autograd.

    Args:
        x: (T, C) numbers or (T,) token ids.
    """
    steps = unroll(model, x[None], torch.tensor([len(x)]))
    layers = tuple(_in_order_of_sequence(model, layer) for layer in steps.layers)
    top = layers[-1 - model.config.bidirectional :]
    hidden = torch.cat([layer.h for layer in top], -1)
    ends = steps.readout[0], steps.read[0], steps.outputs[0]
    return ForwardPass(steps.embedded[0], layers, hidden, *ends)


def _in_order_of_sequence(model: SequenceModel, steps: LayerSteps) -> LayerForward:
    cell = model.config.cell_definition
    gates = {name: steps.over_time(name)[0] for name in cell.traced}
    previous = {}
    place = steps.layer * (1 + model.config.bidirectional) + steps.reverse
    first = first_states(model, check_static(model, steps.inputs, None))
    starts = dict(zip(cell.initial_states, (state[place] for state in first), strict=False))
    for name in cell.states:
        start = starts.get(name, torch.zeros_like(gates[name][:1]))
        state = gates[name]
        previous[name] = torch.cat([state[1:], start] if steps.reverse else [start, state[:-1]])
    W, U, b, b_hh = weights_of(model, steps.layer, steps.reverse)
    return LayerForward(
        steps.layer,
        DIRECTIONS[steps.reverse],
        cell,
        (W, U, b, b_hh),
        steps.inputs[0],
        gates,
        previous,
    )


def check_forward(sequence: ExplainedSequence, forward: ForwardPass) -> None:
    """Raise ElmanError unless the network itself returns the outputs of this pass.

    A hook, a replaced layer or an overridden forward can make it compute something that its config
    does not describe.
    """
    config = sequence.model.config
    with torch.no_grad():
        outputs = sequence.model(sequence.x, lengths=sequence.lengths)[0]
        difference = (outputs - forward.outputs).abs().max()
    # The kernels sum in a different order than these equations, so rounding errors differ.
    tolerance = 1e-8 if outputs.dtype is torch.float64 else 1e-4
    if not difference <= tolerance * (1 + outputs.abs().max()):
        raise ElmanError(
            f"model: its own forward pass differs by {float(difference):.1e} from the equations of "
            f"its config ({config.cell}, {config.num_layers} layers). Only a network that computes "
            "what its config says can be explained: remove hooks and replaced parts"
        )


def outputs_by_step(explained: ExplainedSequence, forward: ForwardPass) -> Tensor:
    """Outputs as if the sequence ended at each step, (T, K); see `Trace.outputs`."""
    model, config = explained.model, explained.model.config
    if config.per_step:
        return forward.outputs
    if config.bidirectional:  # all backward states depend on the step at which the sequence ends
        return _outputs_of_prefixes(explained)
    h = forward.hidden  # (T, H): in one direction, no state depends on later steps
    if config.readout == "mean":
        h = h.cumsum(0) / torch.arange(1, len(h) + 1).to(h)[:, None]
    elif config.readout == "max":
        h = h.cummax(0).values
    h = join(model, h, check_static(model, h[:1], None))
    return h @ model.output.weight.T + model.output.bias


def _outputs_of_prefixes(explained: ExplainedSequence) -> Tensor:
    """Outputs of the network for every prefix of the sequence, computed in batches, (T, K)."""
    x, steps = explained.x, explained.steps
    rows = max(1, _BATCH_STEPS // steps)
    outputs = []
    for first in range(0, steps, rows):
        lengths = torch.arange(first, min(first + rows, steps)) + 1
        longest = int(lengths[-1])
        batch = x[:, :longest].expand(len(lengths), *x[:, :longest].shape[1:])
        outputs.append(explained.model(batch, lengths=lengths))
    return torch.cat(outputs)


def order_by_peak(values: Floats, units: int) -> NDArray[np.int64]:
    """Order units by the step of their largest absolute value, (D*H,), within each direction.

    Args:
        values: (T, D*H).
        units: H.
    """
    sizes = np.abs(values)
    peak, direction = sizes.argmax(0), np.arange(sizes.shape[1]) // units
    order: NDArray[np.int64] = np.lexsort((-sizes.max(0), peak, direction))
    return order
