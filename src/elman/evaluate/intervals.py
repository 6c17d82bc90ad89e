"""How far the figures would move with other sequences from the same source."""

from __future__ import annotations

import numpy as np

from elman.evaluate.measures import Floats, Ints, Tallies, figures

NAMES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")


def bootstrap(
    true: Ints,
    predicted: Ints,
    num_classes: int,
    *,
    owners: Ints | None,
    count: int,
    resamples: int,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of the headline figures.

    Whole sequences are drawn with replacement: the steps of one sequence are not independent, and
    drawing steps would make the interval of a tagger too narrow.

    Args:
        true, predicted: codes, (m,).
        owners: sequence of each step, (m,); None where each sequence has one label.
        count: sequences.
        resamples: how often to draw.
    """
    rng = np.random.default_rng(seed)
    cells = true * num_classes + predicted
    drawn = (
        _draw_labels(rng, cells, num_classes, resamples)
        if owners is None
        else _draw_sequences(rng, cells, owners, num_classes, count, resamples)
    )
    spread = figures(drawn)
    low_high = np.percentile([spread[name] for name in NAMES], [2.5, 97.5], axis=1)
    return {name: (float(low_high[0, i]), float(low_high[1, i])) for i, name in enumerate(NAMES)}


def _draw_labels(rng: np.random.Generator, cells: Ints, num_classes: int, times: int) -> Tallies:
    # Sequences in the same cell of the confusion matrix are alike, so drawing n of n sequences is
    # drawing cells from a multinomial. Only the cells in use are drawn.
    used, counts = np.unique(cells, return_counts=True)
    drawn = rng.multinomial(len(cells), counts / len(cells), size=times).astype(np.float64)
    return _tally(drawn, used, num_classes)


def _draw_sequences(
    rng: np.random.Generator, cells: Ints, owners: Ints, num_classes: int, count: int, times: int
) -> Tallies:
    used, place = np.unique(cells, return_inverse=True)
    # One entry for each sequence and each cell it touches, with the steps it has there.
    pairs, steps = np.unique(owners * len(used) + place, return_counts=True)
    sequence, place = np.divmod(pairs, len(used))
    drawn = np.empty((times, len(used)))
    for row in drawn:
        weights = np.bincount(rng.integers(count, size=count), minlength=count)
        row[:] = np.bincount(place, weights=weights[sequence] * steps, minlength=len(used))
    return _tally(drawn, used, num_classes)


def _tally(drawn: Floats, used: Ints, num_classes: int) -> Tallies:
    """Sum the drawn cells, (times, used), by true class, by predicted class and on the diagonal."""
    true, predicted = np.divmod(used, num_classes)
    rows = np.eye(num_classes)[true]
    columns = np.eye(num_classes)[predicted]
    return Tallies(drawn @ rows, drawn @ columns, drawn @ (rows * columns))
