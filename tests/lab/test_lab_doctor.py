"""The doctor of the page measures, and finds first, what elman.explain.doctor does."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from training_cases import CELLS, as_tensors, choices, open_trainer, prepare, run, with_settings

from elman import estimators
from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.explain import Watch
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.states import measure_states
from elman.lab.tasks import describe_tasks
from elman.train import train
from elman.train.losses import Loss

EPOCHS = 5


@pytest.fixture(scope="module")
def trainer(browser: Any, tmp_path_factory: Any) -> Any:
    tasks = {task["name"]: task for task in describe_tasks(vars(estimators))}
    yield from open_trainer(browser, tmp_path_factory.mktemp("doctor"), tasks)


def unscaled(prepared: Any) -> Examples:
    """Return the training examples in hundredths, not standardised."""
    raw = prepared.examples.inputs.values * prepared.encoder.scale + prepared.encoder.mean
    inputs = prepared.examples.inputs.with_values((100 * raw).astype(np.float32))
    examples: Examples = dataclasses.replace(prepared.examples, inputs=inputs)
    return examples


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
@pytest.mark.parametrize(
    ("name", "breaks"),
    [
        ("sum-threshold", []),
        ("sum-threshold", ["unscaled"]),
        pytest.param("anbn", [], marks=pytest.mark.slow),
    ],
)
def test_the_measurements_are_those_of_elman(
    trainer: Any, name: str, breaks: list[str], cell: Any
) -> None:
    chosen = choices(cell, bidirectional=True, num_layers=2, hidden_size=6)
    prepared = prepare(name, chosen)
    found = run(trainer, "runDoctor", name, chosen | {"breaks": breaks}, 40)
    model = prepared.make_model(torch.Generator().manual_seed(0))
    model.load_state_dict(as_tensors(found["weights"], model.state_dict()))
    examples = (unscaled(prepared) if breaks else prepared.examples).take(np.arange(64))
    loss = Loss.of(model.config.task, prepared.plan)
    inputs = DiagnosisInput.from_training(model.eval(), examples, loss, None)
    expected, _ = measure_states(inputs, np.arange(64), 0)
    layers, saturated = found["measured"]["layers"], 0.0
    for place, layer in zip(expected.unit_deviation, layers, strict=True):
        own = np.array(layer["deviations"])
        np.testing.assert_allclose(own, expected.unit_deviation[place], rtol=1e-4, atol=1e-7)
        shares = {k[2]: v for k, v in expected.saturation.items() if k[:2] == place}
        assert set(shares) == set(layer["saturation"])
        for gate, (share, high) in layer["saturation"].items():
            # A value at the very limit may fall on either side in float32.
            assert share == pytest.approx(shares[gate], abs=2e-3)
            assert high == pytest.approx(expected.saturated_high[(*place, gate)], abs=2e-3)
            saturated += share
        if cell[0] == "rnn":
            radius = expected.spectral_radius[(*place, "h")]
            assert layer["radius"] == pytest.approx(radius, rel=1e-3)
        if breaks:
            continue
        lags, reference = np.array(layer["byLag"]), expected.gradient_by_lag[place]
        # An LSTM's c also gets a gradient from h at lag 0 in elman, which changes the shares.
        factor = 4 if cell[0] == "lstm" else 1 + 1e-3
        assert lags.shape == reference.shape
        assert (lags[1:] <= factor * reference[1:] + 1e-12).all()
        assert (lags[1:] >= reference[1:] / factor - 1e-12).all()
    # Without scaling many values are saturated, and gradients are below the last digit of a float.
    assert saturated > 0.05 or not breaks or cell[1] == "relu"


def first_of_elman(
    prepared: Any, model: Any = None, examples: Any = None, ignored: tuple[str, ...] = ()
) -> str | None:
    """The name of the first finding of elman's own doctor after some epochs of its own training."""
    watch = Watch(every=EPOCHS, notify=lambda text: None)
    generator = torch.Generator().manual_seed(0)
    made = prepared.make_model(generator)
    seen: list[Any] = []

    class Enough(Exception):  # noqa: N818
        pass

    def stop(record: Any) -> None:
        watch.epoch(record)
        seen.append(record)
        if len(seen) == EPOCHS:
            raise Enough

    class Observer:
        begin = staticmethod(watch.begin)
        epoch = staticmethod(stop)

    with pytest.raises(Enough):
        train(model or made, examples or prepared.examples, None, prepared.plan,
              generator=generator, on_epoch=Observer())  # fmt: skip
    diagnosis = watch.diagnoses[-1][1]
    causes = [f.name for f in diagnosis.findings if f.explained_by in ("", *ignored)]
    notes = [f.name for f in diagnosis.findings if f.severity == "note"]
    return next((name for name in causes if name not in (*notes, *ignored)), None)


def first_of_page(trainer: Any, chosen: dict[str, Any], sequences: int = 800) -> str | None:
    steps = EPOCHS * -(-sequences // 32)
    first: str | None = run(trainer, "runDoctor", "sum-threshold", chosen, steps)["first"]
    return first


def test_a_healthy_training_has_no_finding(trainer: Any) -> None:
    chosen = choices()
    prepared = prepare("sum-threshold", chosen)
    assert first_of_page(trainer, chosen) is None
    assert first_of_elman(prepared) is None


def test_a_learning_rate_too_high(trainer: Any) -> None:
    chosen = choices(("rnn", "tanh"))
    prepared = with_settings(prepare("sum-threshold", chosen), learning_rate=0.3, epochs=120)
    found = first_of_page(trainer, chosen | {"breaks": ["fast"]})
    assert found == first_of_elman(prepared) == "learning_rate_too_high"


def test_inputs_that_are_not_scaled(trainer: Any) -> None:
    chosen = choices()
    prepared = prepare("sum-threshold", chosen)
    found = first_of_page(trainer, chosen | {"breaks": ["unscaled"]})
    assert found == first_of_elman(prepared, examples=unscaled(prepared)) == "unscaled_inputs"


@pytest.mark.parametrize(("cell", "block"), [("lstm", 1), ("gru", 1)])
def test_gates_that_forget(trainer: Any, cell: str, block: int) -> None:
    chosen = choices((cell, "tanh"))
    prepared = prepare("sum-threshold", chosen)
    model = prepared.make_model(torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.recurrent.bias_ih_l0[8 * block : 8 * (block + 1)] = -10
    found = first_of_page(trainer, chosen | {"breaks": ["forget"]})
    assert found == first_of_elman(prepared, model) == "saturated_gates"


def test_longer_sequences(trainer: Any) -> None:
    chosen = choices(hidden_size=16)
    prepared = prepare("sum-threshold", chosen)
    examples: Examples = prepared.examples.take(np.arange(200))
    longer = [
        np.concatenate([x, np.zeros((100, 1), np.float32)])
        for x in map(np.asarray, examples.inputs)
    ]
    examples = dataclasses.replace(examples, inputs=Ragged.from_list(longer))
    found = first_of_page(trainer, chosen | {"breaks": ["long"]}, len(examples))
    # elman's doctor also sees that the steps that were appended look like padding.
    ignored = ("padded_sequences",)
    assert found == first_of_elman(prepared, examples=examples, ignored=ignored)
    assert found == "vanishing_gradients"


def test_a_learning_rate_too_low_is_said_before_the_first_step(trainer: Any) -> None:
    found = run(trainer, "runDoctor", "sum-threshold", choices(breaks=["slow"]), 0)
    assert found["first"] == "learning_rate_too_low"


def test_a_loss_that_overflows(trainer: Any) -> None:
    chosen = choices(("rnn", "relu"), hidden_size=3)
    found = trainer.run(f"runSpoilt(TASKS['sum-threshold'], {json.dumps(chosen)})")
    assert found == {"first": "not_finite", "done": True, "steps": 0}


def test_tanh_in_the_gates_has_gradients_of_its_own(trainer: Any) -> None:
    """The first step moves every weight against its numerical gradient."""
    for cell in ("gru", "lstm"):
        chosen = choices((cell, "tanh"), breaks=["gates"])
        found = trainer.run(f"checkGradients(TASKS['sum-threshold'], {json.dumps(chosen)})")
        np.testing.assert_allclose(found["own"], found["numerical"], rtol=1e-4, atol=1e-8)
        assert max(map(abs, found["own"])) > 1e-3
