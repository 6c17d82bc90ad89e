"""Whether sequences of held-out groups, such as subjects, are harder than sequences at random.

Two cheap models, a logistic regression and the nearest neighbour, are cross-validated twice: with
sequences divided at random, and with whole groups. If only the first works, the models recognise
the group, and a network tested on sequences at random would do so too.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.evaluate.counts import Floats, Ints
from elman.evaluate.features import summarise_numbers
from elman.evaluate.rules import centre_and_scale, standardize

FOLDS = 5
MOST_ROWS = 1500  # sequences that are compared; more hardly change the answer
MOST_COLUMNS = 200
LEAST_DIFFERENCE = 0.1
_WORDS = 300  # most frequent tokens that are counted


@dataclass(frozen=True)
class GroupComparison:
    """Accuracies of the same cheap model by two kinds of cross-validation.

    Args:
        random: with sequences divided at random.
        grouped: with whole groups held out.
        rows: sequences compared.
        model: name of the model.
    """

    random: float
    grouped: float
    rows: int
    model: str

    @property
    def differs(self) -> bool:
        """Whether groups are harder by more than chance: two standard errors, and 0.1."""
        error = np.sqrt(
            (self.random * (1 - self.random) + self.grouped * (1 - self.grouped)) / self.rows
        )
        return self.random - self.grouped > max(LEAST_DIFFERENCE, 2 * float(error))


def choose_rows(count: int, seed: int | np.random.Generator) -> Ints:
    """Return which of `count` sequences `compare_groups` compares, in order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:MOST_ROWS])


def compare_groups(
    inputs: Ragged | Sequence[str],
    labels: NDArray[Any],
    groups: Sequence[str],
    static: Floats | None = None,
    seed: int = 0,
) -> GroupComparison | None:
    """Compare held-out groups with sequences at random, by the model that is best at random.

    Args:
        inputs: n sequences: numbers (N, C), tokens (N,), mixed steps (N, C), or texts.
        labels: class of each sequence, (n,).
        groups: group of each sequence, (n,).
        static: static features that are numbers, (n, k), NaN for a gap.
        seed: of the folds, and of the choice of sequences if there are many.
    Returns: None if there are too few sequences, classes or groups to compare.
    """
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    codes = np.unique(labels.astype(str), return_inverse=True)[1]
    owners = np.unique(np.array(groups, dtype=str), return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    index = choose_rows(len(codes), rng)
    codes, owners = codes[index], owners[index]
    smallest = int(np.bincount(codes).min()) if len(codes) else 0
    folds = min(FOLDS, len(np.unique(owners)), smallest)
    if folds < 2 or len(np.unique(codes)) < 2 or len(np.unique(owners)) == len(codes):
        return None
    features = _features(inputs, index)
    if static is not None:
        features = np.hstack([features, static[index]])
    features = _standardise(features)
    random = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, codes))
    whole = list(GroupKFold(folds).split(features, codes, owners))
    found = []
    for name, predict in (
        ("a logistic regression", _logistic),
        ("the nearest neighbour", _nearest),
    ):
        by_fold = [_accuracy(predict, features, codes, split) for split in (random, whole)]
        found.append(GroupComparison(by_fold[0], by_fold[1], len(codes), name))
    return max(found, key=lambda one: one.random)


def _features(inputs: Ragged | Sequence[str], index: Ints) -> Floats:
    """Return a fixed-size row for each sequence at `index`."""
    if not isinstance(inputs, Ragged):
        return _count_words([inputs[i].lower().split() for i in index.tolist()])
    chosen = inputs.take(index)
    if chosen.values.ndim == 1:
        return _count_words([sequence.tolist() for sequence in chosen])
    if chosen.values.dtype != object:
        return summarise_numbers(chosen, np.zeros(chosen.values.shape[1]))
    numeric = [c for c in range(chosen.values.shape[1]) if _is_number(chosen.values[0, c])]
    words = [[str(cell) for row in s for cell in row if not _is_number(cell)] for s in chosen]
    parts = [_count_words(words)]
    if numeric:
        numbers = chosen.values[:, numeric].astype(np.float64)
        parts.append(summarise_numbers(chosen.with_values(numbers), np.zeros(len(numeric))))
    return np.hstack(parts)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float)


def _count_words(sequences: list[list[str]]) -> Floats:
    """Return how often each of the most frequent tokens occurs in each sequence, (n, V)."""
    total = Counter(word for words in sequences for word in words)
    place = {word: i for i, (word, _) in enumerate(total.most_common(_WORDS))}
    counts = np.zeros((len(sequences), max(1, len(place))))
    for row, words in zip(counts, sequences, strict=True):
        for word in words:
            if word in place:
                row[place[word]] += 1
    return counts


def _standardise(features: Floats) -> Floats:
    """Standardise the columns, of which those that vary most are kept; a gap is the mean."""
    centre, scale = centre_and_scale(features)
    standard: Floats = standardize(features, centre, scale)
    spread = np.where(standard.any(axis=0), scale, 0.0)
    kept = np.sort(np.argsort(-spread, kind="stable")[:MOST_COLUMNS])
    return standard[:, kept]


Predict = Callable[[Floats, Ints, Floats], Ints]


def _accuracy(
    predict: Predict, features: Floats, codes: Ints, splits: list[tuple[Ints, Ints]]
) -> float:
    right = 0
    for train, test in splits:
        right += int((predict(features[train], codes[train], features[test]) == codes[test]).sum())
    return right / len(codes)


def _nearest(known: Floats, codes: Ints, asked: Floats) -> Ints:
    distances = (known**2).sum(1)[None] - 2 * asked @ known.T
    return np.asarray(codes[distances.argmin(axis=1)], np.int64)


def _logistic(known: Floats, codes: Ints, asked: Floats) -> Ints:
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(codes)) < 2:
        return np.full(len(asked), codes[0], np.int64)
    model = LogisticRegression(max_iter=200, tol=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not have converged to be compared
        model.fit(known, codes)
    return np.asarray(model.predict(asked), np.int64)
