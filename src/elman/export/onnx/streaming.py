"""A network of one direction as an ONNX file that reads sequences in pieces: state in, state out.

The state has the names and shapes of `elman.models.stepping`, rows first, and `carried`, the last
values of channels with gaps. `steps` counts the steps that a row has read: 0 starts a new sequence,
whatever the rest of the state holds, and -1 marks one that elman refuses.

Dimensions: B batch, T time, C channels, H hidden, L layers, K outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ExportError
from elman.estimators import EncodedSequences, Estimator
from elman.export.onnx.graph import BATCH, DOUBLE, FLOAT, INT64, Graph, Size
from elman.export.onnx.inputs import Values, Weights, read_inputs
from elman.export.onnx.network import (
    READOUTS,
    Stack,
    add_answers,
    add_layers,
    add_output_layer,
    first_states,
)
from elman.models import ModelConfig

POOLS = {"mean": ("sum", 0.0), "max": ("max", -np.inf)}  # by readout: state, and its first value


def refuse_both_directions(config: ModelConfig) -> None:
    """Raise ExportError for a network that has no answer before the end of a sequence."""
    if config.bidirectional:
        raise ExportError(
            "this network reads each sequence in both directions, so it has no answer before the "
            "end. Train one that reads forwards: elman train DATA --streaming, in Python "
            "streaming=True; or export it without streaming"
        )


@dataclass(frozen=True)
class _States:
    """Names of the state before the first step of a piece; `fresh` rows, (B,), start anew."""

    steps: str
    fresh: str
    h: dict[str, str]
    pool: str | None
    carried: str | None


def add_stream(graph: Graph, estimator: Estimator, weights: Weights) -> None:
    """Add a fitted estimator to a graph as a function of a piece and a state."""
    config, encoder, target = estimator.model_.config, estimator.encoder_, estimator.target_
    refuse_both_directions(config)
    before = _read_state(graph, estimator)
    values = read_inputs(graph, encoder, config, weights, carried=before.carried, least=0)
    values = _refuse_again(graph, values, before.steps)
    active = graph.add("Less", graph.constant(0, np.int64), values.lengths)
    h, initial = _start(graph, config, weights, values, before)
    # The operators need a step of every row; that of a row without one is dropped below.
    stepped = graph.add("Max", values.lengths, graph.constant(1, np.int64))
    padded = dataclasses.replace(values, lengths=stepped)
    stack = add_layers(graph, config, weights, padded, initial)
    after = {}
    for name, own in h.items():
        joined = graph.add("Concat", *stack.final[name], axis=0)  # (L, B, H)
        joined = graph.add("Transpose", joined, perm=[1, 0, 2])
        after[name] = graph.add("Where", graph.unsqueeze(active, 1, 2), joined, own)
    old = graph.add("Max", before.steps, graph.constant(0, np.int64))
    steps = graph.add("Add", old, values.lengths)
    read, pool = _read_out(graph, config, stack, values, before.pool, steps, after["h"])
    logits = add_output_layer(graph, config, weights, values, read)
    answered = values
    if not config.per_step:
        # A row that has read nothing yet has no answer; of what a readout makes of it, max is inf.
        unread = graph.add("Equal", steps, graph.constant(0, np.int64))
        answered = dataclasses.replace(values, invalid=graph.add("Or", values.invalid, unread))
    add_answers(graph, target, logits, answered, per_step=config.per_step)
    shape: list[Size] = [BATCH, config.num_layers, config.hidden_size]
    for name, own in after.items():
        graph.add_output(own, f"next_{name}", FLOAT, shape)
    if pool is not None:
        graph.add_output(pool, f"next_{POOLS[config.readout][0]}", FLOAT, [BATCH, shape[2]])
    if values.carried is not None:
        graph.add_output(values.carried, "next_carried", DOUBLE, [BATCH, len(encoder.mean)])
    refused = graph.constant(-1, np.int64)
    steps = graph.add("Where", values.invalid, refused, steps)
    graph.add_output(steps, "next_steps", INT64, [BATCH])


def _read_state(graph: Graph, estimator: Estimator) -> _States:
    """Add the inputs of the state; in fresh rows their values are those of a new sequence."""
    config, encoder = estimator.model_.config, estimator.encoder_
    steps = graph.add_input("steps", INT64, [BATCH])
    fresh = graph.add("Equal", steps, graph.constant(0, np.int64))
    shape: list[Size] = [BATCH, config.num_layers, config.hidden_size]
    names = config.cell_definition.initial_states
    h = {name: graph.add_input(name, FLOAT, shape) for name in names}
    pool = carried = None
    rows = graph.unsqueeze(fresh, 1)
    if config.readout in POOLS:
        name, first = POOLS[config.readout]
        own = graph.add_input(name, FLOAT, [BATCH, config.hidden_size])
        pool = graph.add("Where", rows, graph.constant(first, np.float32), own)
    if encoder.gaps.any():
        own = graph.add_input("carried", DOUBLE, [BATCH, len(encoder.mean)])
        carried = graph.add("Where", rows, graph.constant(encoder.fill), own)
    return _States(steps, fresh, h, pool, carried)


def _start(
    graph: Graph, config: ModelConfig, weights: Weights, values: Values, before: _States
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the states of the layers before the piece, (B, L, H), and (1, B, H) of each layer."""
    first = first_states(graph, config, weights, values)
    h, initial = {}, {}
    for name, own in before.h.items():
        start = graph.constant(0, np.float32)
        if first:
            start = graph.add("Concat", *first[name], axis=0)  # (L, B, H)
            start = graph.add("Transpose", start, perm=[1, 0, 2])
        h[name] = graph.add("Where", graph.unsqueeze(before.fresh, 1, 2), start, own)
        layers = graph.add("Transpose", h[name], perm=[1, 0, 2])
        places = [graph.constant([k], np.int64) for k in range(config.num_layers)]
        initial[name] = [graph.add("Gather", layers, place, axis=0) for place in places]
    return h, initial


def _read_out(
    graph: Graph,
    config: ModelConfig,
    stack: Stack,
    values: Values,
    pool: str | None,
    steps: str,
    h: str,
) -> tuple[str, str | None]:
    """Return the readout of the sequence so far, and the sum or maximum that it needs."""
    if config.per_step:
        return READOUTS["every"](graph, stack, values), None
    if pool is None:  # the top layer's state, which a row without a step keeps
        top = graph.constant(config.num_layers - 1, np.int64)
        return graph.add("Gather", h, top, axis=1), None
    valid = graph.unsqueeze(values.mask, 2)
    first = graph.constant(POOLS[config.readout][1], np.float32)
    y = graph.add("Where", valid, READOUTS["every"](graph, stack, values), first)
    if config.readout == "max":
        pool = graph.add("Max", pool, graph.add("ReduceMax", y, axes=[1], keepdims=0))
        return pool, pool
    axes = graph.constant([1], np.int64)
    pool = graph.add("Add", pool, graph.add("ReduceSum", y, axes, keepdims=0))
    return graph.add("Div", pool, graph.unsqueeze(graph.cast(steps, FLOAT), 1)), pool


def _refuse_again(graph: Graph, values: Values, steps: str) -> Values:
    """Mark the rows that were refused before as well."""
    before = graph.add("Less", steps, graph.constant(0, np.int64))
    invalid = graph.add("Or", values.invalid, before)
    return dataclasses.replace(values, invalid=invalid)


def ask_in_pieces(
    session: Any, estimator: Estimator, encoded: EncodedSequences, feeds: Any, sizes: Sequence[int]
) -> NDArray[np.float64]:
    """Return the answers of a file for whole sequences that it reads in pieces, all in one batch.

    Args:
        session: an `onnxruntime.InferenceSession` of the file.
        feeds: the sequences as the inputs of a file for whole sequences.
        sizes: steps of each piece, repeated until all is read; rows that have ended get none.
    Returns: (n, K), or (N, K) with an answer at every step.
    """
    per_step, lengths = estimator.per_step, encoded.steps.lengths
    count = len(encoded.steps.values) if per_step else len(encoded)
    answers = np.full((count, estimator.target_.num_outputs), np.nan)
    whole = {k: v for k, v in feeds.items() if k.startswith("static")}
    dtypes = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    names = [output.name for output in session.get_outputs()]
    states = {name.removeprefix("next_") for name in names[1:]}
    state = {
        value.name: np.zeros((len(encoded), *value.shape[1:]), dtype=dtypes[value.type])
        for value in session.get_inputs()
        if value.name in states
    }
    start, piece = 0, 0
    while start < lengths.max(initial=0):
        size = sizes[piece % len(sizes)]
        own = {
            k: v[:, start : start + size]
            for k, v in feeds.items()
            if k not in whole and k != "lengths"
        }
        now = (lengths - start).clip(0, next(iter(own.values())).shape[1])
        outputs, *after = session.run(None, {**own, **whole, **state, "lengths": now})
        state = {k.removeprefix("next_"): v for k, v in zip(names[1:], after, strict=True)}
        if per_step:
            for row in np.flatnonzero(now):
                at = int(encoded.steps.offsets[row]) + start
                answers[at : at + now[row]] = outputs[row, : now[row]]
        else:
            answers = outputs
        start, piece = start + size, piece + 1
    return answers
