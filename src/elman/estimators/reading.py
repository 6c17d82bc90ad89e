"""Files and long data frames read as the training data of a fitted estimator was read.

A `Path` is always a file or folder. A string is a file only if its ending is one that elman reads,
such as `.csv`, whether the file exists or not, so that the meaning of a string does not depend on
the current folder; any other single string is refused. A data frame is read as the training file
was if it has the columns of that file: its id for a row per step, its steps, texts or lists for a
row per sequence.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import TIME_DELTA, Dataset, Layout
from elman.data.ragged import Fill, Ragged, flatten
from elman.data.read import read
from elman.data.roles import split_target
from elman.data.splits import cut_windows
from elman.data.targets import check_gaps
from elman.errors import DataError, KindError, SettingsError, ShapeError
from elman.estimators.columns import has_names
from elman.estimators.containers import check_steps, frame_of, ids_of, is_path, open_container
from elman.estimators.conversions import hint_unknown_numbers, join_nested
from elman.estimators.encoder import EncodedSequences
from elman.estimators.labels import Labels, read_labels
from elman.estimators.onehot import open_one_hot
from elman.estimators.static import find_static
from elman.estimators.storage import FittedState
from elman.formats import FILLS
from elman.tasks import TASKS, TaskName


class SequenceReader(FittedState):
    """The part of an estimator that reads sequences and labels in the form of its training data."""

    def read_sequences(self, X: Any) -> Any:
        """Take X out of its container, with its channels in the order of the training data.

        Channels are matched by name where X and the training data have names. The result of
        `encode` is returned unchanged, and a model with static features encodes X.
        """
        self._check_fitted()
        if isinstance(X, EncodedSequences):
            return X
        # With static features the sequences alone are not what the network reads.
        return self.encode(X) if self.encoder_.static else self._take_out(read_if_file(self, X))

    def _take_out(self, X: Any) -> Any:
        """Take sequences, but not static features, out of the container X."""
        container = open_container(X, self.trained_columns())
        check_steps(self, container)
        return container.sequences

    def read(self, data: Any, labelled: bool | None = None) -> Dataset:
        """Read a file or long frame as the training file was read, for every other method.

        The same columns are the id, the time, values and categories, and sequences are cut into
        the same windows. `predict(path)` does the same; reading first gives the names of the
        sequences, `.names`, in the order of the predictions, and the labels, `.target`.

        Args:
            data: path of a file or folder; or a data frame with the columns of the training file.
            labelled: True requires labels, None uses them if there are any, False ignores them.
        Raises: DataError with the place of every fault.
        """
        self._check_fitted()
        return read_as_trained(self, data, labelled)[0]

    def read_labelled(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Return X, read if it is a file, and y, or for None the labels of that file."""
        self._check_fitted()
        X = read_if_file(self, X)
        y = X.target if y is None and isinstance(X, Dataset) else y
        if y is None:
            raise DataError("y: there are no labels", remedy="Expected a label a sequence.")
        return X, y

    def read_labels(self, X: Any, y: Any) -> Labels:
        """Return y, checked to have a label for each sequence or each step of X."""
        y = open_one_hot(y, self.targets, self.target_, per_step=self.per_step)
        labels = read_labels(X, y, self.targets, per_step=self.per_step)
        cut = isinstance(X, EncodedSequences) and isinstance(labels, Ragged)
        return X.inputs.cut(labels) if cut else labels

    def encode(self, X: Any, *, fill: Fill = "refuse", static: Any = None) -> EncodedSequences:
        """Return X as network inputs, which every method accepts in place of X.

        To predict, evaluate and explain the same sequences, encode them only once.

        Args:
            fill: for gaps in channels that had none in training; see `data.ragged.fill_gaps`.
            static: static features of X; see `predict`.
        Raises: DataError or ShapeError if X does not have the form of the training data; DataError
            if it was encoded for another model.
        """
        self._check_fitted()
        X = read_if_file(self, X, fill)
        encoder = self.encoder_
        if isinstance(X, EncodedSequences):
            if static is not None:
                raise SettingsError("static: X is encoded with its features. Leave static out")
            return encoder.encode_sequences(X)
        encoded = encoder.encode_sequences(self._take_out(X), fill)
        if encoder.kind == "tokens" and not isinstance(X, Dataset):
            hint_unknown_numbers(encoder.vocabulary, encoded.steps.values)
        own = X.static if isinstance(X, Dataset) else None
        features = find_static(own, static, len(encoded), encoder)
        if features is not None and encoder.static is not None:
            encoded = encoded.with_static(encoder.static.fill_gaps(features, fill))
        ids = self.name_sequences(X)
        return dataclasses.replace(encoded, ids=ids) if ids else encoded

    def split_steps(self, encoded: EncodedSequences, predictions: NDArray[Any]) -> Any:
        """Return predictions, (n, ...), or if they are per step, n arrays (T_i, ...).

        The n arrays are in an object array, which scikit-learn can join and index, as a list of
        arrays of unequal length it could not.
        """
        if not self.per_step:
            return predictions
        arrays = np.empty(len(encoded), dtype=object)
        for i, own in enumerate(encoded.inputs.with_values(predictions)):
            arrays[i] = own
        return arrays

    def count_unknown(self, X: Any) -> Counter[str]:
        """Count the tokens of X that are not in the vocabulary and are read as unknown."""
        encoded = self.encode(X)
        unknown = self.encoder_.count_unknown(encoded.steps)
        features = self.encoder_.static
        if features is not None and encoded.static is not None:
            unknown += features.count_unknown(encoded.static)
        return unknown

    def is_encoded(self, X: Any) -> bool:
        """Whether X is a result of `encode`."""
        return isinstance(X, EncodedSequences)

    def name_sequences(self, X: Any) -> tuple[str, ...]:
        """Return the name of each sequence of X, such as its id in a file; empty if it has none."""
        if isinstance(X, EncodedSequences):
            return X.ids
        X = read_if_file(self, X)
        return X.name_sequences() if isinstance(X, Dataset) else ids_of(X)


def task_of(estimator: SequenceReader) -> TaskName:
    """Return the task that an estimator was trained for, as a dataset's `task`."""
    return next(
        task.name
        for task in TASKS.values()
        if task.output == estimator.target_.task and task.per_step in (None, estimator.per_step)
    )


def read_as_trained(
    estimator: SequenceReader,
    data: Any,
    labelled: bool | None = None,
    options: Mapping[str, Any] | None = None,
    fill: Fill = "refuse",
) -> tuple[Dataset, tuple[str, ...]]:
    """Read a file or data frame as the training file was read, and cut it into the same windows.

    Args:
        data: path or data frame; or a data set that was read already.
        labelled: whether labels are required; None if they are optional.
        options: arguments of `elman.data.read` that override those of the training.
        fill: for gaps in channels that had none in training; see `data.ragged.fill_gaps`.
    Returns: the sequences, and notes on filled gaps, lines that are no rows, and windows.
    Raises: DataError if the sequences, or required labels, are of another kind than in training.
    """
    layout = estimator.layout_
    dataset = data
    if not isinstance(data, Dataset):
        dataset = read(data, layout=layout, labelled=labelled, **(options or {}))
    kind = estimator.encoder_.kind
    # A later file may hold no category at all, and is then read as numbers.
    if dataset.layout.kind != kind and (kind, dataset.layout.kind) != ("mixed", "numbers"):
        raise DataError(
            f"the sequences are {dataset.layout.kind}, expected {kind} as in training",
            remedy="Name other columns with --text or --values.",
            source=dataset.source,
        )
    target = dataset.task, isinstance(dataset.target, Ragged)
    trained = task_of(estimator), estimator.per_step
    if labelled and target != trained:
        raise DataError(
            f"the target is {_describe_target(*target)}, expected {_describe_target(*trained)} as "
            "in training",
            remedy="Name another with --target.",
            source=dataset.source,
        )
    dataset, notes = _fill_gaps(estimator, dataset, fill)
    if not isinstance(data, Dataset):
        # What this file has beside the rows, such as a header that the training file lacked.
        notes += tuple(guess.line for guess in dataset.layout.guesses if guess.role == "unused")
    dataset = _restore_labels(dataset, estimator)
    if layout is None or not layout.window or dataset.windows is not None:
        return dataset, notes
    dataset, note = cut_windows(dataset, layout.window, layout.stride)
    return dataset, (*notes, note)


def _fill_gaps(
    estimator: SequenceReader, dataset: Dataset, how: Fill
) -> tuple[Dataset, tuple[str, ...]]:
    """Fill gaps in channels that had none in training, or refuse them; and say so in a note."""
    encoder, before = estimator.encoder_, dataset.numbers
    matched = open_container(dataset, estimator.trained_columns()).sequences
    if matched is not dataset.inputs:  # a file read without a layout, with its own order
        if how == "refuse":
            return dataset, ()  # the encoder refuses gaps
        raise DataError(
            "the channels are in another order than in training, so their gaps cannot be filled",
            remedy=f"Name them in order: --values {','.join(estimator.columns_.channel_names)}.",
            source=dataset.source,
        )
    if isinstance(dataset.inputs, Ragged):
        inputs = encoder.fill_gaps(dataset.inputs, how)
        dataset = dataclasses.replace(dataset, inputs=inputs)
    if dataset.static is not None and encoder.static is not None:
        static = find_static(dataset.static, None, len(dataset), encoder)
        static = None if static is None else encoder.static.fill_gaps(static, how)
        dataset = dataclasses.replace(dataset, static=static)
    check_gaps(dataset, encoder.gaps, f" (--fill {', '.join(FILLS[1:])})")
    after = dataset.numbers
    if before is None or after is None:
        return dataset, ()
    filled = (np.isnan(before.values) & ~np.isnan(after.values)).sum(0).tolist()
    counts = ", ".join(
        f"{count:,} in {name!r}"
        for name, count in zip(dataset.layout.channels, filled, strict=False)
        if count
    )
    if not counts:
        return dataset, ()
    return dataset, (
        f"missing values that training did not have were filled: {counts} (--fill {how})",
    )


def read_if_file(estimator: SequenceReader, X: Any, fill: Fill = "refuse") -> Any:
    """Return X, or if it is a path or a frame with the training file's columns, its data set.

    Raises: KindError for a single string that is no path; ShapeError for a single frame that is
        neither a table of steps nor as the training file.
    """
    if is_path(X):
        if estimator.layout_ is None:
            raise DataError(
                f"{os.fspath(X)}: the model was not trained from a file, so it is not known which "
                "column of this one is what",
                remedy="Read it: data = elman.data.read(path, id=..., values=...), then pass data.",
            )
        return _read(estimator, X, fill)
    if isinstance(X, str | bytes):
        is_text = estimator.encoder_.kind == "text"
        raise KindError(
            f"X is the {type(X).__name__} {X!r:.40}, expected a list"
            + (" of texts" if is_text else " of sequences"),
            remedy=f"{'For one text, give [text]. ' if is_text else ''}For a file or folder, give "
            "pathlib.Path(name); a str is read as a file if it ends like one, such as in .csv.",
        )
    if isinstance(X, list):
        return _with_time_deltas(estimator, X, fill)
    frame = frame_of(X)
    if frame is None:
        return X
    if join_nested(frame.to_numpy()) is not None:
        return X
    index = getattr(X, "index", None)  # of pandas; its levels may hold the id and the time
    levels = [name for name in getattr(index, "names", ()) if name]
    columns = [*levels, *frame.columns]
    layout = estimator.layout_
    if layout is not None and (_has_roles(columns, layout) or _is_indexed(index, layout)):
        single = len(levels) == 1 and getattr(index, "nlevels", 1) == 1
        frame = X.reset_index() if single and levels[0] == layout.id else X
        return _read(estimator, frame, fill)
    _refuse_single_frame(estimator, frame.columns, indexed=getattr(index, "nlevels", 1) > 1)
    return X


def _read(estimator: SequenceReader, data: Any, fill: Fill) -> Dataset:
    """Read a file or frame, and warn of columns that are left out."""
    dataset, _ = read_as_trained(estimator, data, fill=fill)
    for note in dataset.layout.notes:
        warnings.warn(f"{dataset.source}: {note}", UserWarning, stacklevel=4)
    return dataset


def _has_roles(columns: Sequence[Any], layout: Layout) -> bool:
    """Whether a frame's columns are those of the training file."""
    if layout.format == "steps" and layout.id is not None:
        return bool(split_target(layout.id, list(columns)))
    if layout.format not in ("rows", "jsonl", "steps") or not layout.header:
        return False
    names = {layout.text, *layout.values, *layout.categories}
    # The channels of a key x of lists are called x[1], x[2], ...
    names |= {name.partition("[")[0] for name in layout.values if layout.format == "jsonl"}
    return any(name in names for name in columns)


def _is_indexed(index: Any, layout: Layout) -> bool:
    """Whether a pandas index has the two levels sequence and time, for a model of steps."""
    return layout.format == "steps" and getattr(index, "nlevels", 1) == 2


def _refuse_single_frame(
    estimator: SequenceReader, columns: Sequence[Any], *, indexed: bool
) -> None:
    """Refuse one frame with the channels as columns, which a table of steps cannot be."""
    names, layout = estimator.columns_.channel_names, estimator.layout_
    if indexed or not any(name in names for name in columns):
        return
    if layout is not None and layout.format == "steps" and layout.id is not None:
        raise ShapeError(
            f"X: the frame has the columns of a sequence, but no column {layout.id!r}, which says "
            "in the training file which sequence a row belongs to. Add it; or give a list with one "
            "frame per sequence: [frame] for a single one"
        )
    raise ShapeError(
        "X: the frame has the columns of a sequence, and nothing says which sequence a row "
        "belongs to. Give a list with one frame per sequence, [frame] for a single one; or a frame "
        "with the index (instance, time); or read a long frame: elman.data.read(frame, id=...)"
    )


def _with_time_deltas(estimator: SequenceReader, X: list[Any], fill: Fill) -> Any:
    """Return frames as a data set if the network reads time differences and they hold times."""
    names, layout = estimator.columns_.channel_names, estimator.layout_
    first = frame_of(X[0]) if X else None
    if first is None or layout is None or TIME_DELTA not in names or not layout.time:
        return X
    if TIME_DELTA in first.columns or not has_names(first.columns) or layout.id is None:
        return X
    import narwhals

    trained = estimator.trained_columns()
    times = split_target(layout.time, first.columns) or [layout.time]
    read_names = tuple(name for name in (*times, *names) if name != TIME_DELTA)
    columns = dataclasses.replace(trained.columns, names=read_names)
    trained = dataclasses.replace(trained, columns=columns)
    parts = []
    for i, sequence in enumerate(X):
        frame = frame_of(sequence)
        if frame is None:
            return X  # refused where lists are read
        frame = frame.select(trained.select(frame.columns, f"sequence {i}"))
        # All of the columns that name the sequence together, if there are several.
        ids = [narwhals.lit(str(i)).alias(part) for part in str(layout.id).split(",")]
        parts.append(frame.with_columns(*ids))
    dataset = _read(estimator, narwhals.concat(parts).to_native(), fill)
    return dataclasses.replace(dataset, ids=(), source="X")


def _describe_target(task: TaskName, per_step: bool) -> str:
    """Describe a target; for numbers, also whether there is one per step, as both exist."""
    both_forms = TASKS[task].per_step is None
    return TASKS[task].target + " at every step" * (both_forms and per_step)


def _restore_labels(dataset: Dataset, estimator: SequenceReader) -> Dataset:
    """Convert labels that a file stores as text, such as `3` or `True`, to the training's type."""
    target = dataset.target
    if target is None or not TASKS[dataset.task].single_label:
        return dataset
    labels = flatten(target)
    by_text = {str(label): label for label in estimator.target_.output_names}
    restored = np.empty(len(labels), dtype=object)
    restored[:] = [by_text.get(v, v) if isinstance(v, str) else v for v in labels]
    return dataclasses.replace(
        dataset, target=target.with_values(restored) if isinstance(target, Ragged) else restored
    )
