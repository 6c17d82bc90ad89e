"""Search for the origin of the first non-finite number after a training has diverged.

Called only after a loss or gradient was infinite or NaN. The batch is computed again, step by step,
and searched in the order of computation: a non-finite number makes later ones non-finite as well,
so only the first one shows the cause.

    weights    after the previous optimizer step
    input
    forward    by layer, direction and step: the sums that enter the gates, then the states;
               the input of the output layer, the output
    loss
    backward   output, input of the output layer; by layer from the top, from the last step computed
               to the first: states, sums
    gradient   of each weight, and the norm of all, for the sequence that contributes most

Dropout is not applied. Dimensions: B batch, T time, H hidden.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Batch, Examples, batch_by_length, make_batch
from elman.data.encoded import Split
from elman.errors import NonFiniteError
from elman.models import SequenceModel
from elman.models.carry import Carry
from elman.models.static import join
from elman.models.unrolled import LayerSteps, embed, read_out, steps_of_layer, unroll
from elman.ops.reference import Step
from elman.settings import TrainingPlan
from elman.train.gradients import batch_loss, labelled_steps
from elman.train.losses import Loss

# Inputs above this are named as the likely cause: standardised numbers are seldom above 100.
HUGE = 1e4
_Carry = Carry | None  # the states before a batch of chunks
_ROWS = 64  # rows unrolled at a time: every step stores its gates and states


@dataclass(frozen=True)
class Origin:
    """The first number that is not finite.

    Args:
        stage: one of the stages above, or empty if everything is finite.
        what: the number in words.
        value: its value.
        row: row of the batch, from 0; None if it belongs to no single sequence.
        step: step of the sequence, from 1.
        layer: layer, from 0.
        direction: `forward` or `backward`.
        gate: letter of the gate or state, as in the equations of `elman.ops`.
        unit: unit of the layer or channel of the input, from 0.
    """

    stage: str = ""
    what: str = ""
    value: float = math.nan
    row: int | None = None
    step: int | None = None
    layer: int | None = None
    direction: str | None = None
    gate: str | None = None
    unit: int | None = None


def diverged(
    where: str,
    model: SequenceModel,
    batch: Batch,
    loss: Loss,
    sequences: NDArray[np.int64],
    settings: TrainingPlan,
    carry: Carry | None = None,
) -> NonFiniteError:
    """Search for the origin, and return the error to raise.

    Args:
        where: epoch, batch and the non-finite result, in words.
        model: the model, with the weights that the batch was computed with.
        batch: the batch, on the model's device.
        sequences: index of each row in the caller's sequences, (B,).
        carry: the states before the batch, if its rows are chunks.
    """
    training = model.training
    try:
        origin = find_origin(model.eval(), batch, loss, carry)
    except (AttributeError, RuntimeError, TypeError):
        # A model with user-defined modules cannot be unrolled. The error is raised without the
        # origin in that case.
        origin = Origin()
    finally:
        model.train(training)
    before = batch.part.starts if batch.part else np.zeros(len(sequences), np.int64)
    if origin.row is not None and origin.step is not None:
        origin = dataclasses.replace(origin, step=origin.step + int(before[origin.row]))
    sequence = None if origin.row is None else int(sequences[origin.row])
    listed = ", ".join(map(str, sequences[:8].tolist())) + ", ..." * (len(sequences) > 8)
    if not origin.stage:
        finding = f"Computed again step by step, all numbers were finite (sequences {listed})"
    else:
        places = [
            f"sequence {sequence}" if sequence is not None else f"sequences {listed}",
            "" if origin.step is None else f"step {origin.step}",
            "" if origin.layer is None else f"layer {origin.layer}",
            f"{origin.direction} direction" if origin.direction else "",
        ]
        finding = (
            f"The first number that is not finite is {origin.what}, {origin.value}: "
            f"{', '.join(filter(None, places))}"
        )
    huge = None if origin.stage == "input" else _largest_input(batch, origin.row)
    if origin.stage == "input":
        text = f"{where}. {finding}. It is in the data: correct the sequence or leave it out"
    elif huge is not None:
        row, step, channel = huge
        text = (
            f"{where}. {finding}. The input is very large: {float(batch.x[huge]):.3g} in channel "
            f"{channel} of sequence {int(sequences[row])} at step {step + 1 + before[row]}, as the "
            "network reads it. If that is an error in the data, correct it or leave the sequence "
            "out; otherwise write the channel in another unit, or standardise it (scale)"
        )
    else:
        text = (
            f"{where}: training has diverged. {finding}. Lower the learning rate (now "
            f"{settings.learning_rate:g}) or keep clip_norm above 0 (now {settings.clip_norm:g})"
        )
    places_of = {f.name: getattr(origin, f.name) for f in dataclasses.fields(origin)}
    del places_of["row"]
    return NonFiniteError(text, sequence=sequence, **places_of)


def _largest_input(batch: Batch, row: int | None) -> tuple[int, int, int] | None:
    """Return row, step and channel, from 0, of the largest input; None if none is above HUGE.

    Args:
        row: the only row to search; None means all of them.
    """
    if not batch.x.is_floating_point():
        return None
    rows = range(len(batch.x)) if row is None else (row,)
    tops = {i: batch.x[i, : int(batch.lengths[i])].abs() for i in rows}
    largest = max(tops, key=lambda i: float(tops[i].max()))
    top = tops[largest]
    if not float(top.max()) > HUGE:
        return None
    step, channel = divmod(int(top.argmax()), top.shape[1])
    return largest, step, channel


@torch.no_grad()
def diverged_split(
    where: str, model: SequenceModel, split: Split, loss: Loss, settings: TrainingPlan
) -> NonFiniteError:
    """Like `diverged`, for a validation split; searches its first non-finite batch."""
    device = next(model.parameters()).device
    loss = dataclasses.replace(loss, label_smoothing=0.0)
    for piece, index in _batches(split):
        batch = make_batch(piece, index)
        static = None if batch.static is None else batch.static.to(device)
        x, target = batch.x.to(device), batch.target.to(device)
        batch = dataclasses.replace(batch, x=x, target=target, static=static)
        if not bool(torch.isfinite(batch_loss(model, batch, loss, settings.precision)[0])):
            break
    return diverged(where, model, batch, loss, piece.places_of(index), settings)


def _batches(split: Split) -> Iterator[tuple[Examples, NDArray[np.int64]]]:
    for piece in split.pieces():
        for index in batch_by_length(piece.lengths, _ROWS):
            yield piece, index


def find_origin(
    model: SequenceModel, batch: Batch, loss: Loss, carry: Carry | None = None
) -> Origin:
    """Return the first non-finite number; an empty Origin if there is none.

    Args:
        model: the model, in evaluation mode; it is not changed.
        batch: the batch, on the model's device; `carry`: the states before it, if it has chunks.
    """
    if origin := in_weights(model):
        return origin
    mask = torch.arange(batch.x.shape[1]) < batch.lengths[:, None]  # (B, T)
    mask = mask.to(batch.x.device)
    if batch.x.is_floating_point() and (at := _first(batch.x, mask)):
        row, step, channel = at
        what, value = f"channel {channel} of the input", float(batch.x[at])
        return Origin("input", what, value, row, step + 1, unit=channel)
    chunks = [slice(start, start + _ROWS) for start in range(0, len(batch.x), _ROWS)]
    for chunk in chunks:
        if origin := _forward(model, batch, mask, chunk, loss, carry):
            return origin
    gradients = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for chunk in chunks:
        if origin := _backward(model, batch, mask, chunk, loss, gradients, carry):
            return origin
    if origin := _in_gradients(model, gradients):
        return dataclasses.replace(origin, row=_largest_row(model, batch, mask, loss, carry))
    return Origin()


def in_weights(model: SequenceModel) -> Origin | None:
    """Return the first non-finite weight."""
    for name, parameter in model.named_parameters():
        if at := _first(parameter):
            return _of_weight(model, "weight", name, at, float(parameter.detach()[at]))
    return None


def _in_gradients(model: SequenceModel, gradients: list[Tensor]) -> Origin | None:
    names = [name for name, _ in model.named_parameters()]
    for name, gradient in zip(names, gradients, strict=True):
        if at := _first(gradient):
            return _of_weight(model, "gradient", name, at, float(gradient[at]))
    largest = [float(gradient.abs().max()) if gradient.numel() else 0.0 for gradient in gradients]
    norm = math.fsum(float(gradient.double().square().sum()) for gradient in gradients) ** 0.5
    if norm <= torch.finfo(gradients[0].dtype).max ** 0.5:  # so that its square is finite too
        return None
    name = names[int(np.argmax(largest))]
    gradient = gradients[names.index(name)].abs()
    at = tuple(int(i) for i in torch.unravel_index(gradient.argmax(), gradient.shape))
    return _of_weight(model, "gradient", name, at, max(largest))


def _largest_row(
    model: SequenceModel, batch: Batch, mask: Tensor, loss: Loss, carry: Carry | None
) -> int:
    """Return the row whose weight gradient is largest or not finite."""
    norms = []
    for row in range(len(batch.x)):
        gradients = [torch.zeros_like(parameter) for parameter in model.parameters()]
        _backward(model, batch, mask, slice(row, row + 1), loss, gradients, carry)
        norm = sum(float(gradient.double().square().sum()) for gradient in gradients)
        norms.append(norm if math.isfinite(norm) else math.inf)
    return int(np.argmax(norms))


def _of_weight(
    model: SequenceModel, stage: str, name: str, at: tuple[int, ...], value: float
) -> Origin:
    """Return the Origin in a weight or its gradient, with layer, direction, gate and unit."""
    what = f"the weight {name}" if stage == "weight" else f"the gradient of {name}"
    end = name.rpartition("_l")[2]
    if not name.startswith("recurrent.") or not end.removesuffix("_reverse").isdigit():
        return Origin(stage, what, value, unit=at[0] if name.startswith("output") else None)
    block, unit = divmod(at[0], model.config.hidden_size)
    gate = model.config.cell_definition.blocks[block]
    direction = "backward" if end.endswith("_reverse") else "forward"
    layer = int(end.removesuffix("_reverse"))
    return Origin(
        stage,
        f"{what} (gate {gate}, unit {unit})",
        value,
        layer=layer,
        direction=direction,
        gate=gate,
        unit=unit,
    )


def _forward(
    model: SequenceModel, batch: Batch, mask: Tensor, chunk: slice, loss: Loss, carry: _Carry
) -> Origin | None:
    """Search the forward pass of some rows of a batch."""
    mask = mask[chunk]
    static = None if batch.static is None else batch.static[chunk]
    carry = None if carry is None else carry.take(chunk)
    with torch.no_grad():
        below = embed(model, batch.x[chunk], mask)
        for layer in range(model.config.num_layers):
            directions = []
            for reverse in (False, True)[: 1 + model.config.bidirectional]:
                done = LayerSteps(layer, reverse, below)
                for step in steps_of_layer(model, layer, reverse, below, mask, static, carry):
                    for gate, what, tensor in _numbers(model, step):
                        if at := _first(tensor, mask[:, step.t]):
                            value = float(tensor[at])
                            place = (chunk.start, layer, reverse, step.t)
                            return _of_step("forward", place, gate, what, at, value)
                    done.steps.append(step)
                directions.append(torch.where(mask[:, :, None], done.over_time("h"), 0.0))
            below = torch.cat(directions, -1)
        read = join(model, read_out(model, below, mask), static)
        outputs = model.output(read)
        for what, tensor in (("the input of the output layer", read), ("the output", outputs)):
            if at := _first(tensor, mask if tensor.dim() > 2 else None):
                return _of_output("forward", what, tensor, at, chunk)
        target = batch.target[chunk]
        if model.config.per_step:
            rows, times = (mask & labelled_steps(target)).nonzero(as_tuple=True)
            outputs, target = outputs[rows, times], target[rows, times]
        items = loss.items(outputs, target)
        if not (at := _first(items)):
            return None
    row, step_of = at[0], None
    if model.config.per_step:
        row, step_of = int(rows[row]), int(times[row]) + 1
    return Origin("loss", "its loss", float(items[at]), row + chunk.start, step_of)


def _backward(
    model: SequenceModel,
    batch: Batch,
    mask: Tensor,
    chunk: slice,
    loss: Loss,
    gradients: list[Tensor],
    carry: _Carry,
) -> Origin | None:
    """Search the backward pass of some rows; accumulate their weight gradients."""
    static = None if batch.static is None else batch.static[chunk]
    carry = None if carry is None else carry.take(chunk)
    with torch.enable_grad():
        done = unroll(model, batch.x[chunk], batch.lengths[chunk], static, carry)
        outputs, target = done.outputs, batch.target[chunk]
        weight = None if batch.weight is None else batch.weight[chunk]
        if model.config.per_step:
            valid = done.mask & labelled_steps(target)
            outputs, target = outputs[valid], target[valid]
            weight = None if weight is None else weight[valid]
        mean = loss.mean(outputs, target, weight)[0] * (len(done.mask) / len(batch.x))
    watched: list[tuple[tuple[int, int, bool, int], str, str, Tensor]] = []
    for layer in reversed(done.layers):
        for step in reversed(layer.steps):
            place = (chunk.start, layer.layer, layer.reverse, step.t)
            for gate, what, tensor in reversed(list(_numbers(model, step))):
                watched.append((place, gate, f"the gradient of {what}", tensor))
    parameters = list(model.parameters())
    ends = [done.outputs, done.read, done.readout]
    tensors = [*ends, *(tensor for *_, tensor in watched), *parameters]
    trained = [tensor for tensor in tensors if tensor.requires_grad]
    of = dict(
        zip(map(id, trained), torch.autograd.grad(mean, trained, allow_unused=True), strict=True)
    )
    whats = ("the output", "the input of the output layer", "the readout")
    for what, tensor in zip(whats, ends, strict=True):
        gradient = of.get(id(tensor))
        if gradient is not None and (at := _first(gradient)):
            return _of_output("backward", f"the gradient of {what}", gradient, at, chunk)
    for place, gate, what, tensor in watched:
        gradient = of.get(id(tensor))
        if gradient is not None and (at := _first(gradient)):
            return _of_step("backward", place, gate, what, at, float(gradient[at]))
    for total, parameter in zip(gradients, parameters, strict=True):
        gradient = of.get(id(parameter))
        if gradient is not None:
            total += gradient
    return None


def _numbers(model: SequenceModel, step: Step) -> Iterator[tuple[str, str, Tensor]]:
    """Return the results of a step in order: letter, name in words, values (B, H)."""
    for name, tensor in step.sums.items():
        enters = f"{'gate' if name in step.gates else 'state'} {name}"
        yield name, f"the sum that enters {enters}", tensor
    for name, tensor in step.states.items():
        yield name, f"state {name}", tensor


def _of_step(
    stage: str,
    place: tuple[int, int, bool, int],
    gate: str,
    what: str,
    at: tuple[int, ...],
    value: float,
) -> Origin:
    start, layer, reverse, t = place
    row, unit = at
    direction = "backward" if reverse else "forward"
    what = f"{what}, unit {unit}"
    return Origin(stage, what, value, row + start, t + 1, layer, direction, gate, unit)


def _of_output(stage: str, what: str, tensor: Tensor, at: tuple[int, ...], chunk: slice) -> Origin:
    """Return the Origin in values of shape (B, K) or, for predictions at every step, (B, T, K)."""
    step = at[1] + 1 if len(at) > 2 else None
    what, value = f"{what}, number {at[-1]}", float(tensor[at])
    return Origin(stage, what, value, at[0] + chunk.start, step, unit=at[-1])


def _first(tensor: Tensor, mask: Tensor | None = None) -> tuple[int, ...] | None:
    """Return the index of the first non-finite number among the rows or steps of the mask."""
    bad = ~torch.isfinite(tensor)
    if mask is not None:
        bad &= mask.reshape(*mask.shape, *(1,) * (tensor.dim() - mask.dim()))
    if not bool(bad.any()):
        return None
    return tuple(int(i) for i in bad.nonzero()[0])
