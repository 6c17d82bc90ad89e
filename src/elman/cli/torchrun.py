"""The command under torchrun, which starts it once for each process: only rank 0 speaks."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from elman.errors import SettingsError

_SHARED = ("train", "help", "version")  # the others would only do the same several times
_REMEDIES = {"tune": "which starts its own processes: --workers 2"}


class _Muted(io.TextIOBase):
    """Drops what is written."""

    def write(self, text: str) -> int:
        return len(text)


_loud: TextIO | None = None  # standard error of a process that is muted


def count_processes() -> int:
    """Return the number of processes that torchrun has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def is_follower() -> bool:
    """Whether torchrun has started this process as another rank than 0."""
    return count_processes() > 1 and os.environ.get("RANK", "0") != "0"


@contextmanager
def muted_follower() -> Iterator[None]:
    """Inside, nothing that another rank than 0 prints is seen: rank 0 prints the same."""
    global _loud
    if not is_follower():
        yield
        return
    before = sys.stdout, sys.stderr
    _loud = sys.stderr
    sys.stdout = sys.stderr = _Muted()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        _loud = None


def unmute() -> None:
    """Let this process say what has gone wrong in it alone."""
    if _loud is not None:
        sys.stderr = _loud


def refuse_command(name: str) -> None:
    """Raise SettingsError for a command that several processes cannot share."""
    if count_processes() > 1 and name not in _SHARED:
        remedy = _REMEDIES.get(name, "which runs in one process")
        raise SettingsError(
            f"elman {name}: torchrun has started {count_processes()} processes, but only elman "
            f"train shares its work among them. Run elman {name} without torchrun, {remedy}"
        )
