"""What sequences are called in what is written for people."""

from __future__ import annotations

from typing import Any

from elman.data import Dataset


def sequence_names(dataset: Dataset) -> list[Any]:
    """What the file calls its sequences, or the numbers of the lines they start on, or from 0.

    A window is called by its sequence, its number and its first step there, both from 0.
    """
    names: list[Any] = list(range(len(dataset)))
    if dataset.ids:
        names = list(dataset.ids)
    elif dataset.lines is not None:
        names = [f"line {line}" for line in dataset.lines.tolist()]
    if dataset.windows is None:
        return names
    windows = zip(names, dataset.windows.tolist(), strict=True)
    return [f"{name} window {number} from step {first}" for name, (number, first) in windows]
