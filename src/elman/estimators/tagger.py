"""A label for each step of a sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.estimators.base import SequenceEstimator
from elman.train import EpochRecord


class SequenceTagger(SequenceEstimator):
    """A recurrent network that gives each step of a sequence one of two or more classes.

    Takes `SequenceClassifier`'s arguments but for `readout`: the output reads the state at every
    step. A step's label depends on the whole sequence, or with `bidirectional=False` on the steps
    up to it only.

    Attributes:
        classes_, history_, model_: as `SequenceClassifier`.
    """

    per_step = True

    def __init__(
        self,
        *,
        cell: str = "gru",
        nonlinearity: str = "tanh",
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        embedding_size: int = 64,
        initialization: str = "orthogonal",
        epochs: int = 60,
        batch_size: int | str = 32,
        learning_rate: float = 3e-3,
        optimizer: str = "adamw",
        weight_decay: float | None = None,
        schedule: str = "cosine",
        warmup: float = 0.05,
        clip_norm: float = 1.0,
        label_smoothing: float = 0.0,
        token_dropout: float = 0.25,
        patience: int | None = None,
        keep: str | None = None,
        validation: float = 0.1,
        inputs: str = "auto",
        tokens: str = "auto",
        scale: bool = True,
        device: str = "cpu",
        threads: int = 1,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.cell = cell
        self.nonlinearity = nonlinearity
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.embedding_size = embedding_size
        self.initialization = initialization
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup = warmup
        self.clip_norm = clip_norm
        self.label_smoothing = label_smoothing
        self.token_dropout = token_dropout
        self.patience = patience
        self.keep = keep
        self.validation = validation
        self.inputs = inputs
        self.tokens = tokens
        self.scale = scale
        self.device = device
        self.threads = threads
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        validation_data: tuple[Any, Any] | None = None,
        on_epoch: Callable[[EpochRecord], None] | None = None,
    ) -> Self:
        """Train on sequences with a label at every step.

        Args:
            X: n sequences, in the forms `SequenceClassifier.fit` takes.
            y: n lists or arrays of labels, each as long as its sequence.
            validation_data: (X, y) to watch the training by, instead of a share of X.
            on_epoch: called with the record of each epoch.
        Raises: DataError, ShapeError or SettingsError, saying what was expected.
        """
        self._fit(X, y, "every", validation_data, on_epoch)
        return self

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
        truth = self._labels(X, y)
        assert isinstance(truth, Ragged)
        found = Ragged.from_list(self.predict(X))
        if (found.lengths != truth.lengths).any():
            return self.evaluate(X, y).accuracy  # raises, naming the sequence
        return float((found.values == truth.values).mean())
