"""Features for the baselines: fixed-size rows computed from sequences of any length.

`FEATURES` has a row for each kind; a linear model is fitted on every kind that applies to the data.
Dimensions: n sequences, N steps in all, C channels, V tokens, T steps of the longest sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.errors import ShapeError
from elman.evaluate.counts import Floats, Ints
from elman.evaluate.rules import channel_means

FIRST_CODE = 2  # 0 is padding, 1 unknown
MOST_CATEGORIES = 20
MOST_COLUMNS = (
    4096  # of features by position and of counted pairs; more would be a large model file
)
LEAST_FILLED = 0.8  # share of positions that are steps: below, positions mean little
WINDOW = 5  # steps that a baseline at every step reads: its own and those before, or around it
STATISTICS = ("mean", "standard deviation", "minimum", "maximum", "first", "last", "slope")


def summarise_numbers(inputs: Ragged, fill: Floats) -> Floats:
    """Summarise each channel of each sequence by STATISTICS, and add the length.

    The slope is that of the least-squares line over the steps; it is 0 for a single step.

    Args:
        inputs: n sequences of (N, C) numbers, each with at least one step.
        fill: replacement for missing values in each channel, (C,).
    Returns: (n, 7 C + 1).
    """
    values = inputs.values.astype(np.float64)
    values = np.where(np.isfinite(values), values, fill)
    starts, owners = inputs.offsets[:-1], inputs.owners
    lengths = inputs.lengths[:, None].astype(np.float64)
    mean = np.add.reduceat(values, starts) / lengths
    # Numbers near the limit of float64 overflow when squared; `standardize` makes these the mean.
    with np.errstate(over="ignore", invalid="ignore"):
        centred = values - mean[owners]
        # Two passes, mean first: E[x^2] - E[x]^2 loses digits where the mean is large.
        spread = np.sqrt(np.add.reduceat(centred**2, starts) / lengths)
        time = (np.arange(len(values)) - starts[owners])[:, None] - (lengths[owners] - 1) / 2
        run = np.add.reduceat(time**2, starts)
        slope = np.add.reduceat(time * centred, starts) / np.where(run > 0, run, 1)
    return np.hstack(
        [
            mean,
            spread,
            np.minimum.reduceat(values, starts),
            np.maximum.reduceat(values, starts),
            values[starts],
            values[inputs.offsets[1:] - 1],
            slope,
            lengths,
        ]
    )


def one_hot_categories(inputs: Ragged, categories: int) -> Ragged:
    """Replace category codes by one-hot channels.

    Each column gets channels for its 20 lowest codes only, which belong to its most frequent
    categories.

    Args:
        inputs: (N, C + categories).
        categories: number of code columns at the end; 0 returns `inputs`.
    """
    if not categories:
        return inputs
    values = inputs.values
    numbers, codes = values[:, :-categories], values[:, -categories:]
    places = FIRST_CODE + np.arange(MOST_CATEGORIES)
    channels = (codes[:, :, None] == places).reshape(len(values), -1)  # (N, categories * 20)
    return inputs.with_values(np.hstack([numbers, channels.astype(values.dtype)]))


def count_tokens(inputs: Ragged, vocabulary_size: int) -> Any:
    """Count each token of each sequence, and add the length.

    Returns: a sparse matrix, (n, vocabulary_size + 1), float64.
    """
    from scipy.sparse import csr_matrix, hstack

    counts = csr_matrix(
        (np.ones(len(inputs.values)), inputs.values, inputs.offsets),
        shape=(len(inputs), vocabulary_size),
    )
    counts.sum_duplicates()  # until then, repeated tokens are separate entries
    return hstack([counts, csr_matrix(inputs.lengths[:, None])], format="csr")


Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Form:
    """The form of the sequences that a baseline is fitted on.

    Args:
        channels: C; 0 for tokens.
        vocabulary_size: V; 0 for numbers.
        per_step: whether there is a target at every step.
        both_sides: whether a prediction at a step may use the steps after it.
        longest: T.
        filled: mean length as a share of T.
        static: S, static features as the network reads them; 0 for none.
    """

    channels: int
    vocabulary_size: int
    per_step: bool
    both_sides: bool
    longest: int
    filled: float
    static: int = 0

    @classmethod
    def of(
        cls, inputs: Ragged, vocabulary_size: int | None, per_step: bool, both_sides: bool
    ) -> Form:
        """Return the form of n sequences."""
        channels = 0 if vocabulary_size is not None else inputs.values.shape[1]
        longest = int(inputs.lengths.max())
        filled = float(inputs.lengths.mean()) / longest
        static = 0 if inputs.static is None else inputs.static.shape[1]
        return cls(channels, vocabulary_size or 0, per_step, both_sides, longest, filled, static)

    @property
    def fits_positions(self) -> bool:
        """Whether the positions of the steps are comparable, and few enough for a linear model."""
        columns = self.longest * (self.channels or self.vocabulary_size)
        return (
            not self.per_step
            and self.longest > 1
            and self.filled >= LEAST_FILLED
            and columns <= MOST_COLUMNS
        )


@dataclass(frozen=True)
class FeatureMap:
    """One row of `FEATURES`: one kind of features for a linear model.

    Args:
        phrase: follows the name of the model: `on summaries`.
        words: what the model sees, for a description.
        applies: whether the features exist for this form of sequences.
        fit: computes what `transform` needs from the training sequences: arrays by name.
        transform: computes the features, (n or N, F), dense or sparse, from sequences and these
            arrays; for features of steps, only of the given steps unless these are None.
        shapes: shapes of the arrays of `fit`; None for an axis of any length.
        width: F, given these arrays.
    """

    phrase: str
    words: str
    applies: Callable[[Form], bool]
    fit: Callable[[Ragged, Form], dict[str, NDArray[Any]]]
    transform: Callable[[Ragged, Arrays, Ints | None], Any]
    shapes: Mapping[str, tuple[int | None, ...]]
    width: Callable[[Arrays], int]


def join_static(inputs: Ragged, features: Any, size: int, per_step: bool, rows: Ints | None) -> Any:
    """Return the static features, and beside them other features, dense or sparse, if there are.

    Args:
        features: (M, F), or None for the static features alone.
        size: S; 0 returns the other features as they are.
        per_step: whether a row is a step.
        rows: the steps that the features are of; None for all.
    """
    if not size:
        return features
    static = inputs.static
    if static is None or static.shape[1] != size:
        raise ShapeError(f"inputs have no {size} static features, which training had")
    if per_step:
        static = static[inputs.owners if rows is None else inputs.owners[rows]]
    static = static.astype(np.float64)
    if features is None:
        return static
    if isinstance(features, np.ndarray):
        return np.hstack([static, features])
    from scipy.sparse import csr_matrix, hstack

    return hstack([csr_matrix(static), features], format="csr")


def _ints(*values: int) -> Ints:
    return np.array(values, dtype=np.int64)


def _fill(inputs: Ragged, form: Form) -> dict[str, NDArray[Any]]:
    return {"fill": channel_means(inputs.values.astype(np.float64))}


def _filled(inputs: Ragged, arrays: Arrays) -> Floats:
    """Values with missing ones replaced, (N, C)."""
    fill, values = arrays["fill"], inputs.values
    if values.shape[1] != len(fill):
        raise ShapeError(
            f"inputs have {values.shape[1]} channels; expected {len(fill)} as in training"
        )
    return np.where(np.isfinite(values), values, fill).astype(np.float64)


def _summaries(inputs: Ragged, arrays: Arrays, rows: Ints | None) -> Floats:
    _filled(inputs.take(np.arange(1)), arrays)  # checks the channels
    return summarise_numbers(inputs, arrays["fill"])


def _places(inputs: Ragged) -> Ints:
    """Position of each step in its sequence, (N,)."""
    return np.arange(len(inputs.values)) - inputs.offsets[:-1][inputs.owners]


def _numbers_by_position(inputs: Ragged, arrays: Arrays, rows: Ints | None) -> Floats:
    """All values of each sequence, and its length, (n, T C + 1).

    Steps past T are left out, and missing positions hold the channel's mean.
    """
    values, places, longest = _filled(inputs, arrays), _places(inputs), int(arrays["longest"][0])
    flat = np.tile(arrays["fill"], (len(inputs), longest, 1))
    kept = places < longest
    flat[inputs.owners[kept], places[kept]] = values[kept]
    return np.hstack([flat.reshape(len(inputs), -1), inputs.lengths[:, None]])


def _tokens_by_position(inputs: Ragged, arrays: Arrays, rows: Ints | None) -> Any:
    """Which token is at which position, and the length: a sparse matrix, (n, T V + 1)."""
    from scipy.sparse import csr_matrix, hstack

    longest, size = int(arrays["longest"][0]), int(arrays["size"][0])
    places = _places(inputs)
    kept = places < longest
    columns = places[kept] * size + inputs.values[kept]
    shape = (len(inputs), longest * size)
    ones = csr_matrix((np.ones(len(columns)), (inputs.owners[kept], columns)), shape=shape)
    return hstack([ones, csr_matrix(inputs.lengths[:, None])], format="csr")


def _counts(inputs: Ragged, arrays: Arrays, rows: Ints | None) -> Any:
    return count_tokens(inputs, int(arrays["size"][0]))


def adjacent_pairs(inputs: Ragged, vocabulary_size: int) -> tuple[Ints, Ints]:
    """Return a number for each pair of neighbouring tokens, and the step of its second token."""
    second = np.flatnonzero(_places(inputs) > 0)
    pairs: Ints = inputs.values[second - 1].astype(np.int64) * vocabulary_size
    return pairs + inputs.values[second], second


def frequent(values: Ints, most: int = MOST_COLUMNS) -> Ints:
    """Return the most frequent distinct values, at most `most`, in ascending order."""
    found, counts = np.unique(values, return_counts=True)
    kept: Ints = np.sort(found[np.argsort(-counts, kind="stable")[:most]])
    return kept


def look_up(values: Ints, known: Ints) -> Ints:
    """Return the index of each value in `known`, which ascends; -1 where it is not there."""
    if not len(known):
        return np.full(len(values), -1)
    index = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[index] == values, index, -1)


def _fit_pairs(inputs: Ragged, form: Form) -> dict[str, NDArray[Any]]:
    size = form.vocabulary_size
    return {"size": _ints(size), "pairs": frequent(adjacent_pairs(inputs, size)[0])}


def _pair_counts(inputs: Ragged, arrays: Arrays, rows: Ints | None) -> Any:
    """Count each frequent pair of neighbouring tokens and each token: (n, P + V + 1), sparse."""
    from scipy.sparse import csr_matrix, hstack

    size, known = int(arrays["size"][0]), arrays["pairs"]
    pairs, second = adjacent_pairs(inputs, size)
    columns = look_up(pairs, known)
    kept = columns >= 0
    places = (inputs.owners[second[kept]], columns[kept])
    counts = csr_matrix((np.ones(int(kept.sum())), places), shape=(len(inputs), len(known)))
    return hstack([counts, count_tokens(inputs, size)], format="csr")


def _steps(inputs: Ragged, arrays: Arrays, rows: Ints | None) -> Floats:
    values = _filled(inputs, arrays)
    return values if rows is None else values[rows]


def _windows(inputs: Ragged, arrays: Arrays, rows: Ints | None) -> Floats:
    """Values of each step and of its neighbours, (N, W C); beyond an end, those of the end."""
    values, shifts = _filled(inputs, arrays), arrays["shifts"]
    rows = np.arange(len(values)) if rows is None else rows
    first, last = (ends[inputs.owners[rows]] for ends in (inputs.offsets[:-1], inputs.offsets[1:]))
    return np.hstack([values[np.clip(rows + shift, first, last - 1)] for shift in shifts])


def _fit_windows(inputs: Ragged, form: Form) -> dict[str, NDArray[Any]]:
    first = -(WINDOW // 2) if form.both_sides else 1 - WINDOW
    return _fill(inputs, form) | {"shifts": np.arange(first, first + WINDOW)}


FEATURES: dict[str, FeatureMap] = {
    "static": FeatureMap(
        "on static features",
        "the static features alone, without the steps",
        lambda form: bool(form.static),
        lambda inputs, form: {},
        lambda inputs, arrays, rows: None,  # `join_static` adds them
        {},
        lambda arrays: 0,
    ),
    "summaries": FeatureMap(
        "on summaries",
        f"the {', '.join(STATISTICS)} of each channel and the length",
        lambda form: bool(form.channels) and not form.per_step,
        _fill,
        _summaries,
        {"fill": (None,)},
        lambda arrays: len(STATISTICS) * len(arrays["fill"]) + 1,
    ),
    "values_by_position": FeatureMap(
        "by position",
        "the value of each channel at each step",
        lambda form: bool(form.channels) and form.fits_positions,
        lambda inputs, form: _fill(inputs, form) | {"longest": _ints(form.longest)},
        _numbers_by_position,
        {"fill": (None,), "longest": (1,)},
        lambda arrays: int(arrays["longest"][0]) * len(arrays["fill"]) + 1,
    ),
    "counts": FeatureMap(
        "on token counts",
        "how often each token occurs and the length, but not the order",
        lambda form: bool(form.vocabulary_size) and not form.per_step,
        lambda inputs, form: {"size": _ints(form.vocabulary_size)},
        _counts,
        {"size": (1,)},
        lambda arrays: int(arrays["size"][0]) + 1,
    ),
    "pairs": FeatureMap(
        "on token pairs",
        f"how often each token and each of the {MOST_COLUMNS:,} most frequent pairs of neighbours "
        "occurs",
        lambda form: bool(form.vocabulary_size) and not form.per_step and form.longest > 1,
        _fit_pairs,
        _pair_counts,
        {"size": (1,), "pairs": (None,)},
        lambda arrays: int(arrays["size"][0]) + len(arrays["pairs"]) + 1,
    ),
    "tokens_by_position": FeatureMap(
        "by position",
        "which token is at each step",
        lambda form: bool(form.vocabulary_size) and form.fits_positions,
        lambda inputs, form: {"size": _ints(form.vocabulary_size), "longest": _ints(form.longest)},
        _tokens_by_position,
        {"size": (1,), "longest": (1,)},
        lambda arrays: int(arrays["longest"][0]) * int(arrays["size"][0]) + 1,
    ),
    "step": FeatureMap(
        "on the step",
        "the step's own values, without its neighbours",
        lambda form: bool(form.channels) and form.per_step,
        _fill,
        _steps,
        {"fill": (None,)},
        lambda arrays: len(arrays["fill"]),
    ),
    "window": FeatureMap(
        f"on {WINDOW} steps",
        f"the values of {WINDOW} steps: its own and its nearest neighbours",
        lambda form: (
            bool(form.channels)
            and form.per_step
            and form.longest > 1
            and form.channels * WINDOW <= MOST_COLUMNS
        ),
        _fit_windows,
        _windows,
        {"fill": (None,), "shifts": (WINDOW,)},
        lambda arrays: WINDOW * len(arrays["fill"]),
    ),
}
