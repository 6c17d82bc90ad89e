"""The long short-term memory of Hochreiter and Schmidhuber (1997), with forget gate."""

from __future__ import annotations

from torch import Tensor

from elman.ops.cells import LSTM
from elman.ops.checks import check_layer
from elman.ops.dispatch import run_layer


def lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    weight_hr: Tensor | None = None,
    reverse: bool = False,
    batch_first: bool = True,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One long short-term memory layer over a whole sequence.

        i, f, o = sigmoid(W x_t + b_ih + U h_{t-1} + b_hh)
        g       = tanh(W_g x_t + b_ih_g + U_g h_{t-1} + b_hh_g)
        c_t     = f * c_{t-1} + i * g        h_t = o * tanh(c_t), or R (o * tanh(c_t))

    Args:
        x: input, (B, T, I), or (T, B, I) if not batch_first; float32 or float64.
        weight_ih: W, (4*H, I), gates in the order i, f, g, o.
        weight_hh: U, (4*H, H), or (4*H, P) with weight_hr.
        bias_ih, bias_hh: (4*H,) each, or None for both.
        h0, c0: hidden and cell state before the first step, (B, H) each, h0 (B, P) with weight_hr;
            None means zeros.
        lengths: valid steps of each row, (B,) integers, any device; None means all T.
        weight_hr: R, (P, H) with P below H, projects the hidden state; None leaves it as it is.
        reverse: run from each row's own last step to its first.
        batch_first: whether batch stands before time in x and y.
    Returns: y (B, T, H) or (T, B, H), as x, zero past each row's end; (h_n, c_n), each (B, H), the
        states after each row's own last step in the direction in which it runs. With weight_hr, y
        and h_n have P units.
    Raises: ShapeError naming the argument, what it is and what it should be.
    Source: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gate of Gers et
        al. 2000, doi:10.1162/089976600300015015; projection of Sak et al. 2014, arXiv:1402.1128;
        gate order of torch.nn.LSTM.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    check_layer(LSTM, x, *weights, (h0, c0), lengths, batch_first, weight_hr)
    y, (h_n, c_n) = run_layer(LSTM, x, *weights, (h0, c0), lengths, reverse, batch_first, weight_hr)
    return y, (h_n, c_n)
