"""How far back a network really remembers: what replacing one input does to the output.

    effect at distance k = mean over sequences of the distance between the answer as it is and the
                           answer when the input k steps before was replaced

With an output a sequence, k counts back from the last step: 0 is x_T. A network of both directions
has a past and a future side. The past is what comes by the top layer's forward direction, while its
backward direction is held as it was; the future is what comes by the backward direction, and there
k counts ahead from the first step, at which that direction ends: 0 is x_1. In a stack each
direction of the top layer reads both of the layer below: then the two are not wholly apart.

With an output at every step, y_t is asked and x_{t-k} replaced, for the future side x_{t+k}.

The distance between answers is, for classes, the total variation distance (half the sum of absolute
differences of the probabilities, from 0 to 1); for several labels the mean absolute difference of
their probabilities; for values the absolute difference. All is computed in float64.

With readout `mean` or `max` every step has a way of its own to the output: there the curve says
from where the answer is drawn, and only for a part how far states carry.

Dimensions: n sequences, T steps, S of them replaced, D lags, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import DataError, SettingsError
from elman.explain.frames import frame
from elman.explain.network import ExplainedNetwork
from elman.explain.perturbation import Replacement, changed, other_step
from elman.models import SequenceModel
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_RESAMPLES = 1000
_SEQUENCES = range(20, 101)  # that are asked about if no number is given
_STEPS = 2_000_000  # that the network then runs over, about


@dataclass(frozen=True, eq=False)
class MemoryCurve:
    """The curve of one side.

    Args:
        lags: that were measured, (D,), from 0.
        effect: mean over sequences, (D,).
        low, high: 95 % interval of the mean, by drawing sequences with replacement, (D,).
        counts: sequences that are long enough, (D,).
        reach: the largest measured distance whose effect is at least the stated share of the
            largest; None if nothing had any effect.
    """

    lags: Ints
    effect: Floats
    low: Floats
    high: Floats
    counts: Ints
    reach: int | None

    @property
    def next_lag(self) -> int | None:
        """The next measured distance after `reach`; None if there is none."""
        further = self.lags[self.lags > (-1 if self.reach is None else self.reach)]
        return int(further[0]) if len(further) else None


@dataclass(frozen=True, eq=False)
class Memory:
    """How the output depends on inputs that lie back, and ahead.

    Args:
        past: the effect of what came before.
        future: of what comes after, for a network of both directions; else None.
        per_step: whether there is an output at every step.
        measure: what an effect is, in words.
        replacement: what stood in an input's place, in words.
        share: of the largest effect, under which an input counts as forgotten.
        used: sequences that were asked about.
        available: sequences that were given.
        longest: steps of the longest that was asked about.
        seed: of what was drawn.
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
        """Of the past, (D,)."""
        return self.past.lags

    @property
    def effect(self) -> Floats:
        """Of the past, (D,)."""
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
        """Of the past: see `MemoryCurve.reach`."""
        return self.past.reach

    @property
    def curves(self) -> dict[str, MemoryCurve]:
        """The curves there are, by name."""
        return {"past": self.past, **({"future": self.future} if self.future else {})}

    def plot(self) -> Figure:
        """Draw effect over distance, with intervals."""
        from elman.plots.explain.memory import memory

        return memory(self)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row for each side and distance."""
        curves = self.curves
        columns: dict[str, Any] = {
            "side": np.repeat(list(curves), [len(s.effect) for s in curves.values()])
        }
        for name in ("lags", "effect", "low", "high", "counts"):
            parts = [getattr(side, name) for side in curves.values()]
            columns[{"lags": "lag", "counts": "sequences"}.get(name, name)] = np.concatenate(parts)
        return frame(columns)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""

        curves = {
            name: {
                "lags": side.lags.tolist(),
                "effect": side.effect.tolist(),
                "low": side.low.tolist(),
                "high": side.high.tolist(),
                "sequences": side.counts.tolist(),
                "reach": side.reach,
            }
            for name, side in self.curves.items()
        }
        told = (
            "per_step",
            "measure",
            "replacement",
            "share",
            "used",
            "available",
            "longest",
            "seed",
        )
        return {**curves, **{name: getattr(self, name) for name in told}}

    def __str__(self) -> str:
        lines = [self._told(name, side) for name, side in self.curves.items()]
        lines.append(
            f"Effect: {self.measure}, one input replaced by {self.replacement}. Measured on "
            f"{self.used:,} of {self.available:,} sequences, at {len(self.lags)} lags up "
            f"to {int(self.lags[-1]):,} (seed {self.seed})."
        )
        return "\n".join(lines)

    def _told(self, name: str, side: MemoryCurve) -> str:
        where = {
            (False, "past"): "before the last step",
            (False, "future"): "after the first step",
            (True, "past"): "before an output",
            (True, "future"): "after an output",
        }[self.per_step, name]
        if side.reach is None:
            return f"{name.capitalize()}: no input that was replaced changed the output at all."
        at = int(np.argmax(side.effect))
        told = (
            f"{name.capitalize()}: inputs count up to {side.reach:,} steps {where}. The effect is "
            f"largest, {side.effect[at]:.3g}, at distance {int(side.lags[at]):,}"
        )
        if side.next_lag is None:
            return f"{told}, and at the largest distance still {self.share:.0%} of that or more."
        return f"{told}; from {side.next_lag:,} steps on it is under {self.share:.0%} of that."


@TorchThreads(1)  # of many small steps more threads make long ones
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
    """Measure how far back, and for both directions how far ahead, inputs change the output.

    One step of a sequence is replaced at a time, and the rest left as it is. Each costs a pass of
    the sequence through the network: as many as `lags`, or twice that for both directions.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        X: sequences, as the model reads them, or as the estimator's `fit` takes them.
        replace: `others`, the same step of another sequence, drawn from X (of one that is shorter,
            any step); or `baseline`, numbers 0, which of standardised channels is their training
            mean, and the unknown token or category.
        sequences: how many are asked about at most, drawn from X. None: 100, or, where they are
            long, as many as let the network run over two million steps, but 20.
        lags: how many are measured at most: all that a tenth of the sequences have, and two
            at least; if there are more, evenly spaced on a logarithmic scale. With an output at
            every step, also how many steps of a sequence are replaced at most, drawn from it.
        share: of the largest effect, under which an input counts as forgotten.
        seed: of what is drawn.
    Raises: SettingsError for a value out of range; DataError for fewer than two sequences, or one
        that the network cannot read.
    """
    _check(replace, sequences, lags, share)
    reader = ExplainedNetwork.of(model)
    network = reader.model
    rows = _rows(reader, X)
    rng = np.random.default_rng(seed)
    names = ("past", "future") if network.config.bidirectional else ("past",)
    used = rng.permutation(len(rows))
    if sequences is None:
        sequences = _affordable([len(rows[i]) for i in used], lags * len(names))
    used = np.sort(used[:sequences])
    lengths = [len(rows[i]) for i in used]
    grid = _grid(lengths, lags)
    effects = {name: np.full((len(used), len(grid)), np.nan) for name in names}
    scale, measure = _measure(reader)
    for place, i in enumerate(used):
        row = rows[i]
        if network.config.per_step:
            steps = sorted(rng.permutation(len(row))[:lags].tolist())
        else:
            steps = _steps(row, grid, len(names))
        other = [other_step(rows, int(i), step, replace, network, rng) for step in steps]
        moved = changed(network, row, steps, torch.stack(other), scale)
        for name, each in zip(names, moved, strict=True):
            effects[name][place] = _by_distance(each, steps, grid, len(row), name)
    curves = {name: _side(effect, grid, share, rng) for name, effect in effects.items()}
    return Memory(
        past=curves["past"],
        future=curves.get("future"),
        per_step=network.config.per_step,
        measure=measure,
        replacement=_replaced(replace, network),
        share=share,
        used=len(used),
        available=len(rows),
        longest=max(lengths),
        seed=seed,
    )


def _check(replace: str, sequences: int | None, lags: int, share: float) -> None:
    if replace not in ("others", "baseline"):
        raise SettingsError(f"replace: got {replace!r:.40}, expected 'others' or 'baseline'")
    asked = {"sequences": 2 if sequences is None else sequences, "lags": lags}
    for name, value in asked.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 2:
            raise SettingsError(f"{name}: got {value!r:.40}, expected a whole number from 2")
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise SettingsError(f"share: got {share!r:.40}, expected a share above 0 and up to 1")


def _rows(reader: ExplainedNetwork, X: Any) -> list[Tensor]:
    """All sequences as the network reads them, each (T, C) or (T,)."""
    if reader.estimator is None:
        rows = [reader.read(sequence).x[0] for sequence in X]
    else:
        found = reader.estimator.encoder_.encode(reader.estimator.read_sequences(X))
        weight = reader.model.output.weight
        rows = [torch.from_numpy(values).to(weight.device) for values in found]
        if not reader.model.config.vocabulary_size:
            rows = [row.to(weight.dtype) for row in rows]
    if len(rows) < 2:
        raise DataError(
            f"X holds {len(rows)} sequences", remedy="Expected at least two, to average over."
        )
    return rows


def _affordable(lengths: list[int], replaced: int) -> int:
    """How many sequences are asked about, of those of these lengths, in their order."""
    cost = np.cumsum([length * min(length, replaced) for length in lengths])
    return int(np.clip((cost <= _STEPS).sum(), _SEQUENCES[0], _SEQUENCES[-1]))


def _fewest(used: int) -> int:
    """Sequences that a distance must have: a tenth, and two."""
    return max(2, -(-used // 10))


def _grid(lengths: list[int], most: int) -> Ints:
    """Distances from 0 that enough sequences have: all, or `most` on a logarithmic scale."""
    end = sorted(lengths)[-_fewest(len(lengths))]
    if end <= most:
        return np.arange(end)
    return np.unique(np.round(np.geomspace(1, end, most)).astype(np.int64)) - 1


def _measure(reader: ExplainedNetwork) -> tuple[Tensor | None, str]:
    """Scale of the outputs, (K,), None for probabilities; and what an effect is."""
    config, estimator = reader.model.config, reader.estimator
    if config.task == "classification":
        return None, "total variation distance of the probabilities"
    if config.task == "multilabel":
        return None, "mean absolute difference of the labels' probabilities"
    ones = torch.ones(config.num_outputs, dtype=torch.float64)
    if config.num_outputs > 1:
        unit = "" if estimator is None else ", in standard deviations"
        return ones, f"mean absolute change of the values{unit}"
    scale = ones if estimator is None else torch.from_numpy(estimator.target_.scale)
    return scale, f"absolute change of {reader.classes[0]}, in its unit"


def _replaced(replace: Replacement, network: SequenceModel) -> str:
    if replace == "others":
        return "another sequence's step"
    config = network.config
    if config.vocabulary_size:
        return "the unknown token"
    return "zero and unknown categories" if config.category_sizes else "zero"


def _steps(row: Tensor, grid: Ints, curves: int) -> list[int]:
    """Which steps are replaced, from 0, with an output a sequence: each at a distance from it."""
    inside = grid[grid < len(row)]
    ahead = inside if curves == 2 else inside[:0]
    found: list[int] = np.union1d(len(row) - 1 - inside, ahead).tolist()
    return found


def _by_distance(changed: Floats, steps: list[int], grid: Ints, T: int, side: str) -> Floats:
    """The effect at each distance, (D,), NaN where the sequence has no such distance."""
    found = np.full(len(grid), np.nan)
    at = np.array(steps)
    if changed.ndim == 1:
        where = {step: place for place, step in enumerate(steps)}
        for d, k in enumerate(grid[grid < T]):
            found[d] = changed[where[int(T - 1 - k if side == "past" else k)]]
        return found
    for d, k in enumerate(grid):
        asked = at + k if side == "past" else at - k
        inside = (asked >= 0) & (asked < T)
        if inside.any():
            found[d] = changed[np.flatnonzero(inside), asked[inside]].mean()
    return found


def _side(effects: Floats, grid: Ints, share: float, rng: np.random.Generator) -> MemoryCurve:
    """Average over sequences, (n, D), with intervals."""
    known = ~np.isnan(effects)
    counts = known.sum(0)
    kept = counts >= _fewest(len(effects))  # a tagger's steps are drawn, and may miss a distance
    grid, effects, known, counts = grid[kept], effects[:, kept], known[:, kept], counts[kept]
    filled = np.where(known, effects, 0.0)
    effect = filled.sum(0) / counts
    n = len(effects)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES).astype(np.float64)  # (R, n)
    weight = drawn @ known  # (R, D)
    means = np.divide(drawn @ filled, weight, out=np.full(weight.shape, np.nan), where=weight > 0)
    low, high = np.nanpercentile(means, [2.5, 97.5], axis=0)
    largest = effect.max()
    remembered = grid[effect >= share * largest] if largest > 0 else grid[:0]
    reach = int(remembered[-1]) if len(remembered) else None
    return MemoryCurve(grid, effect, low, high, counts, reach)
