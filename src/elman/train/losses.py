"""Losses: weighted means over the labelled sequences, or over their valid steps.

    L = sum_i w_i l_i / sum_i w_i        w_i = sample weight * weight of the true class, else 1

M is the number of labelled sequences or steps in a batch, K the number of outputs. A step that is
not labelled has the code -100 (torch's ignore_index) or, among numbers, NaN; it has no loss and no
gradient, and is not among the M. A step of weight 0 is made such a step before the training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from elman.errors import SettingsError
from elman.settings import TrainingPlan, TrainingSettings
from elman.tasks import TASKS, OutputName


@dataclass(frozen=True)
class Loss:
    """A loss by name, with outputs z, targets y and p_y the probability of the true class.

        cross_entropy   -log p_y; for multilabel targets, the mean of the K binary cross-entropies
        focal           -(1 - p_y)^gamma log p_y, which reduces the weight of easy examples
        squared_error   mean over K of (z - y)^2; `absolute`, of |z - y|
        huber           mean over K of (z - y)^2 / 2 if |z - y| <= 1, else |z - y| - 1/2

    Args:
        task: what the outputs are: classification, multilabel or regression.
        name: one of the task's `losses` in `elman.tasks`.
        label_smoothing: s as in torch.nn.functional.cross_entropy; in multilabel targets, 0 becomes
            s/2 and 1 becomes 1 - s/2.
        focal_gamma: exponent of the focal loss.
        class_weight: (K,) or None. For classes, each example has the weight of its class; for
            multilabel targets, the weight multiplies the loss of a label where it is set.
    Source: focal, Lin et al. 2017, arXiv:1708.02002, equation 5.
    """

    task: OutputName
    name: str
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    class_weight: Tensor | None = None

    @classmethod
    def of(
        cls, task: OutputName, settings: TrainingPlan, class_weight: Tensor | None = None
    ) -> Loss:
        """Return the loss of the settings after `check_loss`."""
        check_loss(task, settings)
        return cls(
            task,
            TASKS[task].losses[0] if settings.loss == "auto" else settings.loss,
            settings.label_smoothing,
            settings.focal_gamma,
            class_weight,
        )

    @property
    def native_fallback_reason(self) -> str:
        """Why the native call cannot compute it; empty if it can."""
        row = _LOSSES[self.task, self.name]
        return "" if row.native else f"the loss is {row.title or self.name}"

    def mean(
        self, outputs: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, float]:
        """Return the weighted mean loss of a batch, and the sum of its weights.

        Args:
            outputs: outputs of the network, (M, K).
            target: class codes, (M,); or labels 0 and 1, or numbers, (M, K).
            weight: weight of each example, (M,), or None.
        """
        if not len(target):  # no step of the batch is labelled
            return outputs.sum(), 0.0
        # With one class, class weights weight examples; labels are weighted inside the loss.
        by_class = self.class_weight if TASKS[self.task].single_label else None
        items = self.items(outputs, target)
        if weight is None and by_class is None:
            return items.mean(), float(len(target))
        weights = torch.ones(len(target), dtype=outputs.dtype, device=outputs.device)
        if weight is not None:
            weights = weight.to(outputs)
        total = weights if by_class is None else weights * by_class.to(outputs)[target]
        return (weights * items).sum() / total.sum(), float(total.sum())

    def items(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each example, (M,), with class weights and without sample weights."""
        row = _LOSSES[self.task, self.name]
        return row.items(self, outputs, target if target.dim() < 2 else target.to(outputs.dtype))


def check_loss(task: OutputName, settings: TrainingSettings) -> None:
    """Raise SettingsError if the loss or one of its options does not suit the task."""
    row = TASKS[task]
    if settings.loss not in ("auto", *row.losses):
        raise SettingsError(
            f"loss: got {settings.loss!r}, expected 'auto' or one of "
            f"{', '.join(map(repr, row.losses))} for {task}"
        )
    if not row.has_classes:
        for name in ("label_smoothing", "class_weight"):
            if getattr(settings, name):
                raise SettingsError(
                    f"{name}: got {getattr(settings, name)!r}, but numbers are predicted, which "
                    "have no classes. Leave it out"
                )


def _weights(loss: Loss, outputs: Tensor) -> Tensor | None:
    return None if loss.class_weight is None else loss.class_weight.to(outputs)


def _focal(loss: Loss, log_p: Tensor) -> Tensor:
    # 1 - p is kept away from 0, where the slope of a root (gamma below 1) is infinite.
    return -(-torch.expm1(log_p)).clamp_min(1e-12).pow(loss.focal_gamma) * log_p


def _cross_entropy(loss: Loss, outputs: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(
        outputs,
        target,
        _weights(loss, outputs),
        reduction="none",
        label_smoothing=loss.label_smoothing,
    )


def _focal_classes(loss: Loss, outputs: Tensor, target: Tensor) -> Tensor:
    log_p = outputs.log_softmax(-1).gather(-1, target[:, None])[:, 0]
    by_class = _weights(loss, outputs)
    return _focal(loss, log_p) * (1.0 if by_class is None else by_class[target])


def _binary_cross_entropy(loss: Loss, outputs: Tensor, target: Tensor) -> Tensor:
    smooth = target * (1 - loss.label_smoothing) + loss.label_smoothing / 2
    return functional.binary_cross_entropy_with_logits(
        outputs, smooth, pos_weight=_weights(loss, outputs), reduction="none"
    ).mean(-1)


def _focal_labels(loss: Loss, outputs: Tensor, target: Tensor) -> Tensor:
    each = _focal(loss, functional.logsigmoid(outputs * (2 * target - 1)))
    by_class = _weights(loss, outputs)
    return (each if by_class is None else each * by_class.pow(target)).mean(-1)


def _mean_of(error: Callable[..., Tensor]) -> Callable[[Loss, Tensor, Tensor], Tensor]:
    return lambda loss, outputs, target: error(outputs, target, reduction="none").mean(-1)


@dataclass(frozen=True)
class _Row:
    """How a loss is computed for each example, and whether the native call supports it."""

    items: Callable[[Loss, Tensor, Tensor], Tensor]
    native: bool = False
    title: str = ""


_LOSSES: dict[tuple[OutputName, str], _Row] = {
    ("classification", "cross_entropy"): _Row(_cross_entropy, native=True),
    ("classification", "focal"): _Row(_focal_classes),
    ("multilabel", "cross_entropy"): _Row(_binary_cross_entropy, title="binary cross-entropy"),
    ("multilabel", "focal"): _Row(_focal_labels),
    ("regression", "squared_error"): _Row(_mean_of(functional.mse_loss), native=True),
    ("regression", "absolute"): _Row(_mean_of(functional.l1_loss)),
    ("regression", "huber"): _Row(_mean_of(functional.huber_loss)),
}
