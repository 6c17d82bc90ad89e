"""The accuracy of each cell on the built-in tasks that are hard for recurrent networks.

    python benchmarks/tasks.py                         all, about 6 minutes on an idle core
    python benchmarks/tasks.py reber anbn --seeds 1    some, to look at

Writes a Markdown table to the terminal and, if no task was left out, to
benchmarks/results/tasks_<date>.md.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import shlex
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import processor_name

import elman
from elman import SequenceRegressor
from elman.cli.train import command, settings_from
from elman.data import load_task
from elman.runs.config import RunSettings
from elman.runs.data_splits import read_splits
from elman.runs.preparation import make_estimator, prepare

RESULTS = Path(__file__).parent / "results"
CELLS = ("rnn", "gru", "lstm")
CONFIG = Path(__file__).parent / "tasks.toml"
NUMBERS = "--noise 0"
TOKENS = "--embedding-size 64 --token-dropout 0.25"


def accuracy(report: Any) -> float:
    return float(report.accuracy)


def rmse(report: Any) -> float:
    return float(report.rmse)


def whole(report: Any) -> float:
    """Share of sequences that are right at every step."""
    wrong = np.bincount(report.owners, report.true != report.predicted, report.count)
    return float((wrong == 0).mean())


def recalled(report: Any) -> float:
    """Share of the remembered symbols that are right: of the steps that are not blank."""
    said = report.true != report.classes.index("-")
    return float((report.true == report.predicted)[said].mean())


@dataclass(frozen=True)
class Row:
    """A task, its settings, and its metric.

    Args:
        task: as the command takes it.
        flags: settings beside tasks.toml, the cell and the seed.
        figure: from a report to a number.
        name: of the figure.
        trivial: that number for the best answer without what the task asks for.
    """

    task: str
    flags: str
    figure: Callable[[Any], float]
    name: str
    trivial: str

    def settings(self, cell: str, seed: int) -> RunSettings:
        words = [self.task, "--cell", cell, "--seed", str(seed), *shlex.split(self.flags)]
        return settings_from(command.make_context("train", words).params, CONFIG)

    def command(self) -> str:
        """The command that repeats a run: CELL is the cell, S the seed."""
        flags = f"--config benchmarks/tasks.toml {self.flags} --cell CELL --seed S"
        if self.figure is rmse:
            return f"SequenceRegressor with {flags} on load_task({self.task!r}, S)"
        return f"elman train {self.task} {flags}"


Runs = dict[str, list[tuple[float, float, float]]]  # by cell: training, test, seconds

BRACKETS = f"--epochs 30 --readout last {TOKENS}"
DIGITS = (
    "--epochs 60 --batch-size 16 --learning-rate 0.01 --weight-decay 0.3 --dropout 0.3 "
    f"--readout last {NUMBERS}"
)
ROWS = (
    Row(
        "running-parity:stretch=5",
        f"--epochs 30 --readout every {NUMBERS}",
        whole,
        "sequences right",
        "0",
    ),
    Row("anbn", f"--epochs 40 --readout every {TOKENS}", whole, "strings right", "0"),
    Row("anbn:letters=3", f"--epochs 40 --readout every {TOKENS}", whole, "strings right", "0"),
    Row("brackets:kinds=1", BRACKETS, accuracy, "accuracy", "0.5"),
    Row("brackets:kinds=2", BRACKETS, accuracy, "accuracy", "0.5"),
    Row(
        "reber",
        f"--epochs 60 --batch-size 8 --readout every {TOKENS}",
        whole,
        "strings right",
        "0.5",
    ),
    Row(
        "copy-memory:T=20,items=5,train=2000",
        f"--epochs 50 --learning-rate 0.01 --readout every {TOKENS}",
        recalled,
        "symbols right",
        "0.125",
    ),
    Row(
        "temporal-order",
        f"--epochs 20 --batch-size 16 --learning-rate 0.005 --readout last {TOKENS}",
        accuracy,
        "accuracy",
        "0.75",
    ),
    Row(
        "adding:T=100,train=3000",
        f"--epochs 50 --readout last --no-scale {NUMBERS}",
        rmse,
        "RMSE",
        "0.408",
    ),
    Row("sequential-digits", DIGITS, accuracy, "accuracy", "0.1"),
    Row("sequential-digits:order=permuted", DIGITS, accuracy, "accuracy", "0.1"),
)


def measure(row: Row, cell: str, seed: int) -> tuple[float, float, float]:
    """The metric on the training split and on the test split, and the seconds of training.

    As `elman train` does it, without writing the run folder.
    """
    settings = row.settings(cell, seed)
    started = time.perf_counter()
    if row.figure is rmse:
        training, test = load_task(row.task, seed)
        parameters = make_estimator(settings, verbose=0).get_params()
        estimator: Any = SequenceRegressor()
        estimator.set_params(**{k: parameters[k] for k in estimator.get_params()})
        estimator.fit(training.inputs, training.target)
    else:
        splits = read_splits(settings.data, seed, settings.training)
        training, test = splits.training, splits.test
        estimator, prepared, _ = prepare(settings, splits)
        estimator.fit_prepared(prepared)
    seconds = time.perf_counter() - started
    first, second = (
        row.figure(estimator.evaluate(part.inputs, part.target, resamples=0))
        for part in (training, test)
    )
    return first, second, seconds


def spread(values: list[float]) -> str:
    """Mean and range."""
    if min(values) == max(values):
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def table(runs_by_row: dict[Row, Runs]) -> list[str]:
    """Markdown: a line for each task and split, a column for each cell."""
    head = ["task", "figure", "trivial", "part", *(cell.upper() for cell in CELLS)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row, runs in runs_by_row.items():
        for part, name in ((1, "test"), (0, "training")):
            first = [f"`{row.task}`", row.name, row.trivial] if part else ["", "", ""]
            figures = [spread([run[part] for run in runs[cell]]) for cell in CELLS]
            lines.append("| " + " | ".join([*first, name, *figures]) + " |")
    return lines


def report(runs_by_row: dict[Row, Runs]) -> str:
    seeds = sorted({len(runs) for row in runs_by_row.values() for runs in row.values()})
    seconds = {
        row: statistics.median(r[2] for c in CELLS for r in runs_by_row[row][c])
        for row in runs_by_row
    }
    return "\n".join(
        [
            f"# Hard tasks, {datetime.date.today().isoformat()}",
            "",
            f"elman {elman.__version__}, torch {torch.__version__}, Python "
            f"{platform.python_version()} on {processor_name()}, one thread, by",
            "`python benchmarks/tasks.py`. Mean (range) over "
            f"{' to '.join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))} seeds. Trivial is the "
            "best answer without what the task asks for; the seconds of a training are the median "
            "on the machine as busy as it was.",
            "",
            *table(runs_by_row),
            "",
            "How each was learnt, CELL being rnn, gru or lstm and S the seed, from 0:",
            "",
            *(f"- {seconds[row]:.0f} s: `{row.command()}`" for row in runs_by_row),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help="with or without parameters; all if left out")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60, help="no further seed after them")
    args = parser.parse_args()
    known = {name for row in ROWS for name in (row.task, row.task.split(":")[0])}
    if strange := set(args.tasks) - known:
        parser.error(f"no such task here: {', '.join(sorted(strange))}")
    rows = [r for r in ROWS if not args.tasks or {r.task, r.task.split(":")[0]} & set(args.tasks)]
    runs_by_row: dict[Row, Runs] = {row: {cell: [] for cell in CELLS} for row in rows}
    started = time.monotonic()
    # A seed after the other, so that who runs out of time has some of everything.
    for seed in range(args.seeds):
        for row in rows:
            if seed and time.monotonic() - started > 60 * args.minutes:
                continue
            for cell in CELLS:
                runs_by_row[row][cell].append(measure(row, cell, seed))
                train, test, seconds = runs_by_row[row][cell][-1]
                print(
                    f"{row.task} {cell} seed {seed}: {row.name} {train:.3f} training, "
                    f"{test:.3f} test, {seconds:.1f} s",
                    flush=True,
                )
    text = report(runs_by_row)
    print(text)
    if not args.tasks:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"tasks_{datetime.date.today().isoformat()}.md"
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
