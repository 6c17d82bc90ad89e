"""Shape, dtype and length checks shared by the three recurrences."""

from __future__ import annotations

from torch import Tensor

from elman.errors import ShapeError


def check_layer(
    gates: int,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    states: dict[str, Tensor | None],
    lengths: Tensor | None,
) -> None:
    """Raise ShapeError unless the arguments of one recurrent layer fit together.

    Args:
        gates: G, blocks of H rows in the weights: 1 (rnn), 3 (gru), 4 (lstm).
        x: (B, T, I).
        weight_ih: (G*H, I).
        weight_hh: (G*H, H).
        bias_ih, bias_hh: (G*H,), or None for both.
        states: initial states by name, each (B, H) or None.
        lengths: (B,) integers from 0 to T, or None.
    """
    if x.dim() != 3:
        raise ShapeError(f"x: got {tuple(x.shape)}, expected 3 dimensions (B, T, I)")
    batch, time, size = x.shape
    if weight_hh.dim() != 2 or weight_hh.shape[0] != gates * weight_hh.shape[1]:
        raise ShapeError(f"weight_hh: got {tuple(weight_hh.shape)}, expected ({gates}*H, H)")
    hidden = weight_hh.shape[1]
    expect = {
        "weight_hh": (weight_hh, (gates * hidden, hidden)),
        "weight_ih": (weight_ih, (gates * hidden, size)),
        "bias_ih": (bias_ih, (gates * hidden,)),
        "bias_hh": (bias_hh, (gates * hidden,)),
        **{name: (state, (batch, hidden)) for name, state in states.items()},
    }
    for name, (tensor, shape) in expect.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ShapeError(f"{name}: got {tuple(tensor.shape)}, expected {shape}")
        if tensor is not None and (tensor.dtype != x.dtype or tensor.device != x.device):
            raise ShapeError(
                f"{name}: got {tensor.dtype} on {tensor.device}, expected {x.dtype} on {x.device}"
                " as x"
            )
    if (bias_ih is None) != (bias_hh is None):
        raise ShapeError("bias_ih and bias_hh: give both or neither")
    if lengths is None:
        return
    if tuple(lengths.shape) != (batch,) or lengths.is_floating_point():
        raise ShapeError(
            f"lengths: got {tuple(lengths.shape)} {lengths.dtype}, expected ({batch},) integers"
        )
    if batch and not bool(((lengths >= 0) & (lengths <= time)).all()):
        raise ShapeError(
            f"lengths: got {int(lengths.min())} to {int(lengths.max())}, expected 0 to T = {time}"
        )
