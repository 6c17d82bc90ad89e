"""`elman lab`: the page of one run, of two runs side by side, or of the built-in tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elman.data import Dataset
from elman.data.splits import excerpts
from elman.errors import ElmanError, ModelFileError, SettingsError
from elman.estimators import Estimator, load
from elman.estimators.estimators import ESTIMATORS
from elman.estimators.reading import read_as_trained
from elman.lab.assemble import (
    EXAMPLES,
    LARGE,
    LONGEST,
    SMALL,
    LabPage,
    check_page_file,
    make_page,
)
from elman.lab.examples import Example, choose_examples
from elman.lab.payload import describe_run
from elman.lab.sizes import describe_cut
from elman.lab.tasks import describe_tasks
from elman.models.storage import find_model
from elman.runs.config import RunSettings
from elman.runs.data_splits import is_builtin
from elman.runs.diagnostics import is_divisible
from elman.runs.evaluation import load_model_and_data
from elman.runs.folder import LAB_PAGE, unused_path
from elman.runs.own_data import is_own_file, read_own_splits, setting_values, settings_of
from elman.runs.unfinished import CONFIG, is_training, is_unfinished
from elman.runs.unfinished import describe as describe_unfinished
from elman.train import read_kept_epochs


@dataclass(frozen=True)
class _Source:
    """A model, and the sequences that its page can show.

    Args:
        name: name of the run.
        estimator: its fitted estimator.
        dataset: the sequences.
        split: which part of the data they are.
        settings: the settings of the run; None for a model without a run.
        notes: how they were read, for the user.
        epochs: weights that were kept during the training, by epoch.
    """

    name: str
    estimator: Estimator
    dataset: Dataset
    split: str
    settings: RunSettings | None
    notes: tuple[str, ...] = ()
    epochs: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """The settings that have a value, by name."""
        if self.settings is None:
            return dict(self.estimator.get_params())
        return setting_values(self.settings)

    @property
    def most(self) -> int:
        """Bytes that its page may take."""
        return SMALL if self.settings and is_builtin(self.settings.data.data) else LARGE


def write_lab(
    runs: Sequence[Path],
    data: str | None,
    reading: Mapping[str, str | None],
    out: Path | None,
    overwrite: bool,
) -> tuple[Path, int, tuple[str, ...]]:
    """Write the page of a run, of two runs side by side, or without any that of the tasks.

    Args:
        runs: run or model folders, two at most.
        data: file or built-in task of the examples; None for the test part of the first run.
        reading: how to read the file, by flag; None means as in training.
        out: the page; None means lab.html in the folder of a single run, else in the current one.
        overwrite: replace an existing file.
    Returns: the file, its bytes, and notes for the user.
    Raises: ElmanError, before anything is written.
    """
    out, renamed = _choose_output(runs, out, overwrite)
    page = make_lab(runs, data, reading) if runs else make_task_page()
    page.save(out, overwrite=True)
    return out, page.size, (*page.notes, *renamed)


def make_task_page() -> LabPage:
    """Return the page without a run, which trains small networks on the built-in tasks."""
    return make_page([], tasks=describe_tasks(ESTIMATORS), most=SMALL)


def make_lab(runs: Sequence[Path], data: str | None, reading: Mapping[str, str | None]) -> LabPage:
    """Return the page of one or two runs; arguments as for `write_lab`."""
    first = _read(runs[0], data, reading)
    chosen = _in_excerpts(first)
    sources, notes = [chosen], [*chosen.notes]
    for run in runs[1:]:
        other, more = _read_alike(run, first, chosen, data, reading)
        sources.append(other)
        notes += more
    examples = _choose(chosen)
    described: list[dict[str, Any]] = []
    for source in sources:
        own = examples if source.dataset is chosen.dataset else _choose(source)
        shown, note = _describe(source, own)
        described.append(shown)
        notes += [note] if note else []
    most = min(LARGE, sum(source.most for source in sources))
    return make_page(described, notes, most=most)


def _choose(source: _Source) -> list[Example]:
    """Return the examples of a run."""
    return choose_examples(source.estimator, source.dataset, source.dataset.target, most=EXAMPLES)


def _choose_output(
    runs: Sequence[Path], out: Path | None, overwrite: bool
) -> tuple[Path, tuple[str, ...]]:
    """Return the file to write, and a note if its usual name is taken. Raises SettingsError."""
    if out is not None:
        check_page_file(out, overwrite, "Name another with --out, or replace it with --overwrite")
        return out, ()
    if len(runs) == 1 and (runs[0] / CONFIG).is_file():
        return runs[0] / LAB_PAGE, ()  # made of the run alone, so nothing is lost by making it anew
    wanted = Path(LAB_PAGE)
    if overwrite or not wanted.exists():
        return wanted, ()
    free = unused_path(wanted)
    return free, (
        f"{wanted} exists already, so this page is called {free.name}; --overwrite replaces it, "
        "--out names another file",
    )


def _read(run: Path, data: str | None, reading: Mapping[str, str | None]) -> _Source:
    """Read a model, and its own test part, or the file that `data` names."""
    if is_training(run):
        raise SettingsError(
            f"{run}: is still training. To follow it, leave the other arguments out: elman lab "
            f"{run}"
        )
    if is_unfinished(run):
        raise ModelFileError(
            f"{run}: is unfinished, so there is no trained network to show. It stopped "
            f"{describe_unfinished(run)}"
        )
    name = run.resolve().name
    settings = _settings(run)
    options = [name for name, value in reading.items() if value is not None]
    if data is None and options:
        raise SettingsError(f"--{options[0]}: says how DATA is read, but there is no --data")
    own = settings is not None and (data is None or is_own_file(run, settings, data))
    if settings is not None and own and not options:
        estimator = load(run)
        try:
            splits = read_own_splits(run, settings, data)
            test, _ = read_as_trained(estimator, splits.test, labelled=True)
        except (ElmanError, OSError) as error:
            raise SettingsError(
                f"the examples of the page are the test sequences of {run}, and they cannot be read"
                f": {error}\nName other sequences, or where the file is now: elman lab {run} "
                "--data FILE"
            ) from error
        return _Source(name, estimator, test, "test", settings, epochs=_kept(run))
    if data is None:
        find_model(run)  # which says what is wrong with a folder that holds no model
        raise SettingsError(
            f"{run}: is a model without a run, which would name its data. Name a file of sequences "
            f"for the examples: elman lab {run} --data FILE"
        )
    estimator, dataset, notes = load_model_and_data(run, data, reading, labelled=None)
    split = "test" if is_builtin(data) else Path(data).name
    return _Source(name, estimator, dataset, split, settings, notes, _kept(run))


def _settings(run: Path) -> RunSettings | None:
    """Return the settings of a run; None for a model without a run."""
    return settings_of(run) if (run / CONFIG).is_file() else None


def _kept(run: Path) -> dict[int, Any]:
    """Return the weights of the epochs that a run has kept; of a model folder none."""
    return dict(read_kept_epochs(run))


def _read_alike(
    run: Path,
    first: _Source,
    chosen: _Source,
    data: str | None,
    reading: Mapping[str, str | None],
) -> tuple[_Source, list[str]]:
    """Read a second model, with the sequences of the first if it can read them, and notes."""
    name = run.resolve().name
    settings = _settings(run)
    name = f"{name} (2)" if name == first.name else name
    if is_unfinished(run):
        _read(run, data, reading)  # raises the error that says so
    estimator = load(run)
    try:
        dataset, _ = read_as_trained(estimator, chosen.dataset, labelled=None)
        estimator.encode(dataset)
    except ElmanError:
        other = dataclasses.replace(_read(run, data, reading), name=name)
        note = f"{name} reads other data than {first.name}, so each has examples of its own."
        return _in_excerpts(other), [note]
    source = _Source(name, estimator, chosen.dataset, chosen.split, settings, epochs=_kept(run))
    drawn = [s and (s.data, s.training.seed) for s in (settings, first.settings)]
    if chosen.split == "test" and drawn[0] != drawn[1]:
        return source, [
            f"The examples are the test part of {first.name}; {name} was split in another way, and "
            "may have been trained on some of them."
        ]
    return source, []


def _in_excerpts(source: _Source) -> _Source:
    """Return long sequences with a target at every step as excerpts, of which each is whole."""
    pieces, note = in_excerpts(source.estimator, source.dataset)
    if not note:
        return source
    notes = (*source.notes, f"{source.name}: {note}")
    return dataclasses.replace(source, dataset=pieces, notes=notes)


def in_excerpts(estimator: Estimator, dataset: Dataset) -> tuple[Dataset, str]:
    """Return a data set for the page, and a note if long sequences were divided."""
    if not is_divisible(estimator, dataset, LONGEST):
        return dataset, ""
    pieces, _ = excerpts(dataset, LONGEST)
    return pieces, (
        f"sequences of more than {LONGEST:,} steps are shown in excerpts of as many, each read as "
        "a sequence of its own."
    )


def _describe(source: _Source, examples: Sequence[Example]) -> tuple[dict[str, Any], str]:
    """Return a run for the page, and a note if its examples were cut."""
    index = np.array([example.index for example in examples])
    dataset = source.dataset.take(index)
    run = describe_run(
        source.estimator,
        source.estimator.encode(dataset),
        dataset.target,
        name=source.name,
        sequence_names=dataset.names,
        splits=source.split,
        reasons=[example.reason for example in examples],
        settings=source.values,
        epochs=source.epochs,
        most_steps=LONGEST,
    )
    steps = source.estimator.encode(dataset).inputs.lengths
    return run, describe_cut(source.name, LONGEST) if steps.max() > LONGEST else ""
