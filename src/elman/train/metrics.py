"""Training metrics: running sums over batches, a record of each epoch, and the history.

Code outside this package follows a training through an `Observer`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Examples
from elman.errors import ModelFileError
from elman.models import SequenceModel
from elman.train.kept import Weights, keep_epoch
from elman.train.losses import Loss

_PENDING = 2**14  # output values collected before they are counted at once
_PARTS = ("outputs", "target")  # of a batch that is not counted yet
_SUMS = ("loss", "correct", "count", "weight")  # of RunningMetrics


def count_correct(
    outputs: Tensor, target: Tensor, unit: NDArray[np.float64] | None
) -> tuple[int, Tensor | None]:
    """Return the number of correct predictions, or 0 and the sums of squared errors, (K,)."""
    if unit is not None:
        return 0, (outputs.double() - target.double()).square().sum(0)
    if target.dim() > 1:
        right = ((outputs > 0) == (target > 0.5)).all(-1)
    else:
        right = outputs.argmax(-1) == target
    return int(right.sum()), None


@dataclass
class RunningMetrics:
    """Mean loss, and accuracy or RMSE, of the batches so far.

    Args:
        loss: sum of the batches' mean losses, each multiplied by its weight.
        correct: number of correct predictions; for multilabel targets, all labels must match.
        count: number of labelled sequences or steps.
        weight: sum of their weights; equal to `count` without sample or class weights.
        unit: scale of each predicted number, (K,): what 1 is in the target's unit; None for
            classes and labels.
    """

    loss: float = 0.0
    correct: int = 0
    count: int = 0
    weight: float = 0.0
    unit: NDArray[np.float64] | None = None
    _squares: Tensor | None = field(default=None, repr=False)  # (K,)
    _pending: list[tuple[Tensor, Tensor]] = field(default_factory=list, repr=False)
    _pending_values: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self.weight = self.weight or float(self.count)

    def add(
        self, loss: float, outputs: Tensor, target: Tensor, weight: float | None = None
    ) -> None:
        """Add a batch: its mean loss, outputs (M, K), target and total weight (None means M).

        The tensors must not be changed afterwards.
        """
        count = target.shape[0]
        weight = float(count) if weight is None else weight
        self.loss += loss * weight
        self.weight += weight
        self.count += count
        # Correct predictions are counted for many small batches at once: torch's calls, not the
        # arithmetic, take the time, a third of a small network's forward pass.
        self._pending.append((outputs, target))
        self._pending_values += outputs.numel()
        if self._pending_values > _PENDING:
            self.correct, self._squares = self._count()
            self._pending.clear()
            self._pending_values = 0

    def add_sums(self, sums: Tensor) -> None:
        """Add sums of batches that were counted elsewhere, as `to_sums` returns them."""
        values = sums.tolist()
        self.loss += values[0]
        self.weight += values[1]
        self.count += round(values[2])
        self.correct += round(values[3])
        if self.unit is not None:
            before = 0.0 if self._squares is None else self._squares
            self._squares = before + sums[4:]

    def to_sums(self) -> Tensor:
        """Return the sums of loss, weight, count, correct and squares, (4,) or (4 + K,) float64."""
        correct, squares = self._count()
        sums = torch.tensor([self.loss, self.weight, self.count, correct], dtype=torch.float64)
        if self.unit is None:
            return sums
        return torch.cat([sums, torch.zeros(len(self.unit)) if squares is None else squares.cpu()])

    def _count(self) -> tuple[int, Tensor | None]:
        """Return the correct predictions and the sums of squares, (K,), with the pending ones.

        Nothing is changed: a progress display reads the metrics whenever a tenth of a second has
        passed, and the sums of numbers must not be grouped by the clock.
        """
        if not self._pending:
            return self.correct, self._squares
        outputs, target = (torch.cat(part) for part in zip(*self._pending, strict=True))
        correct, squares = count_correct(outputs, target, self.unit)
        if squares is not None and self._squares is not None:
            squares = self._squares + squares
        return self.correct + correct, squares

    @property
    def mean_loss(self) -> float:
        """Mean loss per labelled sequence or step: in nats, or for standardised numbers.

        NaN as long as there is none: the first chunks of an epoch may hold no label.
        """
        return self.loss / self.weight if self.weight else math.nan

    @property
    def accuracy(self) -> float | None:
        """Fraction of labelled sequences or steps predicted correctly; None for numbers."""
        if self.unit is not None:
            return None
        return self._count()[0] / self.count if self.count else math.nan

    @property
    def rmse(self) -> float | None:
        """Root mean squared error in the target's unit, mean over the K; None for classes.

        Defined like scikit-learn's root_mean_squared_error.
        """
        squares = None if self.unit is None else self._count()[1]
        if self.unit is None or squares is None:
            return None
        if not self.count:
            return math.nan
        roots = (squares / self.count).sqrt().cpu().numpy()
        return float((roots * self.unit).mean())

    def to_dict(self) -> dict[str, float]:
        """Return the sums that are no tensors, JSON-ready, for `restore`."""
        return {name: getattr(self, name) for name in _SUMS}

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the other sums, and the outputs and targets that are not counted yet.

        Counted now, the numbers would be summed in other groups than in an unbroken training.
        """
        tensors = {} if self._squares is None else {"squares": self._squares}
        if self._pending:
            parts = zip(*self._pending, strict=True)
            tensors |= {n: torch.cat(p) for n, p in zip(_PARTS, parts, strict=True)}
        return tensors

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, Tensor],
        sums: Mapping[str, float],
        unit: NDArray[np.float64] | None,
        outputs: int,
        device: torch.device,
    ) -> RunningMetrics:
        """Return the metrics that `to_tensors` and `to_dict` described.

        Args:
            outputs: number of outputs of the network, K.
        Raises: ModelFileError if they do not belong together.
        """
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        squares, pending = tensors.get("squares"), [tensors[n] for n in _PARTS if n in tensors]
        fit = set(sums) == set(_SUMS) and set(tensors) <= {"squares", *_PARTS}
        if pending:
            fit &= len(pending) == 2 and pending[0].shape == (len(pending[1]), outputs)
            fit &= pending[-1].shape in (pending[0].shape[:1], pending[0].shape)
            fit &= pending[0].is_floating_point()
        fit &= all(value >= 0 for name, value in sums.items() if name != "loss")
        fit &= squares is None or (squares.shape == (outputs,) and unit is not None)
        if not fit:
            raise ModelFileError("the sums and the outputs of the epoch do not go together")
        metrics = cls(sums["loss"], int(sums["correct"]), int(sums["count"]), sums["weight"], unit)
        metrics.weight = sums["weight"]
        metrics._squares = squares
        if pending:
            metrics._pending = [(pending[0], pending[1])]
            metrics._pending_values = pending[0].numel()
        return metrics


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: losses in nats per labelled sequence or step, and accuracies in [0, 1].

    `loss`, `accuracy` and `rmse` are means over the epoch's batches, each computed before its
    optimizer step and with dropout. For numeric targets, `accuracy` is None, the loss is that of
    standardised numbers and `rmse` is in the target's unit.

    `validation_*` are of the validation split. `test_*` are of the test split or a sample of it,
    which is monitored and never used for a choice; they are None at epochs without an evaluation.

    `seconds` is the duration of the epoch. Model folders do not hold it, because a training that is
    repeated must write the same bytes: it is None after loading, and not compared by `==`.
    """

    epoch: int
    loss: float
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    gradient_norm: float
    seconds: float | None = field(default=None, compare=False)
    rmse: float | None = None
    validation_rmse: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_rmse: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the metric of the task, accuracy or rmse, and without the duration."""
        left_out = ("rmse" if self.rmse is None else "accuracy", "seconds")
        return {name: value for name, value in asdict(self).items() if not name.endswith(left_out)}


@dataclass
class History:
    """History of a training.

    Args:
        epochs: one record per epoch.
        kept_epoch: the epoch whose weights were kept.
        stopped: why the training ended.
        gradients: how the gradients were computed, in words.
        determinism: whether the training gives the same bits again, in words.
        labelled: how many steps are not labelled, in words; empty if all are.
        monitored: which sequences of the test split were evaluated and when, in words.
        kept_epochs: weights of the epochs that `keep_epochs` keeps, by name, by epoch.
    """

    epochs: list[EpochRecord] = field(default_factory=list)
    kept_epoch: int = 0
    stopped: str = "all epochs done"
    gradients: str = ""
    determinism: str = ""
    labelled: str = ""
    monitored: str = ""
    kept_epochs: dict[int, Weights] = field(default_factory=dict, repr=False, compare=False)

    def with_pass(self, last: History, keep_epochs: int) -> History:
        """Return this history with one more pass of `partial_fit`.

        Args:
            last: the history of the pass, which has one epoch.
            keep_epochs: number of epochs in between whose weights are kept; 0 for none.
        """
        record = replace(last.epochs[0], epoch=len(self.epochs) + 1)
        kept: dict[int, Weights] = {}
        if keep_epochs:
            kept |= self.kept_epochs or {len(self.epochs): last.kept_epochs[0]}
            keep_epoch(kept, record.epoch, last.kept_epochs[1], record.epoch, keep_epochs)
        epochs = [*self.epochs, record]
        return replace(last, epochs=epochs, kept_epoch=record.epoch, kept_epochs=kept)

    @property
    def held_out(self) -> Literal["validation", "test"] | None:
        """The split of the held-out curve; None if nothing was evaluated during the training.

        `validation` may have chosen the epoch; `test` is only monitored.
        """
        if any(record.validation_loss is not None for record in self.epochs):
            return "validation"
        return "test" if any(record.test_loss is not None for record in self.epochs) else None


def describe_gaps(known: int, count: int) -> str:
    """Return how many of `count` steps are not labelled, in words; empty if all are."""
    return f"{count - known:,} of {count:,} steps are not labelled" if known < count else ""


@runtime_checkable
class Observer(Protocol):
    """Protocol of an object that follows a training: it receives the network and each epoch."""

    def begin(self, model: SequenceModel, training: Examples, loss: Loss) -> None:
        """Called once, before the first step; must not change its arguments."""

    def epoch(self, record: EpochRecord) -> None:
        """Called after each epoch."""


EpochCallback = Callable[[EpochRecord], None] | Observer
