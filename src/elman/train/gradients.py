"""Loss and gradients of one batch, by autograd."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from elman.data.batches import Batch
from elman.models import SequenceModel


@dataclass
class Tally:
    """Sums over the labelled sequences, or steps, of one or more batches."""

    loss: float = 0.0
    correct: int = 0
    count: int = 0

    def add(self, loss: Tensor, logits: Tensor, target: Tensor) -> None:
        """Add a batch: its mean loss, logits (M, K) and codes (M,)."""
        self.loss += float(loss) * len(target)
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


def batch_loss(
    model: SequenceModel, batch: Batch, label_smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean cross-entropy of a batch in nats, its logits (M, K) and its codes (M,).

    M is B, or for a label at every step the number of steps inside the sequences: what lies past a
    row's end takes no part.
    """
    logits = model(batch.x, batch.lengths)
    target = batch.target
    if target.dim() == 2:
        time = torch.arange(target.shape[1], device=target.device)
        inside = time < batch.lengths.to(target.device)[:, None]  # (B, T)
        logits, target = logits[inside], target[inside]
    loss = functional.cross_entropy(logits, target, label_smoothing=label_smoothing)
    return loss, logits, target


def loss_and_gradients(
    model: SequenceModel, batch: Batch, label_smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As `batch_loss`, and leave the gradient in each parameter's `.grad`."""
    model.zero_grad(set_to_none=True)
    loss, logits, target = batch_loss(model, batch, label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), logits.detach(), target
