"""Which tensors elman's own kernels take; everything else goes to torch's recurrent layers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_native(x: Tensor, *others: Tensor | None) -> bool:
    """Whether elman's kernels take these tensors, as they are called now.

    They take float32 and float64 on the CPU, all tensors alike. They do not know autocast, nor the
    rules of torch.func and of forward-mode derivatives, which torch's layers follow.
    """
    dtype = x.dtype
    if not x.is_cpu or not (dtype is torch.float32 or dtype is torch.float64):
        return False
    for other in others:
        if other is not None and (other.dtype is not dtype or not other.is_cpu):
            return False
    return not torch.is_autocast_enabled("cpu") and not transformed()


def transformed() -> bool:
    """Whether vmap, torch.func.grad, jvp or their like, or forward-mode derivatives are at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
