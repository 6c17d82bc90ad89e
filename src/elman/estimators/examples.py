"""Sequences and what is known of them, taken apart and put together for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import Examples
from elman.data.channels import category_columns, extract_numbers, sequences_with_gaps
from elman.data.ragged import Ragged
from elman.data.splits import hold_out, hold_out_groups
from elman.errors import SettingsError, ShapeError
from elman.estimators.encoder import Encoder
from elman.estimators.targets import Labels, Target


@dataclass(frozen=True)
class LabelledSequences:
    """Sequences in the caller's form and what is known of them, n of each.

    Args:
        X: sequences, as `elman.estimators.inputs.check_sequences` gave them.
        labels: what is to be predicted.
        weights: how much each counts, (n,), or with a weight a step a Ragged; None for alike.
        groups: that stand on one side of a split only, (n,); None for none.
        places: of each in what the caller gave, (n,); None where all are still in their places.
    """

    X: Any
    labels: Labels
    weights: NDArray[np.float64] | Ragged | None = None
    groups: NDArray[Any] | None = None
    places: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.X)

    def take(self, index: NDArray[np.int64]) -> LabelledSequences:
        """Return the sequences at `index`."""
        places = index if self.places is None else self.places[index]
        X, labels, weights, groups = (
            _take(values, index) for values in (self.X, self.labels, self.weights, self.groups)
        )
        return LabelledSequences(X, labels, weights, groups, places)

    def parted(
        self, kind: str, share: float, seed: int, *, stratified: bool
    ) -> tuple[LabelledSequences, LabelledSequences | None]:
        """Hold out a share of the sequences; None if that is 0.

        Args:
            kind: of X: `numbers`, `tokens`, `text` or `mixed`.
            stratified: whether both parts are to have the labels in like shares.
        Raises: SettingsError for groups that nothing is parted by; DataError if there is too
            little to part.
        """
        if not share:
            if self.groups is not None:
                raise SettingsError(
                    "groups: no share of X is held out, so that there is nothing to part by "
                    "groups. Leave them out, or give validation a share and no validation_data"
                )
            return self, None
        strata = self.labels if stratified else None
        gaps = _gaps_of(self.X, kind)
        if self.groups is None:
            first, second = hold_out(len(self), share, seed, strata, gaps=gaps)
        else:
            first, second = hold_out_groups(self.groups, share, seed, strata, gaps=gaps)
        return self.take(first), self.take(second)

    def examples(self, encoder: Encoder, target: Target) -> Examples:
        """Encode for training. Raises ShapeError."""
        inputs = encoder.encode(self.X)
        refuse_other_lengths(inputs, self.labels)
        weights: Any = self.weights
        if isinstance(weights, Ragged):
            weights = weights.with_values(weights.values.astype(np.float32))
        elif weights is not None:
            weights = weights.astype(np.float32)
        measured = len(encoder.mean)
        codes = target.encode(self.labels)
        return Examples(inputs, codes, weights, target.unit, measured, self.places)


def _gaps_of(X: Any, kind: str) -> NDArray[np.bool_] | None:
    """Whether a sequence misses values in a column of numbers, (n, C); None for tokens and text."""
    if kind == "mixed":
        return sequences_with_gaps(extract_numbers(X, category_columns(X.values)))
    return sequences_with_gaps(X) if kind == "numbers" else None


def lengths_of(labels: Labels) -> NDArray[np.int64]:
    """Labels that each sequence has, (n,)."""
    return labels.lengths if isinstance(labels, Ragged) else np.ones(len(labels), np.int64)


def refuse_other_lengths(inputs: Ragged, codes: NDArray[Any] | Ragged) -> None:
    """Raise ShapeError unless each sequence has as many labels as steps."""
    if not isinstance(codes, Ragged):
        return
    differ = inputs.lengths != codes.lengths
    if differ.any():
        i = int(differ.argmax())
        raise ShapeError(
            f"y, sequence {i}: got {codes.lengths[i]} labels, expected {inputs.lengths[i]}, one a "
            "step"
        )


def _take(values: Any, index: NDArray[np.int64]) -> Any:
    """Return the sequences, labels or weights at `index`; None stays None."""
    if values is None:
        return None
    if isinstance(values, Ragged):
        return values.take(index)
    if isinstance(values, np.ndarray):
        return values[index]
    return [values[i] for i in index]
