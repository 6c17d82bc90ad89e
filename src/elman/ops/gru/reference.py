"""The gated recurrence as a loop over time: read this first; float64 runs of it judge the rest."""

from __future__ import annotations

import torch
from torch import Tensor


def gru_reference(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h0: Tensor,
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool = True,
) -> tuple[Tensor, Tensor]:
    """Same arguments and results as `elman.ops.gru`; h0 (B, H)."""
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
        a = x_t @ weight_ih.T  # (B, 3*H)
        u = h @ weight_hh.T  # (B, 3*H)
        if bias_ih is not None and bias_hh is not None:
            a, u = a + bias_ih, u + bias_hh
        a_r, a_z, a_n = a.chunk(3, 1)
        u_r, u_z, u_n = u.chunk(3, 1)
        r = torch.sigmoid(a_r + u_r)
        z = torch.sigmoid(a_z + u_z)
        n = torch.tanh(a_n + r * u_n)
        h = torch.where(valid, (1 - z) * n + z * h, h)
        y[t] = torch.where(valid, h, 0.0)
    out = torch.stack(y, 1) if time else x.new_zeros(x.shape[0], 0, h0.shape[1])
    return out if batch_first else out.transpose(0, 1).contiguous(), h
