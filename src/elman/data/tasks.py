"""The built-in tasks: small labelled data sets to try a network on, all but one of them generated.

Each is a training part and a test part, the same for the same seed. The generated ones have 800
and 200 sequences, no two alike, and labels that follow a rule, so that what a network got wrong is
never the data's fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Dataset, Kind, Layout
from elman.data.ragged import Ragged
from elman.errors import SettingsError, nearest

TRAIN, TEST = 800, 200
WAVES = ("sawtooth", "sine", "square")


@dataclass(frozen=True)
class Task:
    """A built-in data set.

    Args:
        name: what the user types.
        summary: one line on what is to be learned.
        make: from a seed to the training part and the test part.
    """

    name: str
    summary: str
    make: Callable[[int], tuple[Dataset, Dataset]]


def load_task(name: str, seed: int) -> tuple[Dataset, Dataset]:
    """Return the training part and the test part of the built-in task `name`.

    Raises: SettingsError for a name that is not in TASKS, and for a negative seed.
    """
    if name not in TASKS:
        raise SettingsError(
            f"There is no task {name!r}.{nearest(name, TASKS)} The tasks are {', '.join(TASKS)}."
        )
    if seed < 0:
        raise SettingsError(f"The seed is {seed}, but must be 0 or a larger whole number.")
    return TASKS[name].make(seed)


def make_digits(seed: int) -> tuple[Dataset, Dataset]:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels from 0 to 16, read from top to bottom.

    Returns: 1,437 and 360 digits, every class in the same proportion in both. A sequence is
        8 steps, the rows of the picture, of 8 channels.
    Source: sklearn.datasets.load_digits (UCI, Alpaydin and Kaynak 1998).
    """
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
    data = Dataset(
        inputs=Ragged.from_list(list(images.reshape(-1, 8, 8)), dtype=np.float64),
        target=digits.astype(object),
        source="digits",
        layout=_layout("numbers", [f"pixel {i}" for i in range(1, 9)]),
    )
    return data.take(train), data.take(test)


def make_sum_threshold(seed: int) -> tuple[Dataset, Dataset]:
    """10 numbers, uniform in [0, 1); class 1 if their sum exceeds 5, else 0."""
    rng = np.random.default_rng(seed)
    numbers = rng.random((TRAIN + TEST, 10))
    target = (numbers.sum(axis=1) > 5).astype(int).astype(object)
    return _split(
        "sum-threshold", list(numbers[:, :, None]), target, _layout("numbers", ["number"])
    )


def make_token_order(seed: int) -> tuple[Dataset, Dataset]:
    """12 tokens of 20; class 1 if token 1 comes before token 2, else 0.

    Tokens 1 and 2 stand exactly once in each sequence, anywhere; the other ten are drawn from the
    other 18.
    """
    rng = np.random.default_rng(seed)
    others = np.array([i for i in range(20) if i not in (1, 2)])

    def draw() -> NDArray[Any]:
        tokens = rng.choice(others, size=12)
        first, second = rng.choice(12, size=2, replace=False)
        tokens[first], tokens[second] = 1, 2
        return tokens

    drawn = _distinct(draw)
    target = np.array([int(np.argmax(s == 1) < np.argmax(s == 2)) for s in drawn], dtype=object)
    tokens = [s.astype(str).astype(object) for s in drawn]
    return _split("token-order", tokens, target, _layout("tokens"))


def make_running_parity(seed: int) -> tuple[Dataset, Dataset]:
    """5 to 20 random bits; each step has a label: 1 if the ones so far are odd in number, else 0.

    No sequence comes twice, so of length 5 there are at most 32.
    """
    rng = np.random.default_rng(seed)
    bits = _distinct(lambda: rng.integers(2, size=rng.integers(5, 21)))
    target = Ragged.from_list([(np.cumsum(s) % 2).astype(object) for s in bits])
    inputs = [s[:, None].astype(np.float64) for s in bits]
    return _split("running-parity", inputs, target, _layout("numbers", ["bit"], per_step=True))


def make_waves(seed: int) -> tuple[Dataset, Dataset]:
    """Noisy waves of 20 to 50 steps; the class is the shape: sawtooth, sine or square.

    Phase and period (8 to 16 steps) are random, and all shapes have mean 0 and variance 1, so
    that one step says little. The noise is normal, with standard deviation 0.25.
    """
    rng = np.random.default_rng(seed)
    target = np.array(rng.choice(WAVES, size=TRAIN + TEST).tolist(), dtype=object)

    def draw(shape: str) -> NDArray[np.float64]:
        steps = np.arange(rng.integers(20, 51))
        turns = rng.random() + steps / rng.uniform(8, 16)
        if shape == "sine":
            wave = np.sqrt(2) * np.sin(2 * np.pi * turns)
        elif shape == "square":
            wave = np.where(turns % 1 < 0.5, 1.0, -1.0)
        else:
            wave = np.sqrt(3) * (2 * (turns % 1) - 1)
        # Rounded because the last bit of a sine depends on the processor.
        noisy: NDArray[np.float64] = np.round(wave + rng.normal(0, 0.25, len(steps)), 4)
        return noisy[:, None]

    return _split("waves", [draw(s) for s in target], target, _layout("numbers", ["height"]))


def _distinct(draw: Callable[[], NDArray[Any]]) -> list[NDArray[Any]]:
    """Draw until there are TRAIN + TEST sequences of which no two are equal."""
    seen: dict[bytes, NDArray[Any]] = {}
    while len(seen) < TRAIN + TEST:
        sequence = draw()
        seen.setdefault(sequence.tobytes(), sequence)
    return list(seen.values())


def _layout(kind: Kind, values: list[str] | None = None, *, per_step: bool = False) -> Layout:
    return Layout(
        format="rows",
        kind=kind,
        target="label",
        per_step=per_step,
        text="tokens" if kind == "tokens" else None,
        values=tuple(values or ()),
    )


def _split(
    name: str, inputs: list[NDArray[Any]], target: NDArray[Any] | Ragged, layout: Layout
) -> tuple[Dataset, Dataset]:
    """The first TRAIN sequences and the rest; they were drawn independently of each other."""
    data = Dataset(inputs=Ragged.from_list(inputs), target=target, source=name, layout=layout)
    index = np.arange(TRAIN + TEST)
    return data.take(index[:TRAIN]), data.take(index[TRAIN:])


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "digits",
            "which handwritten digit, 8 x 8 pixels seen a row at a time (1,797 real scans)",
            make_digits,
        ),
        Task("sum-threshold", "whether 10 numbers add up to more than 5", make_sum_threshold),
        Task(
            "token-order",
            "whether token 1 comes before token 2 among 12 tokens",
            make_token_order,
        ),
        Task(
            "running-parity",
            "at every step, whether the ones so far are odd in number",
            make_running_parity,
        ),
        Task("waves", "the shape of a noisy wave: sawtooth, sine or square", make_waves),
    )
}
