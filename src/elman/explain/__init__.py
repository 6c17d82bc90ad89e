"""A network laid open: what it did at every step, what decided, and how its gradient travels.

Every function takes a `SequenceModel`, with sequences as it reads them, or a fitted estimator, with
sequences as they were given to `fit`. None of them changes the network that it is given.
"""

from __future__ import annotations

from elman.explain.recurrence import Pass, run
from elman.explain.subject import Reader, Subject, read

__all__ = ["Pass", "Reader", "Subject", "read", "run"]
