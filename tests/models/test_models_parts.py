"""Long sequences in parts: the bits of one call, for every network, and bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.data import batches
from elman.data.batches import Examples, batch_by_length
from elman.data.ragged import Ragged
from elman.models import ModelConfig, SequenceModel, parts
from elman.settings import TrainingPlan
from elman.train.loop import validate
from elman.train.losses import Loss

LENGTHS = (3, 40, 1, 97, 40, 12, 33)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call 13 steps a long sequence, and read it in parts of as few steps as possible."""
    monkeypatch.setattr(parts, "_STEPS", 7)
    monkeypatch.setattr(parts.spans, "__defaults__", (("every", "last"), 13))


def _network(**changes: Any) -> SequenceModel:
    values: dict[str, Any] = {
        "cell": "gru", "hidden_size": 5, "num_layers": 2, "bidirectional": False, "dropout": 0.0,
        "readout": "every", "task": "classification", "num_outputs": 3, "input_size": 2,
    }  # fmt: skip
    config = ModelConfig(**{**values, **changes})
    return SequenceModel(config, torch.Generator().manual_seed(0)).eval()


def _inputs(model: SequenceModel) -> Ragged:
    rng = np.random.default_rng(0)
    config, total = model.config, sum(LENGTHS)
    offsets = np.cumsum([0, *LENGTHS])
    static = None
    if config.static_size:
        static = rng.normal(size=(len(LENGTHS), config.static_size)).astype(np.float32)
    if config.vocabulary_size:
        return Ragged(rng.integers(0, config.vocabulary_size, total), offsets, static)
    values = rng.normal(size=(total, config.input_size)).astype(np.float32)
    codes = [rng.integers(0, size, (total, 1)) for size in config.category_sizes]
    return Ragged(np.hstack([values, *codes]).astype(np.float32), offsets, static)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cell": "lstm"},
        {"cell": "rnn", "nonlinearity": "relu", "num_layers": 1},
        {"readout": "last"},
        {"task": "regression"},
        {"input_size": 0, "vocabulary_size": 11, "embedding_size": 4},
        {"category_sizes": (4, 3), "embedding_size": 4},
        {"static_size": 2, "static_to": "readout"},
        {"static_size": 2, "static_to": "state"},
        {"static_size": 2, "static_to": "both", "cell": "lstm"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("small_parts")
def test_parts_have_the_bits_of_the_whole(changes: dict[str, Any]) -> None:
    model = _network(**changes)
    inputs = _inputs(model)
    seen = np.zeros(len(inputs.values), dtype=int)
    wholes, collected = [], [[] for _ in LENGTHS]
    with torch.no_grad():
        for i in range(len(inputs)):
            one = inputs.take(np.array([i]))
            wholes.append(_call(model, one, None)[0])
        for span in parts.spans(model, inputs.lengths, 3):
            batch = inputs.between(span.index, span.start, span.stop)
            outputs = _call(model, batch, span.carry)
            for row, i in enumerate(span.index.tolist()):
                steps = int(batch.lengths[row])
                first = int(inputs.offsets[i]) + span.start
                seen[first : first + steps] += 1
                if model.config.per_step:
                    collected[i].append(outputs[row, :steps])
                else:
                    collected[i] = [outputs[row]]
    assert (seen == 1).all()
    if model.config.sets_state and model.config.per_step:
        # torch computes the output layer there, whose rounding depends on the number of rows.
        pairs = zip(collected, wholes, strict=True)
        assert all(np.allclose(torch.cat(a), b, atol=1e-6) for a, b in pairs)
        return
    for found, whole in zip(collected, wholes, strict=True):
        assert torch.equal(torch.cat(found).view(-1), whole.reshape(-1))


def _call(model: SequenceModel, batch: Ragged, carry: Any) -> Any:
    static = None if batch.static is None else torch.from_numpy(batch.static)
    x = torch.from_numpy(batch.to_padded())
    return model(x, torch.from_numpy(batch.lengths), static, carry)


@pytest.mark.usefixtures("small_parts")
def test_validation_in_parts_has_the_figures_of_the_whole() -> None:
    model = _network()
    inputs = _inputs(model)
    target = np.random.default_rng(1).integers(-1, 3, len(inputs.values))
    target[target < 0] = -100
    target[inputs.offsets[3] : inputs.offsets[3] + 20] = -100  # parts without a label
    weight = np.random.default_rng(2).random(len(target)).astype(np.float32)
    examples = Examples(inputs, inputs.with_values(target), inputs.with_values(weight), measured=2)
    loss = Loss.of("classification", TrainingPlan(), None)
    found = validate(model, examples, loss, torch.device("cpu"))
    labelled = [i for i in range(len(inputs)) if (inputs.with_values(target)[i] >= 0).any()]
    one_by_one = [examples.take(np.array([i])) for i in labelled]
    whole = [validate(model, one, loss, torch.device("cpu")) for one in one_by_one]
    assert found.count == sum(each.count for each in whole)
    right = sum(round((each.accuracy or 0) * each.count) for each in whole)
    assert round((found.accuracy or 0) * found.count) == right
    assert found.weight == pytest.approx(sum(each.weight for each in whole), rel=1e-6)
    assert found.loss == pytest.approx(sum(each.loss for each in whole), rel=1e-6)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_estimators_predict_alike_in_parts(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 2)) for n in LENGTHS for _ in range(2)]
    y = [x[:, 0] > 0 for x in X]
    options: dict[str, Any] = {"cell": cell, "epochs": 1, "hidden_size": 4, "random_state": 0}
    models = [
        SequenceTagger(bidirectional=False, **options).fit(X, y),
        SequenceTagger(bidirectional=True, **options).fit(X, y),
        SequenceRegressor(readout="every", bidirectional=False, **options).fit(X, X),
        SequenceClassifier(readout="last", bidirectional=False, **options).fit(X, [0, 1] * 7),
        SequenceClassifier(readout="mean", bidirectional=False, **options).fit(X, [0, 1] * 7),
    ]
    whole = [model.predict_encoded(model.encode(X)) for model in models]
    monkeypatch.setattr(parts, "_STEPS", 5)
    monkeypatch.setattr(parts.spans, "__defaults__", (("every", "last"), 10))
    for model, expected in zip(models, whole, strict=True):
        assert np.array_equal(model.predict_encoded(model.encode(X)), expected)


def test_long_sequences_lie_side_by_side() -> None:
    lengths = np.array([5, 100, 3, 120, 90, 4])
    found = list(batch_by_length(lengths, 10, 50, long_rows=2))
    assert [own.tolist() for own in found] == [[2, 5, 0], [4, 1], [3]]
    assert batches.MOST_STEPS >= 2**16


def test_other_networks_are_read_in_one_call() -> None:
    class Own(SequenceModel):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    assert parts.can_carry(_network())
    assert not parts.can_carry(_network(bidirectional=True))
    assert not parts.can_carry(_network(readout="mean"))
    assert not parts.can_carry(Own(_network().config))
