"""Attribution: the change of an output from a baseline, divided among steps and channels.

    F: one number of the prediction       e: what the recurrent stack reads        e0: the baseline
    gradient x input        (e_i - e0_i) * dF/de_i at e
    integrated gradients    (e_i - e0_i) * the mean of dF/de_i on the straight line from e0 to e
    occlusion               F at e minus F with a span of steps replaced by the baseline

The values of integrated gradients add up to F(e) - F(e0) (completeness); every call checks this.
Those of the other methods add up to it only where F is linear; the summary of the result gives the
difference.

Dimensions: P points, T steps, C channels (and columns of categories), E numbers of a step in e.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import SettingsError
from elman.explain.forms import Floats, Scale, attributes_to_dict, to_frame
from elman.explain.network import read_sequence
from elman.explain.score import (
    EmbeddedNetwork,
    Score,
    change_by_feature,
    choose_baseline,
    choose_score,
    differentiate,
    evaluate,
)
from elman.explain.sensitivity import MAX_POINTS, Shares, integrate, occlude, sum_columns
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Method = Literal["integrated_gradients", "gradient_x_input", "occlusion"]

_WORDS = {
    "integrated_gradients": "integrated gradients",
    "gradient_x_input": "gradient x input",
    "occlusion": "occlusion",
}
# Options that only one method has, with the value that None means.
_METHOD_OPTIONS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 64, "tolerance": 1e-3},
    "gradient_x_input": {},
    "occlusion": {"span": 1, "stride": None},
}


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each step and channel of one sequence contributed to one number of the prediction.

    Args:
        method: the attribution method.
        target: the class, label or value that is explained.
        output: the explained number in words, such as `log-odds of 7`.
        unit: unit of that number and of all values: `nats` for logarithms, else empty.
        step: the explained step, from 0, if the network has an output at every step; else None.
        channel_names: names of the C channels; `("token",)` for tokens.
        inputs: the inputs as the network reads them, (T, C), or the texts of the tokens, (T,).
        categories: texts of the last channels, each (T,): whether a number is missing, and the
            values of categories.
        values: contribution of each input, (T, C), or (T,) for tokens; positive contributions
            raise the number. With occlusion each channel is replaced alone.
        by_step: contribution of each step, (T,): the sum of `values` over channels; with occlusion
            all channels are replaced together.
        at_input: the number, F at the input.
        at_baseline: F at the baseline.
        baseline: the baseline in words.
        baseline_answer: what the network predicts for the baseline, in words.
        baseline_is_target: whether that is already the explained class or label; the values then
            say what makes it more or less certain, not why it is predicted rather than another.
        smallest: the change of the number below which there is none to speak of.
        points: number of evaluations of the network.
        error: for integrated gradients, the deviation from completeness, summed over the panels
            of the line between baseline and input; else None.
        complete: whether `error` is within the tolerance; None for methods that are not complete.
        name: name of the sequence in its file; empty if it has none.
        static: change of the number due to each static feature; see `change_by_feature`.
    """

    method: Method
    target: Any
    output: str
    unit: str
    step: int | None
    channel_names: tuple[str, ...]
    inputs: NDArray[Any]
    categories: tuple[tuple[str, ...], ...]
    values: Floats
    by_step: Floats
    at_input: float
    at_baseline: float
    baseline: str
    baseline_answer: str
    baseline_is_target: bool
    smallest: float
    points: int
    error: float | None
    complete: bool | None
    name: str = ""
    static: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """The sum of `by_step`."""
        return float(self.by_step.sum())

    @property
    def difference(self) -> float:
        """The change that is divided among the inputs: F at the input minus F at the baseline."""
        return self.at_input - self.at_baseline

    @property
    def gap(self) -> float:
        """Deviation of the sum from the change: `total` minus `difference`."""
        return self.total - self.difference

    @property
    def has_values(self) -> bool:
        """Whether any step or channel changes the number by more than `smallest`."""
        largest = max(float(np.abs(self.by_step).max()), float(np.abs(self.values).max()))
        return largest > self.smallest

    def plot(self) -> Figure:
        """Draw the values as bars, below the signal of each channel or above the tokens.

        Where no value is large enough to see, the figure holds a sentence that says so.
        """
        from elman.plots.attribution import draw_attribution
        from elman.plots.states import note_figure

        return draw_attribution(self) if self.has_values else note_figure(self._describe_nothing())

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row for each step (from 1) and channel."""
        steps = np.arange(1, len(self.by_step) + 1)
        if self.values.ndim == 1:
            return to_frame({"step": steps, "token": self.inputs, "value": self.values})
        T, C = self.values.shape
        inputs = self.inputs.astype(object)  # one column for numbers and names of categories
        for k, names in enumerate(self.categories):
            inputs[:, C - len(self.categories) + k] = names
        columns = {
            "step": np.repeat(steps, C),
            "channel": np.tile(np.array(self.channel_names, dtype=object), T),
            "input": inputs.ravel(),
            "value": self.values.ravel(),
        }
        return to_frame(columns)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the target as text, the step counted from 1."""
        names = ("method", "output", "unit", "channel_names", "values", "by_step", "at_input")
        more = ("at_baseline", "baseline", "baseline_answer", "baseline_is_target")
        sums = ("difference", "total", "gap", "complete", "static")
        step = None if self.step is None else self.step + 1
        return {
            "target": str(self.target),
            "step": step,
            **attributes_to_dict(self, *names, *more, *sums),
        }

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        summary = (
            f"{_WORDS[self.method].capitalize()}: {self.output} is {self.at_input:.4g}{unit}, "
            f"{self.difference:+.4g} from the baseline ({self.baseline})."
        )
        # A stable sort lists equal values in the order of the steps on every machine.
        order = np.argsort(-np.abs(self.by_step), kind="stable")[:5]
        most = ", ".join(f"{self._name_step(t)} {self.by_step[t]:+.3g}" for t in order)
        lines = [summary, self._describe_baseline(), f"Most by step: {most}."]
        if self.values.ndim == 2 and self.values.shape[1] > 1:
            up, down = np.maximum(self.values, 0).sum(0), np.minimum(self.values, 0).sum(0)
            sizes = up - down
            order = np.argsort(-sizes, kind="stable")[:5]
            most = ", ".join(
                f"{self.channel_names[c]} {sizes[c]:.3g} ({up[c]:+.3g}, {down[c]:+.3g})"
                for c in order
            )
            lines.append(f"Most by channel, in all (raised, lowered): {most}.")
        if not self.has_values:
            lines[2:] = [self._describe_nothing()]
        if self.static:
            order_of = sorted(self.static, key=lambda name: -abs(self.static[name]))
            most = ", ".join(f"{name} {self.static[name]:+.3g}" for name in order_of[:8])
            lines.append(
                "Static features, by the change if one is replaced by the mean or an unknown"
                f" category: {most}."
            )
        missed = f"The values of all steps add up to {self.total:+.4g}, {abs(self.gap):.1e} "
        missed += "from the change" if self.gap else "from it"
        lines.append(f"{missed}{self._describe_check()}.")
        return "\n".join(lines)

    def _describe_nothing(self) -> str:
        return (
            f"No step changes it by more than {self.smallest:.2g}: compared with the baseline, "
            "there is nothing to attribute."
        )

    def _describe_baseline(self) -> str:
        text = f"For the baseline itself the network predicts {self.baseline_answer}."
        if not self.baseline_is_target:
            return text
        return (
            f"{text} Caution: that is {self.target} already, so the values say what makes it more "
            "or less certain, and not why it is predicted rather than another. Another baseline, "
            "such as a sequence with another prediction, answers that."
        )

    def _name_step(self, t: int) -> str:
        name = f"x_{t + 1}"
        return f"{name} ({self.inputs[t]})" if self.values.ndim == 1 else name

    def _describe_check(self) -> str:
        if self.complete is None:
            return " (only integrated gradients add up to it)"
        if self.complete:
            return f", with {self.points} points"
        return (
            f": more than the tolerance, though {self.points} points were taken, at most "
            f"{MAX_POINTS}. The network has kinks or jumps between the baseline and the input"
        )


@TorchThreads(1)  # torch forks and joins its threads at every time step: see `trace`
def attribute(
    model: Any,
    sequence: Any,
    target: Any = None,
    method: Method = "integrated_gradients",
    *,
    output: Scale | None = None,
    step: int | None = None,
    baseline: Any = None,
    span: int | None = None,
    stride: int | None = None,
    steps: int | None = None,
    tolerance: float | None = None,
) -> Attribution:
    """Divide the change of an output from a baseline among the steps and channels of a sequence.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed. Everything is computed in
            float64, in evaluation mode, on its device.
        sequence: one sequence, (T, C) or (T,), in the input format of the model or of `fit`.
        target: name of a class, label or value (its number from 0, or `output 1`, for a
            SequenceModel); None for the likeliest. Required if the network predicts several values.
        method: `integrated_gradients`, `gradient_x_input` or `occlusion`.
        output: the number that is explained. `log_odds`, log p / (1 - p), is the default, because
            it does not flatten where the network is certain; `logit` is the raw output, which is
            meaningful only relative to the others; `log_probability`; `probability`. For a
            regression `value`, in the target's unit.
        step: for an output at every step, the step to explain, from 0 or from the end; None: last.
        baseline: the input that carries no information. `zero`: numbers and embeddings are 0, the
            training mean of standardised channels; `unknown`: numbers are 0, tokens and categories
            have the embedding of the unknown token or category; or another sequence of T steps, in
            the format of `sequence`. None means `unknown` for tokens and categories, else `zero`.
            The texts 'zero' and 'unknown' always mean these options, never a sequence.
        span: for occlusion, the number of steps replaced at a time, at most all; None for 1.
        stride: for occlusion, the number of steps between the starts of two spans; None for `span`.
            The effect of a span is divided equally among its steps; a step in several spans gets
            the mean. The last span ends at the last step.
        steps: for integrated gradients, the initial number of points; None for 64. Points are
            added where they are needed, up to 1024.
        tolerance: for integrated gradients, the largest deviation from completeness, as a share of
            the sum of absolute values; None for 1e-3. `complete` says whether it was met.
    Raises: SettingsError for an option that the method or the network does not have; DataError or
        ShapeError for a sequence, baseline or target that does not fit.
    Source: Sundararajan et al. 2017, arXiv:1703.01365; for gradient x input Shrikumar et al. 2016,
        arXiv:1605.01713; for occlusion Zeiler & Fergus 2014, arXiv:1311.2901.
    """
    options = _method_options(method, span=span, stride=stride, steps=steps, tolerance=tolerance)
    explained = read_sequence(model, sequence)
    explained.model.requires_grad_(False)  # only gradients of e are needed
    e = (embedded := EmbeddedNetwork(explained.model)).embed(explained.x)[0]  # (T, E)
    e0, baseline_name = choose_baseline(explained, embedded, baseline)
    with torch.no_grad():
        ends = embedded.outputs(torch.stack([e, e0]))
        score = choose_score(explained, ends[:1], target, output, step)
        at_input, at_baseline = score.of(ends).tolist()
        answer, is_target = score.describe_answer(ends[1])
    shares = _share(method, embedded, score, e, e0, options)
    return Attribution(
        method=method,
        target=score.target,
        output=str(score),
        unit=score.unit,
        step=score.step,
        channel_names=explained.network.channel_names,
        inputs=explained.inputs,
        categories=explained.categories,
        values=shares.values[:, 0] if explained.tokens is not None else shares.values,
        by_step=shares.by_step,
        at_input=at_input,
        at_baseline=at_baseline,
        baseline=baseline_name,
        baseline_answer=answer,
        baseline_is_target=is_target,
        smallest=score.smallest,
        points=shares.points,
        error=shares.error,
        complete=shares.complete,
        name=explained.name,
        static=change_by_feature(explained, score, e),
    )


def _share(
    method: Method,
    embedded: EmbeddedNetwork,
    score: Score,
    e: Tensor,
    e0: Tensor,
    options: dict[str, Any],
) -> Shares:
    """Divide F(e) - F(e0) among the inputs by one of the three equations; e and e0 are (T, E)."""
    columns = torch.from_numpy(embedded.columns).to(e.device)
    if options.get("span", 1) > len(e):
        raise SettingsError(
            f"span: got {options['span']}, expected at most {len(e)}, the steps of the sequence"
        )
    if method == "occlusion":
        # All columns are also replaced together: if two carry the same information, replacing one
        # of them alone has no effect.
        return occlude(lambda rows: evaluate(embedded, score, rows), e, e0, columns, **options)
    if method == "gradient_x_input":
        _, (gradient,) = differentiate(embedded, score, e[None])
        values = sum_columns((e - e0) * gradient, columns).cpu().numpy()
        return Shares(values, values.sum(1), 1)
    return integrate(lambda rows: differentiate(embedded, score, rows), e, e0, columns, **options)


def _method_options(method: str, **values: Any) -> dict[str, Any]:
    """Check and return the options of this method; raise SettingsError for those of another."""
    if method not in _METHOD_OPTIONS:
        methods = ", ".join(map(repr, _METHOD_OPTIONS))
        raise SettingsError(f"method: got {method!r:.40}, expected one of {methods}")
    options = dict(_METHOD_OPTIONS[method])
    for name, value in values.items():
        if value is None:
            continue
        if name not in options:
            other = next(m for m, names in _METHOD_OPTIONS.items() if name in names)
            raise SettingsError(
                f"{name}: got {value!r:.40}, but that belongs to {_WORDS[other]}, and the method is"
                f" {_WORDS[method]}. Leave it out"
            )
        if name == "tolerance":
            valid: Any = isinstance(value, int | float) and value >= 0
            expected = "a number from 0"
        else:
            valid = isinstance(value, int | np.integer) and value > 0
            expected = "a whole number from 1"
        if not valid or isinstance(value, bool):
            raise SettingsError(f"{name}: got {value!r:.40}, expected {expected}")
        if name == "steps" and value > MAX_POINTS:
            raise SettingsError(f"steps: got {value}, expected at most {MAX_POINTS}")
        options[name] = value
    if method == "occlusion":
        options["stride"] = options["stride"] or options["span"]
        if options["stride"] > options["span"]:
            raise SettingsError(
                f"stride: got {options['stride']}, longer than the span of {options['span']}, so "
                "that steps between spans would never be replaced. Expected at most the span"
            )
    return options
