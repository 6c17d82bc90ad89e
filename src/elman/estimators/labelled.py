"""Sequences and what is known of them, taken apart and put together for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import Examples
from elman.data.ragged import Ragged, category_columns, extract_numbers, sequences_with_gaps
from elman.data.splits import hold_out, hold_out_groups
from elman.errors import DataError, SettingsError, ShapeError
from elman.estimators.encoder import EncodedSequences
from elman.estimators.inputs import take_rows
from elman.estimators.targets import Labels, Target
from elman.tasks import TASKS, OutputName


@dataclass(frozen=True)
class LabelledSequences:
    """Sequences in the caller's form and what is known of them, n of each.

    Args:
        X: sequences, as `elman.estimators.inputs.check_sequences` returned them.
        labels: what is to be predicted.
        weights: how much each counts, (n,), or with a weight a step a Ragged; None for alike.
        groups: of each, (n,), kept whole by a split; None for none.
        places: of each in the caller's X, (n,); None where no sequence was left out.
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
            take_rows(values, index) for values in (self.X, self.labels, self.weights, self.groups)
        )
        return LabelledSequences(X, labels, weights, groups, places)

    def hold_out(
        self, kind: str, share: float, seed: int, task: OutputName
    ) -> tuple[LabelledSequences, LabelledSequences | None]:
        """Hold out a share of the sequences; None if that is 0.

        Args:
            kind: of X: `numbers`, `tokens`, `text` or `mixed`.
            task: of the labels; where each sequence has a single class, both splits get the classes
                in like shares.
        Raises: SettingsError for groups that would not be used; DataError if there is too little
            to split.
        """
        if not share:
            if self.groups is not None:
                raise SettingsError(
                    "groups: no share of X is held out, so that there is nothing to split by "
                    "groups. Leave them out, or give validation a share and no validation_data"
                )
            return self, None
        strata = self.labels if TASKS[task].single_label else None
        gaps = _gaps_of(self.X, kind)
        if self.groups is None:
            first, second = hold_out(len(self), share, seed, strata, gaps=gaps)
        else:
            first, second = hold_out_groups(self.groups, share, seed, strata, gaps=gaps)
        return self.take(first), self.take(second)

    def to_examples(self, encoded: EncodedSequences, target: Target) -> Examples:
        """Return what a training takes, of these sequences encoded. Raises ShapeError."""
        refuse_other_lengths(encoded.inputs, self.labels)
        weights: Any = self.weights
        if isinstance(weights, Ragged):
            weights = weights.with_values(weights.values.astype(np.float32))
        elif weights is not None:
            weights = weights.astype(np.float32)
        measured = len(encoded.encoder.mean)
        codes = target.encode(self.labels)
        return Examples(encoded.inputs, codes, weights, target.unit, measured, self.places)


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


def sample_weights(weights: Any, lengths: NDArray[np.int64], *, per_step: bool) -> Any:
    """Return sample weights checked: (n,) float64, or with `per_step` a Ragged of (N,).

    Args:
        weights: n numbers, or with `per_step` also n lists with one a step. A sequence that counts
            0 as a whole is the same as none.
        lengths: steps of each sequence, (n,).
    Raises: ShapeError or DataError, saying what was expected.
    """
    if hasattr(weights, "__array__"):
        weights = np.asarray(weights)
    each = "one a sequence" + ", or a list for each with one a step" * per_step
    if not hasattr(weights, "__len__") or len(weights) != len(lengths):
        raise ShapeError(f"sample_weight: expected {len(lengths)} numbers, {each}")
    stepwise = isinstance(weights, Ragged) or (per_step and any(np.ndim(w) for w in weights))
    try:
        if stepwise:
            ragged = (
                weights if isinstance(weights, Ragged) else Ragged.from_list(weights, np.float64)
            )
            values, counts = np.asarray(ragged.values, dtype=np.float64), ragged.lengths
        else:
            values, counts = np.asarray(weights, dtype=np.float64), lengths
    except (TypeError, ValueError):
        raise DataError(
            f"sample_weight: got something that is no number, expected {each}"
        ) from None
    if values.ndim != 1 or (stepwise and not per_step):
        raise ShapeError(f"sample_weight: got shape {values.shape}, expected {each}")
    if (differ := counts != lengths).any():
        i = int(differ.argmax())
        raise ShapeError(
            f"sample_weight, sequence {i}: got {counts[i]} numbers, expected {lengths[i]}, one a "
            "step"
        )
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise DataError(
            "sample_weight: got numbers below 0, not finite, or all zero",
            remedy="Expected numbers from 0, some above it.",
        )
    if not per_step:
        return values
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ragged(values if stepwise else np.repeat(values, lengths), offsets)


def nonzero_weights(weights: NDArray[np.float64] | Ragged) -> NDArray[np.int64]:
    """Return the places of the sequences that count at all."""
    if isinstance(weights, Ragged):
        weights = np.add.reduceat(weights.values, weights.offsets[:-1])
    return np.flatnonzero(weights)
