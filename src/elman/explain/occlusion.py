"""What an answer loses when a span of steps is replaced by the baseline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import SettingsError

Floats = NDArray[np.float64]

_AT_ONCE = 2**22  # numbers in the rows that are laid out together: 32 MB
_MOST = 10**8  # steps that the network may be asked to run: minutes on a CPU


def spans(steps: int, span: int, stride: int) -> list[tuple[int, int]]:
    """Where each span starts and ends, the end not included.

    They start at 0, stride, 2 * stride ..., stride at most span; the last one ends at the last
    step. Where that does not come out even, it is a shorter one if spans lie end to end, else one
    more that is whole. A span longer than the sequence is cut.
    """
    span = min(span, steps)
    starts = list(range(0, steps - span + 1, stride))
    if starts[-1] + span < steps:
        starts.append(starts[-1] + span if stride == span else steps - span)
    return [(start, min(start + span, steps)) for start in starts]


def occlude(
    ask: Callable[[Tensor], Tensor],
    e: Tensor,
    baseline: Tensor,
    columns: Tensor,
    *,
    span: int,
    stride: int,
) -> tuple[Floats, Floats, int]:
    """Replace span after span, in each column of the input alone and in all together.

    Args:
        ask: from rows, (P, T, E), to F, (P,).
        e, baseline: (T, E).
        columns: for each of the E numbers, the column of the input that it belongs to, (E,).
    Returns: values of each column, (T, C); of all columns together, (T,); rows that were asked.
    Raises: SettingsError where that would take too long.
    """
    steps, count = len(e), int(columns[-1]) + 1
    windows = spans(steps, span, stride)
    masks = [columns == c for c in range(count)]
    if count > 1:
        masks.append(torch.ones_like(masks[0]))
    jobs = [(window, mask) for mask in masks for window in windows]
    if len(jobs) * steps > _MOST:
        raise SettingsError(
            f"span: got {span}, slid on by {stride}, for which the network would run over "
            f"{len(jobs) * steps:,} steps in all, expected at most {_MOST:,}. Take a longer span "
            "and stride"
        )
    size = max(1, _AT_ONCE // e.numel())
    whole = ask(e[None])
    lost = []
    for i in range(0, len(jobs), size):
        some = jobs[i : i + size]
        rows = e.repeat(len(some), 1, 1)
        for row, ((start, end), mask) in zip(rows, some, strict=True):
            row[start:end] = torch.where(mask, baseline[start:end], e[start:end])
        lost.append(whole - ask(rows))
    effects = torch.cat(lost).cpu().double().numpy().reshape(len(masks), len(windows))
    shared = np.stack([_share(windows, effect, steps) for effect in effects], 1)  # (T, C [+ 1])
    return shared[:, :count], shared[:, -1], len(jobs) + 1


def _share(windows: list[tuple[int, int]], effects: Floats, steps: int) -> Floats:
    """From an effect of each span to one of each step: the mean of its equal shares, (T,)."""
    total, times = np.zeros(steps), np.zeros(steps)
    for (start, end), effect in zip(windows, effects, strict=True):
        total[start:end] += effect / (end - start)
        times[start:end] += 1
    shared: Floats = total / times  # every step is in one span at least
    return shared
