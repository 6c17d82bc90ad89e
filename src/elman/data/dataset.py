"""Labelled sequences as they were read, and how the file was understood."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged, flatten
from elman.tasks import TASKS, TaskName

TIME_DELTA = "time since the last step"  # name of that channel
InputKind = Literal["numbers", "tokens", "text", "mixed"]
Format = Literal["rows", "steps", "jsonl", "ts", "arrays", "folder"]


@dataclass(frozen=True)
class Layout:
    """How a file was understood. Given back to `read`, it reads another file the same way.

    Args:
        format: `rows` (a table, one row a sequence), `steps` (a table, one row a time step),
            `jsonl` (objects or rows with lists), `ts` (cases of channels), `arrays`, `folder`.
        kind: what a step is: `numbers`, `tokens`, `mixed` numbers and categories, or `text` still
            to be cut into tokens.
        target: column or key of the label; None where the file has none.
        task: what is to be learned: a class or, with `tagging`, one at every step; several labels;
            numbers, a sequence's or, with per_step, at every step.
        per_step: whether there is a label, or number, at every step.
        text: column or key of the text or tokens.
        values: value columns in order; for other formats of numbers, channel names.
        id: for `steps`, the column that says which sequence a row belongs to.
        time: for `steps`, the column that orders the rows of a sequence.
        categories: columns or keys of categories, which follow the numbers of a step.
        time_difference: whether the time since the last step follows the values.
        delimiter: for `rows` and `steps`, what separates two cells of a text; empty for a frame.
        header: for `rows` and `steps`, whether the first line names the columns.
        window, stride: steps of the windows that sequences are cut into, and from one window to the
            next; 0 for whole sequences.
        units: unit of each channel, None where the file names none; empty if it names no units.
        category_values: the values of each column of `categories`, in alphabetical order.
        class_names: the labels that occur, in order; none for numbers.
        notes: what was guessed and the flag that overrides it, one sentence each.
    """

    format: Format
    kind: InputKind
    target: str | None = None
    task: TaskName = "classification"
    per_step: bool = False
    text: str | None = None
    values: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    delimiter: str = ","
    header: bool = True
    categories: tuple[str, ...] = ()
    time_difference: bool = False
    window: int = 0
    stride: int = 0
    units: tuple[str | None, ...] = ()
    category_values: tuple[tuple[str, ...], ...] = ()
    class_names: tuple[str | int | bool, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the columns of a step of numbers, or of numbers and categories."""
        elapsed = (TIME_DELTA,) if self.time_difference else ()
        return (*self.values, *elapsed, *self.categories)


# Compared by identity: == on arrays is an array.
@dataclass(frozen=True, eq=False)
class Dataset:
    """n sequences, with or without labels.

    Args:
        inputs: numbers as a Ragged of (N, C) float64, tokens as a Ragged of (N,) str objects, mixed
            steps as a Ragged of (N, C) objects, numbers first, or n texts.
        target: (n,) object array with a label a sequence, or a frozenset of several; a Ragged of
            (N,) object labels with one a step; numbers, (n,) or (n, K) float64, or a Ragged of
            them; or None.
        source: the file or task, as messages should name it.
        layout: how it was read.
        lines: line of the file on which each sequence starts, (n,), or None where there is no file.
        ids: a name for each sequence, or empty.
        groups: of each sequence, where a column of groups was named, or empty.
        starts: the time at which each sequence starts, (n,), or None where no time is known.
        windows: for sequences cut into windows, the number of each in its sequence and its first
            step there, both from 0, (n, 2); else None.
    """

    inputs: Ragged | list[str]
    target: NDArray[Any] | Ragged | None
    source: str
    layout: Layout
    lines: NDArray[np.int64] | None = None
    ids: tuple[str, ...] = field(default=())
    groups: tuple[str, ...] = field(default=())
    starts: NDArray[np.float64] | None = None
    windows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def task(self) -> TaskName:
        """What is to be learned, by the target; without one, as the layout has it."""
        if self.target is None:
            return self.layout.task
        labels = flatten(self.target)
        if labels.dtype.kind == "f":
            return "regression"
        if len(labels) and isinstance(labels[0], frozenset):
            return "multilabel"
        return "tagging" if isinstance(self.target, Ragged) else "classification"

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, or characters of each text, (n,)."""
        if isinstance(self.inputs, Ragged):
            return self.inputs.lengths
        return np.array([len(text) for text in self.inputs], dtype=np.int64)

    def labels(self) -> list[Any]:
        """Return every label as often as it occurs, those of sets too; none if they are numbers."""
        task = TASKS[self.task]
        if self.target is None or not task.has_classes:
            return []
        values: list[Any] = flatten(self.target).tolist()
        return values if task.single_label else [label for labels in values for label in labels]

    @property
    def numbers(self) -> Ragged | None:
        """The columns of numbers, (N, C) float64, NaN where a value is missing; None for tokens."""
        inputs = self.inputs
        if not isinstance(inputs, Ragged) or inputs.values.ndim != 2:
            return None
        if self.layout.kind != "mixed":
            return inputs
        count = len(self.layout.channels) - len(self.layout.categories)
        return inputs.with_values(inputs.values[:, :count].astype(np.float64))

    def contents(self) -> list[object]:
        """Return each sequence as a value that only an equal sequence has, without its label."""
        inputs = self.inputs
        if not isinstance(inputs, Ragged):
            return list(inputs)
        # Object arrays hold addresses; only arrays of numbers can be compared by their bytes.
        if inputs.values.dtype == object:
            return [repr(sequence.tolist()) for sequence in inputs]
        return [sequence.tobytes() for sequence in inputs]

    def take(self, index: NDArray[np.int64]) -> Dataset:
        """Return the sequences at `index`, (m,), in that order."""
        inputs = self.inputs
        target = self.target
        return Dataset(
            inputs=inputs.take(index) if isinstance(inputs, Ragged) else [inputs[i] for i in index],
            target=target.take(index)
            if isinstance(target, Ragged)
            else None
            if target is None
            else target[index],
            source=self.source,
            layout=self.layout,
            lines=None if self.lines is None else self.lines[index],
            ids=tuple(self.ids[i] for i in index) if self.ids else (),
            groups=tuple(self.groups[i] for i in index) if self.groups else (),
            starts=None if self.starts is None else self.starts[index],
            windows=None if self.windows is None else self.windows[index],
        )
