"""The forms that a record may have: which keys mean what, and any of them as a JSON file has it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from elman.data.dataset import TIME_DELTA, Layout
from elman.data.faults import describe_value, format_count, list_names
from elman.errors import DataError, RecordError, nearest
from elman.estimators.reading import SequenceReader

STEP = "step"  # key of a step whose values have no names: {"id": "a", "step": [1.5, 20]}
_ROWS = {"numbers": "values", "mixed": "values", "tokens": "tokens", "text": "text"}


class RecordForm:
    """The keys of the records of a fitted estimator.

    Args:
        estimator: a fitted estimator.

    Attributes:
        names: names of the columns of a step, in the order of the network's; empty if they have
            none, and for tokens and text.
        row_key: key of an object under which the list of all steps, the tokens or the text stand;
            None if columns of the training file have that name.
        other_key: a second such key, where the training file has its own.
        wide: columns of a table with a row per sequence, channel by channel.
        static, coded: names of the static features, numbers first; those that are categories.
        inputs: keys that hold what the network reads at its steps.
        known: these, and all other keys of the training file.
    """

    def __init__(self, estimator: SequenceReader) -> None:
        self.encoder = estimator.encoder_
        layout = self.layout = estimator.layout_
        self.format = layout.format if layout is not None else "arrays"
        features = self.encoder.static
        self.static = () if features is None else features.names
        self.coded = () if features is None else features.names[len(features.mean) :]
        self.timed = layout is not None and layout.time_difference
        self.wide = layout.values if layout is not None and self.format == "rows" else ()
        self.names = self._find_names()
        self.row_key = self._find_row_key()
        usual = _ROWS[self.encoder.kind]
        taken = {self.row_key, *self.names, *self.wide, *self.static, *self._bundles()}
        self.other_key = None if usual in taken else usual
        roles: list[str | None] = []
        if layout is not None:
            for role in (layout.id, layout.time, layout.target):
                roles += [role, *(part.strip() for part in (role or "").split(","))]
            roles += [layout.group, *layout.aside]
        inputs = {self.row_key, *self.names, *self.wide} - {TIME_DELTA, None}
        self.inputs = {str(name) for name in inputs} | self._bundles()
        # An id and a label may stand beside the inputs; they are not read.
        self.known = {"id", *self.inputs, *self.static, *filter(None, [*roles, self.other_key])}

    def _find_names(self) -> tuple[str, ...]:
        layout, count = self.layout, self.encoder.channels
        if not count:
            return ()
        names = tuple(self.encoder.names)
        if layout is not None and layout.format in ("steps", "jsonl", "rows"):
            names = layout.wide if layout.format == "rows" else layout.channels
        numbered = names == tuple(f"channel {c + 1}" for c in range(count))
        if len(names) == count and not numbered and not self._bundles():
            return names
        # A step of several kinds needs a name for each column, because a column has one kind.
        mixed = self.encoder.kind == "mixed"
        return tuple(f"column {c + 1}" for c in range(count)) if mixed else ()

    def _bundles(self) -> set[str]:
        """Return the keys of JSON lines that hold several channels: x has x[1], x[2], ..."""
        if self.layout is None or self.format != "jsonl":
            return set()
        return {n.partition("[")[0] for n in self.layout.values if n.endswith("]")}

    def _find_row_key(self) -> str | None:
        layout = self.layout
        if layout is not None and layout.text:
            return layout.text
        bundles = self._bundles()
        if len(bundles) == 1 and len(self._channels_of(next(iter(bundles)))) == (
            self.encoder.channels
        ):
            return next(iter(bundles))
        if layout is not None and self.format == "jsonl" and len(self.names) == 1:
            return self.names[0]
        key = _ROWS[self.encoder.kind]
        taken = {*self.names, *self.wide, *bundles, *self.static}
        return None if key in taken else key

    def _channels_of(self, key: str) -> list[int]:
        names = self.layout.channels if self.layout is not None else ()
        return [c for c, name in enumerate(names) if name.partition("[")[0] == key]

    def find_rows(self, record: dict[str, Any]) -> str | None:
        """Return the key of a record that holds all of its steps, if it has one."""
        if self.row_key in record:
            return self.row_key
        return self.other_key if self.other_key in record else None

    def is_step(self, record: Any) -> bool:
        """Whether a record is one step, and not a whole sequence."""
        if isinstance(record, list):
            # Of one channel a list is a sequence, and a number is a step.
            several = self.encoder.channels > 1
            return several and bool(record) and not {*map(type, record)} & {list, dict}
        if not isinstance(record, dict):
            return record is not None
        if self.is_bare(record):
            return True
        key = self.find_rows(record)
        if key is not None:
            return self.encoder.kind != "text" and not isinstance(record[key], list)
        own = [record[name] for name in self.names if name in record]
        lists = own or [*record.values()]
        return bool(own) and not any(isinstance(value, list) for value in lists)

    def is_bare(self, record: dict[str, Any]) -> bool:
        """Whether an object has the values of one step without their names, under `step`."""
        return STEP in record and STEP not in self.known

    def free_key(self, key: str) -> str:
        """Return `key`, or a longer one if the training file has it."""
        while key in self.known:
            key += "_"
        return key

    def arrange(self, record: Any) -> tuple[dict[str, Any], Layout]:
        """Return a record as an object of a JSON file, and the layout to read it with."""
        kind = self.encoder.kind
        if isinstance(record, list) and record and {*map(type, record)} == {dict}:
            return self.arrange({"steps": record})
        if isinstance(record, list) or (kind == "text" and isinstance(record, str)):
            if self.static:
                raise RecordError(
                    f"{describe_value(record)} has no static features; the model reads "
                    f"{list_names(self.static)} beside the steps",
                    remedy=f"Write an object: {self.example()}.",
                )
            return self._arrange_rows(record, {})
        if not isinstance(record, dict):
            raise RecordError(
                f"{describe_value(record)}, expected a sequence",
                remedy=f"Write it as in the training file, or as {self.example()}.",
            )
        objects = [k for k, v in record.items() if isinstance(v, list) and v and
                   {*map(type, v)} == {dict} and k not in self.known]  # fmt: skip
        steps = record[objects[0]] if len(objects) == 1 else []
        self.refuse_unknown([key for key in record if key not in objects])
        self.refuse_unknown(dict.fromkeys(key for step in steps for key in step))
        rows_key = self.find_rows(record)
        if rows_key is not None and not self._is_own_key(rows_key):
            return self._arrange_rows(record[rows_key], self._beside(record))
        if steps:
            return self._arrange_steps(record, objects[0], steps)
        return self._arrange_object(record)

    def _is_own_key(self, key: str) -> bool:
        """Whether a key of all steps is one of the training file."""
        layout = self.layout
        if layout is None or self.format not in ("jsonl", "rows", "steps"):
            return False
        return key in {layout.text, *self._bundles(), *layout.values}

    def _arrange_rows(self, rows: Any, beside: dict[str, Any]) -> tuple[dict[str, Any], Layout]:
        """Arrange steps that stand in the order of the network's columns, or a text."""
        if self.encoder.kind == "mixed":
            count = len(self.names)
            for k, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
                if not isinstance(row, list) or len(row) != count:
                    found = (
                        format_count(len(row), "value") if isinstance(row, list) else "one value"
                    )
                    raise RecordError(
                        f"step {k} has {found}, expected {count}: {list_names(self.names)}",
                        remedy="Every step needs a value in every channel; null means no value.",
                    )
            if not rows:
                raise RecordError("an empty sequence", remedy="Give at least one step.")
            columns = dict(zip(self.names, map(list, zip(*rows, strict=True)), strict=True))
            return {**columns, **beside}, self._layout_of_names()
        key = self.row_key or _ROWS[self.encoder.kind]
        if self.encoder.kind != "numbers":
            return {key: rows, **beside}, dataclasses.replace(self._plain_layout(), text=key)
        channels = range(self.encoder.channels)
        values = tuple(f"{key}[{c + 1}]" for c in channels) if channels[1:] else (key,)
        return {key: rows, **beside}, dataclasses.replace(self._plain_layout(), values=values)

    def _beside(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the static features beside steps that the training file does not have so."""
        for name in self.static:
            if name not in record:
                raise self.missing(name, list(record))
        return {name: record[name] for name in self.static}

    def _arrange_steps(
        self, record: dict[str, Any], key: str, steps: list[dict[str, Any]]
    ) -> tuple[dict[str, Any], Layout]:
        """Arrange an object with a list of objects, one for each step."""
        present = {name for step in steps for name in step} | set(record)
        names = self.names or tuple(filter(None, (self.row_key,)))
        lacking = [name for name in names if name not in present and name != TIME_DELTA]
        if len(lacking) == len(names):
            raise self.missing(lacking[0], list(present - {key}))
        if self.format == "steps":
            # A key that all objects lack is a missing value, as one that some of them lack.
            first = {**steps[0], **dict.fromkeys(lacking)}
            return self._arrange_object({**record, key: [first, *steps[1:]]})
        own = {name: [step.get(name) for step in steps] for name in names}
        beside = {name: record.get(name, steps[0].get(name)) for name in self.static}
        return {**own, **beside}, self._layout_of_names()

    def _arrange_object(self, record: dict[str, Any]) -> tuple[dict[str, Any], Layout]:
        """Arrange an object with the keys of the training file, or a list for each channel."""
        layout, record = self.layout, dict(record)
        channels = bool(self.wide) and not record.keys() & {*self.wide} and bool(self.names)
        if layout is None or channels or self.format not in ("steps", "rows", "jsonl"):
            for name in self.names or (self.row_key or "",):
                if name not in record:
                    raise self.missing(name, list(record))
            own = {name: record[name] for name in self.names}
            return {**own, **self._beside(record)}, self._layout_of_names()
        layout = dataclasses.replace(layout, melted=(), blocks=False)
        objects = any(isinstance(v, list) and v and type(v[0]) is dict for v in record.values())
        if self.format == "steps":
            needed = self.inputs if not objects else set()
            needed = needed | ({layout.time} if self.timed and layout.time else set())
            present = {*record, *(k for v in record.values() if isinstance(v, list)
                       for step in v if isinstance(step, dict) for k in step)}  # fmt: skip
            others = {self.row_key if not layout.text else None}
            for name in sorted(needed - others, key=lambda name: name not in self.names):
                if name not in present and not all(p.strip() in present for p in name.split(",")):
                    raise self.missing(name, list(record))
            if layout.time and layout.time not in present and not self.timed:
                parts = layout.time.split(",")
                if not all(part.strip() in present for part in parts):
                    layout = dataclasses.replace(layout, time=None)
        else:
            present = set(record)
        if self.format == "jsonl":
            needed = {layout.text} if layout.text else self._bundles() | {*self.names}
            for name in (*sorted(filter(None, needed)), *self.static):
                if name not in record and "." not in name:  # of an object within the object
                    raise self.missing(name, list(record))
        if self.format == "rows" and layout.text and layout.text not in present:
            raise self.missing(layout.text, list(record))
        if self.format == "rows" and self.wide and not present & {*self.wide}:
            raise self.missing(self.wide[0], list(record))
        if self.format != "jsonl":
            for name in (*self.static, *self.wide):
                if name not in present:
                    record[name] = None
        return record, layout

    def _plain_layout(self) -> Layout:
        layout = self.layout
        return Layout(
            "jsonl",
            self.encoder.kind,
            missing=layout.missing if layout else (),
            number_marks=layout.number_marks if layout else (),
            decimal=layout.decimal if layout else None,
            static=self.static,
            static_categories=self.coded,
        )

    def _layout_of_names(self) -> Layout:
        """Return the layout of an object with a list for each column."""
        coded = tuple(self.names[c] for c in self.encoder.categories)
        values = tuple(name for name in self.names if name not in coded)
        return dataclasses.replace(self._plain_layout(), values=values, categories=coded)

    # Faults.

    def refuse_unknown(self, keys: Iterable[str]) -> None:
        """Refuse a key that the training data did not have, which may be misspelt."""
        for key in keys:
            # Objects within objects are read as outer.inner.
            if key in self.known or any(name.startswith(f"{key}.") for name in self.known):
                continue
            names = sorted(self.inputs | set(self.static))
            error = RecordError(
                f"key {key!r} was not in the training data",
                remedy=f"{nearest(key, [*names, *self.known])} The model reads "
                f"{list_names(names, 12)}. Leave the key out, or rename it.".strip(),
            )
            error.column = key
            raise error

    def missing(self, name: str, present: list[str]) -> RecordError:
        """Return the error for a key that a record lacks."""
        keys = f"the keys are {list_names(present, 12)}" if present else "there are none"
        error = RecordError(
            f"key {name!r} is missing; {keys}",
            remedy="Every sequence needs it; null means no value.",
        )
        error.column = name
        return error

    def locate(self, error: DataError, index: int, several: bool, step: bool) -> RecordError:
        """Return an error of the file reader with its place in a record.

        Args:
            index: of the record.
            several: whether there are others.
            step: whether the record is a single step.
        """
        faults: dict[str, RecordError] = {}
        where = f"sequence {index}" if several else ""
        for fault in error.faults:
            problem, remedy = fault.problem.removeprefix("object 1: "), fault.remedy
            if step or fault.column in self.static:  # which the reader repeats at each step
                problem = re.sub(r"^step \d+(: | of )", "", problem)
            if step:  # the caller knows which sequence goes on
                problem = re.sub(r" of sequence '[^']*'", "", problem)
            if fault.rule == "as before" and "channel" in problem:
                remedy = "Every step needs a value in every channel."
            column = None if f"{fault.column!r}" in problem else fault.column
            own = RecordError(problem, remedy=remedy, source=where, column=column, rule=fault.rule)
            quoted = [name for name in self.known if repr(name) in problem]
            first = min(quoted, key=lambda name: problem.index(repr(name)), default=None)
            own.column, own.sequence = fault.column or first, index
            faults[str(own)] = own
        total = error.total if len(faults) == len(error.faults) else len(faults)
        found = RecordError.of_many([*faults.values()], total, where or "the record")
        assert isinstance(found, RecordError)
        found.sequence, found.column = index, next(iter(faults.values())).column
        return found

    def example(self) -> str:
        """Return an object as the model reads it, for messages."""
        if self.encoder.kind == "text":
            steps = f'"{self.row_key}": "..."'
        elif self.row_key is None:
            steps = ", ".join(f'"{name}": [...]' for name in self.names)
        else:
            steps = f'"{self.row_key}": [...]'
        return "{" + ", ".join([steps, *(f'"{name}": ...' for name in self.static)]) + "}"
