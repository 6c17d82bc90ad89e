"""Tasks of memory: the relevant inputs came long ago, and what came since is noise."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from elman.data.builtin.task import Test, Train, distinct, layout, parts, tokens
from elman.data.dataset import Dataset
from elman.data.ragged import Ragged, to_objects
from elman.validation import Help

BLANK, GO = "-", ":"


def make_adding(
    seed: int,
    *,
    T: Annotated[int, Ge(2), Le(100_000), Help("steps")] = 100,
    train: Train = 5000,
    test: Test = 1000,
) -> tuple[Dataset, Dataset]:
    """The sum of two numbers among T that a mark points to: a number a sequence to predict.

    Each step has a number, uniform in [0, 1), and a mark, 1 at a random step of the first half and
    at one of the second, else 0. The constant prediction 1 has a mean squared error of 1/6, a root
    of 0.408: the variance of the sum of two such numbers.

    Source: Hochreiter & Schmidhuber 1997, experiment 4; in this form Arjovsky, Shah & Bengio 2016,
        arXiv:1511.06464, with T from 100 to 750 and 100,000 sequences.
    """
    rng = np.random.default_rng(seed)
    count = train + test
    numbers, marks = rng.random((count, T)), np.zeros((count, T))
    places = np.stack([rng.integers(T // 2, size=count), rng.integers(T // 2, T, size=count)], 1)
    np.put_along_axis(marks, places, 1.0, axis=1)
    target = np.take_along_axis(numbers, places, axis=1).sum(axis=1)
    inputs = list(np.stack([numbers, marks], axis=2))
    return parts("adding", inputs, target, layout("numbers", ["number", "mark"]), train)


def make_copy_memory(
    seed: int,
    *,
    T: Annotated[
        int, Ge(1), Le(100_000), Help("steps for which the symbols must be remembered")
    ] = 20,
    items: Annotated[int, Ge(1), Le(1000), Help("symbols to remember")] = 10,
    symbols: Annotated[int, Ge(2), Le(9), Help("different symbols")] = 8,
    train: Train = 4000,
    test: Test = 500,
) -> tuple[Dataset, Dataset]:
    """Repeat, after T steps, the symbols that came first. T + 2 * items steps.

        step    1 ... items      then T - 1   then 1   then items
        input   random symbols   -            :        -
        label   -                -            -        the symbols in their order

    No two sequences have the same symbols. Without memory the best is to predict `-` for T + items
    steps and to guess then: a log loss of items * log(symbols) / (T + 2 * items), an accuracy of
    (T + items + items / symbols) / (T + 2 * items).

    Source: Hochreiter & Schmidhuber 1997; in this form Arjovsky, Shah & Bengio 2016,
        arXiv:1511.06464, with items 10, symbols 8 and T 100 to 500.
    """
    rng = np.random.default_rng(seed)
    drawn = distinct(lambda: rng.integers(1, symbols + 1, size=items), train + test)
    words = [tokens(s.astype(str).tolist()) for s in drawn]
    wait, hush = tokens(BLANK * (T - 1) + GO + BLANK * items), tokens(BLANK * (T + items))
    inputs = [np.concatenate([word, wait]) for word in words]
    target = Ragged.from_list([np.concatenate([hush, word]) for word in words])
    return parts("copy-memory", inputs, target, layout("tokens", per_step=True), train)


def make_temporal_order(
    seed: int,
    *,
    T: Annotated[int, Ge(10), Le(100_000), Help("steps of the shortest sequence")] = 100,
    symbols: Annotated[int, Ge(2), Le(3), Help("symbols to remember")] = 2,
    train: Train = 2000,
    test: Test = 500,
) -> tuple[Dataset, Dataset]:
    """Tell in which order X and Y came, long ago and among noise.

    T to 1.1 T tokens: E, then a, b, c or d by chance, at last B. At two steps (or three) stands X
    or Y instead: between 0.1 T and 0.2 T, and between 0.5 T and 0.6 T (0.33 T and 0.43 T, 0.66 T
    and 0.76 T). The class is what stood there: XX, XY, YX or YY (eight classes for three). A
    model that counts X and ignores the order is right three times in four (once in two for three).

    Source: Hochreiter & Schmidhuber 1997, experiments 6a and 6b, there with T = 100 and the classes
        called Q, R, S, U (and V, A, B, C).
    """
    rng = np.random.default_rng(seed)
    spans = [(10, 20), (50, 60)] if symbols == 2 else [(10, 20), (33, 43), (66, 76)]

    def draw() -> NDArray[Any]:
        places = [int(rng.integers(T * low // 100, T * high // 100 + 1)) for low, high in spans]
        sequence = rng.choice(np.array(list("abcd")), size=rng.integers(T, T + T // 10 + 1))
        sequence[0], sequence[-1] = "E", "B"
        sequence[places] = rng.choice(np.array(["X", "Y"]), size=symbols)
        return sequence.astype(object)

    drawn = distinct(draw, train + test)
    target = to_objects(["".join(t for t in s if t in "XY") for s in drawn])
    return parts("temporal-order", drawn, target, layout("tokens"), train)
