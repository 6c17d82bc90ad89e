"""The gated recurrent unit of Cho et al. (2014)."""

from __future__ import annotations

from torch import Tensor

from elman.ops.cells import GRU
from elman.ops.checks import check_layer
from elman.ops.dispatch import run_layer


def gru(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h0: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    reverse: bool = False,
    batch_first: bool = True,
) -> tuple[Tensor, Tensor]:
    """One gated recurrent layer over a whole sequence.

        r, z = sigmoid(W x_t + b_ih + U h_{t-1} + b_hh)
        n    = tanh(W_n x_t + b_ih_n + r * (U_n h_{t-1} + b_hh_n))
        h_t  = (1 - z) * n + z * h_{t-1}

    Args:
        x: input, (B, T, I), or (T, B, I) if not batch_first; float32 or float64.
        weight_ih: W, (3*H, I), gates in the order r, z, n.
        weight_hh: U, (3*H, H).
        bias_ih, bias_hh: (3*H,) each, or None for both.
        h0: state before the first step, (B, H); None means zeros.
        lengths: valid steps of each row, (B,) integers, any device; None means all T.
        reverse: run from each row's own last step to its first.
        batch_first: whether batch stands before time in x and y.
    Returns: y (B, T, H) or (T, B, H), as x, zero past each row's end; h_n (B, H), the state after
        each row's own last step in the direction in which it runs.
    Raises: ShapeError naming the argument, what it is and what it should be.
    Source: Cho et al. 2014, arXiv:1406.1078v1 (reset after the product); gates as
        torch.nn.GRU orders them.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    check_layer(GRU, x, *weights, (h0,), lengths, batch_first)
    y, (h_n,) = run_layer(GRU, x, *weights, (h0,), lengths, reverse, batch_first)
    return y, h_n
