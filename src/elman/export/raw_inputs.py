"""Sequences as an exported model is given them: raw numbers, and codes of tokens and categories.

Dimensions: n sequences, N steps in all, C numbers, Q category columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import extract_numbers
from elman.estimators import EncodedSequences
from elman.estimators.static import StaticEncoder
from elman.models.model import FIRST_TOKEN, UNKNOWN

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RawInputs:
    """What an exported model is given for n sequences of N steps in all.

    Args:
        offsets: where each sequence starts, and the end, (n + 1,).
        numbers: (N, C), NaN where one is missing.
        codes: of the categories, (N, Q); of tokens (N, 1).
        static_numbers, static_codes: of each sequence, (n, ...).
    """

    offsets: NDArray[np.int64]
    numbers: Floats
    codes: NDArray[np.int64]
    static_numbers: Floats
    static_codes: NDArray[np.int64]

    @classmethod
    def of(cls, encoded: EncodedSequences) -> RawInputs:
        """Return the values of encoded sequences as they were before scaling."""
        encoder, inputs, count = encoded.encoder, encoded.inputs.values, len(encoded.inputs)
        numbers, codes = np.zeros((len(inputs), 0)), np.zeros((len(inputs), 0), dtype=np.int64)
        if encoder.vocabulary_size:
            codes = inputs[:, None]
        elif encoder.kind == "mixed":
            numbers = extract_numbers(encoded.steps, tuple(encoder.categories)).values
            codes = inputs[:, encoder.input_size :].astype(np.int64)
        else:
            numbers = encoded.steps.values.astype(np.float64)
        static_numbers = np.zeros((count, 0))
        static_codes = np.zeros((count, 0), dtype=np.int64)
        if encoder.static is not None and encoded.static is not None:
            static_numbers = encoded.static.numbers
            static_codes = _code(encoder.static, encoded.static.categories)
        return cls(encoded.inputs.offsets, numbers, codes, static_numbers, static_codes)


def _code(encoder: StaticEncoder, columns: NDArray[Any]) -> NDArray[np.int64]:
    """Number the categories of static features as exported models do, from 2; 1 is unknown."""
    codes = np.zeros(columns.shape, dtype=np.int64)
    for k, (column, known) in enumerate(zip(columns.T, encoder.categories, strict=True)):
        by_name = {name: code for code, name in enumerate(known, FIRST_TOKEN)}
        codes[:, k] = [by_name.get(name, UNKNOWN) for name in column.tolist()]
    return codes
