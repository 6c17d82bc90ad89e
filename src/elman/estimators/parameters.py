"""The arguments of every estimator, once.

A dataclass writes `__init__` from its fields, each with its name and nothing else in it, which is
just what scikit-learn asks of a constructor. Defaults are those of `elman.settings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elman.settings import DataSettings, ModelSettings, TrainingSettings


@dataclass(kw_only=True, eq=False, repr=False)
class Parameters:
    """What all estimators take; `SequenceClassifier` says what each means.

    An estimator with arguments of its own is a dataclass too, with the same options.
    """

    cell: str | None = ModelSettings.cell
    nonlinearity: str = ModelSettings.nonlinearity
    hidden_size: int | None = ModelSettings.hidden_size
    num_layers: int | None = ModelSettings.num_layers
    bidirectional: bool | None = ModelSettings.bidirectional
    dropout: float | None = ModelSettings.dropout
    embedding_size: int | None = ModelSettings.embedding_size
    initialization: str = ModelSettings.initialization
    effort: str = TrainingSettings.effort
    epochs: int | None = TrainingSettings.epochs
    batch_size: int | str | None = TrainingSettings.batch_size
    learning_rate: float | None = TrainingSettings.learning_rate
    optimizer: str = TrainingSettings.optimizer
    weight_decay: float | None = TrainingSettings.weight_decay
    schedule: str = TrainingSettings.schedule
    warmup: float = TrainingSettings.warmup
    clip_norm: float = TrainingSettings.clip_norm
    label_smoothing: float | None = TrainingSettings.label_smoothing
    class_weight: Any = TrainingSettings.class_weight
    loss: str = TrainingSettings.loss
    focal_gamma: float = TrainingSettings.focal_gamma
    token_dropout: float | None = TrainingSettings.token_dropout
    noise: float | None = TrainingSettings.noise
    patience: int | None = TrainingSettings.patience
    keep: str | None = TrainingSettings.keep
    validation: float | None = None  # of the settings this one may be a file too
    inputs: str = "auto"
    tokens: str = DataSettings.tokens
    scale: bool = DataSettings.scale
    device: str = TrainingSettings.device
    threads: int = TrainingSettings.threads
    warm_start: bool = False
    verbose: int = 0
    random_state: Any = None
