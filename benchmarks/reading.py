"""Reading tables: elman beside pandas, pyarrow and polars, in time and in memory.

    python benchmarks/reading.py                # both tables; writes results/reading_DATE.md
    python benchmarks/reading.py --rows 100000  # smaller ones, printed only

Two tables are written: `wide`, a row for each sequence, a label and eight numbers; and `long`, a
row for each of the 100 steps of a sequence, with its id, time, three channels and label. Every
contender reads a file and brings it into sequences: an array of eight steps for each row of `wide`,
and the rows of each id together for `long`. elman also finds out which column is what, and checks
every cell.

All contenders run in turn in one process, and their answers are compared before they are timed.
Medians of wall time and of processor time (all threads together) are given, as other programs may
run beside. Memory is the peak of a process of its own above what it needs after its imports, with
the system's allocator counted in, beside the size of the table's numbers as float64.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
STEPS = 100  # of a sequence of `long`
CHANNELS = [f"x{k}" for k in range(1, 9)]
COLUMNS = {"wide": 9, "long": 5}  # of numbers


def write_tables(folder: Path, rows: int) -> dict[str, Path]:
    """Write `wide` of that many rows and `long` of twice as many; return their paths."""
    import pyarrow as pa
    import pyarrow.csv

    rng = np.random.default_rng(0)
    wide: dict[str, Any] = {"label": rng.integers(0, 5, rows)}
    wide |= {name: np.round(rng.normal(size=rows), 4) for name in CHANNELS}
    count = max(2, 2 * rows // STEPS)
    long: dict[str, Any] = {
        "id": np.repeat(np.arange(count), STEPS),
        "time": np.tile(np.arange(STEPS), count),
    }
    long |= {name: np.round(rng.normal(size=count * STEPS), 4) for name in CHANNELS[:3]}
    labels = np.array(["rest", "walk", "run"])[rng.integers(0, 3, count)]
    long["label"] = np.repeat(labels, STEPS)
    paths = {}
    for name, columns in (("wide", wide), ("long", long)):
        paths[name] = folder / f"{name}.csv"
        style = pa.csv.WriteOptions(quoting_style="none")
        pa.csv.write_csv(pa.table(columns), paths[name], style)
    return paths


def with_elman(table: str, path: Path) -> tuple[int, float]:
    """Read with elman; return the number of sequences and the sum of their values."""
    from elman.data import read

    data = read(path)
    return len(data), float(data.inputs.values.sum())


def with_pyarrow(table: str, path: Path) -> tuple[int, float]:
    """Read with pyarrow's reader of CSV, and group with its `group_by`."""
    import pyarrow.csv

    read = pyarrow.csv.read_csv(path)
    if table == "wide":
        values = np.column_stack([read[name].to_numpy() for name in CHANNELS])
        return len(values), float(values.sum())
    lists = [(name, "list") for name in CHANNELS[:3]]
    groups = read.group_by("id").aggregate([*lists, ("label", "one")])
    values = [groups[f"{name}_list"].combine_chunks().values.to_numpy() for name in CHANNELS[:3]]
    return len(groups), float(np.column_stack(values).sum())


def with_pandas(table: str, path: Path) -> tuple[int, float]:
    """Read with pandas, and group with its `groupby`."""
    import pandas as pd

    read = pd.read_csv(path)
    if table == "wide":
        values = read[CHANNELS].to_numpy()
        return len(values), float(values.sum())
    groups = [own.to_numpy() for _, own in read.groupby("id", sort=False)[CHANNELS[:3]]]
    return len(groups), float(sum(own.sum() for own in groups))


def with_polars(table: str, path: Path) -> tuple[int, float]:
    """Read with polars, and group with its `group_by`."""
    import polars as pl

    read = pl.read_csv(path)
    if table == "wide":
        values = read.select(CHANNELS).to_numpy()
        return len(values), float(values.sum())
    groups = read.group_by("id", maintain_order=True).agg(*CHANNELS[:3], pl.first("label"))
    return len(groups), float(sum(groups[name].explode().sum() for name in CHANNELS[:3]))


CONTENDERS: dict[str, Callable[[str, Path], tuple[int, float]]] = {
    "elman": with_elman,
    "pyarrow": with_pyarrow,
    "pandas": with_pandas,
    "polars": with_polars,
}


def measure_times(
    paths: dict[str, Path], rounds: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the median wall and processor seconds of each contender on each table."""
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for table, path in paths.items():
        answers = {name: contender(table, path) for name, contender in CONTENDERS.items()}
        count, total = answers["pyarrow"]
        for name, answer in answers.items():
            if answer[0] != count or not np.isclose(answer[1], total):
                raise SystemExit(f"{name} reads {answer} from {table}, pyarrow {count, total}")
        for _ in range(rounds):
            for name, contender in CONTENDERS.items():
                wall, own = time.perf_counter(), time.process_time()
                contender(table, path)
                spent = time.perf_counter() - wall, time.process_time() - own
                times.setdefault((table, name), []).append(spent)
    return {
        key: (statistics.median(a for a, _ in own), statistics.median(b for _, b in own))
        for key, own in times.items()
    }


def memory_of(line: str) -> float:
    """Return a line of this process's status in MB: `VmRSS`, now, or `VmHWM`, the peak."""
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(line):
            return int(text.split()[1]) / 1024
    raise SystemExit("memory is measured on Linux only")


def measure_peak(table: str, name: str, path: Path) -> float:
    """Return the peak of a process that reads once, in MB above what its imports need."""
    command = [sys.executable, __file__, "--once", table, name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_peak(table: str, name: str, path: Path) -> None:
    """Read once in this process and print how far its memory rose."""
    small = write_tables(Path(tempfile.mkdtemp()), 200)
    CONTENDERS[name](table, small[table])  # imports what it needs
    before = memory_of("VmRSS")
    CONTENDERS[name](table, path)
    print(max(0.0, memory_of("VmHWM") - before))


def measure_command(path: Path) -> tuple[float, float]:
    """Return wall and processor seconds of `elman data` on a file."""
    wall, before = time.perf_counter(), os.times()
    command = [sys.executable, "-m", "elman", "data", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    own = after.children_user + after.children_system
    own -= before.children_user + before.children_system
    return time.perf_counter() - wall, own


def measure_growth(folder: Path, counts: list[tuple[int, int]]) -> list[tuple[int, int, float]]:
    """Return processor seconds of reading and describing tables of rows by columns of numbers."""
    from elman.data import read
    from elman.data.profile import summarize

    found = []
    for rows, columns in counts:
        path = folder / "grown.csv"
        rng = np.random.default_rng(0)
        with path.open("w") as file:
            file.write(",".join(["label", *(f"t{k}" for k in range(columns))]) + "\n")
            for first in range(0, rows, 100):
                numbers = (rng.integers(0, 10**6, (min(100, rows - first), columns)) / 1000).astype(
                    str
                )
                file.writelines(f"{'ab'[k % 2]},{','.join(row)}\n" for k, row in enumerate(numbers))
        before = time.process_time()
        summarize(read(path))
        found.append((rows, columns, time.process_time() - before))
    return found


def report(folder: Path, rows: int, rounds: int, grown: list[tuple[int, int]]) -> str:
    """Measure everything and return the page of results."""
    paths = write_tables(folder, rows)
    times = measure_times(paths, rounds)
    peaks = {key: measure_peak(*key, paths[key[0]]) for key in times}
    names = ("elman", "numpy", "pyarrow", "pandas", "polars")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    lines = [
        f"# Reading tables, {datetime.date.today()}",
        "",
        f"{platform.machine()}, {os.cpu_count()} processors; load before"
        f" {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {versions}.",
        f"`python benchmarks/reading.py --rows {rows} --rounds {rounds}`: medians over the rounds"
        " in one process, in which all contenders take turns.",
    ]
    for table, path in paths.items():
        count = rows if table == "wide" else max(2, 2 * rows // STEPS) * STEPS
        size = count * COLUMNS[table] * 8 / 2**20
        lines += [
            "",
            f"## {table}: {count:,} rows, {path.stat().st_size / 2**20:.0f} MB, its numbers"
            f" {size:.0f} MB",
            "",
            "| | wall s | processor s | to pyarrow, wall | to pyarrow, processor | peak MB"
            " | to the numbers |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        wall, own = times[table, "pyarrow"]
        for name in CONTENDERS:
            a, b = times[table, name]
            peak = peaks[table, name]
            lines.append(
                f"| {name} | {a:.2f} | {b:.2f} | {a / wall:.2f} | {b / own:.2f} | {peak:.0f}"
                f" | {peak / size:.1f} |"
            )
    print("\n".join(lines), file=sys.stderr)  # the rest takes minutes
    a, b = measure_command(paths["long"])
    lines += ["", f"`elman data` on `long`: {a:.1f} s, {b:.1f} s of the processor."]
    lines += ["", "## Growth: read and described", "", "| rows | columns | processor s |"]
    lines += ["| --- | --- | --- |"]
    lines += [f"| {a:,} | {b:,} | {c:.2f} |" for a, b, c in measure_growth(folder, grown)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and store the page if the tables have their full size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of `wide`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", nargs=3, metavar=("TABLE", "NAME", "PATH"), help="used inside")
    arguments = parser.parse_args()
    if arguments.once:
        table, name, path = arguments.once
        print_peak(table, name, Path(path))
        return
    whole = arguments.rows >= 1_000_000
    grown = [(20, 100), (20, 1000)]
    if whole:
        grown = [(100, 1000), (100, 10_000), (100, 99_999)]
        grown += [(250_000, 9), (500_000, 9), (1_000_000, 9), (2_000_000, 9)]
    with tempfile.TemporaryDirectory() as folder:
        page = report(Path(folder), arguments.rows, arguments.rounds, grown)
    print(page)
    if whole:
        (HERE / "results" / f"reading_{datetime.date.today()}.md").write_text(page)


if __name__ == "__main__":
    main()
