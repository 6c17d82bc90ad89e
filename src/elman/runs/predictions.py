"""Predictions of a data set as CSV text, in the words of the file it was read from.

Dimensions: n sequences, N steps of all of them, m predictions, K outputs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data import Dataset, Ragged
from elman.data.ragged import flatten
from elman.estimators import EncodedSequences, Estimator
from elman.tasks import TASKS, OutputName

Floats = NDArray[np.float64]


def sequence_names(dataset: Dataset) -> list[Any]:
    """Name sequences by their ids in the file, or the lines they start on, or numbers from 0.

    A window is named by its sequence, its number and its first step there, both from 0.
    """
    names: list[Any] = list(range(len(dataset)))
    if dataset.ids:
        names = list(dataset.ids)
    elif dataset.lines is not None:
        names = [f"line {line}" for line in dataset.lines.tolist()]
    if dataset.windows is None:
        return names
    windows = zip(names, dataset.windows.tolist(), strict=True)
    return [f"{name} window {number} from step {first}" for name, (number, first) in windows]


def write_predictions(
    estimator: Estimator, dataset: Dataset, encoded: EncodedSequences, predictions: Floats
) -> str:
    """Return a data set's predictions as CSV text.

    Args:
        encoded: the data set's sequences as the estimator reads them.
        predictions: the estimator's for the data set: probabilities or numbers, (n, K), or (N, K)
            with one a step.
    """
    return predictions_csv(
        estimator.target_.task,
        estimator.target_.output_names,
        predictions,
        names=sequence_names(dataset),
        true=dataset.target,
        steps=encoded.steps if estimator.per_step else None,
    )


def predictions_csv(
    task: OutputName,
    outputs: Sequence[Any],
    predictions: Floats,
    *,
    names: Sequence[Any],
    true: NDArray[Any] | Ragged | None,
    steps: Ragged | None,
) -> str:
    """Return predictions as CSV text, one row a sequence, or one a step.

    Columns: `sequence`; with one prediction a step `step`, from 0, and for classes of tokens
    `token`; where they are known the true values; the predicted ones. Of classes and labels these
    are `true` and `predicted`, then `probability` of the predicted class, and `p(NAME)` of each
    class or label, without the last for a prediction at every step; several labels have `|` between
    them. Of numbers they are `true NAME` and `predicted NAME` for each.

    Args:
        task: what the outputs are.
        outputs: K classes or labels, or names of numbers.
        predictions: (n, K), or (N, K) with one a step: probabilities or numbers.
        names: of the sequences, (n,).
        true: labels or numbers, or None.
        steps: with one prediction a step, the sequences as read; numbers in them are not repeated.
    """
    columns = COLUMNS[task](outputs, steps is not None)
    targets = None if true is None else flatten(true)
    tokens = None
    if steps is not None and steps.values.ndim == 1 and TASKS[task].has_classes:
        tokens = steps.values
    places: list[list[Any]] = [[name] for name in names]
    if steps is not None:
        places = [
            [names[owner], step - int(steps.offsets[owner])]
            for step, owner in enumerate(steps.owners.tolist())
        ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["sequence", *["step"] * (steps is not None), *["token"] * (tokens is not None)]
    writer.writerow([*head, *(columns.true if true is not None else []), *columns.predicted])
    for row, (place, prediction) in enumerate(zip(places, predictions, strict=True)):
        token = [] if tokens is None else [tokens[row]]
        truth = [] if targets is None else columns.write_true(targets[row])
        writer.writerow([*place, *token, *truth, *columns.write_predicted(prediction)])
    return out.getvalue()


@dataclass(frozen=True)
class Columns:
    """How targets and predictions of one kind of output are written.

    Args:
        true, predicted: names of the columns.
        write_true: from a target to its cells.
        write_predicted: from outputs, (K,), to their cells.
    """

    true: list[str]
    predicted: list[str]
    write_true: Callable[[Any], list[Any]]
    write_predicted: Callable[[Floats], list[Any]]


def _class_columns(classes: Sequence[Any], per_step: bool) -> Columns:
    every = [] if per_step else [f"p({label})" for label in classes]

    def write_predicted(p: Floats) -> list[Any]:
        best = int(p.argmax())
        numbers = [p[best]] if per_step else [p[best], *p]
        return [classes[best], *(f"{number:.6f}" for number in numbers)]

    header = ["predicted", "probability", *every]
    return Columns(["true"], header, lambda label: [label], write_predicted)


def _label_columns(labels: Sequence[Any], per_step: bool) -> Columns:
    def write_predicted(p: Floats) -> list[Any]:
        chosen = [str(label) for label, each in zip(labels, p, strict=True) if each > 0.5]
        return ["|".join(chosen), *(f"{each:.6f}" for each in p)]

    return Columns(
        ["true"],
        ["predicted", *(f"p({label})" for label in labels)],
        lambda chosen: ["|".join(sorted(map(str, chosen)))],
        write_predicted,
    )


def _value_columns(names: Sequence[Any], per_step: bool) -> Columns:
    return Columns(
        [f"true {name}" for name in names],
        [f"predicted {name}" for name in names],
        lambda numbers: np.atleast_1d(numbers).tolist(),
        lambda numbers: [f"{number:.9g}" for number in numbers],  # enough to tell float32 apart
    )


# By kind of output: its columns, from the names of the outputs and whether there is one a step.
COLUMNS: dict[OutputName, Callable[[Sequence[Any], bool], Columns]] = {
    "classification": _class_columns,
    "multilabel": _label_columns,
    "regression": _value_columns,
}


def note_unknown_tokens(encoded: EncodedSequences, source: str) -> tuple[str, ...]:
    """Say how many tokens of a data set are not in the vocabulary; empty if none.

    Args:
        source: what the data set is called.
    """
    unknown = encoded.encoder.count_unknown(encoded.steps)
    if not unknown:
        return ()
    total = len(encoded.steps.values)
    most_common = ", ".join(repr(token) for token, _ in unknown.most_common(5))
    more = ", ..." if len(unknown) > 5 else ""
    return (
        f"{unknown.total():,} of {total:,} tokens ({unknown.total() / total:.2%}) of "
        f"{source} were not seen in training and are read as unknown: {most_common}{more}",
    )
