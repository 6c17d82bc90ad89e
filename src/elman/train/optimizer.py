"""The optimizer of a training."""

from __future__ import annotations

import torch
from torch import Tensor

from elman.settings import TrainingPlan
from elman.train.gradients import Groups


class FusedAdam(torch.optim.Adam):
    """torch's fused Adam, or AdamW if `decoupled_weight_decay`, with less Python around its kernel.

    The same bits and the same state_dict. Below 64 units torch's own `step` takes as long as loss
    and gradients together, half of it to sort the tensors by device, which are all on one.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the parameters from their `.grad`."""
        if closure is not None:
            raise TypeError("closure: there is none for Adam")
        for group in self.param_groups:
            tensors: tuple[list[Tensor], ...] = ([], [], [], [], [], [])
            self._init_group(group, *tensors)  # type: ignore[no-untyped-call]
            if not tensors[0]:
                continue
            beta1, beta2 = group["betas"]
            kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
            torch._foreach_add_(tensors[-1], 1)
            kernel(
                *tensors,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )


def make_optimizer(groups: Groups, settings: TrainingPlan) -> torch.optim.Optimizer:
    """Return the optimizer; the second group, biases and embeddings, is not decayed."""
    options = [
        {"params": group, "weight_decay": decay}
        for group, decay in zip(groups, (settings.weight_decay, 0.0), strict=True)
        if group
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(options, lr=settings.learning_rate, momentum=0.9, fused=True)
    return FusedAdam(
        options,
        lr=settings.learning_rate,
        fused=True,
        decoupled_weight_decay=settings.optimizer == "adamw",
    )
