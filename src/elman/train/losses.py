"""What is minimised: a mean over the labelled sequences, or over the steps inside them.

    L = sum_i w_i l_i / sum_i w_i        w_i = sample weight * weight of the true class, else 1

M is the number of them in a batch, K the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from elman.errors import SettingsError
from elman.settings import TrainingPlan, TrainingSettings

Task = Literal["classification", "multilabel", "regression"]
# The first is what "auto" means.
LOSSES: dict[Task, tuple[str, ...]] = {
    "classification": ("cross_entropy", "focal"),
    "multilabel": ("cross_entropy", "focal"),
    "regression": ("squared_error", "absolute", "huber"),
}


@dataclass(frozen=True)
class Loss:
    """The loss of a task. z are outputs, y targets, p_y the probability given to what is true.

        cross_entropy   -log p_y; of several labels the mean of the K binary ones
        focal           -(1 - p_y)^gamma log p_y, so that what is easy counts less
        squared_error   mean over K of (z - y)^2, absolute of |z - y|
        huber           mean over K of (z - y)^2 / 2 up to |z - y| = 1, of |z - y| - 1/2 beyond

    Args:
        task: classification, multilabel or regression.
        name: one of LOSSES.
        label_smoothing: as in torch.nn.functional.cross_entropy; of several labels, s/2 is given to
            both answers of each.
        focal_gamma: of the focal loss.
        class_weight: (K,) or None. Of classes, each example counts as much as its class; of several
            labels, a label that is there counts so much against one that is not.
    Source: focal, Lin et al. 2017, arXiv:1708.02002, equation 5.
    """

    task: Task
    name: str
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    class_weight: Tensor | None = None

    @classmethod
    def of(cls, task: Task, settings: TrainingPlan, class_weight: Tensor | None = None) -> Loss:
        """Return the loss that the settings ask for; `check_loss` has passed them."""
        check_loss(task, settings)
        return cls(
            task,
            LOSSES[task][0] if settings.loss == "auto" else settings.loss,
            settings.label_smoothing,
            settings.focal_gamma,
            class_weight,
        )

    @property
    def why_not_native(self) -> str:
        """What keeps it from the native call; empty if nothing does."""
        if self.name == "cross_entropy" and self.task == "multilabel":
            return "the loss is binary cross-entropy"
        native = self.name in ("cross_entropy", "squared_error")
        return "" if native else f"the loss is {self.name}"

    def mean(
        self, outputs: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, float]:
        """Return the mean of a batch, and the sum of the weights that it is divided by.

        Args:
            outputs: (M, K).
            target: codes, (M,); labels, 0 or 1, or values, (M, K).
            weight: of each example, (M,), or None.
        """
        by_class = self.class_weight if self.task == "classification" else None
        if weight is None and by_class is None:
            return self.items(outputs, target).mean(), float(len(target))
        own = torch.ones(len(target), dtype=outputs.dtype, device=outputs.device)
        if weight is not None:
            own = weight.to(outputs)
        total = own if by_class is None else own * by_class.to(outputs)[target]
        items = self.items(outputs, target)
        return (own * items).sum() / total.sum(), float(total.sum())

    def items(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each example, (M,), class weights in, sample weights not."""
        by_class = None if self.class_weight is None else self.class_weight.to(outputs)
        if self.task == "classification":
            if self.name == "focal":
                log_p = outputs.log_softmax(-1).gather(-1, target[:, None])[:, 0]
                return self._focal(log_p) * (1.0 if by_class is None else by_class[target])
            return functional.cross_entropy(
                outputs, target, by_class, reduction="none", label_smoothing=self.label_smoothing
            )
        target = target.to(outputs.dtype)
        if self.task == "multilabel":
            if self.name == "focal":
                each = self._focal(functional.logsigmoid(outputs * (2 * target - 1)))
                return (each if by_class is None else each * by_class.pow(target)).mean(-1)
            smooth = target * (1 - self.label_smoothing) + self.label_smoothing / 2
            return functional.binary_cross_entropy_with_logits(
                outputs, smooth, pos_weight=by_class, reduction="none"
            ).mean(-1)
        if self.name == "squared_error":
            return functional.mse_loss(outputs, target, reduction="none").mean(-1)
        if self.name == "absolute":
            return functional.l1_loss(outputs, target, reduction="none").mean(-1)
        return functional.huber_loss(outputs, target, reduction="none").mean(-1)

    def _focal(self, log_p: Tensor) -> Tensor:
        # Away from 0, where a root's slope has no end.
        return -(-torch.expm1(log_p)).clamp_min(1e-12).pow(self.focal_gamma) * log_p


def check_loss(task: Task, settings: TrainingSettings) -> None:
    """Raise SettingsError if the loss, or what shapes it, does not go with the task."""
    if settings.loss not in ("auto", *LOSSES[task]):
        raise SettingsError(
            f"loss: got {settings.loss!r}, expected 'auto' or one of "
            f"{', '.join(map(repr, LOSSES[task]))} for {task}"
        )
    if task == "regression":
        for name in ("label_smoothing", "class_weight"):
            if getattr(settings, name):
                raise SettingsError(
                    f"{name}: got {getattr(settings, name)!r}, but numbers are predicted, which "
                    "have no classes. Leave it out"
                )
