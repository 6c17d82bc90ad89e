"""The forward pass of one sequence, with every gate and state, in the order of its steps.

The equations are those of the cell in `elman.ops.cells`, run step by step by
`elman.models.unrolled`. `run_forward` returns differentiable tensors; `trace` returns the result
for users. `check_forward` makes sure that the network computes what the equations say.

Dimensions: T steps, C channels and categorical columns, I input size of a layer, H hidden, G blocks
of the weights, D directions, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import ElmanError, SettingsError
from elman.explain.forms import OUTPUTS, Floats, attributes_to_dict, count_of, to_array, to_frame
from elman.explain.network import ExplainedSequence, read_sequence
from elman.models import SequenceModel
from elman.models.unrolled import LayerSteps, unroll, weights_of
from elman.ops.cells import Cell, find_cell
from elman.tasks import TASKS, OutputName
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
            this direction, zero for the first.
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
        hidden: the states of the top layer, both directions concatenated, (T, D*H).
        read: input of the output layer, (D*H,), or (T, D*H) with an output at every step.
        outputs: logits, or values, (K,), or (T, K) with an output at every step.
    """

    embedded: Tensor
    layers: tuple[LayerForward, ...]
    hidden: Tensor
    read: Tensor
    outputs: Tensor


def run_forward(model: SequenceModel, x: Tensor) -> ForwardPass:
    """Run one sequence through the network as in evaluation mode; differentiable by autograd.

    Args:
        x: (T, C) numbers or (T,) token ids.
    """
    steps = unroll(model, x[None], torch.tensor([len(x)]))
    layers = tuple(_in_order_of_sequence(model, layer) for layer in steps.layers)
    top = layers[-1 - model.config.bidirectional :]
    hidden = torch.cat([layer.h for layer in top], -1)
    return ForwardPass(steps.embedded[0], layers, hidden, steps.read[0], steps.outputs[0])


def _in_order_of_sequence(model: SequenceModel, steps: LayerSteps) -> LayerForward:
    cell = model.config.cell_definition
    gates = {name: steps.over_time(name)[0] for name in cell.traced}
    previous = {}
    for name in cell.states:
        start, state = torch.zeros_like(gates[name][:1]), gates[name]
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


@dataclass(frozen=True)
class Trace:
    """The forward pass of one sequence as a result; arrays count steps from 0, texts from 1.

    Args:
        inputs: the network's input: (T, C) numbers (standardised for an estimator) followed by
            category codes, or the tokens' texts, (T,).
        channel_names: names of the C channels.
        layers: from the lowest up; in each the forward direction comes first. Computed on the whole
            sequence, as is `hidden`.
        hidden: states of the top layer, both directions concatenated, (T, D*H).
        outputs: logits, or values, (T, K). Row t is the output for x_1 ... x_t, as if the sequence
            ended there: a backward direction starts at x_t, a mean or maximum is over t steps. With
            an output at every step, row t is the output of step t for the whole sequence.
        distribution: probabilities, or values in the target's unit, (T, K), from the outputs.
        classes: names of the outputs, (K,).
        task: classification, multilabel or regression.
        per_step: whether the network has an output at every step.
        network: cell, layers and units, in words.
        categories: texts of the last channels, each (T,): whether a number is missing, and the
            values of categories.
        name: name of the sequence in its file; empty if it has none.
    """

    inputs: NDArray[Any]
    channel_names: tuple[str, ...]
    layers: tuple[LayerTrace, ...]
    hidden: Floats
    outputs: Floats
    distribution: Floats
    classes: tuple[Any, ...]
    task: OutputName
    per_step: bool
    network: str
    categories: tuple[tuple[str, ...], ...] = ()
    name: str = ""

    @property
    def steps(self) -> int:
        """Number of steps, T."""
        return len(self.outputs)

    @property
    def prediction(self) -> Floats:
        """The distribution for the whole sequence, or at the last step, (K,): the last row."""
        last: Floats = self.distribution[-1]
        return last

    @property
    def settling_step(self) -> int | None:
        """The first step, from 1, from which on the prediction no longer changes.

        The prediction is the likeliest class, or the labels with a probability above 1/2. None for
        values, and with an output at every step.
        """
        decide = OUTPUTS[self.task].decide
        if decide is None or self.per_step:
            return None
        decisions = decide(self.distribution).reshape(len(self.distribution), -1)
        same = (decisions == decisions[-1]).all(1)
        return 1 if same.all() else int(np.flatnonzero(~same)[-1]) + 2

    def plot(self) -> Figure:
        """Draw input, hidden states, gates and the prediction as it forms, over the steps."""
        from elman.plots.states import draw_trace

        return draw_trace(self)

    def plot_gates(self, layer: int = -1, direction: Direction = "forward") -> Figure:
        """Draw every gate and state of one layer and direction, unit by unit.

        Args:
            layer: from 0; -1 is the top one.
        Raises: SettingsError for a layer or direction that the network does not have.
        """
        from elman.plots.states import draw_gates

        count = self.layers[-1].layer + 1
        if not -count <= layer < count:
            raise SettingsError(f"layer: got {layer}, expected 0 to {count - 1}, or -1 for the top")
        for each in self.layers:
            if (each.layer, each.direction) == (layer % count, direction):
                return draw_gates(self, each)
        raise SettingsError(
            f"direction: got {direction!r}, but the network has no such direction. Use "
            f"{self.layers[0].direction!r}"
        )

    def to_frame(self, *, states: bool = False) -> Any:
        """Return a pandas DataFrame.

        Args:
            states: False for one row for each step, with the input and the prediction; True for one
                row for each step, layer, direction and unit, with a column for each gate and state.
        """
        step = np.arange(1, self.steps + 1)
        if not states:
            rows = {"step": step}
            if self.inputs.ndim == 1:
                rows |= {self.channel_names[0]: self.inputs}
            else:
                rows |= dict(zip(self.channel_names, self.inputs.T, strict=True))
            form = "p({})" if TASKS[self.task].has_classes else "{}"
            columns = zip(self.classes, self.distribution.T, strict=True)
            return to_frame(rows | {form.format(name): values for name, values in columns})
        units = self.layers[0].h.shape[1]
        long: dict[str, list[Any]] = {"step": [], "layer": [], "direction": [], "unit": []}
        for each in self.layers:
            count = self.steps * units
            long["step"].append(np.repeat(step, units))
            long["layer"].append(np.full(count, each.layer))
            long["direction"].append(np.full(count, each.direction))
            long["unit"].append(np.tile(np.arange(1, units + 1), self.steps))
            for name, values in each.gates.items():
                long.setdefault(name, []).append(values.ravel())
        return to_frame({name: np.concatenate(parts) for name, parts in long.items()})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: input, distribution and settling step; not the states."""
        names = ("network", "task", "inputs", "channel_names", "classes", "distribution")
        return attributes_to_dict(self, *names, "settling_step")

    def __str__(self) -> str:
        lines = [f"{self.network}; a sequence of {count_of(self.steps, 'step')}"]
        if self.per_step:
            lines.append(f"at the last step: {self._describe_step(-1)}")
        else:
            lines.append(f"prediction: {self._describe_step(-1)}")
            lines.append(f"after step 1: {self._describe_step(0)}")
        if self.settling_step is not None:
            lines.append(f"unchanged from step {self.settling_step} of {self.steps} on")
        return "\n".join(lines)

    def _describe_step(self, step: int) -> str:
        row = self.distribution[step]
        if not TASKS[self.task].has_classes:
            return ", ".join(f"{c} {v:.4g}" for c, v in zip(self.classes, row, strict=True))
        likeliest = np.argsort(-row, kind="stable")[:3]
        return ", ".join(f"{self.classes[k]} ({row[k]:.3f})" for k in likeliest)


# torch forks and joins its threads at every time step. Measured on six epochs of digits: 2.0 s with
# one thread; with two threads 2.2 s, and 44 s while another process used the second core.
@TorchThreads(1)
def trace(model: Any, sequence: Any) -> Trace:
    """Run one sequence through a network and record its gates, states and outputs.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        sequence: one sequence, in the model's input format ((T, C) numbers or (T,) token ids), or
            for an estimator in the format that its `fit` takes.
    Returns: a Trace; it prints a summary, and `.plot()` draws it.
    Raises: DataError, ShapeError or SettingsError, saying what was expected; ElmanError if the
        network computes something other than its config describes.
    """
    explained = read_sequence(model, sequence)
    network = explained.network
    with torch.no_grad():
        forward = run_forward(explained.model, explained.x[0])
        check_forward(explained, forward)
        outputs = outputs_by_step(explained, forward)
        distribution = network.distribution(outputs)
    layers = [
        LayerTrace(
            layer.layer,
            layer.direction,
            layer.cell.name,
            {name: to_array(values) for name, values in layer.gates.items()},
        )
        for layer in forward.layers
    ]
    return Trace(
        inputs=explained.inputs,
        channel_names=network.channel_names,
        layers=tuple(layers),
        hidden=to_array(forward.hidden),
        outputs=to_array(outputs),
        distribution=to_array(distribution),
        classes=network.output_names,
        task=network.model.config.task,
        per_step=explained.per_step,
        network=network.describe(),
        categories=explained.categories,
        name=explained.name,
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
