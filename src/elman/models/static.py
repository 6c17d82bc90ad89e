"""Static features in a network: where they enter, and logits whose bits do not depend on the batch.

    y   = V relu(P readout(h_1 ... h_T) + Q s + b_s) + b_y         joined to the readout
    h_0 = softsign(A s + a), of every layer and direction          setting the first state

Dimensions: B batch, T time, H hidden, D directions, L layers, S static inputs; I inputs and O
outputs of a linear layer.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from elman.errors import ShapeError
from elman.models.native import NativeModel
from elman.ops.torch_onnx import is_traced_for_onnx

if TYPE_CHECKING:
    from elman.models.carry import Carry
    from elman.models.model import ModelConfig, SequenceModel

_NUMBERS = 2**20  # products of `linear_exactly` at a time, to bound the memory
Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def check_static(model: SequenceModel, x: Tensor, static: Tensor | None) -> Tensor | None:
    """Return the features of each row of x, (B, S), or None for a network without features.

    Args:
        static: (B, S), or None for those that are bound to the network, if there are any.
    Raises: ShapeError unless there are as many as the network reads.
    """
    size = model.config.static_size
    if static is None and model.bound_static is not None:
        static = model.bound_static.to(model.output.weight).expand(x.shape[0], -1)
    if static is None and not size:
        return None
    if static is not None and size and is_traced_for_onnx():  # for which sizes are tensors
        return static
    if static is not None and size and tuple(static.shape) == (len(x), size):
        return static
    got = "None" if static is None else str(tuple(static.shape))
    expected = f"({len(x)}, {size})" if size else "None: the network has no static features"
    raise ShapeError(f"static: got {got}, expected {expected}")


def bind(model: SequenceModel, static: Tensor | None) -> SequenceModel:
    """Return the same network, sharing its weights, with the features of one sequence, (S,)."""
    if static is None:
        return model
    bound = copy.copy(model)
    bound.bound_static = static.to(model.output.weight)[None]
    return bound


def effective_weight(model: SequenceModel, read: Tensor) -> Tensor:
    """Return the weight of the readout in each output, (K, D*H), for one sequence or step.

    It is exact at this sequence: relu passes or blocks each unit of the layer before the output.

    Args:
        read: input of the output layer, (D*H,).
    """
    V: Tensor = model.output.weight
    return join_backward(model, read, V)


def join_backward(model: SequenceModel, read: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of the readout, (..., D*H), from that of the output layer's input."""
    if not model.config.joins_readout:
        return gradient
    P = model.static_join.weight[:, : model.config.width]
    return (gradient * (read > 0)) @ P


def join(
    model: SequenceModel, read: Tensor, static: Tensor | None, linear: Linear = functional.linear
) -> Tensor:
    """Return the input of the output layer: the readout, and the features that are joined to it.

    Args:
        read: (B, D*H), or (B, T, D*H) with an output at every step.
        static: (B, S); None for a network without static features.
        linear: computes W x + b.
    """
    config = model.config
    if static is None or not config.joins_readout:
        return read
    layer = model.static_join
    P, Q = layer.weight[:, : config.width], layer.weight[:, config.width :]
    # The sum of two parts, so that the features are not repeated for every step.
    features = linear(static, Q, layer.bias)  # (B, D*H)
    features = features[:, None] if config.per_step else features
    return torch.relu(linear(read, P, None) + features)


def first_states(
    model: SequenceModel, static: Tensor | None, linear: Linear = functional.linear
) -> tuple[Tensor, ...]:
    """Return the states before the first step, (L*D, B, H) each; empty if they are zeros.

    softsign is bounded like a state and, unlike torch's tanh, rounded alike in any batch.
    """
    config = model.config
    if static is None or not config.sets_state:
        return ()
    raw = linear(static, model.static_state.weight, model.static_state.bias)
    count = len(config.cell_definition.states)
    parts = (raw / (1 + raw.abs())).view(static.shape[0], count, -1, config.hidden_size)
    return tuple(part.contiguous() for part in parts.permute(1, 2, 0, 3).unbind(0))


def exact_logits(
    model: SequenceModel,
    x: Tensor,
    lengths: Tensor | None,
    static: Tensor,
    carry: Carry | None = None,
) -> Tensor | None:
    """Logits without dropout, bit-identical in any batch, for a CPU model that `is_exact`.

    Returns: None if features set the first state, or the kernels cannot read the arguments.
    """
    config, output = model.config, model.output
    native = NativeModel.of(without_static(config), output.weight.dtype)
    if config.sets_state or not native.takes(x, lengths):
        return None
    layer = model.static_join
    # The output layer of this native call is P: its outputs are P readout(h).
    P = layer.weight.detach()[:, : config.width]
    weights = native.weights(model, {"weight": P, "bias": P.new_zeros(config.width)})
    if weights is None:
        return None
    features = linear_exactly(static, layer.weight[:, config.width :], layer.bias)
    features = features[:, None] if config.per_step else features
    read = torch.relu(native.logits(weights, x, lengths, carry) + features)
    return linear_exactly(read, output.weight, output.bias)


def mean_exactly(y: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the steps, (B, D*H), of y, (B, T, D*H), which is zero past each row's end.

    The steps are added in their order; torch's sum takes an order that depends on the padding.
    """
    total = torch.zeros_like(y[:, 0])
    for t in range(y.shape[1]):
        total += y[:, t]
    return total / lengths.to(y)[:, None]


def linear_exactly(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return W x + b for x (..., I), summed in an order that does not depend on the other rows.

    A matrix product of torch chooses the order by the number of rows.
    """
    rows = x.reshape(-1, x.shape[-1])
    outputs = [rows.new_zeros(0, len(weight))]
    for part in torch.split(rows, max(1, _NUMBERS // weight.numel())):
        terms = part[:, None] * weight  # (M, O, I)
        while (count := terms.shape[2]) > 1:  # halves are added, element by element
            half = count // 2
            sums = terms[:, :, :half] + terms[:, :, half : 2 * half]
            terms = torch.cat([sums, terms[:, :, 2 * half :]], 2) if count % 2 else sums
        outputs.append(terms[:, :, 0])
    total = torch.cat(outputs)
    total = total if bias is None else total + bias
    return total.view(*x.shape[:-1], len(weight))


@functools.lru_cache(maxsize=64)
def without_static(config: ModelConfig) -> ModelConfig:
    """Return the config of a network without static features, whose outputs are D*H numbers."""
    changes: dict[str, Any] = {"static_size": 0, "static_to": None, "num_outputs": config.width}
    return dataclasses.replace(config, **changes)
