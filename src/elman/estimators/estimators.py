"""The estimators: a class, labels or numbers for each sequence, or for each step; and `load`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags
from torch import Tensor

from elman.data.ragged import Ragged, flatten
from elman.errors import ModelFileError, nearest
from elman.estimators.base import SequenceEstimator
from elman.estimators.labels import sample_weights
from elman.estimators.parameters import document_parameters
from elman.estimators.targets import ClassTarget, MultilabelTarget, NumericTarget, Target
from elman.models import load_folder


class ClassPredictor(SequenceEstimator):
    """What classifier and tagger share; not to be used itself."""

    target_: ClassTarget | MultilabelTarget

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels in order, (K,)."""
        return self.target_.classes

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, or of each label, (n, K), columns as `classes_`.

        Of a tagger n arrays, (T_i, K), with the probability of each class at each step.
        """
        encoded = self.encode(X)
        return self.split_steps(encoded, self.predict_encoded(encoded))


@document_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class SequenceClassifier(ClassifierMixin, ClassPredictor):  # type: ignore[misc]
    """A recurrent network that gives each sequence one of two or more classes, or several labels.

    A prediction depends on its own sequence alone: never on padding or on the rest of the batch.
    What is None is chosen from the data, by the rule of `elman.estimators.defaults`.

    `fit` takes as y (n,) labels: strings, whole numbers or truth values. Or several labels each: n
    sets or lists of labels, or an indicator, (n, K) with 1 where label k is there, as in
    scikit-learn.

    Args:
        readout: What the output reads: `last`, the final state of each direction (a backward
            direction's is the one at the first step); `mean` or `max` over the states of all steps;
            `auto`, chosen from the data.

    Attributes:
        classes_: (K,) labels in order; 0 to K - 1 of an indicator.
        history_: `.epochs`, a record an epoch, `.kept_epoch`, `.stopped`, and `.gradients`, where
            they came from.
        model_: the `elman.models.SequenceModel`.
        encoder_, target_: how sequences and labels are read.
        columns_: names of the channels, where they have any.
        chosen_: what was chosen from the data, in words.

    Examples:
        >>> import numpy as np
        >>> from elman import SequenceClassifier
        >>> X = [np.sin(np.arange(n) * step) for n in (9, 12) for step in (0.5, 1.0) * 10]
        >>> y = ["slow", "fast"] * 20
        >>> clf = SequenceClassifier(epochs=40, random_state=0).fit(X, y)
        >>> clf.score(X, y)
        1.0
    """

    saved_as: ClassVar[str] = "SequenceClassifier"
    readouts: ClassVar[tuple[str, ...]] = ("last", "mean", "max")
    targets: ClassVar[tuple[type[Target], ...]] = (MultilabelTarget, ClassTarget)

    readout: str = "auto"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of sequences that are right; of several labels, with all of them."""
        # Read as fit reads them: scikit-learn takes no arrays of objects but of text.
        labels = self.target_.to_scored(self.read_labels(self.read_sequences(X), y))
        return float(super().score(X, labels, sample_weight))


@document_parameters
class SequenceTagger(ClassPredictor):
    """A recurrent network that gives each step of a sequence one of two or more classes.

    The output reads the state at every step. A step's label depends on the whole sequence, or with
    `bidirectional=False` on the steps up to it only. What is None is chosen from the data.

    `fit` takes as y n lists or arrays of labels, each as long as its sequence, and as
    `sample_weight` also n lists with one a step.

    Attributes:
        classes_, history_, model_, encoder_, target_, columns_, chosen_: as `SequenceClassifier`.
    """

    saved_as: ClassVar[str] = "SequenceTagger"
    readouts: ClassVar[tuple[str, ...]] = ("every",)
    targets: ClassVar[tuple[type[Target], ...]] = (ClassTarget,)

    readout = "every"

    def score(self, X: Any, y: Any) -> float:
        """Return the share of steps that are right."""
        encoded = self.encode(X)
        truth = self.read_labels(encoded, y)
        assert isinstance(truth, Ragged)
        predicted = Ragged.from_list(self.predict(encoded))
        if (predicted.lengths != truth.lengths).any():
            return float(self.evaluate(encoded, y).accuracy)  # raises, naming the sequence
        return float((predicted.values == truth.values).mean())


@document_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class SequenceRegressor(RegressorMixin, SequenceEstimator):  # type: ignore[misc]
    """A recurrent network that gives each sequence, or each step, one or more numbers.

    The network learns the numbers less their mean, over their deviation, both of the training
    split; predictions are in the target's unit. What is None is chosen from the data.

    `fit` takes as y (n,) numbers, or (n, K); with `readout="every"` n arrays (T_i,) or (T_i, K),
    and as `sample_weight` also n lists with one a step.

    Args:
        readout: As `SequenceClassifier`; or `every`, for a number, or several, at every step.
        loss: What is minimised: `auto`, the squared error; `absolute`, which large errors draw
            less; or `huber`, squared up to one standard deviation and absolute beyond it.

    Attributes:
        target_: `.names`, `.mean` and `.scale` of what is predicted.
        history_, model_, encoder_, columns_, chosen_: as `SequenceClassifier`.

    Examples:
        >>> import numpy as np
        >>> from elman import SequenceRegressor
        >>> X = [np.sin(np.arange(20) * step) for step in np.linspace(0.2, 0.8, 60)]
        >>> y = np.linspace(0.2, 0.8, 60)
        >>> reg = SequenceRegressor(epochs=100, validation=0, random_state=0).fit(X, y)
        >>> reg.score(X, y) > 0.95
        True
    """

    saved_as: ClassVar[str] = "SequenceRegressor"
    readouts: ClassVar[tuple[str, ...]] = ("last", "mean", "max", "every")
    targets: ClassVar[tuple[type[Target], ...]] = (NumericTarget,)

    readout: str = "auto"

    @property
    def per_step(self) -> bool:
        """Whether there is a number at every step."""
        return self.readout == "every"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2, the share of the variance that is explained; of several values the mean.

        Args:
            sample_weight: of each sequence, or with `readout="every"` of each step.
        """
        from sklearn.metrics import r2_score

        if not self.per_step:
            return float(super().score(X, y, sample_weight))
        encoded = self.encode(X)
        truth = self.read_labels(encoded, y)
        predicted = self.predict(encoded)
        assert isinstance(truth, Ragged)
        if [len(values) for values in predicted] != truth.lengths.tolist():
            return float(self.evaluate(encoded, y, resamples=0).r2)  # raises, naming the sequence
        weight = None
        if sample_weight is not None:
            weight = flatten(sample_weights(sample_weight, truth.lengths, per_step=True))
        return float(r2_score(truth.values, np.concatenate(predicted), sample_weight=weight))


Estimator = SequenceClassifier | SequenceRegressor | SequenceTagger
# The only classes that a saved model can name.
ESTIMATORS: dict[str, type[Estimator]] = {
    kind.saved_as: kind for kind in (SequenceClassifier, SequenceRegressor, SequenceTagger)
}


def load(folder: str | Path) -> Estimator:
    """Load an estimator that `save` or `elman train` wrote.

    Args:
        folder: of a model, or of a run.
    Raises: ModelFileError if something is missing, damaged, or not of this format.
    """
    tensors, config = load_folder(Path(folder))
    try:
        return _restore(tensors, config)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(f"{folder}: the model cannot be used: {detail}") from error


def _restore(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Estimator:
    if config["estimator"] not in ESTIMATORS:
        raise ModelFileError(
            f"config.json: estimator {config['estimator']!r}, expected one of "
            f"{', '.join(ESTIMATORS)}"
        )
    kind = ESTIMATORS[config["estimator"]]
    parameters = inspect.signature(kind).parameters
    for name in config["parameters"]:
        if name not in parameters:
            raise ModelFileError(
                f"config.json: parameters: {name}: no such parameter.{nearest(name, parameters)}"
            )
    estimator = kind(**config["parameters"])
    if not isinstance(estimator.random_state, int | None):
        raise ModelFileError(f"config.json: random_state {estimator.random_state!r}")
    estimator.restore(tensors, config)
    estimator.check_parameters(estimator.model_.config.readout)
    return estimator
