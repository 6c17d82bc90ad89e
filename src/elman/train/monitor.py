"""Monitoring: the loss and metric of the test split during training, at a bounded cost.

Nothing is chosen by these values. Weights, random generators and every other result are the same
bits with and without them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from elman.data.encoded import Split
from elman.models import ModelConfig
from elman.settings import TrainingPlan

# Of the multiplications of the training. Measured: 1.6 to 2.8 % of its processor time.
SHARE = 0.025
# Points of the curve. A split that is too large to be evaluated so often is sampled.
POINTS = 12
LEAST = 32  # sequences of a sample; with fewer, a point says little
# Multiplications allowed in any case, about 0.01 s, so that a short training has a curve too.
ALLOWED = 2e7
# What surrounds a native call, in the multiplications that take as long: measured 0.1 to 0.2 ms.
OVERHEAD = 3e5
INFERENCE_BATCH = 256  # sequences that are evaluated at once


@dataclass(frozen=True)
class Monitor:
    """The sequences that are evaluated during a training, and at which of its epochs.

    Args:
        examples: the test split, or a fixed sample of it.
        whole: number of sequences in the test split.
        every: epochs from one evaluation to the next; the first and the last are always included.
        epochs: number of epochs of the training.
    """

    examples: Split
    whole: int
    every: int
    epochs: int

    @classmethod
    def plan(
        cls,
        test: Split,
        training: Split,
        config: ModelConfig,
        settings: TrainingPlan,
        *,
        every_epoch: bool = False,
    ) -> Monitor:
        """Choose epochs and sequences so that the evaluations take at most SHARE of the training.

        The whole split is evaluated if that leaves at least POINTS epochs, else a sample of it. The
        choice depends on counts only, never on measured time, so a training can be repeated.

        Args:
            test: the test split.
            training: the training split.
            config: the network.
            every_epoch: evaluate the whole split after every epoch, whatever it costs.
        """
        epochs, whole, trained = settings.epochs, len(test), len(training)
        if every_epoch:
            return cls(test, whole, 1, epochs)
        size = trained if settings.batch_size == "full" else settings.batch_size
        step = _multiplications(config)
        # A step back costs about two forward.
        epoch = 3.0 * step * float(training.lengths.sum())
        budget = max(ALLOWED, SHARE * epochs * (epoch + OVERHEAD * math.ceil(trained / size)))
        # Each sample contains the smaller ones, because all are beginnings of one permutation.
        order = np.random.default_rng(0).permutation(whole)
        steps = np.cumsum(test.lengths[order])
        calls = np.ceil(np.arange(1, whole + 1) / INFERENCE_BATCH)
        costs = step * steps + OVERHEAD * calls  # of evaluating the first 1, 2, ... sequences
        count = whole
        if costs[-1] * min(epochs, POINTS) > budget:
            count = int((costs * min(epochs, POINTS) <= budget).sum())
            count = min(whole, max(LEAST, count))
        points = max(2, int(budget / costs[count - 1]))
        intervals = range(1, epochs + 1)
        every = next((k for k in intervals if len(_due(epochs, k)) <= points), epochs)
        examples = test if count == whole else test.subset(np.sort(order[:count]))
        return cls(examples, whole, every, epochs)

    def is_due(self, epoch: int) -> bool:
        """Whether the split is evaluated after this epoch, counted from 1."""
        return epoch % self.every == 0 or epoch in (1, self.epochs)

    def __str__(self) -> str:
        count = len(self.examples)
        sample = "" if count == self.whole else f"a fixed sample of {count:,} of them is "
        when = "every epoch"
        if self.every > 1:
            when = f"every {self.every} epochs, the first and the last"
        return (
            f"test split ({self.whole:,} sequences): {sample}evaluated after {when}, for the curve "
            "only; nothing is chosen by it"
        )


def _due(epochs: int, every: int) -> set[int]:
    return {1, epochs, *range(every, epochs + 1, every)}


def _multiplications(config: ModelConfig) -> float:
    """Multiplications of one forward step of one sequence, without the output layer."""
    blocks = len(config.cell_definition.blocks)
    inputs = config.embedding_size if config.vocabulary_size else config.columns
    directions = 1 + config.bidirectional
    sizes = [inputs, *[config.width] * (config.num_layers - 1)]
    return float(
        sum(blocks * directions * config.hidden_size * (n + config.hidden_size) for n in sizes)
    )
