"""The simple recurrent network of Elman (1990)."""

from __future__ import annotations

from torch import Tensor

from elman.errors import SettingsError
from elman.ops.cells import find_cell
from elman.ops.checks import check_layer
from elman.ops.dispatch import run_layer


def rnn(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h0: Tensor | None = None,
    lengths: Tensor | None = None,
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
        lengths: valid steps of each row, (B,) integers, any device; None means all T.
        nonlinearity: f, `tanh` or `relu`.
        reverse: run from each row's own last step to its first.
        batch_first: whether batch stands before time in x and y.
    Returns: y (B, T, H) or (T, B, H), as x, zero past each row's end; h_n (B, H), the state after
        each row's own last step in the direction in which it runs.
    Raises: ShapeError naming the argument, what it is and what it should be; SettingsError.
    Source: Elman 1990, doi:10.1207/s15516709cog1402_1; weights as torch.nn.RNN.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise SettingsError(f"nonlinearity: got {nonlinearity!r}, expected 'tanh' or 'relu'")
    cell = find_cell("rnn", nonlinearity)
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    check_layer(cell, x, *weights, (h0,), lengths, batch_first)
    y, (h_n,) = run_layer(cell, x, *weights, (h0,), lengths, reverse, batch_first)
    return y, h_n
