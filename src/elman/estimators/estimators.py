"""The estimators for classes, tags and numbers; `ablate_static`; and `load`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags
from torch import Tensor

from elman.data.ragged import Ragged, flatten, is_labelled
from elman.errors import DataError, ElmanError, ModelFileError, nearest
from elman.estimators.base import SequenceEstimator
from elman.estimators.labels import known_labels, refuse_other_lengths
from elman.estimators.parameters import document_parameters
from elman.estimators.storage import SavedEstimator, read_network
from elman.estimators.targets import ClassTarget, MultilabelTarget, NumericTarget, Target
from elman.estimators.weights import sample_weights
from elman.models import load_folder
from elman.models.storage import CONFIG
from elman.untrusted import read_as, refuse, show


class ClassPredictor(SequenceEstimator):
    """Base class of classifier and tagger; do not use it directly."""

    target_: ClassTarget | MultilabelTarget

    @property
    def classes_(self) -> NDArray[Any]:
        """Sorted class labels, (K,)."""
        return self.target_.classes

    def predict_proba(self, X: Any, static: Any = None) -> Any:
        """Return the probability of each class or label, (n, K), in the order of `classes_`.

        A tagger returns an object array of n arrays, (T_i, K), one row per step. Arguments are the
        same as for `predict`.
        """
        encoded = self.encode(X, static=static)
        return self.split_steps(encoded, self.predict_encoded(encoded))


@document_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class SequenceClassifier(ClassifierMixin, ClassPredictor):  # type: ignore[misc]
    """A recurrent network that predicts a class, or several labels, for each sequence.

    A prediction depends only on its own sequence, never on padding or on the rest of the batch.
    Parameters that are None are chosen from the data; see `elman.estimators.defaults`.

    The y of `fit` is (n,) labels: strings, integers or booleans. For multilabel classification it
    is n sets or lists of labels, or an indicator matrix, (n, K), with 1 where a sequence has label
    k, as in scikit-learn. If every row has exactly one 1, they are classes, which a warning says.

    Args:
        readout: Which states the output layer reads: `last`, the final state of each direction
            (for the backward direction, the state at the first step); `mean` or `max` over the
            states of all steps; `auto`, chosen from the data.

    Attributes:
        classes_: (K,) sorted labels; 0 to K - 1 for an indicator matrix.
        history_: `.epochs`, one record per epoch; `.kept_epoch`; `.stopped`, why training ended;
            and `.gradients`, how the gradients were computed.
        model_: the `elman.models.SequenceModel`.
        encoder_, target_: the encoders of sequences and labels.
        columns_: `.names`, `.units` and `.category_values` of the channels, as far as known.
        chosen_: a sentence listing the settings chosen from the data.

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

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, static: Any = None) -> float:
        """Return the accuracy; for multilabel targets, a sequence needs all labels correct."""
        X, y = self.read_labelled(X, y)
        encoded = self.encode(X, static=static)
        # Convert labels as fit does: scikit-learn accepts object arrays only if they hold text.
        labels = self.target_.to_scored(self.read_labels(encoded, y))
        return float(super().score(encoded, labels, sample_weight))


@document_parameters
class SequenceTagger(ClassPredictor):
    """A recurrent network that predicts one of two or more classes at each step of a sequence.

    The output layer reads the state at every step. A prediction depends on the whole sequence, or
    with `bidirectional=False` only on the steps up to it. Parameters that are None are chosen from
    the data.

    The y of `fit` is n lists or arrays of labels, each as long as its sequence. A step whose label
    is None, NaN, empty text or -100 is not labelled: it has no loss and is in no metric.
    `sample_weight` can also be n lists with one weight per step; 0 means not labelled.

    Attributes:
        classes_, history_, model_, encoder_, target_, columns_, chosen_: see `SequenceClassifier`.
    """

    saved_as: ClassVar[str] = "SequenceTagger"
    readouts: ClassVar[tuple[str, ...]] = ("every",)
    targets: ClassVar[tuple[type[Target], ...]] = (ClassTarget,)

    readout = "every"

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, static: Any = None) -> float:
        """Return the accuracy over all labelled steps.

        Args:
            sample_weight: n weights, one per sequence, or n lists with one weight per step.
        """
        X, y = self.read_labelled(X, y)
        encoded = self.encode(X, static=static)
        truth = self.read_labels(encoded, y)
        assert isinstance(truth, Ragged)
        refuse_other_lengths(encoded.inputs, truth)
        known = _labelled_steps(truth)
        right = np.concatenate(self.predict(encoded))[known] == known_labels(truth)
        weight = None
        if sample_weight is not None:
            weight = flatten(sample_weights(sample_weight, truth.lengths, per_step=True))[known]
        return float(np.average(right, weights=weight))


@document_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class SequenceRegressor(RegressorMixin, SequenceEstimator):  # type: ignore[misc]
    """A recurrent network that predicts one or more numbers for each sequence or each step.

    The target is standardised with its mean and standard deviation in the training split;
    predictions are in the target's unit. Parameters that are None are chosen from the data.

    The y of `fit` is (n,) or (n, K) numbers; with `readout="every"`, n arrays (T_i,) or (T_i, K),
    and `sample_weight` can also be n lists with one weight per step. A step with None or NaN, or
    with weight 0, is not labelled; -100 is a number.

    Args:
        readout: See `SequenceClassifier`; or `every`, to predict one or more numbers at every step.
        loss: Loss function: `auto`, the squared error; `absolute`, which is less sensitive to large
            errors; or `huber`, squared up to one standard deviation and absolute beyond it.

    Attributes:
        target_: `.names`, `.mean` and `.scale` of the target.
        history_, model_, encoder_, columns_, chosen_: see `SequenceClassifier`.

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

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, static: Any = None) -> float:
        """Return R2, the explained share of the variance, averaged over several targets.

        Args:
            sample_weight: weight of each sequence, or with `readout="every"` of each step.
        """
        from sklearn.metrics import r2_score

        X, y = self.read_labelled(X, y)
        encoded = self.encode(X, static=static)
        if not self.per_step:
            return float(super().score(encoded, y, sample_weight))
        truth = self.read_labels(encoded, y)
        predicted = self.predict(encoded)
        assert isinstance(truth, Ragged)
        if [len(values) for values in predicted] != truth.lengths.tolist():
            return float(self.evaluate(encoded, y, resamples=0).r2)  # raises, naming the sequence
        known, weight = _labelled_steps(truth), None
        if sample_weight is not None:
            weight = flatten(sample_weights(sample_weight, truth.lengths, per_step=True))[known]
        found = np.concatenate(predicted)[known]
        return float(r2_score(truth.values[known], found, sample_weight=weight))


def _labelled_steps(truth: Ragged) -> NDArray[np.bool_]:
    """Return which steps are labelled, (N,). Raises DataError if none is."""
    known = is_labelled(truth.values)
    if not known.any():
        raise DataError("y: no step is labelled", remedy="Expected labels to compare with.")
    return known


Estimator = SequenceClassifier | SequenceRegressor | SequenceTagger
# Only these classes are loaded: a model file cannot make `load` run other code.
ESTIMATORS: dict[str, type[Estimator]] = {
    kind.saved_as: kind for kind in (SequenceClassifier, SequenceRegressor, SequenceTagger)
}


@dataclass(frozen=True)
class StaticAblation:
    """What the static features are worth to a model.

    Args:
        score: accuracy, or R2 for numbers, with the features as they are.
        without: the mean score with all features of other sequences.
        by_feature: the mean score with each feature, by name, of other sequences.
    """

    score: float
    without: float
    by_feature: Mapping[str, float]

    def __str__(self) -> str:
        order = sorted(self.by_feature, key=lambda name: self.by_feature[name])
        parts = ", ".join(f"{name} {self.by_feature[name]:.3f}" for name in order[:8])
        return (
            f"Static features: the score is {self.score:.3f}, and {self.without:.3f} if all of them"
            f" are exchanged between sequences; each alone: {parts}"
        )


def ablate_static(
    model: Estimator, X: Any, y: Any, *, static: Any = None, repeats: int = 5, seed: int = 0
) -> StaticAblation:
    """Measure the score of a fitted estimator with static features exchanged between sequences.

    The model is not trained again: a feature that it does not use leaves the score as it is, and
    one that another feature replaces may do so too.

    Args:
        X, y, static: sequences, labels and features as for the estimator's `score`.
        repeats: number of random exchanges, over which the score is the mean.
        seed: seed of the exchanges.
    Raises: DataError if the model has no static features.
    """
    encoded = model.encode(X, static=static)
    own = encoded.static
    if own is None:
        raise DataError("the model has no static features", remedy="Expected some to exchange.")
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(own)) for _ in range(repeats)]
    names = {name: column for column, name in enumerate(own.names)}

    def exchanged(columns: Sequence[int]) -> float:
        scores = []
        for order in orders:
            numbers, categories = own.numbers.copy(), own.categories.copy()
            for column in columns:
                count = numbers.shape[1]
                table, k = (numbers, column) if column < count else (categories, column - count)
                table[:, k] = table[order, k]
            static = dataclasses.replace(own, numbers=numbers, categories=categories)
            scores.append(model.score(encoded.with_static(static), y))
        return float(np.mean(scores))

    by_feature = {name: exchanged([column]) for name, column in names.items()}
    together = exchanged(range(len(names))) if len(names) > 1 else next(iter(by_feature.values()))
    return StaticAblation(model.score(encoded, y), together, by_feature)


def load(folder: str | Path) -> Estimator:
    """Load an estimator written by `save` or `elman train`.

    Args:
        folder: a model folder or a run folder.
    Raises: ModelFileError if a file is missing, damaged or in another format.
    """
    tensors, config = load_folder(Path(folder))
    try:
        return _restore(tensors, config)
    except ElmanError as error:
        raise ModelFileError(f"{folder}: the model cannot be used: {error}") from error


def _restore(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Estimator:
    saved = read_as(SavedEstimator, config, CONFIG)
    if saved.estimator not in ESTIMATORS:
        raise ModelFileError(
            f"{CONFIG}: estimator {show(saved.estimator)}, expected one of {', '.join(ESTIMATORS)}"
        )
    kind = ESTIMATORS[saved.estimator]
    accepted, parameters = inspect.signature(kind).parameters, dict[str, Any](saved.parameters)
    for name in parameters:
        if name not in accepted:
            raise ModelFileError(
                f"{CONFIG}: parameters: {show(name)}: no such parameter.{nearest(name, accepted)}"
            )
    estimator = kind(**parameters)
    seed: Any = estimator.random_state
    if not isinstance(seed, int | None):
        refuse(f"{CONFIG}: parameters: random_state", seed, "a whole number or null")
    for name in ("verbose", "warm_start"):  # the others are checked by `check_parameters`
        if not isinstance(value := getattr(estimator, name), int):
            refuse(f"{CONFIG}: parameters: {name}", value, "a whole number, true or false")
    estimator.check_parameters(read_network(saved.model).readout)
    estimator.restore(tensors, saved)
    return estimator
