"""What is measured and what comes out: shapes, tasks, rows, spreads. Light: no torch here.

Dimensions: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

KINDS = ("layer", "step", "inference", "memory")
CELLS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
PEERS = {"torch": "PyTorch", "jax": "JAX"}


class Shape(NamedTuple):
    """Sizes of one batch."""

    B: int
    T: int
    I: int
    H: int

    def __str__(self) -> str:
        return ",".join(str(size) for size in self)


SHAPES = [
    Shape(800, 10, 1, 16),
    Shape(32, 20, 16, 32),
    Shape(32, 50, 32, 64),
    Shape(64, 100, 64, 128),
    Shape(32, 200, 1, 32),
    Shape(64, 784, 1, 128),
    Shape(64, 100, 128, 256),
    Shape(32, 64, 512, 512),
]
ONE_SEQUENCE = Shape(1, 200, 8, 64)  # for inference, whole and step by step
LARGE = [Shape(64, 784, 1, 128), Shape(64, 100, 128, 256), Shape(32, 64, 512, 512)]
TINY = [Shape(3, 4, 2, 5)]
TINY_SEQUENCE = Shape(1, 3, 2, 4)


@dataclass(frozen=True)
class Task:
    """One row to measure.

    Args:
        kind: `layer`, `step`, `inference`, `by step` (inference, a call a time step) or `memory`.
        cell: `rnn`, `gru` or `lstm`.
        shape: of the batch.
        threads: of every contender.
    """

    kind: str
    cell: str
    shape: Shape
    threads: int

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.kind} {CELLS[self.cell]} ({self.shape}), {threads}"


def layer_operations(cell: str, shape: Shape) -> float:
    """Multiplications and additions of a layer's matrix products, forward and backward.

    Forward takes G H (I + H) of each per step and row, the gradient of the states G H H, those of
    the weights G H (I + H). The gradient of the input is not computed in these benchmarks.
    """
    B, T, I, H = shape
    return 2.0 * GATES[cell] * H * (2 * I + 3 * H) * B * T


class Spread(NamedTuple):
    """Median, and the 10th and 90th percentile."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """The results of a task.

    Args:
        measures: by contender (`elman`, `torch`, `jax`), ms of one call, or MiB. One thread:
            processor time, which is the clock's without what other processes took meanwhile.
        ratios: by peer, its measure over elman's, paired block by block.
        clock: by contender, median ms of one call on the clock.
        clock_ratios: by peer, the same of the clock's times, median.
        blocks: how often every contender was measured.
        load: load average of the machine before and after.
        others: processors that other processes kept busy meanwhile; None if unknown.
        compilation: seconds of JAX's first call.
        sgemm: GFLOP/s of a matrix product on the same core, in turn with the contenders; for
            layers on one thread.
        share: of that rate which elman's layer reaches, paired block by block.
        failed: why there are no measures; empty if there are.
    """

    task: Task
    measures: dict[str, Spread] = field(default_factory=dict)
    ratios: dict[str, Spread] = field(default_factory=dict)
    clock: dict[str, float] = field(default_factory=dict)
    clock_ratios: dict[str, float] = field(default_factory=dict)
    blocks: int = 0
    load: tuple[float, float] = (0.0, 0.0)
    others: float | None = None
    compilation: float | None = None
    sgemm: Spread | None = None
    share: Spread | None = None
    failed: str = ""


def spread(values: Sequence[float]) -> Spread:
    """Summarise; one value is its own spread."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return Spread(statistics.median(values), tenths[0], tenths[-1])


def tasks(
    kinds: Sequence[str],
    cells: Sequence[str],
    threads: Sequence[int],
    shapes: Sequence[Shape] | None = None,
    *,
    smoke: bool = False,
) -> list[Task]:
    """Everything to measure, in order.

    Args:
        shapes: instead of the standard ones; those with B = 1 are also run step by step.
        smoke: tiny shapes instead of the standard ones.
    """
    batches = list(shapes or (TINY if smoke else SHAPES))
    inference = list(shapes or [*batches, TINY_SEQUENCE if smoke else ONE_SEQUENCE])
    by_kind = {
        "layer": [("layer", s) for s in batches],
        "step": [("step", s) for s in batches],
        "inference": [
            *(("inference", s) for s in inference),
            *(("by step", s) for s in inference if s.B == 1),
        ],
        "memory": [("memory", s) for s in shapes or (TINY if smoke else LARGE)],
    }
    # Every thread needs some memory of its own: with most of them, most is needed.
    return [
        Task(kind, cell, shape, count)
        for count in threads
        for group in kinds
        for cell in cells
        for kind, shape in by_kind[group]
        if kind != "memory" or count == max(threads)
    ]
