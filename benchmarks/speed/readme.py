"""The speed tables of README.md and benchmarks/README.md, from result files."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .report import LAYER, SHARES, STEP, SUMMARY, read_table, table
from .rows import CELLS

BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
ROWS = {
    f"{LAYER} against PyTorch, H <= 64": "layer, forward and backward, against PyTorch",
    f"{STEP} against PyTorch, H <= 64": "whole training step, against PyTorch",
    f"{STEP} against JAX, H <= 64": "whole training step, against JAX",
}
SIZES = dict(zip(SHARES, ("64 units", "128 units", "256 units and more"), strict=True))


@dataclass(frozen=True)
class Machine:
    """What was measured on one machine.

    Args:
        name: the machine in words.
        speed: times as fast, by row of the summary: RNN, GRU, LSTM.
        share: of SGEMM in %, lowest and highest, by size; empty if it was not measured.
    """

    name: str
    speed: dict[str, list[float]]
    share: dict[str, list[float]]


def leading_number(text: str) -> float:
    """The value of `6.26x (met: >= 5x)`.

    Raises: ValueError for `failed` and `not measured`.
    """
    number = re.match(r"[\d.]+", text)
    if number is None:
        raise ValueError(f"expected a number, got {text!r}")
    return float(number[0])


def hardware(text: str) -> str:
    """The line of a result file that names its machine."""
    line = re.search(r"^Hardware: (.*)$", text, re.MULTILINE)
    if line is None:
        raise ValueError("no line 'Hardware: '")
    return line[1].rstrip(".")


def machine_of(text: str) -> Machine:
    """Read the machine of a result file."""
    _, lines = read_table(text, SUMMARY)
    values = {(name, threads): cells for name, threads, *cells in lines}
    missing = [name for name in ROWS if (name, "1") not in values]
    if missing:
        raise ValueError(f"no row {missing[0]!r} on 1 thread")
    speed = {name: [leading_number(cell) for cell in values[name, "1"]] for name in ROWS}
    share = {}
    for name, size in SIZES.items():
        percent = re.findall(r"\d+", " ".join(values.get((name, "1"), [])))
        if percent:
            share[size] = sorted(map(float, percent))
    return Machine(hardware(text), speed, share)


def other_machines(path: Path) -> list[Machine]:
    """Read other_machines.toml."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["machine"]
    machines = []
    for row in rows:
        low, high = row["sgemm"]
        name = f"{row['name']} (SGEMM {low:g} to {high:g} GFLOP/s a core)"
        machines.append(Machine(name, row["speed"], row["share"]))
    return machines


def value_range(values: list[float]) -> str:
    """Lowest to highest, in two digits."""
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"


def short_block(machines: list[Machine]) -> str:
    """README's table: three rows, as ranges over machines, and the share of a core's SGEMM."""
    lines = []
    for name, title in ROWS.items():
        measured = [m.speed[name] for m in machines if name in m.speed]
        lines.append([title, *(value_range([row[i] for row in measured]) for i in range(3))])
    head = ["times as fast, at most 64 units, one thread", *CELLS.values()]
    names = "; ".join(f"({i}) {machine.name}" for i, machine in enumerate(machines, 1))
    note = "Geometric means over four shapes, "
    note += f"the lowest and the highest of {len(machines)} machines: " * (len(machines) > 1)
    note += f"{names}. {share_sentence(machines)}"
    link = "[All rows, with those where a peer is faster](benchmarks/README.md)."
    return "\n".join([*table(head, lines), f"{note}{link}"])


def share_sentence(machines: list[Machine]) -> str:
    """State the layers' share of the core's matrix product; empty if no machine measured it."""
    numbers = [i for i, machine in enumerate(machines, 1) if machine.share]
    parts = []
    for size in SIZES.values():
        percent = [value for machine in machines for value in machine.share.get(size, [])]
        if percent:
            parts.append(f"{value_range(percent)} % at {size}")
    if not parts:
        return ""
    where = f" (machine {', '.join(map(str, numbers))})" * (len(numbers) < len(machines))
    return (
        "A layer's forward and backward pass reaches this share of the speed of a matrix product"
        f" (SGEMM) on the same core: {', '.join(parts)}{where}. "
    )


def long_block(text: str, name: str, others: list[Machine]) -> str:
    """The table of benchmarks/README.md: every row of the newest result file's summary.

    Args:
        text: of the result file.
        name: its path below benchmarks/, for the link.
        others: machines of which some values are known.
    """
    _, rows = read_table(text, SUMMARY)
    lines = []
    for what, threads, *values in rows:
        if threads == "1" or what.startswith("lowest"):
            many = f", {threads} threads" if threads != "1" else ""
            lines.append([what + many, *(value.split(" (")[0] for value in values)])
    head = ["times as fast, one thread", *CELLS.values()]
    parts = [*table(head, lines), f"{hardware(text)}. [Every shape, and the method]({name})."]
    for machine in others:
        lines = [[what, *(f"{v:g}x" for v in values)] for what, values in machine.speed.items()]
        parts += ["", f"On {machine.name}:", "", *table(head, lines)]
        if machine.share:
            shares = [[size, f"{value_range(v)} %"] for size, v in machine.share.items()]
            parts += table(["layer forward + backward", "share of SGEMM"], shares)
    return "\n".join(parts).rstrip("\n")


def replace_block(page: str, block: str, name: str) -> str:
    """Put `block` between a page's markers.

    Raises: ValueError if a marker is missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{name} lacks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"
