"""What a reader is asked for, and the words all readers share."""

from __future__ import annotations

from dataclasses import dataclass

from elman.data.dataset import Layout
from elman.tasks import TaskName


@dataclass(frozen=True)
class Options:
    """What the caller named, and the layout to follow where the caller named nothing.

    Args:
        target, text, values, id, time: names of columns or keys, as the flags of the same name.
        categories: columns or keys of categories.
        time_difference: whether the time since the last step is a channel; None looks.
        group: the column or key of groups, kept beside the sequences.
        task: what is to be learned, as `Layout`; None to look at the target.
        labelled: True needs a target, None takes one where there is one, False ignores it.
        layout: an earlier layout of the same format; with one, nothing is guessed.
    """

    target: str | None = None
    text: str | None = None
    values: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    categories: tuple[str, ...] = ()
    time_difference: bool | None = None
    group: str | None = None
    task: TaskName | None = None
    labelled: bool | None = None
    layout: Layout | None = None
