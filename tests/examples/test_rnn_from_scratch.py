"""The network of examples/rnn_from_scratch.py against autograd, and the file as a program."""

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

EXAMPLE = Path(__file__).parents[2] / "examples" / "rnn_from_scratch.py"


@pytest.fixture(scope="module")
def rnn() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rnn_from_scratch", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_at_most_150_lines_and_nothing_but_numpy() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= 150
    assert set(re.findall(r"^ *(?:import|from) (\w+)", text, re.M)) == {
        "argparse",
        "numpy",
        "matplotlib",
    }


@pytest.mark.parametrize(
    ("batch", "steps", "inputs", "hidden", "classes"),
    [(1, 1, 1, 1, 2), (1, 7, 3, 33, 2), (5, 1, 2, 33, 3), (4, 2, 1, 8, 3), (3, 63, 5, 33, 4)],
)
def test_loss_and_every_gradient_as_autograd(
    rnn: ModuleType, batch: int, steps: int, inputs: int, hidden: int, classes: int
) -> None:
    rng = np.random.default_rng(batch * steps)
    params = rnn.initialise(rng, inputs, hidden, classes)
    for value in params.values():
        value += rng.normal(0, 0.1, value.shape)  # no bias stays 0
    x, y = rng.normal(size=(batch, steps, inputs)), rng.integers(classes, size=batch)
    loss, grads = rnn.loss_and_gradients(params, x, y)

    layer = torch.nn.RNN(inputs, hidden, batch_first=True, dtype=torch.float64)
    head = torch.nn.Linear(hidden, classes, dtype=torch.float64)
    theirs = {
        "W": layer.weight_ih_l0,
        "U": layer.weight_hh_l0,
        "b_h": layer.bias_ih_l0,
        "V": head.weight,
        "b_y": head.bias,
    }
    with torch.no_grad():
        layer.bias_hh_l0.zero_()
        for name, parameter in theirs.items():
            parameter.copy_(torch.from_numpy(params[name]))
    states, _ = layer(torch.from_numpy(x))
    logits = head(states[:, -1])
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y))
    expected.backward()

    h, ours = rnn.forward(params, x)
    assert h.shape == (batch, steps + 1, hidden) and not h[:, 0].any()
    np.testing.assert_allclose(h[:, 1:], states.detach().numpy(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(ours, logits.detach().numpy(), rtol=1e-10, atol=1e-13)
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert set(grads) == set(theirs)
    for name, parameter in theirs.items():
        assert parameter.grad is not None
        gradient = parameter.grad.numpy()
        assert grads[name].shape == gradient.shape
        # h_0 is 0, so one step alone leaves U without a gradient.
        assert gradient.any() or (name == "U" and steps == 1)
        error = np.linalg.norm(grads[name] - gradient)
        assert error <= 1e-10 * np.linalg.norm(gradient), name


def test_loss_is_finite_for_huge_outputs(rnn: ModuleType) -> None:
    loss, gradient = rnn.cross_entropy(np.array([[1e4, -1e4, 0.0]]), np.array([1]))
    assert loss == 2e4
    assert gradient.tolist() == [[1, -1, 0]]


def test_clip_shortens_only_long_gradients(rnn: ModuleType) -> None:
    long = {"U": np.array([[3.0, 0.0]]), "b_h": np.array([4.0])}
    np.testing.assert_allclose(rnn.clip(long)["U"], [[0.6, 0]], rtol=1e-15)
    np.testing.assert_allclose(rnn.clip(long)["b_h"], [0.8], rtol=1e-15)
    short = {"U": np.array([[0.3, 0.0]]), "b_h": np.zeros(1)}
    np.testing.assert_array_equal(rnn.clip(short)["U"], short["U"])


def test_adam_as_torch(rnn: ModuleType) -> None:
    rng = np.random.default_rng(0)
    params = {"U": rng.normal(size=(3, 3)), "b_h": rng.normal(size=3)}
    moments = {name: np.zeros((2, *value.shape)) for name, value in params.items()}
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    optimiser = torch.optim.Adam(theirs.values(), lr=0.002)
    for step in range(1, 21):
        grads = {name: rng.normal(size=value.shape) for name, value in params.items()}
        rnn.adam(params, grads, moments, step, rate=0.002)
        for name, parameter in theirs.items():
            parameter.grad = torch.from_numpy(grads[name])
        optimiser.step()
    for name, parameter in theirs.items():
        np.testing.assert_allclose(params[name], parameter.detach().numpy(), rtol=1e-12)


def test_scores_as_scikit_learn(rnn: ModuleType) -> None:
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    rng = np.random.default_rng(0)
    y, predicted = rng.integers(3, size=(2, 50))
    predicted[predicted == 2] = 1  # a class that is never predicted
    assert rnn.scores(y, predicted, 3) == pytest.approx(
        {
            "accuracy": accuracy_score(y, predicted),
            "recall": recall_score(y, predicted, average="macro"),
            "F1": f1_score(y, predicted, average="macro"),
        }
    )


def test_one_step_of_a_wave_tells_nothing(rnn: ModuleType) -> None:
    x, y = rnn.make_waves(np.random.default_rng(0), 30_000, 3)
    assert x.shape == (30_000, 30, 1) and set(y) == {0, 1, 2}
    edges = np.linspace(-1.6, 1.6, 9)
    for t in (0, 13, 29):
        shares = [np.histogram(x[y == k, t, 0], edges)[0] / (y == k).sum() for k in range(3)]
        assert np.ptp(shares, axis=0).max() < 0.025
    # Over time they do differ: most steps of the first class go up, of the last one down.
    steps_up = [(np.diff(x[y == k, :, 0]) > 0).mean() for k in range(3)]
    assert steps_up[0] > 0.6 and abs(steps_up[1] - 0.5) < 0.02 and steps_up[2] < 0.4


@pytest.mark.parametrize("classes", [2, 3])
def test_it_learns(rnn: ModuleType, classes: int) -> None:
    """0.9 is far below the 0.99 of the ten seeds that were measured, and far above chance."""
    rng = np.random.default_rng(0)
    x, y = rnn.make_waves(rng, 1000, classes)
    params = rnn.initialise(rng, 1, 32, classes)
    history = rnn.train(rng, params, x, y, epochs=12)
    assert history.shape == (12, 2)
    assert history[-1, 0] < history[0, 0] / 2
    x_test, y_test = rnn.make_waves(rng, 500, classes)
    predicted = rnn.forward(params, x_test)[1].argmax(axis=1)
    assert rnn.scores(y_test, predicted, classes)["accuracy"] > 0.9


def test_run_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--epochs", "2", "--hidden-size", "8"]
    env = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.run(
            [*command, *more], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
        )
        for more in ([], [], ["--classes", "2", "--seed", "1", "--plot", "other.png"])
    ]
    number = r"\d\.\d{3}"
    pattern = "".join(rf"epoch  {e}   loss {number}   training accuracy {number}\n" for e in (1, 2))
    for run in runs:
        assert re.fullmatch(
            pattern + rf"test   accuracy {number}   recall {number}   F1 {number}\n", run.stdout
        )
        assert run.stderr == ""
    assert runs[0].stdout == runs[1].stdout != runs[2].stdout
    for name in ("rnn_from_scratch.png", "other.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2
