"""What elman's defaults reach on open data, beside what others reach as they come.

    python benchmarks/accuracy.py                              everything: hours
    python benchmarks/accuracy.py --contenders elman           elman alone, about 20 minutes
    python benchmarks/accuracy.py --sets BasicMotions --seeds 1

Every run is a process of its own, one after the other, on all processors but elman's own default of
one thread, and ends after --limit seconds. Official test parts, which no setting was chosen by.
Writes Markdown to the terminal and, if all sets ran with five seeds, to
benchmarks/results/accuracy_<date>.md.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from peers.contenders import CONTENDERS, CannotError, answer
from peers.sets import SETS, AbsentError, Data, OpenSet

HERE = Path(__file__).parent
SEEDS = 5
PACKAGES = ("elman", "torch", "keras", "tensorflow-cpu", "sktime", "aeon", "scikit-learn")


def measure(open_set: OpenSet, contender: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run, in this process: figures and seconds, or what stood in the way."""
    try:
        data = open_set.load(folder, seed)
    except AbsentError as error:
        return {"absent": str(error)}
    try:
        found, seconds = answer(contender, data, seed)
    except CannotError as error:
        return {"cannot": str(error)}
    except ModuleNotFoundError as error:
        return {"cannot": f"needs {error.name or str(error)[:100]}"}
    return {"seconds": seconds, **figures(data, found)}


def figures(data: Data, found: list[Any]) -> dict[str, float]:
    """Accuracy over sequences or steps, and for tags entity F1."""
    if data.kind != "tags":
        pairs = zip(found, data.y_test, strict=True)
        return {"accuracy": float(np.mean([str(a) == str(b) for a, b in pairs]))}
    from elman.evaluate.entities import entity_metrics

    flat = [
        (a, b) for p, t in zip(found, data.y_test, strict=True) for a, b in zip(p, t, strict=True)
    ]
    return {
        "accuracy": float(np.mean([a == b for a, b in flat])),
        "entity F1": entity_metrics(data.y_test, found).f1,
    }


def in_process(
    open_set: OpenSet, contender: str, seed: int, folder: Path, limit: float
) -> dict[str, Any]:
    """The same in a process of its own, which is stopped after `limit` seconds."""
    command = [sys.executable, str(HERE / "accuracy.py"), "--one", open_set.name, contender]
    command += [str(seed), "--data", str(folder)]
    environment = {**os.environ, "KERAS_BACKEND": "torch", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return {"cannot": f"not done after {limit:g} s"}
    if done.returncode:
        return {"cannot": (done.stderr.strip().splitlines() or ["ended without a word"])[-1][:120]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(
    sets: list[OpenSet], contenders: list[str], seeds: int, folder: Path, limit: float
) -> Iterator[str]:
    """The lines of the table, as they are measured."""
    yield "| set | contender | figure | mean | seeds | asked | seconds (median) |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for open_set in sets:
        for contender in contenders:
            runs: list[dict[str, Any]] = []
            for seed in range(seeds):
                runs.append(in_process(open_set, contender, seed, folder, limit))
                if "seconds" not in runs[-1]:
                    break
            stopped = next((r for r in runs if "seconds" not in r), None)
            if stopped:
                why = stopped.get("absent") or stopped["cannot"]
                yield f"| {open_set.name} | {contender} | {why} | | | | |"
                continue
            for name, asked in open_set.asked.items():
                values = [run[name] for run in runs]
                mean = float(np.mean(values))
                told = ""
                if contender == "elman":
                    met = "met" if mean >= asked else f"missed by {asked - mean:.4f}"
                    told = f"{asked:g}: {met}"
                each = " ".join(f"{v:.4f}" for v in values)
                seconds = f"{np.median([run['seconds'] for run in runs]):.1f}"
                head = f"| {open_set.name} | {contender} | {name} | {mean:.4f} "
                yield head + f"| {each} | {told} | {seconds} |"


def versions() -> str:
    """Of what takes part and is installed."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join([*found, f"Python {platform.python_version()}"])


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [s.name for s in SETS]
    parser.add_argument("--sets", nargs="+", choices=names, default=names)
    known = list(CONTENDERS)
    parser.add_argument("--contenders", nargs="+", choices=known, default=known)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds a run")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--one", nargs=3, metavar=("SET", "CONTENDER", "SEED"), help="one, as JSON")
    given = parser.parse_args()
    by_name = {s.name: s for s in SETS}
    if given.one:
        name, contender, seed = given.one
        print(json.dumps(measure(by_name[name], contender, int(seed), given.data)))
        return
    chosen = [by_name[name] for name in given.sets]
    lines = []
    for line in rows(chosen, given.contenders, given.seeds, given.data, given.limit):
        print(line, flush=True)
        lines.append(line)
    if given.sets == names and given.seeds >= SEEDS:
        today = datetime.datetime.now().astimezone().date().isoformat()
        command = " ".join(["python benchmarks/accuracy.py", *sys.argv[1:]])
        method = "Every run " + " ".join((__doc__ or "").split("Every run")[1].split())
        head = [
            f"# Accuracy, {today}",
            "",
            f"Versions: {versions()}.",
            f"Hardware: {os.cpu_count()} processors, {platform.system()} {platform.machine()}.",
            f"Command: `{command}`. {method}",
            "",
        ]
        path = HERE / "results" / f"accuracy_{today}.md"
        path.write_text("\n".join([*head, *lines, ""]), encoding="utf-8")
        print(f"\n{path}")


if __name__ == "__main__":
    main()
