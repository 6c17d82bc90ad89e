"""The columns of a model's training data, and how later columns are matched with them.

Channels are matched by their names: a later frame, file or data set may have them in another order,
and may have the columns that training knew and did not read, such as the id, the time and the
label. A missing or unknown column is refused with the nearest name. Arrays have no names, so their
channels are matched by position. The columns of a table are steps; scikit-learn requires their
names and order to stay the same after `fit`.
"""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from elman.data.dataset import Layout
from elman.data.faults import list_names
from elman.data.ragged import category_names, is_number_or_gap
from elman.data.units import unit_of
from elman.errors import DataError, ModelFileError, SettingsError, ShapeError
from elman.models.model import FIRST_TOKEN

ColumnRole = Literal["steps", "channels"]


@dataclass(frozen=True)
class Columns:
    """The columns of the X that an estimator was trained on.

    Args:
        what: meaning of the columns: the steps of a table, the channels of sequences (T, C), or
            None if X had no columns that later inputs must match.
        count: `n_features_in_`.
        names: `feature_names_in_`; None if there were none, or not all were strings.
        units: unit of each column that `names` lists, None where its name has no unit.
        category_values: for each channel, its categories in the training split, in the order of
            their codes; empty for a channel of numbers, and for the steps of a table.
    """

    what: ColumnRole | None = None
    count: int | None = None
    names: tuple[str, ...] | None = None
    units: tuple[str | None, ...] = ()
    category_values: tuple[tuple[str, ...], ...] = ()

    def check(self, place: str) -> None:
        """Raise ModelFileError if the parts, from a model file, do not belong to each other."""
        names = () if self.names is None else self.names
        parts = (names, self.units, *((self.category_values,) if self.what == "channels" else ()))
        if self.what is None and (self.count is not None or names or self.units):
            raise ModelFileError(f"{place}: columns: names, units or a count of no columns")
        if any(part and len(part) != self.count for part in parts):
            raise ModelFileError(
                f"{place}: columns: count is {self.count}, but there are {list(map(len, parts))} "
                "entries"
            )
        if len(set(names)) < len(names):
            raise ModelFileError(f"{place}: columns: a name occurs twice")

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels; empty if they are not known."""
        return (self.names or ()) if self.what == "channels" else ()

    @property
    def known_categories(self) -> dict[str, tuple[str, ...]]:
        """The categories of each categorical channel that has a name, by that name."""
        pairs = zip(self.channel_names, self.category_values, strict=False)
        return {name: values for name, values in pairs if values}

    def is_number(self, name: str) -> bool:
        """Whether a channel is known to hold numbers; False before the training is prepared."""
        known = self.channel_names if self.category_values else ()
        return name in known and name not in self.known_categories

    @classmethod
    def of_channels(cls, names: Sequence[str], count: int, units: Sequence[str] = ()) -> Columns:
        """Return columns with these names, or an empty `Columns` if there are not `count` names.

        Names that only number the channels, which readers give to the channels of files without
        names, are no names: a frame's columns could not be matched with them.

        Args:
            units: units that the cells show; where one is empty or missing, the name may show it.
        """
        numbered = [f"channel {c + 1}" for c in range(count)]
        if len(names) != count or list(names) == numbered:
            return cls()
        shown = (*units, *("" for _ in names[len(units) :]))
        found = tuple(own or unit_of(name) for name, own in zip(names, shown, strict=True))
        return cls("channels", count, tuple(names), found)

    def with_categories(self, categories: Mapping[int, Iterable[str]], channels: int) -> Columns:
        """Return the columns with the categories of each categorical channel, by its index.

        Raises: SettingsError if there are not as many names as channels.
        """
        if self.what == "channels" and self.count != channels:
            raise SettingsError(
                f"column_names: got {self.count} names, expected {channels}, one for each channel "
                "of X"
            )
        values = tuple(tuple(categories.get(c, ())) for c in range(channels))
        return dataclasses.replace(self, category_values=values)


@dataclass(frozen=True)
class TrainedColumns:
    """What a fitted estimator knows of the columns of its training data.

    Args:
        columns: the columns that it reads.
        aside: other columns of the training file, such as the id, the time and the label.
        estimator: name of the estimator's class, for warnings.
    """

    columns: Columns
    aside: frozenset[str] = frozenset()
    estimator: str = ""

    @classmethod
    def of(cls, columns: Columns, layout: Layout | None, estimator: str) -> TrainedColumns:
        """Return the columns of an estimator whose files were read with `layout`, if any."""
        if layout is None:
            return cls(columns, frozenset(), estimator)
        roles = [layout.id, layout.time, layout.target, *(layout.target or "").split(",")]
        aside = {name.strip() for name in (*roles, *layout.aside, *layout.static) if name}
        return cls(columns, frozenset(aside - set(columns.names or ())), estimator)

    def select(self, present: Sequence[Any], where: str) -> list[Any]:
        """Return the columns to read, in the order of the training's channels.

        Args:
            present: names of the columns, in their order; numbers are no names.
            where: where the columns are, for messages, such as `sequence 3`.
        Raises: ShapeError for a missing or an unknown column, with the nearest name.
        """
        names = self.columns.channel_names
        if not names or not has_names(present):
            return list(present)
        extra = [name for name in present if name not in names and name not in self.aside]
        for name in names:
            if name not in present:
                raise ShapeError(
                    f"{where}: there is no column {name!r}, which the model reads; the columns are "
                    f"{list_names(present, 12)}.{_nearest(name, extra or present)} Channels are "
                    "matched by their names: rename the column, or add it"
                )
        if extra:
            raise ShapeError(
                f"{where}: column {extra[0]!r} was not in the training data; the model reads "
                f"{list_names(names, 12)}.{_nearest(str(extra[0]), names)} Leave the column out"
            )
        return list(names)

    def warn(self, present: Sequence[Any]) -> None:
        """Warn, as scikit-learn does, if only one of training and `present` has names."""
        known, given = bool(self.columns.channel_names), has_names(present)
        if known == given:
            return
        problem = (
            f"X has feature names, but {self.estimator} was fitted without feature names"
            if given
            else f"X does not have valid feature names, but {self.estimator} was fitted with them"
        )
        warnings.warn(f"{problem}: channels are matched by position", UserWarning, stacklevel=2)


def has_names(columns: Sequence[Any]) -> bool:
    """Whether columns have names: the numbers that pandas gives by default are none."""
    return any(isinstance(name, str) for name in columns)


def name_as_known(column: NDArray[Any], known: Mapping[str, int]) -> list[str]:
    """Return the categories in a column, (N,), as text, written like the `known` ones.

    A category is the same if it is the whole number 1.0 where a file had 1, or has spaces around
    it; a missing one is empty text.
    """
    names = category_names(column)
    for row, name in enumerate(names):
        if name not in known:
            whole = name.removesuffix(".0") if is_number_or_gap(column[row]) else ""
            names[row] = whole if whole in known else name.strip()
    return names


def refuse_text(values: Sequence[Any], name: str, where: str) -> None:
    """Raise DataError if a column that held numbers in training holds text."""
    for step, value in enumerate(values):
        if isinstance(value, str):
            raise DataError(
                f"{where}: step {step + 1}, column {name!r} is {value!r:.40}, expected a number as "
                "in training",
                remedy="Convert the column to numbers, with NaN where a value is missing.",
            )


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Number tokens or categories; the numbers below are padding and the unknown token."""
    return {name: i for i, name in enumerate(names, FIRST_TOKEN)}


def by_frequency(counts: Mapping[str, int]) -> dict[str, int]:
    """Number categories by decreasing frequency; ties are in order of their names."""
    return numbered(sorted(counts, key=lambda name: (-counts[name], name)))


def name_columns(count: int, names: Sequence[str]) -> list[str]:
    """Return quoted column names, or column numbers if there are not `count` names."""
    return list(map(repr, names)) if len(names) == count else list(map(str, range(count)))


def _nearest(name: str, names: Iterable[Any]) -> str:
    """Return ` Did you mean 'x'?` for the nearest name, whatever its case, or an empty string."""
    by_case = {str(each).casefold(): each for each in names}
    # A looser limit than for misspelt settings: `vib` stands for `vibration`.
    found = difflib.get_close_matches(name.casefold(), list(by_case), n=1, cutoff=0.4)
    return f" Did you mean {by_case[found[0]]!r}?" if found else ""
