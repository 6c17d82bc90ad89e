"""What a stream knows of each of its sequences, as arrays that can be kept, split and joined."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.errors import ModelFileError, SettingsError, ShapeError
from elman.files import write_file
from elman.models.storage import read_tensors
from elman.untrusted import open_file

_FORMAT = 1
_OWN = ("format", "model", "digest")  # tensors of a state file that are no state
_MOST = 2**40  # bytes of a state file


@dataclass(frozen=True, eq=False)
class StreamState:
    """The state of B sequences, without the weights of the model.

    Rows are independent of each other: `state[rows]` is the state of some of them, and
    `StreamState.join` puts rows side by side, also of several streams of one model.

    Args:
        arrays: by name, one row per sequence: the states of the network (`h`, `c`, and so on, as
            `elman.models.stepping` lists them); `last`, the value that a gap in each channel
            takes, (B, Cn); `static`, the encoded static features, (B, S).
        model: the fingerprint of the model that they belong to; other models refuse them.
    """

    arrays: Mapping[str, NDArray[Any]]
    model: str

    def __len__(self) -> int:
        return len(self.arrays["steps"])

    def __getitem__(self, rows: Any) -> StreamState:
        """Return the state of some rows: an index, a slice, indices or truth values."""
        index = np.atleast_1d(np.arange(len(self))[rows])
        return StreamState({k: own[index] for k, own in self.arrays.items()}, self.model)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {own.shape}" for name, own in self.arrays.items())
        return f"StreamState({len(self)} sequences: {sizes})"

    @staticmethod
    def join(states: Sequence[StreamState]) -> StreamState:
        """Return the rows of several states, in their order.

        Raises: SettingsError if there are none, or they belong to different models.
        """
        states = list(states)
        if not states:
            raise SettingsError("states: got none, expected at least one state to join")
        if len({state.model for state in states}) > 1:
            raise SettingsError(
                "states: they belong to different models. Join only states of streams of one model"
            )
        arrays = {
            name: np.concatenate([state.arrays[name] for state in states])
            for name in states[0].arrays
        }
        return StreamState(arrays, states[0].model)

    def save(self, path: str | Path) -> None:
        """Write the state to a safetensors file. Raises WriteError."""
        from safetensors.torch import save

        tensors = {name: torch.tensor(own) for name, own in self.arrays.items()}
        tensors["format"] = torch.tensor(_FORMAT)
        tensors["model"] = _to_bytes(self.model)
        tensors["digest"] = _to_bytes(_digest(self))
        write_file(path, save(tensors))

    @staticmethod
    def load(path: str | Path) -> StreamState:
        """Read a state that `save` wrote.

        Raises: ModelFileError if it is damaged or of another format.
        """
        path = Path(path)
        if not path.is_file():
            raise ModelFileError(f"{path}: no such file, expected one that StreamState.save wrote")
        with open_file(path, _MOST) as file:
            tensors, _ = read_tensors(file, path.stat().st_size, str(path))
        form = tensors.get("format")
        own = {name: tensors[name] for name in tensors if name not in _OWN}
        if any(name not in tensors for name in _OWN) or "steps" not in own or form is None:
            raise ModelFileError(f"{path}: is no state that StreamState.save wrote")
        if form.numel() != 1 or int(form) != _FORMAT:
            raise ModelFileError(
                f"{path}: is of format {form.tolist()!r:.20}, this version of elman reads {_FORMAT}"
            )
        rows = {tuple(own["steps"].shape[:1])} | {tuple(t.shape[:1]) for t in own.values()}
        arrays = {name: tensor.numpy() for name, tensor in own.items()}
        state = StreamState(arrays, _from_bytes(tensors["model"]))
        if _from_bytes(tensors["digest"]) != _digest(state):
            raise ModelFileError(f"{path}: damaged: its content is not what was written")
        if len(rows) != 1 or () in rows:
            raise ModelFileError(f"{path}: expected as many rows in each array")
        return state

    def check(self, other: StreamState) -> None:
        """Raise SettingsError or ShapeError unless a stream with the state `other` can take this.

        Args:
            other: a state of that stream, of any number of rows.
        """
        if self.model != other.model:
            raise SettingsError(
                "state: it belongs to another model: the weights, the encoding or the classes "
                "differ. Use the model that made it, or begin anew: stream.reset()"
            )
        for name in other.arrays.keys() | self.arrays.keys():
            own, expected = self.arrays.get(name), other.arrays.get(name)
            if own is None or expected is None:
                raise ShapeError(f"state: {name!r} is {'missing' if own is None else 'not known'}")
            wanted = (len(self), *expected.shape[1:])
            if own.dtype != expected.dtype or own.shape != wanted:
                raise ShapeError(
                    f"state: {name!r} is {own.dtype} {own.shape}, expected {expected.dtype} "
                    f"{wanted}"
                )


def _digest(state: StreamState) -> str:
    """Return the SHA-256 of the names, types, shapes and contents of a state."""
    digest = hashlib.sha256(state.model.encode())
    for name, own in sorted(state.arrays.items()):
        digest.update(f"{name} {own.dtype} {own.shape};".encode())
        digest.update(np.ascontiguousarray(own).tobytes())
    return digest.hexdigest()


def _to_bytes(digest: str) -> torch.Tensor:
    return torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8)


def _from_bytes(tensor: torch.Tensor) -> str:
    return bytes(tensor.to(torch.uint8).reshape(-1).tolist()).hex()
