"""One layer in one direction, run by torch's own recurrent kernels, with lengths.

torch takes rows of unequal length only as a PackedSequence: the steps of all rows are gathered time
by time, so padding is never read, even if it holds NaN. torch has no layer that only runs backward;
instead, each row is flipped within its own length.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import _VF, Tensor
from torch._compile import _disable_dynamo
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.ops.cells import Cell


def flip_within_lengths(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the first lengths[b] steps of each row of x, (B, T, ...); the rest stays in place."""
    time = torch.arange(x.shape[1], device=x.device)
    ends = lengths.to(x.device)[:, None]
    index = torch.where(time < ends, ends - 1 - time, time)  # (B, T)
    return x.gather(1, index[:, :, None].expand_as(x))


def run_torch_layer(
    cell: Cell,
    x: Tensor,
    weights: tuple[Tensor, Tensor, *tuple[Tensor | None, ...]],
    initial: tuple[Tensor | None, ...],
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run torch's function for a cell over x, (B, T, I).

    Args:
        cell: with a `torch_kernel`.
        weights: weight_ih, weight_hh, bias_ih, bias_hh and, to project the state, weight_hr.
        initial: initial states, (B, H) each, in the order of `cell.initial_states`; None means
            zeros.
        lengths: valid steps of each row, (B,); None means all T.
        reverse: from each row's own last step to its first.
        batch_first: whether batch comes before time in x and y.
    Returns: y (B, T, H), contiguous, zero past each row's end; final states, each (B, H).
    """
    if lengths is not None and torch.compiler.is_dynamo_compiling():
        return _run_outside_graph(cell, x, weights, initial, lengths, reverse, batch_first)
    if not batch_first:
        turned, last = run_torch_layer(
            cell, x.transpose(0, 1), weights, initial, lengths, reverse, True
        )
        return turned.transpose(0, 1).contiguous(), last
    batch, time, _ = x.shape
    weight_ih, weight_hh, *rest = weights
    # Sizes of h, which may be projected, and of a second state, which never is.
    widths = (weight_hh.shape[1], weight_ih.shape[0] // len(cell.blocks))
    states = tuple(
        x.new_zeros(batch, width) if state is None else state
        for state, width in zip(initial, widths, strict=False)
    )
    if batch == 0 or time == 0:
        return x.new_zeros(batch, time, widths[0]), states
    kernel = getattr(_VF, cell.torch_kernel)
    flat = [w for w in weights if w is not None]
    biased = rest[0] is not None
    stacked = tuple(s.unsqueeze(0) for s in states)
    # If no row is padded, packing would only cost a copy.
    if lengths is None or bool((lengths == time).all()):
        hidden = stacked if len(stacked) > 1 else stacked[0]
        y, *final = kernel(
            x.flip(1) if reverse else x, hidden, flat, biased, 1, 0.0, False, False, True
        )
        # Contiguous, so that every path returns the same layout as elman's kernels.
        y = (y.flip(1) if reverse else y).contiguous()
        return y, tuple(s.squeeze(0) for s in final)

    def run(packed: PackedSequence) -> tuple[PackedSequence, tuple[Tensor, ...]]:
        # Packing sorts the rows by length; states go into that order and come back out of it.
        order, back = packed.sorted_indices, packed.unsorted_indices
        assert order is not None and back is not None  # enforce_sorted=False always sets them
        hidden = tuple(s.index_select(1, order) for s in stacked)
        data, *final = kernel(
            packed.data,
            packed.batch_sizes,
            hidden if len(hidden) > 1 else hidden[0],
            flat,
            biased,
            1,
            0.0,
            False,
            False,
        )
        ends = tuple(s.index_select(1, back).squeeze(0) for s in final)
        return packed._replace(data=data), ends

    filled = lengths.clamp(min=1)  # `run_packed` gives an empty row one step
    y, ends = run_packed(run, flip_within_lengths(x, filled) if reverse else x, states, lengths)
    return (flip_within_lengths(y, filled) if reverse else y).contiguous(), ends


def run_packed(
    run: Callable[[PackedSequence], tuple[PackedSequence, tuple[Tensor, ...]]],
    x: Tensor,
    states: tuple[Tensor | float, ...],
    lengths: Tensor,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Apply a function of a PackedSequence to x, (B, T, I), with T and B at least 1.

    Packing rejects empty rows, so they get one step of zeros, and their initial state afterwards.

    Args:
        run: maps the packed input to the packed output and the final states, (..., B, H).
        states: states that empty rows keep, (..., B, H) or 0 each.
        lengths: valid steps of each row, (B,).
    Returns: y (B, T, H), zero past each row's end; final states.
    """
    empty = (lengths == 0).to(x.device)
    # torch.where, because a product with the mask would keep NaN.
    x = torch.where(empty[:, None, None], x.new_zeros(()), x)
    steps = lengths.clamp(min=1).cpu()
    out, ends = run(pack_padded_sequence(x, steps, batch_first=True, enforce_sorted=False))
    y, _ = pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
    y = torch.where(empty[:, None, None], y.new_zeros(()), y)
    return y, tuple(
        torch.where(empty[:, None], start, end) for start, end in zip(states, ends, strict=True)
    )


# torch.compile cannot trace packing, which reads lengths on the CPU: its graph breaks here, as it
# does at torch's layers.
_run_outside_graph = _disable_dynamo(run_torch_layer)
