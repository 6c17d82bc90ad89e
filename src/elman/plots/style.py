"""Shared by all figures: palette, axes, PNG files, intervals of shares, bins of lengths.

Nothing here uses pyplot, so no display is needed and pyplot keeps no reference to a figure.
matplotlib is imported when the first figure is drawn.
"""

from __future__ import annotations

import functools
import importlib
import io
import itertools
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.evaluate import Report

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DPI = 150
MOST_BINS = 8
BIN_SIZE = 10  # target number of sequences per bin: with fewer, wide intervals hide any trend

# Okabe and Ito's colours can be told apart with any colour vision: jfly.uni-koeln.de/color
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#AA4499"
ORANGE = "#E69F00"
SKY = "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)

INK = "#333333"
GREY = "#767676"
PALE = "#C8C8C8"
GRID = "#E6E6E6"

# Captions call these lines dashed and dotted, so all figures draw them with these.
DASHED: Any = (0, (4, 3))
DOTTED: Any = (0, (1, 1.8))

# Fallback fonts for letters that matplotlib's own font lacks. Only installed ones are listed,
# because matplotlib warns about others.
MORE_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Microsoft YaHei")

RC: Any = {
    "font.size": 9.0,
    "text.color": INK,
    "text.usetex": False,
    "axes.facecolor": "white",
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.solid_capstyle": "round",
}


@functools.cache
def _figure_class() -> type[Figure]:
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):  # type: ignore[misc,unused-ignore]
        """A figure that a notebook shows without pyplot or its inline backend.

        If that backend is active, IPython prefers its own figure formatter to this method, so a
        figure is never shown twice.
        """

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            # Display size; the image has more pixels, so that it is sharp on high-DPI screens.
            width, height = self.get_size_inches()
            return to_png(self), {"width": int(width * 96), "height": int(height * 96)}

    return NotebookFigure


class _FontProgramError(Exception):
    """matplotlib was about to run another program that lists fonts."""


def _load_fonts() -> None:
    """Import matplotlib's fonts, without the programs that it runs if it has no list of them yet.

    It then looks for fonts in the usual folders and asks fc-list or system_profiler as well. elman
    starts no other program, so the folders have to do; the list is not kept for other users of
    matplotlib, who may need more fonts.
    """
    if "matplotlib.font_manager" in sys.modules:
        return
    import matplotlib as mpl

    log = logging.getLogger("matplotlib.font_manager")
    cached: Callable[[], str] = mpl.get_cachedir
    before = cached, subprocess.check_output, log.disabled
    # First with the list that matplotlib has kept, then with a new one, which it cannot write.
    for folder, error in ((cached, _FontProgramError()), (lambda: os.devnull, OSError())):
        mpl.get_cachedir = folder
        subprocess.check_output = functools.partial(_refuse, before[1], error)
        log.disabled = isinstance(error, OSError)  # it would warn that it cannot write
        try:
            importlib.import_module("matplotlib.font_manager")
            return
        except _FontProgramError:
            continue
        finally:
            mpl.get_cachedir, subprocess.check_output, log.disabled = before


def _refuse(run: Callable[..., Any], error: Exception, command: Any, **options: Any) -> Any:
    """Raise the error for the programs that list fonts; run others, of other threads."""
    if command[0] in ("fc-list", "system_profiler"):
        raise error
    return run(command, **options)


@functools.cache
def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in MORE_FONTS if name in installed)]


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of the given size in inches; the style applies within the block."""
    _load_fonts()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with mpl.rc_context({**RC, "font.family": _fonts()}):
        figure = _figure_class()(
            figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained"
        )
        FigureCanvasAgg(figure)
        yield figure


def style_axes(axes: Axes, grid: Literal["both", "x", "y", ""] = "both") -> None:
    """Remove tick marks, set the style of their labels, and draw a light grid behind the data.

    matplotlib makes ticks when it draws the figure, after the block of `new_figure` has ended and
    its settings no longer hold, so their style is set here.
    """
    axes.tick_params(length=0, pad=5, color=GREY, labelcolor=GREY, labelsize=8, grid_color=GRID)
    axes.tick_params(which="minor", length=0)
    if grid:
        axes.grid(True, axis=grid, color=GRID, linewidth=0.8)


def label(text: object, most: int = 18) -> str:
    """Return a label on one line of at most `most` characters, without math text."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    if len(plain) > most:  # cut in the middle: related names often differ at the end
        tail = (most - 1) // 3
        plain = plain[: most - 1 - tail] + "…" + plain[len(plain) - tail :]
    return plain.replace("$", r"\$")


def share_colours() -> tuple[Any, Any]:
    """Return the colours of shares, from white to dark blue, and a norm that shows small ones."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    shades = ["#FFFFFF", "#9CCBE6", BLUE, "#00304D"]
    colours = LinearSegmentedColormap.from_list("share", shades).with_extremes(bad="#F2F2F2")
    return colours, PowerNorm(0.6, 0, 1)


def add_share_bar(figure: Figure, axes: Axes, image: Any, what: str) -> None:
    """Draw the colour bar of an image of shares with the colours of `share_colours`."""
    bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=22, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.1, 0.5, 1], labels=["0 %", "10 %", "50 %", "100 %"])
    bar.ax.tick_params(length=0, labelsize=8, colors=GREY)
    bar.set_label(what, fontsize=8, color=GREY)


def spread(heights: list[float], gap: float) -> list[float]:
    """Move `heights` apart until neighbours are at least `gap` from each other, keeping order."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = list(heights)
    # Separating one pair can make it overlap the next; 50 passes suffice for a panel's few lines.
    for _ in range(50):
        for low, high in itertools.pairwise(order):
            lack = gap - (placed[high] - placed[low])
            if lack > 1e-9:
                placed[low] -= lack / 2
                placed[high] += lack / 2
    return placed


def to_png(figure: Figure) -> bytes:
    """Return a PNG; a letter that no font has is drawn as a box, without a warning."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format="png", dpi=DPI, facecolor="white", transparent=False)
    return stream.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a PNG file. Raises WriteError."""
    write_file(path, to_png(figure))


@dataclass(frozen=True, eq=False)
class LengthBin:
    """Sequences of similar length: a mask, (n,) bool, and the label on the axis."""

    members: NDArray[np.bool_]
    first: int
    last: int

    @property
    def span(self) -> str:
        """Range of lengths, from the shortest to the longest."""
        if self.first == self.last:
            return f"{self.first:,}"
        return f"{self.first:,} to {self.last:,}"

    @property
    def label(self) -> str:
        """Range of lengths and number of sequences."""
        return f"{self.span}\nn = {int(self.members.sum()):,}"


def bin_by_length(report: Report) -> list[LengthBin]:
    """Return at most 8 bins of about equal numbers of sequences, without empty bins."""
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
    """Return the smallest length of each of at most 8 bins of about equal counts."""
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
        hits, count: number of correct and of all predictions per sequence, (n,), counts above 0.
    """
    share = float(hits.sum() / count.sum())
    worth = independent_count(hits, count)
    low, high = wilson(np.array([share * worth]), np.array([worth]))
    return share, float(low[0]), float(high[0])


def independent_count(hits: Floats, count: Floats) -> float:
    """Return the effective number of independent predictions.

    The steps of one sequence are not independent, so an interval based on their number would be
    too narrow. This is their number divided by the design effect (Kish 1965).
    """
    n, total = len(hits), float(count.sum())
    if total == n:  # one prediction per sequence
        return total
    share = hits.sum() / total
    # Linearised variance of the ratio of two sums over sequences.
    variance = n / max(n - 1, 1) * ((hits - share * count) ** 2).sum() / total**2
    # If all predictions are right or all wrong, the variance is 0: count each sequence once.
    return float(np.clip(share * (1 - share) / variance, 1, total)) if variance > 0 else float(n)


def wilson(right: Floats, count: Floats) -> tuple[Floats, Floats]:
    """95 % interval of a share, `right` of `count` independent predictions, each (b,), counts > 0.

    Source: Wilson 1927. Unlike the bootstrap, it keeps its level for the small counts of a bin and
    for shares near 0 and 1, where resamples of a bin without errors never contain one.
    """
    z = 1.959963984540054
    share = right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
