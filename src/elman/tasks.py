"""What can be learned from labelled sequences: one row a task.

Every room asks the row instead of comparing names: which losses go with it, what its outputs are
called, whether its targets are classes. What a task *does* (its loss in torch, its metrics, its
figures, how its predictions are written) stands in one table a room, whose keys are these names.

Light on purpose, as `elman.settings` is: nothing heavy is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["classification", "multilabel", "tagging", "regression"]
# What a network is built for. Tagging is classification with an output at every step, so a saved
# network says `classification` and has the readout `every`.
OutputName = Literal["classification", "multilabel", "regression"]


@dataclass(frozen=True)
class Task:
    """One row of `TASKS`.

    Args:
        name: as in `--task`.
        output: what the network's outputs stand for, the `task` of its `ModelConfig`.
        target: what a sequence's target is, for messages: "the target is ...".
        nouns: what one of the K outputs is called, and several.
        has_classes: whether targets come from a closed set of labels; else they are numbers.
        single_label: whether an answer is exactly one class, so that a split can be stratified,
            codes are whole numbers, and probabilities sum to 1.
        per_step: whether there is a target at every step; None where a task has both forms.
        losses: names of the losses that can be minimised; the first is what `auto` means.
        estimator: class of `elman.estimators` that learns it.
    """

    name: TaskName
    output: OutputName
    target: str
    nouns: tuple[str, str]
    has_classes: bool
    single_label: bool
    per_step: bool | None
    losses: tuple[str, ...]
    estimator: str


TASKS: dict[TaskName, Task] = {
    task.name: task
    for task in (
        Task(
            "classification",
            "classification",
            "one class per sequence",
            ("class", "classes"),
            has_classes=True,
            single_label=True,
            per_step=False,
            losses=("cross_entropy", "focal"),
            estimator="SequenceClassifier",
        ),
        Task(
            "multilabel",
            "multilabel",
            "any number of labels per sequence",
            ("label", "labels"),
            has_classes=True,
            single_label=False,
            per_step=False,
            losses=("cross_entropy", "focal"),
            estimator="SequenceClassifier",
        ),
        Task(
            "tagging",
            "classification",
            "a class at every step",
            ("class", "classes"),
            has_classes=True,
            single_label=True,
            per_step=True,
            losses=("cross_entropy", "focal"),
            estimator="SequenceTagger",
        ),
        Task(
            "regression",
            "regression",
            "numbers",
            ("value", "values"),
            has_classes=False,
            single_label=False,
            per_step=None,
            losses=("squared_error", "absolute", "huber"),
            estimator="SequenceRegressor",
        ),
    )
}
