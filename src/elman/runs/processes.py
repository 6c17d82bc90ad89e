"""A run by several processes that torchrun has started: what rank 0 tells the others.

Rank 0 runs the experiment; the others read the same data, train with it, and write nothing.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from elman.runs.config import RunSettings, merge, to_toml
from elman.runs.streamed import MemoryPlan
from elman.runs.unfinished import is_unfinished
from elman.train.distributed import Ranks, current

_FOLDER = "run folder"


def _first() -> Ranks | None:
    """Return the processes if this is rank 0 of several."""
    ranks = current()
    return ranks if ranks is not None and ranks.is_first else None


def announce(settings: RunSettings, plan: MemoryPlan, near: Path) -> None:
    """Tell the other processes what is trained, and how the data are held.

    Args:
        near: the folder in which each of them may keep data on disk.
    """
    if (ranks := _first()) is not None:
        header = f"{int(plan.streamed)} {plan.limit} {plan.spare} {near.absolute()}\n"
        ranks.send((header + to_toml(settings)).encode())


def announced() -> tuple[RunSettings, MemoryPlan, Path]:
    """Return what rank 0 has announced; see `announce`."""
    ranks = current()
    header, _, text = (b"" if ranks is None else ranks.send()).decode().partition("\n")
    streamed, limit, spare, near = header.split(" ", 3)
    # Another machine may lack the folder.
    folder = Path(near) if Path(near).is_dir() else Path()
    plan = MemoryPlan(int(limit), streamed == "1", int(spare))
    return merge(tomllib.loads(text)), plan, folder


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
