"""Use of a trained model: evaluation, predictions and the padding check on data; export."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman import __version__, files, plots
from elman.data import Dataset, describe
from elman.data.ahead import forget_unknown
from elman.data.builtin import load_task
from elman.data.splits import resampling_groups
from elman.data.text import count_steps
from elman.errors import ElmanError, SettingsError
from elman.estimators import Estimator, load
from elman.estimators.reading import read_as_trained
from elman.evaluate import Check, Report
from elman.export import FORMATS, ExportOptions, refuse_options
from elman.runs import report_page
from elman.runs.data_splits import is_builtin, suggest_builtin
from elman.runs.diagnostics import run_diagnostics
from elman.runs.folder import (
    EVALUATION,
    EXPORTS,
    check_output_folder,
    default_output,
    note_static,
    note_unknown_tokens,
    write_json,
)
from elman.runs.held_out import check_known
from elman.runs.own_data import read_own_splits, settings_of
from elman.runs.prediction_files import CSV, FileFormat, prediction_format, write_predictions
from elman.runs.predictions import Predictions, collect_predictions
from elman.runs.streamed import MemoryPlan, plan_memory
from elman.runs.streamed_evaluation import (
    Evaluated,
    Unknown,
    evaluate_file,
    predictions_of,
    read_as_trained_from_disk,
)
from elman.runs.unfinished import describe as describe_unfinished
from elman.runs.unfinished import is_unfinished
from elman.tasks import TASKS

if TYPE_CHECKING:
    from elman.export.parity import ExportReport

Say = Callable[[str], object]


def _say_nothing(text: str) -> None:
    """Ignore a message."""


def evaluate(
    model: Path,
    data: str,
    reading: Mapping[str, str | None],
    out: Path | None,
    overwrite: bool,
    *,
    diagnostics: bool = True,
    command: str = "",
    memory_limit: str | None = None,
    say: Say = _say_nothing,
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
        memory_limit: memory that the process may take up, such as 2GB; None for no limit.
        say: called with what is known before the data are read.
    Returns: the report, the folder, and notes for the user.
    """
    created = datetime.datetime.now().astimezone()
    if out is not None:
        check_output_folder(out, overwrite, EVALUATION)
    estimator = load(model)
    renamed: tuple[str, ...] = ()
    target = out
    if target is None:
        target, renamed = default_output(model, EVALUATION, Path(data).stem, overwrite)
    check_output_folder(target, overwrite, EVALUATION)
    history = estimator.history_
    records = [record.to_dict() for record in history.epochs]
    config = model / "config.toml"
    plan = _plan(estimator, data, reading, memory_limit, say)
    with files.new_folder(target, replace=overwrite) as folder:
        if plan.streamed:
            found = evaluate_file(estimator, data, *_options(reading), folder, plan)
        else:
            found = _assess(estimator, data, reading, folder)
        notes = found.notes + _note_unfinished(model)
        report = found.reports["test"]
        figures = plots.save_all(records, report, folder / "plots", history.kept_epoch)
        page = report_page.Page(
            title=Path(data).name,
            created=created.isoformat(timespec="seconds"),
            command=command or f"elman evaluate {model} {data}",
            version=__version__,
            seconds=_duration_of(model),
            data=found.summary,
            model=estimator.describe_model(),
            history=history,
            reports={Path(data).name: report},
            figures=figures,
            config=config.read_text(encoding="utf-8") if config.is_file() else "",
            notes=notes,
            diagnostics=run_diagnostics(
                estimator,
                None,
                found.tested,
                found.examined,
                folder / "plots",
                comparison=report.comparison,
            )
            if diagnostics
            else None,
        )
        files.write_file(folder / "report.html", report_page.render(page))
        metrics = {"data": data, "model": str(model), "evaluation": report.to_dict()}
        write_json(folder / "metrics.json", metrics)
    return report, target, notes + renamed


def _plan(
    estimator: Estimator,
    data: str,
    reading: Mapping[str, str | None],
    limit: str | None,
    say: Say,
) -> MemoryPlan:
    """Decide whether data are read into memory, and say so."""
    options, _ = _options(reading)
    plan = plan_memory(data, limit, options, layout=estimator.layout_)
    if plan.note:
        say(plan.note)
    return plan


def _options(reading: Mapping[str, str | None]) -> tuple[dict[str, Any], Any]:
    """Return the arguments of `read` that are given by flags, and how gaps are filled."""
    options: dict[str, Any] = {name: value for name, value in reading.items() if value is not None}
    return options, options.pop("fill", "refuse")


def _assess(
    estimator: Estimator,
    data: str,
    reading: Mapping[str, str | None],
    folder: Path,
) -> Evaluated:
    """Evaluate data in memory, and write their predictions into a folder."""
    dataset, notes = _read_data(estimator, data, reading, labelled=True)
    dataset, note = forget_unknown(dataset, estimator.target_.output_names)
    notes += (note,) if note else ()
    if TASKS[dataset.task].has_classes:
        check_known(dataset, set(estimator.target_.output_names))
    encoded = estimator.encode(dataset)
    report = estimator.evaluate(encoded, dataset.target, groups=resampling_groups(dataset))
    notes += note_unknown_tokens(encoded, dataset.source)
    notes += note_static(estimator, encoded, dataset.target)
    known = None if report.unlabelled else report.predictions
    predictions = collect_predictions(estimator, dataset, encoded, known)
    write_predictions([predictions], folder / "predictions.csv")
    part = dataset, encoded
    return Evaluated({"test": report}, notes, None, part, report, describe(dataset))


def predict(
    model: Path,
    data: str,
    reading: Mapping[str, str | None],
    out: Path | None = None,
    overwrite: bool = False,
) -> tuple[Predictions, tuple[str, ...]]:
    """Predict labelled or unlabelled sequences, all in memory.

    Args:
        model, data, reading: as for `evaluate`.
        out: file to write, in the format of its ending (`prediction_files.FORMATS`); None for none.
        overwrite: replace an existing file.
    Returns: the predictions, and notes for the user.
    Raises: SettingsError, before anything is read, if the file cannot be written.
    """
    file_format = None if out is None else prediction_format(out, overwrite)
    estimator, dataset, notes = load_model_and_data(model, data, reading, labelled=None)
    encoded = estimator.encode(dataset)
    predictions = collect_predictions(estimator, dataset, encoded)
    if out is not None and file_format is not None:
        write_predictions([predictions], out, file_format)
    return predictions, notes + note_unknown_tokens(encoded, dataset.source)


def predict_file(
    model: Path,
    data: str,
    reading: Mapping[str, str | None],
    out: Path | None,
    overwrite: bool,
    *,
    show: Say,
    memory_limit: str | None = None,
    say: Say = _say_nothing,
) -> tuple[int, tuple[str, ...]]:
    """Predict the sequences of a file, and write or show the predictions.

    Args:
        model, data, reading, memory_limit, say: as for `evaluate`.
        out: file to write, as for `predict`; None to call `show` with the pieces of a CSV text.
        overwrite: replace an existing file.
    Returns: the number of sequences, and notes for the user.
    Raises: as `predict`.
    """
    file_format = CSV if out is None else prediction_format(out, overwrite)
    estimator = load(model)
    plan = _plan(estimator, data, reading, memory_limit, say)
    if not plan.streamed:
        dataset, notes = _read_data(estimator, data, reading, labelled=None)
        encoded = estimator.encode(dataset)
        _write([collect_predictions(estimator, dataset, encoded)], out, file_format, show)
        notes += _note_unfinished(model) + note_unknown_tokens(encoded, dataset.source)
        return len(dataset), notes
    options, fill = _options(reading)
    with files.scratch_folder(Path() if out is None else out.parent) as scratch:
        stored, notes = read_as_trained_from_disk(
            estimator, data, None, options, fill, scratch, plan
        )
        answers = Unknown(estimator)
        _write(predictions_of(estimator, stored.blocks(), answers), out, file_format, show)
    return len(stored), notes + answers.notes(stored.source) + _note_unfinished(model)


def _write(
    parts: Iterable[Predictions], out: Path | None, file_format: FileFormat, show: Say
) -> None:
    """Write predictions into a file, or show them."""
    if out is not None:
        write_predictions(parts, out, file_format)
        return
    for piece in file_format.encode(parts):
        show(piece.decode())


def check(model: Path, data: str, reading: Mapping[str, str | None]) -> tuple[list[Check], str]:
    """Check for a model and data that predictions do not depend on padding or batch.

    Args: as for `evaluate`.
    Returns: the checks, and why torch computes the network; empty if elman's kernels do.
    """
    estimator, dataset, _ = load_model_and_data(model, data, reading, labelled=None)
    native = estimator.model_.native()
    reason = native if isinstance(native, str) and not estimator.model_.is_exact() else ""
    return estimator.check(dataset), reason


def export(
    model: Path, to: str, out: Path | None, options: ExportOptions, data: str | None = None
) -> tuple[ExportReport, tuple[str, ...]]:
    """Write a model for other programs, after comparing the result with elman.

    Args:
        model: model or run folder.
        to: name of the format, a key of `elman.export.FORMATS`.
        out: what to write; None means a file or folder with the format's name in the run's
            exports/; for a model without a run, in the current folder.
        options: what else the user asks for; without `data`.
        data: a file or built-in task with sequences to compare on.
    Returns: the report, and notes for the user.
    """
    if data is None:
        estimator, notes = load(model), _note_unfinished(model)
        if FORMATS[to].tests:
            options, more = _test_part(model, options, estimator)
            notes += more
    else:
        estimator, dataset, notes = load_model_and_data(model, data, {}, labelled=None)
        options = dataclasses.replace(options, data=dataset)
    refuse_options(to, options)
    in_run = (model / "config.toml").is_file()
    if out is None:
        out = (model / EXPORTS if in_run else Path()) / FORMATS[to].output
        out = out.with_stem(f"{out.stem}-streaming") if options.streaming else out
    return FORMATS[to].write(estimator, out, options), notes


def load_model_and_data(
    model: Path, data: str, reading: Mapping[str, str | None], labelled: bool | None
) -> tuple[Estimator, Dataset, tuple[str, ...]]:
    """Read a model, and data in the format of its training data.

    Args: as for `evaluate`.
        labelled: whether labels are required; None if they are optional.
    Returns: the estimator, the sequences, and notes for the user.
    """
    estimator = load(model)
    dataset, notes = _read_data(estimator, data, reading, labelled)
    return estimator, dataset, notes + _note_unfinished(model)


def _read_data(
    estimator: Estimator, data: str, reading: Mapping[str, str | None], labelled: bool | None
) -> tuple[Dataset, tuple[str, ...]]:
    """Return the sequences of a file or built-in task as the model reads them, and notes."""
    options, fill = _options(reading)
    if is_builtin(data):
        if options:
            raise SettingsError(f"--{next(iter(options))}: {data} is a built-in task. Leave it out")
        dataset = load_task(data, estimator.random_state or 0)[1]
        return read_as_trained(estimator, dataset, labelled, fill=fill)
    suggest_builtin(data)
    return read_as_trained(estimator, data, labelled, options, fill)


def _test_part(
    model: Path, options: ExportOptions, estimator: Estimator
) -> tuple[ExportOptions, tuple[str, ...]]:
    """Return the options with the run's test part as data, and for a model of both directions with
    the longest sequence of all parts; or unchanged, and a note that says why.

    The test part is split off the data again, as its training did.
    """
    needs_length = estimator.model_.config.bidirectional and options.max_length is None
    try:
        splits = read_own_splits(model, settings_of(model))
        test, _ = read_as_trained(estimator, splits.test, labelled=True)
    except (ElmanError, OSError) as error:
        note = (
            "The test part of the run cannot be read, so the export was not tested on it: "
            f"{error}\nTo test it on labelled sequences, name them: --data FILE"
        )
        if not needs_length:
            return options, (note,)
        raise SettingsError(
            f"{note}\nThis model reads each sequence from both ends, and the program needs to know "
            "the longest: give --data FILE, or --max-length N"
        ) from error
    source = f"the test part of {splits.whole.source}"
    options = dataclasses.replace(options, data=dataclasses.replace(test, source=source))
    if needs_length:
        unit = estimator.encoder_.unit
        lengths = [
            int(count_steps(part, unit)[0].max())
            for part in (splits.training, splits.validation, test)
            if part is not None and len(part)
        ]
        options = dataclasses.replace(options, max_length=max(lengths))
    return options, ()


def _note_unfinished(model: Path) -> tuple[str, ...]:
    note = (f"{model} is unfinished: it stopped {describe_unfinished(model)}",)
    return note * is_unfinished(model)


def _duration_of(run: Path) -> float | None:
    """Return the seconds that a run took, from its metrics.json; None for a model without a run."""
    path = run / "metrics.json"
    try:
        seconds = json.loads(path.read_text(encoding="utf-8"))["seconds"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(seconds) if isinstance(seconds, int | float) else None
