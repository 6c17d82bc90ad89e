"""Settings that are left open, chosen from statistics of the training split by a short rule.

Every number was chosen by cross-validation within training splits; docs/settings.md has the tables.
A training that continues takes them from the present model instead.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

from elman.data.faults import format_count
from elman.errors import SettingsError
from elman.models import ModelConfig, SequenceModel
from elman.settings import ModelSettings, TrainingSettings
from elman.tasks import TASKS, OutputName

# Sequences below which none is held out for validation: small data cannot spare a tenth, and with a
# cosine schedule the last weights need no selection.
FEW = 20_000
# Batch size by the most sequences it is for; above them 32. On GunPoint, with 50 sequences, the
# held-out accuracy was .66 after 100 epochs of batches of 32, and .98 after 400 of batches of 8.
BATCHES = {128: 8, 512: 16}
STEPS = 3000  # of the optimizer: few sequences get more epochs, or GunPoint would stop at .66
# Time steps that a whole training may go through, and units of the network. JapaneseVowels: .976 in
# 1 s, .985 in 5 s and .996 in 18 s of one core.
EFFORT = {"quick": (400_000, 64), "normal": (4_000_000, 128), "high": (16_000_000, 256)}
_CHANGEABLE = ("dropout", "initialization")  # settings of a network that leave its weights alone


def validation_share(sequences: int, training: TrainingSettings) -> float:
    """Return the default share of the training sequences to hold out for validation."""
    if training.keep == "best" or training.patience:
        return 0.1  # both compare epochs on held-out sequences
    return 0.0 if sequences < FEW else 0.05


@dataclass(frozen=True)
class DataStatistics:
    """What the rule depends on, of the training split.

    Args:
        sequences: their number.
        steps: average number of steps of a sequence.
        channels: numbers at a step, 0 for tokens.
        categories: number of columns of categories.
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
    task: OutputName = "classification"
    scaled: bool = True

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
    statistics: DataStatistics, model: ModelSettings, training: TrainingSettings
) -> tuple[ModelSettings, TrainingSettings, str]:
    """Fill in every setting that is None, by the rule of this module.

    Returns: the settings of network and training, and one sentence that says what was chosen.
    """
    most_steps, units = EFFORT[training.effort]
    has_tokens = bool(statistics.vocabulary or statistics.categories)
    default_batch = next((b for most, b in BATCHES.items() if statistics.sequences <= most), 32)
    batch = training.batch_size or default_batch
    steps = 1 if batch == "full" else -(-statistics.sequences // batch)
    longest = min(400, max(25, STEPS // steps))
    smooth = TASKS[statistics.task].single_label and training.loss != "focal"
    network: dict[str, Any] = {
        "cell": "gru",
        "hidden_size": units,
        "num_layers": 1,
        "bidirectional": True,
        "dropout": 0.3 if has_tokens else 0.0,
        "readout": "every" if statistics.per_step else "last",
    }
    schedule: dict[str, Any] = {
        "epochs": min(
            longest, max(3, round(most_steps / (statistics.sequences * statistics.steps)))
        ),
        "batch_size": default_batch,
        "learning_rate": 3e-3,
        # Strong, which limits overfitting (docs/reproductions.md, network B); it is decoupled.
        "weight_decay": 0.3 if training.optimizer == "adamw" else 0.0,
        "label_smoothing": 0.1 if has_tokens and smooth and not statistics.per_step else 0.0,
    }
    if statistics.channels:
        # Noise limits overfitting: JapaneseVowels .962 without, .974 with 0.3. Where a number is
        # computed from exact values it blurs them: adding problem, RMSE .008 without, .067 with.
        noisy = statistics.scaled and smooth and statistics.sequences <= max(BATCHES)
        schedule["noise"] = 0.3 if noisy else 0.0
    if has_tokens:
        network["embedding_size"] = 64
        schedule["token_dropout"] = 0.25
    open_network = {n: v for n, v in network.items() if getattr(model, n) in (None, "auto")}
    open_schedule = {n: v for n, v in schedule.items() if getattr(training, n) is None}
    return (
        dataclasses.replace(model, **open_network),
        dataclasses.replace(training, **open_schedule),
        _describe_choices(statistics, training.effort, {**open_network, **open_schedule}),
    )


def _describe_choices(statistics: DataStatistics, effort: str, chosen: dict[str, Any]) -> str:
    if not chosen:
        return "every setting was given"
    choices = ", ".join(f"{name} {_format_value(value)}" for name, value in chosen.items())
    return f"chosen for {statistics} (--effort {effort}): {choices}"


def _format_value(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value}"


def keep_present_settings(network: ModelSettings, present: ModelConfig) -> ModelSettings:
    """Return the settings of a network, with open ones as in the present model's `present`."""
    left_open = {
        entry.name: getattr(present, entry.name)
        for entry in dataclasses.fields(ModelSettings)
        if getattr(network, entry.name) in (None, "auto")
    }
    return dataclasses.replace(network, **left_open)


def settings_for_one_pass(training: TrainingSettings, passes: int) -> TrainingSettings:
    """Return the settings of one more pass after `passes`: the learning rate stays as it is.

    Raises: SettingsError for `balanced`, which depends on the classes of all data.
    """
    if training.class_weight == "balanced":
        raise SettingsError(
            "class_weight: got 'balanced', which partial_fit cannot know from a part of the data. "
            "Give the weight of each class"
        )
    return dataclasses.replace(
        training,
        epochs=1,
        schedule="constant",
        warmup=0.0,
        keep=None,
        patience=None,
        seed=(training.seed + passes) % 2**32,
    )


def copy_for_training(model: SequenceModel, config: ModelConfig) -> SequenceModel:
    """Return a copy of a model to train on, so that a training that fails changes nothing.

    Raises: SettingsError if `config` asks for other weights than it has.
    """
    for entry in dataclasses.fields(ModelConfig):
        present, wanted = (getattr(c, entry.name) for c in (model.config, config))
        if present != wanted and entry.name not in _CHANGEABLE:
            raise SettingsError(
                f"{entry.name}: got {wanted!r}, but training continues from a network with "
                f"{present!r}. Set it back, or start anew: a fit without warm_start"
            )
    copied = copy.deepcopy(model)
    copied.config = config
    copied.recurrent.dropout = config.dropout_between
    return copied
