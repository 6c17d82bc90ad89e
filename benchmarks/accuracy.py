"""Accuracy of elman's defaults on open data, beside other libraries at theirs.

    python benchmarks/accuracy.py                              everything: hours
    python benchmarks/accuracy.py --contenders elman           elman alone, about 20 minutes
    python benchmarks/accuracy.py --sets BasicMotions --seeds 1

Every run is a process of its own, one after the other, on all processors but elman's own default of
one thread, and ends after --limit seconds. The test splits are the official ones, and no setting
was chosen on them.
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
from peers.contenders import CONTENDERS, CannotError, predict
from peers.sets import SETS, AbsentError, Data, OpenSet

HERE = Path(__file__).parent
SEEDS = 5
PACKAGES = ("elman", "torch", "keras", "tensorflow-cpu", "sktime", "aeon", "scikit-learn")


def measure(open_set: OpenSet, contender: str, seed: int, folder: Path) -> dict[str, Any]:
    """Run once in this process: metrics and seconds, or why there are none."""
    try:
        data = open_set.load(folder, seed)
    except AbsentError as error:
        return {"absent": str(error)}
    try:
        predictions, seconds = predict(contender, data, seed)
    except CannotError as error:
        return {"cannot": str(error)}
    except ModuleNotFoundError as error:
        return {"cannot": f"needs {error.name or str(error)[:100]}"}
    return {"seconds": seconds, **metrics_of(data, predictions)}


def metrics_of(data: Data, predictions: list[Any]) -> dict[str, float]:
    """Accuracy over sequences or steps, and for tags entity F1."""
    if data.kind != "tags":
        pairs = zip(predictions, data.y_test, strict=True)
        return {"accuracy": float(np.mean([str(a) == str(b) for a, b in pairs]))}
    from elman.evaluate.entities import entity_metrics

    flat = [
        (a, b)
        for predicted, true in zip(predictions, data.y_test, strict=True)
        for a, b in zip(predicted, true, strict=True)
    ]
    return {
        "accuracy": float(np.mean([a == b for a, b in flat])),
        "entity F1": entity_metrics(data.y_test, predictions).f1,
    }


def measure_in_process(
    open_set: OpenSet, contender: str, seed: int, folder: Path, limit: float
) -> dict[str, Any]:
    """The same in a new process, which is stopped after `limit` seconds."""
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
        return {
            "cannot": (done.stderr.strip().splitlines() or ["ended without a message"])[-1][:120]
        }
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def table_lines(
    sets: list[OpenSet], contenders: list[str], seeds: int, folder: Path, limit: float
) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    yield "| set | contender | metric | mean | seeds | target | seconds (median) |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for open_set in sets:
        for contender in contenders:
            runs: list[dict[str, Any]] = []
            for seed in range(seeds):
                runs.append(measure_in_process(open_set, contender, seed, folder, limit))
                if "seconds" not in runs[-1]:
                    break
            stopped = next((r for r in runs if "seconds" not in r), None)
            if stopped:
                why = stopped.get("absent") or stopped["cannot"]
                yield f"| {open_set.name} | {contender} | {why} | | | | |"
                continue
            for name, target in open_set.targets.items():
                values = [run[name] for run in runs]
                mean = float(np.mean(values))
                verdict = ""
                if contender == "elman":
                    met = "met" if mean >= target else f"missed by {target - mean:.4f}"
                    verdict = f"{target:g}: {met}"
                each = " ".join(f"{v:.4f}" for v in values)
                seconds = f"{np.median([run['seconds'] for run in runs]):.1f}"
                head = f"| {open_set.name} | {contender} | {name} | {mean:.4f} "
                yield head + f"| {each} | {verdict} | {seconds} |"


def versions() -> str:
    """Versions of the packages that are installed."""
    installed = []
    for name in PACKAGES:
        try:
            installed.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join([*installed, f"Python {platform.python_version()}"])


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [s.name for s in SETS]
    parser.add_argument("--sets", nargs="+", choices=names, default=names)
    contenders = list(CONTENDERS)
    parser.add_argument("--contenders", nargs="+", choices=contenders, default=contenders)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds a run")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--one", nargs=3, metavar=("SET", "CONTENDER", "SEED"), help="one, as JSON")
    args = parser.parse_args()
    by_name = {s.name: s for s in SETS}
    if args.one:
        name, contender, seed = args.one
        print(json.dumps(measure(by_name[name], contender, int(seed), args.data)))
        return
    chosen = [by_name[name] for name in args.sets]
    lines = []
    for line in table_lines(chosen, args.contenders, args.seeds, args.data, args.limit):
        print(line, flush=True)
        lines.append(line)
    if args.sets == names and args.seeds >= SEEDS:
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
