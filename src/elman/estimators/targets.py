"""What is predicted: from labels as users have them to what a network learns, and back.

n sequences, m answers (the sequences, or with one at every step the N steps), K outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.ragged import Ragged, flatten
from elman.errors import DataError, ModelFileError, ShapeError
from elman.estimators.labels import as_labels, to_codes, to_indicator
from elman.estimators.weights import class_weights, label_weights
from elman.evaluate import (
    MultilabelReport,
    RegressionReport,
    Report,
    evaluate,
    evaluate_labels,
    evaluate_values,
)
from elman.tasks import OutputName

Labels = NDArray[Any] | Ragged
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassTarget:
    """One of K classes: their labels, (K,), in order."""

    task: ClassVar[OutputName] = "classification"
    classes: NDArray[Any]

    @classmethod
    def of(cls, labels: Labels) -> ClassTarget:
        """Learn from all labels. Raises DataError if there are fewer than two classes."""
        classes = np.unique(flatten(labels))
        if len(classes) < 2:
            raise DataError(
                f"y holds one class only, {classes.tolist()[0]!r}"
                if len(classes)
                else "y is empty",
                remedy="Expected at least two classes to tell apart.",
            )
        return cls(classes)

    @property
    def num_outputs(self) -> int:
        """K."""
        return len(np.unique(self.classes))

    unit = None

    def fit_scaling(self, labels: Labels) -> ClassTarget:
        """Learn from the training part; the classes are known already."""
        return self

    def encode(self, labels: Labels) -> Labels:
        """Return codes, int64. Raises DataError for a class that is none."""
        if isinstance(labels, Ragged):
            return labels.with_values(to_codes(labels.values, self.classes))
        return to_codes(labels, self.classes)

    def to_array(self, labels: Labels) -> NDArray[Any]:
        """Return codes as baselines learn them, (m,)."""
        return flatten(self.encode(labels))

    def class_weights(self, asked: Any, labels: Labels) -> Floats | None:
        """Return what each class counts in the loss; see `elman.estimators.weights`."""
        counts = np.bincount(self.to_array(labels), minlength=self.num_outputs)
        return class_weights(asked, self.classes, counts)

    def transform_outputs(self, outputs: Tensor) -> Tensor:
        """From outputs, (..., K), to probabilities, float64."""
        return torch.softmax(outputs.double(), -1)

    def to_output_units(self, predictions: Floats) -> Floats:
        """Return what users are given, (m, K)."""
        return predictions

    def evaluate(self, labels: Labels, answers: Floats, **how: Any) -> Report:
        """Compare probabilities, (m, K), with the truth; see `elman.evaluate.evaluate`."""
        return evaluate(self.to_array(labels), answers, self.classes.tolist(), **how)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"classes": self.classes.tolist(), "classes_type": self.classes.dtype.name}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClassTarget:
        """Undo `to_dict`."""
        classes = np.array(values["classes"])
        kind = values.get("classes_type", "")  # int32, say, where JSON has one kind of number
        if kind[:3] in ("int", "uin", "flo"):
            if not (classes.astype(kind) == classes).all():
                raise ModelFileError(f"config.json: classes: not all are {kind}")
            classes = classes.astype(kind)
        return cls(classes)


@dataclass(frozen=True)
class NumericTarget:
    """K numbers; the network learns (y - mean) / scale of each.

    Args:
        names: what they are called, (K,).
        single: whether users have a bare number for each answer, not a row of K.
        mean, scale: of the training part, (K,).
    """

    task: ClassVar[OutputName] = "regression"
    names: tuple[str, ...]
    single: bool
    mean: Floats = field(default_factory=lambda: np.zeros(0))
    scale: Floats = field(default_factory=lambda: np.ones(0))

    @classmethod
    def of(cls, values: Labels, names: tuple[str, ...] = ()) -> NumericTarget:
        """Learn from all values, (m,) or (m, K), what form they have."""
        shape = flatten(values).shape
        width = 1 if len(shape) == 1 else shape[1]
        default = ("target",) if width == 1 else tuple(f"target {k + 1}" for k in range(width))
        return cls(names or default, len(shape) == 1)

    @property
    def num_outputs(self) -> int:
        """K."""
        return len(self.names)

    @property
    def unit(self) -> Floats:
        """What 1 of each output stands for, (K,)."""
        return self.scale

    def fit_scaling(self, values: Labels) -> NumericTarget:
        """Learn mean and deviation from the training part; what never changes is not scaled."""
        numbers = self.to_array(values)
        with np.errstate(over="ignore"):
            mean, scale = numbers.mean(0), numbers.std(0)
        if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
            raise DataError(
                "y holds numbers too large to standardise", remedy="Write them in another unit."
            )
        scale = np.where(scale > 1e-12 * np.abs(numbers).max(0), scale, 1.0)
        return dataclasses.replace(self, mean=mean, scale=scale)

    def encode(self, values: Labels) -> Labels:
        """Return standardised values, float32, (n, K), or a Ragged of (N, K)."""
        numbers = ((self.to_array(values) - self.mean) / self.scale).astype(np.float32)
        return values.with_values(numbers) if isinstance(values, Ragged) else numbers

    def to_array(self, values: Labels) -> Floats:
        """Return values in their unit, (m, K). Raises ShapeError if there are not K of them."""
        numbers = np.asarray(flatten(values), dtype=np.float64)
        numbers = numbers[:, None] if numbers.ndim == 1 else numbers
        if numbers.shape[1] != len(self.names):
            raise ShapeError(
                f"y: got {numbers.shape[1]} values each, expected {len(self.names)} as in training"
            )
        return numbers

    def class_weights(self, asked: Any, values: Labels) -> None:
        """Numbers have none."""

    def transform_outputs(self, outputs: Tensor) -> Tensor:
        """From outputs, (..., K), to standardised values, float64."""
        return outputs.double()

    def to_output_units(self, predictions: Floats) -> Floats:
        """Return values in the target's unit, (m, K)."""
        return predictions * self.scale + self.mean

    def evaluate(self, values: Labels, answers: Floats, **how: Any) -> RegressionReport:
        """Compare values, (m, K), with the truth; see `elman.evaluate.evaluate_values`."""
        return evaluate_values(self.to_array(values), answers, self.names, **how)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` gives the same numbers back to the last bit."""
        names, mean, scale = list(self.names), self.mean.tolist(), self.scale.tolist()
        return {"values": {"names": names, "single": self.single, "mean": mean, "scale": scale}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NumericTarget:
        """Undo `to_dict`. Raises ModelFileError if a part is missing or of the wrong form."""
        found = values["values"]
        names = tuple(str(name) for name in found["names"])
        mean, scale = (np.array(found[k], dtype=np.float64) for k in ("mean", "scale"))
        good = mean.shape == scale.shape == (len(names),) and names and (scale > 0).all()
        if not (good and np.isfinite(mean).all() and np.isfinite(scale).all()):
            raise ModelFileError("config.json: values: expected a name, mean and scale of each")
        return cls(names, bool(found["single"]), mean, scale)


@dataclass(frozen=True)
class MultilabelTarget:
    """Any number of K labels at once: the labels, (K,), in order."""

    task: ClassVar[OutputName] = "multilabel"
    classes: NDArray[Any]

    @classmethod
    def of(cls, labels: Labels) -> MultilabelTarget:
        """Learn from all labels, as `as_several` gave them."""
        rows = flatten(labels)
        if rows.dtype != object:
            return cls(np.arange(rows.shape[1]))
        every = [label for row in rows for label in row]
        if not every:
            raise DataError("y holds no label at all", remedy="Expected some, at least one.")
        return cls(np.unique(as_labels(every, "y")))

    @property
    def num_outputs(self) -> int:
        """K."""
        return len(self.classes)

    unit = None

    def fit_scaling(self, labels: Labels) -> MultilabelTarget:
        """Learn from the training part; the labels are known already."""
        return self

    def encode(self, labels: Labels) -> Labels:
        """Return 1 where a label is there, (n, K) float32. Raises DataError for one that is new."""
        return self.to_array(labels).astype(np.float32)

    def to_array(self, labels: Labels) -> NDArray[np.int64]:
        """Return 1 where a label is there, (n, K)."""
        return to_indicator(flatten(labels), self.classes)

    def class_weights(self, asked: Any, labels: Labels) -> Floats | None:
        """Return what each label counts where it is there; see `elman.estimators.weights`."""
        return label_weights(asked, self.classes, self.to_array(labels))

    def transform_outputs(self, outputs: Tensor) -> Tensor:
        """From outputs, (n, K), to the probability of each label, float64."""
        # Not torch.sigmoid, whose last bit hangs on where in memory a number lies.
        both = torch.stack([torch.zeros_like(outputs), outputs], -1).double()
        return torch.softmax(both, -1)[..., 1]

    def to_output_units(self, predictions: Floats) -> Floats:
        """Return what users are given, (n, K)."""
        return predictions

    def evaluate(self, labels: Labels, answers: Floats, **how: Any) -> MultilabelReport:
        """Compare probabilities, (n, K), with the truth; see `elman.evaluate.evaluate_labels`."""
        return evaluate_labels(self.to_array(labels), answers, self.classes.tolist(), **how)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"classes": self.classes.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MultilabelTarget:
        """Undo `to_dict`."""
        classes = np.array(values["classes"])
        if not len(classes) or len(np.unique(classes)) != len(classes):
            raise ModelFileError("config.json: classes: expected labels, each once")
        return cls(classes)


Target = ClassTarget | MultilabelTarget | NumericTarget
TARGETS: dict[OutputName, type[Target]] = {
    kind.task: kind for kind in (ClassTarget, MultilabelTarget, NumericTarget)
}
