"""Encoder from user sequences to network inputs; fitted on the training split only."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import InputKind, Static
from elman.data.ragged import (
    Fill,
    Ragged,
    carry_forward,
    category_columns,
    category_names,
    extract_numbers,
    first_gap,
)
from elman.data.text import RULE, Unit, choose_unit
from elman.errors import DataError, ModelFileError
from elman.estimators.columns import by_frequency, name_as_known, name_columns, numbered
from elman.estimators.figures import fit_numbers
from elman.estimators.inputs import (
    as_indexable,
    as_mixed,
    as_numbers,
    as_tokens,
    cut,
    fill_steps,
    input_kind,
    refuse_other_channels,
    take_rows,
)
from elman.estimators.static import StaticEncoder, restore_scaling
from elman.models.model import FIRST_TOKEN, UNKNOWN
from elman.untrusted import read_as, show

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EncodedSequences(Sequence[Any]):
    """n sequences with their steps and network inputs, so that they are read only once.

    Every method of the estimator whose `encode` made it accepts it in place of X, and so do the
    functions of `elman.explain` when they are called with that estimator.

    Args:
        sequences: the user's sequences, taken out of their container.
        steps: numbers (N, C), mixed columns (N, C), or tokens (N,).
        inputs: inputs of the network; see `Encoder.encode_steps`.
        encoder: the encoder that made it.
        ids: name of each sequence; empty if they have none.
        static: their static features, or None.
    """

    sequences: Any
    steps: Ragged
    inputs: Ragged
    encoder: Encoder
    ids: tuple[str, ...] = ()
    static: Static | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Any) -> Any:
        return self.sequences[index]

    def take(self, index: NDArray[np.int64]) -> EncodedSequences:
        """Return the sequences at `index`, (m,), in that order."""
        return EncodedSequences(
            take_rows(self.sequences, index),
            self.steps.take(index),
            self.inputs.take(index),
            self.encoder,
            tuple(self.ids[i] for i in index) if self.ids else (),
            None if self.static is None else self.static.take(index),
        )

    def with_static(self, static: Static | None) -> EncodedSequences:
        """Return these sequences with their static features, if there are any."""
        if static is None or self.encoder.static is None:
            return self
        inputs = dataclasses.replace(self.inputs, static=self.encoder.static.encode(static))
        return dataclasses.replace(self, inputs=inputs, static=static)


@dataclass(frozen=True)
class Encoder:
    """Standardises numbers and maps tokens to ids.

        numbers: (x - mean) / scale of each channel        tokens: index in the vocabulary

    A missing number is replaced by the previous value of its channel in the same sequence, or by
    the training mean if there is none. Each channel with gaps in the training split adds a mask
    channel after all value channels: 1 where the value was observed, 0 where it was missing.

    Mixed steps have numeric columns, encoded in the same way, and categorical columns, each with
    its own vocabulary, in which a missing value is a category of its own.

    Args:
        kind: `numbers`, `tokens`, `text` or `mixed`.
        unit: for text, one of `UNITS`.
        mean, scale: for numbers, (C,) float64.
        fill: for numbers, the value used in gaps before a channel's first value, (C,) float64; NaN
            for a channel without gaps in the training split, in which gaps are an error.
        vocabulary: for tokens and text, token -> id, from 2; 0 is padding, 1 the unknown token.
        categories: for mixed steps, column of X -> category -> code, numbered as in `vocabulary`.
        names: names of all columns of X, for messages; empty if they are not known.
        static: encoder of the static features; None if there are none.
    """

    kind: InputKind
    unit: Unit | None = None
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    scale: NDArray[np.float64] = field(default_factory=lambda: np.ones(0))
    fill: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    vocabulary: Mapping[str, int] = field(default_factory=dict)
    categories: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    names: Sequence[str] = ()
    static: StaticEncoder | None = None

    @classmethod
    def fit_encode(
        cls,
        X: Any,
        *,
        inputs: InputKind,
        tokens: Unit | Literal["auto"],
        scale: bool,
        names: Sequence[str] = (),
        static: Static | None = None,
    ) -> EncodedSequences:
        """Fit an encoder to the training sequences, whose kind is `inputs`, and encode them.

        One function does both, so that text is split only once; the result has the encoder.
        """
        if inputs == "numbers":
            steps = as_numbers(X)
            labels = name_columns(steps.values.shape[1], names)
            mean, spread, fill = fit_numbers(steps.values, scale, labels)
            encoder = cls("numbers", mean=mean, scale=spread, fill=fill, names=names)
        elif inputs == "mixed":
            steps = as_mixed(X)
            columns = category_columns(steps.values)
            labels = name_columns(steps.values.shape[1], names)
            labels = [label for c, label in enumerate(labels) if c not in columns]
            numbers = extract_numbers(steps, columns).values
            mean, spread, fill = fit_numbers(numbers, scale, labels)
            encoder = cls(
                "mixed",
                mean=mean,
                scale=spread,
                fill=fill,
                categories={
                    c: by_frequency(Counter(category_names(steps.values[:, c]))) for c in columns
                },
                names=names,
            )
        else:
            unit: Unit | None = None
            if inputs == "text":
                unit = choose_unit(X) if tokens == "auto" else tokens
            steps = as_tokens(X) if unit is None else cut(X, unit)
            vocabulary = numbered(sorted(set(steps.values.tolist())))
            encoder = cls(inputs, unit=unit, vocabulary=vocabulary)
        if static is not None:
            encoder = dataclasses.replace(encoder, static=StaticEncoder.fit(static, scale))
        encoded = EncodedSequences(X, steps, encoder.encode_steps(steps), encoder)
        return encoded.with_static(static)

    @property
    def channels(self) -> int:
        """Number of columns, numeric and categorical; 0 for tokens."""
        return len(self.mean) + len(self.categories)

    @property
    def known_mean(self) -> Floats | None:
        """Mean of each numeric column in training; None without scaling."""
        return self.mean if self.mean.any() or (self.scale != 1).any() else None

    @property
    def number_columns(self) -> list[int]:
        """Columns of X that hold numbers."""
        return [c for c in range(self.channels) if c not in self.categories]

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """Whether each numeric column may have missing values, (C,)."""
        return np.isfinite(self.fill)

    @property
    def input_size(self) -> int:
        """Numeric inputs of the network per step: value channels and mask channels."""
        return len(self.mean) + int(self.gaps.sum())

    @property
    def category_sizes(self) -> tuple[int, ...]:
        """Number of codes of each categorical column, including padding and unknown."""
        return tuple(len(known) + FIRST_TOKEN for known in self.categories.values())

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, including padding and unknown; 0 for numbers."""
        return len(self.vocabulary) + FIRST_TOKEN if self.kind in ("tokens", "text") else 0

    def encode(self, X: Any) -> Ragged:
        """Return X as network inputs; see `encode_steps`.

        Raises: ShapeError if the number of channels differs from training; DataError if X holds
            sequences of another kind, or was encoded by another encoder.
        """
        return self.encode_sequences(X).inputs

    def encode_sequences(
        self, X: Any, fill: Fill = "refuse", static: Static | None = None
    ) -> EncodedSequences:
        """Return X encoded; sequences that are already encoded are returned unchanged."""
        steps = self.read_steps(X)
        if isinstance(X, EncodedSequences):
            return X
        steps = self.fill_gaps(steps, fill)
        return EncodedSequences(X, steps, self.encode_steps(steps), self).with_static(static)

    def encode_steps(self, steps: Ragged) -> Ragged:
        """Return the network inputs for steps returned by `read_steps`.

        Returns: (N, C) float32 or (N,) int64. Categories are codes in the last columns of (N, C);
            float32 represents them exactly below 2^24.
        """
        if self.kind == "numbers":
            return self._encode_numbers(steps)
        if self.kind == "mixed":
            numbers = self._encode_numbers(extract_numbers(steps, tuple(self.categories)))
            codes = [
                [known.get(name, UNKNOWN) for name in self.name_categories(steps, c)]
                for c, known in self.categories.items()
            ]
            return steps.with_values(np.column_stack([numbers.values, *codes]).astype(np.float32))
        ids = [self.vocabulary.get(token, UNKNOWN) for token in steps.values.tolist()]
        return steps.with_values(np.array(ids, dtype=np.int64))

    def fill_gaps(self, steps: Ragged, how: Fill) -> Ragged:
        """Fill the gaps of channels that had none in training; see `fill_steps`."""
        if self.kind in ("tokens", "text"):
            return steps
        return fill_steps(steps, how, self.gaps, self.known_mean, tuple(self.categories))

    def _encode_numbers(self, numbers: Ragged) -> Ragged:
        if gap := first_gap(numbers, self.gaps):
            channel_name = self.name_column(self.number_columns[gap.channel])
            raise DataError(
                f"sequence {gap.sequence}: step {gap.step + 1}, channel {channel_name} is "
                "missing, but that channel had no gaps in training",
                remedy="Fill the gap (encode(X, fill='previous')), or train on sequences with gaps "
                "in that channel.",
            )
        filled = carry_forward(numbers, self.fill)
        with np.errstate(over="ignore"):
            values = ((filled - self.mean) / self.scale).astype(np.float32)
        beyond = ~np.isfinite(values)
        if beyond.any():
            step, channel = (int(i) for i in np.argwhere(beyond)[0])
            name = self.name_column(self.number_columns[channel])
            raise DataError(
                f"sequence {numbers.owners[step]}: channel {name} holds {filled[step, channel]:.1e}"
                ", too large for the network, whose numbers end at 3.4e38",
                remedy="Correct the value, or write the channel in another unit.",
            )
        observed = ~np.isnan(numbers.values[:, self.gaps])
        return numbers.with_values(np.hstack([values, observed.astype(np.float32)]))

    def name_column(self, column: int) -> str:
        """Return the quoted name of a column of X, or its number if it has no name."""
        return name_columns(self.channels, self.names)[column]

    def count_unknown(self, steps: Ragged) -> Counter[str]:
        """Count the tokens and categories of `steps` that are not in the vocabulary."""
        if self.kind == "numbers":
            return Counter()
        if self.kind == "mixed":
            return Counter(
                name
                for c, known in self.categories.items()
                for name in self.name_categories(steps, c)
                if name not in known
            )
        return Counter(t for t in steps.values.tolist() if t not in self.vocabulary)

    def name_categories(self, steps: Ragged, column: int) -> list[str]:
        """Return the categories in a column of mixed steps as text, (N,), as in training."""
        return name_as_known(steps.values[:, column], self.categories[column])

    def read_steps(self, X: Any) -> Ragged:
        """Return X as steps: unscaled numbers, mixed columns, or tokens."""
        if isinstance(X, EncodedSequences):
            if X.encoder is not self:
                raise DataError(
                    "X was encoded for another model, or before this one was fitted again",
                    remedy="Encode it with this one: model.encode(X).",
                )
            return X.steps
        X = as_indexable(X)
        self._refuse_other_kind(X)
        if self.kind == "text":
            return cut(X, self.unit or "characters")
        if self.kind == "tokens":
            return as_tokens(X)
        steps = as_mixed(X) if self.kind == "mixed" else as_numbers(X)
        refuse_other_channels(steps, self.channels)
        return steps

    def _refuse_other_kind(self, X: Any) -> None:
        kind = input_kind(X)
        # Lists of integers may be tokens or values, and a small mixed X may contain no category:
        # the kind found in training decides.
        loose = (
            ("mixed", "numbers"),
            *(() if isinstance(X, Ragged) else (("tokens", "numbers"), ("numbers", "tokens"))),
        )
        if kind != self.kind and (self.kind, kind) not in loose:
            raise DataError(
                f"X holds {kind}, expected {self.kind} as in training",
                remedy="Give sequences of the same form as those the model was trained on.",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; `from_dict` restores the encoder bit for bit."""
        features = {} if self.static is None else {"static": self.static.to_dict()}
        if self.kind in ("tokens", "text"):
            split = {"unit": self.unit, "rule": RULE if self.unit else None}
            return {"kind": self.kind, **split, "vocabulary": list(self.vocabulary), **features}
        numbers = {"mean": self.mean.tolist(), "scale": self.scale.tolist()}
        fill = [None if np.isnan(value) else value for value in self.fill.tolist()]
        state: dict[str, Any] = {**features, "kind": self.kind, **numbers, "fill": fill}
        if self.kind == "mixed":
            state["category_columns"] = list(self.categories)
            state["category_names"] = [list(known) for known in self.categories.values()]
        return state

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], names: Sequence[str] = ()) -> Encoder:
        """Restore an encoder from `to_dict` and the `names` of the columns.

        Raises: ModelFileError if an entry is missing or has the wrong form.
        """
        place = "config.json: encoder"
        saved = read_as(_SavedEncoder, values, place)
        mean, scale, fill = restore_scaling(saved.mean, saved.scale, saved.fill, place)
        known = map(numbered, saved.category_names)
        categories = dict(zip(saved.category_columns, known, strict=False))
        vocabulary = numbered(saved.vocabulary)
        static = None if saved.static is None else StaticEncoder.from_dict(saved.static)
        numbers = (mean, scale, fill)
        encoder = cls(saved.kind, saved.unit, *numbers, vocabulary, categories, names, static)
        if (saved.kind == "text") != (saved.unit is not None):
            raise ModelFileError(f"{place}: kind {saved.kind!r} with unit {saved.unit!r}")
        if saved.rule != (RULE if saved.unit else None):
            raise ModelFileError(
                f"{place}: text was split by {show(saved.rule)}, and this elman by {RULE!r}"
            )
        columns = set(range(len(mean) + len(categories)))
        if encoder.to_dict() != values or not set(categories) <= columns:
            raise ModelFileError(f"{place}: a name twice, or entries that are not of {saved.kind}")
        return encoder


@dataclass(frozen=True)
class _SavedEncoder:
    """What config.json holds of an Encoder; each kind has only some of it."""

    kind: InputKind
    unit: Unit | None = None
    rule: str | None = None
    vocabulary: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    fill: tuple[float | None, ...] = ()
    category_columns: tuple[int, ...] = ()
    category_names: tuple[tuple[str, ...], ...] = ()
    static: dict[str, Any] | None = None
