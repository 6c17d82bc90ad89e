"""Records in JSON, as the training file had them, read as sequences or steps of a fitted estimator.

A record is a value that a JSON parser returned. A whole sequence is the object of the training's
JSON lines, the row of a table by the names of its columns, an object with a list for each channel,
an object with a list of steps, a bare list of steps, a list of tokens, or a text. A step is the
object of one row of the training file, a bare list with a value for each channel, a number, or a
token.

Records that are plain lists of numbers, tokens or texts are read here, in microseconds. Every other
record, and every faulty one, is read by the reader of JSON files with the layout of the training,
so that decimal marks, units, dates and marks of missing values mean the same, and a fault has the
same message as in a file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Dataset, Static
from elman.data.ragged import Fill, Ragged, first_gap
from elman.data.read import read
from elman.data.readers.json import Document, Located
from elman.data.splits import cut_windows
from elman.errors import DataError, RecordError
from elman.estimators.encoder import EncodedSequences
from elman.estimators.inputs import cut
from elman.estimators.plain_records import PlainReader, ReadSequence, Step, time_of
from elman.estimators.reading import SequenceReader
from elman.estimators.record_form import STEP, RecordForm
from elman.estimators.static import find_static

Record = Any


class RecordReader:
    """Reads records as the training file of an estimator was read.

    Safe to use from several threads.

    Args:
        estimator: a fitted estimator.
        fill: for gaps in channels that had none in training; see `data.ragged.fill_gaps`.

    Attributes:
        form: which keys mean what.
        plain: reads the records that need no reader of files.
    """

    def __init__(self, estimator: SequenceReader, fill: Fill = "refuse") -> None:
        self.estimator, self.fill = estimator, fill
        self.form = RecordForm(estimator)
        self.plain = PlainReader(estimator, self.form)
        self.encoder, self.layout = estimator.encoder_, estimator.layout_

    # Whole sequences.

    def read_sequences(self, records: Sequence[Record]) -> EncodedSequences:
        """Return the sequences of records as every method of the estimator takes them.

        A model that was trained on windows reads one sequence for each window of a record; `ids`
        tells them apart.

        Raises: RecordError with the index of the record and the key at fault.
        """
        if not records:
            raise RecordError("there are no sequences", remedy="Give at least one.")
        several = len(records) > 1
        return self._encode(
            [
                self.plain.sequence(record) or self._read_as_file(record, i, several)
                for i, record in enumerate(records)
            ]
        )

    def _encode(self, found: list[ReadSequence]) -> EncodedSequences:
        """Return sequences as inputs of the network, cut into the windows of the training."""
        encoder, layout = self.encoder, self.layout
        steps: Any = [own.steps for own in found]
        if encoder.kind == "text":
            ragged = cut(steps, encoder.unit or "characters")
        else:
            ends = np.cumsum([0, *map(len, steps)])
            ragged = Ragged(steps[0] if len(steps) == 1 else np.concatenate(steps), ends)
        static = None
        if encoder.static is not None:
            static = _join([own.static for own in found if own.static is not None])
            static = find_static(static, None, len(found), encoder)
            assert static is not None  # `find_static` refuses to read none
            static = encoder.static.fill_gaps(static, self.fill)
            self._refuse_static_gaps(static)
        if encoder.channels:
            if self.fill != "refuse":  # before windows are cut, as in a file
                ragged = encoder.fill_gaps(ragged, self.fill)
            self._refuse_gaps(ragged)
        ids: tuple[str, ...] = ()
        if layout is not None and layout.window:
            ids = tuple(f"sequence {i}" for i in range(len(found)))
            whole = Dataset(ragged, None, "", layout, ids=ids, static=static)
            windows, _ = cut_windows(whole, layout.window, layout.stride)
            assert isinstance(windows.inputs, Ragged)
            ragged, static, ids = windows.inputs, windows.static, windows.name_sequences()
        sequences = steps if encoder.kind == "text" else ragged
        encoded = EncodedSequences(sequences, ragged, encoder.encode_steps(ragged), encoder, ids)
        return encoded.with_static(static)

    def _refuse_gaps(self, steps: Ragged, step: bool = False) -> None:
        """Refuse a missing value in a channel that had none in training, as in a file."""
        encoder, numbers = self.encoder, steps
        columns = encoder.number_columns
        if encoder.categories:
            numbers = steps.with_values(steps.values[:, columns].astype(np.float64))
        gap = first_gap(numbers, encoder.gaps)
        if gap is None:
            return
        column = columns[gap.channel]
        name = (
            self.form.names[column] if self.form.names else encoder.name_column(column).strip("'")
        )
        what = "the value" if step else f"step {gap.step + 1}"
        raise _fault(
            f"{what} is missing in channel {name!r}, which had no gaps in the training split",
            "Give a value, or train on sequences with gaps there.",
            name,
            gap.sequence,
            len(steps) > 1,
        )

    def _refuse_static_gaps(self, static: Static) -> None:
        features = self.encoder.static
        assert features is not None
        wrong = np.argwhere(np.isnan(static.numbers) & ~features.gaps)
        if len(wrong):
            name = features.names[wrong[0, 1]]
            raise _fault(
                f"static feature {name!r} is missing, and it had no gaps in training",
                "Give a value, or train on sequences with gaps in that feature.",
                name,
                int(wrong[0, 0]),
                len(static) > 1,
            )

    # Steps.

    def read_step(self, record: Record, before: Step | None = None) -> Step:
        """Return one step of a sequence; see `RecordForm.is_step`.

        Args:
            before: the step before, of which the time and the static features must go on; None for
                the first step of a sequence.
        Raises: RecordError with the key at fault.
        """
        form = self.form
        features: dict[str, Any] = {}
        bare, rows = True, record
        if isinstance(record, dict):
            features = {name: record[name] for name in form.static if name in record}
            if form.is_bare(record):
                form.refuse_unknown(key for key in record if key != STEP)
                rows = record[STEP]
            elif (key := form.find_rows(record)) is not None:
                form.refuse_unknown(record)
                rows = record[key]
            else:
                bare = False
        for name in form.static if bare and before is None else ():
            if name not in features:
                example = json.dumps({STEP: rows, **dict.fromkeys(form.static)})[:80]
                raise _fault(
                    f"static feature {name!r} is missing, and a sequence begins here",
                    f"Give it with the first step: {example.replace('null', '...')}.",
                    name,
                )
        values, static = self.plain.step(record, rows, bare, before), None
        if form.static and before is None and values is not None:
            static = self.plain.static(features)
        if values is None or (form.static and before is None and static is None):
            values, static = self._read_step_as_file(record, rows, bare, features, before)
        if before is not None:
            _refuse_change(before.features, features)
            features, static = before.features, None
        elif static is not None and self.encoder.static is not None:
            static = find_static(static, None, 1, self.encoder)
            assert static is not None  # `find_static` refuses to read none
            static = self.encoder.static.fill_gaps(static, self.fill)
            self._refuse_static_gaps(static)
        if self.encoder.channels:
            values = self._fill_step(values, before)
        return Step(values, record, static, features)

    def _fill_step(self, values: NDArray[Any], before: Step | None) -> NDArray[Any]:
        """Fill the gaps of channels that had none in training, or refuse them."""
        if self.fill != "refuse":
            rows = values[None] if before is None else np.stack([before.values, values])
            steps = Ragged(rows, np.array([0, len(rows)]))
            values = self.encoder.fill_gaps(steps, self.fill).values[-1]
        self._refuse_gaps(Ragged(values[None], np.array([0, 1])), step=True)
        return values

    def _read_step_as_file(
        self, record: Record, row: Any, bare: bool, features: dict[str, Any], before: Step | None
    ) -> tuple[Any, Static | None]:
        """Return the values of a step, and its static features, as the reader of files reads them.

        The step before is read with it, for the time between them.
        """
        form = self.form
        if bare:
            whole: Any = row if self.encoder.kind == "text" else [row]
            if form.static:
                known = features if before is None else before.features
                whole = {form.row_key or STEP: whole, **known}
        else:
            time = self.layout.time if self.layout is not None else None
            if form.timed and before is not None and time and time_of(before, time) is None:
                raise _fault(
                    f"the step before has no {time!r}, so the time since then is not known",
                    "Write all steps of a sequence alike, or reset it.",
                    time,
                )
            pair = [record]
            if before is not None and isinstance(before.record, dict):
                pair = [before.record, record]
            steps = [{k: v for k, v in own.items() if k not in form.static} for own in pair]
            known = features if before is None else before.features
            whole = {**known, form.free_key("steps"): steps}
        found = self._read_as_file(whole, step=True)
        values = found.steps if isinstance(found.steps, str) else found.steps[-1]
        return values, found.static

    def _read_as_file(
        self, record: Record, index: int = 0, several: bool = False, step: bool = False
    ) -> ReadSequence:
        """Return a sequence as the reader of JSON files reads it; see `RecordForm.locate`."""
        try:
            content, layout = self.form.arrange(record)
            document = Document((Located(content, 0),))
            dataset = read(document, layout=layout, labelled=False)
        except DataError as error:
            if isinstance(error.__cause__, UnicodeEncodeError):
                problem = "half a surrogate pair: a \\u escape that is not a character"
                error = DataError(problem, remedy="Write the whole character.")
            raise self.form.locate(error, index, several, step) from None
        inputs = dataset.inputs
        if not isinstance(inputs, Ragged):
            return ReadSequence(inputs[0], dataset.static)
        steps, got = inputs.values, dataset.layout.channel_names
        if self.encoder.kind == "mixed":
            steps = steps.astype(object)
        if self.form.names and got != self.form.names and set(got) == set(self.form.names):
            steps = steps[:, [got.index(name) for name in self.form.names]]
        return ReadSequence(steps, dataset.static)


def _join(features: list[Static]) -> Static | None:
    if not features:
        return None
    numbers = np.concatenate([own.numbers for own in features])
    return Static(
        features[0].names,
        numbers,
        np.concatenate([own.categories for own in features]),
        features[0].units,
    )


def _refuse_change(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse a static feature that differs from that of the first step."""
    for name, value in now.items():
        if value is not None and value != before.get(name):
            raise _fault(
                f"static feature {name!r} is {value!r:.40}, and the sequence began with "
                f"{before.get(name)!r:.40}; a static feature has one value for a whole sequence",
                "Give it with the first step, or reset the sequence.",
                name,
            )


def _fault(
    problem: str, remedy: str, name: str, index: int = 0, several: bool = False
) -> RecordError:
    """Return the error for a key of a record."""
    error = RecordError(problem, remedy=remedy, source=f"sequence {index}" if several else "")
    error.column, error.sequence = name, index
    return error
