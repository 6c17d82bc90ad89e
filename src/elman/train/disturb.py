"""What training disturbs its sequences by, anew each time, lest they be learnt by heart."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from elman.data.batches import Batch, Examples
from elman.models.model import FIRST_TOKEN, UNKNOWN
from elman.settings import TrainingPlan


class Disturbance:
    """Reads some tokens as unknown, and adds noise to numbers; drawn from torch's generator.

    Args:
        training: what is learnt from.
        settings: `token_dropout` and `noise`.
        numbers: columns of numbers before those of codes; where there are no codes, all.
    """

    def __init__(self, training: Examples, settings: TrainingPlan, numbers: int) -> None:
        self._chances = unknown_chances(training, settings.token_dropout, numbers)
        self._noise = settings.noise
        self._measured = training.measured

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch, disturbed; the given one stays as it is."""
        x = batch.x
        if self._chances:
            x = with_unknown(x, self._chances)
        if self._noise and self._measured:
            x = with_noise(x, self._noise, self._measured)
        return batch if x is batch.x else dataclasses.replace(batch, x=x)


def with_noise(x: Tensor, deviation: float, measured: int) -> Tensor:
    """Return x, (B, T, C), with normal noise on its first columns; what is past a row's end too."""
    out = x.clone()
    out[:, :, :measured].add_(torch.randn(*x.shape[:2], measured), alpha=deviation)
    return out


def unknown_chances(examples: Examples, alpha: float, numbers: int) -> list[Tensor]:
    """Chance of each token id, or of each code of a category, to be read as unknown.

    Args:
        numbers: columns of numbers before those of codes; where there are no codes, all.
    Returns: a tensor for the tokens, or for each column of codes; none for numbers or alpha 0.
    """
    values = examples.inputs.values
    columns = [values] if values.ndim == 1 else list(values[:, numbers:].T.astype(np.int64))
    found = []
    for codes in columns if alpha else ():
        counts = np.bincount(codes, minlength=FIRST_TOKEN)
        chances = alpha / (alpha + counts)
        chances[:FIRST_TOKEN] = 0
        found.append(torch.from_numpy(chances))
    return found


def with_unknown(x: Tensor, chances: list[Tensor]) -> Tensor:
    """Return tokens (B, T), or (B, T, C) whose last columns are codes, some read as unknown."""
    if x.dim() == 2:
        unknown = torch.rand(x.shape, dtype=torch.float64) < chances[0][x]
        return x.masked_fill(unknown, UNKNOWN)
    codes = x[:, :, -len(chances) :].long()
    own = torch.stack([chance[codes[:, :, k]] for k, chance in enumerate(chances)], -1)
    unknown = torch.zeros(x.shape, dtype=torch.bool)
    unknown[:, :, -len(chances) :] = torch.rand(own.shape, dtype=torch.float64) < own
    return x.masked_fill(unknown, UNKNOWN)
