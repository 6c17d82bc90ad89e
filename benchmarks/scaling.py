"""What work costs as it grows: time and peak memory against five sizes, with fitted exponents.

    python benchmarks/scaling.py           # every point; writes results/scaling_DATE.md
    python benchmarks/scaling.py --quick   # small sizes, printed only
    python benchmarks/scaling.py --only sequences,classes

One size grows and the others stay as in `BASE`. Each point is measured in a process of its own:
processor time (all threads together), because other programs may run beside, and the peak of the
memory above what was in use before the operation. Points are kept in `--points FILE` as they
come, so that a run that was cut off goes on where it was; remove the file to measure again.

Operations: `read` a file; `train`, for each step of 32 sequences; `predict` and `evaluate` all
sequences, with baselines and intervals; `explain` one sequence (trace, gradient through time,
integrated gradients) and let the doctor examine the network; and `run`, what `elman train` does
besides training: reading, evaluation, predictions.csv, figures, diagnostics, pages.

The exponent e is that of a + b size^e, a and b at least 0, fitted to all points by relative least
squares: a is what an operation costs whatever the size. `flat` means that the largest value is less
than 1.5 times the smallest.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
LIMIT = 600  # seconds of a point; one that takes longer is listed as such
FEWEST_POINTS = 3  # for a fit
LEAST_GROWTH = 1.5  # from the smallest value to the largest, for a fit
TRAINED = 4000  # sequences that a network is trained on before it predicts or is explained


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a data set and of a network."""

    sequences: int = 1000
    length: int = 10
    channels: int = 1
    classes: int = 2
    units: int = 16


BASE = {
    "sequences": Size(),
    "length": Size(sequences=4),
    "channels": Size(sequences=500),
    "classes": Size(sequences=10_000),
    "units": Size(),
}
SIZES = {
    "sequences": (1_000, 10_000, 100_000, 1_000_000),
    "length": (10, 100, 1_000, 10_000, 100_000, 1_000_000),
    "channels": (1, 10, 100, 1_000),
    "classes": (2, 10, 100, 1_000),
    "units": (16, 64, 256, 1_024),
}
QUICK = {
    "sequences": (50, 100, 200),
    "length": (5, 10, 20),
    "channels": (1, 2, 4),
    "classes": (2, 4, 8),
    "units": (4, 8, 16),
}


def make_arrays(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Return values, (n, T, C), and class codes, (n,), that they tell in part."""
    rng = np.random.default_rng(0)
    shape = size.sequences, size.length, size.channels
    y = np.arange(size.sequences) % size.classes
    x = rng.normal(size=shape)
    x[..., 0] += (y % 7)[:, None]
    return x, y


def write_table(path: Path, size: Size) -> None:
    """Write a row for each sequence of one short channel, else a row for each step."""
    import pyarrow as pa
    import pyarrow.csv

    x, y = make_arrays(size)
    x = x.round(4)
    labels = np.char.add("class ", y.astype(str))
    if size.channels == 1 and size.length <= 100:
        columns = {f"t{k + 1}": x[:, k, 0] for k in range(size.length)} | {"label": labels}
    else:
        columns = {"id": np.repeat(np.arange(len(y)), size.length)}
        columns["time"] = np.tile(np.arange(size.length), len(y))
        columns |= {f"x{k + 1}": x[..., k].ravel() for k in range(size.channels)}
        columns["label"] = np.repeat(labels, size.length)
    style = pa.csv.WriteOptions(quoting_style="none")
    pa.csv.write_csv(pa.table(columns), path, style)


class Meter:
    """Processor seconds of `with meter:`, and the peak of memory above that before it, in MB."""

    def __enter__(self) -> Meter:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self.before = memory_of("VmRSS")
        self.start = time.process_time()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds = time.process_time() - self.start
        self.megabytes = max(0.0, memory_of("VmHWM") - self.before)


def memory_of(line: str) -> float:
    """Return a line of this process's status in MB: `VmRSS`, now, or `VmHWM`, the peak."""
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(line):
            return int(text.split()[1]) / 1024
    raise SystemExit("memory is measured on Linux only")


def make_estimator(size: Size) -> Any:
    """Return an estimator of one layer in one direction, for one epoch of batches of 32."""
    from elman import SequenceClassifier

    return SequenceClassifier(
        cell="gru",
        hidden_size=size.units,
        num_layers=1,
        bidirectional=False,
        epochs=1,
        batch_size=32,
        validation=0,
        random_state=0,
    )


def fit(size: Size) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return an estimator that was trained on some sequences, and all sequences."""
    x, y = make_arrays(size)
    part = min(len(y), max(TRAINED, 2 * size.classes))
    return make_estimator(size).fit(x[:part], y[:part]), x, y


def measure_read(size: Size, folder: Path) -> dict[str, float]:
    """Read a table."""
    from elman.data import read

    write_table(folder / "small.csv", dataclasses.replace(size, sequences=size.classes, length=5))
    write_table(folder / "table.csv", size)
    read(folder / "small.csv")  # imports what it needs
    with Meter() as meter:
        read(folder / "table.csv")
    return {"seconds": meter.seconds, "megabytes": meter.megabytes}


def measure_train(size: Size, folder: Path) -> dict[str, float]:
    """Train for one epoch."""
    x, y = make_arrays(size)
    estimator = make_estimator(size)
    prepared = estimator.prepare(x, y, seed=0)
    del x
    small = dataclasses.replace(size, sequences=max(32, size.classes), length=5)
    make_estimator(small).fit(*make_arrays(small))
    with Meter() as meter:
        estimator.fit_prepared(prepared)
    steps = -(-size.sequences // 32)
    return {"seconds": meter.seconds / steps, "megabytes": meter.megabytes}


def measure_predict(size: Size, folder: Path) -> dict[str, float]:
    """Predict every sequence."""
    estimator, x, _ = fit(size)
    estimator.predict(x[:4])
    with Meter() as meter:
        estimator.predict(x)
    return {"seconds": meter.seconds, "megabytes": meter.megabytes}


def measure_evaluate(size: Size, folder: Path) -> dict[str, float]:
    """Evaluate every sequence, with baselines and bootstrap intervals."""
    estimator, x, y = fit(size)
    with Meter() as meter:
        str(estimator.evaluate(x, y))
    return {"seconds": meter.seconds, "megabytes": meter.megabytes}


def measure_explain(size: Size, folder: Path) -> dict[str, float]:
    """Explain one sequence, and let the doctor examine the network."""
    from elman.explain import attribute, bptt, doctor, trace

    estimator, x, y = fit(size)
    with Meter() as meter:
        trace(estimator, x[0], y[0])
        bptt(estimator, x[0], y[0])
        attribute(estimator, x[0])
        doctor(estimator, x, y)
    return {"seconds": meter.seconds, "megabytes": meter.megabytes}


def measure_run(size: Size, folder: Path) -> dict[str, float]:
    """Do everything that `elman train` does, and take off the training itself."""
    from elman.runs.config import merge
    from elman.runs.experiment import run

    spent = [0.0]
    watch_training(spent)
    training = {"epochs": 2, "batch_size": 32}
    model = {"cell": "gru", "hidden_size": size.units, "num_layers": 1, "bidirectional": False}
    for name, each in (("small", dataclasses.replace(size, sequences=40, classes=2)), ("t", size)):
        write_table(folder / f"{name}.csv", each)
        data = {"data": str(folder / f"{name}.csv"), "validation": 0}
        settings = merge({"data": data, "model": model, "training": training})
        spent[0] = 0.0
        with Meter() as meter, contextlib.redirect_stdout(io.StringIO()):
            run(settings, out=folder / f"run {name}", verbose=0)
    return {"seconds": meter.seconds - spent[0], "megabytes": meter.megabytes}


def watch_training(spent: list[float]) -> None:
    """Add the processor seconds of every training to `spent[0]`."""
    from elman.estimators import base

    train = base.train

    def timed(*arguments: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return train(*arguments, **named)
        finally:
            spent[0] += time.process_time() - start

    base.train = timed


OPERATIONS: dict[str, Callable[[Size, Path], dict[str, float]]] = {
    "read": measure_read,
    "train": measure_train,
    "predict": measure_predict,
    "evaluate": measure_evaluate,
    "explain": measure_explain,
    "run": measure_run,
}


def measure(axis: str, operation: str, value: int) -> dict[str, Any]:
    """Measure a point in a process of its own."""
    command = [sys.executable, __file__, "--point", axis, operation, str(value)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {LIMIT} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"failed": lines[-1][:200] if lines else f"ended with code {done.returncode}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def points(quick: bool, axes: list[str]) -> Iterator[tuple[str, str, int]]:
    """Yield axis, operation and size of every point, the small ones first."""
    sizes = QUICK if quick else SIZES
    for axis in axes:
        for value in sizes[axis]:
            for operation in OPERATIONS:
                yield axis, operation, value


def fit_exponent(sizes: list[float], values: list[float]) -> tuple[float, float] | None:
    """Return the exponent of a + b size^e, and the share of a in the smallest; None if few."""
    from scipy.optimize import nnls

    if len(sizes) < FEWEST_POINTS or min(values) <= 0:
        return None
    x, y = np.array(sizes) / max(sizes), np.array(values)
    best: tuple[float, float, float] | None = None
    for exponent in np.arange(0.02, 3.01, 0.02):
        terms = np.column_stack([np.ones_like(x), x**exponent])
        factors, off = nnls(terms / y[:, None], np.ones_like(y))
        if best is None or off < best[0] - 1e-9:
            best = off, float(exponent), float(min(1.0, factors[0] / y[0]))
    assert best is not None
    return best[1], best[2]


def table(axis: str, found: dict[str, dict[str, Any]], key: str, title: str) -> list[str]:
    """Return one table: a row for each operation, a column for each size, and the exponent."""
    sizes = sorted({int(name.split()[2]) for name in found if name.split()[0] == axis})
    lines = [
        f"| {title} | " + " | ".join(f"{size:,}" for size in sizes) + " | exponent |",
        "| --- |" + " --- |" * (len(sizes) + 1),
    ]
    for operation in OPERATIONS:
        own = [(s, found.get(f"{axis} {operation} {s}", {})) for s in sizes]
        done = [(s, float(point[key])) for s, point in own if key in point]
        fitted = fit_exponent([s for s, _ in done], [max(v, 1e-6) for _, v in done])
        cells = [shortest(float(p[key])) if key in p else "failed" for _, p in own]
        exponent = "" if fitted is None else f"{fitted[0]:.2f}"
        if fitted is not None and max(v for _, v in done) < LEAST_GROWTH * min(v for _, v in done):
            exponent = "flat"  # an exponent of such points would be one of chance
        lines.append(f"| {operation} | " + " | ".join(cells) + f" | {exponent} |")
    return lines


def shortest(number: float) -> str:
    """Return three digits of a number."""
    return f"{number:.3g}" if number < 1000 else f"{number:,.0f}"


def report(found: dict[str, dict[str, Any]], command: str) -> str:
    """Return the page of results."""
    import torch

    import elman

    lines = [
        f"# Cost as work grows, {datetime.date.today()}",
        "",
        f"{platform.machine()}, {os.cpu_count()} processors; Python {platform.python_version()}, "
        f"elman {elman.__version__}, torch {torch.__version__}, numpy {np.__version__}.",
        f"`{command}`",
        "",
        (__doc__ or "").partition("\n\n")[2].partition("\n\n")[2].strip(),
    ]
    for axis in SIZES:
        if not any(name.startswith(axis) for name in found):
            continue
        base = dataclasses.asdict(BASE[axis])
        del base[axis]
        lines += ["", f"## {axis}", "", ", ".join(f"{v:,} {k}" for k, v in base.items()), ""]
        lines += table(axis, found, "seconds", "processor s")
        lines += ["", *table(axis, found, "megabytes", "peak MB")]
        failed = [f"- {n}: {p['failed']}" for n, p in found.items() if "failed" in p]
        failed = [line for line in failed if line.startswith(f"- {axis} ")]
        lines += ["", *failed] if failed else []
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every point that the file of points lacks, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, printed only")
    parser.add_argument("--only", default=",".join(SIZES), help="sizes that grow")
    parser.add_argument("--points", type=Path, default=HERE / "results" / "scaling_points.jsonl")
    parser.add_argument("--point", nargs=3, help="used inside")
    arguments = parser.parse_args()
    if arguments.point:
        axis, operation, value = arguments.point
        size = dataclasses.replace(BASE[axis], **{axis: int(value)})
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(OPERATIONS[operation](size, Path(folder))))
        return
    axes = arguments.only.split(",")
    if unknown := set(axes) - set(SIZES):
        parser.error(f"--only: got {', '.join(sorted(unknown))}, expected {', '.join(SIZES)}")
    store = None if arguments.quick else arguments.points
    found: dict[str, dict[str, Any]] = {}
    if store is not None and store.exists():
        lines = store.read_text().splitlines()
        found = {point.pop("point"): point for point in map(json.loads, lines)}
    for axis, operation, value in points(arguments.quick, axes):
        name = f"{axis} {operation} {value}"
        if name in found:
            continue
        found[name] = measure(axis, operation, value)
        print(name, found[name], file=sys.stderr, flush=True)
        if store is not None:
            with store.open("a") as file:
                file.write(json.dumps({"point": name, **found[name]}) + "\n")
    page = report(found, " ".join(["python", "benchmarks/scaling.py", *sys.argv[1:]]))
    print(page)
    if not arguments.quick and axes == list(SIZES):
        (HERE / "results" / f"scaling_{datetime.date.today()}.md").write_text(page)


if __name__ == "__main__":
    main()
