"""One preparation: from X, y and settings to all that a training needs, settled once.

`fit` prepares and trains. Who wants to know what will be trained before it is, as `elman train`
does for its config.toml, calls the estimator's `prepare` and then its `fit_prepared`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import Examples
from elman.data.dataset import InputKind, Layout
from elman.data.ragged import Ragged
from elman.data.splits import check_groups
from elman.errors import DataError, SettingsError, ShapeError
from elman.estimators.containers import (
    Columns,
    InputContainer,
    open_container,
    refuse_other_columns,
)
from elman.estimators.defaults import DataStatistics, choose, validation_share
from elman.estimators.encoder import EncodedSequences, Encoder
from elman.estimators.inputs import check_sequences
from elman.estimators.labelled import (
    LabelledSequences,
    lengths_of,
    nonzero_weights,
    refuse_other_lengths,
    sample_weights,
)
from elman.estimators.labels import as_labels
from elman.estimators.parameters import Settings
from elman.estimators.targets import Labels, Target
from elman.evaluate import Baselines
from elman.evaluate.features import one_hot_categories
from elman.models import ModelConfig, SequenceModel
from elman.settings import ModelSettings, TrainingPlan, TrainingSettings
from elman.train.losses import check_loss

# What only one kind of input can honour, with the default that asks for nothing.
_NUMBERS_ONLY = {"scale": True, "noise": None}
_TOKENS_ONLY = {"embedding_size": None, "token_dropout": None}
_CHANGEABLE = ("dropout", "initialization")  # settings of a network that leave its weights alone


@dataclass(frozen=True)
class Previous:
    """What an earlier training settled, for one that continues it."""

    model: SequenceModel
    encoder: Encoder
    target: Target
    columns: Columns
    layout: Layout | None


@dataclass(frozen=True)
class Prepared:
    """All that a training needs.

    Args:
        labelled: the training split, as the user has it.
        sequences: the training split encoded.
        examples: the same with its targets, as `elman.train.train` takes them.
        validation_sequences, validation_examples: the validation split, or None.
        target: what is predicted, scaled by the training split.
        columns: names of the columns of X, where known.
        layout: how the files were read, where X came from files.
        model, training: settings with every default filled in that depends on the data.
        chosen: what was chosen, in words.
        plan: the settings of the training, nothing left open.
        config: of the network.
        class_weight: what each class counts in the loss, (K,), or None.
        continues: whose network to train on; None for a new one.
        one_pass: whether this is one pass of `partial_fit`.
    """

    labelled: LabelledSequences
    sequences: EncodedSequences
    examples: Examples
    validation_sequences: EncodedSequences | None
    validation_examples: Examples | None
    target: Target
    columns: Columns
    layout: Layout | None
    model: ModelSettings
    training: TrainingSettings
    chosen: str
    plan: TrainingPlan
    config: ModelConfig
    class_weight: NDArray[np.float64] | None
    continues: SequenceModel | None
    one_pass: bool

    @property
    def encoder(self) -> Encoder:
        """How sequences are read."""
        return self.sequences.encoder

    def make_model(self) -> SequenceModel:
        """Return the network to train: new, or a copy of the one to continue with.

        Raises: SettingsError if the settings ask for other weights than it has.
        """
        if self.continues is None:
            return SequenceModel(self.config)
        return copy_for_training(self.continues, self.config)

    def make_baselines(self) -> Baselines:
        """Fit the baselines on the training split."""
        return Baselines.from_training(
            one_hot_categories(self.sequences.inputs, len(self.encoder.category_sizes)),
            self.target.to_array(self.labelled.labels),
            self.target.num_outputs,
            vocabulary_size=self.encoder.vocabulary_size or None,
            per_step=self.config.per_step,
            task=self.target.task,
        )


def prepare(
    container: InputContainer,
    y: Any,
    settings: Settings,
    *,
    targets: tuple[type[Target], ...],
    per_step: bool,
    sample_weight: Any = None,
    validation_data: tuple[Any, ...] | None = None,
    groups: Any = None,
    classes: Any = None,
    previous: Previous | None = None,
    passes: int | None = None,
    column_names: Sequence[str] = (),
    target_names: Sequence[str] = (),
    layout: Layout | None = None,
) -> Prepared:
    """Settle encoder, target and settings, and encode each sequence once.

    Args:
        container: X, taken out by `open_container`.
        targets: kinds of target that the estimator has, the first that recognises y is taken.
        per_step: whether there is a prediction at every step.
        sample_weight, validation_data, groups: as for `fit`; classes: as for `partial_fit`.
        previous: what to continue from.
        passes: for one pass of `partial_fit`, how many came before it; None for a whole training.
        column_names, target_names, layout: as for the estimator's `prepare`.
    Raises: DataError, ShapeError or SettingsError, saying what was expected.
    """
    # Checked whole, so that a fault is told by the place that the sequence has in the caller's X.
    kind = settings.inputs if previous is None else previous.encoder.kind
    X, kind = check_sequences(container.sequences, kind)
    labelled = _label(X, y, targets, per_step, sample_weight, groups)
    target = _choose_target(labelled.labels, targets, previous, classes)
    check_loss(target.task, settings.training)
    share = 0.0
    if passes is None and validation_data is None:
        share = _choose_share(settings, len(labelled))
    labelled, held_out = labelled.hold_out(kind, share, settings.training.seed, target.task)
    columns = container.columns() if previous is None else previous.columns
    if validation_data is not None:
        refuse_other_columns(open_container(validation_data[0]), columns)
        held_out = _label_validation(targets, per_step, *validation_data)
    if previous is None:
        # After the validation split was held out, whose numbers and words must stay unknown.
        target = target.fit_scaling(labelled.labels).with_names(target_names)
    sequences = _encode_training(labelled, kind, settings, previous)
    encoder = sequences.encoder
    if previous is None and columns.what is None and encoder.channels:
        columns = Columns.of_channels(column_names, encoder.channels)
    examples = labelled.to_examples(sequences, target)
    statistics = _summarise(sequences, target, per_step=per_step, scaled=settings.data.scale)
    network = settings.model
    if previous is not None:
        network = keep_present_settings(network, previous.model)
    network, training, chosen = choose(statistics, network, settings.training)
    if passes is not None:
        training = settings_for_one_pass(training, passes)
    validation = validation_examples = None
    if held_out is not None:
        validation = encoder.encode_sequences(held_out.X)
        validation_examples = held_out.to_examples(validation, target)
    return Prepared(
        labelled=labelled,
        sequences=sequences,
        examples=examples,
        validation_sequences=validation,
        validation_examples=validation_examples,
        target=target,
        columns=columns,
        layout=layout if previous is None else previous.layout,
        model=network,
        training=training,
        chosen=chosen,
        plan=training.resolve(held_out is not None),
        config=_configure(network, encoder, target),
        class_weight=target.class_weights(training.class_weight, labelled.labels),
        continues=None if previous is None else previous.model,
        one_pass=passes is not None,
    )


def _encode_training(
    labelled: LabelledSequences, kind: InputKind, settings: Settings, previous: Previous | None
) -> EncodedSequences:
    """The training split encoded, by the encoder of before or by one that is fitted to it."""
    if previous is not None:
        sequences = previous.encoder.encode_sequences(labelled.X)
    else:
        tokens, scale = settings.data.tokens, settings.data.scale
        sequences = Encoder.fit_encode(labelled.X, inputs=kind, tokens=tokens, scale=scale)
    _refuse_unused(settings, sequences.encoder)
    return sequences


def _choose_share(settings: Settings, sequences: int) -> float:
    """The share of so many training sequences to hold out for validation."""
    share = settings.data.validation
    return float(validation_share(sequences, settings.training) if share is None else share)


def _summarise(
    sequences: EncodedSequences, target: Target, *, per_step: bool, scaled: bool
) -> DataStatistics:
    """Statistics of the training split, by which open settings are chosen."""
    return DataStatistics.from_training(
        sequences.encoder,
        sequences.inputs.lengths,
        target.num_outputs,
        per_step=per_step,
        task=target.task,
        scaled=scaled,
    )


def read_labels(X: Any, y: Any, targets: tuple[type[Target], ...], *, per_step: bool) -> Labels:
    """Check that y has a label for each sequence, or each step, of X."""
    if hasattr(y, "__array__"):
        y = np.asarray(y)
    if not hasattr(y, "__len__"):
        raise DataError(f"y is a {type(y).__name__}", remedy="Expected a label a sequence.")
    if len(y) != len(X):
        raise ShapeError(f"y: got {len(y)} labels, expected {len(X)}, one a sequence of X")
    return _recognise(targets, y).read(y, per_step=per_step)


def _recognise(targets: tuple[type[Target], ...], y: Any) -> type[Target]:
    return next(kind for kind in targets if kind.recognises(y))


def _label(
    X: Any,
    y: Any,
    targets: tuple[type[Target], ...],
    per_step: bool,
    sample_weight: Any,
    groups: Any = None,
) -> LabelledSequences:
    """Sequences and what is known of them, without those of weight 0."""
    labels = read_labels(X, y, targets, per_step=per_step)
    if isinstance(X, Ragged):
        refuse_other_lengths(X, labels)
    groups = None if groups is None else check_groups(groups, len(X))
    if sample_weight is None:
        return LabelledSequences(X, labels, None, groups)
    weights = sample_weights(sample_weight, lengths_of(labels), per_step=per_step)
    labelled = LabelledSequences(X, labels, weights, groups)
    used = nonzero_weights(weights)
    return labelled.take(used) if len(used) < len(labelled) else labelled


def _label_validation(
    targets: tuple[type[Target], ...], per_step: bool, X: Any, y: Any, sample_weight: Any = None
) -> LabelledSequences:
    """What the caller wants the training to be watched by."""
    return _label(open_container(X).sequences, y, targets, per_step, sample_weight)


def _choose_target(
    labels: Labels,
    targets: tuple[type[Target], ...],
    previous: Previous | None,
    classes: Any,
) -> Target:
    """What is predicted: that of an earlier training, or what all labels, or `classes`, say."""
    if previous is not None:
        target = previous.target
    else:
        # Where the classes are given, a first part of the data need not have two of them.
        single = isinstance(labels, Ragged) or (labels.ndim == 1 and labels.dtype != object)
        known = as_labels(classes, "classes") if classes is not None and single else labels
        target = _recognise(targets, labels).from_labels(known)
    return target if classes is None else target.with_classes(as_labels(classes, "classes"))


def _refuse_unused(settings: Settings, encoder: Encoder) -> None:
    """Refuse a setting that this kind of input cannot honour."""
    unused: dict[str, Any] = {}
    if encoder.kind != "mixed":
        unused |= _TOKENS_ONLY if encoder.kind == "numbers" else _NUMBERS_ONLY
    if encoder.kind != "text":
        unused["tokens"] = "auto"
    values = {
        name: value
        for section in (settings.model, settings.training, settings.data)
        for name, value in vars(section).items()
    }
    for name, default in unused.items():
        if values[name] != default:
            raise SettingsError(
                f"{name}: got {values[name]!r}, but the sequences are {encoder.kind}, "
                "which have no such setting. Leave it out"
            )


def _configure(network: ModelSettings, encoder: Encoder, target: Target) -> ModelConfig:
    return ModelConfig(
        **{k: v for k, v in dataclasses.asdict(network).items() if v is not None},
        task=target.task,
        num_outputs=target.num_outputs,
        input_size=encoder.input_size,
        vocabulary_size=encoder.vocabulary_size,
        category_sizes=encoder.category_sizes,
    )


# -- training that continues: warm_start and partial_fit -----------------------------------------


def keep_present_settings(network: ModelSettings, model: SequenceModel) -> ModelSettings:
    """Return the settings of a network, what is open filled in as the present model has it."""
    present = {
        entry.name: getattr(model.config, entry.name)
        for entry in dataclasses.fields(ModelSettings)
        if getattr(network, entry.name) in (None, "auto")
    }
    return dataclasses.replace(network, **present)


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


def settings_for_one_pass(training: TrainingSettings, passes: int) -> TrainingSettings:
    """Return the settings of one more pass after `passes`: the learning rate stays as it is.

    Raises: SettingsError for `balanced`, which a part of the data cannot tell.
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
