"""Run folders and their files, which never overwrite another run or stay half-written.

Dimensions: n sequences, N steps in total, m predictions, K outputs.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from elman.data import Dataset, Ragged
from elman.data.ragged import flatten
from elman.errors import SettingsError
from elman.estimators import EncodedSequences, Estimator
from elman.tasks import TASKS, OutputName

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FolderKind:
    """A folder that elman writes: its name, its required entries and its optional ones.

    A folder is replaced only if it has every required entry and no entry that is not listed.
    """

    name: str
    required: frozenset[str]
    optional: frozenset[str]


RUN = FolderKind(
    "elman run",
    frozenset({"config.toml", "metrics.jsonl"}),
    frozenset({"metrics.json", "predictions.csv", "report.html", "plots", "model"})
    | {"evaluations", "explanations"},
)
EVALUATION = FolderKind(
    "evaluation", frozenset({"metrics.json", "predictions.csv"}), frozenset({"plots"})
)
EXPLANATION = FolderKind(
    "explanation",
    frozenset({"index.html", "trace.png", "gates"}),
    frozenset({"bptt.png", "distance.png", "attribution.png", "memory.png", "doctor.png"}),
)


def default_folder(data: str, today: datetime.date) -> Path:
    """Return runs/<date>-<name>, with a number appended if that exists."""
    name = folder_name(Path(data).stem) or "run"
    return unused_path(Path("runs") / f"{today.isoformat()}-{name}")


def default_output(model: Path, kind: FolderKind, name: str) -> Path:
    """Return the default folder of an evaluation or explanation: in the model's run, else here."""
    in_run = (model / "config.toml").is_file()
    return unused_path(model / f"{kind.name}s" / name if in_run else Path(f"{kind.name}-{name}"))


def folder_name(text: str) -> str:
    """Return the characters of a text that are allowed in a folder name; may be empty."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


def unused_path(path: Path) -> Path:
    """Return `path`, or `path-2`, `path-3`, ... if it exists."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def check_output_folder(folder: Path, overwrite: bool, kind: FolderKind = RUN) -> None:
    """Raise SettingsError if `folder` must not be written to."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SettingsError(f"{folder}: is a file, expected a folder. Name another with --out")
    entries = {path.name for path in folder.iterdir()}
    if not entries:
        return
    if not overwrite:
        raise SettingsError(
            f"{folder}: exists already. Name another with --out, or replace it with --overwrite"
        )
    if Path.cwd().is_relative_to(folder.resolve()):
        raise SettingsError(f"{folder}: you are in it. Go to another folder to replace it")
    problem = "" if entries >= kind.required else f"is not the folder of an {kind.name}"
    if foreign := sorted(entries - kind.required - kind.optional):
        problem = f"holds {', '.join(map(repr, foreign[:3]))}, which is no part of an {kind.name}"
    if problem:
        raise SettingsError(
            f"{folder}: {problem}, so --overwrite does not replace it. Name another with --out"
        )


@contextmanager
def new_folder(folder: Path, overwrite: bool, kind: FolderKind = RUN) -> Iterator[Path]:
    """Make `folder` for the duration of a `with` block; undo everything if the block fails.

    A folder to be replaced is kept next to the new one until that is complete. If the block fails
    after a model was saved, the new folder is kept, without a metrics.json, so that the training
    is not lost, and is renamed if the name belongs to an older run. A note on the exception says
    where it is.
    """
    check_output_folder(folder, overwrite, kind)
    where = folder.resolve()  # a link or "." cannot be renamed, but its target can
    with ExitStack() as undo:
        replaced = _set_aside(where) if overwrite else None
        if replaced is not None:
            undo.callback(replaced.replace, where)
        missing = [path for path in (where, *where.parents) if not path.exists()]
        undo.callback(_remove_empty, missing)
        # If another process made the folder meanwhile, this fails before anything is removed.
        where.mkdir(parents=True, exist_ok=not missing)
        undo.callback(_empty, where)
        try:
            yield folder
        except BaseException as error:
            if (where / "model" / "config.json").is_file():
                if replaced is None:
                    undo.pop_all()
                else:
                    where = where.replace(unused_path(where.with_name(f"{where.name}-unfinished")))
                error.add_note(f"The model trained so far is in {where / 'model'}")
            raise
        undo.pop_all()
    if replaced is not None:
        shutil.rmtree(replaced)


def _set_aside(where: Path) -> Path | None:
    """Rename the folder to be replaced, and return its new path; None if there is none."""
    aside = where.with_name(f".{where.name}.replaced")
    if aside.exists() and not (where / "metrics.json").is_file():
        # A process was killed while replacing a run: the new folder is incomplete, the old one not.
        shutil.rmtree(where, ignore_errors=True)
    elif where.exists() and any(where.iterdir()):
        shutil.rmtree(aside, ignore_errors=True)
        where.replace(aside)
    return aside if aside.exists() else None


def _empty(folder: Path) -> None:
    """Remove the content of a folder if it exists."""
    for path in list(folder.glob("*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that are empty, the innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def append_line(file: TextIO, values: Mapping[str, Any]) -> None:
    """Write one JSON object as a line and flush it, so that other processes can read it at once."""
    # NaN is not valid JSON and other readers would reject the line, so it is an error here.
    file.write(json.dumps(values, allow_nan=False) + "\n")
    file.flush()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write indented JSON."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def sequence_names(dataset: Dataset) -> list[Any]:
    """Name sequences by their ids in the file, else their first lines, else numbers from 0.

    A window is named after its sequence, its number and its first step, both from 0.
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
        predictions: the estimator's predictions: probabilities or numbers, (n, K), or (N, K)
            with one per step.
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
    """Return predictions as CSV text, one row per sequence, or one per step.

    Columns: `sequence`; with one prediction per step also `step`, from 0, and for classes of tokens
    `token`; then the true values if they are known, and the predicted ones. For classes and labels
    these are `true` and `predicted`, followed by `probability` of the predicted class and `p(NAME)`
    of each class or label (not with one prediction per step); several labels are joined by `|`. For
    numbers they are `true NAME` and `predicted NAME` for each.

    Args:
        task: kind of the outputs.
        outputs: the K classes or labels, or names of numbers.
        predictions: probabilities or numbers, (n, K), or (N, K) with one per step.
        names: names of the sequences, (n,).
        true: true labels or numbers, or None.
        steps: with one prediction per step, the sequences; only tokens in them are written.
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
    """Columns for the targets and predictions of one kind of output.

    Args:
        true, predicted: names of the columns.
        write_true: converts a target to its cells.
        write_predicted: converts outputs, (K,), to their cells.
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
        lambda numbers: [f"{number:.9g}" for number in numbers],  # distinguishes all float32
    )


# By kind of output: makes the columns from the output names and whether there is one per step.
COLUMNS: dict[OutputName, Callable[[Sequence[Any], bool], Columns]] = {
    "classification": _class_columns,
    "multilabel": _label_columns,
    "regression": _value_columns,
}


def note_unknown_tokens(encoded: EncodedSequences, source: str) -> tuple[str, ...]:
    """Return how many tokens of a data set are not in the vocabulary, in words; empty if none.

    Args:
        source: name of the data set.
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
