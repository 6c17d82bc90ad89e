"""Use of a trained model on other data: evaluation, predictions, and the padding check."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from elman import __version__, plots
from elman.data import Dataset, Ragged, check_gaps, describe, read
from elman.data.builtin import load_task
from elman.data.ragged import Fill, flatten
from elman.data.splits import cut_windows
from elman.errors import DataError, SettingsError
from elman.estimators import Estimator, load
from elman.evaluate import Check, Report
from elman.runs import report_page
from elman.runs.data_splits import check_known, is_builtin
from elman.runs.diagnostics import run_diagnostics
from elman.runs.experiment import task_of
from elman.runs.folder import (
    EVALUATION,
    check_output_folder,
    default_output,
    new_folder,
    note_unknown_tokens,
    write_json,
)
from elman.runs.prediction_files import prediction_format, write_predictions
from elman.runs.predictions import Predictions, collect_predictions
from elman.settings import FILLS
from elman.tasks import TASKS, TaskName


def evaluate(
    model: Path,
    data: str,
    reading: Mapping[str, str | None],
    out: Path | None,
    overwrite: bool,
    *,
    diagnostics: bool = True,
    command: str = "",
) -> tuple[Report, Path, tuple[str, ...]]:
    """Evaluate a model on labelled data; write report.html, metrics.json, predictions.csv, plots.

    Args:
        model: model or run folder.
        data: file, or built-in task, whose test split is used.
        reading: how to read the file, by flag; None means as in training.
        out: folder; None means below the run's evaluations/; for a model without a run,
            evaluation-<name of data> in the current folder.
        overwrite: replace an existing evaluation.
        diagnostics: whether the report shows memory, notable sequences and their traces.
        command: the command line, for the report.
    Returns: the report, the folder, and notes for the user.
    """
    created = datetime.datetime.now().astimezone()
    if out is not None:
        check_output_folder(out, overwrite, EVALUATION)
    estimator, dataset, notes = load_model_and_data(model, data, reading, labelled=True)
    if TASKS[dataset.task].has_classes:
        check_known(dataset, set(estimator.target_.output_names))
    renamed: tuple[str, ...] = ()
    if out is None:
        out, renamed = default_output(model, EVALUATION, Path(data).stem, overwrite)
    encoded = estimator.encode(dataset.inputs)
    report = estimator.evaluate(encoded, dataset.target)
    notes += note_unknown_tokens(encoded, dataset.source)
    history = estimator.history_
    records = [record.to_dict() for record in history.epochs]
    config = model / "config.toml"
    with new_folder(out, overwrite, EVALUATION):
        predictions = collect_predictions(estimator, dataset, encoded, report.predictions)
        (out / "predictions.csv").write_text(predictions.to_csv(), encoding="utf-8")
        figures = plots.save_all(records, report, out / "plots", history.kept_epoch)
        page = report_page.Page(
            title=Path(data).name,
            created=created.isoformat(timespec="seconds"),
            command=command or f"elman evaluate {model} {data}",
            version=__version__,
            seconds=sum(record.seconds for record in history.epochs),
            data=describe(dataset),
            model=estimator.describe_model(),
            history=history,
            reports={Path(data).name: report},
            figures=figures,
            config=config.read_text(encoding="utf-8") if config.is_file() else "",
            notes=notes,
            diagnostics=run_diagnostics(estimator, None, (dataset, encoded), report, out / "plots")
            if diagnostics
            else None,
        )
        (out / "report.html").write_text(report_page.render(page), encoding="utf-8")
        metrics = {"data": data, "model": str(model), "evaluation": report.to_dict()}
        write_json(out / "metrics.json", metrics)
    return report, out, notes + renamed


def predict(
    model: Path,
    data: str,
    reading: Mapping[str, str | None],
    out: Path | None = None,
    overwrite: bool = False,
) -> tuple[Predictions, tuple[str, ...]]:
    """Predict labelled or unlabelled sequences.

    Args:
        model, data, reading: as for `evaluate`.
        out: file to write, in the format of its ending (`prediction_files.FORMATS`); None for none.
        overwrite: replace an existing file.
    Returns: the predictions, and notes for the user.
    Raises: SettingsError, before anything is read, if the file cannot be written.
    """
    file_format = None if out is None else prediction_format(out, overwrite)
    estimator, dataset, notes = load_model_and_data(model, data, reading, labelled=None)
    encoded = estimator.encode(dataset.inputs)
    values = estimator.predict_encoded(encoded)
    predictions = collect_predictions(estimator, dataset, encoded, values)
    if out is not None and file_format is not None:
        write_predictions(predictions, out, file_format)
    return predictions, notes + note_unknown_tokens(encoded, dataset.source)


def check(model: Path, data: str, reading: Mapping[str, str | None]) -> tuple[list[Check], str]:
    """Check for a model and data that predictions do not depend on padding or batch.

    Args: as for `evaluate`.
    Returns: the checks, and why torch computes the network; empty if elman's kernels do.
    """
    estimator, dataset, _ = load_model_and_data(model, data, reading, labelled=None)
    native = estimator.model_.native()
    return estimator.check(dataset.inputs), native if isinstance(native, str) else ""


def load_model_and_data(
    model: Path, data: str, reading: Mapping[str, str | None], labelled: bool | None
) -> tuple[Estimator, Dataset, tuple[str, ...]]:
    """Read a model, and data in the format of its training data.

    Args: as for `evaluate`.
        labelled: whether labels are required; None if they are optional.
    Returns: the estimator, the sequences, and notes for the user.
    """
    estimator = load(model)
    layout = estimator.layout_
    options: dict[str, Any] = {name: value for name, value in reading.items() if value is not None}
    fill = options.pop("fill", "refuse")
    if is_builtin(data):
        if options:
            raise SettingsError(f"--{next(iter(options))}: {data} is a built-in task. Leave it out")
        dataset = load_task(data, estimator.random_state or 0)[1]
    else:
        dataset = read(data, layout=layout, labelled=labelled, **options)
    kind = estimator.encoder_.kind
    if dataset.layout.kind != kind:
        raise DataError(
            f"the sequences are {dataset.layout.kind}, expected {kind} as in training",
            remedy="Name other columns with --text or --values.",
            source=dataset.source,
        )
    target = dataset.task, isinstance(dataset.target, Ragged)
    trained = task_of(estimator), estimator.per_step
    if labelled and target != trained:
        raise DataError(
            f"the target is {_describe_target(*target)}, expected {_describe_target(*trained)} as "
            "in training",
            remedy="Name another with --target.",
            source=dataset.source,
        )
    dataset, notes = _fill_gaps(estimator, dataset, fill)
    dataset = _restore_labels(dataset, estimator)
    if layout is not None and layout.window:
        dataset, note = cut_windows(dataset, layout.window, layout.stride)
        notes = (*notes, note)
    return estimator, dataset, notes


def _fill_gaps(
    estimator: Estimator, dataset: Dataset, how: Fill
) -> tuple[Dataset, tuple[str, ...]]:
    """Fill gaps in channels that had none in training, or refuse them; and say so in a note."""
    encoder = estimator.encoder_
    notes: tuple[str, ...] = ()
    before = dataset.numbers
    if isinstance(dataset.inputs, Ragged):
        inputs = encoder.fill_gaps(dataset.inputs, how)
        dataset = dataclasses.replace(dataset, inputs=inputs)
    check_gaps(dataset, encoder.gaps, f" (--fill {', '.join(FILLS[1:])})")
    after = dataset.numbers
    if before is not None and after is not None:
        filled = (np.isnan(before.values) & ~np.isnan(after.values)).sum(0).tolist()
        counts = ", ".join(
            f"{count:,} in {name!r}"
            for name, count in zip(dataset.layout.channels, filled, strict=False)
            if count
        )
        if any(filled):
            notes = (
                f"missing values that training did not have were filled: {counts} (--fill {how})",
            )
    return dataset, notes


def _describe_target(task: TaskName, per_step: bool) -> str:
    """Describe a target; for numbers, also whether there is one per step, as both exist."""
    both_forms = TASKS[task].per_step is None
    return TASKS[task].target + " at every step" * (both_forms and per_step)


def _restore_labels(dataset: Dataset, estimator: Estimator) -> Dataset:
    """Convert labels that a file stores as text, such as `3` or `True`, to the training's type."""
    target = dataset.target
    if target is None or not TASKS[dataset.task].single_label:
        return dataset
    labels = flatten(target)
    by_text = {str(label): label for label in estimator.target_.output_names}
    restored = np.empty(len(labels), dtype=object)
    restored[:] = [by_text.get(v, v) if isinstance(v, str) else v for v in labels]
    return dataclasses.replace(
        dataset, target=target.with_values(restored) if isinstance(target, Ragged) else restored
    )
