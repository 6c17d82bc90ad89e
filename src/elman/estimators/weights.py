"""How much a class, a sequence or a step counts in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.errors import DataError, SettingsError, ShapeError, nearest


def class_weights(
    asked: str | Mapping[Any, float] | None, classes: NDArray[Any], counts: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the weight of each class, (K,), or None if none is asked for.

    Args:
        asked: `balanced`, n / (K * count of the class), as scikit-learn's
            compute_class_weight; or weights by label, those not named are 1. A label may be written
            as text: a file knows no other.
        classes: labels, (K,).
        counts: how often each occurs in the training part, (K,); of a tagger over its steps.
    Raises: SettingsError for a label that is none.
    """
    if asked is None:
        return None
    if isinstance(asked, str):
        present = counts > 0
        balanced = counts.sum() / (present.sum() * np.maximum(counts, 1))
        return np.where(present, balanced, 1.0)
    return by_label(asked, classes)


def label_weights(
    asked: str | Mapping[Any, float] | None, classes: NDArray[Any], there: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return what a label that is there counts against one that is not, (K,), or None.

    Args:
        asked: `balanced`, without / with the label in the training part; or weights by label.
        classes: labels, (K,).
        there: 1 where a label is there, (n, K).
    """
    if isinstance(asked, str):
        positive = there.sum(0)
        return np.where(positive > 0, (len(there) - positive) / np.maximum(positive, 1), 1.0)
    return None if asked is None else by_label(asked, classes)


def by_label(asked: Mapping[Any, float], classes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the weight that each label, (K,), is given, 1 where it is not named."""
    place = {str(label): k for k, label in enumerate(classes.tolist())}
    weights = np.ones(len(classes))
    for label, weight in asked.items():
        if str(label) not in place:
            raise SettingsError(
                f"class_weight: there is no class {label!r}.{nearest(str(label), place)} Expected "
                f"some of {', '.join(map(repr, list(classes.tolist())[:12]))}"
            )
        weights[place[str(label)]] = weight
    return weights


def sample_weights(given: Any, lengths: NDArray[np.int64], *, per_step: bool) -> Any:
    """Return sample weights checked: (n,) float64, or with `per_step` a Ragged of (N,).

    Args:
        given: n numbers, or with `per_step` also n lists with one a step. A sequence that counts 0
            as a whole is the same as none.
        lengths: steps of each sequence, (n,).
    Raises: ShapeError or DataError, saying what was expected.
    """
    if hasattr(given, "__array__"):
        given = np.asarray(given)
    each = "one a sequence" + ", or a list for each with one a step" * per_step
    if not hasattr(given, "__len__") or len(given) != len(lengths):
        raise ShapeError(f"sample_weight: expected {len(lengths)} numbers, {each}")
    steps = isinstance(given, Ragged) or (per_step and any(np.ndim(w) for w in given))
    try:
        if steps:
            ragged = given if isinstance(given, Ragged) else Ragged.from_list(given, np.float64)
            values, found = np.asarray(ragged.values, dtype=np.float64), ragged.lengths
        else:
            values, found = np.asarray(given, dtype=np.float64), lengths
    except (TypeError, ValueError):
        raise DataError(
            f"sample_weight: got something that is no number, expected {each}"
        ) from None
    if values.ndim != 1 or (steps and not per_step):
        raise ShapeError(f"sample_weight: got shape {values.shape}, expected {each}")
    if (differ := found != lengths).any():
        i = int(differ.argmax())
        raise ShapeError(
            f"sample_weight, sequence {i}: got {found[i]} numbers, expected {lengths[i]}, one a "
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
    return Ragged(values if steps else np.repeat(values, lengths), offsets)


def counted(weights: NDArray[np.float64] | Ragged) -> NDArray[np.int64]:
    """Return the sequences that count at all."""
    if isinstance(weights, Ragged):
        weights = np.add.reduceat(weights.values, weights.offsets[:-1])
    return np.flatnonzero(weights)
