"""Checks and conversion of the user's labels.

A step that is not labelled is None among labels and NaN among numbers; see `is_labelled`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import column_or_1d

from elman.data.ragged import NOT_LABELLED, Ragged, flatten, is_labelled, sequences_with_labels
from elman.data.unlabelled import find_gaps, find_unlabelled, is_real
from elman.errors import DataError, ModelFileError, ShapeError
from elman.estimators.conversions import to_array
from elman.untrusted import read_as, show

Labels = NDArray[Any] | Ragged
_SEVERAL = (set, frozenset, list, tuple, np.ndarray)


def as_plain(y: Any) -> Any:
    """Return an array of numpy, pandas, pyarrow, polars or torch as one of numpy; a list as it is.

    What is masked is missing.
    """
    if isinstance(y, np.ma.MaskedArray):
        missing: Any = np.nan if y.dtype.kind == "f" else None
        values = y.data if y.dtype.kind == "f" else y.data.astype(object)
        mask = np.ma.getmaskarray(y)  # type: ignore[no-untyped-call]
        return np.where(mask, missing, values)
    if isinstance(y, torch.Tensor):
        return to_array(y, "y")
    return np.asarray(y) if hasattr(y, "__array__") else y


def _list_gaps(gaps: NDArray[np.bool_]) -> str:
    """Return the places of the first gaps: `0, 7, 9 and 3 more`."""
    places = np.flatnonzero(gaps).tolist()
    shown = ", ".join(map(str, places[:3]))
    return f"{shown} and {len(places) - 3:,} more" if len(places) > 3 else shown


def as_labels(y: Any, name: str) -> NDArray[Any]:
    """Return y as one array of strings, integers or booleans.

    Args:
        y: (n,) labels.
        name: name of y in messages.
    Raises: ShapeError if y is not one label per entry; DataError if labels are missing, of mixed
        types, or real numbers.
    """
    y = as_plain(y)
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        y = labels = column_or_1d(labels, warn=True)
    if labels.ndim != 1:
        raise ShapeError(f"{name}: got shape {labels.shape}, expected (n,), one label a sequence")
    # numpy makes text of NaN beside text.
    gaps = find_gaps(np.asarray(y, dtype=object) if labels.dtype.kind in "OU" else labels)
    if gaps.any():
        raise DataError(
            f"{name}: {int(gaps.sum()):,} of {len(gaps):,} labels are missing, at places "
            f"{_list_gaps(gaps)}",
            remedy="Leave those sequences out: a sequence needs a label to learn from.",
        )
    if labels.dtype.kind in "OU":
        values = np.asarray(y, dtype=object).tolist()
        kinds = {bool if isinstance(v, bool | np.bool_) else type(v) for v in values}
        text = all(issubclass(kind, str) for kind in kinds)
        whole = all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds)
        # pandas and pyarrow make floats of whole numbers beside a gap, in some arrays only.
        real = not whole and all(map(is_real, values))
        if not (text or whole or real or kinds == {bool}):
            types = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise DataError(
                f"{name} holds labels of the types {types}",
                remedy="Expected all strings, all whole numbers or all truth values, none missing.",
            )
        labels = np.array(values, dtype=str if text else None)
        if real and len(kinds) > 1 and (labels == np.round(labels)).all():
            labels = labels.astype(np.int64)
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


# NumPy's types of labels, beside text, and Python's.
_TYPES: dict[str, type] = {"bool": bool, "float16": float, "float32": float, "float64": float}
_TYPES |= {f"{sign}int{bits}": int for sign in ("", "u") for bits in (8, 16, 32, 64)}


@dataclass(frozen=True)
class _SavedLabels:
    classes: tuple[Any, ...]
    classes_type: str


def restore_labels(values: Any, place: str) -> NDArray[Any]:
    """Return sorted labels, (K,), of a model file. Raises ModelFileError naming `place`."""
    saved = read_as(_SavedLabels, values, place)
    text = re.fullmatch(r"str\d{1,12}", saved.classes_type)
    kind = str if text else _TYPES.get(saved.classes_type)
    if not saved.classes or any(type(label) is not kind for label in saved.classes):
        raise ModelFileError(f"{place}: classes: expected labels of {show(saved.classes_type)}")
    try:
        labels = np.array(saved.classes, dtype=None if text else saved.classes_type)
    except OverflowError:
        raise ModelFileError(f"{place}: classes: not all are {saved.classes_type}") from None
    if not labels.tolist() == np.unique(labels).tolist() == list(saved.classes):
        raise ModelFileError(
            f"{place}: classes: expected different {saved.classes_type} in ascending order"
        )
    return labels


def as_step_labels(y: Any, name: str) -> Ragged:
    """Return y, a list of labels per step for each sequence, as a Ragged; see `as_labels`.

    A step is not labelled if its label is None, NaN, empty text or torch's -100. If there are such
    steps, the values are objects, with None for each of them.
    """
    if isinstance(y, Ragged):
        ragged = y
    else:
        rows = [as_plain(row) for row in y]
        for i, row in enumerate(rows):
            if isinstance(row, str) or np.ndim(row) != 1:
                raise ShapeError(
                    f"{name}, sequence {i}: got {row!r:.40}, expected a list with a label for each"
                    " step"
                )
        ragged = Ragged.from_list(rows, object)
    known = ~find_unlabelled(ragged.values)
    if known.all():
        return ragged.with_values(as_labels(ragged.values, name))
    labels = as_labels(ragged.values[known], name)
    if labels.dtype.kind == "f":  # they are floats only because an array of NaN cannot be whole
        labels = labels.astype(np.int64)
    values = np.full(len(known), None, dtype=object)
    values[known] = labels.tolist()
    return ragged.with_values(values)


def known_labels(labels: Labels) -> NDArray[Any]:
    """Return the labels of the labelled steps, or of the sequences, as one array."""
    values = flatten(labels)
    if not isinstance(labels, Ragged):
        return values
    known = is_labelled(values)
    if known.all() and values.dtype != object:
        return values
    found = values[known]
    return as_labels(found, "y") if found.dtype == object else found


def has_label_sets(y: Any) -> bool:
    """Whether y is a multilabel target: an indicator matrix, or sets of labels."""
    if isinstance(y, np.ndarray) and y.dtype != object:
        return y.ndim == 2 and y.shape[1] > 1
    return len(y) > 0 and any(issubclass(kind, _SEVERAL) for kind in set(map(type, y)))


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


def to_codes(labels: Labels, classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the index of each label in `classes`, which must be sorted.

    A step that is not labelled has the code -100.
    Raises: DataError naming labels that are not in `classes`.
    """
    if isinstance(labels, Ragged):
        known = is_labelled(labels.values)
        codes = np.full(len(known), NOT_LABELLED, dtype=np.int64)
        if known.any():
            codes[known] = to_codes(known_labels(labels), classes)
        return codes
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


def as_values(y: Any, name: str, *, gaps: bool = False) -> NDArray[np.float64]:
    """Return y as float64, (n,) or (n, K).

    Args:
        gaps: whether None and NaN stand for numbers that are not known; they become NaN.
    Raises: ShapeError for other shapes; DataError for anything but finite numbers.
    """
    try:
        y = as_plain(y)
        numbers = np.asarray(y)
        if numbers.dtype.kind not in "fiu":
            numbers = _numbers_alone(numbers, gaps)
        numbers = numbers.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} holds something that is no number",
            remedy="Expected a number a sequence, or K of them; classes go to SequenceClassifier.",
        ) from None
    if numbers.ndim not in (1, 2) or (numbers.ndim == 2 and numbers.shape[1] == 0):
        raise ShapeError(f"{name}: got shape {numbers.shape}, expected (n,) or (n, K)")
    fine = np.isfinite(numbers) | (np.isnan(numbers) & gaps)
    bad = ~fine.reshape(len(numbers), -1).all(1)
    if bad.any():
        i = int(bad.argmax())
        raise DataError(
            f"{name} holds {numbers[i].tolist()!r} at place {i}",
            remedy="Expected finite numbers: fill the gap, or leave the sequence out.",
        )
    return numbers


def as_step_values(y: Any, name: str) -> Ragged:
    """Return y, a list with an array (T_i,) or (T_i, K) for each sequence, as a Ragged.

    None and NaN mean that a step is not labelled; -100 is a number as any other.
    """
    if isinstance(y, Ragged):
        return y.with_values(as_values(y.values, name, gaps=True))
    rows = []
    for i, row in enumerate(map(as_plain, y)):
        if isinstance(row, str) or np.ndim(row) not in (1, 2):
            raise ShapeError(
                f"{name}, sequence {i}: got {row!r:.40}, expected a list with a value for each step"
            )
        rows.append(as_values(row, f"{name}, sequence {i}", gaps=True))
        if rows[i].shape[1:] != rows[0].shape[1:]:
            raise ShapeError(
                f"{name}, sequence {i}: got steps of shape {rows[i].shape[1:]}, expected "
                f"{rows[0].shape[1:]} as sequence 0"
            )
    return Ragged.from_list(rows, np.float64)


def _numbers_alone(values: NDArray[Any], gaps: bool) -> NDArray[np.float64]:
    """Return an object array as floats; raise TypeError for text, booleans and refused gaps."""
    wrong = [v for v in values.ravel().tolist() if isinstance(v, str | bool)]
    if wrong or values.dtype.kind != "O":
        raise TypeError
    missing = find_gaps(values.ravel()).reshape(values.shape)
    if missing.any() and not gaps:
        raise TypeError
    return np.where(missing, np.nan, values).astype(np.float64)


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
        nothing = "None or NaN" if codes.values.dtype.kind == "f" else "None, NaN or -100"
        longer = codes.lengths[i] > inputs.lengths[i]
        raise ShapeError(
            f"y, sequence {i}: got {codes.lengths[i]} labels, expected {inputs.lengths[i]}, one a "
            "step" + (f" (beyond the end of a sequence y is {nothing})" if longer else "")
        )


class LabelForm(Protocol):
    """A type of target: whether a y has its form, and how to read such a y."""

    @staticmethod
    def recognises(y: Any) -> bool:
        """Whether y has the form of this target."""

    @staticmethod
    def read(y: Any, *, per_step: bool) -> Labels:
        """Return the labels of y, checked."""


def read_labels(X: Any, y: Any, forms: Sequence[LabelForm], *, per_step: bool) -> Labels:
    """Return y, checked to have a label for each sequence or each step of X.

    Args:
        forms: the first that recognises y reads it.
    """
    y = as_plain(y)
    if not hasattr(y, "__len__"):
        raise DataError(f"y is a {type(y).__name__}", remedy="Expected a label a sequence.")
    if len(y) != len(X):
        raise ShapeError(f"y: got {len(y)} labels, expected {len(X)}, one a sequence of X")
    return next(form for form in forms if form.recognises(y)).read(y, per_step=per_step)


def find_labelled(labels: Labels) -> NDArray[np.int64]:
    """Return the indices of the sequences with a label at some step, and warn of the others.

    Raises: DataError if there are none.
    """
    if not isinstance(labels, Ragged):
        return np.arange(len(labels))
    used = sequences_with_labels(labels)
    if len(used) and not used.any():
        raise DataError(
            "y: no step of any sequence is labelled",
            remedy="Expected labels at some steps; None, NaN and -100 mean that there is none.",
        )
    if not used.all():
        missing = len(used) - int(used.sum())
        warnings.warn(
            f"no step of {missing:,} of {len(used):,} sequences is labelled; they are left out of "
            "the training",
            stacklevel=5,
        )
    return np.flatnonzero(used)
