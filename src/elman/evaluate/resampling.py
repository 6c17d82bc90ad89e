"""What a bootstrap draws: sequences or whole groups, with replacement.

Dimensions: n sequences, m predictions (one per sequence or step), K classes, u units (groups, or
sequences where there are no groups), r resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import SettingsError, ShapeError
from elman.evaluate.counts import ClassCounts, Floats, Ints

if TYPE_CHECKING:
    from scipy.sparse import csr_array

PIECE = 50  # resamples per chunk, which keeps their weights, (PIECE, u), small
MOST_DRAWN = 25_000_000  # numbers per chunk, 200 MB: with many units fewer than PIECE resamples


@dataclass(frozen=True, eq=False)
class Resampling:
    """What a bootstrap draws, and how often.

    Args:
        owners: sequence of each prediction, (m,); None if each sequence has one.
        group_of: group of each sequence, (n,), from 0; None if sequences are drawn.
        count: number of units that are drawn, u: groups or sequences.
        resamples: number of resamples, r; 0 for none.
        seed: of the resamples.
    """

    owners: Ints | None
    group_of: Ints | None
    count: int
    resamples: int
    seed: int

    @classmethod
    def of(
        cls,
        count: int,
        owners: Ints | None,
        groups: Sequence[Hashable] | NDArray[Any] | None,
        resamples: int,
        seed: int,
    ) -> Resampling:
        """Draw whole groups, or whole sequences where there are no groups.

        Args:
            count: number of sequences, n.
            owners: sequence of each prediction, (m,); None if each sequence has one.
            groups: group of each sequence, (n,); None for none.
        Raises: SettingsError if `resamples` is negative; ShapeError for another number of groups.
        """
        if resamples < 0:
            raise SettingsError(f"resamples is {resamples}; expected 0 for no intervals, or more")
        if groups is None:
            return cls(owners, None, count, resamples, seed)
        if len(groups) != count:
            raise ShapeError(
                f"groups holds {len(groups)} entries; expected {count}, one a sequence"
            )
        number: dict[Hashable, int] = {}
        codes = np.array([number.setdefault(group, len(number)) for group in groups], np.int64)
        return cls(owners, codes, len(number), resamples, seed)

    @property
    def units(self) -> Ints | None:
        """Unit of each prediction, (m,); None if each prediction is one."""
        if self.group_of is None or self.owners is None:
            return self.group_of if self.owners is None else self.owners
        return self.group_of[self.owners]

    @property
    def groups(self) -> int | None:
        """The number of groups; None if sequences are drawn."""
        return None if self.group_of is None else self.count

    def pieces(self, numbers: int) -> Iterator[int]:
        """Yield how many resamples of this many numbers to draw at once, r in all."""
        piece = max(1, min(PIECE, MOST_DRAWN // numbers))
        for start in range(0, self.resamples, piece):
            yield min(piece, self.resamples - start)


def interval_levels(units: int) -> tuple[float, float]:
    """Percentiles of resamples that make a 95 % interval for this number of units.

    Plain percentiles, 2.5 and 97.5, are too narrow for few units. The levels are widened as a t
    interval is wider than a normal one, by t and by the factor sqrt(u / (u - 1)).

    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 5.3, the
    expanded percentile interval.
    """
    from scipy.special import ndtr, stdtrit

    if units < 2:
        return 0.0, 100.0
    reach = stdtrit(units - 1, 0.975) * np.sqrt(units / (units - 1))
    level = 100 * float(ndtr(-reach))
    return level, 100 - level


def resample_weights(resampling: Resampling) -> Iterator[Floats]:
    """Resample u units with replacement; yield how often each is drawn, (r, u) per chunk."""
    rng, n = np.random.default_rng(resampling.seed), resampling.count
    for times in resampling.pieces(n):
        # The counts of n draws with replacement follow a multinomial distribution.
        yield rng.multinomial(n, np.full(n, 1 / n), size=times).astype(np.float64)


def resample_classes(
    true: Ints, predicted: Ints, num_classes: int, resampling: Resampling
) -> ClassCounts:
    """Resample sequences or groups with replacement and count their classes.

    Args:
        true, predicted: codes, (m,).
        resampling: what is drawn.
    """
    from scipy.sparse import coo_array

    # Only nonzero cells of the confusion matrix are drawn: most of 100 x 100 cells are empty.
    used, cell_of = np.unique(true * num_classes + predicted, return_inverse=True)
    of_true, of_predicted = np.divmod(used, num_classes)
    cells, ones, right = np.arange(len(used)), np.ones(len(used)), of_true == of_predicted
    counts = []
    # Sparse, (cells, K): of 1,000 classes there can be as many cells as sequences. Whole numbers
    # add up to the same bits in any order.
    for weights, codes in ((ones, of_true), (ones, of_predicted), (right.astype(float), of_true)):
        counts.append(coo_array((weights, (cells, codes)), (len(used), num_classes)).tocsr())
    drawn = [[add_up(piece, own) for own in counts] for piece in _draw_cells(cell_of, resampling)]
    return ClassCounts(*(np.concatenate(parts) for parts in zip(*drawn, strict=True)))


def add_up(drawn: Floats, sums: Floats | csr_array) -> Floats:
    """Add up the sums of the units drawn: (r, u) times (u, d), row by row in memory."""
    # The product with a sparse array comes column by column: means over d would have other bits.
    return np.ascontiguousarray(drawn @ sums)


def _draw_cells(cell_of: Ints, resampling: Resampling) -> Iterator[Floats]:
    """Yield how often each cell is drawn, (r, cells) per chunk, given the cell of each of m."""
    rng, units, count = np.random.default_rng(resampling.seed), resampling.units, resampling.count
    size = int(cell_of.max()) + 1
    # Sequences in the same cell are interchangeable, so resampling n sequences means drawing cell
    # counts from a multinomial distribution, at a cost that does not depend on n.
    shares = np.bincount(cell_of) / len(cell_of)
    if units is not None:
        # One entry per unit and nonzero cell: the number of the unit's predictions in that cell.
        pairs, numbers = np.unique(units * size + cell_of, return_counts=True)
        unit, cell = np.divmod(pairs, size)
    for times in resampling.pieces(size):
        if units is None:
            yield rng.multinomial(len(cell_of), shares, size=times).astype(np.float64)
            continue
        drawn = np.empty((times, size))
        for row in drawn:
            weights = np.bincount(rng.integers(count, size=count), minlength=count)
            row[:] = np.bincount(cell, weights=weights[unit] * numbers, minlength=size)
        yield drawn
