"""The gradients of examples/bptt_every_step.py against autograd, and the file as a program."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

EXAMPLE = Path(__file__).parents[2] / "examples" / "bptt_every_step.py"
Batch = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


@pytest.fixture(scope="module")
def bptt() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bptt_every_step", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw(
    bptt: ModuleType, lengths: list[int], inputs: int, hidden: int
) -> tuple[dict[str, NDArray[np.float64]], Batch]:
    """Parameters, no bias 0, and a batch with NaN in the padding."""
    rng = np.random.default_rng(sum(lengths))
    params = bptt.initialise(rng, inputs, hidden)
    for value in params.values():
        value += rng.normal(0, 0.1, value.shape)
    shape = (len(lengths), max(lengths))
    x, target = rng.normal(size=(*shape, inputs)), rng.integers(2, size=shape).astype(float)
    for i, length in enumerate(lengths):
        x[i, length:] = target[i, length:] = np.nan
    return params, (x, target, np.array(lengths))


def autograd(
    params: dict[str, NDArray[np.float64]], batch: Batch
) -> tuple[float, dict[str, NDArray[np.float64]], list[list[NDArray[np.float64]]]]:
    """Loss, gradients of the parameters, and of each state, one sequence and one step at a time."""
    p = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    x, target, lengths = batch
    total = torch.zeros((), dtype=torch.float64)
    states = []
    for i, length in enumerate(lengths):
        h = torch.zeros(len(params["b_h"]), dtype=torch.float64)
        states.append([])
        for t in range(length):
            h = torch.tanh(p["W"] @ torch.tensor(x[i, t]) + p["U"] @ h + p["b_h"])
            h.retain_grad()
            states[-1].append(h)
            y = torch.sigmoid(p["V"] @ h + p["b_y"])
            total = total + torch.nn.functional.binary_cross_entropy(
                y, torch.tensor([target[i, t]]), reduction="sum"
            )
    total.backward()
    return (
        total.item(),
        {name: value.grad.numpy() for name, value in p.items() if value.grad is not None},
        [[h.grad.numpy() for h in row if h.grad is not None] for row in states],
    )


def test_at_most_150_lines_and_nothing_but_numpy() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= 150
    assert set(re.findall(r"^ *(?:import|from) (\w+)", text, re.M)) == {"argparse", "numpy"}


@pytest.mark.parametrize(
    ("lengths", "inputs", "hidden"),
    [([1], 1, 1), ([9], 3, 33), ([1, 1, 1], 2, 5), ([3, 63, 1, 20], 2, 33), ([2, 5], 1, 4)],
)
def test_loss_and_every_gradient_as_autograd(
    bptt: ModuleType, lengths: list[int], inputs: int, hidden: int
) -> None:
    params, batch = draw(bptt, lengths, inputs, hidden)
    loss, grads, dh = bptt.backward(params, *batch)
    expected, gradients, states = autograd(params, batch)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert loss == bptt.forward(params, *batch)[2].sum()
    assert set(grads) == set(gradients) == {"U", "V", "W", "b_h", "b_y"}
    for name, gradient in gradients.items():
        assert grads[name].shape == gradient.shape
        # h_0 is 0, so one step alone leaves U without a gradient.
        assert gradient.any() or (name == "U" and max(lengths) == 1)
        error = np.linalg.norm(grads[name] - gradient)
        assert error <= 1e-10 * np.linalg.norm(gradient), name
    for i, length in enumerate(lengths):
        np.testing.assert_allclose(dh[i, :length], states[i], rtol=1e-9, atol=1e-12)
        assert not dh[i, length:].any()


@pytest.mark.parametrize("pad", [np.nan, np.inf, -1e300, 0.0])
def test_padding_changes_nothing(bptt: ModuleType, pad: float) -> None:
    params, (x, target, lengths) = draw(bptt, [3, 9, 1], 2, 5)
    loss, grads, dh = bptt.backward(params, x, target, lengths)
    assert np.isfinite(loss)
    other = bptt.backward(
        params,
        np.where(np.isnan(x), pad, x),
        np.where(np.isnan(target), pad, target),
        lengths,
    )
    assert other[0] == loss
    for name, gradient in grads.items():
        np.testing.assert_array_equal(other[1][name], gradient)
    np.testing.assert_array_equal(other[2], dh)
    # Nor does the company of longer sequences.
    alone = bptt.backward(params, x[:1, :3], target[:1, :3], lengths[:1])
    np.testing.assert_allclose(alone[2][0], dh[0, :3], rtol=1e-12)


def test_finite_differences_agree_and_leave_the_parameters(bptt: ModuleType) -> None:
    params, batch = draw(bptt, [4, 2], 1, 3)
    before = {name: value.copy() for name, value in params.items()}
    _, grads, _ = bptt.backward(params, *batch)
    for name, gradient in grads.items():
        found = bptt.finite_differences(params, batch, name)
        np.testing.assert_allclose(found, gradient, rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(params[name], before[name])


def test_huge_outputs_stay_finite(bptt: ModuleType) -> None:
    params, batch = draw(bptt, [4], 1, 3)
    params["b_y"][:] = -1e4
    _, y, losses = bptt.forward(params, *batch)
    assert np.isfinite(losses).all() and ((y >= 0) & (y <= 1)).all()


def test_parity_is_the_parity(bptt: ModuleType) -> None:
    x, parity, lengths = bptt.make_parity(np.random.default_rng(0), 50, 2, 9)
    assert x.shape == (50, 9, 1) and set(lengths) == set(range(2, 10))
    for row, odd, length in zip(x[:, :, 0], parity, lengths, strict=True):
        assert [int(sum(row[: t + 1])) % 2 for t in range(length)] == odd[:length].tolist()
        assert np.isnan(row[length:]).all() and np.isnan(odd[length:]).all()


def test_step_accuracy_counts_only_real_steps(bptt: ModuleType) -> None:
    params, (x, target, lengths) = draw(bptt, [3, 1], 1, 4)
    _, y, _ = bptt.forward(params, x, target, lengths)
    right = np.where(np.isnan(target), np.nan, (y > 0.5).astype(float))
    assert bptt.step_accuracy(params, x, right, lengths) == 1
    right[0, 1] = 1 - right[0, 1]
    assert bptt.step_accuracy(params, x, right, lengths) == 0.75


def test_run_as_a_program(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    assert not list(tmp_path.iterdir())
    tables = run.stdout.split("  t  x_t  odd    y_t     L_t   |dL/dh_t|\n")
    assert tables[0] == "" and len(tables) == 3
    for table in tables[1:]:
        rows = [line.split() for line in table.splitlines() if re.match(r" *\d", line)]
        assert len(rows) >= 5
        odd = 0
        for t, (step, bit, target, y, loss, _) in enumerate(rows, start=1):
            odd ^= int(bit)
            assert (int(step), int(target)) == (t, odd)
            p = float(y) if odd else 1 - float(y)
            assert float(loss) == pytest.approx(-np.log(max(p, 1e-9)), abs=0.002)
    differences = re.findall(
        r"\|dL/d(\w+)\| = [\d.]+ +largest relative difference from finite differences (\S+)",
        run.stdout,
    )
    assert [name for name, _ in differences] == ["U", "V", "W", "b_h", "b_y"]
    assert all(0 < float(value) < 1e-7 for _, value in differences)
    losses = [float(x) for x in re.findall(r"update +\d+ +loss per step ([\d.]+)", run.stdout)]
    assert len(losses) == 8 and losses[-1] < losses[0]
    accuracy = re.search(r"step accuracy (\S+) on 500 new sequences of 5 to 20 steps", run.stdout)
    assert accuracy is not None and float(accuracy[1]) > 0.98
