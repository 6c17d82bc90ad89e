"""The tasks about languages, judged by second implementations of each language."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from elman.data.builtin import load_task
from elman.data.dataset import Dataset
from elman.data.ragged import Ragged

# The Reber grammar as a regular expression: the upper branch loops in S, the lower one in T.
UPPER = "TS*X"  # to the state that reads X or S
LOWER = "T*V"  # from the lower loop to the state that reads P or V
REBER = re.compile(
    f"B(?:{UPPER}(?:X{LOWER}P)*(?:S|X{LOWER}V)|P{LOWER}(?:P(?:X{LOWER}P)*(?:S|X{LOWER}V)|V))E"
)


def strings(data: Dataset) -> list[str]:
    assert isinstance(data.inputs, Ragged)
    return ["".join(s) for s in data.inputs]


def answers(data: Dataset) -> list:
    assert data.target is not None
    return [t.tolist() if isinstance(data.target, Ragged) else t for t in data.target]


def in_reber(string: str) -> bool:
    """Whether a whole string is of the embedded grammar."""
    outer = string[1:2]
    return (
        len(string) > 4
        and string[0] == "B"
        and outer in ("T", "P")
        and string[-2:] == outer + "E"
        and REBER.fullmatch(string[2:-2]) is not None
    )


def test_the_expression_is_the_grammar() -> None:
    """Examples of the literature, and what is nearly one."""
    for good in ("BTXSE", "BPVVE", "BTSSXXTVVE", "BPTVPXTTTVVE", "BTSXXTVPSE", "BPVPXVPSE"):
        assert REBER.fullmatch(good), good
    for bad in ("BTXE", "BPVE", "BTSXSTE", "BPTTXE", "BTXXSE", "BPVPVE"):
        assert not REBER.fullmatch(bad), bad


def test_reber_strings_and_what_may_follow() -> None:
    """A symbol may follow if and only if some string of the data goes on with it."""
    train, test = load_task("reber:train=1500", 0)
    follow: dict[str, set[str]] = {}
    for x in strings(train) + strings(test):
        assert in_reber(x + "E"), x
        for i in range(1, len(x) + 1):
            follow.setdefault(x[:i], set()).add((x + "E")[i])
    common = Counter(x[:i] for x in strings(train) + strings(test) for i in range(1, len(x) + 1))
    checked = 0
    for part in (train, test):
        for x, y in zip(strings(part), answers(part), strict=True):
            assert len(x) == len(y)
            for i, label in enumerate(y, 1):
                assert follow[x[:i]] <= set(label)
                if common[x[:i]] > 25:  # then both that may follow have come
                    assert "".join(sorted(follow[x[:i]])) == label
                    checked += 1
            assert y[-2:] == [x[1], "E"]
    assert checked > 5_000


def test_reber_is_drawn_with_even_chances() -> None:
    """Without repeats a first symbol is T or P half the time; both parts have the same law."""
    train, test = load_task("reber:train=900,test=900", 0)
    for part in (train, test):
        outer = Counter(x[1] for x in strings(part))
        assert abs(outer["T"] - 450) < 4 * 225**0.5
    a, b = (np.array([len(x) for x in strings(part)]) for part in (train, test))
    assert abs(a.mean() - b.mean()) < 4 * (a.var() / 900 + b.var() / 900) ** 0.5


def test_reber_without_memory_of_the_outer_letter() -> None:
    """The inner grammar alone leaves one step a string to chance."""
    _, test = load_task("reber:test=800", 0)
    wrong = [
        sum(said != true for said, true in zip(inner(x), y, strict=True))
        for x, y in zip(strings(test), answers(test), strict=True)
    ]
    assert set(wrong) == {0, 1}
    assert np.mean(wrong) == pytest.approx(0.5, abs=0.07)


def inner(string: str) -> list[str]:
    """What may follow for who reads the inner string by heart, and always says T at its end."""
    said = ["PT", "B"]
    for i in range(3, len(string)):
        head = string[2:i]
        said.append(
            "".join(s for s in "BEPSTVX" if any(REBER.fullmatch(head + s + rest) for rest in TAILS))
        )
    return [*said[: len(string) - 2], "T", "E"]


TAILS = ["", "E", "SE", "VE", "XSE", "VVE", "PSE", "VPSE"]


@pytest.mark.parametrize(("letters", "n", "stretch"), [(2, 10, 2), (3, 6, 4), (4, 1, 3)])
def test_anbn(letters: int, n: int, stretch: int) -> None:
    """After every step, counts alone decide what may follow."""
    train, test = load_task(f"anbn:letters={letters},n={n},stretch={stretch},train=200", 0)
    for part in (train, test):
        for x, y in zip(strings(part), answers(part), strict=True):
            runs = [len(run) for run in re.findall(r"a+|b+|c+|d+", x)]
            assert x[0] == "S" and len(runs) == letters and len(set(runs)) == 1
            assert x[1:] == "".join(sorted(x[1:]))
            for i, label in enumerate(y, 1):
                count = [x[:i].count(letter) for letter in "abcd"[:letters]]
                if not any(count[1:]):
                    expected = "ab" if count[0] else "a"
                else:
                    due = [j for j in range(1, letters) if count[j] < count[0]]
                    expected = "abcd"[due[0]] if due else "T"
                assert label == expected
    assert {x.count("a") for x in strings(train)} == set(range(1, n + 1))
    assert [x.count("a") for x in strings(test)] == list(range(n + 1, stretch * n + 1))


def test_anbn_without_counting() -> None:
    """Who knows the present letter only is wrong at one step of each string."""
    train, test = load_task("anbn", 0)
    best: dict[str, Counter] = {}
    for x, y in zip(strings(train), answers(train), strict=True):
        for symbol, label in zip(x, y, strict=True):
            best.setdefault(symbol, Counter())[label] += 1
    said = {symbol: counts.most_common(1)[0][0] for symbol, counts in best.items()}
    for x, y in zip(strings(test), answers(test), strict=True):
        assert sum(said[symbol] != label for symbol, label in zip(x, y, strict=True)) == 1


def reduced(string: str) -> str:
    """Strike out letters, then neighbouring pairs until there are none."""
    left = re.sub("[a-d]", "", string)
    while left != (left := re.sub(r"\(\)|\[\]|\{\}", "", left)):
        pass
    return left


BRACKETS = [
    "brackets:kinds=1",
    "brackets",
    "brackets:kinds=3,pairs=12,depth=6,stretch=1,letters=0",
]


@pytest.mark.parametrize("asked", BRACKETS)
def test_brackets(asked: str) -> None:
    train, test = load_task(asked, 4)
    limits = {"brackets:kinds=1": (8, 4, 2), "brackets": (8, 4, 2)}.get(asked, (12, 6, 1))
    pairs, depth, stretch = limits
    for part in (train, test):
        longer = stretch if part is test else 1
        sizes, depths = set(), set()
        for x, y in zip(strings(part), answers(part), strict=True):
            assert y == ("no" if reduced(x) else "yes")
            bare = re.sub("[a-d]", "", x)
            assert len(x) <= len(bare) * 1.5
            for a, b in ("()", "[]", "{}"):
                assert bare.count(a) == bare.count(b)
            assert bare[0] in "([{" and bare[-1] in ")]}"
            sizes.add(len(bare) // 2)
            height = np.cumsum([1 if s in "([{" else -1 for s in bare])
            if y == "yes" or "kinds=1" not in asked:
                assert height.min() >= 0
                depths.add(int(height.max()))
        low = 4 if longer == 1 else pairs + 1
        assert sizes == set(range(low, pairs * longer + 1))
        assert max(depths) == depth * longer
        assert min(depths) > (0 if longer == 1 else depth)
        seen = set("".join(strings(part)))
        assert len(seen & set("([{")) == (
            1 if "kinds=1" in asked else 3 if "kinds=3" in asked else 2
        )
        assert len(seen & set("abcd")) == (0 if "letters=0" in asked else 4)


@pytest.mark.parametrize("asked", BRACKETS)
def test_brackets_give_nothing_away(asked: str) -> None:
    """Length, counts, first and last symbols do not tell; neighbours hardly do."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    part, _ = load_task(f"{asked}{',' if ':' in asked else ':'}train=6000,test=1", 0)
    yes = np.array([y == "yes" for y in answers(part)])
    texts = strings(part)

    def learnt(features: np.ndarray) -> float:
        features = (features - features.mean(0)) / (features.std(0) + 1e-9)
        model = LogisticRegression(C=0.1, max_iter=2000).fit(features[:4000], yes[:4000])
        return float(model.score(features[4000:], yes[4000:]))

    symbols = sorted(set("".join(texts)))
    counts = np.array([[x.count(s) for s in symbols] + [len(x)] for x in texts], dtype=float)
    ends = np.array([[x[0] == s for s in symbols] + [x[-1] == s for s in symbols] for x in texts])
    assert learnt(counts) < 0.54  # four standard deviations of 2,000 guesses
    assert learnt(ends.astype(float)) < 0.54
    bare = [re.sub("[a-d]", "", x) for x in texts]
    two = CountVectorizer(analyzer="char", ngram_range=(2, 2)).fit_transform(bare).toarray()
    assert learnt(two.astype(float)) < 0.58


def test_balanced_strings_are_uniform() -> None:
    """All 14 balanced strings of 4 pairs, and the 13 no deeper than 3, equally often."""
    from elman.data.builtin.benchmarks import _balanced

    rng = np.random.default_rng(0)
    for limit, kinds in ((4, 14), (3, 13), (2, 8)):
        drawn = Counter(_balanced(rng, 4, limit).tobytes() for _ in range(500 * kinds))
        assert len(drawn) == kinds
        assert max(abs(count - 500) for count in drawn.values()) < 4 * 500**0.5
    path = _balanced(rng, 2000, 40)
    assert path.sum() == 0 and path.cumsum().min() == 0 and path.cumsum().max() <= 40
