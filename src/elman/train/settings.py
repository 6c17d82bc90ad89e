"""The settings of the training loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.errors import SettingsError


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Args:
        epochs: passes over the training part.
        batch_size: sequences a step, or `full` for all of them.
        learning_rate: at its highest, after the warm-up.
        optimizer: `adamw`, `adam` or `sgd`.
        weight_decay: of weight matrices, not of biases and embeddings; decoupled for `adamw`.
        schedule: `cosine` down to zero after the warm-up, or `constant`.
        warmup: share of all steps over which the learning rate rises from zero.
        clip_norm: largest norm of the gradient over all parameters; 0 for no limit.
        label_smoothing: share of the target given to all classes alike.
        token_dropout: alpha of the chance alpha / (alpha + count) that a token is read as unknown
            while training, so that unknown tokens have a meaning (Kiperwasser & Goldberg 2016,
            arXiv:1603.04351); 0 for never.
        patience: epochs without a lower validation loss after which training ends; 0 for never.
        keep: weights to end with: `best` by validation loss, or `last`.
        seed: of every draw: first weights, order of batches, dropout.
    """

    epochs: int = 60
    batch_size: int | Literal["full"] = 32
    learning_rate: float = 3e-3
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: float = 0.05
    clip_norm: float = 1.0
    label_smoothing: float = 0.0
    token_dropout: float = 0.25
    patience: int = 15
    keep: str = "best"
    seed: int = 0

    def __post_init__(self) -> None:
        def refuse(name: str, expected: str) -> SettingsError:
            return SettingsError(f"{name}: got {getattr(self, name)!r}, expected {expected}")

        if self.epochs < 1:
            raise refuse("epochs", "at least 1")
        if self.batch_size != "full" and self.batch_size < 1:
            raise refuse("batch_size", "at least 1, or 'full'")
        if not self.learning_rate > 0:
            raise refuse("learning_rate", "more than 0")
        for name in ("weight_decay", "clip_norm", "patience", "token_dropout"):
            if getattr(self, name) < 0:
                raise refuse(name, "0 or more")
        for name in ("warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise refuse(name, "from 0 up to, not including, 1")
        for name, known in (
            ("optimizer", ("adamw", "adam", "sgd")),
            ("schedule", ("cosine", "constant")),
            ("keep", ("best", "last")),
        ):
            if getattr(self, name) not in known:
                raise refuse(name, ", ".join(known))
