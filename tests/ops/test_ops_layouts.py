"""Time before batch, and the projected lstm: against the references and torch.nn."""

import re

import pytest
import torch
from cases import (
    CELLS,
    DIRECTIONS,
    EMPTY_SHAPES,
    FULL,
    RAGGED,
    SHAPES,
    Shape,
    converted,
    gradients,
    make_arguments,
    padded_with,
    past_end,
    run_op,
    run_reference,
)
from tolerances import assert_close
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from elman.errors import ShapeError

LSTM = CELLS[-1]
PROJECTED = 2
each_cell = pytest.mark.parametrize("cell", CELLS, ids=str)
each_direction = pytest.mark.parametrize("reverse", DIRECTIONS, ids=["forward", "reverse"])
# Shapes with more units than a projection to two leaves.
wide_shapes = [s for s in SHAPES + EMPTY_SHAPES if s.H > PROJECTED]


def compare(found, wanted, ours, theirs, line="float64"):
    """All outputs, then the gradient of every argument."""
    assert len(found) == len(wanted)
    for name, a, b in zip(("y", "h_n", "c_n"), found, wanted, strict=False):
        assert_close(a, b, line, name)
    wanted_gradients = gradients(wanted, theirs)
    for name, gradient in gradients(found, ours).items():
        assert_close(gradient, wanted_gradients[name], line, f"gradient of {name}")


@each_cell
@each_direction
@pytest.mark.parametrize("shape", SHAPES + EMPTY_SHAPES, ids=str)
@pytest.mark.parametrize("run", [run_op, run_reference], ids=["op", "reference"])
def test_time_before_batch(cell, reverse, shape, run):
    """x (T, B, I) gives the transposed y of x (B, T, I), and the same final states."""
    arguments = make_arguments(cell, shape)
    if shape.ends is not None:
        arguments["x"] = padded_with(arguments["x"], shape.ends, float("nan"))
    turned = converted(arguments, torch.float64)
    x = turned["x"].transpose(0, 1).contiguous()
    y, *final = run(cell, turned | {"x": x}, shape.ends, reverse, batch_first=False)
    assert y.shape == (shape.T, shape.B, shape.H)
    wanted = run_reference(cell, arguments, shape.ends, reverse)
    compare([y.transpose(0, 1), *final], wanted, turned, arguments)


@each_cell
@each_direction
@pytest.mark.parametrize("shape", [FULL, RAGGED], ids=str)
@pytest.mark.parametrize("batch_first", [True, False])
def test_y_is_contiguous(cell, reverse, shape, batch_first):
    """In the layout asked for, also where x is not."""
    arguments = make_arguments(cell, shape)
    for x in (arguments["x"], arguments["x"].transpose(0, 1).contiguous().transpose(0, 1)):
        turned = x if batch_first else x.transpose(0, 1)
        y, *_ = run_op(cell, arguments | {"x": turned}, shape.ends, reverse, batch_first)
        assert y.is_contiguous()


@each_direction
@pytest.mark.parametrize("shape", wide_shapes, ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_projection(reverse, shape, bias, batch_first):
    arguments = make_arguments(LSTM, shape, bias=bias, projected=PROJECTED)
    if shape.ends is not None:
        arguments["x"] = padded_with(arguments["x"], shape.ends, float("nan"))
    copies = converted(arguments, torch.float64)
    x = copies["x"] if batch_first else copies["x"].transpose(0, 1).contiguous()
    y, h_n, c_n = run_op(LSTM, copies | {"x": x}, shape.ends, reverse, batch_first)
    y = y if batch_first else y.transpose(0, 1)
    assert y.shape == (shape.B, shape.T, PROJECTED)
    assert h_n.shape == (shape.B, PROJECTED)
    assert c_n.shape == (shape.B, shape.H)
    if shape.ends is not None:
        assert (y[past_end(y, shape.ends)] == 0).all()
    compare([y, h_n, c_n], run_reference(LSTM, arguments, shape.ends, reverse), copies, arguments)


@each_direction
@pytest.mark.parametrize("shape", [FULL, RAGGED], ids=str)
def test_projection_in_float32(reverse, shape):
    arguments = make_arguments(LSTM, shape, torch.float32, projected=PROJECTED)
    exact = converted(arguments, torch.float64)
    found = run_op(LSTM, arguments, shape.ends, reverse)
    compare(found, run_reference(LSTM, exact, shape.ends, reverse), arguments, exact, "float32")


@pytest.mark.parametrize("shape", [FULL, RAGGED], ids=str)
def test_projection_reference_against_torch(shape):
    arguments = make_arguments(LSTM, shape, projected=PROJECTED)
    x, h0, c0 = (arguments[n].detach().requires_grad_() for n in ("x", "h0", "c0"))
    layer = nn.LSTM(shape.I, shape.H, batch_first=True, proj_size=PROJECTED).double()
    weights = {n: getattr(layer, f"{n}_l0") for n in arguments if n.startswith(("weight", "bias"))}
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(arguments[name])
    lengths = torch.full((shape.B,), shape.T) if shape.ends is None else shape.ends
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, final = layer(packed, (h0[None], c0[None]))
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=shape.T)
    theirs = {"x": x, "h0": h0, "c0": c0, **weights}
    ours = dict(sorted(arguments.items()))
    found = run_reference(LSTM, arguments, shape.ends)
    compare(found, [y, *(s[0] for s in final)], ours, theirs)


@each_direction
@pytest.mark.parametrize("lengths", [None, (3, 1), (3, 0)], ids=str)
def test_projection_gradcheck(reverse, lengths):
    shape = Shape("small", 2, 3, 2, 3, lengths)
    arguments = make_arguments(LSTM, shape, projected=PROJECTED)

    def run(*tensors):
        return tuple(run_op(LSTM, dict(zip(arguments, tensors, strict=True)), shape.ends, reverse))

    assert torch.autograd.gradcheck(run, tuple(arguments.values()))


@each_cell
@each_direction
@pytest.mark.parametrize("lengths", [None, (3, 1), (3, 0)], ids=str)
def test_second_derivatives(cell, reverse, lengths):
    """Gradients of gradients are those of finite differences, as torch.nn's layers have them."""
    shape = Shape("small", 2, 3, 2, 2, lengths)
    arguments = make_arguments(cell, shape)

    def run(*tensors):
        return tuple(run_op(cell, dict(zip(arguments, tensors, strict=True)), shape.ends, reverse))

    assert torch.autograd.gradgradcheck(run, tuple(arguments.values()), fast_mode=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_hr": (5, 5)}, "weight_hr: got (5, 5), expected (P, H), P below H"),
        ({"weight_hr": (0, 5)}, "weight_hr: got (0, 5), expected (P, H), P below H"),
        ({"weight_hr": (5,)}, "weight_hr: got (5,), expected (P, H)"),
        ({"weight_hr": (2, 4)}, "weight_ih: got (20, 3), expected (16, 3)"),
        ({"weight_hh": (20, 5)}, "weight_hh: got (20, 5), expected (20, 2)"),
        ({"h0": (5, 5)}, "h0: got (5, 5), expected (5, 2)"),
        ({"c0": (5, 2)}, "c0: got (5, 2), expected (5, 5)"),
    ],
)
def test_projection_errors(change, message):
    arguments = make_arguments(LSTM, RAGGED, projected=PROJECTED)
    arguments |= {n: torch.zeros(size, dtype=torch.float64) for n, size in change.items()}
    with pytest.raises(ShapeError, match=re.escape(message)):
        run_op(LSTM, arguments)


@each_cell
def test_errors_with_time_before_batch(cell):
    """Sizes are read in the layout asked for."""
    arguments = make_arguments(cell, RAGGED)
    B, T, H = RAGGED.B, RAGGED.T, RAGGED.H
    with pytest.raises(ShapeError, match=re.escape(f"h0: got ({B}, {H}), expected ({T}, {H})")):
        run_op(cell, arguments, None, batch_first=False)
    turned = arguments | {"x": arguments["x"].transpose(0, 1)}
    with pytest.raises(ShapeError, match=f"lengths: got 1 to {T + 1}, expected 0 to T = {T}"):
        run_op(cell, turned, torch.tensor([1, 2, T + 1, 1, 1]), batch_first=False)
    with pytest.raises(ShapeError, match=re.escape("x: got (2, 3), expected 3 dimensions (T, B")):
        run_op(cell, turned | {"x": torch.zeros(2, 3)}, batch_first=False)
