"""Training in the page: elman's own numbers, the switches that break it, and the doctor."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from training_cases import (
    CELLS,
    as_tensors,
    choices,
    open_trainer,
    prepare,
    run,
    train_steps,
)

from elman import estimators
from elman.lab.tasks import LAB_TASKS, describe_tasks

STEPS = 20
CLOSE = 1e-4


@pytest.fixture(scope="module")
def trainer(browser: Any, tmp_path_factory: Any) -> Any:
    tasks = {task["name"]: task for task in describe_tasks(vars(estimators))}
    yield from open_trainer(browser, tmp_path_factory.mktemp("trainer"), tasks)


def assert_same_training(
    trainer: Any, monkeypatch: Any, name: str, chosen: dict[str, Any], steps: int = STEPS
) -> None:
    found = run(trainer, "runTraining", name, chosen, steps)
    losses, weights = train_steps(monkeypatch, prepare(name, chosen), steps)
    assert len(losses) == steps
    own = [step["loss"] for step in found["steps"]]
    np.testing.assert_allclose(own, losses, atol=CLOSE, rtol=0, err_msg=f"{name} {chosen}")
    for key, value in as_tensors(found["weights"], weights).items():
        np.testing.assert_allclose(value, weights[key], atol=CLOSE, err_msg=f"{key}: {chosen}")
    # The weights have moved by much more than the tolerance, so that the comparison can fail.
    moved = max(
        float((value - weights[key]).abs().max())
        for key, value in as_tensors(found["first"], weights).items()
    )
    assert moved > 20 * CLOSE


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
@pytest.mark.parametrize("name", LAB_TASKS)
def test_the_first_steps_are_those_of_elman(
    trainer: Any, monkeypatch: Any, name: str, cell: tuple[str, str]
) -> None:
    assert_same_training(trainer, monkeypatch, name, choices(cell))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sum-threshold", {"hidden_size": 32, "bidirectional": True}),
        ("sum-threshold", {"hidden_size": 3, "readout": "mean", "seed": 4294967295}),
        ("token-order", {"num_layers": 2, "bidirectional": True, "readout": "max"}),
        ("running-parity", {"num_layers": 2, "seed": 7}),
        ("anbn", {"hidden_size": 1, "bidirectional": True}),
    ],
)
def test_other_networks_too(
    trainer: Any, monkeypatch: Any, name: str, changes: dict[str, Any]
) -> None:
    assert_same_training(trainer, monkeypatch, name, choices(("lstm", "tanh"), **changes))


@pytest.mark.slow
@pytest.mark.parametrize("name", LAB_TASKS)
@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_every_cell_direction_depth_and_size(
    trainer: Any, monkeypatch: Any, name: str, cell: tuple[str, str]
) -> None:
    for both, layers, units in itertools.product((True, False), (1, 2), (2, 16, 32)):
        chosen = choices(cell, hidden_size=units, bidirectional=both, num_layers=layers, seed=units)
        assert_same_training(trainer, monkeypatch, name, chosen)
