"""The share of a batch that one of several processes computes, and what they make of it together.

The formula is in `elman.train.distributed`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Batch, Source
from elman.layers.random_numbers import draw_for
from elman.models.carry import Carry
from elman.train.distributed import Ranks
from elman.train.gradients import GradientSource, ParameterGroups
from elman.train.metrics import RunningMetrics


class RankSource:
    """The share of one rank of the batches of a source.

    Args:
        whole: the batches.
    """

    def __init__(self, whole: Source, ranks: Ranks) -> None:
        self.whole, self.ranks = whole, ranks
        self.batches = whole.batches

    def epoch(self, generator: np.random.Generator) -> Sequence[Any]:
        """Return the plans of the whole batches, the same on every rank."""
        return self.whole.epoch(generator)

    def make(self, plan: Any) -> Batch:
        """Return the rank's rows of a batch."""
        return self.whole.make_share(plan, self.ranks.rank, self.ranks.size)

    def places(self, plan: Any) -> NDArray[np.int64]:
        """Return the index in the caller's data of each row of the whole batch."""
        return self.whole.places(plan)


class RankResult(NamedTuple):
    """Mean loss of a whole batch, and its sums as `RunningMetrics.to_sums` returns them."""

    loss: float
    sums: Tensor

    def add_to(self, metrics: RunningMetrics) -> None:
        """Add the batch to the metrics of its epoch."""
        metrics.add_sums(self.sums)

    @property
    def weight(self) -> float:
        """Sum of the weights of the batch's labelled sequences or steps."""
        return float(self.sums[1])


class RankGradients:
    """Loss and gradients of whole batches, of which each rank computes its rows.

    Args:
        own: computes those of the rank's rows.
        ranks: the processes.
        unit: unit of the metrics.
    """

    def __init__(self, own: GradientSource, ranks: Ranks, unit: NDArray[np.float64] | None) -> None:
        self.own, self.ranks, self._unit = own, ranks, unit
        self.groups: ParameterGroups = own.groups
        self.around = own.around
        self.description = f"{own.description}; {ranks.describe()}"
        self.determinism = f"{own.determinism}. Another number of processes rounds differently"
        self._buffer = torch.empty(0)

    def __call__(self, batch: Batch) -> RankResult:
        """Leave the gradient of the whole batch in each parameter's `.grad`."""
        share = batch.share
        with draw_for(None if share is None else share.part):
            result = self.own(batch)
        if self.own.streams is not None:
            self.own.streams.add_up(self.ranks.add_up, counts=share is None or share.counts)
        metrics = RunningMetrics(unit=self._unit)
        # Without a labelled step in its rows, a rank's mean is undefined; its part is then 0.
        weight = result.weight if share is None or share.counts else 0.0
        if weight:
            result.add_to(metrics)
        own = metrics.to_sums()
        gradients = self.own.gradients
        parts, sums = self._reserve(gradients, len(own))
        for gradient, part in zip(gradients, parts, strict=True):
            if weight:
                torch.mul(gradient, weight, out=part)
            else:
                part.zero_()
        # In a place of their own, which the other ranks leave at 0, so that nothing is rounded: a
        # float64 as two numbers of the gradients' type, the nearest one and the rest.
        high, low = sums.zero_()[self.ranks.rank]
        high.copy_(own)
        low.copy_(own - high.to("cpu", torch.float64)).nan_to_num_(0.0)
        self.ranks.add_up(self._buffer)
        total = sums.to("cpu", torch.float64).sum((0, 1))
        loss, weight = total[:2].tolist()
        for gradient, part in zip(gradients, parts, strict=True):
            torch.div(part, weight or 1.0, out=gradient)
        return RankResult(loss / weight if weight else 0.0, total)

    def _reserve(self, gradients: Sequence[Tensor], sums: int) -> tuple[list[Tensor], Tensor]:
        """Return the parts of the tensor that is summed: gradients, and sums (R, 2, S)."""
        shape = self.ranks.size, 2, sums
        sizes = [*(gradient.numel() for gradient in gradients), math.prod(shape)]
        if len(self._buffer) != sum(sizes):
            self._buffer = gradients[0].new_empty(sum(sizes))
        *parts, last = torch.split(self._buffer, sizes)
        views = [part.view(g.shape) for part, g in zip(parts, gradients, strict=True)]
        return views, last.view(shape)

    def states_before(self, batch: Batch) -> Carry | None:
        """Return the states before a batch of chunks."""
        return self.own.states_before(batch)

    def check(self) -> None:
        """Raise ElmanError if the model was changed in a way that has no effect."""
        self.own.check()

    def clip(self, limit: float) -> float:
        """Scale the gradients down to the norm `limit` if theirs is above it; return theirs."""
        return self.own.clip(limit)

    def release(self) -> None:
        """Clear all gradients."""
        self.own.release()
