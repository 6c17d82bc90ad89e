"""Training that goes on from the weights that are there: `warm_start` and `partial_fit`."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from elman.errors import SettingsError
from elman.estimators.labels import as_labels, to_codes
from elman.estimators.targets import ClassTarget, Labels, NumericTarget, Target
from elman.models import ModelConfig, SequenceModel
from elman.settings import ModelSettings, TrainingSettings

_CHANGEABLE = ("dropout", "initialization")  # without making other weights


def carried_over(network: ModelSettings, model: SequenceModel) -> ModelSettings:
    """Return the settings of a network with those that nobody gives as the present model has."""
    present = {
        entry.name: getattr(model.config, entry.name)
        for entry in dataclasses.fields(ModelSettings)
        if getattr(network, entry.name) in (None, "auto")
    }
    return dataclasses.replace(network, **present)


def continued(model: SequenceModel, config: ModelConfig) -> SequenceModel:
    """Return a copy of a model to be trained on, so that a training that fails changes nothing.

    Raises: SettingsError if `config` asks for other weights than it has.
    """
    for entry in dataclasses.fields(ModelConfig):
        present, wanted = (getattr(c, entry.name) for c in (model.config, config))
        if present != wanted and entry.name not in _CHANGEABLE:
            raise SettingsError(
                f"{entry.name}: got {wanted!r}, but training goes on from a network with "
                f"{present!r}. Set it back, or start anew: a fit without warm_start"
            )
    found = copy.deepcopy(model)
    found.config = config
    found.recurrent.dropout = config.dropout_between
    return found


def labels_of(labels: Labels, classes: Any) -> Labels:
    """Return what to learn the classes from: all there will be, if they are told, or the labels."""
    several = isinstance(labels, np.ndarray) and (labels.ndim == 2 or labels.dtype == object)
    return labels if classes is None or several else as_labels(classes, "classes")


def with_classes(target: Target, classes: Any) -> Target:
    """Return what is predicted with all the classes there will be.

    Raises: SettingsError if there are none, or others have been learnt.
    """
    if isinstance(target, NumericTarget):
        raise SettingsError("classes: numbers are predicted, which have none. Leave it out")
    every = np.unique(as_labels(classes, "classes"))
    if isinstance(target, ClassTarget) and every.tolist() != target.classes.tolist():
        raise SettingsError(
            f"classes: got {every.tolist()!r:.80}, but training goes on with "
            f"{target.classes.tolist()!r:.80}. Leave it out after the first call"
        )
    to_codes(target.classes, every)
    return dataclasses.replace(target, classes=every)


def one_pass(asked: TrainingSettings, passes: int) -> TrainingSettings:
    """Return the settings of one more pass after so many: the learning rate stays as it is.

    Raises: SettingsError for `balanced`, which nobody can know from a part of the data.
    """
    if asked.class_weight == "balanced":
        raise SettingsError(
            "class_weight: got 'balanced', which partial_fit cannot know from a part of the data. "
            "Give the weight of each class"
        )
    return dataclasses.replace(
        asked,
        epochs=1,
        schedule="constant",
        warmup=0.0,
        keep=None,
        patience=None,
        seed=(asked.seed + passes) % 2**32,
    )
