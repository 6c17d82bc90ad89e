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

The mean hides a dependency that is rare: one that only some sequences have, or one output of many.
Therefore the reach comes from each sequence by itself. An input counts for an output if replacing
it changes the output by at least 5 % of the largest change that was measured; the reach of a
sequence is its longest lag at which an input counts, and the reach of the network the longest of
all sequences.

With readout `mean` or `max` every step has a direct path to the output. The curve then shows which
steps the prediction uses, and only in part how far the states carry information.

Dimensions: n sequences, T steps, D lags, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from elman.errors import DataError, SettingsError
from elman.explain.forms import Floats, attributes_to_dict, count_of, to_frame
from elman.explain.lags import (
    Ints,
    MemoryCurve,
    effect_by_lag,
    lag_grid,
    longest_lag,
    make_curve,
    steps_at_lags,
)
from elman.explain.network import ExplainedNetwork
from elman.explain.sensitivity import (
    Replacement,
    change_by_step,
    describe_distance,
    describe_replacement,
    distance_to_first,
    replacement_for,
    smallest_effect,
)
from elman.models import ModelConfig
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SEQUENCES = range(20, 101)  # smallest and largest default number of sequences to measure
_STEPS = 2_000_000  # default budget of steps through the network: seconds with 64 units
_LAGS = 32  # most lags to measure by default, unless all are affordable


@dataclass(frozen=True, eq=False)
class Memory:
    """How the output depends on earlier inputs and, in a bidirectional network, on later ones.

    Args:
        past: the effect of earlier inputs.
        future: the effect of later inputs, for a bidirectional network; else None.
        per_step: whether the network has an output at every step.
        measure: the unit of an effect, in words.
        replacement: the replacement of an input, in words.
        share: share of the largest change below which an input counts as forgotten.
        ignores_input: whether neither a replaced input nor another sequence changes the prediction
            by more than `smallest`.
        smallest: the change below which there is none to speak of; see `smallest_effect`.
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
    ignores_input: bool
    smallest: float
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

    @property
    def why_no_figure(self) -> str:
        """Why there is nothing to draw; empty if there is."""
        if self.ignores_input:
            return self._describe_ignorance()
        return "All measured sequences have one step." if self.longest == 1 else ""

    def plot(self) -> Figure:
        """Draw effect over time lag, with intervals, and how many sequences reach how far.

        Where there is nothing to see, the figure holds a sentence that says why.
        """
        from elman.plots.memory import draw_memory
        from elman.plots.states import note_figure

        reason = self.why_no_figure
        return note_figure(reason) if reason else draw_memory(self)

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
            name: attributes_to_dict(curve, "lags", *_CURVE_COLUMNS, *_REACH)
            for name, curve in self.curves.items()
        }
        names = ("per_step", "measure", "replacement", "share", "ignores_input", "smallest")
        more = ("used", "available", "longest", "seed")
        return curves | attributes_to_dict(self, *names, *more)

    def __str__(self) -> str:
        lines = [self._describe(name, curve) for name, curve in self.curves.items()]
        if self.ignores_input:
            lines = [self._describe_ignorance()]
        lines.append(
            f"An input counts if replacing it by {self.replacement} changes an output by at least "
            f"{self.share:.0%} of the largest change. Effect: {self.measure}. Measured on "
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
        least = "at least " * (curve.reach == self.longest - 1)
        largest = int(np.argmax(curve.effect))
        far = f"{least}{count_of(curve.reach, 'step')} {where}"
        return (
            f"{name.capitalize()}: inputs count up to {far} (95 % interval {curve.reach_low:,} to "
            f"{curve.reach_high:,}); the median of the sequences is "
            f"{max(0, curve.typical_reach):,}. The mean effect is largest, "
            f"{curve.effect[largest]:.3g}, at lag {int(curve.lags[largest]):,}."
        )

    def _describe_ignorance(self) -> str:
        return (
            "The network ignores its input: neither a replaced input nor another sequence changes "
            f"the prediction by more than {self.smallest:.2g}."
        )


_CURVE_COLUMNS = ("effect", "low", "high", "sequences")
_REACH = ("reaches", "reach", "reach_low", "reach_high")


@TorchThreads(1)  # torch forks and joins its threads at every time step: see `trace`
def memory(
    model: Any,
    X: Any,
    *,
    replace: Replacement = "others",
    sequences: int | None = None,
    lags: int | None = None,
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
            if that sequence is too short), one that differs if there is one in eight draws; or
            `baseline`, 0 for numbers, the training mean of standardised channels, and the unknown
            token or category.
        sequences: largest number of sequences to measure, chosen at random from X. None for 100, or
            fewer if they are long: about two million steps in all, but at least 20 sequences.
        lags: largest number of lags to measure, and of steps to replace in a sequence; None for all
            if that takes at most two million steps, else 32. The curve has all lags that a tenth of
            the sequences, and at least two, have; if these are more than `lags`, a logarithmic grid
            of them. With an output at every step, the replaced steps are chosen at random.
        share: share of the largest change below which an input counts as forgotten.
        seed: seed of the random choices.
    Raises: SettingsError for a value out of range; DataError for fewer than two sequences, or one
        that the network cannot read.
    """
    _check_options(replace, sequences, lags, share)
    network = ExplainedNetwork.of(model)
    config = network.model.config
    rows, networks = _encode(network, X)
    rng = np.random.default_rng(seed)
    names = ("past", "future") if config.bidirectional else ("past",)
    used = rng.permutation(len(rows))
    if sequences is None:
        replaced = (lags or _LAGS) * len(names)
        sequences = _affordable_count([len(rows[i]) for i in used], replaced)
    used = np.sort(used[:sequences])
    lengths = [len(rows[i]) for i in used]
    lags = lags or (max(lengths) if sum(n * n for n in lengths) <= _STEPS else _LAGS)
    grid = lag_grid(lengths, lags)
    measured = []
    for i in used:
        steps = _steps_to_replace(network.model.config, rows[i], lags, grid, rng)
        replacements = torch.stack(
            [replacement_for(rows, int(i), step, replace, network.model, rng) for step in steps]
        )
        measured.append((steps, change_by_step(networks[i], rows[i], steps, replacements)))
    answers = torch.stack([_last_output(networks[i], rows[i]) for i in used])
    smallest = smallest_effect(network, answers)
    largest = max(float(change.max()) for _, changes in measured for change in changes)
    spread = float(distance_to_first(network, answers).max())
    ignores = max(largest, spread) <= smallest
    least = np.inf if ignores or largest == 0 else share * largest
    curves = {}
    for side, name in enumerate(names):
        each = [(c[side], steps, n) for (steps, c), n in zip(measured, lengths, strict=True)]
        effect = np.stack([effect_by_lag(c, steps, grid, n, name) for c, steps, n in each])
        reaches = np.array([longest_lag(c, steps, n, name, least) for c, steps, n in each])
        curves[name] = make_curve(effect, grid, reaches, rng)
    return Memory(
        past=curves["past"],
        future=curves.get("future"),
        per_step=config.per_step,
        measure=describe_distance(network),
        replacement=describe_replacement(replace, config),
        share=share,
        ignores_input=ignores,
        smallest=smallest,
        used=len(used),
        available=len(rows),
        longest=max(lengths),
        seed=seed,
    )


def _encode(network: ExplainedNetwork, X: Any) -> tuple[list[Tensor], list[ExplainedNetwork]]:
    """Return the sequences of X, (T, C) or (T,), and the network with the features of each.

    Raises: DataError for fewer than two sequences.
    """
    weight = network.model.output.weight
    encoded = network.encode(network.read_sequences(X))
    rows = [torch.from_numpy(values).to(weight.device) for values in encoded]
    if len(rows) < 2:
        raise DataError(
            f"X holds {len(rows)} sequences", remedy="Expected at least two, to average over."
        )
    networks = [network.bind(encoded, i) for i in range(len(rows))]
    if not network.model.config.vocabulary_size:
        rows = [row.to(weight.dtype) for row in rows]
    return rows, networks


def _steps_to_replace(
    config: ModelConfig, row: Tensor, most: int, grid: Ints, rng: np.random.Generator
) -> list[int]:
    """Steps to replace in a sequence, from 0; for one output a sequence those at the lags."""
    if config.per_step:
        return sorted(rng.permutation(len(row))[:most].tolist())
    if len(row) <= most:
        return list(range(len(row)))
    return steps_at_lags(row, grid, config.bidirectional)


def _last_output(network: ExplainedNetwork, row: Tensor) -> Tensor:
    """The output of a sequence, or of its last step, (K,)."""
    with torch.no_grad():
        outputs: Tensor = network.model(row[None], torch.tensor([len(row)]))[0].double().cpu()
    return outputs[-1] if network.model.config.per_step else outputs


def _check_options(replace: str, sequences: int | None, lags: int | None, share: float) -> None:
    if replace not in ("others", "baseline"):
        raise SettingsError(f"replace: got {replace!r:.40}, expected 'others' or 'baseline'")
    for name, value in {"sequences": sequences, "lags": lags}.items():
        if value is None:
            continue
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 2:
            raise SettingsError(f"{name}: got {value!r:.40}, expected a whole number from 2")
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise SettingsError(f"share: got {share!r:.40}, expected a share above 0 and up to 1")


def _affordable_count(lengths: list[int], replaced: int) -> int:
    """Default number of sequences to measure, from their lengths in the order of use."""
    cost = np.cumsum([length * min(length, replaced) for length in lengths])
    return int(np.clip((cost <= _STEPS).sum(), _SEQUENCES[0], _SEQUENCES[-1]))
