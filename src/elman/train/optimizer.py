"""The optimizer of a training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from elman.errors import SettingsError
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


def remember(optimizer: torch.optim.Optimizer, name: str) -> dict[str, Tensor]:
    """What an optimizer keeps between steps, whole groups laid end to end: for `recall`.

    Args:
        name: of the kind of optimizer.
    """
    memory = {}
    for g, group in enumerate(optimizer.param_groups):
        states = [optimizer.state[parameter] for parameter in group["params"]]
        for key in states[0]:
            parts = [state[key].detach().reshape(-1).cpu() for state in states]
            memory[f"{name}.{g}.{key}"] = parts[0].clone() if key == "step" else torch.cat(parts)
    return memory


def recall(optimizer: torch.optim.Optimizer, name: str, memory: Mapping[str, Tensor]) -> None:
    """Go on with what `remember` kept, of the same parameters.

    Raises: SettingsError if it is of another kind of optimizer, or of other groups.
    """
    found: dict[int, dict[str, Tensor]] = {}
    start = 0
    for g, group in enumerate(optimizer.param_groups):
        own = f"{name}.{g}."
        kept = {k.removeprefix(own): v for k, v in memory.items() if k.startswith(own)}
        sizes = [parameter.numel() for parameter in group["params"]]
        if not kept or any(len(v) != sum(sizes) for k, v in kept.items() if k != "step"):
            raise SettingsError(
                f"optimizer, weight_decay: got {name!r} with {group['weight_decay']:g}, which "
                "cannot go on from where the optimizer before it stood. Set them back, or call fit"
            )
        for i, parameter in enumerate(group["params"], start):
            at = slice(sum(sizes[: i - start]), sum(sizes[: i - start + 1]))
            found[i] = {
                k: v.reshape(()).clone() if k == "step" else v[at].reshape(parameter.shape).clone()
                for k, v in kept.items()
            }
        start += len(sizes)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": found, "param_groups": groups})
