"""Checks of shapes, dtypes and lengths that all cells share."""

from __future__ import annotations

import torch
from torch import Tensor

from elman.errors import ShapeError
from elman.ops.cells import Cell


def check_layer(
    cell: Cell,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    initial: tuple[Tensor | None, ...],
    lengths: Tensor | None,
    batch_first: bool,
    weight_hr: Tensor | None = None,
) -> None:
    """Raise ShapeError unless the arguments of one recurrent layer fit together.

    Args:
        cell: its blocks are the G of the weights.
        x: (B, T, I), or (T, B, I) if not batch_first.
        weight_ih: (G*H, I).
        weight_hh: (G*H, H), or (G*H, P) with weight_hr.
        bias_ih, bias_hh: (G*H,), or None for both.
        initial: states before the first step, (B, H) or None, in the order of
            `cell.initial_states`; with weight_hr, h is (B, P).
        lengths: (B,) integers from 0 to T, or None.
        weight_hr: (P, H) with P < H, or None.
    """
    if x.dim() != 3:
        order = "(B, T, I)" if batch_first else "(T, B, I)"
        raise ShapeError(f"x: got {tuple(x.shape)}, expected 3 dimensions {order}")
    batch, time, size = x.shape
    gates = len(cell.blocks)
    if not batch_first:
        batch, time = time, batch
    if weight_hr is None:
        if weight_hh.dim() != 2 or weight_hh.shape[0] != gates * weight_hh.shape[1]:
            raise ShapeError(f"weight_hh: got {tuple(weight_hh.shape)}, expected ({gates}*H, H)")
        hidden = width = weight_hh.shape[1]
    else:
        if weight_hr.dim() != 2 or not 0 < weight_hr.shape[0] < weight_hr.shape[1]:
            raise ShapeError(f"weight_hr: got {tuple(weight_hr.shape)}, expected (P, H), P below H")
        width, hidden = weight_hr.shape
    rows = gates * hidden
    dtype, device = x.dtype, x.device
    for name, tensor, shape in (
        ("weight_ih", weight_ih, (rows, size)),
        ("weight_hh", weight_hh, (rows, width)),
        ("bias_ih", bias_ih, (rows,)),
        ("bias_hh", bias_hh, (rows,)),
        ("weight_hr", weight_hr, (width, hidden)),
        *(
            (f"{name}0", state, (batch, width if name == "h" else hidden))
            for name, state in zip(cell.initial_states, initial, strict=True)
        ),
    ):
        if tensor is None:
            continue
        if tensor.shape != shape:
            raise ShapeError(f"{name}: got {tuple(tensor.shape)}, expected {shape}")
        if tensor.dtype != dtype or tensor.device != device:
            raise ShapeError(
                f"{name}: got {tensor.dtype} on {tensor.device}, expected {dtype} on {device} as x"
            )
    if (bias_ih is None) != (bias_hh is None):
        raise ShapeError("bias_ih and bias_hh: give both or neither")
    if lengths is not None:
        check_lengths(lengths, batch, time)


def check_lengths(lengths: Tensor, batch: int, time: int) -> None:
    """Raise ShapeError unless lengths are (B,) integers from 0 to T.

    Their values are not read while torch compiles or exports: a graph cannot depend on them. The
    operator checks them when the graph runs.
    """
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise ShapeError(
            f"lengths: got {tuple(lengths.shape)} {lengths.dtype}, expected ({batch},) integers"
        )
    if torch.compiler.is_compiling() or not batch:
        return
    least, most = (int(bound) for bound in torch.aminmax(lengths))
    if least < 0 or most > time:
        raise ShapeError(f"lengths: got {least} to {most}, expected 0 to T = {time}")
