"""Targets of estimators: conversion of labels to training targets, and of outputs to predictions.

Everything that depends on the task is a method here. n sequences, m predictions, K outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elman.data.ragged import Ragged, flatten, is_labelled
from elman.errors import DataError, ModelFileError, SettingsError, ShapeError
from elman.estimators.figures import Moments
from elman.estimators.labels import (
    Labels,
    as_label_sets,
    as_labels,
    as_step_labels,
    as_step_values,
    as_values,
    has_label_sets,
    known_labels,
    restore_labels,
    to_codes,
    to_indicator,
)
from elman.estimators.weights import class_weights, label_weights
from elman.evaluate import Report, evaluate, evaluate_labels, evaluate_values
from elman.ops.native import probabilities
from elman.tasks import TASKS, OutputName
from elman.untrusted import read_as

Floats = NDArray[np.float64]


class BaseTarget:
    """Default methods of all targets."""

    task: ClassVar[OutputName]
    limits: ClassVar[str]  # for the model card

    @staticmethod
    def recognises(y: Any) -> bool:
        """Whether y has the form of this target; the first match in `targets` is used."""
        return True

    @property
    def unit(self) -> Floats | None:
        """Size of 1 output unit in the target's unit, (K,); None if outputs are not numbers."""
        return None

    def fit_scaling(self, labels: Labels) -> Self:
        """Return the target with scaling fitted on the training split; unchanged for classes."""
        return self

    def with_names(self, names: Sequence[str]) -> Self:
        """Return the target with K names for numeric outputs; otherwise unchanged."""
        return self

    def to_output_units(self, predictions: Floats) -> Floats:
        """Convert transformed outputs to the target's unit, (m, K)."""
        return predictions

    def to_scored(self, labels: Labels) -> Labels:
        """Return labels in the format that `decide` returns, for scoring."""
        return labels


@dataclass(frozen=True)
class LabelTarget(BaseTarget):
    """Base class of targets with K labels: `classes`, (K,), sorted."""

    classes: NDArray[Any]

    @property
    def output_names(self) -> tuple[Any, ...]:
        """The labels, (K,)."""
        return tuple(self.classes.tolist())

    @property
    def num_outputs(self) -> int:
        """K."""
        return len(self.classes)

    def describe_outputs(self) -> str:
        """List the labels in Markdown, at most the first 20."""
        first = ", ".join(f"`{label}`" for label in self.output_names[:20])
        rest = f" and {self.num_outputs - 20} more" if self.num_outputs > 20 else ""
        return f"{TASKS[self.task].nouns[1].capitalize()}: {first}{rest}."

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"classes": self.classes.tolist(), "classes_type": self.classes.dtype.name}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore a target from `to_dict`. Raises ModelFileError for a damaged entry."""
        return cls(restore_labels(values, "config.json: target"))


@dataclass(frozen=True)
class ClassTarget(LabelTarget):
    """One of K classes: `classes` holds their labels, (K,), sorted."""

    task: ClassVar[OutputName] = "classification"
    limits: ClassVar[str] = (
        "It always names one of its classes, also for a sequence that belongs to none. Its "
        "probabilities are\ncalibrated no better than the calibration error says, and only on "
        "data like the test split."
    )

    @staticmethod
    def read(y: Any, *, per_step: bool) -> Labels:
        """Return labels, (n,), or a Ragged with one label per step, None where there is none."""
        return as_step_labels(y, "y") if per_step else as_labels(y, "y")

    @classmethod
    def from_labels(cls, labels: Labels) -> Self:
        """Find the classes among all labels. Raises DataError if there are fewer than two."""
        classes = np.unique(known_labels(labels))
        if len(classes) < 2:
            fault = f"y holds one class only, {classes.tolist()[0]!r}" if len(classes) else ""
            remedy = "Expected at least two classes to tell apart."
            raise DataError(fault or "y is empty", remedy=remedy)
        return cls(classes)

    def with_classes(self, classes: NDArray[Any]) -> Self:
        """Return the target unchanged; raise SettingsError if `classes` differ from its own."""
        if (every := np.unique(classes)).tolist() != self.classes.tolist():
            raise SettingsError(
                f"classes: got {every.tolist()!r:.80}, but training continues with "
                f"{self.classes.tolist()!r:.80}. Leave it out after the first call"
            )
        return self

    def encode(self, labels: Labels) -> Labels:
        """Return class codes, int64. Raises DataError for an unknown class."""
        codes = self.to_array(labels)
        return labels.with_values(codes) if isinstance(labels, Ragged) else codes

    def to_array(self, labels: Labels) -> NDArray[Any]:
        """Return class codes, (m,), -100 for steps that are not labelled."""
        return to_codes(labels, self.classes)

    def decide(self, predictions: Floats) -> NDArray[Any]:
        """Return the most probable class, (m,), given probabilities (m, K)."""
        labels: NDArray[Any] = self.classes[predictions.argmax(1)]
        return labels

    def count(self, labels: Labels) -> NDArray[np.int64]:
        """Return how often each class occurs, (K,)."""
        codes = self.to_array(labels)
        return np.bincount(codes[codes >= 0], minlength=self.num_outputs)

    def class_weights(self, class_weight: Any, counts: NDArray[np.int64]) -> Floats | None:
        """Return the weight of each class in the loss, (K,) or None, for the result of `count`."""
        return class_weights(class_weight, self.classes, counts)

    def transform_outputs(self, outputs: Tensor) -> Tensor:
        """Convert logits, (..., K), to probabilities."""
        return probabilities(outputs, "softmax")

    def evaluate(self, labels: Labels, predictions: Floats, **options: Any) -> Report:
        """Compare probabilities, (m, K), with the labels; see `elman.evaluate.evaluate`."""
        return evaluate(self.to_array(labels), predictions, list(self.output_names), **options)

    def describe(self, *, per_step: bool) -> str:
        """Describe the prediction and whether it is per sequence or per step."""
        return "a label at every step of a sequence" if per_step else "a class for each sequence"


@dataclass(frozen=True)
class MultilabelTarget(LabelTarget):
    """Any subset of K labels: `classes` holds the labels, (K,), sorted."""

    task: ClassVar[OutputName] = "multilabel"
    limits: ClassVar[str] = "It predicts each label whose probability is above 1/2, maybe none."

    @staticmethod
    def recognises(y: Any) -> bool:
        """Whether y is an indicator matrix, or holds sets of labels."""
        return has_label_sets(y)

    @staticmethod
    def read(y: Any, *, per_step: bool) -> Labels:
        """Return an indicator matrix, (n, K) int64, or n frozensets."""
        return as_label_sets(y, "y")

    @classmethod
    def from_labels(cls, labels: Labels) -> Self:
        """Find the distinct labels. Raises DataError if there are none."""
        rows = flatten(labels)
        if rows.dtype != object:
            return cls(np.arange(rows.shape[1]))
        every = [label for row in rows for label in row]
        if not every:
            raise DataError("y holds no label at all", remedy="Expected some, at least one.")
        return cls(np.unique(as_labels(every, "y")))

    def with_classes(self, classes: NDArray[Any]) -> Self:
        """Return the target with these labels, which must include all that occur."""
        every = np.unique(classes)
        to_codes(self.classes, every)  # raises for a label that is not among them
        return dataclasses.replace(self, classes=every)

    def encode(self, labels: Labels) -> Labels:
        """Return the indicator matrix, (n, K) float32."""
        return self.to_array(labels).astype(np.float32)

    def to_array(self, labels: Labels) -> NDArray[np.int64]:
        """Return the indicator matrix, (n, K)."""
        return to_indicator(flatten(labels), self.classes)

    def to_scored(self, labels: Labels) -> Labels:
        """Return labels in the format that `decide` returns, for scoring."""
        return self.to_array(labels)

    def decide(self, predictions: Floats) -> NDArray[np.int64]:
        """Return 1 where a label's probability is above 1/2, (n, K)."""
        return (predictions > 0.5).astype(np.int64)

    def count(self, labels: Labels) -> NDArray[np.int64]:
        """Return how many sequences have each label and how many do not, (2, K)."""
        there = self.to_array(labels)
        return np.stack([there.sum(0), (1 - there).sum(0)])

    def class_weights(self, class_weight: Any, counts: NDArray[np.int64]) -> Floats | None:
        """Return the weight of positive examples of each label, (K,) or None; see `count`."""
        return label_weights(class_weight, self.classes, counts)

    def transform_outputs(self, outputs: Tensor) -> Tensor:
        """Convert logits, (n, K), to the probability of each label."""
        return probabilities(outputs, "sigmoid")

    def evaluate(self, labels: Labels, predictions: Floats, **options: Any) -> Report:
        """Compare probabilities, (m, K), with the labels; see `elman.evaluate.evaluate_labels`."""
        names = list(self.output_names)
        return evaluate_labels(self.to_array(labels), predictions, names, **options)

    def describe(self, *, per_step: bool) -> str:
        """Describe the prediction and whether it is per sequence or per step."""
        return f"any of {self.num_outputs} labels for each sequence"


@dataclass(frozen=True)
class _SavedNumbers:
    """What config.json holds of a NumericTarget; its arguments."""

    names: tuple[str, ...]
    single: bool
    mean: tuple[float, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True)
class NumericTarget(BaseTarget):
    """K numbers; the network is trained on (y - mean) / scale.

    Args:
        names: names of the numbers, (K,).
        single: whether y was one-dimensional, so that a prediction is a scalar instead of a row.
        mean, scale: mean and standard deviation in the training split, (K,).
    """

    task: ClassVar[OutputName] = "regression"
    limits: ClassVar[str] = "It predicts numbers for every sequence, however unusual it is."
    names: tuple[str, ...]
    single: bool
    mean: Floats = field(default_factory=lambda: np.zeros(0))
    scale: Floats = field(default_factory=lambda: np.ones(0))

    @staticmethod
    def read(y: Any, *, per_step: bool) -> Labels:
        """Return values, (n,) or (n, K), or a Ragged with values per step."""
        if per_step:
            return as_step_values(y, "y")
        if isinstance(y, Ragged):
            remedy = 'Expected one a sequence, or readout="every".'
            raise DataError("y holds a value for every step", remedy=remedy)
        return as_values(y, "y")

    @classmethod
    def from_labels(cls, labels: Labels) -> Self:
        """Make a target with K outputs for values of shape (m,) or (m, K)."""
        single = (values := flatten(labels)).ndim == 1
        width = 1 if single else values.shape[1]
        names = ("target",) if width == 1 else tuple(f"target {k + 1}" for k in range(width))
        return cls(names, single)

    @property
    def output_names(self) -> tuple[Any, ...]:
        """Names of the numbers, (K,)."""
        return self.names

    @property
    def num_outputs(self) -> int:
        """K."""
        return len(self.names)

    @property
    def unit(self) -> Floats:
        """Size of 1 output unit in the target's unit, (K,)."""
        return self.scale

    def fit_scaling(self, labels: Labels) -> Self:
        """Fit mean and standard deviation; a constant target is not scaled."""
        numbers = self.to_array(labels)
        return self.with_scaling(Moments.of(numbers[is_labelled(numbers)]))

    def with_scaling(self, moments: Moments) -> Self:
        """Return the target scaled by the figures of its known values."""
        mean, scale = moments.target_scaling()
        return dataclasses.replace(self, mean=mean, scale=scale)

    def with_names(self, names: Sequence[str]) -> Self:
        """Return the target with these names if there are K, otherwise unchanged."""
        fits = len(names) == len(self.names)
        return dataclasses.replace(self, names=tuple(names)) if fits else self

    def with_classes(self, classes: NDArray[Any]) -> Self:
        """Raise SettingsError, because numbers have no classes."""
        raise SettingsError("classes: numbers are predicted, which have none. Leave it out")

    def encode(self, labels: Labels) -> Labels:
        """Return standardised values, float32: (n, K), or a Ragged of (N, K)."""
        numbers = ((self.to_array(labels) - self.mean) / self.scale).astype(np.float32)
        return labels.with_values(numbers) if isinstance(labels, Ragged) else numbers

    def to_array(self, labels: Labels) -> Floats:
        """Return values in the target's unit, (m, K). Raises ShapeError if K differs."""
        numbers = np.asarray(flatten(labels), dtype=np.float64)
        numbers = numbers[:, None] if numbers.ndim == 1 else numbers
        if numbers.shape[1] != len(self.names):
            raise ShapeError(
                f"y: got {numbers.shape[1]} values each, expected {len(self.names)} as in training"
            )
        return numbers

    def decide(self, predictions: Floats) -> Floats:
        """Return predictions as (m,) if y was one-dimensional, else as (m, K)."""
        return predictions[:, 0] if self.single else predictions

    def count(self, labels: Labels) -> NDArray[np.int64]:
        """Return an empty array, because numbers have no classes."""
        return np.zeros(0, dtype=np.int64)

    def class_weights(self, class_weight: Any, counts: NDArray[np.int64]) -> None:
        """Return None, because numbers have no class weights."""

    def transform_outputs(self, outputs: Tensor) -> Tensor:
        """Return outputs, (..., K), which are already standardised values, as float64."""
        return outputs.double()

    def to_output_units(self, predictions: Floats) -> Floats:
        """Return values in the target's unit, (m, K)."""
        return predictions * self.scale + self.mean

    def evaluate(self, labels: Labels, predictions: Floats, **options: Any) -> Report:
        """Compare predicted values, (m, K), with y; see `elman.evaluate.evaluate_values`."""
        return evaluate_values(self.to_array(labels), predictions, self.names, **options)

    def describe(self, *, per_step: bool) -> str:
        """Describe the prediction and whether it is per sequence or per step."""
        what = "a number" if self.num_outputs == 1 else f"{self.num_outputs} numbers"
        return f"{what} at every step of a sequence" if per_step else f"{what} for each sequence"

    def describe_outputs(self) -> str:
        """List the predicted numbers, in Markdown, with mean and standard deviation."""
        each = zip(self.names, self.mean, self.scale, strict=True)
        rows = "\n".join(f"- {n}: mean {m:.6g}, deviation {s:.6g}" for n, m, s in each)
        return f"Over the training split:\n\n{rows}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        scaling = {"mean": self.mean.tolist(), "scale": self.scale.tolist()}
        return {"names": list(self.names), "single": self.single, **scaling}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore a target from `to_dict`."""
        found = read_as(_SavedNumbers, values, place := "config.json: target")
        mean, scale = (np.array(own, np.float64) for own in (found.mean, found.scale))
        if not (mean.shape == scale.shape == (len(found.names),) and found.names):
            raise ModelFileError(f"{place}: expected a name, mean and scale of each")
        if not (scale > 0).all():
            raise ModelFileError(f"{place}: scale: expected numbers above 0")
        if found.single and len(found.names) > 1:
            raise ModelFileError(f"{place}: single, but there are {len(found.names)} names")
        return cls(found.names, found.single, mean, scale)


Target = ClassTarget | MultilabelTarget | NumericTarget
_TARGETS: tuple[type[Target], ...] = (ClassTarget, MultilabelTarget, NumericTarget)
TARGETS: dict[OutputName, type[Target]] = {kind.task: kind for kind in _TARGETS}
