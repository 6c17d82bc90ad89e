"""Choice of the example sequences of the page: typical, wrong and undecided ones of each class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import NOT_LABELLED
from elman.explain.choice import Ratings, rate_sample
from elman.explain.forms import Floats
from elman.train import TorchThreads


@dataclass(frozen=True)
class Example:
    """A sequence that was chosen.

    Args:
        index: its position in X, from 0.
        reason: `typical`, `wrong` or `undecided`.
    """

    index: int
    reason: str


@TorchThreads(1)  # torch forks and joins its threads at every time step: see `trace`
def choose_examples(model: Any, X: Any, y: Any = None, *, most: int = 30) -> list[Example]:
    """Choose sequences that show what a network does, and where it fails.

    Typical ones have the loss nearest to the median of their class's correct predictions, wrong
    ones the highest loss, undecided ones the smallest difference between their two largest
    probabilities. The kinds and the classes take turns, so that any number of the first examples
    has some of each; the first one is typical, if any is right. Numbers have no undecided ones:
    `wrong` are errors above the median. Without labels, certainty takes the place of the loss.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        X: sequences in the model's input format, or in the format that the estimator's `fit` takes;
            at most a thousand of them, evenly spaced, are tried.
        y: their labels in the format of `fit`, if they are known.
        most: number of examples at most.
    Raises: DataError or ShapeError for a sequence or label that the network cannot read.
    """
    network, _, rows, ratings = rate_sample(model, X, y)
    rated = _by_sequence(rows, ratings)
    if y is not None and not network.has_classes:
        rated = dataclasses.replace(rated, wrong=rated.loss > np.median(rated.loss))
    orders = {
        "typical": _in_turn(rated, np.flatnonzero(~rated.wrong), _strangeness(rated)),
        "wrong": _in_turn(rated, np.flatnonzero(rated.wrong), -rated.loss),
        "undecided": _in_turn(rated, np.flatnonzero(~np.isnan(rated.margin)), rated.margin),
    }
    return list(_take_turns(rated, orders, most))


def _by_sequence(rows: NDArray[np.int64], ratings: Ratings) -> Ratings:
    """Return ratings of single predictions as one of each sequence.

    The loss is the mean, without labels how undecided the predictions are; the sequence is wrong if
    any of them is, and as little decided as the least; its class is that of its only prediction.
    """
    owner = ratings.place[:, 0]
    starts = np.searchsorted(owner, rows)  # predictions are in the order of the rows
    counts = np.diff(np.append(starts, len(owner)))
    loss = -ratings.margin if np.isnan(ratings.loss).all() else ratings.loss
    loss = np.nan_to_num(loss)  # without labels, numbers have neither a loss nor a margin
    return Ratings(
        ratings.place[starts],
        np.add.reduceat(loss, starts) / counts,
        np.logical_or.reduceat(ratings.wrong, starts),
        np.minimum.reduceat(ratings.margin, starts),
        np.where(counts == 1, ratings.group[starts], NOT_LABELLED),
    )


def _strangeness(rated: Ratings) -> Floats:
    """Return how far each loss is from the median of the correct predictions of its class, (n,)."""
    far = np.zeros(len(rated.loss))
    for group in np.unique(rated.group):
        own = rated.group == group
        right = own & ~rated.wrong
        far[own] = np.abs(rated.loss[own] - np.median(rated.loss[right if right.any() else own]))
    return far


def _in_turn(rated: Ratings, places: NDArray[np.int64], key: Floats) -> Iterator[int]:
    """Yield places by their key, smallest first, one of each class after the other."""
    ordered = places[np.argsort(key[places], kind="stable")]
    queues = [ordered[rated.group[ordered] == g] for g in np.unique(rated.group[ordered])]
    for turn in range(max(map(len, queues), default=0)):
        yield from (int(queue[turn]) for queue in queues if turn < len(queue))


def _take_turns(rated: Ratings, orders: dict[str, Iterator[int]], most: int) -> Iterable[Example]:
    """Yield examples of each kind in turn, none twice, until there are `most`."""
    seen: set[int] = set()
    while orders and len(seen) < most:
        for reason in list(orders):
            place = next((p for p in orders[reason] if p not in seen), None)
            if place is None:
                del orders[reason]
            elif len(seen) < most:
                seen.add(place)
                yield Example(int(rated.place[place, 0]), reason)
