"""The kernels as autograd, torch.compile and torch.export see them.

In eager mode, layers run an `autograd.Function`, which has the least overhead: forward and backward
of an empty operator take 80 to 83 us with it, and 158 to 176 us with `torch.library.custom_op`
(docs/log.md). While torch compiles or exports, they run the operators `elman::recurrence` and
`elman::recurrence_backward`, each one node of the graph. Both call `forward` and `backward`.

An operator always returns the same number of tensors; those that are not needed are empty.
The names of the operators and of their arguments are part of exported programs, so they stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elman.errors import ShapeError
from elman.ops import native
from elman.ops.cells import KERNELS, Cell
from elman.ops.checks import check_layer, kernel_cell, reserve_size
from elman.ops.native import backward, forward
from elman.ops.reference import differentiable_gradients

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
    return _as_tensors(arguments[0], native.forward(*arguments))


def fake_outputs(*arguments: Any) -> tuple[Tensor, ...]:
    """Shapes of what `_run` returns, from which torch plans the graph without running a kernel."""
    x, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, h0, c0, _ = arguments[:9]
    name, _, batch_first, keep = arguments[9:]
    cell = kernel_cell(name)
    weights, states = (weight_ih, weight_hh, bias_ih, bias_hh), (h0, c0)[: len(cell.states)]
    check_layer(cell, x, *weights, states, None, batch_first, weight_hr)
    _refuse_meta(x, arguments)
    kept = reserve_size(x, weight_hh, weight_hr, name) if keep else 0
    outputs = native.allocate(x, weight_hh, weight_hr, name, batch_first)
    return _as_tensors(x, (*outputs, x.new_empty(kept)))


def _run_backward(*arguments: Any) -> tuple[Tensor, ...]:
    saved, gradients, needed, options = _split(arguments)
    return _as_tensors(saved[0], native.backward(saved, gradients, needed, *options))


def _run_backward_fake(*arguments: Any) -> tuple[Tensor, ...]:
    saved, _, needed, _ = _split(arguments)
    _refuse_meta(saved[0], arguments)
    # As `native.backward` does, the gradients of the weights come together or not at all.
    x, weights = saved[0], any(needed[1:6])
    filled = (needed[0], *[weights] * 5, needed[6], needed[7])
    return tuple(
        x.new_empty(t.shape if is_filled and t is not None else 0)
        for t, is_filled in zip(saved, filled, strict=False)
    )


def _refuse_meta(x: Tensor, arguments: tuple[Any, ...]) -> None:
    """Raise ShapeError for a meta tensor among others, of which torch asks only the shapes."""
    for argument in arguments:
        if isinstance(argument, Tensor) and argument.is_meta and not x.is_meta:
            raise ShapeError(
                f"got a {tuple(argument.shape)} tensor on meta, expected all on {x.device} as x"
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


class _Recurrence(torch.autograd.Function):
    """One layer, one direction."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        cell, tensors, options = arguments[0], arguments[1:10], arguments[10:]
        everything = (*tensors, *options, True)
        y, h_n, c_n, reserve = forward(*everything)
        # Not as attributes of ctx: autograd then notices a tensor that is changed in place before
        # backward, and y does not keep itself alive in a circle of references.
        ctx.save_for_backward(*tensors, y, reserve)
        ctx.cell, ctx.options = cell, options
        # None for an output that the loss does not read, often h_n: the kernels skip it.
        ctx.set_materialize_grads(False)
        return y, h_n, c_n

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad[1:9]
        # Tensors of is_grads_batched have no memory that a kernel could read; create_graph needs a
        # graph of the gradients. Both take the reference loop.
        batched = any(g is not None and not torch._C._has_storage(g) for g in gradients)
        if batched or torch.is_grad_enabled():
            input_gradients = differentiable_gradients(
                ctx.cell, saved[:8], saved[8], gradients, needed, *ctx.options[1:]
            )
        else:
            input_gradients = backward(saved, gradients, needed, *ctx.options)  # type: ignore[arg-type]
        # All weights' gradients are computed together; autograd ignores those it did not request.
        used = (g if need else None for g, need in zip(input_gradients, needed, strict=True))
        return (None, *used, None, None, None, None)


def run_native(
    cell: Cell,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    weight_hr: Tensor | None,
    initial: Sequence[Tensor | None],
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer in one direction; arguments as `elman.ops`, on the CPU.

    Args:
        cell: with a kernel.
        initial: states before the first step, in the order of `cell.initial_states`.
    Returns: y; the final states in the same order.
    """
    h0, c0 = initial if len(initial) > 1 else (initial[0], None)
    inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, h0, c0)
    # Only if backward may follow: the gates of all steps take several times the memory of y.
    keep = torch.is_grad_enabled() and any(getattr(t, "requires_grad", False) for t in inputs)
    options = (cell.kernel, reverse, batch_first)
    c_n: Tensor | None
    if torch.compiler.is_compiling():
        weights = (weight_ih, weight_hh, bias_ih, bias_hh)
        check_layer(cell, x, *weights, tuple(initial), lengths, batch_first, weight_hr)
        y, h_n, c_n, _ = torch.ops.elman.recurrence(*inputs, lengths, *options, keep)
        if len(cell.states) == 1:
            c_n = None  # an operator always returns four tensors; this one is empty
    elif keep:
        y, h_n, c_n = _Recurrence.apply(cell, *inputs, lengths, *options)  # type: ignore[no-untyped-call]
    else:  # no node for autograd: a layer of 8 units takes 22 us instead of 37
        y, h_n, c_n, _ = forward(*inputs, lengths, *options, False)
    return y, ((h_n,) if c_n is None else (h_n, c_n))


_library.impl("recurrence", _run, "CPU")  # type: ignore[no-untyped-call]
_library.impl("recurrence_backward", _run_backward, "CPU")  # type: ignore[no-untyped-call]
torch.library.register_fake("elman::recurrence", fake_outputs, lib=_library)
torch.library.register_fake("elman::recurrence_backward", _run_backward_fake, lib=_library)
torch.library.register_autograd("elman::recurrence", _gradients, setup_context=_save, lib=_library)
