"""`elman explain`: explains one sequence of a file and the network that reads it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elman import files
from elman.data import Dataset
from elman.data.splits import excerpts
from elman.errors import DataError, SettingsError, nearest
from elman.estimators import Estimator
from elman.evaluate.text import one_line
from elman.explain import (
    Attribution,
    Bptt,
    Diagnosis,
    Influence,
    Memory,
    Trace,
    attribute,
    bptt,
    choose_sequence,
    doctor,
    influence,
    memory,
    trace,
)
from elman.runs.diagnostics import LONGEST, is_divisible, join_sequence_names
from elman.runs.evaluation import load_model_and_data
from elman.runs.explanation_page import Explanation, render_page, save_figures
from elman.runs.explanation_words import OUTPUTS
from elman.runs.folder import (
    EXPLANATION,
    check_output_folder,
    default_output,
    folder_name,
)

REPLACEMENTS = 8  # of each step for the influences; their mean changes little with more
INFLUENCE_STEPS = 2_000_000  # most steps through the network for them: seconds with 64 units


@dataclass(frozen=True)
class ExplainOptions:
    """Which sequence to explain, and how.

    Args:
        row: name of the sequence, or its number from 0; None for a wrong or an undecided one; see
            `elman.explain.choose_sequence`.
        label: `true` or `predicted`: the label whose loss is differentiated; None for the true one
            if it is known.
        about: the class, label or value that the attribution explains; None for the predicted one.
        step: for a tagger, the step to explain, from 1; None for a wrong or an undecided one.
        method, output, baseline, span, stride: options of `elman.explain.attribute`; None for
            its defaults.
        sequences: number of sequences for the memory and the doctor; None for their defaults.
        seed: random seed of the samples.
        gradient, attribution, memory, diagnosis: whether this part is computed. All but the
            gradient take longer than the rest together.
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
    gradient: bool = True
    attribution: bool = True
    memory: bool = True
    diagnosis: bool = True


def explain(
    model: Path,
    data: str,
    reading: Mapping[str, str | None],
    options: ExplainOptions,
    out: Path | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda part: None,
) -> tuple[Explanation, Path, tuple[str, ...]]:
    """Explain one sequence and write a page with its figures.

    Args:
        model: model or run folder.
        data: labelled or unlabelled file, or built-in task, whose test split is used.
        reading: how to read the file, by flag; None means as in training.
        options: which sequence to explain, and how.
        out: folder; None means below the run's explanations/; for a model without a run,
            explanation-<name of data>-row-<row> in the current folder.
        overwrite: replace an existing explanation.
        progress: called with the name of each part before it is computed.
    Returns: the explanation, the folder, and notes for the user.
    Raises: ElmanError, before anything is written.
    """
    if out is not None:  # checked here too, as the work before the folder is made can take minutes
        check_output_folder(out, overwrite, EXPLANATION)
    progress("model and data")
    estimator, dataset, notes = load_model_and_data(model, data, reading, labelled=None)
    explanation = explain_sequence(estimator, dataset, options, progress)
    if out is None:
        row = folder_name(options.row or "")[:60] or str(explanation.number)
        name = f"{folder_name(Path(data).stem)}-row-{row}"
        out, renamed = default_output(model, EXPLANATION, name, overwrite)
        notes += renamed
    progress("figures")
    check_output_folder(out, overwrite, EXPLANATION)
    with files.new_folder(out, replace=overwrite) as folder:
        page = render_page(explanation, save_figures(explanation, folder), notes, str(model))
        files.write_file(folder / "index.html", page)
    return explanation, out, notes


def explain_sequence(
    estimator: Estimator,
    dataset: Dataset,
    options: ExplainOptions,
    progress: Callable[[str], None] = lambda part: None,
) -> Explanation:
    """Compute every explanation of one sequence that the options ask for.

    Raises: SettingsError or DataError if an option does not suit the network or the data.
    """
    _check_options(options, len(dataset), estimator)
    dataset, options, excerpt = _in_excerpts(estimator, dataset, options)
    names = dataset.names
    number, step, chosen = _choose(estimator, dataset, options, progress)
    sequence = dataset.take(np.array([number]))
    true = None if dataset.target is None else dataset.target[number]
    progress("trace")
    traced = _trace(estimator, sequence, true)
    output = OUTPUTS[traced.task]
    if options.label == "true" and true is None:
        raise SettingsError(
            f"label: got 'true', but {dataset.source} has no labels. Leave it out, or name their "
            "column with --target"
        )
    label, loss_of = _choose_label(traced, true, options.label)
    back: Bptt | str = "left out, because without a true value there is no loss"
    if not options.gradient:
        back, loss_of = "left out (--no-gradient)", ""
    elif label is not None:
        progress("gradient through time")
        back = _go_back(estimator, sequence, label, is_true=label is true)
    elif options.label == "predicted":
        raise SettingsError(
            "label: got 'predicted', but the loss of a predicted value against itself is 0. Leave "
            "it out"
        )
    attribution: Attribution | str = (
        "Attribution: left out, because this network predicts several values; name one with --about"
    )
    if not options.attribution:
        attribution = "Attribution: left out (--no-attribution)"
    elif output.likeliest is not None or len(traced.classes) == 1 or options.about is not None:
        progress("attribution to steps")
        attribution = _attribute(estimator, sequence, options, traced, step)
    few: dict[str, Any] = {} if options.sequences is None else {"sequences": options.sequences}
    remembered: Memory | str = "Memory: left out, because it takes two sequences"
    influences: Influence | str = ""
    if not options.memory:
        remembered = "Memory: left out (--no-memory)"
    elif len(dataset) > 1:
        progress("memory of the network")
        remembered = memory(estimator, dataset, seed=options.seed, **few)
        influences = _influence(estimator, sequence, dataset, traced.steps, options.seed)
    diagnosis: Diagnosis | str = "Doctor: left out (--no-diagnosis)"
    findings: tuple[str, ...] = ()
    if options.diagnosis:
        progress("diagnosis of the network")
        diagnosis = doctor(estimator, dataset, dataset.target, seed=options.seed, **few)
        findings = tuple(join_sequence_names(f, names) for f in diagnosis.findings)
    return Explanation(
        name=one_line(names[number], 60),
        number=number,
        source=dataset.source,
        steps=traced.steps,
        true="" if true is None else output.describe(traced, true),
        predicted=output.describe_prediction(traced),
        chosen="; ".join(filter(None, [chosen, excerpt])),
        loss_of=loss_of,
        trace=traced,
        bptt=back,
        attribution=attribution,
        memory=remembered,
        influence=influences,
        diagnosis=diagnosis,
        finding_sequences=findings,
    )


def _in_excerpts(
    estimator: Estimator, dataset: Dataset, options: ExplainOptions
) -> tuple[Dataset, ExplainOptions, str]:
    """Return long sequences as excerpts, with the options for them, and what that means in words.

    All explanations of a sequence take memory or time for each of its steps, a multiple of what a
    prediction takes; a recording of millions of steps has more than a figure can show.
    """
    if not is_divisible(estimator, dataset, LONGEST):
        return dataset, options, ""
    pieces, owners = excerpts(dataset, LONGEST)
    if options.row is not None:
        number = find_row(options.row, dataset.names)
        pieces = pieces.take(np.flatnonzero(owners == number))
        row, step = None, options.step
        if step is not None and 1 <= step <= int(dataset.lengths[number]):
            row, step = pieces.names[(step - 1) // LONGEST], (step - 1) % LONGEST + 1
        options = dataclasses.replace(options, row=row, step=step)
    return (
        pieces,
        options,
        (
            f"sequences of more than {LONGEST:,} steps are explained in excerpts of as many, each "
            "read as a sequence of its own; --row NAME --step N explains the excerpt with that step"
        ),
    )


# Options that only one part reads; they are refused without it because they would be ignored.
_OPTIONS_OF = {
    "gradient": ("label",),
    "attribution": ("about", "step", "output", "baseline", "span", "stride"),
}


def _check_options(options: ExplainOptions, count: int, estimator: Estimator) -> None:
    """Refuse options that are out of range or would be ignored, before anything is computed."""
    for part, names in _OPTIONS_OF.items():
        for name in names:
            if getattr(options, name) is not None and not getattr(options, part):
                raise SettingsError(
                    f"{name}: got {getattr(options, name)!r}, but --no-{part} leaves out what "
                    "reads it. Leave one of them out"
                )
    if options.sequences is not None and not (options.memory or options.diagnosis):
        raise SettingsError(
            f"sequences: got {options.sequences}, but --no-memory and --no-diagnosis leave out "
            "what reads it. Leave it out"
        )
    wanted = options.sequences
    if wanted is not None and not 2 <= wanted <= count:
        expected = f"2 to {count}, as the data hold {count} sequences" if count > 1 else "none"
        raise SettingsError(f"sequences: got {wanted}, expected {expected}. Leave it out for all")
    if options.about is not None:
        _find_output(options.about, estimator.target_.output_names)
    if options.step is not None and not estimator.per_step:
        raise SettingsError(
            f"step: got {options.step}, but this network has one output a sequence. Leave it out"
        )


def _find_output(about: str, outputs: Sequence[Any]) -> Any:
    """Return the class, label or value of this name. Raises SettingsError if there is none."""
    by_name = {str(name): name for name in outputs}
    if about not in by_name:
        some = ", ".join(map(repr, list(by_name)[:5])) + ", ..." * (len(by_name) > 5)
        raise SettingsError(
            f"about: got {about!r}, expected one of {some}.{nearest(about, by_name)}"
        )
    return by_name[about]


def _choose(
    estimator: Estimator,
    dataset: Dataset,
    options: ExplainOptions,
    progress: Callable[[str], None],
) -> tuple[int, int | None, str]:
    """Choose the sequence and, for a tagger, the step, both from 0, with the reason of a choice."""
    number = 0 if options.row is None else find_row(options.row, dataset.names)
    step = None if options.step is None else options.step - 1
    if options.row is not None and (options.step is not None or not estimator.per_step):
        return number, step, ""
    progress("choice of a sequence" if options.row is None else "choice of a step")
    among = dataset if options.row is None else dataset.take(np.array([number]))
    try:
        choice = choose_sequence(estimator, among, among.target)
    except DataError:
        if among.target is None:
            raise
        choice = choose_sequence(estimator, among)  # with a label that the network does not know
    if options.row is None:
        return choice.index, choice.step if step is None else step, f"chosen: {choice.reason}"
    return number, choice.step, ""


def _influence(
    estimator: Estimator, sequence: Dataset, dataset: Dataset, steps: int, seed: int
) -> Influence | str:
    """Measure the influence of each step, with as many replacements as take a few seconds."""
    replacements = min(REPLACEMENTS, INFLUENCE_STEPS // steps**2)
    if replacements < 1:
        return (
            f"Influence: left out, because a sequence of {steps:,} steps would take "
            f"{steps**2:,} steps through the network"
        )
    return influence(estimator, sequence, dataset, replacements=replacements, seed=seed)


def find_row(row: str | None, names: list[Any]) -> int:
    """Return a sequence's position, from 0, from its name or number; names take precedence.

    Raises: SettingsError if `row` is neither a name nor a position, or an ambiguous name.
    """
    if row is None:
        return 0
    places = [i for i, name in enumerate(names) if str(name) == row]
    if len(places) > 1:
        raise SettingsError(
            f"row: {len(places)} sequences are called {row!r}, the first two number {places[0]} "
            f"and {places[1]} from 0. Use the number of one"
        )
    if places:
        return places[0]
    if re.fullmatch(r"\d+", row) and int(row) < len(names):
        return int(row)
    expected = f"a number from 0 to {len(names) - 1}"
    if str(names[0]) != "0":
        expected += f", or a name such as {names[0]!r}"
    hint = "" if re.fullmatch(r"-?\d+", row) else nearest(row, [str(name) for name in names])
    raise SettingsError(f"row: got {row!r}, expected {expected}.{hint}")


def _choose_label(traced: Trace, true: Any, choice: str | None) -> tuple[Any, str]:
    """Return the label whose loss is differentiated, or None, and a description of that loss."""
    output = OUTPUTS[traced.task]
    if true is not None and choice != "predicted":
        return true, f"from the loss of the true label, {output.describe(traced, true)}"
    if output.likeliest is None:
        return None, ""
    label = output.likeliest(traced)
    why = ", because the true one is not known" if true is None else ""
    return label, f"from the loss of the predicted label, {output.describe(traced, label)}{why}"


def _trace(estimator: Estimator, sequence: Any, true: Any) -> Trace:
    """Trace a sequence with its true label, or without one that the network does not know."""
    try:
        return trace(estimator, sequence, true)
    except DataError:
        if true is None:
            raise
        return trace(estimator, sequence)  # `bptt` then says what is wrong with the label


def _go_back(estimator: Estimator, sequence: Any, label: Any, is_true: bool) -> Bptt:
    try:
        return bptt(estimator, sequence, label)
    except DataError as error:
        if not is_true:
            raise
        raise DataError(
            error.problem, remedy=f"{error.remedy} Or use --label predicted.".strip()
        ) from None


def _attribute(
    estimator: Estimator, sequence: Any, options: ExplainOptions, traced: Trace, step: int | None
) -> Attribution:
    target = None
    if options.about is not None:
        target = _find_output(options.about, traced.classes)
    if step is not None and not 0 <= step < traced.steps:
        raise SettingsError(f"step: got {step + 1}, expected 1 to {traced.steps}")
    return attribute(
        estimator,
        sequence,
        target,
        options.method,
        output=options.output,
        step=step,
        baseline=options.baseline,
        span=options.span,
        stride=options.stride,
    )
