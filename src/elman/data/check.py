"""Whether a network can be learnt from a dataset, or be asked about it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import is_number
from elman.data.channels import first_gap
from elman.data.dataset import Dataset
from elman.data.faults import list_names
from elman.data.ragged import Ragged, flatten
from elman.errors import DataError


def check_classes(dataset: Dataset, minimum: int = 2) -> None:
    """Refuse training data with fewer than two classes, or with a class too small to split.

    Numbers to be predicted only need to be there, several labels to hold one.

    Args:
        minimum: sequences each class must have; labels at every step are only checked to differ.
    Raises: DataError naming the class, its count and a line it is on.
    """
    target = dataset.target
    if target is None:
        raise DataError(
            "the sequences have no labels, expected some to learn from",
            remedy="Name the label with --target NAME.",
            source=dataset.source,
        )
    if dataset.task == "regression":
        return
    if dataset.task == "multilabel":
        if not any(flatten(target).tolist()):
            raise DataError(
                "no sequence has a label, expected some to learn from",
                remedy="Name another target with --target NAME.",
                source=dataset.source,
                column=_column(dataset),
            )
        return
    per_step = isinstance(target, Ragged)
    labels = flatten(target).tolist()
    counts = Counter(labels)
    unit = "step" if per_step else "sequence"
    if len(counts) < 2:
        only = f"every {unit} has the label {labels[0]!r}" if labels else "there are no labels"
        raise DataError(
            f"{only}, expected at least 2 classes",
            remedy="Add data of other classes, or name another target with --target NAME.",
            source=dataset.source,
            column=_column(dataset),
        )
    if per_step:
        return
    small = [(label, n) for label, n in counts.items() if n < minimum]
    if not small:
        return
    listed = ", ".join(f"{label!r} has {n}" for label, n in small[:5])
    more = f" and {len(small) - 5} more classes have too few" if len(small) > 5 else ""
    first = labels.index(small[0][0])
    many = len(counts) > 20 and len(small) > len(counts) // 2
    raise DataError(
        f"every class needs at least {minimum} sequences; {listed}{more}",
        remedy="Is this the column of classes? Name another with --target NAME."
        if many
        else "Add sequences of that class, or remove it from the file.",
        source=dataset.source,
        line=None if dataset.lines is None else int(dataset.lines[first]),
        column=_column(dataset),
    )


def check_gaps(dataset: Dataset, allowed: NDArray[np.bool_]) -> None:
    """Refuse a missing value in a channel that had none in the training part.

    Args:
        allowed: whether a channel may have gaps, (C,).
    Raises: DataError naming the sequence, its step and the column.
    """
    numbers = dataset.numbers
    if numbers is None or numbers.values.shape[1:] != allowed.shape:
        return  # other channels are refused elsewhere, and tokens have none
    gap = first_gap(numbers, allowed)
    if gap is None:
        return
    layout = dataset.layout
    over_time = layout.format == "rows"  # a column a step, of one channel
    at = gap.step if over_time else gap.channel
    names = layout.values if over_time else layout.channels
    name = names[at] if at < len(names) else str(at)
    raise DataError(
        f"step {gap.step + 1} of the sequence that starts here is missing"
        + (", " if over_time else f" in channel {name!r}, ")
        + "which had no gaps in the training part",
        remedy="Fill the gap, or train on sequences with gaps there.",
        source=dataset.source,
        line=None if dataset.lines is None else int(dataset.lines[gap.sequence]),
        column=name if layout.format in ("rows", "steps") else None,
    )


def doubtful_labels(classes: list[str]) -> list[str]:
    """Return what looks like a slip among the classes: two that mean one, a word among numbers."""
    folded: dict[object, list[str]] = {}
    for label in classes:
        same: object = float(label) if is_number(label) else " ".join(label.lower().split())
        folded.setdefault(same, []).append(label)
    doubts = [
        f"one class or several? {list_names(labels)}"
        for labels in folded.values()
        if len(labels) > 1
    ]
    numbers = [label for label in classes if is_number(label)]
    if numbers and len(numbers) < len(classes):
        others = [label for label in classes if label not in numbers]
        doubts.append(
            f"labels are numbers ({list_names(numbers, 3)}) and words ({list_names(others, 3)}): is"
            " one a slip?"
        )
    return doubts


def _column(dataset: Dataset) -> str | None:
    return dataset.layout.target if dataset.layout.format in ("rows", "steps") else None
