"""The speed of elman beside torch.nn and jitted JAX, and its memory beside torch.nn.

    python benchmarks/bench.py                          everything, about 20 minutes on two cores
    python benchmarks/bench.py --rows step --cells gru  some
    python benchmarks/bench.py --smoke                  tiny shapes: does everything run?
    python benchmarks/bench.py --readme                 README's table from the newest result

Writes Markdown tables to the terminal and, if everything was measured, to
benchmarks/results/speed_<date>.md. JAX takes part if it is installed.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from speed import memory, worker
from speed.report import number, readme_table, report, with_readme_table
from speed.rows import CELLS, KINDS, PEERS, Row, Shape, Task, tasks
from speed.timing import FEWEST_BLOCKS, MOST_BLOCKS

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"
SECONDS = 4.0
PATIENCE = 300.0
METHOD = f"""\
Each row's contenders take turns in one process, A B C, C B A, ..., for SECONDS s, at least
{FEWEST_BLOCKS} and at most {MOST_BLOCKS} turns; a ratio is taken within each turn, the peer's time
over elman's. Times are of one call: median (10th to 90th percentile). One thread means one
processor, to which the process is bound, and times of that processor, which leave out what other
processes took; the clock's times stand beside them. With more threads, times are the clock's.
"Others" is how many processors other processes kept busy meanwhile. Before a row is timed, outputs,
states and gradients of elman and JAX must be torch's to 1e-4 of the largest value, and the losses
of the first five training steps to 1e-3; a row that fails has no figures.

float32, one layer, one direction. Layer: gradient of all outputs given, input without gradient,
gradients set to None before. Training step: last state, linear layer of 2 classes, cross-entropy,
backward, gradient norm clipped at 1, AdamW with decay 0.3 of the matrices. elman takes it as
`elman.train` does, with its checks and its tally of loss and accuracy; torch as a plain loop with
AdamW(fused=True), time-major input and the state from h_n; JAX in one jitted call of lax.scan with
donated buffers, the input's product before or inside the scan, whichever is faster, dispatched
synchronously. Making the batch is left out for all. Inference step by step: T calls of one step.
Memory: three training steps in a fresh process, peak above what was held before the network was
built; three processes each."""


def processors() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shapes(text: str) -> list[Shape]:
    found = []
    for word in text.split(","):
        sizes = word.split("x")
        if len(sizes) != 4 or not all(s.isdecimal() and int(s) > 0 for s in sizes):
            raise argparse.ArgumentTypeError(f"{word!r}: expected BxTxIxH, as 32x20x16x32")
        found.append(Shape(*map(int, sizes)))
    return found


def some_of(choices: Sequence[str]):
    def words(text: str) -> list[str]:
        found = text.split(",")
        for word in found:
            if word not in choices:
                raise argparse.ArgumentTypeError(
                    f"{word!r}: expected one or more of {', '.join(choices)}"
                )
        return [choice for choice in choices if choice in found]

    return words


def thread_counts(text: str) -> list[int]:
    found = []
    for word in text.split(","):
        if word != "all" and not (word.isdecimal() and 1 <= int(word) <= processors()):
            raise argparse.ArgumentTypeError(f"{word!r}: expected 1 to {processors()}, or all")
        found.append(processors() if word == "all" else int(word))
    return sorted(set(found))


def duration(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, 0 or more")
    return value


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=some_of(KINDS), default=list(KINDS), help=f"of {','.join(KINDS)}"
    )
    parser.add_argument(
        "--cells", type=some_of(list(CELLS)), default=list(CELLS), help=f"of {','.join(CELLS)}"
    )
    parser.add_argument("--shapes", type=shapes, help="as 32x20x16x32,1x200x8x64: B, T, I, H")
    parser.add_argument("--threads", type=thread_counts, help="as 1,all [default]")
    parser.add_argument("--seconds", type=duration, help=f"a row [default: {SECONDS:g}]")
    parser.add_argument(
        "--wait",
        type=duration,
        help="seconds, all in all, to wait for other processes to leave the machine alone, for "
        f"each number of threads [default: {PATIENCE:g}]",
    )
    parser.add_argument("--out", type=Path, help="file to write, instead of the dated one")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, fractions of a second")
    parser.add_argument(
        "--readme", action="store_true", help="measure nothing; bring README's table up to date"
    )
    return parser.parse_args(given)


def measured(
    work: Sequence[Task], seconds: float, patience: float, processes: int
) -> Iterator[Row]:
    """Rows as they come; the timed ones of one number of threads from one process.

    A row in which that process ends has failed, and another goes on with the next.
    """
    for threads in dict.fromkeys(task.threads for task in work):
        own = [task for task in work if task.threads == threads]
        timed = [task for task in own if task.kind != "memory"]
        while timed:
            for row in worker.answers(worker.run_pass, timed, seconds, patience):
                yield row
                timed = timed[1:]
            if timed:
                yield Row(timed[0], failed="the process ended early")
                timed = timed[1:]
        yield from (memory.measure_row(task, processes) for task in own if task.kind == "memory")


def told(row: Row) -> str:
    """A row in one line."""
    if row.failed:
        return f"{row.task}: FAILED: {row.failed}"
    unit = "MiB" if row.task.kind == "memory" else "ms"
    parts = [f"elman {number(row.figures['elman'].median)} {unit}"]
    parts += [
        f"{PEERS[peer]} {number(row.figures[peer].median)} ({number(ratio.median)}x)"
        for peer, ratio in row.ratios.items()
    ]
    return f"{row.task}: {', '.join(parts)}"


def processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def heading(started: Sequence[float], took: float, seconds: float) -> list[str]:
    """Title, versions, hardware, command and method of a result file.

    Args:
        started: load averages of the machine before the first row.
        took: seconds, all rows.
        seconds: given to a row.
    """
    import torch
    from speed.contenders import elman_gradients

    from elman import _core

    today = datetime.date.today().isoformat()
    names = ["elman", "torch", "numpy", *(["jax", "jaxlib"] if worker.has_jax() else [])]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    load = ", ".join(f"{value:.1f}" for value in started)
    return [
        f"# Speed, {today}",
        "",
        f"Versions: {versions}, Python {platform.python_version()}.",
        f"Hardware: {processor_name()}, {processors()} processors, {platform.system()} "
        f"{platform.machine()}; elman's kernels {_core.isa()}, torch's "
        f"{torch.backends.cpu.get_cpu_capability()}.",
        f"Command: `{' '.join(['python benchmarks/bench.py', *sys.argv[1:]])}`, "
        f"{took / 60:.0f} min. Load average at the start {load} "
        f"(1, 5, 15 minutes), at the end {os.getloadavg()[0]:.1f}; before and after each row, in "
        "column 'load' (1 minute, this benchmark's own included).",
        f"elman's training step: {elman_gradients()}.",
        "",
        *METHOD.replace("SECONDS", f"{seconds:g}").splitlines(),
    ]


def newest() -> Path | None:
    """The newest result file."""
    return max(RESULTS.glob("speed_*.md"), default=None)


def readme_from(result: Path, readme: str) -> str:
    """README's text with the table of a result file."""
    block = readme_table(result.read_text(encoding="utf-8"), str(result.relative_to(ROOT)))
    return with_readme_table(readme, block)


def update_readme() -> None:
    result, readme = newest(), ROOT / "README.md"
    if result is None:
        raise SystemExit(f"no speed_<date>.md in {RESULTS}: run the benchmark first")
    try:
        text = readme_from(result, readme.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SystemExit(str(error)) from None
    readme.write_text(text, encoding="utf-8")


def main() -> None:
    args = arguments()
    if args.readme:
        update_readme()
        return
    threads = args.threads or ([1] if args.smoke else thread_counts("1,all"))
    standard = (0.01, 0.0) if args.smoke else (SECONDS, PATIENCE)
    processes = 1 if args.smoke else memory.PROCESSES
    seconds = standard[0] if args.seconds is None else args.seconds
    patience = standard[1] if args.wait is None else args.wait
    work = tasks(args.rows, args.cells, threads, args.shapes, smoke=args.smoke)
    load, started = os.getloadavg(), time.perf_counter()
    rows = []
    for row in measured(work, seconds, patience, processes):
        rows.append(row)
        print(f"{time.perf_counter() - started:5.0f} s  {told(row)}", flush=True)
    text = report(rows, heading(load, time.perf_counter() - started, seconds))
    print("\n" + text)
    out = args.out
    if out is None and work == tasks(KINDS, list(CELLS), thread_counts("1,all")):
        out = RESULTS / f"speed_{datetime.date.today().isoformat()}.md"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    if any(row.failed for row in rows):
        raise SystemExit("some rows failed")


if __name__ == "__main__":
    main()
