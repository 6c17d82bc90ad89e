"""Loss and gradients of a batch, computed natively or by autograd with the same result.

The standard model on a CPU takes one native call for the whole network; autograd works for any
model. The training loop uses both in the same way.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import ContextDecorator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman import _core
from elman.data.batches import Batch
from elman.errors import ElmanError, SettingsError
from elman.layers.random_numbers import current_generator, draw_rows
from elman.models import ModelConfig, SequenceModel
from elman.models.carry import Carry
from elman.models.native import NativeModel, ParameterGradients, mask_shapes
from elman.ops.native import KERNEL_THREADS, USEFUL_THREADS, count_threads
from elman.settings import Precision, TrainingPlan
from elman.tasks import TASKS
from elman.train.losses import Loss
from elman.train.metrics import RunningMetrics
from elman.train.precision import describe_determinism, network_precision
from elman.train.streams import StreamStates

_PROCESS = os.getpid()  # that imported torch; any other one was forked from it
ParameterGroups = tuple[list[nn.Parameter], list[nn.Parameter]]  # with and without weight decay


class TorchThreads(ContextDecorator):
    """Sets the number of torch threads inside a `with` block and restores it afterwards.

    As a decorator, it does so for every call of the function. In a process that was forked torch
    stays on one thread and only the kernels use `count`: the threads of torch's OpenMP do not
    survive a fork, and a child that calls them waits forever. The results have the same bits.

    Args:
        count: number of threads; more than `USEFUL_THREADS` are never started.
    """

    def __init__(self, count: int) -> None:
        self.count = min(count, USEFUL_THREADS)

    def _recreate_cm(self) -> TorchThreads:
        return TorchThreads(self.count)  # nested calls each restore their own count

    def __enter__(self) -> None:
        self._before = torch.get_num_threads(), KERNEL_THREADS.get()
        forked = os.getpid() != _PROCESS
        torch.set_num_threads(1 if forked else self.count)
        KERNEL_THREADS.set(self.count if forked else None)

    def __exit__(self, *exception: object) -> None:
        threads, kernel_threads = self._before
        torch.set_num_threads(threads)
        KERNEL_THREADS.set(kernel_threads)


class BatchResult(NamedTuple):
    """Mean loss of a batch, its outputs (M, K), its target and the sum of its weights.

    M is B, or the number of labelled steps if there is a target at every step.
    """

    loss: float
    outputs: Tensor
    target: Tensor
    weight: float

    def add_to(self, metrics: RunningMetrics) -> None:
        """Add the batch to the metrics of its epoch."""
        metrics.add(*self)


def select_valid(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return outputs (M, K), target and weight (M,) of the sequences or their labelled steps."""
    target, weight = batch.target, batch.weight
    if outputs.dim() < 3:
        return outputs, target, weight
    time = torch.arange(target.shape[1], device=target.device)
    mask = (time < batch.lengths.to(target.device)[:, None]) & labelled_steps(target)  # (B, T)
    return outputs[mask], target[mask], None if weight is None else weight[mask]


def labelled_steps(target: Tensor) -> Tensor:
    """Return which steps of a target, (B, T) codes or (B, T, K) numbers, are labelled, (B, T)."""
    return ~target.isnan().any(-1) if target.is_floating_point() else target >= 0


def batch_loss(
    model: SequenceModel,
    batch: Batch,
    loss: Loss,
    precision: Precision = "float32",
    carry: Carry | None = None,
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Return the fields of `BatchResult`, with the loss as a tensor of the autograd graph.

    Padding and steps that are not labelled are excluded. Whatever the precision of the network, the
    loss is computed in the precision of its weights.

    Args:
        carry: the states before a batch of chunks, replaced by those after it.
    """
    more = () if batch.static is None else (batch.static,)
    with network_precision(precision, batch.x.device):
        if carry is None:  # a model with a forward pass of its own may not know of it
            outputs = model(batch.x, batch.lengths, *more)
        else:
            outputs = model(batch.x, batch.lengths, batch.static, carry)
    if precision == "bfloat16":
        outputs = outputs.float()
    outputs, target, weight = select_valid(outputs, batch)
    mean, total = loss.mean(outputs, target, weight)
    return mean, outputs, target, total


def decay_groups(model: nn.Module, settings: TrainingPlan) -> ParameterGroups:
    """Split the trainable parameters: with weight decay, and without (biases, embeddings)."""
    groups: ParameterGroups = ([], [])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # A bias is no measure of complexity, and decay would pull rare tokens towards zero more
            # often than a gradient moves them.
            undecayed = parameter.dim() < 2 or name.startswith("embedding")
            groups[undecayed or not settings.weight_decay].append(parameter)
    return groups


def draw_masks(config: ModelConfig, batch: int, time: int) -> list[Tensor]:
    """Draw dropout's keep masks from the current generator: bool, with shapes `mask_shapes`."""
    generator = current_generator()

    def draw(shape: tuple[int, ...]) -> Tensor:
        mask = torch.empty(shape, dtype=torch.bool, device="cpu")
        return mask.bernoulli_(1 - config.dropout, generator=generator)

    shapes = mask_shapes(config, batch, time)
    return [draw_rows(draw, shape, steps=len(shape) > 2) for shape in shapes]


class _Source:
    """Base class: checks that the model's parameters are the same as at the start.

    Attributes:
        streams: the states from which chunks are read; None if the batches are whole sequences.
    """

    streams: StreamStates | None = None

    def __init__(self, model: SequenceModel, loss: Loss) -> None:
        self.model = model
        self.loss = loss
        self._parameters = [(p, p.requires_grad) for p in model.parameters()]

    def states_before(self, batch: Batch) -> Carry | None:
        """Return the states before a batch of chunks."""
        return None if self.streams is None else self.streams.before(batch)

    def _keep(self, batch: Batch, carry: Carry | None) -> None:
        if self.streams is not None and carry is not None:
            self.streams.after(batch, carry)

    def check(self) -> None:
        """Raise ElmanError if parameters were replaced, frozen or unfrozen since the start."""
        parameters = list(self.model.parameters())
        if len(parameters) != len(self._parameters) or any(
            now is not then or now.requires_grad != trained
            for now, (then, trained) in zip(parameters, self._parameters, strict=True)
        ):
            raise ElmanError(
                "the model's parameters were replaced, frozen or freed while it was being trained, "
                "which has no effect. Do so before the training"
            )


class Autograd(_Source):
    """Loss and gradients of a batch by autograd: any model, any device.

    `groups` are the model's own parameters; `around` is the context manager for a step.
    """

    def __init__(
        self, model: SequenceModel, loss: Loss, settings: TrainingPlan, reason: str
    ) -> None:
        super().__init__(model, loss)
        self.groups = decay_groups(model, settings)
        self.around = contextlib.nullcontext()
        self._precision = settings.precision
        device = next(model.parameters()).device
        self.determinism = describe_determinism(device, native=False)
        self.description = f"gradients by autograd: {reason}"

    def __call__(self, batch: Batch) -> BatchResult:
        """Leave the gradient in each parameter's `.grad`; return as `batch_loss` does."""
        self.model.zero_grad(set_to_none=True)
        carry = self.states_before(batch)
        loss, outputs, target, weight = batch_loss(
            self.model, batch, self.loss, self._precision, carry
        )
        loss.backward()  # type: ignore[no-untyped-call]
        self._keep(batch, carry)
        return BatchResult(loss.item(), outputs.detach(), target, weight)

    @property
    def gradients(self) -> list[Tensor]:
        """The gradient of every trained parameter, zero where there is none."""
        for parameter in (p for group in self.groups for p in group):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [p.grad for group in self.groups for p in group if p.grad is not None]

    def clip(self, limit: float) -> float:
        """Scale the gradients down to the norm `limit` if theirs is above it; return theirs."""
        return float(nn.utils.clip_grad_norm_(self.model.parameters(), limit))

    def release(self) -> None:
        """Clear all gradients."""
        self.model.zero_grad(set_to_none=True)


class OneCall(_Source):
    """Loss and gradients of a batch in one native call, bitwise equal for any number of threads.

    The trained parameters become views of one flat tensor, and their gradients views of another.
    Each of `groups` holds one slice of it, so the optimizer updates two tensors instead of about
    two dozen; `release` gives each parameter its own memory again.
    """

    # `around` limits torch to one thread during a step. The work outside the native call is too
    # small to parallelise, but torch's fused optimizers do so anyway, which was measured to take
    # ten times as long as the call on a busy machine. The call itself uses all of torch's threads.

    def __init__(
        self,
        model: SequenceModel,
        native: NativeModel,
        weights: list[Tensor],
        loss: Loss,
        settings: TrainingPlan,
    ) -> None:
        super().__init__(model, loss)
        by_class = loss.class_weight
        self._class_weight = None if by_class is None else by_class.to(native.dtype)
        self.description = f"gradients by one native call a batch ({_core.isa()})"
        self.determinism = describe_determinism(torch.device("cpu"), native=True)
        self.around = TorchThreads(1)
        self._threads = count_threads()
        self._native = native
        self._weights = weights
        place = {id(weight): i for i, weight in enumerate(weights)}
        orders = [[place[id(p)] for p in group] for group in decay_groups(model, settings)]
        trained = [i for order in orders for i in order]
        frozen = [i for i in range(len(weights)) if i not in trained]
        # Trained weights come first, so that norm and clipping work on one contiguous slice.
        self._gradients = ParameterGradients(native, trained + frozen)
        self._trained = [weights[i] for i in trained]
        flat = torch.cat([weight.detach().reshape(-1) for weight in self._trained])
        self._flat_gradient = self._gradients.flat[: len(flat)]
        self._pairs = [(weights[i], self._gradients.views[i]) for i in trained]
        start = 0
        for weight, gradient in self._pairs:
            weight.data = flat[start : start + gradient.numel()].view(gradient.shape)
            start += gradient.numel()
        self._addresses = [weight.data_ptr() for weight in weights]
        self.groups: ParameterGroups = ([], [])
        start = 0
        for group, order in zip(self.groups, orders, strict=True):
            if order:
                piece = slice(start, start + sum(weights[i].numel() for i in order))
                group.append(nn.Parameter(flat[piece]))
                self._pairs.append((group[0], self._flat_gradient[piece]))
                start = piece.stop

    def __call__(self, batch: Batch) -> BatchResult:
        """Leave the gradient in each parameter's `.grad`; return as `batch_loss` does."""
        if [weight.data_ptr() for weight in self._weights] != self._addresses:
            raise ElmanError(
                "the model's parameters were moved while it was being trained. Change their dtype "
                "or device before the training, and their values in place"
            )
        config = self.model.config
        masks = None
        if config.dropout and self.model.training:
            masks = draw_masks(config, *batch.x.shape[:2])
        target, by_class = batch.target, self._class_weight
        if target.is_floating_point():
            target = target.to(self._native.dtype)
        carry = self.states_before(batch)
        loss, outputs = self._native.loss_and_gradients(
            self._weights,
            batch.x,
            batch.lengths,
            target,
            self._gradients,
            label_smoothing=self.loss.label_smoothing,
            class_weight=by_class,
            masks=masks,
            threads=self._threads,
            carry=carry,
        )
        self._keep(batch, carry)
        for parameter, gradient in self._pairs:  # a callback may have set some to None
            parameter.grad = gradient
        outputs, target, _ = select_valid(outputs, batch)
        weight = len(target) if by_class is None else float(by_class[target].sum())
        return BatchResult(loss, outputs, target, weight)

    def check(self) -> None:
        """Also raise ElmanError if the native path no longer applies, e.g. after a new hook."""
        super().check()
        if isinstance(reason := _native(self.model), str):
            raise ElmanError(
                f"{reason}: this changed while the model was being trained by native calls, which "
                "do not see it. Change it before the training, or undo it in the same callback"
            )

    @property
    def gradients(self) -> list[Tensor]:
        """The gradient of all trained weights in one tensor, (N,)."""
        return [self._flat_gradient]

    def clip(self, limit: float) -> float:
        """Scale the gradients down to the norm `limit` if theirs is above it; return theirs."""
        flat = self._flat_gradient
        norm = _core.norm(flat.data_ptr(), flat.numel(), flat.dtype == torch.float64)
        if norm > limit:
            flat.mul_(limit / (norm + 1e-6))  # as torch.nn.utils.clip_grad_norm_
        return norm

    def release(self) -> None:
        """Give every parameter its own memory, and clear all gradients."""
        self.model.zero_grad(set_to_none=True)
        for weight in self._trained:
            weight.data = weight.detach().clone()


GradientSource = Autograd | OneCall


def gradient_source(
    model: SequenceModel,
    settings: TrainingPlan,
    loss: Loss | None = None,
    *,
    weighted: bool = False,
    gaps: bool = False,
) -> GradientSource:
    """Choose the native call if it can train the model, else autograd.

    The `description` of the result says which one was chosen and why.

    Args:
        loss: None means the loss of the settings.
        weighted: whether there are sample weights, which the native call does not support.
        gaps: whether some steps are not labelled, which it supports for classes only.
    Raises: SettingsError if there is nothing to train.
    """
    if not any(p.requires_grad for p in model.parameters()):
        raise SettingsError("model: requires_grad is off for every parameter: nothing to train")
    loss = loss or Loss.of(model.config.task, settings)
    reason = loss.native_fallback_reason
    if settings.precision != "float32":
        reason = reason or f"the precision is {settings.precision}"
    if weighted:
        reason = reason or "sequences or steps have weights of their own"
    if gaps and not TASKS[model.config.task].has_classes:
        reason = reason or "the number to predict is missing at some steps"
    native = reason or _native(model)
    if isinstance(native, str):
        return Autograd(model, loss, settings, native)
    return OneCall(model, *native, loss, settings)


def _native(model: SequenceModel) -> tuple[NativeModel, list[Tensor]] | str:
    """Like `SequenceModel.native`, but for training: gradient hooks also rule it out.

    Returns: the native call and the weights it reads, or why the native path does not apply.
    """
    if torch.is_anomaly_enabled():
        return "anomaly detection is on"
    if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters()):
        return "a parameter has hooks"
    return model.native()
