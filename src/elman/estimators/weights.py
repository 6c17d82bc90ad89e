"""Weights of classes and of sequences or steps in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged, is_labelled
from elman.errors import DataError, SettingsError, ShapeError, nearest


def plain_class_weight(class_weight: Any) -> Any:
    """Return `class_weight` with Python's own numbers, so that it can be compared and saved.

    Raises: SettingsError for an array or list, which does not say which class a weight is for.
    """
    if isinstance(class_weight, Mapping):
        pairs = class_weight.items()
        return {_own(label): _own(weight) for label, weight in pairs}
    if class_weight is None or isinstance(class_weight, str):
        return class_weight
    if np.ndim(class_weight) == 1 and len(class_weight):
        raise SettingsError(
            f"class_weight: got a {type(class_weight).__name__} of {len(class_weight):,}, expected"
            " 'balanced' or a dict from each class to its weight. For weights in the order of the"
            " sorted classes: dict(zip(numpy.unique(y), weights))"
        )
    return class_weight


def _own(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def class_weights(
    class_weight: str | Mapping[Any, float] | None, classes: NDArray[Any], counts: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the weight of each class, (K,), or None if `class_weight` is None.

    Args:
        class_weight: `balanced`, n / (K * count of the class), as in scikit-learn's
            compute_class_weight; or weights by label, 1 for labels not listed. A label may be given
            as text, because keys in a configuration file are always text.
        classes: labels, (K,).
        counts: number of occurrences of each class in the training split, (K,); a tagger counts
            steps.
    Raises: SettingsError for a label that is not in `classes`.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        present = counts > 0
        balanced = counts.sum() / (present.sum() * np.maximum(counts, 1))
        return np.where(present, balanced, 1.0)
    return by_label(class_weight, classes)


def label_weights(
    class_weight: str | Mapping[Any, float] | None, classes: NDArray[Any], counts: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the loss weight of positive examples of each label, (K,), or None.

    Args:
        class_weight: `balanced`, the number of training sequences without the label divided by the
            number with it; or weights by label.
        classes: labels, (K,).
        counts: sequences with each label and without it in the training split, (2, K).
    """
    if isinstance(class_weight, str):
        positive, negative = counts
        return np.where(positive > 0, negative / np.maximum(positive, 1), 1.0)
    return None if class_weight is None else by_label(class_weight, classes)


def by_label(class_weight: Mapping[Any, float], classes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the weight of each label, (K,), with 1 for labels not in `class_weight`."""
    place = {str(label): k for k, label in enumerate(classes.tolist())}
    weights = np.ones(len(classes))
    for label, weight in class_weight.items():
        if str(label) not in place:
            raise SettingsError(
                f"class_weight: there is no class {label!r}.{nearest(str(label), place)} Expected "
                f"some of {', '.join(map(repr, list(classes.tolist())[:12]))}"
            )
        weights[place[str(label)]] = weight
    return weights


def sample_weights(weights: Any, lengths: NDArray[np.int64], *, per_step: bool) -> Any:
    """Check sample weights; return (n,) float64, or with `per_step` a Ragged of (N,).

    Args:
        weights: n numbers, or with `per_step` also n lists with one weight per step. A sequence
            whose weights are all 0 is treated as absent.
        lengths: number of steps of each sequence, (n,).
    Raises: ShapeError or DataError; the message says what was expected.
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
    """Return the indices of the sequences whose weights are not all 0."""
    if isinstance(weights, Ragged):
        weights = np.add.reduceat(weights.values, weights.offsets[:-1])
    return np.flatnonzero(weights)


def without_zero_weights(labels: Ragged, weights: Ragged) -> tuple[Ragged, Ragged | None]:
    """Return labels in which a step of weight 0 is not labelled, and the weights.

    So both forms of leaving a step out give the same bits, and the baselines leave it out too. The
    weights are None if those of all labelled steps are 1.
    """
    zero = weights.values == 0
    if zero.any():
        numbers = labels.values.dtype.kind == "f"
        values = labels.values.astype(np.float64 if numbers else object)
        values[zero] = np.nan if numbers else None
        labels = labels.with_values(values)
    equal = bool((weights.values[is_labelled(labels.values)] == 1).all())
    return labels, None if equal else weights
