"""A sequence's result has the same bits in any batch, cut anywhere, with any number of threads.

"Company" is batch size, order, padding, position, and whether gradients are wanted at all.
"""

from __future__ import annotations

import pytest
import torch
from cases import DIRECTIONS, KERNELS, Shape, converted, flat, make_arguments, run_op
from native_cases import drawn_lengths, kernels, output_gradients, ragged, solve

from elman import _core

each_cell = pytest.mark.parametrize("cell", KERNELS, ids=str)
each_direction = pytest.mark.parametrize("reverse", DIRECTIONS, ids=["forward", "reverse"])
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
WIDTHS = [5, 33, 64, 130]  # of one vector or several, of one panel or several, whole or not
ROWS = 40


def draw(cell, H, dtype, B=ROWS, T=9, I=3):
    """Weights, without gradients, and B sequences: x without padding, and states, of each."""
    shape = Shape("", B, T, I, H, drawn_lengths(B, T))
    arguments = {n: t.detach() for n, t in make_arguments(cell, shape, dtype).items()}
    weights = {n: t for n, t in arguments.items() if n.startswith(("weight", "bias"))}
    rows = [
        {"x": arguments["x"][b, :length]} | {n: arguments[n][b] for n in cell.states}
        for b, length in enumerate(shape.lengths)
    ]
    return weights, rows


def run(cell, weights, rows, reverse, extra=0, wanted=False, batch_first=True):
    """These sequences as one batch with NaN in its padding: for each its y and final states."""
    lengths = torch.tensor([len(row["x"]) for row in rows])
    first = rows[0]["x"]
    x = first.new_full((len(rows), int(lengths.max()) + extra, first.shape[1]), torch.nan)
    for b, row in enumerate(rows):
        x[b, : lengths[b]] = row["x"]
    states = {n: torch.stack([row[n] for row in rows]) for n in cell.states}
    arguments = {"x": x if batch_first else x.transpose(0, 1), **weights, **states}
    if wanted:
        arguments = {n: t.detach().requires_grad_() for n, t in arguments.items()}
    y, *finals = run_op(cell, arguments, lengths, reverse, batch_first)
    y = y if batch_first else y.transpose(0, 1)
    assert y.requires_grad == wanted
    return [[y[b, : lengths[b]], *(f[b] for f in finals)] for b in range(len(rows))]


def assert_same(found, wanted, what):
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True)), what


@each_cell
@each_direction
@each_dtype
@pytest.mark.parametrize("H", WIDTHS)
def test_company(isa, cell, reverse, dtype, H):
    weights, rows = draw(cell, H, dtype)
    alone = [run(cell, weights, [row], reverse)[0] for row in rows]
    generator = torch.Generator().manual_seed(H)
    sizes = [*range(1, 14), 16, 17, 24, 31, 32, 33, ROWS]
    for i, B in enumerate(sizes):
        order = torch.randperm(ROWS, generator=generator)[:B].tolist()
        how = {"extra": i % 3, "wanted": i % 2 == 1, "batch_first": i % 4 < 2}
        found = run(cell, weights, [rows[b] for b in order], reverse, **how)
        for b, results in zip(order, found, strict=True):
            assert_same(results, alone[b], f"row {b} of {order}, {how}")


@pytest.mark.slow
@each_cell
@each_direction
@each_dtype
@pytest.mark.parametrize("H", [*range(1, 34), 48, 63, 64, 65, 127, 128, 130, 500])
def test_company_of_every_size(isa, cell, reverse, dtype, H):
    weights, rows = draw(cell, H, dtype, I=17)
    alone = [run(cell, weights, [row], reverse)[0] for row in rows]
    for B in range(1, ROWS + 1):
        for wanted in (False, True):
            found = run(cell, weights, rows[ROWS - B :], reverse, wanted=wanted)
            for b, results in enumerate(found, ROWS - B):
                assert_same(results, alone[b], f"row {b} of the last {B}, wanted {wanted}")


@each_cell
@each_direction
@each_dtype
def test_company_in_blocks_of_time(isa, cell, reverse, dtype):
    """Enough rows and steps that where time is cut depends on the batch."""
    weights, rows = draw(cell, 64, dtype, B=70, T=60)
    chosen = [b for b, row in enumerate(rows) if len(row["x"]) > 30][:6]
    for wanted in (False, True):
        found = run(cell, weights, rows, reverse, wanted=wanted)
        for b in chosen:
            assert_same(found[b], run(cell, weights, [rows[b]], reverse)[0], b)


@each_cell
@each_direction
def test_equal_rows(isa, cell, reverse):
    """Whole rows without lengths take another way through memory, and give the same."""
    weights, rows = draw(cell, 33, torch.float32)
    longest = [row for row in rows if len(row["x"]) == 9][:1] * 5
    alone = run(cell, weights, longest[:1], reverse)[0]
    x = torch.stack([row["x"] for row in longest])
    states = {n: torch.stack([row[n] for row in longest]) for n in cell.states}
    for batch_first in (True, False):
        turned = x if batch_first else x.transpose(0, 1).contiguous()
        y, *finals = run_op(cell, {"x": turned, **weights, **states}, None, reverse, batch_first)
        for b in range(5):
            found = [y[b] if batch_first else y[:, b], *(f[b] for f in finals)]
            assert_same(found, alone, b)


@each_cell
@each_dtype
@pytest.mark.parametrize("H", [5, 64])
def test_layers(isa, cell, dtype, H):
    """Two layers in both directions: a sequence's outputs and states are those it has alone."""
    both = {"batch_first": True, "bidirectional": True}
    layer = cell.layer(3, H, 2, dtype=dtype, **both, **cell.layer_options(H))
    lengths = torch.tensor([4, 9, 1, 7, 9, 2, 5])
    x = torch.randn(7, 11, 3, dtype=dtype)
    for wanted in (True, False):
        with torch.set_grad_enabled(wanted):
            y, *finals = flat(layer(x, lengths=lengths))
        for b, length in enumerate(lengths):
            alone, *ends = flat(layer(x[b : b + 1, :length]))
            assert torch.equal(alone[0], y[b, :length])
            assert_same([end[:, 0] for end in ends], [f[:, b] for f in finals], b)


@each_cell
@each_direction
@each_dtype
@pytest.mark.parametrize("H", [5, 64])
def test_step_by_step(isa, cell, reverse, dtype, H):
    """Calls of one step each that hand the states on give what one call gives."""
    weights, rows = draw(cell, H, dtype, B=3)
    for row in rows:
        y, *finals = run(cell, weights, [row], reverse)[0]
        states = {n: row[n][None] for n in cell.states}
        steps = range(len(row["x"]))
        for t in reversed(steps) if reverse else steps:
            x = row["x"][None, t : t + 1]
            step, *ends = run_op(cell, {"x": x, **weights, **states}, None, reverse)
            assert torch.equal(step[0, 0], y[t])
            states = dict(zip(cell.states, ends, strict=True))
        assert_same([s[0] for s in states.values()], finals, "final states")


@pytest.fixture
def threads():
    """Set the number of threads; the one before is set again afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# Above what a call must have to do to be given threads: csrc/layer_call.cpp. That they do work is
# shown in test_native_threads.py.
LARGE = {"rnn_tanh": (100, 160), "rnn_relu": (100, 160), "gru": (100, 50), "lstm": (100, 40)}
LARGE["lstm_projected"] = (100, 60)


@each_cell
@each_direction
@each_dtype
def test_any_number_of_threads(isa, cell, reverse, dtype, threads):
    """Outputs and every gradient, again and again."""
    shape = ragged(*LARGE[cell.name], 3, 40)
    arguments = make_arguments(cell, shape, dtype)
    dy = output_gradients(cell, shape, dtype, torch.nan)
    bare = {n: t.detach() for n, t in arguments.items()}
    wanted = None
    for count in (1, 2, 3, 4, 4, 1):
        threads(count)
        found = solve(run_op(cell, arguments, shape.ends, reverse), arguments, dy)
        light = run_op(cell, bare, shape.ends, reverse)
        wanted = wanted or found
        for name in found:
            assert torch.equal(found[name], wanted[name]), (count, name)
        for name, output in zip(("y", "h_n", "c_n"), light, strict=False):
            assert torch.equal(output, wanted[name]), (count, name)


@each_cell
@each_direction
def test_again_in_dirty_memory(isa, cell, reverse, poisoned):
    """What lies in the memory that a call takes does not matter."""
    shape = ragged(33, 8, 3, 33)
    arguments = make_arguments(cell, shape, torch.float32)
    dy = output_gradients(cell, shape, torch.float32, torch.nan)
    wanted = solve(run_op(cell, arguments, shape.ends, reverse), arguments, dy)
    other = ragged(20, 10, 7, 50)
    for _ in range(3):
        for dtype in (torch.float32, torch.float64):
            between = converted(make_arguments(cell, other), dtype)
            solve(
                run_op(cell, between, other.ends, not reverse),
                between,
                output_gradients(cell, other, dtype, torch.nan),
            )
        found = solve(run_op(cell, arguments, shape.ends, reverse), arguments, dy)
        for name in found:
            assert torch.equal(found[name], wanted[name]), name


@pytest.mark.skipif("avx512" not in _core.isas(), reason="no AVX-512 here")
@each_cell
@each_direction
@each_dtype
@pytest.mark.parametrize("sizes", [(5, 7, 3, 5), (33, 9, 20, 33), (40, 60, 3, 64)], ids=str)
def test_avx2_and_avx512(cell, reverse, dtype, sizes):
    """Vectors of another width, sums in the same order."""
    shape = ragged(*sizes)
    arguments = make_arguments(cell, shape, dtype)
    dy = output_gradients(cell, shape, dtype, torch.nan)
    found = []
    for isa in ("avx2", "avx512"):
        with kernels(isa):
            found.append(solve(run_op(cell, arguments, shape.ends, reverse), arguments, dy))
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name]), name
