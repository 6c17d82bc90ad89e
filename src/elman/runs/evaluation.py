"""A trained model on other data: figures, predictions, and the proof that padding is ignored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from elman import plots
from elman.data import Dataset, Ragged, check_gaps, read
from elman.data.builtin import load_task
from elman.data.ragged import flatten
from elman.data.splits import cut_windows
from elman.errors import DataError, SettingsError
from elman.estimators import Estimator, SequenceRegressor
from elman.estimators.storage import load_with_layout
from elman.evaluate import Check, MultilabelReport, RegressionReport, Report
from elman.runs.experiment import answers_in, task_of
from elman.runs.folder import EVALUATION, check_output_folder, new_folder, unused_path, write_json
from elman.runs.parts import check_known, is_task
from elman.runs.predictions import note_unknown_tokens, write_predictions
from elman.tasks import TASKS

AnyReport = Report | MultilabelReport | RegressionReport


def evaluate(
    model: Path, data: str, options: Mapping[str, str | None], out: Path | None, overwrite: bool
) -> tuple[AnyReport, Path, tuple[str, ...]]:
    """Evaluate a model on labelled data and write metrics.json, predictions.csv and plots.

    Args:
        model: model or run folder.
        data: file, or built-in task, whose test part is taken.
        options: how to read the file, by flag; what is None is as in training.
        out: folder; None means below the run's evaluations/; for a model without a run,
            evaluation-<name of data> in the current folder.
        overwrite: replace an evaluation that is there.
    Returns: the figures, the folder, and what the user should know.
    """
    if out is not None:
        check_output_folder(out, overwrite, EVALUATION)
    estimator, dataset, notes = load(model, data, options, labelled=True)
    if dataset.task != "regression":
        check_known(dataset, set(estimator.classes_.tolist()))
    name = Path(data).stem
    if out is None:
        run = (model / "config.toml").is_file()
        out = unused_path(model / "evaluations" / name if run else Path(f"evaluation-{name}"))
    report = estimator.evaluate(dataset.inputs, dataset.target)
    notes += note_unknown_tokens(estimator, dataset)
    with new_folder(out, overwrite, EVALUATION):
        predictions = write_predictions(estimator, dataset, answers_in(report))
        (out / "predictions.csv").write_text(predictions, encoding="utf-8")
        plots.save_all([], report, out / "plots")
        write_json(
            out / "metrics.json",
            {"data": data, "model": str(model), "evaluation": report.to_dict()},
        )
    return report, out, notes


def predict(
    model: Path, data: str, options: Mapping[str, str | None]
) -> tuple[str, int, tuple[str, ...]]:
    """Predict sequences, labelled or not.

    Args: as `evaluate`.
    Returns: predictions as CSV, how many sequences, and what the user should know.
    """
    estimator, dataset, notes = load(model, data, options, labelled=None)
    if isinstance(estimator, SequenceRegressor):
        found = estimator.predict(dataset.inputs)
    else:
        found = estimator.predict_proba(dataset.inputs)
    answers = np.concatenate(found) if isinstance(found, list) else found
    predictions = write_predictions(estimator, dataset, answers.reshape(len(answers), -1))
    return predictions, len(dataset), notes + note_unknown_tokens(estimator, dataset)


def check(model: Path, data: str, options: Mapping[str, str | None]) -> list[Check]:
    """Prove on a user's own model and data that padding and company never matter.

    Args: as `evaluate`.
    """
    estimator, dataset, _ = load(model, data, options, labelled=None)
    return estimator.check(dataset.inputs)


def load(
    model: Path, data: str, options: Mapping[str, str | None], labelled: bool | None
) -> tuple[Estimator, Dataset, tuple[str, ...]]:
    """Read a model, and data in the form that it was trained on.

    Args: as `evaluate`.
        labelled: whether labels must be there; None if they may.
    Returns: the estimator, the sequences, and what the user should know.
    """
    estimator, layout = load_with_layout(model)
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if is_task(data):
        if given:
            raise SettingsError(f"--{next(iter(given))}: {data} is a built-in task. Leave it out")
        dataset = load_task(data, estimator.random_state or 0)[1]
    else:
        dataset = read(data, layout=layout, labelled=labelled, **given)
    kind = estimator.encoder_.kind
    if dataset.layout.kind != kind:
        raise DataError(
            f"the sequences are {dataset.layout.kind}, expected {kind} as in training",
            remedy="Name other columns with --text or --values.",
            source=dataset.source,
        )
    task = task_of(estimator)
    per_step = isinstance(dataset.target, Ragged)
    if labelled and (dataset.task != task or per_step != estimator.per_step):
        each = {True: " at every step", False: ""}
        raise DataError(
            f"the target is {TASKS[dataset.task].target}"
            f"{each[per_step and task == 'regression']}, expected {TASKS[task].target}"
            f"{each[estimator.per_step and task == 'regression']} as in training",
            remedy="Name another with --target.",
            source=dataset.source,
        )
    check_gaps(dataset, estimator.encoder_.gaps)
    notes: tuple[str, ...] = ()
    dataset = _as_trained(dataset, estimator)
    if layout is not None and layout.window:
        dataset, note = cut_windows(dataset, layout.window, layout.stride)
        notes = (note,)
    return estimator, dataset, notes


def _as_trained(dataset: Dataset, estimator: Estimator) -> Dataset:
    """Turn labels that a file can only write as text, `3` or `True`, into those of the training."""
    target = dataset.target
    if target is None or dataset.task in ("regression", "multilabel"):
        return dataset
    labels = flatten(target)
    written = {str(label): label for label in estimator.classes_.tolist()}
    same = np.empty(len(labels), dtype=object)
    same[:] = [written.get(label, label) if isinstance(label, str) else label for label in labels]
    return dataclasses.replace(
        dataset, target=target.with_values(same) if isinstance(target, Ragged) else same
    )
