"""The four networks the project began with, measured over several seeds.

    python benchmarks/reproductions.py            all, about 20 minutes on one core
    python benchmarks/reproductions.py B C        some
    python benchmarks/reproductions.py --seeds 2  a quick look

Writes Markdown tables to the terminal and to benchmarks/results/reproductions_<date>.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import io
import platform
import shlex
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

import elman
from elman.cli.train import command, settings_from
from elman.runs.data_splits import read_splits
from elman.runs.preparation import prepare

HERE = Path(__file__).parent
RECIPE_B = (
    "sum-threshold --cell rnn --hidden-size 16 --no-bidirectional --epochs 50 --batch-size full "
    "--learning-rate 0.01 --optimizer adam --schedule constant --warmup 0 --clip-norm 0 "
    "--initialization torch --no-scale --validation test"
)
# What the same 800 sequences give when one default is taken back at a time.
ABLATIONS = {
    "elman's defaults": "",
    "one direction": "--no-bidirectional",
    "no weight decay": "--weight-decay 0",
    "weight decay 0.01, as torch's AdamW": "--weight-decay 0.01",
    "numbers not standardised": "--no-scale",
    "torch's first weights": "--initialization torch",
    "constant learning rate": "--schedule constant --warmup 0",
    "tanh RNN instead of GRU": "--cell rnn",
    "LSTM instead of GRU": "--cell lstm",
    "plain GRU, Adam 0.003, nothing else": (
        "--no-bidirectional --optimizer adam --learning-rate 0.003 --no-scale "
        "--initialization torch --schedule constant --warmup 0 --clip-norm 0 --validation 0"
    ),
}


def train(flags: str, seed: int) -> dict[str, Any]:
    """Train as `elman train FLAGS --seed SEED` does, without writing the run folder."""
    parameters = command.make_context("train", [*shlex.split(flags), "--seed", str(seed)]).params
    settings = settings_from(parameters, None)
    splits = read_splits(settings.data, seed, settings.training)
    estimator, prepared, _ = prepare(settings, splits)
    started = time.perf_counter()
    estimator.fit_prepared(prepared)
    seconds = time.perf_counter() - started
    report = estimator.evaluate(splits.test.inputs, splits.test.target, resamples=0)
    epochs = estimator.history_.epochs
    return {
        "accuracy": report.accuracy,
        "recall": report.recall,
        "F1": report.f1,
        "first loss": epochs[0].loss,
        "last loss": epochs[-1].loss,
        "first accuracy": epochs[0].accuracy,
        "last accuracy": epochs[-1].accuracy,
        "seconds": seconds,
        "epochs": epochs,
    }


def spread(values: list[float], digits: int = 3) -> str:
    """Mean ± standard deviation, and the range."""
    a = np.array(values)
    deviation = a.std(ddof=1) if len(a) > 1 else 0.0
    return (
        f"{a.mean():.{digits}f} ± {deviation:.{digits}f} "
        f"({a.min():.{digits}f} to {a.max():.{digits}f})"
    )


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def compare(flags: str, seeds: int, references: dict[str, str]) -> list[str]:
    """A table of metrics over seeds beside reference values."""
    runs = [train(flags, seed) for seed in range(seeds)]
    rows = [
        [name, references.get(name, ""), spread([r[name] for r in runs])]
        for name in (
            "accuracy",
            "recall",
            "F1",
            "first loss",
            "last loss",
            "first accuracy",
            "last accuracy",
        )
    ]
    seconds = np.median([r["seconds"] for r in runs])
    return [
        f"`elman train {flags} --seed S`, {seeds} seeds, {seconds:.1f} s each (median):",
        "",
        *table(["figure", "reference", "mean ± sd (range)"], rows),
    ]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE.parent / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network_a(seeds: int) -> list[str]:
    scratch = example("rnn_from_scratch")
    reference = ["0.679", "0.674", "0.683", "0.705", "0.614", "0.48", "0.67"]
    names = ["accuracy", "recall", "F1", "first loss", "last loss", "first acc.", "last acc."]
    columns = []
    for classes in (2, 3):
        figures = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            x, y = scratch.make_waves(rng, 1000, classes)
            x_test, y_test = scratch.make_waves(rng, 500, classes)
            params = scratch.initialise(rng, 1, 32, classes)
            with contextlib.redirect_stdout(io.StringIO()):
                history = scratch.train(rng, params, x, y, 20)
            test = scratch.scores(y_test, scratch.forward(params, x_test)[1].argmax(1), classes)
            (first, last) = history[0], history[-1]
            figures.append([*test.values(), first[0], last[0], first[1], last[1]])
        columns.append([spread(list(column)) for column in zip(*figures, strict=True)])
    rows = [list(row) for row in zip(names, reference, *columns, strict=True)]
    return [
        "## A: a recurrent network from scratch",
        "",
        f"`python examples/rnn_from_scratch.py --classes K --seed S`, 20 epochs, {seeds} seeds:",
        "",
        *table(["figure", "reference", "2 classes", "3 classes"], rows),
        *compare("waves --epochs 20", seeds, {}),
    ]


def network_b(seeds: int) -> list[str]:
    runs = [train(RECIPE_B, seed) for seed in range(seeds)]
    reference = [".645/.629", ".437/.337", ".309/.271", ".222/.200", ".177/.157"]
    rows = []
    for epoch, figures in zip(range(10, 51, 10), reference, strict=True):
        records = [r["epochs"][epoch - 1] for r in runs]
        losses = [r.loss for r in records]
        rows.append([str(epoch), figures, spread(losses), spread([r.test_loss for r in records])])
    ablations = []
    for name, flags in ABLATIONS.items():
        runs = [train(f"sum-threshold {flags}", seed) for seed in range(seeds)]
        ablations.append(
            [
                name,
                f"`{flags}`" if flags else "",
                spread([r["accuracy"] for r in runs]),
                f"{np.mean([r['last accuracy'] for r in runs]):.3f}",
            ]
        )
    return [
        "## B: sum-threshold",
        "",
        f"`elman train {RECIPE_B} --seed S`, {seeds} seeds:",
        "",
        *table(["epoch", "reference", "training loss", "validation loss"], rows),
        *table(
            ["figure", "reference run", "reference, 20 seeds", "here"],
            [
                ["accuracy", ".940", ".935 (.895 to .970)", spread([r["accuracy"] for r in runs])],
                ["F1", ".9375", "", spread([r["F1"] for r in runs])],
            ],
        ),
        f"The same 800 sequences, `elman train sum-threshold FLAGS --seed S`, {seeds} seeds:",
        "",
        *table(["setting", "flags", "test accuracy", "training accuracy, last epoch"], ablations),
    ]


def network_c(seeds: int) -> list[str]:
    references = {
        "accuracy": ".875",
        "first loss": ".684",
        "last loss": ".113",
        "first accuracy": ".564",
        "last accuracy": ".964",
    }
    return [
        "## C: token-order",
        "",
        *compare(
            "token-order --cell rnn --no-bidirectional --epochs 10 --optimizer adam",
            seeds,
            references,
        ),
        *compare("token-order --epochs 10", seeds, references),
    ]


def network_d(seeds: int) -> list[str]:
    bptt = example("bptt_every_step")
    accuracies, errors = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        params = bptt.initialise(rng, 1, 32)
        batch = bptt.make_parity(rng, 4, 5, 10)
        _, grads, _ = bptt.backward(params, *batch)
        errors.append(
            max(
                abs(g - bptt.finite_differences(params, batch, name)).max() / abs(g).max()
                for name, g in grads.items()
            )
        )
        with contextlib.redirect_stdout(io.StringIO()):
            bptt.train(rng, params, 800)
        accuracies.append(bptt.step_accuracy(params, *bptt.make_parity(rng, 500, 5, 20)))
    return [
        "## D: an output at every step",
        "",
        f"`python examples/bptt_every_step.py --seed S`, {seeds} seeds: step accuracy "
        f"{spread(accuracies, 4)}; analytic gradients of U, V, W, b_h and b_y against central "
        f"differences in float64: largest relative difference {max(errors):.1e}. Against autograd "
        "in float64 the tests ask for 1e-10.",
        "",
        *compare("running-parity", seeds, {}),
        *compare("running-parity --cell rnn --no-bidirectional", seeds, {}),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["A", "B", "C", "D"])
    parser.add_argument("--seeds", type=int, help="instead of 10, and 20 for B")
    args = parser.parse_args()
    measure = {"A": network_a, "B": network_b, "C": network_c, "D": network_d}
    today = datetime.date.today().isoformat()
    lines = [
        f"# Reproductions, {today}",
        "",
        f"elman {elman.__version__}, torch {torch.__version__}, Python {platform.python_version()} "
        f"on {platform.machine()}, one thread. Mean ± standard deviation over seeds (range).",
        "",
    ]
    for name in args.networks:
        block = measure[name](args.seeds or (20 if name == "B" else 10))
        print("\n".join(block), flush=True)
        lines += block
    if set(args.networks) == set(measure):
        folder = HERE / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"reproductions_{today}.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
