"""The data of a run, read and split again as its training did."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from elman.errors import SettingsError
from elman.runs.config import RunSettings, merge, read_toml
from elman.runs.data_splits import DataSplits, read_splits
from elman.runs.unfinished import CONFIG, METRICS, fingerprints
from elman.settings import SECTIONS
from elman.untrusted import parse_json, read_file

LARGEST_METRICS = 2**26  # bytes of metrics.json; those of 10,000 classes fit


def settings_of(run: Path) -> RunSettings:
    """Return the settings of a run. Raises SettingsError if the folder is not that of a run."""
    if not (run / CONFIG).is_file():
        raise SettingsError(f"{run} is no run folder, which names its data")
    return merge(file=read_toml(run / CONFIG))


def setting_values(settings: RunSettings) -> dict[str, Any]:
    """Return every setting by its name, which no two sections share."""
    sections = [vars(getattr(settings, section)) for section in SECTIONS]
    return {name: value for section in sections for name, value in section.items()}


def read_own_splits(run: Path, settings: RunSettings, moved_to: str | None = None) -> DataSplits:
    """Split the data of a run again, into memory.

    Args:
        run: run folder.
        settings: `settings_of` it.
        moved_to: where the file is now that the settings name; None for where they say.
    Raises: SettingsError if a file has changed since the training; the errors of reading.
    """
    named = settings.data.data
    if moved_to is not None:
        data = dataclasses.replace(settings.data, data=moved_to)
        settings = dataclasses.replace(settings, data=data)
    before, now = _digests(run), fingerprints(settings)
    for name, digest in now.items():
        if before.get(named if name == moved_to else name, digest) != digest:
            raise SettingsError(f"{name} has changed since the training")
    return read_splits(settings.data, settings.training.seed, settings.training)


def is_own_file(run: Path, settings: RunSettings, data: str) -> bool:
    """Whether a file has the content of the one that a run was trained on."""
    moved = dataclasses.replace(settings.data, data=data, test=None, validation=None)
    now = fingerprints(dataclasses.replace(settings, data=moved))
    return data in now and now[data] == _digests(run).get(settings.data.data)


def _digests(run: Path) -> dict[str, str]:
    """Return the SHA-256 of each data file as the run has recorded them; empty if it has not."""
    path = run / METRICS
    if not path.is_file():
        return {}
    metrics = parse_json(read_file(path, LARGEST_METRICS), str(path))
    found = metrics.get("data_sha256") if isinstance(metrics, dict) else None
    return found if isinstance(found, dict) else {}
