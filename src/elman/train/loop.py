"""The training loop and validation."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Batch, Examples, InMemory, Source, make_batch
from elman.data.encoded import Split
from elman.data.shuffling import Shuffled
from elman.errors import SettingsError
from elman.layers.random_numbers import draw_from, own_cuda_state
from elman.models import SequenceModel
from elman.models.parts import spans
from elman.settings import Precision, TrainingPlan, TrainingSettings
from elman.train.checkpoint import Checkpoints, Saver
from elman.train.distributed import Ranks, current
from elman.train.examples import Augmentation, check_examples
from elman.train.gradients import GradientSource, OneCall, batch_loss, gradient_source
from elman.train.identity import identify
from elman.train.kept import copy_to_cpu
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
from elman.train.precision import matrix_precision
from elman.train.progress import Progress
from elman.train.shares import RankGradients, RankSource
from elman.train.state import Order, TrainingState
from elman.train.streams import Streams, StreamStates, refuse_truncation


@torch.no_grad()
def validate(
    model: SequenceModel,
    examples: Split,
    loss: Loss,
    device: torch.device,
    precision: Precision = "float32",
    ranks: Ranks | None = None,
) -> RunningMetrics:
    """Return metrics of a split without dropout or label smoothing, weighted as in training.

    Args:
        ranks: processes that share the batches; all of them must call this.
    """
    model.eval()
    metrics = RunningMetrics(unit=examples.unit)
    loss = dataclasses.replace(loss, label_smoothing=0.0)
    number = 0  # of a batch
    for piece in examples.pieces():
        for span in spans(model, piece.lengths, INFERENCE_BATCH, ("every",)):
            number += span.is_first
            if ranks is not None and number % ranks.size != ranks.rank:
                continue
            steps = None if span.carry is None else (span.start, span.stop)
            batch = to_device(make_batch(piece, span.index, steps), device)
            mean, outputs, target, weight = batch_loss(model, batch, loss, precision, span.carry)
            if weight or steps is None:  # no step of a part may be labelled
                metrics.add(float(mean), outputs, target, weight)
    return metrics if ranks is None else ranks.add_up_metrics(metrics)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch; lengths stay on the CPU, where torch's packing expects them."""
    if batch.x.device == device:
        return batch
    weight = None if batch.weight is None else batch.weight.to(device)
    static = None if batch.static is None else batch.static.to(device)
    x, target = batch.x.to(device), batch.target.to(device)
    return dataclasses.replace(batch, x=x, target=target, weight=weight, static=static)


def train(
    model: SequenceModel,
    training: Split,
    validation: Split | None,
    settings: TrainingSettings,
    *,
    class_weight: NDArray[np.float64] | None = None,
    optimizer_state: dict[str, Tensor] | None = None,
    monitor: Monitor | None = None,
    progress: Progress | None = None,
    on_epoch: EpochCallback | None = None,
    checkpoints: Checkpoints | None = None,
    generator: torch.Generator | None = None,
) -> History:
    """Train `model` in place and leave it with the weights that `settings.keep` names.

    Ctrl-C ends the loop like early stopping and keeps the best or last weights so far.
    Parameters whose requires_grad is off are not changed.

    Args:
        model: the model, on the device to train on.
        training: the training split, in memory or on disk.
        validation: the split for early stopping and `keep='best'`; None if there is none.
        settings: values of None are replaced by the defaults of `TrainingSettings.resolve`.
        class_weight: the values for `settings.class_weight`, (K,); None if that is None.
        optimizer_state: state to continue from, unless empty; updated in place.
        monitor: sequences of the test split that are evaluated for a curve and change nothing.
        progress: display of the training, updated after every batch.
        on_epoch: called after each epoch with its record, after `progress`; or an `Observer`.
        checkpoints: where to continue, and to write checkpoints; None for none. Epochs that were
            done before are passed to `on_epoch` again, but not to an `Observer`, because the
            network is no longer that of these epochs.
        generator: source of dropout, noise and token dropout; None means torch's global one.
    Raises: SettingsError if `best` or patience is set without a validation split, if there is
        nothing to train, or if the checkpoints are of another training; ShapeError or DataError if
        a split does not fit the model; NonFiniteError if a loss or gradient is not finite, naming
        the sequence, step, layer and gate where it began; ElmanError if the model is changed during
        the training in a way that would have no effect; WriteError for a checkpoint.
    """
    plan = settings.resolve(validation is not None)
    if (plan.class_weight is None) != (class_weight is None):
        raise SettingsError("class_weight: expected both the setting and its numbers, or neither")
    by_class = None if class_weight is None else torch.as_tensor(class_weight)
    loss = Loss.of(model.config.task, plan, by_class)
    tested = None if monitor is None else monitor.examples
    for name, split in (("training", training), ("validation", validation), ("test", tested)):
        if split is not None:
            check_examples(model.config, split, name)
    if observed := isinstance(on_epoch, Observer):
        on_epoch.begin(model, training.sample(), loss)
        on_epoch = on_epoch.epoch
    own, labelled = _choose_gradients(model, training, plan, loss)
    monitored = "" if monitor is None else str(monitor)
    native = isinstance(own, OneCall)
    identity = functools.partial(
        identify, training, validation, monitor, plan, model, class_weight, native=native
    )
    whole = _choose_source(training, plan, own)
    source, gradients, ranks = _divide(whole, own, training.unit, identity)
    checkpoints = checkpoints if ranks is None or ranks.is_first else None
    try:
        optimizer = make_optimizer(gradients.groups, plan)
        if optimizer_state:
            restore_state(optimizer, plan.optimizer, optimizer_state)
        unit, states = training.unit, own.streams
        saver = Saver(checkpoints, model, optimizer, generator, plan, identity, unit, states)
        with saver, matrix_precision(plan.precision, model):
            augment = Augmentation(training, plan, model.config.input_size, saver.generator)
            data = _Data(source, augment, validation, monitor)
            run = _Run(data, plan, loss, gradients, progress, saver, ranks)
            said = (gradients.description, gradients.determinism, labelled, monitored)
            run.progress.start("\n".join(filter(None, (*said, run.continued))))
            run.train_to_end(on_epoch, repeat=not observed)
    finally:
        gradients.release()
    if optimizer_state is not None:
        optimizer_state |= save_state(optimizer, plan.optimizer)
    model.load_state_dict((state := run.state).kept_weights)
    model.eval()
    return History(state.records, state.kept_epoch, state.stopped, *said, state.kept_epochs)


def _choose_gradients(
    model: SequenceModel, training: Split, plan: TrainingPlan, loss: Loss
) -> tuple[GradientSource, str]:
    """Return what computes the gradients, and in words how many steps are labelled."""
    known, count = training.known
    gaps = known < count
    gradients = gradient_source(model, plan, loss, weighted=training.weighted, gaps=gaps)
    return gradients, describe_gaps(known, count)


def _choose_source(training: Split, plan: TrainingPlan, gradients: GradientSource) -> Source:
    """Return the source of the batches; `gradients` keeps the states that chunks start from."""
    if plan.tbptt:
        refuse_truncation(gradients.model, plan)
        streams = Streams(training, plan.tbptt, plan.batch_size)
        gradients.streams = StreamStates(gradients.model, streams.count)
        gradients.description += f", {streams.description}"
        return streams
    if isinstance(training, Examples):
        return InMemory(training, plan.batch_size)
    return Shuffled(training, plan.batch_size)


def _divide(
    source: Source,
    gradients: GradientSource,
    unit: NDArray[np.float64] | None,
    identity: Callable[[], dict[str, str]],
) -> tuple[Source | RankSource, GradientSource | RankGradients, Ranks | None]:
    """Return the share of this process if several train together, and which they are."""
    ranks = current()
    if ranks is None:
        return source, gradients, None
    ranks.refuse_differences(identity())
    return RankSource(source, ranks), RankGradients(gradients, ranks, unit), ranks


class _Data(NamedTuple):
    """What a training trains on, is validated on and, for a curve only, tested on."""

    source: Source | RankSource
    augment: Augmentation
    validation: Split | None
    monitor: Monitor | None


class _Run:
    """The loops over epochs and batches; see `train` for the arguments.

    Attributes:
        state: where the training is.
        continued: in words, where it was continued; empty if it began here.
    """

    def __init__(
        self,
        data: _Data,
        plan: TrainingPlan,
        loss: Loss,
        gradients: GradientSource | RankGradients,
        progress: Progress | None,
        saver: Saver,
        ranks: Ranks | None,
    ) -> None:
        self.source, self.augment = data.source, data.augment
        self.validation, self.monitor = data.validation, data.monitor
        self.plan, self.loss, self.gradients = plan, loss, gradients
        self.progress = progress or Progress()
        self.model, self.optimizer, self.saver = saver.model, saver.optimizer, saver
        self.device = next(self.model.parameters()).device
        self.generator, self.ranks = saver.generator, ranks
        self.batches = data.source.batches
        restored = saver.restore(self.batches)
        if ranks is not None:
            restored = ranks.continue_alike(saver, restored, self.batches)
        self.continued = f"continued in epoch {restored.epoch}" if restored else ""
        beginning = Order.of(np.random.default_rng(plan.seed))
        self.state = restored or TrainingState(RunningMetrics(unit=saver.unit), beginning)
        if restored is None and plan.keep_epochs:
            self.state.kept_epochs[0] = copy_to_cpu(self.model.state_dict())
        self.state.streams = saver.streams
        self.order = self.state.order.make_generator()

    def train_to_end(self, on_epoch: Callable[[EpochRecord], None] | None, *, repeat: bool) -> None:
        """Train, and save at the end, also if an exception cuts the training off.

        Args:
            repeat: whether the epochs that were done before are passed to `on_epoch`.
        """
        checkpoints, state = self.saver.checkpoints, self.state
        try:
            self.saver.write_epochs(state)
            for record in state.records:
                self.progress.skip(record)
                if on_epoch is not None and repeat:
                    on_epoch(record)
            self.train_epochs(on_epoch)
            self.saver.save_last(state)
        except BaseException as error:
            self.saver.save_broken_off(state, error)
            ends = checkpoints is None or checkpoints.on_interrupt == "stop"
            ends &= self.ranks is None  # the others would go on
            # Without an epoch that has ended, there are no weights to keep.
            if not (isinstance(error, KeyboardInterrupt) and ends and state.records):
                raise
            state.stopped = state.stopped or f"interrupted after epoch {len(state.records)}"
        self.saver.write_epochs(state, last=True)

    def train_epochs(self, on_epoch: Callable[[EpochRecord], None] | None) -> None:
        """Train until the epochs or the patience run out."""
        state = self.state
        while not state.stopped:
            rate, norm = self.train_batches()
            self.gradients.check()
            if self.ranks is not None:
                self.ranks.check_alike(self.saver, state.epoch)
            validated = self.validate(state.epoch)
            tested = self.evaluate_test(state.epoch)
            record = EpochRecord(
                epoch=state.epoch,
                loss=state.metrics.mean_loss,
                accuracy=state.metrics.accuracy,
                validation_loss=validated.mean_loss if validated else None,
                validation_accuracy=validated.accuracy if validated else None,
                learning_rate=rate,
                gradient_norm=norm,
                seconds=state.elapsed(),
                rmse=state.metrics.rmse,
                validation_rmse=validated.rmse if validated else None,
                test_loss=tested.mean_loss if tested else None,
                test_accuracy=tested.accuracy if tested else None,
                test_rmse=tested.rmse if tested else None,
            )
            with self.saver.uninterrupted:
                state.end_epoch(record, self.model.state_dict(), self.plan)
                state.order = Order.of(self.order)
            self.saver.write_epochs(state)
            self.progress.epoch(record)
            if on_epoch is not None:
                on_epoch(record)
            self.saver.save_if_due(state)

    def train_batches(self) -> tuple[float, float]:
        """Train the rest of an epoch; return its last learning rate and mean gradient norm."""
        state, steps = self.state, self.plan.epochs * self.batches
        self.model.train()
        state.resume_clock()
        plans = self.source.epoch(self.order)
        draws = self.draws(self.generator)
        for plan in plans[state.batch :]:
            rate = learning_rate(self.plan, state.step, steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            batch = to_device(self.augment(self.source.make(plan)), self.device)
            with self.gradients.around:
                with draws:
                    result = self.gradients(batch)
                norm = self.gradients.clip(self.plan.clip_norm or math.inf)
                if not (math.isfinite(result.loss) and math.isfinite(norm)):
                    if isinstance(self.source, RankSource):
                        batch = to_device(self.source.whole.make(plan), self.device)
                    raise diverged(
                        f"epoch {state.epoch}, batch {state.batch + 1}: loss {result.loss}, "
                        f"gradient norm {norm}",
                        self.model,
                        batch,
                        self.loss,
                        self.source.places(plan),
                        self.plan,
                        self.gradients.states_before(batch),
                    )
                with self.saver.uninterrupted:
                    if result.weight:  # a batch of chunks may hold no labelled step
                        self.optimizer.step()
                    state.end_batch(result, norm)
            self.progress.batch(state.batch, self.batches, state.metrics)
            self.saver.save_if_due(state)
        return learning_rate(self.plan, state.step - 1, steps), float(np.nanmean(state.norms))

    def draws(self, generator: torch.Generator) -> draw_from:
        """Return the context manager in which the model runs and draws from `generator`."""
        # All that an exact model draws is dropout. Others may hold code that knows nothing of
        # generators, such as hooks and cells of the user's own.
        return draw_from(generator, everything=not self.model.is_exact())

    def measure(self, examples: Split) -> RunningMetrics:
        """Return metrics of a split, as the module's `validate` does."""
        precision, ranks = self.plan.precision, self.ranks
        return validate(self.model, examples, self.loss, self.device, precision, ranks)

    def validate(self, epoch: int) -> RunningMetrics | None:
        """Return metrics of the validation split, or None if there is none."""
        if self.validation is None:
            return None
        with self.draws(self.generator):
            metrics = self.measure(self.validation)
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
        with own_cuda_state(self.device), self.draws(self.generator.clone_state()):
            metrics = self.measure(self.monitor.examples)
        self.model.train(training)
        # A sample of the split may hold no labelled step.
        return metrics if metrics.weight and math.isfinite(metrics.mean_loss) else None
