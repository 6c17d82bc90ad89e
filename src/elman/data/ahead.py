"""The sequence itself, N steps ahead, as the target at every step.

    y_t = x_{t+N}        for the last N steps of a sequence there is none

Numbers give a regression at every step, a column of categories, tokens or text a class at every
step. A network for such a target must read in one direction: in the other it would read the answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import TIME_DELTA, Dataset, Layout
from elman.data.faults import list_names
from elman.data.ragged import Ragged, flatten, is_labelled, to_objects
from elman.data.text import Unit, choose_unit, split_texts
from elman.errors import DataError, SettingsError
from elman.tasks import TASKS, TaskName


def check_ahead(steps: Any) -> int:
    """Return the number of steps; raise SettingsError unless it is a whole number from 1."""
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise SettingsError(f"ahead: got {steps!r}, expected a whole number of steps from 1")
    return int(steps)


def next_steps(X: Any, steps: int = 1) -> list[NDArray[Any]]:
    """Return the target of next-step prediction: the sequences themselves, `steps` steps later.

    Train on it with a network that reads in one direction (`bidirectional=False`); one that reads
    in both sees the answer. For a data set from `elman.data.read`, give `ahead` there.

    Args:
        X: n sequences: a list of arrays (T_i, C) or (T_i,), an array (n, T, C) or (n, T), or a list
            of token lists. Split text into tokens first.
        steps: distance of the step to predict, from 1.
    Returns: n arrays as long as the sequences: numbers as float64 with NaN at the last `steps`
        steps, or tokens as objects with None there.
    Raises: SettingsError for another number of steps; DataError for text, and if no sequence is
        longer than `steps`.
    Examples:
        >>> import numpy as np
        >>> from elman.data import next_steps
        >>> next_steps([np.array([1.0, 2.0, 3.0])])[0].tolist()
        [2.0, 3.0, nan]
    """
    check_ahead(steps)
    if isinstance(X, str) or any(isinstance(sequence, str) for sequence in X):
        raise DataError(
            "X holds text, whose steps are not known before it is split",
            remedy="Split it into lists of tokens, or read the file with elman.data.read(path, "
            "ahead=1).",
        )
    sequences = [
        to_objects(own) if len(own) and isinstance(own[0], str) else np.asarray(own, np.float64)
        for own in X
    ]
    if not sequences:
        return []
    target = shift(Ragged.from_list(sequences), steps)
    _refuse_short(target, steps, "X")
    return list(target)


def shift(values: Ragged, steps: int) -> Ragged:
    """Return each sequence `steps` steps later; NaN, or None for objects, at its last steps."""
    numbers = values.values.dtype.kind == "f"
    later = np.full(values.values.shape, np.nan if numbers else None, values.values.dtype)
    later[:-steps] = values.values[steps:]
    # In the flat array the last steps of a sequence are followed by the next sequence.
    owners, beyond = values.owners, np.ones(len(later), dtype=bool)
    beyond[:-steps] = owners[steps:] != owners[:-steps]
    later[beyond] = np.nan if numbers else None
    return Ragged(later, values.offsets)


@dataclass(frozen=True)
class Future:
    """What `read` is asked to predict of the sequences themselves.

    Args:
        steps, target, unit, labelled: as for `look_ahead`; 0 steps for another target.
        task: the task of the caller; None for what follows from the channels.
    """

    steps: int
    target: str | None
    unit: Unit | Literal["auto"]
    task: str | None
    labelled: bool | None

    @classmethod
    def of(
        cls,
        steps: int | None,
        target: str | None,
        unit: Unit | Literal["auto"],
        task: str | None,
        labelled: bool | None,
        layout: Layout | None,
    ) -> Future:
        """Return what the caller or an earlier layout asks for."""
        if steps is not None:
            return cls(check_ahead(steps), target, unit, task, labelled is not False)
        if layout is None or not layout.ahead:
            return cls(0, target, unit, task, labelled)
        named = target or ",".join(layout.future) or None
        return cls(layout.ahead, named, layout.unit or unit, task, labelled)

    @property
    def read_labels(self) -> bool | None:
        """Whether labels of a file are read, as `labelled` of `ReadOptions`."""
        return False if self.steps else self.labelled

    def look_ahead(self, dataset: Dataset, whole: bool = True) -> Dataset:
        """Return `look_ahead` of a dataset without a target, and refuse another task.

        Args:
            whole: whether these are all sequences; others may have a target if none of these has.
        """
        if not self.steps:
            return dataset
        found = look_ahead(
            dataset, self.steps, self.target, self.unit, labelled=self.labelled, whole=whole
        )
        if self.task not in (None, found.layout.task):
            raise SettingsError(
                f"task: got {self.task!r}, but with ahead the sequences themselves are predicted, "
                f"which here is {found.layout.task}. Leave --task out; a column of whole numbers "
                "is predicted as classes if --categories names it"
            )
        return found


def look_ahead(
    dataset: Dataset,
    steps: int,
    target: str | None = None,
    unit: Unit | Literal["auto"] = "auto",
    *,
    labelled: bool | None = True,
    whole: bool = True,
) -> Dataset:
    """Return the dataset with its own steps, `steps` steps later, as the target.

    Args:
        dataset: without a target.
        target: the channels to predict, separated by commas; None for all channels of numbers, or
            the tokens.
        unit: what text is split into; `auto` chooses it as a training does.
        labelled: True requires a target, None builds one if a sequence is long enough, False builds
            none. The layout says in any case what is predicted.
        whole: whether these are all sequences; else those of a file that is read in pieces, where
            every piece has a target.
    Raises: DataError if a name is not that of a channel, if numbers and categories are to be
        predicted together, or if no sequence is longer than `steps`.
    """
    check_ahead(steps)
    layout, inputs = dataset.layout, dataset.inputs
    if layout.kind in ("numbers", "mixed"):
        assert isinstance(inputs, Ragged)
        names = _find_channels(dataset, target)
        values = _channels(inputs, dataset, names)
    else:
        if target not in (None, layout.text):
            raise DataError(
                f"ahead: got the target {target!r}, but the sequences are {layout.kind}, of which "
                "the next ones are predicted",
                remedy="Leave --target out.",
                source=dataset.source,
            )
        if isinstance(inputs, list):
            chosen = choose_unit(inputs) if unit == "auto" else unit
            layout = dataclasses.replace(layout, unit=chosen)
            inputs = Ragged.from_list([to_objects(own) for own in split_texts(inputs, chosen)])
        values, names = inputs, (layout.text,) if layout.text else ()
    later = shift(values, steps)
    numbers = later.values.dtype.kind == "f"
    if not whole:
        labelled = labelled is not False
    elif labelled:
        _refuse_short(later, steps, dataset.source)
    elif labelled is None:
        labelled = bool(is_labelled(later.values).any())
    classes: tuple[Any, ...] = ()
    if not numbers:
        classes = tuple(sorted(set(later.values[is_labelled(later.values)].tolist())))
    task: TaskName = "regression" if numbers else "tagging"
    layout = dataclasses.replace(
        layout, ahead=steps, future=names, task=task, per_step=True, class_names=classes
    )
    return dataclasses.replace(dataset, target=later if labelled else None, layout=layout)


def _find_channels(dataset: Dataset, target: str | None) -> tuple[str, ...]:
    """Return the names of the channels to predict; empty for the only one, without a name."""
    layout = dataset.layout
    known = layout.channel_names
    if target is None and layout.categories == known:  # without numbers
        target = ",".join(known)
    if target is None:
        return tuple(n for n in known if n not in layout.categories and n != TIME_DELTA)
    if target in known:
        return (target,)
    names = tuple(name.strip() for name in target.split(","))
    # The channels of key x of a JSON file are x[1], x[2], ...
    found = [n for name in names for n in known if n == name or n.startswith(f"{name}[")]
    missing = [
        name for name in names if not any(n == name or n.startswith(f"{name}[") for n in known)
    ]
    if missing:
        raise DataError(
            f"ahead: {list_names(missing)} {'is' if len(missing) == 1 else 'are'} not among the "
            f"channels that are read: {list_names(known, 12)}",
            remedy="The sequence itself is predicted, so that its target is an input too. Name it "
            "with --values or --categories as well, or name another with --target.",
            source=dataset.source,
        )
    return tuple(found)


def _channels(inputs: Ragged, dataset: Dataset, names: tuple[str, ...]) -> Ragged:
    """Return channels by name: numbers (N,) or (N, K), or categories (N,)."""
    known, categories = dataset.layout.channel_names, set(dataset.layout.categories)
    columns = [known.index(name) for name in names] if names else list(range(len(known) or 1))
    chosen = categories.intersection(names)
    if chosen and (len(names) > 1 or len(chosen) > 1):
        raise DataError(
            f"ahead: the target {list_names(names)} holds "
            f"{'several categories' if chosen == set(names) else 'numbers and categories'}, which "
            "no network predicts at once",
            remedy="Name one column of categories, or columns of numbers, with --target.",
            source=dataset.source,
        )
    if chosen:
        cells = inputs.values[:, columns[0]].copy()
        cells[cells == ""] = None  # a gap is no class
        return inputs.with_values(cells)
    numbers = inputs.values[:, columns[0] if len(columns) == 1 else columns]
    return inputs.with_values(numbers.astype(np.float64))


def _refuse_short(target: Ragged, steps: int, source: str) -> None:
    """Raise DataError if no step has a target."""
    if is_labelled(target.values).any():
        return
    longest = int(target.lengths.max(initial=0))
    if longest > steps:
        raise DataError(
            "ahead: no step has a target, because each lacks the value of some channel "
            f"{steps:,} steps later",
            remedy="Name channels with fewer gaps with --target.",
            source=source,
        )
    raise DataError(
        f"ahead: got {steps:,} steps, but the longest sequence has {longest:,}, so that no step "
        "has a target",
        remedy="Use fewer steps, or longer sequences.",
        source=source,
    )


def forget_unknown(
    dataset: Dataset, classes: Iterable[Any], split: str = ""
) -> tuple[Dataset, str]:
    """Return the dataset without step labels that are not among the classes, and a note or ''.

    The next token of held-out text may be one that the training split lacks. No network can
    predict it, and an error at the first one would make every held-out text unusable.
    """
    target = dataset.target
    if not (dataset.layout.ahead and TASKS[dataset.task].has_classes and target is not None):
        return dataset, ""
    labels = flatten(target)
    known = is_labelled(labels)
    lost = known & ~np.isin(labels.astype(str), np.array(sorted(map(str, classes))))
    if not lost.any():
        return dataset, ""
    kept = labels.copy()
    kept[lost] = None
    assert isinstance(target, Ragged)
    whose = f" of the {split} split" if split else ""
    note = (
        f"{int(lost.sum()):,} of {int(known.sum()):,} targets{whose} are classes that the training "
        "split lacks; they are left out of the metrics"
    )
    return dataclasses.replace(dataset, target=target.with_values(kept)), note
