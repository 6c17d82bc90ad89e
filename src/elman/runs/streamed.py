"""Data under a memory limit: whether they are read into memory or from disk, and their splits.

plan = plan_memory(settings.data)        in memory, or streamed with so much for each use
splits = read_stored_splits(...)         the splits of `read_splits`, on disk
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from elman import files
from elman.data import Dataset, Layout, describe
from elman.data.splits import cut_windows, describe_windows
from elman.data.store import StoredDataset, StoreWriter, is_store, open_store
from elman.data.streaming import Estimate, estimate, piece_bytes, read_stored
from elman.data.text import Unit
from elman.errors import DataError, SettingsError
from elman.memory import free_memory, parse_size, resident_memory, write_size
from elman.runs.config import RunSettings
from elman.runs.data_splits import Splits, is_builtin, read_files, reading_options
from elman.runs.folder import STORED, has_checkpoint
from elman.settings import DataSettings, TrainingSettings

RESERVE = 350_000_000  # bytes that libraries take up later on: scikit-learn, matplotlib, torch
LEAST = 150_000_000  # bytes in which blocks, batches and reports still fit
# Memory that reading and training in memory take up, as a multiple of the sequences' own.
IN_MEMORY = 4
# Where nothing is known but the size of a file: 1 byte of it rarely becomes more in memory.
_UNFOLDED = 40
_ENTRY = 400  # bytes that the index and what is derived from it take up for each sequence
_SMALL = 1 << 26  # bytes of a file that is not looked at where there is no limit
_NOT_READ = ("format", "ahead", "tokens")  # options that `estimate` does not take
_BLOCK = 4 << 20  # bytes of a block on disk
SAMPLE, SEQUENCES = 1 << 23, 2000  # bytes, and sequences, of a sample of a split at most


@dataclass(frozen=True)
class MemoryPlan:
    """How the data of a command are held.

    Args:
        limit: bytes that the process may take up; 0 for no limit.
        streamed: whether the data are read from disk.
        spare: bytes that are left for the data, on top of what the process takes up anyway.
        note: what was decided and why, in words; empty if there is nothing to say.
    """

    limit: int = 0
    streamed: bool = False
    spare: int = 0
    note: str = ""

    @property
    def report(self) -> int:
        """Bytes that a report may take up."""
        return self.spare // 3


@dataclass(frozen=True)
class StoredSplits(Splits[StoredDataset]):
    """The data of a run on disk; see `Splits`.

    Args:
        plan: how much memory there is.
    """

    plan: MemoryPlan = MemoryPlan()


def plan_memory(
    data: str,
    limit: str | None,
    options: Mapping[str, Any],
    others: tuple[str, ...] = (),
    windows: float = 1.0,
    streamed: bool | None = None,
    layout: Layout | None = None,
) -> MemoryPlan:
    """Decide whether data are read into memory, before they are read.

    Args:
        data: a file, or a built-in task.
        limit: memory that the process may take up, such as 2GB; None for no limit.
        options: arguments of `read`; see `reading_options`.
        others: files that are read in addition.
        windows: how many times a step occurs in the windows that sequences are cut into.
        streamed: whether they were read from disk before; None to decide.
        layout: how the training file was read, for a file that is read alike.
    Raises: SettingsError if the limit is too small; DataError if the data do not fit and cannot be
        read in pieces.
    """
    paths = [Path(data), *map(Path, others)]
    if is_builtin(data) or not all(path.exists() for path in paths):
        return MemoryPlan(_parse(limit) if limit else 0)  # which another error will say
    on_disk = sum(map(_bytes_on_disk, paths))
    if limit is None:
        return MemoryPlan(note=_warn(data, on_disk, options, layout))
    most, taken = _parse(limit), resident_memory() + RESERVE
    if streamed is False:
        return MemoryPlan(most)
    if streamed is None and taken + IN_MEMORY * _UNFOLDED * on_disk <= most:
        note = f"in memory: {write_size(on_disk)} of files are far below --memory-limit {limit}"
        return MemoryPlan(most, note=note)
    found = [_estimate(path, options, most, layout) for path in paths]
    memory = int(windows * sum(each.memory for each in found))
    entries = int(_ENTRY * windows * sum(each.sequences for each in found))
    if streamed is None and taken + IN_MEMORY * memory <= most:
        note = (
            f"in memory: the sequences take up about {write_size(memory)}, which fits into "
            f"--memory-limit {limit} with what reading and training need"
        )
        return MemoryPlan(most, note=note)
    if most < taken + entries + LEAST:
        raise SettingsError(
            f"memory_limit: got {limit}, but Python, torch and the other libraries take up "
            f"{write_size(taken)}, an index of the sequences {write_size(entries)}, and the work "
            f"on a part of them {write_size(LEAST)}. Expected at least "
            f"{(taken + entries + LEAST) // 1_000_000 + 1}MB"
        )
    note = (
        f"from disk: the sequences would take up about {write_size(memory)} in memory, several "
        f"times that while they are read and trained on, and --memory-limit is {limit}"
    )
    return MemoryPlan(most, True, most - taken - entries, note)


def plan_run(settings: RunSettings, resumed: Path | None = None) -> MemoryPlan:
    """Decide whether the data of a run are read into memory; see `plan_memory`.

    Args:
        resumed: the folder of an unfinished run, which goes on as it began.
    """
    data = settings.data
    if not data.data:
        return MemoryPlan()
    files_of = (data.test, data.validation)
    others = tuple(f for f in files_of if isinstance(f, str) and f != "test")
    windows = max(1.0, data.window / (data.stride or data.window)) if data.window else 1.0
    began = None
    if resumed is not None and (has_checkpoint(resumed) or (resumed / STORED).is_dir()):
        began = (resumed / STORED).is_dir()
    options = reading_options(data)
    plan = plan_memory(data.data, data.memory_limit, options, others, windows, began)
    if plan.streamed and data.ahead is not None:
        raise SettingsError(
            f"ahead: needs its sequences in memory, and with --memory-limit {data.memory_limit} "
            "they would be read from disk. Leave --ahead out, or give a limit into which they fit"
        )
    return plan


def _estimate(
    path: Path, options: Mapping[str, Any], limit: int, layout: Layout | None
) -> Estimate:
    try:
        return _look(path, options, layout)
    except DataError as error:
        if "pieces" not in error.problem:
            raise
        size = write_size(_bytes_on_disk(path))
        raise DataError(
            f"{size} of data may not fit into {write_size(limit)} of memory, and {error.problem}",
            remedy=error.remedy,
            source=error.source,
        ) from None


def _parse(limit: str) -> int:
    try:
        return parse_size(limit)
    except SettingsError as error:
        raise SettingsError(f"memory_limit: {error}") from None


def _look(path: Path, options: Mapping[str, Any], layout: Layout | None) -> Estimate:
    own = {name: value for name, value in options.items() if name not in _NOT_READ}
    return estimate(path, own, layout=layout, form=options.get("format"))


def _warn(data: str, on_disk: int, options: Mapping[str, Any], layout: Layout | None) -> str:
    """Return a note if a file will clearly not fit into the free memory; else an empty text."""
    free = free_memory()
    if free is None or on_disk < _SMALL or on_disk * _UNFOLDED < free:
        return ""
    try:
        memory = _look(Path(data), options, layout).memory
        advice = f"--memory-limit {max(1, int(0.7 * free / 1e9))}GB reads them from disk instead"
    except DataError:
        memory = on_disk  # at least
        advice = "they cannot be read in pieces, so the process may be killed"
    if memory < free:
        return ""
    return (
        f"the sequences of {data} will take up about {write_size(memory)} in memory, and "
        f"{write_size(free)} are free: {advice}"
    )


def _bytes_on_disk(path: Path) -> int:
    """Return the size of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def check_disk(folder: Path, size: int) -> None:
    """Refuse to write more than the device has room for. Raises SettingsError."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    with suppress(OSError, AttributeError):  # Windows has no statvfs
        status = os.statvfs(existing)
        if (free := status.f_bavail * status.f_frsize) < size:
            raise SettingsError(
                f"{folder}: the data are written there in blocks, which takes about "
                f"{write_size(size)}, and {write_size(free)} are free. Free some space, or choose "
                "a folder on another disk with --out"
            )


def read_part(
    folder: Path,
    plan: MemoryPlan,
    part: str,
    path: str,
    *,
    layout: Layout | None = None,
    **options: Any,
) -> StoredDataset:
    """Read a file into a store, or open the store if that was done before.

    Args:
        folder: where the stores of a command are.
        part: which of them this is.
        path: the file.
        layout, options: as for `elman.data.read`.
    """
    place, form = folder / part, options.pop("format", None)
    if is_store(place):
        return open_store(place)
    check_disk(folder, estimate(path, options, layout=layout, form=form).memory)
    files.make_folder(place)
    piece = piece_bytes(plan.spare // 2)
    return read_stored(path, place, options, layout=layout, form=form, piece=piece, block=_BLOCK)


def cut_part(
    folder: Path, split: StoredDataset, window: int, stride: int, name: str
) -> tuple[StoredDataset, str]:
    """Cut a split into windows, which become a store of their own; see `cut_windows`."""
    place = folder / f"windows of the {name} split"
    note = describe_windows(split.lengths, window, stride, f" of the {name} split")
    if not is_store(place):
        times = max(1.0, window / stride)
        check_disk(folder, int(split.bytes * times))
        files.make_folder(place)
        writer = StoreWriter(place, _BLOCK)
        for index in _pieces(split, int(_BLOCK / times) + 1):
            writer.add(cut_windows(split.take(index), window, stride)[0])
        writer.finish()
    return open_store(place), note


def _pieces(split: StoredDataset, size: int) -> Iterator[Any]:
    """Yield the places of sequences in file order, about `size` bytes of them at a time."""
    for number in split.block_numbers.tolist():
        index, _ = split.block(number)
        ends = np.cumsum(split.sizes[index]) // size
        yield from np.split(index, np.flatnonzero(np.diff(ends)) + 1)


def read_stored_splits(
    settings: DataSettings,
    seed: int,
    training_settings: TrainingSettings,
    folder: Path,
    plan: MemoryPlan,
) -> StoredSplits:
    """Return the splits that `read_splits` would return, on disk; arguments as there.

    Args:
        folder: where the data are written, or were written by an earlier process.
    """
    files.make_folder(folder)
    read_file, cut = partial(read_part, folder, plan), partial(cut_part, folder)
    found = read_files(settings, seed, training_settings, read_file, cut)
    return StoredSplits(**vars(found), plan=plan)


def sample_of(stored: StoredDataset, seed: int = 0) -> Dataset:
    """Return the first sequence and others drawn at random, in order: what diagnostics read."""
    order = np.random.default_rng(seed).permutation(len(stored))
    order = np.concatenate([[0], order[order != 0][: SEQUENCES - 1]])
    fitting = int((np.cumsum(stored.sizes[order]) <= SAMPLE).sum())
    return stored.take(np.sort(order[: max(1, fitting)]))


def describe_stored(stored: StoredDataset, unit: Unit | None) -> str:
    """Return the description of a data set on disk, with statistics of a sample of it."""
    sample = sample_of(stored)
    return describe(sample, unit, None if len(sample) == len(stored) else stored.lengths)
