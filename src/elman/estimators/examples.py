"""Sequences and what is known of them, taken apart and put together for training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import Examples
from elman.data.missing import with_gaps
from elman.data.mixed import category_columns, numbers_of
from elman.data.ragged import Ragged
from elman.errors import ShapeError
from elman.estimators.encoder import Encoder
from elman.estimators.targets import Labels, Target


def gaps_of(X: Any, kind: str) -> NDArray[np.bool_] | None:
    """Whether a sequence misses values in a column of numbers, (n, C); None for tokens and text."""
    if kind == "mixed":
        return with_gaps(numbers_of(X, category_columns(X.values)))
    return with_gaps(X) if kind == "numbers" else None


def make_examples(
    encoder: Encoder,
    target: Target,
    X: Any,
    labels: Labels,
    weights: NDArray[np.float64] | Ragged | None,
) -> Examples:
    """Encode sequences and what is to be predicted of them, for training. Raises ShapeError."""
    inputs = encoder.encode(X)
    refuse_other_lengths(inputs, labels)
    own: Any = weights
    if isinstance(weights, Ragged):
        own = weights.with_values(weights.values.astype(np.float32))
    elif weights is not None:
        own = weights.astype(np.float32)
    return Examples(inputs, target.encode(labels), own, target.unit, len(encoder.mean))


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


def take(values: Any, index: NDArray[np.int64]) -> Any:
    """Return the sequences, labels or weights at `index`; None stays None."""
    if values is None:
        return None
    if isinstance(values, Ragged):
        return values.take(index)
    if isinstance(values, np.ndarray):
        return values[index]
    return [values[i] for i in index]
