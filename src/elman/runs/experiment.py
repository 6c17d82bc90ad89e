"""One experiment: read and split the data, fit, evaluate, draw figures, write the run folder."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import inspect
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from elman import __version__, plots
from elman.data import Dataset, Ragged, describe
from elman.data.splits import find_duplicates, resampling_groups
from elman.errors import SettingsError
from elman.estimators import EncodedSequences, Estimator, Prepared
from elman.estimators.estimators import ESTIMATORS
from elman.estimators.parameters import refuse_missing_device
from elman.evaluate import Report
from elman.explain import Diagnosis
from elman.formats import KINDS, ending_of
from elman.runs import report_page
from elman.runs.advice import advise, last_lines
from elman.runs.config import RunSettings, settings_hash, to_toml
from elman.runs.data_splits import DataSplits, is_builtin, read_splits, resolve_data
from elman.runs.diagnostics import run_diagnostics
from elman.runs.folder import (
    append_line,
    check_output_folder,
    default_folder,
    new_folder,
    note_static,
    note_unknown_tokens,
    write_json,
)
from elman.runs.groups import CONTENT
from elman.runs.predictions import collect_predictions
from elman.settings import DataSettings, ModelSettings
from elman.tasks import TASKS, TaskName
from elman.train import EpochRecord, History

# Task if the settings name none, by whether there is a target at every step.
_DEFAULT_TASKS: dict[bool, TaskName] = {False: "classification", True: "tagging"}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: the run folder.
        estimator: the fitted estimator.
        reports: reports by split; `test` is always present.
        interrupted: whether Ctrl-C ended training.
        seconds: duration of the whole run.
        diverged: how the training diverged and what to try, in words; empty if it did not.
        suggestions: what to try if the network does not beat its best baseline.
        diagnosis: the doctor's, or in a string why there is none.
    """

    folder: Path
    estimator: Estimator
    reports: dict[str, Report]
    interrupted: bool
    seconds: float
    diverged: str = ""
    suggestions: tuple[str, ...] = ()
    diagnosis: Diagnosis | str = ""

    @property
    def result(self) -> str:
        """The verdict and the suggestions, as lines for the end of a terminal's output."""
        return last_lines(self.reports["test"], self.suggestions, self.diagnosis)


def run(
    settings: RunSettings,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    command: str = "",
    verbose: int = 1,
    echo: Callable[[str], None] = print,
) -> Run:
    """Train, evaluate and write a run folder.

    Args:
        settings: see `elman.settings`.
        out: the run folder; None means runs/<date>-<name>.
        overwrite: replace an existing run.
        command: the command line, for the report.
        verbose: number of epochs between progress lines; 0 for none.
        echo: called with each message of the run.
    Raises: ElmanError; an incomplete run folder is removed.
    """
    started = time.perf_counter()
    created = datetime.datetime.now().astimezone()
    refuse_early(settings, out, overwrite)
    splits = read_splits(settings.data, settings.training.seed, settings.training)
    estimator, prepared, settings = prepare(settings, splits, verbose)
    summary = describe(splits.whole, prepared.encoder.unit)
    splits = dataclasses.replace(splits, notes=(*splits.notes, prepared.chosen))
    echo("\n".join([summary, *splits.notes]))
    folder = out or default_folder(settings.data.data, created.date())
    with new_folder(folder, overwrite):
        # Written early, so that the folder of a killed run shows its settings and can be replaced.
        (folder / "config.toml").write_text(to_toml(settings), encoding="utf-8")
        _train(estimator, prepared, folder / "metrics.jsonl")
        history = estimator.history_
        kept = f"the weights of epoch {history.kept_epoch} are evaluated and saved"
        echo(f"{estimator.describe_model()}\n{history.stopped}; {kept}")
        card = f"```\n{summary}\n```\n\n" + "\n".join(f"- {note}" for note in splits.notes)
        # Save before evaluation, so that the trained model is not lost if the process is killed
        # during evaluation; afterwards only the card is rewritten, to include the metrics.
        estimator.save(folder / "model", data=card)
        sequences = _encode_splits(estimator, prepared, splits)
        reports = _evaluate(estimator, sequences, splits, settings.data)
        estimator.save_card(folder / "model", data=card, report=reports["test"])
        notes = note_unknown_tokens(sequences["test"], splits.test.source)
        notes += note_static(estimator, sequences["test"], splits.test.target)
        diverged, suggestions = advise(prepared, history, reports, settings)
        tested = splits.test, sequences["test"], reports["test"]
        predictions = collect_predictions(estimator, *tested)
        (folder / "predictions.csv").write_text(predictions.to_csv(), encoding="utf-8")
        records = [record.to_dict() for record in history.epochs]
        figures = plots.save_all(records, reports["test"], folder / "plots", history.kept_epoch)
        diagnostics = None
        if settings.report.diagnostics:
            parts = (splits.training, sequences["train"]), (splits.test, sequences["test"])
            diagnostics = run_diagnostics(estimator, *parts, reports["test"], folder / "plots")
        seconds = time.perf_counter() - started
        document = report_page.Page(
            title=Path(settings.data.data).name,
            created=created.isoformat(timespec="seconds"),
            command=command or f"elman train --config {folder / 'config.toml'}",
            version=__version__,
            seconds=seconds,
            data="\n".join([summary, *splits.notes]),
            model=estimator.describe_model(),
            history=history,
            reports=reports,
            figures=figures,
            config=to_toml(settings),
            notes=[*filter(None, [diverged]), *notes],
            diagnostics=diagnostics,
            suggestions=suggestions,
        )
        (folder / "report.html").write_text(report_page.render(document), encoding="utf-8")
        # Written last: the presence of this file means that the run is complete.
        write_json(folder / "metrics.json", _metrics(settings, history, reports, seconds))
    for note in notes:
        echo(note)
    interrupted = is_interrupted(history)
    diagnosis = diagnostics.diagnosis if diagnostics else ""
    return Run(folder, estimator, reports, interrupted, seconds, diverged, suggestions, diagnosis)


def refuse_early(settings: RunSettings, out: Path | None, overwrite: bool) -> None:
    """Raise SettingsError for what is wrong whatever the data hold.

    Reading a large file takes minutes, after which nobody wants to hear of a missing device.
    """
    if out is not None:
        check_output_folder(out, overwrite)
    refuse_missing_device(settings.training.device)
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


def _train(estimator: Estimator, prepared: Prepared, path: Path) -> None:
    """Train, and append a line to `path` at the end of each epoch."""
    with path.open("w", encoding="utf-8") as lines:

        def write_epoch(record: EpochRecord) -> None:
            append_line(lines, record.to_dict())

        estimator.fit_prepared(prepared, write_epoch)
        if is_interrupted(estimator.history_):
            # Ctrl-C may have come after an epoch was recorded and before its line was complete.
            lines.seek(0)
            lines.truncate()
            for record in estimator.history_.epochs:
                write_epoch(record)


def is_interrupted(history: History) -> bool:
    """Whether Ctrl-C ended a training."""
    return history.stopped.startswith("interrupted")


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


def _encode_splits(
    estimator: Estimator, prepared: Prepared, splits: DataSplits
) -> dict[str, EncodedSequences]:
    """Return encoded sequences by split; the test split is encoded if it was not monitored."""
    sequences = {"train": prepared.sequences}
    if prepared.validation_sequences is not None:
        sequences["validation"] = prepared.validation_sequences
    sequences["test"] = prepared.test_sequences or estimator.encode(splits.test)
    parts = {"train": splits.training, "validation": splits.validation, "test": splits.test}
    return {
        part: dataclasses.replace(each, ids=split.name_sequences())
        for part, each in sequences.items()
        if (split := parts[part]) is not None
    }


def _evaluate(
    estimator: Estimator,
    sequences: Mapping[str, EncodedSequences],
    splits: DataSplits,
    data: DataSettings,
) -> dict[str, Report]:
    """Return reports by split; only the test split gets intervals, which take time."""
    report = estimator.evaluate(
        sequences["test"],
        splits.test.target,
        groups=resampling_groups(splits.test, by_content=data.group == CONTENT),
        duplicates=find_duplicates(splits.test, splits.training),
    )
    reports = {"test": report}
    for name, part in (("validation", splits.validation), ("train", splits.training)):
        if part is not None:
            reports[name] = estimator.evaluate(sequences[name], part.target, resamples=0)
    return reports


def _metrics(
    settings: RunSettings, history: History, reports: Mapping[str, Report], seconds: float
) -> dict[str, Any]:
    """Return the content of metrics.json."""
    return {
        **{part: report.to_dict() for part, report in reports.items()},
        "seconds": round(seconds, 3),
        "epochs": len(history.epochs),
        "kept_epoch": history.kept_epoch,
        "stopped": history.stopped,
        "gradients": history.gradients,
        "settings_sha256": settings_hash(settings),
        "data_sha256": _fingerprints(settings),
        "versions": {
            "elman": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }


def _fingerprints(settings: RunSettings) -> dict[str, str]:
    """Return the SHA-256 of each input file, or of the names and contents in each folder."""
    files = {settings.data.data, settings.data.test, settings.data.validation}
    names = sorted(
        f for f in files if f and isinstance(f, str) and Path(f).exists() and not is_builtin(f)
    )
    return {name: _digest(Path(name)) for name in names}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()
