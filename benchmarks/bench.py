"""The speed of elman beside torch.nn and jitted JAX, and its memory beside torch.nn.

    python benchmarks/bench.py                          everything, about 20 minutes on two cores
    python benchmarks/bench.py --rows step --cells gru  some
    python benchmarks/bench.py --smoke                  tiny shapes: does everything run?
    python benchmarks/bench.py --readme                 the tables of both READMEs from the results

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
from speed.readme import long_block, machine_of, other_machines, replace_block, short_block
from speed.report import number, report
from speed.rows import CELLS, KINDS, PEERS, Row, Shape, Task, tasks
from speed.timing import FEWEST_BLOCKS, MOST_BLOCKS
from speed.worker import PRODUCT_SIZE

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
"Others" is how many processors other processes kept busy meanwhile. A layer on one thread also
takes turns with torch's product of two float32 matrices of {PRODUCT_SIZE} rows and columns: "% of
SGEMM" is the layer's rate over that of the product, counting 2 G H (2 I + 3 H) operations a step
of a row. Before a row is timed, outputs, states and gradients of elman and JAX must be torch's to
1e-4 of the largest value, and the losses of the first five training steps to 1e-3; a row that fails
has no times.

float32, one layer, one direction. Layer: gradient of all outputs given, input without gradient,
gradients set to None before. Training step: last state, linear layer of 2 classes, cross-entropy,
backward, gradient norm clipped at 1, AdamW with decay 0.3 of the matrices. elman takes it as
`elman.train` does, with its checks and its running loss and accuracy; torch as a plain loop with
AdamW(fused=True), time-major input and the state from h_n; JAX in one jitted call of lax.scan with
donated buffers, the input's product before or inside the scan, whichever is faster, dispatched
synchronously. Making the batch is left out for all. Inference step by step: T calls of one step.
Memory: three training steps in a fresh process, peak above the memory in use before the network
was built; three processes each."""


def processors() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_shapes(text: str) -> list[Shape]:
    shapes = []
    for word in text.split(","):
        sizes = word.split("x")
        if len(sizes) != 4 or not all(s.isdecimal() and int(s) > 0 for s in sizes):
            raise argparse.ArgumentTypeError(f"{word!r}: expected BxTxIxH, as 32x20x16x32")
        shapes.append(Shape(*map(int, sizes)))
    return shapes


def subset_of(choices: Sequence[str]):
    def parse_words(text: str) -> list[str]:
        words = text.split(",")
        for word in words:
            if word not in choices:
                raise argparse.ArgumentTypeError(
                    f"{word!r}: expected one or more of {', '.join(choices)}"
                )
        return [choice for choice in choices if choice in words]

    return parse_words


def parse_threads(text: str) -> list[int]:
    counts = []
    for word in text.split(","):
        if word != "all" and not (word.isdecimal() and 1 <= int(word) <= processors()):
            raise argparse.ArgumentTypeError(f"{word!r}: expected 1 to {processors()}, or all")
        counts.append(processors() if word == "all" else int(word))
    return sorted(set(counts))


def parse_duration(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, 0 or more")
    return value


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=subset_of(KINDS), default=list(KINDS), help=f"of {','.join(KINDS)}"
    )
    parser.add_argument(
        "--cells", type=subset_of(list(CELLS)), default=list(CELLS), help=f"of {','.join(CELLS)}"
    )
    parser.add_argument("--shapes", type=parse_shapes, help="as 32x20x16x32,1x200x8x64: B, T, I, H")
    parser.add_argument("--threads", type=parse_threads, help="as 1,all [default]")
    parser.add_argument("--seconds", type=parse_duration, help=f"a row [default: {SECONDS:g}]")
    parser.add_argument(
        "--wait",
        type=parse_duration,
        help="seconds, all in all, to wait for other processes to leave the machine alone, for "
        f"each number of threads [default: {PATIENCE:g}]",
    )
    parser.add_argument("--out", type=Path, help="file to write, instead of the dated one")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, fractions of a second")
    parser.add_argument(
        "--readme",
        action="store_true",
        help="measure nothing; bring the tables of README.md and benchmarks/README.md up to date",
    )
    return parser.parse_args(argv)


def measure_rows(
    work: Sequence[Task], seconds: float, patience: float, processes: int
) -> Iterator[Row]:
    """Rows as they come; the timed ones of one number of threads from one process.

    A row in which that process ends has failed, and another goes on with the next.
    """
    for threads in dict.fromkeys(task.threads for task in work):
        tasks_here = [task for task in work if task.threads == threads]
        timed = [task for task in tasks_here if task.kind != "memory"]
        while timed:
            for row in worker.results_from(worker.run_pass, timed, seconds, patience):
                yield row
                timed = timed[1:]
            if timed:
                yield Row(timed[0], failed="the process ended early")
                timed = timed[1:]
        yield from (
            memory.measure_row(task, processes) for task in tasks_here if task.kind == "memory"
        )


def row_line(row: Row) -> str:
    """A row in one line."""
    if row.failed:
        return f"{row.task}: FAILED: {row.failed}"
    unit = "MiB" if row.task.kind == "memory" else "ms"
    parts = [f"elman {number(row.measures['elman'].median)} {unit}"]
    parts += [
        f"{PEERS[peer]} {number(row.measures[peer].median)} ({number(ratio.median)}x)"
        for peer, ratio in row.ratios.items()
    ]
    if row.share and row.sgemm:
        parts.append(
            f"{100 * row.share.median:.0f} % of SGEMM at {number(row.sgemm.median)} GFLOP/s"
        )
    return f"{row.task}: {', '.join(parts)}"


def processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def heading(load: Sequence[float], took: float, seconds: float) -> list[str]:
    """Title, versions, hardware, command and method of a result file.

    Args:
        load: averages of the machine before the first row.
        took: seconds, all rows.
        seconds: given to a row.
    """
    import torch
    from speed.contenders import elman_gradients

    from elman import _core

    today = datetime.date.today().isoformat()
    names = ["elman", "torch", "numpy", *(["jax", "jaxlib"] if worker.has_jax() else [])]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    averages = ", ".join(f"{value:.1f}" for value in load)
    return [
        f"# Speed, {today}",
        "",
        f"Versions: {versions}, Python {platform.python_version()}.",
        f"Hardware: {processor_name()}, {processors()} processors, {platform.system()} "
        f"{platform.machine()}; elman's kernels {_core.isa()}, torch's "
        f"{torch.backends.cpu.get_cpu_capability()}.",
        f"Command: `{' '.join(['python benchmarks/bench.py', *sys.argv[1:]])}`, "
        f"{took / 60:.0f} min. Load average at the start {averages} "
        f"(1, 5, 15 minutes), at the end {os.getloadavg()[0]:.1f}; before and after each row, in "
        "column 'load' (1 minute, this benchmark's own included).",
        f"elman's training step: {elman_gradients()}.",
        "",
        *METHOD.replace("SECONDS", f"{seconds:g}").splitlines(),
    ]


def newest_result() -> Path | None:
    """The newest result file."""
    return max(RESULTS.glob("speed_*.md"), default=None)


def updated_pages(result: Path) -> dict[Path, str]:
    """The two README pages with the tables of a result file and of the other machines."""
    text = result.read_text(encoding="utf-8")
    others = other_machines(RESULTS / "other_machines.toml")
    blocks = {
        ROOT / "README.md": short_block([machine_of(text), *others]),
        HERE / "README.md": long_block(text, str(result.relative_to(HERE)), others),
    }
    return {
        page: replace_block(page.read_text(encoding="utf-8"), block, str(page.relative_to(ROOT)))
        for page, block in blocks.items()
    }


def update_pages() -> None:
    result = newest_result()
    if result is None:
        raise SystemExit(f"no speed_<date>.md in {RESULTS}: run the benchmark first")
    try:
        pages = updated_pages(result)
    except ValueError as error:
        raise SystemExit(f"{result}: {error}") from None
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")


def main() -> None:
    args = parse_arguments()
    if args.readme:
        update_pages()
        return
    threads = args.threads or ([1] if args.smoke else parse_threads("1,all"))
    standard = (0.01, 0.0) if args.smoke else (SECONDS, PATIENCE)
    processes = 1 if args.smoke else memory.PROCESSES
    seconds = standard[0] if args.seconds is None else args.seconds
    patience = standard[1] if args.wait is None else args.wait
    work = tasks(args.rows, args.cells, threads, args.shapes, smoke=args.smoke)
    load, started = os.getloadavg(), time.perf_counter()
    rows = []
    for row in measure_rows(work, seconds, patience, processes):
        rows.append(row)
        print(f"{time.perf_counter() - started:5.0f} s  {row_line(row)}", flush=True)
    text = report(rows, heading(load, time.perf_counter() - started, seconds))
    print("\n" + text)
    out = args.out
    if out is None and work == tasks(KINDS, list(CELLS), parse_threads("1,all")):
        out = RESULTS / f"speed_{datetime.date.today().isoformat()}.md"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    if any(row.failed for row in rows):
        raise SystemExit("some rows failed")


if __name__ == "__main__":
    main()
