"""Gradients that can be differentiated again, by way of the reference.

The kernels have no second derivative. Where autograd asks for one (`create_graph=True`), the
forward pass is run again as plain torch operations and differentiated by autograd: exact, and as
slow as the reference.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# x, weight_ih, weight_hh, bias_ih, bias_hh, h0, c0, lengths, reverse, batch_first -> y, h_n[, c_n]
Replay = Callable[..., tuple[Tensor, ...]]


def differentiable_gradients(
    replay: Replay,
    inputs: tuple[Tensor | None, ...],
    lengths: Tensor | None,
    gradients: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the inputs that are wanted, each with a graph of its own.

    Args:
        replay: the cell's reference on these arguments.
        inputs: x, weight_ih, weight_hh, bias_ih, bias_hh, h0, c0; None where there is none.
        gradients: of the loss by y, h_n and c_n; None means zeros.
        wanted: for each input.
    """
    x, _, weight_hh, *_, h0, c0 = inputs
    assert x is not None and weight_hh is not None
    zeros = x.new_zeros(x.shape[0 if batch_first else 1], weight_hh.shape[1])
    states = (zeros if h0 is None else h0, zeros if c0 is None else c0)
    with torch.enable_grad():
        outputs = replay(*inputs[:5], *states, lengths, reverse, batch_first)
        given = [(o, g) for o, g in zip(outputs, gradients, strict=False) if g is not None]
        places = [i for i, want in enumerate(wanted[: len(inputs)]) if want]
        found = torch.autograd.grad(
            [o for o, _ in given],
            [t for i in places if (t := inputs[i]) is not None],
            [g for _, g in given],
            create_graph=True,
            allow_unused=True,
        )
    result: list[Tensor | None] = [None] * len(inputs)
    for i, gradient in zip(places, found, strict=True):
        result[i] = gradient
    return tuple(result)
