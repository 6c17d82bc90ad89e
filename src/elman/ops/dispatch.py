"""Which path runs a layer: elman's own kernels, torch's, or the reference loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from elman.ops.cells import Cell
from elman.ops.native import run_native
from elman.ops.reference import run_reference
from elman.ops.torch_layer import run_torch_layer

_PLAIN = (Tensor, Parameter)


def run_layer(
    cell: Cell,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    initial: tuple[Tensor | None, ...],
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool,
    weight_hr: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer in one direction by the fastest path that can.

    Args:
        initial: states before the first step, in the order of `cell.initial_states`.
        Others as `elman.ops.lstm`, checked.
    Returns: y; the final states in the same order.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    if cell.kernel and weight_hr is None and is_native(x):
        return run_native(cell, x, *weights, initial, lengths, reverse, batch_first)
    if cell.torch_kernel:
        return run_torch_layer(
            cell, x, (*weights, weight_hr), initial, lengths, reverse, batch_first
        )
    return run_reference(cell, x, *weights, initial, lengths, reverse, batch_first, weight_hr)


def is_native(x: Tensor, *others: Tensor | None) -> bool:
    """Whether elman's kernels take these tensors, as they are called now.

    They take float32 and float64 on the CPU, all tensors alike, and do not know autocast.
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
    subclasses of Tensor do. A kernel works on bare memory, so they would miss what it computes.
    """
    if torch._C._len_torch_dispatch_stack() or torch._C._get_tracing_state() is not None:
        return True
    if forward_ad._current_level >= 0:
        return True
    return any(tensor is not None and type(tensor) not in _PLAIN for tensor in tensors)
