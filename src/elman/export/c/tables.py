"""The weights and constants of a C program: what is written into it, and what it computes with.

Dimensions: L layers, D directions, H hidden, G blocks of the weights, I inputs, E embedding, S
static inputs, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import ExportError
from elman.estimators import Estimator
from elman.estimators.encoder import Encoder
from elman.estimators.static import StaticEncoder
from elman.models.model import ModelConfig, SequenceModel, native_fallback_reason
from elman.ops.cells import KERNELS

Array = NDArray[np.float32]
# Means this many deviations from zero: float32 would then lose digits of (x - mean) / scale that
# the network can tell apart; the error is 1.2e-7 times this number of standard deviations.
_MOST_DEVIATIONS = 4.0
_LARGEST, _SMALLEST = 1e30, 1e-30  # float32 ends at 3.4e38 and 1.2e-38


@dataclass(frozen=True)
class Matrix:
    """A matrix of weights, with what it is multiplied by written next to it.

    Args:
        name: its name in the C source.
        title: what it is, for the comment above it.
        values: (rows, columns), float32, or int8 with a scale.
        scale: of each row, (rows,) float32: the weights are scale * values; None for float32.
    """

    name: str
    title: str
    values: NDArray[np.float32] | NDArray[np.int8]
    scale: Array | None

    @property
    def weights(self) -> Array:
        """The weights that the program computes with, (rows, columns) float32."""
        weights = self.values.astype(np.float32)
        return weights if self.scale is None else weights * self.scale[:, None]

    @property
    def bytes(self) -> int:
        """Bytes of flash."""
        return self.values.nbytes + (0 if self.scale is None else self.scale.nbytes)


@dataclass(frozen=True)
class Vector:
    """Numbers that are always float32, such as biases: name, comment and values, (n,)."""

    name: str
    title: str
    values: Array


@dataclass(frozen=True)
class Layer:
    """One layer in one direction.

    Args:
        suffix: of the names in the C source, as in torch: `l0`, `l0_reverse`.
        input: W, (G*H, I).
        recurrent: U, (G*H, H).
        bias: b + b', (G*H,); of the GRU's candidate only b.
        candidate_bias: b' of the GRU's candidate, (H,), which the reset gate multiplies; else None.
    """

    suffix: str
    input: Matrix
    recurrent: Matrix
    bias: Vector
    candidate_bias: Vector | None


@dataclass(frozen=True)
class Scaling:
    """How numbers are read: (x - mean) / scale, in gaps the last value, or `fill` before the first.

    Args:
        mean, scale, fill: (C,) float64; fill is NaN where no value may be missing.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    fill: NDArray[np.float64]

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """Whether a number may be missing, (C,)."""
        return np.asarray(np.isfinite(self.fill))

    @property
    def inputs(self) -> int:
        """Inputs of the network: the numbers, and a mask for each that may be missing."""
        return len(self.mean) + int(self.gaps.sum())

    def needs_double(self) -> bool:
        """Whether float32 would lose digits that matter."""
        known = np.concatenate([self.mean, self.fill[self.gaps]])
        return bool(
            (np.abs(self.mean) > _MOST_DEVIATIONS * self.scale).any()
            or (np.abs(known) > _LARGEST).any()
            or (self.scale > _LARGEST).any()
            or (self.scale < _SMALLEST).any()
        )


@dataclass(frozen=True)
class Tables:
    """Everything that a C program is made of, apart from names.

    Args:
        config: settings and sizes of the network.
        layers: in the order of torch: layer by layer, each in one or both directions.
        tables: embeddings, of the tokens or of each category column.
        output: V, (K, D*H).
        output_bias: (K,).
        numbers: scaling of the numbers of a step; without numbers for tokens.
        static_numbers: scaling of the static numbers.
        static_sizes: number of categories of each other static feature.
        static_state: A, (states*L*D*H, S), and its bias; None if they do not set the state.
        static_readout: P (D*H, D*H), Q (D*H, S) and the bias; None if they are not joined.
        is_double: whether raw numbers are read as double instead of float.
        outputs: mean and scale of the numbers that are predicted; None for probabilities.
        is_double_out: whether answers are double instead of float.
        int8: whether matrices are int8.
    """

    config: ModelConfig
    layers: tuple[Layer, ...]
    tables: tuple[Matrix, ...]
    output: Matrix
    output_bias: Vector
    numbers: Scaling
    static_numbers: Scaling
    static_sizes: tuple[int, ...]
    static_state: tuple[Matrix, Vector] | None
    static_readout: tuple[Matrix, Matrix, Vector] | None
    is_double: bool
    outputs: Scaling | None
    is_double_out: bool
    int8: bool

    @property
    def matrices(self) -> Iterator[Matrix]:
        """Every matrix, in the order in which they are written."""
        yield from self.tables
        for layer in self.layers:
            yield from (layer.input, layer.recurrent)
        if self.static_state is not None:
            yield self.static_state[0]
        if self.static_readout is not None:
            yield from self.static_readout[:2]
        yield self.output

    @property
    def vectors(self) -> Iterator[Vector]:
        """Every vector, in the order in which they are written."""
        for layer in self.layers:
            yield layer.bias
            if layer.candidate_bias is not None:
                yield layer.candidate_bias
        if self.static_state is not None:
            yield self.static_state[1]
        if self.static_readout is not None:
            yield self.static_readout[2]
        yield self.output_bias


def refuse_foreign(model: SequenceModel) -> None:
    """Raise ExportError for a model whose computation the C program would not contain.

    That is a cell of the user's own, a subclass, a module that was replaced or has hooks, and
    weights of other types than float32 and float64.
    """
    if type(model) is not SequenceModel:
        reason = f"{type(model).__name__} is a subclass of SequenceModel"
    else:
        cell = model.config.cell_definition
        reason = native_fallback_reason(model, model.config)
        if KERNELS.get(cell.kernel) is not cell:
            reason = f"cell {cell.name!r} is a cell of your own"
    if reason:
        raise ExportError(
            f"this model cannot be written as C: {reason}. Expected a network as `fit` makes it, "
            "with the cell rnn, gru or lstm and weights in float32 or float64 on the CPU "
            "(model_.float(), model_.cpu())"
        )
    for name, weight in model.state_dict().items():
        if not bool(torch.isfinite(weight.float()).all()):
            raise ExportError(
                f"weight {name} is infinite or NaN as float32, so no answer would be a number. "
                "Train the model again, or with a lower --learning-rate"
            )


def make_tables(estimator: Estimator, *, int8: bool) -> Tables:
    """Return the constants of a fitted estimator.

    Args:
        int8: round every matrix to int8 with a scale per row; biases stay float32.
    """
    model = estimator.model_
    config, weights = model.config, model.state_dict()

    def matrix(name: str, title: str, weight: Tensor) -> Matrix:
        values = weight.detach().float().numpy()
        return _round(name, title, values) if int8 else Matrix(name, title, values, None)

    def vector(name: str, title: str, weight: Tensor) -> Vector:
        return Vector(name, title, weight.detach().float().numpy())

    state = readout = None
    if config.sets_state:
        A, a = weights["static_state.weight"], weights["static_state.bias"]
        state = (
            matrix("static_state", "Static features to the first state: A.", A),
            vector("static_state_bias", "Static features to the first state: a.", a),
        )
    if config.joins_readout:
        both, b = weights["static_join.weight"], weights["static_join.bias"]
        readout = (
            matrix(
                "join_readout", "Readout, joined with static features: P.", both[:, : config.width]
            ),
            matrix(
                "join_static", "Static features, joined to the readout: Q.", both[:, config.width :]
            ),
            vector("join_bias", "Bias of the joined readout.", b),
        )
    encoder = estimator.encoder_
    numbers, features = _scaling_of(encoder), _scaling_of(encoder.static)
    target = estimator.target_
    outputs = None
    if target.unit is not None:
        mean = target.to_output_units(np.zeros((1, target.num_outputs)))[0]
        outputs = Scaling(mean, target.unit, np.full(len(mean), np.nan))
    return Tables(
        config,
        tuple(_layers(config, weights, matrix, vector)),
        tuple(
            matrix(
                name.replace("embeddings.", "embedding_"),
                "Embeddings, a row for each code.",
                weights[f"{name}.weight"],
            )
            for name in config.table_names
        ),
        matrix("output", "Output layer: V.", weights["output.weight"]),
        vector("output_bias", "Output layer: its bias.", weights["output.bias"]),
        numbers,
        features,
        () if encoder.static is None else tuple(map(len, encoder.static.categories)),
        state,
        readout,
        numbers.needs_double() or features.needs_double(),
        outputs,
        outputs is not None and outputs.needs_double(),
        int8,
    )


def _layers(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    matrix: Callable[[str, str, Tensor], Matrix],
    vector: Callable[[str, str, Tensor], Vector],
) -> Iterator[Layer]:
    """Yield the layers, given the weights by name and what makes constants of them."""
    H = config.hidden_size
    for layer in range(config.num_layers):
        for end in ("", "_reverse")[: 1 + config.bidirectional]:
            suffix = f"l{layer}{end}"
            W, U, b, own = (
                weights[f"recurrent.{name}_{suffix}"]
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            where = f"Layer {layer + 1}{', from the end' if end else ''}"
            candidate = None
            if config.cell == "gru":  # rows r, z, n; the reset gate multiplies U_n h + b'_n
                candidate = vector(f"candidate_bias_{suffix}", f"{where}: b'_n.", own[2 * H :])
                own = torch.cat([own[: 2 * H], torch.zeros_like(own[2 * H :])])
            yield Layer(
                suffix,
                matrix(f"input_{suffix}", f"{where}: W, for its input.", W),
                matrix(f"recurrent_{suffix}", f"{where}: U, for its last state.", U),
                vector(f"bias_{suffix}", f"{where}: its biases.", b + own),
                candidate,
            )


def _round(name: str, title: str, weights: Array) -> Matrix:
    """Round a matrix to int8 with a scale per row, so that its largest weight is 127 or -127."""
    largest = np.abs(weights).max(1, initial=0.0)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    # Rows of numbers below 1e-43 have a scale that is rounded to zero.
    scale = np.where(scale > 0, scale, np.float32(1))
    values = np.clip(np.rint(weights / scale[:, None]), -127, 127).astype(np.int8)
    return Matrix(name, title, values, scale)


def _scaling_of(encoder: Encoder | StaticEncoder | None) -> Scaling:
    if encoder is None or (isinstance(encoder, Encoder) and encoder.vocabulary_size):
        return Scaling(np.zeros(0), np.ones(0), np.zeros(0))
    return Scaling(encoder.mean, encoder.scale, encoder.fill)
