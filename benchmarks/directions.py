"""What a network of one direction, for answers step by step, costs in accuracy.

    python benchmarks/directions.py --data FOLDER      about 5 minutes on an idle core
    python benchmarks/directions.py waves --seeds 1    one data set, to look at

Each data set is learnt twice per seed with everything else equal: in both directions, which is the
default, and with streaming=True. Data sets that are missing are left out, and the table says so.
Writes Markdown to the terminal and, if no data set was left out, to
benchmarks/results/directions_<date>.md.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from bench import processor_name
from peers.sets import SETS, AbsentError, Data

import elman
from elman import SequenceClassifier, SequenceTagger
from elman.data import load_task

RESULTS = Path(__file__).parent / "results"
OPEN = ("JapaneseVowels", "digits by rows", "names", "Snips intents", "Snips slots")
SEEDS = 3


def load_waves(folder: Path, seed: int) -> Data:
    """Return the built-in task, whose test split is drawn with the training split."""
    training, test = load_task("waves", seed)
    return Data("numbers", list(training.inputs), training.target, list(test.inputs), test.target)


LOADERS: dict[str, Callable[[Path, int], Data]] = {
    **{each.name: each.load for each in SETS if each.name in OPEN},
    "waves": load_waves,
}


def measure(data: Data, seed: int, *, streaming: bool) -> float:
    """Return the accuracy on the test split, over sequences or, for tags, over steps."""
    options = {"streaming": streaming, "effort": "quick", "random_state": seed}
    kind = SequenceTagger if data.kind == "tags" else SequenceClassifier
    return float(kind(**options).fit(data.X, data.y).score(data.X_test, data.y_test))


def show(values: list[float]) -> str:
    """Return mean and range."""
    return f"{statistics.fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", choices=[*LOADERS, []], help="data sets; all if none")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the open sets")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    names = arguments.sets or list(LOADERS)
    rows, differences, absent = [], [], []
    for name in names:
        both: list[float] = []
        one: list[float] = []
        for seed in range(arguments.seeds):
            try:
                data = LOADERS[name](arguments.data, seed)
            except AbsentError as error:
                absent.append(f"{name}: {error}")
                break
            both.append(measure(data, seed, streaming=False))
            one.append(measure(data, seed, streaming=True))
        if both:
            difference = statistics.fmean(one) - statistics.fmean(both)
            differences.append(difference)
            rows.append(f"| {name} | {show(both)} | {show(one)} | {difference:+.3f} |")
            print(rows[-1], flush=True)
    text = "\n".join(
        [
            f"# One direction and two, {datetime.date.today()}",
            "",
            f"elman {elman.__version__}, torch {torch.__version__}, Python "
            f"{platform.python_version()} on {processor_name()}, by `python "
            f"benchmarks/directions.py --data FOLDER`. Test accuracy, mean (range) over "
            f"{arguments.seeds} seeds; effort quick, all else as the defaults.",
            "",
            "| data set | both directions | one direction (streaming) | difference |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"Mean difference {statistics.fmean(differences):+.3f}, from {min(differences):+.3f} "
            f"to {max(differences):+.3f}.",
            *[f"Left out, {reason}." for reason in absent],
            "",
        ]
    )
    print(text)
    if names == list(LOADERS) and not absent:
        (RESULTS / f"directions_{datetime.date.today()}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
