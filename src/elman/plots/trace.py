"""Figures of a trace: states, votes, gates and prediction of a network over one sequence.

Dimensions: T steps, H units, D directions, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.plots.states import (
    MAX_LINES,
    Panel,
    draw_lines,
    draw_strip,
    heat,
    line_colour,
    stacked,
    strip_height,
    title_directions,
    unit_axis,
)
from elman.plots.style import GREY, VERMILION, Floats, label
from elman.tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from elman.explain.forward import LayerTrace
    from elman.explain.trace import Trace

SORTED = "unit, by peak of vote"
MOST_LABELS = 12  # most lines of true and predicted labels

# Titles of gates and states of the built-in cells; those of a user's cell keep their names.
NAMES = {
    "gru": {"r": "reset gate r", "z": "update gate z", "n": "candidate n"},
    "lstm": {
        "i": "input gate i",
        "f": "forget gate f",
        "g": "candidate g",
        "o": "output gate o",
        "c": "cell state c",
    },
}


def draw_trace(trace: Trace) -> Figure:
    """Draw input, hidden states of the top layer, their votes, its gates, and the prediction."""
    top = trace.layers[-1].layer
    gated = [e for e in trace.layers if e.layer == top and e.sigmoid_gates]
    votes = trace.shown_votes()
    strip = _tags(trace)
    heights = [1.6, *[1.6] * len(votes), *[1.3] * len(gated)]
    heights += [strip_height(strip)] if strip else []
    heights.append(2.0)
    with stacked(heights, trace.inputs, trace.channel_names, 1.3, trace.categories) as (
        figure,
        panels,
    ):
        remaining = iter(panels)
        directions = {layer.direction for layer in trace.layers}
        order, numbers = trace.unit_order, _numbers(trace.unit_order, trace.layers[0].h.shape[1])
        panel = next(remaining)
        _states(panel, trace.hidden[:, order], numbers)
        panel[0].set_ylabel(SORTED)
        title_directions(panel, "Hidden states of the top layer", trace.hidden, directions)
        limit = max(float(np.abs(values).max()) for _, values in votes) or 1.0
        for what, values in votes:
            panel = next(remaining)
            unit = "logit" if TASKS[trace.task].has_classes else "target's unit"
            heat(panel, values[:, order], f"vote, {unit}", diverging=True, limit=limit)
            unit_axis(panel[0], numbers)
            panel[0].set_ylabel(SORTED)
            title_directions(
                panel, f"Votes V h of the units for {label(what, 40)}", values, directions
            )
        for layer in gated:
            panel = next(remaining)
            names = layer.sigmoid_gates
            means = np.stack([layer.gates[name].mean(1) for name in names], 1)
            texts = [f"{name}: {_at_one(layer, name)}" for name in names]
            draw_lines(panel, means, texts, bounds=(-0.03, 1.03))
            which = f", {layer.direction}" if len(directions) > 1 else ""
            panel[0].set_title(f"Gates of the top layer{which}, mean over the units")
            panel[0].set_ylabel("0 no, 1 yes")
        if strip:
            _draw_tags(next(remaining), trace, strip)
        _prediction(panels[-1], trace)
    return figure


def draw_gates(trace: Trace, layer: LayerTrace, order: NDArray[np.int64]) -> Figure:
    """Draw every gate and state of one layer and direction, unit by unit in this order, (H,)."""
    numbers = _numbers(order, len(order))
    with stacked([1.3] * len(layer.gates), trace.inputs) as (figure, panels):
        for panel, (name, values) in zip(panels, layer.gates.items(), strict=True):
            if name in layer.sigmoid_gates:
                ends = layer.gate_ends.get(name, ("", ""))
                heat(panel, values[:, order], "", limit=1.0, ends=ends)
                unit_axis(panel[0], numbers)
            else:
                _states(panel, values[:, order], numbers, "cell" if name == "c" else "state")
            title = NAMES.get(layer.cell, {}).get(name, "hidden state h" if name == "h" else name)
            panel[0].set_title(title[0].upper() + title[1:])
        text = (
            f"layer {layer.layer}, {layer.direction}; units sorted by the step of the largest |h|"
        )
        panels[0][0].set_title(text, loc="right", color=GREY, fontsize=7.5)
    return figure


def _at_one(layer: LayerTrace, name: str) -> str:
    """What a gate does at 1, in words; the name of the activation for a user's cell."""
    return layer.gate_ends.get(name, ("", "open"))[1]


def _numbers(order: NDArray[np.int64], units: int) -> list[int]:
    """Numbers of the units from 1, in the order in which they are drawn, for each direction."""
    numbers: list[int] = (order % units + 1).tolist()
    return numbers


def _states(panel: Panel, values: Floats, numbers: Sequence[int], what: str = "state") -> None:
    """Draw states, which are dimensionless; states of a tanh lie between -1 and 1."""
    bounded = float(np.abs(values).max()) <= 1
    heat(panel, values, what, signed=bool((values < 0).any()), limit=1.0 if bounded else None)
    unit_axis(panel[0], numbers)


def _prediction(panel: Panel, trace: Trace) -> None:
    """Draw a line for each true, predicted and prominent output, and the others in grey."""
    values, has_classes = trace.distribution, TASKS[trace.task].has_classes
    roles = _roles(trace)
    finite = np.where(np.isfinite(values), values, -np.inf)
    # Classes whose probability was high at some step; for values, the highest at the last step.
    height = finite.max(0) if has_classes else finite[-1]
    prominent = np.argsort(-height, kind="stable").tolist()
    chosen = list(roles)[:MOST_LABELS]
    if values.shape[1] <= MAX_LINES:
        chosen = list(range(values.shape[1]))
    else:
        chosen += [k for k in prominent if k not in roles][: max(0, MAX_LINES - 1 - len(chosen))]
    rest = np.setdiff1d(np.arange(values.shape[1]), chosen)
    names = [
        label(trace.classes[k], 14) + (f" ({', '.join(roles[k])})" if roles.get(k) else "")
        for k in chosen
    ]
    bounds = None
    if has_classes:
        top = 1.0 if values.max() > 0.5 else 1.3 * float(values.max())
        bounds = (-0.03 * top, 1.03 * top)
    elif trace.target is not None:
        _true_values(panel, trace, chosen)
    strong = [i for i, k in enumerate(chosen) if k in roles and has_classes]
    draw_lines(
        panel, values[:, chosen], names, behind=values[:, rest], bounds=bounds, strong=strong
    )
    what, axis = (
        ("Probabilities", "probability") if has_classes else ("Values", "value, target's unit")
    )
    panel[0].set_ylabel(axis)
    when = "given the whole sequence" if trace.per_step else "as if the sequence ended there"
    panel[0].set_title(f"{what} at each step, {when}")


def _roles(trace: Trace) -> dict[int, list[str]]:
    """Outputs that must be drawn, with what each of them is: true, predicted or both.

    With a class at every step, these are the most frequent true and predicted ones, without a word:
    the strip above the panel names them.
    """
    task, target, predicted = TASKS[trace.task], trace.target, trace.predicted
    if predicted is None:
        if target is None or trace.per_step:
            return {}
        return {k: [f"true {v:.4g}"] for k, v in enumerate(target.tolist())}
    roles: dict[int, list[str]] = {}
    if trace.per_step and task.single_label:
        codes = predicted if target is None else np.concatenate([target, predicted])
        counts = np.bincount(codes[codes >= 0].astype(np.int64), minlength=len(trace.classes))
        frequent = [k for k in np.argsort(-counts, kind="stable").tolist() if counts[k]]
        return {k: [] for k in frequent[:MAX_LINES]}
    for role, labels in (("true", target), ("predicted", predicted)):
        if labels is None:
            continue
        last = labels[-1] if trace.per_step else labels
        marked = [int(last)] if task.single_label else np.flatnonzero(last).tolist()
        for k in marked:
            roles.setdefault(k, []).append(role)
    return roles


def _true_values(panel: Panel, trace: Trace, chosen: Sequence[int]) -> None:
    """Draw the true numbers as dashed lines in the colours of the predicted ones."""
    assert trace.target is not None
    steps = np.arange(1, trace.steps + 1)
    for i, k in enumerate(chosen):
        true = np.broadcast_to(trace.target[..., k], trace.steps)
        panel[0].plot(steps, true, color=line_colour(i), linewidth=1.1, linestyle=(0, (6, 3)))
    if trace.per_step:
        panel[0].annotate(
            "dashed: true", (0, 1), xycoords="axes fraction", xytext=(2, -2),
            textcoords="offset points", va="top", fontsize=7.5, color=GREY,
        )  # fmt: skip


def _tags(trace: Trace) -> dict[str, list[Any]]:
    """The class of each step, true and predicted; empty without a class at every step."""
    if not (trace.per_step and TASKS[trace.task].single_label):
        return {}
    rows = {} if trace.target is None else {"true": trace.target}
    rows["predicted"] = np.asarray(trace.predicted)
    classes = trace.classes
    return {n: [classes[k] if k >= 0 else "-" for k in row.tolist()] for n, row in rows.items()}


def _draw_tags(panel: Panel, trace: Trace, rows: dict[str, list[Any]]) -> None:
    """Draw the true and the predicted class of steps in runs, with crosses where they differ."""
    draw_strip(panel, rows)
    wrong = np.zeros(0) if trace.is_wrong is None else np.flatnonzero(trace.is_wrong)
    if len(wrong):
        panel[0].plot(
            wrong + 1, np.full(len(wrong), 0.5), "x", color=VERMILION, markersize=5,
            markeredgewidth=1.6, zorder=3,
        )  # fmt: skip
    said = " (crosses: wrong)" if len(wrong) else ", all correct" * (trace.target is not None)
    panel[0].set_title(f"Class of each step{said}")
