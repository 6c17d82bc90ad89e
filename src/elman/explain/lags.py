"""Effects of replaced inputs by time lag: their means, intervals, and the reach of each sequence.

Dimensions: n sequences, T steps, S replaced steps, D lags, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elman.explain.forms import Floats

Ints = NDArray[np.int64]

_RESAMPLES = 1000  # the ends of a 95 % interval have a standard error of 2 % of its width


@dataclass(frozen=True, eq=False)
class MemoryCurve:
    """Effect of replaced inputs by time lag, for the past or the future.

    Args:
        lags: the measured time lags, from 0, (D,).
        effect: mean effect over sequences, (D,).
        low, high: 95 % bootstrap interval of the mean, (D,), from resampled sequences.
        sequences: number of sequences measured at each lag, (D,).
        reaches: the longest lag in each sequence at which an input counts: some output changes by
            at least `Memory.share` of the largest change, (n,); -1 if no input counts.
        reach: the largest of `reaches`; None if no input counts.
        reach_low, reach_high: 95 % bootstrap interval of `reach`, from resampled sequences: a low
            end far below `reach` means that only few sequences reach that far. None without reach.
    """

    lags: Ints
    effect: Floats
    low: Floats
    high: Floats
    sequences: Ints
    reaches: Ints
    reach: int | None
    reach_low: int | None
    reach_high: int | None

    @property
    def typical_reach(self) -> int:
        """The median of `reaches`: half of the sequences reach at least as far."""
        return int(np.sort(self.reaches)[len(self.reaches) // 2])


def _fewest_sequences(used: int) -> int:
    """Fewest sequences for a lag: a tenth, and at least two, which the interval needs."""
    return max(2, -(-used // 10))


def lag_grid(lengths: list[int], most: int) -> Ints:
    """Lags from 0 that enough sequences have: all, or at most `most` on a logarithmic scale."""
    end = sorted(lengths)[-_fewest_sequences(len(lengths))]
    if end <= most:
        return np.arange(end)
    # Rounding maps several grid points to the same short lag, so fewer than `most` may remain.
    return np.unique(np.round(np.geomspace(1, end, most)).astype(np.int64)) - 1


def steps_at_lags(row: Tensor, grid: Ints, bidirectional: bool) -> list[int]:
    """Steps to replace, from 0, with one output a sequence: one step for each lag."""
    lags = grid[grid < len(row)]
    ahead = lags if bidirectional else lags[:0]
    steps: list[int] = np.union1d(len(row) - 1 - lags, ahead).tolist()
    return steps


def effect_by_lag(change: Floats, steps: list[int], grid: Ints, T: int, side: str) -> Floats:
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


def longest_lag(change: Floats, steps: list[int], T: int, side: str, least: float) -> int:
    """The longest lag of one sequence with a change of at least `least`; -1 if there is none."""
    replaced = np.array(steps)
    if change.ndim == 1:
        lags = T - 1 - replaced if side == "past" else replaced
    else:
        lags = np.arange(T) - replaced[:, None]  # (S, T)
        lags = lags if side == "past" else -lags
    return int(lags[change >= least].max(initial=-1))


def make_curve(effects: Floats, grid: Ints, reaches: Ints, rng: np.random.Generator) -> MemoryCurve:
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
    longest = np.where(times > 0, reaches, -1).max(1)  # of each resample
    ends = np.percentile(longest, [2.5, 97.5], method="closest_observation").tolist()
    reach = int(reaches.max())
    interval = (None, None, None) if reach < 0 else (reach, max(0, int(ends[0])), int(ends[1]))
    return MemoryCurve(grid, effect, low, high, counts, reaches, *interval)
