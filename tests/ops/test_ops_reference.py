"""Each op against its reference, forward and in every gradient; the references against torch.nn."""

import pytest
import torch
from cases import (
    CELLS,
    DIRECTIONS,
    EMPTY_SHAPES,
    FULL,
    PADS,
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
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

each_cell = pytest.mark.parametrize("cell", CELLS, ids=str)
each_direction = pytest.mark.parametrize("reverse", DIRECTIONS, ids=["forward", "reverse"])
each_shape = pytest.mark.parametrize("shape", SHAPES + EMPTY_SHAPES, ids=str)


def compare(cell, ours, theirs, lengths, reverse, line):
    """The op on `ours` against the reference on `theirs`: all outputs, then all gradients."""
    found = run_op(cell, ours, lengths, reverse)
    wanted = run_reference(cell, theirs, lengths, reverse)
    assert len(found) == len(wanted)
    for name, a, b in zip(("y", "h_n", "c_n"), found, wanted, strict=False):
        assert_close(a, b, line, name)
    wanted_gradients = gradients(wanted, theirs)
    for name, gradient in gradients(found, ours).items():
        assert gradient.dtype == ours[name].dtype
        assert_close(gradient, wanted_gradients[name], line, f"gradient of {name}")


@each_cell
@each_direction
@each_shape
def test_float64(cell, reverse, shape):
    arguments = make_arguments(cell, shape)
    compare(cell, arguments, converted(arguments, torch.float64), shape.ends, reverse, "float64")


@each_cell
@each_direction
@each_shape
def test_float32_against_float64(cell, reverse, shape):
    arguments = make_arguments(cell, shape, torch.float32)
    compare(cell, arguments, converted(arguments, torch.float64), shape.ends, reverse, "float32")


@each_cell
@each_direction
@pytest.mark.parametrize("shape", [FULL, RAGGED], ids=str)
def test_without_biases(cell, reverse, shape):
    arguments = make_arguments(cell, shape, bias=False)
    compare(cell, arguments, converted(arguments, torch.float64), shape.ends, reverse, "float64")


@each_cell
@each_direction
@pytest.mark.parametrize("shape", [RAGGED, EMPTY_SHAPES[0]], ids=str)
@pytest.mark.parametrize("pad", PADS)
def test_padding_is_never_read(cell, reverse, shape, pad):
    """Outputs and gradients with anything past the rows' ends, from both op and reference."""
    clean = make_arguments(cell, shape)
    wanted = run_op(cell, clean, shape.ends, reverse)
    wanted_gradients = gradients(wanted, clean)
    for run in (run_op, run_reference):
        dirty = converted(clean, torch.float64)
        dirty["x"] = padded_with(clean["x"], shape.ends, pad)
        found = run(cell, dirty, shape.ends, reverse)
        for name, a, b in zip(("y", "h_n", "c_n"), found, wanted, strict=False):
            assert_close(a, b, "float64", name)
        for name, gradient in gradients(found, dirty).items():
            assert_close(gradient, wanted_gradients[name], "float64", f"gradient of {name}")


@each_cell
@each_direction
@pytest.mark.parametrize("shape", [RAGGED, EMPTY_SHAPES[0]], ids=str)
def test_zeros_past_the_ends(cell, reverse, shape):
    arguments = make_arguments(cell, shape)
    arguments["x"] = padded_with(arguments["x"], shape.ends, float("nan"))
    outputs = run_op(cell, arguments, shape.ends, reverse)
    outside = past_end(arguments["x"], shape.ends)
    assert outside.any()
    assert (outputs[0][outside] == 0).all()
    assert (gradients(outputs, arguments)["x"][outside] == 0).all()


@each_cell
@each_direction
def test_final_state_is_each_rows_own(cell, reverse):
    """h_n is y at the last step that is run in a row, h0 for a row without steps."""
    shape = EMPTY_SHAPES[0]
    arguments = make_arguments(cell, shape)
    y, *final = run_op(cell, arguments, shape.ends, reverse)
    for b, length in enumerate(shape.lengths):
        if length:
            assert_close(final[0][b], y[b, 0 if reverse else length - 1], "exact")
        else:
            for state, name in zip(final, cell.states, strict=True):
                assert_close(state[b], arguments[name][b], "exact")


@each_cell
@each_direction
@pytest.mark.parametrize("shape", [FULL, RAGGED], ids=str)
def test_non_contiguous(cell, reverse, shape):
    """Views with gaps and transposed memory give what their copies give."""
    arguments = make_arguments(cell, shape)
    plain = converted(arguments, torch.float64)
    gapped = {}
    for name, tensor in arguments.items():
        wide = torch.full((*tensor.shape[:-1], 2 * tensor.shape[-1]), torch.nan).to(tensor)
        wide[..., ::2] = tensor.detach()
        gapped[name] = wide[..., ::2].requires_grad_()
        assert not gapped[name].is_contiguous()
    compare(cell, gapped, plain, shape.ends, reverse, "float64")
    turned = converted(arguments, torch.float64)
    turned["x"] = plain["x"].detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    assert not turned["x"].is_contiguous()
    compare(cell, turned, plain, shape.ends, reverse, "float64")


@each_cell
@each_direction
@pytest.mark.parametrize("shape", [FULL, RAGGED], ids=str)
def test_no_state_means_zeros(cell, reverse, shape):
    arguments = make_arguments(cell, shape)
    for name in cell.states:
        arguments[name] = torch.zeros_like(arguments[name])
    bare = {k: v for k, v in arguments.items() if k not in cell.states}
    found = run_op(cell, bare, shape.ends, reverse)
    wanted = run_op(cell, arguments, shape.ends, reverse)
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b, "exact")


@each_cell
@each_direction
def test_arguments_are_left_alone(cell, reverse):
    arguments = make_arguments(cell, RAGGED)
    arguments["x"] = padded_with(arguments["x"], RAGGED.ends, 5.0)
    before = converted(arguments, torch.float64)
    lengths = RAGGED.ends
    outputs = run_op(cell, arguments, lengths, reverse)
    gradients(outputs, arguments)
    assert torch.equal(lengths, RAGGED.ends)
    for name, tensor in arguments.items():
        assert torch.equal(tensor, before[name]), name


@each_cell
@each_direction
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8], ids=str)
def test_lengths_of_any_integer_type(cell, reverse, dtype):
    arguments = make_arguments(cell, RAGGED)
    found = run_op(cell, arguments, RAGGED.ends.to(dtype), reverse)
    for a, b in zip(found, run_op(cell, arguments, RAGGED.ends, reverse), strict=True):
        assert_close(a, b, "exact")


@each_cell
@each_direction
@pytest.mark.parametrize("lengths", [None, (3, 1), (3, 0)], ids=str)
def test_gradcheck(cell, reverse, lengths):
    """The gradients are those of finite differences, which owe nothing to autograd."""
    shape = Shape("small", 2, 3, 2, 2, lengths)
    arguments = make_arguments(cell, shape)

    def run(*tensors):
        return tuple(run_op(cell, dict(zip(arguments, tensors, strict=True)), shape.ends, reverse))

    assert torch.autograd.gradcheck(run, tuple(arguments.values()))


def run_torch(cell, arguments, lengths, reverse):
    """One direction of torch.nn's layer: the forward layer, or the second half of a bidirectional.

    Returns outputs and the gradients by argument, in float64.
    """
    x = arguments["x"].detach().requires_grad_()
    hidden = arguments["weight_hh"].shape[1]
    layer = cell.torch_layer(
        x.shape[2], hidden, batch_first=True, bidirectional=reverse, **cell.options
    ).double()
    suffix = "_l0_reverse" if reverse else "_l0"
    weights = {n: getattr(layer, n + suffix) for n in arguments if n.startswith(("weight", "bias"))}
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(arguments[name])
    states = {n: arguments[n].detach().requires_grad_() for n in cell.states}
    start = [torch.stack([torch.zeros_like(s), s]) if reverse else s[None] for s in states.values()]
    packed = x
    if lengths is not None:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, final = layer(packed, tuple(start) if len(start) > 1 else start[0])
    if lengths is not None:
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    final = final if isinstance(final, tuple) else (final,)
    outputs = [y[..., -hidden:], *(state[-1] for state in final)]
    return outputs, gradients(outputs, {"x": x, **weights, **states})


@each_cell
@each_direction
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reference_against_torch(cell, reverse, shape):
    """What judges everything else agrees with torch's packed sequences."""
    arguments = make_arguments(cell, shape)
    wanted, wanted_gradients = run_torch(cell, arguments, shape.ends, reverse)
    found = run_reference(cell, arguments, shape.ends, reverse)
    for name, a, b in zip(("y", "h_n", "c_n"), found, wanted, strict=False):
        assert_close(a, b, "float64", name)
    for name, gradient in gradients(found, arguments).items():
        assert_close(gradient, wanted_gradients[name], "float64", f"gradient of {name}")


@pytest.mark.gpu
@each_cell
@each_direction
@each_shape
def test_cuda(cell, reverse, shape):
    arguments = make_arguments(cell, shape)
    if shape.ends is not None:
        arguments["x"] = padded_with(arguments["x"], shape.ends, float("nan"))
    there = {n: t.detach().cuda().requires_grad_() for n, t in arguments.items()}
    found = run_op(cell, there, shape.ends, reverse)
    wanted = run_reference(cell, arguments, shape.ends, reverse)
    for name, a, b in zip(("y", "h_n", "c_n"), found, wanted, strict=False):
        assert_close(a.cpu(), b, "float64", name)
    wanted_gradients = gradients(wanted, arguments)
    for name, gradient in gradients(found, there).items():
        assert_close(gradient.cpu(), wanted_gradients[name], "float64", f"gradient of {name}")
