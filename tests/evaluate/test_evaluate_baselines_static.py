"""Baselines read static features as the network does, alone and beside every other feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from elman.data.ragged import Ragged
from elman.errors import ShapeError
from elman.evaluate.baselines import Baselines

RNG = np.random.default_rng(0)
STATIC = RNG.normal(size=(120, 2)).astype(np.float32)


def sequences(tokens: bool) -> Ragged:
    steps = RNG.integers(2, 6, 600) if tokens else RNG.normal(size=(600, 1))
    return Ragged(steps, np.arange(0, 601, 5), STATIC)


def accuracies(baselines: Baselines, inputs: Ragged, target: Any) -> dict[str, float]:
    decided = baselines.decide(inputs)
    return {name: float((answer == target).mean()) for name, answer in decided.items()}


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("per_step", [False, True])
def test_they_learn_from_static_features(tokens: bool, per_step: bool) -> None:
    inputs, target = sequences(tokens), (STATIC[:, 0] > 0).astype(np.int64)
    target = np.repeat(target, 5) if per_step else target
    size = 6 if tokens else None
    baselines = Baselines.from_training(inputs, target, 2, vocabulary_size=size, per_step=per_step)
    found = accuracies(baselines, inputs, target)
    linear = {name: value for name, value in found.items() if name.startswith("logistic")}
    assert "logistic regression on static features" in linear
    assert min(linear.values()) > 0.9, found
    again = Baselines.from_arrays(baselines.to_arrays())
    assert accuracies(again, inputs, target) == found
    words = baselines.description["logistic regression on static features"]
    assert "the static features alone" in words
    with pytest.raises(ShapeError, match="no 2 static features"):
        baselines.predict(Ragged(inputs.values, inputs.offsets))


def test_without_them_there_is_no_such_baseline() -> None:
    inputs = sequences(False)
    plain = Ragged(inputs.values, inputs.offsets)
    baselines = Baselines.from_training(plain, np.arange(120) % 2, 2, vocabulary_size=None)
    assert not any("static" in name for name in baselines.predict(plain))
