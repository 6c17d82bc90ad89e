"""Records of plain values, read without the reader of files, in microseconds.

A record is plain if nothing in it has to be interpreted: numbers that are numbers in JSON, and
tokens and categories that the model knows. For any other the functions return None.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import TIME_DELTA, Static
from elman.data.ragged import join_steps, to_objects
from elman.estimators.reading import SequenceReader
from elman.estimators.record_form import RecordForm

Record = Any
_LARGEST = 1e308  # as in JSON files
_NUMBERS = {int, float}
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?$")


class ReadSequence(NamedTuple):
    """One sequence as it is read.

    Args:
        steps: numbers (T, C), mixed columns (T, C), tokens (T,), or a text.
        static: its static features, of one sequence, or None.
    """

    steps: NDArray[Any] | str
    static: Static | None = None


class Step(NamedTuple):
    """One step of a sequence, as a stream takes it.

    Args:
        values: numbers (C,) with NaN in gaps; C numbers and categories, (C,) objects; a token; or a
            text, which may have several tokens.
        record: the record, with whose time that of the next step is compared.
        static: the static features that stand beside the first step of a sequence.
        features: the same as they stand in the record.
    """

    values: Any
    record: Record
    static: Static | None
    features: dict[str, Any]


class PlainReader:
    """Reads plain records.

    Args:
        estimator: a fitted estimator.
        form: the keys of its records.
    """

    def __init__(self, estimator: SequenceReader, form: RecordForm) -> None:
        self.form = form
        self.encoder, self.layout = estimator.encoder_, estimator.layout_

    def sequence(self, record: Record) -> ReadSequence | None:
        """Return a sequence of plain values; None for one that needs the reader of files."""
        rows = record
        if isinstance(record, dict):
            if not record.keys() <= self.form.known:
                return None
            key = self.form.find_rows(record)
            rows = self._plain_columns(record) if key is None else record[key]
            if key is not None and record.keys() & self.form.inputs - {key}:
                return None
        steps = self._plain_steps(rows)
        if steps is None or not self.form.static:
            return None if steps is None else ReadSequence(steps)
        static = self.static(record) if isinstance(record, dict) else None
        return None if static is None else ReadSequence(steps, static)

    def _plain_steps(self, rows: Any) -> NDArray[Any] | str | None:
        encoder = self.encoder
        if encoder.kind == "text":
            return rows if isinstance(rows, str) and rows.strip() else None
        if encoder.kind == "numbers":
            if isinstance(rows, list) and rows:
                if type(rows[0]) is not list and encoder.channels == 1:
                    rows = [[value] for value in rows]
                joined = join_steps(rows, encoder.channels, _LARGEST)
                rows = None if joined is None else joined.reshape(-1, encoder.channels)
            marked = self.layout is not None and self.layout.missing
            if not isinstance(rows, np.ndarray) or marked or np.isnan(rows).all():
                return None
            return rows
        if isinstance(rows, np.ndarray):  # mixed columns
            return rows
        if encoder.kind == "tokens" and isinstance(rows, list) and {*map(type, rows)} == {str}:
            known = set(rows) <= encoder.vocabulary.keys()
            return (
                to_objects(rows) if known or (self.form.format == "jsonl" and all(rows)) else None
            )
        return None

    def _plain_columns(self, record: dict[str, Any]) -> NDArray[Any] | None:
        """Return an object with a list for each column, or the row of a wide table, as (T, C)."""
        if self.form.wide and self.form.wide[0] in record:
            cells = [record.get(name) for name in self.form.wide]
            joined = join_steps([cells], len(cells), _LARGEST)
            if joined is None or np.isnan(joined).any():  # a shorter sequence, or a gap
                return None
            return joined.reshape(self.encoder.channels, -1).T.copy()
        lists = []
        for name in self.form.names:
            values = self._time_deltas(record) if name == TIME_DELTA else record.get(name)
            if not isinstance(values, list) or not values:
                return None
            lists.append(values)
        if not lists or len({*map(len, lists)}) > 1:
            return None
        return self._plain_mixed(lists) if self.encoder.categories else _stack(lists)

    def _plain_mixed(self, lists: list[list[Any]]) -> NDArray[Any] | None:
        """Return lists of numbers and of known categories as (T, C) objects."""
        for c, values in enumerate(lists):
            known = self.encoder.categories.get(c)
            kinds = {*map(type, values)}
            if known is None and not kinds <= {*_NUMBERS, type(None)}:
                return None
            if known is not None and not (kinds == {str} and set(values) <= known.keys()):
                return None
        numbers = [own for c, own in enumerate(lists) if c not in self.encoder.categories]
        if (self.layout is not None and self.layout.missing) or (
            numbers and _stack(numbers) is None
        ):
            return None
        out = np.empty((len(lists[0]), len(lists)), dtype=object)
        for c, values in enumerate(lists):
            gap = "" if c in self.encoder.categories else np.nan
            out[:, c] = [gap if value is None else value for value in values]
        return out

    def _time_deltas(self, record: dict[str, Any]) -> list[float] | None:
        """Return the time since the step before, for plain times that increase."""
        layout = self.layout
        times = record.get(layout.time or "") if layout is not None else None
        found = self._instants(times) if isinstance(times, list) and times else None
        if found is None:
            return None
        passed = np.diff(found, prepend=found[:1])
        return passed.tolist() if (passed[1:] > 0).all() else None

    def _instants(self, times: list[Any]) -> NDArray[np.float64] | None:
        """Return numbers as they are, or dates in ISO 8601 in seconds after the first of them."""
        layout = self.layout
        assert layout is not None
        kinds = {*map(type, times)}
        if not layout.seconds:
            numbers = join_steps([times], len(times), _LARGEST)
            return None if numbers is None or np.isnan(numbers).any() else numbers
        if kinds != {str} or layout.dates not in (None, "ymd") or not all(map(_ISO.match, times)):
            return None
        try:
            dates = [datetime.fromisoformat(time) for time in times]
        except ValueError:
            return None
        zones = {date.tzinfo is None for date in dates}
        if len(zones) > 1:
            return None
        # Whole seconds and fractions apart, as in files: their sum has too many digits for a float.
        dates = [date if date.tzinfo else date.replace(tzinfo=UTC) for date in dates]
        whole = [int(date.replace(microsecond=0).timestamp()) for date in dates]
        first = min(whole)
        pairs = zip(whole, dates, strict=True)
        return np.array([(own - first) + date.microsecond / 1e6 for own, date in pairs])

    def static(self, record: dict[str, Any]) -> Static | None:
        """Return the static features beside the steps, if they are plain values."""
        values = [record.get(name) for name in self.form.static]
        numbers, texts = (
            values[: len(values) - len(self.form.coded)],
            values[-len(self.form.coded) :],
        )
        texts = texts if self.form.coded else []
        joined = join_steps([numbers], len(numbers), _LARGEST)
        if joined is None or np.isnan(joined).any() or not {*map(type, texts)} <= {str}:
            return None
        features = self.encoder.static
        assert features is not None
        if not all(t in known for t, known in zip(texts, features.categories, strict=True)):
            return None
        return Static(self.form.static, joined[None], _objects([texts]))

    # All other records: as the reader of JSON files reads them.

    def step(self, record: Record, row: Any, bare: bool, before: Step | None) -> Any:
        """Return the values of a step that is plain, or None."""
        if self.encoder.kind in ("tokens", "text"):
            if not bare or isinstance(row, list):
                return None
            steps = self._plain_steps(row if self.encoder.kind == "text" else [row])
            return None if steps is None else steps if isinstance(steps, str) else steps[0]
        if bare:
            row = row if isinstance(row, list) else [row]
            columns = [[value] for value in row]
        else:
            if not record.keys() <= self.form.known or not self._goes_on(record, before):
                return None
            passed = self._passed(record, before) if TIME_DELTA in self.form.names else None
            columns = [
                [passed if name == TIME_DELTA else record.get(name)] for name in self.form.names
            ]
        if len(columns) != self.encoder.channels:
            return None
        if self.encoder.categories:
            found = self._plain_mixed(columns)
        else:
            marked = self.layout is not None and self.layout.missing
            found = None if marked else _stack(columns)
        return None if found is None else found[0]

    def _passed(self, record: dict[str, Any], before: Step | None) -> float | None:
        """Return the time since the step before; None if it takes more to read it."""
        layout = self.layout
        name = layout.time if layout is not None else None
        if name is None or name not in record:
            return None
        last = time_of(before, name)
        found = self._instants([record[name] if last is None else last, record[name]])
        return None if found is None else float(found[1] - found[0])

    def _goes_on(self, record: dict[str, Any], before: Step | None) -> bool:
        """Whether it is plain that the time of a step comes after that of the step before."""
        layout = self.layout
        if layout is None or not layout.time or layout.time not in record:
            return not self.form.timed
        passed = self._passed(record, before)
        last = time_of(before, layout.time)
        if before is None or last is None:
            return passed is not None or not self.form.timed
        return passed is not None and passed > 0


def time_of(step: Step | None, name: str) -> Any:
    """Return the time of a step as its record has it, or None."""
    return step.record.get(name) if step is not None and isinstance(step.record, dict) else None


def _stack(lists: list[list[Any]]) -> NDArray[np.float64] | None:
    """Return one list for each channel as (T, C), None being NaN; None if one is no number."""
    joined = join_steps(lists, len(lists[0]), _LARGEST)
    return None if joined is None else joined.reshape(len(lists), -1).T.copy()


def _objects(rows: list[list[Any]]) -> NDArray[np.object_]:
    out = np.empty((len(rows), len(rows[0])), dtype=object)
    for i, row in enumerate(rows):
        out[i] = row
    return out
