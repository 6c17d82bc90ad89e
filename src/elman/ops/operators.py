"""`elman::recurrence`: the kernels as operators for torch.compile and torch.export.

An operator always returns the same number of tensors; those that are not needed are empty.
The names of the operators and of their arguments are part of exported programs, so they stay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman.ops import native
from elman.ops.cells import KERNELS
from elman.ops.functional import check_lengths

_INPUTS = (
    "Tensor x, Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, Tensor? bias_hh, "
    "Tensor? weight_hr, Tensor? h0, Tensor? c0, Tensor? lengths"
)
_OPTIONS = "str cell, bool reverse, bool batch_first"

# Library and not the decorator `custom_op`, which doubles the time of a call (docs/log.md).
_library = torch.library.Library("elman", "DEF")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    f"recurrence({_INPUTS}, {_OPTIONS}, bool keep)"
    " -> (Tensor y, Tensor h_n, Tensor c_n, Tensor reserve)",
    # needs_fixed_stride_order: backward reads y as forward laid it out, without a copy.
    tags=(torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order),
)
_library.define(  # type: ignore[no-untyped-call]
    f"recurrence_backward({_INPUTS}, Tensor y, Tensor reserve, "
    f"Tensor? dy, Tensor? dh_n, Tensor? dc_n, bool[] needed, {_OPTIONS})"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order),
)


def _run(*arguments: Any) -> tuple[Tensor, ...]:
    x, weight_hh, weight_hr, lengths, batch_first = (arguments[i] for i in (0, 2, 5, 8, 11))
    # Values are unknown when the graph is compiled, and the kernels do not check them: a length
    # above T would make them read past the end of x.
    if lengths is not None:
        batch, time, *_ = native.sizes(x, weight_hh, weight_hr, batch_first)
        check_lengths(lengths, batch, time)
    return _as_tensors(arguments[0], native.forward(*arguments))


def _run_fake(*arguments: Any) -> tuple[Tensor, ...]:
    """Shapes of what `_run` returns, from which torch plans the graph without running a kernel."""
    x, weight_hh, weight_hr = (arguments[i] for i in (0, 2, 5))
    cell, _, batch_first, keep = arguments[9:]
    kept = native.reserve_size(x, weight_hh, weight_hr, cell) if keep else 0
    outputs = native.allocate(x, weight_hh, weight_hr, cell, batch_first)
    return _as_tensors(x, (*outputs, x.new_empty(kept)))


def _run_backward(*arguments: Any) -> tuple[Tensor, ...]:
    saved, gradients, needed, options = _split(arguments)
    return _as_tensors(saved[0], native.backward(saved, gradients, needed, *options))


def _run_backward_fake(*arguments: Any) -> tuple[Tensor, ...]:
    saved, _, needed, _ = _split(arguments)
    # As `native.backward` does, the gradients of the weights come together or not at all.
    x, weights = saved[0], any(needed[1:6])
    filled = (needed[0], *[weights] * 5, needed[6], needed[7])
    return tuple(
        x.new_empty(t.shape if is_filled and t is not None else 0)
        for t, is_filled in zip(saved, filled, strict=False)
    )


def _as_tensors(x: Tensor, tensors: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    """The tensors, with an empty one in place of each None."""
    return tuple(x.new_empty(0) if t is None else t for t in tensors)


def _split(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Saved tensors, gradients of the outputs, which gradients are needed, options."""
    return arguments[:11], arguments[11:14], tuple(arguments[14]), arguments[15:]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    y, _, _, reserve = output
    ctx.save_for_backward(*inputs[:9], y, reserve)
    ctx.options = inputs[9:12]
    ctx.set_materialize_grads(False)  # None for what the loss does not read: the kernels skip it


def _gradients(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    needed = ctx.needs_input_grad[:8]
    dy, dh_n, dc_n = gradients[:3]
    if len(KERNELS[ctx.options[0]].states) == 1:
        dc_n = None  # of the empty c_n, which has no shape that the kernels know
    input_gradients = torch.ops.elman.recurrence_backward(
        *ctx.saved_tensors, dy, dh_n, dc_n, list(needed), *ctx.options
    )
    used = (g if need else None for g, need in zip(input_gradients, needed, strict=True))
    return (*used, None, None, None, None, None)


_library.impl("recurrence", _run, "CPU")  # type: ignore[no-untyped-call]
_library.impl("recurrence_backward", _run_backward, "CPU")  # type: ignore[no-untyped-call]
torch.library.register_fake("elman::recurrence", _run_fake, lib=_library)
torch.library.register_fake("elman::recurrence_backward", _run_backward_fake, lib=_library)
torch.library.register_autograd("elman::recurrence", _gradients, setup_context=_save, lib=_library)
