"""Whether sequences are divided between splits by a guessed group, and what that changes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data import Ragged
from elman.data.dataset import Guess
from elman.data.groups import ENOUGH_GROUPS
from elman.data.splits import hold_out_groups
from elman.data.store import StoredDataset
from elman.errors import DataError
from elman.evaluate.groups import GroupComparison, choose_rows, compare_groups
from elman.runs.held_out import CONTENT, AnyDataset, D, is_recording, targets_of
from elman.settings import DataSettings
from elman.tasks import TASKS


def settle_groups(
    whole: D, settings: DataSettings, seed: int, *, held_out: bool
) -> tuple[D, list[str]]:
    """Keep the groups that the reader guessed, if sequences are divided by them.

    Args:
        held_out: whether any split is held out of this file.
    Returns: the data, with its groups if they divide it; and what held-out groups change, in
        sentences.
    """
    name = whole.layout.group
    single = is_recording(whole)
    if not whole.groups or not name or settings.group == CONTENT:
        return whole, []
    compared = None if single or not held_out else _compare(whole, seed)
    if settings.group:
        return whole, _describe(name, compared, divided=True)
    count = len(set(whole.groups))
    divided = settings.split is None and count >= ENOUGH_GROUPS and held_out and not single
    notes = []
    if divided and not _can_divide(whole, seed):
        divided = False
        notes.append(
            f"no {name!r} can be held out as a whole without a class or channel missing from the"
            f" training split, so sequences are divided at random; --group {name} insists"
        )
    notes += _describe(name, compared, divided=divided)
    if divided:
        return whole, notes
    left = Guess(
        "unused",
        (name,),
        "it names groups of sequences",
        f"left out {name}",
        f"--group {name} keeps its sequences in one split",
    )
    guesses = tuple(left if guess.role == "group" else guess for guess in whole.layout.guesses)
    layout = dataclasses.replace(whole.layout, group=None, guesses=guesses)
    if isinstance(whole, StoredDataset):
        index = dataclasses.replace(whole.index, groups=None)
        return dataclasses.replace(whole, index=index, layout=layout), notes
    return dataclasses.replace(whole, groups=(), layout=layout), notes


def _can_divide(whole: AnyDataset, seed: int) -> bool:
    """Whether some groups can be held out."""
    try:
        hold_out_groups(whole.groups, 0.2, seed, _classes(whole))
    except DataError:
        return False
    return True


def _classes(whole: AnyDataset) -> NDArray[Any] | Ragged | None:
    if not TASKS[whole.task].single_label:
        return None
    target = targets_of(whole)
    return target if isinstance(target, Ragged) or target is None else target.astype(str)


def _compare(whole: AnyDataset, seed: int) -> GroupComparison | None:
    if not TASKS[whole.task].single_label or isinstance(targets_of(whole), Ragged):
        return None
    if isinstance(whole, StoredDataset):
        whole = whole.take(choose_rows(len(whole), seed))
    labels = _classes(whole)
    assert labels is not None and not isinstance(labels, Ragged)
    static = None if whole.static is None else np.asarray(whole.static.numbers)
    return compare_groups(whole.inputs, labels, whole.groups, static, seed)


def _describe(name: str, compared: GroupComparison | None, *, divided: bool) -> list[str]:
    """Say in words that held-out groups are harder, with both accuracies."""
    if compared is None or not compared.differs:
        return []
    numbers = (
        f"{compared.model} on summaries of the sequences has an accuracy of {compared.random:.2f}"
        f" if they are divided at random, and of {compared.grouped:.2f} if each {name!r} is in one"
        " split"
    )
    if divided:
        return [f"{numbers}, as here"]
    return [
        f"warning: {numbers}. Here they are divided at random, so the metrics do not hold for a new"
        f" {name!r}; --group {name} divides by it"
    ]
