"""The units that text is split into: characters, words or bytes; and sequences counted in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Dataset
from elman.data.ragged import Ragged

Unit = Literal["characters", "words", "bytes"]
UNITS: tuple[Unit, ...] = get_args(Unit)
_BYTES = [chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in range(256)]
_WORD = re.compile(r"\w+|[^\w\s]")


def choose_unit(texts: Sequence[str]) -> Unit:
    """Return the unit for texts: words if they average at least three, else characters."""
    words = sum(len(text.split()) for text in texts)
    return "words" if words >= 3 * len(texts) else "characters"


def split_texts(texts: Sequence[str], unit: Unit) -> list[list[str]]:
    """Split texts into characters, lower-case words and single punctuation marks, or bytes.

    Bytes are UTF-8: printable ASCII is written as the character itself, others as `\\xc3`.
    """
    if unit == "words":
        return [_WORD.findall(text.lower()) for text in texts]
    if unit == "bytes":
        return [[_BYTES[b] for b in text.encode()] for text in texts]
    return [list(text) for text in texts]


def count_steps(dataset: Dataset, unit: Unit | None = None) -> tuple[NDArray[np.int64], str]:
    """Return the steps of each sequence, (n,), and what they are: `steps`, or the units of text.

    Args:
        unit: what text is split into; None chooses it as a training does.
    """
    if isinstance(dataset.inputs, Ragged):
        return dataset.inputs.lengths, "steps"
    texts = dataset.inputs
    unit = unit or choose_unit(texts)
    return np.array([len(own) for own in split_texts(texts, unit)], dtype=np.int64), unit
