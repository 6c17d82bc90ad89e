"""Input of a diagnosis: a copy of the network, with sequences and labels in its format.

A sequence that cannot be read, that is empty, or that has a label unknown to the network is
reported as a finding and left out of all other checks. The others are first examined without
running the network: padding, constants, unknown tokens, channels out of scale, leakage.

Dimensions: n sequences, N steps in all, T steps of one sequence, C channels, K outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.errors import DataError, ShapeError
from elman.explain.doctor.findings import Finding, Limits
from elman.explain.forms import Floats, default_channel_names
from elman.explain.network import ExplainedEstimator, ExplainedNetwork
from elman.models import SequenceModel
from elman.models.model import PADDING, UNKNOWN
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
        unit: size of 1 output in the unit of the target, (K,); ones for classes.
        channels: names of the numeric columns, (C,).
        sequence_names: name of each sequence of X, by its position there; empty if X has no names.
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
    channels: tuple[str, ...]
    sequence_names: tuple[str, ...] = ()

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
        unit = np.ones(config.num_outputs)
        return cls(model, training, raw, True, outputs, loss, record, None, unit, names)

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
    if isinstance(network, ExplainedEstimator):
        options, history = model.get_params(deep=False), model.history_
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
        channels=network.channel_names[: config.input_size],
        sequence_names=network.name_sequences(X),
    )
    return read, findings


def _as_container(values: Any) -> Any:
    """Convert sequences, or labels, to a Ragged, an array or a list."""
    if isinstance(values, Ragged | Sequence):
        return values
    return np.asarray(values) if hasattr(values, "__array__") else list(values)


def _take(values: Any, index: list[int]) -> Any:
    """Select the values at `index`, which is sorted, as the same type of container."""
    if len(index) == len(values):
        return values  # the same object, so that an encoder need not encode it a second time
    if isinstance(values, Ragged):
        return values.take(np.array(index, dtype=np.int64))
    return values[index] if isinstance(values, np.ndarray) else [values[i] for i in index]


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
            return Ragged.from_list([row.values for row in rows]), failed
        return np.concatenate(rows) if rows else np.zeros(0), failed


def diagnose_sequences(inputs: DiagnosisInput) -> Iterator[Finding]:
    """Look for padding, constant sequences, unknown tokens and channels out of scale."""
    yield from _diagnose_padding(inputs)
    yield from _diagnose_constants(inputs)
    yield from _diagnose_unknown_tokens(inputs)
    yield from _diagnose_scale(inputs)


def diagnose_leakage(inputs: DiagnosisInput, held_out: DiagnosisInput) -> Iterator[Finding]:
    """Look for held-out sequences that are also in the training split."""
    contents = {_content(sequence) for sequence in inputs.examples.inputs}
    leaked = [
        int(place)
        for place, sequence in zip(held_out.places, held_out.examples.inputs, strict=True)
        if _content(sequence) in contents
    ]
    if not leaked:
        return
    count, share = len(held_out.examples), len(leaked) / len(held_out.examples)
    repeated = len(inputs.examples) - len(contents)
    # Short sequences with few different values repeat even if the split is correct: three bits make
    # only eight sequences. They then repeat about as often within the training split.
    usual = share <= 2 * repeated / len(inputs.examples)
    message = (
        f"{len(leaked)} of {count} held-out sequences are also in the training part, so metrics "
        "measured on them do not hold for new sequences"
    )
    if usual:
        message += (
            f". Equal sequences are common in these data: {repeated} are repeated within the "
            "training part too"
        )
    yield Finding(
        "leakage",
        "warning" if share > Limits.LEAK and not usual else "note",
        message,
        share,
        Limits.LEAK,
        "Keep equal sequences on one side of the split: group 'content'.",
        "group",
        sequences=tuple(leaked),
        held_out=True,
    )


def _content(sequence: NDArray[np.generic]) -> bytes:
    return str(sequence.shape).encode() + np.ascontiguousarray(sequence).tobytes()


def _diagnose_padding(inputs: DiagnosisInput) -> Iterator[Finding]:
    if inputs.raw is not None:
        steps = inputs.raw
        blank = ((steps.values == 0) | np.isnan(steps.values)).all(-1)
    elif inputs.model.config.vocabulary_size:
        steps = inputs.examples.inputs
        blank = steps.values == PADDING
    else:
        return  # categorical columns have no padding value
    content_steps = np.bincount(steps.owners[~blank], minlength=len(steps))
    padding = _beyond_chance(content_steps == 0, blank, steps.owners, steps.lengths)
    padding &= steps.lengths > 1  # in a sequence of one step, zero may be an ordinary value
    if padding.any():
        yield _affected(
            "padding_sequences",
            inputs.places[padding],
            len(steps),
            "hold nothing but padding or gaps",
            "Leave them out: the network learns their labels from nothing.",
        )


def _diagnose_constants(inputs: DiagnosisInput) -> Iterator[Finding]:
    if inputs.raw is None:
        return
    steps = inputs.raw
    values, starts, owners = np.nan_to_num(steps.values), steps.offsets[:-1], steps.owners
    flat = (np.maximum.reduceat(values, starts) == np.minimum.reduceat(values, starts)).all(-1)
    nonzero = (np.maximum.reduceat(np.abs(values), starts) > 0).any(-1)  # all zeros are padding
    repeats = (values[1:] == values[:-1]).all(-1)  # (N - 1,): equal to the step before
    within = owners[1:] == owners[:-1]
    constant = _beyond_chance(
        flat & nonzero, repeats[within], owners[1:][within], steps.lengths - 1
    )
    if constant.any():
        yield _affected(
            "constant_sequences",
            inputs.places[constant],
            len(steps),
            "have the same values at every step",
            "Check whether they were measured at all; leave them out if not.",
        )
    still = np.flatnonzero(np.ptp(values, axis=0) == 0)
    if len(steps) > 1 and len(still) > 0 and values.shape[1] > 1:
        yield Finding(
            "constant_channels",
            "note",
            f"{len(still)} of {values.shape[1]} channels never change and carry no information",
            len(still),
            0,
            "Leave them out of the values.",
            "values",
            units=tuple(still.tolist()),
        )


def _affected(name: str, places: NDArray[np.int64], count: int, what: str, remedy: str) -> Finding:
    message, sequences = f"{len(places)} of {count} sequences {what}", tuple(places.tolist())
    return Finding(name, "warning", message, len(places), 0, remedy, sequences=sequences)


def _beyond_chance(
    whole: NDArray[np.bool_],
    events: NDArray[np.bool_],
    owners: NDArray[np.int64],
    tries: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Find sequences that are affected at every step, if chance is unlikely to be the reason.

    Args:
        whole: whether every step of a sequence is affected, (n,).
        events: whether each step of any sequence is affected, (m,).
        owners: the sequence of each of these steps, (m,).
        tries: number of steps of each sequence that could be affected, (n,).
    """
    others = ~whole[owners]
    share = float(events[others].mean()) if others.any() else 0.0
    expected = len(whole) * share ** np.maximum(tries, 0)  # number expected among n sequences
    affected: NDArray[np.bool_] = whole & (tries > 0) & (expected < Limits.BY_CHANCE)
    return affected


def _diagnose_unknown_tokens(inputs: DiagnosisInput) -> Iterator[Finding]:
    if not inputs.model.config.vocabulary_size or inputs.record is None:
        return
    share = float((inputs.examples.inputs.values == UNKNOWN).mean())
    if share > Limits.UNKNOWN_SHARE:
        yield Finding(
            "unknown_tokens",
            "warning",
            f"{share:.0%} of the tokens are not in the vocabulary and are read as unknown",
            share,
            Limits.UNKNOWN_SHARE,
            "Train on text of this kind, or split it into smaller tokens.",
            "tokens",
        )


def _diagnose_scale(inputs: DiagnosisInput) -> Iterator[Finding]:
    count = inputs.model.config.input_size
    if not count:
        return
    values = inputs.examples.inputs.values[:, :count].astype(np.float64)
    level = np.sqrt(np.mean(values**2, 0))  # (C,)
    moves = values.std(0) > 0  # constant channels are reported by a separate finding
    advice = (
        "Standardise every channel by mean and deviation of the training part."
        if inputs.scaled is None
        else "These sequences differ from those of the training, by whose mean and deviation the "
        "channels are standardised."
        if inputs.scaled
        else "Let the estimator standardise: scale=True."
    )
    saturates = "a level of up to {:.3g} (root mean square), which saturates its gates"
    is_faint = "a level of only {:.3g} (root mean square), too low to have an effect"
    for is_outside, most, threshold, what in (
        (level > Limits.LOUD, np.max, Limits.LOUD, saturates),
        (level < Limits.FAINT, np.min, Limits.FAINT, is_faint),
    ):
        channels = np.flatnonzero(moves & is_outside)
        if len(channels):
            value = float(most(level[channels]))
            yield Finding(
                "unscaled_inputs",
                "warning",
                f"{len(channels)} of {count} channels reach the network at {what.format(value)}",
                value,
                threshold,
                advice,
                "scale",
                units=tuple(channels.tolist()),
            )
