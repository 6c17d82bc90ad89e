"""Which tensors elman's own kernels take; everything else goes to torch's recurrent layers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

_PLAIN = (Tensor, Parameter)


def is_native(x: Tensor, *others: Tensor | None) -> bool:
    """Whether elman's kernels take these tensors, as they are called now.

    They take float32 and float64 on the CPU, all tensors alike, and know nothing of autocast.
    """
    dtype = x.dtype
    if not x.is_cpu or not (dtype is torch.float32 or dtype is torch.float64):
        return False
    for other in others:
        if other is not None and (other.dtype is not dtype or not other.is_cpu):
            return False
    if torch.is_autocast_enabled("cpu") or torch._C._are_functorch_transforms_active():
        return False
    return torch.compiler.is_compiling() or not _observed(x, *others)


def _observed(*tensors: Tensor | None) -> bool:
    """Whether something follows the computation operation by operation, as torch's layers allow.

    Forward-mode derivatives, torch.jit.trace, fake tensors, make_fx, counters of operations, and
    subclasses of Tensor do. The kernels would read memory behind their backs.
    """
    if torch._C._len_torch_dispatch_stack() or torch._C._get_tracing_state() is not None:
        return True
    if forward_ad._current_level >= 0:
        return True
    return any(tensor is not None and type(tensor) not in _PLAIN for tensor in tensors)
