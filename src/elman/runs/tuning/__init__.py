"""Searches over settings: trials in cross-validation, then one training with the best values.

The test part of the data is held out first. No trial sees it; the last training is evaluated on it.
Optuna draws the values, decides what to stop early, and keeps the trials (`elman[search]`).
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elman import __version__, files
from elman.data import describe
from elman.errors import SettingsError
from elman.estimators.defaults import DataStatistics, validation_share
from elman.runs import experiment
from elman.runs.config import RunSettings, to_toml
from elman.runs.data_splits import read_splits
from elman.runs.folder import default_folder, unused_path, write_json
from elman.runs.preparation import prepare, refuse_early
from elman.runs.tuning.record import FORMAT, RECORD, Search
from elman.runs.tuning.results import Results
from elman.runs.tuning.space import Space, check_ranges, default_ranges, make_ranges
from elman.runs.tuning.storage import (
    JOURNAL,
    import_optuna,
    open_store,
    without_password,
)
from elman.runs.tuning.trials import WANTED, Objective, Trials, make_folds, work
from elman.runs.tuning.workers import read_order, supervise
from elman.runs.unfinished import METRICS, is_unfinished
from elman.train.distributed import is_under_torchrun

__all__ = ["BEST", "RECORD", "RUN", "Results", "Search", "resume", "tune", "work_for"]

BEST, RUN = "best.toml", "run"
_SEARCH, _LEADER = "search", "leader"  # attributes of a search in its store


@dataclass(frozen=True)
class _Work:
    """What the trials need: made from the search and its data, the same in each process."""

    objective: Objective
    first: dict[str, Any]
    summary: str

    @classmethod
    def read(cls, search: Search) -> _Work:
        """Read the data, hold out the test part, and divide the rest into folds."""
        settings = search.settings
        seed, chunk = settings.training.seed, settings.training.tbptt
        splits = read_splits(settings.data, seed, settings.training, test_only=True)
        whole, folds, notes = make_folds(splits, settings.data, search.folds, seed, chunk)
        _, prepared, _ = prepare(settings, whole)
        if splits.whole.layout.ahead:  # a network that also reads from the end would see the answer
            model = dataclasses.replace(settings.model, bidirectional=False)
            settings = dataclasses.replace(settings, model=model)
        statistics = DataStatistics.of(
            prepared.encoder,
            prepared.examples.lengths,
            prepared.target,
            per_step=prepared.config.per_step,
            scaled=settings.data.scale,
        )
        share = settings.data.validation
        if share is None:
            share = validation_share(len(splits.training), settings.training)
        ranges = make_ranges(search.space) or default_ranges(settings, statistics)
        check_ranges(ranges, settings, statistics)
        space = Space(ranges, settings, statistics, holds_out=bool(share))
        lines = [
            describe(splits.whole, prepared.encoder.unit),
            *splits.notes,
            *notes,
            f"varied: {'; '.join(map(str, ranges))}",
        ]
        return cls(Objective(space, folds, seed), space.first(), "\n".join(lines))


def tune(
    search: Search,
    *,
    out: Path | None = None,
    url: str = "",
    echo: Callable[[str], None] = print,
    on_folder: Callable[[Path], None] = lambda folder: None,
) -> Results:
    """Search, train with the best values, and write a folder.

    Args:
        search: what to do; without `storage`, which is `url` without its password.
        out: the folder; None means runs/<date>-<name>-tuning.
        url: address of a database for the trials; empty for a journal file in the folder.
        echo: called with each message.
        on_folder: called with the folder once the search can be resumed.
    Raises: ElmanError.
    """
    _refuse(search, url, out)
    plan = _Work.read(search)
    echo(plan.summary)
    search = dataclasses.replace(search, storage=without_password(url))
    today = datetime.date.today()
    if out is None:
        base = default_folder(search.settings.data.data, today)
        out = unused_path(base.with_name(f"{base.name}-tuning"))
    with files.lock(out):
        with files.new_folder(out, replace=False) as new:
            write_json(new / RECORD, {"format": FORMAT, **dataclasses.asdict(search)})
        on_folder(out)
        try:
            return _search(out, search, plan, url, echo, resumed=False)
        except BaseException:
            if not url and not has_progress(out):
                files.remove(out)
            raise


def has_progress(folder: Path) -> bool:
    """Whether the journal of a folder has a finished trial; quick."""
    finished = [f'"state":{state},' for state in (1, 2, 3)]  # complete, pruned, failed
    with suppress(OSError):
        lines = files.read_lines(folder / JOURNAL)
        return any('"op_code":6' in line and any(s in line for s in finished) for line in lines)
    return False


def resume(
    folder: Path,
    *,
    trials: int | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    url: str = "",
    echo: Callable[[str], None] = print,
    on_folder: Callable[[Path], None] = lambda folder: None,
) -> Results:
    """Continue a search: the trials that are left, or more than before, and the last training.

    Args:
        folder: of the search.
        trials, workers, timeout: see `Search`; None means as before, but without a timeout.
        url, echo, on_folder: as for `tune`; without a url, that of before without a password.
    """
    search = Search.read(folder)
    with files.lock(folder):
        on_folder(folder)
        search.check(folder)
        if trials is not None and trials < search.trials:
            raise SettingsError(
                f"--trials: got {trials}, but {search.trials} were asked for before. Expected at "
                "least as many"
            )
        search = dataclasses.replace(
            search,
            trials=trials or search.trials,
            workers=workers or search.workers,
            timeout=timeout,
        )
        write_json(folder / RECORD, {"format": FORMAT, **dataclasses.asdict(search)})
        plan = _Work.read(search)
        return _search(folder, search, plan, url or search.storage, echo, resumed=True)


def work_for(folder: Path) -> None:
    """Run trials for the search in a folder, as one of its workers."""
    order = read_order()
    search = Search.read(folder)
    seconds = order.get("seconds")
    until = None if seconds is None else time.monotonic() + float(seconds)
    objective = _Work.read(search).objective
    store = open_store(folder, str(order["url"]), search.study_name(), search.lost_after)
    trials = Trials(store, search.study_name(), search.trials, search.settings.training.seed)
    with store.explained():
        work(trials, objective, until=until)


def _refuse(search: Search, url: str, out: Path | None) -> None:
    """Refuse what is wrong whatever the data hold."""
    if is_under_torchrun():
        raise SettingsError(
            "elman tune runs trials side by side, each in one process, so torchrun has nothing to "
            "share out. Start it without torchrun, with --workers N"
        )
    if "memory_limit" in search.sections["data"]:
        raise SettingsError(
            "memory_limit: the trials of a search hold their folds in memory. Leave it out, and "
            "search on a sample of the data that fits; then train on all of it: elman train "
            "--config FOLDER/best.toml --memory-limit SIZE"
        )
    import_optuna()
    without_password(url)
    settings = search.settings
    if settings.data.validation == "test":
        raise SettingsError(
            "validation: got 'test', but no trial of a search may see the test part. Leave it out"
        )
    refuse_early(settings, None, overwrite=False)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        again = shlex.join(["elman", "tune", "--resume", str(out)])
        hint = f", or continue the search there: {again}" if (out / RECORD).is_file() else ""
        raise SettingsError(f"{out}: exists already. Name another folder with --out{hint}")


def _search(
    folder: Path,
    search: Search,
    plan: _Work,
    url: str,
    echo: Callable[[str], None],
    *,
    resumed: bool,
) -> Results:
    """Run the trials that are left, and train with the best values."""
    started = time.monotonic()
    store = open_store(folder, url, search.study_name(), search.lost_after)
    trials = Trials(store, search.study_name(), search.trials, search.settings.training.seed)
    known = {_SEARCH: search.identity(), _LEADER: search.token}
    with store.explained():
        stored = trials.make(
            plan.first,
            known,
            lambda found: _refuse_other(search, found, store.place, resumed=resumed),
        )
        told = {trial.number for trial in trials.list() if trial.state.is_finished()}
        echo(f"{search.trials} trials of {len(plan.objective.folds)} trainings in {store.place}")
        if told:
            echo(f"{len(told)} of them are finished")

        def tell() -> int:
            results = Results.of(trials, plan.objective.space, folder)
            for line in results.lines(told):
                echo(line)
            return len(told)

        until = None if search.timeout is None else started + search.timeout
        if search.workers == 1:
            work(trials, plan.objective, until=until, on_trial=tell)
        else:
            left = None if until is None else until - time.monotonic()
            supervise(folder, search.workers, {"url": url, "seconds": left}, tell, echo)
        results = Results.of(trials, plan.objective.space, folder)
        files.write_file(folder / "trials.csv", results.to_csv())
    best = results.best_settings()
    echo(f"\n{results}")
    trains = resumed or stored[_LEADER] == search.token
    results = _train_best(folder, search, results, best, echo, trains=trains)
    title = Path(search.settings.data.data).name
    results.write(title, search.created, plan.summary, to_toml(best), __version__)
    return results


def _train_best(
    folder: Path,
    search: Search,
    results: Results,
    best: RunSettings,
    echo: Callable[[str], None],
    *,
    trains: bool,
) -> Results:
    """Train with the best values on all of the training part, and evaluate on the test part."""
    text, path, run = to_toml(best), folder / BEST, folder / RUN
    same = path.is_file() and path.read_text(encoding="utf-8") == text
    files.write_file(path, text)
    if not trains:
        echo(
            "The command that started this search trains the last network. To train it here too: "
            + shlex.join(["elman", "tune", "--resume", str(folder)])
        )
        return results
    if same and (run / METRICS).is_file() and not is_unfinished(run):
        echo(f"{run} was trained with these values")
        return results
    if same and is_unfinished(run):
        done = experiment.resume(run, echo=echo)
    else:
        which = f"trial {results.best.number + 1}"
        echo(f"\ntraining with the values of {which} on all of the training part")
        command = search.command or shlex.join(["elman", "train", "--config", str(path)])
        done = experiment.run(best, out=run, overwrite=run.exists(), command=command, echo=echo)
    return dataclasses.replace(results, run=done)


def _refuse_other(search: Search, stored: dict[str, Any], place: str, *, resumed: bool) -> None:
    """Refuse to work on a search of the same name with other trials. Raises SettingsError."""
    trials = stored[WANTED]
    if search.trials != trials and not resumed:
        raise SettingsError(
            f"{place}: has {trials} trial{'s' * (trials != 1)}, and {search.trials} were asked for."
            f" To work on it: --trials {trials}; for more trials: elman tune --resume FOLDER "
            "--trials N, where it was started; for another search: --name"
        )
    before, now = stored[_SEARCH], json.loads(json.dumps(search.identity()))
    changes = [
        f"  {name}: {before.get(name)!r:.300} there, {now[name]!r:.300} here"
        for name in now
        if before.get(name) != now[name]
    ]
    if changes:
        raise SettingsError(
            f"{place}: is another search:\n" + "\n".join(changes) + "\nGive this one another "
            "name with --name, or give the same data and flags"
        )
