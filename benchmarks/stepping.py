"""One step at a time: a public stream beside onnxruntime, torch.nn and jitted JAX.

    python benchmarks/stepping.py             # writes results/stepping_DATE.md
    python benchmarks/stepping.py --rounds 5  # fewer, printed only

Every contender runs the same trained network, 8 channels in and 3 classes out, batch 1, float32:
from one step's raw numbers, a NumPy array, through scaling, one recurrent step, the output layer
and softmax to a NumPy array of probabilities, with its state carried on to the next step. elman is
called as a user does, `stream.step(x)`, with its checks, and reads float64; the others get float32
and check nothing. onnxruntime runs one graph with onnx's own operator, and JAX one jitted function.
The part of elman's kernels is the compiled call alone, scaling and softmax included.

The layers alone are compared too: a step of `elman.layers` and of `torch.nn` from tensor to tensor.

All contenders run in turn in one process on one thread, and their answers are compared before they
are timed. A figure is the median over the rounds of processor time a step, with its quartiles.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from elman import SequenceClassifier, layers

HERE = Path(__file__).parent
CHANNELS, CLASSES, LENGTH, STEPS = 8, 3, 20, 200  # steps of a round
ONNX_GATES = {"rnn": "h", "gru": "zrn", "lstm": "iofg"}  # onnx's order
TORCH_GATES = {"rnn": "h", "gru": "rzn", "lstm": "ifgo"}
TORCH = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
ELMAN = {"rnn": layers.RNN, "gru": layers.GRU, "lstm": layers.LSTM}
Contender = Callable[[np.ndarray], np.ndarray]  # (STEPS, C) to the probabilities of the last step


def trained(cell: str, hidden: int) -> Any:
    """Train a classifier for one epoch, so that its scaling and weights are real ones."""
    draws = np.random.default_rng(0)
    X = list(draws.normal(5.0, 3.0, size=(60, LENGTH, CHANNELS)))
    options = {"cell": cell, "hidden_size": hidden, "num_layers": 1, "readout": "last"}
    model = SequenceClassifier(**options, streaming=True, epochs=1, random_state=0, verbose=0)
    return model.fit(X, ["a", "b", "c"] * 20)


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """Weights and scaling of the network, as NumPy arrays of float32."""
    state = model.model_.state_dict().items()
    found = {name.removeprefix("recurrent."): value.numpy().copy() for name, value in state}
    scaling = {"mean": model.encoder_.mean, "scale": model.encoder_.scale}
    return found | {name: value.astype(np.float32) for name, value in scaling.items()}


def elman_stream(model: Any, kernels_only: bool = False) -> Contender:
    """`stream.step`, or only the compiled call inside it."""
    stream = model.stream()
    call, out = stream._native._step, np.empty((1, CLASSES))

    def run(x: np.ndarray) -> np.ndarray:
        stream.reset()
        for step in x:
            answer = stream.step(step[None])
        return answer[0]

    def run_kernels(x: np.ndarray) -> np.ndarray:
        stream.reset()
        for step in x:
            call(step[None], out, None, 1, 1)
        return out[0].copy()

    return run_kernels if kernels_only else run


def in_torch(model: Any, cell: str, hidden: int) -> Contender:
    w = weights_of(model)
    layer, output = TORCH[cell](CHANNELS, hidden), nn.Linear(hidden, CLASSES)
    layer.load_state_dict({k: torch.from_numpy(v) for k, v in w.items() if k.endswith("_l0")})
    output.load_state_dict({k: torch.from_numpy(w[f"output.{k}"]) for k in ("weight", "bias")})
    mean, scale = torch.from_numpy(w["mean"]), torch.from_numpy(w["scale"])

    @torch.inference_mode()
    def run(x: np.ndarray) -> np.ndarray:
        state = None
        for step in x.astype(np.float32):
            y, state = layer(((torch.from_numpy(step) - mean) / scale).view(1, 1, -1), state)
            answer = torch.softmax(output(y[0]), -1).numpy()
        return answer[0]

    return run


def in_onnxruntime(model: Any, cell: str, hidden: int) -> Contender:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    w = weights_of(model)

    def gates(name: str) -> np.ndarray:
        parts = np.split(w[f"{name}_l0"], len(TORCH_GATES[cell]))
        blocks = dict(zip(TORCH_GATES[cell], parts, strict=True))
        return np.concatenate([blocks[gate] for gate in ONNX_GATES[cell]])

    arrays = {
        "mean": w["mean"],
        "scale": w["scale"],
        "W": gates("weight_ih")[None],
        "R": gates("weight_hh")[None],
        "B": np.concatenate([gates("bias_ih"), gates("bias_hh")])[None],
        "V": w["output.weight"].T,
        "b": w["output.bias"],
        "flat": np.array([1, hidden], np.int64),
    }
    states = ["h", "c"] if cell == "lstm" else ["h"]
    options = {"linear_before_reset": 1} if cell == "gru" else {}
    new = [f"{name}_new" for name in states]
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node(
            cell.upper(),
            ["scaled", "W", "R", "B", "", *states],
            ["", *new],
            hidden_size=hidden,
            **options,
        ),
        helper.make_node("Reshape", ["h_new", "flat"], ["read"]),
        helper.make_node("Gemm", ["read", "V", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["p"]),
    ]

    def tensor(name: str, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "step",
        [tensor("x", [1, 1, CHANNELS]), *(tensor(s, [1, 1, hidden]) for s in states)],
        [tensor("p", [1, CLASSES]), *(tensor(s, [1, 1, hidden]) for s in new)],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in arrays.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    names, zeros = ["p", *new], np.zeros((1, 1, hidden), np.float32)

    def run(x: np.ndarray) -> np.ndarray:
        state = [zeros] * len(states)
        for step in x.astype(np.float32):
            feed = {"x": step[None, None], **dict(zip(states, state, strict=True))}
            answer, *state = session.run(names, feed)
        return answer[0]

    return run


def in_jax(model: Any, cell: str, hidden: int) -> Contender:
    import jax
    import jax.numpy as jnp
    from speed.jax_peer import CELLS

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    w = {name: jnp.array(value) for name, value in weights_of(model).items()}
    p = {"U": w["weight_hh_l0"], "c": w["bias_hh_l0"]}

    @jax.jit
    def one(state: Any, x: Any) -> Any:
        x = ((x - w["mean"]) / w["scale"])[None]
        state = CELLS[cell](p, state, x @ w["weight_ih_l0"].T + w["bias_ih_l0"])
        logits = state[0] @ w["output.weight"].T + w["output.bias"]
        return jax.nn.softmax(logits)[0], state

    zeros = (jnp.zeros((1, hidden)),) * (2 if cell == "lstm" else 1)

    def run(x: np.ndarray) -> np.ndarray:
        state = zeros
        for step in x.astype(np.float32):
            answer, state = one(state, step)
            found = np.asarray(answer)
        return found

    return run


def layer_alone(kind: Any, hidden: int, weights: dict[str, np.ndarray]) -> Contender:
    layer = kind(CHANNELS, hidden)
    found = {k: torch.from_numpy(v) for k, v in weights.items() if k.endswith("_l0")}
    layer.load_state_dict(found)

    @torch.no_grad()
    def run(x: np.ndarray) -> np.ndarray:
        steps = torch.from_numpy(x).float().view(-1, 1, 1, CHANNELS)
        zeros = torch.zeros(1, 1, hidden)
        state = (zeros, zeros) if isinstance(layer, nn.LSTM | layers.LSTM) else zeros
        for step in steps:
            y, state = layer(step, state)
        return y[0, 0].numpy()

    return run


def measure(contenders: dict[str, Contender], rounds: int) -> dict[str, tuple[float, ...]]:
    """Microseconds of processor time a step: lower quartile, median, upper quartile."""
    x = np.random.default_rng(1).normal(5.0, 3.0, size=(STEPS, CHANNELS))
    expected = next(iter(contenders.values()))(x)
    for name, run in contenders.items():
        difference = float(np.abs(run(x) - expected).max())
        if not difference <= 1e-5:
            raise SystemExit(f"{name} differs by {difference:.1e}")
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            started = time.process_time()
            run(x)
            taken[name].append((time.process_time() - started) / STEPS * 1e6)
    return {name: tuple(statistics.quantiles(times, n=4)) for name, times in taken.items()}


def table(title: str, rows: list[tuple[str, int, dict[str, tuple[float, ...]]]]) -> list[str]:
    """A table in Markdown of microseconds a step, and ratios to the first contender."""
    names = list(rows[0][2])
    lines = [f"## {title}", "", f"| cell | units | {' | '.join(names)} |"]
    lines.append("| --- " * (2 + len(names)) + "|")
    for cell, hidden, times in rows:
        first = times[names[0]][1]
        cells = [f"{m:.2f} ({low:.2f} to {high:.2f})" for low, m, high in times.values()]
        for i, name in enumerate(names[1:], 1):
            cells[i] += f"; {times[name][1] / first:.2f}x"
        lines.append(f"| {cell.upper()} | {hidden} | {' | '.join(cells)} |")
    return [*lines, ""]


def report(rounds: int, cells: list[str]) -> str:
    """Measure everything; return the page."""
    torch.set_num_threads(1)
    has_jax = importlib.util.find_spec("jax") is not None
    public, alone = [], []
    for cell, hidden in (("gru", 64), ("rnn", 64), ("lstm", 64), ("gru", 16), ("gru", 128)):
        if cell not in cells:
            continue
        model = trained(cell, hidden)
        contenders = {
            "stream.step": elman_stream(model),
            "of which kernels": elman_stream(model, kernels_only=True),
            "onnxruntime": in_onnxruntime(model, cell, hidden),
            "torch.nn": in_torch(model, cell, hidden),
        }
        if has_jax:
            contenders["JAX"] = in_jax(model, cell, hidden)
        public.append((cell, hidden, measure(contenders, rounds)))
        w = weights_of(model)
        pair = {"elman.layers": ELMAN, "torch.nn": TORCH}
        both = {name: layer_alone(kinds[cell], hidden, w) for name, kinds in pair.items()}
        alone.append((cell, hidden, measure(both, rounds)))
    packages = ("torch", "onnxruntime", "numpy", *(["jax"] if has_jax else []))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return "\n".join(
        [
            f"# One step at a time, {datetime.date.today()}",
            "",
            (__doc__ or "").partition("printed only\n")[2].strip(),
            "",
            f"{platform.platform()}, {platform.processor() or platform.machine()}, "
            f"{os.cpu_count()} processors, load {load}; Python {platform.python_version()}, "
            f"{versions}. {rounds} rounds of {STEPS} steps."
            + ("" if has_jax else " JAX is not installed here and was not measured."),
            "",
            "A ratio is a contender's time divided by that of the first column.",
            "",
            *table("From raw numbers to probabilities, us a step", public),
            *table("The layer alone, us a step", alone),
        ]
    )


def main() -> None:
    """Measure, and store the page if all rounds were run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--cells", nargs="+", choices=TORCH, default=list(TORCH))
    arguments = parser.parse_args()
    page = report(arguments.rounds, arguments.cells)
    print(page)
    if arguments.rounds >= 101 and set(arguments.cells) == set(TORCH):
        (HERE / "results" / f"stepping_{datetime.date.today()}.md").write_text(page)


if __name__ == "__main__":
    main()
