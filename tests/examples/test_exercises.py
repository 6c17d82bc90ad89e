"""The exercises of the lesson: solutions pass, and each usual mistake is told by its name."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "exercises"
SOLUTIONS = Path(__file__).parent / "solutions"
NAMES = (
    "gru_states",
    "mean_gradients",
    "truncated_gradients",
    "parity_weights",
    "find_counter",
)


@pytest.fixture(scope="module")
def check() -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("check", FOLDER / "check.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


def solution(name: str) -> str:
    return (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")


def test_the_files_ask_and_the_solutions_answer(check: ModuleType, tmp_path: Path) -> None:
    assert tuple(stem for stem, _, _ in check.EXERCISES) == NAMES
    for number, name in enumerate(NAMES, start=1):
        result, why = check.check(number)
        assert (result, name in why) == ("not written yet", True)
        assert check.check(number, SOLUTIONS) == ("right", "")
        text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        assert f"check.py {number}\n" in text and text.count("raise NotImplementedError") == 1


# A part of the solution, what it is replaced by, and what the reader has to be told.
WRONG = [
    (1, "(1 - z) * n + z * h", "(1 - z) * h + z * n", "swapped"),
    (1, 'r * (U["n"] @ h + c["n"])', 'U["n"] @ (r * h) + c["n"]', "before U_n"),
    (1, 'r * (U["n"] @ h + c["n"])', 'r * (U["n"] @ h) + c["n"]', "outside of the product"),
    (1, 'gate("r"), gate("z")', 'gate("z"), gate("r")', "taken for each other"),
    (1, 'U[name] @ h + c[name])))', 'U[name] @ h)))', r"h_1 is\n"),
    (1, 'U["n"] @ h + c["n"]', 'U["n"] @ h', r"h_1 is\n"),
    (1, "r * (U", "1.0 * (U", "r_t is not used"),
    (1, "return 1 / (1 + np.exp(-(", "return np.tanh(((", "sigmoid"),
    (1, "        states.append(h)", "        states.append(h)\n        h = 0 * h", "not carried"),
    (1, "return np.array(states)", "return np.array([0 * h, *states])", "leave out h_0"),
    (1, "return np.array(states)", "return h", "Only one state"),
    (1, "return np.array(states)", "states = np.array(states)", "returns None"),
    (1, "return np.array(states)", "return np.array(states).T", r"has the shape \(3, 6\)"),
    (1, "return np.array(states)", "return np.array(states) * np.nan", "not finite"),
    (1, "    states = []", '    states = []\n    b["r"] *= 2', "argument number 3 in place"),
    (1, 'W["n"] @ x_t', 'W["m"] @ x_t', r"KeyError in line 16 of gru_states.py"),
    (1, "def gru_states", "def gru_state", "no function gru_states"),
    (2, "dh = through_mean + params", "dh = params", "h_T alone"),
    (2, "@ dy / T", "@ dy", "factor 1/T"),
    (2, "dh * (1 - h[t] ** 2)", "dh", "slope of the tanh"),
    (2, 'through_mean + params["U"].T @ da', "through_mean", "back to h_{t-1}"),
    (2, 'params["U"].T @ da', 'params["U"] @ da', "U\\^T"),
    (2, "h[1:].mean(axis=0)", "h[-1]", "dL/dV is that of the last state"),
    (2, "np.outer(da, h[t - 1])", "np.outer(da, h[t])", "the state that U reads"),
    (2, "np.outer(da, x[t - 1])", "np.outer(x[t - 1], da)", r"ValueError in line \d+ of mean_gr"),
    (2, "return grads", 'del grads["V"]; return grads', "lacks V"),
    (2, "return grads", "return list(grads.values())", "expected a dictionary"),
    (2, "return grads", 'return grads | {"b_h": 2 * grads["b_h"]}', r"dL/db_h (.|\n)*Right are"),
    (3, "    grads = {", "    k = len(x)\n    grads = {", "through all steps"),
    (3, "        state = h[-1]\n", "", "starts from the state 0"),
    (3, "range(0, len(x), k)", "range(0, len(x) // k * k, k)", "shorter than k"),
    (3, '- target[begin + j - 1]', '- target[begin + j - 1]\n            dy *= 2', "factor 1/2"),
    (3, " * (1 - h[j] ** 2)", "", "slope of the tanh"),
    (4, "size = 8.0", "size = 1.5", "larger weights|output is"),
    (4, '"V": np.array([[1.0, -1.0]])', '"V": np.array([[-1.0, 1.0]])', "output is"),
    (4, '"b_y": np.array([-1.0])', '"b_y": np.array([1.0])', "which says odd"),
    (4, "[[0.5, -0.5], [0.5, -0.5]]", "[[0.0, 0.0], [0.0, 0.0]]", "U is 0"),
    (4, '"W": size * np.array([[1.0], [1.0]])', '"W": size * np.array([1.0, 1.0])', "W has the sh"),
    (4, '        "b_y": np.array([-1.0]),\n', "", "with the keys"),
    (5, "np.abs(m @ c)", "m @ c", "count down"),
    (5, "size = np.linalg.norm(c, axis=0)", "size = np.ones(c.shape[1])", "largest values"),
    (5, "np.where(size > 0, size, np.inf)", "size", "constant"),
    (5, "return unit, slopes[unit]", "return unit, abs(slopes[unit])", "sign is lost"),
    (5, "return unit, slopes[unit]", "return unit, 1 / slopes[unit]", "per change of the cell"),
    (5, "return unit, slopes[unit]", "return unit", "a pair"),
    (5, "return unit, slopes[unit]", "return unit + 1, slopes[unit]", "Unit 2 counts"),
    (5, "np.concatenate(cells), np.concatenate(missing)", "cells[0], missing[0]", "Put all"),
    (5, "return unit, slopes[unit]", "return float(unit), slopes[unit]", "whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "part", "instead", "told"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(
    check: ModuleType, tmp_path: Path, number: int, part: str, instead: str, told: str
) -> None:
    name = NAMES[number - 1]
    text = solution(name)
    assert text.count(part) == 1
    (tmp_path / f"{name}.py").write_text(text.replace(part, instead), encoding="utf-8")
    result, why = check.check(number, tmp_path)
    assert result == "wrong"
    assert re.search(told, why), why


def test_swapped_parity_is_told(check: ModuleType, tmp_path: Path) -> None:
    text = solution("parity_weights").replace("[[1.0, -1.0]]", "[[-1.0, 1.0]]")
    text = text.replace('"b_y": np.array([-1.0])', '"b_y": np.array([1.0])')
    (tmp_path / "parity_weights.py").write_text(text, encoding="utf-8")
    result, why = check.check(4, tmp_path)
    assert result == "wrong" and "Odd and even are swapped" in why


def test_every_mistake_that_can_be_named_differs_from_the_solution(check: ModuleType) -> None:
    judges = check.judges
    rng = np.random.default_rng(9)
    weights = [{k: rng.normal(size=s) for k in "rzn"} for s in ((3, 2), (3, 3), (3,), (3,))]
    x = rng.normal(size=(6, 2))
    answers = [judges.gru(*weights, x, mistake) for mistake in ("", *judges.GRU_MISTAKES)]
    params, x, h = judges.draw(rng, 7, 2, 3, 1)
    dy, target = rng.normal(size=1), rng.normal(size=7)
    means = [judges.mean_backward(params, x, h, dy, m) for m in ("", *judges.MEAN_MISTAKES)]
    chunks = [judges.truncated(params, x, target, 3, m) for m in ("", *judges.CHUNK_MISTAKES)]
    for results in (answers, means, chunks):
        for k, result in enumerate(results):
            assert not any(judges.same(result, other) for other in results[:k])


def test_the_judges_agree_with_autograd(check: ModuleType) -> None:
    judges = check.judges
    rng = np.random.default_rng(5)
    W, U, b, c = ({k: rng.normal(size=s) for k in "rzn"} for s in ((4, 3), (4, 4), (4,), (4,)))
    layer = torch.nn.GRU(3, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter, blocks in zip(layer.parameters(), (W, U, b, c), strict=True):
            parameter.copy_(torch.from_numpy(np.concatenate([blocks[k] for k in "rzn"])))
    x = rng.normal(size=(9, 3))
    states = layer(torch.from_numpy(x)[None])[0][0].detach().numpy()
    np.testing.assert_allclose(judges.gru(W, U, b, c, x), states, rtol=1e-10)

    params, x, h = judges.draw(rng, 8, 2, 3, 1)
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    dy, target = rng.normal(size=1), rng.normal(size=8)
    for k in (None, 3):  # the mean of all states; chunks of three steps
        state = torch.zeros(3, dtype=torch.float64)
        loss, kept = torch.zeros((), dtype=torch.float64), []
        for t in range(8):
            if k is not None and t % k == 0:
                state = state.detach()
            a = theirs["W"] @ torch.from_numpy(x[t]) + theirs["U"] @ state + theirs["b_h"]
            state = torch.tanh(a)
            kept.append(state)
            y = theirs["V"] @ state + theirs["b_y"]
            loss = loss + (y[0] - target[t]) ** 2 / 2
        if k is None:
            mean = torch.stack(kept).mean(0)
            loss = (torch.from_numpy(dy) * (theirs["V"] @ mean + theirs["b_y"])).sum()
        expected = torch.autograd.grad(loss, [theirs[name] for name in judges.PARAMETERS])
        ours = (
            judges.mean_backward(params, x, h, dy)
            if k is None
            else judges.truncated(params, x, target, k)
        )
        for name, gradient in zip(judges.PARAMETERS, expected, strict=True):
            np.testing.assert_allclose(ours[name], gradient.numpy(), rtol=1e-9, atol=1e-12)


def test_run_as_a_program() -> None:
    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, str(FOLDER / "check.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout

    code, text = run()
    assert code == 0 and text.count("not written yet") == 5
    code, text = run("3")
    assert code == 1 and text.startswith("Exercise 3, truncated_gradients: not written yet\nWrite")
    assert run("4", "--folder", str(SOLUTIONS)) == (0, "Exercise 4, parity_weights: right\n")
