"""Settings that nobody has set, chosen from the data's own figures by a short rule."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.estimators.encoder import Encoder
from elman.settings import ModelSettings, TrainingPlan, TrainingSettings


def validation_share(sequences: int) -> float:
    """Share of so many training sequences to hold out where nobody says."""
    return 0.1


@dataclass(frozen=True)
class Figures:
    """What the rule looks at, of the training part.

    Args:
        sequences: how many.
        steps: of a sequence, on average.
        channels: numbers at a step, 0 for tokens.
        categories: and columns of categories.
        vocabulary: different tokens, 0 for numbers.
        outputs: classes, or values to be predicted.
        per_step: whether there is a label at every step.
    """

    sequences: int
    steps: float
    channels: int
    categories: int
    vocabulary: int
    outputs: int
    per_step: bool

    @classmethod
    def of(
        cls, encoder: Encoder, lengths: NDArray[np.int64], outputs: int, *, per_step: bool
    ) -> Figures:
        """Take the figures of sequences of these lengths, (n,), that an encoder was fitted to."""
        return cls(
            sequences=len(lengths),
            steps=float(np.mean(lengths)),
            channels=encoder.input_size,
            categories=len(encoder.category_sizes),
            vocabulary=encoder.vocabulary_size,
            outputs=outputs,
            per_step=per_step,
        )

    def __str__(self) -> str:
        step = f"{self.vocabulary:,} tokens" if self.vocabulary else f"{self.channels:,} channels"
        step += f" and {self.categories} categories" if self.categories else ""
        return (
            f"{self.sequences:,} sequences of {self.steps:.3g} steps, {step}, "
            f"{self.outputs:,} outputs{' a step' if self.per_step else ''}"
        )


def choose(
    figures: Figures, model: ModelSettings, training: TrainingSettings
) -> tuple[ModelSettings, TrainingSettings, str]:
    """Fill in what is None, by the rule of docs/defaults.md.

    Returns: the settings of network and training, and one sentence that says what was chosen.
    """
    network: dict[str, Any] = {
        "cell": "gru",
        "hidden_size": 64,
        "num_layers": 1,
        "bidirectional": True,
        "dropout": 0.0,
        "readout": "every" if figures.per_step else "last",
    }
    schedule = {
        name: getattr(TrainingPlan, name)
        for name in (
            "epochs",
            "batch_size",
            "learning_rate",
            "weight_decay",
            "label_smoothing",
        )
    }
    if figures.vocabulary or figures.categories:
        network["embedding_size"] = 64
        schedule["token_dropout"] = TrainingPlan.token_dropout
    if training.optimizer != "adamw":
        schedule["weight_decay"] = 0.0
    open_network = {n: v for n, v in network.items() if getattr(model, n) in (None, "auto")}
    open_schedule = {n: v for n, v in schedule.items() if getattr(training, n) is None}
    return (
        dataclasses.replace(model, **open_network),
        dataclasses.replace(training, **open_schedule),
        _sentence(figures, training.effort, {**open_network, **open_schedule}),
    )


def _sentence(figures: Figures, effort: str, chosen: dict[str, Any]) -> str:
    if not chosen:
        return "every setting was given"
    shown = ", ".join(f"{name} {_shown(value)}" for name, value in chosen.items())
    return f"chosen for {figures} (--effort {effort}): {shown}"


def _shown(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value}"
