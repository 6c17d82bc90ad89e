"""The gated recurrence as the layers run it: torch's own kernels, on any device."""

from __future__ import annotations

from torch import _VF, Tensor

from elman.ops._torch_layer import run_layer


def gru_op(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h0: Tensor,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Same arguments and results as `elman.ops.gru`, already checked."""
    weights = [w for w in (weight_ih, weight_hh, bias_ih, bias_hh) if w is not None]
    y, (h_n,) = run_layer(_VF.gru, x, weights, (h0,), lengths, reverse)
    return y, h_n
