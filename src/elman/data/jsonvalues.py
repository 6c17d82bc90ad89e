"""The values of JSON lines, checked; every fault names its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import FILL
from elman.data.options import listing, several
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


@dataclass(frozen=True)
class Values:
    """The objects of a file and the line each stands on."""

    records: list[Record]
    lines: list[int]
    source: str

    def fault(self, i: int, problem: str, remedy: str) -> DataError:
        """Return the error for record i."""
        return DataError(problem, remedy=remedy, source=self.source, line=self.lines[i])

    def column(self, key: str) -> list[Any]:
        """Return the value of a key on every line."""
        for i, record in enumerate(self.records):
            if key not in record:
                problem = f"key {key!r} is missing; the keys are {listing(list(record))}"
                raise self.fault(i, problem, "Every line needs it.")
        return [record[key] for record in self.records]

    def refuse_present(self, key: str) -> None:
        """Refuse a key on later lines that the first line does not have."""
        for i, record in enumerate(self.records):
            if key in record:
                problem = f"key {key!r} is here and not on the first line"
                raise self.fault(i, problem, "Give it on all lines or on none.")

    def texts(self, key: str) -> list[str]:
        """Return a text a line."""
        texts = self.column(key)
        for i, value in enumerate(texts):
            if not isinstance(value, str):
                problem = f"{key!r} is {type_name(value)}, expected text"
                raise self.fault(i, problem, 'Write it as "...".')
            if not value.strip():
                raise self.fault(i, f"an empty sequence: {key!r} is empty", "Remove the line.")
        return texts

    def lists(self, key: str, what: str) -> list[list[Any]]:
        """Return a list a line, none of them empty."""
        lists = self.column(key)
        for i, value in enumerate(lists):
            if not isinstance(value, list):
                problem = f"{key!r} is {type_name(value)}, expected a list of {what}"
                raise self.fault(i, problem, "Write it as [...].")
            if not value:
                raise self.fault(i, f"an empty sequence: {key!r} is empty", "Remove the line.")
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
                raise self.fault(
                    i,
                    f"token {k} of {key!r} is {found}, expected text",
                    f'Write tokens as text in "..."; numbers are read with --values {key}.'
                    if number
                    else "Write the token or remove it.",
                )
        return _join(lists)

    def numbers(self, key: str) -> Ragged:
        """Return [..] as one channel and [[..], ..] as several, (N, C)."""
        flat: list[float] = []
        ends = [0]
        channels = 0
        for i, steps in enumerate(self.lists(key, "numbers")):
            rows = steps if isinstance(steps[0], list) else [[step] for step in steps]
            channels = channels or len(rows[0])
            for k, row in enumerate(rows, 1):
                self._check_step(row, channels, f"step {k} of {key!r}", i)
                flat += row
            ends.append(ends[-1] + len(rows))
        return Ragged(
            np.array(flat, np.float64).reshape(-1, channels), np.array(ends, dtype=np.int64)
        )

    def _check_step(self, row: Any, channels: int, where: str, i: int) -> None:
        if not isinstance(row, list):
            problem = f"{where} is {type_name(row)}, expected a list of {channels} channels"
            raise self.fault(i, problem, "Write every step as [...].")
        if len(row) != channels or not row:
            problem = (
                f"{where} has {several(len(row), 'channel')}, expected {channels or 'at least 1'}"
            )
            raise self.fault(i, problem, "Every step needs a value in every channel.")
        for value in row:
            if value is None:
                raise self.fault(i, f"{where} is missing (null), expected a number", FILL)
            if type(value) not in (int, float):
                problem = f"{where} is {type_name(value)}, expected a number"
                raise self.fault(i, problem, "Correct the value.")
            if not -1e308 <= value <= 1e308:
                raise self.fault(i, f"{where} is too large for a number", "Correct the value.")

    def labels(self, key: str) -> NDArray[np.object_]:
        """Return a label a line, (n,), all of one type."""
        labels = self.column(key)
        for i, label in enumerate(labels):
            if isinstance(label, list):
                problem = f"{key!r} is a list, expected one label as on the lines before"
                raise self.fault(i, problem, "All lines need the same kind of label.")
            self._check_label(label, labels[0], key, i)
        return objects(labels)

    def tags(self, key: str, inputs: Ragged | list[str]) -> Ragged:
        """Return a label a step, (N,), all of one type; `inputs` are the steps."""
        if not isinstance(inputs, Ragged):
            raise DataError(
                f"{key!r} holds a label for every step, and a text has no steps yet",
                remedy='Cut the text into "tokens": [...].',
                source=self.source,
            )
        lists = self.column(key)
        lengths = inputs.lengths.tolist()
        for i, tags in enumerate(lists):
            if not isinstance(tags, list):
                problem = f"{key!r} is {type_name(tags)}, expected a list with a label a step"
                raise self.fault(i, problem, "All lines need the same kind of label.")
            if len(tags) != lengths[i]:
                problem = f"{key!r} has {several(len(tags), 'label')}, expected {lengths[i]}"
                raise self.fault(i, f"{problem}, one a step", "Give as many labels as steps.")
            for tag in tags:
                self._check_label(tag, lists[0][0], key, i)
        return _join(lists)

    def _check_label(self, label: Any, first: Any, key: str, i: int) -> None:
        if label is None or (isinstance(label, str) and not label.strip()):
            raise self.fault(i, f"the label {key!r} is empty", "Write it or remove the line.")
        if not isinstance(label, str | int):
            problem = f"the label {key!r} is {type_name(label)}, expected text, a whole number"
            raise self.fault(i, f"{problem} or true/false", "elman learns classes.")
        if type(label) is not type(first):
            problem = (
                f"the label {key!r} is {type_name(label)}, on the first line {type_name(first)}"
            )
            raise self.fault(i, problem, "Labels of one file are all of one type.")


def _join(sequences: list[list[Any]]) -> Ragged:
    offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    return Ragged(objects([step for sequence in sequences for step in sequence]), offsets)
