"""The three recurrences as functions of tensors.

Dimensions: B batch, T time, I input, H hidden, P projected, G blocks of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elman.errors import SettingsError, ShapeError
from elman.ops.cells import GRU, LSTM, find_cell
from elman.ops.dispatch import run_layer


def rnn(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h0: Tensor | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
    batch_first: bool = True,
) -> tuple[Tensor, Tensor]:
    """One simple recurrent layer over a whole sequence.

        h_t = f(W x_t + b_ih + U h_{t-1} + b_hh)        f = tanh or relu

    Args:
        x: input, (B, T, I), or (T, B, I) if not batch_first; float32 or float64.
        weight_ih: W, (H, I).
        weight_hh: U, (H, H).
        bias_ih, bias_hh: (H,) each, or None for both.
        h0: state before the first step, (B, H); None means zeros.
        lengths: valid steps of each row, (B,) integers, a list or a tensor on any device; None
            means all T.
        nonlinearity: f, `tanh` or `relu`.
        reverse: run from each row's own last step to its first.
        batch_first: whether batch comes before time in x and y.
    Returns: y (B, T, H) or (T, B, H), as x, zero past each row's end; h_n (B, H), the state after
        each row's own last step in the direction in which it runs.
    Raises: ShapeError naming the argument, what it is and what it should be; SettingsError.
    Source: Elman 1990, doi:10.1207/s15516709cog1402_1; weights as torch.nn.RNN.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise SettingsError(f"nonlinearity: got {nonlinearity!r}, expected 'tanh' or 'relu'")
    cell = find_cell("rnn", nonlinearity)
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    lengths = as_lengths(lengths)
    y, (h_n,) = run_layer(cell, x, *weights, (h0,), lengths, reverse, batch_first)
    return y, h_n


def gru(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h0: Tensor | None = None,
    lengths: Tensor | Sequence[int] | None = None,
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
        lengths: valid steps of each row, (B,) integers, a list or a tensor on any device; None
            means all T.
        reverse: run from each row's own last step to its first.
        batch_first: whether batch comes before time in x and y.
    Returns: y (B, T, H) or (T, B, H), as x, zero past each row's end; h_n (B, H), the state after
        each row's own last step in the direction in which it runs.
    Raises: ShapeError naming the argument, what it is and what it should be.
    Source: Cho et al. 2014, arXiv:1406.1078v1 (reset after the product); gates as
        torch.nn.GRU orders them.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    lengths = as_lengths(lengths)
    y, (h_n,) = run_layer(GRU, x, *weights, (h0,), lengths, reverse, batch_first)
    return y, h_n


def lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
    lengths: Tensor | Sequence[int] | None = None,
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
        lengths: valid steps of each row, (B,) integers, a list or a tensor on any device; None
            means all T.
        weight_hr: R, (P, H) with P below H, projects the hidden state; None leaves it as it is.
        reverse: run from each row's own last step to its first.
        batch_first: whether batch comes before time in x and y.
    Returns: y (B, T, H) or (T, B, H), as x, zero past each row's end; (h_n, c_n), each (B, H), the
        states after each row's own last step in the direction in which it runs. With weight_hr, y
        and h_n have P units.
    Raises: ShapeError naming the argument, what it is and what it should be.
    Source: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gate of Gers et
        al. 2000, doi:10.1162/089976600300015015; projection of Sak et al. 2014, arXiv:1402.1128;
        gate order of torch.nn.LSTM.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    lengths = as_lengths(lengths)
    y, (h_n, c_n) = run_layer(LSTM, x, *weights, (h0, c0), lengths, reverse, batch_first, weight_hr)
    return y, (h_n, c_n)


def as_lengths(lengths: Tensor | Sequence[int] | None) -> Tensor | None:
    """Return lengths as a tensor: a list, a tuple or an array of integers becomes one.

    Raises: ShapeError for anything else.
    """
    if lengths is None or isinstance(lengths, Tensor):
        return lengths
    try:
        return torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError):
        raise ShapeError(
            f"lengths: got {lengths!r:.60}, expected a tensor or a list with one integer per row"
        ) from None
