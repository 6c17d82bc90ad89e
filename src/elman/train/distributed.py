"""Training with several processes, one model: what torchrun has started, and what they exchange.

Each process, a rank, has the whole network and computes its share of every batch: rows r, r + R,
r + 2R, ... of B, for rank r of R. One all-reduce a batch then gives every rank the gradient of the
whole batch,

    g = sum_r W_r g_r / sum_r W_r        W_r = sum of the weights of the rank's rows or steps

so that all take the same step, and the loss, the metrics and the gradient norm are those of the
whole batch. Rank 0 alone writes files and checkpoints. Random numbers are drawn for the whole
batch on every rank, which keeps its rows: dropout and noise are those of a single process.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from elman.errors import RanksError
from elman.train.checkpoint import Saver
from elman.train.identity import fingerprint
from elman.train.metrics import RunningMetrics
from elman.train.state import TrainingState

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_LONGEST = datetime.timedelta(minutes=30)  # that one rank waits for another
_POLL = 0.1  # seconds
_PATIENCE = 3.0  # seconds for rank 0 to fail too, so that it alone says so
_FAILED = "failed"
_current: ContextVar[Ranks | None] = ContextVar("ranks", default=None)


class Ranks:
    """The processes of one training, seen from one of them.

    Args:
        rank, size: number of this process, from 0, and of all.
        local_size: number of those on this machine.
        restarts: how often torchrun has started all processes anew.
        store: torch's store of the job; it outlives a restart.
    """

    def __init__(self, rank: int, size: int, local_size: int, restarts: int, store: Any) -> None:
        self.rank, self.size, self.local_size = rank, size, local_size
        self.restarts = restarts
        self._store = dist.PrefixStore("elman", store)  # type: ignore[attr-defined]

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes and prints."""
        return self.rank == 0

    def describe(self) -> str:
        """Return how many processes there are, in words."""
        threads = torch.get_num_threads()
        text = f"{self.size} processes ({dist.get_backend()}), {threads} thread"
        text += "s" * (threads > 1) + " each"
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        if self.local_size * threads > (cores or 1):
            text += f", on {cores} processors: fewer processes, or --threads 1, would be faster"
        return text

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all ranks, the same bits on each."""
        with _explained():
            dist.all_reduce(tensor)

    def send(self, data: bytes = b"") -> bytes:
        """Return the `data` of rank 0 on every rank."""
        with _explained():
            size = torch.tensor([len(data)])
            dist.broadcast(size, 0)
            tensor = torch.empty(int(size), dtype=torch.uint8)
            if self.is_first and data:
                tensor.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
            if len(tensor):
                dist.broadcast(tensor, 0)
        return tensor.numpy().tobytes()

    def copy_first(self, tensors: dict[str, Tensor]) -> None:
        """Overwrite tensors by those of rank 0."""
        with _explained():
            for tensor in tensors.values():
                dist.broadcast(tensor, 0)

    def gather(self, text: str) -> list[str]:
        """Return the text of every rank, in their order."""
        with _explained():
            sizes = torch.zeros(self.size, dtype=torch.int64)
            data = text.encode()
            sizes[self.rank] = len(data)
            dist.all_reduce(sizes)
            longest = max(1, int(sizes.max()))
            own = torch.zeros(longest, dtype=torch.uint8)
            own[: len(data)] = torch.tensor(list(data), dtype=torch.uint8)
            parts = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.size)]
            dist.all_gather(parts, own)
        ends = sizes.tolist()
        return [p[:end].numpy().tobytes().decode() for p, end in zip(parts, ends, strict=True)]

    def add_up_metrics(self, metrics: RunningMetrics) -> RunningMetrics:
        """Return the metrics of all ranks together."""
        sums = metrics.to_sums()
        self.add_up(sums)
        whole = RunningMetrics(unit=metrics.unit)
        whole.add_sums(sums)
        return whole

    def refuse_differences(self, identity: Mapping[str, str]) -> None:
        """Raise RanksError on every rank if one has other data or settings than rank 0.

        Args:
            identity: what makes a training this one and no other, in words by name.
        """
        first, *others = (json.loads(text) for text in self.gather(json.dumps(identity)))
        found = []
        for rank, other in enumerate(others, 1):
            for name in {**first, **other}:
                values = first.get(name, "none"), other.get(name, "none")
                if values[0] != values[1]:
                    short = all(len(value) <= 40 for value in values)
                    both = f" ({values[0]} on rank 0, {values[1]} there)" if short else ""
                    found.append(f"{name} of rank {rank}{both}")
        if found:
            raise RanksError(
                f"the processes do not train the same: {'; '.join(found[:10])}. Expected the same "
                "data, settings and versions in every process. With random_state=None each one "
                "draws another seed: set a number"
            )

    def continue_alike(
        self, saver: Saver, restored: TrainingState | None, batches: int
    ) -> TrainingState | None:
        """Bring all ranks to the checkpoint and the weights of rank 0.

        Only rank 0 reads the checkpoint, so that its folder need not be on every machine.

        Args:
            restored: the state that rank 0 continues from; None at the beginning.
            batches: of each epoch.
        Returns: the state, on every rank.
        """
        data = b"" if restored is None else saver.pack(restored)
        data = self.send(data)
        if data and not self.is_first:
            restored = saver.unpack(data, batches)
        # Another processor may have drawn initial weights that differ in their last bits.
        self.copy_first(saver.model.state_dict())
        return restored

    def check_alike(self, saver: Saver, epoch: int) -> None:
        """Say if weights differ from those of rank 0, and copy these; refuse other random numbers.

        Raises: RanksError if the generators differ, because code of the user's own has drawn.
        """
        weights = fingerprint(*saver.model.state_dict().values())
        texts = self.gather(f"{weights} {fingerprint(saver.generator.get_state())}")
        digests, generators = zip(*(text.split() for text in texts), strict=True)
        if len(set(generators)) > 1:
            raise RanksError(
                f"epoch {epoch}: the random generators of the processes differ, because a cell or "
                "hook of your own draws random numbers for its rows. Train with one process, or "
                "let it draw none"
            )
        other = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if not other:
            return
        if self.is_first:
            saver.say(
                f"epoch {epoch}: the weights of rank {', '.join(map(str, other))} differ from "
                "those of rank 0, as they may on other processors; all go on with those of rank 0"
            )
        self.copy_first(saver.model.state_dict())
        for state in saver.optimizer.state.values():
            self.copy_first(state)

    def note(self, name: str, value: str) -> None:
        """Keep a text under a name for all ranks, also after a restart."""
        with _explained():
            self._store.set(name, value)

    def noted(self, name: str) -> str | None:
        """Return the text that was kept under a name; None if there is none."""
        with _explained():
            return self._store.get(name).decode() if self._store.check([name]) else None

    def wait_for(self, name: str, seconds: float = math.inf) -> bool:
        """Wait until a text is kept under a name; return whether it is."""
        end = time.monotonic() + seconds
        while self.noted(name) is None:
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL)
        return True

    def fail(self, error: Exception) -> RanksError | None:
        """Keep what has ended this process, so that one process says it, and only once.

        Returns: the error to raise instead; None for `error` itself.
        """
        with contextlib.suppress(RanksError):  # the store may have gone with its process
            if isinstance(error, RanksError):
                error.is_said |= self.noted(_FAILED) is not None
                return None
            if self.is_first:
                self.note(_FAILED, str(error))
                return None
            said = self.wait_for(_FAILED, _PATIENCE)
            instead = RanksError(f"rank {self.rank} on {platform.node()}: {error}")
            instead.is_said = said
            self.note(_FAILED, str(instead))
            return instead
        return None


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn torch's error for a connection that was closed into one that says what happened."""
    try:
        yield
    except RuntimeError as error:
        raise RanksError(
            "another process of this training has ended, so that this one cannot go on. torchrun "
            "starts all of them again, from the last checkpoint, if it has --max-restarts"
        ) from error


def current() -> Ranks | None:
    """Return the processes that train together; None if this one trains alone."""
    return _current.get()


def is_under_torchrun() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


@contextlib.contextmanager
def from_env() -> Iterator[Ranks | None]:
    """Inside, trainings are shared by all the processes that torchrun has started.

    Every process must make the same calls with the same data and settings. Afterwards all have the
    same fitted estimator. Started without torchrun, a process trains alone.

        with from_env() as ranks:
            classifier.fit(X, y, checkpoint="checkpoints")
        if ranks is None or ranks.is_first:
            classifier.save("model")

    Yields: the processes, or None without torchrun.
    Raises: SettingsError if there are more processes than CUDA devices on a machine with some;
        RanksError, also later, if a process ends or has other data or settings than rank 0.
    """
    if not is_under_torchrun() or _current.get() is not None:
        yield _current.get()
        return
    rank, size, local, local_size = (int(os.environ[name]) for name in _NAMES)
    backend = "gloo"
    if torch.cuda.is_available() and torch.cuda.device_count() >= local_size:
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    with _explained():
        store = dist.TCPStore(  # type: ignore[attr-defined]
            address, port, is_master=False, timeout=_LONGEST
        )
        # torchrun keeps the store for the next start, which must not find the addresses of this.
        names = dist.PrefixStore(f"{restarts} of {size}", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=names, rank=rank, world_size=size, timeout=_LONGEST)
    ranks = Ranks(rank, size, local_size, restarts, store)
    token = _current.set(ranks)
    try:
        if restarts and (before := ranks.noted(_FAILED)) is not None:
            error = RanksError(f"started again after an error, which would come again: {before}")
            error.is_said = True
            raise error
        yield ranks
        # All leave together, so that torchrun starts all again if one fails before.
        done = f"done {restarts}"
        if ranks.is_first:
            ranks.note(done, "yes")
        else:
            ranks.wait_for(done)
    except Exception as error:
        if (instead := ranks.fail(error)) is not None:
            raise instead from error
        raise
    finally:
        _current.reset(token)
        dist.destroy_process_group()
