"""From settings and splits to an estimator and what it trains on."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from elman import files
from elman.data import Dataset, Ragged
from elman.errors import SettingsError
from elman.estimators import Estimator, Prepared
from elman.estimators.estimators import ESTIMATORS
from elman.estimators.parameters import refuse_missing_device, truncation_faults
from elman.formats import KINDS, ending_of
from elman.runs.config import RunSettings
from elman.runs.data_splits import DataSplits, is_builtin, resolve_data
from elman.runs.folder import check_run_folder
from elman.settings import ModelSettings
from elman.tasks import TASKS, TaskName

# Task if the settings name none, by whether there is a target at every step.
_DEFAULT_TASKS: dict[bool, TaskName] = {False: "classification", True: "tagging"}


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


def prepare(
    settings: RunSettings, splits: DataSplits, verbose: int = 0
) -> tuple[Estimator, Prepared, RunSettings]:
    """Make the estimator that the settings describe, and prepare its training.

    Returns: the estimator, not yet fitted; the argument for its `fit_prepared`; and the settings
        with all data-dependent defaults filled in.
    Raises: SettingsError for settings that do not fit the data.
    """
    layout = splits.whole.layout
    data = resolve_data(settings.data, layout)
    data = dataclasses.replace(data, validation=splits.validation_source, task=splits.whole.task)
    model = _settle_readout(settings.model, splits.whole)
    plan = settings.training.resolve(splits.validation is not None)
    training = dataclasses.replace(settings.training, patience=plan.patience, keep=plan.keep)
    settings = RunSettings(data, model, training, settings.report)
    estimator = make_estimator(settings, verbose)
    validation, test = splits.validation, splits.test
    prepared = estimator.prepare(
        splits.training.inputs,
        splits.training.target,
        validation_data=None if validation is None else _to_tuple(validation),
        column_names=layout.values if is_builtin(data.data) else layout.channel_names,
        target_names=splits.training.target_names,
        layout=None if is_builtin(data.data) else layout,
        static=splits.training.static,
    )
    if validation is None:
        every_epoch = splits.validation_source == "test"
        prepared = estimator.monitor(prepared, _to_tuple(test), every_epoch=every_epoch)
    settings = RunSettings(
        dataclasses.replace(data, tokens=prepared.encoder.unit or data.tokens),
        prepared.model,
        prepared.training,
        settings.report,
    )
    # Save the parameters of config.toml with the model, so that refitting gives the same network.
    estimator.set_params(**_parameters(settings, verbose))
    return estimator, prepared, settings


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


def _settle_readout(model: ModelSettings, dataset: Dataset) -> ModelSettings:
    """Return the settings with readout `every` if there is a target at every step."""
    per_step = isinstance(dataset.target, Ragged)
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
