"""Networks and sequences of every kind that is explained, and fitted estimators of every kind."""

import functools
import itertools

import numpy as np
import torch
from cases import CHANNELS, CLASSES, VOCABULARY, make_model

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger

CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
READOUTS = ["last", "mean", "max", "every"]
KINDS = ["numbers", "tokens", "mixed"]
TASKS = ["classification", "multilabel", "regression"]
CATEGORIES = (4, 5)  # of the mixed input's two columns

STACKS = list(itertools.product(CELLS, (1, 2, 3), (False, True)))
STACK_IDS = [f"{c}-{f}-{n}-{'both' if b else 'one'}" for (c, f), n, b in STACKS]


def network(stack, readout="last", kind="numbers", task="classification", seed=0, **options):
    """A small network in float64."""
    (cell, nonlinearity), layers, bidirectional = stack
    sizes = {"category_sizes": CATEGORIES} if kind == "mixed" else {}
    return make_model(
        cell,
        readout,
        tokens=kind == "tokens",
        seed=seed,
        nonlinearity=nonlinearity,
        num_layers=layers,
        bidirectional=bidirectional,
        task=task,
        **sizes,
        **options,
    ).double()


def sequence(kind="numbers", steps=5, seed=0):
    """One sequence as a network of that kind reads it."""
    generator = torch.Generator().manual_seed(seed + 100)
    if kind == "tokens":
        return torch.randint(0, VOCABULARY, (steps,), generator=generator)
    numbers = torch.randn(steps, CHANNELS, generator=generator, dtype=torch.float64)
    if kind == "numbers":
        return numbers
    codes = [torch.randint(0, n, (steps, 1), generator=generator) for n in CATEGORIES]
    return torch.cat([numbers, *(c.double() for c in codes)], -1)


def label(task="classification", readout="last", steps=5, seed=0):
    """A label for `sequence`, as a network learns it."""
    generator = torch.Generator().manual_seed(seed + 200)
    shape = (steps,) if readout == "every" else ()
    if task == "classification":
        return torch.randint(0, CLASSES, shape, generator=generator)
    if task == "multilabel":
        return torch.randint(0, 2, (*shape, CLASSES), generator=generator)
    return torch.randn(*shape, CLASSES, generator=generator, dtype=torch.float64)


@functools.cache
def fitted(what):
    """A fitted estimator with its X and y: `numbers`, `text`, `mixed`, `tags`, `sets`, `values`."""
    rng = np.random.default_rng(0)
    small = {"epochs": 2, "validation": 0, "hidden_size": 5, "random_state": 0}
    lengths = rng.integers(3, 9, 12)
    X = [rng.normal(3, 2, (n, 2)) for n in lengths]
    y = ["up" if x[:, 0].mean() > 3 else "down" for x in X]
    if what == "text":
        X = ["".join(rng.choice(list("abcd"), n)) for n in lengths]
        return SequenceClassifier(**small, num_layers=2).fit(X, y), X, y
    if what == "mixed":
        words = [rng.choice(["red", "blue"], n) for n in lengths]
        X = [
            np.column_stack([x[:, 0], w, x[:, 1]]).astype(object)
            for x, w in zip(X, words, strict=True)
        ]
        for x in X:
            x[:, [0, 2]] = x[:, [0, 2]].astype(float)
        X[0][1, 2] = np.nan
        return SequenceClassifier(**small).fit(X, y), X, y
    if what == "tags":
        y = [["hi" if v > 3 else "lo" for v in x[:, 0]] for x in X]
        return SequenceTagger(**small).fit(X, y), X, y
    if what == "sets":
        y = [{n for n, v in zip("pq", x.mean(0), strict=True) if v > 3} for x in X]
        return SequenceClassifier(**small).fit(X, y), X, y
    if what == "values":
        y = [[100 + x.mean(), 7 * x.std()] for x in X]
        return SequenceRegressor(**small).fit(X, y), X, y
    return SequenceClassifier(**small).fit(X, y), X, y


WHAT = ["numbers", "text", "mixed", "tags", "sets", "values"]


def assert_near(result, expected, close=1e-10):
    """Arrays or tensors have the same shape, and differ by at most `close`."""
    result, expected = (
        values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
        for values in (result, expected)
    )
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() <= close


def assert_near_relative(result, expected, close=1e-10):
    """The same, with `close` relative to the largest expected number if that is above 1."""
    assert_near(result, expected, close * max(1.0, np.abs(np.asarray(expected)).max()))


def panel_titles(figure):
    """The titles of a figure's panels, from the top."""
    return [title for axes in figure.axes if (title := axes.get_title(loc="left"))]
