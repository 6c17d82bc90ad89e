"""Containers that users pass as X, converted to the few forms that `inputs` reads.

A data frame, a 2-D array and a list of lists of equal length are tables: each row is a sequence of
one channel, each column a step. scikit-learn requires the width and column names of a table to stay
the same after `fit`. A list of arrays, or an array (n, T, C), holds sequences of any length. aeon
and sktime store arrays channels first; `from_channels_first` transposes them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch.nn.utils.rnn import PackedSequence

from elman.data.dataset import Dataset, Layout, Static
from elman.data.faults import refuse_damaged
from elman.data.ragged import Ragged
from elman.data.readers.frames import check_arrow
from elman.data.units import unit_of
from elman.errors import DataError, KindError, SettingsError, ShapeError
from elman.estimators.columns import ColumnRole, Columns, TrainedColumns, has_names, refuse_text
from elman.estimators.conversions import (
    join_nested,
    refuse_column_levels,
    refuse_lossy,
    to_array,
    unwrap,
)
from elman.formats import is_file_name


@dataclass(frozen=True)
class InputContainer:
    """X in a form that `elman.estimators.inputs` reads, and its columns.

    Args:
        sequences: array, list or Ragged.
        what: same as in `Columns`.
        table: the frame or array with these columns, or an empty array of the same width.
        loose: whether a later X in this form may have different columns.
        ids: name of each sequence; empty if they have none.
        names: for a data set, names of its channels.
        layout: for a data set, how its file was read.
        static: for a data set, its static features.
    """

    sequences: Any
    what: ColumnRole | None = None
    table: Any = None
    loose: bool = False
    ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    layout: Layout | None = None
    static: Static | None = None

    def with_names(self, names: Sequence[str]) -> InputContainer:
        """Return the container with names of its channels; names that X has itself are kept.

        Raises: SettingsError for a table, whose columns are steps.
        """
        if not names or self.names or self.what == "channels":
            return self
        if self.what == "steps":
            raise SettingsError(
                f"column_names: got {len(names)} names of channels, but the columns of X are the "
                "steps of one channel. Give an array (n, T, C), a list of arrays (T, C), or a frame"
            )
        return dataclasses.replace(self, what="channels", names=tuple(names))

    def columns(self, layout: Layout | None = None) -> Columns:
        """Return the columns that a fitted estimator stores, with the units of a file's layout."""
        if self.names:
            layout = layout or self.layout
            units = layout.channel_units if layout and layout.channel_names == self.names else ()
            return Columns.of_channels(self.names, len(self.names), units)
        if self.what is None or self.table is None:  # a data set of one channel has no names
            return Columns()
        checked = BaseEstimator()  # scikit-learn sets the attributes on an estimator
        try:
            validate_data(checked, self.table, skip_check_array=True)
        except TypeError as error:  # column names of several types
            raise KindError(f"X: {error}") from None
        names = getattr(checked, "feature_names_in_", None)
        names = None if names is None else tuple(names.tolist())
        return Columns(self.what, checked.n_features_in_, names, tuple(map(unit_of, names or ())))


def open_container(X: Any, trained: TrainedColumns | None = None) -> InputContainer:
    """Take X out of its container.

    Args:
        X: anything `SequenceClassifier.fit` takes; frames of pandas, polars, pyarrow and others; a
            Dataset.
        trained: the columns of an estimator's training data, with which the channels of frames and
            data sets are matched by name; None for training.
    Raises: KindError for sparse matrices, and for tables of neither numbers nor text; ShapeError
        for one number per sequence, and for columns that do not match; DataError for complex
        numbers, and for unsorted frames.
    """
    if is_path(X):
        raise DataError(
            f"X is the path {os.fspath(X)!r}, expected sequences",
            remedy="Read the file first: data = elman.data.read(path); then fit(data).",
        )
    if isinstance(X, PackedSequence):
        raise KindError(
            "X is a PackedSequence, expected a list of sequences",
            remedy="Give torch.nn.utils.rnn.unpack_sequence(X).",
        )
    if type(X).__name__ == "LazyFrame":  # of polars, which is not imported for this
        raise KindError(
            "X is a LazyFrame, whose rows are not computed yet", remedy="Give X.collect()."
        )
    if isinstance(X, Ragged | str | bytes):
        return InputContainer(X)
    if isinstance(X, Dataset):
        return _from_dataset(X, trained)
    X = X if isinstance(X, list) and X and isinstance(X[0], str) else unwrap(X)
    if isinstance(X, list | tuple):
        return _from_list(X, trained)
    refuse_column_levels(X)
    if getattr(getattr(X, "index", None), "nlevels", 1) > 1:
        return _from_multi_index(X, trained)
    frame = frame_of(X)
    if frame is not None:
        values = frame.to_numpy()
        nested = join_nested(values)
        if nested is not None:
            return _from_nested(nested, frame, X, trained)
        return InputContainer(_table(values), "steps", X)
    if hasattr(X, "to_numpy"):  # a series, where X[0] may not be the first entry
        X = X.to_numpy()
    if hasattr(X, "__array__"):
        X = to_array(X, "X")
    if isinstance(X, np.ndarray) and X.ndim != 1:
        X = _table(X)
        return InputContainer(X, "steps", X) if X.ndim == 2 else InputContainer(X)
    if isinstance(X, np.ndarray) and X.dtype.kind in "fiubc":
        raise ShapeError(
            f"X: got shape {X.shape}, expected (n, T) or (n, T, C). Reshape your data: "
            "X.reshape(1, -1) if it is one sequence of one channel, X.reshape(-1, 1) if it is n "
            "sequences of one step"
        )
    return InputContainer(X)


def is_path(X: Any) -> bool:
    """Whether X is a file or folder: a path object, or a string that ends like a file we read."""
    return isinstance(X, os.PathLike) or (isinstance(X, str) and is_file_name(X))


def check_steps(estimator: Any, container: InputContainer) -> None:
    """Let scikit-learn compare the steps of a table with those the estimator was trained on.

    Raises: ShapeError if they differ.
    """
    if container.what != "steps" or container.loose or estimator.columns_.what != "steps":
        return
    try:
        validate_data(estimator, container.table, reset=False, skip_check_array=True)
    except ValueError as error:
        raise ShapeError(
            f"{str(error).rstrip()}\nA list of arrays, or an array (n, T, C), may hold sequences "
            "of other lengths."
        ) from None


def refuse_other_steps(container: InputContainer, columns: Columns) -> None:
    """Raise ShapeError if the steps of `validation_data` differ from the training data."""
    present = container.columns()
    if present.what != "steps" or container.loose or columns.what != "steps":
        return
    if present.count != columns.count or (
        present.names and columns.names and present.names != columns.names
    ):
        raise ShapeError(
            f"validation_data: got columns {list(present.names or ()) or present.count}, expected "
            f"{list(columns.names or ()) or columns.count} as in X"
        )


def frame_of(X: Any) -> Any:
    """Return X as a narwhals frame, or None if X is not a data frame."""
    if isinstance(X, np.ndarray):
        return None
    import narwhals

    try:
        frame = narwhals.from_native(X, eager_only=True, pass_through=True)
    except narwhals.exceptions.DuplicateError as error:
        raise DataError(
            f"X: two columns have the same name. {error}", remedy="Rename one of them."
        ) from None
    if frame is X and isinstance(narwhals.from_native(X, pass_through=True), narwhals.LazyFrame):
        raise KindError(
            f"X is a {type(X).__name__}, which holds a query and no rows yet",
            remedy="Give X.collect().",
        )
    if not isinstance(frame, narwhals.DataFrame):
        return None
    if frame.implementation.is_pyarrow():
        with refuse_damaged("X is damaged", "Check how it was made.", ""):
            check_arrow(X)
    return frame


def _from_dataset(X: Dataset, trained: TrainedColumns | None) -> InputContainer:
    inputs, ids = X.inputs, X.name_sequences()
    names = X.layout.channel_names
    if not isinstance(inputs, Ragged) or inputs.values.ndim != 2:
        return InputContainer(inputs, ids=ids, layout=X.layout, static=X.static)
    if not Columns.of_channels(names, inputs.values.shape[1]).names:
        names = ()  # the channels have only numbers
    if trained is not None and names:
        order = [names.index(name) for name in trained.select(names, X.source)]
        if order != list(range(len(names))):
            inputs = inputs.with_values(inputs.values[:, order])
            names = tuple(names[c] for c in order)
    return InputContainer(
        inputs, "channels", ids=ids, names=names, layout=X.layout, static=X.static
    )


def _from_list(X: Sequence[Any], trained: TrainedColumns | None) -> InputContainer:
    first = X[0] if X else None
    if isinstance(first, list | tuple):
        same = all(isinstance(row, list | tuple) and len(row) == len(first) for row in X)
        # Lists that contain only integers are tokens.
        if same and {type(value) for row in X for value in row} in ({float}, {float, int}):
            return InputContainer(X, "steps", np.empty((0, len(first))), loose=True)
        return InputContainer(X)
    if first is None or isinstance(first, str | np.ndarray) or frame_of(first) is None:
        return InputContainer(X)
    arrays = []
    for i, sequence in enumerate(X):
        frame = frame_of(sequence)
        if frame is None:
            raise DataError(
                f"sequence {i} is a {type(sequence).__name__}, expected a frame as sequence 0",
                remedy="Give every sequence the same form.",
            )
        if i == 0 and trained is not None:
            trained.warn(frame.columns)
        names = frame.columns
        if trained is not None:
            names = trained.select(frame.columns, f"sequence {i}")
        if i == 0:
            expected = names
        if set(map(str, names)) != set(map(str, expected)) or not (
            has_names(names) or names == expected
        ):
            raise ShapeError(
                f"sequence {i}: got columns {frame.columns}, expected {expected} as sequence 0"
            )
        arrays.append(_cells(frame, expected, f"sequence {i}", trained))
    return InputContainer(arrays, "channels", first)


def _from_nested(
    sequences: list[NDArray[np.float64]], frame: Any, X: Any, trained: TrainedColumns | None
) -> InputContainer:
    """Read sktime's nested frame: a row per sequence, a column of series per channel."""
    names = frame.columns
    if trained is not None:
        trained.warn(names)
        order = [list(names).index(name) for name in trained.select(names, "X")]
        sequences = [sequence[:, order] for sequence in sequences]
    return InputContainer(sequences, "channels", X)


def _from_multi_index(X: Any, trained: TrainedColumns | None) -> InputContainer:
    """Read a frame in sktime's format: one row per time step, indexed by (instance, time)."""
    index = X.index
    if index.nlevels != 2:
        raise ShapeError(f"X: got an index of {index.nlevels} levels, expected (instance, time)")
    # Rows at which the instance changes. An instance split into two blocks starts twice.
    first = index.get_level_values(0)
    starts = np.flatnonzero(np.concatenate([[True], first[1:] != first[:-1]]))
    if len(starts) != first.nunique():
        raise DataError(
            "X: rows of one instance do not stand together",
            remedy="Sort the frame by its index, and y with it.",
        )
    offsets = np.append(starts, len(index)).astype(np.int64)
    time = index.get_level_values(1)
    later = np.asarray(time[1:] > time[:-1])
    later[starts[1:] - 1] = True
    if not later.all():
        row = int(later.argmin()) + 1
        raise DataError(
            f"X: row {row}, instance {first[row]}, time {time[row]}: not after the row before it",
            remedy="Sort the frame by its index, and y with it.",
        )
    ids = ids_of(X)
    if X.ndim == 1:
        return InputContainer(Ragged(_table(X.to_numpy()[:, None]), offsets), ids=ids)
    frame = frame_of(X)
    names = frame.columns
    if trained is not None:
        trained.warn(names)
        names = trained.select(names, "X")
    steps = _cells(frame, names, "X", trained)
    return InputContainer(Ragged(steps, offsets), "channels", X, ids=ids)


def ids_of(X: Any) -> tuple[str, ...]:
    """Return the instances of a frame with the index (instance, time); empty for anything else."""
    index: Any = getattr(X, "index", None)
    if getattr(index, "nlevels", 1) < 2:
        return ()
    return tuple(map(str, dict.fromkeys(index.get_level_values(0))))


def _cells(
    frame: Any, names: Sequence[Any], where: str, trained: TrainedColumns | None
) -> NDArray[Any]:
    """Return columns of a narwhals frame, (T, C): floats, or objects if not all are numeric.

    A value of a categorical column becomes text even if it is a number; missing cells are None.

    Args:
        names: the columns, in this order.
        where: where the frame is, for messages.
        trained: the columns of training; text in a channel of numbers is an error.
    """
    import narwhals

    if names != frame.columns:
        frame = frame.select(names)
    kinds = dict(frame.schema)
    known = {} if trained is None else trained.columns.known_categories
    numbers = all(kind.is_numeric() or kind == narwhals.Boolean for kind in kinds.values())
    if numbers and not known:
        return np.asarray(frame.to_numpy(), dtype=np.float64)
    out = np.empty(frame.shape, dtype=object)
    for k, (column, kind) in enumerate(zip(frame.iter_columns(), kinds.values(), strict=True)):
        name, cells = names[k], column.to_list()
        coded = kind in (narwhals.Categorical, narwhals.Enum)
        if trained is not None and trained.columns.is_number(name):
            refuse_text(cells, name, where)
        for row, missing in enumerate(column.is_null().to_list()):
            out[row, k] = None if missing else str(cells[row]) if coded else cells[row]
    refuse_lossy(out, where)
    return out


def _table(values: NDArray[Any]) -> NDArray[Any]:
    """Return an array of two or more dimensions, as floats if all its objects are numbers."""
    if values.dtype.kind == "c":
        raise DataError("X: Complex data not supported", remedy="Give two channels.")
    if values.ndim == 2 and values.shape[1] == 0:
        raise ShapeError(
            f"X: 0 feature(s) (shape={values.shape}) while a minimum of 1 is required: every "
            "sequence is empty, expected at least 1 step"
        )
    if values.dtype.kind != "O" or values.ndim != 2:
        return values
    kinds = {type(value) for value in values.flat}
    if all(issubclass(kind, str) for kind in kinds):
        if values.shape[1] == 1:
            raise KindError(
                "X: got a table with one column of text, which would be one token a sequence",
                remedy="Give the column itself: X['text'] of a frame, X[:, 0] of an array.",
            )
        return values
    lists = (list, tuple, np.ndarray)
    nested = [k.__name__ for k in kinds if issubclass(k, lists) or hasattr(k, "to_numpy")]
    if nested:
        raise KindError(
            f"X: got a nested table, whose cells hold {', '.join(sorted(nested))}",
            remedy="Give a list with an array (T, C) for each row: "
            "[np.column_stack(list(row)) for row in X.to_numpy()].",
        )
    numbers = (int, float, np.number, np.bool_, type(None))
    if all(hasattr(kind, "__len__") and not issubclass(kind, str) for kind in kinds):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise KindError(
            f"X: every cell holds a whole sequence ({names})",
            remedy=(
                "Give a list with one table (T, C) per sequence: "
                "[np.column_stack(row) for row in X.to_numpy()]."
            ),
        )
    if strange := [kind.__name__ for kind in kinds if not issubclass(kind, numbers)]:
        raise KindError(
            f"X: got {', '.join(sorted(strange))} among numbers: in a table, every argument must "
            "be a string, or every one a number",
            remedy="Give a table of numbers, or of tokens. If each row is a time step, read the "
            "frame: data = elman.data.read(X, id=...), and fit(data).",
        )
    return values.astype(np.float64)
