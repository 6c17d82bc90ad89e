"""Conversion of the user's X to ragged sequences of numbers, tokens or mixed columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import InputKind
from elman.data.ragged import (
    Fill,
    Ragged,
    category_columns,
    extract_numbers,
    fill_gaps,
    number_columns,
    sequences_without_values,
    trailing_gaps,
)
from elman.data.text import Unit, split_texts
from elman.errors import DataError, SettingsError, ShapeError, nearest
from elman.estimators.conversions import (
    hint_channels_first,
    hint_ends,
    hint_whole_numbers,
    refuse_lossy,
    to_array,
)
from elman.formats import FILLS


def input_kind(X: Any) -> InputKind:
    """Return the kind of X: arrays are numbers, lists of lists of strings or integers are tokens, a
    list of strings is text, and tables (T, C) that contain strings are mixed.

    Raises: DataError if X is empty or of none of these kinds.
    """
    if isinstance(X, Ragged):
        if X.values.dtype.kind in "fiub":
            return "numbers"
        return "tokens" if X.values.ndim == 1 else "mixed"
    if isinstance(X, np.ndarray) and X.dtype.kind in "fiub":
        return "numbers"
    if isinstance(X, str) or not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        raise DataError(
            f"X is a {type(X).__name__}",
            remedy="Expected an array (n, T, C) or (n, T), or a list with one sequence an entry.",
        )
    if len(X) == 0:
        raise DataError("X holds no sequences", remedy="Expected at least one.")
    first = X[0]
    if isinstance(first, str):
        return "text"
    if any(map(_is_mixed, X)):
        return "mixed"
    if isinstance(first, list | tuple):
        steps = [step for sequence in X if isinstance(sequence, list | tuple) for step in sequence]
        if steps and all(isinstance(s, str) for s in steps):
            return "tokens"
        whole = all(isinstance(s, int | np.integer) and not isinstance(s, bool) for s in steps)
        return "tokens" if steps and whole else "numbers"
    array = np.asarray(first)
    return "tokens" if array.dtype.kind in "UO" and array.ndim == 1 else "numbers"


def _is_mixed(sequence: Any) -> bool:
    """Whether a sequence is a table (T, C) with values that are not numbers."""
    if isinstance(sequence, list | tuple):
        steps = [step for step in sequence if isinstance(step, list | tuple)]
        return any(isinstance(value, str) for step in steps for value in step)
    if getattr(sequence, "ndim", 2) != 2 or not hasattr(sequence, "shape"):
        return False
    if isinstance(sequence, np.ndarray) and sequence.dtype.kind in "fiub":
        return False
    return bool(category_columns(np.asarray(sequence, dtype=object)))


def as_indexable(X: Any) -> Any:
    """Return the array of a data frame or series, where `X[0]` is the first entry."""
    return X.to_numpy() if hasattr(X, "to_numpy") else X


def check_sequences(X: Any, inputs: str, known: Any = None) -> tuple[Any, InputKind]:
    """Check all training sequences; return them, as a Ragged unless they are text, and their kind.

    Args:
        inputs: the kind, or `auto`.
        known: anything but None if the axes of X are known, from names or from earlier training.
    """
    X = as_indexable(X)
    kind = input_kind(X) if inputs == "auto" else inputs
    if kind != "text" and not isinstance(X, Ragged):
        if known is None:
            hint_channels_first(X)
        if inputs == "auto":
            hint_whole_numbers(X, kind)
    if kind == "numbers":
        return as_numbers(X), "numbers"
    if kind == "tokens":
        return as_tokens(X), "tokens"
    if kind == "mixed":
        return as_mixed(X), "mixed"
    refuse_other_than_text(X)
    refuse_empty(np.array([len(text.strip()) for text in X]))
    return X, "text"


def as_numbers(X: Any) -> Ragged:
    """Return X as n sequences of (T_i, C) float64, with NaN for missing values.

    Args:
        X: (n, T, C) or (n, T) array, or a list of (T_i, C) or (T_i,) arrays; C the same for all.
    Raises: ShapeError or DataError, naming the first invalid sequence.
    """
    X = _join_array(X)
    if isinstance(X, Ragged):
        if X.values.dtype.kind not in "fiub":
            refuse_lossy(X.values, "X")
        arrays: list[NDArray[np.float64]] = [np.asarray(X.values, dtype=np.float64)]
        padded = X.padded
    else:
        arrays = [_sequence(i, x) for i, x in enumerate(X)]
        arrays, padded = _without_padding(arrays)
    if not arrays:
        raise DataError("X holds no sequences", remedy="Expected at least one.")
    arrays = [a[:, None] if a.ndim == 1 else a for a in arrays]
    channels = arrays[0].shape[1]
    for i, array in enumerate(arrays):
        if array.shape[1] != channels:
            alike = len({len(a) for a in arrays}) == 1 and len(array) < array.shape[1]
            raise ShapeError(
                f"sequence {i}: got {array.shape[1]} channels, expected {channels} as sequence 0"
                + ". If they are stored channels first, (C, T), give [x.T for x in X]" * alike
            )
    ragged = (
        X.with_values(arrays[0]) if isinstance(X, Ragged) else Ragged.from_list(arrays, np.float64)
    )
    ragged = dataclasses.replace(ragged, padded=padded)
    refuse_empty(ragged.lengths)
    infinite = np.isinf(ragged.values)
    if infinite.any():
        step, channel = (int(i) for i in np.argwhere(infinite)[0])
        owner = int(ragged.owners[step])
        raise DataError(
            f"sequence {owner}: step {step - ragged.offsets[owner] + 1}, channel {channel} is "
            f"{ragged.values[step, channel]}, expected finite numbers",
            remedy="Replace it with a number, or with NaN where a value is missing.",
        )
    missing = sequences_without_values(ragged)
    if missing.any():
        raise DataError(
            f"sequence {int(missing.argmax())}: all values are NaN, expected numbers",
            remedy="Leave the sequence out.",
        )
    return ragged


def refuse_other_channels(steps: Ragged, expected: int) -> None:
    """Raise ShapeError for another number of channels, with a hint if X is channels first."""
    count = steps.values.shape[1]
    if count != expected:
        hint = ". If it is stored (n, C, T), give [x.T for x in X]"
        raise ShapeError(
            f"X has {count} channels, expected {expected} as in training"
            + hint * bool((steps.lengths == expected).all())
        )


def as_mixed(X: Any) -> Ragged:
    """Return X as n sequences of (T_i, C) objects: numbers, None or NaN, or categories as text.

    Args:
        X: a list of arrays or lists (T_i, C); C the same for all.
    Raises: ShapeError or DataError, naming the first invalid sequence.
    """
    if isinstance(X, Ragged):
        refuse_empty(X.lengths)
        return X
    tables: list[NDArray[Any]] = []
    for i, sequence in enumerate(X):
        try:
            table = np.asarray(sequence, dtype=object)
        except ValueError:
            table = np.empty(0)
        if table.ndim != 2:
            raise ShapeError(f"sequence {i}: got shape {table.shape}, expected a table (T, C)")
        if tables and table.shape[1] != tables[0].shape[1]:
            expected = f"expected {tables[0].shape[1]} as sequence 0"
            raise ShapeError(f"sequence {i}: got {table.shape[1]} columns, {expected}")
        tables.append(table)
    ragged = Ragged.from_list(tables, object)
    refuse_empty(ragged.lengths)
    return ragged


def _join_array(X: Any) -> Any:
    """Return an array without padding as sequences, and anything else as it is.

    Sequence by sequence, a million short ones take ten times as long as the network.
    """
    if type(X) is not np.ndarray or X.dtype.kind not in "fiub" or X.ndim not in (2, 3):
        return X
    if not X.size or np.isnan(X[:, -1].reshape(len(X), -1)).all(1).any():
        return X
    values = X.astype(np.float64, order="C").reshape(X.shape[0] * X.shape[1], -1)  # a copy
    return Ragged(values, np.arange(len(X) + 1) * X.shape[1])


def _without_padding(
    arrays: list[NDArray[np.float64]],
) -> tuple[list[NDArray[np.float64]], NDArray[np.int64] | None]:
    """Return sequences without steps of NaN alone at the end, and their lengths with them.

    In an array (n, T, C) they are padding, and they mean the same in a list and in a file.
    """
    ends = np.array(
        [trailing_gaps(a) if len(a) and np.isnan(a[-1]).all() else 0 for a in arrays], np.int64
    )
    if not ends.any():
        return arrays, None
    hint_ends(int((ends > 0).sum()), len(arrays))
    padded = np.array([len(a) for a in arrays], np.int64)
    return [a[: len(a) - end] for a, end in zip(arrays, ends.tolist(), strict=True)], padded


def _sequence(index: int, x: Any) -> NDArray[np.float64]:
    try:
        array = to_array(x, f"sequence {index}").astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"sequence {index}: not an array of numbers, expected shape (T, C) or (T,)",
            remedy="Every step needs the same number of values; tokens must all be of one kind.",
        ) from None
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise ShapeError(f"sequence {index}: got shape {array.shape}, expected (T, C) or (T,)")
    return array


def as_tokens(X: Any) -> Ragged:
    """Return X, a list of lists of tokens, as n sequences of (T_i,) str."""
    if isinstance(X, Ragged):
        refuse_empty(X.lengths)
        return X
    sequences = []
    for i, sequence in enumerate(X):
        if isinstance(sequence, str) or not hasattr(sequence, "__len__"):
            raise DataError(
                f"sequence {i} is {sequence!r:.40}, expected a list of tokens",
                remedy="Give every sequence the same form.",
            )
        tokens = np.empty(len(sequence), dtype=object)
        tokens[:] = [as_token(token) for token in sequence]
        sequences.append(tokens)
    ragged = Ragged.from_list(sequences, object)
    refuse_empty(ragged.lengths)
    return ragged


def as_token(token: Any) -> str:
    """Return a token as text; the whole number 3.0 is the token 3."""
    return str(int(token)) if isinstance(token, float) and token.is_integer() else str(token)


def cut(texts: Sequence[str], unit: Unit) -> Ragged:
    """Split texts into tokens of a unit."""
    refuse_other_than_text(texts)
    return as_tokens(split_texts(texts, unit))


def check_fill(how: str, mean: NDArray[np.float64] | None) -> None:
    """Raise SettingsError for an unknown `how`, and for `mean` if `mean` is not known."""
    if how not in FILLS:
        raise SettingsError(
            f"fill: got {how!r}, expected one of {', '.join(FILLS)}.{nearest(str(how), FILLS)}"
        )
    if how == "mean" and mean is None:
        raise SettingsError(
            "fill: got 'mean', but the model was trained without scaling, so it has no means. Use "
            "'previous' or 'zero'"
        )


def fill_steps(
    steps: Ragged,
    how: Fill,
    allowed: NDArray[np.bool_],
    mean: NDArray[np.float64] | None,
    categories: tuple[int, ...],
) -> Ragged:
    """Fill gaps in the columns of numbers; see `elman.data.ragged.fill_gaps`.

    Args:
        steps: numbers or mixed columns, (N, C).
        allowed: whether each column of numbers may have gaps.
        mean: mean of each column of numbers in the training split; None if it is not known.
        categories: indices of the columns of categories, which stay as they are.
    Raises: SettingsError for an unknown `how`, and for `mean` if it is not known.
    """
    check_fill(how, mean)
    if how == "refuse":
        return steps
    mean = np.zeros(len(allowed)) if mean is None else mean
    if not categories:
        return fill_gaps(steps, allowed, how, mean)
    values = steps.values.copy()
    filled = fill_gaps(extract_numbers(steps, categories), allowed, how, mean)
    values[:, number_columns(steps.values, categories)] = filled.values
    return steps.with_values(values)


def refuse_empty(lengths: NDArray[np.int64]) -> None:
    """Raise DataError if a sequence has no steps."""
    if (lengths == 0).any():
        raise DataError(
            f"sequence {int((lengths == 0).argmax())} is empty, expected at least 1 step",
            remedy="Leave it out.",
        )


def refuse_other_than_text(texts: Sequence[Any]) -> None:
    """Raise DataError if a sequence is not a string."""
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"sequence {i} is {text!r:.40}, expected a string",
                remedy="Give every sequence the same form.",
            )


def take_rows(values: Any, index: NDArray[np.int64]) -> Any:
    """Return the sequences, labels or weights at `index`; None stays None."""
    if values is None:
        return None
    if isinstance(values, Ragged):
        return values.take(index)
    if isinstance(values, np.ndarray):
        return values[index]
    return [values[i] for i in index]
