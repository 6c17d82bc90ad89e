"""Loss and gradients of a batch, from one of two places with the same result.

One native call for the whole network, for the standard model on a CPU; autograd, for any model. The
training loop does not know which it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from elman import _core
from elman.data.batches import Batch
from elman.models import SequenceModel
from elman.models.native import Masks, NativeModel


@dataclass
class Tally:
    """Sums over the labelled sequences, or steps, of one or more batches."""

    loss: float = 0.0
    correct: int = 0
    count: int = 0

    def add(self, loss: float, logits: Tensor, target: Tensor) -> None:
        """Add a batch: its mean loss, logits (M, K) and codes (M,)."""
        self.loss += loss * len(target)
        self.correct += int((logits.argmax(-1) == target).sum())
        self.count += len(target)

    @property
    def mean_loss(self) -> float:
        """Mean loss of a labelled sequence or step, in nats."""
        return self.loss / self.count

    @property
    def accuracy(self) -> float:
        """Share of labelled sequences or steps that were right."""
        return self.correct / self.count


def inside(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (M, K) and codes (M,) of what takes part: sequences, or steps within them."""
    target = batch.target
    if target.dim() < 2:
        return logits, target
    time = torch.arange(target.shape[1], device=target.device)
    valid = time < batch.lengths.to(target.device)[:, None]  # (B, T)
    return logits[valid], target[valid]


def batch_loss(
    model: SequenceModel, batch: Batch, label_smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean cross-entropy of a batch in nats, its logits (M, K) and its codes (M,).

    M is B, or for a label at every step the number of steps inside the sequences: what lies past a
    row's end takes no part.
    """
    logits, target = inside(model(batch.x, batch.lengths), batch)
    loss = functional.cross_entropy(logits, target, label_smoothing=label_smoothing)
    return loss, logits, target


class Autograd:
    """Loss and gradients of a batch by autograd: any model, any device."""

    def __init__(self, model: SequenceModel, label_smoothing: float, why: str) -> None:
        self.model = model
        self.label_smoothing = label_smoothing
        self.description = f"gradients by autograd: {why}"

    def __call__(self, batch: Batch) -> tuple[float, Tensor, Tensor]:
        """Leave the gradient in each parameter's `.grad`; return as `batch_loss` does."""
        self.model.zero_grad(set_to_none=True)
        loss, logits, target = batch_loss(self.model, batch, self.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), logits.detach(), target

    def clip(self, limit: float) -> float:
        """Scale the gradients down to the norm `limit` if theirs is above it; return theirs."""
        return float(nn.utils.clip_grad_norm_(self.model.parameters(), limit))


class OneCall:
    """Loss and gradients of a batch in one native call; each `.grad` is a view of one buffer.

    Their bits do not depend on the number of threads.
    """

    def __init__(self, model: SequenceModel, label_smoothing: float) -> None:
        self.model = model
        self.label_smoothing = label_smoothing
        self.description = f"gradients by one native call a batch ({_core.isa()})"
        self._native = NativeModel(model)
        parameters = list(model.parameters())
        sizes = [p.numel() for p in parameters]
        self._flat = torch.zeros(sum(sizes), dtype=parameters[0].dtype)
        self._gradients = [
            part.view(p.shape)
            for part, p in zip(torch.split(self._flat, sizes), parameters, strict=True)
        ]

    def __call__(self, batch: Batch) -> tuple[float, Tensor, Tensor]:
        """Leave the gradient in each parameter's `.grad`; return as `batch_loss` does."""
        model, config = self.model, self.model.config
        masks = Masks.draw(model, *batch.x.shape[:2]) if config.dropout and model.training else None
        loss, logits = self._native.loss_and_gradients(
            batch.x,
            batch.lengths,
            batch.target,
            self._gradients,
            label_smoothing=self.label_smoothing,
            masks=masks,
        )
        for parameter, gradient in zip(self._native.parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return loss, *inside(logits, batch)

    def clip(self, limit: float) -> float:
        """Scale the gradients down to the norm `limit` if theirs is above it; return theirs."""
        flat = self._flat
        norm = _core.norm(flat.data_ptr(), flat.numel(), flat.dtype == torch.float64)
        if norm > limit:
            flat.mul_(limit / (norm + 1e-6))  # as torch.nn.utils.clip_grad_norm_
        return norm


def gradient_source(model: SequenceModel, label_smoothing: float) -> Autograd | OneCall:
    """Choose the faster of the two that can do it; its `description` says which, and why."""
    why = model.obstacle()
    return Autograd(model, label_smoothing, why) if why else OneCall(model, label_smoothing)
