"""What a reader is asked for, and the words all readers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elman.data.dataset import Layout, Task
from elman.errors import DataError, nearest


@dataclass(frozen=True)
class Options:
    """What the caller named, and the layout to follow where the caller named nothing.

    Args:
        target, text, values, id, time: names of columns or keys, as the flags of the same name.
        categories: columns or keys of categories.
        time_difference: whether the time since the last step is a channel; None looks.
        group: the column or key of groups, kept beside the sequences.
        task: what is to be learned, as `Layout`; None to look at the target.
        labelled: True needs a target, None takes one where there is one, False ignores it.
        layout: an earlier layout of the same format; with one, nothing is guessed.
    """

    target: str | None = None
    text: str | None = None
    values: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    categories: tuple[str, ...] = ()
    time_difference: bool | None = None
    group: str | None = None
    task: Task | None = None
    labelled: bool | None = None
    layout: Layout | None = None


def listing(names: Sequence[object], limit: int = 8) -> str:
    """Return the first names in quotes, and how many there are in all where some are left out."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"


def several(n: int, noun: str) -> str:
    """Return `1 cell` or `2 cells`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def shorten(text: str, limit: int = 40) -> str:
    """Return `text` in quotes, cut to about `limit` characters."""
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def unknown(name: str, names: Sequence[str], flag: str, what: str, source: str) -> DataError:
    """Return the error for a column or key that the file does not have."""
    return DataError(
        f"there is no {what} {name!r}",
        remedy=f"{nearest(name, names)} The {what}s are {listing(names)}; {flag} chooses.".strip(),
        source=source,
        rule="name",
    )
