"""Checks and conversion of the user's labels, class weights and sample weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import column_or_1d

from elman.data.ragged import Ragged
from elman.errors import DataError, SettingsError, ShapeError, nearest

Labels = NDArray[Any] | Ragged
_SEVERAL = (set, frozenset, list, tuple, np.ndarray)


def as_labels(y: Any, name: str) -> NDArray[Any]:
    """Return y as one array of strings, integers or booleans.

    Args:
        y: (n,) labels.
        name: name of y in messages.
    Raises: ShapeError if y is not one label per entry; DataError if labels are missing, of mixed
        types, or real numbers.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        y = labels = column_or_1d(labels, warn=True)
    if labels.ndim != 1:
        raise ShapeError(f"{name}: got shape {labels.shape}, expected (n,), one label a sequence")
    if labels.dtype.kind in "OU":
        values = np.asarray(y, dtype=object).tolist()
        kinds = {bool if isinstance(v, bool | np.bool_) else type(v) for v in values}
        text = all(issubclass(kind, str) for kind in kinds)
        whole = all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds)
        real = all(issubclass(kind, float | np.floating) for kind in kinds)
        if not (text or whole or real or kinds == {bool}):
            types = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise DataError(
                f"{name} holds labels of the types {types}",
                remedy="Expected all strings, all whole numbers or all truth values, none missing.",
            )
        labels = np.array(values, dtype=str if text else None)
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
            raise DataError(
                f"{name} holds real numbers or gaps",
                remedy="Expected classes, not a continuous target: strings, whole numbers or "
                "truth values.",
            )
    elif labels.dtype.kind not in "iubU":
        raise DataError(
            f"{name} holds {labels.dtype}",
            remedy="Expected classes: strings, whole numbers or truth values.",
        )
    return labels


def as_step_labels(y: Any, name: str) -> Ragged:
    """Return y, a list of labels per step for each sequence, as a Ragged; see `as_labels`."""
    if isinstance(y, Ragged):
        return y.with_values(as_labels(y.values, name))
    for i, row in enumerate(y):
        if isinstance(row, str) or np.ndim(row) != 1:
            raise ShapeError(
                f"{name}, sequence {i}: got {row!r:.40}, expected a list with a label for each step"
            )
    flat = Ragged.from_list(y, object)
    _refuse_unlabelled(flat, name)
    return flat.with_values(as_labels(flat.values, name))


def _refuse_unlabelled(labels: Ragged, name: str) -> None:
    """Raise DataError for the first step that is not labelled: None, NaN, or torch's -100."""
    for place, label in enumerate(labels.values.tolist()):
        nan = isinstance(label, float) and label != label
        if label is None or nan or (label == -100 and not isinstance(label, str)):
            i = int(labels.owners[place])
            raise DataError(
                f"{name}, sequence {i}: step {place - labels.offsets[i] + 1} has no label, but "
                f"{label}",
                remedy="To leave a step out of the loss and the score, give it any label, and the "
                "weight 0 in sample_weight: n lists with one weight per step.",
            )


def has_label_sets(y: Any) -> bool:
    """Whether y is a multilabel target: an indicator matrix, or sets of labels."""
    if isinstance(y, np.ndarray) and y.dtype != object:
        return y.ndim == 2 and y.shape[1] > 1
    return len(y) > 0 and any(isinstance(row, _SEVERAL) for row in y)


def as_label_sets(y: Any, name: str) -> NDArray[Any]:
    """Return a multilabel target as an indicator matrix, or as sets of labels.

    Args:
        y: (n, K) numbers 0 and 1, K at least 2, or n rows of them; or n sets, lists or tuples of
            labels.
        name: name of y in messages.
    Returns: (n, K) int64, or (n,) objects, each a frozenset.
    Raises: ShapeError or DataError; the message says what was expected.
    """
    rows = [
        np.asarray(row, dtype=object) for row in y if isinstance(row, list | tuple | np.ndarray)
    ]
    bits = {bool(v in (0, 1)) and not isinstance(v, str) for row in rows for v in row.ravel()}
    width = {row.shape for row in rows}
    if len(rows) == len(y) and bits == {True} and len(width) == 1 and width.pop() > (1,):
        return np.asarray(y, dtype=np.int64)
    if isinstance(y, np.ndarray) and y.dtype != object:
        raise DataError(
            f"{name} has shape {y.shape} and holds other numbers than 0 and 1",
            remedy="Expected (n,), one class each, or (n, K), for K labels 1 where it is there; "
            "numbers to predict go to SequenceRegressor.",
        )
    sets = np.empty(len(y), dtype=object)
    for i, row in enumerate(y):
        if not isinstance(row, _SEVERAL):
            raise DataError(
                f"{name}, sequence {i}: got {row!r:.40}, expected a set of labels as elsewhere",
                remedy="Give every sequence a set, an empty one where there is no label.",
            )
        sets[i] = frozenset(as_labels(list(row), f"{name}, sequence {i}").tolist())
    return sets


def to_indicator(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the indicator matrix, (n, K), of labels returned by `as_label_sets`.

    Raises: ShapeError if the width is not K; DataError naming labels that are not in `classes`.
    """
    if labels.dtype != object:
        if labels.ndim == 1:
            raise DataError(
                "y holds one label each", remedy="Expected sets of labels, as in training."
            )
        if labels.shape[1] != len(classes):
            raise ShapeError(f"y: got {labels.shape[1]} labels, expected {len(classes)}")
        return labels
    out = np.zeros((len(labels), len(classes)), dtype=np.int64)
    owners = np.repeat(np.arange(len(labels)), [len(row) for row in labels])
    if len(owners):
        every = as_labels([label for row in labels for label in row], "y")
        out[owners, to_codes(every, classes)] = 1
    return out


def to_codes(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the index of each label in `classes`, which must be sorted.

    Raises: DataError naming labels that are not in `classes`.
    """
    if labels.ndim == 2 or labels.dtype == object:
        raise DataError(
            "y holds several labels each", remedy="Expected one class each, as in training."
        )
    if (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise DataError(
            f"y holds {labels.tolist()[0]!r}, expected labels like {classes.tolist()[0]!r}",
            remedy="Give labels of the same type as in training.",
        )
    codes = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    new = classes[codes] != labels
    if new.any():
        unseen = sorted(set(labels[new].tolist()))
        shown = ", ".join(repr(label) for label in unseen[:5])
        raise DataError(
            f"y holds classes that training has not seen: {shown}"
            + (f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""),
            remedy="Leave those sequences out, or train on data that has them.",
        )
    return codes.astype(np.int64)


def as_values(y: Any, name: str) -> NDArray[np.float64]:
    """Return y as float64, (n,) or (n, K).

    Raises: ShapeError for other shapes; DataError for anything but finite numbers.
    """
    try:
        numbers = np.asarray(y)
        if numbers.dtype.kind not in "fiu":
            numbers = _numbers_alone(numbers)
        numbers = numbers.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} holds something that is no number",
            remedy="Expected a number a sequence, or K of them; classes go to SequenceClassifier.",
        ) from None
    if numbers.ndim not in (1, 2) or (numbers.ndim == 2 and numbers.shape[1] == 0):
        raise ShapeError(f"{name}: got shape {numbers.shape}, expected (n,) or (n, K)")
    bad = ~np.isfinite(numbers).reshape(len(numbers), -1).all(1)
    if bad.any():
        i = int(bad.argmax())
        raise DataError(
            f"{name} holds {numbers[i].tolist()!r} at place {i}",
            remedy="Expected finite numbers: fill the gap, or leave the sequence out.",
        )
    return numbers


def as_step_values(y: Any, name: str) -> Ragged:
    """Return y, a list with an array (T_i,) or (T_i, K) for each sequence, as a Ragged."""
    if isinstance(y, Ragged):
        return y.with_values(as_values(y.values, name))
    rows = []
    for i, row in enumerate(y):
        if isinstance(row, str) or np.ndim(row) not in (1, 2):
            raise ShapeError(
                f"{name}, sequence {i}: got {row!r:.40}, expected a list with a value for each step"
            )
        rows.append(as_values(row, f"{name}, sequence {i}"))
        if rows[i].shape[1:] != rows[0].shape[1:]:
            raise ShapeError(
                f"{name}, sequence {i}: got steps of shape {rows[i].shape[1:]}, expected "
                f"{rows[0].shape[1:]} as sequence 0"
            )
    return Ragged.from_list(rows, np.float64)


def _numbers_alone(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return an object array as floats; raise TypeError for text, booleans and None."""
    wrong = [v for v in values.ravel().tolist() if isinstance(v, str | bool) or v is None]
    if wrong or values.dtype.kind != "O":
        raise TypeError
    return values.astype(np.float64)


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
    class_weight: str | Mapping[Any, float] | None, classes: NDArray[Any], there: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the loss weight of positive examples of each label, (K,), or None.

    Args:
        class_weight: `balanced`, the number of training sequences without the label divided by the
            number with it; or weights by label.
        classes: labels, (K,).
        there: indicator matrix, (n, K).
    """
    if isinstance(class_weight, str):
        positive = there.sum(0)
        return np.where(positive > 0, (len(there) - positive) / np.maximum(positive, 1), 1.0)
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


def lengths_of(labels: Labels) -> NDArray[np.int64]:
    """Return the number of labels of each sequence, (n,)."""
    return labels.lengths if isinstance(labels, Ragged) else np.ones(len(labels), np.int64)


def refuse_other_lengths(inputs: Ragged, codes: Labels) -> None:
    """Raise ShapeError if labels are per step and a sequence has more or fewer than steps."""
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
