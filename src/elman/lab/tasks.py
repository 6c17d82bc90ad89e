"""The built-in tasks that the page trains small networks on.

The page gets the data of a task and the settings that elman chooses for it, and draws weights,
batches and dropout from the same seed itself, so that it trains the network that elman would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.builtin import find_task, load_task
from elman.data.dataset import Dataset
from elman.data.ragged import flatten
from elman.explain.doctor.causes import EFFECTS
from elman.explain.doctor.findings import Limits
from elman.lab.payload import describe_config, encode_array

UNITS = 16
# The settings of a training that the page follows; the others do not matter there.
_TRAINING = (
    *("epochs", "batch_size", "learning_rate", "weight_decay", "schedule", "warmup", "clip_norm"),
    *("label_smoothing", "token_dropout", "noise", "seed"),
)
# The findings of elman.explain.doctor that the page looks for, see page/doctor.js.
_FINDINGS = (
    *("not_finite", "unscaled_inputs", "learning_rate_too_high", "learning_rate_too_low"),
    *("spectral_radius", "exploding_gradients", "saturated_gates", "dead_units", "constant_units"),
    *("vanishing_gradients", "constant_predictions", "overfitting", "learnt_nothing"),
)


@dataclass(frozen=True)
class LabTask:
    """A built-in task in the page.

    Args:
        estimator: name of the estimator's class in `elman.estimators`.
        longer: parameters of the task with longer sequences; empty if the page appends steps that
            say nothing, which leaves the label of a whole sequence as it is.
        longer_text: what is different about them, in words.
    """

    estimator: str
    longer: str = ""
    longer_text: str = ""


LAB_TASKS = {
    "sum-threshold": LabTask("SequenceClassifier"),
    "token-order": LabTask("SequenceClassifier"),
    "running-parity": LabTask(
        "SequenceTagger",
        "T=100,train=200,test=50",
        "5 to 100 bits in place of 5 to 20, and 200 sequences to learn from",
    ),
    "anbn": LabTask(
        "SequenceTagger", "n=40,train=200", "up to 40 of each letter in place of up to 10"
    ),
}


def describe_tasks(estimators: Mapping[str, Callable[..., Any]]) -> list[dict[str, Any]]:
    """Describe the built-in tasks for the page: its TASKs.

    Args:
        estimators: the classes of `elman.estimators` by name, which choose settings and encode.
    """
    return [describe_task(name, estimators) for name in LAB_TASKS]


def describe_task(name: str, estimators: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """Describe one task: its data, and the settings that elman chooses for a small network.

    The network is a GRU that reads in one direction, so that its states can be followed. elman
    chooses the same other settings for every cell, number of units and direction.
    """
    task = LAB_TASKS[name]
    estimator = estimators[task.estimator](hidden_size=UNITS, bidirectional=False, random_state=0)
    train, test = load_task(name, 0)
    prepared = estimator.prepare(train, train.target)
    encoder = prepared.encoder
    settings = {key: getattr(prepared.plan, key) for key in _TRAINING}
    settings |= {key: getattr(prepared.config, key) for key in ("dropout", "initialization")}
    longer = None
    if task.longer:
        splits = _encode(estimator, prepared, load_task(f"{name}:{task.longer}", 0))
        longer = {"text": task.longer_text, **splits}
    return {
        "name": name,
        "description": find_task(name).summary,
        "settings": settings,
        "config": describe_config(prepared.config),
        "channels": [
            {"name": channel, "unit": "", "mean": mean, "scale": scale, "values": None}
            for channel, mean, scale in zip(
                train.layout.values if train.layout else (),
                encoder.mean.tolist(),
                encoder.scale.tolist(),
                strict=True,
            )
        ],
        "vocabulary": ["<pad>", "<unknown>", *encoder.vocabulary] if encoder.vocabulary else None,
        "outputs": {"names": [str(label) for label in prepared.target.output_names]},
        "doctor": describe_doctor(),
        **_encode(estimator, prepared, (train, test)),
        "longer": longer,
    }


def _encode(estimator: Any, prepared: Any, splits: tuple[Dataset, Dataset]) -> dict[str, Any]:
    """Return both splits: numbers as they are in the data, tokens and classes as codes.

    Numbers are not yet standardised, because the page can also train on them as they are.
    """
    described, tokens = {}, bool(prepared.encoder.vocabulary)
    for name, data in zip(("train", "test"), splits, strict=True):
        encoded = estimator.monitor(prepared, (data, None), every_epoch=True).monitor.examples
        raw = prepared.encoder.read_steps(data.inputs).values
        described[name] = {
            "lengths": encode_array(encoded.lengths),
            "x": _encode_small(encoded.inputs.values if tokens else raw),
            "target": _encode_small(flatten(encoded.target)),
        }
    return described


def _encode_small(values: NDArray[Any]) -> dict[str, Any]:
    """Encode numbers in one byte each if all are whole numbers from 0 to 255."""
    codes = values.astype(np.uint8)
    return encode_array(codes if (codes == values).all() else values)


def describe_doctor() -> dict[str, Any]:
    """Return thresholds of `elman.explain.doctor`, and which finding explains which others."""
    limits = {key: value for key, value in vars(Limits).items() if key.isupper()}
    effects = {
        cause: [effect for effect in effects if effect in _FINDINGS]
        for cause, effects in EFFECTS.items()
        if cause in _FINDINGS
    }
    return {"limits": limits, "effects": effects}
