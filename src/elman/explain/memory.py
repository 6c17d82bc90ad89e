"""Memory of a network: how much the output changes when one earlier input is replaced.

    effect at time lag k = mean over sequences of the distance between the prediction and the
                           prediction after replacing the input k steps earlier

With one output a sequence, k counts back from the last step: lag 0 is x_T. A bidirectional network
has a curve for the past and one for the future. The past is the effect through the forward
direction of the top layer, with the state of its backward direction left unchanged. The future is
the effect through the backward direction, which ends at the first step, so k counts ahead from
there: lag 0 is x_1. In a stack each direction of the top layer reads both directions of the layer
below, so the two curves are not fully separate.

With an output at every step, the effect is that of x_{t-k} on y_t, and for the future of x_{t+k}.

The distance between predictions is, for classes, the total variation distance (half the sum of
absolute differences of the probabilities, from 0 to 1); for several labels the mean absolute
difference of their probabilities; for values the absolute difference. Everything is computed in
float64.

With readout `mean` or `max` every step has a direct path to the output. The curve then shows which
steps the prediction uses, and only in part how far the states carry information.

Dimensions: n sequences, T steps, D lags, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import DataError, SettingsError
from elman.explain.forms import Floats, attributes_to_dict, to_frame
from elman.explain.network import ExplainedEstimator, ExplainedNetwork
from elman.explain.sensitivity import Replacement, change_by_step, replacement_for
from elman.models import ModelConfig
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Ints = NDArray[np.int64]

_RESAMPLES = 1000  # the ends of a 95 % interval have a standard error of 2 % of its width
_SEQUENCES = range(20, 101)  # smallest and largest default number of sequences to measure
_STEPS = 2_000_000  # default budget of steps through the network: seconds with 64 units


@dataclass(frozen=True, eq=False)
class MemoryCurve:
    """Effect of replaced inputs by time lag, for the past or the future.

    Args:
        lags: the measured time lags, from 0, (D,).
        effect: mean effect over sequences, (D,).
        low, high: 95 % bootstrap interval of the mean, (D,), from resampled sequences.
        sequences: number of sequences measured at each lag, (D,).
        reach: the largest measured lag whose effect is at least `Memory.share` of the largest
            effect; None if no replacement had an effect.
    """

    lags: Ints
    effect: Floats
    low: Floats
    high: Floats
    sequences: Ints
    reach: int | None

    @property
    def next_lag(self) -> int | None:
        """The next measured lag after `reach`; None if there is none."""
        further = self.lags[self.lags > (-1 if self.reach is None else self.reach)]
        return int(further[0]) if len(further) else None


@dataclass(frozen=True, eq=False)
class Memory:
    """How the output depends on earlier inputs and, in a bidirectional network, on later ones.

    Args:
        past: the effect of earlier inputs.
        future: the effect of later inputs, for a bidirectional network; else None.
        per_step: whether the network has an output at every step.
        measure: the unit of an effect, in words.
        replacement: the replacement of an input, in words.
        share: share of the largest effect below which an input counts as forgotten.
        used: number of sequences that were measured.
        available: number of sequences in X.
        longest: number of steps of the longest measured sequence.
        seed: seed of the random choices.
    """

    past: MemoryCurve
    future: MemoryCurve | None
    per_step: bool
    measure: str
    replacement: str
    share: float
    used: int
    available: int
    longest: int
    seed: int

    @property
    def lags(self) -> Ints:
        """Measured lags of the past, (D,)."""
        return self.past.lags

    @property
    def effect(self) -> Floats:
        """Mean effect of the past at each lag, (D,)."""
        return self.past.effect

    @property
    def low(self) -> Floats:
        """Lower end of the past's 95 % interval, (D,)."""
        return self.past.low

    @property
    def high(self) -> Floats:
        """Upper end of the past's 95 % interval, (D,)."""
        return self.past.high

    @property
    def reach(self) -> int | None:
        """Reach of the past; see `MemoryCurve.reach`."""
        return self.past.reach

    @property
    def curves(self) -> dict[str, MemoryCurve]:
        """The curves by name: `past` and, for a bidirectional network, `future`."""
        return {"past": self.past, **({"future": self.future} if self.future else {})}

    def plot(self) -> Figure:
        """Draw effect over time lag, with intervals."""
        from elman.plots.attribution import draw_memory

        return draw_memory(self)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row for each curve and lag."""
        curves = list(self.curves.values())
        columns: dict[str, Any] = {
            "side": np.repeat(list(self.curves), [len(curve.lags) for curve in curves])
        }
        for column, name in (("lag", "lags"), *((n, n) for n in _CURVE_COLUMNS)):
            columns[column] = np.concatenate([getattr(curve, name) for curve in curves])
        return to_frame(columns)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        curves = {
            name: attributes_to_dict(curve, "lags", *_CURVE_COLUMNS, "reach")
            for name, curve in self.curves.items()
        }
        names = ("per_step", "measure", "replacement", "share", "used", "available", "longest")
        return curves | attributes_to_dict(self, *names, "seed")

    def __str__(self) -> str:
        lines = [self._describe(name, curve) for name, curve in self.curves.items()]
        lines.append(
            f"Effect: {self.measure}, one input replaced by {self.replacement}. Measured on "
            f"{self.used:,} of {self.available:,} sequences, at {len(self.lags)} time lags up "
            f"to {int(self.lags[-1]):,} (seed {self.seed})."
        )
        return "\n".join(lines)

    def _describe(self, name: str, curve: MemoryCurve) -> str:
        where = {
            (False, "past"): "before the last step",
            (False, "future"): "after the first step",
            (True, "past"): "before an output",
            (True, "future"): "after an output",
        }[self.per_step, name]
        if curve.reach is None:
            return f"{name.capitalize()}: no input that was replaced changed the output at all."
        largest = int(np.argmax(curve.effect))
        text = (
            f"{name.capitalize()}: inputs count up to {curve.reach:,} steps {where}. The effect is "
            f"largest, {curve.effect[largest]:.3g}, at lag {int(curve.lags[largest]):,}"
        )
        if curve.next_lag is None:
            return f"{text}, and still {self.share:.0%} of that or more at the largest lag."
        return f"{text}; from {curve.next_lag:,} steps on it is under {self.share:.0%} of that."


_CURVE_COLUMNS = ("effect", "low", "high", "sequences")


@TorchThreads(1)  # torch forks and joins its threads at every time step: see `trace`
def memory(
    model: Any,
    X: Any,
    *,
    replace: Replacement = "others",
    sequences: int | None = None,
    lags: int = 32,
    share: float = 0.05,
    seed: int = 0,
) -> Memory:
    """Measure how far back, and in a bidirectional network how far ahead, inputs change the output.

    One step of a sequence is replaced at a time. Each replacement takes one pass of the sequence
    through the network, so a sequence takes `lags` passes, or twice as many for both directions.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        X: sequences in the model's input format, or in the format that the estimator's `fit` takes.
        replace: `others`, the same step of another sequence, chosen at random from X (a random step
            if that sequence is too short); or `baseline`, 0 for numbers, the training mean of
            standardised channels, and the unknown token or category.
        sequences: largest number of sequences to measure, chosen at random from X. None for 100, or
            fewer if they are long: about two million steps in all, but at least 20 sequences.
        lags: largest number of lags to measure. All lags that a tenth of the sequences, and at
            least two, have are measured; if these are more than `lags`, a logarithmic grid of them.
            With an output at every step, also the most steps of a sequence that are replaced,
            chosen at random.
        share: share of the largest effect below which an input counts as forgotten.
        seed: seed of the random choices.
    Raises: SettingsError for a value out of range; DataError for fewer than two sequences, or one
        that the network cannot read.
    """
    _check_options(replace, sequences, lags, share)
    network = ExplainedNetwork.of(model)
    config = network.model.config
    device = network.model.output.weight.device
    rows = [
        torch.from_numpy(values).to(device) for values in network.encode(network.read_sequences(X))
    ]
    if not config.vocabulary_size:
        rows = [row.to(network.model.output.weight.dtype) for row in rows]
    if len(rows) < 2:
        raise DataError(
            f"X holds {len(rows)} sequences", remedy="Expected at least two, to average over."
        )
    rng = np.random.default_rng(seed)
    names = ("past", "future") if config.bidirectional else ("past",)
    used = rng.permutation(len(rows))
    if sequences is None:
        sequences = _affordable_count([len(rows[i]) for i in used], lags * len(names))
    used = np.sort(used[:sequences])
    lengths = [len(rows[i]) for i in used]
    grid = _lag_grid(lengths, lags)
    effects = {name: np.full((len(used), len(grid)), np.nan) for name in names}
    for place, i in enumerate(used):
        row = rows[i]
        if config.per_step:
            steps = sorted(rng.permutation(len(row))[:lags].tolist())
        else:
            steps = _steps_at_lags(row, grid, config.bidirectional)
        replacements = torch.stack(
            [replacement_for(rows, int(i), step, replace, network.model, rng) for step in steps]
        )
        changes = change_by_step(network, row, steps, replacements)
        for name, change in zip(names, changes, strict=True):
            effects[name][place] = _by_lag(change, steps, grid, len(row), name)
    curves = {name: _curve(effect, grid, share, rng) for name, effect in effects.items()}
    return Memory(
        past=curves["past"],
        future=curves.get("future"),
        per_step=config.per_step,
        measure=_measure(network),
        replacement=_describe_replacement(replace, config),
        share=share,
        used=len(used),
        available=len(rows),
        longest=max(lengths),
        seed=seed,
    )


def _check_options(replace: str, sequences: int | None, lags: int, share: float) -> None:
    if replace not in ("others", "baseline"):
        raise SettingsError(f"replace: got {replace!r:.40}, expected 'others' or 'baseline'")
    counts = {"sequences": 2 if sequences is None else sequences, "lags": lags}
    for name, value in counts.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 2:
            raise SettingsError(f"{name}: got {value!r:.40}, expected a whole number from 2")
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise SettingsError(f"share: got {share!r:.40}, expected a share above 0 and up to 1")


def _affordable_count(lengths: list[int], replaced: int) -> int:
    """Default number of sequences to measure, from their lengths in the order of use."""
    cost = np.cumsum([length * min(length, replaced) for length in lengths])
    return int(np.clip((cost <= _STEPS).sum(), _SEQUENCES[0], _SEQUENCES[-1]))


def _fewest_sequences(used: int) -> int:
    """Fewest sequences for a lag: a tenth, and at least two, which the interval needs."""
    return max(2, -(-used // 10))


def _lag_grid(lengths: list[int], most: int) -> Ints:
    """Lags from 0 that enough sequences have: all, or at most `most` on a logarithmic scale."""
    end = sorted(lengths)[-_fewest_sequences(len(lengths))]
    if end <= most:
        return np.arange(end)
    # Rounding maps several grid points to the same short lag, so fewer than `most` may remain.
    return np.unique(np.round(np.geomspace(1, end, most)).astype(np.int64)) - 1


def _measure(network: ExplainedNetwork) -> str:
    """The unit of an effect, in words."""
    if network.has_classes:
        return network.meaning.distance_name
    if network.model.config.num_outputs == 1:
        return f"absolute change of {network.output_names[0]}, in its unit"
    return network.meaning.distance_name + (
        ", in standard deviations" if isinstance(network, ExplainedEstimator) else ""
    )


def _describe_replacement(replace: Replacement, config: ModelConfig) -> str:
    if replace == "others":
        return "another sequence's step"
    if config.vocabulary_size:
        return "the unknown token"
    return "zero and unknown categories" if config.category_sizes else "zero"


def _steps_at_lags(row: Tensor, grid: Ints, bidirectional: bool) -> list[int]:
    """Steps to replace, from 0, with one output a sequence: one step for each lag."""
    lags = grid[grid < len(row)]
    ahead = lags if bidirectional else lags[:0]
    steps: list[int] = np.union1d(len(row) - 1 - lags, ahead).tolist()
    return steps


def _by_lag(change: Floats, steps: list[int], grid: Ints, T: int, side: str) -> Floats:
    """The effect at each lag, (D,), NaN where the sequence has no such lag."""
    effect = np.full(len(grid), np.nan)
    if change.ndim == 1:
        place = {step: i for i, step in enumerate(steps)}
        for d, lag in enumerate(grid[grid < T]):
            effect[d] = change[place[int(T - 1 - lag if side == "past" else lag)]]
        return effect
    replaced = np.array(steps)
    for d, lag in enumerate(grid):
        outputs = replaced + lag if side == "past" else replaced - lag
        mask = (outputs >= 0) & (outputs < T)
        if mask.any():
            effect[d] = change[np.flatnonzero(mask), outputs[mask]].mean()
    return effect


def _curve(effects: Floats, grid: Ints, share: float, rng: np.random.Generator) -> MemoryCurve:
    """Average over sequences, (n, D), with intervals.

    Sequences are resampled, not steps, because effects within one sequence are not independent.
    """
    # With an output at every step the replaced steps are random, so a sequence may miss a lag.
    enough = (~np.isnan(effects)).sum(0) >= _fewest_sequences(len(effects))
    grid, effects = grid[enough], effects[:, enough]
    measured = ~np.isnan(effects)
    counts = measured.sum(0)
    sums = np.where(measured, effects, 0.0)
    effect = sums.sum(0) / counts
    n = len(effects)
    # A resample is described by the count of each sequence in it, so two matrix products give the
    # means of all resamples.
    times = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES).astype(np.float64)  # (R, n)
    weight = times @ measured  # (R, D)
    means = np.divide(times @ sums, weight, out=np.full(weight.shape, np.nan), where=weight > 0)
    low, high = np.nanpercentile(means, [2.5, 97.5], axis=0)
    largest = effect.max()
    # The reach is the largest such lag even if effects at shorter lags are smaller: a network may
    # ignore some steps and use earlier ones.
    remembered = grid[effect >= share * largest] if largest > 0 else grid[:0]
    reach = int(remembered[-1]) if len(remembered) else None
    return MemoryCurve(grid, effect, low, high, counts, reach)
