"""Features for the baselines: fixed-size rows computed from sequences of any length."""

from __future__ import annotations

from typing import Any

import numpy as np

from elman.data.ragged import Ragged
from elman.errors import DataError, ShapeError
from elman.evaluate.counts import Floats, Ints

FIRST_CODE = 2  # 0 is padding, 1 unknown
MOST_CATEGORIES = 20
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


def channel_means(values: Floats) -> Floats:
    """Mean of the finite values of each channel of (N, C); 0 if there are none. Shape (C,)."""
    finite = np.isfinite(values)
    total: Floats = np.where(finite, values, 0).sum(0)
    means: Floats = total / np.maximum(finite.sum(0), 1)
    return means


def check_inputs(inputs: Ragged, vocabulary_size: int | None) -> Ragged:
    """Check that sequences can be summarised.

    Raises: ShapeError for the wrong number of axes; DataError for a sequence without steps or a
    token id outside the vocabulary.
    """
    axes = 2 if vocabulary_size is None else 1
    if inputs.values.ndim != axes:
        shape = "(N, C) numbers" if axes == 2 else "(N,) token ids"
        raise ShapeError(f"inputs hold values of shape {inputs.values.shape}; expected {shape}")
    if len(inputs) == 0 or inputs.lengths.min() < 1:
        raise DataError("a sequence has no steps, or there are no sequences")
    if vocabulary_size is not None:
        ids: Ints = inputs.values
        if ids.min() < 0 or ids.max() >= vocabulary_size:
            raise DataError(
                f"token ids run from {ids.min()} to {ids.max()}; "
                f"expected 0 to {vocabulary_size - 1}"
            )
    return inputs


def centre_and_scale(features: Any) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column; sparse columns are only scaled."""
    if not isinstance(features, np.ndarray):
        # Dividing counts by their standard deviation would amplify rare tokens, so only the length,
        # in the last column, is scaled, to at most 1. Subtracting means would fill in the zeros.
        scale = np.ones(features.shape[1])
        scale[-1] = features[:, -1].max()
        return np.zeros(features.shape[1]), scale
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.where(np.isfinite(features), features, np.nan)
        centre = channel_means(finite)
        scale = np.sqrt(channel_means((finite - centre) ** 2))
    return centre, np.where(np.isfinite(scale) & (scale > 1e-12 * np.abs(centre)), scale, 1.0)


def standardize(features: Any, centre: Floats, scale: Floats) -> Any:
    """Standardise each column; a sparse matrix is only scaled and stays sparse."""
    if not isinstance(features, np.ndarray):
        return features.multiply(1 / scale).tocsr()
    standard = (features - centre) / scale
    # A new sequence can be far outside the training range; the linear model must stay finite.
    return np.clip(np.where(np.isfinite(standard), standard, 0), -1e6, 1e6)


def most_frequent_tags(tokens: Ints, tags: Ints, vocabulary_size: int, majority: Ints) -> Ints:
    """Most frequent tag of each token, the lower code in a tie; `majority` if it never occurs."""
    width = int(tags.max()) + 1
    pairs, counts = np.unique(tokens * width + tags, return_counts=True)
    token, tag = np.divmod(pairs, width)
    # Sorted by token, then by falling frequency, then by code: each token's first row is its tag.
    order = np.lexsort((tag, -counts, token))
    met, first = np.unique(token[order], return_index=True)
    table = np.full(vocabulary_size, majority[0])
    table[met] = tag[order][first]
    return table


def mean_values(tokens: Ints, values: Floats, vocabulary_size: int, mean: Floats) -> Floats:
    """Mean of the values of each token; `mean` if it never occurs."""
    sums = np.stack([np.bincount(tokens, column, vocabulary_size) for column in values.T], 1)
    count = np.bincount(tokens, minlength=vocabulary_size)[:, None]
    return np.where(count > 0, sums / np.maximum(count, 1), mean)
