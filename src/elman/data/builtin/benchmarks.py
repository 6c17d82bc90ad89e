"""Published tasks: long memory, a regular language, counting, and nesting.

Two of them ask at every step which symbols may come next, as the papers do. The papers have one
output per symbol; here the set of legal symbols is one label, `ST` for S or T, which is
equivalent: a string is accepted if the whole set is correct at every step.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from elman.data.builtin.simple import (
    Test,
    Train,
    draw_distinct,
    make_layout,
    make_splits,
    to_tokens,
)
from elman.data.dataset import Dataset
from elman.data.ragged import Ragged, to_objects
from elman.errors import SettingsError
from elman.validation import Help

# State -> symbol -> next state. State 7 is the end.
REBER: dict[int, dict[str, int]] = {
    0: {"B": 1},
    1: {"T": 2, "P": 3},
    2: {"S": 2, "X": 4},
    3: {"T": 3, "V": 5},
    4: {"X": 3, "S": 6},
    5: {"P": 4, "V": 6},
    6: {"E": 7},
}
Steps = NDArray[np.int64]
Tokens = NDArray[np.object_]
PAIRS = ("()", "[]", "{}")

BLANK, GO = "-", ":"  # of copy-memory


def make_adding(
    seed: int,
    *,
    T: Annotated[int, Ge(2), Le(100_000), Help("steps")] = 100,
    train: Train = 5000,
    test: Test = 1000,
) -> tuple[Dataset, Dataset]:
    """Predict the sum of the two numbers among T that are marked: regression, one per sequence.

    Each step has a number, uniform in [0, 1), and a mark: 1 at one random step of each half, else
    0. The constant prediction 1 has a mean squared error of 1/6, the variance of the sum of two
    such numbers, and an RMSE of 0.408.

    Source: Hochreiter & Schmidhuber 1997, experiment 4; in this form Arjovsky, Shah & Bengio 2016,
        arXiv:1511.06464, with T from 100 to 750 and 100,000 sequences.
    """
    rng = np.random.default_rng(seed)
    count = train + test
    numbers, marks = rng.random((count, T)), np.zeros((count, T))
    # One mark in each half, as in Arjovsky et al.: the shorter lag is 1 step, the longest T - 1.
    places = np.stack([rng.integers(T // 2, size=count), rng.integers(T // 2, T, size=count)], 1)
    np.put_along_axis(marks, places, 1.0, axis=1)
    target = np.take_along_axis(numbers, places, axis=1).sum(axis=1)
    inputs = list(np.stack([numbers, marks], axis=2))
    return make_splits("adding", inputs, target, make_layout("numbers", ["number", "mark"]), train)


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

    No two sequences have the same symbols. The best memoryless model predicts `-` for T + items
    steps and guesses afterwards, with a log loss of items * log(symbols) / (T + 2 * items) and
    an accuracy of (T + items + items / symbols) / (T + 2 * items).

    Source: Hochreiter & Schmidhuber 1997; in this form Arjovsky, Shah & Bengio 2016,
        arXiv:1511.06464, with items 10, symbols 8 and T 100 to 500.
    """
    rng = np.random.default_rng(seed)
    drawn = draw_distinct(lambda: rng.integers(1, symbols + 1, size=items), train + test)
    words = [to_tokens(s.astype(str).tolist()) for s in drawn]
    wait, hush = to_tokens(BLANK * (T - 1) + GO + BLANK * items), to_tokens(BLANK * (T + items))
    inputs = [np.concatenate([word, wait]) for word in words]
    target = Ragged.from_list([np.concatenate([hush, word]) for word in words])
    return make_splits("copy-memory", inputs, target, make_layout("tokens", per_step=True), train)


def make_temporal_order(
    seed: int,
    *,
    T: Annotated[int, Ge(10), Le(100_000), Help("steps of the shortest sequence")] = 100,
    symbols: Annotated[int, Ge(2), Le(3), Help("symbols to remember")] = 2,
    train: Train = 2000,
    test: Test = 500,
) -> tuple[Dataset, Dataset]:
    """Classify the order in which X and Y occurred, long ago and among noise.

    T to 1.1 T tokens: E, then a, b, c or d at random, and finally B. Two (or three) of them are
    X or Y instead: between 0.1 T and 0.2 T, and between 0.5 T and 0.6 T (0.33 T and 0.43 T, 0.66 T
    and 0.76 T). The class is the sequence of these symbols: XX, XY, YX or YY (eight classes for
    three). A model that counts X but ignores the order has accuracy 3/4 (1/2 for three).

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

    drawn = draw_distinct(draw, train + test)
    target = to_objects(["".join(t for t in s if t in "XY") for s in drawn])
    return make_splits("temporal-order", drawn, target, make_layout("tokens"), train)


def make_reber(seed: int, *, train: Train = 1000, test: Test = 250) -> tuple[Dataset, Dataset]:
    """Predict which symbols may come next at every step of an embedded Reber string.

    The grammar is B T (Reber string) T E or B P (Reber string) P E: the last symbol but one
    equals the second, which must be remembered. The last E is not part of the input, since nothing
    follows it. If two symbols may come next, both are equally likely. No string occurs twice.

    A model of the Reber grammar without the embedding is correct at all steps but one, where it is
    correct half the time.

    Source: Reber 1967, doi:10.1016/S0022-5371(67)80149-X; embedded: Fahlman 1991 (NIPS 3); in the
        set-up of Hochreiter & Schmidhuber 1997, experiment 1, there with 256 and 256 strings.
    """
    rng = np.random.default_rng(seed)

    def inner() -> tuple[str, list[str]]:
        """Return a Reber string, and the symbols that may follow each of its symbols."""
        state, string, follow = 0, "", []
        while state != 7:
            # Not rng.choice, which draws different random numbers: a seed must keep producing
            # the same strings.
            symbol = list(REBER[state])[int(rng.random() * len(REBER[state]))]
            state = REBER[state][symbol]
            string += symbol
            follow.append("".join(sorted(REBER.get(state, ()))))
        return string, follow

    follows: dict[str, list[str]] = {}

    def draw() -> Tokens:
        outer = "TP"[rng.integers(2)]
        string, follow = inner()
        whole = f"B{outer}{string}{outer}"
        follows[whole] = ["PT", "B", *follow[:-1], outer, "E"]
        return to_tokens(whole)

    drawn = draw_distinct(draw, train + test)
    # Likely strings come first, so shuffle them to give both splits the same distribution.
    mixed = [drawn[i] for i in rng.permutation(len(drawn))]
    target = Ragged.from_list([to_objects(follows["".join(s)]) for s in mixed])
    return make_splits("reber", mixed, target, make_layout("tokens", per_step=True), train)


def make_anbn(
    seed: int,
    *,
    n: Annotated[
        int, Ge(1), Le(1000), Help("the training strings have 1 to n of each letter")
    ] = 10,
    stretch: Annotated[int, Ge(2), Le(100), Help("the test strings have up to stretch * n")] = 2,
    letters: Annotated[int, Ge(2), Le(4), Help("2 for a^n b^n, 3 for a^n b^n c^n, and 4")] = 2,
    train: Train = 500,
) -> tuple[Dataset, Dataset]:
    """Predict which symbols may come next at every step of S a^n b^n; T is the end.

    The training split has `train` strings with counts drawn from 1 to n, so strings repeat. The
    test split has each count from n + 1 to stretch * n once, all longer than the training strings.
    A model that knows only the current letter is wrong where a letter ends, at letters - 1 steps
    of each string, and gets no string entirely right.

    Source: Gers & Schmidhuber 2001, doi:10.1109/72.963769, with peephole LSTM cells; a^n b^n with
        n to 10 and tests to 1000.
    """
    names = "abcd"[:letters]
    after = {names[i]: names[i + 1] for i in range(letters - 1)} | {names[-1]: "T"}

    def string(count: int) -> Tokens:
        return to_tokens("S" + "".join(letter * count for letter in names))

    def follow(count: int) -> Tokens:
        known = ["a"] + ["ab"] * count
        for letter in names[1:]:
            known += [letter] * (count - 1) + [after[letter]]
        return to_objects(known)

    counts = np.random.default_rng(seed).integers(1, n + 1, size=train).tolist()
    counts += range(n + 1, stretch * n + 1)
    return make_splits(
        "anbn",
        [string(count) for count in counts],
        Ragged.from_list([follow(count) for count in counts]),
        make_layout("tokens", per_step=True),
        train,
    )


def make_brackets(
    seed: int,
    *,
    kinds: Annotated[
        int, Ge(1), Le(3), Help("of brackets: 1 asks for a counter, 2 for a stack")
    ] = 2,
    pairs: Annotated[int, Ge(4), Le(200), Help("largest number of pairs in training")] = 8,
    depth: Annotated[int, Ge(3), Le(200), Help("deepest nesting in training")] = 4,
    stretch: Annotated[
        int,
        Ge(1),
        Le(10),
        Help("above 1, test strings have up to this many times the pairs and depth"),
    ] = 2,
    letters: Annotated[int, Ge(0), Le(4), Help("kinds of letters inserted as noise")] = 4,
    train: Train = 3000,
    test: Test = 500,
) -> tuple[Dataset, Dataset]:
    """Classify whether brackets are balanced: class `yes` or `no`.

    A balanced string is drawn uniformly among those of 4 to `pairs` pairs no deeper than `depth`,
    with random kinds of brackets. Half of the strings are made unbalanced. With one kind, an
    opening bracket is swapped with a later closing one, so that some prefix closes more than it
    opened. With several kinds, two closing brackets of different kinds are swapped, neither of
    which directly follows its opening bracket. Both classes therefore have the same distribution of
    length, bracket counts, first and last symbol and, with several kinds, depth. Only counting, or
    a stack, separates them; guessing has accuracy 1/2. Up to one letter per pair is inserted.

    With `stretch` above 1 the test strings have more than `pairs` and up to stretch * pairs pairs,
    and are deeper than `depth`, no deeper than stretch * depth.

    Source: the Dyck languages (Chomsky & Schützenberger 1963) as in Suzgun et al. 2019,
        arXiv:1906.03648, and 2019, arXiv:1911.03329, who ask for the next bracket.
    """
    if depth > pairs:
        raise SettingsError(
            f"depth: got {depth}, but {pairs} pairs are nested no deeper than {pairs}. Ask for a "
            "smaller depth=, or for more pairs="
        )
    rng = np.random.default_rng(seed)

    def draw(low: int, high: int, above: int, limit: int) -> Tokens:
        for _ in range(1000):
            path = _balanced(rng, int(rng.integers(low, high + 1)), limit)
            kind = _kinds(rng, path, kinds)
            string = [PAIRS[k][int(s < 0)] for s, k in zip(path, kind, strict=True)]
            swaps = _spoiling(string, path, kinds)
            if path.cumsum().max() <= above or not swaps:
                continue
            # Both classes use strings that can be made unbalanced; others would reveal their class.
            spoilt = rng.random() < 0.5
            if spoilt:
                i, j = swaps[rng.integers(len(swaps))]
                string[i], string[j] = string[j], string[i]
            count = int(rng.integers(len(path) // 2 + 1)) if letters else 0
            for place in sorted(rng.integers(len(string) + 1, size=count), reverse=True):
                string.insert(place, "abcd"[rng.integers(letters)])
            return to_tokens(string)
        raise SettingsError(
            f"Brackets more than {above} deep are too rare among {low} to {high} pairs. Ask for a "
            "smaller depth=, or for more pairs="
        )

    drawn = draw_distinct(lambda: draw(4, pairs, 0, depth), train + (test if stretch == 1 else 0))
    mixed = [drawn[i] for i in rng.permutation(len(drawn))]
    if stretch > 1:
        mixed += draw_distinct(
            lambda: draw(pairs + 1, stretch * pairs, depth, stretch * depth), test
        )
    target = to_objects(["yes" if is_balanced(s.tolist()) else "no" for s in mixed])
    return make_splits("brackets", mixed, target, make_layout("tokens"), train)


def is_balanced(string: list[str]) -> bool:
    """Whether every bracket is closed by its own kind, in order. Letters are ignored."""
    opened = []
    closing = {pair[1]: pair[0] for pair in PAIRS}
    for symbol in string:
        if symbol in closing.values():
            opened.append(symbol)
        elif symbol in closing and (not opened or opened.pop() != closing[symbol]):
            return False
    return not opened


@cache
def _ways(steps: int, limit: int) -> NDArray[np.float64]:
    """Return the relative number of ways to close h open brackets in r steps within `limit`.

    Each row is scaled. Row r is for 0 <= r <= steps, column h + 1 for -1 <= h <= limit + 1.
    """
    ways = np.zeros((steps + 1, limit + 3))
    ways[0, 1] = 1
    for r in range(1, steps + 1):
        ways[r, 1:-1] = ways[r - 1, :-2] + ways[r - 1, 2:]
        # The counts are Catalan-like and overflow beyond 500 pairs. Only ratios within a row
        # are used, so rows can be scaled.
        ways[r] /= ways[r].max()
    return ways


# Sampled from counts: rejecting random strings would favour short and flat strings, and take
# exponentially long for deep ones.
def _balanced(rng: np.random.Generator, pairs: int, limit: int) -> Steps:
    """Draw a balanced string uniformly, no deeper than `limit`: (2 * pairs,) of 1 and -1."""
    ways = _ways(2 * pairs, limit)
    path, height = [], 0
    for left in range(2 * pairs - 1, -1, -1):
        down, up = ways[left, height], ways[left, height + 2]
        path.append(1 if rng.random() * (up + down) < up else -1)
        height += path[-1]
    return np.array(path)


def _kinds(rng: np.random.Generator, path: Steps, kinds: int) -> list[int]:
    """Return the kind of each bracket: random where it opens, the same where it closes."""
    opened, found = [], []
    for step in path:
        if step > 0:
            opened.append(int(rng.integers(kinds)))
        found.append(opened[-1] if step > 0 else opened.pop())
    return found


def _spoiling(string: list[str], path: Steps, kinds: int) -> list[tuple[int, int]]:
    """Return pairs of indices; swapping a pair unbalances the string but keeps its statistics."""
    last = len(path) - 1
    if kinds > 1:
        closing = [i for i in range(1, last + 1) if path[i] < 0 and path[i - 1] < 0]
        return [(i, j) for i in closing for j in closing if i < j and string[i] != string[j]]
    depth = path.cumsum()
    # The swap lowers the depth between the two indices by 2. The first and last brackets stay.
    return [
        (i, j)
        for i in range(1, last)
        for j in range(i + 1, last)
        if path[i] > 0 and path[j] < 0 and depth[i:j].min() < 2
    ]
