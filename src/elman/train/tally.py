"""Sums over the labelled sequences, or steps, of one or more batches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_HELD = 2**14  # numbers of outputs that a tally keeps until it counts what is right


@dataclass
class Tally:
    """The loss so far, and how many answers were right or how far off they were.

    Args:
        loss: sum of the batches' mean losses, each times its weight.
        correct: right answers; of several labels, those with all labels right.
        count: labelled sequences or steps.
        weight: of all of them; their number if none has a weight of its own.
        unit: of each predicted number, (K,): what 1 stands for; None for classes and labels.
    """

    loss: float = 0.0
    correct: int = 0
    count: int = 0
    weight: float = 0.0
    unit: NDArray[np.float64] | None = None
    _squares: Tensor | None = field(default=None, repr=False)  # (K,)
    _unread: list[tuple[Tensor, Tensor]] = field(default_factory=list, repr=False)
    _held: int = field(default=0, repr=False)  # numbers in it

    def __post_init__(self) -> None:
        self.weight = self.weight or float(self.count)

    def add(
        self, loss: float, outputs: Tensor, target: Tensor, weight: float | None = None
    ) -> None:
        """Add a batch: its mean loss, outputs (M, K), target and weight; M if that is None.

        Tensors are not to be changed later.
        """
        count = target.shape[0]
        weight = float(count) if weight is None else weight
        self.loss += loss * weight
        self.weight += weight
        self.count += count
        # What is right is counted for many small batches at once: torch's calls, not the numbers,
        # are what takes time, a third of a small network's forward pass.
        self._unread.append((outputs, target))
        self._held += outputs.numel()
        if self._held > _HELD:
            self._read()

    def _read(self) -> None:
        if not self._unread:
            return
        outputs, target = (torch.cat(part) for part in zip(*self._unread, strict=True))
        if self.unit is not None:
            squares = (outputs.double() - target.double()).square().sum(0)
            self._squares = squares if self._squares is None else self._squares + squares
        elif target.dim() > 1:
            self.correct += int(((outputs > 0) == (target > 0.5)).all(-1).sum())
        else:
            self.correct += int((outputs.argmax(-1) == target).sum())
        self._unread.clear()
        self._held = 0

    @property
    def mean_loss(self) -> float:
        """Mean loss of a labelled sequence or step: in nats, or of numbers standardised."""
        return self.loss / self.weight

    @property
    def accuracy(self) -> float | None:
        """Share of labelled sequences or steps that were right; None for numbers."""
        self._read()
        return None if self.unit is not None else self.correct / self.count

    @property
    def rmse(self) -> float | None:
        """Root of the mean squared error, in the target's unit, mean over the K; None for classes.

        As scikit-learn's root_mean_squared_error.
        """
        self._read()
        if self.unit is None or self._squares is None:
            return None
        roots = (self._squares / self.count).sqrt().cpu().numpy()
        return float((roots * self.unit).mean())
