"""Contenders timed in turn, A B C, C B A, ..., so that a busy machine is busy for all of them.

And how busy it is with other things.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SLOT = 0.005  # seconds a contender runs on end, unless one call takes longer
MOST_CALLS = 100  # in a slot
FEWEST_BLOCKS = 7
MOST_BLOCKS = 100
QUIET = 0.2  # processors that others may use


@dataclass(frozen=True)
class Block:
    """One turn of every contender: seconds of one call, on the clock and of the processor."""

    wall: dict[str, float]
    processor: dict[str, float]

    def seconds(self, contender: str, processor: bool = False) -> float:
        """Of one call, by the clock or of the processor."""
        return (self.processor if processor else self.wall)[contender]

    def ratio(self, peer: str, processor: bool = False) -> float:
        """How many times longer than elman `peer` took."""
        return self.seconds(peer, processor) / self.seconds("elman", processor)


class Usage(NamedTuple):
    """Seconds so far: on the clock, of all processors in use, and of those used by this process."""

    clock: float
    machine: float
    own: float


def usage() -> Usage | None:
    """Read it; None where there is no /proc/stat."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal, *_ = map(
        int, path.read_text().split("\n", 1)[0].split()[1:]
    )
    ticks = user + nice + system + irq + softirq + steal
    return Usage(time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())


def used_by_others(before: Usage | None) -> float | None:
    """Processors that others have kept busy since `before`, on average."""
    now = usage()
    if before is None or now is None:
        return None
    busy = (now.machine - before.machine) - (now.own - before.own)
    return max(0.0, busy / (now.clock - before.clock))


def wait_until_quiet(patience: float) -> float:
    """Wait until others leave the machine alone, `patience` seconds at most; return the seconds."""
    started = time.perf_counter()
    while time.perf_counter() - started < patience:
        before = usage()
        time.sleep(0.2)
        others = used_by_others(before)
        if others is None or others < QUIET:
            break
    return time.perf_counter() - started


def calls_in_a_slot(run: Callable[[], Any]) -> int:
    """Calls that fill a slot, from the faster of two."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(MOST_CALLS, max(1, round(SLOT / max(min(seconds), 1e-9))))


def measure(
    contenders: Mapping[str, Callable[[], Any]],
    seconds: float,
    fewest: int = FEWEST_BLOCKS,
    most: int = MOST_BLOCKS,
) -> list[Block]:
    """Time `contenders` in turn until `seconds` have passed.

    Whatever takes less than a slot has one call that is not timed before those that are: caches
    are its own again, and the other contenders' idle threads have stopped spinning.

    Args:
        contenders: by name, what to call; each has run before.
        fewest, most: blocks, whatever the time.
    """
    calls = {name: calls_in_a_slot(run) for name, run in contenders.items()}
    order = list(contenders)
    blocks: list[Block] = []
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        while len(blocks) < fewest or (
            len(blocks) < most and time.perf_counter() - started < seconds
        ):
            block = Block({}, {})
            for name in order:
                run, count = contenders[name], calls[name]
                if count > 1:
                    run()
                wall, processor = time.perf_counter(), time.process_time()
                for _ in range(count):
                    run()
                block.processor[name] = (time.process_time() - processor) / count
                block.wall[name] = (time.perf_counter() - wall) / count
            blocks.append(block)
            order.reverse()
    finally:
        if collecting:
            gc.enable()
    return blocks
