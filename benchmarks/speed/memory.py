"""Peak memory of a training step, each contender in a process of its own."""

from __future__ import annotations

import os
import resource
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from .rows import Row, Shape, Task, spread
from .worker import limit_processors, results_from

STEPS = 3
PROCESSES = 3  # of each contender
MIB = 2**20


def status(field: str) -> int | None:
    """Bytes of one line of /proc/self/status, such as VmRSS; None where there is none."""
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def peak() -> int:
    """Most memory this process has had, in bytes, since `reset_peak` if the system can."""
    most = status("VmHWM")
    if most is not None:
        return most
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> None:
    """Restart the peak from the memory in use now (Linux)."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def child(task: Task, contender: str, connection: Connection) -> None:
    """Send the peak of a few steps above the memory in use before, in bytes, and the losses.

    Before: libraries loaded and warm from a step of a tiny network, and the batch made.
    """
    limit_processors(task.threads)

    import torch

    from . import contenders

    torch.set_num_threads(task.threads)
    make = contenders.STEPS[contender]
    tiny = make(contenders.make_problem(task.cell, Shape(2, 2, 1, 4)), contenders.RATE)
    tiny()
    problem = contenders.make_problem(task.cell, task.shape)
    reset_peak()
    before = status("VmRSS") or peak()
    step = make(problem, contenders.RATE)
    losses = [float(step()) for _ in range(STEPS)]
    connection.send((peak() - before, losses))
    connection.close()


def measure_row(task: Task, processes: int = PROCESSES) -> Row:
    """Run both contenders, `processes` times each; all must have had the same losses."""
    load = os.getloadavg()[0]
    peaks: dict[str, list[float]] = {"elman": [], "torch": []}
    expected: list[float] = []
    for _ in range(processes):
        for contender, values in peaks.items():
            message = next(results_from(child, task, contender), None)
            if message is None:
                return Row(task, failed=f"{contender}: the process ended early")
            peak_bytes, losses = message
            expected = expected or losses
            if not all(abs(a - b) <= 1e-3 * abs(b) for a, b in zip(losses, expected, strict=True)):
                return Row(task, failed=f"losses differ: {contender} {losses}, else {expected}")
            values.append(max(1, peak_bytes) / MIB)
    ratios = [t / e for t, e in zip(peaks["torch"], peaks["elman"], strict=True)]
    return Row(
        task,
        measures={name: spread(values) for name, values in peaks.items()},
        ratios={"torch": spread(ratios)},
        blocks=processes,
        load=(load, os.getloadavg()[0]),
    )
