"""The same problems in jitted JAX: lax.scan over the cell's equations, AdamW by hand.

Time-major, and the input's product is taken in whichever of two places is faster: before the scan
for all steps at once, or inside it. Buffers of a step are donated.

Dimensions: B batch, T time, I input, H hidden, G gates.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array, lax

from .contenders import Problem, Results, Run, training_settings

jax.config.update("jax_platforms", "cpu")
# Waiting for a call costs less when it runs in the thread that asks: up to 0.08 ms a call.
jax.config.update("jax_cpu_enable_async_dispatch", False)

Parameters = dict[str, Array]
State = tuple[Array, ...]
BETAS = (0.9, 0.999)
EPSILON = 1e-8


def to_jax(tensor: torch.Tensor) -> Array:
    return jnp.array(tensor.numpy(), copy=True)


def to_torch(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def parameters_of(problem: Problem) -> Parameters:
    """Weights as torch.nn has them, named W, U, b, c; V and d of the linear layer."""
    recurrent = {name.removesuffix("_l0"): value for name, value in problem.recurrent.items()}
    return {
        "W": to_jax(recurrent["weight_ih"]),  # (G*H, I)
        "U": to_jax(recurrent["weight_hh"]),  # (G*H, H)
        "b": to_jax(recurrent["bias_ih"]),
        "c": to_jax(recurrent["bias_hh"]),
        "V": to_jax(problem.output["weight"]),  # (K, H)
        "d": to_jax(problem.output["bias"]),
    }


def rnn(p: Parameters, state: State, a: Array) -> State:
    """One step; a is W x_t + b."""
    (h,) = state
    return (jnp.tanh(a + h @ p["U"].T + p["c"]),)


def gru(p: Parameters, state: State, a: Array) -> State:
    (h,) = state
    ar, az, an = jnp.split(a, 3, axis=1)
    ur, uz, un = jnp.split(h @ p["U"].T + p["c"], 3, axis=1)
    r, z = jax.nn.sigmoid(ar + ur), jax.nn.sigmoid(az + uz)
    n = jnp.tanh(an + r * un)
    return ((1 - z) * n + z * h,)


def lstm(p: Parameters, state: State, a: Array) -> State:
    h, c = state
    i, f, g, o = jnp.split(a + h @ p["U"].T + p["c"], 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


CELLS = {"rnn": rnn, "gru": gru, "lstm": lstm}


def zeros(cell: str, batch: int, hidden: int) -> State:
    return (jnp.zeros((batch, hidden)),) * (2 if cell == "lstm" else 1)


def scan(
    cell: str, before: bool, p: Parameters, x: Array, outputs: bool
) -> tuple[State, Array | None]:
    """Last state and, if asked for, all outputs (T, B, H)."""

    def step(state: State, a: Array) -> tuple[State, Array | None]:
        state = CELLS[cell](p, state, a if before else a @ p["W"].T + p["b"])
        return state, state[0] if outputs else None

    first = zeros(cell, x.shape[1], p["U"].shape[1])
    return lax.scan(step, first, x @ p["W"].T + p["b"] if before else x)


@functools.partial(jax.jit, static_argnames=("cell", "before"))
def forward(p: Parameters, x: Array, *, cell: str, before: bool) -> tuple[State, Array | None]:
    return scan(cell, before, p, x, outputs=True)


@functools.partial(jax.jit, static_argnames="cell")
def single(p: Parameters, state: State, x: Array, *, cell: str) -> State:
    """One step, x (B, I)."""
    return CELLS[cell](p, state, x @ p["W"].T + p["b"])


def loss_of(p: Parameters, x: Array, target: Array, cell: str, before: bool) -> Array:
    state, _ = scan(cell, before, p, x, outputs=False)
    logits = state[0] @ p["V"].T + p["d"]
    chances = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(chances, target[:, None], axis=1).mean()


@functools.partial(
    jax.jit, static_argnames=("cell", "before", "decay", "clip"), donate_argnums=(0, 1)
)
def train(
    p: Parameters,
    moments: tuple[Parameters, Parameters, Array],
    x: Array,
    target: Array,
    rate: float,
    *,
    cell: str,
    before: bool,
    decay: float,
    clip: float,
) -> tuple[Parameters, tuple[Parameters, Parameters, Array], Array]:
    """Loss, gradients, clipping, and AdamW that decays matrices alone, as elman's does."""
    loss, g = jax.value_and_grad(loss_of)(p, x, target, cell, before)
    norm = jnp.sqrt(sum(jnp.vdot(v, v) for v in g.values()))
    scale = jnp.minimum(1.0, clip / (norm + 1e-6))
    m, v, count = moments
    count = count + 1
    new_p, new_m, new_v = {}, {}, {}
    for name in p:
        grad = g[name] * scale
        new_m[name] = BETAS[0] * m[name] + (1 - BETAS[0]) * grad
        new_v[name] = BETAS[1] * v[name] + (1 - BETAS[1]) * grad * grad
        kept = p[name] * (1 - rate * decay) if p[name].ndim > 1 else p[name]
        first = new_m[name] / (1 - BETAS[0] ** count)
        second = new_v[name] / (1 - BETAS[1] ** count)
        new_p[name] = kept - rate * first / (jnp.sqrt(second) + EPSILON)
    return new_p, (new_m, new_v, count), loss


def jax_step(problem: Problem, rate: float, before: bool) -> Callable[[], Array]:
    """One training step; the state stays here between calls."""
    settings = training_settings(rate)
    p = parameters_of(problem)
    moments = (jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p), jnp.zeros(()))
    x, target = to_jax(problem.time_major), to_jax(problem.target)
    decay, clip = settings.weight_decay, settings.clip_norm

    def step() -> Array:
        nonlocal p, moments
        p, moments, loss = train(
            p, moments, x, target, rate, cell=problem.cell, before=before, decay=decay, clip=clip
        )
        return loss.block_until_ready()

    return step


def inference_contender(problem: Problem, before: bool) -> tuple[Run, Callable[[], Results]]:
    p, x = parameters_of(problem), to_jax(problem.time_major)

    def run() -> tuple[State, Array | None]:
        return jax.block_until_ready(forward(p, x, cell=problem.cell, before=before))

    def results() -> Results:
        state, y = run()
        return named_results(y, state)

    return run, results


def stepwise_contender(problem: Problem) -> tuple[Run, Callable[[], Results]]:
    p = parameters_of(problem)
    steps = [to_jax(x) for x in problem.time_major]  # T arrays (B, I)
    first = zeros(problem.cell, problem.shape.B, problem.shape.H)

    def run() -> tuple[list[Array], State]:
        state, outputs = first, []
        for x in steps:
            state = single(p, state, x, cell=problem.cell)
            outputs.append(state[0])
        return jax.block_until_ready((outputs, state))

    def results() -> Results:
        outputs, state = run()
        return named_results(jnp.stack(outputs), state)

    return run, results


def named_results(y: Array | None, state: State) -> Results:
    """As torch's layers give them: output (T, B, H), states (1, B, H)."""
    assert y is not None
    tensors = {"output": to_torch(y)}
    for name, value in zip("hc", state, strict=False):
        tensors[f"{name}_n"] = to_torch(value)[None]
    return tensors


def faster(
    make: Callable[[bool], Any], run: Callable[[Any], Run], clock: Callable[[], float]
) -> tuple[Any, float]:
    """The faster of `make(True)` and `make(False)`, and the seconds of its first call.

    Args:
        make: builds a contender; the argument says whether the input's product comes first.
        run: what to call of it.
        clock: what to compare them by.
    """
    candidates = []
    for before in (True, False):
        contender = make(before)
        call = run(contender)
        started = time.perf_counter()
        call()
        first_call = time.perf_counter() - started
        seconds = []
        for _ in range(5):
            started = clock()
            call()
            seconds.append(clock() - started)
        candidates.append((min(seconds), contender, first_call))
    _, contender, first_call = min(candidates, key=lambda entry: entry[0])
    return contender, first_call
