"""Which training it is: what two trainings must have in common to end with the same bits."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.encoded import Split, StoredExamples
from elman.data.ragged import Ragged
from elman.models import SequenceModel
from elman.settings import TrainingPlan
from elman.train.monitor import Monitor

_DIGITS = 64  # of a SHA-256


def describe_changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return in words what differs between two identities; empty if nothing does."""

    def shown(text: str) -> str:  # what is in a file may be anything
        return text if text.isprintable() and len(text) <= 100 else f"{text!a:.100}"

    changes = []
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if old is None or new is None:
            change = f": none {'before' if old is None else 'now'}"
        elif len(old) == len(new) == _DIGITS:  # of a fingerprint
            change = " changed"
        else:
            change = f" was {shown(old)} and is {shown(new)}"
        changes.append(shown(name) + change)
    return "; ".join(changes[:20])


def fingerprint(*arrays: Any) -> str:
    """Return the SHA-256 of arrays, tensors and ragged arrays with their types and shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        if isinstance(array, Tensor):
            array = array.detach().cpu().numpy()
        if isinstance(array, Ragged):
            digest.update(fingerprint(array.values, array.offsets, array.static).encode())
        elif array is None:
            digest.update(b"none")
        else:
            array = np.ascontiguousarray(array)
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def identify(
    training: Split,
    validation: Split | None,
    monitor: Monitor | None,
    plan: TrainingPlan,
    model: SequenceModel,
    class_weight: NDArray[np.float64] | None,
    *,
    native: bool,
) -> dict[str, str]:
    """Return what makes a training this one and no other, in words by name.

    Args:
        native: whether the gradients are computed by native calls.
    """
    from elman import __version__

    identity = {"elman": __version__, "torch": torch.__version__}
    identity["gradients"] = "native" if native else "by autograd"
    # The native calls give the same bits for any number of threads. The effort has chosen other
    # settings, which are compared.
    ignored = {"effort", "threads"} if native else {"effort"}
    for name, value in (dataclasses.asdict(plan) | dataclasses.asdict(model.config)).items():
        if name not in ignored:
            identity[name] = str(value)
    splits = {
        "the training split": training,
        "the validation split": validation,
        "the test split": None if monitor is None else monitor.examples,
    }
    for name, split in splits.items():
        if split is not None:
            identity[name] = _fingerprint_of(split)
    if isinstance(training, StoredExamples):
        identity["shuffle buffer"] = f"{training.buffer:,} bytes"
    if monitor is not None:
        identity["epochs between evaluations of the test split"] = str(monitor.every)
    if class_weight is not None:
        identity["class weights"] = fingerprint(class_weight)
    return identity


def _fingerprint_of(split: Split) -> str:
    if isinstance(split, StoredExamples):
        return split.digest
    return fingerprint(split.inputs, split.target, split.weight, split.unit)
