"""Real data that comes with scikit-learn: handwritten digits, by rows and pixel by pixel."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from elman.data.builtin.drawing import layout
from elman.data.dataset import Dataset
from elman.data.ragged import Ragged
from elman.settings import Help


def make_digits(seed: int) -> tuple[Dataset, Dataset]:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels from 0 to 16, read from top to bottom.

    Returns: 1,437 and 360 digits, every class in the same proportion in both. A sequence is
        8 steps, the rows of the picture, of 8 channels.
    Source: sklearn.datasets.load_digits (UCI, Alpaydin and Kaynak 1998).
    """
    return _split("digits", seed, None, [f"pixel {i}" for i in range(1, 9)])


def make_sequential_digits(
    seed: int,
    *,
    order: Annotated[
        Literal["rows", "permuted"],
        Help("of the pixels: row after row, or one random order drawn by the seed"),
    ] = "rows",
) -> tuple[Dataset, Dataset]:
    """The same digits and parts as `digits`, one pixel a step: 64 steps of one channel.

    `permuted` shuffles the pixels, in the same way for all digits, so that what stood near in the
    picture is far in the sequence.

    Source: Le, Jaitly & Hinton 2015, arXiv:1504.00941, there with the 784 pixels of MNIST.
    """
    pixels = np.arange(64)
    if order == "permuted":
        # A stream of its own: the parts are those of `rows`.
        pixels = np.random.default_rng([seed, 64]).permutation(64)
    return _split("sequential-digits", seed, pixels, ["pixel"])


def _split(
    name: str, seed: int, pixels: np.ndarray | None, channels: list[str]
) -> tuple[Dataset, Dataset]:
    """The stratified parts; `pixels` is the order of 64 single steps, None for 8 rows of 8."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, digits = load_digits(return_X_y=True)
    train, test = train_test_split(
        np.arange(len(digits)),
        test_size=0.2,
        stratify=digits,
        # scikit-learn takes no seed above 32 bits.
        random_state=int(np.random.default_rng(seed).integers(2**32)),
    )
    steps = images.reshape(-1, 8, 8) if pixels is None else images[:, pixels, None]
    data = Dataset(
        inputs=Ragged.from_list(list(steps), dtype=np.float64),
        target=digits.astype(object),
        source=name,
        layout=layout("numbers", channels),
    )
    return data.take(train), data.take(test)
