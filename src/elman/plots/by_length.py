"""Whether long sequences are harder than short ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from elman.plots.style import BLUE, GREY, Floats, Ints, drawing, quiet
from elman.plots.view import ReportLike, wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BINS = 8
FEWEST = 10  # sequences to aim for in a bin


def accuracy_by_length(report: ReportLike) -> Figure:
    """Draw the share of right answers over the length of the sequence, with 95 % intervals.

    Bins hold about as many sequences each. Intervals are Wilson's. For a tagger the steps of a
    sequence are not independent, so their number is first lowered to as many independent answers
    as vary as much as the sequences do.
    """
    edges = length_edges(report.lengths)
    place = np.searchsorted(edges, report.lengths, side="right") - 1
    right = (report.predicted == report.true).astype(np.float64)
    owners = np.arange(report.count) if report.owners is None else report.owners
    hits = np.bincount(owners, weights=right, minlength=report.count)
    asked = np.bincount(owners, minlength=report.count).astype(np.float64)
    bins = [b for b in range(len(edges)) if asked[place == b].sum() > 0]
    share = np.array([hits[place == b].sum() / asked[place == b].sum() for b in bins])
    worth = np.array([independent(hits[place == b], asked[place == b]) for b in bins])
    low, high = wilson(share * worth, worth)
    with drawing(max(4.6, 1.6 + 0.75 * len(bins)), 3.4) as figure:
        axes = figure.subplots()
        quiet(axes, grid="y")
        at = np.arange(len(bins))
        axes.axhline(report.accuracy, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"all: {report.accuracy:.3f}", (1, report.accuracy),
            xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8, color=GREY,
        )  # fmt: skip
        axes.vlines(at, low, high, color=BLUE, linewidth=6, alpha=0.25)
        axes.plot(at, share, "o", color=BLUE, markersize=6, label="accuracy")
        names = []
        for b in bins:
            held = report.lengths[place == b]
            first, last = int(held.min()), int(held.max())
            span = f"{first:,}" if first == last else f"{first:,} to {last:,}"
            names.append(f"{span}\nn = {len(held):,}")
        axes.set_xticks(at, names)
        axes.set_xlim(-0.6, len(bins) - 0.4)
        bottom = max(0.0, float(min(low.min(), report.accuracy)) - 0.05)
        axes.set_ylim(bottom, min(1.02, float(high.max()) + 0.05))
        axes.set_xlabel("steps of the sequence, and number of sequences")
        axes.set_ylabel("accuracy" if report.steps is None else "accuracy over steps")
        axes.set_title("Accuracy by length")
    return figure


def length_edges(lengths: Ints) -> Ints:
    """Return the smallest length of each bin: at most 8 bins of about as many sequences each."""
    values = np.unique(lengths)
    wanted = int(np.clip(len(lengths) // FEWEST, 1, MOST_BINS))
    if len(values) <= wanted:
        return values
    cuts = np.quantile(lengths, np.linspace(0, 1, wanted + 1)[:-1], method="closest_observation")
    return np.unique(np.append(cuts, values[0])).astype(np.int64)


def independent(hits: Floats, asked: Floats) -> float:
    """How many independent answers would vary as much as those of these sequences together."""
    n, total = len(hits), float(asked.sum())
    if total == n:  # one answer a sequence
        return total
    share = hits.sum() / total
    # Variance of the ratio of two sums over sequences (linearised).
    variance = n / max(n - 1, 1) * ((hits - share * asked) ** 2).sum() / total**2
    # No variance is seen where all is right or all is wrong: then each sequence counts once.
    return float(np.clip(share * (1 - share) / variance, 1, total)) if variance > 0 else float(n)
