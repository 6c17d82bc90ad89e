"""One experiment: read and split the data, fit, evaluate, draw figures, write the run folder."""

from __future__ import annotations

import dataclasses
import datetime
import json
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from elman import __version__, files, plots
from elman.data.splits import find_duplicates, resampling_groups
from elman.errors import SettingsError
from elman.estimators import EncodedSequences, Estimator, Prepared
from elman.evaluate import Report
from elman.explain import Diagnosis
from elman.runs import report_page
from elman.runs.advice import advise, last_lines
from elman.runs.config import RunSettings, settings_hash, to_toml
from elman.runs.data_splits import DataSplits
from elman.runs.diagnostics import Diagnostics, run_diagnostics
from elman.runs.folder import (
    CHECKPOINTS,
    KEPT_EPOCHS,
    TIMES,
    complete,
    default_run,
    has_checkpoint,
    new_run,
    note_static,
    note_unknown_tokens,
    resumed_run,
    write_json,
)
from elman.runs.held_out import CONTENT
from elman.runs.prediction_files import write_predictions
from elman.runs.predictions import collect_predictions
from elman.runs.preparation import Work, refuse_early
from elman.runs.processes import announce, announced, left_by_restart, note_folder
from elman.runs.streamed import StoredSplits, plan_run
from elman.runs.streamed_evaluation import Evaluated, evaluate_splits
from elman.runs.unfinished import CONFIG, EPOCHS, METRICS, Record, stopped_in
from elman.train import Checkpoints, EpochRecord, History
from elman.train.checkpoint import CHECKPOINT_EVERY, check_interval

# Shows a run while it trains, until the end of a `with` block.
Watching = Callable[[Path, Work], AbstractContextManager[object]]


def _ignore(*what: object) -> nullcontext[None]:
    """Do nothing with a run."""
    return nullcontext()


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: the run folder.
        estimator: the fitted estimator.
        reports: reports by split; `test` is always present.
        seconds: duration of the whole run.
        diverged: how the training diverged and what to try, in words; empty if it did not.
        suggestions: what to try if the network does not beat its best baseline.
        diagnosis: the doctor's, or in a string why there is none.
    """

    folder: Path
    estimator: Estimator
    reports: dict[str, Report]
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
    checkpoint_every: float = CHECKPOINT_EVERY,
    echo: Callable[[str], None] = print,
    on_folder: Callable[[Path], object] = _ignore,
    watching: Watching = _ignore,
) -> Run:
    """Train, evaluate and write a run folder.

    Args:
        settings: see `elman.settings`.
        out: the run folder; None means runs/<date>-<name>.
        overwrite: replace an existing run.
        command: the command line, for the report.
        verbose: number of epochs between progress lines; 0 for none.
        checkpoint_every: seconds between two checkpoints.
        echo: called with each message of the run.
        on_folder: called with the run folder once it is there, from when on it can be resumed.
        watching: entered before the training, with the run folder and what the run does.
    Raises: ElmanError; a run folder that holds something to continue from is kept, and the notes of
        the error say how to.
    """
    started = time.perf_counter()
    created = datetime.datetime.now().astimezone()
    if (before := left_by_restart(out)) is not None:
        every = checkpoint_every
        shown: dict[str, Any] = {"echo": echo, "on_folder": on_folder, "watching": watching}
        return resume(before, checkpoint_every=every, verbose=verbose, **shown)
    refuse_early(settings, out, overwrite)
    record = Record.now(
        settings,
        command=command,
        created=created.isoformat(timespec="seconds"),
        log_every=verbose,
        checkpoint_every=checkpoint_every,
    )
    plan = plan_run(settings)
    if plan.note:
        echo(plan.note)
    announce(settings, plan, Path() if out is None else out.parent)
    with ExitStack() as stack:
        work = None if plan.streamed else Work.read(settings, verbose)
        if work is not None:
            echo("\n".join([work.summary, *work.splits.notes]))
        config = to_toml(settings if work is None else work.settings)
        if out is not None:
            folder = out
            stack.enter_context(new_run(folder, overwrite, record, config))
        else:
            folder, note = default_run(settings.data.data, created.date(), record, config, stack)
            if note:
                echo(note)
        on_folder(folder)
        note_folder(folder)
        if work is None:  # the data are read into the run folder
            work = Work.read_to_disk(settings, verbose, folder, plan)
            echo("\n".join([work.summary, *work.splits.notes]))
            files.write_file(folder / CONFIG, to_toml(work.settings))
        stack.enter_context(watching(folder, work))
        return _complete(folder, record, work, started, echo)


def resume(
    folder: Path,
    *,
    finish: bool = False,
    checkpoint_every: float | None = None,
    verbose: int | None = None,
    echo: Callable[[str], None] = print,
    on_folder: Callable[[Path], object] = _ignore,
    watching: Watching = _ignore,
) -> Run:
    """Continue an unfinished run, as if it had never stopped.

    Args:
        folder: the run folder.
        finish: train no more; evaluate and save the best weights so far.
        checkpoint_every: seconds between two checkpoints; None means as in the run so far.
        verbose: number of epochs between progress lines, 0 for none; None means as so
            far, or 1.
        echo, on_folder, watching: as for `run`.
    Raises: SettingsError if the run is complete, or if data, settings or versions have changed
        since, listing what; ModelFileError if the folder holds no run; and the errors of `run`.
    """
    started = time.perf_counter()
    with resumed_run(folder) as record:
        on_folder(folder)
        if finish and not has_checkpoint(folder):
            raise SettingsError(
                f"{folder}: stopped {stopped_in(folder)}, before its first checkpoint, so no "
                "weights are saved that --finish could evaluate"
            )
        record.check(folder)
        start = "" if has_checkpoint(folder) else ". It has no checkpoint yet, so it starts again"
        echo(f"Resuming {folder}, which stopped {stopped_in(folder)}{start}")
        lines = record.log_every or 1 if verbose is None else verbose
        plan = plan_run(record.settings, resumed=folder)
        announce(record.settings, plan, folder.parent)
        if plan.streamed:
            work = Work.read_to_disk(record.settings, lines, folder, plan)
        else:
            work = Work.read(record.settings, lines)
        record.check_config(folder, work.settings)
        files.write_file(folder / CONFIG, to_toml(work.settings))
        if checkpoint_every is not None:
            check_interval(checkpoint_every)
            record = dataclasses.replace(record, checkpoint_every=checkpoint_every)
        with watching(folder, work):
            return _complete(folder, record, work, started, echo, finish=finish)


def follow() -> None:
    """Train as one of several processes, of which rank 0 runs `run` or `resume`."""
    settings, plan, near = announced()
    if not plan.streamed:
        work = Work.read(settings, 0)
        work.estimator.fit_prepared(work.prepared)
        return
    # Each process has data of its own on disk: that of another machine cannot be seen.
    with files.scratch_folder(near) as folder:
        work = Work.read_to_disk(settings, 0, folder, plan)
        work.estimator.fit_prepared(work.prepared)


def _complete(
    folder: Path,
    record: Record,
    work: Work,
    started: float,
    echo: Callable[[str], None],
    *,
    finish: bool = False,
) -> Run:
    """Train, evaluate, and write every file of a run folder that holds unfinished.json."""
    estimator, prepared, splits = work.estimator, work.prepared, work.splits
    settings = work.settings
    every = record.checkpoint_every
    epochs = folder / KEPT_EPOCHS
    checkpoints = Checkpoints(folder / CHECKPOINTS, every, finish=finish, say=echo, epochs=epochs)
    earlier = _train(estimator, prepared, folder, checkpoints)
    files.sync_folder(folder)  # the lines of the epochs are not synced one by one
    # The model folder holds the parameters; how a run is shown when it is resumed changes no file.
    estimator.set_params(verbose=record.log_every)
    history = estimator.history_
    kept = f"the weights of epoch {history.kept_epoch} are evaluated and saved"
    echo(f"{estimator.describe_model()}\n{history.stopped}; {kept}")
    card = f"```\n{work.summary}\n```\n\n" + "\n".join(f"- {note}" for note in splits.notes)
    # Saved before the evaluation, which may take long and needs nothing else; afterwards only the
    # card is rewritten, to include the metrics.
    estimator.save(folder / "model", data=card, kept_epochs=False)  # which are in epochs/
    found = _evaluate(work, folder)
    reports, notes = found.reports, found.notes
    estimator.save_card(folder / "model", data=card, report=reports["test"])
    diverged, suggestions = advise(prepared, history, reports, settings)
    # As a whole, because a process that was killed may have left figures of other weights.
    with files.new_folder(folder / "plots", replace=True) as pictures:
        figures, diagnostics = _draw(work, found, pictures)
        seconds = earlier + time.perf_counter() - started
        page = report_page.Page(
            title=Path(settings.data.data).name,
            created=record.created,
            command=record.command or f"elman train --config {folder / CONFIG}",
            version=__version__,
            seconds=seconds,
            data="\n".join([work.summary, *splits.notes]),
            model=estimator.describe_model(),
            history=history,
            reports=reports,
            figures=figures,
            config=to_toml(settings),
            notes=[*filter(None, [diverged]), *notes],
            diagnostics=diagnostics,
            suggestions=suggestions,
        )
        text = report_page.render(page)  # which reads the pictures
    files.write_file(folder / "report.html", text)
    # Written last: the presence of this file means that the run is complete.
    metrics = _metrics(settings, history, reports, seconds, record.data_sha256)
    write_json(folder / METRICS, metrics)
    complete(folder)
    for note in notes:
        echo(note)
    diagnosis = diagnostics.diagnosis if diagnostics else ""
    return Run(folder, estimator, reports, seconds, diverged, suggestions, diagnosis)


def _train(
    estimator: Estimator, prepared: Prepared, folder: Path, checkpoints: Checkpoints
) -> float:
    """Train, and append a line to metrics.jsonl and times.jsonl at the end of each epoch.

    Returns: the seconds of the training that earlier processes took.
    """
    started = time.perf_counter()
    # Epochs behind the last checkpoint are trained again, and those before it are passed again.
    for name in (EPOCHS, TIMES):
        files.write_file(folder / name, "")

    def write_epoch(record: EpochRecord) -> None:
        # NaN is not valid JSON and other readers would reject the line, so it is an error here.
        files.append_line(folder / EPOCHS, json.dumps(record.to_dict(), allow_nan=False))
        seconds = None if record.seconds is None else round(record.seconds, 6)
        files.append_line(folder / TIMES, json.dumps({"epoch": record.epoch, "seconds": seconds}))

    estimator.fit_prepared(prepared, write_epoch, checkpoints)
    here = time.perf_counter() - started
    return max(0.0, sum(record.seconds or 0.0 for record in estimator.history_.epochs) - here)


def _draw(work: Work, found: Evaluated, folder: Path) -> tuple[list[Path], Diagnostics | None]:
    """Draw the figures of a run into `folder`."""
    history, report = work.estimator.history_, found.reports["test"]
    records = [record.to_dict() for record in history.epochs]
    figures = plots.save_all(records, report, folder, history.kept_epoch)
    if not work.settings.report.diagnostics:
        return figures, None
    return figures, run_diagnostics(
        work.estimator,
        found.trained,
        found.tested,
        found.examined,
        folder,
        comparison=report.comparison,
    )


def _evaluate(work: Work, folder: Path) -> Evaluated:
    """Evaluate every split, and write the predictions of the test split into the run folder."""
    estimator, splits = work.estimator, work.splits
    by_content = work.settings.data.group == CONTENT
    if isinstance(splits, StoredSplits):
        path = folder / "predictions.csv"
        diagnosed = work.settings.report.diagnostics
        return evaluate_splits(estimator, splits, path, by_content=by_content, diagnosed=diagnosed)
    sequences = _encode_splits(estimator, work.prepared, splits)
    reports = _report(estimator, sequences, splits, by_content)
    report, encoded = reports["test"], sequences["test"]
    notes = note_unknown_tokens(encoded, splits.test.source)
    notes += note_static(estimator, encoded, splits.test.target)
    known = None if report.unlabelled else report.predictions
    predictions = collect_predictions(estimator, splits.test, encoded, known)
    write_predictions([predictions], folder / "predictions.csv")
    trained = splits.training, sequences["train"]
    return Evaluated(reports, notes, trained, (splits.test, encoded), report)


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


def _report(
    estimator: Estimator,
    sequences: Mapping[str, EncodedSequences],
    splits: DataSplits,
    by_content: bool,
) -> dict[str, Report]:
    """Return reports by split; only the test split gets intervals, which take time."""
    report = estimator.evaluate(
        sequences["test"],
        splits.test.target,
        groups=resampling_groups(splits.test, by_content=by_content),
        duplicates=find_duplicates(splits.test, splits.training),
    )
    reports = {"test": report}
    for name, part in (("validation", splits.validation), ("train", splits.training)):
        if part is not None:
            reports[name] = estimator.evaluate(sequences[name], part.target, resamples=0)
    return reports


def _metrics(
    settings: RunSettings,
    history: History,
    reports: Mapping[str, Report],
    seconds: float,
    data_sha256: Mapping[str, str],
) -> dict[str, Any]:
    """Return the content of metrics.json."""
    return {
        **{part: report.to_dict() for part, report in reports.items()},
        "seconds": round(seconds, 3),
        "epochs": len(history.epochs),
        "kept_epoch": history.kept_epoch,
        "stopped": history.stopped,
        "gradients": history.gradients,
        "determinism": history.determinism,
        "settings_sha256": settings_hash(settings),
        "data_sha256": dict(data_sha256),
        "versions": {
            "elman": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
