"""The values of JSON lines, checked; every fault names its line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.faults import Faults, format_count, list_names
from elman.data.ragged import Ragged
from elman.data.target import objects
from elman.errors import DataError

Record = dict[str, Any]
_TYPES = (
    (bool, "true or false"),
    (str, "text"),
    (int, "a whole number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)


def type_name(value: object) -> str:
    """Return what JSON value this is, in words, with a short value itself."""
    name = next((name for kind, name in _TYPES if isinstance(value, kind)), "null")
    short = isinstance(value, str | int | float) and len(str(value)) <= 40
    return f"{name} ({value!r})" if short and not isinstance(value, bool) else name


def channel_names(key: str, channels: int) -> tuple[str, ...]:
    """Return the key for one channel, key[1], key[2], ... for several."""
    return (key,) if channels == 1 else tuple(f"{key}[{c + 1}]" for c in range(channels))


@dataclass
class Values:
    """The objects of a file and the line each stands on, or None; what is wrong is told."""

    records: list[Record]
    lines: list[int] | None
    faults: Faults
    faulty: set[int] = field(default_factory=set)

    def fault(self, i: int, rule: str, problem: str, remedy: str) -> None:
        """Note a fault of record i."""
        self.faulty.add(i)
        if self.lines is None:
            self.faults.add(rule, f"row {i + 1}: {problem}", remedy=remedy)
        else:
            self.faults.add(rule, problem, remedy=remedy, line=self.lines[i])

    def column(self, key: str) -> Iterator[tuple[int, Any]]:
        """Yield number and value of a key for every record that has it."""
        for i, record in enumerate(self.records):
            if key in record:
                yield i, record[key]
            else:
                problem = f"key {key!r} is missing; the keys are {list_names(list(record))}"
                self.fault(i, "key", problem, "Every line needs it.")

    def refuse_present(self, key: str) -> None:
        """Refuse a key on later lines that the first line does not have."""
        for i, record in enumerate(self.records):
            if key in record:
                problem = f"key {key!r} is here and not on the first line"
                self.fault(i, "key", problem, "Give it on all lines or on none.")

    def texts(self, key: str) -> list[str]:
        """Return a text a line."""
        texts = [""] * len(self.records)
        for i, value in self.column(key):
            if not isinstance(value, str):
                problem = f"{key!r} is {type_name(value)}, expected text"
                self.fault(i, "type", problem, 'Write it as "...".')
            elif not value.strip():
                problem = f"an empty sequence: {key!r} is empty"
                self.fault(i, "empty", problem, "Remove the line.")
            else:
                texts[i] = value
        return texts

    def lists(self, key: str, what: str) -> list[list[Any]]:
        """Return a list a line, empty where that is a fault."""
        lists: list[list[Any]] = [[] for _ in self.records]
        for i, value in self.column(key):
            if not isinstance(value, list):
                problem = f"{key!r} is {type_name(value)}, expected a list of {what}"
                self.fault(i, "type", problem, "Write it as [...].")
            elif not value:
                problem = f"an empty sequence: {key!r} is empty"
                self.fault(i, "empty", problem, "Remove the line.")
            else:
                lists[i] = value
        return lists

    def tokens(self, key: str) -> Ragged:
        """Return lists of tokens, (N,) text."""
        lists = self.lists(key, "tokens")
        for i, tokens in enumerate(lists):
            for k, token in enumerate(tokens, 1):
                if isinstance(token, str) and token:
                    continue
                found = "empty" if token == "" else type_name(token)
                number = isinstance(token, int | float) and not isinstance(token, bool)
                self.fault(
                    i,
                    "empty token" if token == "" else "type",
                    f"token {k} of {key!r} is {found}, expected text",
                    f'Write tokens as text in "..."; numbers are read with --values {key}.'
                    if number
                    else "Write the token or remove it.",
                )
        return _join(lists)

    def categories(self, key: str) -> Ragged:
        """Return lists of categories, (N,) text; null is the empty text, which means a gap."""
        lists = self.lists(key, "categories")
        for i, own in enumerate(lists):
            for k, value in enumerate(own, 1):
                if not isinstance(value, str | int | None):
                    problem = f"step {k} of {key!r} is {type_name(value)}, expected text"
                    self.fault(i, "type", problem, "Write a category as text, or null for none.")
        return _join([["" if v is None else str(v) for v in own] for own in lists])

    def side_by_side(
        self, numbers: list[str], categories: tuple[str, ...]
    ) -> tuple[Ragged, tuple[str, ...]]:
        """Return the values of several keys as the columns of a step, and names of the channels.

        Returns: (N, C) float64, or with categories (N, C) objects, numbers first.
        """
        parts = {key: self.numbers(key) for key in numbers}
        parts |= {key: self.categories(key) for key in categories}
        first, *others = parts
        for key in others:
            for i in np.flatnonzero(parts[key].lengths != parts[first].lengths).tolist():
                problem = (
                    f"{key!r} has {format_count(int(parts[key].lengths[i]), 'step')}, expected "
                )
                problem += f"{parts[first].lengths[i]} as {first!r}"
                self.fault(i, "length", problem, "Give every key of a line as many steps.")
        self.faults.stop()
        columns = [part.values.reshape(len(part.values), -1) for part in parts.values()]
        kind = object if categories else np.float64
        values = np.hstack([column.astype(kind) for column in columns])
        names = [channel_names(key, parts[key].values.shape[1]) for key in numbers]
        return parts[first].with_values(values), tuple(name for own in names for name in own)

    def numbers(self, key: str) -> Ragged:
        """Return [..] as one channel and [[..], ..] as several, (N, C); null and NaN are gaps."""
        flat: list[float] = []
        ends = [0]
        channels = 0
        for i, steps in enumerate(self.lists(key, "numbers")):
            rows = steps
            if steps and not isinstance(steps[0], list):
                rows = [[step] for step in steps]
            elif steps:
                channels = channels or len(steps[0])
            channels = channels or min(len(rows), 1)
            for k, row in enumerate(rows, 1):
                if self._good_step(row, channels, f"step {k} of {key!r}", i):
                    flat += [math.nan if value is None else value for value in row]
                else:
                    flat += [0.0] * channels
            if rows and all(map(math.isnan, flat[ends[-1] * channels :])):
                problem = f"every value of {key!r} is missing, expected numbers"
                self.fault(i, "no value", problem, "Remove the line.")
            ends.append(ends[-1] + len(rows))
        return Ragged(
            np.array(flat, np.float64).reshape(ends[-1], channels), np.array(ends, dtype=np.int64)
        )

    def _good_step(self, row: Any, channels: int, where: str, i: int) -> bool:
        if not isinstance(row, list):
            problem = f"{where} is {type_name(row)}, expected a list of {channels} channels"
            self.fault(i, "channels", problem, "Write every step as [...].")
            return False
        if len(row) != channels or not row:
            count = format_count(len(row), "channel")
            problem = f"{where} has {count}, expected {channels or 'at least 1'}"
            self.fault(i, "channels", problem, "Every step needs a value in every channel.")
            return False
        for value in row:
            if value is None or value != value:
                continue
            if type(value) not in (int, float):
                problem = f"{where} is {type_name(value)}, expected a number"
                self.fault(i, "number", problem, "Correct the value.")
                return False
            if not -1e308 <= value <= 1e308:
                self.fault(i, "finite", f"{where} is too large for a number", "Correct the value.")
                return False
        return True

    def labels(self, key: str) -> NDArray[np.object_]:
        """Return a label a line, (n,), all of one type."""
        labels: list[Any] = [None] * len(self.records)
        first: Any = None
        for i, label in self.column(key):
            if isinstance(label, list):
                problem = f"{key!r} is a list, expected one label as on the lines before"
                self.fault(i, "label", problem, "All lines need the same kind of label.")
            elif self._good_label(label, first, key, i):
                labels[i] = label
                first = label if first is None else first
        return objects(labels)

    def groups(self, key: str) -> tuple[str, ...]:
        """Return a group a line, as text."""
        found = [""] * len(self.records)
        for i, group in self.column(key):
            if isinstance(group, str | int) and str(group).strip():
                found[i] = str(group)
            else:
                problem = f"the group {key!r} is {type_name(group)}, expected text or a number"
                self.fault(i, "group", problem, "Write it or remove the line.")
        return tuple(found)

    def tags(self, key: str, inputs: Ragged | list[str]) -> Ragged:
        """Return a label a step, (N,), all of one type; `inputs` are the steps."""
        if not isinstance(inputs, Ragged):
            raise DataError(
                f"{key!r} holds a label for every step, and a text has no steps yet",
                remedy='Cut the text into "tokens": [...].',
                source=self.faults.source,
                rule="label",
            )
        lists: list[list[Any]] = [[] for _ in self.records]
        lengths = inputs.lengths.tolist()
        unread = set(self.faulty)
        first: Any = None
        for i, tags in self.column(key):
            if not isinstance(tags, list):
                problem = f"{key!r} is {type_name(tags)}, expected a list with a label a step"
                self.fault(i, "label", problem, "All lines need the same kind of label.")
                continue
            if len(tags) != lengths[i] and i not in unread:
                problem = f"{key!r} has {format_count(len(tags), 'label')}, expected {lengths[i]}"
                self.fault(i, "length", f"{problem}, one a step", "Give as many labels as steps.")
            lists[i] = tags
            for tag in tags:
                if self._good_label(tag, first, key, i):
                    first = tag if first is None else first
        return _join(lists)

    def sets(self, key: str) -> NDArray[np.object_]:
        """Return a set of labels a line, (n,) frozensets, all of one type."""
        sets: list[frozenset[Any]] = [frozenset()] * len(self.records)
        first: Any = None
        for i, labels in self.column(key):
            if not isinstance(labels, list):
                problem = f"{key!r} is {type_name(labels)}, expected a list of labels"
                self.fault(i, "label", problem, "Write [] where there is no label.")
                continue
            good = [label for label in labels if self._good_label(label, first, key, i)]
            first = good[0] if good and first is None else first
            sets[i] = frozenset(good)
        return objects(sets)

    def targets(self, key: str, inputs: Ragged | list[str]) -> NDArray[np.float64] | Ragged:
        """Return numbers to be predicted: (n,), or of lists a Ragged of (N,) or else (n, K).

        Lists as long as their sequences hold a number for each step.
        """
        found: list[list[float]] = [[0.0] for _ in self.records]
        lists = [isinstance(value, list) for _, value in self.column(key)]
        width = 0
        per_step = isinstance(inputs, Ragged) and all(
            isinstance(r.get(key), list) and len(r[key]) == n
            for r, n in zip(self.records, inputs.lengths.tolist(), strict=True)
        )
        for i, value in self.column(key):
            numbers = value if isinstance(value, list) else [value]
            width = width or len(numbers)
            wrong = next((v for v in numbers if not _is_number(v)), numbers)
            if wrong is not numbers or not numbers:
                problem = f"{key!r} holds {type_name(wrong)}, expected a number"
                self.fault(i, "number", problem, "Correct it or remove the line.")
            elif isinstance(value, list) != lists[0] or (not per_step and len(numbers) != width):
                problem = f"{key!r} has {format_count(len(numbers), 'number')}, expected {width}"
                remedy = "Give as many on every line, or one for each step."
                self.fault(i, "length", f"{problem} as on the first line", remedy)
            else:
                found[i] = [float(v) for v in numbers]
        if per_step:
            return Ragged.from_list(found, np.float64)
        rows = [own if len(own) == width else [0.0] * width for own in found]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), width)
        return table if lists and lists[0] else table[:, 0]

    def _good_label(self, label: Any, first: Any, key: str, i: int) -> bool:
        if label is None or (isinstance(label, str) and not label.strip()):
            problem, remedy = f"the label {key!r} is empty", "Write it or remove the line."
            self.fault(i, "no label", problem, remedy)
        elif not isinstance(label, str | int):
            problem = f"the label {key!r} is {type_name(label)}, expected text, a whole number"
            self.fault(i, "label", f"{problem} or true/false", "elman learns classes.")
        elif first is not None and type(label) is not type(first):
            problem = (
                f"the label {key!r} is {type_name(label)}, on the first line {type_name(first)}"
            )
            self.fault(i, "label type", problem, "Labels of one file are all of one type.")
        else:
            return True
        return False


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e308 <= value <= 1e308


def _join(sequences: list[list[Any]]) -> Ragged:
    offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    return Ragged(objects([step for sequence in sequences for step in sequence]), offsets)
