"""The style of every figure: size, palette, axes, and how a figure becomes a PNG.

Nothing here touches pyplot, so no display is needed and no figure is kept alive behind the
caller's back. matplotlib is imported when the first figure is drawn.
"""

from __future__ import annotations

import functools
import io
import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DPI = 150

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

# Used if installed, for letters that matplotlib's own font lacks. Only those installed are named,
# as matplotlib warns about others.
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

        Where that backend is set up, IPython prefers its own printer for figures to this method,
        so a figure is never shown twice.
        """

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            stream = io.BytesIO()
            save(self, stream)
            # Size on the page; the image has more pixels, to be sharp on a dense screen.
            width, height = self.get_size_inches()
            return stream.getvalue(), {"width": int(width * 96), "height": int(height * 96)}

    return NotebookFigure


@functools.cache
def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in MORE_FONTS if name in installed)]


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of a size in inches; what is drawn in the block has this style."""
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
    """Return a label on one line of at most `most` characters, with no mathematics."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    if len(plain) > most:  # cut from the middle: names of one family differ at the end
        tail = (most - 1) // 3
        plain = plain[: most - 1 - tail] + "…" + plain[len(plain) - tail :]
    return plain.replace("$", r"\$")


def spread(heights: list[float], gap: float) -> list[float]:
    """Move `heights` apart until neighbours are at least `gap` from each other, keeping order."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = list(heights)
    for _ in range(50):
        for low, high in itertools.pairwise(order):
            lack = gap - (placed[high] - placed[low])
            if lack > 1e-9:
                placed[low] -= lack / 2
                placed[high] += lack / 2
    return placed


def save(figure: Figure, target: Path | io.BytesIO) -> None:
    """Write a PNG; a letter that no font has is drawn as a box, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(target, format="png", dpi=DPI, facecolor="white", transparent=False)
