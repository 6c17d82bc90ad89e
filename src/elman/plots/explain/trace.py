"""What a network did with one sequence: input, states, gates, and the prediction as it forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elman.plots.explain.panels import (
    MOST_LINES,
    Panel,
    draw_input,
    draw_lines,
    heat,
    name_tokens,
    stacked,
    tokens_of,
    unit_axis,
)
from elman.plots.style import GREY, Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What each is called beside its letter; those from 0 to 1 are gates.
NAMES = {
    "r": "reset gate r",
    "z": "update gate z",
    "n": "candidate n",
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate g",
    "o": "output gate o",
    "c": "cell state c",
    "h": "hidden state h",
}
FROM_0_TO_1 = ("r", "z", "i", "f", "o")


class LayerLike(Protocol):
    """One layer and direction; `elman.explain.trace.LayerTrace` has all of it."""

    @property
    def layer(self) -> int:
        """From 0."""

    @property
    def direction(self) -> str:
        """forward or backward."""

    @property
    def gates(self) -> Mapping[str, Floats]:
        """By name, each (T, H)."""


class TraceLike(Protocol):
    """What the picture asks for; `elman.explain.trace.Trace` has all of it."""

    @property
    def inputs(self) -> NDArray[Any]:
        """(T, C) numbers or (T,) tokens."""

    @property
    def input_names(self) -> Sequence[str]:
        """Of the C channels."""

    @property
    def layers(self) -> Sequence[LayerLike]:
        """From the lowest up."""

    @property
    def hidden(self) -> Floats:
        """(T, D*H), of the top layer."""

    @property
    def distribution(self) -> Floats:
        """(T, K)."""

    @property
    def classes(self) -> Sequence[Any]:
        """(K,)."""

    @property
    def task(self) -> str:
        """classification, multilabel or regression."""

    @property
    def per_step(self) -> bool:
        """Whether there is an output at every step."""


def draw_trace(found: TraceLike) -> Figure:
    """Draw input, hidden states of the top layer, its gates, and the prediction as it forms."""
    tokens = tokens_of(found.inputs)
    top = found.layers[-1].layer
    gated = [e for e in found.layers if e.layer == top and set(e.gates) & set(FROM_0_TO_1)]
    heights = [*([] if tokens else [1.3]), 2.0, *[1.3] * len(gated), 2.0]
    with stacked(heights, len(found.hidden)) as (figure, panels):
        remaining = iter(panels)
        if tokens is None:
            panel = next(remaining)
            draw_input(panel, found.inputs, found.input_names)
            panel[0].set_title("Input, as the network reads it")
        panel = next(remaining)
        _states(panel, found.hidden, bool((found.hidden < 0).any()))
        both = len({e.direction for e in found.layers}) > 1
        halves = ": forward above, backward below" if both else ""
        panel[0].set_title(f"Hidden states of the top layer{halves}")
        if both:
            panel[0].axhline(found.hidden.shape[1] / 2 + 0.5, color="white", linewidth=1.6)
        for each, panel in zip(gated, remaining, strict=False):
            names = [name for name in each.gates if name in FROM_0_TO_1]
            means = np.stack([each.gates[name].mean(1) for name in names], 1)
            draw_lines(panel, means, [NAMES[name] for name in names], bounds=(-0.03, 1.03))
            which = f", {each.direction}" if both else ""
            panel[0].set_title(f"Gates of the top layer{which}, mean of the units")
            panel[0].set_ylabel("open")
        _prediction(panels[-1], found)
        if tokens is not None:
            name_tokens(panels[0][0], tokens)
    return figure


def draw_gates(found: TraceLike, layer: LayerLike) -> Figure:
    """Draw every gate and state of one layer and direction, unit by unit."""
    tokens = tokens_of(found.inputs)
    with stacked([1.3] * len(layer.gates), len(found.hidden)) as (figure, panels):
        for panel, (name, values) in zip(panels, layer.gates.items(), strict=True):
            if name in FROM_0_TO_1:
                what = "keeps the old" if name == "z" else "open"
                heat(panel, values, what, signed=False, limit=1.0)
                unit_axis(panel[0], values.shape[1])
            else:
                _states(panel, values, bool((values < 0).any()), "cell" if name == "c" else "state")
            panel[0].set_title(NAMES[name].capitalize() if name not in "h" else "Hidden state h")
        text = f"layer {layer.layer}, {layer.direction}"
        panels[0][0].set_title(text, loc="right", color=GREY, fontsize=8.5)
        if tokens is not None:
            name_tokens(panels[0][0], tokens)
    return figure


def _states(panel: Panel, values: Floats, signed: bool, what: str = "state") -> None:
    """States have no unit; those of tanh lie between -1 and 1."""
    within = float(np.abs(values).max()) <= 1
    heat(panel, values, what, signed=signed, limit=1.0 if within else None)
    unit_axis(panel[0], values.shape[1])


def _prediction(panel: Panel, found: TraceLike) -> None:
    """The most prominent answers, each a line; the others grey."""
    values = found.distribution
    known = np.where(np.isfinite(values), values, -np.inf)
    # Of classes those that stood high at some step, the last answer among them; of values the last.
    height = known[-1] if found.task == "regression" else known.max(0)
    if not found.per_step:
        height[known[-1].argmax()] = np.inf
    prominent = np.argsort(-height, kind="stable")
    chosen = np.arange(values.shape[1]) if values.shape[1] <= MOST_LINES else prominent[:5]
    rest = np.setdiff1d(np.arange(values.shape[1]), chosen)
    names = [found.classes[k] for k in chosen.tolist()]
    if found.task == "regression":
        draw_lines(panel, values[:, chosen], names, behind=values[:, rest])
        panel[0].set_ylabel("value, target's unit")
        what = "Values"
    else:
        top = 1.0 if values.max() > 0.5 else 1.3 * float(values.max())
        bounds = (-0.03 * top, 1.03 * top)
        draw_lines(panel, values[:, chosen], names, behind=values[:, rest], bounds=bounds)
        panel[0].set_ylabel("probability")
        what = "Probabilities"
    how = "at each step, given the whole sequence" if found.per_step else "as they form"
    panel[0].set_title(f"{what} {how}" + ("" if found.per_step else ": if it ended at this step"))
