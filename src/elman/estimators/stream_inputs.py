"""One step of each of several sequences: read from the user's form, and encoded for the network.

The forms are those of training, a step at a time: numbers (b, C), tables of mixed columns, tokens,
and texts of one token each. Gaps take the value that the encoder would carry forward in the whole
sequence, so a stream keeps the last value of each channel.

Dimensions: b sequences that take the step, C columns, Cn columns of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.faults import format_count
from elman.data.ragged import Fill, is_number_or_gap, to_objects
from elman.data.text import split_texts
from elman.errors import DataError, ShapeError
from elman.estimators.columns import TrainedColumns, has_names, name_as_known
from elman.estimators.containers import frame_of, open_container
from elman.estimators.conversions import to_array
from elman.estimators.encoder import Encoder
from elman.estimators.inputs import as_token, check_fill
from elman.models.model import UNKNOWN

Floats = NDArray[np.float64]


class StepReader:
    """Reads and encodes steps as the encoder of a fitted estimator does whole sequences.

    Args:
        encoder, trained: the encoder and the columns of the estimator.
        fill: for gaps in channels that had none in training; see `elman.data.ragged.fill_gaps`.
            `previous` cannot look ahead: a gap before a channel's first value is an error.
    Raises: SettingsError for an unknown `fill`, and for `mean` if the model knows no means.
    """

    def __init__(self, encoder: Encoder, trained: TrainedColumns, fill: Fill) -> None:
        check_fill(fill, encoder.known_mean)
        self.encoder, self.fill = encoder, fill
        self._trained = trained
        self._numeric = encoder.number_columns
        self._gaps = encoder.gaps

    def begin(self, rows: int) -> Floats:
        """Return the values that gaps take before the first step, (rows, Cn), NaN for none."""
        return np.tile(self.encoder.fill, (rows, 1))

    def read(self, x: Any, rows: int) -> NDArray[Any]:
        """Return one step of each of `rows` sequences: (b, C) float64 or objects, or (b,) tokens.

        Args:
            x: an array or list of one step each; a frame, or records by name. If there is one
                sequence, also its step alone: a row of values, a record, a token or a text.
        Raises: ShapeError or DataError.
        """
        kind = self.encoder.kind
        if kind == "numbers":
            shape = rows, len(self.encoder.mean)
            if type(x) is np.ndarray and x.dtype == np.float64 and x.shape == shape:
                return x
            return self._read_numbers(self._unname(x, rows), rows)
        if kind == "mixed":
            return self._read_mixed(self._unname(x, rows), rows)
        entries = [x] if rows == 1 and _is_single(x) else x
        if isinstance(entries, str) or not hasattr(entries, "__len__"):
            raise ShapeError(
                f"x: got {x!r:.40}, expected a list of {format_count(rows, self._noun)}"
            )
        if len(entries) != rows:
            raise ShapeError(
                f"x: got {len(entries)} entries, expected {format_count(rows, self._noun)}, one "
                "for each sequence. For several steps at once, use stream.feed"
            )
        if kind == "text":
            return to_objects(self._split_one(entries))
        return to_objects([as_token(token) for token in entries])

    def read_sequences(self, X: Any, rows: int) -> list[NDArray[Any]]:
        """Return the next steps of each of `rows` sequences, (T_i, C) or (T_i,) each.

        Args:
            X: a list with one sequence each, in the form of training; or an array (b, T, C).
        Raises: ShapeError or DataError.
        """
        kind = self.encoder.kind
        entries = X if kind == "text" else open_container(X, self._trained).sequences
        if isinstance(entries, str) or not hasattr(entries, "__len__") or len(entries) != rows:
            got = f"{len(entries)} sequences" if isinstance(entries, list) else f"{X!r:.40}"
            raise ShapeError(f"X: got {got}, expected a list of {rows}, one a row")
        if kind == "text":
            for text in entries:
                self._refuse_other_than_text(text)
            found = [to_objects(own) for own in split_texts(list(entries), self._unit)]
        elif kind == "tokens":
            found = [to_objects([as_token(token) for token in own]) for own in entries]
        else:
            read = self._read_mixed if kind == "mixed" else self._read_numbers
            found = [read(own, len(own)) for own in entries]
        for i, own in enumerate(found):
            if not len(own):
                raise DataError(
                    f"sequence {i} has no steps, expected at least one",
                    remedy="Leave it out: stream.feed(X, rows=...) feeds only some sequences.",
                )
        return found

    def to_raw(
        self, steps: NDArray[Any], taken: NDArray[np.int64], index: NDArray[np.int64] | None
    ) -> NDArray[Any]:
        """Return steps from `read` as numbers that are not scaled yet, and codes after them.

        Args:
            taken: number of steps that each sequence of the stream took before, for messages.
            index: the sequences that take this step; None means all.
        Returns: (b, C) float64, NaN where a number is missing; or ids of tokens, (b,) int64.
        Raises: DataError for text in a column of numbers.
        """
        encoder = self.encoder
        if encoder.kind == "numbers":
            return np.ascontiguousarray(steps)
        if encoder.kind != "mixed":
            ids = [encoder.vocabulary.get(token, UNKNOWN) for token in steps.tolist()]
            return np.array(ids, dtype=np.int64)
        raw = np.empty(steps.shape)
        for at, column in enumerate(self._numeric):
            for row, value in enumerate(steps[:, column].tolist()):
                if not is_number_or_gap(value):
                    raise DataError(
                        f"{self._place(row, at, taken, index)} is {value!r:.40}, expected a number "
                        "as in training",
                        remedy="Correct the value, or give NaN where it is missing.",
                    )
                raw[row, at] = np.nan if value is None else value
        for at, (column, known) in enumerate(encoder.categories.items(), len(self._numeric)):
            names = name_as_known(steps[:, column], known)
            raw[:, at] = [known.get(name, UNKNOWN) for name in names]
        return raw

    def encode(
        self,
        raw: NDArray[Any],
        last: Floats,
        taken: NDArray[np.int64],
        index: NDArray[np.int64] | None,
    ) -> tuple[NDArray[Any], Floats]:
        """Return the network's input for the result of `to_raw`, and the values to carry forward.

        Args:
            last: the value that a gap in each channel takes, (b, Cn), as the last call returned it.
            taken, index: as for `to_raw`.
        Returns: (b, inputs) float32 or (b,) int64, as `Encoder.encode_steps`; and (b, Cn).
        Raises: DataError naming the sequence, its step and the channel.
        """
        encoder = self.encoder
        if raw.ndim == 1:
            return raw, last
        count = len(self._numeric)
        numbers = raw[:, :count]
        missing = np.isnan(numbers)
        filled = numbers
        if missing.any():
            wrong = missing & ~self._gaps
            if wrong.any():
                numbers = self._fill(numbers, wrong, last, taken, index)
            filled = np.where(np.isnan(numbers), last, numbers)
        with np.errstate(over="ignore"):
            values = ((filled - encoder.mean) / encoder.scale).astype(np.float32)
        if not np.isfinite(values).all():
            self._refuse_infinite(values, filled, taken, index)
        observed = (~missing[:, self._gaps]).astype(np.float32)
        return np.hstack([values, observed, raw[:, count:].astype(np.float32)]), filled

    def _fill(
        self,
        numbers: Floats,
        wrong: NDArray[np.bool_],
        last: Floats,
        taken: NDArray[np.int64],
        index: NDArray[np.int64] | None,
    ) -> Floats:
        """Fill gaps in channels that had none in training, or refuse them."""
        values: dict[Fill, Floats] = {
            "refuse": np.full_like(last, np.nan),
            "previous": last,
            "mean": self.encoder.mean,
            "zero": np.zeros(last.shape[1]),
        }
        filled: Floats = np.where(wrong, values[self.fill], numbers)
        lacking = wrong & np.isnan(filled)
        if lacking.any():
            row, channel = (int(i) for i in np.argwhere(lacking)[0])
            previous = self.fill == "previous"
            others = "'mean' or 'zero'" if previous else "'previous', 'mean' or 'zero'"
            raise DataError(
                f"{self._place(row, channel, taken, index)} is missing, but that channel had no "
                "gaps in training" + ", and there is no previous value of it" * previous,
                remedy=f"Let the stream fill gaps: fill={others}; or train on sequences with gaps "
                "in that channel.",
            )
        return filled

    def _refuse_infinite(
        self,
        values: NDArray[np.float32],
        filled: Floats,
        taken: NDArray[np.int64],
        index: NDArray[np.int64] | None,
    ) -> None:
        row, channel = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        place, value = self._place(row, channel, taken, index), filled[row, channel]
        if np.isinf(value):
            raise DataError(
                f"{place} is {value}, expected finite numbers",
                remedy="Replace it with a number, or with NaN where a value is missing.",
            )
        raise DataError(
            f"{place} holds {value:.1e}, too large for the network, whose numbers end at 3.4e38",
            remedy="Correct the value, or write the channel in another unit.",
        )

    def _place(
        self,
        row: int,
        channel: int,
        taken: NDArray[np.int64],
        index: NDArray[np.int64] | None,
    ) -> str:
        """Say where a number of a step stands, (b, Cn)."""
        sequence = row if index is None else int(index[row])
        name = self.encoder.name_column(self._numeric[channel])
        return f"sequence {sequence}: step {int(taken[sequence]) + 1}, channel {name}"

    def _read_numbers(self, x: Any, rows: int) -> NDArray[Any]:
        channels = len(self.encoder.mean)
        try:
            array = to_array(x, "x").astype(np.float64, copy=False)
        except (TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"x: got {x!r:.60}, not an array of numbers",
                remedy=f"Expected shape ({rows}, {channels}), with NaN where a value is missing.",
            ) from None
        return self._shape(array, rows)

    def _read_mixed(self, x: Any, rows: int) -> NDArray[Any]:
        try:
            array = np.asarray(x, dtype=object)
        except ValueError:  # rows of several lengths, some of them arrays
            array = np.empty(0, dtype=object)
        return self._shape(array, rows)

    def _shape(self, array: NDArray[Any], rows: int) -> NDArray[Any]:
        """Return an array as (rows, C). One sequence or one channel needs no axis of its own."""
        channels = self.encoder.channels
        if array.shape == (rows, channels):
            return array
        single = array.ndim == 0 and rows == channels == 1
        if single or (array.ndim == 1 and 1 in (rows, channels) and array.size == rows * channels):
            return array.reshape(rows, channels)
        hint = ""
        if array.ndim == 2 and array.shape[1] == channels and rows == 1:
            hint = ". For several steps at once, use stream.feed([x])"
        raise ShapeError(
            f"x: got shape {array.shape}, expected ({rows}, {channels}): "
            f"{format_count(channels, 'channel')} of {format_count(rows, 'sequence')}{hint}"
        )

    def _unname(self, x: Any, rows: int) -> Any:
        """Return a frame, records or a series as plain rows, with their columns in order."""
        index = getattr(x, "index", None)
        if index is not None and not callable(index) and not hasattr(x, "columns"):
            x = dict(x.items()) if has_names(list(index)) else x.to_numpy()  # a pandas series
        if isinstance(x, Mapping):
            x = [x]
        if isinstance(x, list | tuple) and x and all(isinstance(own, Mapping) for own in x):
            return [
                [own[name] for name in self._trained.select(list(own), f"x: sequence {i}")]
                for i, own in enumerate(x)
            ]
        frame = frame_of(x) if hasattr(x, "columns") else None
        if frame is None:
            return x
        names = self._trained.select(frame.columns, "x")
        return [list(row) for row in frame.select(names).iter_rows()]

    @property
    def _unit(self) -> Any:
        return self.encoder.unit or "characters"

    @property
    def _noun(self) -> str:
        """What a step of tokens or text is."""
        if self.encoder.kind == "tokens":
            return "token"
        return str(self._unit).removesuffix("s")

    def _split_one(self, texts: Sequence[Any]) -> list[str]:
        """Return the only token of each text."""
        found = []
        for i, text in enumerate(texts):
            self._refuse_other_than_text(text)
            tokens = split_texts([text], self._unit)[0]
            if len(tokens) != 1:
                raise DataError(
                    f"sequence {i}: {text!r:.40} is {format_count(len(tokens), self._noun)}, "
                    f"expected exactly one {self._noun}",
                    remedy="Give text of any length to stream.feed, which takes all its steps.",
                )
            found.append(tokens[0])
        return found

    def _refuse_other_than_text(self, text: Any) -> None:
        if not isinstance(text, str):
            raise DataError(
                f"x holds {text!r:.40}, expected text as in training",
                remedy="Give every sequence a string.",
            )


def _is_single(x: Any) -> bool:
    """Whether x is one token or text, and not a list of them."""
    return isinstance(x, str) or not hasattr(x, "__len__")
