"""Preparation of training: encode X and y, split off validation data and resolve all settings.

`fit` prepares and trains. `elman train` needs the settings first, for its config.toml: it calls the
estimator's `prepare` and then `fit_prepared`. `stored.py` prepares data on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.data.batches import Examples
from elman.data.dataset import Dataset, InputKind, Layout, Static
from elman.data.encoded import Split
from elman.data.ragged import Ragged, category_columns, extract_numbers, sequences_with_gaps
from elman.data.splits import check_groups, hold_out, hold_out_groups
from elman.errors import SettingsError
from elman.estimators.columns import Columns, TrainedColumns
from elman.estimators.containers import InputContainer, open_container, refuse_other_steps
from elman.estimators.defaults import (
    choose_settings,
    copy_for_training,
    make_config,
    validation_share,
)
from elman.estimators.encoder import EncodedSequences, Encoder
from elman.estimators.inputs import check_sequences, take_rows
from elman.estimators.labels import (
    Labels,
    as_labels,
    find_labelled,
    lengths_of,
    read_labels,
    refuse_other_lengths,
)
from elman.estimators.onehot import open_one_hot
from elman.estimators.parameters import Settings, refuse_unused
from elman.estimators.static import find_static
from elman.estimators.targets import Target
from elman.estimators.weights import nonzero_weights, sample_weights, without_zero_weights
from elman.evaluate.baselines import BUDGET, BUDGET_SHARE, Baselines
from elman.evaluate.features import one_hot_categories
from elman.models import ModelConfig, SequenceModel
from elman.settings import ModelSettings, TrainingPlan, TrainingSettings
from elman.tasks import TASKS, OutputName
from elman.train.losses import check_loss
from elman.train.monitor import Monitor

_Targets = tuple[type[Target], ...]


@dataclass(frozen=True)
class LabelledSequences:
    """n sequences, not encoded, with their labels, weights and groups.

    Args:
        X: sequences returned by `elman.estimators.inputs.check_sequences`.
        labels: labels or values to predict.
        weights: sample weights, (n,), or a Ragged with one per step; None for equal weights.
        groups: group labels, (n,); a group is never divided between splits. None for no groups.
        places: indices in the caller's X, (n,); None if no sequence was left out.
        static: their static features, or None.
    """

    X: Any
    labels: Labels
    weights: NDArray[np.float64] | Ragged | None = None
    groups: NDArray[Any] | None = None
    places: NDArray[np.int64] | None = None
    static: Static | None = None

    def __len__(self) -> int:
        return len(self.X)

    def take(self, index: NDArray[np.int64]) -> LabelledSequences:
        """Return the sequences at `index`."""
        places = index if self.places is None else self.places[index]
        X, labels, weights, groups = (
            take_rows(values, index) for values in (self.X, self.labels, self.weights, self.groups)
        )
        static = None if self.static is None else self.static.take(index)
        return LabelledSequences(X, labels, weights, groups, places, static)

    def hold_out(
        self, kind: str, share: float, seed: int, task: OutputName
    ) -> tuple[LabelledSequences, LabelledSequences | None]:
        """Split off a share of the sequences for validation.

        Args:
            kind: kind of X: `numbers`, `tokens`, `text` or `mixed`.
            task: output of the task; with a single class per sequence, the split is stratified.
        Returns: the remaining sequences, and those held out, or None if `share` is 0.
        Raises: SettingsError for groups that would not be used; DataError if there is too little
            data to split.
        """
        if not share:
            if self.groups is not None:
                raise SettingsError(
                    "groups: no share of X is held out, so that there is nothing to split by "
                    "groups. Leave them out, or give validation a share and no validation_data"
                )
            return self, None
        strata = self.labels if TASKS[task].single_label else None
        gaps = _gaps_of(self.X, kind, self.static)
        if self.groups is None:
            first, second = hold_out(len(self), share, seed, strata, gaps=gaps)
        else:
            first, second = hold_out_groups(self.groups, share, seed, strata, gaps=gaps)
        return self.take(first), self.take(second)

    def to_examples(self, encoded: EncodedSequences, target: Target) -> Examples:
        """Return training examples: `encoded`, these sequences, with targets. Raises ShapeError."""
        labels = self.labels
        weights: Any = self.weights
        if isinstance(labels, Ragged):
            if isinstance(weights, Ragged):
                weights = encoded.inputs.cut(weights, labels)
            labels = encoded.inputs.cut(labels)
        refuse_other_lengths(encoded.inputs, labels)
        if isinstance(weights, Ragged):
            weights = weights.with_values(weights.values.astype(np.float32))
        elif weights is not None:
            weights = weights.astype(np.float32)
        measured, codes = len(encoded.encoder.mean), target.encode(labels)
        return Examples(encoded.inputs, codes, weights, target.unit, measured, self.places)


def _gaps_of(X: Any, kind: str, static: Static | None) -> NDArray[np.bool_] | None:
    """Whether a sequence has gaps in each number of its steps and its features, (n, C+k)."""
    gaps = None if static is None else np.isnan(static.numbers)
    if kind not in ("numbers", "mixed"):
        return gaps
    if kind == "mixed":
        X = extract_numbers(X, category_columns(X.values))
    steps = sequences_with_gaps(X)
    return steps if gaps is None else np.hstack([steps, gaps])


@dataclass(frozen=True)
class Previous:
    """Results of earlier training that continued training takes over."""

    model: SequenceModel
    encoder: Encoder
    target: Target
    columns: Columns
    layout: Layout | None


@dataclass(frozen=True)
class Prepared:
    """Everything that training needs.

    Args:
        labelled: the training split, not encoded.
        sequences: the training split, encoded.
        examples: the encoded training split with its targets, for `elman.train.train`.
        validation_sequences, validation_examples: the validation split, or None.
        target: the target, with scaling fitted on the training split.
        columns: names of the columns of X, if known.
        layout: how the files were read, if X came from files.
        model, training: settings with all data-dependent defaults filled in.
        chosen: a sentence listing the settings chosen from the data.
        plan: fully resolved training settings.
        config: configuration of the network.
        class_weight: weight of each class in the loss, (K,), or None.
        continues: the network to continue training from; None for a new one.
        one_pass: whether this is one pass of `partial_fit`.
        test_sequences, monitor: the test split, and when how much of it is evaluated during the
            training, for a curve only; None if it is not.
    """

    labelled: LabelledSequences
    sequences: EncodedSequences
    examples: Split
    validation_sequences: EncodedSequences | None
    validation_examples: Split | None
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
    test_sequences: EncodedSequences | None = None
    monitor: Monitor | None = None

    @property
    def encoder(self) -> Encoder:
        """The encoder of the sequences."""
        return self.sequences.encoder

    def make_model(self, generator: torch.Generator) -> SequenceModel:
        """Return the network to train: a new one, or a copy of the network in `continues`.

        Args:
            generator: the weights of a new network are drawn from it.
        Raises: SettingsError if the settings describe a different network from `continues`.
        """
        if self.continues is None:
            return SequenceModel(self.config, generator)
        return copy_for_training(self.continues, self.config)

    def make_baselines(self, model: SequenceModel, epochs: int) -> Baselines:
        """Make the baselines, to be fitted at a small share of the cost of training `model`."""
        # A step back through time costs two forward.
        steps = 3.0 * epochs * len(self.sequences.inputs.values)
        multiplications = steps * sum(p.numel() for p in model.recurrent.parameters())
        return Baselines.from_training(
            one_hot_categories(self.sequences.inputs, len(self.encoder.category_sizes)),
            self.target.to_array(self.labelled.labels),
            self.target.num_outputs,
            vocabulary_size=self.encoder.vocabulary_size or None,
            per_step=self.config.per_step,
            task=self.target.task,
            both_sides=self.config.bidirectional,
            budget=max(BUDGET, BUDGET_SHARE * multiplications),
        )


def prepare(
    container: InputContainer,
    y: Any,
    settings: Settings,
    *,
    targets: _Targets,
    per_step: bool,
    sample_weight: Any = None,
    validation_data: tuple[Any, ...] | None = None,
    groups: Any = None,
    classes: Any = None,
    previous: Previous | None = None,
    passes: int | None = None,
    target_names: Sequence[str] = (),
    layout: Layout | None = None,
    static: Any = None,
) -> Prepared:
    """Determine encoder, target and settings, and encode each sequence once.

    Args:
        container: X, as returned by `open_container`.
        targets: target types; the first that recognises y is used. per_step: of the estimator.
        sample_weight, validation_data, groups: see `fit`; classes: see `partial_fit`.
        previous: results of earlier training; passes: its passes, None for `fit`.
        target_names, layout, static: see the estimator's `prepare`.
    Raises: DataError, ShapeError or SettingsError.
    """
    # Check before any split, so that messages give the index of a sequence in the caller's X.
    kind = settings.inputs if previous is None else previous.encoder.kind
    X, kind = check_sequences(container.sequences, kind, container.what or previous)
    refuse_unused(settings, kind)
    trained, before = (previous.encoder, previous.target) if previous else (None, None)
    y = open_one_hot(y, targets, before, per_step=per_step)
    features = find_static(container.static, static, len(X), trained)
    labelled = label_sequences(X, y, targets, per_step, sample_weight, groups, features)
    if len(used := find_labelled(labelled.labels)) < len(labelled):
        labelled = labelled.take(used)
    target = _choose_target(labelled.labels, targets, previous, classes)
    check_loss(target.task, settings.training)
    share: Any = settings.data.validation if passes is None and validation_data is None else 0.0
    if share is None:
        share = validation_share(len(labelled), settings.training)
    labelled, held_out = labelled.hold_out(kind, share, settings.training.seed, target.task)
    columns = container.columns(layout) if previous is None else previous.columns
    if previous is None:
        # Fit after the split, so that nothing is learnt from the validation data.
        target = target.fit_scaling(labelled.labels).with_names(target_names)
    sequences = _encode_training(labelled, kind, settings, previous, columns.channel_names)
    encoder = sequences.encoder
    if validation_data is not None:
        held_out = read_split(validation_data, columns, targets, per_step, encoder, target)
    if previous is None:
        columns = columns.with_categories(encoder.categories, encoder.channels)
    examples = labelled.to_examples(sequences, target)
    net = None if previous is None else previous.model.config
    network, training, chosen = choose_settings(
        settings, encoder, examples.lengths, target, per_step, net, passes
    )
    validation = validation_examples = None
    if held_out is not None:
        validation = encoder.encode_sequences(held_out.X, static=held_out.static)
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
        config=make_config(network, encoder, target),
        class_weight=target.class_weights(training.class_weight, target.count(labelled.labels)),
        continues=None if previous is None else previous.model,
        one_pass=passes is not None,
    )


def read_split(
    data: tuple[Any, ...],
    columns: Columns,
    targets: _Targets,
    per_step: bool,
    encoder: Encoder,
    target: Target,
) -> LabelledSequences:
    """Return a split as labelled sequences with the training's columns and static features.

    Args: data: (X, y), (X, y, sample_weight) or (X, y, sample_weight, static).
        encoder, target: of the training.
    """
    X, y, weights, static = (*data, None, None)[:4]
    container = open_container(X, TrainedColumns(columns, estimator="the estimator"))
    refuse_other_steps(container, columns)
    if isinstance(X, Dataset) and y is None:
        y = X.target
    y = open_one_hot(y, targets, target, per_step=per_step)
    features = find_static(container.static, static, len(container.sequences), encoder)
    return label_sequences(container.sequences, y, targets, per_step, weights, static=features)


def _encode_training(
    labelled: LabelledSequences,
    kind: InputKind,
    settings: Settings,
    previous: Previous | None,
    names: Sequence[str],
) -> EncodedSequences:
    """Encode the training split with the previous encoder, or with one fitted to the split."""
    static = labelled.static
    if previous is not None:
        return previous.encoder.encode_sequences(labelled.X, static=static)
    return Encoder.fit_encode(
        labelled.X,
        inputs=kind,
        tokens=settings.data.tokens,
        scale=settings.data.scale,
        names=names,
        static=static,
    )


def label_sequences(
    X: Any,
    y: Any,
    targets: _Targets,
    per_step: bool,
    sample_weight: Any = None,
    groups: Any = None,
    static: Static | None = None,
) -> LabelledSequences:
    """Return sequences with labels, weights and groups, without sequences of weight 0."""
    labels = read_labels(X, y, targets, per_step=per_step)
    weights: Any = sample_weight
    if weights is not None:
        weights = sample_weights(weights, lengths_of(labels), per_step=per_step)
    if isinstance(X, Ragged):
        if isinstance(labels, Ragged):
            weights = X.cut(weights, labels) if isinstance(weights, Ragged) else weights
            labels = X.cut(labels)
        refuse_other_lengths(X, labels)
    groups = None if groups is None else check_groups(groups, len(X))
    if weights is None:
        return LabelledSequences(X, labels, None, groups, static=static)
    used = nonzero_weights(weights)
    if isinstance(labels, Ragged):
        labels, weights = without_zero_weights(labels, weights)
    labelled = LabelledSequences(X, labels, weights, groups, static=static)
    return labelled.take(used) if len(used) < len(labelled) else labelled


def _choose_target(
    labels: Labels, targets: _Targets, previous: Previous | None, classes: Any
) -> Target:
    """Return the target of earlier training, or one made from all labels or from `classes`."""
    classes = None if classes is None else as_labels(classes, "classes")
    if previous is not None:
        target = previous.target
    else:
        # If `classes` lists all of them, the y of the first `partial_fit` may hold a single one.
        single = isinstance(labels, Ragged) or (labels.ndim == 1 and labels.dtype != object)
        known = classes if classes is not None and single else labels
        target = next(kind for kind in targets if kind.recognises(labels)).from_labels(known)
    return target if classes is None else target.with_classes(classes)
