"""Raw inputs to network inputs in ONNX: what `Encoder` and `StaticEncoder` do, with the same bits.

A row that elman refuses makes its answers NaN, because a graph cannot raise an error: a missing
value in a channel that had none in training, a number too large, an id out of range, a length below
1 or above T.

Dimensions: B batch, T time, C channels, I inputs of the network, S static inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.estimators.encoder import Encoder
from elman.estimators.static import StaticEncoder
from elman.export.onnx.graph import BATCH, DOUBLE, FLOAT, INT64, TIME, Graph
from elman.models import ModelConfig
from elman.models.model import FIRST_TOKEN

Floats = NDArray[np.float64]
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Values:
    """Names of the values in a graph that the network reads.

    Args:
        steps: inputs of the first layer, (B, T, I) float32, zero past each row's end.
        lengths: valid steps of each row, (B,) int64, from 1 to T, in a stream from 0.
        mask: whether a step is valid, (B, T).
        invalid: whether elman refuses a row, (B,).
        static: features of each row, (B, S) float32; None without any.
        carried: the last values of the channels of numbers, (B, C); None if none has gaps.
    """

    steps: str
    lengths: str
    mask: str
    invalid: str
    static: str | None = None
    carried: str | None = None


def read_inputs(
    graph: Graph,
    encoder: Encoder,
    config: ModelConfig,
    weights: Weights,
    *,
    carried: str | None = None,
    least: int = 1,
) -> Values:
    """Add the inputs of a fitted encoder to a graph, and the nodes that encode them.

    Args:
        weights: those of the network by name, of which the embeddings are read.
        carried: the last values of the channels of numbers before the first step, (B, C); None
            for the encoder's `fill`.
        least: the least length of a row.
    """
    names = []
    if config.vocabulary_size:
        names.append(graph.add_input("tokens", INT64, [BATCH, TIME]))
    else:
        if len(encoder.mean):
            names.append(graph.add_input("x", DOUBLE, [BATCH, TIME, len(encoder.mean)]))
        if encoder.categories:
            names.append(graph.add_input("codes", INT64, [BATCH, TIME, len(encoder.categories)]))
    lengths, mask, invalid = _read_lengths(graph, names[0], least)
    parts, last = [], None
    wrong = [invalid]
    if config.vocabulary_size:
        ids, outside = _check_ids(graph, names[0], mask, [config.vocabulary_size])
        table = graph.constant(weights["embedding.weight"], name="embedding")
        parts.append(graph.add("Gather", table, ids))
        wrong.append(graph.any_of(outside, [1]))
    valid = graph.unsqueeze(mask, 2)  # (B, T, 1)
    if "x" in names:
        numbers, last = _read_numbers(graph, encoder, valid, carried)
        outside = graph.add("And", _not_finite(graph, numbers), valid)
        wrong.append(graph.any_of(outside, [1, 2]))
        parts.append(numbers)
    if "codes" in names:
        ids, outside = _check_ids(graph, "codes", valid, config.category_sizes)
        wrong.append(graph.any_of(outside, [1, 2]))
        for k, table in enumerate(config.table_names):
            column = graph.add("Gather", ids, graph.constant(k, np.int64), axis=2)  # (B, T)
            embedding = graph.constant(weights[f"{table}.weight"], name=table)
            parts.append(graph.add("Gather", embedding, column))
    steps = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=2)
    # NaN in the padding would be read by runtimes that compute every step and mask afterwards.
    steps = graph.add("Where", valid, steps, graph.constant(0, np.float32))
    static = None
    if encoder.static is not None:
        static, outside = _read_static(graph, encoder.static)
        wrong.append(outside)
    return Values(steps, lengths, mask, _any(graph, wrong), static, last)


def _read_lengths(graph: Graph, steps: str, least: int) -> tuple[str, str, str]:
    """Return the lengths within `least` to T, the mask (B, T), and which rows had other lengths."""
    given = graph.add_input("lengths", INT64, [BATCH])
    time = graph.add("Gather", graph.add("Shape", steps), graph.constant(1, np.int64))
    one = graph.constant(1, np.int64)
    lengths = graph.add("Min", graph.add("Max", given, graph.constant(least, np.int64)), time)
    places = graph.add("Range", graph.constant(0, np.int64), time, one)  # (T,)
    mask = graph.add("Less", graph.unsqueeze(places, 0), graph.unsqueeze(lengths, 1))
    return lengths, mask, graph.add("Not", graph.add("Equal", given, lengths))


def _check_ids(
    graph: Graph, ids: str, mask: str, sizes: list[int] | tuple[int, ...]
) -> tuple[str, str]:
    """Return ids with 0 for those that are padding or out of range, and which ones are the latter.

    Args:
        sizes: one more than the largest id, one for all or one for each column.
    """
    zero = graph.constant(0, np.int64)
    below = graph.add("Less", ids, zero)
    above = graph.add("Not", graph.add("Less", ids, graph.constant(sizes, np.int64)))
    outside = graph.add("And", graph.add("Or", below, above), mask)
    inside = graph.add("And", graph.add("Not", graph.add("Or", below, above)), mask)
    return graph.add("Where", inside, ids, zero), outside


def _read_numbers(
    graph: Graph, encoder: Encoder, valid: str, carried: str | None
) -> tuple[str, str | None]:
    """Return standardised numbers and masks, (B, T, C + gaps) float32, and the last values."""
    values, last, masks = "x", None, []
    if encoder.gaps.any():
        nan = graph.constant(np.nan, np.float64)
        known = graph.add("Where", valid, "x", nan)  # so that padding carries the last value on
        filled, last = _carry_forward(graph, known, encoder.fill, carried)
        # In the other channels a gap stays NaN, and its row is refused.
        values = graph.add("Where", graph.constant(encoder.gaps), filled, known)
        columns = graph.constant(np.flatnonzero(encoder.gaps), np.int64)
        observed = graph.add("Not", graph.add("IsNaN", graph.add("Gather", known, columns, axis=2)))
        masks.append(graph.cast(observed, FLOAT))
    numbers = graph.cast(_standardise(graph, values, encoder.mean, encoder.scale), FLOAT)
    return graph.add("Concat", numbers, *masks, axis=2) if masks else numbers, last


def _standardise(graph: Graph, values: str, mean: Floats, scale: Floats) -> str:
    """(x - mean) / scale, in float64: a time stamp would lose its last digits in float32."""
    return graph.add("Div", graph.add("Sub", values, graph.constant(mean)), graph.constant(scale))


def _carry_forward(graph: Graph, values: str, fill: Floats, carried: str | None) -> tuple[str, str]:
    """Replace each NaN by the last value of its channel and row; return the last values as well.

    Args:
        values: (B, T, C) float64.
        fill: value before the first one, (C,).
        carried: values before the first step, (B, C); None for `fill`.
    """
    channels = len(fill)
    body = Graph()
    before = body.add_input("before", DOUBLE, [BATCH, channels])
    now = body.add_input("now", DOUBLE, [BATCH, channels])
    after = body.add("Where", body.add("IsNaN", now), before, now)
    body.add_output(after, "after", DOUBLE, [BATCH, channels])
    body.add_output(after, "filled", DOUBLE, [BATCH, channels])
    if carried is None:
        first = graph.add("Gather", graph.add("Shape", values), graph.constant([0], np.int64))
        shape = graph.add("Concat", first, graph.constant([channels], np.int64), axis=0)
        carried = graph.add("Expand", graph.constant(fill), shape)
    # Time goes first, because some runtimes scan over the first axis alone.
    graph.add_node(
        "Scan",
        [carried, graph.add("Transpose", values, perm=[1, 0, 2])],
        ["last_values", "filled_values"],
        {"body": body.body("carry_forward"), "num_scan_inputs": 1},
    )
    return graph.add("Transpose", "filled_values", perm=[1, 0, 2]), "last_values"


def _read_static(graph: Graph, encoder: StaticEncoder) -> tuple[str, str]:
    """Return encoded static features, (B, S) float32, and which rows are refused, (B,)."""
    parts, wrong = [], []
    if len(encoder.mean):
        x = graph.add_input("static", DOUBLE, [BATCH, len(encoder.mean)])
        gaps = graph.add("IsNaN", x)
        filled = graph.add("Where", gaps, graph.constant(encoder.fill), x)
        numbers = graph.cast(_standardise(graph, filled, encoder.mean, encoder.scale), FLOAT)
        wrong.append(graph.any_of(_not_finite(graph, numbers), [1]))
        parts.append(numbers)
        if encoder.gaps.any():
            columns = graph.constant(np.flatnonzero(encoder.gaps), np.int64)
            observed = graph.add("Not", graph.add("Gather", gaps, columns, axis=1))
            parts.append(graph.cast(observed, FLOAT))
    if encoder.categories:
        codes = graph.add_input("static_codes", INT64, [BATCH, len(encoder.categories)])
        sizes = [len(known) + FIRST_TOKEN for known in encoder.categories]
        true = graph.constant(True, np.bool_)
        codes, outside = _check_ids(graph, codes, true, sizes)
        wrong.append(graph.any_of(outside, [1]))
        for k, size in enumerate(sizes):
            column = graph.add("Gather", codes, graph.constant([k], np.int64), axis=1)  # (B, 1)
            every = graph.constant([range(FIRST_TOKEN, size)], np.int64)
            parts.append(graph.cast(graph.add("Equal", column, every), FLOAT))
    static = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)
    return static, _any(graph, wrong)


def _not_finite(graph: Graph, numbers: str) -> str:
    """Whether numbers, float32, are infinite or NaN."""
    size = graph.add("Abs", numbers)
    return graph.add("Not", graph.add("Less", size, graph.constant(np.inf, np.float32)))


def _any(graph: Graph, values: list[str]) -> str:
    """Whether any of several truth values, (B,) each, is true."""
    found = values[0]
    for value in values[1:]:
        found = graph.add("Or", found, value)
    return found
