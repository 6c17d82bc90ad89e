"""What a search was started with, so that it can be resumed, or joined from another machine."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from elman import __version__
from elman.errors import ModelFileError, SettingsError
from elman.runs.config import RunSettings, merge
from elman.runs.tuning.storage import LOST_AFTER
from elman.runs.unfinished import fingerprints
from elman.settings import SECTIONS
from elman.untrusted import parse_json, read_as, read_file

RECORD = "tuning.json"
FORMAT = 1
_LARGEST = 2**24  # bytes of tuning.json


@dataclass(frozen=True)
class Search:
    """What a search was started with: the content of tuning.json.

    Args:
        sections: what does not vary, by section and name, as given.
        space: ranges by section and name, as in a file; empty for those that suit the data.
        trials: how many are to be finished.
        folds: parts of the training part, each held out once.
        workers: processes on this machine.
        timeout: seconds after which no trial is begun; None for no limit.
        storage: address of a database without its password; empty for the journal file.
        name: of the search in the database; empty for one made from the data and the settings.
        lost_after: seconds without a sign of life after which a worker elsewhere is dead.
        command, created, directory: the command line, when and where it was started.
        token: a random word that tells who made the search.
        data_sha256: SHA-256 of each data file or folder.
        elman, torch: their versions.
    """

    sections: dict[str, Any]
    space: dict[str, Any] = field(default_factory=dict)
    trials: int = 50
    folds: int = 3
    workers: int = 1
    timeout: float | None = None
    storage: str = ""
    name: str = ""
    lost_after: float = LOST_AFTER
    command: str = ""
    created: str = ""
    directory: str = ""
    token: str = ""
    data_sha256: dict[str, str] = field(default_factory=dict)
    elman: str = __version__
    torch: str = torch.__version__

    @classmethod
    def of(cls, settings: RunSettings, **values: Any) -> Search:
        """Return a search that starts now; the values are those of the arguments."""
        given = {
            section: {k: v for k, v in dataclasses.asdict(part).items() if v is not None}
            for section in SECTIONS
            for part in [getattr(settings, section)]
        }
        return cls(
            given,
            created=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            directory=str(Path.cwd()),
            token=uuid.uuid4().hex,
            data_sha256=fingerprints(settings),
            **values,
        )

    @classmethod
    def read(cls, folder: Path) -> Search:
        """Read the tuning.json of a folder. Raises ModelFileError if it holds no search."""
        path = folder / RECORD
        if not path.is_file():
            raise ModelFileError(
                f"{folder}: holds no search, because there is no {RECORD}. Expected the folder "
                "that an elman tune has made"
            )
        values = parse_json(read_file(path, _LARGEST), str(path))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ModelFileError(f"{path}: damaged, expected format {FORMAT}")
        return read_as(cls, values, str(path))

    @property
    def settings(self) -> RunSettings:
        """What does not vary, and what is chosen from the data."""
        return merge(self.sections)

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a trial is: equals can work on one search together."""
        parts: dict[str, dict[str, Any]] = {
            name: dict(self.sections[name]) for name in ("data", "model", "training")
        }
        for name in ("data", "test", "validation"):
            if parts["data"].get(name) in self.data_sha256:
                del parts["data"][name]  # the file may have another name on another machine
        for name in ("device", "threads"):
            parts["training"].pop(name, None)
        return {
            **parts,
            "space": self.space,
            "folds": self.folds,
            "contents of the data files": sorted(self.data_sha256.values()),
            "version of elman": self.elman,
        }

    def study_name(self) -> str:
        """Return the name of the search in its store."""
        text = json.dumps(self.identity(), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self.name or f"{Path(self.settings.data.data).stem}-{digest[:8]}"

    def check(self, folder: Path) -> None:
        """Refuse to go on with other data or versions. Raises SettingsError."""
        now = fingerprints(self.settings)
        changes = [
            f"{name}: {'has changed' if name in now else 'is missing'}"
            for name, before in self.data_sha256.items()
            if now.get(name) != before
        ]
        for name, before, after in (
            ("elman", self.elman, __version__),
            ("torch", self.torch, torch.__version__),
        ):
            if before != after:
                changes.append(f"{name} was {before}, and is {after}")
        if changes:
            there = "" if self.directory == str(Path.cwd()) else f" (started in {self.directory})"
            raise SettingsError(
                f"{folder}: the search cannot be resumed{there}, because its trials would not be "
                "comparable:\n" + "\n".join(f"  {change}" for change in changes)
            )
