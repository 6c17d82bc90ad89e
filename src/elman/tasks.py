"""The tasks that elman can learn from labelled sequences, one row per task.

The other packages read the row instead of comparing names: the losses of a task, what its outputs
are called, whether its targets are classes. The implementation of a task (its loss in torch, its
metrics, its figures, how its predictions are written) is in one table per package, keyed by name.

Like `elman.settings`, this module imports nothing heavy, so that the command starts fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["classification", "multilabel", "tagging", "regression"]
# Kinds of network outputs. Tagging is classification with an output at every step, so a saved
# network says `classification` and has the readout `every`.
OutputName = Literal["classification", "multilabel", "regression"]


@dataclass(frozen=True)
class Task:
    """One row of `TASKS`.

    Args:
        name: name for `--task`.
        output: kind of the network's outputs, the `task` of its `ModelConfig`.
        target: description of a sequence's target for messages: "the target is ...".
        nouns: noun for one of the K outputs, and its plural.
        has_classes: whether targets come from a closed set of labels; else they are numbers.
        single_label: whether a prediction is exactly one class, so that splits can be stratified,
            codes are integers, and probabilities sum to 1.
        per_step: whether there is a target at every step; None if the task has both forms.
        losses: names of the available losses; `auto` means the first.
        estimator: class of `elman.estimators` for the task.
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
