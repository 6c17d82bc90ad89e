"""From a data set on disk to what a training needs, a block at a time.

    prepared = prepare_stored(estimator, training, validation, folder, buffer)
    prepared = monitor_stored(estimator, prepared, test, folder)
    estimator.fit_prepared(prepared)

This is `estimators/prepare.py` for sequences that do not fit into memory. The training split is
read once for the figures of its encoder and target, or twice where the kind of its columns or the
unit of its texts depend on all of it, and once more to be encoded. The encoded splits are on disk
and random batches of them come from a buffer. Only a fixed random sample of the training split
stays in memory: the baselines are fitted on it, and the network is explained with it.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Dataset, InputKind
from elman.data.encoded import ExamplesWriter, StoredExamples, choose, cut
from elman.data.packing import join
from elman.data.ragged import Ragged, sequences_with_labels
from elman.data.store import StoredDataset
from elman.errors import DataError, ShapeError
from elman.estimators.columns import Columns, TrainedColumns
from elman.estimators.containers import open_container
from elman.estimators.defaults import choose_settings, make_config
from elman.estimators.encoder import Encoder
from elman.estimators.inputs import check_sequences, take_rows
from elman.estimators.parameters import refuse_missing_device, refuse_unused
from elman.estimators.prepare import (
    LabelledSequences,
    Prepared,
    Previous,
    label_sequences,
    read_split,
)
from elman.estimators.static import find_static
from elman.estimators.stored_figures import EncoderFigures, TargetFigures
from elman.estimators.targets import Target
from elman.estimators.weights import nonzero_weights, sample_weights
from elman.train.losses import check_loss
from elman.train.monitor import Monitor

if TYPE_CHECKING:
    from elman.estimators.base import SequenceEstimator

Ints = NDArray[np.int64]
SAMPLE_BYTES = 1 << 25  # of the training split that stays in memory
PART_BYTES = 1 << 20  # of the sequences that are encoded at once
UNFOLDED = 16  # times the memory of a text that its words take up as strings
TRAINING, VALIDATION, TEST = "training", "validation", "test"  # folders of the encoded splits


def prepare_stored(
    estimator: SequenceEstimator,
    training: StoredDataset,
    validation: StoredDataset | None,
    folder: Path,
    buffer: int,
    *,
    sample_weight: Any = None,
    seed: int | None = None,
) -> Prepared:
    """Do what the estimator's `prepare` does, for data on disk; `fit_prepared` then trains.

    Args:
        estimator: with the parameters of the training; a fitted one continues if `warm_start`.
        training: the training split.
        validation: the split that chooses the epoch; None for none. No share is held out here.
        folder: for the encoded splits, as large as the data; the caller removes it after the
            training. Files of a training that was cut off are replaced.
        buffer: bytes of memory from which random batches are drawn. Another buffer gives other
            batches, so a training that is continued needs the same: see `buffer_of`.
        sample_weight: as for `fit`.
        seed: used if `random_state` is no number; None draws one.
    Returns: what the training needs; `sequences` and `labelled` are a sample of the training split.
    Raises: as `prepare`; WriteError if the disk is full.
    """
    previous = estimator._previous() if estimator.warm_start else None
    settings = estimator.check_parameters(estimator.readout, seed)
    refuse_missing_device(settings.training)
    training, weights = _weigh(training, sample_weight, estimator.per_step)
    known = None if previous is None else previous.encoder.kind
    reader = _Reader.of(estimator, training, known or settings.inputs, previous)
    refuse_unused(settings, reader.kind)
    parts = _Parts(training, reader, weights)
    if previous is None:
        scaling, tokens = settings.data.scale, settings.data.tokens
        encoder_figures = EncoderFigures(reader.kind, tokens, scaling, reader.columns.channel_names)
        encoder, target = _fit(parts, encoder_figures, TargetFigures(estimator.targets))
        target = target.with_names(training.target_names)
        columns = reader.columns.with_categories(encoder.categories, encoder.channels)
    else:
        encoder, target, columns = previous.encoder, previous.target, previous.columns
        parts.refuse_unlabelled(sum(len(labelled) for labelled, _, _ in parts))
    check_loss(target.task, settings.training)
    examples, counts, sample = _encode_training(parts, encoder, target, folder / TRAINING, buffer)
    net = None if previous is None else previous.model.config
    network, schedule, chosen = choose_settings(
        settings, encoder, examples.lengths, target, estimator.per_step, net, None
    )
    held_out = None
    if validation is not None:
        held_out = encode_split(
            estimator, validation, columns, encoder, target, folder / VALIDATION
        )
    return Prepared(
        labelled=sample,
        sequences=encoder.encode_sequences(sample.X, static=sample.static),
        examples=examples,
        validation_sequences=None,
        validation_examples=held_out,
        target=target,
        columns=columns,
        layout=training.layout if previous is None else previous.layout,
        model=network,
        training=schedule,
        chosen=chosen,
        plan=schedule.resolve(held_out is not None),
        config=make_config(network, encoder, target),
        class_weight=target.class_weights(schedule.class_weight, counts),
        continues=None if previous is None else previous.model,
        one_pass=False,
    )


def monitor_stored(
    estimator: SequenceEstimator,
    prepared: Prepared,
    test: StoredDataset,
    folder: Path,
    *,
    every_epoch: bool = False,
) -> Prepared:
    """Return `prepared` with a test split on disk, as the estimator's `monitor` does.

    Args:
        folder: as for `prepare_stored`.
        every_epoch: evaluate all of it after every epoch, whatever that costs.
    """
    columns, encoder, target = prepared.columns, prepared.encoder, prepared.target
    examples = encode_split(estimator, test, columns, encoder, target, folder / TEST)
    monitor = Monitor.plan(
        examples, prepared.examples, prepared.config, prepared.plan, every_epoch=every_epoch
    )
    return dataclasses.replace(prepared, monitor=monitor)


def encode_split(
    estimator: SequenceEstimator,
    split: StoredDataset,
    columns: Columns,
    encoder: Encoder,
    target: Target,
    folder: Path,
) -> StoredExamples:
    """Encode a split as the training split was, block by block, into a folder."""
    writer = ExamplesWriter(folder, encoder.input_size)
    for index, block in _parts(split):
        with _places(index):
            labelled = read_split(
                (block, None), columns, estimator.targets, estimator.per_step, encoder, target
            )
            labelled = dataclasses.replace(labelled, places=index)
            encoded = encoder.encode_sequences(labelled.X, static=labelled.static)
            writer.add(labelled.to_examples(encoded, target))
    return writer.finish()


@dataclass(frozen=True)
class _Reader:
    """How blocks of the training split are read.

    Args:
        targets, per_step: of the estimator.
        kind: kind of the sequences.
        columns: names of the channels.
        trained: the columns of earlier training; None for a new one.
        encoder: of earlier training, or None.
    """

    targets: tuple[type[Target], ...]
    per_step: bool
    kind: InputKind
    columns: Columns
    trained: TrainedColumns | None
    encoder: Encoder | None

    @classmethod
    def of(
        cls,
        estimator: SequenceEstimator,
        split: StoredDataset,
        kind: str,
        previous: Previous | None,
    ) -> _Reader:
        """Find the kind and the columns from the first block."""
        if not len(split) or not split.has_target:
            raise DataError(
                "there are no labelled sequences, expected some to learn from",
                remedy="Name the label with --target NAME.",
                source=split.source,
            )
        trained = None if previous is None else estimator.trained_columns()
        index, block = next(iter(split.blocks()))
        with _places(index):
            container = open_container(block, trained)
            found = check_sequences(container.sequences, kind, container.what or previous)[1]
        columns = container.columns(split.layout) if previous is None else previous.columns
        encoder = None if previous is None else previous.encoder
        return cls(estimator.targets, estimator.per_step, found, columns, trained, encoder)

    def read(self, block: Dataset, weights: Any) -> LabelledSequences:
        """Return the sequences of a block with their labels, without those that have none."""
        container = open_container(block, self.trained)
        X, _ = check_sequences(container.sequences, self.kind, self)
        static = find_static(container.static, None, len(X), self.encoder)
        labelled = label_sequences(
            X, block.target, self.targets, self.per_step, weights, static=static
        )
        if not isinstance(labelled.labels, Ragged):
            return labelled
        used = np.flatnonzero(sequences_with_labels(labelled.labels))
        return labelled if len(used) == len(labelled) else labelled.take(used)


class _Parts:
    """The training split, block by block, each time in the same way.

    Args:
        split: the split.
        reader: how its blocks are read.
        weights: sample weights of all its sequences, or None.
    Attributes:
        weighted: whether there are weights; known once all was read, because those of a tagger are
            left out if all that count are 1.
    """

    def __init__(self, split: StoredDataset, reader: _Reader, weights: Any) -> None:
        self.split, self.reader, self.weights = split, reader, weights
        self.weighted = False

    def __iter__(self) -> Iterator[tuple[LabelledSequences, Dataset, Ints]]:
        """Yield labelled sequences, the block that they are from, and the places of the block."""
        for index, block in _parts(self.split):
            with _places(index):
                labelled = self.reader.read(block, take_rows(self.weights, index))
            places = index if labelled.places is None else index[labelled.places]
            self.weighted = self.weighted or labelled.weights is not None
            if len(labelled):
                yield dataclasses.replace(labelled, places=places), block, index

    def refuse_unlabelled(self, used: int) -> None:
        """Raise DataError if no sequence has a label at any step; warn if some have none."""
        count = len(self.split)
        if not used:
            raise DataError(
                "y: no step of any sequence is labelled",
                remedy="Expected labels at some steps; None, NaN and -100 mean that there is none.",
            )
        if used < count:
            warnings.warn(
                f"no step of {count - used:,} of {count:,} sequences is labelled; they are left "
                "out of the training",
                stacklevel=4,
            )


def _parts(split: StoredDataset) -> Iterator[tuple[Ints, Dataset]]:
    """Yield sequences with their places in the split, in parts that are small enough to encode."""
    for index, block in split.blocks():
        for start, end in cut(split.sizes[index], PART_BYTES):
            own = np.arange(start, end)
            yield index[own], block if end - start == len(block) else block.take(own)


def _fit(
    parts: _Parts, encoder_figures: EncoderFigures, target_figures: TargetFigures
) -> tuple[Encoder, Target]:
    """Return encoder and target, fitted on the training split."""
    if encoder_figures.looks_first:
        for labelled, _, _ in parts:
            encoder_figures.look(labelled.X)
    used = 0
    for labelled, _, _ in parts:
        used += len(labelled)
        with _places(labelled.places):
            encoder_figures.add(labelled.X, labelled.static)
            target_figures.add(labelled.labels)
    parts.refuse_unlabelled(used)
    return encoder_figures.encoder(), target_figures.target()


def _encode_training(
    parts: _Parts, encoder: Encoder, target: Target, folder: Path, buffer: int
) -> tuple[StoredExamples, Ints, LabelledSequences]:
    """Encode the training split into a folder.

    Returns: the split, how often its classes occur (see `count` of the target), and a sample of it.
    """
    writer = ExamplesWriter(folder, encoder.input_size)
    most = min(SAMPLE_BYTES, buffer)
    if parts.reader.kind == "text":
        most //= UNFOLDED
    chosen = np.zeros(len(parts.split), dtype=bool)
    chosen[choose(parts.split.sizes, most)] = True
    counts: Any = 0
    kept: list[Dataset] = []
    for labelled, block, index in parts:
        with _places(labelled.places):
            encoded = encoder.encode_sequences(labelled.X, static=labelled.static)
            if parts.weighted and labelled.weights is None:
                ones = np.ones(len(encoded.inputs.values))
                labelled = dataclasses.replace(labelled, weights=encoded.inputs.with_values(ones))
            writer.add(labelled.to_examples(encoded, target))
            counts = counts + target.count(labelled.labels)
        own = chosen[index]
        if own.any():
            kept.append(block.take(np.flatnonzero(own)))
    examples = dataclasses.replace(writer.finish(), buffer=buffer)
    return examples, counts, parts.reader.read(join(kept), None)


def _weigh(
    training: StoredDataset, sample_weight: Any, per_step: bool
) -> tuple[StoredDataset, Any]:
    """Return the sequences whose weights are not all 0, and their weights, or None."""
    if sample_weight is None:
        return training, None
    lengths = training.lengths if per_step else np.ones(len(training), np.int64)
    weights = sample_weights(sample_weight, lengths, per_step=per_step)
    used = nonzero_weights(weights)
    return training.subset(used), take_rows(weights, used)


@contextmanager
def _places(index: Ints | None) -> Iterator[None]:
    """Number the sequences in messages as in the whole split.

    Args:
        index: place in the split of each sequence of a block, (m,).
    """

    def renumber(text: str) -> str:
        def place(found: re.Match[str]) -> str:
            at = int(found[1])
            return f"sequence {index[at]}" if index is not None and at < len(index) else found[0]

        return re.sub(r"\bsequence (\d+)\b", place, text)

    try:
        yield
    except DataError as error:
        raise type(error)(
            renumber(error.problem),
            remedy=error.remedy,
            source=error.source,
            line=error.line,
            column=error.column,
            rule=error.rule,
        ) from None
    except ShapeError as error:
        raise ShapeError(renumber(str(error))) from None
