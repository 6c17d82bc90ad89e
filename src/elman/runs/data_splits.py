"""Reading the training, validation and test split that the settings describe."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data import Dataset, Layout, Ragged, check_classes, check_gaps, read
from elman.data.builtin import BUILTIN_TASKS, load_task, split_name
from elman.data.faults import tell_guesses
from elman.data.ragged import flatten, sequences_with_gaps
from elman.data.splits import (
    cut_windows,
    divide_recording,
    hold_out,
    hold_out_groups,
    hold_out_latest,
)
from elman.data.unlabelled import leave_out_unlabelled
from elman.errors import DataError, SettingsError, nearest
from elman.estimators.defaults import validation_share
from elman.runs.groups import CONTENT, settle_groups
from elman.settings import READING_SETTINGS, DataSettings, TrainingSettings
from elman.tasks import TASKS

_DEFAULTS = TrainingSettings()
_TEST_SHARE = 0.2


@dataclass(frozen=True)
class DataSplits:
    """The data of a run.

    Args:
        whole: the data as read, before holding out splits; used for the description.
        training: data to fit the network.
        validation: data to choose the epoch by, or None; never the test split.
        test: data to evaluate the network.
        validation_source: the setting: a file, a fraction of the training split, or `test` for
            none, but the curve of the whole test split.
        notes: how the splits were made, one sentence each.
    """

    whole: Dataset
    training: Dataset
    validation: Dataset | None
    test: Dataset
    validation_source: str | float
    notes: tuple[str, ...]


def is_builtin(data: str) -> bool:
    """Return whether `data` names a built-in task, with or without parameters; files come first."""
    return split_name(data)[0] in BUILTIN_TASKS and not Path(data).is_file()


def read_splits(
    settings: DataSettings, seed: int, training_settings: TrainingSettings = _DEFAULTS
) -> DataSplits:
    """Read all files, and hold out each split that has no file of its own.

    Args:
        seed: seed of the random choice of held-out sequences.
        training_settings: they decide whether a validation split is needed.
    Raises: DataError or SettingsError, before anything is written.
    """
    if not settings.data:
        raise SettingsError(
            "data: no file or task named. Expected `elman train FILE`, or one of the tasks "
            f"{', '.join(BUILTIN_TASKS)}"
        )
    read_data = _read_builtin if is_builtin(settings.data) else _read_files
    whole, training, test, notes = read_data(settings, seed, training_settings)
    settings = _divide_by_guess(settings, whole)
    validation: Dataset | None = None
    source = _validation_source(settings, len(training), training_settings)
    if source == "test":
        notes.append("validation split: none; the test split gives a curve, and no choice")
    elif isinstance(source, str):
        validation = read(source, layout=whole.layout, labelled=True)
        notes.append(f"validation split: {len(validation):,} sequences of {source}")
    elif source:
        training, validation, how = _hold_out(training, settings, source, seed, "validation")
        notes.append(
            f"validation split: {len(validation):,} sequences of the training split "
            f"({source:.0%}{how}); --validation"
        )
    else:
        notes.append("validation split: none, so no early stopping; --validation")
    # Checked last: holding out can remove the last sequence of a class from training.
    notes += _check_splits(training, {"validation": validation, "test": test})
    splits = DataSplits(whole, training, validation, test, source, tuple(notes))
    if settings.window is None:
        return splits
    return _cut_into_windows(splits, settings.window, settings.stride or settings.window)


def _read_builtin(
    settings: DataSettings, seed: int, training_settings: TrainingSettings
) -> tuple[Dataset, Dataset, Dataset, list[str]]:
    """Return all data, the training and test split, and notes, for a built-in task."""
    names = (*READING_SETTINGS, "test", "window", "time_difference", "group")
    for name in names:
        value = getattr(settings, name)
        if value is not None and (name, value) != ("group", CONTENT):
            raise SettingsError(
                f"{name}: got {value!r}, but {settings.data} is a built-in task, which brings "
                "its own layout and test split. Leave it out"
            )
    if isinstance(settings.validation, str) and settings.validation != "test":
        raise SettingsError(
            f"validation: got {settings.validation!r}, but {settings.data} is a built-in task. "
            "Expected a share of its training split, or 'test'"
        )
    whole, test = load_task(settings.data, seed)
    if settings.task not in (None, whole.task):
        raise SettingsError(
            f"task: got {settings.task!r}, but the target of {settings.data} is "
            f"{TASKS[whole.task].target}. Leave it out"
        )
    return whole, whole, test, [f"test split: {len(test):,} sequences that come with the task"]


def _read_files(
    settings: DataSettings, seed: int, training_settings: TrainingSettings
) -> tuple[Dataset, Dataset, Dataset, list[str]]:
    """Return all data, the training and test split, and notes, for files."""
    suggest_builtin(settings.data)
    whole = _read_whole(settings)
    sources = (settings.test, _validation_source(settings, len(whole), training_settings))
    held_out = sum(not isinstance(source, str) and source != 0 for source in sources)
    if not held_out and (settings.split or settings.group):
        raise SettingsError(
            "split and group: files are named for both splits, so that nothing is held out. Leave "
            "them out"
        )
    single = _is_recording(whole)
    whole, note = leave_out_unlabelled(whole)
    notes = [note] if note else []
    if whole.groups:
        whole, more = settle_groups(whole, settings, seed, held_out=bool(held_out))
        notes += more
    settings = _divide_by_guess(settings, whole)
    with _repeated_guesses(whole.layout):
        # Each stratified split needs a sequence of every class, and so does the training split.
        stratified = _method(settings) == "stratified" and not single
        check_classes(whole, minimum=1 + (held_out if stratified else 0))
    if isinstance(settings.test, str):
        test = read(settings.test, layout=whole.layout, labelled=True)
        return (
            whole,
            whole,
            test,
            [f"test split: {len(test):,} sequences of {settings.test}", *notes],
        )
    share = settings.test or _TEST_SHARE
    with _repeated_guesses(whole.layout):
        training, test, how = _hold_out(whole, settings, share, seed, "test")
    what = f"{len(test.inputs[0]):,} steps" if single else f"{len(test):,} sequences"
    notes = [f"test split: {what} held out ({share:.0%}{how}); --test", *notes]
    return whole, training, test, notes


def _read_whole(settings: DataSettings) -> Dataset:
    """Read the file of the settings; with `--window`, rows of few numbers can only be steps."""
    options: dict[str, Any] = {
        name: value for name in READING_SETTINGS if (value := getattr(settings, name)) is not None
    }
    options |= {"task": settings.task, "time_difference": settings.time_difference}
    options["group"] = None if settings.group == CONTENT else settings.group
    try:
        return read(settings.data, labelled=True, **options)
    except DataError as error:
        if settings.window is None or settings.format or "--format steps" not in error.remedy:
            raise
        return read(settings.data, labelled=True, **{**options, "format": "steps"})


def _divide_by_guess(settings: DataSettings, whole: Dataset) -> DataSettings:
    """Return the settings with the guessed group, if sequences are divided by it."""
    if settings.group or not whole.layout.group:
        return settings
    return dataclasses.replace(settings, group=whole.layout.group, split=None)


@contextmanager
def _repeated_guesses(layout: Layout) -> Iterator[None]:
    """Put the uncertain guesses before an error that may follow from them."""
    roles = ("target", "task", "id", "format", "group")
    try:
        yield
    except DataError as error:
        doubtful = [g for g in layout.guesses if g.sure != "sure" and g.role in roles]
        raise tell_guesses(error, doubtful) from None


def _is_recording(dataset: Dataset) -> bool:
    """Whether the data are one sequence of steps, which only windows can divide."""
    return len(dataset) == 1 and isinstance(dataset.inputs, Ragged)


def _validation_source(
    settings: DataSettings, sequences: int, training_settings: TrainingSettings
) -> str | float:
    """Return the setting, or the default fraction for this number of training sequences."""
    if settings.validation is not None:
        return settings.validation
    return validation_share(sequences, training_settings)


def _check_splits(training: Dataset, others: dict[str, Dataset | None]) -> list[str]:
    """Refuse classes and gaps that training lacks; return notes on sequences in both splits."""
    check_classes(training, minimum=1)
    channels_with_gaps: NDArray[np.bool_] = np.logical_or.reduce(_gaps(training))
    notes = [f"training split: {len(training):,} sequences"]
    contents = training.contents()
    for name, split in others.items():
        if split is None:
            continue
        if TASKS[split.task].has_classes:
            check_known(split, classes_of(training))
        check_gaps(split, channels_with_gaps)
        repeated = int(np.isin(split.contents(), contents).sum())
        if repeated:
            notes.append(
                f"{repeated:,} of the {name} split's sequences also occur in the training split, "
                "so its metrics are too optimistic"
            )
    return notes


def _cut_into_windows(splits: DataSplits, window: int, stride: int) -> DataSplits:
    """Cut every split into windows; done last, so that no two splits share a sequence."""
    longest = int(splits.whole.lengths.max())
    if not isinstance(splits.whole.inputs, list) and window > longest:
        raise SettingsError(
            f"window: got {window:,}, but the longest sequence has {longest:,} steps. Expected at "
            "most that, or leave it out"
        )
    layout = dataclasses.replace(splits.whole.layout, window=window, stride=stride)
    whole = dataclasses.replace(splits.whole, layout=layout)
    notes = list(splits.notes)

    def cut(split: Dataset, name: str) -> Dataset:
        windows, note = cut_windows(split, window, stride, f" of the {name} split")
        notes.append(note)
        return windows

    training, test = cut(splits.training, "training"), cut(splits.test, "test")
    training, note = leave_out_unlabelled(training)
    notes += [note] if note else []
    validation = splits.validation
    if validation is not None:
        validation = cut(validation, "validation")
    source = splits.validation_source
    return DataSplits(whole, training, validation, test, source, tuple(notes))


def resolve_data(settings: DataSettings, layout: Layout) -> DataSettings:
    """Fill in the guessed settings, so that they read the same files in the same way again."""
    if is_builtin(settings.data):
        return settings
    values: dict[str, Any] = {"format": layout.format, "task": layout.task}
    if layout.format != "ts":
        values |= {n: v for n in ("target", "text", "id", "time") if (v := getattr(layout, n))}
    if layout.group and not settings.group:
        values |= {"group": layout.group, "split": None}
    if settings.test is None:
        values["test"] = _TEST_SHARE  # stored, in case the default changes later
    return dataclasses.replace(settings, **values)


def labels_of(dataset: Dataset) -> NDArray[np.object_]:
    """Return all labels of a dataset in one array, (n,) or (N,)."""
    target = dataset.target
    assert target is not None  # read with labelled=True
    return flatten(target)


def _label_sets(dataset: Dataset) -> list[frozenset[object]]:
    """Return the labels of each sequence or step as a set, with one element for a single label."""
    labels = labels_of(dataset).tolist()
    none: frozenset[object] = frozenset()  # at steps that are not labelled
    sets = [each if isinstance(each, frozenset) else frozenset((each,)) for each in labels]
    return [none if None in each else each for each in sets]


def classes_of(dataset: Dataset) -> set[object]:
    """Return the labels that occur in a dataset."""
    return {label for labels in _label_sets(dataset) for label in labels}


def check_known(dataset: Dataset, classes: set[object]) -> None:
    """Refuse labels that do not occur in the training split.

    Raises: DataError with the first line that has such a label.
    """
    label_sets = _label_sets(dataset)
    unknown = Counter(label for labels in label_sets for label in labels if label not in classes)
    if not unknown:
        return
    first = next(i for i, each in enumerate(label_sets) if not unknown.keys().isdisjoint(each))
    if isinstance(dataset.target, Ragged):
        first = int(dataset.target.owners[first])
    listed = ", ".join(f"{label!r} ({n} times)" for label, n in unknown.most_common(5))
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    raise DataError(
        f"classes that the training split does not have: {listed}{more}",
        remedy="Leave these sequences out, or add sequences of that class to the training split.",
        source=dataset.source,
        line=None if dataset.lines is None else int(dataset.lines[first]),
    )


def _method(settings: DataSettings) -> str:
    return settings.split or ("group" if settings.group else "stratified")


def _hold_out(
    dataset: Dataset, settings: DataSettings, share: float, seed: int, name: str
) -> tuple[Dataset, Dataset, str]:
    """Return the remaining and the held-out sequences, and how they were chosen, in words."""
    if _is_recording(dataset):
        return _hold_out_steps(dataset, settings, share, name)
    labels = dataset.target
    if not TASKS[dataset.task].single_label:
        labels = None
    elif not isinstance(labels, Ragged):
        labels = labels_of(dataset).astype(str)
    gaps, method, how = _gaps(dataset), _method(settings), ""
    if dataset.static is not None:
        gaps = np.hstack([gaps, np.isnan(dataset.static.numbers)])
    try:
        if method == "group":
            groups: Sequence[Any] = dataset.groups
            if settings.group == CONTENT:
                groups = dataset.contents().tolist()
            first, second = hold_out_groups(groups, share, seed, labels, name, gaps)
            held_out = len({groups[i] for i in second.tolist()})
            how = f", {held_out:,} of {len(set(groups)):,} groups by {settings.group}"
        elif method == "time":
            timed = dataset.starts is not None
            times = dataset.starts if dataset.starts is not None else np.zeros(len(dataset))
            first, second = hold_out_latest(times, share, name)
            how = ", the last by time" if timed else ", the last in the order of the file"
        else:
            if method == "random" and labels is not None and not isinstance(labels, Ragged):
                # As labels per step, they keep every class in training, but not its proportion.
                labels = Ragged(labels, np.arange(len(labels) + 1))
            first, second = hold_out(len(dataset), share, seed, labels, name, gaps)
            how = ", at random" if method == "random" else ""
    except DataError as error:
        raise DataError(error.problem, remedy=error.remedy, source=dataset.source) from None
    return dataset.take(first), dataset.take(second), how


def _hold_out_steps(
    dataset: Dataset, settings: DataSettings, share: float, name: str
) -> tuple[Dataset, Dataset, str]:
    """Hold out the last steps of one recording, and return how in words."""
    steps = len(dataset.inputs[0])
    if settings.window is None:
        raise DataError(
            f"the file is one recording of {steps:,} steps, and training needs several sequences",
            remedy=f"Cut it into windows, for example --window {max(2, min(100, steps // 20))}; the"
            " last ones are held out. If it holds several recordings, name the column that tells"
            " them apart with --id NAME.",
            source=dataset.source,
        )
    if settings.split not in (None, "time"):
        raise SettingsError(
            f"split: got {settings.split!r}, but one recording can only be divided in time. Leave"
            " it out, or give --split time"
        )
    first, second = divide_recording(dataset, share, settings.window, name)
    return first, second, f", the last steps of the recording, after a gap of {settings.window:,}"


def _gaps(dataset: Dataset) -> NDArray[np.bool_]:
    """Return which sequences have gaps in which channels, (n, C); (n, 0) for tokens and text."""
    numbers = dataset.numbers
    if numbers is not None:
        return sequences_with_gaps(numbers)
    return np.zeros((len(dataset), 0), dtype=bool)


def suggest_builtin(data: str) -> None:
    """Suggest the built-in task with a similar name if there is no such file."""
    hint = nearest(split_name(data)[0], BUILTIN_TASKS)
    if hint and not Path(data).exists() and "." not in data and "/" not in data:
        raise DataError(f"no such file or task: {data!r}", remedy=hint.strip())
