"""What every target can do; `elman.estimators.targets` has one for each task.

All that depends on the task in this room is a method of its target, so that nobody asks which task
it is. n sequences, m predictions (of the sequences, or of the N steps), K outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elman.data.ragged import Ragged
from elman.errors import SettingsError, nearest
from elman.evaluate import Report
from elman.tasks import OutputName

Labels = NDArray[Any] | Ragged
Floats = NDArray[np.float64]


class Target(ABC):
    """What a network predicts; `read` and `from_labels` make one from the labels of a training."""

    task: ClassVar[OutputName]
    limits: ClassVar[str]  # for the model card

    @staticmethod
    @abstractmethod
    def recognises(y: Any) -> bool:
        """Whether y has the form of this target's labels."""

    @staticmethod
    @abstractmethod
    def read(y: Any, *, per_step: bool) -> Labels:
        """Return y checked. Raises ShapeError or DataError, saying what was expected."""

    @classmethod
    @abstractmethod
    def from_labels(cls, labels: Labels) -> Self:
        """Learn from all labels, as `read` gave them."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Undo `to_dict`. Raises ModelFileError if a part is missing or of the wrong form."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` gives the same target back to the last bit."""

    @property
    @abstractmethod
    def output_names(self) -> tuple[Any, ...]:
        """What the outputs are called, (K,): the labels, or the names of the numbers."""

    @property
    def num_outputs(self) -> int:
        """K."""
        return len(self.output_names)

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

    @abstractmethod
    def with_classes(self, classes: NDArray[Any]) -> Self:
        """Return the target with all the classes there will be.

        Raises: SettingsError if it has none, or others have been learnt.
        """

    @abstractmethod
    def encode(self, labels: Labels) -> Labels:
        """Return what the network learns from. Raises DataError for a label that is new."""

    @abstractmethod
    def to_array(self, labels: Labels) -> NDArray[Any]:
        """Return labels as metrics and baselines take them, (m,) or (m, K)."""

    @abstractmethod
    def decide(self, predictions: Floats) -> NDArray[Any]:
        """From probabilities, or values, (m, K), to what `predict` returns."""

    def to_scored(self, labels: Labels) -> Labels:
        """Return labels in the form of `decide`."""
        return labels

    @abstractmethod
    def class_weights(self, class_weight: Any, labels: Labels) -> Floats | None:
        """Return what each class counts in the loss; by `class_weights` or `label_weights`."""

    @abstractmethod
    def transform_outputs(self, outputs: Tensor) -> Tensor:
        """From raw outputs, (..., K), to probabilities or standardised values, float64."""

    def to_output_units(self, predictions: Floats) -> Floats:
        """From transformed outputs to what users have, (m, K)."""
        return predictions

    @abstractmethod
    def evaluate(self, labels: Labels, predictions: Floats, **options: Any) -> Report:
        """Compare predictions, (m, K), with the truth; see `elman.evaluate`."""

    @abstractmethod
    def describe(self, *, per_step: bool) -> str:
        """Say what is given to a sequence, as in "a class for each sequence"."""

    @abstractmethod
    def describe_outputs(self) -> str:
        """Say which classes, labels or numbers there are, in Markdown."""


def list_labels(labels: Sequence[Any]) -> str:
    """Return the first labels in Markdown, and how many more there are."""
    shown = ", ".join(f"`{label}`" for label in labels[:20])
    return shown + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")


def class_weights(
    class_weight: str | Mapping[Any, float] | None, classes: NDArray[Any], counts: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the weight of each class, (K,), or None for None.

    Args:
        class_weight: `balanced`, n / (K * count of the class), as scikit-learn's
            compute_class_weight; or weights by label, those not named are 1. A label may be written
            as text: a file knows no other.
        classes: labels, (K,).
        counts: how often each occurs in the training split, (K,); of a tagger over its steps.
    Raises: SettingsError for a label that is none.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        present = counts > 0
        balanced = counts.sum() / (present.sum() * np.maximum(counts, 1))
        return np.where(present, balanced, 1.0)
    return by_label(class_weight, classes)


def label_weights(
    class_weight: str | Mapping[Any, float] | None, classes: NDArray[Any], there: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return what a label that is there counts against one that is not, (K,), or None.

    Args:
        class_weight: `balanced`, without / with the label in the training split; or weights by
            label.
        classes: labels, (K,).
        there: 1 where a label is there, (n, K).
    """
    if isinstance(class_weight, str):
        positive = there.sum(0)
        return np.where(positive > 0, (len(there) - positive) / np.maximum(positive, 1), 1.0)
    return None if class_weight is None else by_label(class_weight, classes)


def by_label(class_weight: Mapping[Any, float], classes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the weight that each label, (K,), is given, 1 where it is not named."""
    place = {str(label): k for k, label in enumerate(classes.tolist())}
    weights = np.ones(len(classes))
    for label, weight in class_weight.items():
        if str(label) not in place:
            raise SettingsError(
                f"class_weight: there is no class {label!r}.{nearest(str(label), place)} Expected "
                f"some of {', '.join(map(repr, list(classes.tolist())[:12]))}"
            )
        weights[place[str(label)]] = weight
    return weights
