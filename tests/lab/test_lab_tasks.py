"""The built-in tasks in the page: the data and settings that elman itself trains with."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from elman import estimators
from elman.data.builtin import load_task
from elman.data.ragged import flatten
from elman.explain.doctor.findings import Limits
from elman.lab.tasks import LAB_TASKS, describe_doctor, describe_task, describe_tasks


@pytest.fixture(scope="module")
def tasks() -> dict[str, Any]:
    described = json.loads(json.dumps(describe_tasks(vars(estimators)), allow_nan=False))
    return {task["name"]: task for task in described}


def decode(array: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(array["data"]), f"<{np.dtype(array['dtype']).str[1:]}")
    return values.reshape(array["shape"])


@pytest.mark.parametrize("name", LAB_TASKS)
def test_the_data_are_those_of_the_task(tasks: dict[str, Any], name: str) -> None:
    task = tasks[name]
    for split, data in zip(("train", "test"), load_task(name, 0), strict=True):
        assert (decode(task[split]["lengths"]) == data.inputs.lengths).all()
        x, texts = decode(task[split]["x"]), task["vocabulary"]
        if texts:
            assert [texts[code] for code in x] == [str(t) for t in data.inputs.values]
        else:
            np.testing.assert_allclose(x, data.inputs.values.astype(float), rtol=1e-7)
        labels = [task["outputs"]["names"][code] for code in decode(task[split]["target"])]
        assert labels == [str(label) for label in flatten(data.target)]


@pytest.mark.parametrize("name", LAB_TASKS)
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_the_settings_are_those_that_elman_chooses_for_every_cell(
    tasks: dict[str, Any], name: str, cell: str
) -> None:
    train, _ = load_task(name, 0)
    kind = getattr(estimators, LAB_TASKS[name].estimator)
    for both in (True, False):
        estimator = kind(cell=cell, hidden_size=5, bidirectional=both, random_state=0)
        prepared = estimator.prepare(train, train.target)
        for key, value in tasks[name]["settings"].items():
            assert value == getattr(prepared.plan, key, getattr(prepared.config, key, None)), key
    assert prepared.validation_examples is None  # the page has no validation split either


def test_the_numbers_can_be_standardised(tasks: dict[str, Any]) -> None:
    for name in ("sum-threshold", "running-parity"):
        task = tasks[name]
        train, _ = load_task(name, 0)
        kind = getattr(estimators, LAB_TASKS[name].estimator)
        expected = kind(random_state=0).prepare(train, train.target).examples.inputs.values
        (channel,) = task["channels"]
        x = (decode(task["train"]["x"]) - channel["mean"]) / channel["scale"]
        np.testing.assert_allclose(x, expected, atol=1e-6)


def test_longer_sequences_follow_the_same_rule(tasks: dict[str, Any]) -> None:
    for name in ("running-parity", "anbn"):
        task, longer = tasks[name], tasks[name]["longer"]
        assert longer["text"]
        most = decode(task["train"]["lengths"]).max()
        assert decode(longer["train"]["lengths"]).max() > 3 * most
    longer = tasks["running-parity"]["longer"]["train"]
    bits, labels = decode(longer["x"])[:, 0], decode(longer["target"])
    start = 0
    for length in decode(longer["lengths"]):
        part = slice(start, start + length)
        assert (np.cumsum(bits[part]) % 2 == labels[part]).all()
        start += length
    assert start == len(bits)
    assert tasks["sum-threshold"]["longer"] is None


def test_the_doctor_has_the_limits_of_elman() -> None:
    doctor = describe_doctor()
    assert doctor["limits"]["SATURATED"] == Limits.SATURATED
    assert doctor["limits"]["RADIUS"] == Limits.RADIUS
    assert "saturated_gates" in doctor["effects"]["learning_rate_too_high"]
    json.dumps(doctor, allow_nan=False)


def test_the_tasks_are_small(tasks: dict[str, Any]) -> None:
    assert len(json.dumps(list(tasks.values()))) < 260_000
    assert describe_task("anbn", vars(estimators))["name"] == "anbn"
