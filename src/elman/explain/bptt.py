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

from elman.errors import SettingsError, nearest
from elman.explain.backward import (
    BackwardPass,
    describe_remaining,
    gradient_by_lag,
    jacobian_norms,
    run_backward,
)
from elman.explain.contributions import Contribution, contributions_of
from elman.explain.forms import Floats, attributes_to_dict, count_of, to_array, to_frame, to_json
from elman.explain.forward import Direction, check_forward, run_forward
from elman.explain.network import read_sequence
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Place = tuple[int, Direction]  # a layer, from 0, and a direction

# Loss of one output, in nats, below which the network is confident and correct: p > 0.9999.
CERTAIN = 1e-4
# Most multiplications for Jacobians that a figure computes by default: seconds on one core.
_MAX_PRODUCTS = 10**10


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
        is_certain: whether the network is confident and correct at every output: the loss of each
            is below 1e-4 nats, and so close to 0 that hardly any gradient is left.
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
    is_certain: bool
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
            raise SettingsError(f"step: got {step}, expected 0 (step 1) to {self.steps - 1}")
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
    def signed_shares(self) -> dict[str, Floats]:
        """<g_t, G> / |G| by parameter, (T,): the part of |G| that each step contributes.

        G is the gradient of the parameter and g_t the contribution of step t. The shares add up to
        |G|. A negative share is that of a step that works against the sum of the others, which the
        norm |g_t| does not show. All are 0 if G is 0.
        """
        shares = {}
        for name, each in self.contributions.items():
            gradient = each.total()
            norm = gradient.norm()
            unit = gradient / norm if bool(norm > 0) else gradient
            shares[name] = to_array(each.along(unit))
        return shares

    @functools.cached_property
    def step_shares(self) -> Floats:
        """The part of the gradient of all parameters together that each step contributes, (T,).

        <g_t, G> / |G|^2, over all parameters: the shares add up to 1. NaN if G is 0 or overflows.
        """
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            norms = {name: np.sqrt((g * g).sum()) for name, g in self.gradients.items()}
            products = np.sum([norms[name] * s for name, s in self.signed_shares.items()], axis=0)
            shares: Floats = products / sum(norm**2 for norm in norms.values())
        return shares if np.isfinite(shares).all() else np.full(self.steps, np.nan)

    @functools.cached_property
    def gradient_norm(self) -> float:
        """|G|, the norm of the gradient of all parameters together."""
        with np.errstate(over="ignore"):
            return float(np.sqrt(sum(float((g * g).sum()) for g in self.gradients.values())))

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
        """What becomes of the gradient on its way back, by layer and direction.

        Decided by `remaining` at the longest lag: `vanishes` below 1e-6, `shrinks` below 0.01,
        `survives` up to 100, `grows` up to 1e4, and `explodes` above. The first and the last limit
        are also those of the doctor. `no gradient` if no gradient enters the layer; `single step`
        if the longest lag is 0.
        """
        return {place: self._verdict(place) for place in self.remaining}

    def _verdict(self, place: Place) -> str:
        if not self.sources[place]:
            return "no gradient"
        lag = self.longest_lag(place)
        if lag == 0:
            return "single step"
        return describe_remaining(float(self.remaining[place][lag]))

    def longest_lag(self, place: Place) -> int:
        """The longest time lag, in steps, that a gradient reaches in this layer and direction."""
        return int(np.flatnonzero(~np.isnan(self.remaining[place]))[-1])

    def rate(self, place: Place) -> float:
        """Geometric mean of the factors by which a step back multiplies the gradient norm."""
        lag = self.longest_lag(place)
        return float(self.remaining[place][lag] ** (1 / lag)) if lag else 1.0

    @property
    def verdict(self) -> str:
        """A line for each layer and direction: what becomes of the gradient on its way back?"""
        if not self.has_gradient:
            return f"no gradient: {self._why_no_gradient()}"
        return "\n".join(self._describe_place(place) for place in self.verdicts)

    @property
    def has_gradient(self) -> bool:
        """Whether the gradient of any parameter is not 0."""
        return any(bool(each.left.any()) for each in self.contributions.values())

    def _why_no_gradient(self) -> str:
        if self.is_certain:
            return "the network is confident and correct, and its loss is 0"
        if self.loss == 0:
            return "the prediction is exact, and its loss is 0"
        return "the loss does not change with any parameter"

    def _describe_place(self, place: Place) -> str:
        where, word = f"layer {place[0]}, {place[1]}", self.verdicts[place]
        if word == "no gradient":
            return f"{where}: no gradient enters this layer"
        if word == "single step":
            return f"{where}: the gradient enters at the first step and goes no further back"
        lag = self.longest_lag(place)
        return (
            f"{where}: the gradient {word}: after {count_of(lag, 'step')} back its norm is "
            f"{self.remaining[place][lag]:.2g} of what it was, x {self.rate(place):.3f} per step"
        )

    def plot(self, *, jacobians: bool | None = None) -> Figure:
        """Draw, over the steps: the input, dL/dh, the Jacobians, each step's contributions.

        Without a gradient, the figure holds a sentence that says why.

        Args:
            jacobians: whether to draw `jacobian_norms`; None draws them if they take no more than
                seconds (for 100 steps with 256 numbers of state, but not for 2,000 steps).
        """
        from elman.plots.gradients import draw_bptt
        from elman.plots.states import note_figure

        if not self.has_gradient:
            return note_figure(f"No gradient: {self._why_no_gradient()}.")
        if jacobians is None:
            layers = self.backward_pass.layers
            products = len(layers) * self.steps * layers[0].forward.state_size ** 3
            jacobians = products < _MAX_PRODUCTS
        return draw_bptt(self, self.jacobian_norms if jacobians else None)

    @property
    def why_no_lags(self) -> str:
        """Why there is nothing to draw against the time lag; empty if there is."""
        if not self.has_gradient:
            return f"No gradient: {self._why_no_gradient()}."
        if all(self.sources[place] == 0 or self.longest_lag(place) == 0 for place in self.sources):
            return (
                "No gradient goes back by even one step, so there is nothing to draw by time lag."
            )
        return ""

    def plot_by_lag(self) -> Figure:
        """Draw the gradient's norm against the time lag, on a logarithmic axis.

        Where no gradient goes back, the figure holds a sentence that says so.
        """
        from elman.plots.gradients import draw_by_lag
        from elman.plots.states import note_figure

        reason = self.why_no_lags
        return note_figure(reason) if reason else draw_by_lag(self)

    def to_frame(self, *, by: str = "step") -> Any:
        """Return a pandas DataFrame.

        Args:
            by: `step` for a row for each step, with the loss, its share of the gradient, |dL/dh| of
                each layer and direction, and the norm and the signed share of the step's
                contribution to each parameter's gradient; `lag` for a row for each lag, layer and
                direction, with `norm` and `remaining`.
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
        columns["share of the gradient"] = self.step_shares
        for (layer, direction), norms in self.dh_norms.items():
            columns[f"|dL/dh| layer {layer} {direction}"] = norms
        signed = {f"signed share {name}": s for name, s in self.signed_shares.items()}
        return to_frame(columns | self.contribution_norms | signed)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: losses, norms (None where not finite) and verdicts; not the gradients."""
        by_place: dict[str, Any] = {
            name: {
                f"layer {layer}, {direction}": to_json(values)
                for (layer, direction), values in getattr(self, name).items()
            }
            for name in ("dh_norms", "gradient_by_lag", "verdicts")
        }
        by_parameter = {
            key: {name: to_json(values) for name, values in getattr(self, key).items()}
            for key in ("contribution_norms", "signed_shares")
        }
        names = ("network", "unit", "loss", "losses", "is_certain", "verdict", "step_shares")
        return {**attributes_to_dict(self, *names), **by_place, **by_parameter}

    def __str__(self) -> str:
        lines = [
            f"{self.network}; a sequence of {count_of(self.steps, 'step')}",
            f"loss {self.loss:.4g} {self.unit}; norm of the gradient of all parameters "
            f"{self.gradient_norm:.3g}",
        ]
        if self.is_certain and self.has_gradient:
            lines.append(
                "the network is confident and correct, so hardly any gradient is left: a sequence "
                "that it gets wrong shows more"
            )
        if np.isfinite(self.step_shares).all():
            lines.append(self._describe_shares())
        return "\n".join([*lines, self.verdict])

    def _describe_shares(self) -> str:
        """The steps that contribute most to the gradient, and those that work against it."""
        shares = self.step_shares
        order = [t for t in np.argsort(-np.abs(shares), kind="stable")[:5] if abs(shares[t]) > 5e-3]
        most = ", ".join(f"step {t + 1} {shares[t]:+.0%}" for t in order) or "below 1% for each"
        against = shares < 0
        text = f"share of each step in that gradient: {most}"
        if order and len(shares) > len(order):
            text += ", the others less"
        if against.any():
            text += (
                f"; {int(against.sum()):,} of {count_of(self.steps, 'step')} "
                f"{'works' if against.sum() == 1 else 'work'} against the rest, "
                f"{shares[against].sum():+.0%} in all"
            )
        return text


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
        contributions = contributions_of(explained, backward, forward)
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
        is_certain=network.has_classes and bool((backward.losses < CERTAIN).all()),
        contributions=contributions,
        backward_pass=backward,
    )
