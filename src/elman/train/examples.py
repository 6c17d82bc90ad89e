"""Checks of the training examples, and their augmentation, which differs in every epoch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Batch
from elman.data.encoded import Split, StoredExamples
from elman.data.ragged import Ragged, flatten, is_target
from elman.errors import DataError, ShapeError
from elman.layers.random_numbers import draw_for, draw_rows
from elman.models import ModelConfig
from elman.models.model import FIRST_TOKEN, UNKNOWN
from elman.settings import TrainingPlan
from elman.tasks import TASKS


def check_examples(config: ModelConfig, examples: Split, split: str) -> None:
    """Raise ShapeError or DataError if a model cannot be trained or validated on a split.

    Args:
        examples: the split. Of one on disk, which was checked when it was encoded, only the first
            sequences are checked.
        split: name of the split for the message: `training` or `validation`.
    """
    if isinstance(examples, StoredExamples):
        labelled = (piece for piece in examples.pieces() if piece.known[0])
        examples = next(labelled, examples.take(np.arange(min(1, len(examples)))))
    inputs, target = examples.inputs, examples.target
    if not len(inputs):
        raise DataError(f"{split}: got no sequences, expected one or more")
    if inputs.lengths.min() < 1:
        where = int(inputs.lengths.argmin())
        raise DataError(f"{split}, sequence {where}: got no steps, expected one or more")
    shape = inputs.values.shape[1:]
    expected = () if config.vocabulary_size else (config.columns,)
    if shape != expected:
        raise ShapeError(f"{split}: got steps of shape {shape}, expected {expected}")
    static = None if inputs.static is None else inputs.static.shape
    if static != ((len(inputs), config.static_size) if config.static_size else None):
        raise ShapeError(
            f"{split}: static: got {static}, expected {config.static_size or 'no'} features for "
            "each sequence"
        )
    if config.vocabulary_size:
        _check_codes(inputs.values, config.vocabulary_size, f"{split}: tokens")
    for k, size in enumerate(config.category_sizes):
        codes = inputs.values[:, config.input_size + k].astype(np.int64)
        _check_codes(codes, size, f"{split}: categories of column {config.input_size + k}")
    if isinstance(target, Ragged) != config.per_step:
        actual = "a label at every step" if isinstance(target, Ragged) else "a label a sequence"
        raise ShapeError(
            f"{split}: got {actual}, which readout {config.readout!r} does not go with"
        )
    _check_lengths(target, inputs, split, "labels")
    task, values = TASKS[config.task], flatten(target)
    if config.per_step:
        known = is_target(values)
        if not known.any():
            raise DataError(f"{split}: no step is labelled, expected one or more")
        values = values[known]
    if task.single_label:
        _check_codes(values, config.num_outputs, f"{split}: classes")
    else:
        _check_numbers(values, config, split)
    if (examples.unit is None) != task.has_classes:
        raise ShapeError(
            f"{split}: unit: expected the value of 1 in the target's unit where numbers are "
            "predicted, and None elsewhere"
        )
    if examples.weight is not None:
        _check_weights(examples.weight, inputs, config.per_step, split)


def _check_lengths(values: NDArray[Any] | Ragged, inputs: Ragged, split: str, what: str) -> None:
    if len(values) != len(inputs):
        raise ShapeError(f"{split}: got {len(values)} {what} for {len(inputs)} sequences")
    if isinstance(values, Ragged) and (differ := values.lengths != inputs.lengths).any():
        i = int(differ.argmax())
        raise ShapeError(
            f"{split}, sequence {i}: got {values.lengths[i]} {what} for {inputs.lengths[i]} steps"
        )


def _check_numbers(values: NDArray[Any], config: ModelConfig, split: str) -> None:
    if values.dtype.kind != "f" or values.shape[1:] != (config.num_outputs,):
        raise ShapeError(
            f"{split}: target: got {values.dtype} of shape {values.shape}, expected floats "
            f"(N, {config.num_outputs})"
        )
    if not np.isfinite(values).all():
        raise DataError(f"{split}: target: got numbers that are not finite")
    if TASKS[config.task].has_classes and not np.isin(values, (0, 1)).all():
        raise DataError(f"{split}: labels: expected 1 where a label is set, else 0")


def _check_weights(weight: NDArray[Any] | Ragged, inputs: Ragged, steps: bool, split: str) -> None:
    if isinstance(weight, Ragged) != steps or flatten(weight).ndim != 1:
        raise ShapeError(f"{split}: weights: expected one a {'step' if steps else 'sequence'}")
    _check_lengths(weight, inputs, split, "weights")
    values = flatten(weight)
    total = np.add.reduceat(values, weight.offsets[:-1]) if isinstance(weight, Ragged) else values
    if not np.isfinite(values).all() or (values < 0).any() or not (total > 0).all():
        raise DataError(
            f"{split}: weights: expected finite numbers from 0, and above 0 in every sequence"
        )


def _check_codes(codes: NDArray[np.int64], below: int, what: str) -> None:
    if codes.dtype.kind not in "iu" or codes.ndim != 1:
        raise ShapeError(f"{what}: got {codes.dtype} of shape {codes.shape}, expected codes (N,)")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= below:
        raise DataError(f"{what}: got codes from {low} to {high}, expected 0 to {below - 1}")


class Augmentation:
    """Replaces random tokens by the unknown token and adds noise.

    Args:
        training: the training examples.
        settings: `token_dropout` and `noise` are used.
        numbers: number of numeric columns, which precede the categorical ones.
        generator: drawn from, on the CPU; None means torch's global one.
    """

    def __init__(
        self,
        training: Split,
        settings: TrainingPlan,
        numbers: int,
        generator: torch.Generator | None = None,
    ) -> None:
        self._probabilities = unknown_probabilities(training, settings.token_dropout, numbers)
        self._noise = settings.noise
        self._measured = training.measured
        self._generator = generator

    def __call__(self, batch: Batch) -> Batch:
        """Return the augmented batch; the original is not changed."""
        x = batch.x
        with draw_for(None if batch.share is None else batch.share.part):
            if self._probabilities:
                x = replace_by_unknown(x, self._probabilities, self._generator)
            if self._noise and self._measured:
                x = add_noise(x, self._noise, self._measured, self._generator)
        return batch if x is batch.x else dataclasses.replace(batch, x=x)


def add_noise(
    x: Tensor, deviation: float, measured: int, generator: torch.Generator | None = None
) -> Tensor:
    """Return x, (B, T, C), with normal noise on its first columns, padding included."""
    out = x.clone()
    shape = (*x.shape[:2], measured)
    noise = draw_rows(lambda s: torch.randn(s, generator=generator), shape, steps=True)
    out[:, :, :measured].add_(noise, alpha=deviation)
    return out


def unknown_probabilities(examples: Split, alpha: float, numbers: int) -> list[Tensor]:
    """Probability with which each token id or category code is replaced by the unknown token.

        p(token) = alpha / (alpha + count of the token in the training split)

    This trains the embedding of the unknown token, mostly in the contexts of rare tokens, which
    resemble those of the tokens that only new text contains.

    Args:
        numbers: number of numeric columns, which precede the categorical ones.
    Returns: one tensor for tokens, one for each categorical column; empty if alpha is 0.
    Source: Kiperwasser & Goldberg 2016, arXiv:1603.04351, who use alpha 0.25.
    """
    probabilities = []
    for counts in examples.code_counts(numbers) if alpha else ():
        column = alpha / (alpha + counts)
        column[:FIRST_TOKEN] = 0
        probabilities.append(torch.from_numpy(column))
    return probabilities


def replace_by_unknown(
    x: Tensor, probabilities: list[Tensor], generator: torch.Generator | None = None
) -> Tensor:
    """Return tokens (B, T), or (B, T, C) with codes in the last columns, some made unknown."""

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, generator=generator)

    if x.dim() == 2:
        drawn = draw_rows(draw, tuple(x.shape), steps=True)
        unknown = drawn < probabilities[0][x]
        return x.masked_fill(unknown, UNKNOWN)
    codes = x[:, :, -len(probabilities) :].long()
    by_code = torch.stack([column[codes[:, :, k]] for k, column in enumerate(probabilities)], -1)
    unknown = torch.zeros(x.shape, dtype=torch.bool)
    drawn = draw_rows(draw, tuple(by_code.shape), steps=True)
    unknown[:, :, -len(probabilities) :] = drawn < by_code
    return x.masked_fill(unknown, UNKNOWN)
