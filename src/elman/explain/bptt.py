"""Backpropagation through time as a result: where a gradient comes from and how far it reaches.

Dimensions: T steps, H hidden, D directions, K outputs; a parameter is (m, n) or (m,).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import SettingsError, nearest
from elman.explain.backward import BackwardPass, gradient_by_lag, jacobian_norms, run_backward
from elman.explain.forms import Floats, attributes_to_dict, count_of, to_array, to_frame, to_json
from elman.explain.network import ExplainedSequence, read_sequence
from elman.explain.trace import Direction, check_forward, run_forward
from elman.models.unrolled import weight_names
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Place = tuple[int, Direction]  # a layer, from 0, and a direction

# Norm of a gradient at the longest lag relative to that at lag 0: below the first threshold the
# gradient has vanished, above the second it has exploded, between them it is carried.
VANISHED, EXPLODED = 0.01, 100.0
# Most multiplications for Jacobians that a figure computes by default: seconds on one core.
_MAX_PRODUCTS = 10**10


@dataclass(frozen=True)
class Contribution:
    """What every step contributes to the gradient of one parameter, in O(T*(m+n)) numbers.

    The contributions themselves would take O(T*m*n), so their factors are stored.

    Args:
        letter: the parameter's letter in the equations: W, U, V, b_h, b_y or E, the embeddings.
        shape: shape of the parameter.
        left: left factor, (T, m).
        right: right factor, (T, n), for a matrix: step t contributes the outer product of left_t
            and right_t. None for a bias: step t contributes left_t.
        rows: (T,), for an embedding table: step t contributes left_t to row rows_t; else None.
    """

    letter: str
    shape: tuple[int, ...]
    left: Tensor
    right: Tensor | None = None
    rows: Tensor | None = None

    def at(self, step: int) -> Tensor:
        """The contribution of one step, in the shape of the parameter."""
        if self.rows is not None:
            contribution = self.left.new_zeros(self.shape)
            contribution[self.rows[step]] = self.left[step]
            return contribution
        if self.right is None:
            return self.left[step]
        return torch.outer(self.left[step], self.right[step])

    def norms(self) -> Tensor:
        """Frobenius norm of each step's contribution, (T,); |left| |right| for an outer product."""
        sizes = self.left.square().sum(1).sqrt()
        return sizes if self.right is None else sizes * self.right.square().sum(1).sqrt()

    def total(self) -> Tensor:
        """The gradient: the sum of all contributions."""
        if self.rows is not None:
            return self.left.new_zeros(self.shape).index_add(0, self.rows, self.left)
        if self.right is None:
            return self.left.sum(0)
        total: Tensor = self.left.T @ self.right
        return total


@dataclass(frozen=True)
class Bptt:
    """Backpropagation through time of one sequence; arrays count steps from 0, texts from 1.

    Layers count from 0; directions are `forward` and `backward`; row t of an array belongs to x_t
    in both. Parameters have torch's names: `weight_ih_l0` for W, `weight_hh_l0` for U, `bias_ih_l0`
    and `bias_hh_l0` for b_h, each with `_reverse` in the backward direction; `output.weight` for V,
    `output.bias` for b_y; `embedding.weight`, or `embeddings.0.weight` for categories.

    Args:
        losses: L_t, (T,): one for each output; with one output a sequence, its loss is at step T.
        dh: dL/dh_t of each layer and direction, (T, H), in nats per unit of h; for an lstm with c_t
            held fixed.
        gradient_by_lag: mean gradient norm by time lag, (T,). The lag, 0 to T-1, counts steps back
            from the step at which a gradient enters the layer; the mean is over these steps. For an
            lstm the norm is of (h, c) together. NaN at lags that no gradient reaches.
        remaining: the norm relative to that at lag 0, (T,); 1 at lag 0.
        sources: number of entering gradients that were followed in each layer; at most 64.
        inputs, channel_names, categories, name: as in a Trace.
        network: cell, layers and units, in words.
        unit: unit of the loss: nats, or squared deviations for a regression.
        contributions: the contributions to the gradient of every parameter, by name.
        backward_pass: the gradients of all states and inputs, as tensors.
    """

    losses: Floats
    dh: dict[Place, Floats]
    gradient_by_lag: dict[Place, Floats]
    remaining: dict[Place, Floats]
    sources: dict[Place, int]
    inputs: NDArray[Any]
    channel_names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    name: str
    network: str
    unit: str
    contributions: dict[str, Contribution] = field(repr=False)
    backward_pass: BackwardPass = field(repr=False)

    @property
    def steps(self) -> int:
        """Number of steps, T."""
        return len(self.losses)

    @property
    def loss(self) -> float:
        """L, the sum of all L_t."""
        return float(self.losses.sum())

    @property
    def letters(self) -> dict[str, str]:
        """The letter of each parameter in the equations: W, U, V, b_h, b_y, or E for embeddings."""
        return {name: each.letter for name, each in self.contributions.items()}

    def contribution(self, name: str, step: int) -> Floats:
        """The contribution of one step to the gradient of a parameter, in the parameter's shape.

        Args:
            name: one of `gradients`.
            step: from 0; -1 is the last.
        Raises: SettingsError for a name or step that does not exist.
        """
        if name not in self.contributions:
            raise SettingsError(
                f"name: got {name!r}, expected one of {', '.join(self.contributions)}."
                + nearest(name, self.contributions)
            )
        if not -self.steps <= step < self.steps:
            raise SettingsError(f"step: got {step}, expected 0 to {self.steps - 1}")
        return to_array(self.contributions[name].at(step))

    @property
    def dh_norms(self) -> dict[Place, Floats]:
        """|dL/dh_t| of each layer and direction, (T,)."""
        with np.errstate(over="ignore"):  # a gradient that exploded may overflow
            return {place: np.sqrt((dh * dh).sum(1)) for place, dh in self.dh.items()}

    @functools.cached_property
    def contribution_norms(self) -> dict[str, Floats]:
        """Frobenius norm of every step's contribution, by parameter, (T,)."""
        return {name: to_array(each.norms()) for name, each in self.contributions.items()}

    @functools.cached_property
    def gradients(self) -> dict[str, Floats]:
        """Gradient of the loss for every parameter: the sum of the contributions of all steps."""
        return {name: to_array(each.total()) for name, each in self.contributions.items()}

    @functools.cached_property
    def jacobian_norms(self) -> dict[Place, Floats]:
        """Largest singular value of d(state_t)/d(state_{t-1}), (T,), by layer and direction.

        It is the largest factor by which a step can grow a gradient. The state of an lstm is
        (h, c). Computed on first access: T decompositions of (H, H), or (2*H, 2*H) for an lstm.
        """
        return {
            layer.forward.place: to_array(jacobian_norms(layer))
            for layer in self.backward_pass.layers
        }

    @property
    def verdicts(self) -> dict[Place, str]:
        """`vanishes`, `explodes` or `carries`, by layer and direction.

        Decided by `remaining` at the longest lag: below 0.01, above 100, or between. `no gradient`
        if no gradient enters the layer; `single step` if the longest lag is 0.
        """
        return {place: self._verdict(place) for place in self.remaining}

    def _verdict(self, place: Place) -> str:
        if not self.sources[place]:
            return "no gradient"
        lag = self.longest_lag(place)
        if lag == 0:
            return "single step"
        left = self.remaining[place][lag]
        return "vanishes" if left < VANISHED else "explodes" if left > EXPLODED else "carries"

    def longest_lag(self, place: Place) -> int:
        """The longest time lag, in steps, that a gradient reaches in this layer and direction."""
        return int(np.flatnonzero(~np.isnan(self.remaining[place]))[-1])

    def rate(self, place: Place) -> float:
        """Geometric mean of the factors by which a step back multiplies the gradient norm."""
        lag = self.longest_lag(place)
        return float(self.remaining[place][lag] ** (1 / lag)) if lag else 1.0

    @property
    def verdict(self) -> str:
        """A line for each layer and direction: does the gradient vanish, explode or carry?"""
        lines = []
        for place, word in self.verdicts.items():
            line = f"layer {place[0]}, {place[1]}: {word}"
            if word in ("vanishes", "explodes", "carries"):
                lag = self.longest_lag(place)
                line += (
                    f": after {count_of(lag, 'step')} back {self.remaining[place][lag]:.2g} of "
                    f"the gradient is left, x {self.rate(place):.3f} a step"
                )
            lines.append(line)
        return "\n".join(lines)

    def plot(self, *, jacobians: bool | None = None) -> Figure:
        """Draw, over the steps: the input, dL/dh, the Jacobians, each step's contributions.

        Args:
            jacobians: whether to draw `jacobian_norms`; None draws them if they take no more than
                seconds (for 100 steps with 256 numbers of state, but not for 2,000 steps).
        """
        from elman.plots.gradients import draw_bptt

        if jacobians is None:
            layers = self.backward_pass.layers
            products = len(layers) * self.steps * layers[0].forward.state_size ** 3
            jacobians = products < _MAX_PRODUCTS
        return draw_bptt(self, self.jacobian_norms if jacobians else None)

    def plot_by_lag(self) -> Figure:
        """Draw the gradient's norm against the time lag, on a logarithmic axis."""
        from elman.plots.gradients import draw_by_lag

        return draw_by_lag(self)

    def to_frame(self, *, by: str = "step") -> Any:
        """Return a pandas DataFrame.

        Args:
            by: `step` for a row for each step, with the loss, |dL/dh| of each layer and direction,
                and the norm of the step's contribution to each parameter's gradient; `lag` for a
                row for each lag, layer and direction, with `norm` and `remaining`.
        """
        if by == "lag":
            places, count = list(self.gradient_by_lag), self.steps
            return to_frame(
                {
                    "layer": np.repeat([layer for layer, _ in places], count),
                    "direction": np.repeat([direction for _, direction in places], count),
                    "lag": np.tile(np.arange(count), len(places)),
                    "norm": np.concatenate([self.gradient_by_lag[p] for p in places]),
                    "remaining": np.concatenate([self.remaining[p] for p in places]),
                }
            )
        if by != "step":
            raise SettingsError(f"by: got {by!r}, expected 'step' or 'lag'")
        columns: dict[str, Any] = {"step": np.arange(1, self.steps + 1), "loss": self.losses}
        for (layer, direction), norms in self.dh_norms.items():
            columns[f"|dL/dh| layer {layer} {direction}"] = norms
        return to_frame(columns | self.contribution_norms)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: losses, norms (None where not finite) and verdicts; not the gradients."""
        by_place: dict[str, Any] = {
            name: {
                f"layer {layer}, {direction}": to_json(values)
                for (layer, direction), values in getattr(self, name).items()
            }
            for name in ("dh_norms", "gradient_by_lag", "verdicts")
        }
        norms = {name: to_json(values) for name, values in self.contribution_norms.items()}
        return {
            **attributes_to_dict(self, "network", "unit", "loss", "losses", "verdict"),
            **by_place,
            "contribution_norms": norms,
        }

    def __str__(self) -> str:
        with np.errstate(over="ignore"):
            size = np.sqrt(sum(float((g * g).sum()) for g in self.gradients.values()))
        return (
            f"{self.network}; a sequence of {count_of(self.steps, 'step')}\n"
            f"loss {self.loss:.4g} {self.unit}, gradient of all parameters {size:.3g}\n"
            f"{self.verdict}"
        )


@TorchThreads(1)  # torch forks and joins its threads at every time step: see `trace`
def bptt(model: Any, sequence: Any, label: Any) -> Bptt:
    """Backpropagate the loss of one sequence to every state and parameter.

    The loss is the task's default, whatever loss, label smoothing or class weights the training
    used: cross-entropy, in nats, for classes; the mean binary cross-entropy for several labels; the
    mean squared error for numbers, on the standardised target for an estimator. With an output at
    every step, L is the sum over the steps, whereas training uses the mean.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        sequence: one sequence, in the model's input format, or in that of an estimator's `fit`.
        label: its label: for a bare network a class code, (K,) of 0 and 1, or (K,) values, for each
            step if it has an output at every step; for an estimator the format of its `fit`.
    Returns: a Bptt; it prints a summary, and `.plot()` and `.plot_by_lag()` draw it.
    Raises: DataError, ShapeError or SettingsError, saying what was expected; ElmanError if the
        network computes something other than its config describes.
    """
    if label is None:
        raise SettingsError("label: got None, expected a label: without one there is no loss")
    explained = read_sequence(model, sequence, label)
    network = explained.network
    with torch.no_grad():
        forward = run_forward(explained.model, explained.x[0])
        check_forward(explained, forward)
        backward = run_backward(explained, forward)
        by_lag = {layer.forward.place: gradient_by_lag(layer) for layer in backward.layers}
        contributions = _contributions(explained, backward, forward.hidden)
    return Bptt(
        losses=to_array(backward.losses),
        dh={layer.forward.place: to_array(layer.dh) for layer in backward.layers},
        gradient_by_lag={place: to_array(each.norms) for place, each in by_lag.items()},
        remaining={place: to_array(each.remaining) for place, each in by_lag.items()},
        sources={place: each.sources for place, each in by_lag.items()},
        inputs=explained.inputs,
        channel_names=network.channel_names,
        categories=explained.categories,
        name=explained.name,
        network=network.describe(),
        unit=network.meaning.loss_unit,
        contributions=contributions,
        backward_pass=backward,
    )


def _contributions(
    explained: ExplainedSequence, backward: BackwardPass, hidden: Tensor
) -> dict[str, Contribution]:
    """The factors of every parameter's gradient, in the order of the forward pass."""
    config, x = explained.model.config, explained.x[0]
    shapes = {name: tuple(p.shape) for name, p in explained.model.named_parameters()}
    contributions: dict[str, Contribution] = {}
    if config.vocabulary_size:
        name = "embedding.weight"
        contributions[name] = Contribution("E", shapes[name], backward.embedded, rows=x)
    start = config.input_size
    for k, width in enumerate(config.category_widths):
        name = f"embeddings.{k}.weight"
        columns = backward.embedded[:, start : start + width]
        codes = x[:, config.input_size + k].long()
        contributions[name] = Contribution("E", shapes[name], columns, rows=codes)
        start += width
    for each in backward.layers:
        layer = each.forward
        factors = (
            ("W", each.da, layer.inputs),
            ("U", each.du, layer.previous["h"]),
            ("b_h", each.da, None),
            ("b_h", each.du, None),
        )
        names = weight_names(layer.layer, layer.direction == "backward")
        for name, (letter, left, right) in zip(names, factors, strict=True):
            contributions[name] = Contribution(letter, shapes[f"recurrent.{name}"], left, right)
    # The output layer reads the sum over the steps of share_t * h_t. With one output a sequence,
    # the gradient of b_y does not come from any one step; it is assigned to the last.
    name, dy = "output.weight", backward.dy
    contributions[name] = Contribution("V", shapes[name], dy, backward.share * hidden)
    if not config.per_step:
        dy = torch.cat([torch.zeros_like(dy[1:]), dy[-1:]])
    contributions["output.bias"] = Contribution("b_y", shapes["output.bias"], dy)
    return contributions
