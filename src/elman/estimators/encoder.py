"""From sequences as users have them to what the network takes; fitted on the training part only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Kind
from elman.data.missing import carried_forward, first_gap
from elman.data.ragged import Ragged
from elman.errors import DataError, ModelFileError, ShapeError
from elman.estimators.inputs import as_numbers, as_tokens, choose_unit, cut, kind_of, plain
from elman.models.model import FIRST_TOKEN, UNKNOWN

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Encoder:
    """Standardises numbers, or numbers tokens.

        numbers: (x - mean) / scale of each channel        tokens: place in the vocabulary

    A missing number is replaced by the last one of its channel and sequence, before the first by
    the training mean. Each channel with gaps in the training part gets one more channel, behind
    all others: 1 where its value was observed, 0 where not.

    Args:
        kind: `numbers`, `tokens` or `text`.
        unit: for text, `characters` or `words`.
        mean, scale: for numbers, (C,) float64.
        fill: for numbers, what stands before a channel's first value, (C,) float64; NaN in a
            channel that had no gap in the training part, and must have none.
        vocabulary: for tokens and text, token -> id, from 2; 0 is padding, 1 unknown.
    """

    kind: Kind
    unit: str | None = None
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    scale: NDArray[np.float64] = field(default_factory=lambda: np.ones(0))
    fill: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    vocabulary: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def fit(cls, X: Any, *, inputs: Kind, tokens: str, scale: bool) -> Encoder:
        """Learn from the training sequences, which are of the kind `inputs`."""
        if inputs == "numbers":
            values = as_numbers(X).values
            gaps = np.isnan(values).any(0)
            mean, spread, highest = _statistics(values)
            if scale and not np.isfinite(spread).all():
                channel = int((~np.isfinite(spread)).argmax())
                raise DataError(
                    f"channel {channel} holds values up to {highest[channel]:.1e}, too large to "
                    "standardise",
                    remedy="Write it in another unit.",
                )
            # A channel that never changes carries nothing: it becomes zero, not a division by zero.
            spread = np.where(spread > 1e-12 * highest, spread, 1.0)
            shape = values.shape[1]
            return cls(
                "numbers",
                mean=mean if scale else np.zeros(shape),
                scale=spread if scale else np.ones(shape),
                fill=np.where(gaps, mean, np.nan),
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
    def gaps(self) -> NDArray[np.bool_]:
        """Whether values of a channel may be missing, (C,)."""
        return np.isfinite(self.fill)

    @property
    def input_size(self) -> int:
        """Numbers that the network takes at a step: the channels, and who was observed."""
        return self.channels + int(self.gaps.sum())

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
            if gap := first_gap(ragged, self.gaps):
                raise DataError(
                    f"sequence {gap.sequence}: step {gap.step}, channel {gap.channel} is missing, "
                    "but that channel had no gaps in training",
                    remedy="Fill the gap, or train on sequences with gaps in that channel.",
                )
            filled = carried_forward(ragged, self.fill)
            with np.errstate(over="ignore"):
                values = ((filled - self.mean) / self.scale).astype(np.float32)
            beyond = ~np.isfinite(values)
            if beyond.any():
                step, channel = (int(i) for i in np.argwhere(beyond)[0])
                raise DataError(
                    f"sequence {ragged.owners[step]}: channel {channel} holds "
                    f"{filled[step, channel]:.1e}, too large for the network, whose numbers "
                    "end at 3.4e38",
                    remedy="Correct the value, or write the channel in another unit.",
                )
            observed = ~np.isnan(ragged.values[:, self.gaps])
            return ragged.with_values(np.hstack([values, observed.astype(np.float32)]))
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
            return {
                "kind": "numbers",
                "mean": self.mean.tolist(),
                "scale": self.scale.tolist(),
                "fill": [
                    float(v) if known else None
                    for v, known in zip(self.fill, self.gaps, strict=True)
                ],
            }
        return {"kind": self.kind, "unit": self.unit, "vocabulary": list(self.vocabulary)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Encoder:
        """Undo `to_dict`. Raises ModelFileError if a part is missing or of the wrong form."""
        try:
            if values["kind"] == "numbers":
                mean, scale = (np.array(values[k], dtype=np.float64) for k in ("mean", "scale"))
                if mean.shape != scale.shape or not (np.isfinite(mean).all() and (scale > 0).all()):
                    raise ValueError("mean and scale: expected as many numbers, scale above 0")
                fill = np.array(values.get("fill", [None] * len(mean)), dtype=np.float64)
                if fill.shape != mean.shape or np.isinf(fill).any():
                    raise ValueError("fill: expected a number or null for each channel")
                return cls("numbers", mean=mean, scale=scale, fill=fill)
            kind, unit = values["kind"], values["unit"]
            if (kind, unit) not in (("tokens", None), ("text", "characters"), ("text", "words")):
                raise ValueError(f"kind {kind!r} with unit {unit!r}")
            vocabulary = {str(t): i for i, t in enumerate(values["vocabulary"], FIRST_TOKEN)}
            return cls(kind, unit=unit, vocabulary=vocabulary)
        except (KeyError, TypeError, ValueError) as error:
            detail = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ModelFileError(f"encoder: {detail}") from error


def _statistics(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, standard deviation and largest size of each channel's observed values, each (C,).

    Raises: DataError for a channel that has none.
    """
    known = ~np.isnan(values)
    if not known.any(0).all():
        raise DataError(
            f"channel {int((~known.any(0)).argmax())} has no value in the training part",
            remedy="Leave the channel out, or train on sequences that have it.",
        )
    with np.errstate(over="ignore"):
        if known.all():
            return values.mean(0), values.std(0), np.abs(values).max(0)
        return np.nanmean(values, 0), np.nanstd(values, 0), np.nanmax(np.abs(values), 0)
