"""The simple recurrence as the layers run it: our kernels on a CPU, torch's elsewhere."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import _VF, Tensor

from elman.ops._dispatch import is_native
from elman.ops._native import run_native
from elman.ops._torch_layer import run_layer
from elman.ops.rnn.reference import rnn_reference


def rnn_op(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h0: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor]:
    """Same arguments and results as `elman.ops.rnn`, already checked."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    if is_native(x):
        return rnn_native(x, *weights, h0, lengths, nonlinearity, reverse, batch_first)
    kernel = _VF.rnn_tanh if nonlinearity == "tanh" else _VF.rnn_relu
    y, (h_n,) = run_layer(kernel, x, weights, (h0,), lengths, reverse, batch_first)
    return y, h_n


def rnn_native(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h0: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor]:
    """The same by our kernels: for tensors that `is_native` takes, already checked."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    y, h_n, _ = run_native(
        f"rnn_{nonlinearity}",
        _REPLAYS[nonlinearity],
        x,
        *weights,
        h0,
        None,
        lengths,
        reverse,
        batch_first,
    )
    return y, h_n


def _replay(nonlinearity: str, *arguments: Any) -> tuple[Tensor, ...]:
    own = (*arguments[:6], arguments[7], nonlinearity, *arguments[8:])  # an RNN has no c0
    return rnn_reference(*own)


_REPLAYS = {name: partial(_replay, name) for name in ("tanh", "relu")}
