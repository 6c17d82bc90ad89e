"""The simple recurrence as a loop over time: read this first; float64 runs of it judge the rest."""

from __future__ import annotations

import torch
from torch import Tensor


def rnn_reference(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h0: Tensor,
    lengths: Tensor | None,
    nonlinearity: str,
    reverse: bool,
    batch_first: bool = True,
) -> tuple[Tensor, Tensor]:
    """Same arguments and results as `elman.ops.rnn`; h0 (B, H)."""
    f = torch.tanh if nonlinearity == "tanh" else torch.relu
    if not batch_first:
        x = x.transpose(0, 1)
    time = x.shape[1]
    h = h0
    y = [torch.zeros_like(h0)] * time
    for t in reversed(range(time)) if reverse else range(time):
        valid = torch.ones_like(h[:, :1], dtype=torch.bool)
        if lengths is not None:
            valid = (t < lengths.to(x.device))[:, None]  # (B, 1)
        x_t = torch.where(valid, x[:, t], 0.0)  # (B, I)
        z = x_t @ weight_ih.T + h @ weight_hh.T  # (B, H)
        if bias_ih is not None and bias_hh is not None:
            z = z + bias_ih + bias_hh
        h = torch.where(valid, f(z), h)
        y[t] = torch.where(valid, h, 0.0)
    out = torch.stack(y, 1) if time else x.new_zeros(x.shape[0], 0, h0.shape[1])
    return out if batch_first else out.transpose(0, 1).contiguous(), h
