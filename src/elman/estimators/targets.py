"""The target of an estimator: from labels as users have them to what a network learns, and back.

All that depends on the task is a method here: n sequences, m predictions (of the sequences, or of
the N steps), K outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.ragged import Ragged, flatten
from elman.errors import DataError, ModelFileError, SettingsError, ShapeError
from elman.estimators.labels import (
    Labels,
    as_label_sets,
    as_labels,
    as_step_labels,
    as_step_values,
    as_values,
    class_weights,
    has_label_sets,
    label_weights,
    to_codes,
    to_indicator,
)
from elman.evaluate import Report, evaluate, evaluate_labels, evaluate_values
from elman.tasks import TASKS, OutputName

Floats = NDArray[np.float64]


class BaseTarget:
    """Defaults of all targets."""

    task: ClassVar[OutputName]
    limits: ClassVar[str]  # for the model card

    @staticmethod
    def recognises(y: Any) -> bool:
        """Whether y has the form of this target's labels, as far as one form can be another."""
        return True

    @property
    def unit(self) -> Floats | None:
        """What 1 of each output is in the target's unit, (K,); None where it has none."""
        return None

    def fit_scaling(self, labels: Labels) -> Self:
        """Learn what only the training split may tell; nothing where labels are classes."""
        return self

    def with_names(self, names: Sequence[str]) -> Self:
        """Return the target with names for its outputs, where they can be given and K fit."""
        return self

    def to_output_units(self, predictions: Floats) -> Floats:
        """From transformed outputs to what users have, (m, K)."""
        return predictions

    def to_scored(self, labels: Labels) -> Labels:
        """Return labels in the form of `decide`."""
        return labels


@dataclass(frozen=True)
class LabelTarget(BaseTarget):
    """K labels, (K,), in order."""

    classes: NDArray[Any]

    @property
    def output_names(self) -> tuple[Any, ...]:
        """The labels, (K,)."""
        return tuple(self.classes.tolist())

    @property
    def num_outputs(self) -> int:
        """K; a damaged file may name a label twice."""
        return len(np.unique(self.classes))

    def describe_outputs(self) -> str:
        """Say which labels there are, in Markdown; the first ones where there are many."""
        labels = self.output_names
        first = ", ".join(f"`{label}`" for label in labels[:20])
        rest = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
        return f"{TASKS[self.task].nouns[1].capitalize()}: {first}{rest}."


@dataclass(frozen=True)
class ClassTarget(LabelTarget):
    """One of K classes: their labels, (K,), in order."""

    task: ClassVar[OutputName] = "classification"
    limits: ClassVar[str] = (
        "It always names one of its classes, also for a sequence that belongs to none. Its "
        "probabilities are\ncalibrated no better than the calibration error says, and only on "
        "data like the test split."
    )

    @staticmethod
    def read(y: Any, *, per_step: bool) -> Labels:
        """Return labels, (n,), or a Ragged of one a step."""
        return as_step_labels(y, "y") if per_step else as_labels(y, "y")

    @classmethod
    def from_labels(cls, labels: Labels) -> Self:
        """Learn from all labels. Raises DataError if there are fewer than two classes."""
        classes = np.unique(flatten(labels))
        if len(classes) < 2:
            fault = f"y holds one class only, {classes.tolist()[0]!r}" if len(classes) else ""
            raise DataError(
                fault or "y is empty", remedy="Expected at least two classes to tell apart."
            )
        return cls(classes)

    def with_classes(self, classes: NDArray[Any]) -> Self:
        """Return the target as it is, if these are its classes."""
        if (every := np.unique(classes)).tolist() != self.classes.tolist():
            raise SettingsError(
                f"classes: got {every.tolist()!r:.80}, but training continues with "
                f"{self.classes.tolist()!r:.80}. Leave it out after the first call"
            )
        return self

    def encode(self, labels: Labels) -> Labels:
        """Return codes, int64. Raises DataError for a class that is none."""
        codes = self.to_array(labels)
        return labels.with_values(codes) if isinstance(labels, Ragged) else codes

    def to_array(self, labels: Labels) -> NDArray[Any]:
        """Return codes, (m,)."""
        return to_codes(flatten(labels), self.classes)

    def decide(self, predictions: Floats) -> NDArray[Any]:
        """Return the likeliest class, (m,), from (m, K)."""
        labels: NDArray[Any] = self.classes[predictions.argmax(1)]
        return labels

    def class_weights(self, class_weight: Any, labels: Labels) -> Floats | None:
        """Return what each class counts in the loss, (K,) or None."""
        counts = np.bincount(self.to_array(labels), minlength=self.num_outputs)
        return class_weights(class_weight, self.classes, counts)

    def transform_outputs(self, outputs: Tensor) -> Tensor:
        """From logits, (..., K), to probabilities."""
        return torch.softmax(outputs.double(), -1)

    def evaluate(self, labels: Labels, predictions: Floats, **options: Any) -> Report:
        """Compare probabilities, (m, K), with the truth; see `elman.evaluate.evaluate`."""
        return evaluate(self.to_array(labels), predictions, list(self.output_names), **options)

    def describe(self, *, per_step: bool) -> str:
        """Say what is predicted, and for what."""
        return "a label at every step of a sequence" if per_step else "a class for each sequence"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"classes": self.classes.tolist(), "classes_type": self.classes.dtype.name}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        classes = np.array(values["classes"])
        # JSON has one kind of number; int32, say, must stay what it was.
        kind = values.get("classes_type", "")
        if kind[:3] in ("int", "uin", "flo"):
            if not (classes.astype(kind) == classes).all():
                raise ModelFileError(f"config.json: classes: not all are {kind}")
            classes = classes.astype(kind)
        return cls(classes)


@dataclass(frozen=True)
class MultilabelTarget(LabelTarget):
    """Any number of K labels at once: the labels, (K,), in order."""

    task: ClassVar[OutputName] = "multilabel"
    limits: ClassVar[str] = "It predicts each label whose probability is above 1/2, maybe none."

    @staticmethod
    def recognises(y: Any) -> bool:
        """Whether y is an indicator, or holds sets of labels."""
        return has_label_sets(y)

    @staticmethod
    def read(y: Any, *, per_step: bool) -> Labels:
        """Return an indicator, (n, K) int64, or n frozensets."""
        return as_label_sets(y, "y")

    @classmethod
    def from_labels(cls, labels: Labels) -> Self:
        """Learn from all labels. Raises DataError if there is none."""
        rows = flatten(labels)
        if rows.dtype != object:
            return cls(np.arange(rows.shape[1]))
        every = [label for row in rows for label in row]
        if not every:
            raise DataError("y holds no label at all", remedy="Expected some, at least one.")
        return cls(np.unique(as_labels(every, "y")))

    def with_classes(self, classes: NDArray[Any]) -> Self:
        """Return the target with these labels, if those that occur are among them."""
        every = np.unique(classes)
        to_codes(self.classes, every)  # raises for a label that is not among them
        return dataclasses.replace(self, classes=every)

    def encode(self, labels: Labels) -> Labels:
        """Return 1 where a label is there, (n, K) float32."""
        return self.to_array(labels).astype(np.float32)

    def to_array(self, labels: Labels) -> NDArray[np.int64]:
        """Return 1 where a label is there, (n, K)."""
        return to_indicator(flatten(labels), self.classes)

    def to_scored(self, labels: Labels) -> Labels:
        """Return labels in the form of `decide`."""
        return self.to_array(labels)

    def decide(self, predictions: Floats) -> NDArray[np.int64]:
        """Return 1 where a label's probability is above 1/2, (n, K)."""
        return (predictions > 0.5).astype(np.int64)

    def class_weights(self, class_weight: Any, labels: Labels) -> Floats | None:
        """Return what each label counts where it is there, (K,) or None."""
        return label_weights(class_weight, self.classes, self.to_array(labels))

    def transform_outputs(self, outputs: Tensor) -> Tensor:
        """From logits, (n, K), to the probability of each label."""
        # Not torch.sigmoid, whose last bit depends on where in memory a number lies: the same
        # sequence must get the same bits in any batch.
        both = torch.stack([torch.zeros_like(outputs), outputs], -1)
        return torch.softmax(both.double(), -1)[..., 1]

    def evaluate(self, labels: Labels, predictions: Floats, **options: Any) -> Report:
        """Compare probabilities, (m, K), with the truth; see `elman.evaluate.evaluate_labels`."""
        names = list(self.output_names)
        return evaluate_labels(self.to_array(labels), predictions, names, **options)

    def describe(self, *, per_step: bool) -> str:
        """Say what is predicted, and for what."""
        return f"any of {self.num_outputs} labels for each sequence"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"classes": self.classes.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        classes = np.array(values["classes"])
        if not len(classes) or len(np.unique(classes)) != len(classes):
            raise ModelFileError("config.json: classes: expected labels, each once")
        return cls(classes)


@dataclass(frozen=True)
class NumericTarget(BaseTarget):
    """K numbers; the network learns (y - mean) / scale of each.

    Args:
        names: what they are called, (K,).
        single: whether users have a bare number for each prediction, not a row of K.
        mean, scale: of the training split, (K,).
    """

    task: ClassVar[OutputName] = "regression"
    limits: ClassVar[str] = "It predicts numbers for every sequence, however unusual it is."
    names: tuple[str, ...]
    single: bool
    mean: Floats = field(default_factory=lambda: np.zeros(0))
    scale: Floats = field(default_factory=lambda: np.ones(0))

    @staticmethod
    def read(y: Any, *, per_step: bool) -> Labels:
        """Return values, (n,) or (n, K), or a Ragged of them."""
        if per_step:
            return as_step_values(y, "y")
        if isinstance(y, Ragged):
            remedy = 'Expected one a sequence, or readout="every".'
            raise DataError("y holds a value for every step", remedy=remedy)
        return as_values(y, "y")

    @classmethod
    def from_labels(cls, labels: Labels) -> Self:
        """Learn from all values, (m,) or (m, K), how many there are."""
        shape = flatten(labels).shape
        width = 1 if len(shape) == 1 else shape[1]
        default = ("target",) if width == 1 else tuple(f"target {k + 1}" for k in range(width))
        return cls(default, len(shape) == 1)

    @property
    def output_names(self) -> tuple[Any, ...]:
        """What the numbers are called, (K,)."""
        return self.names

    @property
    def num_outputs(self) -> int:
        """K."""
        return len(self.names)

    @property
    def unit(self) -> Floats:
        """What 1 of each output is in the target's unit, (K,)."""
        return self.scale

    def fit_scaling(self, labels: Labels) -> Self:
        """Learn mean and deviation; what never changes is not scaled."""
        numbers = self.to_array(labels)
        with np.errstate(over="ignore"):
            mean, scale = numbers.mean(0), numbers.std(0)
        if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
            raise DataError(
                "y holds numbers too large to standardise", remedy="Write them in another unit."
            )
        scale = np.where(scale > 1e-12 * np.abs(numbers).max(0), scale, 1.0)
        return dataclasses.replace(self, mean=mean, scale=scale)

    def with_names(self, names: Sequence[str]) -> Self:
        """Return the target with these names, if there are K."""
        fits = len(names) == len(self.names)
        return dataclasses.replace(self, names=tuple(names)) if fits else self

    def with_classes(self, classes: NDArray[Any]) -> Self:
        """Refuse classes: numbers have none."""
        raise SettingsError("classes: numbers are predicted, which have none. Leave it out")

    def encode(self, labels: Labels) -> Labels:
        """Return standardised values, float32, (n, K), or a Ragged of (N, K)."""
        numbers = ((self.to_array(labels) - self.mean) / self.scale).astype(np.float32)
        return labels.with_values(numbers) if isinstance(labels, Ragged) else numbers

    def to_array(self, labels: Labels) -> Floats:
        """Return values in their unit, (m, K). Raises ShapeError if there are not K of them."""
        numbers = np.asarray(flatten(labels), dtype=np.float64)
        numbers = numbers[:, None] if numbers.ndim == 1 else numbers
        if numbers.shape[1] != len(self.names):
            raise ShapeError(
                f"y: got {numbers.shape[1]} values each, expected {len(self.names)} as in training"
            )
        return numbers

    def decide(self, predictions: Floats) -> Floats:
        """Return bare numbers, (m,), where y had them, else (m, K)."""
        return predictions[:, 0] if self.single else predictions

    def class_weights(self, class_weight: Any, labels: Labels) -> None:
        """Numbers have none."""

    def transform_outputs(self, outputs: Tensor) -> Tensor:
        """From outputs, (..., K), to standardised values, which they are."""
        return outputs.double()

    def to_output_units(self, predictions: Floats) -> Floats:
        """Return values in the target's unit, (m, K)."""
        return predictions * self.scale + self.mean

    def evaluate(self, labels: Labels, predictions: Floats, **options: Any) -> Report:
        """Compare values, (m, K), with the truth; see `elman.evaluate.evaluate_values`."""
        return evaluate_values(self.to_array(labels), predictions, self.names, **options)

    def describe(self, *, per_step: bool) -> str:
        """Say what is predicted, and for what."""
        what = "a number" if self.num_outputs == 1 else f"{self.num_outputs} numbers"
        return f"{what} at every step of a sequence" if per_step else f"{what} for each sequence"

    def describe_outputs(self) -> str:
        """Say which numbers there are."""
        each = zip(self.names, self.mean, self.scale, strict=True)
        rows = "\n".join(f"- {n}: mean {m:.6g}, deviation {s:.6g}" for n, m, s in each)
        return f"Over the training split:\n\n{rows}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        names, mean, scale = list(self.names), self.mean.tolist(), self.scale.tolist()
        return {"values": {"names": names, "single": self.single, "mean": mean, "scale": scale}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        found = values["values"]
        names = tuple(str(name) for name in found["names"])
        mean, scale = (np.array(found[k], dtype=np.float64) for k in ("mean", "scale"))
        good = mean.shape == scale.shape == (len(names),) and names and (scale > 0).all()
        if not (good and np.isfinite([mean, scale]).all()):
            raise ModelFileError("config.json: values: expected a name, mean and scale of each")
        return cls(names, bool(found["single"]), mean, scale)


Target = ClassTarget | MultilabelTarget | NumericTarget
_TARGETS: tuple[type[Target], ...] = (ClassTarget, MultilabelTarget, NumericTarget)
TARGETS: dict[OutputName, type[Target]] = {kind.task: kind for kind in _TARGETS}
