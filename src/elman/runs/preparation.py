"""From settings to splits, an estimator and what it trains on."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from elman import files
from elman.data import Dataset, Ragged, describe
from elman.data.shuffling import buffer_of
from elman.data.store import StoredDataset
from elman.errors import SettingsError
from elman.estimators import Estimator, Prepared
from elman.estimators.estimators import ESTIMATORS
from elman.estimators.parameters import refuse_missing_device, truncation_faults
from elman.estimators.stored import monitor_stored, prepare_stored
from elman.estimators.stream import STREAMING_COST
from elman.formats import KINDS, ending_of
from elman.runs.config import RunSettings
from elman.runs.data_splits import DataSplits, Splits, is_builtin, read_splits, resolve_data
from elman.runs.folder import ENCODED, STORED, check_run_folder
from elman.runs.held_out import AnyDataset, D
from elman.runs.streamed import MemoryPlan, StoredSplits, describe_stored, read_stored_splits
from elman.settings import ModelSettings
from elman.tasks import TASKS, TaskName
from elman.train import kept

# Task if the settings name none, by whether there is a target at every step.
_DEFAULT_TASKS: dict[bool, TaskName] = {False: "classification", True: "tagging"}

S = TypeVar("S", DataSplits, StoredSplits)


def refuse_early(settings: RunSettings, out: Path | None, overwrite: bool) -> None:
    """Raise SettingsError for what is wrong whatever the data hold.

    Reading a large file takes minutes, after which nobody wants to hear of a missing device.
    """
    if out is not None:
        with files.lock(out):  # which another process may hold
            check_run_folder(out, overwrite)
    refuse_missing_device(settings.training)
    both = {"tbptt": settings.training.tbptt, "bidirectional": settings.model.bidirectional}
    if faults := truncation_faults(both):
        raise SettingsError(faults[0])
    data = settings.data
    kind = KINDS.get(ending_of(data.data))
    numbers = data.format == "ts" or kind == "ts" or (data.values and not data.text)
    if numbers and not data.categories and settings.model.embedding_size is not None:
        raise SettingsError(
            f"embedding_size: got {settings.model.embedding_size!r}, but the sequences are "
            "numbers, which have no embedding. Leave it out"
        )


@dataclass(frozen=True)
class Work:
    """What a run does: made from its settings, the same each time.

    Args:
        splits: the data.
        estimator: not fitted yet.
        prepared: what it trains on.
        settings: the settings with all defaults filled in.
        summary: how the data were read, in words.
    """

    splits: DataSplits | StoredSplits
    estimator: Estimator
    prepared: Prepared
    settings: RunSettings
    summary: str

    @classmethod
    def read(cls, settings: RunSettings, verbose: int) -> Work:
        """Read and split the data, and prepare the training."""
        splits = read_splits(settings.data, settings.training.seed, settings.training)
        estimator, prepared, settings = prepare(settings, splits, verbose)
        prepared, settings = _keep_epochs(estimator, prepared, settings)
        summary = describe(splits.whole, prepared.encoder.unit)
        return cls(_note(splits, prepared, settings), estimator, prepared, settings, summary)

    @classmethod
    def read_to_disk(
        cls, settings: RunSettings, verbose: int, folder: Path, plan: MemoryPlan
    ) -> Work:
        """Do what `read` does, with the data on disk below the run folder."""
        training = settings.training
        splits = read_stored_splits(settings.data, training.seed, training, folder / STORED, plan)
        place, buffer = folder / STORED / ENCODED, buffer_of(plan.limit)
        estimator, prepared, settings = prepare_from_disk(settings, splits, verbose, place, buffer)
        prepared, settings = _keep_epochs(estimator, prepared, settings)
        summary = describe_stored(splits.whole, prepared.encoder.unit)
        baselines = (
            f"baselines: fitted on {len(prepared.labelled):,} of {len(splits.training):,} training "
            "sequences, drawn at random"
        )
        splits = dataclasses.replace(splits, notes=(*splits.notes, baselines))
        return cls(_note(splits, prepared, settings), estimator, prepared, settings, summary)


def _keep_epochs(
    estimator: Estimator, prepared: Prepared, settings: RunSettings
) -> tuple[Prepared, RunSettings]:
    """Settle how many epochs a run keeps, which depends on the size of its network."""
    if settings.training.keep_epochs is not None:
        return prepared, settings
    units = prepared.config.hidden_size
    epochs = kept.DEFAULT if units <= kept.MOST_UNITS else 0
    estimator.set_params(keep_epochs=epochs)
    training = dataclasses.replace(settings.training, keep_epochs=epochs)
    plan = dataclasses.replace(prepared.plan, keep_epochs=epochs)
    prepared = dataclasses.replace(prepared, training=training, plan=plan)
    return prepared, dataclasses.replace(settings, training=training)


def _note(splits: S, prepared: Prepared, settings: RunSettings) -> S:
    """Return the splits with notes on the settings that were chosen."""
    notes = (*splits.notes, prepared.chosen)
    if settings.model.streaming:
        notes += (f"--streaming: the network reads in one direction. {STREAMING_COST}",)
    return dataclasses.replace(splits, notes=notes)


def prepare(
    settings: RunSettings, splits: DataSplits, verbose: int = 0
) -> tuple[Estimator, Prepared, RunSettings]:
    """Make the estimator that the settings describe, and prepare its training.

    Returns: the estimator, not yet fitted; the argument for its `fit_prepared`; and the settings
        with all data-dependent defaults filled in.
    Raises: SettingsError for settings that do not fit the data.
    """
    layout = splits.whole.layout
    settings = _settle(settings, splits)
    estimator = make_estimator(settings, verbose)
    validation, test = splits.validation, splits.test
    generated = is_builtin(settings.data.data)
    prepared = estimator.prepare(
        splits.training.inputs,
        splits.training.target,
        validation_data=None if validation is None else _to_tuple(validation),
        column_names=layout.values if generated else layout.channel_names,
        target_names=splits.training.target_names,
        layout=None if generated else layout,
        static=splits.training.static,
    )
    if validation is None:
        every_epoch = splits.validation_source == "test"
        prepared = estimator.monitor(prepared, _to_tuple(test), every_epoch=every_epoch)
    return estimator, prepared, _resolve(settings, estimator, prepared, verbose)


def prepare_from_disk(
    settings: RunSettings,
    splits: Splits[StoredDataset],
    verbose: int,
    folder: Path,
    buffer: int,
) -> tuple[Estimator, Prepared, RunSettings]:
    """Do what `prepare` does, for splits on disk.

    Args:
        folder: where the splits are written as the network reads them.
        buffer: bytes of memory from which random batches are drawn.
    """
    settings = _settle(settings, splits)
    estimator = make_estimator(settings, verbose)
    prepared = prepare_stored(estimator, splits.training, splits.validation, folder, buffer)
    # Which also says how sequences were cut into windows.
    prepared = dataclasses.replace(prepared, layout=splits.whole.layout)
    if splits.validation is None:
        every_epoch = splits.validation_source == "test"
        prepared = monitor_stored(estimator, prepared, splits.test, folder, every_epoch=every_epoch)
    return estimator, prepared, _resolve(settings, estimator, prepared, verbose)


def _settle(settings: RunSettings, splits: Splits[D]) -> RunSettings:
    """Return the settings with what is known once the data are read and split."""
    data = resolve_data(settings.data, splits.whole.layout)
    data = dataclasses.replace(data, validation=splits.validation_source, task=splits.whole.task)
    model = _settle_readout(settings.model, splits.whole)
    plan = settings.training.resolve(splits.validation is not None)
    training = dataclasses.replace(settings.training, patience=plan.patience, keep=plan.keep)
    return RunSettings(data, model, training, settings.report)


def _resolve(
    settings: RunSettings, estimator: Estimator, prepared: Prepared, verbose: int
) -> RunSettings:
    """Return the settings with all that was chosen from the data, and set it in the estimator."""
    settings = RunSettings(
        dataclasses.replace(settings.data, tokens=prepared.encoder.unit or settings.data.tokens),
        prepared.model,
        prepared.training,
        settings.report,
    )
    # Save the parameters of config.toml with the model, so that refitting gives the same network.
    estimator.set_params(**_parameters(settings, verbose))
    return settings


def _to_tuple(split: Dataset) -> tuple[Any, ...]:
    """Return a split as `fit` takes it: sequences, targets, weights and static features."""
    return split.inputs, split.target, None, split.static


def make_estimator(settings: RunSettings, verbose: int) -> Estimator:
    """Return the estimator that the settings describe, not yet fitted."""
    return _estimator_type(settings)(**_parameters(settings, verbose))


def _estimator_type(settings: RunSettings) -> type[Estimator]:
    per_step = settings.model.readout == "every"
    return ESTIMATORS[TASKS[settings.data.task or _DEFAULT_TASKS[per_step]].estimator]


def _parameters(settings: RunSettings, verbose: int) -> dict[str, Any]:
    """Return the parameters of the estimator, by name."""
    values: dict[str, Any] = {
        **dataclasses.asdict(settings.model),
        **dataclasses.asdict(settings.training),
        "tokens": settings.data.tokens,
        "scale": settings.data.scale,
        "verbose": verbose,
    }
    values["random_state"] = values.pop("seed")
    if isinstance(settings.data.validation, float):
        values["validation"] = settings.data.validation
    parameters = inspect.signature(_estimator_type(settings)).parameters
    return {name: value for name, value in values.items() if name in parameters}


def _settle_readout(model: ModelSettings, dataset: AnyDataset) -> ModelSettings:
    """Return the settings with readout `every` if there is a target at every step."""
    per_step = isinstance(dataset.target, Ragged)
    if isinstance(dataset, StoredDataset):
        per_step = dataset.has_target and dataset.target is None
    if model.readout == "auto":
        return dataclasses.replace(model, readout="every") if per_step else model
    if per_step != (model.readout == "every"):
        task = TASKS[dataset.task]
        target = task.target + " at every step" * (per_step and task.per_step is None)
        raise SettingsError(
            f"readout: got {model.readout!r}, but the target is {target}. Leave --readout out, or "
            "name another target with --target"
        )
    return model
