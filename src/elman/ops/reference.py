"""Every cell as one loop over time in plain torch: read this first.

The tests compare the kernels, torch's layers and everything else with it in float64. It also runs
where no kernel applies: second derivatives, and cells that have only a step function.

Dimensions: B batch, T time, I input, H hidden, P projected, G blocks of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from elman.ops.cells import Cell


@dataclass(frozen=True)
class Step:
    """One step of one layer in one direction.

    Args:
        t: index in the sequence, from 0.
        sums: input of the nonlinearity of each block of the weights, (B, H) each.
        gates: each gate's activation, (B, H).
        states: states after the step, (B, H); unchanged in a row that has ended.
    """

    t: int
    sums: dict[str, Tensor]
    gates: dict[str, Tensor]
    states: dict[str, Tensor]


def run_steps(
    cell: Cell,
    inputs: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    states: dict[str, Tensor],
    mask: Tensor | None,
    reverse: bool,
    weight_hr: Tensor | None = None,
) -> Iterator[Step]:
    """Run one layer in one direction step by step.

    Args:
        inputs: W x_t + b of every step, (B, T, G*H), finite past each row's end.
        states: before the first step, (B, H) each, in the order of `cell.states`.
        mask: True at the valid steps of each row, (B, T); None if all are.
        weight_hr: R, (P, H), projects h to P units; None leaves it as it is.
    """
    times = range(inputs.shape[1])
    for t in reversed(times) if reverse else times:
        a = inputs[:, t]  # (B, G*H)
        # Not added to a yet: a GRU's reset gate multiplies u alone, its bias included.
        u = states["h"] @ weight_hh.T  # (B, G*H)
        if bias_hh is not None:
            u = u + bias_hh
        sums, gates, new = cell.step(cell.split(a), cell.split(u), states)
        if weight_hr is not None:
            new["h"] = new["h"] @ weight_hr.T  # (B, P)
        if mask is not None:
            # A row that has ended, or in reverse has not begun, keeps its states.
            valid = mask[:, t, None]  # (B, 1)
            new = {name: torch.where(valid, new[name], states[name]) for name in states}
        states = new
        yield Step(t, sums, gates, states)


def run_reference(
    cell: Cell,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    initial: tuple[Tensor | None, ...],
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool = True,
    weight_hr: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer in one direction over whole sequences.

    Args:
        x: (B, T, I), or (T, B, I) if not batch_first; anything, NaN included, past a row's end.
        initial: states before the first step, in the order of `cell.initial_states`, (B, H) each, h
            (B, P) with weight_hr; None means zeros.
        lengths: valid steps of each row, (B,); None means all T.
        Others as in `elman.ops.lstm`.
    Returns: y (B, T, H) or (T, B, H), zero past each row's end; the states after each row's own
        last step in the direction in which it runs, in the order of `initial`.
    """
    if not batch_first:
        x = x.transpose(0, 1)
    batch, time, _ = x.shape
    mask = None
    if lengths is not None:
        mask = torch.arange(time, device=x.device) < lengths.to(x.device)[:, None]  # (B, T)
        x = torch.where(mask[:, :, None], x, 0.0)  # a product with 0 would keep NaN
    a = x @ weight_ih.T  # (B, T, G*H): the input's product needs no state, so all steps at once
    if bias_ih is not None:
        a = a + bias_ih
    widths = dict.fromkeys(cell.states, weight_ih.shape[0] // len(cell.blocks))
    widths["h"] = weight_hh.shape[1]
    states = {name: x.new_zeros(batch, width) for name, width in widths.items()}
    before = zip(cell.initial_states, initial, strict=True)
    states |= {name: state for name, state in before if state is not None}
    y = [states["h"]] * time
    for step in run_steps(cell, a, weight_hh, bias_hh, states, mask, reverse, weight_hr):
        states = step.states
        y[step.t] = states["h"]
    out = torch.stack(y, 1) if time else x.new_zeros(batch, 0, widths["h"])
    if mask is not None:
        out = torch.where(mask[:, :, None], out, 0.0)
    final = tuple(states[name] for name in cell.initial_states)
    return out if batch_first else out.transpose(0, 1).contiguous(), final


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
