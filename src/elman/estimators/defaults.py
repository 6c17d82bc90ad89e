"""Settings that nobody has set, chosen from the data's own figures by a short rule.

docs/settings.md says where the numbers come from.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.faults import format_count
from elman.estimators.encoder import Encoder
from elman.settings import ModelSettings, TrainingSettings

FEW = 20_000  # sequences, below which none is spared for validation
BATCHES = {128: 8, 512: 16}  # up to so many sequences; above them 32
STEPS = 3000  # of the optimizer, that a network is given where it can be
# Time steps that a whole training may go through, and units of the network.
EFFORT = {"quick": (400_000, 64), "normal": (4_000_000, 128), "high": (16_000_000, 256)}


def validation_share(sequences: int, training: TrainingSettings) -> float:
    """Share of so many training sequences to hold out where nobody says."""
    if training.keep == "best" or training.patience:
        return 0.1  # which need one to go by
    return 0.0 if sequences < FEW else 0.05


@dataclass(frozen=True)
class DataStatistics:
    """What the rule looks at, of the training part.

    Args:
        sequences: how many.
        steps: of a sequence, on average.
        channels: numbers at a step, 0 for tokens.
        categories: and columns of categories.
        vocabulary: different tokens, 0 for numbers.
        outputs: classes, or values to be predicted.
        per_step: whether there is a label at every step.
        task: `classification`, `multilabel` or `regression`.
        scaled: whether numbers are standardised.
    """

    sequences: int
    steps: float
    channels: int
    categories: int
    vocabulary: int
    outputs: int
    per_step: bool
    task: str = "classification"
    scaled: bool = True

    @classmethod
    def from_training(
        cls,
        encoder: Encoder,
        lengths: NDArray[np.int64],
        outputs: int,
        *,
        per_step: bool,
        task: str,
        scaled: bool,
    ) -> DataStatistics:
        """Take the figures of sequences of these lengths, (n,), that an encoder was fitted to."""
        return cls(
            sequences=len(lengths),
            steps=float(np.mean(lengths)),
            channels=encoder.input_size,
            categories=len(encoder.category_sizes),
            vocabulary=encoder.vocabulary_size,
            outputs=outputs,
            per_step=per_step,
            task=task,
            scaled=scaled,
        )

    def __str__(self) -> str:
        tokens = self.vocabulary
        step = format_count(tokens, "token") if tokens else format_count(self.channels, "channel")
        if self.categories:
            step += f" and {format_count(self.categories, 'column')} of categories"
        return (
            f"{format_count(self.sequences, 'sequence')} of {self.steps:.3g} steps, {step}, "
            f"{format_count(self.outputs, 'output')}{' a step' if self.per_step else ''}"
        )


def choose(
    figures: DataStatistics, model: ModelSettings, training: TrainingSettings
) -> tuple[ModelSettings, TrainingSettings, str]:
    """Fill in what is None.

    Returns: the settings of network and training, and one sentence that says what was chosen.
    """
    visits, units = EFFORT[training.effort]
    words = bool(figures.vocabulary or figures.categories)
    suits = next((b for most, b in BATCHES.items() if figures.sequences <= most), 32)
    batch = training.batch_size or suits
    steps = 1 if batch == "full" else -(-figures.sequences // batch)
    longest = min(400, max(25, STEPS // steps))
    classes = figures.task == "classification" and training.loss != "focal"
    network: dict[str, Any] = {
        "cell": "gru",
        "hidden_size": units,
        "num_layers": 1,
        "bidirectional": True,
        "dropout": 0.3 if words else 0.0,
        "readout": "every" if figures.per_step else "last",
    }
    schedule: dict[str, Any] = {
        "epochs": min(longest, max(3, round(visits / (figures.sequences * figures.steps)))),
        "batch_size": suits,
        "learning_rate": 3e-3,
        "weight_decay": 0.3 if training.optimizer == "adamw" else 0.0,
        "label_smoothing": 0.1 if words and classes and not figures.per_step else 0.0,
    }
    if figures.channels:
        # Where an answer hangs on exact values, and there is data enough to tell, noise blurs it.
        noisy = figures.scaled and classes and figures.sequences <= max(BATCHES)
        schedule["noise"] = 0.3 if noisy else 0.0
    if words:
        network["embedding_size"] = 64
        schedule["token_dropout"] = 0.25
    open_network = {n: v for n, v in network.items() if getattr(model, n) in (None, "auto")}
    open_schedule = {n: v for n, v in schedule.items() if getattr(training, n) is None}
    return (
        dataclasses.replace(model, **open_network),
        dataclasses.replace(training, **open_schedule),
        _sentence(figures, training.effort, {**open_network, **open_schedule}),
    )


def _sentence(figures: DataStatistics, effort: str, chosen: dict[str, Any]) -> str:
    if not chosen:
        return "every setting was given"
    shown = ", ".join(f"{name} {_shown(value)}" for name, value in chosen.items())
    return f"chosen for {figures} (--effort {effort}): {shown}"


def _shown(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value}"
