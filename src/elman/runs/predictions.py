"""Predictions as tables and records, and the files they are written to.

Dimensions: n sequences, N steps in total, K outputs. Steps count from 1.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data import Dataset, Ragged
from elman.data.ragged import flatten
from elman.data.targets import OUTSIDE, find_entities, find_scheme
from elman.data.text import Unit, token_places
from elman.estimators import EncodedSequences, Estimator
from elman.tasks import TASKS, OutputName

Floats = NDArray[np.float64]
Record = dict[str, Any]
EVERY = slice(None)
# Values of a table that are text at the same time: a piece of a file takes up some 50 MB.
CELLS = 500_000


@dataclass(frozen=True)
class Column:
    """One column of a table of predictions.

    Args:
        name: its heading.
        values: one value per row: text, numbers, truth values, or lists of labels.
        digits: format of the numbers in text files, such as `.6f`; empty for Python's own.
    """

    name: str
    values: list[Any]
    digits: str = ""

    def cells(self) -> Iterator[str]:
        """Yield the values as text; several labels are joined by `|`, a missing value is empty."""
        for value in self.values:
            if isinstance(value, list):
                yield "|".join(map(str, value))
            elif value is None:
                yield ""
            else:
                yield format(value, self.digits) if self.digits else str(value)


@dataclass(frozen=True)
class Predictions:
    """The predictions for n sequences, with their names in the file.

    Args:
        task: kind of the outputs.
        outputs: the K classes or labels, or names of numbers.
        values: probabilities or numbers, (n, K), or (N, K) with one prediction per step.
        names: names of the sequences, (n,).
        groups: groups of the sequences, (n,); empty if there are none.
        true: true labels or numbers, or None.
        steps: with one prediction per step, the sequences; only tokens in them are written.
        texts: the texts that the tokens of `steps` were cut from, (n,); empty if there are none.
        unit: unit the texts were cut into.
    """

    task: OutputName
    outputs: Sequence[Any]
    values: Floats
    names: Sequence[Any]
    true: NDArray[Any] | Ragged | None = None
    steps: Ragged | None = None
    groups: Sequence[str] = ()
    texts: Sequence[str] = ()
    unit: Unit | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def tokens(self) -> NDArray[Any] | None:
        """With one class per step of tokens, the tokens, (N,)."""
        if self.steps is None or self.steps.values.ndim != 1 or not TASKS[self.task].has_classes:
            return None
        return self.steps.values

    @property
    def rows(self) -> int:
        """Number of rows of the table."""
        return len(self) if self.steps is None else len(self.steps.values)

    def columns(self, rows: slice = EVERY) -> list[Column]:
        """Return the table, with one row per sequence, or one per step.

        Columns: `sequence`; `group` if there are groups; with one prediction per step also `step`,
        from 1, and for classes of tokens `token`; then the true values if they are known, and the
        predicted ones. For classes and labels these are `true` and `predicted`, followed by
        `probability` of the predicted class and `p(NAME)` of each class or label (not with one
        prediction per step). For numbers they are `true NAME` and `predicted NAME` for each.

        Args:
            rows: the rows that are wanted.
        """
        places: list[Column] = []
        if self.steps is None:
            places.append(Column("sequence", list(self.names[rows])))
            if len(self.groups):
                places.append(Column("group", list(self.groups[rows])))
        else:
            numbers = np.arange(*rows.indices(self.rows))
            # Not `steps.owners`, which is made anew for all rows at every call.
            owners = np.searchsorted(self.steps.offsets, numbers, side="right") - 1
            places.append(Column("sequence", [self.names[owner] for owner in owners.tolist()]))
            if len(self.groups):
                places.append(Column("group", [self.groups[owner] for owner in owners.tolist()]))
            step = numbers - self.steps.offsets[owners] + 1
            places.append(Column("step", step.tolist()))
            if self.tokens is not None:
                places.append(Column("token", self.tokens[rows].tolist()))
        true = None if self.true is None else flatten(self.true)[rows]
        part = dataclasses.replace(self, values=self.values[rows])
        return [*places, *COLUMNS[self.task](part, true)]

    def tables(self) -> Iterator[list[Column]]:
        """Yield the rows of `columns` in tables of at most `CELLS` values, at least one table."""
        most = max(1, CELLS // (len(self.outputs) + 5))
        for start in range(0, max(1, self.rows), most):
            yield self.columns(slice(start, start + most))

    def csv_pieces(self, delimiter: str = ",", *, header: bool = True) -> Iterator[str]:
        """Yield the table as CSV text, piece by piece; with a header if `header`."""
        for columns in self.tables():
            out = io.StringIO()
            writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
            if header:
                writer.writerow([column.name for column in columns])
            writer.writerows(zip(*(column.cells() for column in columns), strict=True))
            header = False
            yield out.getvalue()

    def to_csv(self, delimiter: str = ",") -> str:
        """Return the table as CSV text."""
        return "".join(self.csv_pieces(delimiter))

    def records(self) -> Iterator[Record]:
        """Yield one JSON-ready object per sequence.

        Keys: `sequence`, `group` if there are groups, `true` if known, `predicted`; for classes
        `probability` and `probabilities` by name, for labels `probabilities`. With one prediction
        per step the values are lists with one entry per step, without `probabilities`, and classes
        have `spans`; see `_spans`.
        """
        for i, name in enumerate(self.names):
            group = {"group": self.groups[i]} if len(self.groups) else {}
            true = None if self.true is None else self.true[i]
            true = true.item() if isinstance(true, np.generic) else true
            if self.steps is None:
                own = RECORDS[self.task](self, self.values[i], true)
            else:
                rows = slice(int(self.steps.offsets[i]), int(self.steps.offsets[i + 1]))
                own = STEP_RECORDS[self.task](self, i, self.values[rows], true)
            yield {"sequence": name, **group, **own}


def collect_predictions(
    estimator: Estimator,
    dataset: Dataset,
    encoded: EncodedSequences,
    values: Floats | None = None,
    names: Sequence[Any] | None = None,
) -> Predictions:
    """Return an estimator's predictions for a data set, with the names of the sequences.

    Args:
        encoded: the data set's sequences as the estimator reads them.
        values: their predictions, as `predict_encoded` returns them; None to compute them.
        names: names of the sequences; None for those of the data set.
    """
    texts = () if isinstance(dataset.inputs, Ragged) else dataset.inputs
    return Predictions(
        estimator.target_.task,
        estimator.target_.output_names,
        estimator.predict_encoded(encoded) if values is None else values,
        dataset.names if names is None else names,
        true=dataset.target,
        steps=encoded.steps if estimator.per_step else None,
        groups=dataset.groups,
        texts=texts,
        unit=encoded.encoder.unit,
    )


# The table: columns of the true and the predicted values of each kind of output.


def _class_columns(p: Predictions, true: NDArray[Any] | None) -> list[Column]:
    best = p.values.argmax(1)
    columns = [] if true is None else [Column("true", true.tolist())]
    columns += [
        Column("predicted", [p.outputs[k] for k in best.tolist()]),
        Column("probability", p.values[np.arange(len(best)), best].tolist(), ".6f"),
    ]
    return columns if p.steps is not None else [*columns, *_probability_columns(p)]


def _label_columns(p: Predictions, true: NDArray[Any] | None) -> list[Column]:
    columns = [] if true is None else [Column("true", [_sorted(labels) for labels in true])]
    predicted = [_likely(p.outputs, row) for row in p.values]
    return [*columns, Column("predicted", predicted), *_probability_columns(p)]


def _probability_columns(p: Predictions) -> list[Column]:
    return [
        Column(f"p({label})", own.tolist(), ".6f")
        for label, own in zip(p.outputs, p.values.T, strict=True)
    ]


def _value_columns(p: Predictions, true: NDArray[Any] | None) -> list[Column]:
    columns = []
    if true is not None:
        by_name = zip(p.outputs, true.reshape(len(true), -1).T, strict=True)
        columns = [Column(f"true {name}", _without_nan(own)) for name, own in by_name]
    # 9 digits distinguish all float32.
    return columns + [
        Column(f"predicted {name}", own.tolist(), ".9g")
        for name, own in zip(p.outputs, p.values.T, strict=True)
    ]


# By kind of output: the columns from the predictions and the true values, (n, ...) or (N, ...).
COLUMNS: dict[OutputName, Callable[[Predictions, NDArray[Any] | None], list[Column]]] = {
    "classification": _class_columns,
    "multilabel": _label_columns,
    "regression": _value_columns,
}


def _sorted(labels: Any) -> list[str]:
    return sorted(map(str, labels))


def _likely(labels: Sequence[Any], p: Floats) -> list[str]:
    return [str(label) for label, each in zip(labels, p, strict=True) if each > 0.5]


def _without_nan(numbers: NDArray[Any]) -> list[Any]:
    """Return numbers as a list, with None where a number is not known."""
    return [None if number != number else number for number in numbers.tolist()]


# The records: what is known of one sequence, with names as keys.


def _class_record(p: Predictions, row: Floats, true: Any) -> Record:
    best = int(row.argmax())
    return {
        **({} if true is None else {"true": true}),
        "predicted": p.outputs[best],
        "probability": round(float(row[best]), 6),
        "probabilities": _by_name(p, row),
    }


def _label_record(p: Predictions, row: Floats, true: Any) -> Record:
    known = {} if true is None else {"true": _sorted(true)}
    return {**known, "predicted": _likely(p.outputs, row), "probabilities": _by_name(p, row)}


def _by_name(p: Predictions, row: Floats) -> dict[str, float]:
    pairs = zip(p.outputs, row.tolist(), strict=True)
    return {str(label): round(each, 6) for label, each in pairs}


def _value_record(p: Predictions, row: Floats, true: Any) -> Record:
    known = {} if true is None else {"true": _numbers(p, np.atleast_1d(true)[:, None])}
    both = {**known, "predicted": _numbers(p, row[:, None])}
    return {key: _unpack(value) for key, value in both.items()}


def _unpack(value: Any) -> Any:
    """Return the only entry of each list: one number per sequence."""
    if isinstance(value, dict):
        return {name: own[0] for name, own in value.items()}
    return value[0]


def _numbers(p: Predictions, columns: NDArray[Any]) -> Any:
    """Return numbers, (K, T), as a list if there is one output, else as lists by name."""
    lists = [[_shortest(number) for number in own] for own in columns.tolist()]
    if len(lists) == 1:
        return lists[0]
    return dict(zip(map(str, p.outputs), lists, strict=True))


def _shortest(number: float) -> float | None:
    return None if number != number else float(f"{number:.9g}")


def _class_step_record(p: Predictions, i: int, rows: Floats, true: Any) -> Record:
    best = rows.argmax(1)
    predicted = [p.outputs[k] for k in best.tolist()]
    tokens = None
    record: Record = {}
    if p.tokens is not None and p.steps is not None:
        record["tokens"] = tokens = p.steps[i].tolist()
    places = token_places(p.texts[i], p.unit) if len(p.texts) and p.unit else None
    if true is not None:
        record["true"] = true.tolist()
        record["true_spans"] = _spans(record["true"], p.outputs, tokens, places)
    record["predicted"] = predicted
    record["probability"] = [round(each, 6) for each in rows.max(1).tolist()]
    record["spans"] = _spans(predicted, p.outputs, tokens, places)
    return record


def _spans(
    tags: Sequence[Any],
    classes: Sequence[Any],
    tokens: Sequence[str] | None,
    places: Sequence[tuple[int, int]] | None,
) -> list[Record]:
    """Return the stretches of one sequence that have a label.

    If the classes are tags such as B-NAME, I-NAME and O, these are the entities; else the runs of
    equal classes.

    Returns: for each, `start` and `end`, its first and last step, from 1; `label`; the `tokens` of
        these steps; and where the text is known, `start_char` and `end_char`, so that
        `text[start_char:end_char]` is the stretch.
    """
    if find_scheme(classes):
        stretches: list[tuple[int, int, Any]] = [*find_entities([t or OUTSIDE for t in tags])]
    else:
        stretches = [run for run in _runs(tags) if run[2] is not None]
    spans = []
    for start, end, label in stretches:
        span: Record = {"start": start + 1, "end": end, "label": label}
        if tokens is not None:
            span["tokens"] = list(tokens[start:end])
        if places is not None:
            span |= {"start_char": places[start][0], "end_char": places[end - 1][1]}
        spans.append(span)
    return spans


def _runs(tags: Sequence[Any]) -> Iterator[tuple[int, int, Any]]:
    """Yield the first step, the step after the last, and the tag of each run of equal tags."""
    start = 0
    for i in range(1, len(tags) + 1):
        if i == len(tags) or tags[i] != tags[start]:
            yield start, i, tags[start]
            start = i


def _value_step_record(p: Predictions, i: int, rows: Floats, true: Any) -> Record:
    known = {} if true is None else {"true": _numbers(p, true.reshape(len(true), -1).T)}
    return {**known, "predicted": _numbers(p, rows.T)}


RECORDS: dict[OutputName, Callable[[Predictions, Floats, Any], Record]] = {
    "classification": _class_record,
    "multilabel": _label_record,
    "regression": _value_record,
}
STEP_RECORDS: dict[OutputName, Callable[[Predictions, int, Floats, Any], Record]] = {
    "classification": _class_step_record,
    "regression": _value_step_record,
}
