"""Measured rows as Markdown: the summary beside its targets, losses, all rows; and read back."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .rows import CELLS, PEERS, Row, Shape, Spread, layer_operations
from .timing import QUIET

TITLES = {
    "layer": "Layer, forward and backward",
    "step": "Whole training step",
    "inference": "Inference, whole sequences",
    "by step": "Inference, one step a call",
    "memory": "Peak memory of a training step",
}
SUMMARY = "## Summary"


@dataclass(frozen=True)
class Comparison:
    """One line of the summary: a geometric mean over shapes, or the lowest of them.

    Args:
        name: as printed.
        kinds: of the rows it summarises.
        peer: the library that elman is compared with.
        chosen: whether a shape is among them.
        targets: by cell; empty if none is set.
        lowest: the lowest ratio instead of the mean.
    """

    name: str
    kinds: tuple[str, ...]
    peer: str
    chosen: Callable[[Shape], bool] = lambda shape: True
    targets: tuple[float, float, float] | tuple[()] = ()
    lowest: bool = False


def is_small(shape: Shape) -> bool:
    return shape.H <= 64


def is_medium(shape: Shape) -> bool:
    return 64 < shape.H < 256


def is_large(shape: Shape) -> bool:
    return shape.H >= 256


def is_batch(shape: Shape) -> bool:
    return shape.B > 1


LAYER, STEP = "layer forward + backward", "whole training step"
ONE_THREAD = [
    Comparison(f"{LAYER} against PyTorch, H <= 64", ("layer",), "torch", is_small, (5, 6, 2.5)),
    Comparison(f"{LAYER} against PyTorch, H = 128", ("layer",), "torch", is_medium, (2.3, 2.3, 2)),
    Comparison(
        f"{LAYER} against PyTorch, H >= 256", ("layer",), "torch", is_large, (1.4, 1.4, 1.2)
    ),
    Comparison(f"{STEP} against PyTorch, H <= 64", ("step",), "torch", is_small, (10, 8, 4)),
    Comparison(f"{STEP} against PyTorch, H = 128", ("step",), "torch", is_medium),
    Comparison(f"{STEP} against PyTorch, H >= 256", ("step",), "torch", is_large),
    Comparison(f"{STEP} against JAX, H <= 64", ("step",), "jax", is_small, (3, 2.5, 2)),
    Comparison(f"{STEP} against JAX, H = 128", ("step",), "jax", is_medium),
    Comparison(f"{STEP} against JAX, H >= 256", ("step",), "jax", is_large),
    Comparison(
        "inference of a batch against PyTorch", ("inference",), "torch", is_batch, (3, 3, 1.5)
    ),
    Comparison("inference of a batch against JAX", ("inference",), "jax", is_batch),
    Comparison("inference step by step against PyTorch", ("by step",), "torch"),
    Comparison("inference step by step against JAX", ("by step",), "jax"),
]
TIMED = ("layer", "step", "inference", "by step")
SHARES = {
    f"{LAYER}, share of SGEMM, H = 64": lambda shape: shape.H == 64,
    f"{LAYER}, share of SGEMM, H = 128": is_medium,
    f"{LAYER}, share of SGEMM, H >= 256": is_large,
}
EVERY_THREAD = [
    Comparison("lowest of all against PyTorch", TIMED, "torch", targets=(1, 1, 1), lowest=True),
    Comparison("lowest of all against JAX", TIMED, "jax", targets=(1, 1, 1), lowest=True),
    Comparison(
        "lowest of memory, PyTorch's peak over elman's",
        ("memory",),
        "torch",
        targets=(1, 1, 1),
        lowest=True,
    ),
]
MANY_THREADS = [
    Comparison(f"{LAYER} against PyTorch", ("layer",), "torch"),
    Comparison(f"{STEP} against PyTorch", ("step",), "torch"),
    Comparison(f"{STEP} against JAX", ("step",), "jax"),
    Comparison("inference of a batch against PyTorch", ("inference",), "torch", is_batch),
    Comparison("inference of a batch against JAX", ("inference",), "jax", is_batch),
]


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def with_range(value: Spread, unit: str = "") -> str:
    text = number(value.median) + unit
    if value.low == value.high:
        return text
    return f"{text} ({number(value.low)} to {number(value.high)})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def threads_text(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def format_comparison(comparison: Comparison, rows: Sequence[Row], cell: str) -> str:
    """A comparison's value for one cell, beside its target."""
    own = [
        r
        for r in rows
        if r.task.cell == cell
        and r.task.kind in comparison.kinds
        and comparison.chosen(r.task.shape)
    ]
    if any(row.failed for row in own):
        return "failed"
    ratios = [row.ratios[comparison.peer].median for row in own if comparison.peer in row.ratios]
    if not ratios:
        return "not measured"
    value = min(ratios) if comparison.lowest else statistics.geometric_mean(ratios)
    if not comparison.targets:
        return f"{number(value)}x"
    target = comparison.targets[list(CELLS).index(cell)]
    missed = f"missed by {100 * (1 - value / target):.0f} %"
    return f"{number(value)}x ({'met' if value >= target else missed}: >= {target:g}x)"


def format_share(rows: Sequence[Row], cell: str, chosen: Callable[[Shape], bool]) -> str:
    """The lowest and highest share of SGEMM that a cell's layers reach on some shapes."""
    shares = [r.share for r in rows if r.share and r.task.cell == cell and chosen(r.task.shape)]
    if not shares:
        return "not measured"
    low, high = (f"{100 * f(s.median for s in shares):.0f}" for f in (min, max))
    return f"{low} %" if low == high else f"{low} to {high} %"


def summary_rows(rows: Sequence[Row]) -> list[list[str]]:
    """The summary's lines: what, threads, and a value for each cell."""
    counts = sorted({row.task.threads for row in rows})
    groups = [(ONE_THREAD if n == 1 else MANY_THREADS, [n]) for n in counts]
    lines = []
    for comparisons, used in [*groups, (EVERY_THREAD, counts)]:
        within = [row for row in rows if row.task.threads in used]
        for comparison in comparisons:
            values = [format_comparison(comparison, within, cell) for cell in CELLS]
            if set(values) != {"not measured"}:
                lines.append([comparison.name, " and ".join(map(str, used)), *values])
    for name, chosen in SHARES.items():
        values = [format_share(rows, cell, chosen) for cell in CELLS]
        if set(values) != {"not measured"}:
            lines.append([name, "1", *values])
    return lines


def busy_rows_note(rows: Sequence[Row]) -> list[str]:
    """Say during how many rows the machine was busy with other processes, if it was."""
    timed = [row for row in rows if row.others is not None]
    busy = [row for row in timed if row.others is not None and row.others > QUIET]
    many = sum(row.task.threads > 1 for row in busy)
    if not busy:
        return []
    rest = (
        f", and much to the {many} of these rows with several threads, which wait for one another"
    )
    return [
        f"During {len(busy)} of {len(timed)} rows other processes used more than {QUIET} "
        "processors (last column). It matters little to one thread, measured in processor time"
        f"{rest if many else ''}.",
        "",
    ]


def is_loss(ratio: float) -> bool:
    """Below 1.00, in the digits that are printed."""
    return float(number(ratio)) < 1


def slower_rows(rows: Sequence[Row]) -> list[str]:
    """Every row in which a peer is faster, the worst first."""
    slower = [
        (peer, row) for row in rows for peer, ratio in row.ratios.items() if is_loss(ratio.median)
    ]
    slower.sort(key=lambda loss: loss[1].ratios[loss[0]].median)
    count = sum(len(row.ratios) for row in rows)
    lines = ["## Losses", "", f"{len(slower)} of {count} comparisons are below 1.00x.", ""]
    if slower:
        lines += table(
            ["what", "cell", "B,T,I,H", "threads", "against", "ratio"],
            [
                [
                    TITLES[row.task.kind],
                    CELLS[row.task.cell],
                    str(row.task.shape),
                    str(row.task.threads),
                    PEERS[peer],
                    with_range(row.ratios[peer], "x"),
                ]
                for peer, row in slower
            ],
        )
    return lines


def failures(rows: Sequence[Row]) -> list[str]:
    failed = [row for row in rows if row.failed]
    if not failed:
        return []
    lines = [f"- {row.task}: {' '.join(row.failed.split())}" for row in failed]
    return ["## Failed", "", *lines, ""]


def share_columns(row: Row) -> list[str]:
    """A layer's rate, the same core's matrix product in the same turns, and the share."""
    if row.share is None or row.sgemm is None:
        return ["", "", ""]
    rate = 1e-6 * layer_operations(row.task.cell, row.task.shape) / row.measures["elman"].median
    share = Spread(*(100 * value for value in row.share))
    return [number(rate), with_range(row.sgemm), with_range(share)]


def details(kind: str, threads: int, rows: Sequence[Row]) -> list[str]:
    """All rows of one kind at one number of threads."""
    unit = "MiB" if kind == "memory" else "ms"
    peers = [peer for peer in PEERS if any(peer in row.ratios for row in rows)]
    contenders = ["elman", *peers]
    timed, single = kind != "memory", kind != "memory" and threads == 1
    compiled = any(row.compilation is not None for row in rows)
    head = ["cell", "B,T,I,H"]
    head += [f"{PEERS.get(name, name)} {unit}" for name in contenders]
    head += [f"{PEERS[peer]} / elman" for peer in peers]
    shares = any(row.share for row in rows)
    head += ["GFLOP/s", "SGEMM GFLOP/s", "% of SGEMM"] * shares
    head += ["by the clock"] * single + ["JAX's first call s"] * compiled
    head += ["turns", "load", "others"] if timed else ["load"]
    lines = []
    for row in rows:
        line = [CELLS[row.task.cell], str(row.task.shape)]
        if row.failed:
            lines.append([*line, "failed", *[""] * (len(head) - len(line) - 1)])
            continue
        line += [with_range(row.measures[n]) if n in row.measures else "" for n in contenders]
        line += [with_range(row.ratios[p], "x") if p in row.ratios else "" for p in peers]
        if shares:
            line += share_columns(row)
        if single:
            times = ", ".join(number(value) for value in row.clock.values())
            line.append(
                f"{times}; " + ", ".join(f"{number(v)}x" for v in row.clock_ratios.values())
            )
        if compiled:
            line.append("" if row.compilation is None else f"{row.compilation:.1f}")
        line += [str(row.blocks)] * timed + [f"{row.load[0]:.1f}, {row.load[1]:.1f}"]
        line += ["" if row.others is None else f"{row.others:.2f}"] * timed
        lines.append(line)
    return [f"## {TITLES[kind]}, {threads_text(threads)}", "", *table(head, lines)]


def report(rows: Sequence[Row], head: Sequence[str]) -> str:
    """Write everything.

    Args:
        rows: as measured.
        head: title, versions, hardware, command, how it was measured; lines.
    """
    lines = [*head, "", SUMMARY, ""]
    lines += [
        "Times as fast as the peer: the geometric mean over the shapes of each row's median ratio, "
        "or the lowest of these ratios. Share of SGEMM: the lowest and highest of the shapes.",
        "",
        *busy_rows_note(rows),
        *table(["what", "threads", *CELLS.values()], summary_rows(rows)),
        *slower_rows(rows),
        *failures(rows),
    ]
    groups = dict.fromkeys((row.task.kind, row.task.threads) for row in rows)
    for kind, threads in groups:
        own = [r for r in rows if (r.task.kind, r.task.threads) == (kind, threads)]
        lines += details(kind, threads, own)
    return "\n".join(lines)


def read_table(text: str, heading: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the first table after a heading.

    Raises: ValueError if there is none.
    """
    _, marker, rest = text.partition(f"{heading}\n")
    lines = re.search(r"^\|.*(?:\n\|.*)*", rest, re.MULTILINE) if marker else None
    if lines is None:
        raise ValueError(f"no table after {heading!r}")
    head, _, *rows = [
        [field.strip() for field in line.strip().strip("|").split(" | ")]
        for line in lines[0].splitlines()
    ]
    return head, rows
