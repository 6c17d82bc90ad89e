"""Explanations of networks with static features: exact gradients, votes and the doctor."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from elman import SequenceClassifier
from elman.data.ragged import Ragged
from elman.errors import ShapeError
from elman.explain import attribute, bptt, doctor, influence, memory, trace
from elman.models import ModelConfig, SequenceModel
from elman.models.static import bind


def make(cell: str, to: Any, readout: Any, **options: Any) -> SequenceModel:
    torch.manual_seed(0)
    config = ModelConfig(
        cell=cell,
        hidden_size=4,
        readout=readout,
        num_outputs=3,
        input_size=2,
        static_size=3,
        static_to=to,
        **options,
    )
    return bind(SequenceModel(config).double().eval(), torch.randn(3))


@pytest.mark.parametrize("readout", ["last", "mean", "max", "every"])
@pytest.mark.parametrize("to", ["readout", "state", "both"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_every_gradient_is_that_of_autograd(cell: str, to: str, readout: str) -> None:
    model = make(cell, to, readout, num_layers=2)
    x = torch.randn(6, 2, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 1, 0, 2]) if readout == "every" else torch.tensor([1])
    outputs = model(x[None], torch.tensor([6]))
    torch.nn.functional.cross_entropy(outputs.reshape(-1, 3), y, reduction="sum").backward()
    found = bptt(model, x, y if readout == "every" else 1).gradients
    expected = {name.removeprefix("recurrent."): p.grad for name, p in model.named_parameters()}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient is not None
        np.testing.assert_allclose(found[name], gradient.numpy(), atol=1e-12, err_msg=name)


def test_the_votes_add_up_to_the_logit_without_the_features() -> None:
    model = make("gru", "readout", "last")
    x = torch.randn(6, 2, dtype=torch.float64)
    traced = trace(model, x)
    # relu passes the same units if the readout alone is changed by little.
    weight, read = traced.output_weight, traced.read
    W = model.config.width
    z = torch.relu(
        model.static_join.weight[:, :W] @ torch.tensor(read)
        + model.static_join.weight[:, W:] @ model.bound_static[0].double()  # type: ignore[index]
        + model.static_join.bias
    )
    logits = (model.output.weight @ z + model.output.bias).detach().numpy()
    np.testing.assert_allclose(traced.outputs[-1], logits, atol=1e-12)
    changed = z.detach() > 0
    V, P = model.output.weight.detach(), model.static_join.weight.detach()[:, :W]
    np.testing.assert_allclose(weight, ((V * changed) @ P).numpy(), atol=1e-12)
    with pytest.raises(ShapeError, match="static: got None"):
        trace(bind_nothing(model), x)


def bind_nothing(model: SequenceModel) -> SequenceModel:
    """Return the network without the features of a sequence."""
    bound = bind(model, torch.zeros(3))
    bound.bound_static = None
    return bound


@pytest.fixture(scope="module")
def wards() -> tuple[SequenceClassifier, Any, Any]:
    rng = np.random.default_rng(0)
    drift, sex = rng.normal(size=120), rng.choice(["f", "m"], 120)
    X = [d * np.linspace(0, 2, n)[:, None] for d, n in zip(drift, rng.integers(5, 9, 120))]  # noqa: B905
    y = np.where((drift > 0) != (sex == "f"), "up", "down")
    model = SequenceClassifier(hidden_size=8, epochs=20, random_state=0)
    model.fit(X, y, static={"sex": sex})
    return model, model.encode(X, static={"sex": sex}), y


def test_an_estimator_is_explained(wards: tuple[SequenceClassifier, Any, Any]) -> None:
    model, encoded, y = wards
    one = encoded.take(np.array([3]))
    probabilities = model.predict_proba(one)[0]
    traced = trace(model, one, y[3])
    np.testing.assert_allclose(traced.distribution[-1], probabilities, atol=1e-5)
    assert attribute(model, one).complete
    assert influence(model, one).values.max() > 0
    assert memory(model, encoded, sequences=10).used == 10
    assert bptt(model, one, y[3]).gradient_norm > 0
    with pytest.raises(ShapeError, match=r"got 120 sequences, expected one"):
        trace(model, encoded)


def test_the_doctor_reads_the_features(wards: tuple[SequenceClassifier, Any, Any]) -> None:
    model, encoded, y = wards
    found = doctor(model, encoded, y, probe=False)
    assert not [finding for finding in found.findings if finding.severity == "error"], str(found)
    assert "accuracy of 0.9" in str(found) or "accuracy of 1" in str(found)


def test_equal_steps_with_other_features_are_other_sequences() -> None:
    steps, offsets = np.zeros((6, 1), np.float32), np.array([0, 3, 6])
    same = Ragged(steps, offsets)
    assert len(set(same.contents())) == 1
    features = np.array([[0.0], [1.0]], np.float32)
    assert len(set(dataclasses.replace(same, static=features).contents())) == 2


def test_a_prediction_is_attributed_to_features(wards: tuple[SequenceClassifier, Any, Any]) -> None:
    model, encoded, _ = wards
    found = attribute(model, encoded.take(np.array([3])), output="logit")
    assert set(found.static) == {"sex"} and found.to_dict()["static"] == found.static
    assert "Static features, by the change" in str(found)
    # The change is that of the network with all inputs of the feature at 0.
    static = encoded.take(np.array([3])).inputs.static
    assert static is not None and found.static["sex"] != 0
    network = model.model_.double()
    x = torch.from_numpy(encoded[3]).double()[None]
    x = (x - torch.tensor(model.encoder_.mean)) / torch.tensor(model.encoder_.scale)
    with torch.no_grad():
        a, b = (
            network(x, [x.shape[1]], s)[0]
            for s in (torch.tensor(static).double(), torch.zeros(1, 2).double())
        )
    model.model_.float()
    k = list(model.classes_).index(found.target)
    np.testing.assert_allclose(found.static["sex"], float(a[k] - b[k]), atol=1e-5)
