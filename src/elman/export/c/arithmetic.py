"""The arithmetic of the C program in NumPy: same constants, same types, over batches of sequences.

It is what an export is compared with elman by, because elman starts no compiler. Sums are in
another order than in C, which changes the last digits only.

Dimensions: B batch, T time, I inputs, H hidden, D directions, K
outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import batch_by_length
from elman.data.ragged import Ragged, carry_forward
from elman.export.c.tables import Array, Layer, Scaling, Tables
from elman.export.raw_inputs import RawInputs
from elman.models.model import FIRST_TOKEN

_BATCH = 256
Floats = NDArray[np.float64]


def simulate(tables: Tables, raw: RawInputs) -> Floats:
    """Return the answers of the C program: (n, K), or (N, K) with one for every step."""
    with np.errstate(over="ignore", invalid="ignore"):  # as in C: expf may be infinite
        x = _encode(tables, raw)
        lengths = np.diff(raw.offsets)
        steps = Ragged(np.arange(len(x)), raw.offsets)
        out = np.zeros(
            (len(x) if tables.config.per_step else len(lengths), tables.config.num_outputs)
        )
        features = _encode_static(tables, raw)
        for index in batch_by_length(lengths, _BATCH):
            own = lengths[index]
            mask = np.arange(int(own.max())) < own[:, None]  # (B, T)
            batch = np.zeros((*mask.shape, x.shape[1]), dtype=np.float32)
            batch[mask] = x[steps.take(index).values]
            static = None if features is None else features[index]
            answers = _answer(tables, _read(tables, batch, mask, static), static)
            if tables.config.per_step:
                out[steps.take(index).values] = answers[mask]
            else:
                out[index] = answers
    return out


def _scale(scaling: Scaling, numbers: Floats, filled: Floats, is_double: bool) -> Array:
    """Return the inputs of numbers, with a mask for each that may be missing."""
    kind: Any = np.float64 if is_double else np.float32
    mean, scale = scaling.mean.astype(kind), scaling.scale.astype(kind)
    values = ((filled.astype(kind) - mean) / scale).astype(np.float32)
    observed = ~np.isnan(numbers[:, scaling.gaps])
    return np.hstack([values, observed.astype(np.float32)])


def _encode(tables: Tables, raw: RawInputs) -> Array:
    """Return the input of the first layer at every step, (N, I)."""
    filled = carry_forward(Ragged(raw.numbers, raw.offsets), tables.numbers.fill)
    parts = [_scale(tables.numbers, raw.numbers, filled, tables.is_double)]
    parts += [table.weights[raw.codes[:, k]] for k, table in enumerate(tables.tables)]
    return np.hstack(parts)


def _encode_static(tables: Tables, raw: RawInputs) -> Array | None:
    """Return the static features of each sequence, (n, S), or None if there are none."""
    if not tables.config.static_size:
        return None
    scaling = tables.static_numbers
    filled = np.where(np.isnan(raw.static_numbers), scaling.fill, raw.static_numbers)
    parts = [_scale(scaling, raw.static_numbers, filled, tables.is_double)]
    for k, size in enumerate(tables.static_sizes):
        codes = np.arange(FIRST_TOKEN, FIRST_TOKEN + size)
        parts.append((raw.static_codes[:, k, None] == codes).astype(np.float32))
    return np.hstack(parts)


def _read(tables: Tables, x: Array, mask: NDArray[np.bool_], static: Array | None) -> Array:
    """Return the readout, (B, D*H), or (B, T, D*H) with an answer for every step."""
    config = tables.config
    H, directions = config.hidden_size, 1 + config.bidirectional
    first = np.zeros((len(x), 0, H), dtype=np.float32)
    if static is not None and tables.static_state is not None:
        matrix, bias = tables.static_state
        total = static @ matrix.weights.T + bias.values
        first = (total / (1 + np.abs(total))).reshape(len(x), -1, H)
    y, readouts = x, list[Array]()
    for l in range(config.num_layers):
        outputs, readouts = [], []
        for end in range(directions):
            at = l * directions + end
            states = [
                first[:, at + k * len(tables.layers)]
                if first.size
                else np.zeros_like(x, shape=(len(x), H))
                for k in range(len(config.cell_definition.states))
            ]
            own, readout = _run(tables, tables.layers[at], y, mask, states, bool(end))
            outputs.append(own)
            readouts.append(readout)
        y = np.concatenate(outputs, -1)
    return y if config.per_step else np.concatenate(readouts, -1)


def _run(
    tables: Tables,
    layer: Layer,
    x: Array,
    mask: NDArray[np.bool_],
    states: list[Array],
    from_end: bool,
) -> tuple[Array, Array]:
    """Run a layer in one direction: outputs (B, T, H), and their readout, (B, H)."""
    readout = tables.config.readout
    W, U, b = layer.input.weights.T, layer.recurrent.weights.T, layer.bias.values
    y = np.zeros((*mask.shape, states[0].shape[1]), dtype=np.float32)
    pooled = np.full_like(states[0], -np.inf if readout == "max" else 0)
    for t in range(mask.shape[1])[:: -1 if from_end else 1]:
        new = _advance(tables, layer, x[:, t] @ W, states[0] @ U, b, states)
        valid = mask[:, t, None]
        states = [np.where(valid, after, before) for after, before in zip(new, states, strict=True)]
        y[:, t] = states[0]
        if readout == "mean":
            pooled += np.where(valid, states[0], 0)
        elif readout == "max":
            pooled = np.where(valid, np.maximum(pooled, states[0]), pooled)
    if readout == "mean":
        pooled /= mask.sum(1, dtype=np.float32)[:, None]
    return y, pooled if readout in ("mean", "max") else states[0]


def _advance(
    tables: Tables, layer: Layer, a: Array, u: Array, b: Array, states: list[Array]
) -> list[Array]:
    """Return the states after one step, h first, given W x and U h."""
    cell, blocks = tables.config.cell, len(tables.config.cell_definition.blocks)
    h = states[0]
    A, U, B = (np.split(each, blocks, -1) for each in (a, u, b))
    if layer.candidate_bias is not None:
        r, z = (_sigmoid(A[k] + U[k] + B[k]) for k in (0, 1))
        n = np.tanh(A[2] + B[2] + r * (U[2] + layer.candidate_bias.values))
        return [(1 - z) * n + z * h]
    if cell == "lstm":
        i, f, o = (_sigmoid(A[k] + U[k] + B[k]) for k in (0, 1, 3))
        c = f * states[1] + i * np.tanh(A[2] + U[2] + B[2])
        return [o * np.tanh(c), c]
    total = a + u + b
    return [np.tanh(total) if tables.config.nonlinearity == "tanh" else np.maximum(total, 0)]


def _answer(tables: Tables, readout: Array, static: Array | None) -> Floats:
    """Return the answers, (..., K), from the readout."""
    if static is not None and tables.static_readout is not None:
        P, Q, b = tables.static_readout
        joined = static @ Q.weights.T + b.values
        joined = joined[:, None] if tables.config.per_step else joined
        readout = np.maximum(readout @ P.weights.T + joined, 0)
    y = readout @ tables.output.weights.T + tables.output_bias.values
    if tables.outputs is not None:
        kind: Any = np.float64 if tables.is_double_out else np.float32
        scale, mean = tables.outputs.scale.astype(kind), tables.outputs.mean.astype(kind)
        return np.asarray(y.astype(kind) * scale + mean, dtype=np.float64)
    return _PROBABILITIES[tables.config.task](y).astype(np.float64)


def _softmax(y: Array) -> Array:
    e = np.exp(y - y.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True), dtype=np.float32)


def _sigmoid(x: Array) -> Array:
    return np.asarray(np.float32(1) / (np.float32(1) + np.exp(-x)), dtype=np.float32)


# From logits to probabilities, by task.
_PROBABILITIES = {"classification": _softmax, "multilabel": _sigmoid}
