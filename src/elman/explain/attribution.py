"""Which steps and channels decided: an output's change from a baseline, shared among the inputs.

    F: one number of the answer             e: what the recurrent stack reads      e0: the baseline
    gradient x input        (e_i - e0_i) * dF/de_i at e
    integrated gradients    (e_i - e0_i) * the mean of dF/de_i on the straight way from e0 to e
    occlusion               F at e, less F where a span of steps is replaced by the baseline

The values of integrated gradients add up to F at e less F at e0 (completeness), and that is checked
in every call. Those of the others do so only where F is linear; by how much they miss is told.

Dimensions: T steps, C channels (and columns of categories), E numbers of a step in e, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import SettingsError, ShapeError
from elman.explain.embedded import Embedded
from elman.explain.frames import frame
from elman.explain.integral import integrate
from elman.explain.network import ExplainedNetwork, ExplainedSequence
from elman.explain.occlusion import occlude
from elman.explain.score import Scale, Score, choose_score
from elman.models.model import UNKNOWN
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Method = Literal["integrated_gradients", "gradient_x_input", "occlusion"]

MOST_POINTS = 1024
_WORDS = {
    "integrated_gradients": "integrated gradients",
    "gradient_x_input": "gradient x input",
    "occlusion": "occlusion",
}
# What only one method can honour, with what stands for None.
_OWN: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 64, "tolerance": 1e-3},
    "gradient_x_input": {},
    "occlusion": {"span": 1, "stride": None},
}


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each step and channel of one sequence did for one number of the answer.

    Args:
        method: as asked for.
        target: the class, label or value that is explained.
        output: the number in words, as `log-odds of 7`.
        unit: of that number and of all values: `nats` for logarithms, else empty.
        step: of a network with an output at every step, which one, from 0; else None.
        input_names: of the C channels; `("token",)` for tokens.
        inputs: as the network reads them, (T, C), or the texts of the tokens, (T,).
        categories: of each column of categories, which stand behind the numbers, its T names.
        values: what each did, (T, C), or (T,) for tokens. Above zero it raised the number. With
            occlusion: each channel replaced alone.
        by_step: what each step did, (T,): the sum of `values` over channels; with occlusion: all
            channels replaced together.
        at_input: the number, F at the input.
        at_baseline: F at the baseline.
        baseline: what the baseline is, in words.
        points: how often the network was asked.
        error: of integrated gradients, the sum over parts of the way of how far each part is from
            complete; else None.
        complete: whether `error` is within the tolerance; None for methods that promise nothing.
    """

    method: Method
    target: Any
    output: str
    unit: str
    step: int | None
    input_names: tuple[str, ...]
    inputs: NDArray[Any]
    categories: tuple[tuple[str, ...], ...]
    values: Floats
    by_step: Floats
    at_input: float
    at_baseline: float
    baseline: str
    points: int
    error: float | None
    complete: bool | None

    @property
    def total(self) -> float:
        """The sum of `by_step`."""
        return float(self.by_step.sum())

    @property
    def difference(self) -> float:
        """The change that is shared out: F at the input less F at the baseline."""
        return self.at_input - self.at_baseline

    @property
    def gap(self) -> float:
        """By how much the sum misses the change: total less difference."""
        return self.total - self.difference

    def plot(self) -> Figure:
        """Draw the values beneath the signal of each channel, or under the tokens."""
        from elman.plots.explain.attribution import attribution

        return attribution(self)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row for each step (from 1) and channel."""
        steps = np.arange(1, len(self.by_step) + 1)
        if self.values.ndim == 1:
            columns = {"step": steps, "token": self.inputs, "value": self.values}
            return frame(columns)
        T, C = self.values.shape
        shown = self.inputs.astype(object)
        for k, names in enumerate(self.categories):
            shown[:, C - len(self.categories) + k] = names
        columns = {
            "step": np.repeat(steps, C),
            "channel": np.tile(np.array(self.input_names, dtype=object), T),
            "input": shown.ravel(),
            "value": self.values.ravel(),
        }
        return frame(columns)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the target as text."""
        return {
            "method": self.method,
            "target": str(self.target),
            "output": self.output,
            "unit": self.unit,
            "step": None if self.step is None else self.step + 1,
            "input_names": list(self.input_names),
            "values": self.values.tolist(),
            "by_step": self.by_step.tolist(),
            "at_input": self.at_input,
            "at_baseline": self.at_baseline,
            "baseline": self.baseline,
            "difference": self.difference,
            "total": self.total,
            "gap": self.gap,
            "complete": self.complete,
        }

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        told = (
            f"{_WORDS[self.method].capitalize()}: {self.output} is {self.at_input:.4g}{unit}, "
            f"{self.difference:+.4g} from the baseline ({self.baseline})."
        )
        order = np.argsort(-np.abs(self.by_step), kind="stable")[:5]
        most = ", ".join(f"{self._step(t)} {self.by_step[t]:+.3g}" for t in order)
        lines = [told, f"Most by step: {most}."]
        if self.values.ndim == 2 and self.values.shape[1] > 1:
            sums = self.values.sum(0)
            order = np.argsort(-np.abs(self.values).sum(0), kind="stable")[:5]
            most = ", ".join(f"{self.input_names[c]} {sums[c]:+.3g}" for c in order)
            lines.append(f"Most by channel: {most}.")
        missed = f"The values of all steps add up to {self.total:+.4g}, {abs(self.gap):.1e} "
        missed += "from the change" if self.gap else "from it"
        lines.append(f"{missed}{self._checked()}.")
        return "\n".join(lines)

    def _step(self, t: int) -> str:
        name = f"x_{t + 1}"
        return f"{name} ({self.inputs[t]})" if self.values.ndim == 1 else name

    def _checked(self) -> str:
        if self.complete is None:
            return " (this method does not promise that they do)"
        if self.complete:
            return f", with {self.points} points"
        return (
            f": more than the tolerance, though {self.points} points were taken, at most "
            f"{MOST_POINTS}. The network has kinks or jumps on the way from the baseline"
        )


@TorchThreads(1)  # of many small steps more threads make long ones
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
    """Share an output's change from a baseline among the steps and channels of a sequence.

    All is computed in float64, in evaluation mode, on the device where the network is.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        sequence: one, (T, C) or (T,), as the model reads it; or as an estimator's X has it.
        target: a class, label or value by name (its number from 0, or `output 1`, for a
            SequenceModel); None for the likeliest. Of several values one must be named.
        method: `integrated_gradients`, `gradient_x_input` or `occlusion`.
        output: the number asked about. `log_odds`, log p / (1 - p), is the default, for it does not
            flat where the network is sure; `logit` is the raw output, which means something
            beside the others only; `log_probability`; `probability`. Of a regression `value`, in
            the target's unit.
        step: with an output at every step, which one, from 0 or, from the end, -1; None for the
            last.
        baseline: what stands for "nothing there". `zero`: numbers 0, which of standardised channels
            is their training mean, and embeddings 0; `unknown`: numbers 0, and the embedding of the
            unknown token or category; or another sequence of T steps, in the form of `sequence`.
            None: `unknown` for tokens and categories, else `zero`. Text that is one of the two
            words is taken as that word.
        span: of occlusion, how many steps are replaced at a time; None for 1.
        stride: of occlusion, by how many steps the span slides on; None for `span`, so that spans
            lie end to end. The effect of a span is shared equally by its steps; a step in several
            spans gets the mean of its shares. The last span ends at the last step.
        steps: of integrated gradients, points to begin with; None for 64.
        tolerance: of integrated gradients, how far the sum may be from complete, as a share of the
            sum of absolute values; None for 1e-3. Points are added, where they are needed, until it
            is kept or there are 1024, and `complete` says which.
    Raises: SettingsError for an option that the method or the network does not have; DataError or
        ShapeError for a sequence, baseline or target that does not fit.
    Source: Sundararajan, Taly & Yan 2017, arXiv:1703.01365 (integrated gradients); Shrikumar et al.
        2016, arXiv:1605.01713 (gradient x input); Zeiler & Fergus 2014, arXiv:1311.2901
        (occlusion).
    """
    own = _options(method, span=span, stride=stride, steps=steps, tolerance=tolerance)
    reader = ExplainedNetwork.of(model)
    subject = reader.read(sequence)
    subject.model.requires_grad_(False)
    embedded = Embedded(subject.model)
    e = embedded.embed(subject.x)[0]  # (T, E)
    e0, words = _baseline(reader, subject, embedded, baseline)
    with torch.no_grad():
        ends = embedded.outputs(torch.stack([e, e0]))
        score = choose_score(subject, ends[:1], target, output, step)
        at_input, at_baseline = score.of(ends).tolist()
    error, complete = None, None
    columns = torch.from_numpy(embedded.columns).to(e.device)
    if method == "occlusion":
        values, by_step, points = occlude(
            lambda rows: _ask(embedded, score, rows), e, e0, columns, **own
        )
    else:
        if method == "gradient_x_input":
            found = _by_column((e - e0) * _slopes(embedded, score, e[None])[1][0], columns)
            points = 1
        else:
            done = integrate(
                lambda rows: _slopes(embedded, score, rows),
                lambda each: _by_column(each, columns),
                e,
                e0,
                most=MOST_POINTS,
                **own,
            )
            found, points, error = done.values, done.points, done.error
            complete = error <= own["tolerance"] * float(found.abs().sum())
        values = found.cpu().numpy()
        by_step = values.sum(1)
    return Attribution(
        method=method,
        target=score.target,
        output=str(score),
        unit=score.unit,
        step=score.step,
        input_names=subject.input_names,
        inputs=subject.inputs,
        categories=subject.categories,
        values=values[:, 0] if subject.tokens is not None else values,
        by_step=by_step,
        at_input=at_input,
        at_baseline=at_baseline,
        baseline=words,
        points=points,
        error=error,
        complete=complete,
    )


def _options(method: str, **given: Any) -> dict[str, Any]:
    """Return the options of this method, checked; refuse those of another."""
    if method not in _OWN:
        known = ", ".join(map(repr, _OWN))
        raise SettingsError(f"method: got {method!r:.40}, expected one of {known}")
    own = dict(_OWN[method])
    for name, value in given.items():
        if value is None:
            continue
        if name not in own:
            whose = next(m for m, options in _OWN.items() if name in options)
            raise SettingsError(
                f"{name}: got {value!r:.40}, but that belongs to {_WORDS[whose]}, and the method is"
                f" {_WORDS[method]}. Leave it out"
            )
        if name == "tolerance":
            good: Any = (
                isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
            )
            expected = "a number from 0"
        else:
            good = isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0
            expected = "a whole number from 1"
        if not good:
            raise SettingsError(f"{name}: got {value!r:.40}, expected {expected}")
        if name == "steps" and value > MOST_POINTS:
            raise SettingsError(f"steps: got {value}, expected at most {MOST_POINTS}")
        own[name] = value
    if method == "occlusion":
        own["stride"] = own["stride"] or own["span"]
        if own["stride"] > own["span"]:
            raise SettingsError(
                f"stride: got {own['stride']}, longer than the span of {own['span']}, so that "
                "steps between spans would never be replaced. Expected at most the span"
            )
    return own


def _baseline(
    reader: ExplainedNetwork, subject: ExplainedSequence, embedded: Embedded, asked: Any
) -> tuple[Tensor, str]:
    """Return the baseline, (T, E), and what it is in words."""
    tables = bool(embedded.tables)
    named = isinstance(asked, str) and asked in ("zero", "unknown")
    if asked is None:
        asked, named = "unknown" if tables else "zero", True
    if not named:
        if isinstance(asked, str) and subject.tokens is None:
            raise SettingsError(
                f"baseline: got {asked!r:.40}, expected 'zero', 'unknown' or a sequence"
            )
        other = reader.read(asked)
        if other.steps != subject.steps:
            raise ShapeError(
                f"baseline: got a sequence of {other.steps} steps, expected {subject.steps}, as "
                "the sequence has"
            )
        return embedded.embed(other.x)[0], "another sequence"
    if asked == "unknown" and not tables:
        raise SettingsError(
            "baseline: got 'unknown', but the inputs are numbers. Expected 'zero' or a sequence"
        )
    if asked == "zero":
        what = "zero" if not tables else "embeddings of zero"
        return torch.zeros_like(embedded.embed(subject.x)[0]), what
    x0 = torch.zeros_like(subject.x)
    x0[..., embedded.numbers :] = UNKNOWN  # of tokens all, for they have no numbers
    return embedded.embed(x0)[0], "unknown in every place" if subject.tokens else "zero and unknown"


def _ask(embedded: Embedded, score: Score, many: Tensor) -> Tensor:
    """F of many rows, (P, T, E), without gradients: (P,)."""
    with torch.no_grad():
        parts = torch.split(many, embedded.rows_at_once(many.shape[1]))
        return torch.cat([score.of(embedded.outputs(part)) for part in parts])


def _slopes(embedded: Embedded, score: Score, many: Tensor) -> tuple[Tensor, Tensor]:
    """F of many rows, (P, T, E), and its gradient at each: (P,) and (P, T, E)."""
    found, slopes = [], []
    with torch.enable_grad():
        for part in torch.split(many.detach(), embedded.rows_at_once(many.shape[1])):
            part.requires_grad_(True)
            f = score.of(embedded.outputs(part))
            (slope,) = torch.autograd.grad(f.sum(), part)
            found.append(f.detach())
            slopes.append(slope)
    return torch.cat(found), torch.cat(slopes)


def _by_column(each: Tensor, columns: Tensor) -> Tensor:
    """Add up what belongs to one column of the input: from (T, E) to (T, C)."""
    return each.new_zeros(len(each), int(columns[-1]) + 1).index_add_(1, columns, each)
