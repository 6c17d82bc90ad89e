"""The training loop, top to bottom."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Batch, Examples, batch_by_length, batch_randomly, make_batch
from elman.errors import SettingsError
from elman.models import SequenceModel
from elman.settings import TrainingSettings
from elman.train.check import check_examples
from elman.train.disturb import Disturbance
from elman.train.gradients import batch_loss, gradient_source
from elman.train.losses import Loss
from elman.train.nonfinite import diverged, diverged_part
from elman.train.optimizer import make_optimizer, recall, remember
from elman.train.schedule import learning_rate
from elman.train.tally import Tally

_INFERENCE_BATCH = 256


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: losses in nats a labelled sequence or step, accuracies as shares, time in seconds.

    `loss`, `accuracy` and `rmse` are over the epoch's batches as they were trained on, that is
    before each step and with dropout. Where numbers are predicted there is no accuracy; the loss is
    of standardised numbers, and `rmse` is in the target's unit.
    """

    epoch: int
    loss: float
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    gradient_norm: float
    seconds: float
    rmse: float | None = None
    validation_rmse: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the figure of the task: accuracy or rmse."""
        other = ("rmse", "validation_rmse")
        if self.rmse is not None:
            other = ("accuracy", "validation_accuracy")
        return {name: value for name, value in asdict(self).items() if name not in other}


@dataclass
class History:
    """What happened.

    Args:
        epochs: a record each.
        kept_epoch: whose weights were kept.
        stopped: how it ended.
        gradients: where they came from, in words.
    """

    epochs: list[EpochRecord] = field(default_factory=list)
    kept_epoch: int = 0
    stopped: str = "all epochs done"
    gradients: str = ""


@torch.no_grad()
def validate(model: SequenceModel, examples: Examples, loss: Loss, device: torch.device) -> Tally:
    """Loss and accuracy of a part, without dropout or label smoothing, weighted as in training."""
    model.eval()
    tally = Tally(unit=examples.unit)
    loss = dataclasses.replace(loss, label_smoothing=0.0)
    for index in batch_by_length(examples.inputs.lengths, _INFERENCE_BATCH):
        batch = to_device(make_batch(examples, index), device)
        mean, outputs, target, weight = batch_loss(model, batch, loss)
        tally.add(float(mean), outputs, target, weight)
    return tally


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch; lengths stay on the CPU, where torch's packing wants them."""
    if batch.x.device == device:
        return batch
    weight = None if batch.weight is None else batch.weight.to(device)
    return Batch(batch.x.to(device), batch.lengths, batch.target.to(device), weight)


def train(
    model: SequenceModel,
    training: Examples,
    validation: Examples | None,
    asked: TrainingSettings,
    *,
    class_weight: NDArray[np.float64] | None = None,
    memory: dict[str, Tensor] | None = None,
    on_start: Callable[[str], None] = lambda description: None,
    on_batch: Callable[[int, int, Tally], None] = lambda batch, batches, tally: None,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
) -> History:
    """Train `model` in place and leave it with the weights that `asked.keep` names.

    Ctrl-C ends the loop as early stopping does: the weights kept are the best, or last, so far.
    Parameters whose requires_grad is off stay as they are.
    The caller seeds torch (`torch.random.fork_rng`), so that weights and dropout share a seed.

    Args:
        model: on the device it is to be trained on.
        training: what it learns from.
        validation: what early stopping and `keep='best'` look at; None if there is none.
        asked: what is None is as in `elman.settings.TrainingPlan`.
        class_weight: what `asked.class_weight` comes to, (K,); None if that is None.
        memory: of the optimizer, to go on with where it is not empty; left in it at the end.
        on_start: called once with where the gradients come from, in words.
        on_batch: called after each step with the batch's number, the epoch's batches and tally.
        on_epoch: called after each epoch with its record.
    Raises: SettingsError if `best` or patience is asked for without validation, or if there is
        nothing to train; ShapeError or DataError if a part does not go with the model;
        NonFiniteError if a loss or gradient is not finite, which names the sequence, step, layer
        and gate that it began in; ElmanError if the model is changed meanwhile in a way that would
        have no effect.
    """
    settings = asked.resolved(validation is not None)
    if (settings.class_weight is None) != (class_weight is None):
        raise SettingsError("class_weight: expected both the setting and its numbers, or neither")
    by_class = None if class_weight is None else torch.as_tensor(class_weight)
    loss_of = Loss.of(model.config.task, settings, by_class)
    check_examples(model.config, training, "training")
    if validation is not None:
        check_examples(model.config, validation, "validation")
    device = next(model.parameters()).device
    generator = np.random.default_rng(settings.seed)
    size = len(training) if settings.batch_size == "full" else settings.batch_size
    batches_per_epoch = math.ceil(len(training) / size)
    steps = settings.epochs * batches_per_epoch
    disturb = Disturbance(training, settings, model.config.input_size)
    best_loss = math.inf
    kept_weights: dict[str, Tensor] = {}
    step = 0
    gradients = gradient_source(model, settings, loss_of, weighted=training.weight is not None)
    history = History(gradients=gradients.description)
    try:
        optimizer = make_optimizer(gradients.groups, settings)
        if memory:
            recall(optimizer, settings.optimizer, memory)
        on_start(gradients.description)
        for epoch in range(1, settings.epochs + 1):
            started = time.perf_counter()
            model.train()
            tally = Tally(unit=training.unit)
            norms = []
            for number, index in enumerate(
                batch_randomly(training.inputs.lengths, size, generator), 1
            ):
                rate = learning_rate(settings, step, steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                batch = disturb(make_batch(training, index))
                with gradients.around:
                    loss, outputs, target, weight = gradients(to_device(batch, device))
                    norm = gradients.clip(settings.clip_norm or math.inf)
                    if not (math.isfinite(loss) and math.isfinite(norm)):
                        raise diverged(
                            f"epoch {epoch}, batch {number}: loss {loss}, gradient norm {norm}",
                            model,
                            to_device(batch, device),
                            loss_of,
                            training.places_of(index),
                            settings,
                        )
                    optimizer.step()
                    tally.add(loss, outputs, target, weight)
                step += 1
                norms.append(norm)
                on_batch(number, batches_per_epoch, tally)
            gradients.check()
            checked = None
            if validation is not None:
                checked = validate(model, validation, loss_of, device)
            if validation and checked and not math.isfinite(checked.mean_loss):
                where = f"epoch {epoch}: validation loss {checked.mean_loss}"
                raise diverged_part(where, model, validation, loss_of, settings)
            record = EpochRecord(
                epoch=epoch,
                loss=tally.mean_loss,
                accuracy=tally.accuracy,
                validation_loss=checked.mean_loss if checked else None,
                validation_accuracy=checked.accuracy if checked else None,
                learning_rate=rate,
                gradient_norm=float(np.mean(norms)),
                seconds=time.perf_counter() - started,
                rmse=tally.rmse,
                validation_rmse=checked.rmse if checked else None,
            )
            history.epochs.append(record)
            better = checked is not None and checked.mean_loss < best_loss
            if checked is not None and better:
                best_loss, best_epoch = checked.mean_loss, epoch
            if better or settings.keep == "last":
                # A copy in both cases: Ctrl-C may come in the middle of the next epoch.
                kept_weights = copy.deepcopy(model.state_dict())
                history.kept_epoch = epoch
            on_epoch(record)
            if settings.patience and epoch - best_epoch >= settings.patience:
                history.stopped = f"no lower validation loss for {settings.patience} epochs"
                break
    except KeyboardInterrupt:
        if not history.epochs:
            raise
        history.stopped = f"interrupted after epoch {len(history.epochs)}"
    finally:
        gradients.release()
    if memory is not None:
        memory |= remember(optimizer, settings.optimizer)
    model.load_state_dict(kept_weights)
    model.eval()
    return history
