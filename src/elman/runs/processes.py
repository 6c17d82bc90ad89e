"""A run by several processes that torchrun has started: what rank 0 tells the others.

Rank 0 runs the experiment; the others read the same data, train with it, and write nothing.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from elman.runs.config import RunSettings, merge, to_toml
from elman.runs.unfinished import is_unfinished
from elman.train.distributed import Ranks, current

_FOLDER = "run folder"


def _first() -> Ranks | None:
    """Return the processes if this is rank 0 of several."""
    ranks = current()
    return ranks if ranks is not None and ranks.is_first else None


def announce(settings: RunSettings) -> None:
    """Tell the other processes what is trained."""
    if (ranks := _first()) is not None:
        ranks.send(to_toml(settings).encode())


def announced() -> RunSettings:
    """Return the settings that rank 0 has announced."""
    ranks = current()
    text = b"" if ranks is None else ranks.send()
    return merge(tomllib.loads(text.decode()))


def note_folder(folder: Path) -> None:
    """Keep the run folder, for the case that torchrun starts all processes anew."""
    if (ranks := _first()) is not None:
        ranks.note(_FOLDER, str(folder))


def left_by_restart(out: Path | None) -> Path | None:
    """Return the unfinished run that the same command began before torchrun started it anew.

    Args:
        out: the run folder that the command names.
    """
    ranks = _first()
    if ranks is None:
        return None
    noted = ranks.noted(_FOLDER)
    folder = Path(noted) if noted is not None else out if ranks.restarts else None
    return folder if folder is not None and is_unfinished(folder) else None
