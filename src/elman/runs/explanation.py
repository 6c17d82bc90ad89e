"""One sequence of a file laid open, with the network that reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data import Dataset
from elman.errors import DataError, SettingsError, nearest
from elman.estimators import Estimator
from elman.evaluate.text import one_line
from elman.explain import (
    Attribution,
    Bptt,
    Memory,
    Trace,
    attribute,
    bptt,
    doctor,
    memory,
    trace,
)
from elman.runs.evaluation import load
from elman.runs.explanation_page import Explanation, draw, render
from elman.runs.folder import EXPLANATION, check_output_folder, folder_name, new_folder, unused_path
from elman.runs.predictions import sequence_names


@dataclass(frozen=True)
class ExplainOptions:
    """What is asked about a sequence.

    Args:
        row: its name, or its number from 0; None for the first.
        label: `true` or `predicted`: whose loss the gradient comes from; None for the true one
            where it is known.
        about: the class, label or value that the attribution explains; None for the predicted one.
        step: of a tagger, the step that it explains, from 1; None for the last.
        method, output, baseline, span, stride: of the attribution; see
            `elman.explain.attribute`. None for its defaults.
        sequences: behind the memory's curve, and that the doctor asks; None for their defaults.
        seed: of what is drawn.
    """

    row: str | None = None
    label: str | None = None
    about: str | None = None
    step: int | None = None
    method: Any = "integrated_gradients"
    output: Any = None
    baseline: str | None = None
    span: int | None = None
    stride: int | None = None
    sequences: int | None = None
    seed: int = 0


def explain(
    model: Path,
    data: str,
    options: Mapping[str, str | None],
    question: ExplainOptions,
    out: Path | None = None,
    overwrite: bool = False,
) -> tuple[Explanation, Path, tuple[str, ...]]:
    """Lay one sequence open and write a page and its pictures.

    Args:
        model: model or run folder.
        data: file, labelled or not, or built-in task, whose test part is taken.
        options: how to read the file, by flag; what is None is as in training.
        question: which sequence, and what about it.
        out: folder; None means below the run's explanations/; for a model without a run,
            explanation-<name of data>-row-<row> in the current folder.
        overwrite: replace an explanation that is there.
    Returns: what was found out, the folder, and what the user should know.
    Raises: ElmanError; nothing has been written by then.
    """
    if out is not None:
        check_output_folder(out, overwrite, EXPLANATION)
    estimator, dataset, notes = load(model, data, options, labelled=None)
    found = examine(estimator, dataset, question)
    if out is None:
        row = folder_name(question.row or "0")[:60] or str(found.number)
        name = f"{folder_name(Path(data).stem)}-row-{row}"
        run = (model / "config.toml").is_file()
        out = unused_path(model / "explanations" / name if run else Path(f"explanation-{name}"))
    with new_folder(out, overwrite, EXPLANATION):
        pictures = draw(found, out)
        text = render(found, pictures, notes, str(model))
        (out / "index.html").write_text(text, encoding="utf-8")
    return found, out, notes


def examine(estimator: Estimator, dataset: Dataset, question: ExplainOptions) -> Explanation:
    """Ask everything that can be asked about one sequence.

    Raises: SettingsError or DataError for a question that this network or data cannot answer.
    """
    names = sequence_names(dataset)
    number = row_of(question.row, names)
    sequence = dataset.inputs[number]
    traced = trace(estimator, sequence)
    true = None if dataset.target is None else dataset.target[number]
    if question.label == "true" and true is None:
        raise SettingsError(
            f"label: got 'true', but {dataset.source} has no labels. Leave it out, or name their "
            "column with --target"
        )
    label, against = _label(traced, true, question.label)
    values = traced.task == "regression"
    back: Bptt | str = "left out: without a true value there is no loss to go back from"
    if label is not None:
        back = _back(estimator, sequence, label, known=label is true)
    elif question.label == "predicted" and values:
        raise SettingsError(
            "label: got 'predicted', but the loss of a predicted value against itself is 0. Leave "
            "it out"
        )
    attributed: Attribution | str = (
        "What decided: left out, for this network predicts several values; name one with --about"
    )
    if not (values and len(traced.classes) > 1 and question.about is None):
        attributed = _attribute(estimator, sequence, question, traced)
    few: dict[str, Any] = {} if question.sequences is None else {"sequences": question.sequences}
    remembered: Memory | str = "How far back it remembers: left out, for that takes two sequences"
    if len(dataset) > 1:
        remembered = memory(estimator, dataset.inputs, seed=question.seed, **few)
    elif few:
        raise SettingsError("sequences: the data holds one. Leave it out")
    diagnosis = doctor(estimator, dataset.inputs, dataset.target, seed=question.seed, **few)
    shown = (", ".join(one_line(names[i], 30) for i in f.sequences[:8]) for f in diagnosis.findings)
    return Explanation(
        name=one_line(names[number], 60),
        number=number,
        of=dataset.source,
        steps=traced.steps,
        true="" if true is None else _shown(traced, true),
        predicted=_predicted(traced),
        against=against,
        trace=traced,
        bptt=back,
        attribution=attributed,
        memory=remembered,
        diagnosis=diagnosis,
        places=tuple(shown),
    )


def row_of(row: str | None, names: list[Any]) -> int:
    """The number of a sequence, from 0, by its name or that number; a name goes first.

    Raises: SettingsError for one that is neither, or a name that several have.
    """
    if row is None:
        return 0
    places = [i for i, name in enumerate(names) if str(name) == row]
    if len(places) > 1:
        raise SettingsError(
            f"row: {len(places)} sequences are called {row!r}, the first two number {places[0]} "
            f"and {places[1]} from 0"
        )
    if places:
        return places[0]
    if re.fullmatch(r"\d+", row) and int(row) < len(names):
        return int(row)
    known = f"a number from 0 to {len(names) - 1}"
    if str(names[0]) != "0":
        known += f", or a name as {names[0]!r}"
    hint = "" if re.fullmatch(r"-?\d+", row) else nearest(row, [str(name) for name in names])
    raise SettingsError(f"row: got {row!r}, expected {known}.{hint}")


def _label(found: Trace, true: Any, asked: str | None) -> tuple[Any, str]:
    """Whose loss is gone back from, None if there is none; and whose that is in words."""
    if true is not None and asked != "predicted":
        return true, f"from the loss of the true answer, {_shown(found, true)}"
    if found.task == "regression":
        return None, ""
    if found.task == "multilabel":
        own = np.flatnonzero(found.prediction > 0.5).tolist()
        label: Any = frozenset(found.classes[k] for k in own)
    elif found.per_step:
        label = _likeliest(found)
    else:
        label = found.classes[int(found.prediction.argmax())]
    why = ", for the true one is not known" if true is None else ""
    return label, f"from the loss of the predicted answer, {_shown(found, label)}{why}"


def _back(estimator: Estimator, sequence: Any, label: Any, known: bool) -> Bptt:
    try:
        return bptt(estimator, sequence, label)
    except DataError as error:
        if not known:
            raise
        raise DataError(
            error.problem, remedy=f"{error.remedy} Or ask for --label predicted.".strip()
        ) from None


def _attribute(
    estimator: Estimator, sequence: Any, asked: ExplainOptions, found: Trace
) -> Attribution:
    target = None
    if asked.about is not None:
        named = {str(name): name for name in found.classes}
        if asked.about not in named:
            some = ", ".join(map(repr, list(named)[:5])) + ", ..." * (len(named) > 5)
            hint = nearest(asked.about, list(named))
            raise SettingsError(f"about: got {asked.about!r}, expected one of {some}.{hint}")
        target = named[asked.about]
    step = asked.step
    if step is not None and found.per_step:
        if not 1 <= step <= found.steps:
            raise SettingsError(f"step: got {step}, expected 1 to {found.steps}")
        step -= 1
    return attribute(
        estimator,
        sequence,
        target,
        asked.method,
        output=asked.output,
        step=step,
        baseline=asked.baseline,
        span=asked.span,
        stride=asked.stride,
    )


def _likeliest(found: Trace) -> NDArray[Any]:
    """The likeliest class at each step, (T,)."""
    classes = np.empty(len(found.classes), dtype=object)
    classes[:] = found.classes
    tags: NDArray[Any] = classes[found.distribution.argmax(1)]
    return tags


def _shown(found: Trace, label: Any) -> str:
    """A label in words, on one line."""
    if found.task == "multilabel":
        return one_line("|".join(sorted(map(str, label))) or "none", 80)
    if found.task == "regression":
        numbers = np.atleast_1d(np.asarray(label, dtype=np.float64)).ravel()
        return one_line(", ".join(f"{number:.4g}" for number in numbers), 80)
    return one_line(" ".join(map(str, label)) if found.per_step else label, 80)


def _predicted(found: Trace) -> str:
    if found.task == "regression":
        return _shown(found, found.distribution if found.per_step else found.prediction)
    if found.per_step:
        return _shown(found, _likeliest(found))
    if found.task == "multilabel":
        own = np.flatnonzero(found.prediction > 0.5).tolist()
        return _shown(found, {found.classes[k] for k in own})
    best = int(found.prediction.argmax())
    return f"{one_line(found.classes[best], 60)}, with probability {found.prediction[best]:.3f}"
