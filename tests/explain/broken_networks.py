"""Networks, data and trainings broken on purpose, each with the first finding and its remedy.

`BROKEN` is the table: a name, a function that returns what `doctor` is given, the names of findings
that may come first, and a word of the remedy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from doctor_cases import sums, waves, words

from elman import SequenceClassifier, SequenceRegressor

Given = tuple[Any, Any, Any, Any]  # model, X, y, held_out
QUICK = {"epochs": 25, "hidden_size": 12, "random_state": 0}


@dataclass(frozen=True)
class Broken:
    """A broken network.

    Args:
        make: returns model, X, y and held_out.
        first: names of findings of which one must come first.
        remedy: a word of its remedy, or of its message.
        verdict: of the score; None where several would be right.
        sampled: whether it is in the sample that CI runs.
    """

    make: Callable[[], Given]
    first: tuple[str, ...]
    remedy: str
    verdict: str | None = None
    sampled: bool = False


BROKEN: dict[str, Broken] = {}


def broken(
    *first: str, remedy: str, verdict: str | None = None, sampled: bool = False
) -> Callable[[Callable[[], Given]], Callable[[], Given]]:
    """Enter a function into the table under its name."""

    def enter(make: Callable[[], Given]) -> Callable[[], Given]:
        BROKEN[make.__name__] = Broken(make, first, remedy, verdict, sampled)
        return make

    return enter


def fit(kind: type[Any], X: Any, y: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**{**QUICK, **options}).fit(X, y)


def pulses(n: int = 120, seed: int = 0, steps: int = 24) -> tuple[list[Any], list[str]]:
    """Three channels: a bump, early or late, and two of noise around other levels."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for i in range(n):
        late = i % 2
        a = rng.normal(0, 0.2, steps)
        at = int(rng.integers(2, 8)) + (12 if late else 0)
        a[at : at + 4] += 2
        X.append(np.stack([a, rng.normal(0, 1, steps) * 0.5 + 3, rng.normal(0, 1, steps) + 10], 1))
        y.append("late" if late else "early")
    return X, y


def classified(X: Any, y: Any, held_out: Any, **options: Any) -> Given:
    return fit(SequenceClassifier, X, y, **options), X, y, held_out


# --- labels


@broken("no_signal", remedy="belongs to its sequence", verdict="overfits", sampled=True)
def shuffled_labels_memorised():
    X, y = waves(80)
    y = list(np.random.default_rng(1).permutation(y))
    options = {"epochs": 100, "hidden_size": 24, "noise": 0, "weight_decay": 0.0, "dropout": 0.0}
    new, labels = waves(80, seed=1)
    return classified(X, y, (new, list(np.random.default_rng(2).permutation(labels))), **options)


@broken("no_signal", remedy="belongs to its sequence", verdict="learnt nothing")
def shuffled_labels_not_memorised():
    X, y = pulses(150)
    y = list(np.random.default_rng(1).permutation(y))
    new, labels = pulses(100, seed=1)
    return classified(X, y, (new, list(np.random.default_rng(2).permutation(labels))), epochs=8)


@broken("labels_shifted", remedy="Move the labels by 1 row", sampled=True)
def labels_off_by_one_row():
    rng = np.random.default_rng(5)
    order = rng.permutation(160)
    X, y = (list(v) for v in waves(160))
    X, y = [X[i] for i in order], [y[i] for i in order]
    y = [*y[1:], y[0]]
    return classified(X[:110], y[:110], (X[110:], y[110:]), epochs=40)


@broken("labels_shifted", remedy="Move the labels by 2 rows")
def labels_off_by_two_rows_of_words():
    rng = np.random.default_rng(5)
    order = rng.permutation(200)
    X, y = words(200)
    X, y = [X[i] for i in order], [y[i] for i in order]
    y = [y[-2], y[-1], *y[:-2]]
    return classified(X[:140], y[:140], (X[140:], y[140:]), epochs=15)


@broken("held_out_labels_shifted", remedy="Move the labels by 1 row")
def held_out_labels_off_by_one_row():
    X, y = waves(80)
    rng = np.random.default_rng(5)
    new, labels = waves(80, seed=1)
    order = rng.permutation(80)
    new, labels = [new[i] for i in order], [labels[i] for i in order]
    return classified(X, y, (new, [*labels[1:], labels[0]]), epochs=40)


@broken("exchanged_labels", remedy="coded", sampled=True)
def held_out_labels_exchanged():
    X, y = words(100)
    new, labels = words(80, seed=1)
    other = {"ab": "yz", "yz": "ab"}
    return classified(X, y, (new, [other[label] for label in labels]))


@broken("conflicting_labels", remedy="which label is right")
def equal_sequences_with_different_labels():
    X, y = waves(60)
    other = {"slow": "fast", "fast": "slow"}
    X, y = X + [x.copy() for x in X[:40]], y + [other[v] for v in y[:40]]
    return classified(X, y, waves(60, seed=1), epochs=40)


@broken("rare_classes", remedy="Collect more examples", sampled=True)
def class_with_three_examples():
    X, y = waves(100)
    rng = np.random.default_rng(3)
    rare = [x + rng.normal(0, 0.3, x.shape) for x in X[:3]]
    new, labels = waves(60, seed=1)
    some = [x + rng.normal(0, 0.3, x.shape) for x in new[:4]]
    return classified(X + rare, y + ["odd"] * 3, (new + some, labels + ["odd"] * 4), epochs=40)


def _pulses_of(early: int, late: int, seed: int) -> tuple[list[Any], list[str]]:
    X, y = pulses(2 * max(early, late), seed)
    rng = np.random.default_rng(seed + 50)
    chosen = [i for i, v in enumerate(y) if v == "early"][:early]
    chosen += [i for i, v in enumerate(y) if v == "late"][:late]
    chosen = list(rng.permutation(chosen))
    return [X[i] for i in chosen], [y[i] for i in chosen]


@broken("unbalanced_classes", remedy="class_weight 'balanced'", sampled=True)
def fourteen_of_three_hundred():
    X, y = _pulses_of(14, 295, 0)
    return classified(X, y, _pulses_of(8, 150, 1), epochs=8, hidden_size=6, weight_decay=1.0)


@broken("unbalanced_classes", remedy="has its weight already")
def unbalanced_although_weighted():
    X, y = _pulses_of(20, 280, 0)
    weight = {"early": 1.5, "late": 1.0}
    model = fit(SequenceClassifier, X, y, epochs=8, hidden_size=6, class_weight=weight)
    return model, X, y, _pulses_of(12, 150, 1)


@broken("numeric_classes", remedy="SequenceRegressor", sampled=True)
def numbers_as_classes():
    rng = np.random.default_rng(0)

    def draw(n):
        X = [rng.normal(0, 1, (12, 2)) + rng.uniform(-4, 4) for _ in range(n)]
        return X, [round(10 * x[:, 0].mean()) // 2 for x in X]

    X, y = draw(200)
    new, labels = draw(200)
    kept = [i for i, v in enumerate(labels) if v in set(y)]
    return classified(X, y, ([new[i] for i in kept], [labels[i] for i in kept]))


@broken("label_is_length", remedy="cut all sequences alike", sampled=True)
def label_is_the_length():
    rng = np.random.default_rng(0)

    def draw(n):
        lengths = rng.integers(8, 30, n)
        return [rng.normal(size=(k, 2)) for k in lengths], ["long" if k > 18 else "short"
            for k in lengths]  # fmt: skip

    return classified(*draw(120), draw(80))


@broken("label_in_input", remedy="Leave it out of the values")
def label_as_a_channel():
    def draw(n, seed):
        X, y = waves(n, seed)
        return [np.column_stack([x, np.full(len(x), 7.0 if v == "slow" else 3.0)])
                for x, v in zip(X, y, strict=True)], y  # fmt: skip

    return classified(*draw(80, 0), draw(60, 1))


@broken("label_suspects", "conflicting_labels", remedy="Check these labels")
def a_tenth_of_the_labels_is_wrong():
    X, y = words(160)
    other = {"ab": "yz", "yz": "ab"}
    y = [other[v] if i % 12 == 0 else v for i, v in enumerate(y)]
    return classified(X, y, words(80, seed=1), epochs=12)


@broken("skewed_target", remedy="logarithms", sampled=True)
def log_normal_target():
    X, y = sums(150)
    new, values = sums(80, seed=1)
    return (
        fit(SequenceRegressor, X, list(np.exp(3 * np.array(y))), epochs=8),
        X,
        list(np.exp(3 * np.array(y))),
        (new, list(np.exp(3 * np.array(values)))),
    )


@broken("target_outliers", remedy="loss 'huber' or 'absolute'")
def outliers_in_the_target():
    X, y = sums(120)
    rng = np.random.default_rng(0)
    for i in rng.choice(120, 4, replace=False):
        y[i] += 4000 * rng.choice([-1, 1])
    return fit(SequenceRegressor, X, y, epochs=20), X, y, sums(60, seed=1)


@broken("no_signal", remedy="may not hold the answer")
def pure_noise():
    rng = np.random.default_rng(0)

    def draw(n):
        return [rng.normal(size=(15, 3)) for _ in range(n)], list(rng.integers(0, 2, n))

    return classified(*draw(150), draw(100), epochs=15)


@broken("no_signal", remedy="belongs to its sequence")
def noise_as_a_target():
    rng = np.random.default_rng(0)

    def draw(n):
        return [rng.normal(size=(15, 3)) for _ in range(n)], list(rng.normal(size=n))

    X, y = draw(120)
    return fit(SequenceRegressor, X, y, epochs=60, hidden_size=24), X, y, draw(100)


# --- the held-out split


@broken("label_in_training_only", remedy="leave it out", verdict="held-out data differ",
        sampled=True)  # fmt: skip
def channel_that_leaks_in_training_only():
    rng = np.random.default_rng(0)

    def draw(n, seed, leaks):
        X, y = waves(n, seed)
        codes = [1.0 if v == "slow" else -1.0 for v in y]
        codes = codes if leaks else list(rng.permutation(codes))
        return [np.column_stack([rng.normal(size=x.shape), rng.normal(c, 0.3, len(x))])
                for x, c in zip(X, codes, strict=True)], y  # fmt: skip

    return classified(*draw(100, 0, True), draw(100, 1, False))


@broken("label_in_training_only", "held_out_shift", remedy="")
def channel_that_leaks_and_is_zero_later():
    rng = np.random.default_rng(0)

    def draw(n, seed, leaks):
        X, y = waves(n, seed)
        return [np.column_stack([rng.normal(size=x.shape),
                                 rng.normal(1.0 if v == "slow" else -1.0, 0.2, len(x)) * leaks])
                for x, v in zip(X, y, strict=True)], y  # fmt: skip

    return classified(*draw(100, 0, 1), draw(100, 1, 0))


@broken("shifted_channels", remedy="unit, device or calibration",
        verdict="held-out data differ", sampled=True)  # fmt: skip
def held_out_offset():
    X, y = pulses(120)
    new, labels = pulses(80, seed=1)
    return classified(X, y, ([x + np.array([40.0, 0, 0]) for x in new], labels))


@broken("shifted_channels", remedy="unit, device or calibration")
def held_out_in_thousandths():
    X, y = pulses(120)
    new, labels = pulses(80, seed=1)
    return classified(X, y, ([x / 1000 for x in new], labels))


@broken("exchanged_channels", "shifted_channels", remedy="order of the training data",
        verdict="held-out data differ", sampled=True)  # fmt: skip
def held_out_channels_permuted():
    def draw(n, seed):
        rng = np.random.default_rng(seed)
        X, y = [], []
        for i in range(n):
            x = rng.normal(size=(20, 4))
            x[:, 1] += 1.5 if i % 2 else -1.5
            X.append(x)
            y.append("up" if i % 2 else "down")
        return X, y

    X, y = draw(100, 0)
    new, labels = draw(80, 1)
    return classified(X, y, ([x[:, [3, 2, 1, 0]] for x in new], labels))


@broken("reversed_steps", remedy="Order the steps", verdict="held-out data differ", sampled=True)
def held_out_reversed_in_time():
    X, y = pulses(120)
    new, labels = pulses(80, seed=1)
    return classified(X, y, ([x[::-1].copy() for x in new], labels), epochs=40)


@broken("unknown_tokens", remedy="upper and lower case", sampled=True)
def unknown_tokens_later():
    X, y = words(120)
    new, labels = words(80, seed=1)
    return classified(X, y, ([w.upper()[:-1] + w[-1] for w in new], labels))


@broken("leakage", remedy="group 'content'", sampled=True)
def held_out_in_training():
    X, y = waves(80)
    new, labels = waves(60, seed=1)
    return classified(X, y, ([*new, *[x.copy() for x in X[:20]]], [*labels, *y[:20]]))


@broken("near_duplicates", remedy="group", sampled=True)
def near_duplicates_across_the_split():
    rng = np.random.default_rng(0)
    X, y = pulses(120)
    new, labels = pulses(60, seed=1)
    copies = [x + rng.normal(0, 0.003, x.shape) for x in X[:25]]
    return classified(X, y, ([*new, *copies], [*labels, *y[:25]]))


@broken("overlapping_sequences", remedy="windows afterwards", sampled=True)
def overlapping_windows_across_the_split():
    rng = np.random.default_rng(0)
    series = rng.normal(size=(1400, 2)).cumsum(0) * 0.1 + rng.normal(size=(1400, 2))
    starts = np.arange(0, 1360, 8)
    X = [series[s : s + 40] for s in starts]
    y = ["up" if x[-1, 0] > x[0, 0] else "down" for x in X]
    test = np.arange(len(X)) % 4 == 0
    return classified(
        [x for x, t in zip(X, test, strict=True) if not t],
        [v for v, t in zip(y, test, strict=True) if not t],
        ([x for x, t in zip(X, test, strict=True) if t],
         [v for v, t in zip(y, test, strict=True) if t]),
    )  # fmt: skip


@broken("held_out_shift", remedy="same source")
def held_out_noise_instead_of_signal():
    X, y = pulses(120)
    rng = np.random.default_rng(0)
    new, labels = pulses(80, seed=1)
    return classified(X, y, ([rng.normal(0, 3, x.shape) for x in new], labels))


@broken("held_out_shift", remedy="same source", sampled=True)
def held_out_lengths_differ():
    rng = np.random.default_rng(0)

    def draw(n, low, high):
        X = [rng.normal(size=(k, 1)) + rng.choice([-0.6, 0.6]) for k in rng.integers(low, high, n)]
        return X, ["up" if x.sum() > 0 else "down" for x in X]

    X, y = draw(150, 15, 20)
    new, _ = draw(80, 2, 4)
    labels = ["down" if x.sum() > 0 else "up" for x in new]
    labels[::3] = ["up" if x.sum() > 0 else "down" for x in new[::3]]
    return classified(X, y, (new, labels))


@broken("label_shares", "unbalanced_classes", remedy="")
def other_class_shares_later():
    X, y = _pulses_of(20, 150, 0)
    return classified(X, y, _pulses_of(90, 10, 1), epochs=9, hidden_size=6)


# --- values


@broken("spikes", remedy="numpy.clip", sampled=True)
def spikes():
    rng = np.random.default_rng(0)

    def draw(n, seed):
        X, y = pulses(n, seed)
        for x in X:
            for c in range(3):
                if rng.random() < 0.1:
                    x[rng.integers(0, len(x)), c] += 1e5
        return X, y

    return classified(*draw(120, 0), draw(80, 1))


@broken("missing_codes", remedy="missing value", sampled=True)
def minus_999_for_a_gap():
    rng = np.random.default_rng(0)

    def draw(n, seed):
        X, y = pulses(n, seed)
        for x in X:
            x[rng.random(x.shape) < 0.05] = -999
        return X, y

    return classified(*draw(120, 0), draw(80, 1))


@broken("missing_codes", remedy="missing value")
def zeros_for_a_gap():
    rng = np.random.default_rng(0)

    def draw(n, seed):
        X, y = pulses(n, seed)
        X = [x + 300.0 for x in X]
        for x in X:
            x[rng.random(x.shape) < 0.03] = 0
        return X, y

    return classified(*draw(120, 0), draw(80, 1))


@broken("mixed_units", remedy="one unit", sampled=True)
def half_in_other_units():
    def draw(n, seed):
        X, y = pulses(n, seed)
        return [x * (1000.0 if (i // 2) % 2 else 1.0) for i, x in enumerate(X)], y

    return classified(*draw(120, 0), draw(80, 1), epochs=10)


@broken("unscaled_inputs", remedy="scale=True", sampled=True)
def unscaled_inputs():
    X, y = pulses(100)
    new, labels = pulses(60, seed=1)
    return classified([1000 * x for x in X], y, ([1000 * x for x in new], labels), scale=False,
                      cell="rnn", noise=0)  # fmt: skip


@broken("padded_sequences", "learnt_nothing", "stopped_too_early", remedy="")
def padding_in_the_data():
    def draw(n, seed):
        X, y = waves(n, seed)
        return [np.concatenate([x, np.zeros((60 - len(x), 2))]) for x in X], y

    return classified(*draw(80, 0), draw(60, 1), epochs=20, hidden_size=6, readout="last",
                      bidirectional=False)  # fmt: skip


@broken("single_tokens", remedy="Cut the text into tokens", sampled=True)
def sentence_as_one_token():
    def draw(n, seed):
        X, y = words(n, seed)
        return [[w] for w in X], y

    return classified(*draw(100, 0), draw(60, 1))


@broken("short_sequences", remedy="id")
def one_step_each():
    rng = np.random.default_rng(0)

    def draw(n):
        X = [rng.normal(size=(1, 2)) for _ in range(n)]
        return X, [int(v) for v in rng.integers(0, 2, n)]

    return classified(*draw(100), draw(60))
