"""Static features of a fit or a prediction: taken out of arrays and frames, and encoded.

Numbers are standardised, with the training mean in gaps and, as for channels, a further input for
each feature with gaps in training: 1 where the value was observed. Each category is an input that
is 0 or 1; a missing value is a category of its own, and a category that the training split did not
contain is unknown: all inputs of its feature are 0.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Static
from elman.data.faults import list_names
from elman.data.ragged import Fill, category_names, is_number_or_gap, to_objects
from elman.data.units import unit_of
from elman.errors import DataError, ModelFileError, SettingsError, ShapeError, nearest
from elman.estimators.columns import by_frequency, name_as_known
from elman.estimators.containers import frame_of
from elman.estimators.figures import fit_numbers
from elman.untrusted import read_as

if TYPE_CHECKING:
    from elman.estimators.encoder import Encoder

# A column with more different values names the sequences instead of describing them.
MOST_CATEGORIES = 1000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StaticEncoder:
    """Turns static features into network inputs; fitted on the training split.

    Args:
        names: names of the features, those of numbers first.
        mean, scale: of the numbers, (k,) float64.
        fill: value in the gaps of each number, (k,); NaN without gaps in training.
        categories: the categories of each other feature, the most frequent first.
    """

    names: tuple[str, ...]
    mean: Floats
    scale: Floats
    fill: Floats
    categories: tuple[tuple[str, ...], ...]

    @classmethod
    def fit(cls, static: Static, scale: bool) -> StaticEncoder:
        """Fit an encoder; without `scale` the numbers stay as they are.

        Raises: DataError for a feature without any value, or with too many categories.
        """
        counts = {
            name: Counter(column.tolist())
            for name, column in zip(static.category_names, static.categories.T, strict=True)
        }

        def scaling(labels: list[str]) -> tuple[Floats, Floats, Floats]:
            return fit_numbers(static.numbers, scale, labels)

        return cls.of(static.number_names, scaling, counts, len(static))

    @classmethod
    def of(
        cls,
        numbers: tuple[str, ...],
        scaling: Callable[[list[str]], tuple[Floats, Floats, Floats]],
        counts: Mapping[str, Counter[str]],
        sequences: int,
    ) -> StaticEncoder:
        """Return the encoder for features with these figures; raises as `fit` does.

        Args:
            numbers: names of the features that are numbers.
            scaling: returns their `mean`, `scale` and `fill`; called with their names for messages.
            counts: how often each category of each other feature occurs.
            sequences: number of sequences.
        """
        known = []
        for name, values in counts.items():
            if len(values) > MOST_CATEGORIES:
                raise DataError(
                    f"static feature {name!r} has {len(values):,} different values in "
                    f"{sequences:,} sequences, expected at most {MOST_CATEGORIES:,} categories",
                    remedy="Leave it out of the static features; an id may be a group instead.",
                )
            known.append(tuple(by_frequency(values)))
        mean, spread, fill = np.zeros(0), np.zeros(0), np.zeros(0)
        if numbers:
            try:
                mean, spread, fill = scaling([repr(name) for name in numbers])
            except DataError as error:
                problem = error.problem.replace("channel", "static feature")
                remedy = error.remedy.replace("channel", "feature")
                raise DataError(problem, remedy=remedy) from None
        return cls((*numbers, *counts), mean, spread, fill, tuple(known))

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """Whether each number may be missing, (k,)."""
        return np.asarray(np.isfinite(self.fill))

    @property
    def owners(self) -> NDArray[np.int64]:
        """For each input, the index of its feature, (S,)."""
        numbers = np.arange(len(self.mean))
        sizes = [len(known) for known in self.categories]
        others = np.repeat(len(self.mean) + np.arange(len(sizes)), sizes)
        return np.array([*numbers, *numbers[self.gaps], *others], dtype=np.int64)

    @property
    def size(self) -> int:
        """S, the number of inputs."""
        return len(self.owners)

    @property
    def number_names(self) -> tuple[str, ...]:
        """Names of the features that are numbers."""
        return self.names[: len(self.mean)]

    @property
    def groups(self) -> list[tuple[str, tuple[int, ...], tuple[float, ...]]]:
        """Name of each feature, its inputs, and their values for a feature that says nothing.

        A number is then 0, its mean if it is standardised, and known; a category is unknown.
        """
        found = []
        for k, name in enumerate(self.names):
            columns = tuple(np.flatnonzero(self.owners == k).tolist())
            neutral = (0.0, 1.0) if k < len(self.mean) else (0.0,) * len(columns)
            found.append((name, columns, neutral[: len(columns)]))
        return found

    def encode(self, static: Static) -> NDArray[np.float32]:
        """Return the network inputs, (n, S).

        Raises: DataError for a gap in a feature that had none in training, or a number too large.
        """
        missing = np.isnan(static.numbers)
        if (missing & ~self.gaps).any():
            row, feature = np.argwhere(missing & ~self.gaps)[0].tolist()
            raise DataError(
                f"sequence {row}: static feature {self.names[feature]!r} is missing, and it had no "
                "gaps in training",
                remedy="Fill the gap (encode(X, fill='mean')), or train on sequences with gaps in "
                "that feature.",
            )
        with np.errstate(over="ignore"):
            filled = np.where(missing, self.fill, static.numbers)
            numbers = ((filled - self.mean) / self.scale).astype(np.float32)
        if not np.isfinite(numbers).all():
            row, feature = np.argwhere(~np.isfinite(numbers))[0].tolist()
            raise DataError(
                f"sequence {row}: static feature {self.names[feature]!r} holds "
                f"{static.numbers[row, feature]:.1e}, expected a finite number that float32 can "
                "hold",
                remedy="Correct the value, or write the feature in another unit.",
            )
        parts = [numbers, (~missing[:, self.gaps]).astype(np.float32)]
        for column, known in zip(static.categories.T, self.categories, strict=True):
            parts.append((column[:, None] == to_objects(known)[None]).astype(np.float32))
        return np.hstack(parts).astype(np.float32)

    def fill_gaps(self, static: Static, how: Fill) -> Static:
        """Fill the gaps of numbers that had none in training, with their mean or zero.

        Raises: DataError for `previous`, because a sequence has no earlier value.
        """
        gaps = np.isnan(static.numbers) & ~self.gaps
        if how == "refuse" or not gaps.any():
            return static
        if how == "previous":
            name = self.names[int(gaps.any(0).argmax())]
            raise DataError(
                f"static feature {name!r} is missing, and a sequence has no previous value of it",
                remedy="Fill it with the mean of the training split (fill mean) or zero.",
            )
        values = self.mean if how == "mean" else np.zeros(len(self.mean))
        return dataclasses.replace(static, numbers=np.where(gaps, values, static.numbers))

    def count_unknown(self, static: Static) -> Counter[str]:
        """Count the categories that the training split did not contain."""
        pairs = zip(static.categories.T, self.categories, strict=True)
        return Counter(
            value or "missing" for column, known in pairs for value in column if value not in known
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; `from_dict` restores the encoder bit for bit."""
        return {
            "names": list(self.names),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "fill": [None if np.isnan(value) else value for value in self.fill.tolist()],
            "categories": [list(known) for known in self.categories],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StaticEncoder:
        """Restore an encoder from `to_dict`; raises ModelFileError for a damaged entry."""
        place = "config.json: encoder: static"
        saved = read_as(_SavedStatic, values, place)
        mean, scale, fill = restore_scaling(saved.mean, saved.scale, saved.fill, place)
        if len(saved.names) != len(mean) + len(saved.categories):
            raise ModelFileError(f"{place}: expected a name for each number and each category")
        if len(set(saved.names)) < len(saved.names):
            raise ModelFileError(f"{place}: names: a name occurs twice")
        for known in saved.categories:
            if not known or len(set(known)) < len(known):
                raise ModelFileError(f"{place}: categories: expected some, each once")
        return cls(saved.names, mean, scale, fill, saved.categories)


@dataclass(frozen=True)
class _SavedStatic:
    """What config.json holds of a StaticEncoder; its arguments."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    fill: tuple[float | None, ...]
    categories: tuple[tuple[str, ...], ...]


def restore_scaling(
    mean: Sequence[float], scale: Sequence[float], fill: Sequence[float | None], place: str
) -> tuple[Floats, Floats, Floats]:
    """Return mean, scale and fill of numbers from a model file, (k,) each.

    Raises: ModelFileError naming `place` unless they are as many, and every scale is above 0.
    """
    arrays = tuple(np.array(values, dtype=np.float64) for values in (mean, scale, fill))
    if not len(mean) == len(scale) == len(fill):
        raise ModelFileError(f"{place}: mean and scale: expected as many numbers, and fill too")
    if not (arrays[1] > 0).all():
        raise ModelFileError(f"{place}: scale: expected numbers, scale above 0")
    return arrays[0], arrays[1], arrays[2]


def find_static(
    own: Static | None,
    static: Any,
    count: int,
    encoder: Encoder | None = None,
) -> Static | None:
    """Return the static features of X, or None if neither X nor the argument has any.

    Args:
        own: those of X, if it is a data set that has some.
        static: the argument: an array (n,) or (n, k), a frame, or columns by name.
        count: number of sequences, n.
        encoder: of a fitted estimator, with whose features these are matched; None in training.
    Raises: DataError, ShapeError or SettingsError if they are not as in training.
    """
    trained = None if encoder is None else encoder.static
    if own is not None and static is not None:
        raise SettingsError(
            f"static: the data set has static features of its own, {list_names(own.names)}. Leave "
            "the argument out, or read the file with static='none'"
        )
    if own is None and static is None:
        if trained is not None:
            raise DataError(
                f"static: the model reads {list_names(trained.names)}, and X has no static "
                "features",
                remedy="Give predict(X, static=...) an array (n, k) or a frame; scikit-learn's "
                "searches and cross-validation pass it on with set_score_request(static=True) and "
                "sklearn.set_config(enable_metadata_routing=True).",
            )
        return None
    if encoder is not None and trained is None:
        raise DataError(
            "static: got static features, and the model was trained without any",
            remedy="Leave them out (static='none' of elman.data.read), or train with them.",
        )
    if own is not None:
        columns = dict(zip(own.names, [*own.numbers.T, *own.categories.T], strict=True))
        return _make(columns, trained, own.category_names)
    return _make(_take_columns(static, count, trained), trained)


def _make(
    columns: Mapping[str, NDArray[Any]], trained: StaticEncoder | None, coded: Sequence[str] = ()
) -> Static:
    """Return columns as static features; without training, a column with text is a category."""
    if trained is None:
        texts = [
            name for name, cells in columns.items()
            if name in coded or not all(map(is_number_or_gap, cells.tolist()))
        ]  # fmt: skip
        numbers = [name for name in columns if name not in texts]
        cells = [to_objects(category_names(columns[name])) for name in texts]
    else:
        for name in trained.names:
            if name not in columns:
                raise ShapeError(
                    f"static: there is no feature {name!r}, which the model reads; there are "
                    f"{list_names(list(columns))}.{nearest(name, list(columns))}"
                )
        numbers, texts = list(trained.number_names), list(trained.names[len(trained.mean) :])
        pairs = zip(texts, trained.categories, strict=True)
        cells = [to_objects(name_as_known(columns[n], dict.fromkeys(k, 0))) for n, k in pairs]
    size = len(next(iter(columns.values())))
    values = [_to_numbers(name, columns[name]) for name in numbers]
    names = (*numbers, *texts)
    return Static(
        names,
        np.column_stack(values) if values else np.zeros((size, 0)),
        np.column_stack(cells) if cells else np.zeros((size, 0), dtype=object),
        tuple(map(unit_of, names)),
    )


def _to_numbers(name: str, column: NDArray[Any]) -> Floats:
    for row, value in enumerate(column.tolist()):
        if not is_number_or_gap(value):
            raise DataError(
                f"static: sequence {row}: feature {name!r} is {value!r:.40}, expected a number",
                remedy="Give numbers, with NaN where a value is missing.",
            )
    return np.array([np.nan if v is None else v for v in column.tolist()], dtype=np.float64)


def _take_columns(
    static: Any, count: int, trained: StaticEncoder | None
) -> dict[str, NDArray[Any]]:
    """Return the columns of the argument `static` by name; columns without names are numbered."""
    if isinstance(static, Static):
        static = dict(zip(static.names, [*static.numbers.T, *static.categories.T], strict=True))
    frame = frame_of(static)
    columns: dict[str, NDArray[Any]]
    if isinstance(static, Mapping):
        columns = {str(name): to_objects(list(cells)) for name, cells in static.items()}
    elif frame is not None:
        columns = {}
        for name in frame.columns:
            cells, gaps = frame[name].to_list(), frame[name].is_null().to_list()
            pairs = zip(cells, gaps, strict=True)
            columns[str(name)] = to_objects([None if gap else cell for cell, gap in pairs])
        if all(isinstance(name, int) for name in static.columns):
            columns = _number(list(columns.values()), trained)
    else:
        name = getattr(static, "name", None)  # of a pandas or polars series
        rows = [np.atleast_1d(np.asarray(row, dtype=object)) for row in static]
        widths = {row.shape for row in rows}
        if len(widths) > 1 or any(len(shape) != 1 for shape in widths):
            raise ShapeError("static: expected as many features for every sequence, (n, k)")
        table = np.array(rows, dtype=object).reshape(len(rows), -1)
        columns = _number(list(table.T), trained)
        if isinstance(name, str) and len(columns) == 1:
            columns = {name: table[:, 0]}
    if not columns:
        raise ShapeError("static: got no features, expected an array (n, k) or a frame")
    for name, cells in columns.items():
        if len(cells) != count:
            raise ShapeError(
                f"static: feature {name!r} has {len(cells):,} values, expected {count:,}, one for "
                "each sequence of X"
            )
    return columns


def _number(cells: list[NDArray[Any]], trained: StaticEncoder | None) -> dict[str, NDArray[Any]]:
    """Name columns that have no names: as in training, or by their number."""
    names = [f"static {k + 1}" for k in range(len(cells))]
    if trained is not None and set(names) != set(trained.names):
        raise ShapeError(
            f"static: got {len(cells)} features without names, expected those of the training, "
            f"{list_names(trained.names)}. Give a frame, or the columns by name: "
            "static={name: values, ...}"
        )
    return dict(zip(names, cells, strict=True))


def size_of(encoder: StaticEncoder | None) -> int:
    """Return the number of static inputs of a network, S; 0 for none."""
    return 0 if encoder is None else encoder.size
