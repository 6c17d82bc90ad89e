"""One layer, one direction, run by torch's own recurrent kernels with lengths honoured.

torch knows ragged batches as PackedSequence only: the steps of all rows are gathered time by time,
so padding is never read, whatever it holds. What torch lacks is a backward-only layer; each row is
flipped within its own length instead.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def flip_within_lengths(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the first lengths[b] steps of each row of x, (B, T, ...); the rest stays in place."""
    time = torch.arange(x.shape[1], device=x.device)
    ends = lengths.to(x.device)[:, None]
    index = torch.where(time < ends, ends - 1 - time, time)  # (B, T)
    return x.gather(1, index[:, :, None].expand_as(x))


def run_layer(
    kernel: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
    weights: list[Tensor],
    states: tuple[Tensor, ...],
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run `kernel` (one of torch's rnn_tanh, rnn_relu, gru, lstm) over x, (B, T, I).

    Args:
        kernel: torch._VF function; takes padded or packed input.
        weights: weight_ih, weight_hh and, where there are biases, bias_ih, bias_hh.
        states: initial states, each (B, H): h, and for lstm c.
        lengths: valid steps of each row, (B,); None means all T.
        reverse: from each row's own last step to its first.
    Returns: y (B, T, H), zero past each row's end; final states, each (B, H).
    """
    batch, time, _ = x.shape
    if batch == 0 or time == 0:
        return x.new_zeros(batch, time, states[0].shape[1]), states
    biased = len(weights) == 4
    stacked = tuple(s.unsqueeze(0) for s in states)
    if lengths is None or bool((lengths == time).all()):
        hidden = stacked if len(stacked) > 1 else stacked[0]
        y, *final = kernel(
            x.flip(1) if reverse else x, hidden, weights, biased, 1, 0.0, False, False, True
        )
        return (y.flip(1) if reverse else y), tuple(s.squeeze(0) for s in final)

    # Packing refuses empty rows: give them one step of zeros and put their state back afterwards.
    empty = (lengths == 0).to(x.device)
    run = lengths.clamp(min=1)
    if reverse:
        x = flip_within_lengths(x, run)
    x = torch.where(empty[:, None, None], x.new_zeros(()), x)
    packed = pack_padded_sequence(x, run.cpu(), batch_first=True, enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    assert order is not None and back is not None  # enforce_sorted=False always sets them
    hidden = tuple(s.index_select(1, order) for s in stacked)
    data, *final = kernel(
        packed.data,
        packed.batch_sizes,
        hidden if len(hidden) > 1 else hidden[0],
        weights,
        biased,
        1,
        0.0,
        False,
        False,
    )
    y, _ = pad_packed_sequence(packed._replace(data=data), batch_first=True, total_length=time)
    y = torch.where(empty[:, None, None], y.new_zeros(()), y)
    if reverse:
        y = flip_within_lengths(y, run)
    ends = tuple(s.index_select(1, back).squeeze(0) for s in final)
    return y, tuple(
        torch.where(empty[:, None], start, end) for start, end in zip(states, ends, strict=True)
    )
