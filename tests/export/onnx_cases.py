"""Estimators of every kind of input, static features, task and network, for tests of exports.

Encoders and targets come from short trainings, which are shared; the networks are new, with random
weights, so that every combination takes milliseconds.
"""

import dataclasses
import functools
import itertools

import numpy as np
import torch

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.models import SequenceModel

CELLS = (("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh"))
KINDS = ("numbers", "gaps", "tokens", "text", "mixed", "categories")
STATIC = (None, "readout", "state", "both")
PER_STEP = ("tags", "step values")
TASKS = ("classes", "labels", "value", "values", *PER_STEP)
READOUTS = ("last", "mean", "max")  # those of a task per step is `every`
AXES = (CELLS, (1, 2, 3), (False, True), KINDS, STATIC, TASKS, READOUTS)
LENGTHS = (3, 5, 4, 6, 3, 7, 5, 4, 6, 3, 4, 5)
WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "ran")


def make_sequences(kind):
    """Twelve short sequences of a kind."""
    random = np.random.default_rng(3)
    if kind in ("numbers", "gaps"):
        # Time stamps lose their digits in float32.
        X = [
            np.column_stack([1.7e9 + 60 * random.random(n), 5 + 3 * random.random(n), np.ones(n)])
            for n in LENGTHS
        ]
        for x in X * (kind == "gaps"):
            x[0, 1] = x[2, 1] = x[1, 2] = np.nan
        return X
    if kind == "tokens":
        return [[f"w{random.integers(9)}" for _ in range(n)] for n in LENGTHS]
    if kind == "text":
        return [" ".join(random.choice(WORDS, n)) for n in LENGTHS]
    table = [
        [
            [None if random.random() < 0.2 else str(v) for v in random.choice(list("abc"), 2)]
            for _ in range(n)
        ]
        for n in LENGTHS
    ]
    table[0][0] = ["a", "b"]
    if kind == "mixed":
        # Numbers around the categories: the second has gaps.
        return [
            [
                [random.random(), row[0], None if t == 1 else 3.5 * t, row[1]]
                for t, row in enumerate(rows)
            ]
            for rows in table
        ]
    return table


def make_static():
    """Static features of these sequences: two numbers, of which one has gaps, two categories."""
    ages = np.random.default_rng(5).uniform(20, 90, len(LENGTHS))
    weights = np.where(np.arange(len(LENGTHS)) % 4, 1.7e9 + ages, np.nan)
    return {"age": ages, "weight": weights, "site": list("abca") * 3, "sex": ["f", None] * 6}


def make_target(task):
    random = np.random.default_rng(4)
    n = len(LENGTHS)
    if task == "classes":
        return ["up", "down", "flat"] * (n // 3)
    if task == "labels":
        return [{"a"}, {"a", "b"}, set(), {"c"}] * (n // 4)
    if task == "value":
        return 1000 + 30 * random.standard_normal(n)
    if task == "values":
        return [1000, -0.2] + [30, 1e-3] * random.standard_normal((n, 2))
    if task == "tags":
        return [random.choice(list("xyz"), size).tolist() for size in LENGTHS]
    return [100 + 20 * random.standard_normal((size, 2)) for size in LENGTHS]


ESTIMATORS = {"tags": SequenceTagger, "value": SequenceRegressor, "values": SequenceRegressor}
ESTIMATORS |= {"step values": SequenceRegressor}


@functools.cache
def fitted(kind, has_static, task):
    """An estimator whose encoder and target are fitted; one training a combination."""
    options = {"epochs": 1, "hidden_size": 2, "verbose": 0, "random_state": 0}
    if task == "step values":
        options["readout"] = "every"
    static = make_static() if has_static else None
    estimator = ESTIMATORS.get(task, SequenceClassifier)(**options)
    return estimator.fit(make_sequences(kind), make_target(task), static=static)


def make_case(cell, layers, bidirectional, kind, static, task, readout, *, hidden=5, seed=0):
    """A fitted estimator with a network of this form and random weights.

    Its arguments are those of `AXES`.
    """
    estimator = fitted(kind, static is not None, task)
    config = dataclasses.replace(
        estimator.model_.config,
        cell=cell[0],
        nonlinearity=cell[1],
        num_layers=layers,
        bidirectional=bidirectional,
        readout="every" if task in PER_STEP else readout,
        static_to=static,
        hidden_size=hidden,
        embedding_size=4,
    )
    model = SequenceModel(config, torch.Generator().manual_seed(seed)).eval()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed + 1)
        for name, weight in model.named_parameters():
            if "bias" in name:  # many are zeros at first, and would hide one that is left out
                weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
            elif "weight_hh" in name and cell[1] == "relu":
                weight.mul_(0.8)  # else some amplify rounding errors a hundredfold in 1,000 steps
    case = type(estimator)(**estimator.get_params())
    case.__dict__.update({k: v for k, v in estimator.__dict__.items() if k.endswith("_")})
    case.model_ = model
    return case


def name_case(case):
    """A readable name for pytest."""
    (cell, nonlinearity), layers, bidirectional, kind, static, task, readout = case
    cell = nonlinearity if cell == "rnn" else cell
    directions = "both" if bidirectional else "one"
    return f"{cell}-{layers}-{directions}-{kind}-{static}-{task}-{readout}".replace(" ", "_")


def cover_pairs(axes=AXES, seed=0):
    """A few combinations in which every two values of every two axes occur together."""
    random = np.random.default_rng(seed)
    left = {
        ((i, a), (j, b))
        for i, j in itertools.combinations(range(len(axes)), 2)
        for a in range(len(axes[i]))
        for b in range(len(axes[j]))
    }
    chosen = []
    while left:
        candidates = [[int(random.integers(len(axis))) for axis in axes] for _ in range(50)]
        pairs = [set(itertools.combinations(enumerate(c), 2)) & left for c in candidates]
        best = max(range(50), key=lambda k: len(pairs[k]))
        if pairs[best]:
            left -= pairs[best]
            chosen.append(tuple(axis[k] for axis, k in zip(axes, candidates[best], strict=True)))
    return chosen
