"""A label for each sequence, or any number of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags

from elman.data.ragged import Ragged
from elman.estimators.base import SequenceEstimator
from elman.estimators.labels import as_labels, as_several, holds_several
from elman.estimators.targets import ClassTarget, Labels, MultilabelTarget, Target
from elman.train import EpochCallback


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceClassifier(ClassifierMixin, SequenceEstimator):  # type: ignore[misc]
    """A recurrent network that gives each sequence one of two or more classes, or several labels.

    An answer depends on its own sequence alone: never on padding or on the others in the batch.
    What is None is chosen from the data, by the rule of `elman.estimators.defaults`.

    Args:
        cell: `rnn`, `gru` or `lstm`.
        nonlinearity: of cell `rnn`, `tanh` or `relu`.
        hidden_size: units of each layer and direction.
        num_layers: recurrent layers, one above the other.
        bidirectional: run over the sequence in both directions.
        dropout: share dropped of embeddings, between layers and before the output.
        readout: what the output reads: `last`, the final state of each direction (a backward
            direction's is the one at the first step); `mean` or `max` over the states of all steps;
            `auto`, chosen from the data.
        embedding_size: numbers that stand for a token; at most so many for a category.
        initialization: `orthogonal`, with forget bias 1 for `lstm`, or `torch`, as torch.nn.
        effort: how much time what is chosen from the data may take: `quick`, `normal` or `high`, a
            tenth of a minute, one, or several.
        epochs: passes over the training part.
        batch_size: sequences a step, or `full`.
        learning_rate: at its highest, after the warm-up.
        optimizer: `adamw`, `adam` or `sgd` (momentum 0.9).
        weight_decay: of weight matrices; decoupled with `adamw`; None means 0 with the others.
        schedule: `cosine` down to zero after the warm-up, or `constant`.
        warmup: share of all steps over which the learning rate rises.
        clip_norm: largest norm of the gradient; 0 for no limit.
        label_smoothing: share of the target given to all classes alike.
        class_weight: what a class counts in the loss: None for alike; `balanced`, n / (K * count)
            over the training part; or weights by label, 1 for those not named. Of several labels,
            what one that is there counts against one that is not: `balanced` is without / with.
        loss: what is minimised: `auto`, the cross-entropy, or `focal`, where what is right already
            counts less (Lin et al. 2017, arXiv:1708.02002).
        focal_gamma: of loss `focal`, how much less: by (1 - p)^gamma.
        token_dropout: alpha of the chance alpha / (alpha + count) that a token is read as unknown
            while training (Kiperwasser & Goldberg 2016, arXiv:1603.04351).
        noise: standard deviation of the normal noise that training adds to numbers, after they were
            standardised (Bishop 1995, Neural Computation 7).
        patience: epochs without a lower validation loss before training stops, 0 for never; None
            means 15 with a validation part, else 0.
        keep: `best` weights by validation loss, or `last`; None means best with a validation part.
        validation: share of the training sequences, stratified, held out to watch the training; 0
            for none; None for one that suits their number.
        inputs: what a step of X is: `numbers`, `tokens`, `text`, `mixed`, or `auto`: arrays and
            lists of numbers with a fraction hold numbers, lists of strings or whole numbers hold
            tokens, a string is text, tables with words in them are mixed.
        tokens: what text is cut into: `characters`, `words` (in lower case), `bytes` of UTF-8, or
            `auto`: words if there are three or more on average, else characters.
        scale: standardise every channel, by the training part's mean and deviation.
        device: `cpu` or `cuda`, where the network is trained.
        threads: of the CPU, in training and prediction; the bits are the same for any number. More
            than one is for large networks and idle cores: on a busy machine they cost time.
        warm_start: `fit` goes on from the present weights, classes, vocabulary and scaling, where
            there are any; with an optimizer and a schedule that begin anew.
        verbose: 0 for silence, n for a line every n epochs and a progress bar.
        random_state: int for the same result on every call, None, or a NumPy RandomState.

    Attributes:
        classes_: (K,) labels in order; 0 to K - 1 of an indicator.
        history_: `.epochs`, a record an epoch, `.kept_epoch`, `.stopped`, and `.gradients`, where
            they came from.
        model_: the `elman.models.SequenceModel`.
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

    readouts: ClassVar[tuple[str, ...]] = ("last", "mean", "max")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "multilabel")

    readout: str = "auto"

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        on_epoch: EpochCallback | None = None,
        groups: Any = None,
    ) -> Self:
        """Train on labelled sequences.

        Ctrl-C ends the training as early stopping does, and keeps the best model so far.

        Args:
            X: n sequences: list of (T_i, C) or (T_i,) arrays, array (n, T, C) or (n, T), list of
                token lists, or list of strings; or a list of tables (T_i, C), object arrays or
                data frames, of numbers and categories. A missing number is NaN.
            y: (n,) labels: strings, whole numbers or truth values. Or several labels each: n sets
                or lists of labels, or an indicator, (n, K) with 1 where label k is there, as
                scikit-learn has it.
            sample_weight: n numbers, how much each sequence counts in the loss; 0 leaves it out.
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

    def _read(self, y: Any) -> Labels:
        return as_several(y, "y") if holds_several(y) else as_labels(y, "y")

    def _learn_target(self, labels: Labels) -> Target:
        several = not isinstance(labels, Ragged) and (labels.ndim == 2 or labels.dtype == object)
        return MultilabelTarget.of(labels) if several else ClassTarget.of(labels)

    def _set_target(self, target: Any) -> None:
        self.target_, self.classes_ = target, target.classes

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, or of each label, (n, K), columns as `classes_`."""
        return self._model_output(self._encode_inputs(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest class of each sequence, (n,).

        Of several labels: (n, K) whole numbers, 1 where the label's probability is above 1/2.
        """
        found = self.predict_proba(X)
        if isinstance(self.target_, MultilabelTarget):
            return (found > 0.5).astype(np.int64)
        labels: NDArray[Any] = self.classes_[found.argmax(1)]
        return labels

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of sequences that are right; of several labels, with all of them."""
        # Read as fit reads them: scikit-learn takes no arrays of objects but of text.
        labels = self.read_labels(self.read_sequences(X), y)
        if isinstance(self.target_, MultilabelTarget):
            labels = self.target_.to_array(labels)
        return float(super().score(X, labels, sample_weight))
