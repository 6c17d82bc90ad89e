"""The network in ONNX: its recurrent layers, readout, static features and outputs.

ONNX has operators for the simple RNN, the GRU and the LSTM. They stack the gates in another order
than torch, and a GRU has to be told that the reset gate acts after the product with U.

Dimensions: B batch, T time, I input, H hidden, D directions, L layers, K outputs.
Source: onnx/docs/Operators.md, RNN-14, GRU-14 and LSTM-14.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.estimators.targets import Target
from elman.export.onnx.graph import BATCH, DOUBLE, FLOAT, INT32, TIME, Graph
from elman.export.onnx.inputs import Values, Weights
from elman.models import ModelConfig
from elman.tasks import OutputName


@dataclass(frozen=True)
class Operator:
    """The operator of ONNX for a cell.

    Args:
        name: its name.
        blocks: the cell's blocks of weights in the operator's order.
        attributes: those that the operator needs besides sizes, for one direction.
    """

    name: str
    blocks: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


# By the name of the cell's kernel.
OPERATORS = {
    "rnn_tanh": Operator("RNN", ("h",)),
    "rnn_relu": Operator("RNN", ("h",), {"activations": ["Relu"]}),
    "gru": Operator("GRU", ("z", "r", "n"), {"linear_before_reset": 1}),
    "lstm": Operator("LSTM", ("i", "o", "f", "g")),
}


@dataclass(frozen=True)
class Stack:
    """Names of what the recurrent layers compute.

    Args:
        top: output of the top layer, (T, B, D*H), undefined past each row's end.
        final: by state, such as `h`, its value at the end of each layer, from the lowest, (D, B, H)
            each.
    """

    top: str
    final: dict[str, list[str]]


def add_network(graph: Graph, config: ModelConfig, weights: Weights, values: Values) -> str:
    """Add the network to a graph.

    Returns: name of its logits, (B, K), or (B, T, K) if there is an output at every step.
    """
    stack = add_layers(graph, config, weights, values, first_states(graph, config, weights, values))
    read = READOUTS[config.readout](graph, stack, values)
    return add_output_layer(graph, config, weights, values, read)


def first_states(
    graph: Graph, config: ModelConfig, weights: Weights, values: Values
) -> dict[str, list[str]]:
    """Return the states before the first step by name, (D, B, H) for each layer; empty for zeros.

    The same as `elman.models.static.first_states`.
    """
    if values.static is None or not config.sets_state:
        return {}
    weight, bias = weights["static_state.weight"], weights["static_state.bias"]
    raw = graph.linear(values.static, weight, bias, "state")
    size, directions = config.hidden_size, config.width // config.hidden_size
    every = graph.reshape(graph.add("Softsign", raw), [0, -1, size])
    every = graph.add("Transpose", every, perm=[1, 0, 2])  # (states*L*D, B, H)
    found: dict[str, list[str]] = {}
    at = 0
    for name in config.cell_definition.initial_states:
        found[name] = []
        for _ in range(config.num_layers):
            bounds = (graph.constant([k], np.int64) for k in (at, at + directions, 0))
            found[name].append(graph.add("Slice", every, *bounds))
            at += directions
    return found


def add_layers(
    graph: Graph,
    config: ModelConfig,
    weights: Weights,
    values: Values,
    initial: Mapping[str, list[str]],
) -> Stack:
    """Add the recurrent layers, which start from the states `initial`, zeros if it is empty."""
    cell = config.cell_definition
    operator = OPERATORS[cell.kernel]
    order = [cell.blocks.index(block) for block in operator.blocks]
    ends = ("", "_reverse")[: config.width // config.hidden_size]
    attributes: dict[str, Any] = {"hidden_size": config.hidden_size}
    attributes["direction"] = "bidirectional" if config.bidirectional else "forward"
    attributes |= operator.attributes
    if "activations" in attributes:
        attributes["activations"] = attributes["activations"] * len(ends)
    lengths = graph.cast(values.lengths, INT32)
    y = graph.add("Transpose", values.steps, perm=[1, 0, 2])  # (T, B, I)
    final: dict[str, list[str]] = {name: [] for name in cell.initial_states}
    for layer in range(config.num_layers):

        def stacked(name: str, at: int = layer) -> NDArray[np.float32]:
            own = [weights[f"recurrent.{name}_l{at}{end}"] for end in ends]
            return np.stack([_reorder(array, order, len(cell.blocks)) for array in own])

        bias = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], 1)  # (D, 2*G*H)
        parameters = {"weight_ih": stacked("weight_ih"), "weight_hh": stacked("weight_hh")}
        parameters["bias"] = bias
        names = [graph.constant(v, name=f"{k}_l{layer}") for k, v in parameters.items()]
        starts = [initial[name][layer] for name in cell.initial_states] if initial else []
        outputs = [f"{name}_l{layer}" for name in ("y", *cell.initial_states)]
        graph.add_node(operator.name, [y, *names, lengths, *starts], outputs, attributes)
        for name, output in zip(cell.initial_states, outputs[1:], strict=True):
            final[name].append(output)
        y = graph.add("Transpose", outputs[0], perm=[0, 2, 1, 3])  # (T, B, D, H)
        y = graph.reshape(y, [0, 0, -1])
    return Stack(y, final)


def _reorder(array: NDArray[np.float32], order: list[int], blocks: int) -> NDArray[np.float32]:
    """Return rows (G*H, ...) with their G blocks in another order."""
    parts = np.split(array, blocks)
    return np.concatenate([parts[k] for k in order])


def _last(graph: Graph, stack: Stack, values: Values) -> str:
    h = graph.add("Transpose", stack.final["h"][-1], perm=[1, 0, 2])  # (B, D, H)
    return graph.reshape(h, [0, -1])


def _every(graph: Graph, stack: Stack, values: Values) -> str:
    return graph.add("Transpose", stack.top, perm=[1, 0, 2])  # (B, T, D*H)


def _only_valid(graph: Graph, stack: Stack, values: Values, other: float) -> str:
    """The top layer's output, (B, T, D*H), with another value past each row's end."""
    valid = graph.unsqueeze(values.mask, 2)
    return graph.add(
        "Where", valid, _every(graph, stack, values), graph.constant(other, np.float32)
    )


def _mean(graph: Graph, stack: Stack, values: Values) -> str:
    y = _only_valid(graph, stack, values, 0.0)
    total = graph.add("ReduceSum", y, graph.constant([1], np.int64), keepdims=0)
    return graph.add("Div", total, graph.unsqueeze(graph.cast(values.lengths, FLOAT), 1))


def _max(graph: Graph, stack: Stack, values: Values) -> str:
    y = _only_valid(graph, stack, values, -np.inf)
    return graph.add("ReduceMax", y, axes=[1], keepdims=0)


READOUTS: dict[str, Callable[[Graph, Stack, Values], str]] = {
    "last": _last,
    "mean": _mean,
    "max": _max,
    "every": _every,
}


def add_output_layer(
    graph: Graph, config: ModelConfig, weights: Weights, values: Values, read: str
) -> str:
    """Return the logits from the readout; static features are joined to it, as `static.join`."""
    if values.static is not None and config.joins_readout:
        joined, bias = weights["static_join.weight"], weights["static_join.bias"]
        features = graph.linear(values.static, joined[:, config.width :], bias, "features")
        if config.per_step:
            features = graph.unsqueeze(features, 1)
        products = graph.linear(read, joined[:, : config.width], None, "readout")
        read = graph.add("Relu", graph.add("Add", products, features))
    return graph.linear(read, weights["output.weight"], weights["output.bias"], "output")


def add_answers(
    graph: Graph, target: Target, logits: str, values: Values, *, per_step: bool
) -> str:
    """Add the output of a graph: probabilities, or numbers in the target's unit; return its name.

    The answers of rows that elman refuses are NaN; those past a row's end are zeros.
    """
    answers = _TRANSFORMS[target.task](graph, target, graph.cast(logits, DOUBLE))
    axes = (1, 2) if per_step else (1,)
    nan = graph.constant(np.nan, np.float64)
    answers = graph.add("Where", graph.unsqueeze(values.invalid, *axes), nan, answers)
    shape: list[str | int] = [BATCH, target.num_outputs]
    if per_step:
        valid = graph.unsqueeze(values.mask, 2)
        answers = graph.add("Where", valid, answers, graph.constant(0, np.float64))
        shape.insert(1, TIME)
    name = "probabilities" if target.unit is None else "values"
    graph.add_output(answers, name, DOUBLE, shape)
    return name


def _softmax(graph: Graph, target: Target, logits: str) -> str:
    return graph.add("Softmax", logits, axis=-1)


def _sigmoid(graph: Graph, target: Target, logits: str) -> str:
    return graph.add("Sigmoid", logits)


def _to_unit(graph: Graph, target: Target, outputs: str) -> str:
    zero = target.to_output_units(np.zeros(target.num_outputs))  # the mean
    scaled = graph.add("Mul", outputs, graph.constant(target.unit))
    return graph.add("Add", scaled, graph.constant(zero))


# By kind of output: from logits, (..., K) float64, to answers.
_TRANSFORMS: dict[OutputName, Callable[[Graph, Target, str], str]] = {
    "classification": _softmax,
    "multilabel": _sigmoid,
    "regression": _to_unit,
}
