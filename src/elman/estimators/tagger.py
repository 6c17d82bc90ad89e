"""A label for each step of a sequence."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.estimators.base import SequenceEstimator
from elman.estimators.labels import as_step_labels
from elman.estimators.targets import ClassTarget, Labels
from elman.train import EpochCallback


class SequenceTagger(SequenceEstimator):
    """A recurrent network that gives each step of a sequence one of two or more classes.

    Takes `SequenceClassifier`'s arguments but for `readout`: the output reads the state at every
    step. A step's label depends on the whole sequence, or with `bidirectional=False` on the steps
    up to it only.

    Attributes:
        classes_, history_, model_: as `SequenceClassifier`.
    """

    readouts: ClassVar[tuple[str, ...]] = ("every",)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        on_epoch: EpochCallback | None = None,
        groups: Any = None,
    ) -> Self:
        """Train on sequences with a label at every step.

        Args:
            X: n sequences, in the forms `SequenceClassifier.fit` takes.
            y: n lists or arrays of labels, each as long as its sequence.
            sample_weight: n numbers, how much each sequence counts in the loss, or n lists with one
                a step; 0 leaves it out.
            validation_data: (X, y) or (X, y, sample_weight) to watch the training by, instead of a
                share of X.
            on_epoch: called with the record of each epoch; or an `elman.train.Observer`, such as
                `elman.explain.Watch`, which sees the network itself.
            groups: of each sequence, n; the share held out to watch the training by is of whole
                groups.
        Raises: DataError, ShapeError or SettingsError, saying what was expected.
        """
        self._fit(X, y, "every", sample_weight, validation_data, on_epoch, groups=groups)
        return self

    def _read(self, y: Any) -> Labels:
        return as_step_labels(y, "y")

    def _learn_target(self, labels: Labels) -> ClassTarget:
        return ClassTarget.of(labels)

    def _set_target(self, target: Any) -> None:
        self.target_, self.classes_ = target, target.classes

    def predict_proba(self, X: Any) -> list[NDArray[np.float64]]:
        """Return the probability of each class at each step: n arrays (T_i, K)."""
        inputs = self._encode_inputs(X)
        return list(inputs.with_values(self._model_output(inputs)))

    def predict(self, X: Any) -> list[NDArray[Any]]:
        """Return the likeliest class of each step: n arrays (T_i,)."""
        inputs = self._encode_inputs(X)
        labels = self.classes_[self._model_output(inputs).argmax(1)]
        return list(inputs.with_values(labels))

    def score(self, X: Any, y: Any) -> float:
        """Return the share of steps that are right."""
        truth = self.read_labels(self.read_sequences(X), y)
        assert isinstance(truth, Ragged)
        found = Ragged.from_list(self.predict(X))
        if (found.lengths != truth.lengths).any():
            return float(self.evaluate(X, y).accuracy)  # raises, naming the sequence
        return float((found.values == truth.values).mean())
