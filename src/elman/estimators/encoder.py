"""From sequences as users have them to what the network takes; fitted on the training part only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Kind
from elman.data.ragged import Ragged
from elman.errors import DataError, ModelFileError, ShapeError
from elman.estimators.inputs import as_numbers, as_tokens, choose_unit, cut, kind_of, plain
from elman.models.model import FIRST_TOKEN, UNKNOWN


@dataclass(frozen=True)
class Encoder:
    """Standardises numbers, or numbers tokens.

        numbers: (x - mean) / scale of each channel        tokens: place in the vocabulary

    Args:
        kind: `numbers`, `tokens` or `text`.
        unit: for text, `characters` or `words`.
        mean, scale: for numbers, (C,) float64.
        vocabulary: for tokens and text, token -> id, from 2; 0 is padding, 1 unknown.
    """

    kind: Kind
    unit: str | None = None
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    scale: NDArray[np.float64] = field(default_factory=lambda: np.ones(0))
    vocabulary: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def fit(cls, X: Any, *, inputs: Kind, tokens: str, scale: bool) -> Encoder:
        """Learn from the training sequences, which are of the kind `inputs`."""
        if inputs == "numbers":
            values = as_numbers(X).values
            with np.errstate(over="ignore"):
                spread = values.std(0)
            if scale and not np.isfinite(spread).all():
                channel = int((~np.isfinite(spread)).argmax())
                largest = float(np.abs(values[:, channel]).max())
                raise DataError(
                    f"channel {channel} holds values up to {largest:.1e}, too large to standardise",
                    remedy="Write it in another unit.",
                )
            # A channel that never changes carries nothing: it becomes zero, not a division by zero.
            spread = np.where(spread > 1e-12 * np.abs(values).max(0, initial=0), spread, 1.0)
            shape = values.shape[1]
            return cls(
                "numbers",
                mean=values.mean(0) if scale else np.zeros(shape),
                scale=spread if scale else np.ones(shape),
            )
        unit = None
        if inputs == "text":
            unit = choose_unit(X) if tokens == "auto" else tokens
        sequences = as_tokens(X) if unit is None else cut(X, unit)
        known = sorted(set(sequences.values.tolist()))
        vocabulary = {token: i for i, token in enumerate(known, FIRST_TOKEN)}
        return cls(inputs, unit=unit, vocabulary=vocabulary)

    @property
    def channels(self) -> int:
        """C for numbers, else 0."""
        return len(self.mean)

    @property
    def vocabulary_size(self) -> int:
        """Ids in use, padding and unknown counted; 0 for numbers."""
        return len(self.vocabulary) + FIRST_TOKEN if self.kind != "numbers" else 0

    def encode(self, X: Any) -> Ragged:
        """Return X as the network takes it: (N, C) float32 or (N,) int64.

        Raises: ShapeError if the channels are not those of the training; DataError if X holds
            sequences of another kind.
        """
        X = plain(X)
        if self.kind == "numbers":
            self._refuse_other_kind(X)
            ragged = as_numbers(X)
            if ragged.values.shape[1] != self.channels:
                raise ShapeError(
                    f"X has {ragged.values.shape[1]} channels, expected {self.channels} as in "
                    "training"
                )
            with np.errstate(over="ignore"):
                values = ((ragged.values - self.mean) / self.scale).astype(np.float32)
            beyond = ~np.isfinite(values)
            if beyond.any():
                step, channel = (int(i) for i in np.argwhere(beyond)[0])
                raise DataError(
                    f"sequence {ragged.owners[step]}: channel {channel} holds "
                    f"{ragged.values[step, channel]:.1e}, too large for the network, whose numbers "
                    "end at 3.4e38",
                    remedy="Correct the value, or write the channel in another unit.",
                )
            return ragged.with_values(values)
        tokens = self._tokens(X)
        ids = [self.vocabulary.get(token, UNKNOWN) for token in tokens.values.tolist()]
        return tokens.with_values(np.array(ids, dtype=np.int64))

    def unknown(self, X: Any) -> Counter[str]:
        """Count the tokens of X that training has not seen; always empty for numbers."""
        if self.kind == "numbers":
            return Counter()
        return Counter(t for t in self._tokens(X).values.tolist() if t not in self.vocabulary)

    def steps(self, X: Any) -> Ragged:
        """Return X cut into its steps: numbers as given, or tokens."""
        return as_numbers(plain(X)) if self.kind == "numbers" else self._tokens(X)

    def _tokens(self, X: Any) -> Ragged:
        X = plain(X)
        self._refuse_other_kind(X)
        if self.kind == "text":
            return cut(X, self.unit or "characters")
        return as_tokens(X)

    def _refuse_other_kind(self, X: Any) -> None:
        found = kind_of(X)
        # Whole numbers in lists may stand for tokens or for values: training has decided.
        loose = {"numbers", "tokens"} if not isinstance(X, Ragged) else set()
        if found != self.kind and not {found, self.kind} <= loose:
            raise DataError(
                f"X holds {found}, expected {self.kind} as in training",
                remedy="Give sequences of the same form as those the model was trained on.",
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` gives the same encoder back to the last bit."""
        if self.kind == "numbers":
            return {"kind": "numbers", "mean": self.mean.tolist(), "scale": self.scale.tolist()}
        return {"kind": self.kind, "unit": self.unit, "vocabulary": list(self.vocabulary)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Encoder:
        """Undo `to_dict`. Raises ModelFileError if a part is missing or of the wrong form."""
        try:
            if values["kind"] == "numbers":
                mean, scale = (np.array(values[k], dtype=np.float64) for k in ("mean", "scale"))
                if mean.shape != scale.shape or not (np.isfinite(mean).all() and (scale > 0).all()):
                    raise ValueError("mean and scale: expected as many numbers, scale above 0")
                return cls("numbers", mean=mean, scale=scale)
            kind, unit = values["kind"], values["unit"]
            if (kind, unit) not in (("tokens", None), ("text", "characters"), ("text", "words")):
                raise ValueError(f"kind {kind!r} with unit {unit!r}")
            vocabulary = {str(t): i for i, t in enumerate(values["vocabulary"], FIRST_TOKEN)}
            return cls(kind, unit=unit, vocabulary=vocabulary)
        except (KeyError, TypeError, ValueError) as error:
            detail = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ModelFileError(f"encoder: {detail}") from error
