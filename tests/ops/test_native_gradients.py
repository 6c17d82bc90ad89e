"""The compiled kernels against the float64 references: outputs and every gradient.

Past each row's end there is NaN in x and in the gradient of y, and working memory holds NaN when it
is handed out. Sizes stand on, off and across the kernels' vectors, register blocks, chunks of rows
and blocks of time.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from cases import (
    DIRECTIONS,
    EMPTY_SHAPES,
    FULL,
    KERNELS,
    RAGGED,
    converted,
    past_end,
    run_op,
    run_reference,
)
from native_cases import NAMES, draw, expected, full, kernels, output_gradients, ragged, solve
from tolerances import assert_close

from elman import _core

pytestmark = pytest.mark.usefixtures("poisoned")
each_cell = pytest.mark.parametrize("cell", KERNELS, ids=str)
each_direction = pytest.mark.parametrize("reverse", DIRECTIONS, ids=["forward", "reverse"])
LINES = {torch.float32: "kernels float32", torch.float64: "kernels float64"}
# (B, T, I, H)
SIZES = [
    (1, 1, 1, 1),
    (5, 7, 3, 1),
    (7, 6, 1, 15),
    (6, 2, 40, 16),
    (1, 63, 3, 33),
    (17, 63, 1, 33),
    (33, 5, 40, 64),  # 2 chunks
    (100, 9, 3, 16),  # 6 chunks
    (100, 4, 1, 33),
    (5, 3, 3, 500),
    (0, 2, 3, 5),
    (5, 0, 3, 16),
]
LONG_SIZES = [(16, 200, 3, 64), (300, 3, 3, 5), (33, 63, 40, 130), (1, 784, 1, 16)]


def sampled(*axes, keep, of=2):
    """All combinations of the axes' values, one in `of` for `make test`, the others marked slow.

    The indices of those kept add up to `keep` modulo `of`, so that every value of an axis still
    meets every value of any other.
    """
    params = []
    for combination in itertools.product(*(list(enumerate(axis)) for axis in axes)):
        kept = sum(i for i, _ in combination) % of == keep
        params.append(
            pytest.param(*(v for _, v in combination), marks=[] if kept else pytest.mark.slow)
        )
    return params


def compare(cell, shape, reverse, bias=True, states=True):
    """Every instruction set and precision against the reference on one batch."""
    wanted = expected(cell.name, shape, reverse, bias, states)
    drawn = draw(cell, shape, bias, states)
    # Relative to the largest number of a tensor: sums of a thousand terms may end near zero.
    largest = {n: w.abs().max().clamp(min=1) if w.numel() else 1 for n, w in wanted.items()}
    for dtype in LINES:
        arguments = converted(drawn, dtype)
        dy = output_gradients(cell, shape, dtype, torch.nan)
        for isa in _core.isas():
            with kernels(isa):
                found = solve(run_op(cell, arguments, shape.ends, reverse), arguments, dy)
            assert found.keys() == wanted.keys()
            for name, tensor in found.items():
                what = f"{name}, {isa}, {dtype}"
                assert tensor.dtype == dtype, what
                scaled = tensor / largest[name]
                assert_close(scaled, wanted[name] / largest[name], LINES[dtype], what)
            if shape.ends is not None:
                outside = past_end(found["y"], shape.ends)
                assert (found["y"][outside] == 0).all()
                assert (found["gradient of x"][outside] == 0).all()


@pytest.mark.parametrize(
    ("cell", "reverse", "sizes"), sampled(KERNELS, DIRECTIONS, SIZES, keep=0), ids=str
)
def test_ragged(cell, reverse, sizes):
    compare(cell, ragged(*sizes), reverse)


@pytest.mark.parametrize(
    ("cell", "reverse", "sizes"), sampled(KERNELS, DIRECTIONS, SIZES, keep=1), ids=str
)
def test_bare(cell, reverse, sizes):
    """All rows whole, no biases, no initial states."""
    compare(cell, full(*sizes), reverse, bias=False, states=False)


SHAPES = [FULL, RAGGED, *EMPTY_SHAPES, full(6, 63, 3, 16)]


@pytest.mark.parametrize(
    ("cell", "reverse", "shape", "bias", "states"),
    sampled(KERNELS, DIRECTIONS, SHAPES, [True, False], [True, False], keep=0, of=3),
    ids=str,
)
def test_options(cell, reverse, shape, bias, states):
    compare(cell, shape, reverse, bias, states)


@each_cell
def test_blocks_of_time(cell):
    """A chunk whose steps do not fit into the cache is worked off in blocks."""
    compare(cell, ragged(*LONG_SIZES[0]), True)


@pytest.mark.slow
@each_cell
@each_direction
@pytest.mark.parametrize("sizes", LONG_SIZES, ids=str)
@pytest.mark.parametrize("shape", [full, ragged])
def test_long(cell, reverse, sizes, shape):
    compare(cell, shape(*sizes), reverse)


@pytest.mark.slow
@each_cell
@each_direction
@pytest.mark.parametrize("H", [1, 15, 16, 33, 64, 500])
@pytest.mark.parametrize("B", [1, 5, 6, 7, 17, 33, 100])
def test_every_size(cell, reverse, B, H):
    for T in (1, 2, 7):
        for I in (1, 3, 40):
            compare(cell, ragged(B, T, I, H), reverse)


SHAPE = ragged(7, 6, 3, 9)


def gradients_of(cell, arguments, reverse, dy, lengths=SHAPE.ends):
    return solve(run_op(cell, arguments, lengths, reverse), arguments, dy)


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name in found:
        assert torch.equal(found[name], wanted[name]), name


def gapped(tensor):
    """The same numbers, every second of a larger tensor of NaN; not contiguous in any dimension."""
    wide = torch.full([2 * n + 1 for n in tensor.shape], torch.nan, dtype=tensor.dtype)
    view = wide[tuple(slice(0, 2 * n, 2) for n in tensor.shape)]
    view.copy_(tensor.detach())
    return view


def turned(tensor):
    """The same numbers with the first two dimensions swapped in memory."""
    return tensor.detach().transpose(0, 1).contiguous().transpose(0, 1)


@each_cell
@each_direction
@pytest.mark.parametrize("layout", [gapped, turned])
@pytest.mark.parametrize("H", [1, 9])
def test_layouts_in_memory(cell, reverse, layout, H):
    """x, weights, states and gradients anywhere in memory: the same bits."""
    shape = ragged(7, 6, 1 if H == 1 else 3, H)
    arguments = draw(cell, shape)
    dy = output_gradients(cell, shape, torch.float32, torch.nan)
    wanted = gradients_of(cell, arguments, reverse, dy, shape.ends)
    moved = {
        n: (layout(t) if t.dim() > 1 else gapped(t)).requires_grad_() for n, t in arguments.items()
    }
    same(gradients_of(cell, moved, reverse, dy, shape.ends), wanted)
    same(gradients_of(cell, moved, reverse, [layout(g) for g in dy], shape.ends), wanted)


@each_cell
@each_direction
@pytest.mark.parametrize("H", [9, 16])
def test_infinite_input(isa, cell, reverse, H):
    """One infinite number: what the reference finds finite is so, and the same."""
    shape = ragged(7, 6, 3, H)
    arguments = converted(draw(cell, shape), torch.float64)
    with torch.no_grad():
        arguments["x"][0, 3, 1] = torch.inf
    dy = output_gradients(cell, shape, torch.float64, 0.0)
    wanted = solve(run_reference(cell, arguments, shape.ends, reverse), arguments, dy)
    found = gradients_of(cell, arguments, reverse, dy, shape.ends)
    for name, tensor in found.items():
        finite = wanted[name].isfinite()
        assert torch.equal(tensor.isfinite(), finite), name
        assert_close(tensor[finite], wanted[name][finite], "float64", name)


@each_cell
@each_direction
@pytest.mark.parametrize("lengths", [SHAPE.ends, None], ids=["ragged", "full"])
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (0, 1, 2)], ids=str)
def test_expanded(cell, reverse, lengths, axes):
    """Strides of zero: x and the outputs' gradients are one number many times."""
    arguments = draw(cell, full(7, 6, 3, 9))

    def repeated(tensor, along):
        one = tuple(slice(0, 1) if a in along else slice(None) for a in range(tensor.dim()))
        return tensor[one].expand_as(tensor)

    dy = output_gradients(cell, full(7, 6, 3, 9), torch.float32, 0.0)
    of_states = [0 if a == 0 else 1 for a in axes if a != 1]
    dy = [repeated(g, axes if g.dim() == 3 else of_states) for g in dy]
    x = repeated(arguments["x"].detach(), axes)
    assert 0 in x.stride() and 0 in dy[0].stride()
    thin = arguments | {"x": x.requires_grad_()}
    thick = arguments | {"x": x.detach().clone().contiguous().requires_grad_()}
    wanted = gradients_of(cell, thick, reverse, [g.contiguous() for g in dy], lengths)
    same(gradients_of(cell, thin, reverse, dy, lengths), wanted)


@each_cell
@each_direction
@pytest.mark.parametrize("lengths", [SHAPE.ends, None], ids=["ragged", "full"])
def test_time_before_batch(cell, reverse, lengths):
    """The same bits in either layout."""
    arguments = draw(cell, full(7, 6, 3, 9))
    dy, *finals = output_gradients(cell, full(7, 6, 3, 9), torch.float32, 0.0)
    wanted = gradients_of(cell, arguments, reverse, [dy, *finals], lengths)
    x = arguments["x"].detach().transpose(0, 1).contiguous().requires_grad_()
    other = arguments | {"x": x}
    for strided_dy in (dy.transpose(0, 1), dy.transpose(0, 1).contiguous()):
        outputs = run_op(cell, other, lengths, reverse, batch_first=False)
        found = solve(outputs, other, [strided_dy, *finals])
        for name in ("y", "gradient of x"):
            found[name] = found[name].transpose(0, 1)
        same(found, wanted)


@each_cell
@each_direction
def test_only_some_gradients_wanted(cell, reverse):
    """Asking for fewer changes no bit of those asked for."""
    arguments = draw(cell, SHAPE)
    dy = output_gradients(cell, SHAPE, torch.float32, torch.nan)
    wanted = gradients_of(cell, arguments, reverse, dy)
    names = list(arguments)
    subsets = [[n] for n in names] + [[m for m in names if m != n] for n in names]
    subsets += [["x", *cell.states], ["weight_ih", "bias_hh"]]
    for subset in subsets:
        some = {n: t if n in subset else t.detach() for n, t in arguments.items()}
        outputs = run_op(cell, some, SHAPE.ends, reverse)
        found = torch.autograd.grad(outputs, [some[n] for n in subset], dy)
        for name, gradient in zip(subset, found, strict=True):
            assert torch.equal(gradient, wanted[f"gradient of {name}"]), (subset, name)
        for name, output in zip(NAMES, outputs, strict=False):
            assert torch.equal(output, wanted[name]), (subset, name)
    outputs = run_op(cell, {n: t.detach() for n, t in arguments.items()}, SHAPE.ends, reverse)
    for name, output in zip(NAMES, outputs, strict=False):
        assert not output.requires_grad
        assert torch.equal(output, wanted[name])


@each_cell
@each_direction
def test_only_some_outputs_used(cell, reverse):
    arguments = converted(draw(cell, SHAPE), torch.float64)
    dy = output_gradients(cell, SHAPE, torch.float64, 0.0)
    for used in range(len(dy)):
        outputs = run_op(cell, arguments, SHAPE.ends, reverse)
        found = torch.autograd.grad(outputs[used], list(arguments.values()), dy[used])
        zeros = [g if i == used else torch.zeros_like(g) for i, g in enumerate(dy)]
        wanted = gradients_of(cell, arguments, reverse, zeros)
        for name, gradient in zip(arguments, found, strict=True):
            assert_close(gradient, wanted[f"gradient of {name}"], "exact", name)


@each_cell
@each_direction
def test_backward_twice(cell, reverse):
    """The second pass over a graph that was kept finds what the first found."""
    arguments = draw(cell, SHAPE)
    values = list(arguments.values())
    dy = output_gradients(cell, SHAPE, torch.float32, torch.nan)
    outputs = run_op(cell, arguments, SHAPE.ends, reverse)
    first = torch.autograd.grad(outputs, values, dy, retain_graph=True)
    gradients_of(cell, draw(cell, SHAPE), reverse, dy)  # takes what memory is free
    second = torch.autograd.grad(outputs, values, dy)
    for name, a, b in zip(arguments, first, second, strict=True):
        assert torch.equal(a, b), name
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(outputs, values, dy)


@each_cell
@each_direction
def test_tensors_of_the_forward_pass_are_gone(cell, reverse):
    """What backward needs, it keeps: the caller may drop inputs and outputs, and use the memory."""
    arguments = draw(cell, SHAPE)
    dy = output_gradients(cell, SHAPE, torch.float32, torch.nan)
    wanted = gradients_of(cell, arguments, reverse, dy)
    lengths = SHAPE.ends.clone()
    passing = {n: t * 1 for n, t in arguments.items()}  # whose memory only the graph holds
    outputs = run_op(cell, passing, lengths, reverse)
    total = sum((o * g.nan_to_num(0)).sum() for o, g in zip(outputs, dy, strict=True))
    del passing, outputs, lengths
    for _ in range(3):  # fills what was freed
        others = draw(cell, SHAPE)
        gradients_of(cell, others, reverse, dy)
    found = torch.autograd.grad(total, list(arguments.values()))
    for name, gradient in zip(arguments, found, strict=True):
        assert torch.equal(gradient, wanted[f"gradient of {name}"]), name


@each_cell
@pytest.mark.parametrize("changed", ["x", "weight_hh", "h0", "y", "lengths"])
def test_changed_before_backward(cell, changed):
    """autograd refuses, as for any operation, where a tensor it needs was written to."""
    arguments = draw(cell, SHAPE)
    tensors = {n: t * 1 for n, t in arguments.items()}
    lengths = SHAPE.ends.clone()
    y, *_ = run_op(cell, tensors, lengths)
    with torch.no_grad():
        (tensors | {"y": y, "lengths": lengths})[changed].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@each_cell
def test_a_final_state_may_be_changed(cell):
    """It shares no memory with y, and backward does not need it."""
    arguments = draw(cell, SHAPE)
    y, *finals = run_op(cell, arguments, SHAPE.ends)
    before = y.detach().clone()
    for state in finals:
        state.detach().fill_(torch.nan)
    assert torch.equal(y, before)
    dy = output_gradients(cell, SHAPE, torch.float32, 0.0)[0]
    found = torch.autograd.grad(y, list(arguments.values()), dy)
    assert not any(g.isnan().any() for g in found)
