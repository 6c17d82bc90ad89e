"""A stream answers with the bits of the whole-sequence answer, in every combination of options."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.data import Ragged
from elman.models import SequenceModel

COUNT, MOST = 20, 7  # sequences, and steps of the longest
KINDS = ("numbers", "gaps", "scalars", "unscaled", "tokens", "text", "words", "mixed", "categories")
TASKS = ("classes", "labels", "number", "numbers", "tags", "number a step", "numbers a step")
CELLS = {
    "rnn_tanh": {"cell": "rnn"},
    "rnn_relu": {"cell": "rnn", "nonlinearity": "relu"},
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
}
EVERY = list(
    itertools.product(
        KINDS,
        TASKS,
        CELLS,
        (1, 3),  # layers
        ("last", "mean", "max"),
        (None, "readout", "state", "both"),  # where static features go
        (torch.float32, torch.float64),
    )
)


def sequences(kind: str) -> list[Any]:
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, MOST + 1, COUNT)
    lengths[:2] = MOST, 1
    if kind in ("tokens", "text", "words"):
        words = [rng.choice(["a", "b", "c", "é"], n).tolist() for n in lengths]
        return words if kind == "tokens" else [" "[kind == "text" :].join(own) for own in words]
    if kind in ("mixed", "categories"):
        numbers = int(kind == "mixed")
        return [
            [
                [None if rng.random() < 0.3 else float(rng.normal() * 9 + 50)] * numbers
                + [str(rng.choice(["red", "green"])), None if rng.random() < 0.2 else "x"]
                for _ in range(n)
            ]
            for n in lengths
        ]
    if kind == "scalars":
        return [rng.normal(5, 3, n) for n in lengths]
    # The time since 1970: its digits are lost unless numbers are scaled in float64.
    X = [np.column_stack([rng.normal(size=(n, 2)), 1.7e9 + rng.normal(size=n)]) for n in lengths]
    if kind == "unscaled":
        X = [own[:, :2] for own in X]
    if kind == "gaps":
        for own in X:
            own[:, :2][rng.random((len(own), 2)) < 0.4] = np.nan
    return X


def steps_of(kind: str, sequence: Any) -> Any:
    """Return the steps of a sequence: for words, each with the blank before it removed."""
    return sequence.split() if kind == "words" else sequence


def start_of(kind: str, sequence: Any, count: int) -> Any:
    """Return the first steps of a sequence as a sequence."""
    own = steps_of(kind, sequence)[:count]
    return " ".join(own) if kind == "words" else own


@functools.cache
def fitted(kind: str, task: str, with_static: bool) -> tuple[Any, list[Any], Any]:
    """Return a fitted estimator, its sequences and their static features."""
    X = sequences(kind)
    rng = np.random.default_rng(2)
    y: Any
    make: Any = SequenceClassifier
    lengths = [len(steps_of(kind, own)) for own in X]
    if task == "classes":
        y = ["p", "q", "r", "s"] * (COUNT // 4)
    elif task == "labels":
        y = [{"p"}, {"q", "p"}, set(), {"r"}] * (COUNT // 4)
    elif task == "tags":
        make, y = SequenceTagger, [rng.choice(["u", "v"], n).tolist() for n in lengths]
    else:
        shape = (2,) if "numbers" in task else ()
        make = SequenceRegressor
        y = rng.normal(200, 30, (COUNT, *shape))
        if "step" in task:
            make = functools.partial(SequenceRegressor, readout="every")
            y = [rng.normal(200, 30, (n, *shape)) for n in lengths]
    static = None
    if with_static:
        age = rng.normal(50, 9, COUNT)
        age[::5] = np.nan
        static = {"age": age, "ward": rng.choice(["a", "b"], COUNT)}
    options: dict[str, Any] = {"hidden_size": 5, "epochs": 1, "random_state": 0}
    if kind == "unscaled":
        options["scale"] = False
    if kind in ("text", "words"):
        options["tokens"] = "characters" if kind == "text" else "words"
    fit = {} if static is None else {"static": static}
    return make(streaming=True, **options).fit(X, y, **fit), X, static


def perturbed(estimator: Any, **changes: Any) -> SequenceModel:
    """Return a network for the same data with other settings and random weights."""
    config = dataclasses.replace(estimator.model_.config, **changes)
    model = SequenceModel(config, torch.Generator().manual_seed(3)).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():  # initial biases are zero, so that one left out would not be seen
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def part_of(static: Any, rows: list[int]) -> Any:
    return None if static is None else {k: [v[i] for i in rows] for k, v in static.items()}


def answer(estimator: Any, X: list[Any], static: Any) -> np.ndarray:
    """Return the answers for whole sequences; for a target at every step, those of the last."""
    if isinstance(X[0], np.ndarray):
        X = Ragged.from_list([own.reshape(len(own), -1) for own in X])  # type: ignore[assignment]
    predict = getattr(estimator, "predict_proba", estimator.predict)
    found = predict(X, static=static)
    if estimator.per_step:
        found = np.stack([own[-1] for own in found])
    return np.asarray(found).reshape(len(X), -1)


def check(kind: str, task: str, cell: str, layers: int, readout: str, to: Any, dtype: Any) -> None:
    estimator, X, static = fitted(kind, task, to is not None)
    readout = estimator.model_.config.readout if estimator.per_step else readout
    changes = {"num_layers": layers, "readout": readout, "static_to": to, **CELLS[cell]}
    before = estimator.model_
    estimator.model_ = perturbed(estimator, **changes).to(dtype)
    try:
        rows = [0, 1, 5, 9]
        stream = estimator.stream(len(rows), part_of(static, rows))
        for t in range(MOST):
            own = [k for k, i in enumerate(rows) if len(steps_of(kind, X[i])) > t]
            found = stream.step([steps_of(kind, X[rows[k]])[t] for k in own], own)
            starts = [start_of(kind, X[rows[k]], t + 1) for k in own]
            known = [k for k, start in enumerate(starts) if has_values(start)]
            if not known:
                continue
            expected = answer(
                estimator,
                [starts[k] for k in known],
                part_of(static, [rows[own[k]] for k in known]),
            )
            np.testing.assert_array_equal(found[known], expected)
    finally:
        estimator.model_ = before


def has_values(sequence: Any) -> bool:
    """Whether a sequence of numbers has some; without any, it is refused as a whole."""
    return not isinstance(sequence, np.ndarray) or not np.isnan(sequence).all()


def sample() -> list[tuple[Any, ...]]:
    """Return every kind with every task, the other options at random."""
    rng = random.Random(1)
    return [
        rng.choice([case for case in EVERY if case[:2] == first])
        for first in itertools.product(KINDS, TASKS)
    ]


SAMPLE = sample()


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: "-".join(map(str, case)))
def test_bits_are_those_of_the_whole_sequence(case: tuple[Any, ...]) -> None:
    check(*case)


def test_the_sample_has_every_pair_of_the_other_options() -> None:
    for k, m in itertools.combinations(range(2, 7), 2):
        assert {(case[k], case[m]) for case in SAMPLE} == {(case[k], case[m]) for case in EVERY}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", TASKS)
def test_bits_in_every_combination(kind: str, task: str) -> None:
    for case in EVERY:
        if case[:2] == (kind, task):
            check(*case)
