"""Data-dependent defaults: settings that are None are chosen from training-split statistics.

Every number was chosen by cross-validation within training splits; docs/settings.md has the tables.
When training continues, the settings of the network are taken from the present model instead.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.data.faults import format_count
from elman.errors import SettingsError
from elman.estimators.static import size_of
from elman.models import ModelConfig, SequenceModel
from elman.settings import ModelSettings, NetworkSettings, TrainingSettings
from elman.tasks import TASKS, OutputName

if TYPE_CHECKING:
    from elman.estimators.encoder import Encoder
    from elman.estimators.parameters import Settings
    from elman.estimators.targets import Target

# With fewer training sequences, none are held out for validation: a small data set cannot spare a
# tenth, and with a cosine schedule the last weights need no selection.
FEW = 20_000
# Batch size by the largest number of sequences it is used for; 32 for more. On GunPoint (50
# sequences) held-out accuracy was .66 after 100 epochs at batch size 32, .98 after 400 epochs at 8.
BATCHES = {128: 8, 512: 16}
STEPS = 3000  # optimizer steps: small data sets get more epochs, or GunPoint would stay at .66
# Total number of time steps processed in training, and hidden units. JapaneseVowels: accuracy .976
# in 1 s, .985 in 5 s and .996 in 18 s on one core.
EFFORT = {"quick": (400_000, 64), "normal": (4_000_000, 128), "high": (16_000_000, 256)}
# Optimizer steps below which many networks have not learnt: on 50 series of 150 steps the lowest
# held-out accuracy of five seeds was .53 after 1,498 steps and .98 after 2,002 (docs/settings.md).
LEAST_STEPS = 2000
# The time steps of the effort may be exceeded by this factor for the sake of LEAST_STEPS.
EXTENSION = 10
SMALLEST_BATCH = 8
_USE = "streaming"  # what the network is for, which is no part of it
_CHANGEABLE = ("dropout", "initialization")  # network settings that may differ in later training


def validation_share(sequences: int, training: TrainingSettings) -> float:
    """Return the default share of the training sequences to hold out for validation."""
    if training.keep == "best" or training.patience:
        return 0.1  # both settings compare epochs on held-out sequences
    return 0.0 if sequences < FEW else 0.05


@dataclass(frozen=True)
class DataStatistics:
    """Statistics of the training split that the defaults depend on.

    Args:
        sequences: number of sequences.
        steps: mean number of steps per sequence.
        channels: numeric channels per step, 0 for tokens.
        categories: number of categorical columns.
        vocabulary: number of distinct tokens, 0 for numbers.
        outputs: number of classes, labels or values to predict.
        per_step: whether there is a target at every step.
        task: `classification`, `multilabel` or `regression`.
        scaled: whether numbers are standardised.
        static: number of static inputs.
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
    static: int = 0

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        lengths: NDArray[np.int64],
        target: Target,
        *,
        per_step: bool,
        scaled: bool,
    ) -> DataStatistics:
        """Return the statistics of training sequences of these lengths, (n,), once encoded."""
        return cls(
            sequences=len(lengths),
            steps=float(lengths.mean()),
            channels=encoder.input_size,
            categories=len(encoder.category_sizes),
            vocabulary=encoder.vocabulary_size,
            outputs=target.num_outputs,
            per_step=per_step,
            task=target.task,
            scaled=scaled,
            static=size_of(encoder.static),
        )

    def __str__(self) -> str:
        tokens = self.vocabulary
        step = format_count(tokens, "token") if tokens else format_count(self.channels, "channel")
        if self.categories:
            step += f" and {format_count(self.categories, 'column')} of categories"
        if self.static:
            step += f", {format_count(self.static, 'static input')}"
        mean = "" if float(self.steps).is_integer() else " on average"
        return (
            f"{format_count(self.sequences, 'sequence')} of {self.steps:.3g} steps{mean}, {step}, "
            f"{format_count(self.outputs, 'output')}{' a step' if self.per_step else ''}"
        )


def choose_settings(
    settings: Settings,
    encoder: Encoder,
    lengths: NDArray[np.int64],
    target: Target,
    per_step: bool,
    present: ModelConfig | None,
    passes: int | None,
) -> tuple[ModelSettings, TrainingSettings, str]:
    """Fill in settings that are None: from the present network, then from training statistics.

    Args:
        encoder, lengths, target: of the training sequences; `lengths` are their steps, (n,).
        present: the network that the training continues from, or None.
        passes: number of earlier passes for `partial_fit`; None for `fit`.
    Returns: see `choose`.
    """
    scaled = settings.data.scale
    statistics = DataStatistics.of(encoder, lengths, target, per_step=per_step, scaled=scaled)
    network = settings.model
    if present is not None:
        network = keep_present_settings(network, present)
    network, training, chosen = choose(statistics, network, settings.training)
    if passes is not None:
        training = settings_for_one_pass(training, passes)
    return network, training, chosen


def choose(
    statistics: DataStatistics, model: ModelSettings, training: TrainingSettings
) -> tuple[ModelSettings, TrainingSettings, str]:
    """Fill in every setting that is None, or `auto`, with the default for these statistics.

    Returns: the settings of network and training, and one sentence that lists the choices.
    """
    most_steps, units = EFFORT[training.effort]
    has_tokens = bool(statistics.vocabulary or statistics.categories)
    epochs, batch = _choose_length(statistics, training, most_steps)
    smooth = TASKS[statistics.task].single_label and training.loss != "focal"
    network: dict[str, Any] = {
        "cell": "gru",
        "hidden_size": units,
        "num_layers": 1,
        "bidirectional": not (model.streaming or training.tbptt),
        "dropout": 0.3 if has_tokens else 0.0,
        "readout": "every" if statistics.per_step else "last",
    }
    schedule: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch,
        "learning_rate": 3e-3,
        # Strong, to limit overfitting (docs/reproductions.md, network B); decoupled in AdamW.
        "weight_decay": 0.3 if training.optimizer == "adamw" else 0.0,
        "label_smoothing": 0.1 if has_tokens and smooth and not statistics.per_step else 0.0,
    }
    if statistics.channels:
        # Noise limits overfitting: JapaneseVowels .962 without, .974 with 0.3. Regression does not
        # get it, because noise blurs exact values: adding problem, RMSE .008 without, .067 with.
        noisy = statistics.scaled and smooth and statistics.sequences <= max(BATCHES)
        schedule["noise"] = 0.3 if noisy else 0.0
    if statistics.static:
        network["static_to"] = "readout"
    elif model.static_to is not None:
        raise SettingsError(
            f"static_to: got {model.static_to!r}, but there are no static features. Leave it out"
        )
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


def _choose_length(
    statistics: DataStatistics, training: TrainingSettings, most_steps: int
) -> tuple[int, int | str]:
    """Return epochs and batch size; a batch size that is given is returned unchanged.

    Args:
        most_steps: time steps that the effort allows in the whole training.
    """
    count = statistics.sequences
    if training.tbptt and statistics.steps > training.tbptt:  # chunks, read side by side
        count *= math.ceil(statistics.steps / training.tbptt)
    batch = next((size for most, size in BATCHES.items() if count <= most), 32)
    size = training.batch_size or batch
    per_epoch = -(-count // (statistics.sequences if size == "full" else size))
    affordable = most_steps / (statistics.sequences * statistics.steps)  # epochs
    epochs = min(400, max(25, STEPS // per_epoch), max(3, round(affordable)))
    if training.epochs is not None or training.batch_size == "full":
        return epochs, size
    # Smaller batches first: they make more steps of the same time.
    while (
        training.batch_size is None
        and batch > SMALLEST_BATCH
        and (epochs * -(-count // batch) < LEAST_STEPS)
    ):
        batch //= 2
    per_epoch = -(-count // (training.batch_size or batch))
    needed = min(-(-LEAST_STEPS // per_epoch), 400, int(EXTENSION * affordable))
    return max(epochs, needed), training.batch_size or batch


def _describe_choices(statistics: DataStatistics, effort: str, chosen: dict[str, Any]) -> str:
    if not chosen:
        return "every setting was given"
    choices = ", ".join(f"{name} {_format_value(value)}" for name, value in chosen.items())
    return f"chosen for {statistics} (--effort {effort}): {choices}"


def _format_value(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value}"


def keep_present_settings(network: ModelSettings, present: ModelConfig) -> ModelSettings:
    """Return network settings, with None and `auto` replaced by the present model's values."""
    left_open = {
        entry.name: getattr(present, entry.name)
        for entry in dataclasses.fields(NetworkSettings)
        if getattr(network, entry.name) in (None, "auto")
    }
    return dataclasses.replace(network, **left_open)


def settings_for_one_pass(training: TrainingSettings, passes: int) -> TrainingSettings:
    """Return the settings of one more pass after `passes` passes, at a constant learning rate.

    Raises: SettingsError for `balanced`, which depends on the class counts of all the data.
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
    """Return a copy of the model to train, so that failed training leaves the original unchanged.

    Raises: SettingsError if `config` describes a different network.
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


def make_config(network: ModelSettings, encoder: Encoder, target: Target) -> ModelConfig:
    """Return the configuration of the network for encoded sequences and a target."""
    return ModelConfig(
        **{k: v for k, v in dataclasses.asdict(network).items() if v is not None and k != _USE},
        task=target.task,
        num_outputs=target.num_outputs,
        input_size=encoder.input_size,
        vocabulary_size=encoder.vocabulary_size,
        category_sizes=encoder.category_sizes,
        static_size=size_of(encoder.static),
    )
