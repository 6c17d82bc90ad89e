"""From settings to the parts of the data: what is learnt from, watched, and tested on."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data import Dataset, Layout, Ragged, check_classes, check_gaps, read
from elman.data.builtin import BUILTIN_TASKS, load_task, split_name
from elman.data.channels import sequences_with_gaps
from elman.data.ragged import flatten
from elman.data.splits import cut_windows, hold_out, hold_out_groups, hold_out_latest
from elman.errors import DataError, SettingsError, nearest
from elman.estimators.defaults import validation_share
from elman.settings import READING_SETTINGS, DataSettings, TrainingSettings
from elman.tasks import TASKS

DEFAULTS = TrainingSettings()
_TEST_SHARE = 0.2
CONTENT = "content"  # the group of a sequence is the sequence itself


@dataclass(frozen=True)
class Parts:
    """What a run works on.

    Args:
        whole: the data as read, before anything was held out of it; what is described to the user.
        training: what is learnt from.
        validation: what training is watched by, or None.
        test: what is evaluated on.
        held: what the validation part is: a file, `test`, or a share of the training part.
        notes: how the parts came about, one sentence each.
    """

    whole: Dataset
    training: Dataset
    validation: Dataset | None
    test: Dataset
    held: str | float
    notes: tuple[str, ...]

    @property
    def choosing(self) -> bool:
        """Whether there is a validation part that may be chosen by: not if it is the test part."""
        return self.validation is not None and self.held != "test"


def is_task(data: str) -> bool:
    """Whether `data` names a built-in task, parameters or not; a file of that name goes first."""
    return split_name(data)[0] in BUILTIN_TASKS and not Path(data).is_file()


def read_parts(settings: DataSettings, seed: int, asked: TrainingSettings = DEFAULTS) -> Parts:
    """Read all files and hold out what is not given.

    Args:
        seed: of what is drawn.
        asked: some settings of the training need a validation part.
    Raises: DataError or SettingsError; nothing has been written by then.
    """
    if not settings.data:
        raise SettingsError(
            "data: no file or task named. Expected `elman train FILE`, or one of the tasks "
            f"{', '.join(BUILTIN_TASKS)}"
        )
    given = {name: getattr(settings, name) for name in READING_SETTINGS if getattr(settings, name)}
    notes = []
    if is_task(settings.data):
        own = {name: getattr(settings, name) for name in ("test", "window", "time_difference")}
        own["group"] = None if settings.group == CONTENT else settings.group
        for name, value in {**given, **own}.items():
            if value is not None:
                raise SettingsError(
                    f"{name}: got {value!r}, but {settings.data} is a built-in task, which brings "
                    "its own layout and test part. Leave it out"
                )
        if isinstance(settings.validation, str) and settings.validation != "test":
            raise SettingsError(
                f"validation: got {settings.validation!r}, but {settings.data} is a built-in task. "
                "Expected a share of its training part, or 'test'"
            )
        whole, test = load_task(settings.data, seed)
        if settings.task not in (None, whole.task):
            raise SettingsError(
                f"task: got {settings.task!r}, but {settings.data} asks for "
                f"{TASKS[whole.task].target}. Leave it out"
            )
        training = whole
        notes.append(f"test part: {len(test):,} sequences that come with the task")
    else:
        _hint_at_tasks(settings.data)
        group = None if settings.group == CONTENT else settings.group
        difference = settings.time_difference
        whole = read(
            settings.data,
            labelled=True,
            task=settings.task,
            group=group,
            time_difference=difference,
            **given,
        )
        wanted = (settings.test, _validation(settings, len(whole), asked))
        drawn = sum(not isinstance(part, str) and part != 0 for part in wanted)
        if not drawn and (settings.split or settings.group):
            raise SettingsError(
                "split and group: both parts are given, so that none is drawn. Leave them out"
            )
        check_classes(whole, minimum=1 + (drawn if _way(settings) == "stratified" else 0))
        if isinstance(settings.test, str):
            training, test = whole, read(settings.test, layout=whole.layout, labelled=True)
            notes.append(f"test part: {len(test):,} sequences of {settings.test}")
        else:
            share = settings.test or _TEST_SHARE
            training, test, how = _hold_out(whole, settings, share, seed, "test")
            notes.append(f"test part: {len(test):,} sequences held out ({share:.0%}{how}); --test")
    validation: Dataset | None = None
    held = _validation(settings, len(training), asked)
    if held == "test":
        validation = test
        notes.append("validation part: the test part, only looked at; nothing is chosen by it")
    elif isinstance(held, str):
        validation = read(held, layout=whole.layout, labelled=True)
        notes.append(f"validation part: {len(validation):,} sequences of {held}")
    elif held:
        training, validation, how = _hold_out(training, settings, held, seed, "validation")
        notes.append(
            f"validation part: {len(validation):,} sequences of the training part "
            f"({held:.0%}{how}); --validation"
        )
    else:
        notes.append("validation part: none, so no early stopping; --validation")
    check_classes(training, minimum=1)
    known_gaps: NDArray[np.bool_] = np.logical_or.reduce(_gaps(training))
    for part in (validation, test):
        if part is not None:
            if part.task != "regression":
                check_known(part, classes_of(training))
            check_gaps(part, known_gaps)
    notes.append(f"training part: {len(training):,} sequences")
    known = set(training.contents())
    for what, part in (("validation", validation), ("test", test)):
        repeated = sum(content in known for content in part.contents()) if part else 0
        if repeated:
            notes.append(
                f"{repeated:,} of the {what} part's sequences stand in the training part as well: "
                "its figures flatter"
            )
    if settings.window:
        stride = settings.stride or settings.window
        layout = dataclasses.replace(whole.layout, window=settings.window, stride=stride)
        whole = dataclasses.replace(whole, layout=layout)
        watched = held == "test"
        training, note = cut_windows(training, settings.window, stride, " of the training part")
        notes.append(note)
        test, note = cut_windows(test, settings.window, stride, " of the test part")
        notes.append(note)
        if validation is not None and not watched:
            what = " of the validation part"
            validation, note = cut_windows(validation, settings.window, stride, what)
            notes.append(note)
        validation = test if watched else validation
    return Parts(whole, training, validation, test, held, tuple(notes))


def _validation(settings: DataSettings, sequences: int, asked: TrainingSettings) -> str | float:
    """What is given, or the share that suits so many training sequences."""
    given = settings.validation
    return validation_share(sequences, asked) if given is None else given


def resolved(settings: DataSettings, layout: Layout) -> DataSettings:
    """Fill in what was guessed, so that the settings read the same files in the same way."""
    if is_task(settings.data):
        return settings
    found: dict[str, Any] = {"format": layout.format}
    if layout.format != "ts":
        found |= {n: v for n in ("target", "text", "id", "time") if (v := getattr(layout, n))}
    found["task"] = layout.task
    if settings.test is None:
        settings = dataclasses.replace(settings, test=_TEST_SHARE)
    return dataclasses.replace(settings, **found)


def labels_of(dataset: Dataset) -> NDArray[np.object_]:
    """All labels of a dataset in one array, (n,) or (N,)."""
    target = dataset.target
    assert target is not None  # read with labelled=True
    return flatten(target)


def classes_of(dataset: Dataset) -> set[object]:
    """The labels that occur in a dataset."""
    labels = labels_of(dataset).tolist()
    if dataset.task == "multilabel":
        return {label for own in labels for label in own}
    return set(labels)


def check_known(dataset: Dataset, classes: set[object]) -> None:
    """Refuse labels that the training part does not have.

    Raises: DataError with the first line that has one.
    """
    labels = labels_of(dataset).tolist()
    sets = [own if isinstance(own, frozenset) else {own} for own in labels]
    unseen = Counter(label for own in sets for label in own if label not in classes)
    if not unseen:
        return
    first = next(i for i, own in enumerate(sets) if not unseen.keys().isdisjoint(own))
    if isinstance(dataset.target, Ragged):
        first = int(dataset.target.owners[first])
    listed = ", ".join(f"{label!r} ({n} times)" for label, n in unseen.most_common(5))
    more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
    raise DataError(
        f"classes that the training part does not have: {listed}{more}",
        remedy="Leave these sequences out, or add sequences of that class to the training part.",
        source=dataset.source,
        line=None if dataset.lines is None else int(dataset.lines[first]),
    )


def _way(settings: DataSettings) -> str:
    return settings.split or ("group" if settings.group else "stratified")


def _hold_out(
    dataset: Dataset, settings: DataSettings, share: float, seed: int, what: str
) -> tuple[Dataset, Dataset, str]:
    """Return the first and the second part, and words on how they were drawn."""
    labels = dataset.target
    if dataset.task in ("regression", "multilabel"):
        labels = None
    elif not isinstance(labels, Ragged):
        labels = labels_of(dataset).astype(str)
    gaps, way, how = _gaps(dataset), _way(settings), ""
    try:
        if way == "group":
            groups = dataset.contents() if settings.group == CONTENT else dataset.groups
            first, second = hold_out_groups(groups, share, seed, labels, what, gaps)
            held = len({groups[i] for i in second.tolist()})
            how = f", {held:,} of {len(set(groups)):,} groups by {settings.group}"
        elif way == "time":
            known = dataset.starts is not None
            times = dataset.starts if dataset.starts is not None else np.zeros(len(dataset))
            first, second = hold_out_latest(times, share, what)
            how = ", the last by time" if known else ", the last in the order of the file"
        else:
            if way == "random" and labels is not None and not isinstance(labels, Ragged):
                labels = Ragged(labels, np.arange(len(labels) + 1))  # kept, but in no proportion
            first, second = hold_out(len(dataset), share, seed, labels, what, gaps)
            how = ", at random" if way == "random" else ""
    except DataError as error:
        raise DataError(error.problem, remedy=error.remedy, source=dataset.source) from None
    return dataset.take(first), dataset.take(second), how


def _gaps(dataset: Dataset) -> NDArray[np.bool_]:
    """Whether a sequence misses values in a channel, (n, C); (n, 0) for tokens and text."""
    numbers = dataset.numbers
    if numbers is not None:
        return sequences_with_gaps(numbers)
    return np.zeros((len(dataset), 0), dtype=bool)


def _hint_at_tasks(data: str) -> None:
    """Say which task was meant, where a missing file's name is near one."""
    hint = nearest(split_name(data)[0], BUILTIN_TASKS)
    if hint and not Path(data).exists() and "." not in data and "/" not in data:
        raise DataError(f"no such file or task: {data!r}", remedy=hint.strip())
