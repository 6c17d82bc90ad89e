"""Steps a second of trainings by one process and by several, for three sizes of network.

    python benchmarks/ranks.py [--processes 1 2] [--epochs 6] [--out FILE]

Each measurement is a training of its own under torchrun; the times are those of the epochs after
the first, in which nothing but the training runs. Writes a JSON file with machine and versions.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

# Units, layers, steps of a sequence and channels; a batch has 64 sequences.
SIZES = {"small": (16, 1, 50, 4), "medium": (64, 1, 100, 8), "large": (256, 2, 100, 16)}
BATCH, BATCHES = 64, 8


def train(size: str, epochs: int) -> None:
    """Train under torchrun, and let rank 0 print the seconds of each epoch."""
    from elman import SequenceClassifier
    from elman.train import from_env

    units, layers, steps, channels = SIZES[size]
    rng = np.random.default_rng(0)
    count = BATCH * BATCHES
    X = rng.normal(size=(count, steps, channels)).astype(np.float32)
    classifier = SequenceClassifier(
        cell="gru",
        hidden_size=units,
        num_layers=layers,
        bidirectional=False,
        batch_size=BATCH,
        epochs=epochs,
        validation=0,
        random_state=0,
    )
    with from_env() as ranks:
        classifier.fit(X, np.arange(count) % 3)
    if ranks is None or ranks.is_first:
        print(json.dumps([record.seconds for record in classifier.history_.epochs]))


def measure(size: str, processes: int, epochs: int) -> list[float]:
    """Return the steps a second of each epoch but the first."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), __file__, "--train", size]
    done = subprocess.run(
        [*command, "--epochs", str(epochs)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = json.loads(done.stdout.strip().splitlines()[-1])
    return [BATCHES / second for second in seconds[1:]]


def main() -> None:
    """Measure all sizes with each number of processes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.train:
        train(options.train, options.epochs)
        return
    import torch

    found = {}
    for size, shape in SIZES.items():
        for processes in options.processes:
            rates = measure(size, processes, options.epochs)
            found[f"{size}, {processes}"] = rates
            name = "{} units, {} layers, {} steps, {} channels".format(*shape)
            median, low, high = statistics.median(rates), min(rates), max(rates)
            print(f"{name}: {processes} processes: {median:.1f} steps/s ({low:.1f} to {high:.1f})")
    if options.out:
        facts = {
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "processors": os.cpu_count(),
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "command": " ".join(sys.argv),
        }
        text = json.dumps({**facts, "steps a second": found}, indent=1)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
