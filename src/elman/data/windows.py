"""Long sequences cut into windows, and a count of what that dropped."""

from __future__ import annotations

import dataclasses

import numpy as np

from elman.data.dataset import Dataset
from elman.data.options import several
from elman.data.ragged import Ragged
from elman.errors import SettingsError


def cut_windows(dataset: Dataset, window: int, stride: int, what: str = "") -> tuple[Dataset, str]:
    """Cut each sequence into windows of the same length.

    They start at steps 0, stride, 2 stride, ... as long as a whole one fits; the steps after the
    last are dropped, as are those between windows where the stride is longer than they. A sequence
    shorter than a window stays whole. A label a sequence goes to each of its windows; labels at
    every step are cut along.

    Args:
        dataset: uncut; text must have been cut into tokens.
        window, stride: in steps, 1 or more.
        what: what the sequences are called in the sentence.
    Returns: the windows, and one sentence that counts them and what was dropped.
    """
    inputs, target = dataset.inputs, dataset.target
    if not isinstance(inputs, Ragged):
        raise SettingsError(
            "window: text has no steps before it is cut into tokens; expected numbers or tokens."
            ' Write the tokens, in JSON lines as "tokens": [...], or leave --window out'
        )
    lengths = inputs.lengths
    counts = np.where(lengths < window, 1, (lengths - window) // stride + 1)
    owners = np.repeat(np.arange(len(inputs)), counts)
    numbers = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = numbers * stride
    taken = np.minimum(window, lengths[owners])
    offsets = np.concatenate([[0], np.cumsum(taken)]).astype(np.int64)
    # From a step's place among the windows to its place here.
    shift = np.repeat(inputs.offsets[:-1][owners] + first - offsets[:-1], taken)
    places = np.arange(offsets[-1]) + shift
    cut = dataset.take(owners)
    cut = dataclasses.replace(
        cut,
        inputs=Ragged(inputs.values[places], offsets),
        target=Ragged(target.values[places], offsets) if isinstance(target, Ragged) else cut.target,
        windows=np.column_stack([numbers, first]),
    )
    dropped = len(inputs.values) - len(np.unique(places))
    short = int((lengths < window).sum())
    parts = [
        f"{several(len(inputs), 'sequence')}{what} became {several(len(cut), 'window')} of "
        f"{several(window, 'step')}, stride {stride:,}"
    ]
    if dropped:
        where = "at ends and between windows" if stride > window else "at ends"
        parts.append(f"{several(dropped, 'step')} {where} dropped")
    if short:
        parts.append(f"{several(short, 'sequence')} shorter than a window kept whole")
    return cut, "; ".join(parts)
