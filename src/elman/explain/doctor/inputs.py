"""Input of a diagnosis: a copy of the network, with sequences and labels in its format.

A sequence that cannot be read, that is empty, or that has a label unknown to the network is
reported as a finding and left out of all other checks.

Dimensions: n sequences, N steps in all, T steps of one sequence, C channels, K outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.errors import DataError, ShapeError
from elman.explain.doctor.findings import Finding
from elman.explain.forms import Floats, default_channel_names
from elman.explain.network import ExplainedEstimator, ExplainedNetwork
from elman.models import SequenceModel
from elman.models.model import FIRST_TOKEN
from elman.tasks import TASKS
from elman.train import EpochRecord
from elman.train.losses import Loss


@dataclass(frozen=True)
class TrainingRecord:
    """Record of the training of a network.

    Args:
        epochs: a record of each epoch.
        kept_epoch: the epoch whose weights the network has, from 1.
        stopped: how the training ended; empty while it runs.
        options: the estimator's parameters; None for a setting that was chosen from the data.
    """

    epochs: tuple[EpochRecord, ...]
    kept_epoch: int
    stopped: str
    options: dict[str, Any]


@dataclass(frozen=True)
class DiagnosisInput:
    """A network with the sequences and labels to examine.

    Args:
        model: a copy in evaluation mode, with the dtype and device of the user's network.
        examples: encoded sequences and labels, with their `places` in X. Without labels the target
            is empty, (0,).
        raw: numeric columns of all steps before standardisation, (N, C); None without such columns.
        labelled: whether labels are available.
        classes: names of the outputs, (K,).
        loss: the training loss, without label smoothing.
        record: record of the training; None for a bare network.
        scaled: whether the estimator standardises its inputs; None for a bare network.
        unit, centre: a target in its own unit is output * unit + centre, both (K,); 1 and 0 for
            classes.
        channels: names of the numeric columns, (C,).
        vocabulary: the tokens from id 2; empty if they have no texts.
        sequence_names: name of each sequence of X, by its position there; empty if X has no names.
        baselines: `Baselines` fitted on the training split; None for a bare network.
    """

    model: SequenceModel
    examples: Examples
    raw: Ragged | None
    labelled: bool
    classes: tuple[Any, ...]
    loss: Loss
    record: TrainingRecord | None
    scaled: bool | None
    unit: Floats
    centre: Floats
    channels: tuple[str, ...]
    vocabulary: tuple[str, ...] = ()
    sequence_names: tuple[str, ...] = ()
    baselines: Any = None

    @classmethod
    def from_training(
        cls, model: SequenceModel, training: Examples, loss: Loss, record: TrainingRecord | None
    ) -> DiagnosisInput:
        """Create the input during training; `model` must be in evaluation mode."""
        config = model.config
        loss = dataclasses.replace(loss, label_smoothing=0.0)
        raw, read = None, training.inputs
        if config.input_size:
            raw = read.with_values(read.values[:, : config.input_size].astype(np.float64))
        names = default_channel_names(config)[: config.input_size]
        outputs = tuple(range(config.num_outputs))
        unit, centre = np.ones(config.num_outputs), np.zeros(config.num_outputs)
        return cls(model, training, raw, True, outputs, loss, record, None, unit, centre, names)

    def option(self, name: str) -> Any:
        """A setting of the training by its name; None if it was chosen from the data."""
        return None if self.record is None else self.record.options.get(name)

    def advise_scale(self, otherwise: str) -> str:
        """Advise to standardise the inputs, unless the estimator does."""
        if self.scaled or not self.model.config.input_size:
            return otherwise
        return f"Standardise the inputs{' (scale=True)' * (self.scaled is False)}. {otherwise}"

    def name_token(self, code: int) -> str:
        """The text of a token, or its number."""
        place = code - FIRST_TOKEN
        return repr(self.vocabulary[place]) if 0 <= place < len(self.vocabulary) else f"{code}"

    @property
    def places(self) -> NDArray[np.int64]:
        """Positions of the sequences in X, (n,)."""
        return self.examples.places_of(np.arange(len(self.examples)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, (n,)."""
        return self.examples.inputs.lengths

    def name(self, finding: Finding) -> Finding:
        """Return the finding with the names of its channels and sequences."""
        channels = finding.units if finding.layer is None else ()
        sequences = finding.sequences if self.sequence_names else ()
        return dataclasses.replace(
            finding,
            channel_names=tuple(self.channels[c] for c in channels),
            sequence_names=tuple(self.sequence_names[i] for i in sequences),
        )

    def name_sequence(self, place: int) -> str:
        """The name of the sequence at a position of X, or the position."""
        return self.sequence_names[place] if self.sequence_names else f"{place}"

    def sample(self, most: int, seed: int) -> NDArray[np.int64]:
        """Sample at most `most` sequences, as sorted indices."""
        count = len(self.examples)
        if count <= most:
            return np.arange(count)
        return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def read_input(model: Any, X: Any, y: Any = None) -> tuple[DiagnosisInput, list[Finding]]:
    """Read a network, sequences and labels; return them with findings about unreadable ones.

    Raises: SettingsError if `model` is not a model; ShapeError or DataError if X or y do not have
        the format that the network reads, or if no sequence in X can be examined.
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
            remedy = "Correct the labels, or train with all classes."
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
    record, loss, scaled = None, "auto", None
    vocabulary: tuple[str, ...] = ()
    baselines = None
    if isinstance(network, ExplainedEstimator):
        options, history = model.get_params(deep=False), model.history_
        baselines = model.baselines_
        vocabulary = tuple(map(str, network.estimator.encoder_.vocabulary))
        loss, scaled, epochs = options["loss"], options["scale"], tuple(history.epochs)
        if epochs:
            record = TrainingRecord(epochs, history.kept_epoch, history.stopped, options)
    unit = None if task.has_classes else np.ones(config.num_outputs)
    read = DiagnosisInput(
        model=network.model,
        examples=Examples(inputs, target, None, unit, config.input_size, np.array(kept)),
        raw=network.numeric_steps(_take(sequences, kept)) if config.input_size else None,
        labelled=y is not None,
        classes=network.output_names,
        loss=Loss(config.task, task.losses[0] if loss == "auto" else loss),
        record=record,
        scaled=scaled,
        unit=network.scale.detach().cpu().double().numpy(),
        centre=network.mean.detach().cpu().double().numpy(),
        channels=network.channel_names[: config.input_size],
        vocabulary=vocabulary,
        sequence_names=network.name_sequences(X),
        baselines=baselines,
    )
    return read, findings


@runtime_checkable
class _Takes(Protocol):
    """Sequences of which some can be taken, with all that belongs to them."""

    def take(self, index: NDArray[np.int64]) -> Any:
        """Return the sequences at `index`."""


def _as_container(values: Any) -> Any:
    """Convert sequences, or labels, to a Ragged, an array or a list."""
    if isinstance(values, Ragged | Sequence):
        return values
    return np.asarray(values) if hasattr(values, "__array__") else list(values)


def _take(values: Any, index: list[int]) -> Any:
    """Select the values at `index`, which is sorted, as the same type of container."""
    if len(index) == len(values):
        return values  # the same object, so that an encoder need not encode it a second time
    if isinstance(values, np.ndarray):
        return values[index]
    if isinstance(values, _Takes):  # a Ragged, or encoded sequences
        return values.take(np.array(index, dtype=np.int64))
    return [values[i] for i in index]


def _left_out(
    name: str, what: str, sequences: tuple[int, ...], count: int, remedy: str, setting: str = ""
) -> Finding:
    """Make the finding about sequences that are left out."""
    message = f"{len(sequences)} of {count} sequences {what}; they are left out of what follows"
    number = float(len(sequences))
    return Finding(name, "error", message, number, 0, remedy, setting, sequences=sequences)


def _read_each(read: Callable[[list[int]], Any], index: list[int]) -> tuple[Any, dict[int, str]]:
    """Read the sequences or labels at `index` together, or one by one if that fails.

    Returns: those that can be read; and, by index, the reason why each of the others cannot.
    """
    try:
        return read(index), {}
    except DataError:  # the error names only one of them; reading one by one finds all
        failed: dict[int, str] = {}
        rows: list[Any] = []
        for i in index:
            try:
                rows.append(read([i]))
            except DataError as error:
                failed[i] = str(error)
        if rows and isinstance(rows[0], Ragged):
            joined = Ragged.from_list([row.values for row in rows])
            if rows[0].static is not None:
                static = np.concatenate([row.static for row in rows])
                joined = dataclasses.replace(joined, static=static)
            return joined, failed
        return np.concatenate(rows) if rows else np.zeros(0), failed
