"""The long short-term memory as a loop over time: read this first; float64 runs judge the rest."""

from __future__ import annotations

import torch
from torch import Tensor


def lstm_reference(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h0: Tensor,
    c0: Tensor,
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool = True,
    weight_hr: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Same arguments and results as `elman.ops.lstm`; h0 (B, H or P) and c0 (B, H)."""
    if not batch_first:
        x = x.transpose(0, 1)
    time = x.shape[1]
    h, c = h0, c0
    y = [torch.zeros_like(h0)] * time
    for t in reversed(range(time)) if reverse else range(time):
        valid = torch.ones_like(h[:, :1], dtype=torch.bool)
        if lengths is not None:
            valid = (t < lengths.to(x.device))[:, None]  # (B, 1)
        x_t = torch.where(valid, x[:, t], 0.0)  # (B, I)
        a = x_t @ weight_ih.T + h @ weight_hh.T  # (B, 4*H)
        if bias_ih is not None and bias_hh is not None:
            a = a + bias_ih + bias_hh
        i, f, g, o = a.chunk(4, 1)
        c_t = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h_t = torch.sigmoid(o) * torch.tanh(c_t)
        if weight_hr is not None:
            h_t = h_t @ weight_hr.T  # (B, P)
        c = torch.where(valid, c_t, c)
        h = torch.where(valid, h_t, h)
        y[t] = torch.where(valid, h, 0.0)
    out = torch.stack(y, 1) if time else x.new_zeros(x.shape[0], 0, h0.shape[1])
    return out if batch_first else out.transpose(0, 1).contiguous(), (h, c)
