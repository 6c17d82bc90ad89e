"""Numbers for each sequence, or for each step of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import Tags

from elman.data.ragged import Ragged, flatten
from elman.errors import DataError
from elman.estimators.base import SequenceEstimator
from elman.estimators.targets import Labels, NumericTarget
from elman.estimators.values import as_step_values, as_values
from elman.estimators.weights import sample_weights
from elman.train import EpochCallback


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceRegressor(RegressorMixin, SequenceEstimator):  # type: ignore[misc]
    """A recurrent network that gives each sequence, or each step, one or more numbers.

    Takes `SequenceClassifier`'s arguments, but for these. The network learns the numbers less their
    mean, over their deviation, both of the training part; predictions are in the target's unit.

    Args:
        readout: as `SequenceClassifier`; or `every`, for a number, or
            several, at every step.
        loss: what is minimised: `auto`, the squared error; `absolute`, which large errors draw
            less; or `huber`, squared up to one standard deviation and absolute beyond it.

    Attributes:
        target_: `.names`, `.mean` and `.scale` of what is predicted.
        history_, model_: as `SequenceClassifier`.

    Examples:
        >>> import numpy as np
        >>> from elman import SequenceRegressor
        >>> X = [np.sin(np.arange(20) * step) for step in np.linspace(0.2, 0.8, 60)]
        >>> y = np.linspace(0.2, 0.8, 60)
        >>> reg = SequenceRegressor(epochs=100, validation=0, random_state=0).fit(X, y)
        >>> reg.score(X, y) > 0.95
        True
    """

    readouts: ClassVar[tuple[str, ...]] = ("last", "mean", "max", "every")
    tasks: ClassVar[tuple[str, ...]] = ("regression",)

    readout: str = "auto"

    @property
    def per_step(self) -> bool:
        """Whether there is a number at every step."""
        return self.readout == "every"

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        on_epoch: EpochCallback | None = None,
        groups: Any = None,
    ) -> Self:
        """Train on sequences with numbers.

        Args:
            X: n sequences, in the forms `SequenceClassifier.fit` takes.
            y: (n,) numbers, or (n, K); with `readout="every"` n arrays (T_i,) or (T_i, K).
            sample_weight: n numbers, how much each sequence counts in the loss, or with
                `readout="every"` n lists with one a step; 0 leaves it out.
            validation_data: (X, y) or (X, y, sample_weight) to watch the training by, instead of a
                share of X.
            on_epoch: called with the record of each epoch; or an `elman.train.Observer`, such as
                `elman.explain.Watch`, which sees the network itself.
            groups: of each sequence, n; the share held out to watch the training by is of whole
                groups.
        Raises: DataError, ShapeError or SettingsError, saying what was expected.
        """
        self._fit(X, y, self.readout, sample_weight, validation_data, on_epoch, groups=groups)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _read(self, y: Any) -> Labels:
        if self.per_step:
            return as_step_values(y, "y")
        if isinstance(y, Ragged):
            raise DataError(
                "y holds a value for every step",
                remedy='Expected one a sequence, or readout="every".',
            )
        return as_values(y, "y")

    def _learn_target(self, labels: Labels) -> NumericTarget:
        return NumericTarget.of(labels)

    def predict(self, X: Any) -> Any:
        """Return numbers in the target's unit: (n,), or (n, K) if so many were given.

        With `readout="every"`: n arrays (T_i,) or (T_i, K).
        """
        inputs = self._encode_inputs(X)
        found: Any = self._model_output(inputs)
        assert isinstance(self.target_, NumericTarget)
        found = found[:, 0] if self.target_.single else found
        return list(inputs.with_values(found)) if self.per_step else found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2, the share of the variance that is explained; of several values the mean.

        Args:
            sample_weight: of each sequence, or with `readout="every"` of each step.
        """
        from sklearn.metrics import r2_score

        if not self.per_step:
            return float(super().score(X, y, sample_weight))
        truth = self.read_labels(self.read_sequences(X), y)
        found = self.predict(X)
        assert isinstance(truth, Ragged)
        if [len(f) for f in found] != truth.lengths.tolist():
            return float(self.evaluate(X, y, resamples=0).r2)  # raises, naming the sequence
        weight = None
        if sample_weight is not None:
            weight = flatten(sample_weights(sample_weight, truth.lengths, per_step=True))
        return float(r2_score(truth.values, np.concatenate(found), sample_weight=weight))
