"""Augmentation: tokens read as unknown and noise on numbers, anew in every epoch."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from elman.data.batches import Batch, Examples
from elman.models.model import FIRST_TOKEN, UNKNOWN
from elman.settings import TrainingPlan


class Augmentation:
    """Reads some tokens as unknown, and adds noise to numbers; drawn from torch's generator.

    Args:
        training: what is trained on.
        settings: `token_dropout` and `noise`.
        numbers: columns of numbers before those of codes; where there are no codes, all.
    """

    def __init__(self, training: Examples, settings: TrainingPlan, numbers: int) -> None:
        self._probabilities = unknown_probabilities(training, settings.token_dropout, numbers)
        self._noise = settings.noise
        self._measured = training.measured

    def __call__(self, batch: Batch) -> Batch:
        """Return the augmented batch; the original stays as it is."""
        x = batch.x
        if self._probabilities:
            x = replace_by_unknown(x, self._probabilities)
        if self._noise and self._measured:
            x = add_noise(x, self._noise, self._measured)
        return batch if x is batch.x else dataclasses.replace(batch, x=x)


def add_noise(x: Tensor, deviation: float, measured: int) -> Tensor:
    """Return x, (B, T, C), with normal noise on its first columns; what is past a row's end too."""
    out = x.clone()
    out[:, :, :measured].add_(torch.randn(*x.shape[:2], measured), alpha=deviation)
    return out


def unknown_probabilities(examples: Examples, alpha: float, numbers: int) -> list[Tensor]:
    """Probability of each token id, or of each code of a category, to be read as unknown.

        p(token) = alpha / (alpha + count of the token in the training part)

    So the embedding of the unknown token is trained, mostly in place of rare tokens: those that
    unseen text has, too.

    Args:
        numbers: columns of numbers before those of codes; where there are no codes, all.
    Returns: a tensor for the tokens, or for each column of codes; none for numbers or alpha 0.
    Source: Kiperwasser & Goldberg 2016, arXiv:1603.04351, alpha 0.25 as theirs.
    """
    values = examples.inputs.values
    columns = [values] if values.ndim == 1 else list(values[:, numbers:].T.astype(np.int64))
    probabilities = []
    for codes in columns if alpha else ():
        counts = np.bincount(codes, minlength=FIRST_TOKEN)
        column = alpha / (alpha + counts)
        column[:FIRST_TOKEN] = 0
        probabilities.append(torch.from_numpy(column))
    return probabilities


def replace_by_unknown(x: Tensor, probabilities: list[Tensor]) -> Tensor:
    """Return tokens (B, T), or (B, T, C) whose last columns are codes, some read as unknown."""
    if x.dim() == 2:
        unknown = torch.rand(x.shape, dtype=torch.float64) < probabilities[0][x]
        return x.masked_fill(unknown, UNKNOWN)
    codes = x[:, :, -len(probabilities) :].long()
    by_code = torch.stack([column[codes[:, :, k]] for k, column in enumerate(probabilities)], -1)
    unknown = torch.zeros(x.shape, dtype=torch.bool)
    unknown[:, :, -len(probabilities) :] = torch.rand(by_code.shape, dtype=torch.float64) < by_code
    return x.masked_fill(unknown, UNKNOWN)
