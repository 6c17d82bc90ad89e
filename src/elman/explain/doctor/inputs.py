"""What is looked at: a copy of the network, and the sequences and labels as it reads them.

What cannot be read, an empty sequence or a label that is none, becomes a finding and is left out of
all that follows.

Dimensions: n sequences, N steps of all of them, T steps, C channels, K outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.errors import DataError, ShapeError
from elman.explain.doctor.findings import Finding
from elman.explain.network import Estimator, ExplainedNetwork
from elman.models import SequenceModel
from elman.train.loop import EpochRecord
from elman.train.losses import Loss

_EMPTY = "Leave them out, or find out why nothing was read."
_NOT_FINITE = "Fill the gaps or leave the sequences out: every number must be finite."


@dataclass(frozen=True)
class TrainingRecord:
    """How the network was trained, as far as is known.

    Args:
        epochs: a record each.
        kept_epoch: whose weights it has.
        stopped: how the training ended.
        options: the estimator's settings of the training, None where they were chosen.
    """

    epochs: tuple[EpochRecord, ...]
    kept_epoch: int
    stopped: str
    options: dict[str, Any]


@dataclass(frozen=True)
class DiagnosisInput:
    """A network and what it reads.

    Args:
        model: a copy in evaluation mode, of the dtype and on the device of the user's.
        examples: sequences and labels as the network reads them; `places` are those in X. Without
            labels the target is empty, (0,).
        raw: the steps as the user gave them, where they are numbers, (N, C); else None.
        labelled: whether there are labels.
        channels: names of the input's columns.
        classes: names of the outputs, (K,).
        loss: what is minimised, without label smoothing.
        record: how it was trained; None for a bare network.
        scaled: whether an estimator standardises; None for a bare network.
    """

    model: SequenceModel
    examples: Examples
    raw: Ragged | None
    labelled: bool
    channels: tuple[str, ...]
    classes: tuple[Any, ...]
    loss: Loss
    record: TrainingRecord | None
    scaled: bool | None

    @classmethod
    def from_training(
        cls, model: SequenceModel, training: Examples, loss: Loss, record: TrainingRecord | None
    ) -> DiagnosisInput:
        """What a training has in hands: the model in evaluation mode, its part and its loss."""
        config = model.config
        raw = None
        if config.input_size:
            raw = training.inputs.with_values(
                training.inputs.values[:, : config.input_size].astype(np.float64)
            )
        names = ("token",) if config.vocabulary_size else tuple(map(str, range(config.columns)))
        loss = dataclasses.replace(loss, label_smoothing=0.0)
        classes = tuple(range(config.num_outputs))
        return cls(model, training, raw, True, names, classes, loss, record, None)

    @property
    def places(self) -> NDArray[np.int64]:
        """Of the sequences in X, (n,)."""
        return self.examples.places_of(np.arange(len(self.examples)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, (n,)."""
        return self.examples.inputs.lengths

    def sample(self, most: int, seed: int) -> NDArray[np.int64]:
        """Draw at most so many sequences, as sorted indices."""
        count = len(self.examples)
        if count <= most:
            return np.arange(count)
        return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def read_input(model: Any, X: Any, y: Any = None) -> tuple[DiagnosisInput, list[Finding]]:
    """Read a network, sequences and labels; return with them what was wrong on the way.

    Raises: SettingsError for a model that is none; ShapeError or DataError if X or y have not the
        form that the network reads, or nothing in X can be read.
    """
    reader = ExplainedNetwork.of(model, dtype=None)
    estimator = reader.estimator
    findings: list[Finding] = []
    if estimator is None:
        read, labels_of = _as_model_reads(reader.model), _as_model_learns(reader.model)
        sequences = _plain(X)
    else:
        sequences = _plain(estimator.read_sequences(X))
        read = estimator.encoder_.encode
        labels_of = _as_estimator_learns(estimator)
    count = len(sequences)
    if y is not None and len(y) != count:
        raise ShapeError(f"y: got {len(y)} labels, expected {count}, one a sequence of X")
    empty = tuple(i for i, sequence in enumerate(sequences) if not len(sequence))
    if empty:
        findings.append(_left_out("empty_sequences", "hold no step", empty, count, _EMPTY))
    good = [i for i in range(count) if i not in set(empty)]
    inputs, good = _readable(read, sequences, good, findings, count)
    target: Any = np.zeros(0)
    if y is not None:
        labels = _plain(y)
        target, labelled = _labels(labels_of, sequences, labels, good, findings, count)
        inputs = inputs.take(np.searchsorted(good, labelled).astype(np.int64))
        good = labelled
    if not good:
        raise DataError(
            f"X: of {count} sequences none can be looked at"
            + (f": {findings[0].message}" if findings else ""),
            remedy="Expected one or more with steps, and labels that the network knows.",
        )
    config = reader.model.config
    numbers, raw = config.input_size > 0, None
    if numbers and estimator is not None:
        steps = estimator.encoder_.read_steps(_pick(sequences, good))
        encoder = estimator.encoder_
        columns = [c for c in range(encoder.channels) if c not in encoder.categories]
        raw = steps.with_values(np.asarray(steps.values[:, columns], dtype=np.float64))
    elif numbers:
        raw = inputs.with_values(inputs.values[:, : config.input_size].astype(np.float64))
    unit = np.ones(config.num_outputs) if config.task == "regression" else None
    examples = Examples(inputs, target, None, unit, config.input_size, np.array(good))
    name = getattr(model, "loss", "auto") if estimator is not None else "auto"
    default = "squared_error" if config.task == "regression" else "cross_entropy"
    inputs_read = DiagnosisInput(
        model=reader.model,
        examples=examples,
        raw=raw,
        labelled=y is not None,
        channels=reader._input_names(),
        classes=reader.classes,
        loss=Loss(config.task, default if name == "auto" else name),
        record=_training_record(model),
        scaled=getattr(model, "scale", None) if estimator is not None else None,
    )
    return inputs_read, findings


def _training_record(model: Any) -> TrainingRecord | None:
    history = getattr(model, "history_", None)
    if history is None or not history.epochs:
        return None
    names = ("optimizer", "clip_norm", "schedule", "learning_rate", "epochs", "keep", "patience")
    options = {name: getattr(model, name, None) for name in names}
    return TrainingRecord(tuple(history.epochs), history.kept_epoch, history.stopped, options)


def _plain(values: Any) -> Any:
    """Sequences, or labels, as a Ragged, an array or a list."""
    if isinstance(values, Ragged | list):
        return values
    return np.asarray(values) if hasattr(values, "__array__") else list(values)


def _pick(values: Any, index: list[int]) -> Any:
    """Those at `index`, in the form that they had."""
    if isinstance(values, Ragged):
        return values.take(np.array(index, dtype=np.int64))
    return values[index] if isinstance(values, np.ndarray) else [values[i] for i in index]


def _left_out(
    name: str, what: str, sequences: tuple[int, ...], count: int, remedy: str, setting: str = ""
) -> Finding:
    """A finding about sequences that cannot be read."""
    return Finding(
        name,
        "error",
        f"{len(sequences)} of {count} sequences {what}; they were left out of what follows",
        len(sequences),
        0,
        remedy,
        setting,
        sequences=sequences,
    )


def _readable(
    read: Callable[[Any], Ragged],
    sequences: Any,
    good: list[int],
    findings: list[Finding],
    count: int,
) -> tuple[Ragged, list[int]]:
    """Encode all together, or if that fails one by one, and say which fail."""
    try:
        return read(_pick(sequences, good)), good
    except DataError:
        kept, rows, failed = [], [], {}
        for i in good:
            try:
                rows.append(read(_pick(sequences, [i])).values)
                kept.append(i)
            except DataError as error:
                failed[i] = str(error)
        if not kept:
            raise
        finding = _left_out(
            "unreadable_sequences",
            f"cannot be read, the first for this: {next(iter(failed.values()))}",
            tuple(failed),
            count,
            _NOT_FINITE,
        )
        findings.append(finding)
        return Ragged.from_list(rows), kept


def _labels(
    labels_of: Callable[[Any, Any], Any],
    sequences: Any,
    labels: Any,
    good: list[int],
    findings: list[Finding],
    count: int,
) -> tuple[Any, list[int]]:
    """Encode the labels of the good sequences; one by one if that fails."""
    try:
        return labels_of(_pick(sequences, good), _pick(labels, good)), good
    except DataError:
        kept, rows, failed = [], [], {}
        for i in good:
            try:
                found = labels_of(_pick(sequences, [i]), _pick(labels, [i]))
                rows.append(found.values if isinstance(found, Ragged) else found)
                kept.append(i)
            except DataError as error:
                failed[i] = str(error)
        shown = list(dict.fromkeys(str(labels[i])[:40] for i in failed))[:5]
        finding = _left_out(
            "labels_out_of_range",
            f"have a label that the network does not know ({', '.join(shown)})",
            tuple(failed),
            count,
            "Correct the labels, or train with all classes there are.",
            "target",
        )
        findings.append(finding)
        if not kept:
            return np.zeros(0), []
        ragged = isinstance(labels_of(_pick(sequences, kept[:1]), _pick(labels, kept[:1])), Ragged)
        return (Ragged.from_list(rows) if ragged else np.concatenate(rows)), kept


def _as_estimator_learns(estimator: Estimator) -> Callable[[Any, Any], Any]:
    def labels_of(sequences: Any, labels: Any) -> Any:
        return estimator.target_.encode(estimator.read_labels(sequences, labels))

    return labels_of


def _as_model_reads(model: SequenceModel) -> Callable[[Any], Ragged]:
    config = model.config

    def read(sequences: Any) -> Ragged:
        arrays = [np.asarray(sequence) for sequence in sequences]
        found = Ragged.from_list(arrays)
        wanted = () if config.vocabulary_size else (config.columns,)
        if found.values.shape[1:] != wanted:
            raise ShapeError(f"X: got steps of shape {found.values.shape[1:]}, expected {wanted}")
        if config.vocabulary_size:
            if found.values.dtype.kind not in "iu":
                raise ShapeError(f"X: got {found.values.dtype}, expected token ids, whole numbers")
            _refuse_codes(found.values, config.vocabulary_size, "token")
            return found.with_values(found.values.astype(np.int64))
        dtype = str(model.output.weight.dtype).removeprefix("torch.")
        values = found.values.astype(dtype)
        if not np.isfinite(values).all():
            step, channel = np.argwhere(~np.isfinite(values))[0]
            raise DataError(f"channel {channel} holds {values[step, channel]}")
        for k, size in enumerate(config.category_sizes):
            _refuse_codes(values[:, config.input_size + k], size, "category")
        return found.with_values(values)

    return read


def _refuse_codes(codes: NDArray[Any], size: int, what: str) -> None:
    bad = (codes < 0) | (codes >= size)
    if bad.any():
        raise DataError(f"{what} {codes[bad][0]:g} is none, expected 0 to {size - 1}")


def _as_model_learns(model: SequenceModel) -> Callable[[Any, Any], Any]:
    config = model.config
    classes = config.task == "classification"

    def labels_of(sequences: Any, labels: Any) -> Any:
        dtype = np.int64 if classes else np.float32
        given = [np.asarray(label) for label in labels]
        if classes and any(label.dtype.kind not in "iub" for label in given):
            raise ShapeError("y: expected the codes of classes, whole numbers")
        if config.per_step:
            found = Ragged.from_list(given, dtype)
            lengths = [len(sequence) for sequence in sequences]
            if found.lengths.tolist() != lengths:
                raise ShapeError("y: expected a label at every step of each sequence")
            values = found.values
        else:
            values = np.stack(given).astype(dtype)
        if not classes and values.ndim == 1:
            values = values[:, None]
        if classes:
            _refuse_codes(values, config.num_outputs, "class")
        elif not np.isfinite(values).all():
            raise DataError("a label is not a finite number")
        elif config.task == "multilabel" and not np.isin(values, (0, 1)).all():
            raise DataError("a label is neither 0 nor 1")
        return found.with_values(values) if config.per_step else values

    return labels_of
