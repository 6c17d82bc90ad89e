"""One experiment, top to bottom: read, split, fit, evaluate, draw, write."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elman import __version__, plots
from elman.data import Dataset, Ragged, describe
from elman.data.ragged import flatten
from elman.errors import SettingsError
from elman.estimators import Estimator, SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.estimators.card import describe_model
from elman.estimators.defaults import DataStatistics, choose
from elman.estimators.encoder import Encoder
from elman.estimators.inputs import check_sequences, choose_unit
from elman.estimators.targets import NumericTarget
from elman.evaluate import Report
from elman.runs.config import RunSettings, settings_hash, to_toml
from elman.runs.data_splits import DataSplits, is_builtin, read_splits, resolve_data
from elman.runs.diagnostics import run_diagnostics
from elman.runs.folder import (
    append_line,
    check_output_folder,
    default_folder,
    new_folder,
    write_json,
)
from elman.runs.predictions import note_unknown_tokens, write_predictions
from elman.runs.report import page
from elman.settings import DataSettings
from elman.tasks import TASKS, TaskName
from elman.train import EpochCallback, EpochRecord


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: where everything was written.
        estimator: fitted.
        reports: figures by part; `test` is always there.
        interrupted: whether Ctrl-C ended the training.
        seconds: of the whole run.
    """

    folder: Path
    estimator: Estimator
    reports: dict[str, Report]
    interrupted: bool
    seconds: float


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
        overwrite: replace a run that is there.
        command: what the user typed, for the report.
        verbose: epochs between two lines of progress; 0 for none.
        echo: told what happens, a text at a time.
    Raises: ElmanError; no half-written folder stays behind.
    """
    started = time.perf_counter()
    created = datetime.datetime.now().astimezone()
    if out is not None:
        check_output_folder(out, overwrite)
    splits = read_splits(settings.data, settings.training.seed, settings.training)
    settings, chosen = resolve(settings, splits)
    summary = describe(splits.whole)
    splits = dataclasses.replace(splits, notes=(*splits.notes, chosen))
    echo("\n".join([summary, *splits.notes]))
    estimator = make_estimator(settings, verbose)
    folder = out or default_folder(settings.data.data, created.date())
    with new_folder(folder, overwrite):
        (folder / "config.toml").write_text(to_toml(settings), encoding="utf-8")
        with (folder / "metrics.jsonl").open("w", encoding="utf-8") as lines:

            def heard(record: EpochRecord) -> None:
                append_line(lines, record.to_dict())

            fit(estimator, splits, heard)
        model = describe_model(estimator)
        history = estimator.history_
        interrupted = history.stopped.startswith("interrupted")
        echo(
            f"{model}\n{history.stopped}; "
            f"the weights of epoch {history.kept_epoch} are evaluated and saved"
        )
        card = f"```\n{summary}\n```\n\n" + "\n".join(f"- {note}" for note in splits.notes)
        layout = None if is_builtin(settings.data.data) else splits.whole.layout
        # Saved before anything else can go wrong, and once more with its figures.
        estimator.save(folder / "model", data=card, layout=layout)
        reports = {"test": estimator.evaluate(splits.test.inputs, splits.test.target)}
        estimator.save(folder / "model", data=card, layout=layout, report=reports["test"])
        for name, part in (("validation", splits.validation), ("train", splits.training)):
            if part is not None:
                reports[name] = estimator.evaluate(part.inputs, part.target, resamples=0)
        notes = note_unknown_tokens(estimator, splits.test)
        predictions = write_predictions(estimator, splits.test, reports["test"].predictions)
        (folder / "predictions.csv").write_text(predictions, encoding="utf-8")
        pictures = plots.save_all(
            [record.to_dict() for record in history.epochs],
            reports["test"],
            folder / "plots",
            kept_epoch=history.kept_epoch,
        )
        diagnostics = None
        if settings.report.diagnostics:
            diagnostics = run_diagnostics(estimator, splits, reports["test"], folder / "plots")
        seconds = time.perf_counter() - started
        document = page.Page(
            title=Path(settings.data.data).name,
            created=created.isoformat(timespec="seconds"),
            command=command or f"elman train --config {folder / 'config.toml'}",
            version=__version__,
            seconds=seconds,
            data="\n".join([summary, *splits.notes]),
            model=model,
            history=history,
            reports=reports,
            figures=pictures,
            config=to_toml(settings),
            notes=notes,
            diagnostics=diagnostics,
        )
        (folder / "report.html").write_text(page.render(document), encoding="utf-8")
        # Last: where this file is, the run is complete.
        write_json(
            folder / "metrics.json",
            {
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
            },
        )
    for note in notes:
        echo(note)
    return Run(folder, estimator, reports, interrupted, seconds)


def make_estimator(settings: RunSettings, verbose: int) -> Estimator:
    """Return the estimator that the settings describe, not yet fitted."""
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
    readout = values.pop("readout")
    if settings.data.task == "regression":
        return SequenceRegressor(readout=readout, **values)
    if readout == "every":
        return SequenceTagger(**values)
    return SequenceClassifier(readout=readout, **values)


def fit(
    estimator: Estimator,
    splits: DataSplits,
    on_epoch: EpochCallback | None = None,
) -> None:
    """Train on the training part, watched by the validation part where there is one."""
    watched = splits.validation
    names = splits.whole.layout.target
    estimator.fit(
        splits.training.inputs,
        splits.training.target,
        validation_data=None if watched is None else (watched.inputs, watched.target),
        on_epoch=on_epoch,
    )
    target = estimator.target_
    if isinstance(target, NumericTarget) and names:  # as the file calls them
        named = [names] if target.num_outputs == 1 else [n.strip() for n in names.split(",")]
        if len(named) == target.num_outputs:
            estimator.target_ = dataclasses.replace(target, names=tuple(named))


def task_of(estimator: Estimator) -> TaskName:
    """What an estimator has learnt, as a dataset's `task`."""
    task = estimator.target_.task
    return "tagging" if task == "classification" and estimator.per_step else task


def resolve(settings: RunSettings, splits: DataSplits) -> tuple[RunSettings, str]:
    """Fill in every default that hangs on the data, and refuse what does not go with it.

    Returns: the settings, and a sentence that says what was chosen from the data.
    """
    per_step = isinstance(splits.whole.target, Ragged)
    each = TASKS[splits.whole.task].target + " at every step" * (splits.whole.task == "regression")
    readout = settings.model.readout
    if readout != "auto" and per_step != (readout == "every"):
        found = each if per_step else TASKS[splits.whole.task].target
        raise SettingsError(
            f"readout: got {readout!r}, but the target is {found}. Leave --readout out, or name "
            "another target with --target"
        )
    data = resolve_data(settings.data, splits.whole.layout)
    data = dataclasses.replace(data, validation=splits.validation_source, task=splits.whole.task)
    texts = splits.training.inputs
    if data.tokens == "auto" and not isinstance(texts, Ragged):
        data = dataclasses.replace(data, tokens=choose_unit(texts))
    model, training, chosen = choose(
        figures_of(splits.training, data), settings.model, settings.training
    )
    plan = training.resolve(splits.can_choose)
    hanging = {n: getattr(plan, n) for n in ("patience", "keep")}
    training = dataclasses.replace(training, **hanging)
    return RunSettings(data, model, training, settings.report), chosen


def figures_of(training: Dataset, data: DataSettings) -> DataStatistics:
    """What the rule for settings that are not given looks at."""
    assert training.target is not None
    inputs, kind = check_sequences(training.inputs, "auto")
    encoder = Encoder.fit(inputs, inputs=kind, tokens=data.tokens, scale=data.scale)
    lengths = encoder.read_steps(inputs).lengths
    target = flatten(training.target)
    if training.task == "regression":
        outputs = 1 if target.ndim == 1 else target.shape[1]
    elif training.task == "multilabel":
        outputs = len(frozenset().union(*target.tolist()))
    else:
        outputs = len(np.unique(target))
    return DataStatistics.from_training(
        encoder,
        lengths,
        outputs,
        per_step=isinstance(training.target, Ragged),
        task=training.task,
        scaled=data.scale,
    )


def _fingerprints(settings: RunSettings) -> dict[str, str]:
    """SHA-256 of each file that was read; of a folder, of the names and contents in it."""
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
