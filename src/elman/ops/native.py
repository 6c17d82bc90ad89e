"""The calls of the kernels for one layer.

`forward` and `backward` check all tensors first (`elman.ops.checks`), whoever calls: functions,
layers, autograd, or `torch.ops.elman`. A kernel receives raw addresses: a variable must keep each
tensor alive until the call returns, in particular the contiguous copies that the checks make.

Dimensions: B batch, T time, I input, H hidden, P projected, G blocks of the weights.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor

from elman import _core
from elman.errors import ShapeError
from elman.ops.checks import (
    HAS_C,
    check_lengths,
    read_layer,
    read_results,
    read_tensor,
    reserve_size,
    sizes,
)

# Threads of the kernels where torch's own must be limited to one; None means as many as torch's.
KERNEL_THREADS: ContextVar[int | None] = ContextVar("kernel_threads", default=None)


# Threads that are ever started, whatever number is asked for: many more than the machine's
# processors gain nothing, and where the system refuses one, torch's OpenMP ends the process.
USEFUL_THREADS = max(64, os.cpu_count() or 1)


def count_threads() -> int:
    """Return the number of threads that a kernel may use: torch's, if nothing else is set."""
    return min(KERNEL_THREADS.get() or torch.get_num_threads(), USEFUL_THREADS)


if torch.get_num_threads() > USEFUL_THREADS:  # OMP_NUM_THREADS, say
    torch.set_num_threads(USEFUL_THREADS)


# y, h_n, c_n of a cell that has a second state, and what backward needs if it is to follow
Outputs = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


def _locate(tensor: Tensor | None, batch_first: bool) -> tuple[int, int, int]:
    """Address, stride of steps, stride of rows."""
    if tensor is None:
        return 0, 0, 0
    first, second, _ = tensor.stride()
    address = tensor.data_ptr()
    return (address, second, first) if batch_first else (address, first, second)


def _addresses(tensors: Iterable[Tensor | None]) -> list[int]:
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


def _call(
    x: Tensor,
    weights: Sequence[Tensor | None],
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
    h0_address, c0_address, lengths_address, reserve_address = _addresses(
        (h0, c0, lengths, reserve)
    )
    return _core.LayerCall(
        cell=cell,
        is_double=x.dtype == torch.float64,
        reverse=reverse,
        sizes=sizes(x, weights[1], weights[4], batch_first),
        lengths=lengths_address,
        weights=_addresses(weights),
        x=_locate(x, batch_first),
        y=_locate(y, batch_first),
        h0=h0_address,
        c0=c0_address,
        reserve=reserve_address,
        # At most: a call of little work stays on one, and the bits are the same for any number.
        threads=count_threads(),
    )


def probabilities(logits: Tensor, outputs: Literal["softmax", "sigmoid"]) -> Tensor:
    """Probabilities of logits, (..., K), as float64: over the K classes, or of each label alone.

    A row's bits depend on nothing but the row. Those of torch's functions depend on the place of a
    number in memory and on the instruction set that torch has been compiled for, so that a stream,
    which computes one row at a time, could not repeat them.
    """
    if logits.dtype not in (torch.float32, torch.float64) or not logits.is_cpu:
        logits = logits.to("cpu", torch.float64)  # exact
    logits = read_tensor("logits", logits.detach(), tuple(logits.shape), logits.dtype)
    result = torch.empty(logits.shape, dtype=torch.float64)
    rows, size = logits.shape[:-1].numel(), logits.shape[-1]
    is_double = logits.dtype is torch.float64
    _core.probabilities(logits.data_ptr(), is_double, outputs, rows, size, result.data_ptr())
    return result


# What torch's and the kernels' allocations raise.
_FAILURES = (MemoryError, OverflowError, RuntimeError, ValueError, IndexError)


def _explain(error: Exception, x: Tensor, lengths: Tensor | None, batch_first: bool) -> ShapeError:
    """The error to raise for what an allocation or a kernel has raised."""
    if isinstance(error, IndexError) and lengths is not None:
        check_lengths(lengths, len(lengths), x.shape[1 if batch_first else 0])
        return ShapeError(str(error))
    return ShapeError(
        f"x: got {tuple(x.shape)}; the result takes more memory than there is ({error})"
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
        x.new_empty(batch, hidden) if cell in HAS_C else None,
    )


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
    """Run one layer in one direction; with `keep`, also return what backward needs.

    Raises: ShapeError or SettingsError for whatever the kernels cannot read.
    """
    tensors = (x, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, h0, c0)
    x, weights, h0, c0, lengths = read_layer(cell, tensors, lengths, batch_first)
    reserve = None
    try:
        y, h_n, c_n = allocate(x, weight_hh, weight_hr, cell, batch_first)
        if not h_n.numel():  # no row or no unit, with any number of steps
            return y, h_n, c_n, None
        if keep and (n := reserve_size(x, weight_hh, weight_hr, cell)):
            # From a store, because fresh pages cost more than a small layer's arithmetic:
            # csrc/memory.h has the measurement.
            reserve = _core.reserve(n, x.dtype == torch.float64)
        call = _call(x, weights, h0, c0, lengths, y, reserve, cell, reverse, batch_first)
        call.forward(h_n=h_n.data_ptr(), c_n=0 if c_n is None else c_n.data_ptr())
    except _FAILURES as error:
        raise _explain(error, x, lengths, batch_first) from error
    return y, h_n, c_n, reserve


def backward(
    saved: tuple[Tensor | None, ...],
    gradients: tuple[Tensor | None, Tensor | None, Tensor | None],
    needed: tuple[bool, ...],
    cell: str,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor | None, ...]:
    """Return the gradients marked in `needed`; those of the weights come all or not at all.

    Args:
        saved: the nine tensors of `forward`, y and what it kept.
        gradients: of the loss by y, h_n and c_n; None means zeros.
    Raises: ShapeError or SettingsError for whatever the kernels cannot read.
    """
    *tensors, lengths, y, reserve = saved
    x, weights, h0, c0, lengths = read_layer(cell, tuple(tensors), lengths, batch_first)
    if len(needed) < len(tensors):
        raise ShapeError(f"needed: got {len(needed)} values, expected {len(tensors)}")
    y, reserve, dy, dh_n, dc_n = read_results(
        x, weights, (y, reserve, *gradients), cell, batch_first
    )
    try:
        # Without rows or units there is nothing to compute, and a kernel writes nothing.
        empty = not (y.shape[0 if batch_first else 1] and y.shape[2])
        make = torch.zeros_like if empty else torch.empty_like
        dx = make(x, memory_format=torch.contiguous_format) if needed[0] else None
        # The kernels sum all in one pass: skipping a frozen bias would save almost nothing.
        d_weights: list[Tensor | None] = [None] * 5
        if any(needed[1:6]):
            d_weights = [None if w is None else make(w) for w in weights]
        dh0 = make(h0) if needed[6] and h0 is not None else None
        dc0 = make(c0) if needed[7] and c0 is not None else None
        if not empty:
            call = _call(x, weights, h0, c0, lengths, y, reserve, cell, reverse, batch_first)
            dh_n_address, dc_n_address, dh0_address, dc0_address = _addresses(
                (dh_n, dc_n, dh0, dc0)
            )
            call.backward(
                dy=_locate(dy, batch_first),
                dh_n=dh_n_address,
                dc_n=dc_n_address,
                dx=_locate(dx, batch_first),
                dh0=dh0_address,
                dc0=dc0_address,
                gradients=_addresses(d_weights),
            )
    except _FAILURES as error:
        raise _explain(error, x, lengths, batch_first) from error
    width = 0 if tensors[0] is None else tensors[0].shape[2]
    if not width:  # without the column that `read_layer` has added
        dx, d_weights[0] = (None if g is None else g[..., :0] for g in (dx, d_weights[0]))
    return dx, *d_weights, dh0, dc0
