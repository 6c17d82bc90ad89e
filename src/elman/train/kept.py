"""Weights that are kept of a training's epochs, in memory and in a folder that grows with it.

Kept are epoch 0, which is before the training, the last epoch, the one whose weights the estimator
has, and at most `keep_epochs` in between: those of which all binary digits but the first few are
0. With two digits these are 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, ...: their distance doubles as the
training goes on, because a network changes most in its first epochs. There are as many digits as
leave few enough epochs. The number of epochs need not be known: an epoch that fewer digits keep is
one that more digits keep, so that none is dropped that would be needed later.

Nothing is drawn at random and nothing of the network is changed: a training has the same bits
whether its epochs are kept or not.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from elman import files
from elman.errors import ModelFileError
from elman.models.storage import read_tensors
from elman.untrusted import open_file

Weights = dict[str, Tensor]

DEFAULT = 20  # epochs in between, in a run of at most
MOST_UNITS = 64  # units: kept weights then take up a few megabytes at most
FOLDER = "epochs"  # of a run folder
_NUMBERS = "numbers"  # the epochs, among the stacked weights
_NAME = re.compile(r"epoch-(\d{4,9})\.safetensors")
_SHARE = 100  # files are written after this many times what the last ones took: 1 %


def choose_epochs(last: int, kept_epoch: int, most: int) -> set[int]:
    """Return the epochs to keep after epoch `last`.

    Args:
        last: epochs that are done; 0 before the first.
        kept_epoch: the epoch that `keep` names so far; 0 for none.
        most: epochs in between, 0 for none at all.
    """
    if not most:
        return set()
    powers = [1 << k for k in range(last.bit_length()) if 1 << k < last]
    while len(powers) > most:
        powers = powers[::2]
    between, digits = powers, 1
    while len(between) < last - 1 and len(more := _with_digits(digits, last)) <= most:
        between, digits = more, digits + 1
    return {0, kept_epoch, last, *between}


def _with_digits(digits: int, last: int) -> list[int]:
    """Return the numbers below `last` with at most `digits` binary digits before their zeros."""
    first = [k for k in range(1, 1 << digits) if k < last]
    upper = range(1 << (digits - 1), 1 << digits)
    shifts = range(1, max(1, last.bit_length() - digits + 1))
    return first + [k << shift for shift in shifts for k in upper if k << shift < last]


def copy_to_cpu(weights: Mapping[str, Tensor]) -> Weights:
    """Return a copy of weights in the main memory."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}


def is_elsewhere(weights: Mapping[str, Tensor]) -> bool:
    """Whether weights are not in the main memory."""
    return any(tensor.device.type != "cpu" for tensor in weights.values())


def keep_epoch(
    kept: dict[int, Weights],
    epoch: int,
    weights: Weights,
    kept_epoch: int,
    most: int,
) -> None:
    """Add an epoch's weights to `kept`, and drop those that are no longer kept.

    Args:
        epoch: the epoch that has ended, or 0 before the first.
        weights: its weights, which nobody changes any more.
        kept_epoch, most: as for `choose_epochs`.
    """
    kept[epoch] = weights
    chosen = choose_epochs(epoch, kept_epoch, most)
    for other in kept.keys() - chosen:
        del kept[other]


def stack_epochs(kept: Mapping[int, Weights]) -> dict[str, Tensor]:
    """Return kept weights as one tensor (E, ...) for each weight, and the epochs' numbers, (E,)."""
    if not kept:
        return {}
    numbers = sorted(kept)
    names = kept[numbers[0]]
    stacked = {name: torch.stack([kept[epoch][name] for epoch in numbers]) for name in names}
    return {_NUMBERS: torch.tensor(numbers), **stacked}


def unstack_epochs(
    stacked: Mapping[str, Tensor], place: str, weights: Mapping[str, Tensor]
) -> dict[int, Weights]:
    """Return what `stack_epochs` was given.

    Args:
        place: the file, for messages.
        weights: of the network.
    Raises: ModelFileError if the tensors do not fit each other or the network.
    """
    if not stacked:
        return {}
    numbers = stacked.get(_NUMBERS, torch.zeros(0))
    epochs = numbers.tolist() if numbers.dtype == torch.int64 and numbers.dim() == 1 else []
    found = {name: t.shape for name, t in stacked.items() if name != _NUMBERS}
    fits = min(epochs, default=-1) >= 0 and epochs == sorted(set(epochs))
    fits &= found == {name: (len(epochs), *t.shape) for name, t in weights.items()}
    if not fits or not all(stacked[name].is_floating_point() for name in found):
        raise ModelFileError(f"{place}: the kept epochs do not fit each other or the network")
    return {epoch: {n: stacked[n][k].clone() for n in found} for k, epoch in enumerate(epochs)}


class EpochFiles:
    """The kept epochs of a running training as files, which other processes can read meanwhile.

    A file is complete under its name at any instant. It is there as soon as its epoch has ended, or
    later by 100 times what writing the files before took: writing takes 1 % of the time, and what
    is left at the end.

    Args:
        folder: made if missing; files of other epochs in it are removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._next = 0.0
        # Of a process that was killed, perhaps behind the checkpoint from which this one continues.
        for path in find_files(folder).values():
            files.remove(path)
        files.make_folder(folder)
        self._written: set[int] = set()

    def write(self, kept: Mapping[int, Weights], *, last: bool = False) -> None:
        """Write the epochs that are new and remove those that are no longer kept, if it is time.

        Args: last: do it in any case.
        Raises: WriteError.
        """
        from safetensors.numpy import save

        started = time.monotonic()
        if started < self._next and not last:
            return
        for epoch in sorted(kept.keys() - self._written):
            arrays = {name: tensor.numpy() for name, tensor in kept[epoch].items()}
            files.write_file(self.folder / file_name(epoch), save(arrays), sync=False)
        for epoch in self._written - kept.keys():
            files.remove(self.folder / file_name(epoch), sync=False)
        self._written = set(kept)
        now = time.monotonic()
        self._next = now + _SHARE * (now - started)


def file_name(epoch: int) -> str:
    """Return the name of the file of an epoch's weights."""
    return f"epoch-{epoch:04}.safetensors"


def find_files(folder: Path) -> dict[int, Path]:
    """Return the files of weights in a folder by their epochs; none if there is no such folder."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return {int(found[1]): path for path in paths if (found := _NAME.fullmatch(path.name))}


def read_kept_epochs(run: str | Path) -> list[tuple[int, Weights]]:
    """Read the weights that a run has kept of its epochs; the run may still be training.

    Args:
        run: a run folder.
    Returns: epochs, 0 for the initial weights, and their weights by name as in
        `model.state_dict()`, in ascending order; empty if the run keeps none.
    Raises: ModelFileError if a file is damaged.
    """
    found = []
    for epoch, path in sorted(find_files(Path(run) / FOLDER).items()):
        weights = read_epoch(path)
        if weights is not None:
            found.append((epoch, weights))
    return found


def read_epoch(path: Path) -> Weights | None:
    """Read a file of weights; None if the training has dropped it. Raises ModelFileError."""
    try:
        with open_file(path, 2**62) as file:
            weights, _ = read_tensors(file, os.fstat(file.fileno()).st_size, str(path))
    except ModelFileError:
        if path.exists():
            raise
        return None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error}") from error
    return weights
