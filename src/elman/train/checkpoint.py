"""Checkpoints: a training that was cut off goes on from the last one as if nothing had happened."""

from __future__ import annotations

import json
import math
import re
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman import _core, disk, files
from elman.errors import (
    ElmanError,
    ModelFileError,
    NonFiniteError,
    RanksError,
    SettingsError,
    WriteError,
)
from elman.models import SequenceModel
from elman.models.storage import strip
from elman.settings import TrainingPlan
from elman.train.identity import describe_changes, fingerprint
from elman.train.kept import EpochFiles
from elman.train.optimizer import restore_state, save_state
from elman.train.state import (
    FORMAT,
    STATE,
    TENSORS,
    Content,
    TrainingState,
    check_generator,
    has_shapes,
    read_checkpoint,
)
from elman.train.streams import StreamStates
from elman.train.uninterrupted import Uninterrupted, random_state, set_random_state
from elman.untrusted import parse_json, read_as

CHECKPOINT_EVERY = 30.0  # seconds
_NAME = re.compile(r"\d{12}")  # a checkpoint's folder: batches done
_SHARE = 50  # a checkpoint is written after this many times what the last one took: 2 %
_WEIGHTS, _OPTIMIZER, _RANDOM = "weights.", "optimizer.", "random."


@dataclass(frozen=True)
class Checkpoints:
    """Where the checkpoints of a training are, and how often one is written.

    A training continues from the newest good checkpoint in `folder` and leaves the last two there.

    Args:
        folder: made if missing; it must hold nothing but checkpoints.
        every: seconds from one checkpoint to the next; 0 for one after every batch. They are
            further apart if writing them would take more than 2 % of the time.
        identity: what the caller knows of the training, in words by name. A checkpoint with another
            identity is refused. Data, settings, initial weights and versions are added by `train`.
        on_interrupt: whether a KeyboardInterrupt, after one more checkpoint, goes on to the caller,
            or ends the training like early stopping as it does without checkpoints.
        finish: train no further; use the weights that were kept up to the checkpoint.
        say: called with each message; None for a warning.
        epochs: the folder for the weights that `keep_epochs` keeps, which are written while the
            training goes on; None keeps them in memory only.
    """

    folder: Path
    every: float = CHECKPOINT_EVERY
    identity: Mapping[str, str] = field(default_factory=dict)
    on_interrupt: str = "raise"
    finish: bool = False
    say: Callable[[str], None] | None = None
    epochs: Path | None = None


def make_checkpoints(folder: str | Path | None, every: float) -> Checkpoints | None:
    """Return the checkpoints of a training that Ctrl-C ends like early stopping.

    Raises: SettingsError if `every` is not a number of seconds.
    """
    check_interval(every)
    return None if folder is None else Checkpoints(Path(folder), every, on_interrupt="stop")


def check_interval(every: float) -> None:
    """Raise SettingsError for a time between two checkpoints that is not a number of seconds."""
    number = isinstance(every, int | float) and not isinstance(every, bool)
    if not number or not 0 <= every < math.inf:
        raise SettingsError(f"checkpoint_every: got {every!r}, expected seconds, 0 or more")


def stored_seed(checkpoints: Checkpoints | None, own: Any) -> int | None:
    """Return the seed of the training whose checkpoints are in the folder; None if there is none.

    A training whose `own` seed is no number takes it: with another it could not continue.
    """
    if checkpoints is None or isinstance(own, int | np.integer):
        return None
    for path in find_checkpoints(checkpoints.folder):
        with suppress(ModelFileError):
            seed = read_checkpoint(path)[1].identity.get("seed", "")
            return int(seed) if re.fullmatch(r"\d{1,10}", seed) else None
    return None


class Saver:
    """Restores and saves one training.

    Args:
        checkpoints: None saves nothing.
        model, optimizer, generator, plan: of the training.
        identity: returns what makes the training this one and no other, in words by name.
        unit, streams: unit of the metrics, and the states of the streams, or None.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        model: SequenceModel,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator | None,
        plan: TrainingPlan,
        identity: Callable[[], dict[str, str]],
        unit: NDArray[np.float64] | None,
        streams: StreamStates | None = None,
    ) -> None:
        self.checkpoints, self.unit, self.streams = checkpoints, unit, streams
        self.model, self.optimizer, self.plan = model, optimizer, plan
        self.generator = torch.default_generator if generator is None else generator
        self.uninterrupted = Uninterrupted(self.generator)
        self._make_identity = identity
        self._identity: dict[str, str] = {}
        self._initial = {} if checkpoints is None else {"the initial weights": _weights_of(model)}
        self._begun = self._next = time.monotonic()
        self._kept: list[Path] = []
        self._epoch_files: EpochFiles | None = None
        self._saved = 0, 1  # step and epoch of the newest checkpoint; a beginning needs none
        self._stack = ExitStack()

    def __enter__(self) -> Saver:
        if self.checkpoints is not None:
            self._stack.enter_context(files.lock(self.checkpoints.folder))
            self._stack.callback(self.uninterrupted.remove)
            self.uninterrupted.install()
            self._next = self._begun + self.checkpoints.every
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def identity(self) -> dict[str, str]:
        """The identity; computed late, because a short training never needs it."""
        if not self._identity and self.checkpoints is not None:
            self._identity = {
                **self.checkpoints.identity,
                **self._make_identity(),
                **self._initial,
            }
        return self._identity

    def restore(self, batches: int) -> TrainingState | None:
        """Continue from the newest good checkpoint; return None if there is none.

        Args:
            batches: of each epoch.
        Raises: SettingsError if it is of another training, or the folder holds something else.
        """
        if self.checkpoints is None:
            return None
        folder, state = self.checkpoints.folder, None
        for path in (found := find_checkpoints(folder)):
            try:
                tensors, content = read_checkpoint(path)
                if changes := describe_changes(content.identity, self.identity):
                    raise SettingsError(
                        f"{folder}: holds a checkpoint of another training: {changes}. Continue "
                        "with the same data and settings, or name another folder"
                    )
                state = self._apply(tensors, content, str(path / STATE), batches)
            except ModelFileError as error:
                self.say(f"{error}. This checkpoint is not used, but an older one if there is any")
            else:
                self._kept, self._saved = [path], (state.step, state.epoch)
                if content.machine != _machine():
                    self.say(
                        f"{path}: was written on another processor ({content.machine}, here "
                        f"{_machine()}): the result may differ in the last bits"
                    )
                break
        if state is None and found:
            self.say(
                f"{folder}: no checkpoint there can be used: the training starts at its beginning"
            )
        if self.checkpoints.finish:
            if state is None or not state.records:
                raise SettingsError(
                    f"{folder}: no epoch is complete in a checkpoint there, so there are no "
                    "weights to keep. Continue the training instead"
                )
            state.stopped = state.stopped or f"ended on request after epoch {len(state.records)}"
        return state

    def _apply(
        self, tensors: Mapping[str, Tensor], content: Content, place: str, batches: int
    ) -> TrainingState:
        """Check all of a checkpoint, then set weights, optimizer and random generators."""
        own = self.model.state_dict()
        outputs = self.model.config.num_outputs
        weights, random = strip(tensors, _WEIGHTS), strip(tensors, _RANDOM)
        memory = strip(tensors, _OPTIMIZER)
        try:
            expected = (self.unit, own, outputs, self.plan, batches, self.streams)
            state = TrainingState.restore(tensors, content.state, place, *expected)
            # The optimizer takes no step for a batch of chunks without a label.
            trained = bool(state.records or state.metrics.weight)
            if not has_shapes(weights, own) or bool(memory) != trained:
                raise ModelFileError(f"{place}: the weights or the optimizer's state do not fit")
            check_generator(random["cpu"])
            if memory:
                restore_state(self.optimizer, self.plan.optimizer, memory)
        except ModelFileError:
            raise
        except (SettingsError, RuntimeError, TypeError, ValueError, LookupError) as error:
            raise ModelFileError(f"{place}: does not fit the training: {error}") from error
        set_random_state(random, self.generator)
        self.model.load_state_dict(weights)
        self.uninterrupted.random = random
        return state

    def say(self, message: str) -> None:
        """Pass a message on."""
        if self.checkpoints is not None and self.checkpoints.say is not None:
            self.checkpoints.say(message)
        else:
            warnings.warn(message, UserWarning, stacklevel=2)

    def save_if_due(self, state: TrainingState) -> None:
        """Write a checkpoint if it is time."""
        if self.checkpoints is not None and time.monotonic() >= self._next:
            self._try_to_save(state)

    def save_last(self, state: TrainingState) -> None:
        """Write the checkpoint of a training that has ended, unless it was short."""
        if self.checkpoints is None or self.checkpoints.finish:
            return
        if self._kept or time.monotonic() - self._begun >= self.checkpoints.every:
            self._try_to_save(state)

    def save_broken_off(self, state: TrainingState, error: BaseException) -> None:
        """Write a checkpoint of the last complete batch after an exception."""
        # Other errors of ours say that the network was changed in a way that would have no effect.
        ours = isinstance(error, ElmanError)
        saved = not ours or isinstance(error, NonFiniteError | RanksError)
        if self.checkpoints is None or self.checkpoints.finish or not state.step or not saved:
            return
        if not self.uninterrupted.inside:
            self._try_to_save(state)

    def write_epochs(self, state: TrainingState, *, last: bool = False) -> None:
        """Write the kept epochs into their folder, if it is time; at the `last` call in any case.

        Raises: WriteError.
        """
        if self.checkpoints is None or self.checkpoints.epochs is None or not self.plan.keep_epochs:
            return
        if self._epoch_files is None:
            self._epoch_files = EpochFiles(self.checkpoints.epochs)
        self._epoch_files.write(state.kept_epochs, last=last)

    def _try_to_save(self, state: TrainingState) -> None:
        """Write a checkpoint; if that fails, say so and go on: the disk may have space later.

        A training of hours must not end because of a checkpoint that it may never need.
        """
        try:
            self.save(state)
        except WriteError as error:
            self.say(f"No checkpoint was written; the one before it stands. {error}")
            self._next = time.monotonic() + (self.checkpoints.every if self.checkpoints else 0.0)

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint, then remove all but the last two."""
        if self.checkpoints is None or self._saved == (state.step, state.epoch):
            return
        started = time.monotonic()
        tensors, text = self._contents(state)
        path = self.checkpoints.folder / f"{state.step:012}"
        with files.new_folder(path, replace=True) as folder:
            files.write_file(folder / TENSORS, tensors)
            files.write_file(folder / STATE, text)
            files.seal(folder)
        self._kept = [*(kept for kept in self._kept if kept != path), path][-2:]
        for other in find_checkpoints(self.checkpoints.folder):
            if other not in self._kept:
                files.remove(other)
        now = time.monotonic()
        share = _SHARE * (now - started) if self.checkpoints.every else 0.0
        self._next = now + max(self.checkpoints.every, share)
        self._saved = state.step, state.epoch

    def _contents(self, state: TrainingState) -> tuple[bytes, str]:
        """Return the contents of the two files of a checkpoint."""
        from safetensors.torch import save

        tensors = {_WEIGHTS + name: t for name, t in self.model.state_dict().items()}
        memory = save_state(self.optimizer, self.plan.optimizer) if state.step else {}
        tensors |= {_OPTIMIZER + name: t for name, t in memory.items()}
        random = self.uninterrupted.random or random_state(self.generator)
        tensors |= {_RANDOM + name: t for name, t in random.items()}
        tensors |= state.to_tensors()
        values = {
            "format": FORMAT,
            "identity": self.identity,
            "machine": _machine(),
            "state": state.to_dict(),
        }
        # Cloned: safetensors refuses tensors that share memory, as views of one tensor do.
        own = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
        return save(own), json.dumps(values, indent=1)

    def pack(self, state: TrainingState) -> bytes:
        """Return a checkpoint as bytes, for `unpack` in another process."""
        tensors, text = self._contents(state)
        return f"{len(tensors)}\n".encode() + tensors + text.encode()

    def unpack(self, data: bytes, batches: int) -> TrainingState:
        """Continue from what `pack` returned in a process that trains the same."""
        from safetensors.torch import load

        size, _, rest = data.partition(b"\n")
        tensors, text = load(rest[: int(size)]), rest[int(size) :].decode()
        content = read_as(Content, parse_json(text.encode(), "rank 0"), "rank 0")
        return self._apply(tensors, content, "rank 0", batches)


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, newest first, and clean up what a dead process left.

    Raises: SettingsError if it holds anything else.
    """
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise SettingsError(f"{folder}: is a file, expected a folder of checkpoints")
    for name in {p.name[1:13] for p in folder.iterdir() if p.name.startswith(".")}:
        if _NAME.fullmatch(name):
            files.recover(folder / name)
            disk.remove_abandoned(str(folder.resolve() / name))
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    strange = sorted(
        p.name for p in paths if not (_NAME.fullmatch(p.name) and p.is_dir() and not p.is_symlink())
    )
    if strange:
        raise SettingsError(
            f"{folder}: holds {', '.join(strange[:3])}, expected nothing but checkpoints. Name "
            "another folder"
        )
    return sorted(paths, reverse=True)


def _machine() -> str:
    """What the last bits of a result may depend on besides the versions."""
    return f"{_core.isa()}, torch {torch.backends.cpu.get_cpu_capability()}"


def _weights_of(model: SequenceModel) -> str:
    return fingerprint(*model.state_dict().values())
