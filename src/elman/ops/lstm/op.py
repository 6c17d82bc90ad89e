"""The long short-term memory as the layers run it: our kernels on a CPU, torch's elsewhere."""

from __future__ import annotations

from typing import Any

from torch import _VF, Tensor

from elman.ops._dispatch import is_native
from elman.ops._native import run_native
from elman.ops._torch_layer import run_layer
from elman.ops.lstm.reference import lstm_reference


def lstm_op(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    weight_hr: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Same arguments and results as `elman.ops.lstm`, already checked."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    if weight_hr is None and is_native(x):
        return lstm_native(x, *weights, h0, c0, lengths, reverse, batch_first)
    y, (h_n, c_n) = run_layer(
        _VF.lstm, x, (*weights, weight_hr), (h0, c0), lengths, reverse, batch_first
    )
    return y, (h_n, c_n)


def lstm_native(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The same by our kernels: for tensors that `is_native` takes, already checked."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    y, h_n, c_n = run_native("lstm", _replay, x, *weights, h0, c0, lengths, reverse, batch_first)
    assert c_n is not None  # only a cell without one leaves it out
    return y, (h_n, c_n)


def _replay(*arguments: Any) -> tuple[Tensor, ...]:
    y, final = lstm_reference(*arguments)
    return y, *final
