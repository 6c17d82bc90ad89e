"""Simple tasks, learned in seconds, scikit-learn's digits, and helpers of all tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from elman.data.dataset import Dataset, InputKind, Layout
from elman.data.ragged import Ragged, to_objects
from elman.errors import SettingsError
from elman.validation import Help

Train = Annotated[int, Ge(2), Le(1_000_000), Help("sequences of the training split")]
Test = Annotated[int, Ge(1), Le(1_000_000), Help("sequences of the test split")]
Stretch = Annotated[
    int,
    Ge(1),
    Le(100),
    Help("1: test sequences like the training's; else up to this many times longer"),
]


def draw_distinct(draw: Callable[[], NDArray[Any]], count: int) -> list[NDArray[Any]]:
    """Draw until there are `count` distinct sequences.

    Sequences are in the order of their first draw, so likely sequences come early.
    Raises: SettingsError if too few distinct sequences are found.
    """
    seen: dict[bytes, NDArray[Any]] = {}
    # Far more draws than needed if enough sequences exist; the loop must end if they do not.
    for _ in range(20 * count + 10_000):
        sequence = draw()
        # Object arrays hold addresses; other arrays can be compared by their bytes.
        seen.setdefault(
            repr(sequence.tolist()).encode() if sequence.dtype == object else sequence.tobytes(),
            sequence,
        )
        if len(seen) == count:
            return list(seen.values())
    raise SettingsError(
        f"Of the {count:,} different sequences asked for, only {len(seen):,} were found. Ask for "
        "fewer with train= and test=, or for longer ones"
    )


def make_layout(kind: InputKind, values: Sequence[str] = (), *, per_step: bool = False) -> Layout:
    """Return the layout of generated data: numbers with these channels, or tokens."""
    return Layout(
        format="rows",
        kind=kind,
        target="label",
        per_step=per_step,
        text="tokens" if kind == "tokens" else None,
        values=tuple(values),
    )


def make_splits(
    name: str,
    inputs: Sequence[NDArray[Any]],
    target: NDArray[Any] | Ragged,
    layout: Layout,
    train: int,
) -> tuple[Dataset, Dataset]:
    """Return the first `train` sequences and the others."""
    data = Dataset(inputs=Ragged.from_list(inputs), target=target, source=name, layout=layout)
    index = np.arange(len(inputs))
    return data.take(index[:train]), data.take(index[train:])


def to_tokens(text: Sequence[str]) -> NDArray[np.object_]:
    """Return a sequence of tokens, (T,); each is a character if `text` is a string."""
    return to_objects(list(text))


WAVES = ("sawtooth", "sine", "square")


def make_sum_threshold(
    seed: int, *, train: Train = 800, test: Test = 200
) -> tuple[Dataset, Dataset]:
    """10 numbers, uniform in [0, 1); class 1 if their sum exceeds 5, else 0."""
    rng = np.random.default_rng(seed)
    numbers = rng.random((train + test, 10))
    target = (numbers.sum(axis=1) > 5).astype(int).astype(object)
    return make_splits(
        "sum-threshold",
        list(numbers[:, :, None]),
        target,
        make_layout("numbers", ["number"]),
        train,
    )


def make_token_order(seed: int, *, train: Train = 800, test: Test = 200) -> tuple[Dataset, Dataset]:
    """12 tokens of 20; class 1 if token 1 comes before token 2, else 0.

    Tokens 1 and 2 occur exactly once in each sequence, anywhere; the other ten are drawn from the
    other 18.
    """
    rng = np.random.default_rng(seed)
    others = np.array([i for i in range(20) if i not in (1, 2)])

    def draw() -> NDArray[Any]:
        tokens = rng.choice(others, size=12)
        first, second = rng.choice(12, size=2, replace=False)
        tokens[first], tokens[second] = 1, 2
        return tokens

    drawn = draw_distinct(draw, train + test)
    target = np.array([int(np.argmax(s == 1) < np.argmax(s == 2)) for s in drawn], dtype=object)
    tokens = [s.astype(str).astype(object) for s in drawn]
    return make_splits("token-order", tokens, target, make_layout("tokens"), train)


def make_running_parity(
    seed: int,
    *,
    T: Annotated[int, Ge(5), Le(100_000), Help("steps of the longest sequence")] = 20,
    stretch: Stretch = 1,
    train: Train = 800,
    test: Test = 200,
) -> tuple[Dataset, Dataset]:
    """5 to T random bits; each step has a label: 1 if the ones so far are odd in number, else 0.

    No sequence occurs twice, so at most 32 have length 5, and most of these are in the
    training split. With `stretch` above 1 the test sequences have more than T and up to
    stretch * T bits.
    """
    rng = np.random.default_rng(seed)

    def draw(shortest: int, longest: int, count: int) -> list[NDArray[Any]]:
        return draw_distinct(
            lambda: rng.integers(2, size=rng.integers(shortest, longest + 1)), count
        )

    if stretch == 1:
        bits = draw(5, T, train + test)
    else:
        bits = draw(5, T, train) + draw(T + 1, stretch * T, test)
    target = Ragged.from_list([(np.cumsum(s) % 2).astype(object) for s in bits])
    inputs = [s[:, None].astype(np.float64) for s in bits]
    described = make_layout("numbers", ["bit"], per_step=True)
    return make_splits("running-parity", inputs, target, described, train)


def make_waves(seed: int, *, train: Train = 800, test: Test = 200) -> tuple[Dataset, Dataset]:
    """Noisy waves of 20 to 50 steps; the class is the shape: sawtooth, sine or square.

    Phase and period (8 to 16 steps) are random, and all shapes have mean 0 and variance 1, so
    that a single step reveals little. The noise is normal, with standard deviation 0.25.
    """
    rng = np.random.default_rng(seed)
    target = np.array(rng.choice(WAVES, size=train + test).tolist(), dtype=object)

    def draw(shape: str) -> NDArray[np.float64]:
        steps = np.arange(rng.integers(20, 51))
        turns = rng.random() + steps / rng.uniform(8, 16)
        if shape == "sine":
            wave = np.sqrt(2) * np.sin(2 * np.pi * turns)
        elif shape == "square":
            wave = np.where(turns % 1 < 0.5, 1.0, -1.0)
        else:
            # Factors sqrt(2) and sqrt(3) give each shape variance 1; otherwise the amplitude
            # would distinguish them.
            wave = np.sqrt(3) * (2 * (turns % 1) - 1)
        # Rounded because the last bit of a sine depends on the processor.
        noisy: NDArray[np.float64] = np.round(wave + rng.normal(0, 0.25, len(steps)), 4)
        return noisy[:, None]

    return make_splits(
        "waves", [draw(s) for s in target], target, make_layout("numbers", ["height"]), train
    )


def make_digits(seed: int) -> tuple[Dataset, Dataset]:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels from 0 to 16, read from top to bottom.

    Returns: 1,437 and 360 digits, every class in the same proportion in both. A sequence is
        8 steps, the rows of the image, of 8 channels.
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
    """The same digits and splits as `digits`, one pixel a step: 64 steps of one channel.

    `permuted` shuffles the pixels, in the same way for all digits, so that neighbouring pixels are
    far apart in the sequence.

    Source: Le, Jaitly & Hinton 2015, arXiv:1504.00941, there with the 784 pixels of MNIST.
    """
    pixels = np.arange(64)
    if order == "permuted":
        # A separate random stream: the splits are those of `rows`.
        pixels = np.random.default_rng([seed, 64]).permutation(64)
    return _split("sequential-digits", seed, pixels, ["pixel"])


def _split(
    name: str, seed: int, pixels: np.ndarray | None, channels: list[str]
) -> tuple[Dataset, Dataset]:
    """Return stratified splits; `pixels` is the order of 64 steps, None means 8 rows of 8."""
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
        layout=make_layout("numbers", channels),
    )
    return data.take(train), data.take(test)
