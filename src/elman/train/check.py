"""Do a model and the sequences that it is to be trained on go together?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import Examples
from elman.data.ragged import Ragged, flat
from elman.errors import DataError, ShapeError
from elman.models import ModelConfig


def check_examples(config: ModelConfig, examples: Examples, part: str) -> None:
    """Raise ShapeError or DataError unless a model can be trained on, or measured by, a part.

    Args:
        part: what the message calls it, `training` or `validation`.
    """
    inputs, target = examples.inputs, examples.target
    if not len(inputs):
        raise DataError(f"{part}: got no sequences, expected one or more")
    if inputs.lengths.min() < 1:
        where = int(inputs.lengths.argmin())
        raise DataError(f"{part}, sequence {where}: got no steps, expected one or more")
    shape = inputs.values.shape[1:]
    wanted = () if config.vocabulary_size else (config.input_size,)
    if shape != wanted:
        raise ShapeError(f"{part}: got steps of shape {shape}, expected {wanted}")
    if config.vocabulary_size:
        _check_codes(inputs.values, config.vocabulary_size, f"{part}: tokens")
    if isinstance(target, Ragged) != config.per_step:
        found = "a label at every step" if isinstance(target, Ragged) else "a label a sequence"
        raise ShapeError(f"{part}: got {found}, which readout {config.readout!r} does not go with")
    if len(target) != len(inputs):
        raise ShapeError(f"{part}: got {len(target)} labels for {len(inputs)} sequences")
    if isinstance(target, Ragged) and (differ := target.lengths != inputs.lengths).any():
        i = int(differ.argmax())
        raise ShapeError(
            f"{part}, sequence {i}: got {target.lengths[i]} labels for {inputs.lengths[i]} steps"
        )
    _check_codes(flat(target), config.num_classes, f"{part}: classes")


def _check_codes(codes: NDArray[np.int64], below: int, what: str) -> None:
    if codes.dtype.kind not in "iu" or codes.ndim != 1:
        raise ShapeError(f"{what}: got {codes.dtype} of shape {codes.shape}, expected codes (N,)")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= below:
        raise DataError(f"{what}: got codes from {low} to {high}, expected 0 to {below - 1}")
