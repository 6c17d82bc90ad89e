"""What a picture asks of a report; `elman.evaluate.Report` has all of it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from elman.plots.style import Floats, Ints


class ReportLike(Protocol):
    """Answers of a model on n sequences, m of them (n, or the steps of a tagger), K classes."""

    @property
    def classes(self) -> tuple[Any, ...]:
        """Labels, K of them."""

    @property
    def count(self) -> int:
        """Sequences, n."""

    @property
    def steps(self) -> int | None:
        """Labelled steps of a tagger, m; None where each sequence has one label."""

    @property
    def accuracy(self) -> float:
        """Share of right answers."""

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of the top probability."""

    @property
    def confusion_matrix(self) -> Ints:
        """Counts (K, K), rows true, columns predicted."""

    @property
    def true(self) -> Ints:
        """True codes, (m,)."""

    @property
    def predicted(self) -> Ints:
        """Predicted codes, (m,)."""

    @property
    def probabilities(self) -> Floats:
        """Probabilities, (m, K)."""

    @property
    def lengths(self) -> Ints:
        """Steps of each sequence, (n,)."""

    @property
    def owners(self) -> Ints | None:
        """Sequence of each answer, (m,); None where each sequence has one."""


def unit(report: ReportLike) -> str:
    """Return what an answer is about: `steps` or `sequences`."""
    return "sequences" if report.steps is None else "steps"


def wilson(right: Floats, count: Floats) -> tuple[Floats, Floats]:
    """95 % interval of a share, `right` of `count` independent answers, each (b,), counts over 0.

    Source: Wilson 1927; holds its level for small counts and shares near 0 and 1.
    """
    z = 1.959963984540054
    share = right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
