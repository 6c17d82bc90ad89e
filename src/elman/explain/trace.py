"""The states, gates and predictions of one sequence as a result.

    votes of unit j for output k at step t    V_kj h_tj, so that sum_j V_kj h_tj + b_k is the output

Dimensions: T steps, C channels, H hidden units, D directions, K outputs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.errors import SettingsError
from elman.explain.forms import (
    OUTPUTS,
    Floats,
    attributes_to_dict,
    check_name,
    count_of,
    to_array,
    to_frame,
)
from elman.explain.forward import (
    Direction,
    LayerTrace,
    check_forward,
    order_by_peak,
    outputs_by_step,
    run_forward,
)
from elman.explain.network import read_sequence
from elman.models.static import effective_weight
from elman.tasks import TASKS, OutputName
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        target: the true label if one was passed: the class code, (); (K,) with 1 for each label
            that applies; (K,) values in the target's unit; with an output at every step (T,) or
            (T, K).
        output_weight: V or `models.static.effective_weight`, (K, D*H), in the target's unit.
        read: what the readout returns, (D*H,); with an output at every step, at the last step.
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
    target: NDArray[Any] | None
    output_weight: Floats
    read: Floats
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

    @property
    def predicted(self) -> NDArray[Any] | None:
        """The prediction in the form of `target`; None for numbers."""
        decide = OUTPUTS[self.task].decide
        if decide is None:
            return None
        decisions = decide(self.distribution)
        chosen: NDArray[Any] = decisions if self.per_step else decisions[-1]
        return chosen

    @functools.cached_property
    def is_wrong(self) -> NDArray[np.bool_] | None:
        """Whether the predicted class or labels differ from the true ones, () or (T,).

        None without a label, and for numbers. A step that is not labelled is not wrong.
        """
        predicted = self.predicted
        if self.target is None or predicted is None:
            return None
        wrong: NDArray[np.bool_] = np.asarray((predicted != self.target) & (self.target >= 0))
        return wrong if TASKS[self.task].single_label else np.asarray(wrong.any(-1))

    def votes(self, name: Any) -> Floats:
        """What each unit adds to an output if the output layer reads one step alone, (T, D*H).

        The vote of unit j at step t is V_kj h_tj; the votes of a step and the bias add up to the
        output: the logit of a class or label, or a number in the target's unit. All classes can
        share a part of their votes, which cancels in the softmax.

        Args:
            name: one of `classes`.
        Raises: DataError for a name that does not exist.
        """
        index = check_name("name", name, self.classes, "one of")
        votes: Floats = self.hidden * self.output_weight[index]
        return votes

    def shown_votes(self) -> list[tuple[str, Floats]]:
        """The votes in the figure, with what they are for: for the predicted class, and the true
        one if it is another; for several labels and numbers, where the prediction is most wrong."""
        final, target = self.prediction, self.target
        if not TASKS[self.task].has_classes:
            error = 0.0 if target is None else np.abs(final - target[-1 if self.per_step else ...])
            worst = int(np.argmax(np.nan_to_num(np.broadcast_to(error, final.shape))))
            return [(str(self.classes[worst]), self.hidden * self.output_weight[worst])]
        if not TASKS[self.task].single_label:
            shown = {int(final.argmax()): "likeliest"}
            last = final > 0.5 if target is None else target[-1] if self.per_step else target
            if ((final > 0.5) != last).any():
                worst = int(np.abs(final - last).argmax())
                word = "missed" if last[worst] else "wrongly predicted"
                shown[worst] = f"{shown[worst]} and {word}" if worst in shown else word
            return [
                (f"{self.classes[k]}, {why}", self.hidden * self.output_weight[k])
                for k, why in shown.items()
            ]
        predicted = np.asarray(self.predicted)
        shown_codes = [(predicted, "predicted")]
        if target is not None and bool(np.any(self.is_wrong)):
            shown_codes.append((np.where(target < 0, predicted, target), "true"))
        return [
            (
                f"the {why} class of each step" if self.per_step else f"{self.classes[k]}, {why}",
                self.hidden * self.output_weight[k],
            )
            for k, why in shown_codes
        ]

    @functools.cached_property
    def unit_order(self) -> NDArray[np.int64]:
        """Units of the top layer, (D*H,), by the step at which their vote is largest.

        The vote is that for the predicted class, of either sign. The forward direction is first.
        """
        return order_by_peak(self.shown_votes()[0][1], self.layers[0].h.shape[1])

    def plot(self) -> Figure:
        """Draw input, states, votes, gates and the prediction as it forms, over the steps."""
        from elman.plots.trace import draw_trace

        return draw_trace(self)

    def plot_gates(self, layer: int = -1, direction: Direction = "forward") -> Figure:
        """Draw every gate and state of one layer and direction, unit by unit.

        Args:
            layer: from 0; -1 is the top one.
        Raises: SettingsError for a layer or direction that the network does not have.
        """
        from elman.plots.trace import draw_gates

        count = self.layers[-1].layer + 1
        if not -count <= layer < count:
            raise SettingsError(f"layer: got {layer}, expected 0 to {count - 1}, or -1 for the top")
        for each in self.layers:
            if (each.layer, each.direction) == (layer % count, direction):
                return draw_gates(self, each, order_by_peak(each.h, each.h.shape[1]))
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
            rows: dict[str, Any] = {"step": step}
            if self.inputs.ndim == 1:
                rows |= {self.channel_names[0]: self.inputs}
            else:
                rows |= dict(zip(self.channel_names, self.inputs.T, strict=True))
                first = len(self.channel_names) - len(self.categories)
                rows |= dict(zip(self.channel_names[first:], self.categories, strict=True))
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
        """JSON-ready: input, distribution, label and settling step; not the states."""
        names = ("network", "task", "inputs", "channel_names", "classes", "distribution", "target")
        return attributes_to_dict(self, *names, "settling_step")

    def __str__(self) -> str:
        lines = [f"{self.network}; a sequence of {count_of(self.steps, 'step')}"]
        if self.per_step:
            lines.append(f"at the last step: {self._describe_step(-1)}")
        else:
            lines.append(f"prediction: {self._describe_step(-1)}")
            lines.append(f"after step 1: {self._describe_step(0)}")
        if self.target is not None:
            lines.insert(2, self._describe_target(self.target))
        if self.settling_step is not None:
            lines.append(
                f"the prediction is the same from step {self.settling_step} of {self.steps} on"
            )
        lines.append(self._describe_votes())
        return "\n".join(lines)

    def _describe_step(self, step: int) -> str:
        row = self.distribution[step]
        if not TASKS[self.task].has_classes:
            return ", ".join(f"{c} {v:.4g}" for c, v in zip(self.classes, row, strict=True))
        likeliest = np.argsort(-row, kind="stable")[:3]
        return ", ".join(f"{self.classes[k]} ({row[k]:.3f})" for k in likeliest)

    def _describe_target(self, target: NDArray[Any]) -> str:
        wrong = self.is_wrong
        if wrong is None:
            return self._describe_error(target)
        if self.per_step:
            places = np.flatnonzero(wrong)
            if not len(places):
                return f"all {count_of(self.steps, 'step')} are predicted correctly"
            named = ", ".join(self._describe_wrong_step(int(t), target) for t in places[:5])
            more = f" and {len(places) - 5} more" if len(places) > 5 else ""
            verb = "is" if len(places) == 1 else "are"
            return f"{len(places):,} of {count_of(self.steps, 'step')} {verb} wrong: {named}{more}"
        if TASKS[self.task].single_label:
            code = int(target)
            rank = 1 + int((self.prediction > self.prediction[code]).sum())
            verdict = f"the prediction is wrong; the true class is number {rank} by probability"
            return f"true: {self.classes[code]} ({self.prediction[code]:.3f}): " + (
                verdict if wrong else "the prediction is correct"
            )
        predicted = np.asarray(self.predicted)
        parts = [f"true: {self._list_classes(target == 1)}"]
        for what, mask in (
            ("missed", (target == 1) & ~predicted),
            ("wrongly predicted", (target == 0) & predicted),
        ):
            parts += [f"{what}: {self._list_classes(mask)}"] if mask.any() else []
        return "; ".join(parts if wrong else [*parts, "all labels are correct"])

    def _list_classes(self, mask: NDArray[np.bool_]) -> str:
        listed = [
            f"{self.classes[k]} ({self.prediction[k]:.3f})" for k in np.flatnonzero(mask).tolist()
        ]
        return ", ".join(listed) or "none"

    def _describe_wrong_step(self, t: int, target: NDArray[Any]) -> str:
        if not TASKS[self.task].single_label:
            return f"step {t + 1}"
        row, true = self.distribution[t], int(target[t])
        said = int(row.argmax())
        return (
            f"step {t + 1} (true {self.classes[true]} {row[true]:.3f}, predicted "
            f"{self.classes[said]} {row[said]:.3f})"
        )

    def _describe_error(self, target: NDArray[Any]) -> str:
        if not self.per_step:
            values = zip(self.classes, target, self.prediction - target, strict=True)
            return ", ".join(f"true: {c} {v:.4g}, error {e:+.4g}" for c, v, e in values)
        errors = np.nan_to_num(self.distribution - target)
        t, k = (int(i) for i in np.unravel_index(np.abs(errors).argmax(), errors.shape))
        return (
            f"largest error at step {t + 1}: true {self.classes[k]} {target[t, k]:.4g}, error "
            f"{errors[t, k]:+.4g}"
        )

    def _describe_votes(self) -> str:
        """The units that add most to the predicted output, in what the output layer reads."""
        k = int(self.prediction.argmax()) if TASKS[self.task].has_classes else 0
        votes = self.read * self.output_weight[k]
        order = np.argsort(-np.abs(votes), kind="stable")[:4]
        units = ", ".join(f"{self._name_unit(int(i))} {votes[i]:+.3g}" for i in order)
        what = "logit of " if TASKS[self.task].has_classes else ""
        when = " at the last step" if self.per_step else ""
        return f"votes of the units for the {what}{self.classes[k]}{when}: {units}"

    def _name_unit(self, index: int) -> str:
        units = self.layers[0].h.shape[1]
        side = ("", " backward")[index // units] if len(self.hidden[0]) > units else ""
        return f"unit {index % units + 1}{side}"


# torch forks and joins its threads at every time step. Measured on six epochs of digits: 2.0 s with
# one thread; with two threads 2.2 s, and 44 s while another process used the second core.
@TorchThreads(1)
def trace(model: Any, sequence: Any, label: Any = None) -> Trace:
    """Run one sequence through a network and record its gates, states and outputs.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        sequence: one sequence, in the model's input format ((T, C) numbers or (T,) token ids), or
            for an estimator in the format that its `fit` takes.
        label: its true label, if it is known: summary and figure then show the true class next to
            the predicted one, and what is wrong. In the format of `bptt`.
    Returns: a Trace; it prints a summary, and `.plot()` draws it.
    Raises: DataError, ShapeError or SettingsError, saying what was expected; ElmanError if the
        network computes something other than its config describes.
    """
    explained = read_sequence(model, sequence, label)
    network = explained.network
    with torch.no_grad():
        forward = run_forward(explained.model, explained.x[0])
        check_forward(explained, forward)
        outputs = outputs_by_step(explained, forward)
        distribution = network.distribution(outputs)
        target = explained.target
        if target is not None and not network.has_classes:
            target = target * network.scale + network.mean
        at = -1 if explained.per_step else slice(None)
        weight = effective_weight(explained.model, forward.read[at]) * network.scale[:, None]
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
        target=None if target is None else target.cpu().numpy(),
        output_weight=to_array(weight),
        read=to_array(forward.readout[at]),
        task=network.model.config.task,
        per_step=explained.per_step,
        network=network.describe(),
        categories=explained.categories,
        name=explained.name,
    )
