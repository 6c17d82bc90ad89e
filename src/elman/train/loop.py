"""The training loop and validation."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Batch, Examples, batch_by_length, batch_randomly, make_batch
from elman.data.ragged import flatten, is_target
from elman.errors import SettingsError
from elman.models import SequenceModel
from elman.settings import TrainingPlan, TrainingSettings
from elman.train.examples import Augmentation, check_examples
from elman.train.gradients import GradientSource, batch_loss, gradient_source
from elman.train.losses import Loss
from elman.train.metrics import (
    EpochCallback,
    EpochRecord,
    History,
    Observer,
    RunningMetrics,
    describe_gaps,
)
from elman.train.monitor import INFERENCE_BATCH, Monitor
from elman.train.nonfinite import diverged, diverged_split
from elman.train.optimizer import learning_rate, make_optimizer, restore_state, save_state
from elman.train.progress import Progress


@torch.no_grad()
def validate(
    model: SequenceModel, examples: Examples, loss: Loss, device: torch.device
) -> RunningMetrics:
    """Return metrics of a split without dropout or label smoothing, weighted as in training."""
    model.eval()
    metrics = RunningMetrics(unit=examples.unit)
    loss = dataclasses.replace(loss, label_smoothing=0.0)
    for index in batch_by_length(examples.inputs.lengths, INFERENCE_BATCH):
        batch = to_device(make_batch(examples, index), device)
        mean, outputs, target, weight = batch_loss(model, batch, loss)
        metrics.add(float(mean), outputs, target, weight)
    return metrics


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch; lengths stay on the CPU, where torch's packing expects them."""
    if batch.x.device == device:
        return batch
    weight = None if batch.weight is None else batch.weight.to(device)
    static = None if batch.static is None else batch.static.to(device)
    return Batch(batch.x.to(device), batch.lengths, batch.target.to(device), weight, static)


def train(
    model: SequenceModel,
    training: Examples,
    validation: Examples | None,
    settings: TrainingSettings,
    *,
    class_weight: NDArray[np.float64] | None = None,
    optimizer_state: dict[str, Tensor] | None = None,
    monitor: Monitor | None = None,
    progress: Progress | None = None,
    on_epoch: EpochCallback | None = None,
) -> History:
    """Train `model` in place and leave it with the weights that `settings.keep` names.

    Ctrl-C ends the loop like early stopping and keeps the best or last weights so far.
    Parameters whose requires_grad is off are not changed.
    The caller seeds torch (`torch.random.fork_rng`), so that weights and dropout share a seed.

    Args:
        model: the model, on the device to train on.
        training: the training split.
        validation: the split for early stopping and `keep='best'`; None if there is none.
        settings: values of None are replaced by the defaults of `TrainingSettings.resolve`.
        class_weight: the values for `settings.class_weight`, (K,); None if that is None.
        optimizer_state: state to continue from, unless empty; updated in place.
        monitor: sequences of the test split that are evaluated for a curve and change nothing.
        progress: display of the training, updated after every batch.
        on_epoch: called after each epoch with its record, after `progress`; or an `Observer`.
    Raises: SettingsError if `best` or patience is set without a validation split, or if there is
        nothing to train; ShapeError or DataError if a split does not fit the model;
        NonFiniteError if a loss or gradient is not finite, naming the sequence, step, layer and
        gate where it began; ElmanError if the model is changed during the training in a way that
        would have no effect.
    """
    plan = settings.resolve(validation is not None)
    if (plan.class_weight is None) != (class_weight is None):
        raise SettingsError("class_weight: expected both the setting and its numbers, or neither")
    by_class = None if class_weight is None else torch.as_tensor(class_weight)
    loss = Loss.of(model.config.task, plan, by_class)
    check_examples(model.config, training, "training")
    if validation is not None:
        check_examples(model.config, validation, "validation")
    if monitor is not None:
        check_examples(model.config, monitor.examples, "test")
    progress = progress or Progress()
    if isinstance(on_epoch, Observer):
        on_epoch.begin(model, training, loss)
        on_epoch = on_epoch.epoch
    known = is_target(flatten(training.target))
    weighted, gaps = training.weight is not None, not known.all()
    gradients = gradient_source(model, plan, loss, weighted=weighted, gaps=bool(gaps))
    history = History(gradients=gradients.description, labelled=describe_gaps(known))
    if monitor is not None:
        history.monitored = str(monitor)
    try:
        optimizer = make_optimizer(gradients.groups, plan)
        if optimizer_state:
            restore_state(optimizer, plan.optimizer, optimizer_state)
        run = _Run(model, training, validation, monitor, plan, loss, gradients, optimizer, progress)
        progress.start(
            "\n".join(filter(None, (gradients.description, history.labelled, history.monitored)))
        )
        run.train_epochs(history, on_epoch)
    except KeyboardInterrupt:
        if not history.epochs:  # no epoch has ended, so there are no weights to keep
            raise
        history.stopped = f"interrupted after epoch {len(history.epochs)}"
    finally:
        gradients.release()
    if optimizer_state is not None:
        optimizer_state |= save_state(optimizer, plan.optimizer)
    model.load_state_dict(run.kept_weights)
    model.eval()
    return history


class _Run:
    """The loops over epochs and batches; see `train` for the arguments."""

    def __init__(
        self,
        model: SequenceModel,
        training: Examples,
        validation: Examples | None,
        monitor: Monitor | None,
        plan: TrainingPlan,
        loss: Loss,
        gradients: GradientSource,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
    ) -> None:
        self.model, self.training, self.validation = model, training, validation
        self.monitor, self.plan, self.loss, self.progress = monitor, plan, loss, progress
        self.gradients, self.optimizer = gradients, optimizer
        self.device = next(model.parameters()).device
        self.augment = Augmentation(training, plan, model.config.input_size)
        self.generator = np.random.default_rng(plan.seed)
        self.size = len(training) if plan.batch_size == "full" else plan.batch_size
        self.batches = math.ceil(len(training) / self.size)
        self.step = 0
        self.kept_weights: dict[str, Tensor] = {}

    def train_epochs(
        self, history: History, on_epoch: Callable[[EpochRecord], None] | None
    ) -> None:
        """Train until the epochs or the patience run out; store the weights to be restored."""
        best_loss, best_epoch = math.inf, 0
        for epoch in range(1, self.plan.epochs + 1):
            started = time.perf_counter()
            metrics, rate, norm = self.train_batches(epoch)
            self.gradients.check()
            validated = self.validate(epoch)
            tested = self.evaluate_test(epoch)
            record = EpochRecord(
                epoch=epoch,
                loss=metrics.mean_loss,
                accuracy=metrics.accuracy,
                validation_loss=validated.mean_loss if validated else None,
                validation_accuracy=validated.accuracy if validated else None,
                learning_rate=rate,
                gradient_norm=norm,
                seconds=time.perf_counter() - started,
                rmse=metrics.rmse,
                validation_rmse=validated.rmse if validated else None,
                test_loss=tested.mean_loss if tested else None,
                test_accuracy=tested.accuracy if tested else None,
                test_rmse=tested.rmse if tested else None,
            )
            history.epochs.append(record)
            better = validated is not None and validated.mean_loss < best_loss
            if validated is not None and better:
                best_loss, best_epoch = validated.mean_loss, epoch
            if better or self.plan.keep == "last":
                # Copied for `last` too: Ctrl-C may interrupt the next epoch halfway.
                self.kept_weights = copy.deepcopy(self.model.state_dict())
                history.kept_epoch = epoch
            self.progress.epoch(record)
            if on_epoch is not None:
                on_epoch(record)
            if self.plan.patience and epoch - best_epoch >= self.plan.patience:
                history.stopped = f"no lower validation loss for {self.plan.patience} epochs"
                return

    def train_batches(self, epoch: int) -> tuple[RunningMetrics, float, float]:
        """Train one epoch; return its metrics, last learning rate and mean gradient norm."""
        self.model.train()
        metrics = RunningMetrics(unit=self.training.unit)
        norms = []
        order = batch_randomly(self.training.inputs.lengths, self.size, self.generator)
        for number, index in enumerate(order, 1):
            rate = learning_rate(self.plan, self.step, self.plan.epochs * self.batches)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            batch = to_device(self.augment(make_batch(self.training, index)), self.device)
            with self.gradients.around:
                result = self.gradients(batch)
                norm = self.gradients.clip(self.plan.clip_norm or math.inf)
                if not (math.isfinite(result.loss) and math.isfinite(norm)):
                    raise diverged(
                        f"epoch {epoch}, batch {number}: loss {result.loss}, gradient norm {norm}",
                        self.model,
                        batch,
                        self.loss,
                        self.training.places_of(index),
                        self.plan,
                    )
                self.optimizer.step()
                metrics.add(*result)
            self.step += 1
            norms.append(norm)
            self.progress.batch(number, self.batches, metrics)
        return metrics, rate, float(np.mean(norms))

    def validate(self, epoch: int) -> RunningMetrics | None:
        """Return metrics of the validation split, or None if there is none."""
        if self.validation is None:
            return None
        metrics = validate(self.model, self.validation, self.loss, self.device)
        if not math.isfinite(metrics.mean_loss):
            where = f"epoch {epoch}: validation loss {metrics.mean_loss}"
            raise diverged_split(where, self.model, self.validation, self.loss, self.plan)
        return metrics

    def evaluate_test(self, epoch: int) -> RunningMetrics | None:
        """Return metrics of the monitored sequences; None if they are not due or not finite."""
        if self.monitor is None or not self.monitor.is_due(epoch):
            return None
        training = self.model.training
        # A cell of the user's own may draw random numbers, which must not change the training.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            metrics = validate(self.model, self.monitor.examples, self.loss, self.device)
        self.model.train(training)
        # A sample of the split may hold no labelled step.
        return metrics if metrics.weight and math.isfinite(metrics.mean_loss) else None
