"""Reading the training, validation and test split that the settings describe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from elman.data import Dataset, Layout, read
from elman.data.builtin import BUILTIN_TASKS, load_task, split_name
from elman.data.faults import tell_guesses
from elman.data.splits import cut_windows
from elman.errors import DataError, SettingsError, nearest
from elman.estimators.defaults import validation_share
from elman.runs.groups import settle_groups
from elman.runs.held_out import (
    CONTENT,
    D,
    check_splits,
    check_targets,
    hold_out_share,
    is_recording,
    method_of,
    without_unknown,
    without_unlabelled,
)
from elman.settings import READING_SETTINGS, DataSettings, TrainingSettings
from elman.tasks import TASKS

_DEFAULTS = TrainingSettings()
_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Splits(Generic[D]):
    """The data of a run, in memory or on disk.

    Args:
        whole: the data as read, before holding out splits; used for the description.
        training: data to fit the network.
        validation: data to choose the epoch by, or None; never the test split.
        test: data to evaluate the network.
        validation_source: the setting: a file, a fraction of the training split, or `test` for
            none, but the curve of the whole test split.
        notes: how the splits were made, one sentence each.
    """

    whole: D
    training: D
    validation: D | None
    test: D
    validation_source: str | float
    notes: tuple[str, ...]


DataSplits = Splits[Dataset]
# Reads a file: its part in the run (data, test, validation), its path and arguments of `read`.
ReadFile = Callable[..., D]
# Cuts a split into windows, given their length and stride and its name; returns them and a note.
CutWindows = Callable[[D, int, int, str], tuple[D, str]]


def is_builtin(data: str) -> bool:
    """Return whether `data` names a built-in task, with or without parameters; files come first."""
    return split_name(data)[0] in BUILTIN_TASKS and not Path(data).is_file()


def read_splits(
    settings: DataSettings,
    seed: int,
    training_settings: TrainingSettings = _DEFAULTS,
    *,
    test_only: bool = False,
) -> DataSplits:
    """Read all files into memory, and hold out each split that has no file of its own.

    Args:
        seed: seed of the random choice of held-out sequences.
        training_settings: they decide whether a validation split is needed.
        test_only: for a search: the test split alone is held out, and no sequence is cut into
            windows.
    Raises: DataError or SettingsError, before anything is written.
    """
    if test_only and settings.data:
        if not (builtin := is_builtin(settings.data)):
            suggest_builtin(settings.data)
        # Any share: what it stands for, the folds of the search, is held out by groups as well.
        folds = dataclasses.replace(settings, validation=settings.validation or 0.5)
        whole, training, test, notes = (
            _read_builtin(folds, seed)
            if builtin
            else _read_files(folds, seed, training_settings, _read)
        )
        test, forgotten = without_unknown(test, training, "test")
        notes += [*forgotten, *check_splits(training, {"test": test})]
        return Splits(whole, training, None, test, 0.0, tuple(notes))
    if settings.data and is_builtin(settings.data):
        return _divide(
            settings, seed, training_settings, _read, _read_builtin(settings, seed), _cut
        )
    return read_files(settings, seed, training_settings, _read, _cut)


def _read(part: str, path: str, **options: Any) -> Dataset:
    return read(path, **options)


def cut_as_set(splits: DataSplits, settings: DataSettings) -> DataSplits:
    """Cut every split into windows, if the settings say so."""
    if settings.window is None:
        return splits
    return _cut_into_windows(splits, settings.window, settings.stride or settings.window, _cut)


def _cut(split: Dataset, window: int, stride: int, name: str) -> tuple[Dataset, str]:
    return cut_windows(split, window, stride, f" of the {name} split")


def read_files(
    settings: DataSettings,
    seed: int,
    training_settings: TrainingSettings,
    read_file: ReadFile[D],
    cut: CutWindows[D],
) -> Splits[D]:
    """Read all files of the settings, and hold out each split that has no file of its own.

    Args: as for `read_splits`.
        read_file, cut: how files are read and cut into windows.
    """
    if not settings.data:
        raise SettingsError(
            "data: no file or task named. Expected `elman train FILE`, or one of the tasks "
            f"{', '.join(BUILTIN_TASKS)}"
        )
    suggest_builtin(settings.data)
    parts = _read_files(settings, seed, training_settings, read_file)
    return _divide(settings, seed, training_settings, read_file, parts, cut)


def _divide(
    settings: DataSettings,
    seed: int,
    training_settings: TrainingSettings,
    read_file: ReadFile[D],
    parts: tuple[D, D, D, list[str]],
    cut: CutWindows[D],
) -> Splits[D]:
    """Hold out the validation split, check all splits, and cut them into windows."""
    whole, training, test, notes = parts
    settings = _divide_by_guess(settings, whole.layout)
    validation: D | None = None
    source = _validation_source(settings, len(training), training_settings)
    if source == "test":
        notes.append("validation split: none; the test split gives a curve, and no choice")
    elif isinstance(source, str):
        validation = read_file("validation", source, layout=whole.layout, labelled=True)
        notes.append(f"validation split: {len(validation):,} sequences of {source}")
    elif source:
        training, validation, how = hold_out_share(
            training, settings, source, seed, "validation", training_settings.tbptt
        )
        notes.append(
            f"validation split: {len(validation):,} sequences of the training split "
            f"({source:.0%}{how}); --validation"
        )
    else:
        notes.append("validation split: none, so no early stopping; --validation")
    # Checked last: holding out can remove the last sequence of a class from training.
    test, forgotten = without_unknown(test, training, "test")
    if validation is not None:
        validation, more = without_unknown(validation, training, "validation")
        forgotten += more
    notes += forgotten + check_splits(training, {"validation": validation, "test": test})
    splits = Splits(whole, training, validation, test, source, tuple(notes))
    if settings.window is None:
        return splits
    return _cut_into_windows(splits, settings.window, settings.stride or settings.window, cut)


def _read_builtin(settings: DataSettings, seed: int) -> tuple[Dataset, Dataset, Dataset, list[str]]:
    """Return all data, the training and test split, and notes, for a built-in task."""
    names = (*READING_SETTINGS, "test", "window", "ahead", "time_difference", "group")
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
    settings: DataSettings, seed: int, training_settings: TrainingSettings, read_file: ReadFile[D]
) -> tuple[D, D, D, list[str]]:
    """Return all data, the training and test split, and notes, for files."""
    steps = bool(settings.window or settings.ahead or training_settings.tbptt)
    whole = _read_whole(settings, read_file, steps)
    sources = (settings.test, _validation_source(settings, len(whole), training_settings))
    held_out = sum(not isinstance(source, str) and source != 0 for source in sources)
    if not held_out and (settings.split or settings.group):
        raise SettingsError(
            "split and group: files are named for both splits, so that nothing is held out. Leave "
            "them out"
        )
    single = is_recording(whole)
    whole, note = without_unlabelled(whole)
    notes: list[str] = [note] if note else []
    if whole.groups:
        whole, more = settle_groups(whole, settings, seed, held_out=bool(held_out))
        notes += more
    settings = _divide_by_guess(settings, whole.layout)
    with _repeated_guesses(whole.layout):
        # Each stratified split needs a sequence of every class, and so does the training split.
        stratified = method_of(settings) == "stratified" and not single
        check_targets(whole, minimum=1 + (held_out if stratified else 0))
    if isinstance(settings.test, str):
        test = read_file("test", settings.test, layout=whole.layout, labelled=True)
        return (
            whole,
            whole,
            test,
            [f"test split: {len(test):,} sequences of {settings.test}", *notes],
        )
    share = settings.test or _TEST_SHARE
    with _repeated_guesses(whole.layout):
        training, test, how = hold_out_share(
            whole, settings, share, seed, "test", training_settings.tbptt
        )
    what = f"{int(test.lengths[0]):,} steps" if single else f"{len(test):,} sequences"
    notes = [f"test split: {what} held out ({share:.0%}{how}); --test", *notes]
    return whole, training, test, notes


def _read_whole(settings: DataSettings, read_file: ReadFile[D], steps: bool) -> D:
    """Read the file of the settings.

    Args:
        steps: whether other settings tell that doubtful rows are steps of one recording.
    """
    options = reading_options(settings)
    try:
        return read_file("data", settings.data, **options)
    except DataError as error:
        if not steps or settings.format or "as one recording" not in error.remedy:
            raise
        return read_file("data", settings.data, **{**options, "format": "steps"})


def reading_options(settings: DataSettings) -> dict[str, Any]:
    """Return the arguments of `read` that the settings name."""
    options: dict[str, Any] = {
        name: value for name in READING_SETTINGS if (value := getattr(settings, name)) is not None
    }
    options |= {"task": settings.task, "time_difference": settings.time_difference}
    options["group"] = None if settings.group == CONTENT else settings.group
    if settings.ahead is not None:
        options |= {"ahead": settings.ahead, "tokens": settings.tokens}
    return {**options, "labelled": True}


def _divide_by_guess(settings: DataSettings, layout: Layout) -> DataSettings:
    """Return the settings with the guessed group, if sequences are divided by it."""
    if settings.group or not layout.group:
        return settings
    return dataclasses.replace(settings, group=layout.group, split=None)


@contextmanager
def _repeated_guesses(layout: Layout) -> Iterator[None]:
    """Put the uncertain guesses before an error that may follow from them."""
    roles = ("target", "task", "id", "format", "group")
    try:
        yield
    except DataError as error:
        doubtful = [g for g in layout.guesses if g.sure != "sure" and g.role in roles]
        raise tell_guesses(error, doubtful) from None


def _validation_source(
    settings: DataSettings, sequences: int, training_settings: TrainingSettings
) -> str | float:
    """Return the setting, or the default fraction for this number of training sequences."""
    if settings.validation is not None:
        return settings.validation
    return validation_share(sequences, training_settings)


def _cut_into_windows(splits: Splits[D], window: int, stride: int, cut: CutWindows[D]) -> Splits[D]:
    """Cut every split into windows; done last, so that no two splits share a sequence."""
    longest = int(splits.whole.lengths.max())
    if splits.whole.layout.kind != "text" and window > longest:
        raise SettingsError(
            f"window: got {window:,}, but the longest sequence has {longest:,} steps. Expected at "
            "most that, or leave it out"
        )
    layout = dataclasses.replace(splits.whole.layout, window=window, stride=stride)
    whole = dataclasses.replace(splits.whole, layout=layout)
    notes = list(splits.notes)
    training, note = cut(splits.training, window, stride, "training")
    notes.append(note)
    test, note = cut(splits.test, window, stride, "test")
    notes.append(note)
    training, note = without_unlabelled(training)
    notes += [note] if note else []
    validation = splits.validation
    if validation is not None:
        validation, note = cut(validation, window, stride, "validation")
        notes.append(note)
    return Splits(whole, training, validation, test, splits.validation_source, tuple(notes))


def resolve_data(settings: DataSettings, layout: Layout) -> DataSettings:
    """Fill in the guessed settings, so that they read the same files in the same way again."""
    if is_builtin(settings.data):
        return settings
    values: dict[str, Any] = {"format": layout.format, "task": layout.task}
    if layout.format != "ts":
        values |= {n: v for n in ("target", "text", "id", "time") if (v := getattr(layout, n))}
        if layout.future:
            values["target"] = ",".join(layout.future)
    if layout.group and not settings.group:
        values |= {"group": layout.group, "split": None}
    if settings.test is None:
        values["test"] = _TEST_SHARE  # stored, in case the default changes later
    return dataclasses.replace(settings, **values)


def suggest_builtin(data: str) -> None:
    """Suggest the built-in task with a similar name if there is no such file."""
    hint = nearest(split_name(data)[0], BUILTIN_TASKS)
    if hint and not Path(data).exists() and "." not in data and "/" not in data:
        raise DataError(f"no such file or task: {data!r}", remedy=hint.strip())
