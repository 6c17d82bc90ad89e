"""The finished page, small enough: written to a file, or shown in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elman import __version__, files
from elman.errors import SettingsError
from elman.lab.page import build_page
from elman.lab.sizes import fit_size

EXAMPLES = 30
# Steps of an example: the page runs the network once for each of them to find its influences.
LONGEST = 1000
# Bytes of a page at most: for a run on a built-in task, and for any others.
SMALL, LARGE = 1_000_000, 3_000_000
_NOTE = 500  # bytes for the notes on what one run has lost
_HEIGHT = 800  # pixels of the page in a notebook


@dataclass(frozen=True)
class LabPage:
    """The page of the lab; a notebook shows it.

    Args:
        text: the page, one HTML document.
        notes: what was left out, one sentence each.
    """

    text: str
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.text.encode())

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the page.

        Args:
            path: the file.
            overwrite: replace an existing file.
        Raises: SettingsError if there is a file and it is not to be replaced.
        """
        check_page_file(Path(path), overwrite, "Name another, or replace it with overwrite=True")
        files.write_file(path, self.text.encode())

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, which cannot reach the notebook."""
        return (
            f'<iframe srcdoc="{html.escape(self.text)}" sandbox="allow-scripts" title="elman lab" '
            f'style="width: 100%; height: {_HEIGHT}px; border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        """Return its size, and how to see it where there is no notebook."""
        return f"LabPage({self.size / 1e3:.0f} kB; .save('lab.html') writes it)"


def check_page_file(path: Path, overwrite: bool, remedy: str) -> None:
    """Raise SettingsError if a page must not be written to a file."""
    if path.is_dir():
        raise SettingsError(f"{path}: is a folder, expected a file such as {path / 'lab.html'}")
    if path.exists() and not overwrite:
        raise SettingsError(f"{path}: exists already. {remedy}")


def make_page(
    runs: Sequence[dict[str, Any]],
    notes: Sequence[str] = (),
    *,
    tasks: Sequence[dict[str, Any]] = (),
    most: int = LARGE,
) -> LabPage:
    """Return the page of these runs, or without any that of the tasks.

    Args:
        runs: results of `elman.lab.payload.describe_run`.
        notes: what the page says of them, one sentence each.
        tasks: results of `elman.lab.tasks.describe_task`.
        most: bytes of the page at most; what does not fit is left out, and its notes say so.
    Raises: SettingsError if the weights alone take more.
    """
    payload: dict[str, Any] = {
        "version": 1,
        "elman": __version__,
        "mode": "file" if runs else "tasks",
        "notes": list(notes),
        "runs": [],
        "tasks": list(tasks),
    }
    room = most - len(build_page(payload).encode()) - _NOTE * len(runs)
    payload["runs"], lost = fit_size(list(runs), room)
    payload["notes"] = [*notes, *lost]
    return LabPage(build_page(payload), (*notes, *lost))
