"""What several figures compute from a report: intervals of shares, and bins of lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from elman.plots.style import Floats, Ints

if TYPE_CHECKING:
    from elman.evaluate import Report

MOST_BINS = 8
BIN_SIZE = 10  # sequences to aim for in a bin: with fewer, intervals hide any trend


@dataclass(frozen=True, eq=False)
class LengthBin:
    """Sequences of similar length: which, (n,) bool, and how the axis names them."""

    members: Ints
    first: int
    last: int

    @property
    def span(self) -> str:
        """Lengths from the shortest to the longest."""
        if self.first == self.last:
            return f"{self.first:,}"
        return f"{self.first:,} to {self.last:,}"

    @property
    def label(self) -> str:
        """Lengths, and how many sequences there are."""
        return f"{self.span}\nn = {int(self.members.sum()):,}"


def bin_by_length(report: Report) -> list[LengthBin]:
    """Return at most 8 bins of about as many sequences each, without those that are empty."""
    edges = length_edges(report.lengths)
    place = np.searchsorted(edges, report.lengths, side="right") - 1
    predictions = np.bincount(owners_of(report), minlength=report.count)
    bins = []
    for b in range(len(edges)):
        members = place == b
        if predictions[members].any():
            lengths = report.lengths[members]
            bins.append(LengthBin(members, int(lengths.min()), int(lengths.max())))
    return bins


def length_edges(lengths: Ints) -> Ints:
    """Return the smallest length of each bin: at most 8 bins of about as many sequences each."""
    values = np.unique(lengths)
    bins = int(np.clip(len(lengths) // BIN_SIZE, 1, MOST_BINS))
    if len(values) <= bins:
        return values
    cuts = np.quantile(lengths, np.linspace(0, 1, bins + 1)[:-1], method="closest_observation")
    return np.unique(np.append(cuts, values[0])).astype(np.int64)


def owners_of(report: Report) -> Ints:
    """Return the sequence of each prediction, (m,)."""
    return np.arange(report.count) if report.owners is None else report.owners


def share_with_interval(hits: Floats, count: Floats) -> tuple[float, float, float]:
    """Return the share of correct predictions and its 95 % interval.

    Args:
        hits, count: correct predictions and predictions of each sequence, (n,), counts over 0.
    """
    share = float(hits.sum() / count.sum())
    worth = independent_count(hits, count)
    low, high = wilson(np.array([share * worth]), np.array([worth]))
    return share, float(low[0]), float(high[0])


def independent_count(hits: Floats, count: Floats) -> float:
    """Return how many independent predictions would vary as much as those of these sequences.

    The steps of one sequence are not independent, so an interval from their number would be too
    narrow. This is their number divided by the design effect (Kish 1965).
    """
    n, total = len(hits), float(count.sum())
    if total == n:  # one prediction a sequence
        return total
    share = hits.sum() / total
    # Variance of the ratio of two sums over sequences (linearised).
    variance = n / max(n - 1, 1) * ((hits - share * count) ** 2).sum() / total**2
    # Where all is right or all is wrong no variance is seen: then each sequence counts once.
    return float(np.clip(share * (1 - share) / variance, 1, total)) if variance > 0 else float(n)


def wilson(right: Floats, count: Floats) -> tuple[Floats, Floats]:
    """95 % interval of a share, `right` of `count` independent predictions, each (b,), counts > 0.

    Source: Wilson 1927. Not the bootstrap: it keeps its level for the small counts of a bin and for
    shares near 0 and 1, where resamples of a bin without an error never show one.
    """
    z = 1.959963984540054
    share = right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
