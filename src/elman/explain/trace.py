"""Everything the forward pass did with one sequence, step by step.

Dimensions: T steps, C channels, H hidden, D directions, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import SettingsError
from elman.explain.forward import Direction, ForwardPass, check_forward, run_forward
from elman.explain.frames import frame
from elman.explain.network import ExplainedSequence, Floats, read_sequence
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AT_ONCE = 2**18  # steps of a batch of beginnings: bounds the memory


@dataclass(frozen=True)
class LayerTrace:
    """What one layer did in one direction; row t of every array belongs to x_t.

    Args:
        layer: from 0, the lowest, as in torch's names of the weights.
        direction: `forward`, or `backward`, from the last step to the first.
        cell: rnn, gru or lstm.
        gates: by name, each (T, H). rnn: h. gru: r reset, z update, n candidate, h. lstm: i input,
            f forget, g candidate, o output, c cell state, h. h is the hidden state.
    """

    layer: int
    direction: Direction
    cell: str
    gates: dict[str, Floats]

    @property
    def h(self) -> Floats:
        """Hidden states, (T, H)."""
        return self.gates["h"]


@dataclass(frozen=True)
class Trace:
    """What a network did with one sequence; arrays count steps from 0, texts from 1.

    Args:
        inputs: as the network reads them: (T, C) numbers (of an estimator standardised; category
            codes behind them), or the tokens' texts, (T,).
        input_names: of the C channels.
        layers: from the lowest up, in each the forward direction first; on the whole sequence.
        hidden: states of the top layer, both directions end to end, (T, D*H); on the whole.
        outputs: logits, or values, (T, K). Row t is the answer to x_1 ... x_t, as if the sequence
            ended there: a backward direction starts at x_t, a mean or maximum runs over t steps.
            With an output at every step it is that of step t, given the whole sequence.
        distribution: from the outputs: probabilities, or values in the target's unit, (T, K).
        classes: names of the outputs, (K,).
        task: classification, multilabel or regression.
        per_step: whether there is an output at every step.
        network: cell, layers and units, in words.
    """

    inputs: NDArray[Any]
    input_names: tuple[str, ...]
    layers: tuple[LayerTrace, ...]
    hidden: Floats
    outputs: Floats
    distribution: Floats
    classes: tuple[Any, ...]
    task: str
    per_step: bool
    network: str

    @property
    def steps(self) -> int:
        """T."""
        return len(self.outputs)

    @property
    def prediction(self) -> Floats:
        """The answer to the whole sequence, or at the last step, (K,): `distribution[-1]`."""
        answer: Floats = self.distribution[-1]
        return answer

    @property
    def settling_step(self) -> int | None:
        """Step, from 1, from which on the likeliest class is the final one; None if no class is.

        Of several labels: from which on the same ones are above 1/2.
        """
        if self.task == "regression" or self.per_step:
            return None
        if self.task == "multilabel":
            same = ((self.distribution > 0.5) == (self.prediction > 0.5)).all(1)
        else:
            same = self.distribution.argmax(1) == self.prediction.argmax()
        return 1 if same.all() else int(np.flatnonzero(~same)[-1]) + 2

    def plot(self) -> Figure:
        """Draw input, hidden states, gates and the prediction as it forms, over the steps."""
        from elman.plots.explain.trace import draw_trace

        return draw_trace(self)

    def plot_gates(self, layer: int = -1, direction: Direction = "forward") -> Figure:
        """Draw every gate and state of one layer and direction, unit by unit.

        Args:
            layer: from 0; -1 is the top one.
        Raises: SettingsError for a layer or direction that the network does not have.
        """
        from elman.plots.explain.trace import draw_gates

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
            states: False for a row a step: the input, and the answer; True for a row a step, layer,
                direction and unit, with a column for each gate and state.
        """
        step = np.arange(1, self.steps + 1)
        if not states:
            rows = {"step": step}
            if self.inputs.ndim == 1:
                rows |= {self.input_names[0]: self.inputs}
            else:
                rows |= dict(zip(self.input_names, self.inputs.T, strict=True))
            form = "{}" if self.task == "regression" else "p({})"
            answers = zip(self.classes, self.distribution.T, strict=True)
            return frame(rows | {form.format(name): values for name, values in answers})
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
        return frame({name: np.concatenate(parts) for name, parts in long.items()})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: input, answers and when they settling_step; not the states."""
        return {
            "network": self.network,
            "task": self.task,
            "inputs": self.inputs.tolist(),
            "input_names": list(self.input_names),
            "classes": list(self.classes),
            "distribution": self.distribution.tolist(),
            "settling_step": self.settling_step,
        }

    def __str__(self) -> str:
        lines = [f"{self.network}; a sequence of {counted(self.steps, 'step')}"]
        if self.per_step:
            lines.append(f"at the last step: {self._answer(-1)}")
        else:
            lines.append(f"answer: {self._answer(-1)}")
            lines.append(f"after step 1: {self._answer(0)}")
        if self.settling_step is not None:
            lines.append(f"settled from step {self.settling_step} of {self.steps} on")
        return "\n".join(lines)

    def _answer(self, step: int) -> str:
        row = self.distribution[step]
        if self.task == "regression":
            return ", ".join(f"{c} {v:.4g}" for c, v in zip(self.classes, row, strict=True))
        likeliest = np.argsort(-row, kind="stable")[:3]
        return ", ".join(f"{self.classes[k]} ({row[k]:.3f})" for k in likeliest)


@TorchThreads(1)  # of many small steps more threads make long ones
def trace(model: Any, sequence: Any) -> Trace:
    """Run one sequence through a network and keep everything that it did.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        sequence: one, as the model reads it ((T, C) numbers or (T,) token ids), or for an estimator
            as its `fit` takes it.
    Returns: a Trace; it prints the gist, and `.plot()` draws it.
    Raises: DataError, ShapeError or SettingsError, saying what was expected; ElmanError if the
        network computes something else than its config says.
    """
    subject = read_sequence(model, sequence)
    with torch.no_grad():
        done = run_forward(subject.model, subject.x[0])
        check_forward(subject, done)
        outputs = as_it_forms(subject, done)
        distribution = subject.distribution(outputs)
    cell = subject.model.config.cell
    layers = [
        LayerTrace(each.layer, each.direction, cell, {n: array(g) for n, g in each.gates.items()})
        for each in done.layers
    ]
    return Trace(
        inputs=subject.inputs,
        input_names=subject.input_names,
        layers=tuple(layers),
        hidden=array(done.hidden),
        outputs=array(outputs),
        distribution=array(distribution),
        classes=subject.classes,
        task=subject.task,
        per_step=subject.per_step,
        network=described(subject),
    )


def as_it_forms(subject: ExplainedSequence, done: ForwardPass) -> Tensor:
    """Outputs as if the sequence ended at each step, (T, K); as `Trace.outputs`."""
    model, config = subject.model, subject.model.config
    if config.per_step:
        return done.outputs
    if config.bidirectional:
        return _of_beginnings(subject)
    h = done.hidden  # (T, H): in one direction, no state knows what comes later
    if config.readout == "mean":
        h = h.cumsum(0) / torch.arange(1, len(h) + 1).to(h)[:, None]
    elif config.readout == "max":
        h = h.cummax(0).values
    return h @ model.output.weight.T + model.output.bias


def _of_beginnings(subject: ExplainedSequence) -> Tensor:
    """The network's own answers to x_1, to x_1 x_2, ..., in batches, (T, K)."""
    x, steps = subject.x, subject.steps
    rows = max(1, _AT_ONCE // steps)
    found = []
    for first in range(0, steps, rows):
        lengths = torch.arange(first, min(first + rows, steps)) + 1
        longest = int(lengths[-1])
        batch = x[:, :longest].expand(len(lengths), *x[:, :longest].shape[1:])
        found.append(subject.model(batch, lengths=lengths))
    return torch.cat(found)


def described(subject: ExplainedSequence) -> str:
    """The network in a few words."""
    config = subject.model.config
    kind = config.cell.upper() + (f" ({config.nonlinearity})" if config.cell == "rnn" else "")
    return (
        f"{kind}, {counted(config.num_layers, 'layer')} of {counted(config.hidden_size, 'unit')}"
        + (" in both directions" if config.bidirectional else "")
        + f", readout {config.readout}"
    )


def counted(number: int, what: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def array(values: Tensor) -> Floats:
    """A tensor as float64 NumPy array of its own."""
    return values.detach().cpu().double().numpy().copy()
