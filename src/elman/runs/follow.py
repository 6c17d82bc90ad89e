"""Answers to records as they come, one for each: steps of sequences that grow, or whole sequences.

A record is a line of JSON, in the form of the training file; see `elman.estimators.records`. Steps
of several sequences may alternate: an id says which a step belongs to. Each sequence has a state of
its own, and the answer to a step is the one that `elman predict` gives for the sequence so far.
"""

from __future__ import annotations

import copy
import json
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Static
from elman.data.faults import describe_value
from elman.data.ragged import Fill
from elman.data.readers.json import DECODER, explain, refuse_halves
from elman.errors import ElmanError, RecordError, SettingsError
from elman.estimators import Estimator
from elman.estimators.plain_records import Step
from elman.estimators.records import RecordReader
from elman.estimators.stream import Stream
from elman.runs.predictions import RECORDS, Predictions, Record
from elman.settings import MAX_SEQUENCES
from elman.untrusted import refuse_bomb

LONGEST = 64 * 2**20  # bytes of a line
RESET = "reset"
_CHUNK = 1 << 16  # bytes read at once, if as many are there


@dataclass
class _Window:
    """Steps that a model trained on windows reads as one sequence; all, if it was not.

    Args:
        number: of the window, from 1.
        stream: its network state.
        steps: number of steps so far.
    """

    number: int
    stream: Stream
    steps: int = 0


@dataclass
class _Growing:
    """A sequence of which further steps may come.

    Args:
        before: its last step.
        static: its static features, or None.
        steps: number of steps so far.
        windows: those that are not complete, the oldest first.
    """

    before: Step
    static: Static | None = None
    steps: int = 0
    windows: list[_Window] = field(default_factory=list)


class Follower:
    """Answers records one after the other.

    Not for several threads at once: each needs its own, made by `fork`.

    Args:
        estimator: a fitted estimator.
        fill: for gaps in channels that had none in training; see `data.ragged.fill_gaps`.
        max_sequences: sequences that may grow at the same time; one more drops the one whose last
            step is the longest ago.
    """

    def __init__(
        self, estimator: Estimator, fill: Fill = "refuse", max_sequences: int = MAX_SEQUENCES
    ) -> None:
        if max_sequences < 1:
            raise SettingsError(f"max_sequences: got {max_sequences}, expected at least 1")
        self.estimator, self.max_sequences = estimator, max_sequences
        self.reader = RecordReader(estimator, fill)
        self._stream: Stream | None = None
        self._growing: OrderedDict[str | None, _Growing] = OrderedDict()

    def fork(self, max_sequences: int = MAX_SEQUENCES) -> Follower:
        """Return a follower of new sequences with the same weights, which are not copied.

        Raises: SettingsError for a model that reads in both directions.
        """
        self._main_stream()
        other = copy.copy(self)
        other.max_sequences, other._growing = max_sequences, OrderedDict()
        return other

    def answer(self, record: Any) -> Record:
        """Return the answer to a record, ready for JSON.

        Keys of the answer to a step: `id` if the record has one, `step`, its number in the
        sequence, and those of a prediction; see `Predictions.records`. For a model that was trained
        on windows also `window`, the number of the oldest window that the step belongs to, and
        `complete`, whether it is that window's last step. A whole sequence has `id`, `steps` and
        the prediction, or `windows` with a prediction each. The answer to
        `{"id": ..., "reset": true}` is the same record. `dropped` has the id of a sequence that
        cannot go on, because there were too many.

        Raises: ElmanError for a record that cannot be read; its sequence stays as it was.
        """
        if isinstance(record, dict) and RESET in record and RESET not in self.reader.form.known:
            return self._reset(record)
        named, key = self._name(record)
        if self.reader.form.is_step(record):
            return {**named, **self._answer_step(record, key)}
        return {**named, **self._answer_sequence(record, key)}

    def answer_line(self, line: bytes, number: int) -> Record | None:
        """Return the answer to a line of JSON: a prediction or `error`; None to a blank line.

        Args:
            number: of the line, from 1. An answer with `error` has it as `line`; and the `id` and
                the `field` at fault where they are known.
        """
        found: dict[str, Any] = {}
        try:
            record = parse_line(line)
            if record is None:
                return None
            found = self._name(record.value)[0]
            return self.answer(record.value)
        except ElmanError as error:
            column = error.column if isinstance(error, RecordError) else None
            at = {} if column is None else {"field": column}
            return {**found, "error": str(error), **at, "line": number}

    def _name(self, record: Any) -> tuple[Record, str | None]:
        """Return the id of a record as its answer repeats it, and as text."""
        if not isinstance(record, dict):
            return {}, None
        layout = self.estimator.layout_
        parts = ["id"]
        if "id" not in record and layout is not None and layout.id:
            parts = [part.strip() for part in layout.id.split(",")]
        values = [record.get(part) for part in parts]
        if None in values:
            return {}, None
        for part, value in zip(parts, values, strict=True):
            number = type(value) is int or (type(value) is float and math.isfinite(value))
            if not number and not isinstance(value, str):
                error = RecordError(
                    f"{part!r} is {describe_value(value)}, expected text or a number",
                    remedy="It names the sequence.",
                )
                error.column = part
                raise error
        # As sequences of a file with several columns of ids are named.
        key = "-".join(map(str, values))
        return {"id": values[0] if len(values) == 1 else key}, key

    def _reset(self, record: dict[str, Any]) -> Record:
        named, key = self._name(record)
        others = [name for name in record if name not in (RESET, *self.reader.form.known)]
        if record[RESET] is not True or others:
            raise RecordError(
                f"{RESET!r} stands with {json.dumps(record)[:80]}, expected true and an id alone",
                remedy='Write {"id": ..., "reset": true}.',
            )
        self._growing.pop(key, None)
        return {**named, RESET: True}

    # Steps.

    def _answer_step(self, record: Any, key: str | None) -> Record:
        if self.estimator.model_.config.bidirectional:
            self.estimator.stream()  # raises the error that says what to train instead
        known = self._growing.get(key)
        step = self.reader.read_step(record, None if known is None else known.before)
        growing = known or _Growing(step, step.static)
        found = self._advance(growing, step)
        growing.before = step
        self._growing[key] = growing
        self._growing.move_to_end(key)
        if len(self._growing) > self.max_sequences:
            dropped, _ = self._growing.popitem(last=False)
            return {**found, "dropped": dropped}
        return found

    def _main_stream(self) -> Stream:
        """Return the stream that holds the weights; no sequence uses it, only its forks."""
        if self._stream is None:
            features, static = self.estimator.encoder_.static, None
            if features is not None:  # any will do
                numbers = [[value] for value in features.mean.tolist()]
                categories = [[known[0]] for known in features.categories]
                static = dict(zip(features.names, [*numbers, *categories], strict=True))
            self._stream = self.estimator.stream(static=static)
        return self._stream

    def _advance(self, growing: _Growing, step: Step) -> Record:
        """Take one step of a sequence, or the steps of a piece of text, and return the answer."""
        layout = self.estimator.layout_
        length = layout.window if layout is not None else 0
        if self.estimator.encoder_.kind == "text":  # never cut into windows
            growing.windows = growing.windows or [_Window(1, self._fork(growing))]
            stream = growing.windows[0].stream
            answers = stream.feed([step.values])[0]
            growing.steps = int(stream.steps[0])
            answer = answers[-1] if self.estimator.per_step else answers
            return {"step": growing.steps, **self._predict(answer)}
        stride = layout.stride if layout is not None and length else 0
        windows = [*growing.windows]
        if growing.steps % stride == 0 if stride else not growing.steps:
            windows.append(
                _Window(growing.steps // stride + 1 if stride else 1, self._fork(growing))
            )
        values = step.values[None] if isinstance(step.values, np.ndarray) else [step.values]
        # If one refuses the step, the first does: all of them read the same values.
        answers = [own.stream.step(values)[0] for own in windows]
        growing.steps += 1
        for own in windows:
            own.steps += 1
        growing.windows = [own for own in windows if not length or own.steps < length]
        found: Record = {"step": growing.steps}
        if not windows:  # between two windows
            return {**found, "window": None, "complete": False, "predicted": None}
        if length:
            complete = windows[0].steps == length
            found |= {"window": windows[0].number, "complete": complete}
        return {**found, **self._predict(answers[0])}

    def _fork(self, growing: _Growing) -> Stream:
        return self._main_stream().fork(static=growing.static)

    def _predict(self, answer: NDArray[np.float64]) -> Record:
        """Return an answer, (K,), as the command writes the prediction of a sequence."""
        target = self.estimator.target_
        whole = Predictions(target.task, target.output_names, answer[None], ("",))
        return RECORDS[target.task](whole, answer, None)

    # Whole sequences.

    def _answer_sequence(self, record: Any, key: str | None) -> Record:
        encoded = self.reader.read_sequences([record])
        estimator, target = self.estimator, self.estimator.target_
        text = encoded.encoder.kind == "text"
        cut = bool(encoded.ids)
        name = "" if key is None else key
        found = Predictions(
            target.task,
            target.output_names,
            estimator.predict_encoded(encoded),
            encoded.ids if cut else [name],
            steps=encoded.steps if estimator.per_step else None,
            texts=encoded.sequences if text else (),
            unit=encoded.encoder.unit,
        )
        records = list(found.records())
        if cut:
            windows = [{"window": k, **_without_name(own)} for k, own in enumerate(records, 1)]
            return {"windows": windows}
        return {"steps": int(encoded.steps.lengths[0]), **_without_name(records[0])}


def _without_name(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "sequence"}


class _Parsed(NamedTuple):
    value: Any


def parse_line(line: bytes) -> _Parsed | None:
    """Return the value of a line of JSON; None for a blank line. Raises RecordError."""
    text = ""
    try:
        text = line.decode("utf-8").strip(" \t\r\n\ufeff\x1e")
        if not text:
            return None
        refuse_bomb(line, "the line")
        value = DECODER.decode(text)
        refuse_halves(text, value)
    except UnicodeDecodeError as error:
        raise RecordError(
            f"byte {error.start + 1} is not text in UTF-8",
            remedy="Write the lines in UTF-8.",
        ) from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, ElmanError):
            raise
        _, column, problem, remedy = explain(error, text)
        place = f"character {column}: " if column is not None else ""
        raise RecordError(place + problem, remedy=remedy) from None
    return _Parsed(value)


def read_lines(read: Callable[[int], bytes]) -> Iterator[bytes | None]:
    """Yield lines as soon as they are there; None in place of one that is longer than `LONGEST`.

    Args:
        read: returns at most so many bytes, as soon as there are some, and none at the end.
    """
    parts: list[bytes] = []
    size = 0
    while chunk := read(_CHUNK):
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*parts, line]) if size + len(line) <= LONGEST else None
            parts, size = [], 0
        size += len(rest)
        if size > LONGEST:
            parts = []  # the rest of a line that is too long is not kept
        elif rest:
            parts.append(rest)
    if size:
        yield b"".join(parts) if size <= LONGEST else None


def follow(
    follower: Follower, read: Callable[[int], bytes], write: Callable[[str], None]
) -> Iterator[bool]:
    """Answer lines as they come, each before the next is read; yield whether each had no fault.

    Args:
        read: see `read_lines`.
        write: writes and flushes an answer.
    """
    for number, line in enumerate(read_lines(read), 1):
        if line is None:
            most = f"{LONGEST // 2**20} MiB"
            answer: Record | None = {"error": f"longer than {most}, the most for a line"}
            answer = {**(answer or {}), "line": number}
        else:
            answer = follower.answer_line(line, number)
        if answer is None:
            continue
        write(json.dumps(answer, ensure_ascii=False, allow_nan=False) + "\n")
        yield "error" not in answer
