"""Features for the baselines: sequences of any length as rows of equal width."""

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

    The slope is that of the least-squares line over the steps, 0 for one step.

    Args:
        inputs: n sequences of (N, C) numbers, each of one step or more.
        fill: what replaces a missing value in each channel, (C,).
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
        # Two passes, mean first: the sum of squares alone cancels where the mean is large.
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
    """Return steps with a channel of 0 and 1 for each category instead of their codes.

    Of each column only the 20 lowest codes get one, which are those of the most frequent
    categories.

    Args:
        inputs: (N, C + categories).
        categories: columns of codes at the end; 0 returns `inputs`.
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
    counts.sum_duplicates()  # a token that occurs twice is two entries until then
    return hstack([counts, csr_matrix(inputs.lengths[:, None])], format="csr")


def channel_means(values: Floats) -> Floats:
    """Mean of the finite values of each channel of (N, C), 0 where there is none: (C,)."""
    finite = np.isfinite(values)
    total: Floats = np.where(finite, values, 0).sum(0)
    means: Floats = total / np.maximum(finite.sum(0), 1)
    return means


def check_inputs(inputs: Ragged, vocabulary_size: int | None) -> Ragged:
    """Refuse sequences that cannot be summarised.

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
    """Mean and standard deviation of each column; of sparse columns, what to divide by alone."""
    if not isinstance(features, np.ndarray):
        # Counts are not divided by their deviation, which would amplify rare tokens; the length, in
        # the last column, is scaled to their size. Nothing is subtracted: zeros stay zeros.
        scale = np.ones(features.shape[1])
        scale[-1] = features[:, -1].max()
        return np.zeros(features.shape[1]), scale
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.where(np.isfinite(features), features, np.nan)
        centre = channel_means(finite)
        scale = np.sqrt(channel_means((finite - centre) ** 2))
    return centre, np.where(np.isfinite(scale) & (scale > 1e-12 * np.abs(centre)), scale, 1.0)


def standardize(features: Any, centre: Floats, scale: Floats) -> Any:
    """Subtract the mean and divide by the deviation of each column; sparse ones stay sparse."""
    if not isinstance(features, np.ndarray):
        return features.multiply(1 / scale).tocsr()
    standard = (features - centre) / scale
    # A new sequence can be far outside the training range; the linear model must stay finite.
    return np.clip(np.where(np.isfinite(standard), standard, 0), -1e6, 1e6)


def most_frequent_tags(tokens: Ints, tags: Ints, vocabulary_size: int, majority: Ints) -> Ints:
    """Most frequent tag of each token, the lower of equals; `majority` where it never occurs."""
    width = int(tags.max()) + 1
    pairs, counts = np.unique(tokens * width + tags, return_counts=True)
    token, tag = np.divmod(pairs, width)
    # By token, then the most frequent tag first, then the lowest code: the first row is the answer.
    order = np.lexsort((tag, -counts, token))
    met, first = np.unique(token[order], return_index=True)
    table = np.full(vocabulary_size, majority[0])
    table[met] = tag[order][first]
    return table


def mean_values(tokens: Ints, values: Floats, vocabulary_size: int, mean: Floats) -> Floats:
    """Mean of the values of each token; `mean` where it never occurs."""
    sums = np.stack([np.bincount(tokens, column, vocabulary_size) for column in values.T], 1)
    count = np.bincount(tokens, minlength=vocabulary_size)[:, None]
    return np.where(count > 0, sums / np.maximum(count, 1), mean)
