"""Objects, one per sequence, whose keys hold lists or single values, as columns of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import InputKind
from elman.data.faults import Faults, Place, describe_value, format_count, list_names
from elman.data.forms import flatten_once, read_written
from elman.data.numbers import NumberForm, find_form
from elman.data.ragged import Ragged, join_steps, to_objects
from elman.data.roles import ReadOptions
from elman.data.static import mostly_numbers, scalar_cells
from elman.data.table import UNREADABLE, Column, LabelCells, Rows, Steps, Table, flatten_lists

Record = dict[str, Any]
# JSON has no larger number; what a program writes as 1e999 is read as infinity.
_LARGEST = 1e308


def table_of_records(
    records: list[Record],
    lines: NDArray[np.int64] | None,
    faults: Faults,
    options: ReadOptions,
    noun: str = "row",
) -> Table:
    """Return objects as a table whose columns are the keys of the first object.

    Args:
        lines: the line of each object, (n,); None if they have no lines of their own.
        noun: word for an object without a line.
    """
    # In messages a column would mean a character of the line, so no column is named.
    before = options.continued.rows if options.continued else 0
    rows = Rows(faults, lines, noun=noun, named=False, before=before)
    layout = options.layout
    target = layout.target if layout and not options.target and options.labelled is None else None
    if target and target not in records[0]:
        # Without a label on the first line the file is read as unlabelled: no line may have one.
        for i, record in enumerate(records):
            if target in record:
                problem = f"key {target!r} is here and not on the first line"
                rows.fault(i, None, "key", problem, "Give it on all lines or on none.")
    # The first object defines the keys, like a header; later objects may have more keys.
    known = options.continued.known if options.continued else {}
    columns = {key: RecordColumn(key, rows, records, known) for key in records[0]}
    return Table("jsonl", columns, rows, len(records), noun="key")


class RecordColumn(Column):
    """One key of all objects; values may have any JSON type.

    Args:
        known: what earlier pieces of the file have shown of its keys, by key and a word for it.
    """

    def __init__(
        self, name: str, rows: Rows, records: list[Record], known: dict[tuple[str, str], Any]
    ) -> None:
        super().__init__(name, rows)
        self.records, self._known = records, known

    @property
    def nested(self) -> bool:  # type: ignore[override]
        """Whether the first line has a list."""
        first = isinstance(self.records[0].get(self.name), list)
        return bool(self._known.setdefault((self.name, "nested"), first))

    @property
    def is_numeric(self) -> bool:
        """Whether at least half of the values that are not null are numbers."""
        return mostly_numbers(record.get(self.name) for record in self.records)

    def static_cells(self, categories: bool) -> NDArray[Any]:
        """Return one value per line, (n,): numbers, or categories as text; null is a gap."""
        return scalar_cells(self, self.values(), len(self.records), categories)

    def plain_texts(self) -> list[str] | None:
        """Return the values as text, empty for null or no key, or None if some are lists."""
        values = [record.get(self.name) for record in self.records]
        if not all(value is None or isinstance(value, str | int | float) for value in values):
            return None
        return ["" if value is None else str(value).strip() for value in values]

    def values(self) -> Iterator[tuple[int, Any]]:
        """Yield row and value for every object that has the key."""
        for i, record in enumerate(self.records):
            if self.name in record:
                yield i, record[self.name]
            else:
                problem = f"key {self.name!r} is missing; the keys are {list_names(list(record))}"
                self.fault(i, "key", problem, "Every object needs it.")

    def guess_kind(self, named: str) -> InputKind:
        """Return the input kind of the first value: text, or a list of tokens or numbers."""
        value = self.records[0].get(self.name)
        if named == "--values":
            return "numbers"
        if isinstance(value, str):
            return "text"
        # Under the usual key of tokens numbers are a fault, whose message says how to read them.
        if named or self.name == "tokens" or not isinstance(value, list) or not value:
            return "numbers" if self.name == "sequence" and not named else "tokens"
        words = isinstance(value[0], str) and not self._written_form()
        return "tokens" if words else "numbers"

    def _written_form(self, whole: bool = False) -> NumberForm | None:
        """Return the form of numbers that are written as text, such as "1.5" or "5 °C", or None.

        Args:
            whole: whether whole numbers count, which may as well be tokens.
        """
        values = [record.get(self.name) for record in self.records[:100]]
        cells = [
            cell for value in values if isinstance(value, list) for cell in flatten_once(value)
        ]
        cells = [cell for cell in cells if cell is not None]
        if not all(isinstance(cell, str) for cell in cells):
            return None
        form = find_form(cells[:1000], None, self.marks)
        if form is None or whole:
            return form
        numbers = form.parse(cells)[0]
        return form if form.unit or (numbers[~np.isnan(numbers)] % 1 != 0).any() else None

    def channel_names(self, count: int) -> list[str]:
        """Return the key for one channel, key[1], key[2], ... for several."""
        return [self.name] if count == 1 else [f"{self.name}[{c + 1}]" for c in range(count)]

    def texts(self) -> list[str]:
        """Return one text per line."""
        texts = [""] * len(self.records)
        for i, value in self.values():
            if not isinstance(value, str):
                problem = f"{self.name!r} is {describe_value(value)}, expected text"
                self.fault(i, "type", problem, 'Write it as "...".')
            else:
                texts[i] = value
        return texts

    def lists(self, rule: str, expected: str, remedy: str) -> list[list[Any]]:
        """Return one list per line, empty where the value is not a list, which is a fault."""
        lists: list[list[Any]] = [[] for _ in self.records]
        for i, value in self.values():
            if isinstance(value, list):
                lists[i] = value
            else:
                problem = f"{self.name!r} is {describe_value(value)}, expected {expected}"
                self.fault(i, rule, problem, remedy)
        return lists

    def sequences(self, what: str) -> list[list[Any]]:
        """Return the list of steps of each line; an empty one is a fault."""
        lists = self.lists("type", f"a list of {what}", "Write it as [...].")
        for i, record in enumerate(self.records):
            if record.get(self.name) == []:
                problem = f"an empty sequence: {self.name!r} is empty"
                self.fault(i, "empty", problem, "Remove the line.")
        return lists

    def tokens(self) -> Ragged:
        """Return lists of tokens, (N,) text."""
        lists = self.sequences("tokens")
        for i, tokens in enumerate(lists):
            for k, token in enumerate(tokens, 1):
                if isinstance(token, str) and token:
                    continue
                found = "empty" if token == "" else describe_value(token)
                number = isinstance(token, int | float) and not isinstance(token, bool)
                self.fault(
                    i,
                    "empty token" if token == "" else "type",
                    f"token {k} of {self.name!r} is {found}, expected text",
                    f'Write tokens as text in "..."; numbers are read with --values {self.name}.'
                    if number
                    else "Write the token or remove it.",
                )
        return _join(lists)

    def categories(self) -> Ragged:
        """Return lists of categories, (N,) text; null becomes empty text, which means a gap."""
        lists = self.sequences("categories")
        for i, values in enumerate(lists):
            for k, value in enumerate(values, 1):
                if not isinstance(value, str | int | None):
                    problem = f"step {k} of {self.name!r} is {describe_value(value)}, expected text"
                    self.fault(i, "type", problem, "Write a category as text, or null for none.")
        return _join([["" if v is None else str(v) for v in values] for values in lists])

    def series(self) -> tuple[Ragged, str]:
        """Return [..] as one channel and [[..], ..] as several, (N, C); null and NaN are gaps."""
        parts: list[NDArray[np.float64]] = []
        ends = [0]
        channels = self._known.get((self.name, "channels"), 0)
        form = self._known.setdefault((self.name, "form"), self._written_form(whole=True))
        lists, note = read_written(self.sequences("numbers"), self.name, form, self.marks)
        for i, steps in enumerate(lists):
            rows = steps
            if steps and not isinstance(steps[0], list):
                rows = [[step] for step in steps]
            elif steps:
                channels = channels or len(steps[0])
            # Plain numbers are one channel; the first sequence decides for the file, and an empty
            # one decides nothing.
            channels = channels or min(len(rows), 1)
            numbers = join_steps(rows, channels, _LARGEST)
            if numbers is None:
                numbers = self._check_steps(rows, channels, i)
            numbers = self.blank(numbers)
            if rows and np.isnan(numbers).all():
                problem = f"every value of {self.name!r} is missing, expected numbers"
                self.fault(i, "no value", problem, "Remove the line.")
            parts.append(numbers)
            ends.append(ends[-1] + len(rows))
        values = np.concatenate(parts).reshape(ends[-1], channels)
        self._known[self.name, "channels"] = channels
        return Ragged(values, np.array(ends, dtype=np.int64)), note

    def _check_steps(self, rows: list[Any], channels: int, i: int) -> NDArray[np.float64]:
        """Return the numbers of a sequence, (T * C,), after recording the faults of its steps."""
        numbers: list[float] = []
        for k, row in enumerate(rows, 1):
            if self._check_step(row, channels, f"step {k} of {self.name!r}", i):
                numbers += [math.nan if value is None else value for value in row]
            else:
                # A placeholder keeps the indices of later steps, which are still checked.
                numbers += [0.0] * channels
        return np.array(numbers, np.float64)

    def _check_step(self, row: Any, channels: int, where: str, i: int) -> bool:
        """Return whether a step has a number or gap in every channel; record a fault if not."""
        rule, problem, remedy = "", "", "Correct the value."
        if not isinstance(row, list):
            rule, remedy = "channels", "Write every step as [...]."
            problem = f"{where} is {describe_value(row)}, expected a list of {channels} channels"
        elif len(row) != channels or not row:
            rule, remedy = "channels", "Every step needs a value in every channel."
            count = format_count(len(row), "channel")
            problem = f"{where} has {count}, expected {channels or 'at least 1'}"
        for value in row if not rule else ():
            if value is None or value != value:
                continue
            # Not isinstance: true and false are integers in Python, but a mistake in a list of
            # numbers.
            if type(value) not in (int, float):
                rule, problem = "number", f"{where} is {describe_value(value)}, expected a number"
            elif not -_LARGEST <= value <= _LARGEST:
                rule, problem = "finite", f"{where} is too large for a number"
            if rule:
                break
        if rule:
            self.fault(i, rule, problem, remedy)
        return not rule

    def label_cells(self, steps: Steps | None, per_step: bool) -> LabelCells:
        """Return one label per line, or lists with a label for each step."""
        if per_step:
            return flatten_lists(self._step_labels(steps), self._place_label)
        labels: list[Any] = [UNREADABLE] * len(self.records)
        for i, label in self.values():
            if isinstance(label, list):
                problem = f"{self.name!r} is a list, expected one label as on the lines before"
                self.fault(i, "label", problem, "All lines need the same kind of label.")
            else:
                labels[i] = label
        return LabelCells(labels, None, self._place_label)

    def _place_label(self, row: int) -> Place:
        return self.place(row, f"key {self.name!r}: ")

    def _step_labels(self, steps: Steps | None) -> list[list[Any]]:
        if steps is None:
            raise self.rows.faults.error(
                "label",
                f"{self.name!r} holds a label for every step, and a text has no steps yet",
                'Cut the text into "tokens": [...].',
            )
        remedy = "All lines need the same kind of label."
        lengths = steps.lengths.tolist()
        lists: list[list[Any]] = [[] for _ in self.records]
        for i, value in self.values():
            if isinstance(value, list):
                lists[i] = value
            elif value is None:  # no step of this sequence is labelled
                lists[i] = [None] * lengths[i]
            else:
                problem = (
                    f"{self.name!r} is {describe_value(value)}, expected a list, a label a step"
                )
                self.fault(i, "label", problem, remedy)
        for i, (labels, n) in enumerate(zip(lists, lengths, strict=True)):
            # Faulty sequences and lists of labels are read as empty; their lengths mean nothing.
            if len(labels) != n and i not in self.rows.faulty:
                count = format_count(len(labels), "label")
                problem = f"{self.name!r} has {count}, expected {n}, one a step"
                self.fault(i, "length", problem, "Give as many labels as steps.")
        return lists

    def label_lists(self) -> LabelCells:
        """Return one list of labels per line."""
        lists = self.lists("label", "a list of labels", "Write [] where there is no label.")
        return flatten_lists(lists, self._place_label)

    def target_numbers(self, steps: Steps | None) -> NDArray[np.float64] | Ragged:
        """Return numbers to predict: (n,), or for lists a Ragged of (N,) or an array (n, K).

        Lists that are as long as their sequences hold one number for each step.
        """
        numbers: list[list[float]] = [[0.0] for _ in self.records]
        nested, width = self.nested, self._known.get((self.name, "width"), 0)
        lengths = [] if steps is None else steps.lengths.tolist()
        found = [record.get(self.name) for record in self.records]
        # Per step only if all lists match their sequences; otherwise lists of unequal length are
        # faults.
        per_step = bool(lengths) and all(
            isinstance(value, list) and len(value) == n
            for value, n in zip(found, lengths, strict=True)
        )
        per_step = bool(self._known.setdefault((self.name, "per step"), per_step))
        for i, value in self.values():
            values = value if isinstance(value, list) else [value]
            width = width or len(values)
            if per_step:  # a number at every step may be missing at some
                values = [math.nan if v is None else v for v in values]
            bad = (v for v in values if type(v) not in (int, float) or abs(v) > _LARGEST)
            wrong = next((v for v in bad if v == v), values)
            if wrong is not values or not values:
                problem = f"{self.name!r} holds {describe_value(wrong)}, expected a number"
                self.fault(i, "number", problem, "Correct it or remove the line.")
            elif isinstance(value, list) != nested or (not per_step and len(values) != width):
                count = format_count(len(values), "number")
                problem = f"{self.name!r} has {count}, expected {width} as on the first line"
                remedy = "Give as many on every line, or one for each step."
                self.fault(i, "length", problem, remedy)
            elif per_step and len(values) != lengths[i]:  # in a later piece of a file
                count = format_count(len(values), "number")
                problem = f"{self.name!r} has {count}, expected {lengths[i]}, one for each step"
                self.fault(i, "length", problem, "Give as many numbers as steps.")
            else:
                numbers[i] = [float(v) for v in values]
        if per_step:
            return Ragged.from_list(numbers, np.float64)
        self._known[self.name, "width"] = width
        rows = [values if len(values) == width else [0.0] * width for values in numbers]
        matrix = np.array(rows, dtype=np.float64).reshape(len(rows), width)
        return matrix if nested else matrix[:, 0]

    def known_numbers(self) -> NDArray[np.float64] | None:
        """Return all numbers of the key, or None if anything else is among them."""
        found = [record.get(self.name) for record in self.records]
        values = [v for value in found for v in (value if isinstance(value, list) else [value])]
        values = [v for v in values if v is not None]
        if not all(type(v) in (int, float) for v in values):
            return None
        numbers = np.array(values, dtype=np.float64)
        return np.asarray(numbers[~np.isnan(numbers)])


def _join(sequences: list[list[Any]]) -> Ragged:
    offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    return Ragged(to_objects([step for sequence in sequences for step in sequence]), offsets)
