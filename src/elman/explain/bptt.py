"""The backward pass laid open: where a gradient came from, and how far it got.

Dimensions: T steps, H hidden, G gates, I what a layer reads, D directions, K outputs.
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
from elman.explain.backward import BackwardPass, backward
from elman.explain.forward import Direction, LayerForward, check_forward, names, run_forward
from elman.explain.frames import frame
from elman.explain.lag import gradient_by_lag, jacobian_norms
from elman.explain.network import ExplainedSequence, Floats, read_sequence
from elman.explain.trace import array, counted, described
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Where = tuple[int, Direction]  # a layer, from 0, and a direction

# Of the gradient that enters a layer, the share that is left at the far end of the sequence: below
# the one it has vanished, above the other it has exploded, and between them it carries.
VANISHED, EXPLODED = 0.01, 100.0
_QUICK = 10**10  # products of the Jacobians that are decomposed for a picture unasked: seconds
UNITS = {"classification": "nats", "multilabel": "nats", "regression": "squared deviations"}


@dataclass(frozen=True)
class Contribution:
    """What every step contributes to the gradient of one parameter, as factors: O(T*(m+n)) numbers.

    Args:
        letter: the parameter's letter in the equations: W, U, V, b_h, b_y or E, the embeddings.
        shape: of the parameter.
        left: (T, m).
        right: (T, n), for a matrix, to which step t gives the outer product of both rows; None for
            a bias, to which it gives left_t.
        rows: (T,), for a table of embeddings, in whose row rows_t step t puts left_t; else None.
    """

    letter: str
    shape: tuple[int, ...]
    left: Tensor
    right: Tensor | None = None
    rows: Tensor | None = None

    def at(self, step: int) -> Tensor:
        """The contribution of one step, of the parameter's shape."""
        if self.rows is not None:
            found = self.left.new_zeros(self.shape)
            found[self.rows[step]] = self.left[step]
            return found
        if self.right is None:
            return self.left[step]
        return torch.outer(self.left[step], self.right[step])

    def norms(self) -> Tensor:
        """Frobenius norm of every step's contribution, (T,): of an outer product |left| |right|."""
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
        losses: L_t, (T,): with an output at every step its own loss; else the only one, at T.
        dh: dL/dh_t of each layer and direction, (T, H), in nats per unit of h; of an lstm with c_t
            held as it is.
        gradient_by_lag: mean norm of a gradient by time lag, 0 to T-1 steps back from where it
            entered the layer, (T,), over the steps at which one enters; of an lstm that of (h, c)
            together. NaN at lags that no gradient reached.
        remaining: the same against where it entered, from 1 at lag 0, (T,).
        sources: steps at which a gradient enters a layer and was followed; at most 64.
        inputs, input_names: what was read, as in a Trace.
        letters: for each parameter its letter: W, U, V, b_h, b_y, or E for embeddings.
        network: cell, layers and units, in words.
        unit: of the loss: nats, or squared deviations for a regression.
    """

    losses: Floats
    dh: dict[Where, Floats]
    gradient_by_lag: dict[Where, Floats]
    remaining: dict[Where, Floats]
    sources: dict[Where, int]
    inputs: NDArray[Any]
    input_names: tuple[str, ...]
    network: str
    unit: str
    contributions: dict[str, Contribution] = field(repr=False)
    backward_pass: BackwardPass = field(repr=False)

    @property
    def steps(self) -> int:
        """T."""
        return len(self.losses)

    @property
    def loss(self) -> float:
        """L, the sum of all L_t."""
        return float(self.losses.sum())

    @property
    def letters(self) -> dict[str, str]:
        """The letter of each parameter in the equations."""
        return {name: part.letter for name, part in self.contributions.items()}

    def contribution(self, name: str, step: int) -> Floats:
        """What one step contributes to the gradient of a parameter, of the parameter's shape.

        Args:
            name: one of `gradients`.
            step: from 0, as in arrays; -1 is the last.
        Raises: SettingsError for a name or step that there is not.
        """
        if name not in self.contributions:
            raise SettingsError(
                f"name: got {name!r}, expected one of {', '.join(self.contributions)}."
                + nearest(name, self.contributions)
            )
        if not -self.steps <= step < self.steps:
            raise SettingsError(f"step: got {step}, expected 0 to {self.steps - 1}")
        return array(self.contributions[name].at(step))

    @property
    def dh_norms(self) -> dict[Where, Floats]:
        """|dL/dh_t| of each layer and direction, (T,)."""
        with np.errstate(over="ignore"):  # of a gradient that exploded beyond all numbers
            return {where: np.sqrt((dh * dh).sum(1)) for where, dh in self.dh.items()}

    @functools.cached_property
    def contribution_norms(self) -> dict[str, Floats]:
        """Frobenius norm of every step's contribution, by parameter, (T,)."""
        return {name: array(part.norms()) for name, part in self.contributions.items()}

    @functools.cached_property
    def gradients(self) -> dict[str, Floats]:
        """dL/d of every parameter: what all steps contribute, added up."""
        return {name: array(part.total()) for name, part in self.contributions.items()}

    @functools.cached_property
    def jacobian_norms(self) -> dict[Where, Floats]:
        """Largest singular value of d(state_t)/d(state_{t-1}), (T,), by layer and direction.

        By how much at most the step can stretch a gradient. The state of an lstm is (h, c). Found
        when first asked for: T decompositions of (H, H), or (2*H, 2*H).
        """
        return {
            _where(each.forward): array(jacobian_norms(each)) for each in self.backward_pass.layers
        }

    @property
    def verdicts(self) -> dict[Where, str]:
        """`vanishes`, `explodes` or `carries`, by layer and direction.

        By `remaining` at the longest lag: below 0.01, above 100, or between. `no gradient`
        where none enters; `single step` where there is one step.
        """
        return {where: self._verdict(where) for where in self.remaining}

    def _verdict(self, where: Where) -> str:
        if not self.sources[where]:
            return "no gradient"
        reach = self.reach(where)
        if reach == 0:
            return "single step"
        left = self.remaining[where][reach]
        return "vanishes" if left < VANISHED else "explodes" if left > EXPLODED else "carries"

    def reach(self, where: Where) -> int:
        """The longest time lag that a gradient reached in this layer and direction, steps."""
        known = np.flatnonzero(np.isfinite(self.remaining[where]) | np.isinf(self.remaining[where]))
        return int(known[-1])

    def rate(self, where: Where) -> float:
        """By what a step back multiplies the gradient's norm, in the geometric mean."""
        reach = self.reach(where)
        return float(self.remaining[where][reach] ** (1 / reach)) if reach else 1.0

    @property
    def verdict(self) -> str:
        """In words, a line a layer and direction: does the gradient vanish, explode or carry?"""
        lines = []
        for where, word in self.verdicts.items():
            text = f"layer {where[0]}, {where[1]}: {word}"
            if word in ("vanishes", "explodes", "carries"):
                reach = self.reach(where)
                text += (
                    f": after {counted(reach, 'step')} back {self.remaining[where][reach]:.2g} of "
                    f"the gradient is left, x {self.rate(where):.3f} a step"
                )
            lines.append(text)
        return "\n".join(lines)

    def plot(self, *, jacobians: bool | None = None) -> Figure:
        """Draw, over the steps: the input, dL/dh, the Jacobians, each step's contributions.

        Args:
            jacobians: whether `jacobian_norms` are among it; None for where they take no more than
                seconds (100 steps of 256 numbers do, 2,000 do not).
        """
        from elman.plots.explain.bptt import draw_bptt

        if jacobians is None:
            units = self.backward_pass.layers[0].dh.shape[1]
            size = 2 * units if "c" in self.backward_pass.layers[0].forward.gates else units
            jacobians = len(self.backward_pass.layers) * self.steps * size**3 < _QUICK
        return draw_bptt(self, self.jacobian_norms if jacobians else None)

    def plot_by_lag(self) -> Figure:
        """Draw the gradient's norm against the time lag, on a logarithmic axis."""
        from elman.plots.explain.bptt import draw_by_lag

        return draw_by_lag(self)

    def to_frame(self, *, by: str = "step") -> Any:
        """Return a pandas DataFrame.

        Args:
            by: `step`: a row a step, with the loss, |dL/dh| of each layer and direction, and the
                norm of the step's contribution to each parameter's gradient; `lag`: a row for
                each lag, layer and direction, with `norm` and `remaining`.
        """
        if by == "lag":
            places, count = list(self.gradient_by_lag), self.steps
            return frame(
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
        return frame(columns | self.contribution_norms)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: losses, norms (None where not finite) and verdicts; not the gradients."""
        named = {where: f"layer {where[0]}, {where[1]}" for where in self.dh}
        return {
            "network": self.network,
            "unit": self.unit,
            "loss": self.loss,
            "losses": _plain(self.losses),
            "dh_norms": {named[w]: _plain(norms) for w, norms in self.dh_norms.items()},
            "contribution_norms": {n: _plain(v) for n, v in self.contribution_norms.items()},
            "gradient_by_lag": {
                named[w]: _plain(norms) for w, norms in self.gradient_by_lag.items()
            },
            "verdicts": {named[w]: word for w, word in self.verdicts.items()},
            "verdict": self.verdict,
        }

    def __str__(self) -> str:
        with np.errstate(over="ignore"):
            size = np.sqrt(sum(float((g * g).sum()) for g in self.gradients.values()))
        return (
            f"{self.network}; a sequence of {counted(self.steps, 'step')}\n"
            f"loss {self.loss:.4g} {self.unit}, gradient of all parameters {size:.3g}\n"
            f"{self.verdict}"
        )


@TorchThreads(1)  # of many small steps more threads make long ones
def bptt(model: Any, sequence: Any, label: Any) -> Bptt:
    """Go back through one sequence from its loss to every state and parameter.

    The loss is the task's own, without what training may add to it (label smoothing, class weights,
    another loss): cross-entropy, in nats; of several labels the mean of the binary ones; of numbers
    the mean squared deviation of what the network learns, of an estimator standardised. With an
    output at every step L is the sum over the steps, where training takes the mean.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        sequence: one, as the model reads it, or for an estimator as its `fit` takes it.
        label: its label: for a bare network a code, (K,) of 0 and 1, or (K,) values, with an output
            at every step one a step; for an estimator as `fit` takes it.
    Returns: a Bptt; it prints the gist, and `.plot()` and `.plot_by_lag()` draw it.
    Raises: DataError, ShapeError or SettingsError, saying what was expected; ElmanError if the
        network computes something else than its config says.
    """
    if label is None:
        raise SettingsError("label: got None, expected a label: without one there is no loss")
    subject = read_sequence(model, sequence, label)
    with torch.no_grad():
        done = run_forward(subject.model, subject.x[0])
        check_forward(subject, done)
        back = backward(subject, done)
        far = {_where(each.forward): gradient_by_lag(each) for each in back.layers}
        parts = _parts(subject, back, done.hidden)
    return Bptt(
        losses=array(back.losses),
        dh={_where(each.forward): array(each.dh) for each in back.layers},
        gradient_by_lag={where: array(each.norms) for where, each in far.items()},
        remaining={where: array(each.remaining) for where, each in far.items()},
        sources={where: each.sources for where, each in far.items()},
        inputs=subject.inputs,
        input_names=subject.input_names,
        network=described(subject),
        unit=UNITS[subject.task],
        contributions=parts,
        backward_pass=back,
    )


def _parts(
    subject: ExplainedSequence, back: BackwardPass, hidden: Tensor
) -> dict[str, Contribution]:
    """Every parameter with the factors of its gradient, in the order of the forward pass."""
    config, x = subject.model.config, subject.x[0]
    shapes = {name: tuple(p.shape) for name, p in subject.model.named_parameters()}
    parts: dict[str, Contribution] = {}
    if config.vocabulary_size:
        name = "embedding.weight"
        parts[name] = Contribution("E", shapes[name], back.embedded, rows=x)
    start = config.input_size
    for k, width in enumerate(config.category_widths):
        name = f"embeddings.{k}.weight"
        own = back.embedded[:, start : start + width]
        parts[name] = Contribution("E", shapes[name], own, rows=x[:, config.input_size + k].long())
        start += width
    for each in back.layers:
        layer = each.forward
        factors = (
            ("W", each.da, layer.inputs),
            ("U", each.du, layer.previous),
            ("b_h", each.da, None),
            ("b_h", each.du, None),
        )
        own_names = names(layer.layer, layer.direction)
        for name, (letter, left, right) in zip(own_names, factors, strict=True):
            parts[name] = Contribution(letter, shapes[f"recurrent.{name}"], left, right)
    # What the output reads is a sum over the steps, share_t * h_t; of b_y's only answer, the
    # gradient belongs to no step more than to another, and stands at the last.
    parts["output.weight"] = Contribution(
        "V", shapes["output.weight"], back.dy, back.share * hidden
    )
    dy = back.dy
    if not config.per_step:
        dy = torch.cat([torch.zeros_like(dy[1:]), dy[-1:]])
    parts["output.bias"] = Contribution("b_y", shapes["output.bias"], dy)
    return parts


def _where(layer: LayerForward) -> Where:
    return layer.layer, layer.direction


def _plain(values: Floats) -> list[float | None]:
    """Numbers for JSON, which has none that are not finite."""
    return [v if np.isfinite(v) else None for v in values.tolist()]
