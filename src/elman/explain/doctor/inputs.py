"""What a diagnosis examines: a copy of the network, and sequences and labels as it reads them.

A sequence that cannot be read, being empty or having a label that the network does not know,
becomes a finding and is left out of everything that follows.

Dimensions: n sequences, N steps of all of them, T steps, C channels, K outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.errors import DataError, ShapeError
from elman.explain.doctor.findings import Finding
from elman.explain.network import ExplainedEstimator, ExplainedNetwork
from elman.models import SequenceModel
from elman.tasks import TASKS
from elman.train import EpochRecord
from elman.train.losses import Loss


@dataclass(frozen=True)
class TrainingRecord:
    """How the network was trained, as far as is known.

    Args:
        epochs: a record each.
        kept_epoch: the epoch whose weights it has.
        stopped: how the training ended.
        options: the estimator's parameters; a setting is None where it was chosen by the data.
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
        classes: names of the outputs, (K,).
        loss: what is minimised, without label smoothing.
        record: how it was trained; None for a bare network.
        scaled: whether an estimator standardises; None for a bare network.
    """

    model: SequenceModel
    examples: Examples
    raw: Ragged | None
    labelled: bool
    classes: tuple[Any, ...]
    loss: Loss
    record: TrainingRecord | None
    scaled: bool | None

    @classmethod
    def from_training(
        cls, model: SequenceModel, training: Examples, loss: Loss, record: TrainingRecord | None
    ) -> DiagnosisInput:
        """What a training has at hand: the model in evaluation mode, its examples and its loss."""
        config = model.config
        classes = tuple(range(config.num_outputs))
        loss = dataclasses.replace(loss, label_smoothing=0.0)
        raw, read = None, training.inputs
        if config.input_size:
            raw = read.with_values(read.values[:, : config.input_size].astype(np.float64))
        return cls(model, training, raw, True, classes, loss, record, None)

    @property
    def places(self) -> NDArray[np.int64]:
        """Of the sequences in X, (n,)."""
        return self.examples.places_of(np.arange(len(self.examples)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, (n,)."""
        return self.examples.inputs.lengths

    def sample(self, most: int, seed: int) -> NDArray[np.int64]:
        """Sample at most so many sequences, as sorted indices."""
        count = len(self.examples)
        if count <= most:
            return np.arange(count)
        return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def read_input(model: Any, X: Any, y: Any = None) -> tuple[DiagnosisInput, list[Finding]]:
    """Read a network, sequences and labels; return with them what was wrong on the way.

    Raises: SettingsError for a model that is none; ShapeError or DataError if X or y have not the
        form that the network reads, or nothing in X can be read.
    """
    network = ExplainedNetwork.of(model, dtype=None)
    config = network.model.config
    sequences = _as_container(network.read_sequences(X))
    count = len(sequences)
    if y is not None and len(y) != count:
        raise ShapeError(f"y: got {len(y)} labels, expected {count}, one a sequence of X")
    findings: list[Finding] = []
    kept = [i for i, sequence in enumerate(sequences) if len(sequence)]
    if len(kept) < count:
        empty = tuple(sorted({*range(count)} - {*kept}))
        remedy = "Leave them out, or find out why nothing was read."
        findings.append(_left_out("empty_sequences", "have no steps", empty, count, remedy))
    inputs, failed = _read_each(lambda index: network.encode(_take(sequences, index)), kept)
    if failed:
        what = f"cannot be read; the reason for the first: {next(iter(failed.values()))}"
        remedy = "Fill the gaps or leave the sequences out: every number must be finite."
        findings.append(_left_out("unreadable_sequences", what, tuple(failed), count, remedy))
        kept = [i for i in kept if i not in failed]
        if not kept:
            raise DataError(next(iter(failed.values())))
    target: Any = np.zeros(0)
    if y is not None:
        labels = _as_container(y)
        target, failed = _read_each(
            lambda i: network.encode_labels(_take(sequences, i), _take(labels, i)), kept
        )
        if failed:
            names = list(dict.fromkeys(str(labels[i])[:40] for i in failed))[:5]
            what = f"have a label that the network does not know ({', '.join(names)})"
            remedy = "Correct the labels, or train with all classes there are."
            findings.append(
                _left_out("labels_out_of_range", what, tuple(failed), count, remedy, "target")
            )
            labelled = [i for i in kept if i not in failed]
            inputs = inputs.take(np.searchsorted(kept, labelled).astype(np.int64))
            kept = labelled
    if not kept:
        raise DataError(
            f"X: none of {count} sequences can be examined"
            + (f": {findings[0].message}" if findings else ""),
            remedy="Expected at least one with steps, and labels that the network knows.",
        )
    task = TASKS[config.task]
    raw, record, loss, scaled = None, None, "auto", None
    if config.input_size:
        raw = network.numeric_steps(_take(sequences, kept))
    if isinstance(network, ExplainedEstimator):
        options, history = model.get_params(deep=False), model.history_
        loss, scaled = options["loss"], options["scale"]
        if history.epochs:
            record = TrainingRecord(
                tuple(history.epochs), history.kept_epoch, history.stopped, options
            )
    unit = None if task.has_classes else np.ones(config.num_outputs)
    read = DiagnosisInput(
        model=network.model,
        examples=Examples(inputs, target, None, unit, config.input_size, np.array(kept)),
        raw=raw,
        labelled=y is not None,
        classes=network.output_names,
        loss=Loss(config.task, task.losses[0] if loss == "auto" else loss),
        record=record,
        scaled=scaled,
    )
    return read, findings


def _as_container(values: Any) -> Any:
    """Sequences, or labels, as a Ragged, an array or a list."""
    if isinstance(values, Ragged | Sequence):
        return values
    return np.asarray(values) if hasattr(values, "__array__") else list(values)


def _take(values: Any, index: list[int]) -> Any:
    """Those at `index`, which is sorted, in the container that they have."""
    if len(index) == len(values):
        return values  # whole, so that sequences which are encoded already need not be again
    if isinstance(values, Ragged):
        return values.take(np.array(index, dtype=np.int64))
    return values[index] if isinstance(values, np.ndarray) else [values[i] for i in index]


def _left_out(
    name: str, what: str, sequences: tuple[int, ...], count: int, remedy: str, setting: str = ""
) -> Finding:
    """A finding about sequences that are left out."""
    message = f"{len(sequences)} of {count} sequences {what}; they are left out of what follows"
    number = float(len(sequences))
    return Finding(name, "error", message, number, 0, remedy, setting, sequences=sequences)


def _read_each(read: Callable[[list[int]], Any], index: list[int]) -> tuple[Any, dict[int, str]]:
    """Read the sequences or labels at `index` together; one by one where that fails.

    Returns: those that can be read, and for each that cannot, why.
    """
    try:
        return read(index), {}
    except DataError:  # of one or several: reading one by one tells which
        failed: dict[int, str] = {}
        rows: list[Any] = []
        for i in index:
            try:
                rows.append(read([i]))
            except DataError as error:
                failed[i] = str(error)
        if rows and isinstance(rows[0], Ragged):
            return Ragged.from_list([row.values for row in rows]), failed
        return np.concatenate(rows) if rows else np.zeros(0), failed
