"""Which path runs a layer: elman's own kernels, torch's, or the reference loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from elman.ops.cells import Cell
from elman.ops.checks import PLAIN, check_layer
from elman.ops.operators import run_native
from elman.ops.reference import run_reference
from elman.ops.torch_layer import run_torch_layer
from elman.ops.torch_onnx import is_exported_to_onnx, run_as_onnx

_PLAIN_OR_NONE = PLAIN | {type(None)}


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
    """Run one layer in one direction by the fastest path that applies.

    Args:
        initial: states before the first step, in the order of `cell.initial_states`.
        Others as in `elman.ops.lstm`.
    Returns: y; the final states in the same order.
    Raises: ShapeError naming the argument, what it is and what it should be.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    # Testing one tensor suffices: both paths refuse tensors of several dtypes or devices.
    if cell.kernel and isinstance(x, Tensor) and is_native(x):
        return run_native(cell, x, *weights, weight_hr, initial, lengths, reverse, batch_first)
    if is_exported_to_onnx():
        return run_as_onnx(cell, x, (*weights, weight_hr), initial, lengths, reverse, batch_first)
    check_layer(cell, x, *weights, initial, lengths, batch_first, weight_hr)
    if cell.torch_kernel:
        return run_torch_layer(
            cell, x, (*weights, weight_hr), initial, lengths, reverse, batch_first
        )
    return run_reference(cell, x, *weights, initial, lengths, reverse, batch_first, weight_hr)


def is_native(x: Tensor, *others: Tensor | None) -> bool:
    """Whether elman's kernels take these tensors, as they are called now.

    They take float32 and float64 on the CPU, all tensors alike, and do not know autocast. Whatever
    follows a computation operation by operation gets torch's layers, which consist of operations.
    """
    dtype = x.dtype
    if not x.is_cpu or not (dtype is torch.float32 or dtype is torch.float64):
        return False
    for other in others:
        if other is not None and (other.dtype is not dtype or not other.is_cpu):
            return False
    if torch.is_autocast_enabled("cpu") or torch._C._are_functorch_transforms_active():
        return False
    # A graph takes the operators of ops/operators.py, which know fake tensors. This must come
    # before the checks below, which would refuse the tensors with which torch compiles.
    if torch.compiler.is_compiling():
        return True
    if _is_followed():
        return False
    # Runs in C: all() of a generator costs more than all other checks together.
    return _PLAIN_OR_NONE.issuperset(map(type, (x, *others)))


def is_eager() -> bool:
    """Whether nothing compiles, follows or converts operations: a kernel may do them all."""
    return not (
        torch.compiler.is_compiling()
        or torch.is_autocast_enabled("cpu")
        or torch._C._are_functorch_transforms_active()
        or _is_followed()
    )


def _is_followed() -> bool:
    """Whether a tool would miss what a kernel, which works on raw memory, computes.

    Fake tensors, make_fx and counters of operations (the dispatch stack), torch.jit.trace, and
    forward-mode derivatives.
    """
    return (
        bool(torch._C._len_torch_dispatch_stack())
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    )
