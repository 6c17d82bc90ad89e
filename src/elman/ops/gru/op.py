"""The gated recurrence as the layers run it: our kernels on a CPU, torch's elsewhere."""

from __future__ import annotations

from typing import Any

from torch import _VF, Tensor

from elman.ops._dispatch import is_native
from elman.ops._native import run_native
from elman.ops._torch_layer import run_layer
from elman.ops.gru.reference import gru_reference


def gru_op(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h0: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor]:
    """Same arguments and results as `elman.ops.gru`, already checked."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    if is_native(x):
        return gru_native(x, *weights, h0, lengths, reverse, batch_first)
    y, (h_n,) = run_layer(_VF.gru, x, weights, (h0,), lengths, reverse, batch_first)
    return y, h_n


def gru_native(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h0: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor]:
    """The same by our kernels: for tensors that `is_native` takes, already checked."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    y, h_n, _ = run_native("gru", _replay, x, *weights, h0, None, lengths, reverse, batch_first)
    return y, h_n


def _replay(*arguments: Any) -> tuple[Tensor, ...]:
    return gru_reference(*arguments[:6], *arguments[7:])  # a GRU has no c0
