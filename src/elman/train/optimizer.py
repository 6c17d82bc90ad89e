"""Optimizers, the learning rate schedule, and saving of the optimizer state."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from elman.errors import SettingsError
from elman.settings import TrainingPlan
from elman.train.gradients import ParameterGroups

# Tensors of the state of each parameter; Adam also has its number of steps.
_MOMENTS = ("exp_avg", "exp_avg_sq")
_STATES = {"sgd": ("momentum_buffer",), "adam": _MOMENTS, "adamw": _MOMENTS}


class FusedAdam(torch.optim.Adam):
    """torch's fused Adam, or AdamW if `decoupled_weight_decay`, with less Python overhead.

    Results are bitwise equal to torch's, and the state_dict is the same.
    """

    # Measured: below 64 units, torch's `step` takes as long as loss and gradients together. Half
    # of that time groups the tensors by device, but here they are all on the same one.

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


def make_optimizer(groups: ParameterGroups, settings: TrainingPlan) -> torch.optim.Optimizer:
    """Return the optimizer; the second group, biases and embeddings, has no weight decay."""
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


def learning_rate(settings: TrainingPlan, step: int, steps: int) -> float:
    """Learning rate of step `step` (from 0) of `steps`.

    It rises linearly over the first `warmup` fraction of all steps, then stays constant or falls to
    zero along half a cosine.
    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts.
    """
    rising = settings.warmup * steps
    if step < rising:
        # Adam's second moments are at first means over few gradients, which makes the first steps
        # too large. The first rate is above 0 because a step at rate 0 would waste its batch.
        return settings.learning_rate * (step + 1) / (math.floor(rising) + 1)
    if settings.schedule == "constant":
        return settings.learning_rate
    share = (step - rising) / max(1.0, steps - rising)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def save_state(optimizer: torch.optim.Optimizer, name: str) -> dict[str, Tensor]:
    """Return the state of an optimizer between steps, for `restore_state`.

    The tensors of a group are concatenated, so the state is the same whether the parameters were
    trained one by one or as views of one flat tensor.

    Args:
        name: name of the optimizer in the settings.
    """
    saved = {}
    for g, group in enumerate(optimizer.param_groups):
        states = [optimizer.state[parameter] for parameter in group["params"]]
        for key in states[0]:
            # `step` is one count per parameter, the same for all; other tensors are concatenated.
            parts = [state[key].detach().reshape(-1).cpu() for state in states]
            saved[f"{name}.{g}.{key}"] = parts[0].clone() if key == "step" else torch.cat(parts)
    return saved


def restore_state(optimizer: torch.optim.Optimizer, name: str, saved: Mapping[str, Tensor]) -> None:
    """Continue from the state that `save_state` returned for the same parameters.

    Raises: SettingsError if the state is from another optimizer or other parameter groups.
    """
    states: dict[int, dict[str, Tensor]] = {}
    start = 0
    for g, group in enumerate(optimizer.param_groups):
        prefix = f"{name}.{g}."
        values = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
        sizes = [parameter.numel() for parameter in group["params"]]
        shapes = {k: (sum(sizes),) for k in _STATES[name]} | (
            {"step": (1,)} if name != "sgd" else {}
        )
        if {k: tuple(v.shape) for k, v in values.items()} != shapes or not all(
            v.is_floating_point() for v in values.values()
        ):
            raise SettingsError(
                f"optimizer, weight_decay: got {name!r} with {group['weight_decay']:g}, which "
                "cannot continue from the state of the optimizer before it. Set them back, or call "
                "fit"
            )
        for i, parameter in enumerate(group["params"], start):
            at = slice(sum(sizes[: i - start]), sum(sizes[: i - start + 1]))
            states[i] = {
                k: v.reshape(()).clone() if k == "step" else v[at].reshape(parameter.shape).clone()
                for k, v in values.items()
            }
        start += len(sizes)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": states, "param_groups": groups})
