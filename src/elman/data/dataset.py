"""Labelled sequences, and the layout in which a file was read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.data.hashing import hash_sequences, hash_steps, to_bits
from elman.data.ragged import Ragged, flatten, is_labelled, to_objects
from elman.tasks import TASKS, TaskName

TIME_DELTA = "time since the last step"  # name of that channel
InputKind = Literal["numbers", "tokens", "text", "mixed"]
Format = Literal["rows", "steps", "jsonl", "ts", "arrays", "folder"]
Sure = Literal["sure", "likely", "unsure"]

_READ_AS = {
    "target": "the label",
    "id": "the sequence that a row belongs to",
    "time": "the time",
    "values": "numbers of the sequence",
    "text": "the text or tokens of the sequence",
    "categories": "categories",
    "static": "features of the whole sequence",
    "unused": "no input",
    "unit": "numbers with a unit",
}


@dataclass(frozen=True)
class Guess:
    """A choice that the reader made because the caller did not.

    Args:
        role: what was chosen: `target`, `id`, `time`, `values`, `text`, `categories`, `static`,
            `format`, `task`, `unused` (a column that is left out), or another property of the file.
        columns: the columns that were chosen; empty if the choice is about the whole file.
        reason: why, as a phrase: "by its name".
        flag: the flag with the value that was guessed: "--target label".
        change: the flag that overrides the guess: "--target NAME".
        sure: `sure` if name and content agree, `likely` if one of them decides, else `unsure`.
    """

    role: str
    columns: tuple[str, ...]
    reason: str
    flag: str
    change: str
    sure: Sure = "likely"

    @property
    def line(self) -> str:
        """The guess in one line of the description of a file."""
        told = self.role in ("static", "group") or not self.flag.startswith("--")
        change = f"; {self.change}" if told else ""
        return f"{self.flag}: {self.reason} ({self.sure}){change}"

    @property
    def sentence(self) -> str:
        """The guess in one sentence, for the error that may follow from it."""
        if self.role in _READ_AS and self.columns:
            first, *others = self.columns
            names = f"column {first!r}"
            if others:
                names = f"columns {first!r} to {others[-1]!r}"
            what = f"{names} {'were' if others else 'was'} read as {_READ_AS[self.role]}"
        else:
            what = f"the file was read as if with {self.flag}"
        # A flag and its value, or a phrase.
        end = " changes it." if len(self.change.split()) < 3 else "."
        return f"{what}, a guess ({self.sure}: {self.reason}). {self.change}{end}"


@dataclass(frozen=True)
class Layout:
    """How a file was interpreted. Pass it to `read` to read another file in the same way.

    Args:
        format: `rows` (a table, one row per sequence), `steps` (a table, one row per time step),
            `jsonl` (objects or rows with lists), `ts` (cases of channels), `arrays`, `folder`.
        kind: content of a step: `numbers`, `tokens`, `mixed` numbers and categories, or `text` that
            is not yet split into tokens.
        target: column or key of the label; None if the file has no target.
        task: task to learn: one class per sequence or, for `tagging`, per step; a set of labels; or
            numbers, per sequence or, with per_step, per step.
        per_step: whether there is a label or number at every step.
        text: column or key of the text or tokens.
        values: columns of values in order; for formats without columns, names of the channels.
        id: column, or columns separated by commas, of the sequence of each row, or of row names.
        group: column or key of the groups by which sequences were divided between splits.
        melted: columns of variables and their values, if the file has a row for each measurement.
        time: for `steps`, the column that orders the rows of a sequence.
        categories: columns or keys of categories, which follow the numbers of a step.
        time_difference: whether the time since the last step follows the values.
        dates: order of day, month and year in times such as 01/02/2024; None for other times.
        seconds: whether the times are in seconds, as those of dates are.
        delimiter: for `rows` and `steps`, separator of the cells in a text; empty for a frame.
        header: for `rows` and `steps`, whether a line names the columns.
        blocks: for `steps`, whether a blank line ends each sequence, as in CoNLL files.
        header_named: whether the caller said so.
        skip_lines: lines above the table, if the caller said how many.
        window, stride: length and distance of windows, in steps; 0 for whole sequences.
        category_values: distinct values of each column of `categories`, in alphabetical order.
        class_names: labels that occur, sorted; empty for numbers.
        wide: for `rows`, channels that have their own columns; `values` lists them one by one.
        static: columns or keys with one value per sequence, numbers first; empty for none.
        static_categories: those of `static` that are categories.
        aside: the other columns or keys of the file, which are not read, such as groups.
        decimal: decimal mark of numbers such as 1,234; None if no number has a comma.
        missing: marks of missing values that the caller added to the usual ones.
        number_marks: words that mean a missing value beside numbers only, because they repeated.
        units: unit of each of `values` as its cells show it, empty text where they show none.
        guesses: what the caller did not say, so that the reader had to guess it.
        notes: remarks on the file, one sentence each.
        ahead: distance in steps at which the sequence itself is the target; 0 for another target.
        future: channels, or key of the text or tokens, that are predicted so; `target` is None.
        unit: for text with `ahead`, what it is split into.
    """

    format: Format
    kind: InputKind
    target: str | None = None
    task: TaskName = "classification"
    per_step: bool = False
    text: str | None = None
    values: tuple[str, ...] = ()
    id: str | None = None
    group: str | None = None
    melted: tuple[str, ...] = ()
    time: str | None = None
    delimiter: str = ","
    header: bool = True
    blocks: bool = False
    header_named: bool = False
    skip_lines: int | None = None
    categories: tuple[str, ...] = ()
    time_difference: bool = False
    dates: Literal["ymd", "dmy", "mdy"] | None = None
    seconds: bool = False
    window: int = 0
    stride: int = 0
    category_values: tuple[tuple[str, ...], ...] = ()
    class_names: tuple[str | int | bool, ...] = ()
    wide: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    static_categories: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    decimal: str | None = None
    missing: tuple[str, ...] = ()
    number_marks: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    guesses: tuple[Guess, ...] = ()
    notes: tuple[str, ...] = ()
    ahead: int = 0
    future: tuple[str, ...] = ()
    unit: Literal["characters", "words", "bytes"] | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the columns of a step of numbers, or of numbers and categories."""
        if self.wide:
            return self.wide
        time_delta = (TIME_DELTA,) if self.time_difference else ()
        return (*self.values, *time_delta, *self.categories)

    @property
    def in_cells(self) -> bool:
        """Whether each cell of `values` holds a sequence, in a table with one row per sequence."""
        return self.format == "rows" and 0 < len(self.values) <= len(self.wide)

    @property
    def channel_units(self) -> tuple[str, ...]:
        """Units of `channel_names` as the cells show them, empty text where they show none."""
        width = len(self.values) // len(self.wide) if self.wide else 1
        units = self.units[:: max(1, width)]
        return (*units, *("" for _ in self.channel_names[len(units) :]))

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels; empty for a row per sequence of one channel."""
        return self.wide if self.format == "rows" else self.channels


@dataclass(frozen=True, eq=False)
class Static:
    """Static features: values that belong to a whole sequence, such as the age of a patient.

    Args:
        names: names of the features, those of numbers first.
        numbers: (n, k) float64, NaN where a value is missing.
        categories: (n, c) text, empty where a value is missing.
        units: unit of each feature, None where its name has none.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.float64]
    categories: NDArray[np.object_]
    units: tuple[str | None, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def number_names(self) -> tuple[str, ...]:
        """Names of the features that are numbers, (k,)."""
        return self.names[: self.numbers.shape[1]]

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the features that are categories, (c,)."""
        return self.names[self.numbers.shape[1] :]

    def take(self, index: NDArray[np.int64]) -> Static:
        """Return the features of the sequences at `index`, (m,), in that order."""
        numbers, categories = self.numbers[index], self.categories[index]
        return dataclasses.replace(self, numbers=numbers, categories=categories)

    def contents(self) -> list[object]:
        """Return a comparable value for each sequence; equal features have equal values."""
        pairs = zip(self.numbers, self.categories.tolist(), strict=True)
        return [(row.tobytes(), *texts) for row, texts in pairs]


# Compared by identity, because == on arrays returns an array.
@dataclass(frozen=True, eq=False)
class Dataset:
    """n sequences, with or without labels.

    Args:
        inputs: numbers as a Ragged of (N, C) float64, tokens as a Ragged of (N,) str objects, mixed
            steps as a Ragged of (N, C) objects, numbers first, or n texts.
        target: (n,) object array with one label, or one frozenset of labels, per sequence; a Ragged
            of (N,) object labels, one per step, None where there is none; numbers, (n,) or (n, K)
            float64, or a Ragged of numbers, NaN where there is none; or None.
        source: name of the file or task in messages.
        layout: how the file was read.
        lines: line of the file on which each sequence starts, (n,), or None without a file.
        ids: name of each sequence, or empty.
        groups: group of each sequence, or empty if no group column was named.
        starts: time at which each sequence starts, (n,), or None without a time column.
        windows: for sequences cut into windows, the index of each window in its sequence and its
            first step there, both from 0, (n, 2); else None.
        static: features with one value per sequence, or None if there are none.
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
    static: Static | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def task(self) -> TaskName:
        """The task, derived from the target; the task of the layout if there is no target."""
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

    @property
    def names(self) -> list[Any]:
        """Names of the sequences: their ids in the file, else first lines, else numbers from 0.

        A window is named after its sequence, its number and its first step, both from 1.
        """
        names: list[Any] = list(range(len(self)))
        if self.ids:
            names = list(self.ids)
        elif self.lines is not None:
            names = [f"line {line}" for line in self.lines.tolist()]
        if self.windows is None:
            return names
        windows = zip(names, self.windows.tolist(), strict=True)
        return [f"{name} window {k + 1} from step {step + 1}" for name, (k, step) in windows]

    def name_sequences(self) -> tuple[str, ...]:
        """Return `names` as text; empty if they are only numbers, as without a file."""
        named = self.ids or self.lines is not None
        return tuple(map(str, self.names)) if named else ()

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the target columns in the file; empty if there are none."""
        names = self.layout.target
        if self.layout.ahead and self.target is not None:
            return self.layout.future
        if not names or self.target is None:
            return ()
        single = flatten(self.target).ndim == 1
        return (names,) if single else tuple(name.strip() for name in names.split(","))

    def labels(self) -> list[Any]:
        """Return every label as often as it occurs, with sets flattened; empty for numbers."""
        task = TASKS[self.task]
        if self.target is None or not task.has_classes:
            return []
        values: list[Any] = (every := flatten(self.target))[is_labelled(every)].tolist()
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

    def contents(self) -> NDArray[np.uint64]:
        """Return a number for each sequence, (n,); equal sequences have equal numbers.

        Valid in this process only, because Python hashes texts differently in each.
        """
        contents = hash_steps(self.inputs, self.numbers)
        if self.static is None:
            return contents
        own = to_bits(to_objects(self.static.contents()))
        both = np.column_stack([contents, own])
        return hash_sequences(Ragged(both, np.arange(len(both) + 1)))

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
            static=None if self.static is None else self.static.take(index),
        )
