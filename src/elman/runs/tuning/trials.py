"""The trials of a search: who takes which, what one does, and how it ends.

A worker takes a trial, trains one network per fold with the trial's values, reports the validation
loss ten times a fold, and stops early if it is worse than the median of the other trials there.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.data import Dataset, read
from elman.data.folds import divide_into_folds
from elman.data.splits import divide_recording
from elman.errors import ElmanError, NonFiniteError, SettingsError, WriteError
from elman.runs.config import RunSettings
from elman.runs.data_splits import DataSplits, Splits, cut_as_set
from elman.runs.held_out import (
    CONTENT,
    gaps_of,
    hold_out_share,
    is_recording,
    method_of,
    without_unknown,
)
from elman.runs.preparation import prepare
from elman.runs.tuning.space import Space
from elman.runs.tuning.storage import WORKER, Store
from elman.settings import DataSettings
from elman.train import EpochRecord

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

MOST_TRIES = 5  # a trial whose worker was killed this often, perhaps for its memory, has failed
TRIES, SCORES, SECONDS, FAILED = "tries", "scores", "seconds", "failed"  # attributes of a trial
WANTED = "trials"  # attribute of a search
REPORTS = 10  # of a fold: trainings of different lengths are compared after equal shares of them
_STARTUP = 5  # complete trials before the first comparison
_WARMUP = 3  # reports before the first comparison: losses say little while they still fall fast
_WAIT = 0.3  # seconds between two looks at the trials of others


class PrunedError(Exception):
    """A trial is worse than the median of the others at the same share of their trainings."""


def make_folds(
    splits: DataSplits, settings: DataSettings, folds: int, seed: int, chunk: int | None = None
) -> tuple[DataSplits, list[DataSplits], list[str]]:
    """Divide the training part of a search.

    Args:
        splits: the training and the test part, without a validation split, not cut into windows.
        settings: say how to divide, as for the splits of a run.
        folds: number of folds, each held out once.
        chunk: steps of a chunk of truncated backpropagation; None for full backpropagation.
    Returns: the whole training part; one training and validation split per fold, neither of which
        has anything of the test part; and how it was done, in words. In the place of a test split,
        all have the validation split.
    """
    training, layout = splits.training, splits.whole.layout
    if isinstance(settings.validation, str):
        held_out = read(settings.validation, layout=layout, labelled=True)
        pairs = [(training, held_out)]
        how = f"each trial is validated on {settings.validation}"
    elif is_recording(training):
        pairs = _divide_recording(training, settings, folds, chunk)
        how = f"each trial is validated on {folds} parts of the recording, after what is before it"
    else:
        group = settings.group or layout.group
        method = "group" if group else method_of(settings)
        groups: Sequence[Any] | None = None
        if method == "group":
            content = settings.group == CONTENT
            groups = training.contents().tolist() if content else training.groups
        gaps = gaps_of(training)
        if training.static is not None:
            gaps = np.hstack([gaps, np.isnan(training.static.numbers)])
        found = divide_into_folds(training, folds, seed, method, groups, gaps)
        pairs = [(training.take(first), training.take(second)) for first, second in found]
        by = {"group": f", whole groups by {group}", "time": ", each after the ones before it"}
        how = f"each trial is validated on {folds} folds of the training part{by.get(method, '')}"

    def cut(first: Dataset, second: Dataset) -> DataSplits:
        second, _ = without_unknown(second, first, "validation")
        return cut_as_set(Splits(splits.whole, first, second, second, 0.5, ()), settings)

    parts = [cut(*pair) for pair in pairs]
    return cut(training, pairs[0][1]), parts, [f"{how}; the test part is seen by none"]


def _divide_recording(
    training: Dataset, settings: DataSettings, folds: int, chunk: int | None
) -> list[tuple[Dataset, Dataset]]:
    """Divide one recording in time: each part is held out from the steps before it."""
    steps, found = int(training.lengths[0]), []
    for number in range(1, folds + 1):
        end = steps * (number + 1) // (folds + 1)
        before = training
        if end < steps:
            before, _ = divide_recording(training, (steps - end) / steps, 0, 0)
        share = 1 / (number + 1)
        first, second, _ = hold_out_share(before, settings, share, 0, "validation", chunk)
        found.append((first, second))
    return found


@dataclass(frozen=True)
class Objective:
    """What a trial is: a training for each fold, with the values of the trial.

    Args:
        space: what varies, and all that does not.
        folds: parts of the training part of the data, without the test part.
        seed: of the search.
    """

    space: Space
    folds: Sequence[DataSplits]
    seed: int

    def run(self, settings: RunSettings, report: Callable[[int, float], None]) -> list[float]:
        """Return the validation loss of each fold.

        Args:
            settings: of the trial.
            report: called with the number of a report, from 1, and the mean loss so far.
        Raises: PrunedError from `report`; ElmanError for values that do not work.
        """
        scores: list[float] = []
        for number, fold in enumerate(self.folds):
            estimator, prepared, _ = prepare(settings, fold)
            epochs, best = prepared.plan.epochs, prepared.plan.keep == "best"
            told, lowest = 0, float("inf")

            def on_epoch(
                record: EpochRecord, number: int = number, epochs: int = epochs, best: bool = best
            ) -> None:
                nonlocal told, lowest
                assert record.validation_loss is not None  # every fold has a validation split
                lowest = min(lowest, record.validation_loss) if best else record.validation_loss
                now = REPORTS * record.epoch // epochs
                for step in range(told + 1, now + 1):
                    report(number * REPORTS + step, float(np.mean([*scores, lowest])))
                told = max(told, now)

            estimator.fit_prepared(prepared, on_epoch)
            history = estimator.history_
            if history.stopped.startswith("interrupted"):
                raise KeyboardInterrupt  # `fit` keeps what it has then, which is not a result here
            loss = history.epochs[history.kept_epoch - 1].validation_loss
            assert loss is not None
            scores.append(loss)
            for step in range(told + 1, REPORTS + 1):  # early stopping ended the training
                report(number * REPORTS + step, float(np.mean(scores)))
        return scores


@dataclass(frozen=True)
class Trials:
    """The trials of one search in a store.

    Args:
        store: where they are.
        name: name of the search in the store.
        wanted: how many are to be finished.
        seed: of the search.
    """

    store: Store
    name: str
    wanted: int
    seed: int = 0

    def study(self, number: int = 0) -> Study:
        """Return Optuna's view of the search, whose sampler draws for trial `number`."""
        import optuna

        [seed] = np.random.SeedSequence([self.seed, number]).generate_state(1)
        return optuna.load_study(
            study_name=self.name,
            storage=self.store.optuna,
            # Each trial draws from a generator of its own: which worker runs it does not matter.
            sampler=optuna.samplers.TPESampler(seed=int(seed)),
            pruner=optuna.pruners.MedianPruner(_STARTUP, _WARMUP),
        )

    def make(
        self,
        first: dict[str, Any],
        attributes: dict[str, Any],
        check: Callable[[dict[str, Any]], None] = lambda stored: None,
    ) -> dict[str, Any]:
        """Make the search unless it exists, and as many waiting trials as are wanted.

        Args:
            first: values of the first trial; those that are missing are drawn.
            attributes: of the search, if it is made now.
            check: raises if this is another search, given its attributes.
        Returns: the attributes of the search.
        """
        import optuna

        with self.store.locked():
            names = optuna.get_all_study_names(self.store.optuna)
            if self.name not in names:
                optuna.create_study(storage=self.store.optuna, study_name=self.name)
            study = self.study()
            stored = dict(study.user_attrs)
            for key, value in {**attributes, WANTED: self.wanted}.items():
                # A process that was killed in between leaves some of them to the next.
                if key not in stored:
                    study.set_user_attr(key, value)
            check(dict(study.user_attrs))
            if stored.get(WANTED, self.wanted) < self.wanted:
                study.set_user_attr(WANTED, self.wanted)
            self._top_up(study, first)
            return dict(study.user_attrs)

    def _top_up(self, study: Study, first: dict[str, Any]) -> None:
        for number in range(len(study.get_trials(deepcopy=False)), self.wanted):
            study.enqueue_trial({} if number else first)

    def list(self) -> list[FrozenTrial]:
        """Return all trials, in the order of their numbers."""
        return self.study().get_trials(deepcopy=False)

    def take(self, worker: str) -> tuple[Study, Trial] | None:
        """Take the next waiting trial for a worker; None if there is none.

        A trial that another worker has lost is waiting again.
        """
        import optuna
        from optuna.trial import TrialState

        with self.store.locked():
            study = self.study()
            for trial in self.store.lost(study):
                self._give_back(trial, "its worker was killed")
            waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if not waiting:
                return None
            taken = waiting[0]
            study, storage = self.study(taken.number), self.store.optuna
            storage.set_trial_state_values(taken._trial_id, state=TrialState.RUNNING)
            self.store.beat(taken._trial_id)
            tries = taken.user_attrs.get(TRIES, 0) + 1
            storage.set_trial_user_attr(taken._trial_id, TRIES, tries)
            storage.set_trial_user_attr(taken._trial_id, WORKER, worker)
            return study, optuna.trial.Trial(study, taken._trial_id)

    def give_back(self, trial: Trial, worker: str) -> None:
        """Make a trial wait again, because its worker was asked to stop."""
        with self.store.locked():
            if self._is_mine(trial._trial_id, worker):
                frozen = self.store.optuna.get_trial(trial._trial_id)
                tries = frozen.user_attrs.get(TRIES, 1) - 1
                self.store.optuna.set_trial_user_attr(trial._trial_id, TRIES, tries)
                self._give_back(self.store.optuna.get_trial(trial._trial_id), "")

    def _give_back(self, trial: FrozenTrial, reason: str) -> None:
        from optuna.trial import TrialState

        tries, storage = trial.user_attrs.get(TRIES, 0), self.store.optuna
        if reason and tries >= MOST_TRIES:
            why = f"{reason} {tries} times, perhaps because the memory was not enough"
            storage.set_trial_user_attr(trial._trial_id, FAILED, why)
            storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
        else:
            # In one step, with its number and its values: nothing can be lost in between.
            storage.set_trial_state_values(trial._trial_id, state=TrialState.WAITING)

    def finish(self, trial: Trial, worker: str, state: Any, value: Any, **attributes: Any) -> bool:
        """Finish a trial and return True, unless another worker has taken it meanwhile."""
        with self.store.locked():
            if not self._is_mine(trial._trial_id, worker):
                return False
            for key, entry in attributes.items():
                self.store.optuna.set_trial_user_attr(trial._trial_id, key, entry)
            values = None if value is None else [value]
            return self.store.optuna.set_trial_state_values(trial._trial_id, state, values)

    def _is_mine(self, trial: int, worker: str) -> bool:
        from optuna.trial import TrialState

        frozen = self.store.optuna.get_trial(trial)
        return frozen.state is TrialState.RUNNING and frozen.user_attrs.get(WORKER) == worker


def work(
    trials: Trials,
    objective: Objective,
    *,
    until: float | None = None,
    on_trial: Callable[[], object] = lambda: None,
) -> None:
    """Run trials until all that are wanted are finished, by this worker or by others.

    Args:
        until: time after which no trial is begun, as of time.monotonic(); None for no limit.
        on_trial: called now and then: after each trial, and while waiting for other workers.
    """

    worker = f"worker-{uuid.uuid4().hex[:12]}"
    with trials.store.alive(worker):
        while until is None or time.monotonic() < until:
            taken = trials.take(worker)
            if taken is not None:
                _run(trials, objective, worker, *taken)
            elif all(trial.state.is_finished() for trial in trials.list()):
                break
            else:
                time.sleep(_WAIT)
            on_trial()


def _run(trials: Trials, objective: Objective, worker: str, study: Study, trial: Trial) -> None:
    """Run one trial to its end, or give it back."""
    from optuna.trial import TrialState

    started = time.perf_counter()

    def end(state: TrialState, value: float | None, **attributes: Any) -> None:
        seconds = round(time.perf_counter() - started, 3)
        trials.finish(trial, worker, state, value, **{SECONDS: seconds}, **attributes)

    last: list[float] = []

    def report(step: int, value: float) -> None:
        trials.store.optuna.set_trial_intermediate_value(trial._trial_id, step, value)
        last[:] = [value]
        if step < len(objective.folds) * REPORTS and _is_poor(study, trial, step, value):
            raise PrunedError

    try:
        scores = objective.run(objective.space.draw(trial), report)
    except PrunedError:
        end(TrialState.PRUNED, last[0])
    except NonFiniteError as error:
        end(TrialState.PRUNED, None, failed=f"diverged: {error}"[:300])
    except WriteError:  # the disk, and not the values
        with suppress(WriteError):
            trials.give_back(trial, worker)
        raise
    except (ElmanError, MemoryError) as error:
        end(TrialState.FAIL, None, failed=f"{type(error).__name__}: {error}"[:300])
        _refuse_if_hopeless(trials, str(error))
    except BaseException:
        trials.give_back(trial, worker)
        raise
    else:
        end(TrialState.COMPLETE, float(np.mean(scores)), scores=scores)


def _is_poor(study: Study, trial: Trial, step: int, value: float) -> bool:
    """Whether the loss at a report is worse than the median of the complete trials there."""
    import copy

    frozen = copy.copy(study._storage.get_trial(trial._trial_id))
    # This report alone: those before it are no better, and those behind it are of a worker that
    # was killed.
    frozen.intermediate_values = {step: value}
    return study.pruner.prune(study, frozen)


def _refuse_if_hopeless(trials: Trials, problem: str) -> None:
    """Raise SettingsError if the first trials have all failed."""
    from optuna.trial import TrialState

    done = [trial for trial in trials.list() if trial.state.is_finished()]
    if len(done) >= min(3, trials.wanted) and all(t.state is TrialState.FAIL for t in done):
        raise SettingsError(
            f"all {len(done)} trials so far have failed, the last one with: {problem}\n"
            "Change the settings or the space"
        )
