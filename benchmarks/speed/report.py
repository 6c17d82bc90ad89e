"""Measured rows as Markdown: summary beside the targets, losses, all figures. And read back."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .rows import CELLS, PEERS, Row, Shape, Spread
from .timing import QUIET

BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
TITLES = {
    "layer": "Layer, forward and backward",
    "step": "Whole training step",
    "inference": "Inference, whole sequences",
    "by step": "Inference, one step a call",
    "memory": "Peak memory of a training step",
}
SUMMARY = "## Summary"


@dataclass(frozen=True)
class Figure:
    """One line of the summary: a geometric mean over shapes, or the lowest of them.

    Args:
        name: as printed.
        kinds: rows it is made from.
        peer: whom elman is compared with.
        chosen: which shapes.
        targets: by cell; empty if none is set.
        lowest: the lowest ratio instead of the mean.
    """

    name: str
    kinds: tuple[str, ...]
    peer: str
    chosen: Callable[[Shape], bool] = lambda shape: True
    targets: tuple[float, float, float] | tuple[()] = ()
    lowest: bool = False


def small(shape: Shape) -> bool:
    return shape.H <= 64


def middle(shape: Shape) -> bool:
    return 64 < shape.H < 256


def large(shape: Shape) -> bool:
    return shape.H >= 256


def batch(shape: Shape) -> bool:
    return shape.B > 1


LAYER, STEP = "layer forward + backward", "whole training step"
ONE_THREAD = [
    Figure(f"{LAYER} against PyTorch, H <= 64", ("layer",), "torch", small, (5, 6, 2.5)),
    Figure(f"{LAYER} against PyTorch, H = 128", ("layer",), "torch", middle, (2.3, 2.3, 2)),
    Figure(f"{LAYER} against PyTorch, H >= 256", ("layer",), "torch", large, (1.4, 1.4, 1.2)),
    Figure(f"{STEP} against PyTorch, H <= 64", ("step",), "torch", small, (10, 8, 4)),
    Figure(f"{STEP} against PyTorch, H = 128", ("step",), "torch", middle),
    Figure(f"{STEP} against PyTorch, H >= 256", ("step",), "torch", large),
    Figure(f"{STEP} against JAX, H <= 64", ("step",), "jax", small, (3, 2.5, 2)),
    Figure(f"{STEP} against JAX, H = 128", ("step",), "jax", middle),
    Figure(f"{STEP} against JAX, H >= 256", ("step",), "jax", large),
    Figure("inference of a batch against PyTorch", ("inference",), "torch", batch, (3, 3, 1.5)),
    Figure("inference of a batch against JAX", ("inference",), "jax", batch),
    Figure("inference step by step against PyTorch", ("by step",), "torch"),
    Figure("inference step by step against JAX", ("by step",), "jax"),
]
TIMED = ("layer", "step", "inference", "by step")
EVERY_THREAD = [
    Figure("lowest of all against PyTorch", TIMED, "torch", targets=(1, 1, 1), lowest=True),
    Figure("lowest of all against JAX", TIMED, "jax", targets=(1, 1, 1), lowest=True),
    Figure(
        "lowest of memory, PyTorch's peak over elman's",
        ("memory",),
        "torch",
        targets=(1, 1, 1),
        lowest=True,
    ),
]
MANY_THREADS = [
    Figure(f"{LAYER} against PyTorch", ("layer",), "torch"),
    Figure(f"{STEP} against PyTorch", ("step",), "torch"),
    Figure(f"{STEP} against JAX", ("step",), "jax"),
    Figure("inference of a batch against PyTorch", ("inference",), "torch", batch),
    Figure("inference of a batch against JAX", ("inference",), "jax", batch),
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


def reached(figure: Figure, rows: Sequence[Row], cell: str) -> str:
    """What a figure came to for one cell, beside its target."""
    own = [
        r
        for r in rows
        if r.task.cell == cell and r.task.kind in figure.kinds and figure.chosen(r.task.shape)
    ]
    if any(row.failed for row in own):
        return "failed"
    ratios = [row.ratios[figure.peer].median for row in own if figure.peer in row.ratios]
    if not ratios:
        return "not measured"
    value = min(ratios) if figure.lowest else statistics.geometric_mean(ratios)
    if not figure.targets:
        return f"{number(value)}x"
    target = figure.targets[list(CELLS).index(cell)]
    missed = f"missed by {100 * (1 - value / target):.0f} %"
    return f"{number(value)}x ({'met' if value >= target else missed}: >= {target:g}x)"


def summary_rows(rows: Sequence[Row]) -> list[list[str]]:
    """The summary's lines: figure, threads, and what each cell reached."""
    counts = sorted({row.task.threads for row in rows})
    groups = [(ONE_THREAD if n == 1 else MANY_THREADS, [n]) for n in counts]
    lines = []
    for figures, used in [*groups, (EVERY_THREAD, counts)]:
        within = [row for row in rows if row.task.threads in used]
        for figure in figures:
            found = [reached(figure, within, cell) for cell in CELLS]
            if set(found) != {"not measured"}:
                lines.append([figure.name, " and ".join(map(str, used)), *found])
    return lines


def disturbed(rows: Sequence[Row]) -> list[str]:
    """How many rows had the machine to themselves, if not all had."""
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


def losses(rows: Sequence[Row]) -> list[str]:
    """Every row in which a peer is ahead, the worst first."""
    found = [
        (peer, row) for row in rows for peer, ratio in row.ratios.items() if is_loss(ratio.median)
    ]
    found.sort(key=lambda loss: loss[1].ratios[loss[0]].median)
    count = sum(len(row.ratios) for row in rows)
    lines = ["## Losses", "", f"{len(found)} of {count} comparisons are below 1.00x.", ""]
    if found:
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
                for peer, row in found
            ],
        )
    return lines


def failures(rows: Sequence[Row]) -> list[str]:
    failed = [row for row in rows if row.failed]
    if not failed:
        return []
    lines = [f"- {row.task}: {' '.join(row.failed.split())}" for row in failed]
    return ["## Failed", "", *lines, ""]


def details(kind: str, threads: int, rows: Sequence[Row]) -> list[str]:
    """All figures of one kind at one number of threads."""
    unit = "MiB" if kind == "memory" else "ms"
    peers = [peer for peer in PEERS if any(peer in row.ratios for row in rows)]
    contenders = ["elman", *peers]
    timed, single = kind != "memory", kind != "memory" and threads == 1
    compiled = any(row.compilation is not None for row in rows)
    head = ["cell", "B,T,I,H"]
    head += [f"{PEERS.get(name, name)} {unit}" for name in contenders]
    head += [f"{PEERS[peer]} / elman" for peer in peers]
    head += ["by the clock"] * single + ["JAX's first call s"] * compiled
    head += ["turns", "load", "others"] if timed else ["load"]
    lines = []
    for row in rows:
        line = [CELLS[row.task.cell], str(row.task.shape)]
        if row.failed:
            lines.append([*line, "failed", *[""] * (len(head) - len(line) - 1)])
            continue
        line += [with_range(row.figures[n]) if n in row.figures else "" for n in contenders]
        line += [with_range(row.ratios[p], "x") if p in row.ratios else "" for p in peers]
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
        "or the lowest of these ratios.",
        "",
        *disturbed(rows),
        *table(["figure", "threads", *CELLS.values()], summary_rows(rows)),
        *losses(rows),
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
    _, found, rest = text.partition(f"{heading}\n")
    lines = re.search(r"^\|.*(?:\n\|.*)*", rest, re.MULTILINE) if found else None
    if lines is None:
        raise ValueError(f"no table after {heading!r}")
    head, _, *rows = [
        [field.strip() for field in line.strip().strip("|").split(" | ")]
        for line in lines[0].splitlines()
    ]
    return head, rows


def readme_table(text: str, name: str) -> str:
    """The README's table from a result file.

    Args:
        text: of the file.
        name: its path below the root, for the link.
    """
    _, rows = read_table(text, SUMMARY)
    lines = []
    for figure, threads, *found in rows:
        if threads == "1" or figure.startswith("lowest"):
            many = f", {threads} threads" if threads != "1" else ""
            lines.append([figure + many, *(ratio.split(" (")[0] for ratio in found)])
    hardware = re.search(r"^Hardware: (.*)$", text, re.MULTILINE)
    if hardware is None:
        raise ValueError("no line 'Hardware: '")
    note = f"{hardware[1]} [All figures, losses and how they were measured]({name})."
    return "\n".join([*table(["times as fast, one thread", *CELLS.values()], lines), note])


def with_readme_table(readme: str, block: str) -> str:
    """Put `block` between the README's markers.

    Raises: ValueError if a marker is missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md lacks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"
