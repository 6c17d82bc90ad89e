"""The recurrences on the CPU: autograd, torch.compile and torch.export around `elman._core`.

In eager mode, layers run an `autograd.Function`, which has the least overhead: forward and backward
of an empty operator take 80 to 83 us with it, and 158 to 176 us with `torch.library.custom_op`
(docs/log.md). While torch compiles or exports, they run the operators `elman::recurrence` and
`elman::recurrence_backward`, each one node of the graph. Both call `forward` and `backward`.

A kernel receives raw addresses and checks nothing. A variable must keep each tensor alive until the
call returns, in particular the contiguous copies that are made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from elman.ops.cells import KERNELS, Cell
from elman.ops.reference import run_reference

try:
    from elman import _core
except ImportError as error:
    raise ImportError(
        f"elman._core, the compiled kernels, cannot be loaded ({error}): build them with"
        " `pip install .`, or with `make setup` to work on elman"
    ) from error

# Kernels of cells with a second state; a set of their names, because every call looks one up.
_HAS_C = {kernel for kernel, cell in KERNELS.items() if len(cell.states) > 1}

# Threads of the kernels where torch's own must be limited to one; None means as many as torch's.
KERNEL_THREADS: ContextVar[int | None] = ContextVar("kernel_threads", default=None)


def count_threads() -> int:
    """Return the number of threads that a kernel may use: torch's, if nothing else is set."""
    return KERNEL_THREADS.get() or torch.get_num_threads()


# y, h_n, c_n of a cell that has a second state, and what backward needs if it is to follow
Outputs = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


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
    """Run one layer in one direction; arguments as `elman.ops`, checked, on the CPU.

    Args:
        cell: with a kernel.
        initial: states before the first step, in the order of `cell.initial_states`.
    Returns: y; the final states in the same order.
    """
    h0, c0 = initial if len(initial) > 1 else (initial[0], None)
    inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, h0, c0)
    # Only if backward may follow: the gates of all steps take several times the memory of y.
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    options = (cell.kernel, reverse, batch_first)
    c_n: Tensor | None
    if torch.compiler.is_compiling():
        y, h_n, c_n, _ = torch.ops.elman.recurrence(*inputs, lengths, *options, keep)
        if len(cell.states) == 1:
            c_n = None  # an operator always returns four tensors; this one is empty
    elif keep:
        y, h_n, c_n = _Recurrence.apply(cell, *inputs, lengths, *options)  # type: ignore[no-untyped-call]
    else:  # no node for autograd: a layer of 8 units takes 22 us instead of 37
        y, h_n, c_n, _ = forward(*inputs, lengths, *options, False)
    return y, ((h_n,) if c_n is None else (h_n, c_n))


def sizes(
    x: Tensor, weight_hh: Tensor, weight_hr: Tensor | None, batch_first: bool
) -> tuple[int, int, int, int, int]:
    """Return B, T, I, H, and P, 0 where h is not projected."""
    first, second, size = x.shape
    batch, time = (first, second) if batch_first else (second, first)
    if weight_hr is None:
        return batch, time, size, weight_hh.shape[1], 0
    return batch, time, size, weight_hr.shape[1], weight_hr.shape[0]


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _compact_rows(tensor: Tensor) -> Tensor:
    """The tensor with adjacent elements in its last dimension, which the kernels need.

    Steps and rows may have any strides: a transposed or sliced batch is read where it is.
    """
    # The stride of a dimension of size 1 has no meaning; torch may leave any number in it.
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _locate(tensor: Tensor | None, batch_first: bool) -> tuple[int, int, int]:
    """Address, stride of steps, stride of rows."""
    if tensor is None:
        return 0, 0, 0
    first, second, _ = tensor.stride()
    address = tensor.data_ptr()
    return (address, second, first) if batch_first else (address, first, second)


def _compact(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _move_lengths(lengths: Tensor | None) -> Tensor | None:
    """Lengths as the kernels read them: int64 on the CPU, wherever the caller has them."""
    return None if lengths is None else lengths.to("cpu", torch.int64).contiguous()


def _call(
    x: Tensor,
    weights: list[Tensor | None],
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    y: Tensor,
    reserve: Tensor | None,
    cell: str,
    reverse: bool,
    batch_first: bool,
) -> _core.LayerCall:
    """The kernels' view of these tensors, which it does not keep alive."""
    assert weights[1] is not None
    return _core.LayerCall(
        cell=cell,
        is_double=x.dtype == torch.float64,
        reverse=reverse,
        sizes=sizes(x, weights[1], weights[4], batch_first),
        lengths=_address(lengths),
        weights=[_address(w) for w in weights],
        x=_locate(x, batch_first),
        y=_locate(y, batch_first),
        h0=_address(h0),
        c0=_address(c0),
        reserve=_address(reserve),
        # At most: a call of little work stays on one, and the bits are the same for any number.
        threads=count_threads(),
    )


def allocate(
    x: Tensor, weight_hh: Tensor, weight_hr: Tensor | None, cell: str, batch_first: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Uninitialised memory for the outputs of `forward`."""
    batch, time, _, hidden, projected = sizes(x, weight_hh, weight_hr, batch_first)
    width = projected or hidden
    return (
        x.new_empty((batch, time, width) if batch_first else (time, batch, width)),
        x.new_empty(batch, width),
        x.new_empty(batch, hidden) if cell in _HAS_C else None,
    )


def reserve_size(x: Tensor, weight_hh: Tensor, weight_hr: Tensor | None, cell: str) -> int:
    """Number of values that forward keeps for backward.

    These are the gates and other values that backward would have to recompute. None for a
    simple RNN, whose derivative follows from y: tanh' = 1 - y^2.
    """
    hidden = (weight_hh if weight_hr is None else weight_hr).shape[1]
    width = _core.reserve_width(cell, x.dtype == torch.float64, hidden)
    return x.shape[0] * x.shape[1] * width


def forward(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    weight_hr: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    cell: str,
    reverse: bool,
    batch_first: bool,
    keep: bool,
) -> Outputs:
    """Run one layer in one direction; with `keep`, also return what backward needs."""
    x, h0, c0, lengths = _compact_rows(x), _compact(h0), _compact(c0), _move_lengths(lengths)
    weights = [_compact(w) for w in (weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)]
    y, h_n, c_n = allocate(x, weight_hh, weight_hr, cell, batch_first)
    reserve = None
    if keep and (n := reserve_size(x, weight_hh, weight_hr, cell)):
        # From a store, because fresh pages cost more than a small layer's arithmetic: csrc/memory.h
        # has the measurement.
        reserve = _core.reserve(n, x.dtype == torch.float64)
    call = _call(x, weights, h0, c0, lengths, y, reserve, cell, reverse, batch_first)
    call.forward(h_n=_address(h_n), c_n=_address(c_n))
    return y, h_n, c_n, reserve


def backward(
    saved: tuple[Tensor | None, ...],
    gradients: tuple[Tensor | None, Tensor | None, Tensor | None],
    needed: tuple[bool, ...],
    cell: str,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor | None, ...]:
    """Return the gradients marked in `needed`; those of the weights come all or not at all."""
    x, *weights, h0, c0, lengths, y, reserve = saved
    assert x is not None and y is not None
    x, h0, c0, lengths = _compact_rows(x), _compact(h0), _compact(c0), _move_lengths(lengths)
    dy, dh_n, dc_n = gradients
    dy, dh_n, dc_n = None if dy is None else _compact_rows(dy), _compact(dh_n), _compact(dc_n)
    dx = x.new_empty(x.shape) if needed[0] else None
    # The kernels sum all in one pass: skipping a frozen bias would save almost nothing.
    d_weights: list[Tensor | None] = [None] * 5
    if any(needed[1:6]):
        d_weights = [None if w is None else w.new_empty(w.shape) for w in weights]
    dh0 = torch.empty_like(h0) if needed[6] and h0 is not None else None
    dc0 = torch.empty_like(c0) if needed[7] and c0 is not None else None
    weights = [_compact(w) for w in weights]
    call = _call(x, weights, h0, c0, lengths, y, reserve, cell, reverse, batch_first)
    call.backward(
        dy=_locate(dy, batch_first),
        dh_n=_address(dh_n),
        dc_n=_address(dc_n),
        dx=_locate(dx, batch_first),
        dh0=_address(dh0),
        dc0=_address(dc0),
        gradients=[_address(w) for w in d_weights],
    )
    return dx, *d_weights, dh0, dc0


def differentiable_gradients(
    cell: Cell,
    inputs: tuple[Tensor | None, ...],
    lengths: Tensor | None,
    gradients: tuple[Tensor | None, ...],
    needed: tuple[bool, ...],
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the inputs marked in `needed`, each with its own graph.

    The kernels have no second derivative. Where autograd asks for one (`create_graph=True`), the
    forward pass is run again by the reference and differentiated by autograd: exact, and as slow as
    the reference.

    Args:
        inputs: x, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, h0, c0; None where there is
            none.
        gradients: of the loss by y, h_n and c_n; None means zeros.
        needed: whether each input needs its gradient.
    """
    x, *weights, weight_hr = inputs[:6]
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    assert x is not None and weight_ih is not None and weight_hh is not None
    states = inputs[6 : 6 + len(cell.states)]
    biases = (bias_ih, bias_hh)
    with torch.enable_grad():
        y, final = run_reference(
            cell, x, weight_ih, weight_hh, *biases, states, lengths, reverse, batch_first, weight_hr
        )
        ends = [(o, g) for o, g in zip((y, *final), gradients, strict=False) if g is not None]
        places = [i for i, need in enumerate(needed[: len(inputs)]) if need]
        input_gradients = torch.autograd.grad(
            [o for o, _ in ends],
            [t for i in places if (t := inputs[i]) is not None],
            [g for _, g in ends],
            create_graph=True,
            allow_unused=True,  # where T is 0 no step uses a weight
        )
    result: list[Tensor | None] = [None] * len(inputs)
    for i, gradient in zip(places, input_gradients, strict=True):
        result[i] = gradient
    return tuple(result)


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
