"""What a checkpoint holds: where a training is between two batches."""

from __future__ import annotations

import dataclasses
import math
import re
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import ModelFileError
from elman.models.storage import read_sealed, strip
from elman.settings import TrainingPlan
from elman.train.kept import (
    Weights,
    choose_epochs,
    copy_to_cpu,
    is_elsewhere,
    keep_epoch,
    stack_epochs,
    unstack_epochs,
)
from elman.train.metrics import EpochRecord, RunningMetrics
from elman.train.streams import StreamStates
from elman.untrusted import read_as

FORMAT = 1
STATE, TENSORS = "state.json", "state.safetensors"
_MERSENNE = 5056  # bytes of the state of torch's generator on the CPU
ALL_DONE = "all epochs done"
_KEPT, _METRICS, _NORMS, _STREAMS = "kept.", "metrics.", "norms", "streams."
_EPOCHS = "epochs."


@dataclass(frozen=True)
class Order:
    """State of NumPy's PCG64, with integers of 128 bits in hexadecimal digits, as JSON takes them.

    Args:
        state, inc: of the generator.
        has_uint32, uinteger: the half of a number that is left from the last draw.
    """

    state: str
    inc: str
    has_uint32: int
    uinteger: int

    @classmethod
    def of(cls, generator: np.random.Generator) -> Order:
        """Return the state of a generator."""
        values: Any = generator.bit_generator.state
        state = {name: f"{number:x}" for name, number in values["state"].items()}
        return cls(**state, has_uint32=values["has_uint32"], uinteger=values["uinteger"])

    def make_generator(self) -> np.random.Generator:
        """Return a generator that continues from here."""
        bits = np.random.PCG64()
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": int(self.state, 16), "inc": int(self.inc, 16)},
            "has_uint32": self.has_uint32,
            "uinteger": self.uinteger,
        }
        return np.random.Generator(bits)

    def check(self, place: str) -> None:
        """Raise ModelFileError if this is no state of a generator."""
        digits = all(re.fullmatch("[0-9a-f]{1,32}", text) for text in (self.state, self.inc))
        if not digits or self.has_uint32 not in (0, 1) or not 0 <= self.uinteger < 2**32:
            raise ModelFileError(f"{place}: order: not the state of a random generator")


class Result(Protocol):
    """What a batch has given."""

    @property
    def weight(self) -> float:
        """Sum of the weights of its labelled sequences or steps."""

    def add_to(self, metrics: RunningMetrics) -> None:
        """Add the batch to the metrics of its epoch."""


@dataclass
class TrainingState:
    """All that changes from batch to batch, besides the network, optimizer and random generator.

    Args:
        metrics: of the current epoch so far.
        order: the generator of the batches' order before it drew that of the current epoch.
        epoch: the current epoch, from 1; the one after the last when the training has ended.
        batch: batches of it that are done.
        step: batches of the training that are done.
        norms: gradient norms of the epoch's batches; NaN for one without a label.
        seconds: time that the epoch took before `began`, the time at which its clock was started.
        records: the epochs that are done.
        best_loss, best_epoch: the lowest validation loss and its epoch.
        kept_epoch, kept_weights: the epoch that `keep` names so far, and its weights.
        kept_epochs: the weights by epoch that `keep_epochs` asks for.
        stopped: why the training ended; empty while it goes on.
        streams: the states of the streams; None if the batches are whole sequences.
    """

    metrics: RunningMetrics
    order: Order
    epoch: int = 1
    batch: int = 0
    step: int = 0
    norms: list[float] = field(default_factory=list)
    seconds: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    records: list[EpochRecord] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = 0
    kept_epoch: int = 0
    kept_weights: dict[str, Tensor] = field(default_factory=dict)
    kept_epochs: dict[int, Weights] = field(default_factory=dict)
    stopped: str = ""
    streams: StreamStates | None = None

    def end_batch(self, result: Result, norm: float) -> None:
        """Count a batch whose step is taken."""
        result.add_to(self.metrics)
        self.norms.append(norm if result.weight else math.nan)
        self.batch += 1
        self.step += 1
        if self.streams is not None:
            self.streams.commit()

    def resume_clock(self) -> None:
        """Start the clock of the epoch."""
        self.began = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds that the epoch has taken, without those in which the training was cut off."""
        return self.seconds + time.perf_counter() - self.began

    def end_epoch(
        self, record: EpochRecord, weights: Mapping[str, Tensor], plan: TrainingPlan
    ) -> None:
        """Record an epoch, keep its weights if `plan.keep` says so, and see if it is the last."""
        self.records.append(record)
        loss = record.validation_loss
        better = loss is not None and loss < self.best_loss
        if loss is not None and better:
            self.best_loss, self.best_epoch = loss, record.epoch
        if better or plan.keep == "last":
            # Copied for the last too: Ctrl-C may interrupt the next epoch halfway.
            self.kept_weights = {name: tensor.detach().clone() for name, tensor in weights.items()}
            self.kept_epoch = record.epoch
        if plan.keep_epochs:
            kept = self.kept_weights if self.kept_epoch == record.epoch else None
            copied = copy_to_cpu(weights) if kept is None or is_elsewhere(kept) else kept
            keep_epoch(self.kept_epochs, record.epoch, copied, self.kept_epoch, plan.keep_epochs)
        self.metrics = RunningMetrics(unit=self.metrics.unit)
        self.epoch, self.batch, self.norms, self.seconds = record.epoch + 1, 0, [], 0.0
        if plan.patience and record.epoch - self.best_epoch >= plan.patience:
            self.stopped = f"no lower validation loss for {plan.patience} epochs"
        elif record.epoch == plan.epochs:
            self.stopped = ALL_DONE

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name; `to_dict` returns the rest."""
        tensors = {_KEPT + name: tensor for name, tensor in self.kept_weights.items()}
        tensors |= {_METRICS + name: t for name, t in self.metrics.to_tensors().items()}
        tensors |= {_EPOCHS + name: t for name, t in stack_epochs(self.kept_epochs).items()}
        if self.streams is not None:
            tensors |= {_STREAMS + name: t for name, t in self.streams.to_tensors().items()}
        tensors[_NORMS] = torch.tensor(self.norms, dtype=torch.float64)
        return tensors

    def to_dict(self) -> dict[str, Any]:
        """Return everything that is not a tensor, JSON-ready."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "seconds": self.elapsed() if self.batch else 0.0,
            "best_loss": None if self.best_loss == math.inf else self.best_loss,
            "best_epoch": self.best_epoch,
            "kept_epoch": self.kept_epoch,
            "stopped": self.stopped,
            "order": dataclasses.asdict(self.order),
            "metrics": self.metrics.to_dict(),
            "records": [dataclasses.asdict(record) for record in self.records],
        }

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, Tensor],
        values: StateValues,
        place: str,
        unit: NDArray[np.float64] | None,
        weights: Mapping[str, Tensor],
        outputs: int,
        plan: TrainingPlan,
        batches: int,
        streams: StreamStates | None,
    ) -> TrainingState:
        """Return the state that `to_tensors` and `to_dict` values.

        Args:
            unit: unit of the metrics.
            weights: of the network.
            outputs: number of outputs of the network, K.
            plan: of the training; batches: of each epoch.
            streams: their states, which are set; None if there are none.
            place: the file, for messages.
        Raises: ModelFileError if the values do not go together.
        """
        values.order.check(place)
        kept = strip(tensors, _KEPT)
        device = next(iter(weights.values())).device
        metrics = RunningMetrics.restore(
            strip(tensors, _METRICS), values.metrics, unit, outputs, device
        )
        norms = tensors.get(_NORMS, torch.zeros(0))
        done, epochs = len(values.records), plan.epochs
        kept_epochs = unstack_epochs(strip(tensors, _EPOCHS), place, weights)
        chosen = choose_epochs(done, values.kept_epoch, plan.keep_epochs)
        facts = {
            "epochs": [record.epoch for record in values.records] == [*range(1, done + 1)],
            "epoch": values.epoch == done + 1 <= epochs + 1,
            "batch": 0 <= values.batch <= batches and not (values.batch and values.stopped),
            "step": values.step == done * batches + values.batch,
            "end": bool(values.stopped) if done == epochs else done > 0 or not values.stopped,
            "best epoch": 0 <= values.best_epoch <= done,
            "best loss": (values.best_loss is None) == (values.best_epoch == 0),
            "sums": min(values.metrics.values(), default=0) >= 0
            and (values.batch < batches or min(metrics.weight, metrics.count) > 0),
            "kept epoch": min(1, done) <= values.kept_epoch <= done,
            "kept weights": has_shapes(kept, weights) if done else not kept,
            "kept epochs": kept_epochs.keys() == chosen,
            "gradient norms": norms.shape == (values.batch,) and norms.is_floating_point(),
        }
        if wrong := [name for name, right in facts.items() if not right]:
            raise ModelFileError(f"{place}: these values do not fit the others: {', '.join(wrong)}")
        if streams is not None:
            streams.restore(strip(tensors, _STREAMS))
        return cls(
            metrics=metrics,
            order=values.order,
            epoch=values.epoch,
            batch=values.batch,
            step=values.step,
            norms=norms.tolist(),
            seconds=values.seconds,
            records=values.records,
            best_loss=math.inf if values.best_loss is None else values.best_loss,
            best_epoch=values.best_epoch,
            kept_epoch=values.kept_epoch,
            kept_weights={name: tensor.to(device) for name, tensor in kept.items()},
            kept_epochs=kept_epochs,
            stopped=values.stopped,
            streams=streams,
        )


@dataclass(frozen=True)
class StateValues:
    """Types of the values of `TrainingState.to_dict`."""

    epoch: int
    batch: int
    step: int
    seconds: float
    best_loss: float | None
    best_epoch: int
    kept_epoch: int
    stopped: str
    order: Order
    metrics: dict[str, float]
    records: list[EpochRecord]


@dataclass(frozen=True)
class Content:
    """Content of state.json; `state` is checked further by `TrainingState.restore`."""

    format: int
    identity: dict[str, str]
    machine: str
    state: StateValues


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Content]:
    """Return the tensors and the content of state.json.

    Raises: ModelFileError if the checkpoint is damaged or of another format.
    """
    text, tensors, _ = read_sealed(path, STATE, TENSORS)
    content = read_as(Content, text, place := str(path / STATE))
    if content.format != FORMAT:
        raise ModelFileError(
            f"{place}: format {content.format}, this version of elman reads {FORMAT}"
        )
    return tensors, content


def check_generator(state: Tensor) -> None:
    """Raise RuntimeError or TypeError if this is no state of torch's Mersenne Twister.

    The state of 5,056 bytes begins with the seed (8 bytes), `left` (4), whether it is seeded (4)
    and `next` (8). torch does not check that `left` and `next` add up to 625, as they do after the
    first number, and would read beyond the generator's own memory.
    """
    torch.Generator().set_state(state)
    data = state.numpy().tobytes()
    left, place = struct.unpack_from("<i4xQ", data, 8)
    if len(data) == _MERSENNE and (left, place) != (1, 0) and left + place != 625:
        raise RuntimeError("the random generator is at a place that it cannot be at")


def has_shapes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Whether two sets of tensors have the same names, shapes and types."""
    one, other = ({k: (t.shape, t.dtype) for k, t in each.items()} for each in (found, expected))
    return one == other
