"""Runs that are not complete: what unfinished.json holds, and how such a run goes on.

unfinished.json is the first file of a run folder and is removed after metrics.json, the last one.
It holds all that the run was started with, so that `elman train --resume` can start it again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elman import __version__, files
from elman.errors import ElmanError, ModelFileError, SettingsError
from elman.runs.config import RunSettings, merge, read_toml, to_toml
from elman.runs.data_splits import is_builtin
from elman.settings import SECTIONS
from elman.train.checkpoint import check_interval
from elman.untrusted import parse_json, read_file

UNFINISHED, CONFIG = "unfinished.json", "config.toml"
EPOCHS, METRICS = "metrics.jsonl", "metrics.json"
FORMAT = 1
_LARGEST = 2**24  # bytes of unfinished.json; a thousand classes with weights of their own fit


@dataclass(frozen=True)
class Record:
    """What a run was started with: the content of unfinished.json.

    Args:
        settings: the settings as given, before any is chosen from the data.
        command: the command line, for the report.
        created: ISO date and time of the start.
        directory: the current folder then, from which the paths of the settings are read.
        log_every: epochs between two lines of progress; 0 for none.
        checkpoint_every: seconds between two checkpoints.
        data_sha256: SHA-256 of each data file or folder.
        elman, torch: their versions.
        replaces: name of the folder beside the run that holds the run it replaces; may be empty.
    """

    settings: RunSettings
    command: str
    created: str
    directory: str
    log_every: int
    checkpoint_every: float
    data_sha256: dict[str, str]
    elman: str
    torch: str
    replaces: str = ""

    @classmethod
    def now(
        cls,
        settings: RunSettings,
        *,
        command: str,
        created: str,
        log_every: int,
        checkpoint_every: float,
    ) -> Record:
        """Return the record of a run that starts now. Raises SettingsError."""
        import torch

        check_interval(checkpoint_every)

        return cls(
            settings=settings,
            command=command,
            created=created,
            directory=str(Path.cwd()),
            log_every=log_every,
            checkpoint_every=checkpoint_every,
            data_sha256=fingerprints(settings),
            elman=__version__,
            torch=torch.__version__,
        )

    def to_json(self) -> str:
        """Return the text of unfinished.json."""
        values = dataclasses.asdict(self)
        values["settings"] = {
            name: {key: value for key, value in section.items() if value is not None}
            for name, section in values["settings"].items()
        }
        return json.dumps({"format": FORMAT, **values}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read the unfinished.json of a run folder.

        Raises: ModelFileError if it is damaged or of another format.
        """
        path = folder / UNFINISHED
        try:
            values = parse_json(read_file(path, _LARGEST), str(path))
            if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
                raise ValueError(f"expected format {FORMAT}")
            sections = values.pop("settings")
            if not isinstance(sections, dict) or set(sections) - set(SECTIONS):
                raise ValueError(f"settings: expected the sections {', '.join(SECTIONS)}")
            _check_values(values)
        except (ModelFileError, ValueError, KeyError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            again = shlex.join(["elman", "train", "--config", str(folder / CONFIG), "--out"])
            raise ModelFileError(
                f"{path}: is damaged, so the run cannot be resumed: {what}. To train again from "
                f"the start: {again} {shlex.quote(str(folder))} --overwrite"
            ) from error
        try:
            return cls(merge(sections), **values)
        except (SettingsError, TypeError, AttributeError) as error:
            raise ModelFileError(f"{path}: {error}") from error

    def check(self, folder: Path) -> None:
        """Refuse to resume with other data or other versions.

        Raises: SettingsError listing all that has changed and what to do about it.
        """
        import torch

        moved = self.directory != str(Path.cwd())
        there = f" The run was started in {self.directory}: cd {shlex.quote(self.directory)}"
        changes = []
        now = fingerprints(self.settings)
        for name, before in self.data_sha256.items():
            if not Path(name).exists():
                changes.append(f"{name}: there is no such file.{there if moved else ''}")
            elif now.get(name) != before:
                changes.append(
                    f"{name}: its content has changed since the run was started (SHA-256 "
                    f"{before[:12]}... then, {now.get(name, '')[:12]}... now)."
                    f"{there if moved else ' Restore the file'}"
                )
        for name, before, after in (
            ("elman", self.elman, __version__),
            ("torch", self.torch, torch.__version__),
        ):
            if before != after:
                changes.append(
                    f"{name} {before} trained it, and this is {after}. Install that version: "
                    f"pip install {name}=={before.split('+')[0]}"
                )
        if changes:
            raise SettingsError(_refusal(folder, changes))

    def check_config(self, folder: Path, settings: RunSettings) -> None:
        """Refuse to resume if config.toml, from which nothing is read, says something else.

        Args:
            settings: the settings of the run with all defaults filled in.
        Raises: SettingsError listing the lines that differ.
        """
        path = folder / CONFIG
        expected = to_toml(settings).splitlines()
        found = path.read_text(encoding="utf-8").splitlines() if path.is_file() else expected
        if found in (expected, to_toml(self.settings).splitlines()):
            return  # as given, if the process was killed while data were read to disk
        lines = [line for line in expected if line not in found]
        others = [line for line in found if line not in expected]
        changes = [f"the run has {line!r}" for line in lines[:5]]
        changes += [f"{path} says {line!r}" for line in others[:5]]
        raise SettingsError(
            _refusal(folder, changes or [f"{path} has its lines in another order"])
            + "\nA resumed run keeps its settings; change config.toml back"
        )


def _refusal(folder: Path, changes: list[str]) -> str:
    again = shlex.join(["elman", "train", "--config", str(folder / CONFIG)])
    return "\n".join(
        [
            f"{folder}: the run cannot be resumed, because it would end with another result:",
            *(f"  {change}" for change in changes),
            f"To train again from the start instead: {again}",
        ]
    )


def _check_values(values: dict[str, Any]) -> None:
    """Check the values of a record apart from the settings; raise ValueError or KeyError."""
    types: dict[str, Any] = {"str": str, "int": int, "float": (int, float)}
    names = [field for field in dataclasses.fields(Record) if field.name != "settings"]
    for field in names:
        value = values[field.name]
        if not isinstance(value, types.get(str(field.type), dict)) or isinstance(value, bool):
            raise ValueError(f"{field.name}: got {value!r:.40}")
    if unknown := set(values) - {field.name for field in names}:
        raise ValueError(f"{min(unknown)}: no such entry")
    if not all(isinstance(x, str) for pair in values["data_sha256"].items() for x in pair):
        raise ValueError("data_sha256: expected names and sums")
    if values["log_every"] < 0 or values["checkpoint_every"] < 0:
        raise ValueError("log_every, checkpoint_every: expected no negative number")
    if Path(values["replaces"]).name != values["replaces"]:
        raise ValueError(f"replaces: got {values['replaces']!r}, expected a name without a folder")


def fingerprints(settings: RunSettings) -> dict[str, str]:
    """Return the SHA-256 of each input file, or of the names and contents in each folder."""
    names = {settings.data.data, settings.data.test, settings.data.validation}
    paths = sorted(
        f for f in names if f and isinstance(f, str) and Path(f).exists() and not is_builtin(f)
    )
    return {name: _digest(Path(name)) for name in paths}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        if file.is_file():
            with file.open("rb") as content:
                while block := content.read(2**20):
                    digest.update(block)
    return digest.hexdigest()


# -- what is said of an unfinished run ----------------------------------------------------------


def is_unfinished(folder: Path) -> bool:
    """Whether a folder holds a run that was started and is not complete."""
    return (folder / UNFINISHED).is_file() and not (folder / METRICS).is_file()


def is_training(folder: Path) -> bool:
    """Whether a process is writing an unfinished run right now."""
    if not is_unfinished(folder):
        return False
    try:
        with files.lock(folder):
            return False
    except SettingsError:
        return True


def describe(folder: Path) -> str:
    """Return where a run stopped, and the command that continues it; quick.

    Returns: such as `in epoch 3 of 30. To continue: elman train --resume runs/first`.
    """
    if not is_unfinished(folder):
        return "before anything was written. To start again, run the same command"
    command = shlex.join(["elman", "train", "--resume", str(folder)])
    return f"{stopped_in(folder)}. To continue: {command}{_about_replaced(folder)}"


def _about_replaced(folder: Path) -> str:
    """Return where the run is that an unfinished run replaces; empty if it replaces none."""
    with suppress(ModelFileError):
        if name := Record.read(folder).replaces:
            return f"\nThe run that it is to replace stays in {folder.with_name(name)} until then"
    return ""


def stopped_in(folder: Path) -> str:
    """Return where an unfinished run stopped, in words: `in epoch 3 of 30`."""
    done, epochs = 0, 0
    with suppress(OSError):
        done = len(files.read_lines(folder / EPOCHS))
    with suppress(ElmanError, KeyError, TypeError):
        epochs = int(read_toml(folder / CONFIG).values["training"]["epochs"])
    if (folder / "model").is_dir() or (epochs and done >= epochs):
        return f"after epoch {done}, in the evaluation"
    return f"in epoch {done + 1} of {epochs}" if epochs else f"in epoch {done + 1}"


def describe_divergence(folder: Path) -> str:
    """Return what is kept of a run whose training has diverged, and what to do."""
    done, lower = 0, "NUMBER"
    with suppress(OSError):
        done = len(files.read_lines(folder / EPOCHS))
    with suppress(ElmanError, KeyError, TypeError):
        lower = f"{read_toml(folder / CONFIG).values['training']['learning_rate'] / 10:.2g}"
    start = f"{folder} is kept, unfinished. It holds the settings (config.toml)"
    again = shlex.join(
        [
            *("elman", "train", "--config", str(folder / CONFIG), "--learning-rate", lower),
            *("--out", str(folder), "--overwrite"),
        ]
    )
    finish = shlex.join(["elman", "train", "--resume", str(folder), "--finish"])
    kept = ", but no epoch has ended, so there are no weights to keep."
    if done:
        epochs = "the epoch" if done == 1 else f"the {done} epochs"
        kept = (
            f", {epochs} before this (metrics.jsonl) and the best weights so far. To evaluate and "
            f"save these weights: {finish}"
        )
    return f"{start}{kept}\nTo train again: {again}{_about_replaced(folder)}"
